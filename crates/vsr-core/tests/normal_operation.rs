//! Normal operation, step by step (paper, section 4.1).
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod group;

use std::collections::VecDeque;

use group::lone::{self, Lone, chain, committed, prepare, root};
use group::{Body, Group};
use vsr_core::{
    Checksum, ClientReplyKind, Committed, Constants, Effect, Effects, Entry, Epoch, Event, Header,
    Ignored, Incarnation, Kept, Kind, Message, OpNumber, ReplicaId, Request, RequestNumber,
    Session, Stored, Timer, ViewNumber, Voters, WriteKind,
};

/// Section 4.1, step 1: requests go to the primary.
#[test]
fn a_backup_takes_no_request_and_names_the_primary() {
    let mut r1 = Lone::new(3, 1);
    r1.request(1, 1, "x");
    let [Effect::Reply(reply)] = &r1.effects[1..] else { panic!("{:?}", r1.effects) };
    assert_eq!(reply.kind, ClientReplyKind::Redirect { primary: ReplicaId(0) });
    assert_eq!(r1.replica.summary().op, OpNumber(0));
}

/// Section 4.1, step 3: the primary advances op-number, appends the request, and sends PREPARE.
#[test]
fn the_primary_appends_a_request_and_prepares_it_at_once() {
    let mut r0 = Lone::new(3, 0);
    r0.request(1, 1, "x");
    let [Kind::Prepare { entry, commit }] = r0.sent()[..] else { panic!("{:?}", r0.effects) };
    assert_eq!((entry.header().op, entry.header().view), (OpNumber(1), ViewNumber(0)));
    assert_eq!(entry.header().parent, root().checksum);
    assert_eq!(*commit, committed(&root()));
    assert_eq!(r0.replica.summary().op, OpNumber(1));
}

/// Section 4.1, step 3: one PREPARE for all requests of a round, within the limit of an entry, and no
/// more entries ahead of what is committed than the pipeline.
#[test]
fn requests_of_one_round_share_an_entry_and_the_pipeline_is_bounded() {
    let constants = Constants { pipeline: 2, ..lone::constants() };
    let mut r0 = Lone::with(lone::config(3, 0, constants), Stored::formatted(root()));
    for client in 1..=9 {
        r0.request(client, 1, "x");
        r0.sync();
    }
    assert_eq!(r0.replica.summary().op, OpNumber(2), "the third entry has no room");
    let header = *r0.replica.header(OpNumber(2)).unwrap();
    r0.hear(1, 0, prepare_ok(&header));
    let [Kind::Prepare { entry, .. }, ..] = r0.sent()[..] else { panic!("{:?}", r0.effects) };
    assert_eq!(entry.requests().len(), 7, "all that waited");
}

/// Section 4.1, step 4: a backup handles PREPAREs in order, and acknowledges when it holds, durably,
/// all up to the entry.
#[test]
fn a_backup_acknowledges_an_entry_when_all_up_to_it_is_durable() {
    let log = chain(&root(), 0, &["a", "b", "c"]);
    let mut r1 = Lone::new(3, 1);
    r1.hear(0, 0, prepare(&log[0], &root()));
    assert_eq!(acknowledged(&r1), None, "not durable yet");
    r1.sync();
    assert_eq!(acknowledged(&r1), Some(1));
    r1.hear(0, 0, prepare(&log[2], &root()));
    r1.sync();
    assert_eq!(acknowledged(&r1), None, "op 2 is missing");
    r1.hear(0, 0, prepare(&log[1], &root()));
    r1.sync();
    assert_eq!(acknowledged(&r1), Some(3));
}

/// Section 4.1, step 4: the first PREPARE-OK may be lost, so that a repeated PREPARE gets another.
#[test]
fn a_repeated_prepare_is_acknowledged_again() {
    let log = chain(&root(), 0, &["a"]);
    let mut r1 = Lone::new(3, 1);
    r1.hear(0, 0, prepare(&log[0], &root()));
    r1.sync();
    r1.hear(0, 0, prepare(&log[0], &root()));
    assert_eq!(acknowledged(&r1), Some(1));
    assert!(r1.writes.is_empty(), "it is held already");
}

