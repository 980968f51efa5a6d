//! The node's clocks: the wall's, for the entries' timestamps, and one that never falls behind.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use vsr_core::{Moment, Timestamp};

/// Reads both clocks at once.
///
/// The steady clock of most systems stands still while the machine sleeps, and the wall's clock can be set
/// back. By the one that went further between two readings no age seems less than it is, unless the wall's
/// clock is set back over a sleep.
#[derive(Debug)]
pub(crate) struct Clock {
    steady: Instant,
    wall: SystemTime,
    moment: Moment,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { steady: Instant::now(), wall: SystemTime::now(), moment: Moment::ZERO }
    }

    /// Nanoseconds since the Unix epoch, zero where the wall's clock is before it; and the moment.
    pub(crate) fn read(&mut self) -> (Timestamp, Moment) {
        self.advance(Instant::now(), SystemTime::now())
    }

    fn advance(&mut self, steady: Instant, wall: SystemTime) -> (Timestamp, Moment) {
        let steadily = steady.saturating_duration_since(self.steady);
        let by_wall = wall.duration_since(self.wall).unwrap_or_default();
        let passed = u64::try_from(steadily.max(by_wall).as_nanos()).unwrap_or(u64::MAX);
        (self.steady, self.wall) = (steady, wall);
        self.moment = Moment(self.moment.0.saturating_add(passed));
        let since = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        (Timestamp(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)), self.moment)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn no_time_passes_unnoticed() {
        let second = Duration::from_secs(1);
        let mut clock = Clock::new();
        let (steady, wall) = (clock.steady, clock.wall);
        let mut moment = |steady, wall| clock.advance(steady, wall).1.0 / 1_000_000_000;
        assert_eq!(moment(steady + second, wall + second), 1);
        assert_eq!(moment(steady + second, wall + 3600 * second), 3600, "it slept");
        assert_eq!(moment(steady + 2 * second, wall), 3601, "the wall's clock was set back");
        assert_eq!(moment(steady + 3 * second, wall + second), 3602);
    }
}
