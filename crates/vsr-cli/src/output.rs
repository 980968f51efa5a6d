//! What commands print: answers to standard output, everything else to standard error; colour and
//! progress only where a person looks.

use std::io::{self, IsTerminal, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::error::{Failure, Outcome, Status};

/// The version of every JSON document's shape: it grows when a field changes its meaning.
pub(crate) const SCHEMA: u32 = 1;

/// How a report is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// One JSON document with `"schema": 1`.
    Json,
}

/// A document with its schema in front.
#[derive(Serialize)]
struct Document<'a, T> {
    schema: u32,
    #[serde(flatten)]
    content: &'a T,
}

/// Prints one JSON document.
///
/// # Errors
/// Standard output is gone.
pub(crate) fn print_json<T: Serialize>(content: &T) -> Outcome {
    let document = Document { schema: SCHEMA, content };
    let text = serde_json::to_string_pretty(&document).map_err(|error| {
        Failure::new(Status::Refused, format!("cannot write JSON: {error}"), "")
    })?;
    print_line(text.as_bytes())
}

/// Prints a line to standard output, at once.
///
/// # Errors
/// Standard output is gone.
pub(crate) fn print_line(line: &[u8]) -> Outcome {
    let mut out = io::stdout().lock();
    out.write_all(line)
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush())
        .map_err(|error| output_gone(&error))
}

/// Prints the answer of an operation that was executed. That its reader has left already makes it
/// no less done.
///
/// # Errors
/// Standard output cannot be written for another reason.
pub(crate) fn print_answer(line: &[u8]) -> Outcome {
    match print_line(line) {
        Err(failure) if failure.said => Ok(()),
        printed => printed,
    }
}

/// The failure of a command whose output cannot be written: what it did stays done. A reader that
/// has seen enough, as `head` has, needs not be told.
pub(crate) fn output_gone(error: &io::Error) -> Failure {
    let failure = Failure::usage(
        format!("cannot write to standard output: {error}"),
        "keep the reader of the output open until the command ends",
    );
    if error.kind() == io::ErrorKind::BrokenPipe { failure.said() } else { failure }
}

/// Prints a line for people to standard error. That nobody reads it is no reason to stop.
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Columns, each as wide as its widest cell; the first row is the heading.
#[derive(Debug, Default)]
pub(crate) struct Table(Vec<Vec<String>>);

impl Table {
    pub(crate) fn new(heading: &[&str]) -> Self {
        Self(vec![heading.iter().map(|cell| (*cell).to_owned()).collect()])
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.0.push(cells.into_iter().collect());
    }

    /// The lines, without spaces at their ends.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> + '_ {
        let columns = self.0.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.0.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
        };
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        self.0.iter().map(move |row| {
            let padded = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        })
    }
}

/// Colours on standard output, if it is a terminal and nobody asked for none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint(bool);

impl Paint {
    pub(crate) fn for_stdout() -> Self {
        Self(io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none())
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    pub(crate) fn good(self, text: &str) -> String {
        self.wrap("32", text)
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.wrap("31", text)
    }

    pub(crate) fn faint(self, text: &str) -> String {
        self.wrap("2", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// A bar on standard error where a person looks, and nothing otherwise. `total` of `None` counts
/// without an end.
pub(crate) fn progress(total: Option<u64>, unit: &str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden());
    }
    let template = if total.is_some() {
        format!("{{bar:40}} {{human_pos}}/{{human_len}} {unit}  {{per_sec}}  {{eta}} left  {{msg}}")
    } else {
        format!("{{spinner}} {{human_pos}} {unit}  {{per_sec}}  {{elapsed}}  {{msg}}")
    };
    let style =
        ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr()).with_style(style)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_aligns_its_columns_and_ends_its_lines_without_spaces() {
        let mut table = Table::new(&["id", "role", ""]);
        table.row(["0".to_owned(), "primary".to_owned(), String::new()]);
        table.row(["10".to_owned(), "backup".to_owned(), "next: look".to_owned()]);
        let lines: Vec<String> = table.lines().collect();
        assert_eq!(lines, ["id  role", "0   primary", "10  backup   next: look"]);
    }
}
