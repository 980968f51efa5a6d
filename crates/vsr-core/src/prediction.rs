//! Values that a service needs and cannot compute (paper, section 4.4; protocol.md 1.6; ADR 0023).
//!
//! 1. The primary closes a batch. Where the service wants a value, the entry stays open until it has
//!    one; requests that arrive meanwhile are for the next entry. The service predicts the value.
//! 2. The pre-step, where backups are to have a say: PRE-STEP brings them the requests, and a backup that is
//!    normal in the view answers with what its own service predicts. It is sent again until f have.
//! 3. The service combines its own value with theirs. The value is part of the entry (`normal.rs`).
//! 4. A backup has its service judge the value before it holds the entry, unless the entry is known to be
//!    committed or was inherited. One that is refused is not held, so that nothing from it on is
//!    acknowledged, and it is denied in a view change; the primary is told.
//! 5. A primary that so many refuse that no quorum is left gives way when it next looks whether it should,
//!    unless something was committed by then.
//!
//! When the view is left, so is the open entry: its requests are in no log, and their clients send them again.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::config::Role;
use crate::digest::Checksum;
use crate::effect::{Effect, Effects, Ignored, Mark, Note, Timer};
use crate::entry::{Entry, EntryKind, Header, PREDICTION_BYTES_MAX, Request};
use crate::log::Holding;
use crate::message::Kind;
use crate::normal::STALLED_MAX;
use crate::quorum::Voters;
use crate::replica::Replica;
use crate::service::{Implausible, Prediction};
use crate::status::{Open, PreStep, Primary, Stage, Status};
use crate::types::{Body, Nonce, OpNumber, ReplicaId, ViewNumber};

/// How many values the service may be asked for at a time: one, and one that the view before asked for.
pub(crate) const QUESTIONS_MAX: usize = 2;

/// What is with the service, whoever still waits for the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Questions {
    /// Values to predict or to combine.
    pub(crate) predict: usize,
    /// Values to judge.
    pub(crate) check: usize,
}

impl<B: Body> Primary<B> {
    /// Whether an entry waits for its value.
    pub(crate) const fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// How many requests the open entry has, and bytes of their operations.
    pub(crate) fn open_size(&self) -> (usize, usize) {
        self.open.as_ref().map_or((0, 0), |open| (open.requests.len(), open.bytes))
    }

    /// Takes the open entry once its value is there.
    pub(crate) fn take_closed(&mut self) -> Option<(Vec<Request<B>>, Option<B>)> {
        let open = self.open.take_if(|open| matches!(open.stage, Stage::Closed(_)))?;
        match open.stage {
            Stage::Closed(value) => Some((open.requests.to_vec(), value)),
            Stage::Predicting { .. } | Stage::Asking { .. } | Stage::Combining { .. } => None,
        }
    }
}

impl<B: Body> Replica<B> {
    // Step 1: the primary's own value.

    /// The entry that these requests make stays open until its value is there.
    pub(crate) fn open_entry(&mut self, requests: Vec<Request<B>>, effects: &mut Effects<B>) {
        let ticket = self.next_nonce();
        let requests: Arc<[Request<B>]> = requests.into();
        if let Status::Primary(primary) = &mut self.status {
            let stage = Stage::Predicting { ticket };
            let bytes = requests.iter().map(Request::length).sum();
            primary.open = Some(Open { requests: Arc::clone(&requests), bytes, stage });
            self.with_service.predict += 1;
            effects.push(Effect::Predict { ticket, requests });
        }
    }

    /// The service has predicted, or combined.
    pub(crate) fn on_predicted(
        &mut self,
        ticket: Nonce,
        value: Option<B>,
        effects: &mut Effects<B>,
    ) {
        self.with_service.predict = self.with_service.predict.saturating_sub(1);
        if !self.awaits(ticket) {
            return self.ignore(Ignored::StaleCompletion, effects);
        }
        let bytes = value.as_ref().map_or(0, |value| value.as_ref().len());
        let value = value.filter(|_| bytes <= PREDICTION_BYTES_MAX);
        if bytes > PREDICTION_BYTES_MAX {
            effects.push(Effect::Note(Note::LongPrediction(bytes)));
        }
        let asks = self.config.prediction() == Prediction::Backups;
        match (&mut self.status, value) {
            (Status::Backup(_), Some(value)) => self.answer_pre_step(value, effects),
            // It has none to offer. The primary asks others, and this one again.
            (Status::Backup(backup), None) => backup.pre_step = None,
            (Status::Primary(primary), value) => {
                let Some(open) = &mut primary.open else { return };
                match value {
                    Some(value) if asks && matches!(open.stage, Stage::Predicting { .. }) => {
                        self.ask_backups(value, effects);
                    }
                    value => open.stage = Stage::Closed(value),
                }
            }
            (
                Status::ViewChange(_)
                | Status::RecoveringHead(_)
                | Status::Recovering(_)
                | Status::Halted(_),
                _,
            ) => {}
        }
    }

