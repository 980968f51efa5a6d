//! A replica's network: one UDP port for peers and clients.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quinn::{
    Endpoint, EndpointConfig, Incoming as Attempt, ServerConfig, TokioRuntime,
    ValidationTokenConfig, VarInt,
};
use tokio::time::timeout;
use vsr_core::{Class, ClusterId, Incarnation, ReplicaId};
use vsr_tokio::{ConnectionId, Inbox, Transport};
use vsr_wire::{CloseReason, Hello, Speaker};

use crate::admission::{Admission, Ticket};
use crate::certificates::{CertificateError, Credentials};
use crate::clients::Clients;
use crate::dial::{Backoff, Target};
use crate::greeting::{self, Ended, Greeted, Protocol};
use crate::limits::{
    self, DATAGRAM_MAX, HANDSHAKE_TIMEOUT, HELLO_TIMEOUT, INCOMING_BYTES, INCOMING_BYTES_TOTAL,
    INCOMING_MAX, INITIAL_ROUND_TRIP, RESET_INTERVAL,
};
use crate::link::{Link, Slot};
use crate::name::Name;
use crate::socket::{self, Strays, WatchedIds, WatchedSocket};
use crate::throttle::Throttle;
use crate::tls;

/// How long closing waits for the other sides to confirm: some round trips.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// What a replica's network is told at its start.
#[derive(Clone, Debug)]
pub struct QuicConfig {
    /// Where to listen, `HOST:PORT`; port 0 takes a free one.
    pub listen: String,
    /// The other replicas, each with its `HOST:PORT`. Names are resolved anew at each attempt.
    pub peers: Vec<(ReplicaId, String)>,
    /// This replica's certificate.
    pub credentials: Credentials,
    /// What is said first on each connection. Its speaker must be the replica that the certificate
    /// names, its cluster the certificate's.
    pub hello: Hello,
}

/// Why a transport could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address to listen on, or to dial from, cannot be had.
    #[error("cannot listen on {address}: {source}{}", hint(.source))]
    Listen {
        /// The address.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The certificate cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The certificate is not that of whom the hello introduces.
    #[error("the certificate names {certificate}, but {hello} was to be started: use its own")]
    WrongHolder {
        /// Whom the certificate names.
        certificate: String,
        /// Whom the hello introduces.
        hello: String,
    },
}

fn hint(source: &std::io::Error) -> &'static str {
    if source.kind() == std::io::ErrorKind::AddrInUse {
        " (another process has this port: stop it or choose another port)"
    } else if source.kind() == std::io::ErrorKind::AddrNotAvailable {
        " (this machine does not have that address)"
    } else {
        ""
    }
}

/// A replica's network on QUIC. Cheap to clone; closes when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct QuicTransport {
    shared: Arc<Shared>,
    _open: Arc<Open>,
}

/// Closes the endpoint when the last handle on the transport is gone; the tasks do not hold it.
#[derive(Debug)]
pub(crate) struct Open(pub(crate) Endpoint);

impl Drop for Open {
    fn drop(&mut self) {
        shut(&self.0);
    }
}

#[derive(Debug)]
struct Shared {
    endpoint: Endpoint,
    cluster: ClusterId,
    me: ReplicaId,
    hello: Hello,
    peers: Vec<(ReplicaId, Slot)>,
    clients: Clients,
    admission: Admission,
    throttle: Arc<Throttle>,
    inbox: Inbox,
}

impl QuicTransport {
    /// Listens, and begins to dial the peers. What arrives goes to `inbox`.
    ///
    /// # Errors
    /// [`StartError`]: the address cannot be had, or the certificate is another's.
    pub async fn start(config: QuicConfig, inbox: Inbox) -> Result<Self, StartError> {
        let me = check_holder(&config)?;
        let throttle = Arc::new(Throttle::default());
        let endpoint = listen(&config, &throttle).await?;
        let shared = Arc::new(Shared {
            endpoint: endpoint.clone(),
            cluster: config.hello.cluster,
            me,
            hello: config.hello,
            peers: config.peers.iter().map(|(id, _)| (*id, Slot::new())).collect(),
            clients: Clients::default(),
            admission: Admission::default(),
            throttle,
            inbox,
        });
        let settings = Arc::new(limits::dialling_as_replica());
        for (place, peer) in config.peers.into_iter().enumerate() {
            let target = Target::new(
                endpoint.clone(),
                &config.credentials,
                config.hello,
                (Protocol::Peer, Arc::clone(&settings)),
                peer,
            )?;
            tokio::spawn(keep_linked(Arc::clone(&shared), place, target));
        }
        tokio::spawn(accept(Arc::clone(&shared)));
        Ok(Self { shared, _open: Arc::new(Open(endpoint)) })
    }

