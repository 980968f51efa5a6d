//! `vsr kv`, `vsr bench` and the simulator, as scripts use them.

#![allow(clippy::unwrap_used, reason = "a test fails where its surroundings do")]

mod support;

use serde_json::Value;
use support::{Dev, run, vsr};

#[test]
fn data_commands_print_the_value_only() {
    let dev = Dev::start();
    let kv = |words: &[&str]| dev.run(&[&["kv"], words].concat());
    assert_eq!(kv(&["put", "a", "1"]).ok(), "ok\n");
    assert_eq!(kv(&["get", "a"]).ok(), "1\n");
    let absent = kv(&["get", "nobody"]);
    assert_eq!((absent.out.as_str(), absent.status), ("", 1));
    assert_eq!(kv(&["cas", "a", "1", "2"]).ok(), "true\n");
    let refused = kv(&["cas", "a", "1", "3"]);
    assert_eq!((refused.out.as_str(), refused.status), ("false\n", 1));
    assert_eq!(kv(&["cas", "b", "-", "new"]).ok(), "true\n");
    assert_eq!(kv(&["incr", "n", "-5"]).ok(), "-5\n");
    assert_eq!(kv(&["append", "a", "x y"]).ok(), "ok\n");
    assert_eq!(kv(&["range", ""]).ok(), "a\t2x y\nb\tnew\nn\t-5\n");
    assert_eq!(kv(&["range", "", "--limit", "1"]).ok(), "a\t2x y\n");
    assert_eq!(kv(&["del", "a"]).ok(), "true\n");
    assert_eq!(kv(&["del", "a"]).status, 1);
    assert!(kv(&["incr", "b"]).fails(1).contains("not a number"));
    assert!(kv(&["put", "", "x"]).fails(2).contains("empty"));

    let txn = r#"[{"op": "cas", "key": "b", "expect": "new", "value": "old"}, {"op": "incr", "key": "n"}]"#;
    let mut command = dev.client(&["kv", "txn", "-"]);
    assert_eq!(run(&mut command, txn.as_bytes()).ok(), "true\n-4\n");
    assert!(run(&mut dev.client(&["kv", "txn", "-"]), txn.as_bytes()).fails(1).contains("aborted"));

    let shell = run(&mut dev.client(&["shell"]), b"get n\nget nobody\nhelp\n");
    assert!(shell.out.starts_with("-4\n"), "{}", shell.out);
    assert_eq!(shell.status, 1);

    // What cannot be written as a line is not silently left out.
    assert_eq!(kv(&["put", "two\tparts", "x"]).ok(), "ok\n");
    let dump = kv(&["dump"]);
    assert_eq!((dump.out.as_str(), dump.status), ("b\told\nn\t-4\n", 1));
    let load = run(&mut dev.client(&["kv", "load", "-"]), b"k\tv\nno tab\nl\tw\n");
    assert!(load.fails(2).contains("line 2: no tab"));
    assert_eq!(kv(&["get", "l"]).ok(), "w\n");
}

