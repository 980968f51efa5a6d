//! Normal operation (paper, section 4.1).
//!
//! 1. The primary takes requests (`session.rs`) and, at the end of a round, batches them into an
//!    entry, which waits for a value if the service wants one (`prediction.rs`), appends it, and sends
//!    PREPARE to all while it writes it itself.
//! 2. A backup appends the entry if it links to its log, writes it, and when all up to it is durable
//!    says PREPARE-OK.
//! 3. The primary commits what a replication quorum holds durably, its own disk counted like any.
//! 4. Backups learn what is committed by the next PREPARE, or by COMMIT when there is none.
//! 5. What is not acknowledged is sent again. A primary that hears no quorum gives way.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;

use crate::config::{Role, STANDBYS_MAX, VOTERS_MAX};
use crate::digest::Checksum;
use crate::effect::{Effect, Effects, HaltReason, Ignored, Mark, Timer};
use crate::entry::{Entry, Request};
use crate::event::DiskState;
use crate::message::{Committed, Kind};
use crate::prediction::QUESTIONS_MAX;
use crate::quorum::Voters;
use crate::replica::Replica;
use crate::service::Prediction;
use crate::status::{Primary, Status};
use crate::types::{Body, OpNumber, Release, ReplicaId, Timestamp, ViewNumber};

/// After so many abdicate timers in a row in which something waited to be committed, or the primary
/// to become ready, and nothing moved, the primary gives way even though a quorum is heard: its disk,
/// or its way for large messages, or to the one that holds what it lacks, may be stuck where
/// another's is not. With default durations 4 seconds.
pub(crate) const STALLED_MAX: u32 = 8;

impl<B: Body> Replica<B> {
    pub(crate) fn become_primary(&mut self) {
        self.status = Status::Primary(Primary {
            acknowledged: alloc::vec![OpNumber::ZERO; self.incarnations.len()],
            queue: VecDeque::new(),
            queued: 0,
            clock: Timestamp::ZERO,
            prepared: Vec::new(),
            registering: BTreeSet::new(),
            ready: false,
            inherited: self.log.op(),
            floor: self.commit_max,
            announced: false,
            abdicating: false,
            heard: Voters::default(),
            stalled: 0,
            progress: 0,
            resend_attempt: 0,
            open: None,
            refused: None,
        });
    }

    /// What a round brings about.
    pub(crate) fn flush_normal(&mut self, effects: &mut Effects<B>) {
        match &mut self.status {
            Status::Primary(_) => {
                self.advance_commit(effects);
                self.try_ready(effects);
                self.prepare(effects);
                self.watch_pipeline(effects);
            }
            Status::Backup(backup) => {
                if core::mem::take(&mut backup.heard_primary) {
                    backup.late = false;
                    self.withdraw_vote(effects);
                    self.arm_primary_timers(effects);
                }
                self.hold_committed(effects);
                self.acknowledge(effects);
            }
            Status::ViewChange(_)
            | Status::RecoveringHead(_)
            | Status::Recovering(_)
            | Status::Halted(_) => {}
        }
    }

    // Step 1: the primary prepares.

    /// Requests are taken once all that was inherited is held and what was committed of it is
    /// executed: only then is it known which requests the log contains.
    fn try_ready(&mut self, effects: &mut Effects<B>) {
        let durable = self.is_log_view_durable();
        // What was handed to the service is in the client-table already.
        let first = self.issued().next();
        let Status::Primary(primary) = &mut self.status else {
            return;
        };
        let waits = self.log.gap().is_some() || self.commit_min < primary.floor;
        if primary.ready || !primary.announced || !durable || waits {
            return;
        }
        let inherited = (first.0..=primary.inherited.0).map(OpNumber);
        if !inherited.clone().all(|op| self.log.body(op).is_some()) {
            return;
        }
        for entry in inherited.filter_map(|op| self.log.body(op)) {
            for request in entry.requests() {
                primary.note_prepared(request);
            }
        }
        primary.ready = true;
        if self.view > ViewNumber::ZERO {
            effects.push(Effect::Inform { view: self.view, primary: self.config.replica() });
        }
        if self.repair.helped_primary {
            self.mark(Mark::InheritedRepaired, effects);
        }
    }

