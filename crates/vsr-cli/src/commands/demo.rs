//! `vsr demo`: the tour. Each step says what happens and why it matters, and checks it: the exit
//! status is 0 only if every check held.

mod ledger;
mod tour;

use std::path::Path;
use std::time::Duration;

use vsr_core::Constants;

use self::tour::Tour;
use crate::cli::DemoArgs;
use crate::cluster::Cluster;
use crate::error::{Failure, Outcome};
use crate::output::{Paint, print_line};
use crate::signals::Signals;
use crate::units::show;

/// How many replicas the tour has.
const REPLICAS: u32 = 3;

/// How long the tour may take: it says so itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// The first port that is tried, away from that of `vsr dev`, so that both fit on one machine.
const BASE_PORT: u16 = 8871;

pub(crate) async fn run(args: &DemoArgs) -> Outcome {
    let mut signals = Signals::watch()?;
    let folder = tempfile::Builder::new().prefix("vsr-demo-").tempdir().map_err(|error| {
        Failure::usage(format!("cannot make a temporary folder: {error}"), "set TMPDIR")
    })?;
    let folder_of_cluster = folder.path().join("vsr");
    let constants = &Constants::DEFAULT;
    let mut cluster = Cluster::open(&folder_of_cluster, Some(REPLICAS), BASE_PORT, constants)?;
    let tour = async { Tour::begin(&mut cluster).await?.run().await };
    let ended = tokio::select! {
        ended = tour => ended,
        () = tokio::time::sleep(PATIENCE) => Err(Failure::refused(
            format!("the tour is not at its end after {}", show(PATIENCE)),
            "run it again when this machine is less busy",
        )),
        () = signals.stop() => return Err(Failure::refused("the tour was interrupted", "run it again")),
    };
    if let Err(failure) = ended {
        cluster.stop_all();
        // What the replicas said and what is on their disks tells what went wrong.
        return Err(failed(&failure, &folder.keep()));
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
fn failed(failure: &Failure, folder: &Path) -> Failure {
    let message = format!("{} {}", Paint::for_stdout().bad("FAILED:"), failure.message);
    let kept = format!("all of it is kept in {}, its logs are vsr/r*.log", folder.display());
    let hint = match failure.hint.as_str() {
        "" => kept,
        hint => format!("{hint}; {kept}"),
    };
    Failure::refused(message, hint)
}
