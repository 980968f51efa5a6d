//! What must hold of a group in every state, and the little of its past that this takes.
//!
//! What an event does to one node is judged in `node.rs`. Here it is judged against the others: S1
//! agreement, S2 equal results, S3 each request once, S7 what is acknowledged is held, S9 no forks,
//! S12 quorums, S13 what is held stays, S15 nothing committed is cut, S20 the client-table.

use std::collections::BTreeMap;

use vsr_core::{Checksum, Kind, Quorums};

use crate::explore::group::{Group, Post};
use crate::explore::node::{Executed, Node, Seen, Started};

/// The past, as far as it decides what may happen yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Past {
    /// What is committed, from op 1 on.
    committed: Vec<Committed>,
    /// By view and node: up to which op it said it holds all durably.
    held: BTreeMap<(u64, usize), u64>,
    /// Clients that were told that their request is done, a bit each.
    pub(super) done: u64,
    /// The last op of which a client was told.
    replied: u64,
}

/// A committed entry, and what executing it did, once somebody has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Committed {
    checksum: Checksum,
    /// The view in which it was committed.
    view: u64,
    digest: Option<u128>,
    table: Option<u128>,
    clients: u64,
}

impl Past {
    pub(super) fn committed(&self) -> usize {
        self.committed.len()
    }

    fn at(&self, op: u64) -> Option<&Committed> {
        self.committed.get(op.checked_sub(1)? as usize)
    }

    /// Takes note of what a node did. `group` is as it was before, `node` is what the node is now.
    ///
    /// # Errors
    /// The promise that it broke.
    pub(super) fn judge(
        &mut self,
        group: &Group,
        index: usize,
        node: &Node,
        seen: &Seen,
        post: &Post,
        quorums: Quorums,
    ) -> Result<(), String> {
        if let Some(what) = &seen.broken {
            return Err(blame(index, what));
        }
        self.judge_overwritten(index, seen)?;
        self.judge_offered(index, seen)?;
        for (view, chain) in &seen.held {
            self.hold(index, *view, chain, group.nodes.len(), quorums)?;
        }
        self.judge_log(index, node)?;
        for executed in &seen.executed {
            self.execute(index, executed)?;
        }
        for (view, op, checksum) in &seen.prepared {
            judge_prepared(group, post, *view, *op, *checksum)?;
        }
        for Started { view, suffix, asked } in &seen.started {
            self.judge_start(index, *view, suffix)?;
            // A backup that is asked repeats what its primary began with.
            let primary = *view % group.nodes.len() as u64 == index as u64;
            if primary || !asked {
                judge_offers(group, post, index, *view, quorums)?;
            }
        }
        if let Some(left) = seen.left {
            judge_entry(group, post, index, left, node, quorums)?;
        }
        for (client, op) in &seen.replied {
            self.reply(group, index, node, *client, *op, quorums)?;
        }
        Ok(())
    }

    /// S13: nothing committed is written over, and nothing that the node said it holds, unless a later
    /// view superseded it.
    fn judge_overwritten(&self, index: usize, seen: &Seen) -> Result<(), String> {
        for (op, old, log_view) in &seen.overwritten {
            if self.at(*op).is_some_and(|committed| committed.checksum == *old) {
                return Err(format!("S13: r{index} overwrites op {op}, which is committed"));
            }
            let latest = self.latest_of(index);
            if latest.is_some_and(|(view, held)| *op <= held && *log_view <= view) {
                return Err(format!("S13: r{index} overwrites op {op}, which it acknowledged"));
            }
        }
        Ok(())
    }

    /// The latest view in which a node said what it holds, and up to which op.
    fn latest_of(&self, index: usize) -> Option<(u64, u64)> {
        let of_node = self.held.iter().rev().find(|((_, node), _)| *node == index);
        of_node.map(|((view, _), op)| (*view, *op))
    }

    /// S13: what a node said it holds in its log view is in its log.
    fn judge_log(&self, index: usize, node: &Node) -> Result<(), String> {
        let Some((view, op)) = self.latest_of(index) else { return Ok(()) };
        let Some(replica) = &node.replica else { return Ok(()) };
        let summary = replica.summary();
        if summary.log_view.0 < view || (summary.log_view.0 == view && summary.op.0 < op) {
            return Err(format!("S13: r{index} lost op {op}, which it acknowledged in {view}"));
        }
        Ok(())
    }

