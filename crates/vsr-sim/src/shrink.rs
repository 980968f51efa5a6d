//! A failing run becomes a short story.
//!
//! 1. The run is recorded, each delivery with the name of its message, so that it means the same when
//!    choices before it are left out.
//! 2. Choices are left out in ever smaller pieces as long as the same invariant breaks (delta
//!    debugging). A choice that has become impossible is skipped, and so falls out.
//! 3. The group is made simpler: fewer options, clients whose messages arrive at once.
//! 4. What is left is written as lines of a story, run as one, and must fail there.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use vsr_core::{Constants, ReplicaId};

use crate::linearizability;
use crate::simulate::{Options, Recorded, Recording, Verdict, panic_message, record};
use crate::story::{Fault, StoryError, run_story};
use crate::world::World;
use crate::world::choice::{Choice, DiskMode, SlowKinds, Tear};
use crate::world::cluster::Cluster;
use crate::world::disk_store::DiskStore;

/// How long a seed is shrunk at most; what is found until then is used.
const TIME_MAX: Duration = Duration::from_secs(120);

/// How long a story that ends in a lack of progress runs at its end.
const LIVENESS_RUN: Duration = Duration::from_secs(60);

/// What such a story expects in the end.
const STEADY: &str = "expect steady";

/// A failing seed's story.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The story, ready to be saved.
    pub story: String,
    /// How many commands it has.
    pub commands: usize,
    /// Whether it breaks the same when it is run as a story, as it must.
    pub fails: bool,
    /// What breaks in it.
    pub broken: String,
}

/// Runs a failing seed again and shrinks it. `None` if it passes, or if what broke does not break
/// again without the clock.
#[must_use]
pub fn shrink(seed: u64, options: &Options) -> Option<Shrunk> {
    let (report, recording) = record(seed, options);
    let Verdict::Broken(what) = &report.verdict else { return None };
    let aim = Aim::of(what);
    let core = recording.core.clone();
    let shrinker = Shrinker { aim, core, started: Instant::now() };
    let (cluster, choices) = shrinker.reduce(recording)?;
    let title = format!("Seed {} broke {what}", report.seed);
    Some(shrinker.write(&title, &cluster, &choices))
}

/// Shrinks choices that break a promise in a group. Where they do not break the same in the simulated
/// world, they are told as they are.
pub(crate) fn shortest(
    title: &str,
    what: &str,
    cluster: &Cluster,
    choices: Vec<Recorded>,
) -> Shrunk {
    let mut shrinker = Shrinker { aim: Aim::of(what), core: Vec::new(), started: Instant::now() };
    if let Some(other) = shrinker.breaks(cluster, &choices) {
        shrinker.aim = Aim::of(&other);
    }
    let recording = Recording { cluster: cluster.clone(), choices, core: Vec::new() };
    let told = (recording.cluster.clone(), recording.choices.clone());
    let (cluster, choices) = shrinker.reduce(recording).unwrap_or(told);
    shrinker.write(title, &cluster, &choices)
}

/// What must break again: the invariant's name, or a panic's beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Aim {
    name: String,
    kind: AimKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AimKind {
    Safety,
    Linearizability,
    Liveness,
}

impl Aim {
    fn of(what: &str) -> Self {
        let name = what.split(':').next().unwrap_or(what).to_owned();
        let kind = if name == "S16" {
            AimKind::Linearizability
        } else if matches!(name.as_str(), "L1" | "L2" | "L3") {
            AimKind::Liveness
        } else {
            AimKind::Safety
        };
        Self { name, kind }
    }

    fn is_hit(&self, what: &str) -> bool {
        what.split(':').next() == Some(self.name.as_str())
    }

    /// Whether a story fails for this, and not because it can no longer be read or applied.
    fn is_hit_by(&self, error: &StoryError) -> bool {
        match &error.fault {
            Fault::Invariant(what) => self.is_hit(what),
            Fault::Failed(_) => self.kind == AimKind::Liveness && error.command == STEADY,
            Fault::Malformed(_) | Fault::NotSupported(_) => false,
        }
    }
}

struct Shrinker {
    aim: Aim,
    /// Who is healed at the end, where progress is what lacks.
    core: Vec<ReplicaId>,
    started: Instant,
}

