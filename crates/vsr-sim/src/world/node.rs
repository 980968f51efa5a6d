//! A simulated process: a replica, its store, its service, its timers.

use std::collections::VecDeque;

use bytes::Bytes;
use vsr_core::{
    Config, Effects, Event, Fetch, HaltReason, Ignored, OpNumber, Replica, ReplicaId, Service,
    Timer, Wanted, Write, WriteKind, Written,
};

use crate::service::SimService;
use crate::world::choice::{DiskMode, SlowKinds};
use crate::world::store::{Store, Taken};

/// No deadline: the timer is not armed.
const NEVER: u64 = u64::MAX;

/// Thousandths: a clock that runs at the true rate.
const TRUE_RATE: u32 = 1000;

/// What waits for the disk, in the order in which the replica asked.
#[derive(Clone, Debug)]
pub(crate) enum Io {
    Write(Write<Bytes>),
    Read { first: OpNumber, last: OpNumber },
    Checkpoint(Box<Taken>),
    Serve { to: ReplicaId, wanted: Wanted },
    Fetch(Fetch<Bytes>),
}

/// A simulated process and its machine.
pub(crate) struct Node<S> {
    pub(crate) config: Config,
    /// `None` while the process is dead.
    pub(crate) replica: Option<Replica<Bytes>>,
    /// `None` once the disk is lost.
    pub(crate) store: Option<S>,
    pub(crate) service: SimService,
    /// What the service answered, and the replica was not told yet: it takes its time.
    pub(crate) answers: VecDeque<Event<Bytes>>,
    /// Whether the service takes its time to answer.
    pub(crate) slow_service: bool,
    /// Milliseconds by which its clock is ahead of the true time.
    pub(crate) ahead: u64,
    pub(crate) effects: Effects<Bytes>,
    /// What happened to the replica and was not handed to it yet.
    pub(crate) events: VecDeque<Event<Bytes>>,
    pub(crate) io: VecDeque<Io>,
    /// How many writes, the first of those that wait, the store was given and had no room for.
    pub(crate) given: usize,
    /// The last completion that the replica heard of in this life.
    pub(crate) written: Option<Written>,
    pub(crate) disk: DiskMode,
    /// The round is not ended after each step.
    pub(crate) gathering: bool,
    pub(crate) paused: bool,
    /// Whether the replica was told that there is no room for new operations.
    pub(crate) nearly_full: bool,
    pub(crate) halted: Option<HaltReason>,
    /// Why nothing changed, since the last command.
    pub(crate) ignored: Vec<Ignored>,
    deadlines: [u64; Timer::COUNT],
    /// The least of the deadlines.
    earliest: u64,
    /// Thousandths of the true rate at which the clock runs.
    pub(crate) rate: u32,
}

impl<S: Store> Node<S> {
    pub(crate) fn format(config: Config) -> Self {
        Self {
            store: Some(S::format(&config)),
            service: SimService::new(config.replica(), config.prediction()),
            answers: VecDeque::new(),
            slow_service: false,
            ahead: 0,
            config,
            replica: None,
            effects: Effects::new(),
            events: VecDeque::new(),
            io: VecDeque::new(),
            given: 0,
            written: None,
            disk: DiskMode::Ok,
            gathering: false,
            paused: false,
            nearly_full: false,
            halted: None,
            ignored: Vec::new(),
            deadlines: [NEVER; Timer::COUNT],
            earliest: NEVER,
            rate: TRUE_RATE,
        }
    }

    pub(crate) const fn id(&self) -> ReplicaId {
        self.config.replica()
    }

    pub(crate) const fn is_live(&self) -> bool {
        self.replica.is_some()
    }

    /// Forgets all that a process has in memory.
    pub(crate) fn lose_memory(&mut self) {
        self.replica = None;
        self.service.lose_memory();
        self.events.clear();
        self.io.clear();
        self.given = 0;
        self.answers.clear();
        self.written = None;
        self.gathering = false;
        self.paused = false;
        self.nearly_full = false;
        self.deadlines = [NEVER; Timer::COUNT];
        self.earliest = NEVER;
    }

    pub(crate) fn arm(&mut self, timer: Timer, deadline: u64) {
        let before = std::mem::replace(&mut self.deadlines[timer.index()], deadline);
        if deadline <= self.earliest {
            self.earliest = deadline;
        } else if before == self.earliest {
            self.find_earliest();
        }
    }

    pub(crate) fn disarm(&mut self, timer: Timer) {
        let before = std::mem::replace(&mut self.deadlines[timer.index()], NEVER);
        if before == self.earliest {
            self.find_earliest();
        }
    }

    fn find_earliest(&mut self) {
        self.earliest = self.deadlines.iter().copied().min().unwrap_or(NEVER);
    }

    pub(crate) const fn is_armed(&self, timer: Timer) -> bool {
        self.deadlines[timer.index()] != NEVER
    }

