//! The superblock: who this replica is, and what it promised. Small, and never lost.
//!
//! Four copies in one file, in two pairs. A write goes to one pair and takes one sync: the other
//! pair still holds the last state whole, so that a torn write, even of both copies, loses
//! nothing that was ever reported durable. The pair left behind is brought up to date when there is time
//! ([`Superblocks::idle`]) or by the next write, which goes to the pair that is behind. Hence one
//! sync per write rather than two; what it costs is that in the few milliseconds until the second
//! pair follows the latest state lies in two copies and not in four.
//!
//! Two is also what anything that relies on a state waits for, at the least: a write that a crash left
//! in one copy is given a second one when the store is opened, before the log looks at it. So no crash
//! and no loss of one copy brings an earlier state back once the log has overwritten what the later
//! one let go of.
//!
//! Each copy is written by a write of its own, so that one lost or misdirected write spoils one.

mod layout;

pub use layout::{ADDRESS_BYTES_MAX, CopyError};
pub(crate) use layout::{COPY_BYTES, Content, Frontiers, Recorded, Trim};

use crate::disk::{Disk, DiskError, File, align_up, create_whole, read_whatever};
use layout::{decode, encode, length_of};

/// The file's name.
pub(crate) const SUPERBLOCK: &str = "superblock";

/// How many copies there are.
pub(crate) const COPIES: usize = 4;

/// Which copies are written together.
const PAIRS: [[usize; 2]; 2] = [[0, 1], [2, 3]];

/// The open file and what its copies hold.
pub(crate) struct Superblocks<F> {
    file: F,
    /// The generation of each copy, `None` where it is damaged.
    generations: [Option<u64>; COPIES],
    latest: u64,
    /// Up to where each copy has bytes that are not zero.
    extents: [usize; COPIES],
    buffer: Vec<u8>,
}

/// What the file's copies said when they were read.
pub(crate) type Copies = [Result<(u64, Content), CopyError>; COPIES];

impl<F: File> Superblocks<F> {
    /// Creates the file with four equal copies.
    pub(crate) fn create<D: Disk<File = F>>(disk: &D, content: &Content) -> Result<(), DiskError> {
        create_whole(disk, SUPERBLOCK, |file| {
            let mut buffer = Vec::new();
            file.set_length(COPY_BYTES as u64 * COPIES as u64)?;
            file.allocate(0, COPY_BYTES as u64 * COPIES as u64)?;
            for copy in 0..COPIES {
                encode(copy, 1, content, &mut buffer);
                file.write_at(place(copy), &buffer)?;
            }
            Ok(())
        })
    }

    /// Reads all copies.
    pub(crate) fn read(file: &F) -> Copies {
        std::array::from_fn(|copy| decode(copy, &raw(file, copy)))
    }

    /// Up to where each copy has bytes that are not zero, in whole sectors.
    fn extents(file: &F) -> [usize; COPIES] {
        std::array::from_fn(|copy| {
            let bytes = raw(file, copy);
            let last = bytes.iter().rposition(|byte| *byte != 0);
            last.map_or(0, |last| align_up(last as u64 + 1) as usize)
        })
    }

    /// Whether a copy that can be read is followed by bytes that are not zero.
    pub(crate) fn remains(file: &F) -> [bool; COPIES] {
        let extents = Self::extents(file);
        std::array::from_fn(|copy| {
            let bytes = raw(file, copy);
            decode(copy, &bytes).is_ok() && extents[copy] > length_of(&bytes)
        })
    }

    /// Takes over what was read; the latest content comes back beside it. `None` where no copy is
    /// good.
    pub(crate) fn open(file: F, copies: Copies) -> Option<(Self, Content)> {
        let generations = std::array::from_fn(|copy| match &copies[copy] {
            Ok((generation, _)) => Some(*generation),
            Err(_) => None,
        });
        let latest = copies
            .into_iter()
            .flatten()
            .reduce(|best, next| if next.0 > best.0 { next } else { best })?;
        let extents = Self::extents(&file);
        let superblocks = Self { file, generations, latest: latest.0, extents, buffer: Vec::new() };
        Some((superblocks, latest.1))
    }

    /// Makes a state durable: one sync. Returns how many bytes were written.
    ///
    /// # Errors
    /// Whatever the disk says. The previous state is still there, and possibly the new one.
    pub(crate) fn write(&mut self, content: &Content) -> Result<usize, DiskError> {
        let pair = self.pair_behind().unwrap_or(PAIRS[0]);
        self.latest += 1;
        self.write_pair(pair, content)
    }

    /// Whether the latest state lies in a single copy: a crash came while it was written. Losing that
    /// copy would bring the state before back.
    pub(crate) fn is_alone(&self) -> bool {
        self.copies_behind() == COPIES as u64 - 1
    }

    /// How many copies are behind or damaged.
    pub(crate) fn copies_behind(&self) -> u64 {
        let behind = |copy: &&Option<u64>| **copy != Some(self.latest);
        self.generations.iter().filter(behind).count() as u64
    }

    /// Reads the copies again. One that is not what was written there last counts as behind. Returns how many bytes
    /// were read.
    pub(crate) fn scrub(&mut self) -> u64 {
        let copies = Self::read(&self.file);
        for (known, found) in self.generations.iter_mut().zip(copies) {
            *known = known.filter(|generation| found.is_ok_and(|(found, _)| found == *generation));
        }
        COPY_BYTES as u64 * COPIES as u64
    }

    /// Whether copies are behind or damaged.
    pub(crate) fn is_behind(&self) -> bool {
        self.pair_behind().is_some()
    }

    /// Brings copies up to date that are behind; one sync. `content` is what was written last.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub(crate) fn idle(&mut self, content: &Content) -> Result<usize, DiskError> {
        match self.pair_behind() {
            Some(pair) => self.write_pair(pair, content),
            None => Ok(0),
        }
    }

    /// The pair to be written next: one that may be overwritten since the other one has the latest
    /// state.
    fn pair_behind(&self) -> Option<[usize; 2]> {
        let current = |copy: &usize| self.generations[*copy] == Some(self.latest);
        let [first, second] = PAIRS;
        if !second.iter().any(current) {
            Some(second)
        } else if !first.iter().any(current) || !first.iter().all(current) {
            Some(first)
        } else if !second.iter().all(current) {
            Some(second)
        } else {
            None
        }
    }

    fn write_pair(&mut self, pair: [usize; 2], content: &Content) -> Result<usize, DiskError> {
        let mut written = 0;
        for copy in pair {
            self.generations[copy] = None;
            encode(copy, self.latest, content, &mut self.buffer);
            // Nothing of a longer one before stays behind it.
            let length = self.buffer.len();
            self.buffer.resize(length.max(self.extents[copy]), 0);
            self.file.write_at(place(copy), &self.buffer)?;
            self.extents[copy] = length;
            written += self.buffer.len();
        }
        self.file.sync()?;
        for copy in pair {
            self.generations[copy] = Some(self.latest);
        }
        Ok(written)
    }
}

/// The bytes of a copy, as far as the medium gives them.
fn raw<F: File>(file: &F, copy: usize) -> Vec<u8> {
    let mut bytes = vec![0; COPY_BYTES];
    read_whatever(file, place(copy), &mut bytes);
    bytes
}

/// Where a copy lies.
pub(crate) const fn place(copy: usize) -> u64 {
    copy as u64 * COPY_BYTES as u64
}
