//! Request bodies within a limit.
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use serde_json::Value;

/// Why a body was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// Longer than the limit, in bytes.
    #[error("the request body is larger than {0} bytes")]
    TooLarge(usize),
    /// The connection broke off.
    #[error("the request body broke off: {0}")]
    Broken(#[source] axum::Error),
    /// Not JSON.
    #[error("the request body is not valid JSON: {0}")]
    NotJson(#[source] serde_json::Error),
}

/// Reads the body whole, at most `limit` bytes.
pub async fn read(mut body: Body, limit: usize) -> Result<Bytes, BodyError> {
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(BodyError::Broken)?;
        if let Ok(data) = frame.into_data() {
            if all.len() + data.len() > limit {
                return Err(BodyError::TooLarge(limit));
            }
            all.extend_from_slice(&data);
        }
    }
    Ok(all.freeze())
}

/// Reads `bytes` as JSON. Nesting is bounded by the reader (128 levels).
pub fn json(bytes: &[u8]) -> Result<Value, BodyError> {
    serde_json::from_slice(bytes).map_err(BodyError::NotJson)
}
