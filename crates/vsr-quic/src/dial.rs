//! Dialling a replica, again and again, with growing and jittered waits.

use std::sync::Arc;
use std::time::Duration;

use quinn::{ClientConfig, ConnectError, Connection, Endpoint, TransportConfig};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::task::JoinSet;
use tokio::time::timeout;
use vsr_core::ReplicaId;
use vsr_wire::{CloseReason, Hello};

use crate::certificates::{CertificateError, Credentials};
use crate::greeting::{self, Ended, Greeted, Protocol};
use crate::limits::{ADDRESSES_MAX, DIAL_TIMEOUT, REDIAL_MAX, REDIAL_MIN};
use crate::tls::{self, CLIENT_PROTOCOL, PEER_PROTOCOL, SERVER_NAME};

/// A replica to be dialled.
pub(crate) struct Target {
    pub(crate) replica: ReplicaId,
    /// `HOST:PORT`; a host name is resolved anew each time, since a replica may move.
    pub(crate) address: String,
    endpoint: Endpoint,
    config: ClientConfig,
    protocol: Protocol,
    ours: Hello,
}

impl Target {
    pub(crate) fn new(
        endpoint: Endpoint,
        credentials: &Credentials,
        ours: Hello,
        (protocol, transport): (Protocol, Arc<TransportConfig>),
        (replica, address): (ReplicaId, String),
    ) -> Result<Self, CertificateError> {
        let spoken = match protocol {
            Protocol::Peer => PEER_PROTOCOL,
            Protocol::Client => CLIENT_PROTOCOL,
        };
        let tls = tls::dial_config(credentials, replica, spoken)?;
        let mut config = ClientConfig::new(Arc::new(tls));
        config.transport_config(transport);
        Ok(Self { replica, address, endpoint, config, protocol, ours })
    }

    /// One attempt: resolves, shakes hands, says hello. [`Ended::NodeGone`] once the endpoint is closed.
    pub(crate) async fn dial(&self) -> Result<Greeted, Ended> {
        let attempt = async {
            let connection = self.connect().await?;
            greeting::say(connection, self.protocol, &self.ours, self.replica).await
        };
        timeout(DIAL_TIMEOUT, attempt)
            .await
            .unwrap_or_else(|_| Err(lost(format!("no answer within {DIAL_TIMEOUT:?}"))))
    }

    /// Shakes hands with every address at once and takes the first that answers: which of a host's
    /// addresses is reachable is not known, and a silent one costs the whole timeout. The hello is
    /// said to one only, so that the other side never sees two connections of ours.
    async fn connect(&self) -> Result<Connection, Ended> {
        let resolved = tokio::net::lookup_host(&self.address)
            .await
            .map_err(|error| lost(format!("cannot resolve {}: {error}", self.address)))?;
        let mut handshakes = JoinSet::new();
        let mut last = lost(format!("{} has no address that can be dialled", self.address));
        for address in resolved.take(ADDRESSES_MAX) {
            match self.endpoint.connect_with(self.config.clone(), address, SERVER_NAME) {
                Ok(connecting) => {
                    handshakes.spawn(connecting);
                }
                Err(ConnectError::EndpointStopping) => return Err(Ended::NodeGone),
                Err(error) => last = lost(format!("cannot dial {address}: {error}")),
            }
        }
        while let Some(finished) = handshakes.join_next().await {
            match finished {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => last = error.into(),
                Err(error) => last = lost(error.to_string()),
            }
        }
        Err(last)
    }
}

fn lost(detail: String) -> Ended {
    Ended::Lost { reason: None::<CloseReason>, detail }
}

/// The waits between attempts: doubling from [`REDIAL_MIN`] to [`REDIAL_MAX`], each between half and
/// all of that, so that replicas that lost one another at one moment do not dial at one moment.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    pub(crate) const fn reset(&mut self) {
        self.failures = 0;
    }

    /// The wait after a failure; a failure that will not mend itself waits longest.
    pub(crate) fn next(&mut self, transient: bool) -> Duration {
        let doublings = if transient { self.failures } else { u32::MAX };
        self.failures = self.failures.saturating_add(1);
        let factor = 2u32.checked_pow(doublings).unwrap_or(u32::MAX);
        let longest = REDIAL_MIN.saturating_mul(factor).min(REDIAL_MAX);
        longest / 2 + (longest / 2).mul_f64(fraction())
    }
}

/// A random number from 0 to 1. Without random bytes the wait is merely not jittered.
fn fraction() -> f64 {
    let mut bytes = [0; 4];
    match SystemRandom::new().fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_their_limit_and_begin_anew() {
        let mut backoff = Backoff::default();
        let mut longest = REDIAL_MIN;
        for _ in 0..100 {
            let wait = backoff.next(true);
            assert!(longest / 2 <= wait && wait <= longest, "{wait:?} {longest:?}");
            longest = (longest * 2).min(REDIAL_MAX);
        }
        backoff.reset();
        assert!(backoff.next(true) <= REDIAL_MIN);
        assert!(backoff.next(false) >= REDIAL_MAX / 2);
    }
}
