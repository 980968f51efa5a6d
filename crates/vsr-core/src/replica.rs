//! The frame of a replica: its state, and which event goes to which handler.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::checkpoint::Checkpoints;
use crate::client_table::{ClientTable, SessionState};
use crate::config::Config;
use crate::connectivity::Connectivity;
use crate::effect::{Effect, Effects, HaltReason, Ignored, Mark, Note, StatusName, Timer};
use crate::entry::{Entry, Header};
use crate::event::{DiskState, Event, Operator};
use crate::fence::RecoveryProgress;
use crate::hopeless::Hopeless;
use crate::log::{Contradiction, Holding, Log};
use crate::message::{Kept, Kind, Message, Next};
use crate::outbox::Outbox;
use crate::prediction::Questions;
use crate::quorum::Voters;
use crate::reads::Reads;
use crate::repair::Repair;
use crate::status::{Leaving, Search, Status};
use crate::transfer::{Transfer, TransferProgress};
use crate::types::{Body, Epoch, Incarnation, Nonce, OpNumber, ReplicaId, ViewNumber};

/// The most bytes of operations kept in memory beside what is to be executed soon; older entries are
/// read back from the store where a peer asks for them. What waits for a slow service may take as much
/// again, and is read back after that.
pub const BODIES_IN_MEMORY: usize = 8 << 20;

/// The highest view that a message may speak of. Views rise by less than the number of members at a time, so
/// that none that is higher was ever entered; and no view that is joined leaves too few to count on from.
const VIEW_MAX: ViewNumber = ViewNumber(1 << 62);

/// A replica: a plain value that events change and that says by effects what is to be done.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Replica<B> {
    pub(crate) config: Config,
    /// The own place in the configuration.
    pub(crate) index: usize,
    pub(crate) incarnation: Incarnation,
    pub(crate) view: ViewNumber,
    pub(crate) log_view: ViewNumber,
    pub(crate) status: Status<B>,
    pub(crate) log: Log<B>,
    /// Known to be committed.
    pub(crate) commit_max: OpNumber,
    /// Executed.
    pub(crate) commit_min: OpNumber,
    /// Handed to the service and not answered yet: the ops after `commit_min`, in order.
    pub(crate) applying: VecDeque<(Entry<B>, Vec<u32>)>,
    pub(crate) table: ClientTable<B>,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) outbox: Outbox<B>,
    pub(crate) repair: Repair,
    pub(crate) reads: Reads<B>,
    pub(crate) transfer: Transfer<B>,
    pub(crate) leaving: Leaving,
    pub(crate) search: Option<Search>,
    /// View changes in a row that did not lead to a stable view.
    pub(crate) failed_views: u32,
    /// Whom it heard since the last ping, and between the last two.
    pub(crate) heard: [Voters; 2],
    pub(crate) connectivity: Connectivity,
    pub(crate) hopeless: Hopeless,
    /// By member: the latest incarnation heard of.
    pub(crate) incarnations: Vec<Incarnation>,
    /// Which timers are armed, by [`Timer::index`].
    pub(crate) armed: u64,
    pub(crate) disk: DiskState,
    /// Counts the questions of this incarnation.
    pub(crate) questions: u64,
    /// What the service was asked and has not answered.
    pub(crate) with_service: Questions,
}

