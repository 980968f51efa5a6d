//! The disk as the store sees it: one flat directory of named files.
//!
//! [`FileDisk`] is the real one, [`SimDisk`] one that loses, tears, flips and misdirects as a
//! seed says. The store runs the same code on both.

mod crash_point;
mod dice;
mod file;
mod memory;
mod parts;
mod sim;
mod sim_file;

pub use crash_point::{CrashPoint, Step, UnknownCrashPoint};
pub use file::{DiskFile, FileDisk};
pub(crate) use parts::{PartFile, Parts};
pub use sim::{PowerCut, SimDisk, SimDiskFile};

use std::io;

/// The largest sector in use. A write that is cut off by a power loss may spoil each sector that it
/// touches, but no other: what must not be spoiled together never shares one.
pub const SECTOR: u64 = 4096;

/// `position` rounded up to a whole sector.
pub(crate) const fn align_up(position: u64) -> u64 {
    position.div_ceil(SECTOR) * SECTOR
}

/// A directory of files, used by one store.
pub trait Disk: Send {
    /// An open file.
    type File: File;

    /// Opens a file that exists.
    ///
    /// # Errors
    /// [`DiskError::NotFound`], or whatever the system says.
    fn open(&self, name: &str) -> Result<Self::File, DiskError>;

    /// Creates an empty file. It survives a power loss once it and the directory are synced.
    ///
    /// # Errors
    /// [`DiskError::AlreadyExists`], or whatever the system says.
    fn create(&self, name: &str) -> Result<Self::File, DiskError>;

    /// Renames a file, atomically, replacing what has the new name.
    ///
    /// # Errors
    /// [`DiskError::NotFound`], or whatever the system says.
    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError>;

    /// Removes a file.
    ///
    /// # Errors
    /// [`DiskError::NotFound`], or whatever the system says.
    fn remove(&self, name: &str) -> Result<(), DiskError>;

    /// The names of all files but the lock, sorted.
    ///
    /// # Errors
    /// Whatever the system says.
    fn list(&self) -> Result<Vec<String>, DiskError>;

    /// Makes the names of files durable.
    ///
    /// # Errors
    /// Whatever the system says. Fatal: never retry.
    fn sync_directory(&self) -> Result<(), DiskError>;
}

/// An open file.
pub trait File: Send {
    /// Fills `buffer` from `offset` on. Returns how many bytes there were: fewer than asked for
    /// only at the end of the file.
    ///
    /// # Errors
    /// [`DiskError::Failed`] where the medium does not give the bytes.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError>;

    /// Writes all of `bytes`. They are durable after [`File::sync`].
    ///
    /// # Errors
    /// [`DiskError::Full`] or [`DiskError::Failed`].
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError>;

    /// Writes zeros from `from` to `to`, so that later writes there need no new space and their
    /// sync no change of the file's metadata.
    ///
    /// # Errors
    /// [`DiskError::Full`] or [`DiskError::Failed`].
    fn allocate(&self, from: u64, to: u64) -> Result<(), DiskError>;

    /// Makes the file so long; new bytes read as zeros and take no space yet.
    ///
    /// # Errors
    /// Whatever the system says.
    fn set_length(&self, length: u64) -> Result<(), DiskError>;

    /// The file's length in bytes.
    ///
    /// # Errors
    /// Whatever the system says.
    fn length(&self) -> Result<u64, DiskError>;

    /// Makes everything written so far durable.
    ///
    /// # Errors
    /// Whatever the system says. Fatal: pages may be gone, never retry.
    fn sync(&self) -> Result<(), DiskError>;

    /// Where, at or after `offset`, the next bytes begin that may be other than zeros; the largest
    /// number where there are none. A disk that does not know answers `offset`.
    fn next_data(&self, offset: u64) -> u64;

    /// Asks the system to forget its copies of the bytes from `offset` on, so that they are read
    /// from the medium: after a failed sync of a former process the copies may differ from it.
    fn forget_cached(&self, offset: u64);

    /// Nobody reads these bytes again before they are written: a file in memory may let go of them. A
    /// file on a disk keeps its space.
    fn discard(&self, from: u64, to: u64) {
        let _ = (from, to);
    }
}

/// What a disk answers when it cannot.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// There is no such file.
    #[error("there is no file `{name}`")]
    NotFound {
        /// The file.
        name: String,
    },
    /// There is such a file already.
    #[error("there is a file `{name}` already")]
    AlreadyExists {
        /// The file.
        name: String,
    },
    /// Another process uses the directory.
    #[error(
        "the data directory {directory} is in use by another process: stop that one, or give each replica its own directory"
    )]
    Locked {
        /// The directory.
        directory: String,
    },
    /// No space is left.
    #[error("no space left to {what} `{name}`: make room on this disk")]
    Full {
        /// What was tried.
        what: &'static str,
        /// The file.
        name: String,
    },
    /// The system refused, or the medium failed.
    #[error("cannot {what} `{name}`: {source}")]
    Failed {
        /// What was tried.
        what: &'static str,
        /// The file or directory.
        name: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl DiskError {
    /// Sorts a system's error, telling a full disk from a broken one.
    pub(crate) fn from_io(what: &'static str, name: &str, source: io::Error) -> Self {
        let name = name.to_owned();
        let kind = source.kind();
        if kind == io::ErrorKind::NotFound {
            Self::NotFound { name }
        } else if kind == io::ErrorKind::AlreadyExists {
            Self::AlreadyExists { name }
        } else if kind == io::ErrorKind::StorageFull || kind == io::ErrorKind::QuotaExceeded {
            Self::Full { what, name }
        } else {
            Self::Failed { what, name, source }
        }
    }

    /// Whether space is what lacks.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }
}

/// Creates a file with content so that, whenever the power fails, it is there whole or not at all:
/// written under a temporary name, synced, renamed, directory synced. The way in which a store
/// makes files to which others refer; packs of chunks, to which nothing refers yet, need it not.
pub(crate) fn create_whole<D: Disk>(
    disk: &D,
    name: &str,
    fill: impl FnOnce(&D::File) -> Result<(), DiskError>,
) -> Result<(), DiskError> {
    let unfinished = unfinished_name(name);
    let file = disk.create(&unfinished)?;
    fill(&file)?;
    file.sync()?;
    disk.rename(&unfinished, name)?;
    disk.sync_directory()
}

/// The name of a file that is not whole yet.
pub(crate) fn unfinished_name(name: &str) -> String {
    format!("{name}.new")
}

/// Reads `buffer.len()` bytes; what lies beyond the file's end reads as zeros, and sectors that the
/// medium does not give are filled with bytes that no checksum accepts. Returns whether all
/// sectors could be read.
pub(crate) fn read_whatever<F: File>(file: &F, offset: u64, buffer: &mut [u8]) -> bool {
    if let Ok(length) = file.read_at(offset, buffer) {
        buffer[length..].fill(0);
        return true;
    }
    let mut start = 0;
    while start < buffer.len() {
        let at = offset + start as u64;
        let piece = (SECTOR - at % SECTOR) as usize;
        let end = buffer.len().min(start + piece);
        match file.read_at(at, &mut buffer[start..end]) {
            Ok(length) => buffer[start + length..end].fill(0),
            Err(_) => buffer[start..end].fill(UNREADABLE_BYTE),
        }
        start = end;
    }
    false
}

/// Stands for bytes that could not be read.
const UNREADABLE_BYTE: u8 = 0xdb;
