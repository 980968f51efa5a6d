//! What a seed's world is like: each seed draws a configuration and a mixture of faults of its own, so
//! that no fault hides another and small limits are reached.

use vsr_core::{Constants, Durability, Prediction, VOTERS_MAX};

use crate::prng::Prng;
use crate::simulate::Given;
use crate::world::cluster::Cluster;

/// A time in microseconds, from the first to the second.
pub(super) type Range = (u64, u64);

/// The character of one seed's world.
#[derive(Clone, Debug)]
pub(super) struct Swarm {
    pub(super) cluster: Cluster,
    /// Concurrent clients: `c1` to this.
    pub(super) clients: u32,
    /// Keys that they use.
    pub(super) keys: u64,
    pub(super) network: NetworkFaults,
    pub(super) disks: DiskFaults,
    pub(super) processes: ProcessFaults,
    pub(super) habits: Habits,
}

/// What happens to messages. Chances are of a thousand.
#[derive(Clone, Debug)]
pub(super) struct NetworkFaults {
    pub(super) delay: Range,
    /// Now and then a message takes far longer.
    pub(super) straggle: u64,
    pub(super) straggle_delay: Range,
    pub(super) loss: u64,
    pub(super) doubling: u64,
    /// Time between changes of what is cut, if anything ever is.
    pub(super) cuts: Option<Range>,
    pub(super) cut_time: Range,
    /// Of a thousand cuts, how many leave the primary alone with some of the clients.
    pub(super) isolations: u64,
}

/// What disks do.
#[derive(Clone, Debug)]
pub(super) struct DiskFaults {
    pub(super) sync_time: Range,
    /// Of a thousand syncs, how many take far longer.
    pub(super) stall: u64,
    pub(super) stall_time: Range,
    /// Of a thousand syncs, how many make only some of the waiting writes durable.
    pub(super) partial: u64,
    /// Time between records and chunks of checkpoints that rot, all on one replica's disk, if any do.
    pub(super) rot: Option<Range>,
    /// Time between faults of all kinds that a disk can have at rest: on the disk that rots, or on any.
    pub(super) damage: Option<Range>,
    /// Whether records are damaged on several disks, of which another one has them whole.
    pub(super) spread: bool,
    /// Time between file systems that fill up, and how long they are full.
    pub(super) full: Option<Range>,
    pub(super) full_time: Range,
    /// Of a thousand syncs, how many fail.
    pub(super) fail: u64,
    /// Time between rounds in which such a disk is read, to find damage.
    pub(super) scrubs: Option<Range>,
}

/// What happens to processes.
#[derive(Clone, Debug)]
pub(super) struct ProcessFaults {
    /// Time between crashes, if there are any.
    pub(super) crashes: Option<Range>,
    pub(super) dead_time: Range,
    /// Of a thousand crashes, how many tear writes.
    pub(super) torn: u64,
    /// Of a thousand crashes, how many are of all replicas at once.
    pub(super) all: u64,
    /// Of a thousand other crashes, how many are of the primary.
    pub(super) of_primary: u64,
    pub(super) pauses: Option<Range>,
    pub(super) pause_time: Range,
    pub(super) abdications: Option<Range>,
    /// Time between clocks that go wrong, if there are any.
    pub(super) wild_clocks: Option<Range>,
    pub(super) wild_time: Range,
    /// How far they are ahead.
    pub(super) ahead: Range,
    /// How long services take to answer, if they take any time.
    pub(super) answers: Option<Range>,
    /// Of a thousand deliveries, how many begin a round that gathers more.
    pub(super) gather: u64,
}

/// What clients do. Chances are of a thousand.
#[derive(Clone, Debug)]
pub(super) struct Habits {
    pub(super) think: Range,
    pub(super) give_up: u64,
    pub(super) patience: Range,
    pub(super) restart: u64,
    /// How many gets are reads without an entry in the log.
    pub(super) reads: u64,
    /// How often each operation is chosen: get, put, delete, cas, append, incr, txn.
    pub(super) operations: [u64; 7],
}

const MILLISECOND: u64 = 1_000;
const SECOND: u64 = 1_000_000;

