//! Bytes that change behind the back of a log that has gone round: what is live is never taken for missing,
//! what is stale is never taken for live, and damage to it is nobody's.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;

use bytes::Bytes;
use common::*;
use vsr_core::{Entry, OpNumber, Stored, StoredSlot, WriteKind};
use vsr_storage::{Finding, Inspection, SimDisk, Store};

const RING: u64 = 4096;
const SLOT: u64 = 128;
/// Where the records begin: behind a ring of 12 slots.
const RECORDS: u64 = 2 * 4096;
const CAPACITY: u64 = 26 * 4096;

/// One group an entry, the last of them synced or not settled; the log keeps the last six. The
/// disk and what is live on it.
fn lapped(cleanly: bool) -> (SimDisk, Vec<Entry<Bytes>>) {
    let (disk, mut store, entries) = written(61);
    while cleanly && store.idle().unwrap() {}
    (disk, entries[55..].to_vec())
}

fn written(count: u64) -> (SimDisk, Store<SimDisk>, Vec<Entry<Bytes>>) {
    let disk = formatted_with(TINY);
    let (mut store, _) = reopen(&disk);
    let entries = chain(count, 1, 24);
    for (at, entry) in entries.iter().enumerate() {
        if at >= 6 {
            let state = trimming(1, &entries[..at], entries[at - 6].header());
            store.write(&WriteKind::Superblock(Box::new(state))).unwrap();
        }
        append(&mut store, std::slice::from_ref(entry));
        store.sync().unwrap();
    }
    (disk, store, entries)
}

/// What is wrong with the log: the checkpoints that these superblocks name were never taken.
fn findings(disk: &SimDisk) -> Vec<Finding> {
    let mut findings = Vec::new();
    Inspection::open(disk).unwrap().verify(disk, |finding| findings.push(finding)).unwrap();
    let beside = |finding: &Finding| {
        matches!(finding, Finding::SuperblockBehind { .. } | Finding::NoCheckpoint { .. })
    };
    findings.retain(|finding| !beside(finding));
    findings
}

/// Where in the file the record of an op lies, and how many bytes it has without padding.
fn record_of(disk: &SimDisk, op: OpNumber) -> (u64, u64) {
    let inspection = Inspection::open(disk).unwrap();
    let (offset, _) = inspection.slots(op, op).next().unwrap().record.unwrap();
    (offset, 120 + 40 + 24)
}

/// Either the entries as written, or an op that is called damaged; never less, never others.
fn assert_nothing_wrong(
    (store, stored): &(Store<SimDisk>, Stored<Bytes>),
    entries: &[Entry<Bytes>],
    context: &str,
) {
    assert_eq!(stored.superblock.trimmed.op.next(), entries[0].header().op);
    for (at, entry) in entries.iter().enumerate() {
        match stored.slots.get(at).unwrap_or(&StoredSlot::Empty) {
            StoredSlot::Held(header) | StoredSlot::Faulty(header) => {
                assert_eq!(header, entry.header(), "{context}");
            }
            StoredSlot::Unreadable => {}
            StoredSlot::Empty => panic!("op {} is missing: {context}", entry.header().op),
        }
        let op = entry.header().op;
        let (read, faulty) = store.read(op, op, 1);
        match read.as_slice() {
            [read] => assert_eq!(read.requests(), entry.requests(), "{context}"),
            _ => assert_eq!(faulty, [op], "{context}"),
        }
    }
    let beyond = stored.slots.get(entries.len()..).unwrap_or_default();
    assert!(beyond.iter().all(|slot| *slot == StoredSlot::Unreadable), "{context}");
}

