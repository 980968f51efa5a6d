//! The frame: a fixed header outside of any serializer, then the body.
//!
//! | offset | bytes | field |
//! | ---: | ---: | --- |
//! | 0 | 4 | magic, `vsrw` |
//! | 4 | 2 | version |
//! | 6 | 2 | kind |
//! | 8 | 4 | sender: a replica's number, or 2^32 - 1 for a client |
//! | 12 | 4 | length of the body |
//! | 16 | 16 | cluster |
//! | 32 | 4 | CRC-32C of the body |
//! | 36 | 8 | reserved, zero |
//! | 44 | 4 | CRC-32C of bytes 0 to 43 |
//!
//! All numbers are little-endian. The first six bytes stay where they are in every version.

use core::fmt;

use bytes::Bytes;
use vsr_core::{ClusterId, ReplicaId};

use crate::error::WireError;

/// The first bytes of every frame.
pub const MAGIC: [u8; 4] = *b"vsrw";

/// The version of the frames that this build writes and reads.
pub const VERSION: u16 = 1;

/// How many bytes a frame's header has.
pub const HEADER_LENGTH: usize = 48;

/// Stands for a client where a replica's number is expected.
const CLIENT: u32 = u32::MAX;

/// Who sent a frame, as the frame says. Whether it is true is the transport's to prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sender {
    /// A replica.
    Replica(ReplicaId),
    /// A client; which one, its messages say.
    Client,
}

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
#[expect(
    missing_docs,
    reason = "each is the message of the same name in vsr-core, or in this crate"
)]
pub enum FrameKind {
    Hello = 1,
    Close = 2,
    Ping = 16,
    Prepare = 17,
    PrepareOk = 18,
    Commit = 19,
    StartViewChange = 20,
    DoViewChange = 21,
    StartView = 22,
    GetView = 23,
    GetHeaders = 24,
    Headers = 25,
    GetEntry = 26,
    Entry = 27,
    Nack = 28,
    GetCheckpoint = 29,
    Checkpoint = 30,
    GetChunk = 31,
    Chunk = 32,
    NoChunk = 33,
    ReadProbe = 34,
    ReadOk = 35,
    PreStep = 36,
    PreStepOk = 37,
    Recovery = 38,
    RecoveryResponse = 39,
    Register = 64,
    Request = 65,
    Read = 66,
    Registered = 80,
    Reply = 81,
    Evicted = 82,
    Redirect = 83,
    Refused = 84,
    Inform = 85,
    ReadReply = 86,
    ReadRefused = 87,
    StatusRequest = 96,
    StatusReply = 97,
}

impl FrameKind {
    /// Every kind there is, ascending.
    pub const ALL: [Self; 39] = [
        Self::Hello,
        Self::Close,
        Self::Ping,
        Self::Prepare,
        Self::PrepareOk,
        Self::Commit,
        Self::StartViewChange,
        Self::DoViewChange,
        Self::StartView,
        Self::GetView,
        Self::GetHeaders,
        Self::Headers,
        Self::GetEntry,
        Self::Entry,
        Self::Nack,
        Self::GetCheckpoint,
        Self::Checkpoint,
        Self::GetChunk,
        Self::Chunk,
        Self::NoChunk,
        Self::ReadProbe,
        Self::ReadOk,
        Self::PreStep,
        Self::PreStepOk,
        Self::Recovery,
        Self::RecoveryResponse,
        Self::Register,
        Self::Request,
        Self::Read,
        Self::Registered,
        Self::Reply,
        Self::Evicted,
        Self::Redirect,
        Self::Refused,
        Self::Inform,
        Self::ReadReply,
        Self::ReadRefused,
        Self::StatusRequest,
        Self::StatusReply,
    ];

    /// The kind with this number.
    #[must_use]
    pub fn of(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }

