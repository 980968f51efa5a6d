//! The one door: every message leaves through here, and none before what it depends on is durable.
//!
//! What must wait for the disk is not queued: it is not made before the disk is ready, and then it is
//! made from the state of that moment, so that nothing of a view that was left can be sent late. The
//! door asserts it once more.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::config::Constants;
use crate::digest::Checksum;
use crate::effect::{Effect, Effects, Write, WriteKind, Written};
use crate::entry::{Entry, PREDICTION_BYTES_MAX};
use crate::event::{Checkpoint, SuperblockState};
use crate::log::Log;
use crate::message::{Kind, Message};
use crate::replica::Replica;
use crate::status::Status;
use crate::types::{Body, Incarnation, OpNumber, ReplicaId, ViewNumber};

/// The most bytes of entries that may be on their way to the disk: a few seconds of a good disk's work.
/// Where the disk stands still, what comes beyond that is not kept in memory for it.
pub(crate) const UNWRITTEN_MAX: usize = 64 << 20;

/// What this replica has asked the disk for, and what is durable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Outbox<B> {
    next_sequence: u64,
    in_flight: VecDeque<InFlight>,
    /// How many appends are in flight.
    appends: usize,
    /// Entries to be written at the end of the round.
    waiting: Vec<Entry<B>>,
    /// Bytes of the entries that wait or are in flight.
    unwritten: usize,
    durable: Durable,
}

