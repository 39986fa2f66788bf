//! Access lists of buckets, as far as those of containers carry them: everyone
//! may read, everyone may write, whole projects may.
//!
//! Objects have no lists of their own: they say what their bucket's says, and
//! only `private` can be set.
use http::HeaderMap;
use s3s::dto::{
    AccessControlPolicy, BucketCannedACL, GetBucketAclInput, GetBucketAclOutput, GetObjectAclInput,
    GetObjectAclOutput, Grant, Grantee, Permission, PutBucketAclInput, PutBucketAclOutput, PutObjectAclInput,
    PutObjectAclOutput, Type,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};
use virga_object_wire::listing::ContainerInfo;
use virga_proxy::core::{MetaChange, PostMetaError};

use super::access::{Action, Asker, meta};
use super::fault::{IntoFault, OrFault};
use super::object::check_version;
use super::{Backend, multipart};

const READ: &str = "x-container-read";
const WRITE: &str = "x-container-write";
/// Everyone, in lists of containers.
const EVERYONE_READS: &str = ".r:*,.rlistings";
const EVERYONE: &str = ".r:*";
/// Everyone, in documents.
const ALL_USERS: &str = "http://acs.amazonaws.com/groups/global/AllUsers";
/// Headers that grant.
const GRANTS: [(&str, &str); 5] = [
    ("x-amz-grant-full-control", Permission::FULL_CONTROL),
    ("x-amz-grant-read", Permission::READ),
    ("x-amz-grant-write", Permission::WRITE),
    ("x-amz-grant-read-acp", Permission::READ_ACP),
    ("x-amz-grant-write-acp", Permission::WRITE_ACP),
];

/// Both lists of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Lists {
    read: Vec<String>,
    write: Vec<String>,
}

fn not_kept() -> s3s::S3Error {
    s3_error!(
        NotImplemented,
        "This access list cannot be kept: a bucket can be open to everyone or to whole projects, for reading or writing."
    )
}

impl Lists {
    fn changes(&self) -> Vec<MetaChange> {
        vec![
            (READ.to_owned(), self.read.join(",")),
            (WRITE.to_owned(), self.write.join(",")),
        ]
    }

    fn canned(name: &str) -> S3Result<Self> {
        let (mut read, mut write) = (Vec::new(), Vec::new());
        match name {
            BucketCannedACL::PRIVATE => {}
            BucketCannedACL::PUBLIC_READ => read.push(EVERYONE_READS.to_owned()),
            BucketCannedACL::PUBLIC_READ_WRITE => {
                read.push(EVERYONE_READS.to_owned());
                write.push(EVERYONE.to_owned());
            }
            BucketCannedACL::AUTHENTICATED_READ => return Err(not_kept()),
            _ => return Err(s3_error!(InvalidArgument)),
        }
        Ok(Self { read, write })
    }

    /// Adds a grant; those of the owner to itself say nothing new.
    fn grant(&mut self, who: &Whom, permission: &str, owner: Option<&str>) -> S3Result<()> {
        match (who, permission) {
            (Whom::Project(id), _) if Some(id.as_str()) == owner => {}
            (Whom::Everyone, Permission::READ) => self.read.push(EVERYONE_READS.to_owned()),
            (Whom::Everyone, Permission::WRITE) => self.write.push(EVERYONE.to_owned()),
            (Whom::Project(id), Permission::READ) => self.read.push(format!("{id}:*")),
            (Whom::Project(id), Permission::WRITE) => self.write.push(format!("{id}:*")),
            _ => return Err(not_kept()),
        }
        Ok(())
    }

    fn of_policy(policy: &AccessControlPolicy, owner: Option<&str>) -> S3Result<Self> {
        let mut lists = Self::default();
        for grant in policy.grants.iter().flatten() {
            let bad = || s3_error!(MalformedACLError);
            let grantee = grant.grantee.as_ref().ok_or_else(bad)?;
            let permission = grant.permission.as_ref().ok_or_else(bad)?;
            let who = match (grantee.type_.as_str(), &grantee.id, &grantee.uri) {
                (Type::CANONICAL_USER, Some(id), _) => Whom::Project(id.clone()),
                (Type::GROUP, _, Some(uri)) if uri == ALL_USERS => Whom::Everyone,
                (Type::GROUP, _, Some(_)) | (Type::AMAZON_CUSTOMER_BY_EMAIL, ..) => return Err(not_kept()),
                _ => return Err(bad()),
            };
            lists.grant(&who, permission.as_str(), owner)?;
        }
        Ok(lists)
    }

