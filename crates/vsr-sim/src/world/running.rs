//! Letting a world run: in a fixed order, as stories want it.

use std::time::Duration;

use vsr_core::{HaltReason, Ignored, OpNumber, Replica, ReplicaId, StatusName, Timer};

use crate::narrator::Narrator;
use crate::trace::Tracer;
use crate::world::choice::{Choice, DiskMode, Pick};
use crate::world::client::{Call, SimClient};
use crate::world::names::{Endpoint, KindName, Link};
use crate::world::network::FlightId;
use crate::world::store::Store;
use crate::world::{Refused, World};

/// Deliveries after which a world that still moves never comes to rest.
const SETTLE_MAX: usize = 100_000;

/// What fires next.
enum Alarm {
    Timer(ReplicaId, Timer),
    Client(u32),
}

impl<S: Store> World<S> {
    /// Delivers until nothing moves: in a fixed order, without timers.
    ///
    /// # Errors
    /// If it never comes to rest.
    pub fn settle(&mut self) -> Result<(), String> {
        self.apply(&Choice::Settle).map_err(|refused| refused.to_string())
    }

    /// Delivers until nothing moves.
    pub(super) fn come_to_rest(&mut self) -> Result<(), String> {
        for _ in 0..SETTLE_MAX {
            let next = self.network.busy().map(|(link, _)| link).find(|link| self.carries(*link));
            let Some(link) = next else { return self.rest_disks() };
            if self.deliver(link, Pick::Oldest, false).is_ok() {
                self.deliver_immediate();
            }
        }
        Err(format!("messages still move after {SETTLE_MAX} deliveries"))
    }

    /// Stores whose disks keep up do what they put off until nothing else waits.
    fn rest_disks(&mut self) -> Result<(), String> {
        for id in self.replicas() {
            let node = &self.nodes[id.0 as usize];
            if node.is_live() && node.disk == DiskMode::Ok {
                self.idle(id).map_err(|refused| refused.to_string())?;
            }
        }
        Ok(())
    }

    /// Whether messages on a link arrive by themselves.
    fn carries(&self, link: Link) -> bool {
        match link.to {
            Endpoint::Replica(id) => !self.nodes[id.0 as usize].paused,
            Endpoint::Client(_) => true,
        }
    }

    /// Lets time pass with fair delivery: what is sent arrives before the next timer fires.
    ///
    /// # Errors
    /// If messages never come to rest.
    pub fn run_for(&mut self, time: Duration) -> Result<(), String> {
        let end = self.now + time.as_nanos() as u64;
        self.settle()?;
        self.narrator.hide_idle(true);
        let told = self.narrator.is_on();
        while let Some(choice) = self.fire_before(end) {
            let idle = matches!(choice, Choice::Timeout(_, Timer::Heartbeat | Timer::Ping));
            self.narrator.set_on(told && !idle);
            self.apply(&choice).map_err(|refused| refused.to_string())?;
            self.narrator.set_on(told);
            self.settle()?;
        }
        self.narrator.hide_idle(false);
        self.now = end;
        Ok(())
    }

    /// Lets time pass without delivery: timers fire in order.
    pub fn advance(&mut self, time: Duration) {
        let end = self.now + time.as_nanos() as u64;
        while let Some(choice) = self.fire_before(end) {
            let fired = self.apply(&choice);
            assert!(fired.is_ok(), "a timer that is armed can fire");
        }
        self.now = end;
    }

    /// The next timer that fires up to `end`, as a choice; time goes on to it.
    fn fire_before(&mut self, end: u64) -> Option<Choice> {
        let (at, alarm) = self.next_alarm().filter(|(at, _)| *at <= end)?;
        self.now = self.now.max(at);
        Some(match alarm {
            Alarm::Timer(replica, timer) => Choice::Timeout(replica, timer),
            Alarm::Client(number) => Choice::Resend(number),
        })
    }

    fn next_alarm(&self) -> Option<(u64, Alarm)> {
        let nodes = self.nodes.iter().filter(|node| node.deadline().is_some());
        let node = nodes.min_by_key(|node| node.deadline());
        let timer = node.and_then(|node| {
            let (timer, at) = node.next_timer()?;
            Some((at, Alarm::Timer(node.id(), timer)))
        });
        let clients = self
            .clients
            .values()
            .filter_map(|client| Some((client.next_deadline()?, Alarm::Client(client.number))));
        timer.into_iter().chain(clients).min_by_key(|(at, _)| *at)
    }

