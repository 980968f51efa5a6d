//! Version 1 of every message's fields: mirrors of the core's types, with nothing but fixed-width
//! numbers, enums, options and bounded lists. No recursion, no maps, no strings, no `usize`, no
//! element without bytes.
//!
//! A mirror is never changed once released: another layout is another version, in a module of its
//! own.

mod client;
mod entry;
mod hello;
mod peer;

pub(crate) use client::{
    Evicted, Inform, Read, ReadRefused, ReadReply, Redirect, Refused, Register, Registered, Reply,
    ReplyEnvelope, Request,
};
pub(crate) use entry::EntryHeader;
pub(crate) use hello::{Close, Hello};
pub(crate) use peer::{
    Checkpoint, Commit, DoViewChange, Envelope, GetCheckpoint, GetChunk, GetEntry, GetHeaders,
    GetView, Headers, Nack, NoChunk, Ping, PreStep, PreStepOk, Prepare, PrepareOk, ReadOk,
    ReadProbe, Recovery, RecoveryResponse, StartView, StartViewChange,
};

use bincode::{Decode, Encode};
use vsr_core::{Checksum, Nonce as CoreNonce, OpNumber, Session as CoreSession};
use vsr_core::{Committed as CoreCommitted, Incarnation};

/// A session in the client-table.
#[derive(Clone, Copy, Encode, Decode)]
pub(crate) struct Session {
    slot: u32,
    number: u64,
}

impl From<CoreSession> for Session {
    fn from(session: CoreSession) -> Self {
        Self { slot: session.slot, number: session.number.0 }
    }
}

impl From<Session> for CoreSession {
    fn from(session: Session) -> Self {
        Self { slot: session.slot, number: OpNumber(session.number) }
    }
}

/// Distinguishes one question from another.
#[derive(Clone, Copy, Encode, Decode)]
pub(crate) struct Nonce {
    incarnation: u64,
    count: u64,
}

impl From<CoreNonce> for Nonce {
    fn from(nonce: CoreNonce) -> Self {
        Self { incarnation: nonce.incarnation.0, count: nonce.count }
    }
}

impl From<Nonce> for CoreNonce {
    fn from(nonce: Nonce) -> Self {
        Self { incarnation: Incarnation(nonce.incarnation), count: nonce.count }
    }
}

/// A commit-number with the checksum of the entry it names.
#[derive(Clone, Copy, Encode, Decode)]
pub(crate) struct Committed {
    op: u64,
    checksum: u128,
}

impl From<CoreCommitted> for Committed {
    fn from(committed: CoreCommitted) -> Self {
        Self { op: committed.op.0, checksum: committed.checksum.0 }
    }
}

impl From<Committed> for CoreCommitted {
    fn from(committed: Committed) -> Self {
        Self { op: OpNumber(committed.op), checksum: Checksum(committed.checksum) }
    }
}
