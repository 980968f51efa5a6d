//! The async client: many calls at once over one transport.
//!
//! 1. A call goes to the pool, a task that owns the sessions; each session is a
//!    [`vsr_core::Client`] and executes a window of calls at a time, in order, each exactly once.
//! 2. Calls that wait when the pool wakes are sent together: one buffer for each replica.
//! 3. A call ends as done, as certainly not done, or as unknown: [`CallOutcome`].
//! 4. A session whose last call is unknown is abandoned, and a new one, under a new id, takes its
//!    place when it is needed. So is one in which a call was refused while others followed it; those,
//!    which were certainly not executed, are made again in another session, unseen by their callers.
//! 5. A session that the cluster evicted is registered anew. Calls that were certainly not executed
//!    move along; the others are unknown.

mod pool;
mod reads;
mod session;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use vsr_core::{
    ClusterId, OpNumber, ReadFrom, ReadPolicy, ReadRefusal, Refusal, ReplicaId, Timing,
};

use crate::status::Status;
use crate::transport::{ClientTransport, FromReplica};
use pool::{Command, Pool};

/// The most calls that wait for a free session; further callers wait to be let in.
pub const CALLS_WAITING_MAX: usize = 4096;

/// Calls on their way to the pool: what a pool that was busy for a moment finds.
/// Enough for every session at once.
const COMMANDS_WAITING: usize = SESSIONS_MAX;

/// The most sessions of one client.
pub const SESSIONS_MAX: usize = 1024;

/// What a client is told when it is made.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// The cluster.
    pub cluster: ClusterId,
    /// The members that may become primary.
    pub replicas: Vec<ReplicaId>,
    /// How many sessions it may open, 1 to [`SESSIONS_MAX`]. Sessions are opened when they are
    /// needed.
    pub sessions: usize,
    /// How many calls may be under way in one session at a time, as far as the cluster's
    /// [`Constants::window`](vsr_core::Constants) allows: they are executed in the order in which
    /// they were made. So many, times the sessions, are executed at once; zero counts as one.
    pub window: u32,
    /// The most bytes in one operation: the cluster's
    /// [`Constants::request_bytes`](vsr_core::Constants). A larger one is refused without being
    /// sent, since replicas close connections that exceed it.
    pub request_bytes: u32,
    /// How long it waits before it sends again.
    pub timing: Timing,
}

/// Why a client was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientConfigError {
    /// There is nobody to talk to.
    #[error("a client needs at least one replica to talk to: name one")]
    NoReplicas,
    /// Too few or too many sessions.
    #[error("a client has 1 to {SESSIONS_MAX} sessions, not {0}: choose fewer, or more clients")]
    Sessions(usize),
}

/// A client of a cluster. Cheap to clone; the clones share the sessions. When the last is gone, the
/// pool ends.
#[derive(Clone, Debug)]
pub struct Client {
    commands: mpsc::Sender<Command>,
    request_bytes: u32,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallOutcome {
    /// The operation was executed, exactly once.
    Done {
        /// The entry that held it.
        op: OpNumber,
        /// The service's reply; `None` if it was too large to be kept for a retry.
        reply: Option<Bytes>,
    },
    /// It was not executed and never will be.
    NotDone(NotDone),
    /// It may have been executed, or may yet be.
    Unknown,
}

/// Why an operation was certainly not executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotDone {
    /// The cluster refused it.
    Refused(Refusal),
    /// The deadline passed before it was sent to anybody.
    Deadline,
    /// The client's transport or its runtime has stopped.
    Closed,
}

/// How to read without an entry in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadOptions {
    /// How old what it sees may be.
    pub policy: ReadPolicy,
    /// Whom to ask first.
    pub from: ReadFrom,
}

impl ReadOptions {
    /// It sees everything that was answered before, and asks the primary first.
    pub const LINEARIZABLE: Self =
        Self { policy: ReadPolicy::Linearizable, from: ReadFrom::Primary };
    /// It sees everything that was answered before, and asks a backup first.
    pub const AT_BACKUP: Self = Self { policy: ReadPolicy::Linearizable, from: ReadFrom::Backup };

    /// It sees everything that was answered so long before, in whole milliseconds, and asks a backup
    /// first; one that knows by an earlier read that what it has executed is young enough asks nobody.
    #[must_use]
    pub fn bounded(age: Duration) -> Self {
        let age = u32::try_from(age.as_millis()).unwrap_or(u32::MAX);
        Self { policy: ReadPolicy::Bounded { age }, from: ReadFrom::Backup }
    }

    /// It sees all up to `after`, the highest op that any answer to this caller named, and asks a
    /// backup first.
    #[must_use]
    pub const fn causal(after: OpNumber) -> Self {
        Self { policy: ReadPolicy::Causal { after }, from: ReadFrom::Backup }
    }
}

/// How a read ended. It changed nothing, so that it may be repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadResult {
    /// It was answered.
    Done {
        /// It saw everything up to this op.
        op: OpNumber,
        /// The service's answer.
        answer: Bytes,
    },
    /// No replica that was asked in time could answer; the last one said why.
    Refused(ReadRefusal),
    /// No replica said anything in time.
    Deadline,
    /// The client's transport or its runtime has stopped.
    Closed,
}

