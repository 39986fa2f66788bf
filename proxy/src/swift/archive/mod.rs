//! `?extract-archive=`: the files of an archive become objects.
//!
//! A path in the archive is appended to the path of the request; its first
//! part names the container, which is made if need be. Every file is a PUT of
//! its own, with its own permission, quota and error in the report.
mod unpack;

use std::collections::HashSet;

use futures_util::stream;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use tokio::sync::{Semaphore, mpsc};

use self::unpack::{Broken, File, Packing, Unpacked};
use super::accept::report_format;
use super::body::Answer;
use super::fault::{self, Fault};
use super::object::{Announced, Extra, announced_length, store};
use super::query::Query;
use super::report::{Field, Report, heartbeat};
use super::target::{Target, quote};
use super::upload::Upload;
use super::{Ctx, container, headers, ratelimit};
use crate::core::{BodyError, ContainerName, ObjectName};

/// Archives unpacked at the same time: each has a thread of its own.
const AT_ONCE: usize = 32;
static ROOM: Semaphore = Semaphore::const_new(AT_ONCE);

/// Headers of the request that every object gets.
const PASSED_ON: [&str; 2] = ["x-delete-at", "x-delete-after"];

/// Whether a request is one of these.
pub fn is_wanted(ctx: &Ctx) -> bool {
    ctx.method == Method::PUT && ctx.query.has("extract-archive")
}

/// PUT with `?extract-archive=`: answers with a report.
///
/// # Errors
/// What is wrong before the first file is looked at.
pub async fn extract(ctx: Ctx, target: Target, upload: Upload) -> Result<Answer, Fault> {
    let Some(packing) = ctx.query.text("extract-archive")?.and_then(Packing::parse) else {
        return Err(Fault::html(StatusCode::BAD_REQUEST, "Unsupported archive format"));
    };
    let Some(format) = report_format(&ctx.headers, None) else {
        return Err(Fault::page(StatusCode::NOT_ACCEPTABLE));
    };
    if announced_length(&ctx.headers) == Announced::Nothing {
        return Err(Fault::page(StatusCode::LENGTH_REQUIRED));
    }
    let room = ROOM
        .try_acquire()
        .map_err(|_| Fault::page(StatusCode::SERVICE_UNAVAILABLE))?;
    let work = async move {
        let report = Extraction::new(&ctx, &target)
            .run(unpack::start(upload, packing))
            .await;
        drop(room);
        report.write(format, "extract")
    };
    let mut answer = Answer::new(heartbeat(work, format, false).await);
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(format.mime()));
    Ok(answer)
}

/// An archive on its way into objects.
struct Extraction<'a> {
    ctx: &'a Ctx,
    account: String,
    /// What every path begins with: nothing, a container, or a container and more.
    base: String,
    /// Containers that are known to be there.
    ready: HashSet<String>,
    made: usize,
    stored: u64,
    errors: Vec<(String, String)>,
    server_failed: bool,
}

/// What came of one file.
enum Outcome {
    /// It is an object now.
    Stored,
    /// It is none, and not meant to be one.
    Ignored,
    /// It could not be stored; the next one may.
    Failed(String, Fault),
    /// Nothing more can be stored.
    Stop(Option<String>, Fault),
}

impl<'a> Extraction<'a> {
    fn new(ctx: &'a Ctx, target: &Target) -> Self {
        let (account, base) = match target {
            Target::Account(account) => (account.as_str(), String::new()),
            Target::Container(name) => (name.account(), name.container().to_owned()),
            Target::Object(name) => (name.account(), format!("{}/{}", name.container(), name.object())),
        };
        Self {
            ctx,
            account: account.to_owned(),
            base: base.trim_matches('/').to_owned(),
            ready: HashSet::new(),
            made: 0,
            stored: 0,
            errors: Vec::new(),
            server_failed: false,
        }
    }

    async fn run(mut self, mut from: mpsc::Receiver<Unpacked>) -> Report {
        while let Some(unpacked) = from.recv().await {
            let file = match unpacked {
                Unpacked::File(file) => file,
                // What is left of a file that was not stored.
                Unpacked::Data(_) => continue,
                Unpacked::Broken(why) => return self.broken(why),
            };
            match self.file(file, &mut from).await {
                Outcome::Stored => self.stored += 1,
                Outcome::Ignored => {}
                Outcome::Failed(path, fault) => self.failed(path, &fault),
                Outcome::Stop(path, fault) => {
                    if let Some(path) = path {
                        self.failed(path, &fault);
                    }
                    return self.report(Some(&fault));
                }
            }
            if self.errors.len() >= self.ctx.config().bulk.max_failed_extractions {
                break;
            }
        }
        self.report(None)
    }

    fn failed(&mut self, path: String, fault: &Fault) {
        self.server_failed |= fault.status().is_server_error();
        self.errors.push((path, fault::status_line(fault.status())));
    }

    fn broken(self, why: Broken) -> Report {
        let fault = match why {
            Broken::Body(error) => error.into(),
            Broken::Archive(why) => Fault::html(StatusCode::BAD_REQUEST, format!("Invalid Tar File: {why}")),
        };
        self.report(Some(&fault))
    }

