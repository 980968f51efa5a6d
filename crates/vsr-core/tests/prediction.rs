//! Values that are predicted for entries (paper, section 4.4; protocol.md 1.6; ADR 0023).
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod group;

use std::sync::Arc;

use group::Body;
use group::lone::{
    Lone, committed, config, constants, operation, prepare, root, start_view, stored,
};
use vsr_core::{
    ClientRequestKind, Effect, Entry, EntryKind, Epoch, Event, Header, Holding, Ignored,
    Implausible, Incarnation, Kind, Mark, Nonce, Note, OpNumber, PREDICTION_BYTES_MAX, Prediction,
    Release, Request, StatusName, Stored, StoredSlot, SuperblockState, Timer, Timestamp,
    ViewNumber,
};

const WRONG: Implausible = Implausible::new("its clock is wrong");

fn lone(count: usize, index: usize, prediction: Prediction) -> Lone {
    let config = config(count, index, constants()).with_prediction(prediction);
    Lone::with(config, Stored::formatted(root()))
}

/// What the service was asked to predict.
fn asked(lone: &Lone) -> Option<(Nonce, usize)> {
    lone.effects.iter().find_map(|effect| {
        let Effect::Predict { ticket, requests } = effect else { return None };
        Some((*ticket, requests.len()))
    })
}

fn given(lone: &Lone) -> Option<(Nonce, Vec<(u32, Body)>)> {
    lone.effects.iter().find_map(|effect| {
        let Effect::Combine { ticket, values, .. } = effect else { return None };
        Some((*ticket, values.iter().map(|(from, value)| (from.0, *value)).collect()))
    })
}

/// The nonce of the PRE-STEP that was sent.
fn pre_step(lone: &Lone) -> Option<Nonce> {
    lone.sent().into_iter().find_map(|kind| {
        let Kind::PreStep { nonce, .. } = kind else { return None };
        Some(*nonce)
    })
}

/// Op, value and number of requests of each PREPARE that was sent.
fn prepared(lone: &Lone) -> Vec<(u64, Option<Body>, usize)> {
    let entries = lone.sent().into_iter().filter_map(|kind| {
        let Kind::Prepare { entry, .. } = kind else { return None };
        Some(entry)
    });
    entries.map(|e| (e.header().op.0, e.prediction().copied(), e.requests().len())).collect()
}

fn predict(lone: &mut Lone, ticket: Nonce, value: Option<Body>) {
    lone.step(Event::Predicted { ticket, value });
}

fn is_marked(lone: &Lone, wanted: Mark) -> bool {
    lone.effects
        .iter()
        .any(|effect| matches!(effect, Effect::Note(Note::Mark(mark)) if *mark == wanted))
}

fn predicted(parent: &Header, view: u64, value: Body) -> Entry<Body> {
    let requests = vec![operation(1, parent.op.0 + 1, "x")];
    Entry::prepare_predicted(
        parent,
        Epoch::ZERO,
        ViewNumber(view),
        Release::ZERO,
        Timestamp::ZERO,
        requests,
        Some(value),
    )
}

/// The op and verdict of what the service is to judge.
fn judged(lone: &Lone) -> Vec<u64> {
    let checks = lone.effects.iter().filter_map(|effect| {
        let Effect::Check { entry } = effect else { return None };
        Some(entry.header().op.0)
    });
    checks.collect()
}

fn judge(lone: &mut Lone, entry: &Entry<Body>, verdict: Result<(), Implausible>) {
    let (op, checksum) = (entry.header().op, entry.header().checksum);
    lone.step(Event::Checked { op, checksum, verdict });
}

