//! Policies as settings of buckets: put, shown, removed, and found again for
//! every request.
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use s3s::dto::{
    DeleteBucketPolicyInput, DeleteBucketPolicyOutput, GetBucketPolicyInput, GetBucketPolicyOutput,
    GetBucketPolicyStatusInput, GetBucketPolicyStatusOutput, PolicyStatus, PutBucketPolicyInput,
    PutBucketPolicyOutput,
};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};
use virga_object_wire::listing::ContainerInfo;
use virga_proxy::core::ContainerName;

use super::{Place, Policy};
use crate::Backend;
use crate::access::meta;
use crate::public::{Block, refuse_public};

/// Where the policy is kept, as it came.
const STORED: &str = "x-container-sysmeta-s3-policy";
/// Most policies held read. Beyond that all go.
const MOST: usize = 1000;
/// Actions that owners may always do, whatever a policy says.
pub(crate) const MENDING: [&str; 3] = [
    "s3:GetBucketPolicy",
    "s3:PutBucketPolicy",
    "s3:DeleteBucketPolicy",
];

/// Policies that were read lately, by the path of their container.
#[derive(Default)]
pub(crate) struct Policies(Mutex<HashMap<String, (String, Arc<Policy>)>>);

impl Policies {
    fn get(&self, path: &str, text: &str, place: Place<'_>) -> Arc<Policy> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, policy)) = held.get(path)
            && known == text
        {
            return policy.clone();
        }
        let policy = Policy::read(text, place).unwrap_or_else(|error| {
            tracing::error!(
                error,
                bucket = path,
                "a policy that was kept cannot be read: it closes its bucket"
            );
            Policy::closed()
        });
        let policy = Arc::new(policy);
        if held.len() >= MOST {
            held.clear();
        }
        held.insert(path.to_owned(), (text.to_owned(), policy.clone()));
        policy
    }
}

impl Backend {
    /// The policy of a bucket, if it has one.
    pub(crate) fn policy(
        &self,
        name: &ContainerName,
        info: &ContainerInfo,
        project: &str,
    ) -> Option<Arc<Policy>> {
        let text = meta(&info.meta, STORED)?;
        let place = Place {
            project,
            bucket: name.container(),
        };
        Some(self.0.policies.get(name.path(), text, place))
    }
}

/// `GetBucketPolicy`.
pub(crate) async fn get(
    backend: &Backend,
    req: S3Request<GetBucketPolicyInput>,
) -> S3Result<S3Response<GetBucketPolicyOutput>> {
    let asker = backend.asker(&req).await?;
    let text = meta(&asker.info()?.meta, STORED).ok_or_else(|| s3_error!(NoSuchBucketPolicy))?;
    Ok(S3Response::new(GetBucketPolicyOutput {
        policy: Some(text.to_owned()),
    }))
}

/// `PutBucketPolicy`.
pub(crate) async fn put(
    backend: &Backend,
    req: S3Request<PutBucketPolicyInput>,
) -> S3Result<S3Response<PutBucketPolicyOutput>> {
    let asker = backend.asker(&req).await?;
    let (name, info) = backend.settings_of(&asker)?;
    let place = Place {
        project: asker.project(),
        bucket: name.container(),
    };
    let text = req.input.policy;
    let policy = Policy::read(&text, place)
        .map_err(|error| S3Error::with_message(S3ErrorCode::MalformedPolicy, error))?;
    refuse_public(Block::of(&info).block_public_policy && policy.is_public())?;
    backend.set_guarding(&asker, (STORED.to_owned(), text)).await?;
    Ok(S3Response::new(PutBucketPolicyOutput::default()))
}

/// `DeleteBucketPolicy`.
pub(crate) async fn delete(
    backend: &Backend,
    req: S3Request<DeleteBucketPolicyInput>,
) -> S3Result<S3Response<DeleteBucketPolicyOutput>> {
    backend.unset_guarding(&req, STORED).await?;
    Ok(S3Response::new(DeleteBucketPolicyOutput::default()))
}

/// `GetBucketPolicyStatus`.
pub(crate) async fn status(
    backend: &Backend,
    req: S3Request<GetBucketPolicyStatusInput>,
) -> S3Result<S3Response<GetBucketPolicyStatusOutput>> {
    let asker = backend.asker(&req).await?;
    let (name, info) = backend.settings_of(&asker)?;
    let policy = backend.policy(&name, &info, asker.project());
    let policy = policy.ok_or_else(|| s3_error!(NoSuchBucketPolicy))?;
    Ok(S3Response::new(GetBucketPolicyStatusOutput {
        policy_status: Some(PolicyStatus {
            is_public: Some(policy.is_public()),
        }),
    }))
}
