//! The client's half of the protocol: sessions, numbers, and certainty about what was done.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use vsr_core::{
    CallId, Client, ClientEffect, ClientEvent, ClientId, ClientReply, ClientReplyKind,
    ClientRequest, ClientRequestKind, ClusterId, Epoch, OpNumber, Outcome, Refusal, ReplicaId,
    RequestNumber, Session, ViewNumber,
};

const CLUSTER: ClusterId = ClusterId(7);
const CLIENT: ClientId = ClientId(1);
const SESSION: Session = Session { slot: 3, number: OpNumber(9) };

type Effects = Vec<ClientEffect<&'static str>>;

fn client() -> Client<&'static str> {
    let replicas = [ReplicaId(0), ReplicaId(1), ReplicaId(2)];
    Client::with_session(CLUSTER, CLIENT, &replicas, SESSION, RequestNumber(1))
}

fn step(client: &mut Client<&'static str>, event: ClientEvent<&'static str>) -> Effects {
    let mut effects = Vec::new();
    client.step(event, &mut effects);
    effects
}

fn reply(view: u64, kind: ClientReplyKind<&'static str>) -> ClientEvent<&'static str> {
    ClientEvent::Reply(ClientReply {
        cluster: CLUSTER,
        epoch: Epoch::ZERO,
        view: ViewNumber(view),
        client: CLIENT,
        kind,
    })
}

fn outcome(effects: &Effects) -> Option<&Outcome<&'static str>> {
    effects.iter().find_map(|effect| match effect {
        ClientEffect::Done { outcome, .. } => Some(outcome),
        ClientEffect::Send { .. }
        | ClientEffect::Broadcast { .. }
        | ClientEffect::Arm { .. }
        | ClientEffect::Disarm
        | ClientEffect::Registered { .. }
        | ClientEffect::Evicted { .. } => None,
    })
}

/// Paper, section 4.1, step 1: the request-number grows by one with each operation.
#[test]
fn operations_are_numbered_without_gaps_and_only_the_matching_reply_counts() {
    let mut client = client();
    for number in 1..=3 {
        let effects = step(&mut client, ClientEvent::Submit { call: CallId(0), body: "x" });
        let ClientEffect::Send { to, request } = &effects[0] else { panic!("{effects:?}") };
        assert_eq!(*to, ReplicaId(0));
        let ClientRequestKind::Operation { number: sent, .. } = request.kind else { panic!() };
        assert_eq!(sent, RequestNumber(number));
        for (answered, done) in [(number - 1, false), (number, true), (number, false)] {
            let kind = ClientReplyKind::Reply {
                session: SESSION,
                number: RequestNumber(answered),
                op: OpNumber(number),
                body: Some("ok"),
            };
            let effects = step(&mut client, reply(0, kind));
            assert_eq!(outcome(&effects).is_some(), done, "reply {answered} to {number}");
        }
    }
}

#[test]
fn without_an_answer_the_request_goes_to_every_replica() {
    let mut client = client();
    let _ = step(&mut client, ClientEvent::Submit { call: CallId(0), body: "x" });
    let effects = step(&mut client, ClientEvent::Timeout);
    assert!(matches!(effects[0], ClientEffect::Broadcast { .. }));
    assert_eq!(effects[1], ClientEffect::Arm { attempt: 1 });
}

#[test]
fn word_of_a_later_view_makes_it_send_there_at_once() {
    let mut client = client();
    let _ = step(&mut client, ClientEvent::Submit { call: CallId(0), body: "x" });
    let effects = step(&mut client, ClientEvent::Inform { view: ViewNumber(4) });
    assert!(matches!(effects[0], ClientEffect::Send { to: ReplicaId(1), .. }));
    assert!(step(&mut client, ClientEvent::Inform { view: ViewNumber(3) }).is_empty());
}

#[test]
fn an_operation_that_was_sent_and_not_answered_is_unknown_and_ends_the_session() {
    let mut client = client();
    let _ = step(&mut client, ClientEvent::Submit { call: CallId(0), body: "x" });
    let effects = step(&mut client, ClientEvent::GiveUp { call: CallId(0) });
    assert_eq!(outcome(&effects), Some(&Outcome::Unknown));
    assert!(client.is_abandoned());
    assert!(step(&mut client, ClientEvent::Submit { call: CallId(0), body: "y" }).is_empty());
}

