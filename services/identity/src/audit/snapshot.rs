//! Records as the audit keeps them: what was there before a change and what is
//! there after it.
//!
//! Only the columns named here are ever read. Of those that hold secrets, sealed
//! or hashed, a fingerprint of what is stored is kept: it shows that the secret
//! was changed and nothing else. So does it of long texts.
use serde_json::{Map, Value, json};
use virga_state::{Queries, StateError, args};

/// Rows of one record at most: the roles of an actor, the limits of a domain.
const MAX_ROWS: usize = 500;
/// Longest text that is kept as it is, in bytes.
const MAX_TEXT: usize = 512;
/// Longest snapshot that is kept, in bytes of JSON.
const MAX_SNAPSHOT: usize = 16 * 1024;

/// How a kind of record is read.
struct Shape {
    /// The kind, as the change feed calls it.
    kind: &'static str,
    /// Columns, and from where: the id is bound.
    from: &'static str,
    /// Columns of which only a fingerprint is kept.
    sealed: &'static [&'static str],
}

const fn shape(kind: &'static str, from: &'static str, sealed: &'static [&'static str]) -> Shape {
    Shape { kind, from, sealed }
}

const PROJECT: &str =
    "p.id, p.domain_id, p.parent_id, p.name, p.description, p.enabled, p.is_domain, p.options,
    p.extra FROM identity_project p WHERE p.id = $1";

const SHAPES: &[Shape] = &[
    shape(
        "user",
        "id, domain_id, name, enabled, default_project_id, password_hash, password_expires_at, options, extra
         FROM identity_user WHERE id = $1",
        &["password_hash"],
    ),
    shape(
        "group",
        "id, domain_id, name, description, extra FROM identity_group WHERE id = $1",
        &[],
    ),
    shape("project", PROJECT, &[]),
    shape("domain", PROJECT, &[]),
    shape(
        "role",
        "id, domain_id, name, description, options, extra FROM identity_role WHERE id = $1",
        &[],
    ),
    shape(
        "role assignment",
        "actor_kind, actor_id, target_kind, target_id, role_id, inherited FROM identity_assignment
         WHERE actor_id = $1 ORDER BY target_id, role_id, inherited",
        &[],
    ),
    shape(
        "region",
        "id, parent_region_id, description, extra FROM identity_region WHERE id = $1",
        &[],
    ),
    shape(
        "service",
        "id, type, name, description, enabled, extra FROM identity_service WHERE id = $1",
        &[],
    ),
    shape(
        "endpoint",
        "id, service_id, interface, region_id, url, enabled, extra FROM identity_endpoint WHERE id = $1",
        &[],
    ),
    shape(
        "credential",
        "id, user_id, project_id, type, sealed_blob FROM identity_credential WHERE id = $1",
        &["sealed_blob"],
    ),
    shape(
        "application credential",
        "id, user_id, project_id, name, description, secret_hash, expires_at, unrestricted
         FROM identity_application_credential WHERE id = $1",
        &["secret_hash"],
    ),
    shape(
        "access rule",
        "id, user_id, service, method, path FROM identity_access_rule WHERE id = $1",
        &[],
    ),
    shape(
        "trust",
        "id, trustor_user_id, trustee_user_id, project_id, impersonation, expires_at, remaining_uses,
         redelegation_count, redelegated_trust_id FROM identity_trust WHERE id = $1",
        &[],
    ),
    shape(
        "registered limit",
        "id, service_id, region_id, resource_name, default_limit, description FROM identity_registered_limit
         WHERE id = $1",
        &[],
    ),
    shape(
        "limit",
        "id, registered_limit_id, project_id, domain_id, resource_limit, description FROM identity_limit
         WHERE id = $1",
        &[],
    ),
    shape("policy", "id, type, blob FROM identity_policy WHERE id = $1", &["blob"]),
    shape(
        "endpoint group",
        "id, name, description, filters FROM identity_endpoint_group WHERE id = $1",
        &[],
    ),
    shape(
        "endpoint filter",
        "project_id, endpoint_id FROM identity_project_endpoint WHERE project_id = $1
         UNION ALL SELECT project_id, endpoint_group_id FROM identity_project_endpoint_group WHERE project_id = $1
         ORDER BY 2",
        &[],
    ),
    shape(
        "domain config",
        "group_name, name, sealed_value FROM identity_domain_option WHERE domain_id = $1 ORDER BY group_name, name",
        &["sealed_value"],
    ),
    shape(
        "consumer",
        "id, description, sealed_secret FROM identity_consumer WHERE id = $1",
        &["sealed_secret"],
    ),
    shape(
        "identity provider",
        "id, domain_id, enabled, description, authorization_ttl FROM identity_provider WHERE id = $1",
        &[],
    ),
    shape(
        "mapping",
        "id, rules, schema_version FROM identity_mapping WHERE id = $1",
        &[],
    ),
    shape(
        "federation protocol",
        "id, provider_id, mapping_id, remote_id_attribute FROM identity_protocol WHERE id = $1 ORDER BY provider_id",
        &[],
    ),
    shape(
        "service provider",
        "id, enabled, description, auth_url, sp_url, relay_state_prefix FROM identity_service_provider WHERE id = $1",
        &[],
    ),
    shape("request_token", OAUTH_TOKEN, &["sealed_secret"]),
    shape("access_token", OAUTH_TOKEN, &["sealed_secret"]),
];

