//! View changes (paper, section 4.2; protocol.md 5.4 to 5.6).
//!
//! 1. A backup that does not hear the primary votes to leave the view: START-VIEW-CHANGE. The vote is
//!    repeated, expires, and is withdrawn when the primary is heard again. (Deviation: a vote, not
//!    an announcement of the next view; ADR 0005.)
//! 2. With a quorum of votes for its own view a replica enters the next one whose primary is of use
//!    (`connectivity.rs`), makes that durable, and offers its log to all: DO-VIEW-CHANGE. Who sees one of a
//!    later view joins it.
//! 3. The new primary selects the log from a quorum of offers, makes it durable as its log view, and
//!    says START-VIEW.
//! 4. A backup installs the headers of START-VIEW, makes them durable, and acknowledges what it holds.
//! 5. A view change that comes to no end is left for the next view, later each time.
//!
//! Who misses START-VIEW asks for it (`search.rs`).

use alloc::vec::Vec;

use crate::config::Role;
use crate::effect::{Effects, HaltReason, Ignored, Mark, Timer};
use crate::entry::Header;
use crate::log::Holding;
use crate::message::{Kind, SuffixSlot};
use crate::replica::Replica;
use crate::selection::{Selection, select};
use crate::status::{Backup, Leaving, Offer, Status, ViewChange};
use crate::types::{Body, Nonce, OpNumber, ReplicaId, ViewNumber};

impl ViewChange {
    pub(crate) fn new(members: usize) -> Self {
        Self { offers: alloc::vec![None; members], offered: false, stuck: false }
    }
}

impl<B: Body> Replica<B> {
    // Step 1: votes.

    pub(crate) fn on_primary_late(&mut self, effects: &mut Effects<B>) {
        let Status::Backup(backup) = &mut self.status else {
            return;
        };
        backup.late = true;
        if self.leaving.votes.count() > 0 && !self.leaving.voting {
            self.mark(Mark::VoteJoined, effects);
            self.vote(effects);
        }
    }

    pub(crate) fn on_primary_silence(&mut self, effects: &mut Effects<B>) {
        if matches!(self.status, Status::Backup(_)) && !self.leaving.voting {
            self.vote(effects);
        }
    }

    /// Votes to leave the present view.
    pub(crate) fn vote(&mut self, effects: &mut Effects<B>) {
        if self.config.configuration().role(self.config.replica()) == Some(Role::Learner) {
            return;
        }
        self.leaving.voting = true;
        self.leaving.votes.insert(self.index);
        self.send_vote(effects);
        self.arm(Timer::VoteResend, 0, effects);
        self.count_votes(effects);
    }

    fn send_vote(&self, effects: &mut Effects<B>) {
        if self.is_view_durable() {
            self.broadcast(Kind::StartViewChange { log_view: self.log_view }, effects);
        }
    }

    pub(crate) fn on_vote_resend(&mut self, effects: &mut Effects<B>) {
        if self.leaving.voting {
            self.send_vote(effects);
            self.arm(Timer::VoteResend, 0, effects);
        }
    }

    pub(crate) fn on_vote_expiry(&mut self, member: usize, effects: &mut Effects<B>) {
        self.leaving.votes.remove(member);
        self.mark(Mark::VoteExpired, effects);
    }

    /// The primary was heard: the own vote is taken back. Others' votes expire.
    pub(crate) fn withdraw_vote(&mut self, effects: &mut Effects<B>) {
        if self.leaving.voting {
            self.leaving.voting = false;
            self.leaving.votes.remove(self.index);
            self.disarm(Timer::VoteResend, effects);
            self.mark(Mark::VoteWithdrawn, effects);
        }
    }

    pub(crate) fn on_start_view_change(
        &mut self,
        from: ReplicaId,
        index: usize,
        view: ViewNumber,
        log_view: ViewNumber,
        effects: &mut Effects<B>,
    ) {
        if view < self.view {
            self.hint(from, effects);
            return self.ignore(Ignored::OlderView, effects);
        }
        if matches!(self.status, Status::RecoveringHead(_)) {
            return self.ignore(Ignored::HeadUncertain, effects);
        }
        if log_view > view || self.config.configuration().role(from) == Some(Role::Learner) {
            return self.ignore(Ignored::Malformed, effects);
        }
        if view > self.view {
            if log_view == view {
                return self.look_for(view, effects);
            }
            self.mark(Mark::ViewJoined, effects);
            self.enter_view_change(view, effects);
        }
        self.leaving.votes.insert(index);
        self.arm(Timer::VoteExpiry(index as u8), 0, effects);
        let joins = match &self.status {
            Status::Backup(backup) => backup.late || from == self.primary(),
            Status::ViewChange(change) => change.stuck,
            Status::Primary(_)
            | Status::RecoveringHead(_)
            | Status::Recovering(_)
            | Status::Halted(_) => false,
        };
        if joins && !self.leaving.voting {
            self.mark(Mark::VoteJoined, effects);
            return self.vote(effects);
        }
        if matches!(self.status, Status::Backup(_)) && !self.leaving.voting {
            self.ignore(Ignored::PrimaryHeard, effects);
        }
        self.count_votes(effects);
        self.help_late_joiner(from, log_view, effects);
    }

