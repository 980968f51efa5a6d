//! S2, S3, S6, S20: what executing the log did, the same on every replica.

use std::collections::BTreeMap;

use bytes::Bytes;
use vsr_core::{
    Checkpoint, Checksum, ClientReply, ClientReplyKind, Constants, Digest, Entry, KeptReply,
    OpNumber, Replica, Request, Session, Subject, Summary,
};

use crate::invariants::Checker;

/// What executing an op did, by the first replica that did.
#[derive(Clone, Debug)]
pub(super) struct Executed {
    checksum: Checksum,
    skip: Vec<u32>,
    replies: Vec<Bytes>,
    /// Of the service's state afterwards.
    digest: Checksum,
    /// Of the client-table afterwards, once a replica got that far.
    table: Option<Checksum>,
}

/// The checker's own client-table: what the log says of sessions.
#[derive(Clone, Debug)]
pub(super) struct Table {
    slots: BTreeMap<u32, Row>,
    limit: u32,
    window: u64,
    expiry: u64,
    /// Every session that was ever opened, by slot and number, and whose it is.
    opened: BTreeMap<(u32, u64), u128>,
}

#[derive(Clone, Debug)]
struct Row {
    client: u128,
    subject: u128,
    number: u64,
    executed: u64,
    last_op: u64,
    last_used: u64,
    /// How many replies are kept.
    kept: u64,
}

impl Table {
    pub(super) fn new(constants: &Constants) -> Self {
        // Sessions from genesis belong to nobody in particular.
        let subject = Subject::default().0;
        let row = |slot: u32| {
            let client = u128::from(slot) + 1;
            Row { client, subject, number: 0, executed: 0, last_op: 0, last_used: 0, kept: 0 }
        };
        let slots: BTreeMap<u32, Row> =
            (0..constants.genesis_sessions).map(|slot| (slot, row(slot))).collect();
        let opened = slots.iter().map(|(slot, row)| ((*slot, row.number), row.client)).collect();
        Self {
            slots,
            limit: constants.sessions,
            window: u64::from(constants.window),
            expiry: constants.session_expiry,
            opened,
        }
    }

    fn register(&mut self, client: u128, subject: u128, op: u64, at: u64) {
        if self.slots.values().any(|row| row.client == client) {
            return;
        }
        let free = (0..self.limit).find(|slot| !self.slots.contains_key(slot));
        let oldest = || self.slots.iter().min_by_key(|(slot, row)| (row.last_op, **slot));
        let Some(slot) = free.or_else(|| oldest().map(|(slot, _)| *slot)) else { return };
        self.opened.insert((slot, op), client);
        let row =
            Row { client, subject, number: op, executed: 0, last_op: op, last_used: at, kept: 0 };
        self.slots.insert(slot, row);
    }

    /// Time begins for sessions from genesis.
    fn begin(&mut self, at: u64) {
        for row in self.slots.values_mut() {
            row.last_used = at;
        }
    }

    /// Sessions that are idle for too long go.
    fn expire(&mut self, at: u64) {
        let expiry = self.expiry;
        if expiry > 0 {
            self.slots.retain(|_, row| row.last_used.saturating_add(expiry) >= at);
        }
    }

    /// Whether the operation is to be executed; then it is the session's last.
    fn execute(&mut self, session: Session, request: u64, span: u8, op: u64, at: u64) -> bool {
        match self.slots.get_mut(&session.slot) {
            Some(row) if row.number == session.number.0 && request == row.executed + 1 => {
                row.executed = request;
                row.last_op = op;
                row.last_used = at;
                row.kept = (row.kept + 1).min(u64::from(span) + 1).min(self.window);
                true
            }
            Some(_) | None => false,
        }
    }

    /// Whether a session was opened for this client, now or earlier.
    fn was_opened(&self, session: Session, client: u128) -> bool {
        self.opened.get(&(session.slot, session.number.0)) == Some(&client)
    }

    /// Whether a session is open and this client's.
    fn is_open(&self, session: Session, client: u128) -> bool {
        let row = self.slots.get(&session.slot);
        row.is_some_and(|row| row.number == session.number.0 && row.client == client)
    }
}

impl Checker {
    /// A replica executes an entry.
    pub(crate) fn on_apply(
        &mut self,
        index: usize,
        entry: &Entry<Bytes>,
        skip: &[u32],
        replies: &[Bytes],
        digest: Checksum,
    ) {
        let header = entry.header();
        let op = header.op.0;
        if self.watched[index].stateless {
            self.fail("S6", format!("r{index} executes op {op} on no state"));
        }
        let expected = self.watched[index].applied + 1;
        if op != expected {
            self.fail("S6", format!("r{index} executes op {op} and was to execute op {expected}"));
            return;
        }
        self.watched[index].applied = op;
        match self.canonical_at(op) {
            None => {
                self.fail("S1", format!("r{index} executes op {op}, which no quorum holds"));
                return;
            }
            Some(canonical) if canonical != header.checksum => {
                self.fail("S1", format!("r{index} executes another op {op} than was committed"));
                return;
            }
            Some(_) => {}
        }
        if entry.requests().len() > 1 {
            self.marks.reach("batch-larger-than-one");
        }
        match self.executed.get((op - 1) as usize) {
            Some(first) => {
                let same = first.checksum == header.checksum
                    && first.skip == skip
                    && first.replies == replies
                    && first.digest == digest;
                if !same {
                    self.fail("S2", format!("r{index} executes op {op} to another result"));
                }
            }
            None => self.execute_first(entry, skip, replies, digest),
        }
    }

