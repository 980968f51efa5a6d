//! One thing that happens next: what a story's line, the random simulator and the explorer choose.
//!
//! A choice prints as a story line and is read back from it, so that each failure is a story.

use std::fmt;
use std::str::FromStr;

use vsr_core::{DiskState, ReadFrom, ReplicaId, Timer};
use vsr_storage::CrashPoint;

use crate::world::names::{Endpoint, KindName, Link, Links};

/// Something that may happen next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Choice {
    /// Clients each hand an operation in, before the replica ends its round.
    Request {
        /// Who, by number; `request` has one, `batch` several.
        clients: Vec<u32>,
        /// The operation, as text.
        operation: String,
    },
    /// A client reads without an entry in the log.
    Read {
        /// Who, by number.
        client: u32,
        /// At which replica first.
        from: ReadFrom,
        /// How old what it sees may be.
        policy: Policy,
        /// The operation, as text.
        operation: String,
    },
    /// A client's retry timer fires.
    Resend(u32),
    /// A client waits no longer for its answer.
    GiveUp(u32),
    /// A client forgets all but its identity.
    RestartClient(u32),
    /// A message arrives.
    Deliver {
        /// On this link.
        link: Link,
        /// Which of those on it.
        pick: Pick,
        /// It stays on the link as well: the network doubled it.
        keep: bool,
    },
    /// All messages arrive that are on a link, oldest first.
    DeliverAll {
        /// On these links.
        links: Links,
        /// Only of this kind.
        kind: Option<KindName>,
    },
    /// Messages are delivered, in a fixed order, until nothing moves.
    Settle,
    /// Messages are lost.
    Drop {
        /// On these links.
        links: Links,
        /// Only of this kind.
        kind: Option<KindName>,
        /// Only this one of that kind, counted from 1, oldest first.
        nth: Option<u32>,
    },
    /// A message is set aside.
    Hold {
        /// From this link.
        link: Link,
        /// The oldest of this kind, or of any.
        kind: Option<KindName>,
        /// Under this name.
        name: String,
    },
    /// The next message is set aside when it is sent.
    Catch {
        /// On this link.
        link: Link,
        /// Of this kind, or of any.
        kind: Option<KindName>,
        /// Under this name.
        name: String,
    },
    /// A message that was set aside is put at the head of its link.
    Release(String),
    /// A message that nobody sent.
    Forge {
        /// On this link.
        link: Link,
        /// Of this kind.
        kind: KindName,
        /// Fields, as in a transcript.
        fields: String,
    },
    /// Links lose all that is on them, and all that is sent from now on.
    Cut(Cut),
    /// Links carry messages again: these, or all.
    Heal(Option<Links>),
    /// Links lose kinds of messages from now on.
    Block {
        /// These links.
        links: Links,
        /// All kinds but those named.
        but: bool,
        /// The kinds.
        kinds: Vec<KindName>,
    },
    /// Links carry a kind again, or all.
    Unblock {
        /// These links.
        links: Links,
        /// This kind, or all.
        kind: Option<KindName>,
    },
    /// An armed timer runs out.
    Timeout(ReplicaId, Timer),
    /// Writes become durable.
    Fsync {
        /// Whose; `None` is every replica's.
        replica: Option<ReplicaId>,
        /// Only so many, oldest first.
        count: Option<u32>,
    },
    /// A disk changes its ways.
    Disk {
        /// Whose; `None` is every replica's.
        replica: Option<ReplicaId>,
        /// What it does from now on.
        mode: DiskMode,
    },
    /// A disk's file system has no room left, or has again.
    Room(ReplicaId, bool),
    /// A replica loses its memory and its unsynced writes.
    Crash(ReplicaId, Tear),
    /// A dead replica starts again on its disk.
    Restart(ReplicaId),
    /// A dead replica's disk is lost.
    Wipe(ReplicaId),
    /// The operator asks a primary to give up its role.
    Abdicate(ReplicaId),
    /// A process stands still while its clock runs.
    Pause(ReplicaId),
    /// It goes on.
    Resume(ReplicaId),
    /// A clock runs faster or slower: thousandths of the true rate.
    Clock(ReplicaId, u32),
    /// A replica gathers what happens to it without ending its round.
    Gather(ReplicaId),
    /// It ends its round, and gathers no longer.
    Flush(ReplicaId),
    /// A store does what it puts off until nothing else waits.
    Idle(ReplicaId),
    /// One bit of a service's state changes.
    Flip(ReplicaId),
    /// A record of a log is damaged at rest.
    Damage(ReplicaId, Damage),
    /// A store is read once, to find what is damaged.
    Scrub(ReplicaId),
    /// A clock is so many milliseconds ahead of the true time.
    Ahead(ReplicaId, u64),
    /// A service takes its time to say what it predicts and judges, or does not any longer.
    Service {
        /// Whose.
        replica: ReplicaId,
        /// Whether it takes its time.
        slow: bool,
    },
    /// A slow service gives the oldest answer that it owes.
    Answer(ReplicaId),
}

