//! What a simulated replica keeps its log and superblock in.

use std::collections::BTreeMap;

use bytes::Bytes;
use vsr_core::{
    Checkpoint, Checksum, Chunk, Config, Digest, Entry, Fetch, Fetched, Header, OpNumber, Served,
    SessionState, Stored, StoredSlot, SuperblockState, Wanted, WriteKind,
};

use crate::world::choice::{Damage, Tear};
use crate::world::disk_store::SUPERBLOCK_COPIES;

/// What a checkpoint is made of.
#[derive(Clone, Debug)]
pub struct Taken {
    /// The last entry executed.
    pub header: Header,
    /// The client-table, by slot.
    pub sessions: Vec<(u32, SessionState<Bytes>)>,
    /// The service's state.
    pub chunks: Vec<Chunk<Bytes>>,
}

/// A store under a simulated replica: what is written is durable only when it was synced.
pub trait Store: Sized {
    /// A freshly formatted store.
    fn format(config: &Config) -> Self;

    /// Hands a write to the disk, without making it durable.
    ///
    /// # Errors
    /// Why the store does not take it: the process stops.
    fn write(&mut self, kind: &WriteKind<Bytes>) -> Result<(), String>;

    /// Makes durable what was written. False where the file system has no room for all of it: what is not durable
    /// waits for the next call.
    ///
    /// # Errors
    /// Why that failed: the process stops.
    fn sync(&mut self) -> Result<bool, String>;

    /// From now on the file system has room, or has none.
    fn set_room(&mut self, room: bool);

    /// Does what can wait while nothing else does. True if there is more of it.
    ///
    /// # Errors
    /// Why that failed: the process stops.
    fn idle(&mut self) -> Result<bool, String>;

    /// Whether no new operation should be promised, for want of room.
    fn is_nearly_full(&self) -> bool;

    /// Makes a checkpoint durable, beside the one before. Returns its digest; `None` where a chunk that the
    /// service counts on is damaged, and where there is no room.
    ///
    /// # Errors
    /// Why that failed: the process stops.
    fn checkpoint(&mut self, taken: &Taken) -> Result<Option<Checksum>, String>;

    /// Reads for a peer a part of a checkpoint.
    ///
    /// # Errors
    /// Why that failed: the process stops.
    fn serve(&mut self, wanted: Wanted) -> Result<Served<Bytes>, String>;

    /// Fetches a checkpoint, as far as this asks for.
    ///
    /// # Errors
    /// Why that failed: the process stops.
    fn fetch(&mut self, fetch: &Fetch<Bytes>) -> Result<Option<Fetched<Bytes>>, String>;

    /// The service's state in a checkpoint.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn state(&mut self, checkpoint: &Checkpoint) -> Result<Vec<Bytes>, String>;

    /// The id of a checkpoint of which something was found damaged since this was asked last.
    fn damaged_checkpoint(&mut self) -> Option<Checksum>;

    /// The chunks that were found to be gone since this was asked last.
    fn take_lost_chunks(&mut self) -> Vec<Checksum>;

    /// The latest checkpoint that is whole.
    fn latest_checkpoint(&self) -> Option<Checksum>;

    /// How many chunks the latest checkpoint has.
    fn chunks(&self) -> usize;

    /// The ops whose records are there to last, and may rot; none while something is unsynced.
    fn records(&self) -> Vec<u64>;

    /// The ops whose records such damage would take, since records share sectors, and of each whether the ring of headers
    /// says that it was there.
    fn struck(&self, damage: Damage) -> Vec<(u64, bool)>;

    /// How many copies of the superblock are whole and the latest.
    fn superblocks(&self) -> usize;

    /// Reads all that is on the disk once, and names the ops whose records are found damaged.
    ///
    /// # Errors
    /// Why that failed: the process stops.
    fn scrub(&mut self) -> Result<Vec<OpNumber>, String>;

    /// The machine dies: what was not synced is lost, or lands in parts as `tear` says. So does a
    /// checkpoint that was being written, and what was being fetched if the process dies at a point.
    fn crash(&mut self, tear: Tear, unfinished: Option<&Taken>, fetches: &[&Fetch<Bytes>]);

    /// Opens the store after a crash.
    ///
    /// # Errors
    /// What is wrong with it, if it cannot be opened.
    fn open(&mut self, config: &Config) -> Result<Stored<Bytes>, String>;

    /// Reads entries from `first` to `last`: those that are whole, and the ops that are damaged.
    fn read(&mut self, first: OpNumber, last: OpNumber) -> (Vec<Entry<Bytes>>, Vec<OpNumber>);

    /// Damages what is on the disk.
    ///
    /// # Errors
    /// Why that cannot be done.
    fn damage(&mut self, damage: Damage) -> Result<(), String>;
}

/// A store in memory, for exploration: no layout, no checksums, whole writes or none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MemoryStore {
    superblock: SuperblockState,
    slots: Vec<Option<Entry<Bytes>>>,
    unsynced: Vec<WriteKind<Bytes>>,
    checkpoints: Checkpoints,
}

/// Checkpoints in memory, all that were ever taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Checkpoints {
    /// By digest.
    taken: BTreeMap<u128, InMemory>,
    /// By digest.
    chunks: BTreeMap<u128, Bytes>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct InMemory {
    sessions: Vec<(u32, SessionState<Bytes>)>,
    /// The digests of the state's chunks.
    chunks: Vec<u128>,
}

