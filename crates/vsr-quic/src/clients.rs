//! The clients of a replica: who is connected, what each may send, and what waits for each.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use quinn::Connection;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use vsr_core::ClusterId;
use vsr_tokio::{ConnectionId, Identity, Inbox, Incoming};
use vsr_wire::{CloseReason, Incoming as Decoded};

use crate::greeting::{self, Ended, Greeted};
use crate::limits::{
    CLIENT_FRAMES_TOTAL, CLIENT_WINDOW_MAX, CLIENT_WINDOWS_TOTAL, CLIENTS_MAX, FRAME_FREE,
    FRAME_TIMEOUT, REPLIES_TOTAL, REPLY_QUEUE, WINDOW_MIN, window,
};
use crate::link::{ended, unexpected_stream};
use crate::queue::{Queue, Total};
use crate::reading::Reading;
use crate::writing;

/// All clients of a replica.
#[derive(Debug)]
pub(crate) struct Clients {
    connected: Mutex<HashMap<ConnectionId, Arc<Client>>>,
    next: AtomicU64,
    share: Share,
    replies: Total,
    /// The latest word of a view, for clients that connect after it was said.
    informed: Mutex<Bytes>,
}

/// A connected client.
#[derive(Debug)]
struct Client {
    replies: Queue,
    /// A reply did not fit.
    overflowed: Notify,
}

impl Default for Clients {
    fn default() -> Self {
        Self {
            connected: Mutex::default(),
            next: AtomicU64::default(),
            share: Share::default(),
            replies: Total::new(REPLIES_TOTAL),
            informed: Mutex::default(),
        }
    }
}

impl Clients {
    /// Queues a reply. A client that let its queue fill up does not read, and is disconnected.
    pub(crate) fn reply(&self, to: ConnectionId, frames: Bytes) {
        let client = self.connected().get(&to).cloned();
        if let Some(client) = client {
            client.put(frames);
        }
    }

    /// Queues frames for all, and for those who will connect.
    pub(crate) fn inform(&self, frames: Bytes) {
        self.informed.lock().expect("no code panics with this lock").clone_from(&frames);
        for client in self.connected().values() {
            client.put(frames.clone());
        }
    }

    /// How many are connected.
    pub(crate) fn count(&self) -> usize {
        self.connected().len()
    }

    /// Serves a client until its connection ends.
    pub(crate) async fn serve(
        &self,
        greeted: Greeted,
        identity: Identity,
        cluster: ClusterId,
        inbox: &Inbox,
    ) -> Ended {
        let id = ConnectionId(self.next.fetch_add(1, Ordering::Relaxed));
        let connection = greeted.connection.clone();
        let client = Arc::new(Client {
            replies: Queue::within(REPLY_QUEUE, self.replies.clone()),
            overflowed: Notify::new(),
        });
        if !self.admit(id, &client) {
            return Ended::refused(
                CloseReason::Busy,
                format!("{CLIENTS_MAX} clients are connected already"),
            );
        }
        let mut tasks = JoinSet::new();
        let writer = Arc::clone(&client);
        tasks.spawn(async move { writing::write(greeted.send, &writer.replies).await });
        let requests = Requests {
            reading: Reading::new(greeted.receive, greeted.reader),
            connection: connection.clone(),
            id,
            identity: Arc::new(identity),
            cluster,
            inbox: inbox.clone(),
            allowance: self.share.allowance(),
            unfinished_since: None,
        };
        tasks.spawn(requests.run());
        let ended = tokio::select! {
            finished = tasks.join_next() => ended(finished),
            () = client.overflowed.notified() => {
                Ended::refused(CloseReason::Busy, "replies are not read")
            }
            stream = connection.accept_uni() => match stream {
                Ok(_) => unexpected_stream(),
                Err(error) => error.into(),
            },
            stream = connection.accept_bi() => match stream {
                Ok(_) => unexpected_stream(),
                Err(error) => error.into(),
            },
        };
        tasks.shutdown().await;
        self.forget(id);
        // Where the node is gone there is nobody left to be told.
        let _ = inbox.deliver(Incoming::Closed { connection: id }).await;
        ended
    }

    fn admit(&self, id: ConnectionId, client: &Arc<Client>) -> bool {
        let mut connected = self.connected();
        if connected.len() >= CLIENTS_MAX {
            return false;
        }
        connected.insert(id, Arc::clone(client));
        self.share.set_clients(connected.len());
        drop(connected);
        let informed = self.informed.lock().expect("no code panics with this lock").clone();
        if !informed.is_empty() {
            client.put(informed);
        }
        true
    }

    fn forget(&self, id: ConnectionId) {
        let mut connected = self.connected();
        connected.remove(&id);
        self.share.set_clients(connected.len());
    }

    fn connected(&self) -> MutexGuard<'_, HashMap<ConnectionId, Arc<Client>>> {
        self.connected.lock().expect("no code panics with this lock")
    }
}

impl Client {
    fn put(&self, frames: Bytes) {
        if !self.replies.put(frames) {
            self.overflowed.notify_one();
        }
    }
}

/// What one client sends.
struct Requests {
    reading: Reading,
    connection: Connection,
    id: ConnectionId,
    identity: Arc<Identity>,
    cluster: ClusterId,
    inbox: Inbox,
    allowance: Allowance,
    /// Since when a frame has been under way.
    unfinished_since: Option<Instant>,
}

