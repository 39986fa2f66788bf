//! Access lists of buckets.
use http::HeaderMap;
use s3s::dto::{GetBucketAclInput, GetBucketAclOutput, PutBucketAclInput, PutBucketAclOutput};
use s3s::{S3Request, S3Response, S3Result, s3_error};
use serde::{Deserialize, Serialize};
use virga_object_wire::listing::ContainerInfo;
use virga_proxy::core::{ContainerName, MetaChange, PostMetaError};

use super::grants::{Acl, Guest, Owners, Permission, Whom, owner};
use crate::access::{Asker, meta};
use crate::fault::{IntoFault, OrFault};
use crate::public::{Block, Ownership, refuse_public};
use crate::{Backend, multipart};

const READ: &str = "x-container-read";
const WRITE: &str = "x-container-write";
/// READ_ACP and WRITE_ACP, which containers have no lists for, as JSON.
const MORE: &str = "x-container-sysmeta-s3-acl";
/// The lists of a container that the other dialect must not go by, as JSON.
const HELD: &str = "x-container-sysmeta-s3-held-lists";
/// Everyone, in lists of containers.
const EVERYONE_READS: &str = ".r:*,.rlistings";
const EVERYONE: &str = ".r:*";
const AUTHENTICATED: &str = "*:*";

/// Both lists of a container, in the form of the other dialect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lists {
    /// Who reads and lists.
    pub(crate) read: String,
    /// Who writes.
    pub(crate) write: String,
}

fn joined(left: &str, right: &str) -> String {
    let all = [left, right].into_iter().filter(|list| !list.is_empty());
    all.collect::<Vec<_>>().join(",")
}

fn item(whom: &Whom, write: bool) -> String {
    match whom {
        Whom::Everyone if write => EVERYONE.to_owned(),
        Whom::Everyone => EVERYONE_READS.to_owned(),
        Whom::Authenticated => AUTHENTICATED.to_owned(),
        Whom::Project(id) => format!("{id}:*"),
    }
}

impl Lists {
    /// Those that count in this dialect, held or not.
    pub(crate) fn of(info: &ContainerInfo) -> Self {
        let held: Self = meta(&info.meta, HELD)
            .and_then(|json| serde_json::from_str(json).ok())
            .unwrap_or_default();
        let now = |name| meta(&info.meta, name).unwrap_or_default();
        Self {
            read: joined(&held.read, now(READ)),
            write: joined(&held.write, now(WRITE)),
        }
    }

    /// The same without whom it lets in that cannot be told beforehand.
    pub(crate) fn without_public(&self) -> Self {
        let strip = |list: &str| {
            let known = |item: &&str| !item.starts_with(".r") && *item != AUTHENTICATED;
            list.split(',').filter(known).collect::<Vec<_>>().join(",")
        };
        Self {
            read: strip(&self.read),
            write: strip(&self.write),
        }
    }

    fn changes(&self) -> Vec<MetaChange> {
        vec![
            (READ.to_owned(), self.read.clone()),
            (WRITE.to_owned(), self.write.clone()),
        ]
    }
}

/// What of a list containers can carry, and the rest.
fn divided(acl: &Acl, own: &str) -> (Lists, Acl) {
    let (mut lists, mut more) = (Lists::default(), Acl::default());
    let others = acl
        .0
        .iter()
        .filter(|(whom, _)| !matches!(whom, Whom::Project(id) if id == own));
    for (whom, permission) in others {
        for single in Permission::SINGLE {
            if !permission.covers(single) {
                continue;
            }
            match single {
                Permission::Read => lists.read = joined(&lists.read, &item(whom, false)),
                Permission::Write => lists.write = joined(&lists.write, &item(whom, true)),
                _ => more.0.push((whom.clone(), single)),
            }
        }
    }
    (lists, more)
}

fn more(info: &ContainerInfo) -> Acl {
    meta(&info.meta, MORE)
        .and_then(|json| serde_json::from_str(json).ok())
        .unwrap_or_default()
}

/// Whether a grant that containers do not carry gives this.
pub(crate) fn gives(info: &ContainerInfo, who: Guest<'_>, wanted: Permission, public: bool) -> bool {
    more(info).gives(who, wanted, public)
}

