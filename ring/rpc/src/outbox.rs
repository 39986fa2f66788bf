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
use crate::limits::{BATCH, OUTBOX, WRITE_STALL};

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

    /// Queues a control frame. There is no bound here because the protocol
    /// has one: a few for each call, and calls are counted.
    pub(crate) fn control(&self, frame: Frame) {
        let mut queues = self.queues();
        if !queues.closed {
            queues.control.push_back(Queued::new(frame, None));
            drop(queues);
            self.ready.notify_one();
        }
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
