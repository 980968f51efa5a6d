//! The service's state, and how operations change it.

use bytes::Bytes;
use vsr_core::{Checksum, Chunk, Context, Digest, RestoreError, Service};

use crate::answer::{Answer, Failure};
use crate::checkpoint::{self, Frozen};
use crate::leaf::{Pair, Value};
use crate::limits::{ANSWER_MAX, RANGE_BYTES_MAX, RANGE_PAIRS_MAX, VALUE_MAX};
use crate::operation::Operation;
use crate::tree::Tree;
use crate::view::{Step, View};

/// The replicated map. Its digest is kept up to date by every change, so that asking for it costs
/// the same for three keys as for three million.
///
/// A checkpoint shares the pairs with the map until they change. Its chunks are of at most
/// [`CHUNK_PAIRS_MAX`](crate::CHUNK_PAIRS_MAX) neighbouring keys each, and a change copies and
/// writes anew those that it touches: one, or the few that a chunk is cut into or joined from.
///
/// Memory is not bounded here: the map holds whatever clients put.
#[derive(Clone, Debug, Default)]
pub struct KeyValue {
    pairs: Tree,
    /// The sum of all pairs' hashes, modulo 2^128: the order of changes makes no difference.
    sum: u128,
    /// How many bytes the keys and values have together.
    bytes: u64,
}

impl KeyValue {
    /// An empty map.
    #[must_use]
    pub const fn new() -> Self {
        Self { pairs: Tree::new(), sum: 0, bytes: 0 }
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// How many bytes the keys and values have together.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A key's value.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<&Bytes> {
        self.pairs.get(key).map(|value| &value.bytes)
    }

    /// All pairs, ascending by key.
    pub fn iter(&self) -> impl Iterator<Item = (&Bytes, &Bytes)> {
        self.pairs.iter().map(|pair| (&pair.key, &pair.value.bytes))
    }

    /// Executes an operation. One that exceeds a limit gets [`Failure::Malformed`], as its bytes
    /// would.
    pub fn execute(&mut self, operation: &Operation) -> Answer {
        match View::of(operation) {
            Ok(view) => self.execute_view(&view),
            Err(_) => Answer::Failed(Failure::Malformed),
        }
    }

    /// Executes an operation's bytes and returns the answer's.
    pub fn execute_bytes(&mut self, operation: &[u8]) -> Bytes {
        match View::parse(operation) {
            Ok(view) => self.execute_view(&view),
            Err(_) => Answer::Failed(Failure::Malformed),
        }
        .encode()
    }

    fn execute_view(&mut self, view: &View<'_>) -> Answer {
        match view {
            View::Step(step) => self.step(*step).unwrap_or_else(Answer::Failed),
            View::Transaction(steps) => self.transaction(steps),
        }
    }

