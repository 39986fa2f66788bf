//! `/v3/OS-OAUTH1/consumers`. What consumers do is in [`super::oauth_tokens`].
use serde_json::{Value, json};
use virga_identity_api::revocation::Revocation;
use virga_state::transact;
use zeroize::Zeroizing;

use super::ask::Ask;
use super::reply::{self, Reply};
use crate::fault::Fault;
use crate::model::new_id;
use crate::model::oauth::{self, Consumer};
use crate::model::oauth_token;
use crate::secrets;

/// Without the secret: that is told once, when it is made.
fn show(ask: &Ask, c: &Consumer) -> Value {
    let mut shown = Value::Object(c.extra.clone());
    shown["id"] = json!(c.id);
    shown["description"] = json!(c.description);
    shown["links"] = json!({"self": ask.url(&format!("/v3/OS-OAUTH1/consumers/{}", c.id))});
    shown
}

async fn found(ask: &Ask, action: &str) -> Result<Consumer, Fault> {
    ask.enforce(action, Value::Null)?;
    let id = ask.param("consumer_id");
    let found = oauth::get(&mut ask.app.state.reader(), id).await?;
    found.ok_or_else(|| Fault::not_found("consumer", id))
}

/// `GET /v3/OS-OAUTH1/consumers`.
pub(crate) async fn list(ask: Ask) -> Reply {
    ask.enforce("identity:list_consumers", Value::Null)?;
    let all = oauth::list(&mut ask.app.state.reader()).await?;
    let items = all.iter().map(|c| show(&ask, c)).collect();
    reply::list(&ask, "consumers", items, &[])
}

/// `GET /v3/OS-OAUTH1/consumers/{id}`.
pub(crate) async fn show_one(ask: Ask) -> Reply {
    let consumer = found(&ask, "identity:get_consumer").await?;
    reply::one("consumer", show(&ask, &consumer))
}

/// `POST /v3/OS-OAUTH1/consumers`.
pub(crate) async fn create(ask: Ask) -> Reply {
    ask.enforce("identity:create_consumer", Value::Null)?;
    let mut fields = ask.fields("consumer")?;
    fields.drop("secret");
    let secret = Zeroizing::new(new_id());
    let new = Consumer {
        id: new_id(),
        description: fields.text("description")?.flatten(),
        sealed_secret: secrets::seal(&ask.app.credential_keys, &*ask.app.clock, &secret)?,
        extra: fields.rest(),
    };
    transact!(ask.app.state, |tx| -> Result<(), Fault> {
        oauth::put(tx, &new).await?;
        Ok(ask.note(tx, "consumer", &new.id, "created").await?)
    })?;
    let mut shown = show(&ask, &new);
    shown["secret"] = json!(*secret);
    reply::created("consumer", shown)
}

/// `PATCH /v3/OS-OAUTH1/consumers/{id}`: the secret cannot be changed.
pub(crate) async fn update(ask: Ask) -> Reply {
    let before = found(&ask, "identity:update_consumer").await?;
    let mut consumer = before.clone();
    let mut fields = ask.fields("consumer")?;
    fields.same_id(&consumer.id)?;
    if fields.take("secret").is_some() {
        return Err(Fault::BadRequest("Cannot change consumer secret".into()));
    }
    if let Some(description) = fields.text("description")? {
        consumer.description = description;
    }
    consumer.extra.extend(fields.rest());
    transact!(ask.app.state, |tx| -> Result<(), Fault> {
        Fault::unless_same(oauth::get(tx, &consumer.id).await?.as_ref(), &before)?;
        oauth::put(tx, &consumer).await?;
        Ok(ask.note(tx, "consumer", &consumer.id, "updated").await?)
    })?;
    reply::one("consumer", show(&ask, &consumer))
}

/// `DELETE /v3/OS-OAUTH1/consumers/{id}`.
pub(crate) async fn delete(ask: Ask) -> Reply {
    let consumer = found(&ask, "identity:delete_consumer").await?;
    let now = ask.app.clock.now();
    let events = transact!(ask.app.state, |tx| -> Result<Vec<Revocation>, Fault> {
        let given = oauth_token::list(tx, (None, Some(&consumer.id)), now).await?;
        let events = given.iter().map(|t| ask.app.tokens_of_delegation(&t.id));
        let events: Vec<Revocation> = events.collect();
        oauth::delete(tx, &consumer.id).await?;
        ask.app.store_revocations(tx, &events).await?;
        ask.note(tx, "consumer", &consumer.id, "deleted").await?;
        Ok(events)
    })?;
    ask.app.announce(events);
    reply::nothing()
}
