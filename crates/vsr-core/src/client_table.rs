//! The client-table: one session a slot, changed only by committed entries, in their order, so that
//! it is the same on every replica at the same op.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::config::Constants;
use crate::types::{ClientId, OpNumber, RequestNumber, Session, Subject};

/// A session of the client-table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionState<B> {
    /// The client that registered it.
    pub client: ClientId,
    /// Whom that client authenticated as.
    pub subject: Subject,
    /// The op of the entry that registered it.
    pub number: OpNumber,
    /// The last operation handed to the service.
    pub executed: RequestNumber,
    /// The entry that held it, or that registered the session.
    pub last_op: OpNumber,
    /// The service's reply to it.
    pub reply: KeptReply<B>,
}

/// What is kept of a reply, for a retry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KeptReply<B> {
    /// None was given yet.
    None,
    /// The reply.
    Reply(B),
    /// It was too large to keep.
    TooLarge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ClientTable<B> {
    slots: Vec<Option<SessionState<B>>>,
    by_client: BTreeMap<ClientId, u32>,
    limit: u32,
}

/// What came of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Registration {
    pub(crate) evicted: bool,
}

impl<B> ClientTable<B> {
    pub(crate) fn new(constants: &Constants) -> Self {
        let mut this =
            Self { slots: Vec::new(), by_client: BTreeMap::new(), limit: constants.sessions };
        for slot in 0..constants.genesis_sessions {
            let client = ClientId(u128::from(slot) + 1);
            this.open(slot, client, Subject::default(), OpNumber::ZERO);
        }
        this
    }

    /// The table of a checkpoint.
    pub(crate) fn restored(
        constants: &Constants,
        sessions: impl IntoIterator<Item = (u32, SessionState<B>)>,
    ) -> Self {
        let mut this =
            Self { slots: Vec::new(), by_client: BTreeMap::new(), limit: constants.sessions };
        for (slot, state) in sessions {
            let index = slot as usize;
            while this.slots.len() <= index {
                this.slots.push(None);
            }
            this.by_client.insert(state.client, slot);
            this.slots[index] = Some(state);
        }
        this
    }

    pub(crate) fn len(&self) -> u32 {
        self.by_client.len() as u32
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &SessionState<B>)> {
        (0..).zip(&self.slots).filter_map(|(slot, state)| Some((slot, state.as_ref()?)))
    }

    /// The session, unless it is gone and its slot free or another's.
    pub(crate) fn find(&self, session: Session) -> Option<&SessionState<B>> {
        let state = self.slots.get(session.slot as usize)?.as_ref()?;
        (state.number == session.number).then_some(state)
    }

    pub(crate) fn find_mut(&mut self, session: Session) -> Option<&mut SessionState<B>> {
        let state = self.slots.get_mut(session.slot as usize)?.as_mut()?;
        (state.number == session.number).then_some(state)
    }

    /// The session of a client.
    pub(crate) fn of_client(&self, client: ClientId) -> Option<(Session, &SessionState<B>)> {
        let slot = *self.by_client.get(&client)?;
        let state = self.slots[slot as usize].as_ref().expect("by_client names open slots");
        Some((Session { slot, number: state.number }, state))
    }

    /// Opens a session for a client, in the lowest free slot, else in that of the least recently
    /// used session. A client that has one keeps it.
    pub(crate) fn register(
        &mut self,
        client: ClientId,
        subject: Subject,
        op: OpNumber,
    ) -> Registration {
        if self.by_client.contains_key(&client) {
            return Registration { evicted: false };
        }
        let free = if self.len() < self.slots.len() as u32 {
            self.slots.iter().position(Option::is_none).map(|slot| slot as u32)
        } else {
            (self.len() < self.limit).then_some(self.slots.len() as u32)
        };
        let slot = free.unwrap_or_else(|| self.least_recently_used());
        self.open(slot, client, subject, op);
        Registration { evicted: free.is_none() }
    }

    fn least_recently_used(&self) -> u32 {
        let used = self.iter().map(|(slot, state)| (state.last_op, slot));
        used.min().expect("a full table has sessions").1
    }

    fn open(&mut self, slot: u32, client: ClientId, subject: Subject, number: OpNumber) {
        let index = slot as usize;
        while self.slots.len() <= index {
            self.slots.push(None);
        }
        let state = SessionState {
            client,
            subject,
            number,
            executed: RequestNumber::ZERO,
            last_op: number,
            reply: KeptReply::None,
        };
        if let Some(old) = self.slots[index].replace(state) {
            self.by_client.remove(&old.client);
        }
        self.by_client.insert(client, slot);
    }
}
