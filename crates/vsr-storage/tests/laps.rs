//! The log goes round: what is trimmed makes room, once that is durable, and for ever.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use common::*;
use vsr_core::{
    Constants, Entry, Header, OpNumber, Stored, StoredSlot, SuperblockState, WriteKind,
};
use vsr_storage::{
    FileDisk, Finding, Inspection, OpenError, SimDisk, Store, StoreError, superblock_copies,
};

fn write(store: &mut Store<SimDisk>, entry: &Entry<Bytes>) -> Result<(), StoreError> {
    store.write(&WriteKind::Append(vec![entry.clone()]))
}

fn superblock(store: &mut Store<SimDisk>, state: SuperblockState) {
    store.write(&WriteKind::Superblock(Box::new(state))).unwrap();
}

/// Entries up to `count`, each in a group of its own; the log keeps the last eight.
fn lapped(constants: Constants, count: u64) -> (SimDisk, Store<SimDisk>, Vec<Entry<Bytes>>) {
    let disk = formatted_with(constants);
    let (mut store, _) = reopen(&disk);
    let entries = chain(count, 1, 300);
    for (at, entry) in entries.iter().enumerate() {
        append(&mut store, std::slice::from_ref(entry));
        store.sync().unwrap();
        if at >= 8 {
            superblock(&mut store, trimming(1, &entries[..=at], entries[at - 8].header()));
            store.sync().unwrap();
        }
    }
    (disk, store, entries)
}

fn assert_last_are_held(store: &Store<SimDisk>, stored: &Stored<Bytes>, entries: &[Entry<Bytes>]) {
    let kept = &entries[stored.superblock.trimmed.op.0 as usize..];
    assert_holds(store, stored, kept);
}

#[test]
fn a_log_that_is_trimmed_takes_any_number_of_entries() {
    let count = 500;
    let (disk, mut store, entries) = lapped(TINY, count);
    let length = disk.contents("log").len();
    while store.idle().unwrap() {}
    drop(store);
    let (store, stored) = reopen(&disk);
    assert!(store.opened().is_clean(), "{:?}", store.opened());
    assert_eq!(stored.superblock.trimmed, *entries[491].header());
    assert_last_are_held(&store, &stored, &entries);
    assert!(count * 4096 > 10 * length as u64, "the log has gone round");
    let inspection = Inspection::open(&disk).unwrap();
    assert_eq!((inspection.first_op(), inspection.last_op()), (OpNumber(493), OpNumber(500)));
    assert_eq!(inspection.entry(OpNumber(492)), None);
    assert_eq!(inspection.entry(OpNumber(493)), Some(entries[492].clone()));
    let reports: Vec<_> = inspection.slots(OpNumber(1), OpNumber(1000)).collect();
    assert_eq!(reports.len(), 8);
    assert!(reports.iter().all(|report| report.in_ring && report.record.is_some()));
    let mut findings = Vec::new();
    inspection.verify(&disk, |finding| findings.push(finding)).unwrap();
    // The log is trimmed by superblocks that name checkpoints which nobody took.
    assert!(matches!(findings[..], [Finding::NoCheckpoint { .. }]), "{findings:?}");
}

#[test]
fn a_group_and_a_record_that_run_over_the_end_of_a_lap_come_back() {
    let disk = formatted_with(TINY);
    let (mut store, _) = reopen(&disk);
    let mut log: Vec<Entry<Bytes>> = Vec::new();
    let mut trimmed = Header::root(CLUSTER);
    let mut straddled = 0;
    for round in 0..60 {
        for length in [4090, 3000, 2000] {
            let entry = entry_after(log.last().map_or(&trimmed, Entry::header), 1, length);
            append(&mut store, std::slice::from_ref(&entry));
            log.push(entry);
        }
        store.sync().unwrap();
        assert_reads(&store, &log);
        if round % 7 == 0 {
            drop(store);
            let (reopened, stored) = reopen(&disk);
            assert_holds(&reopened, &stored, &log);
            store = reopened;
        }
        let inspection = Inspection::open(&disk).unwrap();
        let file_end = disk.contents("log").len() as u64;
        straddled += inspection
            .slots(OpNumber(1), inspection.last_op())
            .filter_map(|report| report.record)
            .filter(|(offset, length)| offset + u64::from(*length) > file_end)
            .count();
        trimmed = *log[log.len() - 3].header();
        superblock(&mut store, trimming(1, &log, &trimmed));
        store.sync().unwrap();
        log.drain(..log.len() - 2);
    }
    assert!(straddled > 0);
}

