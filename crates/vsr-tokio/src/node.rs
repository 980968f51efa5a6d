//! The event loop of one replica.
//!
//! A round:
//! 1. Wait until anything happens, then take all that waits, and step the replica for each.
//! 2. Flush once, and carry out the effects: writes go to the storage thread, messages and replies
//!    are glued together, entries are executed, which may lead to more.
//! 3. Look at the deadlines, last: a timeout is never queued.
//! 4. Hand over what was glued together: one buffer for each peer and class, one for each client.

use std::collections::VecDeque;
use std::error::Error;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use vsr_core::{
    Checkpoint, ClientReply, ClientReplyKind, ClientRequest, ClientRequestKind, DiskState, Effect,
    Effects, Entry, Event, Fetch, HaltReason, Header, Moment, Nonce, Operator, Query, ReadRefusal,
    Refusal, Replica, ReplicaId, Request, RequestNumber, Service, SessionState, StatusName,
    Timestamp, Traced, ViewNumber, Write,
};

use crate::clock::Clock;
use crate::notes::Notes;
use crate::outgoing::Outgoing;
use crate::routes::Routes;
use crate::send_points::Sent;
use crate::status::{Facts, Status};
use crate::storage_thread::{StorageFailure, StorageThread, Stored, Taken};
use crate::store::StoreError;
use crate::timers::{Alarm, Timers};
use crate::trace::Trace;
use crate::transport::{Access, ConnectionId, Identity, Incoming, Inlet, Transport};

/// The most incoming events of one round: about what is handled within a millisecond, so that a
/// flood delays neither timers nor other tasks.
const ROUND_EVENTS: usize = 512;

/// How long a primary that stops waits for another to take over: several view changes.
pub(crate) const HANDOVER_MAX: Duration = Duration::from_secs(2);

/// How long a write may take before the disk counts as stalled: ten times what a slow one does, and short enough
/// that a primary has handed its role on within five seconds.
const STALLED_AFTER: Duration = Duration::from_secs(2);

/// Why a node stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A write or a sync failed. What the disk holds is not known any more: nothing is retried.
    #[error(transparent)]
    Storage(#[from] StorageFailure),
    /// The replica has proof that its state is wrong. Nothing should start it again by itself.
    #[error("{0}")]
    Halted(HaltReason),
    /// Every [`Inbox`](crate::Inbox) is gone, and with it the network.
    #[error("the transport has stopped: start the replica again")]
    TransportGone,
}

impl NodeError {
    /// The exit status of a process that stops for this.
    #[must_use]
    pub const fn exit_status(&self) -> u8 {
        match self {
            Self::TransportGone => 3,
            Self::Halted(_) => 6,
            Self::Storage(_) => 8,
        }
    }
}

/// What a [`NodeHandle`](crate::NodeHandle) asks of its node.
#[derive(Debug)]
pub(crate) enum Control {
    Status(oneshot::Sender<Status>),
    Shutdown,
}

/// A replica with all it needs to live.
pub(crate) struct Node<T, S> {
    pub(crate) replica: Replica<Bytes>,
    pub(crate) service: S,
    pub(crate) transport: T,
    pub(crate) inlet: Inlet,
    pub(crate) storage: StorageThread,
    pub(crate) control: mpsc::Receiver<Control>,
    pub(crate) effects: Effects<Bytes>,
    pub(crate) timers: Timers,
    pub(crate) clock: Clock,
    pub(crate) trace: Option<Trace>,
    pub(crate) alarm: Alarm,
    pub(crate) routes: Routes,
    pub(crate) outgoing: Outgoing,
    pub(crate) notes: Notes,
    pub(crate) round: Round,
    pub(crate) stopping: Option<Stopping>,
    pub(crate) address: String,
    pub(crate) started: Instant,
    /// Operations executed.
    pub(crate) ops: u64,
    /// Bytes of checkpoints that came from others.
    pub(crate) transfer_bytes: u64,
    /// What the replica was told last of its disk.
    pub(crate) disk: DiskState,
    /// What the storage thread said last.
    pub(crate) room: DiskState,
    /// What was sent in the last round.
    pub(crate) sent: Sent,
}

/// What one round collects; the buffers are reused.
#[derive(Debug)]
pub(crate) struct Round {
    incoming: Vec<Incoming>,
    stored: Option<Stored>,
    asked: Option<Control>,
    writes: Vec<Write<Bytes>>,
    /// What the service is to do, in order.
    work: VecDeque<Work>,
    status_wanted: Vec<ConnectionId>,
    now: Instant,
    /// Asked for by the first timer of the round that is armed: it costs the transport a look at each
    /// of its connections.
    round_trip: Option<Duration>,
    ended: Option<NodeError>,
}

