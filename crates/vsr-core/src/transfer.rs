//! State transfer (paper, section 5.2; protocol.md 5.8): a replica that lacks entries which nobody's log
//! holds any more takes a checkpoint instead.
//!
//! 1. It notices by what peers say of their logs in PING, and picks the latest checkpoint of those that
//!    it hears. A primary that needs one gives way.
//! 2. GET-CHECKPOINT brings the manifest, page by page. The store says which chunks are missing: those
//!    of the own earlier checkpoint are not.
//! 3. GET-CHUNK brings chunks by digest, a bounded number at a time, of whichever peer has them. What
//!    comes is put in the store, which says what is missing next.
//! 4. When nothing answers, the next peer is asked; when none has it, a later checkpoint is.
//! 5. When it is whole and durable, it is installed (`installing.rs`). Nothing that rests on it is said before that
//!    is durable (`outbox.rs`).
//!
//! What is damaged of the own checkpoint is fetched in the same way (`mending.rs`). How peers are served:
//! `serving.rs`.

mod installing;
mod mending;

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::client_table::SessionState;
use crate::digest::Checksum;
use crate::effect::{Effect, Effects, Fetch, Ignored, Mark, Timer};
use crate::entry::Header;
use crate::event::{Checkpoint, Fetched};
use crate::message::{CHUNKS_WANTED_MAX, Kept, Kind, PAGE_BYTES};
use crate::repair::ROUNDS_MAX;
use crate::replica::Replica;
use crate::service::CHUNK_BYTES_MAX;
use crate::status::Status;
use crate::types::{Body, OpNumber, ReplicaId, ViewNumber};

/// The most bytes of a manifest that are taken: a million chunks, 64 GiB of state in chunks of 64 KiB.
const MANIFEST_BYTES_MAX: u32 = 32 << 20;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Transfer<B> {
    stage: Stage<B>,
    /// The START-VIEW of a view whose log lies beyond the own one.
    ahead: Option<Box<ViewAhead>>,
    /// In the present view something is committed, or a log was offered, beyond what the own log has room for.
    beyond: bool,
    /// A whole checkpoint waits until nothing is with the service.
    draining: bool,
    /// The service's state is that of a checkpoint which is not installed yet, or none at all.
    restored: bool,
    /// The own checkpoint, whose op is the commit-number, was damaged at the start: the service has no state.
    lacks_state: bool,
    /// The own checkpoint is damaged.
    damaged: bool,
    /// Nobody had what is damaged of it, when they were asked.
    mended_in_vain: bool,
    /// All were asked for it, and nothing came of anything since.
    lost: bool,
    /// The store does not know what is damaged of it: it has lost the manifest, or has no room.
    unknown: bool,
    /// More of it was found damaged while the rest was being read.
    found_again: bool,
    /// What was installed last in this life. It counts when the superblock names it.
    installed: OpNumber,
    /// Whose turn it is to be asked.
    turn: usize,
    /// How often nothing came in a row.
    attempt: u32,
    /// How many checkpoints in a row nobody gave anything of.
    unanswered: usize,
    /// How often in a row the store did not take what came.
    setbacks: u32,
    /// After a setback nothing is begun before the timer runs out.
    resting: bool,
    /// How many of the chunks asked for the peer does not have.
    refused: usize,
    /// How many pages and chunks the store reads for peers.
    pub(crate) serving: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ViewAhead {
    view: ViewNumber,
    commit_max: OpNumber,
    suffix: Vec<Header>,
}

/// A checkpoint that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Target {
    checkpoint: Checkpoint,
    /// It was committed in this view or in an earlier one, as those say that have it: it is part of the log of
    /// all later ones.
    view: ViewNumber,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Stage<B> {
    Idle,
    /// Pages of the manifest are asked for.
    Manifest {
        id: Checksum,
        target: Option<Target>,
        pages: Vec<B>,
        received: u32,
    },
    /// The store is to say what is missing, which was so much when it was asked last.
    Syncing {
        target: Target,
        left: u32,
    },
    /// Chunks are asked for.
    Chunks {
        target: Target,
        wanted: Vec<Checksum>,
        left: u32,
    },
    /// The store makes it whole.
    Finishing {
        target: Target,
    },
    /// It is whole, and waits until nothing is with the service.
    Whole {
        target: Target,
        sessions: Vec<(u32, SessionState<B>)>,
    },
    /// The service takes its state.
    Restoring {
        target: Target,
        sessions: Vec<(u32, SessionState<B>)>,
    },
    /// The service has its state, and it waits for a log of which it is a part.
    Restored {
        target: Target,
        sessions: Vec<(u32, SessionState<B>)>,
    },
}

impl<B> Stage<B> {
    const fn manifest_of(id: Checksum) -> Self {
        Self::Manifest { id, target: None, pages: Vec::new(), received: 0 }
    }

    const fn target(&self) -> Option<&Target> {
        match self {
            Self::Idle => None,
            Self::Manifest { target, .. } => target.as_ref(),
            Self::Syncing { target, .. }
            | Self::Chunks { target, .. }
            | Self::Finishing { target }
            | Self::Whole { target, .. }
            | Self::Restoring { target, .. }
            | Self::Restored { target, .. } => Some(target),
        }
    }

    fn id(&self) -> Option<Checksum> {
        match self {
            Self::Manifest { id, .. } => Some(*id),
            Self::Idle
            | Self::Syncing { .. }
            | Self::Chunks { .. }
            | Self::Finishing { .. }
            | Self::Whole { .. }
            | Self::Restoring { .. }
            | Self::Restored { .. } => self.target().map(|target| target.checkpoint.id),
        }
    }
}

/// How far a state transfer is, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TransferProgress {
    /// The op of the checkpoint that is fetched; zero until a peer said.
    pub op: OpNumber,
    /// How many of its chunks are missing; `None` until that is known.
    pub chunks_left: Option<u32>,
}