/// What the superblock on disk says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Durable {
    incarnation: Incarnation,
    view: ViewNumber,
    log_view: ViewNumber,
    /// The checkpoint's op and digest.
    checkpoint: (OpNumber, Checksum),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct InFlight {
    sequence: u64,
    done: bool,
    what: Asked,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Asked {
    Append { entries: Vec<(OpNumber, Checksum)>, bytes: usize },
    Superblock(Durable),
    MarkFaulty,
}

impl<B> Outbox<B> {
    pub(crate) const fn new() -> Self {
        Self {
            next_sequence: 1,
            in_flight: VecDeque::new(),
            appends: 0,
            waiting: Vec::new(),
            unwritten: 0,
            durable: Durable {
                incarnation: Incarnation::ZERO,
                view: ViewNumber::ZERO,
                log_view: ViewNumber::ZERO,
                checkpoint: (OpNumber::ZERO, Checksum(0)),
            },
        }
    }

    pub(crate) const fn has_appends_in_flight(&self) -> bool {
        self.appends > 0
    }

    /// Whether the disk keeps up well enough for another entry.
    pub(crate) const fn has_room(&self) -> bool {
        self.unwritten < UNWRITTEN_MAX
    }

    /// Bytes of the entries that wait or are in flight.
    pub(crate) const fn unwritten(&self) -> usize {
        self.unwritten
    }

    pub(crate) fn append(&mut self, entry: Entry<B>) {
        self.unwritten += memory_of(&entry);
        self.waiting.push(entry);
    }

    /// Used at a start: what the superblock on disk names.
    pub(crate) const fn found_checkpoint(&mut self, checkpoint: &Checkpoint) {
        self.durable.checkpoint = (checkpoint.op(), checkpoint.id);
    }

    /// Called before a view's log is installed: a write whose entry was superseded since it was asked
    /// for proves nothing any more. Should the same entry come back, another write of that slot may
    /// lie between, so that only a new write counts.
    pub(crate) fn forget_superseded(&mut self, log: &Log<B>) {
        for write in &mut self.in_flight {
            if let Asked::Append { entries, .. } = &mut write.what {
                entries.retain(|(op, checksum)| {
                    let header = log.slot(*op).and_then(|slot| slot.header.as_ref());
                    header.is_some_and(|header| header.checksum == *checksum)
                });
            }
        }
    }
}

impl<B: Body> Replica<B> {
    /// Whether this life's incarnation is durable; before, nothing is sent.
    pub(crate) fn is_started(&self) -> bool {
        self.outbox.durable.incarnation == self.incarnation
    }

    pub(crate) fn is_view_durable(&self) -> bool {
        // What rests on a checkpoint from elsewhere is not said before the superblock names that.
        self.is_started() && self.outbox.durable.view == self.view && self.is_installed_durable()
    }

    /// Whether the superblock on disk names what was installed last in this life.
    pub(crate) fn is_installed_durable(&self) -> bool {
        self.transfer.installed() <= self.outbox.durable.checkpoint.0
    }

    pub(crate) fn is_log_view_durable(&self) -> bool {
        self.is_view_durable()
            && self.log_view == self.view
            && self.outbox.durable.log_view == self.log_view
    }

    /// Op and digest of the checkpoint that the superblock on disk names.
    pub(crate) const fn durable_checkpoint(&self) -> (OpNumber, Checksum) {
        self.outbox.durable.checkpoint
    }

    pub(crate) fn send(&self, to: ReplicaId, kind: Kind<B>, effects: &mut Effects<B>) {
        if to == self.config.replica() {
            return;
        }
        let message = self.message(self.view, kind);
        effects.push(Effect::Send { to, message });
    }

    pub(crate) fn broadcast(&self, kind: Kind<B>, effects: &mut Effects<B>) {
        if self.config.configuration().members().len() > 1 {
            let message = self.message(self.view, kind);
            effects.push(Effect::Broadcast { message });
        }
    }

    /// GET-VIEW names the view asked for, and is the one message that may speak of a view that is
    /// not durable here: it promises nothing.
    pub(crate) fn send_get_view(
        &self,
        to: Option<ReplicaId>,
        view: ViewNumber,
        kind: Kind<B>,
        effects: &mut Effects<B>,
    ) {
        assert!(self.is_started(), "nothing is sent before the incarnation is durable");
        let message = self.wrap(view, kind);
        match to {
            Some(to) if to != self.config.replica() => effects.push(Effect::Send { to, message }),
            Some(_) => {}
            None => effects.push(Effect::Broadcast { message }),
        }
    }

    fn message(&self, view: ViewNumber, kind: Kind<B>) -> Message<B> {
        assert!(self.is_started(), "nothing is sent before the incarnation is durable");
        match &kind {
            Kind::StartView { .. } => {
                assert!(self.is_log_view_durable(), "the log view is durable before it is told");
                assert!(
                    matches!(self.status, Status::Primary(_) | Status::Backup(_)),
                    "only who is normal in a view tells what it began with"
                );
            }
            Kind::Prepare { .. } | Kind::Commit { .. } => {
                assert!(
                    self.is_log_view_durable(),
                    "the log view is durable before it is acted in"
                );
                assert!(matches!(self.status, Status::Primary(_)), "only a primary says this");
            }
            Kind::PrepareOk { .. } => {
                assert!(self.is_log_view_durable(), "the log view is durable before an ack");
                assert!(matches!(self.status, Status::Backup(_)), "only a backup says this");
            }
            Kind::ReadProbe { .. } | Kind::ReadOk { .. } => {
                assert!(self.is_log_view_durable(), "the log view is durable before reads");
                let normal = matches!(self.status, Status::Primary(_) | Status::Backup(_));
                assert!(normal, "only who is normal speaks of reads");
            }
            Kind::PreStep { .. } => {
                assert!(self.is_log_view_durable(), "the log view is durable before it asks");
                assert!(matches!(self.status, Status::Primary(_)), "only a primary asks");
            }
            Kind::PreStepOk { .. } => {
                assert!(self.is_log_view_durable(), "the log view is durable before it answers");
                assert!(matches!(self.status, Status::Backup(_)), "only a backup answers");
            }
            Kind::DoViewChange { .. } => {
                assert!(self.is_view_durable(), "the view is durable before a promise");
                assert!(matches!(self.status, Status::ViewChange(_)), "only between views");
            }
            Kind::StartViewChange { .. } | Kind::Ping { .. } => {
                assert!(self.is_view_durable(), "the view is durable before it is spoken of");
                let remembers = !matches!(self.status, Status::Recovering(_));
                assert!(remembers, "who lost its memory neither votes nor says where it is");
            }
            Kind::Recovery { .. } => {
                assert!(self.is_view_durable(), "the fence is what is on disk");
                assert!(matches!(self.status, Status::Recovering(_)), "only who lost its memory");
            }
            Kind::RecoveryResponse { .. } => {
                assert!(self.is_log_view_durable(), "the log view is durable before it is told");
                assert!(
                    matches!(self.status, Status::Primary(_) | Status::Backup(_)),
                    "only who is normal in a view speaks for it"
                );
            }
            Kind::Nack { .. } => {
                let remembers = !matches!(self.status, Status::Recovering(_));
                assert!(remembers, "who lost its memory denies nothing");
            }
            // These name content, not views: they promise nothing.
            Kind::GetView { .. }
            | Kind::GetHeaders { .. }
            | Kind::Headers { .. }
            | Kind::GetEntry { .. }
            | Kind::Entry { .. }
            | Kind::GetCheckpoint { .. }
            | Kind::Checkpoint { .. }
            | Kind::GetChunk { .. }
            | Kind::Chunk { .. }
            | Kind::NoChunk { .. } => {}
        }
        self.wrap(view, kind)
    }

    fn wrap(&self, view: ViewNumber, kind: Kind<B>) -> Message<B> {
        Message {
            cluster: self.config.cluster(),
            epoch: self.config.configuration().epoch(),
            view,
            incarnation: self.incarnation,
            kind,
        }
    }

    /// Asks for the superblock to be written with what is true now. Entries that wait go first, so
    /// that nothing written later can be older than the superblock.
    pub(crate) fn persist_superblock(&mut self, effects: &mut Effects<B>) {
        self.persist_appends(effects);
        let state = SuperblockState {
            incarnation: self.incarnation,
            epoch: self.config.configuration().epoch(),
            view: self.view,
            log_view: self.log_view,
            commit_max: self.commit_max,
            op: self.log.op(),
            headers: self.log.suffix(self.config.constants().pipeline),
            checkpoint: self.checkpoints.latest,
            trimmed: *self.log.root(),
        };
        let durable = Durable {
            incarnation: self.incarnation,
            view: self.view,
            log_view: self.log_view,
            checkpoint: (state.checkpoint.op(), state.checkpoint.id),
        };
        self.persist(WriteKind::Superblock(Box::new(state)), Asked::Superblock(durable), effects);
    }

    /// Asks for the entries of this round to be written, those that were superseded left out.
    pub(crate) fn persist_appends(&mut self, effects: &mut Effects<B>) {
        // The store has room behind an installed checkpoint once its superblock says so.
        if self.outbox.waiting.is_empty() || !self.is_installed_durable() {
            return;
        }
        let mut entries = core::mem::take(&mut self.outbox.waiting);
        let waited: usize = entries.iter().map(memory_of).sum();
        entries.retain(|entry| {
            let slot = self.log.slot(entry.header().op);
            let header = slot.and_then(|slot| slot.header.as_ref());
            header.is_some_and(|header| header.checksum == entry.header().checksum)
        });
        let bytes = entries.iter().map(memory_of).sum();
        self.outbox.unwritten -= waited - bytes;
        if entries.is_empty() {
            return;
        }
        // Repairs and PREPAREs may come in any order; the store is promised ascending ops.
        entries.sort_by_key(|entry| entry.header().op);
        let what = entries.iter().map(|entry| (entry.header().op, entry.header().checksum));
        let what = Asked::Append { entries: what.collect(), bytes };
        self.outbox.appends += 1;
        self.persist(WriteKind::Append(entries), what, effects);
    }

    pub(crate) fn persist_faulty(&mut self, op: OpNumber, effects: &mut Effects<B>) {
        self.persist(WriteKind::MarkFaulty(op), Asked::MarkFaulty, effects);
    }

    fn persist(&mut self, kind: WriteKind<B>, what: Asked, effects: &mut Effects<B>) {
        let sequence = self.outbox.next_sequence;
        self.outbox.next_sequence += 1;
        self.outbox.in_flight.push_back(InFlight { sequence, done: false, what });
        effects.push(Effect::Persist(Write::new(self.incarnation, sequence, kind)));
    }

    /// Takes note of finished writes. A write counts when all before it are done too. Returns false
    /// if nothing is news in this.
    pub(crate) fn take_written(&mut self, written: &Written) -> bool {
        if written.incarnation() != self.incarnation {
            return false;
        }
        let mut news = false;
        for (first, last) in written.ranges() {
            for write in &mut self.outbox.in_flight {
                if (*first..=*last).contains(&write.sequence) && !write.done {
                    write.done = true;
                    news = true;
                }
            }
        }
        while self.outbox.in_flight.front().is_some_and(|write| write.done) {
            let write = self.outbox.in_flight.pop_front().expect("the front is there");
            match write.what {
                Asked::Append { entries, bytes } => {
                    self.outbox.appends -= 1;
                    self.outbox.unwritten -= bytes;
                    for (op, checksum) in entries {
                        self.log.written(op, checksum);
                    }
                }
                Asked::Superblock(durable) => self.outbox.durable = durable,
                Asked::MarkFaulty => {}
            }
        }
        self.log.advance_durable();
        news
    }
}

fn memory_of<B>(entry: &Entry<B>) -> usize {
    memory(entry.header().length as usize, entry.header().count as usize)
}

/// What the largest entry that a primary prepares takes.
pub(crate) const fn memory_of_largest(constants: &Constants) -> usize {
    let operations = constants.batch_bytes as usize + constants.request_bytes as usize;
    let bytes = operations + PREDICTION_BYTES_MAX;
    memory(bytes, constants.batch_requests as usize)
}

const fn memory(bytes: usize, requests: usize) -> usize {
    // About what an entry of small requests costs beside its operations.
    bytes + 64 * requests + 256
}
