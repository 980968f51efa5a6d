//! The store's checkpoints: taking them, and restoring from the one that the superblock names.
//!
//! 1. A checkpoint is begun with its client-table, its chunks are put one by one, and it is finished in
//!    steps; meanwhile the store takes and syncs writes as always.
//! 2. The core then has the superblock name it. When that is durable, earlier ones are dropped, but for as many
//!    as are to be kept.

use bytes::Bytes;
use vsr_core::{Checkpoint, Checksum, Chunk, Header, OpNumber, SessionState};

use crate::checkpoint::{
    CHECKPOINTS_MAX, CheckpointInfo, Checkpoints, Progress, Section, decode_sessions,
    encode_sessions,
};
use crate::disk::Disk;
use crate::error::{CheckpointError, ChunkError, OpenError, TableError};
use crate::store::Store;

/// The most checkpoints that are kept: beside these there may be one that no superblock names yet, one that is
/// being written, and one that was fetched.
pub const CHECKPOINTS_KEPT_MAX: usize = CHECKPOINTS_MAX - 3;

impl<D: Disk> Store<D> {
    /// Begins a checkpoint after the entry with this header. One that was not finished is given up.
    ///
    /// # Errors
    /// [`CheckpointError::DiskFull`], after which none is begun; others as
    /// [`CheckpointError::is_fatal`] says.
    pub fn begin_checkpoint(
        &mut self,
        header: Header,
        sessions: &[(u32, SessionState<Bytes>)],
    ) -> Result<(), CheckpointError> {
        let begun = self.checkpoints.begin(&self.disk, header);
        self.heed_checkpoint(begun)?;
        for chunk in encode_sessions(sessions.iter().map(|(slot, state)| (*slot, state))) {
            let put = self.checkpoints.put(&self.disk, Section::Table, &chunk);
            self.heed_checkpoint(put)?;
        }
        Ok(())
    }

    /// Adds the next chunk of the service's state.
    ///
    /// # Errors
    /// As [`Store::begin_checkpoint`], and [`CheckpointError::UnknownChunk`] where the service says that a
    /// chunk is the same as one that is not here.
    pub fn put_chunk(&mut self, chunk: &Chunk<Bytes>) -> Result<(), CheckpointError> {
        let put = match chunk {
            Chunk::Bytes(bytes) => {
                self.checkpoints.put(&self.disk, Section::State, bytes).map(drop)
            }
            Chunk::Same(digest) => self.checkpoints.same(Section::State, *digest),
        };
        self.heed_checkpoint(put)
    }

    /// Makes the checkpoint durable, a step at a time: to be called until it is finished.
    ///
    /// # Errors
    /// As [`Store::begin_checkpoint`].
    pub fn finish_checkpoint(&mut self) -> Result<Progress, CheckpointError> {
        let finished = self.checkpoints.finish(&self.disk);
        let progress = self.heed_checkpoint(finished)?;
        if let Progress::Finished(info) = &progress {
            self.taken = Some(info.id);
        }
        Ok(progress)
    }

    /// Gives up the checkpoint that was begun, if one was.
    ///
    /// # Errors
    /// Fatal ones only.
    pub fn abandon_checkpoint(&mut self) -> Result<(), CheckpointError> {
        let abandoned = self.checkpoints.abandon(&self.disk);
        self.heed_checkpoint(abandoned)
    }

    /// A chunk of the service's state in the checkpoint that the superblock names, counted from 0;
    /// `None` behind the last one, and where there is no checkpoint.
    ///
    /// # Errors
    /// It is damaged.
    pub fn state_chunk(&mut self, index: u32) -> Result<Option<Bytes>, ChunkError> {
        self.state_chunk_of(self.named().id, index)
    }

    /// A chunk of the service's state in a checkpoint, as [`Store::state_chunk`].
    ///
    /// # Errors
    /// It is damaged.
    pub fn state_chunk_of(
        &mut self,
        id: Checksum,
        index: u32,
    ) -> Result<Option<Bytes>, ChunkError> {
        let Some(manifest) = self.checkpoints.manifest(id) else { return Ok(None) };
        let section = manifest.section(Section::State);
        if index >= section.end - section.start {
            return Ok(None);
        }
        self.checkpoints.chunk(&self.disk, id, section.start + index).map(Some)
    }

