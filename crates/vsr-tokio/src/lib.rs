//! Drives `vsr-core` on tokio.
//!
//! - [`serve`] starts a replica: its event loop as a task of the current runtime, its store on a
//!   thread of its own, over any [`Transport`], any [`LogStore`] and any
//!   [`Service`](vsr_core::Service). One thread beside the storage thread is enough.
//! - [`Client`] executes many operations at once, each exactly once, and says of each whether it is
//!   done, certainly not done, or unknown.
//! - [`transport`] is what a network has to offer, `vsr-quic` one that does. [`LogStore`] is what a
//!   disk has to, and [`Setup::open`] takes the store of `vsr-storage`.
//!
//! # A message's way
//!
//! A transport reads, decodes and authenticates, and [`Inbox::deliver`]s. The loop in `node.rs` takes
//! all that waits and steps the replica for each, then flushes once. Writes go to
//! `storage_thread.rs`, which syncs once for all that wait and sends a proof back; with that the
//! replica hands out what had to wait for it. `outgoing.rs` and `routes.rs` glue together what a
//! round wants sent: one buffer for each peer and class, one for each client.
//!
//! # Features
//!
//! `memory` adds a network and a store in memory, for tests; `failpoints` has a process die where the environment
//! variable `VSR_FAILPOINT` says.
#![forbid(unsafe_code)]

pub mod transport;
pub mod store;

mod serve;
mod node;
mod timers;
mod clock;
mod dice;
mod storage_thread;
mod routes;
mod outgoing;
mod send_points;
mod notes;
mod status;
mod trace;
pub mod client;
mod disk_store;
#[cfg(any(test, feature = "memory"))]
pub mod memory;
#[cfg(test)]
mod tests;

pub use client::{
    CallOutcome, Client, ClientConfig, ClientConfigError, NotDone, ReadOptions, ReadResult,
    StatusError,
};
pub use node::NodeError;
#[cfg(feature = "failpoints")]
pub use send_points::SEND_POINTS;
pub use serve::{NodeHandle, Observer, SCRUB_RATE, Setup, TRANSFER_RATE, serve};
pub use status::{StateDigest, Status};
pub use storage_thread::StorageFailure;
pub use store::{LogStore, ReadBack, Scrubbed, StoreError};
pub use trace::TraceSink;
pub use transport::{
    Access, Answer, ClientTransport, ConnectionId, FromReplica, Identity, Inbox, Incoming, Inlet,
    NodeGone, Transport,
};
