//! A client's network: a connection to each replica, kept up.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use quinn::{Connection, Endpoint, EndpointConfig, TokioRuntime};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use vsr_core::{Checksum, ClientId, ClusterId, Epoch, ReplicaId};
use vsr_tokio::{Answer, ClientTransport, FromReplica};
use vsr_wire::{CloseReason, FRAME_LIMIT_MAX, Hello, Incoming as Decoded, Speaker, VERSION};

use crate::certificates::Credentials;
use crate::dial::{Backoff, Target};
use crate::endpoint::{Open, StartError};
use crate::greeting::{self, Ended, Greeted, Protocol};
use crate::limits::{self, DATAGRAM_MAX, INITIAL_ROUND_TRIP, REQUEST_QUEUE};
use crate::link::{ended, unexpected_stream};
use crate::name::Name;
use crate::queue::Queue;
use crate::reading::Reading;
use crate::socket;
use crate::throttle::Throttle;
use crate::writing;

/// What a client's network is told at its start.
#[derive(Clone, Debug)]
pub struct QuicClientConfig {
    /// The replicas, each with its `HOST:PORT`. Names are resolved anew at each attempt.
    pub replicas: Vec<(ReplicaId, String)>,
    /// The client's certificate; it names the cluster too.
    pub credentials: Credentials,
    /// The name that the client drew for itself.
    pub client: ClientId,
}

/// A client's network on QUIC: one connection to each replica, all dialled at once, each dialled
/// again when it is lost, so that a new primary is at hand when it is needed. Several transports
/// have several connections. Cheap to clone; closes when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct QuicClientTransport {
    replicas: Arc<[Arc<Replica>]>,
    _open: Arc<Open>,
}

/// A replica as a client sees it.
#[derive(Debug)]
struct Replica {
    id: ReplicaId,
    requests: Queue,
    live: watch::Sender<Option<Connection>>,
    /// Why the latest attempt failed, if trying again does not help.
    refusal: Mutex<Option<String>>,
}

impl QuicClientTransport {
    /// Begins to dial the replicas. What they answer goes to `answers`.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`StartError`]: no socket can be had, or the certificate is not a client's.
    pub fn start(
        config: QuicClientConfig,
        answers: mpsc::Sender<FromReplica>,
    ) -> Result<Self, StartError> {
        let cluster = match config.credentials.name() {
            Name::Client { cluster, .. } => *cluster,
            name @ Name::Replica { .. } => {
                return Err(StartError::WrongHolder {
                    certificate: name.to_string(),
                    hello: "a client".to_owned(),
                });
            }
        };
        let endpoint = endpoint()?;
        let hello = Hello {
            version: VERSION,
            cluster,
            speaker: Speaker::Client { id: config.client },
            replicas: 0,
            epoch: Epoch::ZERO,
            constants: Checksum::default(),
            frame_limit: FRAME_LIMIT_MAX,
        };
        let settings = Arc::new(limits::dialling_as_client());
        let throttle = Arc::new(Throttle::default());
        let mut replicas = Vec::new();
        for (id, address) in config.replicas {
            let replica = Arc::new(Replica {
                id,
                requests: Queue::new(REQUEST_QUEUE),
                live: watch::Sender::new(None),
                refusal: Mutex::default(),
            });
            let target = Target::new(
                endpoint.clone(),
                &config.credentials,
                hello,
                (Protocol::Client, Arc::clone(&settings)),
                (id, address),
            )?;
            let keeper = Keeper {
                replica: Arc::clone(&replica),
                target,
                cluster,
                answers: answers.clone(),
                throttle: Arc::clone(&throttle),
            };
            tokio::spawn(keeper.run());
            replicas.push(replica);
        }
        Ok(Self { replicas: replicas.into(), _open: Arc::new(Open(endpoint)) })
    }

    /// The replicas that there is a live connection to.
    #[must_use]
    pub fn connected(&self) -> Vec<ReplicaId> {
        let live = |replica: &Arc<Replica>| replica.live.borrow().as_ref().map(|_| replica.id);
        self.replicas.iter().filter_map(live).collect()
    }

    /// Why replicas refuse this client, or it them, each in words for people: wrong certificates,
    /// clusters or versions. Empty while there is hope.
    #[must_use]
    pub fn refusals(&self) -> Vec<(ReplicaId, String)> {
        let refused = |replica: &Arc<Replica>| Some((replica.id, replica.refusal().clone()?));
        self.replicas.iter().filter_map(refused).collect()
    }

    /// Waits until there is a connection to at least one replica.
    pub async fn wait_connected(&self) {
        let mut waits = JoinSet::new();
        for replica in self.replicas.iter() {
            let mut live = replica.live.subscribe();
            waits.spawn(async move { live.wait_for(Option::is_some).await.map(|_| ()) });
        }
        waits.join_next().await;
    }
}

impl Replica {
    fn refusal(&self) -> MutexGuard<'_, Option<String>> {
        self.refusal.lock().expect("no code panics with this lock")
    }
}

