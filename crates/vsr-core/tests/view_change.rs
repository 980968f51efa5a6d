//! View changes, step by step (paper, section 4.2; protocol.md, sections 5.4 to 5.6).
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod group;

use group::lone::{Lone, chain, do_view_change, prepare, root, start_view};
use vsr_core::{Kind, OpNumber, StatusName, Timer, ViewNumber, Voters};

fn acknowledges(lone: &Lone, op: u64) -> bool {
    let sent = lone.sent();
    sent.iter().any(|kind| matches!(kind, Kind::PrepareOk { op: held, .. } if held.0 >= op))
}

/// Section 5.6: PREPARE-OK waits for this write of the entry. An earlier write of the same entry says
/// nothing once another entry was written over it.
#[test]
fn an_entry_that_was_superseded_and_came_back_is_acknowledged_only_when_written_again() {
    let a = chain(&root(), 1, &["a"]);
    let b = chain(&root(), 2, &["b"]);
    let mut r0 = Lone::new(5, 0);
    let empty = Kind::StartView { commit_max: OpNumber(0), suffix: vec![root()], nonce: None };
    r0.hear(1, 1, empty);
    r0.sync();
    r0.hear(1, 1, prepare(&a[0], &root()));
    r0.hear(2, 2, start_view(&b, 0));
    r0.hear(2, 2, prepare(&b[0], &root()));
    r0.hear(3, 3, start_view(&a, 0));
    r0.hear(3, 3, prepare(&a[0], &root()));
    // In this order: a, the superblock of view 2, b over a, the superblock of view 3.
    for _ in 0..4 {
        r0.sync_one();
        assert!(!acknowledges(&r0, 1), "the slot on disk holds b");
    }
    r0.sync_one();
    assert!(acknowledges(&r0, 1));
}

/// Section 5.4: a primary that cannot fetch what it inherited gives way to one that may hold it.
#[test]
fn a_primary_that_never_gets_ready_gives_way() {
    let log = chain(&root(), 0, &["a"]);
    let mut r1 = Lone::new(3, 1);
    r1.timeout(Timer::PrimarySilence);
    r1.hear(2, 0, Kind::StartViewChange { log_view: ViewNumber(0) });
    r1.sync();
    r1.hear(2, 1, do_view_change(0, &log, "p", 1));
    r1.sync();
    assert_eq!(r1.replica.summary().status, StatusName::Primary);
    assert!(!r1.replica.summary().ready, "op 1 is committed, and missing here");
    let abdicates = (0..20).any(|_| {
        let (op, commit) = (OpNumber(1), OpNumber(1));
        let log_view = ViewNumber(1);
        r1.hear(2, 1, Kind::Ping { log_view, op, commit, heard: Voters::default() });
        r1.timeout(Timer::Abdicate);
        r1.sent().iter().any(|kind| matches!(kind, Kind::StartViewChange { .. }))
    });
    assert!(abdicates);
}
