//! Bytes of each format version, as they were when it was released. The present version writes them
//! again, byte for byte; every version that was ever released opens.
//!
//! `VSR_GOLDEN=write cargo test -p vsr-storage --test golden` writes those of a new version. Files
//! of a released version never change.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;

use std::fmt::Write as _;
use std::path::PathBuf;

use common::*;
use vsr_core::{Header, Incarnation, OpNumber, ReplicaId, StoreId, StoredSlot, WriteKind};
use vsr_storage::{Acquaintance, FORMAT_VERSION, OpenError, SimDisk, Start, Store};

/// A store with something of everything: mixed requests, several records in a group, a marked slot, a
/// superblock with headers.
fn specimen() -> SimDisk {
    let disk = formatted();
    let (mut store, _) = open(&disk);
    let mut entries = vec![mixed_entry_after(&Header::root(CLUSTER), 1)];
    for length in [0, 5, 300, 5000] {
        let next = entry_after(entries.last().unwrap().header(), 1, length);
        entries.push(next);
    }
    append(&mut store, &entries[..2]);
    store.sync().unwrap();
    append(&mut store, &entries[2..]);
    store.write(&WriteKind::Superblock(Box::new(state(2, &entries)))).unwrap();
    store.sync().unwrap();
    while store.idle().unwrap() {}
    store.write(&WriteKind::MarkFaulty(OpNumber(3))).unwrap();
    store.write(&WriteKind::MarkFaulty(OpNumber(7))).unwrap();
    store.sync().unwrap();
    meet(&store);
    disk
}

/// A store whose log has gone round: groups that run over the end of a lap, trimmed ops, a superseded
/// record, a marked slot.
fn specimen_of_a_later_lap() -> SimDisk {
    let disk = formatted_with(TINY);
    let (mut store, _) = reopen(&disk);
    let mut entries = vec![mixed_entry_after(&Header::root(CLUSTER), 1)];
    for op in 2..=40 {
        let length = if op % 8 == 0 { 9000 } else { op % 7 };
        entries.push(entry_after(entries.last().unwrap().header(), 1, length));
    }
    append(&mut store, &entries[..2]);
    for at in 2..entries.len() {
        append(&mut store, &entries[at..=at]);
        if at % 3 == 0 {
            store.sync().unwrap();
        }
        let trimmed = entries[at.max(8) - 8].header();
        store
            .write(&WriteKind::Superblock(Box::new(trimming(2, &entries[..=at], trimmed))))
            .unwrap();
    }
    append(&mut store, &entries[37..38]);
    store.sync().unwrap();
    store.write(&WriteKind::MarkFaulty(OpNumber(35))).unwrap();
    store.sync().unwrap();
    while store.idle().unwrap() {}
    meet(&store);
    disk
}

/// A store whose entries have predicted values, one of them without bytes. No store of version 1 has any.
fn specimen_of_predicted_values() -> SimDisk {
    let disk = formatted();
    let (mut store, _) = open(&disk);
    let mut entries = vec![mixed_entry_after(&Header::root(CLUSTER), 1)];
    for value in [16, 0, 300] {
        let next = predicted_entry_after(entries.last().unwrap().header(), 1, 20, value);
        entries.push(next);
    }
    append(&mut store, &entries);
    store.write(&WriteKind::Superblock(Box::new(state(2, &entries)))).unwrap();
    store.sync().unwrap();
    while store.idle().unwrap() {}
    meet(&store);
    let start = Start::new(Incarnation(4), 0x57a6).next(Incarnation(5), 0x57a7);
    store.known_stores().hear(ReplicaId(2), StoreId(0x59), start).unwrap();
    disk
}

fn meet(store: &Store<SimDisk>) {
    let met = store.known_stores().meet(ReplicaId(2), StoreId(0x59), Start::default());
    assert_eq!(met.unwrap(), Acquaintance::Known);
}

/// Every line of 32 bytes that is not all zeros, with its offset.
fn dump(bytes: &[u8]) -> String {
    let mut dump = format!("length {}\n", bytes.len());
    for (line, bytes) in bytes.chunks(32).enumerate() {
        if bytes.iter().any(|byte| *byte != 0) {
            write!(dump, "{:08x} ", line * 32).unwrap();
            for byte in bytes {
                write!(dump, "{byte:02x}").unwrap();
            }
            dump.push('\n');
        }
    }
    dump
}

fn load(disk: &SimDisk, name: &str, dump: &str) {
    let mut lines = dump.lines();
    let length: u64 = lines.next().unwrap()["length ".len()..].parse().unwrap();
    disk.place(name, length - 1, &[0]);
    for line in lines {
        let (offset, hex) = line.split_once(' ').unwrap();
        let bytes: Vec<u8> = (0..hex.len() / 2)
            .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
            .collect();
        disk.place(name, u64::from_str_radix(offset, 16).unwrap(), &bytes);
    }
}

