//! Room in the log, and space on the disk for it.

use bytes::Bytes;
use vsr_core::{Constants, Entry};

use super::layout::Geometry;
use super::{Group, Log, record};
use crate::disk::{DiskError, File, SECTOR, align_up};
use crate::error::StoreError;

/// The most space written with zeros at once: a millisecond's work, every few hundred groups.
pub(super) const SLICE_MAX: u64 = 1 << 20;

/// The most bytes written ahead of use, whatever the constants say.
const AHEAD_BYTES_MAX: u64 = 16 << 20;

impl<F: File> Log<F> {
    /// Whether so little room is left that no new operation should be promised.
    pub(crate) const fn is_nearly_full(&self) -> bool {
        let end = self.geometry.end_of_room(self.granted.position);
        self.disk_full || self.tail + self.reserve > end
    }

    /// Whether these entries, and what waits in `group`, fit: without touching a record or a slot
    /// that is needed once everything given so far is durable.
    ///
    /// # Panics
    /// If an entry is trimmed already: its slot may be that of another op.
    pub(crate) fn has_room(&self, group: &Group, entries: &[Entry<Bytes>]) -> bool {
        let mut start = self.tail;
        let mut length = group.bytes.len() as u64;
        for entry in entries {
            assert!(entry.header().op > self.granted.op, "a trimmed op is not written again");
            let size = record::size_of(entry.header()) as u64;
            if length > 0 && length + size > self.geometry.group_max {
                start = align_up(start + length);
                length = 0;
            }
            length += size;
        }
        let has_slot =
            |entry: &Entry<_>| self.geometry.has_slot(entry.header().op, self.granted.op);
        align_up(start + length) <= self.geometry.end_of_room(self.granted.position)
            && entries.iter().all(has_slot)
    }

    /// Whether an entry goes with what is in a group, rather than in one of its own.
    pub(crate) fn takes(&self, group: &Group, entry: &Entry<Bytes>) -> bool {
        let length = group.bytes.len() + record::size_of(entry.header());
        group.bytes.is_empty() || length as u64 <= self.geometry.group_max
    }

    /// Writes space ahead while nobody waits; without any left the next group will say so.
    pub(super) fn allocate_ahead(&mut self) -> Result<(), StoreError> {
        if !self.try_allocate_to(self.tail + self.ahead + self.slice)? {
            self.disk_full = true;
        }
        Ok(())
    }

    /// Tries for space again, after the disk was full.
    ///
    /// # Errors
    /// [`StoreError::Failed`], which is fatal. A disk that is full still is none.
    pub(crate) fn retry_space(&mut self) -> Result<(), StoreError> {
        if self.disk_full {
            self.disk_full = !self.try_allocate_to(self.tail + self.ahead)?;
        }
        Ok(())
    }

    /// Sees to it that records up to `end` go to space that is there, with a reserve behind.
    pub(super) fn allocate_for(&mut self, end: u64) -> Result<(), StoreError> {
        if end + self.ahead <= self.allocated || self.allocated == self.geometry.capacity {
            return Ok(());
        }
        self.disk_full = !self.try_allocate_to(end + self.ahead + self.slice)?;
        if self.disk_full && end > self.allocated {
            return Err(StoreError::DiskFull);
        }
        Ok(())
    }

    /// Returns whether there was space. Any other error is that of a broken disk, for which waiting
    /// for space would be waiting in vain.
    fn try_allocate_to(&mut self, end: u64) -> Result<bool, StoreError> {
        match self.allocate_to(end) {
            Ok(()) => Ok(true),
            Err(error) if error.is_full() => Ok(false),
            Err(error) => Err(StoreError::Failed(error)),
        }
    }

    fn allocate_to(&mut self, end: u64) -> Result<(), DiskError> {
        let end = align_up(end).min(self.geometry.capacity);
        if end > self.allocated {
            let offset = self.geometry.records_offset;
            self.file.allocate(offset + self.allocated, offset + end)?;
            self.allocated = end;
        }
        Ok(())
    }
}

pub(super) fn full_or_failed(error: DiskError) -> StoreError {
    if error.is_full() { StoreError::DiskFull } else { StoreError::Failed(error) }
}

/// What is kept allocated ahead: a full pipeline of full batches, and one of the largest requests.
pub(super) fn ahead_of(constants: &Constants, geometry: &Geometry) -> u64 {
    let batches = u64::from(constants.pipeline) * u64::from(constants.batch_bytes);
    let wanted = batches + u64::from(constants.request_bytes);
    align_up(wanted.min(AHEAD_BYTES_MAX).min(geometry.capacity / 4))
}

/// What is kept of the capacity: a full pipeline of the largest entries.
pub(super) fn reserve_of(constants: &Constants, geometry: &Geometry) -> u64 {
    let requests = u64::from(constants.batch_requests) * record::REQUEST_BYTES as u64;
    let bytes = u64::from(constants.batch_bytes) + u64::from(constants.request_bytes);
    let wanted = u64::from(constants.pipeline) * (SECTOR + requests + bytes);
    wanted.min(geometry.capacity / 4)
}
