//! Containers as web sites: index pages, error pages and listings that people
//! can read.
//!
//! For requests without a valid token, and for those that say `X-Web-Mode`.
//! What a container's owner wants is in its metadata (`X-Container-Meta-Web-`).
//! Every page is read with the rights of who asks. A temporary URL with a
//! prefix shows the directories below it, and its links carry the signature
//! on; owners' error pages are not for its holder.
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, LOCATION};
use http::{Method, StatusCode};
use std::fmt::Write as _;
use virga_object_wire::listing::{ContainerInfo, Entry, ListRequest, ObjectRow};

use super::access::Who;
use super::actions::Level;
use super::body::{Answer, full};
use super::fault::Fault;
use super::listing::xml_escape;
use super::query::{Query, is_true};
use super::tempurl::Shared;
use super::versions::link::LinkRow;
use super::{Ctx, container, headers, meta_value, object, target, timestamp};
use crate::core::{ContainerName, ListError, ObjectName};

/// What marks a directory where the owner does not say.
const DIRECTORY: &str = "application/directory";

/// What the owner of a container wants.
#[derive(Clone, Debug, Default)]
struct Site {
    index: String,
    error: String,
    listings: String,
    css: String,
    label: String,
    directory: String,
}

impl Site {
    fn of(info: Option<&ContainerInfo>) -> Self {
        let text = |what: &str| {
            let name = format!("x-container-meta-web-{what}");
            let value = info.and_then(|info| meta_value(&info.meta, &name));
            value.unwrap_or_default().trim().to_owned()
        };
        Self {
            index: text("index"),
            error: text("error"),
            listings: text("listings"),
            css: text("listings-css"),
            label: text("listings-label"),
            directory: Some(text("directory-type"))
                .filter(|kind| !kind.is_empty())
                .unwrap_or_else(|| DIRECTORY.into()),
        }
    }

    fn is_on(&self) -> bool {
        !self.index.is_empty() || !self.listings.is_empty()
    }
}

/// Whether a request is one for a web page.
pub fn applies(ctx: &Ctx) -> bool {
    let reads = ctx.method == Method::GET || ctx.method == Method::HEAD;
    reads
        && match ctx.who {
            Who::Anonymous => true,
            Who::Known(_) => headers::truthy(&ctx.headers, "x-web-mode"),
            Who::TempUrl(_) => ctx.shared.is_some(),
        }
}

/// Whether a container is a site and the request reads it.
pub async fn is_site(ctx: &Ctx, name: &ContainerName) -> Result<bool, Fault> {
    let info = ctx.core().container_info(name).await?;
    Ok(applies(ctx) && Site::of(info.as_deref()).is_on())
}

/// Marks an answer that is a listing made here, not an object.
#[derive(Clone, Copy, Debug)]
pub struct Listing;

/// Answers a request for a container: its index page or its listing.
pub async fn site(ctx: Ctx, name: ContainerName) -> Result<Answer, Fault> {
    let info = ctx.core().container_info(&name).await?;
    let site = Site::of(info.as_deref());
    let acl = info
        .as_ref()
        .and_then(|info| meta_value(&info.meta, "x-container-read"));
    if let Err(fault) = ctx.authorize_container(&Method::GET, &name, false, acl).await {
        return error_page(&ctx, &name, &site, Err(fault)).await;
    }
    if !site.is_on() {
        return match ctx.who {
            Who::Known(_) => Err(Fault::not_found()),
            Who::Anonymous => container::handle(ctx, name).await,
            Who::TempUrl(_) => Err(ctx.denied(name.account(), (Level::Container, &ctx.method))),
        };
    }
    if !ctx.path.ends_with('/') {
        return Ok(with_slash(&ctx));
    }
    let index = match name.object(&site.index) {
        Ok(index) if !site.index.is_empty() => index,
        _ => return listing(&ctx, &name, &site, "").await,
    };
    let found = object::read(&ctx, &index).await;
    match status(&found) {
        StatusCode::NOT_FOUND => listing(&ctx, &name, &site, "").await,
        status if status.is_success() || status.is_redirection() => found,
        _ => error_page(&ctx, &name, &site, found).await,
    }
}

