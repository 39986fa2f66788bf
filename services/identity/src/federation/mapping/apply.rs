//! What the rules of a mapping yield for an assertion.
use serde_json::{Map, Value};

use super::template::{FillError, fill, fill_object, has_parts};
use super::{Assertion, Rules, Version, schema};
use crate::auth::request::DomainRef;

/// Why nobody can be made out of an assertion.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MapError {
    /// No rule applies.
    #[error("no rule of the mapping applies")]
    NoMatch,
    /// A rule applies, but yields nothing that could be used.
    #[error("{0}")]
    Unusable(String),
}

impl From<FillError> for MapError {
    fn from(error: FillError) -> Self {
        Self::Unusable(match error {
            FillError::NoSuchPart => "a local part names a remote part that is not there".into(),
            FillError::Malformed => "the braces of a local part are malformed".into(),
        })
    }
}

/// The user whom the rules name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MappedUser {
    pub(crate) id: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) email: Option<String>,
    pub(crate) domain: Option<DomainRef>,
    /// Whether it is one of this cloud's own users.
    pub(crate) local: bool,
}

/// A project, and names of roles on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MappedProject {
    pub(crate) name: String,
    pub(crate) domain: Option<DomainRef>,
    pub(crate) roles: Vec<String>,
}

/// What the rules yield.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mapped {
    pub(crate) user: MappedUser,
    pub(crate) group_ids: Vec<String>,
    /// Groups by name and domain.
    pub(crate) groups: Vec<(String, DomainRef)>,
    pub(crate) projects: Vec<MappedProject>,
    /// Whether roles that are not among them any more are taken back.
    pub(crate) takes_back: bool,
}

/// Keys of a local part that name projects.
const PROJECTS: [&str; 2] = ["projects", "projects_json"];

fn unusable<T>(why: impl Into<String>) -> Result<T, MapError> {
    Err(MapError::Unusable(why.into()))
}

/// A text that must be one; a part that found several values, or none that was
/// let through, is not.
fn one(value: &Value, what: &str) -> Result<String, MapError> {
    match value {
        Value::String(text) => Ok(text.clone()),
        _ => unusable(format!("{what} has not exactly one value")),
    }
}

fn several(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        _ => Vec::new(),
    }
}

fn domain(value: Option<&Value>) -> Result<Option<DomainRef>, MapError> {
    let Some(map) = value.and_then(Value::as_object) else {
        return Ok(None);
    };
    Ok(match (map.get("id"), map.get("name")) {
        (Some(id), _) => Some(DomainRef::Id(one(id, "a domain's id")?)),
        (None, Some(name)) => Some(DomainRef::Name(one(name, "a domain's name")?)),
        (None, None) => None,
    })
}

fn user(map: &Map<String, Value>) -> Result<MappedUser, MapError> {
    let field = |name: &str| {
        map.get(name)
            .map(|v| one(v, &format!("the user's {name}")))
            .transpose()
    };
    Ok(MappedUser {
        id: field("id")?,
        name: field("name")?,
        email: field("email")?,
        domain: domain(map.get("domain"))?,
        local: field("type")?.as_deref() == Some("local"),
    })
}

fn project(value: &Value, default: Option<&DomainRef>) -> Result<MappedProject, MapError> {
    let roles = value.get("roles").and_then(Value::as_array);
    let name = |of: &Value, what: &str| one(of.get("name").unwrap_or(&Value::Null), what);
    Ok(MappedProject {
        name: name(value, "a project's name")?,
        domain: domain(value.get("domain"))?.or_else(|| default.cloned()),
        roles: roles
            .into_iter()
            .flatten()
            .map(|role| name(role, "a role's name"))
            .collect::<Result<_, _>>()?,
    })
}

/// The texts of a list written into a rule: `['a', 'b']`, as Python writes it.
fn written_list(text: &str) -> Option<Vec<String>> {
    let inner = text.trim().strip_prefix('[')?.strip_suffix(']')?;
    let item = |item: &str| {
        let item = item.trim();
        let quote = item.chars().next().filter(|c| *c == '\'' || *c == '"')?;
        let inner = item.strip_prefix(quote)?.strip_suffix(quote)?;
        Some(inner.to_owned()).filter(|text| !text.contains([quote, '\\']))
    };
    if inner.trim().is_empty() {
        return Some(Vec::new());
    }
    inner.split(',').map(item).collect()
}

/// A group of a provider's that says its domain itself: `JSON:{"name": …,
/// "domain": …}`.
fn group_in_json(text: &str) -> Option<Result<(String, DomainRef), MapError>> {
    let json = text.strip_prefix("JSON:")?;
    let read = || {
        let group: Value = serde_json::from_str(json).ok()?;
        let of = domain(group.get("domain")).ok()??;
        Some((group.get("name")?.as_str()?.to_owned(), of))
    };
    Some(read().ok_or_else(|| MapError::Unusable("a group in JSON has no name or domain".into())))
}

