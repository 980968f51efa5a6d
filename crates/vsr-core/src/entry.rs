//! Entries: what the log consists of. An entry is a batch of requests under one op-number, with a
//! header that names it by checksum and its predecessor by `parent`, so that equal checksums mean
//! equal histories.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::hash::{Hash, Hasher};

use crate::digest::{Checksum, Digest};
use crate::types::{
    Body, ClientId, ClusterId, Epoch, OpNumber, Release, RequestNumber, Session, Subject,
    Timestamp, ViewNumber,
};

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryKind {
    /// Op 0, which every replica holds from the start.
    Root,
    /// A batch of clients' requests.
    Requests,
    /// A batch of clients' requests with a value that was predicted for it.
    Predicted,
}

/// The most bytes of a predicted value: a time, a seed for dice. It is one for the whole batch, however many
/// operations that has; what is larger is content, which an operation carries.
pub const PREDICTION_BYTES_MAX: usize = 4096;

/// The identity of an entry. `checksum` covers all other fields; `body` covers the requests
/// and the predicted value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// Names the entry, and by `parent` the whole history up to it.
    pub checksum: Checksum,
    /// The checksum of the entry before this one.
    pub parent: Checksum,
    /// The digest of the entry's requests and of its predicted value.
    pub body: Checksum,
    /// The cluster this entry belongs to.
    pub cluster: ClusterId,
    /// The entry's place in the log.
    pub op: OpNumber,
    /// The view it was prepared in; later views keep it as it is.
    pub view: ViewNumber,
    /// When it was prepared, by the primary's clock, but later than the entry before it.
    pub timestamp: Timestamp,
    /// The epoch it was prepared in.
    pub epoch: Epoch,
    /// The service's release it was prepared under.
    pub release: Release,
    /// How many requests it holds.
    pub count: u32,
    /// How many bytes its operations and its predicted value hold together.
    pub length: u32,
    /// What it is.
    pub kind: EntryKind,
}

impl Header {
    /// The header of op 0: a function of the cluster alone, so that chains of two clusters never
    /// link.
    #[must_use]
    pub fn root(cluster: ClusterId) -> Self {
        let header = Self {
            checksum: Checksum::default(),
            parent: Checksum::default(),
            body: Checksum::of(&[]),
            cluster,
            op: OpNumber::ZERO,
            view: ViewNumber::ZERO,
            timestamp: Timestamp::ZERO,
            epoch: Epoch::ZERO,
            release: Release::ZERO,
            count: 0,
            length: 0,
            kind: EntryKind::Root,
        };
        Self { checksum: header.compute_checksum(), ..header }
    }

    /// What `checksum` must be.
    #[must_use]
    pub fn compute_checksum(&self) -> Checksum {
        let mut digest = Digest::new();
        digest.write_u128(self.parent.0);
        digest.write_u128(self.body.0);
        digest.write_u128(self.cluster.0);
        digest.write_u64(self.op.0);
        digest.write_u64(self.view.0);
        digest.write_u64(self.timestamp.0);
        digest.write_u64(u64::from(self.epoch.0) | (u64::from(self.release.0) << 32));
        digest.write_u64(u64::from(self.count) | (u64::from(self.length) << 32));
        digest.write_u64(match self.kind {
            EntryKind::Root => 0,
            EntryKind::Requests => 1,
            EntryKind::Predicted => 2,
        });
        digest.finish()
    }

    /// Whether `checksum` is right.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.checksum == self.compute_checksum()
    }
}

/// One request of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Request<B> {
    /// Opens a session for a client. The session's number is the op-number of this entry.
    Register {
        /// Who asks.
        client: ClientId,
        /// Whom the client authenticated as.
        subject: Subject,
    },
    /// An operation of the service.
    Operation {
        /// The session it belongs to.
        session: Session,
        /// Its number within the session.
        number: RequestNumber,
        /// `number` less the lowest operation of the session whose reply its client lacked when it
        /// sent this: replies below are not kept any longer.
        span: u8,
        /// The checksum of `body`, computed by the client and checked by the primary.
        digest: Checksum,
        /// The operation.
        body: B,
    },
}

impl<B: Body> Request<B> {
    /// How many bytes the operation has.
    #[must_use]
    pub fn length(&self) -> usize {
        match self {
            Self::Register { .. } => 0,
            Self::Operation { body, .. } => body.as_ref().len(),
        }
    }

    pub(crate) const fn is_operation(&self) -> bool {
        match self {
            Self::Register { .. } => false,
            Self::Operation { .. } => true,
        }
    }

    fn write_digest(&self, digest: &mut Digest) {
        match self {
            Self::Register { client, subject } => {
                digest.write_u64(0);
                digest.write_u128(client.0);
                digest.write_u128(subject.0);
            }
            Self::Operation { session, number, span, digest: body_digest, body } => {
                digest.write_u64(1 | (u64::from(*span) << 8) | (u64::from(session.slot) << 32));
                digest.write_u64(session.number.0);
                digest.write_u64(number.0);
                digest.write_u128(body_digest.0);
                digest.write_u64(body.as_ref().len() as u64);
            }
        }
    }
}

/// The digest of a batch of requests and of the value predicted for it, for [`Header::body`]. It covers
/// each operation by the digest that its client computed, so that an operation's bytes are hashed once,
/// where they enter.
pub fn digest_of_requests<B: Body>(requests: &[Request<B>], prediction: Option<&B>) -> Checksum {
    let mut digest = Digest::new();
    for request in requests {
        request.write_digest(&mut digest);
    }
    if let Some(prediction) = prediction {
        digest.write_u64(PREDICTION_TAG);
        digest.write_u64(prediction.as_ref().len() as u64);
        digest.write(prediction.as_ref());
    }
    digest.finish()
}

