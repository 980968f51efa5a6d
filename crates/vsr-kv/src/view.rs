//! Operations as they lie in their bytes: what the service executes, without a copy.

use bytes::Bytes;

use crate::cursor::Cursor;
use crate::limits::{KEY_MAX, OPERATION_MAX, STEPS_MAX, VALUE_MAX};
use crate::operation::{Malformed, Operation, Refused, VERSION};

/// An operation.
#[derive(Clone, Debug)]
pub(crate) enum View<'a> {
    Step(Step<'a>),
    Transaction(Vec<Step<'a>>),
}

/// An operation other than a transaction.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step<'a> {
    Get { key: &'a [u8] },
    Put { key: &'a [u8], value: &'a [u8] },
    Delete { key: &'a [u8] },
    Cas { key: &'a [u8], expect: Option<&'a [u8]>, value: &'a [u8] },
    Append { key: &'a [u8], value: &'a [u8] },
    Increment { key: &'a [u8], by: i64 },
    Range { prefix: &'a [u8], after: Option<&'a [u8]>, limit: u32 },
}

const TRANSACTION: u8 = 8;

impl<'a> View<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor(bytes);
        if bytes.len() > OPERATION_MAX || cursor.u8()? != VERSION {
            return Err(Malformed);
        }
        let view = match cursor.u8()? {
            TRANSACTION => {
                let count = usize::from(cursor.u8()?);
                if count == 0 || count > STEPS_MAX {
                    return Err(Malformed);
                }
                let steps = (0..count).map(|_| {
                    let tag = cursor.u8()?;
                    Step::parse(tag, &mut cursor)
                });
                Self::Transaction(steps.collect::<Result<_, _>>()?)
            }
            tag => Self::Step(Step::parse(tag, &mut cursor)?),
        };
        cursor.end()?;
        Ok(view)
    }

    /// The view of an operation that was not encoded.
    pub(crate) fn of(operation: &'a Operation) -> Result<Self, Refused> {
        operation.encoded_length()?;
        Ok(match operation {
            Operation::Transaction(steps) => {
                Self::Transaction(steps.iter().filter_map(Step::of).collect())
            }
            Operation::Get { .. }
            | Operation::Put { .. }
            | Operation::Delete { .. }
            | Operation::Cas { .. }
            | Operation::Append { .. }
            | Operation::Increment { .. }
            | Operation::Range { .. } => Self::Step(
                Step::of(operation).expect("every operation but a transaction is a step"),
            ),
        })
    }

    pub(crate) fn own(&self, bytes: &Bytes) -> Operation {
        match self {
            Self::Step(step) => step.own(bytes),
            Self::Transaction(steps) => {
                Operation::Transaction(steps.iter().map(|step| step.own(bytes)).collect())
            }
        }
    }
}

impl<'a> Step<'a> {
    fn parse(tag: u8, cursor: &mut Cursor<'a>) -> Result<Self, Malformed> {
        Ok(match tag {
            1 => Self::Get { key: key(cursor)? },
            2 => Self::Put { key: key(cursor)?, value: cursor.long(VALUE_MAX)? },
            3 => Self::Delete { key: key(cursor)? },
            4 => Self::Cas {
                key: key(cursor)?,
                expect: match cursor.bool()? {
                    true => Some(cursor.long(VALUE_MAX)?),
                    false => None,
                },
                value: cursor.long(VALUE_MAX)?,
            },
            5 => Self::Append { key: key(cursor)?, value: cursor.long(VALUE_MAX)? },
            6 => Self::Increment { key: key(cursor)?, by: cursor.i64()? },
            7 => Self::Range {
                prefix: cursor.short(KEY_MAX)?,
                after: match cursor.bool()? {
                    true => Some(key(cursor)?),
                    false => None,
                },
                limit: cursor.u32()?,
            },
            _ => return Err(Malformed),
        })
    }

    fn of(operation: &'a Operation) -> Option<Self> {
        Some(match operation {
            Operation::Get { key } => Self::Get { key },
            Operation::Put { key, value } => Self::Put { key, value },
            Operation::Delete { key } => Self::Delete { key },
            Operation::Cas { key, expect, value } => {
                Self::Cas { key, expect: expect.as_deref(), value }
            }
            Operation::Append { key, value } => Self::Append { key, value },
            Operation::Increment { key, by } => Self::Increment { key, by: *by },
            Operation::Range { prefix, after, limit } => {
                Self::Range { prefix, after: after.as_deref(), limit: *limit }
            }
            Operation::Transaction(_) => return None,
        })
    }

    pub(crate) fn own(self, bytes: &Bytes) -> Operation {
        let own = |slice: &[u8]| bytes.slice_ref(slice);
        match self {
            Self::Get { key } => Operation::Get { key: own(key) },
            Self::Put { key, value } => Operation::Put { key: own(key), value: own(value) },
            Self::Delete { key } => Operation::Delete { key: own(key) },
            Self::Cas { key, expect, value } => {
                Operation::Cas { key: own(key), expect: expect.map(own), value: own(value) }
            }
            Self::Append { key, value } => Operation::Append { key: own(key), value: own(value) },
            Self::Increment { key, by } => Operation::Increment { key: own(key), by },
            Self::Range { prefix, after, limit } => {
                Operation::Range { prefix: own(prefix), after: after.map(own), limit }
            }
        }
    }

    pub(crate) const fn is_read_only(self) -> bool {
        match self {
            Self::Get { .. } | Self::Range { .. } => true,
            Self::Put { .. }
            | Self::Delete { .. }
            | Self::Cas { .. }
            | Self::Append { .. }
            | Self::Increment { .. } => false,
        }
    }
}

fn key<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], Malformed> {
    match cursor.short(KEY_MAX)? {
        [] => Err(Malformed),
        key => Ok(key),
    }
}
