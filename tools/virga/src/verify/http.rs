//! The two requests that verifying takes, plain or inside TLS.
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::Full;
use tokio::runtime::Runtime;
use virga_http::outward::{Bounds, Outward};
use virga_proxy::proof::MAX_LEN;

use super::token;

/// How long is waited, and for how much: a proof about a very large object takes
/// its time; the body is a proof, or a catalog with a token.
const BOUNDS: Bounds = Bounds {
    connect: Duration::from_secs(10),
    answer: Duration::from_secs(300),
    body: 1 << 20,
};

/// An answer, read whole.
pub struct Answer {
    /// Status code.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a header, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Who asks about one object.
pub struct Client {
    runtime: Runtime,
    url: Uri,
    outward: Outward,
    token: Option<String>,
    /// Whether the environment was asked for a token.
    asked: bool,
    head: Option<Answer>,
}

/// A URL that can be asked.
///
/// # Errors
/// A sentence for the person who asked.
pub fn parse(url: &str) -> Result<Uri, String> {
    let parsed: Uri = url.parse().map_err(|error| {
        format!("{url}: {error}; a URL begins with http:// or https://, names in it are percent-encoded")
    })?;
    match parsed.scheme_str() {
        Some("http" | "https") => {}
        _ => return Err(format!("{url}: a URL begins with http:// or https://")),
    }
    match parsed.authority() {
        Some(authority) if !authority.as_str().contains('@') => Ok(parsed),
        _ => Err(format!("{url}: names no host, or a user")),
    }
}

/// Who asks; believes the certificates in `ca_file`, else what `OS_CACERT`
/// names, else the system's.
///
/// # Errors
/// A sentence for the person who asked.
pub fn outward(ca_file: Option<&Path>) -> Result<Outward, String> {
    let named = std::env::var_os("OS_CACERT").filter(|file| !file.is_empty());
    let ca_file = ca_file.map(Path::to_owned).or(named.map(PathBuf::from));
    Outward::new(ca_file.as_deref(), BOUNDS)
}

/// Sends one request and reads the answer.
///
/// # Errors
/// A sentence for the person who asked.
pub async fn exchange(outward: &Outward, request: Request<Full<bytes::Bytes>>) -> Result<Answer, String> {
    let (head, body) = outward.ask(request).await?.into_parts();
    Ok(Answer {
        status: head.status,
        headers: head.headers,
        body: body.to_vec(),
    })
}

impl Client {
    /// A client for the object at `url`, with a token if one is given.
    ///
    /// # Errors
    /// A sentence for the person who asked.
    pub fn new(url: &str, token: Option<String>, ca_file: Option<&Path>) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self {
            runtime,
            url: parse(url)?,
            outward: outward(ca_file)?,
            asked: token.is_some(),
            token,
            head: None,
        })
    }

    /// What the server says of the object, asked once.
    ///
    /// # Errors
    /// A sentence for the person who asked.
    pub fn head(&mut self) -> Result<&Answer, String> {
        if self.head.is_none() {
            let answer = self.ask(Method::HEAD, self.url.clone())?;
            self.head = Some(answer);
        }
        self.head.as_ref().ok_or_else(|| "no answer".to_owned())
    }

    /// A proof of a range, not looked into.
    ///
    /// # Errors
    /// A sentence for the person who asked.
    pub fn get_proof(&mut self, range: &str) -> Result<Answer, String> {
        let before = self
            .url
            .query()
            .map(|query| format!("{query}&"))
            .unwrap_or_default();
        let path = format!("{}?{before}proof=blake3&range={range}", self.url.path());
        let mut parts = self.url.clone().into_parts();
        parts.path_and_query = Some(path.parse().map_err(|_| format!("{path}: cannot be asked for"))?);
        let url = Uri::from_parts(parts).map_err(|error| error.to_string())?;
        let answer = self.ask(Method::GET, url)?;
        match answer.header("content-type") {
            Some("application/vnd.virga.proof") if answer.body.len() <= MAX_LEN => Ok(answer),
            _ => Err("the server makes no proofs: is it Virga, of this version?".into()),
        }
    }

    fn ask(&mut self, method: Method, url: Uri) -> Result<Answer, String> {
        let mut answer = self.send(&method, &url)?;
        if answer.status == StatusCode::UNAUTHORIZED && !self.asked {
            // Nobody is told who asks who does not want to know it.
            self.asked = true;
            self.token = self.runtime.block_on(token::from_environment(&self.outward))?;
            if self.token.is_some() {
                answer = self.send(&method, &url)?;
            }
        }
        match answer.status {
            StatusCode::OK => Ok(answer),
            StatusCode::UNAUTHORIZED if self.token.is_none() => Err(
                "the server wants to know who asks: source an openrc file, give --token, or use a temporary URL".into(),
            ),
            status => Err(format!("the server answers {status}")),
        }
    }

    fn send(&self, method: &Method, url: &Uri) -> Result<Answer, String> {
        let mut request = Request::builder().method(method).uri(url);
        if let Some(token) = &self.token {
            request = request.header("x-auth-token", token.trim());
        }
        let request = request
            .body(Full::default())
            .map_err(|_| "the token cannot be sent: it is not text".to_owned())?;
        debug_assert!(!request.headers().contains_key(AUTHORIZATION));
        self.runtime.block_on(exchange(&self.outward, request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_cannot_be_asked_are_refused_with_what_to_do() {
        assert!(parse("http://h:8080/v1/AUTH_a/c/o%20p?temp_url_sig=1").is_ok());
        assert!(parse("http://[::1]:80/v1/a/c/o").is_ok());
        for (url, says) in [
            ("file:///v1/a/c/o", "https://"),
            ("ftp://h/v1/a/c/o", "http://"),
            ("/v1/a/c/o", "http://"),
            ("http://u@h/v1/a/c/o", "a user"),
            ("http://h/v1/a/c/o p", "percent-encoded"),
        ] {
            assert!(parse(url).unwrap_err().contains(says), "{url}");
        }
    }
}
