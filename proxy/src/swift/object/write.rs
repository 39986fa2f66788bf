//! PUT: from a request and a body to a stored object.
use bytes::Bytes;
use futures_util::Stream;
use http::header::{
    CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, LAST_MODIFIED, TRANSFER_ENCODING,
};
use http::{Method, StatusCode};
use virga_object_wire::listing::ContainerInfo;
use virga_object_wire::object::{Header, Listed};

use super::super::body::Answer;
use super::super::conditional::{format_date, holds_star, unquote_etag};
use super::super::fault::Fault;
use super::super::headers::{self, Level};
use super::super::versions::{self, Keeping, name::VersionId};
use super::super::{Ctx, content_type, done, quota, timestamp};
use super::{authorized_container, proof};
use crate::core::{BodyError, NewObject, ObjectName, Stored, sealing};

/// What a handler stores beside what the request says.
#[derive(Default)]
pub struct Extra {
    /// Items that a POST never touches.
    pub sysmeta: Vec<Header>,
    /// What the listing shows in place of size and ETag.
    pub listed: Option<Listed>,
    /// The ETag the answer shows, quotes included, in place of the stored one.
    pub shown_etag: Option<String>,
    /// The `Etag` of the request is not that of the body.
    pub foreign_etag: bool,
}

/// How long the body says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announced {
    /// So many bytes.
    Length(u64),
    /// It comes in chunks.
    Chunked,
    /// It does not say.
    Nothing,
    /// An encoding other than chunks.
    Unknown,
}

/// What the headers of a request say of its body.
pub fn announced_length(headers: &HeaderMap) -> Announced {
    if let Some(encoding) = headers.get(TRANSFER_ENCODING) {
        return match encoding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            true => Announced::Chunked,
            false => Announced::Unknown,
        };
    }
    let length = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    length.map_or(Announced::Nothing, Announced::Length)
}

/// Stores `body` under `name` with the metadata of the request.
///
/// # Errors
/// Whatever Swift answers to a PUT that cannot be done.
pub async fn store<S>(
    ctx: &Ctx,
    name: &ObjectName,
    body: S,
    announced: Announced,
    extra: Extra,
) -> Result<Answer, Fault>
where
    S: Stream<Item = Result<Bytes, BodyError>> + Send,
{
    if ctx.headers.contains_key("if-none-match") && !holds_star(&ctx.headers, "if-none-match") {
        return Err(Fault::bad("If-None-Match only supports *"));
    }
    let container = authorized_container(ctx, &Method::PUT, name).await?;
    let mut new = NewObject::new(type_of(&ctx.headers, name)?);
    new.expected_size = check_length(announced, ctx.config().limits.max_file_size)?;
    check_name(name, ctx.config().limits.max_object_name_length)?;
    new.delete_at = headers::delete_at(&ctx.headers, ctx.now.as_secs())?;
    headers::check_metadata(&ctx.headers, Level::Object, &ctx.config().limits)?;
    new.headers = headers::object_headers(&ctx.headers);
    quota::check_upload(ctx, name, &container, announced).await?;
    new.max_size = ctx.config().limits.max_file_size;
    new.if_none_match_any = ctx.headers.contains_key("if-none-match");
    if !extra.foreign_etag {
        new.expected_etag = headers::text(&ctx.headers, "etag")
            .map(|etag| unquote_etag(etag.trim()).to_ascii_lowercase())
            .filter(|etag| !etag.is_empty());
    }
    // What a manifest or a link holds is not what its name will be read as.
    let is_read_as_stored = extra.sysmeta.is_empty() && !ctx.headers.contains_key("x-object-manifest");
    new.sysmeta = extra.sysmeta;
    new.listed = extra.listed;
    new.seal = sealing::default_of(&container.meta);
    let is_read_as_stored = is_read_as_stored && new.seal.is_none();
    let (stored, version) = put(ctx, name, &container, new, body).await?;
    let mut answer = done(StatusCode::CREATED);
    let into = answer.headers_mut();
    into.extend(version.map(versions::handle::id_header));
    into.insert(
        ETAG,
        headers::to_value(extra.shown_etag.as_deref().unwrap_or(&stored.etag)),
    );
    let modified = format_date(timestamp::last_modified(stored.version));
    into.insert(LAST_MODIFIED, headers::to_value(&modified));
    if is_read_as_stored {
        proof::name_root(into, &stored.blake3);
    }
    Ok(answer)
}

