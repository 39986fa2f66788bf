//! `/v3/OS-VIRGA-AUDIT`: who did what, for administrators. An extension of
//! ours; Keystone has none like it.
use axum::Json;
use axum::response::IntoResponse;
use serde_json::{Value, json};

use super::ask::Ask;
use super::reply::Reply;
use crate::audit::query::{AuditError, AuditQuery, MAX_RECORDS, USUAL_RECORDS};
use crate::fault::Fault;

impl From<AuditError> for Fault {
    fn from(error: AuditError) -> Self {
        match error {
            AuditError::State(error) => Self::State(error),
            AuditError::Time(_) | AuditError::TooMany => Self::BadRequest(error.to_string()),
        }
    }
}

fn number(ask: &Ask, name: &str) -> Result<Option<i64>, Fault> {
    let wrong = |_| Fault::BadRequest(format!("Invalid input for field '{name}': it is not a number."));
    ask.query(name).map(str::parse).transpose().map_err(wrong)
}

/// `GET …/records`: the newest first; `next` goes on with older ones.
pub(crate) async fn records(ask: Ask) -> Reply {
    ask.enforce("identity:list_audit_records", Value::Null)?;
    let text = |name: &str| ask.query(name).map(str::to_owned);
    let limit = number(&ask, "limit")?.and_then(|n| usize::try_from(n).ok());
    let query = AuditQuery {
        since: text("since"),
        until: text("until"),
        as_of: text("as_of"),
        user: text("user_id"),
        action: text("action"),
        kind: text("kind"),
        id: text("id"),
        marker: number(&ask, "marker")?,
        limit,
    };
    let found = ask.app.audit(&query).await?;
    let full = query.as_of.is_none() && found.len() == limit.unwrap_or(USUAL_RECORDS).clamp(1, MAX_RECORDS);
    let next = found.last().filter(|_| full).map(|last| {
        let mut pairs: Vec<(&str, &str)> = ask
            .all_query()
            .iter()
            .filter(|(name, _)| name != "marker")
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let marker = last["sequence"].to_string();
        pairs.push(("marker", &marker));
        let escape = |text: &str| {
            percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
        };
        let query: Vec<String> = pairs
            .iter()
            .map(|(name, value)| format!("{}={}", escape(name), escape(value)))
            .collect();
        ask.url(&format!("{}?{}", ask.path(), query.join("&")))
    });
    let links = json!({"self": ask.self_url(), "previous": null, "next": next});
    Ok(Json(json!({"records": found, "links": links})).into_response())
}

/// `GET …/chain`: where the chain of hashes begins and ends. Going through it
/// is for the operator's hands (`virga audit verify`): it reads all of it.
pub(crate) async fn chain(ask: Ask) -> Reply {
    ask.enforce("identity:get_audit_chain", Value::Null)?;
    let mut q = ask.app.state.reader();
    let (anchor, head) = (q.anchor().await?, q.head().await?);
    let chain = json!({"anchor": anchor, "head": head, "records": head.sequence - anchor.sequence});
    Ok(Json(json!({ "chain": chain })).into_response())
}
