//! What is said first on a connection, and what is said when it is closed.

use core::fmt;

use vsr_core::{
    Checksum, ClientId, ClusterId, Constants, Digest, Durability, Epoch, Incarnation, ReplicaId,
    StoreId,
};

use crate::frame::VERSION;

/// Of how many starts a replica tells the numbers.
pub const STARTS_TOLD: usize = 16;

/// Who introduces itself.
#[allow(clippy::large_enum_variant, reason = "there is one for each connection")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Speaker {
    /// A replica.
    Replica {
        /// Its number, which its certificate must name too.
        id: ReplicaId,
        /// How often it was started: a later one replaces the connection of an earlier one.
        incarnation: Incarnation,
        /// A number drawn at this start, and at each one before it, latest first; 0 where that is not known. A copy of
        /// the store that is started counts the same, and draws another.
        starts: [u128; STARTS_TOLD],
        /// The name of its store: a store that is gone never comes back under the same number.
        store: StoreId,
    },
    /// A client.
    Client {
        /// The name it drew for itself.
        id: ClientId,
    },
}

/// The first frame in each direction: the dialling side's, then the accepting side's in answer. An
/// accepting side that does not agree answers with a close instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hello {
    /// The highest version of frames that the speaker reads.
    pub version: u16,
    /// The speaker's cluster.
    pub cluster: ClusterId,
    /// Who speaks.
    pub speaker: Speaker,
    /// How many members the speaker's configuration has; zero from a client that does not know.
    pub replicas: u32,
    /// The epoch of that configuration; zero from a client.
    pub epoch: Epoch,
    /// [`constants_digest`] of the speaker's cluster; zero from a client.
    pub constants: Checksum,
    /// The longest frame that the speaker reads. Each side sends no longer one.
    pub frame_limit: u32,
}

impl Hello {
    /// Compares the other side's hello with this side's.
    ///
    /// Whether the speaker is whom its certificate names is left to the transport. Of a client only
    /// version and cluster are compared: it learns the rest.
    ///
    /// # Errors
    /// The reason to close the connection with.
    pub fn agree(&self, theirs: &Self) -> Result<(), CloseReason> {
        if theirs.version < VERSION {
            return Err(CloseReason::WrongVersion);
        }
        if theirs.cluster != self.cluster {
            return Err(CloseReason::WrongCluster);
        }
        match (self.speaker, theirs.speaker) {
            (Speaker::Replica { id: ours, .. }, Speaker::Replica { id: theirs, .. })
                if ours == theirs =>
            {
                return Err(CloseReason::WrongSender);
            }
            (Speaker::Client { .. }, Speaker::Client { .. }) => {
                return Err(CloseReason::WrongSender);
            }
            (Speaker::Client { .. }, Speaker::Replica { .. })
            | (Speaker::Replica { .. }, Speaker::Client { .. }) => return Ok(()),
            (Speaker::Replica { .. }, Speaker::Replica { .. }) => {}
        }
        if theirs.constants != self.constants {
            return Err(CloseReason::ConstantsDiffer);
        }
        if theirs.epoch == self.epoch && theirs.replicas != self.replicas {
            return Err(CloseReason::WrongGroup);
        }
        Ok(())
    }
}

/// A digest of a cluster's constants, for [`Hello::constants`].
#[must_use]
pub fn constants_digest(constants: &Constants) -> Checksum {
    // Taken apart by name, so that a new constant cannot be forgotten here.
    let Constants {
        pipeline,
        batch_requests,
        batch_bytes,
        request_bytes,
        log_slots,
        log_bytes,
        checkpoint_interval,
        checkpoint_bytes,
        checkpoint_time,
        sessions,
        window,
        session_expiry,
        kept_reply,
        genesis_sessions,
        durability,
    } = *constants;
    let mut digest = Digest::new();
    for constant in [
        pipeline,
        batch_requests,
        batch_bytes,
        request_bytes,
        log_slots,
        checkpoint_interval,
        sessions,
        kept_reply,
        genesis_sessions,
        window,
    ] {
        digest.write_u64(u64::from(constant));
    }
    digest.write_u64(log_bytes);
    digest.write_u64(session_expiry);
    digest.write_u64(checkpoint_bytes);
    digest.write_u64(checkpoint_time);
    digest.write_u64(match durability {
        Durability::Sync => 0,
        Durability::Memory => 1,
    });
    digest.finish()
}

