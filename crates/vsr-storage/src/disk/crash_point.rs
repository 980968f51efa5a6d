//! Crash points: named places at which a process can be made to die, one before and one after each kind of step that a
//! store takes on each kind of its files.
//!
//! In a simulation [`SimDisk::cut_power_at_point`](super::SimDisk::cut_power_at_point) goes dark there. In a build with the feature `failpoints` a real
//! process aborts at the point that the environment variable `VSR_FAILPOINT` names, as [`failpoint`](crate::failpoint) says.

use std::fmt;
use std::str::FromStr;

use super::PowerCut;

/// What is done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// A file is made.
    Create,
    /// Bytes are written.
    Write,
    /// Space is written with zeros.
    Allocate,
    /// A file is given a length.
    SetLength,
    /// What was written becomes durable.
    Sync,
    /// A whole file gets its name.
    Rename,
    /// A file that nobody needs is removed.
    Remove,
    /// Names become durable.
    SyncDirectory,
}

impl Step {
    /// What cannot be done where it fails.
    pub(crate) const fn what(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Write => "write",
            Self::Allocate => "allocate",
            Self::SetLength => "set the length of",
            Self::Sync => "sync",
            Self::Rename => "rename",
            Self::Remove => "remove",
            Self::SyncDirectory => "sync the directory",
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Write => "write",
            Self::Allocate => "allocate",
            Self::SetLength => "set-length",
            Self::Sync => "sync",
            Self::Rename => "rename",
            Self::Remove => "remove",
            Self::SyncDirectory => "sync-directory",
        }
    }
}

/// Steps that are points of their own, with the beginning of the names of the files to which they are done.
const STEPS: [(Step, &str); 20] = [
    (Step::Write, "log"),
    (Step::Sync, "log"),
    (Step::Write, "superblock"),
    (Step::Sync, "superblock"),
    (Step::Create, "pack"),
    (Step::Write, "pack"),
    (Step::Sync, "pack"),
    (Step::Remove, "pack"),
    (Step::Create, "checkpoint"),
    (Step::Write, "checkpoint"),
    (Step::Sync, "checkpoint"),
    (Step::Rename, "checkpoint"),
    (Step::Remove, "checkpoint"),
    (Step::Create, "fetch"),
    (Step::Write, "fetch"),
    (Step::Sync, "fetch"),
    (Step::Rename, "fetch"),
    (Step::Remove, "fetch"),
    (Step::Write, "peers"),
    (Step::SyncDirectory, ""),
];

/// A place at which a process can be made to die: `before-write-log`, `after-sync-directory`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CrashPoint {
    cut: PowerCut,
    step: Step,
    /// The beginning of the files' names.
    files: &'static str,
}

impl CrashPoint {
    /// All of them, in the order of a store's files.
    pub fn all() -> impl Iterator<Item = Self> {
        let both = |(step, files)| {
            [PowerCut::Before, PowerCut::After].map(|cut| Self { cut, step, files })
        };
        STEPS.into_iter().flat_map(both)
    }

    /// Whether this step is the one, and whether to die before or after it.
    pub(super) fn cut(&self, step: Step, file: &str) -> Option<PowerCut> {
        (self.step == step && file.starts_with(self.files)).then_some(self.cut)
    }
}

impl fmt::Display for CrashPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = match self.cut {
            PowerCut::Before => "before",
            PowerCut::After => "after",
        };
        write!(f, "{when}-{}", self.step.name())?;
        if self.files.is_empty() { Ok(()) } else { write!(f, "-{}", self.files) }
    }
}

/// There is no crash point of that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no crash point `{0}`: `before-sync-log` is one")]
pub struct UnknownCrashPoint(String);

impl FromStr for CrashPoint {
    type Err = UnknownCrashPoint;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let mut all = Self::all();
        all.find(|point| point.to_string() == name).ok_or_else(|| UnknownCrashPoint(name.into()))
    }
}

/// Takes a step on the real disk, and dies before or after it where that was asked for.
pub(super) fn step<T>(step: Step, file: &str, take: impl FnOnce() -> T) -> T {
    reach(PowerCut::Before, step, file);
    let done = take();
    reach(PowerCut::After, step, file);
    done
}

#[cfg(feature = "failpoints")]
fn reach(cut: PowerCut, step: Step, file: &str) {
    let mut all = CrashPoint::all();
    if let Some(point) = all.find(|point| point.cut(step, file) == Some(cut)) {
        crate::failpoint::reach(&point.to_string());
    }
}

#[cfg(not(feature = "failpoints"))]
const fn reach(_: PowerCut, _: Step, _: &str) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_found_by_its_name() {
        let all: Vec<CrashPoint> = CrashPoint::all().collect();
        assert_eq!(all.len(), 40);
        for point in &all {
            assert_eq!(point.to_string().parse(), Ok(*point));
        }
        assert_eq!(all[0].to_string(), "before-write-log");
        assert_eq!(all[39].to_string(), "after-sync-directory");
        let error = "after-rename-log".parse::<CrashPoint>().unwrap_err();
        assert!(error.to_string().contains("`after-rename-log`"), "{error}");
    }

    #[test]
    fn a_point_is_that_of_all_files_of_its_kind() {
        let point: CrashPoint = "before-write-checkpoint".parse().unwrap();
        assert_eq!(point.cut(Step::Write, "checkpoint-4-12ab.new"), Some(PowerCut::Before));
        assert_eq!(point.cut(Step::Sync, "checkpoint-4-12ab"), None);
        assert_eq!(point.cut(Step::Write, "log"), None);
    }
}
