//! Dying on request, in a build with the feature `failpoints`: for tests that kill a real process at a named point.
//!
//! `VSR_FAILPOINT=after-sync-log` aborts the process when it comes there; `after-sync-log=3` at the third time; and
//! `after-sync-log@primary`, or `@backup`, counts only while its replica has that role. No shipped build has this.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The environment variable that asks for it.
pub const VARIABLE: &str = "VSR_FAILPOINT";

/// What is asked for.
#[derive(Debug)]
struct Asked {
    point: String,
    /// At which time, counted from 1.
    time: u64,
    /// Only as the primary, or only as a backup.
    as_primary: Option<bool>,
    reached: AtomicU64,
}

static ASKED: OnceLock<Option<Asked>> = OnceLock::new();
static IS_PRIMARY: AtomicBool = AtomicBool::new(false);

fn asked() -> Option<&'static Asked> {
    let read = || {
        let wanted = std::env::var(VARIABLE).ok()?;
        let asked = parse(&wanted);
        assert!(asked.is_some(), "{VARIABLE}: write after-sync-log=3@primary, not `{wanted}`");
        asked
    };
    ASKED.get_or_init(read).as_ref()
}

/// The point that is asked for, if one is.
///
/// # Panics
/// If what is asked for cannot be read.
#[must_use]
pub fn point() -> Option<&'static str> {
    asked().map(|asked| asked.point.as_str())
}

fn parse(wanted: &str) -> Option<Asked> {
    let (wanted, as_primary) = match wanted.split_once('@') {
        None => (wanted, None),
        Some((wanted, "primary")) => (wanted, Some(true)),
        Some((wanted, "backup")) => (wanted, Some(false)),
        Some(_) => return None,
    };
    let (point, time) = wanted.split_once('=').unwrap_or((wanted, "1"));
    let (point, time) = (point.to_owned(), time.parse().ok()?);
    Some(Asked { point, time, as_primary, reached: AtomicU64::new(0) })
}

/// The process's replica is, or is not, the primary.
pub fn set_role(is_primary: bool) {
    IS_PRIMARY.store(is_primary, Ordering::Relaxed);
}

/// The process came to a point. Aborts it if that was asked for.
pub fn reach(point: &str) {
    let Some(asked) = asked().filter(|asked| asked.point == point) else { return };
    let is_primary = IS_PRIMARY.load(Ordering::Relaxed);
    if asked.as_primary.is_some_and(|as_primary| as_primary != is_primary) {
        return;
    }
    if asked.reached.fetch_add(1, Ordering::Relaxed) + 1 == asked.time {
        std::process::abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_asked_for_by_name_time_and_role() {
        let read = |wanted| parse(wanted).map(|asked| (asked.point, asked.time, asked.as_primary));
        let point = || "after-sync-log".to_owned();
        assert_eq!(read("after-sync-log"), Some((point(), 1, None)));
        assert_eq!(read("after-sync-log=3@primary"), Some((point(), 3, Some(true))));
        assert_eq!(read("after-sync-log@backup"), Some((point(), 1, Some(false))));
        assert_eq!(read("after-sync-log@leader"), None);
        assert_eq!(read("after-sync-log=often"), None);
    }
}
