//! Reads the segments of a large object one after the other, the next one
//! opened while the one before is being delivered.
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, Stream};

use super::super::body::ObjectBody;
use super::super::error::{BodyReadError, ReadObjectError, SegmentError};
use super::super::names::ObjectName;
use super::super::{ContainerForReading, Core, GetOptions, Wanted};
use super::plan::{Plan, Segment, Source};
use super::{MAX_DEPTH, MayRead, is_slo};

/// Opens segments in order, manifests within manifests on a stack.
struct Opener {
    core: Core,
    may_read: MayRead,
    levels: Vec<std::vec::IntoIter<Segment>>,
}

impl Opener {
    /// The next segment's bytes; `None` after the last.
    async fn next(&mut self) -> Result<Option<ObjectBody>, SegmentError> {
        while let Some(level) = self.levels.last_mut() {
            let Some(segment) = level.next() else {
                self.levels.pop();
                continue;
            };
            match &segment.source {
                Source::Inline(data) => {
                    let cut = |offset| usize::try_from(offset).unwrap_or(usize::MAX);
                    let range = cut(segment.range.start)..cut(segment.range.end);
                    return Ok(Some(ObjectBody::ready(data.slice(range))));
                }
                Source::Object(name) => {
                    if let Some(body) = self.open(name, &segment).await? {
                        return Ok(Some(body));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Opens a segment; `None` if it is a manifest, now on top of the stack.
    async fn open(
        &mut self,
        name: &ObjectName,
        segment: &Segment,
    ) -> Result<Option<ObjectBody>, SegmentError> {
        let path = || name.path().to_owned();
        match self.core.container_for_reading(&name.container_name()).await? {
            ContainerForReading::Known(info) => {
                let info = info.ok_or_else(|| SegmentError::Missing(path()))?;
                if !(self.may_read)(&info) {
                    return Err(SegmentError::Forbidden(path()));
                }
            }
            ContainerForReading::Unsure { info, why } if !(self.may_read)(&info) => return Err(why.into()),
            ContainerForReading::Unsure { .. } => {}
        }
        let span = Wanted::Span(segment.range.start, segment.range.end);
        let wanted = if segment.nested { Wanted::All } else { span };
        let got = self.get(name, wanted).await?;
        let is = |etag: &str| segment.etag.as_deref().is_none_or(|wanted| wanted == etag);
        let manifest = is_slo(&got.stat) && (segment.nested || !is(&got.stat.meta.etag));
        if !manifest {
            let same = is(&got.stat.meta.etag) && got.stat.size == segment.size && !segment.nested;
            return if same {
                Ok(Some(got.body))
            } else {
                Err(SegmentError::Changed(path()))
            };
        }
        if self.levels.len() > MAX_DEPTH {
            return Err(SegmentError::TooDeep(MAX_DEPTH));
        }
        let listed = got
            .stat
            .meta
            .listed
            .as_ref()
            .is_some_and(|listed| is(&listed.etag));
        let got = if segment.nested {
            got
        } else {
            self.get(name, Wanted::All).await?
        };
        let plan = self.core.read_nested(name.clone(), got).await?;
        if plan.size() != segment.size || !(listed || is(&plan.etag())) {
            return Err(SegmentError::Changed(path()));
        }
        self.levels.push(plan.cut(&segment.range).into_iter());
        Ok(None)
    }

    async fn get(&self, name: &ObjectName, wanted: Wanted) -> Result<super::GotObject, SegmentError> {
        let options = GetOptions {
            wanted,
            newest: false,
        };
        self.core
            .get_object(name, options)
            .await
            .map_err(|error| match error {
                ReadObjectError::NotFound { .. } => SegmentError::Missing(name.path().to_owned()),
                ReadObjectError::Sealed { .. } => SegmentError::Forbidden(name.path().to_owned()),
                ReadObjectError::Unavailable(error) => error.into(),
            })
    }
}

type Opening = BoxFuture<'static, (Opener, Result<Option<ObjectBody>, SegmentError>)>;

fn open_next(mut opener: Opener) -> Opening {
    async move {
        let opened = opener.next().await;
        (opener, opened)
    }
    .boxed()
}

/// The bytes of a large object.
struct Assembly {
    current: Option<ObjectBody>,
    /// The next segment on its way.
    opening: Option<Opening>,
    /// The next segment, opened, and who opens the one after it.
    opened: Option<(Opener, Result<Option<ObjectBody>, SegmentError>)>,
}

impl Stream for Assembly {
    type Item = Result<Bytes, BodyReadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(opening) = &mut self.opening
                && let Poll::Ready(opened) = opening.as_mut().poll(cx)
            {
                (self.opening, self.opened) = (None, Some(opened));
            }
            if let Some(current) = &mut self.current {
                match Pin::new(current).poll_next(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Some(Ok(piece))) => return Poll::Ready(Some(Ok(piece))),
                    Poll::Ready(Some(Err(error))) => {
                        (self.current, self.opening, self.opened) = (None, None, None);
                        return Poll::Ready(Some(Err(error)));
                    }
                    Poll::Ready(None) => self.current = None,
                }
            }
            match self.opened.take() {
                Some((opener, Ok(Some(next)))) => {
                    self.current = Some(next);
                    self.opening = Some(open_next(opener));
                }
                Some((_, Ok(None))) => return Poll::Ready(None),
                Some((_, Err(error))) => return Poll::Ready(Some(Err(error.into()))),
                None if self.opening.is_some() => return Poll::Pending,
                None => return Poll::Ready(None),
            }
        }
    }
}

impl Core {
    /// Bytes `range` of a large object. The first segment is opened before
    /// this returns, so that its failure can still be told by a status code;
    /// later ones come as [`BodyReadError::Segment`]. `may_read` is asked
    /// about the container of every segment.
    ///
    /// # Errors
    /// See [`SegmentError`].
    pub async fn open_segments(
        &self,
        plan: Plan,
        range: Range<u64>,
        may_read: MayRead,
    ) -> Result<ObjectBody, SegmentError> {
        let levels = vec![plan.cut(&range).into_iter()];
        let mut opener = Opener {
            core: self.clone(),
            may_read,
            levels,
        };
        let Some(first) = opener.next().await? else {
            return Ok(ObjectBody::ready(Bytes::new()));
        };
        let opening = Some(open_next(opener));
        Ok(ObjectBody::of(Assembly {
            current: Some(first),
            opening,
            opened: None,
        }))
    }
}