impl Requests {
    /// Hands requests to the node until the connection ends, and waits while its inbox is full.
    async fn run(mut self) -> Ended {
        loop {
            let ended = match self.reading.next_frame() {
                Ok(Some(decoded)) => self.deliver(decoded).await,
                Ok(None) => self.more().await,
                Err(ended) => Err(ended),
            };
            if let Err(ended) = ended {
                return ended;
            }
        }
    }

    async fn deliver(&mut self, decoded: Decoded) -> Result<(), Ended> {
        // What follows it is another frame, with a time of its own.
        self.unfinished_since = None;
        let (connection, identity) = (self.id, Arc::clone(&self.identity));
        let (cluster, incoming) = match decoded {
            Decoded::Request(request) => {
                (request.cluster, Incoming::Request { connection, identity, request })
            }
            Decoded::StatusRequest { cluster } => {
                (cluster, Incoming::Status { connection, identity })
            }
            Decoded::Hello(_) => return Err(greeting::second_hello()),
            Decoded::Close { code } => return Err(greeting::closed(code)),
            Decoded::Peer { .. }
            | Decoded::Reply { .. }
            | Decoded::Inform { .. }
            | Decoded::StatusReply { .. } => return Err(greeting::out_of_place()),
        };
        if cluster != self.cluster {
            return Err(greeting::wrong_cluster());
        }
        self.inbox.deliver(incoming).await.map_err(|_| Ended::NodeGone)
    }

    async fn more(&mut self) -> Result<(), Ended> {
        if let Some(bytes) = self.allowance.new_window() {
            self.connection.set_receive_window(window(bytes));
        }
        // What was delivered is given back before the wait: its sender may stay silent for good.
        self.hold()?;
        if self.reading.held() == 0 {
            self.unfinished_since = None;
            self.reading.more().await?;
        } else {
            let since = *self.unfinished_since.get_or_insert_with(Instant::now);
            timeout_at(since + FRAME_TIMEOUT, self.reading.more()).await.map_err(|_| {
                let detail = format!("a frame did not arrive whole within {FRAME_TIMEOUT:?}");
                Ended::refused(CloseReason::TimedOut, detail)
            })??;
        }
        self.hold()
    }

    fn hold(&mut self) -> Result<(), Ended> {
        if self.allowance.hold(self.reading.held() as u64) {
            Ok(())
        } else {
            Err(Ended::refused(
                CloseReason::Busy,
                "too much waits of all clients' unfinished frames",
            ))
        }
    }
}

/// What all clients together may occupy, and how much of it is one client's.
#[derive(Clone, Debug)]
struct Share(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    window: AtomicU64,
    held: AtomicU64,
}

impl Default for Share {
    fn default() -> Self {
        Self(Arc::new(Shared {
            window: AtomicU64::new(CLIENT_WINDOW_MAX),
            held: AtomicU64::new(0),
        }))
    }
}

impl Share {
    fn set_clients(&self, count: usize) {
        let window = CLIENT_WINDOWS_TOTAL / (count as u64).max(1);
        let window = window.clamp(WINDOW_MIN, CLIENT_WINDOW_MAX);
        self.0.window.store(window, Ordering::Relaxed);
    }

    fn allowance(&self) -> Allowance {
        Allowance { share: self.clone(), window: WINDOW_MIN, held: 0 }
    }
}

/// One client's part of a [`Share`].
#[derive(Debug)]
struct Allowance {
    share: Share,
    window: u64,
    held: u64,
}

impl Allowance {
    /// The receive window to be set, if it is another than before by half or more.
    fn new_window(&mut self) -> Option<u64> {
        let window = self.share.0.window.load(Ordering::Relaxed);
        let other = window > self.window + self.window / 2 || window < self.window / 2;
        other.then(|| {
            self.window = window;
            window
        })
    }

    /// Counts what is held of an unfinished frame. False if all clients' parts exceed the total.
    fn hold(&mut self, bytes: u64) -> bool {
        let bytes = bytes.saturating_sub(FRAME_FREE);
        let total = &self.share.0.held;
        let before = self.held;
        self.held = bytes;
        if bytes > before {
            let more = bytes - before;
            total.fetch_add(more, Ordering::Relaxed) + more <= CLIENT_FRAMES_TOTAL
        } else {
            total.fetch_sub(before - bytes, Ordering::Relaxed);
            true
        }
    }
}

impl Drop for Allowance {
    fn drop(&mut self) {
        self.hold(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_shrink_as_clients_come_and_all_fit_into_the_total() {
        let share = Share::default();
        let mut allowance = share.allowance();
        assert_eq!(allowance.new_window(), Some(CLIENT_WINDOW_MAX));
        assert_eq!(allowance.new_window(), None);
        for count in [1, 32, 33, 100, 1000, CLIENTS_MAX] {
            share.set_clients(count);
            let window = share.0.window.load(Ordering::Relaxed);
            assert!(window * count as u64 <= CLIENT_WINDOWS_TOTAL, "{count}");
        }
        assert!(allowance.new_window().is_some_and(|window| window < 2 * WINDOW_MIN));
    }

    #[test]
    fn unfinished_frames_are_counted_together_and_given_back() {
        let share = Share::default();
        let mut large: Vec<_> = (0..4).map(|_| share.allowance()).collect();
        for allowance in &mut large {
            assert!(allowance.hold(CLIENT_FRAMES_TOTAL / 4));
        }
        let mut small = share.allowance();
        assert!(small.hold(FRAME_FREE), "an ordinary request is not refused");
        assert!(!small.hold(CLIENT_FRAMES_TOTAL / 4));
        drop(small);
        drop(large);
        assert_eq!(share.0.held.load(Ordering::Relaxed), 0);
    }
}
