//! Runs a story and writes its transcript.

use std::fmt;

use vsr_core::Outcome;

use crate::linearizability;
use crate::story::command::Command;
use crate::story::expect::{self, Counters};
use crate::world::choice::{Choice, NotAChoice};
use crate::world::cluster::Cluster;
use crate::world::disk_store::DiskStore;
use crate::world::names::Link;
use crate::world::{Refused, World};

/// The most commands of a story that is run; those that people keep have at most 40.
const COMMANDS_MAX: usize = 10_000;

/// What a story printed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transcript {
    /// Its lines.
    pub lines: Vec<String>,
    /// How many commands it had.
    pub commands: usize,
}

impl fmt::Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// A story that did not go as it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoryError {
    /// The line of the story, counted from 1.
    pub line: usize,
    /// What the line says.
    pub command: String,
    /// What is wrong.
    pub fault: Fault,
    /// What was printed up to there, with the failed line marked.
    pub transcript: Transcript,
}

/// What is wrong with a line of a story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An expectation does not hold, or what is named is not there.
    Failed(String),
    /// A safety invariant is broken.
    Invariant(String),
    /// The line cannot be read.
    Malformed(String),
    /// The line needs what this version lacks.
    NotSupported(String),
}

impl Fault {
    /// The exit status of a command that runs stories.
    #[must_use]
    pub const fn exit_status(&self) -> u8 {
        match self {
            Self::Failed(_) | Self::Invariant(_) => 1,
            Self::Malformed(_) => 2,
            Self::NotSupported(_) => 3,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(why) => write!(f, "failed: {why}"),
            Self::Invariant(why) => write!(f, "invariant broken: {why}"),
            Self::Malformed(why) => write!(f, "cannot be read: {why}"),
            Self::NotSupported(what) => write!(f, "not supported: {what}"),
        }
    }
}

impl fmt::Display for StoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: `{}`: {}", self.line, self.command, self.fault)
    }
}

impl std::error::Error for StoryError {}

impl From<NotAChoice> for Fault {
    fn from(error: NotAChoice) -> Self {
        match error {
            NotAChoice::NotSupported(what) => Self::NotSupported(what),
            NotAChoice::OtherCommand | NotAChoice::Malformed(_) => {
                Self::Malformed(error.to_string())
            }
        }
    }
}

impl From<Refused> for Fault {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Absent(why) | Refused::Impossible(why) => Self::Failed(why),
            Refused::NotSupported(what) => Self::NotSupported(what),
        }
    }
}

/// Runs a story.
///
/// # Errors
/// [`StoryError`] names the first line that did not go as the story says, with the transcript up to
/// there.
pub fn run_story(text: &str) -> Result<Transcript, Box<StoryError>> {
    let mut runner = Runner::default();
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with('#') {
            continue;
        }
        let line = line.split(" #").next().unwrap_or_default().trim_end();
        if let Err(fault) = runner.line(line.trim()) {
            runner.transcript.lines.push(format!("  ! {fault}"));
            return Err(Box::new(StoryError {
                line: index + 1,
                command: line.trim().to_owned(),
                fault,
                transcript: runner.transcript,
            }));
        }
    }
    let history = runner.world.as_ref().map_or(&[][..], World::history);
    if let linearizability::Verdict::Broken(what) = linearizability::check(history) {
        let fault = Fault::Invariant(format!("S16: {what}"));
        runner.transcript.lines.push(format!("  ! {fault}"));
        return Err(Box::new(StoryError {
            line: text.lines().count(),
            command: "the end".to_owned(),
            fault,
            transcript: runner.transcript,
        }));
    }
    Ok(runner.transcript)
}

#[derive(Default)]
struct Runner {
    world: Option<World<DiskStore>>,
    transcript: Transcript,
    views: u64,
    /// The link of a message that was just forged: it has arrived, so that to deliver it does
    /// nothing.
    forged: Option<Link>,
}

impl Runner {
    fn line(&mut self, line: &str) -> Result<(), Fault> {
        if line.is_empty() {
            self.blank();
            return Ok(());
        }
        self.transcript.commands += 1;
        if self.transcript.commands > COMMANDS_MAX {
            return Err(Fault::Malformed(format!("a story has at most {COMMANDS_MAX} commands")));
        }
        let quiet = line.starts_with("given ");
        if !quiet {
            self.transcript.lines.push(format!("> {line}"));
        }
        let command: Command = line.parse().map_err(|error: NotAChoice| {
            if quiet {
                self.transcript.lines.push(format!("> {line}"));
            }
            Fault::from(error)
        })?;
        let result = self.run(command, quiet);
        self.print(quiet && result.is_ok());
        if quiet && result.is_err() {
            self.transcript.lines.push(format!("> {line}"));
        }
        result?;
        match self.world.as_ref().and_then(|world| world.checker().violation()) {
            Some(violation) => Err(Fault::Invariant(violation.to_owned())),
            None => Ok(()),
        }
    }