    /// The address it listens on.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_address(&self) -> std::io::Result<SocketAddr> {
        self.shared.endpoint.local_addr()
    }

    /// The peers that there is a live connection to.
    #[must_use]
    pub fn linked(&self) -> Vec<ReplicaId> {
        let live = |(id, slot): &(ReplicaId, Slot)| slot.link().map(|_| *id);
        self.shared.peers.iter().filter_map(live).collect()
    }

    /// Which life of a peer there is a live connection to.
    #[must_use]
    pub fn incarnation(&self, peer: ReplicaId) -> Option<Incarnation> {
        let link = self.shared.slot(peer)?.link()?;
        Some(link.incarnation())
    }

    /// How many clients are connected.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.shared.clients.count()
    }

    /// Closes all connections, tells the other sides, and waits a moment for them to know.
    pub async fn close(&self) {
        shut(&self.shared.endpoint);
        // Who does not confirm in time learns by a stateless reset, or by silence.
        let _ = timeout(CLOSE_TIMEOUT, self.shared.endpoint.wait_idle()).await;
    }
}

impl Transport for QuicTransport {
    fn send(&self, to: ReplicaId, class: Class, frames: Bytes) {
        if let Some(link) = self.shared.slot(to).and_then(Slot::link) {
            link.queue(class).put(frames);
        }
    }

    fn reply(&self, to: ConnectionId, frames: Bytes) {
        self.shared.clients.reply(to, frames);
    }

    fn inform(&self, frames: Bytes) {
        self.shared.clients.inform(frames);
    }

    fn round_trip(&self) -> Duration {
        let mut measured: Vec<_> = self
            .shared
            .peers
            .iter()
            .filter_map(|(_, slot)| slot.link())
            .map(|link| link.connection().rtt())
            .collect();
        measured.sort_unstable();
        // With this replica, a majority of all needs this many of the others.
        let needed = self.shared.peers.len().div_ceil(2);
        needed
            .checked_sub(1)
            .and_then(|place| measured.get(place).copied())
            .unwrap_or(INITIAL_ROUND_TRIP)
    }
}

fn check_holder(config: &QuicConfig) -> Result<ReplicaId, StartError> {
    let wrong = |hello: String| StartError::WrongHolder {
        certificate: config.credentials.name().to_string(),
        hello,
    };
    match config.hello.speaker {
        Speaker::Replica { id, .. } => {
            let expected = Name::Replica { cluster: config.hello.cluster, replica: id };
            if *config.credentials.name() == expected {
                Ok(id)
            } else {
                Err(wrong(expected.to_string()))
            }
        }
        Speaker::Client { .. } => Err(wrong("a client".to_owned())),
    }
}

async fn listen(config: &QuicConfig, throttle: &Arc<Throttle>) -> Result<Endpoint, StartError> {
    let refused = |source| StartError::Listen { address: config.listen.clone(), source };
    let address = tokio::net::lookup_host(&config.listen)
        .await
        .map_err(refused)?
        .next()
        .ok_or_else(|| refused(std::io::ErrorKind::AddrNotAvailable.into()))?;
    let keys = config.credentials.restart_keys();
    let strays = Strays::new(Arc::clone(throttle));
    let socket = socket::bind(address).map_err(refused)?;
    let socket = WatchedSocket::new(socket, keys, Arc::clone(&strays)).map_err(refused)?;
    let mut endpoint = EndpointConfig::new(keys.reset());
    let keys = keys.clone();
    endpoint
        .cid_generator(move || Box::new(WatchedIds::new(keys.ids(), Arc::clone(&strays))))
        // Only the version that is spoken, and only with the bit set that tells QUIC from the rest.
        .supported_versions(vec![1])
        .grease_quic_bit(false)
        .min_reset_interval(RESET_INTERVAL)
        .max_udp_payload_size(DATAGRAM_MAX)
        .expect("the largest datagram is within what QUIC allows");
    let tls = tls::listen_config(&config.credentials)?;
    let mut tokens = ValidationTokenConfig::default();
    // Tokens for later connections would let their holders skip the proof of their address.
    tokens.sent(0);
    let mut server = ServerConfig::with_crypto(Arc::new(tls));
    server
        .transport_config(Arc::new(limits::accepting()))
        .validation_token_config(tokens)
        .migration(false)
        .max_incoming(INCOMING_MAX)
        .incoming_buffer_size(INCOMING_BYTES)
        .incoming_buffer_size_total(INCOMING_BYTES_TOTAL);
    Endpoint::new_with_abstract_socket(
        endpoint,
        Some(server),
        Arc::new(socket),
        Arc::new(TokioRuntime),
    )
    .map_err(refused)
}

