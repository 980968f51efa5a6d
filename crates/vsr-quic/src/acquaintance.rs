//! Who is let in as another replica: one with the store that it came with at first, and not with an earlier copy of it.

use std::sync::Arc;

use tokio::sync::OnceCell;
use vsr_core::{Incarnation, ReplicaId, StoreId};
use vsr_storage::{Acquaintance, DiskError, KnownStores, Start};
use vsr_wire::{CloseReason, Hello, Speaker};

use crate::greeting::Ended;

/// Remembers which store each peer came with at first, and which of its starts was heard last.
pub trait Acquaintances: std::fmt::Debug + Send + Sync {
    /// Compares a peer's hello with what is known of it. It may block for a sync, once in the life of a group.
    ///
    /// # Errors
    /// What the disk says.
    fn meet(
        &self,
        replica: ReplicaId,
        store: StoreId,
        start: Start,
    ) -> Result<Acquaintance, DiskError>;

    /// The first message of a start has come. It may block for a sync, once for each start.
    ///
    /// # Errors
    /// What the disk says.
    fn hear(
        &self,
        replica: ReplicaId,
        store: StoreId,
        start: Start,
    ) -> Result<Acquaintance, DiskError>;
}

impl<F: vsr_storage::File> Acquaintances for KnownStores<F> {
    fn meet(
        &self,
        replica: ReplicaId,
        store: StoreId,
        start: Start,
    ) -> Result<Acquaintance, DiskError> {
        Self::meet(self, replica, store, start)
    }

    fn hear(
        &self,
        replica: ReplicaId,
        store: StoreId,
        start: Start,
    ) -> Result<Acquaintance, DiskError> {
        Self::hear(self, replica, store, start)
    }
}

/// What a peer says of itself, and who remembers what it said before.
#[derive(Debug)]
pub(crate) struct Introduced {
    known: Option<Arc<dyn Acquaintances>>,
    peer: ReplicaId,
    store: StoreId,
    start: Start,
    heard: OnceCell<()>,
}

impl Introduced {
    /// Nothing where a client speaks.
    pub(crate) fn new(known: Option<Arc<dyn Acquaintances>>, theirs: &Hello) -> Option<Self> {
        let Speaker::Replica { id, incarnation, starts, store } = theirs.speaker else {
            return None;
        };
        let start = Start { incarnation, drawn: starts };
        Some(Self { known, peer: id, store, start, heard: OnceCell::new() })
    }

    pub(crate) const fn peer(&self) -> ReplicaId {
        self.peer
    }

    pub(crate) const fn incarnation(&self) -> Incarnation {
        self.start.incarnation
    }

    /// Lets a peer in by its hello. That tells nothing yet of whether its start counts.
    pub(crate) async fn meet(&self) -> Result<(), Ended> {
        self.compare(|known, peer, store, start| known.meet(peer, store, start)).await
    }

    /// Lets a peer's messages in. Only the first takes time.
    pub(crate) async fn hear(&self) -> Result<(), Ended> {
        let hear = || self.compare(|known, peer, store, start| known.hear(peer, store, start));
        self.heard.get_or_try_init(hear).await.copied()
    }

    async fn compare<C>(&self, compare: C) -> Result<(), Ended>
    where
        C: FnOnce(&dyn Acquaintances, ReplicaId, StoreId, Start) -> Result<Acquaintance, DiskError>
            + Send
            + 'static,
    {
        let Some(known) = self.known.clone() else { return Ok(()) };
        let Self { peer, store, start, .. } = *self;
        let compared =
            tokio::task::spawn_blocking(move || compare(&*known, peer, store, start)).await;
        match compared {
            Ok(Ok(Acquaintance::Known)) => Ok(()),
            Ok(Ok(Acquaintance::AnotherStore)) => Err(Ended::refused(
                CloseReason::AnotherStore,
                format!(
                    "replica {} comes with another store than at first: a store that is gone took \
                     promises with it, so it never returns under its number; leave that replica stopped, \
                     the group goes on without it",
                    peer.0
                ),
            )),
            Ok(Ok(Acquaintance::EarlierCopy)) => Err(Ended::refused(
                CloseReason::EarlierCopy,
                format!(
                    "replica {} comes with an earlier copy of its store: a later start of it was heard, and \
                     what it promised since is not in the copy; put the later store back, or leave that \
                     replica stopped, the group goes on without it",
                    peer.0
                ),
            )),
            Ok(Err(error)) => Err(Ended::refused(
                CloseReason::Busy,
                format!("cannot write down what replica {} comes with: {error}", peer.0),
            )),
            Err(_) => Err(Ended::NodeGone),
        }
    }
}
