//! Disks that rot under a running cluster: whatever happens to the files of one replica at a time, clients see one store,
//! and it heals from the others.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a trial tells, and may fail")]

mod support;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::dice::Dice;
use support::history::History;
use support::{Dev, Process, are_all, are_whole, pid, signal};
use vsr_core::OpNumber;
use vsr_storage::{FileDisk, Inspection};

/// How long a replica may take until it has repaired what was damaged.
const REPAIRED_WITHIN: Duration = Duration::from_secs(30);

/// How many answers come between two rounds.
const BETWEEN: usize = 100;

/// What is damaged begins in a part of so many bytes that holds something.
const PART: u64 = 512;

/// A superblock has four copies, of which up to three may be lost. What is damaged at once is within one.
const COPY: u64 = 64 << 10;

/// The files of a store that hold something.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    let parts = ["log", "superblock", "pack-", "checkpoint-"];
    let mut files: Vec<PathBuf> =
        entries.filter(|path| parts.iter().any(|part| name(path).starts_with(part))).collect();
    files.sort();
    files
}

/// Flips bits, or writes zeros over a range, somewhere in what a file holds. Returns what was done.
fn damage(path: &Path, dice: &mut Dice) -> String {
    let Ok(file) = OpenOptions::new().read(true).write(true).open(path) else {
        return "a file that is gone".to_owned();
    };
    let bytes = fs::read(path).unwrap_or_default();
    let parts = (0..).zip(bytes.chunks(PART as usize));
    let used: Vec<u64> = parts
        .filter(|(_, part)| part.iter().any(|byte| *byte != 0))
        .map(|(place, _)| place * PART)
        .collect();
    let Some(part) = used.get(dice.below(used.len().max(1) as u64) as usize).copied() else {
        return "an empty file".to_owned();
    };
    let name = path.file_name().unwrap().to_str().unwrap();
    if dice.below(2) == 0 {
        let at = part + dice.below(PART.min(bytes.len() as u64 - part));
        let flipped = bytes[at as usize] ^ (1 << dice.below(8));
        file.write_all_at(&[flipped], at).unwrap();
        return format!("{name}: a bit at {at}");
    }
    let mut length = (512 << dice.below(7)).min(bytes.len() as u64 - part);
    if name == "superblock" {
        length = length.min(COPY - part % COPY);
    }
    file.write_all_at(&vec![0; length as usize], part).unwrap();
    format!("{name}: {length} zeros at {part}")
}

/// Damages one of ten parts of all that a file holds: bytes flipped, or zeros.
fn damage_tenth(path: &Path, tenth: usize, dice: &mut Dice) {
    let bytes = fs::read(path).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let (start, end) = (used * tenth / 10, used * (tenth + 1) / 10);
    let flips = dice.below(2) == 0;
    let damaged: Vec<u8> =
        bytes[start..end].iter().map(|byte| if flips { byte ^ 0x55 } else { 0 }).collect();
    OpenOptions::new()
        .write(true)
        .open(path)
        .unwrap()
        .write_all_at(&damaged, start as u64)
        .unwrap();
}

/// In each round all replicas are dead, and of each another tenth of all its files is damaged: each byte is intact on two
/// of three.
#[track_caller]
fn rounds_of_tenths(count: u64, seed: u64) {
    let mut dice = Dice(seed);
    let mut dev = Dev::start_with(&["--checkpoint-every", "300"]);
    let mut calls = History::start(&dev);
    calls.go_on(1000);
    let mut slowest = Duration::ZERO;
    let mut stopped = 0;
    for round in 0..count {
        calls.go_on(BETWEEN);
        let status = dev.wait_until("three replicas", are_all);
        (0..3).for_each(|id| signal(pid(&status, id), "KILL"));
        let first = dice.below(10) as usize;
        let (second, third) = (1 + dice.below(4) as usize, 5 + dice.below(5) as usize);
        let tenths = [first, (first + second) % 10, (first + third) % 10];
        for (id, tenth) in tenths.into_iter().enumerate() {
            for file in files(&dev.dir().join(format!("r{id}"))) {
                damage_tenth(&file, tenth, &mut dice);
            }
        }
        println!("round {round}: tenths {tenths:?}");
        let begun = Instant::now();
        for id in 0..3 {
            dev.launch_replica(id, &[]);
        }
        if has_stopped(&mut dev) {
            stopped += 1;
            // What no disk has any more nobody brings back: another cluster goes on.
            calls.end_linearizable(0);
            dev = Dev::start_with(&["--checkpoint-every", "300"]);
            calls = History::start(&dev);
            calls.go_on(1000);
            continue;
        }
        calls.go_on(BETWEEN);
        calls.pause();
        dev.wait_within(REPAIRED_WITHIN, "a cluster that is whole", are_whole);
        slowest = slowest.max(begun.elapsed());
        calls.resume();
    }
    println!("{stopped} of {count} rounds stopped; whole again after {slowest:?} at most");
    assert!(stopped * 20 <= count, "{stopped} of {count} rounds did not go on");
    calls.end_linearizable(50);
}

