//! Checkpoints, and what they let the log forget (paper, section 5.1; protocol.md 5.8).
//!
//! 1. When the op at a multiple of the interval is executed, or the first one of a period, or enough bytes were,
//!    and before the next one is, the service's state and the client-table are frozen. The driver makes them
//!    durable meanwhile.
//! 2. The superblock then names the checkpoint. When that is durable, the checkpoint counts.
//! 3. Replicas tell one another their checkpoints, at once and with every PING. Two that differ at the same op are
//!    proof of a fault.
//! 4. The log forgets what every member has in a checkpoint; while a member is away and the log is half
//!    full, what a quorum has.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::config::Role;
use crate::digest::Checksum;
use crate::effect::{Effect, Effects, HaltReason, Ignored, Mark};
use crate::entry::Header;
use crate::event::Checkpoint;
use crate::message::{Kept, Next};
use crate::replica::Replica;
use crate::status::Status;
use crate::types::{Body, OpNumber};

/// A checkpoint is also due when so large a part of the log was executed since the last one: large or many
/// entries fill it before what was asked for comes to pass.
const LOG_PART: u64 = 4;

/// How many pings a checkpoint that was given up is not asked for again: with default durations 5 seconds.
const RETRY_AFTER: u32 = 25;

/// How many own checkpoints are remembered to be compared with those of peers, which may be some
/// intervals behind.
const COMPARED_MAX: usize = 4;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Checkpoints {
    /// The latest that the driver has made durable; the superblock that names it may be on its way.
    pub(crate) latest: Checkpoint,
    /// The one that the driver is making durable: the entry it is at.
    taking: Option<Header>,
    /// The latest ones, ascending.
    recent: VecDeque<(OpNumber, Checksum)>,
    /// By member: what it keeps, as far as it told.
    of_members: Vec<Kept>,
    /// Every member has this in a checkpoint, as one of them found out. Not kept over a restart, where a
    /// log may begin later for want of what a fault took.
    had_by_all: OpNumber,
    /// As many voters as replicate an entry have this in checkpoints, as one of them found out. Once true it
    /// stays true, so that it holds whoever tells it.
    had_by_quorum: OpNumber,
    /// Bytes of the entries handed to the service since the last checkpoint was asked for.
    executed_bytes: u64,
    /// The op at which it was asked for.
    asked: OpNumber,
    /// The latest durable one that was told at once.
    told: OpNumber,
    /// The last one was given up.
    given_up: bool,
    /// Pings until a checkpoint that was given up is asked for again.
    patience: u32,
}

impl Checkpoints {
    pub(crate) fn new(latest: Checkpoint, members: usize) -> Self {
        let recent = core::iter::once((latest.op(), latest.id)).collect();
        let of_members = alloc::vec![Kept::default(); members];
        Self {
            latest,
            taking: None,
            recent,
            of_members,
            had_by_all: OpNumber::ZERO,
            had_by_quorum: OpNumber::ZERO,
            executed_bytes: 0,
            asked: latest.op(),
            told: latest.op(),
            given_up: false,
            patience: 0,
        }
    }

    /// What each member keeps, as far as it told.
    pub(crate) fn of_members(&self) -> impl Iterator<Item = &Kept> {
        self.of_members.iter()
    }

    /// The id of a member's latest checkpoint.
    pub(crate) fn id_of(&self, index: usize) -> Checksum {
        self.of_members[index].id
    }

    /// Whether a member started without its state, and nobody gave it what it lacks.
    pub(crate) fn is_lost(&self, index: usize) -> bool {
        self.of_members[index].lost
    }

    /// The member started anew: it may have its state, and what it lacked.
    pub(crate) fn forget_lost(&mut self, index: usize) {
        self.of_members[index].lost = false;
        self.forget_next(index);
    }

    /// What a member said that it lacks may be of another log than the own one.
    pub(crate) fn forget_next(&mut self, index: usize) {
        self.of_members[index].next = Next::Unsaid;
    }

    /// The op of a member's latest checkpoint.
    pub(crate) fn op_of(&self, index: usize) -> OpNumber {
        self.of_members[index].checkpoint
    }

    /// The member does not have its checkpoint any more: until it says otherwise, it has none by name.
    pub(crate) fn forget_id_of(&mut self, index: usize) {
        self.of_members[index].id = Checksum(0);
    }

    /// The member lost its memory, and has nothing before it says so again.
    pub(crate) fn forget_member(&mut self, index: usize) {
        self.of_members[index] = Kept::default();
    }

    pub(crate) const fn is_taking(&self) -> bool {
        self.taking.is_some()
    }

    /// A checkpoint came from elsewhere, and is durable.
    pub(crate) fn install(&mut self, checkpoint: Checkpoint) {
        self.taking = None;
        self.executed_bytes = 0;
        self.adopt(checkpoint);
    }

    fn adopt(&mut self, checkpoint: Checkpoint) {
        self.latest = checkpoint;
        self.asked = self.asked.max(checkpoint.op());
        self.given_up = false;
        self.recent.push_back((checkpoint.op(), checkpoint.id));
        if self.recent.len() > COMPARED_MAX {
            self.recent.pop_front();
        }
    }
}