/// Where a replica is, for people and tests.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Summary {
    /// The replica.
    pub replica: ReplicaId,
    /// How often it was started.
    pub incarnation: Incarnation,
    /// The epoch of its configuration.
    pub epoch: Epoch,
    /// The view it is in.
    pub view: ViewNumber,
    /// The last view it was normal in.
    pub log_view: ViewNumber,
    /// What it is.
    pub status: StatusName,
    /// Why it halted, if it did.
    pub halted: Option<HaltReason>,
    /// Whether it is a primary that takes requests.
    pub ready: bool,
    /// The last op of its log.
    pub op: OpNumber,
    /// How full its log is, by entries or by bytes, whichever is more; at 100 it refuses operations.
    pub log_percent: u8,
    /// What it knows to be committed.
    pub commit_max: OpNumber,
    /// What it has executed.
    pub commit_min: OpNumber,
    /// Up to which op its log is durable without a gap.
    pub durable: OpNumber,
    /// The op of its latest durable checkpoint; zero where there is none.
    pub checkpoint: OpNumber,
    /// The op that its log begins after; a checkpoint has all before.
    pub trimmed: OpNumber,
    /// How many sessions are open.
    pub sessions: u32,
    /// How many entries or headers it is asking its peers for.
    pub repairs_pending: u32,
    /// The service does not have the state of `commit_min`: it has none that is worth anything, or that of a checkpoint
    /// which waits for its log.
    pub restoring: bool,
    /// How far a state transfer is, if one is under way.
    pub transfer: Option<TransferProgress>,
    /// How far a recovery is, if one is under way.
    pub recovery: Option<RecoveryProgress>,
    /// How many entries were repaired from peers since it started.
    pub repaired: u64,
    /// The view's primary.
    pub primary: ReplicaId,
}

impl<B: Body> Replica<B> {
    /// Takes an event in and appends what is to be done. Never fails, blocks, or panics on what came
    /// from outside.
    pub fn step(&mut self, event: Event<B>, effects: &mut Effects<B>) {
        if matches!(self.status, Status::Halted(_)) {
            return self.ignore(Ignored::Halted, effects);
        }
        match event {
            Event::Written(written) => {
                if self.take_written(&written) {
                    self.on_written(effects);
                } else {
                    self.ignore(Ignored::StaleCompletion, effects);
                }
            }
            Event::EntriesRead { entries, faulty } => {
                self.on_entries_read(entries, faulty, effects)
            }
            Event::Applied { op, replies } => self.on_applied(op, replies, effects),
            Event::Predicted { ticket, value } => self.on_predicted(ticket, value, effects),
            Event::Checked { checksum, verdict, .. } => {
                self.on_checked(checksum, verdict, effects);
            }
            Event::Checkpointed { op, id } => self.on_checkpointed(op, id, effects),
            Event::Served { to, answer } => self.on_served(to, answer, effects),
            Event::Fetched(fetched) => self.on_fetched(fetched, effects),
            Event::CheckpointDamaged { id } => self.on_checkpoint_damaged(id, effects),
            Event::Restored { id } => self.on_restored(id, effects),
            Event::NotRestored { id } => self.on_not_restored(id, effects),
            Event::Disk(state) => self.disk = state,
            Event::Faulty { op } => self.on_faulty(op, effects),
            Event::Request { .. }
            | Event::Message { .. }
            | Event::Timeout(_)
            | Event::Operator(_)
                if !self.is_started() =>
            {
                self.ignore(Ignored::NotStarted, effects);
            }
            Event::Request { request, subject, at, now } => {
                self.on_request(request, subject, (at, now), effects);
            }
            Event::Message { from, message } => self.on_message(from, message, effects),
            Event::Timeout(timer) => self.on_timeout(timer, effects),
            Event::Operator(Operator::Abdicate) => self.on_abdicate(effects),
        }
    }

    /// Ends a round of steps: one PREPARE, one PREPARE-OK, one COMMIT for all that the round brought.
    pub fn flush(&mut self, effects: &mut Effects<B>) {
        if matches!(self.status, Status::Halted(_)) {
            return;
        }
        if self.is_started() {
            self.flush_recovery(effects);
            self.flush_normal(effects);
        }
        self.persist_appends(effects);
        self.apply_committed(effects);
        self.flush_reads(effects);
        self.flush_repair(effects);
        self.flush_transfer(effects);
        self.log.evict(self.commit_min, BODIES_IN_MEMORY);
        if self.log.cached() > 2 * BODIES_IN_MEMORY {
            self.log.shed(self.needed_next(), self.commit_max, 2 * BODIES_IN_MEMORY);
        }
    }

