//! One client's connection, plain or inside TLS, as bytes in and out.
//!
//! The TLS handshake is part of the first read, so accepting a connection never
//! waits for a client, and whoever bounds the wait for a request's head bounds
//! the handshake too. Who speaks plain HTTP to a TLS port is told so in plain
//! HTTP. Writes fail when the client has taken no bytes for a while.
//!
//! Called by [`crate::server`] and by the object store's door. Which
//! certificate is shown is decided by [`crate::tls`].
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{Accept, TlsAcceptor};

use crate::tls::Certificates;

/// The first byte of every TLS connection: a record of the handshake.
const HANDSHAKE: u8 = 22;
/// Bytes read of what is no TLS before the answer: closing a connection with
/// unread bytes would make the client's system drop the answer.
const UNREAD: usize = 16 * 1024;

const PLAIN_REFUSED: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 67\r\n\
    Connection: close\r\n\r\n\
    This port speaks HTTPS: begin the URL with https:// and not http://";

/// What the bytes travel in.
enum Carrier {
    Plain(TcpStream),
    /// A TLS port: what the client begins with is not known yet.
    Looking(TcpStream, TlsAcceptor),
    Shaking(Box<Accept<TcpStream>>),
    Secure(Box<TlsStream<TcpStream>>),
    /// Plain HTTP on a TLS port: the words that are still to be written.
    Refusing(TcpStream, Bytes),
    /// Between two states only.
    Nothing,
}

/// A connection.
pub struct Stream {
    carrier: Carrier,
    /// Longest wait for the client to take bytes.
    patience: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}

fn broken(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}

impl Stream {
    /// Takes an accepted connection, inside TLS if there are certificates.
    /// Writes fail after `patience` without progress.
    pub fn new(stream: TcpStream, tls: Option<&Certificates>, patience: Duration) -> Self {
        // An answer in two small writes would otherwise wait 40 ms for the
        // peer's acknowledgement.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "no TCP_NODELAY on a connection");
        }
        let carrier = match tls {
            None => Carrier::Plain(stream),
            Some(certificates) => Carrier::Looking(stream, certificates.acceptor()),
        };
        Self {
            carrier,
            patience,
            stalled: None,
        }
    }

    /// Brings the connection to where bytes can pass.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match &mut self.carrier {
                Carrier::Plain(_) | Carrier::Secure(_) => return Poll::Ready(Ok(())),
                Carrier::Looking(stream, _) => {
                    let mut first = [0];
                    if ready!(stream.poll_peek(cx, &mut ReadBuf::new(&mut first)))? == 0 {
                        return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                    }
                    self.begin(first[0]);
                }
                Carrier::Shaking(accept) => {
                    let open = ready!(Pin::new(accept.as_mut()).poll(cx))?;
                    self.carrier = Carrier::Secure(Box::new(open));
                }
                Carrier::Refusing(stream, words) => {
                    if words.has_remaining() {
                        let written = ready!(Pin::new(stream).poll_write(cx, words))?;
                        words.advance(written);
                        continue;
                    }
                    ready!(Pin::new(stream).poll_shutdown(cx))?;
                    return Poll::Ready(Err(broken("plain HTTP on a TLS port")));
                }
                Carrier::Nothing => return Poll::Ready(Err(broken("the connection has failed"))),
            }
        }
    }

    fn begin(&mut self, first: u8) {
        self.carrier = match std::mem::replace(&mut self.carrier, Carrier::Nothing) {
            Carrier::Looking(stream, acceptor) if first == HANDSHAKE => {
                Carrier::Shaking(Box::new(acceptor.accept(stream)))
            }
            Carrier::Looking(stream, _) => {
                // Whatever has come so far; a request's head is here as a whole
                // or not worth waiting for.
                let mut unread = vec![0; UNREAD];
                let _ = stream.try_read(&mut unread);
                Carrier::Refusing(stream, Bytes::from_static(PLAIN_REFUSED))
            }
            other => other,
        };
    }

    /// Fails once the client has taken nothing for too long.
    fn bounded<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let patience = self.patience;
        let timer = self
            .stalled
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client takes no bytes",
        )))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_open(cx))?;
        match &mut self.carrier {
            Carrier::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Carrier::Secure(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
            _ => Poll::Ready(Err(broken("the connection has failed"))),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_open(cx))?;
        let written = match &mut self.carrier {
            Carrier::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Carrier::Secure(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
            _ => Poll::Ready(Err(broken("the connection has failed"))),
        };
        self.bounded(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_open(cx))?;
        let written = match &mut self.carrier {
            Carrier::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Carrier::Secure(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, bufs),
            _ => Poll::Ready(Err(broken("the connection has failed"))),
        };
        self.bounded(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        // TCP and TLS both gather; asked before the handshake too.
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = match &mut self.carrier {
            // Nothing is kept back outside of TLS.
            Carrier::Secure(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
            _ => return Poll::Ready(Ok(())),
        };
        self.bounded(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = match &mut self.carrier {
            Carrier::Plain(stream) | Carrier::Looking(stream, _) | Carrier::Refusing(stream, _) => {
                Pin::new(stream).poll_shutdown(cx)
            }
            Carrier::Secure(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
            Carrier::Shaking(_) | Carrier::Nothing => Poll::Ready(Ok(())),
        };
        self.bounded(cx, closed)
    }
}
