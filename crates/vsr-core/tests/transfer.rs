//! State transfer (paper, section 5.2; protocol.md 5.8): what a store without room, a slow driver and
//! stale knowledge do to it.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod group;

use group::Body;
use group::lone::{Lone, chain, config, constants, headers, prepare, root};
use vsr_core::{
    Checkpoint, Checksum, Committed, Constants, Effect, Entry, Event, Fetched, Ignored, Kept, Kind,
    OpNumber, PAGE_BYTES, Served, StatusName, Stored, SuffixSlot, Timer, ViewNumber, Voters,
    Wanted,
};

const SLOTS: u32 = 20;
const CHUNK: Body = "a chunk";

/// The log that the peers of [`left_behind`] had.
fn log() -> Vec<Entry<Body>> {
    chain(&root(), 0, &["x"; 60])
}

fn checkpoint(log: &[Entry<Body>], op: u64) -> Checkpoint {
    Checkpoint { header: *log[op as usize - 1].header(), id: Checksum(u128::from(op)) }
}

/// A peer in view 0 has a checkpoint, and a log from there to `held`.
fn ping(op: u64, held: u64) -> Kind<Body> {
    let kept = Kept {
        checkpoint: OpNumber(op),
        id: Checksum(u128::from(op)),
        begins: OpNumber(op),
        held: OpNumber(held),
        ..Kept::default()
    };
    let commit = Committed { op: OpNumber::ZERO, checksum: Checksum(0) };
    let (log_view, op) = (ViewNumber::ZERO, OpNumber(held));
    Kind::Ping { log_view, op, commit, heard: Voters::default(), kept }
}

fn backup() -> Lone {
    let constants =
        Constants { checkpoint_interval: 4, pipeline: 2, log_slots: SLOTS, ..constants() };
    Lone::with(config(3, 1, constants), Stored::formatted(root()))
}

/// A backup with an empty log that hears of a checkpoint at op 20, and of a log behind it.
fn left_behind() -> Lone {
    let mut r1 = backup();
    r1.hear(0, 0, ping(20, 24));
    assert_eq!(r1.receivers("GET-CHECKPOINT"), [0]);
    r1
}

fn page(checkpoint: Checkpoint, committed_by: u64) -> Kind<Body> {
    let committed_by = ViewNumber(committed_by);
    Kind::Checkpoint { committed_by, checkpoint, length: 4, offset: 0, page: "page" }
}

fn missing(op: u64, chunks: &[Checksum]) -> Event<Body> {
    let left = chunks.len() as u32;
    let id = Checksum(u128::from(op));
    Event::Fetched(Fetched::Missing { id, chunks: chunks.to_vec(), left })
}

fn whole(op: u64) -> Event<Body> {
    Event::Fetched(Fetched::Whole { id: Checksum(u128::from(op)), sessions: Vec::new() })
}

/// Fetches the checkpoint at `op`, which has no chunk that is not here.
fn fetch(r1: &mut Lone, log: &[Entry<Body>], op: u64, committed_by: u64) {
    r1.hear(0, 0, page(checkpoint(log, op), committed_by));
    assert_eq!(r1.fetches(), ["begin"]);
    r1.step(missing(op, &[]));
    assert_eq!(r1.fetches(), ["finish"]);
    r1.step(whole(op));
}

#[test]
fn a_store_without_room_for_a_chunk_is_left_alone_for_a_while() {
    let mut r1 = left_behind();
    r1.hear(0, 0, page(checkpoint(&log(), 20), 0));
    let digest = Checksum::of(CHUNK.as_bytes());
    r1.step(missing(20, &[digest]));
    assert_eq!(r1.receivers("GET-CHUNK"), [0]);
    for setback in 0..3 {
        r1.hear(0, 0, Kind::Chunk { chunk: CHUNK });
        assert_eq!(r1.fetches(), ["put", "sync"]);
        r1.step(missing(20, &[digest]));
        assert_eq!(r1.sent(), [] as [&Kind<Body>; 0], "what came was not taken");
        let rests = Effect::Arm { timer: Timer::Transfer, attempt: setback };
        assert!(r1.effects.contains(&rests), "longer each time: {:?}", r1.effects);
        r1.timeout(Timer::Transfer);
        assert_eq!(r1.receivers("GET-CHUNK"), [0]);
    }
    r1.hear(0, 0, Kind::Chunk { chunk: CHUNK });
    r1.step(missing(20, &[]));
    assert_eq!(r1.fetches(), ["finish"]);
}

