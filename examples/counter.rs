//! A counter replicated three times on tokio, in one process. You will see it count to 10.
use bytes::Bytes;
use std::{error::Error, time::Duration};
use vsr_core::{Checksum, ClusterId, Config, Configuration, Constants, Context};
use vsr_core::{ReplicaId, Service, Timing};
use vsr_tokio::memory::{MemoryDisk, Network};
use vsr_tokio::{Client, ClientConfig, Setup, serve, transport::inbox};

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
        nodes.push(serve(setup, Counter(0), network.join(id, inbox), inlet)?);
    }
    let (transport, answers) = network.connect(Network::somebody(), &replicas);
    let config =
        ClientConfig { cluster, replicas, sessions: 1, window: 1, request_bytes: 1024, timing };
    let client = Client::new(config, transport, answers)?;
    for _ in 0..10 {
        println!("{:?}", client.call_within(Bytes::new(), Duration::from_secs(5)).await);
    }
    Ok(())
}
