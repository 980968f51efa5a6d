//! The clients: each submits one operation after another, and checks what it is told.

use std::time::Duration;

use vsr_core::{
    CallId, Client, ClientEffect, ClientEvent, ClientId, ClientRequest, Outcome, ReplicaId, Timing,
};

use crate::world::{Body, CLUSTER, Happening, MS, World};

/// One caller and its client.
pub struct Caller {
    pub client: Client<Body>,
    /// Counts what became of its timer.
    pub generation: u64,
    pub outstanding: Option<u64>,
}

impl World {
    pub fn new_caller(&mut self) -> (Caller, Vec<ClientEffect<Body>>) {
        self.next_client += 1;
        let replicas: Vec<ReplicaId> = (0..self.nodes.len() as u32).map(ReplicaId).collect();
        let mut effects = Vec::new();
        let client = Client::new(CLUSTER, ClientId(self.next_client), &replicas, &mut effects);
        (Caller { client, generation: 0, outstanding: None }, effects)
    }

    pub fn submit(&mut self, client: usize) {
        if self.callers[client].client.is_abandoned() {
            let (caller, effects) = self.new_caller();
            let generation = self.callers[client].generation + 1;
            self.callers[client] = Caller { generation, ..caller };
            self.carry_out_client(client, effects);
        }
        if self.callers[client].outstanding.is_none() {
            self.next_body += 1;
            self.callers[client].outstanding = Some(self.next_body);
            let body = self.next_body.to_le_bytes();
            self.step_client(client, ClientEvent::Submit { call: CallId(0), body });
        }
    }

    pub fn step_client(&mut self, client: usize, event: ClientEvent<Body>) {
        let mut effects = Vec::new();
        self.callers[client].client.step(event, &mut effects);
        self.carry_out_client(client, effects);
    }

    pub fn carry_out_client(&mut self, client: usize, effects: Vec<ClientEffect<Body>>) {
        for effect in effects {
            match effect {
                ClientEffect::Send { to, request } => {
                    self.send_request(to.0 as usize, request);
                }
                ClientEffect::Broadcast { request } => {
                    for to in 0..self.nodes.len() {
                        self.send_request(to, request.clone());
                    }
                }
                ClientEffect::Arm { attempt } => {
                    self.callers[client].generation += 1;
                    let generation = self.callers[client].generation;
                    let dice = self.dice.next();
                    let rtt = Duration::from_millis(4);
                    let delay = Timing::DEFAULT.client_retry(attempt, rtt, dice).as_nanos();
                    self.plan(delay as u64, Happening::ClientTimer { client, generation });
                }
                ClientEffect::Disarm => self.callers[client].generation += 1,
                ClientEffect::Registered { .. } | ClientEffect::Evicted { .. } => {}
                ClientEffect::Done { outcome, .. } => self.outcome(client, outcome),
            }
        }
    }

    pub fn send_request(&mut self, to: usize, request: ClientRequest<Body>) {
        if !(self.faults && self.dice.percent(self.loss)) {
            let delay = self.delay();
            self.plan(delay, Happening::Request { to, request });
        }
    }

    pub fn outcome(&mut self, client: usize, outcome: Outcome<Body>) {
        let body = self.callers[client].outstanding.take().unwrap();
        match outcome {
            Outcome::Done { op, body: reply } => {
                let seed = self.seed;
                assert_eq!(reply, Some(body.to_le_bytes()), "seed {seed}: another's reply");
                let place = self.places.get(&body).map(|(op, _)| *op);
                assert_eq!(place, Some(op), "seed {seed}: done, and never executed");
                self.done.insert(body, op);
                self.finished += 1;
            }
            Outcome::NotDone(_) => self.not_done.push(body),
            Outcome::Unknown => {}
        }
        let delay = MS + self.dice.below(30 * MS);
        self.plan(delay, Happening::Submit { client });
    }
}
