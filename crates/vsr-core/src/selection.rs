//! Log selection: what a new view starts with (protocol.md 5.5). Pure.
//!
//! 1. The canonical offers are those of the latest log view: their headers are the group's.
//! 2. The bound is what is certainly committed: what anyone knows to be, and all that lies deeper
//!    than the pipeline below anyone's head. Nothing up to it is cut.
//! 3. From the bound upward an op is kept if someone holds its body, cut (with all above it) if so
//!    many never held it that no replication quorum can have, and otherwise another offer is needed.

use alloc::vec::Vec;

use crate::digest::Checksum;
use crate::entry::Header;
use crate::status::Offer;
use crate::types::{OpNumber, ViewNumber};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    /// Too little is known of this op: another offer is needed.
    Wait(OpNumber),
    /// The log to start with.
    Log {
        /// Its last headers, linked, the last one its head.
        suffix: Vec<Header>,
        /// What is certainly committed.
        bound: OpNumber,
        /// Whether entries were cut.
        cut: bool,
    },
}

/// Selects from at least a view-change quorum of offers. `nack` is the nack quorum, `root` the header
/// of op 0, which no offer of a log with entries contains, and to which all may be cut.
pub(crate) fn select(offers: &[&Offer], root: &Header, pipeline: u32, nack: usize) -> Selection {
    let Some(latest) = offers.iter().map(|offer| offer.log_view).max() else {
        return Selection::Wait(OpNumber::ZERO);
    };
    let canonical: Vec<&Offer> =
        offers.iter().copied().filter(|offer| offer.log_view == latest).collect();
    let deepest = canonical.iter().map(|offer| offer.op).max().unwrap_or_default();
    let bound = bound(offers, pipeline);
    if deepest < bound {
        return Selection::Wait(bound);
    }
    let mut head = bound;
    let mut cut = false;
    while head < deepest {
        let op = head.next();
        match judge(offers, &canonical, latest, op, nack) {
            Verdict::Keep => head = op,
            Verdict::Cut => {
                cut = true;
                break;
            }
            Verdict::Wait => return Selection::Wait(op),
        }
    }
    if head == OpNumber::ZERO {
        return Selection::Log { suffix: alloc::vec![*root], bound, cut };
    }
    let suffix = linked(offers, &canonical, head, pipeline);
    if suffix.is_empty() {
        return Selection::Wait(head);
    }
    Selection::Log { suffix, bound, cut }
}

/// Everything up to here is committed, whatever the offers contain.
fn bound(offers: &[&Offer], pipeline: u32) -> OpNumber {
    let known = offers.iter().flat_map(|offer| {
        let deep = OpNumber(offer.op.0.saturating_sub(u64::from(pipeline)));
        [offer.commit_max, offer.commit_min, deep]
    });
    known.max().unwrap_or_default()
}

enum Verdict {
    Keep,
    Cut,
    Wait,
}

fn judge(
    offers: &[&Offer],
    canonical: &[&Offer],
    latest: ViewNumber,
    op: OpNumber,
    nack: usize,
) -> Verdict {
    let header = canonical_header(canonical, op);
    // Beyond the bound a gap of a canonical log lies above what its view began with: that came with
    // all its headers above what was committed then, and neither a gap beside them nor a restart
    // takes their names away. So what belongs there was prepared in that view.
    let of_latest = header.is_none_or(|header| header.view == latest);
    let never_had = |offer: &Offer| of_latest && offer.log_view < latest;
    let nacks = offers.iter().filter(|offer| never_had(offer) || nacks(offer, op, header)).count();
    if nacks >= nack {
        return Verdict::Cut;
    }
    match header {
        Some(header) if offers.iter().any(|offer| holds(offer, header)) => Verdict::Keep,
        Some(_) | None => Verdict::Wait,
    }
}

fn canonical_header<'a>(canonical: &[&'a Offer], op: OpNumber) -> Option<&'a Header> {
    canonical.iter().find_map(|offer| offer.slot(op)?.header.as_ref())
}

