//! Log lines about what comes from outside are rationed: whoever can reach the port could otherwise
//! fill the disk.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The same line about the same source is written at most this often.
const INTERVAL: Duration = Duration::from_secs(60);

/// Lines remembered; beyond this all of them are forgotten, at most once a second.
const LINES_MAX: usize = 256;

/// Lets the first of equal lines pass, and counts the others until the next may.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    lines: Mutex<Lines>,
}

#[derive(Debug, Default)]
struct Lines {
    seen: HashMap<String, Seen>,
    forgot: Option<Instant>,
}

#[derive(Debug)]
struct Seen {
    logged: Instant,
    held_back: u64,
}

impl Throttle {
    /// Whether to write this line now; if so, how many like it were held back since the last one.
    pub(crate) fn admit(&self, source: impl Display, line: &str) -> Option<u64> {
        self.admit_at(Instant::now(), source, line)
    }

    fn admit_at(&self, now: Instant, source: impl Display, line: &str) -> Option<u64> {
        let mut lines = self.lines.lock().expect("no code panics with this lock");
        let key = format!("{source} {line}");
        if let Some(seen) = lines.seen.get_mut(&key) {
            if now.duration_since(seen.logged) < INTERVAL {
                seen.held_back += 1;
                return None;
            }
            seen.logged = now;
            return Some(std::mem::take(&mut seen.held_back));
        }
        if lines.seen.len() >= LINES_MAX {
            let rest = Duration::from_secs(1);
            if lines.forgot.is_some_and(|at| now.duration_since(at) < rest) {
                return None;
            }
            lines.forgot = Some(now);
            lines.seen.clear();
        }
        let seen = Seen { logged: now, held_back: 0 };
        lines.seen.insert(key, seen);
        Some(0)
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
        let passed = (0..100_000)
            .filter(|n: &i32| throttle.admit_at(start, "::1", &n.to_string()).is_some())
            .count();
        assert!(passed <= 2 * LINES_MAX, "{passed}");
        assert!(throttle.lines.lock().unwrap().seen.len() <= LINES_MAX);
    }
}
