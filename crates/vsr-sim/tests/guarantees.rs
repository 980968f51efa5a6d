//! `docs/GUARANTEES.md` names what holds each promise. Whatever it names must exist.

use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn whatever_holds_a_promise_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = fs::read_to_string(root.join("docs/GUARANTEES.md")).expect("the page can be read");
    let sim = root.join("crates/vsr-sim");
    let checks = source(&sim.join("src/invariants")) + &source(&sim.join("src/simulate"));
    let trials = source(&root.join("crates/vsr-cli/tests"));
    let mut missing = Vec::new();
    let mut named = 0;
    // What comes before the first promise says how to read the page.
    for line in page.lines().skip_while(|line| !line.starts_with("## ")) {
        for (kind, names) in evidence(line) {
            named += 1;
            let exists = match (kind, names.as_slice()) {
                ("story", [name]) => sim.join(format!("stories/{name}.story")).exists(),
                ("planted", [name]) => sim.join(format!("planted/{name}.patch")).exists(),
                ("test", [package, name]) => {
                    source(&root.join("crates").join(package)).contains(&format!("fn {name}("))
                }
                ("trial", [name]) => trials.contains(&format!("fn {name}(")),
                ("invariant", [name]) => {
                    checks.contains(&format!("\"{name}\""))
                        || checks.contains(&format!("\"{name}: "))
                }
                _ => false,
            };
            if !exists {
                missing.push(line);
            }
        }
    }
    assert!(missing.is_empty(), "these do not exist:\n{}", missing.join("\n"));
    let promises = page.lines().filter(|line| line.starts_with("**")).count();
    assert!(named > 3 * promises, "{named} names for {promises} promises");
}

/// Every `kind` with what it names in a line: `test` two names, the package's and its own; an invariant
/// is a word without quotes.
fn evidence(line: &str) -> Vec<(&str, Vec<&str>)> {
    let mut found = Vec::new();
    for kind in ["story", "planted", "test", "trial", "invariant"] {
        let lead = format!("{kind} ");
        for (at, _) in line.match_indices(&lead) {
            let rest = &line[at + lead.len()..];
            let quoted = |index: usize| rest.split('`').nth(2 * index + 1).unwrap_or_default();
            let names = match kind {
                "test" if rest.starts_with('`') => vec![quoted(0), quoted(1)],
                "story" | "planted" | "trial" if rest.starts_with('`') => vec![quoted(0)],
                "invariant" => vec![rest.split(' ').next().unwrap_or_default()],
                _ => continue,
            };
            found.push((kind, names));
        }
    }
    found
}

/// All Rust sources below a folder, in one text.
fn source(folder: &Path) -> String {
    let mut text = String::new();
    let mut folders: Vec<PathBuf> = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of sources can be read") {
            let path = entry.expect("its entries can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                text += &fs::read_to_string(&path).expect("a source can be read");
            }
        }
    }
    text
}
