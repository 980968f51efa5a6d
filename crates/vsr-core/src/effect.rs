//! What a replica wants done: the only way out.
//!
//! # Contract
//!
//! 1. [`Effect::Apply`], [`Effect::Checkpoint`], [`Effect::Query`], [`Effect::Predict`], [`Effect::Combine`] and [`Effect::Check`]
//!    calls on the service run in the order given. [`Effect::Arm`] and [`Effect::Disarm`] take effect in order. A timeout is never queued: the driver looks at its
//!    deadlines last in a round, after all `Arm` and `Disarm`. All else may be done in any order,
//!    together or later.
//! 2. A [`Effect::Send`], [`Effect::Broadcast`], [`Effect::Reply`] or [`Effect::Inform`] may be
//!    lost, doubled or late; queues are bounded and drop when full. Whatever is handed out may be
//!    sent at once: what must wait for the disk has not been handed out yet.
//! 3. A [`Effect::Persist`] may not be lost: finish it, or stop the process. Writes reach the disk in
//!    the order given. After a failed sync stop, and never retry.
//! 4. [`Write::done`] is the only way to acknowledge; [`Written::and`] joins what one sync completed.
//! 5. [`Effect::Note`]s are for people: logs, metrics, coverage marks. Nothing depends on them.
//!
//! Misuse is harmless: a doubled completion, a stale timer, a message of a stranger, of another
//! cluster, epoch or view changes nothing, and a [`Note::Ignored`] says why.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use crate::client_table::SessionState;
use crate::digest::Checksum;
use crate::entry::{Entry, Header, Request};
use crate::event::{Checkpoint, SuperblockState};
use crate::message::{ClientReply, ClientReplyKind, Message, ReadRefusal};
use crate::service::Implausible;
use crate::types::{Incarnation, Nonce, OpNumber, ReplicaId, ViewNumber};

/// Something to be done. Exhaustive on purpose: a new kind must break every driver's build.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect<B> {
    /// Send a message to one replica.
    Send {
        /// The receiver.
        to: ReplicaId,
        /// The message; `message.kind.class()` says which queue it belongs to.
        message: Message<B>,
    },
    /// Send a message to every other member; encode it once.
    Broadcast {
        /// The message.
        message: Message<B>,
    },
    /// Send a reply to the client it names.
    Reply(ClientReply<B>),
    /// Tell every connected client that this replica is the primary of a view and takes requests;
    /// clients that wait send again at once.
    Inform {
        /// The view that has begun.
        view: ViewNumber,
        /// Its primary.
        primary: ReplicaId,
    },
    /// Make something durable.
    Persist(Write<B>),
    /// Read entries from the store; answered by [`Event::EntriesRead`](crate::Event::EntriesRead).
    /// The driver may answer with a part, as long as it is not empty.
    ReadEntries {
        /// The first op wanted.
        first: OpNumber,
        /// The last op wanted.
        last: OpNumber,
    },
    /// Have the service execute an entry; answered by [`Event::Applied`](crate::Event::Applied).
    Apply {
        /// The entry.
        entry: Entry<B>,
        /// Positions of operations in the entry that must not be executed (again), ascending.
        skip: Vec<u32>,
    },
    /// Have the service predict a value for an entry with these requests (paper, section 4.4), after all that
    /// was applied before this; answered by [`Event::Predicted`](crate::Event::Predicted).
    Predict {
        /// To be repeated in the answer.
        ticket: Nonce,
        /// The entry's requests.
        requests: Arc<[Request<B>]>,
    },
    /// Have the service make one value of those that several replicas predicted; answered by
    /// [`Event::Predicted`](crate::Event::Predicted).
    Combine {
        /// To be repeated in the answer.
        ticket: Nonce,
        /// The entry's requests.
        requests: Arc<[Request<B>]>,
        /// The own value and those of f backups, by replica, ascending.
        values: Vec<(ReplicaId, B)>,
    },
    /// Have the service judge the value that was predicted for an entry; answered by
    /// [`Event::Checked`](crate::Event::Checked).
    Check {
        /// The entry, which has a value.
        entry: Entry<B>,
    },
    /// Freeze the service's state as it is after all that was applied before this, and make it durable
    /// with the client-table, beside the checkpoint before; answered by
    /// [`Event::Checkpointed`](crate::Event::Checkpointed). The driver may go on with everything else
    /// meanwhile. Two checkpoints at least are kept: the superblock may still name the one before.
    Checkpoint {
        /// The header of the last entry executed.
        header: Header,
        /// The client-table, by slot, ascending.
        sessions: Vec<(u32, SessionState<B>)>,
    },
    /// Have the service answer a read, and send the answer to the client it names. It sees all that was
    /// applied before this, and nothing that is applied after it.
    Query(Query<B>),
    /// Read for a peer what it needs of a checkpoint, off the event loop and at a bounded rate; answered by
    /// [`Event::Served`](crate::Event::Served).
    Serve {
        /// Who asked.
        to: ReplicaId,
        /// What for.
        wanted: Wanted,
    },
    /// Have the store fetch a checkpoint; in the order given. Answered by
    /// [`Event::Fetched`](crate::Event::Fetched), except for [`Fetch::Put`] and [`Fetch::Abandon`].
    Fetch(Fetch<B>),
    /// Replace the service's state by that of a checkpoint which is whole in the store; answered by
    /// [`Event::Restored`](crate::Event::Restored), or by [`Event::NotRestored`](crate::Event::NotRestored). Nothing is
    /// with the service meanwhile.
    Restore {
        /// The checkpoint.
        checkpoint: Checkpoint,
    },
    /// Start a timer, or start it anew. How long it runs is [`Timing`](crate::Timing)'s to say.
    Arm {
        /// Which one.
        timer: Timer,
        /// How often it was armed in vain before: the delay grows with it.
        attempt: u32,
    },
    /// Stop a timer.
    Disarm(Timer),
    /// For people.
    Note(Note),
    /// The replica has proof that its own state is wrong, and does nothing any more. The process
    /// must stop, and not start again by itself.
    Halt(HaltReason),
}

