//! TLS: version 1.3 only, both sides show a certificate of the cluster's authority, and whom one
//! talks to is decided by the name in it alone. DNS names and addresses play no part.
//!
//! Nothing is remembered between connections (no tickets, no early data): each verifies anew, so
//! that an expired certificate ends with its last connection and nothing can be replayed.

use std::fmt;
use std::sync::{Arc, LazyLock};

use quinn::ConnectionError;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{
    CertificateError as TlsCertificateError, CipherSuite, DigitallySignedStruct, DistinguishedName,
    Error, OtherError, SignatureScheme,
};
use vsr_core::{ClusterId, ReplicaId};
use webpki::{EndEntityCert, KeyUsage};

use crate::certificates::{CertificateError, Credentials};
use crate::name::{Name, NameError};

/// The protocol between replicas, as ALPN names it.
pub const PEER_PROTOCOL: &[u8] = b"vsr-peer/1";

/// The protocol between a client and a replica, as ALPN names it.
pub const CLIENT_PROTOCOL: &[u8] = b"vsr-client/1";

/// What stands where TLS wants a server's DNS name. Never sent and never compared.
pub(crate) const SERVER_NAME: &str = "vsr";

/// The cryptography, given to each configuration: no process-wide default is installed or used.
static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    let mut provider = ring::default_provider();
    // AES with 128 bits first: as strong as the curve that the keys are exchanged on, and faster.
    provider
        .cipher_suites
        .sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    Arc::new(provider)
});

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::clone(&PROVIDER)
}

/// What a cluster trusts: certificates that its authority issued and that name this cluster.
#[derive(Debug)]
pub(crate) struct Trust {
    cluster: ClusterId,
    anchors: Vec<TrustAnchor<'static>>,
}

impl Trust {
    pub(crate) fn new(
        cluster: ClusterId,
        authorities: &[CertificateDer<'static>],
    ) -> Result<Self, CertificateError> {
        let anchors = authorities
            .iter()
            .map(|der| Ok(webpki::anchor_from_trusted_cert(der)?.to_owned()))
            .collect::<Result<_, webpki::Error>>()
            .map_err(|error| CertificateError::Tls(error.to_string()))?;
        Ok(Self { cluster, anchors })
    }

    /// Verifies who holds a certificate: the chain, its time, its cluster.
    fn verify(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
    ) -> Result<Name, Error> {
        let parsed = EndEntityCert::try_from(certificate).map_err(distrust)?;
        parsed
            .verify_for_usage(
                provider().signature_verification_algorithms.all,
                &self.anchors,
                intermediates,
                now,
                usage,
                None,
                None,
            )
            .map_err(distrust)?;
        let name = name_of(certificate).map_err(|error| other(Misnamed(error.to_string())))?;
        if name.cluster() == self.cluster {
            Ok(name)
        } else {
            Err(other(Misnamed(format!("{name} is of another cluster"))))
        }
    }

    /// Verifies a certificate as any replica would when it is dialled by its holder.
    pub(crate) fn verify_chain(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Name, Error> {
        self.verify(certificate, intermediates, now, KeyUsage::client_auth())
    }
}

/// The one name in a certificate.
pub(crate) fn name_of(certificate: &CertificateDer<'_>) -> Result<Name, NameError> {
    let parsed =
        EndEntityCert::try_from(certificate).map_err(|error| NameError::Form(error.to_string()))?;
    let mut names = parsed.valid_uri_names();
    match (names.next(), names.next()) {
        (Some(name), None) => name.parse(),
        (None, _) => Err(NameError::Form("a certificate without a URI name".to_owned())),
        (Some(_), Some(_)) => {
            Err(NameError::Form("a certificate with several URI names".to_owned()))
        }
    }
}

/// Dials a replica: whoever answers must prove to be that one.
pub(crate) fn dial_config(
    credentials: &Credentials,
    replica: ReplicaId,
    protocol: &[u8],
) -> Result<QuicClientConfig, CertificateError> {
    let expected = Name::Replica { cluster: credentials.name().cluster(), replica };
    let verifier = Verifier { trust: credentials.trust(), expected: Some(expected) };
    let mut config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(tls)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(credentials.certified())));
    config.alpn_protocols = vec![protocol.to_vec()];
    config.enable_sni = false;
    config.enable_early_data = false;
    // A resumed session would skip the verifier, and with it the check of whom was dialled.
    config.resumption = Resumption::disabled();
    QuicClientConfig::try_from(config).map_err(|error| CertificateError::Tls(error.to_string()))
}

/// Listens: whoever dials must hold a certificate of the cluster.
pub(crate) fn listen_config(
    credentials: &Credentials,
) -> Result<QuicServerConfig, CertificateError> {
    let verifier = Verifier { trust: credentials.trust(), expected: None };
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(tls)?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(credentials.certified())));
    config.alpn_protocols = vec![PEER_PROTOCOL.to_vec(), CLIENT_PROTOCOL.to_vec()];
    config.max_early_data_size = 0;
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    QuicServerConfig::try_from(config).map_err(|error| CertificateError::Tls(error.to_string()))
}

