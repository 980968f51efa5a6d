//! Exit statuses, and the errors that go with them.

#![allow(clippy::unwrap_used, reason = "a test fails where its surroundings do")]

mod support;

use std::path::Path;
use std::process::Command;

use support::{Dev, Process, free_port, run, vsr};

fn words(line: &str) -> Command {
    let mut command = vsr();
    command.args(line.split_whitespace());
    command
}

#[test]
fn what_a_later_version_does_is_not_supported_and_exits_3() {
    for line in [
        "member list",
        "member add --force 3",
        "primary step-down",
        "snapshot save file",
        "recover --dir d --from host:1",
        "doctor",
        "config show",
        "kv watch a --from 3",
        "kv --read lease get a",
        "start --dir d --transport tcp",
        "format --dir d --cluster 67e55044-10b1-426f-9247-bb680e5fe0c8 --replica 0 --peers 0=a:1 --witness 0",
        "sim view trace",
    ] {
        let error = run(&mut words(line), b"").fails(3);
        assert!(error.contains("not supported in this version"), "{line}: {error}");
    }
}

#[test]
fn usage_exits_2_and_says_what_to_do() {
    let empty = tempfile::tempdir().unwrap();
    for line in [
        "",
        "frobnicate",
        "kv",
        "kv put only-a-key",
        "kv get a",
        "kv get a --deadline 5",
        "kv --context no/such/file get a",
        "kv --sessions 4 get a",
        "bench --read-ratio 2",
        "bench --ops 0",
        "dev --replicas 0",
        "dev --replicas 8",
        "start --dir no-such-directory",
        "start --dir d --transfer-rate 1KiB",
        "start --dir d --keep-checkpoints 0",
        "start --dir d --keep-checkpoints 9",
        "dev --checkpoint-every 0",
        "dev --checkpoint-every soon",
        "dev --checkpoint-every 0s",
        "dev --checkpoint-every 1000,2000",
        "kv get a --read stale=5",
        "kv get a --read causal=x",
        "start --dir .",
        "format --dir d --cluster nonsense --replica 0 --peers 0=a:1",
        "format --dir d --cluster 67e55044-10b1-426f-9247-bb680e5fe0c8 --replica 3 --peers 0=a:1",
        "cert show no-such-file",
        "cert client mallory!! --ca no-such --dir d",
        "sim run --seeds 5..5",
        "sim story no-such-file",
        "inspect log --dir .",
        "kv txn no-such-file",
    ] {
        let error = run(words(line).current_dir(empty.path()), b"").fails(2);
        let next = ["next: ", "--help", "Usage", "`vsr "];
        assert!(next.iter().any(|next| error.contains(next)), "{line}: {error}");
    }
    let left: Vec<_> = std::fs::read_dir(empty.path()).unwrap().flatten().collect();
    assert!(left.iter().all(|entry| entry.file_name() == "lock"), "{left:?}");
}

#[test]
fn a_cluster_that_is_not_there_exits_3() {
    let dev = Dev::start();
    let dir = dev.dir();
    let folder = dev.folder.path().to_owned();
    let mut process = dev.process;
    process.end_input();
    assert_eq!(process.end().status, 0);
    let client = |line: &str| run(words(line).current_dir(&folder), b"");
    for line in
        ["kv --deadline 400ms put a 1", "kv --deadline 400ms get a", "status --deadline 400ms"]
    {
        let error = client(line).fails(3);
        assert!(error.contains("next: "), "{error}");
    }
    let bytes = b"{\"id\": 1, \"op\": \"get\", \"key\": \"a\"}\n";
    let answers = run(words("kv --jsonl --deadline 400ms").current_dir(&folder), bytes).ok();
    assert!(answers.contains("\"status\":\"fail\""), "{answers}");
    damaged_and_in_use(&dir);
}

/// Of a store at rest: what is damaged exits 6, what is used by another 9, what is formatted is not
/// formatted again.
fn damaged_and_in_use(dir: &Path) {
    let data = dir.join("r0");
    let on = |line: &str| run(words(line).arg("--dir").arg(&data), b"");
    let whole = on("inspect verify");
    assert_eq!(whole.status, 0, "{}", whole.err);
    assert!(on("inspect superblock").ok().contains("replica      0"));
    let log = on("inspect log").ok();
    assert!(log.starts_with("op 1 "), "{log}");
    assert!(on("inspect op 1").ok().contains("registers"));
    assert_eq!(on("inspect op 999999").fails(1).lines().count(), 2);
    let format = "format --cluster 67e55044-10b1-426f-9247-bb680e5fe0c8 --replica 0 --peers 0=a:1";
    assert!(on(format).fails(2).contains("already"));

    let mut holder = Process::spawn(words("start").arg("--dir").arg(&data));
    holder.wait_for("ready");
    assert!(on("start").fails(9).contains("next: "));
    holder.signal("TERM");
    assert_eq!(holder.end().status, 0);

    let superblock = data.join("superblock");
    let length = std::fs::metadata(&superblock).unwrap().len() as usize;
    std::fs::write(&superblock, vec![0xa5; length]).unwrap();
    assert!(!on("start").fails(6).is_empty());
    assert!(!on("inspect verify").fails(6).is_empty());
}

