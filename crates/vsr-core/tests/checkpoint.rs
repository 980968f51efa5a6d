//! Checkpoints and trimming (paper, section 5.1; protocol.md 5.8).
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod group;

use group::Body;
use group::lone::{Lone, chain, committed, config, constants, entry, operation, prepare, root};
use vsr_core::{
    Checkpoint, Checksum, ClientId, Committed, Constants, Effect, Entry, Event, HaltReason, Header,
    Holding, Ignored, Kept, KeptOperation, KeptReply, Kind, OpNumber, SessionState, Stored,
    StoredSlot, SuperblockState, Timer, Timestamp, ViewNumber, Voters, WriteKind,
};

const INTERVAL: u32 = 4;

fn small() -> Constants {
    Constants { checkpoint_interval: INTERVAL, pipeline: 2, log_slots: 20, ..constants() }
}

fn started(count: usize, index: usize) -> Lone {
    Lone::with(config(count, index, small()), Stored::formatted(root()))
}

/// A backup that holds and has executed a chain of entries.
fn backup(entries: &[Entry<Body>]) -> Lone {
    let mut r1 = started(3, 1);
    feed(&mut r1, entries);
    r1
}

fn feed(r1: &mut Lone, entries: &[Entry<Body>]) {
    for entry in entries {
        r1.hear(0, 0, prepare(entry, entry.header()));
        r1.sync();
    }
}

fn words(first: u64, last: u64) -> Vec<Body> {
    (first..=last).map(|n| -> Body { Box::leak(n.to_string().into_boxed_str()) }).collect()
}

type Sessions = Vec<(u32, SessionState<Body>)>;

fn checkpoint_of(effects: &[Effect<Body>]) -> Option<(Header, Sessions)> {
    effects.iter().find_map(|effect| {
        let Effect::Checkpoint { header, sessions } = effect else { return None };
        Some((*header, sessions.clone()))
    })
}

fn superblock_of(effects: &[Effect<Body>]) -> Option<SuperblockState> {
    effects.iter().rev().find_map(|effect| {
        let Effect::Persist(write) = effect else { return None };
        let WriteKind::Superblock(state) = write.kind() else { return None };
        Some((**state).clone())
    })
}

fn ping(kept: Kept) -> Kind<Body> {
    let (log_view, op) = (ViewNumber::ZERO, OpNumber::ZERO);
    let commit = Committed { op, checksum: Checksum(0) };
    Kind::Ping { log_view, op, commit, heard: Voters::default(), kept }
}

fn kept(checkpoint: u64, id: u128, trimmed: u64) -> Kept {
    Kept {
        checkpoint: OpNumber(checkpoint),
        id: Checksum(id),
        trimmed: OpNumber(trimmed),
        covered: OpNumber::ZERO,
        ..Kept::default()
    }
}

fn checkpointed(op: u64, id: u128) -> Event<Body> {
    Event::Checkpointed { op: OpNumber(op), id: Some(Checksum(id)) }
}

/// A checkpoint has the client-table of its op, replies included, and nothing later.
#[test]
fn a_checkpoint_is_taken_between_its_op_and_the_next_one() {
    let log = chain(&root(), 0, &words(1, 6));
    let mut r1 = started(3, 1);
    r1.automatic_apply = false;
    feed(&mut r1, &log);
    assert_eq!(r1.applies.len(), 4, "what lies behind the checkpoint waits for it");
    for _ in 0..3 {
        r1.effects.clear();
        r1.apply();
        assert_eq!(checkpoint_of(&r1.effects), None);
    }
    r1.effects.clear();
    r1.apply();
    let (header, sessions) = checkpoint_of(&r1.effects).unwrap();
    assert_eq!(header, *log[3].header());
    let (slot, state) = &sessions[0];
    assert_eq!((*slot, state.executed.0, &state.kept[0].reply), (0, 4, &KeptReply::Reply("4")));
    let order: Vec<bool> = r1
        .effects
        .iter()
        .filter(|e| matches!(e, Effect::Apply { .. } | Effect::Checkpoint { .. }))
        .map(|e| matches!(e, Effect::Checkpoint { .. }))
        .collect();
    assert_eq!(order, [true, false, false], "the service is frozen before it goes on");
}

