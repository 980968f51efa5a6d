//! Repair: what this replica lacks of its log is fetched by identity, and what others lack is served
//! (protocol.md 5.2; it replaces the paper's state transfer within the log, D9 to D11).
//!
//! 1. A gap between the trusted prefix and the suffix is closed from above with HEADERS.
//! 2. Entries whose header is known and whose requests are not are asked for by op and checksum,
//!    lowest first, a bounded number at a time, of one peer after another.
//! 3. An answer is taken if it is exactly what a slot lacks, whenever it comes.
//! 4. What is not in memory any more is read back from the store, for peers and for the service.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::digest::Checksum;
use crate::effect::{Effect, Effects, HaltReason, Ignored, Mark, Note, Timer};
use crate::entry::{Entry, Header};
use crate::log::Holding;
use crate::message::{Committed, HEADERS_MAX, Kind, WANTED_MAX};
use crate::replica::{BODIES_IN_MEMORY, Replica};
use crate::status::Status;
use crate::types::{Body, OpNumber, ReplicaId, ViewNumber};

/// How many entries that peers asked for may wait to be read from the store.
pub(crate) const SERVE_MAX: usize = 256;

/// How many entries are read from the store at a time, and about how many bytes of operations: a
/// read of 1 MiB costs the storage thread well under a heartbeat.
const READ_ENTRIES_MAX: u64 = 256;
const READ_BYTES_MAX: u64 = 1 << 20;

/// How many entries are asked for at a time where more than [`WANTED_MAX`] are lacking: 1 MiB of full ones,
/// behind which what is new does not wait for long.
const BULK_WANTED: usize = 16;

/// After so many rounds of all peers in vain nobody is thought to have what is asked for.
pub(crate) const ROUNDS_MAX: usize = 2;

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Repair {
    /// A GET-HEADERS is out.
    headers_asked: bool,
    /// Ops of entries that are asked for.
    wanted: Vec<OpNumber>,
    /// The commit beyond the own log that was heard of.
    anchor: Option<Committed>,
    /// What peers wait for that must be read from the store.
    serve: VecDeque<(ReplicaId, OpNumber, Checksum)>,
    /// The range being read from the store.
    reading: Option<(OpNumber, OpNumber)>,
    /// The last read was for the service; then it is the peers' turn.
    read_for_service: bool,
    /// Whose turn it is to be asked.
    turn: u32,
    /// How many of `wanted` were answered with NACK.
    nacked: usize,
    /// How many peers were asked before the timer ran out, since those before said NACK.
    hops: usize,
    attempt: u32,
    /// Entries repaired since the start.
    pub(crate) repaired: u64,
    /// An entry was repaired while this replica was a primary that was not ready.
    pub(crate) helped_primary: bool,
}

impl Repair {
    /// How often in a row peers were asked in vain.
    pub(crate) const fn attempts(&self) -> u32 {
        self.attempt
    }

    /// Forgets what was asked for in a view that is left. What is served or read goes on.
    pub(crate) fn reset(&mut self) {
        self.headers_asked = false;
        self.ask_anew();
        self.hops = 0;
        self.anchor = None;
        self.attempt = 0;
        self.helped_primary = false;
    }

    fn ask_anew(&mut self) {
        self.wanted.clear();
        self.nacked = 0;
    }

    pub(crate) fn pending(&self) -> usize {
        self.wanted.len() + usize::from(self.headers_asked)
    }

    /// How many entries are asked for.
    pub(crate) fn wanted(&self) -> usize {
        self.wanted.len()
    }

    /// How many entries wait to be read for peers.
    pub(crate) fn served(&self) -> usize {
        self.serve.len()
    }

    pub(crate) fn learn_anchor(&mut self, commit: Committed) {
        if self.anchor.is_none_or(|anchor| anchor.op < commit.op) {
            self.anchor = Some(commit);
        }
    }
}

impl<B: Body> Replica<B> {
    pub(crate) fn flush_repair(&mut self, effects: &mut Effects<B>) {
        self.read_back(effects);
        if !self.repairs() || !self.is_started() || self.incarnations.len() == 1 {
            return;
        }
        if self.repair.anchor.is_some_and(|anchor| anchor.op <= self.log.op()) {
            self.repair.anchor = None;
        }
        self.ask_for_headers(effects);
        self.ask_for_entries(effects);
        if self.repair.pending() == 0 {
            self.repair.attempt = 0;
            self.disarm(Timer::Repair, effects);
        } else if !self.is_armed(Timer::Repair) {
            self.arm(Timer::Repair, self.repair.attempt, effects);
        }
    }

    /// Whether the log is that of the replica's view, so that what it lacks is to be fetched.
    fn repairs(&self) -> bool {
        self.is_fetching_log() || matches!(self.status, Status::Primary(_) | Status::Backup(_))
    }

