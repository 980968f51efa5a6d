//! Whether what a story expects holds.

use bytes::Bytes;
use vsr_core::{OpNumber, Outcome, ReplicaId, Service, StatusName};

use crate::service;
use crate::story::command::{Expectation, Target};
use crate::world::World;
use crate::world::store::Store;

/// What an expectation is checked against beside the world.
pub(super) struct Counters {
    /// The highest view when views began to be counted.
    pub(super) view_before: u64,
}

/// The numbers of a replica that an expectation may name.
pub(super) const NUMBERS: &[&str] = &[
    "commit",
    "commit-max",
    "op",
    "view",
    "checkpoint",
    "log-view",
    "durable",
    "incarnation",
    "sessions",
    "missing",
    "repaired",
];

/// What an expectation may call a replica's status: the core's names, and what they come to.
pub(super) const STATUSES: &[&str] = &[
    "primary",
    "backup",
    "view-change",
    "recovering-head",
    "recovering",
    "halted",
    "dead",
    "normal",
    "crashed",
    "ready",
];

/// `Ok` if it holds, else what holds instead. Its words are known: a line with others is not read.
pub(super) fn check<S: Store>(
    world: &World<S>,
    counters: &Counters,
    expectation: &Expectation,
) -> Result<(), String> {
    match expectation {
        Expectation::Number(replica, name, wanted) => number(world, *replica, name, *wanted),
        Expectation::Status(replica, name) => status(world, *replica, name),
        Expectation::Ignored(replica, reason) => {
            let ignored = world.ignored(*replica);
            if ignored.contains(reason) {
                return Ok(());
            }
            let names: Vec<String> = ignored.iter().map(ToString::to_string).collect();
            Err(format!("{replica} ignored: {}", or_nothing(&names)))
        }
        Expectation::SomePrimary => {
            let is_primary = |id: &ReplicaId| {
                world.summary(*id).is_some_and(|summary| summary.status == StatusName::Primary)
            };
            if world.replicas().any(|id| is_primary(&id)) {
                Ok(())
            } else {
                Err("there is no primary".to_owned())
            }
        }
        Expectation::OneView => {
            let mut views: Vec<u64> =
                live(world).filter_map(|id| Some(world.summary(id)?.view.0)).collect();
            views.dedup();
            if views.len() == 1 { Ok(()) } else { Err(format!("views are {views:?}")) }
        }
        Expectation::Steady => {
            if world.is_steady() {
                Ok(())
            } else {
                Err("the group is not".to_owned())
            }
        }
        Expectation::SameState(target) => same_state(world, target),
        Expectation::SameLog(one, other) => same_log(world, *one, *other),
        Expectation::Reply(client, wanted) => match reply(world, *client) {
            Some(text) if text == *wanted => Ok(()),
            Some(text) => Err(format!("the reply is {text:?}")),
            None => Err("there is no reply".to_owned()),
        },
        Expectation::NoReply(client) => match reply(world, *client) {
            Some(text) => Err(format!("the reply is {text:?}")),
            None => Ok(()),
        },
        Expectation::Key(key, wanted) => each_key(world, key, Some(wanted)),
        Expectation::NoKey(key) => each_key(world, key, None),
        Expectation::ViewChanges(most) => {
            let started = world.highest_view().saturating_sub(counters.view_before);
            if started <= *most { Ok(()) } else { Err(format!("{started} views were started")) }
        }
    }
}

/// What is said of all that live must be said of somebody.
const NOBODY_LIVES: &str = "every replica is dead";

fn live<S: Store>(world: &World<S>) -> impl Iterator<Item = ReplicaId> + '_ {
    world.replicas().filter(|id| world.summary(*id).is_some())
}

fn or_nothing(names: &[String]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(" ") }
}