    /// The kind's number in a frame's header.
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// The kind's name as the paper spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hello => "HELLO",
            Self::Close => "CLOSE",
            Self::Ping => "PING",
            Self::Prepare => "PREPARE",
            Self::PrepareOk => "PREPARE-OK",
            Self::Commit => "COMMIT",
            Self::StartViewChange => "START-VIEW-CHANGE",
            Self::DoViewChange => "DO-VIEW-CHANGE",
            Self::StartView => "START-VIEW",
            Self::GetView => "GET-VIEW",
            Self::GetHeaders => "GET-HEADERS",
            Self::Headers => "HEADERS",
            Self::GetEntry => "GET-ENTRY",
            Self::Entry => "ENTRY",
            Self::Nack => "NACK",
            Self::ReadProbe => "READ-PROBE",
            Self::ReadOk => "READ-OK",
            Self::PreStep => "PRE-STEP",
            Self::PreStepOk => "PRE-STEP-OK",
            Self::GetCheckpoint => "GET-CHECKPOINT",
            Self::Checkpoint => "CHECKPOINT",
            Self::GetChunk => "GET-CHUNK",
            Self::Chunk => "CHUNK",
            Self::NoChunk => "NO-CHUNK",
            Self::Recovery => "RECOVERY",
            Self::RecoveryResponse => "RECOVERY-RESPONSE",
            Self::Register => "REGISTER",
            Self::Request => "REQUEST",
            Self::Read => "READ",
            Self::Registered => "REGISTERED",
            Self::Reply => "REPLY",
            Self::Evicted => "EVICTED",
            Self::Redirect => "REDIRECT",
            Self::Refused => "REFUSED",
            Self::Inform => "INFORM",
            Self::ReadReply => "READ-REPLY",
            Self::ReadRefused => "READ-REFUSED",
            Self::StatusRequest => "STATUS-REQUEST",
            Self::StatusReply => "STATUS-REPLY",
        }
    }

    /// Whether `sender` may send this kind. Hellos and closes come from both.
    pub(crate) const fn may_come_from(self, sender: Sender) -> bool {
        match self {
            Self::Hello | Self::Close => true,
            Self::Register | Self::Request | Self::Read | Self::StatusRequest => {
                matches!(sender, Sender::Client)
            }
            Self::Ping
            | Self::Prepare
            | Self::PrepareOk
            | Self::Commit
            | Self::StartViewChange
            | Self::DoViewChange
            | Self::StartView
            | Self::GetView
            | Self::GetHeaders
            | Self::Headers
            | Self::GetEntry
            | Self::Entry
            | Self::Nack
            | Self::ReadProbe
            | Self::ReadOk
            | Self::PreStep
            | Self::PreStepOk
            | Self::GetCheckpoint
            | Self::Checkpoint
            | Self::GetChunk
            | Self::Chunk
            | Self::NoChunk
            | Self::Recovery
            | Self::RecoveryResponse
            | Self::Registered
            | Self::Reply
            | Self::Evicted
            | Self::Redirect
            | Self::Refused
            | Self::Inform
            | Self::ReadReply
            | Self::ReadRefused
            | Self::StatusReply => matches!(sender, Sender::Replica(_)),
        }
    }
}

impl fmt::Display for FrameKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a frame's header says, once its checksum was found right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FrameHeader {
    /// What the body is.
    pub kind: FrameKind,
    /// Who sent it, as it says itself.
    pub sender: Sender,
    /// The cluster it belongs to.
    pub cluster: ClusterId,
    /// How many bytes the body has.
    pub length: u32,
    pub(crate) body_crc: u32,
}

/// A whole frame with both checksums right. The body shares the memory it was received in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub(crate) header: FrameHeader,
    pub(crate) body: Bytes,
}

impl Frame {
    /// The header.
    #[must_use]
    pub const fn header(&self) -> &FrameHeader {
        &self.header
    }

    /// The body, as it was received.
    #[must_use]
    pub const fn body(&self) -> &Bytes {
        &self.body
    }
}

