//! Temporary URLs: a signature in the query instead of a token.
use std::net::IpAddr;

use hmac::{Hmac, KeyInit, Mac};
use http::header::{CONTENT_DISPOSITION, EXPIRES, HeaderName};
use http::{HeaderMap, Method, StatusCode};
use subtle::ConstantTimeEq;
use virga_object_wire::listing::MetaItem;

use super::access::TempScope;
use super::body::Answer;
use super::conditional::format_date;
use super::config::Digest;
use super::fault::Fault;
use super::query::Query;
use super::target::{Target, quote};
use crate::core::{ContainerName, Core, Unavailable};

/// Methods a temporary URL may be made for.
pub const METHODS: [Method; 5] = [
    Method::GET,
    Method::HEAD,
    Method::PUT,
    Method::POST,
    Method::DELETE,
];
/// Headers that point to data the signer did not mean.
const DISALLOWED: [&str; 3] = ["x-object-manifest", "x-symlink-target", "x-copy-from"];

/// What the query of a temporary URL says.
#[derive(Debug, PartialEq, Eq)]
pub struct TempUrl {
    digest: Digest,
    signature: Vec<u8>,
    /// Seconds since the epoch.
    expires: u64,
    prefix: Option<String>,
    filename: Option<String>,
    inline: bool,
    ip_range: Option<String>,
}

/// A key and what it is good for.
pub struct Key {
    /// The secret.
    pub secret: String,
    /// Account or container.
    pub scope: TempScope,
}

/// A temporary URL for all objects whose names begin alike.
#[derive(Clone, Debug)]
pub struct Shared {
    /// What the names begin with.
    pub prefix: String,
    /// Query for links to them, escaped for HTML.
    pub query: String,
}

/// 401 as temporary URLs say it.
pub fn invalid() -> Fault {
    Fault::html(StatusCode::UNAUTHORIZED, "401 Unauthorized: Temp URL invalid\n").challenged("unknown")
}

/// Whether the request claims to have a temporary URL.
pub fn claimed(query: &Query) -> bool {
    query.has("temp_url_sig") || query.has("temp_url_expires")
}

/// Reads the query. `now` is in seconds.
///
/// # Errors
/// 401 for anything missing, malformed, expired or from elsewhere.
pub fn parse(query: &Query, allowed: &[Digest], now: u64, peer: IpAddr) -> Result<TempUrl, Fault> {
    let text = |name| {
        query
            .first(name)
            .map(|raw| String::from_utf8_lossy(raw).into_owned())
    };
    let expires = text("temp_url_expires")
        .and_then(|text| parse_expiry(&text))
        .ok_or_else(invalid)?;
    let (digest, signature) = text("temp_url_sig")
        .and_then(|text| parse_signature(&text))
        .ok_or_else(invalid)?;
    let ip_range = text("temp_url_ip_range");
    if ip_range.as_deref().is_some_and(|range| !in_range(range, peer)) {
        return Err(invalid());
    }
    if expires < now || !allowed.contains(&digest) {
        return Err(invalid());
    }
    Ok(TempUrl {
        digest,
        signature,
        expires,
        prefix: text("temp_url_prefix"),
        filename: text("filename").filter(|name| !name.is_empty()),
        inline: query.has("inline"),
        ip_range,
    })
}

/// Seconds since the epoch, as a number or as "2026-11-22T15:00:00Z".
pub fn parse_expiry(text: &str) -> Option<u64> {
    if let Ok(seconds) = text.trim().parse::<u64>() {
        return Some(seconds);
    }
    let time = jiff::fmt::strtime::parse("%Y-%m-%dT%H:%M:%SZ", text)
        .ok()?
        .to_datetime()
        .ok()?;
    u64::try_from(
        time.to_zoned(jiff::tz::TimeZone::UTC)
            .ok()?
            .timestamp()
            .as_second(),
    )
    .ok()
}

/// A signature in hexadecimal digits, or as "digest:base64".
pub fn parse_signature(text: &str) -> Option<(Digest, Vec<u8>)> {
    use base64::Engine as _;
    let all = [Digest::Sha1, Digest::Sha256, Digest::Sha512];
    if let Some((name, encoded)) = text.split_once(':') {
        let digest = all.into_iter().find(|digest| digest.name() == name)?;
        let plain = encoded.trim_end_matches('=').replace('-', "+").replace('_', "/");
        return Some((
            digest,
            base64::engine::general_purpose::STANDARD_NO_PAD
                .decode(plain)
                .ok()?,
        ));
    }
    let signature = hex::decode(text).ok()?;
    let digest = match signature.len() {
        20 => Digest::Sha1,
        32 => Digest::Sha256,
        64 => Digest::Sha512,
        _ => return None,
    };
    Some((digest, signature))
}

