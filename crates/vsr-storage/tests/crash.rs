//! The power fails at each write and each sync of a scripted run, before and after it, and keeps any
//! part of what was not synced. What was synced is there; nothing appears that was not written.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;

use std::collections::BTreeMap;

use bytes::Bytes;
use common::*;
use vsr_core::{Entry, Header, OpNumber, Stored, StoredSlot, SuperblockState, WriteKind};
use vsr_storage::{PowerCut, SimDisk, Store};

/// What a run was told and what it was told is durable.
#[derive(Clone, Default)]
struct Told {
    /// For each op the entries given, in order; the durable one's place among them.
    given: BTreeMap<u64, Vec<Entry<Bytes>>>,
    durable: BTreeMap<u64, usize>,
    superblocks: Vec<SuperblockState>,
    durable_superblock: Option<usize>,
}

impl Told {
    fn append(&mut self, store: &mut Store<SimDisk>, entries: &[Entry<Bytes>]) {
        for entry in entries {
            let given = self.given.entry(entry.header().op.0).or_default();
            given.push(entry.clone());
        }
        append(store, entries);
    }

    fn superblock(&mut self, store: &mut Store<SimDisk>, state: SuperblockState) {
        self.superblocks.push(state.clone());
        store.write(&WriteKind::Superblock(Box::new(state))).unwrap();
    }

    /// `Err` where the power is cut.
    fn sync(&mut self, store: &mut Store<SimDisk>) -> Result<(), ()> {
        store.sync().map_err(drop)?;
        for (op, given) in &self.given {
            self.durable.insert(*op, given.len() - 1);
        }
        self.durable_superblock = self.superblocks.len().checked_sub(1);
        Ok(())
    }

    /// What must hold of a store opened after the crash; then takes what it holds for durable, since
    /// opening made it so.
    fn check(&mut self, store: &Store<SimDisk>, stored: &Stored<Bytes>, context: &str) {
        let ops = self.given.keys().last().copied().unwrap_or(0);
        let trimmed = stored.superblock.trimmed.op.0;
        assert!(trimmed + stored.slots.len() as u64 <= ops.max(trimmed), "{context}");
        let (gone, _) = store.read(OpNumber(1), OpNumber(trimmed), 1);
        assert_eq!(gone, [], "trimmed and read: {context}");
        self.given.retain(|op, _| *op > trimmed);
        self.durable.retain(|op, _| *op > trimmed);
        for op in trimmed + 1..=ops {
            let slot = stored.slots.get((op - trimmed) as usize - 1).unwrap_or(&StoredSlot::Empty);
            let given = self.given.get(&op).map_or(&[][..], Vec::as_slice);
            let durable = self.durable.get(&op).copied();
            match slot {
                StoredSlot::Empty => {
                    assert_eq!(durable, None, "op {op} is gone: {context}");
                    self.given.remove(&op);
                }
                StoredSlot::Held(header) => {
                    let at = given.iter().rposition(|entry| entry.header() == header);
                    let at = at.unwrap_or_else(|| panic!("op {op} was never given: {context}"));
                    assert!(Some(at) >= durable, "op {op} is of old: {context}");
                    let (read, faulty) = store.read(OpNumber(op), OpNumber(op), 1);
                    assert_eq!(faulty, [], "{context}");
                    assert_eq!(read[0], given[at], "{context}");
                    self.given.insert(op, vec![given[at].clone()]);
                    self.durable.insert(op, 0);
                }
                StoredSlot::Faulty(_) | StoredSlot::Unreadable => {
                    panic!("op {op} is {slot:?} and nothing is damaged: {context}");
                }
            }
        }
        let states = &mut self.superblocks;
        let at = states.iter().position(|state| *state == stored.superblock);
        assert!(at >= self.durable_superblock, "a superblock is of old: {context}");
        assert!(at.is_some() || stored.superblock.view.0 == 0, "{context}");
        states.truncate(at.map_or(0, |at| at + 1));
        self.durable_superblock = at;
    }
}

