//! The client-table as chunks.
//!
//! ```text
//! a chunk:
//!   0  magic "VSRT"  4     4  table version  4     8  sessions, or a part of one
//! a session:
//!   0  slot            4     4  replies     4     8  client     16    24  subject   16
//!  40  session number  8    48  executed    8    56  last op     8    64  last used  8
//! each of its replies, ascending, the last one to the last operation executed:
//!   0  op              8     8  kind: 0 none, 1 kept, 2 too large  4    12  bytes     4    16  the reply
//! a session of version 1, which kept one reply:
//!   0  slot            4     4  kind        4     8  client     16    24  subject   16
//!  40  session number  8    48  executed    8    56  last op     8    64  bytes      4    68  the reply
//! ```
//!
//! Sessions come in the order of their slots. A chunk begins at each multiple of [`CHUNK_SLOTS`]
//! slots, so that sessions that did not change lie in chunks that did not change; and where one
//! more session would make it longer than [`CHUNK_BYTES`]. A session that is longer than that by
//! itself goes through as many chunks as it takes. So the chunks depend on the table alone.

use std::collections::VecDeque;

use bytes::Bytes;
use vsr_core::{
    ClientId, KeptOperation, KeptReply, OpNumber, RequestNumber, SessionState, Subject, Timestamp,
};

use crate::codec::{Put, Reader};
use crate::error::TableError;

/// The version of the client-table's layout.
pub const TABLE_VERSION: u32 = 2;

/// The most slots, and so sessions, that are believed when read: the most that a cluster may be
/// formatted for.
pub const SESSIONS_MAX: usize = 1 << 20;

/// A chunk holds sessions of so many slots at most: a few dozen KiB with small replies.
const CHUNK_SLOTS: u32 = 256;

/// A chunk has so many bytes at most: four replies of the default's largest, so that a busy session
/// takes few others with it.
const CHUNK_BYTES: usize = 256 * 1024;

const MAGIC: &[u8; 4] = b"VSRT";
const HEAD_BYTES: usize = 8;
const SESSION_BYTES: usize = 72;
const REPLY_BYTES: usize = 16;
const SESSION_BYTES_1: usize = 68;

/// The most replies that are believed when read: those of the widest window.
const REPLIES_MAX: usize = 256;

