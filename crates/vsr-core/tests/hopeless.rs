//! What nobody has any more: who waits for it stops and says why (protocol.md, 5.14, L9).
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod group;

use group::lone::{Lone, chain, do_view_change, headers, root, stored, superblock};
use vsr_core::{
    Checksum, Committed, HaltReason, Kept, Kind, Next, Nonce, OpNumber, StatusName, Stored,
    StoredSlot, Timer, ViewNumber, Voters,
};

/// Unsure of its head, in a group of three.
fn uncertain(index: usize) -> Lone {
    let log = chain(&root(), 0, &["a"]);
    let slots = vec![StoredSlot::Held(*log[0].header()), StoredSlot::Unreadable];
    let lone = Lone::recover(3, index, stored(superblock(0, 0), slots));
    assert_eq!(lone.replica.summary().status, StatusName::RecoveringHead);
    assert!(
        lone.sent().iter().any(|kind| matches!(kind, Kind::GetView { uncertain: Some(_), .. })),
        "it says so: {:?}",
        lone.effects
    );
    lone
}

fn unsure() -> Kind<group::Body> {
    Kind::GetView { nonce: Nonce::default(), uncertain: Some(Kept::default()) }
}

fn ping(log_view: u64) -> Kind<group::Body> {
    let commit = Committed { op: OpNumber::ZERO, checksum: Checksum(0) };
    let (heard, kept) = (Voters::default(), Kept::default());
    Kind::Ping { log_view: ViewNumber(log_view), op: OpNumber(1), commit, heard, kept }
}

/// Pings in a row for which all must look lost: ten seconds.
const LOST_FOR: usize = 50;

/// L9: what two of three lost may have been committed by them. Nobody will ever know, and an operator has to.
#[test]
fn a_replica_that_nobody_can_ever_tell_its_head_stops_and_says_why() {
    let mut r2 = uncertain(2);
    r2.hear(0, 0, unsure());
    for _ in 0..LOST_FOR {
        r2.hear(1, 0, ping(0));
        r2.timeout(Timer::Ping);
        assert_eq!(r2.halted(), None);
    }
    r2.hear(1, 0, ping(0));
    r2.timeout(Timer::Ping);
    assert_eq!(r2.halted(), Some(HaltReason::HeadsUncertain(2)));
}

/// As long as one is silent that may know, or that leads, or one comes back whole, it waits.
#[test]
fn a_replica_that_may_yet_be_told_its_head_waits() {
    for case in ["silent", "leads", "whole"] {
        let mut r2 = uncertain(2);
        for _ in 0..3 * LOST_FOR {
            r2.hear(0, 0, unsure());
            match case {
                "silent" => {}
                // The primary of view 1 is normal in it.
                "leads" => r2.hear(1, 1, ping(1)),
                _ => {
                    r2.hear(1, 0, ping(0));
                    r2.hear(0, 0, ping(0));
                }
            }
            r2.timeout(Timer::Ping);
            assert_eq!(r2.halted(), None, "{case}");
        }
    }
}

/// Who is sure of its head, and can begin no view, stops with them.
#[test]
fn one_that_is_sure_stops_too_where_it_can_begin_no_view() {
    let mut r1 =
        Lone::recover(3, 1, Stored { superblock: superblock(1, 0), ..Stored::formatted(root()) });
    assert_eq!(r1.replica.summary().status, StatusName::ViewChange);
    for _ in 0..=LOST_FOR {
        assert_eq!(r1.halted(), None);
        r1.hear(0, 0, unsure());
        r1.hear(2, 0, unsure());
        r1.timeout(Timer::Ping);
    }
    assert_eq!(r1.halted(), Some(HaltReason::HeadsUncertain(2)));
}

/// One that stops for the same reason falls silent, and is no reason to go on waiting; one that starts anew is.
#[test]
fn what_a_member_said_last_is_remembered_until_it_starts_anew() {
    for (starts_anew, halts) in [(false, true), (true, false)] {
        let mut r2 = uncertain(2);
        r2.hear(0, 1, unsure());
        // It is sure, and between views.
        r2.hear(1, 1, ping(0));
        if starts_anew {
            r2.hear_from(1, 1, 2, unsure());
            r2.hear_from(1, 1, 3, Kind::GetView { nonce: Nonce::default(), uncertain: None });
        }
        for _ in 0..=LOST_FOR {
            assert_eq!(r2.halted(), None);
            r2.timeout(Timer::Ping);
        }
        assert_eq!(r2.halted().is_some(), halts, "starts anew: {starts_anew}");
    }
}

