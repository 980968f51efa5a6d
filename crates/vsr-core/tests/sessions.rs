//! Sessions and exactly-once execution (paper, sections 4.1 and 4.5; protocol.md, 2.4 and 5.10).
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod group;

use group::lone::{self, Lone, chain, do_view_change, entry, prepare, root};
use vsr_core::{
    Checksum, ClientId, ClientReply, ClientReplyKind, ClientRequest, ClientRequestKind, Config,
    Configuration, Constants, Effect, Entry, Event, Ignored, Kind, Mark, Moment, Note, OpNumber,
    Refusal, Request, RequestNumber, Session, StatusName, Stored, Subject, Timer, Timestamp,
};

const CLIENT: u128 = 100;
const SESSION: Session = Session { slot: 9, number: OpNumber(1) };

fn register() -> Request<group::Body> {
    Request::Register { client: ClientId(CLIENT), subject: Subject::default() }
}

fn operation(session: Session, number: u64, body: group::Body) -> Request<group::Body> {
    let digest = Checksum::of(body.as_bytes());
    Request::Operation { session, number: RequestNumber(number), span: 0, digest, body }
}

fn replies(lone: &Lone) -> Vec<ClientReplyKind<group::Body>> {
    let replies = lone.effects.iter().filter_map(|effect| {
        let Effect::Reply(ClientReply { kind, .. }) = effect else { return None };
        Some(kind.clone())
    });
    replies.collect()
}

/// r1 of three, primary of view 1, with what it held of view 0; nothing of it is known to be
/// committed.
fn new_primary(inherited: &[Entry<group::Body>]) -> Lone {
    let mut r1 = Lone::new(3, 1);
    for entry in inherited {
        r1.hear(0, 0, prepare(entry, &root()));
    }
    r1.sync();
    take_over(&mut r1);
    r1
}

fn take_over(r1: &mut Lone) {
    r1.timeout(Timer::PrimarySilence);
    r1.hear(2, 0, Kind::StartViewChange { log_view: group::VIEW_ZERO });
    r1.sync();
    r1.hear(2, 1, do_view_change(0, &[], "", 0));
    r1.sync();
    assert_eq!(r1.replica.summary().status, StatusName::Primary);
}

/// Section 4.1, step 2: the last request again gets the stored reply, an older one nothing; one that
/// is under way, or ahead of its turn, is left alone.
#[test]
fn each_request_of_a_session_is_executed_once_and_in_its_turn() {
    let mut r0 = Lone::new(1, 0);
    r0.request(1, 1, "x");
    r0.request(1, 1, "x");
    assert_eq!(r0.ignored(), [Ignored::InPipeline]);
    r0.request(1, 3, "z");
    assert_eq!(r0.ignored(), [Ignored::RequestGap]);
    r0.sync();
    assert_eq!(replies(&r0), [reply(1, 1, "x")]);
    r0.request(1, 1, "x");
    assert_eq!(replies(&r0), [reply(1, 1, "x")], "stored");
    r0.request(1, 2, "y");
    r0.sync();
    r0.request(1, 1, "x");
    assert_eq!(r0.ignored(), [Ignored::OlderRequest]);
    assert_eq!(r0.applied, ["x", "y"]);
}

/// Section 4.1, step 2; SEED-S9: a request that is with the service has no reply yet, not even that of
/// the one before it.
#[test]
fn a_request_that_is_being_executed_is_not_answered_with_an_earlier_reply() {
    let mut r0 = Lone::new(1, 0);
    r0.request(1, 1, "x");
    r0.sync();
    r0.automatic_apply = false;
    r0.request(1, 2, "y");
    r0.sync();
    r0.request(1, 2, "y");
    assert_eq!((r0.ignored(), replies(&r0)), (vec![Ignored::InPipeline], vec![]));
}

