//! The store of `vsr-storage` as the driver's.

use bytes::Bytes;
use vsr_core::{OpNumber, WriteKind};
use vsr_storage::{Disk, Store};

use crate::store::{LogStore, ReadBack, StoreError};

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

    fn is_nearly_full(&self) -> bool {
        Self::is_nearly_full(self)
    }
}

impl From<vsr_storage::StoreError> for StoreError {
    fn from(error: vsr_storage::StoreError) -> Self {
        if error.is_fatal() { Self::Failed(Box::new(error)) } else { Self::Full }
    }
}
