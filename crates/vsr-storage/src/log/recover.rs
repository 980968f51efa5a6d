//! What the log holds after a crash, and what it held: opening it.
//!
//! Three kinds of evidence are read: the ring of headers (all of it), what the superblock knows of the
//! log, and the live part of the records area wherever no good ring header accounts for it: gaps that
//! lost or superseded ring headers leave, and the tail beyond the last ring header. Records that a
//! ring header accounts for are not read; their bytes are checked when they are read back.
//!
//! # What proves what
//!
//! Records are written in groups, each with one sync, at ascending positions, never over another that is
//! needed; the ring header of a record is written after the sync of its group has returned, and all
//! that wait go with the next group. Within one sync nothing is ordered. So:
//!
//! - a record of a group proves that everything before that group's start was durable, and names
//!   the position up to which ring headers were durable as well;
//! - a ring header proves that its whole group was durable, and the ring headers of all groups before;
//! - the superblock names both frontiers as of its writing.
//!
//! The highest of each are **proven** (everything below was durable) and **settled** (everything
//! below had its ring header durable). All of this is about positions and stays true in later laps.
//!
//! # Laps
//!
//! Positions and ops ascend for ever, places in the file come again. The superblock names the op and the
//! position where the log begins; the position is the lowest of any record that it needed when that
//! superblock was given: the latest record of each op above the trimmed one. Later records lie
//! higher. The **live** part reaches from there to the log's end, at most one lap further.
//!
//! - *The live part is whole.* Nothing in it is overwritten before a superblock is durable that no longer
//!   needs it (`Log::flush` asserts it, for records and ring headers). Such a superblock is durable in
//!   two copies when that begins: two copies are what one sync writes, and where a crash in that sync
//!   left one copy good, opening writes a second before it goes on. So a crash together with one more
//!   fault never brings an earlier superblock back. Between the sync of the superblock and the
//!   first overwriting write the bytes below the trim position are still there, and nobody looks at
//!   them. If the superblock itself is torn, the one before it is chosen, and nothing that it needs is
//!   overwritten; or the new one is chosen, of which everything that was given before it is durable.
//! - *Stale is never taken for live.* A record names its position, and counts only in the place of that
//!   position within the live part and the stretch behind it where a crash may have left something. A slot
//!   of the ring names its op, and each slot stands for one op above the trimmed one. A record of
//!   a trimmed op may lie in the live part, and a slot that names a trimmed op may account for it; neither
//!   says anything of another op.
//! - *Stale is never taken for damage beyond proven, and never for anything better than damage below.*
//!   A place beyond proven that holds nothing of its own position is blank, whatever it holds. Below
//!   proven it should hold what was written there in this lap: if that is not there, it is damage.
//! - *A ring header that names a record below the trim position* is outlived: the log had a later record
//!   of the op when it was trimmed. If that is not found, the op is unreadable.
//! - *A superblock that was trimmed beyond what is chosen now* has left slots or frontiers which the chosen
//!   one does not allow. Then a superblock was lost, with the promises in it, and the log is not opened.
//!
//! # How far to look
//!
//! One group is written at a time, and synced before the next. So beyond what is proven, or behind any
//! record that is found, there can be the rest of its group or a group whose ring headers were not
//! durable yet, and one that was being written: two groups of bounded length. Nothing else beyond the
//! log's end can be of this lap, since each opening looked as far and placed the log's end behind
//! all that it found. So the cost of opening depends on what is live, and not on the capacity.
//!
//! # The decision
//!
//! Bytes of the live part below proven that are neither a good record nor accounted for are *damage*;
//! beyond proven they are at worst *torn*. **Blank** is a slot that is blank or stale. For each op above the
//! trimmed one:
//!
//! | ring header | records of the op found | damage | answer |
//! | --- | --- | --- | --- |
//! | good | none later | any | held (or faulty, where marked so) |
//! | good, blank or damaged | a later one | none behind it | held, by the latest one found |
//! | damaged or outlived, or its sector lost | a later one | behind it | unreadable: the damage may have superseded it |
//! | outlived | none | any | unreadable: it was superseded, and what superseded it is gone |
//! | damaged, or its sector lost | none | anywhere | unreadable, up to the head |
//! | damaged, or its sector lost | none | behind the head's record | the op above the head: unreadable |
//! | damaged, or its sector lost | none | none | empty: nothing here can have been its record |
//! | blank | none | beyond settled | unreadable |
//! | blank | none | none beyond settled | empty: never written, or torn and never acknowledged |
//!
//! That the last record of an op is gone shows as damage, since it lies in the live part: while an op is
//! unreadable the trim position does not move, and so the damage stays in sight.
//!
//! Damage beyond settled has no identity that can be trusted, and may have been the head: then the
//! op above the highest known one is unreadable too, and the core treats the head as uncertain.
//! Damage below settled that no damaged ring header claims is what a superseded or trimmed record left.
//! What a torn group left is such damage too, once the ops of its good records have later ones. A
//! ring sector is lost if it is silent about a record below settled that is there, of an op that is
//! not trimmed; and where there is damage, if all its slots are blank or damaged although one of their
//! ops is not beyond the head.
//!
//! What was found is written to the ring and synced before the first new group, so that the next
//! opening starts from there; torn remains are made part of the record behind them.