    fn on_message(&mut self, from: ReplicaId, message: Message<B>, effects: &mut Effects<B>) {
        if message.cluster != self.config.cluster() {
            return self.ignore(Ignored::OtherCluster, effects);
        }
        let Some(index) = self.config.configuration().index(from).filter(|i| *i != self.index)
        else {
            return self.ignore(Ignored::Stranger, effects);
        };
        if message.epoch != self.config.configuration().epoch() {
            return self.ignore(Ignored::OtherEpoch, effects);
        }
        if message.view > VIEW_MAX {
            return self.ignore(Ignored::Malformed, effects);
        }
        if message.incarnation < self.incarnations[index] {
            return self.ignore(Ignored::OlderIncarnation, effects);
        }
        if message.incarnation > self.incarnations[index] {
            self.hopeless.forget(index);
            self.checkpoints.forget_lost(index);
            if self.is_in_memory() {
                self.checkpoints.forget_member(index);
            }
        }
        self.incarnations[index] = message.incarnation;
        // Who asks for its memory can neither acknowledge nor lead: to hear it is of no use.
        if !matches!(message.kind, Kind::Recovery { .. }) {
            self.heard[0].insert(index);
            if let Status::Primary(primary) = &mut self.status {
                primary.heard.insert(index);
            }
        }
        let view = message.view;
        self.learn_uncertainty(index, view, &message.kind, effects);
        if matches!(self.status, Status::Recovering(_)) {
            self.learn_later_view(view);
            if !Self::heeds_while_recovering(&message.kind) {
                return self.ignore(Ignored::Recovering, effects);
            }
        }
        match message.kind {
            Kind::Ping { log_view, commit, heard, kept, .. } => {
                self.learn_heard(index, heard);
                // Of what it lacks of another log the own one says nothing: it may be denied.
                let is_of_log = log_view == self.log_view;
                let next = if is_of_log { kept.next } else { Next::Unsaid };
                self.learn_kept(index, Kept { next, ..kept }, effects);
                if matches!(self.status, Status::Halted(_)) {
                    return;
                }
                self.on_ping(from, view, log_view, commit, effects);
            }
            Kind::Prepare { entry, commit } => self.on_prepare(from, view, entry, commit, effects),
            Kind::PrepareOk { op, checksum, .. } => {
                self.on_prepare_ok(from, index, view, op, checksum, effects);
            }
            Kind::Commit { commit } => self.on_commit(from, view, commit, effects),
            Kind::StartViewChange { log_view } => {
                self.on_start_view_change(from, index, view, log_view, effects);
            }
            Kind::DoViewChange { log_view, op, commit_min, commit_max, suffix } => {
                let offer = crate::status::Offer { log_view, op, commit_min, commit_max, suffix };
                self.on_do_view_change(from, index, view, offer, effects);
            }
            Kind::StartView { commit_max, suffix, nonce } => {
                self.on_start_view(from, view, commit_max, &suffix, nonce, effects);
            }
            Kind::GetView { nonce, .. } => self.on_get_view(from, view, nonce, effects),
            Kind::GetHeaders { first, last } => self.on_get_headers(from, first, last, effects),
            Kind::Headers { headers } => self.on_headers(headers, effects),
            Kind::GetEntry { wanted } => self.on_get_entry(from, &wanted, effects),
            Kind::Entry { entry } => self.on_entry(entry, effects),
            Kind::Nack { op, checksum } => self.on_nack(index, view, op, checksum, effects),
            Kind::ReadProbe { nonce, relay } => {
                self.on_read_probe((from, index), view, nonce, relay, effects);
            }
            Kind::ReadOk { nonce, index: read_index } => {
                self.on_read_ok(from, index, view, nonce, read_index, effects);
            }
            Kind::PreStep { nonce, requests } => {
                self.on_pre_step(from, view, nonce, requests, effects);
            }
            Kind::PreStepOk { nonce, value } => {
                self.on_pre_step_ok(from, index, view, nonce, value, effects);
            }
            Kind::GetCheckpoint { id, offset } => self.on_get_checkpoint(from, id, offset, effects),
            Kind::Checkpoint { committed_by, checkpoint, length, offset, page } => {
                self.on_checkpoint(committed_by, checkpoint, length, offset, page, effects);
            }
            Kind::GetChunk { wanted } => self.on_get_chunk(from, &wanted, effects),
            Kind::Chunk { chunk } => self.on_chunk(chunk, effects),
            Kind::NoChunk { name } => self.on_no_chunk(index, name, effects),
            Kind::Recovery { nonce } => self.on_recovery(from, index, view, nonce, effects),
            Kind::RecoveryResponse { nonce, commit_max, suffix } => {
                let sender = (from, index);
                self.on_recovery_response(sender, view, nonce, commit_max, suffix, effects);
            }
        }
    }