#[test]
fn an_operation_whose_only_copy_was_refused_is_not_done_and_its_number_is_used_again() {
    let mut client = client();
    let _ = step(&mut client, ClientEvent::Submit { call: CallId(0), body: "x" });
    let refused = ClientReplyKind::Refused {
        session: Some(SESSION),
        number: RequestNumber(1),
        reason: Refusal::Busy,
    };
    assert_eq!(outcome(&step(&mut client, reply(0, refused))), None);
    let effects = step(&mut client, ClientEvent::GiveUp { call: CallId(0) });
    assert_eq!(outcome(&effects), Some(&Outcome::NotDone(Some(Refusal::Busy))));
    assert!(client.is_ready());
    assert_eq!(client.number(), RequestNumber(1));
}

/// The refusals of a copy that was sent again come one after another, and an operation that is
/// refused for good gives its number to the next one.
#[test]
fn a_refusal_that_may_be_an_earlier_operations_is_not_believed() {
    let mut client = client();
    let _ = step(&mut client, ClientEvent::Submit { call: CallId(0), body: "too large" });
    let _ = step(&mut client, ClientEvent::Timeout);
    let refused = ClientReplyKind::Refused {
        session: Some(SESSION),
        number: RequestNumber(1),
        reason: Refusal::Malformed,
    };
    let effects = step(&mut client, reply(0, refused.clone()));
    assert_eq!(outcome(&effects), Some(&Outcome::NotDone(Some(Refusal::Malformed))));
    let _ = step(&mut client, ClientEvent::Submit { call: CallId(0), body: "x" });
    assert_eq!(outcome(&step(&mut client, reply(0, refused))), None);
    let effects = step(&mut client, ClientEvent::GiveUp { call: CallId(0) });
    assert_eq!(outcome(&effects), Some(&Outcome::Unknown));
}

/// The word that the session is gone may answer an old copy of an earlier operation, long after
/// the outstanding one was executed: to move that one to a new session would execute it twice.
#[test]
fn an_operation_does_not_move_to_a_new_session_if_any_was_sent_twice_in_the_old_one() {
    let mut client = client();
    let _ = step(&mut client, ClientEvent::Submit { call: CallId(0), body: "x" });
    let _ = step(&mut client, ClientEvent::Timeout);
    let done = ClientReplyKind::Reply {
        session: SESSION,
        number: RequestNumber(1),
        op: OpNumber(1),
        body: Some("ok"),
    };
    let _ = step(&mut client, reply(0, done));
    let _ = step(&mut client, ClientEvent::Submit { call: CallId(0), body: "y" });
    let effects = step(
        &mut client,
        reply(0, ClientReplyKind::Evicted { session: SESSION, number: RequestNumber(1) }),
    );
    assert_eq!(outcome(&effects), Some(&Outcome::Unknown));
}

/// Its numbers are used up: the reply to the first operation would be that of an earlier one.
#[test]
fn a_session_that_is_gone_is_not_entered_again() {
    let mut client = client();
    let _ = step(&mut client, ClientEvent::Submit { call: CallId(0), body: "x" });
    let _ = step(
        &mut client,
        reply(0, ClientReplyKind::Evicted { session: SESSION, number: RequestNumber(1) }),
    );
    let late = ClientReplyKind::Registered { session: SESSION, window: 8 };
    assert!(step(&mut client, reply(0, late)).is_empty());
    assert_eq!(client.session(), None);
    let session = Session { slot: 3, number: OpNumber(10) };
    let _ = step(&mut client, reply(0, ClientReplyKind::Registered { session, window: 8 }));
    assert_eq!(client.session(), Some(session));
}

#[test]
fn a_registration_that_is_refused_is_tried_again() {
    let mut effects = Vec::new();
    let mut client = Client::new(CLUSTER, CLIENT, &[ReplicaId(0)], &mut effects);
    let _ = step(&mut client, ClientEvent::Submit { call: CallId(0), body: "x" });
    let refused = ClientReplyKind::Refused {
        session: None,
        number: RequestNumber(0),
        reason: Refusal::DiskFull,
    };
    let effects = step(&mut client, reply(0, refused));
    assert_eq!(outcome(&effects), Some(&Outcome::NotDone(Some(Refusal::DiskFull))));
    assert!(!effects.contains(&ClientEffect::Disarm), "nothing else would send it again");
    let effects = step(&mut client, ClientEvent::Timeout);
    assert!(matches!(effects[0], ClientEffect::Broadcast { .. }));
}

