//! One session of a pool: the core's client, the call it executes, and its two deadlines.

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;
use vsr_core::{ClientEffect, ClientEvent};

use super::CallOutcome;

/// A call that waits for a session, or is executed by one.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) operation: Bytes,
    pub(super) deadline: Instant,
    pub(super) answer: oneshot::Sender<CallOutcome>,
}

/// The caller of a call that is being executed.
#[derive(Debug)]
struct Caller {
    deadline: Instant,
    answer: oneshot::Sender<CallOutcome>,
}

/// A session.
#[derive(Debug)]
pub(super) struct Session {
    core: vsr_core::Client<Bytes>,
    caller: Option<Caller>,
    retry_at: Option<Instant>,
}

type Effects = Vec<ClientEffect<Bytes>>;

impl Session {
    pub(super) const fn new(core: vsr_core::Client<Bytes>) -> Self {
        Self { core, caller: None, retry_at: None }
    }

    pub(super) const fn core(&self) -> &vsr_core::Client<Bytes> {
        &self.core
    }

    /// Begins a call. Only for a session that is ready.
    pub(super) fn begin(&mut self, call: Call, effects: &mut Effects) {
        self.caller = Some(Caller { deadline: call.deadline, answer: call.answer });
        self.core.step(ClientEvent::Submit { body: call.operation }, effects);
    }

    pub(super) fn step(&mut self, event: ClientEvent<Bytes>, effects: &mut Effects) {
        self.core.step(event, effects);
    }

    /// Ends the call, if there is one.
    pub(super) fn end(&mut self, outcome: CallOutcome) {
        if let Some(caller) = self.caller.take() {
            // A caller that is gone gave the call up.
            let _ = caller.answer.send(outcome);
        }
    }

    /// Sets the retry timer, or stops it.
    pub(super) const fn retry_at(&mut self, deadline: Option<Instant>) {
        self.retry_at = deadline;
    }

    /// Whether its call waits no longer.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        self.caller.as_ref().is_some_and(|caller| caller.deadline <= now)
    }

    /// Whether it is time to send again; stops the retry timer if so.
    pub(super) fn take_retry(&mut self, now: Instant) -> bool {
        self.retry_at.take_if(|retry_at| *retry_at <= now).is_some()
    }

    /// The earlier of its deadlines.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let deadline = self.caller.as_ref().map(|caller| caller.deadline);
        deadline.into_iter().chain(self.retry_at).min()
    }
}
