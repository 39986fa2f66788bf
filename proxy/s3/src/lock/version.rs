//! Retention and legal hold of a version that is stored already.
use s3s::dto::{
    GetObjectLegalHoldInput, GetObjectLegalHoldOutput, GetObjectRetentionInput, GetObjectRetentionOutput,
    ObjectLockLegalHold, ObjectLockLegalHoldStatus, ObjectLockRetention, ObjectLockRetentionMode,
    PutObjectLegalHoldInput, PutObjectLegalHoldOutput, PutObjectRetentionInput, PutObjectRetentionOutput,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};
use virga_object_wire::object::{Header, PostMeta};
use virga_proxy::core::ObjectName;
use virga_proxy::swift::versions::lock::{self, Lock, Mode, Retention};

use super::{future, missing, mode_of};
use crate::access::Action;
use crate::fault::{OrFault, not_set};
use crate::object::find::{Asked, Found};
use crate::{Backend, dates};

/// The version that a request is about: bucket, key and version id of it.
/// Versions of the bucket can be locked.
async fn aim<T>(
    backend: &Backend,
    req: &S3Request<T>,
    action: Action,
    (bucket, key, version): (&str, &str, Option<&str>),
) -> S3Result<(ObjectName, Asked)> {
    let asker = backend.asker(req).await?;
    let (container, info) = backend.bucket(&asker, action, bucket).await?;
    if lock::of_container(&info).is_none() {
        return Err(missing());
    }
    let name = container.object(key).map_err(|_| s3_error!(InvalidURI))?;
    Ok((name, Asked::of(version)?))
}

fn none() -> s3s::S3Error {
    not_set(
        "NoSuchObjectLockConfiguration",
        "The specified object does not have a ObjectLock configuration",
    )
}

/// Replaces one item of the metadata of a version.
async fn set(backend: &Backend, found: Found, item: Header) -> S3Result<()> {
    let Found { at, stat, .. } = found;
    let mut headers = stat.meta.headers;
    headers.retain(|(name, _)| *name != item.0);
    headers.push(item);
    let meta = PostMeta {
        content_type: None,
        delete_at: stat.meta.delete_at,
        headers,
    };
    backend.core().post_object(&at, meta, None).await.or_fault()?;
    Ok(())
}

/// Whether a retention may take the place of the one that is there.
fn may_replace(there: Option<Retention>, new: Option<Retention>, now: u64, bypass: bool) -> bool {
    let Some(there) = there.filter(|there| there.until > now) else {
        return true;
    };
    let longer = new.is_some_and(|new| new.until >= there.until);
    let same_or_stricter = new.is_some_and(|new| new.mode == there.mode || new.mode == Mode::Compliance);
    match there.mode {
        Mode::Compliance => longer && same_or_stricter,
        Mode::Governance => bypass || (longer && same_or_stricter),
    }
}

/// `PutObjectRetention`.
pub(crate) async fn put_retention(
    backend: &Backend,
    req: S3Request<PutObjectRetentionInput>,
) -> S3Result<S3Response<PutObjectRetentionOutput>> {
    let input = &req.input;
    let at = (&*input.bucket, &*input.key, input.version_id.as_deref());
    let (name, asked) = aim(backend, &req, Action::Own, at).await?;
    let bypass = input.bypass_governance_retention == Some(true);
    let now = backend.now();
    let wanted = input.retention.clone().ok_or_else(|| s3_error!(MalformedXML))?;
    let wanted = match (wanted.mode, wanted.retain_until_date) {
        (None, None) => None,
        (Some(mode), Some(until)) => {
            let until = dates::seconds_of(&until).unwrap_or_default();
            Some(Retention {
                mode: mode_of(mode.as_str()).map_err(|_| s3_error!(MalformedXML))?,
                until: future(until, now)?,
            })
        }
        _ => return Err(s3_error!(MalformedXML)),
    };
    let _held = backend.hold(&name).await?;
    let found = backend.find(&name, asked, None).await?;
    if !may_replace(Lock::of(&found.stat).retention, wanted, now, bypass) {
        return Err(s3_error!(
            AccessDenied,
            "Access Denied because object protected by object lock."
        ));
    }
    set(backend, found, Retention::set(wanted)).await?;
    Ok(S3Response::new(PutObjectRetentionOutput::default()))
}

