//! Nodes on the store that ships: over a disk that loses power, and over files.

use std::path::PathBuf;

use tokio::task::JoinSet;
use tokio::time::Instant;
use vsr_core::{Configuration, Constants, Durability, OpNumber, ReplicaId, StoreId};
use vsr_storage::{Disk, FileDisk, Format, Inspection, OpenError, SimDisk, Store};

use super::cluster::{CLUSTER, Cluster, PATIENCE, TestDisk, done, eventually};
use crate::{CallOutcome, Setup};

/// Small enough that a test may fill the log.
const SMALL: Constants = Constants {
    pipeline: 8,
    batch_requests: 64,
    batch_bytes: 4096,
    request_bytes: 4096,
    log_slots: 512,
    log_bytes: 4 << 20,
    checkpoint_interval: 0,
    checkpoint_bytes: 0,
    checkpoint_time: 0,
    sessions: 64,
    window: 1,
    session_expiry: 0,
    durability: Durability::Sync,
    kept_reply: 1024,
    genesis_sessions: 0,
};

fn format(replica: u32, replicas: u32) -> Format {
    Format {
        cluster: CLUSTER,
        replica: ReplicaId(replica),
        store: StoreId(replica.into()),
        configuration: Configuration::of_replicas(replicas as usize).unwrap(),
        constants: SMALL,
        addresses: (0..replicas).map(|id| (ReplicaId(id), format!("host-{id}:8771"))).collect(),
    }
}

fn opened<D: Disk>(disk: D, me: ReplicaId) -> Setup<Store<D>> {
    let setup = Setup::open(disk).unwrap();
    assert_eq!(setup.config.replica(), me);
    assert_eq!(setup.address, format!("host-{}:8771", me.0));
    setup
}

impl TestDisk for SimDisk {
    type Store = Store<Self>;

    fn setup(&self, me: ReplicaId, _: usize) -> Setup<Self::Store> {
        opened(self.clone(), me)
    }
}

/// A data directory.
#[derive(Clone)]
struct Directory(PathBuf);

impl TestDisk for Directory {
    type Store = Store<FileDisk>;

    fn setup(&self, me: ReplicaId, _: usize) -> Setup<Self::Store> {
        opened(FileDisk::open(&self.0).unwrap(), me)
    }
}

fn simulated(replicas: u32) -> Vec<SimDisk> {
    simulated_with(replicas, SMALL)
}

fn simulated_with(replicas: u32, constants: Constants) -> Vec<SimDisk> {
    let disk = |replica| {
        let disk = SimDisk::new();
        Store::format(&disk, &Format { constants, ..format(replica, replicas) }).unwrap();
        disk
    };
    (0..replicas).map(disk).collect()
}

#[tokio::test]
async fn what_was_acknowledged_survives_power_loss_of_all_under_load() {
    let mut cluster = Cluster::start_on(simulated(3));
    let mut acknowledged = 0;
    for power_loss in 0..5 {
        let client = cluster.client(8);
        let mut calls = JoinSet::new();
        for _ in 0..8 {
            let client = client.clone();
            calls.spawn(async move { done(&client, "+apples").await });
        }
        acknowledged += calls.join_all().await.len();
        // More is on its way when the power fails.
        let under_way = tokio::spawn(async move { super::cluster::call(&client, "+pears").await });
        for replica in 0..3 {
            cluster.kill(replica).await;
            cluster.disks[replica].lose_power(power_loss * 3 + replica as u64);
        }
        for replica in 0..3 {
            cluster.start_node(replica);
        }
        assert!(matches!(under_way.await.unwrap(), CallOutcome::Done { .. }));
        let apples = done(&cluster.client(1), "?apples").await.1;
        assert_eq!(apples, acknowledged.to_string());
    }
}

#[tokio::test]
async fn a_cluster_on_files_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let directory = |replica| {
        let path = folder.path().join(format!("replica-{replica}"));
        let disk = FileDisk::open(&path).unwrap();
        Store::format(&disk, &format(replica, 3)).unwrap();
        Directory(path)
    };
    let mut cluster = Cluster::start_on((0..3).map(directory).collect());
    let client = cluster.client(1);
    for _ in 0..10 {
        done(&client, "+apples").await;
    }
    for node in &mut cluster.nodes {
        node.take().unwrap().shutdown().await.unwrap();
    }
    for replica in 0..3 {
        cluster.start_node(replica);
    }
    let (op, apples) = done(&client, "+apples").await;
    assert_eq!(apples, "11");
    cluster.agreement(op).await;
}

#[tokio::test]
async fn a_full_log_refuses_new_operations_and_answers_on() {
    let cluster = Cluster::start_on(simulated(3));
    let client = cluster.client(1);
    let mut count = 0;
    let refused = loop {
        match super::cluster::call(&client, "+apples").await {
            CallOutcome::Done { .. } => count += 1,
            refused @ (CallOutcome::NotDone(_) | CallOutcome::Unknown) => break refused,
        }
        assert!(count < SMALL.log_slots, "the log holds more than it has slots");
    };
    let expected = CallOutcome::NotDone(crate::NotDone::Refused(vsr_core::Refusal::LogFull));
    assert_eq!(refused, expected);
    let statuses = cluster.statuses().await;
    assert!(statuses.iter().all(|status| status.status == "normal"), "{statuses:?}");
}

