//! The only place that names bincode's functions: fields to bytes, and back.
//!
//! Fixed-width little-endian integers, enum tags of four bytes, options and bools of one byte;
//! `docs/WIRE.md` has it in full. The limit bounds what one decoding may claim; a list is bounded
//! before that, by [`Bounded`](crate::bounded::Bounded).
#![expect(
    clippy::disallowed_methods,
    reason = "the one place where bincode is called, with the one configuration that has a limit"
)]

use bincode::config::{self, Configuration, Fixint, Limit, LittleEndian};
use bincode::enc::write::Writer;
use bincode::error::{DecodeError, EncodeError};
use bincode::{Decode, Encode};
use bytes::BytesMut;

use crate::error::Malformed;

/// The most bytes that the fields of one message may claim: HEADERS, the largest, has 108 KiB.
const CLAIM_MAX: usize = 256 * 1024;

const CONFIG: Configuration<LittleEndian, Fixint, Limit<CLAIM_MAX>> =
    config::standard().with_little_endian().with_fixed_int_encoding().with_limit::<CLAIM_MAX>();

/// Appends the fields of `value`.
pub(crate) fn put<T: Encode>(value: &T, out: &mut BytesMut) {
    bincode::encode_into_writer(value, Appender(out), CONFIG)
        .expect("the fields of a mirror have an encoding, and memory takes every byte");
}

/// Takes the fields of a `T` from the front of `bytes`.
pub(crate) fn take<T: Decode<()>>(bytes: &mut &[u8]) -> Result<T, Malformed> {
    let (value, used) =
        bincode::decode_from_slice(bytes, CONFIG).map_err(|error| reason(&error))?;
    *bytes = &bytes[used..];
    Ok(value)
}

struct Appender<'a>(&'a mut BytesMut);

impl Writer for Appender<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// What [`Bounded`](crate::bounded::Bounded) says of a list that is too long.
pub(crate) const TOO_MANY: DecodeError = DecodeError::Other("list longer than its limit");

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "bincode's errors are not ours to think of one by one"
)]
fn reason(error: &DecodeError) -> Malformed {
    match error {
        DecodeError::UnexpectedEnd { .. } => Malformed::Short,
        DecodeError::UnexpectedVariant { .. } | DecodeError::InvalidBooleanValue(_) => {
            Malformed::Tag
        }
        DecodeError::Other(_) | DecodeError::LimitExceeded => Malformed::Count,
        _ => Malformed::Value,
    }
}
