//! Runs seeds and prints what they came to; a seed that fails is shrunk to a story:
//! `cargo run --release -p vsr-sim --example budget -- --seeds 0..3000 [--steps N] [--threads N]
//! [--until broken] [--marks]`.

use std::ops::Range;
use std::process::ExitCode;

use vsr_sim::shrink::shrink;
use vsr_sim::simulate::{Options, Report, Summary, run_seeds};

/// How many failing seeds are shrunk: one defect breaks many, some of which come to a shorter story.
const SHRUNK_MAX: usize = 5;

/// A story that a person reads has at most this many commands.
const COMMANDS_MAX: usize = 40;

/// How many seeds are run before it is looked whether one failed.
const BATCH: u64 = 200;

struct Arguments {
    seeds: Range<u64>,
    options: Options,
    threads: usize,
    /// Stop at the first batch with a failure.
    until_broken: bool,
    /// Whether every mark that a long run must reach is demanded.
    marks: bool,
}

fn main() -> ExitCode {
    let arguments = match read_arguments() {
        Ok(arguments) => arguments,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
    };
    // What a panic says is in the report.
    std::panic::set_hook(Box::new(|_| {}));
    let started = std::time::Instant::now();
    let summary = run(&arguments);
    for report in &summary.broken {
        println!("seed {}: {:?}", report.seed, report.verdict);
    }
    print!("{}", summary.text());
    println!("{:.1} s on {} threads", started.elapsed().as_secs_f64(), arguments.threads);
    // What broke early is soon told.
    let mut broken: Vec<&Report> = summary.broken.iter().collect();
    broken.sort_by_key(|report| report.events);
    for report in broken.into_iter().take(SHRUNK_MAX) {
        let short = print_story(report, &arguments.options);
        if arguments.until_broken && short {
            break;
        }
    }
    let missed: Vec<&str> = summary.marks.missed().collect();
    if arguments.marks && !missed.is_empty() {
        println!("these marks must be reached, and were not: {}", missed.join(", "));
        return ExitCode::FAILURE;
    }
    if summary.is_passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(arguments: &Arguments) -> Summary {
    let Arguments { seeds, options, threads, until_broken, .. } = arguments;
    if !until_broken {
        return run_seeds(seeds.clone(), options, *threads, &|_| {});
    }
    let mut start = seeds.start;
    loop {
        let end = (start + BATCH).min(seeds.end);
        let summary = run_seeds(start..end, options, *threads, &|_| {});
        if !summary.is_passed() || end == seeds.end {
            return summary;
        }
        start = end;
    }
}

/// Returns whether it came to a story short enough to be read.
fn print_story(report: &Report, options: &Options) -> bool {
    println!();
    let mut short = false;
    match shrink(report.seed, options) {
        Some(shrunk) => {
            let fails = if shrunk.fails { "fails when run" } else { "PASSES when run" };
            println!("shrunk to {} commands; {fails}: {}", shrunk.commands, shrunk.broken);
            print!("{}", shrunk.story);
            short = shrunk.fails && shrunk.commands <= COMMANDS_MAX;
        }
        None => println!("seed {} could not be shrunk: {:?}", report.seed, report.verdict),
    }
    let seed = report.seed;
    println!("again: cargo run --release -p vsr-sim --example budget -- --seed {seed}");
    short
}

fn read_arguments() -> Result<Arguments, String> {
    let mut arguments = Arguments {
        seeds: 0..3000,
        options: Options::DEFAULT,
        threads: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        until_broken: false,
        marks: false,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        if word == "--marks" {
            arguments.marks = true;
            continue;
        }
        let value = words.next().ok_or_else(|| format!("`{word}` needs a value"))?;
        let number =
            |text: &str| text.parse::<u64>().map_err(|_| format!("`{text}` is not a number"));
        match word.as_str() {
            "--seeds" => {
                let (from, to) = value.split_once("..").ok_or("write --seeds 0..3000")?;
                arguments.seeds = number(from)?..number(to)?;
            }
            "--seed" => arguments.seeds = number(&value)?..number(&value)? + 1,
            "--steps" => arguments.options.steps = number(&value)?,
            "--threads" => arguments.threads = number(&value)? as usize,
            "--until" if value == "broken" => arguments.until_broken = true,
            _ => return Err(format!("unknown option `{word} {value}`")),
        }
    }
    Ok(arguments)
}