/// A primary whose log lies beyond the own one is there: what is lacking is a checkpoint.
#[test]
fn a_replica_that_has_a_view_to_go_to_does_not_stop() {
    let constants = vsr_core::Constants {
        log_slots: 20,
        pipeline: 2,
        checkpoint_interval: 4,
        ..group::lone::constants()
    };
    let log = chain(&root(), 0, &["a"; 40]);
    let slots = vec![StoredSlot::Held(*log[0].header()), StoredSlot::Unreadable];
    let stored = stored(superblock(0, 0), slots);
    let mut r2 = Lone::with(group::lone::config(3, 2, constants), stored);
    let asked = r2.sent().into_iter().find_map(|kind| {
        let Kind::GetView { nonce, .. } = kind else { return None };
        Some(*nonce)
    });
    let suffix = headers(&log[37..]);
    r2.hear(0, 0, Kind::StartView { commit_max: OpNumber(38), suffix, nonce: asked });
    r2.timeout(Timer::Ping);
    assert!(
        r2.sent().iter().any(|kind| matches!(kind, Kind::Ping { .. })),
        "it says that it is unsure no more: {:?}",
        r2.effects
    );
    for _ in 0..3 * LOST_FOR {
        r2.hear(0, 0, unsure());
        r2.hear(1, 0, ping(0));
        r2.timeout(Timer::Ping);
        assert_eq!(r2.halted(), None);
    }
}

/// A learner that is away may know what a view began with.
#[test]
fn nobody_stops_while_a_learner_is_silent() {
    use vsr_core::{Config, Configuration, Member, ReplicaId, Role};
    let roles = [Role::Full, Role::Full, Role::Full, Role::Learner];
    let members = (0..).zip(roles).map(|(id, role)| Member { id: ReplicaId(id), role }).collect();
    let configuration = Configuration::new(members).unwrap();
    let config =
        Config::new(group::CLUSTER, ReplicaId(2), configuration, group::lone::constants()).unwrap();
    let log = chain(&root(), 0, &["a"]);
    for speaks in [false, true] {
        let stored = stored(
            superblock(0, 0),
            vec![StoredSlot::Held(*log[0].header()), StoredSlot::Unreadable],
        );
        let mut r2 = Lone::with(config.clone(), stored);
        for _ in 0..=LOST_FOR {
            assert_eq!(r2.halted(), None);
            r2.hear(0, 0, unsure());
            r2.hear(1, 0, ping(0));
            if speaks {
                r2.hear(3, 0, ping(0));
            }
            r2.timeout(Timer::Ping);
        }
        assert_eq!(r2.halted().is_some(), speaks);
    }
}

/// A backup of three that is to execute op 2, and finds it damaged.
fn lacking() -> Lone {
    let log = chain(&root(), 0, &["a", "b", "c"]);
    let held = |place: usize| StoredSlot::Held(*log[place].header());
    let damaged = StoredSlot::Faulty(*log[1].header());
    let superblock = vsr_core::SuperblockState { commit_max: OpNumber(3), ..superblock(0, 0) };
    let mut r2 = Lone::recover(3, 2, stored(superblock, vec![held(0), damaged, held(2)]));
    r2.timeout(Timer::Ping);
    let kept = r2.sent().into_iter().find_map(|kind| {
        let Kind::Ping { kept, .. } = kind else { return None };
        Some(*kept)
    });
    let kept = kept.unwrap();
    assert_eq!((kept.held, kept.next), (OpNumber(1), Next::Damaged));
    r2
}

fn keeps(held: u64, next: Next) -> Kind<group::Body> {
    let Kind::Ping { log_view, op, commit, heard, kept } = ping(0) else { unreachable!("a PING") };
    let kept = Kept { held: OpNumber(held), next, ..kept };
    Kind::Ping { log_view, op, commit, heard, kept }
}

/// L9: an entry that all who may have acknowledged it cannot read nobody will ever execute. One that never had it is too
/// few to deny it; two could.
#[test]
fn an_entry_that_nobody_can_read_stops_who_waits_for_it() {
    let lost = Some(HaltReason::EntryLost(OpNumber(2)));
    for (told, halts) in [
        ([(1, Next::Damaged), (1, Next::Damaged)], true),
        ([(1, Next::Damaged), (1, Next::Never)], true),
        ([(1, Next::Damaged), (0, Next::End)], true),
        ([(1, Next::Never), (0, Next::End)], false),
        ([(1, Next::Damaged), (1, Next::Unsaid)], false),
        ([(1, Next::Damaged), (2, Next::Damaged)], false),
        // It may have what comes after what it lacks.
        ([(1, Next::Damaged), (0, Next::Never)], false),
        ([(1, Next::Damaged), (0, Next::Damaged)], false),
    ] {
        let mut r2 = lacking();
        for _ in 0..LOST_FOR {
            for (peer, (held, next)) in (0..).zip(told) {
                r2.hear(peer, 0, keeps(held, next));
            }
            r2.timeout(Timer::Ping);
            assert_eq!(r2.halted(), None, "{told:?}");
        }
        r2.timeout(Timer::Ping);
        assert_eq!(r2.halted(), lost.filter(|_| halts), "{told:?}");
    }
}

