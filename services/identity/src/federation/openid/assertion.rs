//! Claims as mappings read them: under the names that `mod_auth_openidc` gives
//! them before Keystone, so that mappings made for it work as they are.
use serde_json::Value;

use super::{Claims, OpenIdProvider};
use crate::federation::mapping::Assertion;

/// Values of one claim that count; more are dropped.
const MAX_VALUES: usize = 1024;

/// The texts of a claim: numbers in digits, truth as 1 and 0, objects as JSON.
fn texts(claim: &Value) -> Vec<String> {
    match claim {
        Value::Null => Vec::new(),
        Value::String(text) => vec![text.clone()],
        Value::Bool(yes) => vec![u8::from(*yes).to_string()],
        Value::Array(items) => items.iter().flat_map(texts).take(MAX_VALUES).collect(),
        other => vec![other.to_string()],
    }
}

/// The names under which a claim is found.
fn names(claim: &str) -> [String; 4] {
    let header = claim.to_uppercase().replace(['-', ':', '/', '.'], "_");
    [
        format!("OIDC-{claim}"),
        format!("OIDC_CLAIM_{claim}"),
        format!("HTTP_OIDC_{header}"),
        format!("HTTP_OIDC_CLAIM_{header}"),
    ]
}

/// What mappings see of a token's claims.
pub(crate) fn assertion(config: &OpenIdProvider, claims: &Claims) -> Assertion {
    let mut out = Assertion::new();
    for (name, claim) in claims {
        let texts = texts(claim);
        for name in names(name) {
            out.insert(name, texts.clone());
        }
        if *name == config.remote_user_claim {
            out.insert("REMOTE_USER".into(), texts);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn claims_have_the_names_that_mappings_know() {
        let config: OpenIdProvider = serde_json::from_value(
            json!({"identity_provider": "corp", "issuer": "https://login", "client_id": "cloud"}),
        )
        .unwrap();
        let claims = json!({
            "sub": "u1", "groups": ["a;b", "c"], "email_verified": true, "level": 7, "address": {"city": "x"},
            "nickname": null,
        });
        let read = assertion(&config, claims.as_object().unwrap());
        for name in [
            "OIDC-sub",
            "HTTP_OIDC_SUB",
            "OIDC_CLAIM_sub",
            "HTTP_OIDC_CLAIM_SUB",
            "REMOTE_USER",
        ] {
            assert_eq!(read[name], ["u1"], "{name}");
        }
        assert_eq!(read["OIDC-groups"], ["a;b", "c"]);
        assert_eq!(read["OIDC-email_verified"], ["1"]);
        assert_eq!(read["HTTP_OIDC_LEVEL"], ["7"]);
        assert_eq!(read["OIDC-address"], [r#"{"city":"x"}"#]);
        assert!(read["OIDC-nickname"].is_empty());
    }
}
