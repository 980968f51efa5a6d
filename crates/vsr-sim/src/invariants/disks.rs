//! S7, S13, S14: what the disks hold.
//!
//! A shadow of each disk follows the writes as they are reported durable. It is what a restart must
//! find, and what an acknowledgement must rest on.

use std::collections::BTreeSet;

use bytes::Bytes;
use vsr_core::{
    Checksum, Entry, Header, Incarnation, OpNumber, Stored, StoredSlot, SuffixSlot,
    SuperblockState, ViewNumber, WriteKind,
};

use crate::invariants::{Checker, Watched};
use crate::world::choice::{Damage, Tear};

/// What a disk holds durably.
#[derive(Clone, Debug, Default)]
pub(super) struct Shadow {
    pub(super) incarnation: Incarnation,
    pub(super) view: ViewNumber,
    pub(super) log_view: ViewNumber,
    pub(super) commit_max: OpNumber,
    /// All up to here is in a checkpoint.
    pub(super) checkpoint: u64,
    /// Slot `i` is op `i + 1`.
    slots: Vec<Option<Checksum>>,
    /// What was acknowledged at each op and not superseded since, slot `i` for op `i + 1`.
    acknowledged: Vec<Option<Checksum>>,
    /// Slots whose content a crash or a fault put in doubt.
    doubtful: Vec<u64>,
    /// A crash spoiled sectors that other ops share: such an op may be called damaged, which is repaired,
    /// never missing.
    spoiled: bool,
    /// Any crash ever did: what it took may be found at any time.
    was_spoiled: bool,
    /// Ops that a declared fault took before any ring header named them. The store may find what was there before, or
    /// nothing; but it knows that something is gone.
    unnamed: BTreeSet<u64>,
    /// Slots whose ring headers a declared fault took since the store was opened. Their records are there.
    headerless: BTreeSet<u64>,
    /// Slots that were durable, and that a declared fault took.
    damaged: BTreeSet<u64>,
    /// Ops whose record a declared fault damaged, or that the replica itself marked so, and that was not written again
    /// since.
    rotten: BTreeSet<u64>,
    /// Ops whose slots were ever found damaged, or damaged by a declared fault.
    once_damaged: BTreeSet<u64>,
    /// Ops that the disk calls damaged, durably, and that were not written again since.
    marked: BTreeSet<u64>,
    /// The checkpoint that the durable superblock names.
    named: Checksum,
    /// Checkpoints that a declared fault damaged, and of which not all was read and found good since. Others may share
    /// the chunk.
    rotten_chunks: Vec<Checksum>,
    /// How many of them there were when the store was last asked to read all of one.
    rotten_before: usize,
    /// One that was read whole is to be named by a superblock which is not durable yet. The damaged one is told of
    /// until then.
    installed: bool,
}

impl Shadow {
    /// What is durable at an op.
    pub(super) fn checksum(&self, op: u64) -> Option<Checksum> {
        self.slots.get(op.checked_sub(1)? as usize).copied().flatten()
    }

    fn set(&mut self, op: u64, checksum: Option<Checksum>) {
        if checksum.is_some() {
            self.damaged.remove(&op);
        }
        put(&mut self.slots, op, checksum);
    }

    pub(super) fn acknowledged(&self, op: u64) -> Option<Checksum> {
        self.acknowledged.get(op.checked_sub(1)? as usize).copied().flatten()
    }

    /// Whether what was committed at an op is durable here, as an entry or in a checkpoint.
    pub(super) fn has(&self, op: u64, committed: Option<Checksum>) -> bool {
        op <= self.checkpoint || (self.checksum(op) == committed && !self.rotten.contains(&op))
    }

    /// Whether neither the record of an op nor its ring header is damaged.
    fn is_sound(&self, op: u64) -> bool {
        !self.is_damaged(op) && !self.doubtful.contains(&op) && !self.headerless.contains(&op)
    }

    /// Whether a declared fault took what was here.
    fn is_damaged(&self, op: u64) -> bool {
        self.damaged.contains(&op) || self.rotten.contains(&op)
    }