#[test]
fn each_line_of_jsonl_gets_one_answer() {
    let dev = Dev::start();
    let lines = [
        (
            r#"{"id": 1, "op": "put", "key": "k", "value": "v"}"#,
            r#"{"id":1,"status":"ok","result":"ok"}"#,
        ),
        (r#"{"id": 2, "op": "get", "key": "k"}"#, r#"{"id":2,"status":"ok","result":"v"}"#),
        (r#"{"id": 3, "op": "get", "key": "x"}"#, r#"{"id":3,"status":"ok","result":null}"#),
        (
            r#"{"id": 4, "op": "cas", "key": "k", "expect": null, "value": "w"}"#,
            r#"{"id":4,"status":"ok","result":false}"#,
        ),
        (
            r#"{"id": 5, "op": "append", "key": "k", "value": "w"}"#,
            r#"{"id":5,"status":"ok","result":"ok"}"#,
        ),
        (r#"{"id": 6, "op": "incr", "key": "n", "by": 7}"#, r#"{"id":6,"status":"ok","result":7}"#),
        (r#"{"id": 7, "op": "delete", "key": "k"}"#, r#"{"id":7,"status":"ok","result":true}"#),
        (
            r#"{"id": 8, "op": "txn", "ops": [{"op": "get", "key": "n"}, {"op": "incr", "key": "n"}]}"#,
            r#"{"id":8,"status":"ok","result":["7",8]}"#,
        ),
    ];
    for (line, answer) in lines {
        let mut command = dev.client(&["kv", "--jsonl"]);
        assert_eq!(run(&mut command, line.as_bytes()).ok().trim_end(), answer);
    }
    let wrong =
        "{\"id\": 9}\nnonsense\n{\"id\": 10, \"op\": \"get\", \"key\": \"k\", \"session\": 1}\n";
    let answers = run(&mut dev.client(&["kv", "--jsonl"]), wrong.as_bytes()).ok();
    let failed: Vec<Value> = answers.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(failed.len(), 3);
    assert!(failed.iter().all(|answer| answer["status"] == "fail" && answer["error"].is_string()));
}

#[test]
fn the_bench_and_the_status_print_the_fields_that_are_promised() {
    let dev = Dev::start();
    let mut words = vec!["bench", "--clients", "4", "--connections", "2", "--ops", "200"];
    words.extend(["--read-ratio", "0.5", "--window", "2", "-o", "json"]);
    let bench: Value = serde_json::from_str(&dev.run(&words).ok()).unwrap();
    assert_eq!((&bench["schema"], &bench["ops"]), (&1.into(), &200.into()));
    assert!((80..=120).contains(&bench["reads"].as_u64().unwrap()), "{bench}");
    for field in [
        "seconds",
        "ops_per_second",
        "errors",
        "unknown",
        "longest_gap_ms",
        "syncs",
        "ops_per_sync",
    ] {
        assert!(bench[field].is_number(), "{field}: {bench}");
    }
    for field in ["p50", "p90", "p99", "p999", "max"] {
        assert!(bench["latency_us"][field].as_u64() > Some(0), "{field}: {bench}");
    }
    assert!(bench["syncs"].as_u64() > Some(0));

    let status = dev.status();
    assert_eq!((&status["schema"], &status["primary"]), (&1.into(), &0.into()));
    assert!(status["cluster"].is_string());
    for replica in status["replicas"].as_array().unwrap() {
        assert_eq!(replica["reachable"], true);
        for field in ["address", "status", "role", "durability"] {
            assert!(replica[field].is_string(), "{field}: {replica}");
        }
        for field in [
            "id",
            "epoch",
            "view",
            "op",
            "commit",
            "applied",
            "checkpoint",
            "faults_repaired",
            "repairs_pending",
            "sessions",
            "pid",
        ] {
            assert!(replica[field].is_u64(), "{field}: {replica}");
        }
        assert!(replica["digest"]["op"].is_u64() && replica["digest"]["hash"].is_string());
    }
    let table = dev.run(&["status"]).ok();
    assert_eq!(table.lines().filter(|line| line.contains("127.0.0.1:")).count(), 3, "{table}");
}

#[test]
fn stories_and_seeds_run_from_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.story");
    let story = |text: &str| {
        std::fs::write(&file, text).unwrap();
        run(vsr().args(["sim", "story"]).arg(&file), b"")
    };
    let good = "cluster 3\nrequest c1 put x 1\nsettle\nexpect reply c1 \"ok\"\n";
    assert!(story(good).ok().contains("> expect reply c1 \"ok\""));
    assert!(story(&good.replace("\"ok\"", "\"no\"")).fails(1).contains("line 4"));
    story("nonsense\n").fails(2);
    story("cluster 3 witness r2\n").fails(3);
    assert!(run(vsr().args(["sim", "story", "--reasons"]), b"").ok().contains("older-view"));

    let seeds = || run(vsr().args("sim run --seeds 1..3 --steps 500 -o json".split(' ')), b"").ok();
    let (first, second): (Value, Value) =
        (serde_json::from_str(&seeds()).unwrap(), serde_json::from_str(&seeds()).unwrap());
    assert_eq!(first["seeds"].as_array().unwrap().len(), 2);
    assert_eq!(first["sum"]["verdict"], "passed");
    assert_eq!(first["sum"]["trace_hash"], second["sum"]["trace_hash"]);
    let trace = folder.path().join("trace");
    run(vsr().args(["sim", "run", "--seed", "1", "--steps", "200", "--trace"]).arg(&trace), b"")
        .ok();
    let trace = std::fs::read_to_string(trace).unwrap();
    assert!(trace.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
}
