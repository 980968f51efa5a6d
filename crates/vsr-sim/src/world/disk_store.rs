//! The shipped store over a simulated disk.

use bytes::Bytes;
use vsr_core::{
    Checkpoint, Checksum, Chunk, Config, Entry, Fetch, Fetched, OpNumber, ReplicaId, Served,
    StoreId, Stored, StoredSlot, Wanted, WriteKind,
};
use vsr_storage::{
    CheckpointError, ChunkError, ChunkPlace, CrashPoint, Format, Inspection, OpenError, PowerCut,
    Progress, SECTOR, SimDisk, SlotReport, SuperblockCopy, superblock_copies,
};

use crate::world::choice::{Damage, Tear};
use crate::world::store::{Store, Taken};

/// How many bytes one read of entries brings at most.
const READ_BYTES_MAX: u64 = 1 << 20;

/// How many bytes of records are scrubbed at a time.
const SCRUB_BYTES: u64 = 4096;

/// The store's files.
const LOG: &str = "log";
const SUPERBLOCK: &str = "superblock";

/// How many copies of the superblock there are, side by side.
pub(crate) const SUPERBLOCK_COPIES: u32 = 4;

/// Somewhere within a copy that its checksum covers.
const WITHIN_COPY: u64 = 64;

/// Beyond the alignment of a record's start, well within its header.
const WITHIN_RECORD: u64 = 16;

/// What damage at rest flips.
const FLIPPED_BIT: [u8; 1] = [0x10];

/// With this seed half of the last write's sectors reach the disk.
const TORN_SEED: u64 = 5;

/// A crash in the middle of a sync comes at one of its first operations on the disk.
const CUT_OPERATIONS: u64 = 5;

/// One in the middle of a checkpoint comes at one of so many: those of the sync, and those that make packs
/// and the checkpoint.
const CUT_IN_CHECKPOINT: u64 = 24;

/// The shipped store, over a disk that loses and tears.
pub struct DiskStore {
    disk: SimDisk,
    store: Option<vsr_storage::Store<SimDisk>>,
    /// Chunks that a service counts on, of checkpoints that were given up.
    unstored: Vec<Checksum>,
}

impl DiskStore {
    fn store(&mut self) -> &mut vsr_storage::Store<SimDisk> {
        self.store.as_mut().expect("a store is open while its process lives")
    }

    /// What the log has of an op.
    fn slot(&self, op: u64) -> Option<SlotReport> {
        Inspection::open(&self.disk).ok()?.slots(OpNumber(op), OpNumber(op)).next()
    }

    /// Where the record of an op begins.
    fn record(&self, op: u64) -> Option<u64> {
        self.slot(op)?.record.map(|(position, _)| position)
    }

    /// The process dies at a point of what its disk has to do, or after all of it. The machine lives on.
    fn crash_at(
        &mut self,
        point: CrashPoint,
        unfinished: Option<&Taken>,
        fetches: &[&Fetch<Bytes>],
    ) {
        self.disk.cut_power_at_point(point);
        if let Some(mut store) = self.store.take() {
            // Nobody lives to hear how it went.
            let _unheard = store.sync();
            if let Some(taken) = unfinished {
                let _unheard = take(&mut store, taken);
            }
            for fetch in fetches {
                let _unheard = store.fetch(fetch);
            }
            while store.idle().is_ok_and(|more| more) {}
        }
        self.disk.kill();
    }

    /// Where the chunks of the latest checkpoint lie.
    fn places_of_chunks(&self) -> Result<Vec<ChunkPlace>, OpenError> {
        let inspection = Inspection::open(&self.disk)?;
        let latest = inspection.checkpoints(&self.disk)?.whole.pop();
        latest.map_or(Ok(Vec::new()), |latest| inspection.chunks(&self.disk, latest.id))
    }
}

