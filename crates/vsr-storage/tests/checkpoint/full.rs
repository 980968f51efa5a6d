//! A full disk gives a checkpoint up, and stops nothing; a broken one stops everything.

use vsr_core::Checksum;
use vsr_storage::{CheckpointError, PowerCut, Progress, Section, SimDisk};

use crate::helpers::*;

fn is_full<T>(answer: Result<T, CheckpointError>) -> bool {
    matches!(answer, Err(error @ CheckpointError::DiskFull) if !error.is_fatal())
}

#[test]
fn a_checkpoint_for_which_there_is_no_space_is_given_up_and_tried_again() {
    let disk = SimDisk::new();
    let mut checkpoints = open(&disk);
    let mut state = state_of_equal_chunks(1, 20, 1000);
    let first = write(&mut checkpoints, &disk, 1, &state);
    let old_state = state.clone();
    let before = names(&disk);
    for chunk in 0..15 {
        change_chunk(&mut state, 2, chunk);
    }
    // From each write of the second one on there is no space.
    let mut finished = false;
    for full_after in 0.. {
        let attempt = || {
            let mut steps = 0..;
            let mut fill = move |disk: &SimDisk| disk.set_full(steps.next() >= Some(full_after));
            checkpoints.begin(&disk, header(2))?;
            for chunk in &state {
                fill(&disk);
                checkpoints.put(&disk, Section::State, chunk)?;
            }
            loop {
                fill(&disk);
                if let Progress::Finished(info) = checkpoints.finish(&disk)? {
                    return Ok(info);
                }
            }
        };
        let answer = { attempt }();
        disk.set_full(false);
        if answer.is_ok() {
            finished = full_after > 20;
            break;
        }
        assert!(is_full(answer), "full after {full_after}");
        assert_eq!(names(&disk), before, "full after {full_after}");
        assert_holds(&mut checkpoints, &disk, &first, &old_state);
    }
    assert!(finished);
    let info = write(&mut checkpoints, &disk, 3, &state);
    assert_holds(&mut checkpoints, &disk, &info, &state);
    checkpoints.retain(&disk, &[info.id]).unwrap();
    assert_nothing_leaks(&disk);
}

#[test]
fn a_fetch_waits_for_space_with_all_that_it_has() {
    let (donor_disk, disk) = (SimDisk::new(), SimDisk::new());
    let (mut donor, mut checkpoints) = (open(&donor_disk), open(&disk));
    let state = random_state(1, 10);
    let info = write(&mut donor, &donor_disk, 9, &state);
    let manifest = donor.manifest(info.id).unwrap().encode();
    disk.set_full(true);
    assert!(is_full(checkpoints.begin_fetch(&disk, info.id, &manifest)));
    assert_eq!((names(&disk), checkpoints.fetching()), (vec![], None));
    disk.set_full(false);
    checkpoints.begin_fetch(&disk, info.id, &manifest).unwrap();
    for index in 0..info.chunks {
        let bytes = donor.chunk(&donor_disk, info.id, index).unwrap();
        for _ in 0..3 {
            disk.set_full(true);
            assert!(is_full(checkpoints.put_fetched(&disk, &bytes)));
        }
        disk.set_full(false);
        assert!(checkpoints.put_fetched(&disk, &bytes).unwrap());
    }
    checkpoints.sync_fetched(&disk).unwrap();
    disk.set_full(true);
    let full = loop {
        match checkpoints.finish_fetch(&disk) {
            Ok(Progress::Unfinished) => {}
            other => break other,
        }
    };
    assert!(is_full(full));
    disk.set_full(false);
    assert_eq!(checkpoints.missing().count(), 0);
    while let Progress::Unfinished = checkpoints.finish_fetch(&disk).unwrap() {}
    assert_holds(&mut open(&disk), &disk, &info, &state);
    assert_nothing_leaks(&disk);
}

#[test]
fn a_repair_waits_for_space() {
    let disk = SimDisk::new();
    let mut checkpoints = open(&disk);
    let state = random_state(1, 10);
    let info = write(&mut checkpoints, &disk, 1, &state);
    let digest = Checksum::of(&state[3]);
    let before = names(&disk);
    disk.set_full(true);
    assert!(is_full(checkpoints.repair(&disk, &[(digest, &state[3])])));
    assert_eq!(names(&disk), before);
    disk.set_full(false);
    checkpoints.repair(&disk, &[(digest, &state[3])]).unwrap();
    assert_holds(&mut checkpoints, &disk, &info, &state);
}

#[test]
fn a_failed_sync_is_fatal_and_nothing_is_tried_again() {
    let disk = SimDisk::new();
    let mut checkpoints = open(&disk);
    let state = random_state(1, 10);
    let first = write(&mut checkpoints, &disk, 1, &state);
    put_all(&mut checkpoints, &disk, 2, &random_state(2, 10)).unwrap();
    disk.fail_next_sync();
    let error = try_finish(&mut checkpoints, &disk).unwrap_err();
    assert!(matches!(error, CheckpointError::Failed(_)) && error.is_fatal());
    assert_eq!(error.exit_status(), 8);
    let operations = disk.operations();
    let stopped = |error: CheckpointError| matches!(error, CheckpointError::Stopped);
    assert!(stopped(checkpoints.begin(&disk, header(3)).unwrap_err()));
    assert!(stopped(checkpoints.put(&disk, Section::State, b"x").unwrap_err()));
    assert!(stopped(checkpoints.finish(&disk).unwrap_err()));
    assert!(stopped(checkpoints.retain(&disk, &[]).unwrap_err()));
    assert!(stopped(checkpoints.sync_fetched(&disk).unwrap_err()));
    assert!(stopped(checkpoints.abandon(&disk).unwrap_err()));
    assert_eq!(disk.operations(), operations);
    disk.lose_power(1);
    assert_holds(&mut open(&disk), &disk, &first, &state);
    assert_nothing_leaks(&disk);
}

#[test]
fn each_sync_that_fails_is_fatal() {
    let ready = SimDisk::new();
    let mut state = random_state(1, 10);
    let first = write(&mut open(&ready), &ready, 1, &state);
    let old_state = state.clone();
    change(&mut state, 2, 5);
    let whole = ready.fork();
    write(&mut open(&whole), &whole, 2, &state);
    for cut in ready.operations()..whole.operations() {
        let disk = ready.fork();
        disk.cut_power_at(cut, PowerCut::Before);
        let Ok(mut checkpoints) =
            vsr_storage::Checkpoints::open(&disk, crate::common::CLUSTER, vsr_core::ReplicaId(1))
        else {
            continue;
        };
        let error = put_all(&mut checkpoints, &disk, 2, &state)
            .and_then(|()| try_finish(&mut checkpoints, &disk))
            .unwrap_err();
        assert!(error.is_fatal());
        disk.kill();
        assert_holds(&mut open(&disk), &disk, &first, &old_state);
    }
}
