//! The mapping language: against Keystone's own by vectors, and what is refused.
use serde_json::json;

use super::apply::{MapError, Mapped};
use super::*;
use crate::auth::request::DomainRef;

fn read(version: Version, rules: Value) -> Result<Rules, String> {
    Rules::read(&rules, version)
}

fn assertion(of: Value) -> Assertion {
    serde_json::from_value(of).unwrap()
}

fn mapped(version: Version, rules: Value, said: Value) -> Result<Mapped, MapError> {
    read(version, rules).unwrap().apply(&assertion(said))
}

/// What Keystone's rule processor yields, in its words.
fn in_keystones_words(mapped: &Mapped) -> Value {
    let domain = |of: &DomainRef| match of {
        DomainRef::Id(id) => json!({ "id": id }),
        DomainRef::Name(name) => json!({ "name": name }),
    };
    let mut user = json!({"type": if mapped.user.local { "local" } else { "ephemeral" }});
    let parts = [
        ("id", &mapped.user.id),
        ("name", &mapped.user.name),
        ("email", &mapped.user.email),
    ];
    for (name, value) in parts {
        if let Some(value) = value {
            user[name] = json!(value);
        }
    }
    if let Some(of) = &mapped.user.domain {
        user["domain"] = domain(of);
    }
    let mut groups: Vec<Value> = mapped
        .groups
        .iter()
        .map(|(name, of)| json!({"name": name, "domain": domain(of)}))
        .collect();
    groups.sort_by_key(Value::to_string);
    groups.dedup();
    let projects: Vec<Value> = mapped
        .projects
        .iter()
        .map(|p| {
            let roles: Vec<Value> = p.roles.iter().map(|name| json!({"name": name})).collect();
            let mut shown = json!({"name": p.name, "roles": roles});
            if let Some(of) = &p.domain {
                shown["domain"] = domain(of);
            }
            shown
        })
        .collect();
    json!({"user": user, "group_ids": mapped.group_ids, "group_names": groups, "projects": projects})
}

/// Made by `tests/clients/keystone_mappings.py` with Keystone 30: rules, what is
/// said, and what its rule processor yields (null: it refuses).
const VECTORS: &str = include_str!("keystone_vectors.json");

#[test]
fn rules_yield_what_they_yield_in_keystone() {
    let vectors: Vec<Value> = serde_json::from_str(VECTORS).unwrap();
    assert!(vectors.len() >= 100, "{} vectors", vectors.len());
    for v in vectors {
        let version = Version::named(v["version"].as_str().unwrap()).unwrap();
        let outcome = mapped(version, v["rules"].clone(), v["assertion"].clone());
        let shown = outcome.as_ref().map_or(Value::Null, in_keystones_words);
        assert_eq!(
            shown, v["mapped"],
            "{} {} {outcome:?}",
            v["rules"], v["assertion"]
        );
    }
}

#[test]
fn rules_that_are_not_as_they_should_be_are_refused_with_the_place() {
    let user = || json!([{"user": {"name": "{0}"}}]);
    let remote = || json!([{"type": "x"}]);
    let rule = |local: Value, remote: Value| json!([{"local": local, "remote": remote}]);
    for (rules, told) in [
        (json!({}), "rules is not of type 'array'"),
        (json!([]), "should be non-empty"),
        (json!([7]), "rules[0] is not of type 'object'"),
        (
            json!([{"local": []}]),
            "'remote' is a required property of rules[0]",
        ),
        (
            json!([{"local": [], "remote": [], "more": 1}]),
            "'more' was unexpected",
        ),
        (rule(user(), json!([])), "rules[0].remote"),
        (
            rule(user(), json!([{"any_one_of": []}])),
            "'type' is a required property",
        ),
        (
            rule(user(), json!([{"type": "x", "any_one_of": "y"}])),
            "is not of type 'array'",
        ),
        (
            rule(user(), json!([{"type": "x", "any_one_of": [], "whitelist": []}])),
            "exactly one of",
        ),
        (
            rule(user(), json!([{"type": "x", "regex": true}])),
            "says nothing",
        ),
        (
            rule(user(), json!([{"type": "x", "whitelist": ["("], "regex": true}])),
            "not a regular expression",
        ),
        (
            rule(user(), json!([{"type": "x", "blacklist": [], "regex": "yes"}])),
            "'boolean'",
        ),
        (
            rule(json!([{"user": {"name": 7}}]), remote()),
            "rules[0].local[0].user.name",
        ),
        (
            rule(json!([{"user": {"nick": "x"}}]), remote()),
            "'nick' was unexpected",
        ),
        (
            rule(json!([{"user": {"type": "alien"}}]), remote()),
            "'alien' is not one of",
        ),
        (
            rule(json!([{"group": {"name": "x"}}]), remote()),
            "'domain' is a required property",
        ),
        (
            rule(json!([{"group": {"id": "x", "name": "y"}}]), remote()),
            "'name' was unexpected",
        ),
        (rule(json!([{"groups": ["x"]}]), remote()), "'string'"),
        (
            rule(json!([{"projects": [{"name": "x"}]}]), remote()),
            "'roles' is a required property",
        ),
        (
            rule(
                json!([{"projects": [{"name": "x", "roles": [], "domain": {}}]}]),
                remote(),
            ),
            "'domain' was unexpected",
        ),
        (
            rule(json!([{"projects_json": "{0}"}]), remote()),
            "'projects_json' was unexpected",
        ),
    ] {
        let said = read(Version::One, rules.clone()).unwrap_err();
        assert!(said.contains(told), "{rules}: {said}");
    }
    let of_domain = rule(
        json!([{"projects": [{"name": "x", "roles": [], "domain": {}}]}]),
        remote(),
    );
    assert!(read(Version::Two, of_domain).is_ok());
    assert!(read(Version::Three, rule(json!([{"projects_json": "{0}"}]), remote())).is_ok());
    let huge = "a{1000}{1000}";
    assert!(
        read(
            Version::One,
            rule(user(), json!([{"type": "x", "whitelist": [huge], "regex": true}]))
        )
        .is_err()
    );
}

