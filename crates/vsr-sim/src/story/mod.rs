//! Stories: short text files that drive a simulated group step by step.
//!
//! ```text
//! > request c1 put x 1
//!   r0 primary v0 op1 commit0
//!     persist op=1
//!     -> *  PREPARE view=0 op=1 commit=0 [c1#1 put x 1]
//!     durable op=1
//! ```
//!
//! The grammar is that of [`Choice`](crate::world::choice::Choice), with the commands that look,
//! expect and repeat in [`Command`].

mod cluster_line;
mod command;
mod expect;
pub(crate) mod forge;
mod runner;

pub use command::{Command, Expectation, Target};
pub use runner::{Fault, StoryError, Transcript, run_story};

use vsr_core::Ignored;

/// Every reason for which a replica ignores an event, as `expect r1 ignored REASON` names it.
pub const REASONS: &[Ignored] = &[
    Ignored::OtherCluster,
    Ignored::OtherEpoch,
    Ignored::Stranger,
    Ignored::OlderView,
    Ignored::NewerView,
    Ignored::OlderIncarnation,
    Ignored::WrongStatus,
    Ignored::NotFromPrimary,
    Ignored::NotPrimary,
    Ignored::Malformed,
    Ignored::OutOfWindow,
    Ignored::WrongChecksum,
    Ignored::Repeated,
    Ignored::NotAsked,
    Ignored::StaleCompletion,
    Ignored::TimerNotArmed,
    Ignored::PrimaryHeard,
    Ignored::InPipeline,
    Ignored::OlderRequest,
    Ignored::RequestGap,
    Ignored::ClientAhead,
    Ignored::NotStarted,
    Ignored::Halted,
    Ignored::HeadUncertain,
    Ignored::Recovering,
];
