//! Seeds that broke something once, with what that was. A change of the swarm gives them other courses; what broke has a
//! story or a test of the core beside them, where there could be one.

use vsr_sim::simulate::{Options, Verdict, simulate};

const ONCE_BROKEN: [(u64, &str); 27] = [
    (1, "S7: what a replica marked damaged itself passed for lost by its store"),
    (127, "S7: a sector was damaged with a record in it that no ring header told of"),
    (2007, "S23: an entry of a later view, which cannot have been held, was not judged"),
    (8988, "L1: an entry that may be committed was damaged, and only a dead member had it"),
    (44137, "guard: an evicted session's request hid what its successor had in the pipeline"),
    (
        65741,
        "L3: who alone had not trimmed an entry heard nothing of being asked for it, and views passed meanwhile",
    ),
    (2112, "S23: what was doubted in the own view is not judged anew"),
    (41990, "S23: as seed 2112"),
    (716, "L1: what had the other copy trimmed it for a checkpoint that was damaged"),
    (460, "S23: a damaged slot is not judged anew"),
    (3609, "L1: a commit beyond what the own log has room for was waited for"),
    (8804, "L1: a log offered beyond what the own log has room for was waited for"),
    (8528, "L1: all must hear a head that is uncertain, and the group must wait"),
    (4761, "L1: the only one with all links was unsure of its head"),
    (12275, "L1: as seed 4761"),
    (4082, "L3: a chunk that nobody had any more was asked for without end"),
    (9703, "L3: as seed 4082"),
    (4876, "S23: a torn slot is not judged anew"),
    (9271, "S23: as seed 4876"),
    (13074, "S13: damage of a checkpoint that no superblock names any more"),
    (80622, "L1: a checkpoint of the own view waited for a log whose slot had lost its name"),
    (
        212_944,
        "L1: a checkpoint that the own log knew to be committed waited, since its slot had no name",
    ),
    (125_421, "S1: what a torn group left passed for a sign of loss above the head"),
    (33556, "S13: damage of a checkpoint that the superblock named only later"),
    (18841, "L3: a record that nobody had any more was asked for without end"),
    (19535, "L3: a replica without its state waited for a checkpoint that nobody took"),
    (20497, "L3: as seed 18841"),
];

#[test]
fn what_broke_once_does_not_again() {
    for (seed, what) in ONCE_BROKEN {
        let run = simulate(seed, &Options::DEFAULT);
        assert!(
            !matches!(run.verdict, Verdict::Broken(_)),
            "seed {seed} ({what}): {:?}",
            run.verdict
        );
    }
}
