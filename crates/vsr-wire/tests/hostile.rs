//! Bytes that no honest sender sends: each is refused for its own reason, none panics, and the
//! frames before it are not lost. The numbers are those of the list of bad inputs in the project's
//! notes on security: 1 to 21 concern frames, 22 to 32 the fields.

mod common;

use bytes::{Bytes, BytesMut};
use common::{CLUSTER, bytes_of, entry, frames, message, samples, vouched};
use vsr_core::{
    Checksum, Epoch, HEADERS_MAX, Header, Incarnation, Kind, Message, OpNumber, ReplicaId,
    SuffixSlot, ViewNumber, WANTED_MAX,
};
use vsr_wire::{
    FRAME_LIMIT, FrameKind, FrameReader, GROWTH_STEP, HEADER_LENGTH, Incoming, Malformed,
    SUFFIX_MAX, WireError,
};

fn sample(wanted: &str) -> BytesMut {
    let samples = samples();
    let (_, incoming) =
        samples.iter().find(|(name, _)| *name == wanted).expect("a sample of this name");
    bytes_of(incoming)
}

/// A frame of `kind` with these bytes as its body, both checksums right.
fn frame(kind: FrameKind, body: &[u8]) -> Vec<u8> {
    let from_client =
        [FrameKind::Register, FrameKind::Request, FrameKind::Read, FrameKind::StatusRequest];
    let sender = match from_client.contains(&kind) {
        true => u32::MAX,
        false => 1_u32,
    };
    let mut bytes = sample("ping")[..HEADER_LENGTH].to_vec();
    bytes[6..8].copy_from_slice(&kind.number().to_le_bytes());
    bytes[8..12].copy_from_slice(&sender.to_le_bytes());
    bytes.extend_from_slice(body);
    vouched(&bytes)
}

fn malformed(kind: FrameKind, problem: Malformed) -> Result<Incoming, WireError> {
    Err(WireError::Malformed { kind, problem })
}

/// 1, 2, 3, 4: what has not wholly arrived is waited for, and missed when the stream ends.
#[test]
fn a_frame_cut_anywhere_is_waited_for() {
    for (name, incoming) in samples() {
        let bytes = bytes_of(&incoming);
        for cut in 0..bytes.len() {
            let mut reader = FrameReader::new(FRAME_LIMIT);
            reader.push(&bytes[..cut]);
            assert_eq!(reader.next_frame(), Ok(None), "{name} cut at {cut}");
            match cut {
                0 => assert_eq!(reader.finish(), Ok(())),
                _ => assert!(
                    matches!(reader.finish(), Err(WireError::Cut { missing }) if missing > 0)
                ),
            }
            reader.push(&bytes[cut..]);
            assert!(reader.next_frame().is_ok_and(|frame| frame.is_some()));
            assert_eq!((reader.finish(), reader.buffered()), (Ok(()), 0));
        }
    }
}

/// 5: a body of no bytes is a frame; whether it is a message depends on its kind.
#[test]
fn a_body_of_length_zero_is_malformed_where_fields_are_due() {
    for kind in FrameKind::ALL {
        let decoded = message(&frame(kind, &[]));
        if [FrameKind::StatusRequest, FrameKind::StatusReply].contains(&kind) {
            assert!(decoded.is_ok());
        } else {
            assert_eq!(decoded, malformed(kind, Malformed::Short), "{kind}");
        }
    }
}

/// 6, 7: refused by the header alone. 8: the length field has 32 bits, so that longer ones cannot
/// be said.
#[test]
fn a_length_beyond_the_limit_is_refused_before_anything_is_allocated() {
    let body_limit = FRAME_LIMIT - HEADER_LENGTH as u32;
    for length in [body_limit + 1, i32::MAX as u32, u32::MAX] {
        let mut bytes = sample("ping")[..HEADER_LENGTH].to_vec();
        bytes[12..16].copy_from_slice(&length.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..44]);
        bytes[44..48].copy_from_slice(&crc.to_le_bytes());
        let mut reader = FrameReader::new(FRAME_LIMIT);
        reader.push(&bytes);
        let error = WireError::TooLarge {
            length: u64::from(length) + HEADER_LENGTH as u64,
            limit: FRAME_LIMIT,
        };
        assert_eq!(reader.next_frame(), Err(error));
        assert_eq!(reader.capacity(), 0);
    }
}

#[test]
fn a_frame_of_exactly_the_limit_is_taken() {
    let bytes = sample("ping");
    let mut reader = FrameReader::new(bytes.len() as u32);
    reader.push(&bytes);
    assert!(matches!(reader.next_frame(), Ok(Some(_))));
    reader.set_limit(bytes.len() as u32 - 1);
    reader.push(&bytes);
    assert!(matches!(reader.next_frame(), Err(WireError::TooLarge { .. })));
}

