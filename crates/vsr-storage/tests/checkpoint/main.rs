//! Checkpoints: what is written comes back, costs what changed, and is named alike everywhere.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]
#![allow(unreachable_pub, reason = "nothing of a test is public")]

#[path = "../common/mod.rs"]
mod common;

mod helpers;
mod crash;
mod damage;
mod fetch;
mod full;
mod golden;
mod scrub;
mod table;

use bytes::Bytes;
use common::CLUSTER;
use helpers::*;
use vsr_core::{CHUNK_BYTES_MAX, Checksum, ClusterId, Header, ReplicaId};
use vsr_storage::{
    CHECKPOINTS_MAX, CHUNKS_MAX, CheckpointError, Checkpoints, ChunkError, FileDisk, Manifest,
    ManifestError, OpenError, Progress, Section, SimDisk,
};

#[test]
fn a_checkpoint_comes_back_as_it_was_written() {
    let disk = SimDisk::new();
    let mut checkpoints = open(&disk);
    let state = random_state(1, 20);
    let info = write(&mut checkpoints, &disk, 7, &state);
    assert_eq!((info.header, info.chunks), (header(7), 22));
    assert_holds(&mut checkpoints, &disk, &info, &state);
    disk.lose_power(1);
    let mut checkpoints = open(&disk);
    assert!(checkpoints.opened().is_clean());
    assert_eq!(checkpoints.iter().collect::<Vec<_>>(), [&info]);
    assert_holds(&mut checkpoints, &disk, &info, &state);
    assert_eq!(checkpoints.verify(&disk).unwrap(), []);
}

#[test]
fn a_real_directory_does_as_well() {
    let directory = tempfile::tempdir().unwrap();
    let disk = FileDisk::open(directory.path()).unwrap();
    let mut checkpoints = Checkpoints::open(&disk, CLUSTER, ReplicaId(1)).unwrap();
    let mut state = random_state(1, 40);
    let mut last = write(&mut checkpoints, &disk, 1, &state);
    for op in 2..30 {
        change(&mut state, op, 4);
        last = write(&mut checkpoints, &disk, op, &state);
        checkpoints.retain(&disk, &[last.id]).unwrap();
    }
    drop(checkpoints);
    let mut checkpoints = Checkpoints::open(&disk, CLUSTER, ReplicaId(1)).unwrap();
    assert!(checkpoints.opened().is_clean());
    assert_holds(&mut checkpoints, &disk, &last, &state);
}

#[test]
fn an_empty_checkpoint_is_one_too() {
    let disk = SimDisk::new();
    let mut checkpoints = open(&disk);
    checkpoints.begin(&disk, Header::root(CLUSTER)).unwrap();
    let info = finish(&mut checkpoints, &disk);
    assert_eq!((info.chunks, info.bytes), (0, 0));
    let mut checkpoints = open(&disk);
    assert_eq!(checkpoints.iter().collect::<Vec<_>>(), [&info]);
    let error = checkpoints.chunk(&disk, info.id, 0).unwrap_err();
    assert!(matches!(error, ChunkError::NoSuchChunk { index: 0 }));
    let error = checkpoints.chunk(&disk, Checksum(1), 0).unwrap_err();
    assert!(matches!(error, ChunkError::UnknownCheckpoint { .. }));
}

#[test]
fn a_changed_percent_costs_about_that_percent() {
    let disk = SimDisk::new();
    let mut checkpoints = open(&disk);
    let mut state = state_of_equal_chunks(1, 200, 4000);
    write(&mut checkpoints, &disk, 1, &state);
    let before = bytes_of_packs(&disk);
    change_chunk(&mut state, 2, 17);
    change_chunk(&mut state, 2, 170);
    write(&mut checkpoints, &disk, 2, &state);
    let written = bytes_of_packs(&disk) - before;
    // The two chunks, their record heads, the head of the pack. The second chunk of the table
    // changes with each op.
    assert_eq!(written, 2 * (4000 + 32) + 136 + 4096);
}

