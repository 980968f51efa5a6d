//! The `vsr` command.
#![forbid(unsafe_code)]

mod cli;
mod commands;

mod admin;
mod cluster;
mod context;
mod error;
mod lines;
mod output;
mod remote;
mod signals;
mod units;
mod verbs;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use tracing_subscriber::EnvFilter;

use cli::{Cli, Command};
use error::{Failure, Outcome, Status};

fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr(&cli.command);
    match run(cli.command) {
        Ok(()) => Status::Done.into(),
        Err(failure) => {
            if !failure.said {
                output::say(&failure.to_string());
            }
            failure.status.into()
        }
    }
}

fn run(command: Command) -> Outcome {
    match command {
        Command::Demo(args) => wait(commands::demo::run(&args)),
        Command::Dev(args) => wait(commands::dev::run(&args)),
        Command::Format(args) => commands::format::run(&args),
        Command::Start(args) => wait(commands::start::run(&args)),
        Command::Kv(args) => wait(commands::kv::run(args)),
        Command::Shell(args) => wait(commands::shell::run(&args)),
        Command::Status(args) => wait(commands::status::run(args)),
        Command::Bench(args) => wait(commands::bench::run(args)),
        Command::Cert(command) => commands::cert::run(command),
        Command::Inspect(args) => commands::inspect::run(&args),
        Command::Sim(command) => commands::sim::run(command),
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "vsr", &mut script);
            output::print_line(&script)
        }
        Command::Version { verbose } => commands::version::run(verbose),
        Command::Recover(_) => Err(Failure::not_supported("`vsr recover`")),
        Command::Member(_) => Err(Failure::not_supported("`vsr member`")),
        Command::Primary(_) => Err(Failure::not_supported("`vsr primary`")),
        Command::Snapshot(_) => Err(Failure::not_supported("`vsr snapshot`")),
        Command::Doctor(_) => Err(Failure::not_supported("`vsr doctor`")),
        Command::Config(_) => Err(Failure::not_supported("`vsr config`")),
    }
}

/// Runs a command to its end on this thread.
fn wait(command: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| {
        Failure::usage(format!("cannot start: {error}"), "free memory or file descriptors")
    })?;
    let outcome = runtime.block_on(command);
    // A thread that waits for a line of standard input must not keep the process.
    runtime.shutdown_background();
    outcome
}

/// `VSR_LOG` says what is logged, as `info` or `vsr_tokio=debug`; unless it does, a replica says what
/// it becomes, and a client what it is refused.
fn log_to_stderr(command: &Command) {
    let default = if matches!(command, Command::Start(_)) { "info" } else { "error" };
    let filter = EnvFilter::try_from_env("VSR_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        // That a line cannot be written, as on a full disk, must not end a replica.
        .log_internal_errors(false)
        .init();
}
