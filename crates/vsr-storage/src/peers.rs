//! Which store each other replica came with at first, and which of its starts was heard last. A store that is gone took
//! promises with it, and so did what an earlier copy of a store does not know of: what comes under a replica's number
//! with either is told apart by this, also after a restart. What this replica says of its own starts is here as well.
//!
//! ```text
//! one sector a replica at first, and then a second one: of two the one with the earlier start is written over, so that
//! a torn write leaves the other
//!   0  magic "VSRPEERS"             8
//!   8  checksum of bytes 24..4096  16   SipHash-2-4-128, vsr_core::Checksum
//!  24  format version 4   28  replica 4   32  cluster 16   48  store 16    whose file it is
//!  64  replica        4   68  zero    4   72  its store   16
//!  88  incarnation    8   96  numbers drawn at that start and at those before it, 16 each; zeros where not known
//! 352  zeros
//! ```

use std::sync::{Arc, Mutex, PoisonError};

use vsr_core::{Checksum, ClusterId, Incarnation, ReplicaId, STANDBYS_MAX, StoreId, VOTERS_MAX};

use crate::codec::{FORMAT_VERSION, Put, Reader};
use crate::disk::{Disk, DiskError, File, SECTOR, create_whole, read_whatever};
use crate::error::OpenError;
use crate::format::Format;
use crate::store::open_part;

pub(crate) const PEERS: &str = "peers";

const MAGIC: &[u8; 8] = b"VSRPEERS";
const CHECKED_FROM: usize = 24;

/// More peers than any group has are not remembered.
const SECTORS_MAX: usize = SECTORS_OF_PEER * (VOTERS_MAX + STANDBYS_MAX);

/// One is kept while the other is written.
const SECTORS_OF_PEER: usize = 2;

/// Of so many starts a replica tells the numbers. An earlier copy of a store that is started more often than that, though
/// it was refused each time, is not told apart by who heard the replica last before that.
pub const STARTS_TOLD: usize = 16;

/// A start of a replica, with those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Start {
    /// How often the replica was started, by its own store.
    pub incarnation: Incarnation,
    /// A number drawn at this start, and at each one before it, latest first; 0 where that is not known. A copy of the
    /// store that is started counts the same, and draws another.
    pub drawn: [u128; STARTS_TOLD],
}

impl Start {
    /// The first start that is known of.
    #[must_use]
    pub fn new(incarnation: Incarnation, drawn: u128) -> Self {
        Self::default().next(incarnation, drawn)
    }

    /// A later start, or the same one again, which came to nothing.
    #[must_use]
    pub fn next(&self, incarnation: Incarnation, drawn: u128) -> Self {
        let mut all = [0; STARTS_TOLD];
        all[0] = drawn;
        let since = incarnation.0.saturating_sub(self.incarnation.0);
        // A start that came to nothing was never heard.
        let (earlier, first) =
            if since == 0 { (&self.drawn[1..], 1) } else { (&self.drawn[..], since) };
        let first = usize::try_from(first).unwrap_or(STARTS_TOLD).min(STARTS_TOLD);
        for (place, number) in all[first..].iter_mut().zip(earlier) {
            *place = *number;
        }
        Self { incarnation, drawn: all }
    }

    /// Whether this may be a later start of what was heard at `last`, or that very start.
    fn follows(&self, last: &Self) -> bool {
        let Some(since) = self.incarnation.0.checked_sub(last.incarnation.0) else { return false };
        let then = usize::try_from(since).ok().and_then(|since| self.drawn.get(since));
        then.is_none_or(|drawn| *drawn == 0 || last.drawn[0] == 0 || *drawn == last.drawn[0])
    }
}