impl<B: Body> Replica<B> {
    // Step 1.

    /// Whether nothing more may be executed before a checkpoint is taken: the client-table must be that
    /// of its op, replies included.
    pub(crate) fn waits_for_checkpoint(&self) -> bool {
        self.transfer.is_restoring()
            || (!self.applying.is_empty() && self.is_checkpoint_due(self.issued()))
    }

    fn is_checkpoint_due(&self, op: OpNumber) -> bool {
        let constants = self.config.constants();
        if !constants.takes_checkpoints() || self.checkpoints.taking.is_some() {
            return false;
        }
        let bytes = self.checkpoints.executed_bytes;
        let by_bytes = constants.checkpoint_bytes > 0 && bytes >= constants.checkpoint_bytes;
        let full = bytes >= constants.log_bytes / LOG_PART;
        let by_ops = match u64::from(constants.checkpoint_interval) {
            0 => op.0 - self.checkpoints.asked.0 >= u64::from(constants.log_slots) / LOG_PART,
            interval => op.0 % interval == 0,
        };
        by_ops || by_bytes || full || self.begins_period(op)
    }

    /// Whether the entry is the first of a period after which a checkpoint is due.
    fn begins_period(&self, op: OpNumber) -> bool {
        let period = self.config.constants().checkpoint_time;
        let at = |op| self.log.header(op).map(|header| header.timestamp.0 / period);
        // The root has no time.
        period > 0 && op.0 > 1 && at(op) != at(op.previous())
    }

    /// An entry is handed to the service.
    pub(crate) const fn count_executed(&mut self, bytes: u64) {
        self.checkpoints.executed_bytes += bytes;
    }

    /// An op was executed. While a checkpoint is being made the next one is left out: a disk that is slow
    /// then gets fewer of them.
    pub(crate) fn try_checkpoint(&mut self, header: Header, effects: &mut Effects<B>) {
        // Where more was handed to the service already, the client-table is not that of this op any more.
        let restoring = self.transfer.is_restoring();
        if self.applying.is_empty() && !restoring && self.is_checkpoint_due(header.op) {
            self.take_checkpoint(header, effects);
        }
    }

    fn take_checkpoint(&mut self, header: Header, effects: &mut Effects<B>) {
        self.checkpoints.taking = Some(header);
        self.checkpoints.executed_bytes = 0;
        self.checkpoints.asked = header.op;
        self.checkpoints.patience = RETRY_AFTER;
        let sessions = self.table.iter().map(|(slot, state)| (slot, state.clone())).collect();
        effects.push(Effect::Checkpoint { header, sessions });
    }

    /// A checkpoint that was given up, as where the disk had no room, is asked for again, at whatever op it
    /// is by then: where the log is full no other op comes.
    pub(crate) fn retry_checkpoint(&mut self, effects: &mut Effects<B>) {
        let interval = u64::from(self.config.constants().checkpoint_interval);
        let checkpoints = &mut self.checkpoints;
        let late = interval > 0 && self.commit_min.0 >= checkpoints.latest.op().0 + interval;
        let busy = checkpoints.taking.is_some() || !self.applying.is_empty();
        if !(late || checkpoints.given_up) || busy || self.transfer.is_restoring() {
            return;
        }
        checkpoints.patience = checkpoints.patience.saturating_sub(1);
        if checkpoints.patience > 0 {
            return;
        }
        if let Some(header) = self.log.header(self.commit_min).copied() {
            self.take_checkpoint(header, effects);
        }
    }

    /// One is taken at the next ping, if the service has any, unless one was given up a while ago: what follows the
    /// last one is not safe in the log, or the last one is of no use.
    pub(crate) fn want_checkpoint(&mut self) {
        if !self.checkpoints.given_up {
            self.checkpoints.given_up = self.config.constants().takes_checkpoints();
            self.checkpoints.patience = 0;
        }
    }

    /// The checkpoint is durable.
    pub(crate) fn on_checkpointed(
        &mut self,
        op: OpNumber,
        id: Option<Checksum>,
        effects: &mut Effects<B>,
    ) {
        let Some(header) = self.checkpoints.taking.filter(|header| header.op == op) else {
            return self.ignore(Ignored::StaleCompletion, effects);
        };
        self.checkpoints.taking = None;
        let Some(id) = id else {
            self.checkpoints.given_up = true;
            return;
        };
        self.forget_damage(effects);
        self.checkpoints.adopt(Checkpoint { header, id });
        self.mark(Mark::CheckpointTaken, effects);
        // Step 2.
        self.persist_superblock(effects);
    }

    // Step 3.

    /// Tells of a checkpoint as soon as it counts: a short log is full before the next ping is due.
    pub(crate) fn tell_checkpoint(&mut self, effects: &mut Effects<B>) {
        let (op, _) = self.durable_checkpoint();
        let speaks = !matches!(self.status, Status::RecoveringHead(_) | Status::Recovering(_));
        let news = op > self.checkpoints.told && self.incarnations.len() > 1;
        if news && speaks && self.is_view_durable() {
            self.checkpoints.told = op;
            self.broadcast_ping(effects);
        }
    }

