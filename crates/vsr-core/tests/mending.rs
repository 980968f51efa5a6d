//! Mending: what is damaged of the own checkpoint is fetched from peers (storage.md, "Checkpoints").
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod group;

use group::Body;
use group::lone::{Lone, chain, config, constants, headers, prepare, root};
use vsr_core::{
    Checkpoint, Checksum, ClientId, Committed, Constants, Effect, Entry, Event, Fetch, Fetched,
    HaltReason, Header, Ignored, Incarnation, Kept, Kind, OpNumber, ReplicaId, RequestNumber,
    Served, SessionState, StatusName, Stored, StoredSlot, Subject, SuffixSlot, SuperblockState,
    Timer, Timestamp, ViewNumber, Voters,
};

const CHUNK: Body = "chunk";
const TAKEN_AT: u64 = 4;

fn log() -> Vec<Entry<Body>> {
    chain(&root(), 0, &["x"; 40])
}

fn own() -> Checkpoint {
    Checkpoint { header: *log()[TAKEN_AT as usize - 1].header(), id: Checksum(TAKEN_AT.into()) }
}

/// A store with a checkpoint at op 4, of which a part is damaged or not, and the log up to op 8, of which ops up to
/// 6 are known to be committed.
fn stored(is_checkpoint_damaged: bool) -> Stored<Body> {
    let log = log();
    Stored {
        superblock: SuperblockState {
            incarnation: Incarnation(1),
            commit_max: OpNumber(6),
            op: OpNumber(8),
            headers: headers(&log[7..8]),
            checkpoint: own(),
            trimmed: own().header,
            ..SuperblockState::formatted(root())
        },
        slots: log[4..8].iter().map(|entry| StoredSlot::Held(*entry.header())).collect(),
        sessions: Vec::new(),
        is_checkpoint_damaged,
    }
}

fn limits() -> Constants {
    Constants { checkpoint_interval: 4, pipeline: 2, log_slots: 20, ..constants() }
}

fn started(index: usize, is_checkpoint_damaged: bool) -> Lone {
    Lone::with(config(3, index, limits()), stored(is_checkpoint_damaged))
}

/// A peer in view 0 has a checkpoint, and the log from there to `held`.
fn ping(op: u64, held: u64) -> Kind<Body> {
    let kept = Kept {
        checkpoint: OpNumber(op),
        id: Checksum(op.into()),
        begins: OpNumber(op),
        held: OpNumber(held),
        ..Kept::default()
    };
    let commit = Committed { op: OpNumber::ZERO, checksum: Checksum(0) };
    let log_view = ViewNumber::ZERO;
    Kind::Ping { log_view, op: OpNumber(held), commit, heard: Voters::default(), kept }
}

fn digest() -> Checksum {
    Checksum::of(CHUNK.as_bytes())
}

fn missing(chunks: &[Checksum]) -> Event<Body> {
    let left = chunks.len() as u32;
    Event::Fetched(Fetched::Missing { id: own().id, chunks: chunks.to_vec(), left })
}

/// Whole again, with the session of the one client.
fn whole() -> Event<Body> {
    let session = SessionState {
        client: ClientId(1),
        subject: Subject::default(),
        number: OpNumber::ZERO,
        executed: RequestNumber(TAKEN_AT),
        last_op: OpNumber(TAKEN_AT),
        last_used: Timestamp(1),
        kept: Default::default(),
    };
    Event::Fetched(Fetched::Whole { id: own().id, sessions: vec![(0, session)] })
}

/// Reads the committed entries behind the checkpoint back, where the replica asks for them.
fn read_back(replica: &mut Lone) {
    replica.step(Event::EntriesRead { entries: log()[4..6].to_vec(), faulty: Vec::new() });
}

/// The one chunk that is damaged comes, and the checkpoint is whole again.
fn mend(replica: &mut Lone, peer: u32) {
    replica.step(missing(&[digest()]));
    assert_eq!(replica.receivers("GET-CHUNK"), [peer]);
    replica.hear(peer, 0, Kind::Chunk { chunk: CHUNK });
    assert_eq!(replica.fetches(), ["put", "sync"]);
    replica.step(missing(&[]));
    assert_eq!(replica.fetches(), ["finish"]);
    replica.step(whole());
}

