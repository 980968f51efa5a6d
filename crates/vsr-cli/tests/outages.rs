//! What acknowledged writes survive.

#![allow(clippy::unwrap_used, reason = "a test fails where its surroundings do")]

mod support;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use support::{Dev, Process, are_level, pid, run, signal, vsr};

#[test]
fn a_load_through_the_death_of_the_primary_loses_no_line() {
    let mut dev = Dev::start();
    let lines: Vec<String> = (0..3000).map(|n| format!("word-{n:05}\t{n}\n")).collect();
    let mut load = Process::spawn(&mut dev.client(&["kv", "load", "-"]));
    load.say(lines[..1500].concat().as_bytes());
    // Its last lines may be on their way when the primary dies.
    let applied = |status: &Value| {
        status["replicas"].as_array().unwrap().iter().any(|r| r["ops"].as_u64() > Some(500))
    };
    dev.wait_until("the first lines", applied);
    let (primary, pid) = dev.primary();
    signal(pid, "KILL");
    load.say(lines[1500..].concat().as_bytes());
    let loaded = load.end();
    assert_eq!(loaded.status, 0, "{}", loaded.err);
    assert!(loaded.err.contains("3000 lines acknowledged, 0 errors"), "{}", loaded.err);
    assert_eq!(dev.run(&["kv", "dump"]).ok(), lines.concat());
    dev.start_replica(primary);
    dev.wait_until("equal states", are_level);
}

#[test]
fn killing_all_replicas_at_once_loses_nothing_that_was_acknowledged() {
    let mut dev = Dev::start();
    let record = dev.folder.path().join("record.tsv");
    let mut words = vec!["bench", "--clients", "8", "--connections", "2", "--keys", "100"];
    words.extend(["--value-size", "32", "--seconds", "600", "-o", "json", "--record"]);
    let mut bench = Process::spawn(dev.client(&words).arg(&record));
    let recorded = || std::fs::read_to_string(&record).unwrap_or_default().lines().count();
    wait(|| recorded() > 300);
    let status = dev.status();
    for id in 0..3 {
        signal(pid(&status, id), "KILL");
    }
    let before = recorded();
    for id in 0..3 {
        dev.start_replica(id);
    }
    wait(|| recorded() > before + 300);
    bench.signal("KILL");
    bench.end_input();
    drop(bench);
    // Each caller has keys of its own, so the store holds the last value recorded for a key, or one
    // that was on its way when the bench was killed.
    let text = std::fs::read_to_string(&record).unwrap();
    let mut last = BTreeMap::new();
    for line in text.lines() {
        let (key, value) = line.split_once('\t').unwrap();
        last.insert(key, value);
    }
    let dump = dev.run(&["kv", "dump"]).ok();
    let stored: BTreeMap<&str, &str> = dump.lines().filter_map(|l| l.split_once('\t')).collect();
    for (key, value) in last {
        // A value is CALLER.NUMBER and padding.
        let number = |value: &str| {
            let (_, rest) = value.split_once('.').unwrap();
            rest.split(' ').next().unwrap().parse::<u64>().unwrap()
        };
        assert!(number(stored[key]) >= number(value), "{key}: {} after {value}", stored[key]);
    }
}

/// A run of so many calls makes each of them until it is answered, whatever the outage.
#[test]
fn a_bench_of_so_many_calls_repeats_those_without_an_answer() {
    let mut dev = Dev::start();
    let record = dev.folder.path().join("record.tsv");
    let mut words = vec!["bench", "--clients", "4", "--ops", "4000", "--deadline", "300ms"];
    words.extend(["-o", "json", "--record"]);
    let bench = Process::spawn(dev.client(&words).arg(&record));
    let recorded = || std::fs::read_to_string(&record).unwrap_or_default().lines().count();
    wait(|| recorded() > 100);
    let status = dev.status();
    for id in 0..3 {
        signal(pid(&status, id), "KILL");
    }
    // Longer than any call waits.
    std::thread::sleep(std::time::Duration::from_millis(900));
    assert!(recorded() < 4000, "it was over before the outage");
    for id in 0..3 {
        dev.start_replica(id);
    }
    let bench: Value = serde_json::from_str(&bench.end().ok()).unwrap();
    assert_eq!((&bench["ops"], recorded()), (&4000.into(), 4000));
    let repeated = bench["unknown"].as_u64().unwrap() + bench["errors"].as_u64().unwrap();
    assert!(repeated > 0, "{bench}");
    assert!(bench["longest_gap_ms"].as_f64().unwrap() > 900.0, "{bench}");
}