/// SEED-L4: a request that vanished with a view may come again: the table knows what was executed, and
/// nothing else.
#[test]
fn a_request_that_vanished_in_a_view_change_is_taken_again() {
    let mut r1 = Lone::new(3, 1);
    r1.hear(2, 1, do_view_change(0, &[], "", 0));
    r1.sync();
    r1.sync();
    r1.request(1, 1, "x");
    r1.sync();
    assert_eq!(r1.replica.summary().op, OpNumber(1));
    r1.hear(2, 2, Kind::StartView { commit_max: OpNumber(0), suffix: vec![root()], nonce: None });
    r1.sync();
    assert_eq!(r1.replica.summary().op, OpNumber(0), "cut: nobody else held it");
    r1.hear(0, 4, do_view_change(0, &[], "", 0));
    r1.sync();
    r1.sync();
    r1.request(1, 1, "x");
    assert!(r1.sent().iter().any(|kind| matches!(kind, Kind::Prepare { .. })));
}

/// Section 4.2, step 4: a request that was inherited and comes again is the same request.
#[test]
fn a_request_that_was_inherited_is_not_prepared_again() {
    let log = chain(&root(), 0, &["x"]);
    let mut r1 = new_primary(&log);
    r1.request(1, 1, "x");
    assert_eq!(r1.ignored(), [Ignored::InPipeline]);
}

/// Two copies in the log, as two primaries may have prepared them: the second is skipped.
#[test]
fn the_second_copy_of_a_request_in_the_log_is_skipped() {
    let first = entry(&root(), 0, vec![lone::operation(1, 1, "x")]);
    let second =
        entry(first.header(), 0, vec![lone::operation(1, 1, "x"), lone::operation(2, 1, "y")]);
    let mut r1 = Lone::new(3, 1);
    r1.hear(0, 0, prepare(&first, &root()));
    r1.hear(0, 0, prepare(&second, second.header()));
    assert_eq!(r1.applied, ["x", "y"]);
}

/// A log that a correct primary does not write: what has no predecessor is not executed, on any replica,
/// and does not keep its predecessor from being executed.
#[test]
fn a_request_in_the_log_whose_predecessor_is_missing_is_skipped() {
    let first = entry(&root(), 0, vec![lone::operation(1, 2, "y")]);
    let second =
        entry(first.header(), 0, vec![lone::operation(1, 1, "x"), lone::operation(1, 2, "y")]);
    let mut r1 = Lone::new(3, 1);
    r1.hear(0, 0, prepare(&first, &root()));
    r1.hear(0, 0, prepare(&second, first.header()));
    let early = |effect: &Effect<group::Body>| {
        matches!(effect, Effect::Note(Note::Mark(Mark::EarlyRequestSkipped)))
    };
    assert!(r1.effects.iter().any(early));
    assert_eq!(r1.applied, [""; 0]);
    r1.hear(0, 0, Kind::Commit { commit: lone::committed(second.header()) });
    assert_eq!(r1.applied, ["x", "y"]);
}

/// Protocol.md 2.4: a session's number is the op of its registration; registering again names the same
/// session.
#[test]
fn a_client_registers_once_however_often_it_asks() {
    let mut r0 = Lone::new(1, 0);
    r0.client(CLIENT, ClientRequestKind::Register);
    r0.client(CLIENT, ClientRequestKind::Register);
    assert_eq!(r0.ignored(), [Ignored::InPipeline]);
    r0.sync();
    assert_eq!(replies(&r0), [ClientReplyKind::Registered { session: SESSION, window: 8 }]);
    r0.client(CLIENT, ClientRequestKind::Register);
    assert_eq!(replies(&r0), [ClientReplyKind::Registered { session: SESSION, window: 8 }]);
    assert_eq!(r0.replica.summary().op, OpNumber(1));
    r0.operation(CLIENT, SESSION, 1, "x");
    r0.sync();
    let body = Some("x");
    let (number, op) = (RequestNumber(1), OpNumber(2));
    assert_eq!(replies(&r0), [ClientReplyKind::Reply { session: SESSION, number, op, body }]);
}