    /// A timer that is not armed, if there is one.
    pub(crate) fn unarmed(&self) -> Option<Timer> {
        (0..Timer::COUNT).map(Timer::at).find(|timer| !self.is_armed(*timer))
    }

    /// The armed timers with their deadlines, in the order of [`Timer::index`].
    pub(crate) fn armed(&self) -> impl Iterator<Item = (Timer, u64)> + '_ {
        (0..Timer::COUNT)
            .map(|index| (Timer::at(index), self.deadlines[index]))
            .filter(|(_, deadline)| *deadline != NEVER)
    }

    /// The timer that runs out first.
    pub(crate) fn next_timer(&self) -> Option<(Timer, u64)> {
        let deadline = self.deadline()?;
        self.armed().find(|(_, armed)| *armed == deadline)
    }

    /// When that is.
    pub(crate) const fn deadline(&self) -> Option<u64> {
        if self.earliest == NEVER || self.paused || self.gathering {
            return None;
        }
        Some(self.earliest)
    }

    /// Whether the disk completes this without being told to.
    fn completes_at_once(&self, io: &Io) -> bool {
        if self.given > 0 && matches!(io, Io::Write(_)) {
            return false;
        }
        match self.disk {
            DiskMode::Ok | DiskMode::Full | DiskMode::FailSync => true,
            DiskMode::Slow(SlowKinds::All) | DiskMode::Stalled => false,
            DiskMode::Slow(SlowKinds::Log) => match io {
                Io::Write(write) => matches!(write.kind(), WriteKind::Superblock(_)),
                Io::Read { .. } => false,
                Io::Checkpoint(_) | Io::Serve { .. } | Io::Fetch(_) => true,
            },
            DiskMode::Slow(SlowKinds::Superblock) => match io {
                Io::Write(write) => !matches!(write.kind(), WriteKind::Superblock(_)),
                Io::Read { .. } | Io::Checkpoint(_) | Io::Serve { .. } | Io::Fetch(_) => true,
            },
            DiskMode::Slow(SlowKinds::Checkpoint) => {
                !matches!(io, Io::Checkpoint(_) | Io::Fetch(_))
            }
        }
    }

    /// Takes what the disk completes by itself.
    pub(crate) fn take_quick_io(&mut self) -> Vec<Io> {
        if self.io.is_empty() {
            return Vec::new();
        }
        let all = std::mem::take(&mut self.io);
        let (quick, slow): (Vec<Io>, Vec<Io>) =
            all.into_iter().partition(|io| self.completes_at_once(io));
        self.io = slow.into();
        quick
    }

    /// Makes the writes durable that waited for the disk, with one sync. Where there is no room for them they wait on,
    /// and all else comes back.
    pub(crate) fn write(&mut self, ios: Vec<Io>) -> Result<Vec<Io>, String> {
        let Some(store) = &mut self.store else { return Ok(ios) };
        let mut writes = 0;
        for io in &ios {
            if let Io::Write(write) = io {
                writes += 1;
                if writes > self.given {
                    store.write(write.kind())?;
                }
            }
        }
        if writes == 0 || store.sync()? {
            self.given = self.given.saturating_sub(writes);
            return Ok(ios);
        }
        self.given = writes;
        let (waiting, rest): (Vec<Io>, Vec<Io>) =
            ios.into_iter().partition(|io| matches!(io, Io::Write(_)));
        for io in waiting.into_iter().rev() {
            self.io.push_front(io);
        }
        Ok(rest)
    }

    /// Carries out what else waited for the disk, and tells the replica.
    pub(crate) fn complete(&mut self, ios: Vec<Io>) -> Result<(), String> {
        let Some(store) = &mut self.store else { return Ok(()) };
        let mut written: Option<Written> = None;
        let mut reads = Vec::new();
        for io in ios {
            match io {
                Io::Write(write) => {
                    let done = write.done();
                    written = Some(match written {
                        Some(earlier) => earlier.and(done),
                        None => done,
                    });
                }
                Io::Read { first, last } => {
                    let (entries, faulty) = store.read(first, last);
                    reads.push(Event::EntriesRead { entries, faulty });
                }
                Io::Serve { to, wanted } => {
                    reads.push(Event::Served { to, answer: store.serve(wanted)? });
                }
                Io::Fetch(fetch) => {
                    reads.extend(store.fetch(&fetch)?.map(Event::Fetched));
                }
                Io::Checkpoint(taken) => {
                    let (op, id) = (taken.header.op, store.checkpoint(&taken)?);
                    reads.push(Event::Checkpointed { op, id });
                }
            }
        }
        self.events.extend(written.map(Event::Written));
        self.events.extend(reads);
        self.report_damage();
        Ok(())
    }

    /// Tells of what its disk found damaged.
    pub(crate) fn report_damage(&mut self) {
        let Some(store) = &mut self.store else { return };
        self.service.lost(&store.take_lost_chunks());
        let damaged = store.damaged_checkpoint();
        self.events.extend(damaged.map(|id| Event::CheckpointDamaged { id }));
    }
}
