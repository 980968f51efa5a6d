//! A replica, or a client, in one call.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use uuid::Uuid;
use vsr_core::{ClientId, ReplicaId, Service, Stored, Timing};
use vsr_storage::{Disk, DiskError, FileDisk, Format, OpenError, Start, Store};
use vsr_tokio::transport::{ANSWERS, inbox};
use vsr_tokio::{
    Client, ClientConfig, ClientConfigError, NodeError, NodeHandle, Observer, SCRUB_RATE, Setup,
    TRANSFER_RATE,
};
use vsr_wire::{Hello, Speaker, VERSION, constants_digest, frame_limit};

use crate::certificates::{CertificateError, Credentials};
use crate::client::{QuicClientConfig, QuicClientTransport};
use crate::endpoint::StartError;
use crate::transport::{QuicConfig, QuicTransport};

/// The folder of a data directory that holds the replica's certificates, unless told otherwise.
pub const TLS_FOLDER: &str = "tls";

/// Where a replica finds what it needs. Who it is, and who the others are, is in its store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeConfig {
    /// The formatted data directory.
    pub directory: PathBuf,
    /// The folder with `ca.pem`, `node.pem` and `node.key`; `None` is [`TLS_FOLDER`] in `directory`.
    pub tls: Option<PathBuf>,
    /// Where to listen, `HOST:PORT`; `None` is the address that the store has for this replica.
    pub listen: Option<String>,
    /// How many bytes a second others are given of checkpoints, at most.
    pub transfer_rate: u64,
    /// How many bytes a second are read to find damage on the disk before they are needed;
    /// [`SCRUB_RATE`] unless there is a reason. With 0 none are.
    pub scrub_rate: u64,
    /// How many checkpoints are kept, as [`Store::keep_checkpoints`](vsr_storage::Store::keep_checkpoints) says.
    pub checkpoints_kept: usize,
    /// The file that a line is written to for each event of the protocol, if any; it is added to.
    pub trace: Option<PathBuf>,
}

/// A replica that runs. Dropping it stops it in good order, without anybody waiting.
#[derive(Debug)]
pub struct ReplicaHandle {
    node: NodeHandle,
    transport: QuicTransport,
}

