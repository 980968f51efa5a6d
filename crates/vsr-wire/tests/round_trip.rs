//! Every message comes back as it was sent, and nothing is copied on the way in.

mod common;

use bytes::{Bytes, BytesMut};
use common::{CLUSTER, bytes_of, frames, message};
use proptest::prelude::*;
use vsr_core::{
    Checkpoint, Checksum, ClientId, ClientReply, ClientReplyKind, ClientRequest, ClientRequestKind,
    ClusterId, Committed, Constants, Entry, Epoch, Header, Incarnation, Kept, Kind, Message, Next,
    Nonce, OpNumber, PREDICTION_BYTES_MAX, ReadPolicy, ReadRefusal, Refusal, Release, ReplicaId,
    Request, RequestNumber, Session, StoreId, Subject, SuffixSlot, Timestamp, ViewNumber, Voters,
};
use vsr_wire::{
    CloseReason, FRAME_LIMIT, FrameKind, FrameReader, HELLO_LIMIT, Hello, Incoming, Speaker,
    VERSION, constants_digest, decode, encode_message, encode_request, frame_limit,
};

fn body() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..80).prop_map(Bytes::from)
}

fn op() -> impl Strategy<Value = OpNumber> {
    any::<u64>().prop_map(OpNumber)
}

fn view() -> impl Strategy<Value = ViewNumber> {
    any::<u64>().prop_map(ViewNumber)
}

fn checksum() -> impl Strategy<Value = Checksum> {
    any::<u128>().prop_map(Checksum)
}

fn session() -> impl Strategy<Value = Session> {
    (any::<u32>(), op()).prop_map(|(slot, number)| Session { slot, number })
}

fn nonce() -> impl Strategy<Value = Nonce> {
    (any::<u64>(), any::<u64>())
        .prop_map(|(incarnation, count)| Nonce { incarnation: Incarnation(incarnation), count })
}

fn request() -> impl Strategy<Value = Request<Bytes>> {
    prop_oneof![
        1 => (any::<u128>(), any::<u128>()).prop_map(|(client, subject)| Request::Register {
            client: ClientId(client),
            subject: Subject(subject),
        }),
        3 => (session(), any::<u64>(), any::<u8>(), checksum(), body()).prop_map(
            |(session, number, span, digest, body)| Request::Operation {
                session,
                number: RequestNumber(number),
                span,
                digest,
                body,
            }
        ),
    ]
}

fn entry() -> impl Strategy<Value = Entry<Bytes>> {
    let requests = prop::collection::vec(request(), 0..6);
    let prediction = prop::option::of(body());
    (header(), any::<u32>(), any::<u64>(), requests, prediction).prop_map(
        |(parent, number, time, requests, prediction)| {
            Entry::prepare_predicted(
                &parent,
                Epoch(number),
                ViewNumber(time),
                Release(number),
                Timestamp(time),
                requests,
                prediction,
            )
        },
    )
}

fn header() -> impl Strategy<Value = Header> {
    let numbers = prop::array::uniform4(any::<u32>());
    (checksum(), checksum(), op(), view(), numbers).prop_map(|(parent, body, op, view, numbers)| {
        Header {
            checksum: body,
            parent,
            body: parent,
            op,
            view,
            timestamp: Timestamp(op.0 ^ view.0),
            epoch: Epoch(numbers[0]),
            release: Release(numbers[1]),
            count: numbers[2],
            length: numbers[3],
            ..Header::root(ClusterId(body.0 ^ parent.0))
        }
    })
}

fn commit() -> impl Strategy<Value = Committed> {
    (op(), checksum()).prop_map(|(op, checksum)| Committed { op, checksum })
}

fn slot() -> impl Strategy<Value = SuffixSlot> {
    (prop::option::of(header()), any::<bool>(), any::<bool>())
        .prop_map(|(header, present, nack)| SuffixSlot { header, present, nack })
}

fn kept() -> impl Strategy<Value = Kept> {
    let next = prop::sample::select(&[Next::Unsaid, Next::End, Next::Never, Next::Damaged]);
    (op(), checksum(), op(), op(), op(), op(), next, any::<bool>()).prop_map(
        |(checkpoint, id, trimmed, covered, begins, held, next, lost)| Kept {
            checkpoint,
            id,
            trimmed,
            covered,
            begins,
            held,
            next,
            lost,
        },
    )
}

