//! Opening: what is on the disk, and what a crash left.
//!
//! 1. The directory is synced: a name that a former process gave must not vanish once it is
//!    believed.
//! 2. Unfinished files are removed. Each checkpoint's file is read; a copy that is damaged is
//!    mended from the other one.
//! 3. A fetch goes on, unless its checkpoint is there. If that was being fetched for its damaged
//!    chunks, these are found and fetched again.
//! 4. Packs to which no checkpoint refers are of a write that a crash interrupted, and are removed;
//!    unless they may be needed, for a fetch or for a checkpoint whose file cannot be read: then
//!    they are scanned for chunks.

use std::collections::{BTreeMap, BTreeSet};

use vsr_core::{Checksum, ClusterId, OpNumber, ReplicaId};

use super::fetch::Fetching;
use super::layout::{
    Bad, Content, FETCH, Kind, checkpoint_name, encode, parse_checkpoint_name, read,
    remove_if_there, write_whole,
};
use super::pack::{
    PACK_HEAD_BYTES, PackHead, encode_head, pack_name, parse_pack_name, read_head, record_bytes,
    scan,
};
use super::packs::{Limits, Packs, Size};
use super::{CheckpointInfo, Checkpoints, Held};
use crate::codec::Identity;
use crate::disk::{Disk, File, unfinished_name};
use crate::error::OpenError;

/// What [`Checkpoints::open`] noticed and mended. All zero after a clean stop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckpointsReport {
    /// Files that a crash left unfinished, and packs to which nothing refers; removed.
    pub removed_files: u64,
    /// Copies of manifests that were damaged; mended from the other copy where the disk has room.
    pub damaged_copies: u64,
    /// Heads of packs that were damaged; mended.
    pub damaged_pack_heads: u64,
    /// Packs that checkpoints refer to and that are gone; their chunks read as damaged.
    pub lost_packs: u64,
    /// A fetch was begun, and what it was of cannot be read; it is given up.
    pub lost_fetch: bool,
}

impl CheckpointsReport {
    /// Whether there was anything to notice.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }
}

/// What is in the directory of the checkpoints' files.
#[derive(Default)]
struct Names {
    checkpoints: Vec<(OpNumber, Checksum)>,
    packs: Vec<u32>,
    fetch: bool,
    unfinished: Vec<String>,
}

impl Names {
    fn of(names: Vec<String>) -> Self {
        let mut found = Self::default();
        for name in names {
            if name == FETCH {
                found.fetch = true;
            } else if let Some(checkpoint) = parse_checkpoint_name(&name) {
                found.checkpoints.push(checkpoint);
            } else if let Some(pack) = parse_pack_name(&name) {
                found.packs.push(pack);
            } else if let Some(whole) = name.strip_suffix(&unfinished_name(""))
                && (whole == FETCH || parse_checkpoint_name(whole).is_some())
            {
                found.unfinished.push(name);
            }
        }
        found.checkpoints.sort_unstable();
        found
    }

    const fn is_empty(&self) -> bool {
        self.checkpoints.is_empty()
            && self.packs.is_empty()
            && !self.fetch
            && self.unfinished.is_empty()
    }
}

impl<D: Disk> Checkpoints<D> {
    /// Finds the checkpoints on a disk, and removes what a crash left. A disk without any is fine.
    ///
    /// # Errors
    /// [`OpenError::ForeignFile`], [`OpenError::Newer`], [`OpenError::Disk`]. A checkpoint
    /// that cannot be read is no error: see [`Checkpoints::unreadable`].
    pub fn open(disk: &D, cluster: ClusterId, replica: ReplicaId) -> Result<Self, OpenError> {
        Self::open_within(disk, Identity::new(cluster, replica), Limits::DEFAULT)
    }

