//! Installing a fetched checkpoint: once it is whole and durable the service takes its state, and then log, client-table
//! and commit-number become those of the checkpoint in one step.
//!
//! A checkpoint is installed beneath a log of which it is certainly a part (`plan`). Where the log of the
//! view that a replica lacks does not fit behind its own, its START-VIEW is kept, and installed with the
//! checkpoint.

use alloc::boxed::Box;

use crate::client_table::ClientTable;
use crate::digest::Checksum;
use crate::effect::{Effect, Effects, Fetch, Ignored, Mark, Timer};
use crate::entry::Header;
use crate::event::Checkpoint;
use crate::replica::Replica;
use crate::status::{Backup, Status};
use crate::transfer::{Stage, Target, ViewAhead};
use crate::types::{Body, OpNumber, ViewNumber};

impl<B: Body> Replica<B> {
    /// Keeps the START-VIEW of a view whose log lies beyond what the own one has room for.
    pub(crate) fn keep_view_ahead(
        &mut self,
        view: ViewNumber,
        commit_max: OpNumber,
        suffix: &[Header],
        effects: &mut Effects<B>,
    ) {
        if !self.transfer.knows_view(view.next()) {
            let ahead = ViewAhead { view, commit_max, suffix: suffix.to_vec() };
            self.transfer.ahead = Some(Box::new(ahead));
        }
        if self.search.is_some_and(|search| search.view <= view) {
            self.search = None;
            self.disarm(Timer::GetView, effects);
        }
    }

    /// A view that was left since is nothing to wait for; one that fits is asked for again.
    pub(super) fn heed_view_ahead(&mut self, effects: &mut Effects<B>) {
        let Some(ahead) = &self.transfer.ahead else { return };
        let (view, head) = (ahead.view, ahead.suffix.last().map(|header| header.op));
        let normal = matches!(self.status, Status::Primary(_) | Status::Backup(_));
        if view < self.view || (view == self.view && normal) {
            self.transfer.ahead = None;
        } else if head.is_none_or(|head| head <= self.log_limit()) && !self.transfer.is_restored() {
            self.transfer.ahead = None;
            self.look_for(view, effects);
        }
    }

    /// Hands the checkpoint to the service once nothing else is with it.
    pub(super) fn try_restore(&mut self, effects: &mut Effects<B>) {
        self.transfer.draining = false;
        let Stage::Whole { target, .. } = &self.transfer.stage else { return };
        let target = *target;
        let Checkpoint { id, .. } = target.checkpoint;
        if target.checkpoint.op() <= self.issued() && !self.is_mending() {
            effects.push(Effect::Fetch(Fetch::Abandon));
            return self.give_up_transfer(effects);
        }
        let busy = !self.applying.is_empty() || self.checkpoints.is_taking();
        let waits = matches!(self.plan(&target), Plan::Wait);
        if waits && self.is_superseded(target.checkpoint.op(), id) {
            // The view's log may lie beyond what has room behind it.
            return self.retarget(effects);
        }
        if busy || waits {
            // Where no log fits it yet, this replica goes on without it, and may lead.
            self.transfer.draining = !waits;
            return;
        }
        if let Stage::Whole { target, sessions } =
            core::mem::replace(&mut self.transfer.stage, Stage::Idle)
        {
            self.transfer.stage = Stage::Restoring { target, sessions };
            effects.push(Effect::Restore { checkpoint: target.checkpoint });
        }
    }

    /// A chunk was found damaged meanwhile: what the service has is worth nothing, and is fetched anew.
    pub(crate) fn on_not_restored(&mut self, id: Checksum, effects: &mut Effects<B>) {
        let restoring = matches!(self.transfer.stage, Stage::Restoring { .. });
        if !restoring || self.transfer.stage.id() != Some(id) {
            return self.ignore(Ignored::StaleCompletion, effects);
        }
        self.transfer.restored = true;
        self.retarget(effects);
    }

    pub(crate) fn on_restored(&mut self, id: Checksum, effects: &mut Effects<B>) {
        if self.transfer.stage.id() != Some(id) {
            return self.ignore(Ignored::StaleCompletion, effects);
        }
        match core::mem::replace(&mut self.transfer.stage, Stage::Idle) {
            Stage::Restoring { target, sessions } => {
                self.transfer.restored = true;
                self.transfer.stage = Stage::Restored { target, sessions };
            }
            other @ (Stage::Idle
            | Stage::Manifest { .. }
            | Stage::Syncing { .. }
            | Stage::Chunks { .. }
            | Stage::Finishing { .. }
            | Stage::Whole { .. }
            | Stage::Restored { .. }) => {
                self.transfer.stage = other;
                self.ignore(Ignored::StaleCompletion, effects);
            }
        }
    }

