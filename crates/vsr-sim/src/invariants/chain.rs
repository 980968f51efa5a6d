//! S1, S15: what is committed, decided from outside, and never otherwise again.
//!
//! An op is committed when a replication quorum holds it durably in one view: the primary by its
//! own disk, the backups by their PREPARE-OK.

use bytes::Bytes;
use vsr_core::{Checksum, Header, OpNumber, Replica, StatusName, Summary, ViewNumber};

use crate::invariants::Checker;

/// A committed op.
#[derive(Clone, Copy, Debug)]
pub(super) struct Committed {
    pub(super) checksum: Checksum,
    /// The view in which it was committed.
    pub(super) view: ViewNumber,
}

/// What a replica has said it holds durably in a view: all up to an op.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Held {
    pub(super) view: ViewNumber,
    pub(super) op: u64,
    pub(super) checksum: Checksum,
}

impl Checker {
    /// The primary's own copy counts when it is durable, under the view's durable log view.
    pub(super) fn see_own_copy(
        &mut self,
        index: usize,
        replica: &Replica<Bytes>,
        summary: &Summary,
    ) {
        let watched = &self.watched[index];
        let acts = summary.status == StatusName::Primary && watched.shadow.log_view == summary.view;
        let op = summary.durable.0;
        let news = (watched.held.view, watched.held.op) != (summary.view, op);
        if !acts || !news || op == 0 {
            return;
        }
        let Some(checksum) = replica.header(summary.durable).map(|header| header.checksum) else {
            return;
        };
        self.hold(index, Held { view: summary.view, op, checksum });
    }

    /// A replica holds all up to an op durably, in a view.
    pub(super) fn hold(&mut self, index: usize, held: Held) {
        let before = self.watched[index].held;
        if held.view < before.view || (held.view == before.view && held.op <= before.op) {
            return;
        }
        if !self.is_held(index, held) {
            return;
        }
        self.watched[index].held = held;
        let replicas = self.watched.len();
        self.held.entry(held.view).or_insert_with(|| vec![0; replicas])[index] = held.op;
        self.commit(held);
    }

    /// S10, S13: what a replica claims to hold is on its disk, each op of the chain down to what is
    /// known to be committed.
    fn is_held(&mut self, index: usize, held: Held) -> bool {
        let mut checksum = held.checksum;
        let mut op = held.op;
        let floor = self.watched[index].held;
        let in_memory = self.is_in_memory();
        while op > 0 && (op > self.committed() || op > floor.op || held.view > floor.view) {
            if op <= self.committed()
                && op <= floor.op
                && self.watched[index].shadow.acknowledged(op) == Some(checksum)
                // It may have been acknowledged in a former life.
                && (!in_memory || self.watched[index].shadow.has(op, Some(checksum)))
            {
                break;
            }
            let shadow = &self.watched[index].shadow;
            if op <= shadow.checkpoint && self.canonical_at(op) == Some(checksum) {
                // A durable checkpoint has it, and all below: what was acknowledged beside that in an
                // earlier view is superseded.
                for op in 1..=op {
                    let committed = self.canonical_at(op);
                    self.watched[index].shadow.keep_acknowledged(op, committed);
                }
                break;
            }
            if shadow.checksum(op) != Some(checksum) {
                self.fail(
                    "S10",
                    format!(
                        "r{index} claims op {} in view {}, and op {op} is not durable there",
                        held.op, held.view
                    ),
                );
                return false;
            }
            let Some(header) = self.header(checksum) else {
                self.fail("S1", format!("r{index} holds op {op}, which nobody prepared"));
                return false;
            };
            let parent = header.parent;
            self.watched[index].shadow.acknowledge(op, checksum);
            checksum = parent;
            op -= 1;
        }
        true
    }

    /// Extends the canonical chain by what a quorum holds in this view.
    fn commit(&mut self, latest: Held) {
        let quorum = self.configuration.quorums().replication;
        // What those hold who have moved on to a later view counts too: they said so in this one.
        let mut ops = self.held.get(&latest.view).cloned().unwrap_or_default();
        ops.sort_unstable_by(|a, b| b.cmp(a));
        let committed = ops.get(quorum - 1).copied().unwrap_or(0);
        if committed <= self.committed() {
            return;
        }
        // The chain from what the latest replica holds, down to what is canonical.
        let mut chain: Vec<Header> = Vec::new();
        let mut checksum = latest.checksum;
        for op in (self.committed() + 1..=latest.op).rev() {
            let Some(header) = self.header(checksum).copied() else { return };
            checksum = header.parent;
            if op <= committed {
                chain.push(header);
            }
        }
        if self.canonical.last().is_some_and(|last| last.checksum != checksum) {
            let op = self.committed();
            self.fail("S1", format!("two entries were committed at op {op}"));
            return;
        }
        self.canonical.extend(
            chain.iter().rev().map(|h| Committed { checksum: h.checksum, view: latest.view }),
        );
    }

    /// The checksum committed at an op.
    pub(super) fn canonical_at(&self, op: u64) -> Option<Checksum> {
        let index = op.checked_sub(1)? as usize;
        self.canonical.get(index).map(|committed| committed.checksum)
    }

    /// S15: a view starts with everything that was committed in earlier views.
    pub(super) fn check_start(&mut self, index: usize, view: ViewNumber, suffix: &[Header]) {
        let Some(head) = suffix.last() else {
            self.fail("S15", format!("r{index} starts view {view} with no log at all"));
            return;
        };
        let earlier = self.canonical.iter().rposition(|committed| committed.view < view);
        let earlier = earlier.map_or(0, |index| index as u64 + 1);
        if head.op.0 < earlier {
            self.fail(
                "S15",
                format!(
                    "r{index} starts view {view} at op {}, and op {earlier} was committed before",
                    head.op
                ),
            );
        }
        let wrong = suffix.iter().find(|header| {
            header.op.0 <= earlier
                && header.op > OpNumber::ZERO
                && self.canonical_at(header.op.0) != Some(header.checksum)
        });
        if let Some(header) = wrong {
            let op = header.op;
            self.fail(
                "S15",
                format!("r{index} starts view {view} with another op {op} than was committed"),
            );
        }
    }
}
