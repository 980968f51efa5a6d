//! The manifest: what a checkpoint consists of, as every replica that has it writes it.
//!
//! ```text
//!   0  magic "VSRCHKPT"  8      8  manifest version  4    12  table chunks  4
//!  16  state chunks      4     20  zeros             4    24  cluster      16
//!  40  header of the entry at the checkpoint's op   92   132  zeros         4
//! 136  for each chunk, those of the table first: digest 16, length 4
//! ```
//!
//! The checkpoint's id is the checksum of these bytes. Nothing of the replica is in them, nor of
//! where it keeps the chunks: equal states at an op have equal ids.

use vsr_core::{CHUNK_BYTES_MAX, Checksum, ClusterId, Header};

use crate::codec::{HEADER_BYTES, Put, Reader};
use crate::error::ManifestError;

/// The version of the manifest's layout. Apart from [`FORMAT_VERSION`](crate::FORMAT_VERSION),
/// since it goes into the id: replicas that differ in how they keep things still agree on what they
/// keep.
pub const MANIFEST_VERSION: u32 = 1;

/// The most chunks of a checkpoint. Its manifest takes 20 MiB then; 64 GiB of state in chunks of
/// 64 KiB, or 1 TiB in the largest.
pub const CHUNKS_MAX: usize = 1 << 20;

const MAGIC: &[u8; 8] = b"VSRCHKPT";
const HEAD_BYTES: usize = 136;
const CHUNK_REF_BYTES: usize = 20;

/// The most bytes of a manifest.
pub const MANIFEST_BYTES_MAX: usize = HEAD_BYTES + CHUNKS_MAX * CHUNK_REF_BYTES;

const _: () = assert!(HEAD_BYTES == 44 + HEADER_BYTES);

/// Which of a checkpoint's two lists a chunk is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// The client-table and the configuration.
    Table,
    /// The service's state.
    State,
}

/// A chunk by its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkRef {
    /// [`Checksum::of`] its bytes.
    pub digest: Checksum,
    /// How many bytes it has, at most [`CHUNK_BYTES_MAX`].
    pub length: u32,
}

/// What a checkpoint consists of: an entry's header, and the chunks of table and state in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    header: Header,
    /// Those of the table first.
    chunks: Vec<ChunkRef>,
    /// How many of them are the table's.
    table: usize,
}

impl Manifest {
    pub(super) fn new(header: Header, table: &[ChunkRef], state: &[ChunkRef]) -> Self {
        Self { header, chunks: [table, state].concat(), table: table.len() }
    }

    /// The header of the entry that was the last one executed.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// All chunks, those of the table first; a chunk's index is its place here.
    #[must_use]
    pub fn chunks(&self) -> &[ChunkRef] {
        &self.chunks
    }

    /// The indexes of a section's chunks.
    #[must_use]
    pub fn section(&self, section: Section) -> std::ops::Range<u32> {
        match section {
            Section::Table => 0..self.table as u32,
            Section::State => self.table as u32..self.chunks.len() as u32,
        }
    }

    /// How many bytes the chunks have together.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.chunks.iter().map(|chunk| u64::from(chunk.length)).sum()
    }

    /// The checkpoint's id.
    #[must_use]
    pub fn id(&self) -> Checksum {
        Checksum::of(&self.encode())
    }

    /// The manifest's bytes: at most [`MANIFEST_BYTES_MAX`].
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD_BYTES + self.chunks.len() * CHUNK_REF_BYTES);
        out.put(MAGIC);
        out.put_u32(MANIFEST_VERSION);
        out.put_u32(self.table as u32);
        out.put_u32((self.chunks.len() - self.table) as u32);
        out.put_u32(0);
        out.put_u128(self.header.cluster.0);
        out.put_header(&self.header);
        out.put_u32(0);
        for chunk in &self.chunks {
            out.put_u128(chunk.digest.0);
            out.put_u32(chunk.length);
        }
        out
    }

    /// Reads the manifest of the checkpoint `id` of `cluster`, which may come from anywhere.
    ///
    /// # Errors
    /// What [`ManifestError`] lists.
    pub fn decode(bytes: &[u8], id: Checksum, cluster: ClusterId) -> Result<Self, ManifestError> {
        if bytes.len() > MANIFEST_BYTES_MAX || Checksum::of(bytes) != id {
            return Err(ManifestError::Different { id });
        }
        let mut reader = Reader::new(bytes);
        let (magic, version) = (reader.bytes(8), reader.u32());
        match version {
            Some(found) if magic == Some(MAGIC) && found > MANIFEST_VERSION => {
                return Err(ManifestError::Newer { found });
            }
            Some(_) if magic == Some(MAGIC) => {}
            Some(_) | None => return Err(ManifestError::Nonsense),
        }
        let manifest = read_lists(reader, cluster).ok_or(ManifestError::Nonsense)?;
        // There is one way to write a manifest; another one would be another id for the same
        // content.
        if manifest.encode() != bytes {
            return Err(ManifestError::Nonsense);
        }
        Ok(manifest)
    }
}

fn read_lists(mut reader: Reader<'_>, cluster: ClusterId) -> Option<Manifest> {
    let (table, state) = (reader.u32()? as usize, reader.u32()? as usize);
    let count = table.checked_add(state).filter(|count| *count <= CHUNKS_MAX)?;
    let _zeros = reader.u32()?;
    if reader.u128()? != cluster.0 {
        return None;
    }
    let header = reader.header(cluster).filter(Header::is_intact)?;
    let _zeros = reader.u32()?;
    let mut lists = Reader::new(reader.bytes(count * CHUNK_REF_BYTES)?);
    let chunks = (0..count)
        .map(|_| {
            let chunk = ChunkRef { digest: Checksum(lists.u128()?), length: lists.u32()? };
            (chunk.length as usize <= CHUNK_BYTES_MAX).then_some(chunk)
        })
        .collect::<Option<_>>()?;
    Some(Manifest { header, chunks, table })
}