impl Shrinker {
    fn reduce(&self, recording: Recording) -> Option<(Cluster, Vec<Recorded>)> {
        let Recording { cluster, choices, .. } = recording;
        let mut choices = self.fails(&cluster, &choices)?;
        let mut cluster = cluster;
        // The coarse cut first: most of a run has nothing to do with what breaks at its end.
        loop {
            let before = choices.len();
            choices = self.minimize(&cluster, choices);
            cluster = self.simplify_cluster(cluster, &mut choices);
            choices = self.slow_one_by_one(&cluster, choices);
            choices = self.condense(&cluster, choices);
            choices = self.leave_out_pairs(&cluster, choices);
            if choices.len() >= before || self.is_late() {
                return Some((cluster, choices));
            }
        }
    }

    /// Slows only those disks that matter: the others need no syncs then.
    fn slow_one_by_one(&self, cluster: &Cluster, choices: Vec<Recorded>) -> Vec<Recorded> {
        let is_all = |recorded: &&Recorded| {
            matches!(recorded.choice, Choice::Disk { replica: None, mode: DiskMode::Slow(_) })
        };
        let Some(all) = choices.iter().find(is_all).cloned() else { return choices };
        let disk = |id: u32| {
            let mode = DiskMode::Slow(SlowKinds::All);
            Recorded { choice: Choice::Disk { replica: Some(ReplicaId(id)), mode }, ..all.clone() }
        };
        let rest: Vec<Recorded> =
            choices.iter().filter(|recorded| !is_all(recorded)).cloned().collect();
        let mut slow: Vec<u32> = (0..cluster.replicas).collect();
        let mut best = choices;
        for id in 0..cluster.replicas {
            let fewer: Vec<u32> = slow.iter().copied().filter(|other| *other != id).collect();
            let disks = fewer.iter().map(|id| disk(*id));
            let candidate: Vec<Recorded> = disks.chain(rest.iter().cloned()).collect();
            if let Some(shorter) = self.fails(cluster, &candidate) {
                slow = fewer;
                best = self.minimize(cluster, shorter);
            }
        }
        best
    }

    /// Puts one `settle` in the place of several deliveries.
    fn condense(&self, cluster: &Cluster, mut choices: Vec<Recorded>) -> Vec<Recorded> {
        for length in [24, 12, 6, 4, 3, 2] {
            let mut start = 0;
            while start + length <= choices.len() && !self.is_late() {
                let settle = Recorded { choice: Choice::Settle, flight: None, ..choices[start] };
                let mut candidate = choices[..start].to_vec();
                candidate.push(settle);
                candidate.extend_from_slice(&choices[start + length..]);
                match self.fails(cluster, &candidate) {
                    Some(shorter) if shorter.len() < choices.len() => choices = shorter,
                    Some(_) | None => start += 1,
                }
            }
        }
        choices
    }

    /// Leaves out two choices at a time that only make sense together.
    fn leave_out_pairs(&self, cluster: &Cluster, mut choices: Vec<Recorded>) -> Vec<Recorded> {
        let mut first = 0;
        while first < choices.len() {
            let mut second = first + 1;
            let mut removed = false;
            while second < choices.len() && !self.is_late() {
                let mut candidate = choices.clone();
                candidate.remove(second);
                candidate.remove(first);
                if let Some(shorter) = self.fails(cluster, &candidate) {
                    choices = shorter;
                    removed = true;
                    break;
                }
                second += 1;
            }
            if !removed {
                first += 1;
            }
        }
        choices
    }

    /// Leaves out ever smaller pieces as long as it still fails.
    fn minimize(&self, cluster: &Cluster, mut choices: Vec<Recorded>) -> Vec<Recorded> {
        let mut piece = choices.len().div_ceil(2).max(1);
        loop {
            let mut removed = false;
            let mut start = 0;
            while start < choices.len() && !self.is_late() {
                let end = (start + piece).min(choices.len());
                let mut candidate = choices[..start].to_vec();
                candidate.extend_from_slice(&choices[end..]);
                match self.fails(cluster, &candidate) {
                    Some(shorter) => {
                        choices = shorter;
                        removed = true;
                    }
                    None => start = end,
                }
            }
            if self.is_late() || (piece == 1 && !removed) {
                return choices;
            }
            if !removed || piece > choices.len() {
                piece = (piece / 2).max(1);
            }
        }
    }