/// Whether the offer proves that its sender never held this entry: its log ends before, it has
/// another entry there, or it says so.
fn nacks(offer: &Offer, op: OpNumber, header: Option<&Header>) -> bool {
    if offer.op < op {
        return true;
    }
    let Some(slot) = offer.slot(op) else {
        return false;
    };
    match (&slot.header, header) {
        (Some(theirs), Some(wanted)) => theirs.checksum != wanted.checksum || slot.nack,
        (Some(_), None) | (None, _) => slot.nack,
    }
}

fn holds(offer: &Offer, header: &Header) -> bool {
    offer.slot(header.op).is_some_and(|slot| {
        slot.present && slot.header.as_ref().is_some_and(|held| held.checksum == header.checksum)
    })
}

/// The linked headers that end at `head`. Below a canonical header any offer may help: the link
/// proves that it belongs there.
fn linked(offers: &[&Offer], canonical: &[&Offer], head: OpNumber, pipeline: u32) -> Vec<Header> {
    let above = canonical_header(canonical, head.next()).map(|header| header.parent);
    let first = canonical_header(canonical, head)
        .or_else(|| above.and_then(|checksum| header_named(offers, head, checksum)));
    let Some(first) = first else {
        return Vec::new();
    };
    let mut suffix = alloc::vec![*first];
    while suffix.len() <= pipeline as usize {
        let below = suffix.last().expect("it starts with the head");
        if below.op <= OpNumber(1) {
            break;
        }
        match header_named(offers, below.op.previous(), below.parent) {
            Some(header) => suffix.push(*header),
            None => break,
        }
    }
    suffix.reverse();
    suffix
}

