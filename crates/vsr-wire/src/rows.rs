//! The requests of an entry: a table of fixed rows, then the operations one after another.
//!
//! | offset | bytes | an operation's row | a registration's row |
//! | ---: | ---: | --- | --- |
//! | 0 | 4 | 1 | 0 |
//! | 4 | 4 | length of the operation | zero |
//! | 8 | 16 | digest | client |
//! | 24 | 4 | session's slot | subject, 16 bytes |
//! | 28 | 1 | span | |
//! | 29 | 3 | zero | |
//! | 32 | 8 | session's number | |
//! | 40 | 8 | request-number | zero |
//!
//! By hand, and not by bincode: this is the hot path, and the rows' fixed size lets the number of
//! them be checked before any is looked at.

use bytes::{Bytes, BytesMut};
use vsr_core::{Body, Checksum, ClientId, OpNumber, Request, RequestNumber, Session, Subject};

use crate::error::Malformed;
use crate::limits::REQUESTS_MAX;

/// How many bytes a row has.
pub(crate) const ROW_LENGTH: usize = 48;

const REGISTRATION: u32 = 0;
const OPERATION: u32 = 1;

/// Appends the rows and operations of `requests`.
pub(crate) fn put<B: Body>(requests: &[Request<B>], out: &mut BytesMut) {
    for request in requests {
        out.extend_from_slice(&row(request));
    }
    for request in requests {
        match request {
            Request::Operation { body, .. } => out.extend_from_slice(body.as_ref()),
            Request::Register { .. } => {}
        }
    }
}

/// Takes `count` requests, and what follows them. Both are slices of `bytes`.
pub(crate) fn take(count: u32, bytes: &Bytes) -> Result<(Vec<Request<Bytes>>, Bytes), Malformed> {
    let count = count as usize;
    if count > REQUESTS_MAX {
        return Err(Malformed::Count);
    }
    let rows_length = count * ROW_LENGTH;
    if bytes.len() < rows_length {
        return Err(Malformed::Short);
    }
    let (rows, _) = bytes[..rows_length].as_chunks::<ROW_LENGTH>();
    let mut requests = Vec::with_capacity(count);
    let mut begin = rows_length;
    for row in rows {
        let end = begin + u32_at(row, 4) as usize;
        if end > bytes.len() {
            return Err(Malformed::Short);
        }
        requests.push(request(row, || bytes.slice(begin..end))?);
        begin = end;
    }
    Ok((requests, bytes.slice(begin..)))
}

fn row<B: Body>(request: &Request<B>) -> [u8; ROW_LENGTH] {
    let mut row = [0; ROW_LENGTH];
    match request {
        Request::Register { client, subject } => {
            row[0..4].copy_from_slice(&REGISTRATION.to_le_bytes());
            row[8..24].copy_from_slice(&client.0.to_le_bytes());
            row[24..40].copy_from_slice(&subject.0.to_le_bytes());
        }
        Request::Operation { session, number, span, digest, body } => {
            row[0..4].copy_from_slice(&OPERATION.to_le_bytes());
            row[4..8].copy_from_slice(&(body.as_ref().len() as u32).to_le_bytes());
            row[8..24].copy_from_slice(&digest.0.to_le_bytes());
            row[24..28].copy_from_slice(&session.slot.to_le_bytes());
            row[28] = *span;
            row[32..40].copy_from_slice(&session.number.0.to_le_bytes());
            row[40..48].copy_from_slice(&number.0.to_le_bytes());
        }
    }
    row
}

fn request(
    row: &[u8; ROW_LENGTH],
    body: impl FnOnce() -> Bytes,
) -> Result<Request<Bytes>, Malformed> {
    match u32_at(row, 0) {
        REGISTRATION if u32_at(row, 4) == 0 && u64_at(row, 40) == 0 => Ok(Request::Register {
            client: ClientId(u128_at(row, 8)),
            subject: Subject(u128_at(row, 24)),
        }),
        OPERATION if row[29..32] == [0; 3] => Ok(Request::Operation {
            session: Session { slot: u32_at(row, 24), number: OpNumber(u64_at(row, 32)) },
            number: RequestNumber(u64_at(row, 40)),
            span: row[28],
            digest: Checksum(u128_at(row, 8)),
            body: body(),
        }),
        _ => Err(Malformed::Tag),
    }
}

fn field<const N: usize>(row: &[u8; ROW_LENGTH], offset: usize) -> [u8; N] {
    row[offset..offset + N].try_into().expect("a slice of as many bytes as the field has")
}

fn u32_at(row: &[u8; ROW_LENGTH], offset: usize) -> u32 {
    u32::from_le_bytes(field(row, offset))
}

fn u64_at(row: &[u8; ROW_LENGTH], offset: usize) -> u64 {
    u64::from_le_bytes(field(row, offset))
}

fn u128_at(row: &[u8; ROW_LENGTH], offset: usize) -> u128 {
    u128::from_le_bytes(field(row, offset))
}
