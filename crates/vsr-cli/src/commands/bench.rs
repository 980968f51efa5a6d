//! `vsr bench`: clients that call in a closed loop, and what that came to.
//!
//! 1. Every caller makes one read, which opens connections and sessions; then the clock starts.
//! 2. A caller calls again as soon as it is answered, and goes on through an outage.
//! 3. The replicas count their syncs; what they did meanwhile is the difference.
//!
//! Each caller has keys of its own, as far as there are enough, and gives each value a number, so
//! that a record of acknowledged puts can be compared with the store: under each key lies the last
//! value recorded for it, or a later one that got no answer.

mod keys;
mod measured;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use indicatif::ProgressBar;
use tokio::task::LocalSet;
use vsr_kv::{OPERATION_MAX, Operation};
use vsr_tokio::client::SESSIONS_MAX;

use self::keys::{Keys, Record, key, value};
use self::measured::{Latency, Measured, rounded, syncs};
use super::status::Report;
use crate::cli::{BenchArgs, ReadPolicy};
use crate::context::Context;
use crate::error::{Failure, Outcome, Status};
use crate::output::{Format, print_json, progress};
use crate::remote::{NoAnswer, Remote};

/// How long it runs unless told otherwise.
const SECONDS: f64 = 10.0;

/// The longest run: a day.
const SECONDS_MAX: f64 = 86_400.0;

/// The longest latency told apart from longer ones: what a deadline may be, and some.
const LATENCY_US_MAX: u64 = 600_000_000;

/// How long to wait before a call that was refused is made again.
const PAUSE: Duration = Duration::from_millis(5);

/// How long the callers' first reads may take together.
const WARM_UP_PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn run(args: BenchArgs) -> Outcome {
    let callers = check(&args)?;
    let context = Context::find(args.client.context.as_deref())?;
    let connections = (args.connections as usize).min(callers as usize);
    let sessions = (callers as usize).div_ceil(connections);
    let remotes = (0..connections)
        .map(|_| {
            let patience = args.client.deadline;
            Remote::connect_with_window(&context, sessions, args.window, patience)
        })
        .collect::<Outcome<Vec<_>>>()?;
    let record = args.record.as_deref().map(Record::create).transpose()?;
    warm_up(&remotes, callers).await?;
    let before = Report::ask(&remotes[0], None).await;
    let run = Rc::new(Run::new(&args, record));
    let tasks = LocalSet::new();
    for caller in 0..callers {
        let remote = remotes[caller as usize % connections].clone().reading(&args.read);
        tasks.spawn_local(call_on(remote, Rc::clone(&run), caller, callers));
    }
    tasks.run_until(tick(&run)).await;
    tasks.await;
    let seconds = run.begun.elapsed();
    let after = Report::ask(&remotes[0], None).await;
    run.bar.finish_and_clear();
    let tally = run.tally.borrow();
    let result = tally.result(run.begun, seconds, [&before, &after]);
    match args.output {
        Format::Json => print_json(&result)?,
        Format::Table => result.print()?,
    }
    match &tally.stopped {
        Some(failure) => Err(failure.clone()),
        None => Ok(()),
    }
}

/// How many calls are under way at a time, if the arguments go together.
fn check(args: &BenchArgs) -> Outcome<u32> {
    if let ReadPolicy::Later(policy) = &args.read {
        return Err(Failure::not_supported(&format!("`--read {policy}`")));
    }
    let callers = args.clients.saturating_mul(args.window);
    let most = args.connections as usize * SESSIONS_MAX;
    if callers as usize > most {
        return Err(Failure::usage(
            format!("{callers} calls at a time on {} connections", args.connections),
            format!("a connection has at most {SESSIONS_MAX} sessions: add connections"),
        ));
    }
    if !(0.0..=1.0).contains(&args.read_ratio) {
        return Err(Failure::usage(
            format!("a read ratio of {}", args.read_ratio),
            "choose one from 0 (only puts) to 1 (only gets)",
        ));
    }
    if args.value_size > vsr_kv::VALUE_MAX {
        return Err(Failure::usage(
            format!("values of {} bytes", args.value_size),
            format!("an operation has at most {OPERATION_MAX} bytes: choose smaller values"),
        ));
    }
    let seconds = args.seconds.unwrap_or(SECONDS);
    if !(seconds > 0.0 && seconds <= SECONDS_MAX) {
        return Err(Failure::usage(
            format!("a run of {seconds} seconds"),
            "choose more than 0 and at most a day",
        ));
    }
    Ok(callers)
}

async fn warm_up(remotes: &[Remote], callers: u32) -> Outcome {
    let first = Operation::Get { key: key(0) };
    remotes[0].wait_ready(WARM_UP_PATIENCE).await?;
    let mut reads = tokio::task::JoinSet::new();
    for caller in 0..callers as usize {
        let (remote, first) = (remotes[caller % remotes.len()].clone(), first.clone());
        reads.spawn(async move { remote.ask(&first).await });
    }
    reads.join_all().await.into_iter().try_for_each(|read| read.map(|_| ()))
}

/// One run: its end, and what came of it so far.
struct Run {
    begun: Instant,
    /// Calls end by then.
    until: Option<Instant>,
    keys: u64,
    value_size: usize,
    read_ratio: f64,
    bar: ProgressBar,
    tally: RefCell<Tally>,
}

