//! The two requests that verifying takes, over plain HTTP.
use std::time::Duration;

use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::time::timeout;
use virga_node::task::Tasks;
use virga_proxy::proof::MAX_LEN;

use super::token;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest wait for an answer: a proof about a very large object takes its time.
const PATIENCE: Duration = Duration::from_secs(300);
/// Most bytes of an answer's body: a proof, or a catalog with a token.
const MOST: usize = 1 << 20;

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
    let parsed: Uri = url
        .parse()
        .map_err(|error| format!("{url}: {error}; names in a URL are percent-encoded"))?;
    match parsed.scheme_str() {
        Some("http") => {}
        Some("https") => {
            return Err(format!(
                "{url}: https is not spoken here; fetch the proof with curl (URL?proof=blake3&range=A-B) and give it as --proof FILE with --root"
            ));
        }
        _ => return Err(format!("{url}: a URL begins with http://")),
    }
    match parsed.authority() {
        Some(authority) if !authority.as_str().contains('@') => Ok(parsed),
        _ => Err(format!("{url}: names no host, or a user")),
    }
}

/// Sends one request and reads the answer.
///
/// # Errors
/// A sentence for the person who asked.
pub async fn exchange(request: Request<Full<bytes::Bytes>>) -> Result<Answer, String> {
    let (mut parts, body) = request.into_parts();
    let url = std::mem::take(&mut parts.uri);
    let authority = url.authority().map(ToString::to_string).unwrap_or_default();
    let (host, port) = (url.host().unwrap_or_default(), url.port_u16().unwrap_or(80));
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let failed = |why: &dyn std::fmt::Display| format!("{authority}: {why}");
    let stream = timeout(CONNECT, TcpStream::connect((host, port)))
        .await
        .map_err(|_| failed(&"cannot be connected to in time"))?
        .map_err(|error| failed(&error))?;
    stream.set_nodelay(true).map_err(|error| failed(&error))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| failed(&error))?;
    let tasks = Tasks::new();
    tasks.spawn(connection);
    let host = authority.parse().map_err(|_| failed(&"no name of a host"))?;
    parts.headers.insert(HOST, host);
    parts.uri = url
        .path_and_query()
        .map_or("/", |path| path.as_str())
        .parse()
        .map_err(|_| failed(&"a path that cannot be asked for"))?;
    let read = async {
        let answer = sender
            .send_request(Request::from_parts(parts, body))
            .await
            .map_err(|error| failed(&error))?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, MOST)
            .collect()
            .await
            .map_err(|error| failed(&error))?;
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body: body.to_bytes().to_vec(),
        })
    };
    timeout(PATIENCE, read)
        .await
        .unwrap_or_else(|_| Err(failed(&"does not answer in time")))
}

impl Client {
    /// A client for the object at `url`, with a token if one is given.
    ///
    /// # Errors
    /// A sentence for the person who asked.
    pub fn new(url: &str, token: Option<String>) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self {
            runtime,
            url: parse(url)?,
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
            self.token = self.runtime.block_on(token::from_environment())?;
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
        self.runtime.block_on(exchange(request))
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
            ("https://h/v1/a/c/o", "--proof"),
            ("ftp://h/v1/a/c/o", "http://"),
            ("/v1/a/c/o", "http://"),
            ("http://u@h/v1/a/c/o", "a user"),
            ("http://h/v1/a/c/o p", "percent-encoded"),
        ] {
            assert!(parse(url).unwrap_err().contains(says), "{url}");
        }
    }
}
