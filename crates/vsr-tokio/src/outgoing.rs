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

#[cfg(test)]
mod tests {
    use vsr_core::{
        Checksum, ClusterId, Committed, Epoch, Incarnation, Kind, OpNumber, ViewNumber,
    };

    use super::*;

    type Sent = Vec<(ReplicaId, Class, Bytes)>;

    const ME: ReplicaId = ReplicaId(0);

    fn outgoing() -> Outgoing {
        Outgoing::new(ME, [1, 2, 3].map(ReplicaId).into_iter())
    }

    fn message(kind: Kind<Bytes>) -> Message<Bytes> {
        Message {
            cluster: ClusterId(1),
            epoch: Epoch::ZERO,
            view: ViewNumber::ZERO,
            incarnation: Incarnation(1),
            kind,
        }
    }

    fn commit() -> Message<Bytes> {
        let commit = Committed { op: OpNumber(1), checksum: Checksum(1) };
        message(Kind::Commit { commit })
    }

    fn headers(count: usize) -> Message<Bytes> {
        let headers = vec![vsr_core::Header::root(ClusterId(1)); count];
        message(Kind::Headers { headers })
    }

    #[test]
    fn what_all_get_is_encoded_once_and_shared() {
        let mut outgoing = outgoing();
        outgoing.broadcast(&commit(), |_, _, _| panic!("it waits")).unwrap();
        let mut sent = Sent::new();
        outgoing.hand_over(|to, class, frames| sent.push((to, class, frames)));
        assert_eq!(sent.iter().map(|(to, ..)| to.0).collect::<Vec<_>>(), [1, 2, 3]);
        let first = sent[0].2.as_ptr();
        assert!(sent.iter().all(|(_, _, frames)| frames.as_ptr() == first));
        outgoing.hand_over(|_, _, _| panic!("nothing is left"));
    }

    #[test]
    fn a_peer_gets_one_buffer_of_each_class() {
        let mut outgoing = outgoing();
        let unsent = |_, _, _: Bytes| panic!("it waits");
        outgoing.send(ReplicaId(2), &commit(), unsent).unwrap();
        outgoing.broadcast(&commit(), unsent).unwrap();
        outgoing.send(ReplicaId(2), &headers(1), unsent).unwrap();
        outgoing.send(ReplicaId(9), &commit(), unsent).unwrap();
        let mut sent = Sent::new();
        outgoing.hand_over(|to, class, frames| sent.push((to, class, frames)));
        let receivers: Vec<_> = sent.iter().map(|(to, class, _)| (to.0, *class)).collect();
        let control = Class::Control;
        assert_eq!(receivers, [(1, control), (2, control), (3, control), (2, Class::Bulk)]);
        assert_eq!(sent[1].2.len(), 2 * sent[0].2.len(), "its own frame and the one for all");
    }

    #[test]
    fn a_buffer_that_grows_large_does_not_wait_for_the_end_of_the_round() {
        let mut outgoing = outgoing();
        let mut sent = Sent::new();
        while sent.is_empty() {
            let sink = |to, class, frames| sent.push((to, class, frames));
            outgoing.send(ReplicaId(1), &headers(500), sink).unwrap();
        }
        assert!(sent[0].2.len() < 2 * GLUED_BYTES_MAX);
        outgoing.hand_over(|_, _, _| panic!("nothing is left"));
    }
}
