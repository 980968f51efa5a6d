//! Restart: what a replica may say of what it held before (protocol.md, sections 5.4 to 5.6).
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod group;

use group::Group;
use group::lone::{Lone, chain, do_view_change, headers, root, start_view, stored, superblock};
use vsr_core::{
    Entry, Event, HaltReason, Holding, Ignored, Incarnation, Kind, Nonce, OpNumber, StatusName,
    Stored, StoredSlot, SuffixSlot, SuperblockState, Timer, ViewNumber,
};

#[test]
fn a_group_restarted_as_a_whole_serves_all_that_was_acknowledged() {
    for count in 1..=7 {
        let mut group = Group::new(count);
        group.settle();
        for number in 1..=40 {
            group.request(0, 1, number, "x");
            group.settle();
        }
        assert_eq!(group.reply_count(), 40);
        for index in 0..count {
            group.crash(index);
        }
        group.drop_all();
        for index in 0..count {
            group.start(index);
        }
        group.settle();
        let primary = 1 % count;
        let summary = group.replica(primary).summary();
        assert_eq!((summary.view, summary.status), (ViewNumber(1), StatusName::Primary));
        assert_eq!(summary.commit_min, OpNumber(40));
        group.request(primary, 1, 41, "y");
        group.settle();
        assert_eq!(group.reply_count(), 41, "group of {count}");
    }
}

/// Section 5.6: nothing is said before the new incarnation is durable.
#[test]
fn a_restarted_replica_is_silent_until_its_incarnation_is_durable() {
    let stored = stored(superblock(0, 0), Vec::new());
    let config = group::lone::config(3, 2, group::lone::constants());
    let mut r2 = Lone::unsynced(config, stored);
    r2.hear(1, 1, do_view_change(0, &[], "", 0));
    assert_eq!(r2.ignored(), [Ignored::NotStarted]);
    r2.timeout(Timer::PrimarySilence);
    assert!(r2.sent().is_empty());
    r2.sync();
    assert!(matches!(r2.sent()[..], [Kind::Ping { .. }, ..]));
    assert_eq!(r2.replica.summary().incarnation, Incarnation(2));
}

/// Section 5.4, restart, 1: a view change goes on in the same view, with the log it was entered with;
/// what else the disk holds was superseded, or never acknowledged in that log.
#[test]
fn a_restart_within_a_view_change_offers_the_log_of_the_superblock() {
    let log = chain(&root(), 0, &["a", "b", "left over"]);
    let superblock = SuperblockState {
        op: OpNumber(2),
        headers: headers(&log[..2]),
        commit_max: OpNumber(1),
        ..superblock(1, 0)
    };
    let held = |entry: &Entry<_>| StoredSlot::Held(*entry.header());
    let slots = vec![held(&log[0]), StoredSlot::Empty, held(&log[2])];
    let r2 = Lone::recover(3, 2, stored(superblock, slots));
    assert_eq!(r2.replica.summary().status, StatusName::ViewChange);
    let offer = offered(&r2);
    assert_eq!(offer.len(), 2);
    assert!(offer[0].present && !offer[0].nack);
    assert!(offer[1].nack && !offer[1].present, "known, and never durable here");
}

/// Section 5.4, restart: damage is neither present nor nacked, in whatever way it is known.
#[test]
fn a_restart_with_damage_nacks_nothing_that_was_damaged() {
    let log = chain(&root(), 0, &["a", "b"]);
    let superblock =
        SuperblockState { op: OpNumber(2), headers: headers(&log), ..superblock(1, 0) };
    let slots = vec![StoredSlot::Faulty(*log[0].header()), StoredSlot::Unreadable];
    let r2 = Lone::recover(3, 2, stored(superblock, slots));
    for slot in offered(&r2) {
        assert!(!slot.nack && !slot.present && slot.header.is_some(), "{slot:?}");
    }
}

