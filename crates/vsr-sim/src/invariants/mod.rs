//! The safety invariants, checked after every step.
//!
//! The checker watches from outside: the messages as they are sent, the disks as writes become
//! durable, the entries as they are executed. From these it decides by itself what is committed, and
//! keeps that as one canonical chain against which everything is compared, for all time:
//!
//! - `chain.rs`: S1 agreement, S3 validity, S15 nothing committed is cut
//! - `executed.rs`: S2 equal states, S6 each op once, S20 the client-table
//! - `disks.rs`: S7 what is acknowledged is held for ever, S13 it stays, S14 it is not denied
//! - `sent.rs`: S9 no forks, S10 what is said is durable, S11 promises, S12 quorums, S21 bounds
//! - `predicted.rs`: S23 values are predicted, and agreed to
//! - this file: S19 what is trimmed is in checkpoints, S4 linked logs, S5 and S10 numbers that only rise, S8 one primary a view, S13 logs keep
//!   what was acknowledged, S21 bounded memory, S22 late events

mod chain;
mod disks;
mod executed;
mod predicted;
mod sent;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use vsr_core::{
    Checksum, ClientRequest, ClientRequestKind, Config, Configuration, Constants, Durability,
    Effect, Effects, Entry, Event, HaltReason, Header, Holding, Mark, OpNumber, Replica, Session,
    StatusName, Summary, Usage, ViewNumber,
};

use crate::invariants::chain::{Committed, Held};
use crate::invariants::disks::Shadow;
use crate::invariants::executed::Executed;
use crate::invariants::sent::Heard;
use crate::marks::Marks;

/// Watches a world and knows what must hold.
#[derive(Clone, Debug)]
pub struct Checker {
    configuration: Configuration,
    constants: Constants,
    watched: Vec<Watched>,
    /// What is committed, from op 1 on.
    canonical: Vec<Committed>,
    /// By view: what each replica said in it that it holds durably.
    held: BTreeMap<ViewNumber, Vec<u64>>,
    /// What executing it did, from op 1 on.
    executed: Vec<Executed>,
    /// The digest of the checkpoint at an op, by the first replica that took one.
    checkpoints: BTreeMap<u64, Checksum>,
    /// Requests that were executed: session slot, session number, request number.
    done: BTreeSet<(u32, u64, u64)>,
    /// Requests that clients sent, with their digests. A number that was certainly not accepted is used
    /// again.
    asked: BTreeSet<((u32, u64, u64), u128)>,
    /// Clients that asked for a session.
    registering: BTreeSet<u128>,
    /// The checker's own client-table, after what was executed.
    table: executed::Table,
    predicted: predicted::Predicted,
    /// Every entry that was ever prepared.
    entries: BTreeMap<u128, Entry<Bytes>>,
    /// What was prepared, by view of the message and op.
    prepared: BTreeMap<(u64, u64), Checksum>,
    /// Which replica, in which incarnation, was primary of a view.
    primaries: BTreeMap<u64, (usize, u64)>,
    /// Who sent DO-VIEW-CHANGE for a view.
    offered: BTreeMap<u64, u32>,
    /// Whose a session is, for transcripts.
    sessions: BTreeMap<(u32, u64), u32>,
    /// The first op that nobody got a reply for yet.
    replied: u64,
    violation: Option<String>,
    marks: Marks,
}

/// What is known of one replica.
#[derive(Clone, Debug, Default)]
struct Watched {
    shadow: Shadow,
    /// The last summary of this life.
    last: Option<Summary>,
    /// What it was when it halted.
    before_halt: Option<StatusName>,
    /// The last op executed in this life.
    applied: u64,
    /// Its service does not have that state: the checkpoint was damaged at the start.
    stateless: bool,
    /// It stopped, its log was in memory, and it does not have that again yet.
    lost: bool,
    /// The view in which it had it again, and up to which op that was: asked of nobody's judgement.
    recalled: (u64, u64),
    /// The op of the last checkpoint that came from elsewhere in this life.
    fetched: u64,
    /// Up to which op the client-table was compared in this life.
    compared: u64,
    /// What this replica holds durably in the latest view in which it said so.
    held: Held,
    /// The latest view that it offered its log for: it keeps out of all earlier ones.
    promised: ViewNumber,
    /// The log view in memory, after the step whose effects are judged.
    log_view: ViewNumber,
    /// Where its log begins, after the step whose effects are judged.
    trimmed: u64,
    heard: Heard,
    halted: bool,
}