    /// A later view's log is durable: what was acknowledged beside it is superseded.
    fn supersede(&mut self, state: &SuperblockState) {
        self.acknowledged.truncate(state.op.0 as usize);
        for header in state.headers.iter().filter(|header| header.op > OpNumber::ZERO) {
            if self.acknowledged(header.op.0).is_some_and(|other| other != header.checksum) {
                put(&mut self.acknowledged, header.op.0, None);
            }
        }
    }

    /// Forgets that anything but this was acknowledged at an op.
    pub(super) fn keep_acknowledged(&mut self, op: u64, checksum: Option<Checksum>) {
        if self.acknowledged(op).is_some_and(|other| Some(other) != checksum) {
            put(&mut self.acknowledged, op, None);
        }
    }

    pub(super) fn acknowledge(&mut self, op: u64, checksum: Checksum) {
        put(&mut self.acknowledged, op, Some(checksum));
    }

    /// All of the checkpoint was read and found good.
    fn forget_rot(&mut self) {
        let mut place = 0;
        self.rotten_chunks.retain(|id| {
            place += 1;
            *id != self.named || place > self.rotten_before
        });
        self.rotten_before = 0;
    }

    /// All but the fence was in memory. What was promised and acknowledged stays so.
    fn lose_memory(&mut self) {
        self.log_view = ViewNumber::ZERO;
        self.commit_max = OpNumber::ZERO;
        self.checkpoint = 0;
        self.slots.clear();
        self.doubtful.clear();
        self.damaged.clear();
        self.rotten.clear();
        self.marked.clear();
        self.spoiled = false;
    }

    fn rank(&self) -> (Incarnation, ViewNumber, ViewNumber) {
        (self.incarnation, self.view, self.log_view)
    }
}

fn put(slots: &mut Vec<Option<Checksum>>, op: u64, checksum: Option<Checksum>) {
    let index = (op - 1) as usize;
    if slots.len() <= index {
        slots.resize(index + 1, None);
    }
    slots[index] = checksum;
}

const fn rank_of(state: &SuperblockState) -> (Incarnation, ViewNumber, ViewNumber) {
    (state.incarnation, state.view, state.log_view)
}

impl Checker {
    /// A write is handed to the disk. S4: its bodies are those of its headers. S13: nothing that this
    /// replica acknowledged in its log view, and nothing committed, is written over.
    pub(crate) fn on_persist(&mut self, index: usize, kind: &WriteKind<Bytes>) {
        let WriteKind::Append(entries) = kind else { return };
        let log_view = self.watched[index].last.as_ref().map(|last| last.log_view);
        for entry in entries {
            let Header { op, checksum, .. } = *entry.header();
            if !entry.is_intact() {
                self.fail("S4", format!("r{index} persists an entry at op {op} with another body"));
                return;
            }
            self.entries.entry(checksum.0).or_insert_with(|| entry.clone());
            let watched = &self.watched[index];
            let Some(old) = watched.shadow.checksum(op.0).filter(|old| *old != checksum) else {
                continue;
            };
            if self.canonical_at(op.0) == Some(old) {
                self.fail("S13", format!("r{index} overwrites op {op}, which is committed"));
                return;
            }
            let held = self.watched[index].held;
            let superseded = log_view.is_some_and(|log_view| log_view > held.view);
            if op.0 <= held.op && !superseded && self.watched[index].last.is_some() {
                self.fail(
                    "S13",
                    format!("r{index} overwrites op {op}, which it acknowledged in {}", held.view),
                );
                return;
            }
        }
    }

