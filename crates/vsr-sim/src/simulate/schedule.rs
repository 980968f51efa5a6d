//! What happens when: the random scheduler.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use vsr_core::{Durability, ReplicaId, StatusName, Timer};

use crate::prng::Prng;
use crate::simulate::report::Faults;
use crate::simulate::swarm::{Range, Swarm};
use crate::simulate::{Options, Recorded, Recording};
use crate::world::World;
use crate::world::choice::{Choice, Cut, DiskMode, SlowKinds, Tear};
use crate::world::disk_store::DiskStore;
use crate::world::names::{Endpoint, KindName, Link, Links};
use crate::world::network::FlightId;

/// A link holds at most this many messages: beyond, it drops, as every queue of a driver does.
const LINK_MAX: usize = 128;

/// How long after the last sync a store does what it put off.
const IDLE_AFTER: u64 = 5_000;

/// How long a store leaves a full disk alone before it tries again.
pub(super) const RETRY_FULL_AFTER: u64 = 100_000;

/// How long a sync takes that a process notices; in microseconds.
const STALLED_AFTER: u64 = 2_000_000;

/// After this many applied choices without one that counts as an event, nothing happens any more.
const QUIET_MAX: u64 = 200_000;

/// Something that is due at a time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Task {
    Deliver(Link, FlightId, KindName),
    Fsync(u32),
    Idle(u32),
    EndRound(u32),
    Restart(u32),
    Resume(u32),
    Submit(u32),
    GiveUp(u32, u64),
    RestartClient(u32),
    NextCrash,
    NextCut,
    NextPause,
    NextAbdication,
    NextRot,
    NextDamage,
    NextFull,
    MakeRoom(u32),
    Stalled(u32),
    Scrub,
    Heal,
    NextClock,
    MendClock(u32),
    Answer(u32),
}

/// A world, and what is due when.
pub(super) struct Schedule {
    pub(super) world: World<DiskStore>,
    pub(super) swarm: Swarm,
    pub(super) dice: Prng,
    /// Due times are in nanoseconds; the number keeps the order of those due at once.
    tasks: BinaryHeap<Reverse<(u64, u64, Task)>>,
    number: u64,
    options: Options,
    /// A sync is under way, by replica.
    syncing: Vec<bool>,
    /// A service will answer, by replica.
    answering: Vec<bool>,
    /// Whether faults strike.
    pub(super) faulty: bool,
    /// Whether clients begin new operations.
    pub(super) working: bool,
    pub(super) faults: Faults,
    pub(super) events: u64,
    pub(super) quiet: u64,
    pub(super) submitted: u64,
    seed: u64,
    choices: Option<Vec<Recorded>>,
    /// Who is healed in the liveness phase.
    pub(super) core: Vec<ReplicaId>,
    /// Whether links within the core stay cut.
    pub(super) cut_core: bool,
    cause: u64,
}

impl Schedule {
    pub(super) fn new(seed: u64, swarm: Swarm, options: &Options, recorded: bool) -> Self {
        let world = World::new(swarm.cluster.clone());
        let mut world = world.unwrap_or_else(|why| panic!("a drawn group is possible: {why}"));
        world.watch_dispatches();
        if options.trace {
            world.keep_trace();
        }
        let replicas = swarm.cluster.replicas as usize;
        Self {
            world,
            dice: Prng::new(seed),
            tasks: BinaryHeap::new(),
            number: 0,
            options: *options,
            syncing: vec![false; replicas],
            answering: vec![false; replicas],
            faulty: true,
            working: true,
            faults: Faults::default(),
            events: 0,
            quiet: 0,
            submitted: 0,
            seed,
            choices: recorded.then(Vec::new),
            core: Vec::new(),
            cut_core: false,
            cause: 0,
            swarm,
        }
    }

    pub(super) const fn seed(&self) -> u64 {
        self.seed
    }

    pub(super) fn recording(self) -> Option<Recording> {
        let cluster = self.swarm.cluster;
        let core = self.core;
        self.choices.map(|choices| Recording { cluster, choices, core })
    }

