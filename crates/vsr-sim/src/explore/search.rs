//! Breadth first through all states, each by its hash once.

use std::time::Instant;

use crate::explore::Bounds;
use crate::explore::group::{Group, Model, Move, Next};
use crate::explore::hash::HashesSeen;
use crate::explore::tell;

/// After how many states the clock is looked at.
const CLOCK_EVERY: u64 = 1 << 12;

/// What an exploration came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every state within the bounds was seen, and none breaks a promise.
    Exhausted,
    /// No state that was seen breaks a promise; not all were seen, for this limit.
    Bounded(&'static str),
    /// A state breaks a promise.
    Broken(Counterexample),
}

/// A shortest path to a state that breaks a promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counterexample {
    /// What broke, as the explorer sees it.
    pub what: String,
    /// The path, as a story.
    pub story: String,
    /// How many commands the story has.
    pub commands: usize,
    /// Whether the story fails when it is run, as it must.
    pub fails: bool,
}

/// What was explored.
#[derive(Clone, Debug)]
pub struct Report {
    /// What it came to.
    pub verdict: Verdict,
    /// Distinct states.
    pub states: u64,
    /// Steps that led from one to another.
    pub transitions: u64,
    /// Steps that would have led beyond the bounds of the group.
    pub beyond: u64,
    /// States after which nothing more happens.
    pub ends: u64,
    /// The most steps from the first state that all states were seen of.
    pub depth: u32,
    /// Distinct steps of single replicas, each of which was computed once.
    pub computed: u64,
    /// How many operations were committed in some state.
    pub committed: usize,
    /// Distinct messages.
    pub messages: usize,
    /// How long it took.
    pub seconds: f64,
    /// The most memory that the process held at once, in bytes, where the system tells.
    pub memory: Option<u64>,
}

/// How a state was reached first.
#[derive(Clone, Copy, Debug)]
struct Step {
    from: u32,
    step: Move,
}

struct Search {
    model: Model,
    seen: HashesSeen,
    steps: Vec<Step>,
    report: Report,
    started: Instant,
}

/// A state that must not be: the steps to the one before, and the last one.
struct Found {
    from: u32,
    step: Option<Move>,
    what: String,
}

/// Explores a group. `progress` is told now and then how far it came.
///
/// # Errors
/// Why there is nothing to be explored.
pub fn explore(bounds: &Bounds, progress: &mut dyn FnMut(&Report)) -> Result<Report, String> {
    bounds.check()?;
    let mut model = Model::new(bounds)?;
    let first = model.initial()?;
    let report = Report {
        verdict: Verdict::Exhausted,
        states: 0,
        transitions: 0,
        beyond: 0,
        ends: 0,
        depth: 0,
        computed: 0,
        committed: 0,
        messages: 0,
        seconds: 0.0,
        memory: None,
    };
    let mut search = Search {
        model,
        seen: HashesSeen::default(),
        steps: Vec::new(),
        report,
        started: Instant::now(),
    };
    let verdict = search.run(first, progress);
    search.measure();
    Ok(Report { verdict, ..search.report })
}

impl Search {
    fn run(&mut self, first: Group, progress: &mut dyn FnMut(&Report)) -> Verdict {
        self.see(&first, Step { from: 0, step: Move::Restart(0) });
        let mut level = vec![(0, first)];
        let mut next = Vec::new();
        while !level.is_empty() {
            if self.report.depth >= self.model.bounds.depth {
                return Verdict::Bounded("depth");
            }
            for (from, group) in level.drain(..) {
                if let Err(found) = self.expand(from, &group, &mut next) {
                    return Verdict::Broken(self.tell(&found));
                }
                if self.report.states >= self.model.bounds.states {
                    return Verdict::Bounded("states");
                }
                if u64::from(from) % CLOCK_EVERY == 0 {
                    self.measure();
                    progress(&self.report);
                    if self.started.elapsed().as_secs() >= self.model.bounds.seconds {
                        return Verdict::Bounded("seconds");
                    }
                }
            }
            std::mem::swap(&mut level, &mut next);
            self.report.depth += u32::from(!level.is_empty());
        }
        Verdict::Exhausted
    }

    fn measure(&mut self) {
        self.report.seconds = self.started.elapsed().as_secs_f64();
        self.report.computed = self.model.computed;
        self.report.messages = self.model.post.len();
        self.report.memory = memory();
    }

    fn expand(
        &mut self,
        from: u32,
        group: &Group,
        next: &mut Vec<(u32, Group)>,
    ) -> Result<(), Found> {
        let mut moves = Vec::new();
        self.model.moves(group, &mut moves);
        let here = group.hash();
        let mut quiet = true;
        for step in moves {
            match self.model.apply(group, step) {
                Next::Same => {}
                Next::Beyond => {
                    quiet = false;
                    self.report.beyond += 1;
                }
                Next::Broken(what) => return Err(Found { from, step: Some(step), what }),
                Next::State(state) => {
                    let hash = state.hash();
                    if hash == here {
                        continue;
                    }
                    quiet = false;
                    self.report.transitions += 1;
                    if self.seen.contains(&hash) {
                        continue;
                    }
                    let number = self.see(&state, Step { from, step });
                    next.push((number, *state));
                }
            }
        }
        if quiet {
            self.report.ends += 1;
            let ended = group.past.judge_end(group);
            ended.map_err(|what| Found { from, step: None, what })?;
        }
        Ok(())
    }

    fn see(&mut self, group: &Group, step: Step) -> u32 {
        self.seen.insert(group.hash());
        let number = self.steps.len() as u32;
        self.steps.push(step);
        self.report.states += 1;
        self.report.committed = self.report.committed.max(group.past.committed());
        number
    }

    fn tell(&self, found: &Found) -> Counterexample {
        let mut path: Vec<Move> = found.step.into_iter().collect();
        let mut at = found.from;
        while at != 0 {
            let Step { from, step } = self.steps[at as usize];
            path.push(step);
            at = from;
        }
        path.reverse();
        tell::story(&self.model, &path, &found.what)
    }
}

/// The most memory that this process held at once.
fn memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kibibytes * 1024)
}

impl Report {
    /// In words, a line a figure.
    #[must_use]
    pub fn text(&self) -> String {
        let verdict = match &self.verdict {
            Verdict::Exhausted => {
                "every state within the bounds was seen; no promise is broken".to_owned()
            }
            Verdict::Bounded(limit) => {
                format!("no promise is broken; not all states were seen, for the limit of {limit}")
            }
            Verdict::Broken(found) => format!("a promise is broken: {}", found.what),
        };
        let memory = self
            .memory
            .map_or_else(|| "not known".to_owned(), |bytes| format!("{} MiB", bytes >> 20));
        format!(
            "states       {}\ntransitions  {}\nbeyond       {}\nends         {}\ndepth        {}\n\
             committed    {}\nmessages     {}\nreplica steps {}\nseconds      {:.1}\nmemory       {}\nverdict      {}\n",
            self.states,
            self.transitions,
            self.beyond,
            self.ends,
            self.depth,
            self.committed,
            self.messages,
            self.computed,
            self.seconds,
            memory,
            verdict
        )
    }
}
