//! Checkpoints: the state at an op, in chunks named by their content.
//!
//! - A checkpoint is a [`Manifest`]: the header of the entry executed last, and the digests of the
//!   chunks of client-table and service. Its id is the manifest's checksum; replicas with equal
//!   states have equal ids, wherever they keep the chunks.
//! - `pack-<n>` holds chunks that were new when it was written. A chunk that is there is not
//!   written again, so a checkpoint costs what changed since the one before.
//! - `checkpoint-<op>-<id>` holds a manifest and where its chunks lie, twice. It is written under
//!   another name, synced and renamed after everything that it refers to is durable: whenever the
//!   power fails, the checkpoint is there whole or not at all.
//! - `fetch` holds the manifest of a checkpoint that is being fetched from other replicas, so that
//!   what is there of it survives a crash.
//! - A pack to which no checkpoint refers is removed, at the latest when the store is opened; while
//!   something is being fetched, unless half of it is wanted.
//!
//! The disk is passed to each call, since it belongs to the store. No call takes long: chunks go
//! one by one, and finishing in steps.

mod manifest;
mod layout;
mod pack;
mod packs;
mod compact;
mod open;
mod write;
mod read;
mod retain;
mod fetch;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use vsr_core::{Checksum, Header, OpNumber};

use crate::disk::Disk;
use crate::error::CheckpointError;
use fetch::Fetching;
use layout::Content;
use packs::Packs;
use write::Writing;

pub use fetch::MissingChunk;
pub use manifest::{CHUNKS_MAX, ChunkRef, MANIFEST_BYTES_MAX, MANIFEST_VERSION, Manifest, Section};
pub use open::CheckpointsReport;
pub use read::CheckpointDamage;
pub use table::{SESSIONS_MAX, TABLE_VERSION, decode_sessions, encode_sessions};

/// The most checkpoints that are kept. Two are needed, the last one and the one before it; with
/// more, somebody forgets to [`Checkpoints::retain`], and the disk would fill.
pub const CHECKPOINTS_MAX: usize = 8;

/// The checkpoints on a disk.
pub struct Checkpoints<D: Disk> {
    packs: Packs,
    /// Ascending by op.
    held: Vec<Held>,
    /// Files of checkpoints that cannot be read.
    unreadable: Vec<(OpNumber, Checksum)>,
    writing: Option<Writing<D::File>>,
    fetching: Option<Fetching<D::File>>,
    report: CheckpointsReport,
    stopped: bool,
}

/// A checkpoint that is whole.
struct Held {
    info: CheckpointInfo,
    content: Content,
}

/// A checkpoint in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointInfo {
    /// The checksum of its manifest.
    pub id: Checksum,
    /// The header of the entry executed last; its op is the checkpoint's.
    pub header: Header,
    /// How many chunks it has.
    pub chunks: u32,
    /// How many bytes they have together.
    pub bytes: u64,
}

impl CheckpointInfo {
    fn of(content: &Content) -> Self {
        Self {
            id: content.id,
            header: *content.manifest.header(),
            chunks: content.manifest.chunks().len() as u32,
            bytes: content.manifest.bytes(),
        }
    }
}

/// How far finishing got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Progress {
    /// There is more to do: call again.
    Unfinished,
    /// The checkpoint is durable.
    Finished(CheckpointInfo),
}

impl<D: Disk> Checkpoints<D> {
    /// The checkpoints that are whole, ascending by op.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &CheckpointInfo> {
        self.held.iter().map(|held| &held.info)
    }

    /// A checkpoint's manifest, `None` where there is no such checkpoint.
    #[must_use]
    pub fn manifest(&self, id: Checksum) -> Option<&Manifest> {
        self.find(id).map(|held| &held.content.manifest)
    }

    /// What opening noticed and mended.
    #[must_use]
    pub const fn opened(&self) -> &CheckpointsReport {
        &self.report
    }

    /// Files of checkpoints that cannot be read, by op and id: fetch them, or retain others.
    #[must_use]
    pub fn unreadable(&self) -> &[(OpNumber, Checksum)] {
        &self.unreadable
    }

    fn find(&self, id: Checksum) -> Option<&Held> {
        self.held.iter().find(|held| held.info.id == id)
    }

    /// Whether something of a checkpoint is known to be damaged, so that it has to be fetched; true once after
    /// each finding, and when the superblock has named another one.
    pub fn is_damaged(&mut self, id: Checksum) -> bool {
        if !std::mem::take(&mut self.packs.untold) {
            return false;
        }
        let mut places = self.find(id).into_iter().flat_map(|held| held.content.places());
        places.any(|(chunk, at)| {
            self.packs.is_damaged(*at) && self.packs.find(chunk.digest).is_none()
        })
    }

    /// The chunks that were here and are not any more, or were said to be and are not; each once. The service must not
    /// say of them that they are the [`same`](Self::same).
    pub fn take_lost(&mut self) -> Vec<Checksum> {
        let mut lost = std::mem::take(&mut self.packs.lost);
        if !lost.is_empty() {
            self.look_elsewhere(&lost.iter().copied().collect());
        }
        lost.retain(|digest| self.packs.find(*digest).is_none());
        lost
    }

    /// An older checkpoint may have chunks at other places than those that were found damaged.
    fn look_elsewhere(&mut self, lost: &BTreeSet<Checksum>) {
        let places = self.held.iter().rev().flat_map(|held| held.content.places());
        for (chunk, at) in places.filter(|(chunk, _)| lost.contains(&chunk.digest)) {
            self.packs.add_unless_known(*chunk, *at);
        }
    }

    /// The next question is about another checkpoint than the ones before: what was found is news for it.
    pub(crate) const fn tell_again(&mut self) {
        self.packs.untold = true;
    }

    /// Takes a checkpoint in, instead of one with the same id if there is one.
    fn hold(&mut self, new: Held) {
        self.packs.untold = true;
        for (chunk, at) in new.content.places() {
            self.packs.add(*chunk, *at);
        }
        self.unreadable.retain(|(_, id)| *id != new.info.id);
        self.held.retain(|held| held.info.id != new.info.id);
        self.held.push(new);
        self.held.sort_by_key(|held| (held.info.header.op, held.info.id));
    }

    const fn refuse_if_stopped(&self) -> Result<(), CheckpointError> {
        if self.stopped { Err(CheckpointError::Stopped) } else { Ok(()) }
    }

    fn heed<T>(&mut self, done: Result<T, CheckpointError>) -> Result<T, CheckpointError> {
        if let Err(error) = &done {
            self.stopped |= error.is_fatal();
        }
        done
    }
}

impl<D: Disk> std::fmt::Debug for Checkpoints<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checkpoints")
            .field("held", &self.held.len())
            .field("writing", &self.writing.is_some())
            .field("fetching", &self.fetching.is_some())
            .finish_non_exhaustive()
    }
}
