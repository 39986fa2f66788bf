//! `/v3/users/{id}/access_rules`: made with application credentials, shown and
//! deleted here.
use serde_json::{Value, json};
use virga_state::{StateError, transact};

use super::ask::Ask;
use super::reply::{self, Reply};
use crate::fault::Fault;
use crate::model::access_rule::{self, StoredRule};

fn show(ask: &Ask, stored: &StoredRule) -> Value {
    let mut shown = super::token_body::access_rule(stored);
    let path = format!("/v3/users/{}/access_rules/{}", stored.user_id, stored.id);
    shown["links"] = json!({"self": ask.url(&path)});
    shown
}

fn asked(ask: &Ask, action: &str) -> Result<(), Fault> {
    ask.enforce(action, json!({"user": {"id": ask.param("user_id")}}))?;
    ask.not_delegated(true)
}

async fn found(ask: &Ask, action: &str) -> Result<StoredRule, Fault> {
    asked(ask, action)?;
    let id = ask.param("access_rule_id");
    let found = access_rule::get(&mut ask.app.state.reader(), ask.param("user_id"), id).await?;
    found.ok_or_else(|| Fault::not_found("Access Rule", id))
}

/// `GET …/access_rules`.
pub(crate) async fn list(ask: Ask) -> Reply {
    asked(&ask, "identity:list_access_rules")?;
    let all = access_rule::list(&mut ask.app.state.reader(), ask.param("user_id")).await?;
    let items = all.iter().map(|r| show(&ask, r)).collect();
    reply::list(&ask, "access_rules", items, &["service", "path", "method"])
}

/// `GET …/access_rules/{id}`.
pub(crate) async fn show_one(ask: Ask) -> Reply {
    let rule = found(&ask, "identity:get_access_rule").await?;
    reply::one("access_rule", show(&ask, &rule))
}

/// `DELETE …/access_rules/{id}`: not while an application credential has it.
pub(crate) async fn delete(ask: Ask) -> Reply {
    let rule = found(&ask, "identity:delete_access_rule").await?;
    let deleted = transact!(ask.app.state, |tx| -> Result<(), Fault> {
        access_rule::delete(tx, &rule.id).await?;
        Ok(ask.note(tx, "access rule", &rule.id, "deleted").await?)
    });
    match deleted {
        Err(Fault::State(StateError::Reference)) => {
            Err(Fault::Forbidden("May not delete access rule in use".into()))
        }
        other => {
            other?;
            reply::nothing()
        }
    }
}
