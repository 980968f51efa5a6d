//! Calls that are answered, refused, or not.

use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::Instant;
use vsr_core::{OpNumber, Refusal, ReplicaId, Subject};

use super::cluster::{CLUSTER, Cluster, PATIENCE, call, done, eventually};
use crate::memory::Network;
use crate::transport::{Access, ClientTransport, Identity};
use crate::{CallOutcome, ClientConfigError, NotDone, StatusError};

const SHORT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn three_nodes_answer_and_agree() {
    let cluster = Cluster::start(3);
    let client = cluster.client(1);
    let mut last = OpNumber::ZERO;
    for count in 1..=100 {
        let (op, reply) = done(&client, "+apples").await;
        assert_eq!(reply, count.to_string());
        assert!(op > last, "each entry comes after the one before");
        last = op;
    }
    assert_eq!(done(&client, "?apples").await.1, "100");
    cluster.agreement(last).await;
}

#[tokio::test]
async fn a_group_of_one_answers() {
    let cluster = Cluster::start(1);
    assert_eq!(done(&cluster.client(1), "+apples").await.1, "1");
}

#[tokio::test]
async fn sessions_side_by_side_execute_each_call_once_though_the_network_loses_a_tenth() {
    let cluster = Cluster::start(3);
    let client = cluster.client(32);
    done(&client, "+apples").await;
    cluster.network.lose_one_in(10);
    let mut calls = JoinSet::new();
    for _ in 0..400 {
        let client = client.clone();
        calls.spawn(async move { done(&client, "+apples").await.1.parse::<u64>().unwrap() });
    }
    let mut counts = calls.join_all().await;
    counts.sort_unstable();
    assert_eq!(counts, (2..=401).collect::<Vec<_>>(), "no call twice, none lost");
    cluster.network.heal();
    assert_eq!(done(&client, "?apples").await.1, "401");
}

#[tokio::test]
async fn a_window_executes_each_call_once_and_in_order_though_the_network_loses_a_tenth() {
    let cluster = Cluster::start(3);
    let client = cluster.client_with(Network::somebody(), 1, 8);
    done(&client, "+apples").await;
    cluster.network.lose_one_in(10);
    let mut calls = JoinSet::new();
    for place in 2..=201 {
        let client = client.clone();
        calls.spawn(
            async move { (place, done(&client, "+apples").await.1.parse::<u64>().unwrap()) },
        );
    }
    for (place, count) in calls.join_all().await {
        assert_eq!(place, count, "in the order in which they were made, once");
    }
    cluster.network.heal();
    assert_eq!(done(&client, "?apples").await.1, "201");
    let sessions = cluster.node(0).status().await.unwrap().sessions;
    assert_eq!(sessions, 1, "all in one session");
}

#[tokio::test]
async fn a_window_of_calls_shares_entries() {
    let cluster = Cluster::start(3);
    let client = cluster.client_with(Network::somebody(), 1, 8);
    done(&client, "+apples").await;
    let mut calls = JoinSet::new();
    for _ in 0..160 {
        let client = client.clone();
        calls.spawn(async move { done(&client, "+apples").await.0 });
    }
    let mut ops = calls.join_all().await;
    ops.sort_unstable();
    ops.dedup();
    assert!(ops.len() * 2 < 160, "160 calls of one session took {} entries", ops.len());
}

#[tokio::test]
async fn sessions_execute_at_the_same_time() {
    let cluster = Cluster::start(3);
    let client = cluster.client(64);
    let mut calls = JoinSet::new();
    for _ in 0..640 {
        let client = client.clone();
        calls.spawn(async move { done(&client, "+apples").await.0 });
    }
    let mut ops = calls.join_all().await;
    ops.sort_unstable();
    ops.dedup();
    assert!(ops.len() * 8 < 640, "640 calls of 64 sessions took {} entries", ops.len());
}

#[tokio::test]
async fn a_call_that_reached_nobody_is_not_done() {
    let cluster = Cluster::start(3);
    for replica in cluster.ids() {
        cluster.network.hide(replica);
    }
    let client = cluster.client(1);
    let outcome = client.call_within(Bytes::from_static(b"+apples"), SHORT).await;
    assert_eq!(outcome, CallOutcome::NotDone(NotDone::Deadline));
    // Its session is opened when there is somebody again.
    cluster.network.heal();
    assert_eq!(done(&client, "+apples").await.1, "1");
}

#[tokio::test]
async fn a_call_that_waits_for_a_session_until_its_deadline_is_not_done() {
    let cluster = Cluster::start(3);
    let client = cluster.client(1);
    done(&client, "+apples").await;
    for replica in cluster.ids() {
        cluster.network.hide(replica);
    }
    let apples = Bytes::from_static(b"+apples");
    let (sent, waiting) = tokio::join!(
        client.call_within(apples.clone(), SHORT * 2),
        client.call_within(apples, SHORT),
    );
    assert_eq!(waiting, CallOutcome::NotDone(NotDone::Deadline));
    assert_eq!(sent, CallOutcome::Unknown);
}

#[tokio::test]
async fn after_an_unknown_outcome_the_next_call_has_a_new_session() {
    let cluster = Cluster::start(3);
    let client = cluster.client(1);
    done(&client, "+apples").await;
    for replica in cluster.ids() {
        cluster.network.hide(replica);
    }
    let outcome = client.call_within(Bytes::from_static(b"+apples"), SHORT).await;
    assert_eq!(outcome, CallOutcome::Unknown);
    cluster.network.heal();
    assert_eq!(done(&client, "?pears").await.1, "0");
    assert_eq!(cluster.statuses().await[cluster.primary().await].sessions, 2);
}