    /// A write is durable. S10: what the superblock says only rises.
    pub(crate) fn on_durable(&mut self, index: usize, kind: &WriteKind<Bytes>) {
        let shadow = &mut self.watched[index].shadow;
        match kind {
            WriteKind::Append(entries) => {
                let replied = self.replied;
                let mut replaced = Vec::new();
                for Header { op, checksum, .. } in entries.iter().map(Entry::header) {
                    if op.0 <= replied && shadow.checksum(op.0) != Some(*checksum) {
                        replaced.push(op.0);
                    }
                    shadow.set(op.0, Some(*checksum));
                    shadow.rotten.remove(&op.0);
                    shadow.marked.remove(&op.0);
                }
                for op in replaced {
                    self.count_copies(op);
                }
            }
            WriteKind::Superblock(state) => {
                if state.log_view > shadow.log_view {
                    shadow.supersede(state);
                }
                let falls = rank_of(state) < shadow.rank() || state.log_view < shadow.log_view;
                shadow.incarnation = state.incarnation;
                shadow.view = state.view;
                shadow.log_view = state.log_view;
                shadow.commit_max = shadow.commit_max.max(state.commit_max);
                shadow.named = state.checkpoint.id;
                if state.checkpoint.op().0 > shadow.checkpoint {
                    shadow.checkpoint = state.checkpoint.op().0;
                    if std::mem::take(&mut shadow.installed) {
                        shadow.forget_rot();
                    }
                }
                if falls {
                    let (view, log_view) = (state.view, state.log_view);
                    self.fail(
                        "S10",
                        format!("r{index} writes an older superblock: view {view}, {log_view}"),
                    );
                }
            }
            WriteKind::MarkFaulty(op) => self.on_marked(index, op.0),
        }
    }

    /// S13: what a replica marks damaged it lets go. That is what a fault took, or was superseded: nothing that is
    /// committed, and nothing that it acknowledged.
    fn on_marked(&mut self, index: usize, op: u64) {
        let committed = self.canonical_at(op);
        let shadow = &mut self.watched[index].shadow;
        // It may have agreed to what it does not hold any more.
        shadow.once_damaged.insert(op);
        shadow.marked.insert(op);
        let Some(held) = shadow.checksum(op) else { return };
        let is_excused = shadow.is_damaged(op) || shadow.was_spoiled;
        let is_needed = Some(held) == committed || Some(held) == shadow.acknowledged(op);
        shadow.rotten.insert(op);
        if is_needed && !is_excused {
            self.fail("S13", format!("r{index} marks op {op} damaged, which it holds whole"));
        }
        if op <= self.replied {
            self.count_copies(op);
        }
    }

    /// A process died with writes on their way: what they would have replaced is in doubt. The first of them were
    /// given to a disk that had no room for all.
    pub(crate) fn on_crash(
        &mut self,
        index: usize,
        unsynced: &[&WriteKind<Bytes>],
        tear: Tear,
        given: usize,
    ) {
        self.on_death(index);
        self.marks.reach("crash");
        if !unsynced.is_empty() {
            self.marks.reach("crash-with-unsynced-writes");
        }
        if self.is_in_memory() {
            self.watched[index].lost = true;
            self.watched[index].shadow.lose_memory();
            return self.recount();
        }
        let in_doubt = if tear == Tear::None { given.min(unsynced.len()) } else { unsynced.len() };
        if in_doubt == 0 {
            return;
        }
        let shadow = &mut self.watched[index].shadow;
        shadow.spoiled |= tear.spoils();
        shadow.was_spoiled |= tear.spoils();
        for kind in &unsynced[..in_doubt] {
            match kind {
                WriteKind::Append(entries) => {
                    self.marks.reach("torn-tail");
                    shadow.doubtful.extend(entries.iter().map(|entry| entry.header().op.0));
                }
                WriteKind::MarkFaulty(op) => shadow.doubtful.push(op.0),
                WriteKind::Superblock(_) => {}
            }
        }
    }

    /// What a replica's disk durably holds at an op.
    pub(crate) fn durable_at(&self, index: usize, op: u64) -> Option<Checksum> {
        self.watched[index].shadow.checksum(op)
    }

    /// Whether a replica's disk durably holds something at an op, or did before a fault took it.
    pub(crate) fn has_written(&self, index: usize, op: u64) -> bool {
        let shadow = &self.watched[index].shadow;
        shadow.checksum(op).is_some() || shadow.is_damaged(op)
    }

    /// S21: a store takes whatever the protocol keeps within the log's bounds.
    pub(crate) fn on_store_failure(&mut self, index: usize, why: &str) {
        self.fail("S21", format!("r{index}: the store refused: {why}"));
    }

