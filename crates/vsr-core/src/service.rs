//! The service that is replicated, and a host for the simple case.

use alloc::vec::Vec;

use crate::digest::Checksum;
use crate::entry::{Entry, Request};
use crate::types::{Body, OpNumber, Session, Timestamp};

/// Where an operation stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Context {
    /// The entry's op-number.
    pub op: OpNumber,
    /// The operation's position in the entry.
    pub index: u32,
    /// Replicated time: the same on every replica, later for later entries.
    pub timestamp: Timestamp,
    /// The client's session.
    pub session: Session,
}

/// A deterministic service. The same operations in the same order must give the same replies and
/// the same state on every replica: no clock, no dice, no iteration over unordered maps.
pub trait Service<B> {
    /// Executes an operation (the paper's up-call) and returns the reply.
    fn apply(&mut self, context: Context, operation: &B) -> B;

    /// A digest of the whole state. Equal states have equal digests. Asked for often, so it is best
    /// kept up to date as the state changes.
    fn digest(&self) -> Checksum;

    /// Whether an operation leaves the state as it is. Clients that may only read are refused
    /// operations for which this is false.
    fn is_read_only(&self, operation: &B) -> bool {
        let _ = operation;
        false
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
                };
                replies.push(service.apply(context, body));
            }
            Request::Operation { .. } | Request::Register { .. } => {}
        }
    }
    replies
}
