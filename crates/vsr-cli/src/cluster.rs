//! A cluster on this machine: its folder, and its replicas as processes of their own.
//!
//! The folder holds `client.toml`, `ca/`, `client/`, and for each replica its data directory `rN/` and
//! its log `rN.log`. The client's file is written last: a folder that has one is whole.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use uuid::Uuid;
use vsr_core::{ClusterId, Config, Configuration, Constants, Durability, Incarnation, ReplicaId};
use vsr_storage::{DiskError, FileDisk, superblock_copies};

use crate::commands::cert;
use crate::commands::format::format;
use crate::commands::start::{READY, STAY};
use crate::context::Context;
use crate::error::{Failure, Outcome, Status};
use crate::units::show;

/// The client's file of a cluster's folder.
const CLIENT_FILE: &str = "client.toml";

/// The name of the client that a cluster on this machine has.
const CLIENT: &str = "client";

/// How far apart the ports are that are tried: the one after a replica's is its admin's.
const PORT_STEP: u16 = 10;

/// How long a replica may take to stop in good order. After that it is killed, which it survives as any crash.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// How often a replica that starts or stops is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// How much of a replica's log is read to see whether it serves: it says so before much else.
const LOG_READ_MAX: u64 = 64 * 1024;

/// How much of a dead replica's log is shown.
const LAST_WORDS: usize = 2000;

/// Replicas on this machine. Those that run are stopped when it is dropped.
#[derive(Debug)]
pub(crate) struct Cluster {
    folder: PathBuf,
    context: Context,
    replicas: Vec<Replica>,
    /// Whether the folder was made by this process.
    fresh: bool,
}

/// One replica: a process, while it runs.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) id: u32,
    pub(crate) address: String,
    pub(crate) data: PathBuf,
    log: PathBuf,
    process: Option<Process>,
}

#[derive(Debug)]
struct Process {
    child: Child,
    /// How long the log was when it started.
    log_from: u64,
    /// The replica stops when this is closed: no replica outlives whoever started it for itself.
    guard: Option<ChildStdin>,
}

/// A replica that ended without being asked to.
#[derive(Debug)]
pub(crate) struct Death {
    pub(crate) id: u32,
    pub(crate) pid: u32,
    status: ExitStatus,
    last_words: String,
    /// What starts it again.
    pub(crate) restart: String,
}

impl Cluster {
    /// Opens the cluster in a folder, or makes one there, on the first free ports from `base_port` on.
    /// `replicas` of `None` takes those there are, or three.
    ///
    /// # Errors
    /// The folder holds something else, or another number of replicas; ports or disk space are
    /// missing.
    pub(crate) fn open(
        folder: &Path,
        replicas: Option<u32>,
        base_port: u16,
        constants: &Constants,
    ) -> Outcome<Self> {
        let file = folder.join(CLIENT_FILE);
        let fresh = !file.exists();
        if fresh {
            create(folder, &file, replicas.unwrap_or(3), base_port, constants)?;
        }
        let context = Context::read(&file)?;
        let found = context.replicas()?;
        if let Some(wanted) = replicas
            && wanted as usize != found.len()
        {
            return Err(Failure::usage(
                format!("{} holds a cluster of {}, not of {wanted}", folder.display(), found.len()),
                "leave --replicas out, or choose another --dir",
            ));
        }
        let data = |id: u32| folder.join(format!("r{id}"));
        if found.iter().any(|(id, _)| is_gone(&data(*id))) {
            return Err(Failure::refused(
                format!("the cluster in {} was in memory, and is gone", folder.display()),
                "choose another --dir, or remove this one",
            ));
        }
        let replicas = found.into_iter().map(|(id, address)| Replica {
            id,
            address,
            data: data(id),
            log: folder.join(format!("r{id}.log")),
            process: None,
        });
        let replicas = replicas.collect();
        Ok(Self { folder: folder.to_owned(), context, replicas, fresh })
    }

    pub(crate) const fn context(&self) -> &Context {
        &self.context
    }

    pub(crate) fn client_file(&self) -> PathBuf {
        self.folder.join(CLIENT_FILE)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) const fn is_fresh(&self) -> bool {
        self.fresh
    }

    pub(crate) fn replicas(&self) -> &[Replica] {
        &self.replicas
    }

    /// Starts every replica that does not run.
    ///
    /// # Errors
    /// A process cannot be started.
    pub(crate) fn start_all(&mut self) -> Outcome {
        self.replicas.iter_mut().try_for_each(Replica::start)
    }

