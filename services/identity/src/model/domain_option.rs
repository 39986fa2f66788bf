//! Options of a domain's own identity driver: kept and told, but no driver
//! besides the records is built in, so nothing reads them. Values are sealed
//! before they come here: among them are passwords of directories.
use virga_state::{Queries, StateError, Transaction, args};

/// One option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainOption {
    /// Its group: "ldap".
    pub group: String,
    /// Its name: "url".
    pub name: String,
    /// Its value as JSON, sealed.
    pub sealed_value: String,
}

/// The options of a domain, ordered by group and name.
pub async fn list(q: &mut impl Queries, domain: &str) -> Result<Vec<DomainOption>, StateError> {
    let sql = "SELECT group_name, name, sealed_value FROM identity_domain_option WHERE domain_id = $1
               ORDER BY group_name, name";
    let rows = q.fetch(sql, args![domain]).await?;
    rows.iter()
        .map(|r| {
            Ok(DomainOption {
                group: r.text("group_name")?,
                name: r.text("name")?,
                sealed_value: r.text("sealed_value")?,
            })
        })
        .collect()
}

/// Stores an option, new or changed.
pub async fn put(tx: &mut Transaction, domain: &str, o: &DomainOption) -> Result<(), StateError> {
    let sql = "INSERT INTO identity_domain_option (domain_id, group_name, name, sealed_value)
               VALUES ($1, $2, $3, $4) ON CONFLICT (domain_id, group_name, name)
               DO UPDATE SET sealed_value = excluded.sealed_value";
    tx.execute(sql, args![domain, &o.group, &o.name, &o.sealed_value])
        .await
        .map(drop)
}

/// Deletes the options of a domain: all, those of a group, or one.
pub async fn delete(
    tx: &mut Transaction,
    domain: &str,
    group: Option<&str>,
    name: Option<&str>,
) -> Result<(), StateError> {
    let mut sql = "DELETE FROM identity_domain_option WHERE domain_id = $1".to_owned();
    let mut bound = args![domain];
    for (column, value) in [("group_name", group), ("name", name)] {
        if let Some(value) = value {
            bound.push(value.into());
            sql.push_str(&format!(" AND {column} = ${}", bound.len()));
        }
    }
    tx.execute(sql, bound).await.map(drop)
}
