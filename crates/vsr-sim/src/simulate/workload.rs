//! What the clients of a random run do.

use vsr_core::ReadFrom;

use crate::simulate::schedule::{Schedule, Task};
use crate::world::choice::{Choice, Policy};

/// Ages that reads bear are below, in milliseconds: as long as a few view changes take.
const READ_AGE_MAX: u64 = 3000;

/// Calls of one run at most, so that checking its history stays quick.
const CALLS_MAX: u64 = 700;

/// Calls under way at a time at most, for the same reason: as many as there may be clients.
const IN_FLIGHT_MAX: usize = 8;

impl Schedule {
    /// A client begins its next operation, or begins anew where it gave its session up.
    pub(super) fn submit(&mut self, client: u32) -> Result<(), String> {
        if !self.working || self.submitted >= CALLS_MAX {
            return Ok(());
        }
        if self.world.is_abandoned(client) {
            self.faults.client_restarts += 1;
            self.apply(Choice::RestartClient(client))?;
        }
        if self.world.is_ready(client) && self.world.calls_in_flight() < IN_FLIGHT_MAX {
            let operation = self.draw_operation();
            self.submitted += 1;
            let choice = self.draw_way(client, operation);
            self.apply(choice)?;
            if self.chance(self.swarm.habits.give_up) {
                let call = self.world.history().len() as u64;
                self.after_range(self.swarm.habits.patience, Task::GiveUp(client, call));
            }
            if self.chance(self.swarm.habits.restart) {
                self.after_range(self.swarm.habits.patience, Task::RestartClient(client));
            }
        }
        let (least, most) = self.swarm.habits.think;
        // A client that waits looks again, at a pace that costs little.
        let wait = if self.world.is_ready(client) { (least, most) } else { (500, 2_000 + most) };
        self.after_range(wait, Task::Submit(client));
        Ok(())
    }

    /// A client waits no longer, if it still waits for that call. Without faults it is answered.
    pub(super) fn give_up(&mut self, client: u32, call: u64) -> Result<(), String> {
        let waits = call
            .checked_sub(1)
            .and_then(|place| self.world.history().get(place as usize))
            .is_some_and(|call| call.client == client && call.ended.is_none());
        if self.faulty && waits {
            self.faults.given_up += 1;
            self.apply(Choice::GiveUp(client))?;
        }
        Ok(())
    }

    /// A client's process dies and starts again, whatever it waits for.
    pub(super) fn restart_client(&mut self, client: u32) -> Result<(), String> {
        if self.faulty {
            self.faults.client_restarts += 1;
            self.apply(Choice::RestartClient(client))?;
        }
        Ok(())
    }

    /// An operation goes through the log; some of those that leave the state as it is do not.
    fn draw_way(&mut self, client: u32, operation: String) -> Choice {
        if !operation.starts_with("get ") || !self.chance(self.swarm.habits.reads) {
            return Choice::Request { clients: vec![client], operation };
        }
        let from = if self.dice.chance(1, 2) { ReadFrom::Primary } else { ReadFrom::Backup };
        let policy = match self.dice.below(4) {
            0 => Policy::Causal,
            1 => Policy::Bounded(self.dice.below(READ_AGE_MAX) as u32),
            _ => Policy::Linearizable,
        };
        Choice::Read { client, from, policy, operation }
    }

    fn draw_operation(&mut self) -> String {
        let weights = self.swarm.habits.operations;
        let mut rest = self.dice.below(weights.iter().sum());
        let mut which = 0;
        while rest >= weights[which] {
            rest -= weights[which];
            which += 1;
        }
        let key = self.draw_key();
        let value = self.submitted;
        match which {
            0 => format!("get {key}"),
            1 => format!("put {key} {value}"),
            2 => format!("del {key}"),
            3 => {
                let old = self.dice.below(self.submitted + 1);
                let old = if self.dice.chance(1, 3) { "-".to_owned() } else { old.to_string() };
                format!("cas {key} {old} {value}")
            }
            4 => format!("append {key} {}", value % 10),
            5 => format!("incr {key}"),
            _ => {
                let other = self.draw_key();
                format!("txn put {key} {value} ; get {other}")
            }
        }
    }

    fn draw_key(&mut self) -> String {
        format!("k{}", self.dice.below(self.swarm.keys))
    }
}
