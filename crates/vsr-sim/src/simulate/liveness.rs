//! L1 to L4, L9: once the faults end for enough of the group, it recovers, and stays so.
//!
//! A random core that holds both quorums is healed, wholly or but for some of its links: one member
//! still reaches all others (protocol.md 5.14). The rest is left as it is: dead, paused, or cut off.
//! The core must agree on a view, answer every call, and execute the same; then replicas outside that
//! can send but not hear must not move it.

use vsr_core::{Holding, OpNumber, Outcome, Refusal, ReplicaId, StatusName};

use crate::simulate::schedule::Schedule;
use crate::world::choice::{Choice, Cut, DiskMode, SlowKinds};
use crate::world::names::{Endpoint, Links};

/// How long the core may take: several view changes that each time out at their longest.
const RECOVERY_SECONDS: u64 = 180;

/// How long the core must have been recovered before it counts as stable: what was sent or decided
/// while there were faults has come to its end by then.
const CALM_SECONDS: u64 = 4;

/// How long the core must stay as it is afterwards.
const STABLE_SECONDS: u64 = 3;

/// One in so many cores stays connected in part: there each way of a link is cut with a chance of one
/// to all in so many.
const PARTIAL_CORES: u64 = 3;
const CUTS_OF: u64 = 4;

/// Messages and disks are timely from here on, as the timers' durations assume; in microseconds.
const TIMELY_DELAY: (u64, u64) = (100, 5_000);
const TIMELY_SYNC: (u64, u64) = (50, 5_000);

/// How long a call of a client may take once the core is calm. A primary that cannot reach a quorum may
/// only be noticed by a call: where links are cut, the views of all others that cannot may pass first.
const CALL_SECONDS: u64 = 30;
const PARTIAL_CALL_SECONDS: u64 = RECOVERY_SECONDS;

/// How often a client begins anew, whose session was evicted by those that registered before it.
const CALLS_MAX: u32 = 8;

/// Steps of the liveness phase at most, so that a livelock ends.
const STEPS_MAX: u64 = 2_000_000;

/// How the liveness phase ended without a promise broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The core recovered, served every client, and stayed as it was.
    Recovered,
    /// The group waits, as it must, for what no member can know (L9).
    Waits,
}

impl Schedule {
    pub(super) fn run_liveness(&mut self) -> Result<Ended, String> {
        self.faulty = false;
        self.working = false;
        self.swarm.network.delay = TIMELY_DELAY;
        self.swarm.disks.sync_time = TIMELY_SYNC;
        if self.world.has_given_up() {
            return Ok(Ended::Waits);
        }
        let mut core = self.draw_core();
        self.core.clone_from(&core);
        self.heal_core(&core)?;
        if self.recover(&mut core)? == Ended::Waits {
            return Ok(Ended::Waits);
        }
        self.serve(&core)?;
        if self.recover(&mut core)? == Ended::Waits {
            return Err("L9: the group served, and waits for what was lost".to_owned());
        }
        self.check_stability(&core)?;
        Ok(Ended::Recovered)
    }

    /// Whether the core cannot recover without the rest: a torn disk left a member unsure of its head,
    /// which counts as a failed one until it is told, or an entry that no other member holds, committed or maybe so; or
    /// a rotten one took a chunk of a checkpoint that only others have.
    fn needs_the_rest(&self, core: &[ReplicaId]) -> bool {
        let summaries = core.iter().filter_map(|id| self.world.summary(*id));
        let replicas = || core.iter().filter_map(|id| self.world.replica(*id));
        let any = |op, holding| replicas().any(|replica| replica.holding(op) == holding);
        summaries.into_iter().any(|summary| {
            let next = summary.commit_min.next();
            let mut beyond = (summary.commit_max.0 + 1..=summary.op.0).map(OpNumber);
            summary.status == StatusName::RecoveringHead
                || (next <= summary.commit_max && !any(next, Holding::Durable))
                || beyond.any(|op| any(op, Holding::Faulty) && !any(op, Holding::Durable))
                || self.world.checker().is_stateless(summary.replica.0 as usize)
                || self.world.checker().is_rotten(summary.replica.0 as usize)
        })
    }

