//! Packs that become full, are emptied and merged: with small ones, so that it happens often.

use std::collections::BTreeMap;

use vsr_core::{Checksum, ClusterId, Header, OpNumber, ReplicaId};

use super::pack::record_bytes;
use super::packs::Limits;
use super::{CheckpointInfo, Checkpoints, Progress, Section};
use crate::codec::Identity;
use crate::disk::{Disk as _, PowerCut, SimDisk};
use crate::error::CheckpointError;

const CLUSTER: ClusterId = ClusterId(77);
const SMALL: Limits = Limits { pack_bytes: 16 << 10, sync_bytes: 9 << 10 };

/// The service's state: for each chunk the number that its bytes come from.
type State = Vec<u64>;

fn bytes_of(number: u64) -> Vec<u8> {
    let length = 400 + (number.wrapping_mul(0x9e37_79b9) >> 7) % 300;
    (0..length)
        .map(|at| (number.wrapping_mul(31).wrapping_add(at * at) >> (at % 5)) as u8)
        .collect()
}

/// Bytes of a chunk's record.
fn size_of(number: u64) -> u64 {
    record_bytes(bytes_of(number).len() as u32)
}

fn open(disk: &SimDisk) -> Checkpoints<SimDisk> {
    try_open(disk).unwrap()
}

fn try_open(disk: &SimDisk) -> Result<Checkpoints<SimDisk>, crate::error::OpenError> {
    Checkpoints::open_within(disk, Identity::new(CLUSTER, ReplicaId(3)), SMALL)
}

fn write(
    checkpoints: &mut Checkpoints<SimDisk>,
    disk: &SimDisk,
    op: u64,
    state: &State,
) -> Result<CheckpointInfo, CheckpointError> {
    let parent = Header { op: OpNumber(op - 1), ..Header::root(CLUSTER) };
    let (epoch, view) = (vsr_core::Epoch::ZERO, vsr_core::ViewNumber(1));
    let (release, at) = (vsr_core::Release::ZERO, vsr_core::Timestamp(op));
    let entry = vsr_core::Entry::<bytes::Bytes>::prepare(&parent, epoch, view, release, at, vec![]);
    checkpoints.begin(disk, *entry.header())?;
    for number in state {
        checkpoints.put(disk, Section::State, &bytes_of(*number))?;
    }
    loop {
        if let Progress::Finished(info) = checkpoints.finish(disk)? {
            return Ok(info);
        }
    }
}

fn assert_holds(
    checkpoints: &mut Checkpoints<SimDisk>,
    disk: &SimDisk,
    id: Checksum,
    state: &State,
) {
    for (index, number) in (0..).zip(state) {
        assert_eq!(checkpoints.chunk(disk, id, index).unwrap(), bytes_of(*number));
    }
}

fn packs(disk: &SimDisk) -> BTreeMap<String, u64> {
    let names = disk.list().unwrap().into_iter().filter(|name| name.starts_with("pack"));
    names.map(|name| (name.clone(), disk.contents(&name).len() as u64)).collect()
}