/// Section 5.4, restart, 3: a primary never resumes its view: it may have said more in it than it
/// remembers.
#[test]
fn a_restarted_primary_enters_the_next_view() {
    let log = chain(&root(), 0, &["a"]);
    let slots = vec![StoredSlot::Held(*log[0].header())];
    let r0 = Lone::recover(3, 0, stored(superblock(0, 0), slots));
    let summary = r0.replica.summary();
    assert_eq!((summary.view, summary.status), (ViewNumber(1), StatusName::ViewChange));
    assert_eq!(offered(&r0).len(), 1, "what it prepared in its view is part of its log");
}

/// Section 5.4, restart, 4: a backup goes on with its log, extended by what it wrote in its view and
/// that links, and acknowledges it once more.
#[test]
fn a_restarted_backup_acknowledges_what_it_held_of_its_view() {
    let older = chain(&root(), 0, &["a", "b", "left over"]);
    let own = chain(older[1].header(), 3, &["c"]);
    let superblock =
        SuperblockState { op: OpNumber(2), headers: headers(&older[..2]), ..superblock(3, 3) };
    let held = |entry: &Entry<_>| StoredSlot::Held(*entry.header());
    for (third, op) in [(&own[0], 3), (&older[2], 2)] {
        let slots = vec![held(&older[0]), held(&older[1]), held(third)];
        let stored = stored(superblock.clone(), slots);
        let r2 = Lone::recover(3, 2, stored);
        assert_eq!(r2.replica.summary().status, StatusName::Backup);
        assert_eq!(r2.replica.summary().op, OpNumber(op), "only its own view's entries extend it");
        let acknowledged =
            |kind: &&Kind<_>| matches!(kind, Kind::PrepareOk { op: held, .. } if held.0 == op);
        assert!(r2.sent().iter().any(acknowledged), "{:?}", r2.effects);
    }
}

/// Section 5.4, restart, 2: with an uncertain head a replica neither votes, joins, offers nor
/// acknowledges; an old START-VIEW of its view would make it forget what it acknowledged.
#[test]
fn a_replica_with_an_uncertain_head_waits_for_an_answer_to_its_own_question() {
    let log = chain(&root(), 0, &["a", "b"]);
    let slots = vec![StoredSlot::Held(*log[0].header()), StoredSlot::Unreadable];
    let mut r2 = Lone::recover(3, 2, stored(superblock(0, 0), slots));
    r2.hear(1, 0, Kind::StartViewChange { log_view: ViewNumber(0) });
    assert_eq!(r2.ignored(), [Ignored::HeadUncertain]);
    r2.hear(1, 1, do_view_change(0, &[], "", 0));
    assert_eq!(r2.ignored(), [Ignored::HeadUncertain]);
    for earlier in [&log[..1], &log] {
        r2.hear(0, 0, start_view(earlier, 0));
        assert_eq!(r2.ignored(), [Ignored::WrongStatus], "it may have held more");
    }
    r2.timeout(Timer::GetView);
    let nonce = nonce_asked(&r2).expect("it never gives up asking");
    let (commit_max, suffix) = (OpNumber(0), headers(&log));
    r2.hear(0, 0, Kind::StartView { commit_max, suffix, nonce: Some(nonce) });
    assert_eq!(r2.replica.summary().status, StatusName::Backup);
}

/// The nonce with which a replica asks for START-VIEW, if it does.
fn nonce_asked(lone: &Lone) -> Option<Nonce> {
    lone.sent().into_iter().find_map(|kind| {
        let Kind::GetView { nonce, .. } = kind else { return None };
        Some(*nonce)
    })
}

