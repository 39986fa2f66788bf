//! Many deletions in one request, with a report of what came of them.
use futures_util::{StreamExt, stream};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Method, StatusCode};

use super::accept::{Format, report_format};
use super::body::Answer;
use super::fault::{self, Fault};
use super::query::Query;
use super::report::{Field, Report, heartbeat};
use super::target::Target;
use super::upload::Upload;
use super::versions::name::VersionId;
use super::{Ctx, container, object, ratelimit, target};
use crate::core::{AccountName, ContainerName, ObjectName};

/// One deletion to be done, or known not to be possible.
#[derive(Debug)]
pub enum Item {
    /// "/container" or "/container/object".
    Name(String),
    /// One version of "/container/object".
    Version(String, VersionId),
    /// A name that is not UTF-8.
    Garbled(Vec<u8>),
    /// A name whose deletion failed before it began.
    Failed(String, Fault),
}

/// Whether a request is for many deletions, whatever its path names.
pub fn is_wanted(ctx: &Ctx) -> bool {
    (ctx.method == Method::POST || ctx.method == Method::DELETE) && ctx.query.has("bulk-delete")
}

/// `?bulk-delete` in an account: the body names what is to go, a line each.
pub async fn delete(ctx: Ctx, name: AccountName, mut upload: Upload) -> Result<Answer, Fault> {
    let format = report_format(&ctx.headers, None);
    let shown = format.unwrap_or(Format::Text);
    let given = super::headers::text(&ctx.headers, "content-type").unwrap_or_default();
    let items = if format.is_none() || !(given.is_empty() || given.starts_with("text/plain")) {
        Err(not_acceptable())
    } else if object::announced_length(&ctx.headers) == object::Announced::Nothing {
        Err(Fault::page(StatusCode::LENGTH_REQUIRED))
    } else {
        read_names(&ctx, &mut upload).await
    };
    let work = async move {
        let most = ctx.config().bulk.max_failed_deletes;
        let report = match items {
            Ok(items) => run(&ctx, name.as_str(), items, most).await,
            Err(fault) => failed(&fault),
        };
        report.write(shown, "delete")
    };
    let mut answer = Answer::new(heartbeat(work, shown, false).await);
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(shown.mime()));
    Ok(answer)
}

async fn read_names(ctx: &Ctx, upload: &mut Upload) -> Result<Vec<Item>, Fault> {
    let limits = &ctx.config().limits;
    // A name may be percent-encoded throughout.
    let longest = (limits.max_container_name_length + limits.max_object_name_length + 2) * 3;
    let most = ctx.config().bulk.max_deletes_per_request;
    let (mut items, mut line) = (Vec::new(), Vec::new());
    while let Some(piece) = upload.next().await {
        for byte in piece? {
            match byte {
                b'\n' => items.extend(read_line(&std::mem::take(&mut line))),
                byte => line.push(byte),
            }
            if line.len() > longest {
                return Err(Fault::html(StatusCode::BAD_REQUEST, "Invalid File Name"));
            }
            if items.len() > most {
                return Err(too_many(most));
            }
        }
    }
    items.extend(read_line(&line));
    match items.len() > most {
        true => Err(too_many(most)),
        false => Ok(items),
    }
}

fn too_many(most: usize) -> Fault {
    let says = format!("Maximum Bulk Deletes: {most} per request");
    Fault::html(StatusCode::PAYLOAD_TOO_LARGE, says)
}

/// Why there is no report in a format that the client accepts, or of a body of
/// another type: the status alone.
pub fn not_acceptable() -> Fault {
    Fault::html(StatusCode::NOT_ACCEPTABLE, "")
}

fn read_line(line: &[u8]) -> Option<Item> {
    let line = line.trim_ascii();
    if line.is_empty() {
        return None;
    }
    Some(match String::from_utf8(target::percent_decode(line)) {
        Ok(name) if !name.contains('\0') => Item::Name(name),
        Ok(name) => Item::Garbled(name.into_bytes()),
        Err(bytes) => Item::Garbled(bytes.into_bytes()),
    })
}

/// The report of work that was refused as a whole.
pub fn failed(fault: &Fault) -> Report {
    let mut report = counted(0, 0);
    report.set("Response Status", Field::Text(fault::status_line(fault.status())));
    report.set("Response Body", Field::Text(fault.text()));
    report
}

fn counted(deleted: u64, missing: u64) -> Report {
    let mut report = Report::default();
    report.set("Number Deleted", Field::Number(deleted));
    report.set("Number Not Found", Field::Number(missing));
    report
}

/// What came of one deletion: its name, percent-encoded, and a status.
type Outcome = (String, StatusCode, Option<String>);

