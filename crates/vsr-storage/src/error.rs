//! What can go wrong, sorted by who can mend it. Each message says what to do.

use std::io::ErrorKind;

use vsr_core::ConfigurationError;

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
    /// The disk or the system refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl OpenError {
    /// The exit status of a process that stops for this.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Empty => exit::USAGE,
            Self::Unreadable { .. } | Self::SuperblockLost | Self::Incomplete { .. } => {
                exit::DAMAGED
            }
            Self::Newer { .. } => exit::VERSION,
            Self::Foreign { .. } => exit::IDENTITY,
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
            Self::Failed(_) | Self::Stopped => true,
        }
    }

    /// The exit status of a process that stops for this.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        exit::STORAGE
    }
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
