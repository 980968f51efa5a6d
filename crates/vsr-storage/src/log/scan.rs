//! Looks for records where no ring header says that there are any: the log's tail, and places that
//! a lost or damaged ring header leaves unexplained.

use super::layout::Geometry;
use super::record::{self, RECORD_ALIGNMENT, RECORD_HEAD_BYTES, RecordHead};
use crate::codec::Identity;
use crate::disk::{File, SECTOR, align_up, read_whatever};

/// How much is read at once.
const WINDOW: usize = 256 * 1024;

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
    /// All zeros.
    pub(crate) blank: bool,
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
            walked: Walked::default(),
        }
    }

    pub(crate) fn finish(self) -> Walked {
        self.walked
    }

    /// Walks from `start`, where a record may begin, to `end`.
    pub(crate) fn range(&mut self, start: u64, end: u64) {
        let mut position = start;
        let mut after_record = false;
        while position < end {
            if let Some(found) = self.record_at(position, end) {
                position = found.end;
                after_record = true;
                self.walked.found.push(found);
                continue;
            }
            let hole_start = position;
            let (hole_end, blank) = self.hole(position, end);
            position = hole_end;
            let mut hole = Hole { start: hole_start, end: hole_end, blank };
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
        if self.load(hole.start, padding).iter().all(|b| *b == 0) {
            hole.start = sector_end;
            if let Some(before) = self.walked.found.last_mut() {
                before.end = sector_end;
            }
        }
        hole
    }

    fn record_at(&mut self, position: u64, end: u64) -> Option<Found> {
        let room = end - position;
        if room < RECORD_HEAD_BYTES as u64 {
            return None;
        }
        let size = record::claimed_size(self.load(position, RECORD_HEAD_BYTES))?;
        if size as u64 > room {
            return None;
        }
        let identity = self.identity;
        let head = record::check(self.load(position, size), identity, position)?;
        Some(Found { position, head, end: position + size as u64 })
    }

    /// The end of the hole that begins at `start`: where the next good record begins, or `end`.
    fn hole(&mut self, start: u64, end: u64) -> (u64, bool) {
        let mut blank = true;
        let mut position = start;
        while position < end {
            let sector_end = position + SECTOR;
            if sector_end <= end && is_blank(self.load(position, SECTOR as usize)) {
                position = sector_end;
                continue;
            }
            let word_end = (position + RECORD_ALIGNMENT).min(end);
            let word = self.load(position, (word_end - position) as usize);
            if word.iter().any(|byte| *byte != 0) {
                if position > start && self.record_at(position, end).is_some() {
                    break;
                }
                blank = false;
            }
            position = word_end;
        }
        (position, blank)
    }

    fn load(&mut self, position: u64, length: usize) -> &[u8] {
        let window_end = self.window_start + self.window.len() as u64;
        if position < self.window_start || position + length as u64 > window_end {
            let take = length.max(WINDOW);
            self.window.resize(take, 0);
            self.window_start = position;
            let offset = self.geometry.records_offset + position;
            read_whatever(self.file, offset, &mut self.window);
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