/// 9, 10, 11: wherever a bit is flipped, the frame is not taken for a message.
#[test]
fn a_flipped_bit_anywhere_is_found() {
    for (name, incoming) in samples() {
        let bytes = bytes_of(&incoming);
        for bit in 0..8 * bytes.len() {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let error = frames(&flipped).expect_err("a flipped bit is found");
            let expected = match bit / 8 {
                0..4 => matches!(error, WireError::NotAFrame(_)),
                4..6 => matches!(error, WireError::Version { .. }),
                6..48 => error == WireError::HeaderDamaged,
                _ => error == WireError::BodyDamaged,
            };
            assert!(expected, "{name} bit {bit}: {error}");
        }
    }
}

/// 12, 20, 21: other protocols, zeros, ones, noise. The first byte that cannot be right is enough.
#[test]
fn what_is_not_a_frame_is_refused_at_once_and_named_if_known() {
    let noise: Vec<u8> =
        (0..65 * 1024_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let greetings: [(&[u8], Option<&str>); 10] = [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", Some("HTTP")),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Some("HTTP")),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", Some("TLS")),
        (b"SSH-2.0-OpenSSH_9.6\r\n", Some("SSH")),
        (b"*1\r\n$4\r\nPING\r\n", Some("Redis")),
        (b"\0\0\0\x08\x04\xd2\x16\x2f", Some("PostgreSQL")),
        (&[0; 65 * 1024], None),
        (&[0xff; 65 * 1024], None),
        (&noise, None),
        (b"x", None),
    ];
    for (greeting, name) in greetings {
        let mut reader = FrameReader::new(FRAME_LIMIT);
        reader.push(greeting);
        assert_eq!(reader.next_frame(), Err(WireError::NotAFrame(name)));
        assert_eq!(reader.capacity(), 0, "nothing is kept");
        // The reader stays refused, however much more comes.
        reader.push(&sample("ping"));
        assert_eq!(reader.next_frame(), Err(WireError::NotAFrame(name)));
        assert_eq!(reader.buffered(), 0);
    }
}

/// 13: older and newer versions, whatever their checksums, which may lie elsewhere.
#[test]
fn another_version_is_named() {
    for theirs in [0, 2, u16::MAX] {
        let mut bytes = sample("ping");
        bytes[4..6].copy_from_slice(&theirs.to_le_bytes());
        assert_eq!(message(&bytes), Err(WireError::Version { theirs }));
        let text = WireError::Version { theirs }.to_string();
        let older = text.contains("upgrade the sender");
        assert_eq!(older, theirs == 0, "{text}");
    }
}

/// 14, 15, and a replica's message from a client.
#[test]
fn a_header_that_vouches_for_what_cannot_be_is_refused() {
    let mut unknown = sample("ping");
    unknown[6..8].copy_from_slice(&999_u16.to_le_bytes());
    assert_eq!(message(&vouched(&unknown)), Err(WireError::UnknownKind(999)));
    for reserved in 36..44 {
        let mut bytes = sample("ping");
        bytes[reserved] = 1;
        assert_eq!(message(&vouched(&bytes)), Err(WireError::Reserved));
    }
    for (name, kind, sender) in [
        ("ping", FrameKind::Ping, u32::MAX),
        ("reply", FrameKind::Reply, u32::MAX),
        ("request", FrameKind::Request, 1),
        ("status-request", FrameKind::StatusRequest, 0),
        ("hello-client", FrameKind::Hello, 1),
        ("hello-replica", FrameKind::Hello, 2),
        ("hello-replica", FrameKind::Hello, u32::MAX),
    ] {
        let mut bytes = sample(name);
        bytes[8..12].copy_from_slice(&sender.to_le_bytes());
        assert_eq!(message(&vouched(&bytes)), Err(WireError::WrongSender { kind }));
    }
}

/// 16: what follows the last field is part of no message.
#[test]
fn trailing_bytes_are_refused_by_every_kind_that_does_not_end_in_bytes() {
    for (name, incoming) in samples() {
        let mut bytes = bytes_of(&incoming);
        bytes.extend_from_slice(&[0]);
        let decoded = message(&vouched(&bytes));
        let kind = frames(&bytes_of(&incoming)).unwrap()[0].header().kind;
        match name {
            "request" | "read" | "read-bounded" | "read-causal" | "reply" | "reply-empty"
            | "read-reply" | "status-reply" | "checkpoint" | "chunk" | "pre-step-ok" => {
                assert!(decoded.is_ok(), "{name} ends in bytes of any length");
            }
            "prepare-predicted" | "prepare-predicted-empty" | "entry-predicted" => {
                // The header says how much there is.
                assert_eq!(decoded, malformed(kind, Malformed::Requests), "{name}");
            }
            _ => assert_eq!(decoded, malformed(kind, Malformed::Trailing), "{name}"),
        }
    }
}