    fn count_votes(&mut self, effects: &mut Effects<B>) {
        let quorum = self.config.configuration().quorums().view_change;
        if self.leaving.voting && self.leaving.votes.count() >= quorum {
            let next = self.next_view(effects);
            self.enter_view_change(next, effects);
        }
    }

    // Step 2: the next view is entered.

    pub(crate) fn enter_view_change(&mut self, view: ViewNumber, effects: &mut Effects<B>) {
        assert!(view > self.view, "views only rise");
        if matches!(self.status, Status::ViewChange(_)) {
            self.failed_views += 1;
            self.mark(Mark::ViewChangeWithinViewChange, effects);
        }
        self.view = view;
        self.leave_status(effects);
        self.status = Status::ViewChange(ViewChange::new(self.incarnations.len()));
        self.note_status(effects);
        self.persist_superblock(effects);
        self.arm(Timer::ViewChangeStuck, self.failed_views, effects);
    }

    /// Frees what belongs to the view that is left.
    pub(crate) fn leave_status(&mut self, effects: &mut Effects<B>) {
        self.leaving = Leaving::default();
        self.repair.reset();
        self.restart_reads(effects);
        self.transfer.note_beyond(false);
        let timers = [
            Timer::PrimarySilence,
            Timer::PrimaryLate,
            Timer::VoteResend,
            Timer::DoViewChangeResend,
            Timer::ViewChangeStuck,
            Timer::Heartbeat,
            Timer::PrepareResend,
            Timer::Abdicate,
            Timer::Repair,
            Timer::PreStepResend,
        ];
        for timer in timers {
            self.disarm(timer, effects);
        }
        for member in 0..self.incarnations.len() {
            self.disarm(Timer::VoteExpiry(member as u8), effects);
        }
        if self.search.is_some_and(|search| search.view <= self.view) {
            self.search = None;
            self.disarm(Timer::GetView, effects);
        }
    }

    pub(crate) fn send_do_view_change(&mut self, effects: &mut Effects<B>) {
        if !self.is_view_durable() {
            return;
        }
        let offer = self.offer();
        let index = self.index;
        let Status::ViewChange(change) = &mut self.status else {
            return;
        };
        change.offered = true;
        change.offers[index] = Some(offer.clone());
        let Offer { log_view, op, commit_min, commit_max, suffix } = offer;
        let kind = Kind::DoViewChange { log_view, op, commit_min, commit_max, suffix };
        self.broadcast(kind, effects);
        self.arm(Timer::DoViewChangeResend, 0, effects);
        self.try_start_view(effects);
    }

    fn offer(&self) -> Offer {
        let range = self.log.suffix_range(self.config.constants().pipeline);
        let suffix = range.map(OpNumber).map(|op| {
            let header = self.log.header(op).copied();
            let holding = self.log.holding(op);
            let present = holding == Holding::Durable || self.log.body(op).is_some();
            // Deviation: a gap is nacked too where nothing is held. What was acknowledged, and not
            // superseded since, is durable or damaged; so that a missing slot was never part of a
            // committed log here, whether or not its header is known. Else one PREPARE that is lost
            // before its primary dies stops the survivors for ever. A leftover of an earlier view says
            // as much of a gap beyond what was committed when the log view began: what belongs there was
            // prepared in the log view (`selection.rs`), and never held here.
            let nack = holding == Holding::Missing
                || (op > self.commit_max && self.log.is_leftover(op, self.log_view));
            SuffixSlot { header, present, nack }
        });
        Offer {
            log_view: self.log_view,
            op: self.log.op(),
            commit_min: self.commit_min,
            commit_max: self.commit_max,
            suffix: suffix.collect(),
        }
    }

