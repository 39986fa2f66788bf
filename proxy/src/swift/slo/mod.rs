//! Static large objects: a manifest names segments, and reading it gives
//! their bytes one after another.
mod delete;
mod links;
pub(super) mod manifest;

use std::collections::HashMap;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderValue, LAST_MODIFIED};
use http::{Method, StatusCode};
use md5::{Digest as _, Md5};
use virga_node::clock::{Micros, Version};
use virga_object_wire::object::{Listed, ObjectStat};

pub use self::delete::delete;
use self::manifest::{Assembly, Entry, SegmentHead};
use super::accept::{Format, report_format};
use super::body::{Answer, full};
use super::fault::{self, Fault};
use super::object::{
    Announced, Bytestream, Extra, View, announced_length, authorized_container, respond, shown, store,
    view_of,
};
use super::query::Query;
use super::range::{Ranges, content_range};
use super::report::{Field, Report, heartbeat};
use super::symlink::{self, Walk};
use super::upload::Upload;
use super::{Ctx, conditional, dlo, headers, sysmeta, timestamp};
use crate::core::manifest::{Plan, SLO_FLAG, is_slo};
use crate::core::{BodyError, GetOptions, GotObject, ObjectName};

/// Sysmeta items that spare a HEAD the reading of the manifest.
const SLO_ETAG: &str = "x-object-sysmeta-slo-etag";
const SLO_SIZE: &str = "x-object-sysmeta-slo-size";
/// Sysmeta item of a manifest that names symbolic links.
const SLO_LINKS: &str = "x-object-sysmeta-slo-links";

/// Size and ETag of a large object, if its head says so.
pub fn known(stat: &ObjectStat) -> Option<(u64, String)> {
    let size = sysmeta(stat, SLO_SIZE).and_then(|size| size.parse::<u64>().ok());
    size.zip(sysmeta(stat, SLO_ETAG).map(str::to_owned))
}

/// PUT with `?multipart-manifest=put`.
pub async fn put(ctx: &Ctx, name: &ObjectName, mut upload: Upload) -> Result<Answer, Fault> {
    if ctx
        .headers
        .get("x-copy-from")
        .is_some_and(|from| !from.is_empty())
    {
        let says = "Multipart Manifest PUTs cannot be COPY requests";
        return Err(Fault::html(StatusCode::METHOD_NOT_ALLOWED, says));
    }
    authorized_container(ctx, &Method::PUT, name).await?;
    if ctx.headers.contains_key(symlink::TARGET) {
        return Err(Fault::bad("Symlink requests require a zero byte body"));
    }
    let most = ctx.config().slo.max_manifest_size;
    let too_large = || {
        Fault::html(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("Manifest File > {most} bytes"),
        )
    };
    match announced_length(&ctx.headers) {
        Announced::Length(length) if length > most as u64 => return Err(too_large()),
        Announced::Length(_) | Announced::Chunked => {}
        Announced::Nothing => return Err(Fault::page(StatusCode::LENGTH_REQUIRED)),
        Announced::Unknown => return Err(Fault::page(StatusCode::NOT_IMPLEMENTED)),
    }
    let body = upload
        .read_all(most)
        .await
        .map_err(|fault| match fault.status() {
            StatusCode::PAYLOAD_TOO_LARGE => too_large(),
            _ => fault,
        })?;
    put_manifest(ctx, name, &body).await
}

/// A manifest that is the copy of another one.
pub async fn put_copied<S>(ctx: &Ctx, name: &ObjectName, body: S) -> Result<Answer, Fault>
where
    S: Stream<Item = Result<Bytes, BodyError>> + Send,
{
    authorized_container(ctx, &Method::PUT, name).await?;
    let body = body
        .map_err(Fault::from)
        .try_fold(Vec::new(), |mut all, piece| async move {
            all.extend_from_slice(&piece);
            Ok(all)
        });
    put_manifest(ctx, name, &body.await?).await
}

