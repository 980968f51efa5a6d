//! What comes to an open UDP port: garbage, floods, and clients that behave badly. The replica's
//! memory and answers stay bounded, and honest clients go on. Numbers in brackets are those of the
//! bad inputs in `docs/SECURITY.md`.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets anything else fails"
)]
mod common;

use std::net::UdpSocket;
use std::time::Duration;

use bytes::Bytes;
use common::{Certificates, Client, Log, Node, PATIENCE, ports};
use vsr_tokio::{Access, Incoming, Transport};

/// A replica without peers and its log.
async fn alone() -> (Certificates, Node, u16, Log) {
    let log = Log::capture();
    let certificates = Certificates::new();
    let ports = ports::<1>();
    let node = Node::start(&certificates, 0, 1, &ports).await;
    (certificates, node, ports[0], log)
}

async fn still_serves(certificates: &Certificates, node: &mut Node, port: u16) {
    let client = Client::start(certificates.client("honest", Access::ReadWrite), &[port]);
    client.request(0, 1, Bytes::from_static(b"x"));
    loop {
        if let Incoming::Request { identity, .. } = node.next().await
            && identity.name == "honest"
        {
            return;
        }
    }
}

fn stranger(port: u16) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(("127.0.0.1", port)).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

/// Numbers without meaning, the same in each run.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    })
    .take(length)
    .collect()
}

/// The first packet of a version 1 connection, as far as it can be told without keys.
fn initial(length: usize, seed: u64) -> Vec<u8> {
    let mut packet = vec![0xc0, 0, 0, 0, 1, 8];
    packet.extend(noise(seed, 8));
    packet.extend([0, 0]);
    let rest = length.saturating_sub(packet.len() + 2);
    packet.extend([0x40 | (rest >> 8) as u8, rest as u8]);
    packet.extend(noise(seed + 1, rest));
    packet.truncate(length);
    packet
}

const NOT_QUIC: &str = "not QUIC for this replica";

#[tokio::test]
async fn plain_garbage_is_dropped_with_one_line_each_kind() {
    for (garbage, line) in [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), NOT_QUIC),
        (b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), NOT_QUIC),
        (vec![0; 1200], NOT_QUIC),
        (vec![0x40; 1200], NOT_QUIC),
        (vec![0xff; 1200], "another QUIC version"),
        (vec![0x7f], NOT_QUIC),
    ] {
        let (certificates, mut node, port, log) = alone().await;
        let before = log.warnings("").len();
        let stranger = stranger(port);
        for _ in 0..10 {
            stranger.send(&garbage).unwrap();
        }
        common::until("a line about it", || log.warnings("").len() > before).await;
        still_serves(&certificates, &mut node, port).await;
        let lines = log.warnings("");
        assert_eq!(lines.len(), before + 1, "{lines:#?}");
        assert!(lines[before].contains(line), "{lines:#?}");
    }
}

#[tokio::test]
async fn noise_of_every_length_does_no_harm() {
    let (certificates, mut node, port, log) = alone().await;
    let stranger = stranger(port);
    for length in 0..1500 {
        let mut packet = noise(length as u64, length);
        // Every fourth looks like the beginning of a connection. [46], [47]
        if length % 4 == 0 && length > 5 {
            packet[..5].copy_from_slice(&[0xc3, 0, 0, 0, 1]);
        }
        // A full buffer of the socket is no failure of the test.
        let _ = stranger.send(&packet);
        if length % 64 == 0 {
            tokio::task::yield_now().await;
        }
    }
    still_serves(&certificates, &mut node, port).await;
    let lines = log.warnings("");
    assert!(lines.len() <= 2, "{lines:#?}");
}

/// SEC-11, by counting: what is answered to an address that has proven nothing.
#[tokio::test]
async fn unproven_addresses_get_at_most_three_times_what_they_sent() {
    let (certificates, mut node, port, _log) = alone().await;
    let stranger = stranger(port);
    let mut sent = 0;
    // Unknown versions are answered with a list of the known ones; garbage with nothing.
    for seed in 0..100 {
        let mut packet = initial(1200, seed);
        if seed % 2 == 0 {
            packet[1..5].copy_from_slice(&0x0a0a_0a0a_u32.to_be_bytes());
        }
        sent += stranger.send(&packet).unwrap();
        tokio::task::yield_now().await;
    }
    still_serves(&certificates, &mut node, port).await;
    let mut received = 0;
    let mut buffer = [0; 2048];
    while let Ok(length) = stranger.recv(&mut buffer) {
        received += length;
    }
    assert!(received > 0, "unknown versions are answered");
    assert!(received <= 3 * sent, "{received} for {sent}");
}

