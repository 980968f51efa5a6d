//! Somebody who dials with whatever certificate, protocol and bytes a test wants. It trusts anyone.

use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, RecvStream, SendStream};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use vsr_wire::{CloseReason, Hello, encode_hello};

use super::PATIENCE;

/// What is shown in the handshake.
pub struct Papers(Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>);

impl Papers {
    pub fn none() -> Self {
        Self(None)
    }

    /// Those that were issued into a folder.
    pub fn of(folder: &Path) -> Self {
        Self(Some((
            CertificateDer::from_pem_file(folder.join("node.pem")).unwrap(),
            PrivateKeyDer::from_pem_file(folder.join("node.key")).unwrap(),
        )))
    }

    pub fn self_signed(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = params(name, 1).self_signed(&key).unwrap();
        Self::made(certificate.der().clone(), &key)
    }

    /// Issued by the authority in `folder`, and expired since yesterday.
    pub fn expired(folder: &Path, name: &str) -> Self {
        Self::issued(folder, params(name, -1))
    }

    /// Issued by the authority in `folder`.
    pub fn valid(folder: &Path, name: &str) -> Self {
        Self::issued(folder, params(name, 1))
    }

    fn issued(folder: &Path, params: CertificateParams) -> Self {
        let authority_key = std::fs::read_to_string(folder.join("ca.key")).unwrap();
        let authority = std::fs::read_to_string(folder.join("ca.pem")).unwrap();
        let authority_key = KeyPair::from_pem(&authority_key).unwrap();
        let issuer = Issuer::from_ca_cert_pem(&authority, authority_key).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        Self::made(certificate.der().clone(), &key)
    }

    fn made(certificate: CertificateDer<'static>, key: &KeyPair) -> Self {
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        Self(Some((certificate, key)))
    }
}

fn params(name: &str, days_left: i64) -> CertificateParams {
    let mut params = CertificateParams::default();
    let now = time::OffsetDateTime::now_utc();
    params.not_before = now - time::Duration::days(10);
    params.not_after = now + time::Duration::days(days_left);
    params.subject_alt_names = vec![SanType::URI(name.try_into().unwrap())];
    params.distinguished_name.push(DnType::CommonName, "intruder");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

/// Dials a replica; the other side may still refuse after this.
pub async fn dial(port: u16, papers: Papers, protocol: &[u8]) -> Result<Dialled, ConnectionError> {
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    dial_from(&endpoint, port, papers, protocol).await
}

pub async fn dial_from(
    endpoint: &Endpoint,
    port: u16,
    papers: Papers,
    protocol: &[u8],
) -> Result<Dialled, ConnectionError> {
    let provider = Arc::new(ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TrustsAnyone(provider)));
    let mut tls = match papers.0 {
        Some((certificate, key)) => builder.with_client_auth_cert(vec![certificate], key).unwrap(),
        None => builder.with_no_client_auth(),
    };
    tls.alpn_protocols = vec![protocol.to_vec()];
    let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let connection =
        endpoint.connect_with(config, ([127, 0, 0, 1], port).into(), "vsr").unwrap().await?;
    Ok(Dialled { _endpoint: endpoint.clone(), connection })
}

pub struct Dialled {
    _endpoint: Endpoint,
    pub connection: Connection,
}

impl Dialled {
    /// Opens the stream that replicas speak on and writes to it.
    pub async fn write_as_replica(&self, bytes: &[u8]) -> SendStream {
        let mut send = self.connection.open_uni().await.unwrap();
        send.write_all(bytes).await.unwrap();
        send
    }

    /// Opens the stream that clients speak on and writes to it.
    pub async fn write_as_client(&self, bytes: &[u8]) -> (SendStream, RecvStream) {
        let (mut send, receive) = self.connection.open_bi().await.unwrap();
        send.write_all(bytes).await.unwrap();
        (send, receive)
    }

    /// Waits until the other side closes, and says what for.
    pub async fn close_reason(&self) -> Option<CloseReason> {
        let closed = tokio::time::timeout(PATIENCE, self.connection.closed()).await;
        match closed.expect("it was not closed in time") {
            ConnectionError::ApplicationClosed(closed) => {
                CloseReason::of(u64::from(closed.error_code) as u16)
            }
            _ => None,
        }
    }

    /// Waits until the other side refuses in the TLS handshake, and says with which alert.
    pub async fn alert(&self) -> u64 {
        let closed = tokio::time::timeout(PATIENCE, self.connection.closed()).await;
        match closed.expect("it was not closed in time") {
            ConnectionError::ConnectionClosed(closed) => u64::from(closed.error_code) - 0x100,
            other => panic!("no alert: {other}"),
        }
    }
}

pub fn hello_bytes(hello: &Hello) -> Bytes {
    let mut out = BytesMut::new();
    encode_hello(hello, &mut out);
    out.freeze()
}

#[derive(Debug)]
struct TrustsAnyone(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustsAnyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
