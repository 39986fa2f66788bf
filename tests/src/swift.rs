//! A small Swift client for tests: what the suites need and nothing that
//! would hide a status code or a header.
use std::path::Path;
use std::time::Duration;

use ureq::http::{Response, StatusCode};

use crate::cloud::Cloud;
use crate::keystone::{Keystone, project};
use crate::process::credential;

/// A session of the demo user with the object store.
#[derive(Debug, Clone)]
pub struct Swift {
    agent: ureq::Agent,
    /// Storage URL (".../v1/AUTH_...").
    pub url: String,
    /// Token.
    pub token: String,
}

/// An answer, whatever its status.
#[derive(Debug)]
pub struct Answer {
    /// Status code.
    pub status: StatusCode,
    /// Headers.
    pub headers: ureq::http::HeaderMap,
    /// Body.
    pub body: Vec<u8>,
}

impl Answer {
    /// A header as text; empty when absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// An HTTP agent that reports statuses instead of turning them into errors.
pub fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .allow_non_standard_methods(true)
        .timeout_global(Some(Duration::from_secs(60)))
        .build()
        .into()
}

impl Swift {
    /// Takes a token from Keystone with the demo user's password.
    pub fn connect(cloud: &Cloud) -> Self {
        Self::of(&cloud.data())
    }

    /// The same with the credential files in `data`.
    pub fn of(data: &Path) -> Self {
        let of = |name| credential(&data.join("openrc-demo"), name);
        let scope = project(&of("OS_PROJECT_NAME"));
        let said = Keystone::of(data).sign_in(&of("OS_USERNAME"), &of("OS_PASSWORD"), &scope);
        let said = said.expect(201);
        let project = said.json()["token"]["project"]["id"]
            .as_str()
            .expect("a project")
            .to_owned();
        Self {
            agent: agent(),
            url: format!(
                "{}/v1/AUTH_{project}",
                credential(&data.join("s3.env"), "AWS_ENDPOINT_URL")
            ),
            token: said.token(),
        }
    }

    /// The same session with another proxy, at `endpoint` ("http://host:port").
    pub fn at(&self, endpoint: &str) -> Self {
        let (_, account) = self.url.split_once("/v1/").expect("a storage URL");
        Self {
            url: format!("{endpoint}/v1/{account}"),
            ..self.clone()
        }
    }

    /// The same session with another token.
    pub fn with_token(&self, token: &str) -> Self {
        Self {
            token: token.to_owned(),
            ..self.clone()
        }
    }

    /// The same session with paths that begin at `url`.
    pub fn under(&self, url: &str) -> Self {
        Self {
            url: url.to_owned(),
            ..self.clone()
        }
    }

    /// Sends a request; `None` when the connection failed.
    pub fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Option<Answer> {
        self.exchange(method, path, headers, body).ok()
    }

    /// Sends a request, to a cloud that may not be there.
    ///
    /// # Errors
    /// Why there is no answer.
    pub fn exchange(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, ureq::Error> {
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}/{path}", self.url).trim_end_matches('/'))
            .header("x-auth-token", &self.token);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer: Response<ureq::Body> = if body.is_empty() && method != "PUT" && method != "POST" {
            self.agent.run(request.body(()).expect("a request"))
        } else {
            self.agent.run(request.body(body).expect("a request"))
        }?;
        let (parts, mut body) = answer.into_parts();
        let body = body.with_config().limit(1 << 32).read_to_vec()?;
        Ok(Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        })
    }

    /// Sends a request to a cloud that is expected to be there.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.try_send(method, path, headers, body)
            .unwrap_or_else(|| panic!("{method} {path}: no answer"))
    }

    /// PUT; panics unless created.
    pub fn put(&self, path: &str, body: &[u8]) -> Answer {
        let answer = self.send("PUT", path, &[], body);
        assert!(
            answer.status == 201 || answer.status == 202,
            "PUT {path}: {} {}",
            answer.status,
            answer.text()
        );
        answer
    }

    /// GET, whatever comes.
    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"")
    }
}
