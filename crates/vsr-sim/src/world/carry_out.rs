//! The simulated driver: steps a replica, ends the round, carries the effects out.

use bytes::Bytes;
use vsr_core::{
    Checkpoint, ClientReply, DiskState, Effect, Entry, Event, Fetch, HaltReason, Message, Nonce,
    Note, ReplicaId, Request, Service as _, WriteKind, apply,
};

use crate::service::SimService;
use crate::world::World;
use crate::world::choice::DiskMode;
use crate::world::names::{Endpoint, KindName, Link};
use crate::world::node::Io;
use crate::world::packet::Payload;
use crate::world::store::{Store, Taken};

/// Events that one choice may bring to one replica by its own disk and service. More is a loop.
const EVENTS_MAX: usize = 100_000;

/// After how many steps a replica is handed events that come too late.
const LATE_EVENTS_EVERY: u64 = 256;

impl<S: Store> World<S> {
    /// Hands an event to a replica, with all that its own disk and service answer at once.
    pub(super) fn step_node(&mut self, index: usize, event: Event<Bytes>) {
        if !self.nodes[index].is_live() {
            return;
        }
        self.nodes[index].events.push_back(event);
        self.run_node(index);
    }

    /// Ends the round that a replica gathers for.
    pub(super) fn end_round(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        node.gathering = false;
        if let Some(replica) = &mut node.replica {
            replica.flush(&mut node.effects);
        }
        self.run_node(index);
    }

    /// Steps a replica until nothing waits for it.
    pub(super) fn run_node(&mut self, index: usize) {
        self.narrator.open_block();
        let mut steps = 0;
        loop {
            self.carry_out_all(index);
            let node = &mut self.nodes[index];
            if node.paused {
                break;
            }
            let (Some(event), Some(replica)) = (node.events.pop_front(), &mut node.replica) else {
                break;
            };
            steps += 1;
            assert!(steps <= EVENTS_MAX, "the replica, its disk and its service never rest");
            if let Some(tracer) = &mut self.tracer {
                tracer.event(&event);
            }
            if let Event::CheckpointDamaged { .. } = &event {
                self.checker.on_damaged_checkpoint(index, false);
            }
            if let Event::Checkpointed { op, id: Some(id) } = &event {
                self.checker.on_checkpointed(index, *op, *id);
            }
            if let Event::Written(written) = &event {
                node.written = Some(written.clone());
            }
            replica.step(event, &mut node.effects);
            if !node.gathering {
                replica.flush(&mut node.effects);
            }
        }
        self.close_block(index, steps > 0);
        self.stepped += steps as u64;
        if self.stepped >= LATE_EVENTS_EVERY {
            self.stepped = 0;
            self.try_late_events(index);
        }
    }

    /// Hands a copy of a replica what comes too late: a completion for the second time, and a timer that
    /// is not armed.
    fn try_late_events(&mut self, index: usize) {
        let node = &self.nodes[index];
        let Some(replica) = &node.replica else { return };
        if let Some(written) = &node.written {
            self.checker.check_late_event(index, replica, Event::Written(written.clone()));
        }
        if let Some(timer) = node.unarmed() {
            self.checker.check_late_event(index, replica, Event::Timeout(timer));
        }
    }

    fn carry_out_all(&mut self, index: usize) {
        if let Some(replica) = &self.nodes[index].replica {
            self.checker.before_effects(index, replica);
        }
        let mut effects = std::mem::take(&mut self.nodes[index].effects);
        for effect in effects.drain() {
            self.hash.effect(index, &effect);
            let waits = matches!(effect, Effect::Arm { .. } | Effect::Disarm(_) | Effect::Note(_));
            self.acted += u64::from(!waits);
            if self.nodes[index].halted.is_some() {
                self.checker.after_halt(index, &effect);
            }
            self.carry_out(index, effect);
        }
        if self.nodes[index].effects.is_empty() {
            self.nodes[index].effects = effects;
        }
        self.complete_quick_io(index);
        if self.nodes[index].halted.is_some() {
            self.nodes[index].lose_memory();
        }
        if let Some(replica) = &self.nodes[index].replica {
            let summary = replica.summary();
            self.checker.after_step(index, replica, &summary);
            if let Some(tracer) = &mut self.tracer {
                tracer.state(self.now, &summary);
            }
        }
    }

