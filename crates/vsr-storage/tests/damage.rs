//! Bytes that change behind the store's back: each is detected and named, and damage is never taken
//! for absence.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;

use bytes::Bytes;
use common::*;
use vsr_core::{Entry, Header, OpNumber, StoredSlot, WriteKind};
use vsr_storage::{Finding, Inspection, OpenError, PowerCut, SimDisk, Store, superblock_copies};

const RING: u64 = 4096;
const SLOT: u64 = 128;
const RECORDS: u64 = RING + 256 * SLOT;

/// A store with these entries, one group each, stopped cleanly (all ring headers written) or not.
fn written(entries: &[Entry<Bytes>], cleanly: bool) -> SimDisk {
    let disk = formatted();
    let (mut store, _) = open(&disk);
    store.write(&WriteKind::Superblock(Box::new(state(1, &[])))).unwrap();
    store.sync().unwrap();
    for entry in entries {
        append(&mut store, std::slice::from_ref(entry));
        store.sync().unwrap();
    }
    while cleanly && store.idle().unwrap() {}
    disk
}

fn findings(disk: &SimDisk) -> Vec<Finding> {
    let mut findings = Vec::new();
    let inspection = Inspection::open(disk).unwrap();
    inspection.verify(disk, |finding| findings.push(finding)).unwrap();
    findings
}

fn record_of(disk: &SimDisk, op: u64) -> (u64, u32) {
    let inspection = Inspection::open(disk).unwrap();
    let slot = inspection.slots(OpNumber(op), OpNumber(op)).next().unwrap();
    slot.record.unwrap()
}

/// Either the entries as written, or an op that is called damaged; never less, never others.
fn assert_nothing_wrong(disk: &SimDisk, entries: &[Entry<Bytes>], context: &str) {
    let (store, stored) = open(disk);
    for (op, entry) in (1..).zip(entries) {
        let slot = stored.slots.get(op as usize - 1).unwrap_or(&StoredSlot::Empty);
        match slot {
            StoredSlot::Held(header) | StoredSlot::Faulty(header) => {
                assert_eq!(header, entry.header(), "{context}");
            }
            StoredSlot::Unreadable => {}
            StoredSlot::Empty => panic!("op {op} was taken for missing: {context}"),
        }
        let (read, faulty) = store.read(OpNumber(op), OpNumber(op), 1);
        match read.as_slice() {
            [read] => assert_eq!(read.requests(), entry.requests(), "{context}"),
            _ => assert_eq!(faulty, [OpNumber(op)], "{context}"),
        }
    }
}

#[test]
fn an_undamaged_store_verifies_without_findings() {
    let entries = chain(5, 1, 60);
    assert_eq!(findings(&written(&entries, true)), []);
    let unclean = findings(&written(&entries, false));
    assert!(unclean.iter().all(|finding| !finding.is_damage()), "{unclean:?}");
}

#[test]
fn each_flipped_bit_of_a_log_is_named_and_takes_nothing_away() {
    let entries = chain(3, 1, 24);
    let whole = written(&entries, true);
    let (last, extent) = record_of(&whole, 3);
    let head = 0..64;
    let ring = RING..RING + 4 * SLOT;
    let records = RECORDS..last + u64::from(extent);
    // Of the padding, a few bytes.
    let is_padding = |offset: u64| offset >= RECORDS && (offset - RECORDS) % 4096 >= 200;
    let used = |offset: &u64| !is_padding(*offset) || offset.is_multiple_of(61);
    for offset in head.chain(ring).chain(records).filter(used) {
        // All bits of each byte would take minutes; one bit that differs from byte to byte does.
        let bit = offset % 8;
        let disk = whole.fork();
        disk.corrupt("log", offset, &[1 << bit]);
        let context = format!("bit {bit} of byte {offset}");
        let found = findings(&disk);
        assert!(!found.is_empty(), "{context} goes unnoticed");
        assert_nothing_wrong(&disk, &entries, &context);
        // The next start must come to the same conclusion, or a better one.
        assert_nothing_wrong(&disk, &entries, &context);
    }
}

