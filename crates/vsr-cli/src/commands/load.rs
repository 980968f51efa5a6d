//! `vsr kv load`: a put for each line of a file, many at a time.
//!
//! 1. Lines go to as many workers as puts may be under way, by a hash of the key, so that lines with
//!    the same key are put in their order.
//! 2. A put without an answer is put again: doing it twice leaves the same value, as long as nobody
//!    else writes the key meanwhile. That is not true of `incr` or `append`, which is why `load` only
//!    puts.
//! 3. A line counts as done when its put was acknowledged, and not before.

use std::cell::RefCell;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use indicatif::ProgressBar;
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use vsr_kv::{OPERATION_MAX, Operation};

use crate::cli::ClientArgs;
use crate::context::Context;
use crate::error::{Failure, Outcome, Status};
use crate::lines::{Line, Lines};
use crate::output::{progress, say};
use crate::remote::{NoAnswer, Remote};
use crate::units::show;

/// How long a line is tried before it counts as failed: far longer than a view change or the restart
/// of a whole cluster takes.
const LINE_PATIENCE: Duration = Duration::from_secs(60);

/// How long to wait before a put that was refused is tried again: a few round trips, so that a busy
/// cluster is not made busier.
const PAUSE: Duration = Duration::from_millis(20);

/// How many errors are printed; the rest are counted.
const ERRORS_PRINTED: u64 = 10;

/// How many lines wait for each worker.
const LINES_WAITING: usize = 16;

/// A line to be put.
#[derive(Debug)]
struct Pair {
    line: u64,
    key: Bytes,
    value: Bytes,
}

/// What has been done.
#[derive(Debug)]
struct Tally {
    done: u64,
    repeated: u64,
    errors: u64,
    /// Of the first error.
    status: Option<Status>,
    bar: ProgressBar,
}

pub(crate) async fn run(client: &ClientArgs, file: &Path, window: usize) -> Outcome {
    let context = Context::find(client.context.as_deref())?;
    let lines = Lines::open(file, OPERATION_MAX)?;
    let remote = Remote::connect(&context, window, client.deadline)?;
    let begun = Instant::now();
    let tally = Rc::new(RefCell::new(Tally {
        done: 0,
        repeated: 0,
        errors: 0,
        status: None,
        bar: progress(count_lines(file), "lines"),
    }));
    let workers = LocalSet::new();
    let queues: Vec<_> = (0..window)
        .map(|_| {
            let (queue, pairs) = mpsc::channel(LINES_WAITING);
            workers.spawn_local(work(remote.clone(), pairs, Rc::clone(&tally)));
            queue
        })
        .collect();
    workers.run_until(hand_out(lines, queues, &tally)).await?;
    workers.await;
    let tally = tally.borrow();
    tally.bar.finish_and_clear();
    tally.summary(begun.elapsed())
}

async fn hand_out(
    mut lines: Lines,
    queues: Vec<mpsc::Sender<Pair>>,
    tally: &RefCell<Tally>,
) -> Outcome {
    let mut number = 0;
    while let Some(line) = lines.next().await? {
        number += 1;
        match pair(number, line) {
            Ok(pair) => {
                let queue = &queues[place(&pair.key, queues.len())];
                if queue.send(pair).await.is_err() {
                    return Ok(());
                }
            }
            Err(message) => tally.borrow_mut().error(number, &message, Status::Usage),
        }
    }
    Ok(())
}

fn pair(number: u64, line: Line) -> Result<Pair, String> {
    let Line::Whole(line) = line else {
        return Err(format!("longer than {OPERATION_MAX} bytes"));
    };
    let line = Bytes::from(line);
    let tab = line.iter().position(|byte| *byte == b'\t');
    let tab = tab.ok_or("no tab: a line is KEY, a tab, VALUE")?;
    let pair = Pair { line: number, key: line.slice(..tab), value: line.slice(tab + 1..) };
    let put = Operation::Put { key: pair.key.clone(), value: pair.value.clone() };
    put.encode().map_err(|refused| refused.to_string())?;
    Ok(pair)
}

fn place(key: &[u8], places: usize) -> usize {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    (hasher.finish() % places as u64) as usize
}

async fn work(remote: Remote, mut pairs: mpsc::Receiver<Pair>, tally: Rc<RefCell<Tally>>) {
    while let Some(pair) = pairs.recv().await {
        let put = Operation::Put { key: pair.key, value: pair.value };
        let begun = Instant::now();
        loop {
            let Err(no_answer) = remote.call(&put).await else {
                tally.borrow_mut().done();
                break;
            };
            let unknown = matches!(no_answer, NoAnswer::Unknown(_));
            let failure = no_answer.into_failure();
            let may_pass = unknown || failure.status == Status::Unavailable;
            if !may_pass || begun.elapsed() > LINE_PATIENCE {
                tally.borrow_mut().error(pair.line, &failure.message, failure.status);
                break;
            }
            tally.borrow_mut().repeated += 1;
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl Tally {
    fn done(&mut self) {
        self.done += 1;
        self.bar.inc(1);
    }

    fn error(&mut self, line: u64, message: &str, status: Status) {
        self.errors += 1;
        self.status.get_or_insert(status);
        if self.errors <= ERRORS_PRINTED {
            self.bar.suspend(|| say(&format!("line {line}: {message}")));
        }
    }

    fn summary(&self, elapsed: Duration) -> Outcome {
        let rate = self.done as f64 / elapsed.as_secs_f64().max(1e-6);
        let mut text = format!(
            "{} lines acknowledged, {} errors, in {} ({rate:.0}/s)",
            self.done,
            self.errors,
            show(elapsed)
        );
        if self.repeated > 0 {
            let repeated = self.repeated;
            text.push_str(&format!("; {repeated} puts had no answer in time and were put again"));
        }
        say(&text);
        match self.status {
            None => Ok(()),
            Some(status) => Err(Failure::new(
                status,
                format!("{} lines were not acknowledged", self.errors),
                if status == Status::Usage {
                    "mend those lines, and load the file again: a line that is there stays as it is"
                } else {
                    "load the file again: a line that is there already stays as it is"
                },
            )),
        }
    }
}

/// How many lines there are, for the progress bar; `None` for a pipe.
fn count_lines(file: &Path) -> Option<u64> {
    use std::io::{BufRead, IsTerminal};

    if !std::io::stderr().is_terminal() || !file.is_file() {
        return None;
    }
    let mut reader = std::io::BufReader::new(std::fs::File::open(file).ok()?);
    let mut lines = 0;
    while reader.skip_until(b'\n').ok()? > 0 {
        lines += 1;
    }
    Some(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_key_a_tab_and_all_that_follows() {
        let read = |line: &[u8]| {
            let pair = pair(1, Line::Whole(line.to_vec()))?;
            Ok::<_, String>((pair.key.to_vec(), pair.value.to_vec()))
        };
        assert_eq!(read(b"k\tv\tw \xff"), Ok((b"k".to_vec(), b"v\tw \xff".to_vec())));
        assert_eq!(read(b"k\t"), Ok((b"k".to_vec(), Vec::new())));
        assert!(read(b"no tab").unwrap_err().contains("tab"));
        assert!(read(b"\tno key").unwrap_err().contains("empty"));
        assert!(pair(1, Line::TooLong).is_err());
    }
}