fn tls(error: Error) -> CertificateError {
    CertificateError::Tls(error.to_string())
}

/// Both verifiers that rustls asks for. What it accepts, besides what `expected` says, is decided
/// by [`Trust`] alone.
#[derive(Debug)]
struct Verifier {
    trust: Arc<Trust>,
    expected: Option<Name>,
}

impl Verifier {
    fn signature(
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signed,
            &provider().signature_verification_algorithms,
        )
    }

    fn schemes() -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

/// TLS 1.2 is never negotiated, so its signatures are never asked about.
fn not_tls12() -> Result<HandshakeSignatureValid, Error> {
    Err(Error::General("TLS 1.2 is not spoken".to_owned()))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let usage = KeyUsage::server_auth();
        let name = self.trust.verify(end_entity, intermediates, now, usage)?;
        match &self.expected {
            Some(expected) if *expected != name => {
                Err(other(Misnamed(format!("dialled {expected}, and {name} answered"))))
            }
            Some(_) => Ok(ServerCertVerified::assertion()),
            None => Err(Error::General("nobody was to be dialled".to_owned())),
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        not_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        Self::schemes()
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.trust
            .verify(end_entity, intermediates, now, KeyUsage::client_auth())
            .map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        not_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        Self::schemes()
    }
}

/// A certificate of the right authority with a name that is not acceptable.
#[derive(Debug)]
struct Misnamed(String);

impl fmt::Display for Misnamed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Misnamed {}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::InvalidCertificate(TlsCertificateError::Other(OtherError(Arc::new(error))))
}

/// What webpki found, as rustls spells it, so that the other side gets the alert that fits.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "webpki's errors are not exhaustive; the rest keep their own text"
)]
fn distrust(error: webpki::Error) -> Error {
    Error::InvalidCertificate(match error {
        webpki::Error::CertExpired { time, not_after } => {
            TlsCertificateError::ExpiredContext { time, not_after }
        }
        webpki::Error::CertNotValidYet { time, not_before } => {
            TlsCertificateError::NotValidYetContext { time, not_before }
        }
        webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey => {
            TlsCertificateError::UnknownIssuer
        }
        webpki::Error::BadDer => TlsCertificateError::BadEncoding,
        webpki::Error::RequiredEkuNotFoundContext(_) => TlsCertificateError::InvalidPurpose,
        error => return other(error),
    })
}

/// Why a certificate was refused, for people.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "errors of rustls are not exhaustive; the rest keep their own text"
)]
pub(crate) fn reason(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(TlsCertificateError::UnknownIssuer) => {
            "another authority issued it".to_owned()
        }
        Error::InvalidCertificate(TlsCertificateError::InvalidPurpose) => {
            "it is not meant for this use".to_owned()
        }
        Error::InvalidCertificate(error) => error.to_string(),
        error => error.to_string(),
    }
}

/// TLS alerts travel as QUIC error codes from here on (RFC 9001, 4.8).
const ALERTS: std::ops::RangeInclusive<u64> = 0x100..=0x1ff;

/// What was wrong with a certificate, for people, if that ended a connection: found by this side, or
/// told by the other.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "errors of quinn that are not about certificates have no such text"
)]
pub(crate) fn certificate_problem(error: &ConnectionError) -> Option<Problem> {
    match error {
        ConnectionError::TransportError(found) => alert(u64::from(found.code))
            .map(|what| Problem::Theirs(format!("{what} ({})", found.reason))),
        ConnectionError::ConnectionClosed(closed) => alert(u64::from(closed.error_code))
            .map(|what| Problem::Ours(format!("the other side refused us: {what}"))),
        _ => None,
    }
}

/// Whose certificate, or lack of one, ended a connection.
pub(crate) enum Problem {
    /// The other side's, as this side found.
    Theirs(String),
    /// This side's, as the other side says.
    Ours(String),
}

/// The alerts of TLS (RFC 8446, section 6) that the rules of this module lead to.
fn alert(code: u64) -> Option<&'static str> {
    if !ALERTS.contains(&code) {
        return None;
    }
    Some(match code - ALERTS.start() {
        42 => "the certificate is malformed",
        43 => "the certificate is not meant for this use",
        45 => "the certificate has expired or is not valid yet",
        46 => "the certificate does not name the holder expected",
        48 => "the certificate was not issued by this cluster's authority",
        51 => "the certificate's signature does not match its key",
        116 => "no certificate was shown",
        120 => "neither vsr-peer/1 nor vsr-client/1 is spoken",
        _ => "the TLS handshake failed",
    })
}
