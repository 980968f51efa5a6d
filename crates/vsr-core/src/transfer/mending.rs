//! Mending: what is damaged of the own checkpoint is fetched in the same way as a checkpoint of others (storage.md,
//! "Checkpoints").
//!
//! 1. The store finds a part damaged, or the replica starts without its service's state.
//! 2. The store says which chunks are missing, and they are fetched. Where the state is here, the service goes on
//!    meanwhile; else it takes the state anew.
//! 3. Where nobody has them, who has the state takes another checkpoint; who has not looks for others' first.

use crate::digest::Checksum;
use crate::effect::{Effect, Effects, Fetch, Ignored, Mark};
use crate::replica::Replica;
use crate::transfer::{Stage, Target};
use crate::types::Body;

impl<B: Body> Replica<B> {
    /// Whether the own checkpoint is what serves best: without it there is no state, and most of it is here. Where
    /// nobody has what is damaged of it, another one has to do.
    pub(super) fn is_mended_first(&mut self) -> bool {
        self.transfer.lacks_state && !self.transfer.mended_in_vain && !self.is_left_behind()
    }

    /// Begins to fetch what is damaged of the own checkpoint.
    pub(super) fn try_mend(&mut self, effects: &mut Effects<B>) {
        let idle = matches!(self.transfer.stage, Stage::Idle);
        if !self.transfer.damaged || !idle || self.transfer.resting {
            return;
        }
        let checkpoint = self.checkpoints.latest;
        let target = Target { checkpoint, view: self.log_view };
        let unknown = self.transfer.unknown;
        self.transfer.stage = match unknown {
            true => Stage::manifest_of(checkpoint.id),
            false => Stage::Syncing { target, left: u32::MAX },
        };
        if self.source().is_none() {
            // Nobody to ask was heard yet.
            self.transfer.stage = Stage::Idle;
            return;
        }
        self.transfer.attempt = 0;
        self.transfer.found_again = false;
        self.transfer.unknown = false;
        if unknown {
            return self.ask_for_transfer(effects);
        }
        effects.push(Effect::Fetch(Fetch::Mend { checkpoint }));
    }

    /// Whether the service has no state, and nobody gives what is damaged of its checkpoint.
    pub(crate) fn is_state_lost(&self) -> bool {
        self.transfer.lacks_state && self.transfer.lost
    }

    /// Whether it is the own checkpoint that is fetched.
    pub(super) fn is_mending(&self) -> bool {
        self.transfer.stage.id() == Some(self.checkpoints.latest.id)
    }

    pub(crate) fn on_checkpoint_damaged(&mut self, id: Checksum, effects: &mut Effects<B>) {
        if id != self.checkpoints.latest.id {
            return self.ignore(Ignored::StaleCompletion, effects);
        }
        if self.transfer.damaged {
            // What is found before the store reads all of it is fetched with the rest.
            self.transfer.found_again |= match &self.transfer.stage {
                Stage::Finishing { .. }
                | Stage::Whole { .. }
                | Stage::Restoring { .. }
                | Stage::Restored { .. } => self.is_mending(),
                Stage::Idle
                | Stage::Manifest { .. }
                | Stage::Syncing { .. }
                | Stage::Chunks { .. } => false,
            };
            return self.ignore(Ignored::Repeated, effects);
        }
        self.transfer.damaged = true;
        self.transfer.mended_in_vain = false;
        self.transfer.unknown = false;
        if self.incarnations.len() == 1 {
            self.mend_in_vain();
        }
    }

    /// There is a later checkpoint of its own: what was fetched of the damaged one is of no use.
    pub(crate) fn forget_damage(&mut self, effects: &mut Effects<B>) {
        if !core::mem::take(&mut self.transfer.damaged) {
            return;
        }
        if matches!(self.transfer.stage, Stage::Idle) || self.is_mending() {
            effects.push(Effect::Fetch(Fetch::Abandon));
            self.give_up_transfer(effects);
        }
    }

    /// Nobody has what is damaged of the own checkpoint. Who has the state takes another one; who has not looks for
    /// others' first from here on: to go back and forth would throw away what came of them.
    pub(super) fn mend_in_vain(&mut self) {
        self.transfer.mended_in_vain = true;
        if !self.transfer.lacks_state {
            self.want_checkpoint();
        }
    }

    /// What was damaged of the own checkpoint is here again.
    pub(super) fn end_mending(&mut self, effects: &mut Effects<B>) {
        self.transfer.damaged = core::mem::take(&mut self.transfer.found_again);
        self.transfer.setbacks = 0;
        self.repair.repaired += 1;
        self.mark(Mark::CheckpointMended, effects);
    }

    /// How many checkpoints wait to be mended.
    pub(crate) fn mends_pending(&self) -> usize {
        usize::from(self.transfer.damaged)
    }
}
