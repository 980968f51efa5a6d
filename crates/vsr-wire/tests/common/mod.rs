//! One sample of every message, and the way from messages to bytes and back.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "every test binary compiles this module and uses its own part of it"
)]

use bytes::{Bytes, BytesMut};
use vsr_core::{
    Checkpoint, Checksum, ClientId, ClientReply, ClientReplyKind, ClientRequest, ClientRequestKind,
    ClusterId, Committed, Entry, Epoch, Header, Incarnation, Kept, Kind, Message, Next, Nonce,
    OpNumber, ReadPolicy, ReadRefusal, Refusal, Release, ReplicaId, Request, RequestNumber,
    Session, StoreId, Subject, SuffixSlot, Timestamp, ViewNumber, Voters,
};
use vsr_wire::{
    CloseReason, FRAME_LIMIT, Frame, FrameReader, Hello, Incoming, Sender, Speaker, WireError,
    decode, encode_close, encode_hello, encode_inform, encode_message, encode_reply,
    encode_request, encode_status_reply, encode_status_request,
};

pub const CLUSTER: ClusterId = ClusterId(0x0011_2233_4455_4677_8899_aabb_ccdd_eeff);

/// The frames in `bytes`, as far as they are frames.
pub fn frames(bytes: &[u8]) -> Result<Vec<Frame>, WireError> {
    let mut reader = FrameReader::new(FRAME_LIMIT);
    reader.push(bytes);
    let mut frames = Vec::new();
    while let Some(frame) = reader.next_frame()? {
        frames.push(frame);
    }
    reader.finish().map(|()| frames)
}

/// The one message that `bytes` is.
pub fn message(bytes: &[u8]) -> Result<Incoming, WireError> {
    let frames = frames(bytes)?;
    assert_eq!(frames.len(), 1, "exactly one frame");
    decode(&frames[0])
}

/// The frame of a message. Closes of unknown reasons cannot be said.
pub fn bytes_of(incoming: &Incoming) -> BytesMut {
    let mut out = BytesMut::new();
    match incoming {
        Incoming::Hello(hello) => encode_hello(hello, &mut out),
        Incoming::Close { code } => {
            let reason = CloseReason::of(*code).expect("a reason of this version");
            encode_close(CLUSTER, Sender::Replica(ReplicaId(2)), reason, &mut out);
        }
        Incoming::Peer { from, message } => encode_message(message, *from, &mut out).unwrap(),
        Incoming::Request(request) => encode_request(request, &mut out).unwrap(),
        Incoming::Reply { from, reply } => encode_reply(reply, *from, &mut out).unwrap(),
        Incoming::Inform { cluster, from, epoch, view, primary } => {
            encode_inform(*cluster, *from, *epoch, *view, *primary, &mut out)
        }
        Incoming::StatusRequest { cluster } => encode_status_request(*cluster, &mut out),
        Incoming::StatusReply { cluster, from, json } => {
            encode_status_reply(*cluster, *from, json, &mut out).unwrap()
        }
    }
    out
}

/// `bytes` with a header that vouches for them: what a sender with a bug would send.
pub fn vouched(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let length = (bytes.len() - 48) as u32;
    let body = crc32c::crc32c(&bytes[48..]);
    bytes[12..16].copy_from_slice(&length.to_le_bytes());
    bytes[32..36].copy_from_slice(&body.to_le_bytes());
    let header = crc32c::crc32c(&bytes[..44]);
    bytes[44..48].copy_from_slice(&header.to_le_bytes());
    bytes
}

pub fn operation(slot: u32, number: u64, body: &'static [u8]) -> Request<Bytes> {
    Request::Operation {
        session: Session { slot, number: OpNumber(7) },
        number: RequestNumber(number),
        span: number as u8 % 3,
        digest: Checksum::of(body),
        body: Bytes::from_static(body),
    }
}

/// An entry of a registration, an operation and an operation without bytes.
pub fn entry() -> Entry<Bytes> {
    let requests = vec![
        Request::Register { client: ClientId(0xc1), subject: Subject(0x5b) },
        operation(3, 9, b"put x 1"),
        operation(4, 1, b""),
    ];
    Entry::prepare(
        &Header::root(CLUSTER),
        Epoch(1),
        ViewNumber(2),
        Release(3),
        Timestamp(1_700_000_000_000_000_000),
        requests,
    )
}

/// The same with a predicted value.
pub fn predicted_entry(value: &'static [u8]) -> Entry<Bytes> {
    let header = *entry().header();
    Entry::prepare_predicted(
        &Header::root(CLUSTER),
        header.epoch,
        header.view,
        header.release,
        header.timestamp,
        entry().requests().to_vec(),
        Some(Bytes::from_static(value)),
    )
}

