//! `/v3/credentials`, and EC2 keys under `/v3/users/{id}/credentials/OS-EC2`.
//! Both are the same records; their content is sealed at rest. With a token of
//! a delegation nothing is done here but to make EC2 keys that are good for no
//! more than it.
use serde_json::{Value, json};
use virga_identity_api::caller::Delegation;
use virga_state::{StateError, transact};
use zeroize::Zeroizing;

use super::ask::Ask;
use super::fields::{Fields, NAME};
use super::reply::{self, Reply};
use crate::directory::ec2_id;
use crate::fault::Fault;
use crate::model::credential::{self, Credential};
use crate::model::{Object, new_id, project, user};
use crate::secrets;

/// Longest access key: clients keep room for so many.
const MAX_ACCESS: usize = 128;

fn show_credential(ask: &Ask, c: &Credential) -> Result<Value, Fault> {
    let blob = secrets::open(&ask.app.credential_keys, &c.sealed_blob)?;
    let mut shown = Value::Object(c.extra.clone());
    shown["id"] = json!(c.id);
    shown["type"] = json!(c.kind);
    shown["user_id"] = json!(c.user_id);
    shown["project_id"] = json!(c.project_id);
    shown["blob"] = json!(*blob);
    shown["links"] = json!({"self": ask.url(&format!("/v3/credentials/{}", c.id))});
    Ok(shown)
}

fn target(user_id: &str) -> Value {
    json!({"credential": {"user_id": user_id}})
}

/// 403 for tokens of a delegation: what the user's credentials say opens more
/// than was handed on, and a new one would outlive it.
fn not_delegated(ask: &Ask) -> Result<(), Fault> {
    match ask.is_delegated()? {
        true => Err(Fault::Forbidden(
            "You are not authorized to perform the requested action: Delegated tokens cannot access credentials \
             directly."
                .into(),
        )),
        false => Ok(()),
    }
}

async fn found(ask: &Ask, action: &str) -> Result<Credential, Fault> {
    ask.caller()?;
    let id = ask.param("credential_id");
    let found = credential::get(&mut ask.app.state.reader(), id).await?;
    ask.enforce(
        action,
        found.as_ref().map_or_else(|| json!({}), |c| target(&c.user_id)),
    )?;
    not_delegated(ask)?;
    found.ok_or_else(|| Fault::not_found("credential", id))
}

/// `GET /v3/credentials`: those that the caller may see; with a token of a
/// delegation none, as with Keystone.
pub(crate) async fn list(ask: Ask) -> Reply {
    let me = ask.caller()?.user_id.clone();
    ask.enforce("identity:list_credentials", target(&me))?;
    if ask.is_delegated()? {
        return reply::list(&ask, "credentials", Vec::new(), &[]);
    }
    let mut q = ask.app.state.reader();
    let all = credential::list(&mut q, ask.query("user_id"), ask.query("type")).await?;
    let mut items = Vec::new();
    for c in all {
        if ask.allowed("identity:get_credential", target(&c.user_id))? {
            items.push(show_credential(&ask, &c)?);
        }
    }
    reply::list(&ask, "credentials", items, &["user_id", "type"])
}

/// `GET /v3/credentials/{id}`.
pub(crate) async fn show(ask: Ask) -> Reply {
    let credential = found(&ask, "identity:get_credential").await?;
    reply::one("credential", show_credential(&ask, &credential)?)
}

/// The access key of an EC2 blob.
fn access_of(blob: &str) -> Result<String, Fault> {
    let wrong =
        || Fault::BadRequest("Invalid blob in credential: expecting JSON with access and secret.".into());
    let blob: Value = serde_json::from_str(blob).map_err(|_| wrong())?;
    let text = |key: &str| blob.get(key).and_then(Value::as_str).filter(|t| !t.is_empty());
    match (text("access"), text("secret")) {
        (Some(access), Some(_)) if access.len() <= MAX_ACCESS => Ok(access.to_owned()),
        _ => Err(wrong()),
    }
}

/// The content of a body.
fn blob_of(fields: &mut Fields) -> Result<Zeroizing<String>, Fault> {
    match fields.take("blob") {
        Some(Value::String(text)) => Ok(Zeroizing::new(text)),
        Some(_) => Err(Fault::BadRequest(
            "Invalid input for field 'blob': it is not of type 'string'.".into(),
        )),
        None => Err(Fault::BadRequest(
            "Invalid input for field 'blob': 'blob' is a required property.".into(),
        )),
    }
}

/// What an EC2 key was made with: trust and application credential.
fn bound(blob: &str) -> [Value; 2] {
    let blob: Value = serde_json::from_str(blob).unwrap_or_default();
    ["trust_id", "app_cred_id"].map(|key| blob.get(key).cloned().unwrap_or_default())
}

