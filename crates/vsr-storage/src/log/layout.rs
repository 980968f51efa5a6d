//! Where things lie in the log file, and the bytes of its head and of its ring of headers.
//!
//! ```text
//! 0                head, one sector
//! 4096             ring of headers: one slot of 128 bytes for each of `log slots`, op modulo their number
//! records offset   records, `records bytes` of them: the byte at a position lies at position modulo their number
//! ```
//!
//! The head:
//!
//! ```text
//!   0  magic "VSR-LOG\0"  8      8  CRC-32C of bytes 12..64  4    12  format version  4
//!  16  cluster           16     32  replica         4             36  log slots       4
//!  40  slot bytes         4     44  reserved        4             48  records offset  8
//!  56  records bytes      8     64  zeros
//! ```
//!
//! A slot of the ring. Its CRC also covers cluster, replica and the slot's number.
//!
//! ```text
//!   0  CRC-32C of bytes 4..128  4     4  state: 1 held, 2 faulty, 3 unreadable   4
//!   8  position of the record   8    16  lead  4     20  extent  4
//!  24  position - settled       4    28  proven - settled  4    32  header 92    124  zeros 4
//! ```
//!
//! `lead` bytes before the record and `extent` bytes from its start on belong to it: the record,
//! padding, remains of torn writes. `settled` and `proven` are what was known when the slot was
//! written: see [`recover`](super::recover). All zeros: never written.

use std::ops::Range;

use vsr_core::{Constants, Header, OpNumber};

use super::{GROUP_BYTES_MAX, record};
use crate::codec::{FORMAT_VERSION, Identity, Put, Reader};
use crate::disk::{SECTOR, align_up};

/// Bytes of a slot in the ring. They divide a sector, so that a slot never straddles two.
pub(crate) const SLOT_BYTES: usize = 128;

/// Slots in one sector, which a torn write spoils together.
pub(crate) const SLOTS_PER_SECTOR: u64 = SECTOR / SLOT_BYTES as u64;

const HEAD_MAGIC: &[u8; 8] = b"VSR-LOG\0";
/// The head's CRC is not bound to an identity: it is what tells of a foreign one.
const HEAD_CHECKED: Range<usize> = 12..64;
const RING_OFFSET: u64 = SECTOR;

/// How many sectors a log has for each slot beside the bytes of its entries. The core counts entries,
/// not how they were grouped: one replica may write each entry alone, another all of them together, so
/// that each needs room for the worst. Twice, since a view change or a repair writes slots again. It is
/// space that is only taken when it is used.
const SECTORS_PER_SLOT: u64 = 2;

/// Sizes of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) slots: u64,
    pub(crate) records_offset: u64,
    /// Bytes of the records area; whole sectors.
    pub(crate) capacity: u64,
    /// The most bytes of a group; whole sectors.
    pub(crate) group_max: u64,
}

impl Geometry {
    pub(crate) fn new(constants: &Constants) -> Self {
        let slots = u64::from(constants.log_slots);
        // What fills the last sector of each group, which is at most one for each write of a slot.
        let padding = slots * SECTORS_PER_SLOT * SECTOR;
        let capacity = align_up(constants.log_bytes) + padding;
        let group_bytes = (capacity / 8).min(GROUP_BYTES_MAX);
        Self {
            slots,
            records_offset: align_up(RING_OFFSET + slots * SLOT_BYTES as u64),
            capacity,
            group_max: align_up(group_bytes.max(record::largest(constants))),
        }
    }

    /// Where in the file a slot lies.
    pub(crate) const fn slot_offset(&self, op: OpNumber) -> u64 {
        RING_OFFSET + (op.0 % self.slots) * SLOT_BYTES as u64
    }

    /// The op that a slot is for while the log begins after `trimmed`. Of the ops that share the slot
    /// it is the only one that may be held; in the slot of `trimmed` itself none is.
    pub(crate) const fn op_of_slot(&self, slot: u64, trimmed: OpNumber) -> OpNumber {
        let ahead = (slot + self.slots - trimmed.0 % self.slots) % self.slots;
        OpNumber(trimmed.0 + ahead)
    }

    /// Whether an op has a slot of its own while the log begins after `trimmed`.
    pub(crate) const fn has_slot(&self, op: OpNumber, trimmed: OpNumber) -> bool {
        trimmed.0 < op.0 && op.0 - trimmed.0 < self.slots
    }

    /// The position where the log must end while records from `needed` on are needed: there the
    /// next lap comes to the sector of that position.
    pub(crate) const fn end_of_room(&self, needed: u64) -> u64 {
        needed / SECTOR * SECTOR + self.capacity
    }

    /// Where in the file the byte at a position lies.
    pub(crate) const fn record_offset(&self, position: u64) -> u64 {
        self.records_offset + position % self.capacity
    }

    /// Where in the file `length` bytes from a position on lie: in one piece, or in two where a lap ends
    /// between them. Each with its range among the bytes.
    pub(crate) fn pieces(
        self,
        position: u64,
        length: usize,
    ) -> impl Iterator<Item = (u64, Range<usize>)> {
        let mut done = 0;
        std::iter::from_fn(move || {
            let at = (position + done as u64) % self.capacity;
            let take = (self.capacity - at).min((length - done) as u64) as usize;
            let piece = done..done + take;
            done += take;
            (take > 0).then_some((self.records_offset + at, piece))
        })
    }
}

/// What the head of a log says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    Good,
    Damaged,
    Newer(u32),
    Foreign { cluster: u128, replica: u32 },
}

pub(crate) fn encode_head(identity: &Identity, geometry: &Geometry) -> Vec<u8> {
    head_of_version(FORMAT_VERSION, identity, geometry)
}

