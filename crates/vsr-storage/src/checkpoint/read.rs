//! Reading chunks, each verified at each read, and repairing those that are damaged.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use vsr_core::{Checksum, OpNumber};

use super::Checkpoints;
use super::layout::{Kind, checkpoint_name, encode, read, write_whole};
use super::manifest::ChunkRef;
use super::pack::{PackHead, RECORD_HEAD_BYTES, pack_name, read_head};
use super::packs::{Appender, Unread};
use crate::disk::{Disk, DiskError};
use crate::error::{CheckpointError, ChunkError};
use crate::inspect::ChunkPlace;

/// Something damaged that a checkpoint needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointDamage {
    /// One of the two copies in a checkpoint's file. The next opening mends it if the other one is
    /// good.
    Manifest {
        /// The checkpoint's op.
        op: OpNumber,
        /// Its id.
        id: Checksum,
        /// Which copy, 0 or 1.
        copy: u32,
    },
    /// The head of a pack. It says nothing that is not known; the next opening mends it.
    PackHead {
        /// The pack's number.
        pack: u32,
    },
    /// A chunk. It is to be fetched and repaired.
    Chunk {
        /// The checkpoint.
        id: Checksum,
        /// The chunk's place in the manifest.
        index: u32,
        /// What the chunk is.
        chunk: ChunkRef,
    },
}

impl<D: Disk> Checkpoints<D> {
    /// Reads a chunk of a checkpoint by its place in the manifest, and verifies it.
    ///
    /// # Errors
    /// [`ChunkError::Damaged`] names the chunk, to be fetched from another replica and
    /// given to [`Checkpoints::repair`]. It is remembered: such a chunk is written again by the
    /// next checkpoint that has it, and is missing for a fetch.
    pub fn chunk(&mut self, disk: &D, id: Checksum, index: u32) -> Result<Bytes, ChunkError> {
        let held = self.held.iter().find(|held| held.info.id == id);
        let content = &held.ok_or(ChunkError::UnknownCheckpoint { id })?.content;
        let place = content.places().nth(index as usize);
        let (chunk, at) = place.ok_or(ChunkError::NoSuchChunk { index })?;
        let (chunk, at) = (*chunk, *at);
        let damaged = ChunkError::Damaged { index, digest: chunk.digest };
        match self.packs.read(disk, &chunk, at) {
            Ok(bytes) => return Ok(bytes),
            Err(Unread::Disk(error)) => return Err(ChunkError::Disk(error)),
            Err(Unread::Damaged) => {}
        }
        // Another checkpoint may have it elsewhere.
        self.look_elsewhere(&BTreeSet::from([chunk.digest]));
        let Some((other, _)) = self.packs.find(chunk.digest) else { return Err(damaged) };
        match self.packs.read(disk, &chunk, other) {
            Ok(bytes) => Ok(bytes),
            Err(Unread::Disk(error)) => Err(ChunkError::Disk(error)),
            Err(Unread::Damaged) => Err(damaged),
        }
    }

    /// Where the chunks of a checkpoint lie.
    pub(crate) fn chunk_places(&self, id: Checksum) -> Vec<ChunkPlace> {
        let held = self.find(id).into_iter();
        let places = held.flat_map(|held| held.content.places()).map(|(chunk, at)| ChunkPlace {
            chunk: *chunk,
            file: pack_name(at.pack),
            offset: u64::from(at.position) + RECORD_HEAD_BYTES as u64,
        });
        places.collect()
    }

