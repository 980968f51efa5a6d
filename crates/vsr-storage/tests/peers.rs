//! Which store each peer came with at first is remembered, and nothing else passes for it.
#![allow(clippy::unwrap_used, reason = "a test fails where anything does")]
mod common;

use common::{format, formatted};
use vsr_core::{Incarnation, ReplicaId, StoreId};
use vsr_storage::{
    Acquaintance, Finding, Inspection, OpenError, STARTS_TOLD, SimDisk, Start, Store,
};

const PEERS: &str = "peers";

fn meet(disk: &SimDisk, peer: u32, store: u128) -> bool {
    let (opened, ..) = Store::open(disk.clone()).unwrap();
    let met = opened.known_stores().meet(ReplicaId(peer), StoreId(store), start(1, 1)).unwrap();
    met == Acquaintance::Known
}

/// A start of which the ones before are not known.
fn start(incarnation: u64, drawn: u128) -> Start {
    Start::new(Incarnation(incarnation), drawn)
}

/// The starts after `first`, each with a number of its own.
fn starts_after(first: &Start, number: u128, count: u64) -> Vec<Start> {
    let mut starts = Vec::new();
    let mut last = *first;
    for since in 1..=count {
        let incarnation = Incarnation(first.incarnation.0 + since);
        last = last.next(incarnation, number + u128::from(since));
        starts.push(last);
    }
    starts
}

/// Replica 0 of store 10 says hello, and is heard if it is let in.
fn hear(disk: &SimDisk, start: Start) -> Acquaintance {
    let (opened, ..) = Store::open(disk.clone()).unwrap();
    let known = opened.known_stores();
    let (peer, store) = (ReplicaId(0), StoreId(10));
    match known.meet(peer, store, start).unwrap() {
        Acquaintance::Known => known.hear(peer, store, start).unwrap(),
        refused @ (Acquaintance::AnotherStore | Acquaintance::EarlierCopy) => refused,
    }
}

#[test]
fn a_store_is_known_from_its_first_coming_on_also_after_a_power_loss() {
    let disk = formatted();
    assert!(meet(&disk, 0, 10));
    assert!(meet(&disk, 2, 12));
    disk.lose_power_spoiling(1);
    assert!(meet(&disk, 0, 10));
    assert!(!meet(&disk, 0, 11));
    assert!(!meet(&disk, 2, 10));
    assert!(meet(&disk, 2, 12));
}

#[test]
fn each_flipped_byte_of_what_was_met_is_noticed_and_never_another_store() {
    let disk = formatted();
    assert!(meet(&disk, 0, 10));
    for at in (0..4096).step_by(7) {
        disk.corrupt(PEERS, at, &[0x10]);
        let mut found = Vec::new();
        Inspection::open(&disk).unwrap().verify(&disk, |finding| found.push(finding)).unwrap();
        assert_eq!(found, [Finding::Peer { sector: 0 }], "byte {at}");
        disk.corrupt(PEERS, at, &[0x10]);
    }
    disk.corrupt(PEERS, 100, &[0x10]);
    // What is damaged is learned anew, in its place.
    assert!(meet(&disk, 0, 10));
    assert_eq!(disk.contents(PEERS).len(), 4096);
    assert!(!meet(&disk, 0, 11));
}

#[test]
fn another_stores_memory_is_refused() {
    let (disk, other) = (formatted(), SimDisk::new());
    let format = vsr_storage::Format { store: StoreId(99), ..format() };
    Store::format(&other, &format).unwrap();
    assert!(meet(&other, 0, 10));
    disk.place(PEERS, 0, &other.contents(PEERS));
    let refused = Store::open(disk).map(|_| ()).unwrap_err();
    assert!(matches!(refused, OpenError::ForeignFile { .. }), "{refused}");
    assert_eq!(refused.exit_status(), 5);
}

