//! S23: the value of an entry was predicted for its requests, by whom it should be, and backups that
//! acknowledge it agreed.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use vsr_core::{
    Checksum, Entry, EntryKind, Header, Implausible, Prediction, ReplicaId, Request, ViewNumber,
    digest_of_requests,
};

use crate::invariants::Checker;
use crate::service;

/// What was predicted.
#[derive(Clone, Debug, Default)]
pub(super) struct Predicted {
    by_whom: Prediction,
    /// What each replica predicted, and for which requests. No two values are alike.
    values: BTreeMap<(usize, Bytes), Checksum>,
    /// What may be part of an entry.
    usable: BTreeMap<Bytes, Usable>,
    /// Entries with values that a replica agreed to.
    agreed: BTreeSet<(usize, u128)>,
}

/// A value that may be part of an entry.
#[derive(Clone, Copy, Debug)]
struct Usable {
    /// Who made it.
    maker: usize,
    /// For which requests.
    requests: Checksum,
    /// The entry that has it.
    entry: Option<Checksum>,
}

impl Predicted {
    pub(super) fn new(by_whom: Prediction) -> Self {
        Self { by_whom, ..Self::default() }
    }
}

impl Checker {
    /// A replica's service predicts a value.
    pub(crate) fn on_predicted(
        &mut self,
        index: usize,
        requests: &[Request<Bytes>],
        value: Option<&Bytes>,
    ) {
        let Some(value) = value else { return };
        let predicted = &mut self.predicted;
        let requests = digest_of_requests(requests, None);
        let old = predicted.values.insert((index, value.clone()), requests);
        if predicted.by_whom == Prediction::Primary {
            let usable = Usable { maker: index, requests, entry: None };
            predicted.usable.insert(value.clone(), usable);
        }
        if old.is_some() {
            self.fail("S23", format!("r{index} predicts the same value again"));
        }
    }

    /// A primary's service makes one value of several.
    pub(crate) fn on_combined(
        &mut self,
        index: usize,
        requests: &[Request<Bytes>],
        given: &[(ReplicaId, Bytes)],
        value: Option<&Bytes>,
    ) {
        let needed = self.configuration.quorums().replication;
        let ascending = given.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let own = given.iter().any(|(from, _)| from.0 as usize == index);
        let requests = digest_of_requests(requests, None);
        let of_whom = |(from, value): &(ReplicaId, Bytes)| {
            self.predicted.values.get(&(from.0 as usize, value.clone())) == Some(&requests)
        };
        if given.len() != needed || !ascending || !own || !given.iter().all(of_whom) {
            self.fail("S23", format!("r{index} combines {given:?}, and should {needed} values"));
        }
        if let Some(value) = value {
            let usable = Usable { maker: index, requests, entry: None };
            self.predicted.usable.insert(value.clone(), usable);
        }
    }

    /// A replica's service judged the value of an entry.
    pub(crate) fn on_checked(
        &mut self,
        index: usize,
        header: &Header,
        verdict: Result<(), Implausible>,
    ) {
        let agreed = (index, header.checksum.0);
        match verdict {
            Ok(()) => self.predicted.agreed.insert(agreed),
            Err(_) => self.predicted.agreed.remove(&agreed),
        };
    }

    /// A primary prepares an entry in its own view.
    pub(super) fn check_value(&mut self, index: usize, entry: &Entry<Bytes>) {
        let wanted = self.predicted.by_whom != Prediction::None;
        let wants = wanted && service::wants_value(entry.requests());
        let op = entry.header().op;
        let Some(value) = entry.prediction() else {
            if wants {
                self.fail("S23", format!("r{index} prepares op {op} without a value"));
            }
            return;
        };
        let checksum = entry.header().checksum;
        let right = self.predicted.usable.get_mut(value).is_some_and(|usable| {
            usable.maker == index
                && usable.requests == digest_of_requests(entry.requests(), None)
                && *usable.entry.get_or_insert(checksum) == checksum
        });
        if !right || !wants {
            self.fail("S23", format!("r{index} prepares op {op} with a value that is not its own"));
        }
    }

    /// A backup acknowledges all up to an op. What it refused, or never judged, it may hold once that is
    /// committed, or inherited from an earlier view, or came with the memory that it had lost. Where a record was
    /// damaged it may have agreed to what it was: it does not ask again.
    pub(super) fn check_agreed(&mut self, index: usize, view: ViewNumber, op: u64) {
        let (recalled_in, recalled) = self.watched[index].recalled;
        let recalled = if recalled_in == view.0 { recalled } else { 0 };
        let unseen = self.committed().max(recalled);
        for op in unseen + 1..=op {
            let Some(checksum) = self.prepared.get(&(view.0, op)) else { continue };
            let Some(header) = self.header(*checksum) else { continue };
            let judged = header.kind == EntryKind::Predicted && header.view == view;
            let agreed = self.predicted.agreed.contains(&(index, checksum.0));
            if judged && !agreed && !self.was_damaged(index, op) {
                self.fail("S23", format!("r{index} acknowledges op {op}, and did not agree to it"));
                return;
            }
        }
    }
}
