//! The log: one slot for each op, from the one after the root to the head.
//!
//! The root is the header that the log begins after: that of op 0, or of an entry which a checkpoint
//! covers. What lies before it is durable as part of that checkpoint, and not kept here.
//!
//! The headers of a log form a chain. Two stretches of it are known to be the group's: the trusted
//! prefix up to `trusted`, and the suffix `suffix_from..=op` that the view's primary named. Where they
//! meet there is no gap. Otherwise the slots between them hold nothing, or candidates: headers of
//! this replica's own that may or may not be the group's, or headers that the view's primary named one by
//! one and that nothing links yet: those are the group's too. A gap is closed from above, by comparing
//! each candidate with the `parent` of the header after it, and fetching what does not match; or from
//! below, by a PREPARE that links to the trusted prefix.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::digest::Checksum;
use crate::entry::{Entry, Header};
use crate::types::{OpNumber, ViewNumber};

/// What is known of a slot's requests on this replica's disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holding {
    /// Never durable here under the slot's header: may be nacked.
    Missing,
    /// On its way to the disk.
    Writing,
    /// Durable.
    Durable,
    /// Was durable and is damaged, or may have been: neither present nor nacked.
    Faulty,
}

impl Holding {
    const fn is_lacking(self) -> bool {
        matches!(self, Self::Missing | Self::Faulty)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Slot<B> {
    pub(crate) header: Option<Header>,
    /// The primary of the log view named this header, whether or not it links to others yet. A view
    /// change must not forget that: what was acknowledged may stand beside a gap.
    named: bool,
    pub(crate) body: Option<Entry<B>>,
    pub(crate) holding: Holding,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Log<B> {
    root: Header,
    /// Slot `i` is op `root.op + 1 + i`.
    slots: VecDeque<Slot<B>>,
    trusted: OpNumber,
    suffix_from: OpNumber,
    /// All up to here is trusted and durable.
    durable: OpNumber,
    /// Bytes of entries since the root, as far as headers are known.
    bytes: u64,
    /// Bytes of bodies in memory.
    cached: usize,
    /// No slot below this has a body in memory.
    cached_from: OpNumber,
    /// From here on bodies that wait to be executed may be in memory, beside those needed next.
    shed_from: OpNumber,
    /// How many slots are missing or faulty.
    lacking: usize,
    /// No slot below this is missing or faulty.
    lacking_from: OpNumber,
    /// After the first and up to the second op nothing counts as never held: something was lost, and nobody knows what
    /// it was.
    doubted: (OpNumber, OpNumber),
}

/// The new view's log contradicts what this replica executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Contradiction(pub(crate) OpNumber);

impl<B> Log<B> {
    pub(crate) const fn new(root: Header) -> Self {
        let first = root.op.next();
        Self {
            root,
            slots: VecDeque::new(),
            trusted: root.op,
            suffix_from: first,
            durable: root.op,
            bytes: 0,
            cached: 0,
            cached_from: first,
            shed_from: first,
            lacking: 0,
            lacking_from: first,
            doubted: (OpNumber::ZERO, OpNumber::ZERO),
        }
    }

    /// The header that the log begins after.
    pub(crate) const fn root(&self) -> &Header {
        &self.root
    }

    /// The op-number: the last op of the log.
    pub(crate) fn op(&self) -> OpNumber {
        OpNumber(self.root.op.0 + self.slots.len() as u64)
    }

    pub(crate) const fn trusted(&self) -> OpNumber {
        self.trusted
    }

    pub(crate) const fn durable(&self) -> OpNumber {
        self.durable
    }

    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the header at `op` is known to be the group's.
    pub(crate) fn is_verified(&self, op: OpNumber) -> bool {
        op <= self.trusted
            || (op >= self.suffix_from && op <= self.op())
            || self.slot(op).is_some_and(|slot| slot.named)
    }

    /// The slots whose identity is not known yet, if any: first and last.
    pub(crate) fn gap(&self) -> Option<(OpNumber, OpNumber)> {
        let first = self.trusted.next();
        let last = self.suffix_from.previous();
        (self.trusted < self.op() && first <= last).then_some((first, last))
    }

    /// The header at `op`, if it is known to be the group's and not before the root.
    pub(crate) fn header(&self, op: OpNumber) -> Option<&Header> {
        if op == self.root.op {
            return Some(&self.root);
        }
        if !self.is_verified(op) {
            return None;
        }
        self.slot(op)?.header.as_ref()
    }

    pub(crate) fn checksum(&self, op: OpNumber) -> Option<Checksum> {
        self.header(op).map(|header| header.checksum)
    }

    /// The header of the last op.
    pub(crate) fn head(&self) -> &Header {
        self.header(self.op()).expect("the last slot always has a verified header")
    }

    pub(crate) fn slot(&self, op: OpNumber) -> Option<&Slot<B>> {
        self.slots.get(self.index(op)?)
    }

    fn index(&self, op: OpNumber) -> Option<usize> {
        op.0.checked_sub(self.root.op.0 + 1).map(|index| index as usize)
    }

    fn slot_mut(&mut self, op: OpNumber) -> Option<&mut Slot<B>> {
        let index = self.index(op)?;
        self.slots.get_mut(index)
    }

    pub(crate) fn holding(&self, op: OpNumber) -> Holding {
        if op <= self.root.op {
            return Holding::Durable;
        }
        self.slot(op).map_or(Holding::Missing, |slot| slot.holding)
    }

    pub(crate) fn body(&self, op: OpNumber) -> Option<&Entry<B>> {
        self.slot(op)?.body.as_ref()
    }

    /// The last `count + 1` ops of the log, as far as it goes back. The root is one of them, since a view
    /// may start with a log that is cut back to it; that of op 0, which everybody knows, only stands for
    /// an empty log.
    pub(crate) fn suffix_range(&self, count: u32) -> core::ops::RangeInclusive<u64> {
        let (root, op) = (self.root.op.0, self.op().0);
        let first = if root == 0 { u64::from(op > 0) } else { root };
        op.saturating_sub(u64::from(count)).max(first)..=op
    }

    /// The verified headers of the last `count + 1` ops: in a gap those alone that were named.
    pub(crate) fn suffix(&self, count: u32) -> Vec<Header> {
        self.suffix_range(count).filter_map(|op| self.header(OpNumber(op)).copied()).collect()
    }

    /// The longest linked run of headers that ends at the head, at most `count + 1` long.
    pub(crate) fn linked_suffix(&self, count: u32) -> Vec<Header> {
        let first = if self.gap().is_some() { self.suffix_from.0 } else { 0 };
        self.suffix_range(count)
            .filter(|op| *op >= first)
            .filter_map(|op| self.header(OpNumber(op)).copied())
            .collect()
    }

    /// Sets a slot's identity, as the log view's primary named it.
    fn name(&mut self, header: Header) {
        self.set_header(header);
        if let Some(slot) = self.slot_mut(header.op) {
            slot.named = true;
        }
    }

    /// Sets a slot's identity. What was held under another identity is forgotten; damage is not.
    fn set_header(&mut self, header: Header) {
        let mut freed = 0;
        let slot = self.slot_mut(header.op).expect("the slot was made before its header");
        if slot.header.as_ref().is_some_and(|old| old.checksum == header.checksum) {
            return;
        }
        let old = slot.header.replace(header);
        slot.named = false;
        if let Some(body) = slot.body.take() {
            freed = body.header().length as usize;
        }
        self.cached -= freed;
        self.bytes -= old.map_or(0, |old| bytes_of(&old));
        self.bytes += bytes_of(&header);
        self.lose(header.op);
    }

    fn clear_header(&mut self, op: OpNumber) {
        let Some(slot) = self.slot_mut(op) else {
            return;
        };
        let old = slot.header.take();
        slot.named = false;
        let body = slot.body.take();
        self.bytes -= old.map_or(0, |old| bytes_of(&old));
        self.cached -= body.map_or(0, |body| body.header().length as usize);
        self.lose(op);
    }

    /// What was held is not what belongs there.
    fn lose(&mut self, op: OpNumber) {
        if self.holding(op) != Holding::Faulty {
            self.set_holding(op, self.absent(op));
        }
    }

    /// What a slot is that holds nothing.
    fn absent(&self, op: OpNumber) -> Holding {
        let (committed, last) = self.doubted;
        if op > committed && op <= last { Holding::Faulty } else { Holding::Missing }
    }

    /// Something up to `last` was lost, and nobody knows what it was: whatever is not held there may have been. What is
    /// known to be committed no view cuts.
    pub(crate) fn doubt(&mut self, committed: OpNumber, last: OpNumber) {
        self.doubted = (committed, last);
        for op in (self.root.op.max(committed).0 + 1..=self.op().0.min(last.0)).map(OpNumber) {
            if self.holding(op) == Holding::Missing {
                self.set_holding(op, Holding::Faulty);
            }
        }
    }

    fn set_holding(&mut self, op: OpNumber, holding: Holding) {
        let Some(slot) = self.slot_mut(op) else {
            return;
        };
        let lacked = slot.holding.is_lacking();
        slot.holding = holding;
        match (lacked, holding.is_lacking()) {
            (true, false) => self.lacking -= 1,
            (false, true) => {
                self.lacking += 1;
                self.lacking_from = self.lacking_from.min(op);
            }
            (true, true) | (false, false) => {}
        }
    }

    fn truncate(&mut self, head: OpNumber) {
        for op in (head.0 + 1..=self.op().0).rev().map(OpNumber) {
            self.clear_header(op);
            self.set_holding(op, Holding::Durable);
        }
        self.slots.truncate((head.0 - self.root.op.0) as usize);
        self.doubted.1 = self.doubted.1.min(head);
    }

    fn extend_to(&mut self, op: OpNumber) {
        while self.op() < op {
            let holding = self.absent(self.op().next());
            self.slots.push_back(Slot { header: None, named: false, body: None, holding });
            self.lacking += 1;
            self.lacking_from = self.lacking_from.min(self.op());
        }
    }

    /// Forgets all up to `op`, which a checkpoint covers: the log begins after it.
    pub(crate) fn trim(&mut self, op: OpNumber) {
        assert!(op <= self.trusted, "only what is known to be the group's is trimmed");
        let Some(root) = self.header(op).copied() else {
            return;
        };
        self.rebase(root);
        self.advance_durable();
    }

    /// The log begins after an entry that a checkpoint from elsewhere covers: forgets all up to it, held or
    /// not. What lies above stays, linked or not.
    pub(crate) fn rebase(&mut self, root: Header) {
        while self.root.op < root.op && !self.slots.is_empty() {
            let first = self.root.op.next();
            self.clear_header(first);
            self.set_holding(first, Holding::Durable);
            let _slot = self.slots.pop_front();
            self.root.op = first;
        }
        self.root = root;
        self.trusted = self.trusted.max(root.op);
        self.durable = self.durable.max(root.op);
        let first = root.op.next();
        self.suffix_from = self.suffix_from.max(first);
        self.cached_from = self.cached_from.max(first);
        self.shed_from = self.shed_from.max(first);
        self.lacking_from = self.lacking_from.max(first);
    }

    /// As [`Log::rebase`], for an entry that is certainly part of this log.
    pub(crate) fn begin_at(&mut self, root: Header) -> Result<(), Contradiction> {
        if self.contradicts(&root) {
            return Err(Contradiction(root.op));
        }
        self.rebase(root);
        self.link()?;
        self.advance_durable();
        Ok(())
    }

    /// Whether this committed entry certainly fits beneath this log.
    pub(crate) fn agrees_with(&self, committed: &Header) -> bool {
        match self.checksum(committed.op) {
            Some(own) => own == committed.checksum,
            None => self.op() <= committed.op,
        }
    }

    /// Whether this committed entry is certainly no part of this log.
    pub(crate) fn contradicts(&self, committed: &Header) -> bool {
        let own = self.checksum(committed.op).or_else(|| self.checksum_wanted(committed.op));
        own.is_some_and(|own| own != committed.checksum)
    }

    /// Forgets all behind the root.
    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.root);
    }

    /// Appends the header that follows the head, or, leaving a gap, a later one that the view's
    /// primary named.
    pub(crate) fn append(&mut self, header: Header) -> Result<(), Contradiction> {
        assert!(header.op > self.op(), "append extends the log");
        let follows = header.op == self.op().next() && header.parent == self.head().checksum;
        let had_gap = self.gap().is_some();
        self.extend_to(header.op);
        self.name(header);
        if follows {
            if !had_gap {
                self.trusted = header.op;
                self.suffix_from = header.op;
            }
            return Ok(());
        }
        self.suffix_from = header.op;
        self.link()
    }

    /// Takes a header for the slot just below the suffix, whoever sent it: the header after it names
    /// it. Returns whether it belongs there.
    pub(crate) fn fill_below(&mut self, header: Header) -> Result<bool, Contradiction> {
        let Some((_, last)) = self.gap() else {
            return Ok(false);
        };
        let below = header.op == last && self.checksum_wanted(last) == Some(header.checksum);
        if below {
            self.name(header);
            self.link()?;
        }
        Ok(below)
    }

    /// Takes a header that the view's primary prepared, for the slot just above the trusted prefix or
    /// just below the suffix. Nobody else's word is enough above the prefix: a header that links to it
    /// may have been superseded. Returns whether it belongs there.
    pub(crate) fn fill_prepared(&mut self, header: Header) -> Result<bool, Contradiction> {
        if self.fill_below(header)? {
            return Ok(true);
        }
        let Some((first, _)) = self.gap() else {
            return Ok(false);
        };
        let above = header.op == first && Some(header.parent) == self.checksum(self.trusted);
        if above {
            self.name(header);
            self.trusted = header.op;
            self.link()?;
        }
        Ok(above)
    }

    /// The checksum that the header at `op` must have, where the header after it tells.
    fn checksum_wanted(&self, op: OpNumber) -> Option<Checksum> {
        self.header(op.next()).map(|next| next.parent)
    }

    /// Closes the gap as far as candidates match.
    pub(crate) fn link(&mut self) -> Result<(), Contradiction> {
        while let Some((_, last)) = self.gap() {
            let wanted = self.checksum_wanted(last).expect("the suffix has headers");
            let candidate = self.slot(last).and_then(|slot| slot.header.as_ref());
            if let Some(header) = candidate.filter(|header| header.checksum == wanted).copied() {
                self.name(header);
                self.suffix_from = last;
            } else {
                self.clear_header(last);
                return Ok(());
            }
        }
        if self.trusted < self.op() {
            let parent = self.checksum_wanted(self.trusted).expect("no gap above the prefix");
            if self.checksum(self.trusted) != Some(parent) {
                return Err(Contradiction(self.trusted));
            }
            self.trusted = self.op();
        }
        self.suffix_from = self.suffix_from.min(self.trusted.next());
        Ok(())
    }

    /// Installs the log of a new view: its last headers, linked and not empty. All above `executed`
    /// that is not known to be part of it becomes a candidate. What was prepared after `log_view`, the view that this log
    /// was of, was never held here, whatever was damaged in its place. Returns whether entries of this
    /// replica's own were superseded.
    pub(crate) fn install(
        &mut self,
        suffix: &[Header],
        executed: OpNumber,
        log_view: ViewNumber,
    ) -> Result<bool, Contradiction> {
        let head = suffix.last().expect("a view's log has a head").op;
        if head < executed {
            return Err(Contradiction(executed));
        }
        let before = self.op();
        let mut superseded = head < before;
        self.truncate(head);
        self.extend_to(head);
        self.trusted = executed;
        self.durable = self.durable.min(executed);
        self.suffix_from = head;
        let from = (executed.0 - self.root.op.0) as usize;
        for slot in self.slots.iter_mut().skip(from) {
            slot.named = false;
        }
        let root = self.root.op;
        for header in suffix.iter().rev().filter(|header| header.op >= root && header.op.0 > 0) {
            if header.op <= executed {
                if self.checksum(header.op) != Some(header.checksum) {
                    return Err(Contradiction(header.op));
                }
                continue;
            }
            let old = self.slot(header.op).and_then(|slot| slot.header.as_ref());
            superseded |= old.is_some_and(|old| old.checksum != header.checksum);
            self.name(*header);
            if header.view > log_view && self.holding(header.op) == Holding::Faulty {
                self.set_holding(header.op, Holding::Missing);
            }
        }
        self.cached_from = self.cached_from.min(executed.next());
        self.shed_from = self.shed_from.min(executed.next());
        self.link()?;
        self.advance_durable();
        Ok(superseded)
    }

    /// Puts an entry's body into its slot, whose header names it. Returns false if it is held.
    pub(crate) fn put_body(&mut self, entry: Entry<B>) -> bool {
        let op = entry.header().op;
        let length = entry.header().length as usize;
        let slot = self.slot_mut(op).expect("a body goes where its header is");
        if !slot.holding.is_lacking() {
            return false;
        }
        slot.body = Some(entry);
        self.set_holding(op, Holding::Writing);
        self.cached += length;
        self.cached_from = self.cached_from.min(op);
        self.shed_from = self.shed_from.min(op);
        true
    }

    /// Keeps a body that was read back from the store in memory.
    pub(crate) fn cache(&mut self, entry: Entry<B>) {
        let op = entry.header().op;
        let length = entry.header().length as usize;
        let Some(slot) = self.slot_mut(op) else {
            return;
        };
        let same = slot.header.as_ref().is_some_and(|h| h.checksum == entry.header().checksum);
        // A slot that was found damaged meanwhile waits for a repair, which brings the body.
        if same && slot.body.is_none() && slot.holding == Holding::Durable {
            slot.body = Some(entry);
            self.cached += length;
            self.cached_from = self.cached_from.min(op);
            self.shed_from = self.shed_from.min(op);
        }
    }

    /// How many slots lack their requests.
    pub(crate) const fn lacking(&self) -> usize {
        self.lacking
    }

    /// Whether the slot lacks its requests.
    pub(crate) fn lacks(&self, op: OpNumber) -> bool {
        self.slot(op).is_some_and(|slot| slot.holding.is_lacking())
    }

    /// The first slot that lacks its requests.
    pub(crate) fn first_lacking(&mut self) -> Option<OpNumber> {
        while self.lacking_from <= self.op() && !self.lacks(self.lacking_from) {
            self.lacking_from = self.lacking_from.next();
        }
        (self.lacking_from <= self.op()).then_some(self.lacking_from)
    }

    /// The first slot after `op` that lacks its requests.
    pub(crate) fn first_lacking_after(&mut self, op: OpNumber) -> Option<OpNumber> {
        let first = self.first_lacking()?;
        (first.max(op.next()).0..=self.op().0).map(OpNumber).find(|op| self.lacks(*op))
    }

    /// The last slot up to `op` that lacks its requests.
    pub(crate) fn last_lacking(&self, op: OpNumber) -> Option<OpNumber> {
        if self.lacking == 0 {
            return None;
        }
        let last = op.min(self.op());
        (self.lacking_from.0..=last.0).rev().map(OpNumber).find(|op| self.lacks(*op))
    }

    /// The verified entries whose requests are lacking, ascending.
    pub(crate) fn lacked(&mut self) -> impl Iterator<Item = (OpNumber, Checksum)> + '_ {
        let _ = self.first_lacking();
        (self.lacking_from.0..=self.op().0)
            .map(OpNumber)
            .filter(|op| self.lacks(*op))
            .filter_map(|op| Some((op, self.checksum(op)?)))
    }

