//! Requests about whole accounts.
use std::collections::HashMap;

use http::header::{ACCEPT_RANGES, CONTENT_TYPE, HeaderMap, HeaderValue, VARY};
use http::{Method, StatusCode};
use virga_node::clock::Version;
use virga_object_wire::listing::{AccountInfo, ContainerRow, Entry, ListRequest};

use super::accept::{Format, listing_format};
use super::access::Verdict;
use super::body::{Answer, empty, full};
use super::config::Config;
use super::fault::Fault;
use super::headers::{self, Level};
use super::target::Target;
use super::{
    Ctx, account_acl, cors, done, drop_owner_headers, etag_quoter, listing, meta_value, methods, not_allowed,
    put_number, quota, read_only, timestamp, versions,
};
use crate::core::{AccountName, ListError, PostMetaError};

/// Answers a request about an account.
pub async fn handle(ctx: Ctx, name: AccountName) -> Result<Answer, Fault> {
    match ctx.method {
        Method::OPTIONS => Ok(cors::account_options(&ctx, &Target::Account(name))),
        Method::GET => get(&ctx, &name).await,
        Method::HEAD => head(&ctx, &name).await,
        Method::POST => post(&ctx, &name).await,
        Method::PUT => put(&ctx, &name).await,
        Method::DELETE => delete(&ctx, &name).await,
        _ => Err(not_allowed(&methods::of(ctx.config(), &Target::Account(name)))),
    }
}

fn check_name(ctx: &Ctx, name: &AccountName) -> Result<(), Fault> {
    let (length, most) = (name.as_str().len(), ctx.config().limits.max_account_name_length);
    match length > most {
        true => {
            let says = format!("Account name length of {length} longer than {most}");
            Err(Fault::html(StatusCode::BAD_REQUEST, says))
        }
        false => Ok(()),
    }
}

/// An account that nobody has used yet looks like an empty one, if it comes
/// to be by its first use.
fn or_empty(ctx: &Ctx, name: &AccountName, error: ListError) -> Result<AccountInfo, Fault> {
    match error {
        ListError::NotFound if ctx.config().account_autocreate => {
            let now = Version::at(ctx.now);
            Ok(AccountInfo {
                account: name.as_str().to_owned(),
                created: now,
                put: now,
                ..AccountInfo::default()
            })
        }
        error => Err(error.into()),
    }
}

async fn get(ctx: &Ctx, name: &AccountName) -> Result<Answer, Fault> {
    let format = listing_format(&ctx.headers, &ctx.query)?;
    let verdict = ctx.authorize_account(name).await?;
    check_name(ctx, name)?;
    let wanted = listing::wanted(&ctx.query, ctx.config().limits.account_listing_limit)?;
    let mut list = wanted.list.clone();
    if wanted.path.is_some() {
        // Accounts know no pseudo-directories.
        list.prefix = ctx.query.text("prefix")?.unwrap_or_default().to_owned();
        list.delimiter = ctx.query.text("delimiter")?.unwrap_or_default().to_owned();
    }
    let hidden = versions::name::hidden_part(&list);
    let list = versions::name::visible(list);
    let (info, mut entries) = match ctx.core().list_account(name, list).await {
        Ok(page) => (page.info, page.entries),
        Err(error) => (or_empty(ctx, name, error)?, Vec::new()),
    };
    if format != Format::Text && !entries.is_empty() {
        add_versions(ctx, name, hidden, &mut entries).await?;
    }
    entries.truncate(wanted.limit as usize);
    let body = listing::account(format, name.as_str(), &entries, ctx.config());
    let mut answer = answer(ctx, &info, verdict, format, body);
    show_domain(ctx, name, verdict, answer.headers_mut()).await;
    Ok(answer)
}

/// Adds to the containers of a page the bytes of their objects' versions.
async fn add_versions(
    ctx: &Ctx,
    name: &AccountName,
    hidden: ListRequest,
    entries: &mut [Entry<ContainerRow>],
) -> Result<(), Fault> {
    let page = ctx.core().list_account(name, hidden).await?;
    let mut bytes: HashMap<String, u64> = HashMap::new();
    for entry in page.entries {
        let Entry::Row(row) = entry else { continue };
        if let Some(parent) = versions::name::parent(&row.name) {
            bytes.insert(parent.to_owned(), row.bytes);
        }
    }
    for entry in entries {
        if let Entry::Row(row) = entry {
            row.bytes += bytes.get(&row.name).copied().unwrap_or_default();
        }
    }
    Ok(())
}

async fn head(ctx: &Ctx, name: &AccountName) -> Result<Answer, Fault> {
    let format = listing_format(&ctx.headers, &ctx.query)?;
    let verdict = ctx.authorize_account(name).await?;
    check_name(ctx, name)?;
    let info = match ctx.core().head_account(name).await {
        Ok(info) => info,
        Err(error) => or_empty(ctx, name, error)?,
    };
    let mut answer = answer(ctx, &info, verdict, format, bytes::Bytes::new());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    show_domain(ctx, name, verdict, answer.headers_mut()).await;
    Ok(answer)
}

