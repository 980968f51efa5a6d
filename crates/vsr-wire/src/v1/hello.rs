//! The first and the last frame of a connection.

use bincode::{Decode, Encode};
use vsr_core::{Checksum, ClientId, ClusterId, Epoch, Incarnation, ReplicaId, StoreId};

use crate::frame::Sender;
use crate::hello::{Hello as PublicHello, STARTS_TOLD, Speaker as PublicSpeaker};

#[derive(Encode, Decode)]
pub(crate) struct Hello {
    version: u16,
    speaker: Speaker,
    replicas: u32,
    epoch: u32,
    constants: u128,
    frame_limit: u32,
}

#[allow(clippy::large_enum_variant, reason = "there is one for each connection")]
#[derive(Encode, Decode)]
enum Speaker {
    Replica { id: u32, incarnation: u64, starts: [u128; STARTS_TOLD], store: u128 },
    Client { id: u128 },
}

#[derive(Encode, Decode)]
pub(crate) struct Close {
    pub(crate) code: u16,
}

impl From<&PublicHello> for Hello {
    fn from(hello: &PublicHello) -> Self {
        Self {
            version: hello.version,
            speaker: match hello.speaker {
                PublicSpeaker::Replica { id, incarnation, starts, store } => Speaker::Replica {
                    id: id.0,
                    incarnation: incarnation.0,
                    starts,
                    store: store.0,
                },
                PublicSpeaker::Client { id } => Speaker::Client { id: id.0 },
            },
            replicas: hello.replicas,
            epoch: hello.epoch.0,
            constants: hello.constants.0,
            frame_limit: hello.frame_limit,
        }
    }
}

impl Hello {
    /// The hello, if the speaker is the one that the frame's header names as its sender.
    pub(crate) fn into_public(self, cluster: ClusterId, sender: Sender) -> Option<PublicHello> {
        let speaker = match (self.speaker, sender) {
            (Speaker::Replica { id, incarnation, starts, store }, Sender::Replica(sender))
                if sender.0 == id =>
            {
                PublicSpeaker::Replica {
                    id: ReplicaId(id),
                    incarnation: Incarnation(incarnation),
                    starts,
                    store: StoreId(store),
                }
            }
            (Speaker::Client { id }, Sender::Client) => PublicSpeaker::Client { id: ClientId(id) },
            (Speaker::Replica { .. }, Sender::Replica(_) | Sender::Client)
            | (Speaker::Client { .. }, Sender::Replica(_)) => return None,
        };
        Some(PublicHello {
            version: self.version,
            cluster,
            speaker,
            replicas: self.replicas,
            epoch: Epoch(self.epoch),
            constants: Checksum(self.constants),
            frame_limit: self.frame_limit,
        })
    }
}
