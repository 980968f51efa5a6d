//! A small group of replicas for tests: messages, writes and applies wait until the test lets them
//! go. Tests speak to replicas through `step` alone.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

pub mod lone;

use std::collections::{BTreeMap, VecDeque};

use vsr_core::{
    Checksum, ClientId, ClientReply, ClientReplyKind, ClientRequest, ClientRequestKind, ClusterId,
    Config, Configuration, Constants, Effect, Effects, Entry, Event, Header, Kind, Message, Moment,
    Note, OpNumber, Replica, ReplicaId, RequestNumber, Session, Stored, StoredSlot, Subject,
    SuperblockState, Timer, Timestamp, ViewNumber, Write, WriteKind,
};

pub const CLUSTER: ClusterId = ClusterId(0xc1);
pub type Body = &'static str;
pub const VIEW_ZERO: ViewNumber = ViewNumber::ZERO;

/// One replica with its disk and what waits for it.
pub struct Node {
    pub replica: Option<Replica<Body>>,
    pub writes: VecDeque<Write<Body>>,
    pub applies: VecDeque<(Entry<Body>, Vec<u32>)>,
    pub armed: BTreeMap<Timer, u32>,
    pub superblock: SuperblockState,
    pub log: BTreeMap<OpNumber, Entry<Body>>,
    pub applied: Vec<Body>,
    pub notes: Vec<Note>,
    pub sent: Vec<Message<Body>>,
}

pub struct Group {
    pub nodes: Vec<Node>,
    pub links: BTreeMap<(usize, usize), VecDeque<Message<Body>>>,
    pub replies: Vec<ClientReply<Body>>,
    pub automatic_disk: bool,
    constants: Constants,
}

impl Group {
    pub fn new(count: usize) -> Self {
        let constants = Constants { genesis_sessions: 9, ..Constants::DEFAULT };
        let mut this = Self {
            nodes: Vec::new(),
            links: BTreeMap::new(),
            replies: Vec::new(),
            automatic_disk: true,
            constants,
        };
        for _ in 0..count {
            this.nodes.push(Node {
                replica: None,
                writes: VecDeque::new(),
                applies: VecDeque::new(),
                armed: BTreeMap::new(),
                superblock: SuperblockState::formatted(Header::root(CLUSTER)),
                log: BTreeMap::new(),
                applied: Vec::new(),
                notes: Vec::new(),
                sent: Vec::new(),
            });
        }
        for index in 0..count {
            this.start(index);
        }
        this
    }

    pub fn config(&self, index: usize) -> Config {
        let configuration = Configuration::of_replicas(self.nodes.len()).unwrap();
        Config::new(CLUSTER, ReplicaId(index as u32), configuration, self.constants).unwrap()
    }

    pub fn start(&mut self, index: usize) {
        let node = &self.nodes[index];
        let last = node.log.keys().last().map_or(0, |op| op.0);
        let slots = (1..=last).map(|op| match node.log.get(&OpNumber(op)) {
            Some(entry) => StoredSlot::Held(*entry.header()),
            None => StoredSlot::Empty,
        });
        let stored = Stored {
            superblock: node.superblock.clone(),
            slots: slots.collect(),
            sessions: Vec::new(),
            is_checkpoint_damaged: false,
        };
        let mut effects = Effects::new();
        let replica = Replica::recover(self.config(index), stored, &mut effects);
        let node = &mut self.nodes[index];
        node.replica = Some(replica);
        node.applied.clear();
        self.carry_out(index, effects);
    }

    pub fn crash(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        node.replica = None;
        node.writes.clear();
        node.applies.clear();
        node.armed.clear();
    }

    pub fn replica(&self, index: usize) -> &Replica<Body> {
        self.nodes[index].replica.as_ref().expect("it runs")
    }

    pub fn step(&mut self, index: usize, event: Event<Body>) {
        let Some(replica) = &mut self.nodes[index].replica else {
            return;
        };
        let mut effects = Effects::new();
        replica.step(event, &mut effects);
        replica.flush(&mut effects);
        self.carry_out(index, effects);
    }

