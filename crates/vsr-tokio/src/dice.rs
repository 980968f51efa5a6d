//! Dice for what may differ from run to run: jitter, never the protocol.

use std::hash::{BuildHasher, RandomState};

/// A small generator (SplitMix64), seeded by the operating system.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// Dice that no other process throws alike.
    pub(crate) fn new() -> Self {
        // The standard library keys its hashers from the system's entropy.
        Self(RandomState::new().hash_one(std::process::id()))
    }

    /// The next number.
    pub(crate) fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