/// Waits for a condition that a file or a process brings about.
#[track_caller]
fn wait(holds: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + support::PATIENCE;
    while !holds() {
        assert!(std::time::Instant::now() < deadline);
        std::thread::yield_now();
    }
}

#[test]
fn sixteen_sessions_answer_every_line_through_a_view_change() {
    let dev = Dev::start();
    let mut calls = Process::spawn(&mut dev.client(&["kv", "--jsonl", "--sessions", "16"]));
    let call = |id: u64| {
        let session = id % 16;
        json!({ "id": id, "session": session, "op": "incr", "key": format!("n{session}") })
    };
    let total = 1600;
    let mut answers: Vec<Value> = Vec::new();
    for id in 0..total {
        calls.say(format!("{}\n", call(id)).as_bytes());
        if id == total / 2 {
            let (_, pid) = dev.primary();
            signal(pid, "KILL");
        }
    }
    for _ in 0..total {
        answers.push(serde_json::from_str(&calls.line()).unwrap());
    }
    assert_eq!(calls.end().status, 0);
    // In each session the calls run one after the other, each exactly once.
    for session in 0..16 {
        let own = answers.iter().filter(|a| a["id"].as_u64().unwrap() % 16 == session);
        let results: Vec<_> = own.map(|answer| (&answer["status"], &answer["result"])).collect();
        let expected: Vec<_> = (1..=total / 16).map(|n| (json!("ok"), json!(n))).collect();
        let expected: Vec<_> = expected.iter().map(|(status, n)| (status, n)).collect();
        assert_eq!(results, expected, "session {session}");
    }
}

#[test]
fn a_primary_that_is_told_to_stop_hands_its_role_on() {
    let dev = Dev::start();
    let (primary, pid) = dev.primary();
    signal(pid, "TERM");
    let other = |status: &Value| status["primary"].as_u64().is_some_and(|p| p != primary);
    dev.wait_until("another primary", other);
    assert_eq!(dev.run(&["kv", "put", "a", "1"]).ok(), "ok\n");
}

#[test]
fn a_call_that_a_majority_never_answered_is_unknown_and_one_that_was_never_sent_is_not_done() {
    let dev = Dev::start();
    let (primary, _) = dev.primary();
    let status = dev.status();
    let mut calls = Process::spawn(&mut dev.client(&["kv", "--jsonl", "--deadline", "700ms"]));
    let put = b"{\"id\": 1, \"op\": \"put\", \"key\": \"a\", \"value\": \"1\"}\n";
    calls.say(put);
    assert!(calls.line().contains("\"status\":\"ok\""));
    for id in (0..3).filter(|id| *id != primary) {
        signal(pid(&status, id), "STOP");
    }
    calls.say(put);
    let answer = calls.line();
    // A session that is not open yet has sent nothing but the wish for one.
    let fresh = dev.run(&["kv", "--deadline", "700ms", "put", "a", "1"]);
    let read = dev.run(&["kv", "--deadline", "700ms", "get", "a"]);
    for id in (0..3).filter(|id| *id != primary) {
        signal(pid(&status, id), "CONT");
    }
    assert!(answer.contains("\"status\":\"unknown\""), "{answer}");
    assert!(fresh.fails(3).contains("not done"));
    assert!(read.fails(3).contains("next: "));
}

#[test]
fn the_tour_holds_and_a_restart_that_fails_fails_it() {
    let temporary = tempfile::tempdir().unwrap();
    let tour = run(vsr().arg("demo").env("TMPDIR", temporary.path()), b"").ok();
    assert!(tour.contains("Every check held"), "{tour}");
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0, "it leaves nothing");

    let mut broken = Process::spawn(vsr().arg("demo").env("TMPDIR", temporary.path()));
    while !broken.line().contains("Kill the primary") {}
    let folder = std::fs::read_dir(temporary.path()).unwrap().next().unwrap().unwrap().path();
    std::fs::remove_file(folder.join("vsr/r0/superblock")).unwrap();
    std::fs::write(folder.join("vsr/r0/superblock"), "").unwrap();
    let ran = broken.end();
    assert_eq!(ran.status, 1, "{}\n{}", ran.out, ran.err);
    assert!(ran.err.contains("FAILED"), "{}", ran.err);
}
