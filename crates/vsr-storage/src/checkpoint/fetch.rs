//! Fetching a checkpoint from other replicas, chunk by chunk.
//!
//! 1. [`Checkpoints::begin_fetch`] takes the manifest and keeps it, so that the fetch outlives a
//!    crash. A fetch that was begun before gives way; what it brought is used again.
//! 2. [`Checkpoints::missing`] says which chunks are not here. [`Checkpoints::put_fetched`] takes
//!    them in any order, from anybody: a chunk is what its digest says, or it is ignored.
//! 3. After [`Checkpoints::sync_fetched`] what was taken is durable and missing no more, also
//!    after a crash.
//! 4. [`Checkpoints::finish_fetch`], called until it is done, reads every chunk once more, and makes it a
//!    checkpoint like any other. What is found damaged is missing again.

use std::collections::{BTreeMap, BTreeSet};

use vsr_core::{CHUNK_BYTES_MAX, Checksum, ClusterId};

use super::layout::{Content, FETCH, Kind, encode, remove_if_there, write_whole};
use super::manifest::{ChunkRef, Manifest, Section};
use super::pack::{Location, record_bytes};
use super::packs::{Appender, Packs, Unread};
use super::write::Writing;
use super::{Checkpoints, Progress};
use crate::disk::{Disk, DiskError, File};
use crate::error::CheckpointError;

/// A chunk that a fetch lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingChunk {
    /// Its place in the manifest; the first one where it has several.
    pub index: u32,
    /// What it is.
    pub chunk: ChunkRef,
}

/// A checkpoint of which not all chunks are here.
pub(super) struct Fetching<F> {
    id: Checksum,
    manifest: Manifest,
    missing: BTreeMap<u32, ChunkRef>,
    /// The missing ones' indexes.
    indexes: BTreeMap<Checksum, u32>,
    out: Appender<F>,
    /// Taken, and not durable yet.
    unsynced: Vec<(ChunkRef, Location)>,
    /// So many chunks, in the manifest's order, were read and found good since any was missing.
    verified: usize,
    /// All are here, and it is being made a checkpoint.
    installing: Option<Writing<F>>,
}

impl<F: File> Fetching<F> {
    pub(super) const fn new(id: Checksum, manifest: Manifest) -> Self {
        Self {
            id,
            manifest,
            missing: BTreeMap::new(),
            indexes: BTreeMap::new(),
            out: Appender::new(),
            unsynced: Vec::new(),
            verified: 0,
            installing: None,
        }
    }

    /// Finds out anew what is missing.
    pub(super) fn look_for_missing(&mut self, packs: &Packs) {
        self.missing.clear();
        self.indexes.clear();
        let unsynced: BTreeSet<Checksum> = self.unsynced.iter().map(|(c, _)| c.digest).collect();
        for (index, chunk) in (0..).zip(self.manifest.chunks()) {
            let here = packs.find(chunk.digest).is_some() || unsynced.contains(&chunk.digest);
            if !here && !self.indexes.contains_key(&chunk.digest) {
                self.missing.insert(index, *chunk);
                self.indexes.insert(chunk.digest, index);
            }
        }
        if !self.missing.is_empty() {
            self.verified = 0;
        }
    }

    /// The packs that it works on.
    pub(super) fn packs(&self) -> impl Iterator<Item = u32> {
        let installing = self.installing.iter().flat_map(Writing::packs);
        let unsynced = self.unsynced.iter().map(|(_, at)| at.pack);
        installing.chain(unsynced).chain(self.out.growing())
    }

    /// How many bytes it wants of each pack.
    pub(super) fn wanted(&self, packs: &Packs) -> BTreeMap<u32, u64> {
        let find = |chunk: &ChunkRef| packs.find(chunk.digest);
        let places: BTreeSet<_> = self.manifest.chunks().iter().filter_map(find).collect();
        let mut wanted = BTreeMap::new();
        for (at, length) in places {
            *wanted.entry(at.pack).or_default() += record_bytes(length);
        }
        wanted
    }

