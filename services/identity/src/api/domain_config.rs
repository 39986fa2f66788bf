//! `/v3/domains/{id}/config`: options of a domain's own identity driver. They
//! are kept and told; no driver that would read them is built in. And what
//! anyone may know of the rules for passwords (`security_compliance`).
use axum::response::IntoResponse;
use http::StatusCode;
use serde_json::{Map, Value, json};
use virga_state::transact;

use super::ask::Ask;
use super::reply::{self, Reply};
use crate::bootstrap::DEFAULT_DOMAIN;
use crate::fault::Fault;
use crate::model::domain_option::{self, DomainOption};
use crate::model::project;
use crate::secrets;

/// Options that may be set and seen, by group.
const IDENTITY: [&str; 2] = ["driver", "list_limit"];
const LDAP: [&str; 49] = [
    "url",
    "user",
    "suffix",
    "query_scope",
    "page_size",
    "alias_dereferencing",
    "debug_level",
    "chase_referrals",
    "user_tree_dn",
    "user_filter",
    "user_objectclass",
    "user_id_attribute",
    "user_name_attribute",
    "user_mail_attribute",
    "user_description_attribute",
    "user_pass_attribute",
    "user_enabled_attribute",
    "user_enabled_invert",
    "user_enabled_mask",
    "user_enabled_default",
    "user_attribute_ignore",
    "user_default_project_id_attribute",
    "user_enabled_emulation",
    "user_enabled_emulation_dn",
    "user_enabled_emulation_use_group_config",
    "user_additional_attribute_mapping",
    "group_tree_dn",
    "group_filter",
    "group_objectclass",
    "group_id_attribute",
    "group_name_attribute",
    "group_members_are_ids",
    "group_member_attribute",
    "group_desc_attribute",
    "group_attribute_ignore",
    "group_additional_attribute_mapping",
    "tls_cacertfile",
    "tls_cacertdir",
    "use_tls",
    "tls_req_cert",
    "use_pool",
    "pool_size",
    "pool_retry_max",
    "pool_retry_delay",
    "pool_connection_timeout",
    "pool_connection_lifetime",
    "use_auth_pool",
    "auth_pool_size",
    "auth_pool_connection_lifetime",
];
/// The one that may be set, but is never told.
const HIDDEN: (&str, &str) = ("ldap", "password");

fn known(group: &str) -> Option<&'static [&'static str]> {
    match group {
        "identity" => Some(&IDENTITY),
        "ldap" => Some(&LDAP),
        _ => None,
    }
}

fn invalid(why: &str) -> Fault {
    Fault::Forbidden(format!("Invalid domain specific configuration: {why}."))
}

/// 403 unless the group, and the option if one is named, may be set.
fn check(group: &str, option: &str) -> Result<(), Fault> {
    let Some(options) = known(group) else {
        return Err(invalid(&format!(
            "Group {group} is not supported for domain specific configurations"
        )));
    };
    if option.is_empty() || options.contains(&option) || (group, option) == HIDDEN {
        return Ok(());
    }
    Err(invalid(&format!(
        "Option {option} in group {group} is not supported for domain specific configurations"
    )))
}

/// The domain of the path, after asking policy.
async fn domain(ask: &Ask, action: &str) -> Result<String, Fault> {
    ask.enforce(action, Value::Null)?;
    let id = ask.param("domain_id");
    let found = project::get(&mut ask.app.state.reader(), id).await?;
    match found.filter(|d| d.is_domain) {
        Some(domain) => Ok(domain.id),
        None => Err(Fault::not_found("domain", id)),
    }
}

/// What is stored, by group: everything, the hidden too.
async fn stored(ask: &Ask, domain: &str) -> Result<Vec<DomainOption>, Fault> {
    Ok(domain_option::list(&mut ask.app.state.reader(), domain).await?)
}