    fn prepare(&mut self, effects: &mut Effects<B>) {
        let constants = *self.config.constants();
        let predicts = self.config.prediction() != Prediction::None;
        let mut prepared = false;
        loop {
            let own_write_in_flight = self.outbox.has_appends_in_flight();
            let room = self.log.op().0 < self.commit_max.0 + u64::from(constants.pipeline);
            let Status::Primary(primary) = &mut self.status else {
                return;
            };
            let full = primary.queue.len() >= constants.batch_requests as usize
                || primary.queued >= constants.batch_bytes as usize;
            let due = !primary.queue.is_empty() && room && (full || !own_write_in_flight);
            let free = !predicts || self.with_service.predict < QUESTIONS_MAX;
            let may = primary.ready && !primary.abdicating && self.outbox.has_room();
            if may && primary.is_open() {
                // One entry is open at a time: what comes meanwhile is for the next one.
                let Some((requests, value)) = primary.take_closed() else { break };
                self.append_prepared(requests, value, effects);
                prepared = true;
                continue;
            }
            if !may || !due || !free || (prepared && !full) {
                break;
            }
            let requests =
                primary.take_batch(constants.batch_requests as usize, constants.batch_bytes);
            if predicts && requests.iter().any(Request::is_operation) {
                self.open_entry(requests, effects);
                break;
            }
            self.append_prepared(requests, None, effects);
            prepared = true;
        }
        if prepared && self.incarnations.len() > 1 {
            self.arm(Timer::Heartbeat, 0, effects);
        }
    }

    fn append_prepared(
        &mut self,
        requests: Vec<Request<B>>,
        prediction: Option<B>,
        effects: &mut Effects<B>,
    ) {
        let Status::Primary(primary) = &self.status else {
            return;
        };
        let entry = Entry::prepare_predicted(
            self.log.head(),
            self.config.configuration().epoch(),
            self.view,
            Release::ZERO,
            primary.clock,
            requests,
            prediction,
        );
        let appended = self.log.append(*entry.header());
        assert!(appended.is_ok(), "an entry made from the head follows it");
        self.log.put_body(entry.clone());
        self.outbox.append(entry.clone());
        self.persist_appends(effects);
        let commit = self.committed();
        self.broadcast(Kind::Prepare { entry, commit }, effects);
    }

    /// What backups are told to be committed, with its checksum.
    pub(crate) fn committed(&self) -> Committed {
        let op = self.commit_max.min(self.log.trusted());
        let checksum = self.log.checksum(op).expect("the trusted prefix has headers");
        Committed { op, checksum }
    }

    // Step 2: a backup appends and acknowledges.

    pub(crate) fn on_prepare(
        &mut self,
        from: ReplicaId,
        view: ViewNumber,
        entry: Entry<B>,
        commit: Committed,
        effects: &mut Effects<B>,
    ) {
        if !self.hears_primary(from, view, effects) {
            return;
        }
        let header = *entry.header();
        let window = commit.op.0.saturating_add(u64::from(self.config.constants().pipeline));
        if header.cluster != self.config.cluster() || header.view > view || header.op.0 == 0 {
            return self.ignore(Ignored::Malformed, effects);
        }
        if header.op.0 > window || header.op > self.log_limit() {
            return self.ignore(Ignored::OutOfWindow, effects);
        }
        if self.place(&entry, effects) {
            if self.is_to_be_checked(&header, commit.op) {
                self.start_check(entry, effects);
            } else if self.outbox.has_room() || !self.log.lacks(header.op) {
                self.hold(entry, effects);
            } else {
                self.ignore(Ignored::OutOfWindow, effects);
            }
        }
        self.learn_commit(commit, effects);
    }

