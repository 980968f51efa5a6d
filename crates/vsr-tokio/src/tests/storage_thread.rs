//! The storage thread, over a store that does what a script says.

use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;
use vsr_core::{
    ClusterId, Config, Configuration, Constants, DiskState, Effect, Effects, Fetch, Fetched,
    OpNumber, Replica, ReplicaId, Write, WriteKind,
};

use crate::storage_thread::{StorageThread, Stored};
use crate::{LogStore, ReadBack, Scrubbed, StoreError};

/// Says what it is asked to do, and waits to be told how that ends.
struct Scripted {
    asked: Sender<&'static str>,
    answers: Receiver<Result<(), StoreError>>,
}

impl Scripted {
    fn ask(&self, what: &'static str) -> Result<(), StoreError> {
        self.asked.send(what).unwrap();
        self.answers.recv().unwrap()
    }
}

impl LogStore for Scripted {
    fn write(&mut self, _: &WriteKind<Bytes>) -> Result<(), StoreError> {
        self.asked.send("write").unwrap();
        Ok(())
    }

    fn sync(&mut self) -> Result<u32, StoreError> {
        self.ask("sync").map(|()| 1)
    }

    fn idle(&mut self) -> Result<bool, StoreError> {
        self.asked.send("idle").unwrap();
        Ok(false)
    }

    fn read(&self, _: OpNumber, _: OpNumber, _: u64) -> ReadBack {
        self.asked.send("read").unwrap();
        ReadBack::default()
    }

    fn fetch(&mut self, _: &Fetch<Bytes>) -> Result<Option<Fetched<Bytes>>, StoreError> {
        self.asked.send("fetch").unwrap();
        Ok(None)
    }

    fn scrub(&mut self, _: u64) -> Result<Scrubbed, StoreError> {
        self.asked.send("scrub").unwrap();
        Ok(Scrubbed { bytes: SCRUBBED, faulty: vec![OpNumber(7)], is_over: false })
    }

    fn is_nearly_full(&self) -> bool {
        false
    }
}

/// How many bytes a part has.
const SCRUBBED: u64 = 1000;

struct Script {
    thread: StorageThread,
    asked: Receiver<&'static str>,
    answers: Sender<Result<(), StoreError>>,
    gone: oneshot::Receiver<()>,
}

fn script() -> Script {
    script_that_scrubs(0)
}

fn script_that_scrubs(scrub_rate: u64) -> Script {
    let (asked_sender, asked) = mpsc::channel();
    let (answers, answers_receiver) = mpsc::channel();
    let (gone_sender, gone) = oneshot::channel();
    let store = Scripted { asked: asked_sender, answers: answers_receiver };
    let thread =
        StorageThread::start(store, (crate::TRANSFER_RATE, scrub_rate), gone_sender).unwrap();
    Script { thread, asked, answers, gone }
}

impl Script {
    /// The next thing the store is asked, but for what it may do when nothing else is to be done.
    fn next(&self) -> &'static str {
        let patience = Duration::from_secs(20);
        loop {
            match self.asked.recv_timeout(patience).unwrap() {
                "idle" => {}
                asked => return asked,
            }
        }
    }
}

/// A write, as a replica makes it at its start.
fn a_write() -> Write<Bytes> {
    let configuration = Configuration::of_replicas(3).unwrap();
    let config =
        Config::new(ClusterId(1), ReplicaId(1), configuration, Constants::DEFAULT).unwrap();
    let mut effects = Effects::new();
    let _ = Replica::new(config, &mut effects);
    let write = effects
        .drain()
        .find_map(|effect| if let Effect::Persist(write) = effect { Some(write) } else { None });
    write.expect("a replica persists its incarnation first")
}

/// A checkpoint that was fetched may make way for the next one only once the store knows which superblocks
/// were submitted before.
#[tokio::test]
async fn a_store_has_what_was_submitted_before_a_fetch() {
    let mut script = script();
    script.thread.write(vec![a_write()]);
    assert_eq!((script.next(), script.next()), ("write", "sync"));
    script.thread.write(vec![a_write()]);
    script.thread.fetch(Fetch::Abandon);
    script.answers.send(Ok(())).unwrap();
    assert!(matches!(script.thread.next().await, Stored::Written(_)));
    assert_eq!([(); 3].map(|()| script.next()), ["write", "fetch", "sync"]);
    script.answers.send(Ok(())).unwrap();
    assert!(matches!(script.thread.next().await, Stored::Written(_)));
}

