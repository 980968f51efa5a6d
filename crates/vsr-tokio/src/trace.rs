//! Writing a trace of what happens to a replica, on a thread of its own: the event loop never waits for it.
//!
//! What does not fit in the queue is left out, and counted in a line of its own: a trace with such a line shows
//! no history without gaps.

use std::io::{BufWriter, Write};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

use vsr_core::{Summary, Timestamp, TraceLine, Traced};

/// How many events may wait for the writer: some tens of milliseconds' worth at full load, 4 MiB.
const WAITING_MAX: usize = 1 << 14;

/// Where a trace goes.
pub type TraceSink = Box<dyn Write + Send>;

/// The node's end.
#[derive(Debug)]
pub(crate) struct Trace {
    events: SyncSender<Item>,
    /// Events left out since the last that was not.
    left_out: u64,
    /// The writer is gone: its file takes no more.
    over: bool,
}

#[derive(Debug)]
struct Item {
    at: Timestamp,
    traced: Traced,
    summary: Summary,
    left_out: u64,
}

impl Trace {
    /// Starts the writer. It ends when the node does.
    ///
    /// # Errors
    /// The system refuses another thread.
    pub(crate) fn start(sink: TraceSink) -> std::io::Result<Self> {
        let (events, waiting) = sync_channel(WAITING_MAX);
        thread::Builder::new().name("vsr-trace".into()).spawn(move || {
            if let Err(error) = write_all(&waiting, sink) {
                tracing::warn!(%error, "the trace ends here: it cannot be written");
            }
        })?;
        Ok(Self { events, left_out: 0, over: false })
    }

    pub(crate) fn event(&mut self, at: Timestamp, traced: Traced, summary: Summary) {
        if self.over {
            return;
        }
        let item = Item { at, traced, summary, left_out: self.left_out };
        match self.events.try_send(item) {
            Ok(()) => self.left_out = 0,
            Err(TrySendError::Full(_)) => self.left_out += 1,
            Err(TrySendError::Disconnected(_)) => self.over = true,
        }
    }
}

fn write_all(waiting: &Receiver<Item>, sink: TraceSink) -> std::io::Result<()> {
    let mut out = BufWriter::new(sink);
    while let Ok(first) = waiting.recv() {
        for item in std::iter::once(first).chain(waiting.try_iter()) {
            let Item { at, traced, summary, left_out } = &item;
            if *left_out > 0 {
                writeln!(
                    out,
                    "{{\"t\": {at}, \"r\": {}, \"left_out\": {left_out}}}",
                    summary.replica
                )?;
            }
            writeln!(out, "{}", TraceLine { at: at.0, traced: *traced, message: None, summary })?;
        }
        out.flush()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use vsr_core::{
        ClusterId, Config, Configuration, Constants, Effects, Header, Replica, ReplicaId, Stored,
    };

    use super::*;

    #[test]
    fn a_trace_says_how_much_it_leaves_out() {
        let (events, waiting) = sync_channel(2);
        let mut trace = Trace { events, left_out: 0, over: false };
        let config = Config::new(
            ClusterId(1),
            ReplicaId(0),
            Configuration::of_replicas(3).unwrap(),
            Constants::DEFAULT,
        );
        let stored = Stored::<bytes::Bytes>::formatted(Header::root(ClusterId(1)));
        let replica = Replica::recover(config.unwrap(), stored, &mut Effects::new());
        let summary = replica.summary();
        for at in 1..=5 {
            trace.event(Timestamp(at), Traced::START, summary.clone());
        }
        let lines: Vec<Item> = waiting.try_iter().collect();
        trace.event(Timestamp(6), Traced::START, summary);
        let last = waiting.recv().unwrap();
        let told = |item: &Item| (item.at.0, item.left_out);
        assert_eq!(lines.iter().map(told).collect::<Vec<_>>(), [(1, 0), (2, 0)]);
        assert_eq!(told(&last), (6, 3));
    }
}
