//! The bytes of a record: an entry as it lies in the log.
//!
//! ```text
//!   0  magic "VSRr"     4     4  CRC-32C of bytes 8..size   4     8  position                8
//!  16  size, padding included  4  20  position - start of its group  4  24  position - settled  4
//!  28  header          92
//! 120  for each request 40 bytes:
//!        operation: length 4, slot 3, span 1, session number 8, request number 8, digest 16
//!        register:  0xffffffff 4, zero 4, client 16, subject 16
//!      the operations' bytes, one after the other; then those of the predicted value, where the
//!      header's kind says that there is one; zeros up to a multiple of 8
//! ```
//!
//! The CRC also covers cluster and replica. The position says in which lap of the area the record was
//! written: in the place of a later position it is stale. A group is what was written and
//! synced together: that a record of it is there proves that everything before its start had been synced.
//! `settled`: everything before had its ring header synced too.

use bytes::Bytes;
use vsr_core::{
    Checksum, ClientId, Constants, Entry, EntryKind, Header, OpNumber, PREDICTION_BYTES_MAX,
    Request, RequestNumber, Session, Subject,
};

use super::layout::distance;
use crate::codec::{HEADER_BYTES, Identity, Put, Reader};

/// Records begin at multiples of this.
pub(crate) const RECORD_ALIGNMENT: u64 = 8;

/// Bytes of a record before its requests.
pub(crate) const RECORD_HEAD_BYTES: usize = 28 + HEADER_BYTES;

/// Bytes of a request beside its operation.
pub(crate) const REQUEST_BYTES: usize = 40;

/// The most bytes of a record: what the widest constants allow, rounded up. Nothing larger is
/// believed when read.
const RECORD_BYTES_MAX: usize = 32 << 20;

const MAGIC: u32 = u32::from_le_bytes(*b"VSRr");
const REGISTER: u32 = u32::MAX;

/// A slot and a span share four bytes: format version 1, which had no spans, left these zero. A slot
/// is less than 2^20.
const SPAN_SHIFT: u32 = 24;
const SLOT_MASK: u32 = (1 << SPAN_SHIFT) - 1;
const CHECKED_FROM: usize = 8;

/// What a record says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordHead {
    pub(crate) header: Header,
    pub(crate) size: usize,
    pub(crate) group_start: u64,
    pub(crate) settled: u64,
}

/// How many bytes an entry's record takes.
pub(crate) fn size_of(header: &Header) -> usize {
    let bytes = RECORD_HEAD_BYTES + header.count as usize * REQUEST_BYTES + header.length as usize;
    bytes.next_multiple_of(RECORD_ALIGNMENT as usize)
}

/// How many bytes the record of the largest entry takes that these constants allow.
pub(crate) fn largest(constants: &Constants) -> u64 {
    let requests = u64::from(constants.batch_requests) * REQUEST_BYTES as u64;
    let operations = u64::from(constants.batch_bytes) + u64::from(constants.request_bytes);
    let bodies = operations + PREDICTION_BYTES_MAX as u64;
    (RECORD_HEAD_BYTES as u64 + requests + bodies).next_multiple_of(RECORD_ALIGNMENT)
}

/// Appends the record of an entry that will lie at `position`.
pub(crate) fn encode(
    entry: &Entry<Bytes>,
    identity: &Identity,
    position: u64,
    group_start: u64,
    settled: u64,
    out: &mut Vec<u8>,
) {
    let start = out.len();
    let header = entry.header();
    let size = size_of(header);
    out.reserve(size);
    out.put_u32(MAGIC);
    out.put_u32(0);
    out.put_u64(position);
    out.put_u32(size as u32);
    out.put_u32(distance(group_start, position));
    out.put_u32(distance(settled, position));
    out.put_header(header);
    for request in entry.requests() {
        put_request(request, out);
    }
    for request in entry.requests() {
        if let Request::Operation { body, .. } = request {
            out.put(body);
        }
    }
    if let Some(prediction) = entry.prediction() {
        out.put(prediction);
    }
    out.resize(start + size, 0);
    let crc = identity.crc(position, &out[start + CHECKED_FROM..]);
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
}

