//! GetObject and HeadObject: whole objects, ranges, parts.
use std::ops::Range as Span;
use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode, Uri};
use s3s::dto::{ChecksumMode, GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput, Range};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};
use virga_proxy::core::manifest::MayRead;
use virga_proxy::core::{GetOptions, ObjectBody, ObjectName, Wanted};
use virga_proxy::swift::versions;

use super::body::Leaving;
use super::find::{Asked, Found};
use super::view::{Source, View};
use crate::access::{Action, Asker};
use crate::conditions::{self, Held, Unmet};
use crate::door::StatusOverride;
use crate::fault::OrFault;
use crate::request::pairs;
use crate::{Backend, checksum, dates, encryption, metadata, multipart};

/// Headers that a client may ask to see something else in.
const OVERRIDABLE: [&str; 6] = [
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
];

/// Which part of an object is wanted.
#[derive(Clone, Copy, Debug)]
enum Part {
    All,
    Range(Range),
    /// One part of an upload in parts, counted from one.
    Number(i32),
}

impl Part {
    fn of(range: Option<Range>, number: Option<i32>) -> S3Result<Self> {
        match (range, number) {
            (None, None) => Ok(Self::All),
            (Some(range), None) => Ok(Self::Range(range)),
            (None, Some(number)) => multipart::parts::check_number(number).map(|()| Self::Number(number)),
            (Some(_), Some(_)) => Err(s3_error!(
                InvalidRequest,
                "Cannot specify both Range header and partNumber query parameter"
            )),
        }
    }

    fn wanted(self) -> Wanted {
        match self {
            Self::All | Self::Number(_) => Wanted::All,
            Self::Range(Range::Int { first, last: None }) => Wanted::From(first),
            Self::Range(Range::Int {
                first,
                last: Some(last),
            }) => Wanted::Span(first, last.saturating_add(1)),
            Self::Range(Range::Suffix { length }) => Wanted::Last(length),
        }
    }
}

/// What is to be sent of an object.
struct Chosen {
    span: Span<u64>,
    /// Whether it is a part: 206.
    partial: bool,
    /// Number of parts, where one was asked for.
    parts: Option<usize>,
}

fn unsatisfiable(size: u64) -> S3Error {
    let mut headers = HeaderMap::new();
    metadata::set(&mut headers, "content-range", &format!("bytes */{size}"));
    let mut error = s3_error!(InvalidRange);
    error.set_headers(headers);
    error
}

fn choose(view: &View, part: Part) -> S3Result<Chosen> {
    let size = view.size;
    match part {
        Part::All => Ok(Chosen {
            span: 0..size,
            partial: false,
            parts: None,
        }),
        Part::Range(range) => match range.check(size) {
            Ok(span) if !span.is_empty() => Ok(Chosen {
                span,
                partial: true,
                parts: None,
            }),
            _ => Err(unsatisfiable(size)),
        },
        Part::Number(number) => {
            let segments = match &view.source {
                Source::Plan(plan) => plan.segments.as_slice(),
                Source::Plain(_) => &[],
            };
            let index = usize::try_from(number - 1).unwrap_or(usize::MAX);
            let length = |s: &virga_proxy::core::manifest::Segment| s.range.end - s.range.start;
            if segments.is_empty() && index == 0 {
                return Ok(Chosen {
                    span: 0..size,
                    partial: size > 0,
                    parts: None,
                });
            }
            let Some(segment) = segments.get(index) else {
                let mut error = S3Error::with_message(
                    S3ErrorCode::Custom("InvalidPartNumber".into()),
                    "The requested partnumber is not satisfiable",
                );
                error.set_status_code(StatusCode::RANGE_NOT_SATISFIABLE);
                return Err(error);
            };
            let start: u64 = segments.iter().take(index).map(length).sum();
            Ok(Chosen {
                span: start..start + length(segment),
                partial: true,
                parts: Some(segments.len()),
            })
        }
    }
}

impl Backend {
    /// The head, and for one part that can be told before it is known, its
    /// body too, in one go.
    async fn open(
        &self,
        asker: &Asker,
        name: &ObjectName,
        asked: Asked,
        part: Part,
        body: bool,
    ) -> S3Result<Found> {
        let options = (body && !matches!(part, Part::Number(_))).then(|| GetOptions {
            wanted: part.wanted(),
            newest: false,
        });
        let found = self.find(name, asked, options).await?;
        self.follow(asker, found, options).await
    }

    /// A check for the containers of segments. Those of the bucket's own
    /// uploads are read with the permission to read the bucket.
    fn may_read(&self, asker: &Asker, at: &ObjectName) -> MayRead {
        let (backend, asker) = (self.clone(), asker.clone());
        let bucket = versions::name::parent(at.container()).unwrap_or(at.container());
        let (account, own) = (at.account().to_owned(), multipart::hidden(bucket));
        Arc::new(move |info| {
            (info.account == account && info.container == own) || backend.may_now(&asker, &Method::GET, info)
        })
    }

    /// The bytes `span` of what was looked at.
    pub(crate) async fn bytes(&self, asker: &Asker, view: View, span: Span<u64>) -> S3Result<ObjectBody> {
        match view.source {
            Source::Plan(plan) => {
                let may_read = self.may_read(asker, &view.at);
                self.core().open_segments(plan, span, may_read).await.or_fault()
            }
            Source::Plain(Some(got)) if got.range == span => Ok(got.body),
            Source::Plain(_) => {
                let options = GetOptions {
                    wanted: Wanted::Span(span.start, span.end),
                    newest: false,
                };
                let got = self.core().get_object(&view.at, options).await.or_fault()?;
                match got.stat.version == view.stat.version {
                    true => Ok(got.body),
                    // Overwritten between head and body.
                    false => Err(s3_error!(OperationAborted)),
                }
            }
        }
    }
}

