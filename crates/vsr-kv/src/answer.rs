//! What the service answers, and how it is written as bytes.
//!
//! One byte of version, then a tag of one byte and the fields in order, as in operations.
//!
//! | tag | answer | fields |
//! | ---: | --- | --- |
//! | 1 | ok | |
//! | 2 | no value | |
//! | 3 | value | value |
//! | 4, 5 | false, true | |
//! | 6 | number | i64 |
//! | 7 | pairs | more (one byte), count (u32), then each key and value |
//! | 8 | results | count (one byte), then each answer from its tag on |
//! | 9 | aborted | step (one byte), failure (one byte) |
//! | 10 | failed | failure (one byte) |

use core::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use crate::cursor::Cursor;
use crate::limits::{ANSWER_MAX, KEY_MAX, RANGE_PAIRS_MAX, STEPS_MAX, VALUE_MAX};
use crate::operation::{Malformed, VERSION, put_key, put_value};

/// An answer. Which one an operation gets is said at [`Operation`](crate::Operation).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// Done.
    Ok,
    /// The key's value; `None` where the key is not there.
    Value(Option<Bytes>),
    /// Whether it was done.
    Bool(bool),
    /// The number that the key's value is by this operation.
    Number(i64),
    /// Pairs of keys and values, ascending by key.
    Pairs {
        /// The pairs.
        pairs: Vec<(Bytes, Bytes)>,
        /// There are more: ask again for those after the last of these.
        more: bool,
    },
    /// The answers to a transaction's operations, in order; all were done.
    Results(Vec<Self>),
    /// Nothing of the transaction was done.
    Aborted {
        /// The position of the operation that failed, from zero.
        step: u32,
        /// Why it failed.
        failure: Failure,
    },
    /// Nothing was done.
    Failed(Failure),
}

/// Why an operation was not done. It will never be, unless it is asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Failure {
    /// The bytes are no operation of this version.
    Malformed = 1,
    /// A value to be incremented is not a decimal number of 64 bits.
    NotANumber = 2,
    /// A sum exceeds 64 bits.
    Overflow = 3,
    /// A value would exceed [`VALUE_MAX`], or a transaction's answers [`ANSWER_MAX`].
    TooLarge = 4,
    /// A transaction's cas did not find the value that it expects.
    Condition = 5,
}

impl Failure {
    const ALL: [Self; 5] =
        [Self::Malformed, Self::NotANumber, Self::Overflow, Self::TooLarge, Self::Condition];
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "not an operation: upgrade the older side",
            Self::NotANumber => "the value is not a number: put one first",
            Self::Overflow => "the sum exceeds 64 bits",
            Self::TooLarge => "too large: use smaller values, or fewer at once",
            Self::Condition => "the value is not the expected one",
        })
    }
}

impl core::error::Error for Failure {}

