//! Bytes of each format version, as they were when it was released. The present version writes them
//! again, byte for byte; every version that was ever released opens.
//!
//! `VSR_GOLDEN=write cargo test -p vsr-storage --test checkpoint` writes those of a new version.
//! Files of a released version never change.

use std::fmt::Write as _;
use std::path::PathBuf;

use vsr_core::{KeptReply, OpNumber, Timestamp};
use vsr_storage::{Checkpoints, FORMAT_VERSION, MANIFEST_VERSION, SimDisk, TABLE_VERSION};

use crate::helpers::*;
use crate::table::{encode, session};

const PACK: &str = "pack-0";

/// A checkpoint of both sections, with an empty chunk and one that comes twice.
fn specimen() -> (SimDisk, Checkpoints<SimDisk>, State) {
    let disk = SimDisk::new();
    let mut checkpoints = open(&disk);
    let state = vec![vec![], vec![7; 100], chunk(3, 1, 61), vec![7; 100]];
    write(&mut checkpoints, &disk, 9, &state);
    (disk, checkpoints, state)
}

fn sessions() -> Vec<(u32, vsr_core::SessionState<bytes::Bytes>)> {
    let reply = KeptReply::Reply(bytes::Bytes::from_static(b"a reply"));
    vec![session(0, reply), session(3, KeptReply::None), session(300, KeptReply::TooLarge)]
}

fn golden(kind: &str, version: u32) -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    directory.join(format!("v{version}-{kind}.hex"))
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

fn load(dump: &str) -> Vec<u8> {
    let mut lines = dump.lines();
    let mut bytes = vec![0; lines.next().unwrap()["length ".len()..].parse().unwrap()];
    for line in lines {
        let (offset, hex) = line.split_once(' ').unwrap();
        let offset = usize::from_str_radix(offset, 16).unwrap();
        for at in 0..hex.len() / 2 {
            let byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap();
            bytes[offset + at] = byte;
        }
    }
    bytes
}

fn assert_golden(kind: &str, version: u32, bytes: &[u8]) {
    let path = golden(kind, version);
    let dump = dump(bytes);
    if std::env::var_os("VSR_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &dump).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    assert!(dump == expected, "{kind} differs from {}", path.display());
}

#[test]
fn this_version_writes_its_golden_bytes() {
    let (disk, mut checkpoints, _) = specimen();
    let info = *checkpoints.iter().next().unwrap();
    let manifest = checkpoints.manifest(info.id).unwrap().encode();
    assert_golden("manifest", MANIFEST_VERSION, &manifest);
    assert_golden("checkpoint", FORMAT_VERSION, &disk.contents(&names(&disk)[0]));
    assert_golden("pack", FORMAT_VERSION, &disk.contents(PACK));
    let other = SimDisk::new();
    checkpoints = open(&other);
    checkpoints.begin_fetch(&other, info.id, &manifest).unwrap();
    assert_golden("fetch", FORMAT_VERSION, &other.contents("fetch"));
    for (place, chunk) in encode(&sessions()).iter().enumerate() {
        assert_golden(&format!("table-{place}"), TABLE_VERSION, chunk);
    }
}

#[test]
fn checkpoints_of_every_version_open() {
    let read = |kind, version| load(&std::fs::read_to_string(golden(kind, version)).unwrap());
    let (_, written, state) = specimen();
    let info = *written.iter().next().unwrap();
    for version in 1..=FORMAT_VERSION {
        let disk = SimDisk::new();
        let name = format!("checkpoint-9-{:032x}", info.id.0);
        disk.place(&name, 0, &read("checkpoint", version));
        disk.place(PACK, 0, &read("pack", version));
        let mut checkpoints = open(&disk);
        assert!(checkpoints.opened().is_clean());
        assert_holds(&mut checkpoints, &disk, &info, &state);
        assert_eq!(checkpoints.iter().next().unwrap().header.op, OpNumber(9));

        let disk = SimDisk::new();
        disk.place("fetch", 0, &read("fetch", version));
        let mut checkpoints = open(&disk);
        assert_eq!(checkpoints.fetching(), Some(info.id));
        assert_eq!(checkpoints.missing().count(), 5);
        let manifest = read("manifest", MANIFEST_VERSION);
        checkpoints.begin_fetch(&disk, info.id, &manifest).unwrap();
    }
    for version in 1..=TABLE_VERSION {
        let chunks = [read("table-0", version), read("table-1", version)];
        let mut expected = sessions();
        if version == 1 {
            // It had no times.
            for (_, state) in &mut expected {
                state.last_used = Timestamp::ZERO;
            }
        }
        assert_eq!(vsr_storage::decode_sessions(chunks), Ok(expected));
    }
}
