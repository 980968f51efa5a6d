//! Recovery of a replica whose log was in memory (paper, section 4.3; protocol.md 5.7).
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod group;

use group::Body;
use group::lone::{Lone, chain, config, constants, do_view_change, headers, prepare, root};
use vsr_core::{
    Constants, Durability, Effect, Entry, Ignored, Incarnation, Kind, Nonce, Note, OpNumber,
    StatusName, Stored, StoredSlot, SuperblockState, Timer, ViewNumber,
};

/// A replica of three that stopped in `fence`, and is started again.
fn restarted(index: usize, fence: u64) -> Lone {
    let mut lone = unsynced(3, index, fence);
    lone.sync();
    lone
}

fn unsynced(count: usize, index: usize, fence: u64) -> Lone {
    let superblock = SuperblockState {
        incarnation: Incarnation(1),
        view: ViewNumber(fence),
        ..SuperblockState::formatted(root())
    };
    let stored = Stored {
        superblock,
        slots: Vec::new(),
        sessions: Vec::new(),
        is_checkpoint_damaged: false,
    };
    Lone::unsynced(config(count, index, in_memory()), stored)
}

fn in_memory() -> Constants {
    Constants { durability: Durability::Memory, ..constants() }
}

/// The nonce of the question that the last event made it ask.
fn asked(lone: &Lone) -> Nonce {
    let nonces: Vec<Nonce> = lone
        .sent()
        .into_iter()
        .filter_map(|kind| {
            let Kind::Recovery { nonce } = kind else { return None };
            Some(*nonce)
        })
        .collect();
    assert_eq!(nonces.len(), 1, "{:?}", lone.effects);
    nonces[0]
}

fn answer(nonce: Nonce) -> Kind<Body> {
    Kind::RecoveryResponse { nonce, commit_max: OpNumber::ZERO, suffix: Vec::new() }
}

fn answer_of_primary(nonce: Nonce, commit: u64, log: &[Entry<Body>]) -> Kind<Body> {
    Kind::RecoveryResponse { nonce, commit_max: OpNumber(commit), suffix: headers(log) }
}

fn status(lone: &Lone) -> StatusName {
    lone.replica.summary().status
}

#[test]
fn the_first_start_ever_has_nothing_to_recover() {
    let formatted = Stored::formatted(root());
    let r1 = Lone::with(config(3, 1, in_memory()), formatted);
    assert_eq!(status(&r1), StatusName::Backup);
}

/// Step 1: nothing but the fence is believed, whatever a store brings, and nothing is asked before the
/// incarnation is durable, of which the nonce is a part.
#[test]
fn a_restarted_replica_asks_with_its_fence_once_its_incarnation_is_durable() {
    let log = chain(&root(), 0, &["a"]);
    let superblock = SuperblockState {
        incarnation: Incarnation(4),
        view: ViewNumber(7),
        log_view: ViewNumber(7),
        commit_max: OpNumber(1),
        ..SuperblockState::formatted(root())
    };
    let slots = vec![StoredSlot::Held(*log[0].header())];
    let stored = Stored { superblock, slots, sessions: Vec::new(), is_checkpoint_damaged: false };
    let mut r2 = Lone::unsynced(config(3, 2, in_memory()), stored);
    assert!(r2.sent().is_empty());
    r2.sync();
    assert_eq!(asked(&r2), Nonce { incarnation: Incarnation(5), count: 1 });
    let views: Vec<ViewNumber> = r2
        .effects
        .iter()
        .filter_map(|effect| {
            let Effect::Broadcast { message } = effect else { return None };
            Some(message.view)
        })
        .collect();
    assert_eq!(views, [ViewNumber(7)], "RECOVERY alone, with the fence");
    let summary = r2.replica.summary();
    assert_eq!((summary.op, summary.commit_max), (OpNumber(0), OpNumber(0)));
    assert_eq!(summary.status, StatusName::Recovering);
}

/// Step 2: the primary answers with the end of its log, a backup with its view alone.
#[test]
fn who_is_normal_answers_with_its_view_and_the_primary_with_its_log() {
    let nonce = Nonce { incarnation: Incarnation(2), count: 1 };
    let mut r0 = Lone::with(config(3, 0, in_memory()), Stored::formatted(root()));
    r0.request(1, 1, "a");
    r0.hear_from(2, 0, 2, Kind::Recovery { nonce });
    let [Kind::RecoveryResponse { nonce: repeated, commit_max, suffix }] = r0.sent()[..] else {
        panic!("{:?}", r0.effects)
    };
    assert_eq!((*repeated, *commit_max), (nonce, OpNumber(0)));
    assert_eq!(suffix.iter().map(|header| header.op.0).collect::<Vec<_>>(), [1]);
    let mut r1 = Lone::with(config(3, 1, in_memory()), Stored::formatted(root()));
    r1.hear_from(2, 0, 2, Kind::Recovery { nonce });
    assert_eq!(r1.sent(), [&answer(nonce)]);
}