/// The head as a version wrote it: they differ in their version alone.
fn head_of_version(version: u32, identity: &Identity, geometry: &Geometry) -> Vec<u8> {
    let mut head = Vec::with_capacity(SECTOR as usize);
    head.put(HEAD_MAGIC);
    head.put_u32(0);
    head.put_u32(version);
    head.put_u128(identity.cluster.0);
    head.put_u32(identity.replica.0);
    head.put_u32(geometry.slots as u32);
    head.put_u32(SLOT_BYTES as u32);
    head.put_u32(0);
    head.put_u64(geometry.records_offset);
    head.put_u64(geometry.capacity);
    let crc = crc32c::crc32c(&head[HEAD_CHECKED]);
    head[8..12].copy_from_slice(&crc.to_le_bytes());
    head.resize(SECTOR as usize, 0);
    head
}

/// Reads the head; everything in it is known from the superblock, so a damaged one harms nobody.
pub(crate) fn decode_head(bytes: &[u8], identity: &Identity, geometry: &Geometry) -> Head {
    if bytes == encode_head(identity, geometry) {
        return Head::Good;
    }
    let mut reader = Reader::new(bytes);
    let fields = (reader.bytes(8), reader.u32(), reader.u32(), reader.u128(), reader.u32());
    let (Some(magic), Some(crc), Some(version), Some(cluster), Some(replica)) = fields else {
        return Head::Damaged;
    };
    if magic != HEAD_MAGIC || crc != crc32c::crc32c(&bytes[HEAD_CHECKED]) {
        Head::Damaged
    } else if version > FORMAT_VERSION {
        Head::Newer(version)
    } else if cluster != identity.cluster.0 || replica != identity.replica.0 {
        Head::Foreign { cluster, replica }
    } else if version < FORMAT_VERSION && bytes == head_of_version(version, identity, geometry) {
        Head::Good
    } else {
        Head::Damaged
    }
}

/// What a slot says of its op.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SlotState {
    /// The record was durable.
    Held(Header),
    /// The record was durable, and was found damaged.
    Faulty(Header),
    /// A record was durable, and nobody knows which.
    Unreadable(OpNumber),
}

/// A slot of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RingSlot {
    pub(crate) state: SlotState,
    /// Of the record; of an unreadable slot, where the log ended when it was marked.
    pub(crate) position: u64,
    pub(crate) lead: u32,
    pub(crate) extent: u32,
    /// Everything below had its ring header durable when this was written.
    pub(crate) settled: u64,
    /// Everything below was durable when this was written.
    pub(crate) proven: u64,
}

/// What lies in a slot of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SlotBytes {
    Blank,
    Damaged,
    Good(RingSlot),
}

impl RingSlot {
    pub(crate) const fn op(&self) -> OpNumber {
        match &self.state {
            SlotState::Held(header) | SlotState::Faulty(header) => header.op,
            SlotState::Unreadable(op) => *op,
        }
    }

    /// Appends the slot's bytes.
    pub(crate) fn encode(&self, identity: &Identity, geometry: &Geometry, out: &mut Vec<u8>) {
        let start = out.len();
        out.put_u32(0);
        out.put_u32(match self.state {
            SlotState::Held(_) => 1,
            SlotState::Faulty(_) => 2,
            SlotState::Unreadable(_) => 3,
        });
        out.put_u64(self.position);
        out.put_u32(self.lead);
        out.put_u32(self.extent);
        out.put_u32(distance(self.settled, self.position));
        out.put_u32(distance(self.settled, self.proven));
        match &self.state {
            SlotState::Held(header) | SlotState::Faulty(header) => out.put_header(header),
            SlotState::Unreadable(op) => {
                // The op where a header has it, everything else zero.
                out.put(&[0; 48]);
                out.put_u64(op.0);
            }
        }
        out.resize(start + SLOT_BYTES, 0);
        let crc = identity.crc(self.op().0 % geometry.slots, &out[start + 4..]);
        out[start..start + 4].copy_from_slice(&crc.to_le_bytes());
    }
}

/// Reads the slot with number `slot`.
pub(crate) fn decode_slot(bytes: &[u8], slot: u64, identity: &Identity) -> SlotBytes {
    if bytes == [0; SLOT_BYTES] {
        return SlotBytes::Blank;
    }
    let mut reader = Reader::new(bytes);
    if reader.u32() != Some(identity.crc(slot, &bytes[4..])) {
        return SlotBytes::Damaged;
    }
    read_slot(reader, identity).map_or(SlotBytes::Damaged, SlotBytes::Good)
}

fn read_slot(mut reader: Reader<'_>, identity: &Identity) -> Option<RingSlot> {
    let state = reader.u32()?;
    let position = reader.u64()?;
    let (lead, extent) = (reader.u32()?, reader.u32()?);
    let settled = position.checked_sub(u64::from(reader.u32()?))?;
    let proven = settled + u64::from(reader.u32()?);
    let header = reader.header(identity.cluster).filter(|_| position >= u64::from(lead))?;
    let state = match state {
        1 => SlotState::Held(Some(header).filter(Header::is_intact)?),
        2 => SlotState::Faulty(Some(header).filter(Header::is_intact)?),
        3 => SlotState::Unreadable(header.op),
        _ => return None,
    };
    Some(RingSlot { state, position, lead, extent, settled, proven })
}

/// How far `to` lies beyond `from`, in 32 bits: groups are bounded, so a frontier is never further
/// behind than that.
pub(crate) fn distance(from: u64, to: u64) -> u32 {
    u32::try_from(to.saturating_sub(from)).expect("frontiers lie within two bounded groups")
}
