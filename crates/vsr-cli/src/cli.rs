//! The grammar of the command line. What a version does not do yet is part of it, hidden, so that
//! it answers `not supported in this version` instead of a usage error.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use uuid::Uuid;
use vsr_core::{CHUNK_BYTES_MAX, Constants};
use vsr_storage::CHECKPOINTS_KEPT_MAX;
use vsr_tokio::client::SESSIONS_MAX;

use crate::error::{Failure, Outcome};
use crate::output::Format;
use crate::units;

const EXAMPLES: &str = "\
Examples:
  vsr demo                        a guided tour, at most a minute, in a temporary folder
  vsr dev                         a secure cluster of three on this machine, and a shell
  vsr kv put greeting hello       from another terminal, in the same folder
  vsr status --watch
  printf 'put a 1\\nget a\\n' | vsr dev --ephemeral

Exit status: 0 done, 1 refused, 2 usage or configuration, 3 unavailable and certainly not done,
4 outcome unknown, 5 wrong identity, 6 data damaged, 7 version, 8 storage failed, 9 directory in use.";

/// A replicated key-value store that survives the death of any minority of its replicas:
/// Viewstamped Replication over QUIC, in one binary.
#[derive(Debug, Parser)]
#[command(name = "vsr", version, after_help = EXAMPLES, max_term_width = 100)]
#[command(propagate_version = false, disable_help_subcommand = false)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The tour: a cluster, a killed primary, a crash of everything, and every write still there.
    Demo(DemoArgs),
    /// A secure cluster on this machine in one command, and a shell to it.
    Dev(DevArgs),
    /// Make a replica's data directory: once, before its first start.
    Format(FormatArgs),
    /// Run a replica, until SIGTERM or Ctrl-C.
    Start(StartArgs),
    /// Read and write keys.
    Kv(KvArgs),
    /// Read and write keys, interactively.
    Shell(ShellArgs),
    /// Who is primary, how far each replica is, what is wrong and what to do about it.
    Status(StatusArgs),
    /// Measure puts and gets: rates, latencies, syncs, gaps.
    Bench(BenchArgs),
    /// Issue and show certificates.
    #[command(subcommand)]
    Cert(CertCommand),
    /// Look into a data directory: offline, reading only, also where it is damaged.
    Inspect(InspectArgs),
    /// Run the deterministic simulator, or a story.
    #[command(subcommand)]
    Sim(SimCommand),
    /// Print the completions of a shell, to be sourced.
    Completion {
        /// bash, elvish, fish, powershell or zsh.
        shell: clap_complete::Shell,
    },
    /// Print the version.
    Version {
        /// Also the versions of the formats, the protocols and the build.
        #[arg(long)]
        verbose: bool,
    },
    #[command(hide = true)]
    Recover(Later),
    #[command(hide = true)]
    Member(Later),
    #[command(hide = true)]
    Primary(Later),
    #[command(hide = true)]
    Snapshot(Later),
    #[command(hide = true)]
    Doctor(Later),
    #[command(hide = true)]
    Config(Later),
}

/// The arguments of a command that a later version has, whatever they are: also `--help`.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Later {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    rest: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Leave the cluster up afterwards, and say how to use and stop it.
    #[arg(long)]
    pub(crate) stay: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Where standard input is not a terminal, its lines are the shell's commands, and the exit status is
that of the first one that failed:
  printf 'put a 1\\nget a\\n' | vsr dev --ephemeral")]
pub(crate) struct DevArgs {
    /// How many replicas: 1 to 7; those there are, or 3.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=7))]
    pub(crate) replicas: Option<u32>,
    /// Where all of it is kept. Run again on the same folder, the data is there.
    #[arg(long, default_value = "vsr-dev")]
    pub(crate) dir: PathBuf,
    /// The first UDP port that a new cluster tries, 8771 unless told otherwise; then every tenth.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) base_port: Option<u16>,
    /// Keep it in a temporary folder, and remove that at the end.
    #[arg(long, conflicts_with = "dir")]
    pub(crate) ephemeral: bool,
    #[command(flatten)]
    pub(crate) new: NewCluster,
}

/// What is fixed when a cluster is made, the same for every replica.
#[derive(Clone, Debug, Args)]
pub(crate) struct NewCluster {
    /// What outlives a replica's process. With `memory` writes do not wait for disks, and the cluster is gone
    /// with more than a minority of its replicas stopped at a time.
    /// [default: sync]
    #[arg(long, value_enum)]
    pub(crate) durability: Option<DurabilityArg>,
    /// When checkpoints are taken, by one or more rules: after so many entries, bytes or minutes of
    /// entries, as in 65536,256MiB,5m; 65536,512MiB unless told otherwise.
    #[arg(long, value_name = "RULE,...", value_delimiter = ',', value_parser = every)]
    pub(crate) checkpoint_every: Vec<CheckpointEvery>,
}

