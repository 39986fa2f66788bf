//! Whether a bucket's versions can be locked, and what new ones get.
use s3s::dto::{
    DefaultRetention, GetObjectLockConfigurationInput, GetObjectLockConfigurationOutput,
    ObjectLockConfiguration, ObjectLockEnabled, ObjectLockRetentionMode, ObjectLockRule,
    PutObjectLockConfigurationInput, PutObjectLockConfigurationOutput,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};
use virga_proxy::swift::versions::Keeping;
use virga_proxy::swift::versions::lock::{self, BUCKET, PARTS, Period, Rule};

use super::mode_of;
use crate::access::Action;
use crate::fault::{OrFault, invalid_state, not_set};
use crate::{Backend, multipart};

/// Longest default retention, as AWS allows.
const MOST_DAYS: i32 = 36_500;
const MOST_YEARS: i32 = 100;

fn count(count: i32, most: i32) -> S3Result<u32> {
    if count > most {
        return Err(s3_error!(InvalidArgument, "Default retention period too large."));
    }
    let good = u32::try_from(count).ok().filter(|count| *count > 0);
    good.ok_or_else(|| {
        s3_error!(
            InvalidArgument,
            "Default retention period must be a positive integer value."
        )
    })
}

fn rule_of(rule: ObjectLockRule) -> S3Result<Option<Rule>> {
    let Some(usual) = rule.default_retention else {
        return Ok(None);
    };
    let mode = usual.mode.ok_or_else(|| s3_error!(MalformedXML))?;
    let mode = mode_of(mode.as_str()).map_err(|_| s3_error!(MalformedXML))?;
    let period = match (usual.days, usual.years) {
        (Some(days), None) => Period::Days(count(days, MOST_DAYS)?),
        (None, Some(years)) => Period::Years(count(years, MOST_YEARS)?),
        _ => return Err(s3_error!(MalformedXML)),
    };
    Ok(Some(Rule { mode, period }))
}

/// `PutObjectLockConfiguration`.
pub(crate) async fn put(
    backend: &Backend,
    req: S3Request<PutObjectLockConfigurationInput>,
) -> S3Result<S3Response<PutObjectLockConfigurationOutput>> {
    let asker = backend.asker(&req).await?;
    let input = req.input;
    let (name, info) = backend.bucket(&asker, Action::Own, &input.bucket).await?;
    let wanted = input
        .object_lock_configuration
        .ok_or_else(|| s3_error!(MalformedXML))?;
    let enabled = wanted.object_lock_enabled.as_ref().map(ObjectLockEnabled::as_str);
    if enabled != Some(ObjectLockEnabled::ENABLED) {
        return Err(s3_error!(MalformedXML));
    }
    let rule = wanted.rule.map(rule_of).transpose()?.flatten();
    if Keeping::of(&info) != Keeping::Versions {
        return Err(invalid_state(
            "Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration",
        ));
    }
    let core = backend.core();
    let change = vec![(BUCKET.to_owned(), lock::bucket_value(rule))];
    core.post_container(&name, change).await.or_fault()?;
    if lock::of_container(&info).is_none() {
        // Uploads from before: Swift clients leave their parts alone from now on.
        let parts = asker.account.container(&multipart::hidden(&input.bucket));
        let parts = parts.map_err(|_| s3_error!(InvalidBucketName))?;
        if core.container_info(&parts).await.or_fault()?.is_some() {
            let change = vec![(PARTS.to_owned(), "yes".to_owned())];
            core.post_container(&parts, change).await.or_fault()?;
        }
    }
    Ok(S3Response::new(PutObjectLockConfigurationOutput::default()))
}

fn shown(rule: Rule) -> ObjectLockRule {
    let whole = |count: u32| i32::try_from(count).ok();
    let (days, years) = match rule.period {
        Period::Days(days) => (whole(days), None),
        Period::Years(years) => (None, whole(years)),
    };
    ObjectLockRule {
        default_retention: Some(DefaultRetention {
            days,
            mode: Some(ObjectLockRetentionMode::from_static(rule.mode.name())),
            years,
        }),
    }
}

/// `GetObjectLockConfiguration`.
pub(crate) async fn get(
    backend: &Backend,
    req: S3Request<GetObjectLockConfigurationInput>,
) -> S3Result<S3Response<GetObjectLockConfigurationOutput>> {
    let asker = backend.asker(&req).await?;
    let (_, info) = backend.bucket(&asker, Action::List, &req.input.bucket).await?;
    let Some(rule) = lock::of_container(&info) else {
        return Err(not_set(
            "ObjectLockConfigurationNotFoundError",
            "Object Lock configuration does not exist for this bucket",
        ));
    };
    Ok(S3Response::new(GetObjectLockConfigurationOutput {
        object_lock_configuration: Some(ObjectLockConfiguration {
            object_lock_enabled: Some(ObjectLockEnabled::from_static(ObjectLockEnabled::ENABLED)),
            rule: rule.map(shown),
        }),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_retention_has_one_length_within_bounds() {
        let rule = |mode: Option<&'static str>, days, years| {
            rule_of(ObjectLockRule {
                default_retention: Some(DefaultRetention {
                    days,
                    mode: mode.map(ObjectLockRetentionMode::from_static),
                    years,
                }),
            })
        };
        let good = rule(Some("GOVERNANCE"), Some(3), None).unwrap().unwrap();
        assert_eq!(good.period, Period::Days(3));
        assert_eq!(shown(good).default_retention.unwrap().days, Some(3));
        for (mode, days, years) in [
            (None, Some(1), None),
            (Some("NEVER"), Some(1), None),
            (Some("GOVERNANCE"), None, None),
            (Some("GOVERNANCE"), Some(1), Some(1)),
            (Some("GOVERNANCE"), Some(0), None),
            (Some("GOVERNANCE"), Some(-1), None),
            (Some("COMPLIANCE"), Some(MOST_DAYS + 1), None),
            (Some("COMPLIANCE"), None, Some(MOST_YEARS + 1)),
        ] {
            assert!(rule(mode, days, years).is_err(), "{mode:?} {days:?} {years:?}");
        }
    }
}