/// Step 2: somebody has seen the view that a fence names; who is before it joins it, and does not
/// answer from there.
#[test]
fn a_fence_beyond_the_own_view_is_joined() {
    let nonce = Nonce { incarnation: Incarnation(2), count: 1 };
    let mut r1 = Lone::with(config(3, 1, in_memory()), Stored::formatted(root()));
    r1.hear_from(2, 3, 2, Kind::Recovery { nonce });
    assert_eq!((r1.replica.summary().view, status(&r1)), (ViewNumber(3), StatusName::ViewChange));
    assert!(r1.sent().is_empty(), "nothing before that is durable");
    r1.sync();
    r1.hear_from(2, 3, 2, Kind::Recovery { nonce });
    assert_eq!(r1.ignored(), [Ignored::WrongStatus], "it is not normal there");
}

/// Step 3: as many as change views, the primary of the latest view among them.
#[test]
fn a_quorum_of_answers_with_the_primarys_is_needed() {
    let log = chain(&root(), 0, &["a", "b"]);
    let mut r4 = unsynced(5, 4, 0);
    r4.sync();
    let nonce = asked(&r4);
    r4.hear(1, 0, answer(nonce));
    r4.hear(2, 0, answer(nonce));
    r4.hear(2, 0, answer(nonce));
    r4.hear(3, 0, answer(nonce));
    assert_eq!(r4.replica.summary().op, OpNumber(0), "three answered, and not the primary");
    assert_eq!(r4.replica.summary().recovery.unwrap().answers, 3);
    r4.hear(0, 0, answer_of_primary(nonce, 2, &log));
    assert_eq!(r4.replica.summary().op, OpNumber(2));
    assert_eq!(status(&r4), StatusName::Recovering, "its entries are not here");
}

/// D14: the primary of an earlier view does not speak for the latest.
#[test]
fn the_primary_of_an_earlier_view_does_not_speak_for_the_latest() {
    let log = chain(&root(), 0, &["a"]);
    let mut r4 = unsynced(5, 4, 0);
    r4.sync();
    let nonce = asked(&r4);
    r4.hear(0, 0, answer_of_primary(nonce, 1, &log));
    r4.hear(2, 0, answer(nonce));
    r4.hear(3, 1, answer(nonce));
    assert_eq!(r4.replica.summary().op, OpNumber(0));
    r4.timeout(Timer::Recovery);
    assert_eq!(asked(&r4).count, 2, "another nonce");
}

/// Step 3: the fence, the nonce, and what makes no sense.
#[test]
fn an_answer_from_before_the_fence_or_to_another_question_does_not_count() {
    let log = chain(&root(), 0, &["a"]);
    let mut r2 = restarted(2, 1);
    let first = asked(&r2);
    r2.hear(0, 0, answer_of_primary(first, 1, &log));
    assert_eq!(r2.ignored(), [Ignored::OlderView]);
    r2.timeout(Timer::Recovery);
    let second = asked(&r2);
    r2.hear(0, 1, answer(first));
    assert_eq!(r2.ignored(), [Ignored::NotAsked]);
    let of_earlier_life = Nonce { incarnation: Incarnation(1), ..second };
    r2.hear(0, 1, answer(of_earlier_life));
    assert_eq!(r2.ignored(), [Ignored::NotAsked]);
    r2.hear(1, 1, answer(second));
    assert_eq!(r2.ignored(), [Ignored::Malformed], "a primary has a log");
    r2.hear(0, 1, answer_of_primary(second, 0, &log));
    assert_eq!(r2.ignored(), [Ignored::Malformed], "and it alone");
    r2.hear(1, 1, answer_of_primary(second, 2, &log));
    assert_eq!(r2.ignored(), [Ignored::Malformed], "more is committed than it has");
}

