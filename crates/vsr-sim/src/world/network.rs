//! Links and the messages on them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::world::choice::{Cut, Pick};
use crate::world::names::{Endpoint, KindName, Link, Links};
use crate::world::packet::Packet;

/// Names a message on its way by what caused it: which choice, and which of that choice's messages.
/// So it stays the same message when choices before it are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlightId {
    /// The choice that made somebody send it.
    pub cause: u64,
    /// Its place among the messages that this choice brought.
    pub ordinal: u32,
}

/// A message on its way.
#[derive(Clone, Debug)]
pub struct Flight {
    /// Its name.
    pub id: FlightId,
    /// Its kind.
    pub kind: KindName,
    /// Its content.
    pub packet: Packet,
}

/// What became of a message when it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It may be put on its link.
    Open,
    /// The link is cut, or blocks this kind.
    Lost,
    /// A story set it aside.
    Caught,
}

#[derive(Clone, Debug, Default)]
struct Blocked {
    kinds: BTreeSet<KindName>,
    all_but: Option<BTreeSet<KindName>>,
}

#[derive(Clone, Debug)]
struct Snare {
    link: Link,
    kind: Option<KindName>,
    name: String,
}

/// All links.
#[derive(Clone, Debug, Default)]
pub struct Network {
    links: BTreeMap<Link, VecDeque<Flight>>,
    cuts: BTreeSet<Link>,
    blocked: BTreeMap<Link, Blocked>,
    snares: Vec<Snare>,
    held: BTreeMap<String, (Link, Flight)>,
}

impl Network {
    /// Decides what becomes of a message that is being sent.
    pub fn admit(&mut self, link: Link, flight: &Flight) -> Sent {
        let kind = flight.kind;
        let fits = |snare: &Snare| snare.link == link && snare.kind.is_none_or(|k| k == kind);
        if let Some(index) = self.snares.iter().position(fits) {
            let snare = self.snares.remove(index);
            self.held.insert(snare.name, (link, flight.clone()));
            return Sent::Caught;
        }
        if self.is_lost(link, kind) { Sent::Lost } else { Sent::Open }
    }

    /// Whether a kind sent on a link now is lost.
    #[must_use]
    pub fn is_lost(&self, link: Link, kind: KindName) -> bool {
        self.cuts.contains(&link)
            || self.blocked.get(&link).is_some_and(|blocked| {
                blocked.kinds.contains(&kind)
                    || blocked.all_but.as_ref().is_some_and(|but| !but.contains(&kind))
            })
    }

    /// Whether a link is cut.
    #[must_use]
    pub fn is_cut(&self, link: Link) -> bool {
        self.cuts.contains(&link)
    }

    /// Puts a message on its link.
    pub fn push(&mut self, link: Link, flight: Flight) {
        self.links.entry(link).or_default().push_back(flight);
    }

    /// Puts a message at the head of its link.
    pub fn push_front(&mut self, link: Link, flight: Flight) {
        self.links.entry(link).or_default().push_front(flight);
    }

    /// Links with messages on them, in a fixed order.
    pub fn busy(&self) -> impl Iterator<Item = (Link, &VecDeque<Flight>)> {
        self.links
            .iter()
            .filter(|(_, flights)| !flights.is_empty())
            .map(|(link, flights)| (*link, flights))
    }

    /// How many messages are on a link.
    #[must_use]
    pub fn count(&self, link: Link) -> usize {
        self.links.get(&link).map_or(0, VecDeque::len)
    }

    /// Where a message is on its link, as a pick of a story.
    #[must_use]
    pub fn locate(&self, link: Link, id: FlightId) -> Option<Pick> {
        let flights = self.links.get(&link)?;
        let index = flights.iter().position(|flight| flight.id == id)?;
        if index == 0 {
            return Some(Pick::Oldest);
        }
        let kind = flights[index].kind;
        let older = flights.iter().take(index).filter(|flight| flight.kind == kind).count();
        Some(Pick::Kind { kind, nth: older as u32 + 1 })
    }

    /// The message that a pick names.
    #[must_use]
    pub fn find(&self, link: Link, pick: Pick) -> Option<&Flight> {
        let index = self.index(link, pick)?;
        self.links.get(&link)?.get(index)
    }

    /// Takes the message off its link that a pick names.
    pub fn take(&mut self, link: Link, pick: Pick) -> Option<Flight> {
        let index = self.index(link, pick)?;
        self.links.get_mut(&link)?.remove(index)
    }