/// A rule for taking checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CheckpointEvery {
    Entries(u32),
    Bytes(u64),
    Time(Duration),
}

fn every(text: &str) -> Result<CheckpointEvery, String> {
    let wrong = || format!("`{text}` is no rule: write 65536, 256MiB or 5m");
    if let Ok(entries) = text.parse() {
        return Some(entries)
            .filter(|entries| *entries > 0)
            .map(CheckpointEvery::Entries)
            .ok_or_else(wrong);
    }
    if let Ok(time) = units::duration(text) {
        let enough = Some(time).filter(|time| *time >= Duration::from_millis(1));
        return enough.map(CheckpointEvery::Time).ok_or_else(wrong);
    }
    let bytes = units::size(text).ok().filter(|bytes| *bytes > 0);
    bytes.map(|bytes| CheckpointEvery::Bytes(bytes as u64)).ok_or_else(wrong)
}

impl NewCluster {
    /// Whether anything was said.
    pub(crate) const fn is_given(&self) -> bool {
        self.durability.is_some() || !self.checkpoint_every.is_empty()
    }

    /// The cluster's constants.
    ///
    /// # Errors
    /// Two rules are of one kind.
    pub(crate) fn constants(&self) -> Outcome<Constants> {
        let mut constants = match self.durability {
            None | Some(DurabilityArg::Sync) => Constants::DEFAULT,
            Some(DurabilityArg::Memory) => Constants::IN_MEMORY,
        };
        if !self.checkpoint_every.is_empty() {
            constants.checkpoint_interval = 0;
            constants.checkpoint_bytes = 0;
        }
        for (at, rule) in self.checkpoint_every.iter().enumerate() {
            let kind = std::mem::discriminant(rule);
            if self.checkpoint_every[..at].iter().any(|one| std::mem::discriminant(one) == kind) {
                return Err(Failure::usage(
                    "--checkpoint-every has two rules of one kind",
                    "write one of entries, one of bytes and one of time at most",
                ));
            }
            match rule {
                CheckpointEvery::Entries(entries) => constants.checkpoint_interval = *entries,
                CheckpointEvery::Bytes(bytes) => constants.checkpoint_bytes = *bytes,
                CheckpointEvery::Time(time) => {
                    constants.checkpoint_time = time.as_nanos().try_into().unwrap_or(u64::MAX);
                }
            }
        }
        Ok(constants)
    }
}

/// What of a replica outlives its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DurabilityArg {
    /// Everything: it is on disk before it is acknowledged.
    Sync,
    /// Its view alone: it has the rest from the others again.
    Memory,
}

#[derive(Debug, Args)]
pub(crate) struct FormatArgs {
    /// The data directory.
    #[arg(long)]
    pub(crate) dir: PathBuf,
    /// The cluster's id; `vsr cert ca` draws one.
    #[arg(long)]
    pub(crate) cluster: Uuid,
    /// This replica's number.
    #[arg(long)]
    pub(crate) replica: u32,
    /// Where every replica is: 0=HOST:PORT,1=HOST:PORT,...
    #[arg(long, value_name = "0=HOST:PORT,...", value_delimiter = ',', required = true)]
    pub(crate) peers: Vec<String>,
    #[command(flatten)]
    pub(crate) new: NewCluster,
    #[arg(long, hide = true)]
    pub(crate) witness: Vec<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    /// The data directory, made by `vsr format`, with the certificates in its `tls/`.
    #[arg(long)]
    pub(crate) dir: PathBuf,
    /// The UDP address to listen on; the one that `vsr format` was told, unless given.
    #[arg(long, env = "VSR_LISTEN")]
    pub(crate) listen: Option<SocketAddr>,
    /// Serve /livez, /readyz, /status and /metrics over HTTP here, as 127.0.0.1:8772.
    #[arg(long, env = "VSR_ADMIN", value_name = "ADDRESS")]
    pub(crate) admin: Option<String>,
    /// How many bytes a second other replicas are given of checkpoints, at most.
    #[arg(long, default_value = "64MiB", value_name = "SIZE", value_parser = rate)]
    pub(crate) transfer_rate: usize,
    /// How many bytes a second are read to find damage on the disk before they are needed, at most; 0 reads none.
    #[arg(long, default_value = "4MiB", value_name = "SIZE", value_parser = units::size)]
    pub(crate) scrub_rate: usize,
    /// How many checkpoints are kept, the latest included.
    #[arg(long, default_value_t = 1, value_name = "COUNT",
        value_parser = clap::value_parser!(u8).range(1..=CHECKPOINTS_KEPT_MAX as i64))]
    pub(crate) keep_checkpoints: u8,
    #[arg(long, hide = true, default_value = "quic")]
    pub(crate) transport: TransportKind,
    #[arg(long, hide = true)]
    pub(crate) config: Option<PathBuf>,
    /// Write a JSON object a line to this file for each event of the protocol. Costs speed, and the file
    /// grows fast.
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
    /// Stop when standard input ends, unless it says `stay`: so that no replica outlives the
    /// process that started it for itself.
    #[arg(long, hide = true)]
    pub(crate) until_input_ends: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TransportKind {
    Quic,
    Tcp,
}

