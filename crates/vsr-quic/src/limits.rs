//! Every limit of the transport, with its reason, and the QUIC settings that enforce them.

use std::sync::Arc;
use std::time::Duration;

use quinn::congestion::CubicConfig;
use quinn::{AckFrequencyConfig, IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};

/// A TLS handshake that takes longer is given up: ten round trips around the earth.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// A dialled replica must have answered within this time, its hello included, else it is dialled
/// anew: shorter than [`HANDSHAKE_TIMEOUT`], since dialling again resolves its name again.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(2);

/// The hello must follow the handshake within this time: it is sent without waiting for anything.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(2);

/// Connections of one source address that have not said hello yet. More are refused, so that one
/// host cannot use up [`GREETINGS_MAX`].
pub const GREETINGS_PER_ADDRESS_MAX: usize = 64;

/// Connections of all addresses that have not said hello yet: at most about 50 KiB each.
pub const GREETINGS_MAX: usize = 1024;

/// With more greetings than this under way, a dialler has to prove that it receives at the address
/// it sends from (QUIC's Retry) before anything is computed or kept for it.
pub const GREETINGS_BEFORE_RETRY: usize = 128;

/// First packets that wait to be looked at; each holds at most a datagram and what follows below.
pub const INCOMING_MAX: usize = 512;

/// Bytes kept of one dialler before it is looked at: its first flight, a certificate chain included.
pub const INCOMING_BYTES: u64 = 16 * 1024;

/// Bytes kept of all diallers before they are looked at.
pub const INCOMING_BYTES_TOTAL: u64 = 4 << 20;

/// Connected clients. One more is told that the replica is busy.
pub const CLIENTS_MAX: usize = 10_000;

/// The most that all clients together may have sent without it having been read: their receive
/// windows are shares of it. With [`CLIENT_FRAMES_TOTAL`] it makes 256 MiB.
pub const CLIENT_WINDOWS_TOTAL: u64 = 128 << 20;

/// The largest share of [`CLIENT_WINDOWS_TOTAL`]: the receive window of a client among few.
pub const CLIENT_WINDOW_MAX: u64 = 4 << 20;

/// The receive window of a connection that has not said hello, and the smallest share of a client:
/// [`CLIENTS_MAX`] of them fit into [`CLIENT_WINDOWS_TOTAL`].
pub const WINDOW_MIN: u64 = 12 * 1024;

/// The most that all clients together may have sent of frames whose ends have not arrived, beyond
/// [`FRAME_FREE`] each. The one that exceeds it is told that the replica is busy.
pub const CLIENT_FRAMES_TOTAL: u64 = 128 << 20;

/// A part of a frame up to this long is not counted: that of nearly all requests.
pub const FRAME_FREE: u64 = 8 * 1024;

/// A client's frame whose beginning has arrived must be whole within this time, else the client is
/// disconnected: it occupies memory that others wait for. Enough for the largest frame (about
/// 20 MiB) at some 6 Mbit/s.
pub const FRAME_TIMEOUT: Duration = Duration::from_secs(30);

/// The receive window of one stream: a cluster's frames fit (about 1.3 MiB unless configured
/// otherwise), with room for what arrives while one is taken.
pub const STREAM_WINDOW: u64 = 4 << 20;

/// The receive window of a replica: all its streams may be full at once and none stops another.
pub const PEER_WINDOW: u64 = PEER_STREAMS as u64 * STREAM_WINDOW;

/// Streams that a replica opens: control, prepares, bulk.
pub const PEER_STREAMS: u32 = 3;

/// Streams that a client opens. Requests of all its sessions share it.
pub const CLIENT_STREAMS: u32 = 1;

/// What is sent to a replica and not yet acknowledged is kept up to this many bytes.
pub const PEER_SEND_WINDOW: u64 = 16 << 20;

/// What is sent to a client, or by it, and not yet acknowledged is kept up to this many bytes.
pub const CLIENT_SEND_WINDOW: u64 = 1 << 20;

/// A connection on which nothing arrives for this long is dead. Long enough for a machine that
/// swaps or a process that is debugged, short enough that a cut of minutes leaves no connection
/// behind whose retransmissions have backed off to seconds.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(5);

/// Silence is broken this often, so that a live connection misses several before it counts as dead.
pub const KEEP_ALIVE: Duration = Duration::from_millis(1500);

/// The first wait before a replica is dialled again: about a restart's worth of nothing.
pub const REDIAL_MIN: Duration = Duration::from_millis(20);

/// The longest wait before a replica is dialled again. A replica that starts dials the others
/// itself, so this bounds only the wait for a network that heals.
pub const REDIAL_MAX: Duration = Duration::from_secs(1);

/// Addresses of one host name that are tried.
pub const ADDRESSES_MAX: usize = 8;

/// The round trip assumed before one is measured: that of a data centre and not QUIC's 333 ms, so
/// that a lost first packet is sent again after 60 ms. On a longer path a packet is sent twice.
pub const INITIAL_ROUND_TRIP: Duration = Duration::from_millis(20);

/// Sent in the first round trip before anything is acknowledged: a PREPARE of the largest batch
/// (64 KiB) and some more, so that a connection just made does not take three round trips for it.
pub const INITIAL_CONGESTION_WINDOW: u64 = 256 * 1024;