impl Swarm {
    pub(super) fn draw(seed: u64, given: &Given) -> Self {
        let mut dice = Prng::new(seed ^ 0x5377_6172_6d00_0000);
        let drawn = *dice.pick(&[1, 2, 3, 3, 3, 3, 3, 3, 4, 4, 5, 5, 5, 6, 7, 7]);
        let replicas = given.replicas.unwrap_or(drawn);
        let mut cluster = Cluster::of(replicas);
        cluster.seed = seed;
        cluster.client_links = true;
        let quorums = draw_quorums(&mut dice, drawn as usize);
        cluster.quorums = quorums.filter(|_| given.replicas.is_none());
        let drawn = dice.between(3, 8) as u32;
        let clients = given.clients.unwrap_or(drawn);
        cluster.constants = draw_constants(&mut dice, clients);
        draw_sessions(seed, &mut cluster.constants);
        let mut swarm = Self {
            cluster,
            clients,
            keys: dice.between(1, 5),
            network: NetworkFaults::draw(&mut dice),
            disks: DiskFaults::draw(&mut dice),
            processes: ProcessFaults::draw(&mut dice),
            habits: Habits::draw(&mut dice),
        };
        // By dice of their own: a seed without reads keeps its world.
        let mut own = Prng::new(seed ^ 0x5265_6164_7300_0000);
        swarm.habits.reads = *own.pick(&[0, 500, 1000]);
        swarm.draw_prediction(seed);
        let full = dice.chance(1, 8);
        if full {
            swarm.crash_in_full_pipelines(&mut dice);
        }
        if dice.chance(1, 5) {
            swarm.stay_away(&mut dice);
        }
        if !full {
            // What those are for is on disks.
            swarm.draw_durability(seed);
        }
        swarm.draw_rot(seed);
        swarm.draw_failures(seed);
        swarm.draw_damage(seed);
        swarm.heed(given);
        swarm
    }

    /// Whether what is committed, and what logs are cut behind, is on several disks.
    fn has_copies(&self) -> bool {
        let copies =
            self.cluster.quorums.map_or(self.cluster.replicas as usize, |(least, _)| least);
        copies > 1 && self.cluster.constants.durability == Durability::Sync
    }

    /// In some groups one disk has every fault at rest that is known, or several have damaged records, each elsewhere.
    /// With dice of their own.
    fn draw_damage(&mut self, seed: u64) {
        let mut dice = Prng::new(seed ^ 0x4461_6d61_6765_0000);
        if self.has_copies() && dice.chance(1, 4) {
            self.disks.damage = Some((20 * MILLISECOND, *dice.pick(&[300, 2_000]) * MILLISECOND));
            self.disks.spread = dice.chance(1, 2);
            self.disks.scrubs.get_or_insert((100 * MILLISECOND, 2 * SECOND));
        }
    }

    /// In some groups syncs fail, or file systems fill up. With dice of their own.
    fn draw_failures(&mut self, seed: u64) {
        let mut dice = Prng::new(seed ^ 0x4661_696c_0000_0000);
        if dice.chance(1, 6) {
            self.disks.fail = *dice.pick(&[1, 5]);
        }
        let on_disk = self.cluster.constants.durability == Durability::Sync;
        if on_disk && dice.chance(1, 6) {
            self.disks.full = Some((50 * MILLISECOND, *dice.pick(&[500, 4_000]) * MILLISECOND));
            // So little is kept for what was promised that it is used up now and then.
            let constants = &mut self.cluster.constants;
            constants.pipeline = constants.pipeline.min(*dice.pick(&[1, 2, 16]));
            constants.batch_bytes = constants.batch_bytes.min(512);
            constants.request_bytes = 512;
        }
    }

    /// In some groups one disk rots, where others have what it had. With dice of their own.
    fn draw_rot(&mut self, seed: u64) {
        let mut dice = Prng::new(seed ^ 0x526f_7400_0000_0000);
        if self.has_copies() && dice.chance(1, 3) {
            self.disks.rot = Some((20 * MILLISECOND, *dice.pick(&[300, 2_000]) * MILLISECOND));
            self.disks.scrubs = dice.chance(2, 3).then_some((100 * MILLISECOND, 2 * SECOND));
        }
    }

    /// Some groups have their logs in memory, where that is allowed, and then processes die more often than
    /// not. With dice of their own.
    fn draw_durability(&mut self, seed: u64) {
        let mut dice = Prng::new(seed ^ 0x4d65_6d6f_7279_0000);
        let in_memory = dice.chance(1, 4);
        self.cluster.constants.durability = Durability::Memory;
        if !in_memory || self.cluster.configs().is_err() {
            self.cluster.constants.durability = Durability::Sync;
            return;
        }
        if dice.chance(3, 4) {
            self.processes.crashes.get_or_insert((20 * MILLISECOND, SECOND));
        }
    }

