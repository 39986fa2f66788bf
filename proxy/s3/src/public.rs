//! Switches that keep the public out of a bucket, and who owns what is written
//! to it. A bucket without them blocks nothing; but a new bucket is private,
//! and only who owns it can open it.
use http::{HeaderMap, StatusCode};
use s3s::dto::{
    DeleteBucketOwnershipControlsInput, DeleteBucketOwnershipControlsOutput, DeletePublicAccessBlockInput,
    DeletePublicAccessBlockOutput, GetBucketOwnershipControlsInput, GetBucketOwnershipControlsOutput,
    GetPublicAccessBlockInput, GetPublicAccessBlockOutput, ObjectOwnership, OwnershipControls,
    OwnershipControlsRule, Payer, PublicAccessBlockConfiguration, PutBucketOwnershipControlsInput,
    PutBucketOwnershipControlsOutput, PutBucketRequestPaymentInput, PutBucketRequestPaymentOutput,
    PutPublicAccessBlockInput, PutPublicAccessBlockOutput,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};
use serde::{Deserialize, Serialize};
use virga_object_wire::listing::{ContainerInfo, MetaItem};
use virga_proxy::core::{ContainerName, MetaChange};

use super::access::{Asker, meta};
use super::fault::{named, not_set};
use super::{Backend, acl};

const BLOCK: &str = "x-container-sysmeta-s3-public-access-block";
const OWNERSHIP: &str = "x-container-sysmeta-s3-ownership";

/// What of the public is kept out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Block {
    /// Public access lists cannot be set.
    pub(crate) block_public_acls: bool,
    /// Those that are set let nobody in.
    pub(crate) ignore_public_acls: bool,
    /// Public policies cannot be set.
    pub(crate) block_public_policy: bool,
    /// One that is set lets in the bucket's own project only.
    pub(crate) restrict_public_buckets: bool,
}

impl Block {
    fn kept(info: &ContainerInfo) -> Option<Self> {
        let json = meta(&info.meta, BLOCK)?;
        serde_json::from_str(json).ok()
    }

    /// The switches of a bucket.
    pub(crate) fn of(info: &ContainerInfo) -> Self {
        Self::kept(info).unwrap_or_default()
    }

    fn of_document(document: &PublicAccessBlockConfiguration) -> Self {
        Self {
            block_public_acls: document.block_public_acls.unwrap_or(false),
            ignore_public_acls: document.ignore_public_acls.unwrap_or(false),
            block_public_policy: document.block_public_policy.unwrap_or(false),
            restrict_public_buckets: document.restrict_public_buckets.unwrap_or(false),
        }
    }

    fn document(self) -> PublicAccessBlockConfiguration {
        PublicAccessBlockConfiguration {
            block_public_acls: Some(self.block_public_acls),
            block_public_policy: Some(self.block_public_policy),
            ignore_public_acls: Some(self.ignore_public_acls),
            restrict_public_buckets: Some(self.restrict_public_buckets),
        }
    }
}

/// Refuses to open something to the public where that is blocked.
///
/// # Errors
/// `AccessDenied`.
pub(crate) fn refuse_public(blocked: bool) -> S3Result<()> {
    match blocked {
        true => Err(s3_error!(
            AccessDenied,
            "The bucket blocks public access: see its public access block."
        )),
        false => Ok(()),
    }
}

/// Who owns objects that other projects write. Without a word about it, their
/// writers do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ownership {
    /// The bucket's owner owns everything, and there are no access lists.
    Enforced,
    /// The bucket's owner owns what is given to it.
    Preferred,
    /// Writers own what they write.
    Writer,
}

