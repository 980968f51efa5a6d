//! Each reason why an event changes nothing is given by some event.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod group;

use group::lone::{
    Lone, chain, committed, do_view_change, entry, operation, prepare, root, start_view, stored,
};
use vsr_core::{
    Checksum, ClientId, ClientRequest, ClientRequestKind, ClusterId, Constants, Durability, Epoch,
    Event, Ignored, Incarnation, Kind, Message, Moment, OpNumber, ReplicaId, RequestNumber,
    Session, Stored, StoredSlot, Subject, SuperblockState, Timer, Timestamp, ViewNumber,
};

/// The reasons in the order of their declaration. A new one does not compile before it is listed.
fn after(reason: Ignored) -> Option<Ignored> {
    Some(match reason {
        Ignored::OtherCluster => Ignored::OtherEpoch,
        Ignored::OtherEpoch => Ignored::Stranger,
        Ignored::Stranger => Ignored::OlderView,
        Ignored::OlderView => Ignored::NewerView,
        Ignored::NewerView => Ignored::OlderIncarnation,
        Ignored::OlderIncarnation => Ignored::WrongStatus,
        Ignored::WrongStatus => Ignored::NotFromPrimary,
        Ignored::NotFromPrimary => Ignored::NotPrimary,
        Ignored::NotPrimary => Ignored::Malformed,
        Ignored::Malformed => Ignored::OutOfWindow,
        Ignored::OutOfWindow => Ignored::WrongChecksum,
        Ignored::WrongChecksum => Ignored::Repeated,
        Ignored::Repeated => Ignored::NotAsked,
        Ignored::NotAsked => Ignored::StaleCompletion,
        Ignored::StaleCompletion => Ignored::TimerNotArmed,
        Ignored::TimerNotArmed => Ignored::PrimaryHeard,
        Ignored::PrimaryHeard => Ignored::InPipeline,
        Ignored::InPipeline => Ignored::OlderRequest,
        Ignored::OlderRequest => Ignored::RequestGap,
        Ignored::RequestGap => Ignored::BeyondWindow,
        Ignored::BeyondWindow => Ignored::ClientAhead,
        Ignored::ClientAhead => Ignored::NotStarted,
        Ignored::NotStarted => Ignored::Halted,
        Ignored::Halted => Ignored::HeadUncertain,
        Ignored::HeadUncertain => Ignored::Recovering,
        Ignored::Recovering => return None,
    })
}

