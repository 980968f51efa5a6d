//! View changes, step by step (paper, section 4.2; protocol.md, sections 5.4 to 5.6).
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod group;

use group::Group;
use group::lone::{Lone, chain, committed, do_view_change, headers, prepare, root, start_view};
use vsr_core::{
    Committed, Effect, Ignored, Kept, Kind, Nonce, OpNumber, StatusName, Timer, ViewNumber, Voters,
};

/// Section 4.2: the next primary takes over with every committed entry.
#[test]
fn when_the_primary_dies_the_next_one_serves_what_was_committed() {
    let mut group = Group::new(3);
    group.settle();
    for number in 1..=5 {
        group.request(0, 1, number, "x");
        group.settle();
    }
    assert_eq!(group.reply_count(), 5);
    group.crash(0);
    group.timeout(1, Timer::PrimarySilence);
    group.timeout(2, Timer::PrimarySilence);
    group.settle();
    let summary = group.replica(1).summary();
    assert_eq!(summary.status, StatusName::Primary);
    assert_eq!(summary.view, ViewNumber(1));
    assert!(summary.ready);
    assert_eq!(summary.commit_min, OpNumber(5));
    group.replies.clear();
    group.request(1, 1, 5, "x");
    assert_eq!(group.reply_count(), 1, "a repeated request gets its stored reply");
    group.request(1, 1, 6, "y");
    group.settle();
    assert_eq!(group.reply_count(), 2);
    group.start(0);
    group.settle();
    group.timeout(1, Timer::Heartbeat);
    group.settle();
    let summary = group.replica(0).summary();
    assert_eq!((summary.view, summary.status), (ViewNumber(1), StatusName::Backup));
    assert_eq!(summary.commit_min, OpNumber(6));
    assert_eq!(group.nodes[0].applied, ["x", "x", "x", "x", "x", "y"]);
}

/// Section 4.2, step 1; protocol.md 5.4: a backup that hears nothing votes to leave the view, and stays
/// in it until a quorum votes with it. It takes the vote back when the primary speaks again.
#[test]
fn a_backup_that_hears_nothing_votes_and_takes_it_back_when_the_primary_speaks() {
    let mut r1 = Lone::new(3, 1);
    r1.timeout(Timer::PrimarySilence);
    assert!(matches!(r1.sent()[..], [Kind::StartViewChange { .. }]));
    assert_eq!(r1.replica.summary().view, ViewNumber(0));
    r1.timeout(Timer::VoteResend);
    assert!(matches!(r1.sent()[..], [Kind::StartViewChange { .. }]), "it is repeated");
    r1.hear(0, 0, Kind::Commit { commit: committed(&root()) });
    r1.hear(2, 0, vote(0));
    assert_eq!(r1.replica.summary().view, ViewNumber(0), "one vote is no quorum");
    assert_eq!(r1.ignored(), [Ignored::PrimaryHeard]);
}

/// Section 4.2, step 1: a vote that was not repeated for long no longer counts.
#[test]
fn a_vote_expires() {
    let mut r1 = Lone::new(3, 1);
    r1.hear(2, 0, vote(0));
    r1.timeout(Timer::VoteExpiry(2));
    r1.timeout(Timer::PrimarySilence);
    assert_eq!(r1.replica.summary().view, ViewNumber(0));
    r1.hear(2, 0, vote(0));
    assert_eq!(r1.replica.summary().view, ViewNumber(1));
}

