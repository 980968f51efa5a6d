//! One replica with its store and service, as a value: what an event makes of it depends on nothing
//! else, so that each such step is computed once however many states of the group contain it.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use vsr_core::{
    Checksum, ClientReplyKind, ClientRequest, Config, Effect, Effects, Event, KeptReply, Kind,
    Message, Moment, OpNumber, Replica, ReplicaId, Service as _, StatusName, Subject, Summary,
    SuperblockState, Timer, Timestamp, Write, WriteKind, Written, apply,
};
use vsr_kv::KeyValue;

use crate::explore::hash::Wide;
use crate::simulate::panic_message;
use crate::world::choice::Tear;
use crate::world::store::{MemoryStore, Store};

/// Events that one choice may bring to one replica by its own disk and service. More is a loop.
const EVENTS_MAX: usize = 10_000;

/// A replica, its disk, its service.
#[derive(Clone)]
pub(super) struct Node {
    /// `None` while the process is dead.
    pub(super) replica: Option<Replica<Bytes>>,
    pub(super) store: MemoryStore,
    /// What waits for the disk, in the order in which the replica asked.
    pub(super) pending: VecDeque<Write<Bytes>>,
    service: KeyValue,
    /// Armed timers, by [`Timer::index`].
    armed: u64,
    /// The log view on its disk when this life began; `None` in the first one.
    born_in: Option<u64>,
    /// Of all of the above.
    pub(super) hash: u128,
}

/// What happens to a node.
#[derive(Clone, Debug)]
pub(super) enum Happening {
    Arrival { from: ReplicaId, message: Message<Bytes> },
    Request(ClientRequest<Bytes>),
    Timeout(Timer),
    Fsync,
    Crash,
    Restart,
}

/// A message to one, or to all.
pub(super) type Posted = (Option<ReplicaId>, Message<Bytes>);

/// What a step made of a node, and what the rest of the group, or who judges it, sees of that.
pub(super) struct Outcome {
    pub(super) node: Node,
    pub(super) sent: Vec<Posted>,
    pub(super) seen: Seen,
}

/// A START-VIEW.
#[derive(Clone, Debug)]
pub(super) struct Started {
    pub(super) view: u64,
    /// The end of its log.
    pub(super) suffix: Vec<(u64, Checksum)>,
    /// It answers a question.
    pub(super) asked: bool,
}

/// What is judged against the rest of the group.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Another entry was written over this one: op, checksum, and the log view in memory.
    pub(super) overwritten: Vec<(u64, Checksum, u64)>,
    /// In a view it said that it holds all of this durably, from op 1 on.
    pub(super) held: Vec<(u64, Vec<Checksum>)>,
    pub(super) executed: Vec<Executed>,
    /// Clients that were told that their request is done, and the op that had it.
    pub(super) replied: Vec<(u32, u64)>,
    /// Views of which it said START-VIEW.
    pub(super) started: Vec<Started>,
    /// PREPAREs: view, op, checksum.
    pub(super) prepared: Vec<(u64, u64, Checksum)>,
    /// Logs that it offered: log view, op.
    pub(super) offered: Vec<(u64, u64)>,
    /// The view it was in, where it entered another.
    pub(super) left: Option<u64>,
    /// What is wrong whatever the rest of the group does.
    pub(super) broken: Option<String>,
}

/// An entry that was executed.
#[derive(Clone, Debug)]
pub(super) struct Executed {
    pub(super) op: u64,
    pub(super) checksum: Checksum,
    /// Of the replies and the service's state afterwards.
    pub(super) digest: u128,
    /// Of the client-table afterwards, where nothing more was executed in the step.
    pub(super) table: Option<u128>,
    /// Clients whose requests it executed, a bit each.
    pub(super) clients: u64,
}

impl Node {
    /// A freshly formatted replica, started for the first time; its messages are lost.
    pub(super) fn format(config: &Config) -> (Self, Vec<Posted>) {
        let node = Self {
            replica: None,
            store: MemoryStore::format(config),
            pending: VecDeque::new(),
            service: KeyValue::new(),
            armed: 0,
            born_in: None,
            hash: 0,
        };
        let mut run = Run::new(node, false);
        run.node.replica = Some(Replica::new(config.clone(), &mut run.effects));
        run.go(None);
        let outcome = run.end();
        (outcome.node, outcome.sent)
    }

