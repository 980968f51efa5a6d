//! The thread that owns the store, so that the event loop never waits for a disk.
//!
//! 1. The node submits all writes of a round as one job.
//! 2. The thread takes every job that waits, writes them all, and syncs once.
//! 3. It sends back one proof for all of it. Meanwhile the next group fills.
//! 4. Reads are served between two groups, each bounded, so that they never delay a sync for long.
//! 5. After [`IDLE_AFTER`] without a job the store may do what it put off.
//!
//! The first error ends the thread: it is reported, and nothing is tried again.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, TryRecvError};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc as channel;
use vsr_core::{OpNumber, Write, Written};

use crate::store::{LogStore, ReadBack};

/// How long nothing must come before the store may do what it put off.
const IDLE_AFTER: Duration = Duration::from_millis(5);

/// About how many bytes one read returns: a millisecond of reading, which is what a write that
/// arrives meanwhile waits at most.
const READ_BYTES_MAX: usize = 1 << 20;

/// The store failed, and the replica stops: what it promised may not be on its disk.
#[derive(Debug)]
pub struct StorageFailure {
    doing: &'static str,
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// What the storage thread has to say.
#[derive(Debug)]
pub(crate) enum Stored {
    /// Writes are durable.
    Written(Written),
    /// Entries that were asked for.
    Read(ReadBack),
    /// The store failed. Nothing comes after this.
    Failed(StorageFailure),
}

/// What the storage thread did since it started.
#[derive(Debug, Default)]
pub(crate) struct StorageCounters {
    syncs: AtomicU64,
    writes: AtomicU64,
}

/// The node's end of the storage thread. Dropping it lets the thread finish what was submitted and
/// end.
#[derive(Debug)]
pub(crate) struct StorageThread {
    /// Unbounded, since it must not block, and bounded all the same by what the core has in flight:
    /// its pipeline of entries, one superblock, one read at a time for each op it lacks.
    jobs: Option<mpsc::Sender<Job>>,
    stored: channel::UnboundedReceiver<Stored>,
    counters: Arc<StorageCounters>,
}

enum Job {
    Write(Vec<Write<Bytes>>),
    Read { first: OpNumber, last: OpNumber },
}

impl StorageThread {
    /// Starts the thread. `gone` is dropped when it ends, after the store was.
    ///
    /// # Errors
    /// The system refuses another thread.
    pub(crate) fn start<L: LogStore>(
        store: L,
        gone: tokio::sync::oneshot::Sender<()>,
    ) -> std::io::Result<Self> {
        let (jobs, waiting) = mpsc::channel();
        let (sender, stored) = channel::unbounded_channel();
        let counters = Arc::new(StorageCounters::default());
        let worker = Worker {
            store,
            waiting,
            writes: Vec::new(),
            reads: Vec::new(),
            stored: sender,
            counters: Arc::clone(&counters),
        };
        thread::Builder::new()
            .name("vsr-storage".into())
            .spawn(move || {
                worker.run();
                drop(gone);
            })?;
        Ok(Self {
            jobs: Some(jobs),
            stored,
            counters,
        })
    }

    /// Submits writes, which become durable in the order submitted.
    pub(crate) fn write(&self, writes: Vec<Write<Bytes>>) {
        self.submit(Job::Write(writes));
    }

    /// Asks for entries.
    pub(crate) fn read(&self, first: OpNumber, last: OpNumber) {
        self.submit(Job::Read { first, last });
    }

    fn submit(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // A thread that is gone has reported why, and the node is about to learn it.
            let _ = jobs.send(job);
        }
    }

    /// Waits for what the thread has to say; `None` when it has ended.
    pub(crate) async fn next(&mut self) -> Option<Stored> {
        self.stored.recv().await
    }

    /// What the thread has said already.
    pub(crate) fn try_next(&mut self) -> Option<Stored> {
        self.stored.try_recv().ok()
    }

