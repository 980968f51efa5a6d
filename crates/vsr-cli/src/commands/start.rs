//! `vsr start`: one replica, in this process, until it is told to stop.
//!
//! 1. The data directory is locked and opened: it says who the replica is and who its peers are.
//! 2. Its certificate must be that replica's.
//! 3. The network listens, the node recovers what the store holds, and `ready` is said.
//! 4. SIGTERM or Ctrl-C: a primary hands its role on, what was to be written is synced, and the
//!    process exits with 0. So it does, without handing anything on, when whoever started the whole
//!    group for itself ends.

use std::io::{self, BufRead};
use std::thread;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use vsr_core::{Stored, Timing};
use vsr_kv::KeyValue;
use vsr_quic::certificates::Credentials;
use vsr_quic::{QuicConfig, QuicTransport};
use vsr_storage::{FileDisk, Format, Store};
use vsr_tokio::{NodeError, NodeHandle, Setup};
use vsr_wire::{Hello, Speaker, VERSION};

use crate::cli::{StartArgs, TransportKind};
use crate::error::{self, Failure, Outcome, Status};
use crate::output::say;
use crate::replica_store::ReplicaStore;

/// The folder of a data directory that holds the replica's certificates.
pub(crate) const TLS: &str = "tls";

/// How the line begins that says that the replica serves.
pub(crate) const READY: &str = "ready:";

/// What a process that started a replica for itself writes to its input, so that the replica stays.
pub(crate) const STAY: &str = "stay";

pub(crate) async fn run(args: &StartArgs) -> Outcome {
    refuse_what_comes_later(args)?;
    let guard = args.until_input_ends.then(watch_input);
    let (store, format, stored) = open(args)?;
    let me = format.replica.0;
    let credentials =
        Credentials::load_replica(&args.dir.join(TLS), format.cluster, format.replica)
            .map_err(error::of_certificate)?;
    let config = format.config().map_err(|error| damaged(args, &error.to_string()))?;
    let address = own_address(args, &format)?;
    let peers = format.addresses.iter().filter(|(id, _)| *id != format.replica).cloned();
    let (inbox, inlet) = vsr_tokio::transport::inbox();
    let network = QuicConfig {
        listen: address.clone(),
        peers: peers.collect(),
        credentials,
        hello: hello(&format, &stored),
    };
    let network = QuicTransport::start(network, inbox).await.map_err(error::of_start)?;
    let setup = Setup { config, store, stored, timing: Timing::DEFAULT, address: address.clone() };
    let node = vsr_tokio::serve(setup, KeyValue::new(), network.clone(), inlet)
        .map_err(|error| Failure::usage(format!("cannot start a thread: {error}"), "free some"))?;
    say(&format!("{READY} replica {me} of cluster {} on {address}", show_cluster(&format)));
    let outcome = serve(node, guard).await;
    network.close().await;
    outcome
}

fn refuse_what_comes_later(args: &StartArgs) -> Outcome {
    let later = [
        (args.transport == TransportKind::Tcp, "`--transport tcp`"),
        (args.admin.is_some(), "`--admin`"),
        (args.config.is_some(), "`--config`"),
        (args.trace.is_some(), "`--trace`"),
    ];
    match later.into_iter().find(|(given, _)| *given) {
        Some((_, what)) => Err(Failure::not_supported(what)),
        None => Ok(()),
    }
}

fn open(args: &StartArgs) -> Outcome<(ReplicaStore, Format, Stored)> {
    let dir = args.dir.display();
    let refused = |status, error: String, hint: &str| {
        Failure::new(Status::of_storage(status), format!("cannot start on {dir}: {error}"), hint)
    };
    let disk = FileDisk::open(&args.dir).map_err(|error| {
        let hint =
            "a replica's data directory is made by `vsr format` and used by one process at a time";
        refused(error.exit_status(), error.to_string(), hint)
    })?;
    let (store, format, stored) =
        Store::open(disk).map_err(|error| refused(error.exit_status(), error.to_string(), ""))?;
    let report = store.opened();
    if !report.is_clean() {
        tracing::info!(?report, "the store was not closed in good order, and is whole again");
    }
    Ok((ReplicaStore(store), format, stored))
}

fn damaged(args: &StartArgs, error: &str) -> Failure {
    Failure::new(
        Status::Damaged,
        format!("the superblock of {} contradicts itself: {error}", args.dir.display()),
        "keep the directory for analysis, and replace this replica by a new one under a new number",
    )
}

fn own_address(args: &StartArgs, format: &Format) -> Outcome<String> {
    let formatted = format.address(format.replica).map(str::to_owned);
    args.listen.map(|address| address.to_string()).or(formatted).ok_or_else(|| {
        Failure::usage("the replica has no address", "name one: --listen ADDRESS:PORT")
    })
}

fn hello(format: &Format, stored: &Stored) -> Hello {
    // As the core counts this start.
    let incarnation = stored.superblock.incarnation.next();
    Hello {
        version: VERSION,
        cluster: format.cluster,
        speaker: Speaker::Replica { id: format.replica, incarnation },
        replicas: format.configuration.members().len() as u32,
        epoch: format.configuration.epoch(),
        constants: vsr_wire::constants_digest(&format.constants),
        frame_limit: vsr_wire::frame_limit(&format.constants),
    }
}

fn show_cluster(format: &Format) -> uuid::Uuid {
    uuid::Uuid::from_u128(format.cluster.0)
}

/// Waits for the end: of the replica by itself, or for somebody to ask for it.
async fn serve(mut node: NodeHandle, guard: Option<oneshot::Receiver<()>>) -> Outcome {
    let signals = "the runtime is there, and the system has signals";
    let mut terminate = signal(SignalKind::terminate()).expect(signals);
    let mut interrupt = signal(SignalKind::interrupt()).expect(signals);
    let input_ended = async {
        let ended = match guard {
            Some(guard) => guard.await.is_ok(),
            None => false,
        };
        if !ended {
            std::future::pending().await
        }
    };
    tokio::select! {
        stopped = node.stopped() => return stopped.map_err(stopped_itself),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = input_ended => {
            // All of the group goes, as nobody is there to hand the primary's role to.
            node.kill().await;
            return Ok(());
        }
    }
    node.shutdown().await.map_err(stopped_itself)
}

fn stopped_itself(error: NodeError) -> Failure {
    let message = format!("the replica stopped: {error}");
    match error {
        NodeError::Storage(_) => Failure::new(
            Status::Storage,
            message,
            "look at the disk before you start it again; the others go on without it",
        ),
        NodeError::Halted(_) => Failure::new(
            Status::Damaged,
            message,
            "keep the directory for analysis, and do not start it again: `vsr inspect verify` reads it",
        ),
        NodeError::TransportGone => Failure::new(Status::Unavailable, message, "start it again"),
    }
}

/// Answers when standard input ends; never after it said that the replica stays.
fn watch_input() -> oneshot::Receiver<()> {
    let (ended, watched) = oneshot::channel();
    thread::spawn(move || {
        let mut line = String::new();
        loop {
            line.clear();
            match io::stdin().lock().read_line(&mut line) {
                Ok(0) | Err(_) => break,
                Ok(_) if line.trim_end() == STAY => return,
                Ok(_) => {}
            }
        }
        // Nobody listens any more when the replica stopped first.
        let _ = ended.send(());
    });
    watched
}
