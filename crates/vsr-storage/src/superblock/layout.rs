//! The bytes of one copy of the superblock. The first 40 bytes are laid out alike in all versions.
//!
//! ```text
//!   0  magic "VSRSUPER"             8
//!   8  checksum of bytes 24..length 16   SipHash-2-4-128, vsr_core::Checksum
//!  24  format version               4
//!  28  length, padding included     4    a multiple of 4096
//!  32  generation                   8
//!  40  cluster                     16    56  replica      4    60  copy (0 to 3)  4
//!  64  incarnation  8   72  view    8    80  log view     8    88  commit max     8
//!  96  op           8  104  synced  8   112  settled      8   frontiers of the log, see log
//! 120  trim op      8  128  trim position 8                   what the log has forgotten
//! 136  checkpoint op 8 144  checkpoint id 16                  zero: none
//! 160  epoch        4  164  pipeline 4   168  batch requests 4  172  batch bytes 4
//! 176  request bytes 4 180  log slots 4  184  log bytes 8     192  sessions 4  196  kept reply 4
//! 200  genesis sessions 4               204  replication quorum 4   208  view-change quorum 4
//! 212  members 4       216  headers 4    220  checkpoint interval 4
//! 224  window 4, zero in version 1: one   228  session expiry 8        236  durability 4: 0 sync, 1 memory
//! 240  store       16
//! 256  members: id 4, role 1, address length 2, address
//!      headers: 92 each; then that of the checkpoint, and that of the last trimmed entry
//!      checkpoint bytes 8   checkpoint time 8
//!      zeros up to length
//! ```

use vsr_core::{
    Checkpoint, Checksum, ClusterId, Configuration, Constants, Durability, Epoch, Header,
    Incarnation, Member, OpNumber, Quorums, ReplicaId, Role, STANDBYS_MAX, StoreId,
    SuperblockState, VOTERS_MAX, ViewNumber,
};

use crate::codec::{FORMAT_VERSION, HEADER_BYTES, Put, Reader};
use crate::disk::{SECTOR, align_up};
use crate::format::Format;

/// Bytes set aside for one copy.
pub(crate) const COPY_BYTES: usize = 32 * 1024;

/// The most bytes of an address: a DNS name of full length with a port.
pub const ADDRESS_BYTES_MAX: usize = 262;

/// The most headers: the deepest pipeline and one more.
const HEADERS_MAX: usize = 257;

/// The most members.
const MEMBERS_MAX: usize = VOTERS_MAX + STANDBYS_MAX;

const MAGIC: &[u8; 8] = b"VSRSUPER";
const CHECKED_FROM: usize = 24;
const STORE_AT: usize = 240;
const VARIABLE_FROM: usize = 256;

/// All that fits in the worst case fits in a copy.
const _: () = assert!(
    VARIABLE_FROM + MEMBERS_MAX * (7 + ADDRESS_BYTES_MAX) + (HEADERS_MAX + 2) * HEADER_BYTES
        <= COPY_BYTES
);

/// How far the log was known to be durable; positions in the records area.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Frontiers {
    /// Everything below was durable.
    pub(crate) synced: u64,
    /// Everything below had its ring header durable too. Never beyond `synced`.
    pub(crate) settled: u64,
}

/// What the log has let go of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trim {
    /// The log begins after this op.
    pub(crate) op: OpNumber,
    /// No record that the log still needs begins below.
    pub(crate) position: u64,
}

/// What a superblock says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) format: Format,
    pub(crate) state: SuperblockState,
    pub(crate) frontiers: Frontiers,
    /// The position that goes with `state.trimmed`. Never beyond `frontiers.synced`.
    pub(crate) trim_position: u64,
}

/// What the superblock knows of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub(crate) op: OpNumber,
    pub(crate) frontiers: Frontiers,
    pub(crate) trim: Trim,
}

impl Content {
    pub(crate) fn recorded(&self) -> Recorded {
        Recorded {
            op: self.state.op,
            frontiers: self.frontiers,
            trim: Trim { op: self.state.trimmed.op, position: self.trim_position },
        }
    }
}

/// Why a copy is no good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    /// Never written, or wiped.
    #[error("blank")]
    Blank,
    /// Not a superblock.
    #[error("not a superblock")]
    WrongMagic,
    /// The checksum does not match.
    #[error("damaged")]
    WrongChecksum,
    /// Another copy's bytes.
    #[error("misplaced: these are the bytes of copy {0}")]
    Misplaced(u32),
    /// Of a later format version.
    #[error("of format version {0}")]
    Newer(u32),
    /// The checksum matches, and the content makes no sense.
    #[error("not understood")]
    Nonsense,
}