    /// The safety phase.
    pub(super) fn run_safety(&mut self) -> Result<(), String> {
        self.apply(Choice::Disk { replica: None, mode: DiskMode::Slow(SlowKinds::All) })?;
        if self.swarm.processes.answers.is_some() {
            for replica in self.world.replicas() {
                self.apply(Choice::Service { replica, slow: true })?;
            }
        }
        for client in 1..=self.swarm.clients {
            self.after_range(self.swarm.habits.think, Task::Submit(client));
        }
        self.plan(self.swarm.processes.crashes, Task::NextCrash);
        self.plan(self.swarm.network.cuts, Task::NextCut);
        self.plan(self.swarm.processes.pauses, Task::NextPause);
        self.plan(self.swarm.processes.abdications, Task::NextAbdication);
        self.plan(self.swarm.processes.wild_clocks, Task::NextClock);
        self.plan(self.swarm.disks.rot, Task::NextRot);
        self.plan(self.swarm.disks.damage, Task::NextDamage);
        self.plan(self.swarm.disks.full, Task::NextFull);
        self.plan(self.swarm.disks.scrubs, Task::Scrub);
        self.draw_clocks()?;
        let end = self.options.seconds * 1_000_000_000;
        while self.events < self.options.steps && self.world.now() < end {
            self.step()?;
            if self.world.has_given_up() {
                break;
            }
            if self.quiet > QUIET_MAX {
                return Err(format!("nothing but heartbeats in {QUIET_MAX} steps"));
            }
        }
        Ok(())
    }

    /// Clocks run at somewhat different rates.
    fn draw_clocks(&mut self) -> Result<(), String> {
        for replica in self.world.replicas() {
            if self.dice.chance(1, 4) {
                let rate = self.dice.between(900, 1100) as u32;
                self.apply(Choice::Clock(replica, rate))?;
            }
        }
        Ok(())
    }

    /// Does what is due next.
    pub(super) fn step(&mut self) -> Result<(), String> {
        let task = self.tasks.peek().map(|Reverse((at, ..))| *at);
        let alarm = self.world.next_alarm_choice();
        match (task, alarm) {
            (None, None) => Err("nothing is due any more".to_owned()),
            (Some(at), alarm) if alarm.as_ref().is_none_or(|(alarm, _)| at <= *alarm) => {
                let Some(Reverse((at, _, task))) = self.tasks.pop() else { return Ok(()) };
                self.world.set_now(at);
                self.perform(task)
            }
            (_, Some((at, choice))) => {
                self.world.set_now(at);
                self.apply(choice)
            }
            (Some(_), None) => Ok(()),
        }
    }

    fn perform(&mut self, task: Task) -> Result<(), String> {
        match task {
            Task::Deliver(link, id, kind) => self.deliver(link, id, kind),
            Task::Fsync(replica) => self.fsync(replica),
            Task::Idle(replica) => {
                let id = ReplicaId(replica);
                if self.is_live(replica) && !self.syncing[replica as usize] {
                    self.apply(Choice::Idle(id))?;
                }
                Ok(())
            }
            Task::EndRound(replica) => {
                if self.world.is_gathering(ReplicaId(replica)) {
                    self.apply(Choice::Flush(ReplicaId(replica)))?;
                }
                Ok(())
            }
            Task::Restart(replica) => {
                if !self.is_live(replica) {
                    self.faults.restarts += 1;
                    self.apply(Choice::Restart(ReplicaId(replica)))?;
                }
                Ok(())
            }
            Task::Resume(replica) => {
                if self.is_live(replica) {
                    self.apply(Choice::Resume(ReplicaId(replica)))?;
                }
                Ok(())
            }
            Task::Submit(client) => self.submit(client),
            Task::GiveUp(client, call) => self.give_up(client, call),
            Task::RestartClient(client) => self.restart_client(client),
            Task::NextCrash => self.crash(),
            Task::NextCut => self.cut(),
            Task::NextPause => self.pause(),
            Task::NextAbdication => self.abdicate(),
            Task::NextClock => self.advance_clock(),
            Task::NextRot => self.rot(),
            Task::NextDamage => self.damage(),
            Task::NextFull => self.fill(),
            Task::MakeRoom(replica) => self.make_room(ReplicaId(replica)),
            Task::Stalled(replica) => self.stall(replica),
            Task::Scrub => self.scrub(),
            Task::MendClock(replica) => self.mend_clock(ReplicaId(replica)),
            Task::Answer(replica) => self.answer(replica),
            Task::Heal => {
                if self.faulty {
                    self.apply(Choice::Heal(None))?;
                }
                Ok(())
            }
        }
    }