    /// Blank lines are kept, but not at the beginning, nor two of them.
    fn blank(&mut self) {
        if self.transcript.lines.last().is_some_and(|last| !last.is_empty()) {
            self.transcript.lines.push(String::new());
        }
    }

    /// Moves what the world told into the transcript.
    fn print(&mut self, quiet: bool) {
        if let Some(world) = &mut self.world {
            let lines = world.narrator_mut().take();
            if !quiet {
                self.transcript.lines.extend(lines);
            }
        }
    }

    fn say(&mut self, line: impl Into<String>) {
        match &mut self.world {
            Some(world) => world.narrator_mut().say(line.into()),
            None => self.transcript.lines.push(line.into()),
        }
    }

    fn world(&mut self) -> Result<&mut World<DiskStore>, Fault> {
        let missing = || Fault::Malformed("the first command is a cluster: cluster 3".to_owned());
        self.world.as_mut().ok_or_else(missing)
    }

    fn run(&mut self, command: Command, quiet: bool) -> Result<(), Fault> {
        let forged = self.forged.take();
        match command {
            Command::Given(command) => self.run(*command, quiet),
            Command::Maybe(command) => self.maybe(*command, quiet),
            Command::Refuse(line) => self.refuse(&line),
            Command::NotSupported(what) => Err(Fault::NotSupported(what)),
            Command::Cluster(cluster) => self.start(*cluster),
            Command::Choice(choice) => self.choice(&choice, forged),
            Command::Run(time) => self.begin()?.run_for(time).map_err(Fault::Failed),
            Command::Advance(time) => {
                self.begin()?.advance(time);
                Ok(())
            }
            Command::Load { client, count, prefix } => self.load(client, count, &prefix),
            Command::Show => {
                let world = self.world()?;
                for index in 0..world.replicas().count() {
                    let line = world.state_line(index);
                    world.narrator_mut().say(line);
                }
                Ok(())
            }
            Command::ShowLog(replica) => {
                let lines = self.world()?.log_lines(replica).map_err(Fault::from)?;
                lines.into_iter().for_each(|line| self.say(line));
                Ok(())
            }
            Command::ShowTimers => {
                self.world()?.narrator_mut().show_timers();
                Ok(())
            }
            Command::Timers(replica) => {
                let names = self.world()?.armed_timers(replica).map_err(Fault::from)?;
                let names: Vec<String> = names.iter().map(ToString::to_string).collect();
                self.say(format!("  {}", names.join(" ")));
                Ok(())
            }
            Command::CountViewChanges => {
                self.views = self.world()?.highest_view();
                Ok(())
            }
            Command::Expect { not, expectation } => {
                let counters = Counters { view_before: self.views };
                let members = self.world()?.replicas().count();
                let stranger =
                    expectation.replicas().into_iter().find(|id| id.0 as usize >= members);
                if let Some(id) = stranger {
                    return Err(Fault::Malformed(format!("there is no {id} in this cluster")));
                }
                let result = expect::check(self.world()?, &counters, &expectation);
                match (not, result) {
                    (false, Ok(())) | (true, Err(_)) => {
                        self.say("  ok");
                        Ok(())
                    }
                    (false, Err(why)) => Err(Fault::Failed(why)),
                    (true, Ok(())) => Err(Fault::Failed("it does hold".to_owned())),
                }
            }
        }
    }

    /// The world, with what the last command left of its ignored reasons forgotten.
    fn begin(&mut self) -> Result<&mut World<DiskStore>, Fault> {
        let world = self.world()?;
        world.forget_ignored();
        Ok(world)
    }

    fn start(&mut self, cluster: Cluster) -> Result<(), Fault> {
        let mut world = World::new(cluster)?;
        world.narrator_mut().set_on(true);
        for index in 0..world.replicas().count() {
            let line = world.state_line(index);
            world.narrator_mut().say(line);
        }
        self.world = Some(world);
        self.views = 0;
        Ok(())
    }

    fn choice(&mut self, choice: &Choice, forged: Option<Link>) -> Result<(), Fault> {
        if let Choice::Forge { link, .. } = choice {
            self.forged = Some(*link);
        }
        let result = self.begin()?.apply(choice);
        match (result, choice) {
            (Err(Refused::Absent(_)), Choice::Deliver { link, keep: false, .. })
                if forged == Some(*link) =>
            {
                self.say("  the forged message has arrived already");
                Ok(())
            }
            (result, _) => result.map_err(Fault::from),
        }
    }

