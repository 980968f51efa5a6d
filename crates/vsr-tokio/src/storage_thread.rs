//! The thread that owns the store, so that the event loop never waits for a disk.
//!
//! 1. The node submits all writes of a round as one job.
//! 2. The thread takes every job that waits, writes them all, and syncs once.
//! 3. It sends back one proof for all of it. Meanwhile the next group fills.
//! 4. Reads are served between two groups, each bounded, so that they never delay a sync for long.
//! 5. After [`IDLE_AFTER`] without a job the store may do what it put off.
//! 6. A checkpoint is written in slices, one a round, so that no write waits for more than a slice.
//! 7. What peers want of a checkpoint is read one piece a round, at most so many bytes a second, and
//!    what is fetched from them is taken in order; so that neither delays a write for long.
//! 8. Now and then a part of what nobody reads is read, at most so many bytes a second, so that damage is found while
//!    others have what it took.
//! 9. A full disk keeps everything waiting and is tried again; the node is told to promise nothing
//!    new meanwhile.
//!
//! A failure ends the thread: it is reported, and nothing is tried again.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc as channel;
use tokio::sync::mpsc::error::TryRecvError;
use vsr_core::{
    Checksum, Chunk, DiskState, Fetch, Fetched, Header, OpNumber, ReplicaId, Served, SessionState,
    Wanted, Write, Written,
};

use crate::store::{LogStore, ReadBack, StoreError};

/// How long nothing must come before the store may do what it put off.
const IDLE_AFTER: Duration = Duration::from_millis(5);

/// About how many bytes one read returns: a millisecond of reading, which is what a write that
/// arrives meanwhile waits at most.
const READ_BYTES_MAX: u64 = 1 << 20;

/// About how many bytes of a checkpoint are written at a time: a millisecond of writing, which is what a
/// write that arrives meanwhile waits at most.
const SLICE_BYTES: usize = 1 << 20;

/// What looking up a chunk that is there already costs, in bytes written.
const SAME_COSTS: usize = 1 << 10;

/// How many chunks of a state are read ahead of the service that takes it.
const RESTORE_AHEAD: usize = 8;

/// About how many bytes are scrubbed at a time: a write that arrives meanwhile waits a quarter of a millisecond.
const SCRUB_BYTES: u64 = 256 << 10;

/// How long after the start the first round of scrubbing begins: there is enough to do before.
const SCRUB_BEGINS_AFTER: Duration = Duration::from_secs(1);

/// A round of scrubbing takes this long at least: a small store is not read over and over.
const SCRUB_ROUND_MIN: Duration = Duration::from_secs(10);

/// How long a full disk is left alone before it is tried again.
const RETRY_FULL_AFTER: Duration = Duration::from_millis(100);

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
    /// A checkpoint is durable, or was given up.
    Checkpointed { op: OpNumber, id: Option<Checksum> },
    /// What a peer wanted of a checkpoint.
    Served { to: ReplicaId, answer: Served<Bytes> },
    /// How far a checkpoint is fetched.
    Fetched(Fetched<Bytes>),
    /// A part of a checkpoint was found damaged.
    Damaged { id: Checksum },
    /// Chunks are gone.
    Lost(Vec<Checksum>),
    /// The record of an op was found damaged.
    Faulty { op: OpNumber },
    /// What the disk can take has changed.
    Disk(DiskState),
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
    /// How many writes were submitted.
    submitted: u64,
    /// Up to which write each group goes that is not durable yet, and when it was submitted.
    under_way: VecDeque<(u64, Instant)>,
    /// Tells a thread that came to its end from one that panicked.
    thread: JoinHandle<()>,
}

enum Job {
    Write(Vec<Write<Bytes>>),
    Read { first: OpNumber, last: OpNumber },
    Checkpoint(Box<Taken>),
    Serve { to: ReplicaId, wanted: Wanted },
    Fetch(Fetch<Bytes>),
    Restore { id: Checksum, chunks: mpsc::SyncSender<Result<Bytes, StoreError>> },
}

/// A frozen state that is to be made durable.
pub(crate) struct Taken {
    pub(crate) header: Header,
    pub(crate) sessions: Vec<(u32, SessionState<Bytes>)>,
    pub(crate) chunks: Box<dyn Iterator<Item = Chunk<Bytes>> + Send>,
}

/// A checkpoint that is being written.
struct Writing {
    op: OpNumber,
    chunks: Box<dyn Iterator<Item = Chunk<Bytes>> + Send>,
    /// All chunks are with the store.
    finishing: bool,
}