/// Section 4.2, step 2; section 5.6: DO-VIEW-CHANGE leaves when the view is durable, and carries the
/// log of the last normal view.
#[test]
fn an_offer_leaves_when_the_view_is_durable() {
    let log = chain(&root(), 0, &["a"]);
    let mut r2 = Lone::new(3, 2);
    r2.hear(0, 0, prepare(&log[0], log[0].header()));
    r2.timeout(Timer::PrimarySilence);
    r2.hear(1, 0, vote(0));
    assert_eq!(r2.replica.summary().status, StatusName::ViewChange);
    assert!(offer(&r2).is_none(), "the view is not durable");
    r2.sync();
    let Some(Kind::DoViewChange { log_view, op, commit_min, commit_max, suffix }) = offer(&r2)
    else {
        panic!("{:?}", r2.effects)
    };
    assert_eq!((log_view.0, op.0, commit_min.0, commit_max.0), (0, 1, 1, 1));
    assert!(suffix[0].present && !suffix[0].nack);
    r2.timeout(Timer::DoViewChangeResend);
    assert!(offer(&r2).is_some(), "it is repeated (D4)");
}

/// Section 4.2, step 2; D3: an offer of a later view proves that a quorum left: whoever sees it joins
/// that view, however far ahead.
#[test]
fn an_offer_of_a_later_view_is_joined() {
    let mut r2 = Lone::new(3, 2);
    r2.hear(1, 7, do_view_change(0, &[], "", 0));
    assert_eq!(r2.replica.summary().view, ViewNumber(7));
    r2.sync();
    assert!(offer(&r2).is_some());
}

/// D1, D7: what is said of an earlier view, or of the view that is normal, changes nothing.
#[test]
fn an_earlier_views_messages_change_nothing() {
    let log = chain(&root(), 0, &["a"]);
    let mut r2 = Lone::new(3, 2);
    r2.hear(1, 4, start_view(&log, 0));
    r2.sync();
    for kind in [vote(0), do_view_change(0, &[], "", 0), start_view(&log, 1)] {
        r2.hear(0, 3, kind);
        assert_eq!(r2.ignored(), [Ignored::OlderView]);
        assert_eq!(r2.replica.summary().view, ViewNumber(4));
    }
    r2.hear(1, 4, do_view_change(0, &[], "", 0));
    assert_eq!(r2.replica.summary().status, StatusName::Backup);
}

/// D8: a START-VIEW of the view that is normal comes late: what was acknowledged since stays.
#[test]
fn a_late_start_view_does_not_overwrite_what_was_acknowledged() {
    let log = chain(&root(), 1, &["a", "b"]);
    let mut r2 = Lone::new(3, 2);
    r2.hear(1, 1, start_view(&log[..1], 0));
    r2.hear(1, 1, prepare(&log[0], &root()));
    r2.hear(1, 1, prepare(&log[1], &root()));
    r2.sync();
    assert!(acknowledges(&r2, 2));
    r2.hear(1, 1, start_view(&log[..1], 0));
    assert_eq!(r2.ignored(), [Ignored::WrongStatus]);
    assert_eq!(r2.replica.summary().op, OpNumber(2));
}

/// Section 4.2, step 3; D6: a quorum of offers for its view, each replica's counted once.
#[test]
fn the_new_primary_waits_for_a_quorum_of_different_replicas() {
    let mut r1 = Lone::new(5, 1);
    r1.hear(2, 1, do_view_change(0, &[], "", 0));
    r1.sync();
    r1.hear(2, 1, do_view_change(0, &[], "", 0));
    assert_eq!(r1.replica.summary().status, StatusName::ViewChange);
    r1.hear(3, 1, do_view_change(0, &[], "", 0));
    assert_eq!(r1.replica.summary().status, StatusName::Primary);
}

/// Section 4.2, step 3; section 5.6: START-VIEW leaves when the log view is durable, with the log of
/// the latest normal view and the largest commit-number.
#[test]
fn the_new_primary_starts_its_view_with_the_best_log_once_that_is_durable() {
    let log = chain(&root(), 0, &["a", "b", "c"]);
    let mut r1 = Lone::new(3, 1);
    r1.hear(0, 0, prepare(&log[0], &root()));
    r1.hear(2, 1, do_view_change(0, &log, "ppp", 2));
    r1.sync();
    assert_eq!(r1.replica.summary().status, StatusName::Primary);
    assert!(!r1.sent().iter().any(|kind| matches!(kind, Kind::StartView { .. })), "not durable");
    r1.sync();
    let started = r1.sent().into_iter().find(|kind| matches!(kind, Kind::StartView { .. }));
    let Some(Kind::StartView { commit_max, suffix, .. }) = started else {
        panic!("{:?}", r1.effects)
    };
    assert_eq!((commit_max.0, suffix.clone()), (2, headers(&log)));
}