fn normal_kind() -> impl Strategy<Value = Kind<Bytes>> {
    prop_oneof![
        (view(), op(), commit(), any::<u32>(), kept()).prop_map(
            |(log_view, op, commit, heard, kept)| Kind::Ping {
                log_view,
                op,
                commit,
                heard: Voters(heard),
                kept
            }
        ),
        (entry(), commit()).prop_map(|(entry, commit)| Kind::Prepare { entry, commit }),
        (op(), checksum(), op()).prop_map(|(op, checksum, commit_min)| Kind::PrepareOk {
            op,
            checksum,
            commit_min
        }),
        commit().prop_map(|commit| Kind::Commit { commit }),
        (op(), op()).prop_map(|(first, last)| Kind::GetHeaders { first, last }),
        prop::collection::vec(header(), 0..5).prop_map(|headers| Kind::Headers { headers }),
        prop::collection::vec((op(), checksum()), 0..5)
            .prop_map(|wanted| Kind::GetEntry { wanted }),
        entry().prop_map(|entry| Kind::Entry { entry }),
        (op(), checksum()).prop_map(|(op, checksum)| Kind::Nack { op, checksum }),
    ]
}

fn transfer_kind() -> impl Strategy<Value = Kind<Bytes>> {
    prop_oneof![
        (checksum(), any::<u32>()).prop_map(|(id, offset)| Kind::GetCheckpoint { id, offset }),
        (view(), header(), checksum(), any::<u32>(), any::<u32>(), body()).prop_map(
            |(committed_by, header, id, length, offset, page)| Kind::Checkpoint {
                committed_by,
                checkpoint: Checkpoint { header, id },
                length,
                offset,
                page
            }
        ),
        prop::collection::vec(checksum(), 0..17).prop_map(|wanted| Kind::GetChunk { wanted }),
        body().prop_map(|chunk| Kind::Chunk { chunk }),
        checksum().prop_map(|name| Kind::NoChunk { name }),
        nonce().prop_map(|nonce| Kind::Recovery { nonce }),
        (nonce(), op(), prop::collection::vec(header(), 0..5)).prop_map(
            |(nonce, commit_max, suffix)| Kind::RecoveryResponse { nonce, commit_max, suffix }
        ),
    ]
}

fn view_kind() -> impl Strategy<Value = Kind<Bytes>> {
    prop_oneof![
        view().prop_map(|log_view| Kind::StartViewChange { log_view }),
        (view(), op(), op(), op(), prop::collection::vec(slot(), 0..5)).prop_map(
            |(log_view, op, commit_min, commit_max, suffix)| Kind::DoViewChange {
                log_view,
                op,
                commit_min,
                commit_max,
                suffix
            }
        ),
        (op(), prop::collection::vec(header(), 0..5), prop::option::of(nonce()))
            .prop_map(|(commit_max, suffix, nonce)| Kind::StartView { commit_max, suffix, nonce }),
        (nonce(), prop::option::of(kept()))
            .prop_map(|(nonce, uncertain)| Kind::GetView { nonce, uncertain }),
        (nonce(), any::<bool>()).prop_map(|(nonce, relay)| Kind::ReadProbe { nonce, relay }),
        (nonce(), prop::option::of(op())).prop_map(|(nonce, index)| Kind::ReadOk { nonce, index }),
        (nonce(), prop::collection::vec(request(), 0..6))
            .prop_map(|(nonce, requests)| Kind::PreStep { nonce, requests: requests.into() }),
        (nonce(), body()).prop_map(|(nonce, value)| Kind::PreStepOk { nonce, value }),
    ]
}

fn peer() -> impl Strategy<Value = Incoming> {
    let kind = prop_oneof![normal_kind(), view_kind(), transfer_kind()];
    (any::<u128>(), any::<u32>(), view(), any::<u64>(), kind).prop_map(
        |(cluster, number, view, incarnation, kind)| Incoming::Peer {
            from: ReplicaId(number / 2),
            message: Message {
                cluster: ClusterId(cluster),
                epoch: Epoch(number),
                view,
                incarnation: Incarnation(incarnation),
                kind,
            },
        },
    )
}

fn request_kind() -> impl Strategy<Value = ClientRequestKind<Bytes>> {
    prop_oneof![
        Just(ClientRequestKind::Register),
        (session(), any::<u64>(), any::<u8>(), checksum(), body()).prop_map(
            |(session, number, span, digest, body)| ClientRequestKind::Operation {
                session,
                number: RequestNumber(number),
                span,
                digest,
                body
            }
        ),
        (any::<u64>(), read_policy(), body()).prop_map(|(number, policy, body)| {
            ClientRequestKind::Read { number: RequestNumber(number), policy, body }
        }),
    ]
}

fn read_policy() -> impl Strategy<Value = ReadPolicy> {
    prop_oneof![
        Just(ReadPolicy::Linearizable),
        op().prop_map(|after| ReadPolicy::Causal { after }),
        any::<u32>().prop_map(|age| ReadPolicy::Bounded { age }),
    ]
}