    fn deliver(&mut self, link: Link, id: FlightId, kind: KindName) -> Result<(), String> {
        let Some(pick) = self.world.network().locate(link, id) else { return Ok(()) };
        if let Endpoint::Replica(to) = link.to {
            if self.world.is_paused(to) {
                // It waits in the buffers of a process that stands still, which may be for long.
                let look_again = if self.faulty { 20_000 } else { 500_000 };
                self.after(look_again, Task::Deliver(link, id, kind));
                return Ok(());
            }
            let gathers = self.faulty && self.chance(self.swarm.processes.gather);
            if gathers && self.is_live(to.0) && !self.world.is_gathering(to) {
                self.apply(Choice::Gather(to))?;
                self.after_range((10, 2_000), Task::EndRound(to.0));
            }
        }
        // A client's transport does not double what it carries: on that the client relies.
        let may_double = self.faulty && !link.has_client();
        let keep = may_double && self.chance(self.swarm.network.doubling);
        if keep {
            self.faults.doubled += 1;
            let delay = self.delay();
            self.after(delay, Task::Deliver(link, id, kind));
        }
        let choice = Choice::Deliver { link, pick, keep };
        self.apply_flight(choice, Some((id, kind)))
    }

    fn fsync(&mut self, replica: u32) -> Result<(), String> {
        self.syncing[replica as usize] = false;
        let waiting = self.world.waiting_io(ReplicaId(replica));
        if waiting == 0 || self.world.is_paused(ReplicaId(replica)) {
            return Ok(());
        }
        if self.faulty && self.may_lose(replica) && self.chance(self.swarm.disks.fail) {
            return self.fail_sync(replica);
        }
        let partial = self.faulty && waiting > 1 && self.chance(self.swarm.disks.partial);
        let count = partial.then(|| self.dice.between(1, waiting as u64 - 1) as u32);
        self.apply(Choice::Fsync { replica: Some(ReplicaId(replica)), count })?;
        if self.world.is_stalled(ReplicaId(replica)) {
            let mode = DiskMode::Slow(SlowKinds::All);
            self.apply(Choice::Disk { replica: Some(ReplicaId(replica)), mode })?;
        }
        self.after(IDLE_AFTER, Task::Idle(replica));
        Ok(())
    }

    /// A sync fails: the process stops.
    fn fail_sync(&mut self, replica: u32) -> Result<(), String> {
        self.faults.failed_syncs += 1;
        let id = Some(ReplicaId(replica));
        self.apply(Choice::Disk { replica: id, mode: DiskMode::FailSync })?;
        self.apply(Choice::Disk { replica: id, mode: DiskMode::Slow(SlowKinds::All) })?;
        if !self.is_live(replica) {
            self.after_range(self.swarm.processes.dead_time, Task::Restart(replica));
        }
        Ok(())
    }

    /// Applies a choice and plans what follows from it.
    pub(super) fn apply(&mut self, choice: Choice) -> Result<(), String> {
        self.apply_flight(choice, None)
    }

