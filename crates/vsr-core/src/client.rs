//! The client's half of the protocol: one session, a window of operations at a time.
//!
//! 1. The client registers: REGISTER goes to the primary it believes in, and a session comes back.
//! 2. It numbers its operations from 1 and sends each to the primary it believes in, as many at a
//!    time as the window spans from the lowest that is not answered.
//! 3. Without an answer it sends all again, in order, from the second try on to every replica.
//! 4. Word of a later view makes it send to that view's primary at once.
//! 5. A session that is gone is replaced by a new one, at once unless the one before it went without
//!    an answer too. Operations that were certainly not executed move there; the others are unknown.
//! 6. When it gives up the last one that its caller waits for, and that one may have been executed,
//!    or may yet be, it is unknown, and the session is abandoned with it.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::config::WINDOW_MAX;
use crate::digest::Checksum;
use crate::message::{ClientReply, ClientReplyKind, ClientRequest, ClientRequestKind, Refusal};
use crate::types::{
    Body, ClientId, ClusterId, OpNumber, ReplicaId, RequestNumber, Session, ViewNumber,
};

/// The caller's name for an operation, of its own choosing: the outcome is told by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// A client: a session, and the operations outstanding in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Client<B> {
    cluster: ClusterId,
    client: ClientId,
    /// The members that may become primary, sorted by id.
    replicas: Vec<ReplicaId>,
    view: ViewNumber,
    session: Option<Session>,
    /// The number of the next operation.
    next: RequestNumber,
    /// How many operations may be outstanding: the cluster's, once it is known.
    window: u32,
    /// Ascending by number; those of an open session are without gaps but for the ones answered.
    outstanding: VecDeque<Outstanding<B>>,
    /// How often what is outstanding was sent in vain.
    attempt: u32,
    /// A number of this session will never be used, so that none after it is executed: what came
    /// before is waited for, and the session is done.
    broken: bool,
    /// Given up with an operation whose outcome is unknown, or done since it was broken.
    abandoned: bool,
    /// The latest session that is known to be gone. A late answer to an old registration, or one of a
    /// primary that has not executed the eviction yet, may still name it.
    gone: Option<OpNumber>,
    /// A refusal in this session of a number up to this may answer another copy of an earlier operation.
    doubted: RequestNumber,
    /// How many sessions in a row went before an operation was answered in them.
    in_vain: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Outstanding<B> {
    /// What its caller calls it; `None` if its caller waits no longer.
    call: Option<CallId>,
    /// Zero before it is sent.
    number: RequestNumber,
    digest: Checksum,
    body: B,
    /// How many copies were sent to replicas.
    copies: u32,
    /// The last refusal.
    refused: Option<Refusal>,
}

/// Something that happened to a client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ClientEvent<B> {
    /// The caller wants an operation executed. Ignored while the window is full, and after the
    /// session was abandoned: see [`Client::is_ready`].
    Submit {
        /// The caller's name for it.
        call: CallId,
        /// The operation.
        body: B,
    },
    /// A replica answered.
    Reply(ClientReply<B>),
    /// The primary of a view says that it takes requests.
    Inform {
        /// The view.
        view: ViewNumber,
    },
    /// The retry timer ran out.
    Timeout,
    /// The caller waits no longer for an operation.
    GiveUp {
        /// Which one.
        call: CallId,
    },
}

/// Something a client wants done.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ClientEffect<B> {
    /// Send a request to one replica.
    Send {
        /// The receiver.
        to: ReplicaId,
        /// The request.
        request: ClientRequest<B>,
    },
    /// Send a request to every replica.
    Broadcast {
        /// The request.
        request: ClientRequest<B>,
    },
    /// Start the retry timer, or start it anew, for
    /// [`Timing::client_retry`](crate::Timing::client_retry) of this attempt.
    Arm {
        /// How often the request was sent in vain before.
        attempt: u32,
    },
    /// Stop the retry timer.
    Disarm,
    /// The session is open.
    Registered {
        /// The session.
        session: Session,
    },
    /// The session is gone from the client-table, since others needed its place or it was idle for
    /// too long. Another is being registered.
    Evicted {
        /// The session that is gone.
        session: Session,
    },
    /// An operation came to an end.
    Done {
        /// The caller's name for it.
        call: CallId,
        /// How it ended.
        outcome: Outcome<B>,
    },
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome<B> {
    /// It was executed, exactly once.
    Done {
        /// The entry that held it.
        op: OpNumber,
        /// The service's reply; `None` if it was too large to be kept for a retry.
        body: Option<B>,
    },
    /// It was not executed and never will be: refused for this reason, or, if `None`, never sent, or
    /// sent in vain in a session that came to an end with one before it. Then it may be submitted
    /// again.
    /// Certain as long as the transport does not double what it carries, as QUIC and TCP do not.
    NotDone(Option<Refusal>),
    /// It may have been executed, or may yet be.
    Unknown,
}

