//! The service's promises, one by one.

use std::time::Instant;

use bytes::Bytes;
use vsr_core::{Checksum, Context, OpNumber, Service, Session, Timestamp};
use vsr_kv::{
    ANSWER_MAX, Answer, Failure, KEY_MAX, KeyValue, OPERATION_MAX, Operation, RANGE_BYTES_MAX,
    RANGE_PAIRS_MAX, Refused, STEPS_MAX, VALUE_MAX, text,
};

fn run(service: &mut KeyValue, line: &str) -> String {
    let operation = text::parse(line).expect("a line of this test is an operation");
    service.execute(&operation).to_string()
}

fn service_after(lines: &[&str]) -> KeyValue {
    let mut service = KeyValue::new();
    for line in lines {
        run(&mut service, line);
    }
    service
}

fn bytes(length: usize) -> Bytes {
    Bytes::from(vec![b'x'; length])
}

fn put(key: Bytes, value: Bytes) -> Operation {
    Operation::Put { key, value }
}

#[test]
fn each_operation_answers_as_its_documentation_says() {
    let mut service = KeyValue::new();
    let script = [
        ("get x", "(none)"),
        ("put x 1", "ok"),
        ("get x", "1"),
        ("cas x 1 2", "true"),
        ("cas x 1 3", "false"),
        ("cas x - 3", "false"),
        ("cas y - 3", "true"),
        ("incr x", "3"),
        ("incr x -13", "-10"),
        ("incr new 5", "5"),
        ("append log a", "ok"),
        ("append log \"b c\"", "ok"),
        ("get log", "ab c"),
        ("incr log", "failed: the value is not a number: put one first"),
        ("del y", "true"),
        ("del y", "false"),
        ("range \"\"", "log\tab c\nnew\t5\nx\t-10"),
        ("range \"\" 1", "log\tab c\n(more)"),
        ("range \"\" 5 after log", "new\t5\nx\t-10"),
        ("range zzz", ""),
        ("range n 0", "(more)"),
    ];
    for (line, answer) in script {
        assert_eq!(run(&mut service, line), answer, "{line}");
    }
}

#[test]
fn the_digest_covers_every_byte_of_the_state() {
    let lines = ["put a 1", "put b 2", "put ab c"];
    let digest = service_after(&lines).digest();
    for changed in [
        &["put a 2", "put b 2", "put ab c"][..],
        &["put a 1", "put b 2", "put ab C"],
        &["put a 1", "put b 2", "put aB c"],
        &["put a 1", "put b 2", "put a bc"],
        &["put a 2", "put b 1", "put ab c"],
        &["put a 1", "put b 2"],
        &["put a 1", "put b 2", "put ab c", "put c \"\""],
    ] {
        assert_ne!(service_after(changed).digest(), digest, "{changed:?}");
    }
}

/// "k" + "ey" and "ke" + "y" are different pairs of the same bytes.
#[test]
fn the_digest_tells_where_the_key_ends() {
    let one = service_after(&["put k ey"]);
    let other = service_after(&["put ke y"]);
    assert_ne!(one.digest(), other.digest());
}

#[test]
fn the_digest_depends_on_the_state_and_not_on_the_way_to_it() {
    let straight = service_after(&["put a 1", "put b 2"]);
    let winding = service_after(&["put b 7", "put c 1", "put a 1", "incr b -5", "del c"]);
    assert_eq!(straight.digest(), winding.digest());
    assert_eq!(service_after(&["put a 1", "del a"]).digest(), KeyValue::new().digest());
}

#[test]
fn a_transaction_is_done_whole_or_not_at_all() {
    let mut service = service_after(&["put a 1", "put b 2"]);
    let before = service.digest();
    let script = [
        (
            "txn put a 9 ; del b ; put c 3 ; cas a 1 7",
            "aborted at operation 4: the value is not the expected one",
        ),
        (
            "txn put a x ; incr a",
            "aborted at operation 2: the value is not a number: put one first",
        ),
        (
            "txn del a ; del a ; put a 5 ; append a 6 ; cas c - 1 ; cas c - 1",
            "aborted at operation 6: the value is not the expected one",
        ),
        (
            "txn incr n 9223372036854775807 ; incr n",
            "aborted at operation 2: the sum exceeds 64 bits",
        ),
    ];
    for (line, answer) in script {
        assert_eq!(run(&mut service, line), answer, "{line}");
        assert_eq!(service.digest(), before, "{line} left a trace");
    }
    assert_eq!(
        run(&mut service, "txn cas a 1 7 ; get a ; del nothing ; get nothing ; incr a"),
        "true\n7\nfalse\n(none)\n8"
    );
}

