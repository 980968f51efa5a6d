//! Knowing that the group can never go on (protocol.md 5.14, L9; ADR 27).
//!
//! 1. A replica whose head is uncertain says so whenever it asks for START-VIEW.
//! 2. It takes part in no view change: what it acknowledged and cannot read would count as never held. Where those who
//!    are sure of their heads are fewer than change views, and none of them leads, nobody will ever be told: what was
//!    lost may have been committed by quorums that all have it in common.
//! 3. Nor will anybody ever have the state again where all members started without it, and none of them has what the
//!    others lack: they say so with each PING.
//! 4. Nor will anybody ever have an entry that all who may have acknowledged it cannot read, where those who never had it
//!    are too few to deny it. Each PING tells what is the first entry that its sender cannot give, and why. Between views
//!    the offers of all voters tell it.
//! 5. Who has seen any of these for so long that it cannot be under way any more stops, and says why: an operator has to
//!    decide.
//!
//! What a member said last in its present incarnation is remembered: one that has stopped for the same reason is silent.

use crate::config::Role;
use crate::effect::{Effects, HaltReason};
use crate::log::Holding;
use crate::message::{Kind, Next};
use crate::quorum::Voters;
use crate::replica::Replica;
use crate::status::Status;
use crate::types::{Body, OpNumber, ViewNumber};

/// After so many pings: with default durations 10 seconds, several view changes that each time out.
const HOPELESS_PINGS: u32 = 50;

/// What members said of themselves last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Hopeless {
    /// They are unsure of their heads.
    uncertain: Voters,
    /// They are sure, and between views.
    between: Voters,
    /// All voters offered their logs for a view that this replica was to lead, and this op is what it could not decide.
    undecided: Option<OpNumber>,
    /// What was lost at the last ping.
    lost: Option<Lost>,
    /// Pings in a row at which that was so.
    pings: u32,
}

/// What nobody has any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Lost {
    /// So many heads.
    Heads(u32),
    /// The state, with the checkpoint at this op.
    State(OpNumber),
    /// An entry.
    Entry(OpNumber),
}

impl Lost {
    const fn reason(self) -> HaltReason {
        match self {
            Self::Heads(count) => HaltReason::HeadsUncertain(count),
            Self::State(op) => HaltReason::StateLost(op),
            Self::Entry(op) => HaltReason::EntryLost(op),
        }
    }

    /// Whether it is what was lost before. How many heads are may change.
    const fn is_as(self, before: Self) -> bool {
        match (self, before) {
            (Self::Heads(_), Self::Heads(_)) | (Self::State(_), Self::State(_)) => true,
            (Self::Entry(op), Self::Entry(before)) => op.0 == before.0,
            (Self::Heads(_) | Self::State(_) | Self::Entry(_), _) => false,
        }
    }
}

impl Hopeless {
    /// The member speaks in a later incarnation: what it said before counts no more.
    pub(crate) fn forget(&mut self, index: usize) {
        self.uncertain.remove(index);
        self.between.remove(index);
        self.undecided = None;
    }

    /// No further offer can come.
    pub(crate) const fn wait_with_all_offers(&mut self, op: OpNumber) {
        self.undecided = Some(op);
    }

    /// A log was installed, or a checkpoint: other offers may come.
    pub(crate) const fn decide(&mut self) {
        self.undecided = None;
    }
}

impl<B: Body> Replica<B> {
    /// A member speaks. Only who asks for START-VIEW says that it is unsure, until it pings.
    pub(crate) fn learn_uncertainty(
        &mut self,
        index: usize,
        view: ViewNumber,
        kind: &Kind<B>,
        effects: &mut Effects<B>,
    ) {
        if let Kind::GetView { uncertain: Some(kept), .. } = kind {
            self.hopeless.forget(index);
            self.hopeless.uncertain.insert(index);
            self.learn_kept(index, *kept, effects);
        } else if let Kind::Ping { log_view, .. } = kind {
            self.hopeless.uncertain.remove(index);
            self.hopeless.between.remove(index);
            let configuration = self.config.configuration();
            let leads = configuration.index(configuration.primary(view)) == Some(index);
            if *log_view < view {
                self.hopeless.between.insert(index);
            } else if leads && matches!(self.hopeless.lost, Some(Lost::Heads(_))) {
                self.hopeless.pings = 0;
            }
        }
    }