    /// Finds the slot for an entry that the primary prepared in this view. Returns whether it has
    /// one.
    fn place(&mut self, entry: &Entry<B>, effects: &mut Effects<B>) -> bool {
        let header = entry.header();
        if header.op <= self.log.root().op {
            // A checkpoint has it.
            if let Status::Backup(backup) = &mut self.status {
                backup.ack_due = true;
            }
            self.ignore(Ignored::Repeated, effects);
            return false;
        }
        if header.op <= self.log.op() {
            if let Some(checksum) = self.log.checksum(header.op) {
                if checksum != header.checksum {
                    self.ignore(Ignored::WrongChecksum, effects);
                    return false;
                }
                return true;
            }
            let filled = self.log.fill_prepared(*header);
            let filled = self.check(filled, effects).unwrap_or(false);
            if !filled {
                self.ignore(Ignored::WrongChecksum, effects);
            }
            return filled;
        }
        let next = header.op == self.log.op().next();
        if next && header.parent != self.log.head().checksum {
            self.ignore(Ignored::WrongChecksum, effects);
            return false;
        }
        if !next {
            self.mark(Mark::PrepareBeyondHead, effects);
        }
        let appended = self.log.append(*header);
        self.check(appended, effects).is_some()
    }

    /// Keeps an entry whose identity is known, and writes it. One that is held is acknowledged again.
    pub(crate) fn hold(&mut self, entry: Entry<B>, effects: &mut Effects<B>) {
        if self.log.put_body(entry.clone()) {
            self.outbox.append(entry);
            return;
        }
        if let Status::Backup(backup) = &mut self.status {
            backup.ack_due = true;
            self.mark(Mark::PrepareRepeated, effects);
        }
    }

    fn acknowledge(&mut self, effects: &mut Effects<B>) {
        if !self.is_log_view_durable() {
            return;
        }
        let op = self.log.durable();
        let Status::Backup(backup) = &mut self.status else {
            return;
        };
        if op <= backup.acknowledged && !backup.ack_due {
            return;
        }
        backup.ack_due = false;
        backup.acknowledged = op;
        if op == OpNumber::ZERO {
            return;
        }
        let checksum = self.log.checksum(op).expect("what is durable is trusted");
        let kind = Kind::PrepareOk { op, checksum, commit_min: self.commit_min };
        self.send(self.primary(), kind, effects);
    }

    /// Whether this came from the primary of the view that this replica is a backup of. If it shows
    /// that there is a later view, that one is looked for.
    pub(crate) fn hears_primary(
        &mut self,
        from: ReplicaId,
        view: ViewNumber,
        effects: &mut Effects<B>,
    ) -> bool {
        if view < self.view {
            self.ignore(Ignored::OlderView, effects);
            return false;
        }
        if from != self.config.configuration().primary(view) {
            self.ignore(Ignored::NotFromPrimary, effects);
            return false;
        }
        match &mut self.status {
            Status::Backup(backup) if view == self.view => {
                backup.heard_primary = true;
                true
            }
            Status::RecoveringHead(_) if view == self.view => {
                self.ignore(Ignored::HeadUncertain, effects);
                false
            }
            Status::Backup(_)
            | Status::Primary(_)
            | Status::ViewChange(_)
            | Status::RecoveringHead(_)
            | Status::Recovering(_)
            | Status::Halted(_) => {
                self.look_for(view, effects);
                false
            }
        }
    }

    pub(crate) fn arm_primary_timers(&mut self, effects: &mut Effects<B>) {
        self.arm(Timer::PrimarySilence, 0, effects);
        self.arm(Timer::PrimaryLate, 0, effects);
    }

    // Step 3: the primary commits.

    pub(crate) fn on_prepare_ok(
        &mut self,
        from: ReplicaId,
        index: usize,
        view: ViewNumber,
        op: OpNumber,
        checksum: Checksum,
        effects: &mut Effects<B>,
    ) {
        if view < self.view {
            return self.ignore(Ignored::OlderView, effects);
        }
        if view > self.view {
            return self.look_for(view, effects);
        }
        if self.config.configuration().role(from) == Some(Role::Learner) {
            return self.ignore(Ignored::Stranger, effects);
        }
        let Status::Primary(primary) = &mut self.status else {
            return self.ignore(Ignored::NotPrimary, effects);
        };
        if self.log.checksum(op) != Some(checksum) {
            return self.ignore(Ignored::WrongChecksum, effects);
        }
        if op <= primary.acknowledged[index] {
            return self.ignore(Ignored::Repeated, effects);
        }
        primary.acknowledged[index] = op;
    }