/// The log goes round several times behind checkpoints, and a restart executes only what follows the
/// latest one.
#[tokio::test]
async fn a_log_goes_round_behind_checkpoints_and_a_restart_goes_on_from_them() {
    const CALLS: u64 = 9000;
    let mut cluster = Cluster::start_on(simulated_with(3, WIDE));
    let client = cluster.client(1);
    for call in 1..=CALLS {
        assert_eq!(done(&client, "+apples").await.1, call.to_string());
    }
    for replica in 0..3 {
        cluster.kill(replica).await;
        cluster.disks[replica].lose_power(replica as u64);
    }
    for replica in 0..3 {
        cluster.start_node(replica);
    }
    let (op, apples) = done(&client, "+apples").await;
    assert_eq!(apples, (CALLS + 1).to_string());
    cluster.agreement(op).await;
    for status in cluster.statuses().await {
        assert!(status.checkpoint >= CALLS - 2 * 64, "{status:?}");
        assert!(status.ops <= 3 * 64, "it executed all of it again: {status:?}");
    }
}

#[tokio::test]
async fn a_replica_is_not_started_on_an_empty_store() {
    let opened = Setup::open(SimDisk::new()).map(|_| ());
    assert!(matches!(opened, Err(OpenError::Empty)), "{opened:?}");
}

/// A log that holds far more than comes between two pings, by which checkpoints are told.
const WIDE: Constants = Constants { checkpoint_interval: 64, log_slots: 4096, ..SMALL };

/// Calls whose entries a log of [`WIDE`] does not hold.
const MANY: u64 = 5000;

/// A replica that was away for longer than the others' logs reach takes a checkpoint from them, and they go on
/// all the while.
#[tokio::test]
async fn a_replica_that_was_away_too_long_catches_up_by_checkpoint() {
    let mut cluster = Cluster::start_on(simulated_with(3, WIDE));
    let client = cluster.client(1);
    cluster.kill(2).await;
    for call in 1..=MANY {
        assert_eq!(done(&client, "+apples").await.1, call.to_string());
    }
    cluster.start_node(2);
    let mut op = OpNumber::ZERO;
    for call in MANY + 1..=MANY + 100 {
        let (at, apples) = done(&client, "+apples").await;
        assert_eq!(apples, call.to_string());
        op = at;
    }
    cluster.agreement(op).await;
    let statuses = cluster.statuses().await;
    assert!(statuses[2].ops < MANY / 2, "it executed all of it: {:?}", statuses[2]);
    assert!(statuses.iter().all(|status| status.transfer_op.is_none()), "{statuses:?}");
}

/// The checkpoint has many chunks, and one of the two that give them dies: the other gives the rest.
#[tokio::test]
async fn a_checkpoint_is_fetched_from_whoever_lives() {
    let mut cluster = Cluster::start_on(simulated_with(3, WIDE));
    let client = cluster.client(1);
    cluster.kill(2).await;
    for name in 0..MANY {
        let operation = format!("+fruit-{name}").into_bytes();
        let answer = client.call(operation.into(), Instant::now() + PATIENCE).await;
        assert!(matches!(answer, CallOutcome::Done { .. }), "{answer:?}");
    }
    cluster.start_node(2);
    eventually("a checkpoint that is fetched", || async {
        let status = cluster.node(2).status().await.ok()?;
        status.transfer_chunks_left.filter(|left| *left > 0)
    })
    .await;
    cluster.kill(1).await;
    let (op, _) = done(&client, "+apples").await;
    cluster.agreement(op).await;
    cluster.start_node(1);
    let (op, _) = done(&client, "+apples").await;
    cluster.agreement(op).await;
}

/// Where the first chunk of the service's state lies in the latest checkpoint, and behind it that of another.
fn spoil_state(disk: &SimDisk) {
    let inspection = Inspection::open(disk).unwrap();
    let latest = inspection.checkpoints(disk).unwrap().whole.pop().unwrap();
    for place in inspection.chunks(disk, latest.id).unwrap().iter().rev().take(2) {
        disk.corrupt(&place.file, place.offset, &[1]);
    }
}

/// A checkpoint that rots while its replica is away is mended from the others, before anything is executed.
#[tokio::test]
async fn a_checkpoint_that_rotted_is_mended_from_the_others() {
    let mut cluster = Cluster::start_on(simulated_with(3, WIDE));
    let client = cluster.client(1);
    for name in 0..1000 {
        let operation = format!("+fruit-{name}").into_bytes();
        let answer = client.call(operation.into(), Instant::now() + PATIENCE).await;
        assert!(matches!(answer, CallOutcome::Done { .. }), "{answer:?}");
    }
    for replica in 0..3 {
        cluster.kill(replica).await;
    }
    spoil_state(&cluster.disks[1]);
    for replica in 0..3 {
        cluster.start_node(replica);
    }
    let (op, _) = done(&client, "+apples").await;
    cluster.agreement(op).await;
    let status = cluster.node(1).status().await.unwrap();
    assert!(status.checkpoint > 0 && status.ops <= 3 * 64, "{status:?}");
    let mut found = Vec::new();
    cluster.kill(1).await;
    let inspection = Inspection::open(&cluster.disks[1]).unwrap();
    inspection.verify(&cluster.disks[1], |finding| found.push(finding)).unwrap();
    assert_eq!(found, [], "the disk is whole again");
}
