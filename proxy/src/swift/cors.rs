//! Requests from pages of other origins.
use http::header::{ALLOW, HeaderMap, HeaderName, HeaderValue, VARY};
use http::{Method, StatusCode};

use super::body::{Answer, empty};
use super::fault::Fault;
use super::target::Target;
use super::{Ctx, Swift, headers, meta_value, methods};
use crate::core::ContainerName;

/// Response headers that every allowed origin may read.
const EXPOSED: [&str; 11] = [
    "cache-control",
    "content-language",
    "content-type",
    "expires",
    "last-modified",
    "pragma",
    "etag",
    "x-timestamp",
    "x-trans-id",
    "x-openstack-request-id",
    "x-object-blake3",
];

/// What a container says about origins.
#[derive(Default)]
struct Rules {
    allow_origin: Option<String>,
    expose_headers: Option<String>,
    max_age: Option<String>,
}

impl Rules {
    async fn of(swift: &Swift, name: &ContainerName) -> Result<Self, Fault> {
        let Some(info) = swift.0.core.container_info(name).await? else {
            return Ok(Self::default());
        };
        let value = |what: &str| {
            meta_value(&info.meta, &format!("x-container-meta-access-control-{what}")).map(str::to_owned)
        };
        Ok(Self {
            allow_origin: value("allow-origin"),
            expose_headers: value("expose-headers"),
            max_age: value("max-age"),
        })
    }

    fn allow(&self, swift: &Swift, origin: &str) -> bool {
        let own = self.allow_origin.iter().flat_map(|list| list.split_whitespace());
        own.chain(swift.0.config.cors_allow_origin.iter().map(String::as_str))
            .any(|allowed| allowed == "*" || allowed == origin)
    }

    fn set_origin(&self, origin: &str, into: &mut HeaderMap) {
        let star = self
            .allow_origin
            .as_deref()
            .is_some_and(|list| list.trim() == "*");
        if !star {
            add_vary(into, "Origin");
        }
        headers::put(
            into,
            "access-control-allow-origin",
            if star { "*" } else { origin },
        );
    }
}

fn add_vary(into: &mut HeaderMap, what: &str) {
    let value = match headers::text(into, "vary") {
        Some(vary) => format!("{vary}, {what}"),
        None => what.to_owned(),
    };
    into.insert(VARY, headers::to_value(&value));
}

/// The origin of a request, kept until its answer is there.
pub struct Origin {
    swift: Swift,
    container: ContainerName,
    origin: String,
}

impl Origin {
    /// The origin of a request for a container or something in it.
    pub fn of_target(ctx: &Ctx, target: &Target) -> Option<Self> {
        match target {
            Target::Account(_) => None,
            Target::Container(name) => Self::of(ctx, name.clone()),
            Target::Object(name) => Self::of(ctx, name.container_name()),
        }
    }

    /// The origin, if the request comes from a page.
    pub fn of(ctx: &Ctx, container: ContainerName) -> Option<Self> {
        let origin = headers::text(&ctx.headers, "origin")?.to_owned();
        Some(Self {
            swift: ctx.swift.clone(),
            container,
            origin,
        })
    }
}

/// Adds to an answer what lets the page read it.
pub async fn finish(origin: Option<Origin>, answer: Result<Answer, Fault>) -> Result<Answer, Fault> {
    let Some(Origin {
        swift,
        container,
        origin,
    }) = origin
    else {
        return answer;
    };
    let rules = Rules::of(&swift, &container).await?;
    let mut answer = answer.unwrap_or_else(Fault::into_answer);
    if swift.0.config.strict_cors_mode && !rules.allow(&swift, &origin) {
        return Ok(answer);
    }
    let meta = answer.headers().keys().map(HeaderName::as_str);
    let meta = meta.filter(|name| name.starts_with("x-container-meta") || name.starts_with("x-object-meta"));
    let mut exposed: Vec<String> = EXPOSED.into_iter().chain(meta).map(str::to_owned).collect();
    exposed.extend(swift.0.config.cors_expose_headers.iter().cloned());
    exposed.extend(
        rules
            .expose_headers
            .iter()
            .flat_map(|list| list.split_whitespace())
            .map(str::to_lowercase),
    );
    exposed.sort_unstable();
    exposed.dedup();
    headers::put(
        answer.headers_mut(),
        "access-control-expose-headers",
        &exposed.join(", "),
    );
    rules.set_origin(&origin, answer.headers_mut());
    Ok(answer)
}

/// Answers OPTIONS for a container or an object in it.
pub async fn preflight(ctx: &Ctx, name: &ContainerName, object: bool) -> Result<Answer, Fault> {
    let target = match object {
        // Any object will do: methods depend on the level alone.
        true => name
            .object("o")
            .map(Target::Object)
            .map_err(|_| Fault::not_found())?,
        false => Target::Container(name.clone()),
    };
    let methods = methods::of(ctx.config(), &target);
    let allow = headers::to_value(&methods.join(", "));
    let mut answer = Answer::new(empty());
    answer.headers_mut().insert(ALLOW, allow.clone());
    let Some(origin) = headers::text(&ctx.headers, "origin") else {
        return Ok(answer);
    };
    let rules = Rules::of(&ctx.swift, name).await?;
    let wanted = headers::text(&ctx.headers, "access-control-request-method");
    if !rules.allow(&ctx.swift, origin) || !wanted.is_some_and(|method| methods.contains(&method)) {
        return Err(Fault::page(StatusCode::UNAUTHORIZED).with(ALLOW, allow));
    }
    let into = answer.headers_mut();
    rules.set_origin(origin, into);
    if let Some(age) = &rules.max_age {
        headers::put(into, "access-control-max-age", age);
    }
    into.insert("access-control-allow-methods", allow);
    let asked: Vec<&str> = ctx
        .headers
        .get_all("access-control-request-headers")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .collect();
    if !asked.is_empty() {
        into.insert(
            "access-control-allow-headers",
            headers::to_value(&asked.join(", ")),
        );
        add_vary(into, "Access-Control-Request-Headers");
    }
    Ok(answer)
}

/// Answers OPTIONS for an account, which has no rules about origins.
pub fn account_options(ctx: &Ctx, target: &Target) -> Answer {
    debug_assert_eq!(ctx.method, Method::OPTIONS);
    let mut answer = Answer::new(empty());
    let allow: HeaderValue = headers::to_value(&methods::of(ctx.config(), target).join(", "));
    answer.headers_mut().insert(ALLOW, allow);
    answer
}
