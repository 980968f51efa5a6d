//! The shape of the workspace: which way its crates depend, and what stays out of which.

#![allow(clippy::unwrap_used, reason = "a test fails where its surroundings do")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A crate, and all of the workspace that it may depend on; tests may use the simulator too.
const DIRECTION: [(&str, &[&str]); 8] = [
    ("vsr-core", &[]),
    ("vsr-wire", &["vsr-core"]),
    ("vsr-storage", &["vsr-core"]),
    ("vsr-kv", &["vsr-core"]),
    ("vsr-sim", &["vsr-core", "vsr-wire", "vsr-storage", "vsr-kv"]),
    ("vsr-tokio", &["vsr-core", "vsr-wire", "vsr-storage"]),
    ("vsr-quic", &["vsr-core", "vsr-wire", "vsr-storage", "vsr-tokio"]),
    (
        "vsr-cli",
        &["vsr-core", "vsr-wire", "vsr-storage", "vsr-kv", "vsr-sim", "vsr-tokio", "vsr-quic"],
    ),
];

/// A file that is longer is perhaps two things.
const LINES_SHOWN: usize = 600;

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// What a crate's manifest lists under `[dependencies]`.
fn dependencies(name: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(crates().join(name).join("Cargo.toml")).unwrap();
    let manifest: toml::Table = text.parse().unwrap();
    let listed = manifest.get("dependencies").and_then(toml::Value::as_table);
    listed.into_iter().flat_map(toml::Table::keys).cloned().collect()
}

#[test]
fn crates_depend_one_way() {
    let folders = std::fs::read_dir(crates()).unwrap().flatten().map(|entry| entry.file_name());
    let found: BTreeSet<String> = folders.map(|name| name.into_string().unwrap()).collect();
    let known: BTreeSet<String> = DIRECTION.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(found, known, "a new crate has a place in the direction");
    for (name, allowed) in DIRECTION {
        let own: Vec<String> =
            dependencies(name).into_iter().filter(|name| name.starts_with("vsr-")).collect();
        let wrong: Vec<&String> =
            own.iter().filter(|name| !allowed.contains(&name.as_str())).collect();
        assert!(wrong.is_empty(), "{name} depends on {wrong:?}");
    }
}

#[test]
fn the_core_depends_on_nothing_and_the_simulator_on_no_runtime() {
    assert!(dependencies("vsr-core").is_empty());
    assert!(!dependencies("vsr-sim").contains("tokio"));
    for name in ["vsr-core", "vsr-storage", "vsr-kv", "vsr-sim", "vsr-tokio", "vsr-quic"] {
        assert!(!dependencies(name).contains("bincode"), "{name}: bytes are vsr-wire's");
    }
}

/// Prints the offenders: run it with `--nocapture`.
#[test]
fn long_files_are_listed() {
    let mut folders = vec![crates()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files += 1;
                let lines = std::fs::read_to_string(&path).unwrap().lines().count();
                if lines > LINES_SHOWN {
                    println!("{} has {lines} lines", path.display());
                }
            }
        }
    }
    assert!(files > 100, "the crates were found");
}
