//! Groups: what one write and one sync make durable.

use bytes::Bytes;
use vsr_core::Entry;

use super::layout::{RingSlot, SlotState};
use super::{Log, record};
use crate::disk::{File, align_up};

/// A buffer that once held a large group is given back rather than kept.
const KEPT_BUFFER: usize = 4 << 20;

/// Records that are written and synced together.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(super) start: u64,
    pub(super) settled: u64,
    pub(super) bytes: Vec<u8>,
    pub(super) records: Vec<RingSlot>,
    /// Whether a slot was marked, so that there is something to sync even without records.
    pub(super) marked: bool,
}

impl Group {
    pub(crate) const fn is_empty(&self) -> bool {
        self.records.is_empty() && !self.marked
    }

    /// Whether a slot was marked as damaged since the group was opened.
    pub(crate) const fn is_marked(&self) -> bool {
        self.marked
    }

    pub(crate) const fn records(&self) -> usize {
        self.records.len()
    }

    pub(crate) const fn length(&self) -> usize {
        self.bytes.len()
    }

    /// Fills the last sector.
    pub(super) fn seal(&mut self) {
        let end = align_up(self.start + self.bytes.len() as u64);
        self.bytes.resize((end - self.start) as usize, 0);
        if let Some(last) = self.records.last_mut() {
            last.extent = (end - last.position) as u32;
        }
        for record in &mut self.records {
            record.proven = end;
        }
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BUFFER);
        self.records.clear();
        self.marked = false;
    }
}

impl<F: File> Log<F> {
    /// Appends an entry to a group that is not sealed.
    pub(crate) fn append(&self, group: &mut Group, entry: &Entry<Bytes>) {
        if group.records.is_empty() {
            group.start = self.tail;
            group.settled = self.next_settled;
        }
        let position = group.start + group.bytes.len() as u64;
        assert!(
            record::size_of(entry.header()) as u64 <= self.geometry.group_max,
            "the core keeps entries within the constants"
        );
        record::encode(
            entry,
            &self.identity,
            position,
            group.start,
            group.settled,
            &mut group.bytes,
        );
        group.records.push(RingSlot {
            state: SlotState::Held(*entry.header()),
            position,
            lead: 0,
            extent: (group.start + group.bytes.len() as u64 - position) as u32,
            // True when this goes to the ring: the group's own sync took along the ring headers of
            // everything before it.
            settled: group.start,
            proven: position,
        });
    }

    /// Closes a group: nothing is appended to it any more, the next one begins behind it.
    pub(crate) fn seal(&mut self, group: &mut Group) {
        if group.records.is_empty() {
            return;
        }
        group.seal();
        self.tail = group.start + group.bytes.len() as u64;
        self.next_settled = group.start;
    }
}