/// Whether one of the three replicas that were started last stopped, as it must where nobody has what it lacks.
fn has_stopped(dev: &mut Dev) -> bool {
    let begun = Instant::now();
    let first = dev.started.len() - 3;
    loop {
        let ended = dev.started[first..].iter_mut().find_map(Process::ended);
        if let Some(ended) = ended {
            assert_eq!(ended.code(), Some(6), "it stops, and says why");
            return true;
        }
        let ready = |status: &Value| status["primary"].is_u64() && are_all(status);
        let status = dev.status_if_any();
        if ready(&status) {
            return false;
        }
        assert!(begun.elapsed() < REPAIRED_WITHIN, "neither serves nor stops: {status:#}");
    }
}

/// Damages the record of an op in a log.
#[track_caller]
fn damage_record(dir: &Path, op: u64) {
    let inspection = Inspection::open(&FileDisk::open(dir).unwrap()).unwrap();
    let slot = inspection.slots(OpNumber(op), OpNumber(op)).next().unwrap();
    let (at, length) = slot.record.expect("the log holds it");
    let log = OpenOptions::new().write(true).open(dir.join("log")).unwrap();
    log.write_all_at(&vec![0x55; length as usize], at).unwrap();
}

/// In each round the files of one replica are damaged, while it runs or while it is dead.
#[track_caller]
fn rounds(count: u64, seed: u64) {
    let mut dice = Dice(seed);
    // Checkpoints are taken all the time, so that there are some to be damaged.
    let mut dev = Dev::start_with(&["--checkpoint-every", "300"]);
    let mut calls = History::start(&dev);
    calls.go_on(1000);
    let mut slowest = Duration::ZERO;
    for round in 0..count {
        calls.go_on(BETWEEN);
        let id = dice.below(3);
        let dir = dev.dir().join(format!("r{id}"));
        let is_dead = dice.below(2) == 0;
        if is_dead {
            signal(pid(&dev.wait_until("three replicas", are_all), id), "KILL");
            calls.go_on(BETWEEN);
        }
        let files = files(&dir);
        let told: Vec<String> = (0..=dice.below(3))
            .map(|_| damage(&files[dice.below(files.len() as u64) as usize], &mut dice))
            .collect();
        println!("round {round}: r{id} dead={is_dead} {}", told.join(", "));
        let begun = Instant::now();
        if !is_dead {
            // Whatever it does not notice by itself before the next round damages another one.
            calls.go_on(BETWEEN);
            signal(pid(&dev.wait_until("three replicas", are_all), id), "KILL");
        }
        dev.start_replica(id);
        calls.go_on(BETWEEN);
        // What the others have in the meantime it has too, whatever it lost.
        calls.pause();
        dev.wait_within(REPAIRED_WITHIN, "a cluster that is whole", are_whole);
        slowest = slowest.max(begun.elapsed());
        calls.resume();
    }
    println!("whole again after {slowest:?} at most");
    calls.end_linearizable(50);
}

#[test]
fn a_replica_whose_files_are_damaged_is_whole_again_soon() {
    rounds(4, 7);
}

#[test]
#[ignore = "takes minutes"]
fn two_hundred_times_the_files_of_a_replica_are_damaged() {
    rounds(200, 1);
}

/// What was answered is on no disk any more: nothing is guessed, and an operator is told.
#[test]
fn all_stop_and_say_why_where_no_disk_has_what_was_answered() {
    let mut dev = Dev::start_with(&["--checkpoint-every", "1000"]);
    for value in ["1", "2", "3"] {
        dev.run(&["kv", "put", "key", value]).ok();
    }
    let status = dev.wait_until("a cluster that is whole", are_whole);
    (0..3).for_each(|id| signal(pid(&status, id), "KILL"));
    let op = status["replicas"][0]["op"].as_u64().unwrap();
    for id in 0..3 {
        let dir = dev.dir().join(format!("r{id}"));
        // A lock is given back when its process is gone, which takes a moment.
        while FileDisk::open(&dir).is_err() {
            std::thread::sleep(Duration::from_millis(10));
        }
        damage_record(&dir, op - 1);
    }
    for id in 0..3 {
        dev.launch_replica(id, &[]);
    }
    for mut replica in dev.started.drain(..) {
        replica.wait();
        let said = replica.end().fails(6);
        let reason = format!("the record of op {} is damaged, and no other replica has it", op - 1);
        assert!(said.contains(&reason), "{said}");
    }
}

#[test]
fn all_go_on_though_each_replica_lost_another_tenth_of_its_files() {
    rounds_of_tenths(2, 3);
}

#[test]
#[ignore = "takes minutes"]
fn fifty_times_each_replica_loses_another_tenth_of_its_files() {
    rounds_of_tenths(50, 1);
}