    fn advance_commit(&mut self, effects: &mut Effects<B>) {
        if !self.is_log_view_durable() {
            return;
        }
        let configuration = self.config.configuration();
        let Status::Primary(primary) = &mut self.status else {
            return;
        };
        let mut held = [OpNumber::ZERO; VOTERS_MAX + STANDBYS_MAX];
        let mut voters = 0;
        for (index, member) in configuration.members().iter().enumerate() {
            if member.role != Role::Learner {
                let own = index == self.index;
                held[voters] = if own { self.log.durable() } else { primary.acknowledged[index] };
                voters += 1;
            }
        }
        let held = &mut held[..voters];
        held.sort_unstable_by(|a, b| b.cmp(a));
        let committed = held[configuration.quorums().replication - 1];
        if committed > self.commit_max {
            self.commit_max = committed;
            primary.resend_attempt = 0;
            self.disarm(Timer::PrepareResend, effects);
        }
    }

    // Step 4: backups learn what is committed.

    pub(crate) fn on_heartbeat(&mut self, effects: &mut Effects<B>) {
        let Status::Primary(primary) = &self.status else {
            return;
        };
        if !primary.abdicating {
            let commit = self.committed();
            self.broadcast(Kind::Commit { commit }, effects);
            self.arm(Timer::Heartbeat, 0, effects);
        }
    }

    pub(crate) fn on_commit(
        &mut self,
        from: ReplicaId,
        view: ViewNumber,
        commit: Committed,
        effects: &mut Effects<B>,
    ) {
        if self.hears_primary(from, view, effects) {
            self.learn_commit(commit, effects);
        }
    }

    pub(crate) fn learn_commit(&mut self, commit: Committed, effects: &mut Effects<B>) {
        if !matches!(self.status, Status::Backup(_)) {
            return;
        }
        if self.log.checksum(commit.op).is_some_and(|checksum| checksum != commit.checksum) {
            if commit.op <= self.commit_min {
                return self.halt(HaltReason::Diverged(commit.op), effects);
            }
            return self.ignore(Ignored::WrongChecksum, effects);
        }
        let beyond = commit.op > self.log_limit();
        self.transfer.note_beyond(beyond);
        if commit.op > self.log.op() {
            if beyond {
                return self.ignore(Ignored::OutOfWindow, effects);
            }
            self.mark(Mark::CommitBeyondHead, effects);
            self.repair.learn_anchor(commit);
        }
        self.commit_max = self.commit_max.max(commit.op);
    }

    // Step 5: sending again, and giving way.

    fn watch_pipeline(&mut self, effects: &mut Effects<B>) {
        let Status::Primary(primary) = &self.status else {
            return;
        };
        let waits = self.log.op() > self.commit_max && self.incarnations.len() > 1;
        let attempt = primary.resend_attempt;
        if !waits || !primary.announced {
            self.disarm(Timer::PrepareResend, effects);
        } else if !self.is_armed(Timer::PrepareResend) {
            self.arm(Timer::PrepareResend, attempt, effects);
        }
    }

    pub(crate) fn on_prepare_resend(&mut self, effects: &mut Effects<B>) {
        let commit = self.committed();
        let Status::Primary(primary) = &mut self.status else {
            return;
        };
        primary.resend_attempt += 1;
        if primary.abdicating {
            return;
        }
        let acknowledged = primary.acknowledged.clone();
        let members = self.config.configuration().members();
        for (index, member) in members.iter().enumerate().filter(|(i, _)| *i != self.index) {
            let first = acknowledged[index].max(self.commit_max).next();
            for entry in (first.0..=self.log.op().0).filter_map(|op| self.log.body(OpNumber(op))) {
                effects.push(Effect::Note(crate::effect::Note::Mark(Mark::PrepareResent)));
                self.send(member.id, Kind::Prepare { entry: entry.clone(), commit }, effects);
            }
        }
    }

