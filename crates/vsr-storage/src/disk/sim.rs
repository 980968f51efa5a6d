//! The simulated disk: in memory, deterministic, and as bad as it is told to be.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use super::dice::Dice;
use super::sim_file::{SimFile, Style};
use super::{CrashPoint, Disk, DiskError, File, Step};

/// A disk in memory. Clones are handles to the same disk; [`SimDisk::fork`] copies it.
///
/// Everything is durable only after a sync. [`SimDisk::lose_power`] decides from a seed which unsynced
/// writes, or parts of them, are kept. The other methods plant one fault each.
#[derive(Clone, Default)]
pub struct SimDisk(Arc<Mutex<State>>);

/// Where, relative to a numbered operation, the power fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PowerCut {
    /// The operation was never begun.
    Before,
    /// The operation was done, but nobody heard of it.
    After,
}

#[derive(Clone, Default)]
struct State {
    files: Vec<SimFile>,
    names: BTreeMap<String, usize>,
    /// The names as of the last sync of the directory.
    durable_names: BTreeMap<String, usize>,
    operations: u64,
    writes: u64,
    syncs: u64,
    faults: Faults,
}

#[derive(Clone, Default)]
struct Faults {
    cut: Option<Cut>,
    dark: bool,
    full: bool,
    fail_sync: bool,
    lose_write: Option<String>,
    misdirect_write: Option<(String, i64)>,
}

/// Where the power is to fail.
#[derive(Clone, Copy)]
enum Cut {
    Operation(u64, PowerCut),
    Point(CrashPoint),
}