/// Section 4.1, step 4; D17: an entry is acknowledged by what it is, never by its op-number alone.
#[test]
fn an_acknowledgement_of_another_entry_under_the_same_op_does_not_count() {
    let mut r0 = Lone::new(3, 0);
    r0.request(1, 1, "x");
    r0.sync();
    let other = chain(&root(), 0, &["y"]);
    r0.hear(1, 0, prepare_ok(other[0].header()));
    assert_eq!(r0.ignored(), [Ignored::WrongChecksum]);
    assert_eq!(r0.replica.summary().commit_max, OpNumber(0));
}

/// Section 4.1, step 5: f PREPARE-OKs beside the own write commit an entry and all before it, each in
/// its turn; then the service executes, and the client gets its reply.
#[test]
fn the_primary_commits_what_a_quorum_holds_and_replies() {
    let mut r0 = Lone::new(5, 0);
    r0.request(1, 1, "x");
    r0.sync();
    r0.request(2, 1, "y");
    r0.sync();
    let header = *r0.replica.header(OpNumber(2)).unwrap();
    r0.hear(1, 0, prepare_ok(&header));
    r0.hear(1, 0, prepare_ok(&header));
    assert_eq!(r0.ignored(), [Ignored::Repeated], "one replica counts once");
    assert_eq!(r0.replica.summary().commit_max, OpNumber(0));
    r0.hear(2, 0, prepare_ok(&header));
    assert_eq!(r0.replica.summary().commit_max, OpNumber(2), "cumulative (D13)");
    assert_eq!(r0.applied, ["x", "y"]);
    let replies = r0.effects.iter().filter(|effect| matches!(effect, Effect::Reply(_)));
    assert_eq!(replies.count(), 2);
}

/// Section 4.1, step 5; section 5.6: the primary's own disk counts as any other.
#[test]
fn the_primary_does_not_count_its_own_entry_before_it_is_durable() {
    let mut r0 = Lone::new(3, 0);
    r0.request(1, 1, "x");
    let header = *r0.replica.header(OpNumber(1)).unwrap();
    r0.hear(1, 0, prepare_ok(&header));
    assert_eq!(r0.replica.summary().commit_max, OpNumber(0));
    r0.sync();
    assert_eq!(r0.replica.summary().commit_max, OpNumber(1));
}

/// Section 4.1, step 6: the primary tells what is committed with the next PREPARE, or by COMMIT when
/// there is none.
#[test]
fn backups_learn_of_a_commit_by_prepare_or_by_commit() {
    let mut r0 = Lone::new(3, 0);
    r0.request(1, 1, "x");
    r0.sync();
    let header = *r0.replica.header(OpNumber(1)).unwrap();
    r0.hear(1, 0, prepare_ok(&header));
    r0.timeout(Timer::Heartbeat);
    assert!(matches!(r0.sent()[..], [Kind::Commit { commit }] if *commit == committed(&header)));
    r0.request(1, 2, "y");
    assert!(
        matches!(r0.sent()[..], [Kind::Prepare { commit, .. }] if *commit == committed(&header))
    );
}