    /// Whether the service was asked this and has not answered.
    fn awaits(&self, asked: Nonce) -> bool {
        match &self.status {
            Status::Primary(primary) => match primary.open.as_ref().map(|open| &open.stage) {
                Some(Stage::Predicting { ticket } | Stage::Combining { ticket }) => {
                    *ticket == asked
                }
                Some(Stage::Asking { .. } | Stage::Closed(_)) | None => false,
            },
            Status::Backup(backup) => backup
                .pre_step
                .as_ref()
                .is_some_and(|pre_step| pre_step.ticket == asked && pre_step.value.is_none()),
            Status::ViewChange(_)
            | Status::RecoveringHead(_)
            | Status::Recovering(_)
            | Status::Halted(_) => false,
        }
    }

    // Step 2: the pre-step.

    fn ask_backups(&mut self, own: B, effects: &mut Effects<B>) {
        let nonce = self.next_nonce();
        let values = alloc::vec![(self.index, own)];
        let Status::Primary(Primary { open: Some(open), .. }) = &mut self.status else {
            return;
        };
        open.stage = Stage::Asking { nonce, values, attempt: 0 };
        let requests = Arc::clone(&open.requests);
        if self.config.configuration().quorums().replication > 1 {
            self.ask_those_without_value(&[self.index], nonce, &requests, effects);
            self.arm(Timer::PreStepResend, 0, effects);
        }
        self.try_combine(effects);
    }

    pub(crate) fn on_pre_step_resend(&mut self, effects: &mut Effects<B>) {
        let Status::Primary(Primary { open: Some(open), .. }) = &mut self.status else {
            return;
        };
        let Stage::Asking { nonce, values, attempt } = &mut open.stage else {
            return;
        };
        *attempt += 1;
        let (nonce, attempt) = (*nonce, *attempt);
        let answered: Vec<usize> = values.iter().map(|(index, _)| *index).collect();
        let requests = Arc::clone(&open.requests);
        self.ask_those_without_value(&answered, nonce, &requests, effects);
        self.mark(Mark::PreStepResent, effects);
        self.arm(Timer::PreStepResend, attempt, effects);
    }

    fn ask_those_without_value(
        &self,
        answered: &[usize],
        nonce: Nonce,
        requests: &Arc<[Request<B>]>,
        effects: &mut Effects<B>,
    ) {
        for (index, member) in self.config.configuration().members().iter().enumerate() {
            if member.role != Role::Learner && !answered.contains(&index) {
                let requests = Arc::clone(requests);
                self.send(member.id, Kind::PreStep { nonce, requests }, effects);
            }
        }
    }

    pub(crate) fn on_pre_step(
        &mut self,
        from: ReplicaId,
        view: ViewNumber,
        nonce: Nonce,
        requests: Arc<[Request<B>]>,
        effects: &mut Effects<B>,
    ) {
        if !self.hears_primary(from, view, effects) {
            return;
        }
        if requests.is_empty() {
            return self.ignore(Ignored::Malformed, effects);
        }
        if self.config.prediction() == Prediction::None {
            // Another release may want values.
            return self.ignore(Ignored::WrongStatus, effects);
        }
        if !self.is_log_view_durable() {
            return self.ignore(Ignored::WrongStatus, effects);
        }
        let Status::Backup(backup) = &self.status else {
            return;
        };
        match &backup.pre_step {
            Some(known) if known.nonce > nonce => return self.ignore(Ignored::NotAsked, effects),
            Some(PreStep { nonce: known, value: Some(value), .. }) if *known == nonce => {
                let value = value.clone();
                return self.send(from, Kind::PreStepOk { nonce, value }, effects);
            }
            Some(known) if known.nonce == nonce => {
                return self.ignore(Ignored::Repeated, effects);
            }
            Some(_) | None => {}
        }
        if self.with_service.predict >= QUESTIONS_MAX {
            // The primary asks again.
            return self.ignore(Ignored::OutOfWindow, effects);
        }
        let ticket = self.next_nonce();
        if let Status::Backup(backup) = &mut self.status {
            backup.pre_step = Some(PreStep { nonce, ticket, value: None });
        }
        self.with_service.predict += 1;
        effects.push(Effect::Predict { ticket, requests });
    }