    fn maybe(&mut self, command: Command, quiet: bool) -> Result<(), Fault> {
        if let Command::Choice(choice) = &command {
            return match self.begin()?.apply(choice) {
                Err(Refused::Absent(_)) => {
                    self.say("  absent");
                    Ok(())
                }
                result => result.map_err(Fault::from),
            };
        }
        self.run(command, quiet)
    }

    fn refuse(&mut self, line: &str) -> Result<(), Fault> {
        // A line that nobody can read says nothing about what is refused.
        let command: Command = line.parse().map_err(|error: NotAChoice| Fault::from(error))?;
        let result = match &command {
            Command::Cluster(cluster) => World::<DiskStore>::new((**cluster).clone()).map(|_| ()),
            Command::Choice(choice) => self.begin()?.apply(choice),
            Command::NotSupported(what) => return Err(Fault::NotSupported(what.clone())),
            Command::Run(_)
            | Command::Advance(_)
            | Command::Load { .. }
            | Command::Show
            | Command::ShowLog(_)
            | Command::ShowTimers
            | Command::Timers(_)
            | Command::CountViewChanges
            | Command::Expect { .. }
            | Command::Given(_)
            | Command::Maybe(_)
            | Command::Refuse(_) => {
                return Err(Fault::Malformed(format!("`{line}` cannot be refused")));
            }
        };
        match result {
            Err(Refused::NotSupported(what)) => Err(Fault::NotSupported(what)),
            Err(Refused::Absent(why) | Refused::Impossible(why)) => {
                self.say(format!("  refused: {why}"));
                Ok(())
            }
            Ok(()) => Err(Fault::Failed("it was not refused".to_owned())),
        }
    }

    fn load(&mut self, client: u32, count: u32, prefix: &str) -> Result<(), Fault> {
        let world = self.begin()?;
        for number in 1..=count {
            let operation = format!("put {prefix}{number} {number}");
            world.apply(&Choice::Request { clients: vec![client], operation })?;
            world.settle().map_err(Fault::Failed)?;
            let ended = world.latest_call(client).and_then(|call| call.ended.as_ref());
            match ended {
                Some((_, Outcome::Done { .. })) => {}
                Some((_, outcome @ (Outcome::NotDone(_) | Outcome::Unknown))) => {
                    let why = format!("put {prefix}{number} was not done: {outcome:?}");
                    return Err(Fault::Failed(why));
                }
                None => {
                    return Err(Fault::Failed(format!("put {prefix}{number} was not answered")));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault_of(story: &str) -> Fault {
        run_story(story).expect_err("the story must not go as it says").fault
    }

    #[test]
    fn an_unknown_word_is_never_an_expectation_that_does_not_hold() {
        for line in [
            "expect not r1 bananas",
            "expect not r1 status bananas",
            "expect not r1 bananas 3",
            "expect not r1 commit many",
            "expect not r1 ignored bananas",
            "expect not r7 primary",
            "expect not same-log r1 r7",
            "expect not bananas",
        ] {
            let fault = fault_of(&format!("cluster 3\n{line}\n"));
            assert!(matches!(fault, Fault::Malformed(_)), "{line}: {fault}");
        }
    }

    #[test]
    fn a_line_that_cannot_be_read_is_not_refused() {
        for line in ["clutser 4", "cluster four", "cluster 4 quorum 2", "request c1 bananas x"] {
            let fault = fault_of(&format!("cluster 3\nrefuse {line}\n"));
            assert!(matches!(fault, Fault::Malformed(_)), "{line}: {fault}");
        }
        assert!(run_story("refuse cluster 4 quorum 2/2\n").is_ok());
    }

    #[test]
    fn nothing_is_the_same_where_every_replica_is_dead() {
        for line in ["expect same-state *", "expect key x 1", "expect no key x"] {
            let fault = fault_of(&format!("cluster 1\ncrash r0\n{line}\n"));
            assert!(matches!(fault, Fault::Failed(_)), "{line}: {fault}");
        }
    }

    #[test]
    fn a_load_is_done_only_if_every_call_is() {
        let fault = fault_of("cluster 3 log-slots 8\nload c1 40 k\n");
        assert!(matches!(fault, Fault::Failed(_)), "{fault}");
        assert!(run_story("cluster 3\nload c1 4 k\nrun 1s\nexpect key k4 4\n").is_ok());
    }
}