async fn put_manifest(ctx: &Ctx, name: &ObjectName, body: &[u8]) -> Result<Answer, Fault> {
    let entries = manifest::parse(body, name)?;
    let objects = entries
        .iter()
        .filter(|entry| matches!(entry, Entry::Object(_)))
        .count();
    let most = ctx.config().slo.max_manifest_segments;
    if objects > most {
        let says = format!("Number of object-backed segments must be <= {most}");
        return Err(Fault::html(StatusCode::PAYLOAD_TOO_LARGE, says));
    }
    let format = report_format(&ctx.headers, Some(Format::Text)).unwrap_or(Format::Text);
    let (own, own_name) = (
        ctx.derived(Method::PUT, ctx.headers.clone(), Query::default()),
        name.clone(),
    );
    if !ctx.query.truthy("heartbeat") {
        return assemble(&own, &own_name, entries)
            .await
            .unwrap_or_else(|problems| {
                let report = Report {
                    errors: problems,
                    ..Report::default()
                };
                let mut answer = Answer::new(full(report.write(format, "upload")));
                *answer.status_mut() = StatusCode::BAD_REQUEST;
                answer
                    .headers_mut()
                    .insert(CONTENT_TYPE, HeaderValue::from_static(format.mime()));
                Ok(answer)
            });
    }
    let work = async move {
        let outcome = assemble(&own, &own_name, entries).await;
        heartbeat_report(outcome).write(format, "upload")
    };
    let mut answer = Answer::new(heartbeat(work, format, true).await);
    *answer.status_mut() = StatusCode::ACCEPTED;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(format.mime()));
    Ok(answer)
}

/// What went wrong with which segment.
type Problems = Vec<(String, String)>;

/// The end of a manifest PUT that was answered before it was done.
fn heartbeat_report(outcome: Result<Result<Answer, Fault>, Problems>) -> Report {
    let mut report = Report::default();
    let (status, body) = match outcome {
        Ok(Ok(answer)) => {
            for (header, title) in [(ETAG, "Etag"), (LAST_MODIFIED, "Last Modified")] {
                let value = answer
                    .headers()
                    .get(header)
                    .and_then(|value| value.to_str().ok())
                    .unwrap_or_default();
                report.set(title, Field::Text(value.to_owned()));
            }
            (answer.status(), String::new())
        }
        Ok(Err(fault)) => (fault.status(), plain_text(fault.status())),
        Err(problems) => {
            report.errors = problems;
            (StatusCode::BAD_REQUEST, plain_text(StatusCode::BAD_REQUEST))
        }
    };
    report.set("Response Status", Field::Text(fault::status_line(status)));
    report.set("Response Body", Field::Text(body));
    report
}

/// Title and explanation of a status, without the page around them.
fn plain_text(status: StatusCode) -> String {
    let page = fault::page(status).replace("</h1><p>", "\n");
    page.replace("<html><h1>", "").replace("</p></html>", "")
}

/// Looks the segments up, and stores the manifest if all are as they should be.
async fn assemble(
    ctx: &Ctx,
    name: &ObjectName,
    entries: Vec<Entry>,
) -> Result<Result<Answer, Fault>, Problems> {
    let mut heads: HashMap<ObjectName, Result<SegmentHead, StatusCode>> = HashMap::new();
    for entry in &entries {
        if let Entry::Object(entry) = entry {
            heads
                .entry(entry.name.clone())
                .or_insert(Err(StatusCode::NOT_FOUND));
        }
    }
    let names: Vec<ObjectName> = heads.keys().cloned().collect();
    let looks = names.into_iter().map(|segment| async move {
        let head = head_segment(ctx, &segment).await.map_err(|fault| fault.status());
        (segment, head)
    });
    let found: Vec<_> = stream::iter(looks)
        .buffer_unordered(ctx.config().slo.concurrency.max(1))
        .collect()
        .await;
    heads.extend(found);
    let mut assembly = Assembly::default();
    for (index, entry) in entries.iter().enumerate() {
        match entry {
            Entry::Inline(data) => assembly.add_inline(data),
            Entry::Object(entry) => {
                let head = heads.get(&entry.name).unwrap_or(&Err(StatusCode::NOT_FOUND));
                assembly.add(entry, head, index + 1 == entries.len());
            }
        }
    }
    let linked = heads
        .values()
        .any(|head| head.as_ref().is_ok_and(|head| head.is_link));
    match assembly.problems.is_empty() {
        false => Err(assembly.problems),
        true => Ok(store_manifest(ctx, name, assembly, linked).await),
    }
}

