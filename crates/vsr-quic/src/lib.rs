//! QUIC transport.
mod admission;
pub mod certificates;
mod client;
mod clients;
mod dial;
mod greeting;
mod keys;
pub mod limits;
mod link;
mod name;
mod queue;
mod reading;
mod socket;
mod throttle;
mod tls;
mod transport;
mod writing;

pub use client::{QuicClientConfig, QuicClientTransport};
pub use name::{ClientName, NAME_LENGTH_MAX, Name, NameError, parse_role, role};
pub use tls::{CLIENT_PROTOCOL, PEER_PROTOCOL};
pub use transport::{QuicConfig, QuicTransport, StartError};
