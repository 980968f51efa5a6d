//! Where the record of each op lies: one place a slot, from the first op that is not trimmed on.

use std::collections::VecDeque;

use vsr_core::{Checksum, OpNumber};

use super::layout::{RingSlot, SlotState};

/// Where the record of an op lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(super) checksum: Checksum,
    pub(super) position: u64,
    pub(super) extent: u32,
    pub(super) state: PlaceState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PlaceState {
    Nowhere,
    Held,
    Faulty,
    Unreadable,
}

impl Place {
    const NOWHERE: Self =
        Self { checksum: Checksum(0), position: 0, extent: 0, state: PlaceState::Nowhere };

    pub(super) const fn of(slot: &RingSlot) -> Self {
        let (checksum, state) = match &slot.state {
            SlotState::Held(header) => (header.checksum, PlaceState::Held),
            SlotState::Faulty(header) => (header.checksum, PlaceState::Faulty),
            SlotState::Unreadable(_) => (Checksum(0), PlaceState::Unreadable),
        };
        Self { checksum, position: slot.position, extent: slot.extent, state }
    }
}

/// The places of all ops after the trimmed one. Never more than the log has slots.
#[derive(Debug)]
pub(super) struct Index {
    trimmed: OpNumber,
    places: VecDeque<Place>,
}

impl Index {
    pub(super) const fn new(trimmed: OpNumber) -> Self {
        Self { trimmed, places: VecDeque::new() }
    }

    /// The highest op of which there is anything, or the trimmed one.
    pub(super) fn last(&self) -> OpNumber {
        OpNumber(self.trimmed.0 + self.places.len() as u64)
    }

    pub(super) const fn first(&self) -> OpNumber {
        self.trimmed.next()
    }

    /// The place of an op: nowhere where it is trimmed or was never written.
    pub(super) fn get(&self, op: OpNumber) -> Place {
        let at = op.0.checked_sub(self.trimmed.0 + 1);
        at.and_then(|at| self.places.get(at as usize)).copied().unwrap_or(Place::NOWHERE)
    }

    /// Takes note of a slot; its op is not trimmed.
    pub(super) fn set(&mut self, slot: &RingSlot) {
        let op = slot.op();
        assert!(op > self.trimmed, "a trimmed op has no place any more");
        let at = (op.0 - self.trimmed.0 - 1) as usize;
        if self.places.len() <= at {
            self.places.resize(at + 1, Place::NOWHERE);
        }
        self.places[at] = Place::of(slot);
    }

    /// Forgets the ops up to `trimmed`.
    pub(super) fn trim(&mut self, trimmed: OpNumber) {
        let gone = (trimmed.0 - self.trimmed.0).min(self.places.len() as u64);
        self.places.drain(..gone as usize);
        self.trimmed = trimmed;
    }

    /// The lowest position of a record of an op above `trimmed`, or `end` where there is none below. `None`
    /// where such an op is unreadable: nobody knows where the bytes are that were its record, and
    /// they are what proves that it was there.
    pub(super) fn needed_from(&self, trimmed: OpNumber, end: u64) -> Option<u64> {
        let kept = self.places.iter().skip((trimmed.0 - self.trimmed.0) as usize);
        kept.into_iter().try_fold(end, |lowest, place| match place.state {
            PlaceState::Nowhere => Some(lowest),
            PlaceState::Held | PlaceState::Faulty => Some(lowest.min(place.position)),
            PlaceState::Unreadable => None,
        })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (OpNumber, &Place)> {
        (self.first().0..).map(OpNumber).zip(&self.places)
    }
}
