//! Recovery of a replica whose log was in memory (paper, section 4.3; protocol.md 5.7; ADR 0024).
//!
//! 1. What it finds at its start is its fence alone: its incarnation, and the latest view in which it may
//!    have promised anything. It says nothing but RECOVERY, which names that view and a nonce of this life.
//! 2. Who is normal answers with its view, and that view's primary with the end of its log. Who is in
//!    an earlier view than the fence joins that one: somebody has seen it.
//! 3. Answers from before the fence do not count. When a view-change quorum of others has answered, and the
//!    primary of the latest of their views is one of them, its log is installed. Otherwise all are
//!    asked anew, with another nonce.
//! 4. What that log has is fetched as ever (`repair.rs`, `transfer.rs`). Only when all of it is held, up to
//!    the head that the primary named, does the replica take part again: what it acknowledged in a
//!    former life it never denies.
//!
//! Deviation: the paper's recovery has no fence, and loses what was acknowledged (D20). With it, an
//! acknowledgement in a view is answered for in that view or a later one.

use alloc::vec::Vec;

use crate::config::{Config, Durability, Role};
use crate::effect::{Effects, Ignored, Mark, Note, Timer};
use crate::entry::Header;
use crate::event::SuperblockState;
use crate::message::Kind;
use crate::quorum::Voters;
use crate::replica::Replica;
use crate::status::{Answer, Backup, Recovering, Status};
use crate::types::{Body, Nonce, OpNumber, ReplicaId, ViewNumber};

/// How far a replica is that has its log from the others, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RecoveryProgress {
    /// How many others have answered the question that is out.
    pub answers: u32,
    /// How many must, the primary of the latest view that they name among them.
    pub needed: u32,
    /// Up to which op it must hold all before it takes part again, once it knows.
    pub target: Option<OpNumber>,
    /// How many voters, this one included, said lately that they lost their memory.
    pub lost: u32,
    /// How many may at a time. With more, nobody has an answer for anybody, ever.
    pub tolerated: u32,
}

impl RecoveryProgress {
    /// Whether more replicas lost their memory at a time than the group tolerates: it never forms again.
    #[must_use]
    pub const fn is_hopeless(&self) -> bool {
        self.lost > self.tolerated
    }
}

impl<B: Body> Replica<B> {
    // Step 1: the fence, and the question.

    /// Starts a replica that was started before, and had its log in memory.
    pub(crate) fn recover_memory(
        config: Config,
        fence: &SuperblockState,
        effects: &mut Effects<B>,
    ) -> Self {
        let mut this = Self::blank(config);
        this.incarnation = fence.incarnation.next();
        this.view = fence.view;
        this.status = Status::Recovering(Recovering {
            asked: None,
            answers: alloc::vec![None; this.incarnations.len()],
            target: None,
            outdated: false,
            attempt: 0,
            lost: [Voters::default(); 2],
        });
        this.mark(Mark::RecoveryBegun, effects);
        this.persist_superblock(effects);
        this.note_status(effects);
        this
    }

    /// Asks everybody, with a nonce that no answer bears yet.
    pub(crate) fn ask_for_recovery(&mut self, effects: &mut Effects<B>) {
        let nonce = self.next_nonce();
        let Status::Recovering(recovering) = &mut self.status else {
            return;
        };
        recovering.asked = Some(nonce);
        recovering.answers.fill(None);
        recovering.outdated = false;
        recovering.lost = [Voters::default(), recovering.lost[0]];
        let attempt = recovering.attempt;
        recovering.attempt += 1;
        if self.is_view_durable() {
            self.broadcast(Kind::Recovery { nonce }, effects);
        }
        self.arm(Timer::Recovery, attempt, effects);
    }

    pub(crate) fn on_recovery_timeout(&mut self, effects: &mut Effects<B>) {
        let Status::Recovering(recovering) = &self.status else {
            return;
        };
        if recovering.asked.is_some() || recovering.outdated {
            self.mark(Mark::RecoveryRetried, effects);
            self.ask_for_recovery(effects);
        } else {
            self.arm(Timer::Recovery, recovering.attempt, effects);
        }
    }

