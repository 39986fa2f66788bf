//! How a request is said: Swift with a token, or S3 with Signature V4.
//!
//! Both name containers (buckets) and objects the same way, so that the phases
//! know neither. Bodies are not part of an S3 signature (`UNSIGNED-PAYLOAD`),
//! or the generator would mostly measure its own SHA-256.
use bytes::Bytes;
use clap::Args;
use hmac::{Hmac, KeyInit, Mac};
use http::{Method, Request};
use http_body_util::Full;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

/// What S3 signs instead of the body.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// Where a Swift endpoint is, and as whom.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct Swift {
    /// Storage URL, as in http://127.0.0.1:8080/v1/AUTH_abc
    #[arg(long, env = "OS_STORAGE_URL")]
    pub url: String,
    /// Token
    #[arg(long, env = "OS_AUTH_TOKEN", hide_env_values = true)]
    pub token: String,
}

/// Where an S3 endpoint is, and as whom. Buckets are addressed by path.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct S3 {
    /// Endpoint, as in http://127.0.0.1:3900
    #[arg(long)]
    pub url: String,
    /// Access key
    #[arg(long, env = "AWS_ACCESS_KEY_ID")]
    pub access: String,
    /// Secret key
    #[arg(long, env = "AWS_SECRET_ACCESS_KEY", hide_env_values = true)]
    pub secret: String,
    /// Region that signatures name
    #[arg(long, default_value = "us-east-1")]
    pub region: String,
}

/// How requests are said.
#[derive(Debug, Clone)]
pub enum Dialect {
    /// The Swift API.
    Swift(Swift),
    /// The S3 API.
    S3(S3),
}

impl Dialect {
    /// The URL that everything lies under.
    pub fn url(&self) -> &str {
        match self {
            Self::Swift(swift) => &swift.url,
            Self::S3(s3) => &s3.url,
        }
    }

    /// A request for a container, or for an object in it.
    pub fn request(
        &self,
        host: &str,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, String> {
        self.with_query(host, method, path, "", body)
    }

    /// The names of a container behind `marker`, at most 1000.
    pub fn page(&self, host: &str, container: &str, marker: &str) -> Result<Request<Full<Bytes>>, String> {
        // Sorted, as a signature wants it. Names here need no escaping.
        let query = match self {
            Self::Swift(_) => format!("limit=1000&marker={marker}"),
            Self::S3(_) => format!("list-type=2&max-keys=1000&start-after={marker}"),
        };
        self.with_query(host, Method::GET, &format!("/{container}"), &query, Bytes::new())
    }

    fn with_query(
        &self,
        host: &str,
        method: Method,
        path: &str,
        query: &str,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, String> {
        let root: http::Uri = self.url().parse().map_err(|e| format!("{}: {e}", self.url()))?;
        let path = format!("{}{path}", root.path().trim_end_matches('/'));
        let mut request = Request::builder().header("host", host);
        match self {
            Self::Swift(swift) => request = request.header("x-auth-token", &swift.token),
            Self::S3(s3) => {
                let when = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
                let signed = s3.authorization(&method, host, &path, query, &when)?;
                request = request
                    .header("x-amz-content-sha256", UNSIGNED)
                    .header("x-amz-date", when)
                    .header("authorization", signed);
            }
        }
        if method == Method::PUT {
            request = request.header("content-type", "application/octet-stream");
        }
        let uri = match query {
            "" => path,
            query => format!("{path}?{query}"),
        };
        request
            .method(method)
            .uri(uri)
            .body(Full::new(body))
            .map_err(|e| e.to_string())
    }

    /// The last name of a page; an empty one starts the listing over.
    pub fn last_name(&self, page: &Bytes) -> String {
        let text = String::from_utf8_lossy(page);
        let last = match self {
            Self::Swift(_) => text.lines().last(),
            Self::S3(_) => text
                .rfind("<Key>")
                .and_then(|at| text[at + "<Key>".len()..].split('<').next()),
        };
        last.unwrap_or_default().to_owned()
    }

    /// Whether the page is the last one, so that the next begins anew.
    pub fn is_last(&self, page: &Bytes) -> bool {
        match self {
            Self::Swift(_) => page.is_empty(),
            Self::S3(_) => String::from_utf8_lossy(page).contains("<IsTruncated>false<"),
        }
    }
}

impl S3 {
    /// The header of a signed request at the time `when`.
    fn authorization(
        &self,
        method: &Method,
        host: &str,
        path: &str,
        query: &str,
        when: &str,
    ) -> Result<String, String> {
        const HEADERS: &str = "host;x-amz-content-sha256;x-amz-date";
        let canonical = format!(
            "{method}\n{path}\n{query}\nhost:{host}\nx-amz-content-sha256:{UNSIGNED}\nx-amz-date:{when}\n\n{HEADERS}\n{UNSIGNED}"
        );
        let day = when.get(..8).unwrap_or_default();
        let scope = format!("{day}/{}/s3/aws4_request", self.region);
        let hash = hex::encode(Sha256::digest(canonical));
        let text = format!("AWS4-HMAC-SHA256\n{when}\n{scope}\n{hash}");
        let mut key = format!("AWS4{}", self.secret).into_bytes();
        for part in [day, &self.region, "s3", "aws4_request", &text] {
            key = mac(&key, part)?;
        }
        let signature = hex::encode(key);
        Ok(format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope},SignedHeaders={HEADERS},Signature={signature}",
            self.access
        ))
    }
}