    fn put<D: Disk<File = F>>(
        &mut self,
        disk: &D,
        packs: &mut Packs,
        bytes: &[u8],
    ) -> Result<bool, CheckpointError> {
        if bytes.len() > CHUNK_BYTES_MAX {
            return Ok(false);
        }
        let digest = Checksum::of(bytes);
        let Some(index) = self.indexes.get(&digest).copied() else { return Ok(false) };
        let Some(chunk) = self.missing.get(&index).copied() else { return Ok(false) };
        if chunk.length as usize != bytes.len() {
            return Ok(false);
        }
        let at = self.out.append(disk, packs, digest, bytes)?;
        self.unsynced.push((chunk, at));
        self.missing.remove(&index);
        self.indexes.remove(&digest);
        Ok(true)
    }

    fn sync<D: Disk<File = F>>(
        &mut self,
        disk: &D,
        packs: &mut Packs,
    ) -> Result<(), CheckpointError> {
        self.out.sync(disk)?;
        packs.adopt(self.out.made());
        for (chunk, at) in self.unsynced.drain(..) {
            packs.add(chunk, at);
        }
        Ok(())
    }

    /// Reads the next chunk, all of which should be durable; false once all were read. A service is given
    /// none that is damaged: it may not be able to go back then.
    fn verify_next<D: Disk<File = F>>(
        &mut self,
        disk: &D,
        packs: &mut Packs,
    ) -> Result<bool, CheckpointError> {
        let Some(chunk) = self.manifest.chunks().get(self.verified) else { return Ok(false) };
        let read = packs.find(chunk.digest).map(|(at, _)| packs.read(disk, chunk, at));
        match read {
            Some(Err(Unread::Disk(error))) => return Err(CheckpointError::Failed(error)),
            // One that is damaged is missing, as is found out when all were read.
            Some(Ok(_) | Err(Unread::Damaged)) | None => self.verified += 1,
        }
        Ok(true)
    }

    /// Prepares the checkpoint, all of whose chunks should be durable.
    fn writing(&self, packs: &Packs) -> Result<Writing<F>, CheckpointError> {
        let mut writing = Writing::new(*self.manifest.header());
        for section in [Section::Table, Section::State] {
            for index in self.manifest.section(section) {
                let digest = self.manifest.chunks()[index as usize].digest;
                writing.same(packs, section, digest)?;
            }
        }
        Ok(writing)
    }
}

impl<D: Disk> Checkpoints<D> {
    /// Begins to fetch the checkpoint `id`, of which `manifest` are the bytes that a replica of
    /// `cluster` gave; goes on where that is being fetched already, also since before a restart.
    /// One that is there with damaged chunks can be fetched too: those are missing.
    ///
    /// # Errors
    /// [`CheckpointError::Manifest`]: ask another replica. After
    /// [`CheckpointError::DiskFull`] all is as it was. Others are fatal.
    pub fn begin_fetch(
        &mut self,
        disk: &D,
        id: Checksum,
        manifest: &[u8],
    ) -> Result<(), CheckpointError> {
        self.refuse_if_stopped()?;
        let cluster = self.cluster();
        let manifest = Manifest::decode(manifest, id, cluster)?;
        if self.fetching() == Some(id) {
            return Ok(());
        }
        let done = self.replace_fetch(disk, id, manifest);
        self.heed(done)
    }

    fn replace_fetch(
        &mut self,
        disk: &D,
        id: Checksum,
        manifest: Manifest,
    ) -> Result<(), CheckpointError> {
        self.give_up_installing(disk)?;
        if let Some(former) = &mut self.fetching {
            former.sync(disk, &mut self.packs)?;
        }
        let content = Content { id, manifest, locations: Vec::new() };
        let file = encode(Kind::Fetch, &self.packs.identity, &content);
        if !write_whole(disk, FETCH, &file).map_err(CheckpointError::Failed)? {
            return Err(CheckpointError::DiskFull);
        }
        self.fetching = Some(Fetching::new(id, content.manifest));
        self.collect(disk).map_err(CheckpointError::Failed)
    }

    /// The id of the checkpoint that is being fetched.
    #[must_use]
    pub fn fetching(&self) -> Option<Checksum> {
        self.fetching.as_ref().map(|fetching| fetching.id)
    }

    /// The chunks that are not here yet, in the manifest's order, each once. Nothing where nothing
    /// is being fetched.
    pub fn missing(&self) -> impl Iterator<Item = MissingChunk> {
        let missing = self.fetching.iter().flat_map(|fetching| &fetching.missing);
        missing.map(|(index, chunk)| MissingChunk { index: *index, chunk: *chunk })
    }

