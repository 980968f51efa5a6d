//! The cluster's authority: made once, issues certificates to replicas and clients.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType, string::Ia5String,
};
use time::OffsetDateTime;
use uuid::Uuid;
use vsr_core::ClusterId;

use super::files::{self, Secrecy};
use super::{AUTHORITY_STEM, CertificateError, Description, paths};
use crate::name::{Name, uuid};

/// How far before now a new certificate's time begins, for machines whose clocks are behind.
const BACKDATED: Duration = Duration::from_secs(3600);

/// The authority of one cluster: whoever holds its key decides who is a replica and who a client.
pub struct Authority {
    cluster: ClusterId,
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("cluster", &uuid(self.cluster)).finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes the authority of a cluster and writes `ca.pem` and `ca.key` into `directory`, which is
    /// created for its owner only if it is not there.
    ///
    /// # Errors
    /// [`CertificateError::Exists`] if there is one already, or what the file system says.
    pub fn create(
        directory: &Path,
        cluster: ClusterId,
        validity: Duration,
    ) -> Result<Self, CertificateError> {
        let key = KeyPair::generate()?;
        let uri = authority_uri(cluster);
        let mut params = params(&uri, &format!("vsr cluster {}", uuid(cluster)), validity)?;
        // It issues to holders only, never to a further authority.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?.pem();
        write_pair(directory, AUTHORITY_STEM, &certificate, &key)?;
        Ok(Self { cluster, certificate, issuer: Issuer::new(params, key) })
    }

    /// Loads the authority that [`Authority::create`] wrote into `directory`.
    ///
    /// # Errors
    /// A [`CertificateError`] that says which file is missing, readable by others, or not what it
    /// should be.
    pub fn load(directory: &Path) -> Result<Self, CertificateError> {
        let (certificate_path, key_path) = paths(directory, AUTHORITY_STEM);
        let content = |path: &Path, expected, detail: String| CertificateError::Content {
            path: path.to_owned(),
            expected,
            detail,
        };
        let certificate = String::from_utf8(files::read(&certificate_path, Secrecy::Public)?)
            .map_err(|error| content(&certificate_path, "certificate", error.to_string()))?;
        let key = String::from_utf8(files::read(&key_path, Secrecy::Private)?)
            .map_err(|_| content(&key_path, "private key", "not text".to_owned()))?;
        let key = KeyPair::from_pem(&key)
            .map_err(|error| content(&key_path, "private key", error.to_string()))?;
        let description = Description::read(&certificate_path)?;
        let cluster = authority_cluster(&description.names).ok_or_else(|| {
            let detail = "it is not the certificate of a cluster's authority".to_owned();
            content(&certificate_path, "certificate", detail)
        })?;
        description.check_time(&certificate_path)?;
        if description.public_key != key.public_key_raw() {
            return Err(CertificateError::KeyMismatch {
                key: key_path,
                certificate: certificate_path,
            });
        }
        let issuer = Issuer::from_ca_cert_pem(&certificate, key)?;
        Ok(Self { cluster, certificate, issuer })
    }

    /// The cluster.
    #[must_use]
    pub const fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// Issues a certificate to `name` and writes `STEM.pem`, `STEM.key` and `ca.pem` into
    /// `directory`, which is created for its owner only if it is not there.
    ///
    /// # Errors
    /// [`CertificateError::Exists`] if the holder has one already or another authority's `ca.pem`
    /// lies there, [`CertificateError::WrongCluster`], or what the file system says.
    pub fn issue(
        &self,
        name: &Name,
        directory: &Path,
        stem: &str,
        validity: Duration,
    ) -> Result<(), CertificateError> {
        if name.cluster() != self.cluster {
            return Err(CertificateError::WrongCluster {
                name: name.to_string(),
                cluster: uuid(self.cluster).to_string(),
            });
        }
        let (common_name, usages) = match name {
            // A replica listens and dials.
            Name::Replica { replica, .. } => (
                format!("vsr replica {}", replica.0),
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
            ),
            // A client only dials: its certificate does not pass for a replica's.
            Name::Client { name, .. } => {
                (format!("vsr client {name}"), vec![ExtendedKeyUsagePurpose::ClientAuth])
            }
        };
        let mut params = params(&name.to_string(), &common_name, validity)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = usages;
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        self.write_authority(directory)?;
        write_pair(directory, stem, &certificate, &key)
    }

    /// Puts `ca.pem` beside a holder's certificate, unless it is there.
    fn write_authority(&self, directory: &Path) -> Result<(), CertificateError> {
        files::create_directory(directory)?;
        let (path, _) = paths(directory, AUTHORITY_STEM);
        match files::create(&path, &self.certificate, Secrecy::Public) {
            Err(CertificateError::Exists(_))
                if files::read(&path, Secrecy::Public)? == self.certificate.as_bytes() =>
            {
                Ok(())
            }
            outcome => outcome,
        }
    }
}

fn authority_uri(cluster: ClusterId) -> String {
    format!("vsr://{}/authority", uuid(cluster))
}

fn authority_cluster(names: &[String]) -> Option<ClusterId> {
    let [name] = names else { return None };
    let uuid = name.strip_prefix("vsr://")?.strip_suffix("/authority")?;
    Some(ClusterId(Uuid::try_parse(uuid).ok()?.as_u128()))
}

fn params(
    uri: &str,
    common_name: &str,
    validity: Duration,
) -> Result<CertificateParams, CertificateError> {
    let now = OffsetDateTime::now_utc();
    let mut params = CertificateParams::default();
    params.not_before = now - BACKDATED;
    params.not_after = now + validity;
    params.subject_alt_names = vec![SanType::URI(Ia5String::try_from(uri)?)];
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    Ok(params)
}

/// Writes a key and its certificate, the key first. What was written is taken back if the rest
/// fails, so that the next try does not find half a pair.
fn write_pair(
    directory: &Path,
    stem: &str,
    certificate: &str,
    key: &KeyPair,
) -> Result<(), CertificateError> {
    files::create_directory(directory)?;
    let (certificate_path, key_path) = paths(directory, stem);
    if certificate_path.exists() {
        return Err(CertificateError::Exists(certificate_path));
    }
    files::create(&key_path, &key.serialize_pem(), Secrecy::Private)?;
    files::create(&certificate_path, certificate, Secrecy::Public)
        .and_then(|()| files::sync_directory(directory))
        .inspect_err(|_| {
            // The error to report is the first one; that the key stays behind is then told by the
            // next try.
            let _ = fs::remove_file(&key_path);
        })
}
