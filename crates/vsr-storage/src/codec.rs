//! Numbers and headers as bytes: little-endian, fixed places, no surprises. Every structure on disk
//! is put together from these.

use vsr_core::{
    Checksum, ClusterId, EntryKind, Epoch, Header, OpNumber, Release, ReplicaId, Timestamp,
    ViewNumber,
};

/// The version of all layouts. A store of an earlier version is read, of a later one refused.
pub const FORMAT_VERSION: u32 = 2;

/// Bytes of an encoded header, less its cluster, which the place it lies in implies.
pub(crate) const HEADER_BYTES: usize = 92;

/// Takes numbers from the front of bytes; `None` once there are too few.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn u128(&mut self) -> Option<u128> {
        self.array().map(u128::from_le_bytes)
    }

    pub(crate) fn header(&mut self, cluster: ClusterId) -> Option<Header> {
        Some(Header {
            checksum: Checksum(self.u128()?),
            parent: Checksum(self.u128()?),
            body: Checksum(self.u128()?),
            cluster,
            op: OpNumber(self.u64()?),
            view: ViewNumber(self.u64()?),
            timestamp: Timestamp(self.u64()?),
            epoch: Epoch(self.u32()?),
            release: Release(self.u32()?),
            count: self.u32()?,
            length: self.u32()?,
            kind: match self.u32()? {
                0 => EntryKind::Root,
                1 => EntryKind::Requests,
                2 => EntryKind::Predicted,
                _ => return None,
            },
        })
    }
}

/// Appends numbers to bytes.
pub(crate) trait Put {
    fn put(&mut self, bytes: &[u8]);

    fn put_u16(&mut self, value: u16) {
        self.put(&value.to_le_bytes());
    }

    fn put_u32(&mut self, value: u32) {
        self.put(&value.to_le_bytes());
    }

    fn put_u64(&mut self, value: u64) {
        self.put(&value.to_le_bytes());
    }

    fn put_u128(&mut self, value: u128) {
        self.put(&value.to_le_bytes());
    }

    /// The header in [`HEADER_BYTES`] bytes.
    fn put_header(&mut self, header: &Header) {
        self.put_u128(header.checksum.0);
        self.put_u128(header.parent.0);
        self.put_u128(header.body.0);
        self.put_u64(header.op.0);
        self.put_u64(header.view.0);
        self.put_u64(header.timestamp.0);
        self.put_u32(header.epoch.0);
        self.put_u32(header.release.0);
        self.put_u32(header.count);
        self.put_u32(header.length);
        self.put_u32(match header.kind {
            EntryKind::Root => 0,
            EntryKind::Requests => 1,
            EntryKind::Predicted => 2,
        });
    }
}

impl Put for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Whose store this is. It goes into each CRC of the log without being stored there, so that nothing
/// of another cluster or replica is ever taken for one's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) cluster: ClusterId,
    pub(crate) replica: ReplicaId,
    seed: u32,
}

impl Identity {
    pub(crate) fn new(cluster: ClusterId, replica: ReplicaId) -> Self {
        let seed = crc32c::crc32c(&cluster.0.to_le_bytes());
        let seed = crc32c::crc32c_append(seed, &replica.0.to_le_bytes());
        Self { cluster, replica, seed }
    }

    /// The CRC-32C of cluster, replica, `place` and `bytes`: what lies in another place than the one
    /// it was written for does not pass.
    pub(crate) fn crc(&self, place: u64, bytes: &[u8]) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c_append(self.seed, &place.to_le_bytes()), bytes)
    }
}