/// 17: how a stream is cut makes no difference.
#[test]
fn two_frames_glued_and_split_anywhere_are_two_frames() {
    let glued = [&sample("prepare")[..], &sample("ping")[..]].concat();
    let expected = frames(&glued).unwrap();
    assert_eq!(expected.len(), 2);
    for cut in 0..=glued.len() {
        let mut reader = FrameReader::new(FRAME_LIMIT);
        let mut found = Vec::new();
        for piece in [&glued[..cut], &glued[cut..]] {
            reader.push(piece);
            while let Some(frame) = reader.next_frame().unwrap() {
                found.push(frame);
            }
        }
        assert_eq!(found, expected, "split at {cut}");
    }
}

/// 18: a byte at a time is slow, and costs no more memory than the bytes. (How long a sender may
/// take is the transport's to limit.)
#[test]
fn a_byte_at_a_time_is_a_frame_in_the_end() {
    let bytes = sample("prepare");
    let mut reader = FrameReader::new(FRAME_LIMIT);
    for (arrived, byte) in bytes.iter().enumerate() {
        assert_eq!(reader.next_frame(), Ok(None), "after {arrived} bytes");
        reader.push(&[*byte]);
        assert!(reader.capacity() <= GROWTH_STEP);
    }
    assert!(matches!(reader.next_frame(), Ok(Some(_))));
}

/// 19: a header that promises as much as the limit allows, then silence.
#[test]
fn a_header_that_lies_costs_64_kib() {
    let mut bytes = sample("ping")[..HEADER_LENGTH].to_vec();
    let length = FRAME_LIMIT - HEADER_LENGTH as u32;
    bytes[12..16].copy_from_slice(&length.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..44]);
    bytes[44..48].copy_from_slice(&crc.to_le_bytes());
    let mut reader = FrameReader::new(FRAME_LIMIT);
    reader.push(&bytes);
    assert_eq!(reader.next_frame(), Ok(None));
    assert!(reader.room().capacity() <= GROWTH_STEP);
    // As bytes do arrive, it grows, by no more than has arrived.
    let mut arrived = 0;
    while arrived < 4 * GROWTH_STEP {
        let room = reader.room();
        let free = room.capacity() - room.len();
        assert!(free > 0, "there is always room to read into");
        room.extend_from_slice(&vec![0; free]);
        arrived += free;
        assert!(reader.capacity() <= 2 * arrived + GROWTH_STEP);
    }
}

/// 22, 23: counts of lists beyond the limit, and beyond the bytes that are there.
#[test]
fn a_count_beyond_the_bytes_or_the_limit_is_refused() {
    let envelope = [0; 20];
    let lists: [(FrameKind, usize, usize); 4] = [
        (FrameKind::Headers, 0, HEADERS_MAX),
        (FrameKind::GetEntry, 0, WANTED_MAX),
        (FrameKind::DoViewChange, 32, SUFFIX_MAX),
        (FrameKind::StartView, 9, SUFFIX_MAX),
    ];
    for (kind, before, max) in lists {
        let with_count = |count: u32| {
            let body = [&envelope[..], &vec![0; before], &count.to_le_bytes()].concat();
            message(&frame(kind, &body))
        };
        assert_eq!(with_count(max as u32), malformed(kind, Malformed::Short));
        assert_eq!(with_count(max as u32 + 1), malformed(kind, Malformed::Count));
        assert_eq!(with_count(u32::MAX), malformed(kind, Malformed::Count));
    }
}

/// 22, 23 for requests, whose count is in the entry's header, and whose lengths are in their rows.
#[test]
fn requests_beyond_the_bytes_or_other_than_stated_are_refused() {
    let kind = FrameKind::Entry;
    let body = sample("entry")[HEADER_LENGTH..].to_vec();
    let (count, length, rows) = (20 + 96, 20 + 100, 20 + 108);
    let with = |at: usize, value: u32| {
        let mut body = body.clone();
        body[at..at + 4].copy_from_slice(&value.to_le_bytes());
        message(&frame(kind, &body))
    };
    assert_eq!(with(count, 65_537), malformed(kind, Malformed::Count));
    assert_eq!(with(count, u32::MAX), malformed(kind, Malformed::Count));
    assert_eq!(with(count, 65_536), malformed(kind, Malformed::Short));
    assert_eq!(with(count, 4), malformed(kind, Malformed::Short));
    assert_eq!(with(count, 2), malformed(kind, Malformed::Trailing));
    assert_eq!(with(length, 8), malformed(kind, Malformed::Requests));
    assert_eq!(with(rows + 48 + 4, u32::MAX), malformed(kind, Malformed::Short));
    assert_eq!(with(rows + 48 + 4, 6), malformed(kind, Malformed::Trailing));
    // A registration has no bytes of its own, and no other fields than its own.
    assert_eq!(with(rows + 4, 1), malformed(kind, Malformed::Tag));
    assert_eq!(with(rows + 40, 1), malformed(kind, Malformed::Tag));
    // Beside the span, which may have any value.
    assert_eq!(with(rows + 48 + 28, 1 << 8), malformed(kind, Malformed::Tag));
}

