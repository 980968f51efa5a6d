//! What clients do: requests, retries, restarts, and what they make of answers.

use bytes::Bytes;
use vsr_core::{CallId, ClientEffect, ClientEvent, ClientId, Outcome, ReplicaId, Subject};

use crate::service;
use crate::world::client::{Call, SimClient};
use crate::world::cluster::{CLUSTER, GENESIS_CLIENTS};
use crate::world::names::{Endpoint, KindName, Link};
use crate::world::network::Flight;
use crate::world::packet::Payload;
use crate::world::store::Store;
use crate::world::{Refused, World};

/// Whom a client authenticated as. Sessions from genesis belong to nobody in particular.
pub(super) fn subject(client: ClientId, number: u32) -> Subject {
    let from_genesis = number <= GENESIS_CLIENTS && client.0 == u128::from(number);
    if from_genesis { Subject::default() } else { Subject(u128::from(number)) }
}

impl<S: Store> World<S> {
    /// Makes a client known. Those with a session from genesis have it; others register first.
    pub(super) fn introduce(&mut self, number: u32) {
        if self.clients.contains_key(&number) {
            return;
        }
        let replicas: Vec<_> = self.replicas().collect();
        let genesis = self.cluster.constants.genesis_sessions.min(GENESIS_CLIENTS);
        if number <= genesis {
            let window = self.cluster.constants.window;
            let client = SimClient::from_genesis(CLUSTER, number, &replicas, window);
            self.clients.insert(number, client);
        } else {
            let mut effects = std::mem::take(&mut self.client_effects);
            let client = SimClient::registering(CLUSTER, number, 0, &replicas, &mut effects);
            self.clients.insert(number, client);
            self.client_effects = effects;
            self.carry_out_client(number, false);
        }
    }

    pub(super) fn request(&mut self, numbers: &[u32], text: &str) -> Result<(), Refused> {
        let operation = service::parse_operation(text).map_err(Refused::Impossible)?;
        for number in numbers {
            match self.clients.get(number) {
                Some(client) if client.machine.is_abandoned() => {
                    return Err(Refused::Impossible(format!(
                        "c{number} gave its session up: restart c{number}, or use another client"
                    )));
                }
                Some(client) if !client.is_ready() => {
                    return Err(Refused::Impossible(format!(
                        "c{number} still waits for an answer: resend c{number}, or give-up c{number}"
                    )));
                }
                Some(_) | None => {}
            }
        }
        let gather = numbers.len() > 1;
        let gathering: Vec<bool> = self.nodes.iter().map(|node| node.gathering).collect();
        for node in self.nodes.iter_mut().filter(|node| gather && node.is_live()) {
            node.gathering = true;
        }
        for number in numbers {
            self.submit(*number, operation.clone());
        }
        if gather {
            self.deliver_immediate();
            for (index, before) in gathering.into_iter().enumerate() {
                if !before && self.nodes[index].is_live() {
                    self.end_round(index);
                }
            }
        }
        Ok(())
    }

    fn submit(&mut self, number: u32, operation: Bytes) {
        self.introduce(number);
        self.moment += 1;
        let invoked = self.moment;
        let call = Call { client: number, operation, read: None, invoked, ended: None };
        let body = call.operation.clone();
        self.history.push(call);
        let place = self.history.len() - 1;
        let client = self.clients.get_mut(&number).expect("the client was introduced above");
        client.call = Some(place);
        client.before_reply = None;
        client.step(
            ClientEvent::Submit { call: CallId(place as u64), body },
            &mut self.client_effects,
        );
        self.carry_out_client(number, false);
    }

    pub(super) fn resend(&mut self, number: u32) -> Result<(), Refused> {
        self.resend_read(number);
        self.step_client(number, ClientEvent::Timeout)
    }

    pub(super) fn give_up(&mut self, number: u32) -> Result<(), Refused> {
        self.give_up_read(number);
        // The oldest one.
        let call = self.outstanding_call(number).unwrap_or_default();
        self.step_client(number, ClientEvent::GiveUp { call: CallId(call as u64) })
    }

    fn step_client(&mut self, number: u32, event: ClientEvent<Bytes>) -> Result<(), Refused> {
        let Some(client) = self.clients.get_mut(&number) else {
            return Err(Refused::Impossible(format!("c{number} has not said anything yet")));
        };
        client.step(event, &mut self.client_effects);
        self.carry_out_client(number, true);
        Ok(())
    }

    /// A client forgets all but its identity: an outstanding operation has no known outcome.
    pub(super) fn restart_client(&mut self, number: u32) -> Result<(), Refused> {
        let Some(client) = self.clients.remove(&number) else {
            return Err(Refused::Impossible(format!("c{number} has not said anything yet")));
        };
        while let Some(place) = self.outstanding_call(number) {
            self.end_call(place, Outcome::Unknown);
        }
        let replicas: Vec<_> = self.replicas().collect();
        let mut effects = std::mem::take(&mut self.client_effects);
        let life = client.life + 1;
        let client = SimClient::registering(CLUSTER, number, life, &replicas, &mut effects);
        self.clients.insert(number, client);
        self.client_effects = effects;
        self.carry_out_client(number, true);
        Ok(())
    }

