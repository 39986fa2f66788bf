//! Requests about containers.
use http::header::{ACCEPT_RANGES, CONTENT_TYPE, HeaderMap, HeaderValue, LAST_MODIFIED, VARY};
use http::{Method, StatusCode};
use virga_node::clock::Version;
use virga_object_wire::listing::{ContainerInfo, Entry, ListRequest, MetaItem, ObjectRow};

use super::accept::{Format, listing_format};
use super::access::Verdict;
use super::body::{Answer, empty, full};
use super::conditional::format_date;
use super::config::{Config, Limits};
use super::fault::Fault;
use super::headers::{self, Level};
use super::target::Target;
use super::{
    Ctx, OWNER_HEADERS, acl, container_sync, done, drop_owner_headers, etag_quoter, listing, meta_value,
    methods, not_allowed, put_number, quota, timestamp, versions,
};
use crate::core::{ContainerName, ListError};

/// Headers beside the metadata that are kept with a container.
const KEPT: &[&str] = &[
    "x-container-read",
    "x-container-write",
    "x-container-sync-key",
    container_sync::TO,
];

/// What the store keeps with a container for itself.
const SYSMETA: &str = "x-container-sysmeta-";

/// Answers a request about a container.
pub async fn handle(ctx: Ctx, name: ContainerName) -> Result<Answer, Fault> {
    match ctx.method {
        Method::GET => get(&ctx, &name).await,
        Method::HEAD => head(&ctx, &name).await,
        Method::POST => post(&ctx, &name).await,
        Method::PUT => put(&ctx, &name).await,
        Method::DELETE => delete(&ctx, &name).await,
        _ => Err(not_allowed(&methods::of(ctx.config(), &Target::Container(name)))),
    }
}

/// Who may see the container; a stranger learns nothing of whether it exists.
async fn authorize_read(
    ctx: &Ctx,
    name: &ContainerName,
    info: Option<&ContainerInfo>,
) -> Result<Verdict, Fault> {
    let acl = info.and_then(|info| meta_value(&info.meta, "x-container-read"));
    ctx.authorize_container(&ctx.method, name, false, acl).await
}

async fn get(ctx: &Ctx, name: &ContainerName) -> Result<Answer, Fault> {
    let of_versions = ctx.query.has("versions");
    let format = match of_versions {
        true => Format::Json,
        false => listing_format(&ctx.headers, &ctx.query)?,
    };
    let wanted = listing::wanted(&ctx.query, ctx.config().limits.container_listing_limit);
    let page = match &wanted {
        Ok(wanted) => match ctx.core().list_container(name, wanted.list.clone()).await {
            Ok(page) => Some(page),
            Err(ListError::NotFound) => None,
            Err(error @ ListError::Unavailable(_)) => return Err(error.into()),
        },
        Err(_) => None,
    };
    let verdict = match &page {
        Some(page) => authorize_read(ctx, name, Some(&page.info)).await?,
        None => {
            let info = ctx.core().container_info(name).await?;
            authorize_read(ctx, name, info.as_deref()).await?
        }
    };
    let wanted = wanted?;
    let page = page.ok_or_else(Fault::not_found)?;
    let info = page.info;
    let mut entries = page.entries;
    if of_versions {
        versions::list::check_format(ctx)?;
        let body = versions::list::page(ctx, name, &wanted, entries).await?;
        return answer(ctx, name, &info, verdict, (format, body)).await;
    }
    if wanted.path.is_some() {
        let resume = page.more.then(|| entries.last().map(entry_name)).flatten();
        entries = directory(ctx, name, &wanted, entries, resume).await?;
    }
    entries.truncate(wanted.limit as usize);
    let body = listing::container(format, name, &entries);
    answer(ctx, name, &info, verdict, (format, body)).await
}

fn entry_name(entry: &Entry<ObjectRow>) -> String {
    match entry {
        Entry::Row(row) => row.name.clone(),
        Entry::Subdir(name) => name.clone(),
    }
}

