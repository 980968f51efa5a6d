//! Who is in the group, what a quorum is, and the limits that all of a cluster's replicas share.

use alloc::vec::Vec;
use core::fmt;

use crate::service::Prediction;
use crate::types::{ClusterId, Epoch, ReplicaId, ViewNumber};

/// The most voters a group may have: beyond seven each further voter costs more than it saves.
pub const VOTERS_MAX: usize = 7;

/// The most standbys beside the voters.
pub const STANDBYS_MAX: usize = 16;

/// What a member of a configuration may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Holds log and state, votes, may become primary.
    Full,
    /// Holds the recent log with bodies, votes, never leads and holds no state.
    Witness,
    /// Receives, but does not vote.
    Learner,
}

/// One member of a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    /// Its stable name.
    pub id: ReplicaId,
    /// What it may do.
    pub role: Role,
}

/// The members of a group in one epoch, sorted by id: the paper's configuration, without addresses,
/// which are the driver's affair.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Configuration {
    epoch: Epoch,
    members: Vec<Member>,
    quorums: Quorums,
}

/// How many replicas decide what. `replication + view_change > voters` always holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quorums {
    /// Replicas, the primary among them, that must hold an entry durably before it is committed.
    pub replication: usize,
    /// Replicas that must vote before a view is left, and whose logs a new view starts from.
    pub view_change: usize,
    /// Replicas that prove, by never having held an entry, that it cannot have been committed.
    pub nack: usize,
}

/// Why a configuration was refused. All are the operator's to mend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConfigurationError {
    /// A group needs at least one voter that may lead.
    NoFullMember,
    /// More voters than [`VOTERS_MAX`], or more standbys than [`STANDBYS_MAX`].
    TooManyMembers,
    /// This replica is named twice.
    Duplicate(ReplicaId),
    /// The replica to be started is not a member.
    NotAMember(ReplicaId),
    /// Two quorums could be disjoint: replication + view change must exceed the voters.
    QuorumsDisjoint {
        /// The replication quorum asked for.
        replication: usize,
        /// The view-change quorum asked for.
        view_change: usize,
        /// How many voters there are.
        voters: usize,
    },
    /// A quorum of none, or larger than the group.
    QuorumOutOfRange,
    /// A constant is outside its range.
    Constant(&'static str),
    /// A group in memory that the first stop of any replica would lose.
    NoneTolerated,
}

impl fmt::Display for ConfigurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFullMember => f.write_str("a group needs at least one full member: name one"),
            Self::TooManyMembers => write!(
                f,
                "a group has at most {VOTERS_MAX} voters and {STANDBYS_MAX} standbys: name fewer"
            ),
            Self::Duplicate(id) => {
                write!(f, "{id} is named twice: give each replica its own number")
            }
            Self::NotAMember(id) => write!(f, "{id} is not a member of this configuration"),
            Self::QuorumsDisjoint { replication, view_change, voters } => write!(
                f,
                "quorums {replication}/{view_change} of {voters} voters could be disjoint: \
                 their sum must exceed the number of voters"
            ),
            Self::QuorumOutOfRange => {
                f.write_str("a quorum is at least one and at most the number of voters")
            }
            Self::Constant(what) => write!(f, "cluster constant out of range: {what}"),
            Self::NoneTolerated => f.write_str(
                "a group in memory that changes views only with all of its voters is lost when one \
                 stops: name three replicas or more, or keep the log on disk",
            ),
        }
    }
}

impl core::error::Error for ConfigurationError {}

impl Quorums {
    /// The quorums of a group of `voters`: a majority to change views; to replicate, the least that
    /// still meets every such majority (half of an even group), but two wherever there are two, so
    /// that no single disk holds the only copy.
    ///
    /// # Errors
    /// [`ConfigurationError::NoFullMember`] for a group of none.
    pub fn of(voters: usize) -> Result<Self, ConfigurationError> {
        if voters == 0 {
            return Err(ConfigurationError::NoFullMember);
        }
        let view_change = voters / 2 + 1;
        let replication = (voters - view_change + 1).max(voters.min(2));
        Self::new(voters, replication, view_change)
    }

    /// Chosen quorums.
    ///
    /// # Errors
    /// [`ConfigurationError::QuorumsDisjoint`] where they could miss each other,
    /// [`ConfigurationError::QuorumOutOfRange`] where one is zero or exceeds the group.
    pub fn new(
        voters: usize,
        replication: usize,
        view_change: usize,
    ) -> Result<Self, ConfigurationError> {
        let range = 1..=voters;
        if !range.contains(&replication) || !range.contains(&view_change) {
            return Err(ConfigurationError::QuorumOutOfRange);
        }
        if replication + view_change <= voters {
            return Err(ConfigurationError::QuorumsDisjoint { replication, view_change, voters });
        }
        Ok(Self { replication, view_change, nack: voters - replication + 1 })
    }
}

