//! What a key-value store is, said once more, apart from the service that is replicated.

use std::collections::BTreeMap;

use bytes::Bytes;
use vsr_kv::{Answer, Failure};

use crate::linearizability::Value;

/// The keys of a history by number.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys {
    numbers: BTreeMap<Bytes, usize>,
}

impl Keys {
    fn number(&mut self, key: &Bytes) -> usize {
        let next = self.numbers.len();
        *self.numbers.entry(key.clone()).or_insert(next)
    }

    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Keys that some operation joins, together; each key in one group.
    pub(super) fn groups<'a>(
        &self,
        operations: impl Iterator<Item = &'a Operation>,
    ) -> Vec<Vec<usize>> {
        let mut group_of: Vec<usize> = (0..self.len()).collect();
        for operation in operations {
            let first = group_of[*operation.first_key()];
            for step in &operation.steps {
                let other = group_of[step.key];
                for group in &mut group_of {
                    if *group == other {
                        *group = first;
                    }
                }
            }
        }
        let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (key, group) in group_of.into_iter().enumerate() {
            groups.entry(group).or_default().push(key);
        }
        groups.into_values().collect()
    }
}

/// An operation: one step, or a transaction of several.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub(super) steps: Vec<Step>,
    /// The keys of all steps, each once.
    pub(super) keys: Vec<usize>,
    transaction: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) key: usize,
    kind: StepKind,
}

#[derive(Clone, Debug)]
enum StepKind {
    Get,
    Put(Value),
    Delete,
    Cas(Option<Value>, Value),
    Append(Value),
    Increment(i64),
}

impl Operation {
    /// Reads an operation. `None` for one that the model does not know.
    pub(super) fn read(bytes: &Bytes, keys: &mut Keys) -> Option<Self> {
        let operation = vsr_kv::Operation::decode(bytes).ok()?;
        if let vsr_kv::Operation::Transaction(steps) = &operation {
            let steps = steps.iter().map(|step| Step::read(step, keys)).collect::<Option<_>>()?;
            return Some(Self::new(steps, true));
        }
        Some(Self::new(vec![Step::read(&operation, keys)?], false))
    }

    fn new(steps: Vec<Step>, transaction: bool) -> Self {
        let mut keys: Vec<usize> = steps.iter().map(|step| step.key).collect();
        keys.sort_unstable();
        keys.dedup();
        Self { steps, keys, transaction }
    }

    /// The key by which the operation's group is found.
    pub(super) fn first_key(&self) -> &usize {
        &self.steps.first().expect("an operation has at least one step").key
    }

    /// Executes the operation and returns its answer.
    pub(super) fn execute(&self, state: &mut [Option<Value>]) -> Answer {
        if !self.transaction {
            return self.steps[0].execute(state);
        }
        let before: Vec<_> = self.keys.iter().map(|key| (*key, state[*key].clone())).collect();
        let mut answers = Vec::new();
        for (position, step) in (0..).zip(&self.steps) {
            let answer = step.execute(state);
            let failure = match (&answer, &step.kind) {
                (Answer::Failed(failure), _) => Some(*failure),
                (Answer::Bool(false), StepKind::Cas(..)) => Some(Failure::Condition),
                (_, _) => None,
            };
            if let Some(failure) = failure {
                for (key, value) in before {
                    state[key] = value;
                }
                return Answer::Aborted { step: position, failure };
            }
            answers.push(answer);
        }
        Answer::Results(answers)
    }
}

impl Step {
    fn read(operation: &vsr_kv::Operation, keys: &mut Keys) -> Option<Self> {
        let (key, kind) = match operation {
            vsr_kv::Operation::Get { key } => (key, StepKind::Get),
            vsr_kv::Operation::Put { key, value } => (key, StepKind::Put(value.clone())),
            vsr_kv::Operation::Delete { key } => (key, StepKind::Delete),
            vsr_kv::Operation::Cas { key, expect, value } => {
                (key, StepKind::Cas(expect.clone(), value.clone()))
            }
            vsr_kv::Operation::Append { key, value } => (key, StepKind::Append(value.clone())),
            vsr_kv::Operation::Increment { key, by } => (key, StepKind::Increment(*by)),
            vsr_kv::Operation::Range { .. } | vsr_kv::Operation::Transaction(_) => return None,
        };
        Some(Self { key: keys.number(key), kind })
    }

    fn execute(&self, state: &mut [Option<Value>]) -> Answer {
        let slot = &mut state[self.key];
        match &self.kind {
            StepKind::Get => Answer::Value(slot.clone()),
            StepKind::Put(value) => {
                *slot = Some(value.clone());
                Answer::Ok
            }
            StepKind::Delete => Answer::Bool(slot.take().is_some()),
            StepKind::Cas(expect, value) => {
                let holds = slot == expect;
                if holds {
                    *slot = Some(value.clone());
                }
                Answer::Bool(holds)
            }
            StepKind::Append(value) => {
                let mut bytes = slot.as_ref().map_or_else(Vec::new, |bytes| bytes.to_vec());
                bytes.extend_from_slice(value);
                *slot = Some(bytes.into());
                Answer::Ok
            }
            StepKind::Increment(by) => increment(slot, *by),
        }
    }
}

fn increment(slot: &mut Option<Value>, by: i64) -> Answer {
    let number = match slot {
        None => Some(0),
        Some(bytes) => std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<i64>().ok()),
    };
    match number.map(|number| number.checked_add(by)) {
        None => Answer::Failed(Failure::NotANumber),
        Some(None) => Answer::Failed(Failure::Overflow),
        Some(Some(sum)) => {
            *slot = Some(sum.to_string().into());
            Answer::Number(sum)
        }
    }
}
