//! Lines of a file or of standard input, read on a thread of their own: reading blocks, and the
//! runtime must not.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::thread;

use tokio::sync::mpsc;

use crate::error::{Failure, Outcome};

/// How many lines wait to be handled at most; the reader waits then.
const LINES_WAITING: usize = 1024;

/// Lines as they come, without their ends.
#[derive(Debug)]
pub(crate) struct Lines(mpsc::Receiver<io::Result<Line>>);

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// Its bytes.
    Whole(Vec<u8>),
    /// It was longer than allowed, and skipped.
    TooLong,
}

impl Lines {
    /// Reads a file, or standard input if it is `-`. A line has at most `max` bytes.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub(crate) fn open(path: &Path, max: usize) -> Outcome<Self> {
        if path == Path::new("-") {
            return Ok(Self::stdin(max));
        }
        let file = File::open(path).map_err(|error| Failure::file("read", path, &error))?;
        Ok(Self::read(BufReader::new(file), max))
    }

    /// Reads standard input.
    pub(crate) fn stdin(max: usize) -> Self {
        Self::read(BufReader::new(io::stdin()), max)
    }

    fn read(mut input: impl BufRead + Send + 'static, max: usize) -> Self {
        let (lines, receiver) = mpsc::channel(LINES_WAITING);
        thread::spawn(move || {
            while let Some(line) = next_line(&mut input, max).transpose() {
                let failed = line.is_err();
                if lines.blocking_send(line).is_err() || failed {
                    return;
                }
            }
        });
        Self(receiver)
    }

    /// The next line; `None` at the end. Loses nothing when it is dropped before it is ready.
    ///
    /// # Errors
    /// Reading failed.
    pub(crate) async fn next(&mut self) -> Outcome<Option<Line>> {
        self.0.recv().await.transpose().map_err(|error| {
            Failure::usage(format!("cannot read on: {error}"), "check the file or the pipe")
        })
    }
}

fn next_line(input: &mut impl BufRead, max: usize) -> io::Result<Option<Line>> {
    let mut line = Vec::new();
    let length = input.by_ref().take(max as u64 + 1).read_until(b'\n', &mut line)?;
    if length == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        return Ok(Some(Line::Whole(line)));
    }
    if length <= max {
        return Ok(Some(Line::Whole(line)));
    }
    input.skip_until(b'\n')?;
    Ok(Some(Line::TooLong))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_too_long_is_told_apart_and_the_next_one_is_read() {
        let mut input = io::Cursor::new(b"abc\n\nabcdef\nlast".to_vec());
        let mut next = || next_line(&mut input, 4).unwrap();
        assert_eq!(next(), Some(Line::Whole(b"abc".to_vec())));
        assert_eq!(next(), Some(Line::Whole(Vec::new())));
        assert_eq!(next(), Some(Line::TooLong));
        assert_eq!(next(), Some(Line::Whole(b"last".to_vec())));
        assert_eq!(next(), None);
    }
}
