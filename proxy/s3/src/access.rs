//! Who is asking, which bucket they mean, and whether they may.
//!
//! Every operation passes [`Backend::admit`] before it begins: the row of
//! [`crate::operations`] says what it does, and here it is judged, in one
//! place, by the roles of the project the bucket belongs to, its policy, its
//! access list and the object's. What a policy denies nothing else allows.
//!
//! A bucket is one of the project that the key is for, unless the request says
//! whose it is: `/PROJECT:BUCKET/KEY` in its path, or
//! `x-amz-expected-bucket-owner`. Without a key it must.
use std::sync::Arc;

use http::{HeaderMap, Method};
use s3s::dto::Owner;
use s3s::{S3Error, S3ErrorCode, S3Request, S3Result, s3_error};
use virga_identity_api::caller::Caller;
use virga_object_wire::listing::{ContainerInfo, MetaItem};
use virga_proxy::core::{AccountName, ContainerForReading, ContainerName, ObjectName, Unavailable};
use virga_proxy::swift::access::{Identity, Verdict, Who, Wish, decide};
use virga_proxy::swift::ratelimit::Limiter;
use virga_proxy::swift::read_only;

use super::acl::Guest;
use super::fault::{IntoFault, OrFault};
use super::judge::Told;
use super::precedence::Way;
use super::refusal::Why;
use super::request::Signed;
use super::rules::{self, Need};
use super::{Backend, acl, rates};

/// What an operation is about to do with a bucket or what is in it, in its own
/// words: held against the row that it was judged by.
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
    /// Whether what the operation's row names is as much as this. If not, the
    /// row says less than the operation does.
    fn is_covered_by(self, action: &str) -> bool {
        match self {
            Self::Read | Self::List => true,
            Self::Write => !rules::only_looks(action),
            Self::Own => !matches!(rules::need(action), Need::List | Need::Read | Need::Write),
        }
    }
}

/// What an operation is done to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The project itself.
    Account,
    /// A bucket that is to be made.
    New(String),
    /// A bucket.
    Bucket(String),
    /// Objects of a bucket that the body names, each judged by itself.
    Batch(String),
    /// An object.
    Object(String, String),
}

impl Place {
    fn bucket(&self) -> Option<&str> {
        match self {
            Self::Account => None,
            Self::New(bucket) | Self::Bucket(bucket) | Self::Batch(bucket) | Self::Object(bucket, _) => {
                Some(bucket)
            }
        }
    }
}

/// What someone learns of an object that is not there.
#[derive(Debug)]
pub(crate) enum Sight {
    /// That it is not there.
    Full,
    /// No more than of one that is closed, as who may not list the bucket: this
    /// refusal.
    Blind(S3Error),
}

impl Sight {
    /// The error to answer with.
    pub(crate) fn of(self, error: S3Error) -> S3Error {
        let absent = matches!(*error.code(), S3ErrorCode::NoSuchKey | S3ErrorCode::NoSuchVersion);
        match self {
            Self::Blind(refusal) if absent => refusal,
            Self::Blind(_) | Self::Full => error,
        }
    }
}

/// The bucket that a request is about.
#[derive(Clone, Debug)]
struct Admitted {
    /// What it was judged to do.
    action: &'static str,
    name: ContainerName,
    info: Arc<ContainerInfo>,
}

/// Who is asking, once it is known that they may.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    /// Whose key it is; nobody, without one.
    pub(crate) caller: Option<Arc<Caller>>,
    pub(crate) who: Who,
    /// The account that the bucket is in.
    pub(crate) account: AccountName,
    /// Id of the project that the bucket belongs to.
    project: String,
    /// What else the request says.
    pub(crate) told: Arc<Told>,
    /// Who counts what is asked for, if anything is limited.
    pub(crate) limiter: Option<Arc<Limiter>>,
    admitted: Option<Admitted>,
}

impl Asker {
    /// The owner of everything in the account, as documents name it.
    pub(crate) fn owner(&self) -> Owner {
        acl::owner(&self.project)
    }

    /// Id of the project that the bucket belongs to.
    pub(crate) fn project(&self) -> &str {
        &self.project
    }

    /// Id of the project that the key is for, if there is one.
    pub(crate) fn own_project(&self) -> Option<&str> {
        self.caller.as_ref().and_then(|caller| caller.project_id())
    }