#[test]
fn a_chunk_is_written_once_however_often_it_comes() {
    let disk = SimDisk::new();
    let mut checkpoints = open(&disk);
    checkpoints.begin(&disk, header(1)).unwrap();
    for section in [Section::State, Section::Table, Section::State] {
        checkpoints.put(&disk, section, &[7; 1000]).unwrap();
    }
    let digest = Checksum::of(&[7; 1000]);
    checkpoints.same(Section::State, digest).unwrap();
    let info = finish(&mut checkpoints, &disk);
    assert_eq!((info.chunks, info.bytes), (4, 4000));
    assert_eq!(bytes_of_packs(&disk), 4096 + 1032);
    let manifest = checkpoints.manifest(info.id).unwrap();
    assert_eq!((manifest.section(Section::Table), manifest.section(Section::State)), (0..1, 1..4));
    let read = checkpoints.chunk_by_digest(&disk, digest).unwrap();
    assert_eq!(read, Some(Bytes::from(vec![7; 1000])));
    // And not at all by a checkpoint that only names it.
    checkpoints.begin(&disk, header(2)).unwrap();
    checkpoints.same(Section::State, digest).unwrap();
    let second = finish(&mut checkpoints, &disk);
    assert_eq!(bytes_of_packs(&disk), 4096 + 1032);
    checkpoints.retain(&disk, &[second.id]).unwrap();
    assert_eq!(open(&disk).chunk(&disk, second.id, 0).unwrap(), vec![7; 1000]);
}

#[test]
fn replicas_with_equal_states_have_equal_ids_whatever_their_past() {
    let (one, other) = (SimDisk::new(), SimDisk::new());
    let mut first = Checkpoints::open(&one, CLUSTER, ReplicaId(0)).unwrap();
    let mut second = Checkpoints::open(&other, CLUSTER, ReplicaId(2)).unwrap();
    let mut state = random_state(1, 50);
    for op in 1..20 {
        change(&mut state, op, 7);
        let info = write(&mut first, &one, op, &state);
        first.retain(&one, &[info.id]).unwrap();
    }
    let id = first.iter().next_back().unwrap().id;
    assert_eq!(write(&mut second, &other, 19, &state).id, id);
    assert_eq!(first.manifest(id), second.manifest(id));
    assert_ne!(names(&one), names(&other));
    // Another op, or another order, is another checkpoint.
    assert_ne!(write(&mut second, &other, 20, &state).id, id);
    state.swap(0, 1);
    assert_ne!(write(&mut second, &other, 19, &state).id, id);
}

#[test]
fn a_checkpoint_that_is_taken_again_is_the_same_and_writes_nothing() {
    let disk = SimDisk::new();
    let mut checkpoints = open(&disk);
    let state = random_state(1, 10);
    let info = write(&mut checkpoints, &disk, 3, &state);
    let (names_before, writes) = (names(&disk), disk.writes());
    assert_eq!(write(&mut checkpoints, &disk, 3, &state), info);
    assert_eq!((names(&disk), disk.writes()), (names_before, writes));
}

#[test]
fn what_is_retained_stays_and_all_else_goes() {
    let disk = SimDisk::new();
    let mut checkpoints = open(&disk);
    let mut state = random_state(1, 10);
    let first = write(&mut checkpoints, &disk, 1, &state);
    let old_state = state.clone();
    state = random_state(2, 10);
    let second = write(&mut checkpoints, &disk, 2, &state);
    checkpoints.retain(&disk, &[first.id, second.id]).unwrap();
    assert_holds(&mut checkpoints, &disk, &first, &old_state);
    checkpoints.retain(&disk, &[second.id]).unwrap();
    assert_holds(&mut checkpoints, &disk, &second, &state);
    assert_eq!(names(&disk).iter().filter(|name| name.starts_with("checkpoint")).count(), 1);
    checkpoints.retain(&disk, &[]).unwrap();
    assert_eq!(names(&disk), [""; 0]);
    assert_eq!(open(&disk).iter().count(), 0);
}