/// Answers a request for an object, which may be a directory.
pub async fn page(ctx: &Ctx, name: &ObjectName) -> Result<Answer, Fault> {
    let found = object::read(ctx, name).await;
    let container = name.container_name();
    let good = |status: StatusCode| status.is_success() || status.is_redirection();
    let site = Site::of(ctx.core().container_info(&container).await?.as_deref());
    match &found {
        Ok(answer) if good(answer.status()) && !is_marker(answer, &site) => return found,
        Ok(answer) if good(answer.status()) => {}
        _ if status(&found) != StatusCode::NOT_FOUND => return found,
        _ => {}
    }
    if !site.is_on() {
        return found;
    }
    let directory = format!("{}/", name.object().trim_end_matches('/'));
    let slash = name.object().ends_with('/');
    let outside = |shared: &Shared| !directory.starts_with(&shared.prefix);
    if ctx.shared.as_deref().is_some_and(outside) {
        return found;
    }
    if let (false, Ok(index)) = (
        site.index.is_empty(),
        container.object(&format!("{directory}{}", site.index)),
    ) {
        let index = object::read(ctx, &index).await;
        match status(&index) {
            status if good(status) && slash => return index,
            status if good(status) => return Ok(with_slash(ctx)),
            StatusCode::NOT_FOUND => {}
            _ => return index,
        }
    }
    if slash {
        return listing(ctx, &container, &site, name.object()).await;
    }
    match rows(ctx, &container, &directory, 1).await {
        Ok(rows) if !rows.is_empty() => Ok(with_slash(ctx)),
        _ => error_page(ctx, &container, &site, Err(Fault::not_found())).await,
    }
}

fn status(outcome: &Result<Answer, Fault>) -> StatusCode {
    match outcome {
        Ok(answer) => answer.status(),
        Err(fault) => fault.status(),
    }
}

/// Whether an object only marks a directory.
fn is_marker(answer: &Answer, site: &Site) -> bool {
    let said = answer.headers().get(CONTENT_LENGTH);
    let length = said
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok())
        .or_else(|| http_body::Body::size_hint(answer.body()).exact());
    let kind = answer.headers().get(CONTENT_TYPE);
    length.is_some_and(|length| length <= 1)
        && kind.is_some_and(|kind| kind.as_bytes() == site.directory.as_bytes())
}

/// 301 to the same path with a slash behind it.
fn with_slash(ctx: &Ctx) -> Answer {
    let secure = headers::text(&ctx.headers, "x-forwarded-proto")
        .is_some_and(|scheme| scheme.trim() == "https")
        || ctx.swift.0.secure;
    let scheme = if secure { "https" } else { "http" };
    let path = target::percent_decode_utf8(&ctx.path).unwrap_or_default();
    let path = target::quote(&path);
    // A path that begins with two slashes would name another host.
    let location = match headers::text(&ctx.headers, HOST.as_str()) {
        Some(host) => format!("{scheme}://{host}{path}/"),
        None => format!("/{}/", path.trim_start_matches('/')),
    };
    Fault::page(StatusCode::MOVED_PERMANENTLY)
        .with(LOCATION, headers::to_value(&location))
        .into_answer()
}

/// The owner's page for an error, if there is one that may be read.
async fn error_page(
    ctx: &Ctx,
    name: &ContainerName,
    site: &Site,
    outcome: Result<Answer, Fault>,
) -> Result<Answer, Fault> {
    let status = status(&outcome);
    let page = name.object(&format!("{}{}", status.as_u16(), site.error));
    let none = site.error.is_empty() || ctx.shared.is_some();
    let (false, Ok(page)) = (none, page) else {
        return outcome;
    };
    // Conditions and ranges were meant for something else.
    let mut asked = HeaderMap::new();
    let referer = ctx.headers.get("referer").cloned();
    asked.extend(referer.map(|referer| (http::header::REFERER, referer)));
    let ctx = ctx.derived(Method::GET, asked, Query::default());
    match object::read(&ctx, &page).await {
        Ok(mut answer) if answer.status().is_success() => {
            *answer.status_mut() = status;
            Ok(answer)
        }
        _ => outcome,
    }
}

