//! What a group bears: replicas, clients, lost messages and crashes by flags, first on the real driver in
//! real time, then in the simulator, where minutes pass in a moment. You will see how many calls were
//! answered, and that nothing was executed twice, lost, or differs between replicas.
//! Try `cargo run --release --example simulation -- --replicas 5 --drop 20 --crashes 6`.
use bytes::Bytes;
use clap::Parser;
use std::{error::Error, process::ExitCode, time::Duration};
use tokio::time::{Instant, sleep};
use vsr_core::{Checksum, ClusterId, Config, Configuration, Constants, Context};
use vsr_core::{ReplicaId, Service, Timing};
use vsr_sim::simulate::{Given, Options, run_seeds};
use vsr_tokio::memory::{MemoryDisk, Network};
use vsr_tokio::{CallOutcome, Client, ClientConfig, NodeHandle, Setup, serve, transport::inbox};

const CLUSTER: ClusterId = ClusterId(1);

#[derive(Parser)]
struct Flags {
    /// Replicas, 1 to 7.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=7))]
    replicas: u32,
    /// Clients, each with one call at a time.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    clients: u32,
    /// Messages lost, of a hundred.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=50))]
    drop: u64,
    /// How often a replica crashes on the real driver, one after the other; none: no crashes anywhere.
    #[arg(long, default_value_t = 3)]
    crashes: u32,
    /// Simulated clusters.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
}

struct Counter(u64);
impl Service<Bytes> for Counter {
    fn apply(&mut self, _: Context<'_, Bytes>, _: &Bytes) -> Bytes {
        self.0 += 1;
        self.0.to_string().into()
    }
    fn digest(&self) -> Checksum {
        Checksum(self.0.into())
    }
}

/// Has one client count until `end`; how many calls were executed, and of how many that is not known.
async fn count(client: Client, end: Instant) -> (u64, u64) {
    let (mut done, mut unknown) = (0, 0);
    while Instant::now() < end {
        match client.call_within(Bytes::new(), Duration::from_secs(10)).await {
            CallOutcome::Done { .. } => done += 1,
            CallOutcome::NotDone(_) => {}
            CallOutcome::Unknown => unknown += 1,
        }
    }
    (done, unknown)
}

/// The real driver: clients count while replicas crash in turn; then all replicas must agree.
async fn drive(flags: &Flags) -> Result<(), Box<dyn Error>> {
    let (network, timing) = (Network::new(), Timing::DEFAULT);
    let replicas: Vec<_> = (0..flags.replicas).map(ReplicaId).collect();
    let disk = |_: &ReplicaId| MemoryDisk::new(CLUSTER, Duration::from_micros(100));
    let disks: Vec<_> = replicas.iter().map(disk).collect();
    let start = |index: usize| -> Result<NodeHandle, Box<dyn Error>> {
        let (id, group) = (replicas[index], Configuration::of_replicas(replicas.len())?);
        let config = Config::new(CLUSTER, id, group, Constants::DEFAULT)?;
        let (store, stored) = disks[index].open();
        let (inbox, inlet) = inbox();
        let setup = Setup::new(config, store, stored);
        Ok(serve(setup, Counter(0), network.join(id, inbox), inlet)?)
    };
    let mut nodes = (0..replicas.len()).map(start).collect::<Result<Vec<_>, _>>()?;
    network.lose_one_in(100_u64.checked_div(flags.drop).unwrap_or(0));

    let sessions = flags.clients as usize;
    let (transport, answers) = network.connect(Network::somebody(), &replicas);
    let (cluster, replicas) = (CLUSTER, replicas.clone());
    let config =
        ClientConfig { cluster, replicas, sessions, window: 1, request_bytes: 1024, timing };
    let client = Client::new(config, transport, answers)?;
    let end = Instant::now() + Duration::from_secs(1 + u64::from(flags.crashes));
    let calls: Vec<_> = (0..sessions).map(|_| tokio::spawn(count(client.clone(), end))).collect();
    for crash in 0..flags.crashes as usize {
        sleep(Duration::from_millis(500)).await;
        let index = crash % nodes.len();
        nodes.remove(index).kill().await;
        sleep(Duration::from_millis(300)).await;
        nodes.insert(index, start(index)?);
    }
    let (mut done, mut unknown) = (0, 0);
    for call in calls {
        let (executed, open) = call.await?;
        (done, unknown) = (done + executed, unknown + open);
    }

    network.heal();
    let deadline = Instant::now() + Duration::from_secs(20);
    let counted = loop {
        let mut counts = Vec::new();
        for node in &nodes {
            counts.push(u64::from_str_radix(&node.status().await?.digest.hash, 16)?);
        }
        if counts[0] >= done && counts.iter().all(|count| *count == counts[0]) {
            break counts[0];
        }
        if Instant::now() > deadline {
            return Err(format!("{done} calls answered, but replicas counted to {counts:?}").into());
        }
        sleep(Duration::from_millis(50)).await;
    };
    if counted > done + unknown {
        return Err(format!("{counted} executed, of {done} answered and {unknown} open").into());
    }
    println!("driver: {done} calls answered, {unknown} unknown, all replicas counted to {counted}");
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let flags = Flags::parse();
    drive(&flags).await?;
    let given = Given {
        replicas: Some(flags.replicas),
        clients: Some(flags.clients),
        loss_percent: Some(flags.drop),
        crashes: Some(flags.crashes > 0),
    };
    let options = Options { given, ..Options::DEFAULT };
    let summary = run_seeds(0..flags.seeds, &options, 2, &|_| {});
    print!("simulator: {}", summary.text());
    Ok(if summary.is_passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