#[test]
fn a_transaction_whose_answers_would_not_fit_a_frame_is_aborted() {
    let mut service = KeyValue::new();
    let key = Bytes::from_static(b"big");
    service.execute(&put(key.clone(), bytes(VALUE_MAX / 2)));
    let before = service.digest();
    let get = Operation::Get { key };
    let mut steps = vec![put(Bytes::from_static(b"other"), bytes(1))];
    steps.extend([get.clone(), get.clone()]);
    let fits = service.execute(&Operation::Transaction(steps.clone()));
    assert!(fits.encode().len() <= ANSWER_MAX);
    assert!(matches!(fits, Answer::Results(_)));
    run(&mut service, "del other");
    steps.push(get);
    assert_eq!(
        service.execute(&Operation::Transaction(steps)),
        Answer::Aborted { step: 3, failure: Failure::TooLarge }
    );
    assert_eq!(service.digest(), before);
}

#[test]
fn a_range_stops_at_its_limits_and_goes_on_after_its_last_key() {
    let mut service = KeyValue::new();
    for number in 0..10 {
        service.execute(&put(Bytes::from(format!("k{number}")), bytes(RANGE_BYTES_MAX / 4)));
    }
    let mut seen = 0;
    let mut after = None;
    loop {
        let range = Operation::Range { prefix: Bytes::from_static(b"k"), after, limit: u32::MAX };
        let answer = service.execute(&range);
        assert!(answer.encode().len() <= ANSWER_MAX);
        let Answer::Pairs { pairs, more } = answer else { panic!("a range answers pairs") };
        seen += pairs.len();
        assert!(!pairs.is_empty(), "every range makes progress");
        after = pairs.last().map(|(key, _)| key.clone());
        if !more {
            break;
        }
    }
    assert_eq!(seen, 10);
}

#[test]
fn a_pair_larger_than_a_range_comes_alone() {
    let mut service = KeyValue::new();
    service.execute(&put(bytes(KEY_MAX), bytes(VALUE_MAX)));
    service.execute(&put(Bytes::from_static(b"y"), bytes(1)));
    let range = Operation::Range { prefix: Bytes::new(), after: None, limit: 10 };
    let answer = service.execute(&range);
    assert!(answer.encode().len() <= ANSWER_MAX);
    assert_eq!(Answer::decode(&answer.encode()), Ok(answer.clone()));
    assert!(matches!(answer, Answer::Pairs { pairs, more: true } if pairs.len() == 1));
}

#[test]
fn a_range_of_many_small_pairs_is_bounded_by_their_number() {
    let mut service = KeyValue::new();
    for number in 0..=RANGE_PAIRS_MAX {
        service.execute(&put(Bytes::from(format!("{number:06}")), Bytes::new()));
    }
    let range = Operation::Range { prefix: Bytes::new(), after: None, limit: u32::MAX };
    let answer = service.execute(&range);
    assert_eq!(Answer::decode(&answer.encode()), Ok(answer.clone()));
    assert!(
        matches!(answer, Answer::Pairs { pairs, more: true } if pairs.len() == RANGE_PAIRS_MAX)
    );
}

#[test]
fn limits_are_refused_before_sending_and_malformed_when_executed() {
    let get = |key| Operation::Get { key };
    let small = get(Bytes::from_static(b"k"));
    let big = put(bytes(KEY_MAX), bytes(VALUE_MAX));
    let cases = [
        (get(Bytes::new()), Refused::KeyEmpty),
        (get(bytes(KEY_MAX + 1)), Refused::KeyTooLong(KEY_MAX + 1)),
        (put(bytes(1), bytes(VALUE_MAX + 1)), Refused::ValueTooLong(VALUE_MAX + 1)),
        (Operation::Transaction(vec![]), Refused::Steps(0)),
        (Operation::Transaction(vec![small.clone(); STEPS_MAX + 1]), Refused::Steps(STEPS_MAX + 1)),
        (
            Operation::Transaction(vec![Operation::Transaction(vec![small.clone()])]),
            Refused::Nested,
        ),
    ];
    let mut service = KeyValue::new();
    for (operation, refused) in cases {
        assert_eq!(operation.encode(), Err(refused));
        assert_eq!(service.execute(&operation), Answer::Failed(Failure::Malformed));
    }
    assert!(big.encode().unwrap().len() <= OPERATION_MAX);
    let twice = Operation::Transaction(vec![big.clone(), big]);
    assert!(matches!(twice.encode(), Err(Refused::OperationTooLong(_))));
    assert!(Operation::Transaction(vec![small; STEPS_MAX]).encode().is_ok());
}

#[test]
fn bytes_of_another_version_or_tag_are_malformed_and_change_nothing() {
    let mut service = service_after(&["put a 1"]);
    let before = service.digest();
    for bytes in [
        &[][..],
        &[0],
        &[1],
        &[2, 1, 1, 0, b'k'],
        &[1, 0, 1, 0, b'k'],
        &[1, 9, 1, 0, b'k'],
        &[1, 1, 0, 0],
        &[1, 4, 1, 0, b'k', 7, 0, 0, 0, 0],
        &[1, 2, 1, 0, b'k', 0xff, 0xff, 0xff, 0xff],
        &[1, 8, 1, 8, 1, 1, 1, 0, b'k'],
        &[1, 8, 0],
        &[1, 8, 255],
    ] {
        let answer = Answer::decode(&service.execute_bytes(bytes)).unwrap();
        assert_eq!(answer, Answer::Failed(Failure::Malformed), "{bytes:?}");
    }
    assert_eq!(service.digest(), before);
}