#[test]
fn a_full_log_takes_entries_again_behind_a_superblock_that_trims() {
    let disk = formatted_with(TINY);
    let (mut store, _) = reopen(&disk);
    let entries = chain(12, 1, 9000);
    let mut kept = 0;
    while write(&mut store, &entries[kept]).is_ok() {
        store.sync().unwrap();
        kept += 1;
    }
    assert!(kept < 11, "the records fill the log before the slots do");
    assert!(store.is_nearly_full());
    superblock(&mut store, trimming(1, &entries[..kept], entries[2].header()));
    assert!(!store.is_nearly_full());
    // Given before the superblock is durable, written after it.
    write(&mut store, &entries[kept]).unwrap();
    let report = store.sync().unwrap();
    assert_eq!((report.syncs, report.entries), (2, 1));
    let (gone, faulty) = store.read(OpNumber(1), OpNumber(3), u64::MAX);
    assert_eq!((gone.len(), faulty.len()), (0, 0));
    disk.lose_power(1);
    let (store, stored) = reopen(&disk);
    assert_holds(&store, &stored, &entries[3..=kept]);
}

#[test]
fn slots_are_refused_until_their_former_ops_are_trimmed() {
    let disk = formatted_with(TINY);
    let (mut store, _) = reopen(&disk);
    let entries = chain(20, 1, 40);
    append(&mut store, &entries[..11]);
    assert!(matches!(write(&mut store, &entries[11]), Err(StoreError::LogFull)));
    store.sync().unwrap();
    superblock(&mut store, trimming(1, &entries[..11], entries[4].header()));
    append(&mut store, &entries[11..16]);
    assert!(matches!(write(&mut store, &entries[16]), Err(StoreError::LogFull)));
    store.sync().unwrap();
    while store.idle().unwrap() {}
    let (store, stored) = reopen(&disk);
    assert_holds(&store, &stored, &entries[5..16]);
}

#[test]
fn a_checkpoint_above_everything_held_leaves_an_empty_log_behind_it() {
    for idle in [false, true] {
        let (disk, mut store, entries) = lapped(TINY, 40);
        let ahead = entry_after(&Header { op: OpNumber(1_000_000), ..*entries[39].header() }, 2, 0);
        superblock(&mut store, trimming(2, std::slice::from_ref(&ahead), ahead.header()));
        let next = entry_after(ahead.header(), 2, 700);
        append(&mut store, std::slice::from_ref(&next));
        store.sync().unwrap();
        while idle && store.idle().unwrap() {}
        assert_reads(&store, std::slice::from_ref(&next));
        disk.lose_power(3);
        let (mut store, stored) = reopen(&disk);
        assert_eq!(stored.superblock.trimmed, *ahead.header());
        assert_holds(&store, &stored, std::slice::from_ref(&next));
        // And the whole log is free.
        let mut log = vec![next];
        for _ in 0..10 {
            let entry = entry_after(log.last().unwrap().header(), 2, 9000);
            match write(&mut store, &entry) {
                Ok(()) => log.push(entry),
                Err(_) => break,
            }
            store.sync().unwrap();
        }
        assert!(log.len() > 8, "{}", log.len());
        let (store, stored) = reopen(&disk);
        assert_holds(&store, &stored, &log);
    }
}

/// The ring is filled with zeros piece by piece ahead of use, and only where nothing was ever written.
#[test]
fn slots_are_used_in_any_order_and_never_wiped() {
    let constants = Constants { log_slots: 4096, ..TINY };
    let directory = tempfile::tempdir().unwrap();
    let disk = || FileDisk::open(directory.path()).unwrap();
    Store::format(&disk(), &format_with(constants)).unwrap();
    let mut trimmed = Header::root(CLUSTER);
    // Through the first slots, then to some near the end and over it, then into the middle.
    for begin in [0, 4000, 4096 + 2000, 3 * 4096 - 3] {
        let first = entry_after(&Header { op: OpNumber(begin), ..trimmed }, 1, 0);
        trimmed = *first.header();
        let (mut store, ..) = Store::open(disk()).unwrap();
        let state = trimming(1, std::slice::from_ref(&first), &trimmed);
        store.write(&WriteKind::Superblock(Box::new(state))).unwrap();
        let mut log = Vec::new();
        for _ in 0..4 {
            for _ in 0..300 {
                log.push(entry_after(log.last().map_or(&trimmed, Entry::header), 1, 10));
            }
            append(&mut store, &log[log.len() - 300..]);
            store.sync().unwrap();
            while store.idle().unwrap() {}
            drop(store);
            let (reopened, _, stored) = Store::open(disk()).unwrap();
            assert!(reopened.opened().is_clean(), "{:?}", reopened.opened());
            assert_holds(&reopened, &stored, &log);
            store = reopened;
        }
    }
}

