//! The bytes of a connection: our own words where hyper would refuse a request
//! in its own.
//!
//! hyper answers a head that it cannot parse by itself, without a transaction
//! id. [`Wire`] sees such an answer by the moment it comes: nothing that we
//! answer is on its way then ([`Traffic`]). And where the door asks for it, the
//! names in the head of an answer leave in title case ([`super::title_case`]). At its
//! end a connection lingers, if its client may still send ([`super::linger`]).
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use virga_http::stream::Stream;

use super::linger::{Linger, Lingering};
use super::title_case::TitleCase;
use crate::swift::body::{Broken, Outgoing};

/// Bytes of a head kept to say what is wrong with it.
const KEPT: usize = 4096;

/// What is on its way on a connection.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Requests whose answers have not been handed over in full.
    open: AtomicUsize,
    /// Whether an answer may still be in hyper's buffers.
    busy: AtomicBool,
    /// Whether the next bytes begin a head that is to be in title case.
    titled: AtomicBool,
    /// Whether the last request had a body, which may not have been read to its end.
    embodied: AtomicBool,
}

impl Traffic {
    /// Notes a request that is going to be answered, and whether it has a body.
    pub fn begin(self: &Arc<Self>, embodied: bool) -> Answering {
        self.open.fetch_add(1, Ordering::AcqRel);
        self.embodied.store(embodied, Ordering::Release);
        let alone = !self.busy.swap(true, Ordering::AcqRel);
        Answering {
            traffic: Arc::clone(self),
            alone,
        }
    }

    fn is_quiet(&self) -> bool {
        !self.busy.load(Ordering::Acquire)
    }

    /// Everything handed over has been written.
    fn flushed(&self) {
        if self.open.load(Ordering::Acquire) == 0 {
            self.busy.store(false, Ordering::Release);
        }
    }
}

/// A request being answered; dropped when the last byte has been handed over.
#[derive(Debug)]
pub struct Answering {
    traffic: Arc<Traffic>,
    /// Whether all answers before it had been written when it came.
    alone: bool,
}

impl Answering {
    /// Has the head of the answer, which is handed over next, written in title
    /// case. Not behind an answer that a client did not wait for: where that one
    /// ends cannot be seen.
    pub fn in_title_case(&self) {
        self.traffic.titled.store(self.alone, Ordering::Release);
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.traffic.open.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A body that is known to be on its way.
pub struct Sending {
    body: Outgoing,
    _answering: Answering,
}

impl Sending {
    /// Ties a body to the request it answers.
    pub fn new(body: Outgoing, answering: Answering) -> Self {
        Self {
            body,
            _answering: answering,
        }
    }
}

impl Body for Sending {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Words for a head that could not be parsed: hyper's status, and the first
/// bytes of the head.
pub type Refuse = Arc<dyn Fn(StatusCode, &[u8]) -> Bytes + Send + Sync>;

/// A connection.
pub struct Wire {
    stream: Stream,
    traffic: Arc<Traffic>,
    refuse: Refuse,
    /// Start of the head that is being read.
    head: Vec<u8>,
    reading_head: bool,
    /// What is written in place of hyper's own words.
    instead: Option<Bytes>,
    /// The head that is being written in title case, if one is.
    case: TitleCase,
    /// Whether the client has closed.
    ended: bool,
    lingering: Lingering,
    linger: Option<Linger>,
}

impl Wire {
    /// Takes a connection.
    pub fn new(stream: Stream, traffic: Arc<Traffic>, refuse: Refuse, lingering: Lingering) -> Self {
        Self {
            stream,
            traffic,
            refuse,
            ended: false,
            lingering,
            linger: None,
            head: Vec::new(),
            reading_head: false,
            instead: None,
            case: TitleCase::default(),
        }
    }

    /// Writes a part of a head in title case, and what follows it in `rest`, in
    /// one write as hyper would: clients wait long for heads and bodies that come apart.
    fn write_titled(
        &mut self,
        cx: &mut Context<'_>,
        first: &[u8],
        rest: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let (mut piece, mut after) = (first.to_vec(), self.case);
        after.apply(&mut piece);
        let mut all = Vec::with_capacity(1 + rest.len());
        all.push(IoSlice::new(&piece));
        all.extend(rest.iter().map(|buf| IoSlice::new(buf)));
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, &all))?;
        self.case = match piece.get(..written) {
            Some(part) if written < piece.len() => self.case.after(part),
            _ => after,
        };
        Poll::Ready(Ok(written))
    }

    /// Whether a head in title case is being written, or begins with what is
    /// written next.
    fn is_titled(&mut self) -> bool {
        if self.traffic.titled.swap(false, Ordering::AcqRel) {
            self.case = TitleCase::head();
        }
        self.case.is_inside()
    }

    fn keep_head(&mut self, read: &[u8]) {
        if !self.traffic.is_quiet() {
            self.reading_head = false;
            return;
        }
        if !self.reading_head {
            self.head.clear();
            self.reading_head = true;
        }
        let room = KEPT.saturating_sub(self.head.len()).min(read.len());
        self.head.extend_from_slice(&read[..room]);
    }

    /// The status of hyper's own answer, if that is what is being written.
    fn own_words(&self, written: &[u8]) -> Option<StatusCode> {
        if !self.traffic.is_quiet() {
            return None;
        }
        let line = written
            .strip_prefix(b"HTTP/1.1 ")
            .or_else(|| written.strip_prefix(b"HTTP/1.0 "))?;
        StatusCode::from_bytes(line.get(..3)?).ok()
    }

    /// Writes our words; says that all `length` bytes of hyper's are written.
    fn write_instead(&mut self, cx: &mut Context<'_>, length: usize) -> Poll<io::Result<usize>> {
        while let Some(words) = self.instead.as_mut().filter(|words| words.has_remaining()) {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, words))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => words.advance(count),
            }
        }
        Poll::Ready(Ok(length))
    }

    /// Whether the client may still be sending what nobody reads any more: a body,
    /// or what follows a head that was refused.
    fn may_be_sent_to(&self) -> bool {
        !self.ended && (self.instead.is_some() || self.traffic.embodied.load(Ordering::Acquire))
    }

    /// Whether our words are to be written in place of `first` and what follows.
    fn replaces(&mut self, first: &[u8]) -> bool {
        if self.instead.is_none()
            && let Some(status) = self.own_words(first)
        {
            self.instead = Some((self.refuse)(status, &self.head));
        }
        self.instead.is_some()
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let room = buf.remaining() > 0;
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.ended |= room && buf.filled().len() == before;
        self.keep_head(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.replaces(buf) {
            return self.write_instead(cx, buf.len());
        }
        if self.is_titled() {
            return self.write_titled(cx, buf, &[]);
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let empty = bufs.iter().take_while(|buf| buf.is_empty()).count();
        let (first, rest) = bufs[empty..]
            .split_first()
            .map_or((&[][..], &[][..]), |(a, b)| (&**a, b));
        if self.replaces(first) {
            return self.write_instead(cx, bufs.iter().map(|buf| buf.len()).sum());
        }
        if self.is_titled() {
            return self.write_titled(cx, first, rest);
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.traffic.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wire = &mut *self;
        if wire.linger.is_none() {
            ready!(Pin::new(&mut wire.stream).poll_shutdown(cx))?;
            wire.linger = wire.may_be_sent_to().then(|| wire.lingering.begin()).flatten();
        }
        let Some(linger) = &mut wire.linger else {
            return Poll::Ready(Ok(()));
        };
        ready!(linger.poll(&mut wire.stream, cx));
        Poll::Ready(Ok(()))
    }
}
