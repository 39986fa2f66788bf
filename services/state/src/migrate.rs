//! Migrations: numbered scripts per service, applied once and in order.
use crate::args;
use crate::engine::State;
use crate::error::{OpenError, StateError};
use crate::transaction::Queries;

const TABLE: &str = "CREATE TABLE IF NOT EXISTS state_migration (
    service TEXT NOT NULL, version BIGINT NOT NULL, name TEXT NOT NULL, applied_at BIGINT NOT NULL,
    PRIMARY KEY (service, version))";

/// One step of a service's tables. Once released it never changes.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// Number, from 1, without gaps.
    pub version: i64,
    /// What it does, in a few words.
    pub name: &'static str,
    /// The script. `BYTEA` is spelled `BYTEA` (SQLite accepts any type name).
    pub sql: &'static str,
}

impl State {
    /// Brings the tables of `service` to the newest of `migrations`; all
    /// missing steps are one transaction. Refuses a database that a newer
    /// release has written.
    pub async fn migrate(&self, service: &str, migrations: &[Migration]) -> Result<(), OpenError> {
        self.statement(TABLE).await?;
        let known = migrations.iter().map(|m| m.version).max().unwrap_or(0);
        let failed = |version, source| OpenError::Migration {
            service: service.to_owned(),
            version,
            source,
        };
        let newest = "SELECT COALESCE(MAX(version), 0) AS version FROM state_migration WHERE service = $1";
        let row = self.reader().fetch_one(newest, args![service]).await;
        let found = row
            .and_then(|r| r.map_or(Ok(0), |r| r.int("version")))
            .map_err(|e| failed(0, e))?;
        if found > known {
            return Err(OpenError::TooNew {
                service: service.to_owned(),
                found,
                known,
            });
        }
        if found == known {
            return Ok(());
        }
        let done = crate::transact!(self, |tx| -> Result<(), StateError> {
            let row = tx.fetch_one(newest, args![service]).await?;
            let found = row.map_or(Ok(0), |r| r.int("version"))?;
            for step in migrations.iter().filter(|m| m.version > found) {
                tx.script(step.sql).await?;
                let now = tx.now();
                let add = "INSERT INTO state_migration (service, version, name, applied_at)
                           VALUES ($1, $2, $3, $4)";
                tx.execute(add, args![service, step.version, step.name, now])
                    .await?;
            }
            Ok(())
        });
        done.map_err(|source| failed(found + 1, source))
    }
}
