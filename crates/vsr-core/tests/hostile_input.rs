//! What comes from outside never makes a replica panic or hang (style rule 15, storage rule R11).
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod group;

use group::lone::{Lone, chain, do_view_change, entry, headers, operation, root};
use vsr_core::{
    Checksum, Committed, Constants, Durability, Entry, EntryKind, Event, Header, Ignored,
    Incarnation, Kind, Nonce, OpNumber, StatusName, Stored, SuffixSlot, Timer, ViewNumber,
};

/// A header as nobody honest would make it, with a right checksum.
fn forged(op: u64, view: u64) -> Header {
    let header = Header { op: OpNumber(op), view: ViewNumber(view), ..root() };
    Header { checksum: header.compute_checksum(), ..header }
}

#[test]
fn the_last_view_number_is_not_entered() {
    for kind in [
        do_view_change(0, &[], "", 0),
        Kind::StartViewChange { log_view: ViewNumber(0) },
        Kind::Ping {
            log_view: ViewNumber(0),
            op: OpNumber(0),
            commit: Committed { op: OpNumber(0), checksum: Checksum(0) },
            heard: Default::default(),
            kept: Default::default(),
        },
    ] {
        let mut r2 = Lone::new(3, 2);
        r2.hear(0, u64::MAX, kind);
        assert_eq!(r2.ignored(), [Ignored::Malformed]);
        assert_eq!(r2.replica.summary().status, StatusName::Backup);
    }
}

#[test]
fn an_offer_beyond_what_the_log_can_hold_is_no_offer() {
    let mut r1 = Lone::new(3, 1);
    for op in [u64::MAX, u64::MAX - 1, 1 << 40] {
        let slot = |op| SuffixSlot { header: Some(forged(op, 0)), present: true, nack: false };
        r1.hear(
            0,
            1,
            Kind::DoViewChange {
                log_view: ViewNumber(0),
                op: OpNumber(op),
                commit_min: OpNumber(0),
                commit_max: OpNumber(0),
                suffix: (op - 32..=op).map(slot).collect(),
            },
        );
        assert_eq!(r1.ignored(), [Ignored::OutOfWindow]);
        r1.hear(
            0,
            1,
            Kind::DoViewChange {
                log_view: ViewNumber(0),
                op: OpNumber(0),
                commit_min: OpNumber(0),
                commit_max: OpNumber(op),
                suffix: vec![SuffixSlot { header: Some(root()), present: true, nack: false }],
            },
        );
        assert_eq!(r1.ignored(), [Ignored::OutOfWindow]);
    }
    assert_eq!(r1.replica.summary().status, StatusName::ViewChange);
    assert!(!r1.sent().iter().any(|kind| kind.name() == "START-VIEW"));
}

#[test]
fn a_timer_that_does_not_exist_is_not_armed() {
    let mut r1 = Lone::new(3, 1);
    for member in [3, 22, 23, 53, 200, 255] {
        r1.timeout(Timer::VoteExpiry(member));
        assert_eq!(r1.ignored(), [Ignored::TimerNotArmed]);
    }
}

#[test]
fn op_zero_is_never_damaged() {
    let mut r0 = Lone::new(1, 0);
    for op in [0, 1, u64::MAX] {
        r0.step(Event::Faulty { op: OpNumber(op) });
        assert_eq!(r0.ignored(), [Ignored::OutOfWindow]);
    }
}

