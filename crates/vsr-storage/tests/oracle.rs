//! The same random operations and crashes against this store and against redb, a database of others:
//! after each crash both hold the same entries.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;

use std::io;

use common::*;
use proptest::prelude::*;
use redb::{Database, ReadableDatabase, StorageBackend, TableDefinition};
use vsr_core::{
    Checkpoint, Checksum, Constants, Header, OpNumber, StoredSlot, SuperblockState, WriteKind,
};
use vsr_storage::{Disk, File, SimDisk, SimDiskFile, Store, StoreError};

const LOG: TableDefinition<'_, u64, (u128, &[u8])> = TableDefinition::new("log");
const VIEW: TableDefinition<'_, (), u64> = TableDefinition::new("view");

/// redb on a simulated disk of its own, which loses power together with the store's.
#[derive(Debug)]
struct Backend(SimDiskFile);

fn failed(error: vsr_storage::DiskError) -> io::Error {
    io::Error::other(error)
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.0.length().map_err(failed)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, out).map_err(failed).map(drop)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_length(length).map_err(failed)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync().map_err(failed)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, data).map_err(failed)
    }
}

struct Pair {
    constants: Constants,
    disk: SimDisk,
    store: Option<Store<SimDisk>>,
    oracle_disk: SimDisk,
    oracle: Option<Database>,
    /// Given and not synced.
    waiting: Vec<vsr_core::Entry<bytes::Bytes>>,
    waiting_view: Option<u64>,
    /// The log as a replica would have it: headers of the ops after the trimmed one.
    log: Vec<Header>,
    durable: Vec<Header>,
    trimmed: Header,
    view: u64,
    durable_view: u64,
    /// The highest op that was ever durable.
    reached: OpNumber,
}

impl Pair {
    fn new(constants: Constants) -> Self {
        let disk = formatted_with(constants);
        let oracle_disk = SimDisk::new();
        oracle_disk.create("redb").unwrap();
        oracle_disk.sync_directory().unwrap();
        let mut pair = Self {
            constants,
            store: Some(reopen(&disk).0),
            disk,
            oracle: None,
            oracle_disk,
            waiting: Vec::new(),
            waiting_view: None,
            log: Vec::new(),
            durable: Vec::new(),
            trimmed: Header::root(CLUSTER),
            view: 0,
            durable_view: 0,
            reached: OpNumber::ZERO,
        };
        pair.open_oracle();
        pair.sync();
        pair
    }

    fn open_oracle(&mut self) {
        let backend = Backend(self.oracle_disk.open("redb").unwrap());
        self.oracle = Some(Database::builder().create_with_backend(backend).unwrap());
    }

    fn store(&mut self) -> &mut Store<SimDisk> {
        self.store.as_mut().unwrap()
    }

    fn append(&mut self, count: usize, length: usize) {
        for _ in 0..count {
            let entry = entry_after(self.log.last().unwrap_or(&self.trimmed), self.view, length);
            let slots = u64::from(self.constants.log_slots);
            if entry.header().op.0 - self.trimmed.op.0 >= slots - 1 {
                return;
            }
            match self.store().write(&WriteKind::Append(vec![entry.clone()])) {
                Ok(()) => {}
                Err(StoreError::LogFull) => return,
                Err(error) => panic!("{error}"),
            }
            self.log.push(*entry.header());
            self.waiting.push(entry);
        }
    }

    /// A later view begins with a shorter log; its superblock goes before its entries.
    fn change_view(&mut self, drop: usize) {
        self.view += 1;
        let kept = self.log.len().saturating_sub(drop);
        self.log.truncate(kept);
        self.superblock();
        self.sync();
    }

    /// A checkpoint lets go of the first entries. With `more` entries given behind it.
    fn trim(&mut self, count: usize, more: usize, length: usize) {
        let count = count.min(self.log.len());
        if let Some(trimmed) = self.log.drain(..count).next_back() {
            self.trimmed = trimmed;
        }
        self.superblock();
        self.append(more, length);
        self.sync();
    }

    fn superblock(&mut self) {
        let first = self.log.len().saturating_sub(4);
        let mut headers = self.log[first..].to_vec();
        if headers.is_empty() {
            headers.push(self.trimmed);
        }
        let state = SuperblockState {
            op: headers.last().unwrap().op,
            headers,
            checkpoint: Checkpoint { header: self.trimmed, id: Checksum(1) },
            trimmed: self.trimmed,
            ..state(self.view, &[])
        };
        self.store().write(&WriteKind::Superblock(Box::new(state))).unwrap();
        self.waiting_view = Some(self.view);
    }

    fn sync(&mut self) {
        self.store().sync().unwrap();
        let write = self.oracle.as_ref().unwrap().begin_write().unwrap();
        {
            let mut log = write.open_table(LOG).unwrap();
            let trimmed = self.trimmed.op.0;
            log.retain(|op, _| op > trimmed).unwrap();
            for entry in self.waiting.drain(..).filter(|entry| entry.header().op.0 > trimmed) {
                let header = entry.header();
                let record = body_of(&entry);
                log.insert(header.op.0, (header.checksum.0, record.as_slice())).unwrap();
            }
            let mut view = write.open_table(VIEW).unwrap();
            view.insert((), self.waiting_view.take().unwrap_or(self.durable_view)).unwrap();
        }
        write.commit().unwrap();
        self.durable.clone_from(&self.log);
        self.durable_view = self.view;
        self.reached = self.reached.max(self.log.last().map_or(self.trimmed.op, |last| last.op));
    }

