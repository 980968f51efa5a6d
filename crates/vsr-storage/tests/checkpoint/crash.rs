//! The power fails at each operation of a scripted run, before and after it. What was finished is
//! there, what was not is there whole or not at all, and nothing is left for ever.

use vsr_core::Checksum;
use vsr_storage::{CheckpointError, CheckpointInfo, PowerCut, SimDisk};

use crate::helpers::*;

/// What a run was told.
#[derive(Clone, Default)]
struct Told {
    /// Everything that was ever begun, with what it holds.
    begun: Vec<(u64, State)>,
    /// What must be there.
    finished: Vec<CheckpointInfo>,
    /// What may be gone: a retain was asked to drop it.
    dropped: Vec<Checksum>,
    /// Chunks that a fetch was told are durable.
    fetched: Vec<Checksum>,
}

impl Told {
    fn state(&self, op: u64) -> &State {
        &self.begun.iter().find(|(begun, _)| *begun == op).unwrap().1
    }

    /// What must hold of the disk after the crash.
    fn check(&self, disk: &SimDisk, context: &str) {
        let mut checkpoints = open(disk);
        assert_eq!(checkpoints.unreadable(), [], "{context}");
        let there: Vec<CheckpointInfo> = checkpoints.iter().copied().collect();
        for info in &self.finished {
            let may_be_gone = self.dropped.contains(&info.id);
            assert!(there.contains(info) || may_be_gone, "a checkpoint is gone: {context}");
        }
        for info in &there {
            assert_holds(&mut checkpoints, disk, info, self.state(info.header.op.0));
        }
        assert_eq!(checkpoints.verify(disk).unwrap(), [], "{context}");
        if checkpoints.fetching().is_some() {
            for digest in &self.fetched {
                let missing = checkpoints.missing().any(|missing| missing.chunk.digest == *digest);
                assert!(!missing, "a chunk that was fetched is gone: {context}");
                assert!(checkpoints.chunk_by_digest(disk, *digest).unwrap().is_some(), "{context}");
            }
        }
        assert_nothing_leaks(disk);
    }
}

/// Runs a script with the power failing at each of its operations, and again soon after.
/// `VSR_CRASH_SEEDS` says how many ways there are in which it fails.
fn run(
    prepare: impl Fn(&SimDisk, &mut Told),
    script: impl Fn(&SimDisk, &mut Told) -> Result<(), CheckpointError>,
    resume: impl Fn(&SimDisk, &mut Told) -> Result<(), CheckpointError>,
) {
    let seeds = std::env::var("VSR_CRASH_SEEDS").map_or(2, |seeds| seeds.parse().unwrap());
    let (ready, mut told_before) = (SimDisk::new(), Told::default());
    prepare(&ready, &mut told_before);
    let whole = ready.fork();
    script(&whole, &mut told_before.clone()).unwrap();
    let operations = ready.operations()..whole.operations();
    assert!(!operations.is_empty());
    eprintln!("{} operations", operations.end - operations.start);
    for (cut, when) in operations.flat_map(|cut| [(cut, PowerCut::Before), (cut, PowerCut::After)])
    {
        let (stopped, mut told) = (ready.fork(), told_before.clone());
        stopped.cut_power_at(cut, when);
        assert!(script(&stopped, &mut told).unwrap_err().is_fatal());
        for seed in 0..seeds {
            for power in [SimDisk::lose_power, SimDisk::lose_power_spoiling] {
                let (disk, mut told) = (stopped.fork(), told.clone());
                power(&disk, seed);
                let context = format!("cut {when:?} operation {cut}, seed {seed}");
                // The power fails while it is being opened, too.
                disk.cut_power_at(disk.operations() + seed, PowerCut::After);
                drop(vsr_storage::Checkpoints::open(
                    &disk,
                    crate::common::CLUSTER,
                    vsr_core::ReplicaId(1),
                ));
                power(&disk, seed + 100);
                told.check(&disk, &context);
                // It goes on from there, and survives the next crash.
                resume(&disk, &mut told).unwrap();
                power(&disk, seed + 1000);
                told.check(&disk, &format!("{context}, resumed"));
            }
        }
    }
}

fn write_told(disk: &SimDisk, told: &mut Told, op: u64) -> Result<CheckpointInfo, CheckpointError> {
    let mut checkpoints = open_unless_dark(disk)?;
    let mut state = told.begun.last().map_or_else(|| small_state(1, 10), |(_, s)| s.clone());
    change(&mut state, op, 4);
    told.begun.retain(|(begun, _)| *begun != op);
    told.begun.push((op, state.clone()));
    put_all(&mut checkpoints, disk, op, &state)?;
    let info = try_finish(&mut checkpoints, disk)?;
    told.finished.push(info);
    Ok(info)
}

fn retain_told(disk: &SimDisk, told: &mut Told, id: Checksum) -> Result<(), CheckpointError> {
    let mut checkpoints = open_unless_dark(disk)?;
    told.dropped.extend(told.finished.iter().map(|info| info.id).filter(|other| *other != id));
    checkpoints.retain(disk, &[id])
}

fn open_unless_dark(disk: &SimDisk) -> Result<vsr_storage::Checkpoints<SimDisk>, CheckpointError> {
    let opened =
        vsr_storage::Checkpoints::open(disk, crate::common::CLUSTER, vsr_core::ReplicaId(1));
    opened.map_err(|error| {
        assert_eq!(error.exit_status(), 8, "{error}");
        CheckpointError::Stopped
    })
}

