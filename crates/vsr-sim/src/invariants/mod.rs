//! The safety invariants, checked after every step.

use std::collections::BTreeMap;

use bytes::Bytes;
use vsr_core::{
    Checksum, ClientReply, ClientRequest, Config, Effect, Entry, Event, HaltReason, Header, Kind,
    Message, Replica, Session, Stored, Summary, WriteKind,
};

use crate::marks::Marks;
use crate::world::choice::{Damage, Tear};

/// Watches a world and knows what must hold.
#[derive(Clone, Debug)]
pub struct Checker {
    entries: BTreeMap<u128, Entry<Bytes>>,
    headers: BTreeMap<u128, Header>,
    sessions: BTreeMap<(u32, u64), u32>,
    violation: Option<String>,
    marks: Marks,
}

impl Checker {
    pub(crate) fn new(_configs: &[Config]) -> Self {
        Self {
            entries: BTreeMap::new(),
            headers: BTreeMap::new(),
            sessions: BTreeMap::new(),
            violation: None,
            marks: Marks::default(),
        }
    }

    /// The first invariant that was broken, and how.
    #[must_use]
    pub fn violation(&self) -> Option<&str> {
        self.violation.as_deref()
    }

    pub(crate) const fn marks_mut(&mut self) -> &mut Marks {
        &mut self.marks
    }

    /// The header that a checksum names, of all that were ever prepared.
    #[must_use]
    pub fn header(&self, checksum: Checksum) -> Option<&Header> {
        self.headers.get(&checksum.0)
    }

    /// All headers that were ever prepared.
    pub fn headers(&self) -> impl Iterator<Item = &Header> {
        self.headers.values()
    }

    /// The entry that a checksum names, of all that were ever prepared.
    #[must_use]
    pub fn entry(&self, checksum: Checksum) -> Option<&Entry<Bytes>> {
        self.entries.get(&checksum.0)
    }

    pub(crate) fn session_name(&self, session: Session) -> String {
        if session.number.0 == 0 {
            return format!("c{}", session.slot + 1);
        }
        self.sessions
            .get(&(session.slot, session.number.0))
            .map_or_else(|| format!("s{}@{}", session.slot, session.number), |c| format!("c{c}"))
    }

    pub(crate) fn on_registered(&mut self, session: Session, client: u32) {
        self.sessions.insert((session.slot, session.number.0), client);
    }

    pub(crate) fn before_event(&mut self, _index: usize, _event: &Event<Bytes>) {}
    pub(crate) fn after_halt(&mut self, _index: usize, _effect: &Effect<Bytes>) {}
    pub(crate) fn after_step(&mut self, _index: usize, _r: &Replica<Bytes>, _s: &Summary) {}
    pub(crate) fn on_persist(&mut self, _index: usize, _kind: &WriteKind<Bytes>) {}
    pub(crate) fn on_durable(&mut self, _index: usize, _kind: &WriteKind<Bytes>) {}
    pub(crate) fn on_apply(
        &mut self,
        _index: usize,
        _entry: &Entry<Bytes>,
        _skip: &[u32],
        _replies: &[Bytes],
        _digest: Checksum,
    ) {
    }
    pub(crate) fn on_halt(&mut self, _index: usize, reason: HaltReason) {
        self.violation.get_or_insert(format!("halted: {reason}"));
    }
    pub(crate) fn on_send(&mut self, _index: usize, message: &Message<Bytes>) {
        if let Kind::Prepare { entry, .. } = &message.kind {
            self.headers.insert(entry.header().checksum.0, *entry.header());
            self.entries.insert(entry.header().checksum.0, entry.clone());
        }
    }
    pub(crate) fn on_reply(&mut self, _index: usize, _reply: &ClientReply<Bytes>) {}
    pub(crate) fn on_request(&mut self, _request: &ClientRequest<Bytes>) {}
    pub(crate) fn on_crash(&mut self, _index: usize, _unsynced: bool, _tear: Tear) {}
    pub(crate) fn on_open(&mut self, _index: usize, _stored: &Stored) {}
    pub(crate) fn on_damage(&mut self, _index: usize, _damage: Damage) {}
}