fn golden(version: u32, name: &str) -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    directory.join(format!("v{version}-{name}.hex"))
}

#[test]
fn this_version_writes_its_golden_bytes() {
    for (specimen, lap) in [
        (specimen(), ""),
        (specimen_of_a_later_lap(), "-later-lap"),
        (specimen_of_predicted_values(), "-predicted"),
    ] {
        for name in ["superblock", "peers", "log"] {
            let path = golden(FORMAT_VERSION, &format!("{name}{lap}"));
            let dump = dump(&specimen.contents(name));
            if std::env::var_os("VSR_GOLDEN").is_some() {
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(&path, &dump).unwrap();
            }
            let expected = std::fs::read_to_string(&path).unwrap();
            assert!(dump == expected, "{name} differs from {}", path.display());
        }
    }
}

fn stored_by(version: u32, lap: &str) -> SimDisk {
    let disk = SimDisk::new();
    for name in ["superblock", "peers", "log"] {
        let dump = std::fs::read_to_string(golden(version, &format!("{name}{lap}"))).unwrap();
        load(&disk, name, &dump);
    }
    disk
}

#[test]
fn stores_of_every_version_open() {
    for version in 1..=FORMAT_VERSION {
        let (store, stored) = open(&stored_by(version, ""));
        assert_eq!(stored.superblock.view.0, 2);
        assert_eq!(stored.superblock.op, OpNumber(5));
        assert_eq!(stored.slots.len(), 7);
        assert!(matches!(stored.slots[0], StoredSlot::Held(_)));
        assert!(matches!(stored.slots[2], StoredSlot::Faulty(_)));
        assert_eq!(stored.slots[5..], [StoredSlot::Empty, StoredSlot::Unreadable]);
        let (read, faulty) = store.read(OpNumber(1), OpNumber(7), u64::MAX);
        assert_eq!((read.len(), faulty), (4, vec![OpNumber(3), OpNumber(7)]));
        assert_eq!(read[0].requests().len(), 2);
    }
}

#[test]
fn stores_with_predicted_values_open() {
    for version in 2..=FORMAT_VERSION {
        let (store, stored) = open(&stored_by(version, "-predicted"));
        assert_eq!(stored.slots.len(), 4);
        let (read, faulty) = store.read(OpNumber(1), OpNumber(4), u64::MAX);
        assert_eq!(faulty, []);
        assert!(read.iter().all(vsr_core::Entry::is_intact));
        let lengths = read.iter().map(|entry| entry.prediction().map(bytes::Bytes::len));
        assert_eq!(lengths.collect::<Vec<_>>(), [None, Some(16), Some(0), Some(300)]);
    }
}

#[test]
fn stores_of_every_version_whose_log_has_gone_round_open() {
    for version in 1..=FORMAT_VERSION {
        let (store, stored) = reopen(&stored_by(version, "-later-lap"));
        assert!(store.opened().is_clean(), "{:?}", store.opened());
        assert_eq!(stored.superblock.trimmed.op, OpNumber(32));
        assert_eq!(stored.slots.len(), 8);
        assert!(matches!(stored.slots[2], StoredSlot::Faulty(_)));
        let (read, faulty) = store.read(OpNumber(1), OpNumber(50), u64::MAX);
        assert_eq!((read.len(), faulty), (7, vec![OpNumber(35)]));
        assert_eq!(read[0].header().op, OpNumber(33));
    }
}

/// The head of a file of a later version, sealed as that version would seal it.
#[test]
fn a_store_of_a_later_version_is_refused_with_exit_status_7() {
    let disk = specimen();
    let mut copy = disk.contents("superblock")[..4096].to_vec();
    copy[24..28].copy_from_slice(&(FORMAT_VERSION + 1).to_le_bytes());
    let checksum = vsr_core::Checksum::of(&copy[24..]);
    copy[8..24].copy_from_slice(&checksum.0.to_le_bytes());
    let later = disk.fork();
    later.place("superblock", 0, &copy);
    let mut head = disk.contents("log")[..64].to_vec();
    head[12..16].copy_from_slice(&(FORMAT_VERSION + 1).to_le_bytes());
    let crc = crc32c::crc32c(&head[12..]);
    head[8..12].copy_from_slice(&crc.to_le_bytes());
    disk.place("log", 0, &head);
    for disk in [disk, later] {
        let error = Store::open(disk).unwrap_err();
        assert!(matches!(error, OpenError::Newer { found, .. } if found == FORMAT_VERSION + 1));
        assert_eq!(error.exit_status(), 7);
    }
}