/// Protocol.md 3.4: the least recently used session makes room, by the order of commits; nothing of it
/// is executed any more.
#[test]
fn a_full_table_evicts_the_least_recently_used_session_and_skips_what_it_still_asks() {
    let constants = Constants { sessions: 9, ..lone::constants() };
    let config = lone::config(1, 0, constants);
    let mut r0 = Lone::with(config, Stored::formatted(root()));
    for client in 2..=9 {
        r0.request(client, 1, "touch");
        r0.sync();
    }
    r0.automatic_apply = false;
    r0.client(CLIENT, ClientRequestKind::Register);
    r0.request(1, 1, "too late");
    r0.sync();
    r0.automatic_apply = true;
    r0.timeout(Timer::Ping);
    r0.sync();
    assert!(!r0.applied.contains(&"too late"));
    let old = Session { slot: 0, number: OpNumber(0) };
    r0.operation(1, old, 1, "too late");
    assert_eq!(replies(&r0), [ClientReplyKind::Evicted { session: old, number: RequestNumber(1) }]);
    r0.operation(CLIENT, Session { slot: 0, number: OpNumber(9) }, 1, "x");
    r0.sync();
    assert!(r0.applied.contains(&"x"), "the slot counts anew");
}

/// A retry of an operation whose reply was too large to keep learns that it was done.
#[test]
fn a_reply_too_large_to_keep_is_not_invented() {
    let constants = Constants { kept_reply: 3, ..lone::constants() };
    let mut r0 = Lone::with(lone::config(1, 0, constants), Stored::formatted(root()));
    r0.request(1, 1, "long");
    r0.sync();
    assert_eq!(replies(&r0), [reply(1, 1, "long")]);
    r0.request(1, 1, "long");
    let session = Session { slot: 0, number: OpNumber(0) };
    let (number, op) = (RequestNumber(1), OpNumber(1));
    assert_eq!(replies(&r0), [ClientReplyKind::Reply { session, number, op, body: None }]);
}

/// Security: a session serves only the subject that registered it.
#[test]
fn another_subject_is_refused() {
    let mut r0 = Lone::new(1, 0);
    let request = |kind| ClientRequest {
        cluster: group::CLUSTER,
        client: ClientId(1),
        view: group::VIEW_ZERO,
        kind,
    };
    let subject = Subject(66);
    let event = |kind| Event::Request {
        request: request(kind),
        subject,
        at: Timestamp(0),
        now: Moment::ZERO,
    };
    r0.step(event(ClientRequestKind::Register));
    let refused = |session, number| ClientReplyKind::Refused {
        session,
        number: RequestNumber(number),
        reason: Refusal::NotYours,
    };
    assert_eq!(replies(&r0), [refused(None, 0)]);
    let session = Session { slot: 0, number: OpNumber(0) };
    let (number, digest, body) = (RequestNumber(1), Checksum::of(b"x"), "x");
    r0.step(event(ClientRequestKind::Operation { session, number, span: 0, digest, body }));
    assert_eq!(replies(&r0), [refused(Some(session), 1)]);
}

fn reply(client: u32, number: u64, body: group::Body) -> ClientReplyKind<group::Body> {
    let session = Session { slot: client - 1, number: OpNumber(0) };
    let (op, number) = (OpNumber(number), RequestNumber(number));
    ClientReplyKind::Reply { session, number, op, body: Some(body) }
}

/// Evicted is only said of what was executed: a new primary may have inherited the registration and
/// not know yet that it is committed. A client that believed it would number its operations anew in
/// the same session, and get another operation's reply.
#[test]
fn a_new_primary_does_not_call_a_session_evicted_whose_registration_it_has_not_executed() {
    let first = entry(&root(), 0, vec![register()]);
    let second = entry(first.header(), 0, vec![operation(SESSION, 1, "x")]);
    let mut r1 = new_primary(&[first, second.clone()]);
    assert!(r1.replica.summary().ready);
    r1.operation(CLIENT, SESSION, 2, "y");
    assert_eq!(replies(&r1), []);
    let (op, checksum) = (second.header().op, second.header().checksum);
    r1.hear(2, 1, Kind::PrepareOk { op, checksum, commit_min: OpNumber(0) });
    assert_eq!(r1.applied, ["x"]);
    r1.operation(CLIENT, SESSION, 2, "y");
    assert!(r1.sent().iter().any(|kind| matches!(kind, Kind::Prepare { .. })), "taken");
    let gone = Session { slot: 9, number: OpNumber(0) };
    r1.operation(CLIENT, gone, 1, "z");
    assert_eq!(
        replies(&r1),
        [ClientReplyKind::Evicted { session: gone, number: RequestNumber(1) }]
    );
}

