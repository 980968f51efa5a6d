//! The `vsr` command.
#![forbid(unsafe_code)]

mod cli;
mod context;
mod error;
mod output;
mod units;

fn main() {}
