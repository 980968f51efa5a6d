//! A network in memory: a bounded queue for each receiver, and links that can be cut.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use vsr_core::{Class, ReplicaId};
use vsr_wire::{FRAME_LIMIT_MAX, FrameReader, Incoming as Frame};

use crate::transport::{
    ANSWERS, Access, Answer, ClientTransport, ConnectionId, FromReplica, Identity, Inbox, Incoming,
    Transport,
};

/// How many buffers wait for a receiver at most.
const QUEUE: usize = 256;

/// What the network says its round trip is.
const ROUND_TRIP: Duration = Duration::from_micros(100);

/// A network in memory. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Network(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    replicas: HashMap<ReplicaId, mpsc::Sender<ToReplica>>,
    clients: HashMap<ConnectionId, mpsc::Sender<(ReplicaId, Bytes)>>,
    cut: HashSet<(ReplicaId, ReplicaId)>,
    /// Replicas that no client reaches.
    hidden: HashSet<ReplicaId>,
    connections: u64,
    /// Every so many buffers one is lost; none where it is zero.
    lose_one_in: u64,
    sent: u64,
}

#[derive(Debug)]
enum ToReplica {
    Peer { from: ReplicaId, frames: Bytes },
    Client { connection: ConnectionId, identity: Arc<Identity>, frames: Bytes },
    Gone { connection: ConnectionId },
}