    /// L9: whether the group can do nothing but wait. A member whose head is uncertain takes part in no view
    /// change, since what it acknowledged and cannot read would count as never held. Where the others are fewer
    /// than change views, and none of them is a primary who could tell it, nobody ever will: what it lost may
    /// have been committed by quorums that all have it in common.
    pub(crate) fn must_wait(&self) -> bool {
        let status = |id: ReplicaId| match self.summary(id).map(|summary| summary.status) {
            None | Some(StatusName::Halted) => self.checker.status_before_halt(id.0 as usize),
            status => status,
        };
        let statuses: Vec<_> = self.replicas().map(status).collect();
        let unsure = |status: &&Option<StatusName>| **status == Some(StatusName::RecoveringHead);
        let uncertain = statuses.iter().filter(unsure).count();
        let told = statuses.contains(&Some(StatusName::Primary));
        uncertain > 0 && !told && statuses.len() - uncertain < self.quorums().view_change
    }

    /// L9: whether no replica has the state any more.
    pub(crate) fn has_no_state(&self) -> bool {
        (0..self.nodes.len()).all(|index| self.checker.is_stateless(index))
    }

    /// Whether a replica stopped for one of these reasons.
    pub(crate) fn has_given_up(&self) -> bool {
        let gives_up = |reason: &HaltReason| {
            matches!(
                reason,
                HaltReason::HeadsUncertain(_) | HaltReason::StateLost(_) | HaltReason::EntryLost(_)
            )
        };
        self.nodes.iter().any(|node| node.halted.as_ref().is_some_and(gives_up))
    }

    /// A client's latest call.
    #[must_use]
    pub fn latest_call(&self, client: u32) -> Option<&Call> {
        self.history.get(self.clients.get(&client)?.call?)
    }

    /// Why a replica ignored what happened to it, since the last command of a story.
    #[must_use]
    pub fn ignored(&self, replica: ReplicaId) -> &[Ignored] {
        self.nodes.get(replica.0 as usize).map_or(&[], |node| &node.ignored)
    }

    pub(crate) fn forget_ignored(&mut self) {
        for node in &mut self.nodes {
            node.ignored.clear();
        }
    }

    /// The highest view of a live replica.
    #[must_use]
    pub fn highest_view(&self) -> u64 {
        let views = self.replicas().filter_map(|id| Some(self.summary(id)?.view.0));
        views.max().unwrap_or(0)
    }

    pub(crate) const fn narrator_mut(&mut self) -> &mut Narrator {
        &mut self.narrator
    }

    /// The armed timers of a replica.
    ///
    /// # Errors
    /// If there is no such replica, or it is dead.
    pub fn armed_timers(&self, replica: ReplicaId) -> Result<Vec<Timer>, Refused> {
        let index = self.live(replica)?;
        Ok(self.nodes[index].armed().map(|(timer, _)| timer).collect())
    }

    /// A replica's log, a line an entry.
    ///
    /// # Errors
    /// If there is no such replica, or it is dead.
    pub fn log_lines(&self, replica: ReplicaId) -> Result<Vec<String>, Refused> {
        let index = self.live(replica)?;
        let Some(replica) = &self.nodes[index].replica else { return Ok(Vec::new()) };
        let line = |op: OpNumber| {
            let holding = format!("{:?}", replica.holding(op)).to_lowercase();
            replica.header(op).map_or_else(
                || format!("  {op}:gap"),
                |header| format!("  {op}@{} {holding} {}", header.view, self.requests_of(header)),
            )
        };
        let summary = replica.summary();
        Ok((summary.trimmed.0 + 1..=summary.op.0).map(OpNumber).map(line).collect())
    }
}

/// What a random scheduler looks at.
impl<S: Store> World<S> {
    /// Keeps the names of messages as they are put on links, for [`World::take_dispatched`].
    pub(crate) fn watch_dispatches(&mut self) {
        self.dispatched = Some(Vec::new());
    }

