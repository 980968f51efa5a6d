//! Opening reads what is live and little more, however large the log is and however often it went round.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::*;
use vsr_core::Constants;
use vsr_storage::{Disk, DiskError, File, SimDisk, SimDiskFile, Store};

/// A disk that counts the bytes that are read from it.
#[derive(Clone)]
struct Counting {
    disk: SimDisk,
    bytes: Arc<AtomicU64>,
}

struct CountingFile {
    file: SimDiskFile,
    bytes: Arc<AtomicU64>,
}

impl Disk for Counting {
    type File = CountingFile;

    fn open(&self, name: &str) -> Result<CountingFile, DiskError> {
        Ok(CountingFile { file: self.disk.open(name)?, bytes: Arc::clone(&self.bytes) })
    }

    fn create(&self, name: &str) -> Result<CountingFile, DiskError> {
        Ok(CountingFile { file: self.disk.create(name)?, bytes: Arc::clone(&self.bytes) })
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> Result<(), DiskError> {
        self.disk.remove(name)
    }

    fn list(&self) -> Result<Vec<String>, DiskError> {
        self.disk.list()
    }

    fn sync_directory(&self) -> Result<(), DiskError> {
        self.disk.sync_directory()
    }
}

impl File for CountingFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        self.bytes.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        self.file.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.file.write_at(offset, bytes)
    }

    fn allocate(&self, from: u64, to: u64) -> Result<(), DiskError> {
        self.file.allocate(from, to)
    }

    fn set_length(&self, length: u64) -> Result<(), DiskError> {
        self.file.set_length(length)
    }

    fn length(&self) -> Result<u64, DiskError> {
        self.file.length()
    }

    fn sync(&self) -> Result<(), DiskError> {
        self.file.sync()
    }

    fn next_data(&self, offset: u64) -> u64 {
        self.file.next_data(offset)
    }

    fn forget_cached(&self, offset: u64) {
        self.file.forget_cached(offset);
    }
}

/// 36 MiB of records. A group has an eighth at the most.
const LARGE: Constants =
    Constants { request_bytes: 1 << 20, log_slots: 512, log_bytes: 32 << 20, ..SMALL };
const RECORDS_BYTES: u64 = (32 << 20) + 512 * 2 * 4096;
const GROUPS_BYTES: u64 = 2 * RECORDS_BYTES / 8;

/// What is read besides records: four superblocks, the head, the ring.
const FIXED_BYTES: u64 = 4 * 32768 + 4096 + 512 * 128;

/// Reads ahead, once a range.
const SLACK_BYTES: u64 = 4 * 256 * 1024;

#[test]
fn opening_reads_what_is_live_and_two_groups_and_not_the_capacity() {
    let counting = Counting { disk: formatted_with(LARGE), bytes: Arc::default() };
    let (mut store, ..) = Store::open(counting.clone()).unwrap();
    let mut log = vec![entry_after(&vsr_core::Header::root(CLUSTER), 1, 600_000)];
    append(&mut store, &log);
    for round in 0..140 {
        let next = entry_after(log.last().unwrap().header(), 1, 600_000);
        append(&mut store, std::slice::from_ref(&next));
        log.push(next);
        store.sync().unwrap();
        if log.len() > 3 {
            let trimmed = *log.remove(0).header();
            let state = trimming(1, &log, &trimmed);
            store.write(&vsr_core::WriteKind::Superblock(Box::new(state))).unwrap();
            store.sync().unwrap();
        }
        if [0, 30, 70, 139].contains(&round) {
            while round == 139 && store.idle().unwrap() {}
            drop(store);
            let before = counting.bytes.load(Ordering::Relaxed);
            let (opened, _, stored) = Store::open(counting.clone()).unwrap();
            let read = counting.bytes.load(Ordering::Relaxed) - before;
            assert_eq!(stored.slots.len(), log.len());
            // The last group has no ring headers where the store was not idle before.
            let live = if round == 139 { 0 } else { 2 * 600_000 };
            let bound = FIXED_BYTES + live + GROUPS_BYTES + SLACK_BYTES;
            assert!(read <= bound, "round {round}: read {read}, at most {bound}");
            assert!(bound < RECORDS_BYTES / 3);
            store = opened;
        }
    }
}
