//! Nodes that die, and disks that fail.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinSet;
use vsr_core::{Refusal, ReplicaId};

use super::cluster::{Cluster, Counts, PATIENCE, TestDisk as _, call, done, eventually};
use crate::memory::Network;
use crate::transport::{ConnectionId, Incoming};
use crate::{CallOutcome, NodeError, NotDone};

#[tokio::test]
async fn a_node_that_was_killed_catches_up_on_its_store() {
    let mut cluster = Cluster::start(3);
    let client = cluster.client(4);
    for _ in 0..50 {
        done(&client, "+apples").await;
    }
    cluster.kill(2).await;
    let mut last = done(&client, "+apples").await.0;
    for _ in 0..49 {
        last = done(&client, "+apples").await.0;
    }
    cluster.start_node(2);
    cluster.agreement(last).await;
    assert_eq!(cluster.node(2).status().await.unwrap().incarnation, 2);
}

#[tokio::test]
async fn the_call_after_the_primarys_death_is_answered() {
    let mut cluster = Cluster::start(3);
    let client = cluster.client(1);
    for round in 1..=3 {
        assert_eq!(done(&client, "+apples").await.1, (2 * round - 1).to_string());
        let primary = cluster.primary().await;
        cluster.kill(primary).await;
        let (op, reply) = done(&client, "+apples").await;
        assert_eq!(reply, (2 * round).to_string());
        cluster.start_node(primary);
        cluster.agreement(op).await;
    }
}