    /// Who asks, as lists see it.
    pub(crate) fn guest(&self) -> Guest<'_> {
        match self.own_project() {
            None => Guest::Nobody,
            Some(project) if project == self.project => Guest::Member,
            Some(project) => Guest::Of(project),
        }
    }

    /// The same asking about another version than the request names.
    pub(crate) fn about(&self, version: Option<&str>) -> Self {
        Self {
            told: Arc::new(self.told.of_version(version)),
            ..self.clone()
        }
    }

    /// What is known of the bucket that the request is about.
    ///
    /// # Errors
    /// For requests about none.
    pub(crate) fn info(&self) -> S3Result<&ContainerInfo> {
        let admitted = self.admitted.as_ref();
        admitted
            .map(|admitted| &*admitted.info)
            .ok_or_else(|| s3_error!(InternalError))
    }
}

/// The value of a metadata item.
pub(crate) fn meta<'a>(items: &'a [MetaItem], name: &str) -> Option<&'a str> {
    let found = items
        .iter()
        .find(|item| item.name == name && !item.value.is_empty());
    found.map(|item| item.value.as_str())
}

/// Takes `PROJECT:BUCKET` apart; `None` for a bucket without a project.
pub(crate) fn with_project(bucket: &str) -> Option<(&str, &str)> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let (project, bucket) = bucket.split_once(':')?;
    let named = (1..=64).contains(&project.len()) && project.bytes().all(good);
    (named && !bucket.contains(':')).then_some((project, bucket))
}

/// The project that a header says a bucket belongs to.
fn expected<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn no_project() -> s3s::S3Error {
    s3_error!(
        AccessDenied,
        "No key, no project: a request without a key says whose the bucket is, as in /PROJECT:BUCKET."
    )
}

impl Backend {
    /// The account of a project.
    pub(crate) fn account_of(&self, project: &str) -> S3Result<AccountName> {
        let prefix = self.config().resellers.first().map_or("", |r| r.prefix.as_str());
        AccountName::new(&format!("{prefix}{project}")).map_err(|_| s3_error!(AccessDenied))
    }

    /// Whether quotas of accounts do not hold who asks: the reseller admin, as over Swift.
    pub(crate) fn is_unbound(&self, asker: &Asker) -> bool {
        let role = &self.config().reseller_admin_role;
        asker.caller.as_ref().is_some_and(|caller| caller.has_role(role))
    }

    /// Who asks, about which project's buckets; and the bare name of the bucket.
    async fn asking<T>(&self, req: &S3Request<T>, place: &Place) -> S3Result<(Asker, String)> {
        let caller = match req.extensions.get::<Signed>() {
            Some(signed) => Some(self.0.keys.get(&signed.access).await?.caller.clone()),
            None => None,
        };
        let own = caller.as_ref().and_then(|caller| caller.project_id());
        if caller.is_some() && own.is_none() {
            return Err(s3_error!(
                AccessDenied,
                "The key is for no project: buckets are a project's."
            ));
        }
        let bucket = place.bucket().unwrap_or_default();
        let (named, bare) = match with_project(bucket) {
            Some((project, bare)) => (Some(project), bare),
            None => (None, bucket),
        };
        let expected = expected(&req.headers, "x-amz-expected-bucket-owner");
        if let (Some(named), Some(expected)) = (named, expected)
            && named != expected
        {
            return Err(s3_error!(AccessDenied));
        }
        let project = named.or(expected).or(own).ok_or_else(no_project)?.to_owned();
        let who = match &caller {
            Some(caller) => Who::Known(Arc::new(Identity::new(caller.clone(), None))),
            None => Who::Anonymous,
        };
        let asker = Asker {
            account: self.account_of(&project)?,
            caller,
            who,
            project,
            told: Arc::new(Told::of(req, self.0.clock.now())),
            limiter: req.extensions.get::<Arc<Limiter>>().cloned(),
            admitted: None,
        };
        Ok((asker, bare.to_owned()))
    }