impl<B: Body> Client<B> {
    /// A client that registers a session first. `replicas` are the members that may become primary.
    ///
    /// # Panics
    /// If `replicas` is empty.
    #[must_use]
    pub fn new(
        cluster: ClusterId,
        client: ClientId,
        replicas: &[ReplicaId],
        effects: &mut Vec<ClientEffect<B>>,
    ) -> Self {
        let mut this = Self::unregistered(cluster, client, replicas);
        this.send(effects);
        this
    }

    /// A client whose session exists already (from genesis, or from before a restart of the client
    /// that had nothing outstanding): `next` is the number of its next operation.
    ///
    /// # Panics
    /// If `replicas` is empty.
    #[must_use]
    pub fn with_session(
        cluster: ClusterId,
        client: ClientId,
        replicas: &[ReplicaId],
        session: Session,
        next: RequestNumber,
    ) -> Self {
        Self { session: Some(session), next, ..Self::unregistered(cluster, client, replicas) }
    }

    fn unregistered(cluster: ClusterId, client: ClientId, replicas: &[ReplicaId]) -> Self {
        assert!(!replicas.is_empty(), "a client needs replicas to talk to");
        let mut replicas = replicas.to_vec();
        replicas.sort_unstable();
        Self {
            cluster,
            client,
            replicas,
            view: ViewNumber::ZERO,
            session: None,
            next: RequestNumber(1),
            window: 1,
            outstanding: VecDeque::new(),
            attempt: 0,
            broken: false,
            abandoned: false,
            gone: None,
            doubted: RequestNumber::ZERO,
            in_vain: 0,
        }
    }

    /// How many operations may be outstanding in a session that exists already: the cluster's
    /// [`Constants::window`](crate::Constants). One unless told; a registration tells it too.
    #[must_use]
    pub fn with_window(self, window: u32) -> Self {
        Self { window, ..self }
    }

