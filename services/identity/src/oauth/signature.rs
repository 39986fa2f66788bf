//! Requests signed by OAuth 1.0a (RFC 5849): read, and their signature computed
//! anew with HMAC-SHA1 or HMAC-SHA256.
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha1::Sha1;
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// What stays as it is (section 3.6).
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// Longest header that is read, in bytes.
const MAX_HEADER: usize = 8 * 1024;

/// Why a request is not one that could have been signed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SignedError {
    /// The header is not of this kind.
    #[error("Expecting an Authorization header that begins with OAuth.")]
    NoHeader,
    /// The header cannot be taken apart.
    #[error("The Authorization header is malformed.")]
    Malformed,
    /// A part is missing.
    #[error("Expecting to find {0} in the Authorization header.")]
    Missing(&'static str),
    /// The parameter says something that is not known here.
    #[error("{0} is not supported.")]
    Unsupported(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Sha1,
    Sha256,
}

/// A signed request.
#[derive(Debug)]
pub(crate) struct Signed {
    pub(crate) consumer: String,
    /// The request token or access token.
    pub(crate) token: Option<String>,
    pub(crate) verifier: Option<String>,
    /// Seconds since the epoch.
    pub(crate) timestamp: u64,
    pub(crate) nonce: String,
    method: Method,
    signature: Vec<u8>,
    /// What may have been signed: one text for each URL.
    bases: Vec<String>,
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

fn decoded(text: &str) -> Result<String, SignedError> {
    let text = percent_decode_str(text).decode_utf8();
    text.map(|t| t.into_owned()).map_err(|_| SignedError::Malformed)
}

/// The parameters of the header.
fn parameters(header: &str) -> Result<Vec<(String, String)>, SignedError> {
    let scheme = header.get(..6).filter(|s| s.eq_ignore_ascii_case("OAuth "));
    scheme.ok_or(SignedError::NoHeader)?;
    if header.len() > MAX_HEADER {
        return Err(SignedError::Malformed);
    }
    let mut found: Vec<(String, String)> = Vec::new();
    for part in header[6..].split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let (name, value) = part.split_once('=').ok_or(SignedError::Malformed)?;
        let quoted = value.trim().strip_prefix('"').and_then(|v| v.strip_suffix('"'));
        let (name, value) = (
            decoded(name.trim())?,
            decoded(quoted.ok_or(SignedError::Malformed)?)?,
        );
        // Twice the same could mean one thing here and another elsewhere.
        if found.iter().any(|(n, _)| *n == name) {
            return Err(SignedError::Malformed);
        }
        if name != "realm" {
            found.push((name, value));
        }
    }
    Ok(found)
}

/// Scheme and host in lower case, without the port that the scheme implies and
/// without a query.
fn base_url(url: &str) -> String {
    let url = url.split('?').next().unwrap_or_default();
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (scheme, host) = (scheme.to_ascii_lowercase(), host.to_ascii_lowercase());
    let port = if scheme == "https" { ":443" } else { ":80" };
    let host = host.strip_suffix(port).unwrap_or(&host);
    let path = if path.is_empty() { "/" } else { path };
    format!("{scheme}://{host}{path}")
}

impl Signed {
    /// Reads the `Authorization` header of a request to `url` with these other
    /// parameters: of its query, and of its body if that is a form.
    pub(crate) fn read(
        header: &str,
        method: &str,
        url: &str,
        others: &[(String, String)],
    ) -> Result<Self, SignedError> {
        let own = parameters(header)?;
        let some = |name: &str| own.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
        let need = |name: &'static str| {
            some(name)
                .filter(|v| !v.is_empty())
                .ok_or(SignedError::Missing(name))
        };
        if some("oauth_version").is_some_and(|v| v != "1.0") {
            return Err(SignedError::Unsupported("oauth_version"));
        }
        let signed_by = match need("oauth_signature_method")?.as_str() {
            "HMAC-SHA1" => Method::Sha1,
            "HMAC-SHA256" => Method::Sha256,
            _ => return Err(SignedError::Unsupported("oauth_signature_method")),
        };
        let timestamp = need("oauth_timestamp")?.parse();
        let signature = STANDARD.decode(need("oauth_signature")?);
        let mut signed: Vec<(String, String)> = own
            .iter()
            .filter(|(name, _)| name != "oauth_signature")
            .chain(others)
            .map(|(name, value)| (encoded(name), encoded(value)))
            .collect();
        signed.sort();
        let pairs: Vec<String> = signed.into_iter().map(|(n, v)| format!("{n}={v}")).collect();
        let base = format!(
            "{}&{}&{}",
            method.to_ascii_uppercase(),
            encoded(&base_url(url)),
            encoded(&pairs.join("&"))
        );
        Ok(Self {
            consumer: need("oauth_consumer_key")?,
            token: some("oauth_token").filter(|t| !t.is_empty()),
            verifier: some("oauth_verifier"),
            timestamp: timestamp.map_err(|_| SignedError::Malformed)?,
            nonce: need("oauth_nonce")?,
            method: signed_by,
            signature: signature.map_err(|_| SignedError::Malformed)?,
            bases: vec![base],
        })
    }

    /// The same request, which may have been signed for this URL instead: one
    /// thing may have several names.
    pub(crate) fn or_for(mut self, url: &str) -> Self {
        // Neither part has an ampersand of its own.
        let parts = self.bases.first().and_then(|base| {
            let (method, rest) = base.split_once('&')?;
            let (_, pairs) = rest.split_once('&')?;
            Some(format!("{method}&{}&{pairs}", encoded(&base_url(url))))
        });
        self.bases.extend(parts);
        self
    }

    /// Whether the request was signed with these secrets; without a token the
    /// second is empty.
    pub(crate) fn is_signed_with(&self, consumer_secret: &str, token_secret: &str) -> bool {
        let key = format!("{}&{}", encoded(consumer_secret), encoded(token_secret));
        let fits = |base: &String| {
            let wanted = match self.method {
                Method::Sha1 => sign::<Hmac<Sha1>>(key.as_bytes(), base.as_bytes()),
                Method::Sha256 => sign::<Hmac<Sha256>>(key.as_bytes(), base.as_bytes()),
            };
            bool::from(wanted.ct_eq(&self.signature))
        };
        self.bases.iter().any(fits)
    }
}

