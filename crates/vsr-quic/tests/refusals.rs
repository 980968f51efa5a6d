//! Who is refused: each with a code, one line in the log, and a replica that goes on serving.
//! Numbers in brackets are those of the bad inputs in `docs/SECURITY.md`.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets anything else fails"
)]
mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::intruder::{Dialled, Papers, dial, hello_bytes};
use common::{CLUSTER, Certificates, Client, Log, Node, config, hello, ports};
use vsr_core::{Checksum, ClientId, ClusterId, Epoch, Incarnation, ReplicaId, StoreId};
use vsr_quic::{Acquaintances, CLIENT_PROTOCOL, PEER_PROTOCOL};
use vsr_storage::{Acquaintance, DiskError, Start};
use vsr_tokio::{Access, Incoming};
use vsr_wire::{CloseReason, Hello, Speaker, VERSION};

const OTHER_CLUSTER: ClusterId = ClusterId(0x1111_2222_3333_4444_8555_6666_7777_8888);

/// Whoever came before came with this store, and was heard at its fifth start.
#[derive(Debug)]
struct Met(StoreId);

impl Acquaintances for Met {
    fn meet(&self, _: ReplicaId, store: StoreId, _: Start) -> Result<Acquaintance, DiskError> {
        let known = store == self.0;
        Ok(if known { Acquaintance::Known } else { Acquaintance::AnotherStore })
    }

    fn hear(&self, _: ReplicaId, _: StoreId, start: Start) -> Result<Acquaintance, DiskError> {
        let later = start.incarnation > Incarnation(5);
        Ok(if later { Acquaintance::Known } else { Acquaintance::EarlierCopy })
    }
}

/// Replica 0 of three, the others absent, its log, and the means to dial it.
struct Scene {
    certificates: Certificates,
    node: Node,
    port: u16,
    log: Log,
}

impl Scene {
    async fn new() -> Self {
        let log = Log::capture();
        let certificates = Certificates::new();
        let ports = ports::<3>();
        let mut config = config(certificates.replica(0), 0, 1, &ports);
        config.known = Some(Arc::new(Met(StoreId(1))));
        for peer in &mut config.peers {
            common::NOWHERE.clone_into(&mut peer.1);
        }
        let node = Node::with(config).await;
        Self { certificates, node, port: ports[0], log }
    }

    fn replica(&self, number: u32) -> Papers {
        self.certificates.replica(number);
        Papers::of(&self.certificates.folder_of(&format!("replica{number}")))
    }

    fn client(&self) -> Papers {
        self.certificates.client("intruder", Access::Admin);
        Papers::of(&self.certificates.folder_of("intruder"))
    }

    async fn dial(&self, papers: Papers, protocol: &[u8]) -> Dialled {
        dial(self.port, papers, protocol).await.unwrap()
    }

    /// A client of the right cluster still gets its request through.
    async fn still_serves(&mut self) {
        let credentials = self.certificates.client("honest", Access::ReadWrite);
        let client = Client::start(credentials, &[self.port]);
        client.request(0, 1, Bytes::from_static(b"x"));
        loop {
            if let Incoming::Request { identity, .. } = self.node.next().await {
                assert_eq!(identity.name, "honest");
                return;
            }
        }
    }

    /// What it takes to be refused with this reason and this line, and nothing else.
    async fn refused(mut self, dialled: &Dialled, reason: CloseReason, line: &str) {
        assert_eq!(dialled.close_reason().await, Some(reason));
        self.log.one_warning(line).await;
        self.still_serves().await;
        self.log.one_warning("").await;
    }

    async fn alerted(mut self, dialled: &Dialled, alert: u64, line: &str) {
        assert_eq!(dialled.alert().await, alert);
        self.log.one_warning(line).await;
        self.still_serves().await;
        self.log.one_warning("").await;
    }
}

fn client_hello() -> Hello {
    Hello {
        version: VERSION,
        cluster: CLUSTER,
        speaker: Speaker::Client { id: ClientId(1) },
        replicas: 0,
        epoch: Epoch::ZERO,
        constants: Checksum::default(),
        frame_limit: 1 << 20,
    }
}