/// A checkpoint that is still being made lets the next one be left out, never the service wait.
#[test]
fn a_slow_checkpoint_holds_up_nothing() {
    let log = chain(&root(), 0, &words(1, 12));
    let mut r1 = backup(&log);
    assert_eq!(r1.applied.len(), 12);
    r1.step(checkpointed(8, 1));
    assert_eq!(r1.ignored(), [Ignored::StaleCompletion], "nobody asked for that one");
    r1.step(checkpointed(4, 1));
    assert_eq!(superblock_of(&r1.effects).unwrap().checkpoint.op(), OpNumber(4));
    let more = chain(log[11].header(), 0, &words(13, 16));
    for entry in &more {
        r1.hear(0, 0, prepare(entry, entry.header()));
    }
    assert_eq!(checkpoint_of(&r1.effects).unwrap().0.op, OpNumber(16));
}

/// The checkpoint counts when the superblock that names it is durable, and the log is trimmed when every
/// member has one.
#[test]
fn the_log_forgets_what_every_member_has_in_a_durable_checkpoint() {
    let log = chain(&root(), 0, &words(1, 9));
    let mut r1 = backup(&log);
    r1.step(checkpointed(4, 1));
    r1.hear(0, 0, ping(kept(8, 9, 0)));
    r1.hear(2, 0, ping(kept(4, 1, 0)));
    assert_eq!(r1.replica.summary().trimmed, OpNumber(0), "the superblock is not durable");
    r1.sync();
    let summary = r1.replica.summary();
    assert_eq!((summary.checkpoint, summary.trimmed), (OpNumber(4), OpNumber(4)));
    assert_eq!((summary.op, summary.durable), (OpNumber(9), OpNumber(9)));
    let state = superblock_of(&r1.effects).unwrap();
    assert_eq!(state.trimmed, *log[3].header());
    assert_eq!(r1.replica.header(OpNumber(3)), None);
    assert_eq!(r1.replica.header(OpNumber(4)), Some(log[3].header()));
    // What is left links on, and goes on.
    feed(&mut r1, &chain(log[8].header(), 0, &words(10, 11)));
    assert_eq!(r1.applied.len(), 11);
}

#[test]
fn a_member_without_a_checkpoint_keeps_the_log_until_somebody_has_trimmed() {
    let log = chain(&root(), 0, &words(1, 9));
    let mut r1 = backup(&log);
    r1.step(checkpointed(4, 1));
    r1.sync();
    r1.hear(0, 0, ping(kept(4, 1, 0)));
    assert_eq!(r1.replica.summary().trimmed, OpNumber(0), "r2 may need all of it");
    // Whoever trims knows that everybody has a checkpoint of it.
    r1.hear(0, 0, ping(kept(4, 1, 4)));
    assert_eq!(r1.replica.summary().trimmed, OpNumber(4));
}

/// Two states after the same op: one of them is wrong, and nobody knows which.
#[test]
fn a_peer_with_another_checkpoint_at_the_same_op_is_proof_of_a_fault() {
    let mut r1 = backup(&chain(&root(), 0, &words(1, 5)));
    r1.step(checkpointed(4, 1));
    r1.sync();
    r1.hear(2, 0, ping(kept(4, 2, 0)));
    assert_eq!(r1.halted(), Some(HaltReason::CheckpointDiverged(OpNumber(4))));
}

