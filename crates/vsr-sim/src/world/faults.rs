//! What goes wrong: crashes, disks, damage, forgery.

use vsr_core::{DiskState, Event, Replica, ReplicaId};

use crate::world::choice::{Damage, DiskMode, Tear};
use crate::world::names::{KindName, Link};
use crate::world::network::Flight;
use crate::world::node::Io;
use crate::world::packet::{Packet, Payload};
use crate::world::store::{self, Store};
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
            let (was, is) = (before == DiskMode::Full, mode == DiskMode::Full);
            if was != is {
                let state = if is { DiskState::Full } else { DiskState::Ok };
                self.step_node(index, Event::Disk(state));
            } else if self.nodes[index].is_live() && !self.nodes[index].io.is_empty() {
                self.run_node(index);
            }
        }
        Ok(())
    }

    /// A sync failed: the process stops itself, and what was not synced is in doubt.
    pub(super) fn fail_sync(&mut self, index: usize) {
        self.narrate(|_| "    sync failed: the process stops".to_owned());
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
                Io::Read { .. } => None,
            })
            .collect();
        self.checker.on_crash(index, &writes, tear);
        if let Some(disk) = &mut node.store {
            if tear != Tear::None {
                for io in &unsynced {
                    if let Io::Write(write) = io {
                        store::write(disk, write);
                    }
                }
            }
            disk.crash(tear);
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
        let stored = disk.open(&node.config).map_err(|error| {
            Refused::Impossible(format!("{replica} cannot open its store: {error}"))
        })?;
        self.checker.on_open(index, &stored);
        node.replica = Some(Replica::recover(node.config.clone(), stored, &mut node.effects));
        if node.disk == DiskMode::Full {
            node.events.push_back(Event::Disk(DiskState::Full));
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
        let Some(disk) = &mut self.nodes[index].store else {
            return Err(Refused::Impossible(format!("{replica} has no store any more")));
        };
        disk.damage(damage).map_err(Refused::NotSupported)?;
        self.checker.on_damage(index, damage);
        Ok(())
    }

    pub(super) fn forge(&mut self, link: Link, kind: KindName, fields: &str) -> Result<(), Refused> {
        let payload = crate::story::forge::message(self, link, kind, fields)?;
        let flight = Flight { id: self.next_id(), kind, packet: Packet::seal(payload) };
        self.arrive(link, flight);
        Ok(())
    }

    /// Damage is a storage fault, and so the payload of a forged message is none.
    pub(crate) fn incarnation(&self, replica: ReplicaId) -> vsr_core::Incarnation {
        self.summary(replica).map_or(vsr_core::Incarnation(1), |summary| summary.incarnation)
    }

    /// The configuration that all replicas were given.
    pub(crate) fn configuration(&self) -> &vsr_core::Configuration {
        self.nodes[0].config.configuration()
    }
}

impl Payload {
    /// A payload's name as a story writes it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.kind().name()
    }
}
