//! One world, three schedulers: replicas, clients, links, disks and clocks, all simulated, around
//! the shipped protocol. Stories take choices from a file, the random simulator from a seed, the
//! explorer takes all.

pub mod choice;
mod carry_out;
mod client;
mod clients;
pub mod cluster;
pub mod disk_store;
mod faults;
pub mod names;
pub mod network;
mod node;
pub mod packet;
mod reading;
mod running;
pub mod store;
mod telling;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use vsr_core::{ClientEffect, Event, Operator, Replica, ReplicaId, Summary, Timer};

use crate::invariants::Checker;
use crate::narrator::Narrator;
use crate::prng::Prng;
use crate::trace::{TraceHash, Tracer};
use crate::world::choice::{Choice, Pick};
use crate::world::client::SimClient;
use crate::world::cluster::Cluster;
use crate::world::names::{Endpoint, KindName, Link, Links};
use crate::world::network::{Flight, FlightId, Network, Sent};
use crate::world::node::Node;
use crate::world::packet::{Packet, Payload};
use crate::world::store::Store;
use vsr_kv::KeyValue;

pub use crate::world::client::{Call, MustSee};

/// Why a choice could not be applied. The world is as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The message, timer, name or entry that it names is not there.
    Absent(String),
    /// It makes no sense here: says why.
    Impossible(String),
    /// This version cannot do it: says what.
    NotSupported(String),
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Absent(what) | Self::Impossible(what) => f.write_str(what),
            Self::NotSupported(what) => write!(f, "not supported: {what}"),
        }
    }
}

/// Deliveries that one choice may cause at once, by clients whose messages arrive immediately. More
/// is a loop.
const IMMEDIATE_MAX: usize = 10_000;

/// A simulated group with its clients.
pub struct World<S> {
    cluster: Cluster,
    /// Simulated time in nanoseconds.
    now: u64,
    nodes: Vec<Node<S>>,
    clients: BTreeMap<u32, SimClient>,
    /// Scratch for what clients want done.
    client_effects: Vec<ClientEffect<Bytes>>,
    /// When the highest op that any answer to a client named rose, and to which.
    answered: VecDeque<(u64, u64)>,
    network: Network,
    dice: Prng,
    /// Calls of all clients, in order of invocation.
    history: Vec<Call>,
    /// Counts invocations and answers.
    moment: u64,
    /// Messages of clients that arrive before the choice ends.
    immediate: VecDeque<(Link, Flight)>,
    /// The last message that each client link carried at once, while it can be taken back.
    last_immediate: BTreeMap<Link, Flight>,
    /// Which choice this is, for naming messages by their cause.
    cause: u64,
    ordinal: u32,
    checker: Checker,
    narrator: Narrator,
    hash: TraceHash,
    tracer: Option<Tracer>,
    /// Messages put on links since the scheduler last looked, where there is one.
    dispatched: Option<Vec<(Link, FlightId, KindName)>>,
    /// How many effects there were other than timers and notes.
    acted: u64,
    /// Steps since a replica was last handed events that come too late.
    stepped: u64,
}

impl<S: Store> World<S> {
    /// A freshly formatted group, each replica started for the first time.
    ///
    /// # Errors
    /// [`Refused::Impossible`] where there cannot be such a group.
    pub fn new(cluster: Cluster) -> Result<Self, Refused> {
        let configs = cluster.configs().map_err(Refused::Impossible)?;
        let checker = Checker::new(&configs);
        let mut world = Self {
            now: 0,
            nodes: configs.into_iter().map(Node::format).collect(),
            clients: BTreeMap::new(),
            client_effects: Vec::new(),
            answered: VecDeque::new(),
            network: Network::default(),
            dice: Prng::new(cluster.seed),
            cluster,
            history: Vec::new(),
            moment: 0,
            immediate: VecDeque::new(),
            last_immediate: BTreeMap::new(),
            cause: 0,
            ordinal: 0,
            checker,
            narrator: Narrator::default(),
            hash: TraceHash::new(),
            tracer: None,
            dispatched: None,
            acted: 0,
            stepped: 0,
        };
        for index in 0..world.nodes.len() {
            let node = &mut world.nodes[index];
            node.replica = Some(Replica::new(node.config.clone(), &mut node.effects));
            world.run_node(index);
        }
        world.settle().map_err(Refused::Impossible)?;
        Ok(world)
    }