/// How fresh a read must be, and how it is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ReadPolicy {
    /// As if there were one copy, through the log.
    Log,
    /// As if there were one copy, by the primary without an entry in the log.
    Linearizable,
    /// As if there were one copy, by a backup without an entry in the log.
    Backup,
    /// Everything up to this op at least, by a backup that asks nobody.
    Causal(u64),
    /// Everything that was answered so long before, by a backup.
    Stale(Duration),
    /// One that a later version has, as it was written.
    Later(String),
}

/// At least a chunk a second.
fn rate(text: &str) -> Result<usize, String> {
    match units::size(text)? {
        bytes if bytes >= CHUNK_BYTES_MAX => Ok(bytes),
        _ => Err("write at least 1MiB: the largest chunk of a checkpoint".to_owned()),
    }
}

fn read(text: &str) -> Result<ReadPolicy, String> {
    match text {
        "log" => Ok(ReadPolicy::Log),
        "linearizable" => Ok(ReadPolicy::Linearizable),
        "backup" => Ok(ReadPolicy::Backup),
        "lease" => Ok(ReadPolicy::Later(text.to_owned())),
        _ => {
            let causal = text.strip_prefix("causal=").and_then(|op| op.parse().ok());
            let stale = text.strip_prefix("stale=").and_then(|age| units::duration(age).ok());
            let policy = causal.map(ReadPolicy::Causal).or_else(|| stale.map(ReadPolicy::Stale));
            policy.ok_or_else(|| {
                "write linearizable, backup, stale=AGE as in stale=500ms, causal=OP or log"
                    .to_owned()
            })
        }
    }
}

/// What every client command takes.
#[derive(Debug, Args)]
pub(crate) struct ClientArgs {
    /// The client's file; otherwise VSR_CONTEXT, otherwise vsr-dev/client.toml.
    #[arg(long, global = true, env = "VSR_CONTEXT", value_name = "FILE")]
    pub(crate) context: Option<PathBuf>,
    /// How long a call may take before it is given up.
    #[arg(long, global = true, default_value = "5s", value_parser = units::duration)]
    pub(crate) deadline: Duration,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = false, arg_required_else_help = true)]
pub(crate) struct KvArgs {
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    /// How get, range and dump read: linearizable, at the primary; backup, as fresh, at a backup;
    /// stale=AGE, at a backup, what was answered so long before; causal=OP, at a backup that has
    /// executed that op; log, as a put is done.
    #[arg(long, global = true, value_name = "HOW", default_value = "linearizable",
        value_parser = read)]
    pub(crate) read: ReadPolicy,
    /// One call a line on standard input, one answer a line on standard output, as JSON.
    #[arg(long)]
    pub(crate) jsonl: bool,
    /// How many sessions run side by side; each line then names its own, `"session": 0`.
    #[arg(long, default_value_t = 1, requires = "jsonl",
        value_parser = clap::value_parser!(u32).range(1..=SESSIONS_MAX as i64))]
    pub(crate) sessions: u32,
    #[command(subcommand)]
    pub(crate) command: Option<KvCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KvCommand {
    #[command(flatten)]
    Verb(Verb),
    /// Put every line of a file: key, tab, value.
    Load {
        /// The file; - is standard input.
        file: PathBuf,
        /// How many puts are under way at a time.
        #[arg(long, default_value_t = 64,
            value_parser = clap::value_parser!(u32).range(1..=SESSIONS_MAX as i64))]
        window: u32,
    },
    /// Print every key and its value: key, tab, value. What changes meanwhile may or may not be in it.
    Dump,
    #[command(hide = true)]
    Watch(Later),
}

