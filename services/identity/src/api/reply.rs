//! Answers: one object, a list, or nothing.
use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::ask::Ask;
use crate::fault::Fault;

/// What handlers answer.
pub(crate) type Reply = Result<Response, Fault>;

/// Most items of one list: beyond it the client pages on.
const MAX_ITEMS: usize = 10_000;

/// 200 with `{key: value}`.
pub(crate) fn one(key: &str, value: Value) -> Reply {
    Ok(Json(json!({key: value})).into_response())
}

/// 201 with `{key: value}`.
pub(crate) fn created(key: &str, value: Value) -> Reply {
    Ok((StatusCode::CREATED, Json(json!({key: value}))).into_response())
}

/// 204.
pub(crate) fn nothing() -> Reply {
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The comparisons that a filter's name may end with.
fn compare(how: &str, have: &str, wanted: &str) -> bool {
    let (how, have, wanted) = match how.strip_prefix('i') {
        Some(how) => (how, have.to_lowercase(), wanted.to_lowercase()),
        None => (how, have.to_owned(), wanted.to_owned()),
    };
    match how {
        "contains" => have.contains(&wanted),
        "startswith" => have.starts_with(&wanted),
        "endswith" => have.ends_with(&wanted),
        _ => have == wanted,
    }
}

fn matches(item: &Value, field: &str, wanted: &str) -> bool {
    let (field, how) = field.split_once("__").unwrap_or((field, "exact"));
    match item.get(field) {
        Some(Value::Bool(have)) => {
            let off = ["0", "false", "no", "off"].contains(&wanted.to_ascii_lowercase().as_str());
            *have != off
        }
        Some(Value::String(have)) => compare(how, have, wanted),
        Some(Value::Null) | None => false,
        Some(other) => {
            let shown = other.to_string();
            shown == wanted
        }
    }
}

/// 200 with a list: `{key: items, links}`. Keeps the items that match every
/// query value for one of `filters` (with comparisons like `name__contains`),
/// and pages by `limit` and `marker` (items come ordered by id).
pub(crate) fn list(ask: &Ask, key: &str, mut items: Vec<Value>, filters: &[&str]) -> Reply {
    for (name, wanted) in ask.all_query() {
        let field = name.split_once("__").map_or(name.as_str(), |(field, _)| field);
        if filters.contains(&field) {
            items.retain(|item| matches(item, name, wanted));
        }
    }
    let id_of = |item: &Value| {
        item.get("id")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    if let Some(marker) = ask.query("marker") {
        let Some(at) = items.iter().position(|item| id_of(item) == marker) else {
            return Err(Fault::not_found("marker", marker));
        };
        items.drain(..=at);
    }
    let asked = match ask.query("limit") {
        None => None,
        Some(text) => match text.parse::<usize>() {
            Ok(limit) => Some(limit),
            Err(_) => {
                return Err(Fault::BadRequest(format!(
                    "Invalid input for field 'limit': {text:?}."
                )));
            }
        },
    };
    let limit = asked.filter(|n| *n > 0).unwrap_or(MAX_ITEMS).min(MAX_ITEMS);
    let mut body = Map::new();
    let mut next = Value::Null;
    if items.len() > limit {
        items.truncate(limit);
        let last = items.last().map(id_of).unwrap_or_default();
        next = json!(next_url(ask, &last, limit));
        body.insert("truncated".into(), json!(true));
    }
    body.insert(key.into(), Value::Array(items));
    body.insert(
        "links".into(),
        json!({"self": ask.self_url(), "previous": null, "next": next}),
    );
    Ok(Json(Value::Object(body)).into_response())
}

/// What stands for itself in a query (RFC 3986, 2.3).
const KEPT: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

fn next_url(ask: &Ask, marker: &str, limit: usize) -> String {
    let encode = |text: &str| percent_encoding::utf8_percent_encode(text, KEPT).to_string();
    let url = ask.self_url();
    let path = url.split('?').next().unwrap_or_default().to_owned();
    let kept = ask
        .all_query()
        .iter()
        .filter(|(name, _)| name != "marker" && name != "limit");
    let mut query: Vec<String> = kept
        .map(|(n, v)| format!("{}={}", encode(n), encode(v)))
        .collect();
    query.push(format!("limit={limit}"));
    query.push(format!("marker={}", encode(marker)));
    format!("{path}?{}", query.join("&"))
}
