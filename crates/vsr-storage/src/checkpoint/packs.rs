//! All packs together: which chunk lies where, and the one door by which chunks are added.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use vsr_core::Checksum;

use super::layout::remove_if_there;
use super::manifest::ChunkRef;
use super::pack::{
    Location, PACK_HEAD_BYTES, RECORD_HEAD_BYTES, encode_head, encode_record, pack_name,
    read_record, record_bytes,
};
use crate::codec::Identity;
use crate::disk::{Disk, DiskError, File, align_up};
use crate::error::CheckpointError;

/// How large packs become, and how much is written between syncs. Smaller in tests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// A pack with so many bytes gets no more chunks: what is removed as a whole, and what is
    /// copied when most of it is dead, stays small beside a large state.
    pub(super) pack_bytes: u64,
    /// A sync follows so many bytes, so that none takes long: the log's syncs wait behind it.
    pub(super) sync_bytes: u64,
}

impl Limits {
    pub(super) const DEFAULT: Self = Self { pack_bytes: 64 << 20, sync_bytes: 8 << 20 };
}

/// What is known of the packs.
pub(super) struct Packs {
    pub(super) identity: Identity,
    pub(super) limits: Limits,
    /// Sizes of all packs but those that are being written.
    sizes: BTreeMap<u32, Size>,
    /// The number of the next pack.
    next: u32,
    /// Where each chunk lies that is durable, and its length. Of several places the latest.
    index: BTreeMap<Checksum, (Location, u32)>,
    /// Records that were read and found damaged.
    damaged: BTreeSet<Location>,
    /// There may be damage of which nobody was told.
    pub(super) untold: bool,
    /// Chunks of which the last good place was found damaged, until somebody asks.
    pub(super) lost: Vec<Checksum>,
}

/// How large a pack is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    /// Bytes of the pack, its head not counted.
    pub(super) bytes: u64,
    /// Bytes of its records as far as they are known, what fills up sectors not counted.
    pub(super) records: u64,
}

/// Why a chunk was not read.
pub(super) enum Unread {
    Damaged,
    Disk(DiskError),
}

impl Packs {
    pub(super) const fn new(identity: Identity, limits: Limits) -> Self {
        Self {
            identity,
            limits,
            sizes: BTreeMap::new(),
            next: 0,
            index: BTreeMap::new(),
            damaged: BTreeSet::new(),
            untold: true,
            lost: Vec::new(),
        }
    }

    /// Takes packs over whose chunks are durable.
    pub(super) fn adopt(&mut self, made: &BTreeMap<u32, Size>) {
        for (&number, &size) in made {
            self.sizes.insert(number, size);
            self.next = self.next.max(number.saturating_add(1));
        }
    }

    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> {
        self.sizes.keys().copied()
    }

    /// How large a pack is; nothing where there is no such pack.
    pub(super) fn size(&self, number: u32) -> Size {
        self.sizes.get(&number).copied().unwrap_or_default()
    }

    /// Where a chunk lies that is durable and, as far as is known, whole; and its length.
    pub(super) fn find(&self, digest: Checksum) -> Option<(Location, u32)> {
        self.index.get(&digest).copied()
    }

    /// Says where a chunk lies. Nothing is said of places that are known to be no good.
    pub(super) fn add(&mut self, chunk: ChunkRef, at: Location) {
        if !self.is_damaged(at) {
            self.index.insert(chunk.digest, (at, chunk.length));
        }
    }

    /// As [`Packs::add`], where no place of the chunk is known.
    pub(super) fn add_unless_known(&mut self, chunk: ChunkRef, at: Location) {
        if !self.index.contains_key(&chunk.digest) {
            self.add(chunk, at);
        }
    }

    /// Whether nothing good is at a place.
    pub(super) fn is_damaged(&self, at: Location) -> bool {
        self.damaged.contains(&at) || !self.sizes.contains_key(&at.pack)
    }

    /// Reads a chunk at a place and verifies it; a damaged one is remembered.
    pub(super) fn read<D: Disk>(
        &mut self,
        disk: &D,
        chunk: &ChunkRef,
        at: Location,
    ) -> Result<Bytes, Unread> {
        let record = match disk.open(&pack_name(at.pack)) {
            Ok(file) => read_record(&file, &self.identity, at, chunk),
            Err(DiskError::NotFound { .. }) => None,
            Err(error) => return Err(Unread::Disk(error)),
        };
        let Some(record) = record else {
            self.untold |= self.damaged.insert(at);
            if self.find(chunk.digest).is_some_and(|(latest, _)| latest == at) {
                self.index.remove(&chunk.digest);
                self.lost.push(chunk.digest);
            }
            return Err(Unread::Damaged);
        };
        Ok(Bytes::from(record).slice(RECORD_HEAD_BYTES..))
    }