fn stored(log: &[Entry<Body>], trimmed: usize, checkpoint: usize) -> Stored<Body> {
    let header = |op: usize| op.checked_sub(1).map_or_else(root, |at| *log[at].header());
    let head = *log.last().unwrap().header();
    let session = SessionState {
        client: ClientId(1),
        subject: Default::default(),
        number: OpNumber::ZERO,
        executed: vsr_core::RequestNumber(checkpoint as u64),
        last_op: OpNumber(checkpoint as u64),
        last_used: vsr_core::Timestamp(1),
        kept: [KeptOperation { op: OpNumber(checkpoint as u64), reply: KeptReply::Reply("kept") }]
            .into(),
    };
    Stored {
        superblock: SuperblockState {
            incarnation: vsr_core::Incarnation(1),
            commit_max: OpNumber(checkpoint as u64),
            op: head.op,
            headers: log[log.len() - 1..].iter().map(|entry| *entry.header()).collect(),
            checkpoint: Checkpoint { header: header(checkpoint), id: Checksum(1) },
            trimmed: header(trimmed),
            ..SuperblockState::formatted(root())
        },
        slots: log[trimmed..].iter().map(|entry| StoredSlot::Held(*entry.header())).collect(),
        sessions: vec![(0, session)],
        is_checkpoint_damaged: false,
    }
}

/// After a restart only what lies behind the checkpoint is executed again, and the client-table goes on.
#[test]
fn a_restart_goes_on_from_the_checkpoint() {
    let log = chain(&root(), 0, &words(1, 10));
    let mut r1 = Lone::with(config(3, 1, small()), stored(&log, 4, 8));
    let summary = r1.replica.summary();
    assert_eq!(
        (summary.commit_min, summary.op, summary.durable),
        (OpNumber(8), OpNumber(10), OpNumber(10))
    );
    assert_eq!((summary.checkpoint, summary.trimmed), (OpNumber(8), OpNumber(4)));
    r1.hear(0, 0, Kind::Commit { commit: committed(log[9].header()) });
    let read = r1
        .effects
        .iter()
        .any(|e| matches!(e, Effect::ReadEntries { first, last } if (first.0, last.0) == (9, 10)));
    assert!(read, "{:?}", r1.effects);
    r1.step(Event::EntriesRead { entries: log[8..].to_vec(), faulty: Vec::new() });
    assert_eq!(r1.applied, ["9", "10"]);
    // A second copy of what the checkpoint has is skipped.
    let again = entry(log[9].header(), 0, vec![operation(1, 8, "8"), operation(1, 11, "11")]);
    feed(&mut r1, &[again]);
    assert_eq!(r1.applied, ["9", "10", "11"]);
}

/// What the checkpoint has need not be in the log: damage there is nobody's business any more.
#[test]
fn damage_before_the_checkpoint_is_forgotten() {
    let log = chain(&root(), 0, &words(1, 10));
    for damaged in [StoredSlot::Unreadable, StoredSlot::Faulty(*log[5].header()), StoredSlot::Empty]
    {
        let mut stored = stored(&log, 4, 8);
        stored.slots[1] = damaged;
        for (count, index) in [(3, 1), (1, 0)] {
            let r = Lone::with(config(count, index, small()), stored.clone());
            assert_eq!(r.halted(), None);
            assert_eq!(r.replica.summary().trimmed, OpNumber(8));
            assert_eq!(r.replica.holding(OpNumber(9)), Holding::Durable);
        }
    }
}

/// A trimmed log is offered as far as it goes back, and a view can start with it.
#[test]
fn a_view_changes_over_trimmed_logs() {
    let log = chain(&root(), 0, &words(1, 8));
    // All of the log is in the checkpoint.
    let mut stored = stored(&log, 8, 8);
    stored.superblock.headers = vec![*log[7].header()];
    let mut r1 = Lone::with(config(3, 1, small()), stored);
    r1.timeout(Timer::PrimarySilence);
    r1.hear(2, 0, Kind::StartViewChange { log_view: ViewNumber(0) });
    r1.sync();
    let suffix =
        vec![vsr_core::SuffixSlot { header: Some(*log[7].header()), present: true, nack: false }];
    let op = OpNumber(8);
    r1.hear(
        2,
        1,
        Kind::DoViewChange { log_view: ViewNumber(0), op, commit_min: op, commit_max: op, suffix },
    );
    r1.sync();
    let summary = r1.replica.summary();
    assert!(summary.ready, "{summary:?}");
    assert_eq!((summary.view, summary.op, summary.commit_max), (ViewNumber(1), op, op));
    r1.request(1, 9, "9");
    assert!(
        r1.sent()
            .iter()
            .any(|kind| matches!(kind, Kind::Prepare { entry, .. } if entry.header().op.0 == 9))
    );
}