/// Whether anybody but the owner is given anything.
pub(crate) fn is_more_than_private(info: &ContainerInfo) -> bool {
    Lists::of(info) != Lists::default() || more(info) != Acl::default()
}

/// The list of a bucket, as far as its words go: the other dialect has more.
fn of_bucket(info: &ContainerInfo, own: &str) -> Acl {
    let lists = Lists::of(info);
    let mut given: Vec<(Whom, Vec<Permission>)> = Vec::new();
    let mut add = |whom: Whom, permission| match given.iter_mut().find(|(known, _)| *known == whom) {
        Some((_, permissions)) => permissions.push(permission),
        None => given.push((whom, vec![permission])),
    };
    for (list, permission) in [(&lists.read, Permission::Read), (&lists.write, Permission::Write)] {
        for item in list.split(',') {
            match item.split_once(':') {
                Some((".r", "*")) => add(Whom::Everyone, permission),
                Some(("*", "*")) => add(Whom::Authenticated, permission),
                Some((id, "*")) if !id.starts_with('.') => add(Whom::Project(id.to_owned()), permission),
                _ => {}
            }
        }
    }
    for (whom, permission) in more(info).0 {
        add(whom, permission);
    }
    let mut acl = Acl::private(own);
    for (whom, permissions) in given {
        let all = Permission::SINGLE
            .iter()
            .all(|single| permissions.contains(single));
        match all {
            true => acl.0.push((whom, Permission::FullControl)),
            false => acl
                .0
                .extend(permissions.into_iter().map(|one| (whom.clone(), one))),
        }
    }
    acl
}

fn json<T: Serialize>(value: &T, empty: bool) -> S3Result<String> {
    match empty {
        true => Ok(String::new()),
        false => serde_json::to_string(value).map_err(s3s::S3Error::internal_error),
    }
}

/// What keeps a list, with a container whose lists are held or not.
fn changes(acl: &Acl, own: &str, held: bool) -> S3Result<Vec<MetaChange>> {
    let (lists, more) = divided(acl, own);
    let mut changes = vec![(MORE.to_owned(), json(&more, more == Acl::default())?)];
    match held {
        true => {
            changes.push((HELD.to_owned(), json(&lists, lists == Lists::default())?));
            changes.extend(Lists::default().changes());
        }
        false => changes.extend(lists.changes()),
    }
    Ok(changes)
}