fn header_named<'a>(offers: &[&'a Offer], op: OpNumber, checksum: Checksum) -> Option<&'a Header> {
    let headers = offers.iter().filter_map(|offer| offer.slot(op)?.header.as_ref());
    headers.into_iter().find(|header| header.checksum == checksum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Entry, Request};
    use crate::message::SuffixSlot;
    use crate::types::{ClientId, ClusterId, Epoch, Release, Subject, Timestamp};

    fn root() -> Header {
        Header::root(ClusterId(1))
    }

    fn chain(views: &[u64]) -> Vec<Header> {
        let mut headers = alloc::vec![root()];
        for view in views {
            let request: Request<&'static str> =
                Request::Register { client: ClientId(7), subject: Subject(0) };
            let parent = headers.last().unwrap();
            let entry = Entry::prepare(
                parent,
                Epoch::ZERO,
                ViewNumber(*view),
                Release::ZERO,
                Timestamp::ZERO,
                alloc::vec![request],
            );
            headers.push(*entry.header());
        }
        headers
    }

    /// An offer of `headers`; `marks` says of each op from 1: p present, n nack, f neither, - a gap
    /// that may hide damage, x a gap in which nothing was ever held.
    fn offer(log_view: u64, headers: &[Header], marks: &str, commit: u64) -> Offer {
        let slots = headers[1..].iter().zip(marks.chars()).map(|(header, mark)| SuffixSlot {
            header: (!"-x".contains(mark)).then_some(*header),
            present: mark == 'p',
            nack: "nx".contains(mark),
        });
        Offer {
            log_view: ViewNumber(log_view),
            op: OpNumber(marks.len() as u64),
            commit_min: OpNumber(commit),
            commit_max: OpNumber(commit),
            suffix: slots.collect(),
        }
    }

    fn head(selection: &Selection) -> Option<u64> {
        match selection {
            Selection::Wait(_) => None,
            Selection::Log { suffix, .. } => Some(suffix.last().unwrap().op.0),
        }
    }

    /// Paper, section 4.2, step 3: the log of the latest normal view wins, then the longest.
    #[test]
    fn the_log_of_the_latest_normal_view_wins_over_a_longer_one() {
        let (older, later) = (chain(&[0, 0, 0]), chain(&[0, 1]));
        let (a, b) = (offer(0, &older, "ppp", 0), offer(1, &later, "pp", 0));
        let Selection::Log { suffix, .. } = select(&[&a, &b], &root(), 8, 2) else { panic!() };
        assert_eq!(suffix.last().unwrap().checksum, later[2].checksum);
    }

    #[test]
    fn an_op_that_a_nack_quorum_never_held_is_cut() {
        let log = chain(&[0, 0]);
        let (a, b, c) = (offer(0, &log, "pn", 0), offer(0, &log, "p", 0), offer(0, &log, "pp", 0));
        assert_eq!(head(&select(&[&a, &b], &root(), 8, 2)), Some(1));
        assert_eq!(head(&select(&[&b, &c], &root(), 8, 2)), Some(2), "one nack does not cut");
    }

    #[test]
    fn a_gap_is_cut_where_it_is_proven_empty_and_waited_for_where_it_may_hide_damage() {
        let log = chain(&[0, 0, 0]);
        let (empty, hidden) = (offer(0, &log, "pxp", 0), offer(0, &log, "p-p", 0));
        let short = offer(0, &log, "p", 0);
        assert_eq!(head(&select(&[&empty, &short], &root(), 8, 2)), Some(1));
        assert_eq!(select(&[&hidden, &short], &root(), 8, 2), Selection::Wait(OpNumber(2)));
        let whole = offer(0, &log, "ppp", 0);
        assert_eq!(head(&select(&[&empty, &whole], &root(), 8, 2)), Some(3));
    }

    /// Who was never normal in the latest view holds nothing that was prepared in it, whatever lies in
    /// its slot: else a gap and a leftover stop two survivors for ever.
    #[test]
    fn a_gap_of_the_latest_view_is_nacked_by_every_log_of_an_earlier_one() {
        let (older, later) = (chain(&[0, 0, 0]), chain(&[0, 1, 1]));
        let (gap, leftover) = (offer(1, &later, "pxp", 0), offer(0, &older, "ppp", 0));
        assert_eq!(head(&select(&[&gap, &leftover], &root(), 8, 2)), Some(1));
        let damaged = offer(0, &older, "pf", 0);
        assert_eq!(head(&select(&[&gap, &damaged], &root(), 8, 2)), Some(1));
        // What the latest view inherited may have been acknowledged in an earlier one.
        let inherited = (offer(1, &chain(&[0, 0]), "pf", 0), offer(0, &older, "pf", 0));
        let waits = select(&[&inherited.0, &inherited.1], &root(), 8, 2);
        assert_eq!(waits, Selection::Wait(OpNumber(2)));
    }

    /// Two logs that have nothing in common, in a group of two: neither was acknowledged by both.
    #[test]
    fn all_may_be_cut() {
        let (older, later) = (chain(&[0, 0]), chain(&[1, 1]));
        let (a, b) = (offer(0, &older, "pp", 0), offer(1, &later, "pp", 0));
        assert_eq!(head(&select(&[&a, &b], &root(), 8, 1)), Some(0));
    }

    #[test]
    fn damage_is_neither_present_nor_nacked_and_selection_waits() {
        let log = chain(&[0, 0]);
        let (a, b) = (offer(0, &log, "pf", 0), offer(0, &log, "p", 0));
        assert_eq!(select(&[&a, &b], &root(), 8, 2), Selection::Wait(OpNumber(2)));
        let c = offer(0, &log, "pp", 0);
        assert_eq!(head(&select(&[&a, &b, &c], &root(), 8, 2)), Some(2));
    }

    #[test]
    fn nothing_up_to_the_bound_is_cut() {
        let log = chain(&[0, 0, 0]);
        let (a, b) = (offer(0, &log, "pnn", 0), offer(0, &log, "p", 3));
        assert_eq!(
            head(&select(&[&a, &b], &root(), 8, 2)),
            Some(3),
            "one of them knows 3 is committed"
        );
        let (a, b) = (offer(0, &log, "pnp", 0), offer(0, &log, "p", 0));
        assert_eq!(
            head(&select(&[&a, &b], &root(), 1, 2)),
            Some(3),
            "2 lies deeper than the pipeline"
        );
    }

    #[test]
    fn a_head_below_the_bound_waits_for_another_offer() {
        let log = chain(&[0, 0]);
        let (a, b) = (offer(1, &log, "p", 0), offer(0, &log, "pp", 2));
        assert_eq!(select(&[&a, &b], &root(), 8, 2), Selection::Wait(OpNumber(2)));
    }
}
