//! Quotas of containers and accounts: who sets them, and when an upload is
//! one too many.
//!
//! A container's quota is its owner's and kept as metadata; an account's is
//! the reseller admin's and kept where no client can write. Counts are a
//! little late, so a quota can be overrun by what arrives at the same time.
use http::{HeaderMap, StatusCode};
use virga_object_wire::listing::{AccountInfo, ContainerInfo};

use super::config::Config;
use super::fault::Fault;
use super::object::Announced;
use super::versions::{self, Keeping};
use super::{Ctx, headers, meta_value};
use crate::core::{AccountName, Core, ListError, ObjectName, Unavailable};

/// What an account's quotas are kept under.
const KEPT: &str = "x-account-sysmeta-quota-";
/// What clients call them.
const SHOWN: &str = "x-account-quota-";
/// The two kinds.
const KINDS: [&str; 2] = ["bytes", "count"];

/// Refuses a container's quota that is no number.
///
/// # Errors
/// 400.
pub(super) fn check_container_headers(asked: &HeaderMap) -> Result<(), Fault> {
    for kind in KINDS {
        let value = headers::text(asked, &format!("x-container-meta-quota-{kind}")).unwrap_or_default();
        if !value.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Fault::html(
                StatusCode::BAD_REQUEST,
                format!("Invalid {kind} quota."),
            ));
        }
    }
    Ok(())
}

/// Changes of an account's quotas that a request asks for, as they are kept.
///
/// # Errors
/// 403 if the caller is not the reseller admin, 400 for what is no number.
pub(super) fn account_changes(ctx: &Ctx) -> Result<Vec<(String, String)>, Fault> {
    let mut asked = Vec::new();
    for kind in KINDS {
        asked.extend(
            change(&ctx.headers, &format!("quota-{kind}")).map(|value| (format!("{KEPT}{kind}"), value)),
        );
        for policy in &ctx.config().policies {
            let named = change(
                &ctx.headers,
                &format!("quota-{kind}-policy-{}", policy.name.to_lowercase()),
            );
            asked.extend(named.map(|value| (format!("{KEPT}{kind}-policy-{}", policy.index), value)));
        }
    }
    // The name that clients used first.
    if !asked.iter().any(|(name, _)| *name == format!("{KEPT}bytes")) {
        asked.extend(change(&ctx.headers, "meta-quota-bytes").map(|value| (format!("{KEPT}bytes"), value)));
    }
    if !asked.is_empty() && !ctx.is_reseller_admin() {
        return Err(Fault::page(StatusCode::FORBIDDEN));
    }
    match asked
        .iter()
        .all(|(_, value)| value.bytes().all(|b| b.is_ascii_digit()))
    {
        true => Ok(asked),
        false => Err(Fault::page(StatusCode::BAD_REQUEST)),
    }
}

/// The new value of one quota; empty to remove it. Removal wins.
fn change(asked: &HeaderMap, what: &str) -> Option<String> {
    if headers::text(asked, &format!("x-remove-account-{what}")).is_some_and(|value| !value.is_empty()) {
        return Some(String::new());
    }
    headers::text(asked, &format!("x-account-{what}")).map(str::to_owned)
}

/// Shows an account's quotas in its headers.
pub(super) fn show(info: &AccountInfo, config: &Config, into: &mut HeaderMap) {
    for item in &info.meta {
        let Some(what) = item.name.strip_prefix(KEPT) else {
            continue;
        };
        let shown = match what.split_once("-policy-") {
            None => Some(what.to_owned()),
            Some((kind, index)) => index
                .parse()
                .ok()
                .and_then(|index| config.policy_name(index))
                .map(|name| format!("{kind}-policy-{}", name.to_lowercase())),
        };
        if let Some(shown) = shown.filter(|_| !item.value.is_empty()) {
            headers::put(into, &format!("{SHOWN}{shown}"), &item.value);
        }
    }
}