    /// Remembers that an entry's write is durable; without effect where the slot was superseded.
    pub(crate) fn written(&mut self, op: OpNumber, checksum: Checksum) {
        let Some(slot) = self.slot_mut(op) else {
            return;
        };
        let same = slot.header.as_ref().is_some_and(|header| header.checksum == checksum);
        if same && slot.holding == Holding::Writing {
            self.set_holding(op, Holding::Durable);
        }
    }

    pub(crate) fn advance_durable(&mut self) {
        while self.durable < self.trusted && self.holding(self.durable.next()) == Holding::Durable {
            self.durable = self.durable.next();
        }
    }

    /// The record of an op is damaged. What is in a checkpoint up to `covered` is durable all the same.
    pub(crate) fn mark_faulty(&mut self, op: OpNumber, covered: OpNumber) {
        self.set_holding(op, Holding::Faulty);
        let Some(slot) = self.slot_mut(op) else {
            return;
        };
        let body = slot.body.take();
        self.cached -= body.map_or(0, |body| body.header().length as usize);
        if op > covered {
            self.durable = self.durable.min(op.previous());
        }
    }

    /// Bytes of bodies in memory.
    pub(crate) const fn cached(&self) -> usize {
        self.cached
    }

    /// Whether the slot holds an entry of an earlier view that nobody named in `log_view`.
    pub(crate) fn is_leftover(&self, op: OpNumber, log_view: ViewNumber) -> bool {
        let slot = self.slot(op).filter(|_| !self.is_verified(op));
        let header = slot.and_then(|slot| slot.header.as_ref());
        header.is_some_and(|header| header.view < log_view) && self.holding(op) != Holding::Faulty
    }

