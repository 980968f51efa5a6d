//! `vsr status`: every replica is asked; those that do not answer are shown with what to do.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};
use tokio::task::JoinSet;
use uuid::Uuid;
use vsr_tokio::Status;

use super::kv::connect;
use crate::cli::StatusArgs;
use crate::context::DEFAULT_PATH;
use crate::error::{self, Failure, Outcome};
use crate::output::{Format, Table, print_json, print_line};
use crate::remote::Remote;

/// How often `--watch` asks.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// From here on the log's fill is shown: there is still time to copy what the store holds.
const LOG_PERCENT_SHOWN: u8 = 80;

/// How long an answer is waited for at most: a replica that needs longer is not well.
const PATIENCE_MAX: Duration = Duration::from_secs(1);

pub(crate) async fn run(args: StatusArgs) -> Outcome {
    let remote = connect(&args.client)?;
    let named = args.client.context.as_deref();
    let folder = named.unwrap_or_else(|| Path::new(DEFAULT_PATH)).parent();
    loop {
        let report = Report::ask(&remote, folder).await;
        match args.output {
            Format::Json => print_json(&report.to_json())?,
            Format::Table => {
                if args.watch {
                    // Home, and clear to the end: the table is drawn over the one before.
                    print_line(b"\x1b[H\x1b[2J")?;
                }
                for line in report.lines() {
                    print_line(line.as_bytes())?;
                }
            }
        }
        if !args.watch {
            return report.outcome(&remote);
        }
        tokio::time::sleep(WATCH_EVERY).await;
    }
}

/// How a cluster is.
#[derive(Debug)]
pub(crate) struct Report {
    cluster: Uuid,
    pub(crate) replicas: Vec<Seen>,
}

/// A replica as its client's file names it, and what it said of itself.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) id: u32,
    pub(crate) address: String,
    pub(crate) status: Option<Status>,
    /// What starts it, if it is one of a `vsr dev`.
    start: Option<String>,
}

impl Report {
    /// Asks every replica at once. `folder` is where a `vsr dev` would keep them.
    pub(crate) async fn ask(remote: &Remote, folder: Option<&Path>) -> Self {
        Self::ask_within(remote, folder, remote.patience().min(PATIENCE_MAX)).await
    }

    /// [`Report::ask`], waiting this long for the answers.
    pub(crate) async fn ask_within(
        remote: &Remote,
        folder: Option<&Path>,
        patience: Duration,
    ) -> Self {
        let mut questions = JoinSet::new();
        for (id, address) in remote.replicas() {
            let (remote, id, address) = (remote.clone(), *id, address.clone());
            let dir = folder.map(|folder| folder.join(format!("r{id}"))).filter(|dir| dir.is_dir());
            let start = dir.map(|dir| format!("vsr start --dir {}", dir.display()));
            questions.spawn(async move {
                let status = remote.status_of(id, patience).await;
                Seen { id, address, status, start }
            });
        }
        let mut replicas = questions.join_all().await;
        replicas.sort_by_key(|seen| seen.id);
        Self { cluster: remote.cluster(), replicas }
    }

    /// The replica that is primary, as far as those that answer know: that of the latest view.
    pub(crate) fn primary(&self) -> Option<u32> {
        self.answers()
            .filter(|status| status.role == "primary" && status.ready)
            .max_by_key(|status| status.view)
            .map(|status| status.id)
    }

    pub(crate) fn answers(&self) -> impl Iterator<Item = &Status> {
        self.replicas.iter().filter_map(|seen| seen.status.as_ref())
    }

    fn to_json(&self) -> Document {
        let cluster = self.cluster.to_string();
        let replicas = self.replicas.iter().map(Seen::to_json).collect();
        Document { cluster, primary: self.primary(), replicas }
    }

    /// A line a replica, and what else there is to say.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut table = Table::new(&[
            "id",
            "address",
            "role",
            "status",
            "view",
            "op",
            "commit",
            "lag",
            "checkpoint",
            "durability",
            "faults",
            "pid",
            "next step",
        ]);
        let furthest = self.answers().map(|status| status.commit).max().unwrap_or(0);
        for seen in &self.replicas {
            table.row(seen.cells(furthest));
        }
        let mut lines: Vec<String> = table.lines().collect();
        if self.primary().is_none() {
            lines.push(
                "no primary: writes wait until a majority of the replicas answers".to_owned(),
            );
        }
        lines.extend(self.digests());
        lines
    }

    /// What the digests say: replicas at the same op must have the same one.
    fn digests(&self) -> Option<String> {
        let known = self.answers().map(|status| (status.digest.op, &status.digest.hash));
        let mut digests: Vec<_> = known.filter(|(_, hash)| !hash.is_empty()).collect();
        digests.sort();
        digests.dedup();
        let differ = digests.windows(2).any(|pair| pair[0].0 == pair[1].0);
        match digests.as_slice() {
            _ if differ => {
                let text = "DIFFERENT STATES AT THE SAME OP: stop writing, keep the directories, \
                            and report this";
                Some(text.to_owned())
            }
            [(op, hash)] => Some(format!("state at op {op}: {hash} on every replica that answers")),
            _ => None,
        }
    }

    fn outcome(&self, remote: &Remote) -> Outcome {
        if self.answers().next().is_some() {
            return Ok(());
        }
        Err(remote.refusal().unwrap_or_else(|| {
            Failure::new(
                error::Status::Unavailable,
                "no replica answers",
                "start them, and check the client's file and its certificate",
            )
        }))
    }
}

