//! How a replica starts (protocol.md 5.4, "Restart", in this order):
//!
//! 1. The incarnation is raised, and nothing is sent before that is durable.
//! 2. The log is that of the superblock's headers, extended only if the view was normal, and only by
//!    entries of that view that link; all else on the disk is content that repair may use.
//! 3. In a view change: it goes on, with the head of the superblock.
//! 4. The head is uncertain: it waits to be told what it held.
//! 5. The primary of its view never resumes it: it goes to the next view.
//! 6. Otherwise it is a backup.
//!
//! A replica whose log was in memory has it from the others first (`fence.rs`).

use alloc::collections::VecDeque;

use crate::checkpoint::Checkpoints;
use crate::client_table::ClientTable;
use crate::config::{Config, Durability};
use crate::connectivity::Connectivity;
use crate::effect::{Effects, HaltReason, Mark, Timer};
use crate::entry::Header;
use crate::event::{Checkpoint, DiskState, Stored, StoredSlot, SuperblockState};
use crate::hopeless::Hopeless;
use crate::log::{Holding, Log};
use crate::message::Kind;
use crate::outbox::Outbox;
use crate::prediction::Questions;
use crate::quorum::Voters;
use crate::reads::Reads;
use crate::repair::Repair;
use crate::replica::Replica;
use crate::status::{Backup, Leaving, RecoveringHead, Status, ViewChange};
use crate::transfer::Transfer;
use crate::types::{Body, Incarnation, OpNumber, ViewNumber};

impl<B: Body> Replica<B> {
    /// Starts a replica for the first time ever, on a freshly formatted store.
    pub fn new(config: Config, effects: &mut Effects<B>) -> Self {
        let mut this = Self::blank(config);
        this.incarnation = Incarnation(1);
        if this.is_primary_of(this.view) {
            this.become_primary();
        }
        this.note_status(effects);
        this.persist_superblock(effects);
        this
    }

    /// Starts a replica on what its store holds. A store that was never started is started for the
    /// first time.
    ///
    /// The service's state is that of the checkpoint which the superblock names: what lies behind it in
    /// the log is executed again from there.
    pub fn recover(config: Config, mut stored: Stored<B>, effects: &mut Effects<B>) -> Self {
        if stored.superblock.incarnation == Incarnation::ZERO {
            return Self::new(config, effects);
        }
        match config.constants().durability {
            Durability::Sync => {}
            Durability::Memory => {
                return Self::recover_memory(config, &stored.superblock, effects);
            }
        }
        let mut this = Self::blank(config);
        this.restore_checkpoint(&mut stored, effects);
        let superblock = &stored.superblock;
        this.incarnation = superblock.incarnation.next();
        this.view = superblock.view;
        this.log_view = superblock.log_view;
        this.commit_max = superblock.commit_max.max(this.commit_min);
        let certain = this.restore_log(&stored);
        let linked = this.log.restored(this.commit_min);
        if this.check(linked, effects).is_none() {
            return this;
        }
        if this.incarnations.len() == 1 && this.transfer.is_restored() {
            this.halt(HaltReason::CheckpointDamaged(this.commit_min), effects);
            return this;
        }
        if let Some(op) = this.damaged_alone(certain) {
            this.halt(HaltReason::Damaged(op), effects);
            return this;
        }
        this.enter_restarted(certain, &stored, effects);
        this.remember_doubts(&stored, effects);
        this
    }

