//! A list that cannot be made to allocate: its count is checked against a limit, and against the
//! bytes that are there, before anything is reserved.

use bincode::de::read::Reader;
use bincode::de::{BorrowDecoder, Decoder};
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{BorrowDecode, Decode, Encode};

use crate::codec::TOO_MANY;

/// The fewest bytes an element can be encoded in. Never zero: elements without bytes would make a
/// count of any size free.
pub(crate) trait Least {
    const BYTES: usize;
}

/// At most `MAX` elements. On the wire a count of four bytes, then the elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bounded<T, const MAX: usize>(pub(crate) Vec<T>);

impl<T, const MAX: usize> Bounded<T, MAX> {
    /// The elements, as the core has them.
    pub(crate) fn into_items<C: From<T>>(self) -> Vec<C> {
        self.0.into_iter().map(C::from).collect()
    }
}

impl<T: Encode, const MAX: usize> Encode for Bounded<T, MAX> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        let count = u32::try_from(self.0.len()).map_err(|_| EncodeError::Other("list too long"))?;
        count.encode(encoder)?;
        self.0.iter().try_for_each(|element| element.encode(encoder))
    }
}

impl<Context, T: Decode<Context> + Least, const MAX: usize> Decode<Context> for Bounded<T, MAX> {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        const { assert!(T::BYTES > 0) };
        let count = u32::decode(decoder)? as usize;
        if count > MAX {
            return Err(TOO_MANY);
        }
        let least = count * T::BYTES;
        if decoder.reader().peek_read(least).is_none() {
            return Err(DecodeError::UnexpectedEnd { additional: least });
        }
        let mut elements = Vec::with_capacity(count);
        for _ in 0..count {
            elements.push(T::decode(decoder)?);
        }
        Ok(Self(elements))
    }
}

/// The derived mirrors ask for this one too; nothing here borrows.
impl<'de, Context, T: Decode<Context> + Least, const MAX: usize> BorrowDecode<'de, Context>
    for Bounded<T, MAX>
{
    fn borrow_decode<D: BorrowDecoder<'de, Context = Context>>(
        decoder: &mut D,
    ) -> Result<Self, DecodeError> {
        Self::decode(decoder)
    }
}
