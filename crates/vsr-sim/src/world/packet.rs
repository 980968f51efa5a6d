//! What travels on a link.

use bytes::{Bytes, BytesMut};
use vsr_core::{
    ClientReply, ClientReplyKind, ClientRequest, ClientRequestKind, Message, ReplicaId, ViewNumber,
};
use vsr_wire::{FRAME_LIMIT_MAX, FrameReader, Incoming, WireError};

use crate::world::cluster::CLUSTER;
use crate::world::names::{Endpoint, KindName};

/// A message of any sort, as its sender made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// From a replica to a replica.
    Message(Message<Bytes>),
    /// From a client to a replica.
    Request(ClientRequest<Bytes>),
    /// From a replica to a client.
    Reply(ClientReply<Bytes>),
    /// From a replica to a client: who the primary is.
    Inform {
        /// The view that has begun.
        view: ViewNumber,
        /// Its primary.
        primary: ReplicaId,
    },
}

impl Payload {
    /// The kind's name in stories.
    #[must_use]
    pub const fn kind(&self) -> KindName {
        match self {
            Self::Message(message) => KindName::of(&message.kind),
            Self::Request(request) => match request.kind {
                ClientRequestKind::Register => KindName::Register,
                ClientRequestKind::Operation { .. } => KindName::Request,
                ClientRequestKind::Read { .. } => KindName::Read,
            },
            Self::Reply(reply) => match reply.kind {
                ClientReplyKind::Registered { .. } => KindName::Registered,
                ClientReplyKind::Reply { .. } => KindName::Reply,
                ClientReplyKind::Evicted { .. } => KindName::Evicted,
                ClientReplyKind::Redirect { .. } => KindName::Redirect,
                ClientReplyKind::Refused { .. } => KindName::Refused,
                ClientReplyKind::ReadReply { .. } => KindName::ReadReply,
                ClientReplyKind::ReadRefused { .. } => KindName::ReadRefused,
            },
            Self::Inform { .. } => KindName::Inform,
        }
    }
}

/// A payload on its way: as the shipped encoding has it, or, where nobody looks at the bytes, as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// The frame.
    Frame(Bytes),
    /// The payload itself.
    Plain(Box<Payload>),
}

/// Who sends to clients has no epoch but this yet.
const EPOCH: vsr_core::Epoch = vsr_core::Epoch::ZERO;

impl Packet {
    /// Encodes a payload.
    ///
    /// # Panics
    /// If the payload exceeds every limit of the wire: replicas and clients keep them.
    #[must_use]
    pub fn seal(payload: &Payload, from: Endpoint) -> Self {
        let mut out = BytesMut::with_capacity(FRAME_CAPACITY);
        let encoded = match (payload, from) {
            (Payload::Message(message), Endpoint::Replica(from)) => {
                vsr_wire::encode_message(message, from, &mut out)
            }
            (Payload::Request(request), _) => vsr_wire::encode_request(request, &mut out),
            (Payload::Reply(reply), Endpoint::Replica(from)) => {
                vsr_wire::encode_reply(reply, from, &mut out)
            }
            (Payload::Inform { view, primary }, Endpoint::Replica(from)) => {
                vsr_wire::encode_inform(CLUSTER, from, EPOCH, *view, *primary, &mut out);
                Ok(())
            }
            (_, Endpoint::Client(_)) => return Self::Plain(Box::new(payload.clone())),
        };
        assert!(encoded.is_ok(), "what is sent keeps the limits of the wire: {encoded:?}");
        Self::Frame(out.freeze())
    }

    /// Decodes the payload.
    ///
    /// # Panics
    /// If what was encoded cannot be decoded.
    #[must_use]
    pub fn open(&self) -> Payload {
        let frame = match self {
            Self::Plain(payload) => return (**payload).clone(),
            Self::Frame(frame) => frame,
        };
        match decode(frame) {
            Ok(Incoming::Peer { message, .. }) => Payload::Message(message),
            Ok(Incoming::Request(request)) => Payload::Request(request),
            Ok(Incoming::Reply { reply, .. }) => Payload::Reply(reply),
            Ok(Incoming::Inform { view, primary, .. }) => Payload::Inform { view, primary },
            other => panic!("a frame was decoded to something else than was encoded: {other:?}"),
        }
    }
}

/// Room for most frames, so that encoding seldom grows its buffer.
const FRAME_CAPACITY: usize = 512;

/// Decodes a frame's bytes.
///
/// # Errors
/// What is wrong with them.
pub fn decode(bytes: &[u8]) -> Result<Incoming, WireError> {
    let mut reader = FrameReader::new(FRAME_LIMIT_MAX);
    reader.push(bytes);
    match reader.next_frame()? {
        Some(frame) => {
            reader.finish()?;
            vsr_wire::decode(&frame)
        }
        None => Err(reader.finish().err().unwrap_or(WireError::HeaderDamaged)),
    }
}
