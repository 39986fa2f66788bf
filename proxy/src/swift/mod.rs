//! The Swift API: accounts, containers and objects over HTTP.
//!
//! [`Swift::handle`] takes a request apart once (path, query, who is asking),
//! then one handler per level and method does the work through the
//! [`Core`]. Knows no sockets (see `crate::server`) and no nodes.
mod accept;
pub mod access;
mod account;
mod account_acl;
mod acl;
pub mod actions;
mod archive;
pub mod auth_v1;
pub mod body;
mod bulk;
#[cfg(test)]
mod compat;
pub mod conditional;
pub mod config;
mod container;
mod container_sync;
mod content_type;
mod cors;
mod dlo;
pub mod domain_remap;
mod etag_quoter;
pub mod fault;
pub mod formpost;
#[cfg(test)]
mod fuzz_bodies;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzed;
pub mod headers;
mod info;
mod listing;
mod methods;
mod object;
pub mod pages;
mod query;
pub mod quota;
mod range;
pub mod ratelimit;
pub mod read_only;
mod report;
mod slo;
mod staticweb;
mod symlink;
mod target;
mod tempurl;
mod timestamp;
pub mod transaction;
pub mod upload;
pub mod versions;

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, StatusCode};
use hyper::body::Incoming;
use tokio::sync::OnceCell;
use virga_identity_api::verify::{Directory, TokenVerifier};
use virga_node::clock::{Clock, Micros};
use virga_node::task::Tasks;

use crate::core::{AccountName, ContainerName, Core};
use access::{Identity, Verdict, Who, Wish};
use account_acl::AccountAcl;
use actions::Level;
use auth_v1::PasswordLogin;
use body::{Answer, full};
use config::Config;
use fault::Fault;
use methods::not_allowed;
use query::Query;
use ratelimit::Limiter;
use target::Target;
use upload::{Upload, UploadBounds};

pub use symlink::Link;

/// What the Swift API is made of.
pub struct SwiftParts {
    /// Where objects are.
    pub core: Core,
    /// Settings.
    pub config: Config,
    /// What `/info` says of another dialect at the same door.
    pub beside: Option<(&'static str, serde_json::Value)>,
    /// From tokens to callers.
    pub verifier: Arc<dyn TokenVerifier>,
    /// From ids to names.
    pub directory: Arc<dyn Directory>,
    /// Tokens for passwords, if this process can give them.
    pub login: Option<Arc<dyn PasswordLogin>>,
    /// Whether connections are inside TLS.
    pub secure: bool,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Where bodies nobody wants are drained.
    pub tasks: Tasks,
    /// Bounds for bodies that arrive.
    pub uploads: UploadBounds,
}

/// The Swift API. Cheap to clone.
#[derive(Clone)]
pub struct Swift(Arc<SwiftParts>, Arc<Limiter>);

/// A request, taken apart.
struct Ctx {
    swift: Swift,
    method: Method,
    /// Path of the request as it came, percent-encoded.
    path: Arc<str>,
    headers: HeaderMap,
    query: Query,
    who: Who,
    /// `who` with the names that access lists may hold, once somebody needs
    /// them. They count only where [`Ctx::learn`] says so.
    learnt: OnceCell<Who>,
    /// The temporary URL of the request, if it is one for several objects.
    shared: Option<Arc<tempurl::Shared>>,
    /// The core, where objects count that have expired, if they do.
    opening_expired: Option<Core>,
    now: Micros,
}

impl Swift {
    /// Puts the parts together.
    pub fn new(parts: SwiftParts) -> Self {
        Self(Arc::new(parts), Arc::default())
    }

    /// Answers a request. `path` is that of the request, still encoded.
    pub async fn handle(&self, request: Request<Incoming>, peer: IpAddr) -> Answer {
        self.route(request, peer).await.unwrap_or_else(Fault::into_answer)
    }

