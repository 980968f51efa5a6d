//! What clients see of a cluster whose replicas are killed is linearizable.

#![allow(clippy::unwrap_used, reason = "a test fails where its surroundings do")]

mod support;

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use serde_json::{Value, json};
use support::{Dev, Process, are_level, signal};
use vsr_core::{OpNumber, Outcome};
use vsr_kv::{Answer, Operation};
use vsr_sim::linearizability::{Verdict, check};
use vsr_sim::world::Call;

const SESSIONS: u32 = 16;

/// How many calls are made in all.
const CALLS: u64 = 4_000;

/// After so many answers the primary is killed, and after so many more it is started again.
const KILL_EVERY: u64 = 1_000;
const DEAD_FOR: u64 = 300;

/// A call of `vsr kv --jsonl` by its number: few keys, so that sessions meet.
fn call(id: u64) -> (Value, Operation) {
    let session = id % u64::from(SESSIONS);
    // Far from a multiple of the sessions and keys, so that all meet all.
    let dice = id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let key = format!("k{}", dice % 4);
    let counter = format!("n{}", dice % 2);
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    let value = id.to_string();
    let line = |op: &str, key: &str| json!({"id": id, "session": session, "op": op, "key": key});
    match dice / 4 % 7 {
        0 | 1 => (line("get", &key), Operation::Get { key: bytes(&key) }),
        2 => {
            let mut line = line("put", &key);
            line["value"] = value.as_str().into();
            (line, Operation::Put { key: bytes(&key), value: bytes(&value) })
        }
        3 => {
            let mut line = line("append", &key);
            line["value"] = "+".into();
            (line, Operation::Append { key: bytes(&key), value: bytes("+") })
        }
        4 => (line("delete", &key), Operation::Delete { key: bytes(&key) }),
        5 => {
            let mut line = line("cas", &key);
            line["value"] = value.as_str().into();
            line["expect"] = Value::Null;
            let operation = Operation::Cas { key: bytes(&key), expect: None, value: bytes(&value) };
            (line, operation)
        }
        _ => (line("incr", &counter), Operation::Increment { key: bytes(&counter), by: 1 }),
    }
}

/// What an answer's line says of a call.
fn outcome(operation: &Operation, answer: &Value) -> Outcome<Bytes> {
    let result = &answer["result"];
    match answer["status"].as_str().unwrap() {
        "unknown" => Outcome::Unknown,
        "fail" => Outcome::NotDone(None),
        _ => {
            let text = |value: &Value| value.as_str().map(|text| text.to_owned().into());
            let answer = match operation {
                Operation::Get { .. } => Answer::Value(text(result)),
                Operation::Increment { .. } => Answer::Number(result.as_i64().unwrap()),
                Operation::Delete { .. } | Operation::Cas { .. } => {
                    Answer::Bool(result.as_bool().unwrap())
                }
                Operation::Put { .. } | Operation::Append { .. } => Answer::Ok,
                Operation::Range { .. } | Operation::Transaction(_) => unreachable!("not called"),
            };
            Outcome::Done { op: OpNumber(1), body: Some(answer.encode()) }
        }
    }
}

#[test]
fn sixteen_sessions_see_one_store_through_the_deaths_of_primaries() {
    let mut dev = Dev::start();
    let words = ["kv", "--jsonl", "--sessions", "16", "--deadline", "3s"];
    let mut calls = Process::spawn(&mut dev.client(&words));
    let begun = Instant::now();
    let now = || u64::try_from(begun.elapsed().as_nanos()).unwrap();
    let mut open: BTreeMap<u64, (u64, Operation)> = BTreeMap::new();
    let mut history = Vec::new();
    let mut dead = None;
    // In each session one call at a time, sessions side by side.
    for id in 0..CALLS + u64::from(SESSIONS) {
        if id < CALLS {
            let (line, operation) = call(id);
            open.insert(id, (now(), operation));
            calls.say(format!("{line}\n").as_bytes());
        }
        if id < u64::from(SESSIONS) {
            continue;
        }
        let answer: Value = serde_json::from_str(&calls.line()).unwrap();
        let returned = now();
        let answered = answer["id"].as_u64().unwrap();
        let (invoked, operation) = open.remove(&answered).expect("an answer for each call");
        let ended = Some((returned, outcome(&operation, &answer)));
        let client = (answered % u64::from(SESSIONS)) as u32;
        let operation = operation.encode().unwrap();
        history.push(Call { client, operation, read: None, invoked, ended });
        let answers = history.len() as u64;
        if answers % KILL_EVERY == KILL_EVERY / 2 {
            let (primary, pid) = dev.primary();
            signal(pid, "KILL");
            dead = Some(primary);
        } else if answers % KILL_EVERY == KILL_EVERY / 2 + DEAD_FOR
            && let Some(replica) = dead.take()
        {
            dev.start_replica(replica);
        }
    }
    assert_eq!(calls.end().status, 0);
    assert!(open.is_empty());
    let done = history.iter().filter(|call| matches!(call.ended, Some((_, Outcome::Done { .. }))));
    assert!(done.count() as u64 > CALLS / 2, "most calls are answered");
    assert_eq!(check(&history), Verdict::Linearizable);
    dev.wait_until("equal states", are_level);
}