/// A primary takes requests again when the log was trimmed.
#[test]
fn a_full_log_takes_requests_again_when_it_is_trimmed() {
    let mut r0 = started(1, 0);
    for number in 1..=60 {
        r0.request(1, number, "x");
        r0.sync();
        if let Some((header, _)) = checkpoint_of(&r0.effects) {
            r0.step(checkpointed(header.op.0, 1));
            r0.sync();
        }
    }
    let summary = r0.replica.summary();
    assert_eq!(r0.applied.len(), 60);
    assert_eq!((summary.op, summary.trimmed), (OpNumber(60), OpNumber(60)));
}

/// What one log lost by a fault others may need: only what every member has is told to be superfluous.
#[test]
fn a_log_that_begins_later_for_a_fault_does_not_make_others_forget() {
    let log = chain(&root(), 0, &words(1, 10));
    let mut stored = stored(&log, 0, 8);
    stored.slots[2] = StoredSlot::Unreadable;
    let r1 = Lone::with(config(3, 1, small()), stored);
    assert_eq!(r1.replica.summary().trimmed, OpNumber(8));
    let told = r1.sent().into_iter().find_map(|kind| {
        let Kind::Ping { kept, .. } = kind else { return None };
        Some(*kept)
    });
    let told = told.unwrap();
    assert_eq!((told.checkpoint, told.begins), (OpNumber(8), OpNumber(8)));
    assert_eq!((told.trimmed, told.covered), (OpNumber(0), OpNumber(0)));
}

/// Large entries fill the log long before an interval is over.
#[test]
fn a_checkpoint_is_also_due_by_bytes() {
    let large: Body = Box::leak("x".repeat(4096).into_boxed_str());
    let constants = Constants {
        checkpoint_interval: 1000,
        log_slots: 4000,
        batch_bytes: 4096,
        request_bytes: 4096,
        log_bytes: 64 * 1024,
        ..constants()
    };
    let mut r0 = Lone::with(config(1, 0, constants), Stored::formatted(root()));
    for number in 1..=100 {
        r0.request(1, number, large);
        r0.sync();
        if let Some((header, _)) = checkpoint_of(&r0.effects) {
            r0.step(checkpointed(header.op.0, 1));
            r0.sync();
        }
    }
    assert_eq!(r0.applied.len(), 100, "the log was full: {:?}", r0.replica.summary());
}

/// Where the disk had no room for a checkpoint and the log is full meanwhile, no op comes at which the next
/// one would be due.
#[test]
fn a_checkpoint_that_was_given_up_is_asked_for_again() {
    let mut r1 = backup(&chain(&root(), 0, &words(1, 5)));
    r1.step(Event::Checkpointed { op: OpNumber(4), id: None });
    let asked = (1..=100).find(|_| {
        r1.timeout(Timer::Ping);
        checkpoint_of(&r1.effects).is_some()
    });
    assert!(asked.is_some_and(|pings| pings > 10), "{asked:?}");
    assert_eq!(checkpoint_of(&r1.effects).unwrap().0.op, OpNumber(5));
    r1.step(checkpointed(5, 1));
    r1.sync();
    assert_eq!(r1.replica.summary().checkpoint, OpNumber(5));
}

/// Who lacks the same entries, and is told that they are in this log, would ask for them without end.
#[test]
fn a_log_that_lacks_what_its_checkpoint_covers_begins_behind_that() {
    let log = chain(&root(), 0, &words(1, 10));
    let mut r1 = Lone::with(config(3, 1, small()), stored(&log, 4, 8));
    for (damaged, begins) in [(9, 4), (5, 5), (7, 7), (6, 7), (8, 8)] {
        r1.step(Event::Faulty { op: OpNumber(damaged) });
        r1.timeout(Timer::Ping);
        let kept = r1.sent().into_iter().find_map(|kind| {
            let Kind::Ping { kept, .. } = kind else { return None };
            Some(*kept)
        });
        let (told, held) = kept.map(|kept| (kept.begins.0, kept.held.0)).unwrap();
        assert_eq!((told, held), (begins, 8), "op {damaged} is damaged");
    }
}

