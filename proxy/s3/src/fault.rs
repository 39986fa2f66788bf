//! From the core's errors to AWS's, in one place, and AWS's words for them.
use http::StatusCode;
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};
use virga_proxy::core::{
    BodyError, BodyReadError, DeleteContainerError, DeleteObjectError, ListError, PostMetaError,
    PostObjectError, PutContainerError, PutObjectError, ReadObjectError, SegmentError, Unavailable,
};
use virga_proxy::swift::quota::QuotaError;
use virga_proxy::swift::versions::write::WriteError;

/// An error with AWS's code for what happened in the core.
pub(crate) trait IntoFault {
    /// The error to answer with.
    fn into_fault(self) -> S3Error;
}

/// `Result::map_err` with [`IntoFault`].
pub(crate) trait OrFault<T> {
    /// The value, or AWS's error.
    fn or_fault(self) -> S3Result<T>;
}

impl<T, E: IntoFault> OrFault<T> for Result<T, E> {
    fn or_fault(self) -> S3Result<T> {
        self.map_err(IntoFault::into_fault)
    }
}

impl IntoFault for Unavailable {
    fn into_fault(self) -> S3Error {
        tracing::warn!(error = %self, "a request cannot be served now");
        match self {
            Self::Full => s3_error!(ServiceUnavailable, "There is no room for new data."),
            Self::NoQuorum { .. } | Self::NoRing(_) => s3_error!(ServiceUnavailable),
            Self::NoKey(why) => s3_error!(ServiceUnavailable, "{why}"),
            Self::Refused(_) => s3_error!(InternalError),
        }
    }
}

impl IntoFault for QuotaError {
    fn into_fault(self) -> S3Error {
        match self {
            Self::Exceeded(_) => s3_error!(EntityTooLarge, "{self}"),
            Self::NoContainer => s3_error!(NoSuchBucket),
            Self::Unavailable(error) => error.into_fault(),
        }
    }
}

impl IntoFault for ReadObjectError {
    fn into_fault(self) -> S3Error {
        match self {
            Self::NotFound { .. } => s3_error!(NoSuchKey),
            Self::Sealed { given: true } => s3_error!(AccessDenied),
            Self::Sealed { given: false } => s3_error!(
                InvalidRequest,
                "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object."
            ),
            Self::Unavailable(error) => error.into_fault(),
        }
    }
}

impl IntoFault for BodyError {
    fn into_fault(self) -> S3Error {
        match self {
            Self::TooSlow => s3_error!(RequestTimeout),
            Self::Disconnected | Self::Malformed(_) => s3_error!(IncompleteBody),
            Self::Source(why) => {
                tracing::warn!(why, "the source of a copy cannot be read on");
                s3_error!(ServiceUnavailable)
            }
        }
    }
}

impl IntoFault for PutObjectError {
    fn into_fault(self) -> S3Error {
        match self {
            Self::NoContainer => s3_error!(NoSuchBucket),
            Self::Exists => s3_error!(PreconditionFailed),
            Self::Body(error) => error.into_fault(),
            Self::TooLarge { .. } => s3_error!(EntityTooLarge),
            Self::SizeMismatch { .. } => s3_error!(IncompleteBody),
            Self::EtagMismatch { .. } => s3_error!(BadDigest),
            Self::Newer(_) => s3_error!(OperationAborted),
            Self::Unavailable(error) => error.into_fault(),
        }
    }
}

impl IntoFault for PostObjectError {
    fn into_fault(self) -> S3Error {
        match self {
            Self::NotFound => s3_error!(NoSuchKey),
            Self::Newer(_) => s3_error!(OperationAborted),
            Self::Unavailable(error) => error.into_fault(),
        }
    }
}

impl IntoFault for DeleteObjectError {
    fn into_fault(self) -> S3Error {
        match self {
            Self::NoContainer => s3_error!(NoSuchBucket),
            Self::Newer(_) => s3_error!(OperationAborted),
            Self::Unavailable(error) => error.into_fault(),
        }
    }
}

