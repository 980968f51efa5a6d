//! Normal operation and view changes, step by step (paper, sections 4.1 and 4.2).

mod group;

use group::Group;
use group::lone::{Lone, chain, prepare, root};
use vsr_core::{
    Effect, Effects, Epoch, Event, Incarnation, Kind, Message, OpNumber, ReplicaId, StatusName,
    Timer, ViewNumber, WriteKind,
};

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

/// Section 4.2: the next primary takes over with every committed entry.
#[test]
fn when_the_primary_dies_the_next_one_serves_what_was_committed() {
    let mut group = Group::new(3);
    group.settle();
    for number in 1..=5 {
        group.request(0, 1, number, "x");
        group.settle();
    }
    assert_eq!(group.reply_count(), 5);
    group.crash(0);
    group.timeout(1, Timer::PrimarySilence);
    group.timeout(2, Timer::PrimarySilence);
    group.settle();
    let summary = group.replica(1).summary();
    assert_eq!(summary.status, StatusName::Primary);
    assert_eq!(summary.view, ViewNumber(1));
    assert!(summary.ready);
    assert_eq!(summary.commit_min, OpNumber(5));
    group.replies.clear();
    group.request(1, 1, 5, "x");
    assert_eq!(group.reply_count(), 1, "a repeated request gets its stored reply");
    group.request(1, 1, 6, "y");
    group.settle();
    assert_eq!(group.reply_count(), 2);
    group.start(0);
    group.settle();
    group.timeout(1, Timer::Heartbeat);
    group.settle();
    let summary = group.replica(0).summary();
    assert_eq!((summary.view, summary.status), (ViewNumber(1), StatusName::Backup));
    assert_eq!(summary.commit_min, OpNumber(6));
    assert_eq!(group.nodes[0].applied, ["x", "x", "x", "x", "x", "y"]);
}

#[test]
fn a_group_restarted_as_a_whole_serves_all_that_was_acknowledged() {
    for count in 1..=7 {
        let mut group = Group::new(count);
        group.settle();
        for number in 1..=40 {
            group.request(0, 1, number, "x");
            group.settle();
        }
        assert_eq!(group.reply_count(), 40);
        for index in 0..count {
            group.crash(index);
        }
        group.drop_all();
        for index in 0..count {
            group.start(index);
        }
        group.settle();
        let primary = 1 % count;
        let summary = group.replica(primary).summary();
        assert_eq!((summary.view, summary.status), (ViewNumber(1), StatusName::Primary));
        assert_eq!(summary.commit_min, OpNumber(40));
        group.request(primary, 1, 41, "y");
        group.settle();
        assert_eq!(group.reply_count(), 41, "group of {count}");
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