/// The registrations that a new primary has handed to its service are in the client-table already:
/// to count them as under way would lock their clients out once their sessions are evicted.
#[test]
fn a_client_whose_registration_was_inherited_may_register_again_after_its_eviction() {
    let first = entry(&root(), 0, vec![register()]);
    let second = entry(first.header(), 0, vec![operation(SESSION, 1, "x")]);
    let third = entry(second.header(), 0, vec![operation(SESSION, 2, "y")]);
    let constants = Constants { sessions: 10, ..lone::constants() };
    let config = lone::config(3, 1, constants);
    let mut r1 = Lone::with(config, Stored::formatted(root()));
    r1.automatic_apply = false;
    r1.hear(0, 0, prepare(&first, &root()));
    r1.hear(0, 0, prepare(&second, &root()));
    r1.sync();
    // r2 holds a third entry, which the new primary has to fetch before it is ready.
    r1.timeout(Timer::PrimarySilence);
    r1.hear(2, 0, Kind::StartViewChange { log_view: group::VIEW_ZERO });
    r1.sync();
    r1.hear(2, 1, do_view_change(0, &[first.clone(), second.clone(), third.clone()], "ppp", 0));
    r1.sync();
    let ok = |entry: &Entry<group::Body>| Kind::PrepareOk {
        op: entry.header().op,
        checksum: entry.header().checksum,
        commit_min: OpNumber(0),
    };
    r1.hear(2, 1, ok(&first));
    assert_eq!(r1.applies.len(), 1, "the registration is with the service");
    r1.hear(2, 1, Kind::Entry { entry: third.clone() });
    assert!(r1.replica.summary().ready);
    r1.sync();
    r1.hear(2, 1, ok(&third));
    r1.automatic_apply = true;
    r1.timeout(Timer::Ping);
    for client in 1..=9 {
        r1.request(client, 1, "touch");
        r1.sync();
    }
    let last = |r1: &Lone| *r1.replica.header(r1.replica.summary().op).unwrap();
    let ok_last = |r1: &mut Lone| {
        let header = last(r1);
        let (op, checksum) = (header.op, header.checksum);
        r1.hear(2, 1, Kind::PrepareOk { op, checksum, commit_min: OpNumber(0) });
    };
    ok_last(&mut r1);
    r1.client(101, ClientRequestKind::Register);
    r1.sync();
    ok_last(&mut r1);
    r1.operation(CLIENT, SESSION, 3, "z");
    assert_eq!(
        replies(&r1),
        [ClientReplyKind::Evicted { session: SESSION, number: RequestNumber(3) }]
    );
    r1.client(CLIENT, ClientRequestKind::Register);
    assert_eq!(r1.ignored(), []);
    r1.sync();
    ok_last(&mut r1);
    assert!(matches!(replies(&r1)[..], [ClientReplyKind::Registered { .. }]));
}

/// A new primary has not executed yet the registration that takes a session's place. What the old session still asks for
/// must not hide what the new one has in the pipeline already: it would be prepared again.
#[test]
fn a_session_whose_place_is_taken_in_the_pipeline_is_not_served_any_more() {
    let (old, new) =
        (Session { slot: 0, number: OpNumber(0) }, Session { slot: 0, number: OpNumber(1) });
    let first = entry(&root(), 0, vec![register()]);
    let second = entry(first.header(), 0, vec![operation(new, 1, "x")]);
    let constants = Constants { sessions: 9, ..lone::constants() };
    let mut r1 = Lone::with(lone::config(3, 1, constants), Stored::formatted(root()));
    for inherited in [&first, &second] {
        r1.hear(0, 0, prepare(inherited, &root()));
    }
    r1.sync();
    take_over(&mut r1);
    r1.operation(1, old, 1, "late");
    assert_eq!(r1.ignored(), [Ignored::InPipeline]);
    let (op, checksum) = (first.header().op, first.header().checksum);
    r1.hear(2, 1, Kind::PrepareOk { op, checksum, commit_min: OpNumber(0) });
    r1.operation(CLIENT, new, 1, "x");
    assert_eq!(r1.ignored(), [Ignored::InPipeline]);
    r1.operation(1, old, 1, "late");
    assert_eq!(replies(&r1), [ClientReplyKind::Evicted { session: old, number: RequestNumber(1) }]);
}