#[test]
fn a_power_loss_while_writing_and_retaining_loses_and_leaks_nothing() {
    run(
        |disk, told| {
            for op in 1..4 {
                write_told(disk, told, op).unwrap();
            }
        },
        |disk, told| {
            let info = write_told(disk, told, 4)?;
            retain_told(disk, told, info.id)?;
            for op in 5..8 {
                let info = write_told(disk, told, op)?;
                retain_told(disk, told, info.id)?;
            }
            Ok(())
        },
        |disk, told| {
            let info = write_told(disk, told, 9)?;
            retain_told(disk, told, info.id)
        },
    );
}

/// What the other replica has.
fn donor(state: &State) -> (SimDisk, CheckpointInfo) {
    let disk = SimDisk::new();
    let mut checkpoints = open(&disk);
    let info = write(&mut checkpoints, &disk, 50, state);
    (disk, info)
}

fn fetch_all(disk: &SimDisk, told: &mut Told, state: &State) -> Result<(), CheckpointError> {
    let (donor_disk, info) = donor(state);
    let mut donor = open(&donor_disk);
    told.begun.push((50, state.clone()));
    let mut checkpoints = open_unless_dark(disk)?;
    if checkpoints.iter().any(|there| there.id == info.id) {
        return Ok(());
    }
    checkpoints.begin_fetch(disk, info.id, &donor.manifest(info.id).unwrap().encode())?;
    let mut missing: Vec<_> = checkpoints.missing().collect();
    // Any order will do.
    missing.sort_by_key(|missing| missing.chunk.digest);
    for some in missing.chunks(3) {
        for missing in some {
            let bytes = donor.chunk(&donor_disk, info.id, missing.index).unwrap();
            assert!(checkpoints.put_fetched(disk, &bytes)?);
            assert!(!checkpoints.put_fetched(disk, &bytes)?);
        }
        checkpoints.sync_fetched(disk)?;
        told.fetched.extend(some.iter().map(|missing| missing.chunk.digest));
    }
    loop {
        if let vsr_storage::Progress::Finished(fetched) = checkpoints.finish_fetch(disk)? {
            assert_eq!(fetched, info);
            told.finished.push(fetched);
            return Ok(());
        }
    }
}

#[test]
fn a_power_loss_while_fetching_loses_no_chunk_that_was_synced() {
    let mut state = small_state(1, 10);
    change(&mut state, 77, 9);
    run(
        |disk, told| {
            write_told(disk, told, 1).unwrap();
        },
        |disk, told| fetch_all(disk, told, &state),
        |disk, told| fetch_all(disk, told, &state),
    );
}

#[test]
fn a_power_loss_while_a_fetch_changes_its_target_wastes_nothing_for_ever() {
    let first = small_state(5, 12);
    let mut second = first.clone();
    change(&mut second, 3, 3);
    run(
        |disk, told| {
            write_told(disk, told, 1).unwrap();
            let (donor_disk, info) = donor(&first);
            let mut donor = open(&donor_disk);
            let mut checkpoints = open(disk);
            let manifest = donor.manifest(info.id).unwrap().encode();
            checkpoints.begin_fetch(disk, info.id, &manifest).unwrap();
            for index in 0..8 {
                let bytes = donor.chunk(&donor_disk, info.id, index).unwrap();
                checkpoints.put_fetched(disk, &bytes).unwrap();
            }
            checkpoints.sync_fetched(disk).unwrap();
        },
        |disk, told| fetch_all(disk, told, &second),
        |disk, told| fetch_all(disk, told, &second),
    );
}

#[test]
fn a_power_loss_while_repairing_leaves_the_chunk_damaged_or_whole() {
    let disk = SimDisk::new();
    let mut checkpoints = open(&disk);
    let state = small_state(1, 10);
    let first = write(&mut checkpoints, &disk, 1, &state);
    let second = write(&mut checkpoints, &disk, 2, &state);
    let at = find(&disk.contents("pack-0"), &state[5]);
    disk.corrupt("pack-0", at as u64, &[1]);
    let digest = Checksum::of(&state[5]);
    let whole = disk.fork();
    open(&whole).repair(&whole, &[(digest, &state[5])]).unwrap();
    for cut in disk.operations()..whole.operations() {
        for seed in 0..10 {
            let disk = disk.fork();
            disk.cut_power_at(cut, PowerCut::After);
            let repaired = open_unless_dark(&disk)
                .and_then(|mut checkpoints| checkpoints.repair(&disk, &[(digest, &state[5])]));
            assert!(repaired.is_err());
            disk.lose_power_spoiling(seed);
            let mut checkpoints = open(&disk);
            let damage = checkpoints.verify(&disk).unwrap();
            assert!(damage.len() <= 2, "{damage:?}");
            checkpoints.repair(&disk, &[(digest, &state[5])]).unwrap();
            assert_holds(&mut checkpoints, &disk, &first, &state);
            assert_holds(&mut checkpoints, &disk, &second, &state);
            assert_eq!(open(&disk).verify(&disk).unwrap(), []);
            assert_nothing_leaks(&disk);
        }
    }
}

fn find(bytes: &[u8], part: &[u8]) -> usize {
    bytes.windows(part.len()).position(|window| window == part).unwrap()
}
