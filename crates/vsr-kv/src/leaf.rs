//! A leaf of the map: pairs whose keys are neighbours, few enough to be copied at one go.

use std::cmp::Ordering;
use std::sync::OnceLock;

use bytes::Bytes;
use vsr_core::{Checksum, Digest};

use crate::limits::{CHUNK_PAIRS_MAX, CHUNK_SHARED_BYTES_MAX};

/// A value, and the hash of its pair, so that it need not be computed again when it is replaced.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    pub(crate) bytes: Bytes,
    pub(crate) hash: u128,
}

impl Value {
    /// The value of a key. The key's length sets it apart from the value in their hash.
    pub(crate) fn new(key: &[u8], bytes: Bytes) -> Self {
        let mut digest = Digest::new();
        digest.write_u64(key.len() as u64);
        digest.write(key);
        digest.write(&bytes);
        Self { bytes, hash: digest.finish().0 }
    }
}

/// A key and its value.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) key: Bytes,
    pub(crate) value: Value,
}

impl Pair {
    /// How many bytes the pair has in a chunk: both lengths, key and value.
    fn encoded_length(&self) -> usize {
        2 + self.key.len() + 4 + self.value.bytes.len()
    }
}

/// Pairs, ascending by key; at least one, except while the last one is being removed.
#[derive(Clone, Debug)]
pub(crate) struct Leaf {
    pairs: Vec<Pair>,
    /// How many bytes the pairs have in a chunk.
    bytes: usize,
    /// The digest of the leaf's chunk, once the host has that; every change clears it.
    digest: OnceLock<Checksum>,
}

impl Leaf {
    /// A leaf of pairs that ascend by key.
    pub(crate) fn new(pairs: Vec<Pair>) -> Self {
        let bytes = encoded_length(&pairs);
        Self { pairs, bytes, digest: OnceLock::new() }
    }

    pub(crate) fn pairs(&self) -> &[Pair] {
        &self.pairs
    }

    /// How many bytes the pairs have in a chunk.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The digest of the leaf's chunk, if the host has that.
    pub(crate) fn digest(&self) -> Option<Checksum> {
        self.digest.get().copied()
    }

    /// Says that the host has the leaf's chunk.
    pub(crate) fn remember(&self, digest: Checksum) {
        let known = *self.digest.get_or_init(|| digest);
        debug_assert_eq!(known, digest, "a leaf that does not change has one digest");
    }

    /// Says that the host does not have the leaf's chunk.
    pub(crate) fn forget(&mut self) {
        self.digest.take();
    }

    /// Where a key is, or would be.
    ///
    /// Every key looked at is a cache miss. Those of a binary search wait for one another; those of
    /// a scan, first in steps and then within one, do not, and are half the time.
    pub(crate) fn position(&self, key: &[u8]) -> Result<usize, usize> {
        // The root of the number of pairs makes the fewest comparisons.
        const STEP: usize = CHUNK_PAIRS_MAX.isqrt();
        let steps = self.pairs.iter().step_by(STEP).take_while(|pair| pair.key <= key).count();
        let start = steps.saturating_sub(1) * STEP;
        for (at, pair) in (start..).zip(&self.pairs[start..]) {
            match pair.key[..].cmp(key) {
                Ordering::Less => {}
                Ordering::Equal => return Ok(at),
                Ordering::Greater => return Err(at),
            }
        }
        Err(self.pairs.len())
    }

    /// Gives the key at a position another value, and returns the one it had.
    pub(crate) fn replace(&mut self, at: usize, value: Value) -> Value {
        self.digest.take();
        let held = &mut self.pairs[at].value;
        self.bytes = self.bytes - held.bytes.len() + value.bytes.len();
        std::mem::replace(held, value)
    }

    pub(crate) fn insert(&mut self, at: usize, pair: Pair) {
        self.digest.take();
        self.bytes += pair.encoded_length();
        if self.pairs.len() == self.pairs.capacity() {
            // A copy has no spare room, and doubling it would leave most leaves half empty.
            let room = (self.pairs.len() + 1).next_power_of_two();
            self.pairs.reserve_exact(room - self.pairs.len());
        }
        self.pairs.insert(at, pair);
    }

