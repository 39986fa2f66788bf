//! Symbolic links: objects without bytes that stand for another object.
//!
//! A link is stored as an empty object; where it leads is kept where a POST
//! does not reach, and beside its ETag in the listing. Reading goes through a
//! [`Walk`], which asks for permission at every step. A link with an ETag is
//! good for exactly that object. Writing to a link writes the link.
use futures_util::stream;
use http::header::{CONTENT_LOCATION, CONTENT_TYPE, HeaderMap, HeaderName};
use http::{Method, StatusCode};
use virga_object_wire::object::{Header, Listed, ObjectStat};

use super::body::Answer;
use super::conditional::unquote_etag;
use super::fault::Fault;
use super::object::{Announced, Extra, authorized_container, live_head, store};
use super::query::Query;
use super::upload::Upload;
use super::versions::name::VersionId;
use super::{Ctx, headers, slo, sysmeta, target, versions};
use crate::core::ObjectName;

/// Where a link leads: container and object, percent-encoded.
pub const TARGET: &str = "x-symlink-target";
/// In which account, if not the link's own.
const ACCOUNT: &str = "x-symlink-target-account";
/// What the target's ETag must be.
pub const TARGET_ETAG: &str = "x-symlink-target-etag";
/// All that is shown of a link (`?symlink=get`) and copied with it, with the
/// names under which it is kept.
const KEPT: [(&str, &str); 4] = [
    (TARGET, "x-object-sysmeta-symlink-target"),
    (ACCOUNT, "x-object-sysmeta-symlink-target-account"),
    (TARGET_ETAG, "x-object-sysmeta-symlink-target-etag"),
    ("x-symlink-target-bytes", "x-object-sysmeta-symlink-target-bytes"),
];
const EMPTY_ETAG: &str = "d41d8cd98f00b204e9800998ecf8427e";
const FORM: &str = "X-Symlink-Target header must be of the form <container name>/<object name>";

/// A stored link.
#[derive(Clone, Copy, Debug)]
pub struct Link<'a> {
    target: &'a str,
    account: Option<&'a str>,
    /// The ETag its target must have, without quotes.
    pub etag: Option<&'a str>,
}

impl<'a> Link<'a> {
    /// The link that an object is, if it is one.
    pub fn of(stat: &'a ObjectStat) -> Option<Self> {
        Some(Self {
            target: sysmeta(stat, KEPT[0].1)?,
            account: sysmeta(stat, KEPT[1].1),
            etag: sysmeta(stat, KEPT[2].1),
        })
    }

    /// Path of the target, percent-encoded, for a link called `own`.
    pub fn path(&self, own: &ObjectName) -> String {
        path(own.account(), self.account, self.target)
    }

    /// Name of the target, for a link called `own`; `None` for what is no name.
    pub fn name(&self, own: &ObjectName) -> Option<ObjectName> {
        let account = match self.account {
            Some(account) => target::percent_decode_utf8(account)?,
            None => own.account().to_owned(),
        };
        let decoded = target::percent_decode_utf8(self.target)?;
        let (container, object) = decoded.split_once('/')?;
        ObjectName::new(&account, container, object).ok()
    }
}

/// Path of a link's target. `account` and `to` are percent-encoded, `own` is not.
pub fn path(own: &str, account: Option<&str>, to: &str) -> String {
    match account {
        Some(account) => format!("/v1/{account}/{to}"),
        None => format!("/v1/{}/{to}", target::quote(own)),
    }
}

/// Adds to the headers of a link where it leads.
pub fn show(stat: &ObjectStat, into: &mut HeaderMap) {
    for (shown, kept) in KEPT {
        if let Some(value) = sysmeta(stat, kept) {
            headers::put(into, shown, value);
        }
    }
}

/// What a copy of a link takes over from it.
pub fn copied(name: &HeaderName) -> bool {
    KEPT[..3].iter().any(|(shown, _)| name == shown)
}

