//! Writing a checkpoint, one chunk at a time.
//!
//! 1. [`Checkpoints::begin`] names the entry that was executed last.
//! 2. [`Checkpoints::put`] takes a chunk's bytes, [`Checkpoints::same`] names a chunk that is
//!    there. Only what is not there yet is written.
//! 3. [`Checkpoints::finish`], called until it is done, copies what
//!    [compaction](super::compact) asks for, syncs, and puts the checkpoint's file in place. Before
//!    that nothing refers to what was written; afterwards the checkpoint is there whole.

use std::collections::{BTreeMap, VecDeque};

use vsr_core::{CHUNK_BYTES_MAX, Checksum, Header};

use super::compact::{Usage, packs_to_empty};
use super::layout::{Content, Kind, checkpoint_name, encode, write_whole};
use super::manifest::{CHUNKS_MAX, ChunkRef, Manifest, Section};
use super::pack::{Location, record_bytes};
use super::packs::{Appender, Packs, Unread};
use super::{CHECKPOINTS_MAX, CheckpointInfo, Checkpoints, Held, Progress};
use crate::disk::{Disk, File};
use crate::error::CheckpointError;

/// A checkpoint that is not whole yet.
pub(super) struct Writing<F> {
    header: Header,
    table: Vec<ChunkRef>,
    state: Vec<ChunkRef>,
    /// Where each of its chunks lies, and how long it is.
    places: BTreeMap<Checksum, (Location, u32)>,
    out: Appender<F>,
    /// What is yet to be copied, once that is known.
    copies: Option<VecDeque<(ChunkRef, Location)>>,
}

impl<F: File> Writing<F> {
    pub(super) const fn new(header: Header) -> Self {
        Self {
            header,
            table: Vec::new(),
            state: Vec::new(),
            places: BTreeMap::new(),
            out: Appender::new(),
            copies: None,
        }
    }

    /// The packs that hold its chunks, those that it made apart.
    pub(super) fn packs(&self) -> impl Iterator<Item = u32> {
        self.places.values().map(|(at, _)| at.pack)
    }

    fn put<D: Disk<File = F>>(
        &mut self,
        disk: &D,
        packs: &mut Packs,
        section: Section,
        bytes: &[u8],
    ) -> Result<Checksum, CheckpointError> {
        self.refuse_if_many()?;
        if bytes.len() > CHUNK_BYTES_MAX {
            return Err(CheckpointError::ChunkTooLarge { bytes: bytes.len() });
        }
        let chunk = ChunkRef { digest: Checksum::of(bytes), length: bytes.len() as u32 };
        let at = match self.find(packs, chunk.digest) {
            Some((at, _)) => at,
            None => self.out.append(disk, packs, chunk.digest, bytes)?,
        };
        self.push(section, chunk, at);
        Ok(chunk.digest)
    }

    /// Adds a chunk that is there.
    pub(super) fn same(
        &mut self,
        packs: &Packs,
        section: Section,
        digest: Checksum,
    ) -> Result<(), CheckpointError> {
        self.refuse_if_many()?;
        let Some((at, length)) = self.find(packs, digest) else {
            return Err(CheckpointError::UnknownChunk { digest });
        };
        self.push(section, ChunkRef { digest, length }, at);
        Ok(())
    }

    fn refuse_if_many(&self) -> Result<(), CheckpointError> {
        match self.table.len() + self.state.len() < CHUNKS_MAX {
            true => Ok(()),
            false => Err(CheckpointError::TooManyChunks),
        }
    }

    fn find(&self, packs: &Packs, digest: Checksum) -> Option<(Location, u32)> {
        self.places.get(&digest).copied().or_else(|| packs.find(digest))
    }

    fn push(&mut self, section: Section, chunk: ChunkRef, at: Location) {
        self.places.insert(chunk.digest, (at, chunk.length));
        self.copies = None;
        match section {
            Section::Table => self.table.push(chunk),
            Section::State => self.state.push(chunk),
        }
    }