/// A replica that has halted stays halted, whatever else the message says.
#[test]
fn a_divergent_checkpoint_in_a_ping_of_a_later_view_halts() {
    let mut r1 = backup(&chain(&root(), 0, &words(1, 5)));
    r1.step(checkpointed(4, 1));
    r1.sync();
    r1.hear(2, 3, ping(kept(4, 2, 0)));
    assert_eq!(r1.halted(), Some(HaltReason::CheckpointDiverged(OpNumber(4))));
}

/// Feeds entries to a backup and says after which of them it took checkpoints.
fn taken_after(constants: Constants, entries: &[Entry<Body>]) -> Vec<u64> {
    let mut r1 = Lone::with(config(3, 1, constants), Stored::formatted(root()));
    let mut taken = Vec::new();
    for entry in entries {
        r1.hear(0, 0, prepare(entry, entry.header()));
        let asked = checkpoint_of(&r1.effects);
        r1.sync();
        if let Some((header, _)) = asked.or_else(|| checkpoint_of(&r1.effects)) {
            taken.push(header.op.0);
            r1.step(checkpointed(header.op.0, 1));
        }
    }
    taken
}

/// Where nothing else is asked for, a checkpoint follows so many bytes of entries: each of these takes 169.
#[test]
fn checkpoints_by_bytes_follow_what_was_executed() {
    let constants = Constants { checkpoint_interval: 0, checkpoint_bytes: 3 * 169, ..small() };
    assert_eq!(taken_after(constants, &chain(&root(), 0, &["a"; 10])), [3, 6, 9]);
}

/// Every replica takes it after the same entry, whenever that reaches it: the entries' timestamps decide.
#[test]
fn checkpoints_by_time_follow_the_first_entry_of_a_period() {
    let millis = |millis: u64| Timestamp(millis * 1_000_000);
    let constants = Constants { checkpoint_interval: 0, checkpoint_time: millis(10).0, ..small() };
    let mut entries: Vec<Entry<Body>> = Vec::new();
    for (op, at) in (1..).zip([1005, 1007, 1012, 1013, 1019, 1020, 1099]) {
        let parent = entries.last().map_or_else(root, |entry| *entry.header());
        let requests = vec![operation(1, op, "x")];
        let (epoch, view) = (vsr_core::Epoch::ZERO, ViewNumber::ZERO);
        let release = vsr_core::Release::ZERO;
        entries.push(Entry::prepare(&parent, epoch, view, release, millis(at), requests));
    }
    assert_eq!(taken_after(constants, &entries), [3, 6, 7], "the very first begins no period");
}

/// Many small entries fill the log before a period is over.
#[test]
fn a_checkpoint_by_time_is_also_due_where_the_log_fills() {
    let constants = Constants { checkpoint_interval: 0, checkpoint_time: u64::MAX, ..small() };
    let entries = chain(&root(), 0, &words(1, 11));
    assert_eq!(taken_after(constants, &entries), [5, 10], "a quarter of 20 slots");
}

/// A peer may be some checkpoints behind: it is compared with what this replica had then.
#[test]
fn a_peer_that_differed_four_checkpoints_ago_is_found_out() {
    let log = chain(&root(), 0, &["x"; 4 * INTERVAL as usize]);
    let mut r1 = started(3, 1);
    for part in log.chunks(INTERVAL as usize) {
        feed(&mut r1, part);
        let op = part[part.len() - 1].header().op;
        r1.step(Event::Checkpointed { op, id: Some(Checksum(op.0.into())) });
        r1.sync();
    }
    let first = OpNumber(INTERVAL.into());
    r1.hear(2, 0, ping(Kept { checkpoint: first, id: Checksum(99), ..Kept::default() }));
    assert_eq!(r1.halted(), Some(HaltReason::CheckpointDiverged(first)));
}
