//! Which store each other replica came with at first. A store that is gone took promises with it: what
//! comes under its number with another store is told apart by this, also after a restart.
//!
//! ```text
//! one sector a peer, in the order in which they were met
//!   0  magic "VSRPEERS"             8
//!   8  checksum of bytes 24..4096  16   SipHash-2-4-128, vsr_core::Checksum
//!  24  format version 4   28  replica 4   32  cluster 16   48  store 16    whose file it is
//!  64  peer's replica 4   68  zero    4   72  peer's store 16
//!  88  zeros
//! ```

use std::sync::{Arc, Mutex, PoisonError};

use vsr_core::{Checksum, ClusterId, ReplicaId, STANDBYS_MAX, StoreId, VOTERS_MAX};

use crate::codec::{FORMAT_VERSION, Put, Reader};
use crate::disk::{Disk, DiskError, File, SECTOR, create_whole, read_whatever};
use crate::error::OpenError;
use crate::format::Format;
use crate::store::open_part;

pub(crate) const PEERS: &str = "peers";

const MAGIC: &[u8; 8] = b"VSRPEERS";
const CHECKED_FROM: usize = 24;

/// More peers than any group has are not remembered.
const PEERS_MAX: usize = VOTERS_MAX + STANDBYS_MAX;

/// The stores that the other replicas came with. Cheap to clone; the clones are one memory.
pub struct KnownStores<F>(Arc<Mutex<Known<F>>>);

impl<F> Clone for KnownStores<F> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<F> std::fmt::Debug for KnownStores<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_tuple("KnownStores").field(&known.met).finish()
    }
}

struct Known<F> {
    file: F,
    own: Owner,
    /// By sector; `None` is damaged, or was torn by a crash before anybody relied on it.
    met: Vec<Option<(ReplicaId, StoreId)>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owner {
    cluster: ClusterId,
    replica: ReplicaId,
    store: StoreId,
}

impl Owner {
    const fn of(format: &Format) -> Self {
        Self { cluster: format.cluster, replica: format.replica, store: format.store }
    }
}

pub(crate) fn create<D: Disk>(disk: &D) -> Result<(), DiskError> {
    create_whole(disk, PEERS, |_| Ok(()))
}

impl<F: File> KnownStores<F> {
    pub(crate) fn open<D: Disk<File = F>>(disk: &D, format: &Format) -> Result<Self, OpenError> {
        let file = open_part(disk, PEERS)?;
        let own = Owner::of(format);
        let sectors = file.length()?.div_ceil(SECTOR).min(PEERS_MAX as u64);
        let mut met = Vec::new();
        for sector in 0..sectors {
            let mut bytes = vec![0; SECTOR as usize];
            read_whatever(&file, sector * SECTOR, &mut bytes);
            met.push(match decode(&bytes) {
                Sector::Damaged => None,
                Sector::Newer(found) => return Err(OpenError::Newer { file: PEERS, found }),
                Sector::Good(owner, ..) if owner != own => {
                    return Err(OpenError::ForeignFile {
                        file: PEERS.to_owned(),
                        cluster: owner.cluster.0,
                        replica: owner.replica.0,
                    });
                }
                Sector::Good(_, peer, store) => Some((peer, store)),
            });
        }
        Ok(Self(Arc::new(Mutex::new(Known { file, own, met }))))
    }

    /// Whether this is the store that the replica came with at first. At its first coming it is written
    /// down, durably, which takes a sync.
    ///
    /// # Errors
    /// What the disk says: then nothing is written down, and the replica must not be let in.
    pub fn meet(&self, peer: ReplicaId, store: StoreId) -> Result<bool, DiskError> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut met = known.met.iter().flatten();
        if let Some((_, first)) = met.find(|(id, _)| *id == peer) {
            return Ok(*first == store);
        }
        let free = known.met.iter().position(Option::is_none);
        let sector = free.unwrap_or(known.met.len());
        assert!(sector < PEERS_MAX, "no group has so many members");
        known.file.write_at(sector as u64 * SECTOR, &encode(&known.own, peer, store))?;
        known.file.sync()?;
        let sectors = known.met.len().max(sector + 1);
        known.met.resize(sectors, None);
        known.met[sector] = Some((peer, store));
        Ok(true)
    }

    /// The sectors that are damaged: whom they named is learned anew.
    pub(crate) fn damaged(&self) -> Vec<usize> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (0..).zip(&known.met).filter(|(_, met)| met.is_none()).map(|(sector, _)| sector).collect()
    }
}

fn encode(own: &Owner, peer: ReplicaId, store: StoreId) -> Vec<u8> {
    let mut out = Vec::with_capacity(SECTOR as usize);
    out.put(MAGIC);
    out.put_u128(0);
    out.put_u32(FORMAT_VERSION);
    out.put_u32(own.replica.0);
    out.put_u128(own.cluster.0);
    out.put_u128(own.store.0);
    out.put_u32(peer.0);
    out.put_u32(0);
    out.put_u128(store.0);
    out.resize(SECTOR as usize, 0);
    let checksum = Checksum::of(&out[CHECKED_FROM..]);
    out[8..CHECKED_FROM].copy_from_slice(&checksum.0.to_le_bytes());
    out
}

enum Sector {
    Good(Owner, ReplicaId, StoreId),
    Damaged,
    Newer(u32),
}

fn decode(bytes: &[u8]) -> Sector {
    read(bytes).unwrap_or(Sector::Damaged)
}

fn read(bytes: &[u8]) -> Option<Sector> {
    let mut reader = Reader::new(bytes);
    (reader.bytes(8)? == MAGIC).then_some(())?;
    (reader.u128()? == Checksum::of(&bytes[CHECKED_FROM..]).0).then_some(())?;
    let version = reader.u32()?;
    if version > FORMAT_VERSION {
        return Some(Sector::Newer(version));
    }
    let replica = ReplicaId(reader.u32()?);
    let (cluster, store) = (ClusterId(reader.u128()?), StoreId(reader.u128()?));
    let (peer, _) = (ReplicaId(reader.u32()?), reader.u32()?);
    Some(Sector::Good(Owner { cluster, replica, store }, peer, StoreId(reader.u128()?)))
}
