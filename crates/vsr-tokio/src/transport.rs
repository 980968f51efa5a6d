//! What the driver asks of a network: queue and forget, bounded in both directions.
//!
//! A transport authenticates, frames and checks; what reaches the [`Inbox`] has been decoded and
//! carries the sender's proven identity. What leaves are whole encoded frames, glued together so
//! that a round costs one write per receiver. Nothing here blocks the node and nothing fails: the
//! protocol survives any loss, so a full queue drops and an unknown receiver is ignored.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use vsr_core::{Class, ClientReply, ClientRequest, Message, ReplicaId, Subject, ViewNumber};

/// A client connection, as the transport numbers it. Never reused in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// What a client's certificate allows, each including those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// Operations that leave the state as it is, and status.
    ReadOnly,
    /// All operations of the service.
    ReadWrite,
    /// Commands to the cluster too.
    Admin,
}

/// Whom the transport proved a client to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The client's name in its certificate, for people.
    pub name: String,
    /// The digest that its sessions are bound to.
    pub subject: Subject,
    /// What it may do.
    pub access: Access,
}

/// What arrives at a replica.
#[derive(Debug)]
pub enum Incoming {
    /// Another replica says something.
    Message {
        /// The sender, as the transport proved it.
        from: ReplicaId,
        /// What it says.
        message: Message<Bytes>,
    },
    /// A client asks for something. From here on replies to that client go to this connection.
    Request {
        /// The connection it came by.
        connection: ConnectionId,
        /// Who is at its other end.
        identity: Arc<Identity>,
        /// What is asked.
        request: ClientRequest<Bytes>,
    },
    /// Somebody asks how this replica is; answered by one status frame to the connection.
    Status {
        /// The connection it came by.
        connection: ConnectionId,
        /// Who is at its other end.
        identity: Arc<Identity>,
    },
    /// A client connection is gone. Comes after everything that it brought.
    Closed {
        /// The connection.
        connection: ConnectionId,
    },
}

/// How many incoming events wait for the node at most. About two rounds of a busy replica: enough
/// that a round is never starved, few enough that what waits is still worth answering.
pub const INBOX_EVENTS: usize = 1024;

/// Makes the way into a node. It holds [`INBOX_EVENTS`].
#[must_use]
pub fn inbox() -> (Inbox, Inlet) {
    let (sender, receiver) = mpsc::channel(INBOX_EVENTS);
    (Inbox(sender), Inlet(receiver))
}

/// The way into a node, for its transport. A transport that finds it full waits, and while it waits
/// it does not read from that socket: this is how a replica that is behind slows its senders down.
#[derive(Clone, Debug)]
pub struct Inbox(mpsc::Sender<Incoming>);

/// The node's end of an [`Inbox`].
#[derive(Debug)]
pub struct Inlet(mpsc::Receiver<Incoming>);

/// The node has stopped; nothing can be delivered any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeGone;

impl Inbox {
    /// Delivers an event, and waits while the inbox is full.
    ///
    /// # Errors
    /// [`NodeGone`] once the node has stopped: close the connection.
    pub async fn deliver(&self, incoming: Incoming) -> Result<(), NodeGone> {
        self.0.send(incoming).await.map_err(|_| NodeGone)
    }

    /// Whether the node has stopped.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

impl Inlet {
    /// Waits for an event, and takes up to `limit` that are there. Returns how many: 0 only when
    /// every [`Inbox`] is gone. Loses nothing when it is dropped before it is ready.
    pub async fn take(&mut self, events: &mut Vec<Incoming>, limit: usize) -> usize {
        self.0.recv_many(events, limit).await
    }
}

impl fmt::Display for NodeGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the replica has stopped")
    }
}

impl std::error::Error for NodeGone {}

/// A replica's way out. Cheap to clone.
///
/// `frames` are one or more whole wire frames, one behind the other, to be written as they are.
pub trait Transport: Clone + Send + Sync + 'static {
    /// Queues frames for another replica. The classes do not delay one another: bulk never makes a
    /// heartbeat wait. A queue that is full drops, the oldest first where that costs nothing.
    fn send(&self, to: ReplicaId, class: Class, frames: Bytes);

    /// Queues frames for a client. A client that does not read is disconnected in the end, never
    /// waited for.
    fn reply(&self, to: ConnectionId, frames: Bytes);

    /// Queues frames for every client.
    fn inform(&self, frames: Bytes);

    /// The smoothed round trip to the slowest peer of the nearest majority; a guess before anything
    /// was measured.
    fn round_trip(&self) -> Duration;
}

/// What a replica says to a client process.
#[derive(Clone, Debug)]
pub struct FromReplica {
    /// The replica, as the transport proved it.
    pub from: ReplicaId,
    /// What it says.
    pub answer: Answer,
}

/// What arrives at a client process.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A reply to one of the sessions.
    Reply(ClientReply<Bytes>),
    /// The primary of a view takes requests.
    Inform {
        /// The view.
        view: ViewNumber,
        /// Its primary.
        primary: ReplicaId,
    },
    /// How the replica is: a JSON document.
    Status(Bytes),
}

/// How many answers wait for a client at most before its transport stops reading.
pub const ANSWERS: usize = 1024;

/// A client's way out. What comes back arrives on the channel (of [`ANSWERS`]) whose sender was given
/// when the transport was made.
pub trait ClientTransport: Send + Sync + 'static {
    /// Queues frames for one replica. Connects when there is no connection yet; drops when that
    /// cannot be had: the client sends again.
    fn send(&self, to: ReplicaId, frames: Bytes);

    /// Queues frames for every replica.
    fn broadcast(&self, frames: Bytes);

    /// The smoothed round trip to the replicas; a guess before anything was measured.
    fn round_trip(&self) -> Duration;
}
