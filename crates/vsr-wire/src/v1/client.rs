//! Messages between clients and replicas.

use bincode::{Decode, Encode};
use vsr_core::{
    ClientReplyKind, OpNumber, ReadPolicy as CorePolicy, ReadRefusal as CoreReadRefusal,
    Refusal as CoreRefusal, ReplicaId, RequestNumber,
};

use super::Session;

#[derive(Encode, Decode)]
pub(crate) struct Register {
    pub(crate) client: u128,
    pub(crate) view: u64,
}

/// Followed by the operation.
#[derive(Encode, Decode)]
pub(crate) struct Request {
    pub(crate) client: u128,
    pub(crate) view: u64,
    pub(crate) session: Session,
    pub(crate) number: u64,
    pub(crate) span: u8,
    pub(crate) digest: u128,
}

/// Followed by the operation.
#[derive(Encode, Decode)]
pub(crate) struct Read {
    pub(crate) client: u128,
    pub(crate) view: u64,
    pub(crate) number: u64,
    pub(crate) policy: ReadPolicy,
}

#[derive(Clone, Copy, Encode, Decode)]
pub(crate) enum ReadPolicy {
    Linearizable,
    Causal { after: u64 },
    Bounded { age: u32 },
}

impl From<CorePolicy> for ReadPolicy {
    fn from(policy: CorePolicy) -> Self {
        match policy {
            CorePolicy::Linearizable => Self::Linearizable,
            CorePolicy::Causal { after } => Self::Causal { after: after.0 },
            CorePolicy::Bounded { age } => Self::Bounded { age },
        }
    }
}

impl From<ReadPolicy> for CorePolicy {
    fn from(policy: ReadPolicy) -> Self {
        match policy {
            ReadPolicy::Linearizable => Self::Linearizable,
            ReadPolicy::Causal { after } => Self::Causal { after: OpNumber(after) },
            ReadPolicy::Bounded { age } => Self::Bounded { age },
        }
    }
}

/// What every answer to a client begins with.
#[derive(Encode, Decode)]
pub(crate) struct ReplyEnvelope {
    pub(crate) epoch: u32,
    pub(crate) view: u64,
    pub(crate) client: u128,
}

#[derive(Encode, Decode)]
pub(crate) struct Registered {
    pub(crate) session: Session,
    pub(crate) window: u32,
}

/// Followed by the service's reply, if it was kept.
#[derive(Encode, Decode)]
pub(crate) struct Reply {
    pub(crate) session: Session,
    pub(crate) number: u64,
    pub(crate) op: u64,
    pub(crate) kept: bool,
}

#[derive(Encode, Decode)]
pub(crate) struct Evicted {
    pub(crate) session: Session,
    pub(crate) number: u64,
}

#[derive(Encode, Decode)]
pub(crate) struct Redirect {
    pub(crate) primary: u32,
}

#[derive(Encode, Decode)]
pub(crate) struct Refused {
    pub(crate) session: Option<Session>,
    pub(crate) number: u64,
    pub(crate) reason: Refusal,
}

#[derive(Clone, Copy, Encode, Decode)]
pub(crate) enum Refusal {
    Busy,
    LogFull,
    DiskFull,
    NotYours,
    Malformed,
    Forbidden,
}

impl From<CoreRefusal> for Refusal {
    fn from(refusal: CoreRefusal) -> Self {
        match refusal {
            CoreRefusal::Busy => Self::Busy,
            CoreRefusal::LogFull => Self::LogFull,
            CoreRefusal::DiskFull => Self::DiskFull,
            CoreRefusal::NotYours => Self::NotYours,
            CoreRefusal::Malformed => Self::Malformed,
            CoreRefusal::Forbidden => Self::Forbidden,
        }
    }
}

impl From<Refusal> for CoreRefusal {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Busy => Self::Busy,
            Refusal::LogFull => Self::LogFull,
            Refusal::DiskFull => Self::DiskFull,
            Refusal::NotYours => Self::NotYours,
            Refusal::Malformed => Self::Malformed,
            Refusal::Forbidden => Self::Forbidden,
        }
    }
}

/// Followed by the service's answer.
#[derive(Encode, Decode)]
pub(crate) struct ReadReply {
    pub(crate) number: u64,
    pub(crate) op: u64,
}

#[derive(Encode, Decode)]
pub(crate) struct ReadRefused {
    pub(crate) number: u64,
    pub(crate) reason: ReadRefusal,
}

#[derive(Clone, Copy, Encode, Decode)]
pub(crate) enum ReadRefusal {
    Busy,
    NotConfirmed,
    Behind,
    NotARead,
    Forbidden,
}

impl From<CoreReadRefusal> for ReadRefusal {
    fn from(refusal: CoreReadRefusal) -> Self {
        match refusal {
            CoreReadRefusal::Busy => Self::Busy,
            CoreReadRefusal::NotConfirmed => Self::NotConfirmed,
            CoreReadRefusal::Behind => Self::Behind,
            CoreReadRefusal::NotARead => Self::NotARead,
            CoreReadRefusal::Forbidden => Self::Forbidden,
        }
    }
}

impl From<ReadRefusal> for CoreReadRefusal {
    fn from(refusal: ReadRefusal) -> Self {
        match refusal {
            ReadRefusal::Busy => Self::Busy,
            ReadRefusal::NotConfirmed => Self::NotConfirmed,
            ReadRefusal::Behind => Self::Behind,
            ReadRefusal::NotARead => Self::NotARead,
            ReadRefusal::Forbidden => Self::Forbidden,
        }
    }
}

#[derive(Encode, Decode)]
pub(crate) struct Inform {
    pub(crate) epoch: u32,
    pub(crate) view: u64,
    pub(crate) primary: u32,
}

impl<B> From<Registered> for ClientReplyKind<B> {
    fn from(registered: Registered) -> Self {
        Self::Registered { session: registered.session.into(), window: registered.window }
    }
}

impl<B> From<Evicted> for ClientReplyKind<B> {
    fn from(evicted: Evicted) -> Self {
        Self::Evicted { session: evicted.session.into(), number: RequestNumber(evicted.number) }
    }
}

impl<B> From<Redirect> for ClientReplyKind<B> {
    fn from(redirect: Redirect) -> Self {
        Self::Redirect { primary: ReplicaId(redirect.primary) }
    }
}

impl<B> From<Refused> for ClientReplyKind<B> {
    fn from(refused: Refused) -> Self {
        Self::Refused {
            session: refused.session.map(Into::into),
            number: RequestNumber(refused.number),
            reason: refused.reason.into(),
        }
    }
}

impl<B> From<ReadRefused> for ClientReplyKind<B> {
    fn from(refused: ReadRefused) -> Self {
        Self::ReadRefused { number: RequestNumber(refused.number), reason: refused.reason.into() }
    }
}
