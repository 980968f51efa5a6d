//! What goes wrong, as the person or script at the other end needs it: a message, a next step, and
//! an exit status that says what is certain.

use std::fmt;
use std::process::ExitCode;

use vsr_quic::StartError;
use vsr_quic::certificates::CertificateError;

/// The exit status of every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Status {
    /// Done.
    Done = 0,
    /// Refused: a condition was false, a key not there, an expectation failed.
    Refused = 1,
    /// Usage or configuration.
    Usage = 2,
    /// Unavailable, certainly not done; or not supported in this version.
    Unavailable = 3,
    /// Whether it was done is not known.
    Unknown = 4,
    /// Authentication, wrong cluster or wrong replica.
    Identity = 5,
    /// Data is damaged beyond own repair.
    Damaged = 6,
    /// A format or protocol version is not supported.
    Version = 7,
    /// A write or a sync failed.
    Storage = 8,
    /// The data directory is in use.
    InUse = 9,
}

impl Status {
    /// The status of an exit code, where it is one of ours.
    pub(crate) fn of_code(code: i32) -> Option<Self> {
        let all = [
            Self::Done,
            Self::Refused,
            Self::Usage,
            Self::Unavailable,
            Self::Unknown,
            Self::Identity,
            Self::Damaged,
            Self::Version,
            Self::Storage,
            Self::InUse,
        ];
        all.into_iter().find(|status| *status as i32 == code)
    }
}

impl Status {
    /// The status that storage chose for one of its errors.
    pub(crate) fn of_storage(code: u8) -> Self {
        Self::of_code(code.into()).unwrap_or(Self::Storage)
    }
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status as u8)
    }
}

/// Why a command failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) status: Status,
    /// What happened, without a full stop.
    pub(crate) message: String,
    /// The next step; empty where the message says it already.
    pub(crate) hint: String,
    /// Whether it has been printed.
    pub(crate) said: bool,
}

/// What a command comes to.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    pub(crate) fn new(status: Status, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { status, message: message.into(), hint: hint.into(), said: false }
    }

    pub(crate) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Status::Usage, message, hint)
    }

    pub(crate) fn refused(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Status::Refused, message, hint)
    }

    /// The same, printed already.
    #[must_use]
    pub(crate) fn said(mut self) -> Self {
        self.said = true;
        self
    }

    /// The grammar knows it, this version does not do it.
    pub(crate) fn not_supported(what: &str) -> Self {
        Self::new(
            Status::Unavailable,
            format!("{what} is not supported in this version"),
            "`vsr help` lists what this version does",
        )
    }

    /// A file that the command was told of, or that it needs, cannot be read or written.
    pub(crate) fn file(action: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::usage(
            format!("cannot {action} {}: {error}", path.display()),
            "check the path and its permissions",
        )
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        if !self.hint.is_empty() {
            write!(f, "\n  next: {}", self.hint)?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

/// A certificate that cannot be used: what is missing or unreadable is the configuration's fault,
/// everything else a question of identity.
pub(crate) fn of_certificate(error: CertificateError) -> Failure {
    let status = match &error {
        CertificateError::Io { .. } | CertificateError::Exists(_) => Status::Usage,
        CertificateError::NotAFile(_)
        | CertificateError::Permissions { .. }
        | CertificateError::Content { .. }
        | CertificateError::Time { .. }
        | CertificateError::Name { .. }
        | CertificateError::KeyMismatch { .. }
        | CertificateError::WrongAuthority { .. }
        | CertificateError::WrongHolder { .. }
        | CertificateError::WrongCluster { .. }
        | CertificateError::Issue(_)
        | CertificateError::Tls(_) => Status::Identity,
    };
    let hint = match &error {
        CertificateError::Io { .. } => "`vsr cert` makes certificates; check the path",
        CertificateError::NotAFile(_)
        | CertificateError::WrongCluster { .. }
        | CertificateError::Issue(_)
        | CertificateError::Tls(_) => "issue the certificate anew with `vsr cert`",
        // These say themselves what to do.
        CertificateError::Exists(_)
        | CertificateError::Permissions { .. }
        | CertificateError::Content { .. }
        | CertificateError::Time { .. }
        | CertificateError::Name { .. }
        | CertificateError::KeyMismatch { .. }
        | CertificateError::WrongAuthority { .. }
        | CertificateError::WrongHolder { .. } => "",
    };
    Failure::new(status, error.to_string(), hint)
}

/// A network that cannot start.
pub(crate) fn of_start(error: StartError) -> Failure {
    match error {
        StartError::Listen { .. } => {
            Failure::usage(error.to_string(), "stop the other process, or listen elsewhere")
        }
        StartError::Certificate(error) => of_certificate(error),
        StartError::WrongHolder { .. } => Failure::new(Status::Identity, error.to_string(), ""),
    }
}
