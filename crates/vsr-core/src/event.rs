//! What happens to a replica: the only way in.

use alloc::vec::Vec;

use crate::client_table::SessionState;
use crate::digest::Checksum;
use crate::effect::{Timer, Written};
use crate::entry::{Entry, Header};
use crate::message::{ClientRequest, Message};
use crate::service::Implausible;
use crate::types::{
    Epoch, Incarnation, Moment, Nonce, OpNumber, ReplicaId, Subject, Timestamp, ViewNumber,
};

/// Something that happened. Handed to [`Replica::step`](crate::Replica::step) in any order in which
/// it may happen; misuse is ignored with a reason, never acted upon.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event<B> {
    /// A client's request arrived.
    Request {
        /// The request.
        request: ClientRequest<B>,
        /// Whom the transport proved the client to be.
        subject: Subject,
        /// The driver's clock, for the entry's timestamp.
        at: Timestamp,
        /// When it arrived, for reads of a bounded age.
        now: Moment,
    },
    /// A message arrived from another replica.
    Message {
        /// Whom the transport proved the sender to be.
        from: ReplicaId,
        /// The message.
        message: Message<B>,
    },
    /// An armed timer ran out. Never queued: the driver looks at its deadlines when the effects of
    /// everything before were carried out.
    Timeout(Timer),
    /// Writes are durable.
    Written(Written),
    /// The answer to [`Effect::ReadEntries`](crate::Effect::ReadEntries), whole or in part.
    EntriesRead {
        /// Entries that were read, ascending; those missing here and in `faulty` may be asked for
        /// again.
        entries: Vec<Entry<B>>,
        /// Ops of the range whose records are damaged.
        faulty: Vec<OpNumber>,
    },
    /// The service executed an entry.
    Applied {
        /// The entry's op.
        op: OpNumber,
        /// The service's replies, one for each operation that was not to be skipped, in order.
        replies: Vec<B>,
    },
    /// The answer to [`Effect::Predict`](crate::Effect::Predict), or to
    /// [`Effect::Combine`](crate::Effect::Combine).
    Predicted {
        /// The question's.
        ticket: Nonce,
        /// The value, at most [`PREDICTION_BYTES_MAX`](crate::PREDICTION_BYTES_MAX) bytes; `None` where the
        /// requests need none, or this replica has none to offer.
        value: Option<B>,
    },
    /// The answer to [`Effect::Check`](crate::Effect::Check).
    Checked {
        /// The entry's op.
        op: OpNumber,
        /// The entry's checksum.
        checksum: Checksum,
        /// Why its value is refused, if it is.
        verdict: Result<(), Implausible>,
    },
    /// The answer to [`Effect::Checkpoint`](crate::Effect::Checkpoint).
    Checkpointed {
        /// The op it is at.
        op: OpNumber,
        /// The digest of all that is in it, where it is durable; `None` where none was taken, since the
        /// service does without or the disk had no room.
        id: Option<Checksum>,
    },
    /// The answer to [`Effect::Serve`](crate::Effect::Serve).
    Served {
        /// Who asked.
        to: ReplicaId,
        /// What the store has of it.
        answer: Served<B>,
    },
    /// An answer to [`Effect::Fetch`](crate::Effect::Fetch).
    Fetched(Fetched<B>),
    /// The answer to [`Effect::Restore`](crate::Effect::Restore): the service's state is that of the
    /// checkpoint.
    Restored {
        /// The checkpoint's id.
        id: Checksum,
    },
    /// The other answer to [`Effect::Restore`](crate::Effect::Restore): a part of the checkpoint was found damaged,
    /// and the service's state is worth nothing.
    NotRestored {
        /// The checkpoint's id.
        id: Checksum,
    },
    /// An operator's command.
    Operator(Operator),
    /// What the disk can take.
    Disk(DiskState),
    /// The scrubber found a record damaged.
    Faulty {
        /// The op whose record it is.
        op: OpNumber,
    },
    /// The store found a part of the checkpoint damaged that the superblock names. What is in memory is right, but
    /// a restart would have to do without.
    CheckpointDamaged {
        /// The checkpoint's id.
        id: Checksum,
    },
}

/// What a store has of what a peer asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Served<B> {
    /// A part of a checkpoint's manifest.
    Page {
        /// The checkpoint.
        checkpoint: Checkpoint,
        /// How many bytes the manifest has.
        length: u32,
        /// Where in it the page begins.
        offset: u32,
        /// At most [`PAGE_BYTES`](crate::PAGE_BYTES) of it.
        page: B,
    },
    /// A chunk, which was verified.
    Chunk(B),
    /// Nothing: the checkpoint or chunk of this name is not here.
    Absent(Checksum),
}

