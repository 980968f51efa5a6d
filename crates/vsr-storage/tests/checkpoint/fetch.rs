//! Fetching a checkpoint from another replica.

use bytes::Bytes;
use vsr_core::{
    Checkpoint, Checksum, Chunk, Fetch, Fetched, ReplicaId, Served, SuperblockState, Wanted,
    WriteKind,
};
use vsr_storage::{
    CHECKPOINTS_KEPT_MAX, CheckpointError, CheckpointInfo, Checkpoints, Disk as _, Finding,
    Inspection, ManifestError, Progress, SimDisk, Store,
};

use crate::common::{CLUSTER, formatted, reopen, state};
use crate::helpers::*;

struct Donor {
    disk: SimDisk,
    checkpoints: Checkpoints<SimDisk>,
}

impl Donor {
    fn new() -> Self {
        let disk = SimDisk::new();
        let checkpoints = Checkpoints::open(&disk, CLUSTER, ReplicaId(2)).unwrap();
        Self { disk, checkpoints }
    }

    fn write(&mut self, op: u64, state: &State) -> (CheckpointInfo, Vec<u8>) {
        let info = write(&mut self.checkpoints, &self.disk, op, state);
        (info, self.checkpoints.manifest(info.id).unwrap().encode())
    }

    fn chunk(&mut self, id: Checksum, index: u32) -> Bytes {
        self.checkpoints.chunk(&self.disk, id, index).unwrap()
    }
}

fn finish_fetch(checkpoints: &mut Checkpoints<SimDisk>, disk: &SimDisk) -> CheckpointInfo {
    loop {
        if let Progress::Finished(info) = checkpoints.finish_fetch(disk).unwrap() {
            return info;
        }
    }
}

fn fetch_missing(
    checkpoints: &mut Checkpoints<SimDisk>,
    disk: &SimDisk,
    donor: &mut Donor,
    count: usize,
) -> usize {
    let id = checkpoints.fetching().unwrap();
    let missing: Vec<_> = checkpoints.missing().take(count).collect();
    for missing in &missing {
        assert!(checkpoints.put_fetched(disk, &donor.chunk(id, missing.index)).unwrap());
    }
    checkpoints.sync_fetched(disk).unwrap();
    missing.len()
}

#[test]
fn only_chunks_that_are_not_here_are_fetched() {
    let (mut donor, disk) = (Donor::new(), SimDisk::new());
    let mut checkpoints = open(&disk);
    let mut state = random_state(1, 40);
    write(&mut checkpoints, &disk, 1, &state);
    change_chunk(&mut state, 9, 7);
    change_chunk(&mut state, 9, 20);
    let (info, manifest) = donor.write(30, &state);
    checkpoints.begin_fetch(&disk, info.id, &manifest).unwrap();
    let missing: Vec<u32> = checkpoints.missing().map(|missing| missing.index).collect();
    // The second chunk of the table depends on the op; those of the state come after two of the
    // table.
    assert_eq!(missing, [1, 9, 22]);
    let error = checkpoints.finish_fetch(&disk).unwrap_err();
    assert!(matches!(error, CheckpointError::Incomplete { missing: 3 }));
    assert!(!checkpoints.put_fetched(&disk, b"nobody asked for this").unwrap());
    assert_eq!(fetch_missing(&mut checkpoints, &disk, &mut donor, 9), 3);
    assert_eq!(finish_fetch(&mut checkpoints, &disk), info);
    assert_holds(&mut checkpoints, &disk, &info, &state);
    assert_eq!(checkpoints.fetching(), None);
    checkpoints.retain(&disk, &[info.id]).unwrap();
    disk.lose_power(3);
    assert_holds(&mut open(&disk), &disk, &info, &state);
    assert_nothing_leaks(&disk);
}

#[test]
fn a_manifest_that_is_not_the_one_wanted_is_refused() {
    let (mut donor, disk) = (Donor::new(), SimDisk::new());
    let mut checkpoints = open(&disk);
    let (info, manifest) = donor.write(30, &random_state(1, 4));
    for (id, manifest) in [(Checksum(5), &manifest[..]), (info.id, &manifest[1..])] {
        let error = checkpoints.begin_fetch(&disk, id, manifest).unwrap_err();
        let different = ManifestError::Different { id };
        assert!(matches!(error, CheckpointError::Manifest(found) if found == different));
    }
    assert_eq!((names(&disk), checkpoints.fetching()), (vec![], None));
}