/// One level of a container, if the caller may list it.
async fn rows(
    ctx: &Ctx,
    name: &ContainerName,
    prefix: &str,
    limit: u32,
) -> Result<Vec<Entry<ObjectRow>>, Fault> {
    let list = ListRequest {
        prefix: prefix.to_owned(),
        delimiter: "/".into(),
        limit,
        ..ListRequest::default()
    };
    let info = ctx.core().container_info(name).await?;
    let acl = info
        .as_ref()
        .and_then(|info| meta_value(&info.meta, "x-container-read"));
    ctx.authorize_container(&Method::GET, name, false, acl).await?;
    match ctx.core().list_container(name, list).await {
        Ok(page) => Ok(page.entries),
        Err(ListError::NotFound) => Err(Fault::not_found()),
        Err(error @ ListError::Unavailable(_)) => Err(error.into()),
    }
}

/// The listing of a directory, as a page; `prefix` is its name with a slash,
/// or empty.
async fn listing(ctx: &Ctx, name: &ContainerName, site: &Site, prefix: &str) -> Result<Answer, Fault> {
    let label = match site.label.as_str() {
        "" => format!("/v1/{}/{prefix}", name.path()),
        label => format!("{label}/{prefix}"),
    };
    if !is_true(&site.listings) {
        let off = Fault::html(StatusCode::NOT_FOUND, not_listed(&label, site, prefix));
        return error_page(ctx, name, site, Err(off)).await;
    }
    let entries = match rows(ctx, name, prefix, ctx.config().limits.container_listing_limit).await {
        Ok(entries) if entries.is_empty() && !prefix.is_empty() => Err(Fault::not_found()),
        entries => entries,
    };
    match entries {
        Ok(entries) => {
            let mut answer = Answer::new(full(write_listing(
                ctx.shared.as_deref(),
                &label,
                site,
                prefix,
                &entries,
            )));
            answer.extensions_mut().insert(Listing);
            let html = HeaderValue::from_static("text/html; charset=UTF-8");
            answer.headers_mut().insert(CONTENT_TYPE, html);
            Ok(answer)
        }
        Err(fault) => error_page(ctx, name, site, Err(fault)).await,
    }
}

fn head(label: &str, site: &Site, prefix: &str) -> String {
    let style = match site.css.as_str() {
        "" => "<style>body{font-family:sans-serif} th,td{text-align:left;padding:0 1em}</style>".to_owned(),
        css => format!(
            "<link rel=\"stylesheet\" type=\"text/css\" href=\"{}\" />",
            xml_escape(&css_path(css, prefix))
        ),
    };
    let title = xml_escape(label);
    format!("<!DOCTYPE html>\n<html>\n<head>\n<title>Listing of {title}</title>\n{style}\n</head>\n<body>\n")
}

/// Where the style sheet is, seen from a directory.
fn css_path(css: &str, prefix: &str) -> String {
    let absolute = css.starts_with('/') || css.starts_with("http://") || css.starts_with("https://");
    match absolute {
        true => css.to_owned(),
        false => format!(
            "{}{}",
            "../".repeat(prefix.matches('/').count()),
            target::quote(css)
        ),
    }
}

fn not_listed(label: &str, site: &Site, prefix: &str) -> String {
    let mut html = head(label, site, prefix);
    html.push_str("<h1>Web Listing Disabled</h1>\n<p>This site shows no lists of its files. ");
    html.push_str("Its owner can change that: X-Container-Meta-Web-Listings.</p>\n");
    if !site.index.is_empty() {
        let index = xml_escape(&site.index);
        let _ = writeln!(html, "<p>There is no file {index} here either.</p>");
    }
    html.push_str("</body>\n</html>\n");
    html
}

