//! Stops in good order.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use vsr_core::Timing;

use super::cluster::{Cluster, PATIENCE, done, eventually};
use crate::node::HANDOVER_MAX;
use crate::{CallOutcome, NotDone};

#[tokio::test]
async fn a_primary_that_is_shut_down_hands_its_role_on_first() {
    // Nobody would notice in time that the primary is gone: it has to say so.
    let timing = Timing {
        primary_silence: 2 * PATIENCE,
        primary_late: PATIENCE,
        view_change_stuck: 4 * PATIENCE,
        view_change_stuck_max: 4 * PATIENCE,
        ..Timing::DEFAULT
    };
    let mut cluster = Cluster::start_with(3, timing);
    let client = cluster.client(1);
    done(&client, "+apples").await;
    let primary = cluster.primary().await;
    let began = Instant::now();
    cluster.nodes[primary].take().unwrap().shutdown().await.unwrap();
    assert!(began.elapsed() < HANDOVER_MAX, "{:?}", began.elapsed());
    let successor = cluster.statuses().await.iter().any(|status| status.role == "primary");
    assert!(successor, "another view has begun when the old primary stops");
    assert_eq!(done(&client, "+apples").await.1, "2");
}

#[tokio::test]
async fn a_backup_and_a_group_of_one_stop_at_once() {
    let mut cluster = Cluster::start(3);
    done(&cluster.client(1), "+apples").await;
    let backup = (cluster.primary().await + 1) % 3;
    cluster.nodes[backup].take().unwrap().shutdown().await.unwrap();
    let mut alone = Cluster::start(1);
    let client = alone.client(1);
    done(&client, "+apples").await;
    alone.nodes[0].take().unwrap().shutdown().await.unwrap();
    alone.start_node(0);
    assert_eq!(done(&client, "+apples").await.1, "2");
}

#[tokio::test]
async fn a_primary_without_peers_stops_after_a_bounded_wait() {
    let mut cluster = Cluster::start(3);
    done(&cluster.client(1), "+apples").await;
    let primary = cluster.primary().await;
    let ids = cluster.ids();
    for other in (0..3).filter(|replica| *replica != primary) {
        cluster.network.cut(ids[primary], &[ids[other]]);
    }
    let began = Instant::now();
    cluster.nodes[primary].take().unwrap().shutdown().await.unwrap();
    assert!(began.elapsed() < 2 * HANDOVER_MAX, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_node_whose_handle_is_dropped_stops() {
    let mut cluster = Cluster::start(3);
    done(&cluster.client(1), "+apples").await;
    let backup = (cluster.primary().await + 1) % 3;
    let node = cluster.nodes[backup].take().unwrap();
    let observer = node.observer();
    drop(node);
    eventually("the node's end", || async { observer.status().await.err() }).await;
}

#[tokio::test]
async fn calls_of_a_client_whose_transport_is_gone_end() {
    let cluster = Cluster::start(1);
    let (transport, answers) =
        cluster.network.connect(crate::memory::Network::somebody(), &cluster.ids());
    drop(answers);
    let (_, gone) = tokio::sync::mpsc::channel(1);
    let config = crate::ClientConfig {
        cluster: super::cluster::CLUSTER,
        replicas: cluster.ids(),
        sessions: 1,
        window: 1,
        request_bytes: 100,
        timing: Timing::DEFAULT,
    };
    let client = crate::Client::new(config, transport, gone).unwrap();
    let outcome = client.call_within(Bytes::from_static(b"+apples"), Duration::from_secs(5)).await;
    assert_eq!(outcome, CallOutcome::NotDone(NotDone::Closed));
}
