//! Bodies: those that arrive with a checksum, and those that leave.
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::StatusCode;
use s3s::checksum::ChecksumHasher;
use s3s::dto::StreamingBlob;
use s3s::stream::{ByteStream, RemainingLength};
use s3s::{S3Error, StdError, TrailingHeaders, s3_error};
use tokio::sync::OwnedMutexGuard;
use virga_proxy::core::{BodyError, ObjectBody, ObjectName, PutObjectError};

use super::super::Backend;
use super::super::checksum::{Algorithm, Claim};
use super::super::conditions::Expect;
use super::super::fault::{IntoFault, named};

/// What became known while a body passed.
#[derive(Default)]
struct Noted {
    /// Why it ended early, in AWS's words.
    fault: Option<S3Error>,
    /// The checksum of all of it.
    checksum: Option<String>,
    /// Keeps others from writing the name under a condition.
    guard: Option<OwnedMutexGuard<()>>,
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

    /// AWS's error for a body that was not stored.
    pub(crate) fn explain(&self, error: PutObjectError) -> S3Error {
        let noted = self.with(|noted| noted.fault.take());
        noted.unwrap_or_else(|| error.into_fault())
    }

    fn refuse(&self, fault: S3Error) -> BodyError {
        let why = fault.code().as_str().to_owned();
        self.with(|noted| noted.fault = Some(fault));
        BodyError::Malformed(why)
    }
}

/// From the protocol layer's errors to AWS's. Its types have no public names,
/// so they are told by their words.
fn explain(error: &StdError) -> S3Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&**error);
    while let Some(error) = cause {
        if let Some(own) = error.downcast_ref::<BodyError>() {
            return own.clone().into_fault();
        }
        cause = error.source();
    }
    let text = error.to_string();
    let says = |word: &str| text.contains(word);
    if says("client sent nothing for too long") {
        BodyError::TooSlow.into_fault()
    } else if says("SignatureMismatch") {
        s3_error!(SignatureDoesNotMatch)
    } else if says("Sha256Mismatch") {
        named(
            StatusCode::BAD_REQUEST,
            "XAmzContentSHA256Mismatch",
            "The provided 'x-amz-content-sha256' header does not match what was computed.",
        )
    } else if says("Incomplete") || says("LengthMismatch") || says("disconnected") {
        s3_error!(IncompleteBody)
    } else {
        s3_error!(InvalidRequest, "The body is malformed.")
    }
}

/// A body on its way in: its checksum is computed, and compared at the end.
pub(crate) struct Arriving {
    blob: Option<StreamingBlob>,
    claim: Option<Claim>,
    hasher: Option<ChecksumHasher>,
    trailers: Option<TrailingHeaders>,
    notes: Notes,
}

impl Arriving {
    /// A body with what the request claims of it.
    pub(crate) fn new(
        blob: Option<StreamingBlob>,
        claim: Option<Claim>,
        trailers: Option<TrailingHeaders>,
        notes: Notes,
    ) -> Self {
        let hasher = claim.as_ref().map(|claim| claim.algorithm.hasher());
        Self {
            blob,
            claim,
            hasher,
            trailers,
            notes,
        }
    }

    /// Compares at the end of the body.
    fn finish(&mut self) -> Option<BodyError> {
        let (Some(claim), Some(hasher)) = (self.claim.take(), self.hasher.take()) else {
            return None;
        };
        let got = claim.algorithm.value(hasher);
        let name = claim.algorithm.header();
        let expected = match (claim.value, claim.trails) {
            (Some(value), _) => Some(value),
            (None, true) => {
                let trailers = self.trailers.as_ref();
                let read = |all: &http::HeaderMap| {
                    let value = all.get(name).and_then(|value| value.to_str().ok());
                    value.map(str::to_owned)
                };
                let Some(value) = trailers.and_then(|trailers| trailers.read(read)).flatten() else {
                    let fault = named(
                        StatusCode::BAD_REQUEST,
                        "MalformedTrailerError",
                        "The request contained trailing data that was not well-formed or did not conform to our published schema.",
                    );
                    return Some(self.notes.refuse(fault));
                };
                Some(value.trim().to_owned())
            }
            (None, false) => None,
        };
        if expected.is_some_and(|expected| expected != got) {
            let shown = claim.algorithm.name();
            let fault = s3_error!(
                BadDigest,
                "The {shown} you specified did not match the calculated checksum."
            );
            return Some(self.notes.refuse(fault));
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
                notes.with(|noted| noted.guard = guard);
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
