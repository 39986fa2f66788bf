//! The side that answers: accepts connections, runs a task for each call.
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use virga_node::task::Tasks;

use crate::frame::{Frame, Kind, Message};
use crate::handshake;
use crate::limits::{CONNECTIONS, STREAM_STALL};
use crate::link::{BUSY, Broken, FAILED, Link, STOPPING, Side};
use crate::secret::Secret;
use crate::stream::{Receiver, Sender, Stream};

/// A call as it arrives.
pub struct Request {
    /// Operation.
    pub op: u8,
    /// The message that opened it.
    pub first: Message,
    /// The messages after it, none for a simple call.
    pub rest: Receiver,
    /// Largest payload of one message that may be answered with, bytes.
    pub piece: usize,
}

/// The answer to a call.
pub struct Answer {
    /// First message.
    pub first: Message,
    /// Further ones. Polled only as fast as the caller takes them, and
    /// dropped when it goes away.
    pub rest: Option<BoxStream<'static, Message>>,
}

impl Answer {
    /// An answer of one message.
    pub fn one(first: Message) -> Self {
        Self { first, rest: None }
    }
}

/// The call cannot be carried out at all (unknown operation, nonsense in its
/// head). Failures that the caller understands travel in the answer's head.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);

/// What a server does with calls.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Carries a call out. Dropped when the caller gives up, its deadline
    /// passes or its connection ends.
    async fn handle(&self, request: Request) -> Result<Answer, Refusal>;
}

/// Accepts callers that know `secret` until `tasks` stop, then finishes the
/// calls in flight.
pub async fn serve(listener: TcpListener, secret: Secret, handler: Arc<dyn Handler>, tasks: Tasks) {
    let stopping = tasks.stopping();
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopping.cancelled() => return,
        };
        let (socket, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // out of descriptors, most likely: waiting is all that helps
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::warn!(%from, limit = CONNECTIONS, "too many connections, one turned away");
            continue;
        };
        let (secret, handler, tasks) = (secret.clone(), Arc::clone(&handler), tasks.clone());
        tasks.clone().spawn(async move {
            match connection(socket, &secret, handler, &tasks).await {
                Ok(why) => tracing::debug!(%from, %why, "connection ended"),
                Err(error) => tracing::warn!(%from, %error, "caller turned away"),
            }
            drop(place);
        });
    }
}

async fn connection(
    mut socket: TcpStream,
    secret: &Secret,
    handler: Arc<dyn Handler>,
    tasks: &Tasks,
) -> Result<Broken, handshake::Refused> {
    socket.set_nodelay(true)?;
    let stopping = tasks.stopping();
    let lane = tokio::select! {
        lane = handshake::answer(&mut socket, secret) => lane?,
        () = stopping.cancelled() => return Ok(Broken::Stopping),
    };
    let link = Link::new(lane, Side::Server);
    let (reader, writer) = socket.into_split();
    let out = Arc::clone(&link);
    let writing = tasks.spawn(async move {
        if let Err(error) = out.outbox.write_to(writer).await {
            out.close(&error.to_string());
        }
    });
    let open = |frame| begin(&link, frame, &handler, tasks, &stopping);
    let why = link.read(reader, &stopping, open).await;
    link.close(&why.to_string());
    // a panic there has been reported by the runtime, and nothing is left to do
    let _ = writing.await;
    Ok(why)
}

/// Starts the task of a call.
fn begin(
    link: &Arc<Link>,
    frame: Frame,
    handler: &Arc<dyn Handler>,
    tasks: &Tasks,
    stopping: &CancellationToken,
) -> Result<(), Broken> {
    let refused = if stopping.is_cancelled() {
        Some(STOPPING)
    } else if link.calls() >= link.lane().calls() || link.active() >= 2 * link.lane().calls() {
        Some(BUSY)
    } else {
        None
    };
    if let Some(reason) = refused {
        link.outbox.control(Frame::bare(Kind::Refuse, frame.tag, reason));
        return Ok(());
    }
    let stream = link
        .begin(frame.tag, None)
        .ok_or(Broken::Rules("a tag used twice"))?;
    let running = Running {
        link: Arc::clone(link),
        stream: Arc::clone(&stream),
        answered: false,
    };
    stream.deliver(Some(frame.message), frame.last)?;
    let deadline = Duration::from_millis(frame.value.into());
    tasks.spawn(run(running, frame.op, deadline, Arc::clone(handler)));
    Ok(())
}

/// A call being carried out. Dropped unanswered (a panic), it says so.
struct Running {
    link: Arc<Link>,
    stream: Arc<Stream>,
    answered: bool,
}

impl Running {
    fn refuse(&mut self, reason: u32, words: &str) {
        self.answered = true;
        self.link.forget(self.stream.tag);
        let words = words
            .as_bytes()
            .get(..crate::frame::HEAD_MAX)
            .unwrap_or(words.as_bytes());
        let message = Message::head(words.to_vec());
        self.link.outbox.control(Frame {
            message,
            ..Frame::bare(Kind::Refuse, self.stream.tag, reason)
        });
    }

    async fn answer(&mut self, answer: Answer) {
        let tag = self.stream.tag;
        let mut sender = Sender {
            stream: Arc::clone(&self.stream),
            link: Arc::clone(&self.link),
            stall: STREAM_STALL,
            started: false,
            _guard: None,
        };
        self.answered = true;
        let Some(mut rest) = answer.rest else {
            // before it is sent, so that the caller's next call finds room
            self.link.forget(tag);
            if let Err(error) = sender.send_last(answer.first).await {
                self.refuse(FAILED, &error.to_string());
            }
            return;
        };
        let mut next = Some(answer.first);
        while let Some(message) = next {
            if let Err(error) = sender.send(message).await {
                self.refuse(FAILED, &error.to_string());
                return;
            }
            next = rest.next().await;
        }
        self.link.forget(tag);
        sender.finish();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.answered {
            self.refuse(FAILED, "the call failed inside the server");
        }
        self.link.forget(self.stream.tag);
        self.link.done();
    }
}

async fn run(mut running: Running, op: u8, deadline: Duration, handler: Arc<dyn Handler>) {
    let (stream, link) = (Arc::clone(&running.stream), Arc::clone(&running.link));
    let work = async {
        let piece = link.lane().piece();
        let mut rest = Receiver {
            stream: Arc::clone(&stream),
            link: Arc::clone(&link),
            stall: STREAM_STALL,
            _guard: None,
        };
        // there already: it came with the frame that opened the call
        let Ok(Some(first)) = rest.next().await else {
            return;
        };
        let handled = handler.handle(Request {
            op,
            first,
            rest,
            piece,
        });
        let handled = if deadline.is_zero() {
            Some(handled.await)
        } else {
            tokio::time::timeout(deadline, handled).await.ok()
        };
        match handled {
            Some(Ok(answer)) => running.answer(answer).await,
            Some(Err(refusal)) => running.refuse(FAILED, &refusal.0),
            // the caller has stopped waiting too
            None => running.refuse(FAILED, "the deadline passed"),
        }
    };
    let given_up = tokio::select! {
        () = work => false,
        () = stream.cancelled.cancelled() => true,
        () = link.closed().cancelled() => true,
    };
    if given_up {
        running.answered = true;
    }
}
