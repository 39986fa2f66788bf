//! Under which URL the client reached us, for the links in answers.
use http::{HeaderMap, Uri};

/// Scheme, host and prefix, without a slash at the end:
/// "http://cloud.example:5000/identity". An extension of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl(pub String);

fn first<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    // Proxies append; the first is what the client saw.
    let value = headers.get(name)?.to_str().ok()?.split(',').next()?.trim();
    (!value.is_empty()).then_some(value)
}

fn forwarded<'h>(headers: &'h HeaderMap, key: &str) -> Option<&'h str> {
    let element = first(headers, "forwarded")?;
    element.split(';').find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        name.eq_ignore_ascii_case(key).then(|| value.trim_matches('"'))
    })
}

/// Characters of a host with port, an IPv6 literal included.
fn is_host(text: &str) -> bool {
    text.len() <= 255
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b))
}

fn is_prefix(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
    text.starts_with('/') && text.len() <= 255 && text.bytes().all(plain)
}

impl BaseUrl {
    /// From the configured public URL if there is one, else from what proxies
    /// (`Forwarded`, `X-Forwarded-*`) and the client (`Host`) say. Values that
    /// are no scheme, host or path are passed over, so that nothing strange
    /// gets into links. `secure`: the connection is inside TLS.
    pub fn of_request(public: Option<&str>, headers: &HeaderMap, uri: &Uri, secure: bool) -> Self {
        if let Some(public) = public {
            return Self(public.trim_end_matches('/').to_owned());
        }
        let scheme = forwarded(headers, "proto")
            .or_else(|| first(headers, "x-forwarded-proto"))
            .filter(|s| ["http", "https"].contains(s))
            .unwrap_or(if secure { "https" } else { "http" });
        let host = forwarded(headers, "host")
            .or_else(|| first(headers, "x-forwarded-host"))
            .or_else(|| first(headers, "host"))
            .or_else(|| uri.authority().map(http::uri::Authority::as_str))
            .filter(|h| is_host(h))
            .unwrap_or("localhost");
        let prefix = first(headers, "x-forwarded-prefix")
            .filter(|p| is_prefix(p))
            .unwrap_or("");
        Self(format!("{scheme}://{host}{}", prefix.trim_end_matches('/')))
    }

    /// The URL one level further down.
    pub fn join(&self, path: &str) -> Self {
        Self(format!("{}{path}", self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(public: Option<&str>, headers: &[(&'static str, &str)]) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        BaseUrl::of_request(public, &map, &Uri::from_static("/v3"), false).0
    }

    #[test]
    fn inside_tls_links_begin_with_https() {
        let headers = HeaderMap::from_iter([(http::header::HOST, "c".parse().unwrap())]);
        let of = |secure| BaseUrl::of_request(None, &headers, &Uri::from_static("/v3"), secure).0;
        assert_eq!((of(true), of(false)), ("https://c".into(), "http://c".into()));
    }

    #[test]
    fn the_nearest_to_the_client_is_believed() {
        assert_eq!(base(None, &[]), "http://localhost");
        assert_eq!(base(None, &[("host", "c:5000")]), "http://c:5000");
        assert_eq!(
            base(
                None,
                &[
                    ("host", "c"),
                    ("x-forwarded-proto", "https"),
                    ("x-forwarded-host", "pub, inner")
                ]
            ),
            "https://pub"
        );
        assert_eq!(
            base(
                None,
                &[
                    ("host", "c"),
                    ("forwarded", "for=1.2.3.4;proto=https;host=\"[::1]:8443\"")
                ]
            ),
            "https://[::1]:8443"
        );
        assert_eq!(
            base(None, &[("host", "c"), ("x-forwarded-prefix", "/cloud/")]),
            "http://c/cloud"
        );
        assert_eq!(
            base(Some("https://my.cloud/"), &[("host", "c")]),
            "https://my.cloud"
        );
    }

    #[test]
    fn nothing_strange_gets_into_links() {
        assert_eq!(base(None, &[("host", "a\"><script>")]), "http://localhost");
        assert_eq!(
            base(None, &[("host", "c"), ("x-forwarded-proto", "javascript")]),
            "http://c"
        );
        assert_eq!(
            base(None, &[("host", "c"), ("x-forwarded-prefix", "/a b")]),
            "http://c"
        );
    }
}