/// Section 4.2, step 4: the new primary takes requests when it holds all that it inherited and has
/// executed what was committed of it; it answers what commits in its view.
#[test]
fn the_new_primary_serves_when_it_holds_what_it_inherited() {
    let log = chain(&root(), 0, &["a", "b"]);
    let mut r1 = Lone::new(3, 1);
    r1.hear(0, 0, prepare(&log[0], &root()));
    r1.hear(2, 1, do_view_change(0, &log, "pp", 1));
    r1.sync();
    assert_eq!(r1.receivers("GET-ENTRY"), [2]);
    r1.sync();
    assert!(!r1.replica.summary().ready);
    r1.request(2, 1, "early");
    assert_eq!(r1.ignored(), [Ignored::WrongStatus]);
    r1.hear(2, 1, Kind::Entry { entry: log[1].clone() });
    assert!(r1.replica.summary().ready);
    assert_eq!(r1.applied, ["a"]);
    r1.sync();
    let (op, checksum) = (log[1].header().op, log[1].header().checksum);
    r1.hear(2, 1, Kind::PrepareOk { op, checksum, commit_min: OpNumber(0) });
    assert_eq!(r1.applied, ["a", "b"]);
    assert!(r1.effects.iter().any(|effect| matches!(effect, Effect::Reply(_))));
}

/// SEED-S2: a replica between views, or a primary that does not know all it inherited, takes no
/// request.
#[test]
fn no_request_is_taken_between_views() {
    let mut r1 = Lone::new(3, 1);
    r1.hear(2, 1, do_view_change(0, &[], "", 0));
    r1.request(1, 1, "x");
    assert_eq!(r1.ignored(), [Ignored::WrongStatus]);
    assert_eq!(r1.replica.summary().op, OpNumber(0));
}

/// Section 4.2, step 5; section 5.6: a backup installs the log, keeps what is part of it, executes what
/// is committed, and acknowledges what it holds once the log view is durable.
#[test]
fn a_backup_installs_the_views_log_and_acknowledges_what_it_holds() {
    let log = chain(&root(), 0, &["a", "b"]);
    let lost = chain(log[0].header(), 0, &["lost", "lost too"]);
    let mut r2 = Lone::new(3, 2);
    for entry in [&log[0], &lost[0], &lost[1]] {
        r2.hear(0, 0, prepare(entry, &root()));
    }
    r2.sync();
    r2.hear(1, 1, start_view(&log, 1));
    assert!(!acknowledges(&r2, 1), "the log view is not durable");
    assert_eq!(r2.replica.summary().op, OpNumber(2));
    assert_eq!(r2.applied, ["a"]);
    r2.sync();
    assert!(acknowledges(&r2, 1) && !acknowledges(&r2, 2));
    r2.hear(1, 1, Kind::Entry { entry: log[1].clone() });
    r2.sync();
    assert!(acknowledges(&r2, 2));
}

/// SEED-S1: the log view is that of the view whose log was installed, at the new primary and at its
/// backups, so that an older log that was never committed cannot win over it later.
#[test]
fn who_installs_a_views_log_ranks_it_by_that_view() {
    let log = chain(&root(), 0, &["a"]);
    let mut r2 = Lone::new(3, 2);
    r2.hear(1, 1, start_view(&log, 0));
    let mut r1 = Lone::new(3, 1);
    r1.hear(2, 1, do_view_change(0, &log, "p", 0));
    r1.sync();
    for lone in [&r1, &r2] {
        assert_eq!(lone.replica.summary().log_view, ViewNumber(1));
    }
}

