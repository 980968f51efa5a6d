//! What the log holds after a crash, and what it held: opening it.
//!
//! Three kinds of evidence are read: the ring of headers (all of it), the frontiers in the
//! superblock, and the records area wherever no good ring header accounts for it: the tail beyond the
//! last ring header, and gaps that lost or superseded ring headers leave. Records that a ring header
//! accounts for are not read; their bytes are checked when they are read back.
//!
//! Records are written in groups, each with one sync, at ascending positions, never over another;
//! the ring header of a record is written after the sync of its group has returned, and all that wait go
//! with the next group. Within one sync nothing is ordered. So:
//!
//! - a record of a group proves that everything before that group's start was durable, and names
//!   the position up to which ring headers were durable as well;
//! - a ring header proves that its whole group was durable, and the ring headers of all groups before;
//! - the superblock names both frontiers as of its writing.
//!
//! The highest of each are **proven** (everything below was durable) and **settled** (everything
//! below had its ring header durable). Bytes below proven that are neither a good record nor accounted for
//! are *damage*; beyond proven they are at worst *torn*. The decision for each op:
//!
//! | ring header | records of the op found | damage | answer |
//! | --- | --- | --- | --- |
//! | good | none later | any | held (or faulty, where marked so) |
//! | good, blank or damaged | a later one | none behind it | held, by the latest one found |
//! | damaged, or its sector lost | a later one | behind it | unreadable: the damage may have superseded it |
//! | damaged, or its sector lost | none | anywhere | unreadable, up to the op above the head |
//! | damaged, or its sector lost | none | none | empty: nothing here can have been its record |
//! | blank | none | beyond settled | unreadable |
//! | blank | none | none beyond settled | empty: never written, or torn and never acknowledged |
//!
//! Damage beyond settled has no identity that can be trusted, and may have been the head: then the
//! op above the highest known one is unreadable too, and the core treats the head as uncertain.
//! Damage below settled that no damaged ring header claims is what a superseded record left. A
//! ring sector is lost if it is silent about a record below settled that is there; and where there
//! is damage, if it is all blank although its first op is not beyond the head.
//!
//! What was found is written to the ring and synced before the first new group, so that the next
//! opening starts from there; torn remains are made part of the record behind them.

use std::collections::{BTreeMap, BTreeSet};

use vsr_core::{OpNumber, StoredSlot};

use super::layout::{
    Geometry, RingSlot, SLOT_BYTES, SLOTS_PER_SECTOR, SlotBytes, SlotState, decode_slot,
};
use super::scan::{Found, Hole, Walk, Walked, is_blank};
use super::{Place, PlaceState, SlotWrite};
use crate::codec::Identity;
use crate::disk::{File, align_up, read_whatever};
use crate::store::OpenReport;
use crate::superblock::Frontiers;

/// How many slots of the ring are read at once.
const SLOTS_AT_ONCE: u64 = 2048;

/// What an opened log knows.
pub(super) struct Recovered {
    pub(super) slots: Vec<StoredSlot>,
    pub(super) index: Vec<Place>,
    /// What the ring must be told.
    pub(super) rewrite: Vec<SlotWrite>,
    /// Where the next group goes.
    pub(super) tail: u64,
    /// Below this everything was durable.
    pub(super) proven: u64,
    /// Ranges of the records area that nothing accounts for.
    pub(super) holes: Vec<Hole>,
    pub(super) report: OpenReport,
}

/// What the ring of headers says.
struct Ring {
    slots: Vec<StoredSlot>,
    index: Vec<Place>,
    damaged: BTreeSet<OpNumber>,
    /// Ranges of the records area that good slots account for.
    accounted: Vec<(u64, u64)>,
    frontiers: Frontiers,
}

pub(super) fn recover<F: File>(
    file: &F,
    identity: &Identity,
    geometry: &Geometry,
    superblock: (OpNumber, Frontiers),
    records_end: u64,
) -> Recovered {
    let ring = read_ring(file, identity, geometry);
    let mut accounted = ring.accounted.clone();
    let walked = walk_rest(file, identity, geometry, &mut accounted, records_end);
    let (superblock_op, recorded) = superblock;
    let mut frontiers = Frontiers {
        synced: recorded.synced.max(ring.frontiers.synced),
        settled: recorded.settled.max(ring.frontiers.settled),
    };
    for found in &walked.found {
        frontiers.synced = frontiers.synced.max(found.head.group_start);
        frontiers.settled = frontiers.settled.max(found.head.settled);
    }
    let accounted_end = accounted.last().map_or(0, |range| range.1);
    let found_end = walked.found.last().map_or(0, |found| found.end);
    let last_end = accounted_end.max(found_end);
    let tail = align_up(last_end).max(align_up(frontiers.synced));
    let decision = Decision {
        damage: walked
            .holes
            .iter()
            .filter(|hole| hole.start < frontiers.synced)
            .map(|hole| (hole.start, hole.end.min(frontiers.synced)))
            .collect(),
        ring,
        frontiers,
        slots: geometry.slots,
        last_end,
        tail,
        rewrite: Vec::new(),
        report: OpenReport::default(),
    };
    decision.decide(walked, superblock_op)
}