/// What belongs to a record and lies in a table of its own: the kind, what it is
/// called, and from where it is read.
const PARTS: &[(&str, &str, &str)] = &[
    (
        "project",
        "tags",
        "name AS part FROM identity_project_tag WHERE project_id = $1 ORDER BY name",
    ),
    (
        "group",
        "members",
        "user_id AS part FROM identity_membership WHERE group_id = $1 ORDER BY user_id",
    ),
    (
        "role",
        "implies",
        "implied_id AS part FROM identity_implied_role WHERE prior_id = $1 ORDER BY implied_id",
    ),
    (
        "trust",
        "roles",
        "role_id AS part FROM identity_trust_role WHERE trust_id = $1 ORDER BY role_id",
    ),
    (
        "application credential",
        "roles",
        "role_id AS part FROM identity_application_credential_role WHERE credential_id = $1 ORDER BY role_id",
    ),
    (
        "application credential",
        "access_rules",
        "rule_id AS part FROM identity_application_credential_rule WHERE credential_id = $1 ORDER BY rule_id",
    ),
    (
        "policy",
        "associated",
        "endpoint_id || ' ' || service_id || ' ' || region_id AS part FROM identity_policy_association
         WHERE policy_id = $1 ORDER BY 1",
    ),
];

const OAUTH_TOKEN: &str = "id, kind, consumer_id, sealed_secret, project_id, user_id, role_ids, expires_at
    FROM identity_oauth_token WHERE id = $1";

/// Columns that hold a BOOLEAN, which SQLite keeps as a number.
const FLAGS: [&str; 5] = [
    "enabled",
    "is_domain",
    "inherited",
    "impersonation",
    "unrestricted",
];
/// Columns that hold the text of a JSON object.
const OBJECTS: [&str; 3] = ["options", "extra", "filters"];
/// Attributes that clients make up are hidden if they are called like this.
const SECRETIVE: [&str; 4] = ["password", "secret", "token", "key"];

/// The rows of a record; none if it is not there, or of a kind that has none.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Snapshot(Vec<Map<String, Value>>);

fn fingerprint(text: &str) -> Value {
    let hash = blake3::hash(text.as_bytes()).to_hex();
    json!(format!("({} bytes, blake3 {})", text.len(), &hash[..16]))
}

fn hidden(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRETIVE.iter().any(|word| name.contains(word))
}

fn kept(name: &str, value: Value, sealed: &[&str]) -> Value {
    match value {
        Value::String(text) if sealed.contains(&name) => fingerprint(&text),
        Value::String(text) if OBJECTS.contains(&name) && text.len() <= MAX_TEXT => {
            let mut object: Value = serde_json::from_str(&text).unwrap_or_default();
            for (attribute, value) in object.as_object_mut().into_iter().flatten() {
                // Options are the service's own, and not secret.
                if name == "extra" && hidden(attribute) {
                    *value = json!("(hidden)");
                }
            }
            object
        }
        Value::String(text) if text.len() > MAX_TEXT => fingerprint(&text),
        Value::Number(flag) if FLAGS.contains(&name) => json!(flag.as_i64() != Some(0)),
        other => other,
    }
}

