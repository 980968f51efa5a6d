//! A cluster as a client command sees it: operations in, answers out, and what is certain about
//! those that got none.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;
use uuid::Uuid;
use vsr_core::{ClientId, ClusterId, Constants, OpNumber, ReadRefusal, Refusal, ReplicaId, Timing};
use vsr_kv::{Answer, Operation, Refused};
use vsr_quic::certificates::Credentials;
use vsr_quic::{QuicClientConfig, QuicClientTransport};
use vsr_tokio::transport::{ANSWERS, ClientTransport};
use vsr_tokio::{CallOutcome, Client, ClientConfig, NotDone, ReadOptions, ReadResult, Status};

use crate::cli::ReadPolicy;
use crate::context::Context;
use crate::error::{self, Failure, Outcome};
use crate::units::show;

/// How long to wait before asking again where the cluster is busy: some round trips.
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// A cluster, through one connection to each replica.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    client: Client,
    network: Arc<QuicClientTransport>,
    cluster: Uuid,
    replicas: Arc<[(u32, String)]>,
    patience: Duration,
    /// How reads are made; `None` is through the log.
    read: Option<ReadOptions>,
}

/// How a call ended that brought no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// It was certainly not done, and never will be.
    NotDone(Failure),
    /// It may have been done, or may yet be.
    Unknown(Failure),
}

impl NoAnswer {
    pub(crate) fn into_failure(self) -> Failure {
        match self {
            Self::NotDone(failure) | Self::Unknown(failure) => failure,
        }
    }
}

impl Remote {
    /// Begins to connect. `sessions` operations can be under way at a time; each call is given up
    /// after `patience`.
    ///
    /// # Errors
    /// The client's file or certificate cannot be used.
    pub(crate) fn connect(context: &Context, sessions: usize, patience: Duration) -> Outcome<Self> {
        Self::connect_with_window(context, sessions, 1, patience)
    }

    /// As [`Self::connect`], with up to `window` operations under way in each session, as far as the
    /// cluster allows.
    ///
    /// # Errors
    /// The client's file or certificate cannot be used.
    pub(crate) fn connect_with_window(
        context: &Context,
        sessions: usize,
        window: u32,
        patience: Duration,
    ) -> Outcome<Self> {
        let (directory, stem) = context.credentials()?;
        let credentials = Credentials::load(directory, stem).map_err(error::of_certificate)?;
        let cluster = ClusterId(context.cluster.as_u128());
        if credentials.name().cluster() != cluster {
            return Err(Failure::new(
                error::Status::Identity,
                format!(
                    "the certificate is {}, but the client's file is of cluster {}",
                    credentials.name(),
                    context.cluster
                ),
                "use the certificate that was issued for this cluster",
            ));
        }
        let replicas = context.replicas()?;
        let ids: Vec<ReplicaId> = replicas.iter().map(|(id, _)| ReplicaId(*id)).collect();
        let (answers, answered) = mpsc::channel(ANSWERS);
        let config = QuicClientConfig {
            replicas: replicas.iter().map(|(id, at)| (ReplicaId(*id), at.clone())).collect(),
            credentials,
            client: ClientId(Uuid::now_v7().as_u128()),
        };
        let network = QuicClientTransport::start(config, answers).map_err(error::of_start)?;
        let network = Arc::new(network);
        let config = ClientConfig {
            cluster,
            replicas: ids,
            sessions,
            window,
            timing: Timing::DEFAULT,
            request_bytes: Constants::DEFAULT.request_bytes,
        };
        let client = Client::new(config, Shared(Arc::clone(&network)), answered)
            .map_err(|error| Failure::usage(error.to_string(), "check the client's file"))?;
        Ok(Self {
            client,
            network,
            cluster: context.cluster,
            replicas: replicas.into(),
            patience,
            read: None,
        })
    }

    /// Makes reads in another way than through the log.
    pub(crate) fn reading(self, policy: &ReadPolicy) -> Self {
        let read = match policy {
            ReadPolicy::Log | ReadPolicy::Later(_) => None,
            ReadPolicy::Linearizable => Some(ReadOptions::LINEARIZABLE),
            ReadPolicy::Backup => Some(ReadOptions::AT_BACKUP),
            ReadPolicy::Causal(op) => Some(ReadOptions::causal(OpNumber(*op))),
            ReadPolicy::Stale(age) => Some(ReadOptions::bounded(*age)),
        };
        Self { read, ..self }
    }

