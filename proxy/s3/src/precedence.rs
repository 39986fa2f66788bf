//! Which of two faults is told: that a document cannot be read, or what is said of
//! the bucket that it is for. AWS finds the bucket and asks who may before it reads
//! a document; the protocol layer reads first and calls the operation then.
//!
//! So [`super::door`] keeps what [`Documented`] needs of a request that brings a
//! document, and has it judged after all when the request failed before its
//! operation was judged. Requests that go well cost nothing more.
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use http::Request;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::path::S3Path;
use s3s::{Body, S3Error, S3Request, S3Result, s3_error};
use virga_proxy::server::Origin;

use super::Backend;
use super::access::Place;
use super::operations::OPERATIONS;
use super::request::{Signed, Target, is_document};

/// How far a request has come: an extension of those that bring documents.
#[derive(Clone, Debug, Default)]
pub(crate) struct Way(Arc<Steps>);

#[derive(Debug, Default)]
struct Steps {
    /// The action that the operation is judged by, and what it is done to.
    routed: OnceLock<(&'static str, Place)>,
    judged: OnceLock<()>,
}

impl Way {
    /// Notes that the operation is being judged: its document has been read.
    pub(crate) fn is_judged(&self) {
        let _ = self.0.judged.set(());
    }
}

/// Notes which operation the protocol layer has found.
pub(crate) struct Routes;

#[async_trait]
impl S3Access for Routes {
    async fn check(&self, found: &mut S3AccessContext<'_>) -> S3Result<()> {
        let operation = found.s3_op().name().to_owned();
        let Some(action) = action_of(&operation) else {
            return Ok(());
        };
        let place = match found.s3_path() {
            S3Path::Root => return Ok(()),
            S3Path::Bucket { bucket } if operation == "CreateBucket" => Place::New(bucket.to_string()),
            // Which objects are to be deleted nobody knows: their bucket is judged by.
            S3Path::Bucket { bucket } => Place::Bucket(bucket.to_string()),
            S3Path::Object { bucket, key } => Place::Object(bucket.to_string(), key.to_string()),
        };
        if let Some(way) = found.extensions_mut().get::<Way>() {
            let _ = way.0.routed.set((action, place));
        }
        Ok(())
    }
}

/// The action that an operation is judged by; `PutBucketTagging` is `put_bucket_tagging`.
fn action_of(operation: &str) -> Option<&'static str> {
    let same = |name: &str| {
        let letters = name.bytes().filter(|byte| *byte != b'_');
        letters
            .map(|byte| byte.to_ascii_lowercase())
            .eq(operation.bytes().map(|byte| byte.to_ascii_lowercase()))
    };
    let found = OPERATIONS.iter().find(|(name, _)| same(name));
    found.map(|(_, action)| *action)
}

/// The protocol layer tells [`Routes`] nothing unless it has somebody to ask for
/// secrets. Signatures are taken off before it is called, so it never asks.
pub(crate) struct NoSecrets;

#[async_trait]
impl S3Auth for NoSecrets {
    async fn get_secret_key(&self, _access_key: &str) -> S3Result<SecretKey> {
        Err(s3_error!(InvalidAccessKeyId))
    }
}

/// What judging needs of a request that brings a document.
pub(crate) struct Documented {
    asked: S3Request<()>,
    way: Way,
}

impl Documented {
    /// Keeps it, if the request brings one.
    pub(crate) fn of(target: Target, request: &mut Request<Body>) -> Option<Self> {
        if !is_document(request.method(), request.uri(), target) {
            return None;
        }
        let way = Way::default();
        let mut extensions = http::Extensions::new();
        if let Some(signed) = request.extensions().get::<Signed>() {
            extensions.insert(signed.clone());
        }
        if let Some(origin) = request.extensions().get::<Origin>() {
            extensions.insert(*origin);
        }
        request.extensions_mut().insert(way.clone());
        let asked = S3Request {
            input: (),
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: request.headers().clone(),
            extensions,
            credentials: None,
            region: None,
            service: None,
            trailing_headers: None,
        };
        Some(Self { asked, way })
    }

    /// What AWS would say first of a request that has failed: that the bucket is not
    /// there, or not the asker's to change.
    pub(crate) async fn refused(mut self, backend: &Backend) -> Option<S3Error> {
        if self.way.0.judged.get().is_some() {
            return None;
        }
        let (action, place) = self.way.0.routed.get().cloned()?;
        backend.admit(&mut self.asked, action, place).await.err()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_of_the_protocol_layer_has_the_action_of_its_row() {
        for (operation, action) in [
            ("PutBucketCors", "s3:PutBucketCORS"),
            ("CompleteMultipartUpload", "s3:PutObject"),
            ("DeleteObjects", "s3:DeleteObject"),
            ("PutObjectLegalHold", "s3:PutObjectLegalHold"),
        ] {
            assert_eq!(action_of(operation), Some(action), "{operation}");
        }
        assert_eq!(action_of("PutBucket"), None);
    }
}