    /// How the group was set up.
    #[must_use]
    pub const fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Simulated time in nanoseconds.
    #[must_use]
    pub const fn now(&self) -> u64 {
        self.now
    }

    /// Lets time pass up to `now`; never backwards.
    pub fn set_now(&mut self, now: u64) {
        self.now = self.now.max(now);
    }

    /// The replicas' names.
    pub fn replicas(&self) -> impl Iterator<Item = ReplicaId> + use<S> {
        (0..self.nodes.len() as u32).map(ReplicaId)
    }

    /// Where a replica is; `None` while it is dead.
    #[must_use]
    pub fn summary(&self, replica: ReplicaId) -> Option<Summary> {
        self.nodes.get(replica.0 as usize)?.replica.as_ref().map(Replica::summary)
    }

    /// A live replica's state.
    #[must_use]
    pub fn replica(&self, replica: ReplicaId) -> Option<&Replica<Bytes>> {
        self.nodes.get(replica.0 as usize)?.replica.as_ref()
    }

    /// A replica's service.
    #[must_use]
    pub fn service(&self, replica: ReplicaId) -> Option<&KeyValue> {
        self.nodes.get(replica.0 as usize).map(|node| node.service.state())
    }

    /// Why a replica halted, if it did.
    #[must_use]
    pub fn halted(&self, replica: ReplicaId) -> Option<vsr_core::HaltReason> {
        self.nodes.get(replica.0 as usize)?.halted
    }

    /// Calls of all clients, in order of invocation.
    #[must_use]
    pub fn history(&self) -> &[Call] {
        &self.history
    }

    /// The links and what is on them.
    #[must_use]
    pub const fn network(&self) -> &Network {
        &self.network
    }

    /// The invariants' checker.
    #[must_use]
    pub const fn checker(&self) -> &Checker {
        &self.checker
    }

    /// The hash of all choices and effects so far.
    #[must_use]
    pub const fn trace_hash(&self) -> u64 {
        self.hash.value()
    }

    /// Sets which choice comes next, for naming messages by their cause. Choices otherwise count
    /// from 1.
    pub const fn set_cause(&mut self, cause: u64) {
        self.cause = cause.saturating_sub(1);
    }

    /// Something that may happen next, and what it needs is there: deliveries, timeouts, syncs,
    /// crashes and restarts.
    #[must_use]
    pub fn choices(&self) -> Vec<Choice> {
        let mut choices = Vec::new();
        for (link, flights) in self.network.busy() {
            let mut kinds: Vec<KindName> = flights.iter().map(|flight| flight.kind).collect();
            kinds.sort_unstable();
            kinds.dedup();
            for kind in kinds {
                let pick = Pick::Kind { kind, nth: 1 };
                choices.push(Choice::Deliver { link, pick, keep: false });
            }
        }
        for node in &self.nodes {
            let id = node.id();
            if !node.is_live() {
                if node.store.is_some() && node.halted.is_none() {
                    choices.push(Choice::Restart(id));
                }
                continue;
            }
            choices.extend(node.armed().map(|(timer, _)| Choice::Timeout(id, timer)));
            if !node.io.is_empty() {
                choices.push(Choice::Fsync { replica: Some(id), count: None });
            }
            if !node.answers.is_empty() {
                choices.push(Choice::Answer(id));
            }
            choices.push(Choice::Crash(id, choice::Tear::None));
        }
        for client in self.clients.values().filter(|client| client.next_deadline().is_some()) {
            choices.push(Choice::Resend(client.number));
        }
        choices
    }

