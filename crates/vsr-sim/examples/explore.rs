//! Explores a group and prints what it came to:
//! `cargo run --release -p vsr-sim --example explore -- --replicas 3 --ops 1 --view-changes 1
//! --crashes 1 [--quick-disks] [--states N] [--depth N] [--seconds N]`. Exits 1 with a story where a
//! promise is broken.

use std::process::ExitCode;

use vsr_sim::explore::{Bounds, Verdict, explore};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let explored = words.join(" ").parse::<Bounds>().and_then(|bounds| {
        println!("explore {bounds}");
        // What a panic says is in the report.
        std::panic::set_hook(Box::new(|_| {}));
        explore(&bounds, &mut |_| {})
    });
    let report = match explored {
        Ok(report) => report,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
    };
    print!("{}", report.text());
    let Verdict::Broken(found) = report.verdict else { return ExitCode::SUCCESS };
    let fails = if found.fails { "fails when run" } else { "PASSES when run" };
    println!("a story of {} commands; {fails}:", found.commands);
    print!("{}", found.story);
    ExitCode::FAILURE
}