    fn is_late(&self) -> bool {
        self.started.elapsed() > TIME_MAX
    }

    /// Puts options back to those of any story, one by one.
    fn simplify_cluster(&self, mut cluster: Cluster, choices: &mut Vec<Recorded>) -> Cluster {
        let plain = Cluster::of(cluster.replicas);
        let edits: [fn(&mut Cluster, &Cluster); 16] = [
            |cluster, plain| cluster.client_links = plain.client_links,
            |cluster, plain| cluster.quorums = plain.quorums,
            |cluster, plain| cluster.constants.durability = plain.constants.durability,
            |cluster, plain| cluster.constants.genesis_sessions = plain.constants.genesis_sessions,
            |cluster, plain| cluster.constants.sessions = plain.constants.sessions,
            |cluster, plain| cluster.constants.session_expiry = plain.constants.session_expiry,
            |cluster, plain| cluster.constants.window = plain.constants.window,
            |cluster, plain| cluster.constants.kept_reply = plain.constants.kept_reply,
            |cluster, plain| cluster.constants.batch_requests = plain.constants.batch_requests,
            |cluster, plain| cluster.constants.batch_bytes = plain.constants.batch_bytes,
            |cluster, plain| {
                cluster.constants.checkpoint_interval = plain.constants.checkpoint_interval;
            },
            |cluster, plain| cluster.constants.checkpoint_bytes = plain.constants.checkpoint_bytes,
            |cluster, plain| cluster.constants.checkpoint_time = plain.constants.checkpoint_time,
            |cluster, plain| cluster.constants.log_slots = plain.constants.log_slots,
            |cluster, plain| cluster.constants.pipeline = plain.constants.pipeline,
            |cluster, plain| {
                let Constants { request_bytes, log_bytes, .. } = plain.constants;
                cluster.constants.request_bytes = request_bytes;
                cluster.constants.log_bytes = log_bytes;
            },
        ];
        for edit in edits {
            let mut candidate = cluster.clone();
            edit(&mut candidate, &plain);
            if candidate.constants.check().is_err() {
                continue;
            }
            if let Some(shorter) = self.fails(&candidate, choices) {
                cluster = candidate;
                *choices = shorter;
            }
        }
        cluster
    }

    /// Replays choices. If what is aimed at breaks: the choices that were applied up to there, each
    /// as it reads now.
    fn fails(&self, cluster: &Cluster, choices: &[Recorded]) -> Option<Vec<Recorded>> {
        let replayed = catch_unwind(AssertUnwindSafe(|| self.replay(cluster, choices)));
        match replayed {
            Ok(result) => result,
            Err(panic) => {
                let what = format!("panic: {}", panic_message(panic.as_ref()));
                self.aim.is_hit(&what).then(|| choices.to_vec())
            }
        }
    }

    /// What breaks when these choices are applied.
    fn breaks(&self, cluster: &Cluster, choices: &[Recorded]) -> Option<String> {
        let replayed = catch_unwind(AssertUnwindSafe(|| {
            let mut world = World::<DiskStore>::new(cluster.clone()).ok()?;
            choices.iter().find_map(|recorded| {
                let _applied = world.apply(&recorded.choice);
                world.checker().violation().map(str::to_owned)
            })
        }));
        replayed.unwrap_or_else(|panic| Some(format!("panic: {}", panic_message(panic.as_ref()))))
    }

    fn replay(&self, cluster: &Cluster, choices: &[Recorded]) -> Option<Vec<Recorded>> {
        let mut world = World::<DiskStore>::new(cluster.clone()).ok()?;
        let mut applied = Vec::new();
        for recorded in choices {
            let Some(choice) = located(&world, recorded) else { continue };
            world.set_cause(recorded.cause);
            if world.apply(&choice).is_err() {
                continue;
            }
            applied.push(Recorded { choice, ..recorded.clone() });
            if let Some(what) = world.checker().violation() {
                return self.aim.is_hit(what).then_some(applied);
            }
        }
        match self.aim.kind {
            AimKind::Safety => None,
            AimKind::Linearizability => {
                let verdict = linearizability::check(world.history());
                matches!(verdict, linearizability::Verdict::Broken(_)).then_some(applied)
            }
            AimKind::Liveness => {
                self.heal(&mut world);
                world.run_for(LIVENESS_RUN).ok()?;
                (!world.is_steady()).then_some(applied)
            }
        }
    }

