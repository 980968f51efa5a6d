//! The numbers and names that every part of the protocol speaks of.
//!
//! Each is a newtype, so that a view-number is never taken for an op-number. All are plain
//! integers; none is ever reused.

use core::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl $name {
            /// The least value.
            pub const ZERO: Self = Self(0);

            /// The value after this one; stays at the largest value instead of wrapping.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }

            /// The value before this one; stays at zero instead of wrapping.
            #[must_use]
            pub const fn previous(self) -> Self {
                Self(self.0.saturating_sub(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number! {
    /// A view-number: views succeed one another, and each has one primary (paper, section 4).
    ViewNumber(u64)
}
number! {
    /// An op-number: the position of an entry in the log. Op 0 is the root, a fixed entry that
    /// every replica of a cluster holds from the start; the first prepared entry is op 1.
    OpNumber(u64)
}
number! {
    /// An epoch-number: which configuration of the group is in force (paper, section 7).
    Epoch(u32)
}
number! {
    /// A request-number: counts the operations of one session from 1, without gaps.
    RequestNumber(u64)
}
number! {
    /// How often a replica has been started on its store. Durable before anything is sent.
    Incarnation(u64)
}
number! {
    /// Replicated time in nanoseconds since the Unix epoch, as far as the primaries' clocks were
    /// right; strictly increasing from entry to entry.
    Timestamp(u64)
}

number! {
    /// Nanoseconds on a clock of the driver's own, from any beginning. It never goes back, is not set, and
    /// never falls behind the time that passes, also where the machine sleeps.
    Moment(u64)
}
number! {
    /// The release of the service's operations that an entry was prepared under.
    Release(u32)
}

/// The stable name of a replica. Never reused: a replica that lost its store returns under a new
/// one. Not an index; see [`Configuration::index`](crate::Configuration::index).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaId(pub u32);

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}

/// The name of a cluster, a UUID v4 drawn when it was formatted. Part of every message and of
/// every header, so that two clusters never mix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub u128);

/// The name of one replica's store, a UUID v4 drawn when it was formatted. A store that is gone never
/// comes back under its replica's number: another one is told by this.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreId(pub u128);

/// The name a client draws for itself (UUID v7), once in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u128);

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{:x}", self.0)
    }
}

/// A digest of whom a client authenticated as (the subject of its certificate). A session serves
/// only the subject that registered it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject(pub u128);

/// A session in the client-table: the slot is its index there, the number is the op-number of the
/// entry that registered it (zero for a session from genesis), so that a reused slot is told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Session {
    /// Index in the client-table.
    pub slot: u32,
    /// Op-number of the entry that registered the session.
    pub number: OpNumber,
}

/// Distinguishes one question from another: the incarnation and a counter of the asker, so that an
/// answer to a question of a former life, or to an earlier question, is recognised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nonce {
    /// The asker's incarnation.
    pub incarnation: Incarnation,
    /// Counts the asker's questions within the incarnation, from 1.
    pub count: u64,
}

/// The bytes of an operation or of a reply. The core never looks inside.
///
/// Implemented for everything that fits: `bytes::Bytes`, `Arc<[u8]>`, `Vec<u8>`, `&'static str`.
/// Choose one whose clone is cheap.
pub trait Body: AsRef<[u8]> + Clone + Eq + fmt::Debug {}

impl<T: AsRef<[u8]> + Clone + Eq + fmt::Debug> Body for T {}
