//! Executing what is committed (paper, section 4.1, steps 5 to 7).
//!
//! 1. Committed entries go to the service in the order of their ops, a bounded number at a time.
//! 2. The client-table is changed as they go: registrations open sessions; a request that is not the
//!    next one of its session is skipped: it is a second copy, or one before it is missing; sessions
//!    that were idle for too long expire.
//! 3. When the service has answered, replies are kept, and the primary sends them.

use alloc::vec::Vec;

use crate::client_table::{KeptReply, Turn};
use crate::effect::{Effect, Effects, HaltReason, Ignored, Mark};
use crate::entry::{Entry, Request};
use crate::log::bytes_of;
use crate::message::{ClientReply, ClientReplyKind};
use crate::replica::Replica;
use crate::status::Status;
use crate::types::{Body, ClientId, OpNumber, RequestNumber, Session};

/// How many entries may be with the service at a time: enough to keep it busy, few enough that the
/// event loop turns.
pub(crate) const APPLYING_MAX: usize = 64;

impl<B: Body> Replica<B> {
    /// The last op handed to the service.
    pub(crate) fn issued(&self) -> OpNumber {
        OpNumber(self.commit_min.0 + self.applying.len() as u64)
    }

    /// Up to where entries may be handed to the service.
    pub(crate) fn executable(&self) -> OpNumber {
        self.commit_max.min(self.log.trusted())
    }

    pub(crate) fn apply_committed(&mut self, effects: &mut Effects<B>) {
        while self.issued() < self.executable() && self.applying.len() < APPLYING_MAX {
            if self.waits_for_checkpoint() {
                return;
            }
            let Some(entry) = self.log.body(self.issued().next()).cloned() else {
                return;
            };
            self.apply(entry, effects);
        }
    }

    fn apply(&mut self, entry: Entry<B>, effects: &mut Effects<B>) {
        let op = entry.header().op;
        self.count_executed(bytes_of(entry.header()));
        let at = entry.header().timestamp;
        if op == OpNumber(1) {
            self.table.begin_time(at);
        }
        let mut skip = Vec::new();
        let mut gone = Vec::new();
        for (index, request) in (0..).zip(entry.requests()) {
            match request {
                Request::Register { client, subject } => {
                    if let Some(evicted) = self.table.register(*client, *subject, op, at) {
                        self.mark(Mark::SessionEvicted, effects);
                        gone.push(evicted);
                    }
                    if let Status::Primary(primary) = &mut self.status {
                        primary.registering.remove(client);
                    }
                }
                Request::Operation { session, number, span, .. } => {
                    match self.table.execute(*session, *number, *span, op, at) {
                        Turn::Next => {}
                        Turn::Repeated => {
                            skip.push(index);
                            self.mark(Mark::DoubledRequestSkipped, effects);
                        }
                        Turn::Early => {
                            skip.push(index);
                            self.mark(Mark::EarlyRequestSkipped, effects);
                        }
                        Turn::NoSession => skip.push(index),
                    }
                }
            }
        }
        for expired in self.table.expire(at) {
            self.mark(Mark::SessionExpired, effects);
            gone.push(expired);
        }
        self.applying.push_back((entry.clone(), skip.clone()));
        effects.push(Effect::Apply { entry, skip });
        for gone in &gone {
            self.tell_gone(gone, effects);
        }
    }

    pub(crate) fn on_applied(&mut self, op: OpNumber, replies: Vec<B>, effects: &mut Effects<B>) {
        if op != self.commit_min.next() {
            return self.ignore(Ignored::StaleCompletion, effects);
        }
        let Some((entry, skip)) = self.applying.pop_front() else {
            return self.ignore(Ignored::StaleCompletion, effects);
        };
        let operations = entry.requests().iter();
        let expected = operations.filter(|r| matches!(r, Request::Operation { .. })).count();
        if replies.len() + skip.len() != expected {
            return self.halt(HaltReason::WrongReplies(op), effects);
        }
        self.commit_min = op;
        // What was committed before this view began may be a long history that is executed again
        // after a restart. Clients that still wait for it ask again, and get the stored reply.
        let answers = matches!(&self.status, Status::Primary(primary) if op > primary.floor);
        let mut replies = replies.into_iter();
        for (index, request) in (0..).zip(entry.requests()) {
            match request {
                Request::Register { client, .. } if answers => {
                    self.reply_registered(*client, effects);
                }
                Request::Operation { session, number, .. } if !skip.contains(&index) => {
                    let body = replies.next().expect("replies were counted");
                    let Some(client) = self.keep_reply(*session, *number, &body) else { continue };
                    if answers {
                        let (session, number) = (*session, *number);
                        let body = Some(body);
                        let kind = ClientReplyKind::Reply { session, number, op, body };
                        self.reply(client, kind, effects);
                    }
                }
                Request::Register { .. } | Request::Operation { .. } => {}
            }
        }
        self.try_checkpoint(*entry.header(), effects);
    }

    pub(crate) fn reply_registered(&self, client: ClientId, effects: &mut Effects<B>) {
        if let Some((session, _)) = self.table.of_client(client) {
            let window = self.config.constants().window;
            self.reply(client, ClientReplyKind::Registered { session, window }, effects);
        }
    }

    /// Keeps a reply for a retry. Returns whose it is, unless the session is gone.
    fn keep_reply(
        &mut self,
        session: Session,
        number: RequestNumber,
        body: &B,
    ) -> Option<ClientId> {
        let limit = self.config.constants().kept_reply as usize;
        let state = self.table.find_mut(session)?;
        let client = state.client;
        if let Some(kept) = state.kept_mut(number) {
            let small = body.as_ref().len() <= limit;
            kept.reply = if small { KeptReply::Reply(body.clone()) } else { KeptReply::TooLarge };
        }
        Some(client)
    }

    /// Answers a client, if this is the primary: backups execute in silence.
    pub(crate) fn reply(
        &self,
        client: ClientId,
        kind: ClientReplyKind<B>,
        effects: &mut Effects<B>,
    ) {
        if matches!(self.status, Status::Primary(_)) {
            effects.push(Effect::Reply(self.client_reply(client, kind)));
        }
    }

    pub(crate) fn client_reply(
        &self,
        client: ClientId,
        kind: ClientReplyKind<B>,
    ) -> ClientReply<B> {
        ClientReply {
            cluster: self.config.cluster(),
            epoch: self.config.configuration().epoch(),
            view: self.view,
            client,
            kind,
        }
    }
}
