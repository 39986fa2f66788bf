//! Rehearsals: `OpenStack-Dry-Run: 1` on a changing call asks what it would do.
//!
//! A service lays [`guard`] around its routes. The guard understands the header,
//! refuses a rehearsal of what cannot be rehearsed (rather than doing it), marks
//! the request with [`DryRun`] and the answer with the header. The service gives
//! a marked request records that are never committed
//! (`virga_state::State::dry_run`) and leaves alone what it keeps beside them.
use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

/// The header, in both directions.
pub const HEADER: HeaderName = HeaderName::from_static("openstack-dry-run");

/// An extension of a request: nothing of what it asks for may stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DryRun;

/// Why there is no rehearsal: 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoDryRun {
    /// The header's value is neither yes nor no.
    #[error("The value of the header OpenStack-Dry-Run is not understood: use 1, or leave the header out.")]
    NotUnderstood,
    /// The call cannot be rehearsed.
    #[error(
        "This call cannot be rehearsed, and was not done: leave out the header OpenStack-Dry-Run to do it for real."
    )]
    NotHere,
}

/// How a service rehearses.
#[derive(Clone, Copy, Debug)]
pub struct Rehearsals {
    /// Whether a call, by its method and the path of its route, can be.
    pub possible: fn(&Method, &str) -> bool,
    /// Draws the service's fault.
    pub fault: fn(NoDryRun) -> Response,
}

/// Whether a rehearsal is asked for.
fn asked(headers: &HeaderMap) -> Result<bool, NoDryRun> {
    let mut values = headers.get_all(&HEADER).iter();
    let (value, more) = (values.next(), values.next());
    match (value.map(HeaderValue::as_bytes), more) {
        (None, _) => Ok(false),
        (Some(yes), None) if yes == b"1" || yes.eq_ignore_ascii_case(b"true") => Ok(true),
        (Some(no), None) if no == b"0" || no.eq_ignore_ascii_case(b"false") => Ok(false),
        _ => Err(NoDryRun::NotUnderstood),
    }
}

/// The guard; inside the router, so that the route is known.
pub async fn guard(how: Rehearsals, mut request: Request, next: Next) -> Response {
    let dry = match asked(request.headers()) {
        Ok(dry) => dry,
        Err(why) => return (how.fault)(why),
    };
    if !dry {
        return next.run(request).await;
    }
    let route = request.extensions().get::<MatchedPath>().cloned();
    // What has no route changes nothing, and says so itself.
    if let Some(route) = route
        && !(how.possible)(request.method(), route.as_str())
    {
        return (how.fault)(NoDryRun::NotHere);
    }
    request.extensions_mut().insert(DryRun);
    let mut response = next.run(request).await;
    response
        .headers_mut()
        .insert(HEADER, HeaderValue::from_static("1"));
    response
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::response::IntoResponse;
    use axum::routing::post;
    use axum::{Extension, Router, middleware};
    use tower::ServiceExt;

    use super::*;

    async fn send(path: &str, values: &[&str]) -> (u16, Option<HeaderValue>) {
        let how = Rehearsals {
            possible: |method, path| *method == Method::POST && path == "/pets/{id}",
            fault: |why| (http::StatusCode::BAD_REQUEST, why.to_string()).into_response(),
        };
        let answer = |dry: Option<Extension<DryRun>>| async move {
            match dry {
                Some(_) => http::StatusCode::ACCEPTED,
                None => http::StatusCode::CREATED,
            }
        };
        let router: Router = Router::new()
            .route("/pets/{id}", post(answer))
            .route("/real", post(answer))
            .layer(middleware::from_fn(move |request, next| {
                guard(how, request, next)
            }));
        let mut request = http::Request::post(path);
        for value in values {
            request = request.header(HEADER, *value);
        }
        let response = router
            .oneshot(request.body(Body::empty()).unwrap())
            .await
            .unwrap();
        (
            response.status().as_u16(),
            response.headers().get(&HEADER).cloned(),
        )
    }

    #[tokio::test]
    async fn only_what_can_be_rehearsed_is_and_nothing_is_done_instead() {
        let marked = Some(HeaderValue::from_static("1"));
        assert_eq!(send("/pets/rex", &["1"]).await, (202, marked.clone()));
        assert_eq!(send("/pets/rex", &["True"]).await, (202, marked.clone()));
        assert_eq!(send("/pets/rex", &[]).await, (201, None));
        assert_eq!(send("/pets/rex", &["0"]).await, (201, None));
        assert_eq!(send("/real", &["1"]).await, (400, None));
        assert_eq!(send("/nowhere", &["1"]).await, (404, marked));
        for values in [&["maybe"][..], &[""], &["1", "0"]] {
            assert_eq!(send("/pets/rex", values).await, (400, None));
        }
    }
}
