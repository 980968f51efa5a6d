//! The store: superblock and log, written in the order in which the core asks.
//!
//! Where the log is in memory, so are the checkpoints, and the superblock on disk holds the fence alone: it
//! is written when the incarnation or the view changes, and a start finds an empty log.

use std::collections::VecDeque;

use bytes::Bytes;
use vsr_core::{
    Checkpoint, Checksum, Durability, Entry, Header, OpNumber, Stored, SuperblockState, WriteKind,
};

use crate::checkpoint::Checkpoints;
use crate::codec::Identity;
use crate::disk::{Disk, DiskError, File, PartFile, Parts, SECTOR, read_whatever, unfinished_name};
use crate::error::{CheckpointError, FormatError, OpenError, StoreError};
use crate::format::Format;
use crate::log::layout::{Geometry, Head, decode_head};
use crate::log::{Group, LOG, Log};
use crate::peers::{self, KnownStores, PEERS};
use crate::scrub::Next;
use crate::superblock::{Content, CopyError, Frontiers, SUPERBLOCK, Superblocks, Trim};
use crate::taking::sessions_of;

/// A replica's store on a disk.
///
/// Writes are given in order ([`Store::write`]) and made durable in that order ([`Store::sync`]): all
/// appends that wait go in one write and one sync; a superblock is written when everything given before it
/// is durable, and before anything given after it.
pub struct Store<D: Disk> {
    pub(crate) superblocks: Superblocks<D::File>,
    pub(crate) log: Log<PartFile<D::File>>,
    format: Format,
    state: SuperblockState,
    /// What the superblock on disk says, where that is the fence alone.
    fence: Option<SuperblockState>,
    /// Sealed groups and superblocks that wait, in order.
    waiting: VecDeque<Stage>,
    /// What is being filled; given after all that waits.
    open: Group,
    /// A cleared group whose buffers are used again.
    spare: Option<Group>,
    report: OpenReport,
    stopped: bool,
    known: KnownStores<D::File>,
    pub(crate) checkpoints: Checkpoints<Parts<D>>,
    /// How many checkpoints are kept, that which the superblock names included.
    pub(crate) kept: usize,
    /// A checkpoint that was taken here, and that no durable superblock names yet.
    pub(crate) taken: Option<Checksum>,
    /// What is scrubbed next.
    pub(crate) scrubbing: Next,
    /// The manifest that peers were given a page of last.
    pub(crate) served: Option<(Checksum, Bytes)>,
    /// Last, so that the directory's lock outlives the files.
    pub(crate) disk: Parts<D>,
}

enum Stage {
    Log(Group),
    /// A state, and what it lets go of.
    Superblock(Box<SuperblockState>, Trim),
}

/// What [`Store::open`] noticed and mended. All zero after a clean stop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Bytes that a crash left of writes which were never acknowledged; forgotten.
    pub torn_bytes: u64,
    /// Records that were durable, or are now, and whose ring header was missing; written.
    pub redone_headers: u64,
    /// Slots of the ring whose bytes were damaged, by their ops, ascending; mended where the record
    /// was found.
    pub damaged_headers: Vec<OpNumber>,
    /// Ops whose records are damaged beyond telling which entries they were; ascending.
    pub unreadable: Vec<OpNumber>,
    /// Copies of the superblock that were damaged or behind; mended when the store is idle.
    pub superblock_copies_behind: u64,
    /// The head of the log was damaged; mended.
    pub log_head_damaged: bool,
}

impl OpenReport {
    /// Whether there was anything to notice.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }
}

/// What one [`Store::sync`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyncReport {
    /// How often the disk was asked to sync.
    pub syncs: u32,
    /// How many entries became durable.
    pub entries: u64,
    /// How many bytes were written for them and for the superblock, padding included, ring headers
    /// not.
    pub bytes: u64,
}

impl<D: Disk> Store<D> {
    /// Makes a new store: explicit, once, before a replica's first start.
    ///
    /// # Errors
    /// [`FormatError::NotEmpty`] where the directory holds anything of a store, and what
    /// [`FormatError`] lists.
    pub fn format(disk: &D, format: &Format) -> Result<(), FormatError> {
        let mut format = format.clone();
        format.addresses.sort();
        format.check()?;
        let names = disk.list()?;
        let parts = [LOG, PEERS, SUPERBLOCK];
        if let Some(found) = names.iter().find(|name| parts.contains(&name.as_str())) {
            return Err(FormatError::NotEmpty { found: found.clone() });
        }
        for unfinished in parts.map(unfinished_name) {
            // Of a format that was interrupted before anything had its name: never a store.
            if names.contains(&unfinished) {
                disk.remove(&unfinished)?;
            }
        }
        let identity = Identity::new(format.cluster, format.replica);
        match format.constants.durability {
            Durability::Sync => Log::create(disk, &identity, &format.constants)?,
            // Every start makes one, in memory.
            Durability::Memory => {}
        }
        peers::create(disk)?;
        let state = SuperblockState {
            epoch: format.configuration.epoch(),
            ..SuperblockState::formatted(Header::root(format.cluster))
        };
        // The superblock comes last: a directory that has one has everything.
        let content = Content { format, state, frontiers: Frontiers::default(), trim_position: 0 };
        Superblocks::create(disk, &content)?;
        Ok(())
    }

