//! What a frame may hold at most. Everything that is decoded is bounded by one of these.

use vsr_core::{CHUNK_BYTES_MAX, Constants, HEADERS_MAX, PREDICTION_BYTES_MAX};

use crate::rows::ROW_LENGTH;

/// The most requests in one entry: the most that [`Constants::check`] allows for a batch.
pub const REQUESTS_MAX: usize = 65_536;

/// The most slots in a DO-VIEW-CHANGE and headers in a START-VIEW: the longest pipeline that
/// [`Constants::check`] allows, and one more for the entry below it.
pub const SUFFIX_MAX: usize = 257;

/// The most bytes in the frame of a peer that has not said hello yet. A hello has about 100.
pub const HELLO_LIMIT: u32 = 1024;

/// A reader's buffer starts with at most this, and from there on grows only as bytes arrive: what a
/// header that lies about the length can cost.
pub const GROWTH_STEP: usize = 64 * 1024;

/// Room for a frame's header and the fields of any message without its requests: HEADERS is the
/// largest of them, with [`HEADERS_MAX`] headers of 108 bytes.
const FIELDS_MAX: u32 = 128 * 1024;

const _: () = assert!(HEADERS_MAX * 108 + 1024 <= FIELDS_MAX as usize);

// The fields of a PREPARE, and the value that may have been predicted for it.
const _: () = assert!(PREDICTION_BYTES_MAX + 1024 <= FIELDS_MAX as usize);

/// The frame limit of a cluster with [`Constants::DEFAULT`]: an operation of 1 MiB, a batch beside
/// it, and 176 KiB for everything else.
pub const FRAME_LIMIT: u32 = frame_limit(&Constants::DEFAULT);

/// The most that any cluster's frame limit can be: no frame is ever longer.
pub const FRAME_LIMIT_MAX: u32 = frame_limit(&Constants {
    batch_requests: REQUESTS_MAX as u32,
    batch_bytes: 1 << 20,
    request_bytes: 16 << 20,
    ..Constants::DEFAULT
});

/// The most bytes in one frame of a cluster, its header counted: enough for the largest PREPARE that
/// its constants allow, for a reply as large as the largest operation, and for a chunk of a checkpoint.
///
/// `constants` must have passed [`Constants::check`].
#[must_use]
pub const fn frame_limit(constants: &Constants) -> u32 {
    let largest = constants.batch_requests * ROW_LENGTH as u32
        + constants.batch_bytes
        + constants.request_bytes;
    let chunk = CHUNK_BYTES_MAX as u32;
    FIELDS_MAX + if largest > chunk { largest } else { chunk }
}
