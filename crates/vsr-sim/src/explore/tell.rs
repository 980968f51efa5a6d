//! A path through states becomes a story, which the simulated world runs.

use vsr_core::ReplicaId;

use crate::explore::Bounds;
use crate::explore::group::{Letter, Model, Move};
use crate::explore::search::Counterexample;
use crate::shrink::{self, Shrunk};
use crate::simulate::Recorded;
use crate::world::World;
use crate::world::choice::{Choice, DiskMode, Pick, SlowKinds, Tear};
use crate::world::names::{Endpoint, KindName, Link};
use crate::world::packet::Payload;
use crate::world::store::Store;

/// Tells how a promise is broken.
pub(super) fn story(model: &Model, path: &[Move], what: &str) -> Counterexample {
    let choices = choices::<crate::world::disk_store::DiskStore>(model, path, &mut |_, _| {});
    let recorded: Vec<Recorded> = (1..)
        .zip(choices)
        .map(|(cause, choice)| Recorded { choice, cause, flight: None })
        .collect();
    let title = format!("The explorer found {what}");
    let Shrunk { story, commands, fails, .. } =
        shrink::shortest(&title, what, &model.cluster, recorded);
    Counterexample { what: what.to_owned(), story, commands, fails }
}

/// A path as choices of the simulated world. `seen` is shown the world after each move.
pub(super) fn choices<S: Store>(
    model: &Model,
    path: &[Move],
    seen: &mut dyn FnMut(usize, &World<S>),
) -> Vec<Choice> {
    let Ok(world) = World::<S>::new(model.cluster.clone()) else { return Vec::new() };
    let mut teller = Teller { world, choices: Vec::new() };
    if model.bounds.slow {
        teller.choose(Choice::Disk { replica: None, mode: DiskMode::Slow(SlowKinds::All) });
    }
    for (place, step) in path.iter().enumerate() {
        match *step {
            Move::Arrival(number) => {
                let again = path[place + 1..].contains(step);
                teller.deliver(model.post.letter(number), again);
            }
            Move::Request { client, at } => {
                let again = path[place + 1..].contains(step);
                teller.request(client, at, again);
            }
            Move::Timeout(node, timer) => teller.choose(Choice::Timeout(ReplicaId(node), timer)),
            Move::Fsync(node) => {
                teller.choose(Choice::Fsync { replica: Some(ReplicaId(node)), count: Some(1) });
            }
            Move::Crash(node) => teller.choose(Choice::Crash(ReplicaId(node), Tear::None)),
            Move::Restart(node) => teller.choose(Choice::Restart(ReplicaId(node))),
        }
        seen(place, &teller.world);
    }
    teller.choices
}

struct Teller<S> {
    world: World<S>,
    choices: Vec<Choice>,
}

impl<S: Store> Teller<S> {
    fn choose(&mut self, choice: Choice) {
        // What breaks on the way, breaks in the story too.
        let applied = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            self.world.apply(&choice).is_ok()
        }));
        if applied.unwrap_or(true) {
            self.choices.push(choice);
        }
    }

    fn deliver(&mut self, letter: &Letter, again: bool) {
        let link = Link::between(letter.from, letter.to);
        let wanted = Payload::Message(letter.message.clone());
        let network = self.world.network();
        let flights = network.busy().find(|(busy, _)| *busy == link).map(|(_, flights)| flights);
        let found = flights
            .into_iter()
            .flatten()
            .find(|flight| flight.packet.open() == wanted)
            .and_then(|flight| network.locate(link, flight.id));
        let pick = found
            .unwrap_or_else(|| Pick::Kind { kind: KindName::of(&letter.message.kind), nth: 1 });
        self.choose(Choice::Deliver { link, pick, keep: again });
    }

    fn request(&mut self, client: u32, at: u32, again: bool) {
        let link = Link { from: Endpoint::Client(client), to: Endpoint::Replica(ReplicaId(at)) };
        if self.world.latest_call(client).is_none() {
            let operation = Bounds::operation(client);
            self.choose(Choice::Request { clients: vec![client], operation });
        }
        if self.world.network().count(link) == 0 {
            self.choose(Choice::Resend(client));
        }
        self.choose(Choice::Deliver { link, pick: Pick::Oldest, keep: again });
    }
}
