//! Whole replicas: store, node, network and service, started in one call each.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets anything else fails"
)]
mod common;

use std::fs::rename;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{CLUSTER, Certificates, VALIDITY, ports};
use vsr_core::{Configuration, Constants, ReplicaId, StoreId};
use vsr_kv::{Answer, KeyValue, Operation};
use vsr_quic::certificates::REPLICA_STEM;
use vsr_quic::{
    ConnectConfig, Name, ReplicaHandle, ServeConfig, ServeError, TLS_FOLDER, connect, serve,
};
use vsr_storage::{Disk, FileDisk, Format, Store};
use vsr_tokio::{Access, CallOutcome, Client};

/// How long a call may take: some view changes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

struct Cluster {
    certificates: Certificates,
    addresses: Vec<(ReplicaId, String)>,
}

impl Cluster {
    fn format() -> Self {
        let certificates = Certificates::new();
        let ports = ports::<3>().map(|port| format!("127.0.0.1:{port}"));
        let addresses: Vec<_> = (0..).map(ReplicaId).zip(ports).collect();
        let this = Self { certificates, addresses };
        for (replica, _) in &this.addresses {
            let directory = this.certificates.folder_of(&format!("data{}", replica.0));
            let name = Name::Replica { cluster: CLUSTER, replica: *replica };
            let tls = directory.join(TLS_FOLDER);
            this.certificates.authority.issue(&name, &tls, REPLICA_STEM, VALIDITY).unwrap();
            let format = this.format_of(*replica, StoreId(replica.0.into()));
            Store::format(&FileDisk::open(&directory).unwrap(), &format).unwrap();
        }
        this
    }

    /// The store is gone, and somebody formats a new one under its number.
    fn lose_store(&self, replica: u32) {
        let directory = self.certificates.folder_of(&format!("data{replica}"));
        let disk = FileDisk::open(&directory).unwrap();
        for name in disk.list().unwrap().into_iter().filter(|name| name != TLS_FOLDER) {
            disk.remove(&name).unwrap();
        }
        let format = self.format_of(ReplicaId(replica), StoreId(77));
        Store::format(&disk, &format).unwrap();
    }

    fn format_of(&self, replica: ReplicaId, store: StoreId) -> Format {
        Format {
            cluster: CLUSTER,
            replica,
            store,
            configuration: Configuration::of_replicas(3).unwrap(),
            constants: Constants { log_slots: 4096, checkpoint_interval: 16, ..Constants::DEFAULT },
            addresses: self.addresses.clone(),
        }
    }

    async fn start(&self, replica: u32) -> ReplicaHandle {
        let directory = self.certificates.folder_of(&format!("data{replica}"));
        serve(ServeConfig::new(directory), KeyValue::new()).await.unwrap()
    }

    /// Stops a replica, and waits until its port is free: the tasks of a transport that is closed end, and with the last
    /// of them its socket.
    async fn stop(&self, handle: ReplicaHandle, replica: usize) {
        handle.shutdown().await.unwrap();
        let free = || UdpSocket::bind(&self.addresses[replica].1).is_ok();
        common::until("the port is free", free).await;
    }

    fn data(&self, replica: u32) -> PathBuf {
        self.folder(&format!("data{replica}"))
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.certificates.folder_of(name)
    }

