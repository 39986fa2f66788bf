//! Which format an answer takes: `?format=` and `Accept`.
use http::{HeaderMap, StatusCode};

use super::fault::Fault;
use super::query::Query;

/// Formats of listings and reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Names by line.
    Text,
    /// JSON.
    Json,
    /// XML as `application/xml`.
    Xml,
    /// XML as `text/xml`.
    TextXml,
}

impl Format {
    const ALL: [Self; 4] = [Self::Text, Self::Json, Self::Xml, Self::TextXml];

    /// MIME type without parameters.
    pub fn mime(self) -> &'static str {
        match self {
            Self::Text => "text/plain",
            Self::Json => "application/json",
            Self::Xml => "application/xml",
            Self::TextXml => "text/xml",
        }
    }

    /// Value of `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; charset=utf-8",
            Self::Json => "application/json; charset=utf-8",
            Self::Xml => "application/xml; charset=utf-8",
            Self::TextXml => "text/xml; charset=utf-8",
        }
    }
}

/// `Accept` is malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Invalid Accept header")]
pub struct BadAccept;

/// One range of media types: type, subtype, quality.
struct Media {
    kind: String,
    sub: String,
    quality: f64,
}

impl Media {
    fn parse(text: &str) -> Result<Self, BadAccept> {
        let mut parts = text.split(';');
        let (kind, sub) = parts
            .next()
            .unwrap_or_default()
            .trim()
            .split_once('/')
            .ok_or(BadAccept)?;
        if !is_token(kind) || !is_token(sub) {
            return Err(BadAccept);
        }
        let mut quality = None;
        for parameter in parts {
            let (name, value) = parameter.split_once('=').ok_or(BadAccept)?;
            let (name, value) = (name.trim(), value.trim());
            if !is_token(name) || value.is_empty() {
                return Err(BadAccept);
            }
            if name == "q"
                && quality
                    .replace(value.parse::<f64>().map_err(|_| BadAccept)?)
                    .is_some()
            {
                return Err(BadAccept);
            }
        }
        Ok(Self {
            kind: kind.to_owned(),
            sub: sub.to_owned(),
            quality: quality.unwrap_or(1.0),
        })
    }

    fn covers(&self, mime: &str) -> bool {
        mime.split_once('/').is_some_and(|(kind, sub)| {
            (self.kind == "*" || self.kind == kind) && (self.sub == "*" || self.sub == sub)
        })
    }

    fn exact(&self) -> bool {
        self.kind != "*" && self.sub != "*"
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?={}".contains(&b))
}

/// The best of `options` for an `Accept` header: the first one without a
/// header, `None` if none is acceptable.
///
/// # Errors
/// [`BadAccept`].
pub fn best(headers: &HeaderMap, options: &[Format]) -> Result<Option<Format>, BadAccept> {
    let accept = match headers.get("accept") {
        None => return Ok(options.first().copied()),
        Some(value) => value.to_str().map_err(|_| BadAccept)?,
    };
    if accept.trim().is_empty() {
        return Ok(options.first().copied());
    }
    let mut ranges = accept
        .split(',')
        .map(Media::parse)
        .collect::<Result<Vec<_>, _>>()?;
    ranges.sort_by(|a, b| b.quality.total_cmp(&a.quality).then(b.exact().cmp(&a.exact())));
    Ok(ranges
        .iter()
        .find_map(|range| options.iter().copied().find(|option| range.covers(option.mime()))))
}

/// The format of a listing.
///
/// # Errors
/// 400 for a malformed `Accept`, 406 if nothing offered is acceptable.
pub fn listing_format(headers: &HeaderMap, query: &Query) -> Result<Format, Fault> {
    if let Some(format) = query.text("format")?.filter(|format| !format.is_empty()) {
        return Ok(match format.to_ascii_lowercase().as_str() {
            "json" => Format::Json,
            "xml" => Format::Xml,
            _ => Format::Text,
        });
    }
    match best(headers, &Format::ALL) {
        Ok(Some(format)) => Ok(format),
        Ok(None) => Err(Fault::page(StatusCode::NOT_ACCEPTABLE)),
        Err(error) => Err(Fault::html(StatusCode::BAD_REQUEST, error.to_string())),
    }
}

/// The format of a report (bulk deletion, large objects); `None` if the client
/// accepts none of them. A malformed `Accept` counts as `fallback`.
pub fn report_format(headers: &HeaderMap, fallback: Option<Format>) -> Option<Format> {
    best(headers, &Format::ALL).unwrap_or(fallback)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(accept: Option<&str>, query: &str) -> Result<Format, u16> {
        let mut headers = HeaderMap::new();
        if let Some(accept) = accept {
            headers.insert("accept", accept.parse().unwrap());
        }
        listing_format(&headers, &Query::parse(Some(query))).map_err(|fault| fault.status().as_u16())
    }

    #[test]
    fn the_format_comes_from_the_query_first_and_from_accept_else() {
        for (accept, query, expected) in [
            (None, "", Ok(Format::Text)),
            (None, "format=JSON", Ok(Format::Json)),
            (Some("application/json"), "format=xml", Ok(Format::Xml)),
            (Some("text/html"), "format=whatever", Ok(Format::Text)),
            (Some("application/json"), "", Ok(Format::Json)),
            (
                Some("application/json;q=0.9, application/xml"),
                "",
                Ok(Format::Xml),
            ),
            (Some("application/*"), "", Ok(Format::Json)),
            (Some("*/*"), "", Ok(Format::Text)),
            (Some("*/*, text/xml"), "", Ok(Format::TextXml)),
            (
                Some("application/json; q=1.0; charset=\"x\""),
                "",
                Ok(Format::Json),
            ),
            (Some("image/png"), "", Err(406)),
            (Some("application"), "", Err(400)),
            (Some("application/json;q=1;q=2"), "", Err(400)),
            (Some("application/xml;=0.9"), "", Err(400)),
            (None, "format=%ff", Err(400)),
        ] {
            assert_eq!(listed(accept, query), expected, "{accept:?} {query}");
        }
    }
}