    /// A ping is due. Stops where all has been lost for long.
    pub(crate) fn heed_hopelessness(&mut self, effects: &mut Effects<B>) {
        let heads = self.heads_lost().map(Lost::Heads);
        let state = || self.state_lost().map(Lost::State);
        let entry = || self.entry_lost().or_else(|| self.undecided()).map(Lost::Entry);
        let lost = heads.or_else(state).or_else(entry);
        let before = self.hopeless.lost;
        self.hopeless.lost = lost;
        let Some(lost) = lost else {
            self.hopeless.pings = 0;
            return;
        };
        let is_same = before.is_some_and(|before| lost.is_as(before));
        self.hopeless.pings = if is_same { self.hopeless.pings + 1 } else { 1 };
        if self.hopeless.pings > HOPELESS_PINGS {
            self.halt(lost.reason(), effects);
        }
    }

    /// What this replica has of the first entry that it cannot give. What it has executed it needs no more, and its
    /// next checkpoint has it.
    pub(crate) fn next_of_held(&self) -> Next {
        let op = self.log.durable().next();
        let knows = !matches!(self.status, Status::RecoveringHead(_) | Status::Recovering(_));
        if !knows || op <= self.issued() {
            Next::Unsaid
        } else if op > self.log.op() {
            Next::End
        } else {
            match self.log.holding(op) {
                Holding::Missing => Next::Never,
                Holding::Faulty => Next::Damaged,
                Holding::Writing | Holding::Durable => Next::Unsaid,
            }
        }
    }

    /// A log was installed: what members lack is heard anew.
    pub(crate) fn forget_what_members_lack(&mut self) {
        self.hopeless.decide();
        for index in 0..self.incarnations.len() {
            self.checkpoints.forget_next(index);
        }
    }

    /// What no offer decides, whoever leads: whose log is what it was offers the same again.
    const fn undecided(&self) -> Option<OpNumber> {
        match self.status {
            Status::ViewChange(_) => self.hopeless.undecided,
            Status::Primary(_)
            | Status::Backup(_)
            | Status::RecoveringHead(_)
            | Status::Recovering(_)
            | Status::Halted(_) => None,
        }
    }

    /// The first entry that this replica cannot read, where nobody has it, and too few never had it for a view to go on without.
    /// One that never had it may have been given it since it was heard.
    fn entry_lost(&self) -> Option<OpNumber> {
        let (own, held) = (self.next_of_held(), self.log.durable());
        let op = held.next();
        // Who never had it is heard by those that had, and does not stop before them.
        if own != Next::Damaged || matches!(self.status, Status::Halted(_)) {
            return None;
        }
        let heard = self.heard_lately();
        let mut never = 0;
        let members = self.config.configuration().members().iter().enumerate();
        for ((index, member), kept) in members.zip(self.checkpoints.of_members()) {
            let is_self = index == self.index;
            let next = if is_self { own } else { kept.next };
            let is_heard = is_self || heard.contains(index);
            let is_level = is_self || kept.held == held;
            let lacks = match next {
                Next::Unsaid => false,
                Next::End => is_heard && kept.held <= held,
                Next::Never => is_heard && is_level,
                Next::Damaged => is_level,
            };
            if !lacks || kept.checkpoint >= op {
                return None;
            }
            never += usize::from(next != Next::Damaged && member.role != Role::Learner);
        }
        (never < self.config.configuration().quorums().nack).then_some(op)
    }

    /// The op of the own checkpoint, where all members lack their state, and none of them can be helped.
    fn state_lost(&self) -> Option<OpNumber> {
        let members = self.config.configuration().members().len();
        let lost = |index| match index == self.index {
            true => self.is_state_lost(),
            false => self.checkpoints.is_lost(index),
        };
        let halted = matches!(self.status, Status::Halted(_));
        (!halted && (0..members).all(lost)).then(|| self.checkpoints.latest.op())
    }

    /// How many voters are unsure of their heads, where too few others are left. `None` too while somebody is silent who
    /// may be sure, or lead, and while this replica has a view to go to.
    fn heads_lost(&self) -> Option<u32> {
        let unsure = match self.status {
            Status::RecoveringHead(_) => true,
            Status::ViewChange(_) => false,
            Status::Primary(_) | Status::Backup(_) | Status::Recovering(_) | Status::Halted(_) => {
                return None;
            }
        };
        if self.transfer.is_view_ahead_kept() {
            return None;
        }
        let heard = self.heard_lately();
        let (mut uncertain, mut sure) = (0, 0);
        for (index, member) in self.config.configuration().members().iter().enumerate() {
            let is_self = index == self.index;
            let known = is_self
                || heard.contains(index)
                || self.hopeless.uncertain.contains(index)
                || self.hopeless.between.contains(index);
            if !known {
                return None;
            }
            if member.role == Role::Learner {
                continue;
            }
            let is_unsure = if is_self { unsure } else { self.hopeless.uncertain.contains(index) };
            if is_unsure {
                uncertain += 1;
            } else {
                sure += 1;
            }
        }
        let needed = self.config.configuration().quorums().view_change;
        (uncertain > 0 && sure < needed).then_some(uncertain)
    }
}