impl Store for DiskStore {
    fn format(config: &Config) -> Self {
        let disk = SimDisk::new();
        let members = config.configuration().members();
        let format = Format {
            cluster: config.cluster(),
            replica: config.replica(),
            store: StoreId(u128::from(config.replica().0) + 1),
            configuration: config.configuration().clone(),
            constants: *config.constants(),
            addresses: members.iter().map(|member| (member.id, address(member.id))).collect(),
        };
        let formatted = vsr_storage::Store::format(&disk, &format);
        assert!(formatted.is_ok(), "a fresh disk can be formatted: {formatted:?}");
        let mut this = Self { disk, store: None, unstored: Vec::new() };
        let opened = this.open(config);
        assert!(opened.is_ok(), "a fresh store can be opened: {opened:?}");
        this
    }

    fn write(&mut self, kind: &WriteKind<Bytes>) -> Result<(), String> {
        self.store().write(kind).map_err(|error| error.to_string())
    }

    fn sync(&mut self) -> Result<bool, String> {
        match self.store().sync() {
            Ok(_) => Ok(true),
            Err(error) if error.is_fatal() => Err(error.to_string()),
            Err(_) => Ok(false),
        }
    }

    fn set_room(&mut self, room: bool) {
        self.disk.set_full(!room);
    }

    fn idle(&mut self) -> Result<bool, String> {
        match self.store().idle() {
            Err(error) if !error.is_fatal() => Ok(true),
            done => done.map_err(|error| error.to_string()),
        }
    }

    fn is_nearly_full(&self) -> bool {
        self.store.as_ref().is_some_and(vsr_storage::Store::is_nearly_full)
    }

    fn checkpoint(&mut self, taken: &Taken) -> Result<Option<Checksum>, String> {
        match take(self.store(), taken) {
            Err(CheckpointError::UnknownChunk { .. }) => {
                // All were read from the service before any was stored, so that it counts on them too.
                self.unstored.extend(taken.chunks.iter().filter_map(digest_of_bytes));
                Ok(None)
            }
            Err(CheckpointError::DiskFull) => Ok(None),
            done => done.map(Some).map_err(|error| error.to_string()),
        }
    }

    fn serve(&mut self, wanted: Wanted) -> Result<Served<Bytes>, String> {
        self.store().serve(wanted).map_err(|error| error.to_string())
    }

    fn fetch(&mut self, fetch: &Fetch<Bytes>) -> Result<Option<Fetched<Bytes>>, String> {
        loop {
            let fetched = self.store().fetch(fetch).map_err(|error| error.to_string())?;
            if fetched.is_some() || !matches!(fetch, Fetch::Finish { .. }) {
                return Ok(fetched);
            }
        }
    }

    fn state(&mut self, checkpoint: &Checkpoint) -> Result<Vec<Bytes>, String> {
        let id = checkpoint.id;
        let store = self.store();
        let chunks = (0..).map_while(|index| store.state_chunk_of(id, index).transpose());
        // All are read, so that all that is damaged is known.
        let chunks: Vec<Result<Bytes, ChunkError>> = chunks.collect();
        chunks.into_iter().collect::<Result<_, _>>().map_err(|error| error.to_string())
    }

    fn damaged_checkpoint(&mut self) -> Option<Checksum> {
        self.store().damaged_checkpoint()
    }

    fn take_lost_chunks(&mut self) -> Vec<Checksum> {
        let mut lost = self.store().take_lost_chunks();
        lost.append(&mut self.unstored);
        lost
    }

    fn latest_checkpoint(&self) -> Option<Checksum> {
        let inspection = Inspection::open(&self.disk).ok()?;
        inspection.checkpoints(&self.disk).ok()?.whole.pop().map(|info| info.id)
    }

    fn chunks(&self) -> usize {
        self.places_of_chunks().map_or(0, |places| places.len())
    }

    fn records(&self) -> Vec<u64> {
        if self.disk.unsynced() > 0 {
            return Vec::new();
        }
        let Ok(inspection) = Inspection::open(&self.disk) else { return Vec::new() };
        // The ring of headers says what was there, or what was written later.
        let slots = inspection.slots(OpNumber::ZERO, OpNumber(u64::MAX));
        let known = |slot: &SlotReport| slot.in_ring || slot.proven;
        let held = slots.filter(|slot| known(slot) && matches!(slot.slot, StoredSlot::Held(_)));
        held.map(|slot| slot.op.0).collect()
    }

