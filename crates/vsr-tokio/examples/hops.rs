//! What the driver costs by itself: three replicas and some clients on one thread, over a network
//! and a store in memory, with the protocol, the wire encoding and the storage threads of a real
//! cluster. Prints operations per second, latencies and how many operations shared a sync.
//!
//! `cargo run --release -p vsr-tokio --features memory --example hops -- [CLIENTS] [SECONDS] [SYNC_US]`

use std::error::Error;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinSet;
use vsr_core::{
    Checksum, ClusterId, Config, Configuration, Constants, Context, ReplicaId, Service, Timing,
};
use vsr_tokio::memory::{MemoryDisk, Network};
use vsr_tokio::transport::inbox;
use vsr_tokio::{CallOutcome, Client, ClientConfig, NodeHandle, Setup, TRANSFER_RATE, serve};

const CLUSTER: ClusterId = ClusterId(1);
const REPLICAS: usize = 3;

/// What a put of the key-value service carries.
const OPERATION_BYTES: usize = 300;

/// Counts operations, and answers with nothing.
struct Counter(u64);

impl Service<Bytes> for Counter {
    fn apply(&mut self, _: Context<'_, Bytes>, _: &Bytes) -> Bytes {
        self.0 += 1;
        Bytes::new()
    }

    fn digest(&self) -> Checksum {
        Checksum(u128::from(self.0))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>());
    let clients = arguments.next().transpose()?.unwrap_or(64) as usize;
    let seconds = arguments.next().transpose()?.unwrap_or(5);
    let sync_takes = Duration::from_micros(arguments.next().transpose()?.unwrap_or(0));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(clients, Duration::from_secs(seconds), sync_takes))
}

async fn measure(
    clients: usize,
    duration: Duration,
    sync_takes: Duration,
) -> Result<(), Box<dyn Error>> {
    let network = Network::new();
    let nodes = (0..REPLICAS as u32)
        .map(|replica| start(ReplicaId(replica), &network, sync_takes))
        .collect::<Result<Vec<_>, _>>()?;
    let replicas: Vec<_> = (0..REPLICAS as u32).map(ReplicaId).collect();
    let (transport, answers) = network.connect(Network::somebody(), &replicas);
    let config = ClientConfig {
        cluster: CLUSTER,
        replicas,
        sessions: clients,
        window: 1,
        request_bytes: Constants::DEFAULT.request_bytes,
        timing: Timing::DEFAULT,
    };
    let client = Client::new(config, transport, answers)?;

    let end = Instant::now() + duration;
    let mut calls = JoinSet::new();
    for _ in 0..clients {
        let client = client.clone();
        calls.spawn(async move { call_until(&client, end).await });
    }
    let mut latencies: Vec<_> = calls.join_all().await.into_iter().flatten().collect();
    latencies.sort_unstable();
    let status = nodes[0].status().await?;
    let done = latencies.len();
    let at = |percent: usize| latencies.get(done * percent / 100).copied().unwrap_or_default();
    println!(
        "{clients} clients: {:.0} ops/s, p50 {:?}, p99 {:?}, {:.1} ops an entry, {:.1} a sync",
        done as f64 / duration.as_secs_f64(),
        at(50),
        at(99),
        done as f64 / status.op.max(1) as f64,
        done as f64 / status.syncs.max(1) as f64,
    );
    for node in nodes {
        node.shutdown().await?;
    }
    Ok(())
}

async fn call_until(client: &Client, end: Instant) -> Vec<Duration> {
    let operation = Bytes::from(vec![b'x'; OPERATION_BYTES]);
    let mut latencies = Vec::new();
    while Instant::now() < end {
        let began = Instant::now();
        let outcome = client.call_within(operation.clone(), Duration::from_secs(5)).await;
        if matches!(outcome, CallOutcome::Done { .. }) {
            latencies.push(began.elapsed());
        }
    }
    latencies
}

fn start(
    me: ReplicaId,
    network: &Network,
    sync_takes: Duration,
) -> Result<NodeHandle, Box<dyn Error>> {
    let configuration = Configuration::of_replicas(REPLICAS)?;
    let config = Config::new(CLUSTER, me, configuration, Constants::DEFAULT)?;
    let (store, stored) = MemoryDisk::new(CLUSTER, sync_takes).open();
    let (inbox, inlet) = inbox();
    let transport = network.join(me, inbox);
    let setup = Setup {
        config,
        store,
        stored,
        timing: Timing::DEFAULT,
        address: format!("memory:{me}"),
        transfer_rate: TRANSFER_RATE,
        scrub_rate: vsr_tokio::SCRUB_RATE,
        trace: None,
    };
    Ok(serve(setup, Counter(0), transport, inlet)?)
}