/// Encodes the sessions of a client-table, given ascending by slot, as chunks of at most 256 KiB.
/// Equal tables make equal chunks. An empty table makes none.
///
/// # Panics
/// If the slots do not ascend, or a reply has 4 GiB or more.
pub fn encode_sessions<'a, B: AsRef<[u8]> + 'a>(
    sessions: impl IntoIterator<Item = (u32, &'a SessionState<B>)>,
) -> impl Iterator<Item = Vec<u8>> {
    let mut encoder = Encoder { sessions: sessions.into_iter(), last: None, rest: Vec::new() };
    std::iter::from_fn(move || encoder.next_chunk())
}

struct Encoder<I> {
    sessions: I,
    /// The slot of the session that was taken last.
    last: Option<u32>,
    /// That session, or what of it is in no chunk yet.
    rest: Vec<u8>,
}

impl<'a, B: AsRef<[u8]> + 'a, I: Iterator<Item = (u32, &'a SessionState<B>)>> Encoder<I> {
    fn next_chunk(&mut self) -> Option<Vec<u8>> {
        if self.rest.is_empty() && !self.take() {
            return None;
        }
        let mut chunk = Vec::new();
        chunk.put(MAGIC);
        chunk.put_u32(TABLE_VERSION);
        if HEAD_BYTES + self.rest.len() > CHUNK_BYTES {
            chunk.extend(self.rest.drain(..CHUNK_BYTES - HEAD_BYTES));
            return Some(chunk);
        }
        chunk.append(&mut self.rest);
        let group = self.last.map(|slot| slot / CHUNK_SLOTS);
        while self.take() {
            let same_group = self.last.map(|slot| slot / CHUNK_SLOTS) == group;
            if !same_group || chunk.len() + self.rest.len() > CHUNK_BYTES {
                break;
            }
            chunk.append(&mut self.rest);
        }
        Some(chunk)
    }

    /// Takes the next session; false where there is none.
    fn take(&mut self) -> bool {
        let Some((slot, session)) = self.sessions.next() else { return false };
        assert!(self.last.is_none_or(|last| last < slot), "slots ascend");
        self.last = Some(slot);
        put_session(slot, session, &mut self.rest);
        true
    }
}

fn put_session<B: AsRef<[u8]>>(slot: u32, session: &SessionState<B>, out: &mut Vec<u8>) {
    out.put_u32(slot);
    out.put_u32(session.kept.len() as u32);
    out.put_u128(session.client.0);
    out.put_u128(session.subject.0);
    out.put_u64(session.number.0);
    out.put_u64(session.executed.0);
    out.put_u64(session.last_op.0);
    out.put_u64(session.last_used.0);
    for KeptOperation { op, reply } in &session.kept {
        let (kind, reply) = match reply {
            KeptReply::None => (0, &[][..]),
            KeptReply::Reply(reply) => (1, reply.as_ref()),
            KeptReply::TooLarge => (2, &[][..]),
        };
        out.reserve(REPLY_BYTES + reply.len());
        out.put_u64(op.0);
        out.put_u32(kind);
        out.put_u32(u32::try_from(reply.len()).expect("a reply that is kept has less than 4 GiB"));
        out.put(reply);
    }
}

/// Decodes the sessions of a client-table, ascending by slot, from the chunks that
/// [`encode_sessions`] made, in their order.
///
/// # Errors
/// What [`TableError`] lists. Whatever the chunks are, it takes at most a few times their memory.
pub fn decode_sessions<C: AsRef<[u8]>>(
    chunks: impl IntoIterator<Item = C>,
) -> Result<Vec<(u32, SessionState<Bytes>)>, TableError> {
    let mut sessions = Vec::new();
    // A session that is not whole yet, and the version of the chunk it began in.
    let mut rest: Vec<u8> = Vec::new();
    let mut rest_version = 0;
    for (place, chunk) in chunks.into_iter().enumerate() {
        let nonsense = TableError::Nonsense { chunk: place };
        let mut reader = Reader::new(chunk.as_ref());
        let (magic, version) = (reader.bytes(4), reader.u32());
        let version = match version {
            Some(found) if magic == Some(MAGIC) && found > TABLE_VERSION => {
                return Err(TableError::Newer { found });
            }
            Some(found) if magic == Some(MAGIC) && found > 0 => found,
            Some(_) | None => return Err(nonsense),
        };
        if !rest.is_empty() && rest_version != version {
            return Err(nonsense);
        }
        rest_version = version;
        rest.extend_from_slice(&chunk.as_ref()[HEAD_BYTES..]);
        let mut taken = 0;
        while let Some(length) = session_bytes(version, &rest[taken..]) {
            let bytes = &rest[taken..taken + length];
            let session = match version {
                1 => read_session_1(bytes),
                _ => read_session(bytes),
            };
            let session = session.ok_or(nonsense)?;
            let ascends = sessions.last().is_none_or(|(slot, _)| *slot < session.0);
            if !ascends || session.0 as usize >= SESSIONS_MAX {
                return Err(nonsense);
            }
            sessions.push(session);
            taken += length;
        }
        rest.drain(..taken);
    }
    if rest.is_empty() { Ok(sessions) } else { Err(TableError::Incomplete) }
}

/// How many bytes the first session has, `None` while they are not all there.
fn session_bytes(version: u32, bytes: &[u8]) -> Option<usize> {
    if version == 1 {
        let length = Reader::new(bytes.get(SESSION_BYTES_1 - 4..)?).u32()?;
        return SESSION_BYTES_1
            .checked_add(length as usize)
            .filter(|length| *length <= bytes.len());
    }
    let replies = Reader::new(bytes.get(4..SESSION_BYTES)?).u32()?;
    // More are nonsense, which reading the session finds.
    let replies = (replies as usize).min(REPLIES_MAX);
    let mut end = SESSION_BYTES;
    for _ in 0..replies {
        let length = Reader::new(bytes.get(end.checked_add(REPLY_BYTES - 4)?..)?).u32()?;
        end = end.checked_add(REPLY_BYTES)?.checked_add(length as usize)?;
    }
    (end <= bytes.len()).then_some(end)
}

fn read_session(bytes: &[u8]) -> Option<(u32, SessionState<Bytes>)> {
    let mut reader = Reader::new(bytes);
    let (slot, replies) = (reader.u32()?, reader.u32()? as usize);
    let mut state = SessionState {
        client: ClientId(reader.u128()?),
        subject: Subject(reader.u128()?),
        number: OpNumber(reader.u64()?),
        executed: RequestNumber(reader.u64()?),
        last_op: OpNumber(reader.u64()?),
        last_used: Timestamp(reader.u64()?),
        kept: VecDeque::new(),
    };
    if replies > REPLIES_MAX || replies as u64 > state.executed.0 {
        return None;
    }
    for _ in 0..replies {
        let (op, kind, length) = (OpNumber(reader.u64()?), reader.u32()?, reader.u32()? as usize);
        let reply = read_reply(kind, reader.bytes(length)?)?;
        state.kept.push_back(KeptOperation { op, reply });
    }
    Some((slot, state))
}

fn read_session_1(bytes: &[u8]) -> Option<(u32, SessionState<Bytes>)> {
    let mut reader = Reader::new(bytes);
    let (slot, kind) = (reader.u32()?, reader.u32()?);
    let mut state = SessionState {
        client: ClientId(reader.u128()?),
        subject: Subject(reader.u128()?),
        number: OpNumber(reader.u64()?),
        executed: RequestNumber(reader.u64()?),
        last_op: OpNumber(reader.u64()?),
        // Sessions of clusters formatted so early never expire.
        last_used: Timestamp::ZERO,
        kept: VecDeque::new(),
    };
    let length = reader.u32()? as usize;
    let reply = read_reply(kind, reader.bytes(length)?)?;
    if state.executed > RequestNumber::ZERO {
        state.kept.push_back(KeptOperation { op: state.last_op, reply });
    }
    Some((slot, state))
}

fn read_reply(kind: u32, bytes: &[u8]) -> Option<KeptReply<Bytes>> {
    match kind {
        0 if bytes.is_empty() => Some(KeptReply::None),
        // A copy, so that a reply does not keep its whole chunk in memory.
        1 => Some(KeptReply::Reply(Bytes::copy_from_slice(bytes))),
        2 if bytes.is_empty() => Some(KeptReply::TooLarge),
        _ => None,
    }
}
