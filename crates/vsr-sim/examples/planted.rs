//! Plants each defect of `planted/*.patch` in a copy of the workspace and shows that a story or the
//! simulator finds it: `cargo run --release -p vsr-sim --example planted [-- NAME...]`.
//!
//! A patch begins with a sentence, the story that must fail under it and pass without (if one is about
//! it), and the seeds among which the simulator must find it (if it can); at least one of these. Needs `git`, and some minutes: each patch is a build.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};

/// The crates that a simulation is made of.
const CRATES: [&str; 5] = ["vsr-core", "vsr-kv", "vsr-sim", "vsr-storage", "vsr-wire"];

/// A story that a person reads has at most this many commands.
const COMMANDS_MAX: usize = 40;

/// The exit statuses of a story in which something does not hold, and of one that panics.
const STORY_FAILED: i32 = 1;
const STORY_PANICKED: i32 = 101;

struct Patch {
    name: String,
    path: PathBuf,
    defect: String,
    story: Option<String>,
    seeds: Option<String>,
}

struct Finding {
    found: bool,
    text: String,
}

fn main() -> ExitCode {
    let crate_root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let workspace = crate_root.ancestors().nth(2).expect("the crate lies in crates/");
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let patches: Vec<Patch> = read_patches(&crate_root.join("planted"))
        .into_iter()
        .filter(|patch| wanted.is_empty() || wanted.contains(&patch.name))
        .collect();
    let copy = std::env::temp_dir().join(format!("vsr-planted-{}", std::process::id()));
    copy_workspace(workspace, &copy);
    build(&copy);
    for story in patches.iter().filter_map(|patch| patch.story.as_ref()) {
        let output = story_output(&copy, story);
        assert!(output.status.success(), "{story} fails without any defect");
    }
    let mut missed = Vec::new();
    for patch in &patches {
        println!("{}: {}", patch.name, patch.defect);
        if !try_patch(&copy, patch) {
            missed.push(patch.name.as_str());
        }
    }
    fs::remove_dir_all(&copy).expect("the copy can be removed");
    println!("{} defects planted, {} found", patches.len(), patches.len() - missed.len());
    if missed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("not found as they should be: {}", missed.join(", "));
    ExitCode::FAILURE
}

/// Plants a defect, looks for it by all means named, and takes it out again.
fn try_patch(copy: &Path, patch: &Patch) -> bool {
    apply(copy, patch, &[]);
    build(copy);
    let findings = [
        patch.story.as_ref().map(|story| run_story(copy, story)),
        patch.seeds.as_ref().map(|seeds| run_seeds(copy, seeds)),
    ];
    apply(copy, patch, &["--reverse"]);
    let mut all = true;
    for finding in findings.into_iter().flatten() {
        all &= finding.found;
        println!("  {} {}", if finding.found { "found" } else { "MISSED" }, finding.text);
    }
    all
}

fn story_output(copy: &Path, story: &str) -> Output {
    let file = copy.join("crates/vsr-sim/stories").join(format!("{story}.story"));
    assert!(file.exists(), "there is no story {story}");
    run(copy, "target/release/examples/story", &[&file.display().to_string()])
}

fn run_story(copy: &Path, story: &str) -> Finding {
    let output = story_output(copy, story);
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let last = last.rsplit_once(".story: ").map_or(last, |(_, what)| last_words(what));
    // A story that cannot be read fails too, and finds nothing.
    let found = matches!(output.status.code(), Some(STORY_FAILED | STORY_PANICKED));
    Finding { found, text: format!("by {story}: {last}") }
}

fn run_seeds(copy: &Path, seeds: &str) -> Finding {
    let output =
        run(copy, "target/release/examples/budget", &["--seeds", seeds, "--until", "broken"]);
    let said = String::from_utf8_lossy(&output.stdout);
    let line = |start: &str| said.lines().find(|line| line.starts_with(start));
    let Some(broken) = line("seed ") else {
        return Finding { found: false, text: format!("by none of the seeds {seeds}") };
    };
    // Of several failing seeds the shortest story is the one to read.
    let commands = |line: &str| line.split(' ').nth(2)?.parse::<usize>().ok();
    let stories = said.lines().filter(|line| line.starts_with("shrunk to "));
    let failing = stories.filter(|line| line.contains("fails when run"));
    let shortest = failing.filter_map(|line| Some((commands(line)?, line))).min();
    let Some((commands, shrunk)) = shortest else {
        return Finding { found: false, text: format!("by {broken}; not shrunk") };
    };
    Finding { found: commands <= COMMANDS_MAX, text: format!("by {broken}; {shrunk}") }
}

fn last_words(text: &str) -> &str {
    text.trim()
}

fn read_patches(folder: &Path) -> Vec<Patch> {
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
    let (story, seeds) = (field("Story:"), field("Seeds:"));
    assert!(
        story.is_some() || seeds.is_some(),
        "{} names neither a story nor seeds that find it",
        path.display()
    );
    Patch {
        name: path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default(),
        defect: text.lines().next().unwrap_or_default().to_owned(),
        story,
        seeds,
        path,
    }
}

fn copy_workspace(workspace: &Path, copy: &Path) {
    for name in CRATES {
        copy_folder(&workspace.join("crates").join(name), &copy.join("crates").join(name));
    }
    fs::copy(workspace.join("Cargo.lock"), copy.join("Cargo.lock")).expect("the lock is there");
    let manifest =
        fs::read_to_string(workspace.join("Cargo.toml")).expect("a workspace's manifest");
    let kept = manifest.lines().map(|line| match line.split('=').next().map(str::trim) {
        Some("members") => "members = [\"crates/*\"]",
        Some("default-members") => "",
        Some(_) | None => line,
    });
    fs::write(copy.join("Cargo.toml"), kept.collect::<Vec<_>>().join("\n"))
        .expect("the copy can be written");
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder can be made");
    for entry in fs::read_dir(from).expect("a folder can be read") {
        let path = entry.expect("its entries can be read").path();
        let target = to.join(path.file_name().expect("an entry has a name"));
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            fs::copy(&path, &target).expect("a file can be copied");
        }
    }
}

fn apply(copy: &Path, patch: &Patch, options: &[&str]) {
    let file = patch.path.display().to_string();
    let arguments = [&["apply"], options, &[file.as_str()]].concat();
    let output = run(copy, "git", &arguments);
    assert!(
        output.status.success(),
        "{} does not apply: bring it up to date\n{}",
        patch.name,
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Builds quickly rather than well: what is looked for is found by slow code too.
fn build(copy: &Path) {
    let arguments = [
        "build",
        "--release",
        "--offline",
        "--package=vsr-sim",
        "--example=budget",
        "--example=story",
        "--config=profile.release.opt-level=1",
        "--config=profile.release.incremental=true",
        "--config=profile.release.codegen-units=16",
        "--config=profile.release.lto=false",
        "--config=profile.release.debug=false",
    ];
    let output = run(copy, env!("CARGO"), &arguments);
    assert!(
        output.status.success(),
        "the copy does not build\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn run(copy: &Path, program: &str, arguments: &[&str]) -> Output {
    let program =
        if program.contains("target/") { copy.join(program) } else { PathBuf::from(program) };
    Command::new(&program)
        .args(arguments)
        .current_dir(copy)
        .env("CARGO_TARGET_DIR", copy.join("target"))
        // The copy is no repository, and must not be taken for a part of one around it.
        .env("GIT_CEILING_DIRECTORIES", copy.parent().unwrap_or(copy))
        .output()
        .unwrap_or_else(|error| panic!("{} cannot be run: {error}", program.display()))
}
