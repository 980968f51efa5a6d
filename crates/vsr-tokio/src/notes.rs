//! What a replica notes, as log lines: `info` for what an operator should see, `debug` for what was
//! ignored, `trace` for the rest. What an outsider can cause again and again is limited.

use std::time::Duration;

use tokio::time::Instant;
use vsr_core::{DiskState, HaltReason, Note, ReplicaId};

/// How many limited lines are written in one [`WINDOW`]: enough to see what goes on, too few to fill
/// a disk.
const LINES_PER_WINDOW: u32 = 20;

/// See [`LINES_PER_WINDOW`].
const WINDOW: Duration = Duration::from_secs(1);

/// The log lines of one replica.
#[derive(Debug)]
pub(crate) struct Notes {
    replica: ReplicaId,
    ignored: Limit,
    damaged: Limit,
    refused: Limit,
    implausible: Limit,
}

impl Notes {
    pub(crate) fn new(replica: ReplicaId) -> Self {
        Self {
            replica,
            ignored: Limit::default(),
            damaged: Limit::default(),
            refused: Limit::default(),
            implausible: Limit::default(),
        }
    }

    /// Writes a note of the core down.
    pub(crate) fn note(&mut self, note: Note) {
        let replica = self.replica;
        match note {
            Note::Status { view, status } => {
                tracing::info!(%replica, %view, %status, "status changed");
            }
            Note::Ignored(reason) => {
                if tracing::enabled!(tracing::Level::DEBUG)
                    && let Some(suppressed) = self.ignored.admit()
                {
                    tracing::debug!(%replica, %reason, suppressed, "ignored");
                }
            }
            Note::Mark(mark) => tracing::trace!(%replica, ?mark, "rare path taken"),
            Note::FoundFaulty(op) => {
                if let Some(suppressed) = self.damaged.admit() {
                    tracing::warn!(
                        %replica, %op, suppressed,
                        "a record of the log is damaged: it is fetched from another replica"
                    );
                }
            }
            Note::Repaired(op) => {
                tracing::debug!(%replica, %op, "an entry was fetched from another replica");
            }
            Note::MemoryLost(lost) => tracing::error!(
                %replica, lost,
                "more replicas lost their memory at a time than the group tolerates: what it held is \
                 gone, and it never forms again; format a new cluster"
            ),
            Note::LongPrediction(bytes) => tracing::error!(
                %replica, bytes, most = vsr_core::PREDICTION_BYTES_MAX,
                "the service predicted too long a value, and its entry goes without one: a bug in the service"
            ),
            Note::Implausible { op, reason } => {
                if let Some(suppressed) = self.implausible.admit() {
                    tracing::warn!(
                        %replica, %op, %reason, suppressed,
                        "refused what the primary predicted: compare the clocks of the replicas"
                    );
                }
            }
        }
    }

    /// Says that a part of the checkpoint was found damaged.
    pub(crate) fn damaged_checkpoint(&self) {
        tracing::warn!(
            replica = %self.replica,
            "a part of the checkpoint is damaged: it is fetched from another replica; a group of one needs the next checkpoint"
        );
    }

    /// Says that room has ended, or is back.
    pub(crate) fn disk(&self, state: DiskState) {
        let replica = self.replica;
        match state {
            DiskState::Full => tracing::warn!(
                %replica,
                "the disk is full: new operations are refused until there is room"
            ),
            DiskState::Stalled => tracing::warn!(
                %replica,
                "the disk has not answered for two seconds: a primary hands its role on"
            ),
            DiskState::Ok => tracing::info!(%replica, "the disk takes new operations again"),
        }
    }

    /// Says that a replica has stopped for good.
    pub(crate) fn halted(&self, reason: &HaltReason) {
        let replica = self.replica;
        tracing::error!(%replica, %reason, "halted");
    }

    /// Says that a client tried what it may not do.
    pub(crate) fn refused(&mut self, name: &str, what: &'static str) {
        let replica = self.replica;
        if let Some(suppressed) = self.refused.admit() {
            tracing::info!(%replica, client = name, suppressed, "refused: {what}");
        }
    }

    /// Says that a message of our own fits no frame, which no limit of a cluster allows.
    pub(crate) fn too_large(&mut self, error: &vsr_wire::WireError) {
        let replica = self.replica;
        if let Some(suppressed) = self.refused.admit() {
            tracing::error!(%replica, %error, suppressed, "a message was not sent");
        }
    }
}

/// Admits so many lines in a window.
#[derive(Debug, Default)]
struct Limit {
    since: Option<Instant>,
    admitted: u32,
    suppressed: u64,
}

impl Limit {
    /// How many were suppressed since the last one admitted; `None` if this one is, too.
    fn admit(&mut self) -> Option<u64> {
        let now = Instant::now();
        if self.since.is_none_or(|since| now - since >= WINDOW) {
            self.since = Some(now);
            self.admitted = 0;
        }
        if self.admitted >= LINES_PER_WINDOW {
            self.suppressed += 1;
            return None;
        }
        self.admitted += 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn lines_beyond_the_limit_are_counted_instead_of_written() {
        let mut limit = Limit::default();
        let admitted = (0..100).filter(|_| limit.admit().is_some()).count();
        assert_eq!(admitted, LINES_PER_WINDOW as usize);
        tokio::time::advance(WINDOW).await;
        assert_eq!(limit.admit(), Some(100 - u64::from(LINES_PER_WINDOW)));
    }
}
