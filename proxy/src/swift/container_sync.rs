//! `X-Container-Sync-To`: where a container would be copied to. No realms and no
//! hosts are set here, so nothing may be named, and what is wrong with a value is
//! said as Swift says it where its operators set none. Asked by PUT and POST of
//! containers, once it is known that the caller may set it.
use http::StatusCode;

use super::fault::Fault;

/// The header, and the item of a container's metadata.
pub const TO: &str = "x-container-sync-to";

/// Refuses a place to copy to.
///
/// # Errors
/// 400 for everything but nothing: slashes alone count as that.
pub fn check(to: &str) -> Result<(), Fault> {
    let place = to.trim_end_matches('/');
    if place.is_empty() {
        return Ok(());
    }
    let says = match place.strip_prefix("//") {
        Some(path) => of_realm(to, path),
        None => of_url(place),
    };
    Err(Fault::html(StatusCode::BAD_REQUEST, says))
}

/// `//realm/cluster/account/container`
fn of_realm(to: &str, path: &str) -> String {
    match path.split('/').collect::<Vec<_>>()[..] {
        [realm, _, _, _] => format!("No realm key for '{realm}'"),
        _ => format!("Invalid X-Container-Sync-To format '{to}'"),
    }
}

/// `http://host/v1/account/container`
fn of_url(place: &str) -> String {
    let (scheme, rest) = scheme_of(place);
    if scheme != "http" && scheme != "https" {
        return format!(
            "Invalid scheme '{scheme}' in X-Container-Sync-To, must be \"//\", \"http\", or \"https\"."
        );
    }
    let (authority, path) = match rest.strip_prefix("//") {
        Some(rest) => rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len())),
        None => ("", rest),
    };
    if path.is_empty() || path.starts_with(['?', '#', ';']) {
        return "Path required in X-Container-Sync-To".to_owned();
    }
    let last = path.rsplit('/').next().unwrap_or_default();
    if path.contains(['?', '#']) || last.contains(';') {
        return "Params, queries, and fragments not allowed in X-Container-Sync-To".to_owned();
    }
    match host_of(authority).as_str() {
        "" => "Invalid host None in X-Container-Sync-To".to_owned(),
        host => format!("Invalid host '{host}' in X-Container-Sync-To"),
    }
}

/// The scheme of a URL in small letters, empty where there is none, and what follows.
fn scheme_of(url: &str) -> (String, &str) {
    let is_one = |scheme: &str| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    };
    match url.split_once(':') {
        Some((scheme, rest)) if is_one(scheme) => (scheme.to_ascii_lowercase(), rest),
        _ => (String::new(), url),
    }
}

/// The host in front of a path: without user, port and brackets.
fn host_of(authority: &str) -> String {
    let host = authority.rsplit('@').next().unwrap_or_default();
    let bare = match host.strip_prefix('[') {
        Some(inner) => inner.split(']').next(),
        None => host.split(':').next(),
    };
    bare.unwrap_or_default().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_refused_in_the_words_of_swift() {
        for (to, says) in [
            ("//realm/cluster/a/c", "No realm key for 'realm'"),
            ("//realm/cluster/a/c/", "No realm key for 'realm'"),
            ("//realm/c", "Invalid X-Container-Sync-To format '//realm/c'"),
            (
                "a/b",
                "Invalid scheme '' in X-Container-Sync-To, must be \"//\", \"http\", or \"https\".",
            ),
            (
                "FTP://h/v1/a/c",
                "Invalid scheme 'ftp' in X-Container-Sync-To, must be \"//\", \"http\", or \"https\".",
            ),
            ("http://host", "Path required in X-Container-Sync-To"),
            ("https://host?x=y", "Path required in X-Container-Sync-To"),
            (
                "http://host/v1/a/c?x",
                "Params, queries, and fragments not allowed in X-Container-Sync-To",
            ),
            (
                "http://host/v1/a/c;x",
                "Params, queries, and fragments not allowed in X-Container-Sync-To",
            ),
            (
                "http://u@Host:80/v1/a/c",
                "Invalid host 'host' in X-Container-Sync-To",
            ),
            ("http://[::1]:80/a", "Invalid host '::1' in X-Container-Sync-To"),
            ("http:/v1/a/c", "Invalid host None in X-Container-Sync-To"),
        ] {
            let fault = check(to).unwrap_err();
            assert_eq!((fault.status().as_u16(), fault.text()), (400, says.to_owned()));
        }
        for nothing in ["", "/", "///"] {
            assert!(check(nothing).is_ok());
        }
    }
}
