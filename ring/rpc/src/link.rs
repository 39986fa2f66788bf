//! One connection after its handshake: the calls on it, and its reader.
use std::any::Any;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio_util::sync::CancellationToken;

use crate::frame::{Bad, Decoded, Frame, Kind, decode};
use crate::limits::{Lane, QUIET, SILENT};
use crate::outbox::Outbox;
use crate::stream::{CallError, Foul, Stream};

/// Free bytes of the read buffer below which it grows again.
const READ: usize = 64 * 1024;

/// Reasons in a [`Kind::Refuse`] frame.
pub(crate) const BUSY: u32 = 1;
pub(crate) const STOPPING: u32 = 2;
pub(crate) const FAILED: u32 = 3;

/// Why the reader gave a connection up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Bad(#[from] Bad),
    #[error("the peer broke the rules: {0}")]
    Rules(&'static str),
    #[error("the peer closed the connection")]
    Ended,
    #[error("the peer gives no sign of life")]
    Silent,
    #[error("stopping")]
    Stopping,
}

impl From<Foul> for Broken {
    fn from(foul: Foul) -> Self {
        Self::Rules(match foul {
            Foul::Window => "more bytes than were granted",
            Foul::AfterEnd => "a message after the last",
        })
    }
}

/// Which end of the connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Caller,
    Server,
}

/// A call that frames may still come for.
struct Known {
    stream: Arc<Stream>,
    /// Its place among the calls of the connection (caller's side).
    _place: Option<OwnedSemaphorePermit>,
}

pub(crate) struct Link {
    pub(crate) outbox: Outbox,
    lane: Lane,
    side: Side,
    streams: Mutex<HashMap<u64, Known>>,
    active: AtomicUsize,
    idle: Notify,
    closed: CancellationToken,
    why: Mutex<Option<String>>,
}

impl Link {
    pub(crate) fn new(lane: Lane, side: Side) -> Arc<Self> {
        Arc::new(Self {
            outbox: Outbox::new(),
            lane,
            side,
            streams: Mutex::default(),
            active: AtomicUsize::new(0),
            idle: Notify::new(),
            closed: CancellationToken::new(),
            why: Mutex::default(),
        })
    }

    pub(crate) fn lane(&self) -> Lane {
        self.lane
    }

    fn streams(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Known>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a call; `None` if its tag is taken.
    pub(crate) fn begin(&self, tag: u64, place: Option<OwnedSemaphorePermit>) -> Option<Arc<Stream>> {
        let mut streams = self.streams();
        let Entry::Vacant(vacant) = streams.entry(tag) else {
            return None;
        };
        let stream = Arc::new(Stream::new(tag, self.lane.window()));
        vacant.insert(Known {
            stream: Arc::clone(&stream),
            _place: place,
        });
        drop(streams);
        self.active.fetch_add(1, Ordering::AcqRel);
        // closed meanwhile: whoever closed may have missed this one
        if self.is_closed() {
            self.forget(tag);
            stream.fail(self.broken());
        }
        Some(stream)
    }

    /// Forgets a call: frames for it are dropped from now on. Whether it was
    /// still known.
    pub(crate) fn forget(&self, tag: u64) -> bool {
        let known = self.streams().remove(&tag).is_some();
        if known && self.side == Side::Caller {
            self.done();
        }
        known
    }

    /// A call has ended: for a caller with its answer, for a server with its work.
    pub(crate) fn done(&self) {
        if self.active.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.idle.notify_one();
        }
    }

    /// Calls whose answer is not complete.
    pub(crate) fn calls(&self) -> usize {
        self.streams().len()
    }

    /// Calls whose work has not ended: answers that wait for the socket too.
    pub(crate) fn active(&self) -> usize {
        self.active.load(Ordering::Acquire)
    }

