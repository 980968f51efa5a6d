//! What goes wrong: crashes, disks, damage, forgery.

use vsr_core::{DiskState, Event, Holding, OpNumber, Replica, ReplicaId, Service as _};

use crate::world::choice::{Damage, DiskMode, Tear};
use crate::world::disk_store::SUPERBLOCK_COPIES;
use crate::world::names::{KindName, Link};
use crate::world::network::Flight;
use crate::world::node::Io;
use crate::world::store::Store;
use crate::world::{Refused, World};

impl<S: Store> World<S> {
    pub(super) fn fsync(
        &mut self,
        replica: Option<ReplicaId>,
        count: Option<u32>,
    ) -> Result<(), Refused> {
        let targets: Vec<usize> = match replica {
            Some(replica) => vec![self.node(replica)?],
            None => (0..self.nodes.len()).collect(),
        };
        for index in targets {
            let node = &mut self.nodes[index];
            let waiting = node.io.len();
            // What the store was given before goes with the first of it.
            let count = count.filter(|_| node.given == 0);
            let taken = count.map_or(waiting, |count| waiting.min(count as usize));
            let ios: Vec<Io> = node.io.drain(..taken).collect();
            if !ios.is_empty() {
                self.narrator.open_block();
                self.complete_io(index, ios);
                self.run_node(index);
            }
        }
        Ok(())
    }

    pub(super) fn set_disk(
        &mut self,
        replica: Option<ReplicaId>,
        mode: DiskMode,
    ) -> Result<(), Refused> {
        let targets: Vec<usize> = match replica {
            Some(replica) => vec![self.node(replica)?],
            None => (0..self.nodes.len()).collect(),
        };
        for index in targets {
            let before = std::mem::replace(&mut self.nodes[index].disk, mode);
            if before.state() != mode.state() {
                self.step_node(index, Event::Disk(mode.state()));
            } else if self.nodes[index].is_live() && !self.nodes[index].io.is_empty() {
                self.run_node(index);
            }
        }
        Ok(())
    }

    /// A file system has no room from now on, or has again. A store looks for it when it is idle.
    pub(super) fn set_room(&mut self, replica: ReplicaId, room: bool) -> Result<(), Refused> {
        let index = self.node(replica)?;
        if let Some(store) = &mut self.nodes[index].store {
            store.set_room(room);
        }
        Ok(())
    }

    /// The store's idle work: what it puts off until nothing else waits.
    pub(super) fn idle(&mut self, replica: ReplicaId) -> Result<(), Refused> {
        let index = self.live(replica)?;
        let Some(disk) = &mut self.nodes[index].store else { return Ok(()) };
        match disk.idle() {
            Ok(_) => {
                self.tell_fullness(index);
                self.run_node(index);
            }
            Err(why) => self.stop_for_store(index, &why),
        }
        Ok(())
    }

    /// A service takes its time from now on, or does not any longer: then it answers all at once.
    pub(super) fn set_service(&mut self, index: usize, slow: bool) {
        let node = &mut self.nodes[index];
        node.slow_service = slow;
        if !slow && node.is_live() {
            let answers = std::mem::take(&mut node.answers);
            node.events.extend(answers);
            self.run_node(index);
        }
    }

    /// A slow service gives its oldest answer.
    pub(super) fn give_answer(&mut self, replica: ReplicaId) -> Result<(), Refused> {
        let index = self.live(replica)?;
        match self.nodes[index].answers.pop_front() {
            Some(answer) => {
                self.step_node(index, answer);
                Ok(())
            }
            None => Err(Refused::Absent(format!("the service of {replica} owes no answer"))),
        }
    }

    /// The store failed: the process stops itself, and what was not synced is in doubt.
    pub(super) fn stop_for_store(&mut self, index: usize, why: &str) {
        self.narrate(|_| format!("    {why}: the process stops"));
        self.die(index, Tear::None);
    }

    pub(super) fn crash(&mut self, replica: ReplicaId, tear: Tear) -> Result<(), Refused> {
        let index = self.live(replica)?;
        self.die(index, tear);
        self.narrate(|_| format!("  {replica} crashed"));
        Ok(())
    }