    /// L1, L3: runs until the core has recovered and is calm. One that needs the rest of the group gets
    /// it, and must recover then, unless it must wait.
    fn recover(&mut self, core: &mut Vec<ReplicaId>) -> Result<Ended, String> {
        let mut end = self.world.now() + RECOVERY_SECONDS * 1_000_000_000;
        let mut steps = 0;
        // The view in which the core has recovered, and since when.
        let mut calm: Option<(u64, u64)> = None;
        loop {
            if self.world.has_given_up() {
                return Ok(Ended::Waits);
            }
            let view = self.view_of(core);
            match (self.is_recovered(core), calm) {
                (Ok(()), Some((of, since))) if of == view => {
                    if self.world.now() - since > CALM_SECONDS * 1_000_000_000 {
                        return Ok(Ended::Recovered);
                    }
                }
                (Ok(()), Some(_) | None) => calm = Some((view, self.world.now())),
                (Err(why), _) => {
                    calm = None;
                    let all = self.swarm.cluster.replicas as usize;
                    if self.world.now() > end && core.len() < all && self.needs_the_rest(core) {
                        *core = self.world.replicas().collect();
                        self.core.clone_from(core);
                        self.heal_core(core)?;
                        end = self.world.now() + RECOVERY_SECONDS * 1_000_000_000;
                    } else if self.world.now() > end && self.world.must_wait() {
                        return Ok(Ended::Waits);
                    } else if self.world.now() > end {
                        let members = self.tell(core);
                        return Err(format!(
                            "{why} after {RECOVERY_SECONDS} s without faults: {members}"
                        ));
                    }
                }
            }
            if steps > STEPS_MAX {
                return Err("L1: the core does not come to rest".to_owned());
            }
            self.step()?;
            steps += 1;
        }
    }

    fn view_of(&self, core: &[ReplicaId]) -> u64 {
        self.world.summary(core[0]).map_or(0, |summary| summary.view.0)
    }

    /// L2: each client's next call is done; where the log is full, it is refused for that reason.
    fn serve(&mut self, core: &[ReplicaId]) -> Result<(), String> {
        for client in 1..=self.swarm.clients {
            let mut calls = 0;
            while !self.is_served(client, core)? {
                calls += 1;
                if calls > CALLS_MAX {
                    return Err(format!("L2: c{client} loses each session that it registers"));
                }
            }
        }
        Ok(())
    }

    /// One call of a client; false if its session was evicted, so that it has to begin anew.
    fn is_served(&mut self, client: u32, core: &[ReplicaId]) -> Result<bool, String> {
        if self.world.is_abandoned(client) {
            self.apply(Choice::RestartClient(client))?;
        }
        if !self.world.is_ready(client) {
            // It waits for room in a log that is full.
            return Ok(true);
        }
        self.submitted += 1;
        let operation = format!("put k0 {}", self.submitted);
        self.apply(Choice::Request { clients: vec![client], operation })?;
        let seconds = if self.cut_core { PARTIAL_CALL_SECONDS } else { CALL_SECONDS };
        let end = self.world.now() + seconds * 1_000_000_000;
        // The log may have room again when the refusal arrives.
        let mut was_full = false;
        loop {
            was_full |= self.is_log_full(core);
            let ended = self.world.latest_call(client).and_then(|call| call.ended.as_ref());
            match ended {
                Some((_, Outcome::Done { .. })) => return Ok(true),
                Some((_, Outcome::Unknown)) => return Ok(false),
                Some((_, Outcome::NotDone(Some(Refusal::LogFull)))) if was_full => {
                    return Ok(true);
                }
                Some((_, outcome @ Outcome::NotDone(_))) => {
                    return Err(format!("L2: c{client} was refused: {outcome:?}"));
                }
                None => {}
            }
            if self.world.now() > end {
                if self.is_log_full(core) {
                    // It was refused for that, and tries again for as long as it has time.
                    return Ok(true);
                }
                let members = self.tell(core);
                return Err(format!("L2: c{client} got no answer in {seconds} s: {members}"));
            }
            self.step()?;
        }
    }