/// Why a connection is closed: sent in a close frame, and as the transport's own code where it has
/// one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum CloseReason {
    /// The process stops.
    ShuttingDown = 1,
    /// A newer connection of the same sender took this one's place.
    Replaced = 2,
    /// Too many connections, or too much waits: try again after a while.
    Busy = 3,
    /// Nothing came in time.
    TimedOut = 4,
    /// Frames of a version that this side does not speak.
    WrongVersion = 16,
    /// The other side belongs to another cluster.
    WrongCluster = 17,
    /// The other side is not whom its certificate names, or not one to speak here.
    WrongSender = 18,
    /// The groups have different numbers of members in the same epoch.
    WrongGroup = 19,
    /// The replicas were formatted with different constants.
    ConstantsDiffer = 20,
    /// The first frame was not a hello, or a second hello came.
    HelloExpected = 21,
    /// The certificate does not allow this.
    Forbidden = 22,
    /// The replica comes with another store than the one known under its number: it forgot what it
    /// promised.
    AnotherStore = 23,
    /// The replica comes with an earlier copy of its store: a later start of it was heard.
    EarlierCopy = 24,
    /// Checksums were wrong.
    Damaged = 32,
    /// Bytes that are not a message.
    Malformed = 33,
    /// A frame longer than the limit.
    TooLarge = 34,
}

impl CloseReason {
    /// Every reason there is, ascending.
    pub const ALL: [Self; 16] = [
        Self::ShuttingDown,
        Self::Replaced,
        Self::Busy,
        Self::TimedOut,
        Self::WrongVersion,
        Self::WrongCluster,
        Self::WrongSender,
        Self::WrongGroup,
        Self::ConstantsDiffer,
        Self::HelloExpected,
        Self::Forbidden,
        Self::AnotherStore,
        Self::EarlierCopy,
        Self::Damaged,
        Self::Malformed,
        Self::TooLarge,
    ];

    /// The reason's number.
    #[must_use]
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// The reason with this number.
    #[must_use]
    pub fn of(code: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }

    /// Whether dialling again, unchanged, can help.
    #[must_use]
    pub const fn is_transient(self) -> bool {
        match self {
            Self::ShuttingDown | Self::Replaced | Self::Busy | Self::TimedOut | Self::Damaged => {
                true
            }
            Self::WrongVersion
            | Self::WrongCluster
            | Self::WrongSender
            | Self::WrongGroup
            | Self::ConstantsDiffer
            | Self::HelloExpected
            | Self::Forbidden
            | Self::AnotherStore
            | Self::EarlierCopy
            | Self::Malformed
            | Self::TooLarge => false,
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ShuttingDown => "the other side stops",
            Self::Replaced => "a newer connection of the same sender took over",
            Self::Busy => "the other side is busy: try again later",
            Self::TimedOut => "nothing came in time",
            Self::WrongVersion => "the other side speaks another version: upgrade the older one",
            Self::WrongCluster => {
                "the other side belongs to another cluster: check addresses and cluster id"
            }
            Self::WrongSender => {
                "the certificate names another sender: check that each process has its own"
            }
            Self::WrongGroup => {
                "the other side has another number of members: compare how both were formatted"
            }
            Self::ConstantsDiffer => {
                "the other side was formatted with other constants: compare with `vsr inspect`"
            }
            Self::HelloExpected => "the first frame, and only that one, must be a hello",
            Self::Forbidden => "the certificate does not allow this",
            Self::AnotherStore => {
                "this replica comes with another store than it had: what the lost one promised is forgotten, so it never returns under its number"
            }
            Self::EarlierCopy => {
                "this replica's store is an earlier copy of what it had: what it promised since is not in it, so put the later one back, or leave it stopped"
            }
            Self::Damaged => "bytes were damaged on the way: dial again",
            Self::Malformed => "bytes that are not a message",
            Self::TooLarge => "a frame was longer than the limit",
        })
    }
}