/// Section 4.1, step 7; D12 and D18: a backup executes in order what it holds of what is committed,
/// once, and answers nobody. A commit-number beyond its log, or below its own, does no harm.
#[test]
fn a_backup_executes_in_order_what_it_holds_and_answers_nobody() {
    let log = chain(&root(), 0, &["a", "b", "c"]);
    let mut r1 = Lone::new(3, 1);
    r1.hear(0, 0, prepare(&log[0], &root()));
    r1.hear(0, 0, Kind::Commit { commit: committed(log[2].header()) });
    assert_eq!(r1.applied, ["a"]);
    assert!(r1.sent().iter().any(|kind| matches!(kind, Kind::GetHeaders { .. })), "it asks");
    r1.hear(0, 0, Kind::Commit { commit: committed(log[0].header()) });
    assert_eq!(r1.replica.summary().commit_max, OpNumber(3), "it never falls");
    r1.hear(0, 0, prepare(&log[2], log[2].header()));
    assert_eq!(r1.applied, ["a"], "op 2 is missing");
    r1.hear(0, 0, prepare(&log[1], log[2].header()));
    assert_eq!(r1.applied, ["a", "b", "c"]);
    assert!(!r1.effects.iter().any(|effect| matches!(effect, Effect::Reply(_))));
    r1.hear(0, 0, prepare(&log[1], log[2].header()));
    assert_eq!(r1.applied, ["a", "b", "c"]);
}

/// SEED-S3: a PREPARE for an op that was executed long ago is nothing new.
#[test]
fn a_late_prepare_never_becomes_a_new_entry() {
    let log = chain(&root(), 0, &["a", "b"]);
    let mut r1 = Lone::new(3, 1);
    for entry in &log {
        r1.hear(0, 0, prepare(entry, entry.header()));
        r1.sync();
    }
    let other = chain(&root(), 0, &["z"]);
    r1.hear(0, 0, prepare(&other[0], &root()));
    assert_eq!(r1.ignored(), [Ignored::WrongChecksum]);
    assert_eq!((r1.replica.summary().op, r1.applied.len()), (OpNumber(2), 2));
}

/// Section 4.1: what is lost is sent again, to those who miss it.
#[test]
fn what_is_not_acknowledged_is_sent_again_to_those_who_did_not() {
    let mut r0 = Lone::new(5, 0);
    r0.request(1, 1, "x");
    r0.sync();
    let header = *r0.replica.header(OpNumber(1)).unwrap();
    r0.hear(1, 0, prepare_ok(&header));
    r0.timeout(Timer::PrepareResend);
    assert_eq!(r0.receivers("PREPARE"), [2, 3, 4]);
    let rearmed = Effect::Arm { timer: Timer::PrepareResend, attempt: 1 };
    assert!(r0.effects.contains(&rearmed), "and once more, later");
}

fn prepare_ok(header: &Header) -> Kind<group::Body> {
    Kind::PrepareOk { op: header.op, checksum: header.checksum, commit_min: OpNumber(0) }
}

fn acknowledged(lone: &Lone) -> Option<u64> {
    lone.sent().into_iter().find_map(|kind| {
        let Kind::PrepareOk { op, .. } = kind else { return None };
        Some(op.0)
    })
}

/// Section 4.1, steps 1 to 7.
#[test]
fn a_request_is_committed_by_a_quorum_and_answered_once() {
    let mut group = Group::new(3);
    group.settle();
    group.request(0, 1, 1, "x");
    assert_eq!(group.reply_count(), 0);
    assert!(matches!(group.deliver(0, 1), Some(Kind::Prepare { .. })));
    assert!(matches!(group.deliver(1, 0), Some(Kind::PrepareOk { op: OpNumber(1), .. })));
    assert_eq!(group.reply_count(), 1);
    group.settle();
    assert_eq!(group.replica(1).summary().commit_min, OpNumber(0));
    group.timeout(0, Timer::Heartbeat);
    group.settle();
    for index in 0..3 {
        assert_eq!(group.replica(index).summary().commit_min, OpNumber(1), "r{index}");
        assert_eq!(group.nodes[index].applied, ["x"]);
    }
}

/// A group of one commits by its own disk alone, and only then (etcd-io/etcd#14370's mistake).
#[test]
fn a_group_of_one_waits_for_its_disk() {
    let mut group = Group::new(1);
    group.automatic_disk = false;
    group.request(0, 1, 1, "x");
    assert_eq!(group.reply_count(), 0, "not durable yet");
    group.sync(0);
    assert_eq!(group.reply_count(), 1);
}

