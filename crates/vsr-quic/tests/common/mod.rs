//! A cluster's certificates in a temporary folder, replicas and clients on loopback, and their log.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "each test binary uses its part of this module, and only tests do"
)]

pub mod intruder;

use std::io::Write;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tracing_subscriber::fmt::MakeWriter;
use vsr_core::{
    Checksum, Class, ClientId, ClientReply, ClientReplyKind, ClientRequest, ClientRequestKind,
    ClusterId, Constants, Epoch, Incarnation, Kind, Message, Nonce, OpNumber, ReplicaId,
    RequestNumber, Session, StoreId, ViewNumber,
};
use vsr_quic::certificates::{Authority, Credentials, REPLICA_STEM};
use vsr_quic::{Name, QuicClientConfig, QuicClientTransport, QuicConfig, QuicTransport};
use vsr_storage::Start;
use vsr_tokio::transport::inbox;
use vsr_tokio::{Access, ClientTransport, FromReplica, Incoming, Inlet, Transport};
use vsr_wire::{
    Hello, Speaker, VERSION, constants_digest, encode_message, encode_reply, encode_request,
    frame_limit,
};

/// How long a condition is waited for before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// An address that nobody answers at.
pub const NOWHERE: &str = "127.0.0.1:1";

/// How long a certificate of a test is valid: beyond the time in which its end is warned of.
pub const VALIDITY: Duration = Duration::from_secs(90 * 86_400);

/// The cluster that tests run.
pub const CLUSTER: ClusterId = ClusterId(0x67e5_5044_10b1_426f_9247_bb68_0e5f_e0c8);

/// An authority and whoever it issued to.
pub struct Certificates {
    pub folder: TempDir,
    pub authority: Authority,
}

impl Certificates {
    pub fn new() -> Self {
        Self::of(CLUSTER)
    }

    pub fn of(cluster: ClusterId) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::create(&folder.path().join("ca"), cluster, VALIDITY).unwrap();
        Self { folder, authority }
    }

    pub fn folder_of(&self, holder: &str) -> PathBuf {
        self.folder.path().join(holder)
    }

    pub fn replica(&self, number: u32) -> Credentials {
        let name = Name::Replica { cluster: self.authority.cluster(), replica: ReplicaId(number) };
        self.credentials(&name, &format!("replica{number}"))
    }

    pub fn client(&self, client: &str, access: Access) -> Credentials {
        let name = Name::Client {
            cluster: self.authority.cluster(),
            name: client.parse().unwrap(),
            access,
        };
        self.credentials(&name, client)
    }

    fn credentials(&self, name: &Name, folder: &str) -> Credentials {
        let folder = self.folder_of(folder);
        if !folder.exists() {
            self.authority.issue(name, &folder, REPLICA_STEM, VALIDITY).unwrap();
        }
        Credentials::load(&folder, REPLICA_STEM).unwrap()
    }
}

/// A replica's network, and what arrives at its node.
pub struct Node {
    pub transport: QuicTransport,
    pub inlet: Inlet,
}

/// Ports that were free a moment ago.
pub fn ports<const N: usize>() -> [u16; N] {
    let sockets: [UdpSocket; N] = std::array::from_fn(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
    sockets.map(|socket| socket.local_addr().unwrap().port())
}

pub fn hello(cluster: ClusterId, replica: u32, incarnation: u64, replicas: u32) -> Hello {
    Hello {
        version: VERSION,
        cluster,
        speaker: Speaker::Replica {
            id: ReplicaId(replica),
            incarnation: Incarnation(incarnation),
            starts: Start::new(Incarnation(incarnation), incarnation.into()).drawn,
            store: StoreId(replica.into()),
        },
        replicas,
        epoch: Epoch::ZERO,
        constants: constants_digest(&Constants::DEFAULT),
        frame_limit: frame_limit(&Constants::DEFAULT),
    }
}

pub fn config(credentials: Credentials, me: u32, incarnation: u64, ports: &[u16]) -> QuicConfig {
    let address = |port: u16| format!("127.0.0.1:{port}");
    QuicConfig {
        listen: address(ports[me as usize]),
        peers: (0..ports.len() as u32)
            .filter(|id| *id != me)
            .map(|id| (ReplicaId(id), address(ports[id as usize])))
            .collect(),
        hello: hello(credentials.name().cluster(), me, incarnation, ports.len() as u32),
        credentials,
        known: None,
    }
}

impl Node {
    pub async fn start(
        certificates: &Certificates,
        me: u32,
        incarnation: u64,
        ports: &[u16],
    ) -> Self {
        let config = config(certificates.replica(me), me, incarnation, ports);
        Self::with(config).await
    }

    /// Replicas 0 and 1, linked; only 0 dials, so that no second link takes the place of the first.
    pub async fn pair(certificates: &Certificates) -> [Self; 2] {
        let ports = ports::<2>();
        let mut silent = config(certificates.replica(1), 1, 1, &ports);
        silent.peers = vec![(ReplicaId(0), NOWHERE.to_owned())];
        let b = Self::with(silent).await;
        let a = Self::start(certificates, 0, 1, &ports).await;
        a.linked_to(&[1]).await;
        b.linked_to(&[0]).await;
        [a, b]
    }

    pub async fn with(config: QuicConfig) -> Self {
        let (inbox, inlet) = inbox();
        let transport = QuicTransport::start(config, inbox).await.unwrap();
        Self { transport, inlet }
    }

    pub async fn next(&mut self) -> Incoming {
        let mut events = Vec::new();
        let taken = tokio::time::timeout(PATIENCE, self.inlet.take(&mut events, 1)).await;
        assert_eq!(taken.expect("nothing arrived in time"), 1, "transport gone");
        events.pop().unwrap()
    }

    pub async fn next_message(&mut self) -> (ReplicaId, Message<Bytes>) {
        match self.next().await {
            Incoming::Message { from, message } => (from, message),
            other => panic!("not a message: {other:?}"),
        }
    }

    pub fn ping(&self, to: u32, me: u32, op: u64) {
        let frames = frames(&ping(op), ReplicaId(me));
        self.transport.send(ReplicaId(to), Class::Control, frames);
    }

    pub async fn linked_to(&self, peers: &[u32]) {
        let peers: Vec<_> = peers.iter().map(|id| ReplicaId(*id)).collect();
        until("the links are up", || self.transport.linked() == peers).await;
    }
}

/// Waits for a condition, with a deadline.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub fn ping(op: u64) -> Message<Bytes> {
    Message {
        cluster: CLUSTER,
        epoch: Epoch::ZERO,
        view: ViewNumber(3),
        incarnation: Incarnation(1),
        kind: Kind::GetView {
            nonce: Nonce { incarnation: Incarnation(1), count: op },
            uncertain: None,
        },
    }
}

