//! Opening and closing a replica's UDP port.

use std::sync::Arc;

use quinn::{Endpoint, EndpointConfig, ServerConfig, TokioRuntime, ValidationTokenConfig, VarInt};
use vsr_wire::CloseReason;

use crate::certificates::CertificateError;
use crate::limits::{
    self, DATAGRAM_MAX, INCOMING_BYTES, INCOMING_BYTES_TOTAL, INCOMING_MAX, RESET_INTERVAL,
};
use crate::socket::{self, Strays, WatchedIds, WatchedSocket};
use crate::throttle::Throttle;
use crate::tls;
use crate::transport::QuicConfig;

/// Why a transport could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address to listen on, or to dial from, cannot be had.
    #[error("cannot listen on {address}: {source}{}", hint(.source))]
    Listen {
        /// The address.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The certificate cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The certificate is not that of whom the hello introduces.
    #[error("the certificate names {certificate}, but {hello} was to be started: use its own")]
    WrongHolder {
        /// Whom the certificate names.
        certificate: String,
        /// Whom the hello introduces.
        hello: String,
    },
}

fn hint(source: &std::io::Error) -> &'static str {
    if source.kind() == std::io::ErrorKind::AddrInUse {
        " (another process has this port: stop it or choose another port)"
    } else if source.kind() == std::io::ErrorKind::AddrNotAvailable {
        " (this machine does not have that address)"
    } else {
        ""
    }
}

pub(crate) async fn listen(
    config: &QuicConfig,
    throttle: &Arc<Throttle>,
) -> Result<Endpoint, StartError> {
    let refused = |source| StartError::Listen { address: config.listen.clone(), source };
    let address = tokio::net::lookup_host(&config.listen)
        .await
        .map_err(refused)?
        .next()
        .ok_or_else(|| refused(std::io::ErrorKind::AddrNotAvailable.into()))?;
    let keys = config.credentials.restart_keys();
    let strays = Strays::new(Arc::clone(throttle));
    let socket = socket::bind(address).map_err(refused)?;
    let socket = WatchedSocket::new(socket, keys, Arc::clone(&strays)).map_err(refused)?;
    let mut endpoint = EndpointConfig::new(keys.reset());
    let keys = keys.clone();
    endpoint
        .cid_generator(move || Box::new(WatchedIds::new(keys.ids(), Arc::clone(&strays))))
        // Only the version that is spoken, and only with the bit set that tells QUIC from the rest.
        .supported_versions(vec![1])
        .grease_quic_bit(false)
        .min_reset_interval(RESET_INTERVAL)
        .max_udp_payload_size(DATAGRAM_MAX)
        .expect("the largest datagram is within what QUIC allows");
    let tls = tls::listen_config(&config.credentials)?;
    let mut tokens = ValidationTokenConfig::default();
    // Tokens for later connections would let their holders skip the proof of their address.
    tokens.sent(0);
    let mut server = ServerConfig::with_crypto(Arc::new(tls));
    server
        .transport_config(Arc::new(limits::accepting()))
        .validation_token_config(tokens)
        .migration(false)
        .max_incoming(INCOMING_MAX)
        .incoming_buffer_size(INCOMING_BYTES)
        .incoming_buffer_size_total(INCOMING_BYTES_TOTAL);
    Endpoint::new_with_abstract_socket(
        endpoint,
        Some(server),
        Arc::new(socket),
        Arc::new(TokioRuntime),
    )
    .map_err(refused)
}

/// Closes all connections and tells the other sides that this one stops.
pub(crate) fn shut(endpoint: &Endpoint) {
    let reason = CloseReason::ShuttingDown;
    endpoint.close(VarInt::from(u32::from(reason.code())), b"");
}

/// Closes the endpoint when the last handle on the transport is gone; the tasks do not hold it.
#[derive(Debug)]
pub(crate) struct Open(pub(crate) Endpoint);

impl Drop for Open {
    fn drop(&mut self) {
        shut(&self.0);
    }
}
