//! Coverage marks: which rare paths a run took.

use std::collections::BTreeMap;

use vsr_core::{Ignored, Mark};

macro_rules! core_marks {
    ($($variant:ident $name:literal,)*) => {
        /// Marks that the protocol core notes, with their names.
        const CORE: &[(Mark, &str)] = &[$((Mark::$variant, $name),)*];

        const fn name_of(mark: Mark) -> &'static str {
            match mark {
                $(Mark::$variant => $name,)*
            }
        }
    };
}

core_marks! {
    BodyFetched "body-fetched",
    HeadersFetched "headers-fetched",
    NackCut "nack-cut",
    SelectionWaits "selection-waits",
    VoteExpired "vote-expired",
    VoteWithdrawn "vote-withdrawn",
    VoteJoined "vote-joined",
    ViewChangeWithinViewChange "view-change-within-view-change",
    ViewJoined "view-joined",
    ViewFetched "view-fetched",
    ViewNotAnswered "view-not-answered",
    RestartAsPrimary "restart-as-primary",
    RestartInViewChange "restart-in-view-change",
    RestartAsBackup "restart-as-backup",
    RestartRecoveringHead "restart-recovering-head",
    CommitBeyondHead "commit-beyond-head",
    CommitRelayed "commit-relayed",
    ViewRelayed "view-relayed",
    PrepareBeyondHead "prepare-beyond-head",
    PrepareRepeated "prepare-repeated",
    EntriesSuperseded "entries-superseded",
    LogShortened "log-shortened",
    DoubledRequestAnswered "doubled-request-answered",
    DoubledRequestSkipped "doubled-request-skipped",
    EarlyRequestSkipped "early-request-skipped",
    Busy "busy",
    LogFull "log-full",
    Redirected "redirected",
    SessionEvicted "session-evicted",
    EvictionTold "eviction-told",
    EvictedInPipeline "evicted-in-pipeline",
    SessionExpired "session-expired",
    EarlierReplyRepeated "earlier-reply-repeated",
    PrepareResent "prepare-resent",
    Abdicated "abdicated",
    InheritedRepaired "inherited-repaired",
    EntryReadBack "entry-read-back",
    FaultyRepaired "faulty-repaired",
    CheckpointTaken "checkpoint-taken",
    LogTrimmed "log-trimmed",
    RestartFromCheckpoint "restart-from-checkpoint",
    ReadsShareRound "reads-share-round",
    ReadAtBackup "read-at-backup",
    ReadProbeResent "read-probe-resent",
    ReadProbeRelayed "read-probe-relayed",
    ReadRoundAbandoned "read-round-abandoned",
    ReadExpired "read-expired",
    LogTrimmedByQuorum "log-trimmed-by-quorum",
    TransferBegun "transfer-begun",
    TransferSourceChanged "transfer-source-changed",
    TransferRetargeted "transfer-retargeted",
    CheckpointInstalled "checkpoint-installed",
    CheckpointInstalledWithView "checkpoint-installed-with-view",
    CheckpointInstalledInstead "checkpoint-installed-instead",
    CheckpointMended "checkpoint-mended",
    PrimaryForfeited "primary-forfeited",
    StalledPrimaryGaveWay "stalled-primary-gave-way",
    TransferRests "transfer-rests",
    ReadOfBoundedAge "read-of-bounded-age",
    PrimarySkipped "primary-skipped",
    PrimaryUnheard "primary-unheard",
    RecoveryBegun "recovery-begun",
    RecoveryRetried "recovery-retried",
    RecoveryCompleted "recovery-completed",
    PreStepResent "pre-step-resent",
    PredictionRefused "prediction-refused",
    RefusedCommitted "refused-committed",
    RefusedPrimaryGaveWay "refused-primary-gave-way",
}

/// Guards of the core: what they notice cannot happen in it, since every request that a primary
/// inherits is noted before it takes others, and of each session only the next one is taken. Reaching
/// one is a defect.
const GUARDS: &[Mark] = &[Mark::DoubledRequestSkipped, Mark::EarlyRequestSkipped];

/// A path that stories and tests take, and hardly any random run: a log that differs at the very op of the only
/// checkpoint to be had.
const NOT_DEMANDED: &[Mark] = &[Mark::CheckpointInstalledInstead];

/// Marks of the world: what happened around the core.
const WORLD: &[&str] = &[
    "batch-larger-than-one",
    "crash",
    "crash-with-unsynced-writes",
    "damage-remembered",
    "disk-without-room",
    "even-group",
    "group-of-one",
    "superblock-from-two-copies",
    "torn-tail",
];

fn is_guard(mark: Mark) -> bool {
    GUARDS.contains(&mark)
}

/// How often each rare path was taken, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    counts: BTreeMap<&'static str, u64>,
    ignored: BTreeMap<Ignored, u64>,
}

impl Marks {
    /// Names and counts of the marks reached, guards left out.
    pub fn reached(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let guard = |name: &str| GUARDS.iter().any(|mark| name_of(*mark) == name);
        self.counts
            .iter()
            .filter(move |(name, _)| !guard(name))
            .map(|(name, count)| (*name, *count))
    }

    /// Names of the marks not reached, guards and what hardly any run leads to left out. A long enough run
    /// must reach all.
    pub fn missed(&self) -> impl Iterator<Item = &'static str> + '_ {
        let demanded = |mark: Mark| !is_guard(mark) && !NOT_DEMANDED.contains(&mark);
        let core = CORE.iter().filter(move |(mark, _)| demanded(*mark)).map(|(_, name)| *name);
        core.chain(WORLD.iter().copied()).filter(|name| !self.counts.contains_key(name))
    }

    /// Names and counts of the guards, each of which must be zero.
    pub fn guards(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        GUARDS.iter().map(|mark| {
            let name = name_of(*mark);
            (name, self.counts.get(name).copied().unwrap_or(0))
        })
    }

    /// How often events were ignored, by reason.
    #[must_use]
    pub const fn ignored_counts(&self) -> &BTreeMap<Ignored, u64> {
        &self.ignored
    }

    /// Adds what another run reached.
    pub fn merge(&mut self, other: &Self) {
        for (name, count) in &other.counts {
            *self.counts.entry(name).or_default() += count;
        }
        for (reason, count) in &other.ignored {
            *self.ignored.entry(*reason).or_default() += count;
        }
    }

    /// Reached and missed, as a JSON object.
    #[must_use]
    pub fn json(&self) -> String {
        let reached: Vec<String> =
            self.reached().map(|(name, count)| format!("\"{name}\": {count}")).collect();
        let missed: Vec<String> = self.missed().map(|name| format!("\"{name}\"")).collect();
        let guards: Vec<String> =
            self.guards().map(|(name, count)| format!("\"{name}\": {count}")).collect();
        format!(
            "{{\"reached\": {{{}}}, \"missed\": [{}], \"guards\": {{{}}}}}",
            reached.join(", "),
            missed.join(", "),
            guards.join(", ")
        )
    }

    pub(crate) fn reach(&mut self, name: &'static str) {
        *self.counts.entry(name).or_default() += 1;
    }

    /// Notes a mark of the core; false if it is a guard.
    pub(crate) fn core(&mut self, mark: Mark) -> bool {
        self.reach(name_of(mark));
        !is_guard(mark)
    }

    pub(crate) fn ignore(&mut self, reason: Ignored) {
        *self.ignored.entry(reason).or_default() += 1;
    }
}
