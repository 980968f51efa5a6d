//! A cluster in one process, and a service that counts.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};
use vsr_core::{
    Checksum, Chunk, ClusterId, Config, Configuration, Constants, Context, OpNumber, ReplicaId,
    RestoreError, Service, Timing,
};

use crate::memory::{MemoryDisk, MemoryStore, Network};
use crate::transport::{Identity, inbox};
use crate::{CallOutcome, Client, ClientConfig, LogStore, NodeHandle, Setup, Status, serve};

pub(super) const CLUSTER: ClusterId = ClusterId(0x5eed);

/// How long anything may take before a test fails.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Counts by name: `+name` raises a count and answers the new value, `?name` answers it.
#[derive(Debug, Default)]
pub(super) struct Counts(BTreeMap<Bytes, u64>);

impl Service<Bytes> for Counts {
    fn apply(&mut self, _: Context<'_, Bytes>, operation: &Bytes) -> Bytes {
        let name = operation.slice(1..);
        let count = match operation[0] {
            b'+' => {
                let count = self.0.entry(name).or_default();
                *count += 1;
                *count
            }
            _ => self.0.get(&name).copied().unwrap_or_default(),
        };
        Bytes::from(count.to_string())
    }

    fn digest(&self) -> Checksum {
        Checksum::of(format!("{:?}", self.0).as_bytes())
    }

    fn is_read_only(&self, operation: &Bytes) -> bool {
        operation.starts_with(b"?")
    }

    fn query(&self, operation: &Bytes) -> Option<Bytes> {
        let name = operation.strip_prefix(b"?")?;
        let count = self.0.get(name).copied().unwrap_or_default();
        Some(Bytes::from(count.to_string()))
    }

    /// A line a count, a chunk a line.
    fn checkpoint(&self) -> Option<Box<dyn Iterator<Item = Chunk<Bytes>> + Send>> {
        let line = |(name, count): (&Bytes, &u64)| [name, format!(" {count}").as_bytes()].concat();
        let lines: Vec<Vec<u8>> = self.0.iter().map(line).collect();
        Some(Box::new(lines.into_iter().map(|line| Chunk::Bytes(line.into()))))
    }

    fn restore(&mut self, chunks: &mut dyn Iterator<Item = Bytes>) -> Result<(), RestoreError> {
        let count = |line: Bytes| {
            let space = line.iter().rposition(|byte| *byte == b' ')?;
            let count = std::str::from_utf8(&line[space + 1..]).ok()?.parse().ok()?;
            Some((line.slice(..space), count))
        };
        let counts: Option<BTreeMap<Bytes, u64>> = chunks.map(count).collect();
        self.0 = counts.ok_or(RestoreError::new("a line is no count"))?;
        Ok(())
    }
}

/// What a replica's store lies on.
pub(super) trait TestDisk: Clone {
    type Store: LogStore;

    fn setup(&self, replica: ReplicaId, replicas: usize) -> Setup<Self::Store>;
}

impl TestDisk for MemoryDisk {
    type Store = MemoryStore;

    fn setup(&self, me: ReplicaId, replicas: usize) -> Setup<MemoryStore> {
        let configuration = Configuration::of_replicas(replicas).unwrap();
        let config = Config::new(CLUSTER, me, configuration, Constants::DEFAULT).unwrap();
        let (store, stored) = self.open();
        Setup { address: format!("memory:{me}"), ..Setup::new(config, store, stored) }
    }
}

pub(super) struct Cluster<D = MemoryDisk> {
    pub(super) network: Network,
    pub(super) disks: Vec<D>,
    pub(super) nodes: Vec<Option<NodeHandle>>,
    timing: Timing,
}

impl Cluster {
    pub(super) fn start(replicas: usize) -> Self {
        Self::start_with(replicas, Timing::DEFAULT)
    }

    pub(super) fn start_with(replicas: usize, timing: Timing) -> Self {
        let disk = |_| MemoryDisk::new(CLUSTER, Duration::ZERO);
        Self::start_all((0..replicas).map(disk).collect(), timing)
    }
}