impl Checker {
    pub(crate) fn new(configs: &[Config]) -> Self {
        let config = configs.first().expect("a group has at least one replica");
        let mut marks = Marks::default();
        let voters = config.configuration().voters();
        if voters == 1 {
            marks.reach("group-of-one");
        }
        if voters.is_multiple_of(2) {
            marks.reach("even-group");
        }
        Self {
            configuration: config.configuration().clone(),
            constants: *config.constants(),
            watched: vec![Watched::default(); configs.len()],
            canonical: Vec::new(),
            held: BTreeMap::new(),
            executed: Vec::new(),
            checkpoints: BTreeMap::new(),
            done: BTreeSet::new(),
            asked: BTreeSet::new(),
            registering: BTreeSet::new(),
            table: executed::Table::new(config.constants()),
            predicted: predicted::Predicted::new(config.prediction()),
            entries: BTreeMap::new(),
            prepared: BTreeMap::new(),
            primaries: BTreeMap::new(),
            offered: BTreeMap::new(),
            sessions: BTreeMap::new(),
            replied: 0,
            violation: None,
            marks,
        }
    }

    /// The first invariant that was broken, and how.
    #[must_use]
    pub fn violation(&self) -> Option<&str> {
        self.violation.as_deref()
    }

    /// Which rare paths were taken.
    #[must_use]
    pub const fn marks(&self) -> &Marks {
        &self.marks
    }

    pub(crate) const fn marks_mut(&mut self) -> &mut Marks {
        &mut self.marks
    }

    /// The core notes a mark. A guard is there for what cannot happen.
    pub(crate) fn on_mark(&mut self, index: usize, mark: Mark) {
        if !self.marks.core(mark) {
            self.fail("guard", format!("r{index} reached what cannot be: {mark:?}"));
        }
        if mark == Mark::CheckpointMended {
            self.on_whole(index);
        } else if mark == Mark::CheckpointInstalled {
            self.on_installed(index);
        }
    }

    /// How many ops are committed, as seen from outside.
    #[must_use]
    pub const fn committed(&self) -> u64 {
        self.canonical.len() as u64
    }

    /// How many views were started after the first.
    #[must_use]
    pub fn view_changes(&self) -> u64 {
        self.primaries.keys().filter(|view| **view > 0).count() as u64
    }

    /// How many views after this one were started.
    pub(crate) fn views_started_after(&self, view: u64) -> u64 {
        self.primaries.range(view + 1..).count() as u64
    }

    /// The header that a checksum names, of all that were ever prepared.
    #[must_use]
    pub fn header(&self, checksum: Checksum) -> Option<&Header> {
        self.entries.get(&checksum.0).map(Entry::header)
    }

    /// All headers that were ever prepared.
    pub fn headers(&self) -> impl Iterator<Item = &Header> {
        self.entries.values().map(Entry::header)
    }

    /// The entry that a checksum names, of all that were ever prepared.
    #[must_use]
    pub fn entry(&self, checksum: Checksum) -> Option<&Entry<Bytes>> {
        self.entries.get(&checksum.0)
    }

    pub(crate) fn session_name(&self, session: Session) -> String {
        if session.number == OpNumber::ZERO {
            return format!("c{}", session.slot + 1);
        }
        self.sessions
            .get(&(session.slot, session.number.0))
            .map_or_else(|| format!("s{}@{}", session.slot, session.number), |c| format!("c{c}"))
    }

    /// A client learned its session.
    pub(crate) fn on_registered(&mut self, session: Session, client: u32) {
        self.sessions.insert((session.slot, session.number.0), client);
    }

    /// A client sends a request.
    pub(crate) fn on_request(&mut self, request: &ClientRequest<Bytes>) {
        match &request.kind {
            ClientRequestKind::Register => {
                self.registering.insert(request.client.0);
            }
            ClientRequestKind::Operation { session, number, digest, .. } => {
                let name = (session.slot, session.number.0, number.0);
                self.asked.insert((name, digest.0));
            }
            ClientRequestKind::Read { .. } => {}
        }
    }

    /// Forgets what a process has in memory; what it promised and what its disk holds stays.
    pub(crate) fn on_death(&mut self, index: usize) {
        let watched = &mut self.watched[index];
        watched.last = None;
        watched.applied = 0;
        watched.stateless = false;
        watched.fetched = 0;
        watched.compared = 0;
        watched.heard = Heard::default();
    }

    /// A replica halts, which it may where the group could do nothing but wait for ever (L9).
    pub(crate) fn on_halt(&mut self, index: usize, reason: HaltReason, must_wait: bool) {
        self.watched[index].before_halt = self.status_before_halt(index);
        self.watched[index].halted = true;
        if !must_wait {
            self.fail("S1", format!("r{index} halted: {reason}"));
        }
    }

    /// What a replica was before it halted.
    pub(crate) fn status_before_halt(&self, index: usize) -> Option<StatusName> {
        let watched = &self.watched[index];
        watched.before_halt.or_else(|| watched.last.as_ref().map(|last| last.status))
    }