/// Paper, section 4.4: the primary predicts, and the value is part of the entry. What comes meanwhile is
/// for the next one.
#[test]
fn an_entry_waits_for_its_value_and_requests_that_come_meanwhile_for_the_next_one() {
    let mut r0 = lone(3, 0, Prediction::Primary);
    r0.request(1, 1, "a");
    let (ticket, count) = asked(&r0).unwrap();
    assert_eq!((count, prepared(&r0)), (1, vec![]));
    r0.request(2, 1, "b");
    r0.request(3, 1, "c");
    assert_eq!((asked(&r0), prepared(&r0)), (None, vec![]));
    predict(&mut r0, ticket, Some("noon"));
    assert_eq!(prepared(&r0), [(1, Some("noon"), 1)]);
    r0.sync();
    let (ticket, count) = asked(&r0).unwrap();
    assert_eq!(count, 2, "one entry for both");
    predict(&mut r0, ticket, Some("later"));
    assert_eq!(prepared(&r0), [(2, Some("later"), 2)]);
}

#[test]
fn a_registration_needs_no_value_and_a_service_may_want_none() {
    let mut r0 = lone(3, 0, Prediction::Primary);
    r0.client(10, ClientRequestKind::Register);
    assert_eq!((asked(&r0), prepared(&r0)), (None, vec![(1, None, 1)]));
    r0.sync();
    r0.request(1, 1, "a");
    let (ticket, _) = asked(&r0).unwrap();
    predict(&mut r0, ticket, None);
    assert_eq!(prepared(&r0), [(2, None, 1)]);
}

#[test]
fn without_predictions_nothing_is_asked() {
    let mut r0 = Lone::new(3, 0);
    r0.request(1, 1, "a");
    assert_eq!((asked(&r0), prepared(&r0)), (None, vec![(1, None, 1)]));
}

#[test]
fn an_answer_to_another_question_is_no_value() {
    let mut r0 = lone(3, 0, Prediction::Primary);
    let early = Nonce { incarnation: Incarnation(1), count: 1 };
    predict(&mut r0, early, Some("early"));
    assert_eq!(r0.ignored(), [Ignored::StaleCompletion]);
    r0.request(1, 1, "a");
    let (ticket, _) = asked(&r0).unwrap();
    predict(&mut r0, Nonce { count: ticket.count + 1, ..ticket }, Some("another's"));
    assert_eq!((r0.ignored(), prepared(&r0)), (vec![Ignored::StaleCompletion], vec![]));
    predict(&mut r0, ticket, Some("noon"));
    assert_eq!(prepared(&r0), [(1, Some("noon"), 1)]);
    predict(&mut r0, ticket, Some("again"));
    assert_eq!((r0.ignored(), prepared(&r0)), (vec![Ignored::StaleCompletion], vec![]));
}

/// The pre-step: f backups of a group of five are two.
#[test]
fn the_own_value_is_combined_with_those_of_f_backups() {
    let mut r0 = lone(5, 0, Prediction::Backups);
    r0.request(1, 1, "a");
    let (ticket, _) = asked(&r0).unwrap();
    assert_eq!(pre_step(&r0), None, "the own service comes first: it may want no value");
    predict(&mut r0, ticket, Some("zero"));
    let nonce = pre_step(&r0).unwrap();
    r0.hear(3, 0, Kind::PreStepOk { nonce, value: "three" });
    r0.hear(3, 0, Kind::PreStepOk { nonce, value: "three again" });
    assert_eq!((r0.ignored(), given(&r0)), (vec![Ignored::Repeated], None));
    let other = Nonce { count: nonce.count + 9, ..nonce };
    r0.hear(2, 0, Kind::PreStepOk { nonce: other, value: "two" });
    assert_eq!((r0.ignored(), given(&r0)), (vec![Ignored::NotAsked], None));
    r0.hear(1, 0, Kind::PreStepOk { nonce, value: "one" });
    let (ticket, values) = given(&r0).unwrap();
    assert_eq!(values, [(0, "zero"), (1, "one"), (3, "three")]);
    r0.hear(2, 0, Kind::PreStepOk { nonce, value: "two" });
    assert_eq!((r0.ignored(), prepared(&r0)), (vec![Ignored::NotAsked], vec![]));
    predict(&mut r0, ticket, Some("all three"));
    assert_eq!(prepared(&r0), [(1, Some("all three"), 1)]);
}

