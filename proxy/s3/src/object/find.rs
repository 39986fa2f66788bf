//! From a name and a version to what is stored: by the link that stands for
//! the current version, and by the other dialect's symbolic links.
use http::{HeaderMap, Method, StatusCode};
use s3s::{S3Error, S3Result, s3_error};
use virga_node::clock::Version;
use virga_object_wire::object::ObjectStat;
use virga_proxy::core::{ContainerForReading, GetOptions, GotObject, ObjectName, ReadObjectError};
use virga_proxy::swift::Link;
use virga_proxy::swift::versions::name::{VersionId, object_of};
use virga_proxy::swift::versions::{DELETED_TYPE, Keeping, NULL_ID, link, stack};

use crate::access::Asker;
use crate::fault::{IntoFault, OrFault, named};
use crate::refusal::Why;
use crate::{Backend, dates, metadata};

/// How often a current version is looked for that is replaced and deleted meanwhile.
const TRIES: usize = 3;

/// Which version of an object a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// What stands there now.
    Current,
    /// What was stored while no versions were kept.
    Null,
    /// This one.
    Id(VersionId),
}

impl Asked {
    /// Reads `versionId`.
    ///
    /// # Errors
    /// `InvalidArgument` for what is no id.
    pub(crate) fn of(version: Option<&str>) -> S3Result<Self> {
        match version {
            None => Ok(Self::Current),
            Some("") => Err(s3_error!(
                InvalidArgument,
                "Version id cannot be the empty string"
            )),
            Some(NULL_ID) => Ok(Self::Null),
            Some(text) => match VersionId::parse(text) {
                Some(id) => Ok(Self::Id(id)),
                None => Err(s3_error!(InvalidArgument, "Invalid version id specified")),
            },
        }
    }
}

/// An object that was found.
pub(crate) struct Found {
    /// Where it is stored.
    pub(crate) at: ObjectName,
    pub(crate) stat: ObjectStat,
    /// It, being read, if that was asked for.
    pub(crate) open: Option<GotObject>,
    /// The version to tell clients; `None` in a bucket that never had any.
    pub(crate) version: Option<String>,
    /// When it was written.
    pub(crate) modified: Version,
}

type Fetched = (ObjectStat, Option<GotObject>);

/// The error for a version that marks a deletion.
fn marked(error: S3Error, version: &str, at: Option<Version>) -> S3Error {
    let mut error = error;
    let mut headers = HeaderMap::new();
    metadata::set(&mut headers, "x-amz-delete-marker", "true");
    metadata::set(&mut headers, "x-amz-version-id", version);
    if let Some(at) = at {
        metadata::set(&mut headers, "allow", "DELETE");
        headers.insert(http::header::LAST_MODIFIED, dates::header(at));
    }
    error.set_headers(headers);
    error
}

/// The id that clients know a stored version by.
fn shown(id: VersionId, stat: &ObjectStat) -> String {
    match stack::is_null(&stat.meta.sysmeta) {
        true => NULL_ID.to_owned(),
        false => id.to_string(),
    }
}

impl Backend {
    async fn fetch(&self, at: &ObjectName, options: Option<GetOptions>) -> S3Result<Option<Fetched>> {
        let found = match options {
            None => self.core().head_object(at, false).await.map(|stat| (stat, None)),
            Some(options) => {
                let got = self.core().get_object(at, options).await;
                got.map(|got| (got.stat.clone(), Some(got)))
            }
        };
        match found {
            Ok((stat, _)) if self.is_expired(&stat) => Ok(None),
            Ok(found) => Ok(Some(found)),
            Err(ReadObjectError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into_fault()),
        }
    }

    /// Whether the objects of this one's bucket have or had versions.
    async fn has_versions(&self, name: &ObjectName) -> S3Result<bool> {
        let container = name.container_name();
        Ok(
            match self.core().container_for_reading(&container).await.or_fault()? {
                ContainerForReading::Known(info) => info.is_some_and(|info| Keeping::has_versions(&info)),
                // Who cannot know may look for versions in vain.
                ContainerForReading::Unsure { .. } => true,
            },
        )
    }

    /// The error for an object that is not there: it may have been deleted in
    /// a way that is remembered.
    async fn gone(&self, name: &ObjectName, versioned: bool) -> S3Error {
        if !versioned {
            return s3_error!(NoSuchKey);
        }
        match stack::find(self.core(), name, |_| true).await {
            Ok(Some(kept)) if kept.is_marker() => {
                let id = match kept.is_null() {
                    true => NULL_ID.to_owned(),
                    false => kept.id.to_string(),
                };
                marked(s3_error!(NoSuchKey), &id, None)
            }
            Ok(_) => s3_error!(NoSuchKey),
            Err(error) => error.into_fault(),
        }
    }

