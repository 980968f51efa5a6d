//! Trials on real disks that fail, lose power and fill up. They want root, `strace`, `mkfs.ext4`, `mkfs.xfs`, `xfs_io` and
//! loop devices, and change nothing outside their own folders:
//! `cargo test --release -p vsr-cli --test disks -- --ignored --nocapture --test-threads 1`.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a trial tells, and may fail")]

mod support;

use std::fs;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::history::History;
use support::{Dev, are_all, are_whole, pid, replica, signal};

/// How long the cluster may take until all is as it was.
const LEVEL_WITHIN: Duration = Duration::from_secs(30);

/// How long a replica may take until it comes to where its disk fails.
const FAILS_WITHIN: Duration = Duration::from_secs(30);

/// How many answers come between two looks at a replica.
const BETWEEN: usize = 20;

/// What a replica exits with whose disk fails.
const STORAGE: i32 = 8;

const SIGKILL: i32 = 9;

/// All calls are answered before all replicas are looked at.
#[track_caller]
fn become_whole(dev: &Dev, calls: &mut History) {
    calls.pause();
    dev.wait_within(LEVEL_WITHIN, "a cluster that is whole", are_whole);
    calls.resume();
}

/// In each round a replica runs into what `strace` injects at its n-th call, ends so, and starts again.
#[track_caller]
fn inject(injections: impl Iterator<Item = String>, ends: impl Fn(ExitStatus) -> bool) {
    let mut dev = Dev::start_with(&["--checkpoint-every", "200"]);
    let mut calls = History::start(&dev);
    calls.go_on(200);
    for (round, injection) in injections.enumerate() {
        let id = round as u64 % 3;
        signal(pid(&dev.wait_until("three replicas", are_all), id), "KILL");
        let call = injection.split(':').next().unwrap();
        let trace = [&format!("trace={call}")[..], &format!("inject={injection}")];
        dev.launch_replica_under(
            id,
            &["strace", "-f", "-qq", "-o", "/dev/null", "-e", trace[0], "-e", trace[1]],
        );
        let begun = Instant::now();
        let place = dev.started.len() - 1;
        let ended = loop {
            if let Some(ended) = dev.started[place].ended() {
                break ended;
            }
            calls.go_on(BETWEEN);
            assert!(begun.elapsed() < FAILS_WITHIN, "r{id} does not come to {injection}");
        };
        assert!(ends(ended), "{injection}: {ended}");
        calls.go_on(BETWEEN);
        dev.start_replica(id);
        become_whole(&dev, &mut calls);
        println!("{injection}: r{id} ended, all level after {:?}", begun.elapsed());
    }
    calls.end_linearizable(50);
}

#[test]
#[ignore = "wants strace, and takes minutes"]
fn a_hundred_failed_syncs_and_writes_each_end_one_replica_and_nothing_else() {
    let injections = (1..=100)
        .flat_map(|n| ["fdatasync", "pwrite64"].map(|call| format!("{call}:error=EIO:when={n}")));
    inject(injections, |ended| ended.code() == Some(STORAGE));
}

#[test]
#[ignore = "wants strace, and takes minutes"]
fn killed_at_each_of_two_hundred_syncs_a_replica_comes_back() {
    let injections = (1..=200).map(|n| format!("fdatasync:signal=KILL:when={n}"));
    // `strace` ends as what it traced.
    inject(injections, |ended| {
        ended.signal() == Some(SIGKILL) || ended.code() == Some(128 + SIGKILL)
    });
}

#[track_caller]
fn ran(command: &str, words: &[&str]) {
    let ran = Command::new(command).args(words).output().unwrap();
    let told = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{command} {words:?}: {told}");
}

/// A file system in a file, mounted over a folder.
struct Mount {
    image: PathBuf,
    at: PathBuf,
}