impl Ownership {
    fn word(self) -> &'static str {
        match self {
            Self::Enforced => ObjectOwnership::BUCKET_OWNER_ENFORCED,
            Self::Preferred => ObjectOwnership::BUCKET_OWNER_PREFERRED,
            Self::Writer => ObjectOwnership::OBJECT_WRITER,
        }
    }

    fn read(word: &str) -> Option<Self> {
        let all = [Self::Enforced, Self::Preferred, Self::Writer];
        all.into_iter().find(|ownership| ownership.word() == word)
    }

    /// What a bucket says, if it says anything.
    pub(crate) fn of(info: &ContainerInfo) -> Option<Self> {
        Self::read(meta(&info.meta, OWNERSHIP)?)
    }

    /// What the request for a new bucket says.
    ///
    /// # Errors
    /// `InvalidArgument` for what is none.
    pub(crate) fn of_header(headers: &HeaderMap) -> S3Result<Option<Self>> {
        let Some(value) = headers.get("x-amz-object-ownership") else {
            return Ok(None);
        };
        let word = value.to_str().unwrap_or_default();
        let bad = || s3_error!(InvalidArgument, "Invalid x-amz-object-ownership header: {word:?}");
        Self::read(word).ok_or_else(bad).map(Some)
    }

    /// What keeps it.
    pub(crate) fn change(self) -> MetaChange {
        (OWNERSHIP.to_owned(), self.word().to_owned())
    }
}

/// A container as it will be after changes.
fn changed(info: &ContainerInfo, changes: &[MetaChange]) -> ContainerInfo {
    let mut after = info.clone();
    for (name, value) in changes {
        after.meta.retain(|item| item.name != *name);
        after.meta.push(MetaItem {
            name: name.clone(),
            value: value.clone(),
            version: info.put,
        });
    }
    after
}

impl Backend {
    /// Whether the other dialect, which knows no such settings, must not go by
    /// the lists of the container: they would be a way around.
    pub(crate) fn is_guarded(&self, name: &ContainerName, info: &ContainerInfo, project: &str) -> bool {
        Block::of(info).ignore_public_acls
            || Ownership::of(info) == Some(Ownership::Enforced)
            || self
                .policy(name, info, project)
                .is_some_and(|policy| policy.denies())
    }

    /// Takes a setting away from the bucket that a request is about, as
    /// [`Self::set_guarding`] does.
    pub(crate) async fn unset_guarding<T>(&self, req: &S3Request<T>, name: &str) -> S3Result<()> {
        let asker = self.asker(req).await?;
        self.set_guarding(&asker, (name.to_owned(), String::new())).await
    }

    /// Changes a setting of the bucket that the request is about, and holds lists
    /// back or gives them back where that makes a difference to the other dialect.
    pub(crate) async fn set_guarding(&self, asker: &Asker, change: MetaChange) -> S3Result<()> {
        let (name, info) = self.settings_of(asker)?;
        let project = asker.project();
        let mut changes = vec![change];
        let before = self.is_guarded(&name, &info, project);
        let after = self.is_guarded(&name, &changed(&info, &changes), project);
        match (before, after) {
            (false, true) => changes.extend(acl::hold(&info)?),
            (true, false) => changes.extend(acl::release(&info)),
            (true, true) | (false, false) => {}
        }
        self.set(&name, changes).await
    }
}

/// `GetPublicAccessBlock`.
pub(crate) async fn get_block(
    backend: &Backend,
    req: S3Request<GetPublicAccessBlockInput>,
) -> S3Result<S3Response<GetPublicAccessBlockOutput>> {
    let asker = backend.asker(&req).await?;
    let (_, info) = backend.settings_of(&asker)?;
    let block = Block::kept(&info).ok_or_else(|| {
        not_set(
            "NoSuchPublicAccessBlockConfiguration",
            "The public access block configuration was not found",
        )
    })?;
    Ok(S3Response::new(GetPublicAccessBlockOutput {
        public_access_block_configuration: Some(block.document()),
    }))
}

/// `PutPublicAccessBlock`.
pub(crate) async fn put_block(
    backend: &Backend,
    req: S3Request<PutPublicAccessBlockInput>,
) -> S3Result<S3Response<PutPublicAccessBlockOutput>> {
    let asker = backend.asker(&req).await?;
    let block = Block::of_document(&req.input.public_access_block_configuration);
    let json = serde_json::to_string(&block).map_err(s3s::S3Error::internal_error)?;
    backend.set_guarding(&asker, (BLOCK.to_owned(), json)).await?;
    Ok(S3Response::new(PutPublicAccessBlockOutput::default()))
}