    /// S13: what it said it holds is in what it offers.
    fn judge_offered(&self, index: usize, seen: &Seen) -> Result<(), String> {
        let Some((view, op)) = self.latest_of(index) else { return Ok(()) };
        let short = |(log_view, offered): &&(u64, u64)| {
            *log_view < view || (*log_view == view && *offered < op)
        };
        match seen.offered.iter().find(short) {
            None => Ok(()),
            Some((log_view, offered)) => Err(format!(
                "S13: r{index} acknowledged op {op} in {view} and offers op {offered} of {log_view}"
            )),
        }
    }

    /// S1: what a quorum holds in one view is committed, and nothing else ever is in its place.
    fn hold(
        &mut self,
        index: usize,
        view: u64,
        chain: &[Checksum],
        nodes: usize,
        quorums: Quorums,
    ) -> Result<(), String> {
        let held = self.held.entry((view, index)).or_default();
        *held = (*held).max(chain.len() as u64);
        let mut ops: Vec<u64> =
            (0..nodes).filter_map(|node| self.held.get(&(view, node)).copied()).collect();
        ops.sort_unstable_by(|a, b| b.cmp(a));
        let committed = ops.get(quorums.replication - 1).copied().unwrap_or(0) as usize;
        // What this node does not hold, it says nothing of: others do.
        let committed = committed.min(chain.len());
        for (place, checksum) in chain[..committed].iter().enumerate() {
            match self.committed.get(place) {
                Some(known) if known.checksum != *checksum => {
                    return Err(format!("S1: two entries were committed at op {}", place + 1));
                }
                Some(_) => {}
                None => self.committed.push(Committed {
                    checksum: *checksum,
                    view,
                    digest: None,
                    table: None,
                    clients: 0,
                }),
            }
        }
        Ok(())
    }

    /// S1, S2, S3, S20: what is executed is what is committed, to the same result on every replica, and
    /// each request once.
    fn execute(&mut self, index: usize, executed: &Executed) -> Result<(), String> {
        let op = executed.op;
        let others: u64 = (1..)
            .zip(&self.committed)
            .filter(|(other, _)| *other != op)
            .fold(0, |all, (_, committed)| all | committed.clients);
        let Some(committed) = self.committed.get_mut(op as usize - 1) else {
            return Err(format!("S1: r{index} executes op {op}, which no quorum holds"));
        };
        if committed.checksum != executed.checksum {
            return Err(format!("S1: r{index} executes another op {op} than was committed"));
        }
        if others & executed.clients != 0 {
            return Err(format!("S3: op {op} executes a request a second time"));
        }
        if *committed.digest.get_or_insert(executed.digest) != executed.digest {
            return Err(format!("S2: r{index} executes op {op} to another result"));
        }
        if let Some(table) = executed.table
            && *committed.table.get_or_insert(table) != table
        {
            return Err(format!("S20: r{index} has another client-table after op {op}"));
        }
        committed.clients = executed.clients;
        Ok(())
    }

    /// S15: a view starts with everything that was committed in earlier views.
    fn judge_start(
        &self,
        index: usize,
        view: u64,
        suffix: &[(u64, Checksum)],
    ) -> Result<(), String> {
        let head = suffix.last().map_or(0, |(op, _)| *op);
        for (op, committed) in (1..).zip(&self.committed) {
            if committed.view >= view {
                continue;
            }
            let lacks =
                op > head || suffix.iter().any(|(at, sum)| *at == op && *sum != committed.checksum);
            if lacks {
                return Err(format!(
                    "S15: r{index} starts view {view} at op {head} without op {op}, which was \
                     committed before"
                ));
            }
        }
        Ok(())
    }