impl SimDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A copy that shares nothing with this disk.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self(Arc::new(Mutex::new(self.state().clone())))
    }

    /// The power fails and returns. Each unsynced piece of 512 bytes is kept or lost as `seed` says,
    /// in any order; names since the last sync of the directory too. What was synced is untouched.
    pub fn lose_power(&self, seed: u64) {
        let mut dice = Dice::new(seed);
        let style = Style {
            lost_percent: [0, 20, 50, 80, 100][dice.below(5) as usize],
            whole_writes: dice.chance(30),
            spoils_percent: 0,
        };
        self.lose_power_in(dice, style);
    }

    /// As [`SimDisk::lose_power`], and sectors of 4096 bytes that were being written may come out
    /// spoiled, together with synced bytes beside the written ones: the worst that a drive does.
    pub fn lose_power_spoiling(&self, seed: u64) {
        let mut dice = Dice::new(seed);
        let style = Style {
            lost_percent: [0, 20, 50, 80, 100][dice.below(5) as usize],
            whole_writes: dice.chance(30),
            spoils_percent: [0, 10, 50, 100][dice.below(4) as usize],
        };
        self.lose_power_in(dice, style);
    }

    fn lose_power_in(&self, mut dice: Dice, style: Style) {
        let mut state = self.state();
        for file in &mut state.files {
            file.lose_power(&mut dice, style);
        }
        if dice.chance(style.lost_percent) {
            state.names = state.durable_names.clone();
        } else {
            state.durable_names = state.names.clone();
        }
        state.faults = Faults::default();
    }

    /// The process dies, and the system lives on: nothing is lost, planted faults are forgotten.
    pub fn kill(&self) {
        self.state().faults = Faults::default();
    }

    /// The power fails at the operation (write, sync, change of length or of a name) with this
    /// number, counted from zero over the disk's life; it and all later ones fail. Call
    /// [`SimDisk::lose_power`] for it to return.
    pub fn cut_power_at(&self, operation: u64, cut: PowerCut) {
        self.state().faults.cut = Some(Cut::Operation(operation, cut));
    }

    /// As [`SimDisk::cut_power_at`], the next time that a store comes to this point.
    pub fn cut_power_at_point(&self, point: CrashPoint) {
        self.state().faults.cut = Some(Cut::Point(point));
    }

    /// Whether the power was cut and is not back.
    #[must_use]
    pub fn is_dark(&self) -> bool {
        self.state().faults.dark
    }

    /// From now on there is no space (or there is again): files do not grow.
    pub fn set_full(&self, full: bool) {
        self.state().faults.full = full;
    }

    /// The next sync fails; whether its writes survive is for a later power loss to say.
    pub fn fail_next_sync(&self) {
        self.state().faults.fail_sync = true;
    }

    /// The next write to this file is reported done and never reaches it.
    pub fn lose_next_write(&self, name: &str) {
        self.state().faults.lose_write = Some(name.to_owned());
    }

    /// The next write to this file lands so many bytes further.
    pub fn misdirect_next_write(&self, name: &str, by: i64) {
        self.state().faults.misdirect_write = Some((name.to_owned(), by));
    }

    /// Flips the bits of `mask` from `offset` on. Nothing happens where there is no such file.
    pub fn corrupt(&self, name: &str, offset: u64, mask: &[u8]) {
        self.with(name, |file| file.corrupt(offset, mask));
    }

    /// Puts bytes into a file, durably; the file is made where it does not exist.
    pub fn place(&self, name: &str, offset: u64, bytes: &[u8]) {
        {
            let mut state = self.state();
            if !state.names.contains_key(name) {
                let id = state.files.len();
                state.files.push(SimFile::default());
                state.names.insert(name.to_owned(), id);
                state.durable_names.insert(name.to_owned(), id);
            }
        }
        self.with(name, |file| file.place(offset, bytes));
    }

    /// Cuts a file, durably.
    pub fn cut(&self, name: &str, length: u64) {
        self.with(name, |file| file.cut(length));
    }

    /// The sector around `offset` cannot be read until it is written as a whole.
    pub fn make_unreadable(&self, name: &str, offset: u64) {
        self.with(name, |file| file.make_unreadable(offset));
    }

    /// All bytes of a file as a process would read them; empty where there is no such file.
    #[must_use]
    pub fn contents(&self, name: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.with(name, |file| {
            bytes.resize(file.length() as usize, 0);
            // What the medium does not give stays zero.
            let _length = file.read(0, &mut bytes);
        });
        bytes
    }

    /// How many operations there were: see [`SimDisk::cut_power_at`].
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// How many writes there were.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.state().writes
    }

    /// How many syncs of files there were.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// How many changes of files a power loss could take back.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.state().files.iter().map(SimFile::unsynced).sum()
    }

    fn with(&self, name: &str, change: impl FnOnce(&mut SimFile)) {
        let mut state = self.state();
        if let Some(id) = state.names.get(name).copied() {
            change(&mut state.files[id]);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no holder of this lock panics while it holds it")
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("SimDisk")
            .field("files", &state.names)
            .field("operations", &state.operations)
            .finish()
    }
}

impl State {
    /// Does a change unless the power is cut, or cuts it.
    fn change(
        &mut self,
        step: Step,
        name: &str,
        change: impl FnOnce(&mut Self) -> Result<(), DiskError>,
    ) -> Result<(), DiskError> {
        let number = self.operations;
        self.operations += 1;
        if self.faults.dark {
            return Err(no_power(step.what(), name));
        }
        let cut = match self.faults.cut {
            Some(Cut::Operation(at, cut)) => (at == number).then_some(cut),
            Some(Cut::Point(point)) => point.cut(step, name),
            None => None,
        };
        match cut {
            Some(PowerCut::Before) => {
                self.faults.dark = true;
                Err(no_power(step.what(), name))
            }
            Some(PowerCut::After) => {
                // Whether it went well or not, nobody is there to hear.
                let _unheard = change(self);
                self.faults.dark = true;
                Err(no_power(step.what(), name))
            }
            None => change(self),
        }
    }

    fn refuse_if_full(&self, id: usize, end: u64, name: &str) -> Result<(), DiskError> {
        if self.faults.full && end > self.files[id].length() {
            return Err(DiskError::Full { what: "write", name: name.to_owned() });
        }
        Ok(())
    }

    fn id(&self, name: &str) -> Result<usize, DiskError> {
        let found = self.names.get(name).copied();
        found.ok_or_else(|| DiskError::NotFound { name: name.to_owned() })
    }
}

