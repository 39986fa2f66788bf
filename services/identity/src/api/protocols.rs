//! `/v3/OS-FEDERATION/identity_providers/{idp_id}/protocols`: how users of an
//! identity provider come, and the sign-in itself.
use http::{StatusCode, header};
use serde_json::{Value, json};
use virga_identity_api::payload::method_of_protocol;
use virga_identity_api::revocation::Revocation;
use virga_state::{StateError, transact};

use super::ask::Ask;
use super::fields::Fields;
use super::identity_providers::{MAX_ID, check_id, no_provider};
use super::reply::{self, Reply};
use super::tokens;
use crate::audit::sign_in;
use crate::fault::Fault;
use crate::model::federation::{self, Protocol};

fn show(ask: &Ask, p: &Protocol) -> Value {
    let provider = ask.url(&format!("/v3/OS-FEDERATION/identity_providers/{}", p.provider_id));
    let mut shown = json!({
        "id": p.id, "mapping_id": p.mapping_id,
        "links": {"self": format!("{provider}/protocols/{}", p.id), "identity_provider": provider},
    });
    if let Some(attribute) = &p.remote_id_attribute {
        shown["remote_id_attribute"] = json!(attribute);
    }
    shown
}

async fn found(ask: &Ask, action: &str) -> Result<Protocol, Fault> {
    ask.enforce(action, Value::Null)?;
    let (provider, id) = (ask.param("idp_id"), ask.param("protocol_id"));
    let found = federation::get_protocol(&mut ask.app.state.reader(), provider, id).await?;
    found.ok_or_else(|| {
        Fault::NotFound(format!(
            "Could not find federated protocol {id} for Identity Provider: {provider}."
        ))
    })
}

/// `GET …/protocols`.
pub(crate) async fn list(ask: Ask) -> Reply {
    ask.enforce("identity:list_protocols", Value::Null)?;
    let provider = ask.param("idp_id");
    let all = federation::protocols(&mut ask.app.state.reader(), Some(provider), None).await?;
    let items = all.iter().map(|p| {
        let mut shown = show(&ask, p);
        shown["idp_id"] = json!(p.provider_id);
        shown["remote_id_attribute"] = json!(p.remote_id_attribute);
        shown
    });
    reply::list(&ask, "protocols", items.collect(), &[])
}

/// `GET …/protocols/{id}`.
pub(crate) async fn show_one(ask: Ask) -> Reply {
    let protocol = found(&ask, "identity:get_protocol").await?;
    reply::one("protocol", show(&ask, &protocol))
}

/// Applies what the body says: the mapping must be named.
fn apply(p: &mut Protocol, mut fields: Fields) -> Result<(), Fault> {
    p.mapping_id = fields.required("mapping_id")?;
    if let Some(attribute) = fields.text("remote_id_attribute")? {
        p.remote_id_attribute = attribute;
    }
    for (field, value) in [
        ("mapping_id", Some(&p.mapping_id)),
        ("remote_id_attribute", p.remote_id_attribute.as_ref()),
    ] {
        if value.is_some_and(|v| v.chars().count() > MAX_ID) || p.mapping_id.is_empty() {
            return Err(Fault::BadRequest(format!(
                "Invalid input for field '{field}': it has to have 1 to {MAX_ID} characters."
            )));
        }
    }
    fields.nothing_else()
}

fn no_mapping(id: &str) -> Fault {
    Fault::BadRequest(format!("Invalid mapping id: {id}"))
}

/// `PUT …/protocols/{id}`.
pub(crate) async fn create(ask: Ask) -> Reply {
    ask.enforce("identity:create_protocol", Value::Null)?;
    let (provider, id) = (ask.param("idp_id"), ask.param("protocol_id"));
    check_id(id)?;
    let mut new = Protocol {
        id: id.to_owned(),
        provider_id: provider.to_owned(),
        mapping_id: String::new(),
        remote_id_attribute: None,
    };
    apply(&mut new, ask.fields("protocol")?)?;
    transact!(ask.app.state, |tx| -> Result<(), Fault> {
        if federation::get_mapping(tx, &new.mapping_id).await?.is_none() {
            return Err(no_mapping(&new.mapping_id));
        }
        if federation::get_provider(tx, provider).await?.is_none() {
            return Err(no_provider(provider));
        }
        if federation::get_protocol(tx, provider, id).await?.is_some() {
            return Err(Fault::Conflict(format!(
                "Conflict occurred attempting to store federation_protocol - Duplicate entry found with ID {id}."
            )));
        }
        federation::put_protocol(tx, &new).await?;
        Ok(ask.note(tx, "federation protocol", id, "created").await?)
    })?;
    reply::created("protocol", show(&ask, &new))
}

/// `PATCH …/protocols/{id}`: who came by another mapping has to come again.
pub(crate) async fn update(ask: Ask) -> Reply {
    let before = found(&ask, "identity:update_protocol").await?;
    let mut protocol = before.clone();
    apply(&mut protocol, ask.fields("protocol")?)?;
    let app = &ask.app;
    let events = transact!(app.state, |tx| -> Result<Vec<Revocation>, Fault> {
        if federation::get_mapping(tx, &protocol.mapping_id).await?.is_none() {
            return Err(no_mapping(&protocol.mapping_id));
        }
        let now = federation::get_protocol(tx, &protocol.provider_id, &protocol.id).await?;
        Fault::unless_same(now.as_ref(), &before)?;
        federation::put_protocol(tx, &protocol).await?;
        let events = if protocol == before {
            Vec::new()
        } else {
            app.tokens_of_provider(tx, &protocol.provider_id, Some(&protocol.id))
                .await?
        };
        app.store_revocations(tx, &events).await?;
        ask.note(tx, "federation protocol", &protocol.id, "updated")
            .await?;
        Ok(events)
    })?;
    app.announce(events);
    reply::one("protocol", show(&ask, &protocol))
}

/// `DELETE …/protocols/{id}`: with the users whom nobody else vouches for.
pub(crate) async fn delete(ask: Ask) -> Reply {
    let protocol = found(&ask, "identity:delete_protocol").await?;
    let app = &ask.app;
    let events = transact!(app.state, |tx| -> Result<Vec<Revocation>, StateError> {
        let (provider, id) = (&protocol.provider_id, &protocol.id);
        let events = app.forget_users_of_provider(tx, provider, Some(id)).await?;
        federation::delete_protocol(tx, &protocol).await?;
        app.store_revocations(tx, &events).await?;
        ask.note(tx, "federation protocol", id, "deleted").await?;
        Ok(events)
    })?;
    app.announce(events);
    reply::nothing()
}

/// The bearer token of a request; 401 if there is none.
fn bearer(ask: &Ask) -> Result<&str, Fault> {
    let value = ask
        .headers
        .get(header::AUTHORIZATION)
        .and_then(|v| v.to_str().ok());
    let (scheme, token) = value.and_then(|v| v.split_once(' ')).ok_or(Fault::Unauthorized)?;
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(Fault::Unauthorized);
    }
    Ok(token)
}

/// `GET` and `POST …/protocols/{id}/auth`: an unscoped token for a bearer token.
pub(crate) async fn sign_in(ask: Ask) -> Reply {
    let (provider, protocol) = (ask.param("idp_id"), ask.param("protocol_id"));
    let outcome = ask.app.sign_in_from(provider, protocol, bearer(&ask)?).await;
    let methods = [method_of_protocol(protocol).to_owned()];
    let (token, standing) = sign_in::note(&ask, None, &methods, outcome).await?;
    tokens::made(&ask, StatusCode::CREATED, &token, &standing).await
}
