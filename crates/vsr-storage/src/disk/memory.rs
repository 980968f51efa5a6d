//! A disk in memory: what a store keeps there where its log need not outlive the process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, DiskError, File};

/// Bytes that are there or not together: few enough pages for a log, and little waste in a small file.
const PAGE: u64 = 64 << 10;

/// Files in memory. Bytes that were never written, and those that are zeros, take none.
#[derive(Debug, Default)]
pub(crate) struct MemoryDisk(Mutex<BTreeMap<String, MemoryFile>>);

/// A file of a [`MemoryDisk`]. Clones are handles to the same file, which lasts as long as any of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryFile(Arc<Mutex<Pages>>);

#[derive(Debug, Default)]
struct Pages {
    length: u64,
    /// By number; an absent page is all zeros.
    pages: BTreeMap<u64, Box<[u8]>>,
}

impl MemoryDisk {
    fn files(&self) -> MutexGuard<'_, BTreeMap<String, MemoryFile>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk for MemoryDisk {
    type File = MemoryFile;

    fn open(&self, name: &str) -> Result<MemoryFile, DiskError> {
        let file = self.files().get(name).cloned();
        file.ok_or_else(|| DiskError::NotFound { name: name.to_owned() })
    }

    fn create(&self, name: &str) -> Result<MemoryFile, DiskError> {
        let mut files = self.files();
        if files.contains_key(name) {
            return Err(DiskError::AlreadyExists { name: name.to_owned() });
        }
        let file = MemoryFile::default();
        files.insert(name.to_owned(), file.clone());
        Ok(file)
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        let mut files = self.files();
        let file = files.remove(from);
        let file = file.ok_or_else(|| DiskError::NotFound { name: from.to_owned() })?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<(), DiskError> {
        let removed = self.files().remove(name);
        removed.map(drop).ok_or_else(|| DiskError::NotFound { name: name.to_owned() })
    }

    fn list(&self) -> Result<Vec<String>, DiskError> {
        Ok(self.files().keys().cloned().collect())
    }

    fn sync_directory(&self) -> Result<(), DiskError> {
        Ok(())
    }
}

impl MemoryFile {
    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pieces of a range that lie in one page each: the page, where in it the piece begins, and its
/// place in the range.
fn pieces(offset: u64, length: u64) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done;
        let within = at % PAGE;
        let take = (PAGE - within).min(length - done);
        let range = done as usize..(done + take) as usize;
        done += take;
        (take > 0).then_some((at / PAGE, within as usize, range))
    })
}

impl File for MemoryFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        let pages = self.pages();
        let length = (buffer.len() as u64).min(pages.length.saturating_sub(offset));
        for (page, within, range) in pieces(offset, length) {
            let part = &mut buffer[range];
            match pages.pages.get(&page) {
                Some(bytes) => part.copy_from_slice(&bytes[within..within + part.len()]),
                None => part.fill(0),
            }
        }
        Ok(length as usize)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let mut pages = self.pages();
        for (page, within, range) in pieces(offset, bytes.len() as u64) {
            let part = &bytes[range];
            let page = pages.pages.entry(page).or_insert_with(|| vec![0; PAGE as usize].into());
            page[within..within + part.len()].copy_from_slice(part);
        }
        pages.length = pages.length.max(offset + bytes.len() as u64);
        Ok(())
    }

    fn allocate(&self, from: u64, to: u64) -> Result<(), DiskError> {
        let mut pages = self.pages();
        for (page, within, range) in pieces(from, to.saturating_sub(from)) {
            if range.len() as u64 == PAGE {
                pages.pages.remove(&page);
            } else if let Some(bytes) = pages.pages.get_mut(&page) {
                bytes[within..within + range.len()].fill(0);
            }
        }
        pages.length = pages.length.max(to);
        Ok(())
    }

    fn set_length(&self, length: u64) -> Result<(), DiskError> {
        let mut pages = self.pages();
        let gone = pages.pages.split_off(&length.div_ceil(PAGE));
        drop(gone);
        if let Some(last) = pages.pages.get_mut(&(length / PAGE)) {
            last[(length % PAGE) as usize..].fill(0);
        }
        pages.length = length;
        Ok(())
    }

    fn length(&self) -> Result<u64, DiskError> {
        Ok(self.pages().length)
    }

    fn sync(&self) -> Result<(), DiskError> {
        Ok(())
    }

    fn next_data(&self, offset: u64) -> u64 {
        let pages = self.pages();
        let next = pages.pages.range(offset / PAGE..).next();
        next.map_or(u64::MAX, |(page, _)| offset.max(page * PAGE))
    }

    fn forget_cached(&self, _offset: u64) {}

    fn discard(&self, from: u64, to: u64) {
        let mut pages = self.pages();
        let whole = |range: &std::ops::Range<usize>| range.len() as u64 == PAGE;
        for (page, _, range) in pieces(from, to.saturating_sub(from)) {
            if whole(&range) {
                pages.pages.remove(&page);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> MemoryFile {
        MemoryDisk::default().create("log").unwrap()
    }

    #[test]
    fn bytes_are_read_as_they_were_written_and_zeros_between() {
        let file = file();
        let bytes: Vec<u8> = (0..3 * PAGE).map(|byte| byte as u8 | 1).collect();
        file.write_at(PAGE + 7, &bytes).unwrap();
        assert_eq!(file.length().unwrap(), 4 * PAGE + 7);
        let mut read = vec![9; 5 * PAGE as usize];
        assert_eq!(file.read_at(0, &mut read).unwrap() as u64, 4 * PAGE + 7);
        assert!(read[..PAGE as usize + 7].iter().all(|byte| *byte == 0));
        assert_eq!(&read[PAGE as usize + 7..4 * PAGE as usize + 7], &bytes);
        assert_eq!(file.next_data(0), PAGE);
        assert_eq!(file.next_data(PAGE + 9), PAGE + 9);
        assert_eq!(file.next_data(9 * PAGE), u64::MAX);
    }

    #[test]
    fn space_that_is_allocated_or_let_go_takes_no_memory() {
        let file = file();
        file.allocate(0, 1 << 40).unwrap();
        assert_eq!((file.length().unwrap(), file.pages().pages.len()), (1 << 40, 0));
        file.write_at(PAGE - 1, &[1, 1]).unwrap();
        assert_eq!(file.pages().pages.len(), 2);
        file.discard(1, 2 * PAGE);
        assert_eq!(file.pages().pages.keys().collect::<Vec<_>>(), [&0]);
        file.allocate(PAGE - 1, PAGE).unwrap();
        let mut byte = [9];
        file.read_at(PAGE - 1, &mut byte).unwrap();
        assert_eq!(byte, [0]);
        file.set_length(PAGE).unwrap();
        assert_eq!(file.read_at(PAGE, &mut byte).unwrap(), 0);
    }

    #[test]
    fn a_file_has_one_name_and_outlives_it() {
        let disk = MemoryDisk::default();
        let file = disk.create("a.new").unwrap();
        assert!(matches!(disk.create("a.new"), Err(DiskError::AlreadyExists { .. })));
        disk.rename("a.new", "a").unwrap();
        assert!(matches!(disk.open("a.new"), Err(DiskError::NotFound { .. })));
        file.write_at(0, b"x").unwrap();
        assert_eq!(disk.open("a").unwrap().length().unwrap(), 1);
        disk.remove("a").unwrap();
        assert_eq!((file.length().unwrap(), disk.list().unwrap()), (1, Vec::<String>::new()));
    }
}
