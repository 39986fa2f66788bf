//! Who is asking, which account is theirs, and what they may do there.
//!
//! The rules are those of the other dialect ([`virga_proxy::swift::access`]):
//! roles on the project, and the access lists of containers. A request without
//! a key has no account, hence no buckets.
use std::sync::Arc;

use http::Method;
use s3s::dto::Owner;
use s3s::{S3Request, S3Result, s3_error};
use virga_identity_api::caller::Caller;
use virga_object_wire::listing::{ContainerInfo, MetaItem};
use virga_proxy::core::{AccountName, ContainerForReading, ContainerName, ObjectName};
use virga_proxy::swift::access::{Identity, Verdict, Who, Wish, decide};

use super::Backend;
use super::fault::{IntoFault, OrFault};

/// What is to be done with a bucket or what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Objects are read.
    Read,
    /// The bucket is listed or looked at.
    List,
    /// Objects are written or deleted.
    Write,
    /// The bucket, its settings or its access list are looked at or changed.
    Own,
}

impl Action {
    fn method(self) -> &'static Method {
        match self {
            Self::Read | Self::List => &Method::GET,
            Self::Write | Self::Own => &Method::PUT,
        }
    }
}

/// Lets the protocol layer hand every request on, signed or not: who may do
/// what is decided by each operation, which knows the bucket.
pub(crate) struct Everyone;

#[async_trait::async_trait]
impl s3s::access::S3Access for Everyone {
    async fn check(&self, _cx: &mut s3s::access::S3AccessContext<'_>) -> S3Result<()> {
        Ok(())
    }
}

/// Who is asking.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    pub(crate) caller: Arc<Caller>,
    who: Who,
    pub(crate) account: AccountName,
}

impl Asker {
    /// The owner of everything in the account, as documents name it.
    pub(crate) fn owner(&self) -> Owner {
        let id = self.caller.project_id().map(str::to_owned);
        Owner {
            display_name: id.clone(),
            id,
        }
    }
}

/// The value of a metadata item.
pub(crate) fn meta<'a>(items: &'a [MetaItem], name: &str) -> Option<&'a str> {
    let found = items
        .iter()
        .find(|item| item.name == name && !item.value.is_empty());
    found.map(|item| item.value.as_str())
}

impl Backend {
    /// Who signed the request.
    ///
    /// # Errors
    /// `AccessDenied` if nobody did.
    pub(crate) async fn asker<T>(&self, req: &S3Request<T>) -> S3Result<Asker> {
        let credentials = req.credentials.as_ref().ok_or_else(|| s3_error!(AccessDenied))?;
        let key = self.0.keys.get(&credentials.access_key).await?;
        let prefix = self.config().resellers.first().map_or("", |r| r.prefix.as_str());
        let project = key.caller.project_id().ok_or_else(|| s3_error!(AccessDenied))?;
        let account = AccountName::new(&format!("{prefix}{project}")).map_err(|_| s3_error!(AccessDenied))?;
        Ok(Asker {
            who: Who::Known(Arc::new(Identity::new(key.caller.clone(), None))),
            caller: key.caller.clone(),
            account,
        })
    }

    /// Whether the asker may, by role or by the access list of `info`.
    pub(crate) async fn may(
        &self,
        asker: &Asker,
        action: Action,
        container: Option<&str>,
        info: Option<&ContainerInfo>,
    ) -> Verdict {
        let list = match action {
            Action::Read | Action::List => "x-container-read",
            Action::Write => "x-container-write",
            Action::Own => "",
        };
        let acl = info.and_then(|info| meta(&info.meta, list));
        let wish = Wish {
            method: action.method(),
            account: asker.account.as_str(),
            container,
            object: matches!(action, Action::Read | Action::Write),
            acl,
            referer: None,
        };
        let verdict = decide(self.config(), &asker.who, &wish);
        match &asker.who {
            Who::Known(identity) if !verdict.granted() && acl.is_some_and(|acl| acl.contains(':')) => {
                let domain = &self.config().default_domain_id;
                let learnt = identity.learn_names(&*self.0.directory, domain).await;
                decide(self.config(), &Who::Known(Arc::new(learnt)), &wish)
            }
            _ => verdict,
        }
    }

    /// Whether the asker may do this in a container, by what is known without
    /// asking anybody.
    pub(crate) fn may_now(&self, asker: &Asker, method: &Method, info: &ContainerInfo) -> bool {
        let wish = Wish {
            method,
            account: &info.account,
            container: Some(&info.container),
            object: true,
            acl: meta(&info.meta, "x-container-read"),
            referer: None,
        };
        decide(self.config(), &asker.who, &wish).granted()
    }

    /// The container behind a bucket that exists and that the asker may use
    /// like this.
    ///
    /// # Errors
    /// `AccessDenied`, then `NoSuchBucket`.
    pub(crate) async fn bucket(
        &self,
        asker: &Asker,
        action: Action,
        bucket: &str,
    ) -> S3Result<(ContainerName, Arc<ContainerInfo>)> {
        let name = asker
            .account
            .container(bucket)
            .map_err(|_| s3_error!(InvalidBucketName))?;
        let info = match action {
            Action::Read => match self.core().container_for_reading(&name).await.or_fault()? {
                ContainerForReading::Known(info) => info,
                ContainerForReading::Unsure { info, why } => {
                    // What its list says may be outdated: only who needs none goes on.
                    return match self.may(asker, action, Some(bucket), None).await.granted() {
                        true => Ok((name, info)),
                        false => Err(why.into_fault()),
                    };
                }
            },
            _ => self.core().container_info(&name).await.or_fault()?,
        };
        match self.may(asker, action, Some(bucket), info.as_deref()).await {
            Verdict::Denied => Err(s3_error!(AccessDenied)),
            Verdict::Granted if action == Action::Own => Err(s3_error!(AccessDenied)),
            _ => info
                .map(|info| (name, info))
                .ok_or_else(|| s3_error!(NoSuchBucket)),
        }
    }

    /// An object in a bucket that exists and that the asker may use like this.
    ///
    /// # Errors
    /// `AccessDenied`, then `NoSuchBucket`.
    pub(crate) async fn object(
        &self,
        asker: &Asker,
        action: Action,
        bucket: &str,
        key: &str,
    ) -> S3Result<ObjectName> {
        let (container, _) = self.bucket(asker, action, bucket).await?;
        container.object(key).map_err(|_| s3_error!(InvalidURI))
    }
}