    /// Reads a chunk by its digest, of whichever checkpoint, and verifies it; `None` where it is
    /// not here, or damaged. For a replica that fetches a checkpoint which is not here any more:
    /// most of its chunks still are.
    ///
    /// # Errors
    /// [`ChunkError::Disk`].
    pub fn chunk_by_digest(
        &mut self,
        disk: &D,
        digest: Checksum,
    ) -> Result<Option<Bytes>, ChunkError> {
        let Some((at, length)) = self.packs.find(digest) else { return Ok(None) };
        match self.packs.read(disk, &ChunkRef { digest, length }, at) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Unread::Damaged) => Ok(None),
            Err(Unread::Disk(error)) => Err(ChunkError::Disk(error)),
        }
    }

    /// Stores chunks again that were found damaged, each with its digest, for all checkpoints that
    /// have them. One new pack, and a new file for each of those checkpoints; where many chunks are
    /// damaged, fetch the checkpoint instead.
    ///
    /// # Errors
    /// [`CheckpointError::WrongDigest`] and [`CheckpointError::UnknownChunk`]: nothing was
    /// done. After [`CheckpointError::DiskFull`] try again when there is space. Others are fatal.
    pub fn repair(
        &mut self,
        disk: &D,
        chunks: &[(Checksum, &[u8])],
    ) -> Result<(), CheckpointError> {
        self.refuse_if_stopped()?;
        for (digest, bytes) in chunks {
            if Checksum::of(bytes) != *digest {
                return Err(CheckpointError::WrongDigest { digest: *digest });
            }
            let has = |chunk: &ChunkRef| chunk.digest == *digest;
            if !self.held.iter().any(|held| held.content.manifest.chunks().iter().any(has)) {
                return Err(CheckpointError::UnknownChunk { digest: *digest });
            }
        }
        let done = self.repair_all(disk, chunks);
        self.heed(done)
    }

    fn repair_all(
        &mut self,
        disk: &D,
        chunks: &[(Checksum, &[u8])],
    ) -> Result<(), CheckpointError> {
        let mut out = Appender::new();
        let mut places = BTreeMap::new();
        for (digest, bytes) in chunks {
            match out.append(disk, &mut self.packs, *digest, bytes) {
                Ok(at) => places.insert(*digest, at),
                Err(CheckpointError::DiskFull) => {
                    out.give_up(disk).map_err(CheckpointError::Failed)?;
                    return Err(CheckpointError::DiskFull);
                }
                Err(error) => return Err(error),
            };
        }
        out.sync(disk)?;
        self.packs.adopt(out.made());
        for held in &mut self.held {
            let mut content = held.content.clone();
            for (chunk, at) in content.manifest.chunks().iter().zip(&mut content.locations) {
                *at = places.get(&chunk.digest).copied().unwrap_or(*at);
            }
            if content == held.content {
                continue;
            }
            let name = checkpoint_name(held.info.header.op, held.info.id);
            let file = encode(Kind::Whole, &self.packs.identity, &content);
            if !write_whole(disk, &name, &file).map_err(CheckpointError::Failed)? {
                // Some checkpoints may refer to the new pack already.
                self.collect(disk).map_err(CheckpointError::Failed)?;
                return Err(CheckpointError::DiskFull);
            }
            for (chunk, at) in content.places() {
                self.packs.add(*chunk, *at);
            }
            held.content = content;
        }
        self.collect(disk).map_err(CheckpointError::Failed)
    }

    /// Reads everything that matters and names what is damaged. It takes as long as reading all
    /// checkpoints does: for an operator; a running replica reads chunk by chunk.
    ///
    /// # Errors
    /// The system refused to read.
    pub fn verify(&mut self, disk: &D) -> Result<Vec<CheckpointDamage>, DiskError> {
        let mut damage = Vec::new();
        let mut seen = BTreeSet::new();
        for number in self.packs.numbers() {
            let good = match disk.open(&pack_name(number)) {
                Ok(file) => read_head(&file, &self.packs.identity, number) == PackHead::Good,
                Err(_) => false,
            };
            if !good {
                damage.push(CheckpointDamage::PackHead { pack: number });
            }
        }
        for held in &self.held {
            let (op, id) = (held.info.header.op, held.info.id);
            let file = disk.open(&checkpoint_name(op, id))?;
            let copies = read(&file, Kind::Whole, &self.packs.identity)?;
            for (copy, answer) in (0..).zip(copies) {
                if answer.as_ref() != Ok(&held.content) {
                    damage.push(CheckpointDamage::Manifest { op, id, copy });
                }
            }
            for (index, (chunk, at)) in (0..).zip(held.content.places()) {
                if !seen.insert(*at) && !self.packs.is_damaged(*at) {
                    continue;
                }
                match self.packs.read(disk, chunk, *at) {
                    Ok(_) => {}
                    Err(Unread::Disk(error)) => return Err(error),
                    Err(Unread::Damaged) => {
                        damage.push(CheckpointDamage::Chunk { id, index, chunk: *chunk });
                    }
                }
            }
        }
        Ok(damage)
    }
}
