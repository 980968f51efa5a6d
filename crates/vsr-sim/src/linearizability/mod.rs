//! S16: the clients' history is that of one key-value store that executes one call at a time.
//!
//! The search is Wing and Gong's with Lowe's memory of states: call after call is put next if it had
//! begun before the first call that is left ended, and undone if that leads nowhere. Keys that no
//! transaction joins are checked apart, since linearizability is a local property.
//!
//! - An answered call happened between its invocation and its answer, with that answer.
//! - A call of unknown outcome happened at any time after its invocation, or not at all, which is
//!   the same as after everything else.
//! - A call that was certainly not done is left out: whoever sees its effect breaks the history.

mod model;
mod search;

use bytes::Bytes;
use vsr_core::Outcome;

use crate::linearizability::model::{Keys, Operation};
use crate::linearizability::search::{Search, Span};
use crate::world::Call;

/// What came of checking a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is an order.
    Linearizable,
    /// There is none: names the call up to which there was one.
    Broken(String),
    /// The search was given up after too many states.
    Undecided,
}

/// Checks a history.
#[must_use]
pub fn check(history: &[Call]) -> Verdict {
    let mut keys = Keys::default();
    let mut calls: Vec<(Span, Operation)> = Vec::new();
    // What may be old is checked against what it must see, when it is answered.
    let history = history.iter().filter(|call| call.read.is_none_or(|read| read.linearizable));
    for call in history {
        let Some(operation) = Operation::read(&call.operation, &mut keys) else { continue };
        let (returned, answer) = match &call.ended {
            None | Some((_, Outcome::Unknown)) => (u64::MAX, None),
            Some((_, Outcome::NotDone(_))) => continue,
            Some((at, Outcome::Done { body, .. })) => (*at, body.clone()),
        };
        let span = Span { invoked: call.invoked, returned, client: call.client, answer };
        calls.push((span, operation));
    }
    let mut undecided = false;
    for group in keys.groups(calls.iter().map(|(_, operation)| operation)) {
        let part: Vec<&(Span, Operation)> =
            calls.iter().filter(|(_, operation)| group.contains(operation.first_key())).collect();
        match Search::new(&part, keys.len()).run() {
            Verdict::Linearizable => {}
            Verdict::Undecided => undecided = true,
            broken @ Verdict::Broken(_) => return broken,
        }
    }
    if undecided { Verdict::Undecided } else { Verdict::Linearizable }
}

/// A value of the model; kept as the bytes that the service answers.
type Value = Bytes;

#[cfg(test)]
mod tests {
    use super::*;
    use vsr_core::OpNumber;

    /// Each call: client, operation, invoked, returned (0: unknown outcome), answer.
    fn verdict(calls: &[(u32, &str, u64, u64, &str)]) -> Verdict {
        let history: Vec<Call> = calls
            .iter()
            .map(|(client, operation, invoked, returned, answer)| Call {
                client: *client,
                operation: crate::service::parse_operation(operation).unwrap(),
                read: None,
                invoked: *invoked,
                ended: (*returned > 0).then(|| {
                    let body = Some(answer_of(answer));
                    (*returned, Outcome::Done { op: OpNumber(1), body })
                }),
            })
            .collect();
        check(&history)
    }

    fn answer_of(text: &str) -> Bytes {
        let answer = match text {
            "ok" => vsr_kv::Answer::Ok,
            "none" => vsr_kv::Answer::Value(None),
            "true" => vsr_kv::Answer::Bool(true),
            "false" => vsr_kv::Answer::Bool(false),
            value => vsr_kv::Answer::Value(Some(Bytes::copy_from_slice(value.as_bytes()))),
        };
        answer.encode()
    }

    #[test]
    fn overlapping_calls_may_take_effect_in_either_order() {
        let calls =
            [(1, "put x 1", 1, 6, "ok"), (2, "get x", 2, 3, "none"), (3, "get x", 4, 5, "1")];
        assert_eq!(verdict(&calls), Verdict::Linearizable);
    }

    #[test]
    fn a_value_that_was_overwritten_before_is_not_read_again() {
        let calls =
            [(1, "put x 1", 1, 2, "ok"), (1, "put x 2", 3, 4, "ok"), (2, "get x", 5, 6, "1")];
        assert!(matches!(verdict(&calls), Verdict::Broken(_)));
    }

    #[test]
    fn reads_by_two_clients_do_not_go_back_in_time() {
        let calls =
            [(1, "put x 1", 1, 10, "ok"), (2, "get x", 2, 3, "1"), (3, "get x", 4, 5, "none")];
        assert!(matches!(verdict(&calls), Verdict::Broken(_)));
    }

    #[test]
    fn a_call_of_unknown_outcome_may_happen_late_or_never() {
        let seen = [(1, "put x 1", 1, 0, ""), (2, "get x", 5, 6, "none"), (2, "get x", 7, 8, "1")];
        assert_eq!(verdict(&seen), Verdict::Linearizable);
        let unseen = [(1, "put x 1", 1, 0, ""), (2, "get x", 5, 6, "none")];
        assert_eq!(verdict(&unseen), Verdict::Linearizable);
        let twice =
            [(1, "append x a", 1, 0, ""), (2, "get x", 5, 6, "a"), (2, "get x", 7, 8, "aa")];
        assert!(matches!(verdict(&twice), Verdict::Broken(_)));
    }

    #[test]
    fn one_of_two_compare_and_swaps_wins() {
        let calls = |first, second| {
            verdict(&[
                (1, "cas x - 1", 1, 4, first),
                (2, "cas x - 2", 2, 3, second),
                (3, "get x", 5, 6, "1"),
            ])
        };
        assert_eq!(calls("true", "false"), Verdict::Linearizable);
        assert!(matches!(calls("true", "true"), Verdict::Broken(_)));
        assert!(matches!(calls("false", "true"), Verdict::Broken(_)));
    }

    /// Hundreds of calls by concurrent clients are decided at once.
    #[test]
    fn a_long_history_with_unknown_outcomes_is_decided() {
        let mut calls = Vec::new();
        let mut moment = 0;
        let texts: Vec<String> = (0..400).map(|number| format!("put x {number}")).collect();
        for (number, text) in texts.iter().enumerate() {
            moment += 2;
            let returned = if number % 40 == 7 { 0 } else { moment + 5 };
            calls.push((number as u32 % 8, text.as_str(), moment, returned, "ok"));
        }
        assert_eq!(verdict(&calls), Verdict::Linearizable);
    }
}