    /// Whether the core takes no further operation. Its primary has the longest log.
    fn is_log_full(&self, core: &[ReplicaId]) -> bool {
        let constants = self.world.constants();
        let room = u64::from(constants.log_slots - constants.pipeline - 1);
        let mut summaries = core.iter().filter_map(|id| self.world.summary(*id));
        summaries.any(|summary| summary.op.0 >= summary.trimmed.0 + room)
    }

    /// Members that hold both quorums.
    fn draw_core(&mut self) -> Vec<ReplicaId> {
        let mut members: Vec<ReplicaId> = self.world.replicas().collect();
        let quorums = self.world.quorums();
        let least = quorums.replication.max(quorums.view_change);
        let size = self.dice.between(least as u64, members.len() as u64) as usize;
        self.dice.shuffle(&mut members);
        // Who lost its memory has it again from as many as change views, who did not.
        let mut wanted = quorums.view_change;
        members.sort_by_cached_key(|id| {
            let first = wanted > 0 && !self.is_lost(id.0);
            wanted -= usize::from(first);
            !first
        });
        members.truncate(size);
        members.sort_unstable();
        members
    }

    fn heal_core(&mut self, core: &[ReplicaId]) -> Result<(), String> {
        self.apply(Choice::Heal(None))?;
        let outside: Vec<ReplicaId> =
            self.world.replicas().filter(|id| !core.contains(id)).collect();
        let clients = (1..=self.swarm.clients).map(Endpoint::Client);
        if !outside.is_empty() {
            let inner = core.iter().map(|id| Endpoint::Replica(*id)).chain(clients).collect();
            let outer = outside.iter().map(|id| Endpoint::Replica(*id)).collect();
            self.apply(Choice::Cut(Cut::Groups(vec![inner, outer])))?;
        }
        for id in &outside {
            if self.is_live(id.0) && !self.world.is_paused(*id) {
                self.apply(Choice::Pause(*id))?;
            }
        }
        for id in core {
            self.mend_clock(*id)?;
            if self.swarm.disks.full.is_some() {
                self.make_room(*id)?;
            }
            if !self.is_live(id.0) {
                self.apply(Choice::Restart(*id))?;
            } else if self.world.is_paused(*id) {
                self.apply(Choice::Resume(*id))?;
            }
            let mode = DiskMode::Slow(SlowKinds::All);
            self.apply(Choice::Disk { replica: Some(*id), mode })?;
        }
        self.cut_within(core)
    }

    /// In some runs links between members stay cut, each way by itself, but for those of one member
    /// that all others hear and reach: quorum loss, a chain, half-open links.
    fn cut_within(&mut self, core: &[ReplicaId]) -> Result<(), String> {
        if core.len() < 3 || !self.dice.chance(1, PARTIAL_CORES) {
            return Ok(());
        }
        self.cut_core = true;
        let ends: Vec<ReplicaId> = core.iter().copied().filter(|id| self.is_whole(*id)).collect();
        if ends.is_empty() {
            return Ok(());
        }
        let hub = *self.dice.pick(&ends);
        let density = self.dice.between(1, CUTS_OF);
        let within: Vec<ReplicaId> = ends.into_iter().filter(|id| *id != hub).collect();
        for from in &within {
            for to in within.iter().filter(|id| *id != from) {
                if self.dice.chance(density, CUTS_OF) {
                    let [from, to] = [from, to].map(|id| Some(Endpoint::Replica(*id)));
                    self.apply(Choice::Cut(Cut::Links(Links { from, to })))?;
                }
            }
        }
        Ok(())
    }