#[test]
fn who_has_not_answered_is_asked_again() {
    let mut r0 = lone(5, 0, Prediction::Backups);
    r0.request(1, 1, "a");
    let (ticket, _) = asked(&r0).unwrap();
    predict(&mut r0, ticket, Some("zero"));
    let nonce = pre_step(&r0).unwrap();
    r0.hear(2, 0, Kind::PreStepOk { nonce, value: "two" });
    r0.timeout(Timer::PreStepResend);
    assert_eq!(r0.receivers("PRE-STEP"), [1, 3, 4]);
    assert_eq!(pre_step(&r0), Some(nonce));
    assert!(is_marked(&r0, Mark::PreStepResent));
}

#[test]
fn a_group_of_one_combines_its_own_value_alone() {
    let mut r0 = lone(1, 0, Prediction::Backups);
    r0.request(1, 1, "a");
    let (ticket, _) = asked(&r0).unwrap();
    predict(&mut r0, ticket, Some("zero"));
    let (_, values) = given(&r0).unwrap();
    assert_eq!(values, [(0, "zero")]);
}

#[test]
fn a_backup_answers_each_question_with_one_value() {
    let mut r1 = lone(3, 1, Prediction::Backups);
    let requests: Arc<[Request<Body>]> = vec![operation(1, 1, "a")].into();
    let nonce = |count| Nonce { incarnation: Incarnation(1), count };
    let ask = |count| Kind::PreStep { nonce: nonce(count), requests: Arc::clone(&requests) };
    r1.hear(0, 0, ask(5));
    let (ticket, count) = asked(&r1).unwrap();
    assert_eq!(count, 1);
    r1.hear(0, 0, ask(5));
    assert_eq!((r1.ignored(), asked(&r1)), (vec![Ignored::Repeated], None));
    predict(&mut r1, ticket, Some("one"));
    let answer = Kind::PreStepOk { nonce: nonce(5), value: "one" };
    assert_eq!(r1.sent(), [&answer]);
    r1.hear(0, 0, ask(5));
    assert_eq!((r1.sent(), asked(&r1)), (vec![&answer], None), "the same value again");
    r1.hear(0, 0, ask(4));
    assert_eq!(r1.ignored(), [Ignored::NotAsked], "an older question that is late");
    r1.hear(2, 0, ask(6));
    assert_eq!(r1.ignored(), [Ignored::NotFromPrimary]);
    let empty = Kind::PreStep { nonce: nonce(7), requests: Vec::new().into() };
    r1.hear(0, 0, empty);
    assert_eq!(r1.ignored(), [Ignored::Malformed]);
}

/// A backup that has none to offer is asked again, and by then it may have one.
#[test]
fn a_backup_without_a_value_says_nothing() {
    let mut r1 = lone(3, 1, Prediction::Backups);
    let requests: Arc<[Request<Body>]> = vec![operation(1, 1, "a")].into();
    let nonce = Nonce { incarnation: Incarnation(1), count: 5 };
    r1.hear(0, 0, Kind::PreStep { nonce, requests: Arc::clone(&requests) });
    let (ticket, _) = asked(&r1).unwrap();
    predict(&mut r1, ticket, None);
    assert!(r1.sent().is_empty());
    r1.hear(0, 0, Kind::PreStep { nonce, requests });
    assert!(asked(&r1).is_some());
}

