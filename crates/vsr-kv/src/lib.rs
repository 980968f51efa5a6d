//! A key-value service for `vsr-core`: pure, deterministic, no IO, on public interfaces alone.
//!
//! 1. A client makes an [`Operation`] and [encodes](Operation::encode) it.
//! 2. Every replica's [`KeyValue`] executes the bytes and answers with bytes. Bytes that are no
//!    operation get the answer [`Failure::Malformed`], on every replica alike; nothing panics.
//! 3. The client [decodes](Answer::decode) the [`Answer`].
//! 4. A [checkpoint](vsr_core::Service::checkpoint) costs a list of references; what has changed
//!    since the one before is encoded while operations go on.
//!
//! Both have a [text form](crate::text) for shells and stories: `put x 1` answers `ok`, `get x`
//! answers `1`.
//!
//! ```
//! use vsr_kv::{Answer, KeyValue, text};
//!
//! let mut service = KeyValue::new();
//! for (line, answer) in [("put x 1", "ok"), ("incr x 41", "42"), ("get x", "42")] {
//!     let operation = text::parse(line)?;
//!     assert_eq!(service.execute(&operation).to_string(), answer);
//! }
//! # Ok::<(), text::ParseError>(())
//! ```
#![forbid(unsafe_code)]

mod answer;
mod operation;
mod state;
mod tree;
mod leaf;
mod checkpoint;

mod cursor;
mod limits;
pub mod text;
mod view;

pub use answer::{Answer, Failure};
pub use limits::{
    ANSWER_MAX, CHUNK_PAIRS_MAX, CHUNK_SHARED_BYTES_MAX, KEY_MAX, OPERATION_MAX, RANGE_BYTES_MAX,
    RANGE_PAIRS_MAX, STEPS_MAX, VALUE_MAX,
};
pub use operation::{Malformed, Operation, Refused};
pub use state::KeyValue;