/// The numbers of the state after so many rounds, each of which changes `changes` chunks.
fn changed(state: &mut State, round: u64, changes: u64) {
    for change in 0..changes {
        let number = (round * 1000 + change).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let at = (number ^ number >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 33;
        let at = at as usize % state.len();
        state[at] = round * 1000 + change;
    }
}

#[test]
fn packs_become_full_and_every_chunk_is_found() {
    let disk = SimDisk::new();
    let mut checkpoints = open(&disk);
    let state: State = (0..100).collect();
    let info = write(&mut checkpoints, &disk, 1, &state).unwrap();
    let packs = packs(&disk);
    assert!(packs.len() > 5);
    let most = SMALL.pack_bytes + record_bytes(700);
    assert!(packs.values().all(|length| *length <= most), "{packs:?}");
    assert!(packs.values().filter(|length| **length < SMALL.pack_bytes).count() <= 1);
    disk.lose_power(0);
    assert_holds(&mut open(&disk), &disk, info.id, &state);
}

#[test]
fn space_and_copying_stay_bounded_with_many_full_packs() {
    let disk = SimDisk::new();
    let mut checkpoints = open(&disk);
    let mut state: State = (0..300).collect();
    let mut most_written = 0;
    for round in 1..200 {
        changed(&mut state, round, 15);
        let before = packs(&disk);
        let info = write(&mut checkpoints, &disk, round, &state).unwrap();
        let after = packs(&disk);
        let new = after.iter().filter(|(name, _)| !before.contains_key(*name));
        let written: u64 = new.map(|(_, length)| *length).sum();
        if round > 1 {
            most_written = most_written.max(written);
        }
        checkpoints.retain(&disk, &[info.id]).unwrap();
        // Beside twice the records, each pack has a head, and the rest of a sector before its
        // second sync.
        let kept = packs(&disk);
        let total: u64 = kept.values().sum();
        let live: u64 = state.iter().map(|number| size_of(*number)).sum();
        assert!(total <= 2 * live + 8192 * kept.len() as u64, "{total} in round {round}");
        assert!(kept.len() <= 16 + live as usize / 3000, "{} packs", kept.len());
    }
    let info = *checkpoints.iter().next().unwrap();
    assert_holds(&mut checkpoints, &disk, info.id, &state);
    let live: u64 = state.iter().map(|number| size_of(*number)).sum();
    eprintln!("{most_written} bytes written at most in one round, {live} live");
    assert!(most_written < live / 2);
}

/// Crashes at each operation of a checkpoint that fills packs, empties some and merges others.
#[test]
fn a_power_loss_while_packs_are_emptied_loses_and_leaks_nothing() {
    let ready = SimDisk::new();
    let mut state: State = (0..24).collect();
    let mut last = None;
    for round in 1..30 {
        let mut checkpoints = open(&ready);
        changed(&mut state, round, 4);
        let info = write(&mut checkpoints, &ready, round, &state).unwrap();
        checkpoints.retain(&ready, &[info.id]).unwrap();
        last = Some((info.id, state.clone()));
    }
    let (old_id, old_state) = last.unwrap();
    let mut emptied = false;
    for round in 30..33 {
        changed(&mut state, round, 6);
        let script = |disk: &SimDisk| -> Result<Checksum, CheckpointError> {
            let opened = try_open(disk);
            let mut checkpoints = opened.map_err(|_| CheckpointError::Stopped)?;
            let info = write(&mut checkpoints, disk, round, &state)?;
            checkpoints.retain(disk, &[info.id])?;
            Ok(info.id)
        };
        let whole = ready.fork();
        let new_id = script(&whole).unwrap();
        emptied |= packs(&ready).keys().any(|name| !packs(&whole).contains_key(name));
        for cut in ready.operations()..whole.operations() {
            for seed in 0..3 {
                let disk = ready.fork();
                disk.cut_power_at(cut, if seed == 0 { PowerCut::Before } else { PowerCut::After });
                script(&disk).unwrap_err();
                disk.lose_power_spoiling(seed + cut);
                let mut checkpoints = open(&disk);
                let there: Vec<Checksum> = checkpoints.iter().map(|info| info.id).collect();
                assert!(there.contains(&old_id) || there == [new_id]);
                for id in there {
                    let state = if id == old_id { &old_state } else { &state };
                    assert_holds(&mut checkpoints, &disk, id, state);
                }
                assert_eq!(script(&disk).unwrap(), new_id);
                assert_holds(&mut open(&disk), &disk, new_id, &state);
                open(&disk).retain(&disk, &[]).unwrap();
                assert_eq!(disk.list().unwrap(), [""; 0]);
            }
        }
    }
    assert!(emptied);
}

/// A finish that copies does it a chunk at a time.
#[test]
fn each_step_of_finishing_writes_one_chunk_at_most() {
    let disk = SimDisk::new();
    let mut checkpoints = open(&disk);
    let mut state: State = (0..60).collect();
    for round in 1..3 {
        let info = write(&mut checkpoints, &disk, round, &state).unwrap();
        checkpoints.retain(&disk, &[info.id]).unwrap();
        // Some of each pack stays.
        for (at, number) in state.iter_mut().enumerate().filter(|(at, _)| at % 5 != 0) {
            *number = round * 1000 + at as u64;
        }
    }
    checkpoints.begin(&disk, Header::root(CLUSTER)).unwrap();
    for number in &state {
        checkpoints.put(&disk, Section::State, &bytes_of(*number)).unwrap();
    }
    let mut steps = 0;
    loop {
        let (writes, syncs) = (disk.writes(), disk.syncs());
        let progress = checkpoints.finish(&disk).unwrap();
        steps += 1;
        // A record, and maybe the head of a pack; at the end the checkpoint's file.
        assert!(disk.writes() - writes <= 2 && disk.syncs() - syncs <= 2);
        if let Progress::Finished(info) = progress {
            assert_holds(&mut checkpoints, &disk, info.id, &state);
            break;
        }
    }
    assert!(steps > 5);
}
