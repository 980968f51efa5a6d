//! Reads that wait for an answer: each a [`vsr_core::Reader`] of its own, under one id, without a
//! session.

use std::collections::BTreeMap;
use std::mem;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;
use vsr_core::{
    ClientId, ClientReply, ClientReplyKind, ReadOutcome, Reader, ReaderEffect, RequestNumber,
    ViewNumber,
};

use super::{ClientConfig, ReadOptions, ReadResult};

/// The reads of one pool.
#[derive(Debug)]
pub(super) struct Reads {
    id: ClientId,
    waiting: BTreeMap<u64, Waiting>,
    /// The number of the last read.
    last: u64,
    effects: Vec<(u64, ReaderEffect<Bytes>)>,
}

#[derive(Debug)]
struct Waiting {
    reader: Reader<Bytes>,
    deadline: Instant,
    retry_at: Option<Instant>,
    answer: oneshot::Sender<ReadResult>,
}

impl Default for Reads {
    fn default() -> Self {
        Self {
            id: ClientId(uuid::Uuid::now_v7().as_u128()),
            waiting: BTreeMap::new(),
            last: 0,
            effects: Vec::new(),
        }
    }
}

impl Reads {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn begin(
        &mut self,
        config: &ClientConfig,
        view: ViewNumber,
        operation: Bytes,
        options: ReadOptions,
        (deadline, answer): (Instant, oneshot::Sender<ReadResult>),
    ) {
        self.last += 1;
        let what = (RequestNumber(self.last), options.policy, operation);
        let mut effects = Vec::new();
        let client = (config.cluster, self.id);
        let reader = Reader::new(client, &config.replicas, view, options.from, what, &mut effects);
        self.waiting.insert(self.last, Waiting { reader, deadline, retry_at: None, answer });
        self.keep(self.last, effects);
    }

    pub(super) fn on_reply(&mut self, reply: ClientReply<Bytes>) {
        let number = match &reply.kind {
            ClientReplyKind::ReadReply { number, .. }
            | ClientReplyKind::ReadRefused { number, .. } => number.0,
            ClientReplyKind::Registered { .. }
            | ClientReplyKind::Reply { .. }
            | ClientReplyKind::Evicted { .. }
            | ClientReplyKind::Redirect { .. }
            | ClientReplyKind::Refused { .. } => return,
        };
        self.step(number, |reader, effects| reader.on_reply(reply, effects));
    }

    /// Gives up what waits no longer, and has sent again what is due.
    pub(super) fn look_at_deadlines(&mut self, now: Instant) {
        let numbers: Vec<u64> = self.waiting.keys().copied().collect();
        for number in numbers {
            let Some(waiting) = self.waiting.get_mut(&number) else { continue };
            if waiting.deadline <= now || waiting.answer.is_closed() {
                self.step(number, Reader::give_up);
            } else if waiting.retry_at.take_if(|retry_at| *retry_at <= now).is_some() {
                self.step(number, Reader::on_timeout);
            }
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let deadlines = |waiting: &Waiting| waiting.retry_at.into_iter().chain([waiting.deadline]);
        self.waiting.values().flat_map(deadlines).min()
    }

    pub(super) fn take_effects(&mut self) -> Vec<(u64, ReaderEffect<Bytes>)> {
        mem::take(&mut self.effects)
    }

    /// Sets a read's retry timer. Returns when the pool should wake for it.
    pub(super) fn arm(&mut self, number: u64, retry_at: Instant) -> Option<Instant> {
        let waiting = self.waiting.get_mut(&number)?;
        waiting.retry_at = Some(retry_at);
        Some(retry_at.min(waiting.deadline))
    }

    /// Tells the caller, unless it is gone.
    pub(super) fn end(&mut self, number: u64, outcome: ReadOutcome<Bytes>) {
        let Some(waiting) = self.waiting.remove(&number) else { return };
        let _ = waiting.answer.send(match outcome {
            ReadOutcome::Done { op, body } => ReadResult::Done { op, answer: body },
            ReadOutcome::NotDone(Some(reason)) => ReadResult::Refused(reason),
            ReadOutcome::NotDone(None) => ReadResult::Deadline,
        });
    }

    /// Ends every read: nobody will answer any more.
    pub(super) fn close(&mut self) {
        for (_, waiting) in mem::take(&mut self.waiting) {
            let _ = waiting.answer.send(ReadResult::Closed);
        }
    }

    fn step(
        &mut self,
        number: u64,
        step: impl FnOnce(&mut Reader<Bytes>, &mut Vec<ReaderEffect<Bytes>>),
    ) {
        let Some(waiting) = self.waiting.get_mut(&number) else { return };
        let mut effects = Vec::new();
        step(&mut waiting.reader, &mut effects);
        self.keep(number, effects);
    }

    fn keep(&mut self, number: u64, effects: Vec<ReaderEffect<Bytes>>) {
        self.effects.extend(effects.into_iter().map(|effect| (number, effect)));
    }
}
