//! The service against a naive model, and its digest against one computed from scratch.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use vsr_core::Service;
use vsr_kv::{Answer, Failure, KeyValue, Operation, RANGE_PAIRS_MAX, VALUE_MAX};

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// What the service must answer, said as plainly as can be.
fn model(map: &mut Model, operation: &Operation) -> Answer {
    match operation {
        Operation::Get { key } => Answer::Value(map.get(&key[..]).cloned().map(Bytes::from)),
        Operation::Put { key, value } => {
            map.insert(key.to_vec(), value.to_vec());
            Answer::Ok
        }
        Operation::Delete { key } => Answer::Bool(map.remove(&key[..]).is_some()),
        Operation::Cas { key, expect, value } => {
            let holds = map.get(&key[..]).map(Vec::as_slice) == expect.as_deref();
            if holds {
                map.insert(key.to_vec(), value.to_vec());
            }
            Answer::Bool(holds)
        }
        Operation::Append { key, value } => {
            map.entry(key.to_vec()).or_default().extend_from_slice(value);
            Answer::Ok
        }
        Operation::Increment { key, by } => increment(map, key, *by),
        Operation::Range { prefix, after, limit } => {
            let all: Vec<(Bytes, Bytes)> = map
                .iter()
                .filter(|(key, _)| key.starts_with(prefix))
                .filter(|(key, _)| after.as_ref().is_none_or(|after| key[..] > after[..]))
                .map(|(key, value)| (key.clone().into(), value.clone().into()))
                .collect();
            let count = all.len().min(*limit as usize).min(RANGE_PAIRS_MAX);
            Answer::Pairs { pairs: all[..count].to_vec(), more: all.len() > count }
        }
        Operation::Transaction(steps) => transaction(map, steps),
    }
}

fn increment(map: &mut Model, key: &Bytes, by: i64) -> Answer {
    let old = match map.get(&key[..]) {
        None => Ok(0),
        Some(value) => std::str::from_utf8(value)
            .ok()
            .and_then(|text| text.parse::<i64>().ok())
            .ok_or(Failure::NotANumber),
    };
    let sum = old.and_then(|old| old.checked_add(by).ok_or(Failure::Overflow));
    match sum {
        Ok(sum) => {
            map.insert(key.to_vec(), sum.to_string().into_bytes());
            Answer::Number(sum)
        }
        Err(failure) => Answer::Failed(failure),
    }
}

fn transaction(map: &mut Model, steps: &[Operation]) -> Answer {
    let before = map.clone();
    let mut results = Vec::new();
    for (position, step) in (0..).zip(steps) {
        let answer = model(map, step);
        let failure = match (step, &answer) {
            (Operation::Cas { .. }, Answer::Bool(false)) => Some(Failure::Condition),
            (_, Answer::Failed(failure)) => Some(*failure),
            (_, _) => None,
        };
        if let Some(failure) = failure {
            *map = before;
            return Answer::Aborted { step: position, failure };
        }
        results.push(answer);
    }
    Answer::Results(results)
}

/// Few keys, so that operations meet; some share a prefix.
fn key() -> impl Strategy<Value = Bytes> {
    prop::sample::select(vec!["a", "ab", "abc", "b", "ba", "\u{ff}"])
        .prop_map(|key| Bytes::from_static(key.as_bytes()))
}

/// Numbers, so that increments succeed now and then, the greatest one, and other bytes.
fn value() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        (-9_i64..9).prop_map(|number| Bytes::from(number.to_string())),
        Just(Bytes::from(i64::MAX.to_string())),
        prop::collection::vec(any::<u8>(), 0..4).prop_map(Bytes::from),
    ]
}

fn step() -> impl Strategy<Value = Operation> {
    prop_oneof![
        key().prop_map(|key| Operation::Get { key }),
        (key(), value()).prop_map(|(key, value)| Operation::Put { key, value }),
        key().prop_map(|key| Operation::Delete { key }),
        (key(), prop::option::of(value()), value())
            .prop_map(|(key, expect, value)| Operation::Cas { key, expect, value }),
        (key(), value()).prop_map(|(key, value)| Operation::Append { key, value }),
        (key(), -9_i64..9).prop_map(|(key, by)| Operation::Increment { key, by }),
        (prop::sample::select(vec!["", "a", "ab", "c"]), prop::option::of(key()), 0_u32..8)
            .prop_map(|(prefix, after, limit)| Operation::Range {
                prefix: Bytes::from_static(prefix.as_bytes()),
                after,
                limit,
            }),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => step(),
        1 => prop::collection::vec(step(), 1..6).prop_map(Operation::Transaction),
    ]
}