    /// Ends all faults for the core; the rest dies. Returns what that took.
    fn heal(&self, world: &mut World<DiskStore>) -> Vec<Choice> {
        let mut choices = vec![Choice::Heal(None)];
        for id in world.replicas() {
            let live = world.replica(id).is_some();
            match (self.core.contains(&id), live) {
                (true, false) => choices.push(Choice::Restart(id)),
                (true, true) if world.is_paused(id) => choices.push(Choice::Resume(id)),
                (false, true) => choices.push(Choice::Crash(id, Tear::None)),
                (true, true) | (false, false) => {}
            }
        }
        choices.push(Choice::Disk { replica: None, mode: DiskMode::Ok });
        choices.retain(|choice| world.apply(choice).is_ok());
        choices
    }

    /// The choices that end the faults after these.
    fn ending(&self, cluster: &Cluster, choices: &[Recorded]) -> Vec<Choice> {
        let Ok(mut world) = World::<DiskStore>::new(cluster.clone()) else { return Vec::new() };
        for recorded in choices {
            // They were applied before, in the same order.
            let _applied = world.apply(&recorded.choice);
        }
        self.heal(&mut world)
    }

    fn write(&self, title: &str, cluster: &Cluster, choices: &[Recorded]) -> Shrunk {
        let mut lines = vec![format!("# {title}"), cluster.to_string()];
        lines.extend(choices.iter().map(|recorded| recorded.choice.to_string()));
        if self.aim.kind == AimKind::Liveness {
            let ending = self.ending(cluster, choices);
            lines.extend(ending.iter().map(ToString::to_string));
            lines.push(format!("run {}s", LIVENESS_RUN.as_secs()));
            lines.push(STEADY.to_owned());
        }
        let story = lines.join("\n") + "\n";
        let (fails, broken) = match catch_unwind(AssertUnwindSafe(|| run_story(&story))) {
            Ok(Ok(_)) => (false, String::new()),
            Ok(Err(error)) => (self.aim.is_hit_by(&error), error.to_string()),
            Err(panic) => {
                let what = format!("panic: {}", panic_message(panic.as_ref()));
                (self.aim.is_hit(&what), what)
            }
        };
        Shrunk { commands: lines.len() - 1, story, fails, broken }
    }
}

/// A recorded choice as it reads in this world: the place of the message it delivers may be another.
fn located(world: &World<DiskStore>, recorded: &Recorded) -> Option<Choice> {
    match (&recorded.choice, recorded.flight) {
        (Choice::Deliver { link, pick, keep }, Some(flight)) => {
            // Where that very message was never sent, another in its place may do.
            let pick = world.network().locate(*link, flight).unwrap_or(*pick);
            Some(Choice::Deliver { link: *link, pick, keep: *keep })
        }
        (choice, _) => Some(choice.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(command: &str, fault: Fault) -> StoryError {
        let (command, transcript) = (command.to_owned(), crate::story::Transcript::default());
        StoryError { line: 1, command, fault, transcript }
    }

    #[test]
    fn a_shrunk_story_fails_only_by_what_the_seed_broke() {
        let safety = Aim::of("S13: r1 overwrites op 3");
        let invariant = |what: &str| error("fsync r1", Fault::Invariant(what.to_owned()));
        assert!(safety.is_hit_by(&invariant("S13: r2 overwrites op 1")));
        assert!(!safety.is_hit_by(&invariant("S1: two entries were committed at op 1")));
        assert!(!safety.is_hit_by(&error("fsync r9", Fault::Failed("there is no r9".to_owned()))));
        assert!(!safety.is_hit_by(&error("fsnyc r1", Fault::Malformed("no command".to_owned()))));
        let liveness = Aim::of("L1: r0 is view-change in view 3");
        assert!(liveness.is_hit_by(&error(STEADY, Fault::Failed("the group is not".to_owned()))));
        assert!(!liveness.is_hit_by(&error("restart r0", Fault::Failed("it is alive".to_owned()))));
    }
}