impl FrameHeader {
    /// A header for `body`, which must not be longer than [`crate::FRAME_LIMIT_MAX`].
    pub(crate) fn new(kind: FrameKind, sender: Sender, cluster: ClusterId, body: &[u8]) -> Self {
        Self {
            kind,
            sender,
            cluster,
            length: u32::try_from(body.len()).expect("a body was checked against FRAME_LIMIT_MAX"),
            body_crc: crc32c::crc32c(body),
        }
    }

    /// The header's bytes.
    pub(crate) fn to_bytes(self) -> [u8; HEADER_LENGTH] {
        let sender = match self.sender {
            Sender::Replica(replica) => replica.0,
            Sender::Client => CLIENT,
        };
        let mut bytes = [0; HEADER_LENGTH];
        bytes[0..4].copy_from_slice(&MAGIC);
        bytes[4..6].copy_from_slice(&VERSION.to_le_bytes());
        bytes[6..8].copy_from_slice(&self.kind.number().to_le_bytes());
        bytes[8..12].copy_from_slice(&sender.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.length.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.cluster.0.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.body_crc.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..44]);
        bytes[44..48].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a header. The version is looked at before the checksum, since another version may keep
    /// its checksum elsewhere.
    pub(crate) fn parse(bytes: &[u8; HEADER_LENGTH]) -> Result<Self, WireError> {
        check_magic(bytes)?;
        let version = u16::from_le_bytes([bytes[4], bytes[5]]);
        if version != VERSION {
            return Err(WireError::Version { theirs: version });
        }
        if u32_at(bytes, 44) != crc32c::crc32c(&bytes[..44]) {
            return Err(WireError::HeaderDamaged);
        }
        if bytes[36..44] != [0; 8] {
            return Err(WireError::Reserved);
        }
        let number = u16::from_le_bytes([bytes[6], bytes[7]]);
        let kind = FrameKind::of(number).ok_or(WireError::UnknownKind(number))?;
        let sender = match u32_at(bytes, 8) {
            CLIENT => Sender::Client,
            number => Sender::Replica(ReplicaId(number)),
        };
        if !kind.may_come_from(sender) {
            return Err(WireError::WrongSender { kind });
        }
        let cluster: [u8; 16] = bytes[16..32].try_into().expect("a slice of 16 bytes");
        Ok(Self {
            kind,
            sender,
            cluster: ClusterId(u128::from_le_bytes(cluster)),
            length: u32_at(bytes, 12),
            body_crc: u32_at(bytes, 32),
        })
    }
}

/// Whether what has arrived so far, be it less than the magic, can be the beginning of a frame.
pub(crate) fn check_magic(bytes: &[u8]) -> Result<(), WireError> {
    let seen = bytes.len().min(MAGIC.len());
    if bytes[..seen] == MAGIC[..seen] {
        Ok(())
    } else {
        Err(WireError::NotAFrame(looks_like(bytes)))
    }
}

/// Names the protocols that are most often spoken to the wrong port.
fn looks_like(bytes: &[u8]) -> Option<&'static str> {
    const GREETINGS: [(&[u8], &str); 10] = [
        (b"GET ", "HTTP"),
        (b"POST ", "HTTP"),
        (b"HEAD ", "HTTP"),
        (b"PUT ", "HTTP"),
        (b"OPTIONS ", "HTTP"),
        (b"PRI * HTTP", "HTTP"),
        (b"\x16\x03", "TLS"),
        (b"SSH-", "SSH"),
        (b"*1\r\n", "Redis"),
        (b"\0\0\0\x08\x04\xd2\x16\x2f", "PostgreSQL"),
    ];
    GREETINGS.iter().find(|(greeting, _)| bytes.starts_with(greeting)).map(|(_, name)| *name)
}

fn u32_at(bytes: &[u8; HEADER_LENGTH], offset: usize) -> u32 {
    u32::from_le_bytes(bytes[offset..offset + 4].try_into().expect("a slice of 4 bytes"))
}
