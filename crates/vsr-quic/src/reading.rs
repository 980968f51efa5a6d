//! From a stream to frames: reads what has arrived, cuts it, decodes it, hands each over.

use bytes::Bytes;
use quinn::RecvStream;
use vsr_wire::{CloseReason, Frame, FrameReader, Incoming, decode};

use crate::greeting::Ended;

/// Pieces taken from a stream at once: each is at most a datagram.
const CHUNKS: usize = 32;

/// Cuts a stream into frames and decodes them.
pub(crate) struct Reading {
    receive: RecvStream,
    reader: FrameReader,
    chunks: [Bytes; CHUNKS],
}

impl Reading {
    /// Begins with what `reader` holds.
    pub(crate) fn new(receive: RecvStream, reader: FrameReader) -> Self {
        Self { receive, reader, chunks: std::array::from_fn(|_| Bytes::new()) }
    }

    /// The next frame that has arrived whole, if there is one.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Incoming>, Ended> {
        self.reader
            .next_frame()?
            .map(|frame: Frame| decode(&frame))
            .transpose()
            .map_err(Ended::from)
    }

    /// Waits until more has arrived. An error too where the stream ends: the other side leaves.
    pub(crate) async fn more(&mut self) -> Result<(), Ended> {
        let Some(count) = self.receive.read_chunks(&mut self.chunks).await? else {
            self.reader.finish()?;
            return Err(Ended::Lost {
                reason: Some(CloseReason::ShuttingDown),
                detail: "the other side ended its stream".to_owned(),
            });
        };
        let arrived = &mut self.chunks[..count];
        self.reader.push_all(arrived);
        // The pieces share the memory of the datagrams they came in, which is to go now.
        arrived.fill(Bytes::new());
        Ok(())
    }

    /// How many bytes are held of a frame that has not arrived whole.
    pub(crate) fn held(&self) -> usize {
        self.reader.buffered()
    }
}
