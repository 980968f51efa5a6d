//! Where the parts of a store are that need not outlive the process: on its disk, or in memory.

use super::memory::{MemoryDisk, MemoryFile};
use super::{Disk, DiskError, File};

/// A store's disk. Its log and checkpoints may be in memory instead; what is opened after that was decided
/// is there.
pub(crate) struct Parts<D> {
    disk: D,
    memory: Option<MemoryDisk>,
}

impl<D: Disk> Parts<D> {
    /// All on the disk.
    pub(crate) const fn on(disk: D) -> Self {
        Self { disk, memory: None }
    }

    /// The disk, and an empty memory for all else.
    pub(crate) fn in_memory(disk: D) -> Self {
        Self { disk, memory: Some(MemoryDisk::default()) }
    }
}

/// A file of [`Parts`].
pub(crate) enum PartFile<F> {
    Disk(F),
    Memory(MemoryFile),
}

impl<D: Disk> Disk for Parts<D> {
    type File = PartFile<D::File>;

    fn open(&self, name: &str) -> Result<Self::File, DiskError> {
        match &self.memory {
            None => self.disk.open(name).map(PartFile::Disk),
            Some(memory) => memory.open(name).map(PartFile::Memory),
        }
    }

    fn create(&self, name: &str) -> Result<Self::File, DiskError> {
        match &self.memory {
            None => self.disk.create(name).map(PartFile::Disk),
            Some(memory) => memory.create(name).map(PartFile::Memory),
        }
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        match &self.memory {
            None => self.disk.rename(from, to),
            Some(memory) => memory.rename(from, to),
        }
    }

    fn remove(&self, name: &str) -> Result<(), DiskError> {
        match &self.memory {
            None => self.disk.remove(name),
            Some(memory) => memory.remove(name),
        }
    }

    fn list(&self) -> Result<Vec<String>, DiskError> {
        match &self.memory {
            None => self.disk.list(),
            Some(memory) => memory.list(),
        }
    }

    fn sync_directory(&self) -> Result<(), DiskError> {
        match &self.memory {
            None => self.disk.sync_directory(),
            Some(memory) => memory.sync_directory(),
        }
    }
}

impl<F: File> File for PartFile<F> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        match self {
            Self::Disk(file) => file.read_at(offset, buffer),
            Self::Memory(file) => file.read_at(offset, buffer),
        }
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        match self {
            Self::Disk(file) => file.write_at(offset, bytes),
            Self::Memory(file) => file.write_at(offset, bytes),
        }
    }

    fn allocate(&self, from: u64, to: u64) -> Result<(), DiskError> {
        match self {
            Self::Disk(file) => file.allocate(from, to),
            Self::Memory(file) => file.allocate(from, to),
        }
    }

    fn set_length(&self, length: u64) -> Result<(), DiskError> {
        match self {
            Self::Disk(file) => file.set_length(length),
            Self::Memory(file) => file.set_length(length),
        }
    }

    fn length(&self) -> Result<u64, DiskError> {
        match self {
            Self::Disk(file) => file.length(),
            Self::Memory(file) => file.length(),
        }
    }

    fn sync(&self) -> Result<(), DiskError> {
        match self {
            Self::Disk(file) => file.sync(),
            Self::Memory(file) => file.sync(),
        }
    }

    fn next_data(&self, offset: u64) -> u64 {
        match self {
            Self::Disk(file) => file.next_data(offset),
            Self::Memory(file) => file.next_data(offset),
        }
    }

    fn forget_cached(&self, offset: u64) {
        match self {
            Self::Disk(file) => file.forget_cached(offset),
            Self::Memory(file) => file.forget_cached(offset),
        }
    }

    fn discard(&self, from: u64, to: u64) {
        match self {
            Self::Disk(file) => file.discard(from, to),
            Self::Memory(file) => file.discard(from, to),
        }
    }
}
