//! Real processes for tests: bounded in time, and ended by their ids however a test ends.
#![allow(dead_code, reason = "each test file uses a part of this")]
#![allow(clippy::unwrap_used, reason = "a test fails where its surroundings do")]

pub(crate) mod dice;
pub(crate) mod history;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take, on a machine that is busy with other tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(45);

/// The command, without what the surroundings say.
pub(crate) fn vsr() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vsr"));
    for name in ["VSR_CONTEXT", "VSR_LISTEN", "VSR_ADMIN", "VSR_LOG"] {
        command.env_remove(name);
    }
    command
}

/// What a command printed, and its exit status.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) status: i32,
}

impl Ran {
    /// The output of a command that must have succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.status, 0, "{}\n{}", self.out, self.err);
        self.out
    }

    /// The errors of a command that must have failed so, with a next step.
    #[track_caller]
    pub(crate) fn fails(self, status: i32) -> String {
        assert_eq!(self.status, status, "{}\n{}", self.out, self.err);
        self.err
    }
}

/// Runs a command to its end.
#[track_caller]
pub(crate) fn run(command: &mut Command, input: &[u8]) -> Ran {
    let mut process = Process::spawn(command);
    process.say(input);
    process.end()
}

/// A process that does not outlive its test.
pub(crate) struct Process {
    child: Child,
    input: Option<ChildStdin>,
    out: Receiver<String>,
    err: Receiver<String>,
    /// The lines of `err` that were looked at.
    pub(crate) seen: Vec<String>,
}

impl Process {
    #[track_caller]
    pub(crate) fn spawn(command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let out = lines(child.stdout.take().unwrap());
        let err = lines(child.stderr.take().unwrap());
        let input = child.stdin.take();
        Self { child, input, out, err, seen: Vec::new() }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Writes to its input. That it ended already is for the test to find out.
    pub(crate) fn say(&mut self, text: &[u8]) {
        let input = self.input.as_mut().expect("the input is open");
        let _ = input.write_all(text);
        let _ = input.flush();
    }

    pub(crate) fn end_input(&mut self) {
        self.input = None;
    }

    /// Waits for a line on standard output.
    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        self.out.recv_timeout(PATIENCE).expect("a line of output")
    }

    /// Waits for a line on standard error that holds a text.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.err.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("`{text}` never came: {:#?}", self.seen)
                }
            }
        }
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.ended().is_none() {
            assert!(Instant::now() < deadline, "the process does not end");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether it has ended, and how.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Sends a signal, as `kill` names it.
    pub(crate) fn signal(&self, name: &str) {
        signal(self.id(), name);
    }

    /// Closes its input and waits for its end.
    #[track_caller]
    pub(crate) fn end(mut self) -> Ran {
        self.end_input();
        let out = rest(&self.out);
        let mut err = std::mem::take(&mut self.seen);
        err.extend(rest(&self.err));
        let out: Vec<String> = out;
        // Its outputs have ended, so this does not wait for long.
        let status = self.child.wait().unwrap().code().unwrap_or(-1);
        let text = |lines: Vec<String>| lines.iter().map(|line| format!("{line}\n")).collect();
        Ran { out: text(out), err: text(err), status }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Where it has ended, there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn signal(pid: u32, name: &str) {
    let done = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    assert!(done.unwrap().success(), "kill -{name} {pid}");
}

fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n') {
            let Ok(line) = line else { return };
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
    receiver
}

#[track_caller]
fn rest(lines: &Receiver<String>) -> Vec<String> {
    let deadline = Instant::now() + PATIENCE;
    let mut rest = Vec::new();
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => rest.push(line),
            Err(RecvTimeoutError::Disconnected) => return rest,
            Err(RecvTimeoutError::Timeout) => panic!("the process does not end: {rest:#?}"),
        }
    }
}

/// A `vsr dev` in a folder of its own.
pub(crate) struct Dev {
    pub(crate) process: Process,
    pub(crate) folder: TempDir,
    /// Replicas that the test started by hand.
    pub(crate) started: Vec<Process>,
}

impl Dev {
    #[track_caller]
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// [`Dev::start`], with more words on its command line.
    #[track_caller]
    pub(crate) fn start_with(words: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut process = Process::spawn(dev(&folder.path().join("vsr-dev")).args(words));
        process.wait_for("ready");
        Self { process, folder, started: Vec::new() }
    }