/// Two lives: groups of several sizes, superblocks between them, slots rewritten in a later view, idle
/// times. Stops where the power fails.
fn script(disk: &SimDisk, told: &mut Told) -> Result<(), ()> {
    let (mut store, _) = Store::open(disk.clone()).map(|(s, _, t)| (s, t)).map_err(drop)?;
    let first = chain(12, 0, 300);
    told.append(&mut store, &first[..1]);
    told.sync(&mut store)?;
    told.append(&mut store, &first[1..5]);
    told.append(&mut store, &first[5..8]);
    told.sync(&mut store)?;
    while store.idle().map_err(drop)? {}
    told.append(&mut store, &first[8..9]);
    told.superblock(&mut store, state(1, &first[..9]));
    told.append(&mut store, &first[9..]);
    told.sync(&mut store)?;
    // A later view supersedes ops 10 to 12.
    told.superblock(&mut store, state(2, &first[..9]));
    let mut second = first[..9].to_vec();
    for length in [5000, 20, 300, 300] {
        let next = entry_after(second.last().unwrap().header(), 2, length);
        second.push(next);
    }
    told.append(&mut store, &second[9..11]);
    told.sync(&mut store)?;
    told.append(&mut store, &second[11..]);
    told.sync(&mut store)?;
    while store.idle().map_err(drop)? {}
    Ok(())
}

/// A log of which one lap is behind, near its end: with stale records before and behind it.
fn in_the_second_lap() -> (SimDisk, Told) {
    let disk = formatted_with(TINY);
    let mut told = Told::default();
    let (mut store, _) = reopen(&disk);
    let entries = chain(48, 1, 300);
    for end in (2..=entries.len()).step_by(2) {
        // Twice, so that half of the records are superseded.
        for _ in 0..2 {
            told.append(&mut store, &entries[end - 2..end]);
            told.sync(&mut store).unwrap();
        }
        let trimmed = entries[end.max(7) - 7].header();
        told.superblock(&mut store, trimming(1, &entries[..end], trimmed));
        told.sync(&mut store).unwrap();
    }
    while store.idle().unwrap() {}
    (disk, told)
}

/// Goes round the log: groups that end a lap or run over its end, superblocks that trim between them,
/// before and after groups that need the room, superseded records, a later checkpoint from elsewhere.
fn lap(disk: &SimDisk, told: &mut Told) -> Result<(), ()> {
    let (mut store, stored) = Store::open(disk.clone()).map(|(s, _, t)| (s, t)).map_err(drop)?;
    let StoredSlot::Held(mut last) = *stored.slots.last().ok_or(())? else { return Err(()) };
    let mut log: Vec<Entry<Bytes>> = Vec::new();
    for round in 0..6 {
        for length in [300, 2500, 40] {
            let entry = entry_after(&last, 2, length);
            last = *entry.header();
            log.push(entry.clone());
            told.append(&mut store, &[entry]);
            if round % 2 == 0 {
                told.sync(&mut store)?;
            }
        }
        let trimmed = *log[log.len().saturating_sub(5)].header();
        told.superblock(&mut store, trimming(2, &log, &trimmed));
        if round % 3 == 0 {
            // With the superblock, in the order given.
            let entry = entry_after(&last, 2, 9000);
            last = *entry.header();
            log.push(entry.clone());
            told.append(&mut store, &[entry]);
        }
        told.sync(&mut store)?;
        if round == 4 {
            // A later view supersedes the last two.
            told.superblock(&mut store, trimming(3, &log[..log.len() - 2], &trimmed));
            log.truncate(log.len() - 2);
            for length in [200, 5000] {
                let entry = entry_after(log.last().ok_or(())?.header(), 3, length);
                log.push(entry.clone());
                told.append(&mut store, &[entry]);
            }
            last = *log.last().ok_or(())?.header();
            told.sync(&mut store)?;
        }
        while round % 2 == 1 && store.idle().map_err(drop)? {}
    }
    // A checkpoint above everything held, as a transfer installs it.
    let ahead = entry_after(&Header { op: OpNumber(500), ..last }, 4, 0);
    told.superblock(&mut store, trimming(4, std::slice::from_ref(&ahead), ahead.header()));
    let next = entry_after(ahead.header(), 4, 700);
    told.append(&mut store, std::slice::from_ref(&next));
    told.sync(&mut store)?;
    while store.idle().map_err(drop)? {}
    Ok(())
}

fn from_the_start() -> (SimDisk, Told) {
    (formatted(), Told::default())
}

type Setup = fn() -> (SimDisk, Told);
type Script = fn(&SimDisk, &mut Told) -> Result<(), ()>;

