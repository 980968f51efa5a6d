//! A line of a story.

use std::str::FromStr;
use std::time::Duration;

use vsr_core::{Ignored, ReplicaId};

use crate::service;
use crate::story::expect::{NUMBERS, STATUSES};
use crate::story::{REASONS, cluster_line};
use crate::world::choice::{Choice, NotAChoice, parse_replica};
use crate::world::cluster::Cluster;
use crate::world::names::Endpoint;

/// The longest time that one line may let pass: an hour of simulated time is a few seconds of real.
const RUN_MAX: Duration = Duration::from_secs(3600);

/// The most operations of one `load`.
const LOAD_MAX: u32 = 10_000;

/// What a line says.
#[derive(Clone, Debug)]
pub enum Command {
    /// A fresh group.
    Cluster(Box<Cluster>),
    /// Something happens.
    Choice(Choice),
    /// Let time pass, with timers and fair delivery.
    Run(Duration),
    /// Let time pass, with timers and without delivery.
    Advance(Duration),
    /// Many puts.
    Load {
        /// The client.
        client: u32,
        /// How many.
        count: u32,
        /// The keys' common beginning.
        prefix: String,
    },
    /// A line a replica.
    Show,
    /// A log, an entry a line.
    ShowLog(ReplicaId),
    /// From now on timers are printed.
    ShowTimers,
    /// The armed timers of a replica.
    Timers(ReplicaId),
    /// Views are counted from here.
    CountViewChanges,
    /// Something must hold.
    Expect {
        /// Or must not.
        not: bool,
        /// What.
        expectation: Expectation,
    },
    /// Without printing.
    Given(Box<Self>),
    /// Where what it names is absent, go on.
    Maybe(Box<Self>),
    /// Must be refused.
    Refuse(String),
    /// This version cannot do it.
    NotSupported(String),
}

/// Who is meant: some replicas, or all that live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// All that live.
    All,
    /// These.
    These(Vec<ReplicaId>),
}

/// What must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// A number of a replica: `commit`, `op`, `view`, `log-view`, `incarnation`, `sessions`.
    Number(ReplicaId, String, u64),
    /// A replica's status: `normal`, `primary`, `backup`, `view-change`, `halted`, `dead`, ...
    Status(ReplicaId, String),
    /// The last command made a replica ignore something for this reason.
    Ignored(ReplicaId, Ignored),
    /// Some live replica is a primary.
    SomePrimary,
    /// All live replicas are in one view.
    OneView,
    /// All live replicas are in one view, have executed the same, and every call was answered.
    Steady,
    /// The service's state is the same.
    SameState(Target),
    /// The logs are the same.
    SameLog(ReplicaId, ReplicaId),
    /// The client's latest call was answered so.
    Reply(u32, String),
    /// The client's latest call was not answered.
    NoReply(u32),
    /// Every live replica has this value under this key.
    Key(String, String),
    /// No live replica has this key.
    NoKey(String),
    /// At most so many views were started since they are counted.
    ViewChanges(u64),
}

impl Expectation {
    /// The replicas that it names.
    pub(super) fn replicas(&self) -> Vec<ReplicaId> {
        match self {
            Self::Number(replica, ..) | Self::Status(replica, _) | Self::Ignored(replica, _) => {
                vec![*replica]
            }
            Self::SameState(Target::These(replicas)) => replicas.clone(),
            Self::SameLog(one, other) => vec![*one, *other],
            Self::SameState(Target::All)
            | Self::SomePrimary
            | Self::OneView
            | Self::Steady
            | Self::Reply(..)
            | Self::NoReply(_)
            | Self::Key(..)
            | Self::NoKey(_)
            | Self::ViewChanges(_) => Vec::new(),
        }
    }
}

impl FromStr for Command {
    type Err = NotAChoice;

    fn from_str(line: &str) -> Result<Self, NotAChoice> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let rest = |word: &str| line.trim_start()[word.len()..].trim();
        match words.as_slice() {
            ["given", ..] => Ok(Self::Given(Box::new(rest("given").parse()?))),
            ["maybe", ..] => Ok(Self::Maybe(Box::new(rest("maybe").parse()?))),
            ["refuse", ..] => Ok(Self::Refuse(rest("refuse").to_owned())),
            ["cluster", options @ ..] => Ok(Self::Cluster(Box::new(cluster_line::parse(options)?))),
            ["run", time] => Ok(Self::Run(duration(time)?)),
            ["advance", time] => Ok(Self::Advance(duration(time)?)),
            ["load", client, count, prefix] => parse_load(client, count, prefix),
            ["show"] => Ok(Self::Show),
            ["show", "log", replica] => Ok(Self::ShowLog(parse_replica(replica)?)),
            ["show", "timers"] => Ok(Self::ShowTimers),
            ["timers", replica] => Ok(Self::Timers(parse_replica(replica)?)),
            ["count", "view-changes"] => Ok(Self::CountViewChanges),
            ["expect", "not", ..] => {
                let expectation = parse_expectation(&words[2..], rest("expect"))?;
                Ok(Self::Expect { not: true, expectation })
            }
            ["expect", ..] => {
                let expectation = parse_expectation(&words[1..], line)?;
                Ok(Self::Expect { not: false, expectation })
            }
            [verb @ ("reconfigure" | "checkpoint" | "recover" | "member"), ..] => {
                Ok(Self::NotSupported(format!("{verb} (`{line}`)")))
            }
            [_, ..] => match line.parse() {
                Ok(choice) => {
                    if let Choice::Request { operation, .. } = &choice {
                        service::parse_operation(operation)?;
                    }
                    Ok(Self::Choice(choice))
                }
                Err(NotAChoice::OtherCommand) => {
                    Err(format!("`{}` is not a command of a story", words[0]).into())
                }
                Err(NotAChoice::NotSupported(what)) => Ok(Self::NotSupported(what)),
                Err(error @ NotAChoice::Malformed(_)) => Err(error),
            },
            [] => Err("there is no command in this line".to_owned().into()),
        }
    }
}