impl<B> Transfer<B> {
    pub(crate) const fn new() -> Self {
        Self {
            stage: Stage::Idle,
            ahead: None,
            beyond: false,
            draining: false,
            restored: false,
            lacks_state: false,
            damaged: false,
            mended_in_vain: false,
            lost: false,
            unknown: false,
            found_again: false,
            installed: OpNumber::ZERO,
            turn: 0,
            attempt: 0,
            unanswered: 0,
            setbacks: 0,
            resting: false,
            refused: 0,
            serving: 0,
        }
    }

    pub(crate) fn wanted(&self) -> usize {
        match &self.stage {
            Stage::Chunks { wanted, .. } => wanted.len(),
            Stage::Idle
            | Stage::Manifest { .. }
            | Stage::Syncing { .. }
            | Stage::Finishing { .. }
            | Stage::Whole { .. }
            | Stage::Restoring { .. }
            | Stage::Restored { .. } => 0,
        }
    }

    /// The op of what was installed last in this life.
    pub(crate) const fn installed(&self) -> OpNumber {
        self.installed
    }

    /// Whether the service's state is not, or is about not to be, that of the commit-number.
    pub(crate) const fn is_restoring(&self) -> bool {
        self.draining || self.is_restored()
    }

    /// Whether the service's state is that of a checkpoint which is not installed.
    pub(crate) const fn is_restored(&self) -> bool {
        self.restored || matches!(self.stage, Stage::Restoring { .. })
    }

    /// Something in the present view does, or does not any more, lie beyond what the own log has room for.
    pub(crate) const fn note_beyond(&mut self, beyond: bool) {
        self.beyond = beyond;
    }

    /// The own checkpoint was found damaged at the start.
    pub(crate) const fn start_without_state(&mut self) {
        self.restored = true;
        self.lacks_state = true;
        self.damaged = true;
    }

    /// The log of a view was installed that is not behind the one which waits.
    pub(crate) fn forget_view_ahead(&mut self) {
        self.ahead = None;
    }

    /// Whether the log of a view waits for a checkpoint.
    pub(crate) const fn is_view_ahead_kept(&self) -> bool {
        self.ahead.is_some()
    }

