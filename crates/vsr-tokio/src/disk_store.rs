//! The store of `vsr-storage` as the driver's.

use bytes::Bytes;
use vsr_core::{
    Checksum, Chunk, Fetch, Fetched, Header, OpNumber, Served, SessionState, Wanted, WriteKind,
};
use vsr_storage::{CheckpointError, ChunkError, Disk, OpenError, Progress, Store};

use crate::serve::Setup;
use crate::store::{LogStore, ReadBack, Scrubbed, StoreError};

impl<D: Disk> Setup<Store<D>> {
    /// Opens a formatted store, which knows who its replica is; its timers run as
    /// [`Timing::DEFAULT`](vsr_core::Timing::DEFAULT) says. What a crash left is mended and logged.
    ///
    /// # Errors
    /// Whatever [`Store::open`] says.
    pub fn open(disk: D) -> Result<Self, OpenError> {
        let (store, format, stored) = Store::open(disk)?;
        let replica = format.replica;
        let report = store.opened();
        if !report.is_clean() {
            tracing::warn!(%replica, ?report, "the store was not closed in good order");
        }
        let config = format.config().expect("a store holds what its format was checked to be");
        let address = format.address(replica).unwrap_or_default().to_owned();
        Ok(Self { address, ..Self::new(config, store, stored) })
    }
}

impl<D> LogStore for Store<D>
where
    D: Disk + 'static,
    D::File: 'static,
{
    fn write(&mut self, write: &WriteKind<Bytes>) -> Result<(), StoreError> {
        match Self::write(self, write) {
            Ok(()) => Ok(()),
            // Nothing of it was taken. Room for what the group prepares is set aside in the log, so
            // that this one broke a promise made to the core.
            Err(error @ vsr_storage::StoreError::LogFull) => {
                Err(StoreError::Failed(Box::new(error)))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn sync(&mut self) -> Result<u32, StoreError> {
        Ok(Self::sync(self)?.syncs)
    }

    fn idle(&mut self) -> Result<bool, StoreError> {
        Ok(Self::idle(self)?)
    }

    fn read(&self, first: OpNumber, last: OpNumber, bytes_max: u64) -> ReadBack {
        let (entries, faulty) = Self::read(self, first, last, bytes_max);
        ReadBack { entries, faulty }
    }

    fn begin_checkpoint(
        &mut self,
        header: Header,
        sessions: &[(u32, SessionState<Bytes>)],
    ) -> Result<(), StoreError> {
        Ok(Self::begin_checkpoint(self, header, sessions)?)
    }

    fn put_chunk(&mut self, chunk: &Chunk<Bytes>) -> Result<(), StoreError> {
        Ok(Self::put_chunk(self, chunk)?)
    }

    fn finish_checkpoint(&mut self) -> Result<Option<Checksum>, StoreError> {
        Ok(match Self::finish_checkpoint(self)? {
            Progress::Unfinished => None,
            Progress::Finished(info) => Some(info.id),
        })
    }

    fn state_chunk(&mut self, index: u32) -> Result<Option<Bytes>, StoreError> {
        Ok(Self::state_chunk(self, index)?)
    }

    fn state_chunk_of(&mut self, id: Checksum, index: u32) -> Result<Option<Bytes>, StoreError> {
        Ok(Self::state_chunk_of(self, id, index)?)
    }

    fn serve(&mut self, wanted: Wanted) -> Result<Served<Bytes>, StoreError> {
        Ok(Self::serve(self, wanted)?)
    }

    fn fetch(&mut self, fetch: &Fetch<Bytes>) -> Result<Option<Fetched<Bytes>>, StoreError> {
        Self::fetch(self, fetch).map_err(|error| StoreError::Failed(Box::new(error)))
    }

    fn scrub(&mut self, max_bytes: u64) -> Result<Scrubbed, StoreError> {
        let vsr_storage::Scrubbed { bytes, faulty, is_over } = Self::scrub(self, max_bytes)?;
        Ok(Scrubbed { bytes, faulty, is_over })
    }

    fn damaged_checkpoint(&mut self) -> Option<Checksum> {
        Self::damaged_checkpoint(self)
    }

    fn take_lost_chunks(&mut self) -> Vec<Checksum> {
        Self::take_lost_chunks(self)
    }

    fn is_nearly_full(&self) -> bool {
        Self::is_nearly_full(self)
    }
}

impl From<vsr_storage::StoreError> for StoreError {
    fn from(error: vsr_storage::StoreError) -> Self {
        if error.is_fatal() { Self::Failed(Box::new(error)) } else { Self::Full }
    }
}

impl From<CheckpointError> for StoreError {
    fn from(error: CheckpointError) -> Self {
        if matches!(error, CheckpointError::DiskFull) {
            return Self::Full;
        }
        // Where a chunk that the service counts on is gone, the checkpoint is given up: what is in memory is right,
        // and worth more than a restart.
        if matches!(error, CheckpointError::UnknownChunk { .. }) {
            return Self::Damaged;
        }
        Self::Failed(Box::new(error))
    }
}

impl From<ChunkError> for StoreError {
    fn from(error: ChunkError) -> Self {
        if matches!(error, ChunkError::Damaged { .. }) {
            return Self::Damaged;
        }
        Self::Failed(Box::new(error))
    }
}
