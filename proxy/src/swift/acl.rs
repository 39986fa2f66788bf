//! Access lists of containers: `X-Container-Read` and `X-Container-Write`.
//!
//! Cleaning (what is stored) and matching (who is let in). Roles and accounts
//! that own everything are not known here; see `access`.

/// Why an access list is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AclError {
    /// A referrer in a write list.
    #[error("Referrers not allowed in write ACL: '{0}'")]
    ReferrerInWrite(String),
    /// `.r:` without a host.
    #[error("No host/domain value after referrer designation in ACL: '{0}'")]
    NoHost(String),
    /// A designator that does not exist.
    #[error("Unknown designator '{0}' in ACL: '{1}'")]
    UnknownDesignator(String, String),
}

/// Brings a list into the form in which it is stored.
///
/// # Errors
/// [`AclError`] for what no list may hold.
pub fn clean(value: &str, write: bool) -> Result<String, AclError> {
    let mut items: Vec<String> = Vec::new();
    for raw in value.split(',').map(str::trim).filter(|raw| !raw.is_empty()) {
        match raw
            .split_once(':')
            .map(|(first, second)| (first.trim(), second.trim()))
        {
            Some((first, second)) if first.starts_with('.') => {
                items.push(clean_dotted(raw, first, second, write)?)
            }
            _ => items.push(raw.to_owned()),
        }
    }
    Ok(items.join(","))
}

fn clean_dotted(raw: &str, first: &str, second: &str, write: bool) -> Result<String, AclError> {
    if ![".r", ".ref", ".referer", ".referrer"].contains(&first) {
        return Err(AclError::UnknownDesignator(first.to_owned(), raw.to_owned()));
    }
    if write {
        return Err(AclError::ReferrerInWrite(raw.to_owned()));
    }
    let (minus, host) = match second.strip_prefix('-') {
        Some(host) => ("-", host.trim()),
        None => ("", second),
    };
    let host = match host.strip_prefix('*') {
        Some(domain) if !domain.is_empty() => domain.trim(),
        _ => host,
    };
    match host {
        "" | "." => Err(AclError::NoHost(raw.to_owned())),
        host => Ok(format!(".r:{minus}{host}")),
    }
}

/// A stored list, taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acl {
    referrers: Vec<String>,
    groups: Vec<String>,
}

impl Acl {
    /// Takes a stored list apart.
    pub fn parse(text: &str) -> Self {
        let mut acl = Self::default();
        for item in text.split(',').filter(|item| !item.is_empty()) {
            match item.strip_prefix(".r:") {
                Some(referrer) => acl.referrers.push(referrer.to_owned()),
                None => acl
                    .groups
                    .push(super::target::percent_decode_utf8(item).unwrap_or_else(|| item.to_owned())),
            }
        }
        acl
    }

    /// Whether the list holds exactly this group, role or `project:user`.
    pub fn holds(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }

    /// Whether the list holds this role; case does not matter.
    pub fn holds_role(&self, role: &str) -> bool {
        self.groups.iter().any(|g| g.eq_ignore_ascii_case(role))
    }

    /// Whether any item may name a user or project.
    pub fn names_anyone(&self) -> bool {
        self.groups.iter().any(|g| g.contains(':'))
    }

    /// Whether a request that came from this page is let in.
    pub fn lets_in(&self, referer: Option<&str>) -> bool {
        let host = referer.and_then(host_of).unwrap_or_else(|| "unknown".to_owned());
        let matches =
            |pattern: &str| pattern == host || (pattern.starts_with('.') && host.ends_with(pattern));
        let mut allowed = false;
        for referrer in &self.referrers {
            match referrer.strip_prefix('-') {
                Some(denied) if matches(denied) => allowed = false,
                Some(_) => {}
                None if referrer == "*" || matches(referrer) => allowed = true,
                None => {}
            }
        }
        allowed
    }
}

/// Host of a URL, lower case, without port and user.
fn host_of(url: &str) -> Option<String> {
    let rest = url.split_once("//")?.1;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    let host = match host.strip_prefix('[') {
        Some(six) => six.split(']').next()?,
        None => host.split(':').next()?,
    };
    (!host.is_empty()).then(|| host.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_list_is_cleaned_before_it_is_stored() {
        for (raw, cleaned) in [
            ("bob, sue", "bob,sue"),
            ("bob,,,sue", "bob,sue"),
            (".referrer : *", ".r:*"),
            (".ref:*.example.com", ".r:.example.com"),
            (".r:*, .rlistings", ".r:*,.rlistings"),
            (".r:- *.thief.com", ".r:-.thief.com"),
            ("p:u, *:u", "p:u,*:u"),
            ("", ""),
        ] {
            assert_eq!(clean(raw, false).as_deref(), Ok(cleaned), "{raw}");
        }
        for raw in [".r:", ".r:-", ".r:*.", ".unknown:test", ".x:y,bob"] {
            assert!(clean(raw, false).is_err(), "{raw}");
        }
        assert!(clean(".r:*", true).is_err());
        assert_eq!(clean("p:u", true).as_deref(), Ok("p:u"));
    }

    #[test]
    fn referrers_are_judged_in_order() {
        let acl = Acl::parse(".r:*,.r:-.thief.com,.r:good.thief.com");
        for (referer, expected) in [
            (None, true),
            (Some("http://a.example.com/x"), true),
            (Some("https://me@www.THIEF.com:81/x?y"), false),
            (Some("https://good.thief.com"), true),
        ] {
            assert_eq!(acl.lets_in(referer), expected, "{referer:?}");
        }
        assert!(!Acl::parse("bob,p:u").lets_in(Some("http://bob/")));
        assert!(!Acl::parse(".r:a.com").lets_in(None));
    }

    #[test]
    fn groups_are_found_and_roles_without_regard_to_case() {
        let acl = Acl::parse("Auditor,p%20q:u,.rlistings");
        assert!(acl.holds_role("auditor") && !acl.holds("auditor"));
        assert!(acl.holds("p q:u") && acl.holds(".rlistings") && acl.names_anyone());
        assert!(!Acl::parse("a,.r:*").names_anyone());
    }

    proptest! {
        #[test]
        fn a_list_lets_in_by_referrer_only_where_it_names_one(
            list in "(\\.r:|\\.ref|-|\\*|\\.|,| |:|[a-c]|%4|\u{fc}){0,16}",
            referer in prop::option::of("(http://|//|@|[a-c.:/\\[\\]]){0,10}"),
        ) {
            if let Ok(cleaned) = clean(&list, false) {
                let acl = Acl::parse(&cleaned);
                let named = cleaned.contains(".r:");
                prop_assert!(named || !acl.lets_in(referer.as_deref()));
            }
            prop_assert!(!clean(&list, true).is_ok_and(|cleaned| Acl::parse(&cleaned).lets_in(referer.as_deref())));
        }
    }
}