#[test]
fn each_flipped_bit_of_what_is_live_is_named_and_takes_nothing_away() {
    for cleanly in [true, false] {
        let (whole, entries) = lapped(cleanly);
        assert_eq!(findings(&whole), []);
        for entry in &entries {
            let op = entry.header().op;
            let (record, size) = record_of(&whole, op);
            let slot = RING + op.0 % 12 * SLOT;
            let is_last = op == entries.last().unwrap().header().op;
            // Nothing proves yet that the last one was durable: its damage is a torn write.
            let bytes = (record..record + size).filter(|_| cleanly || !is_last);
            // All bytes of both would take a minute.
            let step = if cleanly { 1 } else { 5 };
            for offset in bytes.chain(slot..slot + SLOT).step_by(step) {
                let disk = whole.fork();
                disk.corrupt("log", offset, &[1 << (offset % 8)]);
                let context = format!("byte {offset} of op {op}, stopped cleanly: {cleanly}");
                assert!(!findings(&disk).is_empty(), "{context} goes unnoticed");
                assert_nothing_wrong(&reopen(&disk), &entries, &context);
                // The next start must come to the same conclusion, or a better one.
                assert_nothing_wrong(&reopen(&disk), &entries, &context);
            }
        }
    }
}

#[test]
fn damage_to_what_is_stale_is_nobodys() {
    for cleanly in [true, false] {
        let (whole, entries) = lapped(cleanly);
        let (_, expected) = reopen(&whole.fork());
        let live: Vec<u64> =
            entries.iter().map(|entry| record_of(&whole, entry.header().op).0 / 4096).collect();
        let stale = (RECORDS..RECORDS + CAPACITY).filter(|offset| !live.contains(&(offset / 4096)));
        for offset in stale.filter(|offset| offset % 4096 < 184 || offset % 61 == 0).step_by(7) {
            let disk = whole.fork();
            disk.corrupt("log", offset, &[1 << (offset % 8)]);
            assert_eq!(findings(&disk), [], "byte {offset}");
            let (store, stored) = reopen(&disk);
            assert_eq!(stored, expected, "byte {offset}");
            assert_eq!(store.opened().torn_bytes, 0, "byte {offset}");
        }
        for sector in (0..26).filter(|sector| !live.contains(&(2 + sector))) {
            let disk = whole.fork();
            disk.make_unreadable("log", RECORDS + sector * 4096);
            assert_eq!(findings(&disk), [], "sector {sector}");
            assert_nothing_wrong(&reopen(&disk), &entries, "a stale sector cannot be read");
            assert_eq!(reopen(&disk).1, expected);
        }
        // Slots of trimmed ops: which op it was cannot be told, but that none is lost.
        for op in entries[5].header().op.0 + 1..=entries[0].header().op.0 + 11 {
            let disk = whole.fork();
            disk.corrupt("log", RING + op % 12 * SLOT + 9, &[1]);
            let (store, stored) = reopen(&disk);
            assert_eq!(stored, expected, "op {op}");
            assert_eq!(store.opened().damaged_headers.len(), 1);
            drop(store);
            assert_eq!(findings(&disk), [], "mended");
        }
    }
}

/// As in the first lap, where zeros follow: what an earlier lap left is no better and no worse.
#[test]
fn a_torn_last_record_over_a_stale_one_is_empty_at_each_length() {
    let (before, _, _) = written(60);
    let (after, _, entries) = written(61);
    let (old, new) = (before.contents("log"), after.contents("log"));
    let (offset, size) = record_of(&after, OpNumber(61));
    let sector = offset as usize..offset as usize + 4096;
    assert_ne!(old[sector.clone()][..size as usize], new[sector.clone()][..size as usize]);
    assert!(old[sector.clone()].starts_with(b"VSRr"), "a record of an earlier lap lies there");
    // The superblock that went before the group is durable, and the ring header of op 60.
    for kept in 0..size as usize {
        let disk = after.fork();
        let mut torn = old[sector.clone()].to_vec();
        torn[..kept].copy_from_slice(&new[sector.clone()][..kept]);
        disk.place("log", offset, &torn);
        let (mut store, stored) = reopen(&disk);
        assert_holds(&store, &stored, &entries[55..60]);
        // The position, from the ninth byte on, tells the remains of this lap from those of another.
        let remains = store.opened().torn_bytes;
        assert!(if kept < 8 { remains == 0 } else { kept < 16 || remains > 0 }, "{kept} kept");
        append(&mut store, &entries[60..]);
        store.sync().unwrap();
        let (store, stored) = reopen(&disk);
        assert_holds(&store, &stored, &entries[55..]);
    }
}