    // Step 1: headers.

    fn ask_for_headers(&mut self, effects: &mut Effects<B>) {
        let beyond = self.repair.anchor.map(|anchor| (self.log.op().next(), anchor.op));
        let Some((first, last)) = self.log.gap().or(beyond) else {
            self.repair.headers_asked = false;
            return;
        };
        if !self.repair.headers_asked {
            self.repair.headers_asked = true;
            self.send(self.peer_in_turn(), Kind::GetHeaders { first, last }, effects);
        }
    }

    pub(crate) fn on_get_headers(
        &mut self,
        from: ReplicaId,
        first: OpNumber,
        last: OpNumber,
        effects: &mut Effects<B>,
    ) {
        if first > last || first == OpNumber::ZERO {
            return self.ignore(Ignored::Malformed, effects);
        }
        let last = last.min(self.log.op());
        let ops = (first.0..=last.0).rev().map(OpNumber);
        let mut headers: Vec<Header> =
            ops.map_while(|op| self.log.header(op).copied()).take(HEADERS_MAX).collect();
        headers.reverse();
        if headers.is_empty() {
            return self.ignore(Ignored::OutOfWindow, effects);
        }
        self.send(from, Kind::Headers { headers }, effects);
    }

    pub(crate) fn on_headers(&mut self, headers: Vec<Header>, effects: &mut Effects<B>) {
        if !self.repairs() {
            return self.ignore(Ignored::WrongStatus, effects);
        }
        let mut taken = false;
        for header in headers.iter().rev() {
            if !header.is_intact() {
                break;
            }
            let anchored = self
                .repair
                .anchor
                .is_some_and(|anchor| anchor.op == header.op && anchor.checksum == header.checksum);
            let result = if anchored && header.op > self.log.op() {
                self.log.append(*header).map(|()| true)
            } else {
                self.log.fill_below(*header)
            };
            match self.check(result, effects) {
                Some(filled) => taken |= filled,
                None => return,
            }
        }
        if !taken {
            return self.ignore(Ignored::NotAsked, effects);
        }
        self.log.advance_durable();
        self.repair.headers_asked = false;
        self.repair.attempt = 0;
        self.mark(Mark::HeadersFetched, effects);
    }

    // Step 2: entries.

    fn ask_for_entries(&mut self, effects: &mut Effects<B>) {
        if !self.repair.wanted.is_empty() {
            let log = &self.log;
            self.repair.wanted.retain(|op| log.lacks(*op));
        }
        self.ask_elsewhere();
        if !self.outbox.has_room() {
            return;
        }
        // All that is lacking is asked for already: to look for more is to go through the log.
        if self.log.lacking() <= self.repair.wanted.len() {
            return;
        }
        let limit = if self.lacks_much() { BULK_WANTED } else { WANTED_MAX };
        if self.repair.wanted.len() > limit / 2 {
            return;
        }
        // Headers first: while there is a gap, what lies beyond it cannot be used.
        if self.log.gap().is_some() {
            return;
        }
        let room = limit - self.repair.wanted.len();
        let asked = &self.repair.wanted;
        let withheld = self.withheld();
        let wanted =
            self.log.lacked().filter(|(op, _)| !asked.contains(op) && !withheld.contains(op));
        let wanted = wanted.take(room);
        let wanted: Vec<(OpNumber, Checksum)> = wanted.collect();
        if wanted.is_empty() {
            return;
        }
        self.repair.wanted.extend(wanted.iter().map(|(op, _)| *op));
        self.send(self.peer_in_turn(), Kind::GetEntry { wanted }, effects);
    }

    fn lacks_much(&self) -> bool {
        self.log.lacking() > WANTED_MAX
    }

    /// The peer that was asked has nothing more to give: the next one is asked at once, but nobody
    /// twice before the timer runs out.
    fn ask_elsewhere(&mut self) {
        let repair = &mut self.repair;
        let peers = self.incarnations.len() - 1;
        if repair.nacked > 0 && repair.nacked >= repair.wanted.len() && repair.hops + 1 < peers {
            repair.ask_anew();
            repair.hops += 1;
            repair.turn = repair.turn.wrapping_add(1);
        }
    }

    /// Whom to ask: a backup asks the primary first; then each peer in turn. Where it lacks much it asks the
    /// primary last, which has more to do than others.
    fn peer_in_turn(&self) -> ReplicaId {
        let members = self.config.configuration().members();
        let primary = self.config.configuration().index(self.primary()).unwrap_or(0);
        let start = primary + usize::from(self.lacks_much());
        let others = (0..members.len()).map(|step| (start + step) % members.len());
        let others: Vec<usize> = others.filter(|index| *index != self.index).collect();
        members[others[self.repair.turn as usize % others.len()]].id
    }

