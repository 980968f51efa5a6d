//! Crash points at the sending of what others rely on, in a build with the feature `failpoints`: before a message is
//! handed to the transport, and in the round after the one in which it was.

use bytes::Bytes;
use vsr_core::{Kind, Replica};

/// The messages whose sending is a crash point: `before-send-prepare-ok`, `after-send-prepare-ok`.
#[cfg(feature = "failpoints")]
pub const SEND_POINTS: [&str; 4] = ["PREPARE-OK", "DO-VIEW-CHANGE", "START-VIEW", "REPLY"];

/// What was sent since the last round.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    #[cfg(feature = "failpoints")]
    names: Vec<&'static str>,
}

#[cfg(feature = "failpoints")]
impl Sent {
    /// A message is about to be handed to the transport.
    pub(crate) fn message(&mut self, kind: &Kind<Bytes>) {
        self.about_to(kind.name());
    }

    /// A reply is.
    pub(crate) fn reply(&mut self) {
        self.about_to("REPLY");
    }

    fn about_to(&mut self, name: &'static str) {
        if SEND_POINTS.contains(&name) {
            reach("before", name);
            self.names.push(name);
        }
    }

    /// What was handed over before has left, as far as the transport had its turn.
    pub(crate) fn begin_round(&mut self, replica: &Replica<Bytes>) {
        let is_primary = replica.summary().status == vsr_core::StatusName::Primary;
        vsr_storage::failpoint::set_role(is_primary);
        for name in self.names.drain(..) {
            reach("after", name);
        }
    }
}

#[cfg(feature = "failpoints")]
fn point(when: &str, name: &str) -> String {
    format!("{when}-send-{}", name.to_lowercase())
}

#[cfg(feature = "failpoints")]
fn reach(when: &str, name: &str) {
    vsr_storage::failpoint::reach(&point(when, name));
}

/// Refuses a point that no process ever comes to.
///
/// # Panics
/// If `VSR_FAILPOINT` names one.
#[cfg(feature = "failpoints")]
pub(crate) fn check_what_is_asked() {
    let Some(asked) = vsr_storage::failpoint::point() else { return };
    let sent = |when| SEND_POINTS.iter().any(|name| point(when, name) == asked);
    let known = asked.parse::<vsr_storage::CrashPoint>().is_ok() || sent("before") || sent("after");
    assert!(known, "VSR_FAILPOINT: there is no crash point `{asked}`: `before-sync-log` is one");
}

#[cfg(not(feature = "failpoints"))]
impl Sent {
    pub(crate) const fn message(&mut self, _: &Kind<Bytes>) {}

    pub(crate) const fn reply(&mut self) {}

    pub(crate) const fn begin_round(&mut self, _: &Replica<Bytes>) {}
}