/// A client's request with a span, at a time of the primary's clock.
fn spanned(lone: &mut Lone, client: u128, number: u64, span: u8, body: group::Body, at: u64) {
    let kind = ClientRequestKind::Operation {
        session: Session { slot: client as u32 - 1, number: OpNumber(0) },
        number: RequestNumber(number),
        span,
        digest: Checksum::of(body.as_bytes()),
        body,
    };
    let request = ClientRequest {
        cluster: group::CLUSTER,
        client: ClientId(client),
        view: group::VIEW_ZERO,
        kind,
    };
    lone.step(Event::Request {
        request,
        subject: Subject::default(),
        at: Timestamp(at),
        now: Moment::ZERO,
    });
}

/// Completes writes until there are none: what waited for the first is written with the next.
fn sync_all(lone: &mut Lone) {
    while !lone.writes.is_empty() {
        lone.sync();
    }
}

/// Protocol.md 5.10: the window's edge. So many requests are under way as the window allows and not one
/// more, each keeps its own reply, and the next one acknowledges them.
#[test]
fn a_window_of_requests_is_taken_in_order_and_not_one_more() {
    const NAMES: [&str; 4] = ["1", "2", "3", "4"];
    let constants = Constants { window: 4, ..lone::constants() };
    let mut r0 = Lone::with(lone::config(1, 0, constants), Stored::formatted(root()));
    for (number, name) in (1..).zip(NAMES) {
        spanned(&mut r0, 1, number, number as u8 - 1, name, 5);
        assert_eq!(r0.ignored(), []);
    }
    spanned(&mut r0, 1, 5, 4, "5", 5);
    assert_eq!(r0.ignored(), [Ignored::BeyondWindow]);
    sync_all(&mut r0);
    assert_eq!(r0.applied, NAMES);
    spanned(&mut r0, 1, 5, 4, "5", 5);
    assert_eq!(r0.ignored(), [Ignored::BeyondWindow], "executed is not acknowledged");
    let at_op = |number, op, name| {
        let (session, number) = (Session { slot: 0, number: OpNumber(0) }, RequestNumber(number));
        [ClientReplyKind::Reply { session, number, op: OpNumber(op), body: Some(name) }]
    };
    // Three of them waited for the first one's write, and were written as one entry.
    for (number, (name, op)) in (1..).zip(NAMES.into_iter().zip([1, 2, 2, 2])) {
        spanned(&mut r0, 1, number, number as u8 - 1, name, 5);
        assert_eq!(replies(&r0), at_op(number, op, name), "stored");
    }
    spanned(&mut r0, 1, 5, 3, "5", 5);
    r0.sync();
    assert_eq!(replies(&r0), at_op(5, 3, "5"));
    spanned(&mut r0, 1, 1, 0, "1", 5);
    assert_eq!(r0.ignored(), [Ignored::OlderRequest], "the span of the fifth acknowledged it");
    spanned(&mut r0, 1, 2, 0, "2", 5);
    assert_eq!(replies(&r0), at_op(2, 2, "2"), "and not this one");
}

/// Protocol.md 5.10: a request says by its span which replies its client lacks; all others go.
#[test]
fn a_span_acknowledges_the_replies_below_it() {
    let mut r0 = Lone::new(1, 0);
    for (number, name) in (1..).zip(["1", "2", "3"]) {
        spanned(&mut r0, 1, number, number as u8 - 1, name, 5);
        r0.sync();
    }
    spanned(&mut r0, 1, 4, 1, "4", 5);
    spanned(&mut r0, 1, 2, 1, "2", 5);
    assert_eq!(replies(&r0), [reply(1, 2, "2")], "the fourth is not executed yet");
    r0.sync();
    for older in [1, 2] {
        spanned(&mut r0, 1, older, 0, "again", 5);
        assert_eq!(r0.ignored(), [Ignored::OlderRequest]);
    }
    for (number, name) in [(3, "3"), (4, "4")] {
        spanned(&mut r0, 1, number, 0, name, 5);
        assert_eq!(replies(&r0), [reply(1, number, name)]);
    }
    assert_eq!(r0.applied, ["1", "2", "3", "4"]);
}

