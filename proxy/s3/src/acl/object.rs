//! Access lists of objects. One without a list is its bucket's owner's alone.
use http::HeaderMap;
use s3s::dto::{GetObjectAclInput, GetObjectAclOutput, PutObjectAclInput, PutObjectAclOutput};
use s3s::{S3Request, S3Response, S3Result, s3_error};
use serde::{Deserialize, Serialize};
use virga_object_wire::object::{Header, ObjectStat};

use super::grants::{Acl, Owners, owner};
use crate::Backend;
use crate::access::Asker;
use crate::object::find::{Asked, Found};
use crate::public::{Block, Ownership, refuse_public};

/// Where it is kept: with what a POST of the other dialect leaves alone.
const STORED: &str = "x-object-transient-sysmeta-s3-acl";

/// Whether a stored header is an access list.
pub(crate) fn is_stored(name: &str) -> bool {
    name == STORED
}

/// The list of an object, and whose the object is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ObjectAcl {
    /// Id of the project it belongs to.
    pub(crate) owner: String,
    /// Who else may do what.
    pub(crate) list: Acl,
}

impl ObjectAcl {
    /// The list of an object in a bucket of this project.
    pub(crate) fn of(stat: &ObjectStat, bucket: &str) -> Self {
        let mut kept = stat.meta.headers.iter();
        let kept = kept.find(|(name, _)| is_stored(name));
        kept.and_then(|(_, json)| serde_json::from_str(json).ok())
            .unwrap_or_else(|| Self::private(bucket))
    }

    fn private(owner: &str) -> Self {
        Self {
            owner: owner.to_owned(),
            list: Acl::private(owner),
        }
    }

    /// What keeps it; `None` for the list that objects have anyway.
    fn header(&self, bucket: &str) -> S3Result<Option<Header>> {
        if *self == Self::private(bucket) {
            return Ok(None);
        }
        let json = serde_json::to_string(self).map_err(s3s::S3Error::internal_error)?;
        Ok(Some((STORED.to_owned(), json)))
    }
}

/// Refuses lists where the bucket's owner owns everything. One that says just
/// that is fine.
fn refuse_disabled(list: &Acl, bucket: &str) -> S3Result<()> {
    match list.is_more_than(bucket) {
        true => Err(s3_error!(
            AccessControlListNotSupported,
            "The bucket does not allow ACLs"
        )),
        false => Ok(()),
    }
}

/// What keeps the list of a new object, as its request says it.
///
/// # Errors
/// For a list that does not exist, or that the bucket does not allow.
pub(crate) fn of_new_object(asker: &Asker, headers: &HeaderMap) -> S3Result<Option<Header>> {
    let (bucket, info) = (asker.project(), asker.info()?);
    let ownership = Ownership::of(info);
    let canned = headers.get("x-amz-acl").and_then(|value| value.to_str().ok());
    let given_away = canned == Some("bucket-owner-full-control") && ownership == Some(Ownership::Preferred);
    let own = match asker.own_project() {
        Some(writer) if !given_away && ownership != Some(Ownership::Enforced) => writer,
        _ => bucket,
    };
    let list = Acl::of_headers(headers, Owners { own, bucket })?;
    let list = list.unwrap_or_else(|| Acl::private(own));
    if ownership == Some(Ownership::Enforced) {
        refuse_disabled(&list, bucket)?;
    }
    refuse_public(Block::of(info).block_public_acls && list.is_public())?;
    let acl = ObjectAcl {
        owner: own.to_owned(),
        list,
    };
    acl.header(bucket)
}

/// `GetObjectAcl`.
pub(crate) async fn get(
    backend: &Backend,
    req: S3Request<GetObjectAclInput>,
) -> S3Result<S3Response<GetObjectAclOutput>> {
    let asker = backend.asker(&req).await?;
    let (name, _) = backend.settings_of(&asker)?;
    let name = name.object(&req.input.key).map_err(|_| s3_error!(InvalidURI))?;
    let asked = Asked::of(req.input.version_id.as_deref())?;
    let found = backend.find(&name, asked, None).await?;
    let acl = ObjectAcl::of(&found.stat, asker.project());
    Ok(S3Response::new(GetObjectAclOutput {
        grants: Some(acl.list.document()),
        owner: Some(owner(&acl.owner)),
        ..GetObjectAclOutput::default()
    }))
}

/// `PutObjectAcl`.
pub(crate) async fn put(
    backend: &Backend,
    req: S3Request<PutObjectAclInput>,
) -> S3Result<S3Response<PutObjectAclOutput>> {
    let asker = backend.asker(&req).await?;
    let (container, info) = backend.settings_of(&asker)?;
    let input = req.input;
    let name = container.object(&input.key).map_err(|_| s3_error!(InvalidURI))?;
    let asked = Asked::of(input.version_id.as_deref())?;
    // Others who read metadata to write it back wait.
    let _held = backend.hold(&name).await?;
    let Found { at, stat, .. } = backend.find(&name, asked, None).await?;
    let bucket = asker.project();
    let owner = ObjectAcl::of(&stat, bucket).owner;
    let owners = Owners { own: &owner, bucket };
    let list = Acl::of_request(&req.headers, input.access_control_policy.as_ref(), owners)?;
    if Ownership::of(&info) == Some(Ownership::Enforced) {
        refuse_disabled(&list, bucket)?;
    }
    refuse_public(Block::of(&info).block_public_acls && list.is_public())?;
    let acl = ObjectAcl { owner, list };
    let header = acl.header(bucket)?;
    backend.replace_header(&at, stat, is_stored, header).await?;
    Ok(S3Response::new(PutObjectAclOutput::default()))
}