impl StorageThread {
    /// Starts the thread, which gives peers at most so many bytes a second, and scrubs at most so many, as `rates` says in
    /// this order. `gone` is dropped when it ends, after the store was.
    ///
    /// # Errors
    /// The system refuses another thread.
    pub(crate) fn start<L: LogStore>(
        store: L,
        (transfer_rate, scrub_rate): (u64, u64),
        gone: tokio::sync::oneshot::Sender<()>,
    ) -> std::io::Result<Self> {
        let (jobs, waiting) = mpsc::channel();
        let (sender, stored) = channel::unbounded_channel();
        let now = Instant::now();
        let counters = Arc::new(StorageCounters::default());
        let worker = Worker {
            store,
            waiting,
            taken: Vec::new(),
            fresh: Vec::new(),
            reads: Vec::new(),
            checkpoint: None,
            served: VecDeque::new(),
            serve_at: now,
            transfer_rate: transfer_rate.max(1),
            scrub_rate,
            scrub_at: (scrub_rate > 0).then(|| now + SCRUB_BEGINS_AFTER),
            scrub_again_at: now + SCRUB_ROUND_MIN,
            finishing: None,
            disk: DiskState::Ok,
            idle_at: Some(now + IDLE_AFTER),
            stored: sender,
            counters: Arc::clone(&counters),
        };
        let thread = thread::Builder::new().name("vsr-storage".into()).spawn(move || {
            worker.run();
            drop(gone);
        })?;
        let (submitted, under_way) = (0, VecDeque::new());
        Ok(Self { jobs: Some(jobs), stored, counters, submitted, under_way, thread })
    }

    /// Submits writes, which become durable in the order submitted.
    pub(crate) fn write(&mut self, writes: Vec<Write<Bytes>>) {
        self.submitted += writes.len() as u64;
        self.under_way.push_back((self.submitted, Instant::now()));
        self.submit(Job::Write(writes));
    }

    /// For how long the oldest write has been on its way.
    pub(crate) fn oldest_write(&mut self) -> Duration {
        let done = self.counters.writes();
        while self.under_way.front().is_some_and(|(last, _)| *last <= done) {
            self.under_way.pop_front();
        }
        self.under_way.front().map_or(Duration::ZERO, |(_, at)| at.elapsed())
    }

    /// Asks for entries.
    pub(crate) fn read(&self, first: OpNumber, last: OpNumber) {
        self.submit(Job::Read { first, last });
    }

    /// Has a checkpoint written.
    pub(crate) fn checkpoint(&self, taken: Taken) {
        self.submit(Job::Checkpoint(Box::new(taken)));
    }

    /// Reads for a peer.
    pub(crate) fn serve(&self, to: ReplicaId, wanted: Wanted) {
        self.submit(Job::Serve { to, wanted });
    }

    /// Fetches a checkpoint.
    pub(crate) fn fetch(&self, fetch: Fetch<Bytes>) {
        self.submit(Job::Fetch(fetch));
    }

    /// Reads the state of a checkpoint, chunk by chunk.
    pub(crate) fn restore(&self, id: Checksum) -> mpsc::Receiver<Result<Bytes, StoreError>> {
        let (chunks, read) = mpsc::sync_channel(RESTORE_AHEAD);
        self.submit(Job::Restore { id, chunks });
        read
    }

    fn submit(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // A thread that is gone has reported why, and the node is about to learn it.
            let _ = jobs.send(job);
        }
    }

    /// Waits for what the thread has to say. Loses nothing when it is dropped before it is ready.
    pub(crate) async fn next(&mut self) -> Stored {
        self.stored.recv().await.unwrap_or_else(|| Stored::Failed(vanished()))
    }

    /// What the thread has said already. Ends with [`Stored::Failed`], again and again, once the
    /// thread is gone.
    pub(crate) fn try_next(&mut self) -> Option<Stored> {
        match self.stored.try_recv() {
            Ok(stored) => Some(stored),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Stored::Failed(vanished())),
        }
    }

    /// Has the thread finish what was submitted and waits for its end. What a full disk has no room
    /// for is dropped: no proof of it was given, so nothing of it was acknowledged to anybody.
    ///
    /// # Errors
    /// The store failed on the way, or the thread panicked.
    pub(crate) async fn finish(mut self) -> Result<(), StorageFailure> {
        self.jobs = None;
        while let Some(stored) = self.stored.recv().await {
            match stored {
                Stored::Failed(failure) => return Err(failure),
                Stored::Written(_)
                | Stored::Read(_)
                | Stored::Checkpointed { .. }
                | Stored::Served { .. }
                | Stored::Fetched(_)
                | Stored::Damaged { .. }
                | Stored::Lost(_)
                | Stored::Faulty { .. }
                | Stored::Disk(_) => {}
            }
        }
        // It has let go of everything it had to say anything with: this is as good as over.
        self.thread.join().map_err(|_| vanished())
    }

    /// What the thread did.
    pub(crate) fn counters(&self) -> &StorageCounters {
        &self.counters
    }
}

