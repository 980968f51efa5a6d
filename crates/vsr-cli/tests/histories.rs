//! What clients see of a cluster whose replicas are killed is linearizable.

#![allow(clippy::unwrap_used, reason = "a test fails where its surroundings do")]

mod support;

use support::history::History;
use support::{Dev, are_level, signal};

/// How often the primary is killed, how many answers come before, and how many before it is started again.
const KILLS: usize = 4;
const BEFORE: usize = 500;
const DEAD_FOR: usize = 300;

#[test]
fn sixteen_sessions_see_one_store_through_the_deaths_of_primaries() {
    let mut dev = Dev::start();
    let mut calls = History::start(&dev);
    for _ in 0..KILLS {
        calls.go_on(BEFORE);
        let (primary, pid) = dev.primary();
        signal(pid, "KILL");
        calls.go_on(DEAD_FOR);
        dev.start_replica(primary);
        calls.go_on(200);
    }
    calls.end_linearizable(50);
    dev.wait_until("equal states", are_level);
}