    pub(crate) fn blank(config: Config) -> Self {
        let members = config.configuration().members().len();
        let index = config
            .configuration()
            .index(config.replica())
            .expect("Config::new checked that the replica is a member");
        Self {
            index,
            incarnation: Incarnation::ZERO,
            view: ViewNumber::ZERO,
            log_view: ViewNumber::ZERO,
            status: Status::Backup(Backup::new(false)),
            log: Log::new(Header::root(config.cluster())),
            commit_max: OpNumber::ZERO,
            commit_min: OpNumber::ZERO,
            applying: VecDeque::new(),
            table: ClientTable::new(config.constants()),
            checkpoints: Checkpoints::new(
                Checkpoint::none(Header::root(config.cluster())),
                members,
            ),
            outbox: Outbox::new(),
            repair: Repair::default(),
            reads: Reads::new(members),
            transfer: Transfer::new(),
            leaving: Leaving::default(),
            search: None,
            failed_views: 0,
            heard: [Voters::default(); 2],
            connectivity: Connectivity::new(members),
            hopeless: Hopeless::default(),
            incarnations: alloc::vec![Incarnation::ZERO; members],
            armed: 0,
            disk: DiskState::Ok,
            questions: 0,
            with_service: Questions::default(),
            config,
        }
    }

    /// What the checkpoint has is executed. The log begins where it was trimmed; where it lacks something
    /// that the checkpoint has, it begins behind the checkpoint, so that nobody is asked for that.
    fn restore_checkpoint(&mut self, stored: &mut Stored<B>, effects: &mut Effects<B>) {
        let superblock = &mut stored.superblock;
        let (checkpoint, trimmed) = (superblock.checkpoint, superblock.trimmed);
        let op = checkpoint.op();
        let covered = (op.0 - trimmed.op.0) as usize;
        let held = stored.slots.iter().take(covered);
        let whole = held.filter(|slot| matches!(slot, StoredSlot::Held(_))).count() == covered;
        if !whole {
            stored.slots.drain(..covered.min(stored.slots.len()));
            superblock.trimmed = checkpoint.header;
            superblock.headers.retain(|header| header.op > op);
        }
        self.log = Log::new(superblock.trimmed);
        self.checkpoints = Checkpoints::new(checkpoint, self.incarnations.len());
        self.outbox.found_checkpoint(&checkpoint);
        if op > OpNumber::ZERO {
            let sessions = core::mem::take(&mut stored.sessions);
            self.table = ClientTable::restored(self.config.constants(), sessions);
            self.commit_min = op;
            self.mark(Mark::RestartFromCheckpoint, effects);
            if stored.is_checkpoint_damaged {
                self.transfer.start_without_state();
            }
        }
    }

    /// Builds the log, and tells whether its head is certain.
    fn restore_log(&mut self, stored: &Stored<B>) -> bool {
        let superblock = &stored.superblock;
        let root = superblock.trimmed;
        let mut head = superblock.headers.last().copied().unwrap_or(root);
        for (op, slot) in slots(stored).take_while(|(op, _)| *op <= head.op) {
            let (header, holding) = found(slot);
            match header.filter(|header| header.view == superblock.log_view) {
                Some(header) => self.log.restore_named(header, holding),
                None => self.log.restore(op, header, holding),
            }
        }
        for header in superblock.headers.iter().filter(|header| header.op > root.op) {
            let holding = holding_of(stored, header);
            self.log.restore_named(*header, holding);
        }
        if superblock.view == superblock.log_view {
            head = self.restore_of_view(stored, head);
        }
        if slots(stored).any(|(_, slot)| slot == StoredSlot::Unreadable) {
            // It may have been another entry than the one that is found at its op, or none is found.
            self.log.doubt(self.commit_max, self.log.op());
        }
        slots_after(stored, head.op).all(|(_, slot)| slot != StoredSlot::Unreadable)
    }

