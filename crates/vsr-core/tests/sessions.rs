//! Sessions and exactly-once execution (paper, sections 4.1 and 4.5; protocol.md, 2.4 and 5.10).
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod group;

use group::lone::{Lone, do_view_change, entry, prepare, root};
use vsr_core::{
    Checksum, ClientId, ClientReply, ClientReplyKind, ClientRequestKind, Effect, Entry, Kind,
    OpNumber, Request, RequestNumber, Session, StatusName, Subject, Timer,
};

const CLIENT: u128 = 100;
const SESSION: Session = Session { slot: 9, number: OpNumber(1) };

fn register() -> Request<group::Body> {
    Request::Register { client: ClientId(CLIENT), subject: Subject::default() }
}

fn operation(session: Session, number: u64, body: group::Body) -> Request<group::Body> {
    let digest = Checksum::of(body.as_bytes());
    Request::Operation { session, number: RequestNumber(number), digest, body }
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
    assert_eq!(replies(&r1), [ClientReplyKind::Evicted { session: gone }]);
}

/// The registrations that a new primary has handed to its service are in the client-table already:
/// to count them as under way would lock their clients out once their sessions are evicted.
#[test]
fn a_client_whose_registration_was_inherited_may_register_again_after_its_eviction() {
    let first = entry(&root(), 0, vec![register()]);
    let second = entry(first.header(), 0, vec![operation(SESSION, 1, "x")]);
    let third = entry(second.header(), 0, vec![operation(SESSION, 2, "y")]);
    let constants = vsr_core::Constants { sessions: 10, ..group::lone::constants() };
    let config = group::lone::config(3, 1, constants);
    let mut r1 = Lone::with(config, vsr_core::Stored::formatted(root()));
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
    assert_eq!(replies(&r1), [ClientReplyKind::Evicted { session: SESSION }]);
    r1.client(CLIENT, ClientRequestKind::Register);
    assert_eq!(r1.ignored(), []);
    r1.sync();
    ok_last(&mut r1);
    assert!(matches!(replies(&r1)[..], [ClientReplyKind::Registered { .. }]));
}
