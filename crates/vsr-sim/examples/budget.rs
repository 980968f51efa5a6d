//! Runs seeds and prints what they came to:
//! `cargo run --release -p vsr-sim --example budget -- --seeds 0..2000 [--steps N] [--threads N]`.

use std::process::ExitCode;

use vsr_sim::shrink::shrink;
use vsr_sim::simulate::{Options, run_seeds};

/// How many failing seeds are shrunk: one story is read at a time.
const SHRUNK_MAX: usize = 3;

fn main() -> ExitCode {
    let mut seeds = 0..2000;
    let mut options = Options::DEFAULT;
    let mut threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().unwrap_or_default();
        let number = || value.parse::<u64>().unwrap_or_else(|_| panic!("`{value}` is no number"));
        match word.as_str() {
            "--seeds" => {
                let (from, to) = value.split_once("..").expect("write --seeds 0..2000");
                seeds = from.parse().expect("a number")..to.parse().expect("a number");
            }
            "--seed" => seeds = number()..number() + 1,
            "--steps" => options.steps = number(),
            "--threads" => threads = number() as usize,
            _ => panic!("unknown option `{word}`"),
        }
    }
    let started = std::time::Instant::now();
    let summary = run_seeds(seeds, &options, threads, &|report| {
        if !report.verdict.is_passed() {
            eprintln!("seed {}: {:?}", report.seed, report.verdict);
        }
    });
    print!("{}", summary.text());
    println!("{:.1} s on {threads} threads", started.elapsed().as_secs_f64());
    for report in summary.broken.iter().take(SHRUNK_MAX) {
        println!("\nseed {}: {:?}", report.seed, report.verdict);
        match shrink(report.seed, &options) {
            Some(shrunk) => println!("{}{}", shrunk.story, shrunk.broken),
            None => println!("(it could not be shrunk)"),
        }
        let seed = report.seed;
        println!("again: cargo run --release -p vsr-sim --example budget -- --seed {seed}");
    }
    if summary.is_passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
