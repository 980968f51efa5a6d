//! Checkpoints: what they hold, what they cost, and what is made of them.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use vsr_core::{CHUNK_BYTES_MAX, Checksum, Chunk, RestoreError, Service};
use vsr_kv::{
    Answer, CHUNK_PAIRS_MAX, CHUNK_SHARED_BYTES_MAX, KEY_MAX, KeyValue, Operation, VALUE_MAX,
};

fn put(service: &mut KeyValue, key: impl Into<Bytes>, value: impl Into<Bytes>) {
    let operation = Operation::Put { key: key.into(), value: value.into() };
    assert_eq!(service.execute(&operation), Answer::Ok);
}

fn delete(service: &mut KeyValue, key: impl Into<Bytes>) {
    service.execute(&Operation::Delete { key: key.into() });
}

fn name(number: usize) -> String {
    format!("key{number:05}")
}

/// A service with numbered keys.
fn numbered(count: usize) -> KeyValue {
    let mut service = KeyValue::new();
    for number in 0..count {
        put(&mut service, name(number), "value");
    }
    service
}

fn checkpoint(service: &KeyValue) -> Box<dyn Iterator<Item = Chunk<Bytes>> + Send> {
    service.checkpoint().expect("the service has checkpoints")
}

/// All chunks of a service whose host has none.
fn chunks(service: &KeyValue) -> Vec<Bytes> {
    Host::default().take(service)
}

fn restored(chunks: &[Bytes]) -> Result<KeyValue, RestoreError> {
    let mut service = KeyValue::new();
    service.restore(&mut chunks.iter().cloned())?;
    Ok(service)
}

/// A host: keeps the chunks of the checkpoints that it has read to their end.
#[derive(Clone, Default)]
struct Host {
    chunks: BTreeMap<Checksum, Bytes>,
    /// How many chunks of the latest checkpoint came as bytes.
    bytes: usize,
}

impl Host {
    fn take(&mut self, service: &KeyValue) -> Vec<Bytes> {
        self.read(checkpoint(service))
    }

    fn read(&mut self, checkpoint: impl Iterator<Item = Chunk<Bytes>>) -> Vec<Bytes> {
        self.bytes = 0;
        let mut all = Vec::new();
        for chunk in checkpoint {
            all.push(match chunk {
                Chunk::Bytes(bytes) => {
                    assert!(bytes.len() <= CHUNK_BYTES_MAX);
                    self.bytes += 1;
                    bytes
                }
                Chunk::Same(digest) => self.chunks.get(&digest).expect("the host has it").clone(),
            });
        }
        self.chunks = all.iter().map(|chunk| (Checksum::of(chunk), chunk.clone())).collect();
        all
    }
}

fn assert_same_state(one: &KeyValue, other: &KeyValue) {
    assert_eq!(one.digest(), other.digest());
    assert_eq!((one.len(), one.bytes()), (other.len(), other.bytes()));
    assert!(one.iter().eq(other.iter()));
}

/// The format on disk and between replicas. A change of it is a new version.
#[test]
fn a_chunk_is_its_version_the_number_of_pairs_and_the_pairs() {
    let mut service = KeyValue::new();
    put(&mut service, "b", "");
    put(&mut service, "aa", "xyz");
    let golden = b"\x01\x02\x00\x02\x00aa\x03\x00\x00\x00xyz\x01\x00b\x00\x00\x00\x00";
    assert_eq!(chunks(&service), [&golden[..]]);
}

/// The rule by which the state is cut belongs to the format.
#[test]
fn the_bounds_of_chunks_are_those_of_this_version() {
    let counts = |service: &KeyValue| -> Vec<u16> {
        let count = |chunk: &Bytes| u16::from_le_bytes([chunk[1], chunk[2]]);
        chunks(service).iter().map(count).collect()
    };
    assert_eq!(counts(&numbered(256)), [256]);
    assert_eq!(counts(&numbered(257)), [200, 57]);
    assert_eq!(counts(&numbered(1000)), [200, 200, 200, 200, 200]);
    assert_eq!(counts(&KeyValue::new()), [0; 0]);
}

