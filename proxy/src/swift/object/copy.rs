//! COPY, and PUT with `X-Copy-From`: what a GET of the source answers becomes
//! the body of a PUT.
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap, LAST_MODIFIED, RANGE};
use http::{Method, StatusCode};

use super::super::body::{Answer, Outgoing};
use super::super::fault::Fault;
use super::super::headers::{self, OBJECT_HEADERS};
use super::super::query::Query;
use super::super::{Ctx, slo, symlink, target, versions};
use super::read;
use super::write::{Announced, Extra, store};
use crate::core::{BodyError, ObjectName};

const DESTINATION: &str = "Destination header must be of the form <container name>/<object name>";
const COPY_FROM: &str = "X-Copy-From header must be of the form <container name>/<object name>";

/// COPY of `source` to where `Destination` says.
pub async fn copy_to(ctx: &Ctx, source: &ObjectName) -> Result<Answer, Fault> {
    let destination = ctx.headers.get("destination").filter(|value| !value.is_empty());
    let destination = destination.ok_or_else(|| Fault::precondition("Destination header required"))?;
    let account = match ctx.headers.get("destination-account") {
        Some(account) => target::parse_account(account.as_bytes())?.as_str().to_owned(),
        None => source.account().to_owned(),
    };
    let name = target::parse_pair(destination.as_bytes(), &account, DESTINATION)?;
    copy(ctx, source, &name).await
}

/// PUT of `name` from where `X-Copy-From` says.
pub async fn copy_from(ctx: &Ctx, name: &ObjectName, announced: Announced) -> Result<Answer, Fault> {
    if matches!(announced, Announced::Length(1..)) {
        return Err(Fault::bad("Copy requests require a zero byte body"));
    }
    let account = match ctx
        .headers
        .get("x-copy-from-account")
        .filter(|value| !value.is_empty())
    {
        Some(account) => target::parse_account(account.as_bytes())?.as_str().to_owned(),
        None => name.account().to_owned(),
    };
    let from = ctx
        .headers
        .get("x-copy-from")
        .map(|value| value.as_bytes())
        .unwrap_or_default();
    let source = target::parse_pair(from, &account, COPY_FROM)?;
    copy(ctx, &source, name).await
}

async fn copy(ctx: &Ctx, source: &ObjectName, name: &ObjectName) -> Result<Answer, Fault> {
    let manifest = ctx.query.is("multipart-manifest", "get");
    let mut asked = ctx.headers.clone();
    asked.insert("x-newest", headers::to_value("true"));
    if super::super::conditional::holds_star(&asked, "if-none-match") {
        // Meant for the destination; the source is to exist, after all.
        asked.remove("if-none-match");
    }
    let query = if manifest {
        ctx.query.clone().with("format", "raw")
    } else {
        ctx.query.clone()
    };
    let found = read::answer(&ctx.derived(Method::GET, asked, query), source).await?;
    if found.status().as_u16() >= 300 {
        return Ok(found);
    }
    let length = length_of(&found).filter(|length| *length <= ctx.config().limits.max_file_size);
    let length = length.ok_or_else(|| Fault::page(StatusCode::PAYLOAD_TOO_LARGE))?;
    let sink = sink_headers(ctx, &found, manifest);
    let mut shown = shown_headers(source, &found, &sink);
    let is_slo = found.headers().contains_key("x-static-large-object");
    let is_dlo = found.headers().contains_key("x-object-manifest");
    let partial = found.status() != StatusCode::OK;
    let sink = ctx.derived(Method::PUT, sink, Query::default());
    let (parts, body) = found.into_parts();
    let mut answer = if sink.headers.contains_key(symlink::TARGET) {
        symlink::put(&sink, name, Announced::Length(length), None).await?
    } else if manifest && is_slo {
        slo::put_copied(&sink, name, body_stream(body)).await?
    } else {
        let mut sink = sink;
        if let Some(etag) = parts.headers.get(ETAG)
            && !partial
            && !is_slo
            && (!is_dlo || manifest)
        {
            // In place of one that the request may have: that is not the source's.
            sink.headers.insert(ETAG, etag.clone());
        }
        store(
            &sink,
            name,
            body_stream(body),
            Announced::Length(length),
            Extra::default(),
        )
        .await?
    };
    answer.headers_mut().extend(shown.drain());
    Ok(answer)
}

fn length_of(answer: &Answer) -> Option<u64> {
    let said = answer
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    said.or_else(|| http_body::Body::size_hint(answer.body()).exact())
}

/// The headers of the PUT: those of the source, overridden by the request's.
fn sink_headers(ctx: &Ctx, found: &Answer, manifest: bool) -> HeaderMap {
    let mut sink = HeaderMap::new();
    let kept = |name: &str| {
        name.starts_with("x-object-meta-")
            || name == "x-delete-at"
            || (OBJECT_HEADERS.contains(&name) && name != "x-object-manifest")
    };
    if !headers::truthy(&ctx.headers, "x-fresh-metadata") {
        sink.extend(
            found
                .headers()
                .iter()
                .filter(|(name, _)| kept(name.as_str()))
                .map(|(name, value)| (name.clone(), value.clone())),
        );
    }
    // A link is copied as one; where it leads is no metadata that could be left out.
    let link = found.headers().iter().filter(|(name, _)| symlink::copied(name));
    sink.extend(link.map(|(name, value)| (name.clone(), value.clone())));
    for (name, value) in &ctx.headers {
        sink.insert(name.clone(), value.clone());
    }
    if sink.contains_key("x-delete-after") {
        sink.remove("x-delete-at");
    }
    let named = ctx
        .headers
        .get(CONTENT_TYPE)
        .is_some_and(|value| !value.is_empty());
    if let Some(kind) = found.headers().get(CONTENT_TYPE).filter(|_| !named) {
        sink.insert(CONTENT_TYPE, kind.clone());
    }
    if manifest && let Some(prefix) = found.headers().get("x-object-manifest") {
        sink.insert("x-object-manifest", prefix.clone());
    }
    sink.remove(RANGE);
    sink
}

/// What the answer says of the source.
fn shown_headers(source: &ObjectName, found: &Answer, sink: &HeaderMap) -> HeaderMap {
    let mut shown = HeaderMap::new();
    let from = format!("{}/{}", source.container(), source.object());
    headers::put(&mut shown, "x-copied-from", &target::quote(&from));
    headers::put(
        &mut shown,
        "x-copied-from-account",
        &target::quote(source.account()),
    );
    if let Some(modified) = found.headers().get(LAST_MODIFIED) {
        shown.insert("x-copied-from-last-modified", modified.clone());
    }
    if let Some(id) = found.headers().get(versions::ID_HEADER) {
        shown.insert("x-copied-from-version-id", id.clone());
    }
    for (name, value) in sink {
        if name.as_str().starts_with("x-object-meta-") || name == "x-delete-at" {
            shown.insert(name.clone(), value.clone());
        }
    }
    shown
}

fn body_stream(body: Outgoing) -> impl Stream<Item = Result<Bytes, BodyError>> + Send + Unpin {
    match body {
        Outgoing::Whole(bytes) => stream::iter(bytes.map(Ok)).left_stream(),
        Outgoing::Stream(pieces, _) => pieces
            .map(|piece| piece.map_err(|error| BodyError::Source(error.to_string())))
            .right_stream(),
    }
}
