//! The client-table's encoding.

use bytes::Bytes;
use proptest::prelude::*;
use vsr_core::{
    CHUNK_BYTES_MAX, ClientId, KeptOperation, KeptReply, OpNumber, RequestNumber, SessionState,
    Subject, Timestamp,
};
use vsr_storage::{SESSIONS_MAX, TABLE_VERSION, TableError, decode_sessions, encode_sessions};

type Sessions = Vec<(u32, SessionState<Bytes>)>;

pub fn session(slot: u32, reply: KeptReply<Bytes>) -> (u32, SessionState<Bytes>) {
    let number = u64::from(slot) * 3;
    let state = SessionState {
        client: ClientId(u128::from(slot) << 70 | 5),
        subject: Subject(u128::from(slot) << 64 | 6),
        number: OpNumber(number + 1),
        executed: RequestNumber(number + 2),
        last_op: OpNumber(number + 3),
        last_used: Timestamp(number + 4),
        kept: [KeptOperation { op: OpNumber(number + 3), reply }].into(),
    };
    (slot, state)
}

/// A session with several replies kept.
fn windowed(slot: u32) -> (u32, SessionState<Bytes>) {
    let (slot, mut state) = session(slot, KeptReply::None);
    for (op, length) in (100..).zip([3, 0, 200 << 10, 100 << 10]) {
        state.kept.push_back(KeptOperation { op: OpNumber(op), reply: reply(length) });
    }
    (slot, state)
}

fn reply(length: usize) -> KeptReply<Bytes> {
    KeptReply::Reply(Bytes::from(crate::helpers::chunk(length as u64, 1, length)))
}

pub fn encode(sessions: &Sessions) -> Vec<Vec<u8>> {
    encode_sessions(sessions.iter().map(|(slot, state)| (*slot, state))).collect()
}

#[test]
fn a_table_comes_back_as_it_was() {
    let lengths = [0, 1, 100, 64 << 10, 300 << 10, 3 << 20, 256 << 10, 5];
    let mut sessions: Sessions =
        (0..).zip(lengths).map(|(place, length)| session(place * 100, reply(length))).collect();
    sessions.push(session(900, KeptReply::None));
    sessions.push(session(901, KeptReply::TooLarge));
    sessions.push(windowed(902));
    sessions.push(session(SESSIONS_MAX as u32 - 1, reply(3)));
    let chunks = encode(&sessions);
    assert!(chunks.iter().all(|chunk| chunk.len() <= 256 << 10 && chunk.len() < CHUNK_BYTES_MAX));
    assert_eq!(decode_sessions(&chunks), Ok(sessions));
    assert_eq!(encode(&vec![]), Vec::<Vec<u8>>::new());
    assert_eq!(decode_sessions::<&[u8]>([]), Ok(vec![]));
}

#[test]
fn a_session_that_changes_changes_its_chunk_and_no_other() {
    let sessions: Sessions = (0..2000).map(|slot| session(slot, reply(100))).collect();
    let before = encode(&sessions);
    assert_eq!(before.len(), 8);
    let mut changed = sessions.clone();
    changed[700].1.kept[0].reply = reply(90_000);
    changed.remove(701);
    let after = encode(&changed);
    let same = before.iter().filter(|chunk| after.contains(chunk)).count();
    assert_eq!(same, 7);
    assert_eq!(decode_sessions(&after), Ok(changed));
}

#[test]
fn what_is_no_table_is_refused() {
    let sessions: Sessions = (0..600).map(|slot| session(slot, reply(600))).collect();
    let chunks = encode(&sessions);
    let nonsense = |chunk| Err(TableError::Nonsense { chunk });
    let swapped = [&chunks[1], &chunks[0]];
    assert_eq!(decode_sessions(swapped), nonsense(1));
    assert_eq!(decode_sessions([&chunks[0], &chunks[0]]), nonsense(1));
    assert_eq!(decode_sessions([&b"VSRT"[..]]), nonsense(0));
    let mut newer = chunks[0].clone();
    newer[4] = TABLE_VERSION as u8 + 1;
    assert_eq!(decode_sessions([&newer]), Err(TableError::Newer { found: TABLE_VERSION + 1 }));
    let mut kind = chunks[0].clone();
    kind[88] = 3;
    assert_eq!(decode_sessions([&kind]), nonsense(0));
    let mut slot = chunks[0].clone();
    slot[8..12].copy_from_slice(&(SESSIONS_MAX as u32).to_le_bytes());
    assert_eq!(decode_sessions([&slot]), nonsense(0));
    let cut = &chunks[0][..chunks[0].len() - 1];
    assert_eq!(decode_sessions([cut]), Err(TableError::Incomplete));
}

proptest! {
    #[test]
    fn garbage_is_never_a_panic(mut chunks in prop::collection::vec(
        prop::collection::vec(any::<u8>(), 0..300), 0..4)) {
        let _answer = decode_sessions(&chunks);
        for chunk in &mut chunks {
            chunk.splice(0..0, *b"VSRT\x01\0\0\0");
        }
        let _answer = decode_sessions(&chunks);
        for chunk in &mut chunks {
            chunk[4] = 2;
        }
        let _answer = decode_sessions(&chunks);
    }

    #[test]
    fn a_damaged_table_is_refused_or_another_table(at in 0_usize..3000, flip in 1_u8..) {
        let sessions: Sessions = (0..20).map(|slot| session(slot, reply(80))).collect();
        let mut chunks = encode(&sessions);
        let length = chunks[0].len();
        chunks[0][at % length] ^= flip;
        prop_assert_ne!(decode_sessions(&chunks), Ok(sessions));
    }
}
