//! What a round wants sent to other replicas: glued together so that each peer gets one buffer of
//! each class, and encoded once however many get it.

use bytes::{Bytes, BytesMut};
use vsr_core::{Class, Message, ReplicaId};
use vsr_wire::WireError;

/// A buffer that has grown to this is sent before the round ends: a queue that is full then drops a
/// part, not all.
const GLUED_BYTES_MAX: usize = 256 * 1024;

const CLASSES: [Class; 3] = [Class::Control, Class::Prepares, Class::Bulk];

/// Frames that wait for the end of the round.
#[derive(Debug)]
pub(crate) struct Outgoing {
    me: ReplicaId,
    /// For every peer.
    shared: [BytesMut; CLASSES.len()],
    peers: Vec<Peer>,
}

#[derive(Debug)]
struct Peer {
    id: ReplicaId,
    own: [BytesMut; CLASSES.len()],
}

impl Outgoing {
    /// For replica `me`, whose peers are these.
    pub(crate) fn new(me: ReplicaId, peers: impl Iterator<Item = ReplicaId>) -> Self {
        let peer = |id| Peer { id, own: Default::default() };
        Self { me, shared: Default::default(), peers: peers.map(peer).collect() }
    }

    /// Adds a message for one peer; one for anybody else is dropped.
    ///
    /// # Errors
    /// The message is larger than any frame; nothing was added.
    pub(crate) fn send(
        &mut self,
        to: ReplicaId,
        message: &Message<Bytes>,
        sink: impl FnMut(ReplicaId, Class, Bytes),
    ) -> Result<(), WireError> {
        let class = message.kind.class();
        let Some(peer) = self.peers.iter_mut().find(|peer| peer.id == to) else {
            return Ok(());
        };
        vsr_wire::encode_message(message, self.me, &mut peer.own[place(class)])?;
        if peer.own[place(class)].len() >= GLUED_BYTES_MAX {
            self.hand_over_class(class, sink);
        }
        Ok(())
    }

    /// Adds a message for every peer.
    ///
    /// # Errors
    /// The message is larger than any frame; nothing was added.
    pub(crate) fn broadcast(
        &mut self,
        message: &Message<Bytes>,
        sink: impl FnMut(ReplicaId, Class, Bytes),
    ) -> Result<(), WireError> {
        let class = message.kind.class();
        vsr_wire::encode_message(message, self.me, &mut self.shared[place(class)])?;
        if self.shared[place(class)].len() >= GLUED_BYTES_MAX {
            self.hand_over_class(class, sink);
        }
        Ok(())
    }

    /// Hands over all that waits, control first.
    pub(crate) fn hand_over(&mut self, mut sink: impl FnMut(ReplicaId, Class, Bytes)) {
        for class in CLASSES {
            self.hand_over_class(class, &mut sink);
        }
    }

    /// One buffer for each peer that gets anything; where all get the same, the same buffer.
    fn hand_over_class(&mut self, class: Class, mut sink: impl FnMut(ReplicaId, Class, Bytes)) {
        let shared = self.shared[place(class)].split().freeze();
        for peer in &mut self.peers {
            let own = &mut peer.own[place(class)];
            if own.is_empty() {
                if !shared.is_empty() {
                    sink(peer.id, class, shared.clone());
                }
            } else {
                own.extend_from_slice(&shared);
                sink(peer.id, class, own.split().freeze());
            }
        }
    }
}

const fn place(class: Class) -> usize {
    match class {
        Class::Control => 0,
        Class::Prepares => 1,
        Class::Bulk => 2,
    }
}
