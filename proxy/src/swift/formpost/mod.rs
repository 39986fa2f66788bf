//! Uploads by a browser's form: a signature in its fields instead of a token.
//!
//! The fields come before the files: what may be uploaded, until when, where
//! the browser goes afterwards, and the HMAC of all that with a key of account
//! or container. Each file is a PUT below the path of the form.
pub mod multipart;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures_util::{Stream, stream};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use http::{Method, StatusCode};

use self::multipart::{Multipart, Part, PartError};
use super::access::{TempScope, Who};
use super::body::{Answer, full};
use super::fault::{self, Fault};
use super::object::{Announced, Extra, store};
use super::query::Query;
use super::target::{self, Target, quote};
use super::upload::Upload;
use super::{Ctx, headers, ratelimit, tempurl};
use crate::core::{BodyError, ContainerName};

/// Bytes of one field.
const LONGEST_FIELD: usize = 4096;
/// Fields of a form beside its files.
const MOST_FIELDS: usize = 100;

/// Whether a request is one of these.
pub fn is_one(method: &Method, asked: &HeaderMap) -> bool {
    method == Method::POST
        && headers::text(asked, "content-type").is_some_and(|kind| multipart::boundary(kind).is_some())
}

/// The fields of a form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Fields(Vec<(String, String)>);

