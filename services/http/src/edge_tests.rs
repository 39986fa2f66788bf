//! The edge by its behaviour.
use axum::Extension;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use http_body_util::BodyExt;

use virga_node::clock::{ManualClock, Micros};

use super::*;
use crate::limits::Rate;

fn edge() -> Edge {
    Edge {
        service: "test",
        prefixes: &["/identity"],
        public_url: None,
        max_body: 10,
        timeout: Duration::from_millis(50),
        max_concurrent: 1,
        max_wait: Duration::from_millis(1),
        trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
        rate: None,
        fault: |refusal| (refusal.status(), format!("{refusal:?}")).into_response(),
    }
}

fn router() -> Router {
    Router::new()
        .route(
            "/v3/where",
            get(async |Extension(base): Extension<BaseUrl>| base.0),
        )
        .route("/v3/panic", get(async || -> String { panic!("on purpose") }))
        .route("/v3/slow", get(std::future::pending::<String>))
        .route("/v3/echo", post(async |body: String| body))
}

async fn ask(router: &Router, request: Request<Body>) -> (StatusCode, String, Response<()>) {
    let (parts, body) = router.clone().oneshot(request).await.unwrap().into_parts();
    let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    (parts.status, text, Response::from_parts(parts, ()))
}

fn get_request(path: &str) -> Request<Body> {
    Request::get(path)
        .header("host", "cloud:5000")
        .body(Body::empty())
        .unwrap()
}

#[tokio::test]
async fn prefixes_slashes_and_request_ids_are_seen_to() {
    let router = edge().wrap(router());
    for (path, base) in [
        ("/v3/where", "http://cloud:5000"),
        ("/v3/where/", "http://cloud:5000"),
        ("//v3//where?x=1", "http://cloud:5000"),
        ("/identity/v3/where", "http://cloud:5000/identity"),
    ] {
        let (status, text, response) = ask(&router, get_request(path)).await;
        assert_eq!((status, text.as_str()), (StatusCode::OK, base), "{path}");
        let id = response.headers()["x-openstack-request-id"].to_str().unwrap();
        assert!(id.starts_with("req-") && id.len() == 40, "{id}");
    }
    assert_eq!(
        ask(&router, get_request("/identityx/v3/where")).await.0,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        ask(&router, get_request("/v3/%00")).await.0,
        StatusCode::BAD_REQUEST
    );
}

#[tokio::test]
async fn a_panic_and_a_slow_handler_become_faults_and_free_their_turn() {
    let router = edge().wrap(router());
    assert_eq!(ask(&router, get_request("/v3/panic")).await.1, "Panicked");
    assert_eq!(ask(&router, get_request("/v3/slow")).await.1, "Timeout");
    assert_eq!(ask(&router, get_request("/v3/where")).await.0, StatusCode::OK);
}

#[tokio::test]
async fn requests_beyond_the_limit_are_turned_away() {
    let router = edge().wrap(router());
    let slow = ask(&router, get_request("/v3/slow"));
    let second = async {
        tokio::task::yield_now().await;
        ask(&router, get_request("/v3/where")).await
    };
    let (_, (status, text, response)) = tokio::join!(slow, second);
    assert_eq!(
        (status, text.as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "Overloaded")
    );
    assert_eq!(response.headers()["retry-after"], "1");
}

#[tokio::test]
async fn an_announced_body_beyond_the_limit_is_refused_unread() {
    let router = edge().wrap(router());
    let large = Request::post("/v3/echo")
        .header("content-length", "11")
        .body(Body::from("x".repeat(11)));
    assert_eq!(
        ask(&router, large.unwrap()).await.0,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    let error = crate::body::read(Body::from("x".repeat(11)), 10)
        .await
        .unwrap_err();
    assert!(matches!(error, crate::body::BodyError::TooLarge(10)));
    assert_eq!(
        crate::body::read(Body::from("x".repeat(10)), 10)
            .await
            .unwrap()
            .len(),
        10
    );
}

fn from(peer: &str, forwarded: &str) -> Request<Body> {
    let mut request = get_request("/v3/where");
    let peer = Peer {
        address: peer.parse().unwrap(),
        secure: true,
    };
    request.extensions_mut().insert(peer);
    let forwarded = forwarded.parse().unwrap();
    request.headers_mut().insert("x-forwarded-for", forwarded);
    request
}

#[tokio::test]
async fn one_address_that_asks_too_often_is_told_when_to_come_back() {
    let clock = Arc::new(ManualClock::new(Micros(1)));
    let rate = Rate {
        per_minute: 6,
        burst: 2,
    };
    let edge = Edge {
        rate: Some(SourceRate {
            buckets: Arc::new(Buckets::new(rate)),
            clock: clock.clone(),
        }),
        ..edge()
    };
    let router = edge.wrap(router());
    for _ in 0..2 {
        let (status, base, _) = ask(&router, from("9.9.9.9:1", "1.1.1.1")).await;
        assert_eq!((status, base.as_str()), (StatusCode::OK, "https://cloud:5000"));
    }
    let (status, text, response) = ask(&router, from("9.9.9.9:2", "2.2.2.2")).await;
    assert_eq!(
        (status, text.as_str()),
        (StatusCode::TOO_MANY_REQUESTS, "TooMany")
    );
    assert_eq!(response.headers()["retry-after"], "10");
    // Behind a proxy that is believed, each client counts by itself.
    for client in ["1.1.1.1", "2.2.2.2", "3.3.3.3"] {
        assert_eq!(
            ask(&router, from("10.1.1.1:1", client)).await.0,
            StatusCode::OK,
            "{client}"
        );
    }
    clock.advance(Duration::from_secs(10));
    assert_eq!(ask(&router, from("9.9.9.9:3", "")).await.0, StatusCode::OK);
}
