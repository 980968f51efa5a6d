//! What a frame turns out to be.

use bytes::Bytes;
use vsr_core::{ClientReply, ClientRequest, ClusterId, Epoch, Message, ReplicaId, ViewNumber};

use crate::hello::Hello;

/// A decoded frame. Operations and replies are slices of the frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// The first frame of a connection.
    Hello(Hello),
    /// The last frame of a connection.
    Close {
        /// Why: see [`CloseReason::of`](crate::CloseReason::of), which knows those of this version.
        code: u16,
    },
    /// A message of the protocol.
    Peer {
        /// Who sent it, as the frame says; compare with whom the transport proved it to be.
        from: ReplicaId,
        /// The message.
        message: Message<Bytes>,
    },
    /// A client's request.
    Request(ClientRequest<Bytes>),
    /// A replica's answer to a client.
    Reply {
        /// Who sent it, as the frame says.
        from: ReplicaId,
        /// The answer.
        reply: ClientReply<Bytes>,
    },
    /// Word of a new view, for clients.
    Inform {
        /// The replica's cluster.
        cluster: ClusterId,
        /// Who sent it, as the frame says.
        from: ReplicaId,
        /// The replica's epoch.
        epoch: Epoch,
        /// The view that has begun.
        view: ViewNumber,
        /// Its primary.
        primary: ReplicaId,
    },
    /// A client asks a replica how it is.
    StatusRequest {
        /// The cluster the client means.
        cluster: ClusterId,
    },
    /// How a replica is.
    StatusReply {
        /// The replica's cluster.
        cluster: ClusterId,
        /// Who sent it, as the frame says.
        from: ReplicaId,
        /// A JSON document; this crate does not look inside.
        json: Bytes,
    },
}
