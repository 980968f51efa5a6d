//! How a connection begins: the dialling side's hello, the accepting side's hello in answer, and
//! both compared with what the certificates prove.
//!
//! 1. Replicas speak on one-way streams, [`PEER_STREAMS`](crate::limits::PEER_STREAMS) in each
//!    direction; the first of them begins with the hello. A client speaks on one two-way stream.
//! 2. The accepting side answers only to a hello that it agrees with; else it closes the connection
//!    with a code and a text.
//! 3. Nothing else is sent before the other side's hello has been read.

use bytes::{Bytes, BytesMut};
use quinn::crypto::rustls::HandshakeData;
use quinn::{Connection, ConnectionError, ReadError, RecvStream, SendStream, VarInt, WriteError};
use rustls::pki_types::CertificateDer;
use vsr_core::ReplicaId;
use vsr_wire::{
    CloseReason, FrameReader, HELLO_LIMIT, Hello, Incoming, Speaker, WireError, decode,
    encode_hello,
};

use crate::name::Name;
use crate::tls::{self, CLIENT_PROTOCOL, PEER_PROTOCOL, Problem};

/// Who speaks with whom on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Replicas.
    Peer,
    /// A client dials a replica.
    Client,
}

/// A connection after both hellos.
pub(crate) struct Greeted {
    pub(crate) connection: Connection,
    pub(crate) theirs: Hello,
    pub(crate) send: SendStream,
    pub(crate) receive: RecvStream,
    /// Holds what came behind the hello.
    pub(crate) reader: FrameReader,
    /// The longest frame that this side reads.
    pub(crate) reader_limit: u32,
}

/// Why a connection ended, or did not come about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// This side closed it, for what the other side did or is.
    Refused {
        /// What the other side is told as a code.
        reason: CloseReason,
        /// And as a text.
        detail: String,
    },
    /// The other side closed it, or it was lost.
    Lost {
        /// The code, if the other side gave one of ours.
        reason: Option<CloseReason>,
        /// For people.
        detail: String,
    },
    /// The node that the connection delivered to has stopped.
    NodeGone,
}

impl Ended {
    pub(crate) fn refused(reason: CloseReason, detail: impl Into<String>) -> Self {
        Self::Refused { reason, detail: detail.into() }
    }

    /// Closes the connection, unless the other side did.
    pub(crate) fn close(&self, connection: &Connection) {
        match self {
            Self::Refused { reason, detail } => close(connection, *reason, detail),
            Self::Lost { .. } => {}
            Self::NodeGone => close(connection, CloseReason::ShuttingDown, ""),
        }
    }

    /// Whether dialling again soon, unchanged, can help.
    pub(crate) const fn is_transient(&self) -> bool {
        match self {
            Self::Refused { reason, .. } => reason.is_transient(),
            Self::Lost { reason, .. } => match reason {
                Some(reason) => reason.is_transient(),
                None => true,
            },
            Self::NodeGone => false,
        }
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused { detail, .. } | Self::Lost { detail, .. } => f.write_str(detail),
            Self::NodeGone => f.write_str("this replica stops"),
        }
    }
}

/// Tells the other side why and forgets the connection.
pub(crate) fn close(connection: &Connection, reason: CloseReason, detail: &str) {
    connection.close(VarInt::from(u32::from(reason.code())), detail.as_bytes());
}

/// Says hello first. `replica` is whom the certificate of the other side names.
pub(crate) async fn say(
    connection: Connection,
    protocol: Protocol,
    ours: &Hello,
    replica: ReplicaId,
) -> Result<Greeted, Ended> {
    let (mut send, two_way) = match protocol {
        Protocol::Peer => (connection.open_uni().await?, None),
        Protocol::Client => {
            let (send, receive) = connection.open_bi().await?;
            (send, Some(receive))
        }
    };
    send.write_chunk(encoded(ours)).await?;
    let mut receive = match two_way {
        Some(receive) => receive,
        None => connection.accept_uni().await?,
    };
    let mut reader = FrameReader::new(HELLO_LIMIT);
    let theirs = read_hello(&mut receive, &mut reader).await?;
    check_speaker(&theirs, &Prover::Replica(replica))?;
    agree(ours, &theirs)?;
    reader.set_limit(ours.frame_limit);
    Ok(Greeted { connection, theirs, send, receive, reader, reader_limit: ours.frame_limit })
}

/// Answers a hello. `name` is whom the certificate of the other side names.
pub(crate) async fn answer(
    connection: Connection,
    protocol: Protocol,
    ours: &Hello,
    name: &Name,
) -> Result<Greeted, Ended> {
    let (two_way, mut receive) = match protocol {
        Protocol::Peer => (None, connection.accept_uni().await?),
        Protocol::Client => {
            let (send, receive) = connection.accept_bi().await?;
            (Some(send), receive)
        }
    };
    let mut reader = FrameReader::new(HELLO_LIMIT);
    let theirs = read_hello(&mut receive, &mut reader).await?;
    let prover = match name {
        Name::Replica { replica, .. } => Prover::Replica(*replica),
        Name::Client { name, .. } => Prover::Client(name.as_str()),
    };
    check_speaker(&theirs, &prover)?;
    agree(ours, &theirs)?;
    let mut send = match two_way {
        Some(send) => send,
        None => connection.open_uni().await?,
    };
    send.write_chunk(encoded(ours)).await?;
    reader.set_limit(ours.frame_limit);
    Ok(Greeted { connection, theirs, send, receive, reader, reader_limit: ours.frame_limit })
}

/// Whom the other side's certificate names.
pub(crate) fn proven_name(connection: &Connection) -> Option<Name> {
    let chain = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    tls::name_of(chain.first()?).ok()
}