/// D5: who hears of a view that others are normal in asks its primary, again and again, and in the end
/// enters that view in order to leave it.
#[test]
fn a_view_that_is_heard_of_is_asked_for_and_left_if_nobody_answers() {
    let mut r2 = Lone::new(3, 2);
    r2.hear(1, 4, Kind::Commit { commit: committed(&root()) });
    assert_eq!(r2.receivers("GET-VIEW"), [1]);
    assert_eq!(r2.replica.summary().view, ViewNumber(0), "nothing changes by asking (D9, D10)");
    r2.timeout(Timer::GetView);
    assert_eq!(r2.receivers("GET-VIEW"), [1]);
    // Others may be within reach where the primary is not (ADR 0022).
    for _ in 0..3 {
        r2.timeout(Timer::GetView);
        assert!(matches!(r2.sent()[..], [Kind::GetView { .. }]));
        assert_eq!(r2.receivers("GET-VIEW"), []);
    }
    r2.timeout(Timer::GetView);
    assert_eq!(r2.replica.summary().view, ViewNumber(4));
    r2.sync();
    r2.timeout(Timer::VoteResend);
    assert!(matches!(r2.sent()[..], [Kind::StartViewChange { .. }]));
}

/// ADR 0022: a backup tells of its view what a primary would: everything above what it says to be
/// committed has a name. Else who installs it would deny what it acknowledged.
#[test]
fn a_backup_tells_of_its_view_only_where_it_has_no_gap() {
    let log = chain(&root(), 0, &["a", "b", "c"]);
    let mut r2 = Lone::new(3, 2);
    r2.hear(0, 0, prepare(&log[0], &root()));
    r2.hear(0, 0, prepare(&log[2], &root()));
    r2.sync();
    r2.hear(1, 0, Kind::GetView { nonce: Nonce::default(), uncertain: None });
    assert!(r2.sent().is_empty(), "op 2 has no name here");
    r2.hear(0, 0, prepare(&log[1], &root()));
    r2.sync();
    r2.hear(1, 0, Kind::GetView { nonce: Nonce::default(), uncertain: None });
    let [Kind::StartView { suffix, nonce: Some(_), .. }] = r2.sent()[..] else { panic!() };
    assert_eq!(suffix.last(), Some(log[2].header()));
}

/// ADR 0022: the word of a backup counts for who asked, and never for the view's own primary.
#[test]
fn a_view_is_told_by_a_backup_to_those_alone_who_asked() {
    let log = chain(&root(), 0, &["a"]);
    let mut r2 = Lone::new(3, 2);
    r2.hear(0, 4, start_view(&log, 0));
    assert_eq!(r2.ignored(), [Ignored::NotFromPrimary]);
    let asked = |lone: &Lone| {
        let incarnation = lone.replica.summary().incarnation;
        let nonce = Some(Nonce { incarnation, count: 1 });
        Kind::StartView { commit_max: OpNumber(0), suffix: headers(&log), nonce }
    };
    let told = asked(&r2);
    r2.hear(0, 4, told);
    assert_eq!(r2.replica.summary().view, ViewNumber(4));
    let mut r1 = Lone::new(3, 1);
    let told = asked(&r1);
    r1.hear(0, 4, told);
    assert_eq!(r1.ignored(), [Ignored::NotFromPrimary]);
}

/// D4: a view change that comes to no end is left for the next view.
#[test]
fn a_view_change_without_its_primary_is_left_for_the_next() {
    let mut r2 = Lone::new(3, 2);
    r2.hear(0, 1, do_view_change(0, &[], "", 0));
    r2.sync();
    r2.timeout(Timer::ViewChangeStuck);
    r2.hear(0, 1, vote(0));
    assert_eq!(r2.replica.summary().view, ViewNumber(2));
    let rearmed = Effect::Arm { timer: Timer::ViewChangeStuck, attempt: 1 };
    assert!(r2.effects.contains(&rearmed), "and more slowly");
}

