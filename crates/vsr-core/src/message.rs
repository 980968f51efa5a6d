//! What replicas say to one another and to clients. Names are the paper's; those the paper lacks
//! are listed in `docs/PROTOCOL.md`.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use crate::digest::Checksum;
use crate::entry::{Entry, Header, Request};
use crate::event::Checkpoint;
use crate::quorum::Voters;
use crate::types::{
    ClientId, ClusterId, Epoch, Incarnation, Nonce, OpNumber, ReplicaId, RequestNumber, Session,
    ViewNumber,
};

/// The most headers in one HEADERS message: 128 KiB at about 128 bytes each.
pub const HEADERS_MAX: usize = 1024;

/// The most entries asked for in one GET-ENTRY.
pub const WANTED_MAX: usize = 64;

/// The most bytes of a checkpoint's manifest in one CHECKPOINT: small enough to pass between PREPAREs.
pub const PAGE_BYTES: u32 = 64 << 10;

/// The most chunks asked for in one GET-CHUNK, which is also what may be on its way to one replica.
pub const CHUNKS_WANTED_MAX: usize = 16;

/// A message from one replica to another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Message<B> {
    /// The sender's cluster.
    pub cluster: ClusterId,
    /// The sender's epoch.
    pub epoch: Epoch,
    /// The sender's view; for GET-VIEW the view asked for.
    pub view: ViewNumber,
    /// The sender's incarnation.
    pub incarnation: Incarnation,
    /// What is said.
    pub kind: Kind<B>,
}

/// A commit-number with the checksum of the entry it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Committed {
    /// All entries up to this one are committed.
    pub op: OpNumber,
    /// The checksum of the entry at `op`.
    pub checksum: Checksum,
}

/// What a replica says of one op of its log's suffix in DO-VIEW-CHANGE.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SuffixSlot {
    /// The header at this op; `None` is a gap.
    pub header: Option<Header>,
    /// The sender holds the entry's requests.
    pub present: bool,
    /// The sender proves that it never held this entry durably, and so never acknowledged it.
    pub nack: bool,
}