    fn carry_out(&mut self, index: usize, mut effects: Effects<Body>) {
        let count = self.nodes.len();
        for effect in effects.drain() {
            let node = &mut self.nodes[index];
            match effect {
                Effect::Send { to, message } => {
                    node.sent.push(message.clone());
                    self.links.entry((index, to.0 as usize)).or_default().push_back(message);
                }
                Effect::Broadcast { message } => {
                    node.sent.push(message.clone());
                    for to in (0..count).filter(|to| *to != index) {
                        self.links.entry((index, to)).or_default().push_back(message.clone());
                    }
                }
                Effect::Reply(reply) => self.replies.push(reply),
                Effect::Inform { .. } => {}
                Effect::Query(query) => {
                    let applied = node.applies.is_empty();
                    assert!(applied, "this driver executes before it answers reads");
                    self.replies.push(query.answer(|operation| Some(*operation)));
                }
                Effect::Persist(write) => node.writes.push_back(write),
                Effect::Predict { .. } | Effect::Combine { .. } | Effect::Check { .. } => {
                    unreachable!("no value is wanted");
                }
                Effect::Checkpoint { .. }
                | Effect::Serve { .. }
                | Effect::Fetch(_)
                | Effect::Restore { .. } => unreachable!("no interval is set"),
                Effect::ReadEntries { first, last } => {
                    let entries = node.log.range(first..=last).map(|(_, e)| e.clone()).collect();
                    let event = Event::EntriesRead { entries, faulty: Vec::new() };
                    self.step(index, event);
                }
                Effect::Apply { entry, skip } => node.applies.push_back((entry, skip)),
                Effect::Arm { timer, attempt } => {
                    node.armed.insert(timer, attempt);
                }
                Effect::Disarm(timer) => {
                    node.armed.remove(&timer);
                }
                Effect::Note(note) => node.notes.push(note),
                Effect::Halt(reason) => panic!("r{index} halted: {reason}"),
            }
        }
        if self.automatic_disk {
            self.sync(index);
        }
        self.apply(index);
    }

    /// Completes all writes of a replica, as one sync.
    pub fn sync(&mut self, index: usize) {
        let writes: Vec<Write<Body>> = self.nodes[index].writes.drain(..).collect();
        let mut written = None;
        for write in writes {
            let node = &mut self.nodes[index];
            match write.kind() {
                WriteKind::Append(entries) => {
                    for entry in entries {
                        node.log.insert(entry.header().op, entry.clone());
                    }
                }
                WriteKind::Superblock(state) => node.superblock = (**state).clone(),
                WriteKind::MarkFaulty(_) => {}
            }
            let done = write.done();
            written = Some(match written {
                None => done,
                Some(earlier) => vsr_core::Written::and(earlier, done),
            });
        }
        if let Some(written) = written {
            self.step(index, Event::Written(written));
        }
    }

    fn apply(&mut self, index: usize) {
        while let Some((entry, skip)) = self.nodes[index].applies.pop_front() {
            let mut replies = Vec::new();
            for (i, request) in (0..).zip(entry.requests()) {
                if let vsr_core::Request::Operation { body, .. } = request
                    && !skip.contains(&i)
                {
                    self.nodes[index].applied.push(body);
                    replies.push("ok");
                }
            }
            self.step(index, Event::Applied { op: entry.header().op, replies });
        }
    }

    pub fn request(&mut self, to: usize, client: u128, number: u64, body: Body) {
        let request = ClientRequest {
            cluster: CLUSTER,
            client: ClientId(client),
            view: ViewNumber::ZERO,
            kind: ClientRequestKind::Operation {
                session: Session { slot: client as u32 - 1, number: OpNumber::ZERO },
                number: RequestNumber(number),
                span: 0,
                digest: Checksum::of(body.as_bytes()),
                body,
            },
        };
        self.step(
            to,
            Event::Request {
                request,
                subject: Subject::default(),
                at: Timestamp(5),
                now: Moment::ZERO,
            },
        );
    }

    /// Delivers one message from a link.
    pub fn deliver(&mut self, from: usize, to: usize) -> Option<Kind<Body>> {
        let message = self.links.get_mut(&(from, to))?.pop_front()?;
        let kind = message.kind.clone();
        self.step(to, Event::Message { from: ReplicaId(from as u32), message });
        Some(kind)
    }

    /// Delivers until nothing moves.
    pub fn settle(&mut self) {
        for _ in 0..100_000 {
            let next = self.links.iter().find(|(_, queue)| !queue.is_empty());
            let Some(((from, to), _)) = next else { return };
            let (from, to) = (*from, *to);
            self.deliver(from, to);
        }
        panic!("the group does not come to rest");
    }

    pub fn timeout(&mut self, index: usize, timer: Timer) {
        assert!(self.nodes[index].armed.remove(&timer).is_some(), "{timer} is not armed");
        self.step(index, Event::Timeout(timer));
    }

    pub fn drop_all(&mut self) {
        self.links.clear();
    }

    /// How many operations were answered, each counted once.
    pub fn reply_count(&self) -> usize {
        let answered = self.replies.iter().filter_map(|reply| match reply.kind {
            ClientReplyKind::Reply { session, number, .. } => Some((session, number)),
            ClientReplyKind::Registered { .. }
            | ClientReplyKind::Evicted { .. }
            | ClientReplyKind::Redirect { .. }
            | ClientReplyKind::Refused { .. }
            | ClientReplyKind::ReadReply { .. }
            | ClientReplyKind::ReadRefused { .. } => None,
        });
        answered.collect::<std::collections::BTreeSet<_>>().len()
    }
}
