//! From a queue to a stream: takes all that waits and writes it at once.

use quinn::SendStream;

use crate::greeting::Ended;
use crate::queue::Queue;

/// Writes until the stream breaks. Waits while the other side does not read; meanwhile the queue
/// fills, and drops.
pub(crate) async fn write(mut send: SendStream, queue: &Queue) -> Ended {
    loop {
        let mut taken = queue.take().await;
        if let Err(error) = send.write_all_chunks(&mut taken.frames).await {
            return error.into();
        }
    }
}
