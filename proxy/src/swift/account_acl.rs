//! Access lists of whole accounts: `X-Account-Access-Control`, a JSON object
//! with the lists "admin", "read-write" and "read-only".
//!
//! An entry is `project:user`, each by id, by name or `*`, as in the lists of
//! containers. Admins are owners but for making and deleting the account;
//! who may write may do all in it, but change nothing of the account itself.
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use virga_object_wire::listing::AccountInfo;

use super::access::{Verdict, Wish};
use super::fault::Fault;
use super::meta_value;

/// The header.
pub const HEADER: &str = "x-account-access-control";
/// What it is kept under.
pub const KEPT: &str = "x-account-sysmeta-core-access-control";

/// An access list, taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct AccountAcl {
    #[serde(skip_serializing_if = "Option::is_none")]
    admin: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    read_write: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    read_only: Option<Vec<String>>,
}

impl AccountAcl {
    /// The list of an account, if it has one.
    pub fn of(info: &AccountInfo) -> Option<Self> {
        serde_json::from_str(meta_value(&info.meta, KEPT)?).ok()
    }

    /// Whether nobody is in it.
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What it grants to the caller whose names `is` knows.
    pub fn grants(&self, wish: &Wish<'_>, is: impl Fn(&str) -> bool) -> Verdict {
        let holds = |list: &Option<Vec<String>>| list.iter().flatten().any(|entry| is(entry));
        let reads = wish.method == Method::GET || wish.method == Method::HEAD;
        let makes = wish.container.is_none() && (wish.method == Method::PUT || wish.method == Method::DELETE);
        if !makes && holds(&self.admin) {
            return Verdict::Owner;
        }
        let writer = holds(&self.read_write) && (reads || wish.container.is_some());
        match writer || (reads && holds(&self.read_only)) {
            true => Verdict::Granted,
            false => Verdict::Denied,
        }
    }
}

/// The change that a request asks for, as it is kept; empty to remove it.
///
/// # Errors
/// 400 for what is no such JSON.
pub fn change(value: &str) -> Result<String, Fault> {
    if value.trim().is_empty() {
        return Ok(String::new());
    }
    let refused = |error: serde_json::Error| {
        let says = format!(
            "X-Account-Access-Control invalid: {error}; it is a JSON object whose keys are admin, read-write and \
             read-only, each with a list of \"project:user\""
        );
        Fault::plain(StatusCode::BAD_REQUEST, says)
    };
    // By way of an object: a list would pass for one with everything left out.
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(value).map_err(refused)?;
    let acl: AccountAcl = serde_json::from_value(object.into()).map_err(refused)?;
    match acl.is_empty() {
        true => Ok(String::new()),
        false => serde_json::to_string(&acl).map_err(refused),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lists_are_kept_in_short_and_nonsense_is_refused() {
        for (value, kept) in [
            ("{ \"admin\" : [\"a:b\"] }", Ok("{\"admin\":[\"a:b\"]}")),
            (
                "{\"read-only\":[],\"read-write\":[\"*:*\"]}",
                Ok("{\"read-write\":[\"*:*\"],\"read-only\":[]}"),
            ),
            ("{}", Ok("")),
            ("", Ok("")),
            ("yuck", Err(400)),
            ("[]", Err(400)),
            ("{\"admin\":\"a:b\"}", Err(400)),
            ("{\"admin\":[1]}", Err(400)),
            ("{\"other\":[]}", Err(400)),
        ] {
            let changed = change(value).map_err(|fault| fault.status().as_u16());
            assert_eq!(changed, kept.map(str::to_owned), "{value}");
        }
    }

    #[test]
    fn each_list_grants_its_own() {
        let list = Some(vec!["p:u".to_owned()]);
        let wish = |method, container| Wish {
            method,
            account: "AUTH_x",
            container,
            object: false,
            acl: None,
            referer: None,
        };
        let (get, post, put) = (Method::GET, Method::POST, Method::PUT);
        let cases = [
            (&get, None),
            (&post, None),
            (&put, None),
            (&get, Some("c")),
            (&put, Some("c")),
        ];
        let granted = |acl: &AccountAcl, who: &str| {
            cases.map(|(method, container)| acl.grants(&wish(method, container), |entry| entry == who))
        };
        use Verdict::{Denied, Granted, Owner};
        for (acl, expected) in [
            (
                AccountAcl {
                    admin: list.clone(),
                    ..AccountAcl::default()
                },
                [Owner, Owner, Denied, Owner, Owner],
            ),
            (
                AccountAcl {
                    read_write: list.clone(),
                    ..AccountAcl::default()
                },
                [Granted, Denied, Denied, Granted, Granted],
            ),
            (
                AccountAcl {
                    read_only: list.clone(),
                    ..AccountAcl::default()
                },
                [Granted, Denied, Denied, Granted, Denied],
            ),
        ] {
            assert_eq!(granted(&acl, "p:u"), expected, "{acl:?}");
            assert_eq!(granted(&acl, "p:v"), [Denied; 5], "{acl:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_kept_is_kept_again_the_same(text in "[\\[\\]{}\",:a-z-]{0,40}") {
            if let Ok(kept) = change(&text) {
                prop_assert_eq!(change(&kept).unwrap(), kept);
            }
        }
    }
}