/// What a peer wants of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// A part of a manifest.
    Page {
        /// The checkpoint's id.
        id: Checksum,
        /// Where the part begins.
        offset: u32,
    },
    /// The chunk with this digest.
    Chunk(Checksum),
}

impl Wanted {
    /// What is wanted: the id of a checkpoint, or the digest of a chunk.
    #[must_use]
    pub const fn name(&self) -> Checksum {
        match self {
            Self::Page { id, .. } => *id,
            Self::Chunk(digest) => *digest,
        }
    }
}

/// What the store is to do about a checkpoint that is being fetched.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Fetch<B> {
    /// Begin, or go on where it left off. What was being fetched before gives way.
    Begin {
        /// The checkpoint.
        checkpoint: Checkpoint,
        /// The pages of its manifest, in order. They were not verified.
        manifest: Vec<B>,
    },
    /// Keep a chunk.
    Put {
        /// Its bytes.
        chunk: B,
    },
    /// Make durable what was put, and say what is missing.
    Sync {
        /// The checkpoint's id.
        id: Checksum,
    },
    /// All chunks are here: make it a checkpoint like any other.
    Finish {
        /// The checkpoint's id.
        id: Checksum,
    },
    /// Forget what was fetched.
    Abandon,
    /// Begin to fetch what is damaged of a checkpoint that is here.
    Mend {
        /// The checkpoint.
        checkpoint: Checkpoint,
    },
}

/// The effects of steps, in order. Owned and reused by the caller.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[must_use = "effects must be carried out"]
pub struct Effects<B>(Vec<Effect<B>>);

impl<B> Effects<B> {
    /// No effects.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Takes the effects out, in order; the storage is kept for reuse.
    pub fn drain(&mut self) -> impl Iterator<Item = Effect<B>> + '_ {
        self.0.drain(..)
    }

    /// The effects, in order.
    pub fn as_slice(&self) -> &[Effect<B>] {
        &self.0
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn push(&mut self, effect: Effect<B>) {
        self.0.push(effect);
    }
}

impl<B> Default for Effects<B> {
    fn default() -> Self {
        Self::new()
    }
}