#[tokio::test]
async fn a_call_that_is_dropped_frees_its_session() {
    let cluster = Cluster::start(3);
    let client = cluster.client(1);
    done(&client, "+apples").await;
    for _ in 0..20 {
        let dropped = client.call_within(Bytes::from_static(b"+apples"), PATIENCE);
        let _ = tokio::time::timeout(Duration::ZERO, dropped).await;
    }
    assert_eq!(done(&client, "?pears").await.1, "0");
}

#[tokio::test]
async fn an_operation_larger_than_the_cluster_allows_is_refused_without_being_sent() {
    let cluster = Cluster::start(1);
    let client = cluster.client(1);
    let outcome = client.call_within(Bytes::from(vec![b'+'; (1 << 20) + 1]), PATIENCE).await;
    assert_eq!(outcome, CallOutcome::NotDone(NotDone::Refused(Refusal::Malformed)));
    let outcome = client.call_within(Bytes::from(vec![b'+'; 1 << 20]), PATIENCE).await;
    assert!(matches!(outcome, CallOutcome::Done { .. }), "{outcome:?}");
}

#[tokio::test]
async fn a_client_that_may_only_read_reads_only() {
    let cluster = Cluster::start(3);
    let reader = Identity { access: Access::ReadOnly, ..Network::somebody() };
    let client = cluster.client_of(reader, 1);
    let refused = CallOutcome::NotDone(NotDone::Refused(Refusal::Forbidden));
    assert_eq!(call(&client, "+apples").await, refused);
    assert_eq!(done(&client, "?apples").await.1, "0");
}

#[tokio::test]
async fn a_request_under_the_id_of_another_subject_is_refused_and_its_replies_stay_its_own() {
    let cluster = Cluster::start(1);
    cluster.primary().await;
    let request = vsr_core::ClientRequest::<Bytes> {
        cluster: CLUSTER,
        client: vsr_core::ClientId(7),
        view: vsr_core::ViewNumber::ZERO,
        kind: vsr_core::ClientRequestKind::Register,
    };
    let mut frames = bytes::BytesMut::new();
    vsr_wire::encode_request(&request, &mut frames).unwrap();
    let frames = frames.freeze();
    let mallory = Identity { subject: Subject(2), ..Network::somebody() };
    let mut kinds = Vec::new();
    let mut connected = Vec::new();
    for identity in [Network::somebody(), mallory] {
        let (port, mut answers) = cluster.network.connect(identity, &cluster.ids());
        port.send(ReplicaId(0), frames.clone());
        kinds.push(answers.recv().await.unwrap().answer);
        connected.push((port, answers));
    }
    let is_registered = |answer: &crate::Answer| {
        let registered = "Registered { ";
        format!("{answer:?}").contains(registered)
    };
    assert!(is_registered(&kinds[0]), "{kinds:?}");
    assert!(format!("{:?}", kinds[1]).contains("NotYours"), "{kinds:?}");
}

#[tokio::test]
async fn a_client_that_never_reads_its_replies_holds_up_nobody() {
    let cluster = Cluster::start(3);
    let primary = ReplicaId(cluster.primary().await as u32);
    let mut question = bytes::BytesMut::new();
    vsr_wire::encode_status_request(CLUSTER, &mut question);
    let question = question.freeze();
    let (deaf, _unread) = cluster.network.connect(Network::somebody(), &cluster.ids());
    let client = cluster.client(1);
    for count in 1..=100 {
        for _ in 0..100 {
            deaf.send(primary, question.clone());
        }
        assert_eq!(done(&client, "+apples").await.1, count.to_string());
    }
}

#[tokio::test]
async fn each_replica_says_how_it_is() {
    let cluster = Cluster::start(3);
    let client = cluster.client(1);
    let (op, _) = done(&client, "+apples").await;
    for replica in cluster.ids() {
        let status = eventually("a status", || async {
            let asked = client.status(replica, Instant::now() + PATIENCE).await;
            Some(asked.unwrap()).filter(|status| status.applied >= op.0)
        })
        .await;
        assert_eq!((status.id, status.primary, status.epoch), (replica.0, 0, 0));
        assert_eq!(status.role, if replica.0 == 0 { "primary" } else { "backup" });
        assert_eq!(status.digest.op, status.applied);
        assert_eq!((status.sessions, status.ops), (1, 1));
        assert_eq!((status.pid, status.status.as_str()), (std::process::id(), "normal"));
        assert!(status.syncs > 0 && status.writes >= status.syncs);
    }
}

#[tokio::test]
async fn a_replica_that_cannot_be_reached_says_nothing_until_the_deadline() {
    let cluster = Cluster::start(3);
    cluster.network.hide(ReplicaId(1));
    let client = cluster.client(1);
    let status = client.status(ReplicaId(1), Instant::now() + SHORT).await;
    assert_eq!(status, Err(StatusError::Deadline));
}

#[tokio::test]
async fn a_client_without_replicas_or_sessions_is_refused() {
    let config = crate::ClientConfig {
        cluster: CLUSTER,
        replicas: vec![],
        sessions: 1,
        window: 1,
        request_bytes: 1,
        timing: vsr_core::Timing::DEFAULT,
    };
    let connect = |config| {
        let (transport, answers) = Network::new().connect(Network::somebody(), &[]);
        crate::Client::new(config, transport, answers).map(|_| ())
    };
    assert_eq!(connect(config.clone()), Err(ClientConfigError::NoReplicas));
    let config = crate::ClientConfig { replicas: vec![ReplicaId(0)], sessions: 0, ..config };
    assert_eq!(connect(config), Err(ClientConfigError::Sessions(0)));
}
