//! S9 to S12, S21: what replicas say, checked at the door through which it leaves.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use vsr_core::{
    HEADERS_MAX, Kind, Message, OpNumber, PREDICTION_BYTES_MAX, ViewNumber, WANTED_MAX,
};

use crate::invariants::Checker;
use crate::invariants::chain::Held;

/// What reached a replica in its present life, by view.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard {
    /// Views of which it heard.
    views: BTreeSet<u64>,
    /// Who voted to leave a view.
    votes: BTreeMap<u64, u32>,
    /// Who offered a log for a view.
    offers: BTreeMap<u64, u32>,
}

impl Heard {
    fn forget_before(&mut self, view: ViewNumber) {
        self.views = self.views.split_off(&view.0);
        self.votes = self.votes.split_off(&view.0);
        self.offers = self.offers.split_off(&view.0);
    }
}

impl Checker {
    /// A replica sends a message.
    pub(crate) fn on_send(&mut self, index: usize, message: &Message<Bytes>) {
        let view = message.view;
        let durable = &self.watched[index].shadow;
        let (log_view, entered) = (durable.log_view, durable.view);
        if message.incarnation > durable.incarnation {
            self.fail("S10", format!("r{index} speaks in an incarnation that is not durable"));
        }
        self.check_remembers(index, &message.kind);
        match &message.kind {
            Kind::Prepare { entry, commit } => {
                self.check_act(index, view, "PREPARE");
                let header = entry.header();
                let key = (view.0, header.op.0);
                let first = *self.prepared.entry(key).or_insert(header.checksum);
                if first != header.checksum {
                    let op = header.op;
                    self.fail("S9", format!("view {view} has two entries at op {op}"));
                }
                self.entries.entry(header.checksum.0).or_insert_with(|| entry.clone());
                if header.view == view {
                    self.check_value(index, entry);
                }
                let value = entry.prediction().map_or(0, |value| value.len());
                let bytes = self.constants.batch_bytes as usize + value;
                let bound = entry.requests().len() <= self.constants.batch_requests as usize
                    && (header.length as usize <= bytes || entry.requests().len() == 1)
                    && value <= PREDICTION_BYTES_MAX
                    && (header.view < view
                        || header.op.0 <= commit.op.0 + u64::from(self.constants.pipeline))
                    && header.op.0
                        <= self.watched[index].trimmed + u64::from(self.constants.log_slots);
                if !bound {
                    let (op, commit) = (header.op, commit.op);
                    self.fail("S21", format!("r{index} prepares op {op} at commit {commit}"));
                }
                self.check_claim(index, commit.op, commit.checksum);
            }
            Kind::PrepareOk { op, checksum, .. } => {
                self.check_act(index, view, "PREPARE-OK");
                self.check_agreed(index, view, op.0);
                self.hold(index, Held { view, op: op.0, checksum: *checksum });
            }
            Kind::Commit { commit } => {
                self.check_act(index, view, "COMMIT");
                self.check_claim(index, commit.op, commit.checksum);
            }
            Kind::StartView { suffix, nonce, .. } => {
                self.check_act(index, view, "START-VIEW");
                // A backup that is asked repeats what its primary began with.
                let primary = self.configuration.index(self.configuration.primary(view));
                if nonce.is_none() || primary == Some(index) {
                    self.check_quorum(index, view);
                }
                self.check_start(index, view, suffix);
                if suffix.len() > self.constants.pipeline as usize + 1 {
                    self.fail("S21", format!("r{index} starts a view with too many headers"));
                }
            }
            Kind::DoViewChange { log_view: offered, op, suffix, .. } => {
                if entered < view || log_view != *offered {
                    self.fail(
                        "S10",
                        format!(
                            "r{index} offers log view {offered} for view {view}, and its disk \
                             says {log_view} and {entered}"
                        ),
                    );
                }
                self.check_promise(index, view, "DO-VIEW-CHANGE");
                self.watched[index].promised = view;
                *self.offered.entry(view.0).or_default() |= 1 << index;
                self.check_offer(index, *offered, *op, suffix);
                if suffix.len() > self.constants.pipeline as usize + 1 {
                    self.fail("S21", format!("r{index} offers too many headers"));
                }
            }
            Kind::StartViewChange { log_view: said } => {
                self.check_said(index, view, *said, "START-VIEW-CHANGE");
            }
            Kind::Ping { log_view: said, commit, .. } => {
                self.check_said(index, view, *said, "PING");
                self.check_claim(index, commit.op, commit.checksum);
            }
            Kind::Headers { headers } => {
                if headers.len() > HEADERS_MAX {
                    self.fail("S21", format!("r{index} sends {} headers", headers.len()));
                }
            }
            Kind::GetEntry { wanted } => {
                if wanted.len() > WANTED_MAX {
                    self.fail("S21", format!("r{index} wants {} entries", wanted.len()));
                }
            }
            Kind::ReadProbe { .. } => self.check_act(index, view, "READ-PROBE"),
            Kind::ReadOk { .. } => self.check_act(index, view, "READ-OK"),
            Kind::Recovery { .. } => {
                if view != entered {
                    let what = format!(
                        "r{index} names view {view} as its fence, and its disk says {entered}"
                    );
                    self.fail("S10", what);
                }
                self.check_promise(index, view, "RECOVERY");
            }
            Kind::RecoveryResponse { .. } => self.check_act(index, view, "RECOVERY-RESPONSE"),
            Kind::PreStep { .. } => self.check_act(index, view, "PRE-STEP"),
            Kind::PreStepOk { .. } => self.check_act(index, view, "PRE-STEP-OK"),
            Kind::GetView { .. }
            | Kind::GetHeaders { .. }
            | Kind::Entry { .. }
            | Kind::Nack { .. }
            | Kind::GetCheckpoint { .. }
            | Kind::Checkpoint { .. }
            | Kind::GetChunk { .. }
            | Kind::Chunk { .. }
            | Kind::NoChunk { .. } => {}
        }
    }