#[test]
fn each_flipped_bit_of_a_superblock_copy_is_named_and_the_store_opens() {
    let entries = chain(3, 1, 24);
    let whole = written(&entries, true);
    let (_, stored) = open(&whole);
    for copy in 0..4 {
        for offset in (0..600).chain((600..4096).step_by(61)) {
            let disk = whole.fork();
            disk.corrupt("superblock", copy * 32768 + offset, &[1 << (offset % 8)]);
            let found = superblock_copies(&disk).unwrap();
            assert!(found[copy as usize].content.is_err(), "byte {offset}");
            if offset % 64 == 0 {
                let named = findings(&disk);
                let is_named = |finding: &Finding| matches!(finding, Finding::SuperblockCopy { copy: c, .. } if *c == copy as usize);
                assert!(named.iter().any(is_named), "{named:?}");
                let (store, again) = open(&disk);
                assert_eq!(again, stored);
                assert_eq!(store.opened().superblock_copies_behind, 1);
            }
        }
    }
}

#[test]
fn any_three_copies_of_the_superblock_may_be_damaged_but_not_all_four() {
    let whole = written(&[], true);
    let (_, stored) = open(&whole);
    for damaged in 0_u8..16 {
        let disk = whole.fork();
        for copy in (0..4).filter(|copy| damaged & (1 << copy) != 0) {
            disk.corrupt("superblock", copy * 32768 + 100, &[0xff; 50]);
        }
        if damaged == 15 {
            let error = Store::open(disk).unwrap_err();
            assert!(matches!(error, OpenError::Unreadable { .. }));
            assert_eq!(error.exit_status(), 6);
            continue;
        }
        let (mut store, again) = open(&disk);
        assert_eq!(again, stored, "damaged {damaged:04b}");
        while store.idle().unwrap() {}
        assert_eq!(findings(&disk), [], "damaged {damaged:04b}");
    }
}

#[test]
fn a_copy_of_the_superblock_in_another_ones_place_is_not_believed() {
    let disk = written(&[], true);
    let bytes = disk.contents("superblock");
    disk.place("superblock", 32768, &bytes[..4096]);
    let copies = superblock_copies(&disk).unwrap();
    let error = copies[1].content.as_ref().unwrap_err();
    assert_eq!(error.to_string(), "misplaced: these are the bytes of copy 0");
}

/// The last record is cut at each byte, as a crash may: zeros follow. Unless something later proves
/// that it was durable, it was never acknowledged, and is gone; the others stay.
#[test]
fn a_torn_last_record_is_empty_at_each_length() {
    let entries = chain(4, 1, 40);
    let whole = written(&entries, false);
    let (offset, extent) = record_of(&whole, 4);
    let size = 120 + 40 + 40;
    for kept in 0..size {
        let disk = whole.fork();
        // The ring header of op 4 was never written, as after a crash in its sync.
        let record = &disk.contents("log")[offset as usize..][..extent as usize];
        let mut mask = record.to_vec();
        mask[..kept].fill(0);
        disk.corrupt("log", offset, &mask);
        let (store, stored) = open(&disk);
        assert_holds(&store, &stored, &entries[..3]);
        assert_eq!(store.opened().torn_bytes > 0, kept > 0);
        let (mut store, _) = open(&disk);
        append(&mut store, &entries[3..]);
        store.sync().unwrap();
        let (store, stored) = open(&disk);
        assert_holds(&store, &stored, &entries);
    }
}

/// The torn part of a group that was never acknowledged is accounted for by the record behind it, until that has a later
/// one. It is no sign then that anything above the head was lost, in whichever sector of the ring that would be. (Found by
/// seed 125421 of the simulator.)
#[test]
fn what_a_torn_group_left_is_no_sign_of_loss_once_its_ops_are_written_again() {
    let entries = chain(14, 1, 100);
    let disk = written(&entries, true);
    let (mut store, _) = open(&disk);
    let mut torn = entries.clone();
    for _ in 14..22 {
        let next = entry_after(torn[torn.len() - 1].header(), 1, 100);
        torn.push(next);
    }
    append(&mut store, &torn[14..]);
    store.sync().unwrap();
    drop(store);
    let (position, _) = record_of(&disk, 15);
    disk.corrupt("log", position + 40, &[1]);
    let (mut store, stored) = open(&disk);
    assert!(stored.slots[14..15] == [StoredSlot::Empty], "{:?}", stored.slots);
    // Another view goes on from what is certain, up to the end of the ring's first sector.
    let mut anew = entries;
    for _ in 14..31 {
        let next = entry_after(anew[anew.len() - 1].header(), 2, 100);
        anew.push(next);
    }
    append(&mut store, &anew[14..]);
    store.sync().unwrap();
    while store.idle().unwrap() {}
    drop(store);
    let (_, stored) = open(&disk);
    let held: Vec<_> = anew.iter().map(|entry| StoredSlot::Held(*entry.header())).collect();
    assert_eq!(stored.slots, held);
}

