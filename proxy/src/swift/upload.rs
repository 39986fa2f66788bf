//! Bodies that arrive: bounded in time, and drained when nobody wants them.
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http_body::Body;
use hyper::body::Incoming;
use tokio::time::Sleep;
use virga_node::task::Tasks;

use super::fault::Fault;
use crate::core::BodyError;
use http::StatusCode;

/// Bounds for bodies that arrive.
#[derive(Clone, Debug)]
pub struct UploadBounds {
    /// Longest wait for the next bytes.
    pub idle: Duration,
    /// Bytes that are still read after an answer that did not want the body,
    /// so that the client sees the answer and not a broken connection.
    pub linger_bytes: u64,
    /// How long at most.
    pub linger_time: Duration,
}

/// The body of a request.
pub struct Upload {
    body: Option<Incoming>,
    wait: Pin<Box<Sleep>>,
    bounds: UploadBounds,
    tasks: Tasks,
    /// The client waits for "100 Continue", which the first poll sends.
    hesitant: bool,
}

impl Upload {
    /// Takes the body of a request; `hesitant` if it said `Expect: 100-continue`.
    pub fn new(body: Incoming, hesitant: bool, bounds: UploadBounds, tasks: Tasks) -> Self {
        let wait = Box::pin(tokio::time::sleep(bounds.idle));
        Self {
            body: Some(body),
            wait,
            bounds,
            tasks,
            hesitant,
        }
    }

    /// Reads all of it.
    ///
    /// # Errors
    /// 413 above `most` bytes, else what went wrong with the body.
    pub async fn read_all(&mut self, most: usize) -> Result<Vec<u8>, Fault> {
        let mut all = Vec::new();
        while let Some(piece) = self.next().await {
            let piece = piece?;
            if all.len() + piece.len() > most {
                return Err(Fault::page(StatusCode::PAYLOAD_TOO_LARGE));
            }
            all.extend_from_slice(&piece);
        }
        Ok(all)
    }
}

/// Whether hyper gave up on the framing of the body, rather than on the connection.
fn malformed(error: &hyper::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            return matches!(
                io.kind(),
                std::io::ErrorKind::InvalidInput | std::io::ErrorKind::InvalidData
            );
        }
        source = cause.source();
    }
    error.is_parse()
}

impl Stream for Upload {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        this.hesitant = false;
        loop {
            let Some(body) = this.body.as_mut() else {
                return Poll::Ready(None);
            };
            let answer = match Pin::new(body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        let later = tokio::time::Instant::now() + this.bounds.idle;
                        this.wait.as_mut().reset(later);
                        return Poll::Ready(Some(Ok(data)));
                    }
                    Err(_trailers) => continue,
                },
                Poll::Ready(Some(Err(error))) if malformed(&error) => {
                    Some(Err(BodyError::Malformed(error.to_string())))
                }
                Poll::Ready(Some(Err(_))) => Some(Err(BodyError::Disconnected)),
                Poll::Ready(None) => None,
                Poll::Pending => match this.wait.as_mut().poll(cx) {
                    Poll::Ready(()) => Some(Err(BodyError::TooSlow)),
                    Poll::Pending => return Poll::Pending,
                },
            };
            this.body = None;
            return Poll::Ready(answer);
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(body) = self.body.take() else { return };
        // A client that waits for "100 Continue" has sent nothing, and reading would ask it to.
        if self.hesitant || body.is_end_stream() {
            return;
        }
        let (bytes, time) = (self.bounds.linger_bytes, self.bounds.linger_time);
        self.tasks.spawn(async move {
            let _ = tokio::time::timeout(time, drain(body, bytes)).await;
        });
    }
}

async fn drain(mut body: Incoming, most: u64) {
    let mut left = most;
    while let Some(Ok(frame)) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let read = frame.data_ref().map_or(0, |data| data.len() as u64);
        match left.checked_sub(read) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}
