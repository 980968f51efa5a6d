//! What hostile bytes can make the reader and the decoder allocate, counted by the allocator.
//!
//! One test in a binary of its own, so that nothing else allocates meanwhile. Each round takes a
//! valid frame, damages it, lets its header vouch for the damage half of the time, and feeds it in
//! pieces. Rounds are numbered by a seed, so that a failing one can be repeated.

mod common;

use std::alloc::System;
use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};
use common::{CLUSTER, bytes_of, entry, samples, vouched};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use vsr_core::{
    Checksum, ClusterId, Entry, Epoch, Header, Incarnation, Kind, Message, OpNumber, Release,
    ReplicaId, Request, RequestNumber, Session, SuffixSlot, Timestamp, ViewNumber,
};
use vsr_wire::{
    FRAME_LIMIT, FrameKind, FrameReader, GROWTH_STEP, HEADER_LENGTH, Incoming, SUFFIX_MAX,
    WireError, decode,
};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const ROUNDS: u64 = if cfg!(debug_assertions) { 30_000 } else { 1_000_000 };

#[test]
fn no_frame_allocates_more_than_twice_its_length_and_64_kib() {
    let frames: Vec<BytesMut> = samples()
        .iter()
        .map(|(_, incoming)| bytes_of(incoming))
        .chain(large().iter().map(bytes_of))
        .collect();
    for frame in &frames {
        feed(&[frame], frame.len()).expect("a valid frame");
    }
    pieces_that_arrive_together_are_made_room_for_once(frames.last().expect("a large frame"));
    let mut seen = Seen::default();
    for seed in 0..ROUNDS {
        let mut dice = Dice(seed);
        // The large ones are the last three: now and then, since each costs as much as a hundred.
        let choice = match dice.below(100) {
            0 => frames.len() - 1 - dice.below(3),
            _ => dice.below(frames.len() - 3),
        };
        let mut bytes = frames[choice].to_vec();
        damage(&mut bytes, &mut dice);
        if dice.below(4) > 0 && bytes.len() >= HEADER_LENGTH {
            bytes = vouched(&bytes);
        }
        let cut = dice.below(bytes.len() + 1);
        let pieces = [&bytes[..cut], &bytes[cut..]];
        seen.count(feed(&pieces, bytes.len()).map_err(|problem| (seed, problem)));
    }
    println!("{ROUNDS} rounds: {seen:?}");
    // Damage must reach every layer of every kind, or this test proves nothing.
    assert!(seen.stream > 0 && seen.waiting > 0);
    let mut kinds = BTreeSet::from(FrameKind::ALL);
    assert_eq!(seen.kinds_decoded, kinds);
    // A status document is any bytes.
    kinds.remove(&FrameKind::StatusReply);
    assert_eq!(seen.kinds_malformed, kinds);
}

/// Before a header was looked at nothing says how long its frame is: growing for each piece would copy
/// the first ones again and again.
fn pieces_that_arrive_together_are_made_room_for_once(frame: &[u8]) {
    let pieces: Vec<&[u8]> = frame.chunks(1200).take(32).collect();
    let mut reader = FrameReader::new(FRAME_LIMIT);
    let region = Region::new(ALLOCATOR);
    reader.push_all(&pieces);
    assert_eq!(region.change().allocations, 1);
    assert_eq!(reader.buffered(), pieces.concat().len());
    assert!(reader.capacity() <= 2 * reader.buffered() + GROWTH_STEP);
}

#[derive(Debug, Default)]
struct Seen {
    decoded: u64,
    /// The frame had not wholly arrived.
    waiting: u64,
    stream: u64,
    malformed: u64,
    kinds_decoded: BTreeSet<FrameKind>,
    kinds_malformed: BTreeSet<FrameKind>,
}

impl Seen {
    fn count(&mut self, outcome: Result<Option<FrameKind>, (u64, Problem)>) {
        match outcome {
            Ok(Some(kind)) => {
                self.decoded += 1;
                self.kinds_decoded.insert(kind);
            }
            Ok(None) => self.waiting += 1,
            Err((_, Problem::Refused(WireError::Malformed { kind, .. }))) => {
                self.malformed += 1;
                self.kinds_malformed.insert(kind);
            }
            Err((_, Problem::Refused(_))) => self.stream += 1,
            Err((seed, Problem::Allocated { bytes, frame })) => {
                panic!("seed {seed}: a frame of {frame} bytes allocated {bytes}")
            }
        }
    }
}

#[derive(Debug)]
enum Problem {
    Refused(WireError),
    Allocated { bytes: usize, frame: usize },
}