    /// Judges a request before its operation begins, and notes who asked for
    /// the operation to find. The bare name of the bucket, and what the asker
    /// learns of what is not there.
    ///
    /// # Errors
    /// `AccessDenied`, then `NoSuchBucket`, then `MethodNotAllowed` where the account may
    /// only be read, then `SlowDown`.
    pub(crate) async fn admit<T>(
        &self,
        req: &mut S3Request<T>,
        action: &'static str,
        place: Place,
    ) -> S3Result<(String, Sight)> {
        if let Some(way) = req.extensions.get::<Way>() {
            way.is_judged();
        }
        let (mut asker, bucket) = self.asking(req, &place).await?;
        let action = match asker.told.version() {
            Some(_) => rules::of_version(action),
            None => action,
        };
        let mut sight = Sight::Full;
        match &place {
            // Who has a key has a list of buckets, be it an empty one.
            Place::Account if asker.caller.is_some() => {}
            // There is no bucket that could say who else may.
            Place::Account | Place::New(_) if self.by_role(&asker, action).granted() => {}
            Place::Account | Place::New(_) => return Err(asker.refused(action, Why::Nothing)),
            Place::Bucket(_) | Place::Batch(_) | Place::Object(..) => {
                let (admitted, seen) = self.enter(&asker, action, &place, &bucket).await?;
                asker.admitted = Some(admitted);
                sight = seen;
            }
        }
        let name = asker.admitted.as_ref().map(|admitted| &admitted.name);
        if req.method != Method::GET && req.method != Method::HEAD {
            let account = name.map_or_else(|| asker.account.clone(), ContainerName::account_name);
            if read_only::account(self.core(), self.config().read_only, &account).await {
                return Err(s3_error!(MethodNotAllowed));
            }
        }
        self.pace(&asker, rates::kind(&req.method, action, &place, name))
            .await?;
        req.extensions.insert(asker);
        Ok((bucket, sight))
    }

    async fn enter(
        &self,
        asker: &Asker,
        action: &'static str,
        place: &Place,
        bucket: &str,
    ) -> S3Result<(Admitted, Sight)> {
        let name = asker
            .account
            .container(bucket)
            .map_err(|_| s3_error!(InvalidBucketName))?;
        let key = match place {
            Place::Object(_, key) => Some(key.as_str()),
            _ => None,
        };
        let reads = rules::need(action) == Need::Read;
        let (info, unsure) = self.look(&name, reads).await?;
        let Some(info) = info else {
            // Only its owners learn that there is no such bucket.
            return Err(match self.by_role(asker, action).granted() {
                true => s3_error!(NoSuchBucket),
                false => asker.refused(action, Why::Nothing),
            });
        };
        let sight = match unsure {
            // What its lists say may be outdated: only who needs none goes on.
            Some(why) if !self.by_role(asker, action).granted() => return Err(why.into_fault()),
            Some(_) => Sight::Full,
            None if matches!(place, Place::Batch(_)) => Sight::Full,
            None => self.judge(asker, action, (&name, &info), key).await?,
        };
        Ok((Admitted { action, name, info }, sight))
    }

    /// What is known of a container; and why not more, if that is so.
    async fn look(
        &self,
        name: &ContainerName,
        reads: bool,
    ) -> S3Result<(Option<Arc<ContainerInfo>>, Option<Unavailable>)> {
        if !reads {
            return Ok((self.core().container_info(name).await.or_fault()?, None));
        }
        Ok(match self.core().container_for_reading(name).await.or_fault()? {
            ContainerForReading::Known(info) => (info, None),
            ContainerForReading::Unsure { info, why } => (Some(info), Some(why)),
        })
    }

    /// Who asked, as [`Self::admit`] noted.
    ///
    /// # Errors
    /// For a request that was not admitted.
    pub(crate) async fn asker<T>(&self, req: &S3Request<T>) -> S3Result<Asker> {
        let admitted = req.extensions.get::<Asker>();
        admitted.cloned().ok_or_else(|| s3_error!(AccessDenied))
    }

    /// What the roles of the asker permit in the account, whatever lists say.
    pub(crate) fn by_role(&self, asker: &Asker, action: &str) -> Verdict {
        let looks = rules::only_looks(action);
        let wish = Wish {
            method: if looks { &Method::GET } else { &Method::PUT },
            account: asker.account.as_str(),
            container: Some("."),
            object: true,
            acl: None,
            referer: None,
        };
        match decide(self.config(), &asker.who, &wish) {
            Verdict::Granted if !looks => Verdict::Denied,
            verdict => verdict,
        }
    }

