//! Runs a story and prints its transcript: `cargo run -p vsr-sim --example story -- FILE`.

use std::process::ExitCode;

use vsr_sim::story::run_story;

fn main() -> ExitCode {
    let Some(path) = std::env::args().nth(1) else {
        eprintln!("name a story: cargo run -p vsr-sim --example story -- FILE");
        return ExitCode::from(2);
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("{path}: {error}");
            return ExitCode::from(2);
        }
    };
    match run_story(&text) {
        Ok(transcript) => {
            print!("{transcript}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            print!("{}", error.transcript);
            eprintln!("{path}: {error}");
            ExitCode::from(error.fault.exit_status())
        }
    }
}
