//! Repair: what a replica lacks is fetched by identity (protocol.md, sections 2.2 and 5.2).
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod group;

use group::lone::{Lone, chain, headers, prepare, root, start_view};
use vsr_core::{Kind, OpNumber};

/// D9 to D11: only the primary's PREPARE may extend the known prefix upwards. A peer's HEADERS may be
/// those of a log that was superseded.
#[test]
fn headers_of_a_superseded_log_are_never_taken_for_the_views() {
    let common = chain(&root(), 0, &["a"]);
    let old = chain(common[0].header(), 0, &["lost"]);
    let new = chain(common[0].header(), 1, &["b", "c", "d", "e"]);
    let mut r2 = Lone::new(3, 2);
    for entry in common.iter().chain(&old) {
        r2.hear(0, 0, prepare(entry, common[0].header()));
    }
    r2.sync();
    r2.hear(1, 1, start_view(&new[2..], 5));
    r2.sync();
    r2.hear(0, 0, Kind::Headers { headers: headers(&old) });
    assert_eq!(r2.replica.header(OpNumber(2)), None, "op 2 is another entry in view 1");
    assert!(!r2.applied.contains(&"lost"), "executed {:?}", r2.applied);
    r2.hear(1, 1, Kind::Headers { headers: headers(&new[..2]) });
    for entry in &new {
        r2.hear(1, 1, Kind::Entry { entry: entry.clone() });
    }
    assert_eq!(r2.applied, ["a", "b", "c", "d", "e"]);
}
