//! Which connection a client's replies go to, learned from its requests, and what waits to be sent
//! there at the end of the round.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use vsr_core::{ClientId, Subject};

use crate::transport::ConnectionId;

/// How many clients one connection speaks for at most; one more makes it forget the first. A pool of
/// sessions shares a connection; what exceeds this is an attempt to fill our memory.
pub(crate) const CLIENTS_PER_CONNECTION: usize = 4096;

/// Routes of replies.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    clients: HashMap<ClientId, Route>,
    slots: HashMap<ConnectionId, usize>,
    connections: Vec<Connection>,
    /// Slots of connections that are gone.
    free: Vec<usize>,
    /// Slots with something to send.
    dirty: Vec<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Route {
    slot: usize,
    subject: Subject,
}

#[derive(Debug)]
struct Connection {
    id: ConnectionId,
    /// In the order in which they were learned.
    clients: Vec<ClientId>,
    frames: BytesMut,
}

/// Another subject uses this client id on a live connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken;

impl Routes {
    /// Learns that `client`, authenticated as `subject`, is reached by `connection`.
    ///
    /// # Errors
    /// [`Taken`] where another subject holds that id: its replies are not for this one.
    pub(crate) fn learn(
        &mut self,
        client: ClientId,
        subject: Subject,
        connection: ConnectionId,
    ) -> Result<(), Taken> {
        if let Some(route) = self.clients.get(&client) {
            if route.subject != subject {
                return Err(Taken);
            }
            if self.connections[route.slot].id == connection {
                return Ok(());
            }
            let former = route.slot;
            self.connections[former].clients.retain(|c| *c != client);
        }
        let slot = self.slot(connection);
        let clients = &mut self.connections[slot].clients;
        if clients.len() >= CLIENTS_PER_CONNECTION {
            let forgotten = clients.remove(0);
            self.clients.remove(&forgotten);
        }
        clients.push(client);
        self.clients.insert(client, Route { slot, subject });
        Ok(())
    }

    /// Forgets a connection and all who were reached by it.
    pub(crate) fn forget(&mut self, connection: ConnectionId) {
        let Some(slot) = self.slots.remove(&connection) else {
            return;
        };
        for client in self.connections[slot].clients.drain(..) {
            self.clients.remove(&client);
        }
        self.connections[slot].frames = BytesMut::new();
        self.dirty.retain(|dirty| *dirty != slot);
        self.free.push(slot);
    }

    /// Where to append a frame for a client; `None` where it is not connected.
    pub(crate) fn for_client(&mut self, client: ClientId) -> Option<&mut BytesMut> {
        let slot = self.clients.get(&client)?.slot;
        Some(self.buffer(slot))
    }

    /// Where to append a frame for a connection.
    pub(crate) fn for_connection(&mut self, connection: ConnectionId) -> &mut BytesMut {
        let slot = self.slot(connection);
        self.buffer(slot)
    }

    /// Hands out all that waits, one buffer for each connection.
    pub(crate) fn drain(&mut self, mut send: impl FnMut(ConnectionId, Bytes)) {
        for slot in self.dirty.drain(..) {
            let connection = &mut self.connections[slot];
            if !connection.frames.is_empty() {
                send(connection.id, connection.frames.split().freeze());
            }
        }
    }

    /// How many connections are known.
    pub(crate) fn connections(&self) -> usize {
        self.slots.len()
    }

    fn buffer(&mut self, slot: usize) -> &mut BytesMut {
        let frames = &mut self.connections[slot].frames;
        if frames.is_empty() {
            self.dirty.push(slot);
        }
        frames
    }

    fn slot(&mut self, connection: ConnectionId) -> usize {
        if let Some(slot) = self.slots.get(&connection) {
            return *slot;
        }
        let fresh = Connection { id: connection, clients: Vec::new(), frames: BytesMut::new() };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.connections[slot] = fresh;
                slot
            }
            None => {
                self.connections.push(fresh);
                self.connections.len() - 1
            }
        };
        self.slots.insert(connection, slot);
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: Subject = Subject(1);
    const MALLORY: Subject = Subject(2);

    fn sent(routes: &mut Routes) -> Vec<(ConnectionId, Bytes)> {
        let mut sent = Vec::new();
        routes.drain(|connection, frames| sent.push((connection, frames)));
        sent
    }

    #[test]
    fn replies_of_a_round_leave_in_one_buffer_for_each_connection() {
        let mut routes = Routes::default();
        for client in 0..4 {
            let connection = ConnectionId(client as u64 % 2);
            routes.learn(ClientId(client), ALICE, connection).unwrap();
            let frames = routes.for_client(ClientId(client)).unwrap();
            frames.extend_from_slice(&[client as u8]);
        }
        let expected = [
            (ConnectionId(0), Bytes::from_static(&[0, 2])),
            (ConnectionId(1), Bytes::from_static(&[1, 3])),
        ];
        assert_eq!(sent(&mut routes), expected);
        assert_eq!(sent(&mut routes), []);
    }

    #[test]
    fn a_client_that_connects_anew_is_answered_on_its_latest_connection() {
        let mut routes = Routes::default();
        routes.learn(ClientId(7), ALICE, ConnectionId(1)).unwrap();
        routes.learn(ClientId(7), ALICE, ConnectionId(2)).unwrap();
        routes.forget(ConnectionId(1));
        routes.for_client(ClientId(7)).unwrap().extend_from_slice(b"x");
        assert_eq!(sent(&mut routes)[0].0, ConnectionId(2));
    }

    #[test]
    fn nobody_takes_over_the_replies_of_another_subject() {
        let mut routes = Routes::default();
        routes.learn(ClientId(7), ALICE, ConnectionId(1)).unwrap();
        let taken = routes.learn(ClientId(7), MALLORY, ConnectionId(2));
        assert_eq!(taken, Err(Taken));
    }

    #[test]
    fn what_waits_for_a_connection_that_is_gone_is_dropped_and_its_place_reused() {
        let mut routes = Routes::default();
        routes.learn(ClientId(7), ALICE, ConnectionId(1)).unwrap();
        routes.for_client(ClientId(7)).unwrap().extend_from_slice(b"x");
        routes.forget(ConnectionId(1));
        assert!(routes.for_client(ClientId(7)).is_none());
        routes.learn(ClientId(8), ALICE, ConnectionId(2)).unwrap();
        assert_eq!(sent(&mut routes), []);
        assert_eq!((routes.connections(), routes.connections.len()), (1, 1));
    }

    #[test]
    fn a_connection_that_names_ever_new_clients_makes_us_forget_its_first() {
        let mut routes = Routes::default();
        for client in 0..=CLIENTS_PER_CONNECTION as u128 {
            routes.learn(ClientId(client), ALICE, ConnectionId(1)).unwrap();
        }
        assert!(routes.for_client(ClientId(0)).is_none());
        assert_eq!(routes.clients.len(), CLIENTS_PER_CONNECTION);
    }
}
