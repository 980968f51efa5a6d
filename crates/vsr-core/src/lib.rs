//! Viewstamped Replication as a state machine without IO: events in, effects out.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod client;
mod config;
mod digest;
mod effect;
mod entry;
mod event;
mod message;
mod quorum;
mod replica;
mod service;
mod timing;
mod types;

pub use client::{Client, ClientEffect, ClientEvent, Outcome};
pub use config::{
    Config, Configuration, ConfigurationError, Constants, Member, Quorums, Role, STANDBYS_MAX,
    VOTERS_MAX,
};
pub use digest::{Checksum, Digest};
pub use effect::{
    Effect, Effects, HaltReason, Ignored, Mark, Note, StatusName, Timer, Write, WriteKind, Written,
};
pub use entry::{Entry, EntryKind, Header, Request, digest_of_requests};
pub use event::{DiskState, Event, Operator, Stored, StoredSlot, SuperblockState};
pub use message::{
    Class, ClientReply, ClientReplyKind, ClientRequest, ClientRequestKind, Committed, HEADERS_MAX,
    Kind, Message, Refusal, SuffixSlot, WANTED_MAX,
};
pub use quorum::Voters;
pub use replica::{Replica, Summary};
pub use service::{Context, Service, apply};
pub use timing::Timing;
pub use types::{
    Body, ClientId, ClusterId, Epoch, Incarnation, Nonce, OpNumber, Release, ReplicaId,
    RequestNumber, Session, Subject, Timestamp, ViewNumber,
};