/// Stores it, and does with what was there before what the container does with
/// versions. The id of the new version, if it is one.
async fn put<S>(
    ctx: &Ctx,
    name: &ObjectName,
    container: &ContainerInfo,
    new: NewObject,
    body: S,
) -> Result<(Stored, Option<VersionId>), Fault>
where
    S: Stream<Item = Result<Bytes, BodyError>> + Send,
{
    let core = ctx.core();
    versions::handle::refuse_parts(container)?;
    match Keeping::of(container) {
        Keeping::Versions => {
            let written = versions::write::put(core, name, new, body).await?;
            return Ok((written.stored, Some(written.id)));
        }
        Keeping::Stack(location) | Keeping::History(location) => {
            versions::legacy::keep(core, name, &location).await?;
        }
        Keeping::Nothing | Keeping::Suspended => {}
    }
    Ok((core.put_object(name, new, body).await?, None))
}

fn check_length(announced: Announced, most: u64) -> Result<Option<u64>, Fault> {
    match announced {
        Announced::Length(length) if length > most => Err(Fault::plain(
            StatusCode::PAYLOAD_TOO_LARGE,
            "Your request is too large.",
        )),
        Announced::Length(length) => Ok(Some(length)),
        Announced::Chunked => Ok(None),
        Announced::Nothing => Err(Fault::plain(
            StatusCode::LENGTH_REQUIRED,
            "Missing Content-Length header.",
        )),
        Announced::Unknown => Err(Fault::plain(
            StatusCode::NOT_IMPLEMENTED,
            "Unsupported Transfer-Coding header value specified",
        )),
    }
}

fn check_name(name: &ObjectName, most: usize) -> Result<(), Fault> {
    match name.object().len() {
        length if length > most => Err(Fault::bad(format!(
            "Object name length of {length} longer than {most}"
        ))),
        _ => Ok(()),
    }
}

/// The type the request gives its object, or the one its name suggests.
fn type_of(headers: &HeaderMap, name: &ObjectName) -> Result<String, Fault> {
    let given = headers
        .get(CONTENT_TYPE)
        .map(HeaderValue::as_bytes)
        .filter(|given| !given.is_empty());
    let Some(given) = given.filter(|_| !headers::truthy(headers, "x-detect-content-type")) else {
        return Ok(content_type::guess(name.object()).to_owned());
    };
    let given = std::str::from_utf8(given).map_err(|_| Fault::bad("Invalid Content-Type"))?;
    let reserved = given
        .split(';')
        .skip(1)
        .filter_map(|parameter| parameter.split('=').next());
    if reserved.map(str::trim).any(|parameter| {
        parameter
            .get(..6)
            .is_some_and(|start| start.eq_ignore_ascii_case("swift_"))
    }) {
        let says = "Invalid Content-Type, swift_* is not a valid parameter name.";
        return Err(Fault::html(StatusCode::BAD_REQUEST, says));
    }
    Ok(given.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_body_says_how_long_it_is_or_is_refused() {
        for (pairs, expected) in [
            (&[("content-length", "5")][..], Ok(Some(5))),
            (&[("transfer-encoding", "Chunked")], Ok(None)),
            (
                &[("transfer-encoding", "chunked"), ("content-length", "5")],
                Ok(None),
            ),
            (&[("transfer-encoding", "gzip,chunked")], Err(501)),
            (&[("content-length", "11")], Err(413)),
            (&[("content-length", "x")], Err(411)),
            (&[], Err(411)),
        ] {
            let got = check_length(announced_length(&headers(pairs)), 10).map_err(|f| f.status().as_u16());
            assert_eq!(got, expected, "{pairs:?}");
        }
    }

    #[test]
    fn the_type_is_the_clients_unless_it_asks_us_to_look() {
        let name = ObjectName::new("a", "c", "o.txt").unwrap();
        for (pairs, expected) in [
            (&[("content-type", "image/x; a=b")][..], Ok("image/x; a=b")),
            (&[], Ok("text/plain")),
            (&[("content-type", "")], Ok("text/plain")),
            (
                &[("content-type", "image/x"), ("x-detect-content-type", "yes")],
                Ok("text/plain"),
            ),
            (&[("content-type", "image/x; Swift_Bytes=3")], Err(400)),
            (&[("content-type", "image/x;swift_other=3")], Err(400)),
        ] {
            let got = type_of(&headers(pairs), &name).map_err(|fault| fault.status().as_u16());
            assert_eq!(got.as_deref(), expected.as_ref().map(|t| *t), "{pairs:?}");
        }
    }
}
