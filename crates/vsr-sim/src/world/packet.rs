//! What travels on a link.

use bytes::Bytes;
use vsr_core::{
    ClientReply, ClientReplyKind, ClientRequest, ClientRequestKind, Message, ReplicaId, ViewNumber,
};

use crate::world::names::KindName;

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
            },
            Self::Reply(reply) => match reply.kind {
                ClientReplyKind::Registered { .. } => KindName::Registered,
                ClientReplyKind::Reply { .. } => KindName::Reply,
                ClientReplyKind::Evicted { .. } => KindName::Evicted,
                ClientReplyKind::Redirect { .. } => KindName::Redirect,
                ClientReplyKind::Refused { .. } => KindName::Refused,
            },
            Self::Inform { .. } => KindName::Inform,
        }
    }
}

/// A payload on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    payload: Payload,
}

impl Packet {
    /// Encodes a payload.
    #[must_use]
    pub const fn seal(payload: Payload) -> Self {
        Self { payload }
    }

    /// Decodes the payload.
    #[must_use]
    pub fn open(&self) -> Payload {
        self.payload.clone()
    }
}
