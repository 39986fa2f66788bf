//! A body on its way into the protocol layer: without its chunks, and compared
//! at its end with what the request said of it. Whoever reads it learns only
//! that it is not whole; why, [`Faults`] tells the door.
use std::pin::Pin;
use std::task::{Context, Poll};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::StreamExt;
use http::StatusCode;
use http_body::{Frame, SizeHint};
use md5::Md5;
use s3s::checksum::ChecksumHasher;
use s3s::{S3Error, S3Result, s3_error};
use sha2::{Digest, Sha256};
use virga_proxy::core::BodyError;
use virga_proxy::swift::upload::Upload;

use super::chunked::Decoder;
use super::{Faults, Trailing};
use crate::checksum::Claim;
use crate::detail::Detailed;
use crate::fault::{IntoFault, named};
use crate::object::body::differs;

/// What a request says of its body, to be compared with it.
#[derive(Default)]
pub(super) struct Digests {
    /// As given; anything but hex no body has.
    pub(super) sha256: Option<String>,
    /// In base64.
    pub(super) md5: Option<String>,
    pub(super) claim: Option<Claim>,
    /// Where the claim's value is, if it comes behind the body.
    pub(super) trailing: Trailing,
}

/// The body is not the one that was announced.
pub(super) fn sha_mismatch(said: &str, computed: &str) -> S3Error {
    named(
        StatusCode::BAD_REQUEST,
        "XAmzContentSHA256Mismatch",
        "The provided 'x-amz-content-sha256' header does not match what was computed.",
    )
    .detail("ClientComputedContentSHA256", said)
    .detail("S3ComputedContentSHA256", computed)
}

/// The error for a body whose MD5 is not the one in its header; `expected` is
/// in hex for objects and in base64 for documents, as AWS shows them.
pub(crate) fn md5_mismatch(expected: &str, computed: &str) -> S3Error {
    s3_error!(
        BadDigest,
        "The Content-MD5 you specified did not match what we received."
    )
    .detail("ExpectedDigest", expected)
    .detail("CalculatedDigest", computed)
}

/// The error for a document that has too many bytes.
fn too_large() -> S3Error {
    s3_error!(MalformedXML, "The document is too large.")
}

/// Digests in the making.
struct Making {
    said: Digests,
    sha256: Option<Sha256>,
    md5: Option<Md5>,
    claim: Option<ChecksumHasher>,
}

impl Making {
    fn new(said: Digests) -> Self {
        Self {
            sha256: said.sha256.as_ref().map(|_| Sha256::new()),
            md5: said.md5.as_ref().map(|_| Md5::new()),
            claim: said.claim.as_ref().map(|claim| claim.algorithm.hasher()),
            said,
        }
    }

    fn add(&mut self, bytes: &Bytes) {
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(bytes);
        }
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes);
        }
        if let Some(claim) = &mut self.claim {
            claim.update(bytes);
        }
    }

    fn finish(&mut self) -> S3Result<()> {
        if let Some((said, sha256)) = self.said.sha256.take().zip(self.sha256.take()) {
            let computed = hex::encode(sha256.finalize());
            if !said.eq_ignore_ascii_case(&computed) {
                return Err(sha_mismatch(&said, &computed));
            }
        }
        if let Some((said, md5)) = self.said.md5.take().zip(self.md5.take()) {
            let computed = STANDARD.encode(md5.finalize());
            if said != computed {
                return Err(md5_mismatch(&said, &computed));
            }
        }
        if let Some((claim, hasher)) = self.said.claim.take().zip(self.claim.take()) {
            let computed = claim.algorithm.value(hasher);
            let said = claim.value.as_deref().or(self.said.trailing.value());
            if said.is_some_and(|said| said != computed) {
                return Err(differs(claim.algorithm));
            }
        }
        Ok(())
    }
}

/// A body on its way into the protocol layer.
pub(super) struct Incoming {
    upload: Option<Upload>,
    length: Option<u64>,
    /// Bytes that may still come.
    left: u64,
    decoder: Option<Decoder>,
    arrived: Bytes,
    making: Making,
    faults: Faults,
}

impl Incoming {
    /// One that is read by `decoder`, if it travels in chunks, and compared
    /// with `digests`. How long it says it is, and how long it may be.
    pub(super) fn new(
        upload: Upload,
        (length, most): (Option<u64>, u64),
        decoder: Option<Decoder>,
        digests: Digests,
        faults: Faults,
    ) -> Self {
        Self {
            upload: Some(upload),
            length,
            left: most,
            decoder,
            arrived: Bytes::new(),
            making: Making::new(digests),
            faults,
        }
    }

    /// The next bytes of what has arrived.
    fn decoded(&mut self) -> S3Result<Option<Bytes>> {
        match &mut self.decoder {
            Some(decoder) => decoder.next(&mut self.arrived),
            None if self.arrived.is_empty() => Ok(None),
            None => Ok(Some(std::mem::take(&mut self.arrived))),
        }
    }

    fn finish(&mut self) -> S3Result<()> {
        if let Some(decoder) = &mut self.decoder {
            decoder.finish()?;
        }
        self.making.finish()
    }

    /// Ends the body with what is wrong with it.
    fn refuse(&mut self, fault: S3Error) -> BodyError {
        self.upload = None;
        self.faults.refuse(fault)
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            match self.decoded() {
                Ok(Some(bytes)) => {
                    let Some(left) = self.left.checked_sub(bytes.len() as u64) else {
                        return Poll::Ready(Some(Err(self.refuse(too_large()))));
                    };
                    self.left = left;
                    self.making.add(&bytes);
                    return Poll::Ready(Some(Ok(bytes)));
                }
                Ok(None) => {}
                Err(fault) => return Poll::Ready(Some(Err(self.refuse(fault)))),
            }
            let Some(upload) = &mut self.upload else {
                return Poll::Ready(None);
            };
            match upload.poll_next_unpin(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(bytes))) => self.arrived = bytes,
                Poll::Ready(Some(Err(error))) => {
                    self.upload = None;
                    self.faults.note(error.clone().into_fault());
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Ready(None) => {
                    self.upload = None;
                    if let Err(fault) = self.finish() {
                        return Poll::Ready(Some(Err(self.refuse(fault))));
                    }
                }
            }
        }
    }
}

impl http_body::Body for Incoming {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.poll(cx)
            .map(|piece| piece.map(|bytes| bytes.map(Frame::data)))
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