/// The content of an EC2 key that is made now: with a token of a delegation it
/// is good for no more than that.
fn bind(ask: &Ask, blob: &str) -> Result<Zeroizing<String>, Fault> {
    let mut blob: Value = serde_json::from_str(blob).map_err(|e| Fault::Unexpected(e.to_string()))?;
    for key in ["trust_id", "app_cred_id"] {
        if let Some(map) = blob.as_object_mut() {
            map.remove(key);
        }
    }
    match &ask.caller()?.delegation {
        // Keys are for one project, and these would be for any.
        None => not_delegated(ask)?,
        Some(Delegation::Trust { id }) => blob["trust_id"] = json!(id),
        Some(Delegation::ApplicationCredential { id, .. }) => blob["app_cred_id"] = json!(id),
        // A key would outlive the access token that it stands on.
        Some(Delegation::AccessToken { .. }) => {
            return Err(Fault::Forbidden(
                "You are not authorized to perform the requested action: making a credential with an OAuth access \
                 token."
                    .into(),
            ));
        }
    }
    Ok(Zeroizing::new(blob.to_string()))
}

async fn insert(ask: &Ask, new: &Credential) -> Result<(), Fault> {
    let stored = transact!(ask.app.state, |tx| -> Result<(), Fault> {
        credential::insert(tx, new).await?;
        Ok(ask.note(tx, "credential", &new.id, "created").await?)
    });
    stored.map_err(|e| match e {
        Fault::State(StateError::Duplicate) => Fault::Conflict(format!(
            "Conflict occurred attempting to store credential - Duplicate entry found with id {}.",
            new.id
        )),
        other => other,
    })
}

/// `POST /v3/credentials`.
pub(crate) async fn create(ask: Ask) -> Reply {
    let me = ask.caller()?.user_id.clone();
    let mut fields = ask.fields("credential")?;
    fields.not_null(&["user_id"])?;
    let user_id = fields.text("user_id")?.flatten().unwrap_or(me);
    ask.enforce("identity:create_credential", target(&user_id))?;
    let Some(Some(kind)) = fields.short_text("type", NAME)? else {
        return Err(Fault::expecting("type", "credential"));
    };
    let mut blob = blob_of(&mut fields)?;
    let project_id = fields.text("project_id")?.flatten();
    let id = if kind == "ec2" {
        if project_id.is_none() {
            return Err(Fault::expecting("project_id", "credential"));
        }
        let access = access_of(&blob)?;
        blob = bind(&ask, &blob)?;
        ec2_id(&access)
    } else {
        not_delegated(&ask)?;
        new_id()
    };
    fields.drop("id");
    let new = Credential {
        id,
        user_id,
        project_id,
        kind,
        sealed_blob: secrets::seal(&ask.app.credential_keys, &*ask.app.clock, &blob)?,
        extra: fields.rest(),
    };
    insert(&ask, &new).await?;
    reply::created("credential", show_credential(&ask, &new)?)
}

/// `PATCH /v3/credentials/{id}`.
pub(crate) async fn update(ask: Ask) -> Reply {
    let before = found(&ask, "identity:update_credential").await?;
    let mut c = before.clone();
    let mut fields = ask.changes("credential")?;
    fields.not_null(&["user_id", "type"])?;
    fields.same_id(&c.id)?;
    if let Some(Some(user_id)) = fields.text("user_id")? {
        // Nobody gives a credential to somebody else whom they may not act for.
        ask.enforce("identity:update_credential", target(&user_id))?;
        c.user_id = user_id;
    }
    if let Some(project_id) = fields.text("project_id")? {
        c.project_id = project_id;
    }
    if let Some(Some(kind)) = fields.text("type")? {
        c.kind = kind;
    }
    if fields.has("blob") {
        let blob = blob_of(&mut fields)?;
        c.sealed_blob = secrets::seal(&ask.app.credential_keys, &*ask.app.clock, &blob)?;
    }
    if c.kind == "ec2" {
        let opened = secrets::open(&ask.app.credential_keys, &c.sealed_blob)?;
        access_of(&opened)?;
        if c.project_id.is_none() {
            return Err(Fault::BadRequest(
                "The project of an EC2 credential cannot go.".into(),
            ));
        }
        // What a key was made with binds it for good.
        let was = secrets::open(&ask.app.credential_keys, &before.sealed_blob)?;
        if before.kind == "ec2" && bound(&was) != bound(&opened) {
            return Err(Fault::BadRequest(
                "The trust or application credential of an EC2 credential cannot be changed.".into(),
            ));
        }
    }
    c.extra.extend(fields.rest());
    transact!(ask.app.state, |tx| -> Result<(), Fault> {
        Fault::unless_same(credential::get(tx, &c.id).await?.as_ref(), &before)?;
        credential::update(tx, &c).await?;
        Ok(ask.note(tx, "credential", &c.id, "updated").await?)
    })?;
    reply::one("credential", show_credential(&ask, &c)?)
}