    pub(crate) fn on_get_entry(
        &mut self,
        from: ReplicaId,
        wanted: &[(OpNumber, Checksum)],
        effects: &mut Effects<B>,
    ) {
        if wanted.len() > WANTED_MAX {
            return self.ignore(Ignored::Malformed, effects);
        }
        for (op, checksum) in wanted.iter().copied() {
            let slot = self.log.slot(op).filter(|slot| {
                slot.header.as_ref().is_some_and(|header| header.checksum == checksum)
            });
            let holding = self.log.holding(op);
            if let Some(entry) = slot.and_then(|slot| slot.body.as_ref()) {
                self.send(from, Kind::Entry { entry: entry.clone() }, effects);
            } else if slot.is_some() && holding == Holding::Durable {
                if self.repair.serve.len() < SERVE_MAX {
                    self.repair.serve.push_back((from, op, checksum));
                }
            } else if holding != Holding::Faulty && !matches!(self.status, Status::Recovering(_)) {
                self.send(from, Kind::Nack { op, checksum }, effects);
            }
        }
    }

    // Step 3: answers.

    pub(crate) fn on_entry(&mut self, entry: Entry<B>, effects: &mut Effects<B>) {
        if !self.repairs() {
            return self.ignore(Ignored::WrongStatus, effects);
        }
        let op = entry.header().op;
        if self.log.checksum(op) != Some(entry.header().checksum) {
            return self.ignore(Ignored::NotAsked, effects);
        }
        if !self.log.lacks(op) {
            return self.ignore(Ignored::Repeated, effects);
        }
        if !self.outbox.has_room() {
            return self.ignore(Ignored::OutOfWindow, effects);
        }
        if !entry.is_intact() {
            return self.ignore(Ignored::WrongChecksum, effects);
        }
        // What is not committed is judged, however it came.
        if self.is_to_be_checked(entry.header(), OpNumber::ZERO) {
            return self.start_check(entry, effects);
        }
        let faulty = self.log.holding(op) == Holding::Faulty;
        self.mark(if faulty { Mark::FaultyRepaired } else { Mark::BodyFetched }, effects);
        effects.push(Effect::Note(Note::Repaired(op)));
        if let Status::Primary(primary) = &self.status {
            self.repair.helped_primary |= !primary.ready;
        }
        self.repair.repaired += 1;
        self.repair.attempt = 0;
        self.hold(entry, effects);
    }

    pub(crate) fn on_nack(
        &mut self,
        index: usize,
        view: ViewNumber,
        op: OpNumber,
        checksum: Checksum,
        effects: &mut Effects<B>,
    ) {
        let known = self.log.checksum(op) == Some(checksum);
        if known && self.repair.wanted.contains(&op) {
            self.repair.nacked += 1;
        } else if known && self.may_be_refused(view, op) {
            self.on_refusal(index, op, effects);
        } else {
            self.ignore(Ignored::NotAsked, effects);
        }
    }

    pub(crate) fn on_repair_timeout(&mut self, effects: &mut Effects<B>) {
        self.repair.headers_asked = false;
        self.repair.ask_anew();
        self.repair.hops = 0;
        self.repair.turn = self.repair.turn.wrapping_add(1);
        self.repair.attempt += 1;
        if self.repair.attempt as usize > ROUNDS_MAX * self.incarnations.len() {
            self.trim_lacking(effects);
            let (covered, _) = self.durable_checkpoint();
            let lacks = self.log.first_lacking_after(covered);
            if lacks.is_some_and(|op| op <= self.commit_min) {
                // Nobody gives what is executed here: a checkpoint has it, for whoever lacks it as well.
                self.want_checkpoint();
            }
        }
    }

    // Step 4: the store.

    fn read_back(&mut self, effects: &mut Effects<B>) {
        if self.repair.reading.is_some() {
            return;
        }
        let for_service = self.range_for_service();
        let for_peers = self.range_for_peers();
        let range = if self.repair.read_for_service {
            for_peers.or(for_service)
        } else {
            for_service.or(for_peers)
        };
        let Some((first, last)) = range else { return };
        self.repair.read_for_service = range == for_service;
        self.repair.reading = range;
        effects.push(Effect::ReadEntries { first, last });
    }

    /// The last op that the service needs soon. With a slow service all of a long backlog may be in
    /// memory, or much of a backlog of large entries: so many, and so many bytes, are kept for it.
    pub(crate) fn needed_next(&self) -> OpNumber {
        let first = self.issued().next();
        let last = self.executable().min(OpNumber(self.issued().0 + READ_ENTRIES_MAX));
        if last < first {
            return self.issued();
        }
        self.log.within(first, last, BODIES_IN_MEMORY)
    }