fn reply_kind() -> impl Strategy<Value = ClientReplyKind<Bytes>> {
    let refusals = vec![
        Refusal::Busy,
        Refusal::LogFull,
        Refusal::DiskFull,
        Refusal::NotYours,
        Refusal::Malformed,
        Refusal::Forbidden,
    ];
    let read_refusals = vec![
        ReadRefusal::Busy,
        ReadRefusal::NotConfirmed,
        ReadRefusal::Behind,
        ReadRefusal::NotARead,
        ReadRefusal::Forbidden,
    ];
    prop_oneof![
        (session(), any::<u32>())
            .prop_map(|(session, window)| ClientReplyKind::Registered { session, window }),
        (session(), any::<u64>(), op(), prop::option::of(body())).prop_map(
            |(session, number, op, body)| ClientReplyKind::Reply {
                session,
                number: RequestNumber(number),
                op,
                body
            }
        ),
        (session(), any::<u64>()).prop_map(|(session, number)| ClientReplyKind::Evicted {
            session,
            number: RequestNumber(number)
        }),
        any::<u32>().prop_map(|primary| ClientReplyKind::Redirect { primary: ReplicaId(primary) }),
        (prop::option::of(session()), any::<u64>(), prop::sample::select(refusals)).prop_map(
            |(session, number, reason)| {
                ClientReplyKind::Refused { session, number: RequestNumber(number), reason }
            }
        ),
        (any::<u64>(), op(), body()).prop_map(|(number, op, body)| {
            ClientReplyKind::ReadReply { number: RequestNumber(number), op, body }
        }),
        (any::<u64>(), prop::sample::select(read_refusals)).prop_map(|(number, reason)| {
            ClientReplyKind::ReadRefused { number: RequestNumber(number), reason }
        }),
    ]
}

fn client() -> impl Strategy<Value = Incoming> {
    prop_oneof![
        (any::<u128>(), any::<u128>(), view(), request_kind()).prop_map(
            |(cluster, client, view, kind)| Incoming::Request(ClientRequest {
                cluster: ClusterId(cluster),
                client: ClientId(client),
                view,
                kind
            })
        ),
        (any::<u128>(), any::<u128>(), view(), any::<u32>(), reply_kind()).prop_map(
            |(cluster, client, view, number, kind)| Incoming::Reply {
                from: ReplicaId(number / 2),
                reply: ClientReply {
                    cluster: ClusterId(cluster),
                    epoch: Epoch(number),
                    view,
                    client: ClientId(client),
                    kind
                }
            }
        ),
    ]
}

/// Every field, where the core's own comparison takes an entry for its checksum.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "all other messages are compared field by field already"
)]
fn in_full(incoming: &Incoming) -> String {
    let requests = match incoming {
        Incoming::Peer {
            message: Message { kind: Kind::Prepare { entry, .. } | Kind::Entry { entry }, .. },
            ..
        } => Some((entry.header(), entry.requests(), entry.prediction())),
        _ => None,
    };
    format!("{incoming:?} {requests:?}")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_message_comes_back_as_it_was(incoming in prop_oneof![peer(), client()]) {
        let decoded = message(&bytes_of(&incoming));
        prop_assert_eq!(decoded.as_ref().map(in_full), Ok(in_full(&incoming)));
        prop_assert_eq!(decoded, Ok(incoming));
    }
}

#[test]
fn operations_are_slices_of_the_frame_they_came_in() {
    let incoming = common::samples()
        .into_iter()
        .find(|(name, _)| *name == "prepare")
        .map(|(_, incoming)| bytes_of(&incoming));
    let frame = frames(&incoming.unwrap()).unwrap().remove(0);
    let within = frame.body().as_ptr_range();
    let Ok(Incoming::Peer { message, .. }) = decode(&frame) else {
        panic!("a PREPARE is a peer's message")
    };
    let Kind::Prepare { entry, .. } = message.kind else { panic!("it was a PREPARE") };
    assert!(entry.is_intact());
    let Request::Operation { body, .. } = &entry.requests()[1] else {
        panic!("the second request is an operation")
    };
    assert_eq!(&body[..], b"put x 1");
    assert!(within.contains(&body.as_ptr()), "the operation was copied");
}

