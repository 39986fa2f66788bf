//! Put-, Get- and DeleteBucketEncryption: what new objects are sealed with
//! unless their requests say something else, in either dialect.
use s3s::dto::{
    DeleteBucketEncryptionInput, DeleteBucketEncryptionOutput, GetBucketEncryptionInput,
    GetBucketEncryptionOutput, PutBucketEncryptionInput, PutBucketEncryptionOutput, ServerSideEncryption,
    ServerSideEncryptionByDefault, ServerSideEncryptionConfiguration, ServerSideEncryptionRule,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};
use virga_proxy::core::sealing;

use super::asked::{AES256, other_algorithm};
use crate::Backend;
use crate::access::Action;
use crate::fault::{OrFault, not_set};

/// Checks what a client asks for.
fn check(configuration: ServerSideEncryptionConfiguration) -> S3Result<()> {
    let mut rules = configuration.rules.into_iter();
    let (Some(rule), None) = (rules.next(), rules.next()) else {
        return Err(s3_error!(MalformedXML));
    };
    let by_default = rule.apply_server_side_encryption_by_default;
    let by_default = by_default.ok_or_else(|| s3_error!(MalformedXML))?;
    match by_default.sse_algorithm.as_str() {
        AES256 if by_default.kms_master_key_id.is_some() => Err(s3_error!(
            InvalidArgument,
            "a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms or aws:kms:dsse"
        )),
        AES256 => Ok(()),
        other if other.starts_with("aws:kms") => Err(other_algorithm(other)),
        _ => Err(s3_error!(MalformedXML)),
    }
}

/// `PutBucketEncryption`.
pub(crate) async fn put(
    backend: &Backend,
    req: S3Request<PutBucketEncryptionInput>,
) -> S3Result<S3Response<PutBucketEncryptionOutput>> {
    let asker = backend.asker(&req).await?;
    let input = req.input;
    let (bucket, _) = backend.bucket(&asker, Action::Own, &input.bucket).await?;
    check(input.server_side_encryption_configuration)?;
    backend.need_keys()?;
    let change = vec![(sealing::DEFAULT.to_owned(), sealing::CLOUD.to_owned())];
    backend.core().post_container(&bucket, change).await.or_fault()?;
    Ok(S3Response::new(PutBucketEncryptionOutput::default()))
}

/// `GetBucketEncryption`.
pub(crate) async fn get(
    backend: &Backend,
    req: S3Request<GetBucketEncryptionInput>,
) -> S3Result<S3Response<GetBucketEncryptionOutput>> {
    let asker = backend.asker(&req).await?;
    let (_, info) = backend.bucket(&asker, Action::Own, &req.input.bucket).await?;
    if sealing::default_of(&info.meta).is_none() {
        return Err(not_set(
            "ServerSideEncryptionConfigurationNotFoundError",
            "The server side encryption configuration was not found",
        ));
    }
    let rule = ServerSideEncryptionRule {
        apply_server_side_encryption_by_default: Some(ServerSideEncryptionByDefault {
            kms_master_key_id: None,
            sse_algorithm: ServerSideEncryption::from_static(ServerSideEncryption::AES256),
        }),
        bucket_key_enabled: Some(false),
    };
    Ok(S3Response::new(GetBucketEncryptionOutput {
        server_side_encryption_configuration: Some(ServerSideEncryptionConfiguration { rules: vec![rule] }),
    }))
}

/// `DeleteBucketEncryption`: what is sealed stays so.
pub(crate) async fn delete(
    backend: &Backend,
    req: S3Request<DeleteBucketEncryptionInput>,
) -> S3Result<S3Response<DeleteBucketEncryptionOutput>> {
    let asker = backend.asker(&req).await?;
    let (bucket, _) = backend.bucket(&asker, Action::Own, &req.input.bucket).await?;
    let change = vec![(sealing::DEFAULT.to_owned(), String::new())];
    backend.core().post_container(&bucket, change).await.or_fault()?;
    Ok(S3Response::new(DeleteBucketEncryptionOutput::default()))
}
