//! Repair: what a replica lacks is fetched by identity (protocol.md, sections 2.2 and 5.2).
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod group;

use group::lone::{Lone, chain, headers, prepare, root, start_view, stored};
use vsr_core::{
    Event, Holding, Incarnation, Kind, OpNumber, StoredSlot, SuperblockState, Timer, WANTED_MAX,
};

/// D9 to D11: only the primary's PREPARE may extend the known prefix upwards. A peer's HEADERS may be
/// those of a log that was superseded.
#[test]
fn headers_of_a_superseded_log_are_never_taken_for_the_views() {
    let common = chain(&root(), 0, &["a"]);
    let old = chain(common[0].header(), 0, &["lost"]);
    let new = chain(common[0].header(), 1, &["b", "c", "d", "e"]);
    let mut r2 = Lone::new(3, 2);
    for entry in common.iter().chain(&old) {
        r2.hear(0, 0, prepare(entry, common[0].header()));
    }
    r2.sync();
    r2.hear(1, 1, start_view(&new[2..], 5));
    r2.sync();
    r2.hear(0, 0, Kind::Headers { headers: headers(&old) });
    assert_eq!(r2.replica.header(OpNumber(2)), None, "op 2 is another entry in view 1");
    assert!(!r2.applied.contains(&"lost"), "executed {:?}", r2.applied);
    r2.hear(1, 1, Kind::Headers { headers: headers(&new[..2]) });
    for entry in &new {
        r2.hear(1, 1, Kind::Entry { entry: entry.clone() });
    }
    assert_eq!(r2.applied, ["a", "b", "c", "d", "e"]);
}

/// A NACK is a hint to ask elsewhere, and every peer gets its turn whatever the others say.
#[test]
fn every_peer_is_asked_in_turn_even_if_each_says_nack() {
    let log = chain(&root(), 0, &["a"]);
    let mut r2 = Lone::new(3, 2);
    r2.hear(1, 1, start_view(&log, 0));
    let (op, checksum) = (log[0].header().op, log[0].header().checksum);
    let mut asked = r2.receivers("GET-ENTRY");
    for _ in 0..2 {
        for _ in 0..2 {
            let peer = *asked.last().unwrap();
            r2.hear(peer, 1, Kind::Nack { op, checksum });
            asked.extend(r2.receivers("GET-ENTRY"));
        }
        r2.timeout(Timer::Repair);
        asked.extend(r2.receivers("GET-ENTRY"));
    }
    assert_eq!(asked, [1, 0, 1, 0, 1]);
}

/// A record that reads well and is another entry's than the one that was reported durable: the disk
/// lost a write. It is damage, and repaired.
#[test]
fn an_entry_read_back_under_another_identity_is_repaired_from_a_peer() {
    let log = chain(&root(), 0, &["a", "b"]);
    let lost = chain(log[0].header(), 0, &["stale"]);
    let slots = log.iter().map(|entry| StoredSlot::Held(*entry.header())).collect();
    let superblock = SuperblockState {
        incarnation: Incarnation(1),
        commit_max: OpNumber(2),
        ..SuperblockState::formatted(root())
    };
    let mut r2 = Lone::recover(3, 2, stored(superblock, slots));
    let entries = vec![log[0].clone(), lost[0].clone()];
    r2.step(Event::EntriesRead { entries, faulty: Vec::new() });
    assert_eq!(r2.applied, ["a"]);
    assert_eq!(r2.replica.holding(OpNumber(2)), Holding::Faulty);
    assert_eq!(r2.receivers("GET-ENTRY"), [0]);
    r2.hear(0, 0, Kind::Entry { entry: log[1].clone() });
    assert_eq!(r2.applied, ["a", "b"]);
}

#[test]
fn a_store_that_finds_nothing_where_an_entry_was_durable_is_not_asked_for_ever() {
    let log = chain(&root(), 0, &["a"]);
    let superblock = SuperblockState {
        incarnation: Incarnation(1),
        commit_max: OpNumber(1),
        ..SuperblockState::formatted(root())
    };
    let slots = vec![StoredSlot::Held(*log[0].header())];
    let mut r2 = Lone::recover(3, 2, stored(superblock, slots));
    r2.step(Event::EntriesRead { entries: Vec::new(), faulty: Vec::new() });
    assert_eq!(r2.receivers("GET-ENTRY"), [0]);
}

/// A primary has more to do than others: who lacks much asks backups first, and little at a time, behind which
/// what is new does not wait for long. Who lacks little asks the primary, which surely has it.
#[test]
fn a_replica_that_lacks_much_asks_a_backup_for_little_at_a_time() {
    let log = chain(&root(), 0, &["a"; 100]);
    let superblock = |head: usize| SuperblockState {
        incarnation: Incarnation(1),
        headers: headers(&log[..head]),
        ..SuperblockState::formatted(root())
    };
    for (lacking, peer, asked) in [(WANTED_MAX + 1, 1, 16), (WANTED_MAX, 0, WANTED_MAX)] {
        let slots = vec![StoredSlot::Empty; lacking];
        let stored = stored(superblock(lacking), slots);
        let r2 = Lone::recover(3, 2, stored);
        assert_eq!(r2.receivers("GET-ENTRY"), [peer], "who lacks {lacking}");
        let wanted = r2.sent().into_iter().find_map(|kind| {
            let Kind::GetEntry { wanted } = kind else { return None };
            Some(wanted)
        });
        let ops: Vec<u64> = wanted.unwrap().iter().map(|(op, _)| op.0).collect();
        assert_eq!(ops, (1..=asked as u64).collect::<Vec<_>>());
    }
}
