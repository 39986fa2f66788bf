//! Who did what, why they were allowed to, and from where: the detail that
//! identity gives every entry of the change feed.
//!
//! [`note`] is called by every handler that changes something, inside its
//! transaction, so that there is no change without an entry and no entry
//! without a change; [`snapshot`] reads the record before and after. Sign-ins
//! go by [`sign_in`] and the [`journal`]. [`query`] reads it all back. No secret
//! gets here: what is read of records is named column by column.
pub(crate) mod journal;
pub(crate) mod query;
pub(crate) mod sign_in;
mod snapshot;

use serde_json::{Value, json};
use virga_identity_api::caller::{Caller, Delegation, Scope};
use virga_identity_api::policy::Trace;
use virga_state::{Change, StateError, Transaction};

use crate::api::ask::Ask;
use crate::model::user;

/// A rule that let somebody through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Passed {
    action: String,
    /// The parts of it that held.
    because: Vec<String>,
}

impl Passed {
    pub(crate) fn new(action: &str, trace: Option<&Trace>) -> Self {
        let because = trace.map(Trace::reasons).unwrap_or_default();
        Self {
            action: action.to_owned(),
            because: because.into_iter().map(str::to_owned).collect(),
        }
    }

    fn shown(&self) -> Value {
        json!({"rule": self.action, "because": self.because})
    }
}

fn scope(scope: &Scope) -> Value {
    match scope {
        Scope::Unscoped => Value::Null,
        Scope::Project(id) => json!({ "project_id": id }),
        Scope::Domain(id) => json!({ "domain_id": id }),
        Scope::System => json!({"system": "all"}),
    }
}

fn delegation(delegation: Option<&Delegation>) -> Value {
    match delegation {
        None => Value::Null,
        Some(by) => {
            let kind = match by {
                Delegation::ApplicationCredential { .. } => "application_credential",
                Delegation::Trust { .. } => "trust",
                _ => "access_token",
            };
            json!({"kind": kind, "id": by.id()})
        }
    }
}

/// The caller, as far as the token says.
fn who(caller: &Caller, name: Option<String>) -> Value {
    json!({
        "user_id": caller.user_id, "user_name": name, "scope": scope(&caller.scope), "roles": caller.roles,
        "methods": caller.methods, "audit_ids": caller.audit_ids, "by": delegation(caller.delegation.as_ref()),
    })
}

/// Appends to the change feed what `ask` does, after it was done in `tx`.
/// `what` is kind, id and action; `by` is the user, where no token says it.
pub(crate) async fn note(
    ask: &Ask,
    tx: &mut Transaction,
    what: (&str, &str, &str),
    by: Option<&str>,
) -> Result<(), StateError> {
    let (kind, id, action) = what;
    let after = snapshot::take(tx, kind, id).await?;
    // Outside of the transaction what it did is not yet there.
    let mut q = ask.app.state.reader();
    let before = snapshot::take(&mut q, kind, id).await?;
    let (before, after) = snapshot::difference(&before, &after);
    let caller = ask.caller().ok();
    let actor = by.or(caller.map(|c| c.user_id.as_str()));
    let name = match actor {
        Some(id) => user::get(&mut q, id).await?.map(|u| u.name),
        None => None,
    };
    let who = match (caller, by) {
        (Some(caller), None) => who(caller, name),
        _ => json!({"user_id": actor, "user_name": name, "methods": ["password"]}),
    };
    let why = ask.passed().map(|p| p.shown());
    let detail = json!({
        "who": who, "why": why, "from": ask.origin(), "before": before, "after": after,
    });
    tx.record(Change {
        service: "identity",
        kind,
        id,
        action,
        actor,
        detail: &detail.to_string(),
    })
    .await
}