/// `?path=`: the rows of a pseudo-directory. Subdirectories count only where
/// an object of that very name marks them.
async fn directory(
    ctx: &Ctx,
    name: &ContainerName,
    wanted: &listing::Wanted,
    mut entries: Vec<Entry<ObjectRow>>,
    mut resume: Option<String>,
) -> Result<Vec<Entry<ObjectRow>>, Fault> {
    let path = wanted.path.as_deref().unwrap_or_default();
    let mut rows = Vec::new();
    loop {
        for entry in entries {
            match entry {
                Entry::Row(row) if row.name == path => {}
                Entry::Row(row) => rows.push(Entry::Row(row)),
                Entry::Subdir(subdir) => rows.extend(marker_row(ctx, name, &subdir).await?),
            }
            if rows.len() >= wanted.limit as usize {
                return Ok(rows);
            }
        }
        let Some(marker) = resume else { return Ok(rows) };
        let list = ListRequest {
            marker,
            ..wanted.list.clone()
        };
        let page = ctx.core().list_container(name, list).await?;
        resume = page.more.then(|| page.entries.last().map(entry_name)).flatten();
        entries = page.entries;
    }
}

/// The row of the object that is called exactly like a subdirectory.
async fn marker_row(
    ctx: &Ctx,
    name: &ContainerName,
    subdir: &str,
) -> Result<Option<Entry<ObjectRow>>, Fault> {
    let list = ListRequest {
        prefix: subdir.to_owned(),
        limit: 1,
        ..ListRequest::default()
    };
    let page = ctx.core().list_container(name, list).await?;
    Ok(page
        .entries
        .into_iter()
        .next()
        .filter(|entry| entry_name(entry) == subdir))
}

async fn head(ctx: &Ctx, name: &ContainerName) -> Result<Answer, Fault> {
    let format = listing_format(&ctx.headers, &ctx.query)?;
    let info = match ctx.core().head_container(name).await {
        Ok(info) => Some(info),
        Err(ListError::NotFound) => None,
        Err(error @ ListError::Unavailable(_)) => return Err(error.into()),
    };
    let verdict = authorize_read(ctx, name, info.as_ref()).await?;
    let info = info.ok_or_else(Fault::not_found)?;
    let mut answer = answer(ctx, name, &info, verdict, (format, bytes::Bytes::new())).await?;
    *answer.status_mut() = StatusCode::NO_CONTENT;
    Ok(answer)
}

async fn answer(
    ctx: &Ctx,
    name: &ContainerName,
    info: &ContainerInfo,
    verdict: Verdict,
    (format, body): (Format, bytes::Bytes),
) -> Result<Answer, Fault> {
    let status = if body.is_empty() {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::OK
    };
    let mut answer = Answer::new(if body.is_empty() { empty() } else { full(body) });
    *answer.status_mut() = status;
    let into = answer.headers_mut();
    describe(info, ctx.config(), into);
    versions::container::show(info, into);
    etag_quoter::show(&info.meta, Level::Container, into);
    if versions::Keeping::has_versions(info) {
        let more = versions::container::hidden_bytes(ctx.core(), name).await?;
        put_number(into, "x-container-bytes-used", info.bytes + more);
    }
    if verdict != Verdict::Owner {
        drop_owner_headers(into);
    }
    into.insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    if !ctx.query.has("format") {
        into.insert(VARY, HeaderValue::from_static("Accept"));
    }
    Ok(answer)
}

fn describe(info: &ContainerInfo, config: &Config, into: &mut HeaderMap) {
    put_number(into, "x-container-object-count", info.objects);
    put_number(into, "x-container-bytes-used", info.bytes);
    let changed = info
        .meta
        .iter()
        .map(|item| item.version)
        .fold(info.put, Version::max);
    into.insert("x-timestamp", timestamp::header(info.created));
    into.insert("x-put-timestamp", timestamp::header(changed));
    into.insert(
        LAST_MODIFIED,
        headers::to_value(&format_date(timestamp::last_modified(changed))),
    );
    into.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Some(policy) = config.policy_name(info.policy) {
        into.insert("x-storage-policy", headers::to_value(policy));
    }
    let shown = |item: &&MetaItem| !item.value.is_empty() && !item.name.starts_with(SYSMETA);
    for item in info.meta.iter().filter(shown) {
        headers::put(into, &item.name, &item.value);
    }
}