    pub(crate) fn on_abdicate_timeout(&mut self, effects: &mut Effects<B>) {
        let configuration = self.config.configuration();
        let quorum = configuration.quorums().replication;
        let unheard = self.is_heard_by_too_few();
        let Status::Primary(primary) = &mut self.status else {
            return;
        };
        primary.heard.insert(self.index);
        let heard = primary.heard.iter();
        let voters = heard.filter(|index| configuration.members()[*index].role != Role::Learner);
        let too_few = voters.count() < quorum;
        // A primary that is not ready makes progress by whatever leads there.
        let (waits, progress) = if primary.ready {
            let waiting = !primary.queue.is_empty() || primary.is_open();
            (self.log.op() > self.commit_max || waiting, self.commit_max.0)
        } else {
            let known = self.commit_max.0 + self.log.trusted().0;
            (true, known + self.commit_min.0 + self.repair.repaired)
        };
        primary.stalled =
            if waits && progress == primary.progress { primary.stalled + 1 } else { 0 };
        // What was acknowledged was heard.
        let unheard = unheard && progress == primary.progress;
        primary.progress = progress;
        primary.heard = Voters::default();
        // The others commit what its own disk does not have: theirs are no slower, and soon its memory is full.
        let behind = self.commit_max > self.log.durable();
        let disk_stalled = self.disk == DiskState::Stalled && behind;
        if too_few || unheard || disk_stalled || primary.stalled >= STALLED_MAX {
            if unheard {
                self.mark(Mark::PrimaryUnheard, effects);
            }
            if disk_stalled {
                self.mark(Mark::StalledPrimaryGaveWay, effects);
            }
            return self.abdicate(effects);
        }
        self.arm(Timer::Abdicate, 0, effects);
    }

    pub(crate) fn on_abdicate(&mut self, effects: &mut Effects<B>) {
        match &self.status {
            Status::Primary(primary) if !primary.abdicating && self.incarnations.len() > 1 => {
                self.abdicate(effects);
            }
            Status::Primary(_)
            | Status::Backup(_)
            | Status::ViewChange(_)
            | Status::RecoveringHead(_)
            | Status::Recovering(_)
            | Status::Halted(_) => self.ignore(Ignored::NotPrimary, effects),
        }
    }

    pub(crate) fn abdicate(&mut self, effects: &mut Effects<B>) {
        let Status::Primary(primary) = &mut self.status else {
            return;
        };
        primary.abdicating = true;
        primary.queue.clear();
        primary.queued = 0;
        primary.open = None;
        self.disarm(Timer::PreStepResend, effects);
        self.disarm(Timer::Heartbeat, effects);
        self.mark(Mark::Abdicated, effects);
        self.vote(effects);
    }
}

impl<B: Body> Primary<B> {
    /// Remembers that a request is in the pipeline.
    pub(crate) fn note_prepared(&mut self, request: &Request<B>) {
        match request {
            Request::Register { client, .. } => {
                self.registering.insert(*client);
            }
            Request::Operation { session, number, .. } => {
                let slot = session.slot as usize;
                if self.prepared.len() <= slot {
                    self.prepared.resize(slot + 1, Default::default());
                }
                self.prepared[slot] = (session.number, *number);
            }
        }
    }

    /// Takes the requests of the next entry from the queue: at least one.
    fn take_batch(&mut self, requests_max: usize, bytes_max: u32) -> Vec<Request<B>> {
        let mut bytes = 0;
        let mut count = 0;
        for request in self.queue.iter().take(requests_max) {
            bytes += request.length();
            if count > 0 && bytes > bytes_max as usize {
                bytes -= request.length();
                break;
            }
            count += 1;
        }
        self.queued -= bytes;
        self.queue.drain(..count).collect()
    }
}