    /// The messages put on links since this was last asked.
    pub(crate) fn take_dispatched(&mut self) -> Vec<(Link, FlightId, KindName)> {
        self.dispatched.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Gives a buffer back.
    pub(crate) fn reuse_dispatched(&mut self, buffer: Vec<(Link, FlightId, KindName)>) {
        if self.dispatched.as_ref().is_some_and(Vec::is_empty) {
            self.dispatched = Some(buffer);
        }
    }

    /// Loses a message. Nobody can tell it from one that is never delivered.
    pub(crate) fn lose(&mut self, link: Link, id: FlightId) {
        self.network.remove(link, id);
    }

    /// The timer or client that is due next, and when.
    pub(crate) fn next_alarm_choice(&self) -> Option<(u64, Choice)> {
        let (at, alarm) = self.next_alarm()?;
        Some((
            at,
            match alarm {
                Alarm::Timer(replica, timer) => Choice::Timeout(replica, timer),
                Alarm::Client(number) => Choice::Resend(number),
            },
        ))
    }

    pub(crate) fn is_gathering(&self, replica: ReplicaId) -> bool {
        self.nodes[replica.0 as usize].gathering
    }

    pub(crate) fn is_stalled(&self, replica: ReplicaId) -> bool {
        self.nodes[replica.0 as usize].disk == DiskMode::Stalled
    }

    pub(crate) fn is_paused(&self, replica: ReplicaId) -> bool {
        self.nodes[replica.0 as usize].paused
    }

    /// How many answers a replica's service owes.
    pub(crate) fn waiting_answers(&self, replica: ReplicaId) -> usize {
        self.nodes[replica.0 as usize].answers.len()
    }

    /// Whether a replica's clock is wrong.
    pub(crate) fn is_ahead(&self, replica: ReplicaId) -> bool {
        self.nodes[replica.0 as usize].ahead > 0
    }

    /// How much waits for a replica's disk.
    pub(crate) fn waiting_io(&self, replica: ReplicaId) -> usize {
        self.nodes[replica.0 as usize].io.len()
    }

    /// Whether a replica's disk had no room for what waits for it.
    pub(crate) fn lacks_room(&self, replica: ReplicaId) -> bool {
        self.nodes[replica.0 as usize].given > 0
    }

    /// How many effects there were other than timers and notes.
    pub(crate) const fn acted(&self) -> u64 {
        self.acted
    }

    pub(crate) fn quorums(&self) -> vsr_core::Quorums {
        self.nodes[0].config.configuration().quorums()
    }

    /// The limits that all replicas share.
    pub(crate) fn constants(&self) -> &vsr_core::Constants {
        self.nodes[0].config.constants()
    }

    /// Whether a client can begin an operation; one that was not heard of can.
    pub(crate) fn is_ready(&self, number: u32) -> bool {
        self.clients.get(&number).is_none_or(SimClient::is_ready)
    }

    /// How many calls are not ended.
    pub(crate) fn calls_in_flight(&self) -> usize {
        self.history.iter().filter(|call| call.ended.is_none()).count()
    }

    pub(crate) fn is_abandoned(&self, number: u32) -> bool {
        self.clients.get(&number).is_some_and(|client| client.machine.is_abandoned())
    }

    /// A client whose call was not answered, and that still waits.
    pub(crate) fn waiting_client(&self) -> Option<u32> {
        let waits = |client: &&SimClient| !client.machine.is_abandoned() && !client.is_idle();
        self.clients.values().find(waits).map(|client| client.number)
    }

    /// Whether all live replicas are normal in one view with a primary, have executed all of their
    /// logs, and no client waits.
    #[must_use]
    pub fn is_steady(&self) -> bool {
        let live = self.nodes.iter().filter(|node| !node.paused);
        let summaries: Vec<_> =
            live.filter_map(|node| node.replica.as_ref().map(Replica::summary)).collect();
        let Some(first) = summaries.first() else { return false };
        let alike = summaries.iter().all(|summary| {
            matches!(summary.status, StatusName::Primary | StatusName::Backup)
                && summary.view == first.view
                && summary.op == first.op
                && summary.commit_min == summary.op
        });
        alike && summaries.iter().any(|summary| summary.ready) && self.waiting_client().is_none()
    }

    pub(crate) fn keep_trace(&mut self) {
        self.tracer = Some(Tracer::default());
    }

    pub(crate) fn take_trace(&mut self) -> Vec<String> {
        self.tracer.as_mut().map(Tracer::take).unwrap_or_default()
    }
}