    /// The cluster's id.
    pub(crate) const fn cluster(&self) -> Uuid {
        self.cluster
    }

    /// The replicas and where they are, by number.
    pub(crate) fn replicas(&self) -> &[(u32, String)] {
        &self.replicas
    }

    /// How long a call is waited for.
    pub(crate) const fn patience(&self) -> Duration {
        self.patience
    }

    /// Has the cluster execute an operation; a read in the way that was chosen.
    pub(crate) async fn call(&self, operation: &Operation) -> Result<Answer, NoAnswer> {
        let reads = matches!(operation, Operation::Get { .. } | Operation::Range { .. });
        if let Some(options) = self.read.filter(|_| reads) {
            return self.read(operation, options).await.map_err(NoAnswer::NotDone);
        }
        let bytes = operation.encode().map_err(|refused| {
            NoAnswer::NotDone(Failure::usage(refused.to_string(), hint(&refused)))
        })?;
        self.call_encoded(bytes).await
    }

    /// [`Remote::call`] with an operation's bytes.
    pub(crate) async fn call_encoded(&self, operation: Bytes) -> Result<Answer, NoAnswer> {
        match self.client.call_within(operation, self.patience).await {
            CallOutcome::Done { reply: Some(reply), .. } => {
                Answer::decode(&reply).map_err(|malformed| {
                    let status = error::Status::Version;
                    NoAnswer::Unknown(Failure::new(status, malformed.to_string(), ""))
                })
            }
            CallOutcome::Done { reply: None, .. } => Err(NoAnswer::Unknown(Failure::new(
                error::Status::Unknown,
                "it was done, but the answer got lost and was too large to be kept",
                "read the keys to see",
            ))),
            CallOutcome::NotDone(reason) => Err(NoAnswer::NotDone(self.not_done(reason))),
            CallOutcome::Unknown => Err(NoAnswer::Unknown(Failure::new(
                error::Status::Unknown,
                format!(
                    "no answer within {}: whether it was done is not known, it may yet be",
                    show(self.patience)
                ),
                "read the key to see; `vsr status` shows what is wrong",
            ))),
        }
    }

    /// Has the cluster execute an operation, for commands that end with what went wrong. A read
    /// without an answer is certainly not done: it changes nothing.
    ///
    /// # Errors
    /// What went wrong.
    pub(crate) async fn ask(&self, operation: &Operation) -> Outcome<Answer> {
        let reads = matches!(operation, Operation::Get { .. } | Operation::Range { .. });
        self.call(operation).await.map_err(|no_answer| {
            let mut failure = no_answer.into_failure();
            if reads && failure.status == error::Status::Unknown {
                failure.status = error::Status::Unavailable;
                failure.message = format!("no answer within {}", show(self.patience));
                failure.hint = "try again; `vsr status` shows what is wrong".to_owned();
            }
            failure
        })
    }

    /// Reads without an entry in the log.
    async fn read(&self, operation: &Operation, options: ReadOptions) -> Outcome<Answer> {
        let bytes = operation
            .encode()
            .map_err(|refused| Failure::usage(refused.to_string(), hint(&refused)))?;
        let unavailable = |message: String| {
            let hint = "try again; `vsr status` shows what is wrong";
            Failure::new(error::Status::Unavailable, message, hint)
        };
        match self.client.read(bytes, options, Instant::now() + self.patience).await {
            ReadResult::Done { answer, .. } => Answer::decode(&answer).map_err(|malformed| {
                Failure::new(error::Status::Version, malformed.to_string(), "")
            }),
            ReadResult::Refused(reason) => Err(match reason {
                ReadRefusal::Busy | ReadRefusal::NotConfirmed | ReadRefusal::Behind => {
                    unavailable(reason.to_string())
                }
                ReadRefusal::NotARead => Failure::usage(reason.to_string(), "use `--read log`"),
                ReadRefusal::Forbidden => Failure::new(
                    error::Status::Identity,
                    reason.to_string(),
                    "use a client's file whose certificate has the role for it: `vsr cert client`",
                ),
            }),
            ReadResult::Deadline => Err(match self.refusal() {
                Some(refusal) => refusal,
                None => unavailable(format!("no answer within {}", show(self.patience))),
            }),
            ReadResult::Closed => Err(self.not_done(NotDone::Closed)),
        }
    }

