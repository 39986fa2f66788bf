//! `/v3/OS-REVOKE/events`: which tokens no longer count, for services that
//! verify tokens themselves.
use serde_json::{Value, json};
use virga_identity_api::revocation::Revocation;
use virga_node::clock::Micros;

use super::ask::Ask;
use super::fields::parse_time;
use super::reply::{self, Reply};
use super::token_body::time;
use crate::fault::Fault;
use crate::model::revocation;

fn show(e: &Revocation) -> Value {
    let mut shown = json!({"issued_before": time(e.issued_before)});
    for (name, value) in [
        ("audit_id", &e.audit_id),
        ("audit_chain_id", &e.audit_chain_id),
        ("user_id", &e.user_id),
        ("project_id", &e.project_id),
        ("domain_id", &e.domain_id),
        ("role_name", &e.role),
        // Of a trust or of an application credential: the ids are one kind.
        ("OS-TRUST:trust_id", &e.delegation_id),
    ] {
        if let Some(value) = value {
            shown[name] = json!(value);
        }
    }
    if e.system {
        shown["system"] = json!("all");
    }
    shown
}

/// `GET /v3/OS-REVOKE/events`: those that still matter; `since` leaves out
/// older ones.
pub(crate) async fn list(ask: Ask) -> Reply {
    ask.enforce("identity:list_revoke_events", Value::Null)?;
    let since = match ask.query("since") {
        None => None,
        Some(text) => Some(parse_time(text).ok_or_else(|| {
            Fault::BadRequest(format!(
                "Invalid date format {text:?} in the query value 'since'."
            ))
        })?),
    };
    let mut events = {
        let mut q = ask.app.state.reader();
        revocation::list(&mut q, since.unwrap_or(Micros(0)), ask.app.clock.now()).await?
    };
    // Nobody who reads this API knows providers and groups of tokens: such an
    // event would read as if it ended every token.
    events.retain(|e| e.group_id.is_none() && e.identity_provider_id.is_none());
    reply::list(&ask, "events", events.iter().map(show).collect(), &[])
}