async fn head_segment(ctx: &Ctx, segment: &ObjectName) -> Result<SegmentHead, Fault> {
    let mut walk = Walk::from(segment);
    let stat = symlink::head(ctx, &mut walk).await?;
    let name = walk.name();
    let view = match (is_slo(&stat), dlo::manifest_of(&stat)) {
        (true, _) => view(ctx, name, &stat, None, false).await?.view,
        (false, Some(prefix)) => dlo::view(ctx, name, &stat, &prefix).await?.0,
        (false, None) => view_of(&stat),
    };
    Ok(SegmentHead {
        size: view.size,
        etag: view.etag,
        content_type: stat.meta.content_type.clone(),
        last_modified: timestamp::iso(Version::at(Micros(view.modified.saturating_mul(1_000_000)))),
        is_slo: is_slo(&stat),
        is_link: name != segment,
    })
}

async fn store_manifest(
    ctx: &Ctx,
    name: &ObjectName,
    assembly: Assembly,
    linked: bool,
) -> Result<Answer, Fault> {
    let size = assembly.size;
    let (document, etag) = assembly.finish();
    let asked = headers::text(&ctx.headers, "etag").map(|etag| conditional::unquote_etag(etag.trim()));
    if asked.is_some_and(|asked| !asked.is_empty() && asked != etag) {
        return Err(Fault::page(StatusCode::UNPROCESSABLE_ENTITY));
    }
    let listed = format!("{}; slo_etag={etag}", hex::encode(Md5::digest(&document)));
    let mut sysmeta = vec![
        (SLO_FLAG.to_owned(), "True".to_owned()),
        (SLO_ETAG.to_owned(), etag.clone()),
        (SLO_SIZE.to_owned(), size.to_string()),
    ];
    if linked {
        sysmeta.push((SLO_LINKS.to_owned(), "True".to_owned()));
    }
    let extra = Extra {
        sysmeta,
        listed: Some(Listed { size, etag: listed }),
        shown_etag: Some(format!("\"{etag}\"")),
        foreign_etag: true,
    };
    let length = Announced::Length(document.len() as u64);
    store(
        ctx,
        name,
        stream::iter([Ok(Bytes::from(document))]),
        length,
        extra,
    )
    .await
}

/// The manifest itself, all of it.
async fn read_whole(
    ctx: &Ctx,
    name: &ObjectName,
    stat: &ObjectStat,
    open: Option<GotObject>,
) -> Result<GotObject, Fault> {
    match open {
        Some(got) if got.range == (0..stat.size) => Ok(got),
        _ => Ok(ctx.core().get_object(name, GetOptions::default()).await?),
    }
}

/// A static large object.
pub struct Large {
    /// As a client sees it.
    pub view: View,
    /// What it is put together from.
    pub plan: Plan,
    /// Whether there are symbolic links in the plan.
    pub linked: bool,
}

impl Large {
    /// The bytes, links followed.
    ///
    /// # Errors
    /// 409 if a link cannot be followed.
    pub async fn source(plan: Plan, linked: bool, ctx: &Ctx, name: &ObjectName) -> Result<Bytestream, Fault> {
        match linked {
            true => links::resolve(ctx, name, plan).await,
            false => Ok(Bytestream::Plan(plan, ctx.may_read(name.account()).await)),
        }
    }
}

/// The large object. Without `plan` wanted the plan is empty where the head
/// says enough.
pub async fn view(
    ctx: &Ctx,
    name: &ObjectName,
    stat: &ObjectStat,
    open: Option<GotObject>,
    plan: bool,
) -> Result<Large, Fault> {
    let is_linked = |stat: &ObjectStat| sysmeta(stat, SLO_LINKS).is_some();
    let (mut view, known, plan, linked) = match (plan, known(stat)) {
        (false, Some(known)) => (view_of(stat), Some(known), Plan::default(), is_linked(stat)),
        _ => {
            let whole = read_whole(ctx, name, stat, open).await?;
            // It may have been overwritten since: head and plan must be of one version.
            let (view, known, linked) = (view_of(&whole.stat), known(&whole.stat), is_linked(&whole.stat));
            (view, known, ctx.core().read_slo(name, whole).await?, linked)
        }
    };
    view.quoted = true;
    (view.size, view.etag) = known.unwrap_or_else(|| {
        let size = plan.size();
        (size, view.etag.clone())
    });
    Ok(Large { view, plan, linked })
}

