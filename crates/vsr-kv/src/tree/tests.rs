//! The tree against its definition, and what a change copies.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::Tree;
use crate::leaf::{Leaf, Value};
use crate::limits::{CHUNK_PAIRS_MAX, CHUNK_SHARED_BYTES_MAX};

/// Keys, and how long their values are.
type Model = BTreeMap<Vec<u8>, usize>;

static ZEROS: [u8; 1 << 20] = [0; 1 << 20];

fn value(length: usize) -> Value {
    Value { bytes: Bytes::from_static(&ZEROS[..length]), hash: length as u128 }
}

fn put(tree: &mut Tree, model: &mut Model, key: &[u8], length: usize) {
    let held = tree.put(key, value(length));
    assert_eq!(held.map(|held| held.bytes.len()), model.insert(key.to_vec(), length));
}

fn remove(tree: &mut Tree, model: &mut Model, key: &[u8]) {
    let held = tree.remove(key);
    assert_eq!(held.map(|held| held.bytes.len()), model.remove(key));
}

/// A bit of a key's path.
fn bit(key: &[u8], depth: usize) -> bool {
    let byte = key.get(depth / 9);
    match depth % 9 {
        0 => byte.is_some(),
        at => byte.is_some_and(|byte| byte & (0x80 >> (at - 1)) != 0),
    }
}

/// The leaves below a node, by the definition.
fn define(pairs: &[(&[u8], usize)], mut depth: usize, leaves: &mut Vec<Vec<(Vec<u8>, usize)>>) {
    let bytes: usize = pairs.iter().map(|(key, length)| 6 + key.len() + length).sum();
    let few = pairs.len() <= CHUNK_PAIRS_MAX && bytes <= CHUNK_SHARED_BYTES_MAX;
    if pairs.is_empty() {
        return;
    }
    if few || pairs.len() == 1 {
        leaves.push(pairs.iter().map(|(key, length)| (key.to_vec(), *length)).collect());
        return;
    }
    let middle = loop {
        match pairs.partition_point(|(key, _)| !bit(key, depth)) {
            middle if middle == 0 || middle == pairs.len() => depth += 1,
            middle => break middle,
        }
    };
    define(&pairs[..middle], depth + 1, leaves);
    define(&pairs[middle..], depth + 1, leaves);
}

fn show(leaves: &[Arc<Leaf>]) -> Vec<Vec<(Vec<u8>, usize)>> {
    let pairs = |leaf: &Arc<Leaf>| {
        leaf.pairs().iter().map(|pair| (pair.key.to_vec(), pair.value.bytes.len())).collect()
    };
    leaves.iter().map(pairs).collect()
}

fn assert_defined(tree: &Tree, model: &Model) {
    let pairs: Vec<_> = model.iter().map(|(key, length)| (&key[..], *length)).collect();
    let mut leaves = Vec::new();
    define(&pairs, 0, &mut leaves);
    assert_eq!(show(&tree.freeze()), leaves);
    assert_eq!(tree.len(), model.len());
    assert!(tree.has_its_leaves());
    for (first, leaf) in &tree.leaves {
        assert_eq!(first, &leaf.pairs()[0].key);
        let pairs = leaf.pairs().iter().map(|pair| 6 + pair.key.len() + pair.value.bytes.len());
        assert_eq!(leaf.bytes(), pairs.sum::<usize>());
    }
}

