//! What can go wrong, sorted by who can mend it. Each message says what to do.

use std::io::ErrorKind;

use vsr_core::{Checksum, ConfigurationError};

use crate::codec::FORMAT_VERSION;
use crate::disk::DiskError;

/// Why a store was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is nothing of a store in the directory.
    #[error(
        "the data directory holds no store: run `vsr format` once, before the replica's first start"
    )]
    Empty,
    /// A store was here and its superblock cannot be read.
    #[error(
        "no copy of the superblock can be read ({copies}): keep the directory for analysis, and let the others go on; never format a directory again under this number: the replica would forget what it promised"
    )]
    Unreadable {
        /// What is wrong with each copy.
        copies: String,
    },
    /// The log holds what the superblock does not allow yet: a later superblock is lost.
    #[error(
        "the log goes on beyond what the superblock allows, so that the latest superblock is lost and with it what this replica promised: keep the directory for analysis, and let the others go on; never format a directory again under this number"
    )]
    SuperblockLost,
    /// A part of the store is missing.
    #[error(
        "the data directory lacks `{missing}` but holds `{found}`: if a format was interrupted here and the replica was never started, empty the directory and run `vsr format` again; otherwise keep it, and never format a directory again under this number: the replica would forget what it promised"
    )]
    Incomplete {
        /// The file that is not there.
        missing: &'static str,
        /// A file that is.
        found: String,
    },
    /// The store was written by a later version.
    #[error(
        "`{file}` has format version {found}, this program reads up to {FORMAT_VERSION}: use the version that wrote it, or a later one"
    )]
    Newer {
        /// The file.
        file: &'static str,
        /// Its format version.
        found: u32,
    },
    /// The log belongs to another cluster or replica than the superblock.
    #[error(
        "the log belongs to replica {replica} of cluster {cluster:032x}, the superblock to another: put the files back where they came from"
    )]
    Foreign {
        /// The cluster that the log names.
        cluster: u128,
        /// The replica that the log names.
        replica: u32,
    },
    /// A file of the checkpoints belongs to another cluster or replica.
    #[error(
        "`{file}` belongs to replica {replica} of cluster {cluster:032x}: put the file back where it came from"
    )]
    ForeignFile {
        /// The file.
        file: String,
        /// The cluster that it names.
        cluster: u128,
        /// The replica that it names.
        replica: u32,
    },
    /// The checkpoint that the superblock names cannot be read.
    #[error(
        "the checkpoint at op {op} cannot be read ({why}): keep the directory for analysis, and let the others go on; never format a directory again under this number"
    )]
    CheckpointLost {
        /// Its op.
        op: u64,
        /// What is wrong with it.
        why: String,
    },
    /// The log is in the memory of a process, and not to be looked at from outside.
    #[error("this replica keeps its log in memory: on disk is the superblock alone")]
    InMemory,
    /// The disk or the system refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl OpenError {
    /// The exit status of a process that stops for this.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Empty | Self::InMemory => exit::USAGE,
            Self::Unreadable { .. }
            | Self::SuperblockLost
            | Self::Incomplete { .. }
            | Self::CheckpointLost { .. } => exit::DAMAGED,
            Self::Newer { .. } => exit::VERSION,
            Self::Foreign { .. } | Self::ForeignFile { .. } => exit::IDENTITY,
            Self::Disk(error) => error.exit_status(),
        }
    }
}

/// Why a store was not formatted.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// There is something of a store already.
    #[error(
        "the data directory holds `{found}` already: a store is formatted once and never again; choose another directory"
    )]
    NotEmpty {
        /// A file that is there.
        found: String,
    },
    /// An address is too long.
    #[error("an address has at most {max} bytes, `{address}` has more: use a shorter name", max = crate::ADDRESS_BYTES_MAX)]
    AddressTooLong {
        /// The address.
        address: String,
    },
    /// Each member needs exactly one address.
    #[error(
        "the addresses do not match the members: give each member of the configuration exactly one"
    )]
    AddressesDoNotMatch,
    /// What the store would hold contradicts itself.
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
    /// The disk or the system refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl FormatError {
    /// The exit status of a process that stops for this.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::NotEmpty { .. }
            | Self::AddressTooLong { .. }
            | Self::AddressesDoNotMatch
            | Self::Configuration(_) => exit::USAGE,
            Self::Disk(error) => error.exit_status(),
        }
    }
}

/// Why a write was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The log has no room for this write, which was not taken. Older ones are unharmed. Not fatal:
    /// refuse new operations before it comes to this; see [`Store::is_nearly_full`](crate::Store).
    #[error("the log is full: it refuses new operations until a checkpoint makes room")]
    LogFull,
    /// The disk has no room. What waits still waits: sync again when there is space. Not fatal.
    #[error("the disk is full: make room, writing goes on by itself")]
    DiskFull,
    /// An older checkpoint could not be removed. Fatal, as any other failure of the disk.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A write or a sync failed. Fatal: what is durable is not known any more, so stop the process and
    /// never retry.
    #[error("storage failed: {0}; the replica stops, since nobody knows what of it is durable")]
    Failed(#[source] DiskError),
    /// The store failed before, and takes nothing any more. Fatal.
    #[error("storage failed before: the replica must stop")]
    Stopped,
}

impl StoreError {
    /// Whether the process must stop.
    #[must_use]
    pub const fn is_fatal(&self) -> bool {
        match self {
            Self::LogFull | Self::DiskFull => false,
            Self::Failed(_) | Self::Checkpoint(_) | Self::Stopped => true,
        }
    }

    /// The exit status of a process that stops for this.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        exit::STORAGE
    }
}

