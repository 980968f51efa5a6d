//! Which store each peer came with at first is remembered, and nothing else passes for it.
#![allow(clippy::unwrap_used, reason = "a test fails where anything does")]
mod common;

use common::{format, formatted};
use vsr_core::{ReplicaId, StoreId};
use vsr_storage::{Finding, Inspection, OpenError, SimDisk, Store};

const PEERS: &str = "peers";

fn meet(disk: &SimDisk, peer: u32, store: u128) -> bool {
    let (opened, ..) = Store::open(disk.clone()).unwrap();
    opened.known_stores().meet(ReplicaId(peer), StoreId(store)).unwrap()
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