#[test]
fn nothing_is_executed_before_a_damaged_checkpoint_is_mended() {
    let mut r2 = started(2, true);
    assert_eq!(r2.replica.summary().commit_min, own().op());
    assert_eq!(r2.fetches(), [] as [&str; 0], "nobody was heard yet");
    r2.hear(1, 0, ping(TAKEN_AT, 8));
    assert_eq!(r2.fetches(), ["mend"]);
    mend(&mut r2, 1);
    assert!(r2.restores(), "{:?}", r2.effects);
    assert_eq!(r2.applied, [] as [Body; 0]);
    r2.step(Event::Restored { id: own().id });
    let sessions: Vec<u32> = r2.replica.sessions().map(|(slot, _)| slot).collect();
    assert_eq!(sessions, [0], "the client-table is that of the checkpoint");
    read_back(&mut r2);
    assert_eq!((r2.applied.len(), r2.replica.summary().repaired), (2, 1));
}

#[test]
fn a_replica_without_its_state_acknowledges_but_neither_leads_nor_answers_reads() {
    let mut r1 = started(1, true);
    let log = log();
    r1.hear(0, 0, prepare(&log[8], log[6].header()));
    r1.sync();
    assert_eq!(r1.receivers("PREPARE-OK"), [0], "{:?}", r1.effects);
    let slots = headers(&log[6..9]).into_iter();
    let suffix =
        slots.map(|header| SuffixSlot { header: Some(header), present: true, nack: false });
    let offer = Kind::DoViewChange {
        log_view: ViewNumber::ZERO,
        op: OpNumber(9),
        commit_min: OpNumber(6),
        commit_max: OpNumber(6),
        suffix: suffix.collect(),
    };
    r1.hear(2, 1, offer.clone());
    r1.sync();
    r1.hear(2, 1, offer.clone());
    assert_eq!(r1.replica.summary().status, StatusName::ViewChange, "it would lead view 1");
    r1.hear(2, 1, ping(TAKEN_AT, 8));
    mend(&mut r1, 2);
    r1.step(Event::Restored { id: own().id });
    r1.hear(2, 1, offer);
    assert_eq!(r1.replica.summary().status, StatusName::Primary);
}

/// Between the last look at a chunk and the moment when the service wants it, it rots.
#[test]
fn a_state_that_is_damaged_while_it_is_restored_is_fetched_again() {
    let mut r2 = started(2, true);
    r2.hear(1, 0, ping(TAKEN_AT, 8));
    mend(&mut r2, 1);
    r2.step(Event::NotRestored { id: Checksum(9) });
    assert_eq!(r2.ignored(), [Ignored::StaleCompletion]);
    r2.step(Event::NotRestored { id: own().id });
    assert_eq!(r2.fetches(), ["mend"]);
    mend(&mut r2, 1);
    r2.step(Event::Restored { id: own().id });
    read_back(&mut r2);
    assert_eq!(r2.applied.len(), 2);
    r2.step(Event::NotRestored { id: own().id });
    assert_eq!(r2.ignored(), [Ignored::StaleCompletion]);
}

/// What it has in memory is right: it goes on, whatever its role, and the service keeps its state.
#[test]
fn a_running_replica_mends_its_checkpoint_beside_what_it_does() {
    let mut r2 = started(2, false);
    read_back(&mut r2);
    r2.step(Event::CheckpointDamaged { id: Checksum(3) });
    assert_eq!(
        r2.ignored(),
        [Ignored::StaleCompletion],
        "another checkpoint is none of its worries"
    );
    r2.hear(1, 0, ping(TAKEN_AT, 8));
    r2.step(Event::CheckpointDamaged { id: own().id });
    assert_eq!(r2.fetches(), ["mend"]);
    r2.step(Event::CheckpointDamaged { id: own().id });
    assert_eq!((r2.ignored(), r2.fetches()), (vec![Ignored::Repeated], vec![]));
    mend(&mut r2, 1);
    assert!(!r2.restores(), "{:?}", r2.effects);
    let summary = r2.replica.summary();
    assert_eq!((summary.commit_min, summary.repaired), (OpNumber(6), 1));
    r2.step(Event::CheckpointDamaged { id: own().id });
    assert_eq!(r2.fetches(), ["mend"], "it may be damaged again");
}