    async fn route(&self, request: Request<Incoming>, peer: IpAddr) -> Result<Answer, Fault> {
        let (mut parts, body) = request.into_parts();
        let hesitant = parts.headers.contains_key("expect");
        let upload = Upload::new(body, hesitant, self.0.uploads.clone(), self.0.tasks.clone());
        let query = Query::parse(parts.uri.query());
        if parts.uri.path() == pages::HEALTHCHECK {
            return Ok(plain("OK"));
        }
        if parts.uri.path() == pages::CROSS_DOMAIN
            && let Some(policy) = info::cross_domain(&self.0.config)
        {
            let mut answer = Answer::new(full(policy));
            let xml = HeaderValue::from_static("application/xml");
            answer.headers_mut().insert(CONTENT_TYPE, xml);
            return Ok(answer);
        }
        if auth_v1::is_one(parts.uri.path(), &parts.headers) {
            let now = self.0.clock.now();
            return auth_v1::answer(self, &parts.method, &parts.headers, (peer, now)).await;
        }
        let host = headers::text(&parts.headers, "host").unwrap_or_default();
        let remapped = domain_remap::remap(&self.0.config, host, parts.uri.path())?;
        if remapped.is_none() && parts.uri.path() == pages::INFO {
            return info::answer(&self.0.config, self.0.beside.clone(), &parts.method);
        }
        if is_s3(&parts.headers, &query) {
            return Ok(s3_not_implemented());
        }
        let target = target::parse(remapped.as_deref().unwrap_or(parts.uri.path()))?;
        let mut parts_headers = std::mem::take(&mut parts.headers);
        headers::fold(&mut parts_headers);
        let switch = parts_headers.get(read_only::HEADER).cloned();
        headers::drop_internal(&mut parts_headers);
        methods::check(&self.0.config, &parts.method, &target)?;
        let mut ctx = Ctx {
            swift: self.clone(),
            method: parts.method,
            path: parts.uri.path().into(),
            headers: parts_headers,
            query,
            who: Who::Anonymous,
            learnt: OnceCell::new(),
            shared: None,
            opening_expired: None,
            now: self.0.clock.now(),
        };
        let locked = read_only::is_locked(&ctx, &target).await?;
        if locked && !(switch.is_some() && read_only::may_switch(&ctx, &target)) {
            return Err(read_only::refused());
        }
        if ctx.method != Method::OPTIONS && tempurl::claimed(&ctx.query) {
            return self.temporary(ctx, target, upload, peer).await;
        }
        if formpost::is_one(&ctx.method, &ctx.headers) {
            let origin = cors::Origin::of_target(&ctx, &target);
            let path = remapped.as_deref().unwrap_or(parts.uri.path());
            return cors::finish(origin, formpost::handle(ctx, target, path, upload).await).await;
        }
        ctx.who = self.identify(&ctx.headers, (&ctx.method, &ctx.path)).await?;
        read_only::switch(&mut ctx, &target, switch, locked)?;
        ctx.open_expired();
        if archive::is_wanted(&ctx) {
            return archive::extract(ctx, target, upload).await;
        }
        dispatch(ctx, target, upload).await
    }

    async fn identify(&self, headers: &HeaderMap, call: (&Method, &str)) -> Result<Who, Fault> {
        let text = |name| {
            headers::text(headers, name)
                .map(str::trim)
                .filter(|text| !text.is_empty())
        };
        // RFC 6750, as OpenStack's services take it behind the filter `oauth2_token`.
        let bearer = || {
            let (kind, token) = text("authorization")?.split_once(' ')?;
            kind.eq_ignore_ascii_case("bearer").then(|| token.trim())
        };
        let token = text("x-auth-token").or_else(|| text("x-storage-token"));
        let token = token.or_else(bearer);
        access::identify(&*self.0.verifier, token, text("x-service-token"), call)
            .await
            .map_err(|error| {
                tracing::warn!(%error, "cannot verify tokens");
                Fault::page(StatusCode::SERVICE_UNAVAILABLE)
            })
    }

