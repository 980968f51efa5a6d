//! Scrubbing: what nobody reads is read, and all damage is found in one round.

use vsr_core::{Checkpoint, Checksum, Chunk, Durability, Fetch, Fetched, OpNumber, WriteKind};
use vsr_core::{Constants, SuperblockState};
use vsr_storage::{Inspection, Progress, SimDisk, Store};

use crate::common::{SMALL, append, chain, formatted, formatted_with, reopen, state};
use crate::helpers::*;

/// Less than what is there has.
const PART: u64 = 8192;

const ENTRIES: u64 = 40;
const COPIES: u64 = 4;

/// A store with a log, and a checkpoint of five chunks and no sessions that the superblock names.
fn filled() -> (SimDisk, Store<SimDisk>, Checkpoint) {
    let disk = formatted();
    let (mut store, _) = reopen(&disk);
    let entries = chain(ENTRIES, 1, 1000);
    append(&mut store, &entries);
    store.sync().unwrap();
    let header = *entries[3].header();
    store.begin_checkpoint(header, &[]).unwrap();
    for chunk in small_state(1, 5) {
        store.put_chunk(&Chunk::Bytes(chunk.into())).unwrap();
    }
    let id = loop {
        if let Progress::Finished(info) = store.finish_checkpoint().unwrap() {
            break info.id;
        }
    };
    let checkpoint = Checkpoint { header, id };
    let named = SuperblockState { checkpoint, ..state(1, &entries) };
    store.write(&WriteKind::Superblock(Box::new(named))).unwrap();
    store.sync().unwrap();
    while store.idle().unwrap() {}
    assert_eq!(store.damaged_checkpoint(), None);
    (disk, store, checkpoint)
}

/// The ops found damaged in a round, and in how many parts it went.
fn round(store: &mut Store<SimDisk>) -> (Vec<OpNumber>, usize) {
    let mut faulty = Vec::new();
    for parts in 1.. {
        let scrubbed = store.scrub(PART).unwrap();
        assert!(scrubbed.bytes <= 2 * PART.max(SUPERBLOCK), "{} at once", scrubbed.bytes);
        faulty.extend(scrubbed.faulty);
        if scrubbed.is_over {
            return (faulty, parts);
        }
    }
    unreachable!("a round ends")
}

/// All copies.
const SUPERBLOCK: u64 = 4 * 64 * 1024;

#[test]
fn a_round_over_a_good_disk_finds_nothing_and_is_cut_in_parts() {
    let (disk, mut store, _) = filled();
    let syncs = disk.syncs();
    for _ in 0..2 {
        let (faulty, parts) = round(&mut store);
        assert_eq!(faulty, []);
        // Records of more than 40 kB, the chunks, their end, and the superblock.
        assert!(parts > 5 + 2 + 4, "{parts}");
    }
    assert_eq!(store.damaged_checkpoint(), None);
    assert_eq!(disk.syncs(), syncs, "it only reads");
}

#[test]
fn every_damaged_record_is_found_in_one_round_and_told_until_it_is_marked() {
    let (disk, mut store, _) = filled();
    let inspection = Inspection::open(&disk).unwrap();
    for op in [2, 17, ENTRIES] {
        let slot = inspection.slots(OpNumber(op), OpNumber(op)).next().unwrap();
        disk.corrupt("log", slot.record.unwrap().0 + 200, &[1]);
    }
    let damaged = [2, 17, ENTRIES].map(OpNumber);
    assert_eq!(round(&mut store).0, damaged);
    assert_eq!(round(&mut store).0, damaged, "the core may have missed it");
    for op in damaged {
        store.write(&WriteKind::MarkFaulty(op)).unwrap();
    }
    store.sync().unwrap();
    assert_eq!(round(&mut store).0, []);
}

/// Whoever has the state can give the bytes of what is gone, and a checkpoint of the same op is whole again.
#[test]
fn lost_chunks_are_told_and_another_checkpoint_of_the_same_op_replaces_the_damaged_one() {
    let (disk, mut store, checkpoint) = filled();
    let Checkpoint { header, id } = checkpoint;
    let state = small_state(1, 5);
    let same = |at: usize| Chunk::Same(Checksum::of(&state[at]));
    let places = Inspection::open(&disk).unwrap().chunks(&disk, id).unwrap();
    let lost: Vec<Checksum> = [1, 3].map(|at| Checksum::of(&state[at])).to_vec();
    for place in places.iter().filter(|place| lost.contains(&place.chunk.digest)) {
        disk.corrupt(&place.file, place.offset + 3, &[0x80]);
    }
    assert_eq!(store.take_lost_chunks(), []);
    round(&mut store);
    assert_eq!(store.take_lost_chunks(), lost);
    assert_eq!(store.take_lost_chunks(), [], "they are told once");
    // A service that does not know it yet counts on one of them.
    store.begin_checkpoint(header, &[]).unwrap();
    store.put_chunk(&same(0)).unwrap();
    store.put_chunk(&same(1)).unwrap_err();
    assert_eq!(store.take_lost_chunks(), lost[..1]);
    store.begin_checkpoint(header, &[]).unwrap();
    for (at, chunk) in state.iter().enumerate() {
        let is_lost = lost.contains(&Checksum::of(chunk));
        let bytes = Chunk::Bytes(chunk.clone().into());
        store.put_chunk(&if is_lost { bytes } else { same(at) }).unwrap();
    }
    let again = loop {
        if let Progress::Finished(info) = store.finish_checkpoint().unwrap() {
            break info.id;
        }
    };
    assert_eq!(again, id, "equal states are equal checkpoints");
    round(&mut store);
    assert_eq!((store.damaged_checkpoint(), store.take_lost_chunks()), (None, Vec::new()));
    drop(store);
    disk.lose_power(3);
    let (mut store, stored) = reopen(&disk);
    assert!(!stored.is_checkpoint_damaged);
    let read: Vec<_> = (0..5).map(|at| store.state_chunk(at).unwrap().unwrap().to_vec()).collect();
    assert_eq!(read, state);
}

