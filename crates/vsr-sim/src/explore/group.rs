//! A group of nodes and the messages between them, as a value: one state of the exploration.
//!
//! A message that was sent stays on its way for ever: it may arrive at any time, again, or never. So
//! loss, delay, doubling and reordering need no choices of their own. What provably means nothing to
//! its receiver any more is forgotten, so that states which differ in nothing else are one.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use bytes::Bytes;
use vsr_core::{
    Checksum, ClientId, ClientRequest, ClientRequestKind, Config, Kind, Message, OpNumber, Quorums,
    ReplicaId, RequestNumber, Session, Timer, ViewNumber,
};

use crate::explore::Bounds;
use crate::explore::hash::{ByHash, Wide};
use crate::explore::node::{Happening, Node, Outcome, Seen};
use crate::explore::promises::Past;
use crate::service;
use crate::world::cluster::{CLUSTER, Cluster};

/// Steps of single nodes that are kept to be used again. Beyond that they are forgotten and computed
/// anew: about 2 GiB at the most.
const STEPS_KEPT: usize = 400_000;

/// The timers that are let run out. The others send again what was sent and not lost here, or what
/// the explorer does not bound: pings count who is heard, repairs count attempts.
const TIMERS: [Timer; 3] = [Timer::PrimarySilence, Timer::ViewChangeStuck, Timer::Heartbeat];

/// A message on its way.
pub(super) struct Letter {
    pub(super) from: ReplicaId,
    pub(super) to: ReplicaId,
    pub(super) message: Message<Bytes>,
    hash: u128,
}

/// All messages that were ever sent in any state, by number.
#[derive(Default)]
pub(super) struct Post {
    letters: Vec<Letter>,
    numbers: ByHash<u128, u32>,
}

impl Post {
    pub(super) fn letter(&self, number: u32) -> &Letter {
        &self.letters[number as usize]
    }

    fn number(&mut self, from: ReplicaId, to: ReplicaId, message: &Message<Bytes>) -> u32 {
        let hash = Wide::of(&(from, to, message));
        match self.numbers.entry(hash) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(vacant) => {
                let number = self.letters.len() as u32;
                vacant.insert(number);
                self.letters.push(Letter { from, to, message: message.clone(), hash });
                number
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.letters.len()
    }
}

/// One state.
#[derive(Clone)]
pub(super) struct Group {
    pub(super) nodes: Vec<Arc<Node>>,
    /// Messages on their way, by number, ascending.
    letters: Arc<[u32]>,
    /// The sum of their hashes.
    letters_hash: u128,
    pub(super) past: Arc<Past>,
    past_hash: u128,
    /// Clients that have sent their request, a bit each.
    asked: u64,
    pub(super) crashes: u32,
}

/// What may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Move {
    /// A message arrives.
    Arrival(u32),
    /// A client's request arrives.
    Request {
        client: u32,
        at: u32,
    },
    Timeout(u32, Timer),
    /// The oldest write that waits becomes durable.
    Fsync(u32),
    Crash(u32),
    Restart(u32),
}

/// What a move came to.
pub(super) enum Next {
    /// Nothing changed.
    Same,
    /// It leads beyond the bounds.
    Beyond,
    State(Box<Group>),
    Broken(String),
}

/// A step of one node, kept to be used again.
struct Kept {
    node: Arc<Node>,
    sent: Vec<u32>,
    seen: Seen,
    /// It changes nothing.
    same: bool,
}

/// What all states have in common.
pub(super) struct Model {
    pub(super) bounds: Bounds,
    pub(super) cluster: Cluster,
    configs: Vec<Config>,
    quorums: Quorums,
    requests: Vec<ClientRequest<Bytes>>,
    pub(super) post: Post,
    steps: ByHash<(u128, u64), Arc<Kept>>,
    /// How many steps of single nodes were computed.
    pub(super) computed: u64,
}

impl Model {
    pub(super) fn new(bounds: &Bounds) -> Result<Self, String> {
        let cluster = bounds.cluster();
        let configs = cluster.configs()?;
        let quorums = configs[0].configuration().quorums();
        let request = |client: u32| {
            let body = service::parse_operation(&Bounds::operation(client))?;
            let session = Session { slot: client - 1, number: OpNumber::ZERO };
            let digest = Checksum::of(&body);
            let number = RequestNumber(1);
            Ok(ClientRequest {
                cluster: CLUSTER,
                client: ClientId(u128::from(client)),
                view: ViewNumber::ZERO,
                kind: ClientRequestKind::Operation { session, number, span: 0, digest, body },
            })
        };
        Ok(Self {
            requests: (1..=bounds.ops).map(request).collect::<Result<_, String>>()?,
            bounds: bounds.clone(),
            cluster,
            configs,
            quorums,
            post: Post::default(),
            steps: ByHash::default(),
            computed: 0,
        })
    }

