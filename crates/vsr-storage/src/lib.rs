//! Everything that a replica keeps on disk: the superblock and the log.
//!
//! Synchronous, without a runtime, over a small [`Disk`] trait: [`FileDisk`] is the real disk, [`SimDisk`]
//! one that crashes, tears, loses and flips as a seed says, for simulators and tests. The store
//! runs the same code on both.
#![forbid(unsafe_code)]

mod codec;
mod disk;
mod error;
mod format;
mod inspect;
mod log;
mod store;
mod superblock;

pub use codec::FORMAT_VERSION;
pub use disk::{Disk, DiskError, DiskFile, File, FileDisk, PowerCut, SECTOR, SimDisk, SimDiskFile};
pub use error::{FormatError, OpenError, StoreError};
pub use format::Format;
pub use inspect::{Finding, Inspection, SlotReport, SuperblockCopy, superblock_copies};
pub use store::{OpenReport, Store, SyncReport};
pub use superblock::{ADDRESS_BYTES_MAX, CopyError};