fn peer(kind: Kind<Bytes>) -> Incoming {
    Incoming::Peer {
        from: ReplicaId(1),
        message: Message {
            cluster: CLUSTER,
            epoch: Epoch(1),
            view: ViewNumber(2),
            incarnation: Incarnation(5),
            kind,
        },
    }
}

fn reply(kind: ClientReplyKind<Bytes>) -> Incoming {
    Incoming::Reply {
        from: ReplicaId(1),
        reply: ClientReply {
            cluster: CLUSTER,
            epoch: Epoch(1),
            view: ViewNumber(2),
            client: ClientId(0xc1),
            kind,
        },
    }
}

fn request(kind: ClientRequestKind<Bytes>) -> Incoming {
    Incoming::Request(ClientRequest {
        cluster: CLUSTER,
        client: ClientId(0xc1),
        view: ViewNumber(2),
        kind,
    })
}

const SESSION: Session = Session { slot: 3, number: OpNumber(7) };

const NONCE: Nonce = Nonce { incarnation: Incarnation(5), count: 11 };

/// At least one message of every kind, each under the name of its golden file.
pub fn samples() -> Vec<(&'static str, Incoming)> {
    let mut samples = connection_samples();
    samples.extend(normal_samples());
    samples.extend(view_samples());
    samples.extend(client_samples());
    samples
}

fn connection_samples() -> Vec<(&'static str, Incoming)> {
    let hello = |speaker| {
        Incoming::Hello(Hello {
            version: 1,
            cluster: CLUSTER,
            speaker,
            replicas: 3,
            epoch: Epoch(1),
            constants: Checksum(0xabcd),
            frame_limit: FRAME_LIMIT,
        })
    };
    vec![
        (
            "hello-replica",
            hello(Speaker::Replica {
                id: ReplicaId(1),
                incarnation: Incarnation(5),
                starts: std::array::from_fn(|place| 0x57a7 + place as u128),
                store: StoreId(9),
            }),
        ),
        ("hello-client", hello(Speaker::Client { id: ClientId(0xc1) })),
        ("close", Incoming::Close { code: CloseReason::WrongCluster.code() }),
        ("status-request", Incoming::StatusRequest { cluster: CLUSTER }),
        (
            "status-reply",
            Incoming::StatusReply {
                cluster: CLUSTER,
                from: ReplicaId(1),
                json: Bytes::from_static(b"{\"id\": 1}"),
            },
        ),
    ]
}

fn normal_samples() -> Vec<(&'static str, Incoming)> {
    let header = *entry().header();
    let (op, checksum) = (header.op, header.checksum);
    let commit = Committed { op, checksum };
    vec![
        (
            "ping",
            peer(Kind::Ping {
                log_view: ViewNumber(1),
                op: OpNumber(10),
                commit,
                heard: Voters(0b101),
                kept: KEPT,
            }),
        ),
        ("prepare", peer(Kind::Prepare { entry: entry(), commit })),
        ("prepare-predicted", peer(Kind::Prepare { entry: predicted_entry(b"12:00"), commit })),
        ("prepare-predicted-empty", peer(Kind::Prepare { entry: predicted_entry(b""), commit })),
        ("entry-predicted", peer(Kind::Entry { entry: predicted_entry(b"12:00") })),
        (
            "pre-step",
            peer(Kind::PreStep { nonce: NONCE, requests: entry().requests().to_vec().into() }),
        ),
        (
            "pre-step-ok",
            peer(Kind::PreStepOk { nonce: NONCE, value: Bytes::from_static(b"12:00") }),
        ),
        ("prepare-ok", peer(Kind::PrepareOk { op, checksum, commit_min: OpNumber(9) })),
        ("commit", peer(Kind::Commit { commit })),
        ("entry", peer(Kind::Entry { entry: entry() })),
        ("nack", peer(Kind::Nack { op, checksum })),
        ("get-checkpoint", peer(Kind::GetCheckpoint { id: Checksum(7), offset: 65_536 })),
        (
            "checkpoint",
            peer(Kind::Checkpoint {
                committed_by: ViewNumber(2),
                checkpoint: Checkpoint { header, id: Checksum(7) },
                length: 65_540,
                offset: 65_536,
                page: Bytes::from_static(b"page"),
            }),
        ),
        ("get-chunk", peer(Kind::GetChunk { wanted: vec![Checksum(3), Checksum(4)] })),
        ("chunk", peer(Kind::Chunk { chunk: Bytes::from_static(b"chunk") })),
        ("no-chunk", peer(Kind::NoChunk { name: Checksum(3) })),
        ("recovery", peer(Kind::Recovery { nonce: NONCE })),
        (
            "recovery-response",
            peer(Kind::RecoveryResponse {
                nonce: NONCE,
                commit_max: OpNumber::ZERO,
                suffix: Vec::new(),
            }),
        ),
        (
            "recovery-response-primary",
            peer(Kind::RecoveryResponse {
                nonce: NONCE,
                commit_max: OpNumber(8),
                suffix: vec![header],
            }),
        ),
        (
            "get-entry",
            peer(Kind::GetEntry { wanted: vec![(op, checksum), (OpNumber(2), Checksum(3))] }),
        ),
        ("get-headers", peer(Kind::GetHeaders { first: OpNumber(3), last: OpNumber(8) })),
        ("headers", peer(Kind::Headers { headers: vec![Header::root(CLUSTER), header] })),
    ]
}

