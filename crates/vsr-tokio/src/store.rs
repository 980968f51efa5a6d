//! What the driver asks of a store. Synchronous: the storage thread is its only caller.

use std::error::Error;

use bytes::Bytes;
use vsr_core::{Entry, OpNumber, Write};

/// What a read found of a range of ops. It may end before the range does, but is not empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadBack {
    /// The entries, ascending.
    pub entries: Vec<Entry<Bytes>>,
    /// The ops whose records are damaged, ascending.
    pub faulty: Vec<OpNumber>,
}

/// Where a replica's log and superblock live.
///
/// # Contract
/// What [`LogStore::write`] was given is durable when the next [`LogStore::sync`] returned without
/// error, and not before. After any error the storage thread calls nothing more: a failed sync is
/// never tried again, since what it should have saved may be gone.
pub trait LogStore: Send + 'static {
    /// Why the store failed.
    type Error: Error + Send + Sync + 'static;

    /// Writes what these ask for, in order, without waiting for the disk.
    ///
    /// # Errors
    /// The disk failed, or cannot hold it.
    fn write(&mut self, writes: &[Write<Bytes>]) -> Result<(), Self::Error>;

    /// Makes durable what was written.
    ///
    /// # Errors
    /// The disk failed.
    fn sync(&mut self) -> Result<(), Self::Error>;

    /// Nothing came for a while after the last sync: time for what a store puts off.
    ///
    /// # Errors
    /// The disk failed.
    fn idle(&mut self) -> Result<(), Self::Error>;

    /// Reads the entries from `first` to `last`, as many as about `bytes_max` hold, but at least one
    /// of them.
    ///
    /// # Errors
    /// The disk failed. A damaged record is no error; it is reported as faulty.
    fn read(
        &mut self,
        first: OpNumber,
        last: OpNumber,
        bytes_max: usize,
    ) -> Result<ReadBack, Self::Error>;
}