/// What is done with keys. The shell's lines are those of `vsr_kv::text`.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Set a key.
    Put {
        #[arg(allow_hyphen_values = true)]
        key: OsString,
        #[arg(allow_hyphen_values = true)]
        value: OsString,
    },
    /// Print a key's value.
    Get {
        #[arg(allow_hyphen_values = true)]
        key: OsString,
    },
    /// Remove a key; says `false` and fails where there is none.
    Del {
        #[arg(allow_hyphen_values = true)]
        key: OsString,
    },
    /// Set a key only if it has the old value; says `false` and fails where it has not.
    Cas {
        #[arg(allow_hyphen_values = true)]
        key: OsString,
        /// The value it must have; - where there must be no such key.
        #[arg(allow_hyphen_values = true)]
        old: OsString,
        #[arg(allow_hyphen_values = true)]
        new: OsString,
    },
    /// Add to a number, which is 0 where there is no such key; prints the new one.
    Incr {
        #[arg(allow_hyphen_values = true)]
        key: OsString,
        #[arg(allow_hyphen_values = true, default_value_t = 1)]
        by: i64,
    },
    /// Append to a value, which is empty where there is no such key.
    Append {
        #[arg(allow_hyphen_values = true)]
        key: OsString,
        #[arg(allow_hyphen_values = true)]
        value: OsString,
    },
    /// Print the keys with a prefix and their values: key, tab, value.
    Range {
        #[arg(allow_hyphen_values = true, default_value = "")]
        prefix: OsString,
        /// The most keys.
        #[arg(long)]
        limit: Option<u32>,
    },
    /// Do all operations of a file at once or, if a condition is false, none of them.
    #[command(after_help = "\
