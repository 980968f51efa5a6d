//! 128 bits for a state: what is explored is remembered by its hash alone.
//!
//! Among `n` states two share a hash with a chance of about `n * n / 2^129`: for a thousand million
//! states less than one in 10^20.

#![expect(clippy::disallowed_types, reason = "they are looked into, and never gone through")]

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// Odd numbers without pattern.
const FIRST: u64 = 0x9e37_79b9_7f4a_7c15;
const SECOND: u64 = 0xd6e8_feb8_6659_fd93;

/// A hasher of two lanes, the same on every machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wide {
    first: u64,
    second: u64,
}

impl Wide {
    pub(super) const fn new() -> Self {
        Self { first: FIRST, second: SECOND }
    }

    /// The hash of a value.
    pub(super) fn of(value: &impl Hash) -> u128 {
        let mut hasher = Self::new();
        value.hash(&mut hasher);
        hasher.wide()
    }

    /// The hash of all that was written.
    pub(super) fn wide(mut self) -> u128 {
        // Twice more, so that the last word reaches every bit of both lanes.
        self.mix(FIRST);
        self.mix(SECOND);
        u128::from(self.first) << 64 | u128::from(self.second)
    }

    const fn mix(&mut self, word: u64) {
        self.first = fold(self.first ^ word, FIRST);
        self.second = fold(self.second.rotate_left(29).wrapping_add(word), SECOND) ^ self.first;
    }
}

const fn fold(word: u64, by: u64) -> u64 {
    let product = word as u128 * by as u128;
    (product as u64) ^ ((product >> 64) as u64).rotate_left(31)
}

impl Hasher for Wide {
    fn write(&mut self, bytes: &[u8]) {
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            self.mix(u64::from_le_bytes(word.try_into().expect("a chunk has eight bytes")));
        }
        let rest = words.remainder();
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            self.mix(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, number: u8) {
        self.mix(u64::from(number));
    }

    fn write_u32(&mut self, number: u32) {
        self.mix(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.mix(number);
    }

    fn write_u128(&mut self, number: u128) {
        self.mix(number as u64);
        self.mix((number >> 64) as u64);
    }

    fn write_usize(&mut self, number: usize) {
        self.mix(number as u64);
    }

    fn write_isize(&mut self, number: isize) {
        self.mix(number as u64);
    }

    fn finish(&self) -> u64 {
        self.wide() as u64
    }
}

/// Takes a key that is a hash already as it is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AsIs(u64);

impl Hasher for AsIs {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 ^= number.wrapping_mul(FIRST);
    }

    fn write_u128(&mut self, number: u128) {
        self.0 ^= number as u64 ^ (number >> 64) as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

pub(super) type HashesSeen = HashSet<u128, BuildHasherDefault<AsIs>>;
pub(super) type ByHash<K, V> = HashMap<K, V, BuildHasherDefault<AsIs>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_in_one_word_differs_in_both_halves() {
        let (a, b) = (Wide::of(&[1_u64, 2, 3]), Wide::of(&[1_u64, 2, 4]));
        assert_ne!(a as u64, b as u64);
        assert_ne!(a >> 64, b >> 64);
        assert_ne!(Wide::of(&[1_u64, 2]), Wide::of(&[2_u64, 1]));
    }
}