/// `GetObjectRetention`.
pub(crate) async fn get_retention(
    backend: &Backend,
    req: S3Request<GetObjectRetentionInput>,
) -> S3Result<S3Response<GetObjectRetentionOutput>> {
    let input = &req.input;
    let at = (&*input.bucket, &*input.key, input.version_id.as_deref());
    let (name, asked) = aim(backend, &req, Action::Read, at).await?;
    let found = backend.find(&name, asked, None).await?;
    let Retention { mode, until } = Lock::of(&found.stat).retention.ok_or_else(none)?;
    Ok(S3Response::new(GetObjectRetentionOutput {
        retention: Some(ObjectLockRetention {
            mode: Some(ObjectLockRetentionMode::from_static(mode.name())),
            retain_until_date: Some(dates::of_seconds(until)),
        }),
    }))
}

/// `PutObjectLegalHold`.
pub(crate) async fn put_hold(
    backend: &Backend,
    req: S3Request<PutObjectLegalHoldInput>,
) -> S3Result<S3Response<PutObjectLegalHoldOutput>> {
    let input = &req.input;
    let at = (&*input.bucket, &*input.key, input.version_id.as_deref());
    let (name, asked) = aim(backend, &req, Action::Own, at).await?;
    let status = input.legal_hold.as_ref().and_then(|hold| hold.status.as_ref());
    let on = match status.map(ObjectLockLegalHoldStatus::as_str) {
        Some(ObjectLockLegalHoldStatus::ON) => true,
        Some(ObjectLockLegalHoldStatus::OFF) => false,
        _ => return Err(s3_error!(MalformedXML)),
    };
    let _held = backend.hold(&name).await?;
    let found = backend.find(&name, asked, None).await?;
    set(backend, found, lock::hold(on)).await?;
    Ok(S3Response::new(PutObjectLegalHoldOutput::default()))
}

/// `GetObjectLegalHold`.
pub(crate) async fn get_hold(
    backend: &Backend,
    req: S3Request<GetObjectLegalHoldInput>,
) -> S3Result<S3Response<GetObjectLegalHoldOutput>> {
    let input = &req.input;
    let at = (&*input.bucket, &*input.key, input.version_id.as_deref());
    let (name, asked) = aim(backend, &req, Action::Read, at).await?;
    let found = backend.find(&name, asked, None).await?;
    let status = match Lock::of(&found.stat).hold.ok_or_else(none)? {
        true => ObjectLockLegalHoldStatus::ON,
        false => ObjectLockLegalHoldStatus::OFF,
    };
    Ok(S3Response::new(GetObjectLegalHoldOutput {
        legal_hold: Some(ObjectLockLegalHold {
            status: Some(ObjectLockLegalHoldStatus::from_static(status)),
        }),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retention_becomes_longer_and_stricter_and_nothing_else() {
        let governance = |until| {
            Some(Retention {
                mode: Mode::Governance,
                until,
            })
        };
        let compliance = |until| {
            Some(Retention {
                mode: Mode::Compliance,
                until,
            })
        };
        for (there, new, bypass, good) in [
            (None, governance(9), false, true),
            (governance(9), governance(10), false, true),
            (governance(9), governance(8), false, false),
            (governance(9), governance(8), true, true),
            (governance(9), None, false, false),
            (governance(9), None, true, true),
            (governance(9), compliance(9), false, true),
            (compliance(9), compliance(10), false, true),
            (compliance(9), compliance(8), true, false),
            (compliance(9), governance(10), true, false),
            (compliance(9), None, true, false),
            (compliance(4), None, false, true),
        ] {
            assert_eq!(
                may_replace(there, new, 5, bypass),
                good,
                "{there:?} {new:?} {bypass}"
            );
        }
    }
}