/// The store is promised entries in the order of their ops, whatever the order in which they came.
#[test]
fn entries_that_arrive_out_of_order_in_one_round_are_written_in_order() {
    let log = chain(&root(), 0, &["a", "b", "c"]);
    let mut r1 = Lone::new(3, 1);
    let mut effects = Effects::new();
    for index in [2, 0, 1] {
        let message = Message {
            cluster: group::CLUSTER,
            epoch: Epoch::ZERO,
            view: ViewNumber(0),
            incarnation: Incarnation(1),
            kind: prepare(&log[index], &root()),
        };
        r1.replica.step(Event::Message { from: ReplicaId(0), message }, &mut effects);
    }
    r1.replica.flush(&mut effects);
    let written = effects.as_slice().iter().find_map(|effect| {
        let Effect::Persist(write) = effect else { return None };
        let WriteKind::Append(entries) = write.kind() else { return None };
        Some(entries.clone())
    });
    assert_eq!(written.unwrap(), log);
}

/// Entries that carry a large operation each.
fn large_chain(bytes: usize, count: usize) -> Vec<Entry<Body>> {
    let body: Body = Box::leak("x".repeat(bytes).into_boxed_str());
    let digest = Checksum::of(body.as_bytes());
    let mut log = vec![];
    for number in 1..=count as u64 {
        let session = Session { slot: 0, number: OpNumber(0) };
        let number = RequestNumber(number);
        let parent = log.last().map_or_else(root, |entry: &Entry<_>| *entry.header());
        let request = Request::Operation { session, number, span: 0, digest, body };
        log.push(lone::entry(&parent, 0, vec![request]));
    }
    log
}

/// A disk that stands still does not fill the memory: what it cannot take is fetched again later.
#[test]
fn a_backup_with_a_stalled_disk_keeps_a_bounded_amount_for_it() {
    let log = large_chain(1 << 20, 200);
    let mut r1 = Lone::new(3, 1);
    for entry in &log {
        r1.hear(0, 0, prepare(entry, entry.header()));
    }
    assert_eq!(r1.ignored(), [Ignored::OutOfWindow]);
    assert!(r1.writes.len() < 100, "{} MiB", r1.writes.len());
    assert!(r1.sent().is_empty(), "it asks for nothing that it could not keep");
    r1.sync();
    assert!(r1.sent().iter().any(|kind| matches!(kind, Kind::GetEntry { .. })));
}

/// A service that is behind does not fill the memory: what it needs later is read back from the store.
#[test]
fn a_backup_with_a_slow_service_keeps_a_bounded_amount_for_it() {
    let log = large_chain(1 << 16, 1000);
    let mut r1 = Lone::new(3, 1);
    r1.automatic_apply = false;
    for entry in &log {
        r1.hear(0, 0, prepare(entry, entry.header()));
        r1.sync();
        assert_bounded(&r1);
    }
    let mut read = false;
    while r1.replica.summary().commit_min < OpNumber(1000) {
        r1.effects.clear();
        r1.apply();
        let wanted = r1.effects.iter().find_map(|effect| {
            let Effect::ReadEntries { first, last } = effect else { return None };
            Some(log[first.0 as usize - 1..last.0 as usize].to_vec())
        });
        if let Some(entries) = wanted {
            read = true;
            r1.step(Event::EntriesRead { entries, faulty: Vec::new() });
        }
    }
    assert!(read && r1.applied.len() == 1000);
}

/// A backup that lacks an early entry does not keep all that follows in memory: what is durable and
/// committed is read back when its turn comes.
#[test]
fn a_backup_that_catches_up_keeps_a_bounded_amount_in_memory() {
    const ENTRIES: u64 = 300;
    let log = large_chain(1 << 20, ENTRIES as usize);
    let mut r1 = Lone::new(3, 1);
    for entry in &log[1..] {
        r1.hear(0, 0, prepare(entry, entry.header()));
        r1.sync();
        assert_bounded(&r1);
    }
    // A peer and a store that answer whatever is asked.
    let mut waiting = VecDeque::from([message(prepare(&log[0], log[0].header()))]);
    while let Some(event) = waiting.pop_front() {
        r1.step(event);
        waiting.extend(answers(&log, &r1.effects));
        r1.effects.clear();
        r1.sync();
        waiting.extend(answers(&log, &r1.effects));
        assert_bounded(&r1);
    }
    assert_eq!(r1.applied.len() as u64, ENTRIES);
}