impl IntoFault for WriteError {
    fn into_fault(self) -> S3Error {
        match self {
            Self::Keep(error) => {
                tracing::warn!(%error, "an object cannot be kept as a version");
                s3_error!(ServiceUnavailable)
            }
            Self::Hidden(error) => error.into_fault(),
            Self::NoVersion => s3_error!(NoSuchVersion),
            Self::Locked => s3_error!(
                AccessDenied,
                "Access Denied because object protected by object lock."
            ),
            Self::List(error) => error.into_fault(),
            // Where the other dialect's older modes copy to is not there.
            Self::Put(PutObjectError::NoContainer) => invalid_state(
                "The container that Swift clients keep copies in (X-Versions-Location) is not there.",
            ),
            Self::Put(error) => error.into_fault(),
            Self::Delete(error) => error.into_fault(),
        }
    }
}

impl IntoFault for PutContainerError {
    fn into_fault(self) -> S3Error {
        match self {
            Self::NoAccount => s3_error!(AccessDenied),
            Self::PolicyConflict(_) => s3_error!(BucketAlreadyOwnedByYou),
            Self::UnknownPolicy(_) => s3_error!(InternalError),
            Self::Unavailable(error) => error.into_fault(),
        }
    }
}

impl IntoFault for PostMetaError {
    fn into_fault(self) -> S3Error {
        match self {
            Self::NotFound => s3_error!(NoSuchBucket),
            Self::Unavailable(error) => error.into_fault(),
        }
    }
}

impl IntoFault for DeleteContainerError {
    fn into_fault(self) -> S3Error {
        match self {
            Self::NotFound => s3_error!(NoSuchBucket),
            Self::NotEmpty => s3_error!(BucketNotEmpty),
            Self::Unavailable(error) => error.into_fault(),
        }
    }
}

impl IntoFault for ListError {
    fn into_fault(self) -> S3Error {
        match self {
            Self::NotFound => s3_error!(NoSuchBucket),
            Self::Unavailable(error) => error.into_fault(),
        }
    }
}

impl IntoFault for SegmentError {
    fn into_fault(self) -> S3Error {
        match self {
            Self::Forbidden(_) => s3_error!(AccessDenied),
            Self::Unavailable(error) => error.into_fault(),
            error @ (Self::Missing(_)
            | Self::Changed(_)
            | Self::TooDeep(_)
            | Self::Broken { .. }
            | Self::TooMany(_)) => {
                // Only the other dialect can break a large object like this.
                tracing::warn!(%error, "a large object cannot be put together");
                s3_error!(
                    InvalidObjectState,
                    "The object's segments cannot be put together: {error}"
                )
            }
        }
    }
}

impl IntoFault for BodyReadError {
    fn into_fault(self) -> S3Error {
        match self {
            Self::Segment(error) => error.into_fault(),
            Self::Lost(why) => {
                tracing::warn!(why, "an object cannot be read on");
                s3_error!(ServiceUnavailable)
            }
        }
    }
}

/// An error whose code the protocol layer does not know, or knows with another
/// status than AWS gives it.
pub(crate) fn named(status: StatusCode, code: &'static str, message: &'static str) -> S3Error {
    let mut error = S3Error::with_message(S3ErrorCode::Custom(code.into()), message);
    error.set_status_code(status);
    error
}

/// What a bucket, as it is, does not allow.
pub(crate) fn invalid_state(message: &'static str) -> S3Error {
    named(StatusCode::CONFLICT, "InvalidBucketState", message)
}

/// A setting that a bucket does not have.
pub(crate) fn not_set(code: &'static str, message: &'static str) -> S3Error {
    named(StatusCode::NOT_FOUND, code, message)
}

/// A request that makes no sense, where AWS says no more than that.
pub(crate) fn bad_request(message: &'static str) -> S3Error {
    named(StatusCode::BAD_REQUEST, "BadRequest", message)
}