    /// Whether a START-VIEW of this view, or a later one, waits for a checkpoint.
    pub(crate) fn knows_view(&self, view: ViewNumber) -> bool {
        self.ahead.as_ref().is_some_and(|ahead| ahead.view >= view)
    }
}

impl<B: Body> Replica<B> {
    // Step 1: what is lacking.

    pub(crate) fn flush_transfer(&mut self, effects: &mut Effects<B>) {
        if !self.is_started() || self.incarnations.len() == 1 {
            return;
        }
        self.heed_view_ahead(effects);
        match &self.status {
            // Its view is over, and it is of no use to anybody before it is in the one that is.
            Status::Primary(_) if self.transfer.ahead.is_some() => {}
            Status::Primary(primary) => {
                // Deviation: it does not hold up the group until it has a checkpoint (protocol.md 5.8).
                if primary.announced
                    && (!primary.ready || self.repair.attempts() > 0)
                    && !primary.abdicating
                    && self.is_left_behind()
                {
                    self.mark(Mark::PrimaryForfeited, effects);
                    self.abdicate(effects);
                }
                // It repaired its log instead before its view began.
                let restored = self.transfer.is_restored();
                let underway = !matches!(self.transfer.stage, Stage::Idle);
                if underway && !restored && !self.is_mending() {
                    if self.transfer.attempt > 0 {
                        self.transfer.unanswered = self.transfer.unanswered.wrapping_add(1);
                    }
                    effects.push(Effect::Fetch(Fetch::Abandon));
                    self.give_up_transfer(effects);
                }
                return self.try_mend(effects);
            }
            // What it lacks is not known before it has an answer.
            Status::Recovering(_) if !self.is_fetching_log() && self.transfer.ahead.is_none() => {
                return;
            }
            Status::Backup(_)
            | Status::ViewChange(_)
            | Status::RecoveringHead(_)
            | Status::Recovering(_) => {}
            Status::Halted(_) => return,
        }
        match &self.stage_reached() {
            Reached::Nothing if self.is_mended_first() => self.try_mend(effects),
            Reached::Nothing if self.transfer.restored || self.is_left_behind() => {
                self.start_transfer(effects);
            }
            Reached::Nothing => self.try_mend(effects),
            Reached::Underway => {}
            Reached::Whole => self.try_restore(effects),
            Reached::Restored => self.try_install(effects),
        }
    }

    fn stage_reached(&self) -> Reached {
        match &self.transfer.stage {
            Stage::Idle => Reached::Nothing,
            Stage::Manifest { .. }
            | Stage::Syncing { .. }
            | Stage::Chunks { .. }
            | Stage::Finishing { .. }
            | Stage::Restoring { .. } => Reached::Underway,
            Stage::Whole { .. } => Reached::Whole,
            Stage::Restored { .. } => Reached::Restored,
        }
    }

    /// Whether the next thing that is lacking is in nobody's log any more, of those that are heard.
    fn is_left_behind(&mut self) -> bool {
        if self.transfer.ahead.is_some() {
            return true;
        }
        let in_view = self.log_view == self.view;
        let lacks = match self.log.gap() {
            Some((_, last)) => last,
            None => match self.log.first_lacking_after(self.commit_min) {
                Some(op) => op,
                None => self.log.op().next(),
            },
        };
        // Entries would not lead there: none is named that the own log has room for. Between views this replica
        // may be the only one that can lead, and has to make room.
        if self.transfer.beyond && (lacks <= self.log_limit() || !in_view) {
            return true;
        }
        // Between views, or in an earlier one, what the own log lacks is not known yet, but for what is
        // committed.
        let certain = in_view || lacks > self.log.op() || lacks <= self.commit_max;
        let gap = self.log.gap().is_some();
        let attempts = self.repair.attempts();
        let in_vain = attempts as usize > ROUNDS_MAX * self.incarnations.len();
        let mut trimmed = false;
        for (index, kept) in self.heard_members() {
            let from = if gap { kept.begins } else { kept.begins.next() };
            // It may hear nothing of what it is asked: a link may be cut one way. Where nothing is committed
            // without what is lacking here no view lasts for all rounds: what it says of whom it hears counts too.
            let is_deaf = in_vain || (attempts > 0 && self.is_unheard_by(index));
            if from <= lacks && lacks <= kept.held && !is_deaf {
                return false;
            }
            trimmed |= from > lacks;
        }
        certain && trimmed
    }