#[test]
fn an_open_entry_ends_with_its_view() {
    let mut r0 = lone(3, 0, Prediction::Backups);
    r0.request(1, 1, "a");
    let (ticket, _) = asked(&r0).unwrap();
    predict(&mut r0, ticket, Some("zero"));
    let nonce = pre_step(&r0).unwrap();
    r0.hear(1, 1, Kind::StartViewChange { log_view: ViewNumber(0) });
    assert_eq!(r0.replica.summary().status, StatusName::ViewChange);
    let disarms = |effect: &Effect<Body>| *effect == Effect::Disarm(Timer::PreStepResend);
    assert!(r0.effects.iter().any(disarms));
    r0.sync();
    r0.hear(1, 1, start_view(&[], 0));
    r0.hear(1, 1, Kind::StartView { commit_max: OpNumber(0), suffix: vec![root()], nonce: None });
    r0.sync();
    assert_eq!(r0.replica.summary().status, StatusName::Backup);
    assert_eq!(r0.replica.summary().op, OpNumber(0), "nothing of it is in the log");
    r0.hear(2, 1, Kind::PreStepOk { nonce, value: "two" });
    assert_eq!(r0.ignored(), [Ignored::NotPrimary]);
}

#[test]
fn a_value_that_is_too_long_is_a_bug_of_the_service_or_no_message() {
    let long: Body = Box::leak("x".repeat(PREDICTION_BYTES_MAX + 1).into_boxed_str());
    let mut r0 = lone(3, 0, Prediction::Primary);
    r0.request(1, 1, "a");
    let (ticket, _) = asked(&r0).unwrap();
    predict(&mut r0, ticket, Some(long));
    let told = Effect::Note(Note::LongPrediction(PREDICTION_BYTES_MAX + 1));
    assert!(r0.effects.contains(&told));
    let kind = r0.replica.header(OpNumber(1)).map(|header| header.kind);
    assert_eq!(kind, Some(EntryKind::Requests), "its entry goes without one");
    let mut r1 = lone(3, 1, Prediction::Primary);
    r1.hear(0, 0, prepare(&predicted(&root(), 0, long), &root()));
    assert_eq!((r1.ignored(), judged(&r1)), (vec![Ignored::Malformed], vec![]));
    let mut r0 = lone(3, 0, Prediction::Backups);
    r0.request(1, 1, "a");
    let (ticket, _) = asked(&r0).unwrap();
    predict(&mut r0, ticket, Some("zero"));
    let nonce = pre_step(&r0).unwrap();
    r0.hear(1, 0, Kind::PreStepOk { nonce, value: long });
    assert_eq!((r0.ignored(), given(&r0)), (vec![Ignored::Malformed], None));
}

/// ADR 23: a backup holds an entry once its service agrees.
#[test]
fn a_backup_judges_a_value_before_it_holds_the_entry() {
    let mut r1 = lone(3, 1, Prediction::Primary);
    let first = predicted(&root(), 0, "noon");
    r1.hear(0, 0, prepare(&first, &root()));
    assert_eq!((judged(&r1), r1.writes.len()), (vec![1], 0));
    r1.hear(0, 0, prepare(&first, &root()));
    assert_eq!((r1.ignored(), judged(&r1)), (vec![Ignored::Repeated], vec![]));
    judge(&mut r1, &first, Ok(()));
    assert_eq!(r1.writes.len(), 1);
    r1.sync();
    assert!(matches!(r1.sent()[..], [Kind::PrepareOk { op: OpNumber(1), .. }]));
    judge(&mut r1, &first, Err(WRONG));
    assert_eq!(r1.ignored(), [Ignored::StaleCompletion]);
}