/// Section 5.4: a primary that hears no quorum gives way, and is silent from then on.
#[test]
fn a_primary_that_hears_no_quorum_gives_way() {
    let mut r0 = Lone::new(3, 0);
    r0.hear(1, 0, vote(0));
    r0.timeout(Timer::Abdicate);
    assert!(r0.sent().is_empty(), "it heard r1");
    r0.timeout(Timer::VoteExpiry(1));
    r0.timeout(Timer::Abdicate);
    assert!(matches!(r0.sent()[..], [Kind::StartViewChange { .. }]));
    r0.request(1, 1, "x");
    assert_eq!(r0.ignored(), [Ignored::WrongStatus]);
    assert!(!r0.effects.iter().any(|effect| matches!(effect, Effect::Broadcast { .. })));
}

fn vote(log_view: u64) -> Kind<group::Body> {
    Kind::StartViewChange { log_view: ViewNumber(log_view) }
}

fn offer(lone: &Lone) -> Option<&Kind<group::Body>> {
    lone.sent().into_iter().find(|kind| matches!(kind, Kind::DoViewChange { .. }))
}

fn acknowledges(lone: &Lone, op: u64) -> bool {
    let sent = lone.sent();
    sent.iter().any(|kind| matches!(kind, Kind::PrepareOk { op: held, .. } if held.0 >= op))
}

/// Section 5.6: PREPARE-OK waits for this write of the entry. An earlier write of the same entry says
/// nothing once another entry was written over it.
#[test]
fn an_entry_that_was_superseded_and_came_back_is_acknowledged_only_when_written_again() {
    let a = chain(&root(), 1, &["a"]);
    let b = chain(&root(), 2, &["b"]);
    let mut r0 = Lone::new(5, 0);
    let empty = Kind::StartView { commit_max: OpNumber(0), suffix: vec![root()], nonce: None };
    r0.hear(1, 1, empty);
    r0.sync();
    r0.hear(1, 1, prepare(&a[0], &root()));
    r0.hear(2, 2, start_view(&b, 0));
    r0.hear(2, 2, prepare(&b[0], &root()));
    r0.hear(3, 3, start_view(&a, 0));
    r0.hear(3, 3, prepare(&a[0], &root()));
    // In this order: a, the superblock of view 2, b over a, the superblock of view 3.
    for _ in 0..4 {
        r0.sync_one();
        assert!(!acknowledges(&r0, 1), "the slot on disk holds b");
    }
    r0.sync_one();
    assert!(acknowledges(&r0, 1));
}

/// Section 5.4: a primary that cannot fetch what it inherited gives way to one that may hold it.
#[test]
fn a_primary_that_never_gets_ready_gives_way() {
    let log = chain(&root(), 0, &["a"]);
    let mut r1 = Lone::new(3, 1);
    r1.timeout(Timer::PrimarySilence);
    r1.hear(2, 0, Kind::StartViewChange { log_view: ViewNumber(0) });
    r1.sync();
    r1.hear(2, 1, do_view_change(0, &log, "p", 1));
    r1.sync();
    assert_eq!(r1.replica.summary().status, StatusName::Primary);
    assert!(!r1.replica.summary().ready, "op 1 is committed, and missing here");
    let abdicates = (0..20).any(|_| {
        let op = OpNumber(1);
        let commit = Committed { op, checksum: log[0].header().checksum };
        let log_view = ViewNumber(1);
        r1.hear(
            2,
            1,
            Kind::Ping { log_view, op, commit, heard: Voters::default(), kept: Kept::default() },
        );
        r1.timeout(Timer::Abdicate);
        r1.sent().iter().any(|kind| matches!(kind, Kind::StartViewChange { .. }))
    });
    assert!(abdicates);
}