/// What is said. PREPARE-OK and the others print in the paper's spelling; see [`Kind::name`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Kind<B> {
    /// "I am here": sent by all at a slow pace.
    Ping {
        /// The last view the sender was normal in; less than its view while it changes views.
        log_view: ViewNumber,
        /// The sender's op-number.
        op: OpNumber,
        /// What the sender knows to be committed, as far as it has the headers.
        commit: Committed,
        /// Whom the sender heard lately.
        heard: Voters,
        /// What the sender keeps.
        kept: Kept,
    },
    /// The primary asks the backups to hold an entry.
    Prepare {
        /// The entry.
        entry: Entry<B>,
        /// What is committed.
        commit: Committed,
    },
    /// A backup holds, durably, every entry up to `op`.
    PrepareOk {
        /// The op-number up to which all is held.
        op: OpNumber,
        /// The checksum of the entry at `op`.
        checksum: Checksum,
        /// What the sender has executed.
        commit_min: OpNumber,
    },
    /// The primary says what is committed, also as its sign of life.
    Commit {
        /// What is committed.
        commit: Committed,
    },
    /// A vote to leave the view in the envelope.
    StartViewChange {
        /// The last view the sender was normal in.
        log_view: ViewNumber,
    },
    /// The sender has entered the view in the envelope and offers its log.
    DoViewChange {
        /// The last view the sender was normal in: ranks its log.
        log_view: ViewNumber,
        /// The sender's op-number.
        op: OpNumber,
        /// What the sender has executed.
        commit_min: OpNumber,
        /// What the sender knows to be committed.
        commit_max: OpNumber,
        /// One slot for each op up to `op`, ascending, the last of them `op`; at most the pipeline
        /// and one more.
        suffix: Vec<SuffixSlot>,
    },
    /// The primary starts the view in the envelope with this log.
    StartView {
        /// What is committed, as far as the primary knows.
        commit_max: OpNumber,
        /// The log's last headers, ascending and linked; never empty.
        suffix: Vec<Header>,
        /// The question this answers, if it answers one.
        nonce: Option<Nonce>,
    },
    /// Asks the primary of the view in the envelope for START-VIEW.
    GetView {
        /// To be repeated in the answer.
        nonce: Nonce,
        /// What the asker keeps, if it is unsure of its head: it changes no view before it is told one, and does not
        /// ping.
        uncertain: Option<Kept>,
    },
    /// Asks for headers, last one first if not all fit.
    GetHeaders {
        /// The first op wanted.
        first: OpNumber,
        /// The last op wanted.
        last: OpNumber,
    },
    /// Headers that were asked for, ascending and linked.
    Headers {
        /// At most [`HEADERS_MAX`].
        headers: Vec<Header>,
    },
    /// Asks for entries by identity.
    GetEntry {
        /// At most [`WANTED_MAX`].
        wanted: Vec<(OpNumber, Checksum)>,
    },
    /// An entry that was asked for.
    Entry {
        /// The entry.
        entry: Entry<B>,
    },
    /// An entry that was asked for and that the sender never held: only a hint to ask elsewhere. Unasked, to
    /// the primary: the value predicted for this entry was refused, and it is not held.
    Nack {
        /// The op asked for.
        op: OpNumber,
        /// The checksum asked for.
        checksum: Checksum,
    },
    /// From a primary, or brought by a backup: "are you in my view still?" From a backup, to the primary: "up to which op must
    /// I have executed to answer reads?"
    ReadProbe {
        /// To be repeated in the answer.
        nonce: Nonce,
        /// From a primary: "pass this on to the other backups."
        relay: bool,
    },
    /// Answers READ-PROBE.
    ReadOk {
        /// The question's.
        nonce: Nonce,
        /// From the primary, once voters enough confirmed that it still is: the read index. `None` from a
        /// backup, which says only that it is normal in the view in the envelope.
        index: Option<OpNumber>,
    },
    /// From the primary: "what would you predict for an entry with these requests?" (paper, section 4.4)
    PreStep {
        /// To be repeated in the answer.
        nonce: Nonce,
        /// The requests, shared with the primary's own question to its service.
        requests: Arc<[Request<B>]>,
    },
    /// Answers PRE-STEP.
    PreStepOk {
        /// The question's.
        nonce: Nonce,
        /// At most [`PREDICTION_BYTES_MAX`](crate::PREDICTION_BYTES_MAX) bytes.
        value: B,
    },
    /// Asks for a checkpoint's manifest.
    GetCheckpoint {
        /// The checkpoint's id.
        id: Checksum,
        /// From which of the manifest's bytes on.
        offset: u32,
    },
    /// A part of a checkpoint's manifest.
    Checkpoint {
        /// It was committed in this view or in an earlier one.
        committed_by: ViewNumber,
        /// The checkpoint.
        checkpoint: Checkpoint,
        /// How many bytes the manifest has.
        length: u32,
        /// Where in it the page begins.
        offset: u32,
        /// At most [`PAGE_BYTES`] of it.
        page: B,
    },
    /// Asks for chunks of checkpoints, whichever have them.
    GetChunk {
        /// Their digests, at most [`CHUNKS_WANTED_MAX`].
        wanted: Vec<Checksum>,
    },
    /// A chunk that was asked for. What it is, its digest says.
    Chunk {
        /// At most [`CHUNK_BYTES_MAX`](crate::CHUNK_BYTES_MAX) bytes.
        chunk: B,
    },
    /// A checkpoint or a chunk that the sender does not have: only a hint to ask elsewhere.
    NoChunk {
        /// The checkpoint's id, or the chunk's digest.
        name: Checksum,
    },
    /// The sender lost its memory, and asks in which view the others are. The view in the envelope is
    /// its fence: the latest that it may have promised anything in.
    Recovery {
        /// To be repeated in the answer.
        nonce: Nonce,
    },
    /// Answers RECOVERY: the sender is normal in the view in the envelope.
    RecoveryResponse {
        /// The question's.
        nonce: Nonce,
        /// From that view's primary what it knows to be committed; zero from others.
        commit_max: OpNumber,
        /// From that view's primary its log's last headers, ascending and linked; empty from others.
        suffix: Vec<Header>,
    },
}