    fn die(&mut self, index: usize, tear: Tear) {
        let node = &mut self.nodes[index];
        let unsynced: Vec<Io> = node.io.drain(..).collect();
        let writes: Vec<_> = unsynced
            .iter()
            .filter_map(|io| match io {
                Io::Write(write) => Some(write.kind()),
                Io::Read { .. } | Io::Checkpoint(_) | Io::Serve { .. } | Io::Fetch(_) => None,
            })
            .collect();
        let unfinished = unsynced.iter().find_map(|io| match io {
            Io::Checkpoint(taken) => Some(&**taken),
            Io::Write(_) | Io::Read { .. } | Io::Serve { .. } | Io::Fetch(_) => None,
        });
        let fetches = unsynced.iter().filter_map(|io| match io {
            Io::Fetch(fetch) => Some(fetch),
            Io::Write(_) | Io::Read { .. } | Io::Serve { .. } | Io::Checkpoint(_) => None,
        });
        let fetches: Vec<_> = fetches.collect();
        self.checker.on_crash(index, &writes, tear, node.given);
        if let Some(disk) = &mut node.store {
            if tear != Tear::None {
                // A process that dies does not hear what its disk refused.
                for write in writes.iter().skip(node.given) {
                    let _unheard = disk.write(write);
                }
            }
            disk.crash(tear, unfinished, &fetches);
        }
        node.lose_memory();
    }

    pub(super) fn restart(&mut self, replica: ReplicaId) -> Result<(), Refused> {
        let index = self.node(replica)?;
        let node = &mut self.nodes[index];
        if node.is_live() {
            return Err(Refused::Impossible(format!("{replica} is alive: crash {replica} first")));
        }
        if let Some(reason) = node.halted {
            return Err(Refused::Impossible(format!("{replica} has halted: {reason}")));
        }
        let Some(disk) = &mut node.store else {
            return Err(Refused::Impossible(format!("{replica} has no store any more")));
        };
        if disk.superblocks() == 2 {
            self.checker.marks_mut().reach("superblock-from-two-copies");
        }
        let mut stored = disk.open(&node.config).map_err(|error| {
            Refused::Impossible(format!("{replica} cannot open its store: {error}"))
        })?;
        self.checker.on_open(index, &stored);
        let checkpoint = stored.superblock.checkpoint;
        if checkpoint.op() > OpNumber::ZERO {
            let state = disk.state(&checkpoint);
            match state {
                Ok(chunks) if !stored.is_checkpoint_damaged => {
                    let restored = node.service.restore(&mut chunks.into_iter());
                    restored.map_err(|error| {
                        Refused::Impossible(format!(
                            "{replica} cannot restore its checkpoint: {error}"
                        ))
                    })?;
                    self.checker.on_restored(index, &checkpoint, node.service.digest());
                }
                Ok(_) | Err(_) => {
                    stored.is_checkpoint_damaged = true;
                    stored.sessions.clear();
                    self.checker.on_damaged_checkpoint(index, true);
                }
            }
        }
        node.replica = Some(Replica::recover(node.config.clone(), stored, &mut node.effects));
        if let Some(tracer) = &mut self.tracer {
            tracer.start();
        }
        if node.disk.state() != DiskState::Ok {
            node.events.push_back(Event::Disk(node.disk.state()));
        }
        self.run_node(index);
        Ok(())
    }

    pub(super) fn wipe(&mut self, replica: ReplicaId) -> Result<(), Refused> {
        let index = self.node(replica)?;
        if self.nodes[index].is_live() {
            return Err(Refused::Impossible(format!("{replica} is alive: crash {replica} first")));
        }
        self.nodes[index].store = None;
        Ok(())
    }

    pub(super) fn damage(&mut self, replica: ReplicaId, damage: Damage) -> Result<(), Refused> {
        let index = self.node(replica)?;
        let ops = match damage {
            Damage::Log(op)
            | Damage::Header(op)
            | Damage::Unreadable(op)
            | Damage::Lose(op)
            | Damage::LoseHeader(op) => vec![op],
            Damage::Misdirect(from, to) => vec![from, to],
            Damage::Superblock(_) | Damage::Chunk(_) => Vec::new(),
        };
        if !ops.iter().all(|op| self.checker.has_written(index, *op)) {
            return Err(Refused::Absent(format!("{replica} holds nothing at that op")));
        }
        let Some(disk) = &mut self.nodes[index].store else {
            return Err(Refused::Impossible(format!("{replica} has no store any more")));
        };
        let struck = disk.struck(damage);
        disk.damage(damage).map_err(Refused::Impossible)?;
        let checkpoint = disk.latest_checkpoint();
        self.checker.on_damage(index, damage, &struck, checkpoint);
        Ok(())
    }