#[test]
fn who_is_not_whom_the_cluster_trusts_exits_5() {
    let (ours, theirs) = (Dev::start(), Dev::start());
    assert_eq!(ours.run(&["kv", "put", "a", "1"]).ok(), "ok\n");

    // A client with another cluster's certificate, who claims to be of that cluster.
    let file = |dev: &Dev| std::fs::read_to_string(dev.dir().join("client.toml")).unwrap();
    let (our_file, their_file) = (file(&ours), file(&theirs));
    let addresses = &our_file[our_file.find("[replicas]").unwrap()..];
    let identity = &their_file[..their_file.find("[replicas]").unwrap()];
    let mixed = theirs.dir().join("mixed.toml");
    std::fs::write(&mixed, format!("{identity}{addresses}")).unwrap();
    let stranger = |line: &str| run(words(line).arg("--context").arg(&mixed), b"");
    let error = stranger("kv --deadline 1500ms get a").fails(5);
    assert!(error.contains("certificate") && error.contains("next: "), "{error}");
    stranger("status --deadline 1500ms").fails(5);

    // A client that may only read.
    let client = ours.folder.path().join("reader");
    let mut issue = words("cert client reader --role read-only");
    issue.arg("--ca").arg(ours.dir().join("ca")).arg("--dir").arg(&client);
    issue.args(["--peers", "0=127.0.0.1:1"]);
    run(&mut issue, b"").ok();
    let text = std::fs::read_to_string(client.join("client.toml")).unwrap();
    let text = format!("{}{addresses}", &text[..text.find("[replicas]").unwrap()]);
    std::fs::write(client.join("client.toml"), text).unwrap();
    let reader =
        |line: &str| run(words(line).arg("--context").arg(client.join("client.toml")), b"");
    assert_eq!(reader("kv get a").ok(), "1\n");
    assert!(reader("kv put a 2").fails(5).contains("does not allow"));
    let shown = run(words("cert show").arg(client.join("reader.pem")), b"").ok();
    assert!(shown.contains("/client/reader?role=read-only"), "{shown}");

    // A replica with the certificate of another one.
    let (first, second) = (ours.dir().join("r0/tls"), ours.dir().join("r1/tls"));
    let (_, pid) = ours.primary();
    support::signal(pid, "TERM");
    let gone = |status: &serde_json::Value| support::replica(status, 0)["reachable"] == false;
    ours.wait_until("replica 0 to stop", gone);
    for name in ["node.pem", "node.key"] {
        std::fs::copy(second.join(name), first.join(name)).unwrap();
    }
    let error = run(words("start").arg("--dir").arg(ours.dir().join("r0")), b"").fails(5);
    assert!(error.contains("replica"), "{error}");
    assert_eq!(ours.run(&["kv", "get", "a"]).ok(), "1\n", "the cluster goes on");
}

#[test]
fn a_cluster_made_by_hand_works_as_one_made_by_dev() {
    let folder = tempfile::tempdir().unwrap();
    let here = |line: &str| {
        let mut command = words(line);
        command.current_dir(folder.path());
        command
    };
    let cluster = run(&mut here("cert ca --dir ca"), b"").ok();
    let peers: Vec<String> = (0..3).map(|id| format!("{id}=127.0.0.1:{}", free_port())).collect();
    let peers = peers.join(",");
    let mut replicas = Vec::new();
    for id in 0..3 {
        let cluster = cluster.trim();
        let line = format!("format --dir d{id} --cluster {cluster} --replica {id} --peers {peers}");
        assert_eq!(run(&mut here(&line), b"").ok(), "ok\n");
        let line = format!("cert node {id} --ca ca --dir d{id}");
        assert_eq!(run(&mut here(&line), b"").ok(), "ok\n");
        replicas.push(Process::spawn(&mut here(&format!("start --dir d{id}"))));
    }
    for replica in &mut replicas {
        replica.wait_for("ready: replica");
    }
    let line = format!("cert client app --ca ca --dir app --peers {peers}");
    assert_eq!(run(&mut here(&line), b"").ok(), "ok\n");
    let kv = |line: &str| run(&mut here(&format!("kv --context app/client.toml {line}")), b"");
    assert_eq!(kv("put a 1").ok(), "ok\n");
    assert_eq!(kv("get a").ok(), "1\n");
    // The port of one that runs is taken.
    let taken = peers.split(',').next().unwrap().split_once('=').unwrap().1;
    let line =
        format!("format --dir d9 --cluster {} --replica 0 --peers 0={taken}", cluster.trim());
    run(&mut here(&line), b"").ok();
    run(&mut here("cert node 0 --ca ca --dir d9"), b"").ok();
    assert!(run(&mut here("start --dir d9"), b"").fails(2).contains("cannot listen"));
}

/// A pipe that nobody reads.
fn closed_pipe() -> std::io::PipeWriter {
    std::io::pipe().unwrap().1
}

#[test]
fn help_names_every_command_and_hides_what_is_not_there_yet() {
    let help = run(&mut words("--help"), b"").ok();
    for command in [
        "demo",
        "dev",
        "format",
        "start",
        "kv",
        "shell",
        "status",
        "bench",
        "cert",
        "inspect",
        "sim",
        "completion",
        "version",
    ] {
        assert!(help.lines().any(|line| line.trim_start().starts_with(command)), "{command}");
        run(&mut words(&format!("{command} --help")), b"").ok();
    }
    assert!(!help.contains("member"), "{help}");
    assert!(run(&mut words("completion bash"), b"").ok().contains("complete"));
    // A reader that has seen enough is no bug, and no news.
    let mut closed = vsr();
    closed.args(["completion", "bash"]).stdout(closed_pipe());
    let ended = closed.output().unwrap();
    assert_eq!((ended.status.code(), ended.stderr.as_slice()), (Some(2), &b""[..]));
    assert!(run(&mut words("version --verbose"), b"").ok().contains("wire version"));
}