/// Protocol.md 5.10: what comes after a gap is dropped, and taken when the gap is closed.
#[test]
fn a_gap_in_the_window_keeps_what_comes_after_it_from_being_taken() {
    let mut r0 = Lone::new(1, 0);
    spanned(&mut r0, 1, 1, 0, "1", 5);
    for beyond in [3, 4] {
        spanned(&mut r0, 1, beyond, beyond as u8 - 1, "beyond", 5);
        assert_eq!(r0.ignored(), [Ignored::RequestGap]);
    }
    spanned(&mut r0, 1, 2, 1, "2", 5);
    spanned(&mut r0, 1, 3, 2, "3", 5);
    assert_eq!(r0.ignored(), []);
    spanned(&mut r0, 1, 2, 1, "2", 5);
    assert_eq!(r0.ignored(), [Ignored::InPipeline]);
    sync_all(&mut r0);
    assert_eq!(r0.applied, ["1", "2", "3"]);
}

/// Protocol.md 5.10; section 4.2, step 4: a new primary goes on where the log it inherited ends.
#[test]
fn a_new_primary_takes_what_follows_the_part_of_a_window_that_it_inherited() {
    let log = chain(&root(), 0, &["1", "2"]);
    let mut r1 = new_primary(&log);
    for (number, body) in [(1, "1"), (2, "2")] {
        spanned(&mut r1, 1, number, number as u8 - 1, body, 5);
        assert_eq!(r1.ignored(), [Ignored::InPipeline]);
    }
    spanned(&mut r1, 1, 4, 3, "4", 5);
    assert_eq!(r1.ignored(), [Ignored::RequestGap]);
    spanned(&mut r1, 1, 3, 2, "3", 5);
    let prepared = r1.sent().into_iter().find_map(|kind| {
        let Kind::Prepare { entry, .. } = kind else { return None };
        Some(entry.requests().to_vec())
    });
    let session = Session { slot: 0, number: OpNumber(0) };
    let (number, digest, body) = (RequestNumber(3), Checksum::of(b"3"), "3");
    let third = Request::Operation { session, number, span: 2, digest, body };
    assert_eq!(prepared, Some(vec![third]));
}

/// The widest window that a byte's span allows, and the widths that no cluster has.
#[test]
fn a_window_is_1_to_256_requests_wide() {
    let configured = |window| {
        let constants = Constants { window, ..lone::constants() };
        let configuration = Configuration::of_replicas(1).unwrap();
        Config::new(group::CLUSTER, vsr_core::ReplicaId(0), configuration, constants)
    };
    assert!(configured(0).is_err());
    assert!(configured(257).is_err());
    let mut r0 = Lone::with(configured(256).unwrap(), Stored::formatted(root()));
    for number in 1..=256 {
        spanned(&mut r0, 1, number, (number - 1) as u8, "x", 5);
        assert_eq!(r0.ignored(), []);
        r0.sync();
    }
    assert_eq!(r0.applied.len(), 256);
    spanned(&mut r0, 1, 1, 0, "x", 5);
    assert_eq!(replies(&r0), [reply(1, 1, "x")], "the first of them is kept");
    spanned(&mut r0, 1, 257, u8::MAX, "x", 5);
    r0.sync();
    spanned(&mut r0, 1, 1, 0, "x", 5);
    assert_eq!(r0.ignored(), [Ignored::OlderRequest]);
}

