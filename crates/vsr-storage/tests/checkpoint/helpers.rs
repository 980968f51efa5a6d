//! What these tests build: states as lists of chunks, and checkpoints of them.

use vsr_core::{Header, OpNumber, ReplicaId};
use vsr_storage::{CheckpointInfo, Checkpoints, Disk, Progress, Section, SimDisk};

use crate::common::{CLUSTER, entry_after};

/// The chunks of a service's state.
pub type State = Vec<Vec<u8>>;

/// A generator of its own, so that a seed names a run.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

pub fn open(disk: &SimDisk) -> Checkpoints<SimDisk> {
    Checkpoints::open(disk, CLUSTER, ReplicaId(1)).unwrap()
}

/// The header of some entry at this op.
pub fn header(op: u64) -> Header {
    let parent = Header { op: OpNumber(op - 1), ..Header::root(CLUSTER) };
    *entry_after(&parent, 0, 1).header()
}

/// A chunk that depends on these two numbers alone.
pub fn chunk(seed: u64, number: u64, length: usize) -> Vec<u8> {
    let mut dice = Dice(seed.wrapping_mul(1000).wrapping_add(number));
    (0..length).map(|_| dice.below(256) as u8).collect()
}

/// Chunks of up to 3000 bytes, the first one empty.
pub fn random_state(seed: u64, count: u64) -> State {
    let mut dice = Dice(seed);
    let length = |number: u64| if number == 0 { 0 } else { dice.below(3000) as usize };
    (0..count).map(length).zip(0..).map(|(length, number)| chunk(seed, number, length)).collect()
}

/// Chunks of up to 600 bytes.
pub fn small_state(seed: u64, count: u64) -> State {
    (0..count).map(|number| chunk(seed, number, 9 + (number as usize * 131) % 592)).collect()
}

pub fn state_of_equal_chunks(seed: u64, count: u64, length: usize) -> State {
    (0..count).map(|number| chunk(seed, number, length)).collect()
}

/// Changes one chunk to one of the same length.
pub fn change_chunk(state: &mut State, seed: u64, at: usize) {
    let length = state[at].len();
    state[at] = chunk(seed + 7_000_000, at as u64, length);
}

/// Changes so many chunks.
pub fn change(state: &mut State, seed: u64, count: u64) {
    let mut dice = Dice(seed);
    for _ in 0..count {
        let at = dice.below(state.len() as u64) as usize;
        change_chunk(state, seed, at);
    }
}

/// The two chunks of a client-table that depends on the op.
pub fn table(op: u64) -> [Vec<u8>; 2] {
    [chunk(1, 0, 300), chunk(op, 1, 100)]
}

pub fn put_all<D: Disk>(
    checkpoints: &mut Checkpoints<D>,
    disk: &D,
    op: u64,
    state: &[Vec<u8>],
) -> Result<(), vsr_storage::CheckpointError> {
    checkpoints.begin(disk, header(op))?;
    let [first, second] = table(op);
    checkpoints.put(disk, Section::Table, &first)?;
    for chunk in state {
        checkpoints.put(disk, Section::State, chunk)?;
    }
    // Sections may be given in any order.
    checkpoints.put(disk, Section::Table, &second)?;
    Ok(())
}

pub fn try_finish<D: Disk>(
    checkpoints: &mut Checkpoints<D>,
    disk: &D,
) -> Result<CheckpointInfo, vsr_storage::CheckpointError> {
    loop {
        if let Progress::Finished(info) = checkpoints.finish(disk)? {
            return Ok(info);
        }
    }
}

pub fn finish<D: Disk>(checkpoints: &mut Checkpoints<D>, disk: &D) -> CheckpointInfo {
    try_finish(checkpoints, disk).unwrap()
}

pub fn write<D: Disk>(
    checkpoints: &mut Checkpoints<D>,
    disk: &D,
    op: u64,
    state: &[Vec<u8>],
) -> CheckpointInfo {
    put_all(checkpoints, disk, op, state).unwrap();
    finish(checkpoints, disk)
}

/// That every chunk of a checkpoint reads back as it was written.
pub fn assert_holds<D: Disk>(
    checkpoints: &mut Checkpoints<D>,
    disk: &D,
    info: &CheckpointInfo,
    state: &[Vec<u8>],
) {
    assert!(checkpoints.iter().any(|there| there == info));
    let written = table(info.header.op.0).into_iter().chain(state.iter().cloned());
    let mut count = 0;
    for (index, written) in (0..).zip(written) {
        assert_eq!(checkpoints.chunk(disk, info.id, index).unwrap(), written, "chunk {index}");
        count += 1;
    }
    assert_eq!(info.chunks, count);
}

/// The files on a disk, sorted.
pub fn names(disk: &SimDisk) -> Vec<String> {
    disk.list().unwrap()
}

pub fn bytes_of_packs(disk: &SimDisk) -> u64 {
    bytes_of_packs_after(disk, None)
}

/// How many bytes the packs with higher numbers have.
pub fn bytes_of_packs_after(disk: &SimDisk, number: Option<u32>) -> u64 {
    let packs = names(disk).into_iter().filter(|name| pack_number(name) > number);
    packs.map(|name| disk.contents(&name).len() as u64).sum()
}

pub fn newest_pack(disk: &SimDisk) -> Option<u32> {
    names(disk).iter().filter_map(|name| pack_number(name)).max()
}

fn pack_number(name: &str) -> Option<u32> {
    name.strip_prefix("pack-")?.parse().ok()
}

/// That the directory holds nothing but what the checkpoints need: opening removes nothing more,
/// and once none is retained nothing is left.
pub fn assert_nothing_leaks(disk: &SimDisk) {
    let before = names(disk);
    let checkpoints = open(disk);
    assert_eq!(names(disk), before);
    assert_eq!(checkpoints.opened().removed_files, 0);
    let disk = disk.fork();
    let mut checkpoints = open(&disk);
    checkpoints.abandon_fetch(&disk).unwrap();
    checkpoints.retain(&disk, &[]).unwrap();
    assert_eq!(names(&disk), [""; 0]);
}
