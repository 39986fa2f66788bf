//! Reading the change feed back: newest entries, how things stood at a time,
//! and whether the chain is whole.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use virga_node::clock::Micros;
use virga_state::chain::{Link, Verdict};
use virga_state::{FeedEntry, StateError, Wanted};

use crate::Identity;
use crate::api::{parse_time, time};
use crate::app::App;

/// Most records of one answer.
pub const MAX_RECORDS: usize = 1000;
/// Records of an answer, when nobody says how many.
pub const USUAL_RECORDS: usize = 100;
/// Resources that are put together at most.
const MAX_RESOURCES: usize = 10_000;
/// Entries that are read at a time.
const PAGE: i64 = 1000;

/// What is asked for. Times are RFC 3339, or how long ago: "90s", "15m", "2h",
/// "7d".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AuditQuery {
    /// Not before this time.
    pub since: Option<String>,
    /// Before this time.
    pub until: Option<String>,
    /// How things stood at this time, instead of what happened.
    pub as_of: Option<String>,
    /// Id of a user who did it, or to whom it was done.
    pub user: Option<String>,
    /// What happened: "created", "updated", "deleted", "failed", ...
    pub action: Option<String>,
    /// Kind of resource: "user", "role assignment", "sign-in", ...
    pub kind: Option<String>,
    /// Id of a resource.
    pub id: Option<String>,
    /// Only records before this position.
    pub marker: Option<i64>,
    /// Records at most.
    pub limit: Option<usize>,
}

/// Why the audit does not answer.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// A time cannot be read.
    #[error("{0:?} is no time: write 2026-11-22T15:00:00Z, or how long ago: 90s, 15m, 2h, 7d")]
    Time(String),
    /// Too much is asked for at once.
    #[error("more than {MAX_RESOURCES} resources: ask for a user, a kind or an id")]
    TooMany,
    /// The records failed.
    #[error(transparent)]
    State(#[from] StateError),
}

/// The moment that `text` names.
fn moment(text: &str, now: Micros) -> Result<i64, AuditError> {
    let wrong = || AuditError::Time(text.to_owned());
    let units = [("s", 1), ("m", 60), ("h", 3600), ("d", 24 * 3600)];
    let ago = units.iter().find_map(|(unit, seconds)| {
        let count: u64 = text.strip_suffix(unit)?.parse().ok()?;
        Some(count.saturating_mul(*seconds).saturating_mul(1_000_000))
    });
    let at = match ago {
        Some(ago) => now.0.saturating_sub(ago),
        None => parse_time(text).ok_or_else(wrong)?.0,
    };
    i64::try_from(at).map_err(|_| wrong())
}

/// A record as the API shows it.
fn shown(entry: &FeedEntry) -> Value {
    let detail: Value = serde_json::from_str(&entry.detail).unwrap_or_default();
    let mut shown = match detail {
        Value::Object(detail) => detail,
        _ => Map::new(),
    };
    let at = Micros(u64::try_from(entry.at).unwrap_or_default());
    for (name, value) in [
        ("sequence", json!(entry.sequence)),
        ("at", json!(time(at))),
        ("service", json!(entry.service)),
        ("kind", json!(entry.kind)),
        ("id", json!(entry.id)),
        ("action", json!(entry.action)),
        ("actor", json!(entry.actor)),
        ("hash", json!(entry.hash)),
    ] {
        shown.insert(name.to_owned(), value);
    }
    Value::Object(shown)
}

/// A resource put together from its records.
struct Resource {
    last: FeedEntry,
    state: Value,
}

impl Resource {
    /// How it stands after one more record.
    fn follow(&mut self, entry: &FeedEntry) {
        let detail: Value = serde_json::from_str(&entry.detail).unwrap_or_default();
        let rows = |value: &Value| value.as_array().cloned().unwrap_or_default();
        match (&mut self.state, &detail["before"], &detail["after"]) {
            // Several rows: some went, some came.
            (state, before, after) if before.is_array() || after.is_array() => {
                let mut all = rows(state);
                let gone = rows(before);
                all.retain(|row| !gone.contains(row));
                all.extend(rows(after));
                *state = Value::Array(all);
            }
            (Value::Object(state), _, Value::Object(after)) => state.extend(after.clone()),
            (state, _, after) if after.is_object() => *state = after.clone(),
            _ => {}
        }
        self.last = entry.clone();
    }