    /// A request with a temporary URL: verified, done, and its answer dressed.
    async fn temporary(
        &self,
        mut ctx: Ctx,
        target: Target,
        upload: Upload,
        peer: IpAddr,
    ) -> Result<Answer, Fault> {
        let url = tempurl::parse(
            &ctx.query,
            &self.0.config.tempurl_digests,
            ctx.now.as_secs(),
            peer,
        )?;
        let container = match &target {
            Target::Object(object) => object.container_name(),
            Target::Container(name) => name.clone(),
            Target::Account(_) => return Err(tempurl::invalid()),
        };
        let keys = tempurl::keys_of(&self.0.core, &container).await?;
        let scope = url.verify(&ctx.method, &target, &keys)?;
        url.check_headers(&ctx.method, &ctx.headers)?;
        ctx.who = Who::TempUrl(scope);
        ctx.shared = tempurl::TempUrl::shared(&ctx.query).map(Arc::new);
        // Containers themselves are never signed for, only what a site shows of them.
        if matches!(target, Target::Container(_)) && !staticweb::is_site(&ctx, &container).await? {
            return Err(tempurl::invalid());
        }
        // The signature covers the path alone: nothing else that was asked counts
        // but a proof, which says nothing that the bytes do not say.
        ctx.query = ctx.query.only(&object::PROOF_PARAMETERS);
        let method = ctx.method.clone();
        let mut answer = dispatch(ctx, target.clone(), upload)
            .await
            .unwrap_or_else(Fault::into_answer);
        url.dress(&method, &target, &mut answer);
        Ok(answer)
    }
}

async fn dispatch(ctx: Ctx, target: Target, upload: Upload) -> Result<Answer, Fault> {
    if bulk::is_wanted(&ctx) {
        return bulk::delete(ctx, target.account(), upload).await;
    }
    ratelimit::admit(&ctx, &target).await?;
    match target {
        Target::Account(name) => account::handle(ctx, name).await,
        Target::Container(name) if ctx.method == Method::OPTIONS => cors::preflight(&ctx, &name, false).await,
        Target::Object(name) if ctx.method == Method::OPTIONS => {
            cors::preflight(&ctx, &name.container_name(), true).await
        }
        Target::Container(name) => {
            let origin = cors::Origin::of(&ctx, name.clone());
            let answer = match staticweb::applies(&ctx) {
                true => staticweb::site(ctx, name).await,
                false => container::handle(ctx, name).await,
            };
            cors::finish(origin, answer).await
        }
        Target::Object(name) => {
            let origin = cors::Origin::of(&ctx, name.container_name());
            let (swift, container) = (ctx.swift.clone(), name.container_name());
            let answer = match staticweb::applies(&ctx) {
                true => staticweb::page(&ctx, &name).await,
                false => object::handle(ctx, name, upload).await,
            };
            let answer = match answer {
                Ok(answer) => Ok(etag_quoter::quote(&swift, &container, answer).await),
                refused => refused,
            };
            cors::finish(origin, answer).await
        }
    }
}

/// Whether the request speaks S3.
fn is_s3(headers: &HeaderMap, query: &Query) -> bool {
    let authorization = headers::text(headers, "authorization").unwrap_or_default();
    authorization.starts_with("AWS4-HMAC-SHA256")
        || authorization.starts_with("AWS ")
        || query.has("X-Amz-Signature")
        || query.has("X-Amz-Algorithm")
        || query.has("AWSAccessKeyId")
}

fn s3_not_implemented() -> Answer {
    const SAYS: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>NotImplemented</Code><Message>S3 requests are not served here yet.</Message></Error>";
    let mut answer = Answer::new(full(SAYS));
    *answer.status_mut() = StatusCode::NOT_IMPLEMENTED;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    answer
}

fn plain(text: &'static str) -> Answer {
    let mut answer = Answer::new(full(text));
    answer.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=UTF-8"),
    );
    answer
}

/// A success without a body worth reading (201, 202, 204).
fn done(status: StatusCode) -> Answer {
    let mut answer = Answer::new(full(fault::page(status)));
    *answer.status_mut() = status;
    let html = HeaderValue::from_static("text/html; charset=UTF-8");
    answer.headers_mut().insert(CONTENT_TYPE, html);
    answer
}