/// Feeds the pieces to a reader and decodes what comes out, with an eye on the allocator.
fn feed(pieces: &[&[u8]], length: usize) -> Result<Option<FrameKind>, Problem> {
    let check = |bytes: usize, frame: usize| match bytes > 2 * frame + GROWTH_STEP {
        true => Err(Problem::Allocated { bytes, frame }),
        false => Ok(()),
    };
    let mut reader = FrameReader::new(FRAME_LIMIT);
    let region = Region::new(ALLOCATOR);
    let mut frames = Vec::new();
    let mut arrived = 0;
    for piece in pieces {
        reader.push(piece);
        arrived += piece.len();
        // What the reader holds depends on what has arrived, whatever the header says will come.
        check(reader.capacity(), arrived)?;
        while let Some(frame) = reader.next_frame().map_err(Problem::Refused)? {
            frames.push(frame);
        }
    }
    // What it asked for in all, counting what it gave back meanwhile, on the way to a whole frame.
    check(region.change().bytes_allocated, length.max(stated(pieces)))?;
    for frame in &frames {
        let region = Region::new(ALLOCATOR);
        let incoming = decode(frame);
        check(region.change().bytes_allocated, length)?;
        let incoming = incoming.map_err(Problem::Refused)?;
        assert_unambiguous(frame.body(), &incoming);
    }
    Ok(frames.last().map(|frame| frame.header().kind))
}

/// How long the frame is by its header.
fn stated(pieces: &[&[u8]]) -> usize {
    let header: Vec<u8> = pieces.concat().into_iter().take(HEADER_LENGTH).collect();
    match header[..] {
        [_, _, _, _, _, _, _, _, _, _, _, _, a, b, c, d, ..] => {
            HEADER_LENGTH + u32::from_le_bytes([a, b, c, d]) as usize
        }
        _ => 0,
    }
}

/// What was decoded encodes to the bytes it came from. A close may have a reason that this build
/// does not know, which it cannot say.
fn assert_unambiguous(body: &Bytes, incoming: &Incoming) {
    if let Incoming::Close { .. } = incoming {
        return;
    }
    assert_eq!(bytes_of(incoming)[HEADER_LENGTH..], body[..]);
}

/// One of the ways in which bytes go wrong, most of them behind the header.
fn damage(bytes: &mut Vec<u8>, dice: &mut Dice) {
    for _ in 0..=dice.below(3) {
        let start = match dice.below(8) {
            0 => 0,
            _ => HEADER_LENGTH.min(bytes.len()),
        };
        let span = bytes.len() - start;
        if span == 0 {
            bytes.push(dice.byte());
            continue;
        }
        let at = start + dice.below(span);
        match dice.below(7) {
            0 => bytes[at] ^= 1 << dice.below(8),
            1 => bytes[at] = dice.byte(),
            // Counts and lengths become huge.
            2 => bytes[at..].iter_mut().take(4).for_each(|byte| *byte = 0xff),
            3 => bytes[at..].iter_mut().take(8).for_each(|byte| *byte = 0),
            4 => bytes.truncate(at),
            5 => bytes.extend_from_within(at..),
            _ => bytes.insert(at, dice.byte()),
        }
        bytes.truncate(FRAME_LIMIT as usize);
    }
}

/// The largest messages there are, of each shape whose memory is not its bytes.
fn large() -> [Incoming; 3] {
    let message = |kind| Incoming::Peer {
        from: ReplicaId(1),
        message: Message {
            cluster: CLUSTER,
            epoch: Epoch(0),
            view: ViewNumber(1),
            incarnation: Incarnation(1),
            kind,
        },
    };
    let header = Header::root(ClusterId(1));
    let empty = |number| Request::Operation {
        session: Session::default(),
        number: RequestNumber(number),
        span: 0,
        digest: Checksum(1),
        body: Bytes::new(),
    };
    // As many operations without bytes as a frame has room for.
    let requests = (0..20_000).map(empty).collect();
    let entry_of_nothing =
        Entry::prepare(&header, Epoch(0), ViewNumber(1), Release(1), Timestamp(1), requests);
    let slot = SuffixSlot { header: None, present: false, nack: true };
    [
        message(Kind::Headers { headers: vec![*entry().header(); vsr_core::HEADERS_MAX] }),
        message(Kind::DoViewChange {
            log_view: ViewNumber(1),
            op: OpNumber(300),
            commit_min: OpNumber(0),
            commit_max: OpNumber(0),
            suffix: vec![slot; SUFFIX_MAX],
        }),
        message(Kind::Entry { entry: entry_of_nothing }),
    ]
}

/// SplitMix64: enough chance for a test, the same on every machine.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn byte(&mut self) -> u8 {
        self.next() as u8
    }
}