#[test]
fn an_earlier_copy_of_a_store_is_told_by_its_starts_also_after_a_power_loss() {
    let disk = formatted();
    assert!(meet(&disk, 2, 12));
    // A hello alone tells nothing: the start may not be durable there, and be counted again.
    assert!(meet(&disk, 0, 10));
    let first = start(5, 50);
    let later = starts_after(&first, 100, 2);
    for heard in [first, first, later[0], later[1]] {
        assert_eq!(hear(&disk, heard), Acquaintance::Known);
        disk.lose_power_spoiling(1);
    }
    // The copy was made after the fifth start. It is started, refused, and started again.
    for earlier in starts_after(&first, 200, STARTS_TOLD as u64 + 1) {
        assert_eq!(hear(&disk, earlier), Acquaintance::EarlierCopy, "{earlier:?}");
    }
    assert!(!meet(&disk, 0, 11));
    assert!(meet(&disk, 2, 12));
    // One sector of replica 2, and two of replica 0, however often it starts.
    assert_eq!(disk.contents(PEERS).len(), 3 * 4096);
    for heard in starts_after(&later[1], 300, 3) {
        assert_eq!(hear(&disk, heard), Acquaintance::Known);
    }
    // Who was not heard for longer than starts are told of cannot be compared.
    let [.., last] = starts_after(&later[1], 400, STARTS_TOLD as u64 + 4)[..] else { panic!() };
    assert_eq!(hear(&disk, last), Acquaintance::Known);
}

/// Two connections are let in before either of them is heard.
#[test]
fn of_two_starts_that_count_the_same_the_first_heard_stays() {
    let (opened, ..) = Store::open(formatted()).unwrap();
    let known = opened.known_stores();
    let (peer, store) = (ReplicaId(0), StoreId(10));
    let (one, other) = (start(3, 1), start(3, 2));
    assert_eq!(known.meet(peer, store, one).unwrap(), Acquaintance::Known);
    assert_eq!(known.meet(peer, store, other).unwrap(), Acquaintance::Known);
    assert_eq!(known.hear(peer, store, other).unwrap(), Acquaintance::Known);
    assert_eq!(known.hear(peer, store, one).unwrap(), Acquaintance::EarlierCopy);
}

/// What is written last may be torn: the store is known all the same, and the start before.
#[test]
fn a_torn_sector_forgets_the_last_start_alone() {
    let disk = formatted();
    let first = start(5, 50);
    let later = starts_after(&first, 100, 2);
    for heard in [first, later[0], later[1]] {
        assert_eq!(hear(&disk, heard), Acquaintance::Known);
    }
    // The third one went where the first one was, behind the hello.
    disk.corrupt(PEERS, 4096 + 100, &[0x10]);
    assert!(!meet(&disk, 0, 11));
    assert_eq!(hear(&disk, first), Acquaintance::EarlierCopy);
    let others = starts_after(&later[0], 200, 1);
    assert_eq!(hear(&disk, others[0]), Acquaintance::Known);
}

/// A start that is not durable is counted again, with another number: nobody heard of the first.
#[test]
fn a_replica_tells_of_its_own_starts_and_of_none_that_came_to_nothing() {
    let disk = formatted();
    let begin = |incarnation: u64, drawn: u128| {
        let (opened, ..) = Store::open(disk.clone()).unwrap();
        opened.known_stores().start(Incarnation(incarnation), drawn).unwrap().drawn
    };
    assert_eq!(begin(1, 10)[..2], [10, 0]);
    assert_eq!(begin(2, 20)[..3], [20, 10, 0]);
    assert_eq!(begin(3, 30)[..4], [30, 20, 10, 0]);
    assert_eq!(begin(3, 31)[..4], [31, 20, 10, 0]);
    assert_eq!(begin(4, 40)[..5], [40, 31, 20, 10, 0]);
    // One that could not be written down is not told of.
    assert_eq!(begin(6, 60)[..6], [60, 0, 40, 31, 20, 10]);
    assert_eq!(disk.contents(PEERS).len(), 2 * 4096);
}