    fn carry_out(&mut self, index: usize, effect: Effect<Bytes>) {
        match effect {
            Effect::Send { to, message } => self.send_message(index, Some(to), message),
            Effect::Broadcast { message } => self.send_message(index, None, message),
            Effect::Reply(reply) => self.send_reply(index, reply),
            Effect::Inform { view, primary } => {
                self.narrate(|names| {
                    format!("    -> c*  {}", names.payload(&Payload::Inform { view, primary }))
                });
                let from = Endpoint::Replica(self.nodes[index].id());
                let numbers: Vec<u32> = self.clients.keys().copied().collect();
                let packet = self.seal(Payload::Inform { view, primary }, from);
                for number in numbers {
                    let packet = packet.clone();
                    let link = Link { from, to: Endpoint::Client(number) };
                    self.send(link, packet, KindName::Inform);
                }
            }
            Effect::Persist(write) => {
                self.checker.on_persist(index, write.kind());
                self.narrate(|names| format!("    persist {}", names.write(write.kind())));
                self.nodes[index].io.push_back(Io::Write(write));
            }
            Effect::ReadEntries { first, last } => {
                self.narrate(|_| format!("    read op={first}..{last}"));
                self.nodes[index].io.push_back(Io::Read { first, last });
            }
            Effect::Apply { entry, skip } => {
                self.narrate(|_| format!("    apply op={}", entry.header().op));
                let node = &mut self.nodes[index];
                let replies = apply(&mut node.service, &entry, &skip);
                let digest = vsr_core::Service::digest(&node.service);
                self.checker.on_apply(index, &entry, &skip, &replies, digest);
                let op = entry.header().op;
                node.events.push_back(Event::Applied { op, replies });
            }
            Effect::Predict { ticket, requests } => self.predict(index, ticket, &requests),
            Effect::Combine { ticket, requests, values } => {
                self.combine(index, ticket, &requests, values);
            }
            Effect::Check { entry } => self.check(index, &entry),
            Effect::Query(query) => {
                let service = &self.nodes[index].service;
                let digest = vsr_core::Service::digest(service);
                let answer = vsr_core::query(service, query);
                self.checker.on_query(index, &answer, digest);
                self.send_reply(index, answer);
            }
            Effect::Checkpoint { header, sessions } => {
                self.narrate(|_| format!("    checkpoint op={}", header.op));
                let node = &mut self.nodes[index];
                match vsr_core::Service::checkpoint(&node.service) {
                    Some(chunks) => {
                        let taken = Taken { header, sessions, chunks: chunks.collect() };
                        node.io.push_back(Io::Checkpoint(Box::new(taken)));
                    }
                    None => {
                        node.events.push_back(Event::Checkpointed { op: header.op, id: None });
                    }
                }
            }
            Effect::Serve { to, wanted } => {
                self.nodes[index].io.push_back(Io::Serve { to, wanted });
            }
            Effect::Fetch(fetch) => {
                self.narrate(|_| format!("    fetch {}", told_fetch(&fetch)));
                if matches!(fetch, Fetch::Finish { .. }) {
                    self.checker.on_finish(index);
                }
                self.nodes[index].io.push_back(Io::Fetch(fetch));
            }
            Effect::Restore { checkpoint } => self.restore_fetched(index, &checkpoint),
            Effect::Arm { timer, attempt } => {
                let dice = self.dice.next();
                let node = &mut self.nodes[index];
                let delay =
                    self.cluster.timing.delay(timer, attempt, std::time::Duration::ZERO, dice);
                let nanos = delay.as_nanos() as u64 * 1000 / u64::from(node.rate);
                node.arm(timer, self.now + nanos.max(1));
                self.narrator.timer(|| format!("    arm {timer}"));
            }
            Effect::Disarm(timer) => {
                self.nodes[index].disarm(timer);
                self.narrator.timer(|| format!("    disarm {timer}"));
            }
            Effect::Note(note) => self.take_note(index, note),
            Effect::Halt(reason) => {
                self.narrate(|_| format!("    halt: {reason}"));
                let must_wait = match reason {
                    HaltReason::HeadsUncertain(_) => self.must_wait(),
                    HaltReason::StateLost(_) => self.has_no_state(),
                    HaltReason::EntryLost(op) => self.checker.is_on_no_disk(index, op.0),
                    HaltReason::Diverged(_)
                    | HaltReason::CommittedEntryLost(_)
                    | HaltReason::Damaged(_)
                    | HaltReason::WrongReplies(_)
                    | HaltReason::CheckpointDiverged(_)
                    | HaltReason::CheckpointDamaged(_) => false,
                };
                self.checker.on_halt(index, reason, must_wait);
                self.nodes[index].halted = Some(reason);
            }
        }
    }

