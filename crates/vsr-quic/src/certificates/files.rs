//! Certificate files: written so that a key is never readable by others, read with limits.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::Path;

use super::CertificateError;

/// The most bytes read from a PEM file: a chain of a few certificates has about 4 KiB.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Who may read a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Secrecy {
    Public,
    Private,
}

/// Makes a directory, and those above it, for its owner only. Leaves one that exists as it is.
pub(super) fn create_directory(directory: &Path) -> Result<(), CertificateError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory).map_err(io("create the directory", directory))
}

/// Writes a new file durably; a file that exists is left alone. A private one has its mode from the
/// moment it exists.
pub(super) fn create(path: &Path, content: &str, secrecy: Secrecy) -> Result<(), CertificateError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(
        &mut options,
        match secrecy {
            Secrecy::Public => 0o644,
            Secrecy::Private => 0o600,
        },
    );
    let mut file = options.open(path).map_err(|source| {
        if source.kind() == ErrorKind::AlreadyExists {
            CertificateError::Exists(path.to_owned())
        } else {
            io("create", path)(source)
        }
    })?;
    file.write_all(content.as_bytes()).and_then(|()| file.sync_all()).map_err(io("write", path))
}

/// Makes sure that the names of new files are durable.
pub(super) fn sync_directory(directory: &Path) -> Result<(), CertificateError> {
    File::open(directory)
        .and_then(|opened| opened.sync_all())
        .map_err(io("sync the directory", directory))
}

/// Reads a PEM file. A private one must be readable by its owner only.
pub(super) fn read(path: &Path, secrecy: Secrecy) -> Result<Vec<u8>, CertificateError> {
    // Looked at before it is opened, since opening a pipe would wait for its other end.
    let metadata = path.metadata().map_err(io("read", path))?;
    if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
        return Err(CertificateError::NotAFile(path.to_owned()));
    }
    let file = File::open(path).map_err(io("read", path))?;
    if secrecy == Secrecy::Private {
        check_private(path, &file)?;
    }
    let mut content = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut content).map_err(io("read", path))?;
    Ok(content)
}

#[cfg(unix)]
fn check_private(path: &Path, file: &File) -> Result<(), CertificateError> {
    use std::os::unix::fs::PermissionsExt;

    let mode = file.metadata().map_err(io("read", path))?.permissions().mode() & 0o7777;
    if mode & 0o077 == 0 {
        Ok(())
    } else {
        Err(CertificateError::Permissions { path: path.to_owned(), mode })
    }
}

#[cfg(not(unix))]
fn check_private(_: &Path, _: &File) -> Result<(), CertificateError> {
    Ok(())
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> CertificateError {
    let path = path.to_owned();
    move |source| CertificateError::Io { action, path, source }
}