fn sign<M: Mac + KeyInit>(key: &[u8], text: &[u8]) -> Vec<u8> {
    let Ok(mut mac) = <M as KeyInit>::new_from_slice(key) else {
        unreachable!("HMAC takes keys of any length")
    };
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 5849, section 1.2: a photo is fetched.
    const PHOTOS: &str = "OAuth realm=\"Photos\", oauth_consumer_key=\"dpf43f3p2l4k3l03\", \
        oauth_token=\"nnch734d00sl2jdk\", oauth_signature_method=\"HMAC-SHA1\", \
        oauth_timestamp=\"137131202\", oauth_nonce=\"chapoH\", \
        oauth_signature=\"MdpQcU8iPSUjWoN%2FUDMsK2sui9I%3D\"";
    const URL: &str = "http://photos.example.net/photos";
    const SECRETS: (&str, &str) = ("kd94hf93k423kf44", "pfkkdhi9sl3r4s00");

    fn query() -> Vec<(String, String)> {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        vec![pair("file", "vacation.jpg"), pair("size", "original")]
    }

    fn good(method: &str, url: &str, others: &[(String, String)], (consumer, token): (&str, &str)) -> bool {
        let signed = Signed::read(PHOTOS, method, url, others).unwrap();
        signed.is_signed_with(consumer, token)
    }

    #[test]
    fn the_signature_of_the_standards_example_is_found_good() {
        assert!(good("GET", URL, &query(), SECRETS));
        assert!(!good("GET", URL, &query(), ("another", SECRETS.1)));
        assert!(!good("GET", URL, &query(), (SECRETS.0, "")));
        assert!(!good("POST", URL, &query(), SECRETS));
        assert!(!good("GET", "http://photos.example.net/other", &query(), SECRETS));
        assert!(!good(
            "GET",
            "https://photos.example.net/photos",
            &query(),
            SECRETS
        ));
        assert!(!good("GET", URL, &query()[..1], SECRETS));
        let elsewhere = |url: &str| {
            let signed = Signed::read(
                PHOTOS,
                "GET",
                "http://photos.example.net/identity/photos",
                &query(),
            );
            signed.unwrap().or_for(url).is_signed_with(SECRETS.0, SECRETS.1)
        };
        assert!(elsewhere(URL) && !elsewhere("http://photos.example.net/other"));
        let signed = Signed::read(PHOTOS, "GET", URL, &[]).unwrap();
        assert_eq!(
            (signed.consumer.as_str(), signed.timestamp),
            ("dpf43f3p2l4k3l03", 137_131_202)
        );
        assert_eq!(signed.token.as_deref(), Some("nnch734d00sl2jdk"));
    }

    #[test]
    fn the_port_of_the_scheme_and_case_of_the_host_do_not_matter() {
        let url = "HTTP://Photos.Example.Net:80/photos?file=vacation.jpg&size=original";
        assert!(good("get", url, &query(), SECRETS));
        assert_eq!(base_url("http://h:80"), "http://h/");
        assert_eq!(base_url("http://h:8080/x?y=z"), "http://h:8080/x");
        assert_eq!(base_url("https://h:80/x"), "https://h:80/x");
    }

    #[test]
    fn what_is_missing_or_malformed_is_said() {
        let read = |header: &str| Signed::read(header, "GET", "http://h/", &[]).unwrap_err();
        assert_eq!(read("Basic abc"), SignedError::NoHeader);
        assert_eq!(read(""), SignedError::NoHeader);
        assert_eq!(read("OAuth x"), SignedError::Malformed);
        assert_eq!(
            read(&PHOTOS.replace("HMAC-SHA1", "PLAINTEXT")),
            SignedError::Unsupported("oauth_signature_method")
        );
        assert_eq!(
            read(&PHOTOS.replace("chapoH", "")),
            SignedError::Missing("oauth_nonce")
        );
        assert_eq!(read(&PHOTOS.replace("137131202", "now")), SignedError::Malformed);
        assert_eq!(
            read(&PHOTOS.replace("realm=\"Photos\"", "oauth_nonce=\"2\"")),
            SignedError::Malformed
        );
        assert_eq!(
            read(&format!("OAuth {}", "x=\"y\",".repeat(2000))),
            SignedError::Malformed
        );
    }
}
