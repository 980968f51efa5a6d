//! Reading entries back, and checking each before anybody sees it.

use bytes::{Bytes, BytesMut};
use vsr_core::{Entry, OpNumber};

use super::{Log, Place, PlaceState, area, record};
use crate::disk::File;

/// The most bytes read at once, whatever the caller allows.
const READ_BYTES_MAX: u64 = 64 << 20;

impl<F: File> Log<F> {
    /// Reads the entries from `first` to `last` as far as they are held, until about `max_bytes` of
    /// records were read, but at least one. Ops with a damaged record come back apart; ops that are
    /// not held come back not at all.
    pub(crate) fn read(
        &self,
        first: OpNumber,
        last: OpNumber,
        max_bytes: u64,
    ) -> (Vec<Entry<Bytes>>, Vec<OpNumber>) {
        let mut entries = Vec::new();
        let mut faulty = Vec::new();
        let mut budget = max_bytes.clamp(1, READ_BYTES_MAX);
        let mut op = first.max(self.index.first());
        let last = last.min(self.index.last());
        while op <= last && budget > 0 {
            let place = self.index.get(op);
            match place.state {
                PlaceState::Nowhere => op = op.next(),
                PlaceState::Faulty | PlaceState::Unreadable => {
                    faulty.push(op);
                    op = op.next();
                }
                PlaceState::Held => {
                    let (run_last, length) = self.run(op, last, budget);
                    self.read_run(op, run_last, length, &mut entries, &mut faulty);
                    budget = budget.saturating_sub(length);
                    op = run_last.next();
                }
            }
        }
        (entries, faulty)
    }

    /// Reads about `max_bytes` of records from `first` on, at least one, and names those in `faulty` that are damaged
    /// and are not known to be. Returns the op to go on with, if there is one, and how many bytes were read.
    pub(crate) fn scrub(
        &self,
        first: OpNumber,
        max_bytes: u64,
        faulty: &mut Vec<OpNumber>,
    ) -> (Option<OpNumber>, u64) {
        let last = self.index.last();
        let mut op = first.max(self.index.first());
        while op <= last && self.index.get(op).state != PlaceState::Held {
            op = op.next();
        }
        if op > last {
            return (None, 0);
        }
        let (run_last, length) = self.run(op, last, max_bytes.clamp(1, READ_BYTES_MAX));
        self.read_run(op, run_last, length, &mut Vec::new(), faulty);
        (Some(run_last.next()).filter(|next| *next <= last), length)
    }

    /// The longest run from `first` on whose records lie one behind the other, within `budget` bytes.
    fn run(&self, first: OpNumber, last: OpNumber, budget: u64) -> (OpNumber, u64) {
        let place = self.index.get(first);
        let mut end = place.position + u64::from(place.extent);
        let mut op = first;
        while op < last {
            let next = self.index.get(op.next());
            let next_end = next.position + u64::from(next.extent);
            let follows = next.state == PlaceState::Held && next.position == end;
            if !follows || next_end - place.position > budget {
                break;
            }
            op = op.next();
            end = next_end;
        }
        (op, end - place.position)
    }

    fn read_run(
        &self,
        first: OpNumber,
        last: OpNumber,
        length: u64,
        entries: &mut Vec<Entry<Bytes>>,
        faulty: &mut Vec<OpNumber>,
    ) {
        let start = self.index.get(first).position;
        let mut buffer = BytesMut::zeroed(length as usize);
        area::read(&self.file, &self.geometry, start, &mut buffer);
        let buffer = buffer.freeze();
        for op in (first.0..=last.0).map(OpNumber) {
            let place = self.index.get(op);
            let from = (place.position - start) as usize;
            let record = buffer.slice(from..from + place.extent as usize);
            match self.entry(&record, &place) {
                Some(entry) => entries.push(entry),
                None => faulty.push(op),
            }
        }
    }

    /// The entry in a record, if it is the one that belongs there and every checksum holds.
    pub(super) fn entry(&self, record: &Bytes, place: &Place) -> Option<Entry<Bytes>> {
        let head = record::check(record, &self.identity, place.position)?;
        if head.header.checksum != place.checksum {
            return None;
        }
        record::entry(&record.slice(..head.size), head.header).filter(Entry::is_intact)
    }
}
