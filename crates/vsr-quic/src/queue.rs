//! A bounded queue of frames between the node, which never waits, and the task that writes to a
//! stream.

use std::collections::VecDeque;
use std::sync::Mutex;

use bytes::Bytes;
use tokio::sync::Notify;

use crate::limits::{QueueLimit, WhenFull};

/// Frames on their way to a stream. One task takes, anybody puts.
#[derive(Debug)]
pub(crate) struct Queue {
    limit: QueueLimit,
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    entries: VecDeque<Bytes>,
    bytes: usize,
}

impl Queue {
    pub(crate) fn new(limit: QueueLimit) -> Self {
        Self { limit, waiting: Mutex::default(), arrived: Notify::new() }
    }

    /// Puts frames at the end. Returns whether all is kept: where the queue is full, something was
    /// dropped.
    pub(crate) fn put(&self, frames: Bytes) -> bool {
        let mut waiting = self.lock();
        let mut kept_all = true;
        while waiting.is_full_for(&frames, &self.limit) {
            kept_all = false;
            match self.limit.when_full {
                WhenFull::DropNewest => return false,
                WhenFull::DropOldest => waiting.drop_oldest(),
            }
        }
        waiting.bytes += frames.len();
        waiting.entries.push_back(frames);
        drop(waiting);
        self.arrived.notify_one();
        kept_all
    }

    /// Waits until something is there and takes all of it.
    pub(crate) async fn take(&self) -> Vec<Bytes> {
        loop {
            let taken = self.take_now();
            if !taken.is_empty() {
                return taken;
            }
            self.arrived.notified().await;
        }
    }

    /// Takes all that is there.
    pub(crate) fn take_now(&self) -> Vec<Bytes> {
        let mut waiting = self.lock();
        waiting.bytes = 0;
        waiting.entries.drain(..).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("no code panics with this lock")
    }
}

impl Waiting {
    fn is_full_for(&self, frames: &Bytes, limit: &QueueLimit) -> bool {
        !self.entries.is_empty()
            && (self.entries.len() >= limit.entries || self.bytes + frames.len() > limit.bytes)
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.entries.pop_front() {
            self.bytes -= oldest.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(when_full: WhenFull) -> Queue {
        Queue::new(QueueLimit { entries: 3, bytes: 10, when_full })
    }

    fn of(byte: u8, length: usize) -> Bytes {
        Bytes::from(vec![byte; length])
    }

    #[test]
    fn a_full_queue_drops_its_oldest_or_its_newest_as_it_was_told() {
        for (when_full, left) in
            [(WhenFull::DropOldest, vec![2, 3, 4]), (WhenFull::DropNewest, vec![1, 2, 3])]
        {
            let queue = queue(when_full);
            for byte in 1..=3 {
                assert!(queue.put(of(byte, 1)));
            }
            assert!(!queue.put(of(4, 1)));
            let taken: Vec<u8> = queue.take_now().iter().map(|frames| frames[0]).collect();
            assert_eq!(taken, left);
        }
    }

    #[test]
    fn bytes_are_bounded_too_but_a_large_frame_passes_through_an_empty_queue() {
        let queue = queue(WhenFull::DropNewest);
        assert!(queue.put(of(1, 8)));
        assert!(!queue.put(of(2, 3)));
        assert!(queue.put(of(3, 2)));
        assert_eq!(queue.take_now().len(), 2);
        assert!(queue.put(of(4, 11)));
        assert!(!queue.put(of(5, 1)));
        assert_eq!(queue.take_now().len(), 1);
    }

    #[tokio::test]
    async fn taking_waits_for_what_is_put() {
        let queue = std::sync::Arc::new(queue(WhenFull::DropOldest));
        let taker = tokio::spawn({
            let queue = std::sync::Arc::clone(&queue);
            async move { queue.take().await.len() }
        });
        tokio::task::yield_now().await;
        queue.put(of(1, 1));
        assert_eq!(taker.await.unwrap(), 1);
    }
}
