//! The replicated service of simulated groups: the key-value service, which may want values predicted, and
//! how its operations and answers read in stories.

use bytes::Bytes;
use vsr_core::{
    Checksum, Chunk, Context, Implausible, Prediction, ReplicaId, Request, RestoreError, Service,
};
use vsr_kv::{Answer, KeyValue, Operation, text};

/// A key that no operation of a story names, for changing a state behind the log's back.
const FLIPPED: &[u8] = b"\0flipped";

/// Reads an operation: `put x 1`.
///
/// # Errors
/// What is wrong with it, and how to write it.
pub fn parse_operation(line: &str) -> Result<Bytes, String> {
    let operation = text::parse(line).map_err(|error| format!("`{line}`: {error}"))?;
    operation.encode().map_err(|error| format!("`{line}`: {error}"))
}

/// How an operation reads.
#[must_use]
pub fn show_operation(operation: &Bytes) -> String {
    Operation::decode(operation).map_or_else(|_| "malformed".to_owned(), |it| it.to_string())
}

/// How an answer reads: `ok`, or the bare value.
#[must_use]
pub fn show_reply(reply: &Bytes) -> String {
    Answer::decode(reply).map_or_else(|_| "malformed".to_owned(), |answer| answer.to_string())
}

/// A key's value as text.
#[must_use]
pub fn value(service: &KeyValue, key: &str) -> Option<String> {
    service.get(key.as_bytes()).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

/// Changes the state of one replica behind the log's back, as a bug or bad memory would; a second
/// time changes it back.
pub fn flip(service: &mut KeyValue) {
    let key = Bytes::from_static(FLIPPED);
    let flipped = service.get(FLIPPED).is_some();
    service.execute(&if flipped {
        Operation::Delete { key }
    } else {
        Operation::Put { key, value: Bytes::new() }
    });
}

/// Where the value of the last entry stands, with the position of the last operation in it: part of the
/// state, so that it is in every digest and checkpoint. No operation of a story names it.
pub const PREDICTED: &str = "predicted";

/// How far ahead of the own clock a predicted time may be, in milliseconds.
const AHEAD_MAX: u64 = 1_000;

/// The service of one replica. A value that it predicts reads `r0.3@120ms`: a draw of its dice, which no
/// replica makes twice, and what its clock says. Several are combined to all draws, and the lower median of
/// the times: `r0.3+r1.7@120ms`.
#[derive(Clone, Debug)]
pub struct SimService {
    state: KeyValue,
    replica: ReplicaId,
    prediction: Prediction,
    /// Draws of the dice so far. A process that dies does not give them back.
    draws: u64,
    /// What its clock says, in milliseconds.
    clock: u64,
}

impl SimService {
    pub(crate) fn new(replica: ReplicaId, prediction: Prediction) -> Self {
        Self { state: KeyValue::new(), replica, prediction, draws: 0, clock: 0 }
    }

    /// The replicated state.
    #[must_use]
    pub const fn state(&self) -> &KeyValue {
        &self.state
    }

    pub(crate) const fn state_mut(&mut self) -> &mut KeyValue {
        &mut self.state
    }

    pub(crate) const fn set_clock(&mut self, milliseconds: u64) {
        self.clock = milliseconds;
    }

    /// Forgets the state.
    pub(crate) fn lose_memory(&mut self) {
        self.state = KeyValue::new();
    }
}

/// Whether the service wants a value for these requests: only for what may change something.
pub(crate) fn wants_value(requests: &[Request<Bytes>]) -> bool {
    requests.iter().any(|request| match request {
        Request::Register { .. } => false,
        Request::Operation { body, .. } => !KeyValue::new().is_read_only(body),
    })
}

/// The time in a value, in milliseconds, and the draws in it.
fn parts(value: &Bytes) -> Option<(u64, &str)> {
    let (draws, time) = std::str::from_utf8(value).ok()?.split_once('@')?;
    Some((time.strip_suffix("ms")?.parse().ok()?, draws))
}

impl Service<Bytes> for SimService {
    fn apply(&mut self, context: Context<'_, Bytes>, operation: &Bytes) -> Bytes {
        if let Some(prediction) = context.prediction {
            let mut value = prediction.to_vec();
            value.extend_from_slice(format!("/{}", context.index).as_bytes());
            let key = Bytes::from_static(PREDICTED.as_bytes());
            self.state.execute(&Operation::Put { key, value: value.into() });
        }
        self.state.apply(context, operation)
    }

    fn digest(&self) -> Checksum {
        self.state.digest()
    }

    fn is_read_only(&self, operation: &Bytes) -> bool {
        self.state.is_read_only(operation)
    }

    fn query(&self, operation: &Bytes) -> Option<Bytes> {
        Service::query(&self.state, operation)
    }

    fn prediction(&self) -> Prediction {
        self.prediction
    }

    fn predict(&mut self, requests: &[Request<Bytes>]) -> Option<Bytes> {
        if !wants_value(requests) {
            return None;
        }
        self.draws += 1;
        Some(format!("{}.{}@{}ms", self.replica, self.draws, self.clock).into())
    }

    fn combine(&mut self, _: &[Request<Bytes>], values: Vec<(ReplicaId, Bytes)>) -> Option<Bytes> {
        let parts: Vec<(u64, &str)> = values.iter().filter_map(|(_, value)| parts(value)).collect();
        let mut times: Vec<u64> = parts.iter().map(|(time, _)| *time).collect();
        times.sort_unstable();
        let median = times.get(times.len().checked_sub(1)? / 2)?;
        let draws: Vec<&str> = parts.iter().map(|(_, draws)| *draws).collect();
        Some(format!("{}@{median}ms", draws.join("+")).into())
    }

    fn check(&self, _: &[Request<Bytes>], prediction: &Bytes) -> Result<(), Implausible> {
        match parts(prediction) {
            Some((time, _)) if time <= self.clock + AHEAD_MAX => Ok(()),
            Some(_) => Err(Implausible::new("its time is more than a second ahead")),
            None => Err(Implausible::new("it is no time and draw")),
        }
    }

    fn checkpoint(&self) -> Option<Box<dyn Iterator<Item = Chunk<Bytes>> + Send>> {
        self.state.checkpoint()
    }

    fn lost(&mut self, chunks: &[Checksum]) {
        self.state.lost(chunks);
    }

    fn restore(&mut self, chunks: &mut dyn Iterator<Item = Bytes>) -> Result<(), RestoreError> {
        self.state.restore(chunks)
    }
}
