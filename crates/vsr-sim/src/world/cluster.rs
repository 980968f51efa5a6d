//! What a simulated group is made of.

use std::fmt;

use vsr_core::{
    ClusterId, Config, Configuration, Constants, Durability, Member, Prediction, Quorums,
    ReplicaId, Role, Timing, VOTERS_MAX,
};

/// How a simulated group is set up.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// How many replicas.
    pub replicas: u32,
    /// Replication and view-change quorum, unless the defaults will do.
    pub quorums: Option<(usize, usize)>,
    /// The cluster's constants.
    pub constants: Constants,
    /// How long timers run.
    pub timing: Timing,
    /// Seeds the jitter of timers.
    pub seed: u64,
    /// Whether messages from and to clients wait on links like all others; they arrive at once
    /// otherwise.
    pub client_links: bool,
    /// Whether messages are encoded and decoded on their way.
    pub encoded: bool,
    /// Whether the service wants values predicted, and by whom.
    pub prediction: Prediction,
}

/// The cluster id of every simulated group.
pub const CLUSTER: ClusterId = ClusterId(0x5eed_0000_0000_4000_8000_0000_0000_0001);

/// Clients `c1` to `c9` have sessions from genesis.
pub const GENESIS_CLIENTS: u32 = 9;

/// A pipeline that stories can fill by hand.
const STORY_PIPELINE: u32 = 8;

/// Room for any story, while the four tables of a simulated group stay small.
const STORY_LOG_SLOTS: u32 = 4096;

/// More than any story needs.
const STORY_SESSIONS: u32 = 64;

impl Cluster {
    /// A group with the limits that stories assume.
    #[must_use]
    pub const fn of(replicas: u32) -> Self {
        Self {
            replicas,
            quorums: None,
            constants: Constants {
                pipeline: STORY_PIPELINE,
                log_slots: STORY_LOG_SLOTS,
                checkpoint_interval: 0,
                checkpoint_bytes: 0,
                sessions: STORY_SESSIONS,
                window: 1,
                genesis_sessions: GENESIS_CLIENTS,
                ..Constants::DEFAULT
            },
            timing: Timing::DEFAULT,
            seed: 0,
            client_links: false,
            encoded: true,
            prediction: Prediction::None,
        }
    }

    /// The configurations of its replicas.
    ///
    /// # Errors
    /// Why there cannot be such a group, in words for the operator.
    pub fn configs(&self) -> Result<Vec<Config>, String> {
        if self.replicas as usize > VOTERS_MAX {
            return Err(vsr_core::ConfigurationError::TooManyMembers.to_string());
        }
        let members: Vec<Member> =
            (0..self.replicas).map(|id| Member { id: ReplicaId(id), role: Role::Full }).collect();
        let configuration = match self.quorums {
            None => Configuration::new(members),
            Some((replication, view_change)) => {
                Quorums::new(members.len(), replication, view_change).and_then(|quorums| {
                    Configuration::with_quorums(vsr_core::Epoch::ZERO, members, quorums)
                })
            }
        };
        let configuration = configuration.map_err(|error| error.to_string())?;
        (0..self.replicas)
            .map(|id| {
                Config::new(CLUSTER, ReplicaId(id), configuration.clone(), self.constants)
                    .map(|config| config.with_prediction(self.prediction))
                    .map_err(|error| error.to_string())
            })
            .collect()
    }
}

/// As the line of a story that makes such a group.
impl fmt::Display for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = Self::of(self.replicas).constants;
        write!(f, "cluster {}", self.replicas)?;
        if let Some((replication, view_change)) = self.quorums {
            write!(f, " quorum {replication}/{view_change}")?;
        }
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
        } = self.constants;
        let options = [
            ("pipeline", u64::from(pipeline), u64::from(plain.pipeline)),
            ("batch", u64::from(batch_requests), u64::from(plain.batch_requests)),
            ("batch-bytes", u64::from(batch_bytes), u64::from(plain.batch_bytes)),
            ("request-bytes", u64::from(request_bytes), u64::from(plain.request_bytes)),
            ("log-slots", u64::from(log_slots), u64::from(plain.log_slots)),
            ("log-bytes", log_bytes, plain.log_bytes),
            (
                "checkpoint-every",
                u64::from(checkpoint_interval),
                u64::from(plain.checkpoint_interval),
            ),
            ("checkpoint-bytes", checkpoint_bytes, plain.checkpoint_bytes),
            ("sessions", u64::from(sessions), u64::from(plain.sessions)),
            ("window", u64::from(window), u64::from(plain.window)),
            ("genesis", u64::from(genesis_sessions), u64::from(plain.genesis_sessions)),
            ("kept-reply", u64::from(kept_reply), u64::from(plain.kept_reply)),
        ];
        for (name, value, usual) in options {
            if value != usual {
                write!(f, " {name} {value}")?;
            }
        }
        if session_expiry != plain.session_expiry {
            write!(f, " expiry {}ms", session_expiry / 1_000_000)?;
        }
        if checkpoint_time != plain.checkpoint_time {
            write!(f, " checkpoint-time {}ms", checkpoint_time / 1_000_000)?;
        }
        if durability == Durability::Memory {
            f.write_str(" durability memory")?;
        }
        match self.prediction {
            Prediction::None => {}
            Prediction::Primary => f.write_str(" predicts primary")?,
            Prediction::Backups => f.write_str(" predicts backups")?,
        }
        if self.client_links { f.write_str(" client-links") } else { Ok(()) }
    }
}