    /// Makes a choice happen, with all that follows from it at once.
    ///
    /// # Errors
    /// [`Refused`], and then nothing has changed.
    pub fn apply(&mut self, choice: &Choice) -> Result<(), Refused> {
        self.cause += 1;
        self.ordinal = 0;
        if !matches!(choice, Choice::Hold { .. }) {
            self.last_immediate.clear();
        }
        self.hash.choice(choice);
        self.dispatch(choice)?;
        self.deliver_immediate();
        Ok(())
    }

    fn dispatch(&mut self, choice: &Choice) -> Result<(), Refused> {
        match choice {
            Choice::Request { clients, operation } => self.request(clients, operation),
            Choice::Read { client, from, policy, operation } => {
                self.read(*client, *from, *policy, operation)
            }
            Choice::Resend(client) => self.resend(*client),
            Choice::GiveUp(client) => self.give_up(*client),
            Choice::RestartClient(client) => self.restart_client(*client),
            Choice::Deliver { link, pick, keep } => self.deliver(*link, *pick, *keep),
            Choice::DeliverAll { links, kind } => {
                self.deliver_all(*links, *kind);
                Ok(())
            }
            Choice::Settle => self.come_to_rest().map_err(Refused::Impossible),
            Choice::Drop { links, kind, nth } => {
                for (link, flight) in self.network.take_all(*links, *kind, *nth) {
                    self.tell_loss(link, &flight);
                }
                Ok(())
            }
            Choice::Hold { link, kind, name } => self.hold(*link, *kind, name),
            Choice::Catch { link, kind, name } => {
                self.network.set_snare(*link, *kind, name.clone());
                Ok(())
            }
            Choice::Release(name) => self.release(name),
            Choice::Forge { link, kind, fields } => self.forge(*link, *kind, fields),
            Choice::Cut(cut) => {
                for (link, flight) in self.network.cut(cut, &self.ends()) {
                    self.tell_loss(link, &flight);
                }
                Ok(())
            }
            Choice::Heal(links) => {
                self.network.heal(*links);
                Ok(())
            }
            Choice::Block { links, but, kinds } => {
                self.network.block(*links, *but, kinds, &self.ends());
                Ok(())
            }
            Choice::Unblock { links, kind } => {
                self.network.unblock(*links, *kind);
                Ok(())
            }
            Choice::Timeout(replica, timer) => self.timeout(*replica, *timer),
            Choice::Fsync { replica, count } => self.fsync(*replica, *count),
            Choice::Disk { replica, mode } => self.set_disk(*replica, *mode),
            Choice::Crash(replica, tear) => self.crash(*replica, *tear),
            Choice::Restart(replica) => self.restart(*replica),
            Choice::Wipe(replica) => self.wipe(*replica),
            Choice::Abdicate(replica) => {
                let index = self.live(*replica)?;
                self.step_node(index, Event::Operator(Operator::Abdicate));
                Ok(())
            }
            Choice::Pause(replica) => {
                let index = self.live(*replica)?;
                self.nodes[index].paused = true;
                Ok(())
            }
            Choice::Resume(replica) => {
                let index = self.live(*replica)?;
                self.nodes[index].paused = false;
                self.run_node(index);
                Ok(())
            }
            Choice::Clock(replica, rate) => {
                let index = self.node(*replica)?;
                self.nodes[index].rate = *rate;
                Ok(())
            }
            Choice::Gather(replica) => {
                let index = self.live(*replica)?;
                self.nodes[index].gathering = true;
                Ok(())
            }
            Choice::Flush(replica) => {
                let index = self.live(*replica)?;
                self.end_round(index);
                Ok(())
            }
            Choice::Flip(replica) => {
                let index = self.live(*replica)?;
                crate::service::flip(self.nodes[index].service.state_mut());
                Ok(())
            }
            Choice::Ahead(replica, milliseconds) => {
                let index = self.node(*replica)?;
                self.nodes[index].ahead = *milliseconds;
                Ok(())
            }
            Choice::Service { replica, slow } => {
                let index = self.node(*replica)?;
                self.set_service(index, *slow);
                Ok(())
            }
            Choice::Answer(replica) => self.give_answer(*replica),
            Choice::Idle(replica) => self.idle(*replica),
            Choice::Room(replica, room) => self.set_room(*replica, *room),
            Choice::Damage(replica, damage) => self.damage(*replica, *damage),
            Choice::Scrub(replica) => self.scrub(*replica),
        }
    }