    /// What this replica tells of its checkpoints.
    pub(crate) fn kept(&self) -> Kept {
        let (checkpoint, id) = self.durable_checkpoint();
        let (begins, held) = self.holds();
        Kept {
            checkpoint,
            id,
            trimmed: self.checkpoints.had_by_all,
            covered: self.checkpoints.had_by_quorum,
            begins,
            held,
            next: self.next_of_held(),
            lost: self.is_state_lost(),
        }
    }

    pub(crate) fn learn_kept(&mut self, index: usize, kept: Kept, effects: &mut Effects<B>) {
        let op = kept.checkpoint;
        let mut recent = self.checkpoints.recent.iter();
        let own = recent.find(|(own, _)| *own == op && op > OpNumber::ZERO);
        if own.is_some_and(|(_, id)| *id != kept.id) {
            return self.halt(HaltReason::CheckpointDiverged(op), effects);
        }
        let known = &mut self.checkpoints.of_members[index];
        // PINGs may come in any order.
        if kept.checkpoint >= known.checkpoint {
            *known = kept;
        }
        known.lost = kept.lost;
        let checkpoints = &mut self.checkpoints;
        checkpoints.had_by_all = checkpoints.had_by_all.max(kept.trimmed);
        checkpoints.had_by_quorum = checkpoints.had_by_quorum.max(kept.covered);
        self.trim(effects);
    }

    // Step 4.

    /// Forgets what all members have in checkpoints, an interval or more at a time.
    pub(crate) fn trim(&mut self, effects: &mut Effects<B>) {
        let (own, _) = self.durable_checkpoint();
        let others = (0..).zip(&self.checkpoints.of_members).filter(|(i, _)| *i != self.index);
        let all = others.map(|(_, kept)| kept.checkpoint).min().unwrap_or(own);
        let by_all = own.min(all).max(self.checkpoints.had_by_all);
        self.checkpoints.had_by_all = by_all;
        let target = own.min(by_all);
        let constants = self.config.constants();
        let root = self.log.root().op;
        let far = target.0 >= root.0 + u64::from(constants.checkpoint_interval);
        let full = self.log.bytes() >= constants.log_bytes / LOG_PART;
        if target > root && (far || full) {
            self.log.trim(target);
            self.mark(Mark::LogTrimmed, effects);
            self.persist_superblock(effects);
        }
        self.trim_by_quorum(effects);
    }

    /// Damaged entries that nobody gives, that are in the own checkpoint and that no view needs, are forgotten with all
    /// before them: all others trimmed them, or who has them does not answer.
    pub(crate) fn trim_lacking(&mut self, effects: &mut Effects<B>) {
        let (own, _) = self.durable_checkpoint();
        let limit = own.min(self.checkpoints.had_by_quorum);
        let lacked = self.log.lacked().map(|(op, _)| op);
        if let Some(target) = lacked.take_while(|op| *op <= limit).last() {
            self.log.trim(target);
            self.mark(Mark::LogTrimmed, effects);
            self.persist_superblock(effects);
        }
    }

    /// Where the log is half full since a member is away, forgets what a replication quorum has in
    /// checkpoints: every view-change quorum then has one of them, and all of the log behind it. A part of the
    /// log stays, so that who was away for a short while finds entries.
    fn trim_by_quorum(&mut self, effects: &mut Effects<B>) {
        let (own, _) = self.durable_checkpoint();
        let known = self.quorum_told();
        self.checkpoints.had_by_quorum = self.checkpoints.had_by_quorum.max(known);
        let constants = self.config.constants();
        let slots = u64::from(constants.log_slots);
        let root = self.log.root().op;
        let half =
            self.log.op().0 - root.0 >= slots / 2 || self.log.bytes() >= constants.log_bytes / 2;
        if !constants.takes_checkpoints() || !half {
            return;
        }
        let reserve = self.log.reserve(slots / LOG_PART, constants.log_bytes / LOG_PART);
        let target = own.min(self.checkpoints.had_by_quorum).min(reserve);
        if target > root {
            self.log.trim(target);
            self.mark(Mark::LogTrimmedByQuorum, effects);
            self.persist_superblock(effects);
        }
    }

    /// Up to which op as many voters as replicate an entry have a checkpoint, of what they told.
    fn quorum_told(&self) -> OpNumber {
        let configuration = self.config.configuration();
        let mut had: Vec<OpNumber> = Vec::new();
        for (index, member) in configuration.members().iter().enumerate() {
            if member.role != Role::Learner {
                let told = self.checkpoints.of_members[index].checkpoint;
                let own = self.durable_checkpoint().0;
                had.push(if index == self.index { own } else { told });
            }
        }
        had.sort_unstable_by(|a, b| b.cmp(a));
        had[configuration.quorums().replication - 1]
    }

    /// Up to here the log has room: one of a store's slots is that of the op which it begins after.
    pub(crate) fn log_limit(&self) -> OpNumber {
        OpNumber(self.log.root().op.0 + u64::from(self.config.constants().log_slots) - 1)
    }
}