/// Headers of containers and accounts that only their owner may see and set.
const OWNER_HEADERS: &[&str] = &[
    "x-container-read",
    "x-container-write",
    "x-container-sync-key",
    container_sync::TO,
    "x-account-meta-temp-url-key",
    "x-account-meta-temp-url-key-2",
    "x-container-meta-temp-url-key",
    "x-container-meta-temp-url-key-2",
    "x-account-access-control",
];

/// Takes out what only the owner may see or set.
fn drop_owner_headers(headers: &mut HeaderMap) {
    for name in OWNER_HEADERS {
        headers.remove(*name);
    }
}

/// The value of a metadata item.
fn meta_value<'a>(meta: &'a [virga_object_wire::listing::MetaItem], name: &str) -> Option<&'a str> {
    meta.iter()
        .find(|item| item.name == name && !item.value.is_empty())
        .map(|item| item.value.as_str())
}

/// The value of an item that the store keeps for itself.
fn sysmeta<'a>(stat: &'a virga_object_wire::object::ObjectStat, name: &str) -> Option<&'a str> {
    let mut all = stat.meta.sysmeta.iter();
    all.find(|(n, _)| n == name).map(|(_, value)| value.as_str())
}

impl Ctx {
    fn core(&self) -> &Core {
        self.opening_expired.as_ref().unwrap_or(&self.swift.0.core)
    }

    /// Lets objects count that have expired, if that is asked for and allowed.
    /// Temporary URLs never do.
    fn open_expired(&mut self) {
        let may = [Method::GET, Method::HEAD, Method::POST].contains(&self.method);
        if may && self.config().allow_open_expired && headers::truthy(&self.headers, "x-open-expired") {
            self.opening_expired = Some(self.core().opening_expired());
        }
    }

    fn config(&self) -> &Config {
        &self.swift.0.config
    }

    /// Whether the caller may do everything in every account.
    fn is_reseller_admin(&self) -> bool {
        matches!(&self.who, Who::Known(identity) if identity.caller.has_role(&self.config().reseller_admin_role))
    }

    /// The same request, as if it had this method and these headers.
    fn derived(&self, method: Method, headers: HeaderMap, query: Query) -> Self {
        Self {
            swift: self.swift.clone(),
            method,
            path: self.path.clone(),
            headers,
            query,
            who: self.who.clone(),
            learnt: self.learnt.clone(),
            shared: self.shared.clone(),
            opening_expired: None,
            now: self.now,
        }
    }

    fn wish<'a>(&'a self, method: &'a Method, account: &'a str, container: Option<&'a str>) -> Wish<'a> {
        let referer = headers::text(&self.headers, "referer");
        Wish {
            method,
            account,
            container,
            object: false,
            acl: None,
            referer,
        }
    }

    /// Whether the wish is granted. Names, and the access list of the account,
    /// are looked up only if they could help.
    async fn verdict(&self, wish: Wish<'_>) -> Result<Verdict, Fault> {
        let mut verdict = access::decide(self.config(), &self.who, &wish);
        if !verdict.granted() && wish.acl.is_some_and(|acl| acl::Acl::parse(acl).names_anyone()) {
            verdict = access::decide(self.config(), self.learn(wish.account).await, &wish);
        }
        // Whom a list let in may be an owner, who sees and sets more than objects.
        match (verdict, &self.who) {
            (Verdict::Owner, _) | (_, Who::Anonymous | Who::TempUrl(_)) => Ok(verdict),
            (Verdict::Granted, _) if wish.object => Ok(verdict),
            (Verdict::Granted | Verdict::Denied, Who::Known(_)) => match self.by_account(&wish).await? {
                Verdict::Denied => Ok(verdict),
                granted => Ok(granted),
            },
        }
    }

