//! Roles and which role implies which.
use std::collections::{BTreeMap, BTreeSet};

use virga_state::{Queries, Row, StateError, Transaction, args};

use super::{Object, none_if_empty, object, text_of};

/// A role.
#[derive(Clone, Debug, PartialEq)]
pub struct Role {
    /// Its id.
    pub id: String,
    /// The domain it belongs to; `None` for the cloud's own roles. Roles of a
    /// domain never appear in tokens, only what they imply does.
    pub domain_id: Option<String>,
    /// Unique in the domain, or among the cloud's own.
    pub name: String,
    /// Free text.
    pub description: Option<String>,
    /// Resource options: `immutable`.
    pub options: Object,
    /// Whatever else clients stored.
    pub extra: Object,
}

const COLUMNS: &str = "id, domain_id, name, description, options, extra";

fn from_row(row: &Row) -> Result<Role, StateError> {
    Ok(Role {
        id: row.text("id")?,
        domain_id: none_if_empty(row.text("domain_id")?),
        name: row.text("name")?,
        description: row.maybe_text("description")?,
        options: object(row, "options")?,
        extra: object(row, "extra")?,
    })
}

/// The role with this id.
pub async fn get(q: &mut impl Queries, id: &str) -> Result<Option<Role>, StateError> {
    let sql = format!("SELECT {COLUMNS} FROM identity_role WHERE id = $1");
    q.fetch_one(sql, args![id])
        .await?
        .map(|r| from_row(&r))
        .transpose()
}

/// All roles, ordered by id.
pub async fn list(q: &mut impl Queries) -> Result<Vec<Role>, StateError> {
    let sql = format!("SELECT {COLUMNS} FROM identity_role ORDER BY id");
    q.fetch(sql, args![]).await?.iter().map(from_row).collect()
}

/// Stores a new role.
pub async fn insert(tx: &mut Transaction, r: &Role) -> Result<(), StateError> {
    let sql = format!("INSERT INTO identity_role ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6)");
    let domain = r.domain_id.clone().unwrap_or_default();
    let bound = args![
        &r.id,
        domain,
        &r.name,
        &r.description,
        text_of(&r.options),
        text_of(&r.extra)
    ];
    tx.execute(sql, bound).await.map(drop)
}

/// Stores what may change of a role.
pub async fn update(tx: &mut Transaction, r: &Role) -> Result<(), StateError> {
    let sql = "UPDATE identity_role SET name = $2, description = $3, options = $4, extra = $5 WHERE id = $1";
    let bound = args![
        &r.id,
        &r.name,
        &r.description,
        text_of(&r.options),
        text_of(&r.extra)
    ];
    tx.execute(sql, bound).await.map(drop)
}

/// Deletes a role with its assignments and implications.
pub async fn delete(tx: &mut Transaction, id: &str) -> Result<(), StateError> {
    tx.execute("DELETE FROM identity_role WHERE id = $1", args![id])
        .await
        .map(drop)
}

/// All implications as pairs of prior and implied id.
pub async fn implications(q: &mut impl Queries) -> Result<Vec<(String, String)>, StateError> {
    let sql = "SELECT prior_id, implied_id FROM identity_implied_role ORDER BY prior_id, implied_id";
    let rows = q.fetch(sql, args![]).await?;
    rows.iter()
        .map(|r| Ok((r.text("prior_id")?, r.text("implied_id")?)))
        .collect()
}

/// Makes one role imply another. Asking twice changes nothing.
pub async fn imply(tx: &mut Transaction, prior: &str, implied: &str) -> Result<(), StateError> {
    let sql =
        "INSERT INTO identity_implied_role (prior_id, implied_id) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    tx.execute(sql, args![prior, implied]).await.map(drop)
}

/// Takes an implication back. Returns whether there was one.
pub async fn imply_no_more(tx: &mut Transaction, prior: &str, implied: &str) -> Result<bool, StateError> {
    let sql = "DELETE FROM identity_implied_role WHERE prior_id = $1 AND implied_id = $2";
    Ok(tx.execute(sql, args![prior, implied]).await? > 0)
}

/// All roles and implications at one moment.
#[derive(Clone, Debug, Default)]
pub struct RoleGraph {
    roles: BTreeMap<String, Role>,
    implied: BTreeMap<String, Vec<String>>,
}

impl RoleGraph {
    /// Reads the graph.
    pub async fn load(q: &mut impl Queries) -> Result<Self, StateError> {
        let roles = list(q).await?.into_iter().map(|r| (r.id.clone(), r)).collect();
        let mut implied: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (prior, then) in implications(q).await? {
            implied.entry(prior).or_default().push(then);
        }
        Ok(Self { roles, implied })
    }

    /// The role with this id.
    pub fn role(&self, id: &str) -> Option<&Role> {
        self.roles.get(id)
    }

    /// The cloud's own role of this name.
    pub fn named(&self, name: &str) -> Option<&Role> {
        let mut own = self.roles.values().filter(|r| r.domain_id.is_none());
        own.find(|r| r.name.eq_ignore_ascii_case(name))
    }

    /// Ids of the roles that `id` implies directly.
    pub fn implied_by(&self, id: &str) -> &[String] {
        self.implied.get(id).map_or(&[], Vec::as_slice)
    }

    /// `ids` and everything they imply, directly or through others.
    pub fn expand<'i>(&self, ids: impl IntoIterator<Item = &'i String>) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        let mut open: Vec<&String> = ids.into_iter().collect();
        while let Some(id) = open.pop() {
            if all.insert(id.clone()) {
                open.extend(self.implied_by(id));
            }
        }
        all
    }

    /// The cloud's own roles among `ids` and what they imply, by name: what
    /// tokens carry.
    pub fn effective<'i>(&self, ids: impl IntoIterator<Item = &'i String>) -> Vec<&Role> {
        let mut roles: Vec<&Role> = self
            .expand(ids)
            .iter()
            .filter_map(|id| self.roles.get(id))
            .collect();
        roles.retain(|r| r.domain_id.is_none());
        roles.sort_by(|a, b| a.name.cmp(&b.name));
        roles
    }
}