/// Primaries die while the window is full: each call is executed once, in the order in which they were
/// made, though every one of those in flight is sent again.
#[tokio::test]
async fn a_window_of_calls_in_flight_when_the_primary_dies_is_executed_once_and_in_order() {
    const CALLS: u64 = 64;
    let mut cluster = Cluster::start(3);
    let client = cluster.client_with(Network::somebody(), 1, 8);
    let mut executed = done(&client, "+apples").await.1.parse::<u64>().unwrap();
    for _ in 0..3 {
        let primary = cluster.primary().await;
        let mut calls = JoinSet::new();
        for place in 1..=CALLS {
            let client = client.clone();
            calls.spawn(async move { (place, done(&client, "+apples").await) });
        }
        let mut answered = vec![calls.join_next().await.unwrap().unwrap()];
        cluster.kill(primary).await;
        while let Some(one) = calls.try_join_next() {
            answered.push(one.unwrap());
        }
        assert!(calls.len() >= 8, "a window was in flight when the primary died");
        answered.extend(calls.join_all().await);
        answered.sort_unstable();
        let counts = answered.iter().map(|(_, (_, count))| count.parse::<u64>().unwrap());
        let expected = executed + 1..=executed + CALLS;
        assert_eq!(counts.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
        executed += CALLS;
        cluster.start_node(primary);
        let last = answered.iter().map(|(_, (op, _))| *op).max().unwrap();
        cluster.agreement(last).await;
    }
    let sessions: Vec<_> = cluster.statuses().await.iter().map(|status| status.sessions).collect();
    assert_eq!(sessions, [1, 1, 1], "all in one session");
}

#[tokio::test]
async fn a_primary_that_is_cut_off_is_replaced_and_joins_again() {
    let cluster = Cluster::start(3);
    let client = cluster.client(1);
    done(&client, "+apples").await;
    let primary = cluster.primary().await;
    let ids = cluster.ids();
    let others: Vec<_> = ids.iter().filter(|id| id.0 as usize != primary).copied().collect();
    cluster.network.cut(ids[primary], &others);
    let (op, reply) = done(&client, "+apples").await;
    assert_eq!(reply, "2");
    cluster.network.heal();
    cluster.agreement(op).await;
}

#[tokio::test]
async fn what_was_acknowledged_survives_the_death_of_all() {
    let mut cluster = Cluster::start(3);
    let client = cluster.client(16);
    let mut calls = JoinSet::new();
    for _ in 0..100 {
        let client = client.clone();
        calls.spawn(async move { done(&client, "+apples").await });
    }
    calls.join_all().await;
    for replica in 0..3 {
        cluster.kill(replica).await;
    }
    for replica in 0..3 {
        cluster.start_node(replica);
    }
    // The client's sessions are as durable as the operations.
    assert_eq!(done(&client, "+apples").await.1, "101");
}

#[tokio::test]
async fn a_call_in_flight_when_the_cluster_dies_is_unknown_at_its_deadline() {
    let mut cluster = Cluster::start(3);
    let client = cluster.client(1);
    done(&client, "+apples").await;
    for replica in 0..3 {
        cluster.kill(replica).await;
    }
    let outcome =
        client.call_within(Bytes::from_static(b"+apples"), Duration::from_millis(300)).await;
    assert_eq!(outcome, CallOutcome::Unknown);
}

#[tokio::test]
async fn a_failed_sync_stops_the_node_and_the_others_go_on() {
    let mut cluster = Cluster::start(3);
    let client = cluster.client(1);
    done(&client, "+apples").await;
    let primary = cluster.primary().await;
    cluster.disks[primary].fail();
    assert_eq!(done(&client, "+apples").await.1, "2");
    let mut node = cluster.nodes[primary].take().unwrap();
    let stopped = node.stopped().await.unwrap_err();
    assert!(matches!(stopped, NodeError::Storage(_)), "{stopped}");
    let message = "storage failed while syncing: check the disk, then start the replica again";
    assert_eq!(stopped.to_string(), message);
    assert!(node.status().await.is_err());
}

#[tokio::test]
async fn a_full_disk_refuses_new_operations_and_goes_on_when_there_is_room() {
    let cluster = Cluster::start(1);
    let (client, other) = (cluster.client(1), cluster.client(1));
    done(&client, "+apples").await;
    done(&other, "+pears").await;
    cluster.disks[0].set_full(true);
    // What was promised before anybody knew that the disk is full waits for room.
    let waits = client.call_within(Bytes::from_static(b"+apples"), PATIENCE);
    let refused = async {
        eventually("word of the full disk", || async {
            (cluster.node(0).status().await.unwrap().disk == "full").then_some(())
        })
        .await;
        let outcome = call(&other, "+pears").await;
        cluster.disks[0].set_full(false);
        outcome
    };
    let (waited, refused) = tokio::join!(waits, refused);
    assert_eq!(refused, CallOutcome::NotDone(NotDone::Refused(Refusal::DiskFull)));
    assert!(matches!(waited, CallOutcome::Done { .. }), "{waited:?}");
    eventually("room", || async {
        (cluster.node(0).status().await.unwrap().disk == "ok").then_some(())
    })
    .await;
    assert_eq!(done(&other, "+pears").await.1, "2");
}

#[tokio::test]
async fn a_panic_of_the_service_reaches_whoever_waits_for_the_node() {
    struct Broken;
    impl vsr_core::Service<Bytes> for Broken {
        fn apply(&mut self, _: vsr_core::Context<'_, Bytes>, _: &Bytes) -> Bytes {
            panic!("the service is broken")
        }
        fn digest(&self) -> vsr_core::Checksum {
            vsr_core::Checksum::default()
        }
    }
    let mut cluster = Cluster::start(1);
    cluster.kill(0).await;
    let (inbox, inlet) = crate::transport::inbox();
    let transport = cluster.network.join(ReplicaId(0), inbox);
    let setup = cluster.disks[0].setup(ReplicaId(0), 1);
    let mut node = crate::serve(setup, Broken, transport, inlet).unwrap();
    let client = cluster.client(1);
    let calling = tokio::spawn(async move { call(&client, "+apples").await });
    let waiting = tokio::spawn(async move { node.stopped().await });
    assert!(waiting.await.unwrap_err().is_panic());
    calling.abort();
}

#[tokio::test]
async fn a_client_that_asks_for_the_status_and_leaves_at_once_leaves_nothing_behind() {
    let mut cluster = Cluster::start(1);
    cluster.kill(0).await;
    let (inbox, inlet) = crate::transport::inbox();
    let transport = cluster.network.join(ReplicaId(0), inbox.clone());
    let setup = cluster.disks[0].setup(ReplicaId(0), 1);
    let connection = ConnectionId(7);
    let identity = Arc::new(Network::somebody());
    inbox.deliver(Incoming::Status { connection, identity }).await.unwrap();
    inbox.deliver(Incoming::Closed { connection }).await.unwrap();
    let node = crate::serve(setup, Counts::default(), transport, inlet).unwrap();
    // The second answer comes after the round of the first one is over.
    node.status().await.unwrap();
    assert_eq!(node.status().await.unwrap().clients, 0);
}

/// The others can commit without the disk of the primary; it leaves its role to one of them all the same.
#[tokio::test]
async fn a_primary_whose_disk_stalls_hands_its_role_on_within_five_seconds() {
    let cluster = Cluster::start(3);
    let client = cluster.client(1);
    done(&client, "+apples").await;
    let primary = cluster.primary().await;
    let before = cluster.node(primary).status().await.unwrap();
    let began = Instant::now();
    cluster.disks[primary].set_sync_takes(Duration::from_secs(20));
    assert_eq!(done(&client, "+apples").await.1, "2");
    eventually("another primary", || async {
        let status = cluster.node((primary + 1) % 3).status().await.ok()?;
        (status.view > before.view && status.role == "primary").then_some(())
    })
    .await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let stalled = cluster.node(primary).status().await.unwrap();
    assert_eq!((before.disk.as_str(), stalled.disk.as_str()), ("ok", "stalled"));
    assert_eq!(done(&client, "+apples").await.1, "3");
}
