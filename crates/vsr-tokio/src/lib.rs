//! Drives `vsr-core` on tokio: a replica's event loop over any network and any store, and an async
//! client.

pub mod transport;

pub use transport::{
    Access, Answer, ClientTransport, ConnectionId, FromReplica, Identity, Inbox, Incoming, Inlet,
    NodeGone, Transport,
};
