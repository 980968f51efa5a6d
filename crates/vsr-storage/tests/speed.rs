//! What must stay cheap, with bounds so wide that only a change of kind breaks them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;

use std::time::{Duration, Instant};

use common::*;
use vsr_core::Constants;
use vsr_storage::{FileDisk, Format, SimDisk, Store};

#[test]
fn a_log_of_many_entries_opens_by_its_headers_without_reading_its_records() {
    let directory = tempfile::tempdir().unwrap();
    let count = std::env::var("VSR_SPEED_ENTRIES").map_or(5_000, |count| count.parse().unwrap());
    let format = Format { constants: Constants::DEFAULT, ..format() };
    Store::format(&FileDisk::open(directory.path()).unwrap(), &format).unwrap();
    let (mut store, ..) = Store::open(FileDisk::open(directory.path()).unwrap()).unwrap();
    let entries = chain(count, 0, 5_000);
    let start = Instant::now();
    for group in entries.chunks(64) {
        append(&mut store, group);
        store.sync().unwrap();
    }
    eprintln!("{count} entries of 5000 bytes in groups of 64: {:?}", start.elapsed());
    let start = Instant::now();
    for entry in entries.last().map(|last| entry_after(last.header(), 0, 300)).into_iter() {
        append(&mut store, &[entry]);
        store.sync().unwrap();
    }
    eprintln!("one entry of 300 bytes: {:?}", start.elapsed());
    drop(store);
    let disk = FileDisk::open(directory.path()).unwrap();
    let start = Instant::now();
    let (store, _, stored) = Store::open(disk).unwrap();
    let took = start.elapsed();
    eprintln!("opened in {took:?}");
    assert_eq!(stored.slots.len() as u64, count + 1);
    assert!(took < Duration::from_secs(5));
    drop(store);
}

#[test]
fn a_small_append_and_sync_on_the_simulated_disk_is_a_matter_of_microseconds() {
    let format = Format {
        constants: Constants { log_slots: 1 << 16, log_bytes: 1 << 30, ..SMALL },
        ..format()
    };
    let disk = SimDisk::new();
    Store::format(&disk, &format).unwrap();
    let (mut store, ..) = Store::open(disk.clone()).unwrap();
    let count = 20_000;
    let entries = chain(count, 0, 100);
    let writes: Vec<_> =
        entries.into_iter().map(|entry| vsr_core::WriteKind::Append(vec![entry])).collect();
    let start = Instant::now();
    for write in &writes {
        store.write(write).unwrap();
        store.sync().unwrap();
    }
    let each = start.elapsed() / count as u32;
    eprintln!("{each:?} for each append and sync");
    assert!(each < Duration::from_millis(1));
}
