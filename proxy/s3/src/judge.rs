//! Whether a request is allowed: roles, policy, access lists, in this order.
use http::{HeaderMap, Method, Uri};
use s3s::{S3Request, S3Result, s3_error};
use virga_node::clock::Micros;
use virga_object_wire::listing::ContainerInfo;
use virga_object_wire::object::ObjectStat;
use virga_proxy::core::ContainerName;
use virga_proxy::server::Origin;
use virga_proxy::swift::access::{Verdict, Wish};
use virga_proxy::swift::ratelimit::Kind;

use super::access::{Asker, Sight};
use super::acl::{self, Acl, Guest, Lists, ObjectAcl, Permission};
use super::object::find::Asked;
use super::policy::{self, EXISTING_TAG, Facts, Policy, Question, Ruling, Someone};
use super::public::{Block, Ownership};
use super::refusal::Why;
use super::request::{Signed, pairs};
use super::rules::{self, Need};
use super::{Backend, tagging};

/// What a request says, for those who judge it.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    uri: Uri,
    headers: HeaderMap,
    origin: Option<Origin>,
    signed: Option<Signed>,
    at: Micros,
    /// The version it names.
    version: Option<String>,
}

fn query(uri: &Uri, name: &str) -> Option<String> {
    let mut pairs = pairs(uri.query().unwrap_or_default());
    pairs.find(|(key, _)| key == name).map(|(_, value)| value)
}

impl Told {
    /// What a request says, now.
    pub(crate) fn of<T>(req: &S3Request<T>, now: Micros) -> Self {
        Self {
            version: query(&req.uri, "versionId"),
            uri: req.uri.clone(),
            headers: req.headers.clone(),
            origin: req.extensions.get::<Origin>().copied(),
            signed: req.extensions.get::<Signed>().cloned(),
            at: now,
        }
    }

    /// The same about another version.
    pub(crate) fn of_version(&self, version: Option<&str>) -> Self {
        Self {
            version: version.map(str::to_owned),
            ..self.clone()
        }
    }

    /// The version that is named.
    pub(crate) fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// The value of a header that is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The page that the request came from.
    pub(crate) fn referer(&self) -> Option<&str> {
        self.header("referer")
    }

    /// What of it policies may look at.
    fn facts(&self, asker: &Asker) -> Facts {
        let mut facts = Facts::default();
        facts.add_time(self.at);
        if let Some(origin) = self.origin {
            facts.add("aws:SourceIp", &origin.address.to_canonical().to_string());
            facts.add(
                "aws:SecureTransport",
                if origin.secure { "true" } else { "false" },
            );
        }
        for (key, name) in [("aws:Referer", "referer"), ("aws:UserAgent", "user-agent")] {
            if let Some(value) = self.header(name) {
                facts.add(key, value);
            }
        }
        for (key, name) in [
            ("s3:prefix", "prefix"),
            ("s3:delimiter", "delimiter"),
            ("s3:max-keys", "max-keys"),
        ] {
            if let Some(value) = query(&self.uri, name) {
                facts.add(key, &value);
            }
        }
        if let Some(version) = &self.version {
            facts.add("s3:VersionId", version);
        }
        let amazon = self
            .headers
            .keys()
            .filter(|name| name.as_str().starts_with("x-amz-"));
        for name in amazon {
            if let Some(value) = self.header(name.as_str()) {
                facts.add(&format!("s3:{name}"), value);
            }
        }
        for (tag, value) in
            tagging::parse(self.header("x-amz-tagging").unwrap_or_default()).unwrap_or_default()
        {
            facts.add(&format!("s3:RequestObjectTag/{tag}"), &value);
            facts.add("s3:RequestObjectTagKeys", &tag);
        }
        self.add_caller(asker, &mut facts);
        facts
    }

    fn add_caller(&self, asker: &Asker, facts: &mut Facts) {
        let Some(caller) = &asker.caller else {
            facts.add("aws:PrincipalType", "Anonymous");
            return;
        };
        facts.add("aws:PrincipalType", "User");
        facts.add("aws:userid", &caller.user_id);
        if let Some(project) = caller.project_id() {
            facts.add("aws:PrincipalAccount", project);
        }
        let Some(signed) = &self.signed else { return };
        facts.add("s3:authType", signed.place.name());
        if let Some(version) = signed.version {
            facts.add("s3:signatureversion", version);
        }
    }
}

/// Who asks, as policies name them.
fn someone(asker: &Asker) -> Option<Someone<'_>> {
    let caller = asker.caller.as_ref()?;
    Some(Someone {
        project: caller.project_id()?,
        user: &caller.user_id,
    })
}

