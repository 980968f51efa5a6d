//! Reads without an entry in the log.

use bytes::Bytes;
use tokio::time::Instant;
use vsr_core::{OpNumber, ReadFrom, ReadRefusal, ReplicaId};

use super::cluster::{Cluster, PATIENCE, done};
use crate::{ReadOptions, ReadResult};

async fn read(client: &crate::Client, operation: &'static str, options: ReadOptions) -> ReadResult {
    client.read(Bytes::from_static(operation.as_bytes()), options, Instant::now() + PATIENCE).await
}

fn answer(read: ReadResult) -> (OpNumber, String) {
    match read {
        ReadResult::Done { op, answer } => (op, String::from_utf8(answer.to_vec()).unwrap()),
        other @ (ReadResult::Refused(_) | ReadResult::Deadline | ReadResult::Closed) => {
            panic!("no answer: {other:?}")
        }
    }
}

/// Whoever is asked sees what was answered before, and nothing is added to the log for it.
#[tokio::test]
async fn every_replica_answers_linearizable_reads_without_an_entry() {
    let cluster = Cluster::start(3);
    let client = cluster.client(1);
    let mut last = OpNumber::ZERO;
    for count in 1..=20 {
        last = done(&client, "+apples").await.0;
        for replica in cluster.ids() {
            let options =
                ReadOptions { from: ReadFrom::Replica(replica), ..ReadOptions::LINEARIZABLE };
            let (op, reply) = answer(read(&client, "?apples", options).await);
            assert_eq!((op, reply), (last, count.to_string()), "{replica}");
        }
    }
    cluster.agreement(last).await;
}

#[tokio::test]
async fn a_causal_read_sees_what_its_client_saw() {
    let cluster = Cluster::start(3);
    let client = cluster.client(1);
    let (op, _) = done(&client, "+apples").await;
    let (seen, reply) = answer(read(&client, "?apples", ReadOptions::causal(op)).await);
    assert!(seen >= op);
    assert_eq!(reply, "1");
}

/// Whichever backup it asks, and whether that one asked lately or not.
#[tokio::test]
async fn a_read_of_a_bounded_age_sees_what_was_answered_so_long_before() {
    let age = std::time::Duration::from_millis(20);
    let cluster = Cluster::start(3);
    let client = cluster.client(1);
    for round in 1..=20_u64 {
        // So that some backup may answer the next one without asking.
        answer(read(&client, "?apples", ReadOptions::AT_BACKUP).await);
        let (op, _) = done(&client, "+apples").await;
        tokio::time::sleep(age).await;
        let (seen, reply) = answer(read(&client, "?apples", ReadOptions::bounded(age)).await);
        assert!(seen >= op, "{seen} {op}");
        assert_eq!(reply, round.to_string());
    }
}

#[tokio::test]
async fn what_would_change_something_is_no_read() {
    let cluster = Cluster::start(1);
    let client = cluster.client(1);
    let refused = read(&client, "+apples", ReadOptions::LINEARIZABLE).await;
    assert_eq!(refused, ReadResult::Refused(ReadRefusal::NotARead));
    assert_eq!(done(&client, "?apples").await.1, "0");
}

/// A client that takes a dead replica for the primary asks the next one.
#[tokio::test]
async fn a_read_finds_the_replicas_that_live() {
    let mut cluster = Cluster::start(3);
    done(&cluster.client(1), "+apples").await;
    let primary = cluster.primary().await;
    cluster.kill(primary).await;
    let client = cluster.client(1);
    assert_eq!(answer(read(&client, "?apples", ReadOptions::LINEARIZABLE).await).1, "1");
    let dead = ReadOptions {
        from: ReadFrom::Replica(ReplicaId(primary as u32)),
        ..ReadOptions::LINEARIZABLE
    };
    let deadline = Instant::now() + std::time::Duration::from_millis(300);
    let operation = Bytes::from_static(b"?apples");
    assert_eq!(client.read(operation, dead, deadline).await, ReadResult::Deadline);
}