    /// What the service needs next and is not in memory; a new primary also needs what it inherited,
    /// once all that is committed of it fits.
    fn range_for_service(&self) -> Option<(OpNumber, OpNumber)> {
        let first = self.issued().next();
        let needed = self.needed_next();
        let target = match &self.status {
            Status::Primary(primary) if !primary.ready && needed == self.executable() => {
                needed.max(primary.inherited.min(self.log.trusted()))
            }
            Status::Primary(_)
            | Status::Backup(_)
            | Status::ViewChange(_)
            | Status::RecoveringHead(_)
            | Status::Recovering(_)
            | Status::Halted(_) => needed,
        };
        let mut ops = (first.0..=target.0).map(OpNumber);
        let first = ops.find(|op| self.log.body(*op).is_none())?;
        if self.log.holding(first) != Holding::Durable {
            return None;
        }
        let mut bytes = 0;
        let mut last = first;
        for op in (first.0..=target.0).take(READ_ENTRIES_MAX as usize).map(OpNumber) {
            let readable = self.log.holding(op) == Holding::Durable && self.log.body(op).is_none();
            bytes += self.log.header(op).map_or(0, |header| u64::from(header.length));
            if !readable || (bytes > READ_BYTES_MAX && op > first) {
                break;
            }
            last = op;
        }
        Some((first, last))
    }

    fn range_for_peers(&self) -> Option<(OpNumber, OpNumber)> {
        let mut ops = self.repair.serve.iter().map(|(_, op, _)| *op);
        let first = ops.next()?;
        let mut last = first;
        for op in ops {
            if op != last.next() {
                break;
            }
            last = op;
        }
        Some((first, last))
    }

    pub(crate) fn on_entries_read(
        &mut self,
        entries: Vec<Entry<B>>,
        faulty: Vec<OpNumber>,
        effects: &mut Effects<B>,
    ) {
        let Some((first, _)) = self.repair.reading.take() else {
            return self.ignore(Ignored::StaleCompletion, effects);
        };
        self.mark(Mark::EntryReadBack, effects);
        let reached = entries.iter().map(|entry| entry.header().op).chain(faulty.iter().copied());
        let reached = reached.max().unwrap_or(first);
        if entries.is_empty() && faulty.is_empty() {
            // A store that has nothing to say of a durable record has lost it.
            self.on_faulty(first, effects);
        }
        for entry in entries {
            let op = entry.header().op;
            if self.is_another(&entry) {
                self.on_faulty(op, effects);
                continue;
            }
            self.serve(&entry, effects);
            if op > self.issued() {
                self.log.cache(entry);
            }
        }
        for op in faulty {
            self.on_faulty(op, effects);
        }
        // What was read over and not found is not here any more.
        self.repair.serve.retain(|(_, op, _)| *op < first || *op > reached);
    }

    /// Whether the store holds another entry than was reported durable: it lost a write. To read it
    /// once more would give the same, for ever.
    fn is_another(&self, entry: &Entry<B>) -> bool {
        let slot = self.log.slot(entry.header().op);
        let held = slot.and_then(|slot| slot.header.as_ref());
        held.is_some_and(|header| header.checksum != entry.header().checksum)
    }

    fn serve(&self, entry: &Entry<B>, effects: &mut Effects<B>) {
        let header = entry.header();
        for (to, op, checksum) in &self.repair.serve {
            if *op == header.op && *checksum == header.checksum {
                self.send(*to, Kind::Entry { entry: entry.clone() }, effects);
            }
        }
    }

    /// A record is damaged. What is in memory is written again; all else must come from a peer.
    pub(crate) fn on_faulty(&mut self, op: OpNumber, effects: &mut Effects<B>) {
        if self.log.slot(op).is_none() {
            return self.ignore(Ignored::OutOfWindow, effects);
        }
        if self.log.holding(op) != Holding::Durable {
            return self.ignore(Ignored::Repeated, effects);
        }
        effects.push(Effect::Note(Note::FoundFaulty(op)));
        let (checkpoint, _) = self.durable_checkpoint();
        if let Some(entry) = self.log.body(op).cloned() {
            self.log.mark_faulty(op, checkpoint);
            self.hold(entry, effects);
        } else if self.incarnations.len() > 1 {
            self.log.mark_faulty(op, checkpoint);
            self.persist_faulty(op, effects);
        } else if op <= self.commit_min {
            // Nobody else has it; but the service has executed it, and says so in a checkpoint.
            if op > checkpoint {
                self.want_checkpoint();
            }
        } else {
            self.halt(HaltReason::Damaged(op), effects);
        }
    }
}
