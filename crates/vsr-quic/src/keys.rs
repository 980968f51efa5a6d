//! Two secrets that outlive a restart, so that a peer learns at once that a connection is dead.
//!
//! A killed process sends no close. When it is back, its peers still send packets of connections
//! that it no longer knows; QUIC answers those with a stateless reset, provided that the restarted
//! process can compute the same token as before, and recognise its own connection ids. Both keys
//! are therefore derived from the private key of its certificate. ADR 0014 says more.

use std::sync::Arc;

use quinn::{ConnectionId, ConnectionIdGenerator};
use quinn_proto::InvalidCid;
use ring::{hkdf, hmac, rand::SecureRandom, rand::SystemRandom};

/// Random bytes of a connection id. 64 bits: an id never returns within a key's life, so that a
/// token that one peer was told is never another's (RFC 9000, 10.3.2).
const NONCE_BYTES: usize = 8;

/// Authenticating bytes of a connection id: 32 bits leave one stray datagram in four thousand
/// million to be taken for one of ours, which costs a reset of 40 bytes.
const TAG_BYTES: usize = 4;

/// The length of a connection id.
pub(crate) const ID_BYTES: usize = NONCE_BYTES + TAG_BYTES;

/// The keys that a private key gives rise to. Never printed.
#[derive(Clone)]
pub(crate) struct RestartKeys {
    reset: Arc<hmac::Key>,
    ids: Arc<hmac::Key>,
}

impl RestartKeys {
    /// Derives the keys by HKDF-SHA-256.
    pub(crate) fn derive(private_key: &[u8]) -> Self {
        let secret =
            hkdf::Salt::new(hkdf::HKDF_SHA256, b"vsr-quic restart keys").extract(private_key);
        let expand = |label: &'static [u8]| {
            let info = [label];
            let material = secret.expand(&info, hmac::HMAC_SHA256);
            Arc::new(hmac::Key::from(
                material.expect("HKDF gives up to 255 times the 32 bytes asked for"),
            ))
        };
        Self { reset: expand(b"stateless reset 1"), ids: expand(b"connection id 1") }
    }

    /// The key that stateless-reset tokens are computed with.
    pub(crate) fn reset(&self) -> Arc<hmac::Key> {
        Arc::clone(&self.reset)
    }

    /// Makes and recognises connection ids.
    pub(crate) fn ids(&self) -> KeyedIds {
        KeyedIds { key: Arc::clone(&self.ids), random: SystemRandom::new() }
    }
}

/// Connection ids of a random part and its truncated HMAC: recognised after a restart, and told
/// apart from bytes that are not QUIC.
pub(crate) struct KeyedIds {
    key: Arc<hmac::Key>,
    random: SystemRandom,
}

impl KeyedIds {
    fn tag(&self, nonce: &[u8]) -> [u8; TAG_BYTES] {
        let mac = hmac::sign(&self.key, nonce);
        mac.as_ref()[..TAG_BYTES].try_into().expect("HMAC-SHA-256 has 32 bytes")
    }

    /// Whether these bytes are an id that this key made.
    pub(crate) fn made(&self, id: &[u8]) -> bool {
        // Not in constant time: a forged id gains a reset for a connection that does not exist.
        id.split_at_checked(NONCE_BYTES).is_some_and(|(nonce, tag)| tag == self.tag(nonce))
    }
}

impl ConnectionIdGenerator for KeyedIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; ID_BYTES];
        self.random
            .fill(&mut id[..NONCE_BYTES])
            .expect("the system gave random bytes to make the TLS keys");
        let tag = self.tag(&id[..NONCE_BYTES]);
        id[NONCE_BYTES..].copy_from_slice(&tag);
        ConnectionId::new(&id)
    }

    fn validate(&self, id: &ConnectionId) -> Result<(), InvalidCid> {
        if self.made(id) { Ok(()) } else { Err(InvalidCid) }
    }

    fn cid_len(&self) -> usize {
        ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<std::time::Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_recognised_after_a_restart_and_by_no_other_replica() {
        let id = RestartKeys::derive(b"key").ids().generate_cid();
        assert!(RestartKeys::derive(b"key").ids().validate(&id).is_ok());
        assert!(RestartKeys::derive(b"other").ids().validate(&id).is_err());
    }

    #[test]
    fn an_id_with_any_bit_flipped_is_not_ours() {
        let mut ids = RestartKeys::derive(b"key").ids();
        let id = ids.generate_cid();
        for bit in 0..ID_BYTES * 8 {
            let mut bytes = id.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(!ids.made(&bytes), "bit {bit}");
        }
        assert!(!ids.made(&id[..NONCE_BYTES]));
        assert!(!ids.made(&[]));
    }

    #[test]
    fn the_two_keys_differ() {
        let keys = RestartKeys::derive(b"key");
        let sign = |key: &hmac::Key| hmac::sign(key, b"x").as_ref().to_vec();
        assert_ne!(sign(&keys.reset), sign(&keys.ids));
    }
}