impl Configuration {
    /// The first configuration of a cluster, with the default quorums.
    ///
    /// # Errors
    /// Any [`ConfigurationError`] that concerns members.
    pub fn new(members: Vec<Member>) -> Result<Self, ConfigurationError> {
        let voters = members.iter().filter(|m| m.role != Role::Learner).count();
        Self::with_quorums(Epoch::ZERO, members, Quorums::of(voters)?)
    }

    /// Replicas 0 to `count - 1`, all of them full members.
    ///
    /// # Errors
    /// [`ConfigurationError::NoFullMember`] for none, [`ConfigurationError::TooManyMembers`].
    pub fn of_replicas(count: usize) -> Result<Self, ConfigurationError> {
        if count > VOTERS_MAX {
            return Err(ConfigurationError::TooManyMembers);
        }
        Self::new(
            (0..count as u32).map(|id| Member { id: ReplicaId(id), role: Role::Full }).collect(),
        )
    }

    /// A configuration of a given epoch with given quorums.
    ///
    /// # Errors
    /// Any [`ConfigurationError`] that concerns members or quorums.
    pub fn with_quorums(
        epoch: Epoch,
        mut members: Vec<Member>,
        quorums: Quorums,
    ) -> Result<Self, ConfigurationError> {
        members.sort_by_key(|m| m.id);
        if let Some(pair) = members.windows(2).find(|pair| pair[0].id == pair[1].id) {
            return Err(ConfigurationError::Duplicate(pair[0].id));
        }
        if !members.iter().any(|m| m.role == Role::Full) {
            return Err(ConfigurationError::NoFullMember);
        }
        let voters = members.iter().filter(|m| m.role != Role::Learner).count();
        if voters > VOTERS_MAX || members.len() - voters > STANDBYS_MAX {
            return Err(ConfigurationError::TooManyMembers);
        }
        let quorums = Quorums::new(voters, quorums.replication, quorums.view_change)?;
        Ok(Self { epoch, members, quorums })
    }

    /// Which configuration of the group this is.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The members, sorted by id.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The quorums of this epoch.
    #[must_use]
    pub const fn quorums(&self) -> Quorums {
        self.quorums
    }

    /// How many members vote.
    #[must_use]
    pub fn voters(&self) -> usize {
        self.members.iter().filter(|m| m.role != Role::Learner).count()
    }

    /// How many replicas may be stopped, or recovering, at a time: a view change does without so many.
    /// Fewer than hold what is committed, since the quorums meet.
    #[must_use]
    pub fn tolerated(&self) -> usize {
        self.voters() - self.quorums.view_change
    }

    /// Position of a member in this epoch: its bit in vote sets. Not stable across epochs.
    #[must_use]
    pub fn index(&self, id: ReplicaId) -> Option<usize> {
        self.members.binary_search_by_key(&id, |m| m.id).ok()
    }

    /// The role of a member.
    #[must_use]
    pub fn role(&self, id: ReplicaId) -> Option<Role> {
        self.index(id).map(|index| self.members[index].role)
    }

    /// The primary of a view: the full members in turn, by id (paper, section 4).
    #[must_use]
    pub fn primary(&self, view: ViewNumber) -> ReplicaId {
        let full = || self.members.iter().filter(|m| m.role == Role::Full);
        let turn = view.0 % full().count() as u64;
        full().nth(turn as usize).expect("turn is less than the number of full members").id
    }
}

/// What of a replica outlives its process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Durability {
    /// The log, checkpoints and views: on disk before they count. All replicas may stop at once, and
    /// nothing that was acknowledged is lost.
    #[default]
    Sync,
    /// The view alone. The log and checkpoints are in memory, and a replica that stops has them from the
    /// others again: with more than [`Configuration::tolerated`] of them stopped at a time the state is
    /// lost, and the group never forms again.
    Memory,
}

