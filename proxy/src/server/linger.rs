//! Ends of connections whose clients still send.
//!
//! A client that has not sent all of a body before it is answered would find the
//! connection broken, and many then do not look for the answer. So its connection is
//! closed in one direction first, and what still comes is read and thrown away until the
//! client has closed too (RFC 9112, section 9.6). Called by [`super::wire`] at the end of
//! a connection; what is thrown away while the connection may still serve the next
//! request is [`crate::swift::upload`]'s.
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;

/// Connections that linger at once; further ones are closed without.
const MOST_AT_ONCE: usize = 128;
/// Bytes thrown away at once.
const PIECE: usize = 64 * 1024;
/// Pieces thrown away before others get their turn.
const TURN: usize = 16;

/// How connections linger. Cheap to clone; the places are shared.
#[derive(Clone, Debug)]
pub struct Lingering {
    bytes: u64,
    time: Duration,
    places: Arc<Semaphore>,
    stop: CancellationToken,
}

impl Lingering {
    /// Lets each connection linger for so many bytes and so long, and none once
    /// `stop` is cancelled.
    pub fn new(bytes: u64, time: Duration, stop: CancellationToken) -> Self {
        Self {
            bytes,
            time,
            places: Arc::new(Semaphore::new(MOST_AT_ONCE)),
            stop,
        }
    }

    /// A place for one connection, if there is one left.
    pub fn begin(&self) -> Option<Linger> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(Linger {
            left: self.bytes,
            end: Box::pin(tokio::time::sleep(self.time)),
            stop: self.stop.clone(),
            scratch: vec![0; PIECE].into_boxed_slice(),
            _place: place,
        })
    }
}

/// A connection that lingers.
#[derive(Debug)]
pub struct Linger {
    left: u64,
    end: Pin<Box<Sleep>>,
    stop: CancellationToken,
    scratch: Box<[u8]>,
    _place: OwnedSemaphorePermit,
}

impl Linger {
    /// Ready once the client has closed or a bound is reached. Who cancels `stop` polls
    /// once more: it does not wake anyone.
    pub fn poll<S: AsyncRead + Unpin>(&mut self, stream: &mut S, cx: &mut Context<'_>) -> Poll<()> {
        if self.stop.is_cancelled() || self.end.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        for _ in 0..TURN {
            let mut piece = ReadBuf::new(&mut self.scratch);
            let read = ready!(Pin::new(&mut *stream).poll_read(cx, &mut piece));
            let count = piece.filled().len() as u64;
            match self.left.checked_sub(count) {
                Some(left) if read.is_ok() && count > 0 => self.left = left,
                _ => return Poll::Ready(()),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncWriteExt;

    use super::*;

    fn lingering(bytes: u64) -> Lingering {
        Lingering::new(bytes, Duration::from_secs(3600), CancellationToken::new())
    }

    #[tokio::test]
    async fn what_is_sent_is_thrown_away_until_the_client_closes() {
        let (mut client, mut server) = tokio::io::duplex(1024);
        let mut linger = lingering(10 << 20).begin().unwrap();
        let sending = async move {
            client.write_all(&vec![1; 5 << 20]).await.unwrap();
            drop(client);
        };
        tokio::join!(sending, poll_fn(|cx| linger.poll(&mut server, cx)));
        assert_eq!(linger.left, 5 << 20);
    }

    #[tokio::test]
    async fn who_sends_more_than_the_bound_is_left() {
        let (mut client, mut server) = tokio::io::duplex(1024);
        let mut linger = lingering(10_000).begin().unwrap();
        let lingers = async move {
            poll_fn(|cx| linger.poll(&mut server, cx)).await;
            drop(server);
        };
        let (sent, ()) = tokio::join!(client.write_all(&[1; 20_000]), lingers);
        assert_eq!(sent.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
    }

    #[tokio::test(start_paused = true)]
    async fn who_neither_sends_nor_closes_is_left_after_a_while_and_at_the_stop() {
        let (_client, mut server) = tokio::io::duplex(1024);
        let lingering = lingering(1000);
        let mut linger = lingering.begin().unwrap();
        // Time is paused: it moves on when there is nothing else to do.
        poll_fn(|cx| linger.poll(&mut server, cx)).await;
        let mut linger = lingering.begin().unwrap();
        lingering.stop.cancel();
        let waker = std::task::Waker::noop();
        assert!(
            linger
                .poll(&mut server, &mut Context::from_waker(waker))
                .is_ready()
        );
    }

    #[tokio::test]
    async fn only_so_many_linger_at_once() {
        let lingering = lingering(1);
        let held: Vec<_> = (0..MOST_AT_ONCE).map(|_| lingering.begin().unwrap()).collect();
        assert!(lingering.begin().is_none());
        drop(held);
        assert!(lingering.begin().is_some());
    }
}
