//! Processes that die at named points, in each role, under load: what was answered stays, and all replicas come to the same
//! state. In a build with the feature `failpoints` only.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a trial tells, and may fail")]

mod support;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::history::History;
use support::{Dev, are_all, are_whole, pid, signal};
use vsr_storage::CrashPoint;

/// How long a replica may take until it comes to its point.
const DIES_WITHIN: Duration = Duration::from_secs(20);

/// How long the cluster may take until all is as it was.
const LEVEL_WITHIN: Duration = Duration::from_secs(30);

/// How many answers come between two looks at a replica.
const BETWEEN: usize = 20;

const SIGABRT: i32 = 6;

/// The role that a replica is to have when it dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Primary,
    Backup,
    /// It lacks a part of its checkpoint when it starts.
    Mending,
    /// It is one of those that choose another primary.
    Changing,
    /// It is the one that they choose.
    Chosen,
}

/// Which points are reached in which role.
fn points() -> Vec<(String, Role)> {
    let mut points = Vec::new();
    for point in CrashPoint::all().map(|point| point.to_string()) {
        if point.ends_with("fetch") {
            points.push((point, Role::Mending));
        } else if !point.ends_with("peers") {
            points.push((point.clone(), Role::Primary));
            points.push((point, Role::Backup));
        }
    }
    for when in ["before", "after"] {
        points.push((format!("{when}-send-prepare-ok"), Role::Backup));
        points.push((format!("{when}-send-reply"), Role::Primary));
        points.push((format!("{when}-send-do-view-change"), Role::Changing));
        points.push((format!("{when}-send-start-view"), Role::Chosen));
    }
    points
}

/// Flips a bit of each pack of a store whose process is dead.
fn damage_chunks(dir: &Path) {
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.file_name().to_str().unwrap().starts_with("pack-") {
            let mut bytes = fs::read(entry.path()).unwrap();
            // Behind the pack's head.
            for at in (4096..bytes.len()).step_by(512) {
                bytes[at] ^= 1;
            }
            fs::write(entry.path(), bytes).unwrap();
        }
    }
}

/// Kills a replica as long as another leads, until this one does. Those that died live again.
fn make_primary(dev: &mut Dev, calls: &mut History, id: u64, is_over: impl Fn(&mut Dev) -> bool) {
    for _ in 0..6 {
        let status = dev.wait_until("a primary", |status| status["primary"].is_u64());
        let primary = status["primary"].as_u64().unwrap();
        if primary == id || is_over(dev) {
            return;
        }
        signal(pid(&status, primary), "KILL");
        calls.go_on(BETWEEN);
        dev.start_replica(primary);
        dev.wait_until("another primary", |status| {
            status["primary"].is_u64() && status["primary"] != primary
        });
    }
}

/// In each round a replica dies at a point, and lives again.
#[track_caller]
fn rounds(points: &[(String, Role)]) {
    // Checkpoints are taken all the time.
    let mut dev = Dev::start_with(&["--checkpoint-every", "100"]);
    let mut calls = History::start(&dev);
    calls.go_on(500);
    for (round, (point, role)) in points.iter().enumerate() {
        let id = round as u64 % 3;
        let begun = Instant::now();
        signal(pid(&dev.wait_until("three replicas", are_all), id), "KILL");
        calls.go_on(BETWEEN);
        let asked = match role {
            Role::Primary => format!("{point}@primary"),
            Role::Backup => format!("{point}@backup"),
            Role::Mending => {
                damage_chunks(&dev.dir().join(format!("r{id}")));
                point.clone()
            }
            Role::Changing | Role::Chosen => point.clone(),
        };
        dev.launch_replica_to_die(id, &asked);
        let place = dev.started.len() - 1;
        let is_over = |dev: &mut Dev| dev.started[place].ended().is_some();
        let leads = matches!(role, Role::Primary | Role::Chosen);
        let mut made = !leads && *role != Role::Changing;
        while !is_over(&mut dev) {
            calls.go_on(BETWEEN);
            assert!(begun.elapsed() < DIES_WITHIN, "r{id} does not come to {asked}");
            if !made && begun.elapsed() > Duration::from_millis(500) {
                made = true;
                if leads {
                    make_primary(&mut dev, &mut calls, id, is_over);
                } else {
                    // Whoever leads dies, so that the others change views.
                    let (primary, process) = dev.primary();
                    signal(process, "KILL");
                    calls.go_on(BETWEEN);
                    dev.start_replica(primary);
                }
            }
        }
        let ended = dev.started[place].ended().unwrap();
        assert_eq!(ended.signal(), Some(SIGABRT), "{asked}: {:?}", dev.started[place].seen);
        calls.go_on(BETWEEN);
        dev.start_replica(id);
        calls.go_on(BETWEEN);
        calls.pause();
        dev.wait_within(LEVEL_WITHIN, "a cluster that is whole", are_whole);
        calls.resume();
        println!("{asked}: r{id} died, all level after {:?}", begun.elapsed());
    }
    calls.end_linearizable(50);
}

#[test]
fn a_replica_that_dies_at_a_point_comes_back_and_nothing_is_lost() {
    // Every seventh: in a few runs all kinds of files, and all roles.
    rounds(&points().into_iter().step_by(7).collect::<Vec<_>>());
}

#[test]
#[ignore = "takes minutes"]
fn at_each_point_in_each_role_a_replica_dies_and_nothing_is_lost() {
    rounds(&points());
}