use std::collections::{BTreeMap, BTreeSet};

use vsr_core::{OpNumber, StoredSlot};

use super::headers::Headers;
use super::index::{Index, PlaceState};
use super::layout::{Geometry, RingSlot, SLOTS_PER_SECTOR, SlotState};
use super::scan::{Found, Hole, Walk, Walked};
use super::{SlotWrite, area};
use crate::codec::Identity;
use crate::disk::{File, align_up};
use crate::store::OpenReport;
use crate::superblock::{Frontiers, Recorded};

/// How many groups a crash may leave beyond what is proven.
const GROUPS_BEYOND_PROVEN: u64 = 2;

/// What an opened log knows.
pub(super) struct Recovered {
    pub(super) slots: Vec<StoredSlot>,
    pub(super) index: Index,
    /// What the ring must be told.
    pub(super) rewrite: Vec<SlotWrite>,
    /// Where the next group goes.
    pub(super) tail: u64,
    /// Below this everything was durable.
    pub(super) proven: u64,
    /// Ranges of the live part that nothing accounts for, and what lies behind it.
    pub(super) holes: Vec<Hole>,
    /// Where in the file what was ever written to the ring ends.
    pub(super) ring_used: u64,
    pub(super) report: OpenReport,
}

/// Finds out what the log holds. `None` where it holds what the superblock does not allow.
pub(super) fn recover<F: File>(
    file: &F,
    identity: &Identity,
    geometry: &Geometry,
    recorded: &Recorded,
    records_end: u64,
) -> Option<Recovered> {
    let mut ring = Headers::read(file, identity, geometry, recorded.trim);
    let mut frontiers = Frontiers {
        synced: recorded.frontiers.synced.max(ring.frontiers.synced),
        settled: recorded.frontiers.settled.max(ring.frontiers.settled),
    };
    let end_of_room = geometry.end_of_room(recorded.trim.position);
    ring.accounted.sort_unstable();
    let accounted_end = ring.accounted.iter().map(|range| range.1).max();
    let accounted_end = accounted_end.unwrap_or(recorded.trim.position);
    let known_end = accounted_end.max(frontiers.synced);
    if ring.is_beyond || known_end > end_of_room {
        return None;
    }
    let last = if known_end <= records_end && records_end < geometry.capacity {
        // The first lap: nothing was ever written beyond the file's end.
        records_end.min(end_of_room)
    } else {
        end_of_room
    };
    let walked =
        walk_rest(file, identity, geometry, &ring, recorded.trim.position, known_end, last);
    for found in &walked.found {
        frontiers.synced = frontiers.synced.max(found.head.group_start);
        frontiers.settled = frontiers.settled.max(found.head.settled);
    }
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
        trimmed: recorded.trim.op,
        geometry: *geometry,
        last_end,
        tail,
        rewrite: Vec::new(),
        report: OpenReport::default(),
    };
    Some(decision.decide(walked, recorded.op))
}

/// Walks all that no ring header accounts for: from the trim position, and beyond what is known.
fn walk_rest<F: File>(
    file: &F,
    identity: &Identity,
    geometry: &Geometry,
    ring: &Headers,
    trim_position: u64,
    known_end: u64,
    last: u64,
) -> Walked {
    let mut walk = Walk::new(file, identity, geometry);
    let mut position = trim_position;
    for (start, end) in ring.accounted.iter().copied() {
        if position < start {
            walk.range(position, start);
        }
        position = position.max(end);
    }
    // After a failed sync of a former process the system may remember what the medium never got; the
    // tail is believed only as the medium has it.
    let reach = GROUPS_BEYOND_PROVEN * geometry.group_max;
    let end = (known_end + reach).min(last);
    area::forget_cached(file, geometry, position, end);
    walk.tail(position, end, reach, last);
    walk.finish()
}

struct Decision {
    ring: Headers,
    frontiers: Frontiers,
    damage: Vec<(u64, u64)>,
    trimmed: OpNumber,
    geometry: Geometry,
    /// Where the last good record ends.
    last_end: u64,
    tail: u64,
    rewrite: Vec<SlotWrite>,
    report: OpenReport,
}

