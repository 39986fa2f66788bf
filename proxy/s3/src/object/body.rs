//! Bodies: those that arrive with a checksum, and those that leave.
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use s3s::checksum::ChecksumHasher;
use s3s::dto::StreamingBlob;
use s3s::stream::{ByteStream, RemainingLength};
use s3s::{S3Error, StdError, s3_error};
use virga_proxy::core::{BodyError, ObjectBody, ObjectName, PutObjectError};

use super::super::Backend;
use super::super::checksum::{Algorithm, Claim};
use super::super::conditions::{Expect, Hold};
use super::super::fault::IntoFault;
use super::super::form::WrongSize;
use super::super::request::{Trailing, malformed_trailer, md5_mismatch};

/// What became known while a body passed.
#[derive(Default)]
struct Noted {
    /// Why it ended early, in AWS's words.
    fault: Option<S3Error>,
    /// The checksum of all of it.
    checksum: Option<String>,
    /// The MD5 that was announced, in hex.
    md5: Option<String>,
    /// Keeps others from writing the name under a condition.
    guard: Option<Hold>,
}

/// What becomes known while a body passes; shared with who stores it.
#[derive(Clone, Default)]
pub(crate) struct Notes(Arc<Mutex<Noted>>);

impl Notes {
    fn with<T>(&self, change: impl FnOnce(&mut Noted) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The checksum of a body that has ended.
    pub(crate) fn checksum(&self) -> Option<String> {
        self.with(|noted| noted.checksum.clone())
    }

    /// Notes the MD5 (hex) that a body is said to have.
    pub(crate) fn announce(&self, md5: Option<String>) -> Option<String> {
        self.with(|noted| noted.md5.clone_from(&md5));
        md5
    }

    /// AWS's error for a body that was not stored.
    pub(crate) fn explain(&self, error: PutObjectError) -> S3Error {
        let (fault, md5) = self.with(|noted| (noted.fault.take(), noted.md5.clone()));
        match (fault, error) {
            (Some(fault), _) => fault,
            (None, PutObjectError::EtagMismatch { got }) => {
                let got = hex::decode(got).unwrap_or_default();
                md5_mismatch(&md5.unwrap_or_default(), &STANDARD.encode(got))
            }
            (None, error) => error.into_fault(),
        }
    }

    fn refuse(&self, fault: S3Error) -> BodyError {
        let why = fault.code().as_str().to_owned();
        self.with(|noted| noted.fault = Some(fault));
        BodyError::Malformed(why)
    }
}

/// From the errors of bodies to AWS's. What the door found wrong with one it
/// says itself.
fn explain(error: &StdError) -> S3Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&**error);
    while let Some(error) = cause {
        if let Some(own) = error.downcast_ref::<BodyError>() {
            return own.clone().into_fault();
        }
        if let Some(size) = error.downcast_ref::<WrongSize>() {
            return size.fault();
        }
        cause = error.source();
    }
    s3_error!(IncompleteBody)
}

/// The error for a body whose checksum is not the one that was announced.
pub(crate) fn differs(algorithm: Algorithm) -> S3Error {
    let shown = algorithm.name();
    s3_error!(
        BadDigest,
        "The {shown} you specified did not match the calculated checksum."
    )
}

/// A body on its way in: its checksum is computed, and compared at the end.
pub(crate) struct Arriving {
    blob: Option<StreamingBlob>,
    claim: Option<Claim>,
    hasher: Option<ChecksumHasher>,
    trailing: Option<Trailing>,
    notes: Notes,
}

impl Arriving {
    /// A body with what the request claims of it.
    pub(crate) fn new(
        blob: Option<StreamingBlob>,
        claim: Option<Claim>,
        trailing: Option<Trailing>,
        notes: Notes,
    ) -> Self {
        let hasher = claim.as_ref().map(|claim| claim.algorithm.hasher());
        Self {
            blob,
            claim,
            hasher,
            trailing,
            notes,
        }
    }

    /// Compares at the end of the body.
    fn finish(&mut self) -> Option<BodyError> {
        let (Some(claim), Some(hasher)) = (self.claim.take(), self.hasher.take()) else {
            return None;
        };
        let got = claim.algorithm.value(hasher);
        let expected = match (claim.value, claim.trails) {
            (Some(value), _) => Some(value),
            (None, true) => {
                let trailing = self.trailing.as_ref().and_then(Trailing::value);
                let Some(value) = trailing else {
                    return Some(self.notes.refuse(malformed_trailer()));
                };
                Some(value.to_owned())
            }
            (None, false) => None,
        };
        if expected.is_some_and(|expected| expected != got) {
            return Some(self.notes.refuse(differs(claim.algorithm)));
        }
        self.notes.with(|noted| noted.checksum = Some(got));
        None
    }
}

impl Stream for Arriving {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(blob) = &mut this.blob else {
            return Poll::Ready(this.finish().map(Err));
        };
        match blob.poll_next_unpin(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(bytes))) => {
                if let Some(hasher) = &mut this.hasher {
                    hasher.update(&bytes);
                }
                Poll::Ready(Some(Ok(bytes)))
            }
            Poll::Ready(Some(Err(error))) => {
                (this.blob, this.claim) = (None, None);
                Poll::Ready(Some(Err(this.notes.refuse(explain(&error)))))
            }
            Poll::Ready(None) => {
                this.blob = None;
                Poll::Ready(this.finish().map(Err))
            }
        }
    }
}

/// A body that, once all of it is here, is let through only if the object is
/// still as the write expects it. The name is held until `notes` are dropped.
pub(crate) fn expecting<S>(
    body: S,
    backend: &Backend,
    name: &ObjectName,
    expect: Option<Expect>,
    notes: &Notes,
) -> impl Stream<Item = Result<Bytes, BodyError>> + Send + use<S>
where
    S: Stream<Item = Result<Bytes, BodyError>> + Send,
{
    let (backend, name, notes) = (backend.clone(), name.clone(), notes.clone());
    let last = futures_util::stream::once(async move {
        let Some(expect) = expect else {
            return Ok(Bytes::new());
        };
        match backend.expect_and_hold(&name, &expect).await {
            Ok(guard) => {
                notes.with(|noted| noted.guard = Some(guard));
                Ok(Bytes::new())
            }
            Err(fault) => Err(notes.refuse(fault)),
        }
    });
    body.chain(last)
}

/// A checksum that is computed and not claimed.
pub(crate) fn computed(algorithm: Algorithm) -> Claim {
    Claim {
        algorithm,
        value: None,
        trails: false,
    }
}

/// Bytes on their way out, of which so many are left.
pub(crate) struct Leaving {
    // Never contended: it makes the body shareable between threads, which the
    // protocol layer asks for and never does.
    body: Mutex<ObjectBody>,
    left: u64,
}

impl Leaving {
    /// A body of `length` bytes.
    pub(crate) fn blob(body: ObjectBody, length: u64) -> StreamingBlob {
        StreamingBlob::new(Self {
            body: Mutex::new(body),
            left: length,
        })
    }
}

impl Stream for Leaving {
    type Item = Result<Bytes, StdError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let body = this.body.get_mut().unwrap_or_else(PoisonError::into_inner);
        match body.poll_next_unpin(cx) {
            Poll::Ready(Some(Ok(bytes))) => {
                this.left = this.left.saturating_sub(bytes.len() as u64);
                Poll::Ready(Some(Ok(bytes)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(Box::new(error)))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl ByteStream for Leaving {
    fn remaining_length(&self) -> RemainingLength {
        usize::try_from(self.left).map_or_else(|_| RemainingLength::unknown(), RemainingLength::new_exact)
    }
}