fn read_ring<F: File>(file: &F, identity: &Identity, geometry: &Geometry) -> Ring {
    let mut ring = Ring {
        slots: Vec::new(),
        index: Vec::new(),
        damaged: BTreeSet::new(),
        accounted: Vec::new(),
        frontiers: Frontiers::default(),
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
                ring.take(OpNumber(slot), decode_slot(bytes, slot, identity));
            }
        }
        first += count;
    }
    ring
}

impl Ring {
    fn take(&mut self, op: OpNumber, slot: SlotBytes) {
        match slot {
            SlotBytes::Blank => {}
            SlotBytes::Good(slot) if slot.op() == op && op > OpNumber::ZERO => self.accept(&slot),
            SlotBytes::Good(_) | SlotBytes::Damaged => {
                self.damaged.insert(op);
            }
        }
    }

    fn accept(&mut self, slot: &RingSlot) {
        let stored = match slot.state {
            SlotState::Held(header) => StoredSlot::Held(header),
            SlotState::Faulty(header) => StoredSlot::Faulty(header),
            SlotState::Unreadable(_) => StoredSlot::Unreadable,
        };
        self.set(slot.op(), stored, Place::of(slot));
        match slot.state {
            SlotState::Held(_) | SlotState::Faulty(_) => {
                let start = slot.position - u64::from(slot.lead);
                let end = slot.position + u64::from(slot.extent);
                self.accounted.push((start, end));
                self.frontiers.synced = self.frontiers.synced.max(slot.proven);
                self.frontiers.settled = self.frontiers.settled.max(slot.settled);
            }
            SlotState::Unreadable(_) => {}
        }
    }

    fn set(&mut self, op: OpNumber, stored: StoredSlot, place: Place) {
        let at = op.0 as usize - 1;
        if self.slots.len() <= at {
            self.slots.resize(at + 1, StoredSlot::Empty);
            self.index.resize(at + 1, Place::NOWHERE);
        }
        self.slots[at] = stored;
        self.index[at] = place;
    }

    fn highest(&self) -> OpNumber {
        OpNumber(self.slots.len() as u64)
    }

    fn get(&self, op: OpNumber) -> (StoredSlot, Place) {
        let at = op.0 as usize - 1;
        match self.slots.get(at) {
            Some(stored) => (*stored, self.index[at]),
            None => (StoredSlot::Empty, Place::NOWHERE),
        }
    }
}

/// Walks all that no ring header accounts for. Sorts and joins `accounted`.
fn walk_rest<F: File>(
    file: &F,
    identity: &Identity,
    geometry: &Geometry,
    accounted: &mut Vec<(u64, u64)>,
    records_end: u64,
) -> Walked {
    accounted.sort_unstable();
    let mut walk = Walk::new(file, identity, geometry);
    let mut position = 0;
    for (start, end) in accounted.iter().copied() {
        if position < start {
            walk.range(position, start);
        }
        position = position.max(end);
    }
    // After a failed sync of a former process the system may remember what the medium never got; the
    // tail is believed only as the medium has it.
    file.forget_cached(geometry.records_offset + position);
    walk.range(position, records_end.min(geometry.capacity));
    accounted.dedup_by(|next, before| {
        let joined = next.0 <= before.1;
        if joined {
            before.1 = before.1.max(next.1);
        }
        joined
    });
    walk.finish()
}

struct Decision {
    ring: Ring,
    frontiers: Frontiers,
    damage: Vec<(u64, u64)>,
    /// How many slots the ring has.
    slots: u64,
    /// Where the last good record ends.
    last_end: u64,
    tail: u64,
    rewrite: Vec<SlotWrite>,
    report: OpenReport,
}

impl Decision {
    fn decide(mut self, walked: Walked, superblock_op: OpNumber) -> Recovered {
        let newest = self.newest_found(&walked.found);
        let mut suspicious = std::mem::take(&mut self.ring.damaged);
        self.report.damaged_headers = suspicious.iter().copied().collect();
        let damage_end = self.damage.iter().map(|range| range.1).max().unwrap_or(0);
        let found_op = newest.keys().last().copied().unwrap_or_default();
        let highest = found_op.max(superblock_op).max(self.ring.highest());
        self.suspect_lost_sectors(&walked.found, &newest, &mut suspicious);
        let mut silent = BTreeSet::new();
        if damage_end > 0 {
            self.suspect_blank_sectors(highest, &mut silent);
        }
        for (op, at) in &newest {
            let found = &walked.found[*at];
            if suspicious.remove(op) && damage_end > found.position {
                self.unreadable(*op);
            } else {
                self.held(found, &walked.holes);
            }
        }
        suspicious.extend(silent);
        self.without_record(suspicious, damage_end > 0, highest);
        if damage_end > self.frontiers.settled {
            self.head_is_uncertain(highest);
        }
        self.report.torn_bytes = walked
            .holes
            .iter()
            .filter(|hole| !hole.blank && hole.end > self.frontiers.synced)
            .map(|hole| hole.end - hole.start.max(self.frontiers.synced))
            .sum();
        self.finish(walked.holes)
    }