async fn remove(ask: &Ask, id: &str) -> Reply {
    transact!(ask.app.state, |tx| -> Result<(), Fault> {
        credential::delete(tx, id).await?;
        Ok(ask.note(tx, "credential", id, "deleted").await?)
    })?;
    reply::nothing()
}

/// `DELETE /v3/credentials/{id}`.
pub(crate) async fn delete(ask: Ask) -> Reply {
    let credential = found(&ask, "identity:delete_credential").await?;
    remove(&ask, &credential.id).await
}

fn show_ec2(ask: &Ask, c: &Credential) -> Result<Value, Fault> {
    let blob = secrets::open(&ask.app.credential_keys, &c.sealed_blob)?;
    let blob: Value =
        serde_json::from_str(&blob).map_err(|_| Fault::Unexpected("an EC2 blob is not JSON".into()))?;
    let access = blob["access"].as_str().unwrap_or_default();
    Ok(json!({
        "access": access,
        "secret": blob["secret"],
        "user_id": c.user_id,
        "tenant_id": c.project_id,
        "trust_id": blob["trust_id"],
        "links": {"self": ask.url(&format!("/v3/users/{}/credentials/OS-EC2/{access}", c.user_id))},
    }))
}

/// 404 unless the user of the path exists.
async fn require_user(ask: &Ask) -> Result<(), Fault> {
    let id = ask.param("user_id");
    let found = user::get(&mut ask.app.state.reader(), id).await?;
    found.map(drop).ok_or_else(|| Fault::not_found("user", id))
}

/// `GET /v3/users/{id}/credentials/OS-EC2`.
pub(crate) async fn list_ec2(ask: Ask) -> Reply {
    ask.enforce("identity:ec2_list_credentials", Value::Null)?;
    not_delegated(&ask)?;
    require_user(&ask).await?;
    let mut q = ask.app.state.reader();
    let all = credential::list(&mut q, Some(ask.param("user_id")), Some("ec2")).await?;
    let items = all.iter().map(|c| show_ec2(&ask, c)).collect::<Result<_, _>>()?;
    reply::list(&ask, "credentials", items, &[])
}

/// `POST /v3/users/{id}/credentials/OS-EC2`: makes a pair of keys. They are good
/// for what the user may do on the project, also if that is nothing yet.
pub(crate) async fn create_ec2(ask: Ask) -> Reply {
    let user_id = ask.param("user_id").to_owned();
    ask.enforce("identity:ec2_create_credential", target(&user_id))?;
    require_user(&ask).await?;
    let body = ask.json()?;
    let Some(project_id) = body.get("tenant_id").and_then(Value::as_str).map(str::to_owned) else {
        return Err(Fault::expecting("tenant_id", "the request body"));
    };
    if project::get(&mut ask.app.state.reader(), &project_id)
        .await?
        .is_none()
    {
        return Err(Fault::not_found("project", &project_id));
    }
    let (access, secret) = (new_id(), Zeroizing::new(new_id()));
    let blob = bind(&ask, &json!({"access": access, "secret": *secret}).to_string())?;
    let new = Credential {
        id: ec2_id(&access),
        user_id,
        project_id: Some(project_id),
        kind: "ec2".into(),
        sealed_blob: secrets::seal(&ask.app.credential_keys, &*ask.app.clock, &blob)?,
        extra: Object::new(),
    };
    insert(&ask, &new).await?;
    reply::created("credential", show_ec2(&ask, &new)?)
}

async fn found_ec2(ask: &Ask, action: &str) -> Result<Credential, Fault> {
    ask.caller()?;
    let access = ask.param("access");
    let found = credential::get(&mut ask.app.state.reader(), &ec2_id(access)).await?;
    let found = found.filter(|c| c.kind == "ec2");
    // Access keys are random: whether one exists is no secret. The rule looks at
    // whose it is, whoever the path names.
    let found = found.ok_or_else(|| Fault::not_found("credential", access))?;
    ask.enforce(action, target(&found.user_id))?;
    not_delegated(ask)?;
    Ok(found)
}

/// `GET …/OS-EC2/{access}`.
pub(crate) async fn show_one_ec2(ask: Ask) -> Reply {
    let credential = found_ec2(&ask, "identity:ec2_get_credential").await?;
    reply::one("credential", show_ec2(&ask, &credential)?)
}

/// `DELETE …/OS-EC2/{access}`.
pub(crate) async fn delete_ec2(ask: Ask) -> Reply {
    let credential = found_ec2(&ask, "identity:ec2_delete_credential").await?;
    remove(&ask, &credential.id).await
}
