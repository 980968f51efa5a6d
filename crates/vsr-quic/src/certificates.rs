//! Certificates: the cluster's own authority, what it issues, and loading them with care.
//!
//! A cluster has one authority (`ca.pem`, `ca.key`), whose key is needed only to issue. Each holder
//! has a directory with `ca.pem` and its own `STEM.pem` and `STEM.key`; a replica's stem is
//! [`REPLICA_STEM`]. All are PEM. Keys are created readable by their owner only, and refused when
//! anybody else could read them. There is no switch that turns a check off.

mod description;
mod files;
mod issue;
mod load;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use description::Description;
pub use issue::Authority;
pub use load::Credentials;

use crate::name::NameError;

/// The file name, without extension, of the authority's certificate and key.
pub const AUTHORITY_STEM: &str = "ca";

/// The file name, without extension, of a replica's certificate and key.
pub const REPLICA_STEM: &str = "node";

/// How long an authority is valid unless told otherwise: replacing it touches every holder.
pub const AUTHORITY_VALIDITY: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// How long a holder's certificate is valid unless told otherwise. The authority's key is not on
/// the replicas, so renewing is a person's work: once in two years.
pub const HOLDER_VALIDITY: Duration = Duration::from_secs(2 * 365 * 24 * 3600);

/// From how long before its end on a certificate is warned about at every start.
pub const EXPIRY_WARNING: Duration = Duration::from_secs(30 * 24 * 3600);

/// Why certificates could not be made or used. Each says which file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The file system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file would have been overwritten.
    #[error("{} exists already: remove it, or choose another directory", .0.display())]
    Exists(PathBuf),
    /// A directory, a device, a pipe, or larger than any certificate.
    #[error("{} is not a PEM file: expected a regular file of at most 64 KiB", .0.display())]
    NotAFile(PathBuf),
    /// Somebody besides the owner could read a private key.
    #[error(
        "{} holds a private key and has mode {mode:04o}: others could read it. \
         Run `chmod 600 {0}`, and issue a new certificate if they may have",
        path.display()
    )]
    Permissions {
        /// The key's file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not what it should be inside.
    #[error("{} holds no usable {expected}: {detail}. Issue it anew with `vsr cert`", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
        /// What is wrong.
        detail: String,
    },
    /// Its time is over, or has not come.
    #[error(
        "{} {when} (this machine's clock says {now}): issue a new certificate with `vsr cert`, \
         or set the clock right",
        path.display()
    )]
    Time {
        /// The file.
        path: PathBuf,
        /// `expired on ...` or `is valid only from ...`.
        when: String,
        /// The time it was compared with.
        now: String,
    },
    /// The name in the certificate is not one of ours.
    #[error("{}: {source}", path.display())]
    Name {
        /// The file.
        path: PathBuf,
        /// What is wrong with the name.
        source: NameError,
    },
    /// The certificate and the key are of different pairs.
    #[error("{} is not the key of {}: issue both together with `vsr cert`", key.display(), certificate.display())]
    KeyMismatch {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        certificate: PathBuf,
    },
    /// The certificate does not come from the authority beside it.
    #[error(
        "{} was not issued by {} ({detail}): copy the `ca.pem` of the cluster that it belongs to, \
         or issue it anew with `vsr cert`",
        certificate.display(), authority.display()
    )]
    WrongAuthority {
        /// The certificate's file.
        certificate: PathBuf,
        /// The authority's certificate.
        authority: PathBuf,
        /// What the verification said.
        detail: String,
    },
    /// The certificate is of another holder, or another kind of holder, than the one to be started.
    #[error("{} names {found}, but this is {expected}: use that one's certificate", path.display())]
    WrongHolder {
        /// The certificate's file.
        path: PathBuf,
        /// Whom it names.
        found: String,
        /// Who was to be started.
        expected: String,
    },
    /// The name belongs to another cluster than the authority.
    #[error("{name} is not of cluster {cluster}, whose authority this is")]
    WrongCluster {
        /// The name.
        name: String,
        /// The authority's cluster.
        cluster: String,
    },
    /// The certificate could not be made.
    #[error("cannot make a certificate: {0}")]
    Issue(#[from] rcgen::Error),
    /// TLS refused the certificate or the key.
    #[error("cannot use the certificate for TLS: {0}")]
    Tls(String),
}

/// The paths of a holder's certificate and key.
fn paths(directory: &Path, stem: &str) -> (PathBuf, PathBuf) {
    (directory.join(format!("{stem}.pem")), directory.join(format!("{stem}.key")))
}
