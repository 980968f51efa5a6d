//! The log: a ring of headers and an area of records in one file.
//!
//! 1. Entries are appended to the open [`Group`], at positions that only ascend: a slot that is
//!    written with another entry gets a new record, and the old one stays where it is.
//! 2. [`Log::flush`] writes the group's records in one piece, the ring headers of earlier groups beside
//!    it, and syncs once.
//! 3. The group's ring headers go with the next group, or alone by [`Log::idle`].
//!
//! A group begins at a sector of its own and fills its last one with zeros, so that tearing it never
//! touches what an earlier sync vouched for. Space is written with zeros ahead of use: a sync then changes no
//! metadata, and the space ahead is the reserve that lets promised commits finish on a full
//! disk.

mod group;
pub(crate) mod layout;
mod read;
pub(crate) mod record;
mod recover;
mod ring;
mod scan;
pub(crate) mod verify;

use bytes::Bytes;
use vsr_core::{Checksum, Constants, Entry, OpNumber, StoredSlot};

use crate::codec::Identity;
use crate::disk::{Disk, DiskError, File, SECTOR, align_up, create_whole};
use crate::error::StoreError;
use crate::store::OpenReport;
use crate::superblock::Frontiers;
pub(crate) use group::Group;
use layout::{Geometry, RingSlot, SLOT_BYTES, SlotState, encode_head};
use recover::Recovered;
use ring::{RING_SLICE, SlotWrite};

/// The file's name.
pub(crate) const LOG: &str = "log";

/// The most space written with zeros at once: a millisecond's work, every few hundred groups.
const SLICE_MAX: u64 = 1 << 20;

/// The most bytes of a group; what waits beyond that goes in another. Keeps distances within a
/// record in 32 bits, and one write within what a disk does in a fraction of a second.
pub(crate) const GROUP_BYTES_MAX: usize = 64 << 20;

/// The most bytes written ahead of use, whatever the constants say.
const AHEAD_BYTES_MAX: u64 = 16 << 20;

/// Where the record of an op lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    checksum: Checksum,
    position: u64,
    extent: u32,
    state: PlaceState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PlaceState {
    Nowhere,
    Held,
    Faulty,
    Unreadable,
}

impl Place {
    const NOWHERE: Self =
        Self { checksum: Checksum(0), position: 0, extent: 0, state: PlaceState::Nowhere };

    const fn of(slot: &RingSlot) -> Self {
        let (checksum, state) = match &slot.state {
            SlotState::Held(header) => (header.checksum, PlaceState::Held),
            SlotState::Faulty(header) => (header.checksum, PlaceState::Faulty),
            SlotState::Unreadable(_) => (Checksum(0), PlaceState::Unreadable),
        };
        Self { checksum, position: slot.position, extent: slot.extent, state }
    }
}

/// An open log.
pub(crate) struct Log<F> {
    file: F,
    identity: Identity,
    geometry: Geometry,
    /// Where op `i + 1` lies.
    index: Vec<Place>,
    /// What the ring is yet to be told; all of it about records that are durable.
    pending: Vec<SlotWrite>,
    /// Where the next group begins, those that wait included.
    tail: u64,
    /// What the next group states about ring headers.
    next_settled: u64,
    /// What is known to be durable.
    frontiers: Frontiers,
    /// Up to where the records area is written with zeros or records.
    allocated: u64,
    /// Up to where the ring is written with zeros or headers.
    ring_allocated: u64,
    /// How much is kept allocated ahead of the tail.
    ahead: u64,
    /// How much is allocated at once.
    slice: u64,
    /// How much of the capacity is kept for what was promised.
    reserve: u64,
    /// Space could not be allocated when it was last tried.
    disk_full: bool,
    scratch: Vec<u8>,
}

impl<F: File> Log<F> {
    /// Creates an empty log, with space for what a group of full pipelines may need at once.
    pub(crate) fn create<D: Disk<File = F>>(
        disk: &D,
        identity: &Identity,
        constants: &Constants,
    ) -> Result<(), DiskError> {
        let geometry = Geometry::new(constants);
        create_whole(disk, LOG, |file| {
            let ahead = ahead_of(constants, &geometry);
            file.set_length(geometry.records_offset)?;
            file.write_at(0, &encode_head(identity, &geometry))?;
            let ring = geometry.slot_offset(OpNumber::ZERO);
            file.allocate(ring, (ring + RING_SLICE).min(geometry.records_offset))?;
            file.allocate(geometry.records_offset, geometry.records_offset + ahead)
        })
    }

    /// Reads what the log holds, and makes the ring of headers agree with it: at most two syncs.
    pub(crate) fn open(
        file: F,
        identity: Identity,
        constants: &Constants,
        superblock: (OpNumber, Frontiers),
        head_is_good: bool,
    ) -> Result<(Self, Vec<StoredSlot>, OpenReport), DiskError> {
        // What a former process wrote and did not sync would otherwise be believed and yet be lost.
        file.sync()?;
        let (mut log, recovered) = Self::look(file, identity, constants, superblock)?;
        log.pending = recovered.rewrite;
        let mut report = recovered.report;
        report.log_head_damaged = !head_is_good;
        if !head_is_good {
            log.file.write_at(0, &encode_head(&identity, &log.geometry))?;
        }
        if !log.pending.is_empty() || !head_is_good {
            log.write_pending()?;
            log.file.sync()?;
            log.pending.clear();
        }
        Ok((log, recovered.slots, report))
    }

