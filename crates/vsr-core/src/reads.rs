//! Reads without an entry in the log (paper, section 6.3; protocol.md 5.9; ADR 0019).
//!
//! 1. A linearizable read waits for a round that starts after it arrived. At most one round runs; all
//!    reads that arrived before it started share it, and the next one starts when it has ended.
//! 2. At the primary the round's read index is what it knows to be committed, and at least all that
//!    its view inherited. READ-PROBE goes to all. A backup that is normal in the view says READ-OK.
//!    Where answers stay away, those that came are asked to pass the question on.
//! 3. So many voters that every view-change quorum has one of them, the primary included, confirm the
//!    round: when it started, no later view had.
//! 4. A backup asks the primary by READ-PROBE for a read index. The question waits for a round like a
//!    read, and READ-OK brings the index.
//! 5. A read is answered when its index is executed. A causal read brings its index along; one of a bounded age
//!    takes that of the last round here, if the reads of that round arrived late enough.
//! 6. What a view confirmed ends with the view: its reads wait for a round of the next one.
//! 7. What waits too long is refused with a reason.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::config::Role;
use crate::effect::{Effect, Effects, Ignored, Mark, Query, Timer};
use crate::message::{ClientReplyKind, Kind, ReadPolicy, ReadRefusal};
use crate::quorum::Voters;
use crate::replica::Replica;
use crate::status::Status;
use crate::types::{Body, ClientId, Moment, Nonce, OpNumber, ReplicaId, RequestNumber, ViewNumber};

/// The most reads that wait at a replica: as many as a burst of a few rounds brings.
pub(crate) const READS_MAX: usize = 1024;

/// The most bytes of the operations of reads that wait, beside one of any size.
pub(crate) const READ_BYTES_MAX: usize = 4 << 20;

/// A read that has seen so many pings is refused: with default durations ten seconds. A question of a
/// backup may wait for a round that runs and then for its own, which takes three round trips, and on a
/// slow way none of these may be cut short; its client asks elsewhere long before.
const READ_PINGS_MAX: u32 = 50;

/// So often a primary asks by itself whether it is one, as a lost message is likelier than a cut link.
const READ_ATTEMPTS_ALONE: u32 = 2;

/// Reads that wait.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Reads<B> {
    /// For the next round.
    waiting: VecDeque<Read<B>>,
    /// By member: its question that waits for the next round.
    asks: Vec<Option<Nonce>>,
    round: Option<Round<B>>,
    /// For this op to be executed.
    indexed: VecDeque<(OpNumber, Read<B>)>,
    /// The index of the last round in this view, and when the last of its reads arrived: whatever was
    /// answered before is at or below the index.
    fresh: Option<(Moment, OpNumber)>,
    /// Bytes of all their operations.
    bytes: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Read<B> {
    client: ClientId,
    number: RequestNumber,
    policy: ReadPolicy,
    /// When it arrived.
    arrived: Moment,
    operation: B,
    /// Pings seen while it waited.
    pings: u32,
}

/// A round that runs: a primary's, or a backup's question to its primary.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Round<B> {
    nonce: Nonce,
    /// What was committed when it started; a backup learns it in the end.
    index: OpNumber,
    /// Who is known to have been in the view since it started.
    confirmed: Voters,
    /// By member: its question that this round answers.
    asks: Vec<Option<Nonce>>,
    reads: VecDeque<Read<B>>,
    attempt: u32,
}

impl<B: Body> Reads<B> {
    pub(crate) fn new(members: usize) -> Self {
        Self {
            waiting: VecDeque::new(),
            asks: alloc::vec![None; members],
            round: None,
            indexed: VecDeque::new(),
            fresh: None,
            bytes: 0,
        }
    }

    /// How many reads wait.
    pub(crate) fn len(&self) -> usize {
        let running = self.round.as_ref().map_or(0, |round| round.reads.len());
        self.waiting.len() + running + self.indexed.len()
    }

    /// Bytes of the operations of reads that wait.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a copy of a read waits already.
    fn has(&self, client: ClientId, number: RequestNumber) -> bool {
        let running = self.round.iter().flat_map(|round| &round.reads);
        let indexed = self.indexed.iter().map(|(_, read)| read);
        let mut all = self.waiting.iter().chain(running).chain(indexed);
        all.any(|read| read.client == client && read.number == number)
    }

    /// The view is left: what it confirmed counts no more. Whoever asked asks again.
    fn start_over(&mut self) {
        let mut again = VecDeque::new();
        if let Some(round) = self.round.take() {
            again.extend(round.reads);
        }
        for (index, read) in core::mem::take(&mut self.indexed) {
            match read.policy {
                ReadPolicy::Linearizable | ReadPolicy::Bounded { .. } => again.push_back(read),
                ReadPolicy::Causal { .. } => self.indexed.push_back((index, read)),
            }
        }
        again.append(&mut self.waiting);
        self.waiting = again;
        // What it waits for may have been cut.
        self.fresh = None;
        self.asks.fill(None);
    }