#[test]
fn a_fetch_goes_on_after_a_restart_with_what_was_synced() {
    let (mut donor, disk) = (Donor::new(), SimDisk::new());
    let state = random_state(4, 30);
    let (info, manifest) = donor.write(30, &state);
    let mut checkpoints = open(&disk);
    checkpoints.begin_fetch(&disk, info.id, &manifest).unwrap();
    let mut missing = 32;
    for life in 0.. {
        missing -= fetch_missing(&mut checkpoints, &disk, &mut donor, 2);
        // Not synced, and maybe lost.
        let next = checkpoints.missing().next();
        if let Some(missing) = next {
            checkpoints.put_fetched(&disk, &donor.chunk(info.id, missing.index)).unwrap();
        }
        disk.lose_power_spoiling(life);
        checkpoints = open(&disk);
        assert_eq!(checkpoints.fetching(), Some(info.id));
        // Asking again changes nothing.
        checkpoints.begin_fetch(&disk, info.id, &manifest).unwrap();
        let now = checkpoints.missing().count();
        assert!(now == missing || now + 1 == missing, "{now} of {missing}");
        missing = now;
        if missing == 0 {
            break;
        }
    }
    assert_eq!(finish_fetch(&mut checkpoints, &disk), info);
    assert_holds(&mut checkpoints, &disk, &info, &state);
    assert_nothing_leaks(&disk);
}

#[test]
fn a_fetch_that_changes_its_target_uses_what_it_has_and_takes_bounded_space() {
    let (mut donor, disk) = (Donor::new(), SimDisk::new());
    let mut checkpoints = open(&disk);
    let mut state = state_of_equal_chunks(1, 40, 1000);
    let mut most = 0;
    for op in 1..60 {
        change(&mut state, op, 8);
        let (info, manifest) = donor.write(op, &state);
        donor.checkpoints.retain(&donor.disk, &[info.id]).unwrap();
        let before = checkpoints.missing().count();
        checkpoints.begin_fetch(&disk, info.id, &manifest).unwrap();
        if op > 1 {
            // At most the 9 that changed are missing anew, and as much as was thrown away as
            // useless.
            assert!(checkpoints.missing().count() <= before + 9 + 20);
        }
        fetch_missing(&mut checkpoints, &disk, &mut donor, 20);
        most = most.max(bytes_of_packs(&disk));
        if op % 7 == 0 {
            disk.lose_power_spoiling(op);
            let missing = checkpoints.missing().count();
            checkpoints = open(&disk);
            assert_eq!(checkpoints.missing().count(), missing);
        }
    }
    // Twice what is wanted; each pack, one for each target, has a head and the rest of a sector.
    eprintln!("{most} bytes of packs for {} wanted", 40 * 1032 + 464);
    assert!(most <= 2 * (40 * 1032 + 464) + 20 * 8192, "{most}");
    fetch_missing(&mut checkpoints, &disk, &mut donor, 99);
    let info = finish_fetch(&mut checkpoints, &disk);
    assert_holds(&mut checkpoints, &disk, &info, &state);
    checkpoints.retain(&disk, &[info.id]).unwrap();
    assert!(bytes_of_packs(&disk) <= 2 * (40 * 1032 + 464) + 17 * 8192);
    assert_nothing_leaks(&disk);
}

#[test]
fn a_replica_that_only_ever_fetches_takes_bounded_space() {
    let (mut donor, disk) = (Donor::new(), SimDisk::new());
    let mut checkpoints = open(&disk);
    let mut state = state_of_equal_chunks(1, 60, 1000);
    let mut most = 0;
    for op in 1..100 {
        change(&mut state, op, 5);
        let (info, manifest) = donor.write(op, &state);
        donor.checkpoints.retain(&donor.disk, &[info.id]).unwrap();
        checkpoints.begin_fetch(&disk, info.id, &manifest).unwrap();
        fetch_missing(&mut checkpoints, &disk, &mut donor, 99);
        assert_eq!(finish_fetch(&mut checkpoints, &disk), info);
        checkpoints.retain(&disk, &[info.id]).unwrap();
        most = most.max(bytes_of_packs(&disk));
    }
    assert!(most <= 2 * (60 * 1032 + 464) + 17 * 8192, "{most}");
}

