//! Looking at a store offline: read-only, without the lock, also where it is damaged.

use bytes::Bytes;
use vsr_core::{Checksum, Durability, Entry, OpNumber, SessionState, StoredSlot, SuperblockState};

use crate::checkpoint::{CheckpointDamage, CheckpointInfo, Checkpoints, ChunkRef};
use crate::codec::Identity;
use crate::disk::Disk;
use crate::error::OpenError;
use crate::format::Format;
use crate::log::LOG;
use crate::log::verify::View;
use crate::peers::KnownStores;
use crate::store::{check_head, open_part, open_superblocks};
use crate::superblock::{COPIES, CopyError, SUPERBLOCK, Superblocks};
use crate::taking::sessions_of;

/// What one copy of the superblock holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuperblockCopy {
    /// Which of the four.
    pub copy: usize,
    /// Its generation, whose store it is and what it promises; or what is wrong with it.
    pub content: Result<(u64, Format, SuperblockState), CopyError>,
}

/// Reads the four copies of the superblock, whatever state they are in.
///
/// # Errors
/// [`OpenError::Empty`], [`OpenError::Incomplete`], or what the disk says.
pub fn superblock_copies<D: Disk>(disk: &D) -> Result<[SuperblockCopy; COPIES], OpenError> {
    let file = open_part(disk, SUPERBLOCK)?;
    let mut copies = Superblocks::read(&file).into_iter().enumerate();
    Ok(std::array::from_fn(|_| {
        let (copy, answer) = copies.next().expect("there are as many copies as copies");
        SuperblockCopy {
            copy,
            content: answer
                .map(|(generation, content)| (generation, content.format, content.state)),
        }
    }))
}

/// Something that is not as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A copy of the superblock cannot be read.
    SuperblockCopy {
        /// Which of the four.
        copy: usize,
        /// What is wrong with it.
        error: CopyError,
    },
    /// A copy of the superblock is older than others: a crash came before it could follow.
    SuperblockBehind {
        /// Which of the four.
        copy: usize,
    },
    /// Bytes of the superblock that nothing uses are not zero, as where a crash came before the last one, longer, was
    /// overwritten.
    SuperblockRemains {
        /// Behind which of the four copies.
        copy: usize,
    },
    /// Bytes behind the ring of headers that nothing uses are not zero.
    RingRemains,
    /// The head of the log is damaged. All it says is known from the superblock.
    LogHead,
    /// The ring header of an op is damaged. The op itself is lost only where its record is, too.
    RingHeader {
        /// The op whose slot it is.
        op: OpNumber,
    },
    /// The record of an op is damaged, or marked so.
    Record {
        /// The op.
        op: OpNumber,
        /// Where the record begins, counted over all laps of the records area.
        position: u64,
    },
    /// Something durable is damaged that may have been this op.
    Unreadable {
        /// The op.
        op: OpNumber,
    },
    /// What was written down of a peer's store is damaged, or was torn by a crash before anybody relied on
    /// it. It is learned anew when the peer comes.
    Peer {
        /// Which sector of the file.
        sector: usize,
    },
    /// Bytes that were durable and that nothing accounts for.
    Unaccounted {
        /// Where they begin, counted over all laps of the records area.
        position: u64,
        /// How many there are.
        length: u64,
    },
    /// Something that a checkpoint needs is damaged.
    Checkpoint(CheckpointDamage),
    /// Neither copy of a checkpoint's manifest can be read.
    LostCheckpoint {
        /// Its op.
        op: OpNumber,
        /// Its id.
        id: Checksum,
    },
    /// The checkpoint that the superblock names is not there.
    NoCheckpoint {
        /// Its op.
        op: OpNumber,
        /// Its id.
        id: Checksum,
    },
    /// What a crash left of a write that was never acknowledged.
    TornRemains {
        /// Where it begins, counted over all laps of the records area.
        position: u64,
        /// How many bytes.
        length: u64,
    },
}