/// 24, 25, 27: tags of enums, bools and options.
#[test]
fn a_tag_out_of_range_is_refused() {
    for (name, kind, at, value) in [
        ("hello-replica", FrameKind::Hello, 2, 2),
        ("refused", FrameKind::Refused, 28, 2),
        ("refused", FrameKind::Refused, 28 + 13 + 8, 6),
        ("entry", FrameKind::Entry, 20 + 104, 3),
        ("entry", FrameKind::Entry, 20 + 108, 2),
        ("reply", FrameKind::Reply, 28 + 28, 2),
        ("do-view-change", FrameKind::DoViewChange, 20 + 36 + 1, 2),
        ("do-view-change", FrameKind::DoViewChange, 20 + 36, 7),
        ("start-view", FrameKind::StartView, 20 + 8, 7),
    ] {
        let mut bytes = sample(name);
        bytes[HEADER_LENGTH + at] = value;
        let decoded = message(&vouched(&bytes));
        assert_eq!(decoded, malformed(kind, Malformed::Tag), "{name} at {at}");
    }
}

/// 26: there is no text on the wire; a status document travels as the bytes it is. 28: no varints.
/// 31: no maps. 32: nothing contains itself. What remains of these is that no message has two
/// encodings, which `memory.rs` checks for every damaged frame that is accepted.
#[test]
fn bytes_that_are_not_utf_8_travel_as_they_are() {
    let decoded = message(&frame(FrameKind::StatusReply, b"\xff\xc3(")).unwrap();
    assert_eq!(
        decoded,
        Incoming::StatusReply {
            cluster: CLUSTER,
            from: ReplicaId(1),
            json: Bytes::from_static(b"\xff\xc3(")
        }
    );
}

/// 28: a number padded with zeros, as a varint could be, is a byte too many here.
#[test]
fn a_number_has_one_width() {
    let vote = sample("start-view-change");
    let body = &vote[HEADER_LENGTH..];
    for length in 0..body.len() {
        assert_eq!(
            message(&frame(FrameKind::StartViewChange, &body[..length])),
            malformed(FrameKind::StartViewChange, Malformed::Short)
        );
    }
}

fn peer(kind: Kind<Bytes>) -> Incoming {
    Incoming::Peer {
        from: ReplicaId(1),
        message: Message {
            cluster: CLUSTER,
            epoch: Epoch(0),
            view: ViewNumber(u64::MAX),
            incarnation: Incarnation(u64::MAX),
            kind,
        },
    }
}

fn lists_of(headers: usize, wanted: usize, suffix: usize) -> [Incoming; 4] {
    let header: Header = *entry().header();
    let slot = SuffixSlot { header: Some(header), present: true, nack: true };
    [
        peer(Kind::Headers { headers: vec![header; headers] }),
        peer(Kind::GetEntry { wanted: vec![(OpNumber(u64::MAX), Checksum(u128::MAX)); wanted] }),
        peer(Kind::DoViewChange {
            log_view: ViewNumber(u64::MAX),
            op: OpNumber(u64::MAX),
            commit_min: OpNumber(u64::MAX),
            commit_max: OpNumber(u64::MAX),
            suffix: vec![slot; suffix],
        }),
        peer(Kind::StartView {
            commit_max: OpNumber(u64::MAX),
            suffix: vec![header; suffix],
            nonce: None,
        }),
    ]
}

/// 29, 30.
#[test]
fn empty_and_maximal_lists_travel_and_longer_ones_are_not_sent() {
    let empty = lists_of(0, 0, 0);
    let maximal = lists_of(HEADERS_MAX, WANTED_MAX, SUFFIX_MAX);
    for incoming in empty.into_iter().chain(maximal) {
        let bytes = bytes_of(&incoming);
        assert!(bytes.len() <= FRAME_LIMIT as usize);
        assert_eq!(message(&bytes), Ok(incoming));
    }
    for incoming in lists_of(HEADERS_MAX + 1, WANTED_MAX + 1, SUFFIX_MAX + 1) {
        let Incoming::Peer { from, message } = incoming else {
            unreachable!("the lists are peers' messages")
        };
        let mut out = BytesMut::from(&b"before"[..]);
        let result = vsr_wire::encode_message(&message, from, &mut out);
        assert!(matches!(result, Err(WireError::Malformed { problem: Malformed::Count, .. })));
        assert_eq!(&out[..], b"before", "nothing is left of it");
    }
}