    /// Opens a store and finds out what it holds. Takes at most two syncs; after a crash one more for
    /// the ring of headers, and one where a superblock was being written.
    ///
    /// # Errors
    /// [`OpenError::Empty`] where there is nothing, [`OpenError::Unreadable`] where there is
    /// something that cannot be read, and what else [`OpenError`] lists.
    pub fn open(disk: D) -> Result<(Self, Format, Stored<Bytes>), OpenError> {
        let superblock_file = open_part(&disk, SUPERBLOCK)?;
        // What a former process wrote and did not sync would otherwise be believed and yet be lost.
        superblock_file.sync()?;
        superblock_file.forget_cached(0);
        let copies = Superblocks::read(&superblock_file);
        let (mut superblocks, content) = open_superblocks(superblock_file, copies)?;
        let superblock_copies_behind = superblocks.copies_behind();
        if superblocks.is_alone() {
            superblocks.idle(&content)?;
        }
        let recorded = content.recorded();
        let Content { format, state, .. } = content;
        let identity = Identity::new(format.cluster, format.replica);
        // As above: what is found there counts as written down.
        open_part(&disk, PEERS)?.sync()?;
        let known = KnownStores::open(&disk, &format)?;
        let (disk, fence) = match format.constants.durability {
            Durability::Sync => (Parts::on(disk), None),
            Durability::Memory => {
                let disk = Parts::in_memory(disk);
                Log::create(&disk, &identity, &format.constants)?;
                (disk, Some(state.clone()))
            }
        };
        let log_file = open_part(&disk, LOG)?;
        let head_is_good = check_head(&log_file, &identity, &format)?;
        let (log, slots, mut report) =
            Log::open(log_file, identity, &format.constants, &recorded, head_is_good)?;
        report.superblock_copies_behind = superblock_copies_behind;
        let (cluster, replica) = (format.cluster, format.replica);
        let mut checkpoints = Checkpoints::open(&disk, cluster, replica)?;
        // Where none are taken there is none to be read, whatever the superblock calls it.
        let taken = format.constants.takes_checkpoints();
        let named = taken.then_some(&state.checkpoint);
        let sessions = sessions_of(&mut checkpoints, &disk, named)?;
        let (is_checkpoint_damaged, sessions) = (sessions.is_none(), sessions.unwrap_or_default());
        let stored = Stored { superblock: state.clone(), slots, sessions, is_checkpoint_damaged };
        let store = Self {
            superblocks,
            log,
            format: format.clone(),
            state,
            fence,
            waiting: VecDeque::new(),
            open: Group::default(),
            spare: None,
            report,
            stopped: false,
            known,
            checkpoints,
            kept: 1,
            taken: None,
            scrubbing: Next::Records(OpNumber::ZERO),
            served: None,
            disk,
        };
        Ok((store, format, stored))
    }

    /// What opening noticed and mended.
    #[must_use]
    pub const fn opened(&self) -> &OpenReport {
        &self.report
    }

    /// What the store was formatted with.
    #[must_use]
    pub const fn format_of(&self) -> &Format {
        &self.format
    }

    /// The stores that the other replicas came with.
    #[must_use]
    pub fn known_stores(&self) -> KnownStores<D::File> {
        self.known.clone()
    }

    /// Takes a write. It is durable after the next [`Store::sync`] that succeeds, together with all
    /// that was given before. A superblock that says that the log begins later lets go of what came
    /// before: what is given after it may count on that room, and the disk has it once the
    /// superblock is durable.
    ///
    /// # Errors
    /// [`StoreError::LogFull`]: nothing of this write was taken. [`StoreError::Stopped`].
    ///
    /// # Panics
    /// If a superblock says that the log begins earlier than before, or beyond the checkpoint, or if an
    /// entry is one that was let go.
    pub fn write(&mut self, write: &WriteKind<Bytes>) -> Result<(), StoreError> {
        if self.stopped {
            return Err(StoreError::Stopped);
        }
        match write {
            WriteKind::Append(entries) => {
                if self.open.is_marked() {
                    // What is written anew may be all that showed why something is marked as damaged: the marks come first.
                    self.seal();
                }
                if !self.log.has_room(&self.open, entries) {
                    return Err(StoreError::LogFull);
                }
                for entry in entries {
                    if !self.log.takes(&self.open, entry) {
                        self.seal();
                    }
                    self.log.append(&mut self.open, entry);
                }
            }
            WriteKind::Superblock(state) => self.write_superblock(state),
            WriteKind::MarkFaulty(op) => self.mark_faulty(*op),
        }
        Ok(())
    }