#[test]
fn a_store_without_room_to_finish_is_left_alone_for_a_while() {
    let mut r1 = left_behind();
    for _ in 0..3 {
        r1.hear(0, 0, page(checkpoint(&log(), 20), 0));
        r1.step(missing(20, &[]));
        r1.step(Event::Fetched(Fetched::Refused { id: Checksum(20) }));
        assert_eq!(r1.fetches(), [] as [&str; 0], "what is here is kept");
        r1.hear(0, 0, ping(20, 24));
        assert_eq!(r1.receivers("GET-CHECKPOINT"), [] as [u32; 0]);
        r1.timeout(Timer::Transfer);
        assert_eq!(r1.receivers("GET-CHECKPOINT"), [0]);
    }
}

/// By which view it was committed is known of what was executed here.
#[test]
fn a_checkpoint_that_was_not_installed_is_not_served() {
    let mut r1 = left_behind();
    fetch(&mut r1, &log(), 20, 0);
    let id = Checksum(20);
    r1.hear(2, 0, Kind::GetCheckpoint { id, offset: 0 });
    let wanted = r1.effects.iter().find_map(|effect| {
        let Effect::Serve { wanted, .. } = effect else { return None };
        Some(*wanted)
    });
    assert_eq!(wanted, Some(Wanted::Page { id, offset: 0 }));
    let checkpoint = checkpoint(&log(), 20);
    let served = Served::Page { checkpoint, length: 4, offset: 0, page: "page" };
    r1.step(Event::Served { to: vsr_core::ReplicaId(2), answer: served });
    assert_eq!(r1.sent(), [&Kind::NoChunk { name: id }]);
}

/// The log of the view that waits ends at op 58: behind a checkpoint at op 20 there is room up to 39. It
/// was committed by view 1, of which this replica has nothing.
#[test]
fn a_checkpoint_too_early_for_the_log_of_its_view_gives_way_to_a_later_one() {
    let log = log();
    let mut r1 = backup();
    let suffix = headers(&log[55..58]);
    r1.hear(0, 0, ping(20, 58));
    r1.hear(2, 2, Kind::StartView { commit_max: OpNumber(56), suffix, nonce: None });
    fetch(&mut r1, &log, 20, 1);
    assert!(!r1.restores(), "{:?}", r1.effects);
    // r0 still has all that lies behind the first one.
    r1.hear(2, 0, ping(44, 58));
    r1.hear(2, 0, ping(44, 58));
    assert_eq!(r1.receivers("GET-CHECKPOINT"), [2]);
    fetch(&mut r1, &log, 44, 1);
    assert!(r1.restores(), "{:?}", r1.effects);
    r1.step(Event::Restored { id: Checksum(44) });
    let summary = r1.replica.summary();
    assert_eq!(
        (summary.view, summary.commit_min, summary.op),
        (ViewNumber(2), OpNumber(44), OpNumber(58))
    );
}

/// A driver may take its time to restore: the service is in between then.
#[test]
fn what_is_being_restored_is_not_given_up() {
    let log = log();
    let mut r1 = left_behind();
    fetch(&mut r1, &log, 20, 0);
    assert!(r1.restores());
    r1.hear(0, 0, ping(44, 58));
    r1.hear(2, 0, ping(44, 58));
    assert_eq!((r1.fetches(), r1.sent()), (vec![], vec![]));
    r1.step(Event::Restored { id: Checksum(20) });
    assert_eq!(r1.replica.summary().commit_min, OpNumber(20));
    r1.step(Event::Restored { id: Checksum(20) });
    assert_eq!(r1.ignored(), [Ignored::StaleCompletion]);
}

