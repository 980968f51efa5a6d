//! A cluster whose logs are in memory: what it survives, and what it says where it does not.

#![allow(clippy::unwrap_used, reason = "a test fails where its surroundings do")]

mod support;

use serde_json::Value;
use support::{Dev, are_level, dev, pid, run, signal, vsr};

const IN_MEMORY: [&str; 2] = ["--durability", "memory"];

fn put(dev: &Dev, keys: std::ops::Range<u32>) {
    let lines: String = keys.map(|key| format!("key-{key:04}\t{key}\n")).collect();
    let loaded = run(&mut dev.client(&["kv", "load", "-"]), lines.as_bytes());
    assert_eq!(loaded.status, 0, "{}", loaded.err);
}

fn replica(status: &Value, id: u64) -> &Value {
    let replicas = status["replicas"].as_array().unwrap();
    replicas.iter().find(|replica| replica["id"] == id).unwrap()
}

#[test]
fn a_replica_that_was_killed_has_its_state_from_the_others_again() {
    let mut dev = Dev::start_with(&IN_MEMORY);
    put(&dev, 0..200);
    let (primary, killed) = dev.primary();
    let backup = (primary + 1) % 3;
    signal(pid(&dev.status(), backup), "KILL");
    put(&dev, 200..400);
    dev.start_replica(backup);
    let status = dev.wait_until("equal states", are_level);
    let back = replica(&status, backup);
    assert_eq!((&back["durability"], &back["incarnation"]), (&"memory".into(), &2.into()));
    // The others have left its view before the primary can have its log from them.
    signal(killed, "KILL");
    put(&dev, 400..600);
    dev.start_replica(primary);
    dev.wait_until("equal states again", are_level);
    assert_eq!(dev.run(&["kv", "dump"]).ok().lines().count(), 600);
    // Acknowledging waited for no disk: what was synced is views and starts.
    let status = dev.status();
    let synced: Vec<u64> =
        (0..3).map(|id| replica(&status, id)["syncs"].as_u64().unwrap()).collect();
    assert!(synced.iter().all(|syncs| *syncs < 50), "{synced:?}");

    let folder = dev.dir().join("r0").display().to_string();
    let inspect = |what: &str| run(vsr().args(["inspect", what, "--dir", &folder]), b"");
    let superblock = inspect("superblock").ok();
    assert!(superblock.contains("durability   memory"), "{superblock}");
    assert!(inspect("verify").ok().is_empty());
    let error = inspect("log").fails(2);
    assert!(error.contains("keeps its log in memory"), "{error}");
}

#[test]
fn more_killed_than_are_tolerated_never_form_again_and_say_so() {
    let mut dev = Dev::start_with(&IN_MEMORY);
    put(&dev, 0..20);
    let (primary, _) = dev.primary();
    let status = dev.status();
    let lost = [(primary + 1) % 3, (primary + 2) % 3];
    for id in lost {
        signal(pid(&status, id), "KILL");
    }
    for id in lost {
        dev.start_replica(id);
    }
    let status = dev.wait_until("both know", |status| {
        lost.iter().all(|id| replica(status, *id)["recovery_hopeless"] == true)
    });
    for id in lost {
        let seen = replica(&status, id);
        assert_eq!(seen["status"], "recovering");
        assert_eq!(seen["recovery_lost"], 2);
        assert!(seen["op"] == 0 && seen["digest"]["op"] == 0, "{seen}");
        let next = seen["next_step"].as_str().unwrap();
        assert!(next.contains("never forms again") && next.contains("new cluster"), "{next}");
    }
    let table = dev.run(&["status"]).ok();
    assert!(table.contains("recovering") && table.contains("memory"), "{table}");
    let refused = dev.run(&["kv", "put", "k", "v", "--deadline", "2s"]);
    assert!([3, 4].contains(&refused.status), "{}: {}", refused.status, refused.err);
    let said: Vec<&mut support::Process> = dev.started.iter_mut().collect();
    for process in said {
        process.wait_for("more replicas lost their memory at a time");
    }
    // The folder of a cluster that is gone is not taken for that of a new one.
    let folder = dev.dir();
    dev.process.end_input();
    for process in &dev.started {
        process.signal("KILL");
    }
    let Dev { process, folder: kept, started } = dev;
    drop(started);
    let _ended = process.end();
    let error = run(&mut self::dev(&folder), b"").fails(1);
    assert!(error.contains("was in memory, and is gone"), "{error}");
    drop(kept);
}

#[test]
fn a_group_that_the_first_stop_would_lose_is_not_formatted_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let peers = "0=127.0.0.1:1,1=127.0.0.1:2";
    let cluster = "67e55044-10b1-426f-9247-bb680e5fe0c8";
    let mut words = vec!["format", "--cluster", cluster, "--replica", "0", "--peers", peers];
    words.extend(IN_MEMORY);
    let error = run(vsr().args(words).arg("--dir").arg(folder.path()), b"").fails(2);
    assert!(error.contains("three replicas or more"), "{error}");
}