/// A read that may be answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[must_use = "a client waits for the answer"]
pub struct Query<B> {
    /// The answer, but that the place of its body is taken by the operation.
    answer: ClientReply<B>,
}

impl<B> Query<B> {
    pub(crate) const fn new(answer: ClientReply<B>) -> Self {
        Self { answer }
    }

    /// The answer to send, made by `service` from the operation; `None` is for what it takes for no
    /// read.
    #[must_use = "a client waits for it"]
    pub fn answer(self, service: impl FnOnce(&B) -> Option<B>) -> ClientReply<B> {
        let ClientReply { cluster, epoch, view, client, kind } = self.answer;
        let kind = match kind {
            ClientReplyKind::ReadReply { number, op, body } => match service(&body) {
                Some(body) => ClientReplyKind::ReadReply { number, op, body },
                None => ClientReplyKind::ReadRefused { number, reason: ReadRefusal::NotARead },
            },
            other @ (ClientReplyKind::Registered { .. }
            | ClientReplyKind::Reply { .. }
            | ClientReplyKind::Evicted { .. }
            | ClientReplyKind::Redirect { .. }
            | ClientReplyKind::Refused { .. }
            | ClientReplyKind::ReadRefused { .. }) => other,
        };
        ClientReply { cluster, epoch, view, client, kind }
    }
}

/// Something to be made durable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[must_use = "a write must be carried out and acknowledged by `done`"]
pub struct Write<B> {
    incarnation: Incarnation,
    sequence: u64,
    kind: WriteKind<B>,
}

/// What is to be made durable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum WriteKind<B> {
    /// Entries of the log, ascending, each for the slot of its op. What that slot held is
    /// superseded.
    Append(Vec<Entry<B>>),
    /// The superblock. Where several wait, the latest is enough.
    Superblock(Box<SuperblockState>),
    /// Remember that a slot is damaged, so that a second crash does not make it look empty.
    MarkFaulty(OpNumber),
}

impl<B> Write<B> {
    pub(crate) const fn new(incarnation: Incarnation, sequence: u64, kind: WriteKind<B>) -> Self {
        Self { incarnation, sequence, kind }
    }

    /// What is to be made durable.
    pub const fn kind(&self) -> &WriteKind<B> {
        &self.kind
    }

    /// Says that the write is durable: call it only after the sync returned without error.
    #[must_use = "the replica waits for this"]
    pub fn done(self) -> Written {
        Written {
            incarnation: self.incarnation,
            ranges: alloc::vec![(self.sequence, self.sequence)],
        }
    }
}

/// Proof that writes are durable, made by [`Write::done`] alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Written {
    incarnation: Incarnation,
    /// First and last sequence numbers of runs of writes.
    ranges: Vec<(u64, u64)>,
}

impl Written {
    /// Joins what one sync made durable.
    #[must_use]
    pub fn and(mut self, later: Self) -> Self {
        debug_assert_eq!(self.incarnation, later.incarnation, "one sync serves one incarnation");
        for range in later.ranges {
            match self.ranges.last_mut() {
                Some(last) if last.1 + 1 == range.0 => last.1 = range.1,
                Some(_) | None => self.ranges.push(range),
            }
        }
        self
    }

    pub(crate) const fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    pub(crate) fn ranges(&self) -> &[(u64, u64)] {
        &self.ranges
    }
}

/// A replica's timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// Nothing from the primary for so long that its view should be left.
    PrimarySilence,
    /// Nothing from the primary for longer than usual.
    PrimaryLate,
    /// A vote to leave the view is sent again.
    VoteResend,
    /// The vote of the member with this index no longer counts.
    VoteExpiry(u8),
    /// DO-VIEW-CHANGE is sent again.
    DoViewChangeResend,
    /// The view change has not come to an end.
    ViewChangeStuck,
    /// The primary shows that it lives.
    Heartbeat,
    /// The primary sends unacknowledged entries again.
    PrepareResend,
    /// The primary has not heard a quorum for so long that it should give way.
    Abdicate,
    /// GET-VIEW is sent again.
    GetView,
    /// Missing headers and entries are asked for again.
    Repair,
    /// All replicas tell one another where they are.
    Ping,
    /// READ-PROBE is sent again.
    ReadResend,
    /// A part of a checkpoint is asked for again.
    Transfer,
    /// RECOVERY is sent again.
    Recovery,
    /// PRE-STEP is sent again.
    PreStepResend,
}

