//! What bootstrapping makes once in the life of a cloud, also in clouds that
//! are older than it: taken back by an operator, it does not come again.
use virga_state::{StateError, Transaction, args};

/// Takes the step of this name. Returns whether it was still to be taken.
pub async fn take(tx: &mut Transaction, name: &str) -> Result<bool, StateError> {
    let sql = "INSERT INTO identity_bootstrap_step (name) VALUES ($1) ON CONFLICT DO NOTHING";
    Ok(tx.execute(sql, args![name]).await? > 0)
}
