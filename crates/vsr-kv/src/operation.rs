//! What can be asked of the service, and how it is written as bytes.
//!
//! One byte of version, then a tag of one byte and the fields in order. Numbers are little-endian,
//! keys follow a length of two bytes, values one of four, an option follows a byte 0 or 1.
//!
//! | tag | operation | fields |
//! | ---: | --- | --- |
//! | 1 | get | key |
//! | 2 | put | key, value |
//! | 3 | delete | key |
//! | 4 | cas | key, expected value (option), value |
//! | 5 | append | key, value |
//! | 6 | increment | key, by (i64) |
//! | 7 | range | prefix, after (option), limit (u32) |
//! | 8 | transaction | count (one byte), then each operation from its tag on |

use core::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use crate::limits::{KEY_MAX, OPERATION_MAX, STEPS_MAX, VALUE_MAX};
use crate::view::View;

/// The version of the encoding of operations and answers.
pub(crate) const VERSION: u8 = 1;

/// An operation. Keys have 1 to [`KEY_MAX`] bytes, values at most [`VALUE_MAX`], both of any content.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Answers the key's value, or none.
    Get {
        /// The key.
        key: Bytes,
    },
    /// Gives the key a value, whatever it had; answers ok.
    Put {
        /// The key.
        key: Bytes,
        /// Its new value.
        value: Bytes,
    },
    /// Takes the key away; answers whether it was there.
    Delete {
        /// The key.
        key: Bytes,
    },
    /// Gives the key a value if it has the expected one; answers whether it did.
    Cas {
        /// The key.
        key: Bytes,
        /// The value it must have; `None`: it must not be there.
        expect: Option<Bytes>,
        /// Its new value.
        value: Bytes,
    },
    /// Adds bytes to the end of the key's value, which is empty where the key is not there; answers
    /// ok, or [`Failure::TooLarge`](crate::Failure::TooLarge).
    Append {
        /// The key.
        key: Bytes,
        /// What to add.
        value: Bytes,
    },
    /// Adds to the key's value, a decimal number, zero where the key is not there; answers the sum,
    /// or a failure where the value is no number or the sum exceeds 64 bits.
    Increment {
        /// The key.
        key: Bytes,
        /// What to add.
        by: i64,
    },
    /// Answers the pairs whose keys begin with a prefix, ascending, as many as the limits allow.
    Range {
        /// What the keys begin with; may be empty.
        prefix: Bytes,
        /// Only keys greater than this one: the last key of the answer before.
        after: Option<Bytes>,
        /// At most this many pairs, and at most [`RANGE_PAIRS_MAX`](crate::RANGE_PAIRS_MAX).
        limit: u32,
    },
    /// 1 to [`STEPS_MAX`] operations, none of them a transaction, executed in order with nothing in
    /// between; each sees what those before it did.
    ///
    /// All or nothing: where a cas does not find what it expects, or any operation fails, none of
    /// them changes anything, and the answer is
    /// [`Answer::Aborted`](crate::Answer::Aborted) with the position of that operation. Else the
    /// answer is the list of their answers. A get or delete of a key that is not there is no failure.
    Transaction(Vec<Self>),
}

/// Bytes that are no operation, or no answer, of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an operation or answer of this version: upgrade the older side")
    }
}

impl core::error::Error for Malformed {}

/// Why an operation was refused before it was sent. All are the caller's to mend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refused {
    /// A key without bytes.
    KeyEmpty,
    /// A key of this many bytes.
    KeyTooLong(usize),
    /// A value of this many bytes.
    ValueTooLong(usize),
    /// All together has this many bytes.
    OperationTooLong(usize),
    /// A transaction of this many operations.
    Steps(usize),
    /// A transaction within a transaction.
    Nested,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyEmpty => f.write_str("the key is empty: a key has at least one byte"),
            Self::KeyTooLong(length) => {
                write!(f, "a key of {length} bytes: use at most {KEY_MAX}")
            }
            Self::ValueTooLong(length) => {
                write!(f, "a value of {length} bytes: use at most {VALUE_MAX}")
            }
            Self::OperationTooLong(length) => {
                write!(f, "an operation of {length} bytes: use at most {OPERATION_MAX}")
            }
            Self::Steps(count) => {
                write!(f, "a transaction of {count} operations: use 1 to {STEPS_MAX}")
            }
            Self::Nested => f.write_str("a transaction within a transaction: list all in one"),
        }
    }
}

impl core::error::Error for Refused {}

