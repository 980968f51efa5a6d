//! What a simulated replica keeps its log and superblock in.

use bytes::Bytes;
use vsr_core::{
    Checksum, Config, Entry, Header, OpNumber, Stored, StoredSlot, SuperblockState, WriteKind,
};

use crate::world::choice::{Damage, Tear};

/// A store under a simulated replica: what is written is durable only when it was synced.
pub trait Store: Sized {
    /// A freshly formatted store.
    fn format(config: &Config) -> Self;

    /// Hands a write to the disk, without making it durable.
    ///
    /// # Errors
    /// Why the store does not take it: the process stops.
    fn write(&mut self, kind: &WriteKind<Bytes>) -> Result<(), String>;

    /// Makes durable what was written.
    ///
    /// # Errors
    /// Why that failed: the process stops.
    fn sync(&mut self) -> Result<(), String>;

    /// Does what can wait while nothing else does. True if there is more of it.
    ///
    /// # Errors
    /// Why that failed: the process stops.
    fn idle(&mut self) -> Result<bool, String>;

    /// Whether no new operation should be promised, for want of room.
    fn is_nearly_full(&self) -> bool;

    /// The machine dies: what was not synced is lost, or lands in parts as `tear` says.
    fn crash(&mut self, tear: Tear);

    /// Opens the store after a crash.
    ///
    /// # Errors
    /// What is wrong with it, if it cannot be opened.
    fn open(&mut self, config: &Config) -> Result<Stored, String>;

    /// Reads entries from `first` to `last`: those that are whole, and the ops that are damaged.
    fn read(&mut self, first: OpNumber, last: OpNumber) -> (Vec<Entry<Bytes>>, Vec<OpNumber>);

    /// Damages what is on the disk; `entries` are those meant.
    ///
    /// # Errors
    /// Why that cannot be done.
    fn damage(&mut self, damage: Damage, entries: &[Checksum]) -> Result<(), String>;
}

/// A store in memory, for exploration: no layout, no checksums, whole writes or none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MemoryStore {
    superblock: SuperblockState,
    slots: Vec<Option<Entry<Bytes>>>,
    unsynced: Vec<WriteKind<Bytes>>,
}

impl MemoryStore {
    fn land(&mut self, write: WriteKind<Bytes>) {
        match write {
            WriteKind::Append(entries) => {
                for entry in entries {
                    let index = entry.header().op.0 as usize;
                    if self.slots.len() <= index {
                        self.slots.resize(index + 1, None);
                    }
                    self.slots[index] = Some(entry);
                }
            }
            WriteKind::Superblock(state) => self.superblock = state,
            WriteKind::MarkFaulty(_) => {}
        }
    }
}

impl Store for MemoryStore {
    fn format(config: &Config) -> Self {
        Self {
            superblock: SuperblockState::formatted(Header::root(config.cluster())),
            slots: Vec::new(),
            unsynced: Vec::new(),
        }
    }

    fn write(&mut self, kind: &WriteKind<Bytes>) -> Result<(), String> {
        self.unsynced.push(kind.clone());
        Ok(())
    }

    fn sync(&mut self) -> Result<(), String> {
        for write in std::mem::take(&mut self.unsynced) {
            self.land(write);
        }
        Ok(())
    }

    fn idle(&mut self) -> Result<bool, String> {
        Ok(false)
    }

    fn is_nearly_full(&self) -> bool {
        false
    }

    fn crash(&mut self, tear: Tear) {
        let landed = match tear {
            Tear::None | Tear::Last => 0,
            Tear::Seed(seed) => seed as usize % (self.unsynced.len() + 1),
        };
        for write in std::mem::take(&mut self.unsynced).into_iter().take(landed) {
            self.land(write);
        }
    }

    fn open(&mut self, _config: &Config) -> Result<Stored, String> {
        let slot = |slot: &Option<Entry<Bytes>>| {
            slot.as_ref().map_or(StoredSlot::Empty, |entry| StoredSlot::Held(*entry.header()))
        };
        Ok(Stored {
            superblock: self.superblock.clone(),
            slots: self.slots.iter().skip(1).map(slot).collect(),
        })
    }

    fn read(&mut self, first: OpNumber, last: OpNumber) -> (Vec<Entry<Bytes>>, Vec<OpNumber>) {
        let entries = (first.0..=last.0)
            .map_while(|op| self.slots.get(op as usize).cloned().flatten())
            .collect();
        (entries, Vec::new())
    }

    fn damage(&mut self, _damage: Damage, _entries: &[Checksum]) -> Result<(), String> {
        Err("a store in memory cannot be damaged".to_owned())
    }
}