/// The greatest age, in milliseconds, that a read may bear: so long it is known what was answered.
pub const AGE_MAX: u32 = 60_000;

/// How old what a read sees may be, as stories say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Policy {
    /// It sees all that was answered before.
    Linearizable,
    /// It sees all that this client saw before.
    Causal,
    /// It sees everything up to this op.
    CausalAfter(u64),
    /// It sees all that was answered so many milliseconds before, [`AGE_MAX`] at most.
    Bounded(u32),
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Linearizable => f.write_str("linearizable"),
            Self::Causal => f.write_str("causal"),
            Self::CausalAfter(op) => write!(f, "causal={op}"),
            Self::Bounded(age) => write!(f, "stale={age}ms"),
        }
    }
}

impl FromStr for Policy {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{word}` is no policy: write linearizable, causal, causal=3 or stale=50ms");
        match word.split_once('=') {
            None if word == "linearizable" => Ok(Self::Linearizable),
            None if word == "causal" => Ok(Self::Causal),
            Some(("causal", op)) => op.parse().map(Self::CausalAfter).map_err(|_| wrong()),
            Some(("stale", age)) => {
                let age = age.strip_suffix("ms").and_then(|age| age.parse().ok());
                let age = age.filter(|age| *age <= AGE_MAX);
                age.map(Self::Bounded).ok_or_else(wrong)
            }
            None | Some(_) => Err(wrong()),
        }
    }
}

/// Which message of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pick {
    /// The oldest.
    Oldest,
    /// The `nth` of a kind, counted from 1, oldest first.
    Kind {
        /// The kind.
        kind: KindName,
        /// Its place among those of the kind.
        nth: u32,
    },
}

/// Which links are cut.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Cut {
    /// These, one way.
    Links(Links),
    /// All between different groups of endpoints, both ways.
    Groups(Vec<Vec<Endpoint>>),
}

/// What a disk does with a write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DiskMode {
    /// Completes it at once.
    #[default]
    Ok,
    /// Completes it when told to.
    Slow(SlowKinds),
    /// Fails the next sync: the process must stop.
    FailSync,
    /// Has no room for new operations.
    Full,
    /// Completes it when told to, and takes so long that the process noticed.
    Stalled,
}

impl DiskMode {
    /// What a replica is told of a disk that is so.
    pub(crate) const fn state(self) -> DiskState {
        match self {
            Self::Ok | Self::Slow(_) | Self::FailSync => DiskState::Ok,
            Self::Full => DiskState::Full,
            Self::Stalled => DiskState::Stalled,
        }
    }
}

/// Which writes a slow disk delays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SlowKinds {
    /// All.
    All,
    /// Those of the log.
    Log,
    /// Those of the superblock.
    Superblock,
    /// Those of checkpoints.
    Checkpoint,
}

/// What happens to the writes that were not synced when a process or machine died.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tear {
    /// All are lost.
    None,
    /// The last one is torn.
    Last,
    /// Parts of them reached the disk, by this seed.
    Seed(u64),
    /// The process dies at this point of what its disk has to do, and the machine lives on; or right after it, if it does
    /// not come there.
    At(CrashPoint),
}

impl Tear {
    /// Whether sectors that were being written are spoiled, what they held before included.
    #[must_use]
    pub const fn spoils(self) -> bool {
        match self {
            Self::None | Self::Last | Self::At(_) => false,
            Self::Seed(seed) => seed & 0b110 == 0b110,
        }
    }

    /// The like of it that spoils nothing.
    pub(crate) const fn sparing(self) -> Self {
        match self {
            Self::None | Self::Last | Self::At(_) => self,
            Self::Seed(seed) => Self::Seed(seed & !0b10),
        }
    }
}

/// How a log's record is damaged at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Damage {
    /// The record of an op is corrupt.
    Log(u64),
    /// The ring header of an op is corrupt.
    Header(u64),
    /// A copy of the superblock is corrupt.
    Superblock(u32),
    /// A chunk of the latest checkpoint is corrupt, by its place there: the client-table comes first.
    Chunk(u32),
    /// The sector in which the record of an op begins cannot be read.
    Unreadable(u64),
    /// The record of the first op is found in the place of the second.
    Misdirect(u64, u64),
    /// The write of an op's record was reported done and never landed.
    Lose(u64),
    /// That of its ring header.
    LoseHeader(u64),
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request { clients, operation } => {
                f.write_str(if clients.len() == 1 { "request" } else { "batch" })?;
                for client in clients {
                    write!(f, " c{client}")?;
                }
                write!(f, " {operation}")
            }
            Self::Read { client, from, policy, operation } => {
                write!(f, "read c{client}")?;
                match from {
                    ReadFrom::Primary => {}
                    ReadFrom::Backup => f.write_str(" backup")?,
                    ReadFrom::Replica(replica) => write!(f, " {replica}")?,
                }
                write!(f, " {policy} {operation}")
            }
            Self::Resend(client) => write!(f, "resend c{client}"),
            Self::GiveUp(client) => write!(f, "give-up c{client}"),
            Self::RestartClient(client) => write!(f, "restart c{client}"),
            Self::Deliver { link, pick, keep } => {
                write!(f, "{} {link}", if *keep { "double" } else { "deliver" })?;
                match pick {
                    Pick::Oldest => Ok(()),
                    Pick::Kind { kind, nth: 1 } => write!(f, " {kind}"),
                    Pick::Kind { kind, nth } => write!(f, " {kind} {nth}"),
                }
            }
            Self::DeliverAll { links, kind } => {
                write!(f, "deliver {links}")?;
                optional(f, *kind)?;
                f.write_str(" all")
            }
            Self::Settle => f.write_str("settle"),
            Self::Drop { links, kind, nth } => {
                write!(f, "drop {links}")?;
                optional(f, *kind)?;
                optional(f, *nth)
            }
            Self::Hold { link, kind, name } => set_aside(f, "hold", *link, *kind, name),
            Self::Catch { link, kind, name } => set_aside(f, "catch", *link, *kind, name),
            Self::Release(name) => write!(f, "release {name}"),
            Self::Forge { link, kind, fields } => {
                write!(f, "forge {link} {kind} {fields}")
            }
            Self::Cut(Cut::Links(links)) => write!(f, "cut {links}"),
            Self::Cut(Cut::Groups(groups)) => {
                f.write_str("cut")?;
                for (index, group) in groups.iter().enumerate() {
                    f.write_str(if index == 0 { "" } else { " |" })?;
                    for end in group {
                        write!(f, " {end}")?;
                    }
                }
                Ok(())
            }
            Self::Heal(links) => {
                f.write_str("heal")?;
                optional(f, *links)
            }
            Self::Block { links, but, kinds } => {
                write!(f, "block {links}{}", if *but { " but" } else { "" })?;
                kinds.iter().try_for_each(|kind| write!(f, " {kind}"))
            }
            Self::Unblock { links, kind } => {
                write!(f, "unblock {links}")?;
                optional(f, *kind)
            }
            Self::Timeout(replica, timer) => write!(f, "timeout {replica} {timer}"),
            Self::Fsync { replica, count } => {
                write!(f, "fsync {}", Which(*replica))?;
                optional(f, *count)
            }
            Self::Disk { replica, mode } => write!(f, "disk {} {mode}", Which(*replica)),
            Self::Room(replica, room) => {
                write!(f, "room {replica} {}", if *room { "some" } else { "none" })
            }
            Self::Crash(replica, Tear::None) => write!(f, "crash {replica}"),
            Self::Crash(replica, Tear::Last) => write!(f, "crash {replica} torn"),
            Self::Crash(replica, Tear::Seed(seed)) => write!(f, "crash {replica} torn {seed}"),
            Self::Crash(replica, Tear::At(point)) => write!(f, "crash {replica} at {point}"),
            Self::Restart(replica) => write!(f, "restart {replica}"),
            Self::Wipe(replica) => write!(f, "wipe {replica}"),
            Self::Abdicate(replica) => write!(f, "abdicate {replica}"),
            Self::Pause(replica) => write!(f, "pause {replica}"),
            Self::Resume(replica) => write!(f, "resume {replica}"),
            Self::Clock(replica, rate) => {
                write!(f, "clock {replica} {}.{:03}", rate / 1000, rate % 1000)
            }
            Self::Ahead(replica, milliseconds) => {
                write!(f, "clock {replica} ahead {milliseconds}ms")
            }
            Self::Service { replica, slow } => {
                write!(f, "service {replica} {}", if *slow { "slow" } else { "ok" })
            }
            Self::Answer(replica) => write!(f, "answer {replica}"),
            Self::Gather(replica) => write!(f, "gather {replica}"),
            Self::Flush(replica) => write!(f, "flush {replica}"),
            Self::Idle(replica) => write!(f, "idle {replica}"),
            Self::Flip(replica) => write!(f, "flip {replica} state"),
            Self::Scrub(replica) => write!(f, "scrub {replica}"),
            Self::Damage(replica, damage) => match damage {
                Damage::Log(op) => write!(f, "corrupt {replica} log {op}"),
                Damage::Header(op) => write!(f, "corrupt {replica} header {op}"),
                Damage::Superblock(copy) => write!(f, "corrupt {replica} superblock {copy}"),
                Damage::Chunk(index) => write!(f, "corrupt {replica} chunk {index}"),
                Damage::Unreadable(op) => write!(f, "unreadable {replica} log {op}"),
                Damage::Misdirect(from, to) => write!(f, "misdirect {replica} log {from} {to}"),
                Damage::Lose(op) => write!(f, "lose {replica} log {op}"),
                Damage::LoseHeader(op) => write!(f, "lose {replica} header {op}"),
            },
        }
    }
}

impl fmt::Display for DiskMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Slow(SlowKinds::All) => "slow",
            Self::Slow(SlowKinds::Log) => "slow log",
            Self::Slow(SlowKinds::Superblock) => "slow superblock",
            Self::Slow(SlowKinds::Checkpoint) => "slow checkpoint",
            Self::FailSync => "fail-sync",
            Self::Stalled => "stalled",
            Self::Full => "full",
        })
    }
}

/// One replica, or all.
struct Which(Option<ReplicaId>);

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(replica) => write!(f, "{replica}"),
            None => f.write_str("*"),
        }
    }
}

fn optional(f: &mut fmt::Formatter<'_>, value: Option<impl fmt::Display>) -> fmt::Result {
    value.map_or(Ok(()), |value| write!(f, " {value}"))
}

fn set_aside(
    f: &mut fmt::Formatter<'_>,
    verb: &str,
    link: Link,
    kind: Option<KindName>,
    name: &str,
) -> fmt::Result {
    write!(f, "{verb} {link}")?;
    optional(f, kind)?;
    write!(f, " as {name}")
}

/// Why a line is not a choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotAChoice {
    /// The first word is not that of a choice.
    OtherCommand,
    /// It is one, but cannot be read: says what to write.
    Malformed(String),
    /// It is one that this version does not have yet.
    NotSupported(String),
}

impl From<String> for NotAChoice {
    fn from(why: String) -> Self {
        Self::Malformed(why)
    }
}

impl fmt::Display for NotAChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherCommand => f.write_str("not a choice"),
            Self::Malformed(why) => f.write_str(why),
            Self::NotSupported(what) => write!(f, "not supported: {what}"),
        }
    }
}

impl FromStr for Choice {
    type Err = NotAChoice;

    fn from_str(line: &str) -> Result<Self, NotAChoice> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some((verb, rest)) = words.split_first() else {
            return Err(NotAChoice::OtherCommand);
        };
        match *verb {
            "request" | "batch" => parse_request(verb, rest, line),
            "read" => parse_read(rest, line),
            "resend" => Ok(Self::Resend(client(one(rest, "resend c1")?)?)),
            "give-up" => Ok(Self::GiveUp(client(one(rest, "give-up c1")?)?)),
            "deliver" | "double" => parse_deliver(*verb == "double", rest),
            "settle" if rest.is_empty() => Ok(Self::Settle),
            "drop" => parse_drop(rest),
            "hold" | "catch" => parse_set_aside(*verb == "catch", rest),
            "release" => Ok(Self::Release(one(rest, "release m1")?.to_owned())),
            "forge" => parse_forge(rest),
            "cut" => parse_cut(rest),
            "heal" => match rest {
                [] => Ok(Self::Heal(None)),
                [links] => Ok(Self::Heal(Some(links.parse()?))),
                [..] => Err(usage("heal, or heal r0->r1")),
            },
            "block" => parse_block(rest),
            "unblock" => match rest {
                [links] => Ok(Self::Unblock { links: links.parse()?, kind: None }),
                [links, kind] => {
                    Ok(Self::Unblock { links: links.parse()?, kind: Some(kind.parse()?) })
                }
                [..] => Err(usage("unblock r0->r1 prepare")),
            },
            "timeout" => match rest {
                [replica, timer] => Ok(Self::Timeout(parse_replica(replica)?, parse_timer(timer)?)),
                [..] => Err(usage("timeout r1 primary-silence")),
            },
            "fsync" => match rest {
                [replica] => Ok(Self::Fsync { replica: which(replica)?, count: None }),
                [replica, count] => {
                    Ok(Self::Fsync { replica: which(replica)?, count: Some(number(count)?) })
                }
                [..] => Err(usage("fsync r1, or fsync *")),
            },
            "disk" => parse_disk(rest),
            "room" => match rest {
                [replica, "some"] => Ok(Self::Room(parse_replica(replica)?, true)),
                [replica, "none"] => Ok(Self::Room(parse_replica(replica)?, false)),
                [..] => Err(usage("room r1 none, or room r1 some")),
            },
            "crash" => match rest {
                [replica] => Ok(Self::Crash(parse_replica(replica)?, Tear::None)),
                [replica, "torn"] => Ok(Self::Crash(parse_replica(replica)?, Tear::Last)),
                [replica, "torn", seed] => {
                    Ok(Self::Crash(parse_replica(replica)?, Tear::Seed(number(seed)?)))
                }
                [replica, "at", point] => {
                    let at = || {
                        usage("crash r0 at before-sync-log, or another crash point of the store")
                    };
                    let point = point.parse().map_err(|_| at())?;
                    Ok(Self::Crash(parse_replica(replica)?, Tear::At(point)))
                }
                [..] => Err(usage("crash r0, crash r0 torn, or crash r0 at before-sync-log")),
            },
            "restart" => match one(rest, "restart r0")?.parse()? {
                Endpoint::Replica(replica) => Ok(Self::Restart(replica)),
                Endpoint::Client(client) => Ok(Self::RestartClient(client)),
            },
            "wipe" => Ok(Self::Wipe(parse_replica(one(rest, "wipe r0")?)?)),
            "scrub" => Ok(Self::Scrub(parse_replica(one(rest, "scrub r0")?)?)),
            "abdicate" => Ok(Self::Abdicate(parse_replica(one(rest, "abdicate r0")?)?)),
            "pause" => Ok(Self::Pause(parse_replica(one(rest, "pause r0")?)?)),
            "resume" => Ok(Self::Resume(parse_replica(one(rest, "resume r0")?)?)),
            "clock" => match rest {
                [replica, rate] => Ok(Self::Clock(parse_replica(replica)?, parse_rate(rate)?)),
                [replica, "ahead", time] => {
                    let replica = parse_replica(replica)?;
                    let milliseconds = time.strip_suffix("ms").and_then(|time| time.parse().ok());
                    let wrong = || usage("clock r0 ahead 5000ms");
                    Ok(Self::Ahead(replica, milliseconds.ok_or_else(wrong)?))
                }
                [..] => Err(usage("clock r0 1.01 or clock r0 ahead 5000ms")),
            },
            "service" => match rest {
                [replica, how @ ("slow" | "ok")] => {
                    Ok(Self::Service { replica: parse_replica(replica)?, slow: *how == "slow" })
                }
                [..] => Err(usage("service r0 slow or service r0 ok")),
            },
            "answer" => Ok(Self::Answer(parse_replica(one(rest, "answer r0")?)?)),
            "gather" => Ok(Self::Gather(parse_replica(one(rest, "gather r0")?)?)),
            "flush" => Ok(Self::Flush(parse_replica(one(rest, "flush r0")?)?)),
            "idle" => Ok(Self::Idle(parse_replica(one(rest, "idle r0")?)?)),
            "flip" => match rest {
                [replica, "state"] => Ok(Self::Flip(parse_replica(replica)?)),
                [..] => Err(usage("flip r2 state")),
            },
            "corrupt" | "unreadable" | "misdirect" | "lose" => parse_damage(verb, rest),
            _ => Err(NotAChoice::OtherCommand),
        }
    }
}

fn parse_request(verb: &str, rest: &[&str], line: &str) -> Result<Choice, NotAChoice> {
    let is_client = |word: &&&str| matches!(word.parse(), Ok(Endpoint::Client(_)));
    let named = if verb == "request" { 1 } else { rest.iter().take_while(is_client).count() };
    if named == 0 || rest.len() <= named {
        return Err(usage("request c1 put x 1, or batch c1 c2 put x 1"));
    }
    Ok(Choice::Request {
        clients: rest[..named].iter().map(|word| client(word)).collect::<Result<_, _>>()?,
        operation: behind(line, named + 1),
    })
}

/// What follows so many words of a line: quoted words of an operation keep their blanks.
fn behind(line: &str, words: usize) -> String {
    let rest = (0..words).fold(line.trim(), |rest, _| {
        rest.split_once(char::is_whitespace).map_or("", |(_, rest)| rest.trim_start())
    });
    rest.to_owned()
}

fn parse_read(rest: &[&str], line: &str) -> Result<Choice, NotAChoice> {
    let (from, named) = match rest {
        [_, "backup", ..] => (ReadFrom::Backup, 2),
        [_, word, ..] => match parse_replica(word) {
            Ok(replica) => (ReadFrom::Replica(replica), 2),
            Err(_) => (ReadFrom::Primary, 1),
        },
        [..] => (ReadFrom::Primary, 1),
    };
    let [policy, _, ..] = rest.get(named..).unwrap_or_default() else {
        return Err(usage("read c1 linearizable get x, or read c1 r2 causal get x"));
    };
    let (client, policy) = (client(rest[0])?, policy.parse()?);
    Ok(Choice::Read { client, from, policy, operation: behind(line, named + 2) })
}

fn parse_deliver(keep: bool, rest: &[&str]) -> Result<Choice, NotAChoice> {
    let pick = match rest {
        [links, "all"] if !keep => {
            return Ok(Choice::DeliverAll { links: links.parse()?, kind: None });
        }
        [links, kind, "all"] if !keep => {
            return Ok(Choice::DeliverAll { links: links.parse()?, kind: Some(kind.parse()?) });
        }
        [_] => Pick::Oldest,
        [_, kind] => Pick::Kind { kind: parse_present_kind(kind)?, nth: 1 },
        [_, kind, nth] => {
            Pick::Kind { kind: parse_present_kind(kind)?, nth: number::<u32>(nth)?.max(1) }
        }
        [..] => return Err(usage("deliver r0->r1, deliver r0->r1 prepare, deliver r0->r1 all")),
    };
    Ok(Choice::Deliver { link: rest[0].parse()?, pick, keep })
}

fn parse_drop(rest: &[&str]) -> Result<Choice, NotAChoice> {
    let (links, kind, nth) = match rest {
        [links] => (links, None, None),
        [links, kind] => (links, Some(kind.parse()?), None),
        [links, kind, nth] => (links, Some(kind.parse()?), Some(number::<u32>(nth)?.max(1))),
        [..] => return Err(usage("drop r0->r1, or drop r0->r1 prepare")),
    };
    Ok(Choice::Drop { links: links.parse()?, kind, nth })
}

fn parse_set_aside(catch: bool, rest: &[&str]) -> Result<Choice, NotAChoice> {
    let (link, kind, name) = match rest {
        [link, "as", name] => (link.parse()?, None, (*name).to_owned()),
        [link, kind, "as", name] => {
            (link.parse()?, Some(parse_present_kind(kind)?), (*name).to_owned())
        }
        [..] => return Err(usage("hold r0->r1 start-view as m1")),
    };
    Ok(if catch { Choice::Catch { link, kind, name } } else { Choice::Hold { link, kind, name } })
}

fn parse_forge(rest: &[&str]) -> Result<Choice, NotAChoice> {
    let [link, kind, fields @ ..] = rest else {
        return Err(usage("forge r2->r0 prepare-ok view=0 op=1"));
    };
    Ok(Choice::Forge {
        link: link.parse()?,
        kind: parse_present_kind(kind)?,
        fields: fields.join(" "),
    })
}

fn parse_cut(rest: &[&str]) -> Result<Choice, NotAChoice> {
    if let [links] = rest
        && links.contains("->")
    {
        return Ok(Choice::Cut(Cut::Links(links.parse()?)));
    }
    let groups = rest
        .split(|word| *word == "|")
        .map(|group| group.iter().map(|word| word.parse()).collect())
        .collect::<Result<Vec<Vec<Endpoint>>, String>>()?;
    if groups.len() < 2 || groups.iter().any(Vec::is_empty) {
        return Err(usage("cut r0 | r1 r2, or cut r0->r1"));
    }
    Ok(Choice::Cut(Cut::Groups(groups)))
}

fn parse_block(rest: &[&str]) -> Result<Choice, NotAChoice> {
    let (links, but, kinds) = match rest {
        [links, "but", kinds @ ..] if !kinds.is_empty() => (links, true, kinds),
        [links, kinds @ ..] if !kinds.is_empty() => (links, false, kinds),
        [..] => return Err(usage("block r0->r1 prepare, or block r0->r1 but prepare-ok")),
    };
    let kinds = kinds.iter().map(|kind| kind.parse()).collect::<Result<_, String>>()?;
    Ok(Choice::Block { links: links.parse()?, but, kinds })
}

fn parse_disk(rest: &[&str]) -> Result<Choice, NotAChoice> {
    let (replica, mode) = match rest {
        [replica, "ok"] => (replica, DiskMode::Ok),
        [replica, "slow"] => (replica, DiskMode::Slow(SlowKinds::All)),
        [replica, "slow", "log"] => (replica, DiskMode::Slow(SlowKinds::Log)),
        [replica, "slow", "superblock"] => (replica, DiskMode::Slow(SlowKinds::Superblock)),
        [replica, "slow", "checkpoint"] => (replica, DiskMode::Slow(SlowKinds::Checkpoint)),
        [replica, "fail-sync"] => (replica, DiskMode::FailSync),
        [replica, "full"] => (replica, DiskMode::Full),
        [replica, "stalled"] => (replica, DiskMode::Stalled),
        [..] => {
            return Err(usage(
                "disk r1 slow, disk r1 stalled, disk r1 fail-sync, disk r1 full, disk r1 ok",
            ));
        }
    };
    Ok(Choice::Disk { replica: which(replica)?, mode })
}

fn parse_damage(verb: &str, rest: &[&str]) -> Result<Choice, NotAChoice> {
    let (replica, damage) = match (verb, rest) {
        ("corrupt", [replica, "log", op]) => (replica, Damage::Log(number(op)?)),
        ("corrupt", [replica, "header", op]) => (replica, Damage::Header(number(op)?)),
        ("corrupt", [replica, "superblock", copy]) => (replica, Damage::Superblock(number(copy)?)),
        ("corrupt", [replica, "chunk", index]) => (replica, Damage::Chunk(number(index)?)),
        ("unreadable", [replica, "log", op]) => (replica, Damage::Unreadable(number(op)?)),
        ("misdirect", [replica, "log", from, to]) => {
            (replica, Damage::Misdirect(number(from)?, number(to)?))
        }
        ("lose", [replica, "log", op]) => (replica, Damage::Lose(number(op)?)),
        ("lose", [replica, "header", op]) => (replica, Damage::LoseHeader(number(op)?)),
        ("corrupt", [replica, "checkpoint"]) => (replica, Damage::Chunk(0)),
        (_, [..]) => {
            return Err(usage(
                "corrupt r1 log 3, corrupt r1 chunk 0, unreadable r1 log 3, misdirect r1 log 3 4, \
                 lose r1 log 8",
            ));
        }
    };
    Ok(Choice::Damage(parse_replica(replica)?, damage))
}

/// Reads a replica's name.
pub(crate) fn parse_replica(word: &str) -> Result<ReplicaId, String> {
    match word.parse()? {
        Endpoint::Replica(replica) => Ok(replica),
        Endpoint::Client(_) => Err(format!("`{word}` is a client: name a replica, as in r0")),
    }
}

/// Reads a timer's name, as timers print.
pub(crate) fn parse_timer(word: &str) -> Result<Timer, String> {
    (0..Timer::COUNT)
        .map(Timer::at)
        .find(|timer| timer.to_string() == word)
        .ok_or_else(|| format!("`{word}` is not a timer of a replica: `timers r1` prints them"))
}

fn parse_rate(word: &str) -> Result<u32, String> {
    let wrong = || format!("`{word}` is not a rate: write 1.01, between 0.1 and 10");
    let rate: f64 = word.parse().map_err(|_| wrong())?;
    if (0.1..=10.0).contains(&rate) { Ok((rate * 1000.0).round() as u32) } else { Err(wrong()) }
}

/// A kind that a message of this version can have.
fn parse_present_kind(word: &str) -> Result<KindName, NotAChoice> {
    let kind: KindName = word.parse()?;
    if let KindName::Later(name) = kind {
        return Err(NotAChoice::NotSupported(format!("{name} messages")));
    }
    Ok(kind)
}

fn client(word: &str) -> Result<u32, String> {
    match word.parse()? {
        Endpoint::Client(number) => Ok(number),
        Endpoint::Replica(_) => Err(format!("`{word}` is a replica: name a client, as in c1")),
    }
}

fn which(word: &str) -> Result<Option<ReplicaId>, String> {
    if word == "*" { Ok(None) } else { parse_replica(word).map(Some) }
}

fn number<T: FromStr>(word: &str) -> Result<T, String> {
    word.parse().map_err(|_| format!("`{word}` is not a number in range"))
}

fn one<'a>(rest: &[&'a str], example: &str) -> Result<&'a str, NotAChoice> {
    match rest {
        [word] => Ok(word),
        [..] => Err(usage(example)),
    }
}

fn usage(example: &str) -> NotAChoice {
    NotAChoice::Malformed(format!("write: {example}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_read_back_as_it_is_printed() {
        for line in [
            "request c1 put x 1",
            "batch c1 c2 c3 put x 1",
            "resend c1",
            "give-up c1",
            "restart c1",
            "deliver r0->r1",
            "deliver r0->r1 prepare",
            "deliver r0->r1 prepare 2",
            "deliver r0->r1 all",
            "deliver *->r1 prepare all",
            "double r0->r1",
            "settle",
            "drop r0->r1",
            "drop r0->r1 prepare",
            "drop r0->r1 prepare 3",
            "hold r0->r1 start-view as m1",
            "catch r0->r1 as m1",
            "release m1",
            "forge r2->r0 prepare-ok view=0 op=1",
            "cut r0->r1",
            "cut r0 | r1 r2",
            "cut c1 | r0 | r1 r2",
            "heal",
            "heal r0->r1",
            "block r0->r1 prepare",
            "block r0->r1 but prepare-ok commit",
            "unblock r0->r1",
            "unblock r0->r1 prepare",
            "timeout r1 primary-silence",
            "timeout r1 vote-expiry(2)",
            "fsync r1",
            "fsync *",
            "fsync r1 2",
            "disk r1 slow",
            "disk * slow log",
            "disk r1 fail-sync",
            "disk r1 full",
            "disk r1 stalled",
            "disk r1 ok",
            "crash r0",
            "crash r0 torn",
            "crash r0 torn 77",
            "crash r0 at after-rename-checkpoint",
            "restart r0",
            "wipe r0",
            "abdicate r0",
            "pause r0",
            "resume r0",
            "clock r0 1.010",
            "clock r0 ahead 5000ms",
            "service r0 slow",
            "service r0 ok",
            "answer r0",
            "gather r0",
            "flush r0",
            "idle r0",
            "flip r2 state",
            "corrupt r1 log 3",
            "corrupt r1 header 3",
            "corrupt r1 superblock 2",
            "misdirect r1 log 3 4",
            "lose r1 log 8",
            "corrupt r1 chunk 1",
            "scrub r1",
        ] {
            assert_eq!(line.parse::<Choice>().unwrap().to_string(), line);
        }
    }

    #[test]
    fn a_line_that_is_no_choice_says_what_to_write() {
        for line in ["deliver", "cut r0", "cut r0 |", "disk r1 fast", "request c1", "crash c1"] {
            assert!(matches!(line.parse::<Choice>(), Err(NotAChoice::Malformed(_))), "{line}");
        }
        assert_eq!("show".parse::<Choice>(), Err(NotAChoice::OtherCommand));
        assert!(matches!(
            "hold r0->r1 start-epoch as m1".parse::<Choice>(),
            Err(NotAChoice::NotSupported(_))
        ));
    }
}
