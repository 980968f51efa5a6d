//! Every byte between the processes of a cluster.
//!
//! 1. A frame is a fixed header and a body, each under a CRC-32C of its own; [`FrameReader`] finds
//!    the frames in a stream and never holds more memory than has arrived, and 64 KiB.
//! 2. The body's fields are versioned mirrors of the core's types (module `v1`), so that the core
//!    can change without the wire, and the wire never changes by accident.
//! 3. Operations and replies ride behind the fields as they are: [`decode`] hands them out as
//!    slices of the frame, without a copy.
//! 4. [`decode`] never panics and never allocates more than twice the frame and 64 KiB, whatever the
//!    bytes. What it accepts encodes to the same bytes again: no message has two encodings.
//!
//! `docs/WIRE.md` has the layout, byte by byte. Only the module `codec` names bincode.
#![forbid(unsafe_code)]

mod decode;
mod encode;
mod hello;
mod incoming;

mod frame;
mod limits;
mod reader;

mod bounded;
mod codec;
mod error;
mod rows;
mod v1;

pub use decode::decode;
pub use encode::{
    encode_close, encode_hello, encode_inform, encode_message, encode_reply, encode_request,
    encode_status_reply, encode_status_request,
};
pub use error::{Fault, Malformed, WireError};
pub use frame::{Frame, FrameHeader, FrameKind, HEADER_LENGTH, MAGIC, Sender, VERSION};
pub use hello::{CloseReason, Hello, STARTS_TOLD, Speaker, constants_digest};
pub use incoming::Incoming;
pub use limits::{
    FRAME_LIMIT, FRAME_LIMIT_MAX, GROWTH_STEP, HELLO_LIMIT, REQUESTS_MAX, SUFFIX_MAX, frame_limit,
};
pub use reader::FrameReader;