fn view_samples() -> Vec<(&'static str, Incoming)> {
    let header = *entry().header();
    vec![
        ("start-view-change", peer(Kind::StartViewChange { log_view: ViewNumber(1) })),
        (
            "do-view-change",
            peer(Kind::DoViewChange {
                log_view: ViewNumber(1),
                op: OpNumber(2),
                commit_min: OpNumber(0),
                commit_max: OpNumber(1),
                suffix: vec![
                    SuffixSlot { header: None, present: false, nack: true },
                    SuffixSlot { header: Some(header), present: true, nack: false },
                ],
            }),
        ),
        (
            "start-view",
            peer(Kind::StartView { commit_max: OpNumber(1), suffix: vec![header], nonce: None }),
        ),
        (
            "start-view-answer",
            peer(Kind::StartView {
                commit_max: OpNumber(1),
                suffix: vec![header],
                nonce: Some(NONCE),
            }),
        ),
        ("get-view", peer(Kind::GetView { nonce: NONCE, uncertain: Some(KEPT) })),
        ("read-probe", peer(Kind::ReadProbe { nonce: NONCE, relay: false })),
        ("read-probe-relay", peer(Kind::ReadProbe { nonce: NONCE, relay: true })),
        ("read-ok", peer(Kind::ReadOk { nonce: NONCE, index: None })),
        ("read-ok-index", peer(Kind::ReadOk { nonce: NONCE, index: Some(OpNumber(9)) })),
    ]
}

fn client_samples() -> Vec<(&'static str, Incoming)> {
    let answered = |body| {
        reply(ClientReplyKind::Reply {
            session: SESSION,
            number: RequestNumber(9),
            op: OpNumber(10),
            body,
        })
    };
    let body = Bytes::from_static(b"get x");
    let read = |policy| {
        let (number, body) = (RequestNumber(9), Bytes::from_static(b"get x"));
        request(ClientRequestKind::Read { number, policy, body })
    };
    vec![
        ("register", request(ClientRequestKind::Register)),
        (
            "request",
            request(ClientRequestKind::Operation {
                session: SESSION,
                number: RequestNumber(9),
                span: 5,
                digest: Checksum::of(&body),
                body,
            }),
        ),
        ("read", read(ReadPolicy::Linearizable)),
        ("read-causal", read(ReadPolicy::Causal { after: OpNumber(8) })),
        ("read-bounded", read(ReadPolicy::Bounded { age: 250 })),
        (
            "read-reply",
            reply(ClientReplyKind::ReadReply {
                number: RequestNumber(9),
                op: OpNumber(10),
                body: Bytes::from_static(b"1"),
            }),
        ),
        (
            "read-refused",
            reply(ClientReplyKind::ReadRefused {
                number: RequestNumber(9),
                reason: ReadRefusal::Behind,
            }),
        ),
        ("registered", reply(ClientReplyKind::Registered { session: SESSION, window: 8 })),
        ("reply", answered(Some(Bytes::from_static(b"ok")))),
        ("reply-empty", answered(Some(Bytes::new()))),
        ("reply-not-kept", answered(None)),
        ("evicted", reply(ClientReplyKind::Evicted { session: SESSION, number: RequestNumber(9) })),
        ("redirect", reply(ClientReplyKind::Redirect { primary: ReplicaId(2) })),
        (
            "refused",
            reply(ClientReplyKind::Refused {
                session: Some(SESSION),
                number: RequestNumber(9),
                reason: Refusal::DiskFull,
            }),
        ),
        (
            "refused-registration",
            reply(ClientReplyKind::Refused {
                session: None,
                number: RequestNumber(0),
                reason: Refusal::Busy,
            }),
        ),
        (
            "inform",
            Incoming::Inform {
                cluster: CLUSTER,
                from: ReplicaId(1),
                epoch: Epoch(1),
                view: ViewNumber(2),
                primary: ReplicaId(2),
            },
        ),
    ]
}

const KEPT: Kept = Kept {
    checkpoint: OpNumber(6),
    id: Checksum(7),
    trimmed: OpNumber(3),
    covered: OpNumber(5),
    begins: OpNumber(4),
    held: OpNumber(9),
    next: Next::Damaged,
    lost: true,
};