/// What all replicas of a cluster must agree on beside the members. Fixed when the cluster is
/// formatted, kept in the superblock, compared when replicas meet; no local file changes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Constants {
    /// How many entries the primary may have prepared beyond the last committed one. The rule that
    /// selects a log in a view change relies on it: anything deeper was committed.
    pub pipeline: u32,
    /// The most requests in one entry.
    pub batch_requests: u32,
    /// The most bytes of requests in one entry; a single request may be larger, up to
    /// `request_bytes`.
    pub batch_bytes: u32,
    /// The most bytes in one operation.
    pub request_bytes: u32,
    /// How many entries the log holds before a checkpoint must make room.
    pub log_slots: u32,
    /// How many bytes of entries the log holds before a checkpoint must make room.
    pub log_bytes: u64,
    /// A checkpoint is taken after each op that is a multiple of this; zero: not by ops. Where one is taken by
    /// whatever rule, one is also taken when a quarter of what the log holds was executed since the last.
    pub checkpoint_interval: u32,
    /// A checkpoint is taken when so many bytes of entries were executed since the last; zero: not by bytes.
    pub checkpoint_bytes: u64,
    /// A checkpoint is taken after the first entry of each period of so many nanoseconds, by the entries'
    /// timestamps; zero: not by time. Where nothing is executed none is taken.
    pub checkpoint_time: u64,
    /// How many sessions the client-table holds; one more evicts the least recently used.
    pub sessions: u32,
    /// How many operations of one session may be under way at a time: the span from the lowest that
    /// is unacknowledged to the last is less than this, and so many replies are kept.
    pub window: u32,
    /// A session that was not used for so many nanoseconds, by the entries' timestamps, expires;
    /// zero: never.
    pub session_expiry: u64,
    /// Replies larger than this are not kept for a retry, which then learns only that the operation
    /// was done.
    pub kept_reply: u32,
    /// How many sessions exist from the start: slot `i` belongs to client `i + 1`. For simulations
    /// and embedded groups whose clients are known; zero where clients register.
    pub genesis_sessions: u32,
    /// What of a replica outlives its process.
    pub durability: Durability,
}

/// Entries come a fraction of this apart: less would be a checkpoint for each.
const CHECKPOINT_TIME_MIN: u64 = 1_000_000;

/// The widest window: an operation carries its span in a byte.
pub(crate) const WINDOW_MAX: u32 = 256;

impl Constants {
    /// The values `vsr format` writes unless told otherwise.
    pub const DEFAULT: Self = Self {
        // Deep enough to cover the disk and a round trip at full load; each slot may hold 64 KiB.
        pipeline: 32,
        // One request of the key-value service is at least about 50 bytes: 64 KiB hold about these.
        batch_requests: 1024,
        // Syncing 64 KiB costs about as much as syncing 4 KiB; 1 MiB costs several times that.
        batch_bytes: 64 * 1024,
        request_bytes: 1024 * 1024,
        // One slot costs about 128 bytes of memory: 128 MiB when full.
        log_slots: 1 << 20,
        log_bytes: 8 << 30,
        // A restart executes at most about twice as many entries again: a second's work.
        checkpoint_interval: 1 << 16,
        // What a restart executes again, or a replica that fetched a checkpoint has to fetch beside it, is read
        // in a few seconds.
        checkpoint_bytes: 512 << 20,
        checkpoint_time: 0,
        sessions: 10_000,
        // Hides a round trip of a few batches; each costs a kept reply while it is under way.
        window: 8,
        session_expiry: 0,
        kept_reply: 64 * 1024,
        genesis_sessions: 0,
        durability: Durability::Sync,
    };

    /// The values `vsr format --durability memory` writes: a log in memory is shorter.
    pub const IN_MEMORY: Self = Self {
        // Each costs about 128 bytes in the log and as many beside it: 16 MiB when full.
        log_slots: 1 << 16,
        // Beside two sectors for each slot, so that the log takes 1 GiB at most.
        log_bytes: 512 << 20,
        checkpoint_interval: 1 << 14,
        durability: Durability::Memory,
        ..Self::DEFAULT
    };

    /// Whether checkpoints are taken at all.
    #[must_use]
    pub const fn takes_checkpoints(&self) -> bool {
        self.checkpoint_interval > 0 || self.checkpoint_bytes > 0 || self.checkpoint_time > 0
    }

    /// Checks each constant against its range.
    ///
    /// # Errors
    /// [`ConfigurationError::Constant`] names the first one that is out of range.
    pub fn check(&self) -> Result<(), ConfigurationError> {
        let checks = [
            (self.pipeline >= 1 && self.pipeline <= 256, "pipeline is 1 to 256"),
            (
                self.batch_requests >= 1 && self.batch_requests <= 65_536,
                "batch_requests is 1 to 65536",
            ),
            (self.batch_bytes >= 1 && self.batch_bytes <= 1 << 20, "batch_bytes is 1 to 1 MiB"),
            (
                self.request_bytes >= 1 && self.request_bytes <= 16 << 20,
                "request_bytes is 1 to 16 MiB",
            ),
            (self.log_slots > 2 * self.pipeline, "log_slots exceeds twice the pipeline"),
            (
                self.log_bytes >= 4 * (u64::from(self.batch_bytes) + u64::from(self.request_bytes)),
                "log_bytes holds at least four of the largest entries",
            ),
            (
                u64::from(self.log_slots)
                    >= 3 * u64::from(self.checkpoint_interval) + u64::from(self.pipeline),
                "log_slots holds at least three checkpoint intervals and the pipeline",
            ),
            (
                self.checkpoint_time == 0 || self.checkpoint_time >= CHECKPOINT_TIME_MIN,
                "checkpoint_time is 0, or at least a millisecond",
            ),
            (self.sessions >= 1 && self.sessions <= 1 << 20, "sessions is 1 to 1048576"),
            (self.window >= 1 && self.window <= WINDOW_MAX, "window is 1 to 256"),
            (self.genesis_sessions <= self.sessions, "genesis_sessions is at most sessions"),
        ];
        match checks.into_iter().find(|(holds, _)| !holds) {
            Some((_, what)) => Err(ConfigurationError::Constant(what)),
            None => Ok(()),
        }
    }
}

