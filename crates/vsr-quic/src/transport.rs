//! A replica's network: one UDP port for peers and clients.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use quinn::Endpoint;
use tokio::sync::watch;
use tokio::time::timeout;
use vsr_core::{Class, ClusterId, Incarnation, ReplicaId};
use vsr_tokio::{ConnectionId, Inbox, Transport};
use vsr_wire::{Hello, Speaker};

use crate::accept::accept;
use crate::acquaintance::{Acquaintances, Introduced};
use crate::admission::Admission;
use crate::certificates::Credentials;
use crate::clients::Clients;
use crate::dial::{Backoff, Target};
use crate::endpoint::{StartError, listen, shut};
use crate::greeting::{Ended, Greeted, Protocol};
use crate::limits::{self, INITIAL_ROUND_TRIP};
use crate::link::{Link, Slot};
use crate::name::Name;
use crate::throttle::Throttle;

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
    /// Remembers what each peer came with; without it any store is let in.
    pub known: Option<Arc<dyn Acquaintances>>,
}

/// A replica's network on QUIC. Cheap to clone; closes when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct QuicTransport {
    shared: Arc<Shared>,
    _open: Arc<CloseOnDrop>,
}

/// Closes the endpoint when the last handle on the transport is gone; the tasks do not hold it.
#[derive(Debug)]
struct CloseOnDrop(Arc<Shared>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// What the tasks of a transport share. The inbox is not part of it: only the tasks hold that, so
/// that the node learns of the transport's end by the end of the last of them.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) endpoint: Endpoint,
    pub(crate) cluster: ClusterId,
    me: ReplicaId,
    pub(crate) hello: Hello,
    known: Option<Arc<dyn Acquaintances>>,
    peers: Vec<(ReplicaId, Slot)>,
    pub(crate) clients: Clients,
    pub(crate) admission: Admission,
    /// For lines about whoever dials.
    throttle: Arc<Throttle>,
    /// For lines about the peers that are dialled: a flood of strangers does not hide those.
    dialled: Throttle,
    /// Whether the end of the endpoint is this side's wish.
    closing: AtomicBool,
    /// Whether the endpoint has ended: nobody can be reached any more.
    stopped: watch::Sender<bool>,
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
            known: config.known,
            peers: config.peers.iter().map(|(id, _)| (*id, Slot::new())).collect(),
            clients: Clients::default(),
            admission: Admission::default(),
            throttle,
            dialled: Throttle::default(),
            closing: AtomicBool::new(false),
            stopped: watch::Sender::new(false),
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
            let (shared, inbox) = (Arc::clone(&shared), inbox.clone());
            tokio::spawn(async move {
                shared.until_stopped(keep_linked(&shared, place, target, &inbox)).await;
            });
        }
        tokio::spawn(accept(Arc::clone(&shared), inbox));
        let open = Arc::new(CloseOnDrop(Arc::clone(&shared)));
        Ok(Self { shared, _open: open })
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

    /// Closes all connections, tells the other sides, and waits a moment for them to know. A node that
    /// runs still stops, since it has no network any more.
    pub async fn close(&self) {
        self.shared.close();
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

impl Shared {
    /// Closes all connections because this side wishes so.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
        shut(&self.endpoint);
    }

    /// Has all tasks end, and with the last of them the inbox: the endpoint has ended.
    pub(crate) fn stop(&self) {
        if !self.closing.load(Ordering::Relaxed) {
            tracing::error!("the network has stopped by itself: its socket failed");
        }
        self.stopped.send_replace(true);
    }

    /// Runs a task of this transport until it ends, or the endpoint does.
    pub(crate) async fn until_stopped(&self, task: impl Future<Output = ()>) {
        let mut stopped = self.stopped.subscribe();
        tokio::select! {
            () = task => {}
            // It fails only when the sender is gone, and the sender is part of this value.
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
    }

    pub(crate) fn slot(&self, peer: ReplicaId) -> Option<&Slot> {
        self.peers.iter().find(|(id, _)| *id == peer).map(|(_, slot)| slot)
    }

    /// Lets a replica in only with the store that it came with at first, and not with an earlier copy.
    pub(crate) async fn recognise(&self, theirs: &Hello) -> Result<(), Ended> {
        match Introduced::new(self.known.clone(), theirs) {
            Some(introduced) => introduced.meet().await,
            None => Ok(()),
        }
    }

    /// Runs a link between `greeted` and its end, if it prevails over what there is.
    pub(crate) async fn run_link(
        &self,
        peer: ReplicaId,
        slot: &Slot,
        greeted: Greeted,
        dialler: ReplicaId,
        inbox: &Inbox,
    ) {
        let Some(introduced) = Introduced::new(self.known.clone(), &greeted.theirs) else {
            return;
        };
        let incarnation = introduced.incarnation();
        let connection = greeted.connection.clone();
        let by_lower = dialler == self.me.min(peer);
        let link = Arc::new(Link::new(connection, introduced, by_lower));
        if !slot.install(&link) {
            return;
        }
        let from = greeted.connection.remote_address();
        tracing::info!(peer = peer.0, %from, incarnation = incarnation.0, "connected");
        let ended = link.run(greeted, self.cluster, inbox).await;
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
            Ended::NodeGone => self.close(),
        }
    }

    /// Writes the one line about whoever is refused.
    pub(crate) fn warn_refused(&self, from: SocketAddr, ended: &Ended) {
        let line = ended.to_string();
        if let Some(held_back) = self.throttle.admit(from.ip(), &line) {
            tracing::warn!(%from, held_back, "refused a connection: {line}");
        }
    }
}

/// Dials a peer whenever there is no link to it.
async fn keep_linked(shared: &Shared, place: usize, target: Target, inbox: &Inbox) {
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
                if let Err(ended) = shared.recognise(&greeted.theirs).await {
                    ended.close(&greeted.connection);
                    shared.note_unreachable(&target, &ended);
                    backoff.next(ended.is_transient())
                } else {
                    backoff.reset();
                    shared.run_link(*peer, slot, greeted, shared.me, inbox).await;
                    backoff.next(true)
                }
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
        if let Some(held_back) = self.dialled.admit(address, &line) {
            // What does not mend itself is the operator's to know.
            if ended.is_transient() {
                tracing::info!(held_back, "{line}");
            } else {
                tracing::warn!(held_back, "{line}");
            }
        }
    }
}
