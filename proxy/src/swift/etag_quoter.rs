//! ETags of objects in quotes, as HTTP has them, where account or container
//! asks for it (`X-Account-Rfc-Compliant-Etags`, `X-Container-Rfc-Compliant-Etags`).
//! Swift's own are bare, and clients of old rely on that.
use std::time::Duration;

use http::header::{ETAG, HeaderMap};
use tokio::time::timeout;
use virga_object_wire::listing::MetaItem;

use super::body::Answer;
use super::headers::{self, Level};
use super::{Swift, meta_value};
use crate::core::ContainerName;

/// Longest wait for what the account says. An object is read also while the
/// devices of its account are away, with the ETag bare then.
const PATIENCE: Duration = Duration::from_millis(100);

/// What clients send and see, and what it is kept under.
fn names(level: Level) -> (&'static str, &'static str) {
    match level {
        Level::Account => (
            "x-account-rfc-compliant-etags",
            "x-account-sysmeta-rfc-compliant-etags",
        ),
        Level::Container | Level::Object => (
            "x-container-rfc-compliant-etags",
            "x-container-sysmeta-rfc-compliant-etags",
        ),
    }
}

/// The change that a request asks for; an empty value takes the wish back.
pub fn change(asked: &HeaderMap, level: Level) -> Option<(String, String)> {
    let (header, kept) = names(level);
    let value = headers::text(asked, header)?.trim();
    let kept_value = match value {
        "" => String::new(),
        value => super::query::is_true(value).to_string(),
    };
    Some((kept.to_owned(), kept_value))
}

/// Shows what was asked for.
pub fn show(meta: &[MetaItem], level: Level, into: &mut HeaderMap) {
    let (header, kept) = names(level);
    if let Some(value) = meta_value(meta, kept) {
        let shown = if value == "true" { "True" } else { "False" };
        headers::put(into, header, shown);
    }
}

fn wish(meta: &[MetaItem], level: Level) -> Option<bool> {
    meta_value(meta, names(level).1).map(|value| value == "true")
}

async fn wanted(swift: &Swift, container: &ContainerName) -> bool {
    let core = &swift.0.core;
    let own = core.container_info(container).await.ok().flatten();
    if let Some(wish) = own.and_then(|info| wish(&info.meta, Level::Container)) {
        return wish;
    }
    let account = container.account_name();
    let Ok(Ok(Some(info))) = timeout(PATIENCE, core.account_info(&account)).await else {
        return false;
    };
    wish(&info.meta, Level::Account).unwrap_or(false)
}

/// Puts the ETag of an answer about an object in quotes, if that is wanted.
pub async fn quote(swift: &Swift, container: &ContainerName, mut answer: Answer) -> Answer {
    let bare = answer.headers().get(ETAG).map(|etag| etag.as_bytes());
    if bare.is_none_or(|etag| etag.starts_with(b"\"")) || !wanted(swift, container).await {
        return answer;
    }
    let etag = answer
        .headers()
        .get(ETAG)
        .map(headers::to_text)
        .unwrap_or_default();
    let quoted = headers::to_value(&format!("\"{etag}\""));
    answer.headers_mut().insert(ETAG, quoted);
    answer
}
