//! Access rules of application credentials. Users own them; equal ones are
//! kept once and shared between credentials.
use virga_identity_api::access_rule::AccessRule;
use virga_state::{Queries, Row, StateError, Transaction, args};

/// A rule as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRule {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub user_id: String,
    /// What it allows.
    pub rule: AccessRule,
}

const COLUMNS: &str = "id, user_id, service, method, path";

fn from_row(row: &Row) -> Result<StoredRule, StateError> {
    Ok(StoredRule {
        id: row.text("id")?,
        user_id: row.text("user_id")?,
        rule: AccessRule {
            service: row.text("service")?,
            method: row.text("method")?,
            path: row.text("path")?,
        },
    })
}

/// The rules of a user, ordered by id.
pub async fn list(q: &mut impl Queries, user: &str) -> Result<Vec<StoredRule>, StateError> {
    let sql = format!("SELECT {COLUMNS} FROM identity_access_rule WHERE user_id = $1 ORDER BY id");
    q.fetch(sql, args![user]).await?.iter().map(from_row).collect()
}

/// The rule with this id, if it is the user's.
pub async fn get(q: &mut impl Queries, user: &str, id: &str) -> Result<Option<StoredRule>, StateError> {
    let sql = format!("SELECT {COLUMNS} FROM identity_access_rule WHERE id = $1 AND user_id = $2");
    q.fetch_one(sql, args![id, user])
        .await?
        .map(|r| from_row(&r))
        .transpose()
}

/// The rules of an application credential, ordered by id.
pub async fn of_credential(q: &mut impl Queries, credential: &str) -> Result<Vec<StoredRule>, StateError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM identity_access_rule WHERE id IN (SELECT rule_id
         FROM identity_application_credential_rule WHERE credential_id = $1) ORDER BY id"
    );
    q.fetch(sql, args![credential])
        .await?
        .iter()
        .map(from_row)
        .collect()
}

/// The user's rule that says the same, or else `new`, stored.
pub async fn find_or_insert(tx: &mut Transaction, new: StoredRule) -> Result<StoredRule, StateError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM identity_access_rule WHERE user_id = $1 AND service = $2 AND method = $3
         AND path = $4"
    );
    let (user, rule) = (&new.user_id, &new.rule);
    let known = tx
        .fetch_one(sql, args![user, &rule.service, &rule.method, &rule.path])
        .await?;
    if let Some(known) = known {
        return from_row(&known);
    }
    let sql = format!("INSERT INTO identity_access_rule ({COLUMNS}) VALUES ($1, $2, $3, $4, $5)");
    let bound = args![&new.id, user, &rule.service, &rule.method, &rule.path];
    tx.execute(sql, bound).await?;
    Ok(new)
}

/// Deletes a rule. Fails with [`StateError::Reference`] while an application
/// credential has it.
pub async fn delete(tx: &mut Transaction, id: &str) -> Result<(), StateError> {
    tx.execute("DELETE FROM identity_access_rule WHERE id = $1", args![id])
        .await
        .map(drop)
}