    /// S11: who lost its memory takes part in nothing.
    fn check_remembers(&mut self, index: usize, kind: &Kind<Bytes>) {
        let harmless = match kind {
            Kind::Recovery { .. }
            | Kind::GetHeaders { .. }
            | Kind::Headers { .. }
            | Kind::GetEntry { .. }
            | Kind::Entry { .. }
            | Kind::GetCheckpoint { .. }
            | Kind::Checkpoint { .. }
            | Kind::GetChunk { .. }
            | Kind::Chunk { .. }
            | Kind::NoChunk { .. } => true,
            Kind::Ping { .. }
            | Kind::Prepare { .. }
            | Kind::PrepareOk { .. }
            | Kind::Commit { .. }
            | Kind::StartViewChange { .. }
            | Kind::DoViewChange { .. }
            | Kind::StartView { .. }
            | Kind::GetView { .. }
            | Kind::Nack { .. }
            | Kind::ReadProbe { .. }
            | Kind::ReadOk { .. }
            | Kind::PreStep { .. }
            | Kind::PreStepOk { .. }
            | Kind::RecoveryResponse { .. } => false,
        };
        if self.watched[index].lost && !harmless {
            let name = kind.name();
            self.fail("S11", format!("r{index} says {name} before it has its memory again"));
        }
    }

    /// S10, S11: who acts in a view has it durable as its log view, and has promised no later one.
    fn check_act(&mut self, index: usize, view: ViewNumber, what: &str) {
        let durable = &self.watched[index].shadow;
        if durable.view != view || durable.log_view != view {
            let (entered, log_view) = (durable.view, durable.log_view);
            self.fail(
                "S10",
                format!(
                    "r{index} sends {what} in view {view}, and its disk says view {entered}, \
                     log view {log_view}"
                ),
            );
        }
        self.check_promise(index, view, what);
    }