/// Where a request has its kind in the lowest byte: 0 for a registration, 1 for an operation.
const PREDICTION_TAG: u64 = 2;

/// An entry: header, requests and predicted value, shared by reference count. Two entries are equal when
/// their checksums are.
pub struct Entry<B>(Arc<(Header, Vec<Request<B>>, Option<B>)>);

impl<B: Body> Entry<B> {
    /// Makes the entry that follows `parent`, without a predicted value. Used by the primary.
    #[must_use]
    pub fn prepare(
        parent: &Header,
        epoch: Epoch,
        view: ViewNumber,
        release: Release,
        timestamp: Timestamp,
        requests: Vec<Request<B>>,
    ) -> Self {
        Self::prepare_predicted(parent, epoch, view, release, timestamp, requests, None)
    }

    /// Makes the entry that follows `parent`, with the value that was predicted for it, if one was.
    #[must_use]
    pub fn prepare_predicted(
        parent: &Header,
        epoch: Epoch,
        view: ViewNumber,
        release: Release,
        timestamp: Timestamp,
        requests: Vec<Request<B>>,
        prediction: Option<B>,
    ) -> Self {
        let header = Header {
            checksum: Checksum::default(),
            parent: parent.checksum,
            body: digest_of_requests(&requests, prediction.as_ref()),
            cluster: parent.cluster,
            op: parent.op.next(),
            view,
            timestamp: timestamp.max(parent.timestamp.next()),
            epoch,
            release,
            count: requests.len() as u32,
            length: length_of(&requests, prediction.as_ref()) as u32,
            kind: match &prediction {
                None => EntryKind::Requests,
                Some(_) => EntryKind::Predicted,
            },
        };
        let header = Header { checksum: header.compute_checksum(), ..header };
        Self(Arc::new((header, requests, prediction)))
    }

    /// Puts together an entry that came from a wire or a disk whose own checksum vouched for the
    /// bytes. Only counts and lengths are compared; [`Entry::is_intact`] checks all of it.
    ///
    /// Returns `None` where the requests are not the number or length that the header states, or where
    /// there is a predicted value and should be none, or the other way round.
    #[must_use]
    pub fn assemble(
        header: Header,
        requests: Vec<Request<B>>,
        prediction: Option<B>,
    ) -> Option<Self> {
        let length = length_of(&requests, prediction.as_ref());
        let fits = header.count as usize == requests.len()
            && header.length as usize == length
            && (header.kind == EntryKind::Predicted) == prediction.is_some();
        fits.then(|| Self(Arc::new((header, requests, prediction))))
    }

    /// Whether header, requests, predicted value and each operation's bytes match their checksums. Costs a pass over
    /// the bytes; for entries from the disk after a restart, and for repairs.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.header().is_intact()
            && self.header().body == digest_of_requests(self.requests(), self.prediction())
            && self.requests().iter().all(|request| match request {
                Request::Register { .. } => true,
                Request::Operation { digest, body, .. } => Checksum::of(body.as_ref()) == *digest,
            })
    }
}

impl<B> Entry<B> {
    /// The entry's identity.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.0.0
    }

    /// The entry's requests, in the order in which they are executed.
    #[must_use]
    pub fn requests(&self) -> &[Request<B>] {
        &self.0.1
    }

    /// The value that was predicted for the entry, if one was.
    #[must_use]
    pub fn prediction(&self) -> Option<&B> {
        self.0.2.as_ref()
    }
}

fn length_of<B: Body>(requests: &[Request<B>], prediction: Option<&B>) -> usize {
    let operations: usize = requests.iter().map(Request::length).sum();
    operations + prediction.map_or(0, |prediction| prediction.as_ref().len())
}

impl<B> Clone for Entry<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B> PartialEq for Entry<B> {
    fn eq(&self, other: &Self) -> bool {
        self.header().checksum == other.header().checksum
    }
}

impl<B> Eq for Entry<B> {}

impl<B> Hash for Entry<B> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.header().checksum.hash(state);
    }
}

impl<B> fmt::Debug for Entry<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entry({}@{})", self.header().op, self.header().view)
    }
}

#[cfg(test)]
mod checksum_tests {
    use super::*;
    use crate::types::ClusterId;

    /// A field that the checksum does not cover could rot, or be another's, and nobody would know.
    #[test]
    fn every_field_of_a_header_is_in_its_checksum() {
        let header = Header::root(ClusterId(7));
        let changes: [fn(&mut Header); 11] = [
            |header| header.parent.0 += 1,
            |header| header.body.0 += 1,
            |header| header.cluster.0 += 1,
            |header| header.op.0 += 1,
            |header| header.view.0 += 1,
            |header| header.timestamp.0 += 1,
            |header| header.epoch.0 += 1,
            |header| header.release.0 += 1,
            |header| header.count += 1,
            |header| header.length += 1,
            |header| header.kind = EntryKind::Requests,
        ];
        for (field, change) in changes.into_iter().enumerate() {
            let mut changed = header;
            change(&mut changed);
            assert_ne!(changed.compute_checksum(), header.checksum, "field {field}");
            assert!(!changed.is_intact(), "field {field}");
        }
    }
}
