//! What a replica holds in memory beside its log and its client-table, each with its bound
//! (protocol.md 5.14, S21).

use crate::commit::APPLYING_MAX;
use crate::message::{CHUNKS_WANTED_MAX, WANTED_MAX};
use crate::outbox::{UNWRITTEN_MAX, memory_of_largest};
use crate::prediction::QUESTIONS_MAX;
use crate::reads::{READ_BYTES_MAX, READS_MAX};
use crate::repair::SERVE_MAX;
use crate::replica::{BODIES_IN_MEMORY, Replica};
use crate::serving::SERVING_MAX;
use crate::session::QUEUED_BATCHES_MAX;
use crate::status::Status;

use crate::types::Body;

/// How much there is of something, and how much there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// What is counted, in words.
    pub what: &'static str,
    /// How much there is.
    pub used: u64,
    /// How much there may be.
    pub limit: u64,
}

impl<B: Body> Replica<B> {
    /// What is bounded, for metrics and tests: `used` never exceeds `limit`.
    #[must_use]
    pub fn usage(&self) -> [Usage; 15] {
        let constants = self.config.constants();
        let (queue, queued) = match &self.status {
            Status::Primary(primary) => (primary.queue.len(), primary.queued),
            Status::Backup(_)
            | Status::ViewChange(_)
            | Status::RecoveringHead(_)
            | Status::Recovering(_)
            | Status::Halted(_) => (0, 0),
        };
        let batch_bytes = QUEUED_BATCHES_MAX * constants.batch_bytes as usize;
        // A single operation may be larger than a batch.
        let queued_max = batch_bytes.max(constants.request_bytes as usize);
        let largest = memory_of_largest(constants);
        let usage = |what, used: usize, limit: usize| Usage {
            what,
            used: used as u64,
            limit: limit as u64,
        };
        [
            usage(
                "requests that wait",
                queue,
                QUEUED_BATCHES_MAX * constants.batch_requests as usize,
            ),
            usage("bytes of requests that wait", queued, queued_max),
            usage("reads that wait", self.reads.len(), READS_MAX),
            usage(
                "bytes of reads that wait",
                self.reads.bytes(),
                READ_BYTES_MAX.max(constants.request_bytes as usize),
            ),
            usage("entries with the service", self.applying.len(), APPLYING_MAX),
            usage(
                "bytes on their way to the disk",
                self.outbox.unwritten(),
                UNWRITTEN_MAX + largest,
            ),
            // Beside what is on its way: the latest entries, and as much again for the service, the
            // pipeline, what one read brings, and what repairs bring ahead of their turn.
            usage(
                "bytes of entries in memory",
                self.log.cached().saturating_sub(self.outbox.unwritten()),
                2 * BODIES_IN_MEMORY + (constants.pipeline as usize + 2) * largest,
            ),
            usage(
                "requests of the open entry",
                self.open_requests(),
                constants.batch_requests as usize,
            ),
            usage("entries being judged", self.with_service.check, constants.pipeline as usize),
            usage("values asked for", self.with_service.predict, QUESTIONS_MAX),
            usage("entries asked for", self.repair.wanted(), WANTED_MAX),
            usage("entries that peers wait for", self.repair.served(), SERVE_MAX),
            usage("chunks asked for", self.transfer.wanted(), CHUNKS_WANTED_MAX),
            usage("chunks that peers wait for", self.transfer.serving, SERVING_MAX),
            usage(
                "entries in the log",
                (self.log.op().0 - self.log.root().op.0) as usize,
                constants.log_slots as usize - 1,
            ),
        ]
    }
}