/// Why a replica did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The certificate cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The network cannot be used.
    #[error(transparent)]
    Network(#[from] StartError),
    /// The storage thread could not be started.
    #[error("cannot start the storage thread: {0}")]
    Thread(#[source] std::io::Error),
    /// The trace cannot be written.
    #[error("cannot write the trace {}: {source}", path.display())]
    Trace {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl ServeConfig {
    /// A replica on a data directory, all else as it was formatted.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            tls: None,
            listen: None,
            transfer_rate: TRANSFER_RATE,
            scrub_rate: SCRUB_RATE,
            checkpoints_kept: 1,
            trace: None,
        }
    }
}

/// Starts a replica: opens its store, checks its certificate, listens, and runs the node as tasks of
/// the current runtime.
///
/// # Errors
/// [`ServeError`] says what has to be mended.
///
/// # Panics
/// Outside a tokio runtime with time and IO.
pub async fn serve<S>(config: ServeConfig, service: S) -> Result<ReplicaHandle, ServeError>
where
    S: Service<Bytes> + Send + 'static,
{
    serve_on(FileDisk::open(&config.directory)?, config, service).await
}

/// [`serve`] on any disk; of `config.directory` only the certificates are read.
///
/// # Errors
/// As [`serve`].
///
/// # Panics
/// As [`serve`].
pub async fn serve_on<D, S>(
    disk: D,
    config: ServeConfig,
    service: S,
) -> Result<ReplicaHandle, ServeError>
where
    D: Disk + 'static,
    D::File: 'static,
    S: Service<Bytes> + Send + 'static,
{
    let mut setup = Setup::open(disk)?;
    setup.transfer_rate = config.transfer_rate;
    setup.scrub_rate = config.scrub_rate;
    setup.store.keep_checkpoints(config.checkpoints_kept);
    if let Some(path) = &config.trace {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        let file = file.map_err(|source| ServeError::Trace { path: path.clone(), source })?;
        setup.trace = Some(Box::new(file));
    }
    let format = setup.store.format_of();
    let tls = config.tls.unwrap_or_else(|| config.directory.join(TLS_FOLDER));
    let network = QuicConfig {
        listen: config.listen.unwrap_or_else(|| setup.address.clone()),
        peers: peers(format),
        credentials: Credentials::load_replica(&tls, format.cluster, format.replica)?,
        hello: hello(format, &begin(&setup.store, &setup.stored)?),
        known: Some(Arc::new(setup.store.known_stores())),
    };
    setup.address.clone_from(&network.listen);
    let (inbox, inlet) = inbox();
    let transport = QuicTransport::start(network, inbox).await?;
    let node = vsr_tokio::serve(setup, service, transport.clone(), inlet);
    Ok(ReplicaHandle { node: node.map_err(ServeError::Thread)?, transport })
}

impl ReplicaHandle {
    /// The node, for its status and its end.
    #[must_use]
    pub const fn node(&mut self) -> &mut NodeHandle {
        &mut self.node
    }

    /// For asking how the replica is without the handle.
    #[must_use]
    pub fn observer(&self) -> Observer {
        self.node.observer()
    }

    /// The network.
    #[must_use]
    pub const fn transport(&self) -> &QuicTransport {
        &self.transport
    }

    /// Stops the replica in good order: a primary hands its role on, the store is closed, and then
    /// the others are told.
    ///
    /// # Errors
    /// Why it could not.
    pub async fn shutdown(self) -> Result<(), NodeError> {
        let stopped = self.node.shutdown().await;
        self.transport.close().await;
        stopped
    }
}

/// The other members and where they are, as the store has it.
#[must_use]
pub fn peers(format: &Format) -> Vec<(ReplicaId, String)> {
    let others = format.addresses.iter().filter(|(id, _)| *id != format.replica);
    others.cloned().collect()
}

/// The start after those that the store has counted, with a number of its own that is written down.
fn begin<D: Disk>(store: &Store<D>, stored: &Stored<Bytes>) -> Result<Start, DiskError> {
    let incarnation = stored.superblock.incarnation.next();
    let drawn = Uuid::now_v7().as_u128();
    match store.known_stores().start(incarnation, drawn) {
        // Without a number it is compared with no other: what was written down before may be of an attempt at this very
        // start.
        Err(error) if error.is_full() => Ok(Start::new(incarnation, 0)),
        started => started,
    }
}

/// What a replica says first on its connections.
#[must_use]
pub fn hello(format: &Format, start: &Start) -> Hello {
    let members = format.configuration.members().len();
    Hello {
        version: VERSION,
        cluster: format.cluster,
        speaker: Speaker::Replica {
            id: format.replica,
            incarnation: start.incarnation,
            starts: start.drawn,
            store: format.store,
        },
        replicas: u32::try_from(members).expect("a group has at most some twenty members"),
        epoch: format.configuration.epoch(),
        constants: constants_digest(&format.constants),
        frame_limit: frame_limit(&format.constants),
    }
}

/// What a client needs to find a cluster.
#[derive(Clone, Debug)]
pub struct ConnectConfig {
    /// The replicas, each with its `HOST:PORT`.
    pub replicas: Vec<(ReplicaId, String)>,
    /// The client's certificate; it names the cluster too.
    pub credentials: Credentials,
    /// How many operations may be under way at once.
    pub sessions: usize,
    /// How many calls may be under way in one session at a time, as far as the cluster allows.
    pub window: u32,
    /// The most bytes in one operation, as the cluster was formatted.
    pub request_bytes: u32,
}

/// Why a client did not start.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The network or the certificate cannot be used.
    #[error(transparent)]
    Network(#[from] StartError),
    /// The client's settings cannot work.
    #[error(transparent)]
    Client(#[from] ClientConfigError),
}

/// Starts a client of a cluster as tasks of the current runtime. It begins to connect at once, and
/// keeps the connections up.
///
/// # Errors
/// [`ConnectError`] says what has to be mended. A cluster that is not there is none: calls wait for
/// it until their deadlines.
///
/// # Panics
/// Outside a tokio runtime with time and IO.
pub fn connect(config: ConnectConfig) -> Result<Client, ConnectError> {
    let (answers, answered) = mpsc::channel(ANSWERS);
    let client = ClientConfig {
        cluster: config.credentials.name().cluster(),
        replicas: config.replicas.iter().map(|(id, _)| *id).collect(),
        sessions: config.sessions,
        window: config.window,
        request_bytes: config.request_bytes,
        timing: Timing::DEFAULT,
    };
    let network = QuicClientConfig {
        replicas: config.replicas,
        credentials: config.credentials,
        client: ClientId(Uuid::now_v7().as_u128()),
    };
    let transport = QuicClientTransport::start(network, answers)?;
    Ok(Client::new(client, transport, answered)?)
}
