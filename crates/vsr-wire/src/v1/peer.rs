//! Messages between replicas.

use bincode::{Decode, Encode};
use vsr_core::{
    CHUNKS_WANTED_MAX, Checksum, HEADERS_MAX, Kept as CoreKept, Kind, Next as CoreNext, OpNumber,
    SuffixSlot as CoreSuffixSlot, ViewNumber, Voters, WANTED_MAX,
};

use super::{Committed, EntryHeader, Nonce};
use crate::bounded::{Bounded, Least};
use crate::limits::SUFFIX_MAX;

/// What every message between replicas begins with; the cluster is in the frame's header.
#[derive(Encode, Decode)]
pub(crate) struct Envelope {
    pub(crate) epoch: u32,
    pub(crate) view: u64,
    pub(crate) incarnation: u64,
}

#[derive(Encode, Decode)]
pub(crate) struct Ping {
    pub(crate) log_view: u64,
    pub(crate) op: u64,
    pub(crate) commit: Committed,
    pub(crate) heard: u32,
    pub(crate) kept: Kept,
}

/// What a replica keeps of the past.
#[derive(Encode, Decode)]
pub(crate) struct Kept {
    checkpoint: u64,
    id: u128,
    trimmed: u64,
    covered: u64,
    begins: u64,
    held: u64,
    next: Next,
    lost: bool,
}

#[derive(Encode, Decode)]
enum Next {
    Unsaid,
    End,
    Never,
    Damaged,
}

impl From<CoreNext> for Next {
    fn from(next: CoreNext) -> Self {
        match next {
            CoreNext::Unsaid => Self::Unsaid,
            CoreNext::End => Self::End,
            CoreNext::Never => Self::Never,
            CoreNext::Damaged => Self::Damaged,
        }
    }
}

impl From<Next> for CoreNext {
    fn from(next: Next) -> Self {
        match next {
            Next::Unsaid => Self::Unsaid,
            Next::End => Self::End,
            Next::Never => Self::Never,
            Next::Damaged => Self::Damaged,
        }
    }
}

impl From<CoreKept> for Kept {
    fn from(kept: CoreKept) -> Self {
        Self {
            checkpoint: kept.checkpoint.0,
            id: kept.id.0,
            trimmed: kept.trimmed.0,
            covered: kept.covered.0,
            begins: kept.begins.0,
            held: kept.held.0,
            next: kept.next.into(),
            lost: kept.lost,
        }
    }
}

impl From<Kept> for CoreKept {
    fn from(kept: Kept) -> Self {
        Self {
            checkpoint: OpNumber(kept.checkpoint),
            id: Checksum(kept.id),
            trimmed: OpNumber(kept.trimmed),
            covered: OpNumber(kept.covered),
            begins: OpNumber(kept.begins),
            held: OpNumber(kept.held),
            next: kept.next.into(),
            lost: kept.lost,
        }
    }
}

/// Followed by the entry's requests, as many as its header states, and by its predicted value, if it has one.
#[derive(Encode, Decode)]
pub(crate) struct Prepare {
    pub(crate) commit: Committed,
    pub(crate) header: EntryHeader,
}

#[derive(Encode, Decode)]
pub(crate) struct PrepareOk {
    pub(crate) op: u64,
    pub(crate) checksum: u128,
    pub(crate) commit_min: u64,
}

#[derive(Encode, Decode)]
pub(crate) struct Commit {
    pub(crate) commit: Committed,
}

#[derive(Encode, Decode)]
pub(crate) struct StartViewChange {
    pub(crate) log_view: u64,
}

#[derive(Encode, Decode)]
pub(crate) struct DoViewChange {
    pub(crate) log_view: u64,
    pub(crate) op: u64,
    pub(crate) commit_min: u64,
    pub(crate) commit_max: u64,
    pub(crate) suffix: Bounded<SuffixSlot, SUFFIX_MAX>,
}

#[derive(Encode, Decode)]
pub(crate) struct SuffixSlot {
    header: Option<EntryHeader>,
    present: bool,
    nack: bool,
}

impl Least for SuffixSlot {
    const BYTES: usize = 3;
}