fn told(ask: &Ask, options: &[DomainOption]) -> Result<Map<String, Value>, Fault> {
    let mut config = Map::new();
    for o in options
        .iter()
        .filter(|o| (o.group.as_str(), o.name.as_str()) != HIDDEN)
    {
        let value = secrets::open(&ask.app.credential_keys, &o.sealed_value)?;
        let value = serde_json::from_str(&value).unwrap_or(Value::Null);
        let group = config.entry(o.group.clone()).or_insert_with(|| json!({}));
        group[&o.name] = value;
    }
    Ok(config)
}

fn missing(what: &str, domain: &str) -> Fault {
    Fault::NotFound(format!(
        "Could not find {what} in domain configuration for domain {domain}."
    ))
}

/// The part of a configuration that the path names.
fn part(config: Map<String, Value>, group: &str, option: &str, domain: &str) -> Result<Value, Fault> {
    if group.is_empty() {
        if config.is_empty() {
            return Err(missing("any options", domain));
        }
        return Ok(Value::Object(config));
    }
    let Some(of_group) = config.get(group) else {
        return Err(missing(&format!("group {group}"), domain));
    };
    if option.is_empty() {
        return Ok(json!({group: of_group}));
    }
    match of_group.get(option) {
        Some(value) => Ok(json!({option: value})),
        None => Err(missing(&format!("option {option} in group {group}"), domain)),
    }
}

/// What anyone may know of the password rules, for the default domain.
fn security_compliance(ask: &Ask) -> Reply {
    ask.enforce("identity:get_security_compliance_domain_config", Value::Null)?;
    if ask.param("domain_id") != DEFAULT_DOMAIN {
        return Err(invalid(
            "Reading security compliance information for any domain other than the default domain is not allowed",
        ));
    }
    let rules = &ask.app.password_rules.config;
    let config = json!({
        "password_regex": rules.password_regex,
        "password_regex_description": rules.password_regex_description,
    });
    match ask.param("option") {
        "" => reply::one("config", json!({"security_compliance": config})),
        option => match config.get(option) {
            Some(value) => reply::one("config", json!({option: value})),
            None => Err(invalid(&format!(
                "Reading security compliance values other than password_regex and password_regex_description is not \
                 allowed, not {option}"
            ))),
        },
    }
}

/// `GET …/config`, `…/config/{group}`, `…/config/{group}/{option}`.
pub(crate) async fn show(ask: Ask) -> Reply {
    let (group, option) = (ask.param("group"), ask.param("option"));
    if group == "security_compliance" {
        return security_compliance(&ask);
    }
    let domain = domain(&ask, "identity:get_domain_config").await?;
    if !group.is_empty() {
        check(group, option)?;
    }
    let config = told(&ask, &stored(&ask, &domain).await?)?;
    reply::one("config", part(config, group, option, &domain)?)
}

/// The options of a body: groups with options below them.
fn read(ask: &Ask, config: &Map<String, Value>) -> Result<Vec<DomainOption>, Fault> {
    let mut options = Vec::new();
    for (group, of_group) in config {
        check(group, "")?;
        let Some(of_group) = of_group.as_object() else {
            return Err(invalid(&format!(
                "The value of group {group} is not of type 'object'"
            )));
        };
        for (name, value) in of_group {
            check(group, name)?;
            options.push(DomainOption {
                group: group.clone(),
                name: name.clone(),
                sealed_value: secrets::seal(&ask.app.credential_keys, &*ask.app.clock, &value.to_string())?,
            });
        }
    }
    if options.is_empty() {
        return Err(invalid("No options specified"));
    }
    Ok(options)
}

fn body(ask: &Ask) -> Result<Map<String, Value>, Fault> {
    match ask.json()?.get_mut("config").map(Value::take) {
        Some(Value::Object(config)) => Ok(config),
        _ => Err(invalid("No options specified")),
    }
}