    /// A replica's answer reaches a client.
    pub(super) fn arrive_at_client(
        &mut self,
        link: Link,
        number: u32,
        payload: Payload,
        flight: Flight,
    ) {
        let event = match payload {
            Payload::Reply(reply) if reply.kind.is_of_read() => {
                return self.take_read_reply(number, reply);
            }
            Payload::Reply(reply) => ClientEvent::Reply(reply),
            Payload::Inform { view, .. } => ClientEvent::Inform { view },
            Payload::Message(_) | Payload::Request(_) => return,
        };
        let Some(client) = self.clients.get_mut(&number) else { return };
        if !self.cluster.client_links {
            let before = client.machine.clone();
            self.last_immediate.insert(link, flight);
            client.before_reply = Some((Box::new(before), self.moment));
        }
        client.step(event, &mut self.client_effects);
        self.carry_out_client(number, true);
    }

    /// Takes back the reply that a client got at once, as if it were still on its link.
    pub(super) fn take_back(&mut self, link: Link, kind: Option<KindName>) -> Option<Flight> {
        let Endpoint::Client(number) = link.to else { return None };
        let fits = |flight: &Flight| kind.is_none_or(|kind| kind == flight.kind);
        let flight = self.last_immediate.get(&link).filter(|flight| fits(flight)).cloned()?;
        let client = self.clients.get_mut(&number)?;
        let (before, moment) = client.before_reply.take()?;
        client.machine = *before;
        let of_session = |call: &&mut Call| call.client == number && call.read.is_none();
        for call in self.history.iter_mut().filter(of_session) {
            call.ended.take_if(|(ended, _)| *ended > moment);
        }
        client.deadline = Some(self.now);
        self.last_immediate.remove(&link);
        Some(flight)
    }

    fn carry_out_client(&mut self, number: u32, tell: bool) {
        let mut effects = std::mem::take(&mut self.client_effects);
        for effect in effects.drain(..) {
            match effect {
                ClientEffect::Send { to, request } => {
                    let payload = Payload::Request(request);
                    if tell {
                        self.narrate(|names| {
                            format!("  c{number} -> {to}  {}", names.payload(&payload))
                        });
                    }
                    self.send_requests(number, std::iter::once(to), payload);
                }
                ClientEffect::Broadcast { request } => {
                    let payload = Payload::Request(request);
                    self.narrate(|names| format!("  c{number} -> *  {}", names.payload(&payload)));
                    self.send_requests(number, self.replicas(), payload);
                }
                ClientEffect::Arm { attempt } => {
                    let dice = self.dice.next();
                    let zero = std::time::Duration::ZERO;
                    let delay = self.cluster.timing.client_retry(attempt, zero, dice);
                    let deadline = self.now + delay.as_nanos() as u64;
                    self.client(number).deadline = Some(deadline);
                }
                ClientEffect::Disarm => self.client(number).deadline = None,
                ClientEffect::Registered { session } => {
                    self.checker.on_registered(session, number);
                }
                ClientEffect::Evicted { .. } => {}
                ClientEffect::Done { call, outcome } => self.end_call(call.0 as usize, outcome),
            }
        }
        self.client_effects = effects;
    }

    pub(super) fn client(&mut self, number: u32) -> &mut SimClient {
        self.clients.get_mut(&number).expect("effects are carried out for clients that exist")
    }

    /// The oldest call that a client still waits for, as a place in the history.
    fn outstanding_call(&self, number: u32) -> Option<usize> {
        self.history.iter().position(|call| call.client == number && call.ended.is_none())
    }

    pub(super) fn end_call(&mut self, place: usize, outcome: Outcome<Bytes>) {
        self.moment += 1;
        if let Outcome::Done { op, .. } = &outcome {
            self.note_answered(*op);
            let number = self.history[place].client;
            if let Some(client) = self.clients.get_mut(&number) {
                client.seen = client.seen.max(op.0);
            }
        }
        self.history[place].ended = Some((self.moment, outcome));
    }

    pub(super) fn send_requests(
        &mut self,
        number: u32,
        receivers: impl Iterator<Item = ReplicaId>,
        payload: Payload,
    ) {
        if let Payload::Request(request) = &payload {
            self.checker.on_request(request);
        }
        let kind = payload.kind();
        let from = Endpoint::Client(number);
        let packet = self.seal(payload, from);
        for to in receivers {
            self.send(Link { from, to: Endpoint::Replica(to) }, packet.clone(), kind);
        }
    }
}