    /// What the members that are heard said last of what they keep, this replica left out.
    fn heard_members(&self) -> impl Iterator<Item = (usize, &Kept)> {
        let heard = self.heard[0].0 | self.heard[1].0;
        let others = self.checkpoints.of_members().enumerate();
        others.filter(move |(index, _)| *index != self.index && heard & (1 << index) != 0)
    }

    fn start_transfer(&mut self, effects: &mut Effects<B>) {
        // What the superblock is about to name must not give way to what is fetched next.
        if self.transfer.resting || !self.is_installed_durable() {
            return;
        }
        // The latest; but who has that may hear nothing of what it is asked: a link may be cut one way.
        let later = self.to_be_had();
        let turn = self.transfer.unanswered % later.len().max(1);
        let Some(id) = later.get(turn).copied() else {
            return self.try_mend(effects);
        };
        self.transfer.stage = Stage::manifest_of(id);
        self.transfer.attempt = 0;
        self.transfer.refused = 0;
        self.mark(Mark::TransferBegun, effects);
        self.ask_for_transfer(effects);
    }

    /// The checkpoints that would help, as peers that are heard say that they have them, the latest first, and last those that
    /// only peers have which do not hear this replica.
    fn to_be_had(&self) -> Vec<Checksum> {
        let (own, lacks_state) = (self.commit_min, self.transfer.lacks_state);
        let again = |id: Checksum| lacks_state && id == self.checkpoints.latest.id;
        let mut later: Vec<(usize, &Kept)> = self.heard_members().collect();
        later.retain(|(_, kept)| {
            let op = kept.checkpoint;
            (op > own || again(kept.id))
                && kept.id != Checksum(0)
                && !self.is_superseded(op, kept.id)
        });
        later.sort_by_key(|(index, kept)| {
            (self.is_unheard_by(*index), core::cmp::Reverse((kept.checkpoint, kept.id)))
        });
        let mut ids = Vec::with_capacity(later.len());
        for (_, kept) in later {
            if !ids.contains(&kept.id) {
                ids.push(kept.id);
            }
        }
        ids
    }

    /// Asks for what is wanted next, in this stage.
    fn ask_for_transfer(&mut self, effects: &mut Effects<B>) {
        self.transfer.resting = false;
        let kind = match &self.transfer.stage {
            Stage::Manifest { id, received, .. } => {
                Kind::GetCheckpoint { id: *id, offset: *received }
            }
            Stage::Chunks { wanted, .. } => Kind::GetChunk { wanted: wanted.clone() },
            Stage::Idle
            | Stage::Syncing { .. }
            | Stage::Finishing { .. }
            | Stage::Whole { .. }
            | Stage::Restoring { .. }
            | Stage::Restored { .. } => return,
        };
        let Some(to) = self.source() else {
            return self.give_up_transfer(effects);
        };
        self.send(to, kind, effects);
        self.arm(Timer::Transfer, self.transfer.attempt, effects);
    }

    /// Whom to ask: of those that have the checkpoint, else of those that have any, each in turn, the primary
    /// last, which has more to do, but for those that do not hear this replica.
    fn source(&self) -> Option<ReplicaId> {
        let id = self.transfer.stage.id()?;
        let same = self.heard_members().filter(|(_, kept)| kept.id == id);
        let mut sources: Vec<usize> = same.map(|(index, _)| index).collect();
        if sources.is_empty() {
            let any = self.heard_members().filter(|(_, kept)| kept.checkpoint > OpNumber::ZERO);
            sources = any.map(|(index, _)| index).collect();
        }
        let members = self.config.configuration().members();
        sources.sort_by_key(|index| {
            (self.is_unheard_by(*index), members[*index].id == self.primary())
        });
        let index = *sources.get(self.transfer.turn % sources.len().max(1))?;
        Some(members[index].id)
    }