#[test]
fn a_damaged_record_below_a_later_one_is_never_empty_even_without_its_ring_header() {
    let entries = chain(4, 1, 40);
    let disk = written(&entries, false);
    let (offset, _) = record_of(&disk, 3);
    // Its ring header went with op 4's group; lose both.
    disk.corrupt("log", offset + 50, &[1]);
    disk.place("log", RING + 3 * SLOT, &[0; 128]);
    for _ in 0..3 {
        let (_, stored) = open(&disk);
        assert_eq!(stored.slots[2], StoredSlot::Unreadable);
        assert_eq!(stored.slots[3], StoredSlot::Held(*entries[3].header()));
    }
}

#[test]
fn damage_that_nobody_can_name_makes_the_head_uncertain_until_the_op_is_written_again() {
    let entries = chain(4, 1, 40);
    let disk = written(&entries[..3], false);
    let (mut store, _) = open(&disk);
    // The superblock says that op 3 was durable; its record is lost before its ring header is written.
    drop(store);
    let disk2 = formatted();
    let (mut writer, _) = open(&disk2);
    append(&mut writer, &entries[..3]);
    writer.write(&WriteKind::Superblock(Box::new(state(1, &[])))).unwrap();
    writer.sync().unwrap();
    drop(writer);
    let (offset, _) = record_of(&disk2, 3);
    disk2.corrupt("log", offset + 20, &[1]);
    for _ in 0..2 {
        let (_, stored) = open(&disk2);
        assert_eq!(stored.slots[1], StoredSlot::Held(*entries[1].header()));
        assert_eq!(stored.slots[2], StoredSlot::Unreadable);
    }
    (store, _) = open(&disk2);
    append(&mut store, &entries[2..]);
    store.sync().unwrap();
    while store.idle().unwrap() {}
    let (store, stored) = open(&disk2);
    assert_holds(&store, &stored, &entries);
}

#[test]
fn a_record_marked_faulty_stays_so_across_crashes_until_it_is_written_again() {
    let entries = chain(4, 1, 40);
    for cleanly in [false, true] {
        let disk = written(&entries, cleanly);
        for op in [2, 4] {
            let (offset, _) = record_of(&disk, op);
            disk.corrupt("log", offset + 120, &[1]);
        }
        let (mut store, _) = open(&disk);
        for op in [2, 4].map(OpNumber) {
            store.write(&WriteKind::MarkFaulty(op)).unwrap();
        }
        store.sync().unwrap();
        drop(store);
        for seed in 0..4 {
            disk.lose_power(seed);
            let (store, stored) = open(&disk);
            assert_eq!(stored.slots[1], StoredSlot::Faulty(*entries[1].header()));
            match cleanly {
                true => assert_eq!(stored.slots[3], StoredSlot::Faulty(*entries[3].header())),
                // Nothing proved that op 4 had been durable, and yet the core said it was.
                false => assert_eq!(stored.slots[3], StoredSlot::Unreadable),
            }
            let (_, faulty) = store.read(OpNumber(1), OpNumber(4), u64::MAX);
            assert_eq!(faulty, [2, 4].map(OpNumber));
        }
        let (mut store, _) = open(&disk);
        append(&mut store, &[entries[1].clone(), entries[3].clone()]);
        store.sync().unwrap();
        assert_reads(&store, &entries);
        disk.lose_power(7);
        let (store, stored) = open(&disk);
        assert_holds(&store, &stored, &entries);
    }
}