impl ClientTransport for QuicClientTransport {
    fn send(&self, to: ReplicaId, frames: Bytes) {
        if let Some(replica) = self.replicas.iter().find(|replica| replica.id == to) {
            replica.requests.put(frames);
        }
    }

    fn broadcast(&self, frames: Bytes) {
        for replica in self.replicas.iter() {
            replica.requests.put(frames.clone());
        }
    }

    fn round_trip(&self) -> Duration {
        self.replicas
            .iter()
            .filter_map(|replica| replica.live.borrow().as_ref().map(Connection::rtt))
            .max()
            .unwrap_or(INITIAL_ROUND_TRIP)
    }
}

fn endpoint() -> Result<Endpoint, StartError> {
    let refused = |source| StartError::Listen { address: "any port".to_owned(), source };
    let mut config = EndpointConfig::default();
    config
        .max_udp_payload_size(DATAGRAM_MAX)
        .expect("the largest datagram is within what QUIC allows");
    let socket = socket::bind_any().map_err(refused)?;
    Endpoint::new(config, None, socket, Arc::new(TokioRuntime)).map_err(refused)
}

/// Keeps a connection to one replica.
struct Keeper {
    replica: Arc<Replica>,
    target: Target,
    cluster: ClusterId,
    answers: mpsc::Sender<FromReplica>,
    throttle: Arc<Throttle>,
}

impl Keeper {
    async fn run(self) {
        let mut backoff = Backoff::default();
        while !self.answers.is_closed() {
            let ended = match self.target.dial().await {
                Ok(greeted) => {
                    backoff.reset();
                    self.serve(greeted).await
                }
                Err(ended) => ended,
            };
            if ended == Ended::NodeGone {
                return;
            }
            self.note(&ended);
            // The client sends again what matters; what waited is out of date by then.
            drop(self.replica.requests.take_now());
            tokio::time::sleep(backoff.next(ended.is_transient())).await;
        }
    }

    fn note(&self, ended: &Ended) {
        *self.replica.refusal() = (!ended.is_transient()).then(|| ended.to_string());
        let (replica, address) = (self.target.replica.0, &self.target.address);
        let line = format!("replica {replica} at {address}: {ended}");
        if self.throttle.admit(address, &line).is_some() {
            if ended.is_transient() {
                tracing::debug!("{line}");
            } else {
                tracing::warn!("{line}");
            }
        }
    }

    async fn serve(&self, greeted: Greeted) -> Ended {
        let connection = greeted.connection.clone();
        self.replica.live.send_replace(Some(connection.clone()));
        *self.replica.refusal() = None;
        let mut tasks = JoinSet::new();
        let replica = Arc::clone(&self.replica);
        tasks.spawn(async move { writing::write(greeted.send, &replica.requests).await });
        tasks.spawn(read(
            Reading::new(greeted.receive, greeted.reader),
            self.replica.id,
            self.cluster,
            self.answers.clone(),
        ));
        let ended = tokio::select! {
            finished = tasks.join_next() => ended(finished),
            stream = connection.accept_uni() => match stream {
                Ok(_) => unexpected_stream(),
                Err(error) => error.into(),
            },
            () = self.answers.closed() => Ended::NodeGone,
        };
        self.replica.live.send_replace(None);
        ended.close(&connection);
        ended
    }
}

/// Hands on what a replica answers, and waits while the client is behind.
async fn read(
    mut reading: Reading,
    from: ReplicaId,
    cluster: ClusterId,
    answers: mpsc::Sender<FromReplica>,
) -> Ended {
    loop {
        let outcome = match reading.next_frame() {
            Ok(Some(decoded)) => match admit(decoded, from, cluster) {
                Ok(answer) => {
                    let sent = answers.send(FromReplica { from, answer }).await;
                    sent.map_err(|_| Ended::NodeGone)
                }
                Err(ended) => Err(ended),
            },
            Ok(None) => reading.more().await,
            Err(ended) => Err(ended),
        };
        if let Err(ended) = outcome {
            return ended;
        }
    }
}

/// Lets pass what a replica may say to a client, if it says so of itself.
fn admit(decoded: Decoded, replica: ReplicaId, ours: ClusterId) -> Result<Answer, Ended> {
    let (from, cluster, answer) = match decoded {
        Decoded::Reply { from, reply } => (from, reply.cluster, Answer::Reply(reply)),
        Decoded::Inform { cluster, from, epoch: _, view, primary } => {
            (from, cluster, Answer::Inform { view, primary })
        }
        Decoded::StatusReply { cluster, from, json } => (from, cluster, Answer::Status(json)),
        Decoded::Hello(_) => return Err(greeting::second_hello()),
        Decoded::Close { code } => return Err(greeting::closed(code)),
        Decoded::Peer { .. } | Decoded::Request(_) | Decoded::StatusRequest { .. } => {
            return Err(greeting::out_of_place());
        }
    };
    if from != replica {
        return Err(Ended::refused(
            CloseReason::WrongSender,
            format!("a frame of replica {} came from replica {}", from.0, replica.0),
        ));
    }
    if cluster != ours {
        return Err(greeting::wrong_cluster());
    }
    Ok(answer)
}