fn shut(endpoint: &Endpoint) {
    let reason = CloseReason::ShuttingDown;
    endpoint.close(VarInt::from(u32::from(reason.code())), b"");
}

impl Shared {
    fn slot(&self, peer: ReplicaId) -> Option<&Slot> {
        self.peers.iter().find(|(id, _)| *id == peer).map(|(_, slot)| slot)
    }

    /// Runs a link between `greeted` and its end, if it prevails over what there is.
    async fn run_link(&self, peer: ReplicaId, slot: &Slot, greeted: Greeted, dialler: ReplicaId) {
        let Speaker::Replica { incarnation, .. } = greeted.theirs.speaker else {
            return;
        };
        let connection = greeted.connection.clone();
        let by_lower = dialler == self.me.min(peer);
        let link = Arc::new(Link::new(connection, peer, incarnation, by_lower));
        if !slot.install(&link) {
            return;
        }
        let from = greeted.connection.remote_address();
        tracing::info!(peer = peer.0, %from, incarnation = incarnation.0, "connected");
        let ended = link.run(greeted, self.cluster, &self.inbox).await;
        slot.remove(&link);
        self.conclude(&link, &ended);
    }

    fn conclude(&self, link: &Link, ended: &Ended) {
        ended.close(link.connection());
        match ended {
            Ended::Refused { .. } => self.warn_refused(link.connection().remote_address(), ended),
            Ended::Lost { .. } => {
                let peer = link.peer().0;
                tracing::info!(peer, "connection lost: {ended}");
            }
            Ended::NodeGone => shut(&self.endpoint),
        }
    }

    fn warn_refused(&self, from: SocketAddr, ended: &Ended) {
        let line = ended.to_string();
        if let Some(held_back) = self.throttle.admit(from.ip(), &line) {
            tracing::warn!(%from, held_back, "refused a connection: {line}");
        }
    }
}

/// Dials a peer whenever there is no link to it.
async fn keep_linked(shared: Arc<Shared>, place: usize, target: Target) {
    let (peer, slot) = &shared.peers[place];
    let lower = shared.me < *peer;
    let mut backoff = Backoff::default();
    loop {
        slot.wait(false).await;
        let outcome = if lower {
            // The link that it leads to prevails, so it is not given up when the peer dials too.
            target.dial().await
        } else {
            tokio::select! {
                outcome = target.dial() => outcome,
                () = slot.wait(true) => continue,
            }
        };
        let wait = match outcome {
            Ok(greeted) => {
                backoff.reset();
                shared.run_link(*peer, slot, greeted, shared.me).await;
                backoff.next(true)
            }
            Err(Ended::NodeGone) => return,
            Err(ended) => {
                shared.note_unreachable(&target, &ended);
                backoff.next(ended.is_transient())
            }
        };
        // A peer that has dialled in the meantime makes the wait moot.
        let _ = timeout(wait, slot.wait(true)).await;
    }
}

impl Shared {
    fn note_unreachable(&self, target: &Target, ended: &Ended) {
        let (peer, address) = (target.replica.0, &target.address);
        let line = format!("cannot reach replica {peer} at {address}: {ended}");
        if let Some(held_back) = self.throttle.admit(address, &line) {
            match ended {
                Ended::Refused { .. } => tracing::warn!(held_back, "{line}"),
                Ended::Lost { .. } | Ended::NodeGone => tracing::info!(held_back, "{line}"),
            }
        }
    }
}