/// How a replica that comes compares with what is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acquaintance {
    /// It is as it should be.
    Known,
    /// It comes with another store than at first: what it promised with that is forgotten.
    AnotherStore,
    /// It comes with an earlier copy of its store: it does not know of a start that was heard.
    EarlierCopy,
}

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
    met: Vec<Option<Met>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Met {
    peer: ReplicaId,
    store: StoreId,
    /// The last start that was heard; all zeros before any was.
    start: Start,
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
        let sectors = file.length()?.div_ceil(SECTOR).min(SECTORS_MAX as u64);
        let mut met = Vec::new();
        for sector in 0..sectors {
            let mut bytes = vec![0; SECTOR as usize];
            read_whatever(&file, sector * SECTOR, &mut bytes);
            met.push(match decode(&bytes) {
                Sector::Damaged => None,
                Sector::Newer(found) => return Err(OpenError::Newer { file: PEERS, found }),
                Sector::Good(owner, _) if owner != own => {
                    return Err(OpenError::ForeignFile {
                        file: PEERS.to_owned(),
                        cluster: owner.cluster.0,
                        replica: owner.replica.0,
                    });
                }
                Sector::Good(_, met) => Some(met),
            });
        }
        Ok(Self(Arc::new(Mutex::new(Known { file, own, met }))))
    }

    /// This replica starts, and draws a number: it is written down, durably, beside those of the starts before.
    ///
    /// # Errors
    /// What the disk says: then the replica must not start.
    pub fn start(&self, incarnation: Incarnation, drawn: u128) -> Result<Start, DiskError> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Owner { replica, store, .. } = known.own;
        let last = known.latest(replica).map_or_else(Start::default, |met| met.start);
        let start = last.next(incarnation, drawn);
        known.write(Met { peer: replica, store, start })?;
        Ok(start)
    }

    /// Compares a replica that comes with what is known of it. At its first coming its store is written down, durably,
    /// which takes a sync.
    ///
    /// # Errors
    /// What the disk says: then nothing is written down, and the replica must not be let in.
    pub fn meet(
        &self,
        peer: ReplicaId,
        store: StoreId,
        start: Start,
    ) -> Result<Acquaintance, DiskError> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(met) = known.latest(peer) else {
            known.write(Met { peer, store, start: Start::default() })?;
            return Ok(Acquaintance::Known);
        };
        Ok(met.compare(store, &start))
    }

    /// As [`KnownStores::meet`], when the first message of a start has come, which the replica only sends once it has counted
    /// that start durably. A start that was not heard before is written down, durably, which takes a sync; on a full disk it is
    /// not, and a copy of the store would pass for it.
    ///
    /// # Errors
    /// What else the disk says: then nothing is written down, and the message must not be heeded.
    pub fn hear(
        &self,
        peer: ReplicaId,
        store: StoreId,
        start: Start,
    ) -> Result<Acquaintance, DiskError> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let met = known.latest(peer);
        let acquaintance = met.map_or(Acquaintance::Known, |met| met.compare(store, &start));
        let is_heard = met.is_some_and(|met| met.start.incarnation == start.incarnation);
        if acquaintance == Acquaintance::Known && !is_heard {
            match known.write(Met { peer, store, start }) {
                // A replica whose disk is full still keeps what it promised, with the others.
                Err(error) if error.is_full() => {}
                written => written?,
            }
        }
        Ok(acquaintance)
    }

    /// The sectors that are damaged: whom they named is learned anew.
    pub(crate) fn damaged(&self) -> Vec<usize> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (0..).zip(&known.met).filter(|(_, met)| met.is_none()).map(|(sector, _)| sector).collect()
    }
}

impl<F: File> Known<F> {
    fn latest(&self, peer: ReplicaId) -> Option<Met> {
        let of_peer = self.met.iter().flatten().filter(|met| met.peer == peer);
        of_peer.max_by_key(|met| met.start.incarnation).copied()
    }

    /// Writes over what is known of the same start, or else of the earlier of two, or to a free sector.
    fn write(&mut self, met: Met) -> Result<(), DiskError> {
        let sectors = self.met.iter().enumerate();
        let of_peer = sectors.filter_map(|(sector, known)| Some((sector, (*known)?)));
        let own: Vec<(usize, Met)> = of_peer.filter(|(_, known)| known.peer == met.peer).collect();
        let incarnation = |known: &Met| known.start.incarnation;
        let same = own.iter().find(|(_, known)| incarnation(known) == incarnation(&met));
        let earlier = own.iter().min_by_key(|(_, known)| incarnation(known));
        let earlier = earlier.filter(|_| own.len() == SECTORS_OF_PEER);
        let free = self.met.iter().position(Option::is_none).unwrap_or(self.met.len());
        let sector = same.or(earlier).map_or(free, |(sector, _)| *sector);
        assert!(sector < SECTORS_MAX, "no group has so many members");
        self.file.write_at(sector as u64 * SECTOR, &encode(&self.own, &met))?;
        self.file.sync()?;
        let sectors = self.met.len().max(sector + 1);
        self.met.resize(sectors, None);
        self.met[sector] = Some(met);
        Ok(())
    }
}

impl Met {
    fn compare(&self, store: StoreId, start: &Start) -> Acquaintance {
        if self.store != store {
            Acquaintance::AnotherStore
        } else if start.follows(&self.start) {
            Acquaintance::Known
        } else {
            Acquaintance::EarlierCopy
        }
    }
}

fn encode(own: &Owner, met: &Met) -> Vec<u8> {
    let mut out = Vec::with_capacity(SECTOR as usize);
    out.put(MAGIC);
    out.put_u128(0);
    out.put_u32(FORMAT_VERSION);
    out.put_u32(own.replica.0);
    out.put_u128(own.cluster.0);
    out.put_u128(own.store.0);
    out.put_u32(met.peer.0);
    out.put_u32(0);
    out.put_u128(met.store.0);
    out.put_u64(met.start.incarnation.0);
    for drawn in met.start.drawn {
        out.put_u128(drawn);
    }
    out.resize(SECTOR as usize, 0);
    let checksum = Checksum::of(&out[CHECKED_FROM..]);
    out[8..CHECKED_FROM].copy_from_slice(&checksum.0.to_le_bytes());
    out
}

#[allow(clippy::large_enum_variant, reason = "a few are read when a store is opened")]
enum Sector {
    Good(Owner, Met),
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
    let (met_store, incarnation) = (StoreId(reader.u128()?), Incarnation(reader.u64()?));
    let mut drawn = [0; STARTS_TOLD];
    for number in &mut drawn {
        *number = reader.u128()?;
    }
    let met = Met { peer, store: met_store, start: Start { incarnation, drawn } };
    Some(Sector::Good(Owner { cluster, replica, store }, met))
}