fn put_request(request: &Request<Bytes>, out: &mut Vec<u8>) {
    match request {
        Request::Register { client, subject } => {
            out.put_u32(REGISTER);
            out.put_u32(0);
            out.put_u128(client.0);
            out.put_u128(subject.0);
        }
        Request::Operation { session, number, span, digest, body } => {
            out.put_u32(body.len() as u32);
            out.put_u32((session.slot & SLOT_MASK) | (u32::from(*span) << SPAN_SHIFT));
            out.put_u64(session.number.0);
            out.put_u64(number.0);
            out.put_u128(digest.0);
        }
    }
}

/// What the first bytes of a record claim. Nothing of it is proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) position: u64,
    pub(crate) size: usize,
}

/// The claim of what lies here, if it looks like the beginning of a record.
pub(crate) fn claim(bytes: &[u8]) -> Option<Claim> {
    // Most of what is looked at ends here.
    if !bytes.starts_with(&MAGIC.to_le_bytes()) {
        return None;
    }
    let mut reader = Reader::new(&bytes[CHECKED_FROM.min(bytes.len())..]);
    let (position, size) = (reader.u64()?, reader.u32()? as usize);
    let plausible = (RECORD_HEAD_BYTES..=RECORD_BYTES_MAX).contains(&size)
        && size.is_multiple_of(RECORD_ALIGNMENT as usize);
    plausible.then_some(Claim { position, size })
}

/// Checks the record that begins with `bytes` as far as its CRC and its identity say, and that it was
/// written for this position: not for one in another lap, nor anywhere else.
pub(crate) fn check(bytes: &[u8], identity: &Identity, position: u64) -> Option<RecordHead> {
    let claim = claim(bytes).filter(|claim| claim.position == position)?;
    let record = bytes.get(..claim.size)?;
    let mut reader = Reader::new(&record[4..]);
    if reader.u32()? != identity.crc(position, &record[CHECKED_FROM..]) {
        return None;
    }
    let (_position, _size) = (reader.u64()?, reader.u32()?);
    let group_start = position.checked_sub(u64::from(reader.u32()?))?;
    let settled = position.checked_sub(u64::from(reader.u32()?))?;
    let header = reader.header(identity.cluster)?;
    let fits = header.is_intact() && size_of(&header) == claim.size;
    fits.then_some(RecordHead { header, size: claim.size, group_start, settled })
}

/// The entry in a record that [`check`] accepted. Operations are slices of `record`.
///
/// Returns `None` where the requests do not add up.
pub(crate) fn entry(record: &Bytes, header: Header) -> Option<Entry<Bytes>> {
    let mut reader = Reader::new(record.get(RECORD_HEAD_BYTES..)?);
    let content_at = RECORD_HEAD_BYTES + header.count as usize * REQUEST_BYTES;
    let mut body_at = content_at;
    let mut requests = Vec::with_capacity(header.count as usize);
    for _ in 0..header.count {
        let (length, place) = (reader.u32()?, reader.u32()?);
        if length == REGISTER {
            requests.push(Request::Register {
                client: ClientId(reader.u128()?),
                subject: Subject(reader.u128()?),
            });
            continue;
        }
        let body_end = body_at + length as usize;
        if body_end > record.len() {
            return None;
        }
        requests.push(Request::Operation {
            session: Session { slot: place & SLOT_MASK, number: OpNumber(reader.u64()?) },
            number: RequestNumber(reader.u64()?),
            span: (place >> SPAN_SHIFT) as u8,
            digest: Checksum(reader.u128()?),
            body: record.slice(body_at..body_end),
        });
        body_at = body_end;
    }
    let end = content_at + header.length as usize;
    let prediction = match header.kind {
        EntryKind::Root | EntryKind::Requests => None,
        EntryKind::Predicted if body_at <= end && end <= record.len() => {
            Some(record.slice(body_at..end))
        }
        EntryKind::Predicted => return None,
    };
    Entry::assemble(header, requests, prediction)
}