/// Takes in whoever dials.
async fn accept(shared: Arc<Shared>) {
    while let Some(attempt) = shared.endpoint.accept().await {
        let from = attempt.remote_address();
        if shared.admission.is_busy() && !attempt.remote_address_validated() {
            // It fails only for an address that is validated.
            let _ = attempt.retry();
            continue;
        }
        match shared.admission.admit(from.ip()) {
            Some(ticket) => {
                tokio::spawn(receive(Arc::clone(&shared), attempt, ticket));
            }
            None => {
                attempt.refuse();
                let detail = "too many connections that have not said hello";
                shared.warn_refused(from, &Ended::refused(CloseReason::Busy, detail));
            }
        }
    }
}

/// Greets whoever dialled, and then serves it until its connection ends.
async fn receive(shared: Arc<Shared>, attempt: Attempt, ticket: Ticket) {
    let from = attempt.remote_address();
    match greet(&shared, attempt).await {
        Ok((greeted, name)) => {
            drop(ticket);
            shared.serve(greeted, name).await;
        }
        Err(ended) => shared.warn_refused(from, &ended),
    }
}

async fn greet(shared: &Shared, attempt: Attempt) -> Result<(Greeted, Name), Ended> {
    let late = |what: &str, limit: Duration| {
        let detail = format!("no {what} within {limit:?}");
        Ended::refused(CloseReason::TimedOut, detail)
    };
    let connection = timeout(HANDSHAKE_TIMEOUT, attempt.accept()?)
        .await
        .map_err(|_| late("TLS handshake", HANDSHAKE_TIMEOUT))??;
    let admitted = async {
        let (protocol, name) = identify(&connection)?;
        if protocol == Protocol::Peer {
            shared.check_peer(&name)?;
        }
        let greeting = greeting::answer(connection.clone(), protocol, &shared.hello, &name);
        let greeted =
            timeout(HELLO_TIMEOUT, greeting).await.map_err(|_| late("hello", HELLO_TIMEOUT))??;
        Ok((greeted, name))
    };
    admitted.await.inspect_err(|ended: &Ended| ended.close(&connection))
}

/// What is spoken and by whom; replicas speak one protocol and clients the other.
fn identify(connection: &quinn::Connection) -> Result<(Protocol, Name), Ended> {
    let (Some(protocol), Some(name)) =
        (greeting::protocol(connection), greeting::proven_name(connection))
    else {
        let detail = "neither protocol nor certificate are known";
        return Err(Ended::refused(CloseReason::Forbidden, detail));
    };
    let detail = match (protocol, &name) {
        (Protocol::Peer, Name::Replica { .. }) | (Protocol::Client, Name::Client { .. }) => {
            return Ok((protocol, name));
        }
        (Protocol::Peer, Name::Client { .. }) => {
            format!("a client's certificate ({name}) on the protocol of replicas")
        }
        (Protocol::Client, Name::Replica { .. }) => {
            format!("a replica's certificate ({name}) on the protocol of clients")
        }
    };
    Err(Ended::refused(CloseReason::Forbidden, detail))
}

impl Shared {
    fn check_peer(&self, name: &Name) -> Result<(), Ended> {
        let known = match name {
            Name::Replica { replica, .. } => self.slot(*replica).is_some(),
            Name::Client { .. } => false,
        };
        if known {
            return Ok(());
        }
        let detail = format!("{name} is not another replica of this group");
        Err(Ended::refused(CloseReason::WrongSender, detail))
    }

    async fn serve(&self, greeted: Greeted, name: Name) {
        let connection = greeted.connection.clone();
        let from = connection.remote_address();
        match (name.identity(), name) {
            (None, Name::Replica { replica, .. }) => {
                if let Some(slot) = self.slot(replica) {
                    self.run_link(replica, slot, greeted, replica).await;
                }
            }
            (Some(identity), Name::Client { name, .. }) => {
                tracing::debug!(client = %name, %from, "connected");
                let ended = self.clients.serve(greeted, identity, self.cluster, &self.inbox).await;
                ended.close(&connection);
                match ended {
                    Ended::Refused { .. } => self.warn_refused(from, &ended),
                    Ended::Lost { .. } => tracing::debug!(client = %name, "left: {ended}"),
                    Ended::NodeGone => shut(&self.endpoint),
                }
            }
            (None, Name::Client { .. }) | (Some(_), Name::Replica { .. }) => {}
        }
    }
}
