//! What waits to be written on one connection, and the task that writes it.
//!
//! Three queues: control frames (credit, cancel, signs of life: a handful for
//! each call), first messages of streams, and later ones. They leave in this
//! order, so that a small call never waits behind a bulk transfer, and a
//! stream's own messages never overtake each other. All that is ready at a
//! wake-up leaves in one `writev`.
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::frame::Frame;
use crate::limits::{BATCH, CONTROL, OUTBOX, WRITE_STALL};

/// Buffers in one `writev`: the system's limit is 1024, two for each frame.
const FRAMES: usize = 256;

/// Which queue a message takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The first message of a stream.
    First,
    /// A later one.
    Later,
}

/// The connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed;

struct Queued {
    start: Bytes,
    payload: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

impl Queued {
    fn new(frame: Frame, room: Option<OwnedSemaphorePermit>) -> Self {
        Self {
            start: frame.encode(),
            payload: frame.message.piece.data,
            _room: room,
        }
    }

    fn len(&self) -> usize {
        self.start.len() + self.payload.len()
    }
}

#[derive(Default)]
struct Queues {
    control: VecDeque<Queued>,
    first: VecDeque<Queued>,
    later: VecDeque<Queued>,
    closed: bool,
    /// Control frames piled up beyond their bound.
    overrun: bool,
}

impl Queues {
    /// The next frames to write, at most a batch.
    fn take(&mut self) -> Vec<Queued> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for queue in [&mut self.control, &mut self.first, &mut self.later] {
            while batch.len() < FRAMES && bytes < BATCH {
                let Some(next) = queue.pop_front() else { break };
                bytes += next.len();
                batch.push(next);
            }
        }
        batch
    }
}

pub(crate) struct Outbox {
    queues: Mutex<Queues>,
    ready: Notify,
    first_room: Arc<Semaphore>,
    later_room: Arc<Semaphore>,
}

impl Outbox {
    pub(crate) fn new() -> Self {
        let room = || Arc::new(Semaphore::new(OUTBOX));
        Self {
            queues: Mutex::default(),
            ready: Notify::new(),
            first_room: room(),
            later_room: room(),
        }
    }

    fn queues(&self) -> std::sync::MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a control frame. The protocol needs a few for each call, and
    /// calls are counted; more than that ends the connection.
    pub(crate) fn control(&self, frame: Frame) {
        let mut queues = self.queues();
        if queues.closed || queues.overrun {
            return;
        }
        if queues.control.len() < CONTROL {
            queues.control.push_back(Queued::new(frame, None));
        } else {
            queues.overrun = true;
        }
        drop(queues);
        self.ready.notify_one();
    }

    /// Queues a message, once there is room for it.
    pub(crate) async fn send(&self, frame: Frame, turn: Turn) -> Result<(), Closed> {
        let room = match turn {
            Turn::First => &self.first_room,
            Turn::Later => &self.later_room,
        };
        let cost = u32::try_from(frame.message.cost()).map_err(|_| Closed)?;
        let permit = Arc::clone(room)
            .acquire_many_owned(cost)
            .await
            .map_err(|_| Closed)?;
        let queued = Queued::new(frame, Some(permit));
        let mut queues = self.queues();
        if queues.closed {
            return Err(Closed);
        }
        match turn {
            Turn::First => queues.first.push_back(queued),
            Turn::Later => queues.later.push_back(queued),
        }
        drop(queues);
        self.ready.notify_one();
        Ok(())
    }

    /// Queues the end of a stream behind its messages. One for each call, so
    /// it needs no room of its own.
    pub(crate) fn end(&self, frame: Frame) {
        let mut queues = self.queues();
        if !queues.closed {
            queues.later.push_back(Queued::new(frame, None));
            drop(queues);
            self.ready.notify_one();
        }
    }

    /// Takes nothing more; what is queued still leaves.
    pub(crate) fn close(&self) {
        self.queues().closed = true;
        self.first_room.close();
        self.later_room.close();
        self.ready.notify_one();
    }

    /// Writes until the outbox is closed and empty, or the socket fails.
    pub(crate) async fn write_to<W: AsyncWrite + Unpin>(&self, mut socket: W) -> io::Result<()> {
        loop {
            let (batch, closed) = {
                let mut queues = self.queues();
                if queues.overrun {
                    return Err(io::Error::other("the peer reads nothing and asks for more"));
                }
                (queues.take(), queues.closed)
            };
            if !batch.is_empty() {
                write_batch(&mut socket, &batch).await?;
            } else if closed {
                return socket.shutdown().await;
            } else {
                self.ready.notified().await;
            }
        }
    }
}

async fn write_batch<W: AsyncWrite + Unpin>(socket: &mut W, batch: &[Queued]) -> io::Result<()> {
    let buffers = batch.iter().flat_map(|queued| [&queued.start, &queued.payload]);
    let mut slices: Vec<IoSlice<'_>> = buffers
        .filter(|bytes| !bytes.is_empty())
        .map(|bytes| IoSlice::new(bytes))
        .collect();
    let mut rest = slices.as_mut_slice();
    while !rest.is_empty() {
        let written = tokio::time::timeout(WRITE_STALL, socket.write_vectored(rest)).await;
        let written =
            written.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the peer takes no bytes"))??;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        IoSlice::advance_slices(&mut rest, written);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::frame::{Kind, Message};

    fn message(tag: u64, bytes: usize) -> Frame {
        let mut frame = Frame::bare(Kind::Data, tag, 0);
        frame.message = Message::head(vec![0; bytes]);
        frame
    }

    #[tokio::test]
    async fn control_and_first_messages_leave_before_later_ones() {
        let outbox = Outbox::new();
        outbox.send(message(1, 10), Turn::Later).await.unwrap();
        outbox.send(message(2, 10), Turn::First).await.unwrap();
        outbox.control(Frame::bare(Kind::Credit, 3, 1));
        outbox.close();
        let (ours, mut theirs) = tokio::io::duplex(4096);
        outbox.write_to(ours).await.unwrap();
        let mut bytes = Vec::new();
        theirs.read_to_end(&mut bytes).await.unwrap();
        let mut buffer = bytes::BytesMut::from(&bytes[..]);
        let mut tags = Vec::new();
        while let Ok(crate::frame::Decoded::Frame(frame)) = crate::frame::decode(&mut buffer, 1000) {
            tags.push(frame.tag);
        }
        assert_eq!(tags, [3, 2, 1]);
    }

    #[tokio::test]
    async fn messages_wait_for_room_and_learn_of_the_end() {
        let outbox = Outbox::new();
        for _ in 0..OUTBOX / (64 * 1024) {
            outbox.send(message(1, 64 * 1024), Turn::Later).await.unwrap();
        }
        let mut waiting = Box::pin(outbox.send(message(1, 64 * 1024), Turn::Later));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        outbox.send(message(2, 10), Turn::First).await.unwrap();
        outbox.close();
        assert_eq!(waiting.await, Err(Closed));
    }

    #[tokio::test]
    async fn a_peer_that_only_asks_is_given_up() {
        let outbox = Outbox::new();
        for tag in 0..=CONTROL as u64 {
            outbox.control(Frame::bare(Kind::Pong, tag, 0));
        }
        let (ours, _theirs) = tokio::io::duplex(4096);
        assert!(outbox.write_to(ours).await.is_err());
    }
}
