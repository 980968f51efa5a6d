//! `cluster 3 quorum 2/2 log-slots 32`: a fresh, formatted group.

use vsr_core::{Durability, Prediction};

use crate::story::command::duration;
use crate::world::choice::NotAChoice;
use crate::world::cluster::{Cluster, GENESIS_CLIENTS};

/// Reads what follows the word `cluster`.
pub(super) fn parse(words: &[&str]) -> Result<Cluster, NotAChoice> {
    let Some((count, mut rest)) = words.split_first() else {
        return Err("write: cluster 3".to_owned().into());
    };
    let mut cluster = Cluster::of(number(count)?);
    let mut pipeline = None;
    while let Some((option, after)) = rest.split_first() {
        if *option == "client-links" {
            cluster.client_links = true;
            rest = after;
            continue;
        }
        if *option == "warm" || *option == "witness" || *option == "standby" {
            return Err(NotAChoice::NotSupported(format!("{option} replicas")));
        }
        let Some((value, after)) = after.split_first() else {
            return Err(format!("`{option}` needs a value").into());
        };
        rest = after;
        let constants = &mut cluster.constants;
        match *option {
            "quorum" => cluster.quorums = Some(quorums(value)?),
            "log-slots" => constants.log_slots = number(value)?,
            "pipeline" => pipeline = Some(number(value)?),
            "batch" => constants.batch_requests = number(value)?,
            "batch-bytes" => constants.batch_bytes = number(value)?,
            "request-bytes" => constants.request_bytes = number(value)?,
            "log-bytes" => constants.log_bytes = number(value)?,
            "kept-reply" => constants.kept_reply = number(value)?,
            "sessions" => {
                constants.sessions = number(value)?;
                constants.genesis_sessions = constants.sessions.min(GENESIS_CLIENTS);
            }
            "genesis" => constants.genesis_sessions = number(value)?,
            "checkpoint-every" => constants.checkpoint_interval = number(value)?,
            "checkpoint-bytes" => constants.checkpoint_bytes = number(value)?,
            "checkpoint-time" => constants.checkpoint_time = duration(value)?.as_nanos() as u64,
            "seed" => cluster.seed = number(value)?,
            "window" => constants.window = number(value)?,
            "expiry" => constants.session_expiry = duration(value)?.as_nanos() as u64,
            "predicts" => {
                cluster.prediction = match *value {
                    "primary" => Prediction::Primary,
                    "backups" => Prediction::Backups,
                    _ => return Err(format!("`{value}`: write predicts primary or backups").into()),
                }
            }
            "durability" if *value == "wal" || *value == "sync" => {}
            "durability" if *value == "memory" => constants.durability = Durability::Memory,
            "durability" | "learner" | "release" => {
                return Err(NotAChoice::NotSupported(format!("cluster option {option} {value}")));
            }
            _ => return Err(format!("`{option}` is not an option of a cluster").into()),
        }
    }
    // A small log needs a small pipeline: twice the pipeline must fit.
    let fits = (cluster.constants.log_slots.saturating_sub(1) / 2).max(1);
    cluster.constants.pipeline = pipeline.unwrap_or_else(|| cluster.constants.pipeline.min(fits));
    Ok(cluster)
}

fn number<T: std::str::FromStr>(word: &str) -> Result<T, NotAChoice> {
    word.parse().map_err(|_| format!("`{word}` is not a number in range").into())
}

fn quorums(word: &str) -> Result<(usize, usize), NotAChoice> {
    match word.split_once('/') {
        Some((replication, view_change)) => Ok((number(replication)?, number(view_change)?)),
        None => Err(format!("`{word}`: write quorum REPLICATION/VIEW-CHANGE, as in 2/4").into()),
    }
}
