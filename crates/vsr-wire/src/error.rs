//! What can be wrong with bytes from outside, whose fault it is, and what to do about it.

use thiserror::Error;

use crate::frame::{FrameKind, VERSION};
use crate::hello::CloseReason;

/// Bytes that are not a message. After any of these the stream is out of step: close the connection
/// with [`WireError::close_reason`]; a peer dials again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WireError {
    /// The first bytes are not a frame's.
    #[error("not a frame of this protocol{}: close the connection", .0.map_or_else(String::new, |what| format!(" (this looks like {what})")))]
    NotAFrame(
        /// What they look like, if that is known.
        Option<&'static str>,
    ),
    /// A frame of a version that this build does not speak.
    #[error("frame version {theirs}, but this build speaks version {VERSION}: {}", older_or_newer(*.theirs))]
    Version {
        /// The frame's version.
        theirs: u16,
    },
    /// The header's checksum is wrong: the bytes were damaged on the way.
    #[error("frame header damaged: close the connection and dial again")]
    HeaderDamaged,
    /// The body's checksum is wrong: the bytes were damaged on the way.
    #[error("frame body damaged: close the connection and dial again")]
    BodyDamaged,
    /// Bytes that must be zero are not.
    #[error(
        "reserved bytes of the frame header are not zero: a fault in the sender, close the connection"
    )]
    Reserved,
    /// A kind that this version does not have.
    #[error("unknown frame kind {0}: a fault in the sender, close the connection")]
    UnknownKind(u16),
    /// A replica sent what only clients send, or a client what only replicas send.
    #[error("{kind} from the wrong kind of sender: close the connection")]
    WrongSender {
        /// The frame's kind.
        kind: FrameKind,
    },
    /// The frame is longer than the receiver takes. Nothing was allocated for it.
    #[error(
        "a frame of {length} bytes exceeds the limit of {limit}: send less at once, or raise the limit on both sides"
    )]
    TooLarge {
        /// The frame's length, header counted.
        length: u64,
        /// The receiver's limit.
        limit: u32,
    },
    /// The stream ended within a frame.
    #[error("the stream ended {missing} bytes before the end of a frame: dial again")]
    Cut {
        /// How many bytes are known to be missing, at least.
        missing: u64,
    },
    /// The frame is intact, but its body is not a message of its kind.
    #[error("{kind} malformed ({problem}): a fault in the sender, close the connection")]
    Malformed {
        /// The frame's kind.
        kind: FrameKind,
        /// What is wrong.
        problem: Malformed,
    },
}

/// Why an intact body is not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Malformed {
    /// The body ends within a field.
    #[error("the body ends within a field")]
    Short,
    /// Bytes follow the last field.
    #[error("bytes follow the last field")]
    Trailing,
    /// A tag of an enum, an option or a bool, or a fixed value, is none of those there are.
    #[error("a tag has a value it cannot have")]
    Tag,
    /// A list is longer than its limit.
    #[error("a list is longer than its limit")]
    Count,
    /// The requests are not as many, or not as long, as the entry's header states.
    #[error("the requests are not what the entry's header states")]
    Requests,
    /// A field's value has no meaning.
    #[error("a field has a value without a meaning")]
    Value,
}

/// Whose fault bad bytes are, and so who can mend it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// Not a process of this system: nothing to mend. Log it, and no more than now and then.
    Stranger,
    /// The network: dialling again mends it.
    Network,
    /// A sender of another release or with other limits: the operator mends it.
    Operator,
    /// The sender's code: a bug to be reported.
    Sender,
}

impl WireError {
    /// Whose fault it is.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::NotAFrame(_) => Fault::Stranger,
            Self::HeaderDamaged | Self::BodyDamaged | Self::Cut { .. } => Fault::Network,
            Self::Version { .. } | Self::TooLarge { .. } => Fault::Operator,
            Self::Reserved
            | Self::UnknownKind(_)
            | Self::WrongSender { .. }
            | Self::Malformed { .. } => Fault::Sender,
        }
    }

    /// What to tell the other side when closing the connection.
    #[must_use]
    pub const fn close_reason(&self) -> CloseReason {
        match self {
            Self::NotAFrame(_) | Self::Reserved | Self::UnknownKind(_) | Self::Malformed { .. } => {
                CloseReason::Malformed
            }
            Self::HeaderDamaged | Self::BodyDamaged | Self::Cut { .. } => CloseReason::Damaged,
            Self::Version { .. } => CloseReason::WrongVersion,
            Self::TooLarge { .. } => CloseReason::TooLarge,
            Self::WrongSender { .. } => CloseReason::WrongSender,
        }
    }
}

fn older_or_newer(theirs: u16) -> &'static str {
    if theirs < VERSION { "upgrade the sender" } else { "upgrade this process" }
}