    /// Slots that cannot be believed, of ops of which no record was found. Beyond the first op above the
    /// head one more would tell the core nothing.
    fn without_record(&mut self, ops: BTreeSet<OpNumber>, is_damage: bool, highest: OpNumber) {
        for op in ops {
            if op > OpNumber::ZERO && self.ring.get(op).0 != StoredSlot::Empty {
                continue;
            }
            if is_damage && op > OpNumber::ZERO && op <= highest.next() {
                self.unreadable(op);
            } else {
                self.rewrite.push(SlotWrite::Blank(op));
            }
        }
    }

    /// For each op the latest record found, where it is later than what the ring says.
    fn newest_found(&self, found: &[Found]) -> BTreeMap<OpNumber, usize> {
        let mut newest = BTreeMap::new();
        for (at, record) in found.iter().enumerate() {
            let op = record.head.header.op;
            if op == OpNumber::ZERO {
                continue;
            }
            let (stored, place) = self.ring.get(op);
            if stored == StoredSlot::Empty || record.position >= place.position {
                // Positions ascend, so a later one replaces an earlier one.
                newest.insert(op, at);
            }
        }
        newest
    }

    /// A sector of the ring that is silent about a settled record was lost, with all its slots.
    fn suspect_lost_sectors(
        &self,
        found: &[Found],
        newest: &BTreeMap<OpNumber, usize>,
        suspicious: &mut BTreeSet<OpNumber>,
    ) {
        for (op, at) in newest {
            if found[*at].position < self.frontiers.settled {
                suspicious.extend(self.ops_of_sector(op.0 / SLOTS_PER_SECTOR));
            }
        }
    }

    /// A sector of the ring that is blank, up to the one where the next op belongs, may have been
    /// lost in a way that left nothing of it.
    fn suspect_blank_sectors(&self, highest: OpNumber, suspicious: &mut BTreeSet<OpNumber>) {
        for sector in 0..=(highest.0 + 1) / SLOTS_PER_SECTOR {
            let ops = self.ops_of_sector(sector);
            let is_silent = |op: OpNumber| self.ring.get(op).0 == StoredSlot::Empty;
            if ops.clone().all(is_silent) {
                suspicious.extend(ops);
            }
        }
    }

    fn ops_of_sector(&self, sector: u64) -> impl Iterator<Item = OpNumber> + Clone + use<> {
        let first = sector * SLOTS_PER_SECTOR;
        let end = (first + SLOTS_PER_SECTOR).min(self.slots);
        (first.max(1)..end).map(OpNumber)
    }

    fn held(&mut self, found: &Found, holes: &[Hole]) {
        let torn_before = holes
            .binary_search_by_key(&found.position, |hole| hole.end)
            .ok()
            .map(|at| holes[at].start.max(self.frontiers.synced));
        // The last one takes along what is torn behind it in its sector.
        let is_last = found.end == self.last_end;
        let end = if is_last { align_up(found.end) } else { found.end };
        let slot = RingSlot {
            state: SlotState::Held(found.head.header),
            position: found.position,
            lead: torn_before.map_or(0, |start| found.position.saturating_sub(start) as u32),
            extent: (end - found.position) as u32,
            settled: found.head.settled,
            proven: found.head.group_start,
        };
        let stored = StoredSlot::Held(found.head.header);
        self.ring.set(slot.op(), stored, Place::of(&slot));
        self.rewrite.push(SlotWrite::Slot(slot));
        self.report.redone_headers += 1;
    }

    fn unreadable(&mut self, op: OpNumber) {
        let slot = RingSlot {
            state: SlotState::Unreadable(op),
            position: self.tail,
            lead: 0,
            extent: 0,
            settled: self.tail,
            proven: self.tail,
        };
        self.ring.set(op, StoredSlot::Unreadable, Place::of(&slot));
        self.rewrite.push(SlotWrite::Slot(slot));
        self.report.unreadable.push(op);
    }

    /// Something durable is damaged and nobody knows what it was: any op that is not accounted for, or
    /// the one above the highest.
    fn head_is_uncertain(&mut self, highest: OpNumber) {
        for op in (1..(highest.0 + 2).min(self.slots)).map(OpNumber) {
            if self.ring.get(op).0 == StoredSlot::Empty {
                self.unreadable(op);
            }
        }
    }

    fn finish(mut self, holes: Vec<Hole>) -> Recovered {
        let known = self.ring.slots.iter().rposition(|slot| *slot != StoredSlot::Empty);
        self.ring.slots.truncate(known.map_or(0, |last| last + 1));
        self.report.unreadable.sort_unstable();
        debug_assert!(self.ring.index.iter().all(|place| place.state != PlaceState::Held
            || place.position + u64::from(place.extent) <= self.tail));
        Recovered {
            slots: self.ring.slots,
            index: self.ring.index,
            rewrite: self.rewrite,
            tail: self.tail,
            proven: self.frontiers.synced,
            holes,
            report: self.report,
        }
    }
}
