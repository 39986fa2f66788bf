//! The two streams of a call: messages in, messages out, credit for both.
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::frame::{Frame, Kind, Message};
use crate::link::{Guard, Link};
use crate::outbox::Turn;

/// Why a call did not get its answer, or the rest of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No connection, or it broke. What was asked may have been done.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// No answer in time. What was asked may have been done.
    #[error("no answer in time")]
    Deadline,
    /// The server carries out as many calls as it can. Nothing was done.
    #[error("the server is busy")]
    Busy,
    /// The server is about to stop. Nothing was done.
    #[error("the server is stopping")]
    Stopping,
    /// The server could not carry the call out.
    #[error("refused: {0}")]
    Refused(String),
    /// The call has ended; nobody listens any more.
    #[error("the call is over")]
    Over,
    /// The message is over the bounds of the connection.
    #[error("the message is too large")]
    TooLarge,
}

/// The peer broke the rules of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Foul {
    /// More bytes than were granted, or more credit than was taken.
    Window,
    /// A message after the last.
    AfterEnd,
}

#[derive(Default)]
struct Inbox {
    queue: VecDeque<Message>,
    /// Bytes the peer may still send.
    open: usize,
    /// Bytes taken out and not granted anew.
    taken: usize,
    ended: bool,
    failed: Option<CallError>,
}

/// One end of a call.
pub(crate) struct Stream {
    pub(crate) tag: u64,
    window: usize,
    inbox: Mutex<Inbox>,
    arrived: Notify,
    credit: Semaphore,
    /// Cancelled when the caller gives up (server side).
    pub(crate) cancelled: CancellationToken,
}

impl Stream {
    pub(crate) fn new(tag: u64, window: usize) -> Self {
        Self {
            tag,
            window,
            inbox: Mutex::new(Inbox {
                open: window,
                ..Inbox::default()
            }),
            arrived: Notify::new(),
            credit: Semaphore::new(window),
            cancelled: CancellationToken::new(),
        }
    }

    fn inbox(&self) -> std::sync::MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what the peer sent.
    pub(crate) fn deliver(&self, message: Option<Message>, last: bool) -> Result<(), Foul> {
        let mut inbox = self.inbox();
        if inbox.ended {
            return Err(Foul::AfterEnd);
        }
        if let Some(message) = message {
            inbox.open = inbox.open.checked_sub(message.cost()).ok_or(Foul::Window)?;
            inbox.queue.push_back(message);
        }
        inbox.ended = last;
        drop(inbox);
        self.arrived.notify_one();
        Ok(())
    }

    /// The peer took `bytes` of ours.
    pub(crate) fn credit(&self, bytes: usize) -> Result<(), Foul> {
        if self.credit.available_permits() + bytes > self.window {
            return Err(Foul::Window);
        }
        self.credit.add_permits(bytes);
        Ok(())
    }

    /// Nothing more can be sent; whoever tries learns that the call is over.
    pub(crate) fn stop_sending(&self) {
        self.credit.close();
    }

    /// Ends both directions with an error.
    pub(crate) fn fail(&self, why: CallError) {
        let mut inbox = self.inbox();
        inbox.ended = true;
        inbox.failed.get_or_insert(why);
        drop(inbox);
        self.credit.close();
        self.arrived.notify_one();
    }

    fn failure(&self) -> CallError {
        self.inbox().failed.clone().unwrap_or(CallError::Over)
    }

    /// The next message if one is there, with the credit to grant for it.
    fn poll(&self) -> Option<(Result<Option<Message>, CallError>, usize)> {
        let mut inbox = self.inbox();
        if let Some(message) = inbox.queue.pop_front() {
            inbox.taken += message.cost();
            if inbox.ended || inbox.taken < self.window / 4 {
                return Some((Ok(Some(message)), 0));
            }
            let grant = std::mem::take(&mut inbox.taken);
            inbox.open += grant;
            return Some((Ok(Some(message)), grant));
        }
        match (&inbox.failed, inbox.ended) {
            (Some(why), _) => Some((Err(why.clone()), 0)),
            (None, true) => Some((Ok(None), 0)),
            (None, false) => None,
        }
    }
}

/// The messages that come in.
pub struct Receiver {
    pub(crate) stream: Arc<Stream>,
    pub(crate) link: Arc<Link>,
    pub(crate) stall: Duration,
    /// Keeps the call alive on the caller's side.
    pub(crate) _guard: Option<Arc<Guard>>,
}

impl Receiver {
    /// The next message; `None` after the last.
    ///
    /// # Errors
    /// The connection broke, the call was refused, or nothing came in time.
    pub async fn next(&mut self) -> Result<Option<Message>, CallError> {
        let wait = async {
            loop {
                if let Some((message, grant)) = self.stream.poll() {
                    if let Ok(value @ 1..) = u32::try_from(grant) {
                        self.link
                            .outbox
                            .control(Frame::bare(Kind::Credit, self.stream.tag, value));
                    }
                    return message;
                }
                self.stream.arrived.notified().await;
            }
        };
        tokio::time::timeout(self.stall, wait)
            .await
            .unwrap_or(Err(CallError::Deadline))
    }
}

/// The messages that go out. Dropping it on the caller's side, together with
/// the receiver, gives the call up.
pub struct Sender {
    pub(crate) stream: Arc<Stream>,
    pub(crate) link: Arc<Link>,
    pub(crate) stall: Duration,
    pub(crate) started: bool,
    pub(crate) _guard: Option<Arc<Guard>>,
}

impl Sender {
    /// Sends the next message once the receiver has room for it.
    ///
    /// # Errors
    /// The connection broke, the call is over, or no room came in time.
    pub async fn send(&mut self, message: Message) -> Result<(), CallError> {
        self.frame(Kind::Data, 0, 0, message, false).await
    }

    /// Sends the last message.
    ///
    /// # Errors
    /// As [`Sender::send`].
    pub async fn send_last(mut self, message: Message) -> Result<(), CallError> {
        self.frame(Kind::Data, 0, 0, message, true).await
    }

    /// Ends the stream without a further message.
    pub fn finish(self) {
        // Control frames overtake messages, so the end has to queue with them;
        // it is small, and a closed connection has ended the stream anyway.
        let frame = Frame {
            last: true,
            ..Frame::bare(Kind::End, self.stream.tag, 0)
        };
        self.link.outbox.end(frame);
    }

    pub(crate) async fn frame(
        &mut self,
        kind: Kind,
        op: u8,
        value: u32,
        message: Message,
        last: bool,
    ) -> Result<(), CallError> {
        let cost = message.cost();
        if message.head.len() > crate::frame::HEAD_MAX
            || message.piece.data.len() > self.link.lane().piece()
            || message.piece.crcs.len() > crate::frame::CRCS_MAX
        {
            return Err(CallError::TooLarge);
        }
        let cost = u32::try_from(cost).map_err(|_| CallError::TooLarge)?;
        let turn = if self.started { Turn::Later } else { Turn::First };
        let send = async {
            let credit = self
                .stream
                .credit
                .acquire_many(cost)
                .await
                .map_err(|_| self.stream.failure())?;
            credit.forget();
            let frame = Frame {
                kind,
                op,
                last,
                tag: self.stream.tag,
                value,
                message,
            };
            self.link
                .outbox
                .send(frame, turn)
                .await
                .map_err(|_| self.link.broken())
        };
        tokio::time::timeout(self.stall, send)
            .await
            .unwrap_or(Err(CallError::Deadline))?;
        self.started = true;
        Ok(())
    }
}
