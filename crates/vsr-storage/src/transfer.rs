//! The store's part in state transfer: giving checkpoints to peers, and taking one from them.

use bytes::Bytes;
use vsr_core::{
    CHUNKS_WANTED_MAX, Checkpoint, Checksum, Fetch, Fetched, PAGE_BYTES, Served, SessionState,
    Wanted,
};

use crate::checkpoint::{Manifest, Progress, Section, decode_sessions};
use crate::disk::Disk;
use crate::error::{CheckpointError, ChunkError, ManifestError};
use crate::store::Store;

impl<D: Disk> Store<D> {
    /// Reads what a peer wants of a checkpoint: a page of a manifest, or a chunk, which is verified. What is
    /// damaged here is not here.
    ///
    /// # Errors
    /// [`ChunkError::Disk`].
    pub fn serve(&mut self, wanted: Wanted) -> Result<Served<Bytes>, ChunkError> {
        match wanted {
            Wanted::Page { id, offset } => Ok(self.page(id, offset)),
            Wanted::Chunk(digest) => {
                let chunk = self.checkpoints.chunk_by_digest(&self.disk, digest)?;
                Ok(chunk.map_or(Served::Absent(digest), Served::Chunk))
            }
        }
    }

    fn page(&mut self, id: Checksum, offset: u32) -> Served<Bytes> {
        let Some(manifest) = self.checkpoints.manifest(id) else { return Served::Absent(id) };
        let checkpoint = Checkpoint { header: *manifest.header(), id };
        if self.served.as_ref().is_none_or(|(served, _)| *served != id) {
            // Its pages are asked for one after another.
            self.served = Some((id, manifest.encode().into()));
        }
        let bytes = self.served.as_ref().map(|(_, bytes)| bytes.clone()).unwrap_or_default();
        let start = bytes.len().min(offset as usize);
        let end = bytes.len().min(start + PAGE_BYTES as usize);
        let length = bytes.len() as u32;
        Served::Page { checkpoint, length, offset, page: bytes.slice(start..end) }
    }

    /// Does a bounded part of fetching a checkpoint. `None` is the answer to a chunk that was put and to
    /// giving up; for [`Fetch::Finish`] it says that the same is to be called again.
    ///
    /// # Errors
    /// Only fatal ones: where the disk has no room, or the manifest is another, the fetch is refused.
    pub fn fetch(
        &mut self,
        fetch: &Fetch<Bytes>,
    ) -> Result<Option<Fetched<Bytes>>, CheckpointError> {
        let (id, done) = match fetch {
            Fetch::Begin { checkpoint, manifest } => {
                (checkpoint.id, self.begin_fetch(checkpoint, manifest))
            }
            Fetch::Put { chunk } => {
                let put = self.checkpoints.put_fetched(&self.disk, chunk).map(drop);
                return match put {
                    // Still missing then, as the next sync says.
                    Err(CheckpointError::DiskFull | CheckpointError::NotBegun) => Ok(None),
                    put => self.heed_checkpoint(put).map(|()| None),
                };
            }
            Fetch::Sync { id } => {
                let synced = self.checkpoints.sync_fetched(&self.disk);
                (*id, synced.map(|()| Some(self.missing(*id))))
            }
            Fetch::Finish { id } => (*id, self.finish_fetch(*id)),
            Fetch::Mend { checkpoint } => (checkpoint.id, self.begin_mending(checkpoint.id)),
            Fetch::Abandon => {
                let abandoned = self.checkpoints.abandon_fetch(&self.disk);
                return self.heed_checkpoint(abandoned).map(|()| None);
            }
        };
        match done {
            Err(error) if !error.is_fatal() => Ok(Some(Fetched::Refused { id })),
            done => self.heed_checkpoint(done),
        }
    }

    fn begin_fetch(
        &mut self,
        checkpoint: &Checkpoint,
        manifest: &[Bytes],
    ) -> Result<Option<Fetched<Bytes>>, CheckpointError> {
        let id = checkpoint.id;
        let bytes = manifest.concat();
        let decoded = Manifest::decode(&bytes, id, checkpoint.header.cluster)?;
        if *decoded.header() != checkpoint.header {
            return Err(ManifestError::Different { id }.into());
        }
        self.checkpoints.begin_fetch(&self.disk, id, &bytes)?;
        self.drop_fetched_checkpoints_but(id)?;
        Ok(Some(self.missing(id)))
    }

    /// What is damaged of a checkpoint is missing, and is fetched like that of any other.
    fn begin_mending(&mut self, id: Checksum) -> Result<Option<Fetched<Bytes>>, CheckpointError> {
        if self.checkpoints.fetching() == Some(id) {
            return Ok(Some(self.missing(id)));
        }
        let Some(manifest) = self.checkpoints.manifest(id) else {
            return Ok(Some(Fetched::Refused { id }));
        };
        let manifest = manifest.encode();
        self.checkpoints.begin_fetch(&self.disk, id, &manifest)?;
        Ok(Some(self.missing(id)))
    }

    fn missing(&self, id: Checksum) -> Fetched<Bytes> {
        if self.checkpoints.fetching() != Some(id) {
            return Fetched::Refused { id };
        }
        let left = self.checkpoints.missing().count() as u32;
        let next = self.checkpoints.missing().take(CHUNKS_WANTED_MAX);
        Fetched::Missing { id, chunks: next.map(|missing| missing.chunk.digest).collect(), left }
    }

    fn finish_fetch(&mut self, id: Checksum) -> Result<Option<Fetched<Bytes>>, CheckpointError> {
        match self.checkpoints.finish_fetch(&self.disk) {
            Ok(Progress::Unfinished) => Ok(None),
            Ok(Progress::Finished(_)) => {
                let sessions = self.sessions_in(id);
                Ok(Some(
                    sessions.map_or(Fetched::Refused { id }, |sessions| Fetched::Whole {
                        id,
                        sessions,
                    }),
                ))
            }
            // A chunk was found damaged meanwhile.
            Err(CheckpointError::Incomplete { .. }) => Ok(Some(self.missing(id))),
            Err(error) => Err(error),
        }
    }

    fn sessions_in(&mut self, id: Checksum) -> Option<Vec<(u32, SessionState<Bytes>)>> {
        let section = self.checkpoints.manifest(id)?.section(Section::Table);
        let chunks: Result<Vec<Bytes>, ChunkError> =
            section.map(|index| self.checkpoints.chunk(&self.disk, id, index)).collect();
        decode_sessions(chunks.ok()?).ok()
    }
}