    /// Drops bodies from memory, oldest first, that are durable and up to `executed`, until at most
    /// `limit` bytes remain.
    pub(crate) fn evict(&mut self, executed: OpNumber, limit: usize) {
        while self.cached > limit && self.cached_from <= executed {
            if self.holding(self.cached_from) == Holding::Writing {
                return;
            }
            self.drop_body(self.cached_from);
            self.cached_from = self.cached_from.next();
        }
    }

    /// The last of the ops `first..=last` that has at most `bytes` of operations before and in it, but
    /// at least `first`.
    pub(crate) fn within(&self, first: OpNumber, last: OpNumber, bytes: usize) -> OpNumber {
        let mut sum = 0;
        let mut reached = first;
        for op in (first.0..=last.0).map(OpNumber) {
            sum += self.header(op).map_or(0, |header| header.length as usize);
            if sum > bytes {
                break;
            }
            reached = op;
        }
        reached
    }

    /// Drops bodies from memory that are committed and durable, and not needed before those up to
    /// `keep` are executed, until at most `limit` bytes remain. They are read back in time.
    pub(crate) fn shed(&mut self, keep: OpNumber, committed: OpNumber, limit: usize) {
        self.shed_from = self.shed_from.max(keep.next());
        while self.cached > limit && self.shed_from <= committed {
            if self.holding(self.shed_from) == Holding::Writing {
                return;
            }
            self.drop_body(self.shed_from);
            self.shed_from = self.shed_from.next();
        }
    }

