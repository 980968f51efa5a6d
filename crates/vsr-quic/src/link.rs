//! The connection between two replicas, and which one counts when there are several.
//!
//! Both sides dial, since either may be the one that was restarted. One connection counts:
//!
//! 1. One of a later incarnation of the peer takes the place of one of an earlier: the peer was
//!    restarted, and what it had is dead.
//! 2. Within one incarnation, one that the replica with the lower number dialled takes the place of
//!    any other, and gives it up only to another such: when both dial at one moment, both sides
//!    keep the same connection.

use std::sync::Arc;

use quinn::{Connection, RecvStream, SendStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use vsr_core::{Class, ClusterId, Incarnation, ReplicaId};
use vsr_tokio::{Inbox, Incoming};
use vsr_wire::{CloseReason, FrameReader, Incoming as Decoded};

use crate::acquaintance::Introduced;
use crate::greeting::{self, Ended, Greeted};
use crate::limits::{
    BULK_QUEUE, CONTROL_QUEUE, PEER_SEND_WINDOW, PEER_STREAMS, PEER_WINDOW, PREPARES_QUEUE, window,
};
use crate::queue::Queue;
use crate::reading::Reading;
use crate::writing;

/// A live connection to another replica.
#[derive(Debug)]
pub(crate) struct Link {
    connection: Connection,
    introduced: Introduced,
    dialled_by_lower: bool,
    control: Queue,
    prepares: Queue,
    bulk: Queue,
}

impl Link {
    pub(crate) fn new(
        connection: Connection,
        introduced: Introduced,
        dialled_by_lower: bool,
    ) -> Self {
        Self {
            connection,
            introduced,
            dialled_by_lower,
            control: Queue::new(CONTROL_QUEUE),
            prepares: Queue::new(PREPARES_QUEUE),
            bulk: Queue::new(BULK_QUEUE),
        }
    }

    pub(crate) const fn peer(&self) -> ReplicaId {
        self.introduced.peer()
    }

    pub(crate) const fn incarnation(&self) -> Incarnation {
        self.introduced.incarnation()
    }

    pub(crate) const fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(crate) const fn queue(&self, class: Class) -> &Queue {
        match class {
            Class::Control => &self.control,
            Class::Prepares => &self.prepares,
            Class::Bulk => &self.bulk,
        }
    }

    /// Whether this one counts, and not `current`.
    fn prevails(&self, current: &Self) -> bool {
        if current.connection.close_reason().is_some() {
            return true;
        }
        match self.incarnation().cmp(&current.incarnation()) {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Greater => true,
            std::cmp::Ordering::Equal => self.dialled_by_lower || !current.dialled_by_lower,
        }
    }

    /// Carries frames both ways until the connection ends.
    pub(crate) async fn run(
        self: &Arc<Self>,
        greeted: Greeted,
        cluster: ClusterId,
        inbox: &Inbox,
    ) -> Ended {
        self.connection.set_receive_window(window(PEER_WINDOW));
        self.connection.set_send_window(PEER_SEND_WINDOW);
        let limit = greeted.reader_limit;
        let mut tasks = JoinSet::new();
        let read = |receive: RecvStream, reader: FrameReader| {
            let reading = Reading::new(receive, reader);
            read(Arc::clone(self), reading, cluster, inbox.clone())
        };
        tasks.spawn(read(greeted.receive, greeted.reader));
        if let Err(ended) = self.spawn_writers(greeted.send, &mut tasks).await {
            return ended;
        }
        // The control stream came with the greeting.
        let mut streams = 1;
        loop {
            tokio::select! {
                finished = tasks.join_next() => return ended(finished),
                stream = self.connection.accept_uni() => match stream {
                    Ok(stream) if streams < PEER_STREAMS => {
                        streams += 1;
                        tasks.spawn(read(stream, FrameReader::new(limit)));
                    }
                    Ok(_) => return unexpected_stream(),
                    Err(error) => return error.into(),
                },
                stream = self.connection.accept_bi() => return match stream {
                    Ok(_) => unexpected_stream(),
                    Err(error) => error.into(),
                },
            }
        }
    }

    async fn spawn_writers(
        self: &Arc<Self>,
        control: SendStream,
        tasks: &mut JoinSet<Ended>,
    ) -> Result<(), Ended> {
        let prepares = self.connection.open_uni().await?;
        let bulk = self.connection.open_uni().await?;
        // QUIC sends a stream of higher priority first: bulk only takes what is left.
        for (class, send, priority) in
            [(Class::Control, control, 2), (Class::Prepares, prepares, 1), (Class::Bulk, bulk, 0)]
        {
            // It fails only for a stream that is finished, and nothing was written to this one.
            let _ = send.set_priority(priority);
            let link = Arc::clone(self);
            tasks.spawn(async move { writing::write(send, link.queue(class)).await });
        }
        Ok(())
    }
}

/// How a connection's tasks ended: the first to end ends the others.
pub(crate) fn ended(finished: Option<Result<Ended, tokio::task::JoinError>>) -> Ended {
    match finished {
        Some(Ok(ended)) => ended,
        Some(Err(error)) => Ended::Lost { reason: None, detail: error.to_string() },
        None => Ended::NodeGone,
    }
}

pub(crate) fn unexpected_stream() -> Ended {
    Ended::refused(CloseReason::Malformed, "a stream was opened that the protocol does not have")
}

/// Hands the frames of one stream to the node, and waits while its inbox is full.
async fn read(link: Arc<Link>, mut reading: Reading, cluster: ClusterId, inbox: Inbox) -> Ended {
    loop {
        loop {
            let incoming = match reading.next_frame() {
                Ok(Some(decoded)) => match admit(decoded, link.peer(), cluster) {
                    Ok(incoming) => incoming,
                    Err(ended) => return ended,
                },
                Ok(None) => break,
                Err(ended) => return ended,
            };
            if let Err(ended) = link.introduced.hear().await {
                return ended;
            }
            if inbox.deliver(incoming).await.is_err() {
                return Ended::NodeGone;
            }
        }
        if let Err(ended) = reading.more().await {
            return ended;
        }
    }
}

/// Lets pass what a replica may say, if it says so of itself (SEC-5).
fn admit(decoded: Decoded, peer: ReplicaId, cluster: ClusterId) -> Result<Incoming, Ended> {
    match decoded {
        Decoded::Peer { from, message } => {
            if from != peer {
                return Err(Ended::refused(
                    CloseReason::WrongSender,
                    format!("a message of replica {} came from replica {}", from.0, peer.0),
                ));
            }
            if message.cluster != cluster {
                return Err(greeting::wrong_cluster());
            }
            Ok(Incoming::Message { from, message })
        }
        Decoded::Hello(_) => Err(greeting::second_hello()),
        Decoded::Close { code } => Err(greeting::closed(code)),
        Decoded::Request(_)
        | Decoded::Reply { .. }
        | Decoded::Inform { .. }
        | Decoded::StatusRequest { .. }
        | Decoded::StatusReply { .. } => Err(greeting::out_of_place()),
    }
}

/// The place of the one link to a peer.
#[derive(Debug)]
pub(crate) struct Slot {
    link: watch::Sender<Option<Arc<Link>>>,
}

impl Slot {
    pub(crate) fn new() -> Self {
        Self { link: watch::Sender::new(None) }
    }

    /// The link that counts, if there is one.
    pub(crate) fn link(&self) -> Option<Arc<Link>> {
        self.link.borrow().clone()
    }

    /// Lets a link count, unless there is one that prevails. The one that does not count is closed.
    pub(crate) fn install(&self, link: &Arc<Link>) -> bool {
        let mut replaced = None;
        let installed = self.link.send_if_modified(|current| {
            if current.as_ref().is_some_and(|current| !link.prevails(current)) {
                return false;
            }
            replaced = current.replace(Arc::clone(link));
            true
        });
        let loser = if installed { replaced.as_ref() } else { Some(link) };
        if let Some(loser) = loser {
            greeting::close(&loser.connection, CloseReason::Replaced, "");
        }
        installed
    }

    /// Empties the place, if this link is in it.
    pub(crate) fn remove(&self, link: &Arc<Link>) {
        self.link.send_if_modified(|current| {
            let here = current.as_ref().is_some_and(|current| Arc::ptr_eq(current, link));
            if here {
                *current = None;
            }
            here
        });
    }

    /// Waits until there is a link, or until there is none.
    pub(crate) async fn wait(&self, present: bool) {
        // It fails only when the sender is gone, and the sender is part of this value.
        let _ = self.link.subscribe().wait_for(|link| link.is_some() == present).await;
    }
}