/// `PUT …/config`: in place of what there is.
pub(crate) async fn create(ask: Ask) -> Reply {
    let domain = domain(&ask, "identity:create_domain_config").await?;
    let options = read(&ask, &body(&ask)?)?;
    let fresh = stored(&ask, &domain).await?.is_empty();
    transact!(ask.app.state, |tx| -> Result<(), Fault> {
        domain_option::delete(tx, &domain, None, None).await?;
        for option in &options {
            domain_option::put(tx, &domain, option).await?;
        }
        Ok(ask.note(tx, "domain config", &domain, "created").await?)
    })?;
    let config = told(&ask, &stored(&ask, &domain).await?)?;
    let status = if fresh {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((status, axum::Json(json!({"config": config}))).into_response())
}

/// `PATCH …/config`, `…/config/{group}`, `…/config/{group}/{option}`.
pub(crate) async fn update(ask: Ask) -> Reply {
    let domain = domain(&ask, "identity:update_domain_config").await?;
    let (group, option) = (ask.param("group"), ask.param("option"));
    let mut config = body(&ask)?;
    let before = told(&ask, &stored(&ask, &domain).await?)?;
    if !group.is_empty() {
        check(group, option)?;
        let wanted = if option.is_empty() { group } else { option };
        if config.len() != 1 || !config.contains_key(wanted) {
            return Err(invalid("The body must hold what the path names and nothing else"));
        }
        if (group, option) != HIDDEN {
            part(before, group, option, &domain)?;
        }
        if !option.is_empty() {
            config = Map::from_iter([(group.to_owned(), Value::Object(config))]);
        }
    }
    let options = read(&ask, &config)?;
    transact!(ask.app.state, |tx| -> Result<(), Fault> {
        for option in &options {
            domain_option::put(tx, &domain, option).await?;
        }
        Ok(ask.note(tx, "domain config", &domain, "updated").await?)
    })?;
    let config = told(&ask, &stored(&ask, &domain).await?)?;
    reply::one("config", Value::Object(config))
}

/// `DELETE …/config`, `…/config/{group}`, `…/config/{group}/{option}`.
pub(crate) async fn delete(ask: Ask) -> Reply {
    let domain = domain(&ask, "identity:delete_domain_config").await?;
    let (group, option) = (ask.param("group"), ask.param("option"));
    if !group.is_empty() {
        check(group, option)?;
        if (group, option) != HIDDEN {
            part(told(&ask, &stored(&ask, &domain).await?)?, group, option, &domain)?;
        }
    }
    let some = |text: &'static str| Some(ask.param(text)).filter(|t| !t.is_empty());
    transact!(ask.app.state, |tx| -> Result<(), Fault> {
        domain_option::delete(tx, &domain, some("group"), some("option")).await?;
        Ok(ask.note(tx, "domain config", &domain, "deleted").await?)
    })?;
    reply::nothing()
}

/// `GET /v3/domains/config/default` and its parts: what an option is when
/// nobody has set it. Nothing reads them here, so all but the driver are null.
pub(crate) async fn defaults(ask: Ask) -> Reply {
    ask.enforce("identity:get_domain_config_default", Value::Null)?;
    let (group, option) = (ask.param("group"), ask.param("option"));
    if !group.is_empty() {
        check(group, option)?;
    }
    let value = |group: &str, name: &str| match (group, name) {
        ("identity", "driver") => json!("sql"),
        _ => Value::Null,
    };
    let of = |group: &str| -> Map<String, Value> {
        let names = known(group).unwrap_or_default();
        names
            .iter()
            .map(|name| ((*name).to_owned(), value(group, name)))
            .collect()
    };
    let config = match (group, option) {
        ("", _) => json!({"identity": of("identity"), "ldap": of("ldap")}),
        (group, "") => json!({group: of(group)}),
        (group, option) if (group, option) == HIDDEN => {
            return Err(invalid(
                "Reading the default for option password in group ldap is not supported",
            ));
        }
        (group, option) => json!({option: value(group, option)}),
    };
    reply::one("config", config)
}
