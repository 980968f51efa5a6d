//! Three replicas on three threads, driven by hand: channels for a network, memory for a disk.
//!
//! You will see a client add up numbers, the primary's thread end in the middle of it, the next view
//! take over, and the sum come out right.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use vsr_core::{
    CallId, Checksum, Client, ClientEffect, ClientEvent, ClientId, ClientReply, ClusterId, Config,
    Configuration, ConfigurationError, Constants, Context, Effect, Effects, Event, Moment, Outcome,
    Replica, ReplicaId, Service, Subject, Timer, Timestamp, Timing, Written,
};

const CLUSTER: ClusterId = ClusterId(1);
type Body = String;

/// What a replica's thread receives; `None` ends it.
type Inbox = Option<Event<Body>>;

/// The replicated service: a sum.
struct Sum(u64);

impl Service<Body> for Sum {
    fn apply(&mut self, _: Context<'_, Body>, operation: &Body) -> Body {
        self.0 += operation.parse::<u64>().unwrap_or(0);
        self.0.to_string()
    }

    fn digest(&self) -> Checksum {
        Checksum::of(&self.0.to_le_bytes())
    }
}

fn drive(config: Config, inbox: &Receiver<Inbox>, peers: &[Sender<Inbox>], client: &Sender<Reply>) {
    let me = config.replica();
    let (mut service, mut effects) = (Sum(0), Effects::new());
    let mut deadlines: [Option<Instant>; Timer::COUNT] = [None; Timer::COUNT];
    let mut replica = Replica::new(config, &mut effects);
    loop {
        replica.flush(&mut effects);
        // Whatever came out may be done at once, in any order: the replica withholds the rest.
        let mut events = Vec::new();
        let mut written: Option<Written> = None;
        for effect in effects.drain() {
            let send = |to: usize, message| {
                let _ = peers[to].send(Some(Event::Message { from: me, message }));
            };
            match effect {
                Effect::Send { to, message } => send(to.0 as usize, message),
                Effect::Broadcast { message } => (0..peers.len())
                    .filter(|to| *to != me.0 as usize)
                    .for_each(|to| send(to, message.clone())),
                Effect::Reply(reply) => drop(client.send(Reply::Reply(reply))),
                Effect::Inform { view, .. } => drop(client.send(Reply::View(view))),
                // A real driver writes and syncs here, and acknowledges only then.
                Effect::Persist(write) => {
                    let done = write.done();
                    written = Some(match written {
                        None => done,
                        Some(before) => before.and(done),
                    });
                }
                Effect::Apply { entry, skip } => {
                    let replies = vsr_core::apply(&mut service, &entry, &skip);
                    events.push(Event::Applied { op: entry.header().op, replies });
                }
                Effect::Query(query) => {
                    let reply = vsr_core::query(&service, query);
                    drop(client.send(Reply::Reply(reply)));
                }
                Effect::Arm { timer, attempt } => {
                    let delay =
                        Timing::DEFAULT.delay(timer, attempt, Duration::from_millis(1), dice());
                    deadlines[timer.index()] = Some(Instant::now() + delay);
                }
                Effect::Disarm(timer) => deadlines[timer.index()] = None,
                Effect::Note(note) => println!("  {me}: {note:?}"),
                Effect::ReadEntries { .. } => unreachable!("so few entries stay in memory"),
                Effect::Predict { .. } | Effect::Combine { .. } | Effect::Check { .. } => {
                    unreachable!("the service wants no values");
                }
                Effect::Checkpoint { .. }
                | Effect::Serve { .. }
                | Effect::Fetch(_)
                | Effect::Restore { .. } => unreachable!("no interval is set"),
                Effect::Halt(reason) => panic!("{me} halted: {reason}"),
            }
        }
        events.extend(written.map(Event::Written));
        if events.is_empty() {
            let next = deadlines.iter().flatten().min().copied();
            let wait = next.map_or(Duration::MAX, |next| next - Instant::now().min(next));
            match inbox.recv_timeout(wait) {
                Ok(Some(event)) => events.push(event),
                Ok(None) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    let due = |at: &mut Option<Instant>| at.take_if(|at| *at <= Instant::now());
                    let due =
                        deadlines.iter_mut().map(due).enumerate().filter(|(_, at)| at.is_some());
                    events.extend(due.map(|(index, _)| Event::Timeout(Timer::at(index))));
                }
            }
        }
        for event in events {
            replica.step(event, &mut effects);
        }
    }
}

/// What the client's thread receives.
enum Reply {
    Reply(ClientReply<Body>),
    View(vsr_core::ViewNumber),
}

/// Dice good enough to spread retries.
fn dice() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos() as u64) << 40
}

fn main() -> Result<(), ConfigurationError> {
    let (to_client, from_replicas) = channel();
    let (senders, inboxes): (Vec<_>, Vec<_>) = (0..3).map(|_| channel::<Inbox>()).unzip();
    for (id, inbox) in (0..).zip(inboxes) {
        let group = Configuration::of_replicas(3)?;
        let config = Config::new(CLUSTER, ReplicaId(id), group, Constants::DEFAULT)?;
        let (peers, client) = (senders.clone(), to_client.clone());
        thread::spawn(move || drive(config, &inbox, &peers, &client));
    }
    let replicas = [ReplicaId(0), ReplicaId(1), ReplicaId(2)];
    let mut effects = Vec::new();
    let mut client = Client::new(CLUSTER, ClientId(7), &replicas, &mut effects);
    let mut number = 0;
    let mut sum = String::new();
    let mut wait = Duration::MAX;
    while sum != "5050" {
        if client.is_idle() {
            number += 1;
            client.step(
                ClientEvent::Submit { call: CallId(number), body: number.to_string() },
                &mut effects,
            );
            if number == 50 {
                println!("half way: the primary's thread ends");
                let _ = senders[0].send(None);
            }
        }
        for effect in effects.drain(..) {
            match effect {
                ClientEffect::Send { to, request } => send(&senders[to.0 as usize], request),
                ClientEffect::Broadcast { request } => {
                    senders.iter().for_each(|sender| send(sender, request.clone()));
                }
                ClientEffect::Arm { attempt } => {
                    wait = Timing::DEFAULT.client_retry(attempt, Duration::from_millis(1), dice());
                }
                ClientEffect::Done { outcome: Outcome::Done { body: Some(body), .. }, .. } => {
                    sum = body;
                }
                ClientEffect::Done { outcome, .. } => panic!("not done: {outcome:?}"),
                ClientEffect::Disarm
                | ClientEffect::Registered { .. }
                | ClientEffect::Evicted { .. } => {}
            }
        }
        if !client.is_idle() {
            let event = match from_replicas.recv_timeout(wait) {
                Ok(Reply::Reply(reply)) => ClientEvent::Reply(reply),
                Ok(Reply::View(view)) => ClientEvent::Inform { view },
                Err(_) => ClientEvent::Timeout,
            };
            client.step(event, &mut effects);
        }
    }
    println!("1 + 2 + ... + 100 = {sum}");
    Ok(())
}

fn send(to: &Sender<Inbox>, request: vsr_core::ClientRequest<Body>) {
    let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos() as u64);
    let event = Event::Request {
        request,
        subject: Subject::default(),
        at: Timestamp(at),
        now: Moment::ZERO,
    };
    let _ = to.send(Some(event));
}