/// What is written anew may have been all that showed that something was lost.
#[test]
fn a_mark_is_durable_before_what_is_written_after_it() {
    let entries = chain(4, 1, 40);
    let mut written_and_marked = 0;
    for seed in 0..400 {
        let disk = written(&entries[..2], true);
        let (mut store, _) = open(&disk);
        store.write(&WriteKind::MarkFaulty(OpNumber(4))).unwrap();
        append(&mut store, &entries[2..3]);
        disk.cut_power_at(disk.operations() + seed % 4, PowerCut::After);
        let _cut = store.sync();
        drop(store);
        disk.lose_power(seed);
        let (_, stored) = open(&disk);
        let is_written = matches!(stored.slots.get(2), Some(StoredSlot::Held(_)));
        let is_marked = stored.slots.get(3) == Some(&StoredSlot::Unreadable);
        assert!(is_marked || !is_written, "seed {seed}: {:?}", stored.slots);
        written_and_marked += usize::from(is_marked && is_written);
    }
    assert!(written_and_marked > 0);
}

#[test]
fn a_lost_write_of_records_is_found_when_they_are_read() {
    let entries = chain(3, 1, 40);
    let disk = formatted();
    let (mut store, _) = open(&disk);
    append(&mut store, &entries[..1]);
    store.sync().unwrap();
    while store.idle().unwrap() {}
    disk.lose_next_write("log");
    append(&mut store, &entries[1..2]);
    store.sync().unwrap();
    append(&mut store, &entries[2..]);
    store.sync().unwrap();
    let (read, faulty) = store.read(OpNumber(1), OpNumber(3), u64::MAX);
    assert_eq!((read.len(), faulty), (2, vec![OpNumber(2)]));
    disk.lose_power(1);
    let (store, stored) = open(&disk);
    assert_eq!(stored.slots[1], StoredSlot::Held(*entries[1].header()));
    assert_eq!(store.read(OpNumber(2), OpNumber(2), 1).1, [OpNumber(2)]);
}

#[test]
fn a_misdirected_write_harms_the_record_it_hits_and_the_one_it_misses_and_both_are_known() {
    let entries = chain(6, 1, 40);
    let disk = written(&entries[..4], true);
    let (mut store, _) = open(&disk);
    disk.misdirect_next_write("log", -2 * 4096);
    append(&mut store, &entries[4..5]);
    store.sync().unwrap();
    append(&mut store, &entries[5..]);
    store.sync().unwrap();
    while store.idle().unwrap() {}
    disk.lose_power(1);
    let (store, _) = open(&disk);
    let (read, faulty) = store.read(OpNumber(1), OpNumber(6), u64::MAX);
    assert_eq!(faulty, [3, 5].map(OpNumber));
    assert_eq!(read.len(), 4);
}

#[test]
fn a_sector_that_cannot_be_read_is_damage_and_not_a_failure() {
    let entries = chain(6, 1, 40);
    let disk = written(&entries, true);
    let (offset, _) = record_of(&disk, 2);
    disk.make_unreadable("log", offset);
    disk.make_unreadable("superblock", 0);
    let (store, stored) = open(&disk);
    assert_eq!(stored.slots.len(), 6);
    let (read, faulty) = store.read(OpNumber(1), OpNumber(6), u64::MAX);
    assert_eq!((read.len(), faulty), (5, vec![OpNumber(2)]));
    drop(store);
    // The ring's sector as well: every good record is found again. What is damaged might have
    // superseded what lies before it, and it might not: neither is held, neither is missing.
    disk.make_unreadable("log", RING);
    let (store, stored) = open(&disk);
    assert_eq!(stored.slots[..2], [StoredSlot::Unreadable; 2]);
    assert_eq!(stored.slots[2], StoredSlot::Held(*entries[2].header()));
    assert_eq!(stored.slots[5], StoredSlot::Held(*entries[5].header()));
    assert_eq!(store.opened().redone_headers, 4);
}

#[test]
fn a_log_of_another_replica_is_refused_with_its_exit_status() {
    let disk = written(&[], true);
    let other = SimDisk::new();
    let mut foreign = format();
    foreign.replica = vsr_core::ReplicaId(2);
    Store::format(&other, &foreign).unwrap();
    let mixed = disk.fork();
    mixed.place("log", 0, &other.contents("log")[..4096]);
    let error = Store::open(mixed).unwrap_err();
    assert!(matches!(error, OpenError::Foreign { replica: 2, .. }));
    assert_eq!(error.exit_status(), 5);
}

