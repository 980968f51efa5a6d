//! Long trials with real processes, for a machine that does nothing else. They print what they measured:
//! `cargo test --release -p vsr-cli --test trials -- --ignored --nocapture --test-threads 1`.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a trial tells, and may fail")]

mod support;

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::dice::Dice;
use support::{Dev, PATIENCE, Process, are_level, pid, replica, signal};

const MIB: u64 = 1 << 20;

/// Runs a client command for as long as it takes.
#[track_caller]
fn finish(command: &mut Command) -> String {
    let ran = command.stderr(Stdio::inherit()).output().unwrap();
    assert!(ran.status.success(), "{command:?}");
    String::from_utf8(ran.stdout).unwrap()
}

#[track_caller]
fn bench(dev: &Dev, words: &[&str]) -> Value {
    let mut command = dev.client(&["bench", "--clients", "64", "--window", "4", "-o", "json"]);
    serde_json::from_str(&finish(command.args(words))).unwrap()
}

/// What a folder takes on its disk.
fn disk_use(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    let sizes = entries.map(|entry| {
        let metadata = entry.metadata().unwrap();
        if metadata.is_dir() { disk_use(&entry.path()) } else { metadata.blocks() * 512 }
    });
    sizes.sum()
}

/// Log, checkpoints and state stay within what docs/OPERATIONS.md says, and a restart does not execute
/// everything again.
#[test]
#[ignore = "takes minutes"]
fn a_million_operations_leave_bounded_disks_and_a_quick_restart() {
    let mut dev = Dev::start();
    let measured = bench(&dev, &["--ops", "1000000"]);
    println!("{measured}");
    for id in 0..3 {
        let used = disk_use(&dev.dir().join(format!("r{id}")));
        println!("r{id}: {} MiB on disk", used / MIB);
        assert!(used < 2048 * MIB);
    }
    finish(&mut dev.client(&["kv", "put", "last", "word"]));
    let status = dev.status();
    for id in 0..3 {
        signal(pid(&status, id), "KILL");
    }
    let begun = Instant::now();
    for id in 0..3 {
        dev.launch_replica(id, &[]);
    }
    assert_eq!(finish(&mut dev.client(&["kv", "get", "last"])), "word\n");
    let took = begun.elapsed();
    println!("the first read was answered {} ms after the start", took.as_millis());
    assert!(took < Duration::from_secs(2));
    dev.wait_until("equal states", are_level);
}

/// A client that knows no replica but this one.
fn context_of(dev: &Dev, id: u64) -> String {
    let text = std::fs::read_to_string(dev.dir().join("client.toml")).unwrap();
    let is_other = |line: &&str| {
        let number = line.split(['=', ' ']).next().unwrap().trim_matches('"');
        number.parse::<u64>().is_ok_and(|number| number != id)
    };
    let lines: Vec<&str> = text.lines().filter(|line| !is_other(line)).collect();
    let file = dev.dir().join(format!("client-{id}.toml"));
    std::fs::write(&file, lines.join("\n")).unwrap();
    file.display().to_string()
}

#[test]
#[ignore = "takes minutes"]
fn a_paused_primary_that_comes_back_never_answers_with_an_old_value() {
    const TRIALS: u64 = 200;
    let mut dice = Dice(1);
    let dev = Dev::start();
    // Something is always under way.
    let words = ["bench", "--clients", "4", "--connections", "2", "--seconds", "3600"];
    let mut load = Process::spawn(&mut dev.client(&words));
    let (mut answered, mut refused) = (0, 0);
    for trial in 0..TRIALS {
        let value = trial.to_string();
        let (primary, pid) = dev.primary();
        let context = context_of(&dev, primary);
        let words = ["kv", "get", "key", "--deadline", "2s", "--context", &context];
        dice.pause(200);
        signal(pid, "STOP");
        // One that waits in the buffers of who is paused.
        let early = Process::spawn(&mut dev.client(&words));
        finish(&mut dev.client(&["kv", "put", "key", &value, "--deadline", "20s"]));
        dice.pause(300);
        let late: Vec<Process> = if dice.below(2) == 0 {
            let late = Process::spawn(&mut dev.client(&words));
            dice.pause(20);
            signal(pid, "CONT");
            vec![late, Process::spawn(&mut dev.client(&words))]
        } else {
            signal(pid, "CONT");
            dice.pause(20);
            (0..2).map(|_| Process::spawn(&mut dev.client(&words))).collect()
        };
        for read in std::iter::once(early).chain(late) {
            let ran = read.end();
            if ran.status == 0 {
                assert_eq!(ran.out, format!("{value}\n"), "trial {trial}");
                answered += 1;
            } else {
                refused += 1;
            }
        }
    }
    println!("{TRIALS} trials: {answered} reads answered, none old; {refused} not answered");
    assert!(answered > TRIALS, "most reads are answered");
    load.signal("KILL");
    load.end_input();
}