    /// Takes a message off its link by its name.
    pub fn remove(&mut self, link: Link, id: FlightId) {
        if let Some(flights) = self.links.get_mut(&link) {
            // Most are lost as they are sent, and so at the end.
            if let Some(index) = flights.iter().rposition(|flight| flight.id == id) {
                flights.remove(index);
            }
        }
    }

    fn index(&self, link: Link, pick: Pick) -> Option<usize> {
        let flights = self.links.get(&link)?;
        match pick {
            Pick::Oldest => (!flights.is_empty()).then_some(0),
            Pick::Kind { kind, nth } => flights
                .iter()
                .enumerate()
                .filter(|(_, flight)| flight.kind == kind)
                .nth(nth.saturating_sub(1) as usize)
                .map(|(index, _)| index),
        }
    }

    /// Takes messages off their links: all, those of a kind, or the `nth` of a kind.
    pub fn take_all(
        &mut self,
        links: Links,
        kind: Option<KindName>,
        nth: Option<u32>,
    ) -> Vec<(Link, Flight)> {
        let mut taken = Vec::new();
        for (link, flights) in &mut self.links {
            if !links.contains(*link) {
                continue;
            }
            let mut seen = 0;
            let mut index = 0;
            while index < flights.len() {
                let fits = kind.is_none_or(|kind| flights[index].kind == kind);
                seen += u32::from(fits);
                if fits && nth.is_none_or(|nth| nth == seen) {
                    let flight = flights.remove(index).expect("the index is below the length");
                    taken.push((*link, flight));
                } else {
                    index += 1;
                }
            }
        }
        taken
    }

    /// Sets the next message of a kind on a link aside.
    pub fn set_snare(&mut self, link: Link, kind: Option<KindName>, name: String) {
        self.snares.push(Snare { link, kind, name });
    }

    /// Sets a message aside.
    pub fn hold(&mut self, name: String, link: Link, flight: Flight) {
        self.held.insert(name, (link, flight));
    }

    /// A message that was set aside.
    #[must_use]
    pub fn held(&self, name: &str) -> Option<&(Link, Flight)> {
        self.held.get(name)
    }

    /// Cuts links and returns what was on them.
    pub fn cut(&mut self, cut: &Cut, ends: &[Endpoint]) -> Vec<(Link, Flight)> {
        let mut lost = Vec::new();
        for link in pairs(ends) {
            let named = match cut {
                Cut::Links(links) => links.contains(link),
                Cut::Groups(groups) => {
                    let group = |end: Endpoint| groups.iter().position(|g| g.contains(&end));
                    match (group(link.from), group(link.to)) {
                        (Some(from), Some(to)) => from != to,
                        (_, _) => false,
                    }
                }
            };
            if named && self.cuts.insert(link) {
                lost.extend(self.take_all(link.into(), None, None));
            }
        }
        lost
    }

    /// Repairs links.
    pub fn heal(&mut self, links: Option<Links>) {
        self.cuts.retain(|link| links.is_some_and(|links| !links.contains(*link)));
    }

    /// Loses kinds on links from now on.
    pub fn block(&mut self, links: Links, but: bool, kinds: &[KindName], ends: &[Endpoint]) {
        for link in pairs(ends).filter(|link| links.contains(*link)) {
            let blocked = self.blocked.entry(link).or_default();
            if but {
                blocked.all_but = Some(kinds.iter().copied().collect());
            } else {
                blocked.kinds.extend(kinds);
            }
        }
    }

    /// Carries kinds on links again.
    pub fn unblock(&mut self, links: Links, kind: Option<KindName>) {
        for (_, blocked) in self.blocked.iter_mut().filter(|(link, _)| links.contains(**link)) {
            match kind {
                None => *blocked = Blocked::default(),
                Some(kind) => {
                    blocked.kinds.remove(&kind);
                    if let Some(but) = &mut blocked.all_but {
                        but.insert(kind);
                    }
                }
            }
        }
    }
}

/// All links among endpoints but those between clients.
fn pairs(ends: &[Endpoint]) -> impl Iterator<Item = Link> {
    ends.iter().flat_map(move |from| {
        ends.iter().filter_map(move |to| {
            let clients = matches!(from, Endpoint::Client(_)) && matches!(to, Endpoint::Client(_));
            (from != to && !clients).then_some(Link { from: *from, to: *to })
        })
    })
}