fn parse_load(client: &str, count: &str, prefix: &str) -> Result<Command, NotAChoice> {
    let Endpoint::Client(client) = client.parse()? else {
        return Err(format!("`{client}` is not a client: write load c1 40 k").into());
    };
    match count.parse() {
        Ok(count) if count <= LOAD_MAX => {
            Ok(Command::Load { client, count, prefix: prefix.to_owned() })
        }
        Ok(_) | Err(_) => Err(format!("`{count}` is not a number up to {LOAD_MAX}").into()),
    }
}

/// `500ms`, `10s`, `2m`.
pub(super) fn duration(word: &str) -> Result<Duration, NotAChoice> {
    let wrong = || -> NotAChoice {
        format!("`{word}` is not a time: write 500ms, 10s or 2m, at most an hour").into()
    };
    let digits = word.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let duration = match &word[digits.len()..] {
        "us" => Duration::from_micros(number),
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number.saturating_mul(60)),
        _ => return Err(wrong()),
    };
    if duration <= RUN_MAX { Ok(duration) } else { Err(wrong()) }
}

fn parse_expectation(words: &[&str], line: &str) -> Result<Expectation, NotAChoice> {
    let client = |word: &str| match word.parse()? {
        Endpoint::Client(number) => Ok(number),
        Endpoint::Replica(_) => Err(format!("`{word}` is not a client")),
    };
    match words {
        ["some", "primary"] => Ok(Expectation::SomePrimary),
        ["one", "view"] => Ok(Expectation::OneView),
        ["steady"] => Ok(Expectation::Steady),
        ["same-state", "*"] => Ok(Expectation::SameState(Target::All)),
        ["same-state", replicas @ ..] if !replicas.is_empty() => {
            let replicas = replicas.iter().map(|word| parse_replica(word));
            Ok(Expectation::SameState(Target::These(replicas.collect::<Result<_, _>>()?)))
        }
        ["same-log", one, other] => {
            Ok(Expectation::SameLog(parse_replica(one)?, parse_replica(other)?))
        }
        ["reply", name, ..] => {
            let quoted = line.split_once(name).map_or("", |(_, rest)| rest.trim());
            Ok(Expectation::Reply(client(name)?, unquote(quoted)))
        }
        ["no", "reply", name] => Ok(Expectation::NoReply(client(name)?)),
        ["key", key, value] => Ok(Expectation::Key((*key).to_owned(), unquote(value))),
        ["no", "key", key] => Ok(Expectation::NoKey((*key).to_owned())),
        ["view-changes", "at-most", count] => Ok(Expectation::ViewChanges(parse_number(count)?)),
        ["view-changes", count] => Ok(Expectation::ViewChanges(parse_number(count)?)),
        [replica, "status", status] => {
            Ok(Expectation::Status(parse_replica(replica)?, known(status, STATUSES)?))
        }
        [replica, "ignored", reason] => {
            let reason = REASONS
                .iter()
                .find(|known| known.to_string() == *reason)
                .ok_or_else(|| format!("`{reason}` is no reason: `--reasons` lists them"))?;
            Ok(Expectation::Ignored(parse_replica(replica)?, *reason))
        }
        [replica, what @ ("retired" | "epoch" | "learner" | "witness"), ..] => {
            parse_replica(replica)?;
            Err(NotAChoice::NotSupported(format!("expect {what}")))
        }
        [replica, number, value] => Ok(Expectation::Number(
            parse_replica(replica)?,
            known(number, NUMBERS)?,
            parse_number(value)?,
        )),
        [replica, status] => {
            Ok(Expectation::Status(parse_replica(replica)?, known(status, STATUSES)?))
        }
        [..] => Err("write: expect r1 commit 3, expect reply c1 \"ok\", expect some primary"
            .to_owned()
            .into()),
    }
}

/// A word that must be one of these, whatever the line then comes to.
fn known(word: &str, words: &[&str]) -> Result<String, NotAChoice> {
    if words.contains(&word) {
        return Ok(word.to_owned());
    }
    Err(format!("`{word}` is none of: {}", words.join(" ")).into())
}

fn parse_number(word: &str) -> Result<u64, NotAChoice> {
    word.parse().map_err(|_| format!("`{word}` is not a number").into())
}

/// A value may stand in quotes.
fn unquote(word: &str) -> String {
    let inner = word.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inner.unwrap_or(word).to_owned()
}