    fn answer_pre_step(&mut self, value: B, effects: &mut Effects<B>) {
        let durable = self.is_log_view_durable();
        let primary = self.primary();
        let Status::Backup(backup) = &mut self.status else {
            return;
        };
        if !durable {
            // A checkpoint was installed meanwhile. The primary asks again.
            backup.pre_step = None;
            return;
        }
        if let Some(pre_step) = &mut backup.pre_step {
            let nonce = pre_step.nonce;
            pre_step.value = Some(value.clone());
            self.send(primary, Kind::PreStepOk { nonce, value }, effects);
        }
    }

    pub(crate) fn on_pre_step_ok(
        &mut self,
        from: ReplicaId,
        index: usize,
        view: ViewNumber,
        asked: Nonce,
        value: B,
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
        if value.as_ref().len() > PREDICTION_BYTES_MAX {
            return self.ignore(Ignored::Malformed, effects);
        }
        let Status::Primary(primary) = &mut self.status else {
            return self.ignore(Ignored::NotPrimary, effects);
        };
        match primary.open.as_mut().map(|open| &mut open.stage) {
            Some(Stage::Asking { nonce, values, .. }) if *nonce == asked => {
                if values.iter().any(|(known, _)| *known == index) {
                    return self.ignore(Ignored::Repeated, effects);
                }
                values.push((index, value));
                self.try_combine(effects);
            }
            Some(_) | None => self.ignore(Ignored::NotAsked, effects),
        }
    }

    // Step 3: one value of several.

    fn try_combine(&mut self, effects: &mut Effects<B>) {
        // f backups and the primary are as many as must hold the entry anyway.
        let needed = self.config.configuration().quorums().replication;
        let Some(mut values) = self.take_values(needed) else { return };
        let ticket = self.next_nonce();
        let Status::Primary(Primary { open: Some(open), .. }) = &mut self.status else {
            return;
        };
        values.sort_by_key(|(index, _)| *index);
        let members = self.config.configuration().members();
        let values = values.into_iter().map(|(index, value)| (members[index].id, value)).collect();
        open.stage = Stage::Combining { ticket };
        let requests = Arc::clone(&open.requests);
        self.with_service.predict += 1;
        effects.push(Effect::Combine { ticket, requests, values });
        self.disarm(Timer::PreStepResend, effects);
    }

    /// The values that are there, once they are `needed` many.
    fn take_values(&mut self, needed: usize) -> Option<Vec<(usize, B)>> {
        let Status::Primary(Primary { open: Some(open), .. }) = &mut self.status else {
            return None;
        };
        match &mut open.stage {
            Stage::Asking { values, .. } if values.len() >= needed => Some(core::mem::take(values)),
            Stage::Asking { .. }
            | Stage::Predicting { .. }
            | Stage::Combining { .. }
            | Stage::Closed(_) => None,
        }
    }

    // Step 4: a backup judges.

    /// Whether an entry that arrived is held only if the service agrees. `committed` is what is known to be
    /// committed beside what the replica knows.
    pub(crate) fn is_to_be_checked(&self, header: &Header, committed: OpNumber) -> bool {
        matches!(self.status, Status::Backup(_))
            && header.kind == EntryKind::Predicted
            // What the view began with was selected from a quorum of logs, and must be held.
            && header.view == self.view
            && header.op > self.commit_max.max(committed)
            // What was held once, and acknowledged maybe, is damaged now: it is mended, whatever the service says.
            && self.log.holding(header.op) == Holding::Missing
            // One that wants none itself judges none: another release may.
            && self.config.prediction() != Prediction::None
    }

    pub(crate) fn start_check(&mut self, entry: Entry<B>, effects: &mut Effects<B>) {
        let room = self.config.constants().pipeline as usize;
        let Status::Backup(backup) = &mut self.status else {
            return;
        };
        if backup.checking.contains(&entry) {
            return self.ignore(Ignored::Repeated, effects);
        }
        if entry.prediction().is_none_or(|value| value.as_ref().len() > PREDICTION_BYTES_MAX) {
            return self.ignore(Ignored::Malformed, effects);
        }
        if self.with_service.check >= room {
            return self.ignore(Ignored::OutOfWindow, effects);
        }
        self.with_service.check += 1;
        backup.checking.push(entry.clone());
        effects.push(Effect::Check { entry });
    }

