//! `vsr dev`: a secure cluster on this machine and a shell to it, in one command.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::Duration;

use super::shell::Shell;
use crate::cli::DevArgs;
use crate::cluster::Cluster;
use crate::error::{Failure, Outcome};
use crate::output::say;
use crate::remote::Remote;
use crate::signals::Signals;

/// The first port that a new cluster tries unless told otherwise.
const BASE_PORT: u16 = 8771;

/// How long the cluster may take until a put would be answered: replaying a full log takes seconds.
pub(crate) const READY_PATIENCE: Duration = Duration::from_secs(60);

/// How long a command of the shell may take.
const CALL_PATIENCE: Duration = Duration::from_secs(5);

/// How often it is looked whether a replica has died.
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(crate) async fn run(args: &DevArgs) -> Outcome {
    let mut signals = Signals::watch()?;
    let temporary = args.ephemeral.then(tempfile::tempdir).transpose();
    let temporary = temporary.map_err(|error| {
        Failure::usage(format!("cannot make a temporary folder: {error}"), "name one with --dir")
    })?;
    let folder: PathBuf =
        temporary.as_ref().map_or_else(|| args.dir.clone(), |folder| folder.path().join("vsr"));
    let base_port = args.base_port.unwrap_or(BASE_PORT);
    let mut cluster = Cluster::open(&folder, args.replicas, base_port, &args.new.constants()?)?;
    if args.base_port.is_some() && !cluster.is_fresh() {
        say("a cluster keeps its addresses: --base-port is for a new one");
    }
    if args.new.is_given() && !cluster.is_fresh() {
        return Err(Failure::usage(
            format!(
                "the cluster in {} is there, and keeps what it was made with",
                folder.display()
            ),
            "leave --durability and --checkpoint-every out, or choose another --dir",
        ));
    }
    cluster.start_all()?;
    introduce(&cluster, args.ephemeral);
    let ended = tokio::select! {
        ended = converse(&mut cluster) => ended,
        () = signals.stop() => Ok(()),
    };
    cluster.stop_all();
    ended
}

async fn converse(cluster: &mut Cluster) -> Outcome {
    cluster.listening(READY_PATIENCE).await?;
    let remote = Remote::connect(cluster.context(), 1, CALL_PATIENCE)?;
    wait_ready(cluster, &remote).await?;
    say("ready");
    if io::stdin().is_terminal() {
        say("type `help` for what the shell understands, Ctrl-D to stop the cluster");
    }
    let folder = cluster.folder().to_owned();
    let shell = Shell { remote: &remote, folder: Some(&folder) };
    tokio::select! {
        ended = shell.run() => ended,
        () = mourn(cluster) => Ok(()),
    }
}

/// Waits until a put would be answered.
///
/// # Errors
/// A replica died, or it takes too long.
pub(crate) async fn wait_ready(cluster: &mut Cluster, remote: &Remote) -> Outcome {
    let died = async {
        loop {
            if let Some(death) = cluster.deaths().into_iter().next() {
                return death;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::select! {
        ready = remote.wait_ready(READY_PATIENCE) => ready,
        death = died => Err(death.into_failure()),
    }
}

/// Says of each replica that dies how to start it again. Ends never.
async fn mourn(cluster: &mut Cluster) {
    loop {
        for death in cluster.deaths() {
            say(&format!(
                "replica {} (pid {}) ended: {}; the others go on without it. Start it again with:\n  {}",
                death.id,
                death.pid,
                death.how(),
                death.restart
            ));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn introduce(cluster: &Cluster, ephemeral: bool) {
    let kind = match (ephemeral, cluster.is_fresh()) {
        (true, _) => "new, removed at the end",
        (false, true) => "new",
        (false, false) => "found there",
    };
    let (id, folder) = (cluster.context().cluster, cluster.folder().display());
    say(&format!("cluster {id} in {folder} ({kind})"));
    for replica in cluster.replicas() {
        let pid = replica.pid().map_or_else(String::new, |pid| format!("pid {pid}"));
        say(&format!(
            "  replica {}  {}/udp  {pid}  {}",
            replica.id,
            replica.address,
            replica.data.display()
        ));
    }
    say(&format!("  clients: --context {}", cluster.client_file().display()));
}