    pub(crate) fn closed(&self) -> &CancellationToken {
        &self.closed
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// Ends the connection and every call on it.
    pub(crate) fn close(&self, why: &str) {
        self.why
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert_with(|| why.to_owned());
        self.closed.cancel();
        self.outbox.close();
        let calls: Vec<_> = self.streams().drain().map(|(_, known)| known).collect();
        for known in calls {
            known.stream.fail(self.broken());
            if self.side == Side::Caller {
                self.done();
            }
        }
    }

    /// Why calls on this connection fail.
    pub(crate) fn broken(&self) -> CallError {
        let why = self.why.lock().unwrap_or_else(PoisonError::into_inner).clone();
        CallError::Unreachable(why.unwrap_or_else(|| "the connection is closed".to_owned()))
    }

    /// Resolves once the daemon stops and no call is left.
    async fn drained(&self, stopping: &CancellationToken) {
        stopping.cancelled().await;
        while self.active.load(Ordering::Acquire) > 0 {
            self.idle.notified().await;
        }
    }

    /// Reads frames until the connection ends; `open` begins calls.
    pub(crate) async fn read<R: AsyncRead + Unpin>(
        &self,
        mut socket: R,
        stopping: &CancellationToken,
        mut open: impl FnMut(Frame) -> Result<(), Broken>,
    ) -> Broken {
        let mut buffer = BytesMut::with_capacity(2 * READ);
        let (mut closed, mut drained) = (pin!(self.closed.cancelled()), pin!(self.drained(stopping)));
        let side = self.side;
        let patience = if side == Side::Caller { QUIET } else { SILENT };
        let mut asked = false;
        loop {
            let need = loop {
                match decode(&mut buffer, self.lane.piece()) {
                    Ok(Decoded::Need(bytes)) => break bytes,
                    Ok(Decoded::Frame(frame)) => {
                        if let Err(broken) = self.dispatch(frame, &mut open) {
                            return broken;
                        }
                    }
                    Err(bad) => return bad.into(),
                }
            };
            let missing = need.saturating_sub(buffer.len());
            if buffer.capacity() - buffer.len() < missing.max(READ / 4) {
                buffer.reserve(missing.max(READ));
            }
            tokio::select! {
                read = tokio::time::timeout(patience, socket.read_buf(&mut buffer)) => match read {
                    Ok(Ok(0)) => return Broken::Ended,
                    Ok(Ok(_)) => asked = false,
                    Ok(Err(error)) => return error.into(),
                    Err(_) if side == Side::Server || asked => return Broken::Silent,
                    Err(_) => {
                        asked = true;
                        self.outbox.control(Frame::bare(Kind::Ping, 0, 0));
                    }
                },
                () = &mut closed => return Broken::Ended,
                () = &mut drained => return Broken::Stopping,
            }
        }
    }

    fn dispatch(
        &self,
        frame: Frame,
        open: &mut impl FnMut(Frame) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        // A tag that is not known (any more) is no foul: its call was given up
        // or answered while the frame was on its way.
        let stream = || {
            self.streams()
                .get(&frame.tag)
                .map(|known| Arc::clone(&known.stream))
        };
        let side = self.side;
        match (frame.kind, side) {
            (Kind::Open, Side::Server) => return open(frame),
            (Kind::Data | Kind::End, _) => {
                let Some(stream) = stream() else { return Ok(()) };
                let last = frame.last || frame.kind == Kind::End;
                stream.deliver((frame.kind == Kind::Data).then_some(frame.message), last)?;
                if last && side == Side::Caller {
                    self.forget(stream.tag);
                    stream.stop_sending();
                }
            }
            (Kind::Credit, _) => {
                if let Some(stream) = stream() {
                    stream.credit(frame.value as usize)?;
                }
            }
            (Kind::Cancel, Side::Server) => {
                if let Some(stream) = stream() {
                    self.forget(stream.tag);
                    stream.cancelled.cancel();
                }
            }
            (Kind::Refuse, Side::Caller) => {
                if let Some(stream) = stream() {
                    self.forget(stream.tag);
                    stream.fail(refusal(&frame));
                }
            }
            (Kind::Ping, _) => self.outbox.control(Frame::bare(Kind::Pong, 0, 0)),
            (Kind::Pong, _) => {}
            (Kind::Open, Side::Caller) | (Kind::Cancel, Side::Caller) | (Kind::Refuse, Side::Server) => {
                return Err(Broken::Rules("a frame from the wrong side"));
            }
        }
        Ok(())
    }
}

fn refusal(frame: &Frame) -> CallError {
    match frame.value {
        BUSY => CallError::Busy,
        STOPPING => CallError::Stopping,
        _ => CallError::Refused(String::from_utf8_lossy(&frame.message.head).into_owned()),
    }
}

/// Gives a call up when the caller drops all of it, and keeps its peer's
/// connections until then.
pub(crate) struct Guard {
    pub(crate) link: Arc<Link>,
    pub(crate) tag: u64,
    pub(crate) _owner: Arc<dyn Any + Send + Sync>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.link.forget(self.tag) {
            self.link.outbox.control(Frame::bare(Kind::Cancel, self.tag, 0));
        }
    }
}

/// A deadline in the milliseconds of an open frame; zero means none.
pub(crate) fn to_millis(deadline: Duration) -> u32 {
    u32::try_from(deadline.as_millis()).unwrap_or(u32::MAX)
}