    pub(super) const fn is_live(&self) -> bool {
        self.replica.is_some()
    }

    pub(super) fn superblock(&self) -> &SuperblockState {
        self.store.superblock()
    }

    /// What its disk durably holds at an op.
    pub(super) fn on_disk(&self, op: u64) -> Option<Checksum> {
        self.store.entry(OpNumber(op)).map(|entry| entry.header().checksum)
    }

    pub(super) const fn is_armed(&self, timer: Timer) -> bool {
        self.armed & (1 << timer.index()) != 0
    }

    /// Where it is primary: its view, and up to which op it counts its own copy.
    fn own_copies(&self) -> Option<(u64, u64)> {
        let summary = self.replica.as_ref()?.summary();
        let acts =
            summary.status == StatusName::Primary && self.superblock().log_view == summary.view;
        acts.then_some((summary.view.0, summary.durable.0))
    }

    fn compute_hash(&self) -> u128 {
        let mut hasher = Wide::new();
        self.replica.hash(&mut hasher);
        self.store.hash(&mut hasher);
        self.pending.hash(&mut hasher);
        hasher.write_u128(self.service.digest().0);
        hasher.write_u64(self.armed);
        self.born_in.hash(&mut hasher);
        hasher.wide()
    }

    /// What becomes of the node. With `slow`, writes wait until the disk is told to complete them.
    pub(super) fn step(self: &Arc<Self>, config: &Config, slow: bool, what: &Happening) -> Outcome {
        let mut run = Run::new((**self).clone(), slow);
        let stepped = catch_unwind(AssertUnwindSafe(|| {
            run.happen(config, what);
        }));
        if let Err(panic) = stepped {
            run.fail("panic", &panic_message(panic.as_ref()));
        }
        run.end()
    }
}

/// A step on its way.
struct Run {
    node: Node,
    slow: bool,
    effects: Effects<Bytes>,
    events: VecDeque<Event<Bytes>>,
    sent: Vec<Posted>,
    seen: Seen,
    /// The last op executed in this life.
    applied: u64,
    /// View and op of the own copies that a primary was seen to hold already.
    own_copies: (u64, u64),
    halted: bool,
}

impl Run {
    fn new(node: Node, slow: bool) -> Self {
        let applied = node.replica.as_ref().map_or(0, |replica| replica.summary().commit_min.0);
        let own_copies = node.own_copies().unwrap_or_default();
        Self {
            node,
            slow,
            effects: Effects::new(),
            events: VecDeque::new(),
            sent: Vec::new(),
            seen: Seen::default(),
            applied,
            own_copies,
            halted: false,
        }
    }

    fn end(mut self) -> Outcome {
        self.node.hash = self.node.compute_hash();
        Outcome { node: self.node, sent: self.sent, seen: self.seen }
    }

    fn fail(&mut self, invariant: &str, what: &str) {
        if self.seen.broken.is_none() {
            self.seen.broken = Some(format!("{invariant}: {what}"));
        }
    }

    fn happen(&mut self, config: &Config, what: &Happening) {
        let before = self.node.replica.as_ref().map(Replica::summary);
        let event = match what {
            Happening::Arrival { from, message } => {
                Some(Event::Message { from: *from, message: message.clone() })
            }
            Happening::Request(request) => Some(Event::Request {
                request: request.clone(),
                subject: Subject::default(),
                at: Timestamp::ZERO,
                now: Moment::ZERO,
            }),
            Happening::Timeout(timer) => {
                self.node.armed &= !(1 << timer.index());
                Some(Event::Timeout(*timer))
            }
            Happening::Fsync => {
                let write = self.node.pending.pop_front();
                write.map(|write| Event::Written(self.land(write)))
            }
            Happening::Crash => return self.crash(),
            Happening::Restart => {
                self.restart(config);
                None
            }
        };
        self.go(event);
        if let Some(before) = before {
            self.check_numbers(&before);
        }
    }