    /// S7: what a client is told to be done, with all before it, is on enough disks to survive any view
    /// change. That it stays there is S13.
    fn reply(
        &mut self,
        group: &Group,
        index: usize,
        node: &Node,
        client: u32,
        op: u64,
        quorums: Quorums,
    ) -> Result<(), String> {
        self.done |= 1 << (client - 1);
        let needed = group.nodes.len() - quorums.view_change + 1;
        for op in self.replied + 1..=op {
            let Some(committed) = self.at(op) else {
                return Err(format!("S6: r{index} answers op {op}, which is not committed"));
            };
            let disk = |(place, other): (usize, &std::sync::Arc<Node>)| {
                if place == index { node.on_disk(op) } else { other.on_disk(op) }
            };
            let disks = group.nodes.iter().enumerate().map(disk);
            let copies = disks.filter(|held| *held == Some(committed.checksum)).count();
            if copies < needed {
                return Err(format!(
                    "S7: op {op} was replied to and is on {copies} disks of {needed}"
                ));
            }
        }
        self.replied = self.replied.max(op);
        Ok(())
    }

    /// S7, at the end of a path on which nothing more happens: a primary that is normal in the latest
    /// view has all that a client was told of.
    ///
    /// # Errors
    /// What was lost.
    pub(super) fn judge_end(&self, group: &Group) -> Result<(), String> {
        let latest = group.nodes.iter().map(|node| node.superblock().log_view.0).max();
        for (index, node) in group.nodes.iter().enumerate() {
            let Some(replica) = &node.replica else { continue };
            if Some(replica.summary().log_view.0) != latest {
                continue;
            }
            for (op, committed) in (1..=self.replied).zip(&self.committed) {
                let held = replica.header(vsr_core::OpNumber(op)).map(|header| header.checksum);
                if held.is_some() && held != Some(committed.checksum) {
                    return Err(format!(
                        "S7: r{index} ended without op {op}, of which a client knows"
                    ));
                }
            }
        }
        Ok(())
    }
}

fn blame(index: usize, what: &str) -> String {
    match what.split_once(": ") {
        Some((invariant, rest)) if invariant != "panic" => format!("{invariant}: r{index}: {rest}"),
        Some(_) | None => what.to_owned(),
    }
}

/// S9: a view has one entry at an op.
fn judge_prepared(
    group: &Group,
    post: &Post,
    view: u64,
    op: u64,
    checksum: Checksum,
) -> Result<(), String> {
    for letter in group.posted(post) {
        let Kind::Prepare { entry, .. } = &letter.message.kind else { continue };
        let header = entry.header();
        if letter.message.view.0 == view && header.op.0 == op && header.checksum != checksum {
            return Err(format!("S9: view {view} has two entries at op {op}"));
        }
    }
    Ok(())
}

/// S12: a view starts from the logs of a quorum, the own one included.
fn judge_offers(
    group: &Group,
    post: &Post,
    index: usize,
    view: u64,
    quorums: Quorums,
) -> Result<(), String> {
    let mut offered = 0_u64;
    for letter in group.posted(post) {
        let offer = matches!(letter.message.kind, Kind::DoViewChange { .. });
        if offer && letter.message.view.0 == view {
            offered |= 1 << letter.from.0;
        }
    }
    let own = offered & (1 << index) != 0 || group.nodes.len() == 1;
    let offers = offered.count_ones() as usize;
    if view > 0 && (!own || offers < quorums.view_change) {
        return Err(format!("S12: r{index} starts view {view} from {offers} logs"));
    }
    Ok(())
}

/// S12: a replica enters a view of which it may have heard, or the next one by the votes of a quorum.
fn judge_entry(
    group: &Group,
    post: &Post,
    index: usize,
    left: u64,
    node: &Node,
    quorums: Quorums,
) -> Result<(), String> {
    let Some(summary) = node.replica.as_ref().map(vsr_core::Replica::summary) else {
        return Ok(());
    };
    let now = summary.view.0;
    let mut votes = 1_u64 << index;
    let mut known = false;
    for letter in group.posted(post).filter(|letter| letter.to.0 as usize == index) {
        known |= letter.message.view.0 == now;
        let vote = matches!(letter.message.kind, Kind::StartViewChange { .. });
        if vote && letter.message.view.0 == left {
            votes |= 1 << letter.from.0;
        }
    }
    let voted = now == left + 1 && votes.count_ones() as usize >= quorums.view_change;
    if known || voted {
        return Ok(());
    }
    Err(format!("S12: r{index} enters view {now} by {} votes to leave {left}", votes.count_ones()))
}