/// What the primary and the store answer from the whole log.
fn answers(log: &[Entry<Body>], effects: &[Effect<Body>]) -> Vec<Event<Body>> {
    let mut answers = Vec::new();
    let at = |op: OpNumber| log[op.0 as usize - 1].clone();
    for effect in effects {
        if let Effect::ReadEntries { first, last } = effect {
            let entries = (first.0..=last.0).map(|op| at(OpNumber(op))).collect();
            answers.push(Event::EntriesRead { entries, faulty: Vec::new() });
        }
        let Effect::Send { message: asked, .. } = effect else { continue };
        if let Kind::GetEntry { wanted } = &asked.kind {
            let entries = wanted.iter().map(|(op, _)| Kind::Entry { entry: at(*op) });
            answers.extend(entries.map(message));
        }
    }
    answers
}

fn message(kind: Kind<Body>) -> Event<Body> {
    let message = Message {
        cluster: group::CLUSTER,
        epoch: Epoch::ZERO,
        view: ViewNumber::ZERO,
        incarnation: Incarnation(1),
        kind,
    };
    Event::Message { from: ReplicaId(0), message }
}

fn assert_bounded(lone: &Lone) {
    for usage in lone.replica.usage() {
        assert!(usage.used <= usage.limit, "{usage:?}");
    }
}

/// Its peers' PINGs say that they hear nobody: as long as they acknowledge what it prepares, they hear it.
#[test]
fn a_primary_is_heard_by_what_is_committed() {
    let mut r0 = Lone::new(3, 0);
    let ping = || {
        let commit = Committed { op: OpNumber::ZERO, checksum: Checksum(0) };
        let (log_view, op) = (ViewNumber::ZERO, OpNumber::ZERO);
        Kind::Ping { log_view, op, commit, heard: Voters::default(), kept: Kept::default() }
    };
    let votes = |r0: &Lone| r0.sent().iter().any(|kind| kind.name() == "START-VIEW-CHANGE");
    for number in 1..=10 {
        r0.request(1, number, "x");
        r0.sync();
        let header = *r0.replica.header(OpNumber(number)).unwrap();
        r0.hear(1, 0, prepare_ok(&header));
        r0.hear(1, 0, ping());
        r0.timeout(Timer::Ping);
        r0.timeout(Timer::Abdicate);
        assert!(!votes(&r0), "{number}: {:?}", r0.effects);
    }
    r0.hear(1, 0, ping());
    r0.timeout(Timer::Abdicate);
    assert!(votes(&r0), "{:?}", r0.effects);
}

/// A proof that is made of two says nothing of what lies between them.
#[test]
fn writes_that_are_done_prove_nothing_of_one_between_them() {
    let log = chain(&root(), 0, &["a", "b", "c"]);
    let mut r1 = Lone::new(3, 1);
    for entry in &log {
        r1.hear(0, 0, prepare(entry, &root()));
    }
    assert_eq!(r1.writes.len(), 3, "each entry is written by itself");
    let done: Vec<_> = r1.writes.drain(..).map(vsr_core::Write::done).collect();
    let [first, second, third] = <[_; 3]>::try_from(done).unwrap();
    r1.step(Event::Written(first.and(third)));
    assert_eq!(acknowledged(&r1), Some(1));
    r1.step(Event::Written(second));
    assert_eq!(acknowledged(&r1), Some(3));
}

