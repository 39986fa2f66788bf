//! Encryption of objects: with the cloud's keys (SSE-S3), which a request or its
//! bucket asks for, and with keys that clients show (SSE-C).
//!
//! Sealing and opening is the core's work ([`virga_proxy::core::sealing`]). Here
//! is what requests say of it ([`asked`]), what answers say, and the bucket's
//! default ([`configuration`]). Parts of an upload are sealed as the upload was
//! begun; its manifest is not sealed by the client's key, and says itself how
//! the parts are.
//!
//! Not here: keys of a key management service.
mod asked;
pub(crate) mod configuration;
mod keys;

use http::HeaderMap;
use s3s::{S3Result, s3_error};
use virga_object_wire::listing::ContainerInfo;
use virga_object_wire::object::{Header, ObjectStat};
use virga_proxy::core::ObjectName;
use virga_proxy::core::sealing::{self, Check, Seal, Sealed};

use crate::fault::OrFault;
use crate::object::view::sysmeta;
use crate::{Backend, metadata};

pub(crate) use asked::{Names, OWN, SOURCE, Shown, Wish};
pub use keys::RingKeys;

/// System metadata of an upload, and of the object made of it: how its parts are
/// sealed.
const PARTS: &str = "x-object-sysmeta-s3-parts-sealing";

/// What answers say of an object's encryption.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Said {
    /// Nothing: it is not encrypted.
    #[default]
    Nothing,
    /// With the cloud's keys.
    Cloud,
    /// With the client's key, which has this MD5.
    Client(String),
}

impl Said {
    /// As a header.
    pub(crate) fn show(&self, into: &mut HeaderMap) {
        match self {
            Self::Nothing => {}
            Self::Cloud => metadata::set(into, "x-amz-server-side-encryption", asked::AES256),
            Self::Client(md5) => {
                let algorithm = "x-amz-server-side-encryption-customer-algorithm";
                metadata::set(into, algorithm, asked::AES256);
                metadata::set(into, "x-amz-server-side-encryption-customer-key-md5", md5);
            }
        }
    }
}

/// How the bytes of an object are sealed, be they its own or its parts'.
fn of(stat: &ObjectStat) -> Option<Sealed> {
    match sysmeta(stat, PARTS) {
        Some(sealing::CLOUD) | None => Sealed::of(stat),
        Some(check) => Some(Check::from_text(check).map_or(Sealed::Unknown, Sealed::Client)),
    }
}

/// What an answer about an object says, if the request shows the key that the
/// object needs, and none it does not need.
///
/// # Errors
/// `InvalidRequest` without a key, or with one too many; `AccessDenied` for the
/// wrong one.
pub(crate) fn check(stat: &ObjectStat, headers: &HeaderMap, names: &Names) -> S3Result<Said> {
    match (of(stat), Shown::of(headers, names)?) {
        (Some(Sealed::Client(check)), Some(shown)) if check.fits(&shown.key) => Ok(Said::Client(shown.md5)),
        (Some(Sealed::Client(_)), Some(_)) => Err(s3_error!(AccessDenied)),
        (Some(Sealed::Client(_)), None) => Err(s3_error!(
            InvalidRequest,
            "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object."
        )),
        (_, Some(_)) => Err(s3_error!(
            InvalidRequest,
            "The encryption parameters are not applicable to this object."
        )),
        (Some(Sealed::Cloud { .. }), None) => Ok(Said::Cloud),
        (Some(Sealed::Unknown) | None, None) => Ok(Said::Nothing),
    }
}