    fn is_there(&self) -> bool {
        match &self.state {
            Value::Array(rows) => !rows.is_empty(),
            _ => self.last.action != "deleted",
        }
    }
}

impl App {
    async fn as_of(&self, at: i64, wanted: &Wanted) -> Result<Vec<Value>, AuditError> {
        let mut q = self.state.reader();
        let mut found: BTreeMap<(String, String), Resource> = BTreeMap::new();
        let mut wanted = Wanted {
            until: Some(at.saturating_add(1)),
            newest_first: false,
            ..wanted.clone()
        };
        loop {
            let page = q.changes(&wanted, PAGE).await?;
            let Some(last) = page.last() else { break };
            wanted.after = Some(last.sequence);
            for entry in page.iter().filter(|e| !matches!(&*e.kind, "sign-in" | "token")) {
                let key = (entry.kind.clone(), entry.id.clone());
                let fresh = || Resource {
                    last: entry.clone(),
                    state: Value::Null,
                };
                found.entry(key).or_insert_with(fresh).follow(entry);
            }
            if found.len() > MAX_RESOURCES {
                return Err(AuditError::TooMany);
            }
        }
        let there = found.into_values().filter(Resource::is_there);
        Ok(there
            .map(|resource| {
                let mut one = shown(&resource.last);
                one["state"] = resource.state;
                one
            })
            .collect())
    }

    /// Records that are asked for, the newest first; or with `as_of` resources
    /// as they stood, ordered by kind and id, each with its last record.
    pub(crate) async fn audit(&self, query: &AuditQuery) -> Result<Vec<Value>, AuditError> {
        let now = self.clock.now();
        let moment = |text: &Option<String>| text.as_deref().map(|text| moment(text, now)).transpose();
        let wanted = Wanted {
            since: moment(&query.since)?,
            until: moment(&query.until)?,
            user: query.user.clone(),
            kind: query.kind.clone(),
            id: query.id.clone(),
            action: query.action.clone(),
            before: query.marker,
            newest_first: true,
            ..Wanted::default()
        };
        let limit = query.limit.unwrap_or(USUAL_RECORDS).clamp(1, MAX_RECORDS);
        if let Some(at) = moment(&query.as_of)? {
            let mut found = self.as_of(at, &wanted).await?;
            found.truncate(limit);
            return Ok(found);
        }
        let limit = i64::try_from(limit).unwrap_or(PAGE);
        let found = self.state.reader().changes(&wanted, limit).await?;
        Ok(found.iter().map(shown).collect())
    }
}

impl Identity {
    /// See [`AuditQuery`]: the records as `GET /v3/OS-VIRGA-AUDIT/records` shows
    /// them.
    ///
    /// # Errors
    /// A time cannot be read, or the records fail.
    pub async fn audit(&self, query: &AuditQuery) -> Result<Vec<Value>, AuditError> {
        self.app.audit(query).await
    }

    /// Goes through the whole chain, in which `expected` must be.
    ///
    /// # Errors
    /// The records fail.
    pub async fn verify_audit(&self, expected: Option<Link>) -> Result<Verdict, AuditError> {
        Ok(self.app.state.verify_changes(expected).await?)
    }

    /// Where the chain begins and ends.
    ///
    /// # Errors
    /// The records fail.
    pub async fn audit_ends(&self) -> Result<(Link, Link), AuditError> {
        let mut q = self.app.state.reader();
        Ok((q.anchor().await?, q.head().await?))
    }

    /// Entries of the feed after a position, oldest first, as they are hashed.
    ///
    /// # Errors
    /// The records fail.
    pub async fn audit_entries(&self, after: i64) -> Result<Vec<FeedEntry>, AuditError> {
        let wanted = Wanted {
            after: Some(after),
            ..Wanted::default()
        };
        Ok(self.app.state.reader().changes(&wanted, PAGE).await?)
    }
}
