//! A store keeps what was synced, in the order given, and says what it costs.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;

use common::*;
use vsr_core::{OpNumber, StoredSlot, WriteKind};
use vsr_storage::{Disk, FormatError, OpenError, SimDisk, Store};

#[test]
fn a_formatted_store_opens_empty_with_what_it_was_told() {
    let disk = formatted();
    let (store, stored) = open(&disk);
    assert!(store.opened().is_clean());
    assert_eq!(stored.slots, []);
    assert_eq!(stored.superblock.view.0, 0);
    assert_eq!(stored.superblock.headers, state(0, &[]).headers);
}

#[test]
fn an_unformatted_directory_is_empty_and_never_a_new_replica() {
    let error = Store::open(SimDisk::new()).unwrap_err();
    assert!(matches!(error, OpenError::Empty));
    assert_eq!(error.exit_status(), 2);
    assert!(error.to_string().contains("vsr format"));
}

#[test]
fn format_refuses_a_directory_that_holds_anything_of_a_store() {
    let disk = formatted();
    let error = Store::format(&disk, &format()).unwrap_err();
    assert!(matches!(error, FormatError::NotEmpty { .. }));
    disk.remove("superblock").unwrap();
    let error = Store::format(&disk, &format()).unwrap_err();
    assert!(matches!(error, FormatError::NotEmpty { .. }));
    let error = Store::open(disk).unwrap_err();
    assert_eq!(error.exit_status(), 6, "{error}");
}

#[test]
fn what_was_synced_is_there_after_the_power_failed() {
    let disk = formatted();
    let entries = chain(20, 0, 300);
    let (mut store, _) = open(&disk);
    for group in entries.chunks(3) {
        append(&mut store, group);
        store.sync().unwrap();
    }
    assert_reads(&store, &entries);
    disk.lose_power(1);
    let (store, stored) = open(&disk);
    assert_holds(&store, &stored, &entries);
}

#[test]
fn a_group_costs_one_write_of_records_and_one_sync() {
    let disk = formatted();
    let (mut store, _) = open(&disk);
    let entries = chain(64, 0, 300);
    append(&mut store, &entries[..32]);
    append(&mut store, &entries[32..]);
    let (writes, syncs) = (disk.writes(), disk.syncs());
    let report = store.sync().unwrap();
    assert_eq!((report.entries, report.syncs), (64, 1));
    assert_eq!(
        (disk.writes() - writes, disk.syncs() - syncs),
        (1, 1),
        "the first group has no earlier ring headers to take along"
    );
}

#[test]
fn ring_headers_go_with_the_next_group_or_alone_when_idle() {
    let disk = formatted();
    let (mut store, _) = open(&disk);
    let entries = chain(4, 0, 300);
    append(&mut store, &entries[..2]);
    store.sync().unwrap();
    append(&mut store, &entries[2..]);
    let (writes, syncs) = (disk.writes(), disk.syncs());
    store.sync().unwrap();
    assert_eq!((disk.writes() - writes, disk.syncs() - syncs), (2, 1));
    assert!(!store.idle().unwrap());
    assert_eq!((disk.writes() - writes, disk.syncs() - syncs), (3, 2));
    assert!(!store.idle().unwrap());
    assert_eq!(disk.syncs() - syncs, 2, "nothing is left to do");
    drop(store);
    let (store, stored) = open(&disk);
    assert!(store.opened().is_clean());
    assert_holds(&store, &stored, &entries);
}

#[test]
fn a_superblock_is_durable_after_what_was_given_before_it_and_before_what_came_after() {
    let disk = formatted();
    let (mut store, _) = open(&disk);
    let entries = chain(3, 0, 300);
    append(&mut store, &entries[..2]);
    store.write(&WriteKind::Superblock(Box::new(state(1, &entries[..1])))).unwrap();
    store.write(&WriteKind::Superblock(Box::new(state(2, &entries[..2])))).unwrap();
    append(&mut store, &entries[2..]);
    let report = store.sync().unwrap();
    assert_eq!(report.syncs, 3, "two groups, and the latest superblock");
    disk.lose_power(3);
    let (store, stored) = open(&disk);
    assert_eq!(stored.superblock, state(2, &entries[..2]));
    assert_holds(&store, &stored, &entries);
}

#[test]
fn a_slot_written_with_another_entry_holds_the_later_one() {
    let disk = formatted();
    let (mut store, _) = open(&disk);
    let first = chain(6, 0, 300);
    append(&mut store, &first);
    store.sync().unwrap();
    let mut second = first[..3].to_vec();
    for _ in 0..2 {
        let next = entry_after(second.last().unwrap().header(), 1, 200);
        second.push(next);
    }
    append(&mut store, &second[3..]);
    store.sync().unwrap();
    assert_reads(&store, &second);
    disk.lose_power(9);
    for idle in [false, true] {
        let (mut store, stored) = open(&disk);
        let expected = [&second[3], &second[4], &first[5]];
        for (op, entry) in (4..).zip(expected) {
            assert_eq!(stored.slots[op - 1], StoredSlot::Held(*entry.header()));
        }
        assert_reads(&store, &second);
        while idle && store.idle().unwrap() {}
    }
}

#[test]
fn requests_of_every_kind_and_size_come_back() {
    let disk = formatted();
    let (mut store, _) = open(&disk);
    let mut entries = vec![mixed_entry_after(&vsr_core::Header::root(CLUSTER), 1)];
    for length in [0, 1, 7, 8, 9, 4095, 4096, 4097, 16 * 1024] {
        let next = entry_after(entries.last().unwrap().header(), 1, length);
        entries.push(next);
    }
    append(&mut store, &entries);
    store.sync().unwrap();
    assert_reads(&store, &entries);
    drop(store);
    let (store, stored) = open(&disk);
    assert_holds(&store, &stored, &entries);
    let (some, faulty) = store.read(OpNumber(2), OpNumber(5), 1);
    assert_eq!((some.len(), faulty.len()), (1, 0));
    assert_eq!(some[0], entries[1]);
    let (none, faulty) = store.read(OpNumber(11), OpNumber(50), 1000);
    assert_eq!((none.len(), faulty.len()), (0, 0));
}