impl Operation {
    /// The operation's bytes, to be submitted to the cluster.
    ///
    /// # Errors
    /// [`Refused`] where it exceeds a limit.
    pub fn encode(&self) -> Result<Bytes, Refused> {
        let length = self.encoded_length()?;
        let mut out = BytesMut::with_capacity(length);
        out.put_u8(VERSION);
        self.put(&mut out);
        debug_assert_eq!(out.len(), length, "check counts what put writes");
        Ok(out.freeze())
    }

    /// The operation that `bytes` are. Keys and values are slices of them.
    ///
    /// # Errors
    /// [`Malformed`] for anything that [`Operation::encode`] does not make.
    pub fn decode(bytes: &Bytes) -> Result<Self, Malformed> {
        Ok(View::parse(bytes)?.own(bytes))
    }

    /// Checks the limits, and counts the bytes that [`Operation::encode`] makes.
    pub(crate) fn encoded_length(&self) -> Result<usize, Refused> {
        let length = 1 + self.check(false)?;
        if length > OPERATION_MAX {
            return Err(Refused::OperationTooLong(length));
        }
        Ok(length)
    }

    /// Checks the limits, and counts the bytes from the tag on.
    fn check(&self, within: bool) -> Result<usize, Refused> {
        let key_length = |key: &Bytes| match key.len() {
            0 => Err(Refused::KeyEmpty),
            length if length > KEY_MAX => Err(Refused::KeyTooLong(length)),
            length => Ok(2 + length),
        };
        let value_length = |value: &Bytes| match value.len() {
            length if length > VALUE_MAX => Err(Refused::ValueTooLong(length)),
            length => Ok(4 + length),
        };
        let fields = match self {
            Self::Get { key } | Self::Delete { key } => key_length(key)?,
            Self::Put { key, value } | Self::Append { key, value } => {
                key_length(key)? + value_length(value)?
            }
            Self::Cas { key, expect, value } => {
                let expect = expect.as_ref().map_or(Ok(0), value_length)?;
                key_length(key)? + 1 + expect + value_length(value)?
            }
            Self::Increment { key, .. } => key_length(key)? + 8,
            Self::Range { prefix, after, .. } => {
                if prefix.len() > KEY_MAX {
                    return Err(Refused::KeyTooLong(prefix.len()));
                }
                2 + prefix.len() + 1 + after.as_ref().map_or(Ok(0), key_length)? + 4
            }
            Self::Transaction(_) if within => return Err(Refused::Nested),
            Self::Transaction(steps) => {
                if steps.is_empty() || steps.len() > STEPS_MAX {
                    return Err(Refused::Steps(steps.len()));
                }
                steps.iter().try_fold(1, |sum, step| Ok(sum + step.check(true)?))?
            }
        };
        Ok(1 + fields)
    }

    /// Appends the operation from its tag on. Its limits have been checked.
    fn put(&self, out: &mut BytesMut) {
        out.put_u8(self.tag());
        match self {
            Self::Get { key } | Self::Delete { key } => put_key(key, out),
            Self::Put { key, value } | Self::Append { key, value } => {
                put_key(key, out);
                put_value(value, out);
            }
            Self::Cas { key, expect, value } => {
                put_key(key, out);
                put_option(expect.as_ref(), put_value, out);
                put_value(value, out);
            }
            Self::Increment { key, by } => {
                put_key(key, out);
                out.put_i64_le(*by);
            }
            Self::Range { prefix, after, limit } => {
                put_key(prefix, out);
                put_option(after.as_ref(), put_key, out);
                out.put_u32_le(*limit);
            }
            Self::Transaction(steps) => {
                out.put_u8(steps.len() as u8);
                for step in steps {
                    step.put(out);
                }
            }
        }
    }

    const fn tag(&self) -> u8 {
        match self {
            Self::Get { .. } => 1,
            Self::Put { .. } => 2,
            Self::Delete { .. } => 3,
            Self::Cas { .. } => 4,
            Self::Append { .. } => 5,
            Self::Increment { .. } => 6,
            Self::Range { .. } => 7,
            Self::Transaction(_) => 8,
        }
    }
}

/// Appends a key after its length, at most [`KEY_MAX`].
pub(crate) fn put_key(key: &Bytes, out: &mut BytesMut) {
    out.put_u16_le(key.len() as u16);
    out.put_slice(key);
}

/// Appends a value after its length, at most [`VALUE_MAX`].
pub(crate) fn put_value(value: &Bytes, out: &mut BytesMut) {
    out.put_u32_le(value.len() as u32);
    out.put_slice(value);
}

fn put_option(field: Option<&Bytes>, put: fn(&Bytes, &mut BytesMut), out: &mut BytesMut) {
    out.put_u8(u8::from(field.is_some()));
    if let Some(field) = field {
        put(field, out);
    }
}
