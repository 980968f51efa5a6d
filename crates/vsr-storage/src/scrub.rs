//! Scrubbing: what nobody reads for long is read, so that damage is found while other replicas have what it took
//! (storage.md, "Parts").
//!
//! A round goes over the records of the log, the chunks of the checkpoint that the superblock names, and the copies of the
//! superblock, a bounded part at a time. A damaged record is for the core to repair; a damaged chunk is told by
//! [`Store::damaged_checkpoint`]; a copy of the superblock is written again by [`Store::idle`]. Ring headers and manifests,
//! which lie there twice or can be made again from the records, are mended when the store is opened.

use vsr_core::OpNumber;

use crate::disk::Disk;
use crate::error::{ChunkError, StoreError};
use crate::store::Store;

/// What one part of a round came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// How many bytes were read.
    pub bytes: u64,
    /// Ops whose records were found damaged, ascending, and were not known to be.
    pub faulty: Vec<OpNumber>,
    /// The round is over: the next call begins another one.
    pub is_over: bool,
}

/// What is to be read next.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Next {
    /// The records from this op on.
    Records(OpNumber),
    /// A chunk, by its place in the checkpoint.
    Chunk(u32),
    Superblock,
}

impl<D: Disk> Store<D> {
    /// Reads and verifies the next part: about `max_bytes` of records, or one chunk. A store whose log is in memory has
    /// nothing to read.
    ///
    /// # Errors
    /// [`StoreError::Failed`] where the disk does not answer, and [`StoreError::Stopped`].
    pub fn scrub(&mut self, max_bytes: u64) -> Result<Scrubbed, StoreError> {
        if self.is_stopped() {
            return Err(StoreError::Stopped);
        }
        if self.is_in_memory() {
            return Ok(Scrubbed { is_over: true, ..Scrubbed::default() });
        }
        let mut scrubbed = Scrubbed::default();
        self.scrubbing = match self.scrubbing {
            Next::Records(first) => {
                let (next, bytes) = self.log.scrub(first, max_bytes, &mut scrubbed.faulty);
                scrubbed.bytes = bytes;
                next.map_or(Next::Chunk(0), Next::Records)
            }
            Next::Chunk(index) => match self.scrub_chunk(index)? {
                Some(bytes) => {
                    scrubbed.bytes = bytes;
                    Next::Chunk(index + 1)
                }
                None => Next::Superblock,
            },
            Next::Superblock => {
                scrubbed.bytes = self.superblocks.scrub();
                scrubbed.is_over = true;
                Next::Records(OpNumber::ZERO)
            }
        };
        Ok(scrubbed)
    }

    /// How many bytes were read; `None` behind the last chunk. A damaged one is remembered.
    fn scrub_chunk(&mut self, index: u32) -> Result<Option<u64>, StoreError> {
        let id = self.named().id;
        match self.checkpoints.chunk(&self.disk, id, index) {
            Ok(chunk) => Ok(Some(chunk.len() as u64)),
            Err(ChunkError::Damaged { .. }) => Ok(Some(0)),
            Err(ChunkError::UnknownCheckpoint { .. } | ChunkError::NoSuchChunk { .. }) => Ok(None),
            Err(ChunkError::Disk(error)) => Err(StoreError::Failed(error)),
        }
    }
}
