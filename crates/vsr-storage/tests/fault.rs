//! One fault of the medium in what was settled, and then a power loss that spoils sectors: nothing that
//! was acknowledged is ever taken for missing, nor for its predecessor.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;

use std::collections::BTreeSet;

use bytes::Bytes;
use common::*;
use vsr_core::{Constants, Entry, Header, OpNumber, StoredSlot, SuperblockState, WriteKind};
use vsr_storage::{SimDisk, Store, StoreError};

const RING: u64 = 4096;

/// A generator of its own, so that a seed names a run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

struct Run {
    constants: Constants,
    disk: SimDisk,
    store: Store<SimDisk>,
    /// The log as the replica has it, and what was trimmed of it.
    log: Vec<Entry<Bytes>>,
    /// For each op, everything that was ever given.
    given: Vec<Vec<Header>>,
    synced: usize,
    /// How many entries were trimmed.
    trimmed: usize,
    view: u64,
    /// Where the records end that two later groups vouch for.
    settled: u64,
    ends: [u64; 2],
    /// Ops that may be their predecessors, since the head was uncertain when they were lost.
    excused: BTreeSet<usize>,
}

impl Run {
    fn new(constants: Constants) -> Self {
        let disk = formatted_with(constants);
        let store = reopen(&disk).0;
        Self {
            constants,
            disk,
            store,
            log: Vec::new(),
            given: Vec::new(),
            synced: 0,
            trimmed: 0,
            view: 0,
            settled: 0,
            ends: [0; 2],
            excused: BTreeSet::new(),
        }
    }

    fn append(&mut self, dice: &mut Dice) {
        for _ in 0..=dice.below(5) {
            let root = Header::root(CLUSTER);
            let parent = self.log.last().map_or(&root, |entry| entry.header());
            let entry = entry_after(parent, self.view, dice.below(1500) as usize);
            match self.store.write(&WriteKind::Append(vec![entry.clone()])) {
                Ok(()) => {}
                Err(StoreError::LogFull) => return,
                Err(error) => panic!("{error}"),
            }
            let op = entry.header().op.0 as usize;
            self.given.resize(self.given.len().max(op + 1), Vec::new());
            self.given[op].push(*entry.header());
            self.log.push(entry);
        }
    }

    fn sync(&mut self) {
        let bytes = self.store.sync().unwrap().bytes;
        self.synced = self.log.len();
        if bytes > 0 {
            // An upper bound would do no good here: superblocks are counted apart.
            self.settled = self.ends[0];
            self.ends = [self.ends[1], self.ends[1] + bytes];
        }
    }

    fn change_view(&mut self, dice: &mut Dice) {
        self.sync();
        self.view += 1;
        let dropped = dice.below(4) as usize;
        self.log.truncate(self.log.len().saturating_sub(dropped).max(self.trimmed));
        self.superblock();
    }

    fn trim(&mut self, dice: &mut Dice) {
        self.sync();
        self.trimmed += dice.below((self.log.len() - self.trimmed) as u64 + 1) as usize;
        self.superblock();
    }

    fn superblock(&mut self) {
        let root = Header::root(CLUSTER);
        let last = self.log.last().map_or(root, |entry| *entry.header());
        let trimmed = self.log[..self.trimmed].last().map_or(root, |entry| *entry.header());
        let headers = vec![last];
        let state = SuperblockState { op: last.op, headers, ..trimming(self.view, &[], &trimmed) };
        self.store.write(&WriteKind::Superblock(Box::new(state))).unwrap();
        self.store.sync().unwrap();
        self.synced = self.log.len();
    }

    fn live(&mut self, dice: &mut Dice, steps: u64) {
        let trims = self.constants.log_slots < SMALL.log_slots;
        for _ in 0..3 + dice.below(steps) {
            match dice.below(10) {
                0..5 => {
                    self.append(dice);
                    self.sync();
                }
                5 => self.change_view(dice),
                6 => drop(self.store.idle().unwrap()),
                7 | 8 if trims => self.trim(dice),
                _ => self.append(dice),
            }
        }
    }

    /// A group is being written when the power fails.
    fn lose_power(&mut self, dice: &mut Dice, seed: u64) {
        let synced = self.synced;
        self.append(dice);
        let cut = self.disk.operations() + dice.below(4);
        self.disk.cut_power_at(cut, vsr_storage::PowerCut::After);
        let acknowledged = self.store.sync().is_ok();
        self.synced = if acknowledged { self.log.len() } else { synced };
        self.disk.lose_power_spoiling(seed);
    }