fn mac(key: &[u8], text: &str) -> Result<Vec<u8>, String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(|e| e.to_string())?;
    mac.update(text.as_bytes());
    Ok(mac.finalize().into_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s3() -> S3 {
        S3 {
            url: "http://127.0.0.1:1".into(),
            access: "AK".into(),
            secret: "SK".into(),
            region: "here".into(),
        }
    }

    #[test]
    fn a_signature_depends_on_everything_that_is_signed() {
        let sign = |method: Method, host, path, query, when| {
            s3().authorization(&method, host, path, query, when).unwrap()
        };
        let one = sign(Method::GET, "h", "/b/k", "", "20261122T000000Z");
        assert!(
            one.contains("Credential=AK/20261122/here/s3/aws4_request,"),
            "{one}"
        );
        for other in [
            sign(Method::PUT, "h", "/b/k", "", "20261122T000000Z"),
            sign(Method::GET, "i", "/b/k", "", "20261122T000000Z"),
            sign(Method::GET, "h", "/b/l", "", "20261122T000000Z"),
            sign(Method::GET, "h", "/b/k", "a=1", "20261122T000000Z"),
            sign(Method::GET, "h", "/b/k", "", "20261122T000001Z"),
        ] {
            assert_ne!(other.rsplit('=').next(), one.rsplit('=').next());
        }
    }

    #[test]
    fn pages_name_where_the_next_one_starts() {
        let swift = Dialect::Swift(Swift {
            url: "http://127.0.0.1:1/v1/A".into(),
            token: "t".into(),
        });
        let page = Bytes::from_static(b"a\nb\n");
        assert_eq!(
            (swift.last_name(&page).as_str(), swift.is_last(&page)),
            ("b", false)
        );
        assert!(swift.is_last(&Bytes::new()));
        let page = b"<IsTruncated>false</IsTruncated><Key>a</Key><Size>1</Size><Key>b</Key>";
        let (page, s3) = (Bytes::from_static(page), Dialect::S3(s3()));
        assert_eq!((s3.last_name(&page).as_str(), s3.is_last(&page)), ("b", true));
        let asked = s3.page("h", "c", "b").unwrap();
        assert_eq!(asked.uri(), "/c?list-type=2&max-keys=1000&start-after=b");
    }
}