    pub(crate) fn remove(&mut self, at: usize) -> Value {
        self.digest.take();
        let pair = self.pairs.remove(at);
        self.bytes -= pair.encoded_length();
        pair.value
    }

    /// Adds the pairs of a leaf whose keys are all greater.
    pub(crate) fn append(&mut self, mut greater: Self) {
        self.digest.take();
        self.bytes += greater.bytes;
        self.pairs.append(&mut greater.pairs);
    }

    /// Whether the pairs are one leaf, and not a subtree of several.
    pub(crate) const fn fits(&self) -> bool {
        fits(self.pairs.len(), self.bytes)
    }

    /// Whether the pairs of both are one leaf.
    pub(crate) const fn fits_with(&self, other: &Self) -> bool {
        fits(self.pairs.len() + other.pairs.len(), self.bytes + other.bytes)
    }

    /// How many bits the paths of all its keys have in common.
    pub(crate) fn depth(&self) -> usize {
        depth(&self.pairs)
    }

    /// The leaves that the pairs are, cut where the paths of their keys fork.
    pub(crate) fn split(mut self) -> Vec<Self> {
        let mut starts = Vec::new();
        let mut rest = vec![(0, self.pairs.len())];
        while let Some((start, end)) = rest.pop() {
            let pairs = &self.pairs[start..end];
            if fits(pairs.len(), encoded_length(pairs)) {
                starts.push(start);
                continue;
            }
            let depth = depth(pairs);
            let lesser = pairs.partition_point(|pair| fork(&pairs[0].key, &pair.key) > depth);
            rest.push((start, start + lesser));
            rest.push((start + lesser, end));
        }
        // The greater part of each range came first, so the starts descend: each leaf is the end of
        // what is left.
        let cut = |start| {
            let mut pairs = self.pairs.split_off(start);
            pairs.shrink_to_fit();
            Self::new(pairs)
        };
        starts.into_iter().map(cut).collect()
    }
}

/// Whether so many pairs of so many bytes are one leaf. What fits still does with pairs taken away:
/// on that, all reasoning about the tree's shape rests.
const fn fits(pairs: usize, bytes: usize) -> bool {
    pairs <= CHUNK_PAIRS_MAX && (bytes <= CHUNK_SHARED_BYTES_MAX || pairs == 1)
}

/// How many bytes pairs have in a chunk.
fn encoded_length(pairs: &[Pair]) -> usize {
    pairs.iter().map(Pair::encoded_length).sum()
}

/// How many bits the paths of all keys have in common. The keys ascend.
fn depth(pairs: &[Pair]) -> usize {
    match pairs {
        [first, .., last] => fork(&first.key, &last.key),
        [_] | [] => usize::MAX,
    }
}

/// How many bits the paths of two keys have in common. A key's path has nine bits for each byte: a
/// one, then the byte's; and a zero at the end, so that no path is the beginning of another. Paths
/// are in the order of their keys. Those of equal keys never fork.
pub(crate) fn fork(one: &[u8], other: &[u8]) -> usize {
    match one.iter().zip(other).position(|(a, b)| a != b) {
        Some(at) => 9 * at + 1 + (one[at] ^ other[at]).leading_zeros() as usize,
        None if one.len() == other.len() => usize::MAX,
        None => 9 * one.len().min(other.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_fork_at_the_first_bit_that_differs() {
        assert_eq!(fork(b"a", b"a"), usize::MAX);
        assert_eq!(fork(b"", b"a"), 0);
        assert_eq!(fork(b"a", b"ab"), 9);
        assert_eq!(fork(b"ab", b"a\0"), 9 + 2);
        assert_eq!(fork(b"\x00", b"\x80"), 1);
        assert_eq!(fork(b"x\x00", b"x\x01y"), 9 + 8);
    }
}
