//! A bounded queue of frames between the node, which never waits, and the task that writes to a
//! stream. What that task has taken and not written yet occupies memory like what waits, so it
//! counts in the total of several queues.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::limits::{QueueLimit, WhenFull};

/// Frames on their way to a stream. One task takes, anybody puts.
#[derive(Debug)]
pub(crate) struct Queue {
    limit: QueueLimit,
    total: Total,
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

/// What several queues may hold together.
#[derive(Clone, Debug)]
pub(crate) struct Total {
    bytes: Arc<AtomicUsize>,
    limit: usize,
}

impl Total {
    pub(crate) fn new(limit: usize) -> Self {
        Self { bytes: Arc::default(), limit }
    }

    fn has_room_for(&self, bytes: usize) -> bool {
        self.bytes.load(Ordering::Relaxed).saturating_add(bytes) <= self.limit
    }

    fn give_back(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[derive(Debug, Default)]
struct Waiting {
    entries: VecDeque<Bytes>,
    bytes: usize,
}

/// Frames taken from a [`Queue`]. They count in its total until this is dropped.
#[derive(Debug)]
pub(crate) struct Taken<'a> {
    pub(crate) frames: Vec<Bytes>,
    bytes: usize,
    total: &'a Total,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.total.give_back(self.bytes);
    }
}

impl Queue {
    pub(crate) fn new(limit: QueueLimit) -> Self {
        Self::within(limit, Total::new(usize::MAX))
    }

    /// A queue that is also full when all queues of `total` together are.
    pub(crate) fn within(limit: QueueLimit, total: Total) -> Self {
        Self { limit, total, waiting: Mutex::default(), arrived: Notify::new() }
    }

    /// Puts frames at the end. Returns whether all is kept: where the queue is full, something was
    /// dropped.
    pub(crate) fn put(&self, frames: Bytes) -> bool {
        let mut waiting = self.lock();
        let mut kept_all = true;
        while self.is_full(&waiting, frames.len()) {
            kept_all = false;
            let made_room = match self.limit.when_full {
                WhenFull::DropNewest => false,
                WhenFull::DropOldest => self.drop_oldest(&mut waiting),
            };
            if !made_room {
                return false;
            }
        }
        waiting.bytes += frames.len();
        self.total.bytes.fetch_add(frames.len(), Ordering::Relaxed);
        waiting.entries.push_back(frames);
        drop(waiting);
        self.arrived.notify_one();
        kept_all
    }

    /// Waits until something is there and takes all of it.
    pub(crate) async fn take(&self) -> Taken<'_> {
        loop {
            let taken = self.take_now();
            if !taken.frames.is_empty() {
                return taken;
            }
            self.arrived.notified().await;
        }
    }

    /// Takes all that is there.
    pub(crate) fn take_now(&self) -> Taken<'_> {
        let mut waiting = self.lock();
        let bytes = std::mem::take(&mut waiting.bytes);
        Taken { frames: waiting.entries.drain(..).collect(), bytes, total: &self.total }
    }

    /// Whether `more` bytes do not fit. Where nothing waits only the total can say so: a message
    /// that is larger than this queue's own limit could else never be sent.
    fn is_full(&self, waiting: &Waiting, more: usize) -> bool {
        let own = !waiting.entries.is_empty()
            && (waiting.entries.len() >= self.limit.entries
                || waiting.bytes + more > self.limit.bytes);
        own || !self.total.has_room_for(more)
    }

    /// Returns whether there was anything to drop.
    fn drop_oldest(&self, waiting: &mut Waiting) -> bool {
        let Some(oldest) = waiting.entries.pop_front() else {
            return false;
        };
        waiting.bytes -= oldest.len();
        self.total.give_back(oldest.len());
        true
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("no code panics with this lock")
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        drop(self.take_now());
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
            let taken: Vec<u8> = queue.take_now().frames.iter().map(|frames| frames[0]).collect();
            assert_eq!(taken, left);
        }
    }

    #[test]
    fn bytes_are_bounded_too_but_a_large_frame_passes_through_an_empty_queue() {
        let queue = queue(WhenFull::DropNewest);
        assert!(queue.put(of(1, 8)));
        assert!(!queue.put(of(2, 3)));
        assert!(queue.put(of(3, 2)));
        assert_eq!(queue.take_now().frames.len(), 2);
        assert!(queue.put(of(4, 11)));
        assert!(!queue.put(of(5, 1)));
        assert_eq!(queue.take_now().frames.len(), 1);
    }

    #[test]
    fn queues_of_one_total_share_it_and_give_it_back() {
        let total = Total::new(12);
        let limit = queue(WhenFull::DropNewest).limit;
        let [a, b] = std::array::from_fn(|_| Queue::within(limit, total.clone()));
        assert!(a.put(of(1, 5)) && a.put(of(1, 5)) && b.put(of(1, 2)));
        assert!(!b.put(of(1, 1)), "the total is used up");
        drop(a.take_now());
        assert!(b.put(of(1, 1)));
        drop((a, b));
        assert_eq!(total.bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_is_being_written_counts_in_the_total_until_it_is_written() {
        let total = Total::new(12);
        let limit = queue(WhenFull::DropNewest).limit;
        let [a, b] = std::array::from_fn(|_| Queue::within(limit, total.clone()));
        assert!(a.put(of(1, 8)));
        let written = a.take_now();
        assert!(!a.put(of(1, 5)) && !b.put(of(1, 5)), "though both queues are empty");
        assert!(b.put(of(1, 4)));
        drop(written);
        assert!(a.put(of(1, 8)));
    }

    #[test]
    fn where_others_use_the_total_up_dropping_the_oldest_comes_to_an_end() {
        let total = Total::new(12);
        let limit = queue(WhenFull::DropOldest).limit;
        let [a, b] = std::array::from_fn(|_| Queue::within(limit, total.clone()));
        assert!(a.put(of(1, 10)) && b.put(of(2, 2)));
        assert!(!b.put(of(3, 3)));
        assert_eq!(b.take_now().frames.len(), 0);
    }

    #[tokio::test]
    async fn taking_waits_for_what_is_put() {
        let queue = std::sync::Arc::new(queue(WhenFull::DropOldest));
        let taker = tokio::spawn({
            let queue = std::sync::Arc::clone(&queue);
            async move { queue.take().await.frames.len() }
        });
        tokio::task::yield_now().await;
        queue.put(of(1, 1));
        assert_eq!(taker.await.unwrap(), 1);
    }
}
