//! What a run, and many runs, came to.

use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::marks::Marks;
use crate::simulate::schedule::Schedule;
use crate::simulate::{Options, simulate};

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All that must hold held.
    Passed,
    /// All invariants held; whether the clients' history is linearizable was too hard to decide.
    Undecided,
    /// All that must hold held, and the group waits for what none of its members can know (L9).
    Waits,
    /// Something broke: says what.
    Broken(String),
}

/// Of so many seeds, at most one may come to a group that waits: it takes rare quorums and a rare
/// loss. More say that something else is taken for it.
const WAITING_ONE_IN: u64 = 250;

impl Verdict {
    /// Whether nothing broke.
    #[must_use]
    pub const fn is_passed(&self) -> bool {
        matches!(self, Self::Passed | Self::Undecided | Self::Waits)
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Undecided => "undecided",
            Self::Waits => "waits",
            Self::Broken(_) => "broken",
        }
    }
}

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Faults by kind, as they struck.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Faults {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Faults {
            /// Names and counts.
            #[must_use]
            pub fn list(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }

            fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

faults! {
    /// Messages lost.
    lost,
    /// Messages that took far longer than usual, and were overtaken.
    delayed,
    /// Messages delivered twice.
    doubled,
    /// Partitions.
    partitions,
    /// Links cut one way.
    one_way_cuts,
    /// Processes that died.
    crashes,
    /// Of those, how many tore writes.
    torn,
    /// Processes started again.
    restarts,
    /// Processes that stood still.
    pauses,
    /// Syncs that took far longer than usual.
    stalled,
    /// Operators' commands to give up the primary's role.
    abdications,
    /// Clocks that went far ahead.
    wild_clocks,
    /// Records of the log that rotted.
    rotten_records,
    /// Chunks of checkpoints that rotted.
    rotten_chunks,
    /// Records, headers and superblock copies that were damaged in any other way, and whole sectors.
    damaged,
    /// File systems that filled up.
    filled,
    /// Syncs that failed.
    failed_syncs,
    /// Calls that clients gave up.
    given_up,
    /// Clients that began anew.
    client_restarts,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// How it ended.
    pub verdict: Verdict,
    /// Applied choices other than pings and idle heartbeats.
    pub events: u64,
    /// Simulated time.
    pub sim_seconds: f64,
    /// Real time.
    pub wall_seconds: f64,
    /// Faults by kind.
    pub faults: Faults,
    /// Ops committed.
    pub commits: u64,
    /// Views started after the first.
    pub view_changes: u64,
    /// Calls that clients made.
    pub calls: u64,
    /// Replicas in the group.
    pub replicas: u32,
    /// Rare paths taken.
    pub marks: Marks,
    /// Tells two runs apart.
    pub trace_hash: u64,
    /// The trace, a JSON object a line, if it was asked for.
    pub trace: Vec<String>,
}

impl Schedule {
    pub(super) fn report(&mut self, verdict: Verdict) -> Report {
        let checker = self.world.checker();
        Report {
            seed: self.seed(),
            verdict,
            events: self.events,
            sim_seconds: self.world.now() as f64 / 1e9,
            wall_seconds: 0.0,
            faults: self.faults,
            commits: checker.committed(),
            view_changes: checker.view_changes(),
            calls: self.world.history().len() as u64,
            replicas: self.swarm.cluster.replicas,
            marks: checker.marks().clone(),
            trace_hash: self.world.trace_hash(),
            trace: self.world.take_trace(),
        }
    }
}

impl Report {
    /// The report as a JSON object.
    #[must_use]
    pub fn json(&self) -> String {
        let verdict = match &self.verdict {
            Verdict::Broken(what) => format!(", \"broken\": {}", json_string(what)),
            Verdict::Passed | Verdict::Undecided | Verdict::Waits => String::new(),
        };
        format!(
            "{{\"seed\": {}, \"verdict\": \"{}\"{verdict}, \"events\": {}, \
             \"sim_seconds\": {:.3}, \"wall_seconds\": {:.3}, \"faults\": {}, \"commits\": {}, \
             \"view_changes\": {}, \"crashes\": {}, \"marks\": {}, \"trace_hash\": \"{:016x}\"}}",
            self.seed,
            self.verdict.name(),
            self.events,
            self.sim_seconds,
            self.wall_seconds,
            faults_json(&self.faults),
            self.commits,
            self.view_changes,
            self.faults.crashes,
            self.marks.json(),
            self.trace_hash,
        )
    }
}

/// What many runs came to.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// How many seeds were run.
    pub seeds: u64,
    /// The reports of seeds that broke something, by seed.
    pub broken: Vec<Report>,
    /// Seeds whose history was too hard to decide.
    pub undecided: u64,
    /// Seeds whose group waits, as it must.
    pub waiting: u64,
    /// Applied choices other than pings and idle heartbeats.
    pub events: u64,
    /// Simulated time.
    pub sim_seconds: f64,
    /// Real time, of all threads together.
    pub wall_seconds: f64,
    /// Faults by kind.
    pub faults: Faults,
    /// Ops committed.
    pub commits: u64,
    /// Views started after the first.
    pub view_changes: u64,
    /// Calls that clients made.
    pub calls: u64,
    /// Rare paths taken.
    pub marks: Marks,
    /// The hashes of all runs, one after the other.
    pub trace_hash: u64,
}

impl Summary {
    /// Adds a run.
    pub fn add(&mut self, report: Report) {
        self.seeds += 1;
        self.undecided += u64::from(report.verdict == Verdict::Undecided);
        self.waiting += u64::from(report.verdict == Verdict::Waits);
        self.events += report.events;
        self.sim_seconds += report.sim_seconds;
        self.wall_seconds += report.wall_seconds;
        self.faults.add(&report.faults);
        self.commits += report.commits;
        self.view_changes += report.view_changes;
        self.calls += report.calls;
        self.marks.merge(&report.marks);
        self.trace_hash = self.trace_hash.rotate_left(5) ^ report.trace_hash;
        if !report.verdict.is_passed() {
            self.broken.push(report);
        }
    }

    /// Whether nothing broke.
    #[must_use]
    pub const fn is_passed(&self) -> bool {
        self.broken.is_empty() && self.waiting <= 1 + self.seeds / WAITING_ONE_IN
    }

    /// The summary as a JSON object.
    #[must_use]
    pub fn json(&self) -> String {
        format!(
            "{{\"seeds\": {}, \"verdict\": \"{}\", \"undecided\": {}, \"waiting\": {}, \
             \"events\": {}, \"sim_seconds\": {:.3}, \"wall_seconds\": {:.3}, \
             \"faults\": {}, \"commits\": {}, \
             \"view_changes\": {}, \"crashes\": {}, \"marks\": {}, \"trace_hash\": \"{:016x}\"}}",
            self.seeds,
            if self.is_passed() { "passed" } else { "broken" },
            self.undecided,
            self.waiting,
            self.events,
            self.sim_seconds,
            self.wall_seconds,
            faults_json(&self.faults),
            self.commits,
            self.view_changes,
            self.faults.crashes,
            self.marks.json(),
            self.trace_hash,
        )
    }

    /// The summary as a person reads it.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(
            text,
            "{} seeds, {} events, {} commits, {} view changes, {} crashes, {} calls, {:.0} s \
             simulated in {:.0} s",
            self.seeds,
            self.events,
            self.commits,
            self.view_changes,
            self.faults.crashes,
            self.calls,
            self.sim_seconds,
            self.wall_seconds
        );
        let faults: Vec<String> =
            self.faults.list().iter().map(|(name, count)| format!("{name} {count}")).collect();
        let _ = writeln!(text, "faults: {}", faults.join(", "));
        let reached: Vec<String> =
            self.marks.reached().map(|(name, count)| format!("{name} {count}")).collect();
        let _ = writeln!(text, "marks reached: {}", reached.join(", "));
        let missed: Vec<&str> = self.marks.missed().collect();
        if !missed.is_empty() {
            let _ = writeln!(text, "marks missed: {}", missed.join(", "));
        }
        let guards: Vec<String> =
            self.marks.guards().map(|(name, count)| format!("{name} {count}")).collect();
        let _ = writeln!(text, "guards: {}", guards.join(", "));
        let _ = writeln!(text, "undecided histories: {}", self.undecided);
        let _ = writeln!(text, "groups that wait for what none of them can know: {}", self.waiting);
        let _ = writeln!(text, "trace hash {:016x}", self.trace_hash);
        text
    }
}

/// Runs seeds on several threads. The summary does not depend on how many there are. `done` hears of
/// each run as it ends.
pub fn run_seeds(
    seeds: std::ops::Range<u64>,
    options: &Options,
    threads: usize,
    done: &(dyn Fn(&Report) + Sync),
) -> Summary {
    let next = AtomicU64::new(seeds.start);
    let reports: Mutex<Vec<Report>> = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    let report = simulate(seed, options);
                    done(&report);
                    reports.lock().expect("no thread panics while it holds this").push(report);
                }
            });
        }
    });
    let mut reports = reports.into_inner().expect("no thread panics while it holds this");
    reports.sort_by_key(|report| report.seed);
    let mut summary = Summary::default();
    for report in reports {
        summary.add(report);
    }
    summary
}

fn faults_json(faults: &Faults) -> String {
    let fields: Vec<String> =
        faults.list().iter().map(|(name, count)| format!("\"{name}\": {count}")).collect();
    format!("{{{}}}", fields.join(", "))
}

/// A string as JSON writes it.
fn json_string(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            control if control < ' ' => {
                let _ = write!(out, "\\u{:04x}", control as u32);
            }
            plain => out.push(plain),
        }
    }
    out.push('"');
    out
}