    /// A freshly formatted group whose replicas have heard one another.
    pub(super) fn initial(&mut self) -> Result<Group, String> {
        let (mut nodes, mut sent) = (Vec::new(), std::collections::VecDeque::new());
        for config in &self.configs {
            let (node, messages) = Node::format(config);
            nodes.push(Arc::new(node));
            sent.extend(messages.into_iter().map(|(to, message)| (config.replica(), to, message)));
        }
        while let Some((from, to, message)) = sent.pop_front() {
            for to in self.receivers(from, to) {
                let index = to.0 as usize;
                let what = Happening::Arrival { from, message: message.clone() };
                let Outcome { node, sent: more, seen } =
                    nodes[index].step(&self.configs[index], false, &what);
                if let Some(broken) = seen.broken {
                    return Err(broken);
                }
                nodes[index] = Arc::new(node);
                sent.extend(
                    more.into_iter().map(|(to, message)| (ReplicaId(index as u32), to, message)),
                );
            }
        }
        let past = Past::default();
        Ok(Group {
            nodes,
            letters: Arc::from([]),
            letters_hash: 0,
            past_hash: Wide::of(&past),
            past: Arc::new(past),
            asked: 0,
            crashes: 0,
        })
    }

    fn receivers(&self, from: ReplicaId, to: Option<ReplicaId>) -> Vec<ReplicaId> {
        match to {
            Some(to) => vec![to],
            None => (0..self.bounds.replicas).map(ReplicaId).filter(|to| *to != from).collect(),
        }
    }

    /// What may happen next, in a fixed order.
    pub(super) fn moves(&self, group: &Group, moves: &mut Vec<Move>) {
        moves.clear();
        for (index, node) in (0..).zip(&group.nodes) {
            if !node.is_live() {
                moves.push(Move::Restart(index));
                continue;
            }
            if !node.pending.is_empty() {
                moves.push(Move::Fsync(index));
            }
            let armed = TIMERS.iter().filter(|timer| node.is_armed(**timer));
            moves.extend(armed.map(|timer| Move::Timeout(index, *timer)));
            if group.crashes < self.bounds.crashes {
                moves.push(Move::Crash(index));
            }
        }
        for (client, bit) in (0..self.bounds.ops).map(|client| (client + 1, 1_u64 << client)) {
            if group.past.done & bit == 0 {
                for (at, node) in (0..).zip(&group.nodes) {
                    if node.is_live() {
                        moves.push(Move::Request { client, at });
                    }
                }
            }
            // Clients differ in nothing but their numbers, so that they may as well begin in order.
            if group.asked & bit == 0 {
                break;
            }
        }
        let live = |number: &&u32| group.nodes[self.post.letter(**number).to.0 as usize].is_live();
        moves.extend(group.letters.iter().filter(live).map(|number| Move::Arrival(*number)));
    }

    /// The state that a move leads to.
    pub(super) fn apply(&mut self, group: &Group, step: Move) -> Next {
        let index = match step {
            Move::Arrival(number) => self.post.letter(number).to.0,
            Move::Request { at, .. } => at,
            Move::Timeout(node, _)
            | Move::Fsync(node)
            | Move::Crash(node)
            | Move::Restart(node) => node,
        } as usize;
        let kept = self.step(&group.nodes[index], index, step);
        let Kept { node, sent, seen, same } = &*kept;
        if *same {
            return Next::Same;
        }
        if node.superblock().view.0 > self.bounds.view_changes
            || node.replica.as_ref().is_some_and(|r| r.summary().view.0 > self.bounds.view_changes)
        {
            return Next::Beyond;
        }
        let mut next = group.clone();
        next.crashes += u32::from(matches!(step, Move::Crash(_)));
        if let Move::Request { client, .. } = step {
            next.asked |= 1 << (client - 1);
        }
        if !seen.is_empty() {
            let mut past = (*group.past).clone();
            next.mail(&self.post, index, node, sent);
            if let Err(what) = past.judge(&next, index, node, seen, &self.post, self.quorums) {
                return Next::Broken(what);
            }
            next.past_hash = Wide::of(&past);
            next.past = Arc::new(past);
        } else {
            next.mail(&self.post, index, node, sent);
        }
        next.nodes[index] = Arc::clone(node);
        Next::State(Box::new(next))
    }