/// How a part of an upload is to be sealed, and what the answer says.
///
/// # Errors
/// `InvalidRequest` where the key is missing that the upload was begun with, or
/// is another.
pub(crate) fn of_part(upload: &ObjectStat, headers: &HeaderMap) -> S3Result<(Option<Seal>, Said)> {
    let how = sysmeta(upload, PARTS);
    let check = how.filter(|how| *how != sealing::CLOUD).map(Check::from_text);
    match (check, Shown::of(headers, &OWN)?) {
        (Some(Some(check)), Some(shown)) if check.fits(&shown.key) => {
            Ok((Some(Seal::Client(shown.key)), Said::Client(shown.md5)))
        }
        (Some(_), None) => Err(s3_error!(
            InvalidRequest,
            "The multipart upload initiate requested encryption. Subsequent part requests must include the appropriate encryption parameters."
        )),
        (Some(_), Some(_)) => Err(s3_error!(
            InvalidRequest,
            "The provided encryption parameters did not match the ones used originally."
        )),
        (None, Some(_)) => Err(s3_error!(
            InvalidRequest,
            "The multipart upload was not initiated with encryption by a key of the client's."
        )),
        (None, None) if how.is_some() => Ok((Some(Seal::Cloud), Said::Cloud)),
        (None, None) => Ok((None, Said::Nothing)),
    }
}

/// How the manifest of a finished upload is to be sealed, what it says of its
/// parts, and what the answer says.
pub(crate) fn of_finished(upload: &ObjectStat) -> (Option<Seal>, Option<Header>, Said) {
    let Some(how) = sysmeta(upload, PARTS) else {
        return (None, None, Said::Nothing);
    };
    let item = Some((PARTS.to_owned(), how.to_owned()));
    match how {
        sealing::CLOUD => (Some(Seal::Cloud), item, Said::Cloud),
        // Its key's MD5 is not known any more.
        _ => (None, item, Said::Nothing),
    }
}

impl Backend {
    /// Nothing, where objects can be sealed with the cloud's keys.
    ///
    /// # Errors
    /// `ServiceUnavailable`.
    pub(crate) fn need_keys(&self) -> S3Result<()> {
        match self.core().has_cloud_keys() {
            true => Ok(()),
            false => Err(s3_error!(
                ServiceUnavailable,
                "This proxy has no keys to encrypt objects with: its folder object-keys is missing."
            )),
        }
    }

    /// Items of a new upload that say how its parts are to be sealed, and what
    /// the answer says.
    ///
    /// # Errors
    /// As [`Wish::of`]; `ServiceUnavailable` where the cloud's keys are not here.
    pub(crate) fn seal_upload(
        &self,
        headers: &HeaderMap,
        bucket: &ContainerInfo,
    ) -> S3Result<(Option<Header>, Said)> {
        let (how, said) = match (Wish::of(headers)?, sealing::default_of(&bucket.meta)) {
            (Wish::Client(shown), _) => {
                let check = Check::of(&shown.key).ok_or_else(|| s3_error!(InternalError))?;
                (check.to_text(), Said::Client(shown.md5))
            }
            (Wish::Cloud, _) | (Wish::None, Some(_)) => {
                self.need_keys()?;
                (sealing::CLOUD.to_owned(), Said::Cloud)
            }
            (Wish::None, None) => return Ok((None, Said::Nothing)),
        };
        Ok((Some((PARTS.to_owned(), how)), said))
    }

    /// The backend in the hands of a client that shows a key under these names.
    ///
    /// # Errors
    /// As [`Shown::of`].
    pub(crate) fn holding(&self, headers: &HeaderMap, names: &Names) -> S3Result<Self> {
        Ok(match Shown::of(headers, names)? {
            Some(shown) => self.with_core(self.core().with_client_key(shown.key)),
            None => self.clone(),
        })
    }

    /// How a new object is to be sealed, by what the request says and else its
    /// bucket, and what the answer says.
    ///
    /// # Errors
    /// As [`Wish::of`].
    pub(crate) async fn sealing(
        &self,
        name: &ObjectName,
        headers: &HeaderMap,
    ) -> S3Result<(Option<Seal>, Said)> {
        let wish = Wish::of(headers)?;
        let said = match &wish {
            Wish::Client(shown) => Said::Client(shown.md5.clone()),
            Wish::Cloud => Said::Cloud,
            Wish::None => {
                let bucket = self.core().container_info(&name.container_name()).await;
                let bucket = bucket.or_fault()?;
                let seal = bucket.and_then(|bucket| sealing::default_of(&bucket.meta));
                let said = seal.as_ref().map_or(Said::Nothing, |_| Said::Cloud);
                return Ok((seal, said));
            }
        };
        Ok((wish.seal(), said))
    }
}