    fn apply_flight(
        &mut self,
        choice: Choice,
        flight: Option<(FlightId, KindName)>,
    ) -> Result<(), String> {
        self.cause += 1;
        self.world.set_cause(self.cause);
        let acted = self.world.acted();
        if let Some(choices) = &mut self.choices {
            let flight = flight.map(|(id, _)| id);
            choices.push(Recorded { choice: choice.clone(), cause: self.cause, flight });
        }
        if let Err(refused) = self.world.apply(&choice) {
            return Err(format!("`{choice}` was refused: {refused}"));
        }
        let idle = match (&choice, flight) {
            (Choice::Timeout(_, Timer::Ping | Timer::Heartbeat), _)
            | (_, Some((_, KindName::Ping))) => true,
            (_, Some((_, KindName::Commit))) => self.world.acted() == acted,
            (_, _) => false,
        };
        if idle {
            self.quiet += 1;
        } else {
            self.events += 1;
            self.quiet = 0;
        }
        self.plan_dispatched();
        self.plan_syncs();
        self.plan_answers();
        match self.world.checker().violation() {
            Some(violation) => Err(violation.to_owned()),
            None => Ok(()),
        }
    }

    /// Decides when what was sent arrives, if it does.
    fn plan_dispatched(&mut self) {
        let mut sent = self.world.take_dispatched();
        for (link, id, kind) in sent.drain(..) {
            let lost = self.faulty && self.chance(self.swarm.network.loss);
            if lost || self.world.network().count(link) > LINK_MAX {
                self.faults.lost += 1;
                self.world.lose(link, id);
                continue;
            }
            let delay = self.delay();
            self.after(delay, Task::Deliver(link, id, kind));
        }
        self.world.reuse_dispatched(sent);
    }

    fn delay(&mut self) -> u64 {
        let network = self.swarm.network.clone();
        if self.faulty && self.chance(network.straggle) {
            self.faults.delayed += 1;
            return self.draw(network.straggle_delay);
        }
        self.draw(network.delay)
    }

    /// A disk with something to do begins a sync.
    fn plan_syncs(&mut self) {
        for replica in 0..self.swarm.cluster.replicas {
            if self.syncing[replica as usize] || self.world.waiting_io(ReplicaId(replica)) == 0 {
                continue;
            }
            self.syncing[replica as usize] = true;
            let stalls = self.faulty && self.chance(self.swarm.disks.stall);
            let time = if stalls {
                self.faults.stalled += 1;
                self.swarm.disks.stall_time
            } else {
                self.swarm.disks.sync_time
            };
            let time = match self.world.lacks_room(ReplicaId(replica)) {
                true => RETRY_FULL_AFTER,
                false => self.draw(time),
            };
            if time > STALLED_AFTER {
                self.after(STALLED_AFTER, Task::Stalled(replica));
            }
            self.after(time, Task::Fsync(replica));
        }
    }

    /// A sync takes so long that the process notices.
    fn stall(&mut self, replica: u32) -> Result<(), String> {
        let (id, mode) = (ReplicaId(replica), DiskMode::Stalled);
        if self.syncing[replica as usize] && self.is_live(replica) && !self.world.is_paused(id) {
            self.apply(Choice::Disk { replica: Some(id), mode })?;
        }
        Ok(())
    }

    /// A service that owes an answer gives it in a while.
    fn plan_answers(&mut self) {
        let Some(time) = self.swarm.processes.answers else { return };
        for replica in 0..self.swarm.cluster.replicas {
            let owes = self.world.waiting_answers(ReplicaId(replica)) > 0;
            if owes && !self.answering[replica as usize] {
                self.answering[replica as usize] = true;
                self.after_range(time, Task::Answer(replica));
            }
        }
    }

    fn answer(&mut self, replica: u32) -> Result<(), String> {
        self.answering[replica as usize] = false;
        let id = ReplicaId(replica);
        if self.world.waiting_answers(id) > 0 && !self.world.is_paused(id) {
            self.apply(Choice::Answer(id))?;
        }
        Ok(())
    }

