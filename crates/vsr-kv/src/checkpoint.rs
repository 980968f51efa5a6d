//! Checkpoints: a frozen state's chunks, and the state that chunks make.
//!
//! A chunk is a [leaf](crate::tree) of the map: one byte of version, the number of pairs (u16), then
//! each key and value, ascending by key. Numbers are little-endian, keys follow a length of two
//! bytes, values one of four. The version is also that of the rule by which the map is cut. An empty
//! map has no chunk.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::vec;

use bytes::{BufMut, Bytes, BytesMut};
use vsr_core::{Checksum, Chunk, RestoreError};

use crate::cursor::Cursor;
use crate::leaf::{Leaf, Pair, Value};
use crate::limits::{CHUNK_PAIRS_MAX, KEY_MAX, VALUE_MAX};
use crate::operation::{Malformed, put_key, put_value};
use crate::tree::Tree;

const VERSION: u8 = 1;

/// A frozen state that is being read.
#[derive(Debug)]
pub(crate) struct Frozen {
    leaves: vec::IntoIter<Arc<Leaf>>,
    /// What has been given as bytes. The leaves learn their digests at the end only, so that a
    /// checkpoint that is given up leaves no trace. Weak: a leaf that has changed needs no digest,
    /// and one that has not is changed without a copy.
    given: Vec<(Weak<Leaf>, Checksum)>,
}

impl Frozen {
    pub(crate) fn new(tree: &Tree) -> Self {
        Self { leaves: tree.freeze().into_iter(), given: Vec::new() }
    }
}

impl Iterator for Frozen {
    type Item = Chunk<Bytes>;

    fn next(&mut self) -> Option<Chunk<Bytes>> {
        let Some(leaf) = self.leaves.next() else {
            for (leaf, digest) in self.given.drain(..) {
                if let Some(leaf) = leaf.upgrade() {
                    leaf.remember(digest);
                }
            }
            return None;
        };
        if let Some(digest) = leaf.digest() {
            return Some(Chunk::Same(digest));
        }
        let chunk = encode(&leaf);
        self.given.push((Arc::downgrade(&leaf), Checksum::of(&chunk)));
        Some(Chunk::Bytes(chunk))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.leaves.size_hint()
    }
}

/// The map that chunks make.
pub(crate) fn restore(chunks: &mut dyn Iterator<Item = Bytes>) -> Result<Tree, RestoreError> {
    let mut leaves = BTreeMap::new();
    let mut last = Bytes::new();
    for chunk in chunks {
        let Ok(leaf) = decode(&chunk) else {
            return Err(RestoreError::new(
                "not a chunk of this version: upgrade the older side, or take another checkpoint",
            ));
        };
        let first = leaf.pairs()[0].key.clone();
        if first <= last {
            return Err(RestoreError::new("chunks out of order: give them as they were taken"));
        }
        last.clone_from(&leaf.pairs()[leaf.pairs().len() - 1].key);
        leaf.remember(Checksum::of(&chunk));
        leaves.insert(first, Arc::new(leaf));
    }
    // With other bounds than the other replicas', each later checkpoint would differ from theirs.
    Tree::of(leaves).ok_or(RestoreError::new(
        "chunks not of one checkpoint, or some are missing: give all, and no others",
    ))
}

fn encode(leaf: &Leaf) -> Bytes {
    let mut out = BytesMut::with_capacity(3 + leaf.bytes());
    out.put_u8(VERSION);
    out.put_u16_le(leaf.pairs().len() as u16);
    for Pair { key, value } in leaf.pairs() {
        put_key(key, &mut out);
        put_value(&value.bytes, &mut out);
    }
    debug_assert_eq!(out.len(), 3 + leaf.bytes(), "a leaf counts what is written");
    out.freeze()
}

/// The leaf that a chunk is, if it is one. Keys and values are copied: a slice would keep the chunk
/// alive for as long as one pair of it lives.
fn decode(chunk: &[u8]) -> Result<Leaf, Malformed> {
    let mut cursor = Cursor(chunk);
    if cursor.u8()? != VERSION {
        return Err(Malformed);
    }
    let count = usize::from(cursor.u16()?);
    if count == 0 || count > CHUNK_PAIRS_MAX {
        return Err(Malformed);
    }
    let mut pairs: Vec<Pair> = Vec::with_capacity(count);
    for _ in 0..count {
        let key = cursor.short(KEY_MAX)?;
        let value = cursor.long(VALUE_MAX)?;
        // No key is empty, and this takes care of it for the first.
        let before = pairs.last().map_or(&[][..], |pair| &pair.key);
        if key <= before {
            return Err(Malformed);
        }
        let value = Value::new(key, Bytes::copy_from_slice(value));
        pairs.push(Pair { key: Bytes::copy_from_slice(key), value });
    }
    cursor.end()?;
    Ok(Leaf::new(pairs))
}
