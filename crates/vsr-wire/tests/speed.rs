//! What the hot path costs: PREPAREs of 64 requests of 256 bytes, one way and the other.

mod common;

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use common::CLUSTER;
use vsr_core::{
    Checksum, Committed, Entry, Epoch, Header, Incarnation, Kind, Message, OpNumber, Release,
    ReplicaId, Request, RequestNumber, Session, Timestamp, ViewNumber,
};
use vsr_wire::{FRAME_LIMIT, FrameReader, decode, encode_message};

/// Bounds are loose, since debug builds and busy machines are slow; the figures are printed
/// (`cargo test --release --test speed -- --nocapture`).
#[test]
fn a_batch_is_encoded_and_decoded_in_microseconds() {
    const ROUNDS: u32 = if cfg!(debug_assertions) { 200 } else { 20_000 };
    let body = Bytes::from(vec![7; 256]);
    let requests = (0..64)
        .map(|slot| Request::Operation {
            session: Session { slot, number: OpNumber(1) },
            number: RequestNumber(9),
            span: 0,
            digest: Checksum::of(&body),
            body: body.clone(),
        })
        .collect();
    let entry = Entry::prepare(
        &Header::root(CLUSTER),
        Epoch(0),
        ViewNumber(1),
        Release(1),
        Timestamp(1),
        requests,
    );
    let commit = Committed { op: OpNumber(0), checksum: Checksum(0) };
    let message = Message {
        cluster: CLUSTER,
        epoch: Epoch(0),
        view: ViewNumber(1),
        incarnation: Incarnation(1),
        kind: Kind::Prepare { entry, commit },
    };

    let mut out = BytesMut::new();
    let start = Instant::now();
    for _ in 0..ROUNDS {
        out.clear();
        encode_message(&message, ReplicaId(0), &mut out).expect("a batch within the limits");
    }
    let encoding = start.elapsed() / ROUNDS;

    let mut reader = FrameReader::new(FRAME_LIMIT);
    let start = Instant::now();
    for _ in 0..ROUNDS {
        reader.push(&out);
        let frame = reader.next_frame().expect("an intact frame");
        decode(&frame.expect("a whole frame")).expect("a well-formed PREPARE");
    }
    let decoding = start.elapsed() / ROUNDS;
    println!(
        "PREPARE of 64 x 256 bytes ({} bytes): {encoding:?} to encode, {decoding:?} to receive and decode",
        out.len()
    );
    assert!(encoding.as_millis() < 10 && decoding.as_millis() < 10);
}