/// The link to whoever has the latest checkpoint may be cut one way: it is heard, and hears nothing.
#[test]
fn where_the_latest_checkpoint_does_not_come_an_earlier_one_is_asked_for() {
    let mut r1 = left_behind();
    r1.hear(2, 0, ping(44, 58));
    let asked = |r1: &Lone| {
        let ids = r1.sent().into_iter().filter_map(|kind| {
            let Kind::GetCheckpoint { id, .. } = kind else { return None };
            Some(id.0)
        });
        ids.collect::<Vec<_>>()
    };
    let mut ids = Vec::new();
    for _ in 0..30 {
        r1.timeout(Timer::Transfer);
        ids.extend(asked(&r1));
        r1.hear(2, 0, ping(44, 58));
        ids.extend(asked(&r1));
    }
    ids.dedup();
    assert!(ids.len() > 3, "it asks for one and the other in turn: {ids:?}");
    assert!(ids.iter().all(|id| [20, 44].contains(id)), "{ids:?}");
}

/// r0 has trimmed what r1 lacks; r2 has it, and says whom it hears. Who is not among them asks in vain, and does not wait
/// until it has asked everybody over and over: no view lasts as long as that while nothing is committed. (Found by a
/// seed.)
#[test]
fn who_does_not_hear_this_replica_gives_it_neither_entries_nor_a_checkpoint() {
    for (heard, takes_checkpoint) in [(Voters(0b001), true), (Voters(0b011), false)] {
        let mut r1 = backup();
        let log = log();
        let commit = Committed { op: OpNumber(8), checksum: log[7].header().checksum };
        let says = |checkpoint: u64, begins: u64, whom: Voters| {
            let Kind::Ping { log_view, op, kept, .. } = ping(checkpoint, 8) else { unreachable!() };
            let kept = Kept { begins: OpNumber(begins), ..kept };
            Kind::Ping { log_view, op, commit, heard: whom, kept }
        };
        r1.hear(2, 0, says(6, 0, heard));
        assert!(!r1.receivers("GET-HEADERS").is_empty());
        r1.hear(0, 0, says(4, 4, Voters(0b110)));
        assert_eq!(r1.receivers("GET-CHECKPOINT"), []);
        r1.timeout(Timer::Repair);
        // Though r2 has a later one.
        let asked: &[u32] = if takes_checkpoint { &[0] } else { &[] };
        assert_eq!(r1.receivers("GET-CHECKPOINT"), asked, "{heard:?}");
    }
}

/// What a store had no room for comes once more while it is left alone, and is taken: the rest is over, and
/// does not outlast the checkpoint.
#[test]
fn a_rest_ends_with_what_it_waits_for() {
    let mut r1 = left_behind();
    r1.hear(0, 0, page(checkpoint(&log(), 20), 0));
    let digest = Checksum::of(CHUNK.as_bytes());
    r1.step(missing(20, &[digest]));
    r1.hear(0, 0, Kind::Chunk { chunk: CHUNK });
    r1.step(missing(20, &[digest]));
    assert_eq!(r1.sent(), [] as [&Kind<Body>; 0], "it rests");
    r1.hear(0, 0, Kind::Chunk { chunk: CHUNK });
    assert_eq!(r1.fetches(), ["put", "sync"]);
    r1.step(missing(20, &[]));
    r1.step(whole(20));
    r1.step(Event::Restored { id: Checksum(20) });
    r1.sync();
    r1.hear(0, 0, ping(44, 58));
    assert_eq!(r1.sent(), [&Kind::GetCheckpoint { id: Checksum(44), offset: 0 }]);
}

/// The superblock is about to name the one that was installed, so that it must not give way to another.
#[test]
fn no_other_checkpoint_is_fetched_before_the_installed_one_is_durable() {
    let mut r1 = left_behind();
    fetch(&mut r1, &log(), 20, 0);
    r1.step(Event::Restored { id: Checksum(20) });
    assert_eq!(r1.replica.summary().commit_min, OpNumber(20));
    r1.hear(0, 0, ping(44, 58));
    r1.hear(2, 0, ping(44, 58));
    assert_eq!(r1.sent(), [] as [&Kind<Body>; 0]);
    r1.sync();
    assert_eq!(r1.receivers("GET-CHECKPOINT").len(), 1, "{:?}", r1.effects);
}