    /// Takes what follows from the log view's own primary, and tells where it ends. That primary prepared one entry at
    /// each op, and a backup takes them in order: where one follows what cannot be read, that was of the view too, and only
    /// has no name.
    fn restore_of_view(&mut self, stored: &Stored<B>, mut head: Header) -> Header {
        let superblock = &stored.superblock;
        for (op, slot) in slots_after(stored, head.op) {
            let (header, holding) = found(slot);
            let Some(header) = header else {
                if slot == StoredSlot::Unreadable {
                    continue;
                }
                break;
            };
            let lost = head.op.next().0..op.0;
            let follows = !lost.is_empty() || header.parent == head.checksum;
            let is_of_view = header.view == superblock.log_view && header.epoch == superblock.epoch;
            if !follows || !is_of_view {
                break;
            }
            for op in lost {
                self.log.restore(OpNumber(op), None, Holding::Faulty);
            }
            self.log.restore_named(header, holding);
            head = header;
        }
        head
    }

    /// What is damaged beyond repair, since a group of one has no peer to fetch it from.
    fn damaged_alone(&mut self, certain: bool) -> Option<OpNumber> {
        if self.incarnations.len() > 1 {
            return None;
        }
        let beyond = (!certain).then(|| self.log.op().next());
        self.log.first_lacking().or(beyond)
    }

    fn enter_restarted(&mut self, certain: bool, stored: &Stored<B>, effects: &mut Effects<B>) {
        if self.view > self.log_view {
            self.mark(Mark::RestartInViewChange, effects);
            self.status = Status::ViewChange(ViewChange::new(self.incarnations.len()));
            self.persist_superblock(effects);
        } else if !certain {
            self.mark(Mark::RestartRecoveringHead, effects);
            let beyond = slots_after(stored, self.log.op()).collect();
            self.status = Status::RecoveringHead(RecoveringHead { beyond });
            self.persist_superblock(effects);
        } else if self.is_primary_of(self.view) {
            self.mark(Mark::RestartAsPrimary, effects);
            return self.enter_view_change(self.view.next(), effects);
        } else {
            self.mark(Mark::RestartAsBackup, effects);
            self.persist_superblock(effects);
        }
        self.note_status(effects);
    }

    /// The head is about to be told. What lies beyond the certain part of the log becomes candidates
    /// for it, and whatever else the told log has there may have been here, and acknowledged: otherwise it would pass
    /// for never held, and be nacked. Returns where the certain part ends.
    pub(crate) fn recall_beyond_head(
        &mut self,
        commit_max: OpNumber,
        told: OpNumber,
    ) -> Option<OpNumber> {
        let certain = self.log.op();
        let Status::RecoveringHead(recovering) = &mut self.status else { return None };
        for (op, slot) in core::mem::take(&mut recovering.beyond) {
            let (header, holding) = found(slot);
            self.log.restore(op, header, holding);
        }
        self.log.doubt(self.commit_max.max(commit_max), told);
        Some(certain)
    }

    /// The head is told: what may have been lost above is remembered as such across the next crash.
    pub(crate) fn remember_doubt(&mut self, certain: Option<OpNumber>, effects: &mut Effects<B>) {
        let Some(certain) = certain else { return };
        for op in (certain.max(self.commit_max).0 + 1..=self.log.op().0).map(OpNumber) {
            if self.log.holding(op) == Holding::Faulty {
                self.persist_faulty(op, effects);
            }
        }
    }

    /// What counts as damaged only for something else that was lost does so when that is repaired, too.
    fn remember_doubts(&mut self, stored: &Stored<B>, effects: &mut Effects<B>) {
        if matches!(self.status, Status::Halted(_)) {
            return;
        }
        let root = stored.superblock.trimmed.op;
        for op in (root.max(self.commit_max).0 + 1..=self.log.op().0).map(OpNumber) {
            let slot = stored.slots.get((op.0 - root.0 - 1) as usize);
            let known = matches!(slot, Some(StoredSlot::Faulty(_) | StoredSlot::Unreadable));
            if !known && self.log.holding(op) == Holding::Faulty {
                self.persist_faulty(op, effects);
            }
        }
    }