    fn predict(&mut self, index: usize, ticket: Nonce, requests: &[Request<Bytes>]) {
        let value = self.service_on_time(index).predict(requests);
        self.narrate(|_| format!("    predict {}", told_value(value.as_ref())));
        self.checker.on_predicted(index, requests, value.as_ref());
        self.answer(index, Event::Predicted { ticket, value });
    }

    fn combine(
        &mut self,
        index: usize,
        ticket: Nonce,
        requests: &[Request<Bytes>],
        values: Vec<(ReplicaId, Bytes)>,
    ) {
        let given = values.clone();
        let value = self.service_on_time(index).combine(requests, values);
        self.narrate(|_| format!("    combine {}", told_value(value.as_ref())));
        self.checker.on_combined(index, requests, &given, value.as_ref());
        self.answer(index, Event::Predicted { ticket, value });
    }

    fn check(&mut self, index: usize, entry: &Entry<Bytes>) {
        let (op, checksum) = (entry.header().op, entry.header().checksum);
        let Some(value) = entry.prediction() else { return };
        let verdict = self.service_on_time(index).check(entry.requests(), value);
        if let Err(why) = verdict {
            self.narrate(|_| format!("    refuse op={op}: {why}"));
        }
        self.checker.on_checked(index, entry.header(), verdict);
        self.answer(index, Event::Checked { op, checksum, verdict });
    }

    /// The service, with its machine's clock as it is.
    fn service_on_time(&mut self, index: usize) -> &mut SimService {
        let node = &mut self.nodes[index];
        node.service.set_clock(self.now / 1_000_000 + node.ahead);
        &mut node.service
    }

    /// What the service does it has done in its turn; its answer may come later.
    fn answer(&mut self, index: usize, answer: Event<Bytes>) {
        let node = &mut self.nodes[index];
        if node.slow_service {
            node.answers.push_back(answer);
        } else {
            node.events.push_back(answer);
        }
    }

    /// The service takes the state of a checkpoint that was fetched.
    fn restore_fetched(&mut self, index: usize, checkpoint: &Checkpoint) {
        self.narrate(|_| format!("    restore op={}", checkpoint.op()));
        let node = &mut self.nodes[index];
        let Some(store) = &mut node.store else { return };
        let Ok(chunks) = store.state(checkpoint) else {
            // It was given a part of it.
            node.service.lose_memory();
            node.events.push_back(Event::NotRestored { id: checkpoint.id });
            return self.checker.on_damaged_checkpoint(index, true);
        };
        let restored = vsr_core::Service::restore(&mut node.service, &mut chunks.into_iter())
            .map_err(|error| error.to_string());
        let digest = vsr_core::Service::digest(&node.service);
        if let Err(why) = restored {
            self.checker.on_store_failure(index, &why);
            return self.stop_for_store(index, &why);
        }
        node.events.push_back(Event::Restored { id: checkpoint.id });
        self.checker.on_fetched(index, checkpoint, digest);
    }

    fn send_message(&mut self, index: usize, to: Option<ReplicaId>, message: Message<Bytes>) {
        let from = self.nodes[index].id();
        let kind = KindName::of(&message.kind);
        let receiver = to.map_or_else(|| "*".to_owned(), |to| to.to_string());
        self.checker.on_send(index, &message);
        let payload = Payload::Message(message);
        self.narrate(|names| format!("    -> {receiver}  {}", names.payload(&payload)));
        let packet = self.seal(payload, Endpoint::Replica(from));
        match to {
            Some(to) => {
                let known = (to.0 as usize) < self.nodes.len();
                assert!(known, "a replica sends to members only");
                self.send(Link::between(from, to), packet, kind);
            }
            None => {
                for to in self.replicas().filter(|to| *to != from) {
                    self.send(Link::between(from, to), packet.clone(), kind);
                }
            }
        }
    }

