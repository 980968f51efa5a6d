//! `vsr sim`: the deterministic simulator, and stories.

use std::fs;
use std::path::Path;
use std::sync::Mutex;

use serde_json::{Value, json};
use vsr_sim::explore::{self, Bounds, explore};
use vsr_sim::shrink::shrink;
use vsr_sim::simulate::{Options, Report, Summary, Verdict, run_seeds, simulate};
use vsr_sim::story::{Fault, REASONS, run_story};

use crate::cli::{SimCommand, SimExploreArgs, SimRunArgs};
use crate::error::{Failure, Outcome, Status};
use crate::output::{Format, print_json, print_line, progress, say};

/// The largest story that is read: one of 40 commands has less than 2 KiB.
const STORY_BYTES_MAX: u64 = 1 << 20;

pub(crate) fn run(command: SimCommand) -> Outcome {
    match command {
        SimCommand::Story { reasons: true, .. } => {
            REASONS.iter().try_for_each(|reason| print_line(reason.to_string().as_bytes()))
        }
        SimCommand::Story { file: Some(file), .. } => story(&file),
        SimCommand::Story { file: None, .. } => Err(Failure::usage("no story", "name a file")),
        SimCommand::Run(args) => simulator(&args),
        SimCommand::Explore(args) => explorer(&args),
        SimCommand::View(_) => Err(Failure::not_supported("`vsr sim view`")),
    }
}

fn story(file: &Path) -> Outcome {
    let metadata = fs::metadata(file).map_err(|error| Failure::file("read", file, &error))?;
    if !metadata.is_file() || metadata.len() > STORY_BYTES_MAX {
        return Err(Failure::usage(
            format!("{} is not a story", file.display()),
            "a story is a text file of commands, one a line",
        ));
    }
    let text = fs::read_to_string(file).map_err(|error| Failure::file("read", file, &error))?;
    match run_story(&text) {
        Ok(transcript) => print_line(transcript.to_string().trim_end().as_bytes()),
        Err(error) => {
            print_line(error.transcript.to_string().trim_end().as_bytes())?;
            let status = Status::of_code(error.fault.exit_status().into());
            let hint = match &error.fault {
                Fault::NotSupported(_) => "take the line out, or use a version that has it",
                Fault::Malformed(_) => "mend the line",
                Fault::Failed(_) | Fault::Invariant(_) => "the transcript shows what led to it",
            };
            let status = status.unwrap_or(Status::Refused);
            Err(Failure::new(status, format!("{}: {error}", file.display()), hint))
        }
    }
}

fn simulator(args: &SimRunArgs) -> Outcome {
    if let Some(profile) = &args.profile {
        return Err(Failure::not_supported(&format!("`--profile {profile}`")));
    }
    let seeds = match (args.seed, &args.seeds) {
        (Some(seed), _) => seed..seed.saturating_add(1),
        (None, Some(seeds)) => seeds.clone(),
        (None, None) => {
            let seed = u64::from(uuid::Uuid::new_v4().as_fields().0);
            seed..seed + 1
        }
    };
    let mut options = Options { trace: args.trace.is_some(), ..Options::DEFAULT };
    options.steps = args.steps.unwrap_or(options.steps);
    if let Some(file) = &args.trace {
        let report = simulate(seeds.start, &options);
        let trace: String = report.trace.iter().map(|line| format!("{line}\n")).collect();
        fs::write(file, trace).map_err(|error| Failure::file("write", file, &error))?;
        let mut summary = Summary::default();
        let reports = vec![of_json(&report.json())];
        summary.add(report);
        return tell(args, &options, &summary, reports);
    }
    let bar = progress(Some(seeds.end - seeds.start), "seeds");
    let reports = Mutex::new(Vec::new());
    let done = |report: &Report| {
        bar.inc(1);
        if args.output == Format::Json {
            reports
                .lock()
                .expect("nobody panics while it holds this")
                .push((report.seed, report.json()));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let summary = run_seeds(seeds, &options, threads, &done);
    bar.finish_and_clear();
    let mut reports = reports.into_inner().expect("nobody panics while it holds this");
    reports.sort();
    let reports = reports.into_iter().map(|(_, report)| of_json(&report)).collect();
    tell(args, &options, &summary, reports)
}

fn tell(args: &SimRunArgs, options: &Options, summary: &Summary, seeds: Vec<Value>) -> Outcome {
    match args.output {
        Format::Json => print_json(&json!({ "seeds": seeds, "sum": of_json(&summary.json()) }))?,
        Format::Table => print_line(summary.text().trim_end().as_bytes())?,
    }
    let Some(first) = summary.broken.first() else { return Ok(()) };
    for report in &summary.broken {
        if let Verdict::Broken(what) = &report.verdict {
            say(&format!("seed {}: {what}", report.seed));
        }
    }
    // The story is for people, who look at the standard error of a run that prints JSON.
    if let Some(shrunk) = shrink(first.seed, options) {
        say(&format!("seed {} as a story:\n{}", first.seed, shrunk.story));
    }
    Err(Failure::refused(
        format!("{} of {} seeds broke a promise", summary.broken.len(), summary.seeds),
        format!("run one again: vsr sim run --seed {} --steps {}", first.seed, options.steps),
    ))
}

fn explorer(args: &SimExploreArgs) -> Outcome {
    let bounds = Bounds {
        replicas: args.replicas,
        ops: args.ops,
        view_changes: args.view_changes,
        crashes: args.crashes,
        slow: !args.quick_disks,
        states: args.states,
        depth: args.depth.unwrap_or(u32::MAX),
        seconds: args.seconds.unwrap_or(u64::MAX),
    };
    let bar = progress(Some(args.states), "states");
    let explored = explore(&bounds, &mut |report| bar.set_position(report.states));
    bar.finish_and_clear();
    let report = explored.map_err(|why| Failure::usage(why, "see: vsr sim explore --help"))?;
    match args.output {
        Format::Json => print_json(&of_exploration(&bounds, &report))?,
        Format::Table => print_line(report.text().trim_end().as_bytes())?,
    }
    let explore::Verdict::Broken(found) = report.verdict else { return Ok(()) };
    say(&format!("as a story:\n{}", found.story));
    Err(Failure::refused(
        format!("a state breaks a promise: {}", found.what),
        "save the story, and run it: vsr sim story FILE",
    ))
}

fn of_exploration(bounds: &Bounds, report: &explore::Report) -> Value {
    let (verdict, found) = match &report.verdict {
        explore::Verdict::Exhausted => ("exhausted", None),
        explore::Verdict::Bounded(limit) => (*limit, None),
        explore::Verdict::Broken(found) => ("broken", Some(found)),
    };
    json!({
        "replicas": bounds.replicas,
        "ops": bounds.ops,
        "view_changes": bounds.view_changes,
        "crashes": bounds.crashes,
        "verdict": verdict,
        "broken": found.map(|found| &found.what),
        "story": found.map(|found| &found.story),
        "states": report.states,
        "transitions": report.transitions,
        "depth": report.depth,
        "committed": report.committed,
        "seconds": report.seconds,
        "memory_bytes": report.memory,
    })
}

/// The simulator's documents are JSON by construction.
fn of_json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}