    /// A declared fault hits a disk, whose latest checkpoint is this.
    pub(crate) fn on_damage(
        &mut self,
        index: usize,
        damage: Damage,
        struck: &[(u64, bool)],
        checkpoint: Option<Checksum>,
    ) {
        let shadow = &mut self.watched[index].shadow;
        match damage {
            Damage::Log(_) | Damage::Unreadable(_) | Damage::Misdirect(..) | Damage::Lose(_) => {}
            // Its record is there.
            Damage::Header(op) | Damage::LoseHeader(op) => {
                shadow.headerless.insert(op);
                return;
            }
            Damage::Superblock(_) => return,
            Damage::Chunk(_) => return shadow.rotten_chunks.extend(checkpoint),
        }
        for (op, is_named) in struck.iter().copied() {
            let shadow = &mut self.watched[index].shadow;
            shadow.rotten.insert(op);
            shadow.once_damaged.insert(op);
            if !is_named {
                shadow.unnamed.insert(op);
            }
            if op <= self.replied {
                self.count_copies(op);
            }
        }
    }

    /// What a disk has at an op beyond doubt.
    pub(crate) fn sound_at(&self, index: usize, op: u64) -> Option<Checksum> {
        let shadow = &self.watched[index].shadow;
        shadow.checksum(op).filter(|_| shadow.is_sound(op))
    }

    /// L9: whether no disk has the entry that a replica stops for: what is committed at its op, or else what its own disk
    /// has there, damaged.
    pub(crate) fn is_on_no_disk(&self, index: usize, op: u64) -> bool {
        let wanted = self.canonical_at(op).or_else(|| self.watched[index].shadow.checksum(op));
        let has = |other| {
            let held = self.sound_at(other, op);
            (held.is_some() && held == wanted) || op <= self.watched[other].shadow.checkpoint
        };
        !(0..self.watched.len()).any(has)
    }

    /// Whether a disk has records that their ring headers do not tell of.
    pub(crate) fn is_any_headerless(&self, index: usize) -> bool {
        !self.watched[index].shadow.headerless.is_empty()
    }

    /// Whether another disk holds damaged records.
    pub(crate) fn is_any_rotten_but(&self, index: usize) -> bool {
        (0..self.watched.len()).any(|other| other != index && self.is_rotten(other))
    }

    /// Whether another disk holds a damaged checkpoint.
    pub(crate) fn is_any_checkpoint_rotten_but(&self, index: usize) -> bool {
        let others = self.watched.iter().enumerate().filter(|(other, _)| *other != index);
        others.into_iter().any(|(_, other)| !other.shadow.rotten_chunks.is_empty())
    }

    /// S13: a checkpoint is found damaged only where it was damaged. A service that starts without its state has
    /// it before anything else is executed.
    pub(crate) fn on_damaged_checkpoint(&mut self, index: usize, starts: bool) {
        let watched = &mut self.watched[index];
        watched.stateless |= starts;
        if watched.shadow.rotten_chunks.is_empty() {
            self.fail("S13", format!("r{index} lost a part of its checkpoint"));
        }
    }

    /// A store is to make a checkpoint whole, for which it reads all of it.
    pub(crate) fn on_finish(&mut self, index: usize) {
        let shadow = &mut self.watched[index].shadow;
        shadow.rotten_before = shadow.rotten_chunks.len();
    }

    /// The replica's own checkpoint is that, whole: what was damaged before is no excuse any more.
    pub(super) fn on_whole(&mut self, index: usize) {
        self.watched[index].shadow.forget_rot();
    }

    /// It will be once the superblock names it.
    pub(super) fn on_installed(&mut self, index: usize) {
        self.watched[index].shadow.installed = true;
    }

    /// Whether a replica's slot of this op was ever damaged.
    pub(super) fn was_damaged(&self, index: usize, op: u64) -> bool {
        self.watched[index].shadow.once_damaged.contains(&op)
    }

    /// Whether records on a replica's disk rotted, and were not written again.
    pub(crate) fn is_rotten(&self, index: usize) -> bool {
        let shadow = &self.watched[index].shadow;
        shadow.rotten.iter().any(|op| *op > shadow.checkpoint)
    }

    /// Whether a replica runs without the state that it has executed, since its checkpoint was damaged.
    pub(crate) fn is_stateless(&self, index: usize) -> bool {
        self.watched[index].stateless
    }