impl Checkpoints {
    fn take(&mut self, taken: &Taken) -> Checksum {
        let mut chunks = Vec::new();
        for chunk in &taken.chunks {
            chunks.push(match chunk {
                Chunk::Bytes(bytes) => {
                    let digest = Checksum::of(bytes).0;
                    self.chunks.insert(digest, bytes.clone());
                    digest
                }
                Chunk::Same(digest) => digest.0,
            });
        }
        let mut id = Digest::new();
        id.write_u128(taken.header.checksum.0);
        chunks.iter().for_each(|digest| id.write_u128(*digest));
        id.write(format!("{:?}", taken.sessions).as_bytes());
        let id = id.finish();
        self.taken.insert(id.0, InMemory { sessions: taken.sessions.clone(), chunks });
        id
    }

    fn state(&self, checkpoint: &Checkpoint) -> Result<Vec<Bytes>, String> {
        let kept = self.taken.get(&checkpoint.id.0).ok_or("there is no such checkpoint")?;
        let chunk = |digest: &u128| self.chunks.get(digest).cloned();
        let chunks = kept.chunks.iter().map(chunk).collect::<Option<_>>();
        chunks.ok_or_else(|| "a chunk is gone".to_owned())
    }

    fn sessions(&self, checkpoint: &Checkpoint) -> Vec<(u32, SessionState<Bytes>)> {
        let kept = self.taken.get(&checkpoint.id.0);
        kept.map_or_else(Vec::new, |kept| kept.sessions.clone())
    }
}

impl MemoryStore {
    /// What the superblock durably says.
    #[must_use]
    pub const fn superblock(&self) -> &SuperblockState {
        &self.superblock
    }

    /// The entry that is durable at an op.
    #[must_use]
    pub fn entry(&self, op: OpNumber) -> Option<&Entry<Bytes>> {
        self.slots.get(op.0 as usize)?.as_ref()
    }

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
            WriteKind::Superblock(state) => self.superblock = *state,
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
            checkpoints: Checkpoints::default(),
        }
    }

    fn write(&mut self, kind: &WriteKind<Bytes>) -> Result<(), String> {
        self.unsynced.push(kind.clone());
        Ok(())
    }

    fn sync(&mut self) -> Result<bool, String> {
        for write in std::mem::take(&mut self.unsynced) {
            self.land(write);
        }
        Ok(true)
    }

    fn set_room(&mut self, _: bool) {}

    fn idle(&mut self) -> Result<bool, String> {
        Ok(false)
    }

    fn is_nearly_full(&self) -> bool {
        false
    }

    fn checkpoint(&mut self, taken: &Taken) -> Result<Option<Checksum>, String> {
        Ok(Some(self.checkpoints.take(taken)))
    }

    fn serve(&mut self, wanted: Wanted) -> Result<Served<Bytes>, String> {
        Ok(Served::Absent(wanted.name()))
    }

    fn fetch(&mut self, fetch: &Fetch<Bytes>) -> Result<Option<Fetched<Bytes>>, String> {
        Ok(match fetch {
            Fetch::Begin { checkpoint, .. } | Fetch::Mend { checkpoint } => {
                Some(Fetched::Refused { id: checkpoint.id })
            }
            Fetch::Sync { id } | Fetch::Finish { id } => Some(Fetched::Refused { id: *id }),
            Fetch::Put { .. } | Fetch::Abandon => None,
        })
    }

    fn state(&mut self, checkpoint: &Checkpoint) -> Result<Vec<Bytes>, String> {
        self.checkpoints.state(checkpoint)
    }

    fn damaged_checkpoint(&mut self) -> Option<Checksum> {
        None
    }

    fn take_lost_chunks(&mut self) -> Vec<Checksum> {
        Vec::new()
    }

    fn latest_checkpoint(&self) -> Option<Checksum> {
        None
    }

    fn chunks(&self) -> usize {
        0
    }

    fn records(&self) -> Vec<u64> {
        Vec::new()
    }

    fn struck(&self, _: Damage) -> Vec<(u64, bool)> {
        Vec::new()
    }

    fn superblocks(&self) -> usize {
        SUPERBLOCK_COPIES as usize
    }

    fn scrub(&mut self) -> Result<Vec<OpNumber>, String> {
        Ok(Vec::new())
    }

    fn crash(&mut self, tear: Tear, _: Option<&Taken>, _: &[&Fetch<Bytes>]) {
        let landed = match tear {
            Tear::None | Tear::Last | Tear::At(_) => 0,
            Tear::Seed(seed) => seed as usize % (self.unsynced.len() + 1),
        };
        for write in std::mem::take(&mut self.unsynced).into_iter().take(landed) {
            self.land(write);
        }
    }

    fn open(&mut self, _config: &Config) -> Result<Stored<Bytes>, String> {
        let slot = |slot: &Option<Entry<Bytes>>| {
            slot.as_ref().map_or(StoredSlot::Empty, |entry| StoredSlot::Held(*entry.header()))
        };
        let first = self.superblock.trimmed.op.0 as usize + 1;
        Ok(Stored {
            superblock: self.superblock.clone(),
            slots: self.slots.iter().skip(first).map(slot).collect(),
            sessions: self.checkpoints.sessions(&self.superblock.checkpoint),
            is_checkpoint_damaged: false,
        })
    }

    fn read(&mut self, first: OpNumber, last: OpNumber) -> (Vec<Entry<Bytes>>, Vec<OpNumber>) {
        let entries = (first.0..=last.0)
            .map_while(|op| self.slots.get(op as usize).cloned().flatten())
            .collect();
        (entries, Vec::new())
    }

    fn damage(&mut self, _: Damage) -> Result<(), String> {
        Err("a store in memory cannot be damaged".to_owned())
    }
}
