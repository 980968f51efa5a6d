//! Plants each defect of `planted/*.patch` in a copy of the workspace and shows that a story, the
//! simulator or the explorer finds it:
//! `cargo run --release -p vsr-sim --example planted -- [NAME...] [--rotation N] [--write]`.
//!
//! 1. Every patch must apply, and the stories named must hold without any.
//! 2. Each patch is built and looked for by all means it names. What a patch came to is kept in
//!    `target/planted` and not tried again while neither it nor the sources change, so that a run
//!    that was stopped resumes where it was. Patches that are named are always tried.
//! 3. A table of all that is known is printed; `--write` puts it into `docs/TESTING.md`.
//!
//! `--rotation N` tries five patches, others for each N, until all had their turn. Needs `git`; each
//! patch is a build.

mod copy;
mod kept;
mod patch;
mod table;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use copy::Copy;
use kept::Kept;
use patch::{Patch, read_patches};

/// How many patches a rotation tries: a few minutes' worth.
const PATCHES_A_ROTATION: usize = 5;

struct Arguments {
    names: Vec<String>,
    rotation: Option<usize>,
    write: bool,
}

fn main() -> ExitCode {
    let arguments = match read_arguments() {
        Ok(arguments) => arguments,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
    };
    let crate_root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let workspace = crate_root.ancestors().nth(2).expect("the crate lies in crates/");
    let patches = read_patches(&crate_root.join("planted"));
    if let Some(unknown) =
        arguments.names.iter().find(|name| patches.iter().all(|patch| patch.name != **name))
    {
        eprintln!("there is no patch {unknown} in crates/vsr-sim/planted");
        return ExitCode::from(2);
    }
    let folder = target_folder(workspace).join("planted");
    let copy = Copy::of(workspace, &folder.join("copy"));
    for patch in &patches {
        copy.must_take(patch);
    }
    println!("{} patches apply", patches.len());
    let kept = Kept::new(&folder, &copy);
    let tried = wanted(&patches, &arguments);
    show_that_stories_hold(&copy, &kept, &tried, &arguments);
    for patch in &tried {
        if arguments.is_choosy() || kept.outcome(patch).is_none() {
            println!("{}: {}", patch.name, patch.defect);
            let outcome = copy.try_patch(patch);
            for line in outcome.lines() {
                println!("  {line}");
            }
            kept.keep(patch, &outcome);
        }
    }
    println!("\n{}", table::text(&patches, &kept));
    if arguments.write {
        table::write(&workspace.join("docs/TESTING.md"), &patches, &kept);
    }
    let missed: Vec<&str> = tried
        .iter()
        .filter(|patch| !kept.outcome(patch).is_some_and(|outcome| outcome.is_found()))
        .map(|patch| patch.name.as_str())
        .collect();
    println!("{} defects planted, {} found", tried.len(), tried.len() - missed.len());
    if missed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("not found as they should be: {}", missed.join(", "));
    ExitCode::FAILURE
}

fn read_arguments() -> Result<Arguments, String> {
    let mut arguments = Arguments { names: Vec::new(), rotation: None, write: false };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--write" => arguments.write = true,
            "--rotation" => {
                let turn = words.next().and_then(|turn| turn.parse().ok());
                arguments.rotation = Some(turn.ok_or("`--rotation` needs a number")?);
            }
            option if option.starts_with('-') => return Err(format!("unknown option `{option}`")),
            name => arguments.names.push(name.to_owned()),
        }
    }
    Ok(arguments)
}

impl Arguments {
    /// Whether some patches were asked for, which are tried whatever is known about them.
    const fn is_choosy(&self) -> bool {
        !self.names.is_empty() || self.rotation.is_some()
    }
}

/// The patches that are named and those whose turn it is; all where neither was asked for.
fn wanted<'patches>(patches: &'patches [Patch], arguments: &Arguments) -> Vec<&'patches Patch> {
    if !arguments.is_choosy() {
        return patches.iter().collect();
    }
    let first = arguments.rotation.map(|turn| turn.wrapping_mul(PATCHES_A_ROTATION));
    let has_turn = |index: usize| {
        first.is_some_and(|first| {
            let steps = (index + patches.len() - first % patches.len()) % patches.len();
            steps < PATCHES_A_ROTATION
        })
    };
    let is_wanted = |(index, patch): &(usize, &Patch)| {
        has_turn(*index) || arguments.names.contains(&patch.name)
    };
    patches.iter().enumerate().filter(is_wanted).map(|(_, patch)| patch).collect()
}

/// A story that fails without the defect says nothing about it.
fn show_that_stories_hold(copy: &Copy, kept: &Kept, tried: &[&Patch], arguments: &Arguments) {
    let is_due = |patch: &&&Patch| arguments.is_choosy() || kept.outcome(patch).is_none();
    let stories: Vec<&str> =
        tried.iter().filter(is_due).filter_map(|patch| patch.story.as_deref()).collect();
    if stories.is_empty() {
        return;
    }
    copy.build();
    for story in stories {
        let output = copy.story_output(story);
        assert!(output.status.success(), "{story} fails without any defect");
    }
}

fn target_folder(workspace: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from)
}
