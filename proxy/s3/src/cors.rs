//! CORS rules of buckets: kept, told to browsers before they ask (`OPTIONS`),
//! and shown with answers to pages.
use http::header::{HeaderMap, HeaderName, HeaderValue, ORIGIN, VARY};
use http::{Method, Uri};
use s3s::dto::{
    CORSRule, DeleteBucketCorsInput, DeleteBucketCorsOutput, GetBucketCorsInput, GetBucketCorsOutput,
    PutBucketCorsInput, PutBucketCorsOutput,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};
use serde::{Deserialize, Serialize};

use super::Backend;
use super::access::{Action, meta, with_project};
use super::fault::{OrFault, bad_request, named};

/// Where the rules are kept, as JSON.
const STORED: &str = "x-container-sysmeta-s3-cors";
/// Rules of one bucket, as AWS allows.
const MOST: usize = 100;
/// Methods that a rule may name.
const METHODS: [&str; 5] = ["GET", "PUT", "HEAD", "POST", "DELETE"];

/// A rule as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Rule {
    id: Option<String>,
    origins: Vec<String>,
    methods: Vec<String>,
    headers: Vec<String>,
    expose: Vec<String>,
    max_age: Option<i32>,
}

/// Whether a pattern with at most one star matches.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, end)) => {
            text.len() >= start.len() + end.len() && text.starts_with(start) && text.ends_with(end)
        }
    }
}

impl Rule {
    fn of(rule: CORSRule) -> S3Result<Self> {
        let rule = Self {
            id: rule.id,
            origins: rule.allowed_origins,
            methods: rule.allowed_methods,
            headers: rule.allowed_headers.unwrap_or_default(),
            expose: rule.expose_headers.unwrap_or_default(),
            max_age: rule.max_age_seconds,
        };
        if rule.origins.is_empty() || rule.methods.is_empty() {
            return Err(s3_error!(MalformedXML));
        }
        if let Some(method) = rule.methods.iter().find(|m| !METHODS.contains(&m.as_str())) {
            return Err(s3_error!(
                InvalidRequest,
                "Found unsupported HTTP method in CORS config. Unsupported method is {method}"
            ));
        }
        let mut patterns = rule.origins.iter().chain(&rule.headers);
        if let Some(pattern) = patterns.find(|pattern| pattern.matches('*').count() > 1) {
            return Err(s3_error!(
                InvalidRequest,
                "AllowedOrigin \"{pattern}\" can not have more than one wildcard."
            ));
        }
        Ok(rule)
    }

    fn document(self) -> CORSRule {
        let some = |list: Vec<String>| (!list.is_empty()).then_some(list);
        CORSRule {
            allowed_headers: some(self.headers),
            allowed_methods: self.methods,
            allowed_origins: self.origins,
            expose_headers: some(self.expose),
            id: self.id,
            max_age_seconds: self.max_age,
        }
    }

    /// Whether the rule lets a page ask this.
    fn allows(&self, origin: &str, method: &str, headers: &[String]) -> bool {
        let header = |asked: &String| {
            let mut patterns = self.headers.iter();
            patterns.any(|pattern| matches(&pattern.to_ascii_lowercase(), asked))
        };
        self.origins.iter().any(|pattern| matches(pattern, origin))
            && self.methods.iter().any(|m| m == method)
            && headers.iter().all(header)
    }

    /// What a browser is told.
    fn show(&self, origin: &HeaderValue, into: &mut HeaderMap) {
        let everyone = self.origins.iter().any(|pattern| pattern == "*");
        let allowed = if everyone {
            HeaderValue::from_static("*")
        } else {
            origin.clone()
        };
        into.insert("access-control-allow-origin", allowed);
        set(into, "access-control-allow-methods", &self.methods.join(", "));
        set(into, "access-control-expose-headers", &self.expose.join(", "));
        if !everyone {
            into.insert(
                "access-control-allow-credentials",
                HeaderValue::from_static("true"),
            );
        }
        if let Some(age) = self.max_age {
            into.insert("access-control-max-age", HeaderValue::from(age));
        }
        let vary = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method";
        into.append(VARY, HeaderValue::from_static(vary));
    }
}

fn set(into: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value)
        && !value.is_empty()
    {
        into.insert(HeaderName::from_static(name), value);
    }
}