    /// Every endpoint that there is.
    fn ends(&self) -> Vec<Endpoint> {
        let replicas = self.replicas().map(Endpoint::Replica);
        // A story may cut the links of a client that has not spoken yet.
        let mut clients: BTreeSet<_> = (1..=9).collect();
        clients.extend(self.clients.keys());
        replicas.chain(clients.into_iter().map(Endpoint::Client)).collect()
    }

    fn node(&self, replica: ReplicaId) -> Result<usize, Refused> {
        let index = replica.0 as usize;
        if index < self.nodes.len() {
            Ok(index)
        } else {
            Err(Refused::Impossible(format!("there is no {replica} in this cluster")))
        }
    }

    fn live(&self, replica: ReplicaId) -> Result<usize, Refused> {
        let index = self.node(replica)?;
        if self.nodes[index].is_live() {
            Ok(index)
        } else {
            Err(Refused::Impossible(format!("{replica} is dead: restart {replica}")))
        }
    }

    fn deliver(&mut self, link: Link, pick: Pick, keep: bool) -> Result<(), Refused> {
        self.check_ends(link)?;
        let found = if keep {
            self.network.find(link, pick).cloned()
        } else {
            self.network.take(link, pick)
        };
        let Some(flight) = found else {
            return Err(Refused::Absent(self.nothing_on(link, pick)));
        };
        self.arrive(link, flight);
        Ok(())
    }

    fn check_ends(&self, link: Link) -> Result<(), Refused> {
        for end in [link.from, link.to] {
            if let Endpoint::Replica(replica) = end {
                self.node(replica)?;
            }
        }
        Ok(())
    }

    fn nothing_on(&self, link: Link, pick: Pick) -> String {
        let waiting: Vec<String> = self
            .network
            .busy()
            .map(|(link, flights)| {
                let kinds: Vec<&str> = flights.iter().map(|flight| flight.kind.name()).collect();
                format!("{link}: {}", kinds.join(" "))
            })
            .collect();
        let what = match pick {
            Pick::Oldest => "no message".to_owned(),
            Pick::Kind { kind, nth: 1 } => format!("no {kind}"),
            Pick::Kind { kind, nth } => format!("no {kind} number {nth}"),
        };
        let all =
            if waiting.is_empty() { "no link has any".to_owned() } else { waiting.join(", ") };
        format!("{what} is on {link} ({all})")
    }

    /// Delivers what is on links now, not what this brings.
    fn deliver_all(&mut self, links: Links, kind: Option<KindName>) {
        for (link, flight) in self.network.take_all(links, kind, None) {
            self.arrive(link, flight);
        }
    }

    fn hold(&mut self, link: Link, kind: Option<KindName>, name: &str) -> Result<(), Refused> {
        self.check_ends(link)?;
        let pick = kind.map_or(Pick::Oldest, |kind| Pick::Kind { kind, nth: 1 });
        let found = self.network.take(link, pick).or_else(|| self.take_back(link, kind));
        let Some(flight) = found else {
            return Err(Refused::Absent(self.nothing_on(link, pick)));
        };
        self.network.hold(name.to_owned(), link, flight);
        Ok(())
    }

