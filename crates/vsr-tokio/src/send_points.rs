//! Crash points at the sending of what others rely on, in a build with the feature `failpoints`: before a message is
//! handed to the transport, and in the round after the one in which it was.

use bytes::Bytes;
use vsr_core::Kind;

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

    /// What was handed over before has left.
    pub(crate) fn begin_round(&mut self, is_primary: bool) {
        vsr_storage::failpoint::set_role(is_primary);
        for name in self.names.drain(..) {
            reach("after", name);
        }
    }
}

#[cfg(feature = "failpoints")]
fn reach(when: &str, name: &str) {
    vsr_storage::failpoint::reach(&format!("{when}-send-{}", name.to_lowercase()));
}

#[cfg(not(feature = "failpoints"))]
impl Sent {
    pub(crate) const fn message(&mut self, _: &Kind<Bytes>) {}

    pub(crate) const fn reply(&mut self) {}

    pub(crate) const fn begin_round(&mut self, _: bool) {}
}