fn asked_headers(headers: &HeaderMap) -> Vec<String> {
    let asked = headers.get("access-control-request-headers");
    let asked = asked.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let names = asked.split(',').map(|name| name.trim().to_ascii_lowercase());
    names.filter(|name| !name.is_empty()).collect()
}

/// The access key that a request names, whether or not it signs well: the rules
/// of a bucket are no secret of those who may use it.
pub(crate) fn access_key(uri: &Uri, headers: &HeaderMap) -> Option<String> {
    let decoded = |text: &str| {
        let text = percent_encoding::percent_decode_str(text).decode_utf8().ok()?;
        text.split('/').next().map(str::to_owned)
    };
    let authorization = headers.get("authorization").and_then(|value| value.to_str().ok());
    if let Some(text) = authorization {
        let v4 = text
            .split_once("Credential=")
            .and_then(|(_, rest)| rest.split('/').next());
        let v2 = text.strip_prefix("AWS ").and_then(|rest| rest.split(':').next());
        return v4.or(v2).map(str::to_owned);
    }
    let query = uri.query().unwrap_or_default();
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let found = pairs.find(|(name, _)| *name == "X-Amz-Credential" || *name == "AWSAccessKeyId");
    found.and_then(|(_, value)| decoded(value))
}

impl Backend {
    /// The rules of the bucket that a request names, which says whose it is or
    /// bears a key that does; none if it has none, or cannot be told.
    async fn rules(&self, bucket: &str, access: Option<&str>) -> Vec<Rule> {
        let (project, bucket) = match with_project(bucket) {
            Some((project, bucket)) => (project.to_owned(), bucket),
            None => {
                let Some(access) = access else {
                    return Vec::new();
                };
                let Ok(key) = self.0.keys.get(access).await else {
                    return Vec::new();
                };
                (key.caller.project_id().unwrap_or_default().to_owned(), bucket)
            }
        };
        let account = self.account_of(&project);
        let Some(name) = account.ok().and_then(|account| account.container(bucket).ok()) else {
            return Vec::new();
        };
        match self.core().container_info(&name).await {
            Ok(Some(info)) => stored(&info),
            _ => Vec::new(),
        }
    }