/// What else than its own action a request does, by its headers.
fn besides(action: &str, told: &Told) -> Vec<&'static str> {
    let mut more = Vec::new();
    if action == "s3:PutObject" {
        if told.headers.contains_key("x-amz-tagging") {
            more.push("s3:PutObjectTagging");
        }
        if Acl::is_in(&told.headers) {
            more.push("s3:PutObjectAcl");
        }
        if told.headers.contains_key("x-amz-object-lock-legal-hold") {
            more.push("s3:PutObjectLegalHold");
        }
        if told.headers.contains_key("x-amz-object-lock-mode") {
            more.push("s3:PutObjectRetention");
        }
    }
    let bypasses = told.header("x-amz-bypass-governance-retention");
    if bypasses.is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        more.push("s3:BypassGovernanceRetention");
    }
    more
}

/// By what a request is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ground {
    Role,
    Policy,
    List,
}

/// A bucket with its policy, being asked about one thing.
struct Court<'a> {
    asker: &'a Asker,
    info: &'a ContainerInfo,
    key: Option<&'a str>,
    block: Block,
    policy: Option<std::sync::Arc<Policy>>,
    facts: Facts,
    resource: String,
}

impl Court<'_> {
    /// Whether this may be done to what is asked about.
    fn question<'a>(&'a self, action: &'a str) -> Question<'a> {
        Question {
            who: someone(self.asker),
            action,
            resource: &self.resource,
            facts: &self.facts,
        }
    }

    /// What the policy says about a question.
    fn ruling(&self, question: &Question<'_>) -> Ruling {
        let Some(policy) = &self.policy else {
            return Ruling::Silent;
        };
        let ruling = policy.rule(question);
        let stranger = self.asker.own_project() != Some(self.asker.project());
        let closed = stranger && self.block.restrict_public_buckets && policy.is_public();
        match ruling {
            Ruling::Allowed if closed => Ruling::Silent,
            ruling => ruling,
        }
    }

    /// Whether lists count at all.
    fn has_lists(&self) -> bool {
        Ownership::of(self.info) != Some(Ownership::Enforced)
    }

    /// Whether lists may let in whom nobody knows beforehand.
    fn public(&self) -> bool {
        !self.block.ignore_public_acls
    }
}

impl Backend {
    /// Lets the asker do this to the bucket, or to the object `key`.
    ///
    /// # Errors
    /// `AccessDenied`.
    pub(crate) async fn judge(
        &self,
        asker: &Asker,
        action: &str,
        (name, info): (&ContainerName, &ContainerInfo),
        key: Option<&str>,
    ) -> S3Result<Sight> {
        let mut court = Court {
            asker,
            info,
            key,
            block: Block::of(info),
            policy: self.policy(name, info, asker.project()),
            facts: Facts::default(),
            resource: match key {
                Some(key) => format!("{}/{key}", name.container()),
                None => name.container().to_owned(),
            },
        };
        if let Some(policy) = &court.policy {
            court.facts = self.facts(asker, policy, name, key).await?;
        }
        let refused = |action: &str, why| Err(asker.refused(action, why));
        let role = self.by_role(asker, action);
        let ruling = court.ruling(&court.question(action));
        let mending = policy::settings::MENDING.contains(&action);
        // A policy gives nobody the power over itself but its own project; and nobody takes it
        // from owners, or a policy that denies everything to everyone could not be mended.
        if mending && role != Verdict::Owner && asker.guest() != Guest::Member {
            return refused(action, Why::Nothing);
        }
        if ruling == Ruling::Denied && !(mending && role == Verdict::Owner) {
            return refused(action, Why::Policy);
        }
        let ground = if role.granted() {
            Ground::Role
        } else if ruling == Ruling::Allowed {
            Ground::Policy
        } else if self.by_lists(&court, action, name).await? {
            Ground::List
        } else {
            return refused(action, Why::Nothing);
        };
        for more in besides(action, &asker.told) {
            let given_up = more == "s3:BypassGovernanceRetention";
            match court.ruling(&court.question(more)) {
                Ruling::Denied => return refused(more, Why::Policy),
                Ruling::Silent if ground == Ground::Policy => return refused(more, Why::Nothing),
                Ruling::Silent if ground == Ground::List && given_up => return refused(more, Why::Nothing),
                Ruling::Silent | Ruling::Allowed => {}
            }
        }
        let sees = ground == Ground::Role || rules::need(action) != Need::Read || self.may_list(&court).await;
        Ok(match sees {
            true => Sight::Full,
            false => Sight::Blind(asker.refused(action, Why::Nothing)),
        })
    }