    /// Whether a replica without its memory heeds this: what it asks for, and what it can give.
    pub(crate) const fn heeds_while_recovering(kind: &Kind<B>) -> bool {
        match kind {
            Kind::Ping { .. }
            | Kind::GetHeaders { .. }
            | Kind::Headers { .. }
            | Kind::GetEntry { .. }
            | Kind::Entry { .. }
            | Kind::Nack { .. }
            | Kind::GetCheckpoint { .. }
            | Kind::Checkpoint { .. }
            | Kind::GetChunk { .. }
            | Kind::Chunk { .. }
            | Kind::NoChunk { .. }
            | Kind::Recovery { .. }
            | Kind::RecoveryResponse { .. } => true,
            Kind::Prepare { .. }
            | Kind::PrepareOk { .. }
            | Kind::Commit { .. }
            | Kind::StartViewChange { .. }
            | Kind::DoViewChange { .. }
            | Kind::StartView { .. }
            | Kind::GetView { .. }
            | Kind::ReadProbe { .. }
            | Kind::ReadOk { .. }
            | Kind::PreStep { .. }
            | Kind::PreStepOk { .. } => false,
        }
    }

    /// A view later than the one whose log is being fetched may have cut what is not to be had.
    pub(crate) const fn learn_later_view(&mut self, view: ViewNumber) {
        if let Status::Recovering(recovering) = &mut self.status {
            recovering.outdated |= view.0 > self.view.0;
        }
    }

    // Step 2: the answer.

    pub(crate) fn on_recovery(
        &mut self,
        from: ReplicaId,
        index: usize,
        fence: ViewNumber,
        nonce: Nonce,
        effects: &mut Effects<B>,
    ) {
        if matches!(self.status, Status::Recovering(_)) {
            self.count_lost(index, effects);
            return self.ignore(Ignored::Recovering, effects);
        }
        if matches!(self.status, Status::RecoveringHead(_)) {
            return self.ignore(Ignored::HeadUncertain, effects);
        }
        if fence > self.view {
            self.mark(Mark::ViewJoined, effects);
            return self.enter_view_change(fence, effects);
        }
        let (commit_max, suffix) = match &self.status {
            Status::Primary(primary) if primary.announced => {
                let suffix = self.log.linked_suffix(self.config.constants().pipeline);
                (self.commit_max.min(self.log.op()), suffix)
            }
            Status::Backup(_) if self.is_log_view_durable() => (OpNumber::ZERO, Vec::new()),
            Status::Primary(_)
            | Status::Backup(_)
            | Status::ViewChange(_)
            | Status::RecoveringHead(_)
            | Status::Recovering(_)
            | Status::Halted(_) => return self.ignore(Ignored::WrongStatus, effects),
        };
        self.send(from, Kind::RecoveryResponse { nonce, commit_max, suffix }, effects);
    }

    /// Another one lost its memory too. Where they are too many, people must hear of it; but not while this
    /// one has an answer to go by, from which the others may have it again.
    fn count_lost(&mut self, index: usize, effects: &mut Effects<B>) {
        if self.is_fetching_log() || self.transfer.is_view_ahead_kept() {
            return;
        }
        let before = self.recovery_progress();
        if let Status::Recovering(recovering) = &mut self.status {
            recovering.lost[0].insert(index);
        }
        let now = self.recovery_progress();
        if let Some(now) = now.filter(RecoveryProgress::is_hopeless) {
            if before.is_some_and(|before| !before.is_hopeless()) {
                effects.push(crate::effect::Effect::Note(Note::MemoryLost(now.lost)));
            }
        }
    }

    // Step 3: a quorum of answers.

    pub(crate) fn on_recovery_response(
        &mut self,
        (from, index): (ReplicaId, usize),
        view: ViewNumber,
        nonce: Nonce,
        commit_max: OpNumber,
        suffix: Vec<Header>,
        effects: &mut Effects<B>,
    ) {
        let fence = self.view;
        let primary = from == self.config.configuration().primary(view);
        let sound = if primary {
            let head = suffix.last().map(|header| header.op);
            self.is_linked(&suffix, view) && head.is_some_and(|head| commit_max <= head)
        } else {
            suffix.is_empty()
        };
        let Status::Recovering(recovering) = &mut self.status else {
            return self.ignore(Ignored::NotAsked, effects);
        };
        if recovering.asked != Some(nonce) {
            return self.ignore(Ignored::NotAsked, effects);
        }
        if view < fence {
            return self.ignore(Ignored::OlderView, effects);
        }
        if !sound {
            return self.ignore(Ignored::Malformed, effects);
        }
        recovering.lost[0].remove(index);
        recovering.lost[1].remove(index);
        recovering.answers[index] = Some(Answer { view, commit_max, suffix });
        self.try_take_answer(effects);
    }