/// Whatever the lap and wherever in it the log begins.
#[test]
fn a_log_that_is_full_to_the_last_sector_has_overwritten_nothing() {
    for begin in 1..60 {
        let disk = formatted_with(TINY);
        let (mut store, _) = reopen(&disk);
        let entries = chain(70, 1, 300);
        // The last two before the log begins share a group, so that it may begin within a sector.
        for at in (0..begin).step_by(2) {
            append(&mut store, &entries[at..begin.min(at + 2)]);
            store.sync().unwrap();
            superblock(&mut store, trimming(1, &entries[..=at], entries[at].header()));
            store.sync().unwrap();
        }
        let trimmed = Inspection::open(&disk).unwrap().state().trimmed.op.0 as usize;
        append(&mut store, &entries[begin..begin + 3]);
        store.sync().unwrap();
        let mut spare = entries[begin + 2].clone();
        let mut groups = 0;
        loop {
            // The last op again and again: nothing else is superseded.
            spare = entry_after(entries[begin + 1].header(), spare.header().view.0 + 1, 300);
            match write(&mut store, &spare) {
                Ok(()) => groups += 1,
                Err(StoreError::LogFull) => break,
                Err(error) => panic!("{error}"),
            }
            store.sync().unwrap();
        }
        assert!(groups >= 24, "{groups}");
        let last = entry_after(entries[begin + 1].header(), spare.header().view.0 - 1, 300);
        let mut kept = entries[trimmed..begin + 2].to_vec();
        kept.push(last);
        assert_reads(&store, &kept);
        for seed in 0..2 {
            disk.lose_power_spoiling(seed);
            let (store, stored) = reopen(&disk);
            assert_holds(&store, &stored, &kept);
        }
    }
}

#[test]
fn a_trimmed_op_is_neither_held_nor_faulty_and_cannot_be_marked() {
    let (disk, mut store, entries) = lapped(TINY, 40);
    let syncs = disk.syncs();
    store.mark_faulty(OpNumber(10));
    store.mark_faulty(OpNumber(32));
    store.mark_faulty(OpNumber(32 + 12));
    store.sync().unwrap();
    assert_eq!(disk.syncs(), syncs, "there was nothing to mark");
    store.mark_faulty(OpNumber(35));
    store.sync().unwrap();
    let (read, faulty) = store.read(OpNumber(1), OpNumber(100), u64::MAX);
    assert_eq!((read.len(), faulty), (7, vec![OpNumber(35)]));
    let (store, stored) = reopen(&disk);
    assert_eq!(stored.slots[2], StoredSlot::Faulty(*entries[34].header()));
    assert_eq!(store.read(OpNumber(1), OpNumber(100), u64::MAX).1, [OpNumber(35)]);
}

#[test]
fn what_contradicts_an_earlier_trim_is_a_bug_of_the_caller() {
    let (_disk, mut store, entries) = lapped(TINY, 40);
    let mut refuses = |kind: WriteKind<Bytes>| {
        catch_unwind(AssertUnwindSafe(|| drop(store.write(&kind)))).is_err()
    };
    let earlier = trimming(1, &entries, entries[30].header());
    assert!(
        refuses(WriteKind::Superblock(Box::new(earlier))),
        "the log does not begin earlier again"
    );
    let beyond = SuperblockState {
        trimmed: *entries[35].header(),
        ..trimming(1, &entries, entries[33].header())
    };
    assert!(
        refuses(WriteKind::Superblock(Box::new(beyond))),
        "nothing that no checkpoint has is let go"
    );
    assert!(refuses(WriteKind::Append(vec![entries[31].clone()])), "what was let go stays so");
    assert!(!refuses(WriteKind::Superblock(Box::new(trimming(1, &entries, entries[31].header())))));
}

/// Two copies name a trim before the log counts on it: also where a crash left one.
#[test]
fn a_superblock_that_a_crash_left_in_one_copy_has_two_before_the_log_goes_on() {
    let (disk, mut store, entries) = lapped(TINY, 40);
    while store.idle().unwrap() {}
    let before = disk.contents("superblock");
    superblock(&mut store, trimming(1, &entries, entries[37].header()));
    store.sync().unwrap();
    drop(store);
    // Of the two copies that were being written one is torn.
    let newest = |disk: &SimDisk| {
        let copies = superblock_copies(disk).unwrap();
        let generations: Vec<u64> = copies
            .iter()
            .map(|copy| copy.content.as_ref().map_or(0, |content| content.0))
            .collect();
        let latest = *generations.iter().max().unwrap();
        (0..4).filter(|copy| generations[*copy] == latest).collect::<Vec<_>>()
    };
    let written = newest(&disk);
    assert_eq!(written.len(), 2);
    let torn = written[1] * 32768;
    disk.place("superblock", torn as u64, &before[torn..][..32768]);
    disk.corrupt("superblock", torn as u64 + 100, &[1]);
    assert_eq!(newest(&disk).len(), 1);
    let (_, stored) = reopen(&disk);
    assert_eq!(stored.superblock.trimmed, *entries[37].header());
    assert!(newest(&disk).len() >= 2);
    // Any one of them may be lost.
    for copy in newest(&disk) {
        let disk = disk.fork();
        disk.corrupt("superblock", copy as u64 * 32768 + 100, &[1]);
        assert_eq!(reopen(&disk).1.superblock, stored.superblock);
    }
}