/// Whether an address lies in "a.b.c.d" or "a.b.c.d/n" (or the same of IPv6).
fn in_range(range: &str, peer: IpAddr) -> bool {
    let (base, bits) = range
        .split_once('/')
        .map_or((range, None), |(base, bits)| (base, Some(bits)));
    let Ok(base) = base.parse::<IpAddr>() else {
        return false;
    };
    let (base, peer, width) = match (base, peer.to_canonical()) {
        (IpAddr::V4(base), IpAddr::V4(peer)) => {
            (u128::from(u32::from(base)), u128::from(u32::from(peer)), 32)
        }
        (IpAddr::V6(base), IpAddr::V6(peer)) => (u128::from(base), u128::from(peer), 128),
        _ => return false,
    };
    let bits = match bits.map(str::parse::<u32>) {
        None => width,
        Some(Ok(bits)) if bits <= width => bits,
        Some(_) => return false,
    };
    let shift = width - bits;
    let cut = |address: u128| address.checked_shr(shift).unwrap_or(0);
    // A network whose host bits are set is no network.
    cut(base).checked_shl(shift).unwrap_or(0) == base && cut(base) == cut(peer)
}

/// The keys among an account's or container's metadata.
fn keys<'a>(meta: &'a [MetaItem], level: &str, scope: &'a TempScope) -> impl Iterator<Item = Key> + 'a {
    let names = [
        format!("x-{level}-meta-temp-url-key"),
        format!("x-{level}-meta-temp-url-key-2"),
    ];
    meta.iter()
        .filter(move |item| names.contains(&item.name) && !item.value.is_empty())
        .map(move |item| Key {
            secret: item.value.clone(),
            scope: scope.clone(),
        })
}

/// The keys that may have signed for something in a container: the account's
/// and its own.
///
/// # Errors
/// If they cannot be known.
pub async fn keys_of(core: &Core, container: &ContainerName) -> Result<Vec<Key>, Unavailable> {
    let of_account = TempScope {
        account: container.account().to_owned(),
        container: None,
    };
    let of_container = TempScope {
        container: Some(container.container().to_owned()),
        ..of_account.clone()
    };
    let mut all = Vec::new();
    if let Some(info) = core.account_info(&container.account_name()).await? {
        all.extend(keys(&info.meta, "account", &of_account));
    }
    if let Some(info) = core.container_info(container).await? {
        all.extend(keys(&info.meta, "container", &of_container));
    }
    Ok(all)
}

/// Whether `signature` is that of `message` under a key. Takes as long whether
/// it is or not.
pub fn is_signed(digest: Digest, key: &str, message: &str, signature: &[u8]) -> bool {
    hmac(digest, key, message).ct_eq(signature).into()
}

fn hmac(digest: Digest, key: &str, message: &str) -> Vec<u8> {
    fn over<M: Mac + KeyInit>(key: &str, message: &str) -> Vec<u8> {
        // HMAC takes keys of any length: there is nothing that could fail.
        let Ok(mut mac) = <M as KeyInit>::new_from_slice(key.as_bytes()) else {
            return Vec::new();
        };
        mac.update(message.as_bytes());
        mac.finalize().into_bytes().to_vec()
    }
    match digest {
        Digest::Sha1 => over::<Hmac<sha1::Sha1>>(key, message),
        Digest::Sha256 => over::<Hmac<sha2::Sha256>>(key, message),
        Digest::Sha512 => over::<Hmac<sha2::Sha512>>(key, message),
    }
}

impl TempUrl {
    /// What a page that lists files needs to make its links work too; `None`
    /// for an URL that is good for a single object.
    pub fn shared(query: &Query) -> Option<Shared> {
        let text = |name| {
            query
                .first(name)
                .map(|raw| String::from_utf8_lossy(raw).into_owned())
        };
        let prefix = text("temp_url_prefix")?;
        let mut parts = vec![format!("temp_url_prefix={}", quote(&prefix))];
        for name in ["temp_url_expires", "temp_url_sig", "temp_url_ip_range"] {
            parts.extend(text(name).map(|value| format!("{name}={}", quote(&value))));
        }
        if query.has("inline") {
            parts.push("inline".into());
        }
        Some(Shared {
            prefix,
            query: parts.join("&amp;"),
        })
    }

