use super::group::{Model, Move, Next};
use super::*;
use crate::prng::Prng;
use crate::world::store::MemoryStore;

fn small(text: &str) -> Bounds {
    text.parse().unwrap()
}

#[test]
fn bounds_are_read_as_they_are_printed() {
    for text in [
        "--replicas 3 --ops 2 --view-changes 3 --crashes 1",
        "--replicas 2 --ops 1 --view-changes 1 --crashes 0 --quick-disks --states 7 --depth 9",
    ] {
        assert_eq!(small(text).to_string(), text);
    }
    assert!("--replicas 9".parse::<Bounds>().is_err());
    assert!("--ops".parse::<Bounds>().is_err());
    assert!("--colour 3".parse::<Bounds>().is_err());
}

/// What is explored is what the simulated world does: random paths come to the same replicas in both.
#[test]
fn a_path_comes_to_the_same_replicas_in_the_simulated_world() {
    for seed in 0..24 {
        let mut dice = Prng::new(seed);
        let slow = if seed % 2 == 0 { "" } else { " --quick-disks" };
        let bounds = small(&format!("--replicas 3 --ops 2 --view-changes 4 --crashes 2{slow}"));
        let mut model = Model::new(&bounds).unwrap();
        let mut group = model.initial().unwrap();
        let (mut path, mut groups, mut moves) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..100 {
            model.moves(&group, &mut moves);
            let step: Move = moves[dice.below(moves.len() as u64) as usize];
            match model.apply(&group, step) {
                Next::Same | Next::Beyond => {}
                Next::Broken(what) => panic!("{what}"),
                Next::State(next) => {
                    group = *next;
                    path.push(step);
                    groups.push(group.clone());
                }
            }
        }
        assert!(path.len() > 20, "only {} moves", path.len());
        tell::choices::<MemoryStore>(&model, &path, &mut |place, world| {
            for (index, node) in groups[place].nodes.iter().enumerate() {
                let there = world.replica(vsr_core::ReplicaId(index as u32));
                assert_eq!(node.replica.as_ref(), there, "seed {seed}: {:?}", &path[..=place]);
            }
            assert_eq!(world.checker().violation(), None);
        });
    }
}

/// A group so small that nothing is left out; and twice the same counts.
#[test]
fn a_small_group_is_exhausted() {
    let bounds = small("--replicas 3 --ops 1 --view-changes 0 --crashes 0 --quick-disks");
    let report = explore(&bounds, &mut |_| {}).unwrap();
    assert_eq!(report.verdict, Verdict::Exhausted, "{}", report.text());
    assert_eq!(report.committed, 1);
    let again = explore(&bounds, &mut |_| {}).unwrap();
    let counts = |report: &Report| (report.states, report.transitions, report.depth);
    assert_eq!(counts(&report), counts(&again));
}

#[test]
fn a_limit_ends_it() {
    let limited = |limit: &str| {
        let bounds = small(&format!("--replicas 3 --ops 2 --view-changes 2 --crashes 1 {limit}"));
        explore(&bounds, &mut |_| {}).unwrap()
    };
    let by_states = limited("--states 500");
    assert_eq!(by_states.verdict, Verdict::Bounded("states"));
    assert!((500..600).contains(&by_states.states));
    let by_depth = limited("--depth 3");
    assert_eq!((by_depth.verdict, by_depth.depth), (Verdict::Bounded("depth"), 3));
}