    fn crash(&mut self) {
        self.node.store.crash(Tear::None, None, &[]);
        self.node.replica = None;
        self.node.pending.clear();
        self.node.service = KeyValue::new();
        self.node.armed = 0;
    }

    fn restart(&mut self, config: &Config) {
        match self.node.store.open(config) {
            Ok(stored) => {
                self.node.born_in = Some(stored.superblock.log_view.0);
                let replica = Replica::recover(config.clone(), stored, &mut self.effects);
                self.node.replica = Some(replica);
            }
            Err(why) => self.fail("S7", &why),
        }
    }

    /// Steps the replica until nothing waits for it.
    fn go(&mut self, event: Option<Event<Bytes>>) {
        self.events.extend(event);
        let mut steps = 0;
        loop {
            self.carry_out_all();
            let (Some(event), Some(replica)) = (self.events.pop_front(), &mut self.node.replica)
            else {
                return;
            };
            steps += 1;
            assert!(steps <= EVENTS_MAX, "the replica, its disk and its service never rest");
            replica.step(event, &mut self.effects);
            replica.flush(&mut self.effects);
        }
    }

    fn carry_out_all(&mut self) {
        self.see_own_copy();
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.drain() {
            self.carry_out(effect);
        }
        self.effects = effects;
        if !self.slow {
            let mut written: Option<Written> = None;
            while let Some(write) = self.node.pending.pop_front() {
                let done = self.land(write);
                written = Some(match written {
                    Some(earlier) => earlier.and(done),
                    None => done,
                });
            }
            self.events.extend(written.map(Event::Written));
        }
        if self.halted {
            self.node.replica = None;
        }
        self.check_primary();
    }

    fn carry_out(&mut self, effect: Effect<Bytes>) {
        match effect {
            Effect::Send { to, message } => self.send(Some(to), message),
            Effect::Broadcast { message } => self.send(None, message),
            Effect::Reply(reply) => {
                if let ClientReplyKind::Reply { op, .. } = reply.kind {
                    self.seen.replied.push((reply.client.0 as u32, op.0));
                }
            }
            Effect::Persist(write) => self.node.pending.push_back(write),
            Effect::Apply { entry, skip } => {
                let replies = apply(&mut self.node.service, &entry, &skip);
                let header = *entry.header();
                let op = header.op;
                if op.0 != self.applied + 1 {
                    self.fail("S6", &format!("{op} is executed after {}", self.applied));
                }
                self.applied = op.0;
                let done = (0..).zip(entry.requests()).filter(|(place, _)| !skip.contains(place));
                let clients = done.filter_map(|(_, request)| match request {
                    vsr_core::Request::Operation { session, .. } => Some(1 << session.slot),
                    vsr_core::Request::Register { .. } => None,
                });
                self.seen.executed.push(Executed {
                    op: op.0,
                    checksum: header.checksum,
                    digest: Wide::of(&(&replies, &skip, self.node.service.digest())),
                    table: None,
                    clients: clients.fold(0, |all, client: u64| all | client),
                });
                self.events.push_back(Event::Applied { op, replies });
            }
            Effect::Serve { to, wanted } => {
                let answer = self.node.store.serve(wanted);
                if let Ok(answer) = answer {
                    self.events.push_back(Event::Served { to, answer });
                }
            }
            Effect::Fetch(fetch) => {
                if let Ok(Some(fetched)) = self.node.store.fetch(&fetch) {
                    self.events.push_back(Event::Fetched(fetched));
                }
            }
            // A store in memory refuses to fetch, so that nothing is ever restored.
            Effect::Restore { .. } => self.fail("S2", "it restores what it never fetched"),
            Effect::Checkpoint { header, .. } => {
                self.events.push_back(Event::Checkpointed { op: header.op, id: None });
            }
            Effect::Predict { .. } | Effect::Combine { .. } | Effect::Check { .. } => {
                self.fail("S2", "it wants a value that no service asked for");
            }
            Effect::Arm { timer, .. } => self.node.armed |= 1 << timer.index(),
            Effect::Disarm(timer) => self.node.armed &= !(1 << timer.index()),
            Effect::ReadEntries { first, last } => {
                let (entries, faulty) = self.node.store.read(first, last);
                self.events.push_back(Event::EntriesRead { entries, faulty });
            }
            // Nobody reads in an exploration but through the log.
            Effect::Query(_) | Effect::Inform { .. } | Effect::Note(_) => {}
            Effect::Halt(reason) => {
                self.halted = true;
                self.fail("S1", &format!("it halted: {reason}"));
            }
        }
    }