/// Why a checkpoint was not written, fetched, repaired or dropped.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Nothing was begun that this call could go on with. The caller's mistake.
    #[error("no checkpoint is being written or fetched: begin one first")]
    NotBegun,
    /// A chunk is too large. The caller's mistake.
    #[error("a chunk has {bytes} bytes and may have {max}: cut the state into smaller ones", max = vsr_core::CHUNK_BYTES_MAX)]
    ChunkTooLarge {
        /// How many bytes it has.
        bytes: usize,
    },
    /// A checkpoint has too many chunks. The caller's mistake.
    #[error("a checkpoint has at most {max} chunks: cut the state into larger ones", max = crate::CHUNKS_MAX)]
    TooManyChunks,
    /// Too many checkpoints are kept. The caller's mistake.
    #[error("there are {max} checkpoints already: retain those that are needed first", max = crate::CHECKPOINTS_MAX)]
    TooManyCheckpoints,
    /// The chunk is not here, or is damaged.
    #[error("chunk {digest:?} is not here: give its bytes")]
    UnknownChunk {
        /// Its digest.
        digest: Checksum,
    },
    /// The bytes are not what they should be: whoever gave them is wrong.
    #[error("these bytes are not chunk {digest:?}: get it from another replica")]
    WrongDigest {
        /// The digest of what was wanted.
        digest: Checksum,
    },
    /// The manifest is no good: whoever gave it is wrong, or newer.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// Not all chunks are here yet.
    #[error("{missing} chunks are missing: fetch them first")]
    Incomplete {
        /// How many.
        missing: usize,
    },
    /// The disk has no room. What was attempted was given up as a whole and can be tried again. Not
    /// fatal.
    #[error("the disk is full: make room, the checkpoint is tried again")]
    DiskFull,
    /// A write or a sync failed. Fatal: what is durable is not known any more, so stop the process and
    /// never retry.
    #[error("storage failed: {0}; the replica stops, since nobody knows what of it is durable")]
    Failed(#[source] DiskError),
    /// The checkpoints' storage failed before, and takes nothing any more. Fatal.
    #[error("storage failed before: the replica must stop")]
    Stopped,
}

impl CheckpointError {
    /// Tells a full disk from a broken one, for what is no sync.
    pub(crate) fn of_write(error: DiskError) -> Self {
        if error.is_full() { Self::DiskFull } else { Self::Failed(error) }
    }

    /// Whether the process must stop.
    #[must_use]
    pub const fn is_fatal(&self) -> bool {
        match self {
            Self::NotBegun
            | Self::ChunkTooLarge { .. }
            | Self::TooManyChunks
            | Self::TooManyCheckpoints
            | Self::UnknownChunk { .. }
            | Self::WrongDigest { .. }
            | Self::Manifest(_)
            | Self::Incomplete { .. }
            | Self::DiskFull => false,
            Self::Failed(_) | Self::Stopped => true,
        }
    }

    /// The exit status of a process that stops for this.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        exit::STORAGE
    }
}

/// Why a manifest that somebody gave is no good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// It is another one, or was damaged on its way.
    #[error("this is not the manifest of checkpoint {id:?}: get it from another replica")]
    Different {
        /// The checkpoint that was wanted.
        id: Checksum,
    },
    /// It was written by a later version.
    #[error(
        "the manifest has version {found}, this program reads up to {max}: update this replica",
        max = crate::MANIFEST_VERSION
    )]
    Newer {
        /// Its version.
        found: u32,
    },
    /// It is what was wanted and makes no sense, or is another cluster's.
    #[error(
        "the manifest is not understood: the replica that wrote it is of another cluster or wrong"
    )]
    Nonsense,
}

/// Why a chunk of a checkpoint was not read.
#[derive(Debug, thiserror::Error)]
pub enum ChunkError {
    /// There is no such checkpoint.
    #[error("there is no checkpoint {id:?}")]
    UnknownCheckpoint {
        /// The id that was asked for.
        id: Checksum,
    },
    /// The checkpoint has fewer chunks.
    #[error("the checkpoint has no chunk {index}")]
    NoSuchChunk {
        /// The index that was asked for.
        index: u32,
    },
    /// The chunk is damaged: fetch it from another replica and repair it.
    #[error("chunk {index} ({digest:?}) is damaged: fetch it from another replica")]
    Damaged {
        /// The chunk's place in the manifest.
        index: u32,
        /// Its digest.
        digest: Checksum,
    },
    /// The system refused. It says nothing of the chunk.
    #[error(transparent)]
    Disk(DiskError),
}

/// Why chunks are no encoded client-table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// It was written by a later version.
    #[error("the client-table has version {found}, this program reads up to {max}: update this replica", max = crate::TABLE_VERSION)]
    Newer {
        /// Its version.
        found: u32,
    },
    /// A chunk is not part of a client-table, or not of this one.
    #[error("chunk {chunk} of the client-table is not understood")]
    Nonsense {
        /// Its place among the chunks given.
        chunk: usize,
    },
    /// The last chunks are missing.
    #[error("the client-table is incomplete")]
    Incomplete,
}

impl DiskError {
    /// The exit status of a process that stops for this.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Locked { .. } => exit::IN_USE,
            Self::NotFound { .. } | Self::AlreadyExists { .. } => exit::USAGE,
            Self::Failed { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
                exit::USAGE
            }
            Self::Full { .. } | Self::Failed { .. } => exit::STORAGE,
        }
    }
}

/// Exit statuses of the command line that storage decides.
mod exit {
    pub(super) const USAGE: u8 = 2;
    pub(super) const IDENTITY: u8 = 5;
    pub(super) const DAMAGED: u8 = 6;
    pub(super) const VERSION: u8 = 7;
    pub(super) const STORAGE: u8 = 8;
    pub(super) const IN_USE: u8 = 9;
}