    fn on_timeout(&mut self, timer: Timer, effects: &mut Effects<B>) {
        if !self.is_armed(timer) {
            return self.ignore(Ignored::TimerNotArmed, effects);
        }
        self.armed &= !(1 << timer.index());
        match timer {
            Timer::PrimarySilence => self.on_primary_silence(effects),
            Timer::PrimaryLate => self.on_primary_late(effects),
            Timer::VoteResend => self.on_vote_resend(effects),
            Timer::VoteExpiry(member) => self.on_vote_expiry(usize::from(member), effects),
            Timer::DoViewChangeResend => self.send_do_view_change(effects),
            Timer::ViewChangeStuck => self.on_view_change_stuck(effects),
            Timer::Heartbeat => self.on_heartbeat(effects),
            Timer::PrepareResend => self.on_prepare_resend(effects),
            Timer::Abdicate => self.on_abdicate_timeout(effects),
            Timer::GetView => self.on_get_view_timeout(effects),
            Timer::Repair => self.on_repair_timeout(effects),
            Timer::Ping => self.on_ping_timeout(effects),
            Timer::ReadResend => self.on_read_resend(effects),
            Timer::Transfer => self.on_transfer_timeout(effects),
            Timer::Recovery => self.on_recovery_timeout(effects),
            Timer::PreStepResend => self.on_pre_step_resend(effects),
        }
    }

    /// What becomes possible when writes are done, beside acknowledging.
    fn on_written(&mut self, effects: &mut Effects<B>) {
        if self.is_started() && !self.is_armed(Timer::Ping) {
            self.on_started(effects);
        }
        self.trim(effects);
        self.tell_checkpoint(effects);
        match &self.status {
            Status::ViewChange(change) if !change.offered => self.send_do_view_change(effects),
            Status::Primary(primary) if !primary.announced => self.announce_view(effects),
            Status::Primary(_)
            | Status::Backup(_)
            | Status::ViewChange(_)
            | Status::RecoveringHead(_)
            | Status::Recovering(_)
            | Status::Halted(_) => {}
        }
    }

