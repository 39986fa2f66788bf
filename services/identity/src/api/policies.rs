//! `/v3/policies` and what they belong to (`OS-ENDPOINT-POLICY`): texts kept
//! for other services.
use serde_json::{Value, json};
use virga_state::transact;

use super::ask::Ask;
use super::endpoints::show_endpoint;
use super::fields::Fields;
use super::reply::{self, Reply};
use crate::fault::Fault;
use crate::model::catalog::{self, Endpoint};
use crate::model::policy::{self, Policy, Subject};
use crate::model::{Object, new_id};

fn show(ask: &Ask, p: &Policy) -> Value {
    let mut shown = Value::Object(p.extra.clone());
    shown["id"] = json!(p.id);
    shown["type"] = json!(p.kind);
    // Earlier releases took an object in place of a text; it comes back as one.
    shown["blob"] = serde_json::from_str(&p.blob).unwrap_or(Value::Null);
    shown["links"] = json!({"self": ask.url(&format!("/v3/policies/{}", p.id))});
    shown
}

async fn found(ask: &Ask, action: &str) -> Result<Policy, Fault> {
    ask.enforce(action, Value::Null)?;
    let id = ask.param("policy_id");
    let found = policy::get(&mut ask.app.state.reader(), id).await?;
    found.ok_or_else(|| Fault::not_found("policy", id))
}

/// `GET /v3/policies`.
pub(crate) async fn list(ask: Ask) -> Reply {
    ask.enforce("identity:list_policies", Value::Null)?;
    let all = policy::list(&mut ask.app.state.reader()).await?;
    let items = all.iter().map(|p| show(&ask, p)).collect();
    reply::list(&ask, "policies", items, &["type"])
}

/// `GET /v3/policies/{id}`.
pub(crate) async fn show_one(ask: Ask) -> Reply {
    let policy = found(&ask, "identity:get_policy").await?;
    reply::one("policy", show(&ask, &policy))
}

/// Applies what the body says; the same for new and changed ones.
fn apply(p: &mut Policy, mut fields: Fields) -> Result<(), Fault> {
    fields.not_null(&["type"])?;
    if let Some(Some(kind)) = fields.text("type")? {
        if kind.chars().count() > 255 {
            return Err(Fault::BadRequest(
                "Invalid input for field 'type': it is longer than 255 characters.".into(),
            ));
        }
        p.kind = kind;
    }
    match fields.take("blob") {
        None => {}
        Some(blob @ Value::String(_)) => p.blob = blob.to_string(),
        Some(_) => {
            return Err(Fault::BadRequest(
                "Invalid input for field 'blob': it is not of type 'string'.".into(),
            ));
        }
    }
    p.extra.extend(fields.rest());
    Ok(())
}

async fn store(ask: &Ask, new: &Policy, before: Option<&Policy>) -> Result<(), Fault> {
    let action = if before.is_some() { "updated" } else { "created" };
    transact!(ask.app.state, |tx| -> Result<(), Fault> {
        if let Some(before) = before {
            Fault::unless_same(policy::get(tx, &new.id).await?.as_ref(), before)?;
        }
        policy::put(tx, new).await?;
        Ok(ask.note(tx, "policy", &new.id, action).await?)
    })
}

/// `POST /v3/policies`.
pub(crate) async fn create(ask: Ask) -> Reply {
    ask.enforce("identity:create_policy", Value::Null)?;
    let mut fields = ask.fields("policy")?;
    fields.drop("id");
    let mut new = Policy {
        id: new_id(),
        kind: String::new(),
        blob: String::new(),
        extra: Object::new(),
    };
    apply(&mut new, fields)?;
    for (field, value) in [("type", &new.kind), ("blob", &new.blob)] {
        if value.is_empty() {
            return Err(Fault::BadRequest(format!(
                "Invalid input for field '{field}': '{field}' is a required property."
            )));
        }
    }
    store(&ask, &new, None).await?;
    reply::created("policy", show(&ask, &new))
}

/// `PATCH /v3/policies/{id}`.
pub(crate) async fn update(ask: Ask) -> Reply {
    let before = found(&ask, "identity:update_policy").await?;
    let mut policy = before.clone();
    let mut fields = ask.changes("policy")?;
    fields.same_id(&policy.id)?;
    apply(&mut policy, fields)?;
    store(&ask, &policy, Some(&before)).await?;
    reply::one("policy", show(&ask, &policy))
}

/// `DELETE /v3/policies/{id}`.
pub(crate) async fn delete(ask: Ask) -> Reply {
    let policy = found(&ask, "identity:delete_policy").await?;
    transact!(ask.app.state, |tx| -> Result<(), Fault> {
        policy::delete(tx, &policy.id).await?;
        Ok(ask.note(tx, "policy", &policy.id, "deleted").await?)
    })?;
    reply::nothing()
}