    /// Which key, if any, signed this request.
    ///
    /// # Errors
    /// 401 if none did.
    pub fn verify(&self, method: &Method, target: &Target, keys: &[Key]) -> Result<TempScope, Fault> {
        if !METHODS.contains(method) {
            return Err(invalid());
        }
        let path = match (target, &self.prefix) {
            (Target::Object(object), _) if object.object().chars().all(|c| c == '/') => {
                return Err(invalid());
            }
            (Target::Object(object), None) => format!("/v1/{}", object.path()),
            (Target::Object(object), Some(prefix)) if object.object().starts_with(prefix.as_str()) => {
                format!("prefix:/v1/{}/{}/{prefix}", object.account(), object.container())
            }
            (Target::Container(container), Some(prefix)) if prefix.is_empty() => {
                format!("prefix:/v1/{}/", container.path())
            }
            _ => return Err(invalid()),
        };
        let signed_for: &[&str] = match *method {
            Method::HEAD => &["HEAD", "GET", "POST", "PUT"],
            _ => &[method.as_str()],
        };
        let ip = self
            .ip_range
            .as_ref()
            .map_or_else(String::new, |range| format!("ip={range}\n"));
        for method in signed_for {
            let message = format!("{ip}{method}\n{}\n{path}", self.expires);
            for key in keys {
                if is_signed(self.digest, &key.secret, &message, &self.signature) {
                    return Ok(key.scope.clone());
                }
            }
        }
        Err(invalid())
    }

    /// Refuses requests that would point to other data.
    ///
    /// # Errors
    /// 400 naming the header.
    pub fn check_headers(&self, method: &Method, headers: &HeaderMap) -> Result<(), Fault> {
        if method == Method::GET || method == Method::HEAD {
            return Ok(());
        }
        match DISALLOWED.iter().find(|name| headers.contains_key(**name)) {
            Some(name) => {
                let titled: Vec<String> = name.split('-').map(title).collect();
                let text = format!("The header '{}' is not allowed in this tempurl", titled.join("-"));
                Err(Fault::html(StatusCode::BAD_REQUEST, text))
            }
            None => Ok(()),
        }
    }

    /// Adds what a downloading browser needs, and takes out metadata that is
    /// not meant for the public.
    pub fn dress(&self, method: &Method, target: &Target, answer: &mut Answer) {
        let private = |name: &HeaderName| {
            name.as_str().starts_with("x-object-meta-") && !name.as_str().starts_with("x-object-meta-public-")
        };
        let names: Vec<HeaderName> = answer
            .headers()
            .keys()
            .filter(|name| private(name))
            .cloned()
            .collect();
        for name in names {
            answer.headers_mut().remove(&name);
        }
        let reads = *method == Method::GET || *method == Method::HEAD;
        let Target::Object(object) = target else { return };
        if answer.extensions().get::<super::staticweb::Listing>().is_some() {
            return;
        }
        if !reads || !answer.status().is_success() {
            return;
        }
        let disposition = match (self.inline, &self.filename) {
            (true, Some(name)) => Some(disposition("inline", name)),
            (true, None) => Some("inline".to_owned()),
            (false, Some(name)) => Some(disposition("attachment", name)),
            (false, None) if answer.headers().contains_key(CONTENT_DISPOSITION) => None,
            (false, None) => {
                let name = object
                    .object()
                    .trim_end_matches('/')
                    .rsplit('/')
                    .next()
                    .unwrap_or_default();
                Some(disposition("attachment", name))
            }
        };
        if let Some(disposition) = disposition {
            let value = super::headers::to_value(&disposition.replace('\n', "%0A"));
            answer.headers_mut().insert(CONTENT_DISPOSITION, value);
        }
        answer
            .headers_mut()
            .insert(EXPIRES, super::headers::to_value(&format_date(self.expires)));
    }
}