impl Network {
    /// A network without anybody.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Connects a replica, in place of an earlier one of that number.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn join(&self, me: ReplicaId, inbox: Inbox) -> ReplicaPort {
        let (sender, receiver) = mpsc::channel(QUEUE);
        self.lock().replicas.insert(me, sender);
        tokio::spawn(deliver_to_replica(receiver, inbox));
        ReplicaPort { me, network: self.clone() }
    }

    /// Connects a client to these replicas. What they answer comes on the channel.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn connect(
        &self,
        identity: Identity,
        replicas: &[ReplicaId],
    ) -> (ClientPort, mpsc::Receiver<FromReplica>) {
        let (frames_sender, frames) = mpsc::channel(QUEUE);
        let (answers_sender, answers) = mpsc::channel(ANSWERS);
        tokio::spawn(deliver_to_client(frames, answers_sender));
        let mut state = self.lock();
        let mut connections = HashMap::new();
        for replica in replicas {
            state.connections += 1;
            let connection = ConnectionId(state.connections);
            state.clients.insert(connection, frames_sender.clone());
            connections.insert(*replica, connection);
        }
        drop(state);
        let identity = Arc::new(identity);
        (ClientPort { connections, identity, network: self.clone() }, answers)
    }

    /// Cuts the links between a replica and these others, in both directions.
    pub fn cut(&self, replica: ReplicaId, others: &[ReplicaId]) {
        let mut state = self.lock();
        for other in others {
            state.cut.insert((replica, *other));
            state.cut.insert((*other, replica));
        }
    }

    /// Cuts a replica off from all clients.
    pub fn hide(&self, replica: ReplicaId) {
        self.lock().hidden.insert(replica);
    }

    /// Mends all links.
    pub fn heal(&self) {
        let mut state = self.lock();
        state.cut.clear();
        state.hidden.clear();
        state.lose_one_in = 0;
    }

    /// Loses every `nth` buffer from now on.
    pub fn lose_one_in(&self, nth: u64) {
        self.lock().lose_one_in = nth;
    }

    /// A client that may write, for [`Network::connect`].
    #[must_use]
    pub fn somebody() -> Identity {
        Identity {
            name: "somebody".into(),
            subject: vsr_core::Subject(1),
            access: Access::ReadWrite,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn loses_this(&mut self) -> bool {
        self.sent += 1;
        self.lose_one_in != 0 && self.sent.is_multiple_of(self.lose_one_in)
    }

    fn to_replica(&self, to: ReplicaId, item: ToReplica) {
        if let Some(queue) = self.replicas.get(&to) {
            // Full, or gone: lost either way.
            let _ = queue.try_send(item);
        }
    }

    fn to_client(&self, from: ReplicaId, to: ConnectionId, frames: Bytes) {
        if let Some(queue) = self.clients.get(&to)
            && !self.hidden.contains(&from)
        {
            let _ = queue.try_send((from, frames));
        }
    }
}

/// A replica's way out.
#[derive(Clone, Debug)]
pub struct ReplicaPort {
    me: ReplicaId,
    network: Network,
}

impl Transport for ReplicaPort {
    fn send(&self, to: ReplicaId, _class: Class, frames: Bytes) {
        let mut state = self.network.lock();
        if !state.loses_this() && !state.cut.contains(&(self.me, to)) {
            state.to_replica(to, ToReplica::Peer { from: self.me, frames });
        }
    }

    fn reply(&self, to: ConnectionId, frames: Bytes) {
        let mut state = self.network.lock();
        if !state.loses_this() {
            state.to_client(self.me, to, frames);
        }
    }

    fn inform(&self, frames: Bytes) {
        let state = self.network.lock();
        for connection in state.clients.keys() {
            state.to_client(self.me, *connection, frames.clone());
        }
    }

    fn round_trip(&self) -> Duration {
        ROUND_TRIP
    }
}

/// A client's way out. Dropping it closes its connections.
#[derive(Debug)]
pub struct ClientPort {
    connections: HashMap<ReplicaId, ConnectionId>,
    identity: Arc<Identity>,
    network: Network,
}

impl ClientTransport for ClientPort {
    fn send(&self, to: ReplicaId, frames: Bytes) {
        let Some(connection) = self.connections.get(&to).copied() else {
            return;
        };
        let mut state = self.network.lock();
        if !state.loses_this() && !state.hidden.contains(&to) {
            let identity = Arc::clone(&self.identity);
            state.to_replica(to, ToReplica::Client { connection, identity, frames });
        }
    }

    fn broadcast(&self, frames: Bytes) {
        for replica in self.connections.keys() {
            self.send(*replica, frames.clone());
        }
    }

    fn round_trip(&self) -> Duration {
        ROUND_TRIP
    }
}

impl Drop for ClientPort {
    fn drop(&mut self) {
        let mut state = self.network.lock();
        for (replica, connection) in &self.connections {
            state.clients.remove(connection);
            state.to_replica(*replica, ToReplica::Gone { connection: *connection });
        }
    }
}

async fn deliver_to_replica(mut queue: mpsc::Receiver<ToReplica>, inbox: Inbox) {
    while let Some(item) = queue.recv().await {
        let incoming = match item {
            ToReplica::Gone { connection } => vec![Incoming::Closed { connection }],
            ToReplica::Peer { from, frames } => {
                decode(&frames).into_iter().filter_map(|frame| from_peer(frame, from)).collect()
            }
            ToReplica::Client { connection, identity, frames } => decode(&frames)
                .into_iter()
                .filter_map(|frame| from_client(frame, connection, &identity))
                .collect(),
        };
        for incoming in incoming {
            if inbox.deliver(incoming).await.is_err() {
                return;
            }
        }
    }
}

fn from_peer(frame: Frame, from: ReplicaId) -> Option<Incoming> {
    match frame {
        Frame::Peer { message, .. } => Some(Incoming::Message { from, message }),
        Frame::Hello(_)
        | Frame::Close { .. }
        | Frame::Request(_)
        | Frame::Reply { .. }
        | Frame::Inform { .. }
        | Frame::StatusRequest { .. }
        | Frame::StatusReply { .. } => None,
    }
}

fn from_client(
    frame: Frame,
    connection: ConnectionId,
    identity: &Arc<Identity>,
) -> Option<Incoming> {
    let identity = Arc::clone(identity);
    match frame {
        Frame::Request(request) => Some(Incoming::Request { connection, identity, request }),
        Frame::StatusRequest { .. } => Some(Incoming::Status { connection, identity }),
        Frame::Hello(_)
        | Frame::Close { .. }
        | Frame::Peer { .. }
        | Frame::Reply { .. }
        | Frame::Inform { .. }
        | Frame::StatusReply { .. } => None,
    }
}

async fn deliver_to_client(
    mut queue: mpsc::Receiver<(ReplicaId, Bytes)>,
    answers: mpsc::Sender<FromReplica>,
) {
    while let Some((from, frames)) = queue.recv().await {
        for frame in decode(&frames) {
            let Some(answer) = answer(frame) else {
                continue;
            };
            if answers.send(FromReplica { from, answer }).await.is_err() {
                return;
            }
        }
    }
}

fn answer(frame: Frame) -> Option<Answer> {
    match frame {
        Frame::Reply { reply, .. } => Some(Answer::Reply(reply)),
        Frame::Inform { view, primary, .. } => Some(Answer::Inform { view, primary }),
        Frame::StatusReply { json, .. } => Some(Answer::Status(json)),
        Frame::Hello(_)
        | Frame::Close { .. }
        | Frame::Peer { .. }
        | Frame::Request(_)
        | Frame::StatusRequest { .. } => None,
    }
}

fn decode(frames: &Bytes) -> Vec<Frame> {
    let mut reader = FrameReader::new(FRAME_LIMIT_MAX);
    reader.push(frames);
    let mut decoded = Vec::new();
    while let Some(frame) = reader.next_frame().expect("a node sends whole frames") {
        decoded.push(vsr_wire::decode(&frame).expect("a node sends what it can read"));
    }
    decoded
}