#[test]
fn a_primary_mends_its_checkpoint_and_stays_the_primary() {
    let constants = Constants { checkpoint_interval: 1, ..limits() };
    let mut r0 = Lone::with(config(3, 0, constants), Stored::formatted(root()));
    r0.request(1, 1, "a");
    r0.sync();
    let entry = r0.replica.header(OpNumber(1)).copied().unwrap();
    r0.hear(
        1,
        0,
        Kind::PrepareOk { op: entry.op, checksum: entry.checksum, commit_min: OpNumber(0) },
    );
    r0.step(Event::Checkpointed { op: entry.op, id: Some(Checksum(1)) });
    r0.sync();
    r0.hear(1, 0, ping(1, 1));
    r0.step(Event::CheckpointDamaged { id: Checksum(1) });
    let mends = |r0: &Lone| {
        r0.effects
            .iter()
            .filter(|effect| matches!(effect, Effect::Fetch(Fetch::Mend { .. })))
            .count()
    };
    assert_eq!(mends(&r0), 1, "{:?}", r0.effects);
    let left = 1;
    r0.step(Event::Fetched(Fetched::Missing { id: Checksum(1), chunks: vec![digest()], left }));
    assert_eq!(r0.receivers("GET-CHUNK"), [1]);
    r0.hear(1, 0, Kind::Chunk { chunk: CHUNK });
    assert_eq!(r0.fetches(), ["put", "sync"]);
    assert_eq!(r0.replica.summary().status, StatusName::Primary);
}

/// A later checkpoint of its own takes the place of the damaged one.
#[test]
fn a_later_checkpoint_ends_the_mending() {
    let mut r2 = started(2, false);
    let log = log();
    read_back(&mut r2);
    r2.hear(1, 0, ping(TAKEN_AT, 8));
    r2.step(Event::CheckpointDamaged { id: own().id });
    r2.step(missing(&[digest()]));
    r2.hear(
        0,
        0,
        Kind::Commit { commit: Committed { op: OpNumber(8), checksum: log[7].header().checksum } },
    );
    r2.step(Event::EntriesRead { entries: log[6..8].to_vec(), faulty: Vec::new() });
    assert_eq!(r2.replica.summary().commit_min, OpNumber(8));
    r2.step(Event::Checkpointed { op: OpNumber(8), id: Some(Checksum(8)) });
    assert_eq!(r2.fetches(), ["abandon"]);
    r2.sync();
    r2.hear(1, 0, Kind::Chunk { chunk: CHUNK });
    assert_eq!(r2.ignored(), [Ignored::NotAsked]);
    r2.timeout(Timer::Ping);
    assert_eq!(r2.fetches(), [] as [&str; 0], "nothing of the later one is damaged");
}

#[test]
fn where_nobody_has_what_is_damaged_a_later_checkpoint_is_taken() {
    let mut r2 = started(2, true);
    r2.hear(1, 0, ping(TAKEN_AT + 4, 10));
    assert_eq!(r2.fetches(), ["mend"], "most of the own one is here");
    r2.step(missing(&[digest()]));
    for _ in 0..10 {
        if r2.receivers("GET-CHUNK") != [1] {
            break;
        }
        r2.hear(1, 0, Kind::NoChunk { name: digest() });
    }
    r2.hear(1, 0, ping(TAKEN_AT + 4, 10));
    r2.timeout(Timer::Transfer);
    assert_eq!(r2.sent(), [&Kind::GetCheckpoint { id: Checksum(8), offset: 0 }]);
}