    /// Whether the service wants values, and whether clocks go wrong by which it judges them.
    fn draw_prediction(&mut self, seed: u64) {
        let mut dice = Prng::new(seed ^ 0x5072_6564_6963_7400);
        let none = Prediction::None;
        self.cluster.prediction =
            *dice.pick(&[none, none, Prediction::Primary, Prediction::Backups]);
        if self.cluster.prediction != none && dice.chance(1, 2) {
            self.processes.wild_clocks = Some((50 * MILLISECOND, 3 * SECOND));
        }
        if self.cluster.prediction != none && dice.chance(2, 3) {
            let most = *dice.pick(&[1, 10, 100, 800]) * MILLISECOND;
            self.processes.answers = Some((10, most));
        }
    }

    fn heed(&mut self, given: &Given) {
        self.clients = given.clients.unwrap_or(self.clients);
        if let Some(percent) = given.loss_percent {
            self.network.loss = percent * 10;
        }
        match given.crashes {
            None => {}
            Some(false) => self.processes.crashes = None,
            Some(true) => {
                self.processes.crashes.get_or_insert((20 * MILLISECOND, SECOND));
            }
        }
    }

    /// Replicas are away for longer than a short log keeps what they lack: they take checkpoints from others.
    fn stay_away(&mut self, dice: &mut Prng) {
        let every = dice.between(1, 6) as u32;
        let constants = &mut self.cluster.constants;
        constants.pipeline = *dice.pick(&[1, 2, 4]);
        constants.batch_requests = *dice.pick(&[1, 2]);
        constants.checkpoint_interval = every;
        constants.log_slots = 3 * every + 2 * constants.pipeline + 1 + dice.below(12) as u32;
        self.habits.think = (0, MILLISECOND);
        self.processes.crashes = Some((50 * MILLISECOND, SECOND));
        self.processes.dead_time = (10 * MILLISECOND, dice.between(1, 4) * SECOND);
    }

    /// Many entries are on their way to slow disks whenever a process dies, and their writes are torn:
    /// logs come back with damaged heads, and repairs are cut short.
    fn crash_in_full_pipelines(&mut self, dice: &mut Prng) {
        self.clients = dice.between(6, 8) as u32;
        let constants = &mut self.cluster.constants;
        constants.pipeline = *dice.pick(&[8, 16]);
        constants.batch_requests = 1;
        constants.log_slots = 4096;
        constants.sessions = self.clients * 8;
        constants.genesis_sessions = self.clients;
        // One entry at a time waits for a value: that would keep the pipelines from being full.
        self.cluster.prediction = Prediction::None;
        self.processes.wild_clocks = None;
        self.processes.answers = None;
        self.habits.think = (0, MILLISECOND);
        self.disks.sync_time = (3 * MILLISECOND, 45 * MILLISECOND);
        self.processes.crashes = Some((20 * MILLISECOND, 300 * MILLISECOND));
        self.processes.dead_time = (MILLISECOND, 100 * MILLISECOND);
        // What a torn sector may have held is asked of others. Where nobody else need hold it, or where
        // no view change does without an uncertain member, the group stops rather than guess.
        let replicas = self.cluster.replicas as usize;
        let certain = match self.cluster.quorums {
            Some((replication, view_change)) => replication > 1 && view_change < replicas,
            None => replicas > 2,
        };
        self.processes.torn = if certain { 900 } else { 0 };
    }
}

/// Mostly the defaults; sometimes others that meet.
fn draw_quorums(dice: &mut Prng, voters: usize) -> Option<(usize, usize)> {
    assert!(voters <= VOTERS_MAX, "a group is drawn within its limit");
    if dice.chance(3, 4) {
        return None;
    }
    let replication = dice.between(1, voters as u64) as usize;
    let least = voters - replication + 1;
    Some((replication, dice.between(least as u64, voters as u64) as usize))
}

fn draw_constants(dice: &mut Prng, clients: u32) -> Constants {
    let pipeline = *dice.pick(&[1, 1, 2, 3, 4, 8, 8, 16]);
    let log_slots = match dice.below(12) {
        0 => 2 * pipeline + 1 + dice.below(60) as u32,
        1 => 2 * pipeline + 100,
        _ => 4096,
    };
    let intervals = [0, 1, 2, 5, 16, 64].into_iter();
    let fitting: Vec<u32> = intervals.filter(|every| 3 * every + pipeline <= log_slots).collect();
    let checkpoint_interval = if dice.chance(2, 3) { *dice.pick(&fitting) } else { 0 };
    // By bytes and by time too, alone or together.
    let checkpoint_bytes = if dice.chance(1, 8) { dice.between(100, 20_000) } else { 0 };
    let checkpoint_time = if dice.chance(1, 8) { dice.between(5, 2_000) * 1_000_000 } else { 0 };
    let genesis = if dice.chance(1, 4) { dice.below(u64::from(clients)) as u32 } else { clients };
    let sessions = match dice.below(8) {
        0 => clients.saturating_sub(1).max(1),
        _ => clients * 8,
    };
    Constants {
        pipeline,
        batch_requests: *dice.pick(&[1, 2, 3, 8, 1024]),
        batch_bytes: *dice.pick(&[32, 512, 64 * 1024]),
        request_bytes: 4096,
        log_slots,
        log_bytes: 1 << 30,
        checkpoint_interval,
        checkpoint_bytes,
        checkpoint_time,
        sessions,
        window: 1,
        session_expiry: 0,
        durability: Durability::Sync,
        kept_reply: if dice.chance(1, 10) { 1 } else { 4096 },
        genesis_sessions: genesis.min(sessions),
    }
}