impl Timer {
    /// How many timers there are: the length of a driver's array of deadlines.
    pub const COUNT: usize = 15 + crate::config::VOTERS_MAX + crate::config::STANDBYS_MAX;

    /// The timer's place in an array of deadlines, less than [`Timer::COUNT`].
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::PrimarySilence => 0,
            Self::PrimaryLate => 1,
            Self::VoteResend => 2,
            Self::DoViewChangeResend => 3,
            Self::ViewChangeStuck => 4,
            Self::Heartbeat => 5,
            Self::PrepareResend => 6,
            Self::Abdicate => 7,
            Self::GetView => 8,
            Self::Repair => 9,
            Self::Ping => 10,
            Self::ReadResend => 11,
            Self::Transfer => 12,
            Self::Recovery => 13,
            Self::PreStepResend => 14,
            Self::VoteExpiry(member) => 15 + member as usize,
        }
    }

    /// The timer at a place in an array of deadlines.
    ///
    /// # Panics
    /// If `index` is not less than [`Timer::COUNT`].
    #[must_use]
    pub fn at(index: usize) -> Self {
        match index {
            0 => Self::PrimarySilence,
            1 => Self::PrimaryLate,
            2 => Self::VoteResend,
            3 => Self::DoViewChangeResend,
            4 => Self::ViewChangeStuck,
            5 => Self::Heartbeat,
            6 => Self::PrepareResend,
            7 => Self::Abdicate,
            8 => Self::GetView,
            9 => Self::Repair,
            10 => Self::Ping,
            11 => Self::ReadResend,
            12 => Self::Transfer,
            13 => Self::Recovery,
            14 => Self::PreStepResend,
            member => {
                assert!(member < Self::COUNT, "a timer's index is less than Timer::COUNT");
                Self::VoteExpiry((member - 15) as u8)
            }
        }
    }
}

impl fmt::Display for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PrimarySilence => f.write_str("primary-silence"),
            Self::PrimaryLate => f.write_str("primary-late"),
            Self::VoteResend => f.write_str("vote-resend"),
            Self::VoteExpiry(member) => write!(f, "vote-expiry({member})"),
            Self::DoViewChangeResend => f.write_str("do-view-change-resend"),
            Self::ViewChangeStuck => f.write_str("view-change-stuck"),
            Self::Heartbeat => f.write_str("heartbeat"),
            Self::PrepareResend => f.write_str("prepare-resend"),
            Self::Abdicate => f.write_str("abdicate"),
            Self::GetView => f.write_str("get-view"),
            Self::Repair => f.write_str("repair"),
            Self::Ping => f.write_str("ping"),
            Self::ReadResend => f.write_str("read-resend"),
            Self::Transfer => f.write_str("transfer"),
            Self::Recovery => f.write_str("recovery"),
            Self::PreStepResend => f.write_str("pre-step-resend"),
        }
    }
}

/// Something people may want to know. Never on the path of an ordinary operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Note {
    /// A view began, or was left, or is being looked for.
    Status {
        /// The view.
        view: ViewNumber,
        /// What the replica is in it.
        status: StatusName,
    },
    /// An event changed nothing.
    Ignored(Ignored),
    /// A rare path was taken; tests prove that each is.
    Mark(Mark),
    /// A damaged record was found.
    FoundFaulty(OpNumber),
    /// A damaged or missing entry was fetched from a peer.
    Repaired(OpNumber),
    /// So many voters, this one included, lost their memory: more at a time than the group tolerates. What
    /// it held is gone, and it never forms again.
    MemoryLost(u32),
    /// The service predicted a value of so many bytes, more than
    /// [`PREDICTION_BYTES_MAX`](crate::PREDICTION_BYTES_MAX): its entry goes without one.
    LongPrediction(usize),
    /// The service refused the value that the primary predicted for an entry: a clock that is wrong, there
    /// or here.
    Implausible {
        /// The entry's op.
        op: OpNumber,
        /// Why, as the service says.
        reason: Implausible,
    },
}