    fn report(self, fault: Option<&Fault>) -> Report {
        let (status, body) = match (fault, self.errors.is_empty(), self.stored) {
            (Some(fault), ..) => (fault.status(), fault.text()),
            (None, false, _) if self.server_failed => (StatusCode::BAD_GATEWAY, String::new()),
            (None, false, _) => (StatusCode::BAD_REQUEST, String::new()),
            (None, true, 0) => (
                StatusCode::BAD_REQUEST,
                "Invalid Tar File: No Valid Files".to_owned(),
            ),
            (None, true, _) => (StatusCode::CREATED, String::new()),
        };
        let mut report = Report::default();
        report.set("Number Files Created", Field::Number(self.stored));
        report.set("Response Status", Field::Text(fault::status_line(status)));
        report.set("Response Body", Field::Text(body));
        Report {
            errors: self.errors,
            ..report
        }
    }

    /// Container and object that a path in the archive means, both not empty.
    fn names(&self, path: &[u8]) -> Result<Option<(String, String)>, String> {
        let longest = self.ctx.config().limits.max_object_name_length * 2;
        let shown = || quote(&String::from_utf8_lossy(&path[..path.len().min(longest)]));
        let text = std::str::from_utf8(path)
            .ok()
            .filter(|text| !text.contains('\0'))
            .ok_or_else(shown)?;
        let bare = text.strip_prefix("./").unwrap_or(text).trim_matches('/');
        let whole = match self.base.as_str() {
            "" => bare.to_owned(),
            base => format!("{base}/{bare}"),
        };
        // A file beside the folders that name containers belongs to none.
        Ok(whole
            .split_once('/')
            .filter(|(container, object)| !container.is_empty() && !object.is_empty())
            .map(|(container, object)| (container.to_owned(), object.to_owned())))
    }

    async fn file(&mut self, file: File, from: &mut mpsc::Receiver<Unpacked>) -> Outcome {
        let (container, object) = match self.names(&file.path) {
            Ok(Some(names)) => names,
            Ok(None) => return Outcome::Ignored,
            Err(shown) => return Outcome::Failed(shown, Fault::page(StatusCode::PRECONDITION_FAILED)),
        };
        let shown = quote(&format!("{container}/{object}"));
        let limits = &self.ctx.config().limits;
        if file.size > limits.max_file_size {
            return Outcome::Failed(shown, Fault::page(StatusCode::PAYLOAD_TOO_LARGE));
        }
        let Ok(name) = ObjectName::new(&self.account, &container, &object) else {
            return Outcome::Failed(shown, Fault::page(StatusCode::BAD_REQUEST));
        };
        if let Some(outcome) = self.make(name.container_name(), &shown).await {
            return outcome;
        }
        let own = self
            .ctx
            .derived(Method::PUT, self.headers(&file), Query::default());
        if let Err(fault) = ratelimit::admit(&own, &Target::Object(name.clone())).await {
            return Outcome::Failed(shown, fault);
        }
        let body = stream::unfold((from, file.size), |(from, left)| async move {
            if left == 0 {
                return None;
            }
            let piece = match from.recv().await {
                Some(Unpacked::Data(data)) => Ok(data),
                Some(Unpacked::Broken(Broken::Body(error))) => Err(error),
                Some(Unpacked::Broken(Broken::Archive(why))) => Err(BodyError::Malformed(why)),
                Some(Unpacked::File(_)) | None => Err(BodyError::Malformed("a file ends early".into())),
            };
            let left = piece
                .as_ref()
                .map_or(0, |data| left.saturating_sub(data.len() as u64));
            Some((piece, (from, left)))
        });
        let length = Announced::Length(file.size);
        match Box::pin(store(&own, &name, Box::pin(body), length, Extra::default())).await {
            Ok(_) => Outcome::Stored,
            Err(fault) if fault.status() == StatusCode::UNAUTHORIZED => Outcome::Stop(Some(shown), fault),
            Err(fault) => Outcome::Failed(shown, fault),
        }
    }

    fn headers(&self, file: &File) -> HeaderMap {
        let mut own = HeaderMap::new();
        for name in PASSED_ON {
            if let Some(value) = self.ctx.headers.get(name) {
                own.insert(HeaderName::from_static(name), value.clone());
            }
        }
        for (name, value) in &file.headers {
            headers::put(&mut own, name, value);
        }
        own
    }

    /// Makes a container unless it is there; what came of it if that failed.
    async fn make(&mut self, name: ContainerName, shown: &str) -> Option<Outcome> {
        if self.ready.contains(name.container()) {
            return None;
        }
        let most = self.ctx.config().bulk.max_containers_per_extraction;
        match self.ctx.core().container_info(&name).await {
            Ok(Some(_)) => {}
            Ok(None) if self.made >= most => {
                let says = format!("More than {most} containers to create from tar.");
                return Some(Outcome::Stop(None, Fault::html(StatusCode::BAD_REQUEST, says)));
            }
            Ok(None) => {
                let own = self.ctx.derived(Method::PUT, HeaderMap::new(), Query::default());
                match Box::pin(container::handle(own, name.clone())).await {
                    Ok(_) => self.made += 1,
                    Err(fault) if fault.status() == StatusCode::UNAUTHORIZED => {
                        return Some(Outcome::Stop(Some(shown.to_owned()), fault));
                    }
                    Err(fault) => return Some(Outcome::Failed(shown.to_owned(), fault)),
                }
            }
            Err(error) => return Some(Outcome::Failed(shown.to_owned(), error.into())),
        }
        self.ready.insert(name.container().to_owned());
        None
    }
}
