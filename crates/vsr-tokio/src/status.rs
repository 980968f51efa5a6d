//! How a replica is, for people and programs: the document behind `vsr status -o json`.

use serde::{Deserialize, Serialize};
use vsr_core::{Checksum, Config, DiskState, Durability, Role, StatusName, Summary};

/// How a replica is at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The replica's number.
    pub id: u32,
    /// The cluster's id, as a UUID.
    pub cluster: String,
    /// Where peers and clients find the replica, as it was told itself.
    pub address: String,
    /// `normal`, `view-change`, `recovering-head`, `recovering` or `halted`.
    pub status: String,
    /// `primary` or `backup` in a normal status, otherwise `none`.
    pub role: String,
    /// What the configuration lets it do: `full`, `witness` or `learner`.
    pub member: String,
    /// How often it was started.
    pub incarnation: u64,
    /// The epoch of its configuration.
    pub epoch: u32,
    /// The view it is in.
    pub view: u64,
    /// The last view in which it was normal.
    pub log_view: u64,
    /// The primary of its view.
    pub primary: u32,
    /// Whether it is a primary that takes requests.
    pub ready: bool,
    /// The last op of its log.
    pub op: u64,
    /// Up to which op its log is durable without a gap.
    pub durable: u64,
    /// What it knows to be committed.
    pub commit: u64,
    /// What its service has executed.
    pub applied: u64,
    /// The op of its latest checkpoint; 0 where there is none.
    pub checkpoint: u64,
    /// What outlives its process: with `sync` all that it acknowledged, on its disk; with `memory` nothing
    /// but its view.
    pub durability: String,
    /// `ok`, or `full` while new operations are refused since there is no room.
    pub disk: String,
    /// How full its log is; at 100 it refuses operations.
    pub log_percent: u8,
    /// Entries that were fetched from peers since the start.
    pub faults_repaired: u64,
    /// Entries and headers it is asking its peers for.
    pub repairs_pending: u32,
    /// The op of the checkpoint that it is fetching from others, if it is.
    #[serde(default)]
    pub transfer_op: Option<u64>,
    /// How many chunks of it are missing, once that is known.
    #[serde(default)]
    pub transfer_chunks_left: Option<u32>,
    /// Bytes of checkpoints that came from others since the start.
    #[serde(default)]
    pub transfer_bytes: u64,
    /// While it is `recovering`: how many others answered its question.
    #[serde(default)]
    pub recovery_answers: Option<u32>,
    /// How many must.
    #[serde(default)]
    pub recovery_needed: Option<u32>,
    /// Up to which op it must hold everything before it takes part again, once it knows.
    #[serde(default)]
    pub recovery_target: Option<u64>,
    /// How many replicas, itself included, lost their memory, as far as it heard lately.
    #[serde(default)]
    pub recovery_lost: Option<u32>,
    /// Whether those are more than the group tolerates at a time, so that it never forms again.
    #[serde(default)]
    pub recovery_hopeless: Option<bool>,
    /// Open sessions.
    pub sessions: u32,
    /// The service's state.
    pub digest: StateDigest,
    /// The process.
    pub pid: u32,
    /// Operations executed since the start, those of a replay included.
    pub ops: u64,
    /// Syncs of the disk since the start.
    pub syncs: u64,
    /// Writes that those syncs made durable.
    pub writes: u64,
    /// Client connections that asked for anything.
    pub clients: u64,
    /// Milliseconds since the start.
    pub uptime_ms: u64,
}

/// A digest of all of a service's state, and the op it is at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateDigest {
    /// The op.
    pub op: u64,
    /// The digest, in hexadecimal digits; empty while the service does not have that state.
    pub hash: String,
}

/// What only the driver knows of a replica.
pub(crate) struct Facts<'a> {
    pub(crate) address: &'a str,
    pub(crate) digest: Checksum,
    pub(crate) ops: u64,
    pub(crate) disk: DiskState,
    pub(crate) syncs: u64,
    pub(crate) writes: u64,
    pub(crate) transfer_bytes: u64,
    pub(crate) clients: usize,
    pub(crate) uptime_ms: u64,
}

impl Status {
    pub(crate) fn new(config: &Config, summary: &Summary, facts: &Facts<'_>) -> Self {
        let (status, role) = match summary.status {
            StatusName::Primary => ("normal", "primary"),
            StatusName::Backup => ("normal", "backup"),
            StatusName::ViewChange => ("view-change", "none"),
            StatusName::RecoveringHead => ("recovering-head", "none"),
            StatusName::Recovering => ("recovering", "none"),
            StatusName::Halted => ("halted", "none"),
        };
        let member = match config.configuration().role(summary.replica) {
            Some(Role::Full) => "full",
            Some(Role::Witness) => "witness",
            Some(Role::Learner) => "learner",
            None => "none",
        };
        Self {
            id: summary.replica.0,
            cluster: uuid::Uuid::from_u128(config.cluster().0).to_string(),
            address: facts.address.to_owned(),
            status: status.into(),
            role: role.into(),
            member: member.into(),
            incarnation: summary.incarnation.0,
            epoch: summary.epoch.0,
            view: summary.view.0,
            log_view: summary.log_view.0,
            primary: summary.primary.0,
            ready: summary.ready,
            op: summary.op.0,
            durable: summary.durable.0,
            commit: summary.commit_max.0,
            applied: summary.commit_min.0,
            checkpoint: summary.checkpoint.0,
            durability: match config.constants().durability {
                Durability::Sync => "sync".into(),
                Durability::Memory => "memory".into(),
            },
            disk: match facts.disk {
                DiskState::Ok => "ok".into(),
                DiskState::Full => "full".into(),
                DiskState::Stalled => "stalled".into(),
            },
            log_percent: summary.log_percent,
            faults_repaired: summary.repaired,
            repairs_pending: summary.repairs_pending,
            transfer_op: summary.transfer.map(|transfer| transfer.op.0),
            transfer_chunks_left: summary.transfer.and_then(|transfer| transfer.chunks_left),
            transfer_bytes: facts.transfer_bytes,
            recovery_answers: summary.recovery.map(|recovery| recovery.answers),
            recovery_needed: summary.recovery.map(|recovery| recovery.needed),
            recovery_target: summary.recovery.and_then(|recovery| Some(recovery.target?.0)),
            recovery_lost: summary.recovery.map(|recovery| recovery.lost),
            recovery_hopeless: summary.recovery.map(|recovery| recovery.is_hopeless()),
            sessions: summary.sessions,
            digest: StateDigest {
                op: summary.commit_min.0,
                hash: match summary.restoring {
                    false => format!("{:032x}", facts.digest.0),
                    true => String::new(),
                },
            },
            pid: std::process::id(),
            ops: facts.ops,
            syncs: facts.syncs,
            writes: facts.writes,
            clients: facts.clients as u64,
            uptime_ms: facts.uptime_ms,
        }
    }

    /// The document as it travels and is printed.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a struct of numbers and strings is always valid JSON")
    }

    /// Reads a document that a replica sent. Fields that this version does not know are skipped.
    ///
    /// # Errors
    /// It is none.
    pub fn from_json(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }
}