    fn try_take_answer(&mut self, effects: &mut Effects<B>) {
        let configuration = self.config.configuration();
        let Status::Recovering(recovering) = &mut self.status else {
            return;
        };
        let members = configuration.members().iter().zip(&recovering.answers);
        let of_voters = members.filter(|(member, _)| member.role != Role::Learner);
        let views: Vec<ViewNumber> =
            of_voters.filter_map(|(_, answer)| Some(answer.as_ref()?.view)).collect();
        let Some(latest) = views.iter().copied().max() else {
            return;
        };
        if views.len() < configuration.quorums().view_change {
            return;
        }
        let primary = configuration.index(configuration.primary(latest));
        let answer = primary.and_then(|index| recovering.answers[index].clone());
        let Some(answer) = answer.filter(|answer| answer.view == latest) else {
            return;
        };
        recovering.asked = None;
        recovering.attempt = 0;
        self.take_answer(&answer, effects);
        self.arm(Timer::Recovery, 0, effects);
    }

    fn take_answer(&mut self, answer: &Answer, effects: &mut Effects<B>) {
        let Answer { view, commit_max, suffix } = answer;
        let head = suffix.last().map_or(OpNumber::ZERO, |header| header.op);
        if head < self.issued() {
            // A checkpoint that was installed meanwhile lies beyond it.
            return self.ask_for_recovery(effects);
        }
        if let Status::Recovering(recovering) = &mut self.status {
            // It is known now; and who has an answer to go by is not lost, however many ask.
            recovering.outdated = false;
            recovering.lost = [Voters::default(); 2];
        }
        if head > self.log_limit() {
            return self.keep_view_ahead(*view, *commit_max, suffix, effects);
        }
        self.transfer.forget_view_ahead();
        if !self.install(*view, suffix, *commit_max, effects) {
            return;
        }
        self.fetch_up_to(head);
        self.persist_superblock(effects);
    }

    /// The log of a view is installed: this is where it ended.
    pub(crate) const fn fetch_up_to(&mut self, head: OpNumber) {
        if let Status::Recovering(recovering) = &mut self.status {
            recovering.target = Some(head);
        }
    }

    /// Whether a log is installed, and what it lacks is being fetched.
    pub(crate) const fn is_fetching_log(&self) -> bool {
        matches!(&self.status, Status::Recovering(Recovering { target: Some(_), .. }))
    }

    // Step 4: everything is held.

    pub(crate) fn flush_recovery(&mut self, effects: &mut Effects<B>) {
        let Status::Recovering(Recovering { target: Some(target), .. }) = &self.status else {
            return;
        };
        let installed = self.is_log_view_durable() && !self.transfer.is_restoring();
        // What is committed of it is executed too, so that nobody reads here what an empty group would answer.
        let executed = self.commit_min >= self.commit_max.min(*target);
        if !installed || !executed || self.log.durable() < *target {
            return;
        }
        self.disarm(Timer::Recovery, effects);
        self.status = Status::Backup(Backup::new(true));
        self.mark(Mark::RecoveryCompleted, effects);
        self.note_status(effects);
        self.arm_primary_timers(effects);
    }

    /// How far the recovery is, if one is under way.
    pub(crate) fn recovery_progress(&self) -> Option<RecoveryProgress> {
        let Status::Recovering(recovering) = &self.status else {
            return None;
        };
        let configuration = self.config.configuration();
        let mut lost = Voters(recovering.lost[0].0 | recovering.lost[1].0);
        lost.insert(self.index);
        let votes = |index: &usize| configuration.members()[*index].role != Role::Learner;
        Some(RecoveryProgress {
            answers: recovering.answers.iter().flatten().count() as u32,
            needed: configuration.quorums().view_change as u32,
            target: recovering.target,
            lost: lost.iter().filter(votes).count() as u32,
            tolerated: configuration.tolerated() as u32,
        })
    }

    pub(crate) fn is_in_memory(&self) -> bool {
        self.config.constants().durability == Durability::Memory
    }
}
