//! Rotation of the keys that seal secrets at rest.
//!
//! A key may go only when nothing is sealed with it any more, so everything is
//! sealed anew with the key that seals now, then the folder is rotated, and
//! everything is sealed anew once more. A service that runs meanwhile opens both:
//! it has read the staged key before it seals.
use virga_identity_api::keys::{KeyError, KeyRepository, KeyRing};
use virga_node::clock::Clock;
use virga_state::{Change, Queries, State, StateError, Transaction, args, transact};

use crate::fault::Fault;
use crate::secrets;

/// Where secrets are sealed: the table, the columns that name a row, the column.
const SEALED: &[(&str, &[&str], &str)] = &[
    ("identity_credential", &["id"], "sealed_blob"),
    ("identity_consumer", &["id"], "sealed_secret"),
    (
        "identity_domain_option",
        &["domain_id", "group_name", "name"],
        "sealed_value",
    ),
    ("identity_oauth_token", &["id"], "sealed_secret"),
];
/// Rows that are sealed anew in one transaction.
const BATCH: i64 = 200;

/// Why keys of secrets were not rotated. What was sealed anew stays good.
#[derive(Debug, thiserror::Error)]
pub enum CredentialRotationError {
    /// The keys could not be read or written.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The records failed.
    #[error("the records: {0}")]
    Records(String),
}

impl From<Fault> for CredentialRotationError {
    fn from(fault: Fault) -> Self {
        match fault {
            // Its text is for the log of a service; here the operator reads it.
            Fault::Unexpected(why) => Self::Records(why),
            Fault::State(error) => Self::Records(error.to_string()),
            other => Self::Records(other.to_string()),
        }
    }
}

/// Rotates the folder; returns how many secrets were sealed anew. A service over
/// the same records may run.
///
/// # Errors
/// See [`CredentialRotationError`].
pub async fn rotate_credential_keys(
    repository: &KeyRepository,
    state: &State,
    clock: &dyn Clock,
) -> Result<u64, CredentialRotationError> {
    let keys = KeyRing::open(repository.clone())?;
    seal_all(&keys, state, clock).await?;
    keys.rotate()?;
    let sealed = seal_all(&keys, state, clock).await?;
    transact!(state, |tx| -> Result<(), StateError> {
        tx.record(Change {
            service: "identity",
            kind: "credential-keys",
            id: "credential-keys",
            action: "rotated",
            actor: None,
            detail: "",
        })
        .await
    })
    .map_err(Fault::from)?;
    Ok(sealed)
}

async fn seal_all(keys: &KeyRing, state: &State, clock: &dyn Clock) -> Result<u64, Fault> {
    let mut sealed = 0;
    for place in SEALED {
        let mut after = String::new();
        loop {
            let outcome = transact!(state, |tx| -> Result<(u64, Option<String>), Fault> {
                seal_some(tx, keys, clock, *place, &after).await
            })?;
            sealed += outcome.0;
            match outcome.1 {
                Some(last) => after = last,
                None => break,
            }
        }
    }
    Ok(sealed)
}

/// Seals the next rows after `after` anew; says how many there were, and after
/// which to go on.
async fn seal_some(
    tx: &mut Transaction,
    keys: &KeyRing,
    clock: &dyn Clock,
    (table, key, column): (&'static str, &'static [&'static str], &'static str),
    after: &str,
) -> Result<(u64, Option<String>), Fault> {
    let key = key.join(" || '/' || ");
    let select = format!("SELECT {key} AS place, {column} FROM {table} WHERE {key} > $1 ORDER BY 1 LIMIT $2");
    let rows = tx.fetch(select, args![after, BATCH]).await?;
    let mut last = None;
    for row in &rows {
        let place = row.text("place")?;
        let plain = secrets::open(keys, &row.text(column)?)?;
        let anew = secrets::seal(keys, clock, &plain)?;
        let update = format!("UPDATE {table} SET {column} = $1 WHERE {key} = $2");
        tx.execute(update, args![anew, &place]).await?;
        last = Some(place);
    }
    let count = u64::try_from(rows.len()).unwrap_or(0);
    Ok((count, last))
}
