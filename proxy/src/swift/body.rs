//! Bodies that leave: whole, streamed, or none.
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::Response;
use http_body::{Frame, SizeHint};

/// Why a body broke off after its head had been sent. The connection is cut,
/// so that the client sees that bytes are missing.
pub type Broken = Box<dyn std::error::Error + Send + Sync>;

/// A body on its way out.
pub enum Outgoing {
    /// All of it at once; taken when sent.
    Whole(Option<Bytes>),
    /// Pieces as they come, and how many bytes are still to come if that is known.
    Stream(Pieces, Option<u64>),
}

/// Pieces of a body.
pub type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, Broken>> + Send>>;

/// A response of the object store.
pub type Answer = Response<Outgoing>;

/// No body.
pub fn empty() -> Outgoing {
    Outgoing::Whole(None)
}

/// No bytes, said in so many words: `Content-Length: 0` even where HTTP would
/// leave it out (204), as clients of Swift expect.
pub fn nothing() -> Outgoing {
    Outgoing::Stream(Box::pin(futures_util::stream::empty()), Some(0))
}

/// A body that is all here.
pub fn full(bytes: impl Into<Bytes>) -> Outgoing {
    let bytes = bytes.into();
    Outgoing::Whole((!bytes.is_empty()).then_some(bytes))
}

/// A body that comes piece by piece; `length` in bytes if it is known. Where it
/// breaks off, what came before is sent first: the client sees a status and too
/// few bytes, and not a connection that was closed without an answer.
pub fn streamed(pieces: Pieces, length: Option<u64>) -> Outgoing {
    let flushed = pieces.then(|piece| async move {
        if piece.is_err() {
            tokio::task::yield_now().await;
        }
        piece
    });
    Outgoing::Stream(Box::pin(flushed), length)
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Self::Stream(pieces, left) => match pieces.as_mut().poll_next(cx) {
                Poll::Ready(Some(Ok(bytes))) => {
                    if let Some(left) = left {
                        *left = left.saturating_sub(bytes.len() as u64);
                    }
                    Poll::Ready(Some(Ok(Frame::data(bytes))))
                }
                Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error))),
                Poll::Ready(None) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            // The stream itself says when it ends, even one without bytes.
            Self::Stream(..) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Self::Stream(_, Some(left)) => SizeHint::with_exact(*left),
            Self::Stream(_, None) => SizeHint::default(),
        }
    }
}
