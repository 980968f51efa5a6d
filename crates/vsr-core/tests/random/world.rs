//! A group under a random schedule: network, disks and services are played with one seed.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::callers::Caller;
use vsr_core::{
    CallId, Checksum, ClientEvent, ClientReply, ClientRequest, ClusterId, Config, Configuration,
    Constants, Effect, Effects, Entry, Event, Header, Message, Moment, OpNumber, Operator, Replica,
    ReplicaId, Request, Stored, StoredSlot, Subject, SuperblockState, Timer, Timestamp, Timing,
    Write, WriteKind, Written,
};

pub const CLUSTER: ClusterId = ClusterId(9);
/// An operation: its number among all that were ever submitted.
pub type Body = [u8; 8];

pub struct Dice(u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub fn percent(&mut self, p: u64) -> bool {
        self.below(100) < p
    }
}

#[derive(Clone)]
enum Record {
    Good(Entry<Body>),
    /// Damaged; the identity may be known.
    Bad(Option<Header>),
}

pub struct Node {
    pub replica: Option<Replica<Body>>,
    /// Counts starts: what was asked for in a former life is void.
    life: u64,
    deadlines: BTreeMap<Timer, u64>,
    writes: VecDeque<Write<Body>>,
    syncing: bool,
    superblock: SuperblockState,
    records: BTreeMap<OpNumber, Record>,
    /// How many entries its service executed, and when it is done with the last of them.
    executed: u64,
    busy_until: u64,
    slow: bool,
}

pub enum Happening {
    Deliver { from: usize, to: usize, message: Message<Body> },
    Timer { node: usize, life: u64, timer: Timer, at: u64 },
    Synced { node: usize, life: u64 },
    Applied { node: usize, life: u64, op: OpNumber, replies: Vec<Body> },
    Read { node: usize, life: u64, first: OpNumber, last: OpNumber },
    Request { to: usize, request: ClientRequest<Body> },
    Reply { reply: ClientReply<Body> },
    ClientTimer { client: usize, generation: u64 },
    Submit { client: usize },
    Fault,
}

pub struct World {
    pub seed: u64,
    pub dice: Dice,
    pub now: u64,
    pub sequence: u64,
    pub agenda: BTreeMap<(u64, u64), Happening>,
    pub nodes: Vec<Node>,
    pub callers: Vec<Caller>,
    pub constants: Constants,
    pub cut: Vec<(usize, usize)>,
    pub loss: u64,
    /// At most so many milliseconds between faults.
    pub calm: u64,
    pub damages: bool,
    pub faults: bool,
    pub next_client: u128,
    pub next_body: u64,
    /// By op: what was executed first there.
    pub canonical: BTreeMap<OpNumber, Checksum>,
    /// By operation: where it was executed.
    pub places: BTreeMap<u64, (OpNumber, u32)>,
    pub done: BTreeMap<u64, OpNumber>,
    pub not_done: Vec<u64>,
    pub finished: u64,
}

pub const MS: u64 = 1_000_000;

impl World {
    pub fn new(seed: u64, damages: bool) -> Self {
        let mut dice = Dice(seed);
        let count = [1, 2, 3, 3, 3, 4, 5, 5][dice.below(8) as usize];
        let constants = Constants {
            pipeline: [1, 1, 2, 4, 32][dice.below(5) as usize],
            batch_requests: 1 + dice.below(3) as u32,
            sessions: [1, 2, 3, 10, 10, 10][dice.below(6) as usize],
            ..Constants::DEFAULT
        };
        let mut this = Self {
            seed,
            now: 0,
            sequence: 0,
            agenda: BTreeMap::new(),
            nodes: Vec::new(),
            callers: Vec::new(),
            constants,
            cut: Vec::new(),
            loss: [0, 1, 10, 30][dice.below(4) as usize],
            calm: [40, 150, 500][dice.below(3) as usize],
            damages: damages && count > 1,
            faults: true,
            next_client: 100,
            next_body: 0,
            canonical: BTreeMap::new(),
            places: BTreeMap::new(),
            done: BTreeMap::new(),
            not_done: Vec::new(),
            finished: 0,
            dice,
        };
        for _ in 0..count {
            this.nodes.push(Node {
                replica: None,
                life: 0,
                deadlines: BTreeMap::new(),
                writes: VecDeque::new(),
                syncing: false,
                superblock: SuperblockState::formatted(Header::root(CLUSTER)),
                records: BTreeMap::new(),
                executed: 0,
                busy_until: 0,
                slow: false,
            });
        }
        for node in 0..count {
            this.start(node);
        }
        for _ in 0..4 {
            let caller = this.new_caller();
            this.callers.push(caller.0);
            let client = this.callers.len() - 1;
            this.carry_out_client(client, caller.1);
            this.plan(MS, Happening::Submit { client });
        }
        this.plan(50 * MS, Happening::Fault);
        this
    }

