//! A copy of the crates that a simulation is made of, in which defects are planted and looked for.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::patch::{Finding, Outcome, Patch};

/// The crates that a simulation is made of.
const CRATES: [&str; 5] = ["vsr-core", "vsr-kv", "vsr-sim", "vsr-storage", "vsr-wire"];

/// A story that a person reads has at most this many commands.
const COMMANDS_MAX: usize = 40;

/// The exit statuses of a story in which something does not hold, and of one that panics.
const STORY_FAILED: i32 = 1;
const STORY_PANICKED: i32 = 101;

/// The copy; what was built in it stays from run to run.
pub(crate) struct Copy {
    root: PathBuf,
}

impl Copy {
    /// Brings the copy at `root` up to date, without touching files that are equal: a build of it
    /// then builds only what differs.
    pub(crate) fn of(workspace: &Path, root: &Path) -> Self {
        for name in CRATES {
            mirror(&workspace.join("crates").join(name), &root.join("crates").join(name));
        }
        let lock = fs::read(workspace.join("Cargo.lock")).expect("the lock is there");
        write_if_other(&root.join("Cargo.lock"), &lock);
        let manifest =
            fs::read_to_string(workspace.join("Cargo.toml")).expect("a workspace's manifest");
        let kept = manifest.lines().map(|line| match line.split('=').next().map(str::trim) {
            Some("members") => "members = [\"crates/*\"]",
            Some("default-members") => "",
            Some(_) | None => line,
        });
        let kept = kept.collect::<Vec<_>>().join("\n");
        write_if_other(&root.join("Cargo.toml"), kept.as_bytes());
        Self { root: root.to_owned() }
    }

    /// The sources in the copy, in a fixed order.
    pub(crate) fn sources(&self) -> Vec<PathBuf> {
        let mut sources = vec![self.root.join("Cargo.lock"), self.root.join("Cargo.toml")];
        let mut folders: Vec<PathBuf> =
            CRATES.iter().map(|name| self.root.join("crates").join(name)).collect();
        while let Some(folder) = folders.pop() {
            for path in entries(&folder) {
                // The patches are no part of what they change.
                if path.is_dir() && path.file_name().is_some_and(|name| name != "planted") {
                    folders.push(path);
                } else if path.is_file() {
                    sources.push(path);
                }
            }
        }
        sources.sort();
        sources
    }

    /// # Panics
    ///
    /// If the patch does not apply: it must be brought up to date.
    pub(crate) fn must_take(&self, patch: &Patch) {
        self.apply(patch, &["--check"]);
    }

    /// Plants a defect, looks for it by all means named, and takes it out again.
    pub(crate) fn try_patch(&self, patch: &Patch) -> Outcome {
        self.apply(patch, &[]);
        self.build();
        let findings = [
            patch.story.as_ref().map(|story| self.run_story(story)),
            patch.seeds.as_ref().map(|seeds| self.run_seeds(seeds)),
            patch.explorer.as_ref().map(|bounds| self.run_explorer(bounds)),
        ];
        self.apply(patch, &["--reverse"]);
        Outcome { findings: findings.into_iter().flatten().collect() }
    }