    /// S2: checkpoints of the same op are the same on every replica.
    pub(crate) fn on_checkpointed(&mut self, index: usize, op: OpNumber, id: Checksum) {
        let first = *self.checkpoints.entry(op.0).or_insert(id);
        if first != id {
            self.fail("S2", format!("r{index} took another checkpoint at op {op}"));
        }
    }

    /// S2: what is restored is the state after the op.
    pub(crate) fn on_restored(&mut self, index: usize, checkpoint: &Checkpoint, digest: Checksum) {
        let op = checkpoint.op();
        let known = self.checkpoints.get(&op.0) == Some(&checkpoint.id);
        let position = self.index_of(op.0);
        let executed = self.executed.get(position).is_some_and(|executed| {
            executed.digest == digest && executed.checksum == checkpoint.header.checksum
        });
        if !known || !executed {
            self.fail("S2", format!("r{index} restored another state than that of op {op}"));
        }
    }

    /// A replica's service takes the state of a checkpoint that came from elsewhere: what it executes next
    /// comes after that.
    pub(crate) fn on_fetched(&mut self, index: usize, checkpoint: &Checkpoint, digest: Checksum) {
        let op = checkpoint.op().0;
        let watched = &self.watched[index];
        let anew = watched.stateless && op == watched.applied;
        if op <= watched.applied && !anew {
            self.fail("S5", format!("r{index} goes back to a checkpoint at op {op}"));
        }
        self.on_restored(index, checkpoint, digest);
        let watched = &mut self.watched[index];
        watched.applied = op;
        watched.stateless = false;
        watched.fetched = op;
        if anew {
            // The client-table follows once the replica hears that the service has its state.
            watched.compared = op;
        }
    }

    /// S3: each request was asked for, and is executed once.
    fn execute_first(
        &mut self,
        entry: &Entry<Bytes>,
        skip: &[u32],
        replies: &[Bytes],
        digest: Checksum,
    ) {
        let op = entry.header().op.0;
        let at = entry.header().timestamp.0;
        if op == 1 {
            self.table.begin(at);
        }
        for (place, request) in (0..).zip(entry.requests()) {
            match request {
                Request::Register { client, subject } => {
                    if !self.registering.contains(&client.0) {
                        self.fail("S3", format!("op {op} registers a client that never asked"));
                    }
                    self.table.register(client.0, subject.0, op, at);
                }
                Request::Operation { session, number, span, digest, .. } => {
                    let name = (session.slot, session.number.0, number.0);
                    if !self.asked.contains(&(name, digest.0)) {
                        self.fail("S3", format!("op {op} has a request that no client sent"));
                    }
                    if u64::from(*span) >= self.table.window {
                        self.fail("S21", format!("op {op}: a request beyond its window"));
                    }
                    let due = self.table.execute(*session, number.0, *span, op, at);
                    if due == skip.contains(&place) {
                        self.fail(
                            "S20",
                            format!("op {op}: request {place} wrongly skipped: {due}"),
                        );
                    }
                    if due && !self.done.insert(name) {
                        self.fail("S3", format!("op {op} executes a request a second time"));
                    }
                }
            }
        }
        self.table.expire(at);
        self.executed.push(Executed {
            checksum: entry.header().checksum,
            skip: skip.to_vec(),
            replies: replies.to_vec(),
            digest,
            table: None,
        });
    }

    /// S20: the client-table is a function of what was executed.
    pub(super) fn check_table(
        &mut self,
        index: usize,
        replica: &Replica<Bytes>,
        summary: &Summary,
    ) {
        let watched = &mut self.watched[index];
        let op = summary.commit_min.0;
        if op == 0 || op != watched.applied || watched.compared == op || watched.stateless {
            return;
        }
        watched.compared = op;
        let digest = digest_of_table(replica);
        let position = self.index_of(op);
        let Some(executed) = self.executed.get_mut(position) else { return };
        match executed.table {
            Some(first) if first != digest => {
                self.fail("S20", format!("r{index} has another client-table after op {op}"));
            }
            Some(_) => {}
            None => {
                executed.table = Some(digest);
                if self.executed.len() as u64 == op {
                    self.compare_table(index, replica, op);
                }
            }
        }
    }