    /// Has the thread finish what was submitted and waits for its end.
    ///
    /// # Errors
    /// The store failed on the way.
    pub(crate) async fn finish(mut self) -> Result<(), StorageFailure> {
        self.jobs = None;
        while let Some(stored) = self.stored.recv().await {
            match stored {
                Stored::Failed(failure) => return Err(failure),
                Stored::Written(_) | Stored::Read(_) => {}
            }
        }
        Ok(())
    }

    /// What the thread did.
    pub(crate) fn counters(&self) -> &StorageCounters {
        &self.counters
    }
}

impl StorageCounters {
    /// How many syncs returned.
    pub(crate) fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    /// How many writes those syncs made durable.
    pub(crate) fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }
}

/// The node is gone, or the store failed and said so: either way the thread ends.
struct Over;

struct Worker<L> {
    store: L,
    waiting: mpsc::Receiver<Job>,
    writes: Vec<Write<Bytes>>,
    reads: Vec<(OpNumber, OpNumber)>,
    stored: channel::UnboundedSender<Stored>,
    counters: Arc<StorageCounters>,
}

impl<L: LogStore> Worker<L> {
    fn run(mut self) {
        while let Ok(job) = self.next_job() {
            self.sort(job);
            let open = self.take_all_that_waits();
            if self.write_group().is_err() || self.serve_reads().is_err() || !open {
                return;
            }
        }
    }

    /// Waits for a job; has the store do what it put off when none comes.
    fn next_job(&mut self) -> Result<Job, Over> {
        match self.waiting.recv_timeout(IDLE_AFTER) {
            Ok(job) => return Ok(job),
            Err(RecvTimeoutError::Disconnected) => return Err(Over),
            Err(RecvTimeoutError::Timeout) => {}
        }
        let idled = self.store.idle();
        self.check("finishing what was put off", idled)?;
        self.waiting.recv().map_err(|_| Over)
    }

    /// Takes what waits; false once the node is gone.
    fn take_all_that_waits(&mut self) -> bool {
        loop {
            match self.waiting.try_recv() {
                Ok(job) => self.sort(job),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn sort(&mut self, job: Job) {
        match job {
            Job::Write(writes) if self.writes.is_empty() => self.writes = writes,
            Job::Write(writes) => self.writes.extend(writes),
            Job::Read { first, last } => self.reads.push((first, last)),
        }
    }

    fn write_group(&mut self) -> Result<(), Over> {
        if self.writes.is_empty() {
            return Ok(());
        }
        let written = self.store.write(&self.writes);
        self.check("writing", written)?;
        let synced = self.store.sync();
        self.check("syncing", synced)?;
        let count = self.writes.len() as u64;
        self.counters.syncs.fetch_add(1, Ordering::Relaxed);
        self.counters.writes.fetch_add(count, Ordering::Relaxed);
        let done = self.writes.drain(..).map(Write::done).reduce(Written::and);
        match done {
            Some(written) => self.say(Stored::Written(written)),
            None => Ok(()),
        }
    }

    fn serve_reads(&mut self) -> Result<(), Over> {
        for (first, last) in std::mem::take(&mut self.reads) {
            let read = self.store.read(first, last, READ_BYTES_MAX);
            let read = self.check("reading", read)?;
            self.say(Stored::Read(read))?;
        }
        Ok(())
    }

    fn check<T>(&self, doing: &'static str, result: Result<T, L::Error>) -> Result<T, Over> {
        result.map_err(|error| {
            let source = Box::new(error);
            let _ = self.say(Stored::Failed(StorageFailure { doing, source }));
            Over
        })
    }

    fn say(&self, stored: Stored) -> Result<(), Over> {
        self.stored.send(stored).map_err(|_| Over)
    }
}

impl fmt::Display for StorageFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "storage failed while {}: check the disk, then start the replica again",
            self.doing
        )
    }
}

impl std::error::Error for StorageFailure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.source)
    }
}
