//! A trace: one JSON object a line for each event of the protocol, with the replica's numbers after it.

use core::fmt;

use crate::event::Event;
use crate::replica::Summary;
use crate::types::ReplicaId;

/// What an event was, for a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Traced {
    /// Its name; of a message, that of its kind.
    pub event: &'static str,
    /// Who sent the message.
    pub from: Option<ReplicaId>,
}

impl Traced {
    /// A process starts.
    pub const START: Self = Self::named("start");

    const fn named(event: &'static str) -> Self {
        Self { event, from: None }
    }

    /// What an event is.
    #[must_use]
    pub const fn of<B>(event: &Event<B>) -> Self {
        match event {
            Event::Message { from, message } => {
                Self { event: message.kind.name(), from: Some(*from) }
            }
            Event::Request { .. } => Self::named("request"),
            Event::Timeout(_) => Self::named("timeout"),
            Event::Written(_) => Self::named("written"),
            Event::EntriesRead { .. } => Self::named("entries-read"),
            Event::Applied { .. } => Self::named("applied"),
            Event::Predicted { .. } => Self::named("predicted"),
            Event::Checked { .. } => Self::named("checked"),
            Event::Checkpointed { .. } => Self::named("checkpointed"),
            Event::Served { .. } => Self::named("served"),
            Event::Fetched(_) => Self::named("fetched"),
            Event::Restored { .. } => Self::named("restored"),
            Event::NotRestored { .. } => Self::named("not-restored"),
            Event::CheckpointDamaged { .. } => Self::named("checkpoint-damaged"),
            Event::Operator(_) => Self::named("operator"),
            Event::Disk(_) => Self::named("disk"),
            Event::Faulty { .. } => Self::named("faulty"),
        }
    }
}

/// A line of a trace: `{"t", "r", "ev", "view", "log_view", "status", "op", "commit", "from", "msg_id"}`.
#[derive(Clone, Copy, Debug)]
pub struct TraceLine<'a> {
    /// Nanoseconds, since whenever the trace says.
    pub at: u64,
    /// What happened.
    pub traced: Traced,
    /// Which message it was, where messages have names.
    pub message: Option<&'a str>,
    /// The replica after the event.
    pub summary: &'a Summary,
}

impl fmt::Display for TraceLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, traced, message, summary } = self;
        write!(f, "{{\"t\": {at}, \"r\": {}, \"ev\": \"", summary.replica.0)?;
        for letter in traced.event.chars() {
            write!(f, "{}", letter.to_ascii_lowercase())?;
        }
        write!(
            f,
            "\", \"view\": {}, \"log_view\": {}, \"status\": \"{}\", \"op\": {}, \"commit\": {}, \"from\": ",
            summary.view, summary.log_view, summary.status, summary.op, summary.commit_min
        )?;
        match traced.from {
            Some(from) => write!(f, "{}", from.0)?,
            None => f.write_str("null")?,
        }
        match message {
            Some(message) => write!(f, ", \"msg_id\": \"{message}\"}}"),
            None => f.write_str(", \"msg_id\": null}"),
        }
    }
}
