//! The bytes of a pack: a file of chunks, written from front to back and never changed afterwards.
//!
//! ```text
//!    0  head, one sector:
//!         0  magic "VSR-PACK"  8     8  CRC-32C of bytes 12..48  4    12  format version  4
//!        16  cluster          16    32  replica  4    36  zeros  4    40  number of the pack  8
//! 4096  records, each beginning at a multiple of 8:
//!         0  magic "VSRc"      4     4  CRC-32C of bytes 8..32   4     8  length of the chunk  4
//!        12  synced            4    16  digest of the chunk     16    32  the chunk, zeros
//! ```
//!
//! A record's CRC also covers cluster, replica, pack and position; the digest covers the chunk.
//! `synced`: everything before this position had been synced when the record was written, so that
//! whoever finds a pack after a crash knows how much of it can be torn. After a sync the next
//! record begins at a sector of its own, so that tearing it never touches what was synced.

use vsr_core::{CHUNK_BYTES_MAX, Checksum};

use super::manifest::ChunkRef;
use crate::codec::{FORMAT_VERSION, Identity, Put, Reader};
use crate::disk::{File, SECTOR, align_up, read_whatever};

/// Bytes of a record before its chunk.
pub(super) const RECORD_HEAD_BYTES: usize = 32;

/// Bytes of a pack's head: a sector, which no later write touches.
pub(super) const PACK_HEAD_BYTES: u64 = SECTOR;

const RECORD_ALIGNMENT: usize = 8;
const PACK_MAGIC: &[u8; 8] = b"VSR-PACK";
const PACK_CHECKED: std::ops::Range<usize> = 12..48;
const RECORD_MAGIC: u32 = u32::from_le_bytes(*b"VSRc");
const RECORD_CHECKED_FROM: usize = 8;

/// Where a chunk's record begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Location {
    pub(super) pack: u32,
    pub(super) position: u32,
}

impl Location {
    const fn place(self) -> u64 {
        (self.pack as u64) << 32 | self.position as u64
    }
}

/// What the head of a pack says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PackHead {
    Good,
    Damaged,
    Newer(u32),
    Foreign { cluster: u128, replica: u32 },
}

pub(super) fn pack_name(number: u32) -> String {
    format!("pack-{number}")
}

pub(super) fn parse_pack_name(name: &str) -> Option<u32> {
    let number = name.strip_prefix("pack-")?.parse().ok()?;
    (pack_name(number) == name).then_some(number)
}

/// How many bytes a chunk's record takes.
pub(super) const fn record_bytes(length: u32) -> u64 {
    (RECORD_HEAD_BYTES + length as usize).next_multiple_of(RECORD_ALIGNMENT) as u64
}

pub(super) fn encode_head(identity: &Identity, number: u32) -> Vec<u8> {
    let mut head = Vec::with_capacity(PACK_HEAD_BYTES as usize);
    head.put(PACK_MAGIC);
    head.put_u32(0);
    head.put_u32(FORMAT_VERSION);
    head.put_u128(identity.cluster.0);
    head.put_u32(identity.replica.0);
    head.put_u32(0);
    head.put_u64(u64::from(number));
    let crc = crc32c::crc32c(&head[PACK_CHECKED]);
    head[8..12].copy_from_slice(&crc.to_le_bytes());
    head.resize(PACK_HEAD_BYTES as usize, 0);
    head
}

/// Reads a head. All of it is known, so a damaged one harms nobody.
pub(super) fn read_head<F: File>(file: &F, identity: &Identity, number: u32) -> PackHead {
    let mut bytes = vec![0; PACK_HEAD_BYTES as usize];
    read_whatever(file, 0, &mut bytes);
    if bytes == encode_head(identity, number) {
        return PackHead::Good;
    }
    let mut reader = Reader::new(&bytes);
    let fields = (reader.bytes(8), reader.u32(), reader.u32(), reader.u128(), reader.u32());
    let (Some(magic), Some(crc), Some(version), Some(cluster), Some(replica)) = fields else {
        return PackHead::Damaged;
    };
    if magic != PACK_MAGIC || crc != crc32c::crc32c(&bytes[PACK_CHECKED]) {
        PackHead::Damaged
    } else if version > FORMAT_VERSION {
        PackHead::Newer(version)
    } else if (cluster, replica) != (identity.cluster.0, identity.replica.0) {
        PackHead::Foreign { cluster, replica }
    } else if (1..FORMAT_VERSION).contains(&version) {
        // Records are laid out alike in all versions.
        PackHead::Good
    } else {
        PackHead::Damaged
    }
}

