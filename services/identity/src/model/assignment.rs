//! Who has which role on what.
use virga_identity_api::caller::Scope;
use virga_node::clock::Micros;
use virga_state::{Arg, Queries, Row, StateError, Transaction, args};

use super::group;

/// The `target_id` of roles on the whole cloud.
pub const SYSTEM: &str = "system";

/// Whom a role is given to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ActorKind {
    /// One user.
    User,
    /// Every member of a group.
    Group,
}

/// What a role is given on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TargetKind {
    /// One project.
    Project,
    /// One domain.
    Domain,
    /// The whole cloud.
    System,
}

impl ActorKind {
    /// Its word in paths, bodies and records.
    pub fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Group => "group",
        }
    }
}

impl TargetKind {
    /// Its word in paths, bodies and records.
    pub fn word(self) -> &'static str {
        match self {
            Self::Project => "project",
            Self::Domain => "domain",
            Self::System => SYSTEM,
        }
    }
}

/// One assignment.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Assignment {
    /// To a user or a group.
    pub actor_kind: ActorKind,
    /// Id of the user or group.
    pub actor_id: String,
    /// On a project, domain or the cloud.
    pub target_kind: TargetKind,
    /// Id of the project or domain, or [`SYSTEM`].
    pub target_id: String,
    /// Id of the role.
    pub role_id: String,
    /// Whether it holds for everything below the target instead of the target.
    pub inherited: bool,
}

fn from_row(row: &Row) -> Result<Assignment, StateError> {
    let broken = |column: &str| StateError::Column(column.to_owned());
    Ok(Assignment {
        actor_kind: match row.text("actor_kind")?.as_str() {
            "user" => ActorKind::User,
            "group" => ActorKind::Group,
            _ => return Err(broken("actor_kind")),
        },
        actor_id: row.text("actor_id")?,
        target_kind: match row.text("target_kind")?.as_str() {
            "project" => TargetKind::Project,
            "domain" => TargetKind::Domain,
            SYSTEM => TargetKind::System,
            _ => return Err(broken("target_kind")),
        },
        target_id: row.text("target_id")?,
        role_id: row.text("role_id")?,
        inherited: row.bool("inherited")?,
    })
}

/// A user and the groups that count at a moment: all through whom roles come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actors(Vec<String>);

impl Actors {
    /// The user, the groups of the records that count at `now` (memberships that
    /// an identity provider gave come to an end), and `groups`, which a token
    /// carries besides.
    pub async fn of(
        q: &mut impl Queries,
        user: &str,
        groups: &[String],
        now: Micros,
    ) -> Result<Self, StateError> {
        let held = group::memberships_of(q, user).await?.into_iter();
        let held = held.filter(|m| m.ends.is_none_or(|end| end > now));
        let mut all = vec![user.to_owned()];
        all.extend(held.map(|m| m.group_id));
        all.extend_from_slice(groups);
        Ok(Self(all))
    }

    /// A condition on `actor_id`, and its arguments: $1 is `first`, the actors
    /// follow.
    pub(super) fn condition(&self, first: Arg) -> (String, Vec<Arg>) {
        let slots: Vec<String> = (0..self.0.len()).map(|n| format!("${}", n + 2)).collect();
        let bound = std::iter::once(first).chain(self.0.iter().map(Arg::from));
        (format!("actor_id IN ({})", slots.join(", ")), bound.collect())
    }
}

/// Ids of the roles that a user has on `scope`: own, by groups, and inherited
/// from above. Implications are not followed.
pub async fn role_ids(
    q: &mut impl Queries,
    actors: &Actors,
    scope: &Scope,
) -> Result<Vec<String>, StateError> {
    let target = match scope {
        Scope::Unscoped => return Ok(Vec::new()),
        Scope::Domain(id) | Scope::Project(id) => id.as_str(),
        Scope::System => SYSTEM,
    };
    let (of_user, bound) = actors.condition(target.into());
    let sql = match scope {
        Scope::Unscoped | Scope::Domain(_) => format!(
            "SELECT DISTINCT role_id FROM identity_assignment WHERE {of_user} AND target_id = $1 AND NOT inherited"
        ),
        Scope::System => {
            format!("SELECT DISTINCT role_id FROM identity_assignment WHERE {of_user} AND target_id = $1")
        }
        Scope::Project(_) => format!(
            "WITH RECURSIVE above (id, parent_id) AS (
                SELECT id, parent_id FROM identity_project WHERE id = $1
                UNION SELECT p.id, p.parent_id FROM identity_project p JOIN above a ON p.id = a.parent_id)
             SELECT DISTINCT role_id FROM identity_assignment WHERE {of_user} AND (
                (target_id = $1 AND NOT inherited)
                OR (target_id <> $1 AND inherited AND target_id IN (SELECT id FROM above)))"
        ),
    };
    q.fetch(sql, bound)
        .await?
        .iter()
        .map(|r| r.text("role_id"))
        .collect()
}

/// All assignments, narrowed by actors, target and role.
pub async fn list(
    q: &mut impl Queries,
    actor: Option<&str>,
    target: Option<&str>,
    role: Option<&str>,
) -> Result<Vec<Assignment>, StateError> {
    let mut sql = "SELECT actor_kind, actor_id, target_kind, target_id, role_id, inherited
        FROM identity_assignment WHERE TRUE"
        .to_owned();
    let mut bound = args![];
    for (column, value) in [("actor_id", actor), ("target_id", target), ("role_id", role)] {
        if let Some(value) = value {
            bound.push(value.into());
            sql.push_str(&format!(" AND {column} = ${}", bound.len()));
        }
    }
    sql.push_str(" ORDER BY target_id, actor_id, role_id, inherited");
    q.fetch(sql, bound).await?.iter().map(from_row).collect()
}

/// Gives a role. Asking twice changes nothing.
pub async fn grant(tx: &mut Transaction, a: &Assignment) -> Result<(), StateError> {
    let sql =
        "INSERT INTO identity_assignment (actor_kind, actor_id, target_kind, target_id, role_id, inherited)
               VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";
    let bound = args![
        a.actor_kind.word(),
        &a.actor_id,
        a.target_kind.word(),
        &a.target_id,
        &a.role_id,
        a.inherited
    ];
    tx.execute(sql, bound).await.map(drop)
}

/// Takes a role back. Returns whether it was there.
pub async fn revoke(tx: &mut Transaction, a: &Assignment) -> Result<bool, StateError> {
    let sql = "DELETE FROM identity_assignment WHERE actor_id = $1 AND target_id = $2 AND role_id = $3
               AND inherited = $4";
    Ok(tx
        .execute(sql, args![&a.actor_id, &a.target_id, &a.role_id, a.inherited])
        .await?
        > 0)
}
