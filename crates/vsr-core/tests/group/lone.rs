//! One replica alone: the test plays all its peers, its disk and its service.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::collections::VecDeque;

use vsr_core::{
    Checksum, ClientId, ClientRequest, ClientRequestKind, Config, Configuration, Constants, Effect,
    Effects, Entry, Epoch, Event, Fetch, HaltReason, Header, Ignored, Incarnation, Kind, Message,
    Moment, Note, OpNumber, Release, Replica, ReplicaId, Request, RequestNumber, Session, Stored,
    StoredSlot, Subject, SuffixSlot, SuperblockState, Timer, Timestamp, ViewNumber, Write,
    WriteKind, Written,
};

use super::{Body, CLUSTER};

/// A replica, what it asked of its disk and service, and what the last event brought.
pub struct Lone {
    pub replica: Replica<Body>,
    pub writes: VecDeque<Write<Body>>,
    pub applied: Vec<Body>,
    /// The service answers at once.
    pub automatic_apply: bool,
    pub applies: VecDeque<(Entry<Body>, Vec<u32>)>,
    pub effects: Vec<Effect<Body>>,
}

pub fn constants() -> Constants {
    Constants { genesis_sessions: 9, ..Constants::DEFAULT }
}

pub fn config(count: usize, index: usize, constants: Constants) -> Config {
    let configuration = Configuration::of_replicas(count).unwrap();
    Config::new(CLUSTER, ReplicaId(index as u32), configuration, constants).unwrap()
}

impl Lone {
    /// A replica of a fresh group, started.
    pub fn new(count: usize, index: usize) -> Self {
        Self::with(config(count, index, constants()), Stored::formatted(Header::root(CLUSTER)))
    }

    /// A replica started on what its store holds.
    pub fn recover(count: usize, index: usize, stored: Stored<Body>) -> Self {
        Self::with(config(count, index, constants()), stored)
    }

    pub fn with(config: Config, stored: Stored<Body>) -> Self {
        let mut this = Self::unsynced(config, stored);
        this.sync();
        this
    }

    /// Started, but nothing is durable yet.
    pub fn unsynced(config: Config, stored: Stored<Body>) -> Self {
        let mut effects = Effects::new();
        let replica = Replica::recover(config, stored, &mut effects);
        let mut this = Self {
            replica,
            writes: VecDeque::new(),
            applied: Vec::new(),
            automatic_apply: true,
            applies: VecDeque::new(),
            effects: Vec::new(),
        };
        this.take(effects);
        this
    }

    fn take(&mut self, mut effects: Effects<Body>) {
        for effect in effects.drain() {
            if let Effect::Persist(write) = &effect {
                self.writes.push_back(write.clone());
            }
            if let Effect::Apply { entry, skip } = &effect {
                self.applies.push_back((entry.clone(), skip.clone()));
            }
            self.effects.push(effect);
        }
    }

    /// One event and the flush after it; `effects` are those of this event, and of the applies that
    /// it led to.
    pub fn step(&mut self, event: Event<Body>) {
        self.effects.clear();
        self.step_on(event);
        while self.automatic_apply && !self.applies.is_empty() {
            self.apply();
        }
    }

    fn step_on(&mut self, event: Event<Body>) {
        let mut effects = Effects::new();
        self.replica.step(event, &mut effects);
        self.replica.flush(&mut effects);
        self.take(effects);
    }