    fn give_up_transfer(&mut self, effects: &mut Effects<B>) {
        self.transfer.stage = Stage::Idle;
        self.transfer.resting = false;
        self.transfer.draining = false;
        self.disarm(Timer::Transfer, effects);
    }

    /// A later checkpoint is looked for. Chunks that are here already serve for it as well.
    fn retarget(&mut self, effects: &mut Effects<B>) {
        self.give_up_transfer(effects);
        self.mark(Mark::TransferRetargeted, effects);
        self.transfer.turn = self.transfer.turn.wrapping_add(1);
    }

    /// Nobody gives what was asked for. Where nobody has anything else either, they may say anew what they have before
    /// anybody is asked again: what is here of it would else make way for the own one, and be fetched again.
    fn turn_elsewhere(&mut self, effects: &mut Effects<B>) {
        let mending = self.is_mending();
        self.retarget(effects);
        if mending {
            self.mend_in_vain();
        }
        self.transfer.lost |= self.transfer.mended_in_vain;
        if mending || self.to_be_had().is_empty() {
            self.rest(effects);
        }
    }

    // Step 2: the manifest.

    pub(crate) fn on_checkpoint(
        &mut self,
        committed_by: ViewNumber,
        checkpoint: Checkpoint,
        length: u32,
        offset: u32,
        page: B,
        effects: &mut Effects<B>,
    ) {
        let cluster = self.config.cluster();
        let Stage::Manifest { id, target, pages, received } = &mut self.transfer.stage else {
            return self.ignore(Ignored::NotAsked, effects);
        };
        if checkpoint.id != *id || offset != *received {
            return self.ignore(Ignored::NotAsked, effects);
        }
        let header = &checkpoint.header;
        let known = target.is_none_or(|target| target.checkpoint == checkpoint);
        let bytes = page.as_ref().len();
        let fits = bytes > 0 && bytes <= PAGE_BYTES as usize && length <= MANIFEST_BYTES_MAX;
        let end = offset as usize + bytes;
        if !known
            || !fits
            || end > length as usize
            || header.cluster != cluster
            || !header.is_intact()
        {
            return self.ignore(Ignored::Malformed, effects);
        }
        let view = target.map_or(committed_by, |target| target.view.max(committed_by));
        let reached = Target { checkpoint, view };
        *target = Some(reached);
        pages.push(page);
        *received = end as u32;
        self.transfer.attempt = 0;
        if end < length as usize {
            return self.ask_for_transfer(effects);
        }
        let manifest = core::mem::take(pages);
        effects.push(Effect::Fetch(Fetch::Begin { checkpoint, manifest }));
        self.transfer.stage = Stage::Syncing { target: reached, left: u32::MAX };
        self.disarm(Timer::Transfer, effects);
    }

    // Step 3: chunks.