/// [48], [49], [50]
#[tokio::test]
async fn impossible_headers_are_dropped() {
    let (certificates, mut node, port, _log) = alone().await;
    let stranger = stranger(port);
    let mut negotiation = initial(1200, 1);
    negotiation[1..5].fill(0);
    let mut long_id = initial(1200, 2);
    long_id[5] = 255;
    for packet in [negotiation, long_id, initial(1199, 3), initial(20, 4)] {
        stranger.send(&packet).unwrap();
    }
    still_serves(&certificates, &mut node, port).await;
    let mut buffer = [0; 2048];
    assert!(stranger.recv(&mut buffer).is_err(), "nothing is answered");
}

/// [52] Real first packets from ever new ports, none of which is ever completed.
#[tokio::test]
async fn a_flood_of_connections_that_never_complete_holds_up_nobody() {
    let (certificates, mut node, port, _log) = alone().await;
    // A client that is blind: its datagrams go out and nothing is read.
    let recorder = UdpSocket::bind("127.0.0.1:0").unwrap();
    recorder.set_nonblocking(true).unwrap();
    let target = recorder.local_addr().unwrap().port();
    let mut first_packets = Vec::new();
    let credentials = certificates.client("flood", Access::ReadOnly);
    let _dialling: Vec<_> = (0..8).map(|_| Client::start(credentials.clone(), &[target])).collect();
    common::until("first packets are recorded", || {
        let mut buffer = [0; 2048];
        while let Ok(length) = recorder.recv(&mut buffer) {
            first_packets.push(buffer[..length].to_vec());
        }
        first_packets.len() >= 8
    })
    .await;
    for round in 0..300 {
        let socket = stranger(port);
        for packet in &first_packets {
            let _ = socket.send(packet);
        }
        if round % 8 == 0 {
            tokio::task::yield_now().await;
        }
    }
    still_serves(&certificates, &mut node, port).await;
}

/// [87] The replies that one client does not read are bounded, and it is disconnected.
#[tokio::test]
async fn a_client_that_never_reads_is_disconnected_and_others_are_not_held_up() {
    let (certificates, mut node, port, log) = alone().await;
    let slow = Client::start(certificates.client("slow", Access::ReadWrite), &[port]);
    slow.request(0, 1, Bytes::from_static(b"x"));
    let Incoming::Request { connection, .. } = node.next().await else {
        panic!("not a request");
    };
    // Nobody receives from `slow.answers`: its channel fills, and then it stops reading.
    let body = Bytes::from(vec![1; 64 * 1024]);
    let flood = async {
        let mut number = 0;
        while log.warnings("replies are not read").is_empty() {
            number += 1;
            node.transport.reply(connection, common::reply(0, number, body.clone()));
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, flood).await.unwrap();
    still_serves(&certificates, &mut node, port).await;
}

/// A node that takes nothing from its inbox slows its senders down, and loses nothing of theirs.
#[tokio::test]
async fn a_replica_that_is_behind_stops_reading_and_later_goes_on() {
    let (certificates, mut node, port, _log) = alone().await;
    let client = Client::start(certificates.client("eager", Access::ReadWrite), &[port]);
    let count = 3000;
    for number in 1..=count {
        client.request(0, number, Bytes::from_static(b"put"));
    }
    // More than the inbox holds was sent; wait until it has arrived as far as it can.
    tokio::time::timeout(PATIENCE, client.transport.wait_connected()).await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), async {
        for expected in 1..=count {
            let Incoming::Request { request, .. } = node.next().await else {
                panic!("not a request");
            };
            let vsr_core::ClientRequestKind::Operation { number, .. } = request.kind else {
                panic!("not an operation");
            };
            assert_eq!(number.0, expected);
        }
    })
    .await
    .expect("all of them arrive");
}
