//! Looking at a log without changing it: what each slot holds, and whether each byte is right.

use bytes::{Bytes, BytesMut};
use vsr_core::{Constants, OpNumber, StoredSlot};

use super::layout::{RingSlot, SLOT_BYTES};
use super::scan::is_blank;
use super::{Log, Place, PlaceState, area, record};
use crate::codec::Identity;
use crate::disk::{File, read_whatever};
use crate::error::OpenError;
use crate::inspect::Finding;
use crate::store::OpenReport;
use crate::superblock::Recorded;

/// A log that is only looked at.
pub(crate) struct View<F> {
    pub(crate) log: Log<F>,
    pub(crate) slots: Vec<StoredSlot>,
    pub(crate) report: OpenReport,
    /// Found while looking, apart from what single records show.
    unaccounted: Vec<Finding>,
}

impl<F: File> View<F> {
    pub(crate) fn open(
        file: F,
        identity: Identity,
        constants: &Constants,
        recorded: &Recorded,
    ) -> Result<Self, OpenError> {
        let (log, recovered) = Log::look(file, identity, constants, recorded)?;
        let mut unaccounted = Vec::new();
        for hole in recovered.holes {
            let damaged_end = hole.end.min(recovered.proven);
            if hole.start < damaged_end {
                unaccounted.push(Finding::Unaccounted {
                    position: hole.start,
                    length: damaged_end - hole.start,
                });
            }
            let torn_start = hole.start.max(recovered.proven);
            if torn_start < hole.remains_end {
                unaccounted.push(Finding::TornRemains {
                    position: torn_start,
                    length: hole.remains_end - torn_start,
                });
            }
        }
        Ok(Self { log, slots: recovered.slots, report: recovered.report, unaccounted })
    }

    /// Reports everything about the log that is not as it should be.
    pub(crate) fn verify(&self, found: &mut impl FnMut(Finding)) {
        if !is_blank(&self.behind_ring()) {
            found(Finding::RingRemains);
        }
        for op in &self.report.damaged_headers {
            found(Finding::RingHeader { op: *op });
        }
        for (op, place) in self.log.index.iter() {
            match place.state {
                PlaceState::Nowhere => {}
                PlaceState::Unreadable => found(Finding::Unreadable { op }),
                PlaceState::Held | PlaceState::Faulty => self.verify_record(op, place, found),
            }
        }
        for finding in &self.unaccounted {
            found(*finding);
        }
    }

    /// What fills up the last sector of the ring.
    fn behind_ring(&self) -> Vec<u8> {
        let geometry = &self.log.geometry;
        let from = geometry.slot_offset(OpNumber(geometry.slots - 1)) + SLOT_BYTES as u64;
        let mut bytes = vec![0; (geometry.records_offset - from) as usize];
        read_whatever(&self.log.file, from, &mut bytes);
        bytes
    }

    fn verify_record(&self, op: OpNumber, place: &Place, found: &mut impl FnMut(Finding)) {
        let record = self.record_bytes(place);
        if self.log.entry(&record, place).is_none() || place.state == PlaceState::Faulty {
            let position = place.position;
            found(Finding::Record { op, position });
            return;
        }
        let size = record::claim(&record).map_or(record.len(), |claim| claim.size);
        let padding = &record[size..];
        if !is_blank(padding) {
            found(Finding::TornRemains {
                position: place.position + size as u64,
                length: padding.len() as u64,
            });
        }
    }

    fn record_bytes(&self, place: &Place) -> Bytes {
        let mut bytes = BytesMut::zeroed(place.extent as usize);
        area::read(&self.log.file, &self.log.geometry, place.position, &mut bytes);
        bytes.freeze()
    }

    /// Where the record of an op begins in the file, and how many bytes belong to it; from the end of the
    /// file they go on where the records begin.
    pub(crate) fn record_range(&self, op: OpNumber) -> Option<(u64, u32)> {
        let place = self.log.index.get(op);
        match place.state {
            PlaceState::Nowhere | PlaceState::Unreadable => None,
            PlaceState::Held | PlaceState::Faulty => {
                Some((self.log.geometry.record_offset(place.position), place.extent))
            }
        }
    }

    /// Where in the file the slot of an op lies, and how long it is.
    pub(crate) fn ring_range(&self, op: OpNumber) -> (u64, u32) {
        (self.log.geometry.slot_offset(op), SLOT_BYTES as u32)
    }

    /// Whether the last record of all begins in a group after that of the op's.
    pub(crate) fn is_proven(&self, op: OpNumber) -> bool {
        let place = self.log.index.get(op);
        let held = self.log.index.iter().filter(|(_, place)| place.state == PlaceState::Held);
        let Some((_, last)) = held.max_by_key(|(_, place)| place.position) else { return false };
        let head = record::check(&self.record_bytes(last), &self.log.identity, last.position);
        let end = place.position + u64::from(place.extent);
        place.state == PlaceState::Held && head.is_some_and(|head| end <= head.group_start)
    }

    /// Whether the ring has a header of the op, of the record that is there.
    pub(crate) fn has_ring_header(&self, op: OpNumber) -> bool {
        let place = self.log.index.get(op);
        let slot: Option<RingSlot> = self.log.read_slot(op);
        place.state != PlaceState::Nowhere
            && slot.is_some_and(|slot| slot.position == place.position)
    }
}
