//! What the ring of headers says when a log is opened.

use std::collections::BTreeSet;

use vsr_core::{OpNumber, StoredSlot};

use super::index::{Index, Place};
use super::layout::{Geometry, RingSlot, SLOT_BYTES, SlotBytes, SlotState, decode_slot};
use super::scan::is_blank;
use crate::codec::Identity;
use crate::disk::{File, read_whatever};
use crate::superblock::{Frontiers, Trim};

/// How many slots of the ring are read at once.
const SLOTS_AT_ONCE: u64 = 2048;

/// The ring of headers, as far as it is about ops that are not trimmed.
pub(super) struct Headers {
    trim: Trim,
    /// What the op `trim.op + 1 + i` holds.
    pub(super) slots: Vec<StoredSlot>,
    pub(super) index: Index,
    /// Ops whose slots cannot be read; the trimmed op itself stands for the slot that is nobody's.
    pub(super) damaged: BTreeSet<OpNumber>,
    /// Ops whose slots name a record below the trim position. The log had a later one.
    pub(super) outlived: BTreeSet<OpNumber>,
    /// Ranges from the trim position on that good slots account for, those of trimmed ops included.
    pub(super) accounted: Vec<(u64, u64)>,
    pub(super) frontiers: Frontiers,
    /// Where in the file what was ever written to the ring ends.
    pub(super) used: u64,
    /// A slot says what the superblock does not allow.
    pub(super) is_beyond: bool,
}

impl Headers {
    /// Reads the whole ring: its size is fixed, and a slot costs little.
    pub(super) fn read<F: File>(
        file: &F,
        identity: &Identity,
        geometry: &Geometry,
        trim: Trim,
    ) -> Self {
        let mut headers = Self {
            trim,
            slots: Vec::new(),
            index: Index::new(trim.op),
            damaged: BTreeSet::new(),
            outlived: BTreeSet::new(),
            accounted: Vec::new(),
            frontiers: Frontiers::default(),
            used: geometry.slot_offset(OpNumber::ZERO),
            is_beyond: false,
        };
        let mut buffer = vec![0; SLOTS_AT_ONCE as usize * SLOT_BYTES];
        let mut first = 0;
        while first < geometry.slots {
            let offset = geometry.slot_offset(OpNumber(first));
            let blank_slots = (file.next_data(offset) - offset) / SLOT_BYTES as u64;
            if blank_slots > 0 {
                first = first.saturating_add(blank_slots);
                continue;
            }
            let count = SLOTS_AT_ONCE.min(geometry.slots - first);
            let bytes = &mut buffer[..count as usize * SLOT_BYTES];
            read_whatever(file, offset, bytes);
            if !is_blank(bytes) {
                for (slot, bytes) in (first..).zip(bytes.chunks_exact(SLOT_BYTES)) {
                    headers.take(geometry, slot, decode_slot(bytes, slot, identity));
                }
            }
            first += count;
        }
        headers
    }

    /// Of all the ops that share a slot only one can be held. What an earlier lap left there is true,
    /// and of no more use than a blank slot.
    fn take(&mut self, geometry: &Geometry, number: u64, slot: SlotBytes) {
        if slot != SlotBytes::Blank {
            self.used = geometry.slot_offset(OpNumber(number)) + SLOT_BYTES as u64;
        }
        let op = geometry.op_of_slot(number, self.trim.op);
        match slot {
            SlotBytes::Blank => {}
            SlotBytes::Good(slot) if slot.op().0 % geometry.slots == number => {
                self.is_beyond |= slot.op() > op;
                self.account(&slot);
                if slot.op() > self.trim.op {
                    self.accept(&slot);
                }
            }
            SlotBytes::Good(_) | SlotBytes::Damaged => {
                self.damaged.insert(op);
            }
        }
    }

    /// Takes over what a slot proves, whichever lap it is of.
    fn account(&mut self, slot: &RingSlot) {
        match slot.state {
            SlotState::Held(_) | SlotState::Faulty(_) => {
                self.frontiers.synced = self.frontiers.synced.max(slot.proven);
                self.frontiers.settled = self.frontiers.settled.max(slot.settled);
                if slot.position >= self.trim.position {
                    let start = slot.position - u64::from(slot.lead);
                    let end = slot.position + u64::from(slot.extent);
                    self.accounted.push((start, end));
                }
            }
            SlotState::Unreadable(_) => {}
        }
    }

    fn accept(&mut self, slot: &RingSlot) {
        let stored = match slot.state {
            SlotState::Held(header) => StoredSlot::Held(header),
            SlotState::Faulty(header) => StoredSlot::Faulty(header),
            SlotState::Unreadable(_) => StoredSlot::Unreadable,
        };
        if stored != StoredSlot::Unreadable && slot.position < self.trim.position {
            self.outlived.insert(slot.op());
        } else {
            self.set(stored, slot);
        }
    }

    pub(super) fn set(&mut self, stored: StoredSlot, slot: &RingSlot) {
        self.index.set(slot);
        let at = (slot.op().0 - self.index.first().0) as usize;
        if self.slots.len() <= at {
            self.slots.resize(at + 1, StoredSlot::Empty);
        }
        self.slots[at] = stored;
    }

    /// The highest op that the ring knows, or the trimmed one.
    pub(super) fn highest(&self) -> OpNumber {
        let outlived = self.outlived.last().copied().unwrap_or_default();
        outlived.max(self.index.last())
    }

    pub(super) fn get(&self, op: OpNumber) -> (StoredSlot, Place) {
        let at = op.0.checked_sub(self.index.first().0);
        let stored = at.and_then(|at| self.slots.get(at as usize));
        (stored.copied().unwrap_or(StoredSlot::Empty), self.index.get(op))
    }
}