/// Families of keys, some of them chosen to do harm.
fn families() -> [(&'static str, Vec<Vec<u8>>); 5] {
    let scattered = |n: u64| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_be_bytes().to_vec();
    [
        ("numbers", (0..1500).map(|n| format!("key{n:08}").into_bytes()).collect()),
        ("scattered", (0..1500).map(scattered).collect()),
        ("each the beginning of the next", (1..700).map(|n| vec![b'a'; n]).collect()),
        ("forking at every bit", (0..8).flat_map(|n| comb(n, 20)).collect()),
        ("far down", (0..1500_u32).map(|n| [&[7; 300][..], &n.to_be_bytes()].concat()).collect()),
    ]
}

/// Keys that part from one another bit by bit.
fn comb(high: u8, bytes: usize) -> Vec<Vec<u8>> {
    let tooth = |bit: usize| {
        let mut key = vec![0; bytes];
        (key[0], key[1 + bit / 8]) = (high, 0x80 >> (bit % 8));
        key
    };
    (0..8 * (bytes - 1)).map(tooth).collect()
}

/// In an order that has nothing to do with theirs.
fn shuffled<T: Clone>(items: &[T]) -> Vec<T> {
    (0..items.len()).map(|at| items[at * 7919 % items.len()].clone()).collect()
}

#[test]
fn leaves_are_a_function_of_the_pairs_whatever_the_keys() {
    for (name, keys) in families() {
        println!("{name}: {} keys", keys.len());
        let (mut tree, mut model) = (Tree::new(), Model::new());
        for (at, key) in shuffled(&keys).iter().enumerate() {
            put(&mut tree, &mut model, key, at % 40);
        }
        assert_defined(&tree, &model);
        for (at, key) in keys.iter().rev().enumerate() {
            match at % 3 {
                0 => put(&mut tree, &mut model, key, 100 * (at % 40)),
                _ => remove(&mut tree, &mut model, key),
            }
            if at % 400 == 0 {
                assert_defined(&tree, &model);
            }
        }
        assert_defined(&tree, &model);
        for key in &keys {
            remove(&mut tree, &mut model, key);
        }
        assert!(tree.is_empty() && tree.leaves.is_empty());
    }
}

#[test]
fn a_change_copies_no_more_than_one_leaf_holds_whatever_the_keys() {
    for (name, keys) in families() {
        let (mut tree, mut model) = (Tree::new(), Model::new());
        let change = |tree: &mut Tree, model: &mut Model, key: &[u8], length| {
            let frozen = tree.freeze();
            match length {
                Some(length) => put(tree, model, key, length),
                None => remove(tree, model, key),
            }
            let after = tree.freeze();
            let old: BTreeSet<_> = frozen.iter().map(Arc::as_ptr).collect();
            let is_new = |leaf: &&Arc<Leaf>| !old.contains(&Arc::as_ptr(leaf));
            let copied: usize = after.iter().filter(is_new).map(|leaf| leaf.pairs().len()).sum();
            assert!(copied <= CHUNK_PAIRS_MAX + 1, "{name}: {copied} pairs copied");
        };
        let keys: Vec<_> = shuffled(&keys).into_iter().take(600).collect();
        for key in &keys {
            change(&mut tree, &mut model, key, Some(3));
        }
        for key in keys.iter().step_by(5) {
            // Too large for its leaf, which is cut around it; then small again.
            change(&mut tree, &mut model, key, Some(2 * CHUNK_SHARED_BYTES_MAX));
            change(&mut tree, &mut model, key, Some(3));
            change(&mut tree, &mut model, key, None);
        }
        assert_defined(&tree, &model);
    }
}

#[test]
fn a_leaf_that_is_not_shared_is_changed_in_place() {
    let mut tree = Tree::new();
    tree.put(b"a", value(1));
    let before = Arc::as_ptr(&tree.leaves[&b"a"[..]]);
    tree.put(b"b", value(1));
    tree.put(b"a", value(2));
    assert_eq!(Arc::as_ptr(&tree.leaves[&b"a"[..]]), before);
}

/// Short keys of few letters, many of them beginnings of others.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(vec![0, b'a', b'b', 0xff]), 1..5)
}

/// Values of which a leaf takes any number, seven, two, or none beside it; or no value.
fn length() -> impl Strategy<Value = Option<usize>> {
    prop::sample::select(vec![Some(0), Some(9_000), Some(22_000), Some(70_000), None])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn leaves_are_a_function_of_the_pairs(changes in prop::collection::vec((key(), length()), 1..120)) {
        let (mut tree, mut model) = (Tree::new(), Model::new());
        let mut frozen = Vec::new();
        for (key, length) in &changes {
            match length {
                Some(length) => put(&mut tree, &mut model, key, *length),
                None => remove(&mut tree, &mut model, key),
            }
            assert_defined(&tree, &model);
            frozen.push((tree.freeze(), show(&tree.freeze())));
            prop_assert_eq!(tree.get(key).map(|value| value.bytes.len()), *length);
            let from: Vec<_> = tree.from(key, true).map(|pair| pair.key.to_vec()).collect();
            let greater = model.keys().filter(|other| *other > key);
            prop_assert_eq!(from, greater.cloned().collect::<Vec<_>>());
        }
        for (leaves, shown) in frozen {
            prop_assert_eq!(show(&leaves), shown, "later changes do not reach a frozen state");
        }
    }
}
