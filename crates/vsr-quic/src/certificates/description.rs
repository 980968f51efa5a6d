//! What is in a certificate, for people.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::files::{self, Secrecy};
use super::{CertificateError, EXPIRY_WARNING};

/// The content of a certificate. Its `Display` is what `vsr cert show` prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The URI names; a certificate of ours has one.
    pub names: Vec<String>,
    /// Whom it was issued to, for people.
    pub subject: String,
    /// Who issued it.
    pub issuer: String,
    /// Its number, in hexadecimal.
    pub serial: String,
    /// From when on it is valid.
    pub not_before: OffsetDateTime,
    /// Until when it is valid.
    pub not_after: OffsetDateTime,
    /// Whether it may issue others.
    pub authority: bool,
    /// SHA-256 of the certificate, in hexadecimal.
    pub fingerprint: String,
    pub(super) public_key: Vec<u8>,
}

impl Description {
    /// Reads the first certificate of a PEM file.
    ///
    /// # Errors
    /// A [`CertificateError`] that names the file and what is wrong with it.
    pub fn read(path: &Path) -> Result<Self, CertificateError> {
        let pem = files::read(path, Secrecy::Public)?;
        let content = |detail: String| CertificateError::Content {
            path: path.to_owned(),
            expected: "certificate",
            detail,
        };
        let der =
            CertificateDer::from_pem_slice(&pem).map_err(|error| content(error.to_string()))?;
        Self::of(&der).map_err(content)
    }

    /// Describes a certificate; the error says why it cannot be read.
    pub(super) fn of(der: &CertificateDer<'_>) -> Result<Self, String> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
        let names = certificate.subject_alternative_name().map_err(|error| error.to_string())?;
        let names = names.map_or_else(Vec::new, |extension| {
            let uri = |name: &GeneralName<'_>| {
                let GeneralName::URI(uri) = name else {
                    return None;
                };
                Some((*uri).to_owned())
            };
            extension.value.general_names.iter().filter_map(uri).collect()
        });
        let fingerprint = ring::digest::digest(&ring::digest::SHA256, der);
        Ok(Self {
            names,
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            serial: hexadecimal(certificate.raw_serial()),
            not_before: certificate.validity().not_before.to_datetime(),
            not_after: certificate.validity().not_after.to_datetime(),
            authority: certificate.is_ca(),
            fingerprint: hexadecimal(fingerprint.as_ref()),
            public_key: certificate.public_key().subject_public_key.data.to_vec(),
        })
    }

    /// How long it is still valid; zero once it has expired.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        let left = self.not_after - OffsetDateTime::now_utc();
        Duration::try_from(left).unwrap_or(Duration::ZERO)
    }

    /// Refuses a certificate whose time is over or has not come.
    pub(super) fn check_time(&self, path: &Path) -> Result<(), CertificateError> {
        let now = OffsetDateTime::now_utc();
        let when = if now > self.not_after {
            format!("expired on {}", text(self.not_after))
        } else if now < self.not_before {
            format!("is valid only from {} on", text(self.not_before))
        } else {
            return Ok(());
        };
        Err(CertificateError::Time { path: path.to_owned(), when, now: text(now) })
    }
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for name in &self.names {
            writeln!(f, "name         {name}")?;
        }
        writeln!(f, "subject      {}", self.subject)?;
        writeln!(f, "issuer       {}", self.issuer)?;
        writeln!(f, "serial       {}", self.serial)?;
        writeln!(f, "valid from   {}", text(self.not_before))?;
        write!(f, "valid until  {}", text(self.not_after))?;
        let remaining = self.remaining();
        if remaining.is_zero() {
            write!(f, " (EXPIRED)")?;
        } else if remaining < EXPIRY_WARNING {
            write!(f, " ({} days left)", remaining.as_secs() / 86_400)?;
        }
        writeln!(f)?;
        writeln!(f, "may issue    {}", if self.authority { "yes" } else { "no" })?;
        write!(f, "sha-256      {}", self.fingerprint)
    }
}

fn text(time: OffsetDateTime) -> String {
    time.replace_nanosecond(0).unwrap_or(time).format(&Rfc3339).unwrap_or_else(|_| time.to_string())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