impl<B> Kind<B> {
    /// The message's name as the paper spells it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Ping { .. } => "PING",
            Self::Prepare { .. } => "PREPARE",
            Self::PrepareOk { .. } => "PREPARE-OK",
            Self::Commit { .. } => "COMMIT",
            Self::StartViewChange { .. } => "START-VIEW-CHANGE",
            Self::DoViewChange { .. } => "DO-VIEW-CHANGE",
            Self::StartView { .. } => "START-VIEW",
            Self::GetView { .. } => "GET-VIEW",
            Self::GetHeaders { .. } => "GET-HEADERS",
            Self::Headers { .. } => "HEADERS",
            Self::GetEntry { .. } => "GET-ENTRY",
            Self::Entry { .. } => "ENTRY",
            Self::Nack { .. } => "NACK",
            Self::ReadProbe { .. } => "READ-PROBE",
            Self::ReadOk { .. } => "READ-OK",
            Self::PreStep { .. } => "PRE-STEP",
            Self::PreStepOk { .. } => "PRE-STEP-OK",
            Self::GetCheckpoint { .. } => "GET-CHECKPOINT",
            Self::Checkpoint { .. } => "CHECKPOINT",
            Self::GetChunk { .. } => "GET-CHUNK",
            Self::Chunk { .. } => "CHUNK",
            Self::NoChunk { .. } => "NO-CHUNK",
            Self::Recovery { .. } => "RECOVERY",
            Self::RecoveryResponse { .. } => "RECOVERY-RESPONSE",
        }
    }

    /// Which queue of a connection the message belongs to.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::Prepare { .. } | Self::PreStep { .. } => Class::Prepares,
            Self::Headers { .. }
            | Self::Entry { .. }
            | Self::Checkpoint { .. }
            | Self::Chunk { .. } => Class::Bulk,
            Self::Ping { .. }
            | Self::PrepareOk { .. }
            | Self::Commit { .. }
            | Self::StartViewChange { .. }
            | Self::DoViewChange { .. }
            | Self::StartView { .. }
            | Self::GetView { .. }
            | Self::GetHeaders { .. }
            | Self::GetEntry { .. }
            | Self::Nack { .. }
            | Self::ReadProbe { .. }
            | Self::ReadOk { .. }
            | Self::PreStepOk { .. }
            | Self::GetCheckpoint { .. }
            | Self::GetChunk { .. }
            | Self::NoChunk { .. }
            | Self::Recovery { .. }
            | Self::RecoveryResponse { .. } => Class::Control,
        }
    }
}

/// Which queue of a connection a message belongs to: bulk never delays control.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Small and urgent.
    Control,
    /// PREPAREs.
    Prepares,
    /// Repair and state transfer.
    Bulk,
}

/// What a replica keeps of the past.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Kept {
    /// The op of its latest durable checkpoint; zero where there is none.
    pub checkpoint: OpNumber,
    /// The digest of that checkpoint; zero where there is none.
    pub id: Checksum,
    /// What every member has in a checkpoint, as far as the sender knows: no log need hold it.
    pub trimmed: OpNumber,
    /// What as many voters as replicate an entry have in checkpoints, as far as the sender knows.
    pub covered: OpNumber,
    /// The op that its log begins after: it can give nobody what lies before.
    pub begins: OpNumber,
    /// Up to which op it can give all from there on.
    pub held: OpNumber,
    /// What it has of the entry after that.
    pub next: Next,
    /// Its service has no state: the checkpoint is damaged, and nobody gave what it lacks.
    pub lost: bool,
}

/// What a replica has of the first entry that it cannot give.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Next {
    /// It may have it, or has executed it.
    #[default]
    Unsaid,
    /// Nothing, and nothing after it: its log ends before.
    End,
    /// It never had it, and would deny it.
    Never,
    /// It had it, or may have, and cannot read it.
    Damaged,
}

/// What a client says to a replica.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientRequest<B> {
    /// The cluster the client means.
    pub cluster: ClusterId,
    /// The client.
    pub client: ClientId,
    /// The latest view the client heard of. A replica in an earlier view does not evict it.
    pub view: ViewNumber,
    /// What it asks.
    pub kind: ClientRequestKind<B>,
}

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ClientRequestKind<B> {
    /// A session.
    Register,
    /// An operation.
    Operation {
        /// The client's session.
        session: Session,
        /// The operation's number within the session.
        number: RequestNumber,
        /// `number` less the lowest operation of the session whose reply the client lacks; less than
        /// the window.
        span: u8,
        /// The checksum of `body`.
        digest: Checksum,
        /// The operation.
        body: B,
    },
    /// An operation that leaves the state as it is, answered without an entry in the log. It needs no
    /// session and may be repeated at will.
    Read {
        /// The read's number, chosen by the client: the answer repeats it.
        number: RequestNumber,
        /// How old what it sees may be.
        policy: ReadPolicy,
        /// The operation.
        body: B,
    },
}