/// The changes a request asks for, checked; those that only the owner may
/// make are left out for others.
async fn changes(ctx: &Ctx, name: &ContainerName, verdict: Verdict) -> Result<Vec<(String, String)>, Fault> {
    let mut asked = ctx.headers.clone();
    for (header, write) in [("x-container-read", false), ("x-container-write", true)] {
        let Some(value) = asked.get(header) else { continue };
        let text =
            std::str::from_utf8(value.as_bytes()).map_err(|_| Fault::bad("Metadata must be valid UTF-8"))?;
        let cleaned = acl::clean(text, write)
            .map_err(|error| Fault::html(StatusCode::BAD_REQUEST, error.to_string()))?;
        asked.insert(header, headers::to_value(&cleaned));
    }
    headers::check_metadata(&asked, Level::Container, &ctx.config().limits)?;
    quota::check_container_headers(&asked)?;
    let mut changes = headers::meta_changes(&asked, Level::Container, KEPT);
    changes.extend(etag_quoter::change(&asked, Level::Container));
    if verdict != Verdict::Owner {
        changes.retain(|(name, _)| !OWNER_HEADERS.contains(&name.as_str()));
    }
    if let Some((_, to)) = changes.iter().find(|(name, _)| name == container_sync::TO) {
        container_sync::check(to)?;
    }
    if changes
        .iter()
        .any(|(name, _)| name.starts_with(Level::Container.meta_prefix()))
    {
        let there = ctx.core().container_info(name).await?;
        let there = there.as_ref().map_or(&[][..], |info| info.meta.as_slice());
        check_merged(there, &changes, Level::Container, &ctx.config().limits)?;
    }
    Ok(changes)
}

/// Checks what the metadata will be in all once `changes` are made.
///
/// # Errors
/// 400 as for too much metadata in one request.
pub fn check_merged(
    there: &[MetaItem],
    changes: &[(String, String)],
    level: Level,
    limits: &Limits,
) -> Result<(), Fault> {
    let kept = there
        .iter()
        .filter(|item| !changes.iter().any(|(name, _)| *name == item.name))
        .map(|item| (item.name.as_str(), item.value.as_str()));
    let (mut count, mut size) = (0, 0);
    for (name, value) in kept.chain(
        changes
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str())),
    ) {
        let Some(key) = name
            .strip_prefix(level.meta_prefix())
            .filter(|_| !value.is_empty())
        else {
            continue;
        };
        count += 1;
        size += key.len() + value.len();
    }
    headers::check_totals(count, size, limits)
}

async fn put(ctx: &Ctx, name: &ContainerName) -> Result<Answer, Fault> {
    let verdict = ctx.authorize_container(&ctx.method, name, false, None).await?;
    let mut changes = changes(ctx, name, verdict).await?;
    let policy = match headers::text(&ctx.headers, "x-storage-policy").filter(|policy| !policy.is_empty()) {
        Some(policy) => Some(
            ctx.config()
                .policy_named(policy)
                .ok_or_else(|| Fault::bad(format!("Invalid X-Storage-Policy '{policy}'")))?
                .index,
        ),
        None => None,
    };
    let (length, most) = (
        name.container().len(),
        ctx.config().limits.max_container_name_length,
    );
    if length > most {
        let says = format!("Container name length of {length} longer than {most}");
        return Err(Fault::html(StatusCode::BAD_REQUEST, says));
    }
    let there = ctx.core().container_info(name).await?;
    let asked = versions::container::asked(&ctx.headers, there.as_deref())?;
    changes.extend(asked.changes);
    let created = ctx.core().put_container(name, policy, changes).await?.created;
    if asked.needs_hidden {
        versions::container::make_sure_of(ctx.core(), name).await?;
    }
    Ok(done(if created {
        StatusCode::CREATED
    } else {
        StatusCode::ACCEPTED
    }))
}

async fn post(ctx: &Ctx, name: &ContainerName) -> Result<Answer, Fault> {
    let verdict = ctx.authorize_container(&ctx.method, name, false, None).await?;
    let mut changes = changes(ctx, name, verdict).await?;
    let there = ctx.core().container_info(name).await?;
    let asked = versions::container::asked(&ctx.headers, there.as_deref())?;
    changes.extend(asked.changes);
    if asked.needs_hidden && there.is_some() {
        versions::container::make_sure_of(ctx.core(), name).await?;
    }
    ctx.core().post_container(name, changes).await?;
    Ok(done(StatusCode::NO_CONTENT))
}

async fn delete(ctx: &Ctx, name: &ContainerName) -> Result<Answer, Fault> {
    ctx.authorize_container(&ctx.method, name, false, None).await?;
    versions::container::delete(ctx.core(), name).await?;
    Ok(done(StatusCode::NO_CONTENT))
}