#[test]
fn a_restored_state_is_the_one_that_was_frozen() {
    for count in [0, 1, 256, 257, 3000] {
        let service = numbered(count);
        let copy = restored(&chunks(&service)).expect("chunks of a checkpoint");
        assert_same_state(&copy, &service);
    }
}

#[test]
fn restoring_replaces_what_was_there_and_leaves_no_chunk_alive() {
    let mut service = numbered(300);
    let other = chunks(&numbered(7));
    service.restore(&mut other.iter().cloned()).expect("chunks of a checkpoint");
    assert_same_state(&service, &numbered(7));
    assert!(other.iter().all(Bytes::is_unique), "nothing else holds a chunk's memory");
}

/// The host says which chunks it lost: those come as bytes, all others as before; what changed meanwhile is as it is.
#[test]
fn a_chunk_that_the_host_lost_comes_as_bytes_again() {
    let mut service = numbered(1000);
    let mut host = Host::default();
    let before = host.take(&service);
    let lost = [Checksum::of(&before[1]), Checksum::of(&before[3]), Checksum(7)];
    for digest in &lost {
        host.chunks.remove(digest);
    }
    // A frozen state that is still being read keeps what it knew.
    let frozen = checkpoint(&service);
    service.lost(&lost);
    assert_eq!((host.take(&service), host.bytes), (before.clone(), 2));
    assert_eq!((host.take(&service), host.bytes), (before.clone(), 0));
    assert_eq!(host.read(frozen), before);
    assert_eq!(service.digest(), numbered(1000).digest());
}

#[test]
fn a_large_pair_is_a_chunk_by_itself_and_no_chunk_exceeds_the_limit() {
    let mut service = numbered(50);
    put(&mut service, vec![b'k'; KEY_MAX], vec![b'v'; VALUE_MAX]);
    put(&mut service, name(20), vec![b'v'; CHUNK_SHARED_BYTES_MAX]);
    let chunks = chunks(&service);
    let large = chunks.iter().filter(|chunk| chunk.len() > 3 + CHUNK_SHARED_BYTES_MAX);
    assert!(large.clone().all(|chunk| chunk[1..3] == [1, 0] && chunk.len() <= CHUNK_BYTES_MAX));
    assert_eq!(large.count(), 2);
    assert_same_state(&restored(&chunks).expect("chunks of a checkpoint"), &service);
}

#[test]
fn operations_go_on_while_a_checkpoint_is_read_and_do_not_reach_it() {
    let mut service = numbered(2000);
    let expected = chunks(&numbered(2000));
    let frozen = checkpoint(&service);
    let reader = std::thread::spawn(|| {
        let mut host = Host::default();
        (host.read(frozen), host)
    });
    for number in (0..2000).step_by(3) {
        put(&mut service, name(number), "changed");
        delete(&mut service, name(number + 1));
        put(&mut service, name(9000 + number), "new");
    }
    let (read, mut host) = reader.join().expect("the reader does not panic");
    assert_eq!(read, expected);
    // What changed meanwhile comes as bytes, though its chunk was encoded.
    let later = host.take(&service);
    assert_same_state(&restored(&later).expect("chunks of a checkpoint"), &service);
}

#[test]
fn a_checkpoint_gives_as_bytes_what_has_changed_since_the_one_before() {
    const KEYS: usize = 40_000;
    let mut service = numbered(KEYS);
    let mut host = Host::default();
    let all = host.take(&service).len();
    assert_eq!(host.bytes, all);
    host.take(&service);
    assert_eq!(host.bytes, 0, "nothing has changed");

    for number in 0..KEYS / 100 {
        put(&mut service, name(12_345 + number), "other");
    }
    assert_eq!(host.take(&service).len(), all);
    assert!((1..=1 + all.div_ceil(100)).contains(&host.bytes), "{} of {all}", host.bytes);

    // One key here and there costs its chunk.
    for number in (0..KEYS).step_by(KEYS / 4) {
        put(&mut service, name(number), "another");
    }
    host.take(&service);
    assert_eq!(host.bytes, 4);
}