/// More than one entry may have been lost behind what is known, or one that was to take the place of a left-over one: once
/// the head is told nothing counts as never held of what is not here, whatever else is; and so it stays across a crash.
#[test]
fn nothing_that_may_have_been_lost_is_nacked_once_the_head_is_told() {
    let held = |entry: &Entry<_>| StoredSlot::Held(*entry.header());
    let older = chain(&root(), 0, &["a", "left over"]);
    let own = chain(&root(), 3, &["A", "B", "C", "D"]);
    let named =
        SuperblockState { op: OpNumber(2), headers: headers(&own[..2]), ..superblock(3, 3) };
    let unnamed = superblock(3, 3);
    for superblock in [unnamed, named] {
        let slots = vec![held(&own[0]), held(&older[1]), StoredSlot::Unreadable];
        let stored = stored(superblock, slots);
        let config = group::lone::config(3, 2, group::lone::constants());
        let mut r2 = Lone::unsynced(config, stored);
        assert_eq!(r2.replica.summary().status, StatusName::RecoveringHead);
        let mut marked = r2.marked_faulty();
        r2.sync();
        let nonce = nonce_asked(&r2);
        let (commit_max, suffix) = (OpNumber(0), headers(&own));
        r2.hear(0, 3, Kind::StartView { commit_max, suffix, nonce });
        marked.extend(r2.marked_faulty());
        assert_eq!(marked, [2, 3, 4].map(OpNumber));
        r2.sync();
        r2.hear(1, 4, do_view_change(3, &own[..1], "p", 0));
        r2.sync();
        let offer = offered(&r2);
        assert_eq!(offer.len(), 4);
        for lost in &offer[1..] {
            assert!(!lost.nack && !lost.present, "{lost:?}");
        }
    }
}

/// What was prepared in a later view than that of the own log was never here, whatever was lost: it may be nacked, and a
/// value predicted for it was never agreed to.
#[test]
fn what_is_of_a_later_view_than_the_log_was_never_held() {
    let log = chain(&root(), 3, &["a", "b"]);
    let later = chain(log[1].header(), 4, &["c", "d"]);
    let slots = vec![StoredSlot::Held(*log[0].header()), StoredSlot::Unreadable];
    let superblock = superblock(3, 3);
    let stored = stored(superblock, slots);
    let config = group::lone::config(3, 2, group::lone::constants());
    let mut r2 = Lone::unsynced(config, stored);
    r2.sync();
    let suffix = headers(&[log, later].concat());
    r2.hear(1, 4, Kind::StartView { commit_max: OpNumber(0), suffix, nonce: None });
    let holdings = (1..=4).map(|op| r2.replica.holding(OpNumber(op)));
    let expected = [Holding::Durable, Holding::Faulty, Holding::Missing, Holding::Missing];
    assert!(holdings.eq(expected));
    assert_eq!(r2.marked_faulty(), [OpNumber(2)]);
}

#[test]
fn a_former_lifes_writes_prove_nothing() {
    let stored = || stored(superblock(0, 0), Vec::new());
    let config = group::lone::config(3, 2, group::lone::constants());
    let mut former = Lone::unsynced(config.clone(), Stored::formatted(root()));
    let mut r2 = Lone::unsynced(config, stored());
    let write = former.writes.pop_front().unwrap();
    r2.step(Event::Written(write.done()));
    assert_eq!(r2.ignored(), [Ignored::StaleCompletion]);
    assert!(r2.sent().is_empty());
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
    let log = chain(&root(), 0, &["a", "b", "c", "d"]);
    let held = |entry: &Entry<_>| StoredSlot::Held(*entry.header());
    let slots = vec![held(&log[0]), StoredSlot::Unreadable, held(&log[2]), StoredSlot::Unreadable];
    let mut r2 = Lone::recover(3, 2, stored(superblock(0, 0), slots));
    assert_eq!(r2.replica.summary().status, StatusName::RecoveringHead);
    let nonce = r2.sent().into_iter().find_map(|kind| {
        let Kind::GetView { nonce, .. } = kind else { return None };
        Some(*nonce)
    });
    assert!(nonce.is_some());
    let suffix = headers(&log);
    r2.hear(0, 0, Kind::StartView { commit_max: OpNumber(0), suffix, nonce });
    r2.sync();
    assert_eq!(r2.replica.holding(OpNumber(2)), Holding::Faulty);
    assert_eq!(r2.replica.holding(OpNumber(3)), Holding::Durable);
    assert_eq!(r2.replica.holding(OpNumber(4)), Holding::Faulty);
    r2.hear(1, 1, do_view_change(0, &log[..1], "p", 0));
    r2.sync();
    let offer = offered(&r2);
    assert!(!offer[1].nack && !offer[1].present, "damaged: {:?}", offer[1]);
    assert!(offer[2].present && !offer[2].nack, "held: {:?}", offer[2]);
    assert!(!offer[3].nack && !offer[3].present, "damaged: {:?}", offer[3]);
}