    /// Finds the checkpoints on a disk, and changes nothing on it.
    ///
    /// # Errors
    /// As [`Checkpoints::open`].
    pub(crate) fn look(disk: &D, identity: Identity) -> Result<Self, OpenError> {
        let mut this = Self::empty(identity, Limits::DEFAULT);
        let names = Names::of(disk.list()?);
        let mut found = Vec::new();
        for (op, id) in names.checkpoints {
            match read_copies(disk, op, id, &this.packs.identity)?.into_iter().next() {
                Some(content) => found.push(content),
                None => this.unreadable.push((op, id)),
            }
        }
        for number in names.packs {
            this.adopt_pack(number, disk.open(&pack_name(number))?.length()?, None);
        }
        this.hold_all(found);
        Ok(this)
    }

    fn empty(identity: Identity, limits: Limits) -> Self {
        Self {
            packs: Packs::new(identity, limits),
            held: Vec::new(),
            unreadable: Vec::new(),
            writing: None,
            fetching: None,
            report: CheckpointsReport::default(),
            stopped: false,
        }
    }

    pub(super) fn open_within(
        disk: &D,
        identity: Identity,
        limits: Limits,
    ) -> Result<Self, OpenError> {
        let mut this = Self::empty(identity, limits);
        let names = Names::of(disk.list()?);
        if names.is_empty() {
            return Ok(this);
        }
        disk.sync_directory()?;
        for name in &names.unfinished {
            remove_if_there(disk, name)?;
            this.report.removed_files += 1;
        }
        let mut found = Vec::new();
        for (op, id) in names.checkpoints {
            match this.read_checkpoint(disk, op, id)? {
                Some(content) => found.push(content),
                None => this.unreadable.push((op, id)),
            }
        }
        let mut damaged_heads = Vec::new();
        for number in names.packs {
            if !this.open_pack(disk, number)? {
                damaged_heads.push(number);
            }
        }
        this.hold_all(found);
        if names.fetch {
            this.open_fetch(disk)?;
        }
        this.open_orphans(disk)?;
        for number in damaged_heads {
            this.mend_head(disk, number)?;
        }
        Ok(this)
    }

    /// Reads a checkpoint's file, `None` where neither copy is good.
    fn read_checkpoint(
        &mut self,
        disk: &D,
        op: OpNumber,
        id: Checksum,
    ) -> Result<Option<Content>, OpenError> {
        let good = read_copies(disk, op, id, &self.packs.identity)?;
        if let [content] = &good[..] {
            self.report.damaged_copies += 1;
            let file = encode(Kind::Whole, &self.packs.identity, content);
            // Without space one good copy has to do.
            let _mended = write_whole(disk, &checkpoint_name(op, id), &file)?;
        }
        Ok(good.into_iter().next())
    }

    /// Returns whether the pack's head is good.
    fn open_pack(&mut self, disk: &D, number: u32) -> Result<bool, OpenError> {
        let name = pack_name(number);
        let file = disk.open(&name)?;
        self.adopt_pack(number, file.length()?, None);
        match read_head(&file, &self.packs.identity, number) {
            PackHead::Good => Ok(true),
            PackHead::Damaged => Ok(false),
            PackHead::Newer(found) => Err(OpenError::Newer { file: "pack", found }),
            PackHead::Foreign { cluster, replica } => {
                Err(OpenError::ForeignFile { file: name, cluster, replica })
            }
        }
    }

    /// Writes the head of a pack again, unless the pack was removed.
    fn mend_head(&mut self, disk: &D, number: u32) -> Result<(), OpenError> {
        if self.packs.numbers().any(|there| there == number) {
            self.report.damaged_pack_heads += 1;
            let file = disk.open(&pack_name(number))?;
            file.write_at(0, &encode_head(&self.packs.identity, number))?;
            file.sync()?;
        }
        Ok(())
    }

    fn hold_all(&mut self, found: Vec<Content>) {
        let there: BTreeSet<u32> = self.packs.numbers().collect();
        let referred = found.iter().flat_map(|content| &content.locations).map(|at| at.pack);
        let lost: BTreeSet<u32> = referred.filter(|pack| !there.contains(pack)).collect();
        self.report.lost_packs = lost.len() as u64;
        for content in found {
            self.hold(Held { info: CheckpointInfo::of(&content), content });
        }
    }