/// A replica did not say how it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatusError {
    /// It did not answer in time.
    #[error("the replica did not answer in time: check that it runs and can be reached")]
    Deadline,
    /// It answered something else than a status.
    #[error("the replica's answer cannot be read ({0}): use the same version as the replica")]
    Malformed(String),
    /// The client's transport or its runtime has stopped.
    #[error("the client has stopped")]
    Closed,
}

impl Client {
    /// Makes a client and starts its pool as a task of the current runtime. `answers` is the channel
    /// that the transport delivers to.
    ///
    /// # Errors
    /// [`ClientConfigError`] where the configuration cannot work.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new<T: ClientTransport>(
        config: ClientConfig,
        transport: T,
        answers: mpsc::Receiver<FromReplica>,
    ) -> Result<Self, ClientConfigError> {
        if config.replicas.is_empty() {
            return Err(ClientConfigError::NoReplicas);
        }
        if !(1..=SESSIONS_MAX).contains(&config.sessions) {
            return Err(ClientConfigError::Sessions(config.sessions));
        }
        let (commands, waiting) = mpsc::channel(COMMANDS_WAITING);
        let request_bytes = config.request_bytes;
        tokio::spawn(Pool::new(config, transport, answers, waiting).run());
        Ok(Self { commands, request_bytes })
    }

    /// Has the cluster execute an operation, and waits for its reply until `deadline`.
    ///
    /// Dropping the future gives the call up: what came of it stays unknown.
    pub async fn call(&self, operation: Bytes, deadline: Instant) -> CallOutcome {
        if operation.len() > self.request_bytes as usize {
            return CallOutcome::NotDone(NotDone::Refused(Refusal::Malformed));
        }
        let (answer, answered) = oneshot::channel();
        let command = Command::Call { operation, deadline, answer };
        match self.command(command, deadline).await {
            Ok(()) => answered.await.unwrap_or(CallOutcome::Unknown),
            Err(reason) => CallOutcome::NotDone(reason),
        }
    }

    /// [`Client::call`] with a deadline from now.
    pub async fn call_within(&self, operation: Bytes, patience: Duration) -> CallOutcome {
        self.call(operation, Instant::now() + patience).await
    }

    /// Reads without an entry in the log, and without a session, until `deadline`.
    pub async fn read(
        &self,
        operation: Bytes,
        options: ReadOptions,
        deadline: Instant,
    ) -> ReadResult {
        if operation.len() > self.request_bytes as usize {
            return ReadResult::Refused(ReadRefusal::NotARead);
        }
        let (answer, answered) = oneshot::channel();
        let command = Command::Read { operation, options, deadline, answer };
        match self.command(command, deadline).await {
            Ok(()) => answered.await.unwrap_or(ReadResult::Closed),
            Err(NotDone::Deadline) => ReadResult::Deadline,
            Err(NotDone::Closed | NotDone::Refused(_)) => ReadResult::Closed,
        }
    }

    /// Asks one replica how it is.
    ///
    /// # Errors
    /// [`StatusError`] says why there is no answer.
    pub async fn status(
        &self,
        replica: ReplicaId,
        deadline: Instant,
    ) -> Result<Status, StatusError> {
        let (answer, answered) = oneshot::channel();
        let command = Command::Status { replica, deadline, answer };
        match self.command(command, deadline).await {
            Ok(()) => {}
            Err(NotDone::Deadline) => return Err(StatusError::Deadline),
            Err(NotDone::Closed | NotDone::Refused(_)) => return Err(StatusError::Closed),
        }
        match answered.await {
            Ok(Some(json)) => {
                Status::from_json(&json).map_err(|error| StatusError::Malformed(error.to_string()))
            }
            Ok(None) => Err(StatusError::Deadline),
            Err(_) => Err(StatusError::Closed),
        }
    }

    async fn command(&self, command: Command, deadline: Instant) -> Result<(), NotDone> {
        match self.commands.try_send(command) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(NotDone::Closed),
            Err(mpsc::error::TrySendError::Full(command)) => {
                match timeout_at(deadline, self.commands.send(command)).await {
                    Ok(Ok(())) => Ok(()),
                    Ok(Err(_)) => Err(NotDone::Closed),
                    Err(_) => Err(NotDone::Deadline),
                }
            }
        }
    }
}

impl fmt::Display for NotDone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(reason) => f.write_str(match reason {
                Refusal::Busy => "the cluster is busy: try again after a while",
                Refusal::LogFull => "the cluster's log is full: it takes no new operations",
                Refusal::DiskFull => "the primary's disk is full: make room there",
                Refusal::NotYours => "the session belongs to somebody else",
                Refusal::Malformed => "the operation is too large, or was damaged on its way",
                Refusal::Forbidden => "the client's certificate does not allow this operation",
            }),
            Self::Deadline => f.write_str(
                "no replica could be reached in time: check that the cluster runs and its addresses",
            ),
            Self::Closed => f.write_str("the client has stopped"),
        }
    }
}