/// Whose manifest is damaged too does not know its chunks: others do.
#[test]
fn where_the_manifest_is_damaged_it_is_asked_for() {
    let mut r2 = started(2, true);
    r2.hear(1, 0, ping(TAKEN_AT, 8));
    r2.step(Event::Fetched(Fetched::Refused { id: own().id }));
    assert_eq!(r2.sent(), [] as [&Kind<Body>; 0], "it rests");
    r2.timeout(Timer::Transfer);
    assert_eq!(r2.sent(), [&Kind::GetCheckpoint { id: own().id, offset: 0 }]);
    let page = Kind::Checkpoint {
        committed_by: ViewNumber::ZERO,
        checkpoint: own(),
        length: 4,
        offset: 0,
        page: "page",
    };
    r2.hear(1, 0, page);
    assert_eq!(r2.fetches(), ["begin"]);
    mend(&mut r2, 1);
    assert!(r2.restores());
    r2.step(Event::Restored { id: own().id });
    assert_eq!(r2.replica.summary().commit_min, own().op());
}

/// A chunk that nobody has is not asked for without end: the replica lets time pass in between.
#[test]
fn what_nobody_has_is_asked_for_ever_more_rarely() {
    let mut r2 = started(2, false);
    r2.hear(0, 0, ping(TAKEN_AT, 8));
    r2.hear(1, 0, ping(TAKEN_AT, 8));
    r2.step(Event::CheckpointDamaged { id: own().id });
    r2.step(missing(&[digest()]));
    let mut asked = 0;
    while let [peer] = r2.receivers("GET-CHUNK")[..] {
        asked += 1;
        assert!(asked < 20, "it asks for ever");
        r2.hear(peer, 0, Kind::NoChunk { name: digest() });
    }
    assert_eq!((r2.fetches(), r2.sent()), (vec![], vec![]));
    let attempt = r2.effects.iter().find_map(|effect| {
        let Effect::Arm { timer: Timer::Transfer, attempt } = effect else { return None };
        Some(*attempt)
    });
    assert_eq!(attempt, Some(0));
    r2.timeout(Timer::Transfer);
    assert_eq!(r2.fetches(), ["mend"]);
}

/// The op at which a checkpoint is asked for.
fn checkpoint(replica: &Lone) -> Option<u64> {
    replica.effects.iter().find_map(|effect| {
        let Effect::Checkpoint { header, .. } = effect else { return None };
        Some(header.op.0)
    })
}

/// Whoever has the state in memory has all that was lost. Another checkpoint, of the very op if need be, mends its own
/// disk and serves those that lack the same.
#[test]
fn where_nobody_has_what_is_damaged_who_has_the_state_takes_another_checkpoint() {
    let mut r2 = started(2, false);
    read_back(&mut r2);
    r2.timeout(Timer::Ping);
    assert_eq!(checkpoint(&r2), None, "nothing is wrong");
    r2.hear(1, 0, ping(TAKEN_AT, 8));
    r2.step(Event::CheckpointDamaged { id: own().id });
    r2.step(missing(&[digest()]));
    r2.timeout(Timer::Ping);
    assert_eq!(checkpoint(&r2), None, "peers may have it");
    for _ in 0..10 {
        r2.hear(1, 0, Kind::NoChunk { name: digest() });
    }
    r2.timeout(Timer::Ping);
    assert_eq!(checkpoint(&r2), Some(6));
    r2.step(Event::Checkpointed { op: OpNumber(6), id: Some(Checksum(6)) });
    assert_eq!(r2.fetches(), ["abandon"]);
    assert_eq!(r2.replica.summary().repairs_pending, 0);
}

/// A peer that has to start without its state has nothing else to start from than what all others have executed and
/// have in no checkpoint.
#[test]
fn who_has_executed_all_that_a_peer_cannot_start_without_takes_a_checkpoint() {
    // The peer's checkpoint, and whether one is taken for it.
    for (op, taken) in [(TAKEN_AT, None), (6, Some(6)), (7, None)] {
        let mut r1 = started(1, false);
        read_back(&mut r1);
        r1.hear(2, 0, ping(op, 8));
        r1.hear(2, 0, Kind::GetChunk { wanted: vec![digest()] });
        r1.step(Event::Served { to: ReplicaId(2), answer: Served::Absent(digest()) });
        assert_eq!(r1.receivers("NO-CHUNK"), [2]);
        r1.timeout(Timer::Ping);
        assert_eq!(checkpoint(&r1), taken, "for one at {op}");
    }
}

