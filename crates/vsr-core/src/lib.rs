//! Viewstamped Replication as a state machine without IO: events in, effects out.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

// What everything speaks of.
mod types;
mod digest;
mod config;
mod quorum;
mod entry;
mod message;
mod event;
mod effect;
mod timing;
mod service;
// A replica's data.
mod log;
mod client_table;
mod status;
// A replica: the frame, the door, and one sub-protocol a file.
mod replica;
mod outbox;
mod recovery;
mod normal;
mod prediction;
mod session;
mod commit;
mod reads;
mod checkpoint;
mod transfer;
mod serving;
mod connectivity;
mod hopeless;
mod view_change;
mod search;
mod fence;
mod selection;
mod repair;
mod usage;
mod trace;
// A client.
mod client;
mod reader;

pub use client::{CallId, Client, ClientEffect, ClientEvent, Outcome};
pub use client_table::{KeptOperation, KeptReply, SessionState};
pub use config::{
    Config, Configuration, ConfigurationError, Constants, Durability, Member, Quorums, Role,
    STANDBYS_MAX, VOTERS_MAX,
};
pub use digest::{Checksum, Digest};
pub use effect::{
    Effect, Effects, Fetch, HaltReason, Ignored, Mark, Note, Query, StatusName, Timer, Wanted,
    Write, WriteKind, Written,
};
pub use entry::{Entry, EntryKind, Header, PREDICTION_BYTES_MAX, Request, digest_of_requests};
pub use event::{
    Checkpoint, DiskState, Event, Fetched, Operator, Served, Stored, StoredSlot, SuperblockState,
};
pub use fence::RecoveryProgress;
pub use log::Holding;
pub use message::{
    CHUNKS_WANTED_MAX, Class, ClientReply, ClientReplyKind, ClientRequest, ClientRequestKind,
    Committed, HEADERS_MAX, Kept, Kind, Message, Next, PAGE_BYTES, ReadPolicy, ReadRefusal,
    Refusal, SuffixSlot, WANTED_MAX,
};
pub use quorum::Voters;
pub use reader::{ReadFrom, ReadOutcome, Reader, ReaderEffect};
pub use replica::{BODIES_IN_MEMORY, Replica, Summary};
pub use service::{
    CHUNK_BYTES_MAX, Chunk, Context, Implausible, Prediction, RestoreError, Service, apply, query,
};
pub use timing::Timing;
pub use transfer::TransferProgress;

pub use trace::{TraceLine, Traced};
pub use types::{
    Body, ClientId, ClusterId, Epoch, Incarnation, Moment, Nonce, OpNumber, Release, ReplicaId,
    RequestNumber, Session, StoreId, Subject, Timestamp, ViewNumber,
};
pub use usage::Usage;