/// From link to link to an object that is none.
pub struct Walk {
    name: ObjectName,
    /// The ETag that the last link asks for.
    etag: Option<String>,
    links: usize,
    /// Path of where we are, once a link was followed.
    location: Option<String>,
    /// Whether links without an ETag are followed.
    all: bool,
    /// Whether we are at a version of the object that was named last. Who may
    /// read that may read its current version.
    inside: bool,
    /// The version that was asked for by its id, else the one entered last.
    version: Option<VersionId>,
    /// Whether that version was asked for by its id.
    by_id: bool,
    /// Whether versions of the object that was asked for are or were kept.
    versioned: bool,
    /// Whether an object with a version is none.
    only_null: bool,
}

impl Walk {
    /// Begins at an object that may be a link.
    pub fn from(name: &ObjectName) -> Self {
        Self {
            name: name.clone(),
            etag: None,
            links: 0,
            location: None,
            all: true,
            inside: false,
            version: None,
            by_id: false,
            versioned: false,
            only_null: false,
        }
    }

    /// Begins at this version of the object instead of the current one.
    pub fn begin_at(&mut self, id: VersionId) {
        self.name = versions::name::object_of(&self.name, id);
        (self.inside, self.version, self.by_id) = (true, Some(id), true);
    }

    /// Finds only what was stored while no versions were kept.
    pub fn only_without_version(&mut self) {
        self.only_null = true;
    }

    /// Asks whether the caller may read what is here. Versions need no
    /// permission of their own.
    ///
    /// # Errors
    /// As [`authorized_container`].
    pub async fn authorize(&mut self, ctx: &Ctx, method: &Method) -> Result<(), Fault> {
        if self.inside {
            return Ok(());
        }
        let info = authorized_container(ctx, method, &self.name).await?;
        if self.links == 0 {
            self.versioned = versions::Keeping::has_versions(&info);
        }
        Ok(())
    }

    /// Goes on to the current version if `stat`, which was found where we are,
    /// leads there.
    ///
    /// # Errors
    /// 404 for a version that marks a deletion, and for one where none is wanted.
    pub fn enter(&mut self, stat: &ObjectStat) -> Result<bool, Fault> {
        if let Some(id) = self.version.filter(|_| self.inside) {
            versions::handle::refuse_marker(stat, id)?;
        }
        let Some(id) = versions::link::of(stat).filter(|_| !self.inside) else {
            return Ok(false);
        };
        if self.only_null && self.links == 0 {
            return Err(Fault::not_found());
        }
        self.name = versions::name::object_of(&self.name, id);
        self.inside = true;
        if !self.by_id {
            self.version = Some(id);
        }
        Ok(true)
    }

    /// Where we are.
    pub fn name(&self) -> &ObjectName {
        &self.name
    }

    /// Goes on to the target if `stat`, which was found where we are, is a
    /// link; false at the end.
    ///
    /// # Errors
    /// 409 if it is not what the last link asks for, or after `most` links.
    pub fn step(&mut self, stat: &ObjectStat, most: usize) -> Result<bool, Fault> {
        let conflict = |says: String| Fault::plain(StatusCode::CONFLICT, says);
        let link = Link::of(stat).filter(|link| self.all || link.etag.is_some());
        let found = link.and_then(|link| link.etag).unwrap_or(&stat.meta.etag);
        let wanted = self.etag.as_deref().filter(|wanted| *wanted != found);
        let Some(link) = link else {
            return match wanted {
                None => Ok(false),
                Some(wanted) => Err(conflict(format!(
                    "Object Etag '{found}' does not match X-Symlink-Target-Etag header '{wanted}'"
                ))),
            };
        };
        if wanted.is_some() {
            return Err(conflict("X-Symlink-Target-Etag headers do not match".into()));
        }
        if self.links >= most {
            return Err(conflict(format!(
                "Too many levels of symbolic links, maximum allowed is {most}"
            )));
        }
        let location = link.path(&self.name);
        // What was stored was checked; a name that is none leads nowhere.
        self.name = link.name(&self.name).ok_or_else(Fault::not_found)?;
        self.etag = link.etag.map(str::to_owned);
        self.location = Some(location);
        self.inside = false;
        self.links += 1;
        Ok(true)
    }