#[test]
fn after_a_restore_only_what_changes_comes_as_bytes() {
    let mut host = Host::default();
    let chunks = host.take(&numbered(5000));
    let mut service = restored(&chunks).expect("chunks of a checkpoint");
    assert_eq!(host.take(&service), chunks);
    assert_eq!(host.bytes, 0);
    put(&mut service, name(77), "other");
    assert_eq!(host.take(&service).len(), chunks.len());
    assert_eq!(host.bytes, 1);
}

#[test]
fn no_later_checkpoint_refers_to_one_that_was_given_up() {
    let service = numbered(3000);
    let mut given_up = checkpoint(&service);
    let read = given_up.by_ref().take(5).count();
    assert_eq!(read, 5);
    drop(given_up);
    assert!(checkpoint(&service).all(|chunk| matches!(chunk, Chunk::Bytes(_))));
}

/// Two services of one process have two hosts.
#[test]
fn a_clone_does_not_refer_to_later_checkpoints_of_the_original() {
    let service = numbered(1000);
    let clone = service.clone();
    Host::default().take(&service);
    Host::default().take(&clone);
}

#[test]
fn what_is_no_checkpoint_is_refused_and_the_state_stays() {
    let whole = chunks(&numbered(1000));
    let of = |lists: &[&[Bytes]]| lists.concat();
    let half = chunks(&numbered(3));
    // Those of 300 pairs, which all have the same length, are of 200 and 100.
    let pairs: Vec<u8> = chunks(&numbered(300)).iter().flat_map(|it| it[3..].to_vec()).collect();
    let cut_elsewhere =
        pairs.chunks(pairs.len() / 2).map(|it| [&[1, 150, 0], it].concat().into()).collect();
    let cases = [
        ("other bounds", cut_elsewhere),
        ("an empty chunk", vec![Bytes::new()]),
        ("no pair", vec![Bytes::from_static(&[1, 0, 0])]),
        ("another version", vec![Bytes::from([&[2], &whole[0][1..]].concat())]),
        ("a byte too many", vec![Bytes::from([&whole[0][..], &[0]].concat())]),
        ("a byte too few", vec![whole[0].slice(..whole[0].len() - 1)]),
        ("an empty key", vec![Bytes::from_static(&[1, 1, 0, 0, 0, 0, 0, 0, 0])]),
        ("a key twice", vec![Bytes::from_static(b"\x01\x02\0\x01\0a\0\0\0\0\x01\0a\0\0\0\0")]),
        ("descending keys", vec![Bytes::from_static(b"\x01\x02\0\x01\0b\0\0\0\0\x01\0a\0\0\0\0")]),
        (
            "a large value in no bytes",
            vec![Bytes::from_static(b"\x01\x01\0\x01\0a\xff\xff\xff\xff")],
        ),
        ("out of order", of(&[&whole[1..2], &whole[..1]])),
        ("twice the same", of(&[&whole[..1], &whole[..1]])),
        (
            "small chunks that would be one",
            of(&[
                &half,
                &chunks(&{
                    let mut service = KeyValue::new();
                    put(&mut service, "x", "");
                    service
                }),
            ]),
        ),
        ("a piece of a chunk", of(&[&half, &whole[1..]])),
    ];
    let mut service = numbered(10);
    for (name, chunks) in cases {
        let error = service.restore(&mut chunks.into_iter());
        assert!(error.is_err_and(|error| !error.to_string().is_empty()), "{name}");
        assert_same_state(&service, &numbered(10));
    }
}

/// What befalls a service in a random run.
#[derive(Clone, Debug)]
enum Action {
    Put { from: usize, count: usize, step: usize, length: usize },
    Delete { from: usize, count: usize, step: usize },
    Checkpoint,
    GiveUp(usize),
    Restore,
}

