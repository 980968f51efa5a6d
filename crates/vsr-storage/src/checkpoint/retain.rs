//! Dropping checkpoints, and the packs that nothing needs any more.

use std::collections::BTreeSet;

use vsr_core::Checksum;

use super::Checkpoints;
use super::layout::checkpoint_name;
use super::write::Writing;
use crate::disk::{Disk, DiskError};
use crate::error::CheckpointError;

impl<D: Disk> Checkpoints<D> {
    /// Drops all checkpoints but those with these ids, and frees their space. What is being written
    /// or fetched keeps the chunks that it counts on. To be called when the superblock that refers
    /// to the newest one is durable.
    ///
    /// # Errors
    /// After [`CheckpointError::DiskFull`], which a file system may answer even here,
    /// nothing is dropped: try again. All others are fatal.
    pub fn retain(&mut self, disk: &D, ids: &[Checksum]) -> Result<(), CheckpointError> {
        self.refuse_if_stopped()?;
        let done = self.drop_all_but(disk, ids);
        self.heed(done)
    }

    fn drop_all_but(&mut self, disk: &D, ids: &[Checksum]) -> Result<(), CheckpointError> {
        let held = self.held.iter().map(|held| (held.info.header.op, held.info.id));
        let mut dropped = held.chain(self.unreadable.iter().copied()).collect::<Vec<_>>();
        dropped.retain(|(_, id)| !ids.contains(id));
        if !dropped.is_empty() {
            for (op, id) in &dropped {
                match disk.remove(&checkpoint_name(*op, *id)) {
                    Ok(()) | Err(DiskError::NotFound { .. }) => {}
                    Err(error) => return Err(CheckpointError::of_write(error)),
                }
            }
            // Before the packs: a checkpoint never comes back without its chunks.
            disk.sync_directory().map_err(CheckpointError::Failed)?;
            self.held.retain(|held| ids.contains(&held.info.id));
            self.unreadable.retain(|(_, id)| ids.contains(id));
        }
        self.collect(disk).map_err(CheckpointError::Failed)
    }

    /// Removes the packs that nothing needs.
    pub(super) fn collect(&mut self, disk: &D) -> Result<(), DiskError> {
        let needed = self.needed_packs();
        self.packs.keep(disk, &needed)?;
        // A chunk whose latest place is gone may still have an older one.
        for held in self.held.iter().rev() {
            for (chunk, at) in held.content.places() {
                self.packs.add_unless_known(*chunk, *at);
            }
        }
        if let Some(fetching) = &mut self.fetching {
            fetching.look_for_missing(&self.packs);
        }
        Ok(())
    }

    fn needed_packs(&self) -> BTreeSet<u32> {
        if !self.unreadable.is_empty() {
            // Which chunks those checkpoints have is known once their manifests are fetched.
            return self.packs.numbers().collect();
        }
        let held = self.held.iter().flat_map(|held| &held.content.locations);
        let mut needed: BTreeSet<u32> = held.map(|at| at.pack).collect();
        needed.extend(self.writing.iter().flat_map(Writing::packs));
        if let Some(fetching) = &self.fetching {
            needed.extend(fetching.packs());
            // Other packs only if half of them is wanted, so that a fetch that changes its target
            // again and again takes bounded space. What is thrown away is fetched again, which is
            // at most as much as was of no use.
            for (pack, wanted) in fetching.wanted(&self.packs) {
                if 2 * wanted >= self.packs.size(pack).records {
                    needed.insert(pack);
                }
            }
        }
        needed
    }
}