    /// Starts one replica, if it does not run.
    ///
    /// # Errors
    /// The process cannot be started.
    pub(crate) fn start(&mut self, id: u32) -> Outcome {
        self.replicas.iter_mut().filter(|replica| replica.id == id).try_for_each(Replica::start)
    }

    /// Waits until every replica that runs listens. A client that dials one earlier waits for the
    /// network to give up its first datagram, which takes longer than this.
    ///
    /// # Errors
    /// A replica ended, or needs longer than `patience`.
    pub(crate) async fn listening(&mut self, patience: Duration) -> Outcome {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(death) = self.deaths().into_iter().next() {
                return Err(death.into_failure());
            }
            let Some(waiting) = self.replicas.iter().find(|replica| !replica.listens()) else {
                return Ok(());
            };
            if Instant::now() > deadline {
                return Err(Failure::new(
                    Status::Unavailable,
                    format!("replica {} does not listen after {}", waiting.id, show(patience)),
                    format!("see {}", waiting.log.display()),
                ));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Kills replicas at once, as a power cut would, and waits until they are gone.
    pub(crate) fn kill(&mut self, ids: &[u32]) {
        let chosen = |replica: &&mut Replica| ids.contains(&replica.id);
        for replica in self.replicas.iter_mut().filter(chosen) {
            if let Some(process) = &mut replica.process {
                // Where it is dead already, that is what is wanted.
                let _ = process.child.kill();
            }
        }
        for replica in self.replicas.iter_mut().filter(chosen) {
            if let Some(mut process) = replica.process.take() {
                let _ = process.child.wait();
            }
        }
    }

    /// Those that ended since this was asked last.
    pub(crate) fn deaths(&mut self) -> Vec<Death> {
        self.replicas.iter_mut().filter_map(Replica::death).collect()
    }

    /// Stops every replica in good order, all at once.
    pub(crate) fn stop_all(&mut self) {
        for process in self.replicas.iter_mut().filter_map(|replica| replica.process.as_mut()) {
            drop(process.guard.take());
        }
        let deadline = Instant::now() + STOP_PATIENCE;
        for replica in &mut self.replicas {
            let Some(mut process) = replica.process.take() else { continue };
            while matches!(process.child.try_wait(), Ok(None)) {
                if Instant::now() > deadline {
                    // Killed, it loses nothing that was promised.
                    let _ = process.child.kill();
                    let _ = process.child.wait();
                    break;
                }
                thread::sleep(LOOK_EVERY);
            }
        }
    }

    /// Lets the replicas go on without this process.
    pub(crate) fn release(&mut self) {
        for replica in &mut self.replicas {
            if let Some(mut process) = replica.process.take()
                && let Some(mut guard) = process.guard.take()
            {
                // A replica that is gone does not need to be told.
                let _ = guard.write_all(format!("{STAY}\n").as_bytes());
            }
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop_all();
    }
}

impl Replica {
    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(|process| process.child.id())
    }

    /// The line that starts it by hand.
    pub(crate) fn start_line(&self) -> String {
        format!("vsr start --dir {}", self.data.display())
    }

    fn start(&mut self) -> Outcome {
        if self.process.is_some() {
            return Ok(());
        }
        let program = std::env::current_exe().map_err(|error| {
            Failure::usage(format!("cannot find this program: {error}"), "try again")
        })?;
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.map_err(|error| Failure::file("write", &self.log, &error))?;
        let mut command = Command::new(program);
        command.arg("start").arg("--dir").arg(&self.data).arg("--until-input-ends");
        // What this process was told about the network is not the replica's.
        command.env_remove("VSR_LISTEN").env_remove("VSR_ADMIN");
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
        // Of its own, so that Ctrl-C reaches the shell and not the replicas.
        command.process_group(0);
        let log_from = fs::metadata(&self.log).map_or(0, |log| log.len());
        let mut child = command.spawn().map_err(|error| {
            Failure::usage(format!("cannot start replica {}: {error}", self.id), "try again")
        })?;
        let guard = child.stdin.take();
        self.process = Some(Process { child, log_from, guard });
        Ok(())
    }

    /// Whether it said that it serves, or does not run.
    fn listens(&self) -> bool {
        let Some(process) = &self.process else { return true };
        let said = File::open(&self.log).and_then(|mut log| {
            log.seek(SeekFrom::Start(process.log_from))?;
            let mut said = Vec::new();
            log.take(LOG_READ_MAX).read_to_end(&mut said)?;
            Ok(said)
        });
        let said = said.unwrap_or_default();
        said.split(|byte| *byte == b'\n').any(|line| line.starts_with(READY.as_bytes()))
    }

    fn death(&mut self) -> Option<Death> {
        let process = self.process.as_mut()?;
        let status = process.child.try_wait().ok()??;
        let pid = process.child.id();
        self.process = None;
        Some(Death {
            id: self.id,
            pid,
            status,
            last_words: last_words(&self.log),
            restart: self.start_line(),
        })
    }
}

impl Death {
    /// What a cluster that cannot do without it fails with.
    pub(crate) fn into_failure(self) -> Failure {
        let status = self.status.code().and_then(Status::of_code).unwrap_or(Status::Unavailable);
        Failure::new(
            status,
            format!("replica {} ended: {}\n{}", self.id, self.how(), self.last_words),
            format!("see what is wrong, then: {}", self.restart),
        )
    }

    /// How it ended.
    pub(crate) fn how(&self) -> String {
        match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("exit status {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => self.status.to_string(),
        }
    }
}

fn last_words(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let tail = &text[text.len().saturating_sub(LAST_WORDS)..];
    let tail = String::from_utf8_lossy(tail);
    let lines: Vec<&str> = tail.lines().collect();
    let from = lines.iter().rposition(|line| line.starts_with("error: "));
    lines[from.unwrap_or_else(|| lines.len().saturating_sub(3))..].join("\n")
}

/// Makes a cluster: an authority, certificates, data directories, and the client's file.
fn create(
    folder: &Path,
    file: &Path,
    replicas: u32,
    base_port: u16,
    constants: &Constants,
) -> Outcome {
    let holds_something = fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
    if holds_something {
        return Err(Failure::usage(
            format!("{} is not empty, and has no {CLIENT_FILE}", folder.display()),
            "choose another --dir; if an earlier `vsr dev` was interrupted there, remove it first",
        ));
    }
    let cluster = Uuid::new_v4();
    let configuration = Configuration::of_replicas(replicas as usize);
    let cluster_id = ClusterId(cluster.as_u128());
    configuration
        .and_then(|group| Config::new(cluster_id, ReplicaId(0), group, *constants).map(drop))
        .map_err(|error| Failure::usage(error.to_string(), "choose other options"))?;
    let authority = cert::authority(&folder.join("ca"), cluster)?;
    let addresses = addresses(replicas, base_port)?;
    for (id, _) in &addresses {
        let data = folder.join(format!("r{id}"));
        format(&data, cluster, *id, &addresses, constants)?;
        cert::issue_replica(&authority, *id, &data)?;
    }
    let client = folder.join(CLIENT);
    cert::issue_client(&authority, CLIENT, "admin", &client)?;
    let certificate = Path::new(CLIENT).join(format!("{CLIENT}.pem"));
    cert::client_file(&authority, certificate, &addresses).write(file)
}

/// Whether a replica was started that had its log in memory. All of a folder's replicas stop together.
fn is_gone(data: &Path) -> bool {
    if matches!(FileDisk::open(data), Err(DiskError::Locked { .. })) {
        // It runs.
        return false;
    }
    let copies = FileDisk::open_read_only(data).ok().and_then(|disk| superblock_copies(&disk).ok());
    let good = copies.iter().flatten().filter_map(|copy| copy.content.as_ref().ok());
    good.max_by_key(|content| content.0).is_some_and(|(_, format, state)| {
        format.constants.durability == Durability::Memory && state.incarnation > Incarnation::ZERO
    })
}

/// The first free ports of the series.
fn addresses(replicas: u32, base_port: u16) -> Outcome<Vec<(u32, String)>> {
    // All are held until all are chosen, so that none is chosen twice.
    let mut held = Vec::new();
    let mut port = Some(base_port);
    while let Some(candidate) = port {
        if held.len() == replicas as usize {
            break;
        }
        held.extend(UdpSocket::bind((Ipv4Addr::LOCALHOST, candidate)));
        port = candidate.checked_add(PORT_STEP);
    }
    if held.len() < replicas as usize {
        return Err(Failure::usage(
            format!("there are no {replicas} free UDP ports from {base_port} on"),
            "name another first one: --base-port PORT",
        ));
    }
    let address = |socket: &UdpSocket| socket.local_addr().map(|address| address.to_string());
    let addresses = held.iter().map(address).collect::<Result<Vec<_>, _>>();
    let addresses = addresses
        .map_err(|error| Failure::usage(format!("cannot take ports: {error}"), "try again"))?;
    Ok((0..).zip(addresses).collect())
}