/// `?multipart-manifest=get`: the manifest instead of what it describes.
pub async fn manifest(
    ctx: &Ctx,
    name: &ObjectName,
    stat: &ObjectStat,
    open: Option<GotObject>,
) -> Result<(View, Bytestream), Fault> {
    let mut view = view_of(stat);
    let got = read_whole(ctx, name, stat, open).await?;
    let body = got.body.map_err(|error| {
        tracing::warn!(%error, "a manifest cannot be read");
        Fault::page(StatusCode::SERVICE_UNAVAILABLE)
    });
    let stored = body.try_fold(Vec::new(), |mut all, piece| async move {
        all.extend_from_slice(&piece);
        Ok(all)
    });
    let mut document = stored.await?;
    if ctx.query.is("format", "raw") {
        document = manifest::to_raw(&document)
            .ok_or_else(|| Fault::html(StatusCode::INTERNAL_SERVER_ERROR, "Unable to load SLO manifest"))?;
        view.etag = hex::encode(Md5::digest(&document));
        view.size = document.len() as u64;
    } else {
        view.headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/json; charset=utf-8"),
        );
    }
    Ok((view, Bytestream::Here(document.into())))
}

/// `?part-number=`: one segment of the manifest, counted from one.
///
/// # Errors
/// 400 for what is no such number, or together with a range.
pub fn part_number(query: &Query, ranged: bool) -> Result<Option<usize>, Fault> {
    let Some(raw) = query.raw("part-number") else {
        return Ok(None);
    };
    let number = std::str::from_utf8(raw)
        .ok()
        .and_then(|text| text.trim().parse::<usize>().ok());
    let Some(number) = number.filter(|number| *number > 0) else {
        let says = "Part number must be an integer greater than 0";
        return Err(Fault::html(StatusCode::BAD_REQUEST, says));
    };
    match ranged {
        true => {
            let says = "Range requests are not supported with part number queries";
            Err(Fault::html(StatusCode::BAD_REQUEST, says))
        }
        false => Ok(Some(number)),
    }
}

/// Answers GET and HEAD of one segment.
pub async fn answer_part(ctx: &Ctx, large: Large, name: &ObjectName, part: usize) -> Result<Answer, Fault> {
    let Large {
        mut view,
        plan,
        linked,
    } = large;
    let size = view.size;
    view.headers
        .insert("x-parts-count", HeaderValue::from(plan.segments.len()));
    let length = |segment: &crate::core::manifest::Segment| segment.range.end - segment.range.start;
    let Some(segment) = plan.segments.get(part - 1) else {
        let head = ctx.method == Method::HEAD;
        let says = if head {
            ""
        } else {
            "The requested part number is not satisfiable"
        };
        let mut answer = Answer::new(full(says));
        *answer.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
        *answer.headers_mut() = shown(view);
        let into = answer.headers_mut();
        into.insert(CONTENT_RANGE, headers::to_value(&format!("bytes */{size}")));
        into.insert(CONTENT_LENGTH, HeaderValue::from(says.len()));
        return Ok(answer);
    };
    let start: u64 = plan.segments[..part - 1].iter().map(length).sum();
    let end = start + length(segment);
    if ctx.method == Method::HEAD {
        let mut answer = respond(ctx, view, Bytestream::Here(Bytes::new()), None).await?;
        if answer.status() == StatusCode::OK {
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
            let into = answer.headers_mut();
            into.insert(CONTENT_LENGTH, HeaderValue::from(end - start));
            into.insert(CONTENT_RANGE, headers::to_value(&content_range(start, end, size)));
        }
        return Ok(answer);
    }
    let ranges = Ranges::parse(&format!("bytes={start}-{}", end.saturating_sub(1)));
    let source = Large::source(plan, linked, ctx, name).await?;
    respond(ctx, view, source, ranges).await
}