/// The log of view 3 with a gap at ops 5 and 6, in a view that only this replica leads, where r2 is known to have a
/// checkpoint at op 5 of another log, and offers one that lies beyond what this one has room for. View 3 knew so many ops
/// to be committed.
fn with_a_gap_at_the_checkpoint(prepared_in: u64, committed: usize) -> (Lone, Checkpoint) {
    let log = chain(&root(), 3, &["x"; 7]);
    // In the own view there is but one log.
    let body = if prepared_in == 3 { "x" } else { "y" };
    let other = chain(log[3].header(), prepared_in, &[body; 20]);
    let constants =
        Constants { checkpoint_interval: 4, pipeline: 3, log_slots: SLOTS, ..constants() };
    let mut r1 = Lone::with(config(3, 1, constants), Stored::formatted(root()));
    for entry in &log[..4] {
        r1.hear(0, 3, prepare(entry, log[3].header()));
    }
    let suffix = headers(&log[..4]);
    r1.hear(0, 3, Kind::StartView { commit_max: OpNumber(4), suffix, nonce: None });
    for entry in &log[..4] {
        r1.hear(0, 3, prepare(entry, log[3].header()));
    }
    let committed = if committed == 4 { log[3].header() } else { other[0].header() };
    r1.hear(0, 3, prepare(&log[6], committed));
    r1.sync();
    r1.step(Event::Checkpointed { op: OpNumber(4), id: Some(Checksum(4)) });
    r1.sync();
    let summary = r1.replica.summary();
    assert_eq!(
        (summary.log_view, summary.commit_min, summary.op.0),
        (ViewNumber(3), OpNumber(4), 7)
    );
    let kind = offer(5, &other[16..], 24);
    r1.hear(2, 7, kind);
    r1.sync();
    assert_eq!(r1.replica.summary().status, StatusName::ViewChange);
    r1.hear(2, 7, ping(5, 24));
    assert_eq!(r1.receivers("GET-CHECKPOINT"), [2]);
    let checkpoint = Checkpoint { header: *other[0].header(), id: Checksum(5) };
    r1.hear(2, 7, page(checkpoint, 5));
    r1.step(missing(5, &[]));
    r1.step(whole(5));
    (r1, checkpoint)
}

/// The last four of a log, all held.
fn offer(log_view: u64, entries: &[Entry<Body>], op: u64) -> Kind<Body> {
    let slots = headers(&entries[entries.len() - 4..]).into_iter();
    Kind::DoViewChange {
        log_view: ViewNumber(log_view),
        op: OpNumber(op),
        commit_min: OpNumber(4),
        commit_max: OpNumber(4),
        suffix: slots
            .map(|header| SuffixSlot { header: Some(header), present: true, nack: false })
            .collect(),
    }
}

/// Whether the own log, or that of the checkpoint, is the group's is not known: it waits, and holds up nothing.
#[test]
fn a_checkpoint_that_fits_beneath_no_log_does_not_keep_a_replica_from_leading() {
    let (mut r1, _) = with_a_gap_at_the_checkpoint(2, 4);
    assert!(!r1.restores(), "{:?}", r1.effects);
    r1.hear(0, 7, offer(3, &chain(&root(), 3, &["x"; 7]), 7));
    assert_eq!(r1.replica.summary().status, StatusName::Primary);
}

/// It was prepared in the very view that the own log is of: whatever became of the name of its slot, it is part of that
/// log. (Found by seed 80622 of the simulator.)
#[test]
fn a_checkpoint_of_the_own_view_fits_beneath_a_log_that_lost_its_name() {
    let (mut r1, checkpoint) = with_a_gap_at_the_checkpoint(3, 4);
    assert!(r1.restores(), "{:?}", r1.effects);
    r1.step(Event::Restored { id: checkpoint.id });
    let summary = r1.replica.summary();
    assert_eq!((summary.commit_min, summary.op), (OpNumber(5), OpNumber(7)));
}

