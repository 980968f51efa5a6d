//! Replicas and clients that are whom they claim to be: frames get through, in every class, and a
//! replica that is killed and comes back is linked again at once.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets anything else fails"
)]
mod common;

use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{Certificates, Client, Log, Node, PATIENCE, frames, op_of, ping, ports, reply, until};
use vsr_core::{Class, ClientRequestKind, Incarnation, ReplicaId};
use vsr_quic::QuicConfig;
use vsr_tokio::{Access, Answer, ClientTransport, Incoming, Transport};

#[tokio::test]
async fn two_replicas_exchange_frames_in_every_class_and_in_order() {
    let certificates = Certificates::new();
    let [mut a, mut b] = Node::pair(&certificates).await;
    for (class, base) in [(Class::Control, 1000), (Class::Prepares, 2000), (Class::Bulk, 3000)] {
        for op in base..base + 100 {
            let sent = frames(&ping(op), ReplicaId(0));
            a.transport.send(ReplicaId(1), class, sent);
        }
        for op in base..base + 100 {
            let (from, message) = b.next_message().await;
            assert_eq!((from, op_of(&message)), (ReplicaId(0), op));
        }
    }
    b.ping(0, 1, 7);
    let (from, message) = a.next_message().await;
    assert_eq!((from, op_of(&message)), (ReplicaId(1), 7));
}

#[tokio::test]
async fn three_replicas_that_start_at_once_end_with_one_link_each() {
    let certificates = Certificates::new();
    let ports = ports::<3>();
    let nodes = [
        Node::start(&certificates, 0, 1, &ports).await,
        Node::start(&certificates, 1, 1, &ports).await,
        Node::start(&certificates, 2, 1, &ports).await,
    ];
    nodes[0].linked_to(&[1, 2]).await;
    nodes[1].linked_to(&[0, 2]).await;
    nodes[2].linked_to(&[0, 1]).await;
    let [mut a, b, _c] = nodes;
    // One frame arrives once, whichever of the two dials won.
    b.ping(0, 1, 1);
    b.ping(0, 1, 2);
    assert_eq!(op_of(&a.next_message().await.1), 1);
    assert_eq!(op_of(&a.next_message().await.1), 2);
}

#[tokio::test]
async fn a_client_asks_and_is_answered() {
    let certificates = Certificates::new();
    let ports = ports::<1>();
    let mut node = Node::start(&certificates, 0, 1, &ports).await;
    let credentials = certificates.client("web", Access::ReadWrite);
    let mut client = Client::start(credentials, &ports);
    // Sent before there is a connection: it waits until there is one.
    for number in 1..=64 {
        client.request(0, number, Bytes::from_static(b"put a 1"));
    }
    for expected in 1..=64 {
        let Incoming::Request { connection, identity, request } = node.next().await else {
            panic!("not a request");
        };
        assert_eq!(identity.name, "web");
        assert_eq!(identity.access, Access::ReadWrite);
        let ClientRequestKind::Operation { number, body, .. } = request.kind else {
            panic!("not an operation");
        };
        assert_eq!((number.0, &body[..]), (expected, &b"put a 1"[..]));
        node.transport.reply(connection, reply(0, number.0, body));
    }
    for _ in 1..=64 {
        let answer = client.next().await;
        assert_eq!(answer.from, ReplicaId(0));
        assert!(matches!(answer.answer, Answer::Reply(_)));
    }
    assert!(client.transport.round_trip() < Duration::from_secs(1));
    drop(client);
    assert!(matches!(node.next().await, Incoming::Closed { .. }));
    until("the client is forgotten", || node.transport.clients() == 0).await;
}

/// A replica without a network must not run on: where the endpoint ends, whoever caused it, all that
/// could deliver anything goes, and the node sees that.
#[tokio::test]
async fn the_end_of_the_endpoint_is_the_end_of_the_inbox() {
    let certificates = Certificates::new();
    let ports = ports::<2>();
    let mut a = Node::start(&certificates, 0, 1, &ports).await;
    let b = Node::start(&certificates, 1, 1, &ports).await;
    let client = Client::start(certificates.client("web", Access::ReadWrite), &ports);
    a.linked_to(&[1]).await;
    until("a client is connected", || a.transport.clients() == 1).await;
    let mut events = Vec::new();
    a.transport.close().await;
    while tokio::time::timeout(PATIENCE, a.inlet.take(&mut events, 1)).await.unwrap() > 0 {}
    drop((b, client));
}

#[tokio::test]
async fn large_frames_and_small_ones_pass_each_other_and_bulk_does_not_hold_up_control() {
    let certificates = Certificates::new();
    let ports = ports::<1>();
    let mut node = Node::start(&certificates, 0, 1, &ports).await;
    let mut client = Client::start(certificates.client("web", Access::ReadWrite), &ports);
    let body = Bytes::from(vec![7; 1 << 20]);
    client.request(0, 1, body.clone());
    let Incoming::Request { connection, request, .. } = node.next().await else {
        panic!("not a request");
    };
    let ClientRequestKind::Operation { body: got, .. } = request.kind else {
        panic!("not an operation");
    };
    assert_eq!(got, body);
    node.transport.reply(connection, reply(0, 1, body.clone()));
    let Answer::Reply(_) = client.next().await.answer else {
        panic!("not a reply");
    };
}

