//! The service that is replicated, and a host for the simple case.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use crate::digest::Checksum;
use crate::effect::Query;
use crate::entry::{Entry, Request};
use crate::message::ClientReply;
use crate::types::{Body, OpNumber, ReplicaId, Session, Timestamp};

/// Where an operation stands in the log.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Context<'a, B> {
    /// The entry's op-number.
    pub op: OpNumber,
    /// The operation's position in the entry.
    pub index: u32,
    /// Replicated time: the same on every replica, later for later entries.
    pub timestamp: Timestamp,
    /// The client's session.
    pub session: Session,
    /// The value that was predicted for the entry: the same on every replica, and for all operations of the
    /// entry, which `index` tells apart. `None` where no value was wanted when it was prepared: by another
    /// release of the service, perhaps.
    pub prediction: Option<&'a B>,
}

impl<B> Clone for Context<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B> Copy for Context<'_, B> {}

/// Where values come from that a service needs and cannot compute from its state and the operation: the
/// time, random bytes (paper, section 4.4). The value becomes part of the entry, and every replica executes
/// with that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Prediction {
    /// The service wants none.
    #[default]
    None,
    /// The primary predicts it.
    Primary,
    /// The primary combines its own with those of f backups: so many that together they may commit.
    /// That costs a round trip for each entry.
    Backups,
}

/// Why a predicted value is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Implausible(&'static str);

impl Implausible {
    /// A refusal for a reason, which is read by an operator.
    #[must_use]
    pub const fn new(reason: &'static str) -> Self {
        Self(reason)
    }

    /// What is wrong with the value.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        self.0
    }
}

impl fmt::Display for Implausible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl core::error::Error for Implausible {}

/// The most bytes in a chunk of a checkpoint: it travels, and is kept, like an operation of the
/// greatest size. A service cuts its state so that no chunk has more.
pub const CHUNK_BYTES_MAX: usize = 1 << 20;

/// A piece of a frozen state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunk<B> {
    /// Its bytes, at most [`CHUNK_BYTES_MAX`].
    Bytes(B),
    /// The same bytes as a chunk that the host has: one of an earlier checkpoint of this process
    /// that was read to its end, or of the state that was restored. This is their
    /// [`Checksum::of`].
    Same(Checksum),
}

/// Why chunks do not make a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoreError(&'static str);

impl RestoreError {
    /// An error for a reason, which should say what to do: it is read by an operator.
    #[must_use]
    pub const fn new(reason: &'static str) -> Self {
        Self(reason)
    }

    /// What is wrong with the chunks.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        self.0
    }
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl core::error::Error for RestoreError {}