#[test]
fn an_evicted_client_registers_anew_and_its_unaccepted_operation_moves_along() {
    let mut client = client();
    let _ = step(&mut client, ClientEvent::Submit { call: CallId(0), body: "x" });
    let effects = step(
        &mut client,
        reply(0, ClientReplyKind::Evicted { session: SESSION, number: RequestNumber(1) }),
    );
    assert_eq!(effects[0], ClientEffect::Evicted { session: SESSION });
    let ClientEffect::Send { request, .. } = &effects[1] else { panic!("{effects:?}") };
    assert_eq!(request.kind, ClientRequestKind::Register);
    let session = Session { slot: 0, number: OpNumber(20) };
    let effects = step(&mut client, reply(0, ClientReplyKind::Registered { session, window: 8 }));
    assert!(effects.iter().any(|effect| matches!(
        effect,
        ClientEffect::Send {
            request: ClientRequest {
                kind: ClientRequestKind::Operation { number: RequestNumber(1), .. },
                ..
            },
            ..
        }
    )));
}

/// Protocol.md 5.10: clients that evict each other and register at once would execute nothing but
/// registrations. The first time it is certain to help; then it waits, longer each time, until an
/// operation is answered.
#[test]
fn a_client_whose_sessions_go_before_an_answer_waits_before_it_registers_again() {
    let mut client = client();
    let _ = step(&mut client, ClientEvent::Submit { call: CallId(0), body: "x" });
    let evict = |client: &mut Client<&'static str>| {
        let session = client.session().unwrap();
        let number = RequestNumber(1);
        step(client, reply(0, ClientReplyKind::Evicted { session, number }))
    };
    let register = |client: &mut Client<&'static str>, op: u64| {
        let session = Session { slot: 0, number: OpNumber(op) };
        step(client, reply(0, ClientReplyKind::Registered { session, window: 8 }))
    };
    assert!(matches!(evict(&mut client)[1], ClientEffect::Send { .. }), "at once");
    let _ = register(&mut client, 20);
    let effects = evict(&mut client);
    assert_eq!(effects[1..], [ClientEffect::Arm { attempt: 1 }]);
    let effects = step(&mut client, ClientEvent::Timeout);
    let ClientEffect::Broadcast { request } = &effects[0] else { panic!("{effects:?}") };
    assert_eq!(request.kind, ClientRequestKind::Register);
    let _ = register(&mut client, 30);
    assert_eq!(evict(&mut client)[1..], [ClientEffect::Arm { attempt: 2 }], "longer");
    let _ = step(&mut client, ClientEvent::Timeout);
    let _ = register(&mut client, 40);
    let session = client.session().unwrap();
    let (number, op, body) = (RequestNumber(1), OpNumber(41), Some("ok"));
    let effects = step(&mut client, reply(0, ClientReplyKind::Reply { session, number, op, body }));
    assert_eq!(outcome(&effects), Some(&Outcome::Done { op, body }), "it moved along each time");
    let _ = step(&mut client, ClientEvent::Submit { call: CallId(1), body: "y" });
    let number = RequestNumber(2);
    let effects = step(&mut client, reply(0, ClientReplyKind::Evicted { session, number }));
    assert!(matches!(effects[1], ClientEffect::Send { .. }), "at once: the last one was of use");
}

/// The registration was refused before; the operation was not.
#[test]
fn a_refused_registration_says_nothing_of_the_operation_that_is_sent_later() {
    let mut effects = Vec::new();
    let mut client = Client::new(CLUSTER, CLIENT, &[ReplicaId(0)], &mut effects);
    let _ = step(&mut client, ClientEvent::Submit { call: CallId(0), body: "x" });
    let refused = ClientReplyKind::Refused {
        session: Some(SESSION),
        number: RequestNumber(0),
        reason: Refusal::Busy,
    };
    let _ = step(&mut client, reply(0, refused));
    let _ =
        step(&mut client, reply(0, ClientReplyKind::Registered { session: SESSION, window: 8 }));
    let effects = step(&mut client, ClientEvent::GiveUp { call: CallId(0) });
    assert_eq!(outcome(&effects), Some(&Outcome::Unknown));
}