/// AWS's sentence for a code, where it has one; else what the error says itself.
pub(crate) fn sentence(code: &str) -> Option<&'static str> {
    Some(match code {
        "AccessDenied" => "Access Denied",
        "BadDigest" => "The Content-MD5 you specified did not match what we received.",
        "BucketAlreadyExists" => {
            "The requested bucket name is not available. The bucket namespace is shared by all users of the system. Please select a different name and try again."
        }
        "BucketAlreadyOwnedByYou" => {
            "Your previous request to create the named bucket succeeded and you already own it."
        }
        "BucketNotEmpty" => "The bucket you tried to delete is not empty",
        "EntityTooLarge" => "Your proposed upload exceeds the maximum allowed size",
        "EntityTooSmall" => "Your proposed upload is smaller than the minimum allowed size",
        "IncompleteBody" => {
            "You did not provide the number of bytes specified by the Content-Length HTTP header"
        }
        "InternalError" => "We encountered an internal error. Please try again.",
        "InvalidAccessKeyId" => "The AWS Access Key Id you provided does not exist in our records.",
        "InvalidArgument" => "Invalid Argument",
        "InvalidBucketName" => "The specified bucket is not valid.",
        "InvalidDigest" => "The Content-MD5 you specified was invalid.",
        "InvalidLocationConstraint" => "The specified location-constraint is not valid",
        "InvalidPart" => {
            "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified entity tag may not match the part's entity tag."
        }
        "InvalidPartOrder" => {
            "The list of parts was not in ascending order. Parts must be ordered by part number."
        }
        "InvalidRange" => "The requested range is not satisfiable",
        "InvalidRequest" => "Invalid Request",
        "InvalidStorageClass" => "The storage class you specified is not valid",
        "InvalidURI" => "Couldn't parse the specified URI.",
        "KeyTooLongError" => "Your key is too long",
        "MalformedXML" => {
            "The XML you provided was not well-formed or did not validate against our published schema"
        }
        "MetadataTooLarge" => "Your metadata headers exceed the maximum allowed metadata size",
        "MethodNotAllowed" => "The specified method is not allowed against this resource.",
        "MissingContentLength" => "You must provide the Content-Length HTTP header.",
        "NoSuchBucket" => "The specified bucket does not exist",
        "NoSuchBucketPolicy" => "The bucket policy does not exist",
        "NoSuchCORSConfiguration" => "The CORS configuration does not exist",
        "NoSuchKey" => "The specified key does not exist.",
        "NoSuchLifecycleConfiguration" => "The lifecycle configuration does not exist",
        "NoSuchTagSet" => "The TagSet does not exist",
        "NoSuchUpload" => {
            "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed."
        }
        "NoSuchVersion" => "The specified version does not exist.",
        "NoSuchWebsiteConfiguration" => "The specified bucket does not have a website configuration",
        "NotImplemented" => "A header you provided implies functionality that is not implemented",
        "OperationAborted" => {
            "A conflicting conditional operation is currently in progress against this resource. Please try again."
        }
        "PreconditionFailed" => "At least one of the pre-conditions you specified did not hold",
        "RequestTimeTooSkewed" => {
            "The difference between the request time and the current time is too large."
        }
        "RequestTimeout" => {
            "Your socket connection to the server was not read from or written to within the timeout period. Idle connections will be closed."
        }
        "SlowDown" | "ServiceUnavailable" => "Please reduce your request rate.",
        "SignatureDoesNotMatch" => {
            "The request signature we calculated does not match the signature you provided. Check your key and signing method."
        }
        "XAmzContentSHA256Mismatch" => {
            "The provided 'x-amz-content-sha256' header does not match what was computed."
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_lacks_keys_says_so_and_may_be_asked_again() {
        let fault = Unavailable::NoKey("the keys are missing").into_fault();
        assert_eq!(*fault.code(), S3ErrorCode::ServiceUnavailable);
        assert_eq!(fault.status_code(), Some(StatusCode::SERVICE_UNAVAILABLE));
        assert_eq!(fault.message(), Some("the keys are missing"));
    }
}