    /// The checkpoints that are whole, ascending by op.
    pub fn checkpoints(&self) -> impl DoubleEndedIterator<Item = &CheckpointInfo> {
        self.checkpoints.iter()
    }

    /// Keeps so many checkpoints, 1 to [`CHECKPOINTS_KEPT_MAX`]: the one that the superblock names, and those
    /// before it. They share the chunks that they have in common. A peer may fetch any of them.
    pub fn keep_checkpoints(&mut self, count: usize) {
        self.kept = count.clamp(1, CHECKPOINTS_KEPT_MAX);
    }

    /// The superblock is durable: what is older than the checkpoint that it names is not needed any more.
    pub(crate) fn drop_older_checkpoints(&mut self) -> Result<(), CheckpointError> {
        let named = self.named().op();
        let ops = self.checkpoints.iter().rev().map(|info| info.header.op);
        let first = ops.filter(|op| *op <= named).nth(self.kept - 1).unwrap_or(OpNumber::ZERO);
        self.retain_checkpoints(|info| info.header.op >= first)
    }

    /// Another checkpoint is fetched: what was fetched before, and never named by a superblock, would else
    /// pile up.
    pub(crate) fn drop_fetched_checkpoints_but(
        &mut self,
        id: Checksum,
    ) -> Result<(), CheckpointError> {
        let (named, taken) = (self.named().op(), self.taken);
        self.retain_checkpoints(|info| {
            info.header.op <= named || info.id == id || Some(info.id) == taken
        })
    }

    /// Drops those that are not to be kept, and that no superblock names which is not durable yet.
    fn retain_checkpoints(
        &mut self,
        keep: impl Fn(&CheckpointInfo) -> bool,
    ) -> Result<(), CheckpointError> {
        let awaited: Vec<Checksum> = self.awaited_checkpoints().collect();
        let keep = |info: &CheckpointInfo| keep(info) || awaited.contains(&info.id);
        if self.checkpoints.iter().all(&keep) {
            return Ok(());
        }
        let kept = self.checkpoints.iter().filter(|info| keep(info)).map(|info| info.id);
        let kept: Vec<Checksum> = kept.collect();
        match self.checkpoints.retain(&self.disk, &kept) {
            // The next superblock, or the next fetch, tries again.
            Err(CheckpointError::DiskFull) => Ok(()),
            retained => self.heed_checkpoint(retained),
        }
    }
}

impl<D: Disk> Store<D> {
    /// The id of the checkpoint that the superblock names, if something of it was found damaged since the last call:
    /// it is to be fetched from peers, by [`Fetch::Mend`](vsr_core::Fetch::Mend).
    pub fn damaged_checkpoint(&mut self) -> Option<Checksum> {
        let id = self.named().id;
        self.checkpoints.is_damaged(id).then_some(id)
    }

    /// The chunks found damaged since the last call, of which no good copy is here, and those that were said to be the
    /// same as one that is not here. The service is to give their bytes, as
    /// [`Service::lost`](vsr_core::Service::lost) tells it.
    pub fn take_lost_chunks(&mut self) -> Vec<Checksum> {
        self.checkpoints.take_lost()
    }
}

/// A client-table, by slot.
pub(crate) type Sessions = Vec<(u32, SessionState<Bytes>)>;

/// The client-table of the checkpoint that a superblock names; `None` where that is damaged, or the manifest is, and has to
/// come from others.
pub(crate) fn sessions_of<D: Disk>(
    checkpoints: &mut Checkpoints<D>,
    disk: &D,
    named: Option<&Checkpoint>,
) -> Result<Option<Sessions>, OpenError> {
    let Some(named) = named.filter(|named| named.op() > OpNumber::ZERO) else {
        return Ok(Some(Vec::new()));
    };
    let op = named.op().0;
    let Some(manifest) = checkpoints.manifest(named.id) else { return Ok(None) };
    let mut chunks = Vec::new();
    for index in manifest.section(Section::Table) {
        match checkpoints.chunk(disk, named.id, index) {
            Ok(chunk) => chunks.push(chunk),
            Err(ChunkError::Damaged { .. }) => return Ok(None),
            Err(error) => return Err(OpenError::CheckpointLost { op, why: error.to_string() }),
        }
    }
    let lost = |error: TableError| OpenError::CheckpointLost { op, why: error.to_string() };
    decode_sessions(chunks).map(Some).map_err(lost)
}
