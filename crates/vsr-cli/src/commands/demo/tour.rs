//! The steps of the tour.

use std::time::{Duration, Instant};

use super::ledger::{Ledger, WRITERS};
use crate::cluster::{Cluster, Death};
use crate::commands::dev::{READY_PATIENCE, wait_ready};
use crate::commands::status::Report;
use crate::error::{Failure, Outcome};
use crate::output::{Paint, print_line};
use crate::remote::Remote;
use crate::units::show;

/// How long a write or read may take: many view changes, so that only a real failure ends it.
const CALL_PATIENCE: Duration = Duration::from_secs(10);

/// How long a state is waited for.
const STATE_PATIENCE: Duration = Duration::from_secs(15);

/// How long a replica may take to say how it is while a state is waited for: dead ones do not delay
/// the others' answers for long.
const STATUS_PATIENCE: Duration = Duration::from_millis(150);

/// How many writes each step makes.
const WRITES: usize = 200;

/// The longest outage that the tour lets pass for a view change.
const OUTAGE_MAX: Duration = Duration::from_secs(5);

/// The tour of one cluster.
pub(super) struct Tour<'a> {
    cluster: &'a mut Cluster,
    remote: Remote,
    ledger: Ledger,
    paint: Paint,
    step: u32,
    begun: Instant,
}

impl<'a> Tour<'a> {
    /// Starts the cluster.
    pub(super) async fn begin(cluster: &'a mut Cluster) -> Outcome<Self> {
        let paint = Paint::for_stdout();
        let begun = Instant::now();
        cluster.start_all()?;
        cluster.listening(READY_PATIENCE).await?;
        let remote = Remote::connect(cluster.context(), WRITERS, CALL_PATIENCE)?;
        wait_ready(cluster, &remote).await?;
        Ok(Self { cluster, remote, ledger: Ledger::default(), paint, step: 0, begun })
    }

    pub(super) async fn run(&mut self) -> Outcome {
        self.introduce().await?;
        self.write().await?;
        let dead = self.kill_the_primary().await?;
        self.restart(dead).await?;
        self.kill_everything().await?;
        self.compare().await?;
        self.say("")?;
        let all = format!("Every check held, in {}.", show(self.begun.elapsed()));
        self.say(&self.paint.good(&all))?;
        self.say("Next: `vsr dev` starts a cluster to play with, `vsr help` shows the rest.")
    }

    async fn introduce(&mut self) -> Outcome {
        let ready = show(self.begun.elapsed());
        self.head("Start three replicas")?;
        self.tell(
            "Three processes on this machine, each with its own disk, certificate and port.",
        )?;
        let report = self.until("a primary", has_primary).await?;
        for replica in self.cluster.replicas() {
            let role = if report.primary() == Some(replica.id) { "primary" } else { "backup" };
            let pid = replica.pid().map_or_else(String::new, |pid| format!(", process {pid}"));
            self.tell(&format!("replica {}: {role} on {}{pid}", replica.id, replica.address))?;
        }
        self.good(&format!("ready after {ready}; every connection is QUIC, with TLS on both sides"))
    }

    async fn write(&mut self) -> Outcome {
        self.head("Write and read")?;
        let before = self.until("all replicas", answers_all).await?;
        let stretch = self.ledger.write(&self.remote, WRITES, || {}).await?;
        let after = self.until("all replicas", answers_all).await?;
        let syncs = |report: &Report| report.answers().map(|status| status.syncs).collect();
        let (before, after): (Vec<u64>, Vec<u64>) = (syncs(&before), syncs(&after));
        let synced: Vec<u64> =
            before.iter().zip(&after).map(|(b, a)| a.saturating_sub(*b)).collect();
        if synced.iter().filter(|syncs| **syncs > 0).count() <= synced.len() / 2 {
            return Err(Failure::refused(
                format!("fewer than a majority of the disks were synced: {synced:?} times"),
                "",
            ));
        }
        self.tell(&format!(
            "{} writes acknowledged in {}: each is on the disks of two replicas, synced,",
            stretch.writes,
            show(stretch.took)
        ))?;
        self.tell("before it is acknowledged, so that the death of any one loses nothing.")?;
        let counts: Vec<String> = synced.iter().map(u64::to_string).collect();
        self.tell(&format!(
            "Writes that arrive together share a sync: the disks made {}.",
            counts.join(", ")
        ))?;
        self.ledger.check(&self.remote).await?;
        let shown = self.ledger.last().map_or_else(String::new, |(key, value)| {
            format!(" (`get {}` answers `{}`)", key.escape_ascii(), value.escape_ascii())
        });
        self.good(&format!("all {} read back as written{shown}", self.ledger.len()))
    }