/// A drive that loses a write gives back what an earlier lap left there.
#[test]
fn a_stale_record_in_the_place_of_a_live_one_is_damage_and_never_held() {
    let (whole, entries) = lapped(true);
    for entry in &entries {
        let op = entry.header().op;
        let (earlier, _, _) = written(op.0 - 1);
        let (offset, _) = record_of(&whole, op);
        let stale = &earlier.contents("log")[offset as usize..][..4096];
        assert!(stale.starts_with(b"VSRr"));
        let disk = whole.fork();
        disk.place("log", offset, stale);
        assert!(findings(&disk).iter().any(Finding::is_damage), "op {op}");
        let opened = reopen(&disk);
        assert_nothing_wrong(&opened, &entries, &format!("a stale record for op {op}"));
        assert_eq!(opened.0.read(op, op, 1).1, [op]);
        if op == OpNumber(61) {
            // Of the last one nothing remains without its ring header.
            continue;
        }
        // Without the ring of headers: that something else lies there is what tells that it is gone.
        let ringless = disk.fork();
        ringless.place("log", RING, &[0; 4096]);
        assert_nothing_wrong(&reopen(&ringless), &entries, &format!("op {op}, without the ring"));
        // With its ring header: the header of the earlier lap comes back as well.
        let slot = RING + op.0 % 12 * SLOT;
        disk.place("log", slot, &earlier.contents("log")[slot as usize..][..SLOT as usize]);
        assert!(findings(&disk).iter().any(Finding::is_damage), "op {op}");
    }
}

#[test]
fn a_lost_write_in_a_later_lap_is_found_when_it_is_read() {
    let (disk, mut store, entries) = written(60);
    while store.idle().unwrap() {}
    let next = entry_after(entries[59].header(), 1, 24);
    let after = entry_after(next.header(), 1, 24);
    disk.lose_next_write("log");
    append(&mut store, std::slice::from_ref(&next));
    store.sync().unwrap();
    append(&mut store, std::slice::from_ref(&after));
    store.sync().unwrap();
    let mut kept = entries[54..].to_vec();
    kept.extend([next.clone(), after]);
    assert_eq!(store.read(OpNumber(61), OpNumber(61), 1).1, [OpNumber(61)]);
    disk.lose_power(1);
    let opened = reopen(&disk);
    assert_nothing_wrong(&opened, &kept[kept.len() - opened.1.slots.len()..], "a lost write");
    assert_eq!(opened.1.slots[opened.1.slots.len() - 2], StoredSlot::Held(*next.header()));
}

#[test]
fn a_write_that_lands_elsewhere_in_the_ring_harms_at_most_the_two_it_hits_and_misses() {
    // Into what is live, and into what is stale on either side.
    for by in [-2 * 4096, -10 * 4096, 3 * 4096] {
        let (disk, mut store, entries) = written(60);
        while store.idle().unwrap() {}
        let mut kept = entries[54..].to_vec();
        disk.misdirect_next_write("log", by);
        for _ in 0..2 {
            let next = entry_after(kept.last().unwrap().header(), 1, 24);
            append(&mut store, std::slice::from_ref(&next));
            store.sync().unwrap();
            kept.push(next);
        }
        while store.idle().unwrap() {}
        disk.lose_power(1);
        let trimmed = reopen(&disk).1.superblock.trimmed.op.0;
        let kept = &kept[(trimmed + 1 - kept[0].header().op.0) as usize..];
        let opened = reopen(&disk);
        assert_nothing_wrong(&opened, kept, &format!("by {by}"));
        let (_, faulty) = opened.0.read(OpNumber(1), OpNumber(100), u64::MAX);
        let hit = if by == -2 * 4096 { vec![59, 61] } else { vec![61] };
        assert_eq!(faulty, hit.into_iter().map(OpNumber).collect::<Vec<_>>(), "by {by}");
    }
}