/// `DeletePublicAccessBlock`.
pub(crate) async fn delete_block(
    backend: &Backend,
    req: S3Request<DeletePublicAccessBlockInput>,
) -> S3Result<S3Response<DeletePublicAccessBlockOutput>> {
    backend.unset_guarding(&req, BLOCK).await?;
    Ok(S3Response::new(DeletePublicAccessBlockOutput::default()))
}

/// `GetBucketOwnershipControls`.
pub(crate) async fn get_ownership(
    backend: &Backend,
    req: S3Request<GetBucketOwnershipControlsInput>,
) -> S3Result<S3Response<GetBucketOwnershipControlsOutput>> {
    let asker = backend.asker(&req).await?;
    let (_, info) = backend.settings_of(&asker)?;
    let ownership = Ownership::of(&info).ok_or_else(|| {
        not_set(
            "OwnershipControlsNotFoundError",
            "The bucket ownership controls were not found",
        )
    })?;
    let rule = OwnershipControlsRule {
        object_ownership: ObjectOwnership::from_static(ownership.word()),
    };
    Ok(S3Response::new(GetBucketOwnershipControlsOutput {
        ownership_controls: Some(OwnershipControls { rules: vec![rule] }),
    }))
}

/// `PutBucketOwnershipControls`.
pub(crate) async fn put_ownership(
    backend: &Backend,
    req: S3Request<PutBucketOwnershipControlsInput>,
) -> S3Result<S3Response<PutBucketOwnershipControlsOutput>> {
    let asker = backend.asker(&req).await?;
    let (_, info) = backend.settings_of(&asker)?;
    let rules = &req.input.ownership_controls.rules;
    let [rule] = rules.as_slice() else {
        return Err(s3_error!(MalformedXML));
    };
    let ownership = Ownership::read(rule.object_ownership.as_str()).ok_or_else(|| s3_error!(MalformedXML))?;
    if ownership == Ownership::Enforced && acl::is_more_than_private(&info) {
        return Err(s3_error!(
            InvalidBucketAclWithObjectOwnership,
            "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting"
        ));
    }
    backend.set_guarding(&asker, ownership.change()).await?;
    Ok(S3Response::new(PutBucketOwnershipControlsOutput::default()))
}

/// `DeleteBucketOwnershipControls`.
pub(crate) async fn delete_ownership(
    backend: &Backend,
    req: S3Request<DeleteBucketOwnershipControlsInput>,
) -> S3Result<S3Response<DeleteBucketOwnershipControlsOutput>> {
    backend.unset_guarding(&req, OWNERSHIP).await?;
    Ok(S3Response::new(DeleteBucketOwnershipControlsOutput::default()))
}

/// `PutBucketRequestPayment`. Nobody is charged for requests here, so only the
/// bucket's owner can be said to pay.
pub(crate) async fn put_payment(
    _backend: &Backend,
    req: S3Request<PutBucketRequestPaymentInput>,
) -> S3Result<S3Response<PutBucketRequestPaymentOutput>> {
    match req.input.request_payment_configuration.payer.as_str() {
        Payer::BUCKET_OWNER => Ok(S3Response::new(PutBucketRequestPaymentOutput::default())),
        Payer::REQUESTER => Err(named(
            StatusCode::NOT_IMPLEMENTED,
            "NotImplemented",
            "Requests are not charged for here, so requesters cannot pay for them.",
        )),
        _ => Err(s3_error!(MalformedXML)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_they_were_kept() {
        let block = Block {
            ignore_public_acls: true,
            ..Block::default()
        };
        assert_eq!(Block::of_document(&block.document()), block);
        let json = serde_json::to_string(&block).unwrap();
        let info = changed(
            &ContainerInfo::default(),
            &[(BLOCK.to_owned(), json), Ownership::Preferred.change()],
        );
        assert_eq!(
            (Block::of(&info), Ownership::of(&info)),
            (block, Some(Ownership::Preferred))
        );
        let bare = ContainerInfo::default();
        assert_eq!((Block::of(&bare), Ownership::of(&bare)), (Block::default(), None));
    }
}