    /// What the store is asked to fetch.
    pub fn fetches(&self) -> Vec<&'static str> {
        let fetch = self.effects.iter().filter_map(|effect| {
            let Effect::Fetch(fetch) = effect else { return None };
            Some(match fetch {
                Fetch::Begin { .. } => "begin",
                Fetch::Put { .. } => "put",
                Fetch::Sync { .. } => "sync",
                Fetch::Finish { .. } => "finish",
                Fetch::Abandon => "abandon",
                Fetch::Mend { .. } => "mend",
            })
        });
        fetch.collect()
    }

    /// Whether the service is to take the state of a checkpoint.
    pub fn restores(&self) -> bool {
        self.effects.iter().any(|effect| matches!(effect, Effect::Restore { .. }))
    }

    /// The service executes one entry.
    pub fn apply(&mut self) {
        let (entry, skip) = self.applies.pop_front().unwrap();
        let mut replies = Vec::new();
        for (index, request) in (0..).zip(entry.requests()) {
            match request {
                Request::Operation { body, .. } if !skip.contains(&index) => {
                    self.applied.push(body);
                    replies.push(*body);
                }
                Request::Operation { .. } | Request::Register { .. } => {}
            }
        }
        self.step_on(Event::Applied { op: entry.header().op, replies });
    }

    pub fn hear(&mut self, from: u32, view: u64, kind: Kind<Body>) {
        self.hear_from(from, view, 1, kind);
    }

    pub fn hear_from(&mut self, from: u32, view: u64, incarnation: u64, kind: Kind<Body>) {
        let message = Message {
            cluster: CLUSTER,
            epoch: Epoch::ZERO,
            view: ViewNumber(view),
            incarnation: Incarnation(incarnation),
            kind,
        };
        self.step(Event::Message { from: ReplicaId(from), message });
    }

    pub fn request(&mut self, client: u128, number: u64, body: Body) {
        let session = Session { slot: client as u32 - 1, number: OpNumber::ZERO };
        self.operation(client, session, number, body);
    }

    pub fn operation(&mut self, client: u128, session: Session, number: u64, body: Body) {
        let kind = ClientRequestKind::Operation {
            session,
            number: RequestNumber(number),
            span: 0,
            digest: Checksum::of(body.as_bytes()),
            body,
        };
        self.client(client, kind);
    }

    pub fn client(&mut self, client: u128, kind: ClientRequestKind<Body>) {
        let request = ClientRequest {
            cluster: CLUSTER,
            client: ClientId(client),
            view: ViewNumber::ZERO,
            kind,
        };
        self.step(Event::Request {
            request,
            subject: Subject::default(),
            at: Timestamp(5),
            now: Moment::ZERO,
        });
    }

    pub fn timeout(&mut self, timer: Timer) {
        self.step(Event::Timeout(timer));
    }

    /// Completes all writes as one sync.
    pub fn sync(&mut self) {
        let written = self.writes.drain(..).map(Write::done).reduce(Written::and);
        if let Some(written) = written {
            self.step(Event::Written(written));
        }
    }

    /// Completes the oldest write alone.
    pub fn sync_one(&mut self) {
        let write = self.writes.pop_front().unwrap();
        self.step(Event::Written(write.done()));
    }

    /// What the last event made it send, to one or to all.
    pub fn sent(&self) -> Vec<&Kind<Body>> {
        let sent = self.effects.iter().filter_map(|effect| {
            let (Effect::Send { message, .. } | Effect::Broadcast { message }) = effect else {
                return None;
            };
            Some(&message.kind)
        });
        sent.collect()
    }

    /// Whom the last event made it send a message of this name.
    pub fn receivers(&self, name: &str) -> Vec<u32> {
        let sent = self.effects.iter().filter_map(|effect| {
            let Effect::Send { to, message } = effect else { return None };
            (message.kind.name() == name).then_some(to.0)
        });
        sent.collect()
    }

    pub fn ignored(&self) -> Vec<Ignored> {
        let ignored = self.effects.iter().filter_map(|effect| {
            let Effect::Note(Note::Ignored(reason)) = effect else { return None };
            Some(*reason)
        });
        ignored.collect()
    }

    /// The ops that the last event had marked as damaged on disk.
    pub fn marked_faulty(&self) -> Vec<OpNumber> {
        let marked = self.effects.iter().filter_map(|effect| {
            let Effect::Persist(write) = effect else { return None };
            let WriteKind::MarkFaulty(op) = write.kind() else { return None };
            Some(*op)
        });
        marked.collect()
    }

    pub fn halted(&self) -> Option<HaltReason> {
        self.replica.summary().halted
    }
}

/// Entries that follow `parent`, one operation of a client of its own in each.
pub fn chain(parent: &Header, view: u64, bodies: &[Body]) -> Vec<Entry<Body>> {
    let mut entries: Vec<Entry<Body>> = Vec::new();
    for body in bodies {
        let parent = entries.last().map_or(*parent, |entry| *entry.header());
        entries.push(entry(&parent, view, vec![operation(1, parent.op.0 + 1, body)]));
    }
    entries
}

pub fn operation(client: u32, number: u64, body: Body) -> Request<Body> {
    Request::Operation {
        session: Session { slot: client - 1, number: OpNumber::ZERO },
        number: RequestNumber(number),
        span: 0,
        digest: Checksum::of(body.as_bytes()),
        body,
    }
}

pub fn entry(parent: &Header, view: u64, requests: Vec<Request<Body>>) -> Entry<Body> {
    let view = ViewNumber(view);
    Entry::prepare(parent, Epoch::ZERO, view, Release::ZERO, Timestamp::ZERO, requests)
}

pub fn root() -> Header {
    Header::root(CLUSTER)
}

/// A superblock of a replica that was started once, and has changed no view since the one of its log.
pub fn superblock(view: u64, log_view: u64) -> SuperblockState {
    SuperblockState {
        incarnation: Incarnation(1),
        view: ViewNumber(view),
        log_view: ViewNumber(log_view),
        ..SuperblockState::formatted(root())
    }
}

/// A store without a checkpoint.
pub fn stored(superblock: SuperblockState, slots: Vec<StoredSlot>) -> Stored<Body> {
    Stored { superblock, slots, sessions: Vec::new(), is_checkpoint_damaged: false }
}

pub fn headers(entries: &[Entry<Body>]) -> Vec<Header> {
    entries.iter().map(|entry| *entry.header()).collect()
}

pub fn committed(header: &Header) -> vsr_core::Committed {
    vsr_core::Committed { op: header.op, checksum: header.checksum }
}

pub fn prepare(entry: &Entry<Body>, commit: &Header) -> Kind<Body> {
    Kind::Prepare { entry: entry.clone(), commit: committed(commit) }
}

pub fn start_view(entries: &[Entry<Body>], commit: u64) -> Kind<Body> {
    Kind::StartView { commit_max: OpNumber(commit), suffix: headers(entries), nonce: None }
}

/// An offer of a log from op 1 on; each mark says of an op: p present, n nack, f neither, - a gap.
pub fn do_view_change(
    log_view: u64,
    entries: &[Entry<Body>],
    marks: &str,
    commit: u64,
) -> Kind<Body> {
    let slots = entries.iter().zip(marks.chars()).map(|(entry, mark)| SuffixSlot {
        header: (mark != '-').then_some(*entry.header()),
        present: mark == 'p',
        nack: mark == 'n',
    });
    let mut suffix: Vec<SuffixSlot> = slots.collect();
    if suffix.is_empty() {
        suffix.push(SuffixSlot { header: Some(root()), present: true, nack: false });
    }
    Kind::DoViewChange {
        log_view: ViewNumber(log_view),
        op: OpNumber(marks.len() as u64),
        commit_min: OpNumber(commit),
        commit_max: OpNumber(commit),
        suffix,
    }
}