/// A deterministic service. The same operations in the same order must give the same replies and
/// the same state on every replica: no clock, no dice, no iteration over unordered maps. What it needs of
/// these comes by [`Service::predict`].
pub trait Service<B> {
    /// Executes an operation (the paper's up-call) and returns the reply.
    fn apply(&mut self, context: Context<'_, B>, operation: &B) -> B;

    /// A digest of the whole state. Equal states have equal digests. Asked for often, so it is best
    /// kept up to date as the state changes.
    fn digest(&self) -> Checksum;

    /// Whether an operation leaves the state as it is. Clients that may only read are refused
    /// operations for which this is false.
    fn is_read_only(&self, operation: &B) -> bool {
        let _ = operation;
        false
    }

    /// Answers a read without changing anything: what [`Service::apply`] would reply. `None`, as by
    /// default, for an operation that it does not answer this way; its client is refused, and may have it
    /// executed through the log.
    fn query(&self, operation: &B) -> Option<B> {
        let _ = operation;
        None
    }

    /// Whether entries are to have values that this service predicts. Asked once, at the start; by default
    /// they are not, and the three functions below are never called.
    fn prediction(&self) -> Prediction {
        Prediction::None
    }

    /// Predicts a value for an entry with these requests, at the primary, or at a backup that is asked
    /// for its own: here clock and dice are allowed. It may not touch what [`Service::digest`] covers: the
    /// entry may never be executed. `None`, as by default, where the requests need no value.
    ///
    /// At most [`PREDICTION_BYTES_MAX`](crate::PREDICTION_BYTES_MAX) bytes; an entry whose value is longer goes without one, and the
    /// driver says so.
    fn predict(&mut self, requests: &[Request<B>]) -> Option<B> {
        let _ = requests;
        None
    }

    /// Makes one value of the primary's own and those of f backups, in the order of the replicas; at the
    /// primary. The same values give the same one. By default that of the replica with the lowest number.
    fn combine(&mut self, requests: &[Request<B>], values: Vec<(ReplicaId, B)>) -> Option<B> {
        let _ = requests;
        values.into_iter().next().map(|(_, value)| value)
    }

    /// Judges the value of an entry that the primary prepared, at a backup before it holds the entry. One
    /// that is refused is asked about again whenever the primary sends it again; a primary that
    /// is refused by too many gives way.
    ///
    /// An entry may have been under way for long, so that a time is never too old. A refusal is a chance
    /// to stop a primary whose clock is wrong before others hold what it said, and no more: what a quorum
    /// holds, or a new view begins with, is executed unseen. So [`Service::apply`] must do something sensible
    /// with any value.
    ///
    /// # Errors
    /// Why the value is refused. By default none is.
    fn check(&self, requests: &[Request<B>], prediction: &B) -> Result<(), Implausible> {
        let _ = (requests, prediction);
        Ok(())
    }

    /// The state as it is now, frozen, in chunks; `None`, as by default: the service does without
    /// checkpoints.
    ///
    /// The bounds of the chunks depend on the state alone, never on its history, on which chunks
    /// changed, or on a restore: equal states give equal chunks on every replica. The call takes
    /// bounded time; the iterator does the work, on another thread if need be, while operations go
    /// on.
    ///
    /// A host knows the last chunk by a size hint of none to come, where the iterator's is exact: it then
    /// stores all chunks before it takes the `None`. Without that a disk that is full at the very end
    /// leaves the service with digests of chunks that nobody has.
    ///
    /// A host that gives up a checkpoint drops the iterator before it gave `None`; then no later
    /// checkpoint refers to its chunks. One that was read to its end may be referred to by every
    /// later one, so its chunks are kept until the next has been read and stored.
    fn checkpoint(&self) -> Option<Box<dyn Iterator<Item = Chunk<B>> + Send>> {
        None
    }

    /// The host does not have these chunks any more, or never stored them: damage took them from the disk. Later
    /// checkpoints give their bytes instead of [`Chunk::Same`]. A service that says `Same` implements this, or has no
    /// checkpoint again before those chunks change or come back from a peer. By default nothing happens.
    fn lost(&mut self, chunks: &[Checksum]) {
        let _ = chunks;
    }

    /// Replaces the state by that of a checkpoint. All its chunks come, as bytes, in the order in
    /// which [`Service::checkpoint`] gave them; the host has verified their checksums.
    ///
    /// # Errors
    /// What is wrong with the chunks; the state is then as it was before. By default, that the
    /// service does without checkpoints.
    fn restore(&mut self, chunks: &mut dyn Iterator<Item = B>) -> Result<(), RestoreError> {
        let _ = chunks;
        Err(RestoreError::new("this service has no checkpoints: start it without one"))
    }
}

/// Executes an entry for [`Effect::Apply`](crate::Effect::Apply) and returns the replies for
/// [`Event::Applied`](crate::Event::Applied).
pub fn apply<B: Body, S: Service<B> + ?Sized>(
    service: &mut S,
    entry: &Entry<B>,
    skip: &[u32],
) -> Vec<B> {
    let header = entry.header();
    let mut replies = Vec::with_capacity(entry.requests().len());
    for (index, request) in (0..).zip(entry.requests()) {
        match request {
            Request::Operation { session, body, .. } if !skip.contains(&index) => {
                let context = Context {
                    op: header.op,
                    index,
                    timestamp: header.timestamp,
                    session: *session,
                    prediction: entry.prediction(),
                };
                replies.push(service.apply(context, body));
            }
            Request::Operation { .. } | Request::Register { .. } => {}
        }
    }
    replies
}

/// Has the service answer [`Effect::Query`](crate::Effect::Query), and returns the answer to send.
pub fn query<B: Body, S: Service<B> + ?Sized>(service: &S, query: Query<B>) -> ClientReply<B> {
    query.answer(|operation| service.query(operation))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Empty;

    impl Service<&'static str> for Empty {
        fn apply(&mut self, _: Context<'_, &'static str>, _: &&'static str) -> &'static str {
            ""
        }
        fn digest(&self) -> Checksum {
            Checksum::default()
        }
    }

    #[test]
    fn a_service_predicts_nothing_unless_it_says_otherwise() {
        assert_eq!(Empty.prediction(), Prediction::None);
        assert_eq!(Empty.predict(&[]), None);
        let values = alloc::vec![(ReplicaId(1), "one"), (ReplicaId(2), "two")];
        assert_eq!(Empty.combine(&[], values), Some("one"));
        assert_eq!(Empty.check(&[], &"any"), Ok(()));
    }

    #[test]
    fn a_service_does_without_checkpoints_unless_it_says_otherwise() {
        assert!(Empty.checkpoint().is_none());
        let error = Empty.restore(&mut core::iter::empty()).unwrap_err();
        assert_eq!(error.reason(), "this service has no checkpoints: start it without one");
    }
}
