//! The UDP socket, and a look at each datagram that comes in: QUIC drops silently what it cannot
//! read, but somebody who points the wrong program at the port should find a line about it.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use quinn::udp::{RecvMeta, Transmit};
use quinn::{
    AsyncUdpSocket, ConnectionId, ConnectionIdGenerator, Runtime, TokioRuntime, UdpPoller,
};
use quinn_proto::InvalidCid;
use socket2::{Domain, Protocol, Socket, Type};

use crate::keys::{ID_BYTES, KeyedIds, RestartKeys};
use crate::limits::SOCKET_BUFFER;
use crate::throttle::Throttle;

/// Binds a UDP socket with large buffers.
pub(crate) fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    socket.set_send_buffer_size(SOCKET_BUFFER)?;
    let granted = socket.recv_buffer_size()?.min(socket.send_buffer_size()?);
    if granted < SOCKET_BUFFER {
        tracing::debug!(
            "the system grants UDP buffers of {} KiB where {} were asked for: under bursts raise \
             net.core.rmem_max and net.core.wmem_max",
            granted / 1024,
            SOCKET_BUFFER / 1024
        );
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Binds a socket that only dials: to IPv6 and IPv4 where the system has both.
pub(crate) fn bind_any() -> io::Result<UdpSocket> {
    bind((Ipv6Addr::UNSPECIFIED, 0).into()).or_else(|_| bind((Ipv4Addr::UNSPECIFIED, 0).into()))
}

/// Hands datagrams on as they are, and takes note of those that cannot be for this endpoint.
pub(crate) struct WatchedSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    ids: KeyedIds,
    known: Mutex<KnownIds>,
    strays: Arc<Strays>,
}

/// Counts out the log lines about datagrams that QUIC drops.
#[derive(Debug)]
pub(crate) struct Strays {
    throttle: Arc<Throttle>,
    /// Who sent the latest datagram to a connection id that is not ours.
    suspect: Mutex<Option<SocketAddr>>,
}

impl Strays {
    pub(crate) fn new(throttle: Arc<Throttle>) -> Arc<Self> {
        Arc::new(Self { throttle, suspect: Mutex::default() })
    }

    fn log(&self, line: &str, from: SocketAddr) {
        if let Some(held_back) = self.throttle.admit(from.ip(), line) {
            tracing::warn!(%from, held_back, "{line}");
        }
    }

    fn suspect(&self) -> std::sync::MutexGuard<'_, Option<SocketAddr>> {
        self.suspect.lock().expect("no code panics with this lock")
    }
}

/// What is said of datagrams that QUIC cannot read.
const NOT_QUIC: &str =
    "dropped a datagram that is not QUIC for this replica: something else uses this port";

const OTHER_VERSION: &str =
    "dropped a datagram of another QUIC version, or not QUIC at all: something else uses this port";

impl WatchedSocket {
    pub(crate) fn new(
        socket: UdpSocket,
        keys: &RestartKeys,
        strays: Arc<Strays>,
    ) -> io::Result<Self> {
        Ok(Self {
            inner: TokioRuntime.wrap_udp_socket(socket)?,
            ids: keys.ids(),
            known: Mutex::default(),
            strays,
        })
    }

    fn look(&self, datagram: &[u8], from: SocketAddr) {
        match classify(datagram) {
            Datagram::Handshake => {}
            // A stateless reset looks like a packet to a random id, so nothing is said yet: QUIC
            // recognises a reset by its last bytes, and asks `WatchedIds` about the rest.
            Datagram::Established { id } => {
                if !self.is_ours(id) {
                    *self.strays.suspect() = Some(from);
                }
            }
            Datagram::Foreign => self.strays.log(NOT_QUIC, from),
            Datagram::Version => self.strays.log(OTHER_VERSION, from),
        }
    }

    fn is_ours(&self, id: [u8; ID_BYTES]) -> bool {
        let mut known = self.known.lock().expect("no code panics with this lock");
        known.contains(id) || (self.ids.made(&id) && known.insert(id))
    }
}

/// Makes connection ids, and learns from QUIC's question which datagrams belong to nothing.
pub(crate) struct WatchedIds {
    ids: KeyedIds,
    strays: Arc<Strays>,
}

impl WatchedIds {
    pub(crate) const fn new(ids: KeyedIds, strays: Arc<Strays>) -> Self {
        Self { ids, strays }
    }
}

impl ConnectionIdGenerator for WatchedIds {
    fn generate_cid(&mut self) -> ConnectionId {
        self.ids.generate_cid()
    }

    fn validate(&self, id: &ConnectionId) -> Result<(), InvalidCid> {
        self.ids.validate(id).inspect_err(|_| {
            if let Some(from) = self.strays.suspect().take() {
                self.strays.log(NOT_QUIC, from);
            }
        })
    }

    fn cid_len(&self) -> usize {
        self.ids.cid_len()
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        self.ids.cid_lifetime()
    }
}

/// What the first bytes of a datagram say it is (RFC 9000, section 17).
enum Datagram {
    /// A long header of version 1, or a version negotiation.
    Handshake,
    /// A short header, to this connection id.
    Established { id: [u8; ID_BYTES] },
    /// A long header of another version.
    Version,
    /// Too short, or without the bit that is always set.
    Foreign,
}

fn classify(datagram: &[u8]) -> Datagram {
    const LONG: u8 = 0x80;
    const FIXED: u8 = 0x40;
    const NEGOTIATION: u32 = 0;
    const VERSION_1: u32 = 1;
    match datagram {
        [first, version @ ..] if first & LONG != 0 => match version.first_chunk() {
            Some(version) => match u32::from_be_bytes(*version) {
                NEGOTIATION => Datagram::Handshake,
                VERSION_1 if first & FIXED != 0 => Datagram::Handshake,
                VERSION_1 => Datagram::Foreign,
                _ => Datagram::Version,
            },
            None => Datagram::Foreign,
        },
        [first, id @ ..] if first & FIXED != 0 => match id.first_chunk() {
            Some(id) => Datagram::Established { id: *id },
            None => Datagram::Foreign,
        },
        _ => Datagram::Foreign,
    }
}

/// Ids that were found to be ours lately, so that the common case costs a comparison and not an
/// HMAC. Each has one place, decided by its first byte.
struct KnownIds([[u8; ID_BYTES]; 256]);

impl Default for KnownIds {
    fn default() -> Self {
        Self([[0; ID_BYTES]; 256])
    }
}

impl KnownIds {
    fn contains(&self, id: [u8; ID_BYTES]) -> bool {
        self.0[usize::from(id[0])] == id
    }

    fn insert(&mut self, id: [u8; ID_BYTES]) -> bool {
        self.0[usize::from(id[0])] = id;
        true
    }
}

impl fmt::Debug for WatchedSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WatchedSocket").field(&self.inner).finish()
    }
}

impl AsyncUdpSocket for WatchedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.inner.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(self.inner.poll_recv(cx, buffers, metas))?;
        // Where the system joined datagrams they have one sender, and the first tells enough.
        for (buffer, meta) in buffers.iter().zip(metas.iter()).take(count) {
            self.look(&buffer[..meta.len.min(meta.stride)], meta.addr);
        }
        Poll::Ready(Ok(count))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}
