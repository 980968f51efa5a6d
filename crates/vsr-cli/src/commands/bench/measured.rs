//! What a run came to, as it is printed.

use std::time::Duration;

use serde::Serialize;

use crate::commands::status::Report;
use crate::error::Outcome;
use crate::output::{Table, print_line, say};
use crate::units::show;

/// What was measured.
#[derive(Debug, Serialize)]
pub(super) struct Measured {
    pub(super) ops: u64,
    pub(super) reads: u64,
    pub(super) seconds: f64,
    pub(super) ops_per_second: f64,
    pub(super) errors: u64,
    pub(super) unknown: u64,
    pub(super) latency_us: Latency,
    pub(super) longest_gap_ms: f64,
    /// Of all replicas together.
    pub(super) syncs: u64,
    /// On one replica, on average.
    pub(super) ops_per_sync: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct Latency {
    pub(super) p50: u64,
    pub(super) p90: u64,
    pub(super) p99: u64,
    pub(super) p999: u64,
    pub(super) max: u64,
}

impl Measured {
    pub(super) fn print(&self) -> Outcome {
        let us = |microseconds| show(Duration::from_micros(microseconds));
        let latency = &self.latency_us;
        let mut table = Table::new(&["calls", &self.ops.to_string()]);
        for (name, value) in [
            ("seconds", format!("{:.3}", self.seconds)),
            ("calls/s", format!("{:.0}", self.ops_per_second)),
            ("latency p50", us(latency.p50)),
            ("latency p90", us(latency.p90)),
            ("latency p99", us(latency.p99)),
            ("latency p99.9", us(latency.p999)),
            ("latency max", us(latency.max)),
            ("errors", self.errors.to_string()),
            ("unknown", self.unknown.to_string()),
            ("longest gap", format!("{:.1} ms", self.longest_gap_ms)),
            ("syncs, all replicas", self.syncs.to_string()),
            ("calls per sync", format!("{:.2}", self.ops_per_sync)),
        ] {
            table.row([name.to_owned(), value]);
        }
        for line in table.lines() {
            print_line(line.as_bytes())?;
        }
        if self.unknown > 0 {
            say("unknown: calls without an answer in time; each was made again");
        }
        Ok(())
    }
}

/// How often the replicas synced meanwhile, and how many of them can tell. One that was started
/// meanwhile counts from its start.
pub(super) fn syncs([before, after]: [&Report; 2]) -> (u64, usize) {
    let mut total = 0;
    let mut replicas = 0;
    for now in after.answers() {
        let then = before
            .answers()
            .find(|then| then.id == now.id && then.incarnation == now.incarnation)
            .map_or(0, |then| then.syncs);
        total += now.syncs.saturating_sub(then);
        replicas += 1;
    }
    (total, replicas)
}

pub(super) fn rounded(number: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (number * scale).round() / scale
}