    pub fn plan(&mut self, delay: u64, happening: Happening) {
        self.sequence += 1;
        self.agenda.insert((self.now + delay, self.sequence), happening);
    }

    pub fn config(&self, node: usize) -> Config {
        let configuration = Configuration::of_replicas(self.nodes.len()).unwrap();
        Config::new(CLUSTER, ReplicaId(node as u32), configuration, self.constants).unwrap()
    }

    pub fn start(&mut self, node: usize) {
        let config = self.config(node);
        let this = &mut self.nodes[node];
        let last = this.records.keys().last().map_or(0, |op| op.0);
        let slots = (1..=last).map(|op| match this.records.get(&OpNumber(op)) {
            Some(Record::Good(entry)) => StoredSlot::Held(*entry.header()),
            Some(Record::Bad(Some(header))) => StoredSlot::Faulty(*header),
            Some(Record::Bad(None)) => StoredSlot::Unreadable,
            None => StoredSlot::Empty,
        });
        let stored = Stored {
            superblock: this.superblock.clone(),
            slots: slots.collect(),
            sessions: Vec::new(),
            is_checkpoint_damaged: false,
        };
        let mut effects = Effects::new();
        this.replica = Some(Replica::recover(config, stored, &mut effects));
        this.life += 1;
        this.executed = 0;
        this.busy_until = 0;
        self.carry_out(node, effects);
    }

