//! The ring of headers: what it is told, and how.

use vsr_core::OpNumber;

use super::layout::{RingSlot, SLOT_BYTES, SlotBytes, SlotState, decode_slot};
use super::{Group, Log, Place, PlaceState};
use crate::codec::Put;
use crate::disk::{DiskError, File};

/// How much of the ring is written with zeros at once: 512 slots.
pub(super) const RING_SLICE: u64 = 64 << 10;

/// What a slot of the ring is to become.
#[derive(Clone, Copy, Debug)]
pub(super) enum SlotWrite {
    Slot(RingSlot),
    /// Never written: what lies there is the debris of a torn write.
    Blank(OpNumber),
}

impl SlotWrite {
    pub(super) const fn op(&self) -> OpNumber {
        match self {
            Self::Slot(slot) => slot.op(),
            Self::Blank(op) => *op,
        }
    }
}

impl<F: File> Log<F> {
    /// Marks an op's slot as damaged, in `group` and thus with its sync. Nothing to do where a new
    /// record of the op waits already, or where the op is trimmed or beyond the log's slots.
    pub(crate) fn mark_faulty(&mut self, group: &mut Group, op: OpNumber) {
        let waits = group.records.iter().any(|slot| slot.op() == op);
        // The mark goes with the next sync, whatever superblocks wait: the slot must be the op's already.
        let is_kept = op > self.granted.op && self.geometry.has_slot(op, self.trim.op);
        if waits || !is_kept {
            return;
        }
        group.marked = true;
        let slot = self.faulty_slot(op, self.index.get(op));
        self.index.set(&slot);
        self.pending.retain(|pending| pending.op() != op);
        self.pending.push(SlotWrite::Slot(slot));
    }

    /// What the ring says of a damaged op: with its identity where it is known.
    pub(super) fn faulty_slot(&self, op: OpNumber, place: Place) -> RingSlot {
        let pending = self.pending.iter().rev().find_map(|pending| match pending {
            SlotWrite::Slot(slot) if slot.op() == op => Some(*slot),
            SlotWrite::Slot(_) | SlotWrite::Blank(_) => None,
        });
        let known = pending
            .or_else(|| self.read_slot(op))
            .filter(|slot| slot.position == place.position && place.state != PlaceState::Nowhere);
        if let Some(mut slot) = known
            && let SlotState::Held(header) | SlotState::Faulty(header) = slot.state
        {
            slot.state = SlotState::Faulty(header);
            return slot;
        }
        RingSlot {
            state: SlotState::Unreadable(op),
            position: self.tail,
            lead: 0,
            extent: 0,
            settled: self.tail,
            proven: self.tail,
        }
    }

    pub(super) fn read_slot(&self, op: OpNumber) -> Option<RingSlot> {
        let mut bytes = [0; SLOT_BYTES];
        let offset = self.geometry.slot_offset(op);
        self.file.read_at(offset, &mut bytes).ok()?;
        match decode_slot(&bytes, op.0 % self.geometry.slots, &self.identity) {
            SlotBytes::Good(slot) if slot.op() == op => Some(slot),
            SlotBytes::Good(_) | SlotBytes::Damaged | SlotBytes::Blank => None,
        }
    }

    /// Writes what the ring is to be told, runs of neighbouring slots in one piece.
    pub(super) fn write_pending(&mut self) -> Result<(), DiskError> {
        let pending = std::mem::take(&mut self.pending);
        let written = self.write_slots(&pending);
        self.pending = pending;
        written
    }

    pub(super) fn write_slots(&mut self, mut rest: &[SlotWrite]) -> Result<(), DiskError> {
        while let [first, ..] = rest {
            let follows = |pair: &&[SlotWrite]| {
                pair[1].op() == pair[0].op().next()
                    && !pair[1].op().0.is_multiple_of(self.geometry.slots)
            };
            let run = 1 + rest.windows(2).take_while(follows).count();
            self.scratch.clear();
            for write in &rest[..run] {
                match write {
                    SlotWrite::Slot(slot) => {
                        slot.encode(&self.identity, &self.geometry, &mut self.scratch);
                    }
                    SlotWrite::Blank(_) => self.scratch.put(&[0; SLOT_BYTES]),
                }
            }
            let offset = self.geometry.slot_offset(first.op());
            self.allocate_ring(offset + self.scratch.len() as u64)?;
            self.file.write_at(offset, &self.scratch)?;
            rest = &rest[run..];
        }
        Ok(())
    }

    /// Fills the ring with zeros up to `end` and some more. Where there is no space for more, what is
    /// written next may still find room.
    pub(super) fn allocate_ring(&mut self, end: u64) -> Result<(), DiskError> {
        if end <= self.ring_allocated {
            return Ok(());
        }
        let next = end.next_multiple_of(RING_SLICE).min(self.geometry.records_offset);
        match self.file.allocate(self.ring_allocated, next) {
            Ok(()) => self.ring_allocated = next,
            Err(error) if error.is_full() => self.disk_full = true,
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