impl Default for Constants {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Everything a replica is told at its start. Valid by construction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    cluster: ClusterId,
    replica: ReplicaId,
    configuration: Configuration,
    constants: Constants,
    prediction: Prediction,
}

impl Config {
    /// Puts a replica's configuration together.
    ///
    /// # Errors
    /// [`ConfigurationError::NotAMember`], a constant that is out of range, or
    /// [`ConfigurationError::NoneTolerated`].
    pub fn new(
        cluster: ClusterId,
        replica: ReplicaId,
        configuration: Configuration,
        constants: Constants,
    ) -> Result<Self, ConfigurationError> {
        constants.check()?;
        if configuration.index(replica).is_none() {
            return Err(ConfigurationError::NotAMember(replica));
        }
        if constants.durability == Durability::Memory && configuration.tolerated() == 0 {
            return Err(ConfigurationError::NoneTolerated);
        }
        let prediction = Prediction::None;
        Ok(Self { cluster, replica, configuration, constants, prediction })
    }

    /// The same for a service that wants values predicted: what
    /// [`Service::prediction`](crate::Service::prediction) says, which drivers pass on. It matters while this
    /// replica is primary.
    #[must_use]
    pub const fn with_prediction(mut self, prediction: Prediction) -> Self {
        self.prediction = prediction;
        self
    }

    /// The cluster.
    #[must_use]
    pub const fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// This replica.
    #[must_use]
    pub const fn replica(&self) -> ReplicaId {
        self.replica
    }

    /// The group.
    #[must_use]
    pub const fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// The cluster's constants.
    #[must_use]
    pub const fn constants(&self) -> &Constants {
        &self.constants
    }

    /// Where the values come from that are predicted for entries.
    #[must_use]
    pub const fn prediction(&self) -> Prediction {
        self.prediction
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the documentation promises.
    #[test]
    fn the_default_limits_are_those_that_are_documented() {
        let limits = Constants::DEFAULT;
        assert_eq!((limits.batch_bytes, limits.request_bytes), (65_536, 1_048_576));
        assert_eq!((limits.log_slots, limits.log_bytes), (1_048_576, 8_589_934_592));
        assert_eq!((limits.checkpoint_interval, limits.checkpoint_bytes), (65_536, 536_870_912));
        assert_eq!((limits.sessions, limits.window), (10_000, 8));
    }

    #[test]
    fn default_quorums_always_intersect_and_a_group_of_none_is_refused() {
        assert_eq!(Quorums::of(0), Err(ConfigurationError::NoFullMember));
        let expected = [(1, 1), (2, 2), (2, 2), (2, 3), (3, 3), (3, 4), (4, 4)];
        for (voters, (replication, view_change)) in (1..).zip(expected) {
            let quorums = Quorums::of(voters).unwrap();
            assert_eq!((quorums.replication, quorums.view_change), (replication, view_change));
            assert!(quorums.replication + quorums.view_change > voters);
        }
    }

    #[test]
    fn a_group_in_memory_tolerates_at_least_one_stop() {
        let config = |replicas, constants| {
            let configuration = Configuration::of_replicas(replicas).unwrap();
            Config::new(ClusterId(1), ReplicaId(0), configuration, constants).map(drop)
        };
        for (replicas, tolerated) in (1..).zip([0, 0, 1, 1, 2, 2, 3]) {
            assert_eq!(Configuration::of_replicas(replicas).unwrap().tolerated(), tolerated);
            let refused = (tolerated == 0).then_some(ConfigurationError::NoneTolerated);
            assert_eq!(config(replicas, Constants::IN_MEMORY).err(), refused, "{replicas}");
            assert_eq!(config(replicas, Constants::DEFAULT), Ok(()));
        }
    }

    /// SEED-S7: two of four and three of six are not both a replication and a view-change quorum.
    #[test]
    fn quorums_that_could_be_disjoint_are_refused() {
        for (voters, half) in [(2, 1), (4, 2), (6, 3)] {
            assert_eq!(
                Quorums::new(voters, half, half),
                Err(ConfigurationError::QuorumsDisjoint {
                    replication: half,
                    view_change: half,
                    voters
                })
            );
        }
    }
}
