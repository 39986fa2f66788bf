//! From a request's path to what it names.
//!
//! Percent-decoding, UTF-8, versions and the three levels, as Swift splits
//! them; lengths of names are judged by the handlers, which know the limits.
use crate::core::{AccountName, ContainerName, ObjectName};

use super::fault::Fault;
use http::StatusCode;

/// What a path below `/v1` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// An account.
    Account(AccountName),
    /// A container.
    Container(ContainerName),
    /// An object.
    Object(ObjectName),
}

impl Target {
    /// The account that it lies in.
    pub fn account(&self) -> AccountName {
        match self {
            Self::Account(name) => name.clone(),
            Self::Container(name) => name.account_name(),
            Self::Object(name) => name.container_name().account_name(),
        }
    }
}

/// Decodes `%XX`; anything else stays as it is, as Swift does with lone
/// percent signs.
pub fn percent_decode(text: &[u8]) -> Vec<u8> {
    percent_encoding::percent_decode(text).collect()
}

/// Decodes `%XX` into UTF-8 without NUL.
pub fn percent_decode_utf8(text: &str) -> Option<String> {
    String::from_utf8(percent_decode(text.as_bytes()))
        .ok()
        .filter(|text| !text.contains('\0'))
}

/// Bytes that stay as they are in a quoted path, as Python quotes them.
const UNQUOTED: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Percent-encodes a name, slashes left alone.
pub fn quote(name: &str) -> String {
    percent_encoding::utf8_percent_encode(name, UNQUOTED).to_string()
}

/// Percent-encodes a name that is not UTF-8, slashes left alone.
pub fn quote_bytes(name: &[u8]) -> String {
    percent_encoding::percent_encode(name, UNQUOTED).to_string()
}

/// Reads the path of a request ("/v1/AUTH_x/c/o", still encoded).
///
/// # Errors
/// 412 for what is not UTF-8 or holds NUL and for paths that name nothing,
/// 404 for empty parts, 400 for other versions.
pub fn parse(path: &str) -> Result<Target, Fault> {
    let Some(decoded) = percent_decode_utf8(path) else {
        return Err(Fault::precondition("Invalid UTF8 or contains NULL"));
    };
    let path = decoded
        .strip_prefix("/object")
        .filter(|rest| rest.starts_with("/v1/"))
        .unwrap_or(&decoded);
    let mut parts = path
        .strip_prefix('/')
        .ok_or_else(Fault::not_found)?
        .splitn(4, '/');
    let version = parts.next().unwrap_or_default();
    let account = parts.next().unwrap_or_default();
    let more = parts.next();
    let container = more.unwrap_or_default();
    let object = parts.next().unwrap_or_default();
    if version.is_empty() {
        return Err(Fault::not_found());
    }
    if account.is_empty() {
        return match more {
            None => Err(Fault::precondition("Bad URL")),
            Some(_) => Err(Fault::not_found()),
        };
    }
    if version != "v1" && version != "v1.0" {
        return Err(Fault::page(StatusCode::BAD_REQUEST));
    }
    let name = |_| Fault::not_found();
    match (container, object) {
        ("", "") => AccountName::new(account).map(Target::Account).map_err(name),
        ("", _) => Err(Fault::not_found()),
        (container, "") => ContainerName::new(account, container)
            .map(Target::Container)
            .map_err(name),
        (container, object) => ObjectName::new(account, container, object)
            .map(Target::Object)
            .map_err(name),
    }
}

/// Reads "container/object" from a header (`X-Copy-From`, `Destination`),
/// percent-encoded, with or without a slash in front.
///
/// # Errors
/// 412 with `says` if it is not of that form, 412 if it is not UTF-8.
pub fn parse_pair(value: &[u8], account: &str, says: &str) -> Result<ObjectName, Fault> {
    let text = std::str::from_utf8(value).ok().and_then(percent_decode_utf8);
    let Some(text) = text else {
        return Err(Fault::precondition("Invalid UTF8 or contains NULL"));
    };
    let rest = text.strip_prefix('/').unwrap_or(&text);
    let (container, object) = rest.split_once('/').unwrap_or((rest, ""));
    ObjectName::new(account, container, object).map_err(|_| Fault::precondition(says))
}

/// Reads an account name from a header, percent-encoded.
///
/// # Errors
/// 412 as Swift says it.
pub fn parse_account(value: &[u8]) -> Result<AccountName, Fault> {
    let text = std::str::from_utf8(value)
        .ok()
        .and_then(percent_decode_utf8)
        .unwrap_or_default();
    AccountName::new(&text).map_err(|_| match text.is_empty() {
        true => Fault::precondition("Account name cannot be empty"),
        false => Fault::precondition("Account name cannot contain slashes"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(path: &str) -> u16 {
        parse(path).unwrap_err().status().as_u16()
    }

    #[test]
    fn a_path_names_an_account_a_container_or_an_object() {
        let account = AccountName::new("AUTH_a").unwrap();
        let container = ContainerName::new("AUTH_a", "c d").unwrap();
        for path in ["/v1/AUTH_a", "/v1.0/AUTH_a/", "/object/v1/AUTH_a"] {
            assert_eq!(parse(path).unwrap(), Target::Account(account.clone()), "{path}");
        }
        for path in ["/v1/AUTH_a/c%20d", "/v1/AUTH%5Fa/c d/"] {
            assert_eq!(
                parse(path).unwrap(),
                Target::Container(container.clone()),
                "{path}"
            );
        }
        let object = container.object("o//p%").unwrap();
        assert_eq!(
            parse("/v1/AUTH_a/c%20d/o//p%25").unwrap(),
            Target::Object(object.clone())
        );
        assert_eq!(parse("/v1/AUTH_a/c%20d/o//p%").unwrap(), Target::Object(object));
    }

    #[test]
    fn a_path_that_names_nothing_gets_swifts_own_answer() {
        for (path, expected) in [
            ("/v1", 412),
            ("/v1/", 412),
            ("/v1//", 404),
            ("/v1//c/o", 404),
            ("/v1///o", 404),
            ("/v1/a//o", 404),
            ("/", 404),
            ("//v1/a", 404),
            ("/v2/a", 400),
            ("/v1/a/%ff", 412),
            ("/v1/a/%00", 412),
            ("/v1/a/c/%ed%a0%80", 412),
        ] {
            assert_eq!(status(path), expected, "{path}");
        }
    }

    #[test]
    fn a_pair_is_read_with_or_without_a_slash_in_front() {
        for text in ["c/o%2Fp", "/c/o/p"] {
            let name = parse_pair(text.as_bytes(), "a", "no").unwrap();
            assert_eq!((name.container(), name.object()), ("c", "o/p"), "{text}");
        }
        for text in ["c", "/c", "//o", "c/", ""] {
            assert_eq!(
                parse_pair(text.as_bytes(), "a", "no").unwrap_err().status(),
                412,
                "{text}"
            );
        }
    }
}