/// What keeps a new bucket's list.
///
/// # Errors
/// For a list that does not exist.
pub(crate) fn of_new_bucket(asker: &Asker, headers: &HeaderMap) -> S3Result<Vec<MetaChange>> {
    let own = asker.project();
    let ownership = Ownership::of_header(headers)?;
    let owners = Owners { own, bucket: own };
    let acl = Acl::of_headers(headers, owners)?.unwrap_or_else(|| Acl::private(own));
    if ownership == Some(Ownership::Enforced) && acl.is_more_than(own) {
        return Err(s3_error!(
            InvalidBucketAclWithObjectOwnership,
            "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting"
        ));
    }
    let mut changes = changes(&acl, own, false)?;
    changes.extend(ownership.map(Ownership::change));
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

/// What takes the lists out of the other dialect's sight.
pub(crate) fn hold(info: &ContainerInfo) -> S3Result<Vec<MetaChange>> {
    let lists = Lists::of(info);
    let mut changes = Lists::default().changes();
    changes.push((HELD.to_owned(), json(&lists, lists == Lists::default())?));
    Ok(changes)
}

/// What gives the lists back to the other dialect.
pub(crate) fn release(info: &ContainerInfo) -> Vec<MetaChange> {
    let mut changes = Lists::of(info).changes();
    changes.push((HELD.to_owned(), String::new()));
    changes
}

impl Backend {
    /// Changes settings of a bucket; the container of its uploads gets the
    /// same lists, as the other dialect reads parts there.
    pub(crate) async fn set(&self, name: &ContainerName, changes: Vec<MetaChange>) -> S3Result<()> {
        let mut lists = changes.clone();
        lists.retain(|(name, _)| name == READ || name == WRITE);
        self.core().post_container(name, changes).await.or_fault()?;
        if lists.is_empty() {
            return Ok(());
        }
        let Ok(hidden) = name
            .account_name()
            .container(&multipart::hidden(name.container()))
        else {
            return Ok(());
        };
        match self.core().post_container(&hidden, lists).await {
            Ok(()) | Err(PostMetaError::NotFound) => Ok(()),
            Err(error) => Err(error.into_fault()),
        }
    }
}

/// `GetBucketAcl`.
pub(crate) async fn get(
    backend: &Backend,
    req: S3Request<GetBucketAclInput>,
) -> S3Result<S3Response<GetBucketAclOutput>> {
    let asker = backend.asker(&req).await?;
    let (_, info) = backend.settings_of(&asker)?;
    Ok(S3Response::new(GetBucketAclOutput {
        grants: Some(of_bucket(&info, asker.project()).document()),
        owner: Some(owner(asker.project())),
    }))
}

/// `PutBucketAcl`.
pub(crate) async fn put(
    backend: &Backend,
    req: S3Request<PutBucketAclInput>,
) -> S3Result<S3Response<PutBucketAclOutput>> {
    let asker = backend.asker(&req).await?;
    let (name, info) = backend.settings_of(&asker)?;
    let own = asker.project();
    let owners = Owners { own, bucket: own };
    let acl = Acl::of_request(&req.headers, req.input.access_control_policy.as_ref(), owners)?;
    if Ownership::of(&info) == Some(Ownership::Enforced) && acl.is_more_than(own) {
        return Err(s3_error!(
            AccessControlListNotSupported,
            "The bucket does not allow ACLs"
        ));
    }
    refuse_public(Block::of(&info).block_public_acls && acl.is_public())?;
    let held = backend.is_guarded(&name, &info, own);
    backend.set(&name, changes(&acl, own, held)?).await?;
    Ok(S3Response::new(PutBucketAclOutput::default()))
}

#[cfg(test)]
mod tests {
    use virga_object_wire::listing::MetaItem;

    use super::*;

    fn info(changes: &[MetaChange]) -> ContainerInfo {
        let items = changes.iter().map(|(name, value)| MetaItem {
            name: name.clone(),
            value: value.clone(),
            version: ContainerInfo::default().put,
        });
        ContainerInfo {
            meta: items.collect(),
            ..ContainerInfo::default()
        }
    }

    #[test]
    fn a_list_comes_back_whole_and_the_other_dialect_sees_its_part() {
        let project = |id: &str| Whom::Project(id.to_owned());
        let mut acl = Acl::private("p");
        acl.0.extend([
            (Whom::Everyone, Permission::Read),
            (Whom::Authenticated, Permission::Write),
            (project("q"), Permission::FullControl),
            (project("r"), Permission::ReadAcp),
        ]);
        for held in [false, true] {
            let kept = info(&changes(&acl, "p", held).unwrap());
            let mut shown = of_bucket(&kept, "p").0;
            let mut expected = acl.0.clone();
            shown.sort_by(|a, b| a.0.cmp(&b.0));
            expected.sort_by(|a, b| a.0.cmp(&b.0));
            assert_eq!(shown, expected, "{held}");
            let read = meta(&kept.meta, READ);
            assert_eq!(read, (!held).then_some(".r:*,.rlistings,q:*"), "{held}");
            let known = Lists::of(&kept).without_public();
            assert_eq!(
                (known.read.as_str(), known.write.as_str()),
                ("q:*", "q:*"),
                "{held}"
            );
            assert!(gives(&kept, Guest::Of("r"), Permission::ReadAcp, true) && is_more_than_private(&kept));
        }
        let private = info(&changes(&Acl::private("p"), "p", false).unwrap());
        assert!(!is_more_than_private(&private));
    }

    #[test]
    fn lists_are_held_back_and_given_back() {
        let open = info(&[(READ.into(), "q:u".into()), (WRITE.into(), "q:*".into())]);
        let held = info(&hold(&open).unwrap());
        assert_eq!(
            (meta(&held.meta, READ), Lists::of(&held)),
            (None, Lists::of(&open))
        );
        let again = info(&release(&held));
        assert_eq!(
            (meta(&again.meta, READ), meta(&again.meta, WRITE)),
            (Some("q:u"), Some("q:*"))
        );
        assert_eq!(meta(&again.meta, HELD), None);
    }
}