    /// What a request says in headers; `None` if nothing.
    fn of_headers(headers: &HeaderMap, owner: Option<&str>) -> S3Result<Option<Self>> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let granted = GRANTS
            .iter()
            .filter_map(|(name, permission)| Some((text(name)?, *permission)));
        let granted: Vec<(&str, &str)> = granted.collect();
        match text("x-amz-acl") {
            Some(_) if !granted.is_empty() => Err(s3_error!(
                InvalidRequest,
                "Specifying both Canned ACLs and Header Grants is not allowed"
            )),
            Some(name) => Self::canned(name).map(Some),
            None if granted.is_empty() => Ok(None),
            None => {
                let mut lists = Self::default();
                for (grantees, permission) in granted {
                    for grantee in grantees.split(',') {
                        lists.grant(&Whom::of_header(grantee)?, permission, owner)?;
                    }
                }
                Ok(Some(lists))
            }
        }
    }
}

/// Whom a grant is for.
enum Whom {
    Everyone,
    /// A project: what AWS calls a canonical user.
    Project(String),
}

impl Whom {
    /// Reads `id="..."` or `uri="..."`.
    fn of_header(text: &str) -> S3Result<Self> {
        let (key, value) = text
            .trim()
            .split_once('=')
            .ok_or_else(|| s3_error!(InvalidArgument))?;
        let value = value.trim().trim_matches('"');
        match key.trim() {
            "id" if !value.is_empty() && !value.contains([':', ',']) => Ok(Self::Project(value.to_owned())),
            "uri" if value == ALL_USERS => Ok(Self::Everyone),
            "uri" | "emailAddress" => Err(not_kept()),
            _ => Err(s3_error!(InvalidArgument)),
        }
    }
}

/// The lists that a new bucket gets.
pub(crate) fn of_bucket(headers: &HeaderMap) -> S3Result<Vec<MetaChange>> {
    let lists = Lists::of_headers(headers, None)?;
    let mut changes = lists.map(|lists| lists.changes()).unwrap_or_default();
    changes.retain(|(_, value)| !value.is_empty());
    Ok(changes)
}

/// The lists of a container, to be given to another one.
pub(crate) fn lists(info: &ContainerInfo) -> Vec<MetaChange> {
    let kept = info
        .meta
        .iter()
        .filter(|item| item.name == READ || item.name == WRITE);
    kept.map(|item| (item.name.clone(), item.value.clone())).collect()
}

/// Refuses access lists of objects, which are not kept.
///
/// # Errors
/// `NotImplemented`, unless it says what is so anyway.
pub(crate) fn check_of_object(headers: &HeaderMap) -> S3Result<()> {
    let says_nothing_new = ["private", "bucket-owner-full-control", "bucket-owner-read"];
    let canned = headers
        .get("x-amz-acl")
        .map(|value| value.to_str().unwrap_or_default());
    let granted = GRANTS.iter().any(|(name, _)| headers.contains_key(*name));
    match canned {
        _ if granted => Err(not_kept()),
        Some(name) if !says_nothing_new.contains(&name) => Err(not_kept()),
        _ => Ok(()),
    }
}

/// Everything that is granted, as documents have it.
fn grants(asker: &Asker, info: &ContainerInfo) -> Vec<Grant> {
    let grant = |grantee, permission| Grant {
        grantee: Some(grantee),
        permission: Some(Permission::from_static(permission)),
    };
    let grantee = |kind| Grantee {
        display_name: None,
        email_address: None,
        id: None,
        type_: Type::from_static(kind),
        uri: None,
    };
    let project = |id: Option<String>| Grantee {
        display_name: id.clone(),
        id,
        ..grantee(Type::CANONICAL_USER)
    };
    let everyone = || Grantee {
        uri: Some(ALL_USERS.to_owned()),
        ..grantee(Type::GROUP)
    };
    let mut all = vec![grant(project(asker.owner().id), Permission::FULL_CONTROL)];
    for (list, permission) in [(READ, Permission::READ), (WRITE, Permission::WRITE)] {
        for item in meta(&info.meta, list).unwrap_or_default().split(',') {
            match item.split_once(':') {
                Some((".r", "*")) => all.push(grant(everyone(), permission)),
                Some((id, "*")) if !id.starts_with('.') && id != "*" => {
                    all.push(grant(project(Some(id.to_owned())), permission));
                }
                _ => {}
            }
        }
    }
    all
}

/// `GetBucketAcl`.
pub(crate) async fn get_of_bucket(
    backend: &Backend,
    req: S3Request<GetBucketAclInput>,
) -> S3Result<S3Response<GetBucketAclOutput>> {
    let asker = backend.asker(&req).await?;
    let (_, info) = backend.bucket(&asker, Action::Own, &req.input.bucket).await?;
    Ok(S3Response::new(GetBucketAclOutput {
        grants: Some(grants(&asker, &info)),
        owner: Some(asker.owner()),
    }))
}

