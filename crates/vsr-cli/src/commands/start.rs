//! `vsr start`: one replica, in this process, until it is told to stop.
//!
//! 1. The data directory is locked and opened: it says who the replica is and who its peers are.
//! 2. Its certificate must be that replica's.
//! 3. The network listens, the node recovers what the store holds, and `ready` is said.
//! 4. SIGTERM or Ctrl-C: a primary hands its role on, what was to be written is synced, and the
//!    process exits with 0. So it does, without handing anything on, when whoever started the whole
//!    group for itself ends.

use std::io::{self, BufRead};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use vsr_kv::KeyValue;
use vsr_quic::certificates::{Credentials, REPLICA_STEM};
use vsr_quic::{ReplicaHandle, ServeConfig, ServeError, StartError, TLS_FOLDER, serve};
use vsr_storage::{DiskError, OpenError};
use vsr_tokio::NodeError;

use crate::admin;
use crate::cli::{StartArgs, TransportKind};
use crate::error::{self, Failure, Outcome, Status};
use crate::output::say;
use crate::signals::Signals;

/// How the line begins that says that the replica serves.
pub(crate) const READY: &str = "ready:";

/// How long the directory and the port may be held by a process that is on its way out.
const FREE_PATIENCE: Duration = Duration::from_secs(1);

/// How often they are tried.
const FREE_RETRY: Duration = Duration::from_millis(10);

/// What a process that started a replica for itself writes to its input, so that the replica stays.
pub(crate) const STAY: &str = "stay";

pub(crate) async fn run(args: &StartArgs) -> Outcome {
    refuse_what_comes_later(args)?;
    if !args.dir.is_dir() {
        return Err(Failure::usage(
            format!("there is no directory {}", args.dir.display()),
            "`vsr format` makes a replica's data directory, once",
        ));
    }
    refuse_trace_among_data(args)?;
    let guard = args.until_input_ends.then(watch_input);
    // Taken first, so that a replica that cannot be looked at as wanted does not start.
    let admin = match &args.admin {
        Some(address) => Some(admin::listen(address).await?),
        None => None,
    };
    let config = ServeConfig {
        listen: args.listen.map(|address| address.to_string()),
        transfer_rate: args.transfer_rate as u64,
        scrub_rate: args.scrub_rate as u64,
        checkpoints_kept: usize::from(args.keep_checkpoints),
        trace: args.trace.clone(),
        ..ServeConfig::new(&args.dir)
    };
    // Watched before anybody is told that it is ready, and may want to stop it.
    let signals = Signals::watch()?;
    let replica = serve_when_free(config).await.map_err(|error| refused(args, error))?;
    if let Ok(status) = replica.observer().status().await {
        let (id, cluster, address) = (status.id, &status.cluster, &status.address);
        say(&format!("{READY} replica {id} of cluster {cluster} on {address}"));
        if status.durability == "memory" {
            say(
                "its log is in memory: when it stops, it has that from the others again, if enough of them run",
            );
        }
    }
    if let Some(listener) = admin {
        tokio::spawn(admin::serve(listener, replica.observer()));
    }
    run_until_told(replica, guard, signals).await
}

fn refuse_what_comes_later(args: &StartArgs) -> Outcome {
    let later = [
        (args.transport == TransportKind::Tcp, "`--transport tcp`"),
        (args.config.is_some(), "`--config`"),
    ];
    match later.into_iter().find(|(given, _)| *given) {
        Some((_, what)) => Err(Failure::not_supported(what)),
        None => Ok(()),
    }
}

/// A trace is written over what was in its file, which must be nothing of the store's.
fn refuse_trace_among_data(args: &StartArgs) -> Outcome {
    let Some(trace) = &args.trace else { return Ok(()) };
    let folder = trace.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or_else(|| Path::new("."));
    // Where either is not there, it is not the other.
    let same = match (folder.canonicalize(), args.dir.canonicalize()) {
        (Ok(folder), Ok(dir)) => folder.starts_with(dir),
        (Err(_), _) | (_, Err(_)) => false,
    };
    if same {
        return Err(Failure::usage(
            format!("--trace {} lies in the data directory", trace.display()),
            "name a file elsewhere",
        ));
    }
    Ok(())
}

/// Starts the replica. A process that was just killed may hold the directory and the port for a
/// moment longer, and whoever restarts it should not have to know.
async fn serve_when_free(config: ServeConfig) -> Result<ReplicaHandle, ServeError> {
    let deadline = Instant::now() + FREE_PATIENCE;
    loop {
        match serve(config.clone(), KeyValue::new()).await {
            Err(error) if is_in_use(&error) && Instant::now() < deadline => {
                tokio::time::sleep(FREE_RETRY).await;
            }
            ended => return ended,
        }
    }
}

fn is_in_use(error: &ServeError) -> bool {
    match error {
        ServeError::Disk(DiskError::Locked { .. }) => true,
        ServeError::Network(StartError::Listen { source, .. }) => {
            source.kind() == io::ErrorKind::AddrInUse
        }
        ServeError::Disk(_)
        | ServeError::Network(_)
        | ServeError::Store(_)
        | ServeError::Certificate(_)
        | ServeError::Thread(_)
        | ServeError::Trace { .. } => false,
    }
}

fn refused(args: &StartArgs, error: ServeError) -> Failure {
    let dir = args.dir.display();
    let message = format!("cannot start on {dir}: {error}");
    match error {
        ServeError::Disk(error) => Failure::new(
            Status::of_storage(error.exit_status()),
            message,
            "a data directory is made by `vsr format`, and used by one process at a time",
        ),
        ServeError::Store(OpenError::Empty) => without_store(args, message),
        ServeError::Store(error) => {
            Failure::new(Status::of_storage(error.exit_status()), message, "")
        }
        ServeError::Certificate(error) => error::of_certificate(error),
        ServeError::Network(error) => error::of_start(error),
        ServeError::Thread(_) => Failure::usage(message, "free memory or threads"),
        ServeError::Trace { .. } => Failure::usage(message, "name a file that can be written"),
    }
}

/// An empty directory may be that of a replica which lost its store: its certificate tells whose.
fn without_store(args: &StartArgs, message: String) -> Failure {
    let tls = args.dir.join(TLS_FOLDER);
    let Ok(credentials) = Credentials::load(&tls, REPLICA_STEM) else {
        return Failure::usage(message, "");
    };
    let holder = credentials.name();
    Failure::usage(
        format!("{message}; there is the certificate of {holder}, though"),
        "if that replica was never started, format it. If it was, its store is lost, and with it what it \
         promised: bring the directory back, or leave the replica stopped; the others go on without it, and \
         let no other store in under its number",
    )
}

/// Waits for the end: of the replica by itself, or for somebody to ask for it.
async fn run_until_told(
    mut replica: ReplicaHandle,
    guard: Option<oneshot::Receiver<()>>,
    mut signals: Signals,
) -> Outcome {
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
        stopped = replica.node().stopped() => return stopped.map_err(stopped_itself),
        () = signals.stop() => {}
        // All of the group goes: nobody is there to hand the primary's role to, and what was
        // promised is on the disk.
        () = input_ended => return Ok(()),
    }
    replica.shutdown().await.map_err(stopped_itself)
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