    /// A log begins at a checkpoint that came from elsewhere. What was acknowledged beside what is committed
    /// there, and all that is chained to it, is superseded.
    pub(super) fn supersede_beside(&mut self, index: usize, root: u64) {
        let committed = self.canonical_at(root);
        let Watched { shadow, held, fetched, .. } = &mut self.watched[index];
        let acknowledged = shadow.acknowledged(root);
        if root == *fetched && acknowledged.is_some() && acknowledged != committed {
            shadow.acknowledged.truncate((root - 1) as usize);
            held.op = held.op.min(root - 1);
        }
    }

    /// A store was opened. It holds what was durable, and no older superblock.
    pub(crate) fn on_open(&mut self, index: usize, stored: &Stored<Bytes>) {
        self.watched[index].applied = stored.superblock.checkpoint.op().0;
        let shadow = &mut self.watched[index].shadow;
        let trimmed = stored.superblock.trimmed.op.0;
        let found = |op: u64| match stored.slots.get((op - trimmed - 1) as usize) {
            Some(StoredSlot::Held(header)) => Some(header.checksum),
            Some(StoredSlot::Empty | StoredSlot::Faulty(_) | StoredSlot::Unreadable) | None => None,
        };
        let (was_spoiled, rotten) = (shadow.spoiled, shadow.rotten.clone());
        let was_damaged = shadow.damaged.clone();
        let headerless = std::mem::take(&mut shadow.headerless);
        let spoiled = |op: u64| {
            let slot = stored.slots.get((op - trimmed - 1) as usize);
            (was_spoiled || rotten.contains(&op) || headerless.contains(&op))
                && matches!(slot, Some(StoredSlot::Faulty(_) | StoredSlot::Unreadable))
        };
        let knows_of_loss = stored.slots.contains(&StoredSlot::Unreadable);
        let excused = |shadow: &Shadow, op: u64| {
            shadow.doubtful.contains(&op)
                || (knows_of_loss && shadow.unnamed.contains(&op))
                || spoiled(op)
        };
        let lost = (trimmed + 1..=shadow.slots.len() as u64).find(|op| {
            let was = shadow.checksum(*op);
            was.is_some() && found(*op) != was && !excused(shadow, *op)
        });
        let end = (shadow.slots.len() as u64).max(trimmed + stored.slots.len() as u64);
        let changed: Vec<u64> =
            (trimmed + 1..=end).filter(|op| shadow.checksum(*op) != found(*op)).collect();
        let taken: Vec<u64> = changed.iter().copied().filter(|op| excused(shadow, *op)).collect();
        for op in &taken {
            if shadow.checksum(*op).is_some() {
                shadow.damaged.insert(*op);
            }
        }
        let forgotten = shadow.marked.iter().copied().filter(|op| *op > trimmed).find(|op| {
            let slot = stored.slots.get((op - trimmed - 1) as usize).unwrap_or(&StoredSlot::Empty);
            match slot {
                StoredSlot::Faulty(_) | StoredSlot::Unreadable => false,
                StoredSlot::Held(_) => !shadow.doubtful.contains(op) && !headerless.contains(op),
                StoredSlot::Empty => !shadow.doubtful.contains(op),
            }
        });
        shadow.marked.clear();
        let mut remembered = false;
        for (op, slot) in (trimmed + 1..).zip(&stored.slots) {
            if matches!(slot, StoredSlot::Faulty(_) | StoredSlot::Unreadable) {
                remembered |= was_damaged.contains(&op);
                shadow.once_damaged.insert(op);
                shadow.marked.insert(op);
            }
        }
        let state = &stored.superblock;
        let older = rank_of(state) < shadow.rank();
        if state.log_view > shadow.log_view {
            shadow.supersede(state);
        }
        shadow.doubtful.clear();
        shadow.unnamed.clear();
        shadow.spoiled = false;
        shadow.installed = false;
        for op in trimmed + 1..=trimmed + stored.slots.len() as u64 {
            shadow.set(op, found(op));
        }
        let forgot = state.checkpoint.op().0 < shadow.checkpoint;
        shadow.incarnation = state.incarnation;
        shadow.view = state.view;
        shadow.log_view = state.log_view;
        shadow.commit_max = state.commit_max;
        shadow.named = state.checkpoint.id;
        if remembered {
            self.marks.reach("damage-remembered");
        }
        if let Some(op) = lost {
            self.fail("S7", format!("r{index}: op {op} was durable, and the store lost it"));
        }
        if let Some(op) = forgotten {
            self.fail("S7", format!("r{index}: the store forgot that op {op} is damaged"));
        }
        if forgot {
            self.fail("S10", format!("r{index}: the store forgot a checkpoint"));
        }
        if older {
            self.fail("S10", format!("r{index}: the store found an older superblock"));
        }
        let replied = self.replied;
        for op in changed.into_iter().filter(|op| *op <= replied) {
            self.count_copies(op);
        }
    }

