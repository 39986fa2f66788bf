//! Accounts and containers in the host name: `container.AUTH-account.domain`.
//!
//! Turns such a request's path into the usual one before anything looks at
//! it. Host names know no underscores and no case, so an account's prefix may
//! be written with a dash and in any case; the rest must be as it is.
use super::config::Config;
use super::fault::Fault;
use super::target::quote;

/// The path below `/v1` that host and path of a request stand for, `None`
/// where the host is not below a storage domain or names no account of ours.
///
/// # Errors
/// 400 for a host with more than a container and an account in front.
pub fn remap(config: &Config, host: &str, path: &str) -> Result<Option<String>, Fault> {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let below = |domain: &String| {
        let at = name.len().checked_sub(domain.len())?;
        let (front, tail) = name.split_at_checked(at)?;
        front
            .strip_suffix('.')
            .filter(|_| tail.eq_ignore_ascii_case(domain))
    };
    let Some(front) = config.storage_domains.iter().find_map(below) else {
        return Ok(None);
    };
    let (container, account) = match front.split('.').collect::<Vec<_>>()[..] {
        [account] => (None, account),
        [container, account] => (Some(container), account),
        _ => return Err(Fault::bad("Bad domain in host header")),
    };
    let Some(account) = account_name(config, account) else {
        return Ok(None);
    };
    let account = quote(&account);
    Ok(Some(match container {
        Some(container) => format!("/v1/{account}/{}{path}", quote(container)),
        None => format!("/v1/{account}{path}"),
    }))
}

/// An account as the host names it, with its prefix as it is configured.
fn account_name(config: &Config, host: &str) -> Option<String> {
    let account = match host.contains('_') {
        true => host.to_owned(),
        false => host.replacen('-', "_", 1),
    };
    config
        .resellers
        .iter()
        .map(|reseller| reseller.prefix.as_str())
        .filter(|prefix| !prefix.is_empty())
        .find_map(|prefix| {
            let (front, rest) = account.split_at_checked(prefix.len())?;
            front
                .eq_ignore_ascii_case(prefix)
                .then(|| format!("{prefix}{rest}"))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_below_a_storage_domain_stands_for_account_and_container() {
        let config = Config {
            storage_domains: vec!["store.example".into()],
            ..Config::default()
        };
        for (host, path, expected) in [
            ("AUTH_p.store.example", "/", Some("/v1/AUTH_p/")),
            ("auth-p.Store.Example:8080", "/c/o", Some("/v1/AUTH_p/c/o")),
            (
                "c.auth-p-q.store.example",
                "//o%20p",
                Some("/v1/AUTH_p-q/c//o%20p"),
            ),
            ("c%2Fd.AUTH_p.store.example", "/", Some("/v1/AUTH_p/c%252Fd/")),
            ("OTHER_p.store.example", "/v1/AUTH_p", None),
            ("store.example", "/v1/AUTH_p", None),
            ("AUTH_p.evilstore.example", "/", None),
            ("127.0.0.1:80", "/v1/AUTH_p", None),
            ("", "/", None),
        ] {
            let found = remap(&config, host, path).unwrap();
            assert_eq!(found.as_deref(), expected, "{host}");
        }
        let many = remap(&config, "a.c.AUTH_p.store.example", "/").unwrap_err();
        assert_eq!(many.status(), 400);
    }
}