impl Decision {
    fn decide(mut self, walked: Walked, superblock_op: OpNumber) -> Recovered {
        let newest = self.newest_found(&walked.found);
        let found_op = newest.keys().last().copied().unwrap_or_default();
        let highest = found_op.max(superblock_op).max(self.ring.highest());
        let mut suspicious = std::mem::take(&mut self.ring.damaged);
        self.report.damaged_headers = suspicious.iter().copied().collect();
        let outlived = std::mem::take(&mut self.ring.outlived);
        suspicious.extend(&outlived);
        let damage_end = self.damage.iter().map(|range| range.1).max().unwrap_or(0);
        self.suspect_lost_sectors(&walked.found, &newest, &mut suspicious);
        // A record of the op above the head would lie behind that of the head.
        let head_at = match newest.get(&highest) {
            Some(at) => walked.found[*at].position,
            None => self.ring.get(highest).1.position,
        };
        let last = if damage_end > head_at { highest.next() } else { highest };
        let mut silent = BTreeSet::new();
        if damage_end > 0 {
            self.suspect_silent_sectors(last, &mut silent);
        }
        for (op, at) in &newest {
            let found = &walked.found[*at];
            if suspicious.remove(op) && damage_end > found.position {
                self.unreadable(*op);
            } else {
                self.held(found, &walked.holes);
            }
        }
        for op in outlived {
            if self.is_silent(op) {
                self.unreadable(op);
            }
        }
        suspicious.extend(silent);
        self.without_record(suspicious, damage_end > 0, last);
        if damage_end > self.frontiers.settled {
            self.head_is_uncertain(highest);
        }
        self.report.torn_bytes = walked
            .holes
            .iter()
            .map(|hole| hole.remains_end.saturating_sub(hole.start.max(self.frontiers.synced)))
            .sum();
        self.finish(walked.holes)
    }

    /// Slots that cannot be believed, of ops of which no record was found, up to the last one that damage may have been.
    /// Beyond the first op above the head one more would tell the core nothing.
    fn without_record(&mut self, ops: BTreeSet<OpNumber>, is_damage: bool, last: OpNumber) {
        for op in ops {
            if !self.is_silent(op) {
                continue;
            }
            if is_damage && op > self.trimmed && op <= last {
                self.unreadable(op);
            } else {
                self.rewrite.push(SlotWrite::Blank(op));
            }
        }
    }

    /// Whether nothing is known of an op so far.
    fn is_silent(&self, op: OpNumber) -> bool {
        self.ring.get(op).0 == StoredSlot::Empty
    }

    /// For each op the latest record found, where it is later than what the ring says.
    fn newest_found(&self, found: &[Found]) -> BTreeMap<OpNumber, usize> {
        let mut newest = BTreeMap::new();
        for (at, record) in found.iter().enumerate() {
            let op = record.head.header.op;
            if !self.geometry.has_slot(op, self.trimmed) {
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
                let sector = op.0 % self.geometry.slots / SLOTS_PER_SECTOR;
                suspicious.extend(self.ops_of_sector(sector));
            }
        }
    }

    /// A sector of the ring that says nothing of any op, and has a place for one up to the last that may be, may
    /// have been lost in a way that left nothing of it, or that left what an earlier lap wrote.
    fn suspect_silent_sectors(&self, last: OpNumber, suspicious: &mut BTreeSet<OpNumber>) {
        for sector in 0..self.geometry.slots.div_ceil(SLOTS_PER_SECTOR) {
            let ops = self.ops_of_sector(sector);
            if ops.clone().all(|op| self.is_silent(op)) {
                suspicious.extend(ops.filter(|op| *op <= last));
            }
        }
    }

    fn ops_of_sector(&self, sector: u64) -> impl Iterator<Item = OpNumber> + Clone + use<> {
        let first = sector * SLOTS_PER_SECTOR;
        let end = (first + SLOTS_PER_SECTOR).min(self.geometry.slots);
        let (geometry, trimmed) = (self.geometry, self.trimmed);
        (first..end)
            .map(move |slot| geometry.op_of_slot(slot, trimmed))
            .filter(move |op| *op > trimmed)
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
        self.ring.set(StoredSlot::Held(found.head.header), &slot);
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
        self.ring.set(StoredSlot::Unreadable, &slot);
        self.rewrite.push(SlotWrite::Slot(slot));
        self.report.unreadable.push(op);
    }

    /// Something durable is damaged and nobody knows what it was: any op that is not accounted for, or
    /// the one above the highest.
    fn head_is_uncertain(&mut self, highest: OpNumber) {
        let last = highest.next().min(OpNumber(self.trimmed.0 + self.geometry.slots - 1));
        for op in (self.trimmed.0 + 1..=last.0).map(OpNumber) {
            if self.is_silent(op) {
                self.unreadable(op);
            }
        }
    }

    fn finish(mut self, holes: Vec<Hole>) -> Recovered {
        let known = self.ring.slots.iter().rposition(|slot| *slot != StoredSlot::Empty);
        self.ring.slots.truncate(known.map_or(0, |last| last + 1));
        self.report.unreadable.sort_unstable();
        debug_assert!(self.ring.index.iter().all(|(_, place)| place.state != PlaceState::Held
            || place.position + u64::from(place.extent) <= self.tail));
        Recovered {
            slots: self.ring.slots,
            index: self.ring.index,
            rewrite: self.rewrite,
            tail: self.tail,
            proven: self.frontiers.synced,
            holes,
            ring_used: self.ring.used,
            report: self.report,
        }
    }
}
