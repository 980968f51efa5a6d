//! Random schedules: messages lost, doubled and late, slow disks, crashes, damage, cut links and
//! small client-tables. Whatever happens the replicas agree, each operation is executed at most once,
//! and clients are told the truth; when it ends, the group serves again.
#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![allow(unreachable_pub, reason = "modules of one test")]

mod callers;
mod world;

use vsr_core::StatusName;
use world::{MS, World};

fn seeds() -> std::ops::Range<u64> {
    let first = std::env::var("VSR_SEED").ok().and_then(|seed| seed.parse().ok());
    let count = std::env::var("VSR_SEEDS").ok().and_then(|seeds| seeds.parse().ok());
    let first = first.unwrap_or(0);
    first..first + count.unwrap_or(12)
}

#[test]
fn random_schedules_neither_lose_nor_repeat_nor_stop_for_ever() {
    let mut finished = 0;
    for seed in seeds() {
        let mut world = World::new(seed, false);
        world.run_until(20_000 * MS);
        world.heal();
        let before = world.finished;
        world.run_until(50_000 * MS);
        world.check_truth();
        assert!(world.finished > before + 50, "seed {seed} serves no more:\n{}", world.describe());
        finished += world.finished;
        let summaries = world.nodes.iter().map(|node| node.replica.as_ref().unwrap().summary());
        let summaries: Vec<_> = summaries.collect();
        for summary in &summaries {
            assert_eq!(summary.view, summaries[0].view, "seed {seed}:\n{}", world.describe());
            let normal = [StatusName::Primary, StatusName::Backup].contains(&summary.status);
            assert!(normal, "seed {seed}:\n{}", world.describe());
            let lag = summaries[0].commit_min.0.abs_diff(summary.commit_min.0);
            assert!(lag < 200, "seed {seed}:\n{}", world.describe());
        }
    }
    assert!(finished > 0);
}

#[test]
fn random_schedules_with_damage_neither_lose_nor_repeat() {
    for seed in seeds() {
        let mut world = World::new(seed, true);
        world.run_until(20_000 * MS);
        world.heal();
        world.run_until(25_000 * MS);
        world.check_truth();
    }
}
