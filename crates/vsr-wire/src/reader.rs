//! Finds the frames in a stream of bytes.

use bytes::{Buf, BytesMut};

use crate::error::WireError;
use crate::frame::{Frame, FrameHeader, HEADER_LENGTH, check_magic};
use crate::limits::GROWTH_STEP;

/// How much room a reader offers when it does not know what comes: small, so that ten thousand
/// silent clients cost little.
const READ_STEP: usize = 8 * 1024;

/// Cuts a stream into frames. It does no IO: the caller reads into [`room`](Self::room), or hands
/// over what it has by [`push`](Self::push), and takes frames by [`next_frame`](Self::next_frame)
/// until there is none.
///
/// Its buffer is never larger than twice what has arrived and [`GROWTH_STEP`], whatever a header says
/// will come, and is given up when all that arrived was taken. Frames share the buffer they arrived
/// in, without a copy.
#[derive(Debug)]
pub struct FrameReader {
    buffer: BytesMut,
    /// The header of the frame under way, once it has arrived and was found right.
    header: Option<FrameHeader>,
    limit: u32,
    /// After an error nothing that follows can be trusted to start at a frame.
    failed: Option<WireError>,
}

impl FrameReader {
    /// A reader that refuses frames of more than `limit` bytes, header counted. Begin with
    /// [`HELLO_LIMIT`](crate::HELLO_LIMIT).
    #[must_use]
    pub fn new(limit: u32) -> Self {
        Self { buffer: BytesMut::new(), header: None, limit, failed: None }
    }

    /// Changes the limit for the frames whose headers have not been looked at yet, as after a hello.
    pub const fn set_limit(&mut self, limit: u32) {
        self.limit = limit;
    }

    /// Adds bytes that arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.reserve(bytes.len());
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// Adds all pieces that arrived at once: their sum is made room for a single time.
    pub fn push_all<B: AsRef<[u8]>>(&mut self, pieces: &[B]) {
        if self.failed.is_none() {
            self.reserve(pieces.iter().map(|piece| piece.as_ref().len()).sum());
            for piece in pieces {
                self.buffer.extend_from_slice(piece.as_ref());
            }
        }
    }

    /// The buffer with room for some more bytes; append what arrives, and touch nothing else.
    pub fn room(&mut self) -> &mut BytesMut {
        self.reserve(self.missing().min(GROWTH_STEP));
        &mut self.buffer
    }

    /// The next frame that has wholly arrived, if there is one.
    ///
    /// # Errors
    /// Any [`WireError`] but [`WireError::Malformed`]. The reader stays in that error: what follows
    /// in the stream cannot be told apart any more.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, WireError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let next = self.try_next();
        if let Err(error) = next {
            self.failed = Some(error);
            self.buffer = BytesMut::new();
        }
        next
    }

    /// Says whether the stream may end here.
    ///
    /// # Errors
    /// [`WireError::Cut`] within a frame, or the error the reader is in.
    pub fn finish(&self) -> Result<(), WireError> {
        match self.failed {
            Some(error) => Err(error),
            None if self.header.is_none() && self.buffer.is_empty() => Ok(()),
            None => Err(WireError::Cut {
                missing: self.frame_end().saturating_sub(self.buffer.len()) as u64,
            }),
        }
    }

    /// How many bytes have arrived and were not taken as frames: for the caller's memory budget.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// How many bytes of memory the reader holds.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    fn try_next(&mut self) -> Result<Option<Frame>, WireError> {
        let header = match self.header {
            Some(header) => header,
            None => match self.take_header()? {
                Some(header) => header,
                None => return Ok(None),
            },
        };
        let length = header.length as usize;
        if self.buffer.len() < length {
            return Ok(None);
        }
        let body = self.buffer.split_to(length).freeze();
        self.header = None;
        if self.buffer.is_empty() {
            // The frames own this memory now; it goes when they go.
            self.buffer = BytesMut::new();
        }
        if crc32c::crc32c(&body) != header.body_crc {
            return Err(WireError::BodyDamaged);
        }
        Ok(Some(Frame { header, body }))
    }

    fn take_header(&mut self) -> Result<Option<FrameHeader>, WireError> {
        let Some(bytes) = self.buffer.first_chunk::<HEADER_LENGTH>() else {
            check_magic(&self.buffer)?;
            return Ok(None);
        };
        let header = FrameHeader::parse(bytes)?;
        let length = HEADER_LENGTH as u64 + u64::from(header.length);
        if length > u64::from(self.limit) {
            return Err(WireError::TooLarge { length, limit: self.limit });
        }
        self.buffer.advance(HEADER_LENGTH);
        self.header = Some(header);
        Ok(Some(header))
    }

    /// Where, in the buffer, what is under way ends, as far as is known.
    fn frame_end(&self) -> usize {
        self.header.map_or(HEADER_LENGTH, |header| header.length as usize)
    }

    /// How many bytes may usefully be read at once.
    fn missing(&self) -> usize {
        match self.header {
            // The next frame's beginning comes along, so that it needs no read of its own.
            Some(header) => header.length as usize - self.buffer.len() + READ_STEP,
            None => READ_STEP,
        }
    }

    /// Makes room for `more` bytes. Where the frame under way is known to be long, the buffer grows
    /// towards its whole length, but never to more than twice what has arrived.
    fn reserve(&mut self, more: usize) {
        let needed = self.buffer.len() + more;
        if needed <= self.buffer.capacity() {
            return;
        }
        let affordable = GROWTH_STEP.max(2 * self.buffer.len());
        let wanted = self.frame_end().min(affordable).max(needed);
        let mut grown = BytesMut::with_capacity(wanted);
        grown.extend_from_slice(&self.buffer);
        self.buffer = grown;
    }
}