    /// Asks one replica how it is; `None` where it does not answer within `patience`.
    pub(crate) async fn status_of(&self, replica: u32, patience: Duration) -> Option<Status> {
        self.client.status(ReplicaId(replica), Instant::now() + patience).await.ok()
    }

    /// Waits until the cluster executes operations: a read goes through the log as a put does.
    ///
    /// # Errors
    /// It does not within `patience`, and why.
    pub(crate) async fn wait_ready(&self, patience: Duration) -> Outcome {
        let probe = Operation::Get { key: Bytes::from_static(b"vsr/ready") };
        let bytes = probe.encode().map_err(|refused| Failure::usage(refused.to_string(), ""))?;
        let deadline = Instant::now() + patience;
        loop {
            match self.client.call(bytes.clone(), deadline).await {
                CallOutcome::Done { .. } => return Ok(()),
                CallOutcome::NotDone(NotDone::Refused(Refusal::Busy))
                    if Instant::now() < deadline =>
                {
                    tokio::time::sleep(BUSY_PAUSE).await;
                }
                CallOutcome::NotDone(reason) => return Err(self.not_done(reason)),
                CallOutcome::Unknown => {
                    return Err(Failure::new(
                        error::Status::Unavailable,
                        format!("the cluster is not ready after {}", show(patience)),
                        "`vsr status` shows what is wrong",
                    ));
                }
            }
        }
    }

    /// What a call that reached nobody fails with where every replica that answers refuses this
    /// client.
    pub(crate) fn refusal(&self) -> Option<Failure> {
        if !self.network.connected().is_empty() {
            return None;
        }
        let (replica, why) = self.network.refusals().into_iter().next()?;
        Some(Failure::new(
            error::Status::Identity,
            format!("replica {} and this client do not trust each other: {why}", replica.0),
            "use the client's file and the certificate of this very cluster: `vsr cert show FILE`",
        ))
    }

    fn not_done(&self, reason: NotDone) -> Failure {
        if reason == NotDone::Deadline
            && let Some(refusal) = self.refusal()
        {
            return refusal;
        }
        let unavailable = |hint: &str| {
            Failure::new(error::Status::Unavailable, reason.to_string(), hint.to_owned())
        };
        match reason {
            NotDone::Refused(Refusal::Forbidden | Refusal::NotYours) => Failure::new(
                error::Status::Identity,
                reason.to_string(),
                "use a client's file whose certificate has the role for it: `vsr cert client`",
            ),
            NotDone::Refused(Refusal::Malformed) => {
                Failure::usage(reason.to_string(), "make it smaller")
            }
            NotDone::Refused(Refusal::LogFull) => unavailable(
                "this version cannot make room in a log; `vsr status` shows how full it is",
            ),
            NotDone::Refused(Refusal::Busy | Refusal::DiskFull) => {
                unavailable("`vsr status` shows how the replicas are")
            }
            NotDone::Deadline if self.network.connected().is_empty() => {
                unavailable("start the replicas; `vsr status` shows which of them answer")
            }
            NotDone::Deadline => Failure::new(
                error::Status::Unavailable,
                format!("no session within {}: it was not done", show(self.patience)),
                "`vsr status` shows whether a majority of the replicas answers",
            ),
            NotDone::Closed => unavailable("`vsr status` shows what is wrong"),
        }
    }
}

/// What helps where an operation exceeds a limit.
pub(crate) const fn hint(refused: &Refused) -> &'static str {
    match refused {
        Refused::KeyEmpty => "name a key of at least one byte",
        Refused::KeyTooLong(_) | Refused::ValueTooLong(_) => "make it smaller",
        Refused::OperationTooLong(_) | Refused::Steps(_) => "make several operations of it",
        Refused::Nested => "list its operations in the outer one",
    }
}

/// A network that the pool sends through, while the command looks at its connections.
struct Shared(Arc<QuicClientTransport>);

impl ClientTransport for Shared {
    fn send(&self, to: ReplicaId, frames: Bytes) {
        self.0.send(to, frames);
    }

    fn broadcast(&self, frames: Bytes) {
        self.0.broadcast(frames);
    }

    fn round_trip(&self) -> Duration {
        self.0.round_trip()
    }
}