/// Deletes all items, objects before containers, and reports. Stops after
/// `most_failures`.
pub async fn run(ctx: &Ctx, account: &str, items: Vec<Item>, most_failures: usize) -> Report {
    let is_object = |item: &Item| match item {
        Item::Name(name) | Item::Version(name, _) | Item::Failed(name, _) => {
            name.trim_matches('/').contains('/')
        }
        Item::Garbled(_) => true,
    };
    let (objects, containers): (Vec<Item>, Vec<Item>) = items.into_iter().partition(is_object);
    let (mut deleted, mut missing, mut server_failed) = (0, 0, false);
    let mut errors: Vec<(String, String)> = Vec::new();
    for batch in [objects, containers] {
        let work = batch.into_iter().map(|item| delete_one(ctx, account, item));
        let mut outcomes = stream::iter(work).buffered(ctx.config().bulk.delete_concurrency.max(1));
        while let Some((name, status, message)) = outcomes.next().await {
            match status {
                status if status.is_success() => deleted += 1,
                StatusCode::NOT_FOUND => missing += 1,
                status => {
                    server_failed |= status.is_server_error();
                    errors.push((name, message.unwrap_or_else(|| fault::status_line(status))));
                }
            }
            if errors.len() >= most_failures {
                let fault = Fault::html(StatusCode::BAD_REQUEST, "Max delete failures exceeded");
                let mut report = counted(deleted, missing);
                report.set("Response Status", Field::Text(fault::status_line(fault.status())));
                report.set("Response Body", Field::Text(fault.text()));
                return Report { errors, ..report };
            }
        }
    }
    let mut report = counted(deleted, missing);
    let (status, body) = match (errors.is_empty(), deleted + missing) {
        (false, _) if server_failed => (StatusCode::BAD_GATEWAY, ""),
        (false, _) => (StatusCode::BAD_REQUEST, ""),
        (true, 0) => (StatusCode::BAD_REQUEST, "Invalid bulk delete."),
        (true, _) => (StatusCode::OK, ""),
    };
    report.set("Response Status", Field::Text(fault::status_line(status)));
    report.set("Response Body", Field::Text(body.to_owned()));
    Report { errors, ..report }
}

/// Counts one deletion of several. The segments of a manifest go with it.
async fn admit(ctx: &Ctx, own: &Ctx, target: &Target) -> Result<(), Fault> {
    match is_wanted(ctx) {
        true => ratelimit::admit(own, target).await,
        false => Ok(()),
    }
}

async fn delete_one(ctx: &Ctx, account: &str, item: Item) -> Outcome {
    let mut query = Query::default();
    let name = match item {
        Item::Name(name) => name,
        Item::Version(name, id) => {
            query = query.with("version-id", &id.to_string());
            name
        }
        Item::Garbled(name) => return (target::quote_bytes(&name), StatusCode::PRECONDITION_FAILED, None),
        Item::Failed(name, fault) => return (target::quote(&name), fault.status(), Some(fault.text())),
    };
    let quoted = target::quote(&name);
    let mut kept = HeaderMap::new();
    kept.extend(
        ctx.headers
            .get("referer")
            .map(|referer| (http::header::REFERER, referer.clone())),
    );
    let own = ctx.derived(Method::DELETE, kept, query);
    let bare = name.trim_start_matches('/');
    let done = match bare.split_once('/') {
        Some((container, object)) if !object.is_empty() => {
            match ObjectName::new(account, container, object) {
                Ok(object) => match admit(ctx, &own, &Target::Object(object.clone())).await {
                    Ok(()) => object::delete(&own, &object).await,
                    Err(fault) => Err(fault),
                },
                Err(_) => Err(Fault::page(StatusCode::BAD_REQUEST)),
            }
        }
        _ => match ContainerName::new(account, bare.trim_end_matches('/')) {
            Ok(container) => match admit(ctx, &own, &Target::Container(container.clone())).await {
                Ok(()) => container::handle(own, container).await,
                Err(fault) => Err(fault),
            },
            Err(_) => Err(Fault::page(StatusCode::BAD_REQUEST)),
        },
    };
    let status = done.map_or_else(|fault| fault.status(), |answer| answer.status());
    (quoted, status, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_names_percent_encoded_or_not() {
        let name = |line: &[u8]| match read_line(line) {
            Some(Item::Name(name)) => Some(name),
            _ => None,
        };
        assert_eq!(name(b" /c/o%20p\r").as_deref(), Some("/c/o p"));
        assert_eq!(name(b"c").as_deref(), Some("c"));
        assert_eq!(name(b"  "), None);
        assert!(matches!(read_line(b"/c/%ff"), Some(Item::Garbled(_))));
        assert!(matches!(read_line(b"/c/%00"), Some(Item::Garbled(_))));
    }
}