/// What the service is to do.
#[derive(Debug)]
enum Work {
    Apply(Entry<Bytes>, Vec<u32>),
    Query(Query<Bytes>),
    Predict(Nonce, Arc<[Request<Bytes>]>),
    Combine(Nonce, Arc<[Request<Bytes>]>, Vec<(ReplicaId, Bytes)>),
    Check(Entry<Bytes>),
}

impl Work {
    /// Whether it leaves the service's state as it is.
    const fn leaves_state(&self) -> bool {
        match self {
            Self::Apply(..) => false,
            Self::Query(_) | Self::Predict(..) | Self::Combine(..) | Self::Check(_) => true,
        }
    }
}

/// A stop that was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopping {
    /// The view to be left.
    view: ViewNumber,
    /// When to stop waiting for another primary.
    deadline: Instant,
}

impl Round {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            incoming: Vec::with_capacity(ROUND_EVENTS),
            stored: None,
            asked: None,
            writes: Vec::new(),
            work: VecDeque::new(),
            status_wanted: Vec::new(),
            now,
            round_trip: None,
            ended: None,
        }
    }
}

impl<T: Transport, S: Service<Bytes> + Send + 'static> Node<T, S> {
    /// Lives until it is told to stop, or cannot go on.
    ///
    /// # Errors
    /// [`NodeError`] says why it cannot.
    pub(crate) async fn run(mut self) -> Result<(), NodeError> {
        self.write_trace(Traced::START);
        loop {
            self.round();
            if let Some(error) = self.round.ended.take() {
                return Err(error);
            }
            if self.may_stop() {
                return Ok(self.storage.finish().await?);
            }
            self.wait().await;
        }
    }

    fn round(&mut self) {
        self.sent.begin_round(&self.replica);
        self.round.now = Instant::now();
        self.round.round_trip = None;
        self.take_stored();
        if self.round.ended.is_some() {
            return;
        }
        self.watch_disk();
        self.take_incoming();
        self.take_asked();
        self.settle();
        self.fire_timers();
        self.hand_over();
    }

    /// A storage thread that waits for its disk cannot say so itself.
    fn watch_disk(&mut self) {
        let stalled = self.storage.oldest_write() >= STALLED_AFTER;
        // Writes wait for room for as long as it takes.
        let stalled = stalled && self.room == DiskState::Ok;
        let disk = if stalled { DiskState::Stalled } else { self.room };
        if disk != self.disk {
            self.disk = disk;
            self.notes.disk(disk);
            self.step(Event::Disk(disk));
        }
    }

    /// Waits until anything happens, and keeps what it was for the round.
    async fn wait(&mut self) {
        self.alarm.set(self.next_deadline());
        let round = &mut self.round;
        tokio::select! {
            biased;
            taken = self.inlet.take(&mut round.incoming, ROUND_EVENTS) => {
                if taken == 0 {
                    round.ended = Some(NodeError::TransportGone);
                }
            }
            stored = self.storage.next() => round.stored = Some(stored),
            asked = self.control.recv(), if self.stopping.is_none() => {
                // Nobody holds the handle any more: nobody will ask for the stop either.
                round.asked = Some(asked.unwrap_or(Control::Shutdown));
            }
            () = self.alarm.ring() => {}
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let stop = self.stopping.map(|stopping| stopping.deadline);
        self.timers.next().into_iter().chain(stop).min()
    }

    fn step(&mut self, event: Event<Bytes>) {
        let traced = self.trace.as_ref().map(|_| Traced::of(&event));
        self.replica.step(event, &mut self.effects);
        if let Some(traced) = traced {
            self.write_trace(traced);
        }
    }

    fn write_trace(&mut self, traced: Traced) {
        if let Some(trace) = &mut self.trace {
            let (at, _) = self.clock.read();
            trace.event(at, traced, self.replica.summary());
        }
    }

    fn take_stored(&mut self) {
        let mut next = self.round.stored.take();
        while let Some(stored) = next.take().or_else(|| self.storage.try_next()) {
            match stored {
                Stored::Written(written) => self.step(Event::Written(written)),
                Stored::Read(read) => {
                    self.step(Event::EntriesRead { entries: read.entries, faulty: read.faulty });
                }
                Stored::Checkpointed { op, id } => self.step(Event::Checkpointed { op, id }),
                Stored::Served { to, answer } => self.step(Event::Served { to, answer }),
                Stored::Fetched(fetched) => self.step(Event::Fetched(fetched)),
                Stored::Damaged { id } => {
                    self.notes.damaged_checkpoint();
                    self.step(Event::CheckpointDamaged { id });
                }
                Stored::Lost(chunks) => self.service.lost(&chunks),
                Stored::Faulty { op } => self.step(Event::Faulty { op }),
                Stored::Disk(state) => self.room = state,
                Stored::Failed(failure) => {
                    self.round.ended = Some(failure.into());
                    return;
                }
            }
        }
    }

    fn take_incoming(&mut self) {
        if self.round.incoming.is_empty() {
            return;
        }
        let clocks = self.clock.read();
        let mut incoming = mem::take(&mut self.round.incoming);
        for event in incoming.drain(..) {
            match event {
                Incoming::Message { from, message } => self.step(Event::Message { from, message }),
                Incoming::Request { connection, identity, request } => {
                    self.take_request(connection, &identity, request, clocks);
                }
                Incoming::Status { connection, .. } => self.round.status_wanted.push(connection),
                Incoming::Closed { connection } => {
                    // An answer would make a place for it again that nothing ever frees.
                    self.round.status_wanted.retain(|wanted| *wanted != connection);
                    self.routes.forget(connection);
                }
            }
        }
        self.round.incoming = incoming;
    }

    fn take_request(
        &mut self,
        connection: ConnectionId,
        identity: &Arc<Identity>,
        request: ClientRequest<Bytes>,
        (at, now): (Timestamp, Moment),
    ) {
        let subject = identity.subject;
        if self.routes.learn(request.client, subject, connection).is_err() {
            self.notes.refused(&identity.name, "this client id is another's");
            return self.refuse(connection, &request, Refusal::NotYours);
        }
        if !self.is_allowed(identity.access, &request) {
            self.notes.refused(&identity.name, "its certificate allows reading only");
            return self.refuse(connection, &request, Refusal::Forbidden);
        }
        self.step(Event::Request { request, subject, at, now });
    }

    fn is_allowed(&self, access: Access, request: &ClientRequest<Bytes>) -> bool {
        match (access, &request.kind) {
            (Access::ReadOnly, ClientRequestKind::Operation { body, .. }) => {
                self.service.is_read_only(body)
            }
            (Access::ReadOnly, ClientRequestKind::Register | ClientRequestKind::Read { .. })
            | (Access::ReadWrite | Access::Admin, _) => true,
        }
    }

    fn refuse(&mut self, to: ConnectionId, request: &ClientRequest<Bytes>, reason: Refusal) {
        let kind = match request.kind {
            ClientRequestKind::Register => {
                ClientReplyKind::Refused { session: None, number: RequestNumber::ZERO, reason }
            }
            ClientRequestKind::Operation { session, number, .. } => {
                ClientReplyKind::Refused { session: Some(session), number, reason }
            }
            ClientRequestKind::Read { number, .. } => {
                ClientReplyKind::ReadRefused { number, reason: ReadRefusal::Forbidden }
            }
        };
        let summary = self.replica.summary();
        let reply = ClientReply::<Bytes> {
            cluster: request.cluster,
            epoch: summary.epoch,
            view: summary.view,
            client: request.client,
            kind,
        };
        let frames = self.routes.for_connection(to);
        if let Err(error) = vsr_wire::encode_reply(&reply, summary.replica, frames) {
            self.notes.too_large(&error);
        }
    }

    fn take_asked(&mut self) {
        let mut next = self.round.asked.take();
        while let Some(asked) = next.take().or_else(|| self.control.try_recv().ok()) {
            match asked {
                Control::Status(answer) => {
                    // Nobody waits any more if this fails.
                    let _ = answer.send(self.status());
                }
                Control::Shutdown => self.start_stopping(),
            }
        }
    }

    /// Flushes, and carries out effects until there are none.
    fn settle(&mut self) {
        loop {
            self.replica.flush(&mut self.effects);
            if self.effects.is_empty() {
                return;
            }
            self.carry_out();
            self.work();
        }
    }

    /// Carries out the effects at hand. The writes go to the storage thread first of all, which works
    /// while this thread executes entries.
    fn carry_out(&mut self) {
        let mut effects = mem::take(&mut self.effects);
        while !effects.is_empty() {
            for effect in effects.drain() {
                self.carry_out_one(effect);
            }
            // What a service answered on the way may have led to more.
            mem::swap(&mut effects, &mut self.effects);
        }
        self.effects = effects;
        if !self.round.writes.is_empty() {
            self.storage.write(mem::take(&mut self.round.writes));
        }
    }

    fn carry_out_one(&mut self, effect: Effect<Bytes>) {
        match effect {
            Effect::Send { to, message } => {
                self.sent.message(&message.kind);
                let sink = |to, class, frames| self.transport.send(to, class, frames);
                if let Err(error) = self.outgoing.send(to, &message, sink) {
                    self.notes.too_large(&error);
                }
            }
            Effect::Broadcast { message } => {
                self.sent.message(&message.kind);
                let sink = |to, class, frames| self.transport.send(to, class, frames);
                if let Err(error) = self.outgoing.broadcast(&message, sink) {
                    self.notes.too_large(&error);
                }
            }
            Effect::Reply(reply) => self.reply(&reply),
            Effect::Inform { view, primary } => self.inform(view, primary),
            Effect::Persist(write) => self.round.writes.push(write),
            Effect::ReadEntries { first, last } => self.storage.read(first, last),
            Effect::Apply { entry, skip } => self.round.work.push_back(Work::Apply(entry, skip)),
            Effect::Query(query) => self.round.work.push_back(Work::Query(query)),
            Effect::Predict { ticket, requests } => {
                self.round.work.push_back(Work::Predict(ticket, requests));
            }
            Effect::Combine { ticket, requests, values } => {
                self.round.work.push_back(Work::Combine(ticket, requests, values));
            }
            Effect::Check { entry } => self.round.work.push_back(Work::Check(entry)),
            Effect::Checkpoint { header, sessions } => {
                // The core hands nothing to the service beside this before it is answered.
                debug_assert!(
                    self.round.work.iter().all(Work::leaves_state),
                    "the state is that of the op"
                );
                self.checkpoint(header, sessions);
            }
            Effect::Serve { to, wanted } => self.storage.serve(to, wanted),
            Effect::Fetch(fetch) => {
                self.transfer_bytes += match &fetch {
                    Fetch::Begin { manifest, .. } => manifest.iter().map(Bytes::len).sum(),
                    Fetch::Put { chunk } => chunk.len(),
                    Fetch::Sync { .. }
                    | Fetch::Finish { .. }
                    | Fetch::Mend { .. }
                    | Fetch::Abandon => 0,
                } as u64;
                self.storage.fetch(fetch);
            }
            Effect::Restore { checkpoint } => {
                // Reads that were handed out before see the state of before.
                self.work();
                self.restore(&checkpoint);
            }
            Effect::Arm { timer, attempt } => {
                let transport = &self.transport;
                let round_trip =
                    self.round.round_trip.get_or_insert_with(|| transport.round_trip());
                self.timers.arm(timer, attempt, *round_trip, self.round.now);
            }
            Effect::Disarm(timer) => self.timers.disarm(timer),
            Effect::Note(note) => self.notes.note(note),
            Effect::Halt(reason) => {
                self.notes.halted(&reason);
                self.round.ended = Some(NodeError::Halted(reason));
            }
        }
    }

    fn reply(&mut self, reply: &ClientReply<Bytes>) {
        let me = self.replica.config().replica();
        let Some(frames) = self.routes.for_client(reply.client) else {
            return;
        };
        self.sent.reply();
        if let Err(error) = vsr_wire::encode_reply(reply, me, frames) {
            self.notes.too_large(&error);
        }
    }

    fn inform(&self, view: ViewNumber, primary: ReplicaId) {
        let config = self.replica.config();
        let epoch = config.configuration().epoch();
        let mut frame = bytes::BytesMut::new();
        let (cluster, me) = (config.cluster(), config.replica());
        vsr_wire::encode_inform(cluster, me, epoch, view, primary, &mut frame);
        self.transport.inform(frame.freeze());
    }

    /// Freezes the service's state; the storage thread makes it durable.
    fn checkpoint(&mut self, header: Header, sessions: Vec<(u32, SessionState<Bytes>)>) {
        match self.service.checkpoint() {
            Some(chunks) => self.storage.checkpoint(Taken { header, sessions, chunks }),
            None => self.step(Event::Checkpointed { op: header.op, id: None }),
        }
    }

    /// Has the service do what was handed to it, in order.
    fn work(&mut self) {
        while let Some(work) = self.round.work.pop_front() {
            match work {
                Work::Apply(entry, skip) => {
                    let replies = vsr_core::apply(&mut self.service, &entry, &skip);
                    self.ops += replies.len() as u64;
                    self.step(Event::Applied { op: entry.header().op, replies });
                }
                Work::Query(query) => {
                    let reply = vsr_core::query(&self.service, query);
                    self.reply(&reply);
                }
                Work::Predict(ticket, requests) => {
                    let value = self.service.predict(&requests);
                    self.step(Event::Predicted { ticket, value });
                }
                Work::Combine(ticket, requests, values) => {
                    let value = self.service.combine(&requests, values);
                    self.step(Event::Predicted { ticket, value });
                }
                Work::Check(entry) => {
                    if let Some(value) = entry.prediction() {
                        let verdict = self.service.check(entry.requests(), value);
                        let (op, checksum) = (entry.header().op, entry.header().checksum);
                        self.step(Event::Checked { op, checksum, verdict });
                    }
                }
            }
        }
    }

    /// Gives the service the state of a checkpoint that was fetched. A replica that is left behind has nothing
    /// else to do meanwhile.
    fn restore(&mut self, checkpoint: &Checkpoint) {
        let read = self.storage.restore(checkpoint.id);
        let mut failed = None;
        let mut chunks = read.iter().map_while(|chunk| match chunk {
            Ok(chunk) => Some(chunk),
            Err(error) => {
                failed = Some(error);
                None
            }
        });
        let restored = self.service.restore(&mut chunks);
        let refused = restored.err().map(|error| Box::new(error) as Box<dyn Error + Send + Sync>);
        if matches!(failed, Some(StoreError::Damaged)) {
            return self.step(Event::NotRestored { id: checkpoint.id });
        }
        match failed.map(|error| Box::new(error) as Box<dyn Error + Send + Sync>).or(refused) {
            None => self.step(Event::Restored { id: checkpoint.id }),
            Some(source) => {
                self.round.ended = Some(StorageFailure::restoring(source).into());
            }
        }
    }

    /// Each due timer runs out, unless one before it was the cause that it no longer is.
    fn fire_timers(&mut self) {
        let now = Instant::now();
        self.round.now = now;
        while let Some(timer) = self.timers.take_due(now) {
            self.step(Event::Timeout(timer));
            self.settle();
        }
    }

    fn hand_over(&mut self) {
        self.answer_status();
        self.outgoing.hand_over(|to, class, frames| self.transport.send(to, class, frames));
        self.routes.drain(|to, frames| self.transport.reply(to, frames));
    }

    fn answer_status(&mut self) {
        if self.round.status_wanted.is_empty() {
            return;
        }
        let json = self.status().to_json();
        let (cluster, me) = (self.replica.config().cluster(), self.replica.config().replica());
        for connection in self.round.status_wanted.drain(..) {
            let frames = self.routes.for_connection(connection);
            if let Err(error) = vsr_wire::encode_status_reply(cluster, me, &json, frames) {
                self.notes.too_large(&error);
            }
        }
    }

    fn status(&self) -> Status {
        let facts = Facts {
            address: &self.address,
            digest: self.service.digest(),
            ops: self.ops,
            disk: self.disk,
            syncs: self.storage.counters().syncs(),
            writes: self.storage.counters().writes(),
            transfer_bytes: self.transfer_bytes,
            clients: self.routes.connections(),
            uptime_ms: self.started.elapsed().as_millis() as u64,
        };
        Status::new(self.replica.config(), &self.replica.summary(), &facts)
    }

    /// A primary gives up its role first, and waits a while for another to take it.
    fn start_stopping(&mut self) {
        if self.stopping.is_some() {
            return;
        }
        let summary = self.replica.summary();
        let is_alone = self.replica.config().configuration().members().len() == 1;
        let patience = match summary.status {
            StatusName::Primary if !is_alone => {
                self.step(Event::Operator(Operator::Abdicate));
                HANDOVER_MAX
            }
            StatusName::Primary
            | StatusName::Backup
            | StatusName::ViewChange
            | StatusName::RecoveringHead
            | StatusName::Recovering
            | StatusName::Halted => Duration::ZERO,
        };
        self.stopping = Some(Stopping { view: summary.view, deadline: self.round.now + patience });
    }

    /// Whether a stop was asked for, and the role was handed on or takes too long to.
    fn may_stop(&self) -> bool {
        self.stopping.is_some_and(|stopping| {
            let summary = self.replica.summary();
            let is_backup = summary.status == StatusName::Backup;
            (is_backup && summary.view > stopping.view) || self.round.now >= stopping.deadline
        })
    }
}
