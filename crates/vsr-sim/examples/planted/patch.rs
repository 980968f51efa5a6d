//! A patch: a sentence about the defect, then what finds it, then the change.

use std::fs;
use std::path::{Path, PathBuf};

/// A known mistake, and at least one means that must find it.
pub(crate) struct Patch {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) defect: String,
    /// The story that fails under it and holds without.
    pub(crate) story: Option<String>,
    /// The seeds among which the simulator finds it.
    pub(crate) seeds: Option<String>,
    /// The bounds within which the explorer finds it.
    pub(crate) explorer: Option<String>,
}

/// What one means came to.
pub(crate) struct Finding {
    pub(crate) found: bool,
    /// `story`, `seeds` or `explorer`.
    pub(crate) by: &'static str,
    /// For the table: how far it took.
    pub(crate) cost: String,
    pub(crate) text: String,
}

/// What all means that a patch names came to.
pub(crate) struct Outcome {
    pub(crate) findings: Vec<Finding>,
}

impl Outcome {
    pub(crate) fn is_found(&self) -> bool {
        !self.findings.is_empty() && self.findings.iter().all(|finding| finding.found)
    }

    pub(crate) fn lines(&self) -> impl Iterator<Item = String> + '_ {
        self.findings.iter().map(|finding| {
            let word = if finding.found { "found" } else { "MISSED" };
            format!("{word} by {}: {} ({})", finding.by, finding.text, finding.cost)
        })
    }
}

pub(crate) fn read_patches(folder: &Path) -> Vec<Patch> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .expect("the folder of patches can be read")
        .map(|entry| entry.expect("its entries can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "patch"))
        .collect();
    paths.sort();
    paths.into_iter().map(read_patch).collect()
}

fn read_patch(path: PathBuf) -> Patch {
    let text = fs::read_to_string(&path).expect("a patch can be read");
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map(|value| value.trim().to_owned())
    };
    let (story, seeds, explorer) = (field("Story:"), field("Seeds:"), field("Explorer:"));
    assert!(
        story.is_some() || seeds.is_some() || explorer.is_some(),
        "{} names nothing that finds it",
        path.display()
    );
    Patch {
        name: path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default(),
        defect: text.lines().next().unwrap_or_default().to_owned(),
        story,
        seeds,
        explorer,
        path,
    }
}
