//! What was promised: every acknowledged write, and when the acknowledgements came.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use vsr_kv::{Answer, Operation};

use crate::error::{Failure, Outcome};
use crate::remote::Remote;

/// How many writers write side by side.
pub(super) const WRITERS: usize = 8;

/// How long a writer rests after each write: the tour shows what survives, not how fast it is.
const REST: Duration = Duration::from_millis(2);

/// Every acknowledged write of the tour.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    acknowledged: BTreeMap<Bytes, Bytes>,
    /// How many were begun, so that each has its own key.
    begun: u64,
}

/// What a stretch of writing came to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stretch {
    pub(super) writes: usize,
    pub(super) took: Duration,
    /// The longest time between two acknowledgements.
    pub(super) longest_gap: Duration,
}

impl Ledger {
    pub(super) fn len(&self) -> usize {
        self.acknowledged.len()
    }

    /// The write that was acknowledged last, by its key.
    pub(super) fn last(&self) -> Option<(&Bytes, &Bytes)> {
        self.acknowledged.last_key_value()
    }

    /// Writes until `count` more writes are acknowledged, and calls `halfway` when half of them
    /// are, while the writers go on.
    ///
    /// # Errors
    /// A write was not acknowledged.
    pub(super) async fn write(
        &mut self,
        remote: &Remote,
        count: usize,
        halfway: impl FnOnce(),
    ) -> Outcome<Stretch> {
        let begun = Instant::now();
        let mut stretch = Stretch { writes: 0, took: Duration::ZERO, longest_gap: Duration::ZERO };
        let mut halfway = Some(halfway);
        let mut last = begun;
        let mut writers = tokio::task::JoinSet::new();
        for _ in 0..WRITERS {
            writers.spawn(write(remote.clone(), self.next()));
        }
        while let Some(written) = writers.join_next().await {
            let written = written.map_err(|error| Failure::refused(error.to_string(), ""))?;
            let (key, value) = written?;
            self.acknowledged.insert(key, value);
            let now = Instant::now();
            stretch.longest_gap = stretch.longest_gap.max(now - last);
            last = now;
            stretch.writes += 1;
            if stretch.writes >= count / 2
                && let Some(halfway) = halfway.take()
            {
                halfway();
            }
            if stretch.writes + writers.len() < count {
                writers.spawn(write(remote.clone(), self.next()));
            }
        }
        stretch.took = begun.elapsed();
        Ok(stretch)
    }

    fn next(&mut self) -> (Bytes, Bytes) {
        self.begun += 1;
        (format!("write-{:05}", self.begun).into(), format!("value {}", self.begun).into())
    }

    /// Reads every acknowledged write back.
    ///
    /// # Errors
    /// Names the first one that is not as it was acknowledged.
    pub(super) async fn check(&self, remote: &Remote) -> Outcome {
        let mut reads = tokio::task::JoinSet::new();
        for (key, value) in &self.acknowledged {
            reads.spawn(check(remote.clone(), key.clone(), value.clone()));
        }
        reads.join_all().await.into_iter().collect()
    }
}

async fn write(remote: Remote, (key, value): (Bytes, Bytes)) -> Outcome<(Bytes, Bytes)> {
    let put = Operation::Put { key: key.clone(), value: value.clone() };
    remote.ask(&put).await?;
    tokio::time::sleep(REST).await;
    Ok((key, value))
}

async fn check(remote: Remote, key: Bytes, value: Bytes) -> Outcome {
    let get = Operation::Get { key };
    let found = remote.ask(&get).await?;
    let promised = Answer::Value(Some(value));
    if found == promised {
        return Ok(());
    }
    Err(Failure::refused(
        format!("`{get}` answers `{found}`, but `{promised}` was acknowledged"),
        "",
    ))
}