#[test]
fn a_fetch_that_is_abandoned_leaves_nothing() {
    let (mut donor, disk) = (Donor::new(), SimDisk::new());
    let mut checkpoints = open(&disk);
    let state = random_state(1, 10);
    let kept = write(&mut checkpoints, &disk, 1, &state);
    let before = names(&disk);
    let (info, manifest) = donor.write(30, &random_state(2, 10));
    checkpoints.begin_fetch(&disk, info.id, &manifest).unwrap();
    fetch_missing(&mut checkpoints, &disk, &mut donor, 4);
    checkpoints.retain(&disk, &[kept.id]).unwrap();
    // The empty chunk and one of the table are in both.
    assert_eq!(checkpoints.missing().count(), 12 - 2 - 4);
    checkpoints.abandon_fetch(&disk).unwrap();
    assert_eq!(names(&disk), before);
    assert_holds(&mut checkpoints, &disk, &kept, &state);
}

/// What a fetch counts on is not dropped with the checkpoint that it came from, or is missing
/// again.
#[test]
fn a_fetch_outlives_the_checkpoint_whose_chunks_it_shares() {
    let (mut donor, disk) = (Donor::new(), SimDisk::new());
    let mut checkpoints = open(&disk);
    let mut state = random_state(1, 20);
    write(&mut checkpoints, &disk, 1, &state);
    change(&mut state, 3, 4);
    let (info, manifest) = donor.write(30, &state);
    checkpoints.begin_fetch(&disk, info.id, &manifest).unwrap();
    let missing = checkpoints.missing().count();
    checkpoints.retain(&disk, &[]).unwrap();
    assert_eq!(checkpoints.missing().count(), missing);
    checkpoints = open(&disk);
    assert_eq!(checkpoints.missing().count(), missing);
    fetch_missing(&mut checkpoints, &disk, &mut donor, 99);
    finish_fetch(&mut checkpoints, &disk);
    assert_holds(&mut checkpoints, &disk, &info, &state);
}

#[test]
fn a_checkpoint_can_be_written_while_another_is_fetched() {
    let (mut donor, disk) = (Donor::new(), SimDisk::new());
    let mut checkpoints = open(&disk);
    let state = random_state(1, 20);
    let (fetched, manifest) = donor.write(30, &state);
    checkpoints.begin_fetch(&disk, fetched.id, &manifest).unwrap();
    fetch_missing(&mut checkpoints, &disk, &mut donor, 5);
    put_all(&mut checkpoints, &disk, 20, &state).unwrap();
    // Not durable yet: the checkpoint that is written does not count on it.
    let next = checkpoints.missing().next().unwrap();
    checkpoints.put_fetched(&disk, &donor.chunk(fetched.id, next.index)).unwrap();
    let written = finish(&mut checkpoints, &disk);
    assert_eq!(checkpoints.fetching(), Some(fetched.id));
    disk.lose_power(0);
    checkpoints = open(&disk);
    assert_holds(&mut checkpoints, &disk, &written, &state);
    fetch_missing(&mut checkpoints, &disk, &mut donor, 99);
    finish_fetch(&mut checkpoints, &disk);
    assert_holds(&mut checkpoints, &disk, &fetched, &state);
    checkpoints.retain(&disk, &[fetched.id]).unwrap();
    assert_nothing_leaks(&disk);
}