    fn crash(&mut self, seed: u64) {
        self.store = None;
        // redb flushes when it is dropped; what it would write then must not count.
        self.oracle_disk.cut_power_at(self.oracle_disk.operations(), vsr_storage::PowerCut::Before);
        drop(self.oracle.take());
        self.disk.lose_power(seed);
        self.oracle_disk.lose_power(seed);
        self.open_oracle();
        let (store, stored) = reopen(&self.disk);
        assert_eq!(stored.superblock.view.0, self.durable_view);
        assert_eq!(stored.superblock.trimmed, self.trimmed);
        let is_whole = |slot: &StoredSlot| matches!(slot, StoredSlot::Held(_) | StoredSlot::Empty);
        assert!(stored.slots.iter().all(is_whole), "{:?}", stored.slots);
        let (gone, _) = store.read(OpNumber(1), self.trimmed.op, 1);
        assert_eq!(gone, []);
        self.compare(&store, &stored.slots);
        self.store = Some(store);
        self.log.clone_from(&self.durable);
        self.view = self.durable_view;
        self.waiting.clear();
        self.waiting_view = None;
    }

    /// All that redb holds of the present log is held, and equal. What the store holds beyond was given
    /// and not synced, or belongs to an earlier view.
    fn compare(&mut self, store: &Store<SimDisk>, slots: &[StoredSlot]) {
        let read = self.oracle.as_ref().unwrap().begin_read().unwrap();
        let log = read.open_table(LOG).unwrap();
        for header in &self.durable {
            let op = header.op;
            let stored = log.get(op.0).unwrap().unwrap();
            let (checksum, record) = stored.value();
            assert_eq!(checksum, header.checksum.0, "the oracle is right about op {op}");
            let slot = slots.get((op.0 - self.trimmed.op.0 - 1) as usize);
            let Some(StoredSlot::Held(held)) = slot else { panic!("op {op} is {slot:?}") };
            let (entries, faulty) = store.read(op, op, 1);
            assert_eq!(faulty, []);
            assert_eq!(entries[0].header().checksum, held.checksum);
            if held == header {
                assert_eq!(body_of(&entries[0]), record);
            } else {
                let given = |entry: &vsr_core::Entry<_>| entry.header() == held;
                assert!(self.waiting.iter().any(given), "op {op} was given another entry");
            }
        }
        assert_eq!(
            read.open_table(VIEW).unwrap().get(()).unwrap().unwrap().value(),
            self.durable_view
        );
    }
}

fn body_of(entry: &vsr_core::Entry<bytes::Bytes>) -> Vec<u8> {
    match &entry.requests()[0] {
        vsr_core::Request::Operation { body, .. } => body.to_vec(),
        vsr_core::Request::Register { .. } => Vec::new(),
    }
}

#[derive(Clone, Debug)]
enum Step {
    Append(usize, usize),
    Sync,
    Idle,
    ChangeView(usize),
    Trim(usize, usize, usize),
    Crash(u64),
}

fn steps(trims: u32, count: usize) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1..6_usize, 0..3000_usize).prop_map(|(count, length)| Step::Append(count, length)),
        4 => Just(Step::Sync),
        1 => Just(Step::Idle),
        1 => (0..4_usize).prop_map(Step::ChangeView),
        trims => (0..9_usize, 0..3_usize, 0..3000_usize)
            .prop_map(|(count, more, length)| Step::Trim(count, more, length)),
        2 => any::<u64>().prop_map(Step::Crash),
    ];
    prop::collection::vec(step, 1..count)
}

/// Carries out the steps and compares what is there in the end. Returns the highest op.
fn compare(constants: Constants, steps: Vec<Step>) -> OpNumber {
    let mut pair = Pair::new(constants);
    for step in steps {
        match step {
            Step::Append(count, length) => pair.append(count, length),
            Step::Sync => pair.sync(),
            Step::Idle => drop(pair.store().idle().unwrap()),
            Step::ChangeView(dropped) => pair.change_view(dropped),
            Step::Trim(count, more, length) => pair.trim(count, more, length),
            Step::Crash(seed) => pair.crash(seed),
        }
    }
    pair.sync();
    pair.crash(0);
    let last = OpNumber(pair.trimmed.op.0 + pair.durable.len() as u64);
    let (read, faulty) = pair.store().read(OpNumber(1), last, u64::MAX);
    assert_eq!(faulty, []);
    let read: Vec<Header> = read.iter().map(|entry| *entry.header()).collect();
    assert_eq!(read, pair.durable);
    pair.reached
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn after_any_operations_and_crashes_the_store_holds_what_redb_holds(steps in steps(0, 40)) {
        compare(SMALL, steps);
    }

    #[test]
    fn in_any_lap_the_store_holds_what_redb_holds(steps in steps(4, 120)) {
        compare(TINY, steps);
    }

    #[test]
    fn in_any_lap_of_two_ring_sectors_the_store_holds_what_redb_holds(steps in steps(2, 120)) {
        compare(TWO_SECTORS, steps);
    }
}

/// As the random runs, and long: the ring of headers and the records area are gone round many times.
#[test]
fn after_many_laps_the_store_holds_what_redb_holds() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut reached = 0;
    for _ in 0..5 {
        let steps = steps(5, 1000).new_tree(&mut runner).unwrap();
        let steps = proptest::strategy::ValueTree::current(&steps);
        reached = reached.max(compare(TINY, steps).0);
    }
    assert!(reached > 20 * u64::from(TINY.log_slots), "reached {reached}");
}
