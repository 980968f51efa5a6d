//! How the replicated service of simulated groups reads in stories: operations and answers as text.

use bytes::Bytes;
use vsr_kv::{Answer, KeyValue, Operation, text};

/// A key that no operation of a story names, for changing a state behind the log's back.
const FLIPPED: &[u8] = b"\0flipped";

/// Reads an operation: `put x 1`.
///
/// # Errors
/// What is wrong with it, and how to write it.
pub fn parse_operation(line: &str) -> Result<Bytes, String> {
    let operation = text::parse(line).map_err(|error| format!("`{line}`: {error}"))?;
    operation.encode().map_err(|error| format!("`{line}`: {error}"))
}

/// How an operation reads.
#[must_use]
pub fn show_operation(operation: &Bytes) -> String {
    Operation::decode(operation).map_or_else(|_| "malformed".to_owned(), |it| it.to_string())
}

/// How an answer reads: `ok`, or the bare value.
#[must_use]
pub fn show_reply(reply: &Bytes) -> String {
    Answer::decode(reply).map_or_else(|_| "malformed".to_owned(), |answer| answer.to_string())
}

/// A key's value as text.
#[must_use]
pub fn value(service: &KeyValue, key: &str) -> Option<String> {
    service.get(key.as_bytes()).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

/// Changes the state of one replica behind the log's back, as a bug or bad memory would; a second
/// time changes it back.
pub fn flip(service: &mut KeyValue) {
    let key = Bytes::from_static(FLIPPED);
    let flipped = service.get(FLIPPED).is_some();
    service.execute(&if flipped {
        Operation::Delete { key }
    } else {
        Operation::Put { key, value: Bytes::new() }
    });
}