    pub(crate) fn on_fetched(&mut self, fetched: Fetched<B>, effects: &mut Effects<B>) {
        let (target, before) = match &self.transfer.stage {
            Stage::Syncing { target, left } => (*target, *left),
            Stage::Finishing { target } => (*target, u32::MAX),
            Stage::Idle
            | Stage::Manifest { .. }
            | Stage::Chunks { .. }
            | Stage::Whole { .. }
            | Stage::Restoring { .. }
            | Stage::Restored { .. } => return self.ignore(Ignored::StaleCompletion, effects),
        };
        let of = match &fetched {
            Fetched::Missing { id, .. } | Fetched::Refused { id } | Fetched::Whole { id, .. } => {
                *id
            }
        };
        if of != target.checkpoint.id {
            return self.ignore(Ignored::StaleCompletion, effects);
        }
        if self.is_past(target.checkpoint.op(), of) {
            effects.push(Effect::Fetch(Fetch::Abandon));
            return self.give_up_transfer(effects);
        }
        let is_progress = match &fetched {
            Fetched::Missing { chunks, left, .. } => {
                chunks.is_empty() || (before < u32::MAX && *left < before)
            }
            Fetched::Whole { .. } => true,
            Fetched::Refused { .. } => false,
        };
        self.transfer.lost &= !is_progress;
        match fetched {
            // What is here of it, or of the one before, is kept: it may be gone on with.
            Fetched::Refused { .. } => {
                if self.is_mending() {
                    self.mend_in_vain();
                    self.transfer.unknown = self.transfer.lacks_state;
                }
                self.retarget(effects);
                self.rest(effects);
            }
            Fetched::Whole { .. } if self.is_mending() && !self.transfer.lacks_state => {
                self.end_mending(effects);
                self.give_up_transfer(effects);
            }
            Fetched::Whole { sessions, .. } => {
                self.transfer.setbacks = 0;
                self.transfer.stage = Stage::Whole { target, sessions };
            }
            Fetched::Missing { id, chunks, .. } if chunks.is_empty() => {
                self.transfer.stage = Stage::Finishing { target };
                effects.push(Effect::Fetch(Fetch::Finish { id }));
            }
            Fetched::Missing { .. } if self.is_superseded(target.checkpoint.op(), of) => {
                // Nobody was asked for anything.
                if self.is_mending() {
                    self.mend_in_vain();
                    self.retarget(effects);
                    return self.rest(effects);
                }
                self.retarget(effects);
            }
            Fetched::Missing { mut chunks, left, .. } => {
                chunks.truncate(CHUNKS_WANTED_MAX);
                self.transfer.stage = Stage::Chunks { target, wanted: chunks, left };
                self.transfer.refused = 0;
                if left >= before {
                    return self.rest(effects);
                }
                self.transfer.attempt = 0;
                self.transfer.setbacks = 0;
                self.ask_for_transfer(effects);
            }
        }
    }

    /// Whether the log of the view that waits for a checkpoint does not fit behind this one.
    fn is_too_early(&self, op: OpNumber) -> bool {
        let head = self.transfer.ahead.as_ref().and_then(|ahead| ahead.suffix.last());
        head.is_some_and(|head| head.op > self.limit_behind(op))
    }

    /// Up to which op there is room behind a checkpoint.
    fn limit_behind(&self, op: OpNumber) -> OpNumber {
        OpNumber(op.0.saturating_add(u64::from(self.config.constants().log_slots) - 1))
    }

    /// The store did not take what came, as where the disk is full. To ask again at once would only bring it
    /// again, and again.
    fn rest(&mut self, effects: &mut Effects<B>) {
        self.mark(Mark::TransferRests, effects);
        self.transfer.resting = true;
        self.arm(Timer::Transfer, self.transfer.setbacks, effects);
        self.transfer.setbacks += 1;
    }

    /// Whether all that a checkpoint has is executed. The own one is of use for as long as it is the latest.
    fn is_past(&self, op: OpNumber, id: Checksum) -> bool {
        op <= self.commit_min && id != self.checkpoints.latest.id
    }

    /// Whether what comes after the checkpoint is in nobody's log any more, and a later one is there.
    fn is_superseded(&self, op: OpNumber, id: Checksum) -> bool {
        if id == self.checkpoints.latest.id && !self.transfer.lacks_state {
            // Its log is here.
            return false;
        }
        let mut members = self.heard_members().peekable();
        let later = self.heard_members().any(|(_, kept)| kept.checkpoint > op);
        // One whose log begins early may be left behind itself.
        let continues = |kept: &Kept| kept.begins <= op && op < kept.held;
        let all = members.peek().is_some() && members.all(|(_, kept)| !continues(kept));
        ((all || self.is_too_early(op)) && later) || self.is_past(op, id)
    }