/// Without its state it has nothing to take a checkpoint of.
#[test]
fn where_nobody_has_what_is_damaged_who_lacks_the_state_takes_none() {
    let mut r2 = started(2, true);
    r2.hear(1, 0, ping(TAKEN_AT, 8));
    r2.step(missing(&[digest()]));
    for _ in 0..10 {
        r2.hear(1, 0, Kind::NoChunk { name: digest() });
        r2.timeout(Timer::Ping);
        assert_eq!(checkpoint(&r2), None);
    }
}

#[test]
fn a_replica_alone_takes_another_checkpoint_for_one_that_is_damaged_while_it_runs() {
    let mut r0 = Lone::with(config(1, 0, limits()), stored(false));
    r0.step(Event::EntriesRead { entries: log()[4..8].to_vec(), faulty: Vec::new() });
    r0.sync();
    r0.step(Event::Checkpointed { op: OpNumber(8), id: Some(Checksum(8)) });
    r0.sync();
    r0.timeout(Timer::Ping);
    assert_eq!(checkpoint(&r0), None, "nothing is wrong");
    r0.step(Event::CheckpointDamaged { id: Checksum(8) });
    r0.timeout(Timer::Ping);
    assert_eq!((checkpoint(&r0), r0.halted()), (Some(8), None));
    r0.step(Event::Checkpointed { op: OpNumber(8), id: Some(Checksum(8)) });
    assert_eq!(r0.replica.summary().repairs_pending, 0);
}

#[test]
fn a_replica_alone_with_a_damaged_checkpoint_stops_and_says_so() {
    let lone = Lone::unsynced(config(1, 0, limits()), stored(true));
    assert_eq!(lone.halted(), Some(HaltReason::CheckpointDamaged(own().op())));
}

/// All members but this one have the checkpoint at op 4, and say whether they have lost their state.
fn hear_all(r2: &mut Lone, told: [bool; 2]) {
    for (peer, lost) in (0..).zip(told) {
        let Kind::Ping { log_view, op, commit, heard, kept } = ping(TAKEN_AT, 8) else {
            unreachable!("it is a PING");
        };
        let kept = Kept { lost, ..kept };
        // Nobody leads.
        r2.hear(peer, 1, Kind::Ping { log_view, op, commit, heard, kept });
    }
}

fn says_that_it_is_lost(r2: &Lone) -> bool {
    let sent = r2.sent();
    sent.iter().any(|kind| matches!(kind, Kind::Ping { kept: Kept { lost: true, .. }, .. }))
}

/// Everybody is asked, in vain, for the one chunk.
fn ask_in_vain(r2: &mut Lone) {
    r2.step(missing(&[digest()]));
    while let [peer] = r2.receivers("GET-CHUNK")[..] {
        r2.hear(peer, 1, Kind::NoChunk { name: digest() });
    }
}

/// L9: nobody will ever have the state again, and an operator has to know.
#[test]
fn where_all_started_without_their_state_and_none_can_help_all_stop() {
    // Whether the other two say that they are lost.
    for (told, halts) in [([true, true], true), ([true, false], false)] {
        let mut r2 = started(2, true);
        hear_all(&mut r2, told);
        r2.sync();
        ask_in_vain(&mut r2);
        for _ in 0..50 {
            hear_all(&mut r2, told);
            r2.timeout(Timer::Ping);
            assert!(says_that_it_is_lost(&r2), "{:?}", r2.effects);
            assert_eq!(r2.halted(), None);
        }
        r2.timeout(Timer::Ping);
        let reason = Some(HaltReason::StateLost(own().op()));
        assert_eq!(r2.halted(), reason.filter(|_| halts));
    }
}

/// However long it takes to make it whole: somebody came who had what was lacking.
#[test]
fn who_was_given_something_is_not_lost() {
    let mut r2 = started(2, true);
    hear_all(&mut r2, [true, true]);
    r2.sync();
    ask_in_vain(&mut r2);
    r2.timeout(Timer::Ping);
    assert!(says_that_it_is_lost(&r2));
    r2.timeout(Timer::Transfer);
    r2.step(missing(&[digest()]));
    r2.timeout(Timer::Ping);
    assert!(says_that_it_is_lost(&r2), "to ask again is no help yet");
    r2.hear(1, 1, Kind::Chunk { chunk: CHUNK });
    for _ in 0..60 {
        hear_all(&mut r2, [true, true]);
        r2.timeout(Timer::Ping);
        assert!(!says_that_it_is_lost(&r2));
        assert_eq!(r2.halted(), None);
    }
}