    /// Returns whom it killed.
    async fn kill_the_primary(&mut self) -> Outcome<u32> {
        self.head("Kill the primary while clients write")?;
        let before = self.until("a primary", has_primary).await?;
        let (primary, view) = primary_and_view(&before)?;
        let pid = self.pid(primary);
        self.tell(&format!("kill -9 {pid}: replica {primary}, in the middle of {WRITES} writes."))?;
        self.tell(
            "Nobody tells the others: they miss its voice, vote, and move to the next view.",
        )?;
        let cluster = &mut *self.cluster;
        let kill = || cluster.kill(&[primary]);
        let stretch = self.ledger.write(&self.remote, WRITES, kill).await?;
        let new_primary = |report: &Report| report.primary().is_some_and(|p| p != primary);
        let after = self.until("another primary", new_primary).await?;
        let (successor, new_view) = primary_and_view(&after)?;
        if new_view <= view {
            return Err(Failure::refused(format!("still view {new_view}, as before"), ""));
        }
        if stretch.longest_gap > OUTAGE_MAX {
            let gap = show(stretch.longest_gap);
            return Err(Failure::refused(format!("no write was acknowledged for {gap}"), ""));
        }
        self.good(&format!(
            "replica {successor} is primary of view {new_view}; writers waited {} ms at most, none failed",
            stretch.longest_gap.as_millis()
        ))?;
        let stretch = self.ledger.write(&self.remote, WRITES, || {}).await?;
        self.good(&format!(
            "{} more writes acknowledged in {}, with two of three replicas",
            stretch.writes,
            show(stretch.took)
        ))?;
        Ok(primary)
    }

    async fn restart(&mut self, dead: u32) -> Outcome {
        self.head("Restart the dead replica")?;
        let begun = Instant::now();
        self.cluster.start(dead)?;
        self.tell(
            "It reads its own disk, asks for the view it missed, and fetches what it lacks.",
        )?;
        let target = self.furthest().await?;
        let caught_up = |report: &Report| {
            report.answers().any(|status| {
                status.id == dead && status.role == "backup" && status.applied >= target
            })
        };
        let what = format!("replica {dead} to catch up with op {target}");
        self.until(&what, caught_up).await?;
        self.good(&format!(
            "replica {dead} is a backup again and has executed all of the log, {target} entries, after {}",
            show(begun.elapsed())
        ))
    }

    /// Kills all while writers write, and starts them again.
    async fn kill_everything(&mut self) -> Outcome {
        self.head("Kill all three at once while clients write")?;
        let before = self.until("a primary", has_primary).await?;
        let (_, view) = primary_and_view(&before)?;
        if let Some(dead) = self.cluster.replicas().iter().find(|replica| replica.pid().is_none()) {
            return Err(Failure::refused(format!("replica {} is dead already", dead.id), ""));
        }
        let all: Vec<u32> = self.cluster.replicas().iter().map(|replica| replica.id).collect();
        let pids: Vec<String> = all.iter().map(|id| self.pid(*id)).collect();
        self.tell(&format!(
            "kill -9 {}: no process is left, and nothing of their memory.",
            pids.join(" ")
        ))?;
        self.tell("Started again at once, they read their disks and agree on a new view:")?;
        self.tell("a restarted primary never resumes its own.")?;
        let cluster = &mut *self.cluster;
        let mut restarted = Ok(());
        let crash = || {
            cluster.kill(&all);
            restarted = cluster.start_all();
        };
        let written = self.ledger.write(&self.remote, WRITES, crash).await;
        restarted?;
        let stretch = match written {
            Ok(stretch) => stretch,
            Err(failure) => return Err(self.reason(failure)),
        };
        let report = self.until("all three replicas in a working view", is_whole).await?;
        let (primary, new_view) = primary_and_view(&report)?;
        if new_view <= view {
            return Err(Failure::refused(format!("view {new_view} follows on view {view}"), ""));
        }
        self.good(&format!(
            "replica {primary} is primary of view {new_view}; writers waited {} ms at most, none failed",
            stretch.longest_gap.as_millis()
        ))
    }