/// A replica's status, with the role it has in its view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StatusName {
    /// Normal, and the view's primary.
    Primary,
    /// Normal, and not the primary.
    Backup,
    /// Between views.
    ViewChange,
    /// Restarted with a log whose end is damaged: waits to be told what it held.
    RecoveringHead,
    /// Restarted without its log, which was in memory: has it from the others first.
    Recovering,
    /// Stopped for good.
    Halted,
}

impl fmt::Display for StatusName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Primary => "primary",
            Self::Backup => "backup",
            Self::ViewChange => "view-change",
            Self::RecoveringHead => "recovering-head",
            Self::Recovering => "recovering",
            Self::Halted => "halted",
        })
    }
}

/// Rare paths of the protocol, for coverage: the simulator proves that each is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mark {
    /// An entry's body was fetched by its checksum.
    BodyFetched,
    /// Headers were fetched to close a gap.
    HeadersFetched,
    /// Log selection cut an entry that a quorum never held.
    NackCut,
    /// Log selection waits for another DO-VIEW-CHANGE.
    SelectionWaits,
    /// A vote to leave a view ran out.
    VoteExpired,
    /// A vote to leave a view was taken back since the primary spoke again.
    VoteWithdrawn,
    /// A late primary and another's vote made this replica vote at once.
    VoteJoined,
    /// A view change was left for a later view.
    ViewChangeWithinViewChange,
    /// A DO-VIEW-CHANGE of a later view was joined.
    ViewJoined,
    /// A replica learned of its view by GET-VIEW.
    ViewFetched,
    /// A GET-VIEW was never answered, and the view was entered to be left.
    ViewNotAnswered,
    /// Restarted as the primary of its view.
    RestartAsPrimary,
    /// Restarted in a view change.
    RestartInViewChange,
    /// Restarted as a backup.
    RestartAsBackup,
    /// Restarted with a damaged head.
    RestartRecoveringHead,
    /// A commit-number beyond the own log was heard.
    CommitBeyondHead,
    /// A PING told of a commit-number before a PREPARE or COMMIT did.
    CommitRelayed,
    /// A backup told what its view began with.
    ViewRelayed,
    /// An entry arrived before its predecessors.
    PrepareBeyondHead,
    /// A PREPARE that is held already was acknowledged again.
    PrepareRepeated,
    /// Entries were superseded by those of a later view.
    EntriesSuperseded,
    /// A START-VIEW contained less than the own log, all of it uncommitted.
    LogShortened,
    /// A repeated request got its stored reply.
    DoubledRequestAnswered,
    /// A repeated request was skipped when its second copy was executed.
    DoubledRequestSkipped,
    /// A request was refused since too much waits.
    Busy,
    /// A request was refused since the log is full.
    LogFull,
    /// A client was sent to the primary.
    Redirected,
    /// A session was evicted for a new one.
    SessionEvicted,
    /// A client was told that its session is gone.
    EvictionTold,
    /// A session went while operations of it were in the pipeline, and its client was told.
    EvictedInPipeline,
    /// A session expired.
    SessionExpired,
    /// A repeated request that was not its session's last got its stored reply.
    EarlierReplyRepeated,
    /// An unacknowledged PREPARE was sent again.
    PrepareResent,
    /// A primary gave up its role.
    Abdicated,
    /// A new primary had to fetch entries before it could serve.
    InheritedRepaired,
    /// An entry was read back from the store.
    EntryReadBack,
    /// A damaged entry was repaired from a peer.
    FaultyRepaired,
    /// A checkpoint was taken.
    CheckpointTaken,
    /// The log forgot what checkpoints have.
    LogTrimmed,
    /// Restarted from a checkpoint.
    RestartFromCheckpoint,
    /// Several reads were confirmed by one round.
    ReadsShareRound,
    /// A backup was told a read index.
    ReadAtBackup,
    /// A READ-PROBE was sent again.
    ReadProbeResent,
    /// A backup passed READ-PROBE on.
    ReadProbeRelayed,
    /// A round of reads ended with its view, and its reads wait for another.
    ReadRoundAbandoned,
    /// A read was refused since it waited too long.
    ReadExpired,
    /// An entry held a request whose predecessor its session lacks: it was not executed.
    EarlyRequestSkipped,
    /// The log forgot what a quorum has in checkpoints, and not all.
    LogTrimmedByQuorum,
    /// A checkpoint is asked for, since nobody has the entries any more.
    TransferBegun,
    /// Another replica is asked for what is missing of a checkpoint.
    TransferSourceChanged,
    /// A later checkpoint is asked for.
    TransferRetargeted,
    /// A checkpoint that was fetched was installed.
    CheckpointInstalled,
    /// It was installed together with the log of a later view.
    CheckpointInstalledWithView,
    /// It was installed in place of a log that it supersedes.
    CheckpointInstalledInstead,
    /// What was damaged of the own checkpoint was fetched from peers.
    CheckpointMended,
    /// A primary that needs a checkpoint gave way.
    PrimaryForfeited,
    /// A primary whose disk does not answer gave way.
    StalledPrimaryGaveWay,
    /// The store did not take what was fetched of a checkpoint, and is left alone for a while.
    TransferRests,
    /// A read of a bounded age was answered without asking anybody.
    ReadOfBoundedAge,
    /// A view was skipped whose primary is known to be of no use.
    PrimarySkipped,
    /// A primary whom too few hear gave way.
    PrimaryUnheard,
    /// Restarted without its log, which was in memory.
    RecoveryBegun,
    /// Asked the others anew: too few answered, or not the primary, or a later view was heard of.
    RecoveryRetried,
    /// Holds again all that it may have acknowledged.
    RecoveryCompleted,
    /// PRE-STEP was sent again.
    PreStepResent,
    /// A backup refused the value predicted for an entry.
    PredictionRefused,
    /// An entry whose value was refused here was committed by others.
    RefusedCommitted,
    /// Too many refused what a primary predicted: it gives way.
    RefusedPrimaryGaveWay,
}