#[test]
fn a_writer_keeps_what_it_counts_on_and_gives_it_up_when_abandoned() {
    let disk = SimDisk::new();
    let mut checkpoints = open(&disk);
    let state = random_state(1, 10);
    write(&mut checkpoints, &disk, 1, &state);
    checkpoints.begin(&disk, header(2)).unwrap();
    for chunk in &state {
        checkpoints.same(Section::State, Checksum::of(chunk)).unwrap();
    }
    checkpoints.put(&disk, Section::State, b"new").unwrap();
    checkpoints.retain(&disk, &[]).unwrap();
    assert_eq!(names(&disk).len(), 2);
    let info = finish(&mut checkpoints, &disk);
    let read = checkpoints.chunk(&disk, info.id, 3).unwrap();
    assert_eq!(read, state[3]);

    checkpoints.begin(&disk, header(3)).unwrap();
    checkpoints.put(&disk, Section::State, b"newer").unwrap();
    checkpoints.retain(&disk, &[]).unwrap();
    checkpoints.abandon(&disk).unwrap();
    assert_eq!(names(&disk), [""; 0]);
}

#[test]
fn other_checkpoints_are_read_while_one_is_written() {
    let disk = SimDisk::new();
    let mut checkpoints = open(&disk);
    let state = random_state(1, 10);
    let info = write(&mut checkpoints, &disk, 1, &state);
    checkpoints.begin(&disk, header(2)).unwrap();
    for (seed, chunk) in (2..).zip(random_state(2, 10)) {
        checkpoints.put(&disk, Section::State, &chunk).unwrap();
        let index = seed % info.chunks;
        checkpoints.chunk(&disk, info.id, index).unwrap();
    }
    while let Progress::Unfinished = checkpoints.finish(&disk).unwrap() {
        assert_holds(&mut checkpoints, &disk, &info, &state);
    }
}

#[test]
fn misuse_is_refused_and_changes_nothing() {
    let disk = SimDisk::new();
    let mut checkpoints = open(&disk);
    let not_begun = |error| matches!(error, CheckpointError::NotBegun);
    assert!(not_begun(checkpoints.put(&disk, Section::State, b"a").unwrap_err()));
    assert!(not_begun(checkpoints.same(Section::State, Checksum(1)).unwrap_err()));
    assert!(not_begun(checkpoints.finish(&disk).unwrap_err()));
    assert!(not_begun(checkpoints.put_fetched(&disk, b"a").unwrap_err()));
    assert!(not_begun(checkpoints.finish_fetch(&disk).unwrap_err()));

    checkpoints.begin(&disk, header(1)).unwrap();
    let large = vec![1; CHUNK_BYTES_MAX + 1];
    let error = checkpoints.put(&disk, Section::State, &large).unwrap_err();
    assert!(matches!(error, CheckpointError::ChunkTooLarge { .. }) && !error.is_fatal());
    let error = checkpoints.same(Section::State, Checksum(1)).unwrap_err();
    assert!(matches!(error, CheckpointError::UnknownChunk { digest: Checksum(1) }));
    checkpoints.put(&disk, Section::State, &large[1..]).unwrap();
    let info = finish(&mut checkpoints, &disk);
    assert_eq!(info.chunks, 1);
    assert_eq!(checkpoints.chunk(&disk, info.id, 0).unwrap(), large[1..]);

    checkpoints.begin(&disk, header(2)).unwrap();
    let digest = Checksum::of(&large[1..]);
    for _ in 0..CHUNKS_MAX {
        checkpoints.same(Section::State, digest).unwrap();
    }
    let error = checkpoints.same(Section::State, digest).unwrap_err();
    assert!(matches!(error, CheckpointError::TooManyChunks));

    for op in 2..=CHECKPOINTS_MAX as u64 {
        write(&mut checkpoints, &disk, op, &[]);
    }
    let error = checkpoints.begin(&disk, header(99)).unwrap_err();
    assert!(matches!(error, CheckpointError::TooManyCheckpoints));
}

