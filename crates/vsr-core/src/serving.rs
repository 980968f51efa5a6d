//! Serving what peers fetch by state transfer (paper, section 5.2).
//!
//! 1. A peer wants a page of a manifest, or chunks: the store reads them, a bounded number at a time.
//! 2. What is read is sent. What is not here, or damaged, is denied, so that the peer asks elsewhere.

use crate::digest::Checksum;
use crate::effect::{Effect, Effects, Ignored, Wanted};
use crate::event::Served;
use crate::message::{CHUNKS_WANTED_MAX, Kind};
use crate::replica::Replica;
use crate::types::{Body, ReplicaId, ViewNumber};

/// How many pages and chunks may be read for peers at a time: what two of them may ask for at once.
pub(crate) const SERVING_MAX: usize = 2 * CHUNKS_WANTED_MAX;

impl<B: Body> Replica<B> {
    // Step 1: what a peer wants.

    pub(crate) fn on_get_checkpoint(
        &mut self,
        from: ReplicaId,
        id: Checksum,
        offset: u32,
        effects: &mut Effects<B>,
    ) {
        self.serve_transfer(from, Wanted::Page { id, offset }, effects);
    }

    pub(crate) fn on_get_chunk(
        &mut self,
        from: ReplicaId,
        wanted: &[Checksum],
        effects: &mut Effects<B>,
    ) {
        if wanted.len() > CHUNKS_WANTED_MAX {
            return self.ignore(Ignored::Malformed, effects);
        }
        for digest in wanted {
            self.serve_transfer(from, Wanted::Chunk(*digest), effects);
        }
    }

    fn serve_transfer(&mut self, to: ReplicaId, wanted: Wanted, effects: &mut Effects<B>) {
        if self.transfer.serving >= SERVING_MAX {
            return self.ignore(Ignored::OutOfWindow, effects);
        }
        self.transfer.serving += 1;
        effects.push(Effect::Serve { to, wanted });
    }

    // Step 2: it is read.

    pub(crate) fn on_served(&mut self, to: ReplicaId, answer: Served<B>, effects: &mut Effects<B>) {
        if self.transfer.serving == 0 || !self.is_started() {
            return self.ignore(Ignored::StaleCompletion, effects);
        }
        self.transfer.serving -= 1;
        let kind = match answer {
            // It is in the store, and was not installed: by which view it was committed is not known here.
            Served::Page { checkpoint, .. } if checkpoint.op() > self.commit_min => {
                Kind::NoChunk { name: checkpoint.id }
            }
            Served::Page { checkpoint, length, offset, page } => {
                let committed_by = self.committed_by();
                Kind::Checkpoint { committed_by, checkpoint, length, offset, page }
            }
            Served::Chunk(chunk) => Kind::Chunk { chunk },
            Served::Absent(name) => {
                self.heed_lacking(to);
                Kind::NoChunk { name }
            }
        };
        self.send(to, kind, effects);
    }

    /// A peer lacks a part of a checkpoint which is later than the own one: it may have nothing else to start from.
    /// Where all that it covers is executed here, the next checkpoint has what the peer lacks, or is a later one.
    fn heed_lacking(&mut self, peer: ReplicaId) {
        let Some(index) = self.config.configuration().index(peer) else { return };
        let op = self.checkpoints.op_of(index);
        if op > self.checkpoints.latest.op() && op <= self.commit_min {
            self.want_checkpoint();
        }
    }

    /// In this view, or in an earlier one, all that this replica has executed was committed. Between views
    /// that may have been later than in its log view, if a checkpoint brought it.
    fn committed_by(&self) -> ViewNumber {
        if self.log_view == self.view { self.view } else { ViewNumber(self.view.0 - 1) }
    }
}
