//! The power fails at each write and each sync of a scripted run, before and after it, and keeps any
//! part of what was not synced. What was synced is there; nothing appears that was not written.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;

use std::collections::BTreeMap;

use bytes::Bytes;
use common::*;
use vsr_core::{Entry, OpNumber, Stored, StoredSlot, SuperblockState, WriteKind};
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
        store.write(&WriteKind::Superblock(state)).unwrap();
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
    fn check(&mut self, store: &Store<SimDisk>, stored: &Stored, context: &str) {
        let ops = self.given.keys().last().copied().unwrap_or(0);
        assert!(stored.slots.len() as u64 <= ops, "{context}");
        for op in 1..=ops {
            let slot = stored.slots.get(op as usize - 1).unwrap_or(&StoredSlot::Empty);
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

fn run(power: impl Fn(&SimDisk, u64), seeds: std::ops::Range<u64>) {
    let whole = formatted();
    let before = whole.operations();
    script(&whole, &mut Told::default()).unwrap();
    let cuts = before..whole.operations();
    for (cut, when) in cuts.flat_map(|cut| [(cut, PowerCut::Before), (cut, PowerCut::After)]) {
        let stopped = formatted();
        stopped.cut_power_at(cut, when);
        let mut told = Told::default();
        script(&stopped, &mut told).unwrap_err();
        for seed in seeds.clone() {
            let disk = stopped.fork();
            power(&disk, seed);
            let mut told = told.clone();
            let context = format!("cut {when:?} operation {cut}, seed {seed}");
            let (mut store, stored) = open(&disk);

            told.check(&store, &stored, &context);
            // The crashed opening, and a group after it, survive another crash.
            let next = match stored.slots.last() {
                Some(StoredSlot::Held(header)) => entry_after(header, 3, 400),
                _ => chain(1, 3, 400).remove(0),
            };
            told.append(&mut store, &[next]);
            told.sync(&mut store).unwrap();
            power(&disk, seed + 1000);
            let (store, stored) = open(&disk);
            told.check(&store, &stored, &format!("{context}, twice"));
        }
    }
}

#[test]
fn a_power_loss_at_any_operation_loses_nothing_that_was_synced() {
    run(SimDisk::lose_power, 0..6);
}

#[test]
fn a_power_loss_that_spoils_whole_sectors_loses_nothing_that_was_synced() {
    run(SimDisk::lose_power_spoiling, 0..6);
}

#[test]
fn a_killed_process_loses_nothing_that_it_wrote() {
    run(|disk, _| disk.kill(), 0..1);
}

/// The power fails again and again while the store is being opened.
#[test]
fn opening_survives_power_losses_of_its_own() {
    let whole = formatted();
    let before = whole.operations();
    script(&whole, &mut Told::default()).unwrap();
    let end = whole.operations();
    for seed in 0..150 {
        let disk = formatted();
        disk.cut_power_at(before + seed * 7 % (end - before), PowerCut::After);
        let mut told = Told::default();
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
        let (store, stored) = open(&disk);
        told.check(&store, &stored, &format!("seed {seed}"));
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