    async fn compare(&mut self) -> Outcome {
        self.head("Compare")?;
        self.ledger.check(&self.remote).await?;
        self.good(&format!("all {} acknowledged writes are there", self.ledger.len()))?;
        let target = self.furthest().await?;
        let level = |report: &Report| {
            report.answers().filter(|status| status.digest.op >= target).count()
                == report.replicas.len()
                && same(report.answers().map(|status| status.digest.op))
        };
        let what = format!("all replicas at op {target} or later");
        let report = self.until(&what, level).await?;
        let hash = report.answers().next().map_or("", |status| status.digest.hash.as_str());
        if !same(report.answers().map(|status| status.digest.hash.as_str())) {
            let lines = report.lines().join("\n");
            return Err(Failure::refused(format!("the digests differ at one op:\n{lines}"), ""));
        }
        let op = report.answers().next().map_or(0, |status| status.digest.op);
        self.good(&format!("the states of all three are equal at op {op}: digest {hash}"))
    }

    /// Why writes failed: where a replica ended, that is the reason.
    fn reason(&mut self, failure: Failure) -> Failure {
        self.cluster.deaths().into_iter().next().map_or(failure, Death::into_failure)
    }

    /// The last op that any replica knows to be committed.
    async fn furthest(&mut self) -> Outcome<u64> {
        let report = self.until("a primary", has_primary).await?;
        Ok(report.answers().map(|status| status.commit).max().unwrap_or(0))
    }

    /// Asks until the answers are as wanted.
    async fn until(&mut self, what: &str, holds: impl Fn(&Report) -> bool) -> Outcome<Report> {
        let deadline = Instant::now() + STATE_PATIENCE;
        loop {
            // Those that the tour killed are not among them.
            if let Some(death) = self.cluster.deaths().into_iter().next() {
                return Err(death.into_failure());
            }
            let report = Report::ask_within(&self.remote, None, STATUS_PATIENCE).await;
            if holds(&report) {
                return Ok(report);
            }
            if Instant::now() > deadline {
                let lines = report.lines().join("\n");
                let waited = show(STATE_PATIENCE);
                return Err(Failure::refused(
                    format!("waited {waited} in vain for {what}:\n{lines}"),
                    "",
                ));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn pid(&self, id: u32) -> String {
        let replica = self.cluster.replicas().iter().find(|replica| replica.id == id);
        let pid = replica.and_then(crate::cluster::Replica::pid);
        pid.map_or_else(|| "?".to_owned(), |pid| pid.to_string())
    }

    fn head(&mut self, title: &str) -> Outcome {
        self.step += 1;
        self.say("")?;
        self.say(&self.paint.bold(&format!("{}. {title}", self.step)))
    }

    fn tell(&self, line: &str) -> Outcome {
        self.say(&format!("   {}", self.paint.faint(line)))
    }

    fn good(&self, line: &str) -> Outcome {
        self.say(&format!("   {} {line}", self.paint.good("ok")))
    }

    fn say(&self, line: &str) -> Outcome {
        print_line(line.as_bytes())
    }
}

fn has_primary(report: &Report) -> bool {
    report.primary().is_some()
}

/// Whether every replica says how it is.
fn answers_all(report: &Report) -> bool {
    report.answers().count() == report.replicas.len()
}

/// Whether every replica is in a working view.
fn is_whole(report: &Report) -> bool {
    has_primary(report) && answers_all(report) && report.answers().all(|s| s.status == "normal")
}

fn primary_and_view(report: &Report) -> Outcome<(u32, u64)> {
    let primary = report.primary();
    let view = report.answers().find(|status| Some(status.id) == primary).map(|status| status.view);
    primary.zip(view).ok_or_else(|| Failure::refused("no replica is primary", ""))
}

fn same<T: PartialEq>(mut values: impl Iterator<Item = T>) -> bool {
    let first = values.next();
    values.all(|value| Some(value) == first)
}
