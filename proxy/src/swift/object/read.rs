//! GET and HEAD of objects: plain ones, large ones, parts of them.
use std::ops::Range as Span;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use http::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, LAST_MODIFIED,
    RANGE,
};
use http::{Method, StatusCode};
use virga_object_wire::object::ObjectStat;

use super::super::body::{Answer, Broken, Outgoing, empty, full, streamed};
use super::super::conditional::{self, format_date};
use super::super::fault::{self, Fault};
use super::super::range::{Ranges, Selected, content_range};
use super::super::slo::Large;
use super::super::symlink::{self, Walk};
use super::super::{Ctx, dlo, headers, slo, timestamp, versions};
use super::{expired, proof};
use crate::core::manifest::{MayRead, Plan, is_slo};
use crate::core::{Core, GetOptions, GotObject, ObjectBody, ObjectName, ReadObjectError, Wanted};

/// An object as a client sees it: head only.
#[derive(Clone)]
pub struct View {
    /// ETag without quotes.
    pub etag: String,
    /// Whether the ETag is shown in quotes: it is not the MD5 of the bytes.
    pub quoted: bool,
    /// Bytes.
    pub size: u64,
    /// Seconds since the epoch.
    pub modified: u64,
    /// Headers, without those that depend on the part that is sent.
    pub headers: HeaderMap,
}

/// Where the bytes of an answer come from.
pub enum Bytestream {
    /// One stored object; its body may be open already.
    Plain(Box<PlainSource>),
    /// Segments.
    Plan(Plan, MayRead),
    /// Here.
    Here(Bytes),
}

/// A stored object.
pub struct PlainSource {
    name: ObjectName,
    stat: ObjectStat,
    open: Option<GotObject>,
}

/// The stored object as it would be shown if it were no manifest.
pub fn view_of(stat: &ObjectStat) -> View {
    let mut into = HeaderMap::new();
    headers::put(&mut into, "content-type", &stat.meta.content_type);
    let shown = |(name, _): &&(String, String)| !name.starts_with(headers::TRANSIENT);
    for (name, value) in stat.meta.headers.iter().filter(shown) {
        headers::put(&mut into, name, value);
    }
    if let Some(at) = stat.meta.delete_at {
        into.insert("x-delete-at", HeaderValue::from(at));
    }
    symlink::show(stat, &mut into);
    if is_slo(stat) {
        into.insert("x-static-large-object", HeaderValue::from_static("True"));
    }
    into.insert("x-timestamp", timestamp::header(stat.meta_version));
    into.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    View {
        etag: stat.meta.etag.clone(),
        quoted: false,
        size: stat.size,
        modified: timestamp::last_modified(stat.meta_version),
        headers: into,
    }
}

/// Answers GET and HEAD, of what a link leads to unless the link is meant.
pub async fn answer(ctx: &Ctx, name: &ObjectName) -> Result<Answer, Fault> {
    let mut walk = Walk::from(name);
    if let Some(asked) = versions::handle::asked(ctx)? {
        versions::handle::begin(ctx, &mut walk, asked).await?;
    }
    let found = at_end(ctx, &mut walk).await;
    walk.finish(name, found)
}

async fn at_end(ctx: &Ctx, walk: &mut Walk) -> Result<Answer, Fault> {
    let itself = ctx.query.is("symlink", "get");
    let ranges = headers::text(&ctx.headers, "range")
        .filter(|_| ctx.method == Method::GET)
        .and_then(Ranges::parse);
    loop {
        walk.authorize(ctx, &ctx.method).await?;
        let (stat, open) = open(ctx, walk.name(), ranges.as_ref()).await?;
        if walk.enter(&stat)? {
            continue;
        }
        if itself || !walk.step(&stat, ctx.config().symloop_max)? {
            return show(ctx, walk.name(), stat, open, ranges).await;
        }
    }
}