/// The largest PREPARE of a cluster: a batch as full as it can be, or one operation of the greatest
/// length.
#[test]
fn the_frame_limit_holds_the_largest_prepare_of_any_constants() {
    let largest = Constants {
        batch_requests: 65_536,
        batch_bytes: 1 << 20,
        request_bytes: 16 << 20,
        ..Constants::DEFAULT
    };
    for constants in [Constants::DEFAULT, largest] {
        constants.check().unwrap();
        let operation = |length: u32| Request::Operation {
            session: Session::default(),
            number: RequestNumber(1),
            span: 0,
            digest: Checksum(0),
            body: Bytes::from(vec![0; length as usize]),
        };
        let mut full = vec![operation(0); constants.batch_requests as usize - 1];
        full.push(operation(constants.request_bytes.max(constants.batch_bytes)));
        let entry = Entry::prepare_predicted(
            &Header::root(CLUSTER),
            Epoch(0),
            ViewNumber(0),
            Release(1),
            Timestamp(0),
            full,
            Some(Bytes::from(vec![0; PREDICTION_BYTES_MAX])),
        );
        let commit = Committed { op: OpNumber(0), checksum: Checksum(0) };
        let message = Message {
            cluster: CLUSTER,
            epoch: Epoch(0),
            view: ViewNumber(0),
            incarnation: Incarnation(1),
            kind: Kind::Prepare { entry, commit },
        };
        let mut out = BytesMut::new();
        encode_message(&message, ReplicaId(0), &mut out).unwrap();
        let limit = frame_limit(&constants);
        assert!(out.len() <= limit as usize, "{} of {limit}", out.len());
        let mut reader = FrameReader::new(limit);
        reader.push(&out);
        assert!(matches!(reader.next_frame(), Ok(Some(_))));
    }
}

#[test]
fn an_operation_beyond_any_limit_is_not_sent() {
    let request = ClientRequest {
        cluster: CLUSTER,
        client: ClientId(1),
        view: ViewNumber(0),
        kind: ClientRequestKind::Operation {
            session: Session::default(),
            number: RequestNumber(1),
            span: 0,
            digest: Checksum(0),
            body: Bytes::from(vec![0; 32 << 20]),
        },
    };
    let mut out = BytesMut::new();
    let result = encode_request(&request, &mut out);
    assert!(matches!(result, Err(vsr_wire::WireError::TooLarge { .. })));
    assert!(out.is_empty());
}

fn hello(speaker: Speaker) -> Hello {
    Hello {
        version: VERSION,
        cluster: CLUSTER,
        speaker,
        replicas: 3,
        epoch: Epoch(0),
        constants: constants_digest(&Constants::DEFAULT),
        frame_limit: FRAME_LIMIT,
    }
}

fn replica(id: u32) -> Hello {
    let (incarnation, starts, store) = (Incarnation(1), [3; 16], StoreId(7));
    hello(Speaker::Replica { id: ReplicaId(id), incarnation, starts, store })
}

#[test]
fn hellos_that_differ_are_refused_for_the_reason() {
    let ours = replica(0);
    let constants = Constants { pipeline: 33, ..Constants::DEFAULT };
    let client = hello(Speaker::Client { id: ClientId(1) });
    let cases = [
        (replica(1), Ok(())),
        (client, Ok(())),
        (replica(0), Err(CloseReason::WrongSender)),
        (Hello { version: 0, ..replica(1) }, Err(CloseReason::WrongVersion)),
        (Hello { cluster: ClusterId(1), ..replica(1) }, Err(CloseReason::WrongCluster)),
        (Hello { cluster: ClusterId(1), ..client }, Err(CloseReason::WrongCluster)),
        (
            Hello { constants: constants_digest(&constants), ..replica(1) },
            Err(CloseReason::ConstantsDiffer),
        ),
        (Hello { replicas: 5, ..replica(1) }, Err(CloseReason::WrongGroup)),
        // Mid-way through a change of members, the numbers differ lawfully.
        (Hello { replicas: 5, epoch: Epoch(1), ..replica(1) }, Ok(())),
    ];
    for (theirs, expected) in cases {
        assert_eq!(ours.agree(&theirs), expected, "{theirs:?}");
    }
    assert_eq!(client.agree(&client), Err(CloseReason::WrongSender));
}

#[test]
fn a_hello_fits_the_limit_of_those_who_have_not_said_it_yet() {
    assert!(bytes_of(&Incoming::Hello(replica(1))).len() <= HELLO_LIMIT as usize);
}

#[test]
fn reasons_and_kinds_are_known_by_their_numbers() {
    for reason in CloseReason::ALL {
        assert_eq!(CloseReason::of(reason.code()), Some(reason));
    }
    for kind in FrameKind::ALL {
        assert_eq!(FrameKind::of(kind.number()), Some(kind));
    }
    assert_eq!(CloseReason::of(0), None);
    assert_eq!(FrameKind::of(0), None);
}