impl Mount {
    /// Puts what a folder holds on a file system of its own.
    #[track_caller]
    fn over(folder: &Path, image: PathBuf, kind: &str, mebibytes: u64) -> Self {
        fs::File::create(&image).unwrap().set_len(mebibytes << 20).unwrap();
        ran(&format!("mkfs.{kind}"), &["-q", image.to_str().unwrap()]);
        let aside = folder.with_extension("aside");
        fs::rename(folder, &aside).unwrap();
        fs::create_dir(folder).unwrap();
        let this = Self { image, at: folder.to_owned() };
        this.mount();
        // ext4 brings it along.
        let _ = fs::remove_dir(folder.join("lost+found"));
        ran("cp", &["-a", &format!("{}/.", aside.display()), folder.to_str().unwrap()]);
        ran("sync", &["-f", folder.to_str().unwrap()]);
        fs::remove_dir_all(&aside).unwrap();
        this
    }

    #[track_caller]
    fn mount(&self) {
        ran("mount", &["-o", "loop", self.image.to_str().unwrap(), self.at.to_str().unwrap()]);
    }

    /// The power fails, and comes back: nothing that is not on the disk by now will ever be. Whoever has files there has
    /// `died` before it is mounted again.
    #[track_caller]
    fn lose_power(&self, died: impl FnOnce()) {
        let at = self.at.to_str().unwrap();
        ran("xfs_io", &["-x", "-c", "shutdown", at]);
        died();
        ran("umount", &[at]);
        self.mount();
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.at).output();
    }
}