    /// Whether an operation may be submitted: the span from the lowest one outstanding to it is less
    /// than the window. It may be submitted while the session is still being registered, and is sent
    /// when it is.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let span = match (self.session, self.outstanding.front()) {
            (_, None) => 0,
            (Some(_), Some(first)) => self.next.0 - first.number.0,
            (None, Some(_)) => self.outstanding.len() as u64,
        };
        !self.abandoned && !self.broken && span < u64::from(self.window)
    }

    /// Whether nothing is outstanding.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.outstanding.is_empty()
    }

    /// Whether the session was given up with an operation of unknown outcome, or can take no further
    /// ones. Such a client is done: go on with a new one, under a new id.
    #[must_use]
    pub const fn is_abandoned(&self) -> bool {
        self.abandoned
    }

    /// The session, once it is registered.
    #[must_use]
    pub const fn session(&self) -> Option<Session> {
        self.session
    }

    /// The client's name.
    #[must_use]
    pub const fn id(&self) -> ClientId {
        self.client
    }

    /// The number of the next operation.
    #[must_use]
    pub const fn number(&self) -> RequestNumber {
        self.next
    }

    /// The latest view heard of.
    #[must_use]
    pub const fn view(&self) -> ViewNumber {
        self.view
    }

    /// The replica the client takes for the primary.
    #[must_use]
    pub fn primary(&self) -> ReplicaId {
        self.replicas[(self.view.0 % self.replicas.len() as u64) as usize]
    }

    /// Takes an event in and appends what is to be done.
    pub fn step(&mut self, event: ClientEvent<B>, effects: &mut Vec<ClientEffect<B>>) {
        match event {
            ClientEvent::Submit { call, body } => self.submit(call, body, effects),
            ClientEvent::Reply(reply) => self.on_reply(reply, effects),
            ClientEvent::Inform { view } => self.on_inform(view, effects),
            ClientEvent::Timeout => self.on_timeout(effects),
            ClientEvent::GiveUp { call } => self.give_up(call, effects),
        }
    }

    // Step 2.

    fn submit(&mut self, call: CallId, body: B, effects: &mut Vec<ClientEffect<B>>) {
        if !self.is_ready() {
            return;
        }
        let digest = Checksum::of(body.as_ref());
        let number = RequestNumber::ZERO;
        let call = Some(call);
        let first = self.outstanding.is_empty();
        self.outstanding.push_back(Outstanding {
            call,
            number,
            digest,
            body,
            copies: 0,
            refused: None,
        });
        if self.session.is_none() {
            return;
        }
        let place = self.outstanding.len() - 1;
        self.outstanding[place].number = self.next;
        self.next = self.next.next();
        let request = self.operation(place);
        effects.push(ClientEffect::Send { to: self.primary(), request });
        if first {
            self.attempt = 0;
            effects.push(ClientEffect::Arm { attempt: 0 });
        }
    }

    fn on_reply(&mut self, reply: ClientReply<B>, effects: &mut Vec<ClientEffect<B>>) {
        if reply.cluster != self.cluster || reply.client != self.client || self.abandoned {
            return;
        }
        match reply.kind {
            ClientReplyKind::Registered { session, window } => {
                self.view = self.view.max(reply.view);
                self.on_registered(session, window, effects);
            }
            ClientReplyKind::Reply { session, number, op, body } => {
                self.view = self.view.max(reply.view);
                if self.session == Some(session) {
                    self.finish(number, Outcome::Done { op, body }, effects);
                }
            }
            ClientReplyKind::Evicted { session, number } => {
                self.view = self.view.max(reply.view);
                self.on_evicted(session, number, effects);
            }
            ClientReplyKind::Redirect { .. } => self.on_view(reply.view, effects),
            ClientReplyKind::Refused { session, number, reason } => {
                self.view = self.view.max(reply.view);
                self.on_refused(session, number, reason, effects);
            }
            // Reads are a `Reader`'s.
            ClientReplyKind::ReadReply { .. } | ClientReplyKind::ReadRefused { .. } => {}
        }
    }

    fn on_registered(&mut self, session: Session, window: u32, effects: &mut Vec<ClientEffect<B>>) {
        if self.session.is_some() || self.gone.is_some_and(|gone| session.number <= gone) {
            return;
        }
        self.session = Some(session);
        self.window = window.clamp(1, WINDOW_MAX);
        self.attempt = 0;
        self.next = RequestNumber(1);
        for outstanding in &mut self.outstanding {
            outstanding.number = self.next;
            self.next = self.next.next();
        }
        effects.push(ClientEffect::Disarm);
        effects.push(ClientEffect::Registered { session });
        if !self.outstanding.is_empty() {
            self.send(effects);
        }
    }

    // Step 5.

    /// A copy of an operation was not executed, and its session is gone. If it was the only copy, it
    /// never will be, nor will any after it, since a session's operations are executed in order: they
    /// move to the new session. What came before, or was repeated, may have been executed.
    fn on_evicted(
        &mut self,
        session: Session,
        number: RequestNumber,
        effects: &mut Vec<ClientEffect<B>>,
    ) {
        if self.session != Some(session) {
            return;
        }
        self.session = None;
        self.gone = Some(session.number);
        effects.push(ClientEffect::Evicted { session });
        self.doubted = RequestNumber::ZERO;
        let refused = self.outstanding.iter().find(|one| one.number == number);
        let certain = refused.is_some_and(|one| one.copies == 1);
        for mut one in core::mem::take(&mut self.outstanding) {
            let Some(call) = one.call else { continue };
            if certain && one.number >= number {
                one.number = RequestNumber::ZERO;
                one.copies = 0;
                one.refused = None;
                self.outstanding.push_back(one);
            } else {
                effects.push(ClientEffect::Done { call, outcome: Outcome::Unknown });
            }
        }
        self.broken = false;
        self.next = RequestNumber(1);
        self.attempt = self.in_vain;
        self.in_vain = self.in_vain.saturating_add(1);
        if self.attempt == 0 {
            return self.send(effects);
        }
        // Clients that evict each other and register at once would execute nothing but
        // registrations.
        effects.push(ClientEffect::Arm { attempt: self.attempt });
    }

    fn on_refused(
        &mut self,
        session: Option<Session>,
        number: RequestNumber,
        reason: Refusal,
        effects: &mut Vec<ClientEffect<B>>,
    ) {
        if session != self.session {
            // Of a session that is gone, or of a registration that came through since.
            return;
        }
        if session.is_none() {
            return self.on_registration_refused(reason, effects);
        }
        if number <= self.doubted {
            return;
        }
        let found = self.outstanding.iter().position(|one| one.number == number);
        let Some(place) = found else { return };
        let refused = &mut self.outstanding[place];
        refused.refused = Some(reason);
        let copies = refused.copies;
        let final_everywhere = match reason {
            Refusal::NotYours | Refusal::Malformed | Refusal::Forbidden => true,
            Refusal::LogFull | Refusal::DiskFull => copies <= 1,
            Refusal::Busy => false,
        };
        if final_everywhere {
            if copies > 1 {
                self.doubted = self.doubted.max(number);
            }
            self.end_unused(place, Some(reason), effects);
        }
    }

    /// What waits for the session was not sent. The registration goes on: the next operation needs it.
    fn on_registration_refused(&mut self, reason: Refusal, effects: &mut Vec<ClientEffect<B>>) {
        if reason == Refusal::Busy {
            for one in &mut self.outstanding {
                one.refused = Some(reason);
            }
            return;
        }
        for call in self.outstanding.drain(..).filter_map(|one| one.call) {
            let outcome = Outcome::NotDone(Some(reason));
            effects.push(ClientEffect::Done { call, outcome });
        }
    }

    /// An operation was certainly not executed. If its number was the session's last one, the next
    /// operation gets it. Otherwise none after it will be executed: they end with it.
    fn end_unused(
        &mut self,
        place: usize,
        reason: Option<Refusal>,
        effects: &mut Vec<ClientEffect<B>>,
    ) {
        if self.session.is_none() {
            // Nothing has a number yet.
            if let Some(call) = self.outstanding.remove(place).and_then(|one| one.call) {
                effects.push(ClientEffect::Done { call, outcome: Outcome::NotDone(reason) });
            }
            return;
        }
        let number = self.outstanding[place].number;
        let last = number.next() == self.next;
        let ended = self.outstanding.split_off(place);
        if last {
            self.next = number;
        } else {
            self.broken = true;
        }
        // What has no room here has none for those after it either; any other reason is its own.
        let of_others = match reason {
            Some(Refusal::LogFull | Refusal::DiskFull) => reason,
            Some(Refusal::Busy | Refusal::NotYours | Refusal::Malformed | Refusal::Forbidden)
            | None => None,
        };
        let reasons = core::iter::once(reason).chain(core::iter::repeat(of_others));
        if self.outstanding.is_empty() {
            effects.push(ClientEffect::Disarm);
            self.abandoned |= self.broken;
        }
        for (one, reason) in ended.into_iter().zip(reasons) {
            if let Some(call) = one.call {
                effects.push(ClientEffect::Done { call, outcome: Outcome::NotDone(reason) });
            }
        }
    }

    /// The primary takes requests from here on: what reached it earlier may have been ignored.
    fn on_inform(&mut self, view: ViewNumber, effects: &mut Vec<ClientEffect<B>>) {
        if view < self.view {
            return;
        }
        self.view = view;
        if self.waits() {
            self.send(effects);
        }
    }

    /// A later view has another primary: what waits for an answer goes there at once.
    fn on_view(&mut self, view: ViewNumber, effects: &mut Vec<ClientEffect<B>>) {
        if view <= self.view {
            return;
        }
        self.view = view;
        if self.waits() {
            self.send(effects);
        }
    }

    // Step 3.

    fn on_timeout(&mut self, effects: &mut Vec<ClientEffect<B>>) {
        if !self.waits() {
            return;
        }
        self.attempt += 1;
        if self.session.is_none() {
            effects.push(ClientEffect::Broadcast { request: self.registration() });
        } else {
            for place in 0..self.outstanding.len() {
                let request = self.operation(place);
                effects.push(ClientEffect::Broadcast { request });
            }
        }
        effects.push(ClientEffect::Arm { attempt: self.attempt });
    }

    // Step 6.

    fn give_up(&mut self, call: CallId, effects: &mut Vec<ClientEffect<B>>) {
        let found = self.outstanding.iter().position(|one| one.call == Some(call));
        let Some(place) = found else { return };
        let one = &mut self.outstanding[place];
        let certain = match (one.copies, one.refused) {
            (0, _) | (1, Some(_)) => true,
            (_, _) => false,
        };
        if certain {
            let refused = one.refused;
            return self.end_unused(place, refused, effects);
        }
        one.call = None;
        effects.push(ClientEffect::Done { call, outcome: Outcome::Unknown });
        self.abandon_if_unwatched(effects);
    }

    fn finish(
        &mut self,
        number: RequestNumber,
        outcome: Outcome<B>,
        effects: &mut Vec<ClientEffect<B>>,
    ) {
        let found = self.outstanding.iter().position(|one| one.number == number);
        let Some(one) = found.and_then(|place| self.outstanding.remove(place)) else { return };
        self.attempt = 0;
        self.in_vain = 0;
        if self.outstanding.is_empty() {
            effects.push(ClientEffect::Disarm);
            self.abandoned |= self.broken;
        } else {
            effects.push(ClientEffect::Arm { attempt: 0 });
        }
        if let Some(call) = one.call {
            effects.push(ClientEffect::Done { call, outcome });
        }
        self.abandon_if_unwatched(effects);
    }

    /// Nobody waits for what is outstanding, and it may keep later ones waiting for ever.
    fn abandon_if_unwatched(&mut self, effects: &mut Vec<ClientEffect<B>>) {
        if !self.outstanding.is_empty() && self.outstanding.iter().all(|one| one.call.is_none()) {
            self.outstanding.clear();
            self.abandon(effects);
        }
    }

    fn abandon(&mut self, effects: &mut Vec<ClientEffect<B>>) {
        self.abandoned = true;
        effects.push(ClientEffect::Disarm);
    }

    /// Whether a request is on its way: a registration, or an operation of an open session.
    fn waits(&self) -> bool {
        !self.abandoned && (self.session.is_none() || !self.outstanding.is_empty())
    }

    /// Sends all that waits for an answer to the primary.
    fn send(&mut self, effects: &mut Vec<ClientEffect<B>>) {
        let to = self.primary();
        if self.session.is_none() {
            effects.push(ClientEffect::Send { to, request: self.registration() });
        } else {
            for place in 0..self.outstanding.len() {
                let request = self.operation(place);
                effects.push(ClientEffect::Send { to, request });
            }
        }
        effects.push(ClientEffect::Arm { attempt: self.attempt });
    }

    const fn registration(&self) -> ClientRequest<B> {
        let kind = ClientRequestKind::Register;
        ClientRequest { cluster: self.cluster, client: self.client, view: self.view, kind }
    }

    /// Another copy of an outstanding operation of the open session.
    fn operation(&mut self, place: usize) -> ClientRequest<B> {
        let lowest = self.outstanding[0].number;
        let session = self.session.expect("operations are sent in an open session");
        let one = &mut self.outstanding[place];
        one.copies += 1;
        // What was refused before was another copy, or the registration.
        one.refused = None;
        let kind = ClientRequestKind::Operation {
            session,
            number: one.number,
            // `is_ready` keeps it below the window.
            span: u8::try_from(one.number.0 - lowest.0).unwrap_or(u8::MAX),
            digest: one.digest,
            body: one.body.clone(),
        };
        ClientRequest { cluster: self.cluster, client: self.client, view: self.view, kind }
    }
}