/// What was agreed to be spoken.
pub(crate) fn protocol(connection: &Connection) -> Option<Protocol> {
    let data = connection.handshake_data()?.downcast::<HandshakeData>().ok()?;
    let agreed = data.protocol?;
    [(PEER_PROTOCOL, Protocol::Peer), (CLIENT_PROTOCOL, Protocol::Client)]
        .into_iter()
        .find(|(name, _)| *name == agreed)
        .map(|(_, protocol)| protocol)
}

pub(crate) fn second_hello() -> Ended {
    Ended::refused(CloseReason::HelloExpected, "a second hello")
}

pub(crate) fn wrong_cluster() -> Ended {
    Ended::refused(
        CloseReason::WrongCluster,
        "a frame of another cluster on a connection of this one",
    )
}

pub(crate) fn out_of_place() -> Ended {
    Ended::refused(CloseReason::WrongSender, "a frame that this kind of sender does not send")
}

pub(crate) fn closed(code: u16) -> Ended {
    let reason = CloseReason::of(code);
    Ended::Lost {
        reason,
        detail: reason.map_or_else(
            || format!("the other side closed for reason {code}, which this version does not know"),
            |reason| format!("the other side closed: {reason}"),
        ),
    }
}

enum Prover<'a> {
    Replica(ReplicaId),
    Client(&'a str),
}

fn check_speaker(theirs: &Hello, prover: &Prover<'_>) -> Result<(), Ended> {
    let detail = match (prover, theirs.speaker) {
        (Prover::Replica(proven), Speaker::Replica { id, .. }) if *proven == id => return Ok(()),
        (Prover::Client(_), Speaker::Client { .. }) => return Ok(()),
        (Prover::Replica(proven), Speaker::Replica { id, .. }) => format!(
            "the certificate is that of replica {}, the hello claims to be replica {}",
            proven.0, id.0
        ),
        (Prover::Replica(proven), Speaker::Client { .. }) => format!(
            "the certificate is that of replica {}, the hello claims to be a client",
            proven.0
        ),
        (Prover::Client(name), Speaker::Replica { id, .. }) => format!(
            "the certificate is that of client {name}, the hello claims to be replica {}",
            id.0
        ),
    };
    Err(Ended::refused(CloseReason::WrongSender, detail))
}

fn agree(ours: &Hello, theirs: &Hello) -> Result<(), Ended> {
    ours.agree(theirs)
        .map_err(|reason| Ended::refused(reason, format!("the hello does not agree: {reason}")))
}

fn encoded(hello: &Hello) -> Bytes {
    let mut out = BytesMut::new();
    encode_hello(hello, &mut out);
    out.freeze()
}

async fn read_hello(receive: &mut RecvStream, reader: &mut FrameReader) -> Result<Hello, Ended> {
    loop {
        if let Some(frame) = reader.next_frame()? {
            let Incoming::Hello(hello) = decode(&frame)? else {
                let kind = frame.header().kind;
                let detail = format!("the first frame was {kind}, not a hello");
                return Err(Ended::refused(CloseReason::HelloExpected, detail));
            };
            return Ok(hello);
        }
        match receive.read_chunk(HELLO_LIMIT as usize, true).await? {
            Some(chunk) => reader.push(&chunk.bytes),
            None => {
                reader.finish()?;
                return Err(Ended::refused(
                    CloseReason::HelloExpected,
                    "the stream ended before a hello",
                ));
            }
        }
    }
}

/// The most that is printed of a text that the other side had a part in.
const TEXT_MAX: usize = 300;

/// A text of the other side, made fit for a log line.
fn printable(text: &[u8]) -> String {
    String::from_utf8_lossy(text)
        .chars()
        .take(TEXT_MAX)
        .map(|letter| if letter.is_control() { '?' } else { letter })
        .collect()
}

impl From<WireError> for Ended {
    fn from(error: WireError) -> Self {
        Self::refused(error.close_reason(), error.to_string())
    }
}

impl From<ConnectionError> for Ended {
    fn from(error: ConnectionError) -> Self {
        if error == ConnectionError::LocallyClosed {
            let detail = "this side closed it: a newer one took its place, or the replica stops";
            return Self::Lost { reason: Some(CloseReason::Replaced), detail: detail.to_owned() };
        }
        if let ConnectionError::ApplicationClosed(closed) = &error {
            let code = u16::try_from(u64::from(closed.error_code)).ok();
            if let Some(reason) = code.and_then(CloseReason::of) {
                let detail = match printable(&closed.reason) {
                    text if text.is_empty() => format!("the other side closed: {reason}"),
                    text => format!("the other side closed: {reason} ({text})"),
                };
                return Self::Lost { reason: Some(reason), detail };
            }
        }
        match tls::certificate_problem(&error) {
            Some(Problem::Theirs(detail)) => {
                Self::refused(CloseReason::Forbidden, printable(detail.as_bytes()))
            }
            Some(Problem::Ours(detail)) => {
                Self::Lost { reason: Some(CloseReason::Forbidden), detail }
            }
            None => Self::Lost { reason: None, detail: printable(error.to_string().as_bytes()) },
        }
    }
}

impl From<ReadError> for Ended {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::ConnectionLost(error) => error.into(),
            error @ (ReadError::Reset(_)
            | ReadError::ClosedStream
            | ReadError::IllegalOrderedRead
            | ReadError::ZeroRttRejected) => {
                Self::refused(CloseReason::Damaged, format!("a stream broke off: {error}"))
            }
        }
    }
}

impl From<WriteError> for Ended {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::ConnectionLost(error) => error.into(),
            error @ (WriteError::Stopped(_)
            | WriteError::ClosedStream
            | WriteError::ZeroRttRejected) => {
                Self::refused(CloseReason::Damaged, format!("a stream broke off: {error}"))
            }
        }
    }
}