#[tokio::test]
async fn what_is_submitted_during_a_sync_shares_the_next_one() {
    let mut script = script();
    script.thread.write(vec![a_write()]);
    assert_eq!((script.next(), script.next()), ("write", "sync"));
    for _ in 0..3 {
        script.thread.write(vec![a_write(), a_write()]);
    }
    script.thread.read(OpNumber(1), OpNumber(2));
    script.answers.send(Ok(())).unwrap();
    assert!(matches!(script.thread.next().await, Stored::Written(_)));
    assert_eq!([(); 6].map(|()| script.next()), ["write"; 6]);
    assert_eq!(script.next(), "sync");
    script.answers.send(Ok(())).unwrap();
    assert!(matches!(script.thread.next().await, Stored::Written(_)));
    assert!(matches!(script.thread.next().await, Stored::Read(_)));
    let counters = script.thread.counters();
    assert_eq!((counters.syncs(), counters.writes()), (2, 7));
}

#[tokio::test]
async fn a_store_that_failed_is_never_asked_again() {
    let mut script = script();
    script.thread.write(vec![a_write()]);
    assert_eq!((script.next(), script.next()), ("write", "sync"));
    script.thread.write(vec![a_write()]);
    script.answers.send(Err(StoreError::Failed("broken".into()))).unwrap();
    let Stored::Failed(failure) = script.thread.next().await else {
        panic!("the failure is reported")
    };
    assert_eq!(std::error::Error::source(&failure).unwrap().to_string(), "broken");
    let _ = script.gone.await;
    assert!(script.asked.iter().all(|asked| asked == "idle"));
}

#[tokio::test]
async fn a_thread_that_panicked_is_a_failure_for_whoever_asks() {
    for finishes in [false, true] {
        let mut script = script();
        script.thread.write(vec![a_write()]);
        assert_eq!((script.next(), script.next()), ("write", "sync"));
        // The store panics, since nobody tells it how this ends.
        drop(script.answers);
        if finishes {
            let failure = script.thread.finish().await.unwrap_err();
            let source = std::error::Error::source(&failure).unwrap().to_string();
            assert_eq!(source, "the storage thread has ended unexpectedly");
        } else {
            assert!(matches!(script.thread.next().await, Stored::Failed(_)));
            assert!(matches!(script.thread.try_next(), Some(Stored::Failed(_))));
        }
    }
}

#[tokio::test]
async fn what_did_not_fit_is_synced_when_there_is_room() {
    let mut script = script();
    script.thread.write(vec![a_write()]);
    assert_eq!((script.next(), script.next()), ("write", "sync"));
    script.answers.send(Err(StoreError::Full)).unwrap();
    assert!(matches!(script.thread.next().await, Stored::Disk(DiskState::Full)));
    assert_eq!(script.next(), "sync", "it is not written twice");
    script.answers.send(Ok(())).unwrap();
    assert!(matches!(script.thread.next().await, Stored::Written(_)));
    assert!(matches!(script.thread.next().await, Stored::Disk(DiskState::Ok)));
}

#[tokio::test]
async fn the_end_waits_for_what_was_submitted() {
    let mut script = script();
    script.thread.write(vec![a_write()]);
    script.answers.send(Ok(())).unwrap();
    script.thread.finish().await.unwrap();
    let _ = script.gone.await;
    let asked: Vec<_> = script.asked.iter().filter(|asked| *asked != "idle").collect();
    assert_eq!(asked, ["write", "sync"]);
}

#[test]
fn a_store_with_nothing_to_do_may_do_what_it_put_off() {
    let script = script();
    let asked = script.asked.recv_timeout(Duration::from_secs(20));
    assert_eq!(asked, Ok("idle"));
}

/// At twenty parts a second five of them take a fifth of a second; what they find is told.
#[test]
fn a_store_is_scrubbed_at_a_bounded_rate() {
    let mut script = script_that_scrubs(20 * SCRUBBED);
    assert_eq!(script.next(), "scrub");
    let first = Instant::now();
    for _ in 0..4 {
        assert_eq!(script.next(), "scrub");
    }
    assert!(first.elapsed() >= Duration::from_millis(4 * 50 - 20), "{:?}", first.elapsed());
    let found = script.thread.try_next();
    assert!(matches!(found, Some(Stored::Faulty { op: OpNumber(7) })), "{found:?}");
}
