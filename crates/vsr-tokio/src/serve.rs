//! Starting a replica, and the handle on one that runs.

use std::panic;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;
use vsr_core::{Config, DiskState, Effects, OpNumber, Replica, Service, Stored, Timing};

use crate::clock::Clock;
use crate::node::{Control, Node, NodeError, Round};
use crate::notes::Notes;
use crate::outgoing::Outgoing;
use crate::routes::Routes;
use crate::send_points::Sent;
use crate::status::Status;
use crate::storage_thread::StorageThread;
use crate::store::{LogStore, StoreError};
use crate::timers::{Alarm, Timers};
use crate::trace::{Trace, TraceSink};
use crate::transport::{Inlet, NodeGone, Transport};

/// Questions to a node that wait at most; more wait to be asked.
const CONTROL_WAITING: usize = 16;

/// What a replica starts from.
pub struct Setup<L> {
    /// Who it is, in which group, under which constants.
    pub config: Config,
    /// Where its log and superblock live.
    pub store: L,
    /// What the store held when it was opened.
    pub stored: Stored<Bytes>,
    /// How long its timers run.
    pub timing: Timing,
    /// Where it is found, for its status.
    pub address: String,
    /// How many bytes a second others are given of checkpoints, at most; [`TRANSFER_RATE`] unless there is a
    /// reason.
    pub transfer_rate: u64,
    /// How many bytes a second are read to find damage on the disk before they are needed; [`SCRUB_RATE`] unless there
    /// is a reason. With 0 none are.
    pub scrub_rate: u64,
    /// Where a line is written for each event of the protocol, if anywhere.
    pub trace: Option<TraceSink>,
}

impl<L> Setup<L> {
    /// A replica with the default timing, named by its number in its status, without a trace.
    pub fn new(config: Config, store: L, stored: Stored<Bytes>) -> Self {
        Self {
            address: config.replica().to_string(),
            config,
            store,
            stored,
            timing: Timing::DEFAULT,
            transfer_rate: TRANSFER_RATE,
            scrub_rate: SCRUB_RATE,
            trace: None,
        }
    }
}

/// How many bytes a second others are given of checkpoints: well below what a disk or a network does, so that
/// requests are served as before.
pub const TRANSFER_RATE: u64 = 64 << 20;

/// How many bytes a second are read to find damage: a tenth of what a slow disk does, and 100 GB in seven hours.
pub const SCRUB_RATE: u64 = 4 << 20;

/// Starts a replica: its storage thread, and its event loop as a task of the current runtime.
///
/// The service is given empty. It is restored from the store's checkpoint, and what was committed since is
/// executed anew from the log. Wants a runtime with time enabled, and is content with one thread.
///
/// # Errors
/// The checkpoint is damaged, or none of this service's; the system refuses another thread.
///
/// # Panics
/// Outside a tokio runtime.
pub fn serve<L, T, S>(
    setup: Setup<L>,
    mut service: S,
    transport: T,
    inlet: Inlet,
) -> std::io::Result<NodeHandle>
where
    L: LogStore,
    T: Transport,
    S: Service<Bytes> + Send + 'static,
{
    let Setup { config, mut store, mut stored, timing, address, .. } = setup;
    let (rates, trace) = ((setup.transfer_rate, setup.scrub_rate), setup.trace);
    let config = config.with_prediction(service.prediction());
    let checkpoint = stored.superblock.checkpoint.op();
    if checkpoint > OpNumber::ZERO {
        let whole = restore(&mut store, &mut service, !stored.is_checkpoint_damaged);
        let whole = whole.map_err(|why| {
            std::io::Error::other(format!(
                "cannot restore the checkpoint at op {checkpoint}: {why}"
            ))
        })?;
        if !whole {
            tracing::warn!(
                replica = %config.replica(),
                op = %checkpoint,
                "the checkpoint is damaged: the service starts without its state, which only other replicas have"
            );
            stored.is_checkpoint_damaged = true;
            stored.sessions.clear();
        }
    }
    #[cfg(feature = "failpoints")]
    crate::send_points::check_what_is_asked();
    let (gone_sender, gone) = oneshot::channel();
    let storage = StorageThread::start(store, rates, gone_sender)?;
    let (control_sender, control) = mpsc::channel(CONTROL_WAITING);
    let me = config.replica();
    let peers = config.configuration().members().iter().map(|member| member.id);
    let outgoing = Outgoing::new(me, peers.filter(|peer| *peer != me));
    let mut effects = Effects::new();
    let now = Instant::now();
    let node = Node {
        replica: Replica::recover(config, stored, &mut effects),
        service,
        transport,
        inlet,
        storage,
        control,
        effects,
        timers: Timers::new(timing),
        clock: Clock::new(),
        trace: trace.map(Trace::start).transpose()?,
        alarm: Alarm::default(),
        routes: Routes::default(),
        outgoing,
        notes: Notes::new(me),
        round: Round::new(now),
        stopping: None,
        address,
        started: now,
        ops: 0,
        transfer_bytes: 0,
        disk: DiskState::Ok,
        room: DiskState::Ok,
        sent: Sent::default(),
    };
    Ok(NodeHandle { control: control_sender, task: tokio::spawn(node.run()), gone })
}