/// Section 5.4, restart, 2: only what lies above all that the view is known to have makes a head uncertain. An entry that
/// the view's own primary prepared tells that all before it was of that view too.
#[test]
fn damage_below_an_entry_of_the_own_view_leaves_the_head_certain() {
    let log = chain(&root(), 0, &["a", "b", "c", "d"]);
    let held = |entry: &Entry<_>| StoredSlot::Held(*entry.header());
    let lost = StoredSlot::Unreadable;
    let slots = vec![held(&log[0]), lost, lost, held(&log[3])];
    let stored = stored(superblock(0, 0), slots);
    let mut r2 = Lone::recover(3, 2, stored);
    let summary = r2.replica.summary();
    assert_eq!((summary.status, summary.op), (StatusName::Backup, OpNumber(4)));
    let beyond = |kind: &&Kind<_>| matches!(kind, Kind::PrepareOk { op, .. } if op.0 > 1);
    assert!(!r2.sent().iter().any(beyond), "it has not all that it would acknowledge");
    r2.hear(1, 1, do_view_change(0, &log[..1], "p", 0));
    r2.sync();
    let offer = offered(&r2);
    assert_eq!(offer.len(), 4);
    for damaged in &offer[1..3] {
        assert!(!damaged.nack && !damaged.present, "{damaged:?}");
    }
    assert!(offer[3].present && !offer[3].nack, "held: {:?}", offer[3]);
}

/// As above. What an earlier view left over proves nothing of what was before it.
#[test]
fn damage_below_an_entry_of_an_earlier_view_leaves_the_head_uncertain() {
    let older = chain(&root(), 0, &["a", "b", "left over"]);
    let own = chain(&root(), 3, &["A"]);
    let held = |entry: &Entry<_>| StoredSlot::Held(*entry.header());
    let slots = vec![held(&own[0]), StoredSlot::Unreadable, held(&older[2])];
    let stored = stored(superblock(3, 3), slots);
    let r2 = Lone::recover(3, 2, stored);
    let summary = r2.replica.summary();
    assert_eq!((summary.status, summary.op), (StatusName::RecoveringHead, OpNumber(1)));
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
        let mut r0 = Lone::recover(1, 0, stored(superblock(0, 0), slots));
        r0.sync();
        assert_eq!(r0.halted(), Some(HaltReason::Damaged(OpNumber(2))));
    }
    let torn = vec![held(&log[0]), StoredSlot::Empty];
    let mut r0 = Lone::recover(1, 0, stored(superblock(0, 0), torn));
    r0.sync();
    assert_eq!(r0.replica.summary().status, StatusName::Primary);
    assert_eq!(r0.replica.summary().commit_max, OpNumber(1), "a torn tail was never acknowledged");
}

/// Whom it asked knows the view's log: what lay beyond its end was never part of it, however far that went.
#[test]
fn an_uncertain_head_takes_the_primarys_answer_though_it_ends_below_what_was_damaged() {
    let older = chain(&root(), 0, &["a", "b", "left over"]);
    let own = chain(&root(), 3, &["A"]);
    let held = |entry: &Entry<_>| StoredSlot::Held(*entry.header());
    let slots = vec![held(&own[0]), StoredSlot::Unreadable, held(&older[2])];
    let (superblock, sessions) = (superblock(3, 3), Vec::new());
    let stored = Stored { superblock, slots, sessions, is_checkpoint_damaged: false };
    let mut r2 = Lone::recover(3, 2, stored);
    let nonce = r2.sent().into_iter().find_map(|kind| {
        let Kind::GetView { nonce, .. } = kind else { return None };
        Some(*nonce)
    });
    let (commit_max, suffix) = (OpNumber(0), headers(&own));
    r2.hear(1, 3, Kind::StartView { commit_max, suffix: suffix.clone(), nonce });
    assert_eq!(r2.ignored(), [Ignored::WrongStatus], "a backup may lack what was acknowledged");
    r2.hear(0, 3, Kind::StartView { commit_max, suffix, nonce });
    let summary = r2.replica.summary();
    assert_eq!((summary.status, summary.op), (StatusName::Backup, OpNumber(1)));
}