/// Who lost its manifest too cannot name a chunk: it asks for the manifest, so that who has executed all of it takes a
/// checkpoint.
#[test]
fn who_lost_its_manifest_asks_for_it_though_nobody_said_to_have_it() {
    let mut r2 = started(2, true);
    r2.hear(1, 0, ping(2, 8));
    assert_eq!(r2.fetches(), ["mend"]);
    r2.step(Event::Fetched(Fetched::Refused { id: own().id }));
    r2.timeout(Timer::Transfer);
    assert_eq!(r2.sent(), [&Kind::GetCheckpoint { id: own().id, offset: 0 }]);
    assert!(!says_that_it_is_lost(&r2));
    while r2.receivers("GET-CHECKPOINT") == [1] {
        r2.hear(1, 0, Kind::NoChunk { name: own().id });
    }
    r2.timeout(Timer::Ping);
    assert!(says_that_it_is_lost(&r2), "{:?}", r2.effects);
}

/// A record that the checkpoint covers is fetched for those who may ask for it, and nothing waits for it meanwhile.
#[test]
fn nothing_waits_for_a_damaged_record_that_the_checkpoint_covers() {
    let log = log();
    let slots: Vec<_> = log[..8].iter().map(|entry| StoredSlot::Held(*entry.header())).collect();
    let superblock = SuperblockState { trimmed: root(), ..stored(false).superblock };
    for (replicas, asked) in [(1, vec![]), (3, vec![0])] {
        let stored =
            Stored { superblock: superblock.clone(), slots: slots.clone(), ..stored(false) };
        let mut lone = Lone::with(config(replicas, replicas - 1, limits()), stored);
        lone.step(Event::Faulty { op: OpNumber(2) });
        let summary = lone.replica.summary();
        assert_eq!((lone.halted(), summary.durable), (None, OpNumber(8)), "of {replicas}");
        assert_eq!(lone.receivers("GET-ENTRY"), asked);
    }
}

/// All others let go of it, since a quorum has it in checkpoints: it is not asked for without end.
#[test]
fn a_damaged_record_that_nobody_has_any_more_is_forgotten_once_no_view_needs_it() {
    let log = log();
    let slots: Vec<_> = log[..8].iter().map(|entry| StoredSlot::Held(*entry.header())).collect();
    let superblock = SuperblockState { trimmed: root(), ..stored(false).superblock };
    for (covered, trimmed) in [(1, 0), (2, 2), (TAKEN_AT, 2)] {
        let stored =
            Stored { superblock: superblock.clone(), slots: slots.clone(), ..stored(false) };
        let mut r2 = Lone::with(config(3, 2, limits()), stored);
        read_back(&mut r2);
        r2.hear(1, 0, ping(covered, 8));
        r2.step(Event::Faulty { op: OpNumber(2) });
        r2.sync();
        for _ in 0..6 {
            r2.timeout(Timer::Repair);
            r2.sync();
            let summary = r2.replica.summary();
            assert_eq!((summary.trimmed, summary.repairs_pending), (OpNumber::ZERO, 1));
        }
        r2.timeout(Timer::Repair);
        r2.sync();
        let summary = r2.replica.summary();
        let pending = u32::from(trimmed == 0);
        assert_eq!((summary.trimmed, summary.repairs_pending), (OpNumber(trimmed), pending));
    }
}

/// Nobody else has the record; but what it brought about is in the service's state.
#[test]
fn a_replica_alone_takes_a_checkpoint_over_a_damaged_record() {
    static LARGE: [u8; 1 << 20] = [b'l'; 1 << 20];
    let large: Body = std::str::from_utf8(&LARGE).unwrap();
    let limits = Constants { checkpoint_interval: 20, log_slots: 100, ..constants() };
    let mut r0 = Lone::with(config(1, 0, limits), Stored::formatted(root()));
    for number in 1..=10 {
        r0.request(1, number, large);
        r0.sync();
    }
    assert_eq!(r0.replica.summary().commit_min, OpNumber(10));
    // No longer in memory, and in no checkpoint.
    r0.step(Event::Faulty { op: OpNumber(1) });
    let summary = r0.replica.summary();
    assert_eq!((summary.halted, summary.durable), (None, OpNumber(10)), "it goes on");
    r0.timeout(Timer::Ping);
    assert_eq!(checkpoint(&r0), Some(10));
}