    /// Answers `OPTIONS`: the headers to send, or why not.
    ///
    /// # Errors
    /// `BadRequest` without an origin, `AccessForbidden` where no rule fits.
    pub(crate) async fn preflight(
        &self,
        bucket: &str,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> S3Result<HeaderMap> {
        let origin = headers
            .get(ORIGIN)
            .ok_or_else(|| bad_request("Insufficient information. Origin request header needed."))?;
        let method = headers.get("access-control-request-method");
        let method = method.and_then(|method| method.to_str().ok());
        let Some(method) = method.filter(|method| METHODS.contains(method)) else {
            return Err(bad_request("Invalid Access-Control-Request-Method"));
        };
        let rules = self.rules(bucket, access_key(uri, headers).as_deref()).await;
        if rules.is_empty() {
            return Err(forbidden("CORSResponse: CORS is not enabled for this bucket."));
        }
        let (asked, from) = (asked_headers(headers), origin.to_str().unwrap_or_default());
        let Some(rule) = rules.iter().find(|rule| rule.allows(from, method, &asked)) else {
            return Err(forbidden(
                "CORSResponse: This CORS request is not allowed. This is usually because the evalution of Origin, request method / Access-Control-Request-Method or Access-Control-Request-Headers are not whitelisted by the resource's CORS spec.",
            ));
        };
        let mut into = HeaderMap::new();
        rule.show(origin, &mut into);
        set(&mut into, "access-control-allow-headers", &asked.join(", "));
        Ok(into)
    }

    /// The headers that an answer to a page gets; `access` is the key of its
    /// request.
    pub(crate) async fn for_page(
        &self,
        bucket: &str,
        method: &Method,
        access: Option<&str>,
        headers: &HeaderMap,
    ) -> HeaderMap {
        let mut into = HeaderMap::new();
        let Some(origin) = headers.get(ORIGIN) else {
            return into;
        };
        let rules = self.rules(bucket, access).await;
        let from = origin.to_str().unwrap_or_default();
        if let Some(rule) = rules.iter().find(|rule| rule.allows(from, method.as_str(), &[])) {
            rule.show(origin, &mut into);
        }
        into
    }
}

fn forbidden(message: &'static str) -> s3s::S3Error {
    named(http::StatusCode::FORBIDDEN, "AccessForbidden", message)
}

fn stored(info: &virga_object_wire::listing::ContainerInfo) -> Vec<Rule> {
    let json = meta(&info.meta, STORED);
    json.and_then(|json| serde_json::from_str(json).ok())
        .unwrap_or_default()
}

/// `GetBucketCors`.
pub(crate) async fn get(
    backend: &Backend,
    req: S3Request<GetBucketCorsInput>,
) -> S3Result<S3Response<GetBucketCorsOutput>> {
    let asker = backend.asker(&req).await?;
    let (_, info) = backend.bucket(&asker, Action::Own, &req.input.bucket).await?;
    let rules = stored(&info);
    if rules.is_empty() {
        return Err(s3_error!(NoSuchCORSConfiguration));
    }
    Ok(S3Response::new(GetBucketCorsOutput {
        cors_rules: Some(rules.into_iter().map(Rule::document).collect()),
    }))
}

/// `PutBucketCors`.
pub(crate) async fn put(
    backend: &Backend,
    req: S3Request<PutBucketCorsInput>,
) -> S3Result<S3Response<PutBucketCorsOutput>> {
    let asker = backend.asker(&req).await?;
    let input = req.input;
    let (name, _) = backend.bucket(&asker, Action::Own, &input.bucket).await?;
    let rules = input.cors_configuration.cors_rules;
    if rules.is_empty() || rules.len() > MOST {
        return Err(s3_error!(MalformedXML));
    }
    let rules: Vec<Rule> = rules.into_iter().map(Rule::of).collect::<S3Result<_>>()?;
    let json = serde_json::to_string(&rules).map_err(s3s::S3Error::internal_error)?;
    let change = vec![(STORED.to_owned(), json)];
    backend.core().post_container(&name, change).await.or_fault()?;
    Ok(S3Response::new(PutBucketCorsOutput::default()))
}

/// `DeleteBucketCors`.
pub(crate) async fn delete(
    backend: &Backend,
    req: S3Request<DeleteBucketCorsInput>,
) -> S3Result<S3Response<DeleteBucketCorsOutput>> {
    let asker = backend.asker(&req).await?;
    let (name, _) = backend.bucket(&asker, Action::Own, &req.input.bucket).await?;
    let change = vec![(STORED.to_owned(), String::new())];
    backend.core().post_container(&name, change).await.or_fault()?;
    Ok(S3Response::new(DeleteBucketCorsOutput::default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_lets_in_whom_it_names() {
        let rule = Rule {
            origins: vec!["https://*.example".into()],
            methods: vec!["PUT".into()],
            headers: vec!["x-amz-*".into(), "Content-Type".into()],
            ..Rule::default()
        };
        let asked = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        for (origin, method, headers, expected) in [
            (
                "https://a.example",
                "PUT",
                &["x-amz-date", "content-type"][..],
                true,
            ),
            ("https://a.example", "GET", &[], false),
            ("http://a.example", "PUT", &[], false),
            ("https://a.example.org", "PUT", &[], false),
            ("https://a.example", "PUT", &["authorization"], false),
        ] {
            assert_eq!(
                rule.allows(origin, method, &asked(headers)),
                expected,
                "{origin} {method}"
            );
        }
        assert!(!matches("a*a", "a") && matches("*", "") && matches("a*", "ab"));
    }

    #[test]
    fn the_key_of_a_request_is_found_wherever_it_is_named() {
        let mut headers = HeaderMap::new();
        let at = |uri: &str| uri.parse::<Uri>().unwrap();
        assert_eq!(access_key(&at("/b"), &headers), None);
        let signed = at("/b/k?X-Amz-Credential=AK%2F20260101%2Fr%2Fs3%2Faws4_request");
        assert_eq!(access_key(&signed, &headers).as_deref(), Some("AK"));
        assert_eq!(
            access_key(&at("/b?AWSAccessKeyId=AK"), &headers).as_deref(),
            Some("AK")
        );
        for value in [
            "AWS AK:sig",
            "AWS4-HMAC-SHA256 Credential=AK/2026/r/s3/aws4_request, SignedHeaders=x",
        ] {
            headers.insert("authorization", HeaderValue::from_str(value).unwrap());
            assert_eq!(access_key(&at("/b"), &headers).as_deref(), Some("AK"), "{value}");
        }
    }
}
