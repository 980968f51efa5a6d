//! The map: a binary tree over the bits of the keys, whose leaves are small, shared with frozen
//! states, and the chunks of checkpoints.
//!
//! 1. Think of the tree of all keys' [paths](crate::leaf::fork), bit by bit. Any node's pairs are a
//!    range of the order. The pairs of the highest nodes that [fit](Leaf::fits) are the leaves.
//! 2. So the leaves are a function of the pairs alone: whether a node fits depends on its own pairs,
//!    and not on the order in which they came. Equal states have equal leaves, whatever their
//!    histories.
//! 3. Only the leaves are kept, by their first keys. The nodes above them follow from where the
//!    paths of neighbouring leaves fork.
//! 4. A frozen state is a list of references to the leaves. A later change copies the leaf that it
//!    touches, if it is shared.
//!
//! Why not the usual way, to cut where a key's hash has some bits of zero? Whoever knows the hash
//! can choose keys that are never cut, and then every put copies all of them. Here no choice of keys
//! makes a leaf larger. The worst it does is to make leaves small: keys that are beginnings of one
//! another are cut off one by one, and then a leaf's overhead is paid for every key. The number
//! of nodes above does not matter, since they are not there.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use vsr_core::Checksum;

use crate::leaf::{Leaf, Pair, Value, fork};

/// Pairs of keys and values, ascending by key.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// By their first keys.
    leaves: BTreeMap<Bytes, Arc<Leaf>>,
    /// How many pairs all leaves have.
    len: usize,
}

impl Clone for Tree {
    /// Copies the leaves too. Digests that one of the two remembers later must not reach the other,
    /// whose host has seen no such chunk.
    fn clone(&self) -> Self {
        let copy = |(key, leaf): (&Bytes, &Arc<Leaf>)| (key.clone(), Arc::new(Leaf::clone(leaf)));
        Self { leaves: self.leaves.iter().map(copy).collect(), len: self.len }
    }
}

impl Tree {
    pub(crate) const fn new() -> Self {
        Self { leaves: BTreeMap::new(), len: 0 }
    }

    /// The tree of leaves by their first keys. `None`: the tree of their pairs has other leaves.
    pub(crate) fn of(leaves: BTreeMap<Bytes, Arc<Leaf>>) -> Option<Self> {
        let len = leaves.values().map(|leaf| leaf.pairs().len()).sum();
        let tree = Self { leaves, len };
        tree.has_its_leaves().then_some(tree)
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&Value> {
        let (_, leaf) = self.leaves.range::<[u8], _>(up_to(key)).next_back()?;
        let at = leaf.position(key).ok()?;
        Some(&leaf.pairs()[at].value)
    }

    /// All pairs.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Pair> {
        self.leaves.values().flat_map(|leaf| leaf.pairs())
    }

    /// All pairs from a key on; without its own, if that is excluded.
    pub(crate) fn from(&self, key: &[u8], excluded: bool) -> impl Iterator<Item = &Pair> {
        let begun = self.leaves.range::<[u8], _>(up_to(key)).next_back();
        let begun = begun.map_or(&[][..], |(_, leaf)| match leaf.position(key) {
            Ok(at) => &leaf.pairs()[at + usize::from(excluded)..],
            Err(at) => &leaf.pairs()[at..],
        });
        let others = self.leaves.range::<[u8], _>((Bound::Excluded(key), Bound::Unbounded));
        begun.iter().chain(others.flat_map(|(_, leaf)| leaf.pairs()))
    }

    /// The leaves as they are now. Later changes do not reach them.
    pub(crate) fn freeze(&self) -> Vec<Arc<Leaf>> {
        self.leaves.values().cloned().collect()
    }

    /// Says that the host does not have these chunks.
    pub(crate) fn forget(&mut self, chunks: &BTreeSet<Checksum>) {
        let lost = |leaf: &Leaf| leaf.digest().is_some_and(|digest| chunks.contains(&digest));
        for leaf in self.leaves.values_mut().filter(|leaf| lost(leaf)) {
            Arc::make_mut(leaf).forget();
        }
    }

    /// Gives a key a value, and returns the one it had. A new key is copied, so that the map never
    /// keeps a received frame alive.
    pub(crate) fn put(&mut self, key: &[u8], value: Value) -> Option<Value> {
        let Some((first, leaf)) = self.leaves.range_mut::<[u8], _>(up_to(key)).next_back() else {
            self.insert_outside(key, value);
            return None;
        };
        match leaf.position(key) {
            Ok(at) => {
                let leaf = Arc::make_mut(leaf);
                let before = leaf.bytes();
                let held = leaf.replace(at, value);
                if !leaf.fits() {
                    let first = first.clone();
                    self.split(&first);
                } else if leaf.bytes() < before {
                    let first = first.clone();
                    self.join(first);
                }
                Some(held)
            }
            Err(at) if at == leaf.pairs().len() => {
                self.insert_outside(key, value);
                None
            }
            Err(at) => {
                let leaf = Arc::make_mut(leaf);
                leaf.insert(at, Pair { key: Bytes::copy_from_slice(key), value });
                self.len += 1;
                if !leaf.fits() {
                    let first = first.clone();
                    self.split(&first);
                }
                None
            }
        }
    }

