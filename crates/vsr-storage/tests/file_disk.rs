//! The same store on a real directory.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;

use common::*;
use vsr_core::WriteKind;
use vsr_storage::{Disk as _, DiskError, File as _, FileDisk, OpenError, Store};

#[test]
fn a_second_user_of_a_directory_is_refused_until_the_first_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let first = FileDisk::open(directory.path()).unwrap();
    Store::format(&first, &format()).unwrap();
    let (store, ..) = Store::open(first).unwrap();
    let error = FileDisk::open(directory.path()).unwrap_err();
    assert!(matches!(error, DiskError::Locked { .. }));
    assert_eq!(error.exit_status(), 9);
    assert_eq!(OpenError::from(error).exit_status(), 9);
    drop(store);
    FileDisk::open(directory.path()).unwrap();
}

#[test]
fn a_store_in_a_directory_keeps_what_was_synced() {
    let directory = tempfile::tempdir().unwrap();
    let disk = FileDisk::open(directory.path()).unwrap();
    assert!(matches!(Store::open(disk).unwrap_err(), OpenError::Empty));
    let disk = FileDisk::open(directory.path()).unwrap();
    Store::format(&disk, &format()).unwrap();
    let (mut store, ..) = Store::open(disk).unwrap();
    let entries = chain(100, 0, 700);
    for group in entries.chunks(7) {
        append(&mut store, group);
        store.sync().unwrap();
    }
    let superblock = state(3, &entries[..50]);
    store.write(&WriteKind::Superblock(Box::new(superblock.clone()))).unwrap();
    store.sync().unwrap();
    while store.idle().unwrap() {}
    drop(store);
    let disk = FileDisk::open(directory.path()).unwrap();
    assert_eq!(disk.list().unwrap(), ["log", "peers", "superblock"]);
    let (store, format_read, stored) = Store::open(disk).unwrap();
    assert_eq!(format_read, format());
    assert_eq!(stored.superblock, superblock);
    assert!(store.opened().is_clean());
    assert_holds(&store, &stored, &entries);
}

#[test]
fn a_read_only_look_needs_no_lock_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let disk = FileDisk::open(directory.path()).unwrap();
    Store::format(&disk, &format()).unwrap();
    let look = FileDisk::open_read_only(directory.path()).unwrap();
    assert!(look.create("x").is_err());
    assert!(look.rename("log", "x").is_err());
    assert!(look.remove("log").is_err());
    assert!(look.open("log").unwrap().write_at(0, b"x").is_err());
    let missing = directory.path().join("missing");
    assert!(FileDisk::open_read_only(&missing).is_err());
}
