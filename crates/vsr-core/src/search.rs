//! Finding out where the others are (protocol.md 5.4; it takes the place of the paper's state transfer
//! to a later view, D5, D9, D10).
//!
//! 1. Who hears of a view that others are normal in asks its primary for START-VIEW: GET-VIEW. Without
//!    an answer all are asked; without any, the view is entered in order to leave it.
//! 2. The primary answers, and a backup of the view that can say as much (ADR 0022).
//! 3. PING tells where each replica is: of later views, and of what is committed in this one.

use crate::effect::{Effects, Ignored, Mark, Timer};
use crate::message::{Committed, Kind};
use crate::replica::Replica;
use crate::status::{Search, Status};
use crate::types::{Body, Nonce, ReplicaId, ViewNumber};

/// How many GET-VIEWs go unanswered before the view is entered in order to leave it: with the
/// default delays about as long as a view change may take.
const GET_VIEW_ATTEMPTS: u32 = 5;

/// How many GET-VIEWs go to the view's primary alone: it may be out of reach where another is not.
const GET_VIEW_ATTEMPTS_PRIMARY: u32 = 2;

impl<B: Body> Replica<B> {
    // Step 1: the view is asked for.

    /// Others are normal in this view: its primary can tell what it started with.
    pub(crate) fn look_for(&mut self, view: ViewNumber, effects: &mut Effects<B>) {
        if matches!(self.status, Status::Recovering(_)) {
            // It asks everybody instead.
            self.ask_for_recovery(effects);
            return self.ignore(Ignored::Recovering, effects);
        }
        let known = self.search.is_some_and(|search| search.view >= view);
        if known || self.transfer.knows_view(view) || self.is_primary_of(view) {
            return self.ignore(Ignored::NewerView, effects);
        }
        self.start_search(view, effects);
    }

    pub(crate) fn start_search(&mut self, view: ViewNumber, effects: &mut Effects<B>) {
        let nonce = self.next_nonce();
        self.search = Some(Search { view, nonce, attempt: 0 });
        self.send_search(effects);
    }

    fn send_search(&mut self, effects: &mut Effects<B>) {
        let Some(Search { view, nonce, attempt }) = self.search else {
            return;
        };
        let unsure = matches!(self.status, Status::RecoveringHead(_));
        let everyone = unsure || attempt >= GET_VIEW_ATTEMPTS_PRIMARY;
        // With a view to go to it is unsure no more: it is only behind.
        let lost = unsure && !self.transfer.is_view_ahead_kept();
        let uncertain = lost.then(|| self.kept());
        let to = (!everyone).then(|| self.config.configuration().primary(view));
        self.send_get_view(to, view, Kind::GetView { nonce, uncertain }, effects);
        self.arm(Timer::GetView, attempt, effects);
    }

    pub(crate) fn on_get_view_timeout(&mut self, effects: &mut Effects<B>) {
        let Some(search) = self.search else { return };
        let patient = matches!(self.status, Status::RecoveringHead(_));
        if search.attempt + 1 >= GET_VIEW_ATTEMPTS && !patient {
            self.search = None;
            if search.view > self.view {
                self.mark(Mark::ViewNotAnswered, effects);
                self.enter_view_change(search.view, effects);
                self.on_view_change_stuck(effects);
            }
            return;
        }
        let nonce = self.next_nonce();
        self.search = Some(Search { nonce, attempt: search.attempt + 1, ..search });
        self.send_search(effects);
    }

    // Step 2: it is told.

    pub(crate) fn on_get_view(
        &mut self,
        from: ReplicaId,
        view: ViewNumber,
        nonce: Nonce,
        effects: &mut Effects<B>,
    ) {
        if view > self.view {
            return self.ignore(Ignored::NewerView, effects);
        }
        match &self.status {
            Status::Primary(primary) if primary.announced => {
                self.send(from, self.start_view(Some(nonce)), effects);
            }
            // Deviation: the primary may be out of the asker's reach (ADR 0022). A backup's log begins
            // with all that the view began with, which is what the asker must not go without.
            Status::Backup(_) if self.is_log_view_durable() && self.names_all_uncommitted() => {
                self.mark(Mark::ViewRelayed, effects);
                self.send(from, self.start_view(Some(nonce)), effects);
            }
            Status::Primary(_)
            | Status::Backup(_)
            | Status::ViewChange(_)
            | Status::RecoveringHead(_)
            | Status::Recovering(_)
            | Status::Halted(_) => self.ignore(Ignored::NotPrimary, effects),
        }
    }

    /// Whether START-VIEW from here would name everything above what it says to be committed, as that of
    /// a primary does: who installs it takes a slot without a name for one that the view never began
    /// with, and denies what it holds there (ADR 16).
    fn names_all_uncommitted(&self) -> bool {
        let pipeline = u64::from(self.config.constants().pipeline);
        self.log.gap().is_none() && self.log.op().0 <= self.commit_max.0 + pipeline
    }

    // Step 3: PING.

    pub(crate) fn on_ping(
        &mut self,
        from: ReplicaId,
        view: ViewNumber,
        log_view: ViewNumber,
        commit: Committed,
        effects: &mut Effects<B>,
    ) {
        if log_view > view {
            return self.ignore(Ignored::Malformed, effects);
        }
        if matches!(self.status, Status::Recovering(_)) {
            // What its sender keeps was all that mattered.
            return;
        }
        if view == self.view && log_view == view {
            self.learn_relayed_commit(commit, effects);
        }
        let uncertain = matches!(self.status, Status::RecoveringHead(_));
        if view > self.view && log_view < view && !uncertain {
            self.mark(Mark::ViewJoined, effects);
            return self.enter_view_change(view, effects);
        }
        let between = matches!(self.status, Status::ViewChange(_));
        if view > self.view || (view == self.view && log_view == view && between) {
            self.look_for(view, effects);
        } else if view < self.view {
            self.help_late_joiner(from, log_view, effects);
        }
    }

    /// Somebody in this view knows of more: the primary's own word may not come through. What is
    /// committed is so for everyone, whoever says it; it is no sign of life of the primary.
    fn learn_relayed_commit(&mut self, commit: Committed, effects: &mut Effects<B>) {
        if commit.op > self.commit_max && matches!(self.status, Status::Backup(_)) {
            self.mark(Mark::CommitRelayed, effects);
            self.learn_commit(commit, effects);
        }
    }

    /// Tells a replica of an earlier view where this one is.
    pub(crate) fn hint(&self, to: ReplicaId, effects: &mut Effects<B>) {
        let silent = matches!(self.status, Status::RecoveringHead(_) | Status::Recovering(_));
        if self.is_view_durable() && !silent {
            let kind = Kind::Ping {
                log_view: self.log_view,
                op: self.log.op(),
                commit: self.committed(),
                heard: self.heard_lately(),
                kept: self.kept(),
            };
            self.send(to, kind, effects);
        }
    }
}