fn no_power(what: &'static str, name: &str) -> DiskError {
    DiskError::Failed { what, name: name.to_owned(), source: io::Error::other("the power is cut") }
}

impl Disk for SimDisk {
    type File = SimDiskFile;

    fn open(&self, name: &str) -> Result<SimDiskFile, DiskError> {
        let state = self.state();
        if state.faults.dark {
            return Err(no_power("open", name));
        }
        Ok(SimDiskFile { id: state.id(name)?, disk: self.clone(), name: name.to_owned() })
    }

    fn create(&self, name: &str) -> Result<SimDiskFile, DiskError> {
        self.state().change(Step::Create, name, |state| {
            if state.names.contains_key(name) {
                return Err(DiskError::AlreadyExists { name: name.to_owned() });
            }
            let id = state.files.len();
            state.files.push(SimFile::default());
            state.names.insert(name.to_owned(), id);
            Ok(())
        })?;
        self.open(name)
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.state().change(Step::Rename, from, |state| {
            let id = state.id(from)?;
            state.names.remove(from);
            state.names.insert(to.to_owned(), id);
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> Result<(), DiskError> {
        self.state().change(Step::Remove, name, |state| {
            state.id(name)?;
            state.names.remove(name);
            Ok(())
        })
    }

    fn list(&self) -> Result<Vec<String>, DiskError> {
        Ok(self.state().names.keys().cloned().collect())
    }

    fn sync_directory(&self) -> Result<(), DiskError> {
        self.state().change(Step::SyncDirectory, "", |state| {
            state.durable_names = state.names.clone();
            Ok(())
        })
    }
}

/// A file of a [`SimDisk`].
#[derive(Clone, Debug)]
pub struct SimDiskFile {
    disk: SimDisk,
    id: usize,
    name: String,
}

impl File for SimDiskFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        let state = self.disk.state();
        if state.faults.dark {
            return Err(no_power("read", &self.name));
        }
        state.files[self.id].read(offset, buffer).ok_or_else(|| DiskError::Failed {
            what: "read",
            name: self.name.clone(),
            source: io::Error::other("the medium does not give this sector"),
        })
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let (id, name) = (self.id, &self.name);
        self.disk.state().change(Step::Write, name, |state| {
            state.writes += 1;
            state.refuse_if_full(id, offset + bytes.len() as u64, name)?;
            if state.faults.lose_write.as_ref() == Some(name) {
                state.faults.lose_write = None;
                return Ok(());
            }
            let mut offset = offset;
            if let Some((file, by)) = &state.faults.misdirect_write
                && file == name
            {
                offset = offset.saturating_add_signed(*by);
                state.faults.misdirect_write = None;
            }
            state.files[id].write(offset, bytes);
            Ok(())
        })
    }

    fn allocate(&self, _from: u64, to: u64) -> Result<(), DiskError> {
        let (id, name) = (self.id, &self.name);
        self.disk.state().change(Step::Allocate, name, |state| {
            state.refuse_if_full(id, to, name)?;
            state.files[id].grow(to);
            Ok(())
        })
    }

    fn set_length(&self, length: u64) -> Result<(), DiskError> {
        let (id, name) = (self.id, &self.name);
        self.disk.state().change(Step::SetLength, name, |state| {
            state.files[id].set_length(length);
            Ok(())
        })
    }

    fn length(&self) -> Result<u64, DiskError> {
        Ok(self.disk.state().files[self.id].length())
    }

    fn sync(&self) -> Result<(), DiskError> {
        let (id, name) = (self.id, &self.name);
        self.disk.state().change(Step::Sync, name, |state| {
            state.syncs += 1;
            if std::mem::take(&mut state.faults.fail_sync) {
                return Err(DiskError::Failed {
                    what: "sync",
                    name: name.clone(),
                    source: io::Error::other("the medium failed"),
                });
            }
            state.files[id].sync();
            Ok(())
        })
    }

    fn next_data(&self, offset: u64) -> u64 {
        self.disk.state().files[self.id].next_data(offset)
    }

    fn forget_cached(&self, _offset: u64) {}
}
