//! What a run leaves behind: a hash that tells two runs apart, and a trace that tools read.

use std::hash::{Hash, Hasher};

use bytes::Bytes;
use vsr_core::{Effect, Event, Summary};

use crate::world::choice::Choice;

/// A hash over every choice and every effect of a run. The same seed has the same hash in every
/// build on every machine; two runs with equal hashes took the same steps.
#[derive(Clone, Debug)]
pub struct TraceHash(u64);

/// An odd number without pattern: the golden ratio's fraction.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

impl TraceHash {
    /// The hash of a run in which nothing happened.
    #[must_use]
    pub const fn new() -> Self {
        Self(MULTIPLIER)
    }

    /// The hash so far.
    #[must_use]
    pub const fn value(&self) -> u64 {
        self.0
    }

    const fn mix(&mut self, word: u64) {
        let product = (self.0 ^ word) as u128 * MULTIPLIER as u128;
        self.0 = (product as u64) ^ ((product >> 64) as u64).rotate_left(17);
    }

    pub(crate) fn choice(&mut self, choice: &Choice) {
        choice.hash(self);
    }

    pub(crate) fn effect(&mut self, replica: usize, effect: &Effect<Bytes>) {
        self.mix(replica as u64);
        effect.hash(self);
    }
}

impl Default for TraceHash {
    fn default() -> Self {
        Self::new()
    }
}

/// Numbers are hashed by value, so that neither the machine's word nor its byte order matters.
impl Hasher for TraceHash {
    fn write(&mut self, bytes: &[u8]) {
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            self.mix(u64::from_le_bytes(word.try_into().expect("a chunk has eight bytes")));
        }
        let rest = words.remainder();
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            self.mix(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, number: u8) {
        self.mix(u64::from(number));
    }

    fn write_u32(&mut self, number: u32) {
        self.mix(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.mix(number);
    }

    fn write_u128(&mut self, number: u128) {
        self.mix(number as u64);
        self.mix((number >> 64) as u64);
    }

    fn write_usize(&mut self, number: usize) {
        self.mix(number as u64);
    }

    fn write_isize(&mut self, number: isize) {
        self.mix(number as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Writes one JSON object a line for each event of the protocol, with the replica's numbers after
/// it: `{"t", "r", "ev", "view", "log_view", "status", "op", "commit", "from", "msg_id"}`.
#[derive(Clone, Debug, Default)]
pub struct Tracer {
    lines: Vec<String>,
    /// What the event was: its name, who sent it and which message it is.
    event: Option<(&'static str, Option<u32>)>,
    message: Option<String>,
}

impl Tracer {
    pub(crate) fn arrival(&mut self, message: String) {
        self.message = Some(message);
    }

    /// A process starts.
    pub(crate) const fn start(&mut self) {
        self.event = Some(("start", None));
    }

    pub(crate) const fn event(&mut self, event: &Event<Bytes>) {
        self.event = Some(match event {
            Event::Request { .. } => ("request", None),
            Event::Message { from, message } => (message.kind.name(), Some(from.0)),
            Event::Timeout(_) => ("timeout", None),
            Event::Written(_) => ("written", None),
            Event::EntriesRead { .. } => ("entries-read", None),
            Event::Applied { .. } => ("applied", None),
            Event::Predicted { .. } => ("predicted", None),
            Event::Checked { .. } => ("checked", None),
            Event::Checkpointed { .. } => ("checkpointed", None),
            Event::Served { .. } => ("served", None),
            Event::Fetched(_) => ("fetched", None),
            Event::Restored { .. } => ("restored", None),
            Event::Operator(_) => ("operator", None),
            Event::Disk(_) => ("disk", None),
            Event::Faulty { .. } => ("faulty", None),
        });
    }

    pub(crate) fn state(&mut self, now: u64, summary: &Summary) {
        let Some((name, from)) = self.event.take() else { return };
        let message = self.message.take();
        let optional = |value: Option<String>| value.unwrap_or_else(|| "null".to_owned());
        self.lines.push(format!(
            "{{\"t\": {now}, \"r\": {}, \"ev\": \"{}\", \"view\": {}, \"log_view\": {}, \
             \"status\": \"{}\", \"op\": {}, \"commit\": {}, \"from\": {}, \"msg_id\": {}}}",
            summary.replica.0,
            name.to_lowercase(),
            summary.view,
            summary.log_view,
            summary.status,
            summary.op,
            summary.commit_min,
            optional(from.map(|from| from.to_string())),
            optional(message.map(|message| format!("\"{message}\""))),
        ));
    }

    /// Takes the lines written so far.
    #[must_use]
    pub fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_depends_on_order_and_content() {
        let hash = |lines: &[&str]| {
            let mut hash = TraceHash::new();
            for line in lines {
                hash.choice(&line.parse().unwrap());
            }
            hash.value()
        };
        assert_eq!(hash(&["crash r0", "heal"]), hash(&["crash r0", "heal"]));
        assert_ne!(hash(&["crash r0", "heal"]), hash(&["heal", "crash r0"]));
        assert_ne!(hash(&["crash r0"]), hash(&["crash r1"]));
    }

    /// A change of this number breaks every seed that was ever reported.
    #[test]
    fn the_hash_of_a_choice_is_for_ever() {
        let mut hash = TraceHash::new();
        hash.choice(&"request c1 put x 1".parse().unwrap());
        assert_eq!(hash.value(), 13_179_343_141_319_521_875);
    }
}
