//! `vsr demo`: the tour. Each step says what happens and why it matters, and checks it: the exit
//! status is 0 only if every check held.

mod ledger;
mod tour;

use std::io;

use tokio::signal::unix::{SignalKind, signal};

use self::tour::Tour;
use crate::cli::DemoArgs;
use crate::cluster::Cluster;
use crate::error::{Failure, Outcome, Status};
use crate::output::{Paint, print_line};

/// How many replicas the tour has.
const REPLICAS: u32 = 3;

/// The first port that is tried, away from that of `vsr dev`, so that both fit on one machine.
const BASE_PORT: u16 = 8871;

pub(crate) async fn run(args: &DemoArgs) -> Outcome {
    let no_signals = |error: io::Error| Failure::usage(format!("no signals: {error}"), "try again");
    let mut terminate = signal(SignalKind::terminate()).map_err(no_signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signals)?;
    let folder = tempfile::Builder::new().prefix("vsr-demo-").tempdir().map_err(|error| {
        Failure::usage(format!("cannot make a temporary folder: {error}"), "set TMPDIR")
    })?;
    let mut cluster = Cluster::open(&folder.path().join("vsr"), Some(REPLICAS), BASE_PORT)?;
    let tour = async {
        let begun = Tour::begin(&mut cluster).await;
        let done = async { begun?.run().await };
        done.await.map_err(|failure| failed(&failure))
    };
    tokio::select! {
        ended = tour => ended?,
        _ = terminate.recv() => return Err(interrupted()),
        _ = interrupt.recv() => return Err(interrupted()),
    }
    if args.stay {
        stay(&mut cluster)?;
        // The folder is the cluster's from here on.
        let _ = folder.keep();
    }
    Ok(())
}

/// Leaves everything up and says how to use it and how to stop it.
fn stay(cluster: &mut Cluster) -> Outcome {
    let context = cluster.client_file().display().to_string();
    let pids: Vec<String> =
        cluster.replicas().iter().filter_map(|r| r.pid()).map(|pid| pid.to_string()).collect();
    for line in [
        String::new(),
        "The cluster stays up:".to_owned(),
        format!("  vsr shell --context {context}"),
        format!("  vsr status --context {context}"),
        format!("  kill {}     stops it", pids.join(" ")),
        format!("  it is kept in {}", cluster.folder().display()),
    ] {
        print_line(line.as_bytes())?;
    }
    cluster.release();
    Ok(())
}

/// A check that did not hold, whatever made it so.
fn failed(failure: &Failure) -> Failure {
    let message = format!("{} {}", Paint::for_stdout().bad("FAILED:"), failure.message);
    let hint = if failure.hint.is_empty() {
        "run it again with VSR_LOG=debug, and report what it says"
    } else {
        failure.hint.as_str()
    };
    Failure::new(Status::Refused, message, hint)
}

fn interrupted() -> Failure {
    Failure::refused("the tour was interrupted", "run it again")
}
