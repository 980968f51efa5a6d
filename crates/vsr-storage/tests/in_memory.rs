//! A store whose log is in memory: on disk is the fence, and nothing else (docs/STORAGE.md).
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use common::{CLUSTER, append, chain, entry_after, format_with, formatted_with, reopen, state};
use vsr_core::{
    Checkpoint, Checksum, Constants, Durability, Header, Incarnation, OpNumber, SuperblockState,
    ViewNumber, WriteKind,
};
use vsr_storage::{Inspection, OpenError, PowerCut, SimDisk, Store, superblock_copies};

const IN_MEMORY: Constants = Constants { durability: Durability::Memory, ..common::SMALL };

fn superblock(store: &mut Store<SimDisk>, state: SuperblockState) {
    store.write(&WriteKind::Superblock(Box::new(state))).unwrap();
}

/// What the store must tell at a start: who it is, and in which view it may have spoken.
fn fence(incarnation: u64, view: u64) -> SuperblockState {
    SuperblockState {
        incarnation: Incarnation(incarnation),
        view: ViewNumber(view),
        ..SuperblockState::formatted(Header::root(CLUSTER))
    }
}

#[test]
fn a_start_finds_the_fence_and_an_empty_log() {
    let disk = formatted_with(IN_MEMORY);
    let (mut store, stored) = reopen(&disk);
    assert_eq!((stored.superblock, stored.slots.len()), (fence(0, 0), 0));
    let log = chain(20, 3, 100);
    append(&mut store, &log);
    superblock(&mut store, SuperblockState { incarnation: Incarnation(4), ..state(3, &log) });
    store.sync().unwrap();
    let (read, faulty) = store.read(OpNumber(1), OpNumber(20), 1 << 20);
    assert_eq!((read, faulty), (log, Vec::new()), "while the process lives");
    drop(store);
    let (store, stored) = reopen(&disk);
    assert_eq!(stored.superblock, fence(4, 3));
    assert!(stored.slots.is_empty() && stored.sessions.is_empty());
    assert_eq!(store.format_of(), &format_with(IN_MEMORY));
}

/// An entry costs no sync, nor does anything in a superblock but the fence.
#[test]
fn the_disk_is_synced_for_the_fence_alone() {
    let disk = formatted_with(IN_MEMORY);
    let (mut store, _) = reopen(&disk);
    superblock(&mut store, fence(1, 0));
    assert_eq!(store.sync().unwrap().syncs, 1);
    let log = chain(8, 0, 100);
    let before = disk.operations();
    append(&mut store, &log);
    let report = store.sync().unwrap();
    assert_eq!((report.syncs, report.entries, report.bytes), (0, 8, 0));
    let checkpoint = Checkpoint { header: *log[3].header(), id: Checksum(7) };
    let same = SuperblockState { incarnation: Incarnation(1), checkpoint, ..state(0, &log) };
    superblock(&mut store, SuperblockState { trimmed: checkpoint.header, ..same.clone() });
    assert_eq!(store.sync().unwrap().syncs, 0);
    assert_eq!(disk.operations(), before, "the disk was left alone");
    superblock(
        &mut store,
        SuperblockState { view: ViewNumber(1), trimmed: checkpoint.header, ..same },
    );
    assert_eq!(store.sync().unwrap().syncs, 1);
    drop(store);
    assert_eq!(reopen(&disk).1.superblock, fence(1, 1));
}

/// Wherever the power fails, a start finds the last fence that was acknowledged, or the one that was on its
/// way.
#[test]
fn the_fence_survives_a_power_loss_at_any_operation_and_nothing_else_does() {
    let script = |disk: &SimDisk, reached: &mut u64| {
        let Ok((mut store, _, _)) = Store::open(disk.clone()) else { return };
        let log = chain(6, 0, 100);
        for (view, entry) in (1..=6).zip(&log) {
            append(&mut store, std::slice::from_ref(entry));
            let held = SuperblockState { incarnation: Incarnation(1), ..state(view, &log) };
            superblock(&mut store, held);
            if store.sync().is_err() {
                return;
            }
            *reached = view;
            if store.idle().is_err() {
                return;
            }
        }
    };
    let whole = formatted_with(IN_MEMORY);
    let first = whole.operations();
    script(&whole, &mut 0);
    let operations = first..whole.operations();
    assert!(operations.end - operations.start > 12, "{operations:?}");
    for at in operations {
        for (cut, seed) in [(PowerCut::Before, 1), (PowerCut::After, 2), (PowerCut::Before, 3)] {
            let disk = formatted_with(IN_MEMORY);
            disk.cut_power_at(at, cut);
            let mut reached = 0;
            script(&disk, &mut reached);
            disk.lose_power_spoiling(seed ^ at << 8);
            let (_, stored) = reopen(&disk);
            let view = stored.superblock.view.0;
            assert!((reached..=reached + 1).contains(&view), "{view} after {reached} at {at}");
            assert!(stored.slots.is_empty());
        }
    }
}

/// The log goes round and round in memory as it does on disk.
#[test]
fn a_log_in_memory_goes_round_behind_what_is_trimmed() {
    let disk = formatted_with(IN_MEMORY);
    let (mut store, _) = reopen(&disk);
    let mut head = Header::root(CLUSTER);
    for _ in 0..40 {
        let mut entries = Vec::new();
        for _ in 0..50 {
            let entry = entry_after(&head, 0, 2000);
            head = *entry.header();
            entries.push(entry);
        }
        append(&mut store, &entries);
        let checkpoint = Checkpoint { header: head, id: Checksum(7) };
        let held = SuperblockState {
            incarnation: Incarnation(1),
            checkpoint,
            trimmed: head,
            ..state(0, &entries)
        };
        store.sync().unwrap();
        let (read, _) = store.read(entries[0].header().op, head.op, 1 << 20);
        assert_eq!(read, entries);
        superblock(&mut store, held);
        store.sync().unwrap();
        while store.idle().unwrap() {}
    }
    assert_eq!(head.op, OpNumber(2000), "eight times what the log has slots for");
}

#[test]
fn there_is_no_log_to_inspect_and_the_superblock_says_why() {
    let disk = formatted_with(IN_MEMORY);
    assert!(matches!(Inspection::open(&disk), Err(OpenError::InMemory)));
    for copy in superblock_copies(&disk).unwrap() {
        let (_, format, _) = copy.content.unwrap();
        assert_eq!(format.constants, IN_MEMORY);
    }
}
