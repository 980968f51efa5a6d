//! What the driver asks of a store. Synchronous: the storage thread is its only caller.

use std::error::Error;

use bytes::Bytes;
use vsr_core::{
    Checksum, Chunk, Entry, Fetch, Fetched, Header, OpNumber, Served, SessionState, Wanted,
    WriteKind,
};

/// Where a replica's log, superblock and checkpoints live.
///
/// # Contract
/// What [`LogStore::write`] took is durable when the next [`LogStore::sync`] returned without error,
/// and not before. After [`StoreError::Failed`] the storage thread calls nothing more: a failed sync
/// is never tried again, since what it should have saved may be gone.
pub trait LogStore: Send + 'static {
    /// Takes a write, in the order in which it is to become durable.
    ///
    /// # Errors
    /// [`StoreError::Failed`] where it cannot be taken.
    fn write(&mut self, write: &WriteKind<Bytes>) -> Result<(), StoreError>;

    /// Makes durable what was taken. Returns how often the disk was asked to sync.
    ///
    /// # Errors
    /// [`StoreError::Full`] keeps what is not durable yet, and is tried again.
    fn sync(&mut self) -> Result<u32, StoreError>;

    /// Does one piece of what can wait, when nothing came for a while after the last sync. Returns
    /// whether there is more.
    ///
    /// # Errors
    /// As [`LogStore::sync`].
    fn idle(&mut self) -> Result<bool, StoreError>;

    /// Reads the entries from `first` to `last`, as many as about `bytes_max` hold, but at least one
    /// where any is held. Damaged records are no error; they are reported as faulty.
    fn read(&self, first: OpNumber, last: OpNumber, bytes_max: u64) -> ReadBack;

    /// Begins a checkpoint after the entry with this header, with its client-table. One that was not
    /// finished is given up. By default a store has no room for checkpoints.
    ///
    /// # Errors
    /// [`StoreError::Full`] gives it up.
    fn begin_checkpoint(
        &mut self,
        header: Header,
        sessions: &[(u32, SessionState<Bytes>)],
    ) -> Result<(), StoreError> {
        let _ = (header, sessions);
        Err(StoreError::Full)
    }

    /// Adds the next chunk of the service's state.
    ///
    /// # Errors
    /// [`StoreError::Full`] gives the checkpoint up, and so does [`StoreError::Damaged`]: a chunk that is said to
    /// be here is not any more.
    fn put_chunk(&mut self, chunk: &Chunk<Bytes>) -> Result<(), StoreError> {
        let _ = chunk;
        Err(StoreError::Full)
    }

    /// Does one step towards making the checkpoint durable. Returns its digest when that is done.
    ///
    /// # Errors
    /// [`StoreError::Full`] gives the checkpoint up.
    fn finish_checkpoint(&mut self) -> Result<Option<Checksum>, StoreError> {
        Err(StoreError::Full)
    }

    /// A chunk of the service's state in the checkpoint that the superblock names, counted from 0;
    /// `None` behind the last one, and where there is no checkpoint.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], and [`StoreError::Failed`] where the disk does not answer.
    fn state_chunk(&mut self, index: u32) -> Result<Option<Bytes>, StoreError> {
        let _ = index;
        Ok(None)
    }

    /// As [`LogStore::state_chunk`], of a checkpoint that was fetched.
    ///
    /// # Errors
    /// As [`LogStore::state_chunk`].
    fn state_chunk_of(&mut self, id: Checksum, index: u32) -> Result<Option<Bytes>, StoreError> {
        let _ = (id, index);
        Ok(None)
    }

    /// Reads for a peer what it wants of a checkpoint. By default a store has none to give.
    ///
    /// # Errors
    /// [`StoreError::Failed`] where the disk does not answer.
    fn serve(&mut self, wanted: Wanted) -> Result<Served<Bytes>, StoreError> {
        Ok(Served::Absent(wanted.name()))
    }

    /// Does a bounded part of fetching a checkpoint; for [`Fetch::Finish`] `None` says that the same is to be
    /// called again. By default a store fetches none.
    ///
    /// # Errors
    /// [`StoreError::Failed`]; where there is no room the fetch is refused.
    fn fetch(&mut self, fetch: &Fetch<Bytes>) -> Result<Option<Fetched<Bytes>>, StoreError> {
        Ok(match fetch {
            Fetch::Begin { checkpoint, .. } | Fetch::Mend { checkpoint } => {
                Some(Fetched::Refused { id: checkpoint.id })
            }
            Fetch::Sync { id } | Fetch::Finish { id } => Some(Fetched::Refused { id: *id }),
            Fetch::Put { .. } | Fetch::Abandon => None,
        })
    }

    /// The id of a checkpoint of which something was found damaged since this was asked last. By default a store
    /// has none.
    fn damaged_checkpoint(&mut self) -> Option<Checksum> {
        None
    }

    /// The chunks that were found to be gone since this was asked last: the service says of none that it is
    /// [`Chunk::Same`] any more. A store that answers [`StoreError::Damaged`] to that names the chunk here. By default
    /// a store loses none.
    fn take_lost_chunks(&mut self) -> Vec<Checksum> {
        Vec::new()
    }

    /// Reads and verifies the next part, about `max_bytes`, of what nobody reads for long. By default a store has
    /// nothing that could rot.
    ///
    /// # Errors
    /// [`StoreError::Failed`] where the disk does not answer.
    fn scrub(&mut self, max_bytes: u64) -> Result<Scrubbed, StoreError> {
        let _ = max_bytes;
        Ok(Scrubbed { is_over: true, ..Scrubbed::default() })
    }

    /// Whether no new operation should be promised, since the room that is left is kept for what was
    /// promised before.
    fn is_nearly_full(&self) -> bool;
}

/// What one part of a round of scrubbing came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// How many bytes were read.
    pub bytes: u64,
    /// The ops whose records were found damaged, ascending.
    pub faulty: Vec<OpNumber>,
    /// The round is over: the next call begins another one.
    pub is_over: bool,
}

/// What a read found of a range of ops, which it may cover in part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadBack {
    /// The entries, ascending.
    pub entries: Vec<Entry<Bytes>>,
    /// The ops whose records are damaged, ascending.
    pub faulty: Vec<OpNumber>,
}

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// What was asked for, or counted on, is here and damaged.
    #[error("a part of a checkpoint is damaged: it is fetched from another replica")]
    Damaged,
    /// There is no room on the disk. What was taken is kept and written when there is.
    #[error("the disk is full: make room, writing goes on by itself")]
    Full,
    /// It failed for good; nobody knows what is durable.
    #[error(transparent)]
    Failed(Box<dyn Error + Send + Sync>),
}