/// Why an event changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ignored {
    /// From another cluster.
    OtherCluster,
    /// From another epoch.
    OtherEpoch,
    /// From one who is not a member, or from this replica itself.
    Stranger,
    /// From an earlier view.
    OlderView,
    /// From a view that this replica has not entered.
    NewerView,
    /// From an earlier incarnation of the sender.
    OlderIncarnation,
    /// Of the own view, in a status that does not take it.
    WrongStatus,
    /// Only the primary may say this, and the sender is not.
    NotFromPrimary,
    /// This replica is not the primary.
    NotPrimary,
    /// The message contradicts itself.
    Malformed,
    /// An op beyond what the pipeline or the log allows.
    OutOfWindow,
    /// Does not link to the own log, or is not the entry that was asked for.
    WrongChecksum,
    /// Held or counted already.
    Repeated,
    /// An answer to a question that was not asked, or no longer matters.
    NotAsked,
    /// A completion of a former life, or one that came before.
    StaleCompletion,
    /// A timer that is not armed.
    TimerNotArmed,
    /// A vote for a view in which the primary is heard.
    PrimaryHeard,
    /// A request that is being executed already.
    InPipeline,
    /// A request whose reply was acknowledged, by the word of its client.
    OlderRequest,
    /// A request beyond the next one of its session.
    RequestGap,
    /// A request too far beyond the lowest that is unacknowledged.
    BeyondWindow,
    /// The client knows a later view than this replica.
    ClientAhead,
    /// Nothing is taken until the incarnation is durable.
    NotStarted,
    /// The replica has halted.
    Halted,
    /// The head of the log is not certain.
    HeadUncertain,
    /// The replica has lost its memory, and takes part in nothing before it has that again.
    Recovering,
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtherCluster => "other-cluster",
            Self::OtherEpoch => "other-epoch",
            Self::Stranger => "stranger",
            Self::OlderView => "older-view",
            Self::NewerView => "newer-view",
            Self::OlderIncarnation => "older-incarnation",
            Self::WrongStatus => "wrong-status",
            Self::NotFromPrimary => "not-from-primary",
            Self::NotPrimary => "not-primary",
            Self::Malformed => "malformed",
            Self::OutOfWindow => "out-of-window",
            Self::WrongChecksum => "wrong-checksum",
            Self::Repeated => "repeated",
            Self::NotAsked => "not-asked",
            Self::StaleCompletion => "stale-completion",
            Self::TimerNotArmed => "timer-not-armed",
            Self::PrimaryHeard => "primary-heard",
            Self::InPipeline => "in-pipeline",
            Self::OlderRequest => "older-request",
            Self::RequestGap => "request-gap",
            Self::BeyondWindow => "beyond-window",
            Self::ClientAhead => "client-ahead",
            Self::NotStarted => "not-started",
            Self::Halted => "halted",
            Self::HeadUncertain => "head-uncertain",
            Self::Recovering => "recovering",
        })
    }
}