    /// Copies one chunk; false once all are copied and everything is durable.
    pub(super) fn step<D: Disk<File = F>>(
        &mut self,
        disk: &D,
        packs: &mut Packs,
    ) -> Result<bool, CheckpointError> {
        let Some(copies) = &mut self.copies else {
            self.copies = Some(self.plan(packs));
            return Ok(true);
        };
        let Some((chunk, at)) = copies.pop_front() else {
            self.out.sync(disk)?;
            return Ok(false);
        };
        match packs.read(disk, &chunk, at) {
            Ok(bytes) => {
                let copied = self.out.append(disk, packs, chunk.digest, &bytes)?;
                self.places.insert(chunk.digest, (copied, chunk.length));
            }
            // It stays where it is, is noticed by whoever reads it, and is repaired there.
            Err(Unread::Damaged) => {}
            Err(Unread::Disk(error)) => return Err(CheckpointError::Failed(error)),
        }
        Ok(true)
    }

    /// What to copy, in the order in which it lies.
    fn plan(&mut self, packs: &Packs) -> VecDeque<(ChunkRef, Location)> {
        let mut live: BTreeMap<u32, u64> = BTreeMap::new();
        for (digest, (at, length)) in &mut self.places {
            if packs.is_damaged(*at) && !self.out.made().contains_key(&at.pack) {
                // Meanwhile it was found damaged, and maybe repaired.
                *at = packs.find(*digest).map_or(*at, |(at, _)| at);
            }
            if !self.out.made().contains_key(&at.pack) {
                *live.entry(at.pack).or_default() += record_bytes(*length);
            }
        }
        let usage =
            |(&pack, &live): (&u32, &u64)| Usage { pack, bytes: packs.size(pack).bytes, live };
        let usages = live.iter().map(usage).collect();
        let emptied = packs_to_empty(usages, self.out.size(), packs.limits.pack_bytes);
        let mut copies: Vec<(ChunkRef, Location)> = self
            .places
            .iter()
            .filter(|(_, (at, _))| emptied.binary_search(&at.pack).is_ok())
            .map(|(digest, (at, length))| (ChunkRef { digest: *digest, length: *length }, *at))
            .collect();
        copies.sort_unstable_by_key(|(_, at)| *at);
        copies.into()
    }

    /// What its file will hold.
    fn content(&self) -> Content {
        let manifest = Manifest::new(self.header, &self.table, &self.state);
        let place = |chunk: &ChunkRef| {
            self.places.get(&chunk.digest).expect("every chunk got a place when it was taken").0
        };
        let locations = manifest.chunks().iter().map(place).collect();
        Content { id: manifest.id(), manifest, locations }
    }

    /// Frees the space of what it wrote.
    pub(super) fn give_up<D: Disk>(self, disk: &D) -> Result<(), CheckpointError> {
        self.out.give_up(disk).map_err(CheckpointError::Failed)
    }
}

impl<D: Disk> Checkpoints<D> {
    /// Begins a checkpoint after the entry with this header was executed. One that was begun before
    /// and not finished is given up.
    ///
    /// # Errors
    /// [`CheckpointError::TooManyCheckpoints`], and fatal ones.
    ///
    /// # Panics
    /// If the header is not one of this cluster: such a checkpoint would not be read again.
    pub fn begin(&mut self, disk: &D, header: Header) -> Result<(), CheckpointError> {
        assert_eq!(header.cluster, self.cluster(), "a checkpoint is of its own cluster");
        assert!(header.is_intact(), "a header that was executed is intact");
        self.abandon(disk)?;
        if self.held.len() >= CHECKPOINTS_MAX {
            return Err(CheckpointError::TooManyCheckpoints);
        }
        self.writing = Some(Writing::new(header));
        Ok(())
    }