fn write_listing(
    shared: Option<&Shared>,
    label: &str,
    site: &Site,
    prefix: &str,
    entries: &[Entry<ObjectRow>],
) -> String {
    let mut html = head(label, site, prefix);
    let _ = write!(
        html,
        "<h1 id=\"title\">Listing of {}</h1>\n<table id=\"listing\">\n<tr id=\"heading\"><th class=\"colname\">Name</th>\
         <th class=\"colsize\">Size</th><th class=\"coldate\">Date</th></tr>\n",
        xml_escape(label)
    );
    let mut line = |class: &str, href: &str, name: &str, size: &str, date: &str| {
        let (class, name) = (xml_escape(class), xml_escape(name));
        let _ = writeln!(
            html,
            "<tr class=\"item {class}\"><td class=\"colname\"><a href=\"{href}\">{name}</a></td>\
             <td class=\"colsize\">{size}</td><td class=\"coldate\">{date}</td></tr>"
        );
    };
    let query = shared.map_or_else(String::new, |shared| format!("?{}", shared.query));
    if prefix.len() > shared.map_or(0, |shared| shared.prefix.len()) {
        line("parent", &format!("../{query}"), "../", "&nbsp;", "&nbsp;");
    }
    let bare = |name: &str| name.strip_prefix(prefix).unwrap_or(name).to_owned();
    for entry in entries {
        if let Entry::Subdir(name) = entry {
            let name = bare(name);
            line(
                "subdir",
                &format!("./{}{query}", target::quote(&name)),
                &name,
                "&nbsp;",
                "&nbsp;",
            );
        }
    }
    for entry in entries {
        if let Entry::Row(row) = entry {
            let name = bare(&row.name);
            let kinds: Vec<String> = row
                .content_type
                .to_lowercase()
                .split('/')
                .map(|part| format!("type-{part}"))
                .collect();
            let date = timestamp::iso(row.version.max(row.meta_version));
            let date = date.split('.').next().unwrap_or_default().replace('T', " ");
            line(
                &kinds.join(" "),
                &format!("./{}{query}", target::quote(&name)),
                &name,
                &readable(LinkRow::parse(&row.etag).map_or(row.size, |version| version.bytes)),
                &date,
            );
        }
    }
    html.push_str("</table>\n</body>\n</html>\n");
    html
}

/// The page of a directory with these files, for a container with these settings.
#[cfg(any(test, feature = "fuzzing"))]
pub fn fuzzed_listing([css, label, prefix]: [&str; 3], names: &[&str]) -> String {
    let site = Site {
        css: css.to_owned(),
        label: label.to_owned(),
        ..Site::default()
    };
    let row = |name: &&str| {
        let name = format!("{prefix}{name}");
        let mut row = ObjectRow::deletion(&name, virga_node::clock::Version(1));
        row.deleted = false;
        row.content_type = label.to_owned();
        Entry::Row(row)
    };
    let rows: Vec<Entry<ObjectRow>> = names.iter().map(row).collect();
    write_listing(None, label, &site, prefix, &rows)
}

/// A number of bytes in at most four digits ("12Ki").
fn readable(mut size: u64) -> String {
    let mut unit = "";
    for next in ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"] {
        if size < 1024 {
            break;
        }
        size = size / 1024 + u64::from(size % 1024 >= 512);
        unit = next;
    }
    format!("{size}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        for (size, text) in [
            (0, "0"),
            (1023, "1023"),
            (1024, "1Ki"),
            (1536, "2Ki"),
            (u64::MAX, "16Ei"),
        ] {
            assert_eq!(readable(size), text);
        }
    }

    #[test]
    fn a_style_sheet_is_found_from_every_depth() {
        for (css, prefix, path) in [
            ("a b.css", "", "a%20b.css"),
            ("a.css", "x/y/", "../../a.css"),
            ("/a.css", "x/", "/a.css"),
            ("https://h/a.css", "x/", "https://h/a.css"),
        ] {
            assert_eq!(css_path(css, prefix), path);
        }
    }
}