    /// Where the replica is.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let (ready, halted) = match &self.status {
            Status::Primary(primary) => (primary.ready && !primary.abdicating, None),
            Status::Halted(reason) => (false, Some(*reason)),
            Status::Backup(_)
            | Status::ViewChange(_)
            | Status::RecoveringHead(_)
            | Status::Recovering(_) => (false, None),
        };
        Summary {
            replica: self.config.replica(),
            incarnation: self.incarnation,
            epoch: self.config.configuration().epoch(),
            view: self.view,
            log_view: self.log_view,
            status: self.status.name(),
            halted,
            ready,
            op: self.log.op(),
            log_percent: self.log_percent(),
            commit_max: self.commit_max,
            commit_min: self.commit_min,
            durable: self.log.durable(),
            checkpoint: self.durable_checkpoint().0,
            trimmed: self.log.root().op,
            sessions: self.table.len(),
            repairs_pending: (self.repair.pending() + self.mends_pending()) as u32,
            restoring: self.transfer.is_restored(),
            transfer: self.transfer_progress(),
            recovery: self.recovery_progress(),
            repaired: self.repair.repaired,
            primary: self.primary(),
        }
    }

    fn log_percent(&self) -> u8 {
        let percent =
            |part: u64, whole: u64| (u128::from(part) * 100 / u128::from(whole.max(1))) as u8;
        let constants = self.config.constants();
        let held = self.log.op().0 - self.log.root().op.0;
        let entries = percent(held, u64::from(constants.log_slots - constants.pipeline - 1));
        let bytes = percent(self.log.bytes(), constants.log_bytes);
        entries.max(bytes)
    }

    /// What the replica was told at its start.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The header at `op`, if it is known to be the group's and not trimmed; the last one that was
    /// trimmed is known too. Op 0 is the root.
    #[must_use]
    pub fn header(&self, op: OpNumber) -> Option<&Header> {
        self.log.header(op)
    }

    /// What is known of the entry at `op` on this replica's disk.
    #[must_use]
    pub fn holding(&self, op: OpNumber) -> Holding {
        self.log.holding(op)
    }

    /// The open sessions by slot: a function of the entries executed.
    pub fn sessions(&self) -> impl Iterator<Item = (u32, &SessionState<B>)> {
        self.table.iter()
    }

    pub(crate) fn primary(&self) -> ReplicaId {
        self.config.configuration().primary(self.view)
    }

    pub(crate) fn is_primary_of(&self, view: ViewNumber) -> bool {
        self.config.configuration().primary(view) == self.config.replica()
    }

    pub(crate) fn next_nonce(&mut self) -> Nonce {
        self.questions += 1;
        Nonce { incarnation: self.incarnation, count: self.questions }
    }

    pub(crate) const fn is_armed(&self, timer: Timer) -> bool {
        // A driver may name the vote of a member that no group has.
        timer.index() < Timer::COUNT && self.armed & (1 << timer.index()) != 0
    }

    pub(crate) fn arm(&mut self, timer: Timer, attempt: u32, effects: &mut Effects<B>) {
        self.armed |= 1 << timer.index();
        effects.push(Effect::Arm { timer, attempt });
    }

    pub(crate) fn disarm(&mut self, timer: Timer, effects: &mut Effects<B>) {
        if self.is_armed(timer) {
            self.armed &= !(1 << timer.index());
            effects.push(Effect::Disarm(timer));
        }
    }

    pub(crate) fn ignore(&self, reason: Ignored, effects: &mut Effects<B>) {
        effects.push(Effect::Note(Note::Ignored(reason)));
    }

    pub(crate) fn mark(&self, mark: Mark, effects: &mut Effects<B>) {
        effects.push(Effect::Note(Note::Mark(mark)));
    }

    pub(crate) fn note_status(&self, effects: &mut Effects<B>) {
        let note = Note::Status { view: self.view, status: self.status.name() };
        effects.push(Effect::Note(note));
    }

    /// Stops for good where the group contradicts what was executed here.
    pub(crate) fn check<T>(
        &mut self,
        result: Result<T, Contradiction>,
        effects: &mut Effects<B>,
    ) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(Contradiction(op)) => {
                self.halt(HaltReason::Diverged(op), effects);
                None
            }
        }
    }

    pub(crate) fn halt(&mut self, reason: HaltReason, effects: &mut Effects<B>) {
        if matches!(self.status, Status::Halted(_)) {
            return;
        }
        self.status = Status::Halted(reason);
        self.note_status(effects);
        effects.push(Effect::Halt(reason));
    }
}
