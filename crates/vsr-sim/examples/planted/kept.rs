//! What patches came to, kept beside the copy, so that a run resumes where it was stopped.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use crate::copy::Copy;
use crate::patch::{Finding, Outcome, Patch};

/// Outcomes of this state of the sources.
pub(crate) struct Kept {
    folder: PathBuf,
    sources: u64,
}

impl Kept {
    pub(crate) fn new(folder: &Path, copy: &Copy) -> Self {
        let mut hasher = DefaultHasher::new();
        for source in copy.sources() {
            source.hash(&mut hasher);
            fs::read(&source).expect("a source can be read").hash(&mut hasher);
        }
        Self { folder: folder.to_owned(), sources: hasher.finish() }
    }

    /// What this patch came to with these sources, if it was tried.
    pub(crate) fn outcome(&self, patch: &Patch) -> Option<Outcome> {
        let text = fs::read_to_string(self.path(patch)).ok()?;
        let mut lines = text.lines();
        if lines.next()? != self.key(patch) {
            return None;
        }
        Some(Outcome { findings: lines.filter_map(read_finding).collect() })
    }

    pub(crate) fn keep(&self, patch: &Patch, outcome: &Outcome) {
        let mut text = self.key(patch);
        for Finding { found, by, cost, text: what } in &outcome.findings {
            text += &format!("\n{found}\t{by}\t{cost}\t{what}");
        }
        fs::write(self.path(patch), text).expect("an outcome can be written");
    }

    fn path(&self, patch: &Patch) -> PathBuf {
        self.folder.join(format!("{}.outcome", patch.name))
    }

    fn key(&self, patch: &Patch) -> String {
        let mut hasher = DefaultHasher::new();
        self.sources.hash(&mut hasher);
        fs::read(&patch.path).expect("a patch can be read").hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    }
}

fn read_finding(line: &str) -> Option<Finding> {
    let mut parts = line.splitn(4, '\t');
    let found = parts.next()? == "true";
    let by = match parts.next()? {
        "story" => "story",
        "seeds" => "seeds",
        "explorer" => "explorer",
        _ => return None,
    };
    let (cost, text) = (parts.next()?.to_owned(), parts.next()?.to_owned());
    Some(Finding { found, by, cost, text })
}