    /// One fault: bytes of a settled record, or of a ring header, or a sector that cannot be read. In
    /// later laps it may hit what is stale.
    fn fault(&self, dice: &mut Dice) {
        let slots = u64::from(self.constants.log_slots);
        let records = (RING + slots * 128).next_multiple_of(4096);
        let capacity = self.constants.log_bytes.next_multiple_of(4096) + slots * 8192;
        // What lies below is overwritten by records up to the log's end.
        let lap = self.ends[1].saturating_sub(capacity);
        match dice.below(3) {
            0 if self.settled > 0 => {
                let at = (lap + dice.below(self.settled - lap)) % capacity;
                self.disk.corrupt("log", records + at, &[1 << dice.below(8)]);
            }
            1 if self.settled > 0 => {
                let at = (lap + dice.below(self.settled - lap)) % capacity;
                self.disk.make_unreadable("log", records + at / 4096 * 4096);
            }
            _ => {
                let slot = dice.below(self.synced as u64 + 1) % slots;
                self.disk.corrupt("log", RING + slot * 128 + dice.below(128), &[0x10]);
            }
        }
    }

    fn check(&mut self, context: &str) {
        let (store, stored) = reopen(&self.disk);
        assert!(stored.superblock.view.0 == self.view, "{context}");
        assert_eq!(stored.superblock.trimmed.op.0, self.trimmed as u64, "{context}");
        let kept = self.synced - self.trimmed;
        let uncertain =
            stored.slots.len() > kept && stored.slots[kept..].contains(&StoredSlot::Unreadable);
        for (op, entry) in (1_usize..).zip(&self.log[..self.synced]).skip(self.trimmed) {
            let slot = stored.slots.get(op - self.trimmed - 1).unwrap_or(&StoredSlot::Empty);
            match slot {
                StoredSlot::Held(held) if held == entry.header() => {}
                StoredSlot::Held(held) | StoredSlot::Faulty(held) => {
                    let given = &self.given[op];
                    let at = |header| given.iter().rposition(|given| given == header);
                    let later = at(held).unwrap() > at(entry.header()).unwrap();
                    if uncertain {
                        self.excused.insert(op);
                    }
                    let excused = self.excused.contains(&op);
                    assert!(later || excused, "op {op} is its predecessor: {context}");
                }
                StoredSlot::Unreadable => {}
                StoredSlot::Empty => panic!("op {op} was taken for missing: {context}"),
            }
            let number = OpNumber(op as u64);
            let (read, faulty) = store.read(number, number, 1);
            assert_eq!(read.len() + faulty.len(), 1, "{context}");
            for entry in read {
                assert!(self.given[op].contains(entry.header()), "{context}");
            }
        }
    }
}

/// Three to `steps` steps, one fault, and the loss of power while a group is written; then more of both
/// without another fault.
fn survives(constants: Constants, steps: u64, seed: u64) {
    let mut dice = Dice(seed);
    let mut run = Run::new(constants);
    run.live(&mut dice, steps);
    run.sync();
    run.fault(&mut dice);
    run.lose_power(&mut dice, seed);
    run.check(&format!("seed {seed}"));
    run.check(&format!("seed {seed}, again"));
    for life in 0..3 {
        run.store = reopen(&run.disk).0;
        run.log.truncate(run.synced);
        run.view += 1;
        run.superblock();
        run.live(&mut dice, 6);
        run.sync();
        run.lose_power(&mut dice, seed * 31 + life);
        run.check(&format!("seed {seed}, later life {life}"));
    }
}

fn seeds() -> u64 {
    std::env::var("VSR_FAULT_SEEDS").map_or(300, |seeds| seeds.parse().unwrap())
}

#[test]
fn one_fault_and_a_spoiling_power_loss_never_make_an_acknowledged_entry_vanish() {
    for seed in 0..seeds() {
        survives(SMALL, 20, seed);
    }
}

#[test]
fn in_later_laps_one_fault_and_a_spoiling_power_loss_make_nothing_vanish_either() {
    for seed in 0..seeds() {
        survives(TINY, 60, seed);
        survives(TWO_SECTORS, 120, seed);
    }
}