/// Protocol.md 5.10: a session expires when an entry says that it was idle for longer than the expiry,
/// and not at the expiry itself. Sessions from genesis count from the first entry.
#[test]
fn a_session_expires_by_the_entries_time_and_not_before() {
    let constants = Constants { session_expiry: 10, ..lone::constants() };
    let mut r0 = Lone::with(lone::config(1, 0, constants), Stored::formatted(root()));
    let sessions = |r0: &Lone| r0.replica.summary().sessions;
    spanned(&mut r0, 1, 1, 0, "1", 100);
    r0.sync();
    spanned(&mut r0, 2, 1, 0, "1", 105);
    r0.sync();
    spanned(&mut r0, 2, 2, 0, "2", 110);
    r0.sync();
    assert_eq!(sessions(&r0), 9, "idle for 10, not longer");
    spanned(&mut r0, 2, 3, 0, "3", 111);
    assert_eq!(sessions(&r0), 9, "nothing expires before an entry is executed");
    r0.sync();
    assert_eq!(sessions(&r0), 1, "all but the second were last used at 100");
    spanned(&mut r0, 1, 2, 0, "2", 111);
    let (session, number) = (Session { slot: 0, number: OpNumber(0) }, RequestNumber(2));
    assert_eq!(replies(&r0), [ClientReplyKind::Evicted { session, number }]);
    spanned(&mut r0, 2, 4, 0, "4", 1_000);
    r0.sync();
    let session = Session { slot: 1, number: OpNumber(0) };
    let (number, op, body) = (RequestNumber(4), OpNumber(5), Some("4"));
    let done = ClientReplyKind::Reply { session, number, op, body };
    assert_eq!(replies(&r0), [done], "the entry that comes late uses the session itself");
}

/// Protocol.md 5.10: who waits for requests in the pipeline is told at once that their session is gone,
/// from the first that will not be executed on; who waits for nothing is not.
#[test]
fn an_eviction_is_told_at_once_to_a_client_with_requests_in_the_pipeline() {
    let constants = Constants { sessions: 9, ..lone::constants() };
    let mut r0 = Lone::with(lone::config(1, 0, constants), Stored::formatted(root()));
    spanned(&mut r0, 1, 1, 0, "1", 5);
    r0.sync();
    for client in 2..=9 {
        spanned(&mut r0, client, 1, 0, "touch", 5);
        r0.sync();
    }
    r0.client(CLIENT, ClientRequestKind::Register);
    spanned(&mut r0, 1, 2, 0, "2", 5);
    spanned(&mut r0, 1, 3, 1, "3", 5);
    r0.sync();
    let told = |session, number| ClientReplyKind::Evicted { session, number };
    let old = Session { slot: 0, number: OpNumber(0) };
    assert_eq!(replies(&r0)[0], told(old, RequestNumber(2)));
    assert!(!r0.applied.contains(&"2") && !r0.applied.contains(&"3"));
    r0.client(CLIENT + 1, ClientRequestKind::Register);
    r0.sync();
    let evicted = |kind: &ClientReplyKind<_>| matches!(kind, ClientReplyKind::Evicted { .. });
    assert!(!replies(&r0).iter().any(evicted), "the second client waits for nothing");
    assert_eq!(r0.replica.summary().sessions, 9);
}

/// Bytes that are not those that the client sent are refused, however few; and too many, whatever they are.
#[test]
fn an_operation_of_another_digest_is_refused_and_so_is_one_too_large() {
    let limits = Constants { request_bytes: 4, ..lone::constants() };
    let kind = |body: group::Body, of: group::Body| ClientRequestKind::Operation {
        session: Session { slot: 0, number: OpNumber::ZERO },
        number: RequestNumber(1),
        span: 0,
        digest: Checksum::of(of.as_bytes()),
        body,
    };
    for (body, of, taken) in
        [("four", "four", true), ("four", "five", false), ("fives", "fives", false)]
    {
        let mut r0 = Lone::with(lone::config(1, 0, limits), Stored::formatted(root()));
        r0.client(1, kind(body, of));
        r0.sync();
        let refused = replies(&r0).iter().any(|reply| {
            matches!(reply, ClientReplyKind::Refused { reason: Refusal::Malformed, .. })
        });
        assert_eq!(r0.applied, if taken { vec![body] } else { vec![] });
        assert_eq!(r0.replica.summary().op.0, u64::from(taken), "refused {refused}");
    }
}

/// Only the primary answers: its word is that of the group.
#[test]
fn a_backup_executes_a_registration_and_says_nothing() {
    let mut r1 = Lone::new(3, 1);
    let log = [entry(&root(), 0, vec![register()])];
    r1.hear(0, 0, prepare(&log[0], log[0].header()));
    r1.sync();
    assert_eq!(r1.replica.summary().commit_min, OpNumber(1));
    assert_eq!(replies(&r1), []);
}
