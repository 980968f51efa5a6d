//! The shell: a line in, an answer out. Interactive on a terminal; from a pipe, standard output
//! carries the answers only, a failing line does not stop the rest, and the first failure is what
//! the shell ends with.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::thread;

use rustyline::error::ReadlineError;
use tokio::sync::mpsc;
use vsr_kv::{OPERATION_MAX, Operation, text};

use super::status::Report;
use crate::cli::ShellArgs;
use crate::context::{Context, DEFAULT_PATH};
use crate::error::{Failure, Outcome};
use crate::lines::{Line, Lines};
use crate::output::{print_line, say};
use crate::remote::Remote;
use crate::verbs;

/// The longest line: the largest value with every byte escaped.
const LINE_MAX: usize = 4 * OPERATION_MAX;

const HELP: &str = "\
put KEY VALUE             set a key
get KEY                   its value
del KEY                   remove it; false where there is none
cas KEY OLD NEW           set it if it is OLD; - for OLD: if there is no such key
append KEY VALUE          add to the end of its value
incr KEY [BY]             add to a number
range PREFIX [LIMIT] [after KEY]    keys and values
txn OPERATION ; OPERATION ...       all of them, or none
status                    who is primary, and how far each replica is
help, quit
Words with spaces go in double quotes.";

/// Runs the shell on a cluster of its own choice.
pub(crate) async fn run(args: &ShellArgs) -> Outcome {
    let named = args.client.context.as_deref();
    let context = Context::find(named)?;
    let remote = Remote::connect(&context, 1, args.client.deadline)?;
    let folder = named.unwrap_or_else(|| Path::new(DEFAULT_PATH)).parent();
    Shell { remote: &remote, folder }.run().await
}

/// A shell to a cluster.
pub(crate) struct Shell<'a> {
    pub(crate) remote: &'a Remote,
    /// The folder of a `vsr dev`, if it is one.
    pub(crate) folder: Option<&'a Path>,
}

impl Shell<'_> {
    /// Runs until the input ends or `quit`.
    ///
    /// # Errors
    /// From a pipe, the first failure.
    pub(crate) async fn run(&self) -> Outcome {
        if io::stdin().is_terminal() { self.converse().await } else { self.obey().await }
    }

    async fn obey(&self) -> Outcome {
        let mut lines = Lines::stdin(LINE_MAX);
        let mut first_failure = Ok(());
        while let Some(line) = lines.next().await? {
            let done = match line {
                Line::Whole(line) => match str::from_utf8(&line) {
                    Ok(line) if is_end(line) => break,
                    Ok(line) => self.execute(line).await,
                    Err(_) => Err(Failure::usage(
                        "a line is not UTF-8",
                        "write such bytes as \\xHH in double quotes",
                    )),
                },
                Line::TooLong => Err(Failure::usage(
                    format!("a line has at most {LINE_MAX} bytes"),
                    "shorten it",
                )),
            };
            if let Err(failure) = done {
                say(&failure.to_string());
                if first_failure.is_ok() {
                    first_failure = Err(failure.said());
                }
            }
        }
        first_failure
    }

    async fn converse(&self) -> Outcome {
        let mut editor = Editor::start();
        while let Some(line) = editor.next().await? {
            if is_end(&line) {
                break;
            }
            if let Err(failure) = self.execute(&line).await {
                say(&failure.to_string());
            }
        }
        Ok(())
    }

    async fn execute(&self, line: &str) -> Outcome {
        let line = line.trim();
        match line {
            "" => Ok(()),
            _ if line.starts_with('#') => Ok(()),
            "help" | "?" => print_line(HELP.as_bytes()),
            "status" => {
                let report = Report::ask(self.remote, self.folder).await;
                report.lines().iter().try_for_each(|line| print_line(line.as_bytes()))
            }
            _ => verbs::run(self.remote, &operation(line)?).await,
        }
    }
}

fn is_end(line: &str) -> bool {
    matches!(line.trim(), "quit" | "exit")
}

/// Reads a line, `range` also as `vsr kv range` takes it: without a prefix, or with `--limit N`.
fn operation(line: &str) -> Outcome<Operation> {
    let rewritten = match line.strip_prefix("range") {
        Some("") => "range \"\"".to_owned(),
        Some(rest) if rest.trim_start().starts_with("--limit") => {
            format!("range \"\"{}", rest.replacen("--limit", "", 1))
        }
        Some(rest) => format!("range{}", rest.replacen(" --limit ", " ", 1)),
        None => line.to_owned(),
    };
    text::parse(&rewritten)
        .map_err(|error| Failure::usage(error.to_string(), "`help` lists what there is"))
}

/// Reads lines from a terminal on a thread of its own, one at a time: the next prompt waits for the
/// answer.
struct Editor {
    /// Asks for a line.
    wanted: mpsc::UnboundedSender<()>,
    lines: mpsc::UnboundedReceiver<Result<String, String>>,
}

impl Editor {
    fn start() -> Self {
        let (wanted, mut asked) = mpsc::unbounded_channel();
        let (sender, lines) = mpsc::unbounded_channel();
        thread::spawn(move || {
            let mut editor = match rustyline::DefaultEditor::new() {
                Ok(editor) => editor,
                Err(error) => {
                    let _ = sender.send(Err(error.to_string()));
                    return;
                }
            };
            while asked.blocking_recv().is_some() {
                let line = match editor.readline("vsr> ") {
                    Ok(line) => {
                        // A line that cannot be remembered is executed all the same.
                        let _ = editor.add_history_entry(&line);
                        Ok(line)
                    }
                    Err(ReadlineError::Interrupted) => Ok(String::new()),
                    Err(ReadlineError::Eof) => return,
                    Err(error) => Err(error.to_string()),
                };
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { wanted, lines }
    }

    async fn next(&mut self) -> Outcome<Option<String>> {
        if self.wanted.send(()).is_err() {
            return Ok(None);
        }
        self.lines.recv().await.transpose().map_err(|error| {
            Failure::usage(format!("cannot read from the terminal: {error}"), "use a pipe")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn range_is_understood_as_the_command_line_writes_it() {
        for (line, plain) in [
            ("range", "range \"\""),
            ("range a", "range a"),
            ("range a --limit 3", "range a 3"),
            ("range --limit 3", "range \"\" 3"),
            ("range a 3 after b", "range a 3 after b"),
        ] {
            assert_eq!(operation(line).unwrap(), text::parse(plain).unwrap(), "{line}");
        }
    }
}