/// Answers with an object that was found.
async fn show(
    ctx: &Ctx,
    name: &ObjectName,
    stat: ObjectStat,
    open: Option<GotObject>,
    mut ranges: Option<Ranges>,
) -> Result<Answer, Fault> {
    let reads = ctx.method == Method::GET;
    let whole = ctx.query.is("multipart-manifest", "get");
    if proof::is_wanted(ctx) {
        return match is_slo(&stat) || (dlo::manifest_of(&stat).is_some() && !whole) {
            true => Err(proof::of_manifest()),
            false => proof::answer(ctx, name, &stat).await,
        };
    }
    let (view, source) = match (is_slo(&stat), dlo::manifest_of(&stat)) {
        (true, _) if whole => slo::manifest(ctx, name, &stat, open).await?,
        (true, _) => {
            let part = slo::part_number(&ctx.query, ctx.headers.contains_key(RANGE))?;
            let mut large = slo::view(ctx, name, &stat, open, reads || part.is_some()).await?;
            let etag = headers::to_value(&stat.meta.etag);
            large.view.headers.insert("x-manifest-etag", etag);
            if let Some(part) = part {
                return slo::answer_part(ctx, large, name, part).await;
            }
            let linked = large.linked && reads;
            let source = Large::source(large.plan, linked, ctx, name).await?;
            (large.view, source)
        }
        (false, Some(prefix)) if !whole => {
            let (view, plan, may_read) = dlo::view(ctx, name, &stat, &prefix).await?;
            // Swift gives all of it for several ranges, and clients count on that.
            ranges = ranges.filter(|ranges| !ranges.several());
            (view, Bytestream::Plan(plan, may_read))
        }
        _ => {
            let source = PlainSource {
                name: name.clone(),
                stat: stat.clone(),
                open,
            };
            (proof::with_root(&stat), Bytestream::Plain(Box::new(source)))
        }
    };
    if whole && is_slo(&stat) && matches!(source, Bytestream::Here(_)) && ctx.query.is("format", "raw") {
        ranges = None;
    }
    respond(ctx, view, source, ranges).await
}

/// The head, and for a GET of one part its body too, in one go.
async fn open(
    ctx: &Ctx,
    name: &ObjectName,
    ranges: Option<&Ranges>,
) -> Result<(ObjectStat, Option<GotObject>), Fault> {
    let newest = headers::truthy(&ctx.headers, "x-newest");
    let found = if ctx.method == Method::HEAD || proof::is_wanted(ctx) || ranges.is_some_and(Ranges::several)
    {
        ctx.core()
            .head_object(name, newest)
            .await
            .map(|stat| (stat, None))
    } else {
        let wanted = ranges.map_or(Wanted::All, Ranges::first);
        let got = ctx.core().get_object(name, GetOptions { wanted, newest }).await;
        got.map(|got| (got.stat.clone(), Some(got)))
    };
    match found {
        Ok((stat, open)) if !expired(ctx, &stat) => Ok((stat, open)),
        Err(error @ (ReadObjectError::Unavailable(_) | ReadObjectError::Sealed { .. })) => Err(error.into()),
        Ok(_) | Err(ReadObjectError::NotFound { .. }) => match headers::text(&ctx.headers, "if-match") {
            Some(list) if list.split(',').any(|tag| tag.trim() == "*") => {
                Err(Fault::page(StatusCode::PRECONDITION_FAILED))
            }
            _ => Err(Fault::not_found()),
        },
    }
}

/// From a view and its bytes to an answer: conditions, then ranges.
pub async fn respond(
    ctx: &Ctx,
    view: View,
    source: Bytestream,
    ranges: Option<Ranges>,
) -> Result<Answer, Fault> {
    let judged = conditional::judge(&ctx.headers, &view.etag, view.modified);
    let size = view.size;
    let mut answer = Answer::new(empty());
    *answer.headers_mut() = shown(view);
    if let Some(status) = judged {
        *answer.status_mut() = status;
        return Ok(answer);
    }
    if ctx.method == Method::HEAD {
        answer
            .headers_mut()
            .insert(CONTENT_LENGTH, HeaderValue::from(size));
        return Ok(answer);
    }
    let parts = match ranges.map(|ranges| ranges.select(size)) {
        Some(Selected::None) => return Ok(unsatisfiable(answer, size)),
        Some(Selected::Parts(parts)) if size > 0 => parts,
        Some(Selected::Parts(_)) | None => {
            *answer.body_mut() = one(ctx.core(), source, 0..size).await?;
            return Ok(answer);
        }
    };
    *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
    if let [(start, end)] = parts[..] {
        let value = headers::to_value(&content_range(start, end, size));
        answer.headers_mut().insert(CONTENT_RANGE, value);
        *answer.body_mut() = one(ctx.core(), source, start..end).await?;
        return Ok(answer);
    }
    several(ctx.core(), answer, source, parts, size).await
}

/// The headers of a view, with its ETag and date.
pub fn shown(view: View) -> HeaderMap {
    let mut into = view.headers;
    let etag = if view.quoted {
        format!("\"{}\"", view.etag)
    } else {
        view.etag
    };
    into.insert(ETAG, headers::to_value(&etag));
    into.insert(LAST_MODIFIED, headers::to_value(&format_date(view.modified)));
    into
}

/// 416 for a body of `size` bytes.
fn unsatisfiable(mut answer: Answer, size: u64) -> Answer {
    *answer.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
    let into = answer.headers_mut();
    into.insert(CONTENT_RANGE, headers::to_value(&format!("bytes */{size}")));
    into.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=UTF-8"));
    *answer.body_mut() = full(fault::page(StatusCode::RANGE_NOT_SATISFIABLE));
    answer
}