    fn struck(&self, damage: Damage) -> Vec<(u64, bool)> {
        let op = match damage {
            Damage::Log(op) | Damage::Lose(op) => {
                return self.slot(op).map(|slot| (op, slot.in_ring)).into_iter().collect();
            }
            Damage::Header(op) | Damage::LoseHeader(op) => {
                let slot = self.slot(op).filter(|slot| slot.in_ring);
                return slot.map(|_| (op, true)).into_iter().collect();
            }
            Damage::Unreadable(op) | Damage::Misdirect(_, op) => op,
            Damage::Superblock(_) | Damage::Chunk(_) => return Vec::new(),
        };
        let Ok(inspection) = Inspection::open(&self.disk) else { return Vec::new() };
        let slots = inspection.slots(OpNumber::ZERO, OpNumber(u64::MAX));
        let records: Vec<((u64, bool), u64, u64)> = slots
            .filter_map(|slot| {
                let (start, length) = slot.record?;
                Some(((slot.op.0, slot.in_ring), start, start + u64::from(length)))
            })
            .collect();
        let Some((_, start, _)) = records.iter().find(|(of, ..)| of.0 == op).copied() else {
            return Vec::new();
        };
        let whole_sector = matches!(damage, Damage::Unreadable(_));
        let start = if whole_sector { start / SECTOR * SECTOR } else { start };
        let (end, log_end) = (start + SECTOR, self.disk.contents(LOG).len() as u64);
        // One that begins anew where the records do may reach into any sector there.
        let shares = |from: u64, to: u64| (from < end && start < to) || to > log_end;
        records.into_iter().filter(|(_, from, to)| shares(*from, *to)).map(|(of, ..)| of).collect()
    }

    fn superblocks(&self) -> usize {
        let Ok(copies) = superblock_copies(&self.disk) else { return 0 };
        let generation = |copy: &SuperblockCopy| copy.content.as_ref().ok().map(|found| found.0);
        let latest = copies.iter().filter_map(generation).max();
        copies.iter().filter_map(generation).filter(|of| Some(*of) == latest).count()
    }

    fn scrub(&mut self) -> Result<Vec<OpNumber>, String> {
        let mut faulty = Vec::new();
        loop {
            let part = self.store().scrub(SCRUB_BYTES).map_err(|error| error.to_string())?;
            faulty.extend(part.faulty);
            if part.is_over {
                return Ok(faulty);
            }
        }
    }

    fn crash(&mut self, tear: Tear, unfinished: Option<&Taken>, fetches: &[&Fetch<Bytes>]) {
        let seed = match tear {
            Tear::At(point) => return self.crash_at(point, unfinished, fetches),
            Tear::None => None,
            Tear::Last => Some(TORN_SEED),
            Tear::Seed(seed) => Some(seed),
        };
        let Some(seed) = seed else {
            self.disk.kill();
            self.store = None;
            return;
        };
        let at = match tear {
            Tear::Last | Tear::None | Tear::At(_) => 1,
            Tear::Seed(seed) if unfinished.is_some() => (seed >> 8) % CUT_IN_CHECKPOINT,
            Tear::Seed(seed) => (seed >> 8) % CUT_OPERATIONS,
        };
        let cut = if seed & 1 == 0 { PowerCut::Before } else { PowerCut::After };
        self.disk.cut_power_at(self.disk.operations() + at, cut);
        if let Some(mut store) = self.store.take() {
            // Nobody lives to hear whether it went well.
            let _unheard = store.sync();
            if let Some(taken) = unfinished {
                let _unheard = take(&mut store, taken);
            }
        }
        if tear.spoils() {
            self.disk.lose_power_spoiling(seed);
        } else {
            self.disk.lose_power(seed);
        }
    }