/// [36]
#[tokio::test]
async fn the_certificate_of_replica_2_does_not_speak_as_replica_1() {
    let scene = Scene::new().await;
    let dialled = scene.dial(scene.replica(2), PEER_PROTOCOL).await;
    let _stream = dialled.write_as_replica(&hello_bytes(&hello(CLUSTER, 1, 1, 3))).await;
    let line = "the certificate is that of replica 2, the hello claims to be replica 1";
    scene.refused(&dialled, CloseReason::WrongSender, line).await;
}

/// [36] The same seen from the side that dials.
#[tokio::test]
async fn a_replica_that_answers_at_anothers_address_is_not_taken_for_it() {
    let log = Log::capture();
    let certificates = Certificates::new();
    let ports = ports::<3>();
    let _second = Node::start(&certificates, 2, 1, &ports).await;
    let mut confused = config(certificates.replica(0), 0, 1, &ports);
    confused.peers = vec![(ReplicaId(1), format!("127.0.0.1:{}", ports[2]))];
    let node = Node::with(confused).await;
    common::until("the wrong one is noticed", || {
        log.all().contains("replica/1, and vsr://") && log.all().contains("replica/2 answered")
    })
    .await;
    assert!(node.transport.linked().is_empty());
}

/// [37]
#[tokio::test]
async fn a_clients_certificate_does_not_speak_as_a_replica() {
    let scene = Scene::new().await;
    let dialled = scene.dial(scene.client(), PEER_PROTOCOL).await;
    let line = "a client's certificate";
    scene.refused(&dialled, CloseReason::Forbidden, line).await;
}

#[tokio::test]
async fn a_replicas_certificate_does_not_speak_as_a_client() {
    let scene = Scene::new().await;
    let dialled = scene.dial(scene.replica(1), CLIENT_PROTOCOL).await;
    let line = "a replica's certificate";
    scene.refused(&dialled, CloseReason::Forbidden, line).await;
}

/// [34]
#[tokio::test]
async fn nobody_else_speaks_as_this_replica() {
    let scene = Scene::new().await;
    let dialled = scene.dial(scene.replica(0), PEER_PROTOCOL).await;
    let line = "replica/0 is not another replica of this group";
    scene.refused(&dialled, CloseReason::WrongSender, line).await;
}

/// [35]
#[tokio::test]
async fn a_replica_that_is_not_of_the_group_is_refused() {
    let scene = Scene::new().await;
    let dialled = scene.dial(scene.replica(9), PEER_PROTOCOL).await;
    let line = "replica/9 is not another replica of this group";
    scene.refused(&dialled, CloseReason::WrongSender, line).await;
}

/// [41]
#[tokio::test]
async fn another_clusters_authority_is_not_trusted() {
    let scene = Scene::new().await;
    let others = Certificates::of(OTHER_CLUSTER);
    others.replica(1);
    let papers = Papers::of(&others.folder_of("replica1"));
    let dialled = scene.dial(papers, PEER_PROTOCOL).await;
    let line = "was not issued by this cluster's authority";
    scene.alerted(&dialled, 48, line).await;
}

/// [39]
#[tokio::test]
async fn a_certificate_that_signed_itself_is_not_trusted() {
    let scene = Scene::new().await;
    let name = scene.certificates.replica(1).name().to_string();
    let papers = Papers::self_signed(&name);
    let dialled = scene.dial(papers, PEER_PROTOCOL).await;
    let line = "was not issued by this cluster's authority";
    scene.alerted(&dialled, 48, line).await;
}

/// [40]
#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let scene = Scene::new().await;
    let name = scene.certificates.replica(1).name().to_string();
    let papers = Papers::expired(&scene.certificates.folder_of("ca"), &name);
    let dialled = scene.dial(papers, PEER_PROTOCOL).await;
    scene.alerted(&dialled, 45, "has expired").await;
}

/// [38]
#[tokio::test]
async fn whoever_shows_no_certificate_is_refused() {
    let scene = Scene::new().await;
    let dialled = scene.dial(Papers::none(), CLIENT_PROTOCOL).await;
    let line = "no certificate was shown";
    scene.alerted(&dialled, 116, line).await;
}

