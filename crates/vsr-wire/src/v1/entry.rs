//! An entry's header.

use bincode::{Decode, Encode};
use vsr_core::{
    Checksum, ClusterId, EntryKind, Epoch, Header, OpNumber, Release, Timestamp, ViewNumber,
};

use crate::bounded::Least;

/// The identity of an entry: 108 bytes.
#[derive(Clone, Encode, Decode)]
pub(crate) struct EntryHeader {
    checksum: u128,
    parent: u128,
    body: u128,
    cluster: u128,
    op: u64,
    view: u64,
    timestamp: u64,
    epoch: u32,
    release: u32,
    count: u32,
    length: u32,
    kind: Kind,
}

#[derive(Clone, Copy, Encode, Decode)]
enum Kind {
    Root,
    Requests,
    Predicted,
}

impl Least for EntryHeader {
    const BYTES: usize = 108;
}

impl From<&Header> for EntryHeader {
    fn from(header: &Header) -> Self {
        Self {
            checksum: header.checksum.0,
            parent: header.parent.0,
            body: header.body.0,
            cluster: header.cluster.0,
            op: header.op.0,
            view: header.view.0,
            timestamp: header.timestamp.0,
            epoch: header.epoch.0,
            release: header.release.0,
            count: header.count,
            length: header.length,
            kind: match header.kind {
                EntryKind::Root => Kind::Root,
                EntryKind::Requests => Kind::Requests,
                EntryKind::Predicted => Kind::Predicted,
            },
        }
    }
}

impl From<EntryHeader> for Header {
    fn from(header: EntryHeader) -> Self {
        Self {
            checksum: Checksum(header.checksum),
            parent: Checksum(header.parent),
            body: Checksum(header.body),
            cluster: ClusterId(header.cluster),
            op: OpNumber(header.op),
            view: ViewNumber(header.view),
            timestamp: Timestamp(header.timestamp),
            epoch: Epoch(header.epoch),
            release: Release(header.release),
            count: header.count,
            length: header.length,
            kind: match header.kind {
                Kind::Root => EntryKind::Root,
                Kind::Requests => EntryKind::Requests,
                Kind::Predicted => EntryKind::Predicted,
            },
        }
    }
}