fn number<S: Store>(
    world: &World<S>,
    replica: ReplicaId,
    name: &str,
    wanted: u64,
) -> Result<(), String> {
    let Some(summary) = world.summary(replica) else {
        return Err(format!("{replica} is dead"));
    };
    let value = match name {
        "commit" => summary.commit_min.0,
        "commit-max" => summary.commit_max.0,
        "op" => summary.op.0,
        "view" => summary.view.0,
        "checkpoint" => summary.checkpoint.0,
        "log-view" => summary.log_view.0,
        "durable" => summary.durable.0,
        "incarnation" => summary.incarnation.0,
        "sessions" => u64::from(summary.sessions),
        "missing" => u64::from(summary.repairs_pending),
        "repaired" => summary.repaired,
        _ => return Err(format!("`{name}` is not a number of a replica")),
    };
    if value == wanted { Ok(()) } else { Err(format!("{replica} {name} is {value}")) }
}

fn status<S: Store>(world: &World<S>, replica: ReplicaId, name: &str) -> Result<(), String> {
    let summary = world.summary(replica);
    let halted = world.halted(replica).is_some();
    let is = match &summary {
        _ if halted => "halted".to_owned(),
        None => "dead".to_owned(),
        Some(summary) => summary.status.to_string(),
    };
    let holds = match name {
        "normal" => is == "primary" || is == "backup",
        "crashed" => is == "dead",
        "ready" => summary.is_some_and(|summary| summary.ready),
        _ => is == name,
    };
    if holds { Ok(()) } else { Err(format!("{replica} is {is}")) }
}

fn same_state<S: Store>(world: &World<S>, target: &Target) -> Result<(), String> {
    let ids: Vec<ReplicaId> = match target {
        Target::All => live(world).collect(),
        Target::These(ids) => ids.clone(),
    };
    if ids.is_empty() {
        return Err(NOBODY_LIVES.to_owned());
    }
    let mut states = Vec::new();
    for id in ids {
        let (Some(summary), Some(service)) = (world.summary(id), world.service(id)) else {
            return Err(format!("{id} is dead"));
        };
        states.push((id, summary.commit_min, Service::<Bytes>::digest(service)));
    }
    match states.windows(2).find(|pair| (pair[0].1, pair[0].2) != (pair[1].1, pair[1].2)) {
        None => Ok(()),
        Some(pair) if pair[0].1 != pair[1].1 => Err(format!(
            "{} executed up to op {}, {} up to {}",
            pair[0].0, pair[0].1, pair[1].0, pair[1].1
        )),
        Some(pair) => Err(format!("{} and {} differ", pair[0].0, pair[1].0)),
    }
}

fn same_log<S: Store>(world: &World<S>, one: ReplicaId, other: ReplicaId) -> Result<(), String> {
    let (Some(a), Some(b)) = (world.replica(one), world.replica(other)) else {
        return Err("one of them is dead".to_owned());
    };
    let (heads, last) = ((a.summary().op, b.summary().op), a.summary().op.max(b.summary().op));
    if heads.0 != heads.1 {
        return Err(format!("{one} has op {}, {other} op {}", heads.0, heads.1));
    }
    let first = a.summary().trimmed.0.max(b.summary().trimmed.0) + 1;
    let differs = (first..=last.0).map(OpNumber).find(|op| {
        let checksum = |header: Option<&vsr_core::Header>| header.map(|header| header.checksum);
        checksum(a.header(*op)) != checksum(b.header(*op))
    });
    differs.map_or(Ok(()), |op| Err(format!("they differ at op {op}")))
}

fn reply<S: Store>(world: &World<S>, client: u32) -> Option<String> {
    let call = world.latest_call(client)?;
    match call.ended.as_ref()? {
        (_, Outcome::Done { body, .. }) => {
            Some(body.as_ref().map_or_else(String::new, service::show_reply))
        }
        (_, Outcome::NotDone(_) | Outcome::Unknown) => None,
    }
}

fn each_key<S: Store>(world: &World<S>, key: &str, wanted: Option<&String>) -> Result<(), String> {
    if live(world).next().is_none() {
        return Err(NOBODY_LIVES.to_owned());
    }
    for id in live(world) {
        let value = world.service(id).and_then(|service| service::value(service, key));
        if value.as_ref() != wanted {
            return Err(match value {
                Some(value) => format!("{id} has {value:?} there"),
                None => format!("{id} does not have it"),
            });
        }
    }
    Ok(())
}
