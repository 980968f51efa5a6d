//! The search for an order.

#![expect(clippy::disallowed_types, reason = "what was seen is looked up, and never gone through")]

use std::collections::HashSet;

use bytes::Bytes;
use vsr_core::Digest;
use vsr_kv::Answer;

use crate::linearizability::model::Operation;
use crate::linearizability::{Value, Verdict};

/// States after which the search is given up: some seconds, and some hundred megabytes at worst.
const STATES_MAX: usize = 400_000;

/// When a call began and ended, and its answer.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(super) invoked: u64,
    /// `u64::MAX` for a call of unknown outcome.
    pub(super) returned: u64,
    pub(super) client: u32,
    /// `None` is any answer.
    pub(super) answer: Option<Bytes>,
}

/// A place in the list of invocations and returns, in the order of time.
#[derive(Clone, Copy, Debug)]
struct Place {
    call: usize,
    is_return: bool,
    before: usize,
    after: usize,
}

pub(super) struct Search<'a> {
    calls: &'a [&'a (Span, Operation)],
    /// A doubly linked list; place 0 is its anchor.
    places: Vec<Place>,
    /// Where each call's invocation and return are in the list.
    places_of: Vec<(usize, usize)>,
    /// What each call was answered: `None` is any answer, `Some(None)` one that the service never gives.
    answers: Vec<Option<Option<Answer>>>,
    state: Vec<Option<Value>>,
    /// Of each key's value.
    digests: Vec<u128>,
    /// Of which calls were put in order, and of the state after them: the digests of both, all together by exclusive
    /// or. No two that differ are alike, short of luck that nobody has.
    digest: u128,
    seen: HashSet<u128>,
    /// Calls that were put in order, and where in `undo` begins what the state was before each.
    stack: Vec<(usize, usize)>,
    /// Values that were replaced, with their keys and digests.
    undo: Vec<(usize, Option<Value>, u128)>,
    /// The longest order found.
    longest: usize,
    /// The call whose return could not be passed then.
    stuck: usize,
}

impl<'a> Search<'a> {
    pub(super) fn new(calls: &'a [&'a (Span, Operation)], keys: usize) -> Self {
        let mut moments: Vec<(u64, bool, usize)> = Vec::with_capacity(calls.len() * 2);
        for (call, (span, _)) in calls.iter().enumerate() {
            moments.push((span.invoked, false, call));
            moments.push((span.returned, true, call));
        }
        moments.sort_unstable();
        let count = moments.len() + 1;
        let mut places =
            vec![Place { call: 0, is_return: false, before: count - 1, after: 1 % count }];
        let mut places_of = vec![(0, 0); calls.len()];
        for (index, (_, is_return, call)) in moments.into_iter().enumerate() {
            let at = index + 1;
            places.push(Place { call, is_return, before: at - 1, after: (at + 1) % count });
            if is_return {
                places_of[call].1 = at;
            } else {
                places_of[call].0 = at;
            }
        }
        let answer = |(span, _): &&(Span, Operation)| {
            span.answer.as_ref().map(|bytes| Answer::decode(bytes).ok())
        };
        Self {
            calls,
            places,
            places_of,
            answers: calls.iter().map(answer).collect(),
            state: vec![None; keys],
            digests: (0..keys).map(|key| digest_of_value(key, None)).collect(),
            digest: 0,
            seen: HashSet::new(),
            stack: Vec::new(),
            undo: Vec::new(),
            longest: 0,
            stuck: 0,
        }
    }

    pub(super) fn run(mut self) -> Verdict {
        let mut at = self.places[0].after;
        while self.places[0].after != 0 {
            if at != 0 && !self.places[at].is_return {
                let call = self.places[at].call;
                if self.take(call) {
                    at = self.places[0].after;
                } else {
                    at = self.places[at].after;
                }
                if self.seen.len() > STATES_MAX {
                    return Verdict::Undecided;
                }
                continue;
            }
            // The first return that is left was reached: its call had to be put in order before.
            let call = self.places[at].call;
            if at == 0 || self.calls[call].0.returned == u64::MAX {
                // All that is left has no known outcome, and may never happen.
                return Verdict::Linearizable;
            }
            if self.stack.len() >= self.longest {
                self.longest = self.stack.len();
                self.stuck = call;
            }
            let Some((last, mark)) = self.stack.pop() else {
                return Verdict::Broken(self.describe());
            };
            self.undo_to(mark);
            self.put_back(last);
            at = self.places[self.places_of[last].0].after;
        }
        Verdict::Linearizable
    }

    /// Puts a call next in order, if its answer fits and this was not tried before.
    fn take(&mut self, call: usize) -> bool {
        let (_, operation) = self.calls[call];
        let mark = self.undo.len();
        for key in &operation.keys {
            self.undo.push((*key, self.state[*key].clone(), self.digests[*key]));
        }
        let answer = operation.execute(&mut self.state);
        let fits = self.answers[call].as_ref().is_none_or(|given| given.as_ref() == Some(&answer));
        if fits {
            for key in &operation.keys {
                let new = digest_of_value(*key, self.state[*key].as_ref());
                self.digest ^= std::mem::replace(&mut self.digests[*key], new) ^ new;
            }
            let reached = self.digest ^ digest_of_call(call);
            if self.seen.insert(reached) {
                self.digest = reached;
                self.stack.push((call, mark));
                let (invoked, returned) = self.places_of[call];
                self.unlink(invoked);
                self.unlink(returned);
                return true;
            }
        }
        self.undo_to(mark);
        false
    }

    /// Makes the state what it was.
    fn undo_to(&mut self, mark: usize) {
        for (key, value, digest) in self.undo.drain(mark..) {
            self.state[key] = value;
            self.digest ^= std::mem::replace(&mut self.digests[key], digest) ^ digest;
        }
    }

    fn put_back(&mut self, call: usize) {
        self.digest ^= digest_of_call(call);
        let (invoked, returned) = self.places_of[call];
        self.link(returned);
        self.link(invoked);
    }

    fn unlink(&mut self, at: usize) {
        let Place { before, after, .. } = self.places[at];
        self.places[before].after = after;
        self.places[after].before = before;
    }

    fn link(&mut self, at: usize) {
        let Place { before, after, .. } = self.places[at];
        self.places[before].after = at;
        self.places[after].before = at;
    }

    fn describe(&self) -> String {
        let (span, operation) = self.calls[self.stuck];
        let answer =
            span.answer.as_ref().map_or_else(|| "?".to_owned(), crate::service::show_reply);
        format!(
            "no order of the calls explains the answer {answer:?} to c{} ({operation:?}); \
             {} calls before it can be put in order",
            span.client, self.longest
        )
    }
}

fn digest_of_call(call: usize) -> u128 {
    let mut digest = Digest::new();
    digest.write_u64(call as u64);
    digest.finish().0
}

fn digest_of_value(key: usize, value: Option<&Value>) -> u128 {
    let mut digest = Digest::new();
    digest.write_u64(key as u64);
    digest.write_u64(u64::from(value.is_some()));
    digest.write(value.map_or(&[], |value| &value[..]));
    digest.finish().0
}