    /// Removes all packs that are not needed.
    pub(super) fn keep<D: Disk>(
        &mut self,
        disk: &D,
        needed: &BTreeSet<u32>,
    ) -> Result<(), DiskError> {
        for number in self.sizes.keys().filter(|number| !needed.contains(number)) {
            remove_if_there(disk, &pack_name(*number))?;
        }
        self.sizes.retain(|number, _| needed.contains(number));
        self.damaged.retain(|at| needed.contains(&at.pack));
        self.index.retain(|_, (at, _)| needed.contains(&at.pack));
        Ok(())
    }
}

/// Adds chunks to packs of its own, one after the other.
pub(super) struct Appender<F> {
    open: Option<OpenPack<F>>,
    made: BTreeMap<u32, Size>,
    buffer: Vec<u8>,
}

struct OpenPack<F> {
    file: F,
    number: u32,
    /// Where the next record begins.
    end: u64,
    /// Everything before is durable.
    synced: u64,
    /// Whether the pack's name is durable.
    named: bool,
}

impl<F: File> Appender<F> {
    pub(super) const fn new() -> Self {
        Self { open: None, made: BTreeMap::new(), buffer: Vec::new() }
    }

    /// The packs it made.
    pub(super) const fn made(&self) -> &BTreeMap<u32, Size> {
        &self.made
    }

    /// How large they are together.
    pub(super) fn size(&self) -> Size {
        self.made.values().fold(Size::default(), |sum, size| Size {
            bytes: sum.bytes + size.bytes,
            records: sum.records + size.records,
        })
    }

    /// The pack that is not full yet.
    pub(super) fn growing(&self) -> Option<u32> {
        self.open.as_ref().map(|pack| pack.number)
    }

    /// Writes a chunk. It is durable after [`Appender::sync`]. On a full disk nothing of it is
    /// taken.
    pub(super) fn append<D: Disk<File = F>>(
        &mut self,
        disk: &D,
        packs: &mut Packs,
        digest: Checksum,
        bytes: &[u8],
    ) -> Result<Location, CheckpointError> {
        let pack = match &mut self.open {
            Some(pack) => pack,
            none => none.insert(create_pack(disk, packs)?),
        };
        let size = self.made.entry(pack.number).or_default();
        let at = Location { pack: pack.number, position: pack.end as u32 };
        let synced = pack.synced as u32;
        encode_record(&packs.identity, at, synced, (digest, bytes), &mut self.buffer);
        pack.file.write_at(pack.end, &self.buffer).map_err(CheckpointError::of_write)?;
        pack.end += record_bytes(bytes.len() as u32);
        size.bytes = pack.end - PACK_HEAD_BYTES;
        size.records += record_bytes(bytes.len() as u32);
        let full = pack.end >= packs.limits.pack_bytes;
        if full || pack.end - pack.synced >= packs.limits.sync_bytes {
            self.sync(disk)?;
        }
        if full {
            self.open = None;
        }
        Ok(at)
    }

    /// Makes all that was written durable.
    pub(super) fn sync<D: Disk<File = F>>(&mut self, disk: &D) -> Result<(), CheckpointError> {
        let Some(pack) = &mut self.open else { return Ok(()) };
        if pack.end == pack.synced {
            return Ok(());
        }
        pack.file.sync().map_err(CheckpointError::Failed)?;
        if !pack.named {
            disk.sync_directory().map_err(CheckpointError::Failed)?;
            pack.named = true;
        }
        pack.end = align_up(pack.end);
        pack.synced = pack.end;
        Ok(())
    }

    /// Removes all that it made.
    pub(super) fn give_up<D: Disk>(self, disk: &D) -> Result<(), DiskError> {
        for number in self.made.keys() {
            remove_if_there(disk, &pack_name(*number))?;
        }
        Ok(())
    }
}

fn create_pack<D: Disk>(disk: &D, packs: &mut Packs) -> Result<OpenPack<D::File>, CheckpointError> {
    let number = packs.next;
    let name = pack_name(number);
    let file = disk.create(&name).map_err(CheckpointError::of_write)?;
    if let Err(error) = file.write_at(0, &encode_head(&packs.identity, number)) {
        remove_if_there(disk, &name).map_err(CheckpointError::Failed)?;
        return Err(CheckpointError::of_write(error));
    }
    packs.next = number.checked_add(1).expect("a pack a second lasts for 136 years");
    Ok(OpenPack { file, number, end: PACK_HEAD_BYTES, synced: PACK_HEAD_BYTES, named: false })
}
