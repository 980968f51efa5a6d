//! Looks for records where no ring header says that there are any: the log's tail, and places that
//! a lost or damaged ring header leaves unexplained.
//!
//! A record is good only in the place of the position that it was written for, which it names. So what
//! an earlier lap left is never found: whole, half overwritten, or within another record, it is as good as
//! blank.

use super::area;
use super::layout::Geometry;
use super::record::{self, Claim, RECORD_ALIGNMENT, RECORD_HEAD_BYTES, RecordHead};
use crate::codec::Identity;
use crate::disk::{File, SECTOR, align_up};

/// How much is read at once.
const WINDOW: u64 = 256 * 1024;

/// A good record that was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) position: u64,
    pub(crate) head: RecordHead,
    /// To where the padding behind it reaches.
    pub(crate) end: u64,
}

/// A range without a good record that is not padding either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hole {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// To where something lies that was written for this place in this lap, as far as that can be
    /// told: in the first lap, anything but zeros; later, what begins like a record for it. Where
    /// there is nothing, the start.
    pub(crate) remains_end: u64,
}

/// What lies in the ranges that were walked, ascending.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    pub(crate) found: Vec<Found>,
    pub(crate) holes: Vec<Hole>,
}

/// Walks one range of the records area after the other.
pub(crate) struct Walk<'a, F> {
    file: &'a F,
    identity: &'a Identity,
    geometry: &'a Geometry,
    window: Vec<u8>,
    window_start: u64,
    /// Where the range ends that is being walked.
    range_end: u64,
    walked: Walked,
}

impl<'a, F: File> Walk<'a, F> {
    pub(crate) fn new(file: &'a F, identity: &'a Identity, geometry: &'a Geometry) -> Self {
        Self {
            file,
            identity,
            geometry,
            window: Vec::new(),
            window_start: 0,
            range_end: 0,
            walked: Walked::default(),
        }
    }

    pub(crate) fn finish(self) -> Walked {
        self.walked
    }

    /// Walks from `start`, where a record may begin, to `end`.
    pub(crate) fn range(&mut self, start: u64, end: u64) {
        self.tail(start, end, 0, end);
    }

    /// Walks from `start`, where a record may begin, to `end`, and from the end of each record that it
    /// finds `reach` further; in any case not beyond `last`.
    pub(crate) fn tail(&mut self, start: u64, end: u64, reach: u64, last: u64) {
        let mut position = start;
        let mut after_record = false;
        self.range_end = end.min(last);
        while position < self.range_end {
            if let Some(found) = self.record_at(position) {
                position = found.end;
                self.range_end = self.range_end.max(found.end.saturating_add(reach).min(last));
                after_record = true;
                self.walked.found.push(found);
                continue;
            }
            let mut hole = self.hole(position);
            position = hole.end;
            if after_record {
                hole = self.take_padding(hole);
            }
            if hole.start < hole.end {
                self.walked.holes.push(hole);
            }
            after_record = false;
        }
    }

    /// Zeros between a record and the end of its sector are its padding.
    fn take_padding(&mut self, mut hole: Hole) -> Hole {
        let sector_end = align_up(hole.start).min(hole.end);
        let padding = (sector_end - hole.start) as usize;
        if is_blank(self.load(hole.start, padding)) {
            hole.start = sector_end;
            hole.remains_end = hole.remains_end.max(sector_end);
            if let Some(before) = self.walked.found.last_mut() {
                before.end = sector_end;
            }
        }
        hole
    }

    fn record_at(&mut self, position: u64) -> Option<Found> {
        let claim = self.claim_at(position)?;
        if claim.size as u64 > self.range_end - position {
            return None;
        }
        let identity = self.identity;
        let head = record::check(self.load(position, claim.size), identity, position)?;
        Some(Found { position, head, end: position + claim.size as u64 })
    }

    /// The hole that begins at `start`: to where the next good record begins, or the range ends.
    fn hole(&mut self, start: u64) -> Hole {
        let mut remains_end = start;
        let mut position = start;
        while position < self.range_end {
            let sector_end = (position / SECTOR + 1) * SECTOR;
            let end = sector_end.min(self.range_end);
            if is_blank(self.load(position, (end - position) as usize)) {
                position = end;
                continue;
            }
            while position < end {
                if position > start && self.record_at(position).is_some() {
                    return Hole { start, end: position, remains_end: remains_end.min(position) };
                }
                if self.remains_at(position) {
                    remains_end = end;
                }
                position = (position + RECORD_ALIGNMENT).min(end);
            }
        }
        Hole { start, end: position, remains_end: remains_end.min(position) }
    }

    /// Whether what lies here was written in this lap.
    fn remains_at(&mut self, position: u64) -> bool {
        if position < self.geometry.capacity {
            let word = RECORD_ALIGNMENT.min(self.range_end - position) as usize;
            return !is_blank(self.load(position, word));
        }
        self.claim_at(position).is_some()
    }

    /// What begins here like a record of this position.
    fn claim_at(&mut self, position: u64) -> Option<Claim> {
        let room = (RECORD_HEAD_BYTES as u64).min(self.range_end - position) as usize;
        record::claim(self.load(position, room)).filter(|claim| claim.position == position)
    }

    fn load(&mut self, position: u64, length: usize) -> &[u8] {
        let window_end = self.window_start + self.window.len() as u64;
        if position < self.window_start || position + length as u64 > window_end {
            let take = WINDOW.min(self.range_end - position).max(length as u64);
            self.window.resize(take as usize, 0);
            self.window_start = position;
            area::read(self.file, self.geometry, position, &mut self.window);
        }
        let start = (position - self.window_start) as usize;
        &self.window[start..start + length]
    }
}

/// Whether all bytes are zero.
pub(super) fn is_blank(bytes: &[u8]) -> bool {
    const ZEROS: &[u8; SECTOR as usize] = &[0; SECTOR as usize];
    // Comparing slices is one call that looks at many bytes at once.
    bytes.chunks(ZEROS.len()).all(|chunk| chunk == &ZEROS[..chunk.len()])
}