    pub(crate) fn on_checked(
        &mut self,
        checksum: Checksum,
        verdict: Result<(), Implausible>,
        effects: &mut Effects<B>,
    ) {
        self.with_service.check = self.with_service.check.saturating_sub(1);
        let Status::Backup(backup) = &mut self.status else {
            return self.ignore(Ignored::StaleCompletion, effects);
        };
        let judged = |entry: &Entry<B>| entry.header().checksum == checksum;
        let Some(place) = backup.checking.iter().position(judged) else {
            return self.ignore(Ignored::StaleCompletion, effects);
        };
        let entry = backup.checking.swap_remove(place);
        let op = entry.header().op;
        match verdict {
            Err(reason) if op > self.commit_max => {
                backup.refused.insert(op);
                effects.push(Effect::Note(Note::Implausible { op, reason }));
                self.mark(Mark::PredictionRefused, effects);
                self.send(self.primary(), Kind::Nack { op, checksum }, effects);
            }
            Ok(()) | Err(_) => self.hold_judged(entry, effects),
        }
    }

    fn hold_judged(&mut self, entry: Entry<B>, effects: &mut Effects<B>) {
        let op = entry.header().op;
        if let Status::Backup(backup) = &mut self.status {
            backup.refused.remove(&op);
        }
        // A repair may have come first. Where the disk has no room, the primary sends it again.
        if self.log.lacks(op) && self.outbox.has_room() {
            self.hold(entry, effects);
        }
    }

    /// What is committed needs no judgement any more; what was refused is asked for.
    pub(crate) fn hold_committed(&mut self, effects: &mut Effects<B>) {
        let committed = self.commit_max;
        let Status::Backup(backup) = &mut self.status else {
            return;
        };
        if backup.refused.first().is_some_and(|op| *op <= committed) {
            backup.refused.retain(|op| *op > committed);
            self.mark(Mark::RefusedCommitted, effects);
        }
        let Status::Backup(backup) = &mut self.status else {
            return;
        };
        let of_committed = |entry: &Entry<B>| entry.header().op <= committed;
        if backup.checking.iter().any(of_committed) {
            let judged = core::mem::take(&mut backup.checking);
            let (due, rest) = judged.into_iter().partition(of_committed);
            backup.checking = rest;
            let due: Vec<Entry<B>> = due;
            for entry in due {
                self.hold_judged(entry, effects);
            }
        }
    }

    /// What is not asked for though it is lacking: it is being judged, or was refused.
    pub(crate) fn withheld(&self) -> Vec<OpNumber> {
        match &self.status {
            Status::Backup(backup) => {
                let checking = backup.checking.iter().map(|entry| entry.header().op);
                checking.chain(backup.refused.iter().copied()).collect()
            }
            Status::Primary(_)
            | Status::ViewChange(_)
            | Status::RecoveringHead(_)
            | Status::Recovering(_)
            | Status::Halted(_) => Vec::new(),
        }
    }

    // Step 5: the primary is refused.

    /// Whether a NACK of this op may say that its value was refused.
    pub(crate) fn may_be_refused(&self, view: ViewNumber, op: OpNumber) -> bool {
        let predicted =
            |header: &Header| header.kind == EntryKind::Predicted && header.view == self.view;
        view == self.view
            && op > self.commit_max
            && matches!(self.status, Status::Primary(_))
            && self.log.header(op).is_some_and(predicted)
    }

    pub(crate) fn on_refusal(&mut self, index: usize, op: OpNumber, effects: &mut Effects<B>) {
        let configuration = self.config.configuration();
        let quorum = configuration.quorums().replication;
        if configuration.members()[index].role == Role::Learner {
            return;
        }
        let voters = configuration.voters();
        let committed = self.commit_max;
        let Status::Primary(primary) = &mut self.status else {
            return;
        };
        let (first, refused) = match primary.refused {
            Some((first, refused)) if first > committed && first <= op => (first, refused),
            Some(_) | None => (op, Voters::default()),
        };
        let mut refused = refused;
        if first == op {
            refused.insert(index);
        }
        primary.refused = Some((first, refused));
        // Who was asked again may have agreed.
        let against = refused.iter().filter(|index| primary.acknowledged[*index] < first).count();
        // Not at once: a group whose clocks are at odds would change views as fast as it can.
        if voters - against < quorum && primary.stalled < STALLED_MAX {
            primary.stalled = STALLED_MAX;
            self.mark(Mark::RefusedPrimaryGaveWay, effects);
        }
    }

    // What there is of it in memory.

    /// What the values of so many entries may add to the log.
    pub(crate) fn prediction_bytes(&self) -> u64 {
        match self.config.prediction() {
            Prediction::None => 0,
            Prediction::Primary | Prediction::Backups => PREDICTION_BYTES_MAX as u64,
        }
    }

    pub(crate) fn open_requests(&self) -> usize {
        match &self.status {
            Status::Primary(primary) => primary.open_size().0,
            Status::Backup(_)
            | Status::ViewChange(_)
            | Status::RecoveringHead(_)
            | Status::Recovering(_)
            | Status::Halted(_) => 0,
        }
    }
}