/// Writes a chunk's record into `out`, which it replaces.
pub(super) fn encode_record(
    identity: &Identity,
    at: Location,
    synced: u32,
    (digest, bytes): (Checksum, &[u8]),
    out: &mut Vec<u8>,
) {
    out.clear();
    out.put_u32(RECORD_MAGIC);
    out.put_u32(0);
    out.put_u32(bytes.len() as u32);
    out.put_u32(synced);
    out.put_u128(digest.0);
    let crc = identity.crc(at.place(), &out[RECORD_CHECKED_FROM..]);
    out[4..8].copy_from_slice(&crc.to_le_bytes());
    out.put(bytes);
    out.resize(out.len().next_multiple_of(RECORD_ALIGNMENT), 0);
}

/// What the head of a record says: its chunk, and `synced`.
pub(super) fn decode_record_head(
    identity: &Identity,
    at: Location,
    bytes: &[u8],
) -> Option<(ChunkRef, u32)> {
    let bytes = bytes.get(..RECORD_HEAD_BYTES)?;
    let mut reader = Reader::new(bytes);
    let (magic, crc) = (reader.u32()?, reader.u32()?);
    if magic != RECORD_MAGIC || crc != identity.crc(at.place(), &bytes[RECORD_CHECKED_FROM..]) {
        return None;
    }
    let (length, synced) = (reader.u32()?, reader.u32()?);
    let chunk = ChunkRef { digest: Checksum(reader.u128()?), length };
    (length as usize <= CHUNK_BYTES_MAX).then_some((chunk, synced))
}

/// Reads a record that should hold `chunk`: its chunk's bytes behind its head, or `None` where
/// anything of it is not as it was written.
pub(super) fn read_record<F: File>(
    file: &F,
    identity: &Identity,
    at: Location,
    chunk: &ChunkRef,
) -> Option<Vec<u8>> {
    let mut record = vec![0; RECORD_HEAD_BYTES + chunk.length as usize];
    let length = file.read_at(u64::from(at.position), &mut record).ok()?;
    let (found, _) = decode_record_head(identity, at, &record)?;
    let good = length == record.len()
        && found == *chunk
        && Checksum::of(&record[RECORD_HEAD_BYTES..]) == chunk.digest;
    good.then_some(record)
}

/// Finds the chunks of a pack that nobody accounts for. What a crash can have torn is verified; the
/// rest is verified when it is read.
pub(super) fn scan<F: File>(
    file: &F,
    identity: &Identity,
    number: u32,
    length: u64,
) -> Vec<(ChunkRef, Location)> {
    let mut found = Vec::new();
    let mut synced_max = 0;
    let mut position = PACK_HEAD_BYTES;
    // Positions have 32 bits; no pack comes near that.
    let length = length.min(u64::from(u32::MAX));
    while position < length {
        let at = Location { pack: number, position: position as u32 };
        let mut head = [0; RECORD_HEAD_BYTES];
        read_whatever(file, position, &mut head);
        if let Some((chunk, synced)) = decode_record_head(identity, at, &head) {
            synced_max = synced_max.max(u64::from(synced));
            found.push((chunk, at));
            position += record_bytes(chunk.length);
        } else if position < align_up(position) {
            // The next group begins at a sector of its own.
            position = align_up(position);
        } else {
            break;
        }
    }
    found.retain(|(chunk, at)| {
        let end = u64::from(at.position) + record_bytes(chunk.length);
        end <= synced_max || read_record(file, identity, *at, chunk).is_some()
    });
    found
}