impl<D: TestDisk> Cluster<D> {
    pub(super) fn start_on(disks: Vec<D>) -> Self {
        Self::start_all(disks, Timing::DEFAULT)
    }

    /// Nodes with these disks, none of them started.
    pub(super) fn unstarted(disks: Vec<D>) -> Self {
        let nodes = disks.iter().map(|_| None).collect();
        Self { network: Network::new(), disks, nodes, timing: Timing::DEFAULT }
    }

    fn start_all(disks: Vec<D>, timing: Timing) -> Self {
        let mut this = Self { timing, ..Self::unstarted(disks) };
        for replica in 0..this.disks.len() {
            this.start_node(replica);
        }
        this
    }

    pub(super) fn start_node(&mut self, replica: usize) {
        let me = ReplicaId(replica as u32);
        let (inbox, inlet) = inbox();
        let transport = self.network.join(me, inbox);
        let mut setup = self.disks[replica].setup(me, self.disks.len());
        setup.timing = self.timing;
        self.nodes[replica] = Some(serve(setup, Counts::default(), transport, inlet).unwrap());
    }

    pub(super) async fn kill(&mut self, replica: usize) {
        self.nodes[replica].take().unwrap().kill().await;
    }

    pub(super) fn node(&self, replica: usize) -> &NodeHandle {
        self.nodes[replica].as_ref().unwrap()
    }

    pub(super) fn ids(&self) -> Vec<ReplicaId> {
        (0..self.disks.len() as u32).map(ReplicaId).collect()
    }

    pub(super) fn client(&self, sessions: usize) -> Client {
        self.client_of(Network::somebody(), sessions)
    }

    pub(super) fn client_of(&self, identity: Identity, sessions: usize) -> Client {
        self.client_with(identity, sessions, 1)
    }

    pub(super) fn client_with(&self, identity: Identity, sessions: usize, window: u32) -> Client {
        let (transport, answers) = self.network.connect(identity, &self.ids());
        let config = ClientConfig {
            cluster: CLUSTER,
            replicas: self.ids(),
            sessions,
            window,
            request_bytes: Constants::DEFAULT.request_bytes,
            timing: Timing::DEFAULT,
        };
        Client::new(config, transport, answers).unwrap()
    }

    /// Statuses of the nodes that run.
    pub(super) async fn statuses(&self) -> Vec<Status> {
        let mut statuses = Vec::new();
        for node in self.nodes.iter().flatten() {
            if let Ok(status) = node.status().await {
                statuses.push(status);
            }
        }
        statuses
    }

    /// Waits until one of the nodes is a primary that takes requests.
    pub(super) async fn primary(&self) -> usize {
        let primary = || async {
            let statuses = self.statuses().await;
            statuses.iter().find(|status| status.ready).map(|status| status.id as usize)
        };
        eventually("a primary", primary).await
    }

    /// Waits until all nodes have executed the same ops, at least up to `op`, and have equal states.
    pub(super) async fn agreement(&self, op: OpNumber) {
        eventually("agreement", || async {
            let statuses = self.statuses().await;
            let first = statuses[0].digest.clone();
            let agree = statuses.iter().all(|status| status.digest == first);
            (agree && first.op >= op.0).then_some(())
        })
        .await;
    }
}

/// Waits for a condition, and fails when it takes too long.
pub(super) async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut condition: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(Instant::now() < deadline, "waited too long for {what}");
        sleep(Duration::from_millis(2)).await;
    }
}

/// Calls, and expects a reply.
pub(super) async fn done(client: &Client, operation: &str) -> (OpNumber, String) {
    let outcome = call(client, operation).await;
    let CallOutcome::Done { op, reply: Some(reply) } = outcome else {
        panic!("{operation}: {outcome:?}")
    };
    (op, String::from_utf8(reply.to_vec()).unwrap())
}

pub(super) async fn call(client: &Client, operation: &str) -> CallOutcome {
    client.call_within(Bytes::copy_from_slice(operation.as_bytes()), PATIENCE).await
}