/// A PREPARE is lost, the one after it arrives at one backup, and the primary dies: what nobody that is
/// left ever held cannot have been committed, and they go on without it.
#[test]
fn a_gap_that_no_survivor_ever_held_does_not_stop_the_group() {
    let mut group = Group::new(3);
    group.settle();
    group.request(0, 1, 1, "kept");
    group.settle();
    group.request(0, 1, 2, "lost");
    group.drop_all();
    group.request(0, 2, 1, "beyond the gap");
    assert!(matches!(group.deliver(0, 2), Some(Kind::Prepare { .. })));
    group.crash(0);
    group.drop_all();
    group.timeout(1, Timer::PrimarySilence);
    group.timeout(2, Timer::PrimarySilence);
    group.settle();
    let summary = group.replica(1).summary();
    assert_eq!((summary.status, summary.ready), (StatusName::Primary, true));
    group.request(1, 1, 2, "lost");
    group.settle();
    assert_eq!(group.reply_count(), 2);
    assert_eq!(group.nodes[1].applied, ["kept", "lost"]);
}

/// A read may be confirmed only by who keeps out of all earlier views, also after a crash.
#[test]
fn a_backup_confirms_no_read_before_its_view_is_durable() {
    let log = chain(&root(), 1, &["a"]);
    let mut r2 = Lone::new(3, 2);
    r2.hear(1, 1, start_view(&log, 0));
    let nonce = Nonce { incarnation: vsr_core::Incarnation(1), count: 5 };
    let probe = Kind::ReadProbe { nonce, relay: false };
    r2.hear(1, 1, probe.clone());
    assert_eq!(r2.receivers("READ-OK"), [] as [u32; 0]);
    r2.sync();
    r2.hear(1, 1, probe);
    assert_eq!(r2.receivers("READ-OK"), [1]);
}

/// Nothing is concluded from an offer that contradicts itself.
#[test]
fn a_malformed_offer_is_ignored() {
    let log = chain(&root(), 0, &["a", "b", "c"]);
    let good = do_view_change(0, &log, "ppp", 2);
    let spoil =
        |change: &dyn Fn(&mut ViewNumber, &mut OpNumber, &mut Vec<vsr_core::SuffixSlot>)| {
            let mut kind = good.clone();
            let Kind::DoViewChange { log_view, commit_min, suffix, .. } = &mut kind else {
                panic!("{kind:?}")
            };
            change(log_view, commit_min, suffix);
            kind
        };
    let foreign = vsr_core::Header::root(vsr_core::ClusterId(3));
    let malformed = [
        spoil(&|log_view, _, _| *log_view = ViewNumber(1)),
        spoil(&|_, commit_min, _| *commit_min = OpNumber(4)),
        spoil(&|_, _, suffix| suffix[1].header = Some(foreign)),
        spoil(&|_, _, suffix| suffix[1].header = suffix[0].header),
        spoil(&|_, _, suffix| suffix[2].header = None),
        spoil(&|_, _, suffix| {
            let mut header = suffix[1].header.unwrap();
            header.cluster = vsr_core::ClusterId(3);
            header.checksum = header.compute_checksum();
            suffix[1].header = Some(header);
        }),
        spoil(&|_, _, suffix| {
            let mut header = suffix[2].header.unwrap();
            header.view = ViewNumber(1);
            header.checksum = header.compute_checksum();
            suffix[2].header = Some(header);
        }),
        spoil(&|_, _, suffix| suffix.clear()),
    ];
    for (number, kind) in malformed.into_iter().enumerate() {
        let mut r1 = Lone::new(3, 1);
        r1.hear(2, 1, kind);
        assert_eq!(r1.ignored(), [Ignored::Malformed], "offer {number}");
        assert_eq!(r1.replica.summary().view, ViewNumber(0), "offer {number}");
    }
    let mut r1 = Lone::new(3, 1);
    r1.hear(2, 1, good.clone());
    assert_eq!(r1.replica.summary().view, ViewNumber(1));
}
