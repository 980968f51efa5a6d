//! Drives `vsr-core` on tokio: a replica's event loop over any network and any store, and an async
//! client.
#![forbid(unsafe_code)]

pub mod transport;
pub mod store;

mod serve;
mod node;
mod timers;
mod dice;
mod storage_thread;
mod routes;
mod outgoing;
mod notes;
mod status;
pub mod client;
mod disk_store;
#[cfg(any(test, feature = "memory"))]
pub mod memory;
#[cfg(test)]
mod tests;

pub use client::{CallOutcome, Client, ClientConfig, ClientConfigError, NotDone, StatusError};
pub use node::NodeError;
pub use serve::{NodeHandle, Observer, Setup, serve};
pub use status::{StateDigest, Status};
pub use storage_thread::StorageFailure;
pub use store::{LogStore, ReadBack, StoreError};
pub use transport::{
    Access, Answer, ClientTransport, ConnectionId, FromReplica, Identity, Inbox, Incoming, Inlet,
    NodeGone, Transport,
};