/// A service that takes a state learns of a damaged chunk when it has let go of its own.
#[test]
fn a_chunk_that_rots_before_the_fetch_is_finished_is_fetched_again() {
    let (mut donor, disk) = (Donor::new(), SimDisk::new());
    let mut checkpoints = open(&disk);
    let state = random_state(4, 12);
    let (fetched, manifest) = donor.write(9, &state);
    checkpoints.begin_fetch(&disk, fetched.id, &manifest).unwrap();
    fetch_missing(&mut checkpoints, &disk, &mut donor, 99);
    let contents = disk.contents("pack-0");
    let at = contents.windows(state[7].len()).position(|bytes| bytes == state[7]).unwrap();
    disk.corrupt("pack-0", at as u64, &[1]);
    let unfinished = loop {
        match checkpoints.finish_fetch(&disk) {
            Ok(Progress::Unfinished) => {}
            Ok(Progress::Finished(info)) => panic!("{info:?} has a damaged chunk"),
            Err(error) => break error,
        }
    };
    assert!(matches!(unfinished, CheckpointError::Incomplete { missing: 1 }), "{unfinished}");
    assert_eq!(fetch_missing(&mut checkpoints, &disk, &mut donor, 99), 1);
    assert_eq!(finish_fetch(&mut checkpoints, &disk), fetched);
    assert_holds(&mut checkpoints, &disk, &fetched, &state);
}

/// A replica that is left behind again and again before it can install what it fetched.
#[test]
fn checkpoints_that_were_fetched_and_never_named_do_not_pile_up() {
    let (mut donor, _) = reopen(&formatted());
    let disk = formatted();
    let (mut store, _) = reopen(&disk);
    let own = take(&mut store, 5);
    for op in 10..30 {
        let id = take(&mut donor, op);
        fetch(&mut store, &mut donor, op, id);
        let checkpoint = Checkpoint { header: header(op), id };
        assert_eq!(held(&store), [own, id], "what was taken here may be named yet");
        // The donor names what it takes, and forgets what was before.
        let named = SuperblockState { checkpoint, trimmed: header(op), ..state(op, &[]) };
        donor.write(&WriteKind::Superblock(Box::new(named))).unwrap();
        donor.sync().unwrap();
    }
}

/// The superblock that names it waits: what is fetched next must not take its place.
#[test]
fn a_checkpoint_that_is_about_to_be_named_is_kept_while_another_is_fetched() {
    let (mut donor, _) = reopen(&formatted());
    let disk = formatted();
    let (mut store, _) = reopen(&disk);
    let id = take(&mut donor, 10);
    fetch(&mut store, &mut donor, 10, id);
    let checkpoint = Checkpoint { header: header(10), id };
    let named = SuperblockState { checkpoint, trimmed: header(10), ..state(10, &[]) };
    store.write(&WriteKind::Superblock(Box::new(named))).unwrap();
    let next = take(&mut donor, 20);
    fetch(&mut store, &mut donor, 20, next);
    store.sync().unwrap();
    disk.lose_power(1);
    let (store, stored) = reopen(&disk);
    assert_eq!(stored.superblock.checkpoint, checkpoint);
    assert!(held(&store).contains(&id));
}

/// Fetches a whole checkpoint from another store.
fn fetch(store: &mut Store<SimDisk>, donor: &mut Store<SimDisk>, op: u64, id: Checksum) {
    let manifest = page(donor, id);
    let checkpoint = Checkpoint { header: header(op), id };
    let begin = Fetch::Begin { checkpoint, manifest: vec![manifest] };
    let Some(Fetched::Missing { chunks, .. }) = store.fetch(&begin).unwrap() else { panic!() };
    for digest in chunks {
        let Served::Chunk(chunk) = donor.serve(Wanted::Chunk(digest)).unwrap() else { panic!() };
        store.fetch(&Fetch::Put { chunk }).unwrap();
    }
    store.fetch(&Fetch::Sync { id }).unwrap();
    let fetched = loop {
        if let Some(fetched) = store.fetch(&Fetch::Finish { id }).unwrap() {
            break fetched;
        }
    };
    assert!(matches!(fetched, Fetched::Whole { .. }), "{fetched:?}");
}