impl From<&CoreSuffixSlot> for SuffixSlot {
    fn from(slot: &CoreSuffixSlot) -> Self {
        Self {
            header: slot.header.as_ref().map(EntryHeader::from),
            present: slot.present,
            nack: slot.nack,
        }
    }
}

impl From<SuffixSlot> for CoreSuffixSlot {
    fn from(slot: SuffixSlot) -> Self {
        Self { header: slot.header.map(Into::into), present: slot.present, nack: slot.nack }
    }
}

#[derive(Encode, Decode)]
pub(crate) struct StartView {
    pub(crate) commit_max: u64,
    pub(crate) nonce: Option<Nonce>,
    pub(crate) suffix: Bounded<EntryHeader, SUFFIX_MAX>,
}

#[derive(Encode, Decode)]
pub(crate) struct GetView {
    pub(crate) nonce: Nonce,
    pub(crate) uncertain: Option<Kept>,
}

#[derive(Encode, Decode)]
pub(crate) struct GetHeaders {
    pub(crate) first: u64,
    pub(crate) last: u64,
}

#[derive(Encode, Decode)]
pub(crate) struct Headers {
    pub(crate) headers: Bounded<EntryHeader, HEADERS_MAX>,
}

#[derive(Encode, Decode)]
pub(crate) struct GetEntry {
    pub(crate) wanted: Bounded<Wanted, WANTED_MAX>,
}

#[derive(Encode, Decode)]
pub(crate) struct Wanted {
    op: u64,
    checksum: u128,
}

impl Least for Wanted {
    const BYTES: usize = 24;
}

impl From<&(OpNumber, Checksum)> for Wanted {
    fn from((op, checksum): &(OpNumber, Checksum)) -> Self {
        Self { op: op.0, checksum: checksum.0 }
    }
}

impl From<Wanted> for (OpNumber, Checksum) {
    fn from(wanted: Wanted) -> Self {
        (OpNumber(wanted.op), Checksum(wanted.checksum))
    }
}

#[derive(Encode, Decode)]
pub(crate) struct Nack {
    pub(crate) op: u64,
    pub(crate) checksum: u128,
}

#[derive(Encode, Decode)]
pub(crate) struct ReadProbe {
    pub(crate) nonce: Nonce,
    pub(crate) relay: bool,
}

#[derive(Encode, Decode)]
pub(crate) struct ReadOk {
    pub(crate) nonce: Nonce,
    pub(crate) index: Option<u64>,
}

/// Followed by so many requests.
#[derive(Encode, Decode)]
pub(crate) struct PreStep {
    pub(crate) nonce: Nonce,
    pub(crate) count: u32,
}

/// Followed by the value.
#[derive(Encode, Decode)]
pub(crate) struct PreStepOk {
    pub(crate) nonce: Nonce,
}

#[derive(Encode, Decode)]
pub(crate) struct GetCheckpoint {
    pub(crate) id: u128,
    pub(crate) offset: u32,
}

/// Followed by the page.
#[derive(Encode, Decode)]
pub(crate) struct Checkpoint {
    pub(crate) committed_by: u64,
    pub(crate) header: EntryHeader,
    pub(crate) id: u128,
    pub(crate) length: u32,
    pub(crate) offset: u32,
}

#[derive(Encode, Decode)]
pub(crate) struct GetChunk {
    pub(crate) wanted: Bounded<Digest, CHUNKS_WANTED_MAX>,
}

#[derive(Encode, Decode)]
pub(crate) struct Digest(u128);

impl Least for Digest {
    const BYTES: usize = 16;
}

impl From<&Checksum> for Digest {
    fn from(checksum: &Checksum) -> Self {
        Self(checksum.0)
    }
}

impl From<Digest> for Checksum {
    fn from(digest: Digest) -> Self {
        Self(digest.0)
    }
}

#[derive(Encode, Decode)]
pub(crate) struct NoChunk {
    pub(crate) name: u128,
}

#[derive(Encode, Decode)]
pub(crate) struct Recovery {
    pub(crate) nonce: Nonce,
}

#[derive(Encode, Decode)]
pub(crate) struct RecoveryResponse {
    pub(crate) nonce: Nonce,
    pub(crate) commit_max: u64,
    pub(crate) suffix: Bounded<EntryHeader, SUFFIX_MAX>,
}

