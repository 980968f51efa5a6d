//! A simulated file: its bytes in chunks, and what has not been synced with the means to undo it.

use std::collections::BTreeSet;

use super::SECTOR;
use super::dice::Dice;

/// Bytes per chunk, and the unit that a power loss keeps or loses: the smallest sector in use.
const CHUNK: usize = 512;

/// Sectors that a crash may spoil whole, counted in chunks.
const CHUNKS_PER_SECTOR: u64 = SECTOR / CHUNK as u64;

type Chunk = Option<Box<[u8; CHUNK]>>;

/// The bytes of a file and their past.
#[derive(Clone, Default)]
pub(super) struct SimFile {
    length: u64,
    /// An absent chunk is all zeros.
    chunks: Vec<Chunk>,
    unsynced: Vec<Undo>,
    /// The bytes that unsynced writes replaced, one after the other.
    replaced: Vec<u8>,
    /// Sectors that the medium does not give.
    unreadable: BTreeSet<u64>,
}

/// How to take back one unsynced change.
#[derive(Clone, Debug)]
enum Undo {
    Write { offset: u64, length: usize },
    Length(u64),
}

impl SimFile {
    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    pub(super) const fn unsynced(&self) -> usize {
        self.unsynced.len()
    }

    /// Copies bytes out; what has never been written is zero. Returns how many there were, or `None`
    /// where the medium fails.
    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> Option<usize> {
        let length = self.length.saturating_sub(offset).min(buffer.len() as u64) as usize;
        if !self.unreadable.is_empty() && length > 0 {
            let sectors = offset / SECTOR..=(offset + length as u64 - 1) / SECTOR;
            if self.unreadable.range(sectors).next().is_some() {
                return None;
            }
        }
        self.copy_out(offset, &mut buffer[..length]);
        Some(length)
    }

    /// Where the next chunk that is not absent, or not readable, begins.
    pub(super) fn next_data(&self, offset: u64) -> u64 {
        let first = offset as usize / CHUNK;
        let chunks = self.chunks.iter().skip(first);
        let found = chunks.take_while(|chunk| chunk.is_none()).count() + first;
        let data = match found < self.chunks.len() {
            true => offset.max((found * CHUNK) as u64),
            false => u64::MAX,
        };
        match self.unreadable.range(offset / SECTOR..).next() {
            Some(sector) => data.min(offset.max(sector * SECTOR)),
            None => data,
        }
    }

    fn copy_out(&self, offset: u64, buffer: &mut [u8]) {
        for (chunk, within, piece) in pieces(offset, buffer.len()) {
            let target = &mut buffer[piece];
            match self.chunks.get(chunk) {
                Some(Some(bytes)) => {
                    target.copy_from_slice(&bytes[within..within + target.len()]);
                }
                Some(None) | None => target.fill(0),
            }
        }
    }

