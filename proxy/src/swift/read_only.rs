//! Stores and accounts that may only be read for a time: repairs, a move.
//!
//! `read_only` of the settings is for all accounts; what the reseller admin
//! sends in a POST of an account counts for that one, either way. Swift keeps it
//! under the same name, which its operators set behind the proxy's back; here
//! the door takes it, from nobody but the reseller admin. What has expired is
//! deleted all the same. Asked for every write, by the door of the Swift API and where S3 admits
//! an operation.
use http::{HeaderValue, Method, StatusCode};
use virga_object_wire::listing::AccountInfo;

use super::fault::Fault;
use super::target::{self, Target};
use super::{Ctx, headers, meta_value};
use crate::core::{AccountName, Core};

/// Header and metadata item of an account: "true", "false", or as the settings
/// say.
pub const HEADER: &str = "x-account-sysmeta-read-only";

/// 405.
pub fn refused() -> Fault {
    Fault::plain(
        StatusCode::METHOD_NOT_ALLOWED,
        "Writes are disabled for this account.",
    )
}

/// What an account's own word is on it, if it has one.
pub fn of(info: &AccountInfo) -> Option<bool> {
    meta_value(&info.meta, HEADER).map(|word| word == "true")
}

/// Whether an account may only be read; `all` is what the settings say, and counts
/// too where the account cannot be asked: with its replicas away, objects are
/// written and deleted all the same.
pub async fn account(core: &Core, all: bool, name: &AccountName) -> bool {
    match core.account_info(name).await {
        Ok(info) => info.as_deref().and_then(of).unwrap_or(all),
        Err(_) => all,
    }
}

/// Whether a request would write where nothing may be written now.
pub(super) async fn is_locked(ctx: &Ctx, target: &Target) -> Result<bool, Fault> {
    if [Method::GET, Method::HEAD, Method::OPTIONS].contains(&ctx.method) {
        return Ok(false);
    }
    let name = match ctx.headers.get("destination-account") {
        Some(other) if ctx.method.as_str() == "COPY" => target::parse_account(other.as_bytes())?,
        _ => target.account(),
    };
    Ok(account(ctx.core(), ctx.config().read_only, &name).await)
}

/// Whether a request is one that could set an account's own word.
pub(super) fn may_switch(ctx: &Ctx, target: &Target) -> bool {
    let posts = ctx.method == Method::POST || ctx.method == Method::PUT;
    posts && matches!(target, Target::Account(_)) && ctx.query.is_empty()
}

/// Lets the word of a reseller admin through to the account, and nobody else's.
///
/// # Errors
/// 400 for what is no such word, 405 for others who write where it is `locked`.
pub(super) fn switch(
    ctx: &mut Ctx,
    target: &Target,
    word: Option<HeaderValue>,
    locked: bool,
) -> Result<(), Fault> {
    let word = word.filter(|_| may_switch(ctx, target) && ctx.is_reseller_admin());
    match word {
        None if locked => Err(refused()),
        None => Ok(()),
        Some(word) => {
            let says = match word.to_str().unwrap_or("?").trim() {
                "" => "",
                word if word.eq_ignore_ascii_case("true") => "true",
                word if word.eq_ignore_ascii_case("false") => "false",
                _ => {
                    let says =
                        "X-Account-Sysmeta-Read-Only is true, false, or empty for what the settings say";
                    return Err(Fault::bad(says));
                }
            };
            headers::put(&mut ctx.headers, HEADER, says);
            Ok(())
        }
    }
}

/// The change to an account that the request asks for, if it does.
pub(super) fn change(ctx: &Ctx) -> Option<(String, String)> {
    let word = headers::text(&ctx.headers, HEADER)?;
    Some((HEADER.to_owned(), word.to_owned()))
}