/// The record of this kind and id as it is now.
pub(crate) async fn take(q: &mut impl Queries, kind: &str, id: &str) -> Result<Snapshot, StateError> {
    let Some(shape) = SHAPES.iter().find(|shape| shape.kind == kind) else {
        return Ok(Snapshot::default());
    };
    let rows = q.fetch(format!("SELECT {}", shape.from), args![id]).await?;
    let read = rows.iter().take(MAX_ROWS).map(|row| {
        let pairs = row.to_json().into_iter();
        pairs
            .map(|(name, value)| {
                let value = kept(&name, value, shape.sealed);
                (name, value)
            })
            .collect()
    });
    let mut found = Snapshot(read.collect());
    let Some(record) = found.0.first_mut() else {
        return Ok(found);
    };
    for (_, attribute, from) in PARTS.iter().filter(|(of, ..)| *of == kind) {
        let rows = q
            .fetch(format!("SELECT {from} LIMIT {MAX_ROWS}"), args![id])
            .await?;
        let parts: Vec<String> = rows.iter().map(|r| r.text("part")).collect::<Result<_, _>>()?;
        record.insert((*attribute).to_owned(), json!(parts));
    }
    Ok(found)
}

fn bounded(value: Value) -> Value {
    let text = value.to_string();
    match text.len() > MAX_SNAPSHOT {
        true => json!({ "too_long": fingerprint(&text) }),
        false => value,
    }
}

/// What a change took and what it brought: of one record its attributes that
/// differ (all of them, if it was made or deleted), of several rows those.
pub(crate) fn difference(before: &Snapshot, after: &Snapshot) -> (Value, Value) {
    let (before, after) = match (before.0.as_slice(), after.0.as_slice()) {
        ([one], [other]) if one.get("id") == other.get("id") && one.contains_key("id") => {
            let only = |of: &Map<String, Value>, than: &Map<String, Value>| -> Value {
                let differ = of.iter().filter(|(name, value)| than.get(*name) != Some(value));
                Value::Object(differ.map(|(n, v)| (n.clone(), v.clone())).collect())
            };
            (only(one, other), only(other, one))
        }
        (rows, others) => {
            let only = |of: &[Map<String, Value>], than: &[Map<String, Value>]| -> Value {
                let mut gone: Vec<Value> = of
                    .iter()
                    .filter(|row| !than.contains(row))
                    .map(|row| Value::Object(row.clone()))
                    .collect();
                match gone.len() {
                    0 => Value::Null,
                    1 if gone[0].get("id").is_some() => gone.remove(0),
                    _ => Value::Array(gone),
                }
            };
            (only(rows, others), only(others, rows))
        }
    };
    (bounded(before), bounded(after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(rows: &[Value]) -> Snapshot {
        Snapshot(rows.iter().filter_map(|row| row.as_object().cloned()).collect())
    }

    #[test]
    fn a_difference_shows_what_changed_and_nothing_else() {
        let old = snapshot(&[json!({"id": "u", "name": "a", "enabled": true})]);
        let new = snapshot(&[json!({"id": "u", "name": "b", "enabled": true})]);
        let none = Snapshot::default();
        assert_eq!(
            difference(&old, &new),
            (json!({"name": "a"}), json!({"name": "b"}))
        );
        assert_eq!(difference(&none, &new).0, Value::Null);
        assert_eq!(difference(&none, &new).1["enabled"], json!(true));
        assert_eq!(difference(&new, &none).1, Value::Null);
        let (one, two) = (json!({"role_id": "r"}), json!({"role_id": "s"}));
        let gained = difference(
            &snapshot(std::slice::from_ref(&one)),
            &snapshot(&[one, two.clone()]),
        );
        assert_eq!(gained, (Value::Null, json!([two])));
    }

    #[test]
    fn secrets_and_long_texts_leave_a_fingerprint_only() {
        let hash = kept("password_hash", json!("$argon2id$x"), &["password_hash"]);
        assert!(!hash.to_string().contains("argon2") && hash.to_string().contains("blake3"));
        let extra = json!({"email": "a@b", "API_Key": "k", "my_password": "p"}).to_string();
        assert_eq!(
            kept("extra", json!(extra), &[]),
            json!({"email": "a@b", "API_Key": "(hidden)", "my_password": "(hidden)"})
        );
        assert!(kept("blob", json!("x".repeat(9000)), &[]).to_string().len() < 100);
        assert_eq!(kept("enabled", json!(0), &[]), json!(false));
    }
}
