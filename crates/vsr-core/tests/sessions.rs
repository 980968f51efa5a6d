//! Sessions and exactly-once execution (paper, sections 4.1 and 4.5; protocol.md, 2.4 and 5.10).
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod group;

use group::lone::{self, Lone, chain, do_view_change, entry, prepare, root};
use vsr_core::{
    Checksum, ClientId, ClientReply, ClientReplyKind, ClientRequest, ClientRequestKind, Constants,
    Effect, Entry, Event, Ignored, Kind, OpNumber, Refusal, Request, RequestNumber, Session,
    StatusName, Stored, Subject, Timer, Timestamp,
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
    let event = |kind| Event::Request { request: request(kind), subject, at: Timestamp(0) };
    r0.step(event(ClientRequestKind::Register));
    let refused = |number| ClientReplyKind::Refused {
        number: RequestNumber(number),
        reason: Refusal::NotYours,
    };
    assert_eq!(replies(&r0), [refused(0)]);
    let session = Session { slot: 0, number: OpNumber(0) };
    let (number, digest, body) = (RequestNumber(1), Checksum::of(b"x"), "x");
    r0.step(event(ClientRequestKind::Operation { session, number, span: 0, digest, body }));
    assert_eq!(replies(&r0), [refused(1)]);
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
        [ClientReplyKind::Evicted { session: SESSION, number: RequestNumber(1) }]
    );
    r1.client(CLIENT, ClientRequestKind::Register);
    assert_eq!(r1.ignored(), []);
    r1.sync();
    ok_last(&mut r1);
    assert!(matches!(replies(&r1)[..], [ClientReplyKind::Registered { .. }]));
}
