//! Requests from clients (paper, section 4.1, steps 1 and 2), at the primary.
//!
//! 1. Only a primary that knows all it inherited takes requests; a backup names the primary.
//! 2. A registration that is executed is answered again; one that is under way is left alone.
//! 3. An executed operation gets its stored reply, unless its client acknowledged that; the next one
//!    is taken; one beyond it, under way, or out of the window is left alone.
//! 4. What is taken waits in a bounded queue for the next entry; what is not gets a reason.

use crate::client_table::{Gone, KeptOperation, KeptReply};
use crate::digest::Checksum;
use crate::effect::{Effect, Effects, Ignored, Mark};
use crate::entry::Request;
use crate::event::DiskState;
use crate::message::{ClientReplyKind, ClientRequest, ClientRequestKind, Refusal};
use crate::replica::Replica;
use crate::status::Status;
use crate::types::{Body, ClientId, Moment, RequestNumber, Session, Subject, Timestamp};

/// How many full entries' worth of requests may wait at the primary before it answers `busy`: one
/// to fill while another is written, and as much again for bursts.
pub(crate) const QUEUED_BATCHES_MAX: usize = 4;

impl<B: Body> Replica<B> {
    pub(crate) fn on_request(
        &mut self,
        request: ClientRequest<B>,
        subject: Subject,
        (at, now): (Timestamp, Moment),
        effects: &mut Effects<B>,
    ) {
        if request.cluster != self.config.cluster() {
            return self.ignore(Ignored::OtherCluster, effects);
        }
        if let ClientRequestKind::Read { number, policy, body } = request.kind {
            return self.on_read(request.client, number, (policy, now), body, effects);
        }
        if request.view > self.view {
            return self.ignore(Ignored::ClientAhead, effects);
        }
        match &mut self.status {
            Status::Primary(primary) if primary.ready && !primary.abdicating => {
                primary.clock = primary.clock.max(at);
            }
            Status::Backup(_) if self.log_view == self.view => {
                return self.redirect(request.client, effects);
            }
            Status::Primary(_)
            | Status::Backup(_)
            | Status::ViewChange(_)
            | Status::RecoveringHead(_)
            | Status::Recovering(_)
            | Status::Halted(_) => return self.ignore(Ignored::WrongStatus, effects),
        }
        let client = request.client;
        match request.kind {
            ClientRequestKind::Register => self.on_register(client, subject, effects),
            ClientRequestKind::Operation { session, number, span, digest, body } => {
                let operation = Operation { session, number, span, digest, body };
                self.on_operation(client, subject, operation, effects);
            }
            ClientRequestKind::Read { .. } => {}
        }
    }

    fn redirect(&self, client: ClientId, effects: &mut Effects<B>) {
        self.mark(Mark::Redirected, effects);
        let kind = ClientReplyKind::Redirect { primary: self.primary() };
        effects.push(Effect::Reply(self.client_reply(client, kind)));
    }

    fn on_register(&mut self, client: ClientId, subject: Subject, effects: &mut Effects<B>) {
        if let Some((_, state)) = self.table.of_client(client) {
            if state.subject != subject {
                let nothing = (None, RequestNumber::ZERO);
                return self.refuse(client, nothing, Refusal::NotYours, effects);
            }
            if state.number > self.commit_min {
                return self.ignore(Ignored::InPipeline, effects);
            }
            return self.reply_registered(client, effects);
        }
        let Status::Primary(primary) = &self.status else {
            return;
        };
        if primary.registering.contains(&client) {
            return self.ignore(Ignored::InPipeline, effects);
        }
        self.enqueue(client, RequestNumber::ZERO, Request::Register { client, subject }, effects);
    }

    fn on_operation(
        &mut self,
        client: ClientId,
        subject: Subject,
        operation: Operation<B>,
        effects: &mut Effects<B>,
    ) {
        let Operation { session, number, span, digest, body } = operation;
        let Some(state) = self.table.find(session).filter(|state| state.client == client) else {
            // Only what was executed is known to be gone: the registration may lie in what a new
            // primary inherited, and the client would number its operations anew in a session that
            // has seen those numbers.
            if session.number > self.issued() {
                return self.ignore(Ignored::ClientAhead, effects);
            }
            self.mark(Mark::EvictionTold, effects);
            return self.reply(client, ClientReplyKind::Evicted { session, number }, effects);
        };
        if state.subject != subject {
            return self.refuse(client, (Some(session), number), Refusal::NotYours, effects);
        }
        if number <= state.executed {
            return self.answer_again(client, session, number, effects);
        }
        let executed = state.executed;
        let Status::Primary(primary) = &self.status else {
            return;
        };
        let prepared = match primary.prepared.get(session.slot as usize) {
            Some((of, number)) if *of == session.number => *number,
            // A registration that was inherited, and is not executed yet, takes its place: to note what it asks would hide
            // what the session in its place has in the pipeline.
            Some((of, _)) if *of > session.number => {
                return self.ignore(Ignored::InPipeline, effects);
            }
            Some(_) | None => RequestNumber::ZERO,
        };
        if number <= prepared {
            return self.ignore(Ignored::InPipeline, effects);
        }
        if number != executed.max(prepared).next() {
            return self.ignore(Ignored::RequestGap, effects);
        }
        if u32::from(span) >= self.config.constants().window {
            return self.ignore(Ignored::BeyondWindow, effects);
        }
        let bytes = body.as_ref();
        let large = bytes.len() > self.config.constants().request_bytes as usize;
        if large || Checksum::of(bytes) != digest {
            return self.refuse(client, (Some(session), number), Refusal::Malformed, effects);
        }
        let request = Request::Operation { session, number, span, digest, body };
        self.enqueue(client, number, request, effects);
    }