    pub(crate) fn on_do_view_change(
        &mut self,
        from: ReplicaId,
        index: usize,
        view: ViewNumber,
        offer: Offer,
        effects: &mut Effects<B>,
    ) {
        if view < self.view {
            self.hint(from, effects);
            return self.ignore(Ignored::OlderView, effects);
        }
        if matches!(self.status, Status::RecoveringHead(_)) {
            return self.ignore(Ignored::HeadUncertain, effects);
        }
        if !self.is_sound(&offer, view) {
            return self.ignore(Ignored::Malformed, effects);
        }
        if view > self.view {
            self.mark(Mark::ViewJoined, effects);
            self.enter_view_change(view, effects);
        }
        if !self.is_primary_of(view) {
            return self.ignore(Ignored::NotPrimary, effects);
        }
        let log_view = offer.log_view;
        let beyond = offer.op.max(offer.commit_max) > self.log_limit();
        match &mut self.status {
            // There is room for such a log behind a checkpoint.
            Status::ViewChange(_) if beyond => {
                self.transfer.note_beyond(true);
                self.ignore(Ignored::OutOfWindow, effects);
            }
            Status::ViewChange(change) => {
                change.offers[index] = Some(offer);
                self.try_start_view(effects);
            }
            Status::Primary(_) => self.help_late_joiner(from, log_view, effects),
            Status::Backup(_)
            | Status::RecoveringHead(_)
            | Status::Recovering(_)
            | Status::Halted(_) => {
                self.ignore(Ignored::WrongStatus, effects);
            }
        }
    }

    /// Whether an offer contradicts neither itself nor the rules.
    fn is_sound(&self, offer: &Offer, view: ViewNumber) -> bool {
        let pipeline = self.config.constants().pipeline as usize;
        let length = offer.suffix.len();
        // A log that a checkpoint shortened may go back less far: what it lacks is executed there.
        let whole = length == (offer.op.0 as usize).clamp(1, pipeline + 1)
            || (1..=pipeline + 1).contains(&length)
                && offer.op.0 <= offer.commit_min.0.saturating_add(length as u64);
        let last = offer.suffix.last().is_some_and(|slot| slot.header.is_some());
        let in_place = (0..).zip(offer.suffix.iter().rev()).all(|(back, slot)| {
            slot.header.as_ref().is_none_or(|header| {
                Some(header.op.0) == offer.op.0.checked_sub(back)
                    && header.cluster == self.config.cluster()
                    && (header.view <= offer.log_view
                        || (header.op <= offer.commit_min && header.view < view))
                    && header.is_intact()
            })
        });
        let in_order = offer.log_view < view && offer.commit_min <= offer.op;
        in_order && whole && last && in_place
    }

    // Step 3: the new primary.

    fn try_start_view(&mut self, effects: &mut Effects<B>) {
        let restoring = self.transfer.is_restoring();
        if !self.is_primary_of(self.view) || !self.is_view_durable() || restoring {
            return;
        }
        let configuration = self.config.configuration();
        let quorums = configuration.quorums();
        let Status::ViewChange(change) = &self.status else {
            return;
        };
        let votes = |index: usize| configuration.members()[index].role != Role::Learner;
        let offers = (0..).zip(&change.offers).filter(|(index, _)| votes(*index));
        let offers: Vec<&Offer> = offers.filter_map(|(_, offer)| offer.as_ref()).collect();
        if offers.len() < quorums.view_change || change.offers[self.index].is_none() {
            return;
        }
        let root = self.log.root();
        let selection = select(&offers, root, self.config.constants().pipeline, quorums.nack);
        match selection {
            Selection::Wait(op) => {
                let voters = (0..configuration.members().len()).filter(|index| votes(*index));
                if offers.len() == voters.count() {
                    self.hopeless.wait_with_all_offers(op);
                }
                self.mark(Mark::SelectionWaits, effects);
            }
            Selection::Log { suffix, bound, cut } => {
                if cut {
                    self.mark(Mark::NackCut, effects);
                }
                if !self.install(self.view, &suffix, bound, effects) {
                    return;
                }
                self.become_primary();
                self.note_status(effects);
                self.persist_superblock(effects);
            }
        }
    }

    /// Installs a view's log: log, view and log view change together. Returns false if the replica
    /// halted over it.
    pub(crate) fn install(
        &mut self,
        view: ViewNumber,
        suffix: &[Header],
        commit_max: OpNumber,
        effects: &mut Effects<B>,
    ) -> bool {
        let executed = self.issued();
        let head = suffix.last().map_or(OpNumber::ZERO, |header| header.op);
        if head < executed {
            self.halt(HaltReason::CommittedEntryLost(executed), effects);
            return false;
        }
        let shortened = head < self.log.op();
        self.outbox.forget_superseded(&self.log);
        let installed = self.log.install(suffix, executed, self.log_view);
        let Some(superseded) = self.check(installed, effects) else {
            return false;
        };
        if shortened {
            self.mark(Mark::LogShortened, effects);
        }
        if superseded {
            self.mark(Mark::EntriesSuperseded, effects);
        }
        self.view = view;
        self.log_view = view;
        self.forget_what_members_lack();
        self.commit_max = self.commit_max.max(commit_max);
        self.leave_status(effects);
        true
    }

