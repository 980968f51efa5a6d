//! One fault of the medium in what was settled, and then a power loss that spoils sectors: nothing that
//! was acknowledged is ever taken for missing, nor for its predecessor.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;

use bytes::Bytes;
use common::*;
use vsr_core::{Entry, Header, OpNumber, StoredSlot, SuperblockState, WriteKind};
use vsr_storage::{SimDisk, Store};

const RING: u64 = 4096;
const RECORDS: u64 = RING + 256 * 128;

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
    disk: SimDisk,
    store: Store<SimDisk>,
    /// The log as the replica has it.
    log: Vec<Entry<Bytes>>,
    /// For each op, everything that was ever given.
    given: Vec<Vec<Header>>,
    synced: usize,
    view: u64,
    /// Where the records end that two later groups vouch for.
    settled: u64,
    ends: [u64; 2],
}

impl Run {
    fn new() -> Self {
        let disk = formatted();
        let store = open(&disk).0;
        Self {
            disk,
            store,
            log: Vec::new(),
            given: vec![Vec::new(); 256],
            synced: 0,
            view: 0,
            settled: 0,
            ends: [0; 2],
        }
    }

    fn append(&mut self, dice: &mut Dice) {
        for _ in 0..=dice.below(5) {
            let root = Header::root(CLUSTER);
            let parent = self.log.last().map_or(&root, |entry| entry.header());
            let entry = entry_after(parent, self.view, dice.below(1500) as usize);
            self.given[entry.header().op.0 as usize].push(*entry.header());
            append(&mut self.store, std::slice::from_ref(&entry));
            self.log.push(entry);
        }
    }

    fn sync(&mut self) {
        let bytes = self.store.sync().unwrap().bytes;
        self.synced = self.log.len();
        // An upper bound would do no good here: superblocks are counted apart.
        self.settled = self.ends[0];
        self.ends = [self.ends[1], self.ends[1] + bytes];
    }

    fn change_view(&mut self, dice: &mut Dice) {
        self.sync();
        self.view += 1;
        let dropped = dice.below(4) as usize;
        self.log.truncate(self.log.len().saturating_sub(dropped));
        let headers = match self.log.last() {
            Some(entry) => vec![*entry.header()],
            None => vec![Header::root(CLUSTER)],
        };
        let state = SuperblockState { op: headers[0].op, headers, ..state(self.view, &[]) };
        self.store.write(&WriteKind::Superblock(state)).unwrap();
        self.store.sync().unwrap();
        self.synced = self.log.len();
    }

    /// One fault: bytes of a settled record, or of a ring header, or a sector that cannot be read.
    fn fault(&self, dice: &mut Dice) {
        match dice.below(3) {
            0 if self.settled > 0 => {
                let at = RECORDS + dice.below(self.settled);
                self.disk.corrupt("log", at, &[1 << dice.below(8)]);
            }
            1 if self.settled > 0 => {
                let sector = dice.below(self.settled) / 4096 * 4096;
                self.disk.make_unreadable("log", RECORDS + sector);
            }
            _ => {
                let slot = dice.below(self.synced as u64 + 1);
                self.disk.corrupt("log", RING + slot * 128 + dice.below(128), &[0x10]);
            }
        }
    }

    fn check(&self, context: &str) {
        let (store, stored) = open(&self.disk);
        assert!(stored.superblock.view.0 == self.view, "{context}");
        let uncertain = stored.slots.len() > self.synced
            && stored.slots[self.synced..].contains(&StoredSlot::Unreadable);
        for (op, entry) in (1_usize..).zip(&self.log[..self.synced]) {
            let slot = stored.slots.get(op - 1).unwrap_or(&StoredSlot::Empty);
            match slot {
                StoredSlot::Held(held) if held == entry.header() => {}
                StoredSlot::Held(held) | StoredSlot::Faulty(held) => {
                    let given = &self.given[op];
                    let at = |header| given.iter().rposition(|given| given == header);
                    let later = at(held).unwrap() > at(entry.header()).unwrap();
                    assert!(later || uncertain, "op {op} is its predecessor: {context}");
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

#[test]
fn one_fault_and_a_spoiling_power_loss_never_make_an_acknowledged_entry_vanish() {
    let seeds = std::env::var("VSR_FAULT_SEEDS").map_or(300, |seeds| seeds.parse().unwrap());
    for seed in 0..seeds {
        let mut dice = Dice(seed);
        let mut run = Run::new();
        for _ in 0..3 + dice.below(20) {
            match dice.below(10) {
                0..5 => {
                    run.append(&mut dice);
                    run.sync();
                }
                5 => run.change_view(&mut dice),
                6 => drop(run.store.idle().unwrap()),
                _ => run.append(&mut dice),
            }
        }
        run.sync();
        run.fault(&mut dice);
        // What is being written when the power fails.
        let synced = run.synced;
        run.append(&mut dice);
        run.disk.cut_power_at(run.disk.operations() + dice.below(4), vsr_storage::PowerCut::After);
        let acknowledged = run.store.sync().is_ok();
        run.synced = if acknowledged { run.log.len() } else { synced };
        run.disk.lose_power_spoiling(seed);
        run.check(&format!("seed {seed}"));
        run.check(&format!("seed {seed}, again"));
    }
}