/// What happens to a primary.
enum Outage {
    Dead(u64),
    Paused(u32),
}

/// A put of one client, then a read of another at a backup.
#[test]
#[ignore = "takes minutes"]
fn a_backup_shows_what_was_acknowledged_elsewhere() {
    const PAIRS: u64 = 100_000;
    const LANES: u64 = 16;
    let mut dice = Dice(2);
    let mut dev = Dev::start();
    let jsonl = ["kv", "--jsonl", "--sessions", "16", "--deadline", "5s"];
    let mut writer = Process::spawn(&mut dev.client(&jsonl));
    let mut reader = Process::spawn(dev.client(&jsonl).args(["--read", "backup"]));
    let first_view = dev.status()["replicas"][0]["view"].as_u64().unwrap();
    let mut outage = None;
    let mut next = 100;
    // By key: what a read must show at least.
    let mut seen: BTreeMap<u64, u64> = BTreeMap::new();
    let (mut pairs, mut undecided, mut round) = (0, 0, 0);
    let begun = Instant::now();
    while pairs < PAIRS {
        round += 1;
        let keys: Vec<u64> = (0..LANES).map(|lane| lane + LANES * dice.below(4)).collect();
        for (lane, key) in (0..).zip(&keys) {
            let put = json!({"id": lane, "session": lane, "op": "put", "key": format!("k{key}"),
                "value": round.to_string()});
            writer.say(format!("{put}\n").as_bytes());
        }
        for _ in 0..LANES {
            let answer: Value = serde_json::from_str(&writer.line()).unwrap();
            let lane = answer["id"].as_u64().unwrap();
            let key = keys[lane as usize];
            if answer["status"] == "ok" {
                seen.insert(key, round);
            }
            let get = json!({"id": lane, "session": lane, "op": "get", "key": format!("k{key}")});
            reader.say(format!("{get}\n").as_bytes());
        }
        for _ in 0..LANES {
            let answer: Value = serde_json::from_str(&reader.line()).unwrap();
            let key = keys[answer["id"].as_u64().unwrap() as usize];
            if answer["status"] != "ok" {
                undecided += 1;
                continue;
            }
            let read = answer["result"].as_str().map_or(0, |value| value.parse::<u64>().unwrap());
            let least = seen.get(&key).copied().unwrap_or(0);
            assert!(least <= read && read <= round, "k{key}: {read}, after {least} was seen");
            seen.insert(key, read);
            pairs += 1;
        }
        if round == next {
            next += 50 + dice.below(200);
            outage = match outage.take() {
                Some(Outage::Dead(id)) => {
                    dev.start_replica(id);
                    None
                }
                Some(Outage::Paused(pid)) => {
                    signal(pid, "CONT");
                    None
                }
                None => {
                    let (id, pid) = dev.primary();
                    let dies = dice.below(2) == 0;
                    signal(pid, if dies { "KILL" } else { "STOP" });
                    Some(if dies { Outage::Dead(id) } else { Outage::Paused(pid) })
                }
            };
        }
    }
    match outage {
        Some(Outage::Dead(id)) => dev.start_replica(id),
        Some(Outage::Paused(pid)) => signal(pid, "CONT"),
        None => {}
    }
    let status = dev.wait_until("equal states", are_level);
    let views = status["replicas"][0]["view"].as_u64().unwrap() - first_view;
    println!(
        "{pairs} pairs in {} s, {views} views, {undecided} reads not answered",
        begun.elapsed().as_secs()
    );
    assert!(views >= 10 && undecided < PAIRS / 100);
}

