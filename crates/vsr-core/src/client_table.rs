//! The client-table: one session a slot, changed only by committed entries, in their order, so that
//! it is the same on every replica at the same op.
//!
//! 1. A registration opens a session in the lowest free slot; where none is free it evicts the one
//!    that was used least recently.
//! 2. Operations of a session are executed in the order of their numbers, each once: one at or below
//!    the last is a second copy, one beyond the next is not executed.
//! 3. The replies that the client may still ask for are kept: an operation says by its span how many
//!    before it were unacknowledged, so that there are never more than the window.
//! 4. A session that no entry used for long, by the entries' timestamps, expires.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use crate::config::Constants;
use crate::types::{ClientId, OpNumber, RequestNumber, Session, Subject, Timestamp};

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
    /// That entry's timestamp; for a session from genesis that was never used, that of op 1.
    pub last_used: Timestamp,
    /// What is kept of the replies to the last operations up to `executed`, ascending, at most the
    /// window. Those before were acknowledged.
    pub kept: VecDeque<KeptOperation<B>>,
}

/// What is kept of one executed operation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeptOperation<B> {
    /// The entry that held it.
    pub op: OpNumber,
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

impl<B> SessionState<B> {
    /// All operations up to this one were acknowledged, and their replies are gone.
    #[must_use]
    pub fn acknowledged(&self) -> RequestNumber {
        RequestNumber(self.executed.0.saturating_sub(self.kept.len() as u64))
    }

    /// What is kept of an operation, unless it was acknowledged or is not executed yet.
    #[must_use]
    pub fn kept(&self, number: RequestNumber) -> Option<&KeptOperation<B>> {
        self.kept.get(self.place(number)?)
    }

    pub(crate) fn kept_mut(&mut self, number: RequestNumber) -> Option<&mut KeptOperation<B>> {
        let place = self.place(number)?;
        self.kept.get_mut(place)
    }

    fn place(&self, number: RequestNumber) -> Option<usize> {
        number.0.checked_sub(self.acknowledged().0 + 1).map(|place| place as usize)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ClientTable<B> {
    slots: Vec<Option<SessionState<B>>>,
    by_client: BTreeMap<ClientId, u32>,
    /// Free slots below the length of `slots`.
    free: BTreeSet<u32>,
    limit: u32,
    window: u32,
    expiry: u64,
    /// No session was last used before this: a lower bound, so that most entries cost no search.
    used_since: Timestamp,
}

/// A session that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone {
    pub(crate) session: Session,
    pub(crate) client: ClientId,
    pub(crate) executed: RequestNumber,
}

/// Whether an operation of an open session is to be executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It is the next one, and counts as executed from here on.
    Next,
    /// A copy of it was executed.
    Repeated,
    /// One before it is missing.
    Early,
    /// The session is gone.
    NoSession,
}

impl<B> ClientTable<B> {
    pub(crate) fn new(constants: &Constants) -> Self {
        let mut this = Self::empty(constants);
        for slot in 0..constants.genesis_sessions {
            let client = ClientId(u128::from(slot) + 1);
            this.open(slot, client, Subject::default(), OpNumber::ZERO, Timestamp::ZERO);
        }
        this
    }

    const fn empty(constants: &Constants) -> Self {
        Self {
            slots: Vec::new(),
            by_client: BTreeMap::new(),
            free: BTreeSet::new(),
            limit: constants.sessions,
            window: constants.window,
            expiry: constants.session_expiry,
            used_since: Timestamp::ZERO,
        }
    }

    /// The table of a checkpoint.
    pub(crate) fn restored(
        constants: &Constants,
        sessions: impl IntoIterator<Item = (u32, SessionState<B>)>,
    ) -> Self {
        let mut this = Self::empty(constants);
        for (slot, state) in sessions {
            this.put(slot, state);
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

    // Step 1.

    /// Opens a session for a client. One that has one keeps it. Returns the session that had to go.
    pub(crate) fn register(
        &mut self,
        client: ClientId,
        subject: Subject,
        op: OpNumber,
        at: Timestamp,
    ) -> Option<Gone> {
        if self.by_client.contains_key(&client) {
            return None;
        }
        let fresh = self.slots.len() as u32;
        let free = self.free.first().copied().or_else(|| (fresh < self.limit).then_some(fresh));
        let slot = free.unwrap_or_else(|| self.least_recently_used());
        let gone = self.close(slot);
        self.open(slot, client, subject, op, at);
        gone
    }

    fn least_recently_used(&self) -> u32 {
        let used = self.iter().map(|(slot, state)| (state.last_op, slot));
        used.min().expect("a full table has sessions").1
    }

    fn open(
        &mut self,
        slot: u32,
        client: ClientId,
        subject: Subject,
        number: OpNumber,
        at: Timestamp,
    ) {
        let state = SessionState {
            client,
            subject,
            number,
            executed: RequestNumber::ZERO,
            last_op: number,
            last_used: at,
            kept: VecDeque::new(),
        };
        self.put(slot, state);
    }

    fn put(&mut self, slot: u32, state: SessionState<B>) {
        let index = slot as usize;
        while self.slots.len() <= index {
            self.free.insert(self.slots.len() as u32);
            self.slots.push(None);
        }
        self.free.remove(&slot);
        self.by_client.insert(state.client, slot);
        self.slots[index] = Some(state);
    }

    fn close(&mut self, slot: u32) -> Option<Gone> {
        let state = self.slots.get_mut(slot as usize)?.take()?;
        self.by_client.remove(&state.client);
        self.free.insert(slot);
        let session = Session { slot, number: state.number };
        Some(Gone { session, client: state.client, executed: state.executed })
    }

    // Steps 2 and 3.

    /// An operation's turn. `span` is its own number less the lowest that was unacknowledged.
    pub(crate) fn execute(
        &mut self,
        session: Session,
        number: RequestNumber,
        span: u8,
        op: OpNumber,
        at: Timestamp,
    ) -> Turn {
        let window = self.window as usize;
        let Some(state) = self.find_mut(session) else { return Turn::NoSession };
        if number <= state.executed {
            return Turn::Repeated;
        }
        if number != state.executed.next() {
            return Turn::Early;
        }
        state.executed = number;
        state.last_op = op;
        state.last_used = at;
        state.kept.push_back(KeptOperation { op, reply: KeptReply::None });
        let unacknowledged = usize::from(span) + 1;
        while state.kept.len() > unacknowledged.min(window) {
            state.kept.pop_front();
        }
        Turn::Next
    }

    // Step 4.

    /// Sessions from genesis count as used when time begins, which is with op 1.
    pub(crate) fn begin_time(&mut self, at: Timestamp) {
        for state in self.slots.iter_mut().flatten() {
            state.last_used = state.last_used.max(at);
        }
    }

    /// Closes the sessions that were not used for longer than the expiry, by the time of the entry
    /// just executed: the same on every replica, whatever its own clock says.
    pub(crate) fn expire(&mut self, at: Timestamp) -> Vec<Gone> {
        let is_idle = |used: Timestamp| used.0.saturating_add(self.expiry) < at.0;
        if self.expiry == 0 || !is_idle(self.used_since) {
            return Vec::new();
        }
        let idle: Vec<u32> = self
            .iter()
            .filter(|(_, state)| is_idle(state.last_used))
            .map(|(slot, _)| slot)
            .collect();
        let gone = idle.into_iter().filter_map(|slot| self.close(slot)).collect();
        self.used_since = self.iter().map(|(_, state)| state.last_used).min().unwrap_or(at);
        gone
    }
}