/// The digest of the same pairs put one by one into an empty map.
fn digest_from_scratch(service: &KeyValue) -> vsr_core::Checksum {
    let mut fresh = KeyValue::new();
    for (key, value) in service.iter() {
        let (key, value) = (key.clone(), value.clone());
        assert_eq!(fresh.execute(&Operation::Put { key, value }), Answer::Ok);
    }
    fresh.digest()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_service_does_what_the_model_does(operations in prop::collection::vec(operation(), 1..80)) {
        let mut service = KeyValue::new();
        let mut map = Model::new();
        for operation in &operations {
            let before = service.digest();
            let bytes = operation.encode().unwrap();
            let read_only = service.is_read_only(&bytes);
            let answer = Answer::decode(&service.execute_bytes(&bytes)).unwrap();
            prop_assert_eq!(&answer, &model(&mut map, operation), "{}", operation);
            let aborted = matches!(answer, Answer::Aborted { .. } | Answer::Failed(_));
            if read_only || aborted {
                prop_assert_eq!(service.digest(), before, "{} changed nothing", operation);
            }
        }
        let pairs: Model = service.iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
        let bytes: usize = map.iter().map(|(key, value)| key.len() + value.len()).sum();
        prop_assert_eq!(service.bytes(), bytes as u64);
        prop_assert_eq!(service.len(), map.len());
        prop_assert_eq!(pairs, map);
        prop_assert_eq!(service.digest(), digest_from_scratch(&service));
    }

    #[test]
    fn an_operation_is_what_its_bytes_and_its_text_are(operation in operation()) {
        let bytes = operation.encode().unwrap();
        let decoded = Operation::decode(&bytes);
        prop_assert_eq!(decoded.as_ref(), Ok(&operation));
        prop_assert_eq!(vsr_kv::text::parse(&operation.to_string()), Ok(operation));
    }

    #[test]
    fn any_key_and_value_read_back_from_their_text(
        key in prop::collection::vec(any::<u8>(), 1..12),
        expect in prop::option::of("[-;a \\\\\"\\x00-\\x1f\u{85}\u{3000}]{0,4}"),
        value in prop::collection::vec(any::<u8>(), 0..12),
    ) {
        let operation = Operation::Cas {
            key: key.into(),
            expect: expect.map(Bytes::from),
            value: value.into(),
        };
        let steps = Operation::Transaction(vec![operation.clone(), operation]);
        prop_assert_eq!(vsr_kv::text::parse(&steps.to_string()), Ok(steps));
    }

    /// Whatever the bytes: no panic, and what is taken for an operation has no other encoding.
    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        // The right version and a tag that exists, or nothing would get past the first byte.
        let mut bytes = bytes;
        if let [version, tag, ..] = &mut bytes[..] {
            (*version, *tag) = (1, *tag % 10);
        }
        let bytes = Bytes::from(bytes);
        let mut service = KeyValue::new();
        let answer = Answer::decode(&service.execute_bytes(&bytes)).unwrap();
        match Operation::decode(&bytes) {
            Ok(operation) => prop_assert_eq!(operation.encode().unwrap(), bytes),
            Err(_) => {
                prop_assert_eq!(answer, Answer::Failed(Failure::Malformed));
                prop_assert!(service.is_empty());
            }
        }
    }

    #[test]
    fn any_bytes_are_an_answer_or_none(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let mut bytes = bytes;
        if let [version, tag, ..] = &mut bytes[..] {
            (*version, *tag) = (1, *tag % 12);
        }
        let bytes = Bytes::from(bytes);
        if let Ok(answer) = Answer::decode(&bytes) {
            prop_assert_eq!(answer.encode(), bytes);
        }
    }

    #[test]
    fn any_line_is_an_operation_or_an_error(line in "(put|get|cas|txn|range) [ -~\n\\\\\"x0-9a-f;]{0,20}") {
        if let Ok(operation) = vsr_kv::text::parse(&line) {
            prop_assert_eq!(vsr_kv::text::parse(&operation.to_string()), Ok(operation));
        }
    }
}

#[test]
fn every_proper_prefix_of_an_operation_is_malformed() {
    let operation = vsr_kv::text::parse("txn cas k - v ; incr n -3 ; range p 3 after q").unwrap();
    let bytes = operation.encode().unwrap();
    for cut in 0..bytes.len() {
        assert!(Operation::decode(&bytes.slice(..cut)).is_err(), "cut at {cut}");
    }
    let longer = Bytes::from([&bytes[..], &[0]].concat());
    assert!(Operation::decode(&longer).is_err(), "a byte too many");
}

#[test]
fn the_model_and_the_service_agree_on_the_largest_value() {
    let mut service = KeyValue::new();
    let value = Bytes::from(vec![b'v'; VALUE_MAX]);
    let key = Bytes::from_static(b"k");
    let put = Operation::Put { key: key.clone(), value: value.clone() };
    service.execute_bytes(&put.encode().unwrap());
    let append = Operation::Append { key: key.clone(), value: Bytes::from_static(b"x") };
    assert_eq!(service.execute(&append), Answer::Failed(Failure::TooLarge));
    assert_eq!(service.execute(&Operation::Get { key }), Answer::Value(Some(value)));
}
