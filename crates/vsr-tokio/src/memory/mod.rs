//! A network and a store in memory, for tests and for measuring what the driver costs by itself.
//! Frames are encoded and decoded as on a real network; delivery is at once, and can be cut.

mod network;
mod store;

pub use network::{ClientPort, Network, ReplicaPort};
pub use store::{MemoryDisk, MemoryStore};