impl Answer {
    /// The answer's bytes, at most [`ANSWER_MAX`] of what the service answers. The most frequent
    /// ones are constants and cost no allocation.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Ok => Bytes::from_static(&[VERSION, 1]),
            Self::Value(None) => Bytes::from_static(&[VERSION, 2]),
            Self::Bool(false) => Bytes::from_static(&[VERSION, 4]),
            Self::Bool(true) => Bytes::from_static(&[VERSION, 5]),
            Self::Value(Some(_))
            | Self::Number(_)
            | Self::Pairs { .. }
            | Self::Results(_)
            | Self::Aborted { .. }
            | Self::Failed(_) => {
                let mut out = BytesMut::with_capacity(1 + self.length());
                out.put_u8(VERSION);
                self.put(&mut out);
                out.freeze()
            }
        }
    }

    /// The answer that `bytes` are. Keys and values are slices of them.
    ///
    /// # Errors
    /// [`Malformed`] for anything that [`Answer::encode`] does not make.
    pub fn decode(bytes: &Bytes) -> Result<Self, Malformed> {
        let mut cursor = Cursor(bytes);
        if bytes.len() > ANSWER_MAX || cursor.u8()? != VERSION {
            return Err(Malformed);
        }
        let answer = match cursor.u8()? {
            8 => {
                let count = usize::from(cursor.u8()?);
                if count == 0 || count > STEPS_MAX {
                    return Err(Malformed);
                }
                let results = (0..count).map(|_| {
                    let tag = cursor.u8()?;
                    Self::take(tag, &mut cursor, bytes)
                });
                Self::Results(results.collect::<Result<_, _>>()?)
            }
            9 => Self::Aborted { step: cursor.u8()?.into(), failure: failure(&mut cursor)? },
            tag => Self::take(tag, &mut cursor, bytes)?,
        };
        cursor.end()?;
        Ok(answer)
    }

    /// How many bytes the answer has from its tag on.
    pub(crate) fn length(&self) -> usize {
        1 + match self {
            Self::Ok | Self::Value(None) | Self::Bool(_) => 0,
            Self::Value(Some(value)) => 4 + value.len(),
            Self::Number(_) => 8,
            Self::Pairs { pairs, .. } => {
                let pair = |(key, value): &(Bytes, Bytes)| 6 + key.len() + value.len();
                5 + pairs.iter().map(pair).sum::<usize>()
            }
            Self::Results(results) => 1 + results.iter().map(Self::length).sum::<usize>(),
            Self::Aborted { .. } => 2,
            Self::Failed(_) => 1,
        }
    }

    fn put(&self, out: &mut BytesMut) {
        match self {
            Self::Ok => out.put_u8(1),
            Self::Value(None) => out.put_u8(2),
            Self::Value(Some(value)) => {
                out.put_u8(3);
                put_value(value, out);
            }
            Self::Bool(done) => out.put_u8(4 + u8::from(*done)),
            Self::Number(number) => {
                out.put_u8(6);
                out.put_i64_le(*number);
            }
            Self::Pairs { pairs, more } => {
                out.put_u8(7);
                out.put_u8(u8::from(*more));
                out.put_u32_le(pairs.len() as u32);
                for (key, value) in pairs {
                    put_key(key, out);
                    put_value(value, out);
                }
            }
            Self::Results(results) => {
                out.put_u8(8);
                out.put_u8(results.len() as u8);
                for result in results {
                    result.put(out);
                }
            }
            Self::Aborted { step, failure } => {
                out.put_slice(&[9, *step as u8, *failure as u8]);
            }
            Self::Failed(failure) => out.put_slice(&[10, *failure as u8]),
        }
    }

    /// Takes an answer that is not a transaction's.
    fn take(tag: u8, cursor: &mut Cursor<'_>, bytes: &Bytes) -> Result<Self, Malformed> {
        Ok(match tag {
            1 => Self::Ok,
            2 => Self::Value(None),
            3 => Self::Value(Some(bytes.slice_ref(cursor.long(VALUE_MAX)?))),
            4 => Self::Bool(false),
            5 => Self::Bool(true),
            6 => Self::Number(cursor.i64()?),
            7 => {
                let more = cursor.bool()?;
                let count = cursor.u32()? as usize;
                if count > RANGE_PAIRS_MAX {
                    return Err(Malformed);
                }
                let mut pairs = Vec::new();
                for _ in 0..count {
                    let key = cursor.short(KEY_MAX)?;
                    let value = cursor.long(VALUE_MAX)?;
                    pairs.push((bytes.slice_ref(key), bytes.slice_ref(value)));
                }
                Self::Pairs { pairs, more }
            }
            10 => Self::Failed(failure(cursor)?),
            _ => return Err(Malformed),
        })
    }
}

fn failure(cursor: &mut Cursor<'_>) -> Result<Failure, Malformed> {
    let code = cursor.u8()?;
    Failure::ALL.into_iter().find(|failure| *failure as u8 == code).ok_or(Malformed)
}