#[test]
fn files_of_another_replica_or_cluster_are_refused() {
    let disk = SimDisk::new();
    let state = random_state(1, 3);
    write(&mut open(&disk), &disk, 1, &state);
    for (cluster, replica) in [(CLUSTER, ReplicaId(2)), (ClusterId(1), ReplicaId(1))] {
        let error = Checkpoints::open(&disk, cluster, replica).unwrap_err();
        assert!(matches!(error, OpenError::ForeignFile { .. }), "{error}");
        assert_eq!(error.exit_status(), 5);
        // A pack alone, to which nothing refers, is not removed either.
        let alone = SimDisk::new();
        alone.place("pack-0", 0, &disk.contents("pack-0"));
        let error = Checkpoints::open(&alone, cluster, replica).unwrap_err();
        assert!(matches!(error, OpenError::ForeignFile { .. }), "{error}");
        assert_eq!(names(&alone), ["pack-0"]);
    }
}

#[test]
fn files_that_are_none_of_its_own_are_left_alone() {
    let disk = SimDisk::new();
    let others =
        ["checkpoint-01-00", "checkpoint-1", "log", "log.new", "pack-", "pack-01", "x.new"];
    for name in others {
        disk.place(name, 0, b"something");
    }
    assert!(open(&disk).opened().is_clean());
    assert_eq!(names(&disk), others);
}

#[test]
fn the_disk_that_is_used_stays_within_twice_the_state_over_many_rounds() {
    let disk = SimDisk::new();
    let mut checkpoints = open(&disk);
    let mut state = state_of_equal_chunks(1, 100, 2000);
    let mut dice = Dice(3);
    let (mut most, mut written, mut changed) = (0, 0, 0);
    for op in 1..=200 {
        let count = if op == 1 { 100 } else { dice.below(10) };
        for _ in 0..count {
            change_chunk(&mut state, op, dice.below(100) as usize);
        }
        changed += count * 2032;
        let newest = newest_pack(&disk);
        let info = write(&mut checkpoints, &disk, op, &state);
        written += bytes_of_packs_after(&disk, newest);
        checkpoints.retain(&disk, &[info.id]).unwrap();
        let packs = names(&disk).iter().filter(|name| name.starts_with("pack")).count() as u64;
        assert!(packs <= 17, "{packs} packs in round {op}");
        most = most.max(bytes_of_packs(&disk) - packs * 4096);
        if op % 20 == 0 {
            disk.lose_power(op);
            checkpoints = open(&disk);
            assert_holds(&mut checkpoints, &disk, &info, &state);
        }
    }
    let live = 100 * 2032 + 3000;
    eprintln!("{most} bytes of packs for {live} live; {written} written for {changed} changed");
    assert!(most <= 2 * live, "{most} bytes for {live}");
    assert!(written <= 3 * changed, "{written} bytes for {changed}");
}

#[test]
fn a_manifest_is_one_sequence_of_bytes_and_no_other() {
    let disk = SimDisk::new();
    let mut checkpoints = open(&disk);
    let info = write(&mut checkpoints, &disk, 5, &random_state(1, 5));
    let manifest = checkpoints.manifest(info.id).unwrap();
    let bytes = manifest.encode();
    assert_eq!(Manifest::decode(&bytes, info.id, CLUSTER).as_ref(), Ok(manifest));
    let different = Err(ManifestError::Different { id: info.id });
    for at in 0..bytes.len() {
        let mut other = bytes.clone();
        other[at] ^= 0x40;
        assert_eq!(Manifest::decode(&other, info.id, CLUSTER), different);
        // What somebody gave under a name that fits is not believed either, unless it makes sense.
        let sensible = at >= 136;
        let answer = Manifest::decode(&other, Checksum::of(&other), CLUSTER);
        assert!(answer.is_err() || sensible, "byte {at}");
        let cut = &bytes[..at];
        assert!(Manifest::decode(cut, Checksum::of(cut), CLUSTER).is_err());
    }
    let answer = Manifest::decode(&bytes, info.id, ClusterId(1));
    assert_eq!(answer, Err(ManifestError::Nonsense));
    let mut newer = bytes;
    newer[8] = 2;
    let answer = Manifest::decode(&newer, Checksum::of(&newer), CLUSTER);
    assert_eq!(answer, Err(ManifestError::Newer { found: 2 }));
}