    /// The view is durable as log view: it is announced.
    pub(crate) fn announce_view(&mut self, effects: &mut Effects<B>) {
        if !self.is_log_view_durable() {
            return;
        }
        let Status::Primary(primary) = &mut self.status else {
            return;
        };
        primary.announced = true;
        if self.view > ViewNumber::ZERO {
            self.broadcast(self.start_view(None), effects);
        }
        if self.incarnations.len() > 1 {
            self.arm(Timer::Heartbeat, 0, effects);
            self.arm(Timer::Abdicate, 0, effects);
        }
    }

    pub(crate) fn start_view(&self, nonce: Option<Nonce>) -> Kind<B> {
        Kind::StartView {
            commit_max: self.commit_max.min(self.log.op()),
            suffix: self.log.linked_suffix(self.config.constants().pipeline),
            nonce,
        }
    }

    /// One who is still changing to the view that this primary is normal in missed START-VIEW.
    pub(crate) fn help_late_joiner(
        &self,
        to: ReplicaId,
        log_view: ViewNumber,
        effects: &mut Effects<B>,
    ) {
        let Status::Primary(primary) = &self.status else { return };
        if primary.announced && log_view < self.view {
            self.send(to, self.start_view(None), effects);
        }
    }

    // Step 4: a backup of the new view.

    pub(crate) fn on_start_view(
        &mut self,
        from: ReplicaId,
        view: ViewNumber,
        commit_max: OpNumber,
        suffix: &[Header],
        nonce: Option<Nonce>,
        effects: &mut Effects<B>,
    ) {
        if view < self.view {
            return self.ignore(Ignored::OlderView, effects);
        }
        let asked = nonce.is_some_and(|nonce| nonce.incarnation == self.incarnation);
        let relayed = from != self.config.configuration().primary(view);
        if relayed && (!asked || self.is_primary_of(view)) {
            return self.ignore(Ignored::NotFromPrimary, effects);
        }
        if !self.is_linked(suffix, view) || suffix.last().is_some_and(|head| head.op < commit_max) {
            return self.ignore(Ignored::Malformed, effects);
        }
        let head = suffix.last().map_or(OpNumber::ZERO, |header| header.op);
        let takes = match &self.status {
            // A backup may lack what this replica acknowledged to the primary of the same view, and so may an earlier word of
            // that primary.
            Status::RecoveringHead(_) => (asked && !relayed) || view > self.view,
            Status::ViewChange(_) => true,
            // Deviation: a normal replica never takes the START-VIEW of its own view (D8).
            Status::Primary(_) | Status::Backup(_) => view > self.view,
            Status::Recovering(_) | Status::Halted(_) => false,
        };
        if !takes {
            return self.ignore(Ignored::WrongStatus, effects);
        }
        if head > self.log_limit() {
            return self.keep_view_ahead(view, commit_max, suffix, effects);
        }
        if asked {
            self.mark(Mark::ViewFetched, effects);
        }
        let certain = self.recall_beyond_head(commit_max, head);
        if !self.install(view, suffix, commit_max, effects) {
            return;
        }
        self.status = Status::Backup(Backup::new(true));
        self.note_status(effects);
        self.persist_superblock(effects);
        self.remember_doubt(certain, effects);
        self.arm_primary_timers(effects);
    }

    /// Whether headers form the end of a log that a primary of `view` may have.
    pub(crate) fn is_linked(&self, suffix: &[Header], view: ViewNumber) -> bool {
        let own = |header: &Header| {
            header.cluster == self.config.cluster() && header.view <= view && header.is_intact()
        };
        let links = suffix
            .windows(2)
            .all(|pair| pair[1].op == pair[0].op.next() && pair[1].parent == pair[0].checksum);
        let length = 1..=self.config.constants().pipeline as usize + 1;
        length.contains(&suffix.len()) && links && suffix.iter().all(own)
    }

    // Step 5: it lasts too long.

    pub(crate) fn on_view_change_stuck(&mut self, effects: &mut Effects<B>) {
        let Status::ViewChange(change) = &mut self.status else {
            return;
        };
        change.stuck = true;
        if !self.leaving.voting {
            self.vote(effects);
        }
    }
}
