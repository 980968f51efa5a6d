//! One session of a pool: the core's client, the calls it executes, and its deadlines.

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;
use vsr_core::{CallId, ClientEffect, ClientEvent};

use super::CallOutcome;

/// A call that waits for a session, or is executed by one.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) operation: Bytes,
    pub(super) deadline: Instant,
    pub(super) answer: oneshot::Sender<CallOutcome>,
}

/// A session.
#[derive(Debug)]
pub(super) struct Session {
    core: vsr_core::Client<Bytes>,
    /// The calls that are being executed, in the order in which they began: a window at most.
    calls: VecDeque<(CallId, Call)>,
    /// Counts the calls.
    begun: u64,
    retry_at: Option<Instant>,
    /// Whether the pool knows that it takes calls.
    pub(super) is_listed: bool,
}

type Effects = Vec<ClientEffect<Bytes>>;

impl Session {
    pub(super) const fn new(core: vsr_core::Client<Bytes>) -> Self {
        Self { core, calls: VecDeque::new(), begun: 0, retry_at: None, is_listed: false }
    }

    pub(super) const fn core(&self) -> &vsr_core::Client<Bytes> {
        &self.core
    }

    /// Whether it takes another call, with at most `window` under way.
    pub(super) fn is_ready(&self, window: u32) -> bool {
        self.calls.len() < window as usize && self.core.is_ready()
    }

    /// Begins a call. Only for a session that is ready.
    pub(super) fn begin(&mut self, call: Call, effects: &mut Effects) {
        self.begun += 1;
        let id = CallId(self.begun);
        let body = call.operation.clone();
        self.calls.push_back((id, call));
        self.core.step(ClientEvent::Submit { call: id, body }, effects);
    }

    pub(super) fn step(&mut self, event: ClientEvent<Bytes>, effects: &mut Effects) {
        self.core.step(event, effects);
    }

    /// Takes out a call that came to an end.
    pub(super) fn take(&mut self, id: CallId) -> Option<Call> {
        let place = self.calls.iter().position(|(call, _)| *call == id)?;
        self.calls.remove(place).map(|(_, call)| call)
    }

    /// Sets the retry timer, or stops it.
    pub(super) const fn retry_at(&mut self, deadline: Option<Instant>) {
        self.retry_at = deadline;
    }

    /// A call that waits no longer than until `now`.
    pub(super) fn overdue(&self, now: Instant) -> Option<CallId> {
        self.calls.iter().find(|(_, call)| call.deadline <= now).map(|(id, _)| *id)
    }

    /// The call that began last.
    pub(super) fn latest(&self) -> Option<CallId> {
        self.calls.back().map(|(id, _)| *id)
    }

    /// Whether it is time to send again; stops the retry timer if so.
    pub(super) fn take_retry(&mut self, now: Instant) -> bool {
        self.retry_at.take_if(|retry_at| *retry_at <= now).is_some()
    }

    /// The earliest of its deadlines.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.calls.iter().map(|(_, call)| call.deadline).chain(self.retry_at).min()
    }
}
