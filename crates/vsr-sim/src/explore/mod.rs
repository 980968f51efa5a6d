//! The explorer: takes every choice, up to a bound, on the shipped core.
//!
//! 1. A state is a group: replicas with their disks, and the set of messages that were sent
//!    (`group.rs`). A message may arrive at any time, again, or never.
//! 2. A step of one node depends on that node and on what happens to it alone, and is computed once
//!    (`node.rs`).
//! 3. States are taken breadth first, so that what is found is short; what was seen is remembered by
//!    its hash (`search.rs`).
//! 4. Every step is judged (`node.rs`, `promises.rs`).
//! 5. A path to what must not be becomes a story (`tell.rs`), which the simulated world runs with its own
//!    invariants.
//!
//! The world of stories is not cloned here: its disks are images, its checker keeps all that ever
//! happened, and both cost thousands of times what a step costs. A test replays paths in it, and finds
//! the same replicas.

mod group;
mod hash;
mod node;
mod promises;
mod search;
mod tell;

use std::fmt;
use std::str::FromStr;

use crate::world::cluster::Cluster;

pub use search::{Counterexample, Report, Verdict, explore};

/// What is explored, and how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// How many replicas, 1 to 5.
    pub replicas: u32,
    /// How many clients send a request, 1 to 8; each sends one until it is answered.
    pub ops: u32,
    /// The highest view that is entered.
    pub view_changes: u64,
    /// How many crashes there are; a dead replica may start again at any time.
    pub crashes: u32,
    /// Whether writes wait until the disk completes them, oldest first, and a crash loses those that
    /// wait; otherwise they are durable at once.
    pub slow: bool,
    /// The most states.
    pub states: u64,
    /// The most steps from the first state.
    pub depth: u32,
    /// The most seconds.
    pub seconds: u64,
}

/// The most replicas: beyond that nothing comes to an end.
const REPLICAS_MAX: u32 = 5;

/// The most requests, for the same reason.
const OPS_MAX: u32 = 8;

/// States are numbered in 32 bits.
const STATES_MAX: u64 = u32::MAX as u64;

impl Bounds {
    /// Three replicas, two requests, three view changes, a crash.
    pub const DEFAULT: Self = Self {
        replicas: 3,
        ops: 2,
        view_changes: 3,
        crashes: 1,
        slow: true,
        states: STATES_MAX,
        depth: u32::MAX,
        seconds: u64::MAX,
    };

    /// What a client puts: its own key.
    fn operation(client: u32) -> String {
        format!("put k{client} {client}")
    }

    /// The group that is explored.
    fn cluster(&self) -> Cluster {
        let mut cluster = Cluster::of(self.replicas);
        cluster.constants.sessions = self.ops;
        cluster.constants.genesis_sessions = self.ops;
        cluster.client_links = true;
        cluster
    }

    /// Whether there is such a group, and not too large to be explored.
    ///
    /// # Errors
    /// What is wrong, in words for whoever asked for it.
    pub fn check(&self) -> Result<(), String> {
        if !(1..=REPLICAS_MAX).contains(&self.replicas) {
            return Err(format!("explore 1 to {REPLICAS_MAX} replicas"));
        }
        if !(1..=OPS_MAX).contains(&self.ops) {
            return Err(format!("explore 1 to {OPS_MAX} requests"));
        }
        Ok(())
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// As the options of the command.
impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "--replicas {} --ops {} --view-changes {} --crashes {}",
            self.replicas, self.ops, self.view_changes, self.crashes
        )?;
        if !self.slow {
            f.write_str(" --quick-disks")?;
        }
        let limits = [
            ("states", self.states, Self::DEFAULT.states),
            ("depth", u64::from(self.depth), u64::from(Self::DEFAULT.depth)),
            ("seconds", self.seconds, Self::DEFAULT.seconds),
        ];
        limits
            .into_iter()
            .filter(|(_, limit, usual)| limit != usual)
            .try_for_each(|(name, limit, _)| write!(f, " --{name} {limit}"))
    }
}

impl FromStr for Bounds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut bounds = Self::DEFAULT;
        let mut words = text.split_whitespace();
        while let Some(word) = words.next() {
            if word == "--quick-disks" {
                bounds.slow = false;
                continue;
            }
            let value = words.next().ok_or_else(|| format!("`{word}` needs a value"))?;
            let number: u64 = value.parse().map_err(|_| format!("`{value}` is not a number"))?;
            let small = || u32::try_from(number).map_err(|_| format!("{number} is too much"));
            match word {
                "--replicas" => bounds.replicas = small()?,
                "--ops" => bounds.ops = small()?,
                "--view-changes" => bounds.view_changes = number,
                "--crashes" => bounds.crashes = small()?,
                "--states" => bounds.states = number.min(STATES_MAX),
                "--depth" => bounds.depth = small()?,
                "--seconds" => bounds.seconds = number,
                _ => return Err(format!("unknown option `{word}`")),
            }
        }
        bounds.check()?;
        Ok(bounds)
    }
}

#[cfg(test)]
mod tests;