pub fn op_of(message: &Message<Bytes>) -> u64 {
    match &message.kind {
        Kind::GetView { nonce, .. } => nonce.count,
        other => panic!("another kind: {}", other.name()),
    }
}

pub fn frames(message: &Message<Bytes>, from: ReplicaId) -> Bytes {
    let mut out = BytesMut::new();
    encode_message(message, from, &mut out).unwrap();
    out.freeze()
}

/// A client's network, and what replicas answer.
pub struct Client {
    pub transport: QuicClientTransport,
    pub answers: mpsc::Receiver<FromReplica>,
}

impl Client {
    pub fn start(credentials: Credentials, ports: &[u16]) -> Self {
        let (sender, answers) = mpsc::channel(1024);
        let config = QuicClientConfig {
            replicas: (0..)
                .map(ReplicaId)
                .zip(ports.iter().map(|port| format!("127.0.0.1:{port}")))
                .collect(),
            credentials,
            client: ClientId(7),
        };
        Self { transport: QuicClientTransport::start(config, sender).unwrap(), answers }
    }

    pub async fn next(&mut self) -> FromReplica {
        let answer = tokio::time::timeout(PATIENCE, self.answers.recv()).await;
        answer.expect("nothing arrived in time").unwrap()
    }

    pub fn request(&self, to: u32, number: u64, body: Bytes) {
        let frames = request(number, body);
        self.transport.send(ReplicaId(to), frames);
    }
}

pub fn request(number: u64, body: Bytes) -> Bytes {
    let mut out = BytesMut::new();
    let request = ClientRequest {
        cluster: CLUSTER,
        client: ClientId(7),
        view: ViewNumber(0),
        kind: ClientRequestKind::Operation {
            session: Session::default(),
            number: RequestNumber(number),
            span: 0,
            digest: Checksum::of(&body),
            body,
        },
    };
    encode_request(&request, &mut out).unwrap();
    out.freeze()
}

pub fn reply(from: u32, number: u64, body: Bytes) -> Bytes {
    let mut out = BytesMut::new();
    let reply = ClientReply {
        cluster: CLUSTER,
        epoch: Epoch::ZERO,
        view: ViewNumber(0),
        client: ClientId(7),
        kind: ClientReplyKind::Reply {
            session: Session::default(),
            number: RequestNumber(number),
            op: OpNumber(number),
            body: Some(body),
        },
    };
    encode_reply(&reply, ReplicaId(from), &mut out).unwrap();
    out.freeze()
}

/// What was logged on this thread since [`Log::capture`]. Each test has a thread, and its replicas run
/// on it, so that tests that run side by side do not see one another's lines.
pub struct Log {
    written: Sink,
}

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

thread_local! {
    static SINK: Sink = Sink::default();
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Writes to the sink of the thread that logs.
struct Sinks;

impl<'a> MakeWriter<'a> for Sinks {
    type Writer = Sink;

    fn make_writer(&'a self) -> Sink {
        SINK.with(Sink::clone)
    }
}

impl Log {
    pub fn capture() -> Self {
        static INSTALL: Once = Once::new();
        INSTALL.call_once(|| {
            tracing_subscriber::fmt()
                .with_writer(Sinks)
                .with_ansi(false)
                .with_env_filter("vsr_quic=debug")
                .init();
        });
        Self { written: SINK.with(Sink::clone) }
    }

    /// The warnings that contain `text`.
    pub fn warnings(&self, text: &str) -> Vec<String> {
        self.all()
            .lines()
            .filter(|line| line.contains("WARN") && line.contains(text))
            .map(str::to_owned)
            .collect()
    }

    pub fn all(&self) -> String {
        String::from_utf8(self.written.0.lock().unwrap().clone()).unwrap()
    }

    /// Waits for the one line that says `text`, and fails if there is a second.
    pub async fn one_warning(&self, text: &str) {
        let start = Instant::now();
        while self.warnings(text).is_empty() {
            assert!(start.elapsed() < PATIENCE, "no line says `{text}`:\n{}", self.all());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let lines = self.warnings(text);
        assert_eq!(lines.len(), 1, "{lines:#?}");
    }
}