#[test]
fn nothing_from_a_refused_entry_on_is_acknowledged_and_it_is_denied_in_a_view_change() {
    let mut r1 = lone(3, 1, Prediction::Primary);
    let first = predicted(&root(), 0, "noon");
    let second = predicted(first.header(), 0, "noon");
    r1.hear(0, 0, prepare(&first, &root()));
    judge(&mut r1, &first, Err(WRONG));
    let note = Effect::Note(Note::Implausible { op: OpNumber(1), reason: WRONG });
    assert!(r1.effects.contains(&note));
    assert!(is_marked(&r1, Mark::PredictionRefused));
    let checksum = first.header().checksum;
    assert_eq!(r1.sent(), [&Kind::Nack { op: OpNumber(1), checksum }]);
    r1.hear(0, 0, prepare(&second, &root()));
    judge(&mut r1, &second, Ok(()));
    r1.sync();
    assert!(r1.sent().is_empty(), "acknowledgements are cumulative");
    assert_eq!(r1.receivers("GET-ENTRY"), [] as [u32; 0]);
    r1.hear(0, 0, Kind::Commit { commit: committed(&root()) });
    assert!(r1.sent().is_empty(), "it asks nobody for what it refused");
    r1.hear(
        2,
        1,
        Kind::DoViewChange {
            log_view: ViewNumber(0),
            op: OpNumber(0),
            commit_min: OpNumber(0),
            commit_max: OpNumber(0),
            suffix: vec![vsr_core::SuffixSlot { header: Some(root()), present: true, nack: false }],
        },
    );
    r1.sync();
    let offers: Vec<bool> = r1
        .sent()
        .into_iter()
        .filter_map(|kind| {
            let Kind::DoViewChange { suffix, .. } = kind else { return None };
            Some(suffix[0].nack && !suffix[0].present)
        })
        .collect();
    assert_eq!(offers, [true]);
}

/// A clock that is ahead is so for a while only.
#[test]
fn what_was_refused_is_judged_again_when_it_comes_again() {
    let mut r1 = lone(3, 1, Prediction::Primary);
    let first = predicted(&root(), 0, "noon");
    r1.hear(0, 0, prepare(&first, &root()));
    judge(&mut r1, &first, Err(WRONG));
    r1.hear(0, 0, prepare(&first, &root()));
    assert_eq!(judged(&r1), [1]);
    judge(&mut r1, &first, Ok(()));
    r1.sync();
    assert!(matches!(r1.sent()[..], [Kind::PrepareOk { op: OpNumber(1), .. }]));
}

#[test]
fn what_is_committed_is_held_whatever_the_service_thinks_of_it() {
    let mut r1 = lone(3, 1, Prediction::Primary);
    let first = predicted(&root(), 0, "noon");
    r1.hear(0, 0, prepare(&first, &root()));
    judge(&mut r1, &first, Err(WRONG));
    r1.hear(0, 0, Kind::Commit { commit: committed(first.header()) });
    assert!(is_marked(&r1, Mark::RefusedCommitted));
    let wanted = vec![(OpNumber(1), first.header().checksum)];
    assert!(r1.sent().contains(&&Kind::GetEntry { wanted }));
    r1.hear(0, 0, Kind::Entry { entry: first.clone() });
    assert_eq!(judged(&r1), []);
    r1.sync();
    assert_eq!(r1.applied, ["x"]);
    // It is being judged when that becomes known.
    let mut r1 = lone(3, 1, Prediction::Primary);
    r1.hear(0, 0, prepare(&first, &root()));
    r1.hear(0, 0, Kind::Commit { commit: committed(first.header()) });
    r1.sync();
    assert_eq!(r1.applied, ["x"]);
    judge(&mut r1, &first, Err(WRONG));
    assert_eq!(r1.ignored(), [Ignored::StaleCompletion]);
}

/// For liveness: a new view begins with what a quorum of logs had, and its backups hold that.
#[test]
fn what_a_view_inherits_is_not_judged() {
    let mut r2 = lone(3, 2, Prediction::Primary);
    let first = predicted(&root(), 0, "noon");
    r2.hear(1, 1, start_view(std::slice::from_ref(&first), 0));
    r2.sync();
    r2.hear(1, 1, prepare(&first, &root()));
    assert_eq!((judged(&r2), r2.writes.len()), (vec![], 1));
}

