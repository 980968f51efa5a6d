//! The bytes of the files that hold a manifest: `checkpoint-<op>-<id>` of a whole checkpoint,
//! `fetch` of one that is being fetched.
//!
//! Two equal copies, each beginning at a sector of its own, so that no single fault loses a
//! checkpoint:
//!
//! ```text
//!   0  magic "VSRPLACE", or "VSRFETCH"  8
//!   8  checksum of bytes 24..length    16
//!  24  format version                   4
//!  28  length, padding included         4    a multiple of 4096
//!  32  cluster                         16    48  replica  4    52  copy (0 or 1)  4
//!  56  bytes of the manifest            4    60  places   4
//!  64  the manifest
//!      for each chunk of a whole checkpoint, where it lies: pack 4, position 4
//!      zeros up to length
//! ```

use vsr_core::{Checksum, OpNumber};

use super::manifest::{CHUNKS_MAX, ChunkRef, MANIFEST_BYTES_MAX, Manifest};
use super::pack::Location;
use crate::codec::{FORMAT_VERSION, Identity, Put, Reader};
use crate::disk::{Disk, DiskError, File, SECTOR, align_up, read_whatever, unfinished_name};

/// The file of a checkpoint that is being fetched.
pub(super) const FETCH: &str = "fetch";

const HEAD_BYTES: usize = 64;
const CHECKED_FROM: usize = 24;
const LOCATION_BYTES: usize = 8;
const COPIES: usize = 2;

/// The most bytes of a file; nothing larger is believed when read.
const FILE_BYTES_MAX: u64 = COPIES as u64
    * align_up((HEAD_BYTES + MANIFEST_BYTES_MAX + CHUNKS_MAX * LOCATION_BYTES) as u64);

/// Which of the two files it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Whole,
    Fetch,
}

impl Kind {
    const fn magic(self) -> &'static [u8; 8] {
        match self {
            Self::Whole => b"VSRPLACE",
            Self::Fetch => b"VSRFETCH",
        }
    }
}

/// A manifest, its id, and where the chunks lie: as many places as chunks, none for a fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) id: Checksum,
    pub(super) manifest: Manifest,
    pub(super) locations: Vec<Location>,
}

impl Content {
    /// Each chunk and where it lies.
    pub(super) fn places(&self) -> impl Iterator<Item = (&ChunkRef, &Location)> {
        self.manifest.chunks().iter().zip(&self.locations)
    }
}

/// Why a file, or a copy in it, is no good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bad {
    Damaged,
    Newer(u32),
    Foreign { cluster: u128, replica: u32 },
}

/// The name of a checkpoint's file.
pub(super) fn checkpoint_name(op: OpNumber, id: Checksum) -> String {
    format!("checkpoint-{}-{:032x}", op.0, id.0)
}

/// The op and id in the name of a checkpoint's file.
pub(super) fn parse_checkpoint_name(name: &str) -> Option<(OpNumber, Checksum)> {
    let (op, id) = name.strip_prefix("checkpoint-")?.split_once('-')?;
    let op = OpNumber(op.parse().ok()?);
    let id = Checksum(u128::from_str_radix(id, 16).ok()?);
    // Only names that this program gives are its own.
    (checkpoint_name(op, id) == name).then_some((op, id))
}

/// The whole file.
pub(super) fn encode(kind: Kind, identity: &Identity, content: &Content) -> Vec<u8> {
    let manifest = content.manifest.encode();
    let used = HEAD_BYTES + manifest.len() + content.locations.len() * LOCATION_BYTES;
    let length = align_up(used as u64) as usize;
    let mut file = Vec::with_capacity(COPIES * length);
    for copy in 0..COPIES {
        let start = file.len();
        file.put(kind.magic());
        file.put_u128(0);
        file.put_u32(FORMAT_VERSION);
        file.put_u32(length as u32);
        file.put_u128(identity.cluster.0);
        file.put_u32(identity.replica.0);
        file.put_u32(copy as u32);
        file.put_u32(manifest.len() as u32);
        file.put_u32(content.locations.len() as u32);
        file.put(&manifest);
        for location in &content.locations {
            file.put_u32(location.pack);
            file.put_u32(location.position);
        }
        file.resize(start + length, 0);
        let checksum = Checksum::of(&file[start + CHECKED_FROM..]);
        file[start + 8..start + 24].copy_from_slice(&checksum.0.to_le_bytes());
    }
    file
}

