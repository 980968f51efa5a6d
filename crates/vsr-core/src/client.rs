//! The client's half of the protocol: one session, one operation at a time.
//!
//! 1. The client registers: REGISTER goes to the primary it believes in, and a session comes back.
//! 2. It numbers its operations from 1 and sends each to the primary it believes in.
//! 3. Without an answer it sends again, from the second try on to every replica.
//! 4. Word of a later view makes it send to that view's primary at once.
//! 5. When it gives up, an operation that may have been executed, or may yet be, is unknown, and the
//!    session is abandoned with it.

use alloc::vec::Vec;

use crate::digest::Checksum;
use crate::message::{ClientReply, ClientReplyKind, ClientRequest, ClientRequestKind, Refusal};
use crate::types::{
    Body, ClientId, ClusterId, OpNumber, ReplicaId, RequestNumber, Session, ViewNumber,
};

/// A client: a session, and at most one outstanding operation.
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
    outstanding: Option<Outstanding<B>>,
    /// How often the present request was sent in vain.
    attempt: u32,
    /// Given up with an operation whose outcome is unknown.
    abandoned: bool,
    /// The latest session that is known to be gone. A late answer to an old registration, or one of a
    /// primary that has not executed the eviction yet, may still name it.
    gone: Option<OpNumber>,
    /// An operation of this session was sent more than once: word that the session is gone may answer
    /// an old copy of it.
    repeated: bool,
    /// A refusal of a number up to this may answer another copy of an earlier operation.
    doubted: RequestNumber,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Outstanding<B> {
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
    /// The caller wants an operation executed. Ignored while another is outstanding, and after the
    /// session was abandoned: see [`Client::is_ready`].
    Submit {
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
    /// The caller waits no longer.
    GiveUp,
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
    /// The outstanding operation came to an end.
    Done(Outcome<B>),
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
    /// It was not executed and never will be: refused for this reason, or never sent if `None`.
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
            outstanding: None,
            attempt: 0,
            abandoned: false,
            gone: None,
            repeated: false,
            doubted: RequestNumber::ZERO,
        }
    }

    /// Whether an operation may be submitted. It may be submitted while the session is still being
    /// registered, and is sent when it is.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        self.outstanding.is_none() && !self.abandoned
    }

    /// Whether the session was given up with an operation of unknown outcome. Such a client is done:
    /// go on with a new one, under a new id.
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

    /// The number of the outstanding operation, else of the next one.
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
            ClientEvent::Submit { body } => self.submit(body, effects),
            ClientEvent::Reply(reply) => self.on_reply(reply, effects),
            ClientEvent::Inform { view } => self.on_inform(view, effects),
            ClientEvent::Timeout => self.on_timeout(effects),
            ClientEvent::GiveUp => self.give_up(effects),
        }
    }

    fn submit(&mut self, body: B, effects: &mut Vec<ClientEffect<B>>) {
        if !self.is_ready() {
            return;
        }
        let digest = Checksum::of(body.as_ref());
        self.outstanding = Some(Outstanding { digest, body, copies: 0, refused: None });
        if self.session.is_some() {
            self.attempt = 0;
            self.send(effects);
        }
    }

    fn on_reply(&mut self, reply: ClientReply<B>, effects: &mut Vec<ClientEffect<B>>) {
        if reply.cluster != self.cluster || reply.client != self.client || self.abandoned {
            return;
        }
        match reply.kind {
            ClientReplyKind::Registered { session } => {
                self.view = self.view.max(reply.view);
                self.on_registered(session, effects);
            }
            ClientReplyKind::Reply { session, number, op, body } => {
                self.view = self.view.max(reply.view);
                if self.session == Some(session) && number == self.next {
                    self.finish(Outcome::Done { op, body }, effects);
                }
            }
            ClientReplyKind::Evicted { session } => {
                self.view = self.view.max(reply.view);
                self.on_evicted(session, effects);
            }
            ClientReplyKind::Redirect { .. } => self.on_view(reply.view, effects),
            ClientReplyKind::Refused { number, reason } => {
                self.view = self.view.max(reply.view);
                self.on_refused(number, reason, effects);
            }
            // Reads are a `Reader`'s.
            ClientReplyKind::ReadReply { .. } | ClientReplyKind::ReadRefused { .. } => {}
        }
    }

    fn on_registered(&mut self, session: Session, effects: &mut Vec<ClientEffect<B>>) {
        if self.session.is_some() || self.gone.is_some_and(|gone| session.number <= gone) {
            return;
        }
        self.session = Some(session);
        self.next = RequestNumber(1);
        self.attempt = 0;
        effects.push(ClientEffect::Disarm);
        effects.push(ClientEffect::Registered { session });
        if self.outstanding.is_some() {
            self.send(effects);
        }
    }

    /// A session that is gone is replaced by a new one. If only one copy of each operation was ever
    /// sent in it, this answers the copy of the outstanding one, which moves to the new session.
    /// Otherwise it may answer an old copy, and the outstanding operation may have been executed
    /// before the session went.
    fn on_evicted(&mut self, session: Session, effects: &mut Vec<ClientEffect<B>>) {
        if self.session != Some(session) {
            return;
        }
        self.session = None;
        self.gone = Some(session.number);
        let repeated = core::mem::take(&mut self.repeated);
        if repeated {
            self.doubted = self.doubted.max(self.next);
        }
        match &mut self.outstanding {
            Some(outstanding) if outstanding.copies > 1 || repeated => {
                self.outstanding = None;
                effects.push(ClientEffect::Done(Outcome::Unknown));
            }
            Some(outstanding) => outstanding.copies = 0,
            None => {}
        }
        self.next = RequestNumber(1);
        self.attempt = 0;
        self.send(effects);
    }

    fn on_refused(
        &mut self,
        number: RequestNumber,
        reason: Refusal,
        effects: &mut Vec<ClientEffect<B>>,
    ) {
        let expected = if self.session.is_some() { self.next } else { RequestNumber::ZERO };
        if number != expected || (self.session.is_some() && number <= self.doubted) {
            return;
        }
        let Some(outstanding) = &mut self.outstanding else {
            return;
        };
        outstanding.refused = Some(reason);
        let final_everywhere = match reason {
            Refusal::NotYours | Refusal::Malformed | Refusal::Forbidden => true,
            Refusal::LogFull | Refusal::DiskFull => outstanding.copies <= 1,
            Refusal::Busy => false,
        };
        if final_everywhere {
            if outstanding.copies > 1 {
                self.doubted = self.doubted.max(number);
            }
            self.outstanding = None;
            // A registration goes on: the next operation needs the session.
            if self.session.is_some() {
                effects.push(ClientEffect::Disarm);
            }
            effects.push(ClientEffect::Done(Outcome::NotDone(Some(reason))));
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

    fn on_timeout(&mut self, effects: &mut Vec<ClientEffect<B>>) {
        if !self.waits() {
            return;
        }
        self.attempt += 1;
        let request = self.request();
        self.count_copy();
        effects.push(ClientEffect::Broadcast { request });
        effects.push(ClientEffect::Arm { attempt: self.attempt });
    }

    fn give_up(&mut self, effects: &mut Vec<ClientEffect<B>>) {
        let Some(outstanding) = self.outstanding.take() else {
            return;
        };
        let certain = match (outstanding.copies, outstanding.refused) {
            (0, _) | (1, Some(_)) => true,
            (_, _) => false,
        };
        if certain {
            if self.session.is_some() {
                effects.push(ClientEffect::Disarm);
            }
            effects.push(ClientEffect::Done(Outcome::NotDone(outstanding.refused)));
        } else {
            self.abandoned = true;
            effects.push(ClientEffect::Disarm);
            effects.push(ClientEffect::Done(Outcome::Unknown));
        }
    }

    fn finish(&mut self, outcome: Outcome<B>, effects: &mut Vec<ClientEffect<B>>) {
        if self.outstanding.take().is_some() {
            self.next = self.next.next();
            self.attempt = 0;
            effects.push(ClientEffect::Disarm);
            effects.push(ClientEffect::Done(outcome));
        }
    }

    /// Whether a request is on its way: a registration, or an operation of an open session.
    const fn waits(&self) -> bool {
        !self.abandoned && (self.session.is_none() || self.outstanding.is_some())
    }

    fn send(&mut self, effects: &mut Vec<ClientEffect<B>>) {
        let to = self.primary();
        let request = self.request();
        self.count_copy();
        effects.push(ClientEffect::Send { to, request });
        effects.push(ClientEffect::Arm { attempt: self.attempt });
    }

    fn count_copy(&mut self) {
        if self.session.is_none() {
            return;
        }
        if let Some(outstanding) = &mut self.outstanding {
            outstanding.copies += 1;
            // What was refused before was another copy, or the registration.
            outstanding.refused = None;
            self.repeated |= outstanding.copies > 1;
        }
    }

    fn request(&self) -> ClientRequest<B> {
        let kind = match (&self.session, &self.outstanding) {
            (Some(session), Some(outstanding)) => ClientRequestKind::Operation {
                session: *session,
                number: self.next,
                digest: outstanding.digest,
                body: outstanding.body.clone(),
            },
            (_, _) => ClientRequestKind::Register,
        };
        ClientRequest { cluster: self.cluster, client: self.client, view: self.view, kind }
    }
}
