//! A store in memory, which forgets at a crash what was not synced, and can be made to fail.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use vsr_core::{
    ClusterId, Entry, Header, OpNumber, Stored, StoredSlot, SuperblockState, WriteKind,
};

use crate::store::{LogStore, ReadBack, StoreError};

/// What survives a crash. Cheap to clone; the clones are the same disk.
#[derive(Clone, Debug)]
pub struct MemoryDisk(Arc<Mutex<Durable>>);

#[derive(Debug)]
struct Durable {
    superblock: SuperblockState,
    entries: BTreeMap<OpNumber, Entry<Bytes>>,
    sync_takes: Duration,
    fails: bool,
    full: bool,
    open: bool,
}

/// An open store on a [`MemoryDisk`].
#[derive(Debug)]
pub struct MemoryStore {
    disk: MemoryDisk,
    unsynced: Vec<WriteKind<Bytes>>,
}

impl MemoryDisk {
    /// The disk of a freshly formatted replica, whose syncs take this long.
    #[must_use]
    pub fn new(cluster: ClusterId, sync_takes: Duration) -> Self {
        Self(Arc::new(Mutex::new(Durable {
            superblock: SuperblockState::formatted(Header::root(cluster)),
            entries: BTreeMap::new(),
            sync_takes,
            fails: false,
            full: false,
            open: false,
        })))
    }

    /// Opens the store, and says what it holds.
    ///
    /// # Panics
    /// If it is open already.
    #[must_use]
    pub fn open(&self) -> (MemoryStore, Stored<Bytes>) {
        let mut durable = self.lock();
        assert!(!durable.open, "one process a store");
        durable.open = true;
        let last = durable.entries.keys().next_back().copied().unwrap_or_default();
        let slot = |op| match durable.entries.get(&OpNumber(op)) {
            Some(entry) => StoredSlot::Held(*entry.header()),
            None => StoredSlot::Empty,
        };
        let stored = Stored {
            superblock: durable.superblock.clone(),
            slots: (1..=last.0).map(slot).collect(),
            sessions: Vec::new(),
            is_checkpoint_damaged: false,
        };
        drop(durable);
        (MemoryStore { disk: self.clone(), unsynced: Vec::new() }, stored)
    }

    /// Makes all syncs fail from now on.
    pub fn fail(&self) {
        self.lock().fails = true;
    }

    /// Makes each sync from now on take this long.
    pub fn set_sync_takes(&self, sync_takes: Duration) {
        self.lock().sync_takes = sync_takes;
    }

    /// Says whether the disk is full.
    pub fn set_full(&self, full: bool) {
        self.lock().full = full;
    }

    fn lock(&self) -> MutexGuard<'_, Durable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogStore for MemoryStore {
    fn write(&mut self, write: &WriteKind<Bytes>) -> Result<(), StoreError> {
        self.unsynced.push(write.clone());
        Ok(())
    }

    fn sync(&mut self) -> Result<u32, StoreError> {
        let sync_takes = self.disk.lock().sync_takes;
        if !sync_takes.is_zero() {
            thread::sleep(sync_takes);
        }
        let mut durable = self.disk.lock();
        if durable.fails {
            return Err(StoreError::Failed("the disk was told to fail".into()));
        }
        if durable.full {
            return Err(StoreError::Full);
        }
        for write in self.unsynced.drain(..) {
            match write {
                WriteKind::Append(entries) => {
                    let slots = entries.into_iter().map(|entry| (entry.header().op, entry));
                    durable.entries.extend(slots);
                }
                WriteKind::Superblock(state) => durable.superblock = *state,
                WriteKind::MarkFaulty(op) => {
                    durable.entries.remove(&op);
                }
            }
        }
        Ok(1)
    }

    fn idle(&mut self) -> Result<bool, StoreError> {
        Ok(false)
    }

    fn read(&self, first: OpNumber, last: OpNumber, bytes_max: u64) -> ReadBack {
        let durable = self.disk.lock();
        let mut read = ReadBack::default();
        let mut bytes = 0;
        for (_, entry) in durable.entries.range(first..=last) {
            bytes += u64::from(entry.header().length);
            if bytes > bytes_max && !read.entries.is_empty() {
                break;
            }
            read.entries.push(entry.clone());
        }
        read
    }

    fn is_nearly_full(&self) -> bool {
        self.disk.lock().full
    }
}

impl Drop for MemoryStore {
    fn drop(&mut self) {
        self.disk.lock().open = false;
    }
}