/// Section 4.1, step 3: requests that fill an entry to its last byte go in one.
#[test]
fn a_batch_takes_as_many_bytes_as_it_may_and_no_more() {
    let length = {
        let mut r0 = Lone::new(1, 0);
        r0.request(1, 1, "four");
        r0.replica.header(OpNumber(1)).unwrap().length
    };
    for (batch_bytes, counts) in [(2 * length, vec![1, 2, 1]), (2 * length - 1, vec![1, 1, 1, 1])] {
        let constants = Constants { batch_bytes, pipeline: 1, ..lone::constants() };
        let mut r0 = Lone::with(lone::config(1, 0, constants), Stored::formatted(root()));
        for client in 1..=4 {
            r0.request(client, 1, "four");
        }
        while !r0.writes.is_empty() {
            r0.sync();
        }
        let entries = (1..=r0.replica.summary().op.0).map(OpNumber);
        let found: Vec<u32> = entries.map(|op| r0.replica.header(op).unwrap().count).collect();
        assert_eq!(found, counts, "at most {batch_bytes} bytes");
    }
}

/// By entries and by bytes, whichever is nearer to the end; entries that were superseded take no room.
#[test]
fn how_full_the_log_is_is_told() {
    const LARGE: &str = "a thousand bytes, or rather a few: it is compared with itself";
    let percent = |lone: &Lone| lone.replica.summary().log_percent;
    let base = Constants { checkpoint_interval: 0, checkpoint_bytes: 0, ..lone::constants() };
    let constants = Constants { log_slots: 13, pipeline: 2, ..base };
    let mut r1 = Lone::with(lone::config(3, 1, constants), Stored::formatted(root()));
    let log = chain(&root(), 0, &["x"; 10]);
    for (held, entry) in (1..).zip(&log) {
        r1.hear(0, 0, prepare(entry, entry.header()));
        assert_eq!(
            percent(&r1),
            held * 10,
            "ten entries fill it, and a pipeline is kept in reserve"
        );
    }
    let log_bytes = 20_000;
    let constants =
        Constants { log_bytes, log_slots: 4096, batch_bytes: 100, request_bytes: 100, ..base };
    let mut r1 = Lone::with(lone::config(3, 1, constants), Stored::formatted(root()));
    let old = chain(&root(), 0, &[LARGE; 8]);
    for entry in &old {
        r1.hear(0, 0, prepare(entry, &root()));
    }
    let before = percent(&r1);
    let least = 8 * LARGE.len() as u64 * 100 / log_bytes;
    assert!(u64::from(before) >= least && before < 40, "{before}");
    let new = chain(&root(), 1, &[LARGE; 8]);
    r1.hear(2, 2, lone::start_view(&new, 0));
    assert_eq!(percent(&r1), before, "as many as before");
    let new = chain(&root(), 3, &["x"; 8]);
    r1.hear(0, 3, lone::start_view(&new, 0));
    assert!(percent(&r1) < before, "smaller ones took their place");
}

/// A backup that asks may be told whatever: an op that no log here can ever hold is not waited for.
#[test]
fn a_read_index_beyond_all_room_is_refused() {
    let mut r1 = Lone::new(3, 1);
    let (number, policy) = (RequestNumber(1), vsr_core::ReadPolicy::Linearizable);
    r1.client(9, vsr_core::ClientRequestKind::Read { number, policy, body: "get" });
    let nonce = r1.sent().into_iter().find_map(|kind| {
        let Kind::ReadProbe { nonce, .. } = kind else { return None };
        Some(*nonce)
    });
    let nonce = nonce.unwrap_or_else(|| panic!("{:?}", r1.effects));
    r1.hear(0, 0, Kind::ReadOk { nonce, index: Some(OpNumber(u64::MAX)) });
    let refused = |effect: &Effect<Body>| {
        matches!(effect, Effect::Reply(reply)
            if matches!(reply.kind, ClientReplyKind::ReadRefused { .. }))
    };
    assert!(r1.effects.iter().any(refused), "{:?}", r1.effects);
}