    fn send_reply(&mut self, index: usize, reply: ClientReply<Bytes>) {
        self.checker.on_reply(index, &reply);
        let from = Endpoint::Replica(self.nodes[index].id());
        let number = reply.client.0 as u32;
        let payload = Payload::Reply(reply);
        self.narrate(|names| format!("    -> c{number}  {}", names.payload(&payload)));
        let kind = payload.kind();
        let link = Link { from, to: Endpoint::Client(number) };
        if self.clients.contains_key(&number) {
            let packet = self.seal(payload, from);
            self.send(link, packet, kind);
        }
    }

    fn take_note(&mut self, index: usize, note: Note) {
        match note {
            Note::Ignored(reason) => {
                self.narrate(|_| format!("    ignored {reason}"));
                self.nodes[index].ignored.push(reason);
                self.checker.marks_mut().ignore(reason);
            }
            Note::Mark(mark) => self.checker.on_mark(index, mark),
            Note::FoundFaulty(op) => self.narrate(|_| format!("    found-faulty op={op}")),
            Note::Repaired(op) => self.narrate(|_| format!("    repaired op={op}")),
            Note::MemoryLost(lost) => {
                self.narrate(|_| format!("    memory-lost replicas={lost}"));
            }
            Note::LongPrediction(_) | Note::Implausible { .. } => {}
            Note::Status { .. } => {}
        }
    }

    /// Completes what the disk does by itself.
    fn complete_quick_io(&mut self, index: usize) {
        let quick = self.nodes[index].take_quick_io();
        if quick.is_empty() {
            return;
        }
        if self.nodes[index].disk == DiskMode::FailSync
            && quick.iter().any(|io| matches!(io, Io::Write(_)))
        {
            self.stop_for_store(index, "the sync failed");
            return;
        }
        self.complete_io(index, quick);
    }

    /// Completes writes and reads with one sync.
    pub(super) fn complete_io(&mut self, index: usize, ios: Vec<Io>) {
        let ios = match self.nodes[index].write(ios) {
            Ok(ios) => ios,
            Err(why) => {
                self.checker.on_store_failure(index, &why);
                return self.stop_for_store(index, &why);
            }
        };
        if self.nodes[index].given > 0 {
            self.checker.marks_mut().reach("disk-without-room");
            self.narrate(|_| "    no room: writes wait".to_owned());
        }
        for io in &ios {
            if let Io::Write(write) = io {
                let kind: &WriteKind<Bytes> = write.kind();
                self.checker.on_durable(index, kind);
                self.narrate(|names| format!("    durable {}", names.write(kind)));
            }
        }
        if let Err(why) = self.nodes[index].complete(ios) {
            self.checker.on_store_failure(index, &why);
            self.stop_for_store(index, &why);
        } else {
            self.tell_fullness(index);
        }
    }

    /// Tells a replica when its disk has no room for new operations, and when it has again.
    pub(super) fn tell_fullness(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let full = node.given > 0 || node.store.as_ref().is_some_and(S::is_nearly_full);
        if node.is_live() && std::mem::replace(&mut node.nearly_full, full) != full {
            let state = if full { DiskState::Full } else { DiskState::Ok };
            node.events.push_back(Event::Disk(state));
        }
    }
}

fn told_value(value: Option<&Bytes>) -> String {
    value.map_or_else(|| "nothing".to_owned(), |value| String::from_utf8_lossy(value).into_owned())
}

fn told_fetch(fetch: &Fetch<Bytes>) -> String {
    match fetch {
        Fetch::Begin { checkpoint, .. } => format!("begin op={}", checkpoint.op()),
        Fetch::Put { chunk } => format!("put bytes={}", chunk.len()),
        Fetch::Sync { .. } => "sync".to_owned(),
        Fetch::Finish { .. } => "finish".to_owned(),
        Fetch::Abandon => "abandon".to_owned(),
        Fetch::Mend { checkpoint } => format!("mend op={}", checkpoint.op()),
    }
}
