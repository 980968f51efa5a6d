//! What is called: keys, values, and the record of what was acknowledged.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use bytes::Bytes;

use crate::error::{Failure, Outcome};

/// How far a caller steps through its keys, a prime: neighbours in time are no neighbours in order.
const STRIDE: u64 = 104_729;

/// A caller's own keys: every so manyth one. Where there are fewer keys than callers, they share.
pub(super) struct Keys {
    first: u64,
    step: u64,
    count: u64,
}

impl Keys {
    pub(super) const fn new(caller: u64, callers: u64, keys: u64) -> Self {
        if keys < callers {
            return Self { first: caller % keys, step: 0, count: 1 };
        }
        let count = (keys - caller).div_ceil(callers);
        Self { first: caller, step: callers, count }
    }

    pub(super) fn get(&self, number: u64) -> Bytes {
        // All of them in turn: a prime stride visits each once, unless it divides their number.
        let stride = if self.count.is_multiple_of(STRIDE) { 1 } else { STRIDE };
        let place = (number % self.count) * (stride % self.count) % self.count;
        key(self.first + self.step * place)
    }
}

pub(super) fn key(number: u64) -> Bytes {
    format!("k{number:08}").into()
}

/// A value that no other put of the run has, as far as its size allows.
pub(super) fn value(caller: u32, number: u64, size: usize) -> Bytes {
    let mut value = format!("{caller}.{number} ").into_bytes();
    value.resize(size, b'x');
    value.into()
}

/// Key and value of each acknowledged put, a line each, written as it is acknowledged.
pub(super) struct Record(File);

impl Record {
    pub(super) fn create(path: &Path) -> Outcome<Self> {
        File::create(path).map(Self).map_err(|error| Failure::file("write", path, &error))
    }

    pub(super) fn write(&mut self, key: &[u8], value: &[u8]) -> Outcome {
        let line = [key, b"\t", value, b"\n"].concat();
        self.0.write_all(&line).map_err(|error: io::Error| {
            Failure::usage(format!("cannot write the record: {error}"), "make room for it")
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_key_has_one_caller_and_every_caller_visits_all_of_its_keys() {
        for (callers, keys) in [(64, 1000), (1, 1), (3, 10), (8, 8), (1, STRIDE), (2, 2 * STRIDE)] {
            let mut seen = BTreeSet::new();
            for caller in 0..callers {
                let own = Keys::new(caller, callers, keys);
                let visited: BTreeSet<Bytes> = (0..own.count).map(|n| own.get(n)).collect();
                assert_eq!(visited.len() as u64, own.count, "{caller} of {callers}, {keys}");
                for key in visited {
                    assert!(seen.insert(key));
                }
            }
            assert_eq!(seen.len() as u64, keys);
        }
    }

    #[test]
    fn fewer_keys_than_callers_are_shared() {
        let keys: BTreeSet<Bytes> = (0..64).map(|caller| Keys::new(caller, 64, 5).get(9)).collect();
        assert_eq!(keys.len(), 5);
    }

    #[test]
    fn a_value_has_its_size_and_its_number() {
        assert_eq!(value(3, 70, 256).len(), 256);
        assert!(value(3, 70, 256).starts_with(b"3.70 x"));
        assert_eq!(value(3, 70, 2).as_ref(), b"3.");
        assert!(value(3, 70, 0).is_empty());
    }
}