    /// Writes, remembering what was there.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        self.grow(offset + bytes.len() as u64);
        let before = self.replaced.len();
        self.replaced.resize(before + bytes.len(), 0);
        let mut replaced = std::mem::take(&mut self.replaced);
        self.copy_out(offset, &mut replaced[before..]);
        self.replaced = replaced;
        self.unsynced.push(Undo::Write { offset, length: bytes.len() });
        self.copy_in(offset, bytes);
        if !self.unreadable.is_empty() {
            // A drive that is given a sector anew puts it where the medium is good.
            for sector in offset.div_ceil(SECTOR)..(offset + bytes.len() as u64) / SECTOR {
                self.unreadable.remove(&sector);
            }
        }
    }

    /// Makes the file at least so long, remembering how long it was.
    pub(super) fn grow(&mut self, length: u64) {
        if length > self.length {
            self.set_length(length);
        }
    }

    pub(super) fn set_length(&mut self, length: u64) {
        self.unsynced.push(Undo::Length(self.length));
        self.length = length;
    }

    fn copy_in(&mut self, offset: u64, bytes: &[u8]) {
        let end = (offset as usize + bytes.len()).div_ceil(CHUNK);
        if self.chunks.len() < end {
            self.chunks.resize(end, None);
        }
        for (chunk, within, piece) in pieces(offset, bytes.len()) {
            let source = &bytes[piece];
            match &mut self.chunks[chunk] {
                Some(target) => target[within..within + source.len()].copy_from_slice(source),
                None if source == &[0; CHUNK][..source.len()] => {}
                absent @ None => {
                    let mut target = Box::new([0; CHUNK]);
                    target[within..within + source.len()].copy_from_slice(source);
                    *absent = Some(target);
                }
            }
        }
    }

    pub(super) fn sync(&mut self) {
        self.unsynced.clear();
        self.replaced.clear();
    }

    /// Changes bytes behind everybody's back, durably.
    pub(super) fn corrupt(&mut self, offset: u64, mask: &[u8]) {
        let mut bytes = vec![0; mask.len()];
        self.copy_out(offset, &mut bytes);
        for (byte, flip) in bytes.iter_mut().zip(mask) {
            *byte ^= flip;
        }
        self.copy_in(offset, &bytes);
    }

    /// Puts bytes in place, durably.
    pub(super) fn place(&mut self, offset: u64, bytes: &[u8]) {
        self.length = self.length.max(offset + bytes.len() as u64);
        self.copy_in(offset, bytes);
    }

    pub(super) fn cut(&mut self, length: u64) {
        let rest = vec![0; self.length.saturating_sub(length) as usize];
        self.copy_in(length, &rest);
        self.length = length;
    }

    pub(super) fn make_unreadable(&mut self, offset: u64) {
        self.unreadable.insert(offset / SECTOR);
    }

    /// What the medium holds after the power failed: each chunk as it was before, after, or between
    /// any of the unsynced writes that touched it, independently of all other chunks.
    pub(super) fn lose_power(&mut self, dice: &mut Dice, style: Style) {
        let mut settled = BTreeSet::new();
        let mut touched = BTreeSet::new();
        let mut end = self.replaced.len();
        for undo in std::mem::take(&mut self.unsynced).into_iter().rev() {
            match undo {
                Undo::Length(length) => {
                    // A length that is lost takes with it what was written beyond, later or not.
                    if length < self.length && dice.chance(style.lost_percent) {
                        self.cut(length);
                    }
                }
                Undo::Write { offset, length } => {
                    let start = end - length;
                    let keep_whole = style.whole_writes && !dice.chance(style.lost_percent);
                    for (chunk, _, piece) in pieces(offset, length) {
                        touched.insert(chunk as u64);
                        if settled.contains(&chunk) {
                            continue;
                        }
                        let keep = match style.whole_writes {
                            true => keep_whole,
                            false => !dice.chance(style.lost_percent),
                        };
                        if keep {
                            settled.insert(chunk);
                        } else {
                            let old = self.replaced[start..end][piece.clone()].to_vec();
                            self.copy_in(offset + piece.start as u64, &old);
                        }
                    }
                    end = start;
                }
            }
        }
        self.replaced.clear();
        if style.spoils_percent > 0 {
            self.spoil(dice, &touched, style.spoils_percent);
        }
    }

    /// Sectors that were being written come out as nothing that anybody wrote.
    fn spoil(&mut self, dice: &mut Dice, touched: &BTreeSet<u64>, percent: u64) {
        let sectors: BTreeSet<u64> = touched.iter().map(|c| c / CHUNKS_PER_SECTOR).collect();
        for sector in sectors {
            if !dice.chance(percent) || sector * SECTOR >= self.length {
                continue;
            }
            let mut bytes = [0; SECTOR as usize];
            match dice.below(3) {
                0 => bytes.fill(0),
                1 => bytes.fill(0xff),
                _ => bytes.iter_mut().for_each(|byte| *byte = dice.next() as u8),
            }
            let length = (self.length - sector * SECTOR).min(SECTOR) as usize;
            self.copy_in(sector * SECTOR, &bytes[..length]);
        }
    }
}

/// How a power loss treats unsynced writes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    /// How many of a hundred are lost.
    pub(super) lost_percent: u64,
    /// Whether a write is kept or lost as a whole, rather than chunk by chunk.
    pub(super) whole_writes: bool,
    /// How many of a hundred touched sectors are spoiled, synced neighbours within them included.
    pub(super) spoils_percent: u64,
}

/// Cuts a range into (chunk, offset within it, range within the buffer).
fn pieces(
    offset: u64,
    length: usize,
) -> impl Iterator<Item = (usize, usize, std::ops::Range<usize>)> {
    let offset = offset as usize;
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == length {
            return None;
        }
        let at = offset + done;
        let within = at % CHUNK;
        let take = (CHUNK - within).min(length - done);
        let piece = done..done + take;
        done += take;
        Some((at / CHUNK, within, piece))
    })
}