impl Fields {
    fn get(&self, name: &str) -> &str {
        let mut all = self.0.iter().rev();
        all.find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    fn number(&self, name: &str) -> Result<u64, Fault> {
        self.get(name)
            .trim()
            .parse()
            .map_err(|_| invalid(&format!("{name} not an integer")))
    }
}

/// What a form permits, once its signature is known to be right.
struct Permit {
    redirect: String,
    max_file_size: u64,
    max_file_count: u64,
    scope: TempScope,
}

fn invalid(says: &str) -> Fault {
    Fault::plain(StatusCode::BAD_REQUEST, format!("FormPost: {says}"))
}

fn unauthorized(says: &str) -> Fault {
    Fault::plain(StatusCode::UNAUTHORIZED, format!("FormPost: {says}")).challenged("unknown")
}

fn broken(error: PartError) -> Fault {
    match error {
        PartError::Body(error) => error.into(),
        PartError::Early | PartError::Malformed => invalid(&error.to_string()),
    }
}

/// Where the files of a form go.
struct Place {
    container: ContainerName,
    /// What their names begin with.
    prefix: String,
    /// The path of the request, decoded: part of what is signed.
    path: String,
}

impl Place {
    fn of(target: &Target, path: &str) -> Result<Self, Fault> {
        let (container, prefix) = match target {
            Target::Account(_) => return Err(unauthorized("Invalid Signature")),
            Target::Container(name) => (name.clone(), String::new()),
            Target::Object(name) => (name.container_name(), name.object().to_owned()),
        };
        let path = target::percent_decode_utf8(path).unwrap_or_default();
        let bare = path
            .strip_prefix("/object")
            .filter(|rest| rest.starts_with("/v1/"));
        Ok(Self {
            path: bare.unwrap_or(&path).to_owned(),
            container,
            prefix,
        })
    }
}

/// Answers a form; `path` is the one the target was read from.
///
/// # Errors
/// 400 for what is no such form, 401 for one that is not signed, or no more.
pub(super) async fn handle(
    mut ctx: Ctx,
    target: Target,
    path: &str,
    upload: Upload,
) -> Result<Answer, Fault> {
    let place = Place::of(&target, path)?;
    let boundary = headers::text(&ctx.headers, "content-type")
        .and_then(multipart::boundary)
        .ok_or_else(|| invalid("no boundary"))?
        .to_owned();
    let mut parts = Multipart::new(upload, &boundary);
    let mut fields = Fields::default();
    let mut permit: Option<Permit> = None;
    let mut files = 0;
    let mut outcome = (StatusCode::BAD_REQUEST, "no files to process".to_owned());
    while let Some(part) = parts.next().await.map_err(broken)? {
        // Browsers send a file nobody chose without a name and without bytes.
        let Some(named) = part.filename.clone().filter(|name| !name.is_empty()) else {
            read_field(&mut parts, part, &mut fields).await?;
            continue;
        };
        if permit.is_none() {
            permit = Some(permitted(&ctx, &place, &fields).await?);
        }
        let Some(permit) = &permit else { break };
        ctx.who = Who::TempUrl(permit.scope.clone());
        files += 1;
        if files > permit.max_file_count {
            outcome = (StatusCode::BAD_REQUEST, "max file count exceeded".to_owned());
            break;
        }
        outcome = put(
            &ctx,
            (&place, &named),
            (&part, &fields),
            permit.max_file_size,
            &mut parts,
        )
        .await?;
        if !outcome.0.is_success() {
            break;
        }
    }
    let permit = match permit {
        Some(permit) => permit,
        // A form without files tells as little to who did not sign it.
        None => permitted(&ctx, &place, &fields).await?,
    };
    Ok(answer(&permit.redirect, outcome.0, &outcome.1))
}

async fn read_field(parts: &mut Multipart<Upload>, part: Part, fields: &mut Fields) -> Result<(), Fault> {
    let mut value = Vec::new();
    while let Some(piece) = parts.data().await.map_err(broken)? {
        value.extend_from_slice(&piece);
        if value.len() > LONGEST_FIELD {
            return Err(invalid("a field is too long"));
        }
    }
    if fields.0.len() >= MOST_FIELDS {
        return Err(invalid("too many fields"));
    }
    let value = String::from_utf8(value).map_err(|_| invalid("a field is not UTF-8"))?;
    fields.0.push((part.name.to_ascii_lowercase(), value));
    Ok(())
}

/// Holds the signature against the keys of account and container.
async fn permitted(ctx: &Ctx, place: &Place, fields: &Fields) -> Result<Permit, Fault> {
    let max_file_size = fields.number("max_file_size")?;
    let max_file_count = fields.number("max_file_count")?;
    let expires = tempurl::parse_expiry(fields.get("expires").trim())
        .ok_or_else(|| invalid("expired not an integer"))?;
    if expires < ctx.now.as_secs() {
        return Err(unauthorized("Form Expired"));
    }
    let signature = tempurl::parse_signature(fields.get("signature").trim());
    let allowed = &ctx.config().tempurl_digests;
    let Some((digest, signature)) = signature.filter(|(digest, _)| allowed.contains(digest)) else {
        return Err(unauthorized("Invalid Signature"));
    };
    let message = format!(
        "{}\n{}\n{max_file_size}\n{max_file_count}\n{}",
        place.path,
        fields.get("redirect"),
        fields.get("expires").trim()
    );
    let keys = tempurl::keys_of(ctx.core(), &place.container).await?;
    let scope = keys
        .into_iter()
        .find(|key| tempurl::is_signed(digest, &key.secret, &message, &signature))
        .map(|key| key.scope);
    Ok(Permit {
        redirect: fields.get("redirect").to_owned(),
        max_file_size,
        max_file_count,
        scope: scope.ok_or_else(|| unauthorized("Invalid Signature"))?,
    })
}

/// The headers of the PUT of one file.
fn put_headers(ctx: &Ctx, part: &Part, fields: &Fields) -> Result<HeaderMap, Fault> {
    let mut own = HeaderMap::new();
    let given = match fields.get("content-type") {
        "" => part.content_type.as_deref().unwrap_or("application/octet-stream"),
        given => given,
    };
    own.insert(CONTENT_TYPE, headers::to_value(given));
    if let Some(encoding) = &part.content_encoding {
        own.insert(CONTENT_ENCODING, headers::to_value(encoding));
    }
    for (field, header, unit) in [
        ("x_delete_at", "x-delete-at", "Unix timestamp"),
        ("x_delete_after", "x-delete-after", "Number of seconds"),
    ] {
        match fields.get(field) {
            "" => {}
            value if value.bytes().all(|b| b.is_ascii_digit()) => {
                own.insert(header, headers::to_value(value));
            }
            _ => return Err(invalid(&format!("{field} not an integer: {unit} required."))),
        }
    }
    let referer = ctx.headers.get("referer");
    own.extend(referer.map(|referer| (http::header::REFERER, referer.clone())));
    Ok(own)
}

/// Stores one file; the status, and what is to be said of it.
async fn put(
    ctx: &Ctx,
    (place, named): (&Place, &str),
    (part, fields): (&Part, &Fields),
    most: u64,
    parts: &mut Multipart<Upload>,
) -> Result<(StatusCode, String), Fault> {
    let name = place
        .container
        .object(&format!("{}{named}", place.prefix))
        .map_err(|_| invalid("a file has no name"))?;
    if name.object().contains('\0') {
        return Err(invalid("a file has no name"));
    }
    let own = ctx.derived(Method::PUT, put_headers(ctx, part, fields)?, Query::default());
    if let Err(fault) = ratelimit::admit(&own, &Target::Object(name.clone())).await {
        return Ok((fault.status(), fault.text()));
    }
    let exceeded = Arc::new(AtomicBool::new(false));
    let body = Box::pin(capped(parts, most, exceeded.clone()));
    let stored = Box::pin(store(&own, &name, body, Announced::Chunked, Extra::default())).await;
    if exceeded.load(Ordering::Relaxed) {
        return Err(invalid("max_file_size exceeded"));
    }
    Ok(match stored {
        Ok(answer) => (answer.status(), String::new()),
        Err(fault) => (fault.status(), String::new()),
    })
}

/// The bytes of a part, refused from one more than `most` on.
fn capped(
    parts: &mut Multipart<Upload>,
    most: u64,
    exceeded: Arc<AtomicBool>,
) -> impl Stream<Item = Result<Bytes, BodyError>> + Send {
    stream::unfold(Some((parts, most)), move |state| {
        let exceeded = exceeded.clone();
        async move {
            let (parts, left) = state?;
            let piece = match parts.data().await {
                Ok(piece) => piece?,
                Err(PartError::Body(error)) => return Some((Err(error), None)),
                Err(error) => return Some((Err(BodyError::Malformed(error.to_string())), None)),
            };
            match left.checked_sub(piece.len() as u64) {
                Some(left) => Some((Ok(piece), Some((parts, left)))),
                None => {
                    exceeded.store(true, Ordering::Relaxed);
                    Some((Err(BodyError::Malformed("max_file_size exceeded".into())), None))
                }
            }
        }
    })
}

/// Tells the outcome, or sends the browser where the form says with it.
fn answer(redirect: &str, status: StatusCode, message: &str) -> Answer {
    let line = fault::status_line(status);
    if redirect.is_empty() {
        let said = match message {
            "" => line,
            message => {
                let words: Vec<String> = message.split(' ').map(tempurl::title).collect();
                format!("{line}\r\nFormPost: {}", words.join(" "))
            }
        };
        let mut answer = Answer::new(full(said));
        *answer.status_mut() = status;
        let kind = HeaderValue::from_static("text/plain");
        answer.headers_mut().insert(CONTENT_TYPE, kind);
        return answer;
    }
    let glue = if redirect.contains('?') { '&' } else { '?' };
    let to = format!(
        "{redirect}{glue}status={}&message={}",
        status.as_u16(),
        quote(message)
    );
    let link = super::listing::xml_escape(&to);
    let page = format!("<html><body><p><a href=\"{link}\">Click to continue...</a></p></body></html>");
    let mut answer = Answer::new(full(page));
    *answer.status_mut() = StatusCode::SEE_OTHER;
    let into = answer.headers_mut();
    into.insert(LOCATION, headers::to_value(&to));
    into.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=UTF-8"));
    answer
}
