//! Sessions across views (paper, section 4.1, steps 1 and 2).

mod group;

use group::{CLUSTER, Group};
use vsr_core::{
    Checksum, ClientId, ClientReplyKind, ClientRequest, ClientRequestKind, Event, OpNumber,
    RequestNumber, Session, Subject, Timer, Timestamp, ViewNumber,
};

fn request(kind: ClientRequestKind<&'static str>) -> Event<&'static str> {
    let (client, view) = (ClientId(100), ViewNumber::ZERO);
    let request = ClientRequest { cluster: CLUSTER, client, view, kind };
    Event::Request { request, subject: Subject::default(), at: Timestamp(5) }
}

/// "Evicted" means that nothing of the session will be executed any more. A new primary that
/// inherited the registration and has not executed it yet does not know that, and does not say it.
#[test]
fn a_session_whose_registration_was_inherited_is_not_called_evicted() {
    let mut group = Group::new(3);
    group.settle();
    group.step(0, request(ClientRequestKind::Register));
    group.deliver(0, 1);
    group.deliver(1, 0);
    let registered = group.replies.pop().map(|reply| reply.kind);
    let Some(ClientReplyKind::Registered { session }) = registered else {
        panic!("{registered:?}")
    };
    assert_eq!(session, Session { slot: 9, number: OpNumber(1) });
    group.crash(0);
    group.timeout(1, Timer::PrimarySilence);
    group.timeout(2, Timer::PrimarySilence);
    while !group.replica(1).summary().ready {
        assert!(group.deliver(1, 2).is_some() | group.deliver(2, 1).is_some());
    }
    assert_eq!(group.replica(1).summary().commit_min, OpNumber::ZERO, "it is inherited only");
    let operation = || {
        let (number, body) = (RequestNumber(1), "x");
        let digest = Checksum::of(body.as_bytes());
        request(ClientRequestKind::Operation { session, number, digest, body })
    };
    group.step(1, operation());
    assert_eq!(group.replies, []);
    group.settle();
    group.step(1, operation());
    group.settle();
    assert_eq!(group.reply_count(), 1);
}