/// A replica whose last event is ignored for this reason.
fn ignoring(reason: Ignored) -> Lone {
    let log = chain(&root(), 0, &["a", "b"]);
    let commit = Kind::Commit { commit: committed(&root()) };
    let vote = Kind::StartViewChange { log_view: ViewNumber(0) };
    let mut r0 = Lone::new(3, 0);
    let mut r1 = Lone::new(3, 1);
    match reason {
        Ignored::OtherCluster => r1.step(Event::Message {
            from: ReplicaId(0),
            message: Message { cluster: ClusterId(1), ..message(commit) },
        }),
        Ignored::OtherEpoch => r1.step(Event::Message {
            from: ReplicaId(0),
            message: Message { epoch: Epoch(1), ..message(commit) },
        }),
        Ignored::Stranger => r1.hear(7, 0, commit),
        Ignored::OlderView => {
            r1.hear(2, 2, start_view(&log, 0));
            r1.hear(0, 0, commit);
        }
        Ignored::NewerView => {
            r1.hear(2, 2, commit.clone());
            r1.hear(2, 2, commit);
        }
        Ignored::OlderIncarnation => {
            r1.hear_from(0, 0, 2, commit.clone());
            r1.hear_from(0, 0, 1, commit);
        }
        Ignored::WrongStatus => {
            r1.hear(2, 1, do_view_change(0, &[], "", 0));
            r1.hear(2, 1, Kind::Entry { entry: log[0].clone() });
            return r1;
        }
        Ignored::NotFromPrimary => r1.hear(2, 0, commit),
        Ignored::NotPrimary => r1.step(Event::Operator(vsr_core::Operator::Abdicate)),
        Ignored::Malformed => {
            r1.hear(0, 0, Kind::GetHeaders { first: OpNumber(2), last: OpNumber(1) });
        }
        Ignored::OutOfWindow => {
            r1.hear(0, 0, Kind::GetHeaders { first: OpNumber(1), last: OpNumber(2) });
        }
        Ignored::WrongChecksum => {
            r1.hear(0, 0, prepare(&log[0], &root()));
            let other = entry(&root(), 0, vec![operation(2, 1, "other")]);
            r1.hear(0, 0, prepare(&other, &root()));
        }
        Ignored::Repeated => {
            r1.hear(0, 0, prepare(&log[0], &root()));
            r1.hear(0, 0, Kind::Entry { entry: log[0].clone() });
        }
        Ignored::NotAsked => r1.hear(0, 0, Kind::Entry { entry: log[0].clone() }),
        Ignored::StaleCompletion => {
            r1.step(Event::Applied { op: OpNumber(1), replies: Vec::new() });
        }
        Ignored::TimerNotArmed => r1.timeout(Timer::Heartbeat),
        Ignored::PrimaryHeard => r1.hear(2, 0, vote),
        Ignored::InPipeline => {
            r0.request(1, 1, "x");
            r0.request(1, 1, "x");
            return r0;
        }
        Ignored::OlderRequest => {
            let mut r0 = Lone::new(1, 0);
            for number in [1, 2] {
                r0.request(1, number, "x");
                r0.sync();
            }
            r0.request(1, 1, "x");
            return r0;
        }
        Ignored::RequestGap => {
            r0.request(1, 2, "x");
            return r0;
        }
        Ignored::BeyondWindow => {
            let session = Session { slot: 0, number: OpNumber::ZERO };
            let body = "x";
            r0.client(
                1,
                ClientRequestKind::Operation {
                    session,
                    number: RequestNumber(1),
                    span: u8::MAX,
                    digest: Checksum::of(body.as_bytes()),
                    body,
                },
            );
            return r0;
        }
        Ignored::ClientAhead => {
            let request = ClientRequest {
                cluster: group::CLUSTER,
                client: ClientId(1),
                view: ViewNumber(3),
                kind: ClientRequestKind::Register,
            };
            let subject = Subject::default();
            r0.step(Event::Request { request, subject, at: Timestamp(0), now: Moment::ZERO });
            return r0;
        }
        Ignored::NotStarted => {
            let config = group::lone::config(3, 1, group::lone::constants());
            let mut r1 = Lone::unsynced(config, Stored::formatted(root()));
            r1.hear(0, 0, commit);
            return r1;
        }
        Ignored::Halted => {
            let mut r0 = Lone::new(1, 0);
            r0.automatic_apply = false;
            r0.request(1, 1, "x");
            r0.sync();
            r0.step(Event::Applied { op: OpNumber(1), replies: Vec::new() });
            r0.request(1, 2, "y");
            return r0;
        }
        Ignored::HeadUncertain => {
            let superblock = SuperblockState {
                incarnation: Incarnation(1),
                ..SuperblockState::formatted(root())
            };
            let slots = vec![StoredSlot::Unreadable];
            let mut r1 = Lone::recover(3, 1, stored(superblock, slots));
            r1.hear(0, 0, commit);
            return r1;
        }
        Ignored::Recovering => {
            let superblock = SuperblockState {
                incarnation: Incarnation(1),
                ..SuperblockState::formatted(root())
            };
            let stored = stored(superblock, Vec::new());
            let constants =
                Constants { durability: Durability::Memory, ..group::lone::constants() };
            let mut r1 = Lone::with(group::lone::config(3, 1, constants), stored);
            r1.hear(0, 0, commit);
            return r1;
        }
    }
    r1
}

fn message(kind: Kind<group::Body>) -> Message<group::Body> {
    Message {
        cluster: group::CLUSTER,
        epoch: Epoch::ZERO,
        view: ViewNumber(0),
        incarnation: Incarnation(1),
        kind,
    }
}

#[test]
fn every_reason_to_ignore_an_event_is_given_for_some_event() {
    let mut reason = Some(Ignored::OtherCluster);
    while let Some(expected) = reason {
        let lone = ignoring(expected);
        assert_eq!(lone.ignored(), [expected], "{:?}", lone.effects);
        reason = after(expected);
    }
}