/// The rules for an association with an endpoint, a service, a service in a
/// region.
type Rules = (&'static str, &'static str, &'static str);

const CREATE: Rules = (
    "identity:create_policy_association_for_endpoint",
    "identity:create_policy_association_for_service",
    "identity:create_policy_association_for_region_and_service",
);
const CHECK: Rules = (
    "identity:check_policy_association_for_endpoint",
    "identity:check_policy_association_for_service",
    "identity:check_policy_association_for_region_and_service",
);
const DELETE: Rules = (
    "identity:delete_policy_association_for_endpoint",
    "identity:delete_policy_association_for_service",
    "identity:delete_policy_association_for_region_and_service",
);

/// What the path names, which must exist.
async fn subject(ask: &Ask, rules: Rules) -> Result<(Policy, Subject), Fault> {
    let subject = Subject {
        endpoint_id: ask.param("endpoint_id").to_owned(),
        service_id: ask.param("service_id").to_owned(),
        region_id: ask.param("region_id").to_owned(),
    };
    let rule = match (subject.endpoint_id.as_str(), subject.region_id.as_str()) {
        ("", "") => rules.1,
        ("", _) => rules.2,
        _ => rules.0,
    };
    let policy = found(ask, rule).await?;
    let mut q = ask.app.state.reader();
    let (endpoint, service, region) = (&subject.endpoint_id, &subject.service_id, &subject.region_id);
    if !endpoint.is_empty() && catalog::get_endpoint(&mut q, endpoint).await?.is_none() {
        return Err(Fault::not_found("endpoint", endpoint));
    }
    if !service.is_empty() && catalog::get_service(&mut q, service).await?.is_none() {
        return Err(Fault::not_found("service", service));
    }
    if !region.is_empty() && catalog::get_region(&mut q, region).await?.is_none() {
        return Err(Fault::not_found("region", region));
    }
    Ok((policy, subject))
}

/// `PUT …/OS-ENDPOINT-POLICY/…`.
pub(crate) async fn associate(ask: Ask) -> Reply {
    let (policy, subject) = subject(&ask, CREATE).await?;
    transact!(ask.app.state, |tx| -> Result<(), Fault> {
        policy::associate(tx, &policy.id, &subject).await?;
        Ok(ask.note(tx, "policy", &policy.id, "associated").await?)
    })?;
    reply::nothing()
}

fn no_association() -> Fault {
    Fault::NotFound("Could not find policy association.".into())
}

/// `GET` and `HEAD …/OS-ENDPOINT-POLICY/…`.
pub(crate) async fn is_associated(ask: Ask) -> Reply {
    let (policy, subject) = subject(&ask, CHECK).await?;
    let holder = policy::of_subject(&mut ask.app.state.reader(), &subject).await?;
    if holder.as_ref() == Some(&policy.id) {
        reply::nothing()
    } else {
        Err(no_association())
    }
}

/// `DELETE …/OS-ENDPOINT-POLICY/…`.
pub(crate) async fn dissociate(ask: Ask) -> Reply {
    let (policy, subject) = subject(&ask, DELETE).await?;
    transact!(ask.app.state, |tx| -> Result<(), Fault> {
        // That there is none is what was asked for.
        if policy::dissociate(tx, &policy.id, &subject).await? {
            ask.note(tx, "policy", &policy.id, "dissociated").await?;
        }
        Ok(())
    })?;
    reply::nothing()
}

/// What a policy for `e` may belong to, the nearest first: the endpoint, its
/// service in its region and in those around, its service.
async fn chain(ask: &Ask, e: &Endpoint) -> Result<Vec<Subject>, Fault> {
    let mut subjects = vec![Subject {
        endpoint_id: e.id.clone(),
        ..Subject::default()
    }];
    let mut next = e.region_id.clone();
    while let Some(id) = next {
        let region = catalog::get_region(&mut ask.app.state.reader(), &id).await?;
        subjects.push(Subject {
            service_id: e.service_id.clone(),
            region_id: id,
            ..Subject::default()
        });
        next = region.and_then(|r| r.parent_region_id);
    }
    subjects.push(Subject {
        service_id: e.service_id.clone(),
        ..Subject::default()
    });
    Ok(subjects)
}

/// Id of the policy that counts for an endpoint.
async fn policy_id_of(ask: &Ask, e: &Endpoint) -> Result<Option<String>, Fault> {
    for subject in chain(ask, e).await? {
        let found = policy::of_subject(&mut ask.app.state.reader(), &subject).await?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// `GET /v3/endpoints/{id}/OS-ENDPOINT-POLICY/policy`.
pub(crate) async fn of_endpoint(ask: Ask) -> Reply {
    ask.enforce("identity:get_policy_for_endpoint", Value::Null)?;
    let id = ask.param("endpoint_id");
    let mut q = ask.app.state.reader();
    let endpoint = catalog::get_endpoint(&mut q, id)
        .await?
        .ok_or_else(|| Fault::not_found("endpoint", id))?;
    let none = || Fault::NotFound(format!("No policy is associated with endpoint {id}."));
    let policy = policy_id_of(&ask, &endpoint).await?.ok_or_else(none)?;
    let policy = policy::get(&mut q, &policy).await?.ok_or_else(none)?;
    reply::one("policy", show(&ask, &policy))
}

/// `GET /v3/policies/{id}/OS-ENDPOINT-POLICY/endpoints`: those that the policy
/// counts for.
pub(crate) async fn endpoints(ask: Ask) -> Reply {
    let policy = found(&ask, "identity:list_endpoints_for_policy").await?;
    let mut q = ask.app.state.reader();
    let mut items = Vec::new();
    if !policy::subjects(&mut q, &policy.id).await?.is_empty() {
        for endpoint in catalog::endpoints(&mut q).await? {
            if policy_id_of(&ask, &endpoint).await?.as_ref() == Some(&policy.id) {
                items.push(show_endpoint(&ask, &endpoint));
            }
        }
    }
    reply::list(&ask, "endpoints", items, &[])
}