    pub(crate) fn on_chunk(&mut self, chunk: B, effects: &mut Effects<B>) {
        let Stage::Chunks { target, wanted, left } = &mut self.transfer.stage else {
            return self.ignore(Ignored::NotAsked, effects);
        };
        if chunk.as_ref().len() > CHUNK_BYTES_MAX {
            return self.ignore(Ignored::Malformed, effects);
        }
        let digest = Checksum::of(chunk.as_ref());
        let Some(place) = wanted.iter().position(|wanted| *wanted == digest) else {
            return self.ignore(Ignored::NotAsked, effects);
        };
        wanted.swap_remove(place);
        self.transfer.lost = false;
        effects.push(Effect::Fetch(Fetch::Put { chunk }));
        self.transfer.attempt = 0;
        if wanted.is_empty() {
            let (target, left) = (*target, *left);
            effects.push(Effect::Fetch(Fetch::Sync { id: target.checkpoint.id }));
            self.transfer.stage = Stage::Syncing { target, left };
            self.transfer.resting = false;
            self.disarm(Timer::Transfer, effects);
        } else {
            self.arm(Timer::Transfer, 0, effects);
        }
    }

    // Step 4: other peers, other checkpoints.

    pub(crate) fn on_no_chunk(&mut self, index: usize, name: Checksum, effects: &mut Effects<B>) {
        let wanted = match &self.transfer.stage {
            Stage::Manifest { id, .. } if *id == name => 1,
            Stage::Chunks { wanted, .. } if wanted.contains(&name) => wanted.len(),
            Stage::Idle
            | Stage::Manifest { .. }
            | Stage::Syncing { .. }
            | Stage::Chunks { .. }
            | Stage::Finishing { .. }
            | Stage::Whole { .. }
            | Stage::Restoring { .. }
            | Stage::Restored { .. } => return self.ignore(Ignored::NotAsked, effects),
        };
        // Until its next PING it is not asked for that again.
        if self.transfer.stage.id() == Some(self.checkpoints.id_of(index)) {
            self.checkpoints.forget_id_of(index);
        }
        self.transfer.refused += 1;
        if self.transfer.refused >= wanted {
            self.transfer.refused = 0;
            self.ask_another(effects);
        }
    }

    pub(crate) fn on_transfer_timeout(&mut self, effects: &mut Effects<B>) {
        self.transfer.resting = false;
        if !matches!(self.transfer.stage, Stage::Idle) {
            self.ask_another(effects);
        }
    }

    fn ask_another(&mut self, effects: &mut Effects<B>) {
        let before = self.source();
        self.transfer.turn = self.transfer.turn.wrapping_add(1);
        self.transfer.attempt += 1;
        let peers = self.incarnations.len() - 1;
        if self.transfer.attempt as usize > ROUNDS_MAX * peers {
            self.transfer.unanswered = self.transfer.unanswered.wrapping_add(1);
            return self.turn_elsewhere(effects);
        }
        if self.source() != before {
            self.mark(Mark::TransferSourceChanged, effects);
        }
        self.ask_for_transfer(effects);
    }

    /// How far a state transfer is, if one is under way.
    pub(crate) fn transfer_progress(&self) -> Option<TransferProgress> {
        let chunks_left = match &self.transfer.stage {
            Stage::Idle => return None,
            Stage::Manifest { .. } | Stage::Syncing { .. } => None,
            Stage::Chunks { left, .. } => Some(*left),
            Stage::Finishing { .. }
            | Stage::Whole { .. }
            | Stage::Restoring { .. }
            | Stage::Restored { .. } => Some(0),
        };
        let target = self.transfer.stage.target();
        let op = target.map_or(OpNumber::ZERO, |target| target.checkpoint.op());
        Some(TransferProgress { op, chunks_left })
    }

    /// What this replica's log can give to others. It begins behind what it lacks of what its checkpoint covers: who lacks
    /// that too takes the checkpoint.
    pub(crate) fn holds(&self) -> (OpNumber, OpNumber) {
        let (covered, _) = self.durable_checkpoint();
        let begins = self.log.last_lacking(covered).unwrap_or_else(|| self.log.root().op);
        (begins, self.log.durable())
    }
}

/// What a transfer waits for.
enum Reached {
    Nothing,
    Underway,
    Whole,
    Restored,
}