/// Why an upload is refused for a quota, or cannot be judged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuotaError {
    /// One byte or object too many.
    #[error("Upload exceeds {0}.")]
    Exceeded(&'static str),
    /// The container has been deleted meanwhile.
    #[error("the container is not there any more")]
    NoContainer,
    /// Container or account cannot be asked.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl From<ListError> for QuotaError {
    fn from(error: ListError) -> Self {
        match error {
            ListError::NotFound => Self::NoContainer,
            ListError::Unavailable(error) => Self::Unavailable(error),
        }
    }
}

impl From<QuotaError> for Fault {
    fn from(error: QuotaError) -> Self {
        match error {
            QuotaError::Exceeded(_) => Self::html(StatusCode::PAYLOAD_TOO_LARGE, error.to_string()),
            QuotaError::NoContainer => Self::not_found(),
            QuotaError::Unavailable(error) => error.into(),
        }
    }
}

/// Refuses an upload that would exceed a quota, as far as can be told before
/// its bytes are here.
///
/// # Errors
/// 413.
pub(super) async fn check_upload(
    ctx: &Ctx,
    name: &ObjectName,
    container: &ContainerInfo,
    announced: Announced,
) -> Result<(), Fault> {
    let length = match announced {
        Announced::Length(length) => length,
        Announced::Chunked | Announced::Nothing | Announced::Unknown => 0,
    };
    let unbound = ctx.is_reseller_admin();
    Ok(check(ctx.core(), name, container, (length, unbound)).await?)
}

/// Refuses an upload of `length` bytes over either API; whoever is `unbound`, as the
/// reseller admin is, is not held by what the account may have.
///
/// # Errors
/// See [`QuotaError`].
pub async fn check(
    core: &Core,
    name: &ObjectName,
    container: &ContainerInfo,
    (length, unbound): (u64, bool),
) -> Result<(), QuotaError> {
    check_container(core, name, container, length).await?;
    match unbound {
        true => Ok(()),
        false => check_account(core, name, container.policy, length).await,
    }
}

async fn check_container(
    core: &Core,
    name: &ObjectName,
    container: &ContainerInfo,
    length: u64,
) -> Result<(), QuotaError> {
    let limit = |kind: &str| {
        meta_value(&container.meta, &format!("x-container-meta-quota-{kind}"))
            .and_then(|value| value.parse().ok())
    };
    let (bytes, count) = (limit("bytes"), limit("count"));
    if bytes.is_none() && count.is_none() {
        return Ok(());
    }
    // Counted anew: what is known of it may be a moment old.
    let now = core.head_container(&name.container_name()).await?;
    let mut used = now.bytes;
    if bytes.is_some() && Keeping::has_versions(container) {
        used += versions::container::hidden_bytes(core, &name.container_name()).await?;
    }
    within(bytes, used, length, "quota")?;
    within(count, now.objects, 1, "quota")
}

async fn check_account(core: &Core, name: &ObjectName, policy: u32, length: u64) -> Result<(), QuotaError> {
    let Ok(account) = AccountName::new(name.account()) else {
        return Ok(());
    };
    let Some(account) = core.account_info(&account).await? else {
        return Ok(());
    };
    let limit = |what: String| meta_value(&account.meta, &what).and_then(|value| value.parse().ok());
    within(limit(format!("{KEPT}bytes")), account.bytes, length, "quota")?;
    within(limit(format!("{KEPT}count")), account.objects, 1, "quota")?;
    let totals = account
        .policies
        .iter()
        .find(|totals| totals.policy == policy)
        .copied()
        .unwrap_or_default();
    within(
        limit(format!("{KEPT}bytes-policy-{policy}")),
        totals.bytes,
        length,
        "policy quota",
    )?;
    within(
        limit(format!("{KEPT}count-policy-{policy}")),
        totals.objects,
        1,
        "policy quota",
    )
}

fn within(limit: Option<u64>, used: u64, more: u64, what: &'static str) -> Result<(), QuotaError> {
    match limit {
        Some(limit) if used.saturating_add(more) > limit => Err(QuotaError::Exceeded(what)),
        Some(_) | None => Ok(()),
    }
}