    /// Removes a key, and returns the value it had.
    pub(crate) fn remove(&mut self, key: &[u8]) -> Option<Value> {
        let (first, leaf) = self.leaves.range_mut::<[u8], _>(up_to(key)).next_back()?;
        let at = leaf.position(key).ok()?;
        let held = Arc::make_mut(leaf).remove(at);
        self.len -= 1;
        let first = first.clone();
        if at > 0 {
            self.join(first);
            return Some(held);
        }
        let leaf = self.leaves.remove(&first).expect("it has just been found");
        if let Some(pair) = leaf.pairs().first() {
            let first = pair.key.clone();
            self.leaves.insert(first.clone(), leaf);
            self.join(first);
        } else if let Some((sibling, _)) = self.sibling(&first) {
            // The sibling takes the place of both, and there it may have another sibling.
            self.join(sibling.clone());
        }
        Some(held)
    }

    /// Adds a pair whose key is between two leaves, or outside of all.
    fn insert_outside(&mut self, key: &[u8], value: Value) {
        self.len += 1;
        let key = Bytes::copy_from_slice(key);
        let Some((sibling, _)) = self.sibling(&key) else {
            // The node above has pairs on both sides already, of which it had too many for a leaf.
            self.leaves.insert(key.clone(), Arc::new(Leaf::new(vec![Pair { key, value }])));
            return;
        };
        let sibling = sibling.clone();
        let first = if sibling < key { sibling } else { self.rename(&sibling, key.clone()) };
        let leaf = self.leaf_mut(&first);
        let at = leaf.position(&key).unwrap_or_else(|at| at);
        leaf.insert(at, Pair { key, value });
        if !leaf.fits() {
            self.split(&first);
        }
    }

    /// Cuts a leaf that does not fit.
    fn split(&mut self, first: &[u8]) {
        let leaf = self.leaves.remove(first).expect("a leaf is split by its first key");
        for leaf in Arc::unwrap_or_clone(leaf).split() {
            self.leaves.insert(leaf.pairs()[0].key.clone(), Arc::new(leaf));
        }
    }

    /// Joins a leaf that became smaller with its sibling, and the two with theirs, while they fit.
    fn join(&mut self, mut first: Bytes) {
        while let Some((sibling, leaf)) = self.sibling(&first) {
            if !leaf.fits_with(&self.leaves[&first]) {
                return;
            }
            let sibling = sibling.clone();
            let (less, greater) = if sibling < first { (sibling, first) } else { (first, sibling) };
            let greater = self.leaves.remove(&greater).expect("a leaf is joined by its first key");
            self.leaf_mut(&less).append(Arc::unwrap_or_clone(greater));
            first = less;
        }
    }

    /// Files a leaf under a new first key, which is returned.
    fn rename(&mut self, first: &[u8], new: Bytes) -> Bytes {
        let leaf = self.leaves.remove(first).expect("a leaf is renamed by its first key");
        self.leaves.insert(new.clone(), leaf);
        new
    }

    fn leaf_mut(&mut self, first: &[u8]) -> &mut Leaf {
        Arc::make_mut(self.leaves.get_mut(first).expect("a leaf is changed by its first key"))
    }

    /// The leaf that is the other side of the lowest fork on a key's path, and its first key. For a
    /// key outside of all leaves, its own path counts as one. `None`: that side is several leaves,
    /// or there is no fork, since there is no other leaf.
    fn sibling(&self, key: &[u8]) -> Option<(&Bytes, &Leaf)> {
        let (mut below, mut above) = (self.below(key), self.above(key));
        let (near_below, near_above) = (below.next(), above.next());
        let fork_below = near_below.map(|(below, _)| fork(below, key));
        let fork_above = near_above.map(|(above, _)| fork(key, above));
        // The two differ: there is one fork at a depth, and it has two sides.
        let ((near, leaf), depth, beyond) = if fork_below > fork_above {
            (near_below?, fork_below, below.next())
        } else {
            (near_above?, fork_above, above.next())
        };
        // If the near leaf forks lower from the one beyond it, then the side has both.
        let alone = beyond.map(|(beyond, _)| fork(near, beyond)) < depth;
        alone.then_some((near, leaf))
    }

    /// The leaves that begin before `key`, by their first keys, from the nearest on.
    fn below(&self, key: &[u8]) -> impl Iterator<Item = (&Bytes, &Leaf)> {
        let range = (Bound::Unbounded, Bound::Excluded(key));
        self.leaves.range::<[u8], _>(range).rev().map(|(first, leaf)| (first, &**leaf))
    }

    /// The leaves that begin after `key`, by their first keys, from the nearest on.
    fn above(&self, key: &[u8]) -> impl Iterator<Item = (&Bytes, &Leaf)> {
        let range = (Bound::Excluded(key), Bound::Unbounded);
        self.leaves.range::<[u8], _>(range).map(|(first, leaf)| (first, &**leaf))
    }

    /// Whether the leaves are those that the pairs' tree has: each fits, its keys have a path
    /// apart from its neighbours, and no two siblings are one leaf. Then no node above them is.
    fn has_its_leaves(&self) -> bool {
        self.leaves.iter().all(|(first, leaf)| {
            let below = self.below(first).next().map(|(below, _)| fork(below, first));
            let above = self.above(first).next().map(|(above, _)| fork(first, above));
            let joins = self.sibling(first).is_some_and(|(_, sibling)| sibling.fits_with(leaf));
            leaf.fits() && Some(leaf.depth()) > below.max(above) && !joins
        })
    }
}

/// The range of all keys up to this one, included.
const fn up_to(key: &[u8]) -> (Bound<&[u8]>, Bound<&[u8]>) {
    (Bound::Unbounded, Bound::Included(key))
}

#[cfg(test)]
mod tests;