impl<B> From<Ping> for Kind<B> {
    fn from(ping: Ping) -> Self {
        Self::Ping {
            log_view: ViewNumber(ping.log_view),
            op: OpNumber(ping.op),
            commit: ping.commit.into(),
            heard: Voters(ping.heard),
            kept: ping.kept.into(),
        }
    }
}

impl<B> From<PrepareOk> for Kind<B> {
    fn from(prepare_ok: PrepareOk) -> Self {
        Self::PrepareOk {
            op: OpNumber(prepare_ok.op),
            checksum: Checksum(prepare_ok.checksum),
            commit_min: OpNumber(prepare_ok.commit_min),
        }
    }
}

impl<B> From<Commit> for Kind<B> {
    fn from(commit: Commit) -> Self {
        Self::Commit { commit: commit.commit.into() }
    }
}

impl<B> From<StartViewChange> for Kind<B> {
    fn from(vote: StartViewChange) -> Self {
        Self::StartViewChange { log_view: ViewNumber(vote.log_view) }
    }
}

impl<B> From<DoViewChange> for Kind<B> {
    fn from(offer: DoViewChange) -> Self {
        Self::DoViewChange {
            log_view: ViewNumber(offer.log_view),
            op: OpNumber(offer.op),
            commit_min: OpNumber(offer.commit_min),
            commit_max: OpNumber(offer.commit_max),
            suffix: offer.suffix.into_items(),
        }
    }
}

impl<B> From<StartView> for Kind<B> {
    fn from(start: StartView) -> Self {
        Self::StartView {
            commit_max: OpNumber(start.commit_max),
            suffix: start.suffix.into_items(),
            nonce: start.nonce.map(Into::into),
        }
    }
}

impl<B> From<GetView> for Kind<B> {
    fn from(question: GetView) -> Self {
        Self::GetView {
            nonce: question.nonce.into(),
            uncertain: question.uncertain.map(Into::into),
        }
    }
}

impl<B> From<GetHeaders> for Kind<B> {
    fn from(question: GetHeaders) -> Self {
        Self::GetHeaders { first: OpNumber(question.first), last: OpNumber(question.last) }
    }
}

impl<B> From<Headers> for Kind<B> {
    fn from(answer: Headers) -> Self {
        Self::Headers { headers: answer.headers.into_items() }
    }
}

impl<B> From<GetEntry> for Kind<B> {
    fn from(question: GetEntry) -> Self {
        Self::GetEntry { wanted: question.wanted.into_items() }
    }
}

impl<B> From<Nack> for Kind<B> {
    fn from(answer: Nack) -> Self {
        Self::Nack { op: OpNumber(answer.op), checksum: Checksum(answer.checksum) }
    }
}

impl<B> From<ReadProbe> for Kind<B> {
    fn from(probe: ReadProbe) -> Self {
        Self::ReadProbe { nonce: probe.nonce.into(), relay: probe.relay }
    }
}

impl<B> From<ReadOk> for Kind<B> {
    fn from(answer: ReadOk) -> Self {
        Self::ReadOk { nonce: answer.nonce.into(), index: answer.index.map(OpNumber) }
    }
}

impl<B> From<GetCheckpoint> for Kind<B> {
    fn from(question: GetCheckpoint) -> Self {
        Self::GetCheckpoint { id: Checksum(question.id), offset: question.offset }
    }
}

impl<B> From<GetChunk> for Kind<B> {
    fn from(question: GetChunk) -> Self {
        Self::GetChunk { wanted: question.wanted.into_items() }
    }
}

impl<B> From<NoChunk> for Kind<B> {
    fn from(answer: NoChunk) -> Self {
        Self::NoChunk { name: Checksum(answer.name) }
    }
}

impl<B> From<Recovery> for Kind<B> {
    fn from(question: Recovery) -> Self {
        Self::Recovery { nonce: question.nonce.into() }
    }
}

impl<B> From<RecoveryResponse> for Kind<B> {
    fn from(answer: RecoveryResponse) -> Self {
        Self::RecoveryResponse {
            nonce: answer.nonce.into(),
            commit_max: OpNumber(answer.commit_max),
            suffix: answer.suffix.into_items(),
        }
    }
}