    /// Reads what the log holds, and changes nothing.
    fn look(
        file: F,
        identity: Identity,
        constants: &Constants,
        superblock: (OpNumber, Frontiers),
    ) -> Result<(Self, Recovered), DiskError> {
        let geometry = Geometry::new(constants);
        let records_end = file.length()?.saturating_sub(geometry.records_offset);
        let mut recovered = recover::recover(&file, &identity, &geometry, superblock, records_end);
        let ring_used = geometry.slot_offset(OpNumber(recovered.slots.len() as u64));
        let log = Self {
            index: std::mem::take(&mut recovered.index),
            pending: Vec::new(),
            tail: recovered.tail,
            next_settled: recovered.tail,
            frontiers: Frontiers { synced: recovered.tail, settled: recovered.tail },
            allocated: align_up(records_end).min(geometry.capacity),
            ring_allocated: (ring_used + SLOT_BYTES as u64).next_multiple_of(RING_SLICE),
            ahead: ahead_of(constants, &geometry),
            slice: align_up(SLICE_MAX.min(geometry.capacity / 16)),
            reserve: reserve_of(constants, &geometry),
            disk_full: false,
            scratch: Vec::new(),
            file,
            identity,
            geometry,
        };
        Ok((log, recovered))
    }

    pub(crate) const fn frontiers(&self) -> Frontiers {
        self.frontiers
    }

    /// Whether so little room is left that no new operation should be promised.
    pub(crate) const fn is_nearly_full(&self) -> bool {
        self.disk_full || self.tail + self.reserve > self.geometry.capacity
    }

    /// Whether these entries, and what waits in `group`, fit.
    pub(crate) fn has_room(&self, group: &Group, entries: &[Entry<Bytes>]) -> bool {
        let bytes: usize = entries.iter().map(|e| record::size_of(e.header())).sum();
        let end = align_up(self.tail + (group.bytes.len() + bytes) as u64);
        let last = entries.last().map_or(OpNumber::ZERO, |e| e.header().op);
        end <= self.geometry.capacity && last.0 < self.geometry.slots
    }

    /// Makes a sealed group durable: its records, and the ring headers of all before it. One sync.
    /// Clears the group.
    ///
    /// # Errors
    /// [`StoreError::DiskFull`] leaves everything as it was, to be tried again. Others are fatal.
    pub(crate) fn flush(&mut self, group: &mut Group) -> Result<(), StoreError> {
        let end = group.start + group.bytes.len() as u64;
        self.allocate_for(end)?;
        self.write_pending().map_err(full_or_failed)?;
        if !group.bytes.is_empty() {
            self.file
                .write_at(self.geometry.records_offset + group.start, &group.bytes)
                .map_err(full_or_failed)?;
        }
        self.file.sync().map_err(StoreError::Failed)?;
        self.pending.clear();
        for slot in &group.records {
            let at = slot.op().0 as usize - 1;
            if self.index.len() <= at {
                self.index.resize(at + 1, Place::NOWHERE);
            }
            self.index[at] = Place::of(slot);
            self.pending.push(SlotWrite::Slot(*slot));
        }
        if !group.records.is_empty() {
            self.frontiers = Frontiers { synced: end, settled: group.start };
        }
        group.clear();
        Ok(())
    }

    /// Whether the ring of headers is behind.
    pub(crate) const fn is_behind(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Brings the ring of headers up to date; one sync where there is something to do. Only while no
    /// group waits.
    pub(crate) fn idle(&mut self) -> Result<bool, StoreError> {
        if self.pending.is_empty() {
            return Ok(false);
        }
        // Space is best written when nobody waits; without any left the next group will say so.
        if !self.try_allocate_to(self.tail + self.ahead + self.slice)? {
            self.disk_full = true;
        }
        self.write_pending().map_err(full_or_failed)?;
        self.file.sync().map_err(StoreError::Failed)?;
        self.pending.clear();
        self.frontiers.settled = self.frontiers.synced;
        self.next_settled = self.frontiers.settled;
        Ok(true)
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
    fn allocate_for(&mut self, end: u64) -> Result<(), StoreError> {
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

fn full_or_failed(error: DiskError) -> StoreError {
    if error.is_full() { StoreError::DiskFull } else { StoreError::Failed(error) }
}

/// What is kept allocated ahead: a full pipeline of full batches, and one of the largest requests.
fn ahead_of(constants: &Constants, geometry: &Geometry) -> u64 {
    let batches = u64::from(constants.pipeline) * u64::from(constants.batch_bytes);
    let wanted = batches + u64::from(constants.request_bytes);
    align_up(wanted.min(AHEAD_BYTES_MAX).min(geometry.capacity / 4))
}

/// What is kept of the capacity: a full pipeline of the largest entries.
fn reserve_of(constants: &Constants, geometry: &Geometry) -> u64 {
    let requests = u64::from(constants.batch_requests) * record::REQUEST_BYTES as u64;
    let bytes = u64::from(constants.batch_bytes) + u64::from(constants.request_bytes);
    let wanted = u64::from(constants.pipeline) * (SECTOR + requests + bytes);
    wanted.min(geometry.capacity / 4)
}
