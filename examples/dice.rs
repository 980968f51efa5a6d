//! Dice replicated three times. Each throw needs the time and random bytes, which no two replicas would compute
//! alike: the primary predicts the time, and its random bytes are mixed with those of a backup, so that neither
//! decides the throw alone. You will see ten throws, and that all replicas have the same state.
use bytes::Bytes;
use std::{error::Error, hash::BuildHasher, time::Duration, time::SystemTime};
use vsr_core::{Checksum, ClusterId, Config, Configuration, Constants, Context, Implausible};
use vsr_core::{Prediction, ReplicaId, Request, Service, Timing};
use vsr_tokio::memory::{MemoryDisk, Network};
use vsr_tokio::{Client, ClientConfig, Setup, serve, transport::inbox};

/// How far ahead of a backup's clock a time may be, in milliseconds.
const AHEAD_MAX: u64 = 1_000;

struct Dice {
    me: ReplicaId,
    /// Time in milliseconds and eyes of each throw.
    throws: Vec<(u64, u64)>,
}

impl Service<Bytes> for Dice {
    fn apply(&mut self, context: Context<'_, Bytes>, _: &Bytes) -> Bytes {
        let Some((time, random)) = context.prediction.and_then(parts) else {
            return "no dice".into();
        };
        // One value for all throws of the entry: each makes its own of it. Time never goes back, whatever
        // a primary's clock says.
        let own = [random, u64::from(context.index)].map(u64::to_le_bytes).concat();
        let eyes = Checksum::of(&own).0 % 6 + 1;
        let last = self.throws.last().map_or(0, |(time, _)| *time);
        self.throws.push((time.max(last), eyes as u64));
        format!("{eyes} eyes").into()
    }
    fn digest(&self) -> Checksum {
        Checksum::of(format!("{:?}", self.throws).as_bytes())
    }
    fn prediction(&self) -> Prediction {
        Prediction::Backups
    }
    fn predict(&mut self, _: &[Request<Bytes>]) -> Option<Bytes> {
        // The seed of a hasher is the handiest dice in std.
        let random = std::hash::RandomState::new().hash_one(self.me);
        Some(value(clock(), random))
    }
    fn combine(&mut self, _: &[Request<Bytes>], values: Vec<(ReplicaId, Bytes)>) -> Option<Bytes> {
        let own = values.iter().find(|(from, _)| *from == self.me)?;
        let (time, _) = parts(&own.1)?;
        let mixed = values.iter().filter_map(|(_, value)| parts(value));
        Some(value(time, mixed.fold(0, |all, (_, random)| all ^ random)))
    }
    fn check(&self, _: &[Request<Bytes>], prediction: &Bytes) -> Result<(), Implausible> {
        match parts(prediction) {
            Some((time, _)) if time <= clock() + AHEAD_MAX => Ok(()),
            Some(_) => Err(Implausible::new("its time is more than a second ahead")),
            None => Err(Implausible::new("it is no time and random number")),
        }
    }
}

fn value(time: u64, random: u64) -> Bytes {
    [time, random].map(u64::to_le_bytes).concat().into()
}

fn parts(value: &Bytes) -> Option<(u64, u64)> {
    let (time, random) = value.split_first_chunk()?;
    Some((u64::from_le_bytes(*time), u64::from_le_bytes(random.try_into().ok()?)))
}

fn clock() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let (cluster, network, timing) = (ClusterId(1), Network::new(), Timing::DEFAULT);
    let replicas = vec![ReplicaId(0), ReplicaId(1), ReplicaId(2)];
    let mut nodes = Vec::new();
    for id in replicas.clone() {
        let group = Configuration::of_replicas(3)?;
        let config = Config::new(cluster, id, group, Constants::DEFAULT)?;
        let (store, stored) = MemoryDisk::new(cluster, Duration::ZERO).open();
        let (inbox, inlet) = inbox();
        let setup = Setup::new(config, store, stored);
        let dice = Dice { me: id, throws: Vec::new() };
        nodes.push(serve(setup, dice, network.join(id, inbox), inlet)?);
    }
    let (transport, answers) = network.connect(Network::somebody(), &replicas);
    let config =
        ClientConfig { cluster, replicas, sessions: 1, window: 1, request_bytes: 1024, timing };
    let client = Client::new(config, transport, answers)?;
    for throw in 1..=10 {
        let outcome = client.call_within(Bytes::new(), Duration::from_secs(5)).await;
        println!("throw {throw}: {outcome:?}");
    }
    // Backups hear by the next heartbeat that the last throw is committed.
    let last = nodes[0].status().await?.applied;
    let mut states = Vec::new();
    for node in &nodes {
        while node.status().await?.applied < last {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let status = node.status().await?;
        println!("replica {}: digest {:?}", status.id, status.digest);
        states.push(status.digest);
    }
    assert!(states.windows(2).all(|pair| pair[0] == pair[1]), "all replicas have one state");
    println!("all replicas have one state");
    Ok(())
}