    pub(super) fn scrub(&mut self, replica: ReplicaId) -> Result<(), Refused> {
        let index = self.node(replica)?;
        let node = &mut self.nodes[index];
        if !node.is_live() {
            return Err(Refused::Impossible(format!("{replica} is dead: restart {replica} first")));
        }
        let Some(store) = &mut node.store else { return Ok(()) };
        let scrubbed = store.scrub();
        match scrubbed {
            Ok(faulty) => {
                node.events.extend(faulty.into_iter().map(|op| Event::Faulty { op }));
                node.report_damage();
                self.run_node(index);
            }
            Err(why) => {
                self.checker.on_store_failure(index, &why);
                self.stop_for_store(index, &why);
            }
        }
        Ok(())
    }

    /// The ops whose records may rot on a replica's disk, of those that it durably holds.
    pub(crate) fn records(&self, replica: ReplicaId) -> Vec<u64> {
        let index = replica.0 as usize;
        let mut records = self.nodes[index].store.as_ref().map_or(Vec::new(), Store::records);
        records.retain(|op| self.checker.durable_at(index, *op).is_some());
        records
    }

    /// Whether all that such damage would take is on another disk as well, whole; and whether this one still knows
    /// then that something was there: an op's record and its ring header are not lost both.
    pub(crate) fn may_damage(&self, replica: ReplicaId, damage: Damage) -> bool {
        let index = replica.0 as usize;
        let Some(store) = &self.nodes[index].store else { return false };
        if self.nodes[index].given > 0 {
            // Some of what waits for room is on the disk, and nobody knows.
            return false;
        }
        match damage {
            Damage::Superblock(_) => store.superblocks() == SUPERBLOCK_COPIES as usize,
            // Others have the chunks that one disk loses, as long as no record that they lack is lost elsewhere.
            Damage::Chunk(_) => !self.checker.is_any_rotten_but(index),
            Damage::Log(_)
            | Damage::Header(_)
            | Damage::Unreadable(_)
            | Damage::Misdirect(..)
            | Damage::Lose(_)
            | Damage::LoseHeader(_) => {
                let (records, struck) = (store.records(), store.struck(damage));
                let may = |(op, _): &(u64, bool)| {
                    records.contains(op) && self.has_copy_elsewhere(index, *op)
                };
                // A record that no ring header tells of is not seen where it lies in a sector that others share.
                let is_of_sector = matches!(damage, Damage::Unreadable(_) | Damage::Misdirect(..));
                let hides = is_of_sector && self.checker.is_any_headerless(index);
                // What has the other copy may trim it for a checkpoint that is damaged.
                let outlasts = !self.checker.is_any_checkpoint_rotten_but(index);
                !struck.is_empty() && !hides && outlasts && struck.iter().all(may)
            }
        }
    }

    /// Whether what a disk has at an op beyond doubt is in the log of another replica as well, on its disk. A log may have
    /// been cut that the disk of a dead one still has.
    fn has_copy_elsewhere(&self, index: usize, op: u64) -> bool {
        let Some(wanted) = self.checker.sound_at(index, op) else { return false };
        let others = self.nodes.iter().enumerate().filter(|(other, _)| *other != index);
        others.into_iter().any(|(other, node)| {
            let holding = node.replica.as_ref().map(|replica| replica.holding(OpNumber(op)));
            holding == Some(Holding::Durable) && self.checker.sound_at(other, op) == Some(wanted)
        })
    }

    /// How many chunks the latest checkpoint on a replica's disk has.
    pub(crate) fn chunks(&self, replica: ReplicaId) -> usize {
        self.nodes[replica.0 as usize].store.as_ref().map_or(0, Store::chunks)
    }

    pub(super) fn forge(
        &mut self,
        link: Link,
        kind: KindName,
        fields: &str,
    ) -> Result<(), Refused> {
        let payload = crate::story::forge::message(self, link, kind, fields)?;
        let flight = Flight { id: self.next_id(), kind, packet: self.seal(payload, link.from) };
        self.arrive(link, flight);
        Ok(())
    }

    /// The incarnation that a replica's messages bear.
    pub(crate) fn incarnation(&self, replica: ReplicaId) -> vsr_core::Incarnation {
        self.summary(replica).map_or(vsr_core::Incarnation(1), |summary| summary.incarnation)
    }
}
