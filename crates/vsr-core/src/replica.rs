//! The frame of a replica: its state, and which event goes to which handler.

use core::marker::PhantomData;

use crate::config::Config;
use crate::effect::{Effects, StatusName};
use crate::event::{Event, Stored};
use crate::types::{Body, Epoch, Incarnation, OpNumber, ReplicaId, ViewNumber};

/// A replica: a plain value that events change and that says by effects what is to be done.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Replica<B> {
    config: Config,
    body: PhantomData<B>,
}

/// Where a replica is, for people and tests.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Summary {
    /// The replica.
    pub replica: ReplicaId,
    /// How often it was started.
    pub incarnation: Incarnation,
    /// The epoch of its configuration.
    pub epoch: Epoch,
    /// The view it is in.
    pub view: ViewNumber,
    /// The last view it was normal in.
    pub log_view: ViewNumber,
    /// What it is.
    pub status: StatusName,
    /// The last op of its log.
    pub op: OpNumber,
    /// What it knows to be committed.
    pub commit_max: OpNumber,
    /// What it has executed.
    pub commit_min: OpNumber,
    /// Up to which op its log is durable without a gap.
    pub durable: OpNumber,
    /// How many sessions are open.
    pub sessions: u32,
    /// How many entries of its log it lacks.
    pub missing: u32,
    /// How many entries were repaired from peers since it started.
    pub repaired: u64,
    /// The view's primary.
    pub primary: ReplicaId,
}

impl<B: Body> Replica<B> {
    /// Starts a replica for the first time ever, on a freshly formatted store.
    pub fn new(config: Config, effects: &mut Effects<B>) -> Self {
        let _ = effects;
        Self {
            config,
            body: PhantomData,
        }
    }

    /// Starts a replica on what its store holds.
    pub fn recover(config: Config, stored: Stored, effects: &mut Effects<B>) -> Self {
        let _ = stored;
        Self::new(config, effects)
    }

    /// Takes an event in and appends what is to be done. Never fails, blocks, or panics on what came
    /// from outside.
    pub fn step(&mut self, event: Event<B>, effects: &mut Effects<B>) {
        let _ = (event, effects);
    }

    /// Ends a round of steps: one PREPARE, one PREPARE-OK, one COMMIT for all that the round brought.
    pub fn flush(&mut self, effects: &mut Effects<B>) {
        let _ = effects;
    }

    /// Where the replica is.
    #[must_use]
    pub fn summary(&self) -> Summary {
        Summary {
            replica: self.config.replica(),
            incarnation: Incarnation::ZERO,
            epoch: Epoch::ZERO,
            view: ViewNumber::ZERO,
            log_view: ViewNumber::ZERO,
            status: StatusName::Backup,
            op: OpNumber::ZERO,
            commit_max: OpNumber::ZERO,
            commit_min: OpNumber::ZERO,
            durable: OpNumber::ZERO,
            sessions: 0,
            missing: 0,
            repaired: 0,
            primary: ReplicaId(0),
        }
    }
}
