//! Sixteen sessions of `vsr kv --jsonl` on few keys, and what they saw.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use serde_json::{Value, json};
use vsr_core::{OpNumber, Outcome};
use vsr_kv::{Answer, Operation};
use vsr_sim::linearizability::{Verdict, check};
use vsr_sim::world::Call;

use super::{Dev, Process};

const SESSIONS: u64 = 16;

/// Calls that are on their way, and those that ended.
pub(crate) struct History {
    process: Process,
    begun: Instant,
    next: u64,
    open: BTreeMap<u64, (u64, Operation)>,
    ended: Vec<Call>,
}

impl History {
    /// A call in each session is on its way.
    pub(crate) fn start(dev: &Dev) -> Self {
        let words = ["kv", "--jsonl", "--sessions", "16", "--deadline", "3s"];
        let process = Process::spawn(&mut dev.client(&words));
        let (open, ended) = (BTreeMap::new(), Vec::new());
        let mut this = Self { process, begun: Instant::now(), next: 0, open, ended };
        this.resume();
        this
    }

    fn now(&self) -> u64 {
        self.begun.elapsed().as_nanos() as u64
    }

    fn call(&mut self) {
        let (line, operation) = call(self.next);
        self.open.insert(self.next, (self.now(), operation));
        self.process.say(format!("{line}\n").as_bytes());
        self.next += 1;
    }

    /// Takes an answer.
    fn answer(&mut self) {
        let answer: Value = serde_json::from_str(&self.process.line()).unwrap();
        let returned = self.now();
        let answered = answer["id"].as_u64().unwrap();
        let (invoked, operation) = self.open.remove(&answered).expect("an answer for each call");
        let ended = Some((returned, outcome(&operation, &answer)));
        let client = (answered % SESSIONS) as u32;
        let operation = operation.encode().unwrap();
        self.ended.push(Call { client, operation, read: None, invoked, ended });
    }

    /// Takes so many answers, and makes a call for each: in each session one at a time, sessions side by side.
    pub(crate) fn go_on(&mut self, answers: usize) {
        for _ in 0..answers {
            self.answer();
            self.call();
        }
    }

    /// Takes the answers that are still to come, and makes no call until it is resumed.
    pub(crate) fn pause(&mut self) {
        while !self.open.is_empty() {
            self.answer();
        }
    }

    /// A call in each session is on its way again.
    pub(crate) fn resume(&mut self) {
        for _ in 0..SESSIONS {
            self.call();
        }
    }

    /// Takes the answers that are still to come. All that clients saw must be linearizable, and so many of a hundred
    /// calls certainly done.
    #[track_caller]
    pub(crate) fn end_linearizable(mut self, done_percent: usize) {
        self.pause();
        assert_eq!(self.process.end().status, 0);
        let is_done = |call: &&Call| matches!(call.ended, Some((_, Outcome::Done { .. })));
        let (done, calls) = (self.ended.iter().filter(is_done).count(), self.ended.len());
        println!("{done} of {calls} calls done");
        assert!(done * 100 >= calls * done_percent, "{done} of {calls} calls done");
        assert_eq!(check(&self.ended), Verdict::Linearizable);
    }
}

/// A call of `vsr kv --jsonl` by its number: few keys, so that sessions meet.
fn call(id: u64) -> (Value, Operation) {
    let session = id % SESSIONS;
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
