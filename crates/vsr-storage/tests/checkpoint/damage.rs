//! Damage of every kind is noticed, named, never returned as good, and repaired.

use vsr_core::{Checksum, OpNumber};
use vsr_storage::{
    CheckpointDamage, CheckpointInfo, Checkpoints, ChunkError, Disk as _, OpenError, SimDisk,
};

use crate::common::CLUSTER;
use crate::helpers::*;

/// A small store with two checkpoints that share chunks.
fn specimen() -> (SimDisk, [(CheckpointInfo, State); 2]) {
    let disk = SimDisk::new();
    let mut checkpoints = open(&disk);
    let first: State = (0..4).map(|number| chunk(21, number, 40 + 7 * number as usize)).collect();
    let mut second = first.clone();
    change_chunk(&mut second, 2, 1);
    let one = write(&mut checkpoints, &disk, 1, &first);
    let two = write(&mut checkpoints, &disk, 2, &second);
    (disk, [(one, first), (two, second)])
}

/// Reads everything: each chunk comes back as it was written, or is named as damaged. Returns how
/// many were damaged.
fn read_all(disk: &SimDisk, written: &[(CheckpointInfo, State)]) -> usize {
    read_all_of(&mut open(disk), disk, written)
}

fn read_all_of(
    checkpoints: &mut Checkpoints<SimDisk>,
    disk: &SimDisk,
    written: &[(CheckpointInfo, State)],
) -> usize {
    let mut damaged = 0;
    for (info, state) in written {
        let chunks = table(info.header.op.0).into_iter().chain(state.iter().cloned());
        for (place, written) in (0..).zip(chunks) {
            match checkpoints.chunk(disk, info.id, place) {
                Ok(read) => assert_eq!(read, written),
                Err(ChunkError::Damaged { index, digest }) => {
                    assert_eq!((index, digest), (place, Checksum::of(&written)));
                    damaged += 1;
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
    damaged
}

/// One bit of each byte, or as many as `VSR_FLIP_BITS` says; few of those that are zero.
#[test]
fn a_flip_of_any_bit_is_noticed_and_never_read_as_good() {
    let bits = std::env::var("VSR_FLIP_BITS").map_or(1, |bits| bits.parse().unwrap());
    let (disk, written) = specimen();
    let (mut noticed, mut silent) = (0, 0);
    for name in names(&disk) {
        for (at, byte) in (0..).zip(disk.contents(&name)) {
            let bits = if byte == 0 && at % 5 != 0 { 0 } else { bits };
            for bit in (0..bits).map(|bit| (bit + at) % 8) {
                let flipped = disk.fork();
                flipped.corrupt(&name, at, &[1 << bit]);
                let mut checkpoints = open(&flipped);
                assert_eq!(checkpoints.unreadable(), []);
                let report = checkpoints.opened();
                let mended = report.damaged_copies + report.damaged_pack_heads;
                let damaged = read_all_of(&mut checkpoints, &flipped, &written);
                if mended == 0 && damaged == 0 {
                    // Nothing but zeros that fill up a record.
                    assert!(name.starts_with("pack") && byte == 0, "{name} {at}");
                    silent += 1;
                } else {
                    noticed += 1;
                }
            }
        }
    }
    eprintln!("{noticed} flips noticed, {silent} in bytes that say nothing");
    assert!(silent <= 16 * bits);
}

#[test]
fn every_cut_of_a_file_is_noticed() {
    let (disk, written) = specimen();
    for name in names(&disk) {
        let length = disk.contents(&name).len() as u64;
        for cut in (0..length).step_by(61).chain([length - 1]) {
            let cut_short = disk.fork();
            cut_short.cut(&name, cut);
            let mut checkpoints = open(&cut_short);
            let noticed = !checkpoints.opened().is_clean()
                || !checkpoints.unreadable().is_empty()
                || !checkpoints.verify(&cut_short).unwrap().is_empty();
            // The zeros that fill up the last record of a pack.
            assert!(noticed || (name.starts_with("pack") && length - cut < 8), "{name} {cut}");
            if checkpoints.unreadable().is_empty() {
                read_all(&cut_short, &written);
            }
        }
    }
}

#[test]
fn a_sector_that_cannot_be_read_is_damage() {
    let (disk, written) = specimen();
    disk.make_unreadable("pack-0", 4096);
    let damaged = read_all(&disk, &written);
    assert!(damaged >= 6, "{damaged}");
    // One copy of a manifest is enough, and is mended.
    let (disk, written) = specimen();
    let name = names(&disk)[0].clone();
    disk.make_unreadable(&name, 0);
    assert_eq!(open(&disk).opened().damaged_copies, 1);
    assert!(open(&disk).opened().is_clean());
    assert_eq!(read_all(&disk, &written), 0);
}

#[test]
fn a_lost_or_misdirected_write_is_damage() {
    for misdirected in [false, true] {
        let disk = SimDisk::new();
        let mut checkpoints = open(&disk);
        let state = random_state(3, 8);
        put_all(&mut checkpoints, &disk, 1, &state[..7]).unwrap();
        match misdirected {
            true => disk.misdirect_next_write("pack-0", 512),
            false => disk.lose_next_write("pack-0"),
        }
        checkpoints.put(&disk, vsr_storage::Section::State, &state[7]).unwrap();
        checkpoints.put(&disk, vsr_storage::Section::State, b"more").unwrap();
        let info = finish(&mut checkpoints, &disk);
        let error = checkpoints.chunk(&disk, info.id, 9).unwrap_err();
        let expected = Checksum::of(&state[7]);
        assert!(matches!(error, ChunkError::Damaged { index: 9, digest } if digest == expected));
        let digest = Checksum::of(b"more");
        assert!(checkpoints.chunk_by_digest(&disk, digest).unwrap().is_some() || misdirected);
    }
}

#[test]
fn a_damaged_chunk_is_repaired_for_all_checkpoints_that_have_it() {
    let (disk, written) = specimen();
    let [(first, state), (second, _)] = &written;
    let digest = Checksum::of(&state[2]);
    let at = find(&disk.contents("pack-0"), &state[2]);
    disk.corrupt("pack-0", at, &[0xff]);
    let mut checkpoints = open(&disk);
    let named = |id| CheckpointDamage::Chunk {
        id,
        index: 4,
        chunk: checkpoints.manifest(id).unwrap().chunks()[4],
    };
    let expected = [named(first.id), named(second.id)];
    assert_eq!(checkpoints.verify(&disk).unwrap(), expected);
    let error = checkpoints.repair(&disk, &[(digest, b"something else")]).unwrap_err();
    assert!(!error.is_fatal());
    let unknown = Checksum::of(b"not here");
    let error = checkpoints.repair(&disk, &[(unknown, b"not here")]).unwrap_err();
    assert!(!error.is_fatal());
    checkpoints.repair(&disk, &[(digest, &state[2])]).unwrap();
    assert_eq!(checkpoints.verify(&disk).unwrap(), []);
    disk.lose_power(1);
    assert_eq!(read_all(&disk, &written), 0);
    assert_eq!(open(&disk).verify(&disk).unwrap(), []);
    assert_nothing_leaks(&disk);
}

#[test]
fn a_checkpoint_with_much_damage_is_mended_by_fetching_what_is_damaged() {
    let (disk, written) = specimen();
    let (info, state) = &written[1];
    let (pack, damaged) = ("pack-0", [0, 2, 3]);
    for chunk in damaged {
        disk.corrupt(pack, find(&disk.contents(pack), &state[chunk]), &[1]);
    }
    let mut checkpoints = open(&disk);
    assert_eq!(checkpoints.verify(&disk).unwrap().len(), 6);
    let manifest = checkpoints.manifest(info.id).unwrap().encode();
    checkpoints.begin_fetch(&disk, info.id, &manifest).unwrap();
    let missing: Vec<u32> = checkpoints.missing().map(|missing| missing.index).collect();
    assert_eq!(missing, [2, 4, 5]);
    for chunk in damaged {
        assert!(checkpoints.put_fetched(&disk, &state[chunk]).unwrap());
    }
    while let vsr_storage::Progress::Unfinished = checkpoints.finish_fetch(&disk).unwrap() {}
    // The other one reads them where they are now.
    assert_eq!(checkpoints.chunk(&disk, written[0].0.id, 2).unwrap(), written[0].1[0]);
    checkpoints.retain(&disk, &[info.id]).unwrap();
    assert_eq!(read_all(&disk, &written[1..]), 0);
    assert_eq!(open(&disk).verify(&disk).unwrap(), []);
}

/// The next checkpoint writes it again, rather than count on it; nor does it copy it.
#[test]
fn a_chunk_that_was_found_damaged_is_written_again() {
    let (disk, written) = specimen();
    let (info, state) = &written[1];
    disk.corrupt("pack-0", find(&disk.contents("pack-0"), &state[0]), &[1]);
    let mut checkpoints = open(&disk);
    checkpoints.chunk(&disk, info.id, 2).unwrap_err();
    checkpoints.begin(&disk, header(3)).unwrap();
    let digest = Checksum::of(&state[0]);
    checkpoints.same(vsr_storage::Section::State, digest).unwrap_err();
    let third = write(&mut checkpoints, &disk, 3, state);
    assert_holds(&mut checkpoints, &disk, &third, state);
    checkpoints.retain(&disk, &[third.id]).unwrap();
    assert_holds(&mut open(&disk), &disk, &third, state);
}

/// Damage that nobody noticed is not copied as if it were good, and stops nothing.
#[test]
fn damage_is_noticed_when_a_pack_is_emptied() {
    let disk = SimDisk::new();
    let mut checkpoints = open(&disk);
    let mut state = state_of_equal_chunks(1, 20, 1000);
    write(&mut checkpoints, &disk, 1, &state);
    disk.corrupt("pack-0", find(&disk.contents("pack-0"), &state[19]), &[1]);
    for chunk in 0..15 {
        change_chunk(&mut state, 2, chunk);
    }
    let info = write(&mut checkpoints, &disk, 2, &state);
    checkpoints.retain(&disk, &[info.id]).unwrap();
    let error = checkpoints.chunk(&disk, info.id, 21).unwrap_err();
    assert!(matches!(error, ChunkError::Damaged { index: 21, .. }));
    let digest = Checksum::of(&state[19]);
    checkpoints.repair(&disk, &[(digest, &state[19])]).unwrap();
    assert_holds(&mut open(&disk), &disk, &info, &state);
    assert_nothing_leaks(&disk);
}

#[test]
fn a_checkpoint_whose_file_is_lost_is_fetched_again_without_its_chunks() {
    let (disk, written) = specimen();
    let [(first, _), (second, state)] = &written;
    let mut checkpoints = open(&disk);
    let manifest = checkpoints.manifest(second.id).unwrap().encode();
    checkpoints.retain(&disk, &[second.id]).unwrap();
    let name = names(&disk)[0].clone();
    disk.corrupt(&name, 100, &[1]);
    disk.corrupt(&name, 4096 + 100, &[1]);
    let mut checkpoints = open(&disk);
    assert_eq!(checkpoints.unreadable(), [(OpNumber(2), second.id)]);
    assert_eq!(checkpoints.iter().count(), 0);
    checkpoints.begin_fetch(&disk, second.id, &manifest).unwrap();
    assert_eq!(checkpoints.missing().count(), 0);
    while let vsr_storage::Progress::Unfinished = checkpoints.finish_fetch(&disk).unwrap() {}
    assert_eq!(checkpoints.unreadable(), []);
    assert_holds(&mut open(&disk), &disk, second, state);
    assert_nothing_leaks(&disk);
    // Without a fetch it goes when others are retained.
    disk.corrupt(&name, 100, &[1]);
    disk.corrupt(&name, 4096 + 100, &[1]);
    open(&disk).retain(&disk, &[first.id]).unwrap();
    assert_eq!(names(&disk), [""; 0]);
}

#[test]
fn a_pack_that_is_gone_is_noticed() {
    let (disk, written) = specimen();
    disk.remove("pack-0").unwrap();
    assert_eq!(open(&disk).opened().lost_packs, 1);
    assert_eq!(read_all(&disk, &written), 10);
    // Writing goes on, in a pack of a number that no file refers to.
    let mut checkpoints = open(&disk);
    let (_, state) = &written[0];
    let info = write(&mut checkpoints, &disk, 3, state);
    assert_holds(&mut open(&disk), &disk, &info, state);
}

const NEWER: u32 = vsr_storage::FORMAT_VERSION + 1;

#[test]
fn files_of_a_later_version_are_refused_with_exit_status_7() {
    let (disk, _) = specimen();
    let mut newer = disk.contents("pack-1");
    newer[12] = NEWER as u8;
    let crc = crc32c::crc32c(&newer[12..48]);
    newer[8..12].copy_from_slice(&crc.to_le_bytes());
    disk.place("pack-1", 0, &newer);
    let replica = vsr_core::ReplicaId(1);
    let error = vsr_storage::Checkpoints::open(&disk, CLUSTER, replica).unwrap_err();
    assert!(matches!(error, OpenError::Newer { file: "pack", found: NEWER }));
    assert_eq!(error.exit_status(), 7);

    let (disk, _) = specimen();
    let name = names(&disk)[0].clone();
    let mut newer = disk.contents(&name)[..4096].to_vec();
    newer[24] = NEWER as u8;
    let checksum = Checksum::of(&newer[24..]);
    newer[8..24].copy_from_slice(&checksum.0.to_le_bytes());
    disk.place(&name, 0, &newer);
    let error = vsr_storage::Checkpoints::open(&disk, CLUSTER, replica).unwrap_err();
    assert!(matches!(error, OpenError::Newer { file: "checkpoint", found: NEWER }));
}

/// Whatever bytes are found in the files, opening and reading neither panic nor believe them.
#[test]
fn garbage_in_any_file_is_no_checkpoint() {
    let (disk, written) = specimen();
    let mut dice = Dice(11);
    for _ in 0..400 {
        let disk = disk.fork();
        let names = names(&disk);
        for _ in 0..=dice.below(3) {
            let name = &names[dice.below(names.len() as u64) as usize];
            let length = disk.contents(name).len() as u64;
            let at = dice.below(length);
            let garbage = chunk(dice.below(1000), 0, 1 + dice.below(5000) as usize);
            disk.place(name, at, &garbage);
        }
        if let [garbage, ..] = &names[..] {
            disk.place("fetch", 0, &disk.contents(garbage));
        }
        let checkpoints = open(&disk);
        let there: Vec<_> = checkpoints.iter().map(|info| info.id).collect();
        let readable = written.iter().filter(|(info, _)| there.contains(&info.id));
        read_all(&disk, &readable.cloned().collect::<Vec<_>>());
        assert!(there.len() + checkpoints.unreadable().len() == 2);
    }
}

fn find(bytes: &[u8], part: &[u8]) -> u64 {
    bytes.windows(part.len()).position(|window| window == part).unwrap() as u64
}