/// A refusal may come late, when its session is gone: it is nothing to the operations of the next one, which
/// have the same numbers.
#[test]
fn a_refusal_in_an_old_session_is_not_believed() {
    let mut client = windowed();
    let evicted = ClientReplyKind::Evicted { session: SESSION, number: RequestNumber(1) };
    let _ = step(&mut client, reply(0, evicted));
    let session = Session { slot: 3, number: OpNumber(10) };
    let _ = step(&mut client, reply(0, ClientReplyKind::Registered { session, window: 8 }));
    let refused =
        |session, reason| ClientReplyKind::Refused { session, number: RequestNumber(2), reason };
    let late = reply(0, refused(Some(SESSION), Refusal::LogFull));
    assert_eq!(outcome(&step(&mut client, late)), None);
    let _ = step(&mut client, reply(0, refused(Some(SESSION), Refusal::Busy)));
    let effects = step(&mut client, ClientEvent::GiveUp { call: CallId(2) });
    assert_eq!(outcome(&effects), Some(&Outcome::Unknown), "it may be executed");
}

/// What was doubted in a session that is gone says nothing of the next one's numbers.
#[test]
fn a_refusal_in_the_new_session_is_believed() {
    let mut client = client();
    let _ = step(&mut client, ClientEvent::Submit { call: CallId(0), body: "x" });
    let _ = step(&mut client, ClientEvent::Timeout);
    let evicted = ClientReplyKind::Evicted { session: SESSION, number: RequestNumber(1) };
    let _ = step(&mut client, reply(0, evicted));
    let session = Session { slot: 3, number: OpNumber(10) };
    let _ = step(&mut client, reply(0, ClientReplyKind::Registered { session, window: 8 }));
    let _ = step(&mut client, ClientEvent::Submit { call: CallId(1), body: "y" });
    let (session, number) = (Some(session), RequestNumber(1));
    let refused = ClientReplyKind::Refused { session, number, reason: Refusal::LogFull };
    let effects = step(&mut client, reply(0, refused));
    assert_eq!(outcome(&effects), Some(&Outcome::NotDone(Some(Refusal::LogFull))));
}

/// Numbers and spans of the operations that are sent, in their order.
fn sent(effects: &Effects) -> Vec<(u64, u8)> {
    let requests = effects.iter().filter_map(|effect| match effect {
        ClientEffect::Send { request, .. } | ClientEffect::Broadcast { request } => Some(request),
        ClientEffect::Arm { .. }
        | ClientEffect::Disarm
        | ClientEffect::Registered { .. }
        | ClientEffect::Evicted { .. }
        | ClientEffect::Done { .. } => None,
    });
    let operations = requests.filter_map(|request| match &request.kind {
        ClientRequestKind::Operation { number, span, .. } => Some((number.0, *span)),
        ClientRequestKind::Register | ClientRequestKind::Read { .. } => None,
    });
    operations.collect()
}

fn outcomes(effects: &Effects) -> Vec<(u64, Outcome<&'static str>)> {
    let done = effects.iter().filter_map(|effect| match effect {
        ClientEffect::Done { call, outcome } => Some((call.0, outcome.clone())),
        ClientEffect::Send { .. }
        | ClientEffect::Broadcast { .. }
        | ClientEffect::Arm { .. }
        | ClientEffect::Disarm
        | ClientEffect::Registered { .. }
        | ClientEffect::Evicted { .. } => None,
    });
    done.collect()
}

/// A client with a window of three, and three operations under way.
fn windowed() -> Client<&'static str> {
    let mut client = client().with_window(3);
    for (call, body) in (1..).zip(["a", "b", "c"]) {
        let effects = step(&mut client, ClientEvent::Submit { call: CallId(call), body });
        assert_eq!(sent(&effects), [(call, call as u8 - 1)]);
    }
    client
}

fn answer(session: Session, number: u64) -> ClientEvent<&'static str> {
    let (number, op) = (RequestNumber(number), OpNumber(10 + number));
    reply(0, ClientReplyKind::Reply { session, number, op, body: Some("ok") })
}

fn done(number: u64) -> Outcome<&'static str> {
    Outcome::Done { op: OpNumber(10 + number), body: Some("ok") }
}

