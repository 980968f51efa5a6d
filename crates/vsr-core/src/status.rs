//! What a replica is, and the scratch data that it needs only while it is that: leaving a status
//! frees it.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::effect::{HaltReason, StatusName};
use crate::entry::{Entry, Header, Request};
use crate::event::StoredSlot;
use crate::message::SuffixSlot;
use crate::quorum::Voters;
use crate::types::{ClientId, Nonce, OpNumber, RequestNumber, Timestamp, ViewNumber};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Status<B> {
    Primary(Primary<B>),
    Backup(Backup<B>),
    ViewChange(ViewChange),
    RecoveringHead(RecoveringHead),
    Recovering(Recovering),
    Halted(HaltReason),
}

impl<B> Status<B> {
    pub(crate) const fn name(&self) -> StatusName {
        match self {
            Self::Primary(_) => StatusName::Primary,
            Self::Backup(_) => StatusName::Backup,
            Self::ViewChange(_) => StatusName::ViewChange,
            Self::RecoveringHead(_) => StatusName::RecoveringHead,
            Self::Recovering(_) => StatusName::Recovering,
            Self::Halted(_) => StatusName::Halted,
        }
    }
}

/// Normal, and the view's primary.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Primary<B> {
    /// By member: up to which op it acknowledged in this view.
    pub(crate) acknowledged: Vec<OpNumber>,
    /// Requests that wait for the next entry.
    pub(crate) queue: VecDeque<Request<B>>,
    /// Bytes of operations in `queue`.
    pub(crate) queued: usize,
    /// The latest driver's time seen with a request.
    pub(crate) clock: Timestamp,
    /// By session slot: the session, by its number, and its last request in the pipeline. A request of
    /// a session that the slot held before says nothing of its successor's.
    pub(crate) prepared: Vec<(OpNumber, RequestNumber)>,
    /// Clients whose registration is queued or prepared.
    pub(crate) registering: BTreeSet<ClientId>,
    /// What was inherited is held and what was committed of it is executed: requests are taken.
    pub(crate) ready: bool,
    /// The last op inherited from earlier views.
    pub(crate) inherited: OpNumber,
    /// Committed when the view began: executed before requests are taken.
    pub(crate) floor: OpNumber,
    /// START-VIEW was sent.
    pub(crate) announced: bool,
    /// Giving way: no requests, no heartbeats.
    pub(crate) abdicating: bool,
    /// Whom it heard since the abdicate timer was armed.
    pub(crate) heard: Voters,
    /// Abdicate timers in a row without progress of what waits.
    pub(crate) stalled: u32,
    /// How far things had come when the abdicate timer was armed.
    pub(crate) progress: u64,
    /// PREPAREs sent again in a row without progress.
    pub(crate) resend_attempt: u32,
    /// The next entry, whose value is not there yet.
    pub(crate) open: Option<Open<B>>,
    /// Who refused the value of this entry, the lowest that anybody refused and that is not committed.
    pub(crate) refused: Option<(OpNumber, Voters)>,
}

/// An entry that waits for its value: requests that arrive meanwhile are for the one after it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Open<B> {
    pub(crate) requests: Arc<[Request<B>]>,
    /// Bytes of their operations.
    pub(crate) bytes: usize,
    pub(crate) stage: Stage<B>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stage<B> {
    /// The own service was asked.
    Predicting { ticket: Nonce },
    /// The backups were asked. By member: the values that are there, the own one among them.
    Asking { nonce: Nonce, values: Vec<(usize, B)>, attempt: u32 },
    /// The service was given the values.
    Combining { ticket: Nonce },
    /// The value is there, or the service wants none.
    Closed(Option<B>),
}

/// Normal, and not the primary.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Backup<B> {
    /// The primary spoke in this round.
    pub(crate) heard_primary: bool,
    /// The primary is late.
    pub(crate) late: bool,
    /// A PREPARE-OK is due even if nothing became durable.
    pub(crate) ack_due: bool,
    /// What was last acknowledged in this view.
    pub(crate) acknowledged: OpNumber,
    /// The primary's latest question for a value.
    pub(crate) pre_step: Option<PreStep<B>>,
    /// Entries of this view whose values the service judges; their headers are in the log.
    pub(crate) checking: Vec<Entry<B>>,
    /// Ops whose values were refused when they were last judged. Not held, and not asked for before they are
    /// committed.
    pub(crate) refused: BTreeSet<OpNumber>,
}

impl<B> Backup<B> {
    /// A backup that owes the primary a PREPARE-OK, or does not.
    pub(crate) const fn new(ack_due: bool) -> Self {
        Self {
            heard_primary: false,
            late: false,
            ack_due,
            acknowledged: OpNumber::ZERO,
            pre_step: None,
            checking: Vec::new(),
            refused: BTreeSet::new(),
        }
    }
}

/// What the primary wants a value for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PreStep<B> {
    pub(crate) nonce: Nonce,
    /// The question to the own service.
    pub(crate) ticket: Nonce,
    /// The answer, to be given again.
    pub(crate) value: Option<B>,
}

/// Between views.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct ViewChange {
    /// By member: its DO-VIEW-CHANGE for this view.
    pub(crate) offers: Vec<Option<Offer>>,
    /// Whether the own DO-VIEW-CHANGE was sent.
    pub(crate) offered: bool,
    /// Whether it lasted too long, so that this view should be left too.
    pub(crate) stuck: bool,
}

/// What one replica offered in DO-VIEW-CHANGE.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Offer {
    pub(crate) log_view: ViewNumber,
    pub(crate) op: OpNumber,
    pub(crate) commit_min: OpNumber,
    pub(crate) commit_max: OpNumber,
    /// Ascending, the last one at `op`.
    pub(crate) suffix: Vec<SuffixSlot>,
}

impl Offer {
    /// What it says of an op, if its suffix reaches it.
    pub(crate) fn slot(&self, op: OpNumber) -> Option<&SuffixSlot> {
        let from_end = self.op.0.checked_sub(op.0)? as usize;
        self.suffix.len().checked_sub(from_end + 1).and_then(|index| self.suffix.get(index))
    }
}

/// Restarted, and the end of the log is damaged beyond recognition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RecoveringHead {
    /// What the store holds above the log that is certain: it may have been acknowledged.
    pub(crate) beyond: Vec<(OpNumber, StoredSlot)>,
}

/// Restarted without its log: has it from the others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Recovering {
    /// The question that is out; `None` once it is answered.
    pub(crate) asked: Option<Nonce>,
    /// By member: its answer to that question.
    pub(crate) answers: Vec<Option<Answer>>,
    /// Up to which op everything must be held: the head of the primary's log when it answered.
    pub(crate) target: Option<OpNumber>,
    /// A view later than the answered one was heard of.
    pub(crate) outdated: bool,
    /// How often it was asked in a row.
    pub(crate) attempt: u32,
    /// Who said in this round, and in the one before, that it has lost its memory too.
    pub(crate) lost: [Voters; 2],
}

/// What one replica answered to RECOVERY.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Answer {
    pub(crate) view: ViewNumber,
    pub(crate) commit_max: OpNumber,
    /// Empty unless it is the view's primary.
    pub(crate) suffix: Vec<Header>,
}

/// Looking for the primary of a view that others are normal in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Search {
    pub(crate) view: ViewNumber,
    pub(crate) nonce: Nonce,
    pub(crate) attempt: u32,
}

/// Votes to leave the present view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Leaving {
    /// This replica votes.
    pub(crate) voting: bool,
    /// Whose votes count at present, the own one included.
    pub(crate) votes: Voters,
}
