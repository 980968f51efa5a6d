//! The replicated service of simulated groups, and how its operations read in stories.

use std::collections::BTreeMap;

use bytes::Bytes;
use vsr_core::{Checksum, Context, Digest, Service};

/// A key-value service whose operations are their own text.
#[derive(Clone, Debug, Default)]
pub struct KeyValues {
    keys: BTreeMap<String, String>,
    flipped: bool,
}

impl KeyValues {
    /// The value of a key.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<String> {
        self.keys.get(key).cloned()
    }

    /// Changes one bit of the state, as a bug or bad memory would.
    pub fn flip(&mut self) {
        self.flipped = !self.flipped;
    }
}

impl Service<Bytes> for KeyValues {
    fn apply(&mut self, _context: Context, operation: &Bytes) -> Bytes {
        let text = String::from_utf8_lossy(operation).into_owned();
        let words: Vec<&str> = text.split(' ').collect();
        let reply = match words.as_slice() {
            ["put", key, value] => {
                self.keys.insert((*key).to_owned(), (*value).to_owned());
                "ok".to_owned()
            }
            ["get", key] => self.keys.get(*key).cloned().unwrap_or_default(),
            _ => "error".to_owned(),
        };
        Bytes::from(reply)
    }

    fn digest(&self) -> Checksum {
        let mut digest = Digest::new();
        for (key, value) in &self.keys {
            digest.write(key.as_bytes());
            digest.write(&[0]);
            digest.write(value.as_bytes());
            digest.write(&[0]);
        }
        digest.write(&[u8::from(self.flipped)]);
        digest.finish()
    }
}

/// Reads an operation: `put x 1`.
///
/// # Errors
/// What is wrong with it.
pub fn parse_operation(text: &str) -> Result<Bytes, String> {
    let known = ["put", "get", "del", "cas", "append", "incr", "range", "txn"];
    match text.split(' ').next() {
        Some(word) if known.contains(&word) => Ok(Bytes::copy_from_slice(text.as_bytes())),
        Some(_) | None => Err(format!("`{text}` is not an operation: write put x 1, or get x")),
    }
}

/// How an operation reads.
#[must_use]
pub fn show_operation(operation: &[u8]) -> String {
    String::from_utf8_lossy(operation).into_owned()
}

/// How a reply reads.
#[must_use]
pub fn show_reply(reply: &[u8]) -> String {
    String::from_utf8_lossy(reply).into_owned()
}