    /// Makes a write durable.
    fn land(&mut self, write: Write<Bytes>) -> Written {
        if let WriteKind::Append(entries) = write.kind() {
            let log_view = self.node.replica.as_ref().map_or(0, |r| r.summary().log_view.0);
            for entry in entries {
                let op = entry.header().op.0;
                let old = self.node.on_disk(op).filter(|old| *old != entry.header().checksum);
                self.seen.overwritten.extend(old.map(|old| (op, old, log_view)));
            }
        }
        if let WriteKind::Superblock(state) = write.kind() {
            let on_disk = self.node.superblock();
            let rank = |state: &SuperblockState| (state.incarnation, state.view, state.log_view);
            if rank(state) < rank(on_disk) || state.log_view < on_disk.log_view {
                self.fail("S10", "it writes an older superblock");
            }
        }
        let landed = self.node.store.write(write.kind()).and_then(|()| self.node.store.sync());
        if let Err(why) = landed {
            self.fail("S21", &why);
        }
        write.done()
    }

    /// S9 to S11: what is said is durable, at the door through which it leaves. A promise is kept by
    /// whoever acts only in the view that its disk is in, since that only rises.
    fn send(&mut self, to: Option<ReplicaId>, message: Message<Bytes>) {
        let view = message.view.0;
        let disk = self.node.superblock();
        let (entered, log_view, incarnation) = (disk.view.0, disk.log_view.0, disk.incarnation);
        let in_memory = self.node.replica.as_ref().map_or(0, |r| r.summary().log_view.0);
        let acts = entered == view && log_view == view;
        let speaks = |said: u64| {
            entered >= view && (said <= log_view || (said == view && said <= in_memory))
        };
        let right = match &message.kind {
            Kind::Prepare { entry, .. } => {
                let header = entry.header();
                self.seen.prepared.push((view, header.op.0, header.checksum));
                acts
            }
            Kind::PrepareOk { op, checksum, .. } => {
                self.hold(view, op.0, *checksum);
                acts
            }
            Kind::Commit { .. } => acts,
            Kind::StartView { suffix, nonce, .. } => {
                let suffix = suffix.iter().map(|header| (header.op.0, header.checksum)).collect();
                self.seen.started.push(Started { view, suffix, asked: nonce.is_some() });
                acts
            }
            Kind::DoViewChange { log_view: offered, op, .. } => {
                self.seen.offered.push((offered.0, op.0));
                entered >= view && offered.0 == log_view
            }
            Kind::StartViewChange { log_view: said } => speaks(said.0),
            Kind::Ping { log_view: said, .. } => speaks(said.0),
            Kind::GetView { .. }
            | Kind::GetHeaders { .. }
            | Kind::Headers { .. }
            | Kind::GetEntry { .. }
            | Kind::Entry { .. }
            | Kind::Nack { .. }
            | Kind::GetCheckpoint { .. }
            | Kind::Checkpoint { .. }
            | Kind::GetChunk { .. }
            | Kind::Chunk { .. }
            | Kind::NoChunk { .. }
            | Kind::Recovery { .. } => true,
            Kind::ReadProbe { .. }
            | Kind::ReadOk { .. }
            | Kind::RecoveryResponse { .. }
            | Kind::PreStep { .. }
            | Kind::PreStepOk { .. } => acts,
        };
        if !right || message.incarnation > incarnation {
            let name = message.kind.name();
            let what = format!(
                "it sends {name} in view {view}, and its disk says {entered}, log view {log_view}"
            );
            self.fail("S10", &what);
        }
        self.sent.push((to, message));
    }

