//! Log lines about what comes from outside are rationed: whoever can reach the port could otherwise
//! fill the disk, and by forged addresses make each line another one.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The same line about the same source is written at most this often.
const INTERVAL: Duration = Duration::from_secs(60);

/// Lines remembered; beyond this all of them are forgotten, which [`LINES_PER_WINDOW`] makes rare.
const LINES_MAX: usize = 256;

/// How many lines are written in one [`WINDOW`], whatever they say: enough to see what goes on, too few
/// to fill a disk.
const LINES_PER_WINDOW: u32 = 20;

/// See [`LINES_PER_WINDOW`].
const WINDOW: Duration = Duration::from_secs(1);

/// Lets the first of equal lines pass, and counts the others until the next may.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    lines: Mutex<Lines>,
}

#[derive(Debug, Default)]
struct Lines {
    seen: HashMap<String, Seen>,
    rate: Rate,
}

/// What all lines share.
#[derive(Debug, Default)]
struct Rate {
    since: Option<Instant>,
    admitted: u32,
    held_back: u64,
}

#[derive(Debug)]
struct Seen {
    logged: Instant,
    held_back: u64,
}

impl Throttle {
    /// Whether to write this line now; if so, how many were held back: those like it since the last
    /// one, and those that were too many of all.
    pub(crate) fn admit(&self, source: impl Display, line: &str) -> Option<u64> {
        self.admit_at(Instant::now(), source, line)
    }

    fn admit_at(&self, now: Instant, source: impl Display, line: &str) -> Option<u64> {
        let mut lines = self.lines.lock().expect("no code panics with this lock");
        let key = format!("{source} {line}");
        if let Some(seen) = lines.seen.get_mut(&key)
            && now.duration_since(seen.logged) < INTERVAL
        {
            seen.held_back += 1;
            return None;
        }
        let of_all = lines.rate.admit(now)?;
        if let Some(seen) = lines.seen.get_mut(&key) {
            seen.logged = now;
            return Some(of_all + std::mem::take(&mut seen.held_back));
        }
        if lines.seen.len() >= LINES_MAX {
            lines.seen.clear();
        }
        let seen = Seen { logged: now, held_back: 0 };
        lines.seen.insert(key, seen);
        Some(of_all)
    }
}

impl Rate {
    /// How many were held back since the last one admitted; `None` if this one is, too.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        if self.since.is_none_or(|since| now.duration_since(since) >= WINDOW) {
            self.since = Some(now);
            self.admitted = 0;
        }
        if self.admitted >= LINES_PER_WINDOW {
            self.held_back += 1;
            return None;
        }
        self.admitted += 1;
        Some(std::mem::take(&mut self.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_lines_are_held_back_and_counted() {
        let throttle = Throttle::default();
        let start = Instant::now();
        assert_eq!(throttle.admit_at(start, "::1", "a"), Some(0));
        assert_eq!(throttle.admit_at(start, "::1", "a"), None);
        assert_eq!(throttle.admit_at(start, "::1", "b"), Some(0));
        assert_eq!(throttle.admit_at(start + INTERVAL, "::1", "a"), Some(1));
        assert_eq!(throttle.admit_at(start + INTERVAL, "::1", "a"), None);
    }

    #[test]
    fn a_flood_of_different_lines_is_bounded_in_memory_and_in_lines() {
        let throttle = Throttle::default();
        let start = Instant::now();
        let passed = |now, numbers: std::ops::Range<u32>| {
            numbers.filter(|n| throttle.admit_at(now, n, "refused").is_some()).count()
        };
        assert_eq!(passed(start, 0..100_000), LINES_PER_WINDOW as usize);
        let held_back = 100_000 - u64::from(LINES_PER_WINDOW);
        assert_eq!(throttle.admit_at(start + WINDOW, "::1", "refused"), Some(held_back));
        for second in 2..60 {
            let count = passed(start + second * WINDOW, 0..1000);
            assert!(count <= LINES_PER_WINDOW as usize, "{count}");
        }
        assert!(throttle.lines.lock().unwrap().seen.len() <= LINES_MAX);
    }
}
