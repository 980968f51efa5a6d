//! `vsr kv --jsonl`: one call a line in, one answer a line out.
//!
//! 1. Lines are read as they come and given to their sessions.
//! 2. Each session has one call under way at a time; sessions run side by side.
//! 3. Every line gets exactly one answer: `ok` with the result, `fail` only where the call was
//!    certainly not applied and never will be, `unknown` otherwise.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use vsr_kv::{Answer, OPERATION_MAX, Operation};

use crate::cli::{ClientArgs, ReadPolicy};
use crate::context::Context;
use crate::error::{Failure, Outcome};
use crate::lines::{Line, Lines};
use crate::output::print_line;
use crate::remote::{NoAnswer, Remote};

/// The longest line: a value of the largest operation with every byte escaped.
const LINE_MAX: usize = 8 * OPERATION_MAX;

/// How many calls wait for their sessions at most; reading waits then.
const CALLS_WAITING: usize = 10_000;

pub(crate) async fn run(client: &ClientArgs, sessions: u32, read: &ReadPolicy) -> Outcome {
    let context = Context::find(client.context.as_deref())?;
    let remote = Remote::connect(&context, sessions as usize, client.deadline)?.reading(read);
    let waiting = Arc::new(Semaphore::new(CALLS_WAITING));
    let mut tasks = JoinSet::new();
    let queues: Vec<_> = (0..sessions)
        .map(|_| {
            let (queue, calls) = mpsc::unbounded_channel();
            tasks.spawn(session(remote.clone(), calls, Arc::clone(&waiting)));
            queue
        })
        .collect();
    let mut lines = Lines::stdin(LINE_MAX);
    while let Some(line) = lines.next().await? {
        let Line::Whole(line) = line else {
            let error = format!("a line has at most {LINE_MAX} bytes");
            Reply::failed(Value::Null, error).print()?;
            continue;
        };
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match Call::parse(&line) {
            Ok((call, session)) => {
                let Some(queue) = queues.get(session as usize) else {
                    let error =
                        format!("session {session} is not below {sessions}: see --sessions");
                    Reply::failed(call.id, error).print()?;
                    continue;
                };
                if let Ok(permit) = waiting.acquire().await {
                    permit.forget();
                }
                if queue.send(call).is_err() {
                    // A session ends early only when nobody reads the answers any more.
                    break;
                }
            }
            Err(reply) => reply.print()?,
        }
    }
    drop(queues);
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(|error| Failure::usage(error.to_string(), ""))??;
    }
    Ok(())
}

async fn session(
    remote: Remote,
    mut calls: mpsc::UnboundedReceiver<Call>,
    waiting: Arc<Semaphore>,
) -> Outcome {
    while let Some(call) = calls.recv().await {
        waiting.add_permits(1);
        let answer = remote.call(&call.operation).await;
        Reply::of(call.id, answer).print()?;
    }
    Ok(())
}

/// Reads a transaction: a JSON array of operations.
///
/// # Errors
/// Says what is wrong.
pub(crate) fn transaction(text: &str) -> Result<Operation, String> {
    let steps: Vec<Fields> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let steps = steps.into_iter().map(|step| step.operation(false));
    let operation = Operation::Transaction(steps.collect::<Result<_, _>>()?);
    operation.encode().map_err(|refused| refused.to_string())?;
    Ok(operation)
}

/// A call that can be made.
#[derive(Debug)]
struct Call {
    id: Value,
    operation: Operation,
}

/// A line as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    #[serde(default)]
    id: Value,
    op: String,
    #[serde(default)]
    session: u32,
    key: Option<Text>,
    value: Option<Text>,
    /// Outer `None`: left out; inner `None`: null, the key must not be there.
    #[serde(default, deserialize_with = "present")]
    expect: Option<Option<Text>>,
    by: Option<i64>,
    ops: Option<Vec<Self>>,
}

