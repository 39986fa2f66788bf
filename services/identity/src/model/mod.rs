//! Records and their tables: one file per record.
//!
//! Functions that read take anything that runs queries, so that they serve
//! inside and outside of transactions. Nothing here knows HTTP or policy.
pub mod assignment;
pub mod catalog;
pub mod credential;
pub mod group;
pub mod project;
pub mod revocation;
pub mod role;
pub mod schema;
pub mod user;

use serde_json::{Map, Value};
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
