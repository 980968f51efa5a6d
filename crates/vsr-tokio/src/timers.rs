//! A replica's deadlines, and the one sleep that wakes its loop for them.

use std::future::pending;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};
use vsr_core::{Timer, Timing};

use crate::dice::Dice;

/// The deadlines of armed timers, by [`Timer::index`].
#[derive(Debug)]
pub(crate) struct Timers {
    deadlines: [Option<Instant>; Timer::COUNT],
    timing: Timing,
    dice: Dice,
}

impl Timers {
    pub(crate) fn new(timing: Timing) -> Self {
        Self { deadlines: [None; Timer::COUNT], timing, dice: Dice::new() }
    }

    /// Starts a timer, or starts it anew.
    pub(crate) fn arm(&mut self, timer: Timer, attempt: u32, round_trip: Duration, now: Instant) {
        let dice = self.dice.throw();
        let delay = self.timing.delay(timer, attempt, round_trip, dice);
        self.deadlines[timer.index()] = Some(now + delay);
    }

    /// Stops a timer.
    pub(crate) const fn disarm(&mut self, timer: Timer) {
        self.deadlines[timer.index()] = None;
    }

    /// Takes a timer whose deadline has come.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<Timer> {
        let is_due = |deadline: &Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        let index = self.deadlines.iter().position(is_due)?;
        self.deadlines[index] = None;
        Some(Timer::at(index))
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.deadlines.iter().flatten().min().copied()
    }
}

/// A sleep that is moved as rarely as possible: deadlines are mostly put off, and a sleep that ends
/// too early costs one idle round, less than moving it at each of them.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
    set: bool,
}

impl Alarm {
    /// Makes it ring at `deadline` at the latest, if there is one; it may ring earlier.
    pub(crate) fn set(&mut self, deadline: Option<Instant>) {
        let Some(deadline) = deadline else {
            return;
        };
        match &mut self.sleep {
            Some(sleep) if self.set && sleep.deadline() <= deadline => {}
            Some(sleep) => sleep.as_mut().reset(deadline),
            None => self.sleep = Some(Box::pin(sleep_until(deadline))),
        }
        self.set = true;
    }

    /// Waits until it rings. Loses nothing when it is dropped before.
    pub(crate) async fn ring(&mut self) {
        match &mut self.sleep {
            Some(sleep) if self.set => {
                sleep.as_mut().await;
                self.set = false;
            }
            Some(_) | None => pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn an_alarm_rings_at_the_earliest_deadline_it_was_given() {
        let mut alarm = Alarm::default();
        let start = Instant::now();
        alarm.set(Some(start + 2 * SECOND));
        alarm.set(None);
        alarm.set(Some(start + SECOND));
        alarm.set(Some(start + 3 * SECOND));
        alarm.ring().await;
        assert_eq!(start.elapsed(), SECOND);
        assert!(timeout(10 * SECOND, alarm.ring()).await.is_err(), "it rings once");
        alarm.set(Some(start + 20 * SECOND));
        alarm.ring().await;
        assert_eq!(start.elapsed(), 20 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_runs_out_once_and_not_when_it_was_stopped() {
        let mut timers = Timers::new(Timing::DEFAULT);
        let now = Instant::now();
        for timer in [Timer::Heartbeat, Timer::Ping, Timer::VoteExpiry(3)] {
            timers.arm(timer, 0, Duration::ZERO, now);
        }
        timers.disarm(Timer::Ping);
        assert_eq!(timers.next(), Some(now + Timing::DEFAULT.heartbeat));
        assert_eq!(timers.take_due(now), None);
        let later = now + 10 * SECOND;
        assert_eq!(timers.take_due(later), Some(Timer::Heartbeat));
        assert_eq!(timers.take_due(later), Some(Timer::VoteExpiry(3)));
        assert_eq!(timers.take_due(later), None);
        assert_eq!(timers.next(), None);
    }
}