    /// The incarnation is durable: from here on the replica speaks.
    pub(crate) fn on_started(&mut self, effects: &mut Effects<B>) {
        if self.incarnations.len() > 1 && !matches!(self.status, Status::Recovering(_)) {
            self.broadcast_ping(effects);
        }
        self.arm(Timer::Ping, 0, effects);
        match &self.status {
            Status::Primary(_) | Status::Halted(_) => {}
            Status::Backup(_) => self.arm_primary_timers(effects),
            Status::ViewChange(_) => self.arm(Timer::ViewChangeStuck, 0, effects),
            Status::RecoveringHead(_) => self.start_search(self.view, effects),
            Status::Recovering(_) => self.ask_for_recovery(effects),
        }
    }

    pub(crate) fn broadcast_ping(&self, effects: &mut Effects<B>) {
        let kind = Kind::Ping {
            log_view: self.log_view,
            op: self.log.op(),
            commit: self.committed(),
            heard: self.heard_lately(),
            kept: self.kept(),
        };
        if self.is_view_durable() {
            self.broadcast(kind, effects);
        }
    }

    /// All replicas tell one another where they are; and a view that lasted until here is stable.
    pub(crate) fn on_ping_timeout(&mut self, effects: &mut Effects<B>) {
        self.arm(Timer::Ping, 0, effects);
        self.retry_checkpoint(effects);
        self.expire_reads(effects);
        let silent = match self.status {
            // With a view to go to it is unsure no more: it is only behind.
            Status::RecoveringHead(_) => !self.transfer.is_view_ahead_kept(),
            Status::Recovering(_) => true,
            Status::Primary(_) | Status::Backup(_) | Status::ViewChange(_) | Status::Halted(_) => {
                false
            }
        };
        if !silent {
            self.broadcast_ping(effects);
        }
        self.heed_hopelessness(effects);
        self.heard = [Voters::default(), self.heard[0]];
        self.age_heard();
        if self.log_view == self.view {
            self.failed_views = 0;
        }
    }
}

fn slots<B>(stored: &Stored<B>) -> impl Iterator<Item = (OpNumber, StoredSlot)> + '_ {
    slots_after(stored, stored.superblock.trimmed.op)
}

fn slots_after<B>(
    stored: &Stored<B>,
    op: OpNumber,
) -> impl Iterator<Item = (OpNumber, StoredSlot)> + '_ {
    let trimmed = stored.superblock.trimmed.op.0;
    let slots = stored.slots.iter().copied().skip((op.0 - trimmed) as usize);
    (op.0 + 1..).map(OpNumber).zip(slots)
}

const fn found(slot: StoredSlot) -> (Option<Header>, Holding) {
    match slot {
        StoredSlot::Empty => (None, Holding::Missing),
        StoredSlot::Held(header) => (Some(header), Holding::Durable),
        StoredSlot::Faulty(header) => (Some(header), Holding::Faulty),
        StoredSlot::Unreadable => (None, Holding::Faulty),
    }
}

/// What the store holds of an entry whose identity is known from elsewhere.
fn holding_of<B>(stored: &Stored<B>, header: &Header) -> Holding {
    let index = header.op.0.checked_sub(stored.superblock.trimmed.op.0 + 1);
    let slot = index.and_then(|index| stored.slots.get(index as usize));
    match slot.copied().unwrap_or(StoredSlot::Empty) {
        StoredSlot::Held(held) if held.checksum == header.checksum => Holding::Durable,
        // What is damaged may have been written over another entry.
        StoredSlot::Faulty(_) | StoredSlot::Unreadable => Holding::Faulty,
        StoredSlot::Empty | StoredSlot::Held(_) => Holding::Missing,
    }
}

impl<B> Stored<B> {
    /// What a freshly formatted store holds.
    #[must_use]
    pub fn formatted(root: Header) -> Self {
        Self {
            superblock: SuperblockState::formatted(root),
            slots: alloc::vec::Vec::new(),
            sessions: alloc::vec::Vec::new(),
            is_checkpoint_damaged: false,
        }
    }
}
