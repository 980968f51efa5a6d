//! The task that owns a client's sessions.
//!
//! A round: take every answer and every command that waits, look at the deadlines, give calls that
//! wait to sessions that are free, send what that led to in one buffer for each replica.

use std::collections::{HashMap, VecDeque};
use std::mem;

use bytes::{Bytes, BytesMut};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use vsr_core::{
    CallId, ClientEffect, ClientEvent, ClientId, Outcome, ReaderEffect, ReplicaId, ViewNumber,
};

use super::reads::Reads;
use super::session::{Call, Session};
use super::{CALLS_WAITING_MAX, CallOutcome, ClientConfig, NotDone, ReadOptions, ReadResult};
use crate::dice::Dice;
use crate::timers::Alarm;
use crate::transport::{Answer, ClientTransport, FromReplica};

/// The most answers or commands of one round.
const ROUND_EVENTS: usize = 512;

/// What a [`Client`](super::Client) asks of its pool.
#[derive(Debug)]
pub(super) enum Command {
    Call {
        operation: Bytes,
        deadline: Instant,
        answer: oneshot::Sender<CallOutcome>,
    },
    Read {
        operation: Bytes,
        options: ReadOptions,
        deadline: Instant,
        answer: oneshot::Sender<ReadResult>,
    },
    Status {
        replica: ReplicaId,
        deadline: Instant,
        /// `None` when the deadline has passed.
        answer: oneshot::Sender<Option<Bytes>>,
    },
}

struct StatusCall {
    replica: ReplicaId,
    deadline: Instant,
    answer: oneshot::Sender<Option<Bytes>>,
}

pub(super) struct Pool<T> {
    config: ClientConfig,
    transport: T,
    answers: mpsc::Receiver<FromReplica>,
    commands: mpsc::Receiver<Command>,
    sessions: Vec<Session>,
    /// Where a session is found by the id of its core.
    places: HashMap<ClientId, usize>,
    /// Places of sessions that may take a call, the one used last on top; each once.
    free: Vec<usize>,
    waiting: VecDeque<Call>,
    /// Calls to be made again, in the order in which they were made: before those that wait.
    again: Vec<Call>,
    status_calls: Vec<StatusCall>,
    reads: Reads,
    /// The latest view heard of, for sessions to come.
    view: ViewNumber,
    /// A lower bound of all deadlines; `None` where there is none.
    wake_at: Option<Instant>,
    alarm: Alarm,
    dice: Dice,
    frames: Frames,
    effects: Vec<ClientEffect<Bytes>>,
    answered: Vec<FromReplica>,
    commanded: Vec<Command>,
}

/// What waits for the end of the round.
#[derive(Default)]
struct Frames {
    /// For every replica.
    shared: BytesMut,
    own: Vec<(ReplicaId, BytesMut)>,
}

impl<T: ClientTransport> Pool<T> {
    pub(super) fn new(
        config: ClientConfig,
        transport: T,
        answers: mpsc::Receiver<FromReplica>,
        commands: mpsc::Receiver<Command>,
    ) -> Self {
        Self {
            config,
            transport,
            answers,
            commands,
            sessions: Vec::new(),
            places: HashMap::new(),
            free: Vec::new(),
            waiting: VecDeque::new(),
            again: Vec::new(),
            status_calls: Vec::new(),
            reads: Reads::default(),
            view: ViewNumber::ZERO,
            wake_at: None,
            alarm: Alarm::default(),
            dice: Dice::new(),
            frames: Frames::default(),
            effects: Vec::new(),
            answered: Vec::new(),
            commanded: Vec::new(),
        }
    }

    /// Lives until every client handle or the transport is gone.
    pub(super) async fn run(mut self) {
        while self.wait().await {
            self.take_answers();
            self.take_commands();
            self.look_at_deadlines();
            self.begin_calls();
            self.carry_out_reads();
            self.hand_over();
        }
        self.close();
    }

    /// Waits until anything happens; false when nothing will any more.
    async fn wait(&mut self) -> bool {
        self.alarm.set(self.wake_at);
        let has_room = self.waiting.len() + self.reads.len() < CALLS_WAITING_MAX;
        tokio::select! {
            biased;
            taken = self.answers.recv_many(&mut self.answered, ROUND_EVENTS) => {
                self.take_waiting_commands(has_room);
                taken > 0
            }
            taken = self.commands.recv_many(&mut self.commanded, ROUND_EVENTS), if has_room => {
                taken > 0
            }
            () = self.alarm.ring() => true,
        }
    }

    /// Takes commands that wait beside the answers that woke the pool, so that both leave together.
    fn take_waiting_commands(&mut self, has_room: bool) {
        while has_room
            && self.commanded.len() < ROUND_EVENTS
            && let Ok(command) = self.commands.try_recv()
        {
            self.commanded.push(command);
        }
    }

