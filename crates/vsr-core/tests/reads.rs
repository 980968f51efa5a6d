//! Reads without an entry in the log (paper, section 6.3; protocol.md 5.9).
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod group;

use group::{Body, CLUSTER, Group};
use vsr_core::{
    ClientId, ClientReplyKind, ClientRequest, ClientRequestKind, Event, Kind, Moment, OpNumber,
    ReadPolicy, ReadRefusal, RequestNumber, Subject, Timer, Timestamp, ViewNumber,
};

fn read(group: &mut Group, at: usize, number: u64, policy: ReadPolicy) {
    read_at(group, at, number, policy, Moment::ZERO);
}

fn read_at(group: &mut Group, at: usize, number: u64, policy: ReadPolicy, now: Moment) {
    let body: Body = "get";
    let request = ClientRequest {
        cluster: CLUSTER,
        client: ClientId(9),
        view: ViewNumber::ZERO,
        kind: ClientRequestKind::Read { number: RequestNumber(number), policy, body },
    };
    group.step(at, Event::Request { request, subject: Subject::default(), at: Timestamp(5), now });
}

/// The numbers and ops of the reads that were answered.
fn answered(group: &Group) -> Vec<(u64, u64)> {
    let answers = group.replies.iter().filter_map(|reply| match &reply.kind {
        ClientReplyKind::ReadReply { number, op, .. } => Some((number.0, op.0)),
        ClientReplyKind::Registered { .. }
        | ClientReplyKind::Reply { .. }
        | ClientReplyKind::Evicted { .. }
        | ClientReplyKind::Redirect { .. }
        | ClientReplyKind::Refused { .. }
        | ClientReplyKind::ReadRefused { .. } => None,
    });
    answers.collect()
}

fn refused(group: &Group) -> Vec<(u64, ReadRefusal)> {
    let refusals = group.replies.iter().filter_map(|reply| match &reply.kind {
        ClientReplyKind::ReadRefused { number, reason } => Some((number.0, *reason)),
        ClientReplyKind::Registered { .. }
        | ClientReplyKind::Reply { .. }
        | ClientReplyKind::Evicted { .. }
        | ClientReplyKind::Redirect { .. }
        | ClientReplyKind::Refused { .. }
        | ClientReplyKind::ReadReply { .. } => None,
    });
    refusals.collect()
}

/// ADR 19: nobody confirms the round of a primary that is cut off.
#[test]
fn a_read_at_a_primary_that_is_cut_off_gets_no_answer() {
    let mut group = Group::new(3);
    read(&mut group, 0, 1, ReadPolicy::Linearizable);
    group.drop_all();
    for _ in 0..10 {
        group.timeout(0, Timer::ReadResend);
        group.drop_all();
    }
    assert_eq!(answered(&group), []);
}

/// Of five voters three change views: three must confirm, one that repeats itself counts once.
#[test]
fn a_round_needs_a_voter_of_every_view_change_quorum() {
    let mut group = Group::new(5);
    group.drop_all();
    read(&mut group, 0, 1, ReadPolicy::Linearizable);
    group.deliver(0, 1);
    let again = group.links[&(1, 0)].front().unwrap().clone();
    assert!(matches!(again.kind, Kind::ReadOk { index: None, .. }));
    group.deliver(1, 0);
    group.step(0, Event::Message { from: vsr_core::ReplicaId(1), message: again });
    assert_eq!(answered(&group), []);
    group.deliver(0, 2);
    group.deliver(2, 0);
    assert_eq!(answered(&group), [(1, 0)]);
}

/// The reads of a round say how young its index is, not those that came while it ran.
#[test]
fn a_round_is_as_young_as_the_last_read_that_it_began_with() {
    let mut group = Group::new(3);
    group.drop_all();
    let millis = |millis: u64| Moment(millis * 1_000_000);
    read_at(&mut group, 0, 1, ReadPolicy::Linearizable, millis(1000));
    read_at(&mut group, 0, 2, ReadPolicy::Linearizable, millis(1500));
    group.deliver(0, 1);
    group.deliver(1, 0);
    assert_eq!(answered(&group), [(1, 0)]);
    let bounded = ReadPolicy::Bounded { age: 500 };
    read_at(&mut group, 0, 3, bounded, millis(1500));
    assert_eq!(answered(&group), [(1, 0)], "so long before is too late for the first round");
    read_at(&mut group, 0, 4, bounded, Moment(millis(1500).0 - 1));
    assert_eq!(answered(&group), [(1, 0), (4, 0)]);
}

/// A group of one is its own quorum.
#[test]
fn a_read_in_a_group_of_one_is_answered_at_once() {
    let mut group = Group::new(1);
    read(&mut group, 0, 1, ReadPolicy::Linearizable);
    assert_eq!(answered(&group), [(1, 0)]);
}

#[test]
fn reads_beyond_the_limit_are_refused() {
    let mut group = Group::new(3);
    for number in 0..1025 {
        read(&mut group, 1, number, ReadPolicy::Causal { after: OpNumber(7) });
    }
    assert_eq!(refused(&group), [(1024, ReadRefusal::Busy)]);
}

/// A read that must see what this replica does not get is refused after some pings.
#[test]
fn a_causal_read_of_what_never_comes_is_refused_in_time() {
    let mut group = Group::new(3);
    read(&mut group, 1, 1, ReadPolicy::Causal { after: OpNumber(7) });
    for _ in 0..51 {
        assert_eq!(refused(&group), []);
        group.timeout(1, Timer::Ping);
        group.drop_all();
    }
    assert_eq!(refused(&group), [(1, ReadRefusal::Behind)]);
}

/// A client repeats what waits too long for it: where room runs short, a copy takes none.
#[test]
fn copies_of_one_read_do_not_fill_the_room() {
    let mut group = Group::new(3);
    for number in 0..1024 {
        read(&mut group, 1, number / 2, ReadPolicy::Causal { after: OpNumber(7) });
    }
    for number in 512..900 {
        read(&mut group, 1, number % 512, ReadPolicy::Causal { after: OpNumber(7) });
    }
    assert_eq!(refused(&group), []);
}

/// No entry that this replica has room for brings that op; and to wait takes room from others.
#[test]
fn a_causal_read_of_what_lies_beyond_the_log_is_refused_at_once() {
    let mut group = Group::new(3);
    read(&mut group, 1, 1, ReadPolicy::Causal { after: OpNumber(u64::MAX) });
    assert_eq!(refused(&group), [(1, ReadRefusal::Behind)]);
}

/// Large reads have room side by side up to a sum.
#[test]
fn reads_are_counted_by_their_bytes_together() {
    static BODY: [u8; 300_000] = [b'r'; 300_000];
    let mut group = Group::new(3);
    let body: Body = std::str::from_utf8(&BODY).unwrap();
    let policy = ReadPolicy::Causal { after: OpNumber(7) };
    for number in 1..=20 {
        let kind = ClientRequestKind::Read { number: RequestNumber(number), policy, body };
        let (client, view) = (ClientId(9), ViewNumber::ZERO);
        let request = ClientRequest { cluster: CLUSTER, client, view, kind };
        let now = Moment::ZERO;
        let at = Timestamp(5);
        group.step(1, Event::Request { request, subject: Subject::default(), at, now });
    }
    // 4 MiB are 13 of them.
    let refusals: Vec<u64> = refused(&group).iter().map(|(number, _)| *number).collect();
    assert_eq!(refusals, (14..=20).collect::<Vec<_>>());
}