    /// Whether a member has all that it ever had. Who lost its memory, its state or records must reach whoever has
    /// them, and is of no use to anybody before it has them again.
    fn is_whole(&self, id: ReplicaId) -> bool {
        let uncertain = |summary: vsr_core::Summary| summary.status == StatusName::RecoveringHead;
        !self.is_lost(id.0)
            && !self.world.checker().is_stateless(id.0 as usize)
            && !self.world.checker().is_rotten(id.0 as usize)
            && !self.world.summary(id).is_some_and(uncertain)
    }

    /// Where the members of the core are.
    fn tell(&self, core: &[ReplicaId]) -> String {
        let summaries = core.iter().filter_map(|id| self.world.summary(*id));
        let members = summaries.map(|summary| {
            let vsr_core::Summary { replica, status, view, log_view, op, trimmed, .. } = summary;
            let (min, max, durable) = (summary.commit_min, summary.commit_max, summary.durable);
            format!(
                "{replica} {status} v{view}/{log_view} log {trimmed}..{op} durable {durable} \
                 commit {min}/{max}"
            )
        });
        members.collect::<Vec<_>>().join("; ")
    }

    /// L1, L2, L3: one view, everybody normal, all executed, every call answered.
    fn is_recovered(&self, core: &[ReplicaId]) -> Result<(), String> {
        let summaries: Vec<_> = core.iter().filter_map(|id| self.world.summary(*id)).collect();
        let Some(first) = summaries.first().filter(|_| summaries.len() == core.len()) else {
            return Err("L1: a member of the core is dead".to_owned());
        };
        for summary in &summaries {
            let id = summary.replica;
            let normal = matches!(summary.status, StatusName::Primary | StatusName::Backup);
            if !normal || summary.view != first.view {
                return Err(format!("L1: {id} is {} in view {}", summary.status, summary.view));
            }
            let same = summary.commit_min == first.commit_min
                && summary.commit_max == summary.commit_min
                && summary.op == summary.commit_min;
            if !same || summary.repairs_pending > 0 {
                let (op, commit) = (summary.op, summary.commit_min);
                return Err(format!("L3: {id} is at op {op}, and has executed {commit}"));
            }
        }
        if !summaries.iter().any(|summary| summary.ready) {
            return Err("L1: no primary takes requests".to_owned());
        }
        match self.world.waiting_client() {
            Some(client) if !self.is_log_full(core) => Err(format!("L2: c{client} got no answer")),
            Some(_) | None => Ok(()),
        }
    }

    /// L4: replicas outside that send and do not hear leave the core alone. Each one that stood still
    /// with votes to leave the core's view, or one that is not much earlier, or in a later one, may pull it up
    /// once.
    fn check_stability(&mut self, core: &[ReplicaId]) -> Result<(), String> {
        let before = self.view_of(core);
        let outside: Vec<ReplicaId> =
            self.world.replicas().filter(|id| !core.contains(id)).collect();
        for id in &outside {
            if self.is_live(id.0) {
                let links = Links { from: Some(Endpoint::Replica(*id)), to: None };
                self.apply(Choice::Heal(Some(links)))?;
                self.apply(Choice::Resume(*id))?;
            }
        }
        let views = outside.iter().filter_map(|id| self.world.summary(*id));
        // From an earlier view it may skip to a later one than the core's.
        let skips = self.swarm.cluster.replicas as u64 - 1;
        let pulls = views.filter(|summary| summary.view.0 + skips > before).count() as u64;
        let end = self.world.now() + STABLE_SECONDS * 1_000_000_000;
        let mut steps = 0;
        while self.world.now() < end && steps < STEPS_MAX {
            self.step()?;
            steps += 1;
        }
        let after = self.view_of(core);
        let started = self.world.checker().views_started_after(before);
        if started > pulls || (after > before && pulls == 0) {
            return Err(format!(
                "L4: the core went from view {before} to {after}, starting {started} views, though \
                 its links were up and {pulls} replicas outside could pull it"
            ));
        }
        Ok(())
    }
}
