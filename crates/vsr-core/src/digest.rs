//! SipHash-2-4 with 128-bit output under a fixed key: the checksum of headers and requests.
//!
//! Published by Aumasson and Bernstein, with official test vectors (checked below). It names
//! content among replicas that trust one another; it is no defence against a replica that forges,
//! which the protocol does not claim to survive. ADR 0008 says why this one.

use core::fmt;

/// A 128-bit checksum that names content: an entry by its header, a request by its body.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Checksum(pub u128);

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Checksum {
    /// The checksum of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut digest = Digest::new();
        digest.write(bytes);
        digest.finish()
    }
}

/// The key: any constant does. It spells its purpose, so that it was evidently not chosen with care.
const KEY: (u64, u64) = (u64::from_le_bytes(*b"viewstam"), u64::from_le_bytes(*b"ped repl"));

/// Computes a [`Checksum`] over bytes that come in pieces; how they are cut makes no difference.
#[derive(Clone, Debug)]
pub struct Digest {
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
    /// Bytes that do not fill a word yet, low byte first.
    tail: u64,
    length: u64,
}

impl Default for Digest {
    fn default() -> Self {
        Self::new()
    }
}

impl Digest {
    /// An empty digest.
    #[must_use]
    pub const fn new() -> Self {
        Self::with_key(KEY.0, KEY.1)
    }

    const fn with_key(k0: u64, k1: u64) -> Self {
        Self {
            v0: k0 ^ 0x736f_6d65_7073_6575,
            v1: k1 ^ 0x646f_7261_6e64_6f6d ^ 0xee,
            v2: k0 ^ 0x6c79_6765_6e65_7261,
            v3: k1 ^ 0x7465_6462_7974_6573,
            tail: 0,
            length: 0,
        }
    }

    /// Adds bytes.
    pub fn write(&mut self, bytes: &[u8]) {
        let held = (self.length % 8) as usize;
        self.length = self.length.wrapping_add(bytes.len() as u64);
        let mut rest = bytes;
        if held > 0 {
            let take = rest.len().min(8 - held);
            let (head, after) = rest.split_at(take);
            for (i, byte) in head.iter().enumerate() {
                self.tail |= u64::from(*byte) << (8 * (held + i));
            }
            rest = after;
            if held + take < 8 {
                return;
            }
            self.word(self.tail);
            self.tail = 0;
        }
        let mut words = rest.chunks_exact(8);
        for word in &mut words {
            self.word(u64::from_le_bytes(word.try_into().expect("a chunk of exactly 8 bytes")));
        }
        for (i, byte) in words.remainder().iter().enumerate() {
            self.tail |= u64::from(*byte) << (8 * i);
        }
    }

    /// Adds a number, as 8 bytes in little-endian order.
    pub fn write_u64(&mut self, value: u64) {
        if self.length % 8 == 0 {
            self.length = self.length.wrapping_add(8);
            self.word(value);
        } else {
            self.write(&value.to_le_bytes());
        }
    }

    /// Adds a number, as 16 bytes in little-endian order.
    pub fn write_u128(&mut self, value: u128) {
        self.write_u64(value as u64);
        self.write_u64((value >> 64) as u64);
    }

    /// The checksum of all that was added.
    #[must_use]
    pub fn finish(mut self) -> Checksum {
        self.word(self.tail | (self.length << 56));
        self.v2 ^= 0xee;
        self.rounds(4);
        let low = self.v0 ^ self.v1 ^ self.v2 ^ self.v3;
        self.v1 ^= 0xdd;
        self.rounds(4);
        let high = self.v0 ^ self.v1 ^ self.v2 ^ self.v3;
        Checksum(u128::from(low) | (u128::from(high) << 64))
    }

    #[inline]
    fn word(&mut self, word: u64) {
        self.v3 ^= word;
        self.rounds(2);
        self.v0 ^= word;
    }

    #[inline]
    fn rounds(&mut self, count: u32) {
        for _ in 0..count {
            self.v0 = self.v0.wrapping_add(self.v1);
            self.v1 = self.v1.rotate_left(13) ^ self.v0;
            self.v0 = self.v0.rotate_left(32);
            self.v2 = self.v2.wrapping_add(self.v3);
            self.v3 = self.v3.rotate_left(16) ^ self.v2;
            self.v0 = self.v0.wrapping_add(self.v3);
            self.v3 = self.v3.rotate_left(21) ^ self.v0;
            self.v2 = self.v2.wrapping_add(self.v1);
            self.v1 = self.v1.rotate_left(17) ^ self.v2;
            self.v2 = self.v2.rotate_left(32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the reference implementation's `vectors_sip128`: key 00 01 .. 0f, message 00 01 .. n-1.
    #[test]
    fn the_official_vectors_hold() {
        let k0 = u64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7]);
        let k1 = u64::from_le_bytes([8, 9, 10, 11, 12, 13, 14, 15]);
        let expected: [(usize, [u8; 16]); 4] = [
            (
                0,
                [
                    0xa3, 0x81, 0x7f, 0x04, 0xba, 0x25, 0xa8, 0xe6, 0x6d, 0xf6, 0x72, 0x14, 0xc7,
                    0x55, 0x02, 0x93,
                ],
            ),
            (
                1,
                [
                    0xda, 0x87, 0xc1, 0xd8, 0x6b, 0x99, 0xaf, 0x44, 0x34, 0x76, 0x59, 0x11, 0x9b,
                    0x22, 0xfc, 0x45,
                ],
            ),
            (
                2,
                [
                    0x81, 0x77, 0x22, 0x8d, 0xa4, 0xa4, 0x5d, 0xc7, 0xfc, 0xa3, 0x8b, 0xde, 0xf6,
                    0x0a, 0xff, 0xe4,
                ],
            ),
            (
                3,
                [
                    0x9c, 0x70, 0xb6, 0x0c, 0x52, 0x67, 0xa9, 0x4e, 0x5f, 0x33, 0xb6, 0xb0, 0x29,
                    0x85, 0xed, 0x51,
                ],
            ),
        ];
        for (length, bytes) in expected {
            let message: alloc::vec::Vec<u8> = (0..length as u8).collect();
            let mut digest = Digest::with_key(k0, k1);
            digest.write(&message);
            assert_eq!(digest.finish().0.to_le_bytes(), bytes, "length {length}");
        }
    }

    #[test]
    fn how_the_bytes_are_cut_makes_no_difference() {
        let bytes: alloc::vec::Vec<u8> = (0..100).collect();
        let whole = Checksum::of(&bytes);
        for cut in 0..bytes.len() {
            let mut digest = Digest::new();
            digest.write(&bytes[..cut]);
            digest.write(&bytes[cut..]);
            assert_eq!(digest.finish(), whole, "cut at {cut}");
        }
    }
}