    /// Stops a replica: of what it asked its disk for, a part was done.
    pub fn crash(&mut self, node: usize) {
        let this = &mut self.nodes[node];
        this.replica = None;
        this.life += 1;
        this.deadlines.clear();
        this.syncing = false;
        let writes: Vec<Write<Body>> = this.writes.drain(..).collect();
        let whole = self.dice.below(writes.len() as u64 + 1) as usize;
        for write in &writes[..whole] {
            carry_out_write(&mut self.nodes[node], write);
        }
        // The next one is torn: some of its entries are there, others destroyed what they replaced.
        if let Some(WriteKind::Append(entries)) = writes.get(whole).map(Write::kind) {
            for entry in entries {
                let op = entry.header().op;
                let records = &mut self.nodes[node].records;
                match self.dice.below(3) {
                    0 => {
                        records.insert(op, Record::Good(entry.clone()));
                    }
                    1 => {
                        if let Some(Record::Good(old)) = records.get(&op) {
                            let header = *old.header();
                            records.insert(op, Record::Bad(Some(header)));
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    pub fn step(&mut self, node: usize, event: Event<Body>) {
        let flush = self.dice.percent(70);
        let mut effects = Effects::new();
        let Some(replica) = &mut self.nodes[node].replica else { return };
        replica.step(event, &mut effects);
        if flush || effects.is_empty() {
            replica.flush(&mut effects);
        } else {
            // The round goes on with what a driver may always bring.
            replica.step(Event::Disk(vsr_core::DiskState::Ok), &mut effects);
            replica.flush(&mut effects);
        }
        self.carry_out(node, effects);
    }

    pub fn carry_out(&mut self, node: usize, mut effects: Effects<Body>) {
        let life = self.nodes[node].life;
        for effect in effects.drain() {
            match effect {
                Effect::Send { to, message } => self.send(node, to.0 as usize, message),
                Effect::Broadcast { message } => {
                    for to in (0..self.nodes.len()).filter(|to| *to != node) {
                        self.send(node, to, message.clone());
                    }
                }
                Effect::Reply(reply) => {
                    if !self.dice.percent(self.loss) {
                        let delay = self.delay();
                        self.plan(delay, Happening::Reply { reply });
                    }
                }
                Effect::Inform { view, .. } => {
                    for client in 0..self.callers.len() {
                        if self.dice.percent(50) {
                            self.step_client(client, ClientEvent::Inform { view });
                        }
                    }
                }
                Effect::Persist(write) => {
                    self.nodes[node].writes.push_back(write);
                    self.sync_later(node);
                }
                Effect::Query(_) => unreachable!("nobody reads but through the log"),
                Effect::Predict { .. } | Effect::Combine { .. } | Effect::Check { .. } => {
                    unreachable!("no value is wanted");
                }
                Effect::Checkpoint { .. }
                | Effect::Serve { .. }
                | Effect::Fetch(_)
                | Effect::Restore { .. } => unreachable!("no interval is set"),
                Effect::ReadEntries { first, last } => {
                    let delay = self.delay();
                    self.plan(delay, Happening::Read { node, life, first, last });
                }
                Effect::Apply { entry, skip } => {
                    let replies = self.execute(node, &entry, &skip);
                    let op = entry.header().op;
                    // The service answers in order.
                    let at = (self.now + self.delay()).max(self.nodes[node].busy_until);
                    self.nodes[node].busy_until = at;
                    self.plan(at - self.now, Happening::Applied { node, life, op, replies });
                }
                Effect::Arm { timer, attempt } => {
                    let dice = self.dice.next();
                    let rtt = Duration::from_millis(4);
                    let delay = Timing::DEFAULT.delay(timer, attempt, rtt, dice).as_nanos() as u64;
                    let at = self.now + delay;
                    self.nodes[node].deadlines.insert(timer, at);
                    self.plan(delay, Happening::Timer { node, life, timer, at });
                }
                Effect::Disarm(timer) => {
                    self.nodes[node].deadlines.remove(&timer);
                }
                Effect::Note(_) => {}
                Effect::Halt(reason) => panic!("seed {}: r{node} halted: {reason}", self.seed),
            }
        }
    }

    pub fn execute(&mut self, node: usize, entry: &Entry<Body>, skip: &[u32]) -> Vec<Body> {
        let header = entry.header();
        let seed = self.seed;
        self.nodes[node].executed += 1;
        assert_eq!(self.nodes[node].executed, header.op.0, "seed {seed}: in order, once");
        let canonical = *self.canonical.entry(header.op).or_insert(header.checksum);
        assert_eq!(canonical, header.checksum, "seed {seed}: r{node} forks at {}", header.op);
        let mut replies = Vec::new();
        for (index, request) in (0..).zip(entry.requests()) {
            match request {
                Request::Operation { body, .. } if !skip.contains(&index) => {
                    let place = (header.op, index);
                    let first = *self.places.entry(u64::from_le_bytes(*body)).or_insert(place);
                    assert_eq!(first, place, "seed {seed}: executed twice");
                    replies.push(*body);
                }
                Request::Operation { .. } | Request::Register { .. } => {}
            }
        }
        replies
    }

    pub fn delay(&mut self) -> u64 {
        let span = if self.faults && self.dice.percent(5) { 300 } else { 3 };
        MS / 10 + self.dice.below(span * MS)
    }

    pub fn send(&mut self, from: usize, to: usize, message: Message<Body>) {
        if self.cut.contains(&(from, to)) || (self.faults && self.dice.percent(self.loss)) {
            return;
        }
        if self.faults && self.dice.percent(3) {
            let delay = self.delay();
            self.plan(delay, Happening::Deliver { from, to, message: message.clone() });
        }
        let delay = self.delay();
        self.plan(delay, Happening::Deliver { from, to, message });
    }

    pub fn sync_later(&mut self, node: usize) {
        let this = &mut self.nodes[node];
        if this.syncing || this.writes.is_empty() {
            return;
        }
        this.syncing = true;
        let life = this.life;
        let span = if this.slow { 800 } else { 4 };
        let delay = MS / 10 + self.dice.below(span * MS);
        self.plan(delay, Happening::Synced { node, life });
    }

    pub fn synced(&mut self, node: usize) {
        let count = 1 + self.dice.below(self.nodes[node].writes.len() as u64);
        let writes: Vec<Write<Body>> = self.nodes[node].writes.drain(..count as usize).collect();
        for write in &writes {
            carry_out_write(&mut self.nodes[node], write);
        }
        self.nodes[node].syncing = false;
        self.sync_later(node);
        let written = writes.into_iter().map(Write::done).reduce(Written::and).unwrap();
        self.step(node, Event::Written(written));
    }

    pub fn read(&mut self, node: usize, first: OpNumber, last: OpNumber) {
        let mut entries = Vec::new();
        let mut faulty = Vec::new();
        for (op, record) in self.nodes[node].records.range(first..=last) {
            match record {
                Record::Good(entry) => entries.push(entry.clone()),
                Record::Bad(_) => faulty.push(*op),
            }
        }
        self.step(node, Event::EntriesRead { entries, faulty });
    }

    pub fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Deliver { from, to, message } => {
                if !self.cut.contains(&(from, to)) {
                    self.step(to, Event::Message { from: ReplicaId(from as u32), message });
                }
            }
            Happening::Timer { node, life, timer, at } => {
                let this = &mut self.nodes[node];
                if this.life == life && this.deadlines.get(&timer) == Some(&at) {
                    this.deadlines.remove(&timer);
                    self.step(node, Event::Timeout(timer));
                }
            }
            Happening::Synced { node, life } => {
                if self.nodes[node].life == life {
                    self.synced(node);
                }
            }
            Happening::Applied { node, life, op, replies } => {
                if self.nodes[node].life == life {
                    self.step(node, Event::Applied { op, replies });
                }
            }
            Happening::Read { node, life, first, last } => {
                if self.nodes[node].life == life {
                    self.read(node, first, last);
                }
            }
            Happening::Request { to, request } => {
                let at = Timestamp(self.now);
                self.step(
                    to,
                    Event::Request { request, subject: Subject::default(), at, now: Moment::ZERO },
                );
            }
            Happening::Reply { reply } => {
                let client = self.callers.iter().position(|c| c.client.id() == reply.client);
                if let Some(client) = client {
                    self.step_client(client, ClientEvent::Reply(reply));
                }
            }
            Happening::ClientTimer { client, generation } => {
                if self.callers[client].generation == generation {
                    let give_up = self.faults && self.dice.percent(8);
                    let event = if give_up {
                        ClientEvent::GiveUp { call: CallId(0) }
                    } else {
                        ClientEvent::Timeout
                    };
                    self.step_client(client, event);
                    if give_up && self.callers[client].generation == generation {
                        self.step_client(client, ClientEvent::Timeout);
                    }
                }
            }
            Happening::Submit { client } => self.submit(client),
            Happening::Fault => self.fault(),
        }
    }

    pub fn fault(&mut self) {
        if !self.faults {
            return;
        }
        let node = self.dice.below(self.nodes.len() as u64) as usize;
        match self.dice.below(12) {
            0..=2 if self.nodes[node].replica.is_some() => self.crash(node),
            3..=6 => {
                for node in 0..self.nodes.len() {
                    if self.nodes[node].replica.is_none() && self.dice.percent(60) {
                        self.start(node);
                    }
                }
            }
            7 => {
                let to = self.dice.below(self.nodes.len() as u64) as usize;
                self.cut.push((node, to));
                if self.dice.percent(60) {
                    self.cut.push((to, node));
                }
            }
            8 => self.cut.clear(),
            9 => self.nodes[node].slow = !self.nodes[node].slow,
            10 if self.dice.percent(20) => self.step(node, Event::Operator(Operator::Abdicate)),
            11 if self.damages => self.damage(node),
            11 if self.dice.percent(20) => {
                for node in 0..self.nodes.len() {
                    if self.nodes[node].replica.is_some() {
                        self.crash(node);
                    }
                }
            }
            _ => {}
        }
        let delay = MS + self.dice.below(self.calm * MS);
        self.plan(delay, Happening::Fault);
    }

    pub fn damage(&mut self, node: usize) {
        let known = self.dice.percent(50);
        let records = &mut self.nodes[node].records;
        let back = self.dice.below(6);
        let Some(last) = records.keys().last() else { return };
        let op = OpNumber(last.0.saturating_sub(back).max(1));
        if let Some(Record::Good(entry)) = records.get(&op) {
            let header = known.then_some(*entry.header());
            records.insert(op, Record::Bad(header));
            if self.dice.percent(50) {
                self.step(node, Event::Faulty { op });
            } else if self.nodes[node].replica.is_some() {
                self.crash(node);
                self.start(node);
            }
        }
    }

    pub fn run_until(&mut self, end: u64) {
        let mut steps = 0u64;
        while let Some(entry) = self.agenda.first_entry() {
            let at = entry.key().0;
            if at > end {
                break;
            }
            steps += 1;
            assert!(steps < 3_000_000, "seed {}: a storm", self.seed);
            let happening = entry.remove();
            self.now = at;
            self.happen(happening);
        }
        self.now = end;
    }

    pub fn check_truth(&self) {
        for body in &self.not_done {
            assert!(!self.places.contains_key(body), "seed {}: NotDone was a lie", self.seed);
        }
    }

    pub fn describe(&self) -> String {
        let nodes = self.nodes.iter().map(|node| match &node.replica {
            Some(replica) => format!("{:?}\n", replica.summary()),
            None => "dead\n".into(),
        });
        nodes.collect::<String>()
    }

    pub fn heal(&mut self) {
        self.faults = false;
        self.cut.clear();
        self.loss = 0;
        for node in 0..self.nodes.len() {
            self.nodes[node].slow = false;
            if self.nodes[node].replica.is_none() {
                self.start(node);
            }
        }
    }
}

fn carry_out_write(node: &mut Node, write: &Write<Body>) {
    match write.kind() {
        WriteKind::Append(entries) => {
            let ops: Vec<OpNumber> = entries.iter().map(|entry| entry.header().op).collect();
            assert!(ops.is_sorted(), "appends are ascending");
            for entry in entries {
                node.records.insert(entry.header().op, Record::Good(entry.clone()));
            }
        }
        WriteKind::Superblock(state) => node.superblock = (**state).clone(),
        WriteKind::MarkFaulty(op) => {
            let header = match node.records.get(op) {
                Some(Record::Good(entry)) => Some(*entry.header()),
                Some(Record::Bad(header)) => *header,
                None => None,
            };
            node.records.insert(*op, Record::Bad(header));
        }
    }
}
