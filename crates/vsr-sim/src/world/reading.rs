//! Reads of simulated clients, without an entry in the log.

use bytes::Bytes;
use vsr_core::{
    ClientReply, OpNumber, Outcome, ReadFrom, ReadOutcome, ReadPolicy, Reader, ReaderEffect,
    RequestNumber,
};

use crate::service;
use crate::world::choice::{AGE_MAX, Policy};
use crate::world::client::{Call, MustSee};
use crate::world::cluster::CLUSTER;
use crate::world::packet::Payload;
use crate::world::store::Store;
use crate::world::{Refused, World};

impl<S: Store> World<S> {
    /// A client begins a read.
    pub(super) fn read(
        &mut self,
        number: u32,
        from: ReadFrom,
        policy: Policy,
        text: &str,
    ) -> Result<(), Refused> {
        let operation = service::parse_operation(text).map_err(Refused::Impossible)?;
        if let ReadFrom::Replica(replica) = from {
            self.node(replica)?;
        }
        if !self.is_ready(number) {
            return Err(Refused::Impossible(format!(
                "c{number} still waits for an answer: resend c{number}, or give-up c{number}"
            )));
        }
        self.introduce(number);
        let answered = self.answered();
        let aged = match policy {
            Policy::Bounded(age) => self.answered_before(age),
            Policy::Linearizable | Policy::Causal | Policy::CausalAfter(_) => 0,
        };
        let replicas: Vec<_> = self.replicas().collect();
        let client = self.client(number);
        let (policy, read) = match policy {
            Policy::Linearizable => {
                (ReadPolicy::Linearizable, MustSee { linearizable: true, least: answered })
            }
            Policy::Causal => causal(client.seen),
            Policy::CausalAfter(op) => causal(op),
            Policy::Bounded(age) => {
                (ReadPolicy::Bounded { age }, MustSee { linearizable: false, least: aged })
            }
        };
        client.reads += 1;
        let mut effects = Vec::new();
        let what = (RequestNumber(client.reads), policy, operation.clone());
        let (id, view) = (client.machine.id(), client.machine.view());
        let reader = Reader::new((CLUSTER, id), &replicas, view, from, what, &mut effects);
        self.moment += 1;
        let invoked = self.moment;
        let call = Call { client: number, operation, read: Some(read), invoked, ended: None };
        self.history.push(call);
        let place = self.history.len() - 1;
        let client = self.client(number);
        client.reader = Some(reader);
        client.call = Some(place);
        client.before_reply = None;
        self.carry_out_read(number, effects);
        Ok(())
    }

    /// The highest op that was answered.
    fn answered(&self) -> u64 {
        self.answered.back().map_or(0, |(_, op)| *op)
    }

    /// The highest op that was answered so many milliseconds ago.
    fn answered_before(&self, age: u32) -> u64 {
        let Some(then) = self.now.checked_sub(u64::from(age) * 1_000_000) else { return 0 };
        let before = self.answered.partition_point(|(at, _)| *at <= then);
        before.checked_sub(1).map_or(0, |last| self.answered[last].1)
    }

    /// An op was answered, now.
    pub(super) fn note_answered(&mut self, op: OpNumber) {
        if op.0 <= self.answered() {
            return;
        }
        match self.answered.back_mut().filter(|(at, _)| *at == self.now) {
            Some((_, highest)) => *highest = op.0,
            None => self.answered.push_back((self.now, op.0)),
        }
        // Older ones are of no use: no read bears so much age.
        let oldest = self.now.saturating_sub(u64::from(AGE_MAX) * 1_000_000);
        while self.answered.len() > 1 && self.answered[1].0 <= oldest {
            self.answered.pop_front();
        }
    }

    pub(super) fn resend_read(&mut self, number: u32) {
        self.step_read(number, Reader::on_timeout);
    }

    pub(super) fn give_up_read(&mut self, number: u32) {
        self.step_read(number, Reader::give_up);
    }

    pub(super) fn take_read_reply(&mut self, number: u32, reply: ClientReply<Bytes>) {
        self.step_read(number, |reader, effects| reader.on_reply(reply, effects));
    }

    fn step_read(
        &mut self,
        number: u32,
        step: impl FnOnce(&mut Reader<Bytes>, &mut Vec<ReaderEffect<Bytes>>),
    ) {
        let reader = self.clients.get_mut(&number).and_then(|client| client.reader.as_mut());
        let Some(reader) = reader else { return };
        let mut effects = Vec::new();
        step(reader, &mut effects);
        self.carry_out_read(number, effects);
    }

    fn carry_out_read(&mut self, number: u32, effects: Vec<ReaderEffect<Bytes>>) {
        for effect in effects {
            match effect {
                ReaderEffect::Send { to, request } => {
                    let payload = Payload::Request(request);
                    self.narrate(|names| {
                        format!("  c{number} -> {to}  {}", names.payload(&payload))
                    });
                    self.send_requests(number, std::iter::once(to), payload);
                }
                ReaderEffect::Arm { attempt } => {
                    let dice = self.dice.next();
                    let zero = std::time::Duration::ZERO;
                    let delay = self.cluster.timing.client_retry(attempt, zero, dice);
                    let deadline = self.now + delay.as_nanos() as u64;
                    self.client(number).read_deadline = Some(deadline);
                }
                ReaderEffect::Done(outcome) => self.end_read(number, outcome),
            }
        }
    }

    fn end_read(&mut self, number: u32, outcome: ReadOutcome<Bytes>) {
        let client = self.client(number);
        client.reader = None;
        client.read_deadline = None;
        let Some(place) = client.call else { return };
        let outcome = match outcome {
            ReadOutcome::Done { op, body } => {
                self.check_read(number, place, op);
                Outcome::Done { op, body: Some(body) }
            }
            ReadOutcome::NotDone(_) => Outcome::NotDone(None),
        };
        self.end_call(place, outcome);
    }

    fn check_read(&mut self, number: u32, place: usize, op: OpNumber) {
        if let Some(read) = self.history[place].read {
            self.checker.on_read(number, read.least, op);
        }
    }
}

const fn causal(least: u64) -> (ReadPolicy, MustSee) {
    let after = OpNumber(least);
    (ReadPolicy::Causal { after }, MustSee { linearizable: false, least })
}