    /// Takes out what has waited too long, with the reason to refuse it.
    fn expire(&mut self) -> Vec<(Read<B>, ReadRefusal)> {
        let mut expired = Vec::new();
        let round = self.round.as_mut().map(|round| &mut round.reads);
        for queue in round.into_iter().chain([&mut self.waiting]) {
            for mut read in core::mem::take(queue) {
                read.pings += 1;
                if read.pings > READ_PINGS_MAX {
                    expired.push((read, ReadRefusal::NotConfirmed));
                } else {
                    queue.push_back(read);
                }
            }
        }
        for (index, mut read) in core::mem::take(&mut self.indexed) {
            read.pings += 1;
            if read.pings > READ_PINGS_MAX {
                expired.push((read, ReadRefusal::Behind));
            } else {
                self.indexed.push_back((index, read));
            }
        }
        self.bytes -= expired.iter().map(|(read, _)| read.operation.as_ref().len()).sum::<usize>();
        expired
    }
}

impl<B> Round<B> {
    /// Whether nobody waits for it any more.
    fn is_idle(&self) -> bool {
        self.reads.is_empty() && self.asks.iter().all(Option::is_none)
    }
}

/// What was answered so long before is at or below the index that is returned.
fn young_enough(fresh: Option<(Moment, OpNumber)>, age: u32, arrived: Moment) -> Option<OpNumber> {
    let age = u64::from(age) * 1_000_000;
    fresh.filter(|(at, _)| at.0.saturating_add(age) > arrived.0).map(|(_, index)| index)
}

impl<B: Body> Replica<B> {
    // Step 1: reads wait for a round.

    pub(crate) fn on_read(
        &mut self,
        client: ClientId,
        number: RequestNumber,
        (policy, arrived): (ReadPolicy, Moment),
        operation: B,
        effects: &mut Effects<B>,
    ) {
        let length = operation.as_ref().len();
        let refuse = |reason| ClientReplyKind::ReadRefused { number, reason };
        if length > self.config.constants().request_bytes as usize {
            let reply = self.client_reply(client, refuse(ReadRefusal::NotARead));
            return effects.push(Effect::Reply(reply));
        }
        // Where room runs short a copy takes none.
        if self.reads.len() >= READS_MAX / 2 && self.reads.has(client, number) {
            return self.ignore(Ignored::Repeated, effects);
        }
        if matches!(policy, ReadPolicy::Causal { after } if after > self.log_limit()) {
            let reply = self.client_reply(client, refuse(ReadRefusal::Behind));
            return effects.push(Effect::Reply(reply));
        }
        let full = self.reads.bytes > 0 && self.reads.bytes + length > READ_BYTES_MAX;
        if full || self.reads.len() >= READS_MAX {
            let reply = self.client_reply(client, refuse(ReadRefusal::Busy));
            return effects.push(Effect::Reply(reply));
        }
        self.reads.bytes += length;
        let read = Read { client, number, policy, arrived, operation, pings: 0 };
        let index = match policy {
            ReadPolicy::Linearizable => None,
            ReadPolicy::Causal { after } => Some(after),
            ReadPolicy::Bounded { age } => young_enough(self.reads.fresh, age, arrived),
        };
        match index {
            Some(index) => {
                if matches!(policy, ReadPolicy::Bounded { .. }) {
                    self.mark(Mark::ReadOfBoundedAge, effects);
                }
                self.reads.indexed.push_back((index, read));
            }
            None => self.reads.waiting.push_back(read),
        }
    }

    pub(crate) fn flush_reads(&mut self, effects: &mut Effects<B>) {
        self.start_round(effects);
        self.answer_reads(effects);
    }

    // Steps 2 and 4: a round starts.