/// How far the store has a checkpoint that is being fetched.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Fetched<B> {
    /// What was put is durable; this is missing.
    Missing {
        /// The checkpoint's id.
        id: Checksum,
        /// The digests of the next chunks, at most [`CHUNKS_WANTED_MAX`](crate::CHUNKS_WANTED_MAX).
        chunks: Vec<Checksum>,
        /// How many chunks are missing in all.
        left: u32,
    },
    /// It cannot be fetched: the manifest is not that of the checkpoint, or the disk has no room.
    Refused {
        /// The checkpoint's id.
        id: Checksum,
    },
    /// It is here, and durable.
    Whole {
        /// The checkpoint's id.
        id: Checksum,
        /// Its client-table, by slot, ascending.
        sessions: Vec<(u32, SessionState<B>)>,
    },
}

/// An operator's command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    /// Give up the primary's role, as before a planned stop.
    Abdicate,
}

/// What the disk can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DiskState {
    /// All is well.
    Ok,
    /// No room for new operations.
    Full,
    /// It does not answer, for longer than any disk should take. A primary hands its role on.
    Stalled,
}

/// The superblock as the core knows it: what must survive a restart beside the log's records.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SuperblockState {
    /// How often the replica was started; zero in a formatted store that was never started.
    pub incarnation: Incarnation,
    /// The epoch of the configuration in force.
    pub epoch: Epoch,
    /// The view entered.
    pub view: ViewNumber,
    /// The last view the replica was normal in.
    pub log_view: ViewNumber,
    /// What was known to be committed when this was written.
    pub commit_max: OpNumber,
    /// The op-number when this was written.
    pub op: OpNumber,
    /// The log's last headers when this was written, ascending; there may be gaps, but the last one
    /// is that of `op`. At most the pipeline and one more.
    pub headers: Vec<Header>,
    /// The latest checkpoint that is durable.
    pub checkpoint: Checkpoint,
    /// The last entry that the log need not hold any more, at most that of the checkpoint: the log begins
    /// after it. The root where nothing was trimmed.
    pub trimmed: Header,
}

/// Names a checkpoint: the service's state, the client-table and the configuration after an op.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Checkpoint {
    /// The header of the last entry executed in it; the root where no checkpoint was taken.
    pub header: Header,
    /// The digest of all that is in it; zero where no checkpoint was taken.
    pub id: Checksum,
}

impl Checkpoint {
    /// What stands for a checkpoint where none was taken: nothing is executed yet.
    #[must_use]
    pub const fn none(root: Header) -> Self {
        Self { header: root, id: Checksum(0) }
    }

    /// The op of the last entry executed in it.
    #[must_use]
    pub const fn op(&self) -> OpNumber {
        self.header.op
    }
}

impl SuperblockState {
    /// The state that a freshly formatted store holds.
    #[must_use]
    pub fn formatted(root: Header) -> Self {
        Self {
            incarnation: Incarnation::ZERO,
            epoch: Epoch::ZERO,
            view: ViewNumber::ZERO,
            log_view: ViewNumber::ZERO,
            commit_max: OpNumber::ZERO,
            op: OpNumber::ZERO,
            headers: alloc::vec![root],
            checkpoint: Checkpoint::none(root),
            trimmed: root,
        }
    }
}

/// What a store found for one slot of the log when it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoredSlot {
    /// Nothing was ever durable here, or what was there was never acknowledged (a torn tail).
    Empty,
    /// The record was durable; its identity is known. The bytes are checked when they are read.
    Held(Header),
    /// A record was durable here and is damaged; its identity is known from elsewhere.
    Faulty(Header),
    /// A record was durable here and is damaged, and which one it was is not known.
    Unreadable,
}

/// What a store holds, as [`Replica::recover`](crate::Replica::recover) needs it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Stored<B> {
    /// The superblock.
    pub superblock: SuperblockState,
    /// The log's slots from the op after the trimmed one on, as far as anything was found.
    pub slots: Vec<StoredSlot>,
    /// The client-table of the checkpoint that the superblock names, by slot, ascending; empty where it
    /// names none.
    pub sessions: Vec<(u32, SessionState<B>)>,
    /// A part of that checkpoint is damaged, so that the service does not have its state. It is fetched from peers
    /// before anything is executed.
    pub is_checkpoint_damaged: bool,
}