    fn release(&mut self, name: &str) -> Result<(), Refused> {
        let Some((link, flight)) = self.network.held(name).cloned() else {
            return Err(Refused::Absent(format!("no message is held as {name}")));
        };
        let flight = Flight { id: self.next_id(), ..flight };
        if self.network.is_cut(link) {
            self.tell_loss(link, &flight);
        } else if link.has_client() && !self.cluster.client_links {
            self.immediate.push_back((link, flight));
        } else {
            self.dispatched(link, flight.id, flight.kind);
            self.network.push_front(link, flight);
        }
        Ok(())
    }

    fn timeout(&mut self, replica: ReplicaId, timer: Timer) -> Result<(), Refused> {
        let index = self.live(replica)?;
        if !self.nodes[index].is_armed(timer) {
            let armed: Vec<String> =
                self.nodes[index].armed().map(|(timer, _)| timer.to_string()).collect();
            let why = format!("{timer} is not armed at {replica} (armed: {})", armed.join(" "));
            return Err(Refused::Absent(why));
        }
        if self.nodes[index].paused {
            return Err(Refused::Impossible(format!("{replica} is paused: resume {replica}")));
        }
        if self.nodes[index].gathering {
            // Deadlines are looked at last in a round.
            self.end_round(index);
            if !self.nodes[index].is_armed(timer) {
                return Ok(());
            }
        }
        self.nodes[index].disarm(timer);
        self.step_node(index, Event::Timeout(timer));
        Ok(())
    }

    /// A message reaches the end of its link.
    fn arrive(&mut self, link: Link, flight: Flight) {
        self.tell_arrival(link, &flight);
        if let Some(tracer) = &mut self.tracer {
            tracer.arrival(format!("{}.{}", flight.id.cause, flight.id.ordinal));
        }
        match (link.from, link.to, flight.packet.open()) {
            (Endpoint::Replica(from), Endpoint::Replica(to), Payload::Message(message)) => {
                let index = to.0 as usize;
                if self.nodes[index].is_live() {
                    self.checker.on_receive(index, from.0 as usize, &message);
                }
                self.step_node(index, Event::Message { from, message });
            }
            (Endpoint::Client(number), Endpoint::Replica(to), Payload::Request(request)) => {
                let event = Event::Request {
                    subject: clients::subject(request.client, number),
                    request,
                    at: vsr_core::Timestamp(self.now),
                    now: vsr_core::Moment(self.now),
                };
                self.step_node(to.0 as usize, event);
            }
            (Endpoint::Replica(_), Endpoint::Client(number), payload) => {
                self.arrive_at_client(link, number, payload, flight);
            }
            (_, _, _) => {}
        }
    }

    /// Sends a payload: puts it on its link, unless it is lost or set aside.
    fn send(&mut self, link: Link, packet: Packet, kind: KindName) {
        let flight = Flight { id: self.next_id(), kind, packet };
        match self.network.admit(link, &flight) {
            Sent::Lost => self.tell_loss(link, &flight),
            Sent::Caught => {}
            Sent::Open if link.has_client() && !self.cluster.client_links => {
                self.immediate.push_back((link, flight));
            }
            Sent::Open => {
                self.dispatched(link, flight.id, flight.kind);
                self.network.push(link, flight);
            }
        }
    }

    fn seal(&self, payload: Payload, from: Endpoint) -> Packet {
        if self.cluster.encoded {
            Packet::seal(&payload, from)
        } else {
            Packet::Plain(Box::new(payload))
        }
    }

    fn next_id(&mut self) -> FlightId {
        self.ordinal += 1;
        FlightId { cause: self.cause, ordinal: self.ordinal }
    }

    fn dispatched(&mut self, link: Link, id: FlightId, kind: KindName) {
        if let Some(dispatched) = &mut self.dispatched {
            dispatched.push((link, id, kind));
        }
    }

    fn deliver_immediate(&mut self) {
        let mut delivered = 0;
        while let Some((link, flight)) = self.immediate.pop_front() {
            delivered += 1;
            assert!(delivered <= IMMEDIATE_MAX, "clients and replicas answer one another for ever");
            self.arrive(link, flight);
        }
    }
}
