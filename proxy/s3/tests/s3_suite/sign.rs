//! Signatures as AWS's clients make them, written from AWS's description.
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use virga_node::clock::{Clock, SystemClock};

/// Region that tests sign for.
pub const REGION: &str = "us-east-1";

pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// What `Content-MD5` says of a body.
pub fn content_md5(body: &[u8]) -> String {
    STANDARD.encode(md5::Md5::digest(body))
}

pub fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

pub fn hmac_sha1(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<sha1::Sha1>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// "20261122T150000Z" for seconds since the epoch.
pub fn stamp(seconds: u64) -> String {
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    // "Sun, 22 Nov 2026 15:00:00 GMT"
    let text = httpdate::fmt_http_date(at);
    let part = |from: usize, to: usize| &text[from..to];
    let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let month = months.iter().position(|m| *m == part(8, 11)).unwrap() + 1;
    let time = part(17, 25).replace(':', "");
    format!("{}{month:02}{}T{time}Z", part(12, 16), part(5, 7))
}

pub fn now() -> u64 {
    SystemClock.now().as_secs()
}

pub fn signing_key(secret: &str, date: &str) -> Vec<u8> {
    let mut key = hmac(format!("AWS4{secret}").as_bytes(), date);
    for part in [REGION, "s3", "aws4_request"] {
        key = hmac(&key, part);
    }
    key
}

/// Query as AWS wants it: sorted, every name with a value.
fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<(&str, &str)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .collect();
    pairs.sort_unstable();
    let pairs: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join("&")
}

/// A request in the making.
pub struct Request<'a> {
    pub method: &'a str,
    /// Path and query, encoded.
    pub target: &'a str,
    pub headers: Vec<(String, String)>,
    /// What `x-amz-content-sha256` says.
    pub payload: String,
    pub at: u64,
}

impl Request<'_> {
    /// The signature over the request, and the headers that are signed.
    fn signature(&self, secret: &str, host: &str, extra_query: &str) -> (String, String) {
        let (path, query) = self.target.split_once('?').unwrap_or((self.target, ""));
        let query = [query, extra_query].join("&");
        let mut headers: Vec<(String, String)> = self
            .headers
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        headers.push(("host".into(), host.into()));
        headers.sort();
        let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
        let names = names.join(";");
        let listed: String = headers
            .iter()
            .map(|(name, value)| format!("{name}:{value}\n"))
            .collect();
        let canonical = format!(
            "{}\n{path}\n{}\n{listed}\n{names}\n{}",
            self.method,
            canonical_query(&query),
            self.payload
        );
        let stamp = stamp(self.at);
        let date = &stamp[..8];
        let scope = format!("{date}/{REGION}/s3/aws4_request");
        let to_sign = format!(
            "AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}",
            sha256(canonical.as_bytes())
        );
        let signature = hex::encode(hmac(&signing_key(secret, date), &to_sign));
        (signature, names)
    }

    /// Signs by header; returns the signature, which chunks go on from.
    pub fn sign(&mut self, access: &str, secret: &str, host: &str) -> String {
        let stamp = stamp(self.at);
        self.headers.push(("x-amz-date".into(), stamp.clone()));
        self.headers
            .push(("x-amz-content-sha256".into(), self.payload.clone()));
        let (signature, names) = self.signature(secret, host, "");
        let date = &stamp[..8];
        let value = format!(
            "AWS4-HMAC-SHA256 Credential={access}/{date}/{REGION}/s3/aws4_request, SignedHeaders={names}, Signature={signature}"
        );
        self.headers.push(("authorization".into(), value));
        signature
    }

    /// The target with a signature that is good for `seconds`.
    pub fn presign(&mut self, access: &str, secret: &str, host: &str, seconds: u64) -> String {
        self.payload = "UNSIGNED-PAYLOAD".into();
        let stamp = stamp(self.at);
        let date = &stamp[..8];
        let mark = if self.target.contains('?') { '&' } else { '?' };
        let extra = format!(
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={access}%2F{date}%2F{REGION}%2Fs3%2Faws4_request\
             &X-Amz-Date={stamp}&X-Amz-Expires={seconds}&X-Amz-SignedHeaders=host"
        );
        let (signature, _) = self.signature(secret, host, &extra);
        format!("{}{mark}{extra}&X-Amz-Signature={signature}", self.target)
    }
}

/// A body in signed chunks of `size` bytes.
pub fn chunks(body: &[u8], size: usize, seed: &str, secret: &str, at: u64) -> Vec<u8> {
    let stamp = stamp(at);
    let date = &stamp[..8];
    let key = signing_key(secret, date);
    let (mut before, mut all) = (seed.to_owned(), Vec::new());
    for chunk in body.chunks(size).chain([&[][..]]) {
        let to_sign = format!(
            "AWS4-HMAC-SHA256-PAYLOAD\n{stamp}\n{date}/{REGION}/s3/aws4_request\n{before}\n{}\n{}",
            sha256(b""),
            sha256(chunk)
        );
        before = hex::encode(hmac(&key, &to_sign));
        all.extend_from_slice(format!("{:x};chunk-signature={before}\r\n", chunk.len()).as_bytes());
        all.extend_from_slice(chunk);
        all.extend_from_slice(b"\r\n");
    }
    all
}