    /// Drops a body from memory if it is durable.
    fn drop_body(&mut self, op: OpNumber) {
        let Some(slot) = self.slot_mut(op) else {
            return;
        };
        if slot.holding == Holding::Durable {
            let body = slot.body.take();
            self.cached -= body.map_or(0, |body| body.header().length as usize);
        }
    }

    /// The lowest op that is beneath the last `entries` of the log, or beneath its last `bytes`, whichever
    /// keeps less.
    pub(crate) fn reserve(&self, entries: u64, bytes: u64) -> OpNumber {
        let mut op = self.op();
        let mut sum = 0;
        while op > self.root.op && self.op().0 - op.0 < entries && sum < bytes {
            sum += self.header(op).map_or(0, bytes_of);
            op = op.previous();
        }
        op
    }

    /// Used at a start: what the store holds for a slot, verified or not.
    pub(crate) fn restore(&mut self, op: OpNumber, header: Option<Header>, holding: Holding) {
        self.extend_to(op);
        if let Some(header) = header {
            self.set_header(header);
        }
        self.set_holding(op, holding);
    }

    /// Used at a start: a slot whose header the superblock vouches for, or that the log view's own
    /// primary prepared: no other entry was ever prepared there in that view.
    pub(crate) fn restore_named(&mut self, header: Header, holding: Holding) {
        self.restore(header.op, Some(header), holding);
        self.name(header);
    }

    /// Used at a start, when all slots are restored: links what links from the head down. What was
    /// executed is known to be the group's.
    pub(crate) fn restored(&mut self, executed: OpNumber) -> Result<(), Contradiction> {
        self.trusted = executed;
        self.suffix_from = self.op();
        self.link()?;
        self.advance_durable();
        Ok(())
    }
}

pub(crate) const fn bytes_of(header: &Header) -> u64 {
    // About what a record costs on disk beside its operations.
    header.length as u64 + 40 * header.count as u64 + 128
}