/// [41] And the client learns why, instead of waiting in vain.
#[tokio::test]
async fn a_client_of_another_cluster_is_told_why_it_gets_no_connection() {
    let scene = Scene::new().await;
    let others = Certificates::of(OTHER_CLUSTER);
    let client = Client::start(others.client("lost", Access::ReadWrite), &[scene.port]);
    common::until("the client knows", || !client.transport.refusals().is_empty()).await;
    let (replica, why) = client.transport.refusals().remove(0);
    assert_eq!(replica, ReplicaId(0));
    assert!(why.contains("was not issued by this cluster's authority"), "{why}");
}

/// [33] In the certificate: the right authority, but another cluster's name.
#[tokio::test]
async fn a_certificate_that_names_another_cluster_is_refused() {
    let scene = Scene::new().await;
    let name = "vsr://11112222-3333-4444-8555-666677778888/replica/1";
    let papers = Papers::valid(&scene.certificates.folder_of("ca"), name);
    let dialled = scene.dial(papers, PEER_PROTOCOL).await;
    scene.alerted(&dialled, 46, "is of another cluster").await;
}

#[tokio::test]
async fn a_certificate_with_a_name_of_no_kind_is_refused() {
    let scene = Scene::new().await;
    let papers = Papers::valid(&scene.certificates.folder_of("ca"), "https://example.org/");
    let dialled = scene.dial(papers, CLIENT_PROTOCOL).await;
    scene.alerted(&dialled, 46, "is neither vsr://").await;
}

/// [42]
#[tokio::test]
async fn another_protocol_is_refused() {
    let mut scene = Scene::new().await;
    let refused = dial(scene.port, scene.client(), b"h3").await;
    assert!(refused.is_err());
    let line = "neither vsr-peer/1 nor vsr-client/1 is spoken";
    scene.log.one_warning(line).await;
    scene.still_serves().await;
}

/// [33] In the hello.
#[tokio::test]
async fn a_hello_of_another_cluster_is_refused() {
    let scene = Scene::new().await;
    let dialled = scene.dial(scene.replica(1), PEER_PROTOCOL).await;
    let _stream = dialled.write_as_replica(&hello_bytes(&hello(OTHER_CLUSTER, 1, 1, 3))).await;
    let line = "belongs to another cluster";
    scene.refused(&dialled, CloseReason::WrongCluster, line).await;
}

#[tokio::test]
async fn a_replica_that_was_formatted_with_other_constants_is_refused() {
    let scene = Scene::new().await;
    let mut constants = hello(CLUSTER, 1, 1, 3);
    constants.constants = Checksum(1);
    let dialled = scene.dial(scene.replica(1), PEER_PROTOCOL).await;
    let _stream = dialled.write_as_replica(&hello_bytes(&constants)).await;
    let line = "formatted with other constants";
    scene.refused(&dialled, CloseReason::ConstantsDiffer, line).await;
}

/// A store that is gone took promises with it.
#[tokio::test]
async fn a_replica_that_comes_with_another_store_than_at_first_is_refused() {
    let scene = Scene::new().await;
    let mut hello = hello(CLUSTER, 1, 1, 3);
    let (id, incarnation, store) = (ReplicaId(1), Incarnation(1), StoreId(2));
    hello.speaker = Speaker::Replica { id, incarnation, starts: [1; 16], store };
    let dialled = scene.dial(scene.replica(1), PEER_PROTOCOL).await;
    let _stream = dialled.write_as_replica(&hello_bytes(&hello)).await;
    let line = "replica 1 comes with another store than at first";
    scene.refused(&dialled, CloseReason::AnotherStore, line).await;
}

/// Another start that counted the same, or a later one, was heard meanwhile: by then the hello had been answered.
#[tokio::test]
async fn a_message_from_an_earlier_copy_of_a_store_is_refused() {
    let scene = Scene::new().await;
    let dialled = scene.dial(scene.replica(1), PEER_PROTOCOL).await;
    let hello = hello_bytes(&hello(CLUSTER, 1, 5, 3));
    let message = common::frames(&common::ping(1), ReplicaId(1));
    let _stream = dialled.write_as_replica(&[&hello[..], &message].concat()).await;
    let line = "replica 1 comes with an earlier copy of its store";
    scene.refused(&dialled, CloseReason::EarlierCopy, line).await;
}

