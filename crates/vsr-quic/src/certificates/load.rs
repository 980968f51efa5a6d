//! Loading a holder's certificate: everything that can be known to be wrong is refused at the
//! start, with the file's name, instead of at the first connection.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::sign::CertifiedKey;
use vsr_core::{ClusterId, ReplicaId};

use super::files::{self, Secrecy};
use super::{AUTHORITY_STEM, CertificateError, Description, EXPIRY_WARNING, REPLICA_STEM, paths};
use crate::keys::RestartKeys;
use crate::name::{Name, uuid};
use crate::tls::{self, Trust};

/// A holder's certificate and key, and the authority it trusts: checked, and ready to be used.
#[derive(Clone)]
pub struct Credentials {
    name: Name,
    certified: Arc<CertifiedKey>,
    trust: Arc<Trust>,
    restart_keys: RestartKeys,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Loads `STEM.pem`, `STEM.key` and `ca.pem` from a directory.
    ///
    /// # Errors
    /// A [`CertificateError`]: a file is missing or readable by others, the certificate has expired,
    /// is not of the key, not of the authority, or bears no name of ours.
    pub fn load(directory: &Path, stem: &str) -> Result<Self, CertificateError> {
        let (certificate_path, key_path) = paths(directory, stem);
        let (authority_path, _) = paths(directory, AUTHORITY_STEM);
        let key_pem = files::read(&key_path, Secrecy::Private)?;
        // The reason stays out of the message, so that no part of a key ever reaches a log.
        let key = PrivateKeyDer::from_pem_slice(&key_pem)
            .map_err(|_| content(&key_path, "private key", "it is not PEM".to_owned()))?;
        let restart_keys = RestartKeys::derive(key.secret_der());
        let chain = certificates(&certificate_path)?;
        let authorities = certificates(&authority_path)?;
        for (path, der) in [(&certificate_path, &chain[0]), (&authority_path, &authorities[0])] {
            let description =
                Description::of(der).map_err(|detail| content(path, "certificate", detail))?;
            description.check_time(path)?;
            warn_of_expiry(path, &description);
        }
        let name = tls::name_of(&chain[0])
            .map_err(|source| CertificateError::Name { path: certificate_path.clone(), source })?;
        let trust = Trust::new(name.cluster(), &authorities)?;
        trust.verify_chain(&chain[0], &chain[1..], UnixTime::now()).map_err(|error| {
            CertificateError::WrongAuthority {
                certificate: certificate_path.clone(),
                authority: authority_path,
                detail: tls::reason(&error),
            }
        })?;
        let certified = certify(chain, key, key_path, certificate_path)?;
        Ok(Self { name, certified, trust: Arc::new(trust), restart_keys })
    }

    /// Loads a replica's certificate and checks that it is this replica's.
    ///
    /// # Errors
    /// As [`Credentials::load`], and [`CertificateError::WrongHolder`].
    pub fn load_replica(
        directory: &Path,
        cluster: ClusterId,
        replica: ReplicaId,
    ) -> Result<Self, CertificateError> {
        let credentials = Self::load(directory, REPLICA_STEM)?;
        if credentials.name == (Name::Replica { cluster, replica }) {
            return Ok(credentials);
        }
        Err(CertificateError::WrongHolder {
            path: paths(directory, REPLICA_STEM).0,
            found: credentials.name.to_string(),
            expected: format!("replica {} of cluster {}", replica.0, uuid(cluster)),
        })
    }

    /// Whose certificate it is.
    #[must_use]
    pub const fn name(&self) -> &Name {
        &self.name
    }

    pub(crate) fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }

    pub(crate) fn trust(&self) -> Arc<Trust> {
        Arc::clone(&self.trust)
    }

    pub(crate) const fn restart_keys(&self) -> &RestartKeys {
        &self.restart_keys
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let pem = files::read(path, Secrecy::Public)?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| content(path, "certificate", error.to_string()))?;
    if found.is_empty() {
        return Err(content(path, "certificate", "there is no CERTIFICATE block in it".to_owned()));
    }
    Ok(found)
}

fn certify(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    key_path: PathBuf,
    certificate: PathBuf,
) -> Result<Arc<CertifiedKey>, CertificateError> {
    let key = tls::provider().key_provider.load_private_key(key).map_err(|_| {
        let detail = "not a kind of key that TLS can sign with".to_owned();
        content(&key_path, "private key", detail)
    })?;
    let certified = CertifiedKey::new(chain, key);
    certified
        .keys_match()
        .map_err(|_| CertificateError::KeyMismatch { key: key_path, certificate })?;
    Ok(Arc::new(certified))
}

fn content(path: &Path, expected: &'static str, detail: String) -> CertificateError {
    CertificateError::Content { path: path.to_owned(), expected, detail }
}

fn warn_of_expiry(path: &Path, description: &Description) {
    let remaining = description.remaining();
    if remaining < EXPIRY_WARNING {
        tracing::warn!(
            "{} expires in {} days: issue a new certificate with `vsr cert`",
            path.display(),
            remaining.as_secs() / 86_400
        );
    }
}