/// Every kind of message with the numbers at their edges, from every peer, in every status.
#[test]
fn no_message_makes_a_replica_panic() {
    let log = chain(&root(), 0, &["a", "b", "c"]);
    let edges = [0, 1, 2, 3, 4, 33, 1000, 1001, 1 << 62, u64::MAX - 1, u64::MAX];
    let odd = |op: u64| -> Entry<&'static str> {
        Entry::assemble(forged(op, 0), Vec::new(), None).unwrap()
    };
    let mut kinds: Vec<Kind<&'static str>> = Vec::new();
    for a in edges {
        let op = OpNumber(a);
        let checksum = log[0].header().checksum;
        for b in edges {
            let commit = Committed { op: OpNumber(b), checksum };
            kinds.push(Kind::Prepare { entry: odd(a), commit });
            kinds.push(Kind::GetHeaders { first: op, last: OpNumber(b) });
            kinds.push(Kind::StartView {
                commit_max: OpNumber(b),
                suffix: vec![forged(a, 0)],
                nonce: None,
            });
            kinds.push(Kind::DoViewChange {
                log_view: ViewNumber(b),
                op,
                commit_min: OpNumber(b),
                commit_max: op,
                suffix: vec![
                    SuffixSlot { header: Some(forged(a, 0)), present: true, nack: true };
                    (a as usize).clamp(1, 33)
                ],
            });
            kinds.push(Kind::Ping {
                log_view: ViewNumber(a),
                op,
                commit: Committed { op, checksum },
                heard: vsr_core::Voters(u32::MAX),
                kept: vsr_core::Kept {
                    checkpoint: op,
                    id: checksum,
                    trimmed: op,
                    covered: op,
                    begins: OpNumber(b),
                    held: OpNumber(u64::MAX),
                    next: vsr_core::Next::Never,
                    lost: true,
                },
            });
        }
        kinds.push(Kind::PrepareOk { op, checksum, commit_min: op });
        kinds.push(Kind::Commit { commit: Committed { op, checksum } });
        kinds.push(Kind::StartViewChange { log_view: ViewNumber(a) });
        kinds.push(Kind::GetView { nonce: Nonce::default(), uncertain: None });
        kinds.push(Kind::Headers { headers: vec![forged(a, 0), forged(a, 0)] });
        kinds.push(Kind::GetEntry { wanted: vec![(op, checksum); 65] });
        kinds.push(Kind::GetEntry { wanted: vec![(op, checksum), (op, Checksum(0))] });
        kinds.push(Kind::Entry { entry: odd(a) });
        kinds.push(Kind::Nack { op, checksum });
        kinds.extend([false, true].map(|relay| Kind::ReadProbe { nonce: Nonce::default(), relay }));
        kinds.push(Kind::ReadOk { nonce: Nonce::default(), index: None });
        kinds.push(Kind::ReadOk { nonce: Nonce::default(), index: Some(op) });
        kinds.push(Kind::GetCheckpoint { id: checksum, offset: a as u32 });
        let checkpoint = vsr_core::Checkpoint { header: forged(a, 0), id: checksum };
        for page in ["", "page"] {
            let (length, offset) = (a as u32, a as u32);
            let committed_by = ViewNumber(a);
            kinds.push(Kind::Checkpoint { committed_by, checkpoint, length, offset, page });
        }
        kinds.push(Kind::GetChunk { wanted: vec![checksum; 17] });
        kinds.push(Kind::GetChunk { wanted: vec![checksum; 16] });
        kinds.push(Kind::Chunk { chunk: "chunk" });
        kinds.push(Kind::NoChunk { name: checksum });
        kinds.push(Kind::Recovery { nonce: Nonce::default() });
        for suffix in [Vec::new(), vec![forged(a, 0)], headers(&log)] {
            // The first question of a second life.
            let nonce = Nonce { incarnation: Incarnation(2), count: 1 };
            kinds.push(Kind::RecoveryResponse { nonce, commit_max: op, suffix });
        }
        let kind = EntryKind::Predicted;
        let odd = Header { kind, length: 4, ..forged(a, 0) };
        let entry = Entry::assemble(odd, Vec::new(), Some("noon")).unwrap();
        let commit = Committed { op: OpNumber(0), checksum };
        kinds.push(Kind::Prepare { entry: entry.clone(), commit });
        kinds.push(Kind::Entry { entry });
        let nonce = Nonce { count: a, ..Nonce::default() };
        let requests = vec![operation(9, a, "z")].into();
        kinds.push(Kind::PreStep { nonce, requests });
        kinds.push(Kind::PreStepOk { nonce, value: "noon" });
    }
    kinds.push(Kind::StartView { commit_max: OpNumber(0), suffix: Vec::new(), nonce: None });
    kinds.push(Kind::StartView { commit_max: OpNumber(0), suffix: headers(&log), nonce: None });
    kinds.push(Kind::Headers { headers: Vec::new() });
    kinds.push(do_view_change(0, &log, "pnf", 0));
    let batch = entry(log[2].header(), 0, vec![operation(9, u64::MAX, "z")]);
    kinds.push(Kind::Prepare { entry: batch, commit: group::lone::committed(&root()) });
    let constants =
        Constants { log_slots: 1000, checkpoint_interval: 10, ..group::lone::constants() };
    for index in 0..3 {
        for view in [0, 1, 2, 3, 1 << 61, 1 << 62, u64::MAX - 1, u64::MAX] {
            for from in [0, 1, 2, 3, 77] {
                let config = group::lone::config(3, index, constants);
                let fresh = Lone::with(config, Stored::formatted(root()));
                let recovering = recovering(index, constants);
                let both = [&fresh, &recovering];
                for (fresh, kind) in
                    both.into_iter().flat_map(|one| kinds.iter().map(move |kind| (one, kind)))
                {
                    let mut lone = Lone {
                        replica: fresh.replica.clone(),
                        writes: Default::default(),
                        applied: Vec::new(),
                        automatic_apply: true,
                        applies: Default::default(),
                        effects: Vec::new(),
                    };
                    lone.hear(from, view, kind.clone());
                    lone.sync();
                    lone.hear(from, view, kind.clone());
                    for timer in (0..Timer::COUNT).map(Timer::at) {
                        lone.timeout(timer);
                        lone.sync();
                    }
                }
            }
        }
    }
}

/// A replica that lost its memory, and asks the others.
fn recovering(index: usize, constants: Constants) -> Lone {
    let constants = Constants { durability: Durability::Memory, ..constants };
    let superblock = vsr_core::SuperblockState {
        incarnation: Incarnation(1),
        ..vsr_core::SuperblockState::formatted(root())
    };
    let stored = Stored {
        superblock,
        slots: Vec::new(),
        sessions: Vec::new(),
        is_checkpoint_damaged: false,
    };
    Lone::with(group::lone::config(3, index, constants), stored)
}