    /// Stops all of it, for it to be started again.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        self.process.signal("TERM");
        self.process.wait();
    }

    /// Starts what is in the folder.
    #[track_caller]
    pub(crate) fn start_again(&mut self) {
        self.process = Process::spawn(&mut dev(&self.dir()));
        self.process.wait_for("ready");
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.folder.path().join("vsr-dev")
    }

    /// A client command in the folder.
    pub(crate) fn client(&self, words: &[&str]) -> Command {
        let mut command = vsr();
        command.current_dir(self.folder.path()).args(words);
        command
    }

    /// Runs a client command.
    #[track_caller]
    pub(crate) fn run(&self, words: &[&str]) -> Ran {
        run(&mut self.client(words), b"")
    }

    #[track_caller]
    pub(crate) fn status(&self) -> Value {
        serde_json::from_str(&self.run(&["status", "-o", "json"]).ok()).unwrap()
    }

    /// [`Dev::status`]; an empty one where no replica answers.
    pub(crate) fn status_if_any(&self) -> Value {
        let ran = self.run(&["status", "-o", "json"]);
        serde_json::from_str(&ran.out).unwrap_or_else(|_| serde_json::json!({"replicas": []}))
    }

    /// Asks how the cluster is until it is as wanted.
    #[track_caller]
    pub(crate) fn wait_until(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        self.wait_within(PATIENCE, what, holds)
    }

    /// [`Dev::wait_until`], for what may take longer.
    #[track_caller]
    pub(crate) fn wait_within(
        &self,
        patience: Duration,
        what: &str,
        holds: impl Fn(&Value) -> bool,
    ) -> Value {
        let deadline = Instant::now() + patience;
        loop {
            let status = self.status();
            if holds(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "{what} never came: {status:#}");
        }
    }

    /// The primary and the pid of its process.
    #[track_caller]
    pub(crate) fn primary(&self) -> (u64, u32) {
        let status = self.wait_until("a primary", |status| status["primary"].is_u64());
        let primary = status["primary"].as_u64().unwrap();
        (primary, pid(&status, primary))
    }

    /// Starts a replica by hand, as the line that `dev` prints says.
    #[track_caller]
    pub(crate) fn start_replica(&mut self, id: u64) {
        self.launch_replica(id, &[]);
        let replica = self.started.last_mut().expect("it was launched");
        replica.wait_for("ready");
    }

    /// Starts a replica by hand that is to die at a point, as the feature `failpoints` has it.
    #[track_caller]
    pub(crate) fn launch_replica_to_die(&mut self, id: u64, point: &str) {
        let mut command = vsr();
        command.args(["start", "--dir"]).arg(self.dir().join(format!("r{id}")));
        self.started.push(Process::spawn(command.env("VSR_FAILPOINT", point)));
    }

    /// Starts a replica by hand under another command.
    #[track_caller]
    pub(crate) fn launch_replica_under(&mut self, id: u64, words: &[&str]) {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg(env!("CARGO_BIN_EXE_vsr"));
        command.args(["start", "--dir"]).arg(self.dir().join(format!("r{id}")));
        self.started.push(Process::spawn(&mut command));
    }

    /// [`Dev::start_replica`] with more words, without waiting for it.
    #[track_caller]
    pub(crate) fn launch_replica(&mut self, id: u64, words: &[&str]) {
        let mut command = vsr();
        command.args(["start", "--dir"]).arg(self.dir().join(format!("r{id}"))).args(words);
        self.started.push(Process::spawn(&mut command));
    }
}

/// `vsr dev` in a folder, on ports that nobody has at present.
pub(crate) fn dev(dir: &Path) -> Command {
    let mut command = vsr();
    command.arg("dev").arg("--dir").arg(dir).args(["--base-port", &free_port().to_string()]);
    command
}

pub(crate) fn free_port() -> u16 {
    let free = || UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let low = |port: &u16| *port < 60_000;
    std::iter::repeat_with(free).find(low).unwrap()
}

pub(crate) fn replica(status: &Value, id: u64) -> &Value {
    let replicas = status["replicas"].as_array().unwrap();
    replicas.iter().find(|replica| replica["id"] == id).unwrap()
}

pub(crate) fn pid(status: &Value, id: u64) -> u32 {
    replica(status, id)["pid"].as_u64().unwrap().try_into().unwrap()
}

/// Whether all replicas answer.
pub(crate) fn are_all(status: &Value) -> bool {
    status["replicas"].as_array().unwrap().iter().all(|r| r["pid"].is_u64())
}

/// Whether they are level, and nothing waits to be repaired.
pub(crate) fn are_whole(status: &Value) -> bool {
    let replicas = status["replicas"].as_array().unwrap();
    are_level(status) && replicas.iter().all(|r| r["repairs_pending"] == 0)
}

/// Whether all three replicas answer, and are at the same op with the same state.
pub(crate) fn are_level(status: &Value) -> bool {
    let replicas = status["replicas"].as_array().unwrap();
    let first = &replicas[0]["digest"];
    replicas.iter().all(|r| r["status"] == "normal" && r["digest"] == *first) && first.is_object()
}