#[test]
fn what_a_provider_says_is_never_evaluated() {
    let rules = json!([{
        "local": [{"user": {"name": "{0}"}}, {"groups": "{1}", "domain": {"id": "d"}}],
        "remote": [{"type": "name"}, {"type": "groups"}],
    }]);
    let said = json!({"name": ["{1}"], "groups": ["['admins', 'x']"]});
    let out = mapped(Version::One, rules.clone(), said).unwrap();
    assert_eq!(out.user.name.as_deref(), Some("{1}"));
    assert_eq!(
        out.groups,
        [("['admins', 'x']".to_owned(), DomainRef::Id("d".into()))]
    );
    let said = json!({"name": ["bob;admins"], "groups": ["a;b"]});
    let out = mapped(Version::One, rules, said).unwrap();
    assert_eq!(out.user.name.as_deref(), Some("bob;admins"));
    assert_eq!(out.groups.len(), 1);
}

#[test]
fn a_name_with_several_values_or_none_left_is_nobody() {
    let rules = |name: &str| json!([{"local": [{"user": {"name": name}}], "remote": [{"type": "n", "whitelist": ["a", "b"]}]}]);
    for said in [json!({"n": ["a", "b"]}), json!({"n": ["c"]})] {
        let out = mapped(Version::One, rules("{0}"), said.clone());
        assert!(matches!(out, Err(MapError::Unusable(_))), "{said}");
    }
    let missing = mapped(Version::One, rules("{1}"), json!({"n": ["a"]}));
    assert!(matches!(missing, Err(MapError::Unusable(_))));
    assert_eq!(
        mapped(Version::One, rules("{0}"), json!({"other": ["a"]})),
        Err(MapError::NoMatch)
    );
}

#[test]
fn groups_may_say_their_domain_in_json() {
    let rules = json!([{"local": [{"groups": "{0}"}], "remote": [{"type": "g"}]}]);
    let one = r#"JSON:{"name": "x", "domain": {"name": "corp"}}"#;
    let out = mapped(Version::One, rules.clone(), json!({ "g": [one] })).unwrap();
    assert_eq!(out.groups, [("x".to_owned(), DomainRef::Name("corp".into()))]);
    for bad in ["x", "JSON:{}", "JSON:[", r#"JSON:{"name": "x"}"#] {
        let out = mapped(Version::One, rules.clone(), json!({ "g": [bad] }));
        assert!(matches!(out, Err(MapError::Unusable(_))), "{bad}");
    }
}

#[test]
fn projects_in_json_are_checked() {
    let rules =
        || json!([{"local": [{"user": {"name": "u"}, "projects_json": "0"}], "remote": [{"type": "p"}]}]);
    let said = json!({"p": [r#"[{"name": "x", "roles": [{"name": "member"}]}]"#]});
    let out = mapped(Version::Three, rules(), said).unwrap();
    assert!(out.takes_back && out.projects[0].roles == ["member"]);
    for bad in [
        "",
        "{",
        "{}",
        r#"[{"name": "x"}]"#,
        r#"[{"name": "x", "roles": [7]}]"#,
    ] {
        let out = mapped(Version::Three, rules(), json!({ "p": [bad] }));
        assert!(matches!(out, Err(MapError::Unusable(_))), "{bad}");
    }
}