/// Writes a copy into `out`, which it replaces.
///
/// # Panics
/// If there are more headers than the deepest pipeline allows, which the core never hands out.
pub(super) fn encode(copy: usize, generation: u64, content: &Content, out: &mut Vec<u8>) {
    assert!(
        content.state.headers.len() <= HEADERS_MAX,
        "a superblock has at most the pipeline's headers and one more"
    );
    assert!(
        content.trim_position <= content.frontiers.synced,
        "what may be overwritten ends where the durable log ends"
    );
    out.clear();
    out.put(MAGIC);
    out.put_u128(0);
    out.put_u32(FORMAT_VERSION);
    out.put_u32(0);
    out.put_u64(generation);
    out.put_u128(content.format.cluster.0);
    out.put_u32(content.format.replica.0);
    out.put_u32(copy as u32);
    put_state(content, out);
    put_constants(&content.format.constants, out);
    let quorums = content.format.configuration.quorums();
    out.put_u32(quorums.replication as u32);
    out.put_u32(quorums.view_change as u32);
    out.put_u32(content.format.configuration.members().len() as u32);
    out.put_u32(content.state.headers.len() as u32);
    out.put_u32(content.format.constants.checkpoint_interval);
    out.put_u32(content.format.constants.window);
    out.put_u64(content.format.constants.session_expiry);
    out.put_u32(match content.format.constants.durability {
        Durability::Sync => 0,
        Durability::Memory => 1,
    });
    out.resize(STORE_AT, 0);
    out.put_u128(content.format.store.0);
    for member in content.format.configuration.members() {
        let address = content.format.address(member.id).unwrap_or_default();
        out.put_u32(member.id.0);
        out.push(match member.role {
            Role::Full => 0,
            Role::Witness => 1,
            Role::Learner => 2,
        });
        out.put_u16(address.len() as u16);
        out.put(address.as_bytes());
    }
    for header in &content.state.headers {
        out.put_header(header);
    }
    out.put_header(&content.state.checkpoint.header);
    out.put_header(&content.state.trimmed);
    out.put_u64(content.format.constants.checkpoint_bytes);
    out.put_u64(content.format.constants.checkpoint_time);
    let length = align_up(out.len() as u64) as usize;
    out.resize(length, 0);
    out[28..32].copy_from_slice(&(length as u32).to_le_bytes());
    let checksum = Checksum::of(&out[CHECKED_FROM..]);
    out[8..24].copy_from_slice(&checksum.0.to_le_bytes());
}

fn put_state(content: &Content, out: &mut Vec<u8>) {
    let state = &content.state;
    out.put_u64(state.incarnation.0);
    out.put_u64(state.view.0);
    out.put_u64(state.log_view.0);
    out.put_u64(state.commit_max.0);
    out.put_u64(state.op.0);
    out.put_u64(content.frontiers.synced);
    out.put_u64(content.frontiers.settled);
    out.put_u64(state.trimmed.op.0);
    out.put_u64(content.trim_position);
    out.put_u64(state.checkpoint.op().0);
    out.put_u128(state.checkpoint.id.0);
    out.put_u32(state.epoch.0);
}

fn put_constants(constants: &Constants, out: &mut Vec<u8>) {
    out.put_u32(constants.pipeline);
    out.put_u32(constants.batch_requests);
    out.put_u32(constants.batch_bytes);
    out.put_u32(constants.request_bytes);
    out.put_u32(constants.log_slots);
    out.put_u64(constants.log_bytes);
    out.put_u32(constants.sessions);
    out.put_u32(constants.kept_reply);
    out.put_u32(constants.genesis_sessions);
}

/// Reads a copy; `bytes` are all that is set aside for it.
pub(super) fn decode(copy: usize, bytes: &[u8]) -> Result<(u64, Content), CopyError> {
    if bytes.iter().all(|byte| *byte == 0) {
        return Err(CopyError::Blank);
    }
    let mut reader = Reader::new(bytes);
    if reader.bytes(8) != Some(MAGIC) {
        return Err(CopyError::WrongMagic);
    }
    let head = (reader.u128(), reader.u32(), reader.u32());
    let (Some(checksum), Some(version), Some(length)) = head else {
        return Err(CopyError::WrongChecksum);
    };
    let length = length as usize;
    if length > bytes.len() || length < VARIABLE_FROM || !(length as u64).is_multiple_of(SECTOR) {
        return Err(CopyError::WrongChecksum);
    }
    if Checksum::of(&bytes[CHECKED_FROM..length]).0 != checksum {
        return Err(CopyError::WrongChecksum);
    }
    if version > FORMAT_VERSION {
        return Err(CopyError::Newer(version));
    }
    let (generation, written_for, content) =
        read_content(&bytes[..length], reader).ok_or(CopyError::Nonsense)?;
    if written_for != copy as u32 {
        return Err(CopyError::Misplaced(written_for));
    }
    Ok((generation, content))
}

