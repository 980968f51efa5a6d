//! The random simulator: a world, a seed, and everything that can go wrong.
//!
//! 1. The seed draws a configuration and a mixture of faults (`swarm.rs`).
//! 2. Safety: choices are applied in the order of simulated time while faults strike (`schedule.rs`, `disks.rs`);
//!    every invariant is checked after every step.
//! 3. Liveness: the faults end for a random core of the group that can do without the rest, and the
//!    rest is left in whatever state it is in; the core must recover (`liveness.rs`).
//! 4. The clients' history must be linearizable.
//!
//! A seed that fails is run again with its choices recorded, and shrunk to a story (`shrink.rs`).

mod disks;
mod liveness;
mod report;
mod schedule;
mod swarm;
mod workload;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use vsr_core::ReplicaId;

use crate::linearizability;
use crate::simulate::liveness::Ended;
use crate::simulate::schedule::Schedule;
use crate::simulate::swarm::Swarm;
use crate::world::choice::Choice;
use crate::world::cluster::Cluster;
use crate::world::network::FlightId;

pub use report::{Faults, Report, Summary, Verdict, run_seeds};

/// How long a seed is run, and what it does not draw itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Events of the safety phase: choices other than pings and idle heartbeats.
    pub steps: u64,
    /// Simulated seconds that the safety phase takes at most, where little happens.
    pub seconds: u64,
    /// Whether the trace is kept.
    pub trace: bool,
    /// What is given.
    pub given: Given,
}

/// What a seed is given in place of what it would draw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// How many replicas, 1 to [`VOTERS_MAX`](vsr_core::VOTERS_MAX), with the default quorums.
    pub replicas: Option<u32>,
    /// How many clients.
    pub clients: Option<u32>,
    /// Of a hundred messages, how many are lost.
    pub loss_percent: Option<u64>,
    /// Whether processes crash.
    pub crashes: Option<bool>,
}

impl Options {
    /// What a seed is given in the budget of continuous integration.
    pub const DEFAULT: Self = Self { steps: 5_000, seconds: 120, trace: false, given: Given::NONE };
}

impl Given {
    /// The seed draws everything.
    pub const NONE: Self =
        Self { replicas: None, clients: None, loss_percent: None, crashes: None };
}

impl Default for Options {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A choice of a run, with the name of the message that it delivered, so that it means the same when
/// choices before it are left out.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The choice.
    pub choice: Choice,
    /// Which choice of the run it was.
    pub cause: u64,
    /// The message delivered.
    pub flight: Option<FlightId>,
}

/// A run's choices, and what its world was made of.
#[derive(Clone, Debug)]
pub struct Recording {
    /// The group.
    pub cluster: Cluster,
    /// The choices, in order.
    pub choices: Vec<Recorded>,
    /// The replicas that were healed in the liveness phase, if the run came to it.
    pub core: Vec<ReplicaId>,
}

/// Runs one seed.
#[must_use]
pub fn simulate(seed: u64, options: &Options) -> Report {
    run(seed, options, false).0
}

/// Runs one seed and records its choices.
#[must_use]
pub fn record(seed: u64, options: &Options) -> (Report, Recording) {
    let (report, recording) = run(seed, options, true);
    (report, recording.expect("a recording was asked for"))
}

fn run(seed: u64, options: &Options, recorded: bool) -> (Report, Option<Recording>) {
    let started = Instant::now();
    let swarm = Swarm::draw(seed, &options.given);
    let mut schedule = Schedule::new(seed, swarm, options, recorded);
    let outcome = catch_unwind(AssertUnwindSafe(|| judge(&mut schedule)));
    let verdict = match outcome {
        Ok(verdict) => verdict,
        Err(panic) => Verdict::Broken(format!("panic: {}", panic_message(panic.as_ref()))),
    };
    let mut report = schedule.report(verdict);
    report.wall_seconds = started.elapsed().as_secs_f64();
    (report, schedule.recording())
}

fn judge(schedule: &mut Schedule) -> Verdict {
    if let Err(what) = schedule.run_safety() {
        return Verdict::Broken(what);
    }
    let ended = match schedule.run_liveness() {
        Ok(ended) => ended,
        Err(what) => return Verdict::Broken(what),
    };
    match linearizability::check(schedule.world.history()) {
        linearizability::Verdict::Linearizable if ended == Ended::Waits => Verdict::Waits,
        linearizability::Verdict::Linearizable => Verdict::Passed,
        linearizability::Verdict::Undecided => Verdict::Undecided,
        linearizability::Verdict::Broken(what) => Verdict::Broken(format!("S16: {what}")),
    }
}

/// What a panic said.
pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The trace of one seed. Debug and release builds, and all machines, come to the same; a change of
    /// the protocol or of what a seed draws changes it, and nothing else may.
    #[test]
    fn a_seed_takes_the_same_course_in_every_build() {
        let report = simulate(7, &Options { steps: 1_000, ..Options::DEFAULT });
        assert_eq!(report.verdict, Verdict::Passed);
        assert_eq!(report.trace_hash, 0x3880_1685_16e3_330e);
    }
}