The file holds a JSON array of operations as `vsr kv --jsonl` takes them:
  [{\"op\": \"cas\", \"key\": \"a\", \"expect\": \"1\", \"value\": \"2\"}, {\"op\": \"incr\", \"key\": \"n\"}]")]
    Txn {
        /// The file; - is standard input.
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ShellArgs {
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    /// Print it anew every second, until Ctrl-C.
    #[arg(long)]
    pub(crate) watch: bool,
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Format,
}

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    /// How many clients call side by side.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) clients: u32,
    /// How many connections they share.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) connections: u32,
    /// How many calls of each client are under way at a time: in one session, as far as the cluster
    /// allows, in further ones beyond.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) window: u32,
    /// How many different keys.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub(crate) keys: u64,
    /// How large each value is.
    #[arg(long, default_value = "256", value_parser = units::size)]
    pub(crate) value_size: usize,
    /// Write key and value of each acknowledged put to this file, as they are acknowledged.
    #[arg(long, value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,
    /// Stop after so many calls.
    #[arg(long, conflicts_with = "seconds", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) ops: Option<u64>,
    /// Stop after so many seconds; 10 unless told otherwise.
    #[arg(long)]
    pub(crate) seconds: Option<f64>,
    /// The share of gets, from 0 to 1.
    #[arg(long, default_value_t = 0.0)]
    pub(crate) read_ratio: f64,
    /// How gets read: linearizable, backup, stale=AGE, causal=OP or log.
    #[arg(long, value_name = "HOW", default_value = "linearizable", value_parser = read)]
    pub(crate) read: ReadPolicy,
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Format,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CertCommand {
    /// Make a cluster's certificate authority.
    Ca {
        /// Where it is kept: ca.pem goes to every holder, ca.key to nobody.
        #[arg(long)]
        dir: PathBuf,
        /// The cluster's id; a new one unless given.
        #[arg(long)]
        cluster: Option<Uuid>,
    },
    /// Issue a replica's certificate, into `tls/` of its data directory.
    Node {
        /// The replica's number.
        replica: u32,
        /// The directory of the authority.
        #[arg(long)]
        ca: PathBuf,
        /// The replica's data directory.
        #[arg(long)]
        dir: PathBuf,
    },
    /// Issue a client's certificate, and write its client's file.
    Client {
        /// The client's name: a-z A-Z 0-9 . _ -
        name: String,
        /// The directory of the authority.
        #[arg(long)]
        ca: PathBuf,
        /// Where the certificate is kept.
        #[arg(long)]
        dir: PathBuf,
        /// What the client may do: read-only, read-write or admin.
        #[arg(long, default_value = "read-write")]
        role: String,
        /// Where every replica is; writes DIR/client.toml.
        #[arg(long, value_name = "0=HOST:PORT,...", value_delimiter = ',')]
        peers: Vec<String>,
    },
    /// Print what a certificate says.
    Show {
        /// A PEM file.
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    #[command(subcommand)]
    pub(crate) command: InspectCommand,
    /// The data directory.
    #[arg(long, global = true, default_value = ".")]
    pub(crate) dir: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum InspectCommand {
    /// Who the replica is, and what survives its restart beside the log.
    Superblock,
    /// Every entry of the log, one a line.
    Log,
    /// One entry, whole.
    Op {
        /// Its op-number.
        op: u64,
    },
    /// Check every record of the log and chunk of a checkpoint; lists each damaged one, and exits 6 where there is one.
    Verify,
    /// The checkpoints, one a line, and which of them a restart begins at.
    Checkpoint,
    /// The sessions of the latest checkpoint, one a line.
    Sessions,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SimCommand {
    /// Run random schedules with faults, and check every invariant after every step.
    Run(SimRunArgs),
    /// Run a story and print its transcript.
    Story {
        /// The file.
        #[arg(required_unless_present = "reasons")]
        file: Option<PathBuf>,
        /// List the reasons that `expect rN ignored REASON` knows.
        #[arg(long)]
        reasons: bool,
    },
    /// Take every choice within bounds, and check every state; a broken promise comes out as a story.
    Explore(SimExploreArgs),
    #[command(hide = true)]
    View(Later),
}

#[derive(Debug, Args)]
pub(crate) struct SimRunArgs {
    /// One seed.
    #[arg(long, conflicts_with = "seeds", value_parser = clap::value_parser!(u64).range(..u64::MAX))]
    pub(crate) seed: Option<u64>,
    /// A range of seeds: A..B, without B.
    #[arg(long, value_parser = seeds, value_name = "A..B")]
    pub(crate) seeds: Option<std::ops::Range<u64>>,
    /// How many steps each seed runs.
    #[arg(long)]
    pub(crate) steps: Option<u64>,
    #[arg(long, hide = true)]
    pub(crate) profile: Option<String>,
    /// Write one JSON object a line for each protocol event.
    #[arg(long, value_name = "FILE", conflicts_with = "seeds")]
    pub(crate) trace: Option<PathBuf>,
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Format,
}

#[derive(Debug, Args)]
pub(crate) struct SimExploreArgs {
    /// How many replicas.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=5))]
    pub(crate) replicas: u32,
    /// How many clients send a request, each until it is answered.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=8))]
    pub(crate) ops: u32,
    /// The highest view that is entered.
    #[arg(long, default_value_t = 3)]
    pub(crate) view_changes: u64,
    /// How many crashes there are; each loses the writes that wait for the disk.
    #[arg(long, default_value_t = 1)]
    pub(crate) crashes: u32,
    /// Writes are durable at once, instead of when the explorer chooses.
    #[arg(long)]
    pub(crate) quick_disks: bool,
    /// Stop after so many distinct states; a million take about 400 MiB.
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(1..=4_000_000_000))]
    pub(crate) states: u64,
    /// Stop where every path of so many steps was taken.
    #[arg(long)]
    pub(crate) depth: Option<u32>,
    /// Stop after so many seconds.
    #[arg(long)]
    pub(crate) seconds: Option<u64>,
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Format,
}

fn seeds(text: &str) -> Result<std::ops::Range<u64>, String> {
    let range = text
        .split_once("..")
        .and_then(|(first, end)| Some(first.parse::<u64>().ok()?..end.parse::<u64>().ok()?));
    match range {
        Some(range) if !range.is_empty() => Ok(range),
        Some(_) => Err(format!("`{text}` holds no seed: write 0..100")),
        None => Err(format!("`{text}` is not a range of seeds: write 0..100")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_grammar_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn values_may_begin_with_a_hyphen() {
        let verb = |words: &[&str]| {
            let line = ["vsr", "kv"].iter().chain(words);
            Cli::try_parse_from(line).map(|cli| {
                let Command::Kv(KvArgs { command: Some(KvCommand::Verb(verb)), .. }) = cli.command
                else {
                    panic!("{cli:?}");
                };
                verb
            })
        };
        assert!(matches!(verb(&["incr", "n", "-5"]), Ok(Verb::Incr { by: -5, .. })));
        assert!(matches!(verb(&["put", "-k", "--v"]), Ok(Verb::Put { .. })));
        assert!(matches!(verb(&["cas", "k", "-", "-1"]), Ok(Verb::Cas { .. })));
        let limited = verb(&["range", "a", "--limit", "3", "--deadline", "1s"]);
        assert!(matches!(limited, Ok(Verb::Range { limit: Some(3), .. })));
    }

    #[test]
    fn a_range_of_seeds_holds_at_least_one() {
        assert_eq!(seeds("3..5"), Ok(3..5));
        for wrong in ["", "3", "5..5", "5..3", "a..b", "-1..2"] {
            assert!(seeds(wrong).is_err(), "{wrong}");
        }
    }
}