/// A PREPARE may be lost, and the entry come as a repair: it is judged all the same.
#[test]
fn a_repair_of_what_is_not_committed_is_judged() {
    let mut r1 = lone(3, 1, Prediction::Primary);
    let first = predicted(&root(), 0, "noon");
    let second = predicted(first.header(), 0, "noon");
    r1.hear(0, 0, prepare(&second, &root()));
    judge(&mut r1, &second, Ok(()));
    r1.hear(0, 0, Kind::Headers { headers: vec![*first.header()] });
    r1.hear(0, 0, Kind::Entry { entry: first.clone() });
    assert_eq!(judged(&r1), [1]);
    judge(&mut r1, &first, Err(WRONG));
    r1.sync();
    assert!(!r1.sent().iter().any(|kind| matches!(kind, Kind::PrepareOk { .. })));
}

#[test]
fn at_most_a_pipeline_of_entries_is_being_judged() {
    let mut r1 = lone(3, 1, Prediction::Primary);
    let pipeline = u64::from(constants().pipeline);
    let mut parent = root();
    let mut commit = root();
    for op in 1..=pipeline + 1 {
        let entry = predicted(&parent, 0, "noon");
        r1.hear(0, 0, prepare(&entry, &commit));
        parent = *entry.header();
        if op == 1 {
            // What is committed is held, and makes room for one more.
            commit = parent;
            assert_eq!(judged(&r1), [1]);
        }
    }
    let usage = r1.replica.usage();
    let judged = usage.iter().find(|usage| usage.what == "entries being judged").unwrap();
    assert_eq!((judged.used, judged.limit), (pipeline, pipeline));
}

/// A primary with a wild clock hands its role on soon after no quorum can come about.
#[test]
fn a_primary_that_too_many_refuse_gives_way() {
    let mut r0 = lone(5, 0, Prediction::Primary);
    r0.request(1, 1, "a");
    let (ticket, _) = asked(&r0).unwrap();
    predict(&mut r0, ticket, Some("doomsday"));
    r0.sync();
    let checksum = r0.replica.header(OpNumber(1)).unwrap().checksum;
    let refuse = Kind::Nack { op: OpNumber(1), checksum };
    r0.hear(1, 0, refuse.clone());
    r0.hear(1, 0, refuse.clone());
    r0.hear(2, 0, refuse.clone());
    assert!(!is_marked(&r0, Mark::RefusedPrimaryGaveWay), "three may still agree");
    r0.hear(3, 0, refuse);
    assert!(is_marked(&r0, Mark::RefusedPrimaryGaveWay));
    assert!(r0.sent().is_empty(), "it does not change views as fast as it can");
    r0.timeout(Timer::Abdicate);
    assert!(r0.sent().iter().any(|kind| matches!(kind, Kind::StartViewChange { .. })));
    assert!(!r0.replica.summary().ready);
}

#[test]
fn who_refused_and_then_agreed_is_not_against_it() {
    let mut r0 = lone(3, 0, Prediction::Primary);
    r0.request(1, 1, "a");
    let (ticket, _) = asked(&r0).unwrap();
    predict(&mut r0, ticket, Some("soon"));
    let (op, checksum) = (OpNumber(1), r0.replica.header(OpNumber(1)).unwrap().checksum);
    r0.hear(1, 0, Kind::Nack { op, checksum });
    r0.hear(1, 0, Kind::PrepareOk { op, checksum, commit_min: OpNumber(0) });
    r0.hear(2, 0, Kind::Nack { op, checksum });
    assert!(!is_marked(&r0, Mark::RefusedPrimaryGaveWay));
    r0.sync();
    assert_eq!(r0.applied, ["a"]);
}

/// The value is named by the entry's checksum, like its requests.
#[test]
fn entries_with_different_values_are_different_entries() {
    let noon = predicted(&root(), 0, "noon");
    let night = predicted(&root(), 0, "late");
    let empty = predicted(&root(), 0, "");
    let none = Entry::prepare(
        &root(),
        Epoch::ZERO,
        ViewNumber::ZERO,
        Release::ZERO,
        Timestamp::ZERO,
        noon.requests().to_vec(),
    );
    let entries = [&noon, &night, &empty, &none];
    for (place, one) in entries.iter().enumerate() {
        assert!(one.is_intact());
        for other in &entries[place + 1..] {
            assert_ne!(one.header().body, other.header().body);
            assert_ne!(one, other);
        }
    }
    assert_eq!((noon.header().length, noon.header().kind), (5, EntryKind::Predicted));
    assert_eq!((none.header().length, none.header().kind), (1, EntryKind::Requests));
    let requests = || noon.requests().to_vec();
    let swapped = Entry::assemble(*noon.header(), requests(), Some("late")).unwrap();
    assert!(!swapped.is_intact());
    assert!(Entry::assemble(*noon.header(), requests(), Some("longer")).is_none());
    assert!(Entry::assemble(*noon.header(), requests(), None).is_none());
    assert!(Entry::assemble(*none.header(), requests(), Some("")).is_none());
}