/// A sector of the ring that was being written when the power failed, or a write to it that was lost:
/// zeros, or what an earlier lap left. With a damaged record nothing but suspicion speaks for the op.
#[test]
fn a_silent_sector_of_the_ring_is_not_believed_where_there_is_damage() {
    let (disk, mut store, entries) = written(61);
    let earlier = disk.contents("log")[RING as usize..][..4096].to_vec();
    let next = entry_after(entries[60].header(), 1, 24);
    append(&mut store, std::slice::from_ref(&next));
    store.sync().unwrap();
    while store.idle().unwrap() {}
    // All but the last is let go; the superblock knows how far the log was durable.
    store
        .write(&WriteKind::Superblock(Box::new(trimming(1, &entries, entries[60].header()))))
        .unwrap();
    store.sync().unwrap();
    drop(store);
    let (offset, _) = record_of(&disk, OpNumber(62));
    disk.corrupt("log", offset + 50, &[1]);
    for ring in [vec![0; 4096], earlier] {
        let disk = disk.fork();
        disk.place("log", RING, &ring);
        for _ in 0..2 {
            assert_eq!(reopen(&disk).1.slots[0], StoredSlot::Unreadable);
        }
    }
}

#[test]
fn a_sector_of_the_ring_that_is_silent_about_one_record_is_not_believed_about_another() {
    let (disk, entries) = lapped(true);
    let (offset, _) = record_of(&disk, OpNumber(57));
    disk.corrupt("log", offset + 50, &[1]);
    for op in [57, 58] {
        disk.place("log", RING + op % 12 * SLOT, &[0; SLOT as usize]);
    }
    let opened = reopen(&disk);
    assert_nothing_wrong(&opened, &entries, "two slots are blank");
    assert_eq!(opened.1.slots[1], StoredSlot::Unreadable);
    assert_eq!(opened.1.slots[2], StoredSlot::Held(*entries[2].header()));
}

/// Two groups of the largest size lie beyond what the ring proves, and only the last bytes of the second
/// one show that the first was durable.
#[test]
fn what_survives_of_the_group_being_written_proves_the_one_before_however_large_both_are() {
    let (disk, mut store, entries) = written(60);
    while store.idle().unwrap() {}
    let synced = entry_after(entries[59].header(), 1, 16_000);
    let mut kept = entries[54..].to_vec();
    append(&mut store, std::slice::from_ref(&synced));
    kept.push(synced);
    store.sync().unwrap();
    for length in [8_000, 7_500, 20] {
        let next = entry_after(kept.last().unwrap().header(), 1, length);
        append(&mut store, std::slice::from_ref(&next));
        kept.push(next);
    }
    store.sync().unwrap();
    drop(store);
    let trimmed = reopen(&disk.fork()).1.superblock.trimmed.op;
    let kept = &kept[(trimmed.0 - 54) as usize..];
    // Of the last group its last record remains.
    for op in [61, 62, 63] {
        let (offset, _) = record_of(&disk.fork(), OpNumber(op));
        disk.corrupt("log", offset + 50, &[1]);
    }
    // The slot of op 61, modulo 12.
    disk.place("log", RING + SLOT, &[0; SLOT as usize]);
    let (_, stored) = reopen(&disk);
    let slot = |op: u64| stored.slots[(op - trimmed.0 - 1) as usize];
    assert_eq!(slot(60), StoredSlot::Held(*kept[(59 - trimmed.0) as usize].header()));
    assert_eq!(slot(61), StoredSlot::Unreadable);
    assert_eq!(slot(64), StoredSlot::Held(*kept.last().unwrap().header()));
}