#[test]
fn a_damaged_chunk_is_found_and_its_checkpoint_can_be_mended() {
    let (disk, mut store, checkpoint) = filled();
    let id = checkpoint.id;
    let places = Inspection::open(&disk).unwrap().chunks(&disk, id).unwrap();
    let place = &places[2];
    disk.corrupt(&place.file, place.offset + 3, &[0x80]);
    assert_eq!(store.damaged_checkpoint(), None, "nobody read it yet");
    assert_eq!(round(&mut store).0, []);
    assert_eq!(store.damaged_checkpoint(), Some(id));
    assert_eq!(store.damaged_checkpoint(), None, "it is told once");
    let begun = store.fetch(&Fetch::Mend { checkpoint }).unwrap();
    let digest = place.chunk.digest;
    assert_eq!(begun, Some(Fetched::Missing { id, chunks: vec![digest], left: 1 }));
    let chunk = small_state(1, 5).into_iter().find(|chunk| Checksum::of(chunk) == digest).unwrap();
    store.fetch(&Fetch::Put { chunk: chunk.into() }).unwrap();
    let synced = store.fetch(&Fetch::Sync { id }).unwrap();
    assert_eq!(synced, Some(Fetched::Missing { id, chunks: Vec::new(), left: 0 }));
    let whole = loop {
        if let Some(done) = store.fetch(&Fetch::Finish { id }).unwrap() {
            break done;
        }
    };
    assert_eq!(whole, Fetched::Whole { id, sessions: Vec::new() });
    round(&mut store);
    assert_eq!(store.damaged_checkpoint(), None);
    drop(store);
    disk.lose_power(3);
    let (_, stored) = reopen(&disk);
    assert!(!stored.is_checkpoint_damaged);
}

/// One pass finds all that is damaged, however much it is.
#[test]
fn what_else_is_damaged_is_found_before_a_checkpoint_is_whole() {
    let (disk, mut store, checkpoint) = filled();
    let id = checkpoint.id;
    let places = Inspection::open(&disk).unwrap().chunks(&disk, id).unwrap();
    for place in &places {
        disk.corrupt(&place.file, place.offset, &[1]);
    }
    let begun = store.fetch(&Fetch::Mend { checkpoint }).unwrap();
    assert_eq!(begun, Some(Fetched::Missing { id, chunks: Vec::new(), left: 0 }));
    let mut steps = 0;
    let found = loop {
        steps += 1;
        if let Some(found) = store.fetch(&Fetch::Finish { id }).unwrap() {
            break found;
        }
    };
    let Fetched::Missing { chunks, left, .. } = found else { panic!("{found:?}") };
    assert_eq!((chunks.len(), left as usize), (places.len(), places.len()));
    assert!(steps <= places.len() + 3, "{steps}");
}

#[test]
fn a_damaged_copy_of_the_superblock_is_written_again() {
    for copy in 0..COPIES {
        let (disk, mut store, _) = filled();
        let length = disk.contents("superblock").len() as u64;
        disk.corrupt("superblock", length / COPIES * copy + 100, &[4]);
        assert_eq!(round(&mut store).0, []);
        while store.idle().unwrap() {}
        drop(store);
        let mut found = Vec::new();
        let inspection = Inspection::open(&disk).unwrap();
        inspection.verify(&disk, |finding| found.push(finding)).unwrap();
        assert_eq!(found, [], "copy {copy}");
    }
}

#[test]
fn a_store_in_memory_has_nothing_to_scrub() {
    let disk = formatted_with(Constants { durability: Durability::Memory, ..SMALL });
    let (mut store, _) = reopen(&disk);
    append(&mut store, &chain(3, 1, 10));
    store.sync().unwrap();
    let scrubbed = store.scrub(PART).unwrap();
    assert!(scrubbed.is_over && scrubbed.bytes == 0, "{scrubbed:?}");
}
