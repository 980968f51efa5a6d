//! The table of defects: what each is, and what finds it after how much.

use std::fs;
use std::path::Path;

use crate::kept::Kept;
use crate::patch::Patch;

/// The lines of `docs/TESTING.md` between which the table stands.
const BEGIN: &str = "<!-- planted: begin -->";
const END: &str = "<!-- planted: end -->";

pub(crate) fn text(patches: &[Patch], kept: &Kept) -> String {
    let mut text = "| planted bug | seeds to detection | by |\n| --- | --- | --- |\n".to_owned();
    for patch in patches {
        text += &row(patch, kept);
    }
    text
}

fn row(patch: &Patch, kept: &Kept) -> String {
    let Some(outcome) = kept.outcome(patch) else {
        return format!("| `{}`: {} | not tried | |\n", patch.name, patch.defect);
    };
    let (seeds, others): (Vec<_>, Vec<_>) =
        outcome.findings.iter().partition(|finding| finding.by == "seeds");
    let said = |finding: &&crate::patch::Finding| {
        if finding.found { finding.cost.clone() } else { format!("MISSED: {}", finding.cost) }
    };
    let join = |findings: Vec<String>| {
        if findings.is_empty() { "–".to_owned() } else { findings.join("; ") }
    };
    let seeds = join(seeds.iter().map(said).collect());
    let others =
        join(others.iter().map(|finding| format!("{} {}", finding.by, said(finding))).collect());
    format!("| `{}`: {} | {seeds} | {others} |\n", patch.name, patch.defect)
}

/// Puts the table between its marks.
///
/// # Panics
///
/// If the document or its marks are not there.
pub(crate) fn write(document: &Path, patches: &[Patch], kept: &Kept) {
    let before = fs::read_to_string(document).expect("the document can be read");
    let (head, rest) = before.split_once(BEGIN).expect("the mark where the table begins");
    let (_, tail) = rest.split_once(END).expect("the mark where the table ends");
    let after = format!("{head}{BEGIN}\n\n{}\n{END}{tail}", text(patches, kept));
    fs::write(document, after).expect("the document can be written");
}