    /// S21: nothing is done after a halt.
    pub(crate) fn after_halt(&mut self, index: usize, effect: &Effect<Bytes>) {
        if self.watched[index].halted && !matches!(effect, Effect::Note(_) | Effect::Halt(_)) {
            self.fail("S21", format!("r{index} acts after it halted: {effect:?}"));
        }
    }

    /// What a step made durable counts before what the step brought about is judged.
    pub(crate) fn before_effects(&mut self, index: usize, replica: &Replica<Bytes>) {
        let summary = replica.summary();
        self.watched[index].log_view = summary.log_view;
        self.watched[index].trimmed = summary.trimmed.0;
        if self.watched[index].lost && summary.status != StatusName::Recovering {
            self.watched[index].recalled = (summary.view.0, summary.op.0);
            self.remembers(index);
        }
        self.see_own_copy(index, replica, &summary);
    }

    /// What holds of a replica after each step.
    pub(crate) fn after_step(&mut self, index: usize, replica: &Replica<Bytes>, summary: &Summary) {
        let moved = self.watched[index].last.as_ref().is_none_or(|last| {
            (last.view, last.op, last.log_view, last.status, last.trimmed)
                != (summary.view, summary.op, summary.log_view, summary.status, summary.trimmed)
        });
        self.check_numbers(index, summary);
        self.check_trim(index, summary);
        let before = self.watched[index].last.as_ref().map(|last| last.view);
        if let Some(before) = before.filter(|before| *before < summary.view) {
            self.check_entry(index, before, summary.view);
        }
        if moved {
            self.check_links(index, replica, summary);
            self.check_acknowledged(index, replica, summary);
        }
        self.check_bounds(index, replica);
        self.check_primary(index, summary);
        self.check_table(index, replica, summary);
        self.watched[index].last = Some(summary.clone());
    }

