//! What disks do while faults strike: what is on them rots or is damaged in any other way, file systems fill up.

use vsr_core::ReplicaId;

use crate::simulate::schedule::{RETRY_FULL_AFTER, Schedule, Task};
use crate::world::choice::{Choice, Damage};
use crate::world::disk_store::SUPERBLOCK_COPIES;

impl Schedule {
    /// A record or a chunk of a checkpoint rots, always on the same replica's disk: others have what it had.
    pub(super) fn rot(&mut self) -> Result<(), String> {
        if !self.faulty {
            return Ok(());
        }
        let replica = self.rotting();
        let chunks = self.world.chunks(replica);
        let records = self.world.records(replica);
        if !records.is_empty() && self.dice.chance(1, 2) {
            let op = *self.dice.pick(&records);
            let damage = Damage::Log(op);
            if self.swarm.disks.damage.is_none() || self.world.may_damage(replica, damage) {
                self.faults.rotten_records += 1;
                self.apply(Choice::Damage(replica, damage))?;
            }
        } else if chunks > 0 {
            let chunk = self.dice.below(chunks as u64) as u32;
            if self.world.may_damage(replica, Damage::Chunk(chunk)) {
                self.faults.rotten_chunks += 1;
                self.apply(Choice::Damage(replica, Damage::Chunk(chunk)))?;
            }
        }
        self.plan(self.swarm.disks.rot, Task::NextRot);
        Ok(())
    }

    /// A disk is damaged in any way, where another one has what it had.
    pub(super) fn damage(&mut self) -> Result<(), String> {
        if !self.faulty {
            return Ok(());
        }
        let replica = self.damaged();
        let damage = self.draw_damage(replica);
        if let Some(damage) = damage.filter(|damage| self.world.may_damage(replica, *damage)) {
            self.faults.damaged += 1;
            self.apply(Choice::Damage(replica, damage))?;
        }
        self.plan(self.swarm.disks.damage, Task::NextDamage);
        Ok(())
    }

    /// File systems fill up: one, most often, or all.
    pub(super) fn fill(&mut self) -> Result<(), String> {
        if !self.faulty {
            return Ok(());
        }
        let one = self.dice.below(u64::from(self.swarm.cluster.replicas)) as u32;
        let all = self.dice.chance(1, 4);
        for replica in (0..self.swarm.cluster.replicas).filter(|id| all || *id == one) {
            self.faults.filled += 1;
            self.apply(Choice::Room(ReplicaId(replica), false))?;
            self.after_range(self.swarm.disks.full_time, Task::MakeRoom(replica));
        }
        self.plan(self.swarm.disks.full, Task::NextFull);
        Ok(())
    }

    /// There is room again, and the store finds it.
    pub(super) fn make_room(&mut self, replica: ReplicaId) -> Result<(), String> {
        self.apply(Choice::Room(replica, true))?;
        self.after(RETRY_FULL_AFTER, Task::Idle(replica.0));
        Ok(())
    }

    fn draw_damage(&mut self, replica: ReplicaId) -> Option<Damage> {
        // Without its ring header it may be unsure of its head, and so counts as a failed one until it is told.
        let tolerated = self.world.quorums().view_change < self.swarm.cluster.replicas as usize;
        let kinds = if tolerated && !self.swarm.disks.spread { 9 } else { 6 };
        let kind = self.dice.below(kinds);
        if kind == 0 {
            let copy = self.dice.below(u64::from(SUPERBLOCK_COPIES)) as u32;
            return Some(Damage::Superblock(copy));
        }
        let records = self.world.records(replica);
        if records.is_empty() {
            return None;
        }
        let (op, other) = (*self.dice.pick(&records), *self.dice.pick(&records));
        Some(match kind {
            1 | 2 => Damage::Log(op),
            3 => Damage::Unreadable(op),
            4 => Damage::Lose(op),
            5 if other != op => Damage::Misdirect(other, op),
            5 => return None,
            6 | 7 => Damage::Header(op),
            _ => Damage::LoseHeader(op),
        })
    }

    /// The replica whose disk rots, if one does.
    fn rotting(&self) -> ReplicaId {
        ReplicaId((self.seed() % u64::from(self.swarm.cluster.replicas)) as u32)
    }

    /// A replica whose disk is damaged.
    fn damaged(&mut self) -> ReplicaId {
        match self.swarm.disks.spread {
            true => ReplicaId(self.dice.below(u64::from(self.swarm.cluster.replicas)) as u32),
            false => self.rotting(),
        }
    }

    /// Once faults have ended, what they left is found all the same.
    pub(super) fn scrub(&mut self) -> Result<(), String> {
        let replica = self.damaged();
        if self.is_live(replica.0) && !self.world.is_paused(replica) {
            self.apply(Choice::Scrub(replica))?;
        }
        self.plan(self.swarm.disks.scrubs, Task::Scrub);
        Ok(())
    }
}