    /// Whether the asker may delete one of several objects, now.
    ///
    /// # Errors
    /// `AccessDenied`, then `SlowDown`.
    pub(crate) async fn judge_deletion(
        &self,
        asker: &Asker,
        key: &str,
        version: Option<&str>,
    ) -> S3Result<()> {
        let (name, info) = self.settings_of(asker)?;
        let deleter = asker.about(version);
        let action = match version {
            Some(_) => "s3:DeleteObjectVersion",
            None => "s3:DeleteObject",
        };
        self.judge(&deleter, action, (&name, &info), Some(key)).await?;
        self.pace(asker, Some(Kind::Objects(name))).await
    }

    /// What a policy may look at, as far as this one does.
    async fn facts(
        &self,
        asker: &Asker,
        policy: &Policy,
        name: &ContainerName,
        key: Option<&str>,
    ) -> S3Result<Facts> {
        let mut facts = asker.told.facts(asker);
        if policy.looks_at("aws:username")
            && let Some(caller) = &asker.caller
            && let Some(user) = self.0.directory.user(&caller.user_id).await
        {
            facts.add("aws:username", &user.name);
        }
        if policy.looks_at(EXISTING_TAG)
            && let Some(key) = key
            && let Some(stat) = self.stat_of(asker, name, key).await?
        {
            for (tag, value) in tagging::of(&stat) {
                facts.add(&format!("{EXISTING_TAG}{tag}"), &value);
            }
        }
        Ok(facts)
    }

    /// The version of an object that a request is about, if there is one.
    async fn stat_of(&self, asker: &Asker, name: &ContainerName, key: &str) -> S3Result<Option<ObjectStat>> {
        let name = name.object(key).map_err(|_| s3_error!(InvalidURI))?;
        let asked = Asked::of(asker.told.version())?;
        match self.find(&name, asked, None).await {
            Ok(found) => Ok(Some(found.stat)),
            Err(error) if error.status_code().is_some_and(|status| status.is_server_error()) => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// Whether a list of the bucket or of the object permits it.
    async fn by_lists(&self, court: &Court<'_>, action: &str, name: &ContainerName) -> S3Result<bool> {
        let (asker, info) = (court.asker, court.info);
        if !court.has_lists() {
            return Ok(false);
        }
        let more = |wanted| acl::gives(info, asker.guest(), wanted, court.public());
        let of_object = match rules::need(action) {
            Need::List => return Ok(self.by_bucket(court, false, false).await),
            Need::Write => return Ok(self.by_bucket(court, true, true).await),
            Need::ReadBucketAcl => return Ok(more(Permission::ReadAcp)),
            Need::WriteBucketAcl => return Ok(more(Permission::WriteAcp)),
            Need::Owner => return Ok(false),
            Need::Read if self.by_bucket(court, true, false).await => return Ok(true),
            Need::Read => Permission::Read,
            Need::ReadAcl => Permission::ReadAcp,
            Need::WriteAcl => Permission::WriteAcp,
        };
        let Some(key) = court.key else { return Ok(false) };
        match self.stat_of(asker, name, key).await? {
            Some(stat) => {
                let acl = ObjectAcl::of(&stat, asker.project());
                let owns = asker.guest() == Guest::Of(&acl.owner) && of_object != Permission::Read;
                Ok(owns || acl.list.gives(asker.guest(), of_object, court.public()))
            }
            // Who may list the bucket may know that the object is not there.
            None => Ok(self.may_list(court).await),
        }
    }

    /// Whether somebody whom no role lets in may list the bucket.
    async fn may_list(&self, court: &Court<'_>) -> bool {
        let list = Question {
            resource: court.info.container.as_str(),
            ..court.question("s3:ListBucket")
        };
        match court.ruling(&list) {
            Ruling::Denied => false,
            Ruling::Allowed => true,
            Ruling::Silent => court.has_lists() && self.by_bucket(court, false, false).await,
        }
    }

    /// Whether the bucket's own lists permit it.
    async fn by_bucket(&self, court: &Court<'_>, object: bool, writes: bool) -> bool {
        let lists = match court.public() {
            true => Lists::of(court.info),
            false => Lists::of(court.info).without_public(),
        };
        let wish = Wish {
            method: if writes { &Method::PUT } else { &Method::GET },
            account: court.asker.account.as_str(),
            container: Some(&court.info.container),
            object,
            acl: Some(if writes { &lists.write } else { &lists.read }),
            referer: court.asker.told.referer(),
        };
        self.by_list(court.asker, &wish).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_as_forms_are() {
        let uri: Uri = "/b?list-type=2&prefix=a+b%2Fc&max-keys".parse().unwrap();
        assert_eq!(query(&uri, "prefix").as_deref(), Some("a b/c"));
        assert_eq!(query(&uri, "max-keys").as_deref(), Some(""));
        assert_eq!(query(&uri, "delimiter"), None);
    }
}