/// A word with a capital letter in front.
pub fn title(word: &str) -> String {
    let mut letters = word.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// `attachment; filename="..."; filename*=UTF-8''...`.
fn disposition(kind: &str, name: &str) -> String {
    let plain = quote(name).replace("%20", " ");
    format!("{kind}; filename=\"{plain}\"; filename*=UTF-8''{}", quote(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 2, 3));

    fn scope() -> TempScope {
        TempScope {
            account: "AUTH_a".into(),
            container: None,
        }
    }

    fn keys() -> Vec<Key> {
        ["other", "secret"]
            .map(|s| Key {
                secret: s.into(),
                scope: scope(),
            })
            .into()
    }

    fn signed(message: &str) -> String {
        hex::encode(hmac(Digest::Sha256, "secret", message))
    }

    fn read(query: &str) -> Result<TempUrl, Fault> {
        parse(
            &Query::parse(Some(query)),
            &[Digest::Sha256, Digest::Sha512],
            1000,
            PEER,
        )
    }

    fn object(path: &str) -> Target {
        super::super::target::parse(path).unwrap()
    }

    #[test]
    fn a_signature_is_the_one_that_other_programs_compute() {
        let expected = "05cb4ea08a08f2fdaef35d0f344975370077835c23bdc9342099ecbf03bc0378";
        let message = "GET\n1323479485\n/v1/AUTH_account/container/object";
        assert_eq!(hex::encode(hmac(Digest::Sha256, "mykey", message)), expected);
    }

    #[test]
    fn a_signature_opens_what_it_was_made_for_and_nothing_else() {
        let sig = signed("GET\n2000\n/v1/AUTH_a/c/o");
        let url = read(&format!("temp_url_sig={sig}&temp_url_expires=2000")).unwrap();
        let here = object("/v1/AUTH_a/c/o");
        assert_eq!(url.verify(&Method::GET, &here, &keys()).unwrap(), scope());
        assert!(url.verify(&Method::HEAD, &here, &keys()).is_ok());
        assert_eq!(
            url.verify(&Method::PUT, &here, &keys()).unwrap_err().status(),
            401
        );
        assert!(
            url.verify(&Method::GET, &object("/v1/AUTH_a/c/p"), &keys())
                .is_err()
        );
        assert!(
            url.verify(&Method::GET, &object("/v1/AUTH_a/c"), &keys())
                .is_err()
        );
        assert!(url.verify(&Method::GET, &here, &keys()[..1]).is_err());
        assert!(url.verify(&Method::GET, &here, &[]).is_err());
    }

    #[test]
    fn a_prefix_signature_opens_all_names_below_it() {
        let sig = signed("PUT\n2000\nprefix:/v1/AUTH_a/c/dir/");
        let url = read(&format!(
            "temp_url_sig={sig}&temp_url_expires=2000&temp_url_prefix=dir/"
        ))
        .unwrap();
        assert!(
            url.verify(&Method::PUT, &object("/v1/AUTH_a/c/dir/x"), &keys())
                .is_ok()
        );
        assert!(
            url.verify(&Method::PUT, &object("/v1/AUTH_a/c/other"), &keys())
                .is_err()
        );
    }

    #[test]
    fn base64_and_dates_are_read_and_expired_or_weak_ones_are_not() {
        use base64::Engine as _;
        let raw = hmac(Digest::Sha512, "secret", "GET\n2000\n/v1/AUTH_a/c/o");
        let encoded = base64::engine::general_purpose::URL_SAFE.encode(raw);
        let url = read(&format!(
            "temp_url_sig=sha512:{encoded}&temp_url_expires=1970-01-01T00:33:20Z"
        ))
        .unwrap();
        assert!(
            url.verify(&Method::GET, &object("/v1/AUTH_a/c/o"), &keys())
                .is_ok()
        );
        let sig = signed("x");
        for query in [
            format!("temp_url_sig={sig}"),
            "temp_url_expires=2000".to_owned(),
            format!("temp_url_sig={sig}&temp_url_expires=999"),
            format!("temp_url_sig={sig}&temp_url_expires=soon"),
            format!("temp_url_sig={}&temp_url_expires=2000", &sig[..40]),
            "temp_url_sig=xyz&temp_url_expires=2000".to_owned(),
            format!("temp_url_sig={sig}&temp_url_expires=2000&temp_url_ip_range=10.1.3.0/24"),
        ] {
            assert!(read(&query).is_err(), "{query}");
        }
    }

    #[test]
    fn address_ranges_hold_what_they_name() {
        for (range, expected) in [
            ("10.1.2.3", true),
            ("10.1.2.0/24", true),
            ("0.0.0.0/0", true),
            ("10.1.2.1/24", false),
            ("10.1.2.4", false),
            ("::1", false),
            ("10.1.2.3/33", false),
            ("x", false),
        ] {
            assert_eq!(in_range(range, PEER), expected, "{range}");
        }
        assert!(in_range("::/0", "fe80::1".parse().unwrap()));
    }

    #[test]
    fn a_name_for_saving_is_quoted_for_old_and_new_browsers() {
        let expected = "attachment; filename=\"a b%22\"; filename*=UTF-8''a%20b%22";
        assert_eq!(disposition("attachment", "a b\""), expected);
    }
}