    /// Adds a chunk: at most [`CHUNK_BYTES_MAX`] bytes, written unless they are there already. Now
    /// and then it syncs what was written, at most 8 MiB. Returns the chunk's digest.
    ///
    /// # Errors
    /// After [`CheckpointError::DiskFull`] the checkpoint is given up, and its space is free again:
    /// begin anew when there is more. Others that are not fatal leave it as it was.
    pub fn put(
        &mut self,
        disk: &D,
        section: Section,
        bytes: &[u8],
    ) -> Result<Checksum, CheckpointError> {
        self.refuse_if_stopped()?;
        let writing = self.writing.as_mut().ok_or(CheckpointError::NotBegun)?;
        let done = writing.put(disk, &mut self.packs, section, bytes);
        self.heed_writing(disk, done)
    }

    /// Adds a chunk that is there, by its digest: nothing is read or written.
    ///
    /// # Errors
    /// [`CheckpointError::UnknownChunk`]: [`Checkpoints::put`] its bytes. The checkpoint
    /// is as it was.
    pub fn same(&mut self, section: Section, digest: Checksum) -> Result<(), CheckpointError> {
        self.refuse_if_stopped()?;
        let writing = self.writing.as_mut().ok_or(CheckpointError::NotBegun)?;
        let there = writing.same(&self.packs, section, digest);
        if matches!(there, Err(CheckpointError::UnknownChunk { .. })) {
            self.packs.lost.push(digest);
        }
        there
    }

    /// Does a bounded part of what finishing takes; to be called until it answers
    /// [`Progress::Finished`]. The checkpoint is durable then.
    ///
    /// # Errors
    /// As [`Checkpoints::put`].
    pub fn finish(&mut self, disk: &D) -> Result<Progress, CheckpointError> {
        self.refuse_if_stopped()?;
        let writing = self.writing.as_mut().ok_or(CheckpointError::NotBegun)?;
        let done = writing.step(disk, &mut self.packs);
        if self.heed_writing(disk, done)? {
            return Ok(Progress::Unfinished);
        }
        let writing = self.writing.take().ok_or(CheckpointError::NotBegun)?;
        let done = self.install(disk, writing);
        self.heed(done).map(Progress::Finished)
    }

    /// Gives up the checkpoint that was begun, if there is one, and frees its space.
    ///
    /// # Errors
    /// Only fatal ones.
    pub fn abandon(&mut self, disk: &D) -> Result<(), CheckpointError> {
        self.refuse_if_stopped()?;
        let Some(writing) = self.writing.take() else { return Ok(()) };
        let done = writing.give_up(disk).and_then(|()| {
            // It may have been the last one to need a pack.
            self.collect(disk).map_err(CheckpointError::Failed)
        });
        self.heed(done)
    }

    /// Puts a checkpoint's file in place; all its chunks are durable. On a full disk it is given
    /// up.
    pub(super) fn install(
        &mut self,
        disk: &D,
        writing: Writing<D::File>,
    ) -> Result<CheckpointInfo, CheckpointError> {
        let content = writing.content();
        let info = CheckpointInfo::of(&content);
        let there = self.held.iter().find(|held| held.info.id == info.id);
        if there.is_some_and(|held| held.content == content) {
            writing.give_up(disk)?;
            return Ok(info);
        }
        let name = checkpoint_name(info.header.op, info.id);
        let file = encode(Kind::Whole, &self.packs.identity, &content);
        if !write_whole(disk, &name, &file).map_err(CheckpointError::Failed)? {
            writing.give_up(disk)?;
            return Err(CheckpointError::DiskFull);
        }
        self.packs.adopt(writing.out.made());
        self.hold(Held { info, content });
        Ok(info)
    }

    fn heed_writing<T>(
        &mut self,
        disk: &D,
        done: Result<T, CheckpointError>,
    ) -> Result<T, CheckpointError> {
        if let Err(CheckpointError::DiskFull) = &done {
            self.abandon(disk)?;
        }
        self.heed(done)
    }
}