/// The largest datagram that path discovery tries. Where the network takes more than Ethernet's 1500
/// bytes (loopback, jumbo frames) a PREPARE of 64 KiB takes two thirds of the time it takes in
/// datagrams of 1452; larger than this it gets slower again, since fewer go out in one system call.
pub const DATAGRAM_MAX: u16 = 4096;

/// How long an acknowledgement may wait for company. It adds to the time after which the last
/// packet of a burst counts as lost: 25 ms, QUIC's default, would be the better part of a heartbeat.
pub const ACK_DELAY_MAX: Duration = Duration::from_millis(5);

/// Stateless resets are sent at most this often: connection ids are authenticated, so nobody but a
/// former peer elicits one, and after a restart all of them wait for theirs at once.
pub const RESET_INTERVAL: Duration = Duration::from_millis(1);

/// The UDP buffers asked for: a round to every peer, and what arrives while the process is not
/// scheduled for some 10 ms. The system may grant less.
pub const SOCKET_BUFFER: usize = 4 << 20;

/// A queue towards a replica or a client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueLimit {
    /// Frames glued together count as one.
    pub(crate) entries: usize,
    /// Their bytes; one entry that is larger fits into an empty queue.
    pub(crate) bytes: usize,
    pub(crate) when_full: WhenFull,
}

/// What a full queue drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WhenFull {
    /// What has waited longest: newer heartbeats and acknowledgements stand for older ones.
    DropOldest,
    /// What came last: what came before is the part that links to what the receiver has.
    DropNewest,
}

/// Control messages have at most a few KiB (DO-VIEW-CHANGE).
pub(crate) const CONTROL_QUEUE: QueueLimit =
    QueueLimit { entries: 1024, bytes: 4 << 20, when_full: WhenFull::DropOldest };

/// Twice a pipeline of 32 entries of 64 KiB each, and the largest request.
pub(crate) const PREPARES_QUEUE: QueueLimit =
    QueueLimit { entries: 256, bytes: 6 << 20, when_full: WhenFull::DropNewest };

/// Repair asks for a bounded number of entries at a time, and asks again.
pub(crate) const BULK_QUEUE: QueueLimit =
    QueueLimit { entries: 256, bytes: 6 << 20, when_full: WhenFull::DropNewest };

/// Replies to one client: a dozen of the largest. A client that lets this fill does not read, and
/// is disconnected.
pub(crate) const REPLY_QUEUE: QueueLimit =
    QueueLimit { entries: 4096, bytes: 16 << 20, when_full: WhenFull::DropNewest };

/// Replies to all clients that wait to be written.
pub const REPLIES_TOTAL: usize = 256 << 20;

/// Requests to one replica, also while it is being dialled.
pub(crate) const REQUEST_QUEUE: QueueLimit =
    QueueLimit { entries: 4096, bytes: 4 << 20, when_full: WhenFull::DropOldest };

/// The settings of a connection that this side accepts. Whether a replica or a client dials is not
/// known yet, so it begins with the smaller window and the sum of the streams.
pub(crate) fn accepting() -> TransportConfig {
    let mut config = common();
    config
        .max_concurrent_uni_streams(PEER_STREAMS.into())
        .max_concurrent_bidi_streams(CLIENT_STREAMS.into())
        .receive_window(window(WINDOW_MIN));
    config
}

/// The settings of a connection to a replica from a replica.
pub(crate) fn dialling_as_replica() -> TransportConfig {
    let mut config = common();
    config
        .max_concurrent_uni_streams(PEER_STREAMS.into())
        .max_concurrent_bidi_streams(0u32.into())
        .send_window(PEER_SEND_WINDOW)
        .receive_window(window(PEER_WINDOW));
    config
}

/// The settings of a connection to a replica from a client, which opens the only stream.
pub(crate) fn dialling_as_client() -> TransportConfig {
    let mut config = common();
    config
        .max_concurrent_uni_streams(0u32.into())
        .max_concurrent_bidi_streams(0u32.into())
        .receive_window(window(STREAM_WINDOW));
    config
}

pub(crate) fn window(bytes: u64) -> VarInt {
    VarInt::from_u64(bytes).unwrap_or(VarInt::MAX)
}

fn common() -> TransportConfig {
    let idle = IdleTimeout::try_from(IDLE_TIMEOUT).expect("five seconds fit into a QUIC integer");
    let mut congestion = CubicConfig::default();
    congestion.initial_window(INITIAL_CONGESTION_WINDOW);
    let mut acknowledgements = AckFrequencyConfig::default();
    acknowledgements.max_ack_delay(Some(ACK_DELAY_MAX));
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(DATAGRAM_MAX);
    let mut config = TransportConfig::default();
    config
        .max_idle_timeout(Some(idle))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .stream_receive_window(window(STREAM_WINDOW))
        .send_window(CLIENT_SEND_WINDOW)
        .initial_rtt(INITIAL_ROUND_TRIP)
        .mtu_discovery_config(Some(discovery))
        .ack_frequency_config(Some(acknowledgements))
        .congestion_controller_factory(Arc::new(congestion))
        // Nothing is sent in datagram frames, and none are taken.
        .datagram_receive_buffer_size(None)
        // Streams of one class have one writer: there is nothing to be fair between.
        .send_fairness(false)
        // The spin bit tells onlookers the round trip and is of no use here.
        .allow_spin(false);
    config
}