#[test]
fn records_of_another_replica_are_not_taken_for_ones_own() {
    let entries = chain(3, 1, 40);
    let disk = written(&entries, true);
    let other = SimDisk::new();
    let mut foreign = format();
    foreign.replica = vsr_core::ReplicaId(2);
    Store::format(&other, &foreign).unwrap();
    let bytes = disk.contents("log");
    other.place("log", RECORDS, &bytes[RECORDS as usize..][..4 * 4096]);
    let (_, _, stored) = Store::open(other.fork()).unwrap();
    assert_eq!(stored.slots, []);
    other.place("log", RING, &bytes[RING as usize..][..4 * SLOT as usize]);
    let (store, _, stored) = Store::open(other).unwrap();
    assert_eq!(stored.slots, [], "{:?}", store.opened());
    assert_ne!(Header::root(CLUSTER).checksum.0, 0);
}

#[test]
fn a_failed_sync_stops_the_store_for_good() {
    let disk = formatted();
    let (mut store, _) = open(&disk);
    let entries = chain(2, 1, 40);
    append(&mut store, &entries[..1]);
    disk.fail_next_sync();
    let error = store.sync().unwrap_err();
    assert!(error.is_fatal());
    assert_eq!(error.exit_status(), 8);
    assert!(store.sync().unwrap_err().is_fatal());
    let write = WriteKind::Append(entries);
    assert!(store.write(&write).unwrap_err().is_fatal());
    assert!(store.idle().unwrap_err().is_fatal());
}

#[test]
fn a_full_disk_is_said_early_keeps_its_promises_and_ends_by_itself() {
    let disk = formatted();
    let (mut store, _) = open(&disk);
    disk.set_full(true);
    let entries = chain(200, 1, 3000);
    let mut kept = 0;
    let mut said_at = None;
    for entry in &entries {
        append(&mut store, std::slice::from_ref(entry));
        if store.is_nearly_full() {
            said_at.get_or_insert(kept);
        }
        match store.sync() {
            Ok(_) => kept += 1,
            Err(error) => {
                assert!(!error.is_fatal(), "{error}");
                break;
            }
        }
    }
    let said_at = said_at.unwrap();
    assert!(kept >= said_at + 10, "said at {said_at}, full at {kept}");
    // The superblock has its space from the start, but what was given before it goes first.
    assert!(store.sync().is_err());
    disk.set_full(false);
    assert_eq!(store.sync().unwrap().entries, 1);
    store.idle().unwrap();
    assert!(!store.is_nearly_full());
    drop(store);
    let (store, stored) = open(&disk);
    assert_holds(&store, &stored, &entries[..=kept]);
}

/// Only a full disk is waited for.
#[test]
fn space_that_a_broken_disk_refuses_is_a_failure() {
    for full_before in [false, true] {
        let disk = formatted();
        let (mut store, _) = open(&disk);
        disk.set_full(full_before);
        for (written, entry) in (1..).zip(&chain(200, 1, 3000)) {
            append(&mut store, std::slice::from_ref(entry));
            store.sync().unwrap();
            // The second one leaves space to be written while nobody waits.
            let enough = if full_before { store.is_nearly_full() } else { written == 2 };
            if enough {
                break;
            }
        }
        if full_before {
            while store.idle().unwrap() {}
            assert!(store.is_nearly_full());
            disk.set_full(false);
        }
        disk.cut_power_at(disk.operations(), vsr_storage::PowerCut::Before);
        let error = store.idle().unwrap_err();
        assert!(error.is_fatal() && error.to_string().contains("allocate"), "{error}");
    }
}

#[test]
fn a_full_log_refuses_what_does_not_fit_and_stays_as_it_was() {
    let disk = formatted();
    let (mut store, _) = open(&disk);
    let entries = chain(250, 1, 20_000);
    let mut kept = 0;
    let mut said = None;
    for entry in &entries {
        let write = WriteKind::Append(vec![entry.clone()]);
        match store.write(&write) {
            Ok(()) => {}
            Err(error) => {
                assert!(!error.is_fatal());
                break;
            }
        }
        store.sync().unwrap();
        kept += 1;
        if store.is_nearly_full() {
            said.get_or_insert(kept);
        }
    }
    assert!(kept < 250 && kept > said.unwrap() + 1);
    drop(store);
    let (store, stored) = open(&disk);
    assert_holds(&store, &stored, &entries[..kept]);
    assert!(store.is_nearly_full());
}