    fn answer_again(
        &mut self,
        client: ClientId,
        session: Session,
        number: RequestNumber,
        effects: &mut Effects<B>,
    ) {
        let Some(state) = self.table.find(session) else {
            return;
        };
        let Some(KeptOperation { op, reply }) = state.kept(number) else {
            return self.ignore(Ignored::OlderRequest, effects);
        };
        let op = *op;
        let body = match reply {
            KeptReply::None => return self.ignore(Ignored::InPipeline, effects),
            KeptReply::Reply(body) => Some(body.clone()),
            KeptReply::TooLarge => None,
        };
        if number < state.executed {
            self.mark(Mark::EarlierReplyRepeated, effects);
        }
        self.mark(Mark::DoubledRequestAnswered, effects);
        self.reply(client, ClientReplyKind::Reply { session, number, op, body }, effects);
    }

    /// A session is gone: its operations in the pipeline will not be executed, and its client, which
    /// may wait for them, is told.
    pub(crate) fn tell_gone(&self, gone: &Gone, effects: &mut Effects<B>) {
        let Status::Primary(primary) = &self.status else {
            return;
        };
        let Gone { session, client, executed } = *gone;
        let prepared = primary.prepared.get(session.slot as usize);
        if prepared.is_some_and(|(of, last)| *of == session.number && *last > executed) {
            self.mark(Mark::EvictedInPipeline, effects);
            let kind = ClientReplyKind::Evicted { session, number: executed.next() };
            self.reply(client, kind, effects);
        }
    }

    fn enqueue(
        &mut self,
        client: ClientId,
        number: RequestNumber,
        request: Request<B>,
        effects: &mut Effects<B>,
    ) {
        if let Some(reason) = self.refusal(&request) {
            match reason {
                Refusal::Busy => self.mark(Mark::Busy, effects),
                Refusal::LogFull => self.mark(Mark::LogFull, effects),
                Refusal::DiskFull | Refusal::NotYours | Refusal::Malformed | Refusal::Forbidden => {
                }
            }
            let session = match &request {
                Request::Register { .. } => None,
                Request::Operation { session, .. } => Some(*session),
            };
            return self.refuse(client, (session, number), reason, effects);
        }
        let Status::Primary(primary) = &mut self.status else {
            return;
        };
        primary.note_prepared(&request);
        primary.queued += request.length();
        primary.queue.push_back(request);
    }

    /// Why a request cannot be taken now, if it cannot.
    fn refusal(&self, request: &Request<B>) -> Option<Refusal> {
        let Status::Primary(primary) = &self.status else {
            return Some(Refusal::Busy);
        };
        if self.disk == DiskState::Full {
            return Some(Refusal::DiskFull);
        }
        // Each request that waits may need an entry of its own.
        let (open, open_bytes) = primary.open_size();
        let waiting = (primary.queue.len() + open) as u64;
        let constants = self.config.constants();
        let reserve = u64::from(constants.batch_bytes) + u64::from(constants.request_bytes);
        let values = (waiting + 1) * self.prediction_bytes();
        let queued = (primary.queued + open_bytes + request.length()) as u64;
        let bytes = self.log.bytes() + queued + values + reserve;
        // What a view change may need of the log is left free.
        let limit = self.log_limit().0 - u64::from(constants.pipeline);
        if self.log.op().0 + waiting >= limit || bytes > constants.log_bytes {
            return Some(Refusal::LogFull);
        }
        let requests_max = QUEUED_BATCHES_MAX * constants.batch_requests as usize;
        let bytes_max = QUEUED_BATCHES_MAX * constants.batch_bytes as usize;
        let full = primary.queue.len() >= requests_max
            || (primary.queued > 0 && primary.queued + request.length() > bytes_max);
        full.then_some(Refusal::Busy)
    }

    fn refuse(
        &self,
        client: ClientId,
        (session, number): (Option<Session>, RequestNumber),
        reason: Refusal,
        effects: &mut Effects<B>,
    ) {
        self.reply(client, ClientReplyKind::Refused { session, number, reason }, effects);
    }
}

/// An operation as its client sent it.
struct Operation<B> {
    session: Session,
    number: RequestNumber,
    span: u8,
    digest: Checksum,
    body: B,
}
