//! `vsr dev` and its shell.

#![allow(clippy::unwrap_used, reason = "a test fails where its surroundings do")]

mod support;

use std::io::{Read, Write};
use std::path::PathBuf;

use support::{Dev, Process, dev, free_port, run, vsr};

#[test]
fn from_a_pipe_it_prints_exactly_the_answers_and_ends_as_the_first_failing_command() {
    let commands = "\
put a 1
get a
cas a 1 2
cas a 1 3
get nobody
incr n 41
incr n
append a x
# a comment

range \"\"
txn put b \"two words\" ; get b
nonsense
get b
del a
del a
";
    let answers =
        "ok\n1\ntrue\nfalse\n41\n42\nok\na\t2x\nn\t42\nok\ntwo words\ntwo words\ntrue\nfalse\n";
    let mut command = vsr();
    command.args(["dev", "--ephemeral", "--base-port", &free_port().to_string()]);
    let ran = run(&mut command, commands.as_bytes());
    assert_eq!(ran.out, answers, "{}", ran.err);
    // The first to fail was the cas, and not the line that is none.
    assert_eq!(ran.status, 1);
    assert!(ran.err.lines().any(|line| line == "ready"));
    assert!(ran.err.contains("next: "));
}

#[test]
fn run_again_on_the_same_folder_the_data_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("cluster");
    assert_eq!(run(&mut dev(&dir), b"put kept 1\n").ok(), "ok\n");
    assert_eq!(run(&mut dev(&dir), b"get kept\nquit\nget kept\n").ok(), "1\n");
    let other_size = run(dev(&dir).args(["--replicas", "5"]), b"");
    assert!(other_size.fails(2).contains("cluster of 3"));
    for other in [["--durability", "memory"], ["--checkpoint-every", "5m"]] {
        let error = run(dev(&dir).args(other), b"").fails(2);
        assert!(error.contains("keeps what it was made with"), "{error}");
    }
    assert_eq!(run(&mut dev(&dir), b"get kept\n").ok(), "1\n");
}

#[test]
fn a_trace_is_not_written_over_a_file_of_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("cluster");
    assert_eq!(run(&mut dev(&dir), b"put kept 1\n").ok(), "ok\n");
    let mut start = vsr();
    start.args(["start", "--dir"]).arg(dir.join("r0"));
    start.arg("--trace").arg(dir.join("r0").join("log"));
    let error = run(&mut start, b"").fails(2);
    assert!(error.contains("lies in the data directory"), "{error}");
    assert_eq!(run(&mut dev(&dir), b"get kept\n").ok(), "1\n");
}

#[test]
fn checkpoints_can_be_looked_at_and_damage_in_one_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("cluster");
    let puts: String = (0..30).map(|n| format!("put k{n} {n}\n")).collect();
    run(dev(&dir).args(["--checkpoint-every", "4"]), puts.as_bytes()).ok();
    let data = dir.join("r0");
    let inspect = |what: &str| run(vsr().args(["inspect", what, "--dir"]).arg(&data), b"");
    let checkpoints = inspect("checkpoint").ok();
    assert_eq!(checkpoints.matches("a restart begins here").count(), 1, "{checkpoints}");
    let sessions = inspect("sessions").ok();
    assert!(sessions.starts_with("session 0@1 client "), "{sessions}");
    inspect("verify").ok();
    // Behind the head of a pack, the first record.
    let mut files = std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().path());
    let is_pack = |file: &PathBuf| file.display().to_string().contains("/pack-");
    let pack = files.find(is_pack).unwrap();
    let mut bytes = std::fs::read(&pack).unwrap();
    bytes[4096 + 30] ^= 1;
    std::fs::write(&pack, bytes).unwrap();
    assert_eq!(inspect("verify").status, 6);
}

#[test]
fn a_single_replica_is_a_cluster_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = dev(&folder.path().join("cluster"));
    assert_eq!(run(command.args(["--replicas", "1"]), b"put a 1\nget a\n").ok(), "ok\n1\n");
}