/// Tells the owner which domain the account's project is in: names in access
/// lists count in the default one alone.
async fn show_domain(ctx: &Ctx, name: &AccountName, verdict: Verdict, into: &mut HeaderMap) {
    if verdict != Verdict::Owner {
        return;
    }
    let project = name
        .as_str()
        .split_once('_')
        .map_or(name.as_str(), |(_, project)| project);
    if let Some(project) = ctx.swift.0.directory.project(project).await {
        headers::put(into, "x-account-project-domain-id", &project.domain_id);
    }
}

fn answer(ctx: &Ctx, info: &AccountInfo, verdict: Verdict, format: Format, body: bytes::Bytes) -> Answer {
    let status = if body.is_empty() {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::OK
    };
    let mut answer = Answer::new(if body.is_empty() { empty() } else { full(body) });
    *answer.status_mut() = status;
    let into = answer.headers_mut();
    describe(info, ctx.config(), into);
    if verdict != Verdict::Owner {
        drop_owner_headers(into);
    }
    if let Some(word) = read_only::of(info).filter(|_| ctx.is_reseller_admin()) {
        headers::put(into, read_only::HEADER, if word { "true" } else { "false" });
    }
    into.insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    if !ctx.query.has("format") {
        into.insert(VARY, HeaderValue::from_static("Accept"));
    }
    answer
}

fn describe(info: &AccountInfo, config: &Config, into: &mut HeaderMap) {
    put_number(into, "x-account-container-count", info.containers);
    put_number(into, "x-account-object-count", info.objects);
    put_number(into, "x-account-bytes-used", info.bytes);
    into.insert("x-timestamp", timestamp::header(info.created));
    into.insert("x-put-timestamp", timestamp::header(info.put));
    into.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    for totals in &info.policies {
        let Some(policy) = config.policy_name(totals.policy) else {
            continue;
        };
        let prefix = format!("x-account-storage-policy-{}", policy.to_lowercase());
        for (what, number) in [
            ("container-count", totals.containers),
            ("object-count", totals.objects),
            ("bytes-used", totals.bytes),
        ] {
            headers::put(into, &format!("{prefix}-{what}"), &number.to_string());
        }
    }
    let meta = info
        .meta
        .iter()
        .filter(|item| item.name.starts_with(Level::Account.meta_prefix()));
    for item in meta.filter(|item| !item.value.is_empty()) {
        headers::put(into, &item.name, &item.value);
    }
    if let Some(acl) = meta_value(&info.meta, account_acl::KEPT) {
        headers::put(into, account_acl::HEADER, acl);
    }
    etag_quoter::show(&info.meta, Level::Account, into);
    quota::show(info, config, into);
}

/// The changes a request asks for, checked against what is there already.
async fn changes(ctx: &Ctx, name: &AccountName) -> Result<Vec<(String, String)>, Fault> {
    headers::check_metadata(&ctx.headers, Level::Account, &ctx.config().limits)?;
    let quotas = quota::account_changes(ctx)?;
    let mut changes = headers::meta_changes(&ctx.headers, Level::Account, &[]);
    changes.retain(|(name, _)| name != "x-account-meta-quota-bytes");
    if !changes.is_empty() {
        let info = match ctx.core().head_account(name).await {
            Ok(info) => info,
            Err(error) => or_empty(ctx, name, error)?,
        };
        super::container::check_merged(&info.meta, &changes, Level::Account, &ctx.config().limits)?;
    }
    changes.extend(quotas);
    changes.extend(etag_quoter::change(&ctx.headers, Level::Account));
    changes.extend(read_only::change(ctx));
    if let Some(value) = headers::text(&ctx.headers, account_acl::HEADER) {
        changes.push((account_acl::KEPT.to_owned(), account_acl::change(value)?));
    }
    Ok(changes)
}

async fn post(ctx: &Ctx, name: &AccountName) -> Result<Answer, Fault> {
    ctx.authorize_account(name).await?;
    check_name(ctx, name)?;
    let changes = changes(ctx, name).await?;
    match ctx.core().post_account(name, changes.clone()).await {
        Ok(()) => {}
        Err(PostMetaError::NotFound) if ctx.config().account_autocreate => {
            ctx.core().put_account(name, changes).await?;
        }
        Err(error) => return Err(error.into()),
    }
    Ok(done(StatusCode::NO_CONTENT))
}

async fn put(ctx: &Ctx, name: &AccountName) -> Result<Answer, Fault> {
    if !ctx.config().allow_account_management {
        return Err(not_allowed(&methods::of(
            ctx.config(),
            &Target::Account(name.clone()),
        )));
    }
    ctx.authorize_account(name).await?;
    check_name(ctx, name)?;
    let changes = changes(ctx, name).await?;
    let created = ctx.core().put_account(name, changes).await?.created;
    Ok(done(if created {
        StatusCode::CREATED
    } else {
        StatusCode::ACCEPTED
    }))
}

async fn delete(ctx: &Ctx, name: &AccountName) -> Result<Answer, Fault> {
    if !ctx.config().allow_account_management {
        return Err(not_allowed(&methods::of(
            ctx.config(),
            &Target::Account(name.clone()),
        )));
    }
    ctx.authorize_account(name).await?;
    if !ctx.query.is_empty() {
        // Most likely meant for something that is not there: better no deletion.
        return Err(Fault::page(StatusCode::BAD_REQUEST));
    }
    ctx.core().delete_account(name).await?;
    Ok(done(StatusCode::NO_CONTENT))
}
