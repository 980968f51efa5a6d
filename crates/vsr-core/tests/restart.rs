//! Restart: what a replica may say of what it held before (protocol.md, sections 5.4 to 5.6).
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod group;

use group::lone::{Lone, chain, do_view_change, headers, root};
use vsr_core::{
    Entry, HaltReason, Holding, Incarnation, Kind, OpNumber, StatusName, Stored, StoredSlot,
    SuffixSlot, SuperblockState, ViewNumber,
};

fn superblock(view: u64, log_view: u64) -> SuperblockState {
    SuperblockState {
        incarnation: Incarnation(1),
        view: ViewNumber(view),
        log_view: ViewNumber(log_view),
        ..SuperblockState::formatted(root())
    }
}

/// What the replica says of its log in DO-VIEW-CHANGE.
fn offered(lone: &Lone) -> Vec<SuffixSlot> {
    let mut offers = lone.sent().into_iter().rev().filter_map(|kind| {
        let Kind::DoViewChange { suffix, .. } = kind else { return None };
        Some(suffix.clone())
    });
    offers.next().unwrap()
}

/// Section 2.7 (TigerBeetle #645): damage is remembered across the headers that START-VIEW brings. A
/// replica that nacks what it may have acknowledged lets a quorum cut a committed entry.
#[test]
fn what_lay_beyond_a_damaged_head_is_not_nacked_once_the_head_is_known() {
    let log = chain(&root(), 0, &["a", "b", "c"]);
    let held = |entry: &Entry<_>| StoredSlot::Held(*entry.header());
    let slots = vec![held(&log[0]), StoredSlot::Unreadable, held(&log[2])];
    let mut r2 = Lone::recover(3, 2, Stored { superblock: superblock(0, 0), slots });
    assert_eq!(r2.replica.summary().status, StatusName::RecoveringHead);
    let nonce = r2.sent().into_iter().find_map(|kind| {
        let Kind::GetView { nonce } = kind else { return None };
        Some(*nonce)
    });
    assert!(nonce.is_some());
    let suffix = headers(&log);
    r2.hear(0, 0, Kind::StartView { commit_max: OpNumber(0), suffix, nonce });
    r2.sync();
    assert_eq!(r2.replica.holding(OpNumber(2)), Holding::Faulty);
    assert_eq!(r2.replica.holding(OpNumber(3)), Holding::Durable);
    r2.hear(1, 1, do_view_change(0, &log[..1], "p", 0));
    r2.sync();
    let offer = offered(&r2);
    assert!(!offer[1].nack && !offer[1].present, "damaged: {:?}", offer[1]);
    assert!(offer[2].present && !offer[2].nack, "held: {:?}", offer[2]);
}

/// A group of one has nobody to ask: it says at once what is damaged, and never waits in silence.
#[test]
fn a_group_of_one_with_a_damaged_record_halts_and_names_it() {
    let log = chain(&root(), 0, &["a", "b", "c"]);
    let held = |entry: &Entry<_>| StoredSlot::Held(*entry.header());
    let cases = [
        vec![held(&log[0]), StoredSlot::Faulty(*log[1].header()), held(&log[2])],
        vec![held(&log[0]), StoredSlot::Unreadable, held(&log[2])],
        vec![held(&log[0]), StoredSlot::Unreadable],
    ];
    for slots in cases {
        let mut r0 = Lone::recover(1, 0, Stored { superblock: superblock(0, 0), slots });
        r0.sync();
        assert_eq!(r0.halted(), Some(HaltReason::Damaged(OpNumber(2))));
    }
    let torn = vec![held(&log[0]), StoredSlot::Empty];
    let mut r0 = Lone::recover(1, 0, Stored { superblock: superblock(0, 0), slots: torn });
    r0.sync();
    assert_eq!(r0.replica.summary().status, StatusName::Primary);
    assert_eq!(r0.replica.summary().commit_max, OpNumber(1), "a torn tail was never acknowledged");
}