/// Step 4: it takes part again with everything in hand, and not before its new view is durable.
#[test]
fn it_takes_part_again_when_it_holds_all_and_not_before() {
    let log = chain(&root(), 1, &["a", "b"]);
    let mut r2 = restarted(2, 0);
    let nonce = asked(&r2);
    r2.hear(0, 1, answer(nonce));
    r2.hear(1, 1, answer_of_primary(nonce, 1, &log));
    assert!(matches!(r2.sent()[..], [Kind::GetEntry { .. }]), "{:?}", r2.effects);
    r2.sync();
    for kind in [
        prepare(&log[0], &root()),
        do_view_change(0, &[], "", 0),
        Kind::StartViewChange { log_view: ViewNumber(1) },
        Kind::GetView { nonce, uncertain: None },
        Kind::ReadProbe { nonce, relay: false },
        Kind::Recovery { nonce },
    ] {
        r2.hear(1, 1, kind);
        assert_eq!(r2.ignored(), [Ignored::Recovering]);
        assert!(r2.sent().is_empty(), "{:?}", r2.effects);
    }
    let wanted = vec![(OpNumber(1), log[0].header().checksum)];
    r2.hear(0, 1, Kind::GetEntry { wanted });
    assert!(r2.sent().is_empty(), "what it lacks it does not deny");
    r2.hear(0, 1, Kind::Entry { entry: log[0].clone() });
    r2.hear(0, 1, Kind::Entry { entry: log[1].clone() });
    assert_eq!(status(&r2), StatusName::Recovering, "nothing is written yet");
    r2.sync();
    assert_eq!(status(&r2), StatusName::Backup);
    assert!(matches!(r2.sent()[..], [Kind::PrepareOk { op: OpNumber(2), .. }]));
    assert_eq!(r2.applied, ["a"], "committed, as the primary said");
}

/// Step 4: the view whose log it fetches may be over, and what it lacks of that in nobody's log.
#[test]
fn a_later_view_that_is_heard_of_is_asked_for() {
    let log = chain(&root(), 0, &["a"]);
    let mut r2 = restarted(2, 0);
    let nonce = asked(&r2);
    r2.hear(1, 0, answer(nonce));
    r2.hear(0, 0, answer_of_primary(nonce, 0, &log));
    r2.sync();
    r2.timeout(Timer::Recovery);
    assert!(r2.sent().is_empty(), "it goes on fetching");
    r2.hear(1, 1, do_view_change(0, &log, "p", 0));
    assert_eq!(r2.ignored(), [Ignored::Recovering]);
    r2.timeout(Timer::Recovery);
    let nonce = asked(&r2);
    r2.hear(0, 1, answer(nonce));
    r2.hear(1, 1, answer_of_primary(nonce, 0, &[]));
    assert_eq!(r2.ignored(), [Ignored::Malformed]);
    let empty = Kind::RecoveryResponse { nonce, commit_max: OpNumber(0), suffix: vec![root()] };
    r2.hear(1, 1, empty);
    r2.sync();
    assert_eq!((r2.replica.summary().view, status(&r2)), (ViewNumber(1), StatusName::Backup));
    assert_eq!(r2.replica.summary().op, OpNumber(0));
}

/// Beyond what the group tolerates nothing forms, and people hear of it, once.
#[test]
fn more_losses_than_the_group_tolerates_are_told() {
    let nonce = Nonce { incarnation: Incarnation(2), count: 1 };
    let mut r2 = restarted(2, 0);
    let told = |lone: &Lone| {
        let note = |effect: &Effect<Body>| matches!(effect, Effect::Note(Note::MemoryLost(2)));
        lone.effects.iter().filter(|effect| note(effect)).count()
    };
    r2.hear_from(1, 0, 2, Kind::Recovery { nonce });
    assert_eq!(told(&r2), 1);
    assert!(r2.replica.summary().recovery.unwrap().is_hopeless());
    r2.hear_from(1, 0, 2, Kind::Recovery { nonce });
    assert_eq!(told(&r2), 0);
    r2.timeout(Timer::Recovery);
    let asked = asked(&r2);
    r2.hear_from(1, 0, 2, answer(asked));
    let progress = r2.replica.summary().recovery.unwrap();
    assert_eq!((progress.lost, progress.is_hopeless()), (1, false), "it answers: it has recovered");
}

/// What it lacks is not known before it has an answer: nothing of a checkpoint is asked for.
#[test]
fn a_recovering_replica_fetches_no_checkpoint_before_it_has_answers() {
    let mut r1 = restarted(1, 0);
    let (op, log_view) = (OpNumber(24), ViewNumber::ZERO);
    let kept = vsr_core::Kept {
        checkpoint: OpNumber(20),
        id: vsr_core::Checksum(20),
        begins: OpNumber(20),
        held: op,
        ..vsr_core::Kept::default()
    };
    let commit = vsr_core::Committed { op, checksum: vsr_core::Checksum(24) };
    let heard = vsr_core::Voters::default();
    r1.hear(0, 0, Kind::Ping { log_view, op, commit, heard, kept });
    assert_eq!(status(&r1), StatusName::Recovering);
    assert_eq!(r1.receivers("GET-CHECKPOINT"), [] as [u32; 0]);
}
