//! Which methods there are at each level of the API.
use http::header::ALLOW;
use http::{Method, StatusCode};

use super::config::Config;
use super::fault::Fault;
use super::headers;
use super::target::Target;

/// Names of the methods that exist for a target.
pub fn of(config: &Config, target: &Target) -> Vec<&'static str> {
    let mut methods = match target {
        Target::Account(_) => vec!["GET", "HEAD", "OPTIONS", "POST"],
        Target::Container(_) => vec!["DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT"],
        Target::Object(_) => vec!["COPY", "DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT"],
    };
    if matches!(target, Target::Account(_)) && config.allow_account_management {
        methods.extend(["DELETE", "PUT"]);
    }
    methods
}

/// Refuses a method that does not exist for a target.
///
/// # Errors
/// 405, with those that do.
pub fn check(config: &Config, method: &Method, target: &Target) -> Result<(), Fault> {
    let methods = of(config, target);
    // Bulk deletion may come as a DELETE of the account, an archive as a PUT of it.
    let bulk = matches!(target, Target::Account(_)) && (*method == Method::DELETE || *method == Method::PUT);
    match methods.contains(&method.as_str()) || bulk {
        true => Ok(()),
        false => Err(not_allowed(&methods)),
    }
}

/// 405, with the methods that are allowed.
pub fn not_allowed(methods: &[&str]) -> Fault {
    Fault::page(StatusCode::METHOD_NOT_ALLOWED).with(ALLOW, headers::to_value(&methods.join(", ")))
}
