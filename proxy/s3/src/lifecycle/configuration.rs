//! Put-, Get- and DeleteBucketLifecycleConfiguration.
use s3s::dto::{
    DeleteBucketLifecycleInput, DeleteBucketLifecycleOutput, GetBucketLifecycleConfigurationInput,
    GetBucketLifecycleConfigurationOutput, PutBucketLifecycleConfigurationInput,
    PutBucketLifecycleConfigurationOutput,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::rules::{self, Rule};
use crate::Backend;
use crate::access::Action;

/// `PutBucketLifecycleConfiguration`.
pub(crate) async fn put(
    backend: &Backend,
    req: S3Request<PutBucketLifecycleConfigurationInput>,
) -> S3Result<S3Response<PutBucketLifecycleConfigurationOutput>> {
    let asker = backend.asker(&req).await?;
    let input = req.input;
    let (bucket, _) = backend.bucket(&asker, Action::Own, &input.bucket).await?;
    let asked = input
        .lifecycle_configuration
        .ok_or_else(|| s3_error!(MalformedXML))?;
    let rules = rules::read(asked.rules)?;
    backend.keep_rules(&bucket, rules).await?;
    Ok(S3Response::new(PutBucketLifecycleConfigurationOutput::default()))
}

/// `GetBucketLifecycleConfiguration`.
pub(crate) async fn get(
    backend: &Backend,
    req: S3Request<GetBucketLifecycleConfigurationInput>,
) -> S3Result<S3Response<GetBucketLifecycleConfigurationOutput>> {
    let asker = backend.asker(&req).await?;
    let (bucket, info) = backend.bucket(&asker, Action::Own, &req.input.bucket).await?;
    let rules = backend.rules_of(&bucket, &info).await?;
    if rules.is_empty() {
        return Err(s3_error!(NoSuchLifecycleConfiguration));
    }
    Ok(S3Response::new(GetBucketLifecycleConfigurationOutput {
        rules: Some(rules.iter().cloned().map(Rule::document).collect()),
        ..GetBucketLifecycleConfigurationOutput::default()
    }))
}

/// `DeleteBucketLifecycle`.
pub(crate) async fn delete(
    backend: &Backend,
    req: S3Request<DeleteBucketLifecycleInput>,
) -> S3Result<S3Response<DeleteBucketLifecycleOutput>> {
    let asker = backend.asker(&req).await?;
    let (bucket, _) = backend.bucket(&asker, Action::Own, &req.input.bucket).await?;
    backend.drop_rules(&bucket).await?;
    Ok(S3Response::new(DeleteBucketLifecycleOutput::default()))
}
