//! Every story under `stories/` is run, and its transcript compared with the snapshot beside it.

use std::path::{Path, PathBuf};

use vsr_sim::story::run_story;

/// A story that people read has at most this many commands, and a transcript of this many lines.
const COMMANDS_MAX: usize = 40;
const LINES_MAX: usize = 150;

#[test]
fn every_story_goes_as_it_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("stories");
    let mut failures = Vec::new();
    for path in stories(&root) {
        let name = path.strip_prefix(&root).unwrap().display().to_string();
        let text = std::fs::read_to_string(&path).unwrap();
        if !text.starts_with('#') {
            failures.push(format!("{name}: the first line is a comment that says why it matters"));
        }
        match run_story(&text) {
            Err(error) => failures.push(format!("{name}: {error}\n{}", error.transcript)),
            Ok(transcript) => {
                if transcript.commands > COMMANDS_MAX || transcript.lines.len() > LINES_MAX {
                    failures.push(format!(
                        "{name}: {} commands, {} lines: at most {COMMANDS_MAX} and {LINES_MAX}",
                        transcript.commands,
                        transcript.lines.len()
                    ));
                }
                compare(&path, &transcript.to_string());
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

fn compare(path: &Path, transcript: &str) {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).expect("a story has a name");
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(path.parent().expect("a story lies in a folder"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(stem, transcript));
}

fn stories(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the folder of stories can be read")
        .map(|entry| entry.expect("its entries can be read").path())
        .collect();
    entries.sort();
    for entry in entries {
        if entry.is_dir() {
            found.extend(stories(&entry));
        } else if entry.extension().is_some_and(|extension| extension == "story") {
            found.push(entry);
        }
    }
    found
}
