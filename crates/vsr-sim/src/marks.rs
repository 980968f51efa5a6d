//! Coverage marks: which rare paths a run took.

use std::collections::BTreeMap;

use vsr_core::{Ignored, Mark};

/// How often each rare path was taken, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    counts: BTreeMap<&'static str, u64>,
}

impl Marks {
    /// How often each mark was reached.
    #[must_use]
    pub const fn counts(&self) -> &BTreeMap<&'static str, u64> {
        &self.counts
    }

    /// Adds what another run reached.
    pub fn merge(&mut self, other: &Self) {
        for (name, count) in &other.counts {
            *self.counts.entry(name).or_default() += count;
        }
    }

    pub(crate) fn reach(&mut self, name: &'static str) {
        *self.counts.entry(name).or_default() += 1;
    }

    pub(crate) fn core(&mut self, _mark: Mark) {}

    pub(crate) fn ignored(&mut self, _reason: Ignored) {}
}