    /// The version from the time when none were kept, where it is not current.
    pub(crate) async fn null_of(&self, name: &ObjectName) -> S3Result<Option<VersionId>> {
        let kept = stack::find(self.core(), name, stack::Kept::is_null).await;
        Ok(kept.or_fault()?.map(|kept| kept.id))
    }

    /// The version of an object that is asked for; its body too with `options`.
    /// Symbolic links are not followed.
    ///
    /// # Errors
    /// `NoSuchKey`, `NoSuchVersion`, `MethodNotAllowed` for one that marks a
    /// deletion.
    pub(crate) async fn find(
        &self,
        name: &ObjectName,
        asked: Asked,
        options: Option<GetOptions>,
    ) -> S3Result<Found> {
        let versioned = self.has_versions(name).await?;
        for _ in 0..TRIES {
            let stands = match asked {
                Asked::Id(_) => None,
                Asked::Current | Asked::Null => self.fetch(name, options).await?,
            };
            let current = stands.as_ref().map(|(stat, _)| link::of(stat));
            let id = match (asked, current) {
                (Asked::Id(id), _) | (Asked::Current, Some(Some(id))) => id,
                (Asked::Current, None) => return Err(self.gone(name, versioned).await),
                (Asked::Current | Asked::Null, Some(None)) => {
                    let Some((stat, open)) = stands else { break };
                    return Ok(Found {
                        at: name.clone(),
                        modified: stat.version,
                        stat,
                        open,
                        version: versioned.then(|| NULL_ID.to_owned()),
                    });
                }
                (Asked::Null, None | Some(Some(_))) => {
                    let null = self.null_of(name).await?;
                    null.ok_or_else(|| s3_error!(NoSuchVersion))?
                }
            };
            let at = object_of(name, id);
            match self.fetch(&at, options).await? {
                Some((stat, _)) if stat.meta.content_type == DELETED_TYPE => {
                    return Err(marked(s3_error!(MethodNotAllowed), &shown(id, &stat), Some(id.0)));
                }
                Some((stat, open)) => {
                    return Ok(Found {
                        version: Some(shown(id, &stat)),
                        at,
                        stat,
                        open,
                        modified: id.0,
                    });
                }
                // Deleted since its link was read: another one is current now.
                None if asked == Asked::Current => {}
                None => return Err(s3_error!(NoSuchVersion)),
            }
        }
        Err(s3_error!(NoSuchKey))
    }

    /// Goes where symbolic links lead, as far as the asker may read there.
    ///
    /// # Errors
    /// `AccessDenied`, `NoSuchKey`, and `InvalidObjectState` for links that
    /// lead to something else than they were made for, or nowhere.
    pub(crate) async fn follow(
        &self,
        asker: &Asker,
        mut found: Found,
        options: Option<GetOptions>,
    ) -> S3Result<Found> {
        let broken = |says| named(StatusCode::CONFLICT, "InvalidObjectState", says);
        let mut links = 0;
        while let Some(link) = Link::of(&found.stat) {
            if links >= self.config().symloop_max {
                return Err(broken("The object is a symbolic link into too many others."));
            }
            links += 1;
            let to = link.name(&found.at).ok_or_else(|| s3_error!(NoSuchKey))?;
            let wanted = link.etag.map(str::to_owned);
            let info = self
                .core()
                .container_info(&to.container_name())
                .await
                .or_fault()?;
            let info = info.ok_or_else(|| s3_error!(NoSuchKey))?;
            if !self.may_now(asker, &Method::GET, &info) {
                return Err(asker.refused("s3:GetObject", Why::Nothing));
            }
            let target = self.find(&to, Asked::Current, options).await?;
            let next = Link::of(&target.stat).and_then(|link| link.etag);
            if wanted.is_some_and(|wanted| wanted != next.unwrap_or(&target.stat.meta.etag)) {
                return Err(broken(
                    "The object is a symbolic link to another state of its target.",
                ));
            }
            found = Found {
                version: found.version,
                ..target
            };
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_asked_for_by_its_id_or_as_null() {
        assert_eq!(Asked::of(None).unwrap(), Asked::Current);
        assert_eq!(Asked::of(Some("null")).unwrap(), Asked::Null);
        assert!(matches!(
            Asked::of(Some("1763823600.12345")).unwrap(),
            Asked::Id(_)
        ));
        for bad in ["", "x", "-1", "1_"] {
            assert_eq!(
                Asked::of(Some(bad)).unwrap_err().code().as_str(),
                "InvalidArgument",
                "{bad}"
            );
        }
    }
}