    fn step(&mut self, node: &Arc<Node>, index: usize, step: Move) -> Arc<Kept> {
        let key = (node.hash, Self::code(index, step));
        if let Some(kept) = self.steps.get(&key) {
            return Arc::clone(kept);
        }
        if self.steps.len() >= STEPS_KEPT {
            self.steps = ByHash::default();
        }
        self.computed += 1;
        let what = match step {
            Move::Arrival(number) => {
                let Letter { from, message, .. } = self.post.letter(number);
                Happening::Arrival { from: *from, message: message.clone() }
            }
            Move::Request { client, .. } => {
                Happening::Request(self.requests[client as usize - 1].clone())
            }
            Move::Timeout(_, timer) => Happening::Timeout(timer),
            Move::Fsync(_) => Happening::Fsync,
            Move::Crash(_) => Happening::Crash,
            Move::Restart(_) => Happening::Restart,
        };
        let Outcome { node: next, sent, seen } =
            node.step(&self.configs[index], self.bounds.slow, &what);
        let from = ReplicaId(index as u32);
        let mut numbers = Vec::new();
        for (to, message) in sent {
            // Pings are lost: they tell where a replica is, in many wordings, and what they bring about
            // other messages do too.
            if matches!(message.kind, Kind::Ping { .. }) {
                continue;
            }
            for to in self.receivers(from, to) {
                numbers.push(self.post.number(from, to, &message));
            }
        }
        numbers.sort_unstable();
        numbers.dedup();
        let same = next.hash == node.hash && numbers.is_empty() && seen.is_empty();
        let kept = Arc::new(Kept { node: Arc::new(next), sent: numbers, seen, same });
        self.steps.insert(key, Arc::clone(&kept));
        kept
    }

    /// A move as a number. It names the node too: two that have died with equal disks are equal but for
    /// their names.
    fn code(index: usize, step: Move) -> u64 {
        let (kind, what) = match step {
            Move::Arrival(number) => (1, number),
            Move::Request { client, .. } => (2, client),
            Move::Timeout(_, timer) => (3, timer.index() as u32),
            Move::Fsync(_) => (4, 0),
            Move::Crash(_) => (5, 0),
            Move::Restart(_) => (6, 0),
        };
        kind << 40 | (index as u64) << 32 | u64::from(what)
    }
}

impl Group {
    /// Names the state.
    pub(super) fn hash(&self) -> u128 {
        use std::hash::Hasher as _;
        let mut hasher = Wide::new();
        for node in &self.nodes {
            hasher.write_u128(node.hash);
        }
        hasher.write_u128(self.letters_hash);
        hasher.write_u128(self.past_hash);
        hasher.write_u64(self.asked << 8 | u64::from(self.crashes));
        hasher.wide()
    }

    /// The messages on their way.
    pub(super) fn posted<'a>(&'a self, post: &'a Post) -> impl Iterator<Item = &'a Letter> {
        self.letters.iter().map(|number| post.letter(*number))
    }

    /// Puts messages on their way, and forgets those that mean nothing to the node any more.
    fn mail(&mut self, post: &Post, index: usize, node: &Node, sent: &[u32]) {
        let entered = node.superblock().view;
        let rises = entered > self.nodes[index].superblock().view;
        let is_inert = |letter: &Letter| {
            let to = letter.to.0 as usize;
            let view = if to == index { entered } else { self.nodes[to].superblock().view };
            means_nothing(&letter.message, view)
        };
        let fresh: Vec<u32> = sent
            .iter()
            .copied()
            .filter(|number| self.letters.binary_search(number).is_err())
            .filter(|number| !is_inert(post.letter(*number)))
            .collect();
        if fresh.is_empty() && !rises {
            return;
        }
        let kept = self.letters.iter().copied();
        let mut letters: Vec<u32> =
            kept.filter(|number| !rises || !is_inert(post.letter(*number))).collect();
        letters.extend(fresh);
        letters.sort_unstable();
        self.letters_hash =
            letters.iter().fold(0, |sum: u128, number| sum.wrapping_add(post.letter(*number).hash));
        self.letters = letters.into();
    }
}

/// Whether a message can change nothing at a replica whose disk says that it has entered `view`, now
/// or after a crash: it is of an earlier view, and of a kind that is then ignored without an answer.
fn means_nothing(message: &Message<Bytes>, view: ViewNumber) -> bool {
    let ignored = matches!(
        message.kind,
        Kind::Prepare { .. }
            | Kind::PrepareOk { .. }
            | Kind::Commit { .. }
            | Kind::StartView { .. }
    );
    ignored && message.view < view
}