/// A gibibyte in values of 16 KiB, and a log that goes on beyond what `r2` has.
fn a_gibibyte_without_r2() -> Dev {
    let dev = Dev::start();
    signal(pid(&dev.status(), 2), "KILL");
    let status = dev.wait_until("a primary", |status| status["primary"].is_u64());
    let primary = status["primary"].as_u64().unwrap();
    let mut load = dev.client(&["kv", "load", "-"]);
    let mut load = load.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut input = load.stdin.take().unwrap();
    let padding = "x".repeat(16 << 10);
    for number in 0..65_536 {
        writeln!(input, "large-{number:05}\t{number}{padding}").unwrap();
    }
    drop(input);
    assert!(load.wait().unwrap().success());
    let percent = || replica(&dev.status(), primary)["log_percent"].as_u64().unwrap();
    // The log forgets what a majority has in checkpoints once it is half full.
    let (mut before, mut now) = (0, 0);
    while before <= now {
        let words = ["--keys", "64", "--value-size", "16KiB", "--ops", "20000"];
        println!("{}", bench(&dev, &words)["ops_per_second"]);
        (before, now) = (now, percent());
    }
    dev
}

fn is_fetching(status: &Value) -> bool {
    replica(status, 2)["transfer_op"].is_u64()
}

fn view(status: &Value) -> u64 {
    let views = status["replicas"].as_array().unwrap().iter();
    views.filter_map(|replica| replica["view"].as_u64()).max().unwrap()
}

#[test]
#[ignore = "takes minutes"]
fn a_replica_catches_up_a_gibibyte_while_clients_write() {
    let mut dev = a_gibibyte_without_r2();
    let before = bench(&dev, &["--seconds", "10"]);
    println!("before, two replicas: {before}");
    let first_view = view(&dev.status());
    let begun = Instant::now();
    dev.launch_replica(2, &["--transfer-rate", "64MiB"]);
    let mut slices = Vec::new();
    loop {
        slices.push(bench(&dev, &["--seconds", "5"]));
        println!("meanwhile: {}", slices.last().unwrap());
        let status = dev.status();
        let (r0, r2) = (replica(&status, 0), replica(&status, 2));
        println!("r2: {} left, {}", r2["transfer_chunks_left"], r2["status"]);
        let behind = r0["op"].as_u64().unwrap().saturating_sub(r2["applied"].as_u64().unwrap_or(0));
        if r2["status"] == "normal" && !is_fetching(&status) && behind < 1_000 {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(300), "it never catches up");
    }
    println!("caught up after {} s", begun.elapsed().as_secs());
    let after = bench(&dev, &["--seconds", "10"]);
    println!("after, three replicas: {after}");
    let status = dev.wait_until("equal states", are_level);
    let moved = replica(&status, 2)["transfer_bytes"].as_u64().unwrap();
    println!("{} MiB moved, view {first_view} then {}", moved / MIB, view(&status));
    assert!(moved > 1000 * MIB, "it came by checkpoint");
    let rate = |measured: &Value| measured["ops_per_second"].as_f64().unwrap();
    let p99 = |measured: &Value| measured["latency_us"]["p99"].as_f64().unwrap();
    let mean = slices.iter().map(rate).sum::<f64>() / slices.len() as f64;
    let slowest = slices.iter().map(p99).fold(0.0, f64::max);
    let (of_before, of_after) = (mean / rate(&before), mean / rate(&after));
    println!("puts: {of_before:.2} of before, {of_after:.2} of after");
    println!("p99: {:.2} of before, {:.2} of after", slowest / p99(&before), slowest / p99(&after));
    assert_eq!(view(&status), first_view, "no view change");
    assert!(of_after >= 0.7 && slowest <= 3.0 * p99(&after));
}

#[test]
#[ignore = "takes minutes"]
fn a_source_that_dies_half_way_costs_little() {
    let mut dev = a_gibibyte_without_r2();
    dev.launch_replica(2, &[]);
    let left = |status: &Value| replica(status, 2)["transfer_chunks_left"].as_u64();
    let deadline = Instant::now() + PATIENCE;
    let mut most = 0;
    let status = loop {
        let status = dev.status();
        let now = left(&status).unwrap_or(u64::MAX);
        most = most.max(left(&status).unwrap_or(0));
        if now < most / 2 {
            break status;
        }
        assert!(Instant::now() < deadline, "half of it never came: {status:#}");
    };
    // Backups are asked before the primary.
    let source = u64::from(status["primary"] == 0);
    signal(pid(&status, source), "KILL");
    println!("r{source} died with {:?} of {most} chunks left", left(&status));
    dev.launch_replica(source, &[]);
    let level = |status: &Value| are_level(status) && !is_fetching(status);
    let status = dev.wait_within(4 * PATIENCE, "equal states", level);
    let moved = replica(&status, 2)["transfer_bytes"].as_u64().unwrap();
    println!("{} MiB moved", moved / MIB);
    assert!(moved > 1000 * MIB && moved < 1331 * MIB);
}