    /// What the access list of the account grants.
    async fn by_account(&self, wish: &Wish<'_>) -> Result<Verdict, Fault> {
        let Ok(name) = AccountName::new(wish.account) else {
            return Ok(Verdict::Denied);
        };
        let info = self.core().account_info(&name).await?;
        let Some(acl) = info.as_deref().and_then(AccountAcl::of) else {
            return Ok(Verdict::Denied);
        };
        match access::by_account(self.config(), &self.who, wish, &acl) {
            Verdict::Denied => {
                let learnt = self.learn(wish.account).await;
                Ok(access::by_account(self.config(), learnt, wish, &acl))
            }
            granted => Ok(granted),
        }
    }

    /// Who is asking, with names. They count only towards accounts whose
    /// project is in the default domain too.
    async fn learn(&self, account: &str) -> &Who {
        let Who::Known(identity) = &self.who else {
            return &self.who;
        };
        let (directory, domain) = (&*self.swift.0.directory, &self.config().default_domain_id);
        let project = account.split_once('_').map_or(account, |(_, project)| project);
        match directory.project(project).await {
            Some(project) if project.domain_id == *domain => {}
            _ => return &self.who,
        }
        self.learnt
            .get_or_init(|| async {
                let learnt: Identity = identity.learn_names(directory, domain).await;
                Who::Known(Arc::new(learnt))
            })
            .await
    }

    /// The answer to someone who may not: 403 if we know them, else 401.
    fn denied(&self, account: &str, (level, method): (Level, &Method)) -> Fault {
        match &self.who {
            Who::Known(_) => Fault::forbidden(actions::named(level, method)),
            Who::Anonymous | Who::TempUrl(_) => Fault::page(StatusCode::UNAUTHORIZED).challenged(account),
        }
    }

    /// Grants or denies a wish about a whole account.
    async fn authorize_account(&self, name: &AccountName) -> Result<Verdict, Fault> {
        match self.verdict(self.wish(&self.method, name.as_str(), None)).await? {
            Verdict::Denied => Err(self.denied(name.as_str(), (Level::Account, &self.method))),
            verdict => Ok(verdict),
        }
    }

    /// Grants or denies a wish about a container, or an object in it, under
    /// the access list that applies.
    async fn authorize_container(
        &self,
        method: &Method,
        name: &ContainerName,
        object: bool,
        acl: Option<&str>,
    ) -> Result<Verdict, Fault> {
        let wish = Wish {
            object,
            acl,
            ..self.wish(method, name.account(), Some(name.container()))
        };
        match self.verdict(wish).await? {
            Verdict::Denied => {
                let level = if object { Level::Object } else { Level::Container };
                Err(self.denied(name.account(), (level, method)))
            }
            verdict => Ok(verdict),
        }
    }

    /// A check for the containers of segments, to be asked later and elsewhere.
    async fn may_read(&self, account: &str) -> crate::core::manifest::MayRead {
        let any = self.wish(&Method::GET, account, Some("."));
        let mut whole = None;
        let who = match access::decide(self.config(), &self.who, &any) {
            Verdict::Denied => {
                // An account that cannot be asked opens nothing by its list.
                let listed = self.by_account(&any).await;
                whole = listed.is_ok_and(Verdict::granted).then(|| account.to_owned());
                self.learn(account).await.clone()
            }
            Verdict::Owner | Verdict::Granted => self.who.clone(),
        };
        let swift = self.swift.clone();
        let referer = headers::text(&self.headers, "referer").map(str::to_owned);
        Arc::new(move |info| {
            let wish = Wish {
                method: &Method::GET,
                account: &info.account,
                container: Some(&info.container),
                object: true,
                acl: meta_value(&info.meta, "x-container-read"),
                referer: referer.as_deref(),
            };
            whole.as_ref() == Some(&info.account) || access::decide(&swift.0.config, &who, &wish).granted()
        })
    }
}

/// Adds a header with a number.
fn put_number(headers: &mut HeaderMap, name: &'static str, number: u64) {
    headers.insert(HeaderName::from_static(name), HeaderValue::from(number));
}
