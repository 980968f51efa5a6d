//! The bytes of every message, as files: what has been released is never changed by accident.
//!
//! After a deliberate change, which needs a new version, run with `GOLDEN=write`.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests may")]

mod common;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use common::{bytes_of, frames, message, samples};
use vsr_wire::{CloseReason, FRAME_LIMIT, FrameKind};

#[test]
fn every_message_has_the_bytes_it_was_released_with() {
    for (name, incoming) in samples() {
        let bytes = bytes_of(&incoming);
        let path = golden(name);
        if std::env::var_os("GOLDEN").is_some_and(|value| value == "write") {
            std::fs::write(&path, hex(&bytes)).unwrap();
        }
        let expected = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(hex(&bytes), expected, "{name} is encoded differently");
        assert_eq!(message(&unhex(&expected)), Ok(incoming), "{name} decoded");
    }
}

#[test]
fn every_kind_of_frame_has_a_golden_file_and_every_file_a_message() {
    let kinds: BTreeSet<FrameKind> = samples()
        .iter()
        .map(|(_, incoming)| frames(&bytes_of(incoming)).unwrap()[0].header().kind)
        .collect();
    assert_eq!(kinds, FrameKind::ALL.into_iter().collect());
    let names: BTreeSet<PathBuf> = samples().iter().map(|(name, _)| golden(name)).collect();
    let files: BTreeSet<PathBuf> =
        std::fs::read_dir(folder()).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files, names);
}

#[test]
fn every_kind_of_frame_is_in_the_document() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/WIRE.md");
    let document = std::fs::read_to_string(document).unwrap();
    for kind in FrameKind::ALL {
        let row = format!("| {} | {kind} |", kind.number());
        assert!(document.contains(&row), "docs/WIRE.md lacks `{row}`");
    }
    for reason in CloseReason::ALL {
        let name = format!("{reason:?}");
        let words: String = name
            .chars()
            .flat_map(|c| match c.is_uppercase() {
                true => vec![' ', c.to_ascii_lowercase()],
                false => vec![c],
            })
            .collect();
        let entry = format!("{}{words}", reason.code());
        let document = document.replace('\n', " ");
        assert!(document.contains(&entry), "docs/WIRE.md lacks `{entry}`");
    }
    let limit = "1,294,336";
    assert_eq!(limit.replace(',', ""), FRAME_LIMIT.to_string());
    assert!(document.contains(limit), "docs/WIRE.md states the default limit");
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn golden(name: &str) -> PathBuf {
    folder().join(format!("{name}.hex"))
}

/// Sixteen bytes a line.
fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for line in bytes.chunks(16) {
        for byte in line {
            write!(text, "{byte:02x}").unwrap();
        }
        text.push('\n');
    }
    text
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}