#[tokio::test]
async fn a_replica_that_counts_other_members_is_refused() {
    let scene = Scene::new().await;
    let dialled = scene.dial(scene.replica(1), PEER_PROTOCOL).await;
    let _stream = dialled.write_as_replica(&hello_bytes(&hello(CLUSTER, 1, 1, 5))).await;
    let line = "another number of members";
    scene.refused(&dialled, CloseReason::WrongGroup, line).await;
}

/// [44]
#[tokio::test]
async fn a_message_before_the_hello_is_refused() {
    let scene = Scene::new().await;
    let dialled = scene.dial(scene.replica(1), PEER_PROTOCOL).await;
    let _stream = dialled.write_as_replica(&common::frames(&common::ping(1), ReplicaId(1))).await;
    let line = "not a hello";
    scene.refused(&dialled, CloseReason::HelloExpected, line).await;
}

/// [43]
#[tokio::test]
async fn a_second_hello_is_refused() {
    let scene = Scene::new().await;
    let dialled = scene.dial(scene.client(), CLIENT_PROTOCOL).await;
    let hello = hello_bytes(&client_hello());
    let _streams = dialled.write_as_client(&[&hello[..], &hello].concat()).await;
    let line = "a second hello";
    scene.refused(&dialled, CloseReason::HelloExpected, line).await;
}

#[tokio::test]
async fn a_client_that_sends_what_only_replicas_send_is_refused() {
    let scene = Scene::new().await;
    let dialled = scene.dial(scene.client(), CLIENT_PROTOCOL).await;
    let hello = hello_bytes(&client_hello());
    let message = common::frames(&common::ping(1), ReplicaId(1));
    let _streams = dialled.write_as_client(&[&hello[..], &message].concat()).await;
    let line = "a frame that this kind of sender does not send";
    scene.refused(&dialled, CloseReason::WrongSender, line).await;
}

/// SEC-5.
#[tokio::test]
async fn a_message_in_another_replicas_name_is_refused() {
    let scene = Scene::new().await;
    let dialled = scene.dial(scene.replica(1), PEER_PROTOCOL).await;
    let hello = hello_bytes(&hello(CLUSTER, 1, 1, 3));
    let forged = common::frames(&common::ping(1), ReplicaId(2));
    let _stream = dialled.write_as_replica(&[&hello[..], &forged].concat()).await;
    let line = "a message of replica 2 came from replica 1";
    scene.refused(&dialled, CloseReason::WrongSender, line).await;
}

/// [6], [7]: the length alone is refused, before the bytes arrive.
#[tokio::test]
async fn a_frame_that_claims_to_be_too_long_is_refused() {
    let scene = Scene::new().await;
    let dialled = scene.dial(scene.client(), CLIENT_PROTOCOL).await;
    let hello = hello_bytes(&client_hello());
    let large = common::request(1, vec![0; 4 << 20].into());
    let header = &large[..vsr_wire::HEADER_LENGTH];
    let _streams = dialled.write_as_client(&[&hello[..], header].concat()).await;
    let line = "exceeds the limit";
    scene.refused(&dialled, CloseReason::TooLarge, line).await;
}

/// [4], [57]
#[tokio::test]
async fn half_a_frame_and_then_the_end_is_refused() {
    let scene = Scene::new().await;
    let dialled = scene.dial(scene.client(), CLIENT_PROTOCOL).await;
    let hello = hello_bytes(&client_hello());
    let request = common::request(1, Bytes::from_static(b"put"));
    let half = &request[..request.len() / 2];
    let (mut send, _receive) = dialled.write_as_client(&[&hello[..], half].concat()).await;
    send.finish().unwrap();
    let line = "before the end of a frame";
    scene.refused(&dialled, CloseReason::Damaged, line).await;
}

/// [56]
#[tokio::test]
async fn a_stream_that_is_reset_in_mid_frame_is_refused() {
    let scene = Scene::new().await;
    let dialled = scene.dial(scene.client(), CLIENT_PROTOCOL).await;
    let (mut send, mut receive) = dialled.write_as_client(&hello_bytes(&client_hello())).await;
    // The answer shows that the hello has arrived, so that the reset does not overtake it.
    let mut answer = [0; 1];
    receive.read_exact(&mut answer).await.unwrap();
    let request = common::request(1, Bytes::from_static(b"put"));
    send.write_all(&request[..10]).await.unwrap();
    send.reset(1u32.into()).unwrap();
    let line = "a stream broke off";
    scene.refused(&dialled, CloseReason::Damaged, line).await;
}