    fn start_round(&mut self, effects: &mut Effects<B>) {
        let asked = self.reads.asks.iter().any(Option::is_some);
        let wanted = asked || !self.reads.waiting.is_empty();
        if self.reads.round.is_some() || !wanted || !self.is_log_view_durable() {
            return;
        }
        let (index, to) = match &self.status {
            // What was inherited may have been committed, and answered, by an earlier primary.
            Status::Primary(primary) if primary.announced => {
                (self.commit_max.max(primary.inherited), None)
            }
            Status::Backup(_) => (OpNumber::ZERO, Some(self.primary())),
            Status::Primary(_)
            | Status::ViewChange(_)
            | Status::RecoveringHead(_)
            | Status::Recovering(_)
            | Status::Halted(_) => return,
        };
        let nonce = self.next_nonce();
        let mut confirmed = Voters::default();
        confirmed.insert(self.index);
        let members = self.incarnations.len();
        self.reads.round = Some(Round {
            nonce,
            index,
            confirmed,
            asks: core::mem::replace(&mut self.reads.asks, alloc::vec![None; members]),
            reads: core::mem::take(&mut self.reads.waiting),
            attempt: 0,
        });
        match to {
            Some(primary) => self.send(primary, Kind::ReadProbe { nonce, relay: false }, effects),
            None => self.broadcast(Kind::ReadProbe { nonce, relay: false }, effects),
        }
        self.arm(Timer::ReadResend, 0, effects);
        self.try_confirm(effects);
    }

    pub(crate) fn on_read_resend(&mut self, effects: &mut Effects<B>) {
        let primary = self.primary();
        let durable = self.is_log_view_durable();
        let Some(round) = &mut self.reads.round else { return };
        round.attempt += 1;
        let (nonce, attempt, confirmed) = (round.nonce, round.attempt, round.confirmed);
        if !durable {
            // A checkpoint from elsewhere was installed in between, and is not durable yet.
            return self.arm(Timer::ReadResend, attempt, effects);
        }
        if primary == self.config.replica() {
            let relays = attempt >= READ_ATTEMPTS_ALONE;
            for (index, member) in (0..).zip(self.config.configuration().members()) {
                let relay = confirmed.contains(index);
                if (relays || !relay) && member.id != primary {
                    self.send(member.id, Kind::ReadProbe { nonce, relay }, effects);
                }
            }
        } else {
            self.send(primary, Kind::ReadProbe { nonce, relay: false }, effects);
        }
        self.mark(Mark::ReadProbeResent, effects);
        self.arm(Timer::ReadResend, attempt, effects);
    }

    /// A primary wants to know whether this replica is in its view still, or a backup asks this
    /// primary for a read index.
    pub(crate) fn on_read_probe(
        &mut self,
        (from, index): (ReplicaId, usize),
        view: ViewNumber,
        nonce: Nonce,
        relay: bool,
        effects: &mut Effects<B>,
    ) {
        if view < self.view {
            self.hint(from, effects);
            return self.ignore(Ignored::OlderView, effects);
        }
        if view > self.view {
            return self.look_for(view, effects);
        }
        let durable = self.is_log_view_durable();
        let primary = self.primary();
        match &mut self.status {
            // Only a primary that is not heard has its question brought by another backup.
            Status::Backup(backup) if durable => {
                backup.heard_primary |= from == primary;
                self.send(primary, Kind::ReadOk { nonce, index: None }, effects);
                if relay && from == primary {
                    self.relay_read_probe(nonce, effects);
                }
            }
            Status::Primary(_) => {
                let running = self.reads.round.as_ref().and_then(|round| round.asks[index]);
                if running == Some(nonce) {
                    return self.ignore(Ignored::Repeated, effects);
                }
                self.reads.asks[index] = Some(nonce);
            }
            Status::RecoveringHead(_) => self.ignore(Ignored::HeadUncertain, effects),
            Status::Backup(_)
            | Status::ViewChange(_)
            | Status::Recovering(_)
            | Status::Halted(_) => {
                self.ignore(Ignored::WrongStatus, effects);
            }
        }
    }

    /// Passes the primary's question on to the others; the primary's links to them may be cut.
    fn relay_read_probe(&mut self, nonce: Nonce, effects: &mut Effects<B>) {
        self.mark(Mark::ReadProbeRelayed, effects);
        let ends = [self.primary(), self.config.replica()];
        for member in self.config.configuration().members() {
            if !ends.contains(&member.id) {
                self.send(member.id, Kind::ReadProbe { nonce, relay: false }, effects);
            }
        }
    }

    // Step 3: a round is confirmed.

    pub(crate) fn on_read_ok(
        &mut self,
        from: ReplicaId,
        index: usize,
        view: ViewNumber,
        nonce: Nonce,
        read_index: Option<OpNumber>,
        effects: &mut Effects<B>,
    ) {
        if view < self.view {
            return self.ignore(Ignored::OlderView, effects);
        }
        if view > self.view {
            return self.look_for(view, effects);
        }
        let limit = self.log_limit();
        let primary = self.primary();
        let asks_primary = primary != self.config.replica();
        let Some(round) = self.reads.round.as_mut().filter(|round| round.nonce == nonce) else {
            return self.ignore(Ignored::NotAsked, effects);
        };
        match read_index {
            Some(_) if !asks_primary => self.ignore(Ignored::Malformed, effects),
            Some(_) if from != primary => self.ignore(Ignored::NotFromPrimary, effects),
            Some(read_index) if read_index > limit => self.refuse_round(effects),
            Some(read_index) => {
                round.index = read_index;
                self.mark(Mark::ReadAtBackup, effects);
                self.end_round(effects);
            }
            None if asks_primary => self.ignore(Ignored::Malformed, effects),
            None if self.config.configuration().role(from) == Some(Role::Learner) => {
                self.ignore(Ignored::Stranger, effects);
            }
            None if round.confirmed.contains(index) => self.ignore(Ignored::Repeated, effects),
            None => {
                round.confirmed.insert(index);
                self.try_confirm(effects);
            }
        }
    }