#[test]
fn a_question_of_a_member_that_is_asked_in_another_view_is_not_answered() {
    let mut r1 = lone(3, 1, Prediction::Backups);
    r1.hear(2, 2, Kind::StartViewChange { log_view: ViewNumber(1) });
    r1.sync();
    let nonce = Nonce { incarnation: Incarnation(1), count: 5 };
    let requests: Arc<[Request<Body>]> = vec![operation(1, 1, "a")].into();
    r1.hear(0, 0, Kind::PreStep { nonce, requests });
    assert_eq!((r1.ignored(), asked(&r1)), (vec![Ignored::OlderView], None));
    r1.hear(0, 0, Kind::PreStepOk { nonce, value: "zero" });
    assert_eq!(r1.ignored(), [Ignored::OlderView]);
}

/// It was acknowledged before the disk damaged it: whether the service would agree today is no question.
#[test]
fn what_was_held_once_is_mended_unjudged() {
    let entry = predicted(&root(), 0, "noon");
    let superblock = SuperblockState {
        incarnation: Incarnation(1),
        op: OpNumber(1),
        headers: vec![*entry.header()],
        ..SuperblockState::formatted(root())
    };
    let slots = vec![StoredSlot::Faulty(*entry.header())];
    let config = config(3, 1, constants()).with_prediction(Prediction::Primary);
    let mut r1 = Lone::with(config, stored(superblock, slots));
    assert_eq!(r1.replica.holding(OpNumber(1)), Holding::Faulty);
    r1.hear(0, 0, prepare(&entry, &root()));
    assert_eq!(judged(&r1), []);
    r1.sync();
    let acknowledged = |kind: &&Kind<Body>| matches!(kind, Kind::PrepareOk { op: OpNumber(1), .. });
    assert!(r1.sent().iter().any(acknowledged), "{:?}", r1.sent());
}

/// A service that is slower than entries come is not given more and more to do.
#[test]
fn a_service_is_asked_for_no_more_than_two_values_at_a_time() {
    let mut r1 = lone(3, 1, Prediction::Backups);
    let mut tickets = Vec::new();
    for count in 1..=5 {
        let nonce = Nonce { incarnation: Incarnation(1), count };
        let requests = vec![operation(1, count, "x")].into();
        r1.hear(0, 0, Kind::PreStep { nonce, requests });
        tickets.extend(asked(&r1).map(|(ticket, _)| ticket));
    }
    assert_eq!((tickets.len(), r1.ignored()), (2, vec![Ignored::OutOfWindow]));
    predict(&mut r1, tickets[0], Some("late"));
    let nonce = Nonce { incarnation: Incarnation(1), count: 6 };
    r1.hear(0, 0, Kind::PreStep { nonce, requests: vec![operation(1, 6, "x")].into() });
    assert!(asked(&r1).is_some(), "one was answered");
}

#[test]
fn a_service_that_wants_no_values_is_asked_for_none_and_judges_none() {
    let mut r1 = lone(3, 1, Prediction::None);
    let nonce = Nonce { incarnation: Incarnation(1), count: 1 };
    r1.hear(0, 0, Kind::PreStep { nonce, requests: vec![operation(1, 1, "x")].into() });
    assert_eq!((asked(&r1), r1.ignored()), (None, vec![Ignored::WrongStatus]));
    r1.hear(0, 0, prepare(&predicted(&root(), 0, "noon"), &root()));
    r1.sync();
    assert_eq!((judged(&r1), r1.replica.summary().durable), (vec![], OpNumber(1)));
}