    /// Whether the asker may, by role or by a list in the form of the other
    /// dialect.
    pub(crate) async fn by_list(&self, asker: &Asker, wish: &Wish<'_>) -> bool {
        let verdict = decide(self.config(), &asker.who, wish);
        match &asker.who {
            Who::Known(identity) if !verdict.granted() && wish.acl.is_some_and(|acl| acl.contains(':')) => {
                let domain = &self.config().default_domain_id;
                let learnt = identity.learn_names(&*self.0.directory, domain).await;
                decide(self.config(), &Who::Known(Arc::new(learnt)), wish).granted()
            }
            _ => verdict.granted(),
        }
    }

    /// Whether the asker may do this in a container that an object leads to, by
    /// what is known without asking anybody. Where lists are held back from the
    /// other dialect they do not count here either: policies are not asked.
    pub(crate) fn may_now(&self, asker: &Asker, method: &Method, info: &ContainerInfo) -> bool {
        let wish = Wish {
            method,
            account: &info.account,
            container: Some(&info.container),
            object: true,
            acl: meta(&info.meta, "x-container-read"),
            referer: asker.told.referer(),
        };
        decide(self.config(), &asker.who, &wish).granted()
    }

    /// The container behind the bucket that the request is about.
    ///
    /// # Errors
    /// For requests about none.
    pub(crate) fn settings_of(&self, asker: &Asker) -> S3Result<(ContainerName, Arc<ContainerInfo>)> {
        let admitted = asker.admitted.clone().ok_or_else(|| s3_error!(InternalError))?;
        Ok((admitted.name, admitted.info))
    }

    /// The container behind the bucket that the request is about.
    ///
    /// # Errors
    /// For requests about another one, and for operations that do more than
    /// they were judged by.
    pub(crate) async fn bucket(
        &self,
        asker: &Asker,
        action: Action,
        bucket: &str,
    ) -> S3Result<(ContainerName, Arc<ContainerInfo>)> {
        let admitted = asker.admitted.clone().ok_or_else(|| s3_error!(InternalError))?;
        match admitted.name.container() == bucket && action.is_covered_by(admitted.action) {
            true => Ok((admitted.name, admitted.info)),
            false => {
                tracing::error!(
                    action = admitted.action,
                    ?action,
                    "an operation does more than its row says"
                );
                Err(s3_error!(InternalError))
            }
        }
    }

    /// An object in the bucket that the request is about.
    ///
    /// # Errors
    /// For requests about another one.
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

    /// The source of a copy, in a bucket that may be another's, if the asker
    /// may read it.
    ///
    /// # Errors
    /// `AccessDenied`, then `NoSuchBucket`.
    pub(crate) async fn source_of(
        &self,
        asker: &Asker,
        bucket: &str,
        key: &str,
        version: Option<&str>,
    ) -> S3Result<ObjectName> {
        let own = asker.own_project().unwrap_or_else(|| asker.project());
        let said = asker.told.header("x-amz-source-expected-bucket-owner");
        let project = said.unwrap_or(own).to_owned();
        let reader = Asker {
            account: self.account_of(&project)?,
            project,
            admitted: None,
            ..asker.about(version)
        };
        let action = match version {
            Some(_) => "s3:GetObjectVersion",
            None => "s3:GetObject",
        };
        let place = Place::Object(bucket.to_owned(), key.to_owned());
        let (admitted, _) = self.enter(&reader, action, &place, bucket).await?;
        admitted.name.object(key).map_err(|_| s3_error!(InvalidURI))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_does_no_more_than_its_row_says() {
        for (does, judged, covered) in [
            (Action::Read, "s3:GetObject", true),
            (Action::Write, "s3:GetObject", false),
            (Action::Write, "s3:PutObject", true),
            (Action::Write, "s3:PutObjectTagging", true),
            (Action::Own, "s3:ListBucket", false),
            (Action::Own, "s3:PutObject", false),
            (Action::Own, "s3:PutBucketCORS", true),
            (Action::Own, "s3:PutBucketAcl", true),
        ] {
            assert_eq!(does.is_covered_by(judged), covered, "{does:?} {judged}");
        }
    }

    #[test]
    fn a_bucket_can_say_whose_it_is() {
        assert_eq!(with_project("p-1:bucket"), Some(("p-1", "bucket")));
        for bare in ["bucket", ":bucket", "p:q:bucket", "p.q:bucket", "p/q:bucket"] {
            assert_eq!(with_project(bare), None, "{bare}");
        }
    }
}