    fn write_superblock(&mut self, state: &SuperblockState) {
        assert!(
            state.trimmed.op <= state.checkpoint.op(),
            "the log begins at the latest after what the checkpoint has"
        );
        self.seal();
        let trim = self.log.grant(state.trimmed.op);
        if let Some(Stage::Superblock(last, let_go)) = self.waiting.back_mut() {
            state.clone_into(last);
            *let_go = trim;
        } else {
            self.waiting.push_back(Stage::Superblock(Box::new(state.clone()), trim));
        }
    }

    /// Marks the record of an op as damaged: it is not read any more, and after the next
    /// [`Store::sync`] no crash makes it look as if it had never been there. A new record of the op
    /// ends that.
    pub fn mark_faulty(&mut self, op: OpNumber) {
        self.log.mark_faulty(&mut self.open, op);
    }

    /// Makes everything that was given durable: one write and one sync for each run of appends, one
    /// sync for each superblock between them. Nothing given means nothing done.
    ///
    /// # Errors
    /// [`StoreError::DiskFull`] keeps all that is not durable yet; sync again later. All others are fatal: stop the
    /// process, and never retry.
    pub fn sync(&mut self) -> Result<SyncReport, StoreError> {
        if self.stopped {
            return Err(StoreError::Stopped);
        }
        self.seal();
        let mut report = SyncReport::default();
        while let Some(stage) = self.waiting.front_mut() {
            let done = match stage {
                Stage::Log(group) => {
                    report.entries += group.records() as u64;
                    if self.fence.is_none() {
                        report.bytes += group.length() as u64;
                        report.syncs += 1;
                    }
                    self.log.flush(group)
                }
                Stage::Superblock(state, trim) => {
                    self.state.clone_from(state);
                    let (state, frontiers) = (&self.state, self.log.frontiers());
                    let content = match &mut self.fence {
                        None => Some(content(&self.format, state, frontiers, *trim)),
                        Some(fence) => {
                            let new = fence_of(state);
                            let news = *fence != new;
                            *fence = new;
                            news.then(|| content_of_fence(&self.format, fence))
                        }
                    };
                    let written = content.map_or(Ok(0), |content| {
                        report.syncs += 1;
                        self.superblocks.write(&content).map_err(StoreError::Failed)
                    });
                    if let Ok(bytes) = &written {
                        // Only now may anything be overwritten that the state before needs.
                        self.log.trim(*trim);
                        report.bytes += *bytes as u64;
                    }
                    written.map(drop)
                }
            };
            self.heed(done)?;
            match self.waiting.pop_front() {
                Some(Stage::Log(group)) => self.spare = Some(group),
                Some(Stage::Superblock(..)) => {
                    self.drop_older_checkpoints()?;
                    self.checkpoints.tell_again();
                }
                None => {}
            }
        }
        Ok(report)
    }

    /// The checkpoints that superblocks name which wait to be written.
    pub(crate) fn awaited_checkpoints(&self) -> impl Iterator<Item = Checksum> {
        self.waiting.iter().filter_map(|stage| match stage {
            Stage::Log(_) => None,
            Stage::Superblock(state, _) => Some(state.checkpoint.id),
        })
    }