/// Why a replica stopped for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HaltReason {
    /// The primary committed another entry at this op than the one executed here.
    Diverged(OpNumber),
    /// A new view's log ends below what this replica executed.
    CommittedEntryLost(OpNumber),
    /// The only copy of this entry is damaged: a group of one has no peer to fetch it from.
    Damaged(OpNumber),
    /// The service returned another number of replies than it was given operations.
    WrongReplies(OpNumber),
    /// Another replica has another state after the same op.
    CheckpointDiverged(OpNumber),
    /// The only copy of the checkpoint at this op is damaged: a group of one has no peer to fetch it from.
    CheckpointDamaged(OpNumber),
    /// So many replicas lost the end of their logs that no view can begin without what they may have acknowledged.
    HeadsUncertain(u32),
    /// All replicas started without their state, and what one lacks of its checkpoint, the one at this op here, no other
    /// has.
    StateLost(OpNumber),
    /// No replica can read this entry any more, and too many may have acknowledged it for a view to go on without it.
    EntryLost(OpNumber),
}

impl fmt::Display for HaltReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Diverged(op) => write!(
                f,
                "the group committed another entry at op {op} than this replica executed: \
                 keep this directory for analysis and replace the replica"
            ),
            Self::CommittedEntryLost(op) => write!(
                f,
                "the group's log lacks op {op}, which this replica executed: stop all replicas and \
                 compare their logs with `vsr inspect`"
            ),
            Self::Damaged(op) => write!(
                f,
                "the record of op {op} is damaged, and a group of one replica has no other copy: \
                 restore from a backup, or see what is left with `vsr inspect verify`"
            ),
            Self::CheckpointDamaged(op) => write!(
                f,
                "the checkpoint at op {op} is damaged, and a group of one replica has no other copy: \
                 restore from a backup, or see what is left with `vsr inspect verify`"
            ),
            Self::HeadsUncertain(count) => write!(
                f,
                "the end of the log is damaged on {count} replicas, and the others are too few to go on \
                 without what those may have acknowledged: restore a directory as it was from a backup of \
                 its disk, or see what is left with `vsr inspect verify`"
            ),
            Self::StateLost(op) => write!(
                f,
                "the checkpoint at op {op} is damaged, and so are those of all other replicas, so that none has \
                 the state any more: restore a directory as it was from a backup of its disk, or see what is \
                 left with `vsr inspect verify`"
            ),
            Self::EntryLost(op) => write!(
                f,
                "the record of op {op} is damaged, and no other replica has it, though it may have been \
                 acknowledged: restore a directory as it was from a backup of its disk, or see what is left \
                 with `vsr inspect verify`"
            ),
            Self::CheckpointDiverged(op) => write!(
                f,
                "another replica's checkpoint at op {op} differs from this one's: the service is not \
                 deterministic, or a state was changed behind its back; keep both directories, \
                 find out which is wrong, and replace that replica"
            ),
            Self::WrongReplies(op) => {
                write!(
                    f,
                    "the service gave a wrong number of replies at op {op}: this is a bug in it"
                )
            }
        }
    }
}