    fn take_answers(&mut self) {
        let mut answered = mem::take(&mut self.answered);
        for FromReplica { from, answer } in answered.drain(..) {
            match answer {
                Answer::Reply(reply) => {
                    self.view = self.view.max(reply.view);
                    if reply.kind.is_of_read() {
                        self.reads.on_reply(reply);
                    } else if let Some(place) = self.places.get(&reply.client) {
                        self.step(*place, ClientEvent::Reply(reply));
                    }
                }
                Answer::Inform { view, .. } => self.on_inform(view),
                Answer::Status(json) => self.on_status(from, &json),
            }
        }
        self.answered = answered;
    }

    /// The primary of this view takes requests: sessions that wait send again, also those that knew
    /// of the view already.
    fn on_inform(&mut self, view: ViewNumber) {
        if view < self.view {
            return;
        }
        self.view = view;
        for place in 0..self.sessions.len() {
            self.step(place, ClientEvent::Inform { view });
        }
    }

    fn on_status(&mut self, from: ReplicaId, json: &Bytes) {
        for call in self.status_calls.extract_if(.., |call| call.replica == from) {
            let _ = call.answer.send(Some(json.clone()));
        }
    }

    fn take_commands(&mut self) {
        let mut commanded = mem::take(&mut self.commanded);
        for command in commanded.drain(..) {
            match command {
                Command::Call { operation, deadline, answer } => {
                    self.wake_by(deadline);
                    self.waiting.push_back(Call { operation, deadline, answer });
                }
                Command::Read { operation, options, deadline, answer } => {
                    self.reads.begin(
                        &self.config,
                        self.view,
                        operation,
                        options,
                        (deadline, answer),
                    );
                }
                Command::Status { replica, deadline, answer } => {
                    self.wake_by(deadline);
                    self.status_calls.push(StatusCall { replica, deadline, answer });
                    let frames = self.frames.for_replica(replica);
                    vsr_wire::encode_status_request(self.config.cluster, frames);
                }
            }
        }
        self.commanded = commanded;
    }

    fn wake_by(&mut self, deadline: Instant) {
        self.wake_at = Some(self.wake_at.map_or(deadline, |wake_at| wake_at.min(deadline)));
    }

    /// Does what is due, and finds the next deadline. Not before one may have passed: deadlines are
    /// mostly put off, so that this runs a few times a second, not at each call.
    fn look_at_deadlines(&mut self) {
        let now = Instant::now();
        if self.wake_at.is_none_or(|wake_at| wake_at > now) {
            return;
        }
        for place in 0..self.sessions.len() {
            while let Some(call) = self.sessions[place].overdue(now) {
                self.give_up(place, call);
            }
            if self.sessions[place].take_retry(now) {
                self.step(place, ClientEvent::Timeout);
            }
        }
        let (overdue, waiting): (VecDeque<_>, VecDeque<_>) =
            mem::take(&mut self.waiting).into_iter().partition(|call| call.deadline <= now);
        self.waiting = waiting;
        for call in overdue {
            let _ = call.answer.send(CallOutcome::NotDone(NotDone::Deadline));
        }
        for call in self.status_calls.extract_if(.., |call| call.deadline <= now) {
            let _ = call.answer.send(None);
        }
        self.reads.look_at_deadlines(now);
        let sessions = self.sessions.iter().filter_map(Session::next_deadline);
        let waiting = self.waiting.iter().map(|call| call.deadline);
        let status_calls = self.status_calls.iter().map(|call| call.deadline);
        self.wake_at =
            sessions.chain(waiting).chain(status_calls).chain(self.reads.next_deadline()).min();
    }

    /// Gives calls that wait to sessions that are free, and opens sessions while there may be more.
    fn begin_calls(&mut self) {
        while let Some(call) = self.waiting.pop_front() {
            if call.answer.is_closed() {
                continue;
            }
            let Some(place) = self.free_session() else {
                return self.waiting.push_front(call);
            };
            let mut effects = mem::take(&mut self.effects);
            self.sessions[place].begin(call, &mut effects);
            self.carry_out(place, effects);
            self.list(place);
        }
    }

    /// A session that may take a call: one that is open, else a new one where there may be more, or
    /// where one was abandoned.
    fn free_session(&mut self) -> Option<usize> {
        while let Some(place) = self.free.pop() {
            self.sessions[place].is_listed = false;
            if self.sessions[place].core().is_abandoned() {
                self.places.remove(&self.sessions[place].core().id());
                return Some(self.open_session(place));
            }
            if self.sessions[place].is_ready(self.window()) {
                return Some(place);
            }
        }
        let may_open = self.sessions.len() < self.config.sessions;
        may_open.then(|| self.open_session(self.sessions.len()))
    }

    /// Remembers a session if it may take a call.
    fn list(&mut self, place: usize) {
        let window = self.window();
        let session = &mut self.sessions[place];
        let may = session.is_ready(window) || session.core().is_abandoned();
        if may && !session.is_listed {
            session.is_listed = true;
            self.free.push(place);
        }
    }

    fn window(&self) -> u32 {
        self.config.window.max(1)
    }

    fn give_up(&mut self, place: usize, call: CallId) {
        self.step(place, ClientEvent::GiveUp { call });
    }