    /// Whether [`Store::sync`] has something to do.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty() || !self.open.is_empty()
    }

    /// Does what can wait, one sync at a time: ring headers, the superblock copies left behind, space
    /// ahead. To be called about 5 ms after the last sync while nothing waits, and again as long as it
    /// answers true. Does nothing while something waits for [`Store::sync`].
    ///
    /// # Errors
    /// As [`Store::sync`].
    pub fn idle(&mut self) -> Result<bool, StoreError> {
        if self.stopped {
            return Err(StoreError::Stopped);
        }
        if self.is_waiting() {
            return Ok(false);
        }
        let retried = self.log.retry_space();
        self.heed(retried)?;
        let done = self.log.idle();
        let did = self.heed(done)?;
        if !did && self.superblocks.is_behind() {
            let (frontiers, trim) = (self.log.frontiers(), self.log.trimmed());
            let content = match &self.fence {
                None => content(&self.format, &self.state, frontiers, trim),
                Some(fence) => content_of_fence(&self.format, fence),
            };
            let done = self.superblocks.idle(&content).map_err(StoreError::Failed);
            self.heed(done)?;
        }
        Ok(self.log.is_behind() || self.superblocks.is_behind())
    }

    /// Reads entries from `first` to `last`, ascending: as many as about `max_bytes` of records hold,
    /// at least one. Ops whose records are damaged come back apart, ascending; tell the core, and
    /// [`Store::mark_faulty`] them when it says so. Ops that are not held, or trimmed, come back not at
    /// all.
    /// Every entry's checksums are verified. Operations share one buffer.
    #[must_use]
    pub fn read(
        &self,
        first: OpNumber,
        last: OpNumber,
        max_bytes: u64,
    ) -> (Vec<Entry<Bytes>>, Vec<OpNumber>) {
        self.log.read(first, last, max_bytes)
    }

    /// Whether no new operation should be promised: what is left of the log, or of the disk, is kept
    /// for what was promised before. Ends by itself when there is room; [`Store::idle`] looks.
    #[must_use]
    pub const fn is_nearly_full(&self) -> bool {
        self.log.is_nearly_full()
    }

    /// Puts the open group in line.
    fn seal(&mut self) {
        if self.open.is_empty() {
            return;
        }
        self.log.seal(&mut self.open);
        let next = self.spare.take().unwrap_or_default();
        let group = std::mem::replace(&mut self.open, next);
        self.waiting.push_back(Stage::Log(group));
    }

    pub(crate) const fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Whether the log is in memory.
    pub(crate) const fn is_in_memory(&self) -> bool {
        self.fence.is_some()
    }

    /// The checkpoint that the superblock on disk names.
    pub(crate) const fn named(&self) -> Checkpoint {
        self.state.checkpoint
    }

    pub(crate) fn heed_checkpoint<T>(
        &mut self,
        done: Result<T, CheckpointError>,
    ) -> Result<T, CheckpointError> {
        if let Err(error) = &done {
            self.stopped |= error.is_fatal();
        }
        done
    }

    fn heed<T>(&mut self, done: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &done {
            self.stopped = error.is_fatal();
        }
        done
    }
}

impl<D: Disk> std::fmt::Debug for Store<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("cluster", &self.format.cluster)
            .field("replica", &self.format.replica)
            .finish_non_exhaustive()
    }
}

fn content(format: &Format, state: &SuperblockState, frontiers: Frontiers, trim: Trim) -> Content {
    debug_assert_eq!(trim.op, state.trimmed.op);
    Content {
        format: format.clone(),
        state: state.clone(),
        frontiers,
        trim_position: trim.position,
    }
}

/// What of a state outlives the process where the log does not.
fn fence_of(state: &SuperblockState) -> SuperblockState {
    let SuperblockState { incarnation, epoch, view, trimmed, .. } = *state;
    let root = Header::root(trimmed.cluster);
    SuperblockState { incarnation, epoch, view, ..SuperblockState::formatted(root) }
}

fn content_of_fence(format: &Format, fence: &SuperblockState) -> Content {
    content(format, fence, Frontiers::default(), Trim::default())
}

/// Opens one of the store's files, telling an empty directory from a store that lost a part.
pub(crate) fn open_part<D: Disk>(disk: &D, name: &'static str) -> Result<D::File, OpenError> {
    match disk.open(name) {
        Err(DiskError::NotFound { .. }) => {
            let found = disk.list()?.into_iter().find(|found| {
                let part = found.strip_suffix(".new").unwrap_or(found);
                part == LOG || part == PEERS || part == SUPERBLOCK
            });
            Err(match found {
                Some(found) => OpenError::Incomplete { missing: name, found },
                None => OpenError::Empty,
            })
        }
        opened => Ok(opened?),
    }
}

pub(crate) fn open_superblocks<F: File>(
    file: F,
    copies: crate::superblock::Copies,
) -> Result<(Superblocks<F>, Content), OpenError> {
    let newer = copies.iter().find_map(|copy| match copy {
        Err(CopyError::Newer(found)) => Some(*found),
        Ok(_) | Err(_) => None,
    });
    if let Some(found) = newer {
        return Err(OpenError::Newer { file: SUPERBLOCK, found });
    }
    let answers: Vec<String> = copies
        .iter()
        .enumerate()
        .filter_map(|(copy, answer)| Some(format!("copy {copy}: {}", answer.as_ref().err()?)))
        .collect();
    Superblocks::open(file, copies)
        .ok_or_else(|| OpenError::Unreadable { copies: answers.join(", ") })
}

/// Whether the log's head is good; a damaged one can be mended, a foreign one is refused.
pub(crate) fn check_head<F: File>(
    file: &F,
    identity: &Identity,
    format: &Format,
) -> Result<bool, OpenError> {
    let mut head = vec![0; SECTOR as usize];
    read_whatever(file, 0, &mut head);
    match decode_head(&head, identity, &Geometry::new(&format.constants)) {
        Head::Good => Ok(true),
        Head::Damaged => Ok(false),
        Head::Newer(found) => Err(OpenError::Newer { file: LOG, found }),
        Head::Foreign { cluster, replica } => Err(OpenError::Foreign { cluster, replica }),
    }
}