/// A local part, filled; and its own text where a list may be written into it.
struct Part<'r> {
    filled: Map<String, Value>,
    rule: &'r Map<String, Value>,
}

impl Part<'_> {
    /// The texts under `name`.
    fn list(&self, name: &str) -> Vec<String> {
        let written = self.rule.get(name).and_then(Value::as_str);
        let written = written.filter(|t| !has_parts(t)).and_then(written_list);
        written.unwrap_or_else(|| self.filled.get(name).map(several).unwrap_or_default())
    }

    fn groups(&self) -> Result<Vec<(String, DomainRef)>, MapError> {
        let of = domain(self.filled.get("domain"))?;
        let group = |name: String| match (group_in_json(&name), &of) {
            (Some(group), _) => group,
            (None, Some(of)) => Ok((name, of.clone())),
            (None, None) => unusable("'groups' needs a 'domain' beside it"),
        };
        self.list("groups").into_iter().map(group).collect()
    }

    fn projects(&self, version: Version) -> Result<Vec<MappedProject>, MapError> {
        let default = match version {
            Version::One => None,
            Version::Two | Version::Three => domain(self.filled.get("domain"))?,
        };
        let listed = self.filled.get("projects").and_then(Value::as_array);
        let said = match self.filled.get("projects_json") {
            None => None,
            Some(said) => Some(said_projects(said)?),
        };
        let all = listed.into_iter().flatten().chain(said.iter().flatten());
        all.map(|p| project(p, default.as_ref())).collect()
    }
}

fn said_projects(said: &Value) -> Result<Vec<Value>, MapError> {
    let text = one(said, "projects_json")?;
    let read: Value = match serde_json::from_str(&text) {
        Ok(read) => read,
        Err(e) => return unusable(format!("projects_json is not JSON: {e}")),
    };
    schema::projects(&read, true, "projects_json").map_err(MapError::Unusable)?;
    match read {
        Value::Array(projects) => Ok(projects),
        _ => Ok(Vec::new()),
    }
}

/// `projects_json` is a part's number, with or without braces.
fn fill_part(rule: &Map<String, Value>, found: &[Vec<String>]) -> Result<Map<String, Value>, MapError> {
    let mut rule = rule.clone();
    let said = match rule.remove("projects_json") {
        Some(Value::String(text)) => {
            let number = text.trim_start_matches('{').trim_end_matches('}');
            Some(fill(&format!("{{{number}}}"), found)?)
        }
        _ => None,
    };
    let mut filled = fill_object(&rule, found)?;
    filled.extend(said.map(|said| ("projects_json".to_owned(), said)));
    Ok(filled)
}

impl Rules {
    /// Applies the rules.
    pub(crate) fn apply(&self, assertion: &Assertion) -> Result<Mapped, MapError> {
        let mut parts = Vec::new();
        for rule in &self.rules {
            let Some(found) = rule.matches(assertion) else {
                continue;
            };
            for local in &rule.local {
                parts.push(Part {
                    filled: fill_part(local, &found)?,
                    rule: local,
                });
            }
        }
        let Some(last) = parts.last() else {
            return Err(MapError::NoMatch);
        };
        let mut mapped = Mapped {
            takes_back: self.version >= Version::Three,
            ..Mapped::default()
        };
        // The first user counts, and of projects the last.
        if let Some(first) = parts.iter().find_map(|p| p.filled.get("user")?.as_object()) {
            mapped.user = user(first)?;
        }
        if self.version >= Version::Two && mapped.user.domain.is_none() {
            mapped.user.domain = domain(last.filled.get("domain"))?;
        }
        for part in &parts {
            if let Some(group) = part.filled.get("group") {
                match (group.get("id"), group.get("name"), domain(group.get("domain"))?) {
                    (Some(id), ..) => mapped.group_ids.push(one(id, "a group's id")?),
                    (None, Some(name), Some(of)) => mapped.groups.push((one(name, "a group's name")?, of)),
                    _ => return unusable("a group has no domain"),
                }
            }
            if part.filled.contains_key("groups") {
                mapped.groups.extend(part.groups()?);
            }
            mapped.group_ids.extend(part.list("group_ids"));
        }
        let with_projects = |part: &&Part<'_>| PROJECTS.iter().any(|key| part.rule.contains_key(*key));
        if let Some(part) = parts.iter().rfind(with_projects) {
            mapped.projects = part.projects(self.version)?;
        }
        mapped.group_ids.sort();
        mapped.group_ids.dedup();
        Ok(mapped)
    }
}