    /// Compares a replica's client-table with the checker's own.
    fn compare_table(&mut self, index: usize, replica: &Replica<Bytes>, op: u64) {
        let mut sessions = replica.sessions();
        let mut own = self.table.slots.iter();
        let same = loop {
            match (sessions.next(), own.next()) {
                (None, None) => break true,
                (Some((slot, state)), Some((own_slot, row))) => {
                    let same = slot == *own_slot
                        && state.client.0 == row.client
                        && state.subject.0 == row.subject
                        && state.number.0 == row.number
                        && state.executed.0 == row.executed
                        && state.last_op.0 == row.last_op
                        && state.last_used.0 == row.last_used
                        && state.kept.len() as u64 == row.kept;
                    if !same {
                        break false;
                    }
                }
                (Some(_), None) | (None, Some(_)) => break false,
            }
        };
        if !same {
            self.fail("S20", format!("r{index}: the client-table is not that of op {op}"));
        }
    }

    /// A replica answers a client. S2: what it says is what executing the log says, whoever says it.
    pub(crate) fn on_reply(&mut self, index: usize, reply: &ClientReply<Bytes>) {
        match &reply.kind {
            ClientReplyKind::Registered { session, .. } => {
                if session.number > OpNumber::ZERO {
                    self.check_copies(session.number.0);
                }
                if !self.table.was_opened(*session, reply.client.0) {
                    let client = reply.client.0;
                    self.fail("S2", format!("r{index} gives client {client} another's session"));
                }
            }
            // A session that is gone stays gone, so that the checker's table, which is never behind a
            // replica's, decides.
            ClientReplyKind::Evicted { session, .. } => {
                if self.table.is_open(*session, reply.client.0) {
                    let client = reply.client.0;
                    self.fail("S2", format!("r{index} denies client {client} its open session"));
                }
            }
            ClientReplyKind::Reply { session, number, op, body } => {
                self.check_reply(index, *session, number.0, op.0, body.as_ref());
            }
            ClientReplyKind::Redirect { .. }
            | ClientReplyKind::Refused { .. }
            | ClientReplyKind::ReadReply { .. }
            | ClientReplyKind::ReadRefused { .. } => {}
        }
    }

    /// S16: a read saw the state after the op that its answer names.
    pub(crate) fn on_query(&mut self, index: usize, answer: &ClientReply<Bytes>, digest: Checksum) {
        let ClientReplyKind::ReadReply { op, .. } = &answer.kind else { return };
        let op = op.0;
        let executed = op.checked_sub(1).map(|place| self.executed.get(place as usize));
        match executed {
            Some(Some(executed)) if executed.digest != digest => {
                self.fail("S16", format!("r{index} reads another state than that after op {op}"));
            }
            Some(None) => {
                self.fail("S16", format!("r{index} reads at op {op}, which nobody executed"));
            }
            Some(Some(_)) | None => {}
        }
    }

    /// S16: what a client is told is no older than its read may see.
    pub(crate) fn on_read(&mut self, client: u32, least: u64, op: OpNumber) {
        if op.0 < least {
            self.fail("S16", format!("c{client} reads at op {op} and must see op {least}"));
        }
    }

    /// S7: what is called done is held. S2: the reply is that of executing the request, or, where it is
    /// too large to be kept, none.
    fn check_reply(
        &mut self,
        index: usize,
        session: Session,
        number: u64,
        op: u64,
        body: Option<&Bytes>,
    ) {
        self.check_copies(op);
        let Some(executed) = op.checked_sub(1).and_then(|i| self.executed.get(i as usize)) else {
            self.fail("S6", format!("r{index} answers op {op}, which nobody executed"));
            return;
        };
        let Some(entry) = self.entries.get(&executed.checksum.0) else { return };
        let kept_max = self.constants.kept_reply as usize;
        let mut replies = executed.replies.iter();
        let mut right = false;
        for (place, request) in (0..).zip(entry.requests()) {
            let Request::Operation { session: s, number: n, .. } = request else { continue };
            if executed.skip.contains(&place) {
                continue;
            }
            let given = replies.next();
            if *s == session && n.0 == number {
                right = match body {
                    Some(body) => given == Some(body),
                    None => given.is_some_and(|given| given.len() > kept_max),
                };
            }
        }
        if !right {
            self.fail("S2", format!("r{index} answers request {number} with another's reply"));
        }
    }
}

fn digest_of_table(replica: &Replica<Bytes>) -> Checksum {
    let mut digest = Digest::new();
    for (slot, state) in replica.sessions() {
        digest.write_u64(u64::from(slot));
        digest.write_u128(state.client.0);
        digest.write_u128(state.subject.0);
        digest.write_u64(state.number.0);
        digest.write_u64(state.executed.0);
        digest.write_u64(state.last_op.0);
        digest.write_u64(state.last_used.0);
        digest.write_u64(state.kept.len() as u64);
        for kept in &state.kept {
            digest.write_u64(kept.op.0);
            match &kept.reply {
                KeptReply::None => digest.write_u64(0),
                KeptReply::TooLarge => digest.write_u64(1),
                KeptReply::Reply(body) => {
                    digest.write_u64(2 + body.len() as u64);
                    digest.write(body);
                }
            }
        }
    }
    digest.finish()
}
