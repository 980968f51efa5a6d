//! QUIC transport.
pub mod certificates;
mod keys;
pub mod limits;
mod name;
mod queue;
mod socket;
mod throttle;
mod tls;

pub use name::{ClientName, NAME_LENGTH_MAX, Name, NameError, parse_role, role};
pub use tls::{CLIENT_PROTOCOL, PEER_PROTOCOL};
