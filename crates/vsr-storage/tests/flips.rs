//! Every byte of a small data directory is flipped in turn: whoever verifies it notices, or the store does not open.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::collections::BTreeMap;

use bytes::Bytes;
use common::{TINY, append, chain, formatted_with, reopen, state};
use vsr_core::{Checkpoint, Chunk, Incarnation, ReplicaId, StoreId, SuperblockState, WriteKind};
use vsr_storage::{Disk, Finding, Inspection, Progress, SimDisk, Start};

/// A store with a log, a checkpoint that the superblock names, and a peer that it knows.
fn directory() -> SimDisk {
    let disk = formatted_with(TINY);
    let (mut store, _) = reopen(&disk);
    let entries = chain(9, 1, 200);
    append(&mut store, &entries);
    store.sync().unwrap();
    let header = *entries[3].header();
    store.begin_checkpoint(header, &[]).unwrap();
    for fill in 1..4 {
        store.put_chunk(&Chunk::Bytes(Bytes::from(vec![fill; 700]))).unwrap();
    }
    let id = loop {
        if let Progress::Finished(info) = store.finish_checkpoint().unwrap() {
            break info.id;
        }
    };
    let checkpoint = Checkpoint { header, id };
    let named = SuperblockState { checkpoint, ..state(1, &entries) };
    store.write(&WriteKind::Superblock(Box::new(named))).unwrap();
    store.sync().unwrap();
    let start = Start::new(Incarnation(3), 9);
    for start in [Start::default(), start] {
        store.known_stores().hear(ReplicaId(0), StoreId(7), start).unwrap();
    }
    while store.idle().unwrap() {}
    disk
}

/// What is found where nothing was flipped; `None` where it cannot even be looked at.
fn findings(disk: &SimDisk) -> Option<Vec<Finding>> {
    let inspection = Inspection::open(disk).ok()?;
    let mut findings = Vec::new();
    inspection.verify(disk, |finding| findings.push(finding)).ok()?;
    Some(findings)
}

/// Flips a bit of every `step`-th byte of each file. Returns how many bytes each has, and how many flips went unnoticed.
fn flip(step: usize) -> BTreeMap<String, (usize, Vec<u64>)> {
    let disk = directory();
    assert_eq!(findings(&disk), Some(Vec::new()));
    let mut unnoticed = BTreeMap::new();
    for name in disk.list().unwrap() {
        let length = disk.contents(&name).len();
        let mut missed = Vec::new();
        for at in (0..length).step_by(step) {
            let mask = [1 << (at % 8)];
            disk.corrupt(&name, at as u64, &mask);
            if findings(&disk).is_some_and(|findings| findings.is_empty()) {
                missed.push(at as u64);
            }
            disk.corrupt(&name, at as u64, &mask);
        }
        unnoticed.insert(name, (length.div_ceil(step), missed));
    }
    unnoticed
}

/// What fills up the record of a chunk to a multiple of eight bytes counts for nothing; all else does.
const PADDING_MAX: usize = 7;

const CHUNKS: usize = 4;

#[track_caller]
fn each_is_noticed(step: usize) {
    for (name, (bytes, missed)) in flip(step) {
        let padding = if name.starts_with("pack-") { CHUNKS * PADDING_MAX } else { 0 };
        assert!(missed.len() <= padding, "of {bytes} flips in {name}: {missed:?}");
        assert!(missed.len() * 100 <= bytes, "of {bytes} flips in {name}: {missed:?}");
    }
}

#[test]
fn a_flip_of_any_byte_is_noticed() {
    // Every 61st byte: a start at another place in each sector and record.
    each_is_noticed(61);
}

#[test]
#[ignore = "takes a minute without optimisation"]
fn a_flip_of_each_byte_is_noticed() {
    each_is_noticed(1);
}