    /// Says in the answer where it comes from, good or bad.
    pub fn finish(self, asked: &ObjectName, outcome: Result<Answer, Fault>) -> Result<Answer, Fault> {
        let of_version = |id| {
            format!(
                "{}?version-id={id}",
                target::quote(&format!("/v1/{}", asked.path()))
            )
        };
        let location = match (self.location, self.version) {
            (None, Some(id)) if !self.by_id => Some(of_version(id)),
            (location, _) => location,
        };
        let location = location.map(|location| headers::to_value(&location));
        match outcome {
            Ok(mut answer) => {
                let into = answer.headers_mut();
                into.extend(location.map(|location| (CONTENT_LOCATION, location)));
                match self.version {
                    Some(id) => into.extend([versions::handle::id_header(id)]),
                    None if self.versioned || self.only_null => {
                        headers::put(into, versions::ID_HEADER, versions::NULL_ID);
                    }
                    None => {}
                }
                Ok(answer)
            }
            Err(fault) => Err(match location {
                Some(location) => fault.with(CONTENT_LOCATION, location),
                None => fault,
            }),
        }
    }
}

/// Walks to the end and returns the head of what is there.
///
/// # Errors
/// 401, 403 or 404 as for reading each object on the way, 409 as
/// [`Walk::step`].
pub async fn head(ctx: &Ctx, walk: &mut Walk) -> Result<ObjectStat, Fault> {
    loop {
        walk.authorize(ctx, &Method::HEAD).await?;
        let stat = live_head(ctx, walk.name()).await?;
        if walk.enter(&stat)? {
            continue;
        }
        if !walk.step(&stat, ctx.config().symloop_max)? {
            return Ok(stat);
        }
    }
}

/// PUT of a link: the request must not have a body.
///
/// # Errors
/// 400 for a body, a link to itself and a bad ETag; 409 if there is not what
/// the ETag asks for.
pub async fn put(
    ctx: &Ctx,
    name: &ObjectName,
    announced: Announced,
    upload: Option<Upload>,
) -> Result<Answer, Fault> {
    authorized_container(ctx, &Method::PUT, name).await?;
    let too_much = || Fault::bad("Symlink requests require a zero byte body");
    let announced = match (announced, upload) {
        (Announced::Length(1..), _) => return Err(too_much()),
        (Announced::Chunked, Some(mut upload)) => {
            let read = upload.read_all(0).await;
            read.map_err(|fault| match fault.status() {
                StatusCode::PAYLOAD_TOO_LARGE => too_much(),
                _ => fault,
            })?;
            Announced::Length(0)
        }
        (announced, _) => announced,
    };
    let wanted = Wanted::read(&ctx.headers, name)?;
    let mut asked = ctx.headers.clone();
    let mut listed = EMPTY_ETAG.to_owned();
    let mut bytes = None;
    match &wanted.etag {
        Some(etag) => {
            let stat = verify(ctx, &wanted.name, etag).await?;
            let large = slo::known(&stat);
            if let Some((_, slo_etag)) = &large {
                listed.push_str(&format!("; slo_etag={slo_etag}"));
            }
            bytes = Some(large.map_or(stat.size, |(size, _)| size));
            if asked.get(CONTENT_TYPE).is_none_or(|kind| kind.is_empty()) {
                asked.insert(CONTENT_TYPE, headers::to_value(&stat.meta.content_type));
            }
        }
        None if asked.get(CONTENT_TYPE).is_none_or(|kind| kind.is_empty()) => {
            asked.insert(CONTENT_TYPE, headers::to_value("application/symlink"));
        }
        None => {}
    }
    let sysmeta = wanted.kept(bytes);
    for (key, value) in &sysmeta {
        let key = key.trim_start_matches("x-object-sysmeta-").replace('-', "_");
        listed.push_str(&format!("; {key}={value}"));
    }
    let extra = Extra {
        sysmeta,
        listed: Some(Listed {
            size: 0,
            etag: listed,
        }),
        ..Extra::default()
    };
    let ctx = ctx.derived(Method::PUT, asked, Query::default());
    store(&ctx, name, stream::empty(), announced, extra).await
}