/// How many bytes a copy has that can be read.
pub(super) fn length_of(bytes: &[u8]) -> usize {
    let length = bytes[28..32].try_into().map_or(0, u32::from_le_bytes);
    length as usize
}

fn read_content(bytes: &[u8], mut reader: Reader<'_>) -> Option<(u64, u32, Content)> {
    let generation = reader.u64()?;
    let cluster = ClusterId(reader.u128()?);
    let replica = ReplicaId(reader.u32()?);
    let copy = reader.u32()?;
    let mut state = SuperblockState {
        incarnation: Incarnation(reader.u64()?),
        view: ViewNumber(reader.u64()?),
        log_view: ViewNumber(reader.u64()?),
        commit_max: OpNumber(reader.u64()?),
        op: OpNumber(reader.u64()?),
        epoch: Epoch::ZERO,
        headers: Vec::new(),
        checkpoint: Checkpoint::none(Header::root(cluster)),
        trimmed: Header::root(cluster),
    };
    let frontiers = Frontiers { synced: reader.u64()?, settled: reader.u64()? };
    let trimmed = OpNumber(reader.u64()?);
    let trim_position = Some(reader.u64()?).filter(|position| *position <= frontiers.synced)?;
    let checkpoint = OpNumber(reader.u64()?);
    state.checkpoint.id = Checksum(reader.u128()?);
    state.epoch = Epoch(reader.u32()?);
    let mut constants = read_constants(&mut reader)?;
    let (replication, view_change) = (reader.u32()? as usize, reader.u32()? as usize);
    let (members, headers) = (reader.u32()? as usize, reader.u32()? as usize);
    if members > MEMBERS_MAX || headers > HEADERS_MAX {
        return None;
    }
    constants.checkpoint_interval = reader.u32()?;
    constants.window = reader.u32()?.max(1);
    constants.session_expiry = reader.u64()?;
    constants.durability = match reader.u32()? {
        0 => Durability::Sync,
        1 => Durability::Memory,
        _ => return None,
    };
    let mut reader = Reader::new(&bytes[STORE_AT..]);
    let store = StoreId(reader.u128()?);
    let (members, addresses) = read_members(&mut reader, members)?;
    state.headers = (0..headers)
        .map(|_| reader.header(cluster).filter(Header::is_intact))
        .collect::<Option<_>>()?;
    let whole = |header: &Header, op| header.is_intact() && header.op == op;
    state.checkpoint.header = reader.header(cluster).filter(|header| whole(header, checkpoint))?;
    state.trimmed = reader.header(cluster).filter(|header| whole(header, trimmed))?;
    // What fills up the copies of stores from before these were there is zero, or too short for them.
    constants.checkpoint_bytes = reader.u64().unwrap_or(0);
    constants.checkpoint_time = reader.u64().unwrap_or(0);
    let voters = members.iter().filter(|m| m.role != Role::Learner).count();
    let quorums = Quorums::new(voters, replication, view_change).ok()?;
    let format = Format {
        cluster,
        replica,
        store,
        configuration: Configuration::with_quorums(state.epoch, members, quorums).ok()?,
        constants,
        addresses,
    };
    format.config().ok()?;
    let content = Content { format, state, frontiers, trim_position };
    Some((generation, copy, content))
}

fn read_constants(reader: &mut Reader<'_>) -> Option<Constants> {
    Some(Constants {
        pipeline: reader.u32()?,
        batch_requests: reader.u32()?,
        batch_bytes: reader.u32()?,
        request_bytes: reader.u32()?,
        log_slots: reader.u32()?,
        log_bytes: reader.u64()?,
        checkpoint_interval: 0,
        checkpoint_bytes: 0,
        checkpoint_time: 0,
        sessions: reader.u32()?,
        window: 1,
        session_expiry: 0,
        kept_reply: reader.u32()?,
        genesis_sessions: reader.u32()?,
        durability: Durability::Sync,
    })
}

type Members = (Vec<Member>, Vec<(ReplicaId, String)>);

fn read_members(reader: &mut Reader<'_>, count: usize) -> Option<Members> {
    let mut members = Vec::with_capacity(count);
    let mut addresses = Vec::with_capacity(count);
    for _ in 0..count {
        let id = ReplicaId(reader.u32()?);
        let role = match reader.bytes(1)?[0] {
            0 => Role::Full,
            1 => Role::Witness,
            2 => Role::Learner,
            _ => return None,
        };
        members.push(Member { id, role });
        let length = reader.u16()? as usize;
        let address = std::str::from_utf8(reader.bytes(length)?).ok()?;
        addresses.push((id, address.to_owned()));
    }
    Some((members, addresses))
}