    fn crash(&mut self) -> Result<(), String> {
        if !self.faulty {
            return Ok(());
        }
        let live: Vec<u32> =
            (0..self.swarm.cluster.replicas).filter(|id| self.is_live(*id)).collect();
        let all = self.chance(self.swarm.processes.all);
        let primary =
            self.chance(self.swarm.processes.of_primary).then(|| self.primary()).flatten();
        let chosen = match primary {
            _ if all || live.is_empty() => live,
            Some(primary) => vec![primary],
            None => vec![*self.dice.pick(&live)],
        };
        for replica in chosen {
            if !self.may_lose(replica) {
                continue;
            }
            let torn = self.chance(self.swarm.processes.torn);
            let tear = match (torn, self.swarm.cluster.replicas) {
                (false, _) => Tear::None,
                // A group of one has no other copy of what a drive spoils beside what it was writing, and stops.
                (true, 1) => Tear::Seed(self.dice.next()).sparing(),
                // It may be the one that has what others lost.
                (true, _) if self.swarm.disks.spread => Tear::Seed(self.dice.next()).sparing(),
                (true, _) => Tear::Seed(self.dice.next()),
            };
            self.faults.crashes += 1;
            self.faults.torn += u64::from(torn);
            self.apply(Choice::Crash(ReplicaId(replica), tear))?;
            self.syncing[replica as usize] = false;
            self.after_range(self.swarm.processes.dead_time, Task::Restart(replica));
        }
        self.plan(self.swarm.processes.crashes, Task::NextCrash);
        Ok(())
    }

    /// Whether a replica may stop. In memory its log is lost then, and so is the group with more than it
    /// tolerates without theirs at a time.
    fn may_lose(&self, replica: u32) -> bool {
        if self.swarm.cluster.constants.durability == Durability::Sync || self.is_lost(replica) {
            return true;
        }
        let lost = (0..self.swarm.cluster.replicas).filter(|id| self.is_lost(*id)).count();
        let voters = self.swarm.cluster.replicas as usize;
        lost < voters - self.world.quorums().view_change
    }

    /// Whether a replica stopped, its log was in memory, and it does not have that again yet.
    pub(super) fn is_lost(&self, replica: u32) -> bool {
        let in_memory = self.swarm.cluster.constants.durability == Durability::Memory;
        let status = self.world.summary(ReplicaId(replica)).map(|summary| summary.status);
        in_memory && status.is_none_or(|status| status == StatusName::Recovering)
    }

    /// The live primary of the latest view that has one.
    fn primary(&self) -> Option<u32> {
        let summaries = self.world.replicas().filter_map(|id| self.world.summary(id));
        let primaries = summaries.filter(|summary| summary.status == StatusName::Primary);
        primaries.max_by_key(|summary| summary.view).map(|summary| summary.replica.0)
    }

    /// A partition, a primary that is alone, a one-way cut, or a graph with holes.
    fn cut(&mut self) -> Result<(), String> {
        if !self.faulty {
            return Ok(());
        }
        let isolates = self.chance(self.swarm.network.isolations);
        match self.primary().filter(|_| isolates) {
            Some(primary) => self.isolate(primary)?,
            None => self.cut_at_random()?,
        }
        self.after_range(self.swarm.network.cut_time, Task::Heal);
        self.plan(self.swarm.network.cuts, Task::NextCut);
        Ok(())
    }

    /// The primary goes on with some of the clients, and hears no other replica.
    fn isolate(&mut self, primary: u32) -> Result<(), String> {
        let mut alone = vec![Endpoint::Replica(ReplicaId(primary))];
        let others = self.world.replicas().filter(|id| id.0 != primary);
        let mut others: Vec<Endpoint> = others.map(Endpoint::Replica).collect();
        if others.is_empty() {
            return Ok(());
        }
        for client in 1..=self.swarm.clients {
            let side = if self.dice.chance(1, 2) { &mut alone } else { &mut others };
            side.push(Endpoint::Client(client));
        }
        self.faults.partitions += 1;
        self.apply(Choice::Cut(Cut::Groups(vec![alone, others])))
    }