/// Waits until a replica's process has ended, which a signal ends that has nothing to write.
#[track_caller]
fn wait_for_death(pid: u32) {
    let begun = Instant::now();
    let lives = || {
        let status = fs::read_to_string(format!("/proc/{pid}/stat"));
        status.is_ok_and(|status| !status.contains(") Z "))
    };
    while lives() {
        if begun.elapsed() > Duration::from_secs(2) {
            signal(pid, "KILL");
        }
        assert!(begun.elapsed() < FAILS_WITHIN, "{pid} does not end");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// In each round the file system under one replica, or under all at once, is shut down under load and mounted again.
#[track_caller]
fn lose_power(kind: &str, all: bool, rounds: u64) {
    let images = tempfile::tempdir().unwrap();
    let mut dev = Dev::start_with(&["--checkpoint-every", "300"]);
    dev.stop();
    let folder = if all { dev.dir() } else { dev.dir().join("r1") };
    let mount = Mount::over(&folder, images.path().join("image"), kind, 1024);
    dev.start_again();
    let mut calls = History::start(&dev);
    calls.go_on(500);
    let mut slowest = Duration::ZERO;
    for _ in 0..rounds {
        calls.go_on(BETWEEN);
        let status = dev.wait_until("three replicas", are_all);
        let ids: Vec<u64> = if all { vec![0, 1, 2] } else { vec![1] };
        let pids: Vec<u32> = ids.iter().map(|id| pid(&status, *id)).collect();
        calls.go_on(BETWEEN);
        mount.lose_power(|| pids.into_iter().for_each(wait_for_death));
        let begun = Instant::now();
        for id in ids {
            dev.start_replica(id);
        }
        become_whole(&dev, &mut calls);
        slowest = slowest.max(begun.elapsed());
    }
    println!("{kind}, all {all}: {rounds} rounds, level again after {slowest:?} at most");
    calls.end_linearizable(50);
    dev.started.clear();
    dev.stop();
}

#[test]
#[ignore = "wants root, loop devices and xfs_io, and takes minutes"]
fn fifty_times_one_replica_or_all_lose_power_on_ext4_and_on_xfs() {
    for kind in ["ext4", "xfs"] {
        for all in [false, true] {
            lose_power(kind, all, 50);
        }
    }
}

/// How much is left of a file system before the load fills it.
const LEFT: u64 = 1 << 20;

impl Mount {
    /// Fills all but a little of it. Returns the file that does.
    #[track_caller]
    fn fill(&self) -> PathBuf {
        let ballast = self.at.join("ballast");
        let free = free_bytes(&self.at);
        let file = fs::File::create(&ballast).unwrap();
        std::io::copy(&mut std::io::repeat(1).take(free.saturating_sub(LEFT)), &mut &file).unwrap();
        file.sync_all().unwrap();
        ballast
    }
}

/// How many bytes a file system has left for anybody.
#[track_caller]
fn free_bytes(at: &Path) -> u64 {
    let told = Command::new("df").args(["-B1", "--output=avail"]).arg(at).output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    told.lines().nth(1).unwrap().trim().parse().unwrap()
}

/// The disks of some replicas, one of which `leads` or not, fill up under load, and later have room again.
#[track_caller]
fn fill_up(replicas: u64, full: &[u64], leads: bool) {
    let images = tempfile::tempdir().unwrap();
    let count = replicas.to_string();
    let mut dev = Dev::start_with(&["--replicas", &count]);
    dev.stop();
    let mounts: Vec<Mount> = full
        .iter()
        .map(|id| {
            let image = images.path().join(format!("image{id}"));
            Mount::over(&dev.dir().join(format!("r{id}")), image, "ext4", 64)
        })
        .collect();
    dev.start_again();
    dev.run(&["kv", "put", "kept", "before"]).ok();
    for _ in 0..2 * replicas {
        let (primary, process) = dev.primary();
        if full.contains(&primary) == leads {
            break;
        }
        signal(process, "KILL");
        dev.start_replica(primary);
        dev.wait_until("another primary", |status| {
            status["primary"].is_u64() && status["primary"] != primary
        });
    }
    let (primary, _) = dev.primary();
    assert_eq!(full.contains(&primary), leads);
    let mut calls = History::start(&dev);
    calls.go_on(200);
    let ballast: Vec<PathBuf> = mounts.iter().map(Mount::fill).collect();
    let begun = Instant::now();
    // Where the primary is full nothing comes any more that would fill the others.
    let filled = |status: &Value, id: u64| replica(status, id)["disk"] == "full";
    let is_full = |status: &Value| match leads {
        true => filled(status, primary),
        false => full.iter().all(|id| filled(status, *id)),
    };
    while !is_full(&dev.status()) {
        calls.go_on(500);
        assert!(begun.elapsed() < 4 * FAILS_WITHIN, "{:#}", dev.status());
    }
    calls.pause();
    let full_after = begun.elapsed();
    assert_eq!(dev.run(&["kv", "get", "kept"]).ok(), "before\n", "reads go on");
    let put = dev.run(&["kv", "put", "late", "1", "--deadline", "5s"]);
    let refused = put.status != 0;
    if refused {
        assert_eq!(put.status, 3, "certainly not done: {put:?}");
        assert!(put.err.contains("full") || put.err.contains("room"), "{}", put.err);
    }
    assert_eq!(refused, leads, "who leads has room, or has none");
    for file in ballast {
        fs::remove_file(file).unwrap();
    }
    let freed = Instant::now();
    while dev.run(&["kv", "put", "late", "2", "--deadline", "5s"]).status != 0 {
        assert!(freed.elapsed() < LEVEL_WITHIN, "writes do not resume: {:#}", dev.status());
    }
    let resumed = freed.elapsed();
    calls.resume();
    calls.go_on(500);
    become_whole(&dev, &mut calls);
    assert_eq!(dev.run(&["kv", "get", "kept"]).ok(), "before\n");
    assert_eq!(dev.run(&["kv", "get", "late"]).ok(), "2\n");
    println!(
        "{full:?} of {replicas} full after {full_after:?}, writes refused {refused}, resumed {resumed:?} after there was room"
    );
    calls.end_linearizable(0);
    dev.started.clear();
    dev.stop();
}

#[test]
#[ignore = "wants root and loop devices"]
fn disks_that_fill_up_lose_nothing_and_writes_resume_by_themselves() {
    fill_up(3, &[0], true);
    fill_up(3, &[1], false);
    fill_up(5, &[0, 1], true);
    fill_up(5, &[1, 2], false);
    fill_up(3, &[0, 1, 2], true);
}
