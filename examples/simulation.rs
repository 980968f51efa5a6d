//! A hundred simulated clusters under faults: crashes, partitions, lost and doubled messages, torn
//! disks. You will see what they went through together, and whether an invariant broke.

use std::process::ExitCode;

use vsr_sim::simulate::{Options, run_seeds};

fn main() -> ExitCode {
    let summary = run_seeds(0..100, &Options::DEFAULT, 2, &|_| {});
    print!("{}", summary.text());
    if summary.is_passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
