//! What an operation and its answer may hold at most. All replicas must agree on these: a change is
//! a new version of the encoding.

/// The most bytes in a key; the least is one. More than a file's path has.
pub const KEY_MAX: usize = 4096;

/// The most bytes in a value: with the longest key and the encoding around them, a put of it is an
/// operation of at most [`OPERATION_MAX`], and the answer to a get fits in [`ANSWER_MAX`].
pub const VALUE_MAX: usize = OPERATION_MAX - 2 * KEY_MAX;

/// The most bytes in an encoded operation: what a cluster takes by default.
pub const OPERATION_MAX: usize = 1 << 20;

/// The most bytes in an encoded answer: it travels in a frame that has room for an operation.
pub const ANSWER_MAX: usize = 1 << 20;

/// The most operations in a transaction: what one would look over before committing it.
pub const STEPS_MAX: usize = 64;

/// The most pairs in the answer to one range.
pub const RANGE_PAIRS_MAX: usize = 10_000;

/// The most bytes of keys and values in the answer to one range, unless the first pair alone is
/// larger: then it comes alone, so that every range makes progress.
pub const RANGE_BYTES_MAX: usize = 512 * 1024;

/// The most pairs in a chunk of a checkpoint, which is also the most that a put copies while a
/// checkpoint is being read. Fewer make smaller copies, and less to write for a change here and
/// there; more make a shorter list of chunks.
pub const CHUNK_PAIRS_MAX: usize = 256;

/// The most bytes of pairs in a chunk that has more than one: about what a disk writes at one go,
/// and room for [`CHUNK_PAIRS_MAX`] small pairs. A larger pair is a chunk by itself.
pub const CHUNK_SHARED_BYTES_MAX: usize = 64 * 1024;

// A chunk of the largest pair, with the lengths before its fields, is one that a host takes.
const _: () = assert!(16 + KEY_MAX + VALUE_MAX <= vsr_core::CHUNK_BYTES_MAX);