    /// S7: what a client is told to be done, with all before it, is on enough disks to survive any view
    /// change; and stays so, whatever the disks are told to do later.
    pub(super) fn check_copies(&mut self, op: u64) {
        for op in self.replied + 1..=op {
            self.count_copies(op);
        }
        self.replied = self.replied.max(op);
    }

    /// S7: a replica takes part again that had lost its memory. It counts, and is no excuse any more.
    pub(super) fn remembers(&mut self, index: usize) {
        self.watched[index].lost = false;
        self.recount();
    }

    fn recount(&mut self) {
        for op in 1..=self.replied {
            self.count_copies(op);
        }
    }

    /// What a declared fault took is no copy, but is not denied either, so that it counts as long as
    /// there is a copy at all. So does what was in the memory of who stopped, and is silent until it has
    /// that again.
    fn count_copies(&mut self, op: u64) {
        let wanted = self.canonical_at(op);
        let shadows = || self.watched.iter().map(|watched| &watched.shadow);
        let copies = shadows().filter(|shadow| shadow.has(op, wanted)).count();
        let gone = |shadow: &&Shadow| !shadow.has(op, wanted) && shadow.is_damaged(op);
        let damaged = shadows().filter(gone).count();
        let lost = self.watched.iter().filter(|watched| watched.lost);
        if lost.clone().count() > self.configuration.tolerated() {
            // That much may be gone. Nobody counts again, since nobody has an answer for anybody.
            return;
        }
        let damaged = damaged + lost.filter(|watched| !watched.shadow.has(op, wanted)).count();
        let needed = self.configuration.voters() - self.configuration.quorums().view_change + 1;
        if wanted.is_none() || copies == 0 || copies + damaged < needed {
            let what = format!(
                "op {op} was replied to and is on {copies} disks of {needed}, damaged or lost on {damaged}"
            );
            self.fail("S7", what);
        }
    }

    /// S13, S14: an offered log has what its sender acknowledged, and denies nothing that it holds.
    pub(super) fn check_offer(
        &mut self,
        index: usize,
        log_view: ViewNumber,
        op: OpNumber,
        suffix: &[SuffixSlot],
    ) {
        let watched = &self.watched[index];
        let held = watched.held;
        if held.view > log_view {
            let view = held.view;
            self.fail("S13", format!("r{index} acknowledged in {view} and offers {log_view}"));
            return;
        }
        let first = op.0 + 1 - (suffix.len() as u64).min(op.0 + 1);
        let mut wrong = None;
        for (op, slot) in (first..).zip(suffix).filter(|(op, _)| *op > 0) {
            let acknowledged = watched.shadow.acknowledged(op);
            // A gap is denied whatever belongs there: what is committed must not have been held.
            let denied =
                slot.header.map(|header| header.checksum).or_else(|| self.canonical_at(op));
            if slot.nack && denied.is_some() && acknowledged == denied {
                wrong = Some(("S14", format!("r{index} denies op {op}, which it acknowledged")));
            }
            let Some(header) = slot.header else { continue };
            let other = acknowledged.is_some_and(|acknowledged| acknowledged != header.checksum);
            if other && held.view == log_view && op <= held.op {
                let what = format!("r{index} offers another op {op} than it acknowledged");
                wrong = Some(("S13", what));
            }
        }
        if held.view == log_view && op.0 < held.op {
            let what = format!("r{index} offers op {op} and acknowledged op {}", held.op);
            wrong = Some(("S13", what));
        }
        if let Some((invariant, what)) = wrong {
            self.fail(invariant, what);
        }
    }
}