    /// S10: a view that is spoken of is durable. So is a log view, but for that of a view that is being
    /// installed: it is in memory, and promises nothing.
    fn check_said(&mut self, index: usize, view: ViewNumber, said: ViewNumber, what: &str) {
        let watched = &self.watched[index];
        let (entered, log_view, installed) =
            (watched.shadow.view, watched.shadow.log_view, watched.log_view);
        let right = entered >= view && (said <= log_view || (said == view && said <= installed));
        if !right {
            self.fail(
                "S10",
                format!(
                    "r{index} says in {what} that it is in view {view}, log view {said}; its disk \
                     says {entered} and {log_view}"
                ),
            );
        }
    }

    fn check_promise(&mut self, index: usize, view: ViewNumber, what: &str) {
        let promised = self.watched[index].promised;
        if view < promised {
            self.fail(
                "S11",
                format!(
                    "r{index} sends {what} in view {view} and has offered its log for \
                     {promised}"
                ),
            );
        }
    }

    /// S12: a view starts from the logs of a quorum, each of which reached this life of its primary.
    fn check_quorum(&mut self, index: usize, view: ViewNumber) {
        let own = self.offered.get(&view.0).copied().unwrap_or(0) & 1 << index;
        let others = self.watched[index].heard.offers.get(&view.0).copied().unwrap_or(0);
        // A group of one has nobody to offer its log to.
        let own = if self.watched.len() == 1 { 1 } else { own };
        let offers = (own | others).count_ones() as usize;
        let quorum = self.configuration.quorums().view_change;
        if view > ViewNumber::ZERO && offers < quorum {
            self.fail("S12", format!("r{index} starts view {view} from {offers} logs of {quorum}"));
        }
    }

    /// A message reaches a replica that lives.
    pub(crate) fn on_receive(&mut self, index: usize, from: usize, message: &Message<Bytes>) {
        let heard = &mut self.watched[index].heard;
        let view = message.view.0;
        heard.views.insert(view);
        let of_view = match &message.kind {
            Kind::DoViewChange { .. } => &mut heard.offers,
            Kind::StartViewChange { .. } => &mut heard.votes,
            Kind::Ping { .. }
            | Kind::Prepare { .. }
            | Kind::PrepareOk { .. }
            | Kind::Commit { .. }
            | Kind::StartView { .. }
            | Kind::GetView { .. }
            | Kind::GetHeaders { .. }
            | Kind::Headers { .. }
            | Kind::GetEntry { .. }
            | Kind::Entry { .. }
            | Kind::Nack { .. }
            | Kind::ReadProbe { .. }
            | Kind::ReadOk { .. }
            | Kind::PreStep { .. }
            | Kind::PreStepOk { .. }
            | Kind::GetCheckpoint { .. }
            | Kind::Checkpoint { .. }
            | Kind::GetChunk { .. }
            | Kind::Chunk { .. }
            | Kind::NoChunk { .. }
            | Kind::Recovery { .. }
            | Kind::RecoveryResponse { .. } => return,
        };
        *of_view.entry(view).or_default() |= 1 << from;
    }

    /// S12: a replica enters a view of which it heard, or one that another leads by the votes of a quorum: it
    /// may skip some.
    pub(super) fn check_entry(&mut self, index: usize, before: ViewNumber, now: ViewNumber) {
        let members = self.watched.len() as u64;
        let heard = &mut self.watched[index].heard;
        let votes = heard.votes.get(&before.0).copied().unwrap_or(0);
        let votes = (votes | 1 << index).count_ones() as usize;
        let next = now > before && (now == before.next() || now.0 < before.0 + members);
        let voted = next && votes >= self.configuration.quorums().view_change;
        let known = heard.views.contains(&now.0);
        heard.forget_before(now);
        if !known && !voted {
            let what = format!("r{index} enters view {now} by {votes} votes to leave {before}");
            self.fail("S12", what);
        }
    }

    /// S1: what a primary calls committed is.
    fn check_claim(&mut self, index: usize, op: OpNumber, checksum: vsr_core::Checksum) {
        if op > OpNumber::ZERO && self.canonical_at(op.0) != Some(checksum) {
            self.fail("S1", format!("r{index} says that op {op} is committed, and it is not"));
        }
    }
}