/// A string, or bytes that are none.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a key or value is a string or {\"base64\": \"...\"}")]
enum Text {
    Plain(String),
    Encoded { base64: String },
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<Text>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl Call {
    /// Reads a line: the call and its session, or the reply that it gets.
    fn parse(line: &[u8]) -> Result<(Self, u32), Reply> {
        let fields: Fields = serde_json::from_slice(line).map_err(|error| {
            let id = serde_json::from_slice::<Value>(line).ok();
            let id = id.and_then(|value| value.get("id").cloned()).unwrap_or_default();
            Reply::failed(id, error.to_string())
        })?;
        let (id, session) = (fields.id.clone(), fields.session);
        let checked = fields.operation(true).and_then(|operation| {
            let encoded = operation.encode().map_err(|refused| refused.to_string());
            encoded.map(|_| operation)
        });
        match checked {
            Ok(operation) => Ok((Self { id, operation }, session)),
            Err(error) => Err(Reply::failed(id, error)),
        }
    }
}

impl Fields {
    fn operation(self, outermost: bool) -> Result<Operation, String> {
        self.check_fields()?;
        let Self { op, key, value, expect, by, ops, .. } = self;
        let key = || bytes(key, &op, "key");
        Ok(match op.as_str() {
            "get" => Operation::Get { key: key()? },
            "put" => Operation::Put { key: key()?, value: bytes(value, &op, "value")? },
            "delete" | "del" => Operation::Delete { key: key()? },
            "cas" => Operation::Cas {
                key: key()?,
                expect: match expect {
                    None => return Err("cas lacks `expect`: the old value, or null".to_owned()),
                    Some(None) => None,
                    Some(expect) => Some(bytes(expect, &op, "expect")?),
                },
                value: bytes(value, &op, "value")?,
            },
            "append" => Operation::Append { key: key()?, value: bytes(value, &op, "value")? },
            "incr" => Operation::Increment { key: key()?, by: by.unwrap_or(1) },
            "txn" if outermost => {
                let steps = ops.ok_or("txn lacks `ops`: a list of operations")?;
                let steps = steps.into_iter().map(|step| step.operation(false));
                Operation::Transaction(steps.collect::<Result<_, _>>()?)
            }
            "txn" => return Err("a transaction within a transaction".to_owned()),
            _ => {
                return Err(format!(
                    "`{op}` is no operation: use get, put, delete, cas, append, incr or txn"
                ));
            }
        })
    }
}

impl Fields {
    /// A field that the operation does not have may be what its writer relied on.
    fn check_fields(&self) -> Result<(), String> {
        let allowed: &[&str] = match self.op.as_str() {
            "get" | "delete" | "del" => &["key"],
            "put" | "append" => &["key", "value"],
            "cas" => &["key", "value", "expect"],
            "incr" => &["key", "by"],
            "txn" => &["ops"],
            _ => return Ok(()),
        };
        let given = [
            ("key", self.key.is_some()),
            ("value", self.value.is_some()),
            ("expect", self.expect.is_some()),
            ("by", self.by.is_some()),
            ("ops", self.ops.is_some()),
        ];
        match given.into_iter().find(|(name, given)| *given && !allowed.contains(name)) {
            Some((name, _)) => Err(format!("{} has no `{name}`: leave it out", self.op)),
            None => Ok(()),
        }
    }
}

fn bytes(text: Option<Text>, op: &str, name: &str) -> Result<Bytes, String> {
    match text.ok_or_else(|| format!("{op} lacks `{name}`"))? {
        Text::Plain(plain) => Ok(plain.into()),
        Text::Encoded { base64 } => {
            let decoded = STANDARD.decode(base64);
            decoded.map(Bytes::from).map_err(|error| format!("`{name}`: {error}"))
        }
    }
}

/// An answer's line.
#[derive(Debug, PartialEq, Serialize)]
struct Reply {
    id: Value,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Reply {
    fn failed(id: Value, error: String) -> Self {
        Self { id, status: "fail", result: None, error: Some(error) }
    }

    fn of(id: Value, answer: Result<Answer, NoAnswer>) -> Self {
        match answer {
            Ok(answer @ (Answer::Aborted { .. } | Answer::Failed(_))) => {
                Self::failed(id, answer.to_string())
            }
            Ok(answer) => Self { id, status: "ok", result: Some(result(&answer)), error: None },
            Err(NoAnswer::NotDone(failure)) => Self::failed(id, failure.message),
            Err(NoAnswer::Unknown(failure)) => {
                Self { id, status: "unknown", result: None, error: Some(failure.message) }
            }
        }
    }

    fn print(&self) -> Outcome {
        let line = serde_json::to_vec(self).map_err(|error| {
            Failure::usage(format!("cannot write an answer: {error}"), "report this")
        })?;
        print_line(&line)
    }
}

fn result(answer: &Answer) -> Value {
    match answer {
        Answer::Ok => "ok".into(),
        Answer::Value(value) => value.as_ref().map_or(Value::Null, text),
        Answer::Bool(done) => (*done).into(),
        Answer::Number(number) => (*number).into(),
        Answer::Pairs { pairs, .. } => {
            pairs.iter().map(|(key, value)| Value::Array(vec![text(key), text(value)])).collect()
        }
        Answer::Results(results) => results.iter().map(result).collect(),
        Answer::Aborted { .. } | Answer::Failed(_) => answer.to_string().into(),
    }
}

fn text(bytes: &Bytes) -> Value {
    match str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => serde_json::json!({ "base64": STANDARD.encode(bytes) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Operation, Reply> {
        Call::parse(line.as_bytes()).map(|(call, _)| call.operation)
    }

    #[test]
    fn every_operation_is_understood() {
        for (line, shell) in [
            (r#"{"id": 1, "op": "get", "key": "k"}"#, "get k"),
            (r#"{"op": "put", "key": "k", "value": "v w", "session": 0}"#, r#"put k "v w""#),
            (r#"{"op": "put", "key": "k", "value": {"base64": "/w=="}}"#, r#"put k "\xff""#),
            (r#"{"op": "delete", "key": "k"}"#, "del k"),
            (r#"{"op": "cas", "key": "k", "expect": null, "value": "v"}"#, "cas k - v"),
            (r#"{"op": "cas", "key": "k", "expect": "o", "value": "v"}"#, "cas k o v"),
            (r#"{"op": "append", "key": "k", "value": ""}"#, r#"append k """#),
            (r#"{"op": "incr", "key": "k", "by": -2}"#, "incr k -2"),
            (
                r#"{"op": "txn", "ops": [{"op": "incr", "key": "k"}, {"op": "get", "key": "k"}]}"#,
                "txn incr k ; get k",
            ),
        ] {
            assert_eq!(parsed(line).unwrap(), vsr_kv::text::parse(shell).unwrap(), "{line}");
        }
    }

    #[test]
    fn a_malformed_line_fails_under_its_own_id_and_says_why() {
        for (line, id, why) in [
            ("nonsense", Value::Null, "expected"),
            (r#"{"id": 7, "op": "put", "key": "k"}"#, 7.into(), "lacks `value`"),
            (r#"{"id": 7, "op": "cas", "key": "k", "value": "v"}"#, 7.into(), "lacks `expect`"),
            (r#"{"id": "x", "op": "jump", "key": "k"}"#, "x".into(), "`jump` is no operation"),
            (r#"{"id": 7, "op": "get", "key": ""}"#, 7.into(), "empty"),
            (r#"{"id": 7, "op": "get", "key": 5}"#, 7.into(), "string"),
            (r#"{"id": 7, "op": "get", "key": {"base64": "?"}}"#, 7.into(), "`key`"),
            (r#"{"id": 7, "op": "get", "kee": "k"}"#, 7.into(), "kee"),
            (
                r#"{"id": 7, "op": "put", "key": "k", "value": "v", "expect": "o"}"#,
                7.into(),
                "put has no `expect`",
            ),
            (r#"{"id": 7, "op": "txn", "ops": [{"op": "txn", "ops": []}]}"#, 7.into(), "within"),
            (r#"{"id": 7, "op": "txn", "ops": []}"#, 7.into(), "1 to"),
        ] {
            let reply = parsed(line).unwrap_err();
            assert_eq!((reply.id, reply.status), (id, "fail"), "{line}");
            let error = reply.error.unwrap();
            assert!(error.contains(why), "{line}: {error}");
        }
    }

    #[test]
    fn results_are_json_and_bytes_that_are_no_text_travel_as_base64() {
        let line = |answer| serde_json::to_string(&Reply::of(7.into(), Ok(answer))).unwrap();
        assert_eq!(line(Answer::Ok), r#"{"id":7,"status":"ok","result":"ok"}"#);
        assert_eq!(line(Answer::Value(None)), r#"{"id":7,"status":"ok","result":null}"#);
        let value = Answer::Value(Some(Bytes::from_static(b"\xff")));
        let expected = r#"{"id":7,"status":"ok","result":{"base64":"/w=="}}"#;
        assert_eq!(line(value), expected);
        let results = Answer::Results(vec![Answer::Number(2), Answer::Bool(false)]);
        assert_eq!(line(results), r#"{"id":7,"status":"ok","result":[2,false]}"#);
    }
}