    /// Executes the steps; at the first that fails, puts everything back.
    fn transaction(&mut self, steps: &[Step<'_>]) -> Answer {
        let mut results = Vec::with_capacity(steps.len());
        // Version, tag and count.
        let mut length = 3;
        let mut undo = Vec::new();
        for (position, step) in (0..).zip(steps) {
            if let Some(key) = step.written_key() {
                undo.push((key, self.get(key).cloned()));
            }
            let failure = match self.step(*step) {
                Ok(Answer::Bool(false)) if step.is_condition() => Failure::Condition,
                Ok(answer) => {
                    length += answer.length();
                    results.push(answer);
                    if length <= ANSWER_MAX {
                        continue;
                    }
                    Failure::TooLarge
                }
                Err(failure) => failure,
            };
            for (key, value) in undo.into_iter().rev() {
                match value {
                    Some(value) => self.put(key, value),
                    None => _ = self.delete(key),
                }
            }
            return Answer::Aborted { step: position, failure };
        }
        Answer::Results(results)
    }

    fn step(&mut self, step: Step<'_>) -> Result<Answer, Failure> {
        match step {
            Step::Get { key } => Ok(Answer::Value(self.get(key).cloned())),
            Step::Put { key, value } => {
                self.put(key, Bytes::copy_from_slice(value));
                Ok(Answer::Ok)
            }
            Step::Delete { key } => Ok(Answer::Bool(self.delete(key))),
            Step::Cas { key, expect, value } => {
                let holds = self.get(key).map(Bytes::as_ref) == expect;
                if holds {
                    self.put(key, Bytes::copy_from_slice(value));
                }
                Ok(Answer::Bool(holds))
            }
            Step::Append { key, value } => self.append(key, value),
            Step::Increment { key, by } => self.increment(key, by),
            Step::Range { prefix, after, limit } => Ok(self.range(prefix, after, limit)),
        }
    }

    fn append(&mut self, key: &[u8], more: &[u8]) -> Result<Answer, Failure> {
        let old = self.get(key).map_or(&[][..], Bytes::as_ref);
        if old.len() + more.len() > VALUE_MAX {
            return Err(Failure::TooLarge);
        }
        let value = [old, more].concat();
        self.put(key, value.into());
        Ok(Answer::Ok)
    }

    fn increment(&mut self, key: &[u8], by: i64) -> Result<Answer, Failure> {
        let old = match self.get(key) {
            Some(value) => number(value).ok_or(Failure::NotANumber)?,
            None => 0,
        };
        let number = old.checked_add(by).ok_or(Failure::Overflow)?;
        self.put(key, number.to_string().into());
        Ok(Answer::Number(number))
    }

    fn range(&self, prefix: &[u8], after: Option<&[u8]>, limit: u32) -> Answer {
        let limit = RANGE_PAIRS_MAX.min(limit as usize);
        let (from, excluded) = match after {
            Some(after) if after >= prefix => (after, true),
            Some(_) | None => (prefix, false),
        };
        let mut pairs = Vec::new();
        let mut bytes = 0;
        let matching =
            self.pairs.from(from, excluded).take_while(|pair| pair.key.starts_with(prefix));
        for Pair { key, value } in matching {
            bytes += key.len() + value.bytes.len();
            let full = bytes > RANGE_BYTES_MAX && !pairs.is_empty();
            if full || pairs.len() == limit {
                return Answer::Pairs { pairs, more: true };
            }
            pairs.push((key.clone(), value.bytes.clone()));
        }
        Answer::Pairs { pairs, more: false }
    }

    fn put(&mut self, key: &[u8], bytes: Bytes) {
        let value = Value::new(key, bytes);
        self.sum = self.sum.wrapping_add(value.hash);
        self.bytes += value.bytes.len() as u64;
        if let Some(held) = self.pairs.put(key, value) {
            self.sum = self.sum.wrapping_sub(held.hash);
            self.bytes -= held.bytes.len() as u64;
        } else {
            self.bytes += key.len() as u64;
        }
    }

    fn delete(&mut self, key: &[u8]) -> bool {
        let Some(value) = self.pairs.remove(key) else {
            return false;
        };
        self.sum = self.sum.wrapping_sub(value.hash);
        self.bytes -= (key.len() + value.bytes.len()) as u64;
        true
    }
}

impl Step<'_> {
    /// The key that this step may change.
    const fn written_key(&self) -> Option<&[u8]> {
        match self {
            Self::Get { .. } | Self::Range { .. } => None,
            Self::Put { key, .. }
            | Self::Delete { key }
            | Self::Cas { key, .. }
            | Self::Append { key, .. }
            | Self::Increment { key, .. } => Some(key),
        }
    }

    /// Whether a false answer aborts the transaction.
    const fn is_condition(&self) -> bool {
        matches!(self, Self::Cas { .. })
    }
}

impl Service<Bytes> for KeyValue {
    fn apply(&mut self, _: Context<'_, Bytes>, operation: &Bytes) -> Bytes {
        self.execute_bytes(operation)
    }

    fn digest(&self) -> Checksum {
        let mut digest = Digest::new();
        digest.write_u64(self.pairs.len() as u64);
        digest.write_u128(self.sum);
        digest.finish()
    }

    /// What cannot be read changes nothing either.
    fn is_read_only(&self, operation: &Bytes) -> bool {
        match View::parse(operation) {
            Ok(View::Step(step)) => step.is_read_only(),
            Ok(View::Transaction(steps)) => steps.iter().all(|step| step.is_read_only()),
            Err(_) => true,
        }
    }

    fn query(&self, operation: &Bytes) -> Option<Bytes> {
        match View::parse(operation) {
            Ok(View::Step(Step::Get { key })) => {
                Some(Answer::Value(self.get(key).cloned()).encode())
            }
            Ok(View::Step(Step::Range { prefix, after, limit })) => {
                Some(self.range(prefix, after, limit).encode())
            }
            Ok(View::Step(_) | View::Transaction(_)) | Err(_) => None,
        }
    }

    fn checkpoint(&self) -> Option<Box<dyn Iterator<Item = Chunk<Bytes>> + Send>> {
        Some(Box::new(Frozen::new(&self.pairs)))
    }

    fn lost(&mut self, chunks: &[Checksum]) {
        self.pairs.forget(&chunks.iter().copied().collect());
    }

    fn restore(&mut self, chunks: &mut dyn Iterator<Item = Bytes>) -> Result<(), RestoreError> {
        let pairs = checkpoint::restore(chunks)?;
        let mut restored = Self::new();
        for Pair { key, value } in pairs.iter() {
            restored.sum = restored.sum.wrapping_add(value.hash);
            restored.bytes += (key.len() + value.bytes.len()) as u64;
        }
        restored.pairs = pairs;
        *self = restored;
        Ok(())
    }
}

/// The number that a value is: an optional sign, then decimal digits.
fn number(value: &[u8]) -> Option<i64> {
    str::from_utf8(value).ok()?.parse().ok()
}