/// A value as long as may be is no longer than may be.
#[test]
fn the_longest_value_is_taken_without_a_word() {
    static LONGEST: [u8; PREDICTION_BYTES_MAX] = [b'v'; PREDICTION_BYTES_MAX];
    let mut r0 = lone(3, 0, Prediction::Primary);
    r0.request(1, 1, "a");
    let (ticket, _) = asked(&r0).unwrap();
    let value = std::str::from_utf8(&LONGEST).unwrap();
    predict(&mut r0, ticket, Some(value));
    assert_eq!(prepared(&r0), [(1, Some(value), 1)]);
    let told = |effect: &Effect<Body>| matches!(effect, Effect::Note(Note::LongPrediction(_)));
    assert!(!r0.effects.iter().any(told), "{:?}", r0.effects);
}

/// Backups that do not answer are asked ever more rarely.
#[test]
fn each_time_that_backups_are_asked_for_values_again_counts() {
    let mut r0 = lone(5, 0, Prediction::Backups);
    r0.request(1, 1, "a");
    let (ticket, _) = asked(&r0).unwrap();
    predict(&mut r0, ticket, Some("noon"));
    for again in 1..4 {
        r0.timeout(Timer::PreStepResend);
        let armed = Effect::Arm { timer: Timer::PreStepResend, attempt: again };
        assert!(r0.effects.contains(&armed), "{:?}", r0.effects);
    }
}

/// A primary gives way where too few are left to hold its entry, and not before.
#[test]
fn one_backup_of_three_that_refuses_a_value_changes_nothing() {
    let mut r0 = lone(3, 0, Prediction::Primary);
    r0.request(1, 1, "a");
    let (ticket, _) = asked(&r0).unwrap();
    predict(&mut r0, ticket, Some("noon"));
    r0.sync();
    let header = *r0.replica.header(OpNumber(1)).unwrap();
    let nack = Kind::Nack { op: header.op, checksum: header.checksum };
    r0.hear(1, 0, nack.clone());
    assert!(!is_marked(&r0, Mark::RefusedPrimaryGaveWay), "{:?}", r0.effects);
    r0.hear(1, 0, nack.clone());
    assert!(!is_marked(&r0, Mark::RefusedPrimaryGaveWay), "it said so before");
    r0.hear(2, 0, nack);
    assert!(is_marked(&r0, Mark::RefusedPrimaryGaveWay), "{:?}", r0.effects);
}

/// An entry without a value, one that is committed, and one of an earlier view cannot have been refused.
#[test]
fn a_nack_of_what_cannot_have_been_refused_is_ignored() {
    let mut r0 = lone(3, 0, Prediction::Primary);
    r0.request(1, 1, "a");
    let (ticket, _) = asked(&r0).unwrap();
    predict(&mut r0, ticket, None);
    r0.sync();
    let nack = |r0: &mut Lone, from: u32, op: u64| {
        let header = *r0.replica.header(OpNumber(op)).unwrap();
        r0.hear(from, 0, Kind::Nack { op: header.op, checksum: header.checksum });
        r0.ignored()
    };
    assert_eq!(nack(&mut r0, 1, 1), [Ignored::NotAsked]);
    r0.request(1, 2, "b");
    let (ticket, _) = asked(&r0).unwrap();
    predict(&mut r0, ticket, Some("noon"));
    r0.sync();
    let second = *r0.replica.header(OpNumber(2)).unwrap();
    let ok = Kind::PrepareOk { op: second.op, checksum: second.checksum, commit_min: OpNumber(0) };
    r0.hear(1, 0, ok);
    assert_eq!(nack(&mut r0, 2, 2), [Ignored::NotAsked], "it is committed");
}