/// The view that the own log is of, or one before, knew its op to be committed, and what is committed is in the logs of all
/// later views. (Found by seed 212944 of the simulator.)
#[test]
fn a_checkpoint_that_the_own_log_knew_to_be_committed_fits_beneath_it() {
    let (mut r1, checkpoint) = with_a_gap_at_the_checkpoint(2, 5);
    assert!(r1.restores(), "{:?}", r1.effects);
    r1.step(Event::Restored { id: checkpoint.id });
    let summary = r1.replica.summary();
    assert_eq!((summary.commit_min, summary.op), (OpNumber(5), OpNumber(7)));
}

/// It was prepared in a later view than the own log is of, so that this log does not have it.
#[test]
fn a_checkpoint_of_a_later_view_takes_the_place_of_a_log_with_a_gap() {
    let (mut r1, checkpoint) = with_a_gap_at_the_checkpoint(4, 4);
    assert!(r1.restores(), "{:?}", r1.effects);
    r1.step(Event::Restored { id: checkpoint.id });
    let summary = r1.replica.summary();
    assert_eq!((summary.commit_min, summary.op), (OpNumber(5), OpNumber(5)));
    r1.sync();
    let offered = r1.sent().into_iter().find_map(|kind| {
        let Kind::DoViewChange { log_view, op, .. } = kind else { return None };
        Some((*log_view, *op))
    });
    assert_eq!(offered, Some((ViewNumber(3), OpNumber(5))));
}

/// A page that is not one is no news, and the next peer is asked as if nothing had come.
#[test]
fn a_malformed_page_of_a_manifest_is_ignored() {
    static LARGE: [u8; PAGE_BYTES as usize + 1] = [b'm'; PAGE_BYTES as usize + 1];
    let large: Body = std::str::from_utf8(&LARGE).unwrap();
    let good = checkpoint(&log(), 20);
    let foreign = Checkpoint { header: vsr_core::Header::root(vsr_core::ClusterId(3)), ..good };
    let mut spoilt = good;
    spoilt.header.timestamp.0 += 1;
    let pages = [
        (good, 4, ""),
        (good, LARGE.len() as u32, large),
        (good, u32::MAX, "page"),
        (good, 3, "page"),
        (foreign, 4, "page"),
        (spoilt, 4, "page"),
    ];
    for (checkpoint, length, page) in pages {
        let mut r1 = left_behind();
        let committed_by = ViewNumber::ZERO;
        r1.hear(0, 0, Kind::Checkpoint { committed_by, checkpoint, length, offset: 0, page });
        let what = (checkpoint.header.cluster, length, page.len());
        assert_eq!((r1.ignored(), r1.fetches()), (vec![Ignored::Malformed], vec![]), "{what:?}");
    }
}

/// Two peers may fetch at a time; a third one is answered when there is room again.
#[test]
fn what_is_read_for_peers_at_a_time_is_bounded() {
    let mut r1 = backup();
    let wanted = |from: u128, count: u128| Kind::GetChunk {
        wanted: (from..from + count).map(Checksum).collect(),
    };
    let served = |r1: &Lone| {
        r1.effects.iter().filter(|effect| matches!(effect, Effect::Serve { .. })).count()
    };
    for from in [0, 16] {
        r1.hear(0, 0, wanted(from, 16));
        assert_eq!(served(&r1), 16);
    }
    r1.hear(2, 0, wanted(32, 1));
    assert_eq!((served(&r1), r1.ignored()), (0, vec![Ignored::OutOfWindow]));
    let to = vsr_core::ReplicaId(0);
    for done in 0..2 {
        r1.step(Event::Served { to, answer: Served::Absent(Checksum(done)) });
    }
    r1.hear(2, 0, wanted(32, 3));
    assert_eq!(served(&r1), 2, "two are done");
    r1.hear(2, 0, wanted(0, 17));
    assert_eq!(r1.ignored(), [Ignored::Malformed]);
}