/// `PutBucketAcl`.
pub(crate) async fn put_of_bucket(
    backend: &Backend,
    req: S3Request<PutBucketAclInput>,
) -> S3Result<S3Response<PutBucketAclOutput>> {
    let asker = backend.asker(&req).await?;
    let (name, _) = backend.bucket(&asker, Action::Own, &req.input.bucket).await?;
    let owner = asker.caller.project_id();
    let lists = match (
        Lists::of_headers(&req.headers, owner)?,
        &req.input.access_control_policy,
    ) {
        (Some(_), Some(_)) => {
            return Err(s3_error!(
                UnexpectedContent,
                "This request does not support content"
            ));
        }
        (Some(lists), None) => lists,
        (None, Some(policy)) => Lists::of_policy(policy, owner)?,
        (None, None) => {
            return Err(s3_error!(
                MissingSecurityHeader,
                "Your request was missing a required header"
            ));
        }
    };
    backend
        .core()
        .post_container(&name, lists.changes())
        .await
        .or_fault()?;
    if let Ok(hidden) = asker.account.container(&multipart::hidden(name.container())) {
        match backend.core().post_container(&hidden, lists.changes()).await {
            Ok(()) | Err(PostMetaError::NotFound) => {}
            Err(error) => return Err(error.into_fault()),
        }
    }
    Ok(S3Response::new(PutBucketAclOutput::default()))
}

/// `GetObjectAcl`.
pub(crate) async fn get_of_object(
    backend: &Backend,
    req: S3Request<GetObjectAclInput>,
) -> S3Result<S3Response<GetObjectAclOutput>> {
    let asker = backend.asker(&req).await?;
    let input = req.input;
    let (container, info) = backend.bucket(&asker, Action::Own, &input.bucket).await?;
    let name = container.object(&input.key).map_err(|_| s3_error!(InvalidURI))?;
    check_version(input.version_id.as_deref())?;
    backend.head(&name).await?;
    let readable = grants(&asker, &info).into_iter().filter(|grant| {
        grant
            .permission
            .as_ref()
            .is_none_or(|p| p.as_str() != Permission::WRITE)
    });
    Ok(S3Response::new(GetObjectAclOutput {
        grants: Some(readable.collect()),
        owner: Some(asker.owner()),
        ..GetObjectAclOutput::default()
    }))
}

/// `PutObjectAcl`.
pub(crate) async fn put_of_object(
    backend: &Backend,
    req: S3Request<PutObjectAclInput>,
) -> S3Result<S3Response<PutObjectAclOutput>> {
    let asker = backend.asker(&req).await?;
    let (headers, input) = (req.headers, req.input);
    let (container, _) = backend.bucket(&asker, Action::Own, &input.bucket).await?;
    let name = container.object(&input.key).map_err(|_| s3_error!(InvalidURI))?;
    check_version(input.version_id.as_deref())?;
    backend.head(&name).await?;
    check_of_object(&headers)?;
    match &input.access_control_policy {
        Some(policy) if Lists::of_policy(policy, asker.caller.project_id())? != Lists::default() => {
            Err(not_kept())
        }
        _ => Ok(S3Response::new(PutObjectAclOutput::default())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&'static str, &'static str)]) -> S3Result<Option<Lists>> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, http::HeaderValue::from_static(value));
        }
        Lists::of_headers(&headers, Some("mine"))
    }

    #[test]
    fn what_a_container_can_carry_is_kept_and_the_rest_refused() {
        let lists = |read: &[&str], write: &[&str]| Lists {
            read: read.iter().map(ToString::to_string).collect(),
            write: write.iter().map(ToString::to_string).collect(),
        };
        assert_eq!(of(&[]).unwrap(), None);
        assert_eq!(of(&[("x-amz-acl", "private")]).unwrap(), Some(Lists::default()));
        assert_eq!(
            of(&[("x-amz-acl", "public-read-write")]).unwrap(),
            Some(lists(&[EVERYONE_READS], &[EVERYONE]))
        );
        let granted = of(&[
            ("x-amz-grant-read", "id=\"other\", id=\"mine\""),
            ("x-amz-grant-full-control", "id=mine"),
        ]);
        assert_eq!(granted.unwrap(), Some(lists(&["other:*"], &[])));
        for bad in [
            &[("x-amz-acl", "authenticated-read")][..],
            &[("x-amz-acl", "cake")],
            &[("x-amz-acl", "private"), ("x-amz-grant-read", "id=a")],
            &[("x-amz-grant-read-acp", "id=other")],
            &[("x-amz-grant-read", "emailAddress=a@b")],
            &[("x-amz-grant-read", "id=a:b")],
        ] {
            assert!(of(bad).is_err(), "{bad:?}");
        }
    }
}