/// One that stopped for the same reason is silent. One that never had the entry, and is silent, may have been given it
/// since; one that starts anew may have it.
#[test]
fn what_a_silent_member_said_of_what_it_lacks_is_remembered() {
    for (next, starts_anew, halts) in
        [(Next::Damaged, false, true), (Next::Never, false, false), (Next::Damaged, true, false)]
    {
        let mut r2 = lacking();
        r2.hear(0, 0, keeps(1, next));
        if starts_anew {
            r2.hear_from(0, 0, 2, Kind::GetView { nonce: Nonce::default(), uncertain: None });
        }
        for _ in 0..2 * LOST_FOR {
            r2.hear(1, 0, keeps(1, Next::Damaged));
            r2.timeout(Timer::Ping);
        }
        assert_eq!(r2.halted().is_some(), halts, "{next:?} {starts_anew}");
    }
}

/// What a checkpoint covers nobody needs the entry for.
#[test]
fn an_entry_that_a_members_checkpoint_covers_is_not_lost() {
    let mut r2 = lacking();
    for _ in 0..2 * LOST_FOR {
        r2.hear(0, 0, keeps(1, Next::Damaged));
        let Kind::Ping { log_view, op, commit, heard, kept } = keeps(1, Next::Damaged) else {
            unreachable!("a PING")
        };
        let kept = Kept { checkpoint: OpNumber(2), ..kept };
        r2.hear(1, 0, Kind::Ping { log_view, op, commit, heard, kept });
        r2.timeout(Timer::Ping);
        assert_eq!(r2.halted(), None);
    }
}

/// What is damaged in a log of an earlier view may be denied by it.
#[test]
fn what_a_member_lacks_of_another_log_is_not_lost() {
    for (log_view, halts) in [(1, true), (0, false)] {
        let log = chain(&root(), 0, &["a", "b"]);
        let slots = vec![StoredSlot::Held(*log[0].header()), StoredSlot::Faulty(*log[1].header())];
        let superblock = vsr_core::SuperblockState {
            commit_max: OpNumber(2),
            op: OpNumber(2),
            headers: headers(&log),
            ..superblock(1, 1)
        };
        let mut r2 = Lone::recover(3, 2, stored(superblock, slots));
        for _ in 0..=LOST_FOR {
            assert_eq!(r2.halted(), None);
            for peer in [0, 1] {
                let told = if peer == 0 { log_view } else { 1 };
                let Kind::Ping { op, commit, heard, kept, .. } = keeps(1, Next::Damaged) else {
                    unreachable!("a PING")
                };
                let log_view = ViewNumber(told);
                r2.hear(peer, 1, Kind::Ping { log_view, op, commit, heard, kept });
            }
            r2.timeout(Timer::Ping);
        }
        assert_eq!(r2.halted().is_some(), halts, "log view {log_view}");
    }
}

/// Between views nothing is repaired: all voters have offered what they have, and it decides nothing.
#[test]
fn a_view_that_no_offer_decides_stops_who_was_to_lead_it() {
    let log = chain(&root(), 0, &["a", "b"]);
    // Whether the third log is offered, or what is needed for that.
    for (third, halts) in [(Some(""), true), (None, false), (Some("pp"), false)] {
        let slots = vec![StoredSlot::Held(*log[0].header()), StoredSlot::Faulty(*log[1].header())];
        let superblock = vsr_core::SuperblockState {
            op: OpNumber(2),
            headers: headers(&log),
            ..superblock(1, 0)
        };
        let mut r1 = Lone::recover(3, 1, stored(superblock, slots));
        assert_eq!(r1.replica.summary().status, StatusName::ViewChange);
        r1.hear(0, 1, do_view_change(0, &log, "pf", 0));
        if let Some(marks) = third {
            r1.hear(2, 1, do_view_change(0, &log[..marks.len()], marks, 0));
        }
        r1.sync();
        for _ in 0..LOST_FOR {
            r1.timeout(Timer::Ping);
            assert_eq!(r1.halted(), None);
        }
        r1.timeout(Timer::Ping);
        let lost = Some(HaltReason::EntryLost(OpNumber(2)));
        assert_eq!(r1.halted(), lost.filter(|_| halts), "{third:?}");
    }
}