    /// The primary's own copy counts when it is durable, under the view's durable log view.
    fn see_own_copy(&mut self) {
        let Some((view, op)) = self.node.own_copies() else { return };
        let Some(replica) = &self.node.replica else { return };
        let checksum = replica.header(OpNumber(op)).map(|header| header.checksum);
        let news = std::mem::replace(&mut self.own_copies, (view, op)) != (view, op);
        if let Some(checksum) = checksum.filter(|_| news && op > 0) {
            self.hold(view, op, checksum);
        }
    }

    /// S10: what it says it holds is on its disk, down to op 1.
    fn hold(&mut self, view: u64, op: u64, checksum: Checksum) {
        let mut chain = Vec::new();
        let mut wanted = checksum;
        for op in (1..=op).rev() {
            let entry = self.node.store.entry(OpNumber(op));
            let Some(header) = entry.map(|e| *e.header()).filter(|h| h.checksum == wanted) else {
                let what = format!("it claims all up to an op, and op {op} is not durable");
                return self.fail("S10", &what);
            };
            chain.push(wanted);
            wanted = header.parent;
        }
        chain.reverse();
        if self.seen.held.last().is_none_or(|last| (last.0, &last.1) != (view, &chain)) {
            self.seen.held.push((view, chain));
        }
    }

    /// S8: a primary is the one that its view names, and no restart makes one in a view that its disk
    /// knew already.
    fn check_primary(&mut self) {
        let Some(replica) = &self.node.replica else { return };
        let summary = replica.summary();
        let view = summary.view;
        if summary.status != StatusName::Primary || self.node.superblock().log_view != view {
            return;
        }
        if replica.config().configuration().primary(view) != summary.replica {
            self.fail("S8", &format!("it is primary of view {view}, which is another's"));
        } else if self.node.born_in == Some(view.0) {
            self.fail("S8", &format!("it is primary of view {view} for a second time"));
        }
    }

    /// S5, S10: numbers are in order and only rise.
    fn check_numbers(&mut self, before: &Summary) {
        let Some(replica) = &self.node.replica else { return };
        let now = replica.summary();
        let demands = [
            (now.commit_min <= now.commit_max, "it executed more than is committed"),
            (now.commit_min <= now.op, "it executed more than its log has"),
            (now.log_view <= now.view, "its log view is ahead of its view"),
            (now.durable <= now.op, "more is durable than its log has"),
            (before.commit_min <= now.commit_min, "commit_min fell"),
            (before.commit_max <= now.commit_max, "commit_max fell"),
            (before.view <= now.view, "its view fell"),
            (before.log_view <= now.log_view, "its log view fell"),
            (before.incarnation == now.incarnation, "its incarnation changed while it lived"),
        ];
        // S20: the client-table is a function of what was executed.
        if let Some(last) = self.seen.executed.last_mut() {
            let mut hasher = Wide::new();
            for (slot, state) in replica.sessions() {
                hasher.write_u32(slot);
                (state.client, state.number, state.executed, state.last_op).hash(&mut hasher);
                for kept in &state.kept {
                    match &kept.reply {
                        KeptReply::Reply(body) => body.hash(&mut hasher),
                        KeptReply::None => hasher.write_u64(0),
                        KeptReply::TooLarge => hasher.write_u64(1),
                    }
                }
            }
            last.table = Some(hasher.wide());
        }
        self.seen.left = (before.view < now.view).then_some(before.view.0);
        if let Some((_, what)) = demands.iter().find(|(holds, _)| !holds) {
            self.fail("S5", what);
        }
    }
}

impl Seen {
    pub(super) fn is_empty(&self) -> bool {
        let Self { overwritten, held, executed, replied, started, prepared, offered, left, broken } =
            self;
        overwritten.is_empty()
            && held.is_empty()
            && executed.is_empty()
            && replied.is_empty()
            && started.is_empty()
            && prepared.is_empty()
            && offered.is_empty()
            && left.is_none()
            && broken.is_none()
    }
}