/// How old what a read sees may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReadPolicy {
    /// It sees every operation that was answered before it was sent. At any replica.
    Linearizable,
    /// It sees every operation that was answered so long before it was sent. At any replica: one that
    /// knows by a round of its own that what it has executed is young enough asks nobody.
    Bounded {
        /// The age, in milliseconds.
        age: u32,
    },
    /// It sees at least all up to `after`, as a backup may without asking anybody (paper, section 6.3).
    Causal {
        /// The highest op-number that any reply to this client named.
        after: OpNumber,
    },
}

/// What a replica says to a client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientReply<B> {
    /// The sender's cluster.
    pub cluster: ClusterId,
    /// The sender's epoch.
    pub epoch: Epoch,
    /// The sender's view.
    pub view: ViewNumber,
    /// The client this is for.
    pub client: ClientId,
    /// What is said.
    pub kind: ClientReplyKind<B>,
}

/// What a replica answers to a client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ClientReplyKind<B> {
    /// The session asked for.
    Registered {
        /// The session.
        session: Session,
        /// How many operations may be under way in it at a time.
        window: u32,
    },
    /// The operation was executed, exactly once.
    Reply {
        /// The session it belongs to.
        session: Session,
        /// The operation's number.
        number: RequestNumber,
        /// The entry that held it.
        op: OpNumber,
        /// The service's reply; `None` if this is a retry and the reply was too large to keep.
        body: Option<B>,
    },
    /// The session is gone, and nothing of it will be executed any more. This copy of the operation
    /// was not executed, nor will one of a later number be; whether another copy was is not known.
    Evicted {
        /// The session that is gone.
        session: Session,
        /// The operation's number.
        number: RequestNumber,
    },
    /// This replica is not the primary; that one is, as far as this one knows.
    Redirect {
        /// The primary of the view in the envelope.
        primary: ReplicaId,
    },
    /// Not accepted, and not executed unless it is sent again: try later, or give up.
    Refused {
        /// The operation's session; `None` for a registration.
        session: Option<Session>,
        /// The operation's number; zero for a registration.
        number: RequestNumber,
        /// Why.
        reason: Refusal,
    },
    /// What a read saw.
    ReadReply {
        /// The read's number.
        number: RequestNumber,
        /// It saw everything up to this op, and nothing after it.
        op: OpNumber,
        /// The service's answer.
        body: B,
    },
    /// A read was not answered.
    ReadRefused {
        /// The read's number.
        number: RequestNumber,
        /// Why.
        reason: ReadRefusal,
    },
}

impl fmt::Display for ReadRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Busy => "too many reads wait there: try again after a while",
            Self::NotConfirmed => "too few replicas confirmed in time who the primary is",
            Self::Behind => "no replica that was asked has got as far as the read must see",
            Self::NotARead => "the operation may change something, or is too large, to be read",
            Self::Forbidden => "the client's certificate does not allow this read",
        })
    }
}

impl<B> ClientReplyKind<B> {
    /// Whether this answers a read, so that a [`Reader`](crate::Reader) waits for it.
    #[must_use]
    pub const fn is_of_read(&self) -> bool {
        match self {
            Self::ReadReply { .. } | Self::ReadRefused { .. } => true,
            Self::Registered { .. }
            | Self::Reply { .. }
            | Self::Evicted { .. }
            | Self::Redirect { .. }
            | Self::Refused { .. } => false,
        }
    }
}

/// Why a read was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReadRefusal {
    /// Too many reads wait here. Try again after a while, or elsewhere.
    Busy,
    /// Too few replicas confirmed in time who the primary is. Try again, or elsewhere.
    NotConfirmed,
    /// This replica did not get as far in time as the read must see. Try elsewhere.
    Behind,
    /// The operation may change the state, is too large, or cannot be read.
    NotARead,
    /// The client's certificate does not allow it.
    Forbidden,
}

/// Why a request was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// Too much waits already. Try again after a while.
    Busy,
    /// The log is full. New operations are refused until there is room.
    LogFull,
    /// The disk is full.
    DiskFull,
    /// The session belongs to another subject.
    NotYours,
    /// The operation is larger than the cluster's limit, or its digest does not match.
    Malformed,
    /// The client's certificate does not allow this operation.
    Forbidden,
}