fn run(
    (setup, script): (Setup, Script),
    power: impl Fn(&SimDisk, u64),
    seeds: std::ops::Range<u64>,
) {
    let (prepared, prepared_told) = setup();
    let whole = prepared.fork();
    let before = whole.operations();
    script(&whole, &mut prepared_told.clone()).unwrap();
    let cuts = before..whole.operations();
    for (cut, when) in cuts.flat_map(|cut| [(cut, PowerCut::Before), (cut, PowerCut::After)]) {
        let stopped = prepared.fork();
        stopped.cut_power_at(cut, when);
        let mut told = prepared_told.clone();
        script(&stopped, &mut told).unwrap_err();
        for seed in seeds.clone() {
            let disk = stopped.fork();
            power(&disk, seed);
            let mut told = told.clone();
            let context = format!("cut {when:?} operation {cut}, seed {seed}");
            let (mut store, stored) = reopen(&disk);

            told.check(&store, &stored, &context);
            // The crashed opening, and a group after it, survive another crash.
            let next = match stored.slots.last() {
                Some(StoredSlot::Held(header)) => entry_after(header, 5, 400),
                _ => entry_after(&stored.superblock.trimmed, 5, 400),
            };
            told.append(&mut store, &[next]);
            told.sync(&mut store).unwrap();
            power(&disk, seed + 1000);
            let (store, stored) = reopen(&disk);
            told.check(&store, &stored, &format!("{context}, twice"));
        }
    }
}

const FIRST_LAP: (Setup, Script) = (from_the_start, script);
const LATER_LAP: (Setup, Script) = (in_the_second_lap, lap);

#[test]
fn a_power_loss_at_any_operation_loses_nothing_that_was_synced() {
    run(FIRST_LAP, SimDisk::lose_power, 0..6);
}

#[test]
fn a_power_loss_that_spoils_whole_sectors_loses_nothing_that_was_synced() {
    run(FIRST_LAP, SimDisk::lose_power_spoiling, 0..6);
}

#[test]
fn a_killed_process_loses_nothing_that_it_wrote() {
    run(FIRST_LAP, |disk, _| disk.kill(), 0..1);
}

#[test]
fn a_power_loss_around_a_trim_and_the_end_of_a_lap_loses_nothing_that_was_synced() {
    run(LATER_LAP, SimDisk::lose_power, 0..6);
}

#[test]
fn a_power_loss_that_spoils_whole_sectors_of_a_later_lap_loses_nothing_that_was_synced() {
    run(LATER_LAP, SimDisk::lose_power_spoiling, 0..6);
}

#[test]
fn a_process_killed_in_a_later_lap_loses_nothing_that_it_wrote() {
    run(LATER_LAP, |disk, _| disk.kill(), 0..1);
}

/// The power fails again and again while the store is being opened.
#[test]
fn opening_survives_power_losses_of_its_own() {
    for (setup, script) in [FIRST_LAP, LATER_LAP] {
        let (prepared, prepared_told) = setup();
        let whole = prepared.fork();
        let before = whole.operations();
        script(&whole, &mut prepared_told.clone()).unwrap();
        let end = whole.operations();
        for seed in 0..150 {
            let disk = prepared.fork();
            disk.cut_power_at(before + seed * 7 % (end - before), PowerCut::After);
            let mut told = prepared_told.clone();
            script(&disk, &mut told).unwrap_err();
            disk.lose_power_spoiling(seed);
            for again in 0..4 {
                disk.cut_power_at(disk.operations() + again, PowerCut::After);
                if let Ok((store, _, stored)) = Store::open(disk.clone()) {
                    // Nothing more was written while it opened; what it says is final.
                    drop((store, stored));
                }
                disk.lose_power_spoiling(seed * 31 + again);
            }
            let (store, stored) = reopen(&disk);
            told.check(&store, &stored, &format!("seed {seed}"));
        }
    }
}

/// A power loss while formatting leaves a directory that is empty, whole, or refused.
#[test]
fn a_power_loss_while_formatting_never_leaves_half_a_store_that_opens() {
    let whole = formatted();
    for cut in 0..whole.operations() {
        for seed in 0..20 {
            let disk = SimDisk::new();
            disk.cut_power_at(cut, PowerCut::After);
            assert!(Store::format(&disk, &format()).is_err());
            disk.lose_power_spoiling(seed);
            match Store::open(disk.clone()) {
                Ok((_, format_read, stored)) => {
                    assert_eq!(format_read, format());
                    assert_eq!(stored.slots, []);
                }
                Err(error) => assert!([2, 6].contains(&error.exit_status()), "{error}"),
            }
        }
    }
}