    /// Builds quickly rather than well: what is looked for is found by slow code too.
    pub(crate) fn build(&self) {
        let arguments = [
            "build",
            "--release",
            "--offline",
            "--package=vsr-sim",
            "--example=budget",
            "--example=explore",
            "--example=story",
            "--config=profile.release.opt-level=1",
            "--config=profile.release.incremental=true",
            "--config=profile.release.codegen-units=16",
            "--config=profile.release.lto=false",
            "--config=profile.release.debug=false",
        ];
        let output = self.run(env!("CARGO"), &arguments);
        assert!(
            output.status.success(),
            "the copy does not build\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    pub(crate) fn story_output(&self, story: &str) -> Output {
        let file = self.root.join("crates/vsr-sim/stories").join(format!("{story}.story"));
        assert!(file.exists(), "there is no story {story}");
        self.run("target/release/examples/story", &[&file.display().to_string()])
    }

    fn run_story(&self, story: &str) -> Finding {
        let output = self.story_output(story);
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let last = last.rsplit_once(".story: ").map_or(last, |(_, what)| what.trim());
        // A story that cannot be read fails too, and finds nothing.
        let found = matches!(output.status.code(), Some(STORY_FAILED | STORY_PANICKED));
        Finding { found, by: "story", cost: format!("`{story}`"), text: last.to_owned() }
    }

    fn run_seeds(&self, seeds: &str) -> Finding {
        let output =
            self.run("target/release/examples/budget", &["--seeds", seeds, "--until", "broken"]);
        let said = String::from_utf8_lossy(&output.stdout);
        let missed =
            |text: String| Finding { found: false, by: "seeds", cost: seeds.to_owned(), text };
        let broken = said.lines().filter(|line| line.starts_with("seed "));
        let number =
            |line: &str| line.strip_prefix("seed ")?.split(':').next()?.parse::<u64>().ok();
        let Some((first, broken)) = broken.filter_map(|line| Some((number(line)?, line))).min()
        else {
            return missed("none of the seeds".to_owned());
        };
        // Of several failing seeds the shortest story is the one to read.
        let commands = |line: &str| line.split(' ').nth(2)?.parse::<usize>().ok();
        let stories = said.lines().filter(|line| line.starts_with("shrunk to "));
        let failing = stories.filter(|line| line.contains("fails when run"));
        let shortest = failing.filter_map(|line| Some((commands(line)?, line))).min();
        let Some((commands, shrunk)) = shortest else {
            return missed(format!("{broken}; not shrunk"));
        };
        let from = seeds.split("..").next().and_then(|start| start.parse().ok()).unwrap_or(0);
        Finding {
            found: commands <= COMMANDS_MAX,
            by: "seeds",
            cost: format!("{} seeds, a story of {commands} commands", first - from + 1),
            text: format!("{broken}; {shrunk}"),
        }
    }

    fn run_explorer(&self, bounds: &str) -> Finding {
        let words: Vec<&str> = bounds.split(' ').collect();
        let output = self.run("target/release/examples/explore", &words);
        let said = String::from_utf8_lossy(&output.stdout);
        let story = said.lines().find(|line| line.starts_with("a story of "));
        let states = said.lines().find(|line| line.contains(" states")).unwrap_or_default();
        Finding {
            found: story.is_some_and(|line| line.contains("fails when run")),
            by: "explorer",
            cost: format!("`{bounds}`"),
            text: format!("{}; {}", story.unwrap_or("no violation"), states.trim()),
        }
    }

    fn apply(&self, patch: &Patch, options: &[&str]) {
        let file = patch.path.display().to_string();
        let arguments = [&["apply"], options, &[file.as_str()]].concat();
        let output = self.run("git", &arguments);
        assert!(
            output.status.success(),
            "{} does not apply: bring it up to date\n{}",
            patch.name,
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let root = &self.root;
        let program =
            if program.contains("target/") { root.join(program) } else { PathBuf::from(program) };
        Command::new(&program)
            .args(arguments)
            .current_dir(root)
            .env("CARGO_TARGET_DIR", root.join("target"))
            // The copy is no repository, and must not be taken for a part of one around it.
            .env("GIT_CEILING_DIRECTORIES", root.parent().unwrap_or(root))
            .output()
            .unwrap_or_else(|error| panic!("{} cannot be run: {error}", program.display()))
    }
}

/// Makes `to` hold what `from` holds and nothing else.
fn mirror(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder can be made");
    for path in entries(from) {
        let target = to.join(path.file_name().expect("an entry has a name"));
        if path.is_dir() {
            mirror(&path, &target);
        } else {
            write_if_other(&target, &fs::read(&path).expect("a file can be read"));
        }
    }
    for path in entries(to) {
        if from.join(path.file_name().expect("an entry has a name")).exists() {
            continue;
        }
        let removed =
            if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.expect("what is no longer there can be removed");
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder can be read");
    entries.map(|entry| entry.expect("its entries can be read").path()).collect()
}

fn write_if_other(path: &Path, bytes: &[u8]) {
    if fs::read(path).is_ok_and(|present| present == bytes) {
        return;
    }
    fs::write(path, bytes).expect("the copy can be written");
}