impl Finding {
    /// Whether this is damage, rather than what a crash leaves behind.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        match self {
            Self::SuperblockBehind { .. }
            | Self::SuperblockRemains { .. }
            | Self::TornRemains { .. } => false,
            Self::SuperblockCopy { .. }
            | Self::RingRemains
            | Self::LogHead
            | Self::RingHeader { .. }
            | Self::Record { .. }
            | Self::Unreadable { .. }
            | Self::Peer { .. }
            | Self::Checkpoint(_)
            | Self::LostCheckpoint { .. }
            | Self::NoCheckpoint { .. }
            | Self::Unaccounted { .. } => true,
        }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::SuperblockCopy { copy, error } => write!(f, "superblock copy {copy}: {error}"),
            Self::SuperblockBehind { copy } => write!(f, "superblock copy {copy}: behind"),
            Self::SuperblockRemains { copy } => {
                write!(f, "superblock copy {copy}: bytes behind it that nothing uses are not zero")
            }
            Self::RingRemains => {
                f.write_str("log: bytes behind the ring that nothing uses are not zero")
            }
            Self::LogHead => f.write_str("log head: damaged"),
            Self::RingHeader { op } => write!(f, "op {op}: ring header damaged"),
            Self::Record { op, position } => {
                write!(f, "op {op}: record damaged (position {position})")
            }
            Self::Unreadable { op } => {
                write!(f, "op {op}: damaged beyond telling what it was")
            }
            Self::Peer { sector } => {
                write!(f, "peers, sector {sector}: damaged, and learned anew when the peer comes")
            }
            Self::Checkpoint(CheckpointDamage::Manifest { op, copy, .. }) => {
                write!(
                    f,
                    "checkpoint at op {op}: copy {copy} of its manifest damaged, and mended by the next start"
                )
            }
            Self::Checkpoint(CheckpointDamage::PackHead { pack }) => {
                write!(f, "pack {pack}: head damaged, and mended by the next start")
            }
            Self::Checkpoint(CheckpointDamage::Chunk { id, index, chunk }) => {
                let digest = chunk.digest;
                write!(f, "checkpoint {id:?}: chunk {index} damaged (digest {digest:?})")
            }
            Self::LostCheckpoint { op, id } => {
                write!(f, "checkpoint at op {op}: both copies of its manifest damaged ({id:?})")
            }
            Self::NoCheckpoint { op, id } => {
                write!(f, "checkpoint at op {op}: it is not there ({id:?})")
            }
            Self::Unaccounted { position, length } => {
                write!(f, "position {position}: {length} bytes that were durable are damaged")
            }
            Self::TornRemains { position, length } => write!(
                f,
                "position {position}: {length} bytes left of a write that was never acknowledged"
            ),
        }
    }
}

/// What one slot of the log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotReport {
    /// The op.
    pub op: OpNumber,
    /// What a replica that started now would be told.
    pub slot: StoredSlot,
    /// Whether the ring of headers has it; if not, a replica that starts writes it.
    pub in_ring: bool,
    /// Whether a later record shows that this op's was durable, whatever becomes of it.
    pub proven: bool,
    /// Where in the log file its slot of that ring begins, and how many bytes that has.
    pub ring: (u64, u32),
    /// Where in the log file its record begins, and how many bytes it has with padding: from the end of
    /// the file it goes on where the records begin.
    pub record: Option<(u64, u32)>,
}

/// The checkpoints of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundCheckpoints {
    /// Those that are whole but for damaged chunks, ascending by op.
    pub whole: Vec<CheckpointInfo>,
    /// Op and id of those of which neither copy of the manifest can be read.
    pub unreadable: Vec<(OpNumber, Checksum)>,
}

/// Where a chunk of a checkpoint lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkPlace {
    /// What it is.
    pub chunk: ChunkRef,
    /// The file.
    pub file: String,
    /// Where in it its bytes begin.
    pub offset: u64,
}

/// A store that is only looked at. Made for a store that nobody writes; beside a running replica
/// it sees some moment between two writes, or none.
pub struct Inspection<D: Disk> {
    copies: [SuperblockCopy; COPIES],
    superblock_remains: [bool; COPIES],
    format: Format,
    state: SuperblockState,
    head_is_good: bool,
    damaged_peers: Vec<usize>,
    view: View<D::File>,
}

impl<D: Disk> Inspection<D> {
    /// Reads superblock and ring of headers.
    ///
    /// # Errors
    /// [`OpenError::InMemory`] where there is no log to look at, and else as
    /// [`Store::open`](crate::Store::open); where no copy of the superblock is good,
    /// [`superblock_copies`] still shows what is there.
    pub fn open(disk: &D) -> Result<Self, OpenError> {
        let copies = superblock_copies(disk)?;
        let file = open_part(disk, SUPERBLOCK)?;
        let superblock_remains = Superblocks::remains(&file);
        let read = Superblocks::read(&file);
        let (_, content) = open_superblocks(file, read)?;
        let recorded = content.recorded();
        let (format, state) = (content.format, content.state);
        let identity = Identity::new(format.cluster, format.replica);
        let damaged_peers = KnownStores::open(disk, &format)?.damaged();
        if format.constants.durability == Durability::Memory {
            return Err(OpenError::InMemory);
        }
        let log = open_part(disk, LOG)?;
        let head_is_good = check_head(&log, &identity, &format)?;
        let view = View::open(log, identity, &format.constants, &recorded)?;
        Ok(Self { copies, superblock_remains, format, state, head_is_good, damaged_peers, view })
    }

    /// What the store was formatted with.
    #[must_use]
    pub const fn format(&self) -> &Format {
        &self.format
    }

    /// What the latest good superblock promises.
    #[must_use]
    pub const fn state(&self) -> &SuperblockState {
        &self.state
    }

    /// The four copies of the superblock.
    #[must_use]
    pub const fn superblock(&self) -> &[SuperblockCopy; COPIES] {
        &self.copies
    }

