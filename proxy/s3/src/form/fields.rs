//! The fields of a form, as they come before its file.
use bytes::Bytes;
use futures_util::Stream;
use http::StatusCode;
use s3s::{S3Error, S3Result, s3_error};
use virga_proxy::core::BodyError;
use virga_proxy::swift::formpost::multipart::{Multipart, Part, PartError};

use crate::fault::{IntoFault, named};

/// Bytes of all fields before the file, as AWS allows.
const MOST: usize = 20 * 1024;

/// The fields of a form, their names in small letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fields(Vec<(String, String)>);

/// From what is wrong with a body in parts to AWS's error.
pub(super) fn broken(error: PartError) -> S3Error {
    match error {
        PartError::Body(error) => error.into_fault(),
        PartError::Early | PartError::Malformed => s3_error!(
            MalformedPOSTRequest,
            "The body of your POST request is not well-formed multipart/form-data."
        ),
    }
}

impl Fields {
    /// Reads until the file begins: the fields, and the head of the file.
    ///
    /// # Errors
    /// For a form without a file, and for one with too much before it.
    pub(super) async fn read<S>(parts: &mut Multipart<S>) -> S3Result<(Self, Part)>
    where
        S: Stream<Item = Result<Bytes, BodyError>> + Unpin,
    {
        let (mut fields, mut size) = (Self::default(), 0);
        while let Some(part) = parts.next().await.map_err(broken)? {
            let name = part.name.to_ascii_lowercase();
            if name == "file" {
                return Ok((fields, part));
            }
            let mut value = Vec::new();
            size += name.len();
            while let Some(piece) = parts.data().await.map_err(broken)? {
                size += piece.len();
                if size > MOST {
                    return Err(named(
                        StatusCode::BAD_REQUEST,
                        "MaxPostPreDataLengthExceeded",
                        "Your POST request fields preceding the upload file were too large.",
                    ));
                }
                value.extend_from_slice(&piece);
            }
            let value = String::from_utf8(value)
                .map_err(|_| s3_error!(InvalidArgument, "The field {name:?} is not UTF-8."))?;
            if fields.get(&name).is_some() {
                return Err(s3_error!(
                    InvalidArgument,
                    "The field {name:?} stands there twice."
                ));
            }
            fields.0.push((name, value));
        }
        Err(s3_error!(
            InvalidArgument,
            "POST requires exactly one file upload per request."
        ))
    }

    /// The value of a field by its name in small letters.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The value of a field that must be there.
    pub(super) fn wanted(&self, name: &'static str) -> S3Result<&str> {
        self.get(name).ok_or_else(|| {
            s3_error!(
                InvalidArgument,
                "Bucket POST must contain a field named '{name}'.  If it is specified, please check the order of the fields."
            )
        })
    }

    /// All names.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// All fields.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}
