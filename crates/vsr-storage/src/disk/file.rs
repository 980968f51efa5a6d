//! The real disk: a directory of the file system, locked against a second process.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::crash_point::step;
use super::{Disk, DiskError, File, Step};

/// The name of the lock file. It is never removed; what counts is the lock that a process holds on it.
const LOCK: &str = "lock";

/// How many zeros are written at once.
const ZEROS: &[u8] = &[0; 256 * 1024];

/// A directory of the file system.
#[derive(Debug)]
pub struct FileDisk {
    directory: PathBuf,
    access: Access,
}

#[derive(Debug)]
enum Access {
    /// Alone in the directory, as long as the lock file stays open.
    Exclusive {
        _lock: fs::File,
    },
    ReadOnly,
}

impl FileDisk {
    /// Takes a directory into exclusive use; it is created where it does not exist. The lock ends
    /// with this value or with the process, however that ends.
    ///
    /// # Errors
    /// [`DiskError::Locked`] where another process has it, or whatever the system says.
    pub fn open(directory: &Path) -> Result<Self, DiskError> {
        let name = directory.display().to_string();
        fs::create_dir_all(directory)
            .map_err(|error| DiskError::from_io("create the directory", &name, error))?;
        let lock = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(directory.join(LOCK))
            .map_err(|error| DiskError::from_io("open the lock in", &name, error))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                directory: directory.to_owned(),
                access: Access::Exclusive { _lock: lock },
            }),
            Err(fs::TryLockError::WouldBlock) => Err(DiskError::Locked { directory: name }),
            Err(fs::TryLockError::Error(error)) => {
                Err(DiskError::from_io("lock the directory", &name, error))
            }
        }
    }

    /// Looks at a directory without locking it and without ever changing it: for inspection, also
    /// while a replica runs on it.
    ///
    /// # Errors
    /// [`DiskError::NotFound`] where there is no such directory, or whatever the system says.
    pub fn open_read_only(directory: &Path) -> Result<Self, DiskError> {
        let name = directory.display().to_string();
        fs::read_dir(directory).map_err(|error| DiskError::from_io("list", &name, error))?;
        Ok(Self { directory: directory.to_owned(), access: Access::ReadOnly })
    }

    fn refuse_if_read_only(&self, what: &'static str, name: &str) -> Result<(), DiskError> {
        match self.access {
            Access::Exclusive { .. } => Ok(()),
            Access::ReadOnly => {
                Err(DiskError::from_io(what, name, io::ErrorKind::PermissionDenied.into()))
            }
        }
    }

    fn open_with(
        &self,
        name: &str,
        what: &'static str,
        options: &fs::OpenOptions,
    ) -> Result<DiskFile, DiskError> {
        let file = options
            .open(self.directory.join(name))
            .map_err(|error| DiskError::from_io(what, name, error))?;
        Ok(DiskFile { file, name: name.to_owned() })
    }
}

impl Disk for FileDisk {
    type File = DiskFile;

    fn open(&self, name: &str) -> Result<DiskFile, DiskError> {
        let writable = match self.access {
            Access::Exclusive { .. } => true,
            Access::ReadOnly => false,
        };
        let mut options = fs::OpenOptions::new();
        options.read(true).write(writable);
        self.open_with(name, "open", &options)
    }

    fn create(&self, name: &str) -> Result<DiskFile, DiskError> {
        self.refuse_if_read_only("create", name)?;
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create_new(true);
        step(Step::Create, name, || self.open_with(name, Step::Create.what(), &options))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.refuse_if_read_only("rename", from)?;
        let rename = || fs::rename(self.directory.join(from), self.directory.join(to));
        step(Step::Rename, from, rename).map_err(|error| DiskError::from_io("rename", from, error))
    }

    fn remove(&self, name: &str) -> Result<(), DiskError> {
        self.refuse_if_read_only("remove", name)?;
        let remove = || fs::remove_file(self.directory.join(name));
        step(Step::Remove, name, remove).map_err(|error| DiskError::from_io("remove", name, error))
    }

    fn list(&self) -> Result<Vec<String>, DiskError> {
        let name = self.directory.display().to_string();
        let failed = |error| DiskError::from_io("list", &name, error);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(failed)? {
            // A name that is not UTF-8 is none of a store's.
            if let Ok(file) = entry.map_err(failed)?.file_name().into_string()
                && file != LOCK
            {
                names.push(file);
            }
        }
        names.sort();
        Ok(names)
    }

    fn sync_directory(&self) -> Result<(), DiskError> {
        let sync = || fs::File::open(&self.directory).and_then(|directory| directory.sync_all());
        step(Step::SyncDirectory, "", sync).map_err(|error| {
            let name = self.directory.display().to_string();
            DiskError::from_io("sync the directory", &name, error)
        })
    }
}

/// A file of a [`FileDisk`].
#[derive(Debug)]
pub struct DiskFile {
    file: fs::File,
    name: String,
}

impl DiskFile {
    fn failed(&self, what: &'static str) -> impl FnOnce(io::Error) -> DiskError + '_ {
        move |error| DiskError::from_io(what, &self.name, error)
    }
}

impl File for DiskFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(length) => filled += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed("read")(error)),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let write = || self.file.write_all_at(bytes, offset);
        step(Step::Write, &self.name, write).map_err(self.failed("write"))
    }

    fn allocate(&self, from: u64, to: u64) -> Result<(), DiskError> {
        let mut at = from;
        while at < to {
            let length = (to - at).min(ZEROS.len() as u64);
            self.write_at(at, &ZEROS[..length as usize])?;
            at += length;
        }
        Ok(())
    }

    fn set_length(&self, length: u64) -> Result<(), DiskError> {
        self.file.set_len(length).map_err(self.failed("set the length of"))
    }

    fn length(&self) -> Result<u64, DiskError> {
        let metadata = self.file.metadata().map_err(self.failed("measure"))?;
        Ok(metadata.len())
    }

    fn sync(&self) -> Result<(), DiskError> {
        step(Step::Sync, &self.name, || self.file.sync_data()).map_err(self.failed("sync"))
    }

    #[cfg(any(target_os = "linux", target_os = "freebsd"))]
    fn next_data(&self, offset: u64) -> u64 {
        match rustix::fs::seek(&self.file, rustix::fs::SeekFrom::Data(offset)) {
            Ok(found) => found,
            Err(rustix::io::Errno::NXIO) => u64::MAX,
            Err(_) => offset,
        }
    }

    #[cfg(not(any(target_os = "linux", target_os = "freebsd")))]
    fn next_data(&self, offset: u64) -> u64 {
        offset
    }

    fn forget_cached(&self, offset: u64) {
        // Only advice: where the system does not take it, the copies are as good as they were.
        #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
        let _advice = rustix::fs::fadvise(&self.file, offset, None, rustix::fs::Advice::DontNeed);
        #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
        let _ = offset;
    }
}