    fn client(&self, name: &str) -> Client {
        connect(ConnectConfig {
            replicas: self.addresses.clone(),
            credentials: self.certificates.client(name, Access::ReadWrite),
            sessions: 4,
            window: 1,
            request_bytes: Constants::DEFAULT.request_bytes,
        })
        .unwrap()
    }
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

async fn commit_of(replica: &ReplicaHandle) -> u64 {
    replica.observer().status().await.unwrap().commit
}

/// Waits until one has executed what the other has.
async fn caught_up(replica: &ReplicaHandle, other: &ReplicaHandle) {
    let (begun, done) = (Instant::now(), commit_of(other).await);
    while commit_of(replica).await < done {
        assert!(begun.elapsed() < PATIENCE, "not caught up with {done}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn call(client: &Client, operation: Operation) -> Answer {
    let outcome = client.call_within(operation.encode().unwrap(), PATIENCE).await;
    let CallOutcome::Done { reply: Some(reply), .. } = outcome else {
        panic!("not done: {outcome:?}");
    };
    Answer::decode(&reply).unwrap()
}

fn put(key: usize) -> Operation {
    Operation::Put { key: Bytes::from(format!("key{key}")), value: Bytes::from(format!("{key}")) }
}

fn get(key: usize) -> Operation {
    Operation::Get { key: Bytes::from(format!("key{key}")) }
}

#[tokio::test]
async fn three_replicas_serve_lose_their_primary_and_take_it_back() {
    let cluster = Cluster::format();
    let mut replicas = Vec::new();
    for replica in 0..3 {
        replicas.push(cluster.start(replica).await);
    }
    let client = cluster.client("web");
    for key in 0..20 {
        assert_eq!(call(&client, put(key)).await, Answer::Ok);
    }
    let first = replicas.remove(0);
    first.shutdown().await.unwrap();
    for key in 20..40 {
        assert_eq!(call(&client, put(key)).await, Answer::Ok);
    }
    replicas.insert(0, cluster.start(0).await);
    for key in 0..40 {
        let value = Bytes::from(format!("{key}"));
        assert_eq!(call(&client, get(key)).await, Answer::Value(Some(value)));
    }
    let mut commits = Vec::new();
    for replica in &replicas {
        commits.push(replica.observer().status().await.unwrap().commit);
    }
    assert!(commits.iter().all(|commit| *commit > 0), "{commits:?}");
    for replica in replicas {
        replica.shutdown().await.unwrap();
    }
}

/// The group goes on without it, also after the others restarted: they wrote down whom they met.
#[tokio::test]
async fn a_replica_whose_store_was_lost_is_not_let_in_with_a_new_one() {
    let cluster = Cluster::format();
    let mut replicas = Vec::new();
    for replica in 0..3 {
        replicas.push(cluster.start(replica).await);
    }
    let met = |replica: &ReplicaHandle| replica.transport().linked().len() == 2;
    common::until("all have met", || replicas.iter().all(met)).await;
    for replica in replicas {
        replica.shutdown().await.unwrap();
    }
    // The tasks of a transport that is closed end, and with the last of them its socket.
    let free = |(_, address): &(ReplicaId, String)| UdpSocket::bind(address).is_ok();
    common::until("the ports are free", || cluster.addresses.iter().all(free)).await;
    cluster.lose_store(2);
    let mut others = [cluster.start(0).await, cluster.start(1).await];
    let newcomer = cluster.start(2).await;
    let client = cluster.client("web");
    for key in 0..20 {
        assert_eq!(call(&client, put(key)).await, Answer::Ok);
    }
    assert_eq!(newcomer.observer().status().await.unwrap().op, 0);
    for other in &mut others {
        assert!(!other.transport().linked().contains(&ReplicaId(2)));
    }
}

/// A copy of the data directory, made before the replica's last start, counts that start with another number. It is
/// refused however often it is started, and the directory that it took the place of is not.
#[tokio::test]
async fn a_replica_on_an_earlier_copy_of_its_store_is_not_let_in() {
    let cluster = Cluster::format();
    let mut others = [cluster.start(0).await, cluster.start(1).await];
    let client = cluster.client("web");
    let mut last = cluster.start(2).await;
    assert_eq!(call(&client, put(0)).await, Answer::Ok);
    caught_up(&last, &others[0]).await;
    cluster.stop(last, 2).await;
    copy_folder(&cluster.data(2), &cluster.folder("copy"));
    last = cluster.start(2).await;
    // Each of the others in turn can do nothing without replica 2, and so has heard it.
    for away in [1, 0] {
        let [first, second] = others;
        let (stays, leaves) = if away == 1 { (first, second) } else { (second, first) };
        cluster.stop(leaves, away).await;
        assert_eq!(call(&client, put(away)).await, Answer::Ok);
        let back = cluster.start(away as u32).await;
        others = if away == 1 { [stays, back] } else { [back, stays] };
    }
    let copied = commit_of(&last).await;
    cluster.stop(last, 2).await;
    rename(cluster.data(2), cluster.folder("later")).unwrap();
    rename(cluster.folder("copy"), cluster.data(2)).unwrap();
    for _ in 0..3 {
        let copy = cluster.start(2).await;
        for key in 2..12 {
            assert_eq!(call(&client, put(key)).await, Answer::Ok);
        }
        assert!(commit_of(&copy).await < copied);
        for other in &others {
            assert!(!other.transport().linked().contains(&ReplicaId(2)));
        }
        cluster.stop(copy, 2).await;
    }
    rename(cluster.data(2), cluster.folder("copy")).unwrap();
    rename(cluster.folder("later"), cluster.data(2)).unwrap();
    last = cluster.start(2).await;
    caught_up(&last, &others[0]).await;
}

#[tokio::test]
async fn a_replica_does_not_start_with_the_wrong_certificate_or_on_a_directory_in_use() {
    let cluster = Cluster::format();
    let mut wrong = ServeConfig::new(cluster.certificates.folder_of("data0"));
    wrong.tls = Some(cluster.certificates.folder_of("data1").join(TLS_FOLDER));
    let refused = serve(wrong, KeyValue::new()).await.unwrap_err();
    assert!(matches!(refused, ServeError::Certificate(_)), "{refused}");

    let running = cluster.start(0).await;
    let again = ServeConfig::new(cluster.certificates.folder_of("data0"));
    let refused = serve(again, KeyValue::new()).await.unwrap_err();
    assert!(matches!(refused, ServeError::Disk(_)), "{refused}");
    running.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_taken_port_is_told_as_such() {
    let cluster = Cluster::format();
    let _running = cluster.start(0).await;
    let mut same_port = ServeConfig::new(cluster.certificates.folder_of("data1"));
    same_port.listen = Some(cluster.addresses[0].1.clone());
    let refused = serve(same_port, KeyValue::new()).await.unwrap_err().to_string();
    assert!(refused.contains("another process has this port"), "{refused}");
}