/// Others may wait for what this replica alone has executed, and can give to nobody as an entry.
#[test]
fn a_checkpoint_is_taken_over_an_executed_record_that_nobody_gives() {
    static LARGE: [u8; 1 << 20] = [b'l'; 1 << 20];
    let large: Body = std::str::from_utf8(&LARGE).unwrap();
    let limits = Constants { checkpoint_interval: 20, log_slots: 100, ..constants() };
    let mut r0 = Lone::with(config(3, 0, limits), Stored::formatted(root()));
    for number in 1..=10 {
        r0.request(1, number, large);
        let prepared = r0.sent().into_iter().find_map(|kind| {
            let Kind::Prepare { entry, .. } = kind else { return None };
            Some(*entry.header())
        });
        let Header { op, checksum, .. } = prepared.unwrap();
        r0.sync();
        r0.hear(1, 0, Kind::PrepareOk { op, checksum, commit_min: OpNumber::ZERO });
    }
    assert_eq!(r0.replica.summary().commit_min, OpNumber(10));
    r0.step(Event::Faulty { op: OpNumber(1) });
    assert_eq!(r0.receivers("GET-ENTRY"), [1]);
    let asked = (1..=20).find(|_| {
        r0.timeout(Timer::Repair);
        r0.timeout(Timer::Ping);
        checkpoint(&r0).is_some()
    });
    assert!(asked.is_some_and(|rounds| rounds > 2), "first all others are asked: {asked:?}");
    assert_eq!(checkpoint(&r0), Some(10));
}

#[test]
fn a_replica_alone_halts_over_a_record_that_it_has_not_executed() {
    let mut r0 = Lone::with(config(1, 0, limits()), stored(false));
    let log = log();
    let read = r0.effects.iter().find_map(|effect| {
        let Effect::ReadEntries { first, last } = effect else { return None };
        Some((*first, *last))
    });
    assert_eq!(read, Some((OpNumber(5), OpNumber(8))), "{:?}", r0.effects);
    r0.step(Event::EntriesRead { entries: log[4..6].to_vec(), faulty: vec![OpNumber(7)] });
    assert_eq!(r0.halted(), Some(HaltReason::Damaged(OpNumber(7))), "it was not executed");
}

/// To be sure that nobody has it takes asking all; to have it again takes a later checkpoint. A fetch of that is not
/// thrown away for another try.
#[test]
fn once_mending_was_in_vain_other_checkpoints_come_first() {
    let mut r2 = started(2, true);
    r2.hear(1, 0, ping(TAKEN_AT + 4, 10));
    r2.step(missing(&[digest()]));
    while r2.receivers("GET-CHUNK") == [1] {
        r2.hear(1, 0, Kind::NoChunk { name: digest() });
    }
    for _ in 0..20 {
        r2.hear(1, 0, ping(TAKEN_AT + 4, 10));
        r2.timeout(Timer::Transfer);
        assert_eq!(r2.fetches(), [] as [&str; 0], "{:?}", r2.effects);
    }
}

/// What is found while the rest is read is not forgotten.
#[test]
fn what_is_found_damaged_while_the_rest_is_mended_is_mended_next() {
    let mut r2 = started(2, false);
    read_back(&mut r2);
    r2.hear(1, 0, ping(TAKEN_AT, 8));
    r2.step(Event::CheckpointDamaged { id: own().id });
    r2.step(missing(&[digest()]));
    r2.hear(1, 0, Kind::Chunk { chunk: CHUNK });
    r2.step(missing(&[]));
    r2.step(Event::CheckpointDamaged { id: own().id });
    r2.step(whole());
    assert_eq!(r2.fetches(), ["mend"]);
    mend(&mut r2, 1);
    assert_eq!(r2.fetches(), [] as [&str; 0]);
    assert_eq!(r2.replica.summary().repaired, 2);
}