#[test]
fn a_folder_of_something_else_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("thesis.txt"), "mine").unwrap();
    let error = run(&mut dev(folder.path()), b"").fails(2);
    assert!(error.contains("not empty") && error.contains("next: "), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn no_replica_outlives_a_dev_that_is_killed() {
    let dev = Dev::start();
    let status = dev.status();
    dev.process.signal("KILL");
    for id in 0..3 {
        let address = support::replica(&status, id)["address"].as_str().unwrap().to_owned();
        let deadline = std::time::Instant::now() + support::PATIENCE;
        while std::net::UdpSocket::bind(&address).is_err() {
            assert!(std::time::Instant::now() < deadline, "replica {id} is still there");
        }
    }
}

#[test]
fn a_second_dev_on_the_same_folder_is_refused_as_the_folder_is_in_use() {
    let first = Dev::start();
    let error = run(&mut dev(&first.dir()), b"").fails(9);
    assert!(error.contains("next: "), "{error}");
}

#[test]
fn it_names_the_line_that_starts_a_dead_replica_again_and_that_line_does() {
    let mut dev = Dev::start();
    let (primary, pid) = dev.primary();
    support::signal(pid, "KILL");
    dev.process.wait_for(&format!("replica {primary} (pid {pid}) ended: signal 9"));
    let line = dev.process.wait_for("vsr start --dir ");
    assert!(line.trim_end().ends_with(&format!("r{primary}")), "{line}");
    assert_eq!(dev.run(&["kv", "put", "after", "death"]).ok(), "ok\n");
    let unreachable = support::replica(&dev.status(), primary).clone();
    assert_eq!(unreachable["reachable"], false);
    assert!(unreachable["next_step"].as_str().unwrap().contains("vsr start --dir"));

    let mut again = vsr();
    again.args(line.split_whitespace().skip(1));
    let mut replica = Process::spawn(&mut again);
    replica.wait_for("ready");
    dev.wait_until("the restarted one to catch up", support::are_level);
    // Asked to stop, it stops in good order.
    replica.signal("TERM");
    assert_eq!(replica.end().status, 0);
}

#[test]
fn the_admin_port_says_how_the_replica_is() {
    let mut dev = Dev::start();
    let (primary, pid) = dev.primary();
    support::signal(pid, "KILL");
    let address = format!("127.0.0.1:{}", free_port());
    let mut command = vsr();
    let trace = dev.dir().join("trace");
    command.args([
        "start",
        "--admin",
        &address,
        "--keep-checkpoints",
        "3",
        "--transfer-rate",
        "8MiB",
    ]);
    command.arg("--trace").arg(&trace).arg("--dir");
    let mut replica = Process::spawn(command.arg(dev.dir().join(format!("r{primary}"))));
    replica.wait_for("ready");
    dev.wait_until("the restarted one to catch up", support::are_level);
    let get = |path: &str| {
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: replica\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    // The trace is written beside the event loop, and pings come five times a second.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let events = loop {
        let lines = std::fs::read_to_string(&trace).unwrap();
        let whole = lines.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let events: Vec<serde_json::Value> =
            whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        if events.iter().any(|event| event["ev"] == "ping" && event["from"].is_u64()) {
            break events;
        }
        assert!(std::time::Instant::now() < deadline, "no ping in {events:?}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    assert_eq!((&events[0]["ev"], &events[0]["r"]), (&"start".into(), &primary.into()));
    for key in ["t", "view", "log_view", "status", "op", "commit", "msg_id"] {
        assert!(events.iter().all(|event| event.get(key).is_some()), "{key}");
    }
    for path in ["/livez", "/readyz"] {
        let answer = get(path);
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("ok\n"), "{answer}");
    }
    let answer = get("/status");
    let (_, document) = answer.split_once("\r\n\r\n").unwrap();
    let status: serde_json::Value = serde_json::from_str(document).unwrap();
    assert_eq!(status["id"], primary);
    let metrics = get("/metrics");
    for line in ["vsr_normal 1", "vsr_syncs_total ", "# EOF"] {
        assert!(metrics.lines().any(|found| found.starts_with(line)), "{line}: {metrics}");
    }
    assert!(get("/elsewhere").starts_with("HTTP/1.1 404 "));
    // The port of one that runs is taken, and then the replica does not start.
    let data = dev.dir().join(format!("r{primary}"));
    let second = run(vsr().args(["start", "--admin", &address, "--dir"]).arg(data), b"");
    assert!(second.fails(2).contains("--admin"));
    dev.started.push(replica);
}