/// What the request for a new link says.
struct Wanted {
    name: ObjectName,
    /// Percent-encoded, if given.
    account: Option<String>,
    /// Without quotes.
    etag: Option<String>,
}

impl Wanted {
    fn read(asked: &HeaderMap, own: &ObjectName) -> Result<Self, Fault> {
        let account = match asked.get(ACCOUNT) {
            Some(account) => Some(target::parse_account(account.as_bytes())?),
            None => None,
        };
        let to = asked.get(TARGET).map(|to| to.as_bytes()).unwrap_or_default();
        let plain = |fault: Fault| Fault::plain(fault.status(), fault.text());
        if target::percent_decode(to).starts_with(b"/") {
            return Err(Fault::plain(StatusCode::PRECONDITION_FAILED, FORM));
        }
        let in_account = account.as_ref().map_or(own.account(), |account| account.as_str());
        let name = target::parse_pair(to, in_account, FORM).map_err(plain)?;
        if name == *own {
            return Err(Fault::bad("Symlink cannot target itself"));
        }
        let etag = headers::text(asked, TARGET_ETAG)
            .map(|etag| unquote_etag(etag.trim()))
            .filter(|etag| !etag.is_empty());
        if etag.is_some_and(|etag| etag.contains([';', '"', '\\'])) {
            return Err(Fault::bad("Bad X-Symlink-Target-Etag format"));
        }
        Ok(Self {
            name,
            account: account.map(|account| target::quote(account.as_str())),
            etag: etag.map(str::to_owned),
        })
    }

    fn kept(self, bytes: Option<u64>) -> Vec<Header> {
        let pair = format!("{}/{}", self.name.container(), self.name.object());
        let values = [
            Some(target::quote(&pair)),
            self.account,
            self.etag,
            bytes.map(|bytes| bytes.to_string()),
        ];
        KEPT.iter()
            .zip(values)
            .filter_map(|((_, kept), value)| Some(((*kept).to_owned(), value?)))
            .collect()
    }
}

/// Makes sure that what a link with an ETag leads to is there and has it. A
/// link without an ETag is itself what is meant.
async fn verify(ctx: &Ctx, name: &ObjectName, etag: &str) -> Result<ObjectStat, Fault> {
    let mut walk = Walk {
        etag: Some(etag.to_owned()),
        all: false,
        ..Walk::from(name)
    };
    let found = head(ctx, &mut walk).await;
    let at = format!("/v1/{}", target::quote(walk.name().path()));
    found.map_err(|fault| match fault.status() {
        StatusCode::NOT_FOUND => {
            let says = "X-Symlink-Target does not exist";
            Fault::plain(StatusCode::CONFLICT, says).with(CONTENT_LOCATION, headers::to_value(&at))
        }
        StatusCode::CONFLICT => fault.with(CONTENT_LOCATION, headers::to_value(&at)),
        _ => fault,
    })
}

/// The answer to a POST that was applied to a link.
pub fn redirected(link: &Link<'_>, name: &ObjectName) -> Fault {
    let says = "The requested POST was applied to a symlink. POST directly to the target to apply requested metadata.";
    let fault = Fault::html(StatusCode::TEMPORARY_REDIRECT, says)
        .with(http::header::LOCATION, headers::to_value(&link.path(name)));
    match link.etag {
        Some(etag) => fault.with(HeaderName::from_static(TARGET_ETAG), headers::to_value(etag)),
        None => fault,
    }
}
