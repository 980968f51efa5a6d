//! Everything that a replica keeps on disk: the superblock, the log and the checkpoints.
//!
//! Synchronous, without a runtime, over a small [`Disk`] trait: [`FileDisk`] is the real disk, [`SimDisk`]
//! one that crashes, tears, loses and flips as a seed says, for simulators and tests. The store
//! runs the same code on both.
#![forbid(unsafe_code)]

mod checkpoint;
mod codec;
mod disk;
mod error;
#[cfg(feature = "failpoints")]
pub mod failpoint;
mod format;
mod inspect;
mod log;
mod peers;
mod scrub;
mod store;
mod superblock;
mod taking;
mod transfer;

pub use checkpoint::{
    CHECKPOINTS_MAX, CHUNKS_MAX, CheckpointDamage, CheckpointInfo, Checkpoints, CheckpointsReport,
    ChunkRef, MANIFEST_BYTES_MAX, MANIFEST_VERSION, Manifest, MissingChunk, Progress, SESSIONS_MAX,
    Section, TABLE_VERSION, decode_sessions, encode_sessions,
};
pub use codec::FORMAT_VERSION;
pub use disk::{
    CrashPoint, Disk, DiskError, DiskFile, File, FileDisk, PowerCut, SECTOR, SimDisk, SimDiskFile,
    Step, UnknownCrashPoint,
};
pub use error::{
    CheckpointError, ChunkError, FormatError, ManifestError, OpenError, StoreError, TableError,
};
pub use format::Format;
pub use inspect::{
    ChunkPlace, Finding, FoundCheckpoints, Inspection, SlotReport, SuperblockCopy,
    superblock_copies,
};
pub use peers::{Acquaintance, KnownStores, STARTS_TOLD, Start};
pub use scrub::Scrubbed;
pub use store::{OpenReport, Store, SyncReport};
pub use superblock::{ADDRESS_BYTES_MAX, CopyError};
pub use taking::CHECKPOINTS_KEPT_MAX;