    /// S5, S10: numbers are in order and only rise.
    fn check_numbers(&mut self, index: usize, now: &Summary) {
        let watched = &self.watched[index];
        let mut wrong = None;
        let mut demand = |holds: bool, what: &'static str| {
            if !holds {
                wrong.get_or_insert(what);
            }
        };
        demand(now.commit_min <= now.commit_max, "it executed more than is committed");
        demand(now.commit_min <= now.op, "it executed more than its log has");
        demand(now.checkpoint <= now.commit_min, "its checkpoint has more than it executed");
        let covered = now.checkpoint.0.max(watched.fetched);
        demand(now.trimmed.0 <= covered, "it forgot what no checkpoint has");
        demand(now.log_view <= now.view, "its log view is ahead of its view");
        demand(now.durable <= now.op, "more is durable than its log has");
        demand(now.commit_min.0 <= watched.applied, "it claims to have executed what it has not");
        let durable = &watched.shadow;
        demand(durable.view <= now.view, "its view is behind its disk");
        demand(durable.log_view <= now.log_view, "its log view is behind its disk");
        if let Some(last) = &watched.last {
            demand(last.commit_min <= now.commit_min, "commit_min fell");
            demand(last.commit_max <= now.commit_max, "commit_max fell");
            demand(last.checkpoint <= now.checkpoint, "its checkpoint fell");
            demand(last.trimmed <= now.trimmed, "its log grew at its beginning");
            demand(last.view <= now.view, "its view fell");
            demand(last.log_view <= now.log_view, "its log view fell");
            demand(last.incarnation == now.incarnation, "its incarnation changed while it lived");
        } else {
            demand(durable.commit_max <= now.commit_max, "it forgot what its superblock says");
        }
        if let Some(what) = wrong {
            let (view, op, commit) = (now.view, now.op, now.commit_min);
            self.fail("S5", format!("r{index}: {what} (view {view}, op {op}, commit {commit})"));
        }
    }

    /// S19: what a log lets go of is in a durable checkpoint of enough voters that every view-change quorum has
    /// one of them. What it lacked before it took a checkpoint from elsewhere is nothing it lets go of.
    fn check_trim(&mut self, index: usize, now: &Summary) {
        let watched = &self.watched[index];
        let before = watched.last.as_ref().map_or(now.trimmed, |last| last.trimmed);
        let trimmed = now.trimmed.0;
        if now.trimmed <= before || trimmed <= watched.fetched {
            return;
        }
        // Who had its memory from the others again may have the entries instead: it lets go of none before
        // it has a checkpoint of its own.
        let recalled = |watched: &Watched| {
            let shadow = &watched.shadow;
            let mut ops = shadow.checkpoint + 1..=trimmed;
            watched.recalled != (0, 0) && ops.all(|op| shadow.checksum(op) == self.canonical_at(op))
        };
        let has = |watched: &&Watched| watched.shadow.checkpoint >= trimmed || recalled(watched);
        let copies = self.watched.iter().filter(has).count();
        // Who lost its memory has it again from one of the others before it counts.
        let lost = self.watched.iter().filter(|watched| watched.lost).count();
        let needed = self.configuration.voters() - self.configuration.quorums().view_change + 1;
        if copies == 0 || copies + lost < needed {
            let what = format!(
                "r{index} lets go of op {trimmed}, which {copies} of {needed} have in a checkpoint"
            );
            self.fail("S19", what);
        }
    }

    /// S4: entries link to their predecessors, as far as a view change can have moved them.
    fn check_links(&mut self, index: usize, replica: &Replica<Bytes>, summary: &Summary) {
        let first = summary.op.0.saturating_sub(u64::from(self.constants.pipeline) + 1);
        for op in (first + 1..=summary.op.0).map(OpNumber) {
            let (Some(header), Some(parent)) = (replica.header(op), replica.header(op.previous()))
            else {
                continue;
            };
            if header.parent != parent.checksum || header.op != op {
                self.fail("S4", format!("r{index}: op {op} does not link to the op before it"));
                return;
            }
        }
    }

    /// S13: what it acknowledged in its log view stays in its log, unless a declared fault took it.
    /// Where a fault hides how it links, the slot keeps what is on the disk until the peers tell.
    fn check_acknowledged(&mut self, index: usize, replica: &Replica<Bytes>, summary: &Summary) {
        self.supersede_beside(index, summary.trimmed.0);
        let watched = &self.watched[index];
        let held = watched.held;
        let uncertain = [StatusName::RecoveringHead, StatusName::Recovering];
        if held.view != summary.log_view || uncertain.contains(&summary.status) {
            return;
        }
        let first = held.op.saturating_sub(u64::from(self.constants.pipeline)).max(1);
        let lost = (first..=held.op).find(|op| {
            let op = OpNumber(*op);
            let acknowledged = watched.shadow.acknowledged(op.0);
            let has = replica.header(op).map(|header| header.checksum);
            let kept = has.is_none() && replica.holding(op) != Holding::Missing;
            acknowledged.is_some() && has != acknowledged && !kept
        });
        if let Some(op) = lost {
            let view = held.view;
            self.fail("S13", format!("r{index} lost op {op}, which it acknowledged in {view}"));
        }
    }

    /// S21: what it holds in memory is bounded.
    fn check_bounds(&mut self, index: usize, replica: &Replica<Bytes>) {
        if let Some(usage) = replica.usage().iter().find(|usage| usage.used > usage.limit) {
            let Usage { what, used, limit } = usage;
            self.fail("S21", format!("r{index} has {used} {what}, and may have {limit}"));
        }
    }

    /// S8: a view has one primary, in one incarnation, and it is the one that the view names. It is
    /// primary when that is durable: one that dies before has said nothing, and may try again.
    fn check_primary(&mut self, index: usize, summary: &Summary) {
        let view = summary.view;
        if summary.status != StatusName::Primary || self.watched[index].shadow.log_view != view {
            return;
        }
        if self.configuration.primary(view) != summary.replica {
            self.fail("S8", format!("r{index} is primary of view {view}, which is another's"));
        }
        let this = (index, summary.incarnation.0);
        let first = *self.primaries.entry(view.0).or_insert(this);
        if first != this {
            self.fail("S8", format!("r{index} is primary of view {view} for a second time"));
        }
    }

    /// S22: an event that comes too late changes nothing, and brings nothing about.
    pub(crate) fn check_late_event(
        &mut self,
        index: usize,
        replica: &Replica<Bytes>,
        event: Event<Bytes>,
    ) {
        let mut after = replica.clone();
        let mut effects = Effects::new();
        let what = format!("{event:?}");
        // Each completion counts anew how far the log is durable without a gap, also one that is late:
        // a header that arrived since may have closed a gap.
        let counts_anew = matches!(event, Event::Written(_));
        after.step(event, &mut effects);
        let acts = effects.drain().any(|effect| !matches!(effect, Effect::Note(_)));
        let same = if counts_anew {
            let before = replica.summary();
            Summary { durable: before.durable, ..after.summary() } == before
        } else {
            after == *replica
        };
        if acts || !same {
            self.fail("S22", format!("r{index} acts on an event that is late: {what}"));
        }
    }

    fn is_in_memory(&self) -> bool {
        self.constants.durability == Durability::Memory
    }

    fn index_of(&self, op: u64) -> usize {
        (op - 1) as usize
    }

    fn fail(&mut self, invariant: &str, what: String) {
        if self.violation.is_none() {
            self.violation = Some(format!("{invariant}: {what}"));
        }
    }
}