#[tokio::test]
async fn word_of_a_view_reaches_clients_that_connect_later() {
    let certificates = Certificates::new();
    let ports = ports::<1>();
    let node = Node::start(&certificates, 0, 1, &ports).await;
    let inform = |view: u64| {
        let mut out = bytes::BytesMut::new();
        vsr_wire::encode_inform(
            common::CLUSTER,
            ReplicaId(0),
            vsr_core::Epoch::ZERO,
            vsr_core::ViewNumber(view),
            ReplicaId(0),
            &mut out,
        );
        out.freeze()
    };
    let heard = |answer: Answer| match answer {
        Answer::Inform { view, .. } => view.0,
        other => panic!("not word of a view: {other:?}"),
    };
    node.transport.inform(inform(1));
    let mut client = Client::start(certificates.client("web", Access::ReadOnly), &ports);
    assert_eq!(heard(client.next().await.answer), 1);
    node.transport.inform(inform(2));
    assert_eq!(heard(client.next().await.answer), 2);
}

/// Between a client and a replica, loses every seventh datagram in each direction.
async fn lossy(to: u16) -> u16 {
    let front = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let back = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    back.connect(("127.0.0.1", to)).await.unwrap();
    let port = front.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut there, mut here) = (vec![0; 65_536], vec![0; 65_536]);
        let mut client = None;
        for passed in 1u64.. {
            let lost = passed % 7 == 0;
            tokio::select! {
                Ok((length, from)) = front.recv_from(&mut there) => {
                    client = Some(from);
                    if !lost {
                        back.send(&there[..length]).await.unwrap();
                    }
                }
                Ok(length) = back.recv(&mut here) => {
                    if let (Some(client), false) = (client, lost) {
                        front.send_to(&here[..length], client).await.unwrap();
                    }
                }
            }
        }
    });
    port
}

#[tokio::test]
async fn what_is_lost_on_the_way_is_sent_again_soon() {
    let certificates = Certificates::new();
    let ports = ports::<1>();
    let mut node = Node::start(&certificates, 0, 1, &ports).await;
    let credentials = certificates.client("web", Access::ReadWrite);
    let mut client = Client::start(credentials, &[lossy(ports[0]).await]);
    client.transport.wait_connected().await;
    let count = 100;
    let start = Instant::now();
    for expected in 1..=count {
        client.request(0, expected, Bytes::from(vec![1; 20_000]));
        let Incoming::Request { connection, .. } = node.next().await else {
            panic!("not a request");
        };
        node.transport.reply(connection, reply(0, expected, Bytes::from_static(b"ok")));
        client.next().await;
    }
    // A seventh of some twenty packets of each round is lost, so that each waits for some of them.
    let mean = start.elapsed() / count as u32;
    assert!(mean < Duration::from_millis(100), "{mean:?}");
}

/// A replica in a runtime of its own, whose end is as sudden as a kill: no task runs any more, and
/// no close is sent.
struct Killable {
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Killable {
    fn start(certificates: &Certificates, me: u32, incarnation: u64, ports: &[u16]) -> Self {
        Self::with(common::config(certificates.replica(me), me, incarnation, ports))
    }

    fn with(config: QuicConfig) -> Self {
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let _node = Node::with(config).await;
                let _ = stopped.await;
            });
            // Nothing runs any more from here on, so nothing says goodbye.
            drop(runtime);
        });
        Self { stop: Some(stop), thread: Some(thread) }
    }

    fn kill(mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

#[tokio::test]
async fn a_killed_replica_is_linked_again_well_within_a_second_of_its_restart() {
    let certificates = Certificates::new();
    for (me, other) in [(0, 1), (1, 0)] {
        let ports = ports::<2>();
        let node = Node::start(&certificates, me, 1, &ports).await;
        let killed = Killable::start(&certificates, other, 1, &ports);
        node.linked_to(&[other]).await;
        killed.kill();
        let restart = Instant::now();
        let restarted = Killable::start(&certificates, other, 2, &ports);
        linked_to_second_life(&node, other).await;
        let took = restart.elapsed();
        assert!(took < Duration::from_secs(1), "{took:?}");
        restarted.kill();
    }
}

/// What the keys that survive a restart are for: the restarted replica does not dial here, so the
/// other one learns from a stateless reset that its connection is dead, and dials.
#[tokio::test]
async fn a_restarted_replica_resets_the_connections_of_its_former_life() {
    let log = Log::capture();
    let certificates = Certificates::new();
    for (me, other) in [(0, 1), (1, 0)] {
        let ports = ports::<2>();
        let node = Node::start(&certificates, me, 1, &ports).await;
        let silent = |incarnation| {
            let credentials = certificates.replica(other);
            let mut config = common::config(credentials, other, incarnation, &ports);
            config.peers = vec![(ReplicaId(me), common::NOWHERE.to_owned())];
            config
        };
        let killed = Killable::with(silent(1));
        node.linked_to(&[other]).await;
        killed.kill();
        let restart = Instant::now();
        let restarted = Killable::with(silent(2));
        // As heartbeats would be.
        let beat = async {
            loop {
                node.ping(other, me, 1);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::select! {
            () = linked_to_second_life(&node, other) => {}
            () = beat => {}
        }
        let took = restart.elapsed();
        assert!(took < Duration::from_secs(1), "{took:?}");
        assert!(log.all().contains("reset by peer"), "{}", log.all());
        restarted.kill();
    }
    assert!(log.warnings("not QUIC").is_empty(), "{}", log.all());
}

async fn linked_to_second_life(node: &Node, other: u32) {
    until("the restarted replica is linked", || {
        node.transport.incarnation(ReplicaId(other)) == Some(Incarnation(2))
    })
    .await;
}