    fn cut_at_random(&mut self) -> Result<(), String> {
        let replicas = u64::from(self.swarm.cluster.replicas);
        let end = |id: u64| Endpoint::Replica(ReplicaId(id as u32));
        match self.dice.below(4) {
            0 | 1 if replicas > 1 => {
                let mut sides = [Vec::new(), Vec::new()];
                for id in 0..replicas {
                    sides[self.dice.below(2) as usize].push(end(id));
                }
                for client in 1..=self.swarm.clients {
                    if self.dice.chance(1, 3) {
                        let side = self.dice.below(2) as usize;
                        sides[side].push(Endpoint::Client(client));
                    }
                }
                self.faults.partitions += 1;
                if sides.iter().all(|side| !side.is_empty()) {
                    self.apply(Choice::Cut(Cut::Groups(sides.into())))?;
                }
            }
            _ => {
                for _ in 0..self.dice.between(1, replicas) {
                    let from = self.dice.below(replicas);
                    let to = self.dice.below(replicas);
                    if from != to {
                        self.faults.one_way_cuts += 1;
                        let links = Links { from: Some(end(from)), to: Some(end(to)) };
                        self.apply(Choice::Cut(Cut::Links(links)))?;
                    }
                }
            }
        }
        Ok(())
    }

    fn pause(&mut self) -> Result<(), String> {
        if !self.faulty {
            return Ok(());
        }
        let replica = self.dice.below(u64::from(self.swarm.cluster.replicas)) as u32;
        if self.is_live(replica) {
            self.faults.pauses += 1;
            self.apply(Choice::Pause(ReplicaId(replica)))?;
            self.after_range(self.swarm.processes.pause_time, Task::Resume(replica));
        }
        self.plan(self.swarm.processes.pauses, Task::NextPause);
        Ok(())
    }

    fn abdicate(&mut self) -> Result<(), String> {
        if !self.faulty {
            return Ok(());
        }
        let replica = self.dice.below(u64::from(self.swarm.cluster.replicas)) as u32;
        if self.is_live(replica) {
            self.faults.abdications += 1;
            self.apply(Choice::Abdicate(ReplicaId(replica)))?;
        }
        self.plan(self.swarm.processes.abdications, Task::NextAbdication);
        Ok(())
    }

    /// A clock is far ahead for a while, most often the primary's.
    fn advance_clock(&mut self) -> Result<(), String> {
        if !self.faulty {
            return Ok(());
        }
        let any = self.dice.below(u64::from(self.swarm.cluster.replicas)) as u32;
        let replica = self.primary().filter(|_| self.dice.chance(1, 2)).unwrap_or(any);
        let milliseconds = self.draw(self.swarm.processes.ahead) / 1_000;
        self.faults.wild_clocks += 1;
        self.apply(Choice::Ahead(ReplicaId(replica), milliseconds))?;
        self.after_range(self.swarm.processes.wild_time, Task::MendClock(replica));
        self.plan(self.swarm.processes.wild_clocks, Task::NextClock);
        Ok(())
    }

    /// A clock is right again.
    pub(super) fn mend_clock(&mut self, replica: ReplicaId) -> Result<(), String> {
        if self.world.is_ahead(replica) { self.apply(Choice::Ahead(replica, 0)) } else { Ok(()) }
    }

    pub(super) fn is_live(&self, replica: u32) -> bool {
        self.world.replica(ReplicaId(replica)).is_some()
    }

    pub(super) fn chance(&mut self, of_a_thousand: u64) -> bool {
        of_a_thousand > 0 && self.dice.chance(of_a_thousand, 1000)
    }

    fn draw(&mut self, range: Range) -> u64 {
        self.dice.between(range.0, range.1.max(range.0))
    }

    pub(super) fn after_range(&mut self, range: Range, task: Task) {
        let delay = self.draw(range);
        self.after(delay, task);
    }

    pub(super) fn plan(&mut self, range: Option<Range>, task: Task) {
        if let Some(range) = range {
            self.after_range(range, task);
        }
    }

    /// Something is due after so many microseconds.
    pub(super) fn after(&mut self, micros: u64, task: Task) {
        self.number += 1;
        self.tasks.push(Reverse((self.world.now() + micros * 1000, self.number, task)));
    }
}
