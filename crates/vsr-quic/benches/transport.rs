//! What the network costs on loopback, without disk and protocol: `cargo bench -p vsr-quic`.
//!
//! Two replicas and a client, each on a thread of its own with a single-threaded runtime, as
//! processes would be. Prints round trips in microseconds (median and 99th of a hundred), and
//! what goes through in a second.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a measurement that meets anything else is worthless"
)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::future::Future;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use common::{CLUSTER, Certificates, Client, Node, frames, ping, ports, reply, request};
use tokio::runtime::{Builder, Runtime};
use vsr_core::{
    Checksum, Class, ClientRequestKind, Committed, Entry, Epoch, Header, Kind, Message, OpNumber,
    Release, ReplicaId, Request, RequestNumber, Session, Timestamp, ViewNumber,
};
use vsr_tokio::{Access, ClientTransport, Incoming, Transport};

const ROUNDS: usize = 20_000;

fn main() {
    let certificates = Certificates::new();
    peers(&certificates);
    clients(&certificates);
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Runs on a thread of its own.
fn apart<F: Future<Output = ()> + 'static>(make: impl FnOnce() -> F + Send + 'static) {
    std::thread::spawn(move || runtime().block_on(make()));
}

fn peers(certificates: &Certificates) {
    let ports = ports::<2>();
    let config = common::config(certificates.replica(1), 1, 1, &ports);
    // Answers everything with a small message on the control stream.
    apart(move || async move {
        let mut node = Node::with(config).await;
        let answer = frames(&ping(0), ReplicaId(1));
        let mut events = Vec::new();
        while node.inlet.take(&mut events, 512).await > 0 {
            for _ in events.drain(..) {
                node.transport.send(ReplicaId(0), Class::Control, answer.clone());
            }
        }
    });
    runtime().block_on(async {
        let mut node = Node::start(certificates, 0, 1, &ports).await;
        node.linked_to(&[1]).await;
        let small = frames(&ping(1), ReplicaId(0));
        for (name, class, frame) in [
            ("a PREPARE of 20 KiB, the first on the connection", Class::Prepares, prepare(20)),
            ("a PREPARE of 64 KiB, the first of that size", Class::Prepares, prepare(64)),
        ] {
            let start = Instant::now();
            node.transport.send(ReplicaId(1), class, frame);
            node.next_message().await;
            println!("{name}: {} us", start.elapsed().as_micros());
        }
        for (name, class, frame, rounds) in [
            ("a small message and its answer", Class::Control, small, ROUNDS),
            ("a PREPARE of 20 KiB and its answer", Class::Prepares, prepare(20), ROUNDS / 4),
            ("a PREPARE of 64 KiB and its answer", Class::Prepares, prepare(64), ROUNDS / 8),
        ] {
            let mut taken = Vec::new();
            for _ in 0..rounds {
                let start = Instant::now();
                node.transport.send(ReplicaId(1), class, frame.clone());
                node.next_message().await;
                taken.push(start.elapsed());
            }
            print(name, taken);
        }
        bulk(&mut node).await;
        println!("round trip as QUIC sees it: {} us", node.transport.round_trip().as_micros());
    });
}

async fn bulk(node: &mut Node) {
    let frame = prepare(64);
    let (count, in_flight) = (8000, 32);
    let start = Instant::now();
    let mut answered = 0;
    for sent in 0..count {
        if sent - answered >= in_flight {
            node.next_message().await;
            answered += 1;
        }
        node.transport.send(ReplicaId(1), Class::Prepares, frame.clone());
    }
    for _ in answered..count {
        node.next_message().await;
    }
    let seconds = start.elapsed().as_secs_f64();
    let megabytes = (count * frame.len()) as f64 / 1e6;
    println!("{in_flight} PREPAREs of 64 KiB in flight: {:.0} MB/s", megabytes / seconds);
}

fn clients(certificates: &Certificates) {
    let ports = ports::<1>();
    let config = common::config(certificates.replica(0), 0, 1, &ports);
    // Answers a round of requests with one write.
    apart(move || async move {
        let mut node = Node::with(config).await;
        let mut events = Vec::new();
        while node.inlet.take(&mut events, 512).await > 0 {
            let mut replies = BytesMut::new();
            let mut to = None;
            for event in events.drain(..) {
                let Incoming::Request { connection, request, .. } = event else { continue };
                let ClientRequestKind::Operation { number, .. } = request.kind else { continue };
                replies.extend_from_slice(&reply(0, number.0, Bytes::from_static(b"ok")));
                to = Some(connection);
            }
            if let Some(to) = to {
                node.transport.reply(to, replies.freeze());
            }
        }
    });
    runtime().block_on(async {
        let mut client = Client::start(certificates.client("bench", Access::ReadWrite), &ports);
        client.transport.wait_connected().await;
        for (batch, rounds) in [(1, ROUNDS), (64, ROUNDS / 8)] {
            let one = request(1, Bytes::from(vec![1; 256]));
            let glued = Bytes::from(one.repeat(batch));
            let mut taken = Vec::new();
            let start = Instant::now();
            for _ in 0..rounds {
                let began = Instant::now();
                client.transport.send(ReplicaId(0), glued.clone());
                for _ in 0..batch {
                    client.next().await;
                }
                taken.push(began.elapsed());
            }
            let rate = (rounds * batch) as f64 / start.elapsed().as_secs_f64();
            print(&format!("{batch} requests of 256 bytes and their answers"), taken);
            println!("    that is {rate:.0} requests a second");
        }
    });
}

/// A PREPARE of one request.
fn prepare(kilobytes: usize) -> Bytes {
    let body = Bytes::from(vec![7; kilobytes * 1024]);
    let request = Request::Operation {
        session: Session::default(),
        number: RequestNumber(1),
        span: 0,
        digest: Checksum::of(&body),
        body,
    };
    let root = Header::root(CLUSTER);
    let (epoch, view, release) = (Epoch::ZERO, ViewNumber(0), Release(0));
    let entry = Entry::prepare(&root, epoch, view, release, Timestamp(1), vec![request]);
    let commit = Committed { op: OpNumber(0), checksum: root.checksum };
    let message = Message { kind: Kind::Prepare { entry, commit }, ..ping(0) };
    frames(&message, ReplicaId(0))
}

fn print(name: &str, mut taken: Vec<Duration>) {
    taken.sort_unstable();
    let at = |share: f64| taken[(taken.len() as f64 * share) as usize].as_micros();
    println!("{name}: median {} us, 99th {} us", at(0.5), at(0.99));
}