fn action() -> impl Strategy<Value = Action> {
    let keys = || (0_usize..900, 1_usize..300, 1_usize..4);
    let length = prop::sample::select(vec![0_usize, 1, 30, 500, 40_000]);
    prop_oneof![
        4 => (keys(), length).prop_map(|((from, count, step), length)| {
            // Few of the large ones: hashing takes its time in a debug build.
            let count = if length > 1000 { 1 + count % 3 } else { count };
            Action::Put { from, count, step, length }
        }),
        3 => keys().prop_map(|(from, count, step)| Action::Delete { from, count, step }),
        2 => Just(Action::Checkpoint),
        1 => (0_usize..6).prop_map(Action::GiveUp),
        1 => Just(Action::Restore),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn equal_states_have_equal_chunks_whatever_their_histories(
        actions in prop::collection::vec(action(), 1..25),
    ) {
        let mut service = KeyValue::new();
        let mut host = Host::default();
        let mut model = BTreeMap::new();
        for action in actions {
            match action {
                Action::Put { from, count, step, length } => {
                    for number in (from..).step_by(step).take(count) {
                        put(&mut service, name(number), vec![b'v'; length]);
                        model.insert(name(number), length);
                    }
                }
                Action::Delete { from, count, step } => {
                    for number in (from..).step_by(step).take(count) {
                        delete(&mut service, name(number));
                        model.remove(&name(number));
                    }
                }
                Action::Checkpoint => _ = host.take(&service),
                Action::GiveUp(after) => {
                    let frozen = checkpoint(&service);
                    let some = after.min(frozen.size_hint().0);
                    _ = frozen.take(some).count();
                }
                Action::Restore => {
                    let copy = restored(&host.take(&service)).expect("chunks of a checkpoint");
                    assert_same_state(&copy, &service);
                    service = copy;
                }
            }
        }
        let mut straight = KeyValue::new();
        for (key, length) in model {
            put(&mut straight, key, vec![b'v'; length]);
        }
        assert_same_state(&service, &straight);
        prop_assert_eq!(host.take(&service), chunks(&straight));
    }

    #[test]
    fn any_chunks_are_a_state_or_an_error(
        count in 0_usize..600,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..4),
        end in any::<prop::sample::Index>(),
    ) {
        let mut damaged: Vec<Vec<u8>> =
            chunks(&numbered(count)).iter().map(|chunk| chunk.to_vec()).collect();
        damaged.push(vec![1, 1, 0, 1, 0, b'x', 0, 0, 0, 0]);
        for (chunk, at, byte) in damage {
            let chunk = chunk.index(damaged.len());
            let at = at.index(damaged[chunk].len().min(24));
            damaged[chunk][at] = byte;
        }
        damaged.truncate(1 + end.index(damaged.len()));
        let damaged: Vec<Bytes> = damaged.into_iter().map(Bytes::from).collect();
        if let Ok(service) = restored(&damaged) {
            prop_assert_eq!(chunks(&{
                let mut straight = KeyValue::new();
                for (key, value) in service.iter() {
                    put(&mut straight, key.clone(), value.clone());
                }
                straight
            }), damaged);
        }
    }

    #[test]
    fn any_bytes_are_a_chunk_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let chunk = Bytes::from([&[1, bytes.len() as u8 % 3, 0][..], &bytes].concat());
        if let Ok(service) = restored(std::slice::from_ref(&chunk)) {
            prop_assert_eq!(service.iter().count(), usize::from(chunk[1]));
        }
    }
}

#[test]
fn no_chunk_has_more_pairs_than_the_limit_when_keys_are_chosen_to_do_harm() {
    let mut service = KeyValue::new();
    for length in 1..700 {
        put(&mut service, vec![b'a'; length], "");
        put(&mut service, [&vec![b'z'; 500][..], &[length as u8]].concat(), "");
    }
    let most = chunks(&service).iter().map(|chunk| u16::from_le_bytes([chunk[1], chunk[2]])).max();
    assert!(most.is_some_and(|most| usize::from(most) <= CHUNK_PAIRS_MAX), "{most:?}");
}