    /// The first op that the log may hold: the one after the trimmed ones.
    #[must_use]
    pub const fn first_op(&self) -> OpNumber {
        self.state.trimmed.op.next()
    }

    /// The highest op of which there is anything; where there is nothing, the trimmed one.
    #[must_use]
    pub const fn last_op(&self) -> OpNumber {
        OpNumber(self.state.trimmed.op.0 + self.view.slots.len() as u64)
    }

    /// What the slots from `first` to `last` hold, ascending; those of trimmed ops hold nothing and
    /// are left out.
    pub fn slots(&self, first: OpNumber, last: OpNumber) -> impl Iterator<Item = SlotReport> + '_ {
        let begin = self.first_op();
        let (first, last) = (first.max(begin), last.min(self.last_op()));
        (first.0..=last.0).map(OpNumber).map(move |op| SlotReport {
            op,
            slot: self.view.slots[(op.0 - begin.0) as usize],
            in_ring: self.view.has_ring_header(op),
            proven: self.view.is_proven(op),
            ring: self.view.ring_range(op),
            record: self.view.record_range(op),
        })
    }

    /// The entry of an op, if its record is there and all checksums hold.
    #[must_use]
    pub fn entry(&self, op: OpNumber) -> Option<Entry<Bytes>> {
        self.view.log.read(op, op, 1).0.pop()
    }

    /// The checkpoints that are there, ascending by op, and those of which neither copy of the manifest can be
    /// read.
    ///
    /// # Errors
    /// A checkpoint is of another store or a later version, or the disk fails.
    pub fn checkpoints(&self, disk: &D) -> Result<FoundCheckpoints, OpenError> {
        let checkpoints = self.look(disk)?;
        let whole = checkpoints.iter().copied().collect();
        Ok(FoundCheckpoints { whole, unreadable: checkpoints.unreadable().to_vec() })
    }

    /// The sessions of the checkpoint that the superblock names, by slot; none before the first checkpoint.
    ///
    /// # Errors
    /// As [`Inspection::checkpoints`]; [`OpenError::CheckpointLost`].
    pub fn sessions(&self, disk: &D) -> Result<Vec<(u32, SessionState<Bytes>)>, OpenError> {
        let named = &self.state.checkpoint;
        sessions_of(&mut self.look(disk)?, disk, Some(named))?.ok_or_else(|| {
            OpenError::CheckpointLost { op: named.op().0, why: "a part of it is damaged".into() }
        })
    }

    /// Where the chunks of a checkpoint lie, in the manifest's order; nothing where there is no such checkpoint.
    ///
    /// # Errors
    /// As [`Inspection::checkpoints`].
    pub fn chunks(&self, disk: &D, id: Checksum) -> Result<Vec<ChunkPlace>, OpenError> {
        Ok(self.look(disk)?.chunk_places(id))
    }

    fn look(&self, disk: &D) -> Result<Checkpoints<D>, OpenError> {
        Checkpoints::look(disk, Identity::new(self.format.cluster, self.format.replica))
    }

    /// Reads every byte that matters and hands out what is not as it should be, as it is found. Takes as long as
    /// it takes to read log and checkpoints.
    ///
    /// # Errors
    /// A checkpoint is of another store or a later version, or the disk fails.
    pub fn verify(&self, disk: &D, mut found: impl FnMut(Finding)) -> Result<(), OpenError> {
        let latest = self.copies.iter().filter_map(generation).max();
        for copy in &self.copies {
            match &copy.content {
                Err(error) => found(Finding::SuperblockCopy { copy: copy.copy, error: *error }),
                Ok(_) if generation(copy) < latest => {
                    found(Finding::SuperblockBehind { copy: copy.copy });
                }
                Ok(_) => {}
            }
        }
        for (copy, remains) in self.superblock_remains.iter().enumerate() {
            if *remains {
                found(Finding::SuperblockRemains { copy });
            }
        }
        if !self.head_is_good {
            found(Finding::LogHead);
        }
        for sector in &self.damaged_peers {
            found(Finding::Peer { sector: *sector });
        }
        self.view.verify(&mut found);
        self.verify_checkpoints(disk, &mut found)
    }

    fn verify_checkpoints(
        &self,
        disk: &D,
        found: &mut impl FnMut(Finding),
    ) -> Result<(), OpenError> {
        let mut checkpoints = self.look(disk)?;
        let named = &self.state.checkpoint;
        let (op, id) = (named.op(), named.id);
        let lost = checkpoints.unreadable().contains(&(op, id));
        if op > OpNumber::ZERO && checkpoints.manifest(id).is_none() && !lost {
            found(Finding::NoCheckpoint { op, id });
        }
        for (op, id) in checkpoints.unreadable() {
            found(Finding::LostCheckpoint { op: *op, id: *id });
        }
        checkpoints.verify(disk)?.into_iter().map(Finding::Checkpoint).for_each(found);
        Ok(())
    }
}

fn generation(copy: &SuperblockCopy) -> Option<u64> {
    copy.content.as_ref().ok().map(|content| content.0)
}