/// Conditions, the part, and the headers of an answer.
fn decide(view: &View, asked: &HeaderMap, part: Part, checksums: bool) -> S3Result<(Chosen, HeaderMap)> {
    let mut headers = view.headers();
    let held = Held {
        etag: &view.etag,
        modified: dates::seconds(view.modified),
    };
    match conditions::judge(asked, &conditions::OWN, held) {
        Ok(()) => {}
        Err(Unmet::Failed(condition)) => return Err(conditions::failed(condition)),
        Err(Unmet::NotModified) => {
            headers.remove(http::header::CONTENT_TYPE);
            return Err(conditions::not_modified(headers));
        }
    }
    let chosen = choose(view, part)?;
    let length = chosen.span.end - chosen.span.start;
    metadata::set(&mut headers, "content-length", &length.to_string());
    if let Some(parts) = chosen.parts {
        metadata::set(&mut headers, "x-amz-mp-parts-count", &parts.to_string());
    }
    if chosen.partial {
        metadata::set(&mut headers, "content-range", &range_of(&chosen.span, view.size));
    } else if checksums && let Some((algorithm, value, kind)) = checksum::of(&view.stat) {
        metadata::set(&mut headers, algorithm.header(), &value);
        metadata::set(&mut headers, "x-amz-checksum-type", kind.name());
    }
    Ok((chosen, headers))
}

fn range_of(span: &Span<u64>, size: u64) -> String {
    format!("bytes {}-{}/{size}", span.start, span.end.saturating_sub(1))
}

fn wants_checksums(mode: Option<&ChecksumMode>) -> bool {
    mode.is_some_and(|mode| mode.as_str() == ChecksumMode::ENABLED)
}

/// Takes out what the client asked to see something else for.
fn drop_overridden(input: &GetObjectInput, headers: &mut HeaderMap) {
    for (name, asked) in [
        ("content-type", input.response_content_type.is_some()),
        ("cache-control", input.response_cache_control.is_some()),
        (
            "content-disposition",
            input.response_content_disposition.is_some(),
        ),
        ("content-encoding", input.response_content_encoding.is_some()),
        ("content-language", input.response_content_language.is_some()),
        ("expires", input.response_expires.is_some()),
    ] {
        if asked {
            headers.remove(name);
        }
    }
}

/// Shows what the client asked to see, where the protocol layer does not.
fn override_by(uri: &Uri, headers: &mut HeaderMap) {
    for (asked, value) in pairs(uri.query().unwrap_or_default()) {
        let named = |name: &&str| asked.strip_prefix("response-") == Some(*name);
        if let Some(name) = OVERRIDABLE.into_iter().find(named) {
            metadata::set(headers, name, &value);
        }
    }
}

/// `GetObject`.
pub(crate) async fn get(
    backend: &Backend,
    req: S3Request<GetObjectInput>,
) -> S3Result<S3Response<GetObjectOutput>> {
    let (asker, input) = (backend.asker(&req).await?, &req.input);
    let backend = &backend.holding(&req.headers, &encryption::OWN)?;
    let part = Part::of(input.range, input.part_number)?;
    let name = backend
        .object(&asker, Action::Read, &input.bucket, &input.key)
        .await?;
    let asked = Asked::of(input.version_id.as_deref())?;
    let found = backend.open(&asker, &name, asked, part, true).await?;
    let said = encryption::check(&found.stat, &req.headers, &encryption::OWN)?;
    let view = backend.view(found, true).await?;
    let checksums = wants_checksums(input.checksum_mode.as_ref());
    let (chosen, mut headers) = decide(&view, &req.headers, part, checksums)?;
    drop_overridden(input, &mut headers);
    said.show(&mut headers);
    if asked == Asked::Current {
        backend.show_expiry(&name, view.seen(), &mut headers).await;
    }
    let content_range = chosen.partial.then(|| range_of(&chosen.span, view.size));
    let length = chosen.span.end - chosen.span.start;
    let body = backend.bytes(&asker, view, chosen.span).await?;
    let output = GetObjectOutput {
        body: Some(Leaving::blob(body, length)),
        content_range,
        ..GetObjectOutput::default()
    };
    Ok(S3Response::with_headers(output, headers))
}

/// `HeadObject`.
pub(crate) async fn head(
    backend: &Backend,
    req: S3Request<HeadObjectInput>,
) -> S3Result<S3Response<HeadObjectOutput>> {
    let (asker, input) = (backend.asker(&req).await?, &req.input);
    let backend = &backend.holding(&req.headers, &encryption::OWN)?;
    let part = Part::of(input.range, input.part_number)?;
    let name = backend
        .object(&asker, Action::Read, &input.bucket, &input.key)
        .await?;
    let asked = Asked::of(input.version_id.as_deref())?;
    let found = backend.open(&asker, &name, asked, part, false).await?;
    let said = encryption::check(&found.stat, &req.headers, &encryption::OWN)?;
    let view = backend.view(found, matches!(part, Part::Number(_))).await?;
    let checksums = wants_checksums(input.checksum_mode.as_ref());
    let (chosen, mut headers) = decide(&view, &req.headers, part, checksums)?;
    override_by(&req.uri, &mut headers);
    said.show(&mut headers);
    if asked == Asked::Current {
        backend.show_expiry(&name, view.seen(), &mut headers).await;
    }
    let mut response = S3Response::with_headers(HeadObjectOutput::default(), headers);
    if chosen.partial {
        response
            .extensions
            .insert(StatusOverride(StatusCode::PARTIAL_CONTENT));
    }
    Ok(response)
}