/// With dice of their own, so that the rest of a seed's world does not depend on them.
fn draw_sessions(seed: u64, constants: &mut Constants) {
    let mut dice = Prng::new(seed ^ 0x5365_7373_696f_6e73);
    constants.window = *dice.pick(&[1, 1, 2, 3, 4, 6, 8, 8]);
    if dice.chance(1, 4) {
        constants.session_expiry = dice.between(200, 5_000) * 1_000_000;
    }
}

impl NetworkFaults {
    fn draw(dice: &mut Prng) -> Self {
        let slow = dice.chance(1, 8);
        let base = if slow { dice.between(5, 40) * MILLISECOND } else { dice.between(50, 1000) };
        let spread = *dice.pick(&[1, 2, 4, 20]);
        Self {
            delay: (base, base * spread + 1),
            straggle: *dice.pick(&[0, 0, 5, 30, 150]),
            straggle_delay: (20 * MILLISECOND, *dice.pick(&[200, 2_000]) * MILLISECOND),
            loss: *dice.pick(&[0, 0, 5, 30, 100, 250]),
            doubling: *dice.pick(&[0, 0, 10, 100]),
            cuts: dice.chance(5, 8).then(|| (100 * MILLISECOND, dice.between(1, 6) * SECOND)),
            cut_time: (50 * MILLISECOND, dice.between(1, 5) * SECOND),
            isolations: *dice.pick(&[0, 200]),
        }
    }
}

impl DiskFaults {
    fn draw(dice: &mut Prng) -> Self {
        let base = *dice.pick(&[20, 100, 500, 3_000, 15_000]);
        Self {
            sync_time: (base, base * 3),
            stall: *dice.pick(&[0, 0, 2, 20]),
            stall_time: (50 * MILLISECOND, 3 * SECOND),
            partial: *dice.pick(&[0, 50, 300]),
            rot: None,
            damage: None,
            spread: false,
            full: None,
            full_time: (50 * MILLISECOND, 3 * SECOND),
            fail: 0,
            scrubs: None,
        }
    }
}

impl ProcessFaults {
    fn draw(dice: &mut Prng) -> Self {
        let often = *dice.pick(&[300, 1_000, 4_000]) * MILLISECOND;
        Self {
            crashes: dice.chance(6, 8).then_some((20 * MILLISECOND, often)),
            dead_time: (MILLISECOND, dice.between(100, 3_000) * MILLISECOND),
            torn: *dice.pick(&[0, 500, 900]),
            all: *dice.pick(&[0, 0, 50, 200]),
            of_primary: *dice.pick(&[0, 500]),
            pauses: dice.chance(1, 4).then_some((100 * MILLISECOND, 3 * SECOND)),
            pause_time: (10 * MILLISECOND, SECOND),
            abdications: dice.chance(1, 3).then_some((200 * MILLISECOND, 4 * SECOND)),
            wild_clocks: None,
            wild_time: (100 * MILLISECOND, 4 * SECOND),
            ahead: (500 * MILLISECOND, 60 * SECOND),
            answers: None,
            gather: *dice.pick(&[0, 0, 100, 400]),
        }
    }
}

impl Habits {
    fn draw(dice: &mut Prng) -> Self {
        let mut operations = [0; 7];
        for weight in &mut operations {
            *weight = dice.below(4);
        }
        operations[0] += 1;
        operations[1] += 1;
        // Transactions join keys and make the history harder to check.
        operations[6] = u64::from(dice.chance(1, 4));
        Self {
            think: (0, *dice.pick(&[1, 5, 50]) * MILLISECOND),
            give_up: *dice.pick(&[0, 5, 30]),
            patience: (50 * MILLISECOND, 3 * SECOND),
            restart: *dice.pick(&[0, 0, 3, 10]),
            reads: 0,
            operations,
        }
    }
}
