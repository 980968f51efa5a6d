//! What the tests build: a small cluster's format and chains of entries.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use bytes::Bytes;
use vsr_core::{
    Checkpoint, Checksum, ClientId, ClusterId, Configuration, Constants, Durability, Entry, Epoch,
    Header, Incarnation, OpNumber, Release, ReplicaId, Request, RequestNumber, Session, StoreId,
    Stored, StoredSlot, Subject, SuperblockState, Timestamp, ViewNumber, WriteKind,
};
use vsr_storage::{Disk, Format, SimDisk, Store};

pub const CLUSTER: ClusterId = ClusterId(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);

/// Constants that keep a log small.
pub const SMALL: Constants = Constants {
    pipeline: 4,
    batch_requests: 16,
    batch_bytes: 8 * 1024,
    request_bytes: 16 * 1024,
    log_slots: 256,
    log_bytes: 2 << 20,
    checkpoint_interval: 0,
    checkpoint_bytes: 0,
    checkpoint_time: 0,
    sessions: 16,
    window: 1,
    session_expiry: 0,
    durability: Durability::Sync,
    kept_reply: 1024,
    genesis_sessions: 4,
};

/// Constants with which a few groups fill the log: 26 sectors of records, 12 slots.
pub const TINY: Constants = Constants {
    pipeline: 2,
    batch_requests: 4,
    batch_bytes: 512,
    request_bytes: 1024,
    log_slots: 12,
    log_bytes: 6144,
    ..SMALL
};

/// As [`TINY`], with slots in two sectors of the ring: 82 sectors of records.
pub const TWO_SECTORS: Constants = Constants { log_slots: 40, ..TINY };

pub fn format_with(constants: Constants) -> Format {
    Format { constants, ..format() }
}

pub fn formatted_with(constants: Constants) -> SimDisk {
    let disk = SimDisk::new();
    Store::format(&disk, &format_with(constants)).unwrap();
    disk
}

/// Opens a store of whatever constants.
pub fn reopen(disk: &SimDisk) -> (Store<SimDisk>, Stored<Bytes>) {
    let (store, _, stored) = Store::open(disk.clone()).unwrap();
    (store, stored)
}

/// The name of the store.
pub const STORE: StoreId = StoreId(0x57);

pub fn format() -> Format {
    Format {
        cluster: CLUSTER,
        replica: ReplicaId(1),
        store: STORE,
        configuration: Configuration::of_replicas(3).unwrap(),
        constants: SMALL,
        addresses: (0..3)
            .map(|id| (ReplicaId(id), format!("localhost:{}", 8771 + 10 * id)))
            .collect(),
    }
}

pub fn formatted() -> SimDisk {
    let disk = SimDisk::new();
    Store::format(&disk, &format()).unwrap();
    disk
}

pub fn open(disk: &SimDisk) -> (Store<SimDisk>, Stored<Bytes>) {
    let (store, format_read, stored) = Store::open(disk.clone()).unwrap();
    assert_eq!(format_read, format());
    (store, stored)
}

/// The entry after `parent`, with one operation of `length` bytes.
pub fn entry_after(parent: &Header, view: u64, length: usize) -> Entry<Bytes> {
    let op = parent.op.next();
    let fill = (op.0 as u8).wrapping_mul(31).wrapping_add(view as u8) | 1;
    let body = Bytes::from(vec![fill; length]);
    let request = Request::Operation {
        session: Session { slot: 0, number: OpNumber::ZERO },
        number: RequestNumber(op.0),
        span: 0,
        digest: Checksum::of(&body),
        body,
    };
    let at = Timestamp(1_000_000 * op.0);
    Entry::prepare(parent, Epoch::ZERO, ViewNumber(view), Release::ZERO, at, vec![request])
}

/// An entry that registers a client and carries an operation.
pub fn mixed_entry_after(parent: &Header, view: u64) -> Entry<Bytes> {
    let register = Request::Register { client: ClientId(7), subject: Subject(9) };
    let operation = entry_after(parent, view, 100).requests()[0].clone();
    Entry::prepare(
        parent,
        Epoch::ZERO,
        ViewNumber(view),
        Release(3),
        Timestamp(5),
        vec![register, operation],
    )
}

/// As [`entry_after`], with a predicted value of `value` bytes.
pub fn predicted_entry_after(
    parent: &Header,
    view: u64,
    length: usize,
    value: usize,
) -> Entry<Bytes> {
    let entry = entry_after(parent, view, length);
    let header = entry.header();
    Entry::prepare_predicted(
        parent,
        header.epoch,
        header.view,
        header.release,
        header.timestamp,
        entry.requests().to_vec(),
        Some(Bytes::from(vec![0x5a; value])),
    )
}

/// Entries 1 to `count` of view `view`, from the root on; each fourth one has a predicted value, which is
/// part of its length.
pub fn chain(count: u64, view: u64, length: usize) -> Vec<Entry<Bytes>> {
    let mut parent = Header::root(CLUSTER);
    (0..count)
        .map(|place| {
            let value = length.min(place as usize);
            let entry = match place % 4 {
                3 => predicted_entry_after(&parent, view, length - value, value),
                _ => entry_after(&parent, view, length),
            };
            parent = *entry.header();
            entry
        })
        .collect()
}

pub fn append<D: Disk>(store: &mut Store<D>, entries: &[Entry<Bytes>]) {
    store.write(&WriteKind::Append(entries.to_vec())).unwrap();
}

pub fn state(view: u64, entries: &[Entry<Bytes>]) -> SuperblockState {
    let headers: Vec<Header> = match entries {
        [] => vec![Header::root(CLUSTER)],
        entries => entries.iter().rev().take(5).rev().map(|entry| *entry.header()).collect(),
    };
    SuperblockState {
        incarnation: Incarnation(view),
        epoch: Epoch::ZERO,
        view: ViewNumber(view),
        log_view: ViewNumber(view),
        commit_max: OpNumber(view),
        op: headers.last().unwrap().op,
        headers,
        ..SuperblockState::formatted(Header::root(CLUSTER))
    }
}

/// As [`state`], and the log begins after `trimmed`, up to where the checkpoint goes.
pub fn trimming(view: u64, entries: &[Entry<Bytes>], trimmed: &Header) -> SuperblockState {
    SuperblockState {
        checkpoint: Checkpoint { header: *trimmed, id: Checksum(1) },
        trimmed: *trimmed,
        ..state(view, entries)
    }
}

/// That these, and no others, are held, and read back as they were written.
pub fn assert_holds<D: Disk>(store: &Store<D>, stored: &Stored<Bytes>, entries: &[Entry<Bytes>]) {
    let slots: Vec<StoredSlot> =
        entries.iter().map(|entry| StoredSlot::Held(*entry.header())).collect();
    assert_eq!(stored.slots, slots);
    assert_reads(store, entries);
}

/// That these read back as they were written.
pub fn assert_reads<D: Disk>(store: &Store<D>, entries: &[Entry<Bytes>]) {
    let last = entries.last().map_or(OpNumber::ZERO, |entry| entry.header().op);
    let (read, faulty) = store.read(OpNumber(1), last, u64::MAX);
    assert_eq!(faulty, []);
    assert_eq!(read, entries);
    for (read, written) in read.iter().zip(entries) {
        assert_eq!(read.requests(), written.requests());
        assert_eq!(read.prediction(), written.prediction());
    }
}