#[test]
fn a_query_answers_what_executing_would_and_changes_nothing() {
    let mut service = service_after(&["put a 1", "put b 2"]);
    let before = service.digest();
    for line in ["get a", "get z", "range a", "range \"\""] {
        let operation = text::parse(line).unwrap().encode().unwrap();
        let queried = service.query(&operation).unwrap();
        assert_eq!(queried, service.execute_bytes(&operation), "{line}");
    }
    for line in ["put a 3", "del a", "txn get a", "incr a"] {
        assert_eq!(service.query(&text::parse(line).unwrap().encode().unwrap()), None, "{line}");
    }
    assert_eq!(service.digest(), before);
}

#[test]
fn only_what_changes_nothing_is_read_only() {
    let service = KeyValue::new();
    let read_only = |line: &str| {
        let operation = text::parse(line).unwrap();
        service.is_read_only(&operation.encode().unwrap())
    };
    for line in ["get x", "range x", "txn get x ; range y"] {
        assert!(read_only(line), "{line}");
    }
    for line in ["put x 1", "del x", "cas x 1 1", "append x y", "incr x 0", "txn get x ; del x"] {
        assert!(!read_only(line), "{line}");
    }
}

/// A value of some bytes taken from a large frame must not keep the frame alive.
#[test]
fn the_map_keeps_no_received_frame_alive() {
    let mut service = KeyValue::new();
    let operation = text::parse("txn put a 1 ; append b 2 ; cas c - 3").unwrap();
    let frame = operation.encode().unwrap();
    service.execute_bytes(&frame);
    assert!(frame.is_unique(), "nothing else holds the frame's memory");
}

#[test]
fn any_bytes_are_keys_and_values_and_read_back_from_text() {
    let mut service = KeyValue::new();
    let value = Bytes::from_static(b"\0\n\t \"\\\xff\xc2\x85");
    let operation = put(Bytes::from_static(b"a b"), value.clone());
    assert_eq!(text::parse(&operation.to_string()), Ok(operation.clone()));
    service.execute(&operation);
    let get = text::parse("get \"a b\"").unwrap();
    let answer = service.execute(&get);
    assert_eq!(answer, Answer::Value(Some(value)));
    assert_eq!(answer.to_string(), "\"\\x00\\n\\t \\\"\\\\\\xff\\xc2\\x85\"");
}

#[test]
fn a_line_that_is_no_operation_is_told_how_to_write_one() {
    for (line, error) in [
        ("", "no operation: try `put KEY VALUE` or `get KEY`"),
        ("put x", "usage: put KEY VALUE (put words with spaces in double quotes)"),
        (
            "lock x",
            "unknown operation `lock`: there are get, put, del, cas, append, incr, range, txn",
        ),
        ("incr x many", "`many` is not a number in range"),
        ("range x -1", "`-1` is not a number in range"),
        ("put x \"1", "a double quote is missing at the end of a word"),
        ("put x \"\\q\"", "unknown escape `\\q`: there are \\\" \\\\ \\n \\r \\t and \\xHH"),
        ("put x \"\\", "a double quote is missing at the end of a word"),
        ("put x \"\\xé\"", "unknown escape `\\xé\"`: there are \\\" \\\\ \\n \\r \\t and \\xHH"),
        ("txn", "no operation: try `put KEY VALUE` or `get KEY`"),
    ] {
        assert_eq!(text::parse(line).unwrap_err().to_string(), error, "{line}");
    }
}

/// Replaying a log must not take longer than reading it: three million puts in about a second and a
/// half. The bound here is loose, since debug builds and busy machines are slow; the figure is
/// printed (`cargo test --release -- --nocapture`).
#[test]
fn a_put_costs_well_under_a_microsecond() {
    const PUTS: u32 = if cfg!(debug_assertions) { 30_000 } else { 3_000_000 };
    let operations: Vec<Bytes> = (0..1000)
        .map(|key| put(Bytes::from(format!("key{key:08}")), bytes(256)).encode().unwrap())
        .collect();
    let mut service = KeyValue::new();
    let context = Context {
        op: OpNumber(1),
        index: 0,
        timestamp: Timestamp(1),
        session: Session::default(),
        prediction: None,
    };
    let start = Instant::now();
    for number in 0..PUTS {
        // A stride that shares no factor with the number of keys visits them out of order.
        let operation = &operations[(number as usize * 389) % operations.len()];
        let answer = service.apply(context, operation);
        assert_eq!(answer.len(), 2);
    }
    let elapsed = start.elapsed();
    println!("{PUTS} puts of 256 bytes on 1000 keys: {elapsed:?}");
    assert_ne!(service.digest(), Checksum::default());
    assert!(elapsed.as_secs() < 30, "{PUTS} puts took {elapsed:?}");
}