    fn open_fetch(&mut self, disk: &D) -> Result<(), OpenError> {
        let copies = read(&disk.open(FETCH)?, Kind::Fetch, &self.packs.identity)?;
        refuse_others("fetch", FETCH, &copies)?;
        let content = copies.into_iter().flatten().next();
        match content {
            Some(content) if self.find(content.id).is_none() => {
                self.fetching = Some(Fetching::new(content.id, content.manifest));
                return Ok(());
            }
            Some(_) => {}
            None => self.report.lost_fetch = true,
        }
        // It was finished, or has to be begun anew.
        self.report.removed_files += 1;
        Ok(remove_if_there(disk, FETCH)?)
    }

    /// Looks into packs to which no checkpoint refers where that may be of use, and removes the
    /// others.
    fn open_orphans(&mut self, disk: &D) -> Result<(), OpenError> {
        let before = self.packs.numbers().count();
        if self.fetching.is_some() || !self.unreadable.is_empty() {
            let locations = self.held.iter().flat_map(|held| &held.content.locations);
            let referred: BTreeSet<u32> = locations.map(|at| at.pack).collect();
            let numbers: Vec<u32> = self.packs.numbers().collect();
            for number in numbers.into_iter().filter(|number| !referred.contains(number)) {
                self.scan_pack(disk, number)?;
            }
        }
        self.collect(disk)?;
        self.report.removed_files += (before - self.packs.numbers().count()) as u64;
        Ok(())
    }

    fn scan_pack(&mut self, disk: &D, number: u32) -> Result<(), OpenError> {
        let file = disk.open(&pack_name(number))?;
        // What a former process wrote and did not sync would otherwise be believed and yet be lost.
        file.sync()?;
        file.forget_cached(0);
        let found = scan(&file, &self.packs.identity, number, file.length()?);
        let records = found.iter().map(|(chunk, _)| record_bytes(chunk.length)).sum();
        let end = found.last().map_or(PACK_HEAD_BYTES, |(chunk, at)| {
            u64::from(at.position) + record_bytes(chunk.length)
        });
        if end < file.length()? {
            // What a crash tore takes no room.
            file.set_length(end)?;
        }
        self.adopt_pack(number, end, Some(records));
        for (chunk, at) in found {
            self.packs.add_unless_known(chunk, at);
        }
        Ok(())
    }

    fn adopt_pack(&mut self, number: u32, length: u64, records: Option<u64>) {
        let bytes = length.saturating_sub(PACK_HEAD_BYTES);
        let size = Size { bytes, records: records.unwrap_or(bytes) };
        self.packs.adopt(&BTreeMap::from([(number, size)]));
    }
}

/// The good copies in a checkpoint's file.
fn read_copies<D: Disk>(
    disk: &D,
    op: OpNumber,
    id: Checksum,
    identity: &Identity,
) -> Result<Vec<Content>, OpenError> {
    let name = checkpoint_name(op, id);
    let copies = read(&disk.open(&name)?, Kind::Whole, identity)?;
    refuse_others("checkpoint", &name, &copies)?;
    let is_this = |content: &Content| content.id == id && content.manifest.header().op == op;
    Ok(copies.into_iter().flatten().filter(is_this).collect())
}

fn refuse_others(
    file: &'static str,
    name: &str,
    copies: &[Result<Content, Bad>],
) -> Result<(), OpenError> {
    for copy in copies {
        match copy {
            Err(Bad::Newer(found)) => return Err(OpenError::Newer { file, found: *found }),
            Err(Bad::Foreign { cluster, replica }) => {
                let (file, cluster, replica) = (name.to_owned(), *cluster, *replica);
                return Err(OpenError::ForeignFile { file, cluster, replica });
            }
            Ok(_) | Err(Bad::Damaged) => {}
        }
    }
    Ok(())
}