/// Protocol.md 5.10: the window spans from the lowest operation that is not answered, whatever else is.
#[test]
fn a_window_is_full_until_its_lowest_operation_is_answered() {
    let mut client = windowed();
    assert!(!client.is_ready());
    assert!(step(&mut client, ClientEvent::Submit { call: CallId(4), body: "d" }).is_empty());
    assert_eq!(outcomes(&step(&mut client, answer(SESSION, 2))), [(2, done(2))]);
    assert!(!client.is_ready(), "the first is still under way");
    assert_eq!(outcomes(&step(&mut client, answer(SESSION, 1))), [(1, done(1))]);
    assert!(client.is_ready());
    let effects = step(&mut client, ClientEvent::Submit { call: CallId(4), body: "d" });
    assert_eq!(sent(&effects), [(4, 1)]);
    assert_eq!(outcomes(&step(&mut client, answer(SESSION, 2))), [], "once");
}

/// Protocol.md 5.10: a replica takes nothing after a gap, so that all is sent, and in order.
#[test]
fn all_that_is_under_way_is_sent_again_in_order() {
    let mut client = windowed();
    assert_eq!(sent(&step(&mut client, ClientEvent::Timeout)), [(1, 0), (2, 1), (3, 2)]);
    let _ = step(&mut client, answer(SESSION, 1));
    let view = ViewNumber(1);
    assert_eq!(sent(&step(&mut client, ClientEvent::Inform { view })), [(2, 0), (3, 1)]);
}

/// Protocol.md 5.10: a session's operations are executed in order. So where one was not, none after it
/// was; what came before may have been.
#[test]
fn what_was_certainly_not_executed_of_a_window_moves_to_the_new_session() {
    let mut client = windowed();
    let gone = ClientReplyKind::Evicted { session: SESSION, number: RequestNumber(2) };
    assert_eq!(outcomes(&step(&mut client, reply(0, gone))), [(1, Outcome::Unknown)]);
    let session = Session { slot: 0, number: OpNumber(20) };
    let registered = ClientReplyKind::Registered { session, window: 3 };
    assert_eq!(sent(&step(&mut client, reply(0, registered))), [(1, 0), (2, 1)]);
    assert_eq!(outcomes(&step(&mut client, answer(session, 1))), [(2, done(1))]);
    assert_eq!(outcomes(&step(&mut client, answer(session, 2))), [(3, done(2))]);
}

/// A copy that was not executed says nothing of another one.
#[test]
fn nothing_of_a_window_that_was_sent_twice_moves_to_the_new_session() {
    let mut client = windowed();
    let _ = step(&mut client, ClientEvent::Timeout);
    let gone = ClientReplyKind::Evicted { session: SESSION, number: RequestNumber(1) };
    let unknown = [1, 2, 3].map(|call| (call, Outcome::Unknown));
    assert_eq!(outcomes(&step(&mut client, reply(0, gone))), unknown);
}

/// A number that is not used keeps those after it from being executed: they end with it, and so does
/// the session, once what came before is answered.
#[test]
fn a_refusal_in_the_middle_of_a_window_ends_what_comes_after_it_and_the_session() {
    let mut client = windowed();
    let refused = Refusal::LogFull;
    let full = ClientReplyKind::Refused {
        session: Some(SESSION),
        number: RequestNumber(2),
        reason: refused,
    };
    let effects = step(&mut client, reply(0, full));
    let not_done = Outcome::NotDone(Some(refused));
    assert_eq!(outcomes(&effects), [(2, not_done.clone()), (3, not_done)]);
    assert!(!client.is_ready() && !client.is_abandoned());
    assert_eq!(sent(&step(&mut client, ClientEvent::Timeout)), [(1, 0)]);
    assert_eq!(outcomes(&step(&mut client, answer(SESSION, 1))), [(1, done(1))]);
    assert!(client.is_abandoned());
}

/// What its caller gave up is still sent, so that those after it are executed.
#[test]
fn an_operation_given_up_in_a_window_does_not_hold_up_the_others() {
    let mut client = windowed();
    let effects = step(&mut client, ClientEvent::GiveUp { call: CallId(1) });
    assert_eq!(outcomes(&effects), [(1, Outcome::Unknown)]);
    assert_eq!(sent(&step(&mut client, ClientEvent::Timeout)), [(1, 0), (2, 1), (3, 2)]);
    assert_eq!(outcomes(&step(&mut client, answer(SESSION, 1))), [], "nobody waits for it");
    assert!(client.is_ready());
    assert_eq!(outcomes(&step(&mut client, answer(SESSION, 2))), [(2, done(2))]);
    assert_eq!(outcomes(&step(&mut client, answer(SESSION, 3))), [(3, done(3))]);
    assert!(client.is_ready() && client.is_idle());
}