/// More than one fault is needed for this. What the lost superblock promised is gone with it.
#[test]
fn a_log_that_went_on_after_a_superblock_that_is_lost_is_refused() {
    let (disk, mut store, entries) = lapped(TINY, 40);
    while store.idle().unwrap() {}
    let old = disk.contents("superblock");
    let mut log = entries;
    for _ in 0..30 {
        log.push(entry_after(log.last().unwrap().header(), 1, 300));
        superblock(&mut store, trimming(1, &log, log[log.len() - 9].header()));
        append(&mut store, &log[log.len() - 1..]);
        store.sync().unwrap();
    }
    while store.idle().unwrap() {}
    drop(store);
    disk.place("superblock", 0, &old);
    let error = Store::open(disk.clone()).unwrap_err();
    assert!(matches!(error, OpenError::SuperblockLost), "{error}");
    assert_eq!(error.exit_status(), 6);
    assert!(Inspection::open(&disk).is_err());
    assert!(superblock_copies(&disk).unwrap().iter().all(|copy| copy.content.is_ok()));
}

/// Otherwise nothing would tell, once its ring header is lost, that it was ever there.
#[test]
fn the_bytes_of_an_unreadable_op_are_kept_until_it_is_written_again_or_trimmed() {
    let disk = formatted_with(TINY);
    let (mut store, _) = reopen(&disk);
    let entries = chain(11, 1, 300);
    for entry in &entries[..10] {
        append(&mut store, std::slice::from_ref(entry));
        store.sync().unwrap();
    }
    // The record of op 5 and the ring are lost: nobody knows any more what op 5 was.
    let record = |op| {
        let inspection = Inspection::open(&disk).unwrap();
        inspection.slots(OpNumber(op), OpNumber(op)).next().unwrap().record.unwrap().0
    };
    disk.corrupt("log", record(5) + 40, &[1]);
    disk.place("log", 4096, &[0; 4096]);
    let (mut store, stored) = reopen(&disk);
    assert_eq!(stored.slots[4], StoredSlot::Unreadable);
    superblock(&mut store, trimming(1, &entries[..10], entries[3].header()));
    store.sync().unwrap();
    while store.idle().unwrap() {}
    disk.place("log", 4096, &[0; 4096]);
    let (mut store, stored) = reopen(&disk);
    assert_eq!(stored.slots[0], StoredSlot::Unreadable);
    assert_eq!(stored.slots[5], StoredSlot::Held(*entries[9].header()));
    // A record of the op above the head would lie behind that of the head, where nothing is damaged.
    assert_eq!(stored.slots.len(), 6);
    append(&mut store, &[entries[4].clone(), entries[10].clone()]);
    store.sync().unwrap();
    superblock(&mut store, trimming(1, &entries, entries[4].header()));
    store.sync().unwrap();
    while store.idle().unwrap() {}
    disk.place("log", 4096, &[0; 4096]);
    let (store, stored) = reopen(&disk);
    assert_holds(&store, &stored, &entries[5..]);
}

/// A record that was superseded lies below everything needed and may be overwritten, while the ring
/// still names it.
#[test]
fn a_ring_header_whose_record_was_superseded_and_let_go_holds_nothing() {
    let disk = formatted_with(TINY);
    let (mut store, _) = reopen(&disk);
    let entries = chain(3, 1, 300);
    append(&mut store, &entries);
    store.sync().unwrap();
    while store.idle().unwrap() {}
    let later = entry_after(entries[1].header(), 2, 400);
    append(&mut store, std::slice::from_ref(&later));
    store.sync().unwrap();
    superblock(&mut store, trimming(2, &[], entries[1].header()));
    store.sync().unwrap();
    drop(store);
    let (_, stored) = reopen(&disk.fork());
    assert_eq!(stored.slots, [StoredSlot::Held(*later.header())]);
    // The later record is damaged: the earlier one does not come back, and the op is not missing.
    let inspection = Inspection::open(&disk).unwrap();
    let (offset, _) = inspection.slots(OpNumber(3), OpNumber(3)).next().unwrap().record.unwrap();
    disk.corrupt("log", offset + 50, &[1]);
    for _ in 0..2 {
        let (_, stored) = reopen(&disk);
        assert_eq!(stored.slots[0], StoredSlot::Unreadable);
    }
}