/// One part as a body.
async fn one(core: &Core, source: Bytestream, span: Span<u64>) -> Result<Outgoing, Fault> {
    let length = span.end.saturating_sub(span.start);
    let mut body = match source {
        _ if length == 0 => return Ok(empty()),
        Bytestream::Here(bytes) => return Ok(full(cut(&bytes, &span))),
        Bytestream::Plain(source) => open_plain(core, &mut { *source }, span),
        Bytestream::Plan(plan, may_read) => core.open_segments(plan, span, may_read).await?,
    };
    Ok(match body.take_whole() {
        Some(bytes) => full(bytes),
        None => streamed(Box::pin(body.map_err(broken)), Some(length)),
    })
}

fn cut(bytes: &Bytes, span: &Span<u64>) -> Bytes {
    let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
    bytes.slice(at(span.start)..at(span.end))
}

fn open_plain(core: &Core, source: &mut PlainSource, span: Span<u64>) -> ObjectBody {
    match source.open.take() {
        Some(got) if got.range == span => got.body,
        _ => core.read_range(&source.name, &source.stat, span),
    }
}

fn broken(error: crate::core::BodyReadError) -> Broken {
    tracing::warn!(%error, "a body broke off");
    Box::new(error)
}

/// Several parts as `multipart/byteranges`.
async fn several(
    core: &Core,
    mut answer: Answer,
    source: Bytestream,
    parts: Vec<(u64, u64)>,
    size: u64,
) -> Result<Answer, Fault> {
    let boundary = uuid::Uuid::new_v4().simple().to_string();
    let kind = answer
        .headers()
        .get(CONTENT_TYPE)
        .map(|kind| kind.as_bytes().to_vec())
        .unwrap_or_default();
    let heads: Vec<Bytes> = parts
        .iter()
        .map(|part| part_head(&boundary, &kind, *part, size))
        .collect();
    let tail = Bytes::from(format!("--{boundary}--"));
    let bodies: u64 = parts.iter().map(|(start, end)| end - start).sum();
    let frame: usize = heads.iter().map(|head| head.len() + 2).sum::<usize>() + tail.len();
    let mut opener = Opener::new(core.clone(), source);
    // The first part is opened now, so that its failure can still be told by a status.
    let first = opener.open(parts[0].0..parts[0].1).await?;
    let rest = parts[1..].to_vec();
    let later = stream::unfold((opener, rest.into_iter()), |(mut opener, mut rest)| async move {
        let (start, end) = rest.next()?;
        let opened = opener
            .open(start..end)
            .await
            .map_err(|fault| Broken::from(fault.text()));
        Some((opened, (opener, rest)))
    });
    let pieces = stream::iter(heads)
        .zip(stream::iter([Ok(first)]).chain(later))
        .map(|(head, body)| {
            body.map(|body| {
                stream::iter([Ok(head)])
                    .chain(body)
                    .chain(stream::iter([Ok(Bytes::from_static(b"\r\n"))]))
            })
        })
        .try_flatten()
        .chain(stream::iter([Ok(tail)]));
    let value = headers::to_value(&format!("multipart/byteranges;boundary={boundary}"));
    answer.headers_mut().insert(CONTENT_TYPE, value);
    *answer.body_mut() = streamed(Box::pin(pieces), Some(bodies + frame as u64));
    Ok(answer)
}

fn part_head(boundary: &str, kind: &[u8], (start, end): (u64, u64), size: u64) -> Bytes {
    let mut head = format!("--{boundary}\r\nContent-Type: ").into_bytes();
    head.extend_from_slice(kind);
    head.extend_from_slice(
        format!("\r\nContent-Range: {}\r\n\r\n", content_range(start, end, size)).as_bytes(),
    );
    head.into()
}

/// Opens one part after another.
struct Opener {
    core: Core,
    source: Bytestream,
}

impl Opener {
    fn new(core: Core, source: Bytestream) -> Self {
        Self { core, source }
    }

    async fn open(&mut self, span: Span<u64>) -> Result<super::super::body::Pieces, Fault> {
        let body = match &mut self.source {
            Bytestream::Here(bytes) => return Ok(Box::pin(stream::iter([Ok(cut(bytes, &span))]))),
            Bytestream::Plain(source) => open_plain(&self.core, source, span),
            Bytestream::Plan(plan, may_read) => {
                self.core
                    .open_segments(plan.clone(), span, may_read.clone())
                    .await?
            }
        };
        Ok(Box::pin(body.map_err(broken)))
    }
}