    /// Beneath which log a checkpoint is to be installed.
    fn plan(&self, target: &Target) -> Plan {
        let header = &target.checkpoint.header;
        let limit = self.limit_behind(header.op);
        if target.checkpoint.id == self.checkpoints.latest.id {
            return Plan::Own;
        }
        if let Some(ahead) = &self.transfer.ahead {
            let fits = ahead.suffix.last().is_some_and(|head| head.op <= limit);
            if ahead.view >= target.view && fits {
                return Plan::WithView;
            }
        }
        match self.status {
            Status::Backup(_) | Status::ViewChange(_) if self.log_view >= target.view => {
                Plan::Alone
            }
            // Nobody may be able to start a view without this replica. Where the checkpoint was committed
            // in the very view that this replica is in, that view's own log is to be had.
            Status::ViewChange(_)
                if target.view < self.view
                    && (self.log.agrees_with(header) || self.is_of_own_view(header)) =>
            {
                Plan::Alone
            }
            // What is committed in a later view is no part of the own log: that is superseded from there on,
            // and no view begins with it. The others' logs may begin behind what it has room for.
            Status::ViewChange(_)
                if target.view < self.view
                    && (header.view > self.log_view || self.log.contradicts(header)) =>
            {
                Plan::Instead
            }
            Status::Recovering(_) if self.is_fetching_log() && self.log_view >= target.view => {
                Plan::Alone
            }
            Status::Primary(_)
            | Status::Backup(_)
            | Status::ViewChange(_)
            | Status::RecoveringHead(_)
            | Status::Recovering(_)
            | Status::Halted(_) => Plan::Wait,
        }
    }

    /// Whether a committed entry is part of the own log, whatever became of its slot: it was prepared in the very view
    /// that the log is of, or that view, or one before, knew it to be committed.
    fn is_of_own_view(&self, header: &Header) -> bool {
        let known = header.view == self.log_view || header.op <= self.commit_max;
        known && !self.log.contradicts(header)
    }

    pub(super) fn try_install(&mut self, effects: &mut Effects<B>) {
        let Stage::Restored { target, .. } = &self.transfer.stage else { return };
        let plan = self.plan(target);
        if matches!(plan, Plan::Wait) {
            if self.is_superseded(target.checkpoint.op(), target.checkpoint.id) {
                self.retarget(effects);
            }
            return;
        }
        let Stage::Restored { target, sessions } =
            core::mem::replace(&mut self.transfer.stage, Stage::Idle)
        else {
            return;
        };
        let header = target.checkpoint.header;
        self.table = ClientTable::restored(self.config.constants(), sessions);
        self.transfer.restored = false;
        self.transfer.lacks_state = false;
        if matches!(plan, Plan::Own) {
            return self.end_mending(effects);
        }
        assert!(header.op > self.commit_min, "a checkpoint never takes a replica back");
        let ahead = self.transfer.ahead.take().filter(|_| matches!(plan, Plan::WithView));
        let mut certain = None;
        let beneath = match &ahead {
            None if matches!(plan, Plan::Instead) => {
                self.mark(Mark::CheckpointInstalledInstead, effects);
                self.log.rebase(header);
                self.log.clear();
                self.outbox.forget_superseded(&self.log);
                Ok(())
            }
            Some(ahead) => {
                let head = ahead.suffix.last().map_or(OpNumber::ZERO, |header| header.op);
                certain = self.recall_beyond_head(ahead.commit_max, head);
                self.log.rebase(header);
                self.outbox.forget_superseded(&self.log);
                if head > header.op {
                    self.log.install(&ahead.suffix, header.op, self.log_view).map(drop)
                } else {
                    self.log.clear();
                    Ok(())
                }
            }
            None => self.log.begin_at(header),
        };
        if self.check(beneath, effects).is_none() {
            return;
        }
        self.commit_min = header.op;
        self.commit_max = self.commit_max.max(header.op);
        if let Status::ViewChange(change) = &mut self.status {
            // What it offered was the log before: once this one is durable it offers anew.
            change.offered = false;
            change.offers[self.index] = None;
        }
        self.checkpoints.install(target.checkpoint);
        self.hopeless.decide();
        self.transfer.beyond = false;
        self.transfer.damaged = false;
        self.transfer.installed = header.op;
        self.transfer.turn = 0;
        self.transfer.unanswered = 0;
        self.mark(Mark::CheckpointInstalled, effects);
        match ahead {
            Some(ahead) => {
                self.mark(Mark::CheckpointInstalledWithView, effects);
                self.enter_view_ahead(&ahead, effects);
                self.remember_doubt(certain, effects);
            }
            None => self.persist_superblock(effects),
        }
    }

    /// Log, view and log view change together, as by START-VIEW.
    fn enter_view_ahead(&mut self, ahead: &ViewAhead, effects: &mut Effects<B>) {
        self.view = ahead.view;
        self.log_view = ahead.view;
        self.forget_what_members_lack();
        self.commit_max = self.commit_max.max(ahead.commit_max.min(self.log.op()));
        self.leave_status(effects);
        if matches!(self.status, Status::Recovering(_)) {
            self.fetch_up_to(ahead.suffix.last().map_or(OpNumber::ZERO, |header| header.op));
            return self.persist_superblock(effects);
        }
        self.status = Status::Backup(Backup::new(true));
        self.note_status(effects);
        self.persist_superblock(effects);
        self.arm_primary_timers(effects);
    }
}

enum Plan {
    /// The own log is not known to have it.
    Wait,
    /// It is the own one, which the log lies behind already.
    Own,
    /// Beneath the own log.
    Alone,
    /// In place of the own log.
    Instead,
    /// Beneath the log of the view that waits for it.
    WithView,
}
