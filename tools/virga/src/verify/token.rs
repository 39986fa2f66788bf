//! A token from what an openrc file leaves in the environment.
use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};
use virga_http::outward::Outward;

use super::http::{exchange, parse};

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// `OS_AUTH_TOKEN` or `OS_TOKEN`; else a new one for `OS_USERNAME`; `None`
/// without either.
///
/// # Errors
/// A sentence for the person who asked, if identity gives no token.
pub async fn from_environment(outward: &Outward) -> Result<Option<String>, String> {
    let given = variable("OS_AUTH_TOKEN").or_else(|| variable("OS_TOKEN"));
    let (Some(url), Some(request), None) = (variable("OS_AUTH_URL"), request(variable), &given) else {
        return Ok(given);
    };
    let url = url.trim_end_matches('/');
    let url = match url.ends_with("/v3") {
        true => format!("{url}/auth/tokens"),
        false => format!("{url}/v3/auth/tokens"),
    };
    let request = Request::builder()
        .method(Method::POST)
        .uri(parse(&url)?)
        .header("content-type", "application/json")
        .body(Full::from(request.to_string()))
        .map_err(|error| error.to_string())?;
    let answer = exchange(outward, request).await?;
    match answer.header("x-subject-token") {
        Some(token) => Ok(Some(token.to_owned())),
        None => Err(format!(
            "{url}: identity gives no token, it answers {}",
            answer.status
        )),
    }
}

/// What identity is asked, for a user with a password.
fn request(of: impl Fn(&str) -> Option<String>) -> Option<Value> {
    let domain = |kind: &str| {
        let by = |field: &str| of(&format!("OS_{kind}_DOMAIN_{field}"));
        match by("ID") {
            Some(id) => json!({ "id": id }),
            None => json!({ "name": by("NAME").unwrap_or_else(|| "Default".into()) }),
        }
    };
    let user = match of("OS_USER_ID") {
        Some(id) => json!({ "id": id, "password": of("OS_PASSWORD")? }),
        None => {
            json!({ "name": of("OS_USERNAME")?, "domain": domain("USER"), "password": of("OS_PASSWORD")? })
        }
    };
    let mut auth = json!({ "identity": { "methods": ["password"], "password": { "user": user } } });
    if let Some(id) = of("OS_PROJECT_ID") {
        auth["scope"] = json!({ "project": { "id": id } });
    } else if let Some(name) = of("OS_PROJECT_NAME") {
        auth["scope"] = json!({ "project": { "name": name, "domain": domain("PROJECT") } });
    }
    Some(json!({ "auth": auth }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sourced_openrc_is_what_identity_is_asked_with() {
        let of = |name: &str| {
            let value = match name {
                "OS_USERNAME" => "demo",
                "OS_PASSWORD" => "p",
                "OS_PROJECT_NAME" => "shop",
                "OS_PROJECT_DOMAIN_ID" => "default",
                _ => return None,
            };
            Some(value.to_owned())
        };
        let expected = json!({ "auth": {
            "identity": { "methods": ["password"], "password": { "user":
                { "name": "demo", "domain": { "name": "Default" }, "password": "p" } } },
            "scope": { "project": { "name": "shop", "domain": { "id": "default" } } },
        } });
        assert_eq!(request(of), Some(expected));
        assert_eq!(request(|_| None), None);
    }
}
