//! Several proofs at once: the user's rules, and the receipt for what was
//! shown so far.
//!
//! A receipt is sealed under the token keys, in Keystone's layout
//! (`virga_identity_api::receipt`).
use std::time::Duration;

use serde_json::{Value, json};
use virga_identity_api::receipt::Receipt as Sealed;

use super::AuthError;
use super::request::AuthRequest;
use crate::app::App;
use crate::model::project::Project;
use crate::model::user::User;

/// How long a receipt is good.
const LIFETIME: Duration = Duration::from_secs(300);
/// Methods that a rule may ask for; a rule with others is passed over, so that
/// a slip in it locks nobody out.
const METHODS: [&str; 4] = ["password", "token", "application_credential", "totp"];

/// What was proven so far, and what is missing.
#[derive(Debug)]
pub struct Receipt {
    /// The sealed text, for the client to show again.
    pub(crate) text: String,
    /// The body of the answer.
    pub(crate) body: Value,
}

/// The rules of a user that can be met: lists of methods. Empty when any one
/// method will do.
fn rules_of(user: &User) -> Vec<Vec<String>> {
    if user.options.get("multi_factor_auth_enabled") == Some(&json!(false)) {
        return Vec::new();
    }
    let rules = user
        .options
        .get("multi_factor_auth_rules")
        .and_then(Value::as_array);
    let read = |rule: &Value| -> Option<Vec<String>> {
        let methods: Vec<String> = rule
            .as_array()?
            .iter()
            .map(|m| m.as_str().map(str::to_owned))
            .collect::<Option<_>>()?;
        let usable = !methods.is_empty() && methods.iter().all(|m| METHODS.contains(&m.as_str()));
        usable.then_some(methods)
    };
    rules.into_iter().flatten().filter_map(read).collect()
}

impl App {
    /// The methods that an earlier receipt proves for `user`.
    pub(crate) fn receipt_methods(&self, receipt: &str, user: &User) -> Result<Vec<String>, AuthError> {
        const BAD: AuthError = AuthError::Refused("the receipt is not good");
        let sealed = Sealed::open(&self.token_keys, receipt).ok_or(BAD)?;
        let in_time = sealed.expires_at > self.clock.now();
        // The seal knows seconds only, but ours end a fixed time after they
        // were made, to the microsecond.
        let life = u64::try_from(LIFETIME.as_micros()).unwrap_or(u64::MAX);
        let made = sealed.issued_at.0.max(sealed.expires_at.0.saturating_sub(life));
        // A new password since then makes what was proven worthless.
        let fresh = user.password_set_at.is_none_or(|at| at.0 <= made);
        if sealed.user_id == user.id && in_time && fresh {
            Ok(sealed.methods)
        } else {
            Err(BAD)
        }
    }

    /// Whether `methods` are proof enough for this user.
    pub(crate) fn check_factors(
        &self,
        request: &AuthRequest,
        user: &User,
        domain: &Project,
        methods: &[String],
    ) -> Result<(), AuthError> {
        let rules = rules_of(user);
        let met = |rule: &Vec<String>| rule.iter().all(|m| methods.contains(m));
        if rules.is_empty() || rules.iter().any(met) {
            return Ok(());
        }
        if request.token.is_some() {
            // What a token proves does not grow by showing it again.
            return Err(AuthError::Refused("the token was made with less proof"));
        }
        let now = self.clock.now();
        let expires_at = now.plus(LIFETIME);
        let sealed = Sealed {
            user_id: user.id.clone(),
            methods: methods.to_vec(),
            issued_at: now,
            expires_at,
        };
        let text = sealed.seal(&self.token_keys)?;
        let body = json!({
            "receipt": {
                "methods": methods,
                "user": {"id": user.id, "name": user.name, "domain": {"id": domain.id, "name": domain.name}},
                "issued_at": crate::api::time(now),
                "expires_at": crate::api::time(expires_at),
            },
            "required_auth_methods": rules,
        });
        Err(AuthError::MoreFactors(Box::new(Receipt { text, body })))
    }
}