impl Seen {
    /// Whether it is a process of this machine, as far as its address tells.
    fn is_local(&self) -> bool {
        let host = self.address.rsplit_once(':').map_or("", |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    fn next_step(&self) -> Option<String> {
        let Some(status) = &self.status else {
            return Some(match &self.start {
                Some(start) => format!("see its log; if that says nothing else, {start}"),
                None => "see its log; start it, or check the way to its address".to_owned(),
            });
        };
        match status.status.as_str() {
            "halted" => Some("look at its log; do not start it again".to_owned()),
            "recovering-head" => Some("wait: it asks the others for what is damaged".to_owned()),
            "recovering" => Some(recovering(status)),
            _ if status.digest.hash.is_empty() => {
                Some("wait: it has its state from the others".to_owned())
            }
            _ if status.disk == "full" => Some("make room on its disk".to_owned()),
            _ if status.disk == "stalled" => {
                Some("look at its disk, which does not answer".to_owned())
            }
            _ if status.log_percent >= LOG_PERCENT_SHOWN => Some(format!(
                "its log is {} % full, and a full log refuses all operations: start every replica, since it keeps what an absent one may need, or move to a new cluster by `vsr kv dump` and `load`",
                status.log_percent
            )),
            _ if status.repairs_pending > 0 => Some("wait: it catches up".to_owned()),
            _ => None,
        }
    }

    fn to_json(&self) -> Value {
        let mut fields = match self.status.as_ref().map(serde_json::to_value) {
            Some(Ok(Value::Object(fields))) => fields,
            Some(_) | None => unreachable_fields(),
        };
        fields.insert("id".to_owned(), self.id.into());
        fields.insert("address".to_owned(), self.address.clone().into());
        fields.insert("reachable".to_owned(), self.status.is_some().into());
        fields.insert("next_step".to_owned(), self.next_step().into());
        if !self.is_local() {
            fields.insert("pid".to_owned(), Value::Null);
        }
        Value::Object(fields)
    }

    fn cells(&self, furthest: u64) -> Vec<String> {
        let next = self.next_step().unwrap_or_default();
        let (id, address) = (self.id.to_string(), self.address.clone());
        let Some(status) = &self.status else {
            let mut cells = vec![id, address, "-".to_owned(), "unreachable".to_owned()];
            cells.extend(vec!["-".to_owned(); 8]);
            cells.push(next);
            return cells;
        };
        vec![
            id,
            address,
            status.role.clone(),
            status.status.clone(),
            status.view.to_string(),
            status.op.to_string(),
            status.commit.to_string(),
            furthest.saturating_sub(status.applied).to_string(),
            status.checkpoint.to_string(),
            status.durability.clone(),
            status.faults_repaired.to_string(),
            if self.is_local() { status.pid.to_string() } else { "-".to_owned() },
            next,
        ]
    }
}

/// What is to be done about a replica that has its log from the others, or never will.
fn recovering(status: &Status) -> String {
    if status.recovery_hopeless == Some(true) {
        return format!(
            "{} replicas lost their memory, more than the group tolerates at a time: its state is gone, and it never forms again; format a new cluster",
            status.recovery_lost.unwrap_or_default()
        );
    }
    if let Some(target) = status.recovery_target {
        return format!("wait: it fetches what it held, up to op {target}");
    }
    let (answers, needed) = (status.recovery_answers, status.recovery_needed);
    format!(
        "wait: it asks the others for what it held, and {} of {} have answered; start those that do not run",
        answers.unwrap_or_default(),
        needed.unwrap_or_default()
    )
}

/// The fields that every replica has, of one that says nothing.
fn unreachable_fields() -> Map<String, Value> {
    let unknown = [
        "role",
        "epoch",
        "view",
        "op",
        "commit",
        "applied",
        "checkpoint",
        "durability",
        "faults_repaired",
        "repairs_pending",
        "sessions",
        "disk",
        "log_percent",
        "digest",
        "pid",
    ];
    let unknown = unknown.into_iter().map(|name| (name.to_owned(), Value::Null));
    unknown.chain([("status".to_owned(), "unreachable".into())]).collect()
}

#[derive(Debug, Serialize)]
struct Document {
    cluster: String,
    primary: Option<u32>,
    replicas: Vec<Value>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(log_percent: u8) -> Seen {
        let status = serde_json::json!({
            "id": 0, "cluster": "", "address": "127.0.0.1:7700", "status": "normal",
            "role": "backup", "member": "full", "incarnation": 1, "epoch": 0, "view": 0,
            "log_view": 0, "primary": 1, "ready": false, "op": 9, "durable": 9, "commit": 9,
            "applied": 9, "checkpoint": 0, "durability": "sync", "disk": "ok",
            "log_percent": log_percent, "faults_repaired": 0, "repairs_pending": 1, "sessions": 1,
            "digest": { "op": 9, "hash": "0" }, "pid": 1, "ops": 9, "syncs": 9, "writes": 9,
            "clients": 1, "uptime_ms": 1,
        });
        let status = Status::from_json(status.to_string().as_bytes()).expect("it has all fields");
        Seen { id: 0, address: "127.0.0.1:7700".to_owned(), status: Some(status), start: None }
    }

    /// Before the log is full there is a way out, and it comes before anything that mends itself.
    #[test]
    fn a_nearly_full_log_is_told_in_time_with_what_helps() {
        assert_eq!(seen(LOG_PERCENT_SHOWN - 1).next_step().as_deref(), Some("wait: it catches up"));
        for percent in [LOG_PERCENT_SHOWN, 100] {
            let next = seen(percent).next_step().expect("something is to be done");
            assert!(next.contains(&format!("{percent} % full")), "{next}");
            assert!(next.contains("vsr kv dump"), "{next}");
        }
    }
}