/// The thread ended and did not say why, as where it panicked.
fn vanished() -> StorageFailure {
    let source = "the storage thread has ended unexpectedly".into();
    StorageFailure { doing: "waiting for it", source }
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

/// The node is gone, or the store failed and this was said: either way the thread ends.
struct Over;

struct Worker<L> {
    store: L,
    waiting: mpsc::Receiver<Job>,
    /// Submitted, and not given to the store yet.
    fresh: Vec<Write<Bytes>>,
    /// Given to the store, and not durable yet: more than for a moment only while the disk is full.
    taken: Vec<Write<Bytes>>,
    reads: Vec<(OpNumber, OpNumber)>,
    checkpoint: Option<Writing>,
    /// What peers want, in order, and when the next may have it.
    served: VecDeque<(ReplicaId, Wanted)>,
    serve_at: Instant,
    /// Bytes a second.
    transfer_rate: u64,
    /// Bytes a second.
    scrub_rate: u64,
    /// When the next part is scrubbed, if that is to be done at all.
    scrub_at: Option<Instant>,
    /// When the round after the present one may begin.
    scrub_again_at: Instant,
    /// A fetched checkpoint that is being made whole.
    finishing: Option<Checksum>,
    disk: DiskState,
    /// When the store may do what it may have put off, or is tried again.
    idle_at: Option<Instant>,
    stored: channel::UnboundedSender<Stored>,
    counters: Arc<StorageCounters>,
}

impl<L: LogStore> Worker<L> {
    fn run(mut self) {
        while self.round().is_ok() {}
    }

    fn round(&mut self) -> Result<(), Over> {
        self.take_what_waits()?;
        self.write_group()?;
        self.serve_reads()?;
        self.write_slice()?;
        self.finish_slice()?;
        self.serve_peer()?;
        self.idle()?;
        self.scrub_slice()?;
        self.report_damage()?;
        self.report_room()
    }

    /// Waits for a job and takes every other that waits.
    fn take_what_waits(&mut self) -> Result<(), Over> {
        match self.next_job() {
            Ok(job) => self.sort(job)?,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(Over),
        }
        while let Ok(job) = self.waiting.try_recv() {
            self.sort(job)?;
        }
        Ok(())
    }

    fn next_job(&mut self) -> Result<Job, RecvTimeoutError> {
        match self.patience() {
            Some(patience) => self.waiting.recv_timeout(patience),
            None => self.waiting.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    /// How long to wait for a job before something else is to be done.
    fn patience(&self) -> Option<Duration> {
        if self.checkpoint.is_some() || self.finishing.is_some() {
            return Some(Duration::ZERO);
        }
        let serve_at = (!self.served.is_empty()).then_some(self.serve_at);
        let due = [serve_at, self.idle_at, self.scrub_at].into_iter().flatten().min()?;
        Some(due.saturating_duration_since(Instant::now()))
    }

    /// Has the store do what it put off, if it is time.
    fn idle(&mut self) -> Result<(), Over> {
        let now = Instant::now();
        if self.idle_at.is_none_or(|at| at > now) {
            return Ok(());
        }
        let more = self.store.idle();
        let more = self.check("finishing what was put off", more)?.unwrap_or(false);
        self.idle_at = match self.disk {
            DiskState::Full => Some(now + RETRY_FULL_AFTER),
            DiskState::Ok | DiskState::Stalled => more.then(|| now + IDLE_AFTER),
        };
        Ok(())
    }

    /// Reads the next part of what nobody reads, if it is time and there is nothing better to do.
    fn scrub_slice(&mut self) -> Result<(), Over> {
        let now = Instant::now();
        let busy = self.checkpoint.is_some() || self.finishing.is_some();
        if busy || self.scrub_at.is_none_or(|at| at > now) {
            return Ok(());
        }
        // A store that has no answer now is asked again in a while.
        self.scrub_at = Some(now + SCRUB_ROUND_MIN);
        let scrubbed = self.store.scrub(SCRUB_BYTES);
        let Some(scrubbed) = self.check("looking for damage", scrubbed)? else { return Ok(()) };
        for op in scrubbed.faulty {
            say(&self.stored, Stored::Faulty { op })?;
        }
        let nanos = scrubbed.bytes.saturating_mul(1_000_000_000) / self.scrub_rate;
        let mut next = now + Duration::from_nanos(nanos);
        if scrubbed.is_over {
            // A copy of the superblock may have to be written again.
            self.idle_at = self.idle_at.or(Some(now + IDLE_AFTER));
            next = next.max(self.scrub_again_at);
            self.scrub_again_at = next + SCRUB_ROUND_MIN;
        }
        self.scrub_at = Some(next);
        Ok(())
    }

    fn sort(&mut self, job: Job) -> Result<(), Over> {
        match job {
            Job::Write(writes) if self.fresh.is_empty() => self.fresh = writes,
            Job::Write(writes) => self.fresh.extend(writes),
            Job::Read { first, last } => self.reads.push((first, last)),
            Job::Checkpoint(taken) => return self.begin_checkpoint(*taken),
            Job::Serve { to, wanted } => self.served.push_back((to, wanted)),
            Job::Fetch(Fetch::Finish { id }) => self.finishing = Some(id),
            Job::Fetch(fetch) => {
                // What it makes way for may be named by a superblock that was submitted before.
                self.take_fresh()?;
                let fetched = self.store.fetch(&fetch);
                if let Some(Some(fetched)) = self.check("fetching a checkpoint", fetched)? {
                    return say(&self.stored, Stored::Fetched(fetched));
                }
            }
            Job::Restore { id, chunks } => self.read_state(id, &chunks),
        }
        Ok(())
    }

    /// Hands over the state of a checkpoint. The node waits for it, and for nothing else.
    fn read_state(&mut self, id: Checksum, chunks: &mpsc::SyncSender<Result<Bytes, StoreError>>) {
        let store = &mut self.store;
        let read = (0..).map_while(|index| store.state_chunk_of(id, index).transpose());
        for chunk in read {
            let failed = chunk.is_err();
            if chunks.send(chunk).is_err() || failed {
                return;
            }
        }
    }

    /// Makes a bounded part of a fetched checkpoint whole.
    fn finish_slice(&mut self) -> Result<(), Over> {
        let Some(id) = self.finishing else { return Ok(()) };
        let fetched = self.store.fetch(&Fetch::Finish { id });
        let Some(Some(fetched)) = self.check("finishing a fetched checkpoint", fetched)? else {
            return Ok(());
        };
        self.finishing = None;
        say(&self.stored, Stored::Fetched(fetched))
    }

    /// Reads one piece for a peer, if it is time.
    fn serve_peer(&mut self) -> Result<(), Over> {
        let now = Instant::now();
        if now < self.serve_at {
            return Ok(());
        }
        let Some((to, wanted)) = self.served.pop_front() else { return Ok(()) };
        let read = self.store.serve(wanted);
        let Some(answer) = self.check("reading a checkpoint for a peer", read)? else {
            return Ok(());
        };
        let bytes = match &answer {
            Served::Page { page, .. } => page.len(),
            Served::Chunk(chunk) => chunk.len(),
            Served::Absent(_) => 0,
        };
        let nanos = bytes as u64 * 1_000_000_000 / self.transfer_rate;
        self.serve_at = now + Duration::from_nanos(nanos);
        say(&self.stored, Stored::Served { to, answer })
    }

    fn begin_checkpoint(&mut self, taken: Taken) -> Result<(), Over> {
        let Taken { header, sessions, chunks } = taken;
        let op = header.op;
        let begun = self.store.begin_checkpoint(header, &sessions);
        if self.check("beginning a checkpoint", begun)?.is_none() {
            return say(&self.stored, Stored::Checkpointed { op, id: None });
        }
        self.checkpoint = Some(Writing { op, chunks, finishing: false });
        Ok(())
    }

    /// Writes a bounded part of a checkpoint.
    fn write_slice(&mut self) -> Result<(), Over> {
        let Some(writing) = &mut self.checkpoint else { return Ok(()) };
        let op = writing.op;
        let mut bytes = 0;
        while !writing.finishing && bytes < SLICE_BYTES {
            // A service that tells the end by its size hint learns that all chunks are stored only when
            // they are.
            if writing.chunks.size_hint() == (0, Some(0)) {
                writing.finishing = true;
                break;
            }
            let Some(chunk) = writing.chunks.next() else {
                writing.finishing = true;
                break;
            };
            bytes += match &chunk {
                Chunk::Bytes(chunk) => chunk.len(),
                Chunk::Same(_) => SAME_COSTS,
            };
            let put = self.store.put_chunk(&chunk);
            if check(&self.stored, "writing a checkpoint", put)?.is_none() {
                self.checkpoint = None;
                return say(&self.stored, Stored::Checkpointed { op, id: None });
            }
        }
        if !writing.finishing {
            return Ok(());
        }
        let finished = self.store.finish_checkpoint();
        match check(&self.stored, "finishing a checkpoint", finished)? {
            Some(None) => Ok(()),
            Some(Some(id)) => {
                // Now the service may refer to what was stored.
                let end = self.checkpoint.take().and_then(|mut writing| writing.chunks.next());
                debug_assert!(end.is_none(), "a size hint of nothing is the end");
                say(&self.stored, Stored::Checkpointed { op, id: Some(id) })
            }
            None => {
                self.checkpoint = None;
                say(&self.stored, Stored::Checkpointed { op, id: None })
            }
        }
    }

    /// Gives the store what was submitted.
    fn take_fresh(&mut self) -> Result<(), Over> {
        for write in self.fresh.drain(..) {
            let written = self.store.write(write.kind());
            check(&self.stored, "writing", written)?;
            self.taken.push(write);
        }
        Ok(())
    }

    fn write_group(&mut self) -> Result<(), Over> {
        self.take_fresh()?;
        if self.taken.is_empty() {
            return Ok(());
        }
        let synced = self.store.sync();
        let Some(syncs) = self.check("syncing", synced)? else {
            return Ok(());
        };
        self.idle_at = Some(Instant::now() + IDLE_AFTER);
        let writes = self.taken.len() as u64;
        self.counters.syncs.fetch_add(u64::from(syncs), Ordering::Relaxed);
        self.counters.writes.fetch_add(writes, Ordering::Relaxed);
        match self.taken.drain(..).map(Write::done).reduce(Written::and) {
            Some(written) => say(&self.stored, Stored::Written(written)),
            None => Ok(()),
        }
    }

    fn serve_reads(&mut self) -> Result<(), Over> {
        for (first, last) in self.reads.drain(..) {
            let read = self.store.read(first, last, READ_BYTES_MAX);
            say(&self.stored, Stored::Read(read))?;
        }
        Ok(())
    }

    fn report_damage(&mut self) -> Result<(), Over> {
        let lost = self.store.take_lost_chunks();
        if !lost.is_empty() {
            say(&self.stored, Stored::Lost(lost))?;
        }
        match self.store.damaged_checkpoint() {
            Some(id) => say(&self.stored, Stored::Damaged { id }),
            None => Ok(()),
        }
    }

    /// Tells the node when room ends, and when it is back.
    fn report_room(&mut self) -> Result<(), Over> {
        let is_full = !self.taken.is_empty() || self.store.is_nearly_full();
        let disk = if is_full { DiskState::Full } else { DiskState::Ok };
        if disk == self.disk {
            return Ok(());
        }
        self.disk = disk;
        self.idle_at = Some(Instant::now() + RETRY_FULL_AFTER);
        say(&self.stored, Stored::Disk(disk))
    }

    fn check<T>(
        &self,
        doing: &'static str,
        result: Result<T, StoreError>,
    ) -> Result<Option<T>, Over> {
        check(&self.stored, doing, result)
    }
}

/// `None` while the disk is full, and where something is damaged; a failure is reported, and is the end.
fn check<T>(
    stored: &channel::UnboundedSender<Stored>,
    doing: &'static str,
    result: Result<T, StoreError>,
) -> Result<Option<T>, Over> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(StoreError::Full | StoreError::Damaged) => Ok(None),
        Err(StoreError::Failed(source)) => {
            say(stored, Stored::Failed(StorageFailure { doing, source }))?;
            Err(Over)
        }
    }
}

fn say(stored: &channel::UnboundedSender<Stored>, said: Stored) -> Result<(), Over> {
    stored.send(said).map_err(|_| Over)
}

impl StorageFailure {
    /// The state of a fetched checkpoint could not be given to the service.
    pub(crate) const fn restoring(source: Box<dyn std::error::Error + Send + Sync>) -> Self {
        Self { doing: "restoring a fetched checkpoint", source }
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