/// Reads a file's copies.
pub(super) fn read<F: File>(
    file: &F,
    kind: Kind,
    identity: &Identity,
) -> Result<[Result<Content, Bad>; COPIES], DiskError> {
    let length = file.length()?;
    if length > FILE_BYTES_MAX {
        return Ok([Err(Bad::Damaged), Err(Bad::Damaged)]);
    }
    let mut bytes = vec![0; length as usize];
    read_whatever(file, 0, &mut bytes);
    let (first, second) = bytes.split_at(bytes.len() / COPIES);
    Ok([decode(first, 0, kind, identity), decode(second, 1, kind, identity)])
}

/// Reads one copy; `bytes` are all that is set aside for it.
pub(super) fn decode(
    bytes: &[u8],
    copy: u32,
    kind: Kind,
    identity: &Identity,
) -> Result<Content, Bad> {
    let mut reader = Reader::new(bytes);
    if reader.bytes(8) != Some(kind.magic()) {
        return Err(Bad::Damaged);
    }
    let fields = (reader.u128(), reader.u32(), reader.u32(), reader.u128(), reader.u32());
    let (Some(checksum), Some(version), Some(length), Some(cluster), Some(replica)) = fields else {
        return Err(Bad::Damaged);
    };
    let length = length as usize;
    let plausible = length >= HEAD_BYTES && (length as u64).is_multiple_of(SECTOR);
    if !plausible
        || length > bytes.len()
        || Checksum::of(&bytes[CHECKED_FROM..length]).0 != checksum
    {
        return Err(Bad::Damaged);
    }
    if version > FORMAT_VERSION {
        return Err(Bad::Newer(version));
    }
    if (cluster, replica) != (identity.cluster.0, identity.replica.0) {
        return Err(Bad::Foreign { cluster, replica });
    }
    if reader.u32() != Some(copy) {
        return Err(Bad::Damaged);
    }
    read_content(&bytes[..length], reader, kind, identity).ok_or(Bad::Damaged)
}

fn read_content(
    bytes: &[u8],
    mut reader: Reader<'_>,
    kind: Kind,
    identity: &Identity,
) -> Option<Content> {
    let (length, places) = (reader.u32()? as usize, reader.u32()? as usize);
    let mut reader = Reader::new(&bytes[HEAD_BYTES..]);
    let bytes = reader.bytes(length)?;
    let id = Checksum::of(bytes);
    let manifest = Manifest::decode(bytes, id, identity.cluster).ok()?;
    let expected = match kind {
        Kind::Whole => manifest.chunks().len(),
        Kind::Fetch => 0,
    };
    if places != expected {
        return None;
    }
    let locations = (0..places)
        .map(|_| Some(Location { pack: reader.u32()?, position: reader.u32()? }))
        .collect::<Option<_>>()?;
    Some(Content { id, manifest, locations })
}

/// Puts a file in place, instead of one of the same name if there is one, so that whenever the
/// power fails the old one is there whole or the new one. Returns whether there was space; nothing
/// is changed where there was not.
pub(super) fn write_whole<D: Disk>(disk: &D, name: &str, bytes: &[u8]) -> Result<bool, DiskError> {
    let unfinished = unfinished_name(name);
    // Of an attempt that failed for want of space.
    remove_if_there(disk, &unfinished)?;
    let written = disk.create(&unfinished).and_then(|file| {
        file.write_at(0, bytes)?;
        Ok(file)
    });
    let file = match written {
        Ok(file) => file,
        Err(error) if error.is_full() => {
            remove_if_there(disk, &unfinished)?;
            return Ok(false);
        }
        Err(error) => return Err(error),
    };
    file.sync()?;
    match disk.rename(&unfinished, name) {
        Ok(()) => {}
        Err(error) if error.is_full() => return Ok(false),
        Err(error) => return Err(error),
    }
    disk.sync_directory()?;
    Ok(true)
}

/// Removes a file that nothing refers to. It may come back if the power fails, and is removed again
/// by the next opening.
pub(super) fn remove_if_there<D: Disk>(disk: &D, name: &str) -> Result<(), DiskError> {
    match disk.remove(name) {
        // A file system may need space even to free some. The file only takes room; the next
        // opening tries again.
        Ok(()) | Err(DiskError::NotFound { .. } | DiskError::Full { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