/// What came of the calls so far.
struct Tally {
    latencies: Histogram<u64>,
    /// How many more calls may be begun.
    left: u64,
    reads: u64,
    errors: u64,
    unknown: u64,
    last_acknowledged: Instant,
    longest_gap: Duration,
    record: Option<Record>,
    /// Why it stopped early.
    stopped: Option<Failure>,
}

impl Run {
    fn new(args: &BenchArgs, record: Option<Record>) -> Self {
        let begun = Instant::now();
        let seconds = match (args.ops, args.seconds) {
            (Some(_), None) => None,
            (_, seconds) => Some(Duration::from_secs_f64(seconds.unwrap_or(SECONDS))),
        };
        let latencies = Histogram::new_with_bounds(1, LATENCY_US_MAX, 3)
            .expect("the bounds are in order and three digits are allowed");
        let tally = Tally {
            latencies,
            left: args.ops.unwrap_or(u64::MAX),
            reads: 0,
            errors: 0,
            unknown: 0,
            last_acknowledged: begun,
            longest_gap: Duration::ZERO,
            record,
            stopped: None,
        };
        Self {
            begun,
            until: seconds.map(|seconds| begun + seconds),
            keys: args.keys,
            value_size: args.value_size,
            read_ratio: args.read_ratio,
            bar: progress(args.ops, "calls"),
            tally: RefCell::new(tally),
        }
    }

    /// Whether another call may begin; counts it.
    fn take(&self) -> bool {
        if self.ends() {
            return false;
        }
        self.tally.borrow_mut().left -= 1;
        true
    }

    /// Whether calls without an answer are not made again. A run of so many calls makes each of them
    /// until it is answered.
    fn is_over(&self) -> bool {
        let in_time = self.until.is_none_or(|until| Instant::now() < until);
        !in_time || self.tally.borrow().stopped.is_some()
    }

    /// Whether no call begins any more.
    fn ends(&self) -> bool {
        self.is_over() || self.tally.borrow().left == 0
    }
}

/// One caller: a call after the other.
async fn call_on(remote: Remote, run: Rc<Run>, caller: u32, callers: u32) {
    let keys = Keys::new(u64::from(caller), u64::from(callers), run.keys);
    let mut reads_owed = 0.0;
    let mut number = 0;
    while run.take() {
        let key = keys.get(number);
        reads_owed += run.read_ratio;
        let operation = if reads_owed >= 1.0 {
            reads_owed -= 1.0;
            Operation::Get { key }
        } else {
            Operation::Put { key, value: value(caller, number, run.value_size) }
        };
        number += 1;
        call_until_answered(&remote, &run, &operation).await;
    }
}

/// Makes a call, again while the run lasts if it has no answer: a put and a get may be repeated.
async fn call_until_answered(remote: &Remote, run: &Run, operation: &Operation) {
    loop {
        let begun = Instant::now();
        match remote.call(operation).await {
            Ok(_) => {
                run.bar.inc(1);
                return run.tally.borrow_mut().acknowledged(operation, begun);
            }
            Err(no_answer) => run.tally.borrow_mut().not_acknowledged(no_answer),
        }
        if run.is_over() {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Keeps the progress bar moving through an outage, until the run is over.
async fn tick(run: &Run) {
    while !run.ends() {
        run.bar.tick();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

impl Tally {
    fn acknowledged(&mut self, operation: &Operation, begun: Instant) {
        let now = Instant::now();
        let microseconds = (now - begun).as_micros().clamp(1, u128::from(LATENCY_US_MAX)) as u64;
        self.latencies.saturating_record(microseconds);
        self.longest_gap = self.longest_gap.max(now - self.last_acknowledged);
        self.last_acknowledged = now;
        if let Operation::Put { key, value } = operation {
            if let Some(record) = &mut self.record
                && let Err(failure) = record.write(key, value)
            {
                self.stopped = Some(failure);
            }
        } else {
            self.reads += 1;
        }
    }

    fn not_acknowledged(&mut self, no_answer: NoAnswer) {
        match no_answer {
            NoAnswer::Unknown(_) => self.unknown += 1,
            NoAnswer::NotDone(failure) => {
                self.errors += 1;
                if failure.status != Status::Unavailable {
                    // It will be refused every time.
                    self.stopped = Some(failure);
                }
            }
        }
    }

    fn result(&self, begun: Instant, seconds: Duration, reports: [&Report; 2]) -> Measured {
        let ops = self.latencies.len();
        let (syncs, replicas) = syncs(reports);
        let syncs_each = syncs as f64 / replicas.max(1) as f64;
        // An outage that had not ended is a gap too.
        let gap = self.longest_gap.max(begun + seconds - self.last_acknowledged);
        Measured {
            ops,
            reads: self.reads,
            seconds: rounded(seconds.as_secs_f64(), 3),
            ops_per_second: rounded(ops as f64 / seconds.as_secs_f64(), 1),
            errors: self.errors,
            unknown: self.unknown,
            latency_us: Latency {
                p50: self.latencies.value_at_quantile(0.5),
                p90: self.latencies.value_at_quantile(0.9),
                p99: self.latencies.value_at_quantile(0.99),
                p999: self.latencies.value_at_quantile(0.999),
                max: self.latencies.max(),
            },
            longest_gap_ms: rounded(gap.as_secs_f64() * 1e3, 1),
            syncs,
            ops_per_sync: rounded(if syncs == 0 { 0.0 } else { ops as f64 / syncs_each }, 2),
        }
    }
}