    fn open(&mut self, _config: &Config) -> Result<Stored<Bytes>, String> {
        let (store, _, stored) =
            vsr_storage::Store::open(self.disk.clone()).map_err(|error| error.to_string())?;
        self.store = Some(store);
        Ok(stored)
    }

    fn read(&mut self, first: OpNumber, last: OpNumber) -> (Vec<Entry<Bytes>>, Vec<OpNumber>) {
        self.store().read(first, last, READ_BYTES_MAX)
    }

    fn damage(&mut self, damage: Damage) -> Result<(), String> {
        let nothing = || "nothing of that entry is on this disk".to_owned();
        match damage {
            Damage::Log(op) => {
                let record = self.record(op).ok_or_else(nothing)?;
                self.disk.corrupt(LOG, record + WITHIN_RECORD, &FLIPPED_BIT);
            }
            Damage::Header(op) => {
                let slot = self.slot(op).filter(|slot| slot.in_ring).ok_or_else(nothing)?;
                self.disk.corrupt(LOG, slot.ring.0 + WITHIN_RECORD, &FLIPPED_BIT);
            }
            Damage::Superblock(copy) => {
                if copy >= SUPERBLOCK_COPIES {
                    return Err(format!(
                        "copies of the superblock are 0 to {}",
                        SUPERBLOCK_COPIES - 1
                    ));
                }
                let length = self.disk.contents(SUPERBLOCK).len() as u64;
                let start = length / u64::from(SUPERBLOCK_COPIES) * u64::from(copy);
                self.disk.corrupt(SUPERBLOCK, start + WITHIN_COPY, &FLIPPED_BIT);
            }
            Damage::Chunk(index) => {
                let places = self.places_of_chunks().map_err(|error| error.to_string())?;
                let Some(place) = places.get(index as usize) else {
                    return Err(format!("the latest checkpoint has {} chunks", places.len()));
                };
                self.disk.corrupt(&place.file, place.offset, &FLIPPED_BIT);
            }
            Damage::Lose(op) => {
                let slot = self.slot(op).ok_or_else(nothing)?;
                let (start, length) = slot.record.ok_or_else(nothing)?;
                let room = self.disk.contents(LOG).len() - start as usize;
                self.disk.place(LOG, start, &vec![0; room.min(length as usize)]);
            }
            Damage::LoseHeader(op) => {
                let slot = self.slot(op).filter(|slot| slot.in_ring).ok_or_else(nothing)?;
                self.disk.place(LOG, slot.ring.0, &vec![0; slot.ring.1 as usize]);
            }
            Damage::Unreadable(op) => {
                let record = self.record(op).ok_or_else(nothing)?;
                self.disk.make_unreadable(LOG, record);
            }
            Damage::Misdirect(from, to) => {
                let from = self.record(from).ok_or_else(nothing)?;
                let to = self.record(to).ok_or_else(nothing)?;
                let log = self.disk.contents(LOG);
                let room = (log.len() - to as usize).min(SECTOR as usize);
                let misplaced = log[from as usize..].iter().copied().take(room);
                self.disk.place(LOG, to, &misplaced.collect::<Vec<u8>>());
            }
        }
        Ok(())
    }
}

/// Writes a checkpoint, in as many steps as it takes.
fn take(
    store: &mut vsr_storage::Store<SimDisk>,
    taken: &Taken,
) -> Result<Checksum, CheckpointError> {
    store.begin_checkpoint(taken.header, &taken.sessions)?;
    for chunk in &taken.chunks {
        store.put_chunk(chunk)?;
    }
    loop {
        if let Progress::Finished(info) = store.finish_checkpoint()? {
            return Ok(info.id);
        }
    }
}

fn digest_of_bytes(chunk: &Chunk<Bytes>) -> Option<Checksum> {
    match chunk {
        Chunk::Bytes(bytes) => Some(Checksum::of(bytes)),
        Chunk::Same(_) => None,
    }
}

/// Nobody dials in a simulation.
fn address(replica: ReplicaId) -> String {
    format!("{replica}.sim:8771")
}