/// Earlier ones can be fetched, and are counted in checkpoints, whatever the superblocks did meanwhile.
#[test]
fn as_many_checkpoints_are_kept_as_was_asked_for() {
    for kept in [1, 3, CHECKPOINTS_KEPT_MAX] {
        let disk = formatted();
        let (mut store, _) = reopen(&disk);
        store.keep_checkpoints(kept);
        let mut ids = Vec::new();
        for op in 1..=10 {
            let id = take(&mut store, op);
            ids.push(id);
            // One that no superblock names yet is beside those that are kept.
            let before = ids.len() - 1;
            assert_eq!(held(&store), ids[before - before.min(kept)..]);
            let checkpoint = Checkpoint { header: header(op), id };
            let named = SuperblockState { checkpoint, trimmed: header(op), ..state(op, &[]) };
            store.write(&WriteKind::Superblock(Box::new(named))).unwrap();
            store.sync().unwrap();
            assert_eq!(held(&store), ids[ids.len() - ids.len().min(kept)..]);
        }
        disk.lose_power(1);
        let (mut store, _) = reopen(&disk);
        assert_eq!(held(&store), ids[ids.len() - kept..]);
        let first = page(&mut store, ids[ids.len() - kept]);
        assert!(!first.is_empty());
    }
}

fn held(store: &Store<SimDisk>) -> Vec<Checksum> {
    store.checkpoints().map(|info| info.id).collect()
}

/// Takes a checkpoint of a state that depends on its op.
fn take(store: &mut Store<SimDisk>, op: u64) -> Checksum {
    store.begin_checkpoint(header(op), &[]).unwrap();
    for chunk in small_state(op, 5) {
        store.put_chunk(&Chunk::Bytes(chunk.into())).unwrap();
    }
    loop {
        if let Progress::Finished(info) = store.finish_checkpoint().unwrap() {
            return info.id;
        }
    }
}

fn page(store: &mut Store<SimDisk>, id: Checksum) -> Bytes {
    match store.serve(Wanted::Page { id, offset: 0 }).unwrap() {
        Served::Page { page, .. } => page,
        other @ (Served::Chunk(_) | Served::Absent(_)) => panic!("{other:?}"),
    }
}

/// Offline, and without a change on the disk.
#[test]
fn an_inspection_names_each_damaged_byte_of_a_checkpoint() {
    let disk = formatted();
    let (mut store, _) = reopen(&disk);
    let id = take(&mut store, 1);
    let checkpoint = Checkpoint { header: header(1), id };
    let named = SuperblockState { checkpoint, trimmed: header(1), ..state(1, &[]) };
    store.write(&WriteKind::Superblock(Box::new(named))).unwrap();
    store.sync().unwrap();
    drop(store);
    let findings = |disk: &SimDisk| {
        let mut findings = Vec::new();
        let inspection = Inspection::open(disk).unwrap();
        inspection.verify(disk, |finding| findings.push(finding)).unwrap();
        findings.retain(Finding::is_damage);
        findings
    };
    assert_eq!(findings(&disk), []);
    let files = disk.list().unwrap();
    let of_checkpoints = |name: &&String| name.starts_with("pack-") || name.contains("checkpoint-");
    for name in files.iter().filter(of_checkpoints) {
        // Few of those that are zero.
        let bytes = (0..).zip(disk.contents(name));
        for (offset, _) in bytes.filter(|(offset, byte)| *byte != 0 || offset % 5 == 0) {
            let damaged = disk.fork();
            damaged.corrupt(name, offset, &[1 << (offset % 8)]);
            let before = damaged.contents(name);
            let found = findings(&damaged);
            if found.is_empty() {
                // Records are filled up to a multiple of eight bytes.
                let padding = &disk.contents(name)[offset as usize..][..8 - offset as usize % 8];
                assert!(padding.iter().all(|byte| *byte == 0), "byte {offset} of {name}");
                assert!(offset % 8 > 0, "byte {offset} of {name}");
            }
            let is_of_it = |finding: &Finding| {
                matches!(finding, Finding::Checkpoint(_) | Finding::LostCheckpoint { .. })
            };
            assert!(found.iter().all(is_of_it), "{found:?}");
            assert_eq!(damaged.contents(name), before, "it only looks");
        }
        let without = disk.fork();
        without.remove(name).unwrap();
        assert!(!findings(&without).is_empty(), "{name} is not there");
    }
}