    fn try_confirm(&mut self, effects: &mut Effects<B>) {
        let configuration = self.config.configuration();
        // Every view-change quorum has one of so many.
        let needed = configuration.voters() + 1 - configuration.quorums().view_change;
        let confirmed = |round: &Round<B>| round.confirmed.count() >= needed;
        if matches!(self.status, Status::Primary(_))
            && self.reads.round.as_ref().is_some_and(confirmed)
        {
            self.end_round(effects);
        }
    }

    /// This replica is so far behind that its log has no room for what its reads must see.
    fn refuse_round(&mut self, effects: &mut Effects<B>) {
        self.disarm(Timer::ReadResend, effects);
        let Some(round) = self.reads.round.take() else { return };
        for read in round.reads {
            self.reads.bytes -= read.operation.as_ref().len();
            self.refuse_read(&read, ReadRefusal::Behind, effects);
        }
    }

    fn refuse_read(&self, read: &Read<B>, reason: ReadRefusal, effects: &mut Effects<B>) {
        let kind = ClientReplyKind::ReadRefused { number: read.number, reason };
        effects.push(Effect::Reply(self.client_reply(read.client, kind)));
    }

    fn end_round(&mut self, effects: &mut Effects<B>) {
        self.disarm(Timer::ReadResend, effects);
        let Some(round) = self.reads.round.take() else { return };
        if round.reads.len() > 1 {
            self.mark(Mark::ReadsShareRound, effects);
        }
        // They arrived before the round started.
        if let Some(arrived) = round.reads.iter().map(|read| read.arrived).max() {
            self.reads.fresh = Some((arrived, round.index));
        }
        let indexed = round.reads.into_iter().map(|read| (round.index, read));
        self.reads.indexed.extend(indexed);
        let abdicating = matches!(&self.status, Status::Primary(primary) if primary.abdicating);
        let commit = self.committed();
        for (member, nonce) in self.config.configuration().members().iter().zip(round.asks) {
            if let Some(nonce) = nonce {
                // It may not know yet that what it must have executed is committed, and would learn that by
                // the next PREPARE or heartbeat.
                if !abdicating {
                    self.send(member.id, Kind::Commit { commit }, effects);
                }
                let kind = Kind::ReadOk { nonce, index: Some(round.index) };
                self.send(member.id, kind, effects);
            }
        }
    }

    // Step 5: reads are answered.

    /// The service executes in the order of the effects: behind what was handed to it, a read sees all
    /// of that.
    fn answer_reads(&mut self, effects: &mut Effects<B>) {
        // The service's state is later than what this replica has executed; or what it executed in a former
        // life is not here, and it would pass for a replica of an empty group.
        if self.transfer.is_restored() || matches!(self.status, Status::Recovering(_)) {
            return;
        }
        let op = self.issued();
        for (index, read) in core::mem::take(&mut self.reads.indexed) {
            if index > op {
                self.reads.indexed.push_back((index, read));
                continue;
            }
            self.reads.bytes -= read.operation.as_ref().len();
            let kind = ClientReplyKind::ReadReply { number: read.number, op, body: read.operation };
            let query = Query::new(self.client_reply(read.client, kind));
            effects.push(Effect::Query(query));
        }
    }

    // Step 6: the view is left.

    pub(crate) fn restart_reads(&mut self, effects: &mut Effects<B>) {
        if self.reads.round.is_some() {
            self.mark(Mark::ReadRoundAbandoned, effects);
        }
        self.disarm(Timer::ReadResend, effects);
        self.reads.start_over();
    }

    // Step 7: what waits too long.

    pub(crate) fn expire_reads(&mut self, effects: &mut Effects<B>) {
        for (read, reason) in self.reads.expire() {
            self.mark(Mark::ReadExpired, effects);
            self.refuse_read(&read, reason, effects);
        }
        if self.reads.round.as_ref().is_some_and(Round::is_idle) {
            self.reads.round = None;
            self.disarm(Timer::ReadResend, effects);
        }
    }
}
