//! The store of `vsr-storage` as the driver of `vsr-tokio` wants it.

use bytes::Bytes;
use vsr_core::{OpNumber, WriteKind};
use vsr_storage::{FileDisk, Store};
use vsr_tokio::{LogStore, ReadBack, StoreError};

/// A replica's store on the file system.
#[derive(Debug)]
pub(crate) struct ReplicaStore(pub(crate) Store<FileDisk>);

impl LogStore for ReplicaStore {
    fn write(&mut self, write: &WriteKind<Bytes>) -> Result<(), StoreError> {
        self.0.write(write).map_err(of_store)
    }

    fn sync(&mut self) -> Result<u32, StoreError> {
        self.0.sync().map(|report| report.syncs).map_err(of_store)
    }

    fn idle(&mut self) -> Result<bool, StoreError> {
        self.0.idle().map_err(of_store)
    }

    fn read(&self, first: OpNumber, last: OpNumber, bytes_max: u64) -> ReadBack {
        let (entries, faulty) = self.0.read(first, last, bytes_max);
        ReadBack { entries, faulty }
    }

    fn is_nearly_full(&self) -> bool {
        self.0.is_nearly_full()
    }
}

fn of_store(error: vsr_storage::StoreError) -> StoreError {
    match error {
        vsr_storage::StoreError::DiskFull => StoreError::Full,
        // The core promises nothing beyond the log's slots; that the bytes run out first is an
        // entry that cannot be kept, and a promise that cannot be held.
        vsr_storage::StoreError::LogFull
        | vsr_storage::StoreError::Failed(_)
        | vsr_storage::StoreError::Stopped => StoreError::Failed(Box::new(error)),
    }
}