/// [20], [21]
#[tokio::test]
async fn bytes_that_are_no_frames_are_refused() {
    let scene = Scene::new().await;
    let dialled = scene.dial(scene.client(), CLIENT_PROTOCOL).await;
    let _streams = dialled.write_as_client(b"GET / HTTP/1.1\r\n\r\n").await;
    let line = "not a frame of this protocol";
    scene.refused(&dialled, CloseReason::Malformed, line).await;
}

/// [55]
#[tokio::test]
async fn a_stream_that_the_protocol_does_not_have_is_refused() {
    let scene = Scene::new().await;
    let dialled = scene.dial(scene.client(), CLIENT_PROTOCOL).await;
    let _streams = dialled.write_as_client(&hello_bytes(&client_hello())).await;
    let _stream = dialled.write_as_replica(b"x").await;
    let line = "a stream was opened that the protocol does not have";
    scene.refused(&dialled, CloseReason::Malformed, line).await;
}

/// [19], [54]: it is told so, and it holds up nobody.
#[tokio::test]
async fn whoever_says_nothing_is_disconnected() {
    let scene = Scene::new().await;
    let dialled = scene.dial(scene.client(), CLIENT_PROTOCOL).await;
    scene.refused(&dialled, CloseReason::TimedOut, "no hello within").await;
}

/// A request whose end never comes occupies memory for a bounded time, however alive the connection is.
#[tokio::test]
async fn a_frame_that_does_not_arrive_whole_is_given_up() {
    let scene = Scene::new().await;
    let dialled = scene.dial(scene.client(), CLIENT_PROTOCOL).await;
    let hello = hello_bytes(&client_hello());
    let request = common::request(1, Bytes::from_static(b"put"));
    let half = &request[..request.len() / 2];
    let begun = Instant::now();
    let _streams = dialled.write_as_client(&[&hello[..], half].concat()).await;
    // Half of the time that is allowed it is still there, and nobody has said anything of it.
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert!(dialled.connection.close_reason().is_none());
    scene.refused(&dialled, CloseReason::TimedOut, "a frame did not arrive whole within 30s").await;
    assert!(begun.elapsed() >= Duration::from_secs(30));
}

/// [45] A process of an earlier start does not come back in place of the later one.
#[tokio::test]
async fn the_later_incarnation_of_a_replica_is_the_one_that_counts() {
    let mut scene = Scene::new().await;
    let say = async |incarnation: u64| {
        let dialled = scene.dial(scene.replica(1), PEER_PROTOCOL).await;
        let stream =
            dialled.write_as_replica(&hello_bytes(&hello(CLUSTER, 1, incarnation, 3))).await;
        (dialled, stream)
    };
    let linked = async |incarnation: u64| {
        common::until("it is linked", || {
            scene.node.transport.incarnation(ReplicaId(1)) == Some(Incarnation(incarnation))
        })
        .await;
    };
    let (zombie, _first) = say(1).await;
    linked(1).await;
    let (current, _second) = say(2).await;
    linked(2).await;
    assert_eq!(zombie.close_reason().await, Some(CloseReason::Replaced));
    let (late, _third) = say(1).await;
    assert_eq!(late.close_reason().await, Some(CloseReason::Replaced));
    linked(2).await;
    assert!(current.connection.close_reason().is_none());
    scene.still_serves().await;
}

/// SEC-7: the sixty-fifth of one address is refused at once.
#[tokio::test]
async fn one_address_has_a_bounded_number_of_connections_that_say_nothing() {
    let mut scene = Scene::new().await;
    let mut silent = Vec::new();
    let refused = loop {
        match dial(scene.port, scene.client(), CLIENT_PROTOCOL).await {
            Ok(dialled) => silent.push(dialled),
            Err(error) => break error,
        }
        assert!(silent.len() <= vsr_quic::limits::GREETINGS_PER_ADDRESS_MAX);
    };
    assert!(refused.to_string().contains("refused"), "{refused}");
    scene.log.one_warning("too many connections that have not said hello").await;
    for dialled in &silent {
        dialled.connection.close(0u32.into(), b"");
    }
    scene.still_serves().await;
}
