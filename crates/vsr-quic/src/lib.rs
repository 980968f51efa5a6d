//! The network of a Viewstamped Replication cluster on QUIC, with TLS 1.3 and certificates on both
//! sides.
//!
//! 1. Replicas and clients use one UDP port, told apart by ALPN ([`PEER_PROTOCOL`],
//!    [`CLIENT_PROTOCOL`]) and by the one name in a certificate ([`Name`]). There is no way to run
//!    without.
//! 2. [`QuicTransport`] is a replica's [`vsr_tokio::Transport`], [`QuicClientTransport`] a client's
//!    [`vsr_tokio::ClientTransport`]. Both dial again, for ever, whatever ends a connection.
//! 3. Control messages, PREPAREs and bulk go on streams of their own, by descending priority, each
//!    behind a bounded queue that drops: nothing blocks the node.
//! 4. What comes in is bounded ([`limits`]), decoded, checked against the certificate, and handed to
//!    the node, which slows its senders down by not taking it.
//! 5. [`serve`] starts a replica on a formatted data directory in one call, [`connect`] a client.
//!
//! Certificates are made and loaded by [`certificates`]. `docs/SECURITY.md` has the threat model.
//!
//! ```no_run
//! # async fn example<S: vsr_core::Service<bytes::Bytes> + Send + 'static>(
//! #     service: S,
//! # ) -> Result<(), Box<dyn std::error::Error>> {
//! use vsr_quic::{ServeConfig, serve};
//!
//! let replica = serve(ServeConfig::new("data/0"), service).await?;
//! // ... until it is to stop:
//! replica.shutdown().await?;
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod serve;
mod transport;
mod client;

pub mod certificates;
mod name;
mod tls;
mod keys;
pub mod limits;

mod endpoint;
mod accept;
mod acquaintance;
mod admission;
mod greeting;
mod link;
mod clients;
mod dial;

mod queue;
mod writing;
mod reading;
mod socket;
mod throttle;

pub use acquaintance::Acquaintances;
pub use client::{QuicClientConfig, QuicClientTransport};
pub use endpoint::StartError;
pub use name::{ClientName, NAME_LENGTH_MAX, Name, NameError, parse_role, role};
pub use serve::{
    ConnectConfig, ConnectError, ReplicaHandle, ServeConfig, ServeError, TLS_FOLDER, connect,
    hello, peers, serve, serve_on,
};
pub use tls::{CLIENT_PROTOCOL, PEER_PROTOCOL};
pub use transport::{QuicConfig, QuicTransport};