    /// Takes a chunk. False where it is none of those that are missing: it came twice, or is not
    /// what was asked for.
    ///
    /// # Errors
    /// After [`CheckpointError::DiskFull`] it is still missing, and what was taken before
    /// is kept: give it again when there is space, or [`Checkpoints::abandon_fetch`].
    pub fn put_fetched(&mut self, disk: &D, bytes: &[u8]) -> Result<bool, CheckpointError> {
        self.refuse_if_stopped()?;
        let fetching = self.fetching.as_mut().ok_or(CheckpointError::NotBegun)?;
        let done = fetching.put(disk, &mut self.packs, bytes);
        self.heed(done)
    }

    /// Makes durable what was taken: one sync, and one of the directory for each new pack.
    ///
    /// # Errors
    /// Only fatal ones.
    pub fn sync_fetched(&mut self, disk: &D) -> Result<(), CheckpointError> {
        self.refuse_if_stopped()?;
        let Some(fetching) = &mut self.fetching else { return Ok(()) };
        let done = fetching.sync(disk, &mut self.packs);
        self.heed(done)
    }

    /// Does a bounded part of what it takes to make it a checkpoint; to be called until it answers
    /// [`Progress::Finished`]. It is durable then.
    ///
    /// # Errors
    /// [`CheckpointError::Incomplete`] while chunks are missing. After
    /// [`CheckpointError::DiskFull`] it is still being fetched, with all its chunks: finish it when
    /// there is space.
    pub fn finish_fetch(&mut self, disk: &D) -> Result<Progress, CheckpointError> {
        self.refuse_if_stopped()?;
        let done = self.finish_fetch_step(disk);
        if let Err(CheckpointError::DiskFull) = &done {
            let given_up = self.give_up_installing(disk);
            self.heed(given_up)?;
        }
        self.heed(done)
    }

    fn finish_fetch_step(&mut self, disk: &D) -> Result<Progress, CheckpointError> {
        let fetching = self.fetching.as_mut().ok_or(CheckpointError::NotBegun)?;
        let missing = fetching.missing.len();
        if missing > 0 {
            return Err(CheckpointError::Incomplete { missing });
        }
        let Some(installing) = &mut fetching.installing else {
            fetching.sync(disk, &mut self.packs)?;
            if fetching.verify_next(disk, &mut self.packs)? {
                return Ok(Progress::Unfinished);
            }
            match fetching.writing(&self.packs) {
                Ok(writing) => fetching.installing = Some(writing),
                // A chunk was found damaged.
                Err(_) => fetching.look_for_missing(&self.packs),
            }
            return Ok(Progress::Unfinished);
        };
        if installing.step(disk, &mut self.packs)? {
            return Ok(Progress::Unfinished);
        }
        let writing = fetching.installing.take().ok_or(CheckpointError::NotBegun)?;
        let info = self.install(disk, writing)?;
        self.forget_fetch(disk).map_err(CheckpointError::Failed)?;
        Ok(Progress::Finished(info))
    }

    /// Gives up the fetch, if there is one, and frees its space.
    ///
    /// # Errors
    /// Only fatal ones.
    pub fn abandon_fetch(&mut self, disk: &D) -> Result<(), CheckpointError> {
        self.refuse_if_stopped()?;
        let done = self.drop_fetch(disk);
        self.heed(done)
    }

    fn drop_fetch(&mut self, disk: &D) -> Result<(), CheckpointError> {
        self.give_up_installing(disk)?;
        if let Some(fetching) = &mut self.fetching {
            // So that its packs are known, and are removed.
            fetching.sync(disk, &mut self.packs)?;
        }
        self.forget_fetch(disk).map_err(CheckpointError::Failed)
    }

    fn forget_fetch(&mut self, disk: &D) -> Result<(), DiskError> {
        if self.fetching.take().is_none() {
            return Ok(());
        }
        // It comes back if the power fails; the next opening sees whether it is done.
        remove_if_there(disk, FETCH)?;
        self.collect(disk)
    }

    fn give_up_installing(&mut self, disk: &D) -> Result<(), CheckpointError> {
        let installing = self.fetching.as_mut().and_then(|fetching| fetching.installing.take());
        installing.map_or(Ok(()), |writing| writing.give_up(disk))
    }

    pub(super) const fn cluster(&self) -> ClusterId {
        self.packs.identity.cluster
    }
}
