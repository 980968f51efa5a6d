//! The log: a ring of headers and a ring of records in one file.
//!
//! 1. Entries are appended to the open [`Group`], at positions that only ascend: a slot that is
//!    written with another entry gets a new record, and the old one stays where it is.
//! 2. [`Log::flush`] writes the group's records in one piece, the ring headers of earlier groups beside
//!    it, and syncs once.
//! 3. The group's ring headers go with the next group, or alone by [`Log::idle`].
//! 4. A superblock that trims lets go of everything that only trimmed ops need ([`Log::grant`]). Once it
//!    is durable ([`Log::trim`]) the next laps may overwrite that.
//!
//! A group begins at a sector of its own and fills its last one with zeros, so that tearing it never
//! touches what an earlier sync vouched for and what is still needed. In the first lap space is written with
//! zeros ahead of use: a sync then changes no metadata, and the space ahead is the reserve that
//! lets promised commits finish on a full disk.

mod area;
mod group;
mod headers;
mod index;
pub(crate) mod layout;
mod read;
pub(crate) mod record;
mod recover;
mod ring;
mod scan;
mod space;
pub(crate) mod verify;

use vsr_core::{Constants, OpNumber, StoredSlot};

use crate::codec::Identity;
use crate::disk::{Disk, DiskError, File, align_up, create_whole};
use crate::error::{OpenError, StoreError};
use crate::store::OpenReport;
use crate::superblock::{Frontiers, Recorded, Trim};
pub(crate) use group::Group;
use index::{Index, Place, PlaceState};
use layout::{Geometry, encode_head};
use recover::Recovered;
use ring::{RING_SLICE, SlotWrite};
use space::{SLICE_MAX, ahead_of, full_or_failed, reserve_of};

/// The file's name.
pub(crate) const LOG: &str = "log";

/// The most bytes of a group; what waits beyond that goes in another. Keeps what a crash can leave
/// unsynced, and opening has to look for, within what a disk does in a fraction of a second.
pub(crate) const GROUP_BYTES_MAX: u64 = 16 << 20;

/// An open log.
pub(crate) struct Log<F> {
    file: F,
    identity: Identity,
    geometry: Geometry,
    index: Index,
    /// What the durable superblock lets go of.
    trim: Trim,
    /// What the last superblock that was given lets go of. What is given after it may count on that,
    /// since it is written after it.
    granted: Trim,
    /// What the ring is yet to be told; all of it about records that are durable.
    pending: Vec<SlotWrite>,
    /// Where the next group begins, those that wait included.
    tail: u64,
    /// What the next group states about ring headers.
    next_settled: u64,
    /// What is known to be durable.
    frontiers: Frontiers,
    /// Up to where the records area is written with zeros or records, counted from its start: after the
    /// first lap all of it.
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
        recorded: &Recorded,
        head_is_good: bool,
    ) -> Result<(Self, Vec<StoredSlot>, OpenReport), OpenError> {
        // What a former process wrote and did not sync would otherwise be believed and yet be lost.
        file.sync()?;
        let (mut log, recovered) = Self::look(file, identity, constants, recorded)?;
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
        recorded: &Recorded,
    ) -> Result<(Self, Recovered), OpenError> {
        let geometry = Geometry::new(constants);
        let records_end = file.length()?.saturating_sub(geometry.records_offset);
        let mut recovered = recover::recover(&file, &identity, &geometry, recorded, records_end)
            .ok_or(OpenError::SuperblockLost)?;
        let log = Self {
            index: std::mem::replace(&mut recovered.index, Index::new(OpNumber::ZERO)),
            trim: recorded.trim,
            granted: recorded.trim,
            pending: Vec::new(),
            tail: recovered.tail,
            next_settled: recovered.tail,
            frontiers: Frontiers { synced: recovered.tail, settled: recovered.tail },
            allocated: align_up(records_end).min(geometry.capacity),
            ring_allocated: recovered.ring_used.next_multiple_of(RING_SLICE),
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

    /// What is known to be durable.
    pub(crate) const fn frontiers(&self) -> Frontiers {
        self.frontiers
    }

    /// What the durable superblock lets go of.
    pub(crate) const fn trimmed(&self) -> Trim {
        self.trim
    }

    /// Makes a sealed group durable: its records, and the ring headers of all before it. One sync.
    /// Clears the group.
    ///
    /// # Errors
    /// [`StoreError::DiskFull`] leaves everything as it was, to be tried again. Others are fatal.
    pub(crate) fn flush(&mut self, group: &mut Group) -> Result<(), StoreError> {
        let end = group.start + group.bytes.len() as u64;
        assert!(
            group.records.is_empty() || end <= self.geometry.end_of_room(self.trim.position),
            "a group overwrites nothing that the durable superblock needs"
        );
        self.allocate_for(end)?;
        self.write_pending().map_err(full_or_failed)?;
        area::write(&self.file, &self.geometry, group.start, &group.bytes)
            .map_err(full_or_failed)?;
        self.file.sync().map_err(StoreError::Failed)?;
        self.pending.clear();
        for slot in &group.records {
            assert!(
                self.geometry.has_slot(slot.op(), self.trim.op),
                "a ring header overwrites nothing that the durable superblock needs"
            );
            self.index.set(slot);
            self.pending.push(SlotWrite::Slot(*slot));
        }
        if !group.records.is_empty() {
            self.frontiers = Frontiers { synced: end, settled: group.start };
        }
        group.clear();
        Ok(())
    }

    /// What a superblock that is given now, and says that the log begins after `trimmed`, lets go of once
    /// it is durable: all positions below the lowest record of any op above. Records that still wait
    /// to be written lie beyond everything durable, and so beyond that.
    ///
    /// While an op above is unreadable the position stays where it was: the damage that makes it so
    /// is what keeps it from being taken for missing should its ring header be lost.
    ///
    /// # Panics
    /// If the log began later before: what was let go may be overwritten.
    pub(crate) fn grant(&mut self, trimmed: OpNumber) -> Trim {
        assert!(trimmed >= self.granted.op, "what was trimmed once does not come back");
        if trimmed > self.granted.op {
            let needed = self.index.needed_from(trimmed, self.frontiers.synced);
            let position = needed.unwrap_or(self.granted.position);
            assert!(position >= self.granted.position, "later records lie at later positions");
            self.granted = Trim { op: trimmed, position };
        }
        self.granted
    }

    /// The superblock that lets go of this is durable.
    pub(crate) fn trim(&mut self, trim: Trim) {
        let before = std::mem::replace(&mut self.trim, trim);
        let let_go = trim.position.saturating_sub(before.position) as usize;
        for (at, range) in self.geometry.pieces(before.position, let_go) {
            let offset = self.geometry.records_offset + at;
            self.file.discard(offset, offset + range.len() as u64);
        }
        self.index.trim(trim.op);
        // Ring headers of trimmed ops may still be pending. They go with the next group, and so before
        // any of an op that shares the slot: that op's record must be durable first.
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
        self.allocate_ahead()?;
        self.write_pending().map_err(full_or_failed)?;
        self.file.sync().map_err(StoreError::Failed)?;
        self.pending.clear();
        self.frontiers.settled = self.frontiers.synced;
        self.next_settled = self.frontiers.settled;
        Ok(true)
    }
}
