//! Simulated clients: the shipped client, its retry timer, and what became of its calls.

use bytes::Bytes;
use vsr_core::{
    Client, ClientEffect, ClientEvent, ClientId, ClusterId, OpNumber, Outcome, Reader, ReplicaId,
    RequestNumber, Session,
};

/// Where the count of lives starts in a client's id; its number is below.
const LIFE_SHIFT: u32 = 32;

/// A client of the simulated group.
#[derive(Clone, Debug)]
pub(crate) struct SimClient {
    /// Its number: `c1` is 1.
    pub(crate) number: u32,
    /// How often it was restarted.
    pub(crate) life: u32,
    /// The client's half of the protocol.
    pub(crate) machine: Client<Bytes>,
    /// When the retry timer fires, if it is armed.
    pub(crate) deadline: Option<u64>,
    /// Its latest call, as a place in the history.
    pub(crate) call: Option<usize>,
    /// The read it waits for.
    pub(crate) reader: Option<Reader<Bytes>>,
    /// When that is sent again.
    pub(crate) read_deadline: Option<u64>,
    /// How many reads it began.
    pub(crate) reads: u64,
    /// The highest op that an answer to it named: what a causal read must see.
    pub(crate) seen: u64,
    /// What the client was before the last reply to an operation that it got, and when that came.
    pub(crate) before_reply: Option<(Box<Client<Bytes>>, u64)>,
}

/// An operation that a client invoked, and how it ended.
#[derive(Clone, Debug)]
pub struct Call {
    /// The client's number.
    pub client: u32,
    /// The operation.
    pub operation: Bytes,
    /// If it is a read without an entry in the log, what it must see.
    pub read: Option<MustSee>,
    /// When it was invoked: counts calls and answers of all clients.
    pub invoked: u64,
    /// When it ended, and how; `None` while it is outstanding.
    pub ended: Option<(u64, Outcome<Bytes>)>,
}

/// What a read must see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MustSee {
    /// Everything that was answered to anybody before it began.
    pub linearizable: bool,
    /// All up to this op at least.
    pub least: u64,
}

impl SimClient {
    /// A client whose session exists from the start.
    pub(crate) fn from_genesis(
        cluster: ClusterId,
        number: u32,
        replicas: &[ReplicaId],
        window: u32,
    ) -> Self {
        let session = Session { slot: number - 1, number: OpNumber::ZERO };
        let id = ClientId(u128::from(number));
        let machine = Client::with_session(cluster, id, replicas, session, RequestNumber(1))
            .with_window(window);
        Self::with(number, machine)
    }

    /// A client that registers first: a new one, or one that forgot all but whose it is. Each life has
    /// an id of its own, as a client that draws one at its start.
    pub(crate) fn registering(
        cluster: ClusterId,
        number: u32,
        life: u32,
        replicas: &[ReplicaId],
        effects: &mut Vec<ClientEffect<Bytes>>,
    ) -> Self {
        let id = ClientId(u128::from(number) | u128::from(life) << LIFE_SHIFT);
        let machine = Client::new(cluster, id, replicas, effects);
        Self { life, ..Self::with(number, machine) }
    }

    const fn with(number: u32, machine: Client<Bytes>) -> Self {
        Self {
            number,
            life: 0,
            machine,
            deadline: None,
            call: None,
            reader: None,
            read_deadline: None,
            reads: 0,
            seen: 0,
            before_reply: None,
        }
    }

    /// Whether it may begin an operation.
    pub(crate) fn is_ready(&self) -> bool {
        self.machine.is_ready() && self.reader.is_none()
    }

    /// Whether it waits for nothing.
    pub(crate) fn is_idle(&self) -> bool {
        self.machine.is_idle() && self.reader.is_none()
    }

    /// When its next timer fires.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        self.deadline.into_iter().chain(self.read_deadline).min()
    }

    /// Steps the client.
    pub(crate) fn step(
        &mut self,
        event: ClientEvent<Bytes>,
        effects: &mut Vec<ClientEffect<Bytes>>,
    ) {
        self.machine.step(event, effects);
    }
}
