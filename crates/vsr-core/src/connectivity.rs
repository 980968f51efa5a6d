//! Who reaches whom, as far as PINGs tell (protocol.md, section 4; ADR 26).
//!
//! 1. A PING says whom its sender heard lately. What it says counts until the third ping of one's own after it.
//! 2. Who leaves a view skips those whose primary is known to be of no use: it reaches too few, or nobody hears
//!    it, or it lacks what is in the own log no more. To enter any later view is safe; after one that came to
//!    nothing no view is skipped, so that wrong knowledge delays and never blocks.
//! 3. A primary whom too few say to hear gives way, though it hears them.

use alloc::vec::Vec;

use crate::config::{Member, Role};
use crate::effect::{Effects, Mark};
use crate::quorum::Voters;
use crate::replica::Replica;
use crate::status::Status;
use crate::types::{Body, ViewNumber};

/// What a PING said of its sender counts for so many pings of one's own when a view is chosen: with default
/// durations for 400 ms at least.
const TOLD_PINGS: u8 = 3;

/// That it heard this replica counts for longer: two of its PINGs in a row may be lost before a primary is in
/// doubt.
const HEARD_PINGS: u8 = 5;

/// Whom each member heard, as it told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Connectivity {
    told: Vec<Option<Told>>,
    /// Own pings since the start, as far as it matters: by then all who can have told.
    pings: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Told {
    heard: Voters,
    /// Own pings since.
    age: u8,
}

impl Connectivity {
    pub(crate) fn new(members: usize) -> Self {
        Self { told: alloc::vec![None; members], pings: 0 }
    }

    fn of(&self, index: usize) -> Option<Voters> {
        self.told[index].filter(|told| told.age < TOLD_PINGS).map(|told| told.heard)
    }
}

impl<B: Body> Replica<B> {
    // Step 1.

    /// Whom this replica heard lately.
    pub(crate) const fn heard_lately(&self) -> Voters {
        Voters(self.heard[0].0 | self.heard[1].0)
    }

    pub(crate) fn learn_heard(&mut self, index: usize, heard: Voters) {
        self.connectivity.told[index] = Some(Told { heard, age: 0 });
    }

    pub(crate) fn age_heard(&mut self) {
        self.connectivity.pings = (self.connectivity.pings + 1).min(HEARD_PINGS);
        for told in &mut self.connectivity.told {
            if let Some(known) = told {
                known.age += 1;
                if known.age >= HEARD_PINGS {
                    *told = None;
                }
            }
        }
    }

    /// Whether a member told lately whom it hears, and this replica is not among them.
    pub(crate) fn is_unheard_by(&self, index: usize) -> bool {
        self.connectivity.of(index).is_some_and(|heard| !heard.contains(self.index))
    }

    fn voters(&self) -> impl Iterator<Item = (usize, &Member)> {
        let members = self.config.configuration().members().iter().enumerate();
        members.filter(|(_, member)| member.role != Role::Learner)
    }

    // Step 2.

    /// Which view to go to from the present one.
    pub(crate) fn next_view(&self, effects: &mut Effects<B>) -> ViewNumber {
        let next = self.view.next();
        if matches!(self.status, Status::ViewChange(_)) || self.failed_views > 0 {
            return next;
        }
        let members = self.config.configuration().members().len() as u64;
        let mut views = (next.0..self.view.0 + members).map(ViewNumber);
        let chosen = views.find(|view| !self.is_in_vain(*view)).unwrap_or(next);
        if chosen > next {
            self.mark(Mark::PrimarySkipped, effects);
        }
        chosen
    }

    /// Whether a view's primary is known to be of no use.
    fn is_in_vain(&self, view: ViewNumber) -> bool {
        let configuration = self.config.configuration();
        let primary = configuration.primary(view);
        let Some(index) = configuration.index(primary) else { return true };
        if index == self.index {
            return !self.reaches_quorum(index, self.heard_lately());
        }
        let Some(heard) = self.connectivity.of(index) else {
            return self.is_heard_by_nobody(index);
        };
        !self.reaches_quorum(index, heard) || self.has_trimmed_beyond(index)
    }

    /// Whether so many voters as leave a view told whom they hear, this replica included, and none hears it.
    fn is_heard_by_nobody(&self, index: usize) -> bool {
        let others = self.voters().filter(|(other, _)| *other != self.index);
        let told = others.filter_map(|(other, _)| self.connectivity.of(other));
        let (mut count, mut hears) = (1, self.heard_lately().contains(index));
        for heard in told {
            count += 1;
            hears |= heard.contains(index);
        }
        count >= self.config.configuration().quorums().view_change && !hears
    }

    /// Whether it and so many others as a quorum needs hear each other; of those who told nothing that is
    /// assumed.
    fn reaches_quorum(&self, index: usize, heard: Voters) -> bool {
        let hears = |other: usize| {
            let told = match other == self.index {
                true => Some(self.heard_lately()),
                false => self.connectivity.of(other),
            };
            told.is_none_or(|told| told.contains(index))
        };
        let reached = self
            .voters()
            .filter(|(other, _)| *other == index || (heard.contains(*other) && hears(*other)));
        let quorums = self.config.configuration().quorums();
        reached.count() >= quorums.replication.max(quorums.view_change)
    }

    /// Whether the log here begins behind all that this member has: it would need a checkpoint first.
    fn has_trimmed_beyond(&self, index: usize) -> bool {
        let kept = self.checkpoints.of_members().nth(index);
        kept.is_some_and(|kept| kept.held < self.log.root().op)
    }

    // Step 3.

    /// Whether fewer than replicate an entry say that they hear this replica. Who says nothing acknowledges
    /// nothing either.
    pub(crate) fn is_heard_by_too_few(&self) -> bool {
        let hear = self.voters().filter(|(index, _)| {
            *index == self.index
                || self.connectivity.told[*index]
                    .is_some_and(|told| told.heard.contains(self.index))
        });
        self.connectivity.pings >= HEARD_PINGS
            && hear.count() < self.config.configuration().quorums().replication
    }
}
