//! The client's half of a read: one read, asked of one replica after another.
//!
//! 1. The read goes to the primary the client believes in, to a backup, or to the replica named.
//! 2. Without an answer it goes to the next replica, or again to the one named.
//! 3. A refusal that another replica may not give is remembered, and the next one is asked in time; the
//!    replica that was named has the last word.
//!
//! A read changes nothing, so that it may be repeated, and given up, at any time.

use alloc::vec::Vec;

use crate::message::{
    ClientReply, ClientReplyKind, ClientRequest, ClientRequestKind, ReadPolicy, ReadRefusal,
};
use crate::types::{Body, ClientId, ClusterId, OpNumber, ReplicaId, RequestNumber, ViewNumber};

/// Whom to ask first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReadFrom {
    /// The primary, then the others.
    Primary,
    /// A backup, then the others.
    Backup,
    /// This replica and no other.
    Replica(ReplicaId),
}

/// A read that a client waits for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reader<B> {
    cluster: ClusterId,
    client: ClientId,
    /// Sorted by id.
    replicas: Vec<ReplicaId>,
    from: ReadFrom,
    view: ViewNumber,
    number: RequestNumber,
    policy: ReadPolicy,
    operation: B,
    /// How often it was sent in vain.
    attempt: u32,
    /// The last refusal.
    refused: Option<ReadRefusal>,
    done: bool,
}

/// Something a reader wants done.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ReaderEffect<B> {
    /// Send a request to a replica.
    Send {
        /// The receiver.
        to: ReplicaId,
        /// The request.
        request: ClientRequest<B>,
    },
    /// Start the retry timer, or start it anew, for
    /// [`Timing::client_retry`](crate::Timing::client_retry) of this attempt.
    Arm {
        /// How often the request was sent in vain before.
        attempt: u32,
    },
    /// The read came to an end; the retry timer is not needed any more.
    Done(ReadOutcome<B>),
}

/// How a read ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ReadOutcome<B> {
    /// It was answered.
    Done {
        /// It saw everything up to this op.
        op: OpNumber,
        /// The service's answer.
        body: B,
    },
    /// It was not answered: refused for this reason, or nobody said anything.
    NotDone(Option<ReadRefusal>),
}

impl<B: Body> Reader<B> {
    /// Begins a read. `number` tells it from other reads of the same client; `view` is the latest one
    /// that the client heard of; `replicas` are the members.
    ///
    /// # Panics
    /// If `replicas` is empty.
    #[must_use]
    pub fn new(
        client: (ClusterId, ClientId),
        replicas: &[ReplicaId],
        view: ViewNumber,
        from: ReadFrom,
        (number, policy, operation): (RequestNumber, ReadPolicy, B),
        effects: &mut Vec<ReaderEffect<B>>,
    ) -> Self {
        assert!(!replicas.is_empty(), "a reader needs replicas to talk to");
        let mut replicas = replicas.to_vec();
        replicas.sort_unstable();
        let (cluster, client) = client;
        let this = Self {
            cluster,
            client,
            replicas,
            from,
            view,
            number,
            policy,
            operation,
            attempt: 0,
            refused: None,
            done: false,
        };
        this.send(effects);
        this
    }

    /// The read's number.
    #[must_use]
    pub const fn number(&self) -> RequestNumber {
        self.number
    }

    /// Whether it came to an end.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.done
    }

    /// A replica answered. What answers something else is ignored.
    pub fn on_reply(&mut self, reply: ClientReply<B>, effects: &mut Vec<ReaderEffect<B>>) {
        if reply.cluster != self.cluster || reply.client != self.client || self.done {
            return;
        }
        match reply.kind {
            ClientReplyKind::ReadReply { number, op, body } if number == self.number => {
                self.end(ReadOutcome::Done { op, body }, effects);
            }
            ClientReplyKind::ReadRefused { number, reason } if number == self.number => {
                self.view = self.view.max(reply.view);
                self.refused = Some(reason);
                let everywhere = match reason {
                    ReadRefusal::NotARead | ReadRefusal::Forbidden => true,
                    ReadRefusal::Busy | ReadRefusal::NotConfirmed | ReadRefusal::Behind => false,
                };
                if everywhere || matches!(self.from, ReadFrom::Replica(_)) {
                    self.end(ReadOutcome::NotDone(Some(reason)), effects);
                }
            }
            ClientReplyKind::ReadReply { .. }
            | ClientReplyKind::ReadRefused { .. }
            | ClientReplyKind::Registered { .. }
            | ClientReplyKind::Reply { .. }
            | ClientReplyKind::Evicted { .. }
            | ClientReplyKind::Redirect { .. }
            | ClientReplyKind::Refused { .. } => {}
        }
    }

    /// The retry timer ran out.
    pub fn on_timeout(&mut self, effects: &mut Vec<ReaderEffect<B>>) {
        if !self.done {
            self.attempt += 1;
            self.send(effects);
        }
    }

    /// The caller waits no longer.
    pub fn give_up(&mut self, effects: &mut Vec<ReaderEffect<B>>) {
        if !self.done {
            self.end(ReadOutcome::NotDone(self.refused), effects);
        }
    }

    fn end(&mut self, outcome: ReadOutcome<B>, effects: &mut Vec<ReaderEffect<B>>) {
        self.done = true;
        effects.push(ReaderEffect::Done(outcome));
    }

    fn send(&self, effects: &mut Vec<ReaderEffect<B>>) {
        let first = match self.from {
            ReadFrom::Primary | ReadFrom::Replica(_) => self.view.0,
            // Clients spread over the backups by their names.
            ReadFrom::Backup => {
                let backups = (self.replicas.len() as u128 - 1).max(1);
                self.view.0 + 1 + (self.client.0 % backups) as u64
            }
        };
        let place = first.wrapping_add(u64::from(self.attempt)) % self.replicas.len() as u64;
        let to = match self.from {
            ReadFrom::Replica(replica) => replica,
            ReadFrom::Primary | ReadFrom::Backup => self.replicas[place as usize],
        };
        let kind = ClientRequestKind::Read {
            number: self.number,
            policy: self.policy,
            body: self.operation.clone(),
        };
        let (cluster, client, view) = (self.cluster, self.client, self.view);
        let request = ClientRequest { cluster, client, view, kind };
        effects.push(ReaderEffect::Send { to, request });
        effects.push(ReaderEffect::Arm { attempt: self.attempt });
    }
}
