//! Services that want values predicted.

use std::time::Duration;

use bytes::Bytes;
use vsr_core::{Checksum, Context, Implausible, OpNumber, Prediction, ReplicaId, Request, Service};

use super::cluster::{CLUSTER, Cluster, TestDisk, done};
use crate::memory::MemoryDisk;
use crate::serve;
use crate::transport::inbox;

/// Keeps the value of each operation. A value is the numbers of the replicas that had a say in it, and how
/// often each did; a replica whose clock is wrong says `!`.
#[derive(Debug)]
struct Values {
    me: ReplicaId,
    prediction: Prediction,
    clock_is_wrong: bool,
    predicted: u64,
    kept: Vec<Bytes>,
}

impl Service<Bytes> for Values {
    fn apply(&mut self, context: Context<'_, Bytes>, _: &Bytes) -> Bytes {
        let value = context.prediction.cloned().unwrap_or_default();
        self.kept.push(value.clone());
        value
    }

    fn digest(&self) -> Checksum {
        Checksum::of(format!("{:?}", self.kept).as_bytes())
    }

    fn prediction(&self) -> Prediction {
        self.prediction
    }

    fn predict(&mut self, _: &[Request<Bytes>]) -> Option<Bytes> {
        self.predicted += 1;
        let wrong = if self.clock_is_wrong { "!" } else { "" };
        Some(format!("{}.{}{wrong}", self.me.0, self.predicted).into())
    }

    fn combine(&mut self, _: &[Request<Bytes>], values: Vec<(ReplicaId, Bytes)>) -> Option<Bytes> {
        let values: Vec<Bytes> = values.into_iter().map(|(_, value)| value).collect();
        Some(values.join(&b'+').into())
    }

    fn check(&self, _: &[Request<Bytes>], prediction: &Bytes) -> Result<(), Implausible> {
        let wrong = prediction.contains(&b'!');
        if wrong { Err(Implausible::new("its clock is wrong")) } else { Ok(()) }
    }
}

/// Three nodes; `wrong` says whose clocks are.
fn start(prediction: Prediction, wrong: &[usize]) -> Cluster {
    let disks = (0..3).map(|_| MemoryDisk::new(CLUSTER, Duration::ZERO)).collect();
    let mut cluster = Cluster::unstarted(disks);
    for index in 0..3 {
        let me = ReplicaId(index as u32);
        let service = Values {
            me,
            prediction,
            clock_is_wrong: wrong.contains(&index),
            predicted: 0,
            kept: Vec::new(),
        };
        let (inbox, inlet) = inbox();
        let transport = cluster.network.join(me, inbox);
        let setup = cluster.disks[index].setup(me, 3);
        cluster.nodes[index] = Some(serve(setup, service, transport, inlet).unwrap());
    }
    cluster
}

#[tokio::test]
async fn the_primary_predicts_and_all_nodes_execute_with_that() {
    let cluster = start(Prediction::Primary, &[]);
    let client = cluster.client(1);
    let mut last = OpNumber::ZERO;
    for number in 1..=50 {
        let (op, value) = done(&client, "x").await;
        assert_eq!(value, format!("0.{number}"));
        last = op;
    }
    cluster.agreement(last).await;
}

#[tokio::test]
async fn a_backup_has_a_say_in_each_value_while_one_of_them_lives() {
    let mut cluster = start(Prediction::Backups, &[]);
    let client = cluster.client(1);
    for _ in 0..20 {
        let (_, value) = done(&client, "x").await;
        let whose: Vec<&str> = value.split('+').filter_map(|one| one.split('.').next()).collect();
        assert_eq!(whose.len(), 2, "{value}");
        assert_eq!(whose[0], "0", "{value}");
    }
    cluster.kill(1).await;
    let mut last = OpNumber::ZERO;
    for _ in 0..20 {
        let (op, value) = done(&client, "x").await;
        assert!(value.starts_with("0.") && value.contains("+2."), "{value}");
        last = op;
    }
    cluster.agreement(last).await;
}

#[tokio::test]
async fn a_node_whose_clock_is_wrong_hands_the_primarys_role_on() {
    let cluster = start(Prediction::Primary, &[0]);
    let client = cluster.client(1);
    let (mut last, mut value) = done(&client, "x").await;
    // An entry that is refused may be committed all the same, by the view after its primary's.
    for _ in 0..10 {
        (last, value) = done(&client, "x").await;
    }
    assert!(!value.contains('!'), "{value}");
    assert_ne!(cluster.primary().await, 0);
    cluster.agreement(last).await;
}