/// Gives the service the state of the checkpoint that the superblock names. False where a part of that is damaged:
/// what the service has then is worth nothing.
fn restore<L: LogStore, S: Service<Bytes>>(
    store: &mut L,
    service: &mut S,
    mut whole: bool,
) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
    let mut failed = None;
    let mut next = 0;
    let mut read = |whole: &mut bool| loop {
        let chunk = store.state_chunk(next);
        next += 1;
        match chunk {
            Ok(chunk) => return chunk,
            Err(StoreError::Damaged) => *whole = false,
            Err(error @ (StoreError::Full | StoreError::Failed(_))) => {
                failed = Some(error);
                return None;
            }
        }
    };
    let mut restored = Ok(());
    if whole {
        let mut chunks = std::iter::from_fn(|| read(&mut whole).filter(|_| whole));
        restored = service.restore(&mut chunks);
    }
    // All that is damaged is to be known.
    while !whole && read(&mut whole).is_some() {}
    match failed {
        Some(error) => Err(error.into()),
        None if whole => Ok(restored.map(|()| true)?),
        None => Ok(false),
    }
}

/// A replica that runs. Dropping the handle has it stop as [`NodeHandle::shutdown`] does, without
/// anybody waiting for it.
#[derive(Debug)]
pub struct NodeHandle {
    control: mpsc::Sender<Control>,
    task: JoinHandle<Result<(), NodeError>>,
    /// Ends when the storage thread has, and the store is closed.
    gone: oneshot::Receiver<()>,
}

/// Asks a replica how it is. Cheap to clone, and does not keep the replica from stopping.
#[derive(Clone, Debug)]
pub struct Observer(mpsc::WeakSender<Control>);

impl Observer {
    /// How the replica is.
    ///
    /// # Errors
    /// [`NodeGone`] once it has stopped.
    pub async fn status(&self) -> Result<Status, NodeGone> {
        ask(&self.0.upgrade().ok_or(NodeGone)?).await
    }
}

impl NodeHandle {
    /// How the replica is.
    ///
    /// # Errors
    /// [`NodeGone`] once it has stopped; [`NodeHandle::stopped`] says why.
    pub async fn status(&self) -> Result<Status, NodeGone> {
        ask(&self.control).await
    }

    /// For asking without the handle.
    #[must_use]
    pub fn observer(&self) -> Observer {
        Observer(self.control.downgrade())
    }

    /// Waits until the replica stops by itself, which it only does when it cannot go on. Loses
    /// nothing when it is dropped before it is ready; must not be called again afterwards.
    ///
    /// # Errors
    /// Why it stopped.
    ///
    /// # Panics
    /// If the service panicked.
    pub async fn stopped(&mut self) -> Result<(), NodeError> {
        let ended = (&mut self.task).await;
        let _ = (&mut self.gone).await;
        outcome(ended)
    }

    /// Stops the replica in good order: a primary hands its role on, for which it waits a few
    /// seconds at most; what was to be written is synced; the store is closed. What a full disk has no
    /// room for is lost, as at a crash: nothing of it was acknowledged.
    ///
    /// # Errors
    /// Why it could not.
    ///
    /// # Panics
    /// If the service panicked.
    pub async fn shutdown(mut self) -> Result<(), NodeError> {
        // A node that is gone already has its reason to tell.
        let _ = self.control.send(Control::Shutdown).await;
        self.stopped().await
    }

    /// Stops the replica as a crash would, but for waiting until the store is closed: for tests.
    pub async fn kill(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
        let _ = self.gone.await;
    }
}

async fn ask(control: &mpsc::Sender<Control>) -> Result<Status, NodeGone> {
    let (answer, answered) = oneshot::channel();
    control.send(Control::Status(answer)).await.map_err(|_| NodeGone)?;
    answered.await.map_err(|_| NodeGone)
}

fn outcome(ended: Result<Result<(), NodeError>, JoinError>) -> Result<(), NodeError> {
    match ended {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(cause) => panic::resume_unwind(cause),
            // Only `kill` aborts the task, and it does not ask why it ended.
            Err(_) => Ok(()),
        },
    }
}