    /// A session under a new id, which turns to the primary of the latest view at once.
    fn open_session(&mut self, place: usize) -> usize {
        let id = ClientId(uuid::Uuid::now_v7().as_u128());
        let mut effects = mem::take(&mut self.effects);
        let replicas = &self.config.replicas;
        let mut core = vsr_core::Client::new(self.config.cluster, id, replicas, &mut effects);
        if self.view > core.view() {
            effects.clear();
            core.step(ClientEvent::Inform { view: self.view }, &mut effects);
        }
        self.places.insert(id, place);
        match self.sessions.get_mut(place) {
            Some(session) => *session = Session::new(core),
            None => self.sessions.push(Session::new(core)),
        }
        self.carry_out(place, effects);
        place
    }

    fn step(&mut self, place: usize, event: ClientEvent<Bytes>) {
        let mut effects = mem::take(&mut self.effects);
        self.sessions[place].step(event, &mut effects);
        self.carry_out(place, effects);
        self.list(place);
    }

    fn carry_out(&mut self, place: usize, mut effects: Vec<ClientEffect<Bytes>>) {
        for effect in effects.drain(..) {
            match effect {
                ClientEffect::Send { to, request } => put(&request, self.frames.for_replica(to)),
                ClientEffect::Broadcast { request } => put(&request, &mut self.frames.shared),
                ClientEffect::Arm { attempt } => {
                    let round_trip = self.transport.round_trip();
                    let dice = self.dice.throw();
                    let delay = self.config.timing.client_retry(attempt, round_trip, dice);
                    let retry_at = Instant::now() + delay;
                    self.sessions[place].retry_at(Some(retry_at));
                    self.wake_by(retry_at);
                }
                ClientEffect::Disarm => self.sessions[place].retry_at(None),
                ClientEffect::Registered { .. } => {}
                ClientEffect::Evicted { session } => {
                    tracing::info!(slot = session.slot, "a session was evicted: registering anew");
                }
                ClientEffect::Done { call, outcome } => self.finish(place, call, outcome),
            }
        }
        for call in self.again.drain(..).rev() {
            self.waiting.push_front(call);
        }
        self.effects = effects;
    }

    /// Tells the caller; or makes the call again, if it was not executed and need not be given up.
    fn finish(&mut self, place: usize, call: CallId, outcome: Outcome<Bytes>) {
        let Some(call) = self.sessions[place].take(call) else { return };
        let outcome = match outcome {
            Outcome::Done { op, body } => CallOutcome::Done { op, reply: body },
            Outcome::NotDone(Some(reason)) => CallOutcome::NotDone(NotDone::Refused(reason)),
            Outcome::NotDone(None) if self.commands.is_closed() => {
                CallOutcome::NotDone(NotDone::Closed)
            }
            Outcome::NotDone(None) if call.deadline > Instant::now() => {
                return self.again.push(call);
            }
            Outcome::NotDone(None) => CallOutcome::NotDone(NotDone::Deadline),
            Outcome::Unknown => CallOutcome::Unknown,
        };
        // A caller that is gone gave the call up.
        let _ = call.answer.send(outcome);
    }

    fn carry_out_reads(&mut self) {
        for (place, effect) in self.reads.take_effects() {
            match effect {
                ReaderEffect::Send { to, request } => put(&request, self.frames.for_replica(to)),
                ReaderEffect::Arm { attempt } => {
                    let round_trip = self.transport.round_trip();
                    let dice = self.dice.throw();
                    let delay = self.config.timing.client_retry(attempt, round_trip, dice);
                    if let Some(deadline) = self.reads.arm(place, Instant::now() + delay) {
                        self.wake_by(deadline);
                    }
                }
                ReaderEffect::Done(outcome) => self.reads.end(place, outcome),
            }
        }
    }

    fn hand_over(&mut self) {
        if !self.frames.shared.is_empty() {
            self.transport.broadcast(self.frames.shared.split().freeze());
        }
        for (replica, own) in &mut self.frames.own {
            if !own.is_empty() {
                self.transport.send(*replica, own.split().freeze());
            }
        }
    }

    /// Ends every call: nobody will answer any more.
    fn close(&mut self) {
        self.commands.close();
        while let Ok(command) = self.commands.try_recv() {
            self.commanded.push(command);
        }
        self.take_commands();
        for call in self.waiting.drain(..) {
            let _ = call.answer.send(CallOutcome::NotDone(NotDone::Closed));
        }
        for place in 0..self.sessions.len() {
            // From the last one on, so that none is made again in another session.
            while let Some(call) = self.sessions[place].latest() {
                self.give_up(place, call);
            }
        }
        self.reads.close();
    }
}

impl Frames {
    fn for_replica(&mut self, replica: ReplicaId) -> &mut BytesMut {
        let found = self.own.iter().position(|(id, _)| *id == replica);
        let place = found.unwrap_or_else(|| {
            self.own.push((replica, BytesMut::new()));
            self.own.len() - 1
        });
        &mut self.own[place].1
    }
}

fn put(request: &vsr_core::ClientRequest<Bytes>, frames: &mut BytesMut) {
    if let Err(error) = vsr_wire::encode_request(request, frames) {
        tracing::error!(%error, "a request was not sent");
    }
}
