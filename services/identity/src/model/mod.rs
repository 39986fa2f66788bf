//! Records and their tables: one file per record.
//!
//! Functions that read take anything that runs queries, so that they serve
//! inside and outside of transactions. Nothing here knows HTTP or policy.
pub mod access_rule;
pub mod application_credential;
pub mod assignment;
pub mod bootstrap_step;
pub mod catalog;
pub mod credential;
pub mod domain_option;
pub mod endpoint_filter;
pub mod federated_user;
pub mod federation;
pub mod group;
pub mod limit;
pub mod oauth;
pub mod oauth_token;
pub mod old_password;
pub mod policy;
pub mod project;
pub mod revocation;
pub mod role;
pub mod schema;
pub mod trust;
pub mod user;

use serde_json::{Map, Value};
use virga_node::clock::Micros;
use virga_state::{Row, StateError};

/// A JSON object, as `extra` and `options` columns hold it.
pub type Object = Map<String, Value>;

/// Reads a JSON object column. Anything else reads as empty.
fn object(row: &Row, column: &str) -> Result<Object, StateError> {
    match serde_json::from_str(&row.text(column)?) {
        Ok(Value::Object(map)) => Ok(map),
        _ => Ok(Object::new()),
    }
}

/// Writes a JSON object column.
fn text_of(object: &Object) -> String {
    Value::Object(object.clone()).to_string()
}

/// A new id: 32 hex digits, as Keystone makes them.
pub fn new_id() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// An empty text stands for none.
fn none_if_empty(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// A time as a BIGINT column keeps it.
pub fn stored(at: Micros) -> i64 {
    i64::try_from(at.0).unwrap_or(i64::MAX)
}

/// A time from a BIGINT column.
pub fn micros(at: i64) -> Micros {
    Micros(u64::try_from(at).unwrap_or(0))
}

/// A time column that may be NULL.
fn maybe_time(row: &Row, column: &str) -> Result<Option<Micros>, StateError> {
    Ok(row.maybe_int(column)?.map(micros))
}
