//! What the calls of the Swift API are called where permissions are told of: in
//! the body of a 403, and by `virga policy`.
//!
//! Nothing is decided here: [`super::access`] does that. What it decides by
//! roles alone is written in [`rules`] as policy rules are written, for people;
//! a test holds the two against each other. Access lists come on top.
use http::Method;

use super::config::Config;

/// What a call is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// An account.
    Account,
    /// A container.
    Container,
    /// An object.
    Object,
}

/// Every action, by level and method. GET and HEAD are one, and COPY is the
/// reading of one object and the writing of another.
static ACTIONS: [(&str, Level, Method); 12] = [
    ("object-store:get_account", Level::Account, Method::GET),
    ("object-store:create_account", Level::Account, Method::PUT),
    ("object-store:update_account", Level::Account, Method::POST),
    ("object-store:delete_account", Level::Account, Method::DELETE),
    ("object-store:get_container", Level::Container, Method::GET),
    ("object-store:create_container", Level::Container, Method::PUT),
    ("object-store:update_container", Level::Container, Method::POST),
    ("object-store:delete_container", Level::Container, Method::DELETE),
    ("object-store:get_object", Level::Object, Method::GET),
    ("object-store:put_object", Level::Object, Method::PUT),
    ("object-store:update_object", Level::Object, Method::POST),
    ("object-store:delete_object", Level::Object, Method::DELETE),
];

/// The action that a call is judged as; `None` for those that everyone may make.
pub fn named(level: Level, method: &Method) -> Option<&'static str> {
    let method = match *method {
        Method::HEAD => &Method::GET,
        _ => method,
    };
    let found = ACTIONS.iter().find(|(_, at, by)| *at == level && by == method);
    found.map(|(name, ..)| *name)
}

/// What roles alone allow, as a policy rule: who only looks, or also changes,
/// what belongs to the project `project_id` of the target.
pub fn rule(config: &Config, only_looks: bool) -> String {
    let mut everywhere = vec![&config.reseller_admin_role];
    let mut own = Vec::new();
    let usual = config.resellers.first();
    own.extend(usual.iter().flat_map(|usual| &usual.operator_roles));
    if only_looks {
        everywhere.extend(&config.system_reader_roles);
        own.extend(usual.iter().flat_map(|usual| &usual.project_reader_roles));
    }
    let one_of = |roles: &[&String]| {
        let checks: Vec<String> = roles.iter().map(|role| format!("role:{role}")).collect();
        checks.join(" or ")
    };
    match own.is_empty() {
        true => one_of(&everywhere),
        false => format!(
            "{} or (project_id:%(project_id)s and ({}))",
            one_of(&everywhere),
            one_of(&own)
        ),
    }
}

/// Every action with its [`rule`].
pub fn rules(config: &Config) -> Vec<(&'static str, String)> {
    let of = |(name, level, method): &(&'static str, Level, Method)| {
        let check = match (level, method) {
            (Level::Account, &Method::DELETE) => format!("role:{}", config.reseller_admin_role),
            (_, method) => rule(config, *method == Method::GET),
        };
        (*name, check)
    };
    ACTIONS.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use virga_identity_api::caller::{Caller, Scope};
    use virga_identity_api::policy::{Decision, Rules, ScopeKind};
    use virga_node::clock::Micros;

    use super::*;
    use crate::swift::access::{Identity, Who, Wish, decide};

    fn decided(config: &Config, (level, method): (Level, &Method), roles: &[&str]) -> bool {
        let caller = Caller {
            user_id: "u".into(),
            scope: Scope::Project("p".into()),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            methods: Vec::new(),
            issued_at: Micros(0),
            expires_at: Micros(0),
            audit_ids: Vec::new(),
            delegation: None,
            access_rules: None,
        };
        let who = Who::Known(Arc::new(Identity::new(Arc::new(caller), None)));
        let wish = Wish {
            method,
            account: "AUTH_q",
            container: (level != Level::Account).then_some("c"),
            object: level == Level::Object,
            acl: None,
            referer: None,
        };
        let own = Wish {
            account: "AUTH_p",
            ..wish
        };
        // What somebody may in every account they may in their own.
        assert!(decide(config, &who, &own).granted() || !decide(config, &who, &wish).granted());
        decide(config, &who, &own).granted()
    }

    #[test]
    fn the_rules_say_what_is_decided_by_roles() {
        let mut readers = Config::default();
        readers.resellers[0].project_reader_roles = vec!["reader".into()];
        readers.system_reader_roles = vec!["auditor".into()];
        for config in [Config::default(), readers] {
            let written = rules(&config);
            let written = written.into_iter().map(|(name, check)| (name.to_owned(), check));
            let written = Rules::fixed(written, &[ScopeKind::Project]).unwrap();
            for roles in [
                &[][..],
                &["admin"],
                &["manager"],
                &["member"],
                &["Member", "x"],
                &["reader"],
                &["service"],
                &["auditor"],
                &["reselleradmin"],
            ] {
                for (name, level, method) in &ACTIONS {
                    let who = json!({"roles": roles, "user_id": "u", "project_id": "p"});
                    let said = |project| {
                        let target = json!({ "project_id": project });
                        written.allows(name, Some(ScopeKind::Project), &who, &target) == Decision::Allowed
                    };
                    assert_eq!(
                        said("p"),
                        decided(&config, (*level, method), roles),
                        "{name} by {roles:?}"
                    );
                    assert!(!said("q") || said("p"), "{name} by {roles:?}");
                }
            }
        }
    }

    #[test]
    fn every_call_that_is_judged_has_a_name() {
        for level in [Level::Account, Level::Container, Level::Object] {
            for method in [
                Method::GET,
                Method::HEAD,
                Method::PUT,
                Method::POST,
                Method::DELETE,
            ] {
                assert!(named(level, &method).is_some(), "{method} {level:?}");
            }
            assert_eq!(named(level, &Method::HEAD), named(level, &Method::GET));
            assert_eq!(named(level, &Method::OPTIONS), None);
        }
    }
}
