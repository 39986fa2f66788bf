//! The rule language by its behaviour.
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn holds(rule: &str, credentials: &Value, target: &Value) -> bool {
    let none = |_: &str| None;
    parse_text(rule)
        .unwrap_or_else(|e| panic!("{rule}: {e}"))
        .holds(credentials, target, &none)
}

#[test]
fn checks_compare_credentials_with_the_target() {
    let who = json!({
        "user_id": "u", "roles": ["Member"], "domain_id": null, "system_scope": "all", "is_admin": true,
        "token": {"project": {"domain": {"id": "d"}}}, "groups": [{"id": "g1"}, {"id": "g2"}],
    });
    let target = json!({"user_id": "u", "target": {"user": {"domain_id": "d", "id": "other"}, "flag": true},
        "target.group.id": "g2", "wanted": "member"});
    for (rule, expected) in [
        ("@", true),
        ("!", false),
        ("", true),
        ("role:member", true),
        ("role:%(wanted)s", true),
        ("role:admin", false),
        ("user_id:%(user_id)s", true),
        ("user_id:%(target.user.id)s", false),
        ("user_id:%(no.such.thing)s", false),
        ("token.project.domain.id:%(target.user.domain_id)s", true),
        ("groups.id:%(target.group.id)s", true),
        ("groups.id:g3", false),
        ("domain_id:None", true),
        ("not domain_id:None", false),
        ("None:%(target.user.domain_id)s", false),
        ("True:%(target.flag)s", true),
        ("'member':%(wanted)s", true),
        ("\"member\":%(wanted)s", true),
        ("'x':%(wanted)s", false),
        ("system_scope:all", true),
        ("is_admin:True", true),
        ("user_id:%%(x)s", false),
        ("role:admin or role:member and user_id:u", true),
        ("(role:admin or role:member) and user_id:x", false),
        ("role:member AND NOT role:admin", true),
        ("not (role:admin or role:nobody)", true),
        ("((role:member))", true),
        ("not not role:member", true),
    ] {
        assert_eq!(holds(rule, &who, &target), expected, "{rule}");
    }
}

#[test]
fn the_older_list_form_is_or_of_ands() {
    let who = json!({"roles": ["member"], "user_id": "u"});
    for (rule, expected) in [
        (json!([]), true),
        (json!([["role:admin"], ["role:member", "user_id:u"]]), true),
        (json!([["role:admin"], ["role:member", "user_id:x"]]), false),
        (json!(["role:member"]), true),
        (json!([[]]), false),
    ] {
        let check = parse_value(&rule).unwrap();
        assert_eq!(check.holds(&who, &json!({}), &|_: &str| None), expected, "{rule}");
    }
}

#[test]
fn errors_say_where_and_what() {
    for (rule, at, what) in [
        ("role:admin or", 14, "ends"),
        ("role:admin role:member", 12, "expected `and`"),
        ("(role:admin", 1, "not closed"),
        ("role:admin)", 11, "without an opening"),
        ("admin", 1, "not a check"),
        ("and role:x", 1, "found `and`"),
        (":x", 1, "nothing before"),
        ("user_id:%(x", 9, "(name)s"),
        ("user_id:%()s", 9, "names nothing"),
        ("http://check", 1, "not supported"),
    ] {
        let error = parse_text(rule).unwrap_err();
        assert_eq!(error.at, at, "{rule}: {error}");
        assert!(error.what.contains(what), "{rule}: {error}");
    }
    assert!(
        parse_text(&"(".repeat(10_000))
            .unwrap_err()
            .what
            .contains("nested")
    );
    assert!(
        parse_text(&"not ".repeat(1_000))
            .unwrap_err()
            .what
            .contains("nested")
    );
}

const DEFAULTS: &[RuleDefault] = &[
    RuleDefault {
        name: "admin_required",
        check: "role:admin",
        scopes: &[],
    },
    RuleDefault {
        name: "pet:feed",
        check: "rule:admin_required or user_id:%(user_id)s",
        scopes: &[ScopeKind::Project],
    },
];

#[test]
fn a_file_overrides_defaults_and_keeps_their_scopes() {
    let user = json!({"roles": ["member"], "user_id": "u"});
    let rules = Rules::new(DEFAULTS, None).unwrap();
    let project = Some(ScopeKind::Project);
    assert_eq!(
        rules.allows("pet:feed", project, &user, &json!({"user_id": "u"})),
        Decision::Allowed
    );
    assert_eq!(
        rules.allows("pet:feed", project, &user, &json!({})),
        Decision::Denied
    );
    assert_eq!(
        rules.allows("pet:unknown", project, &user, &json!({})),
        Decision::Denied
    );
    for file in [
        "# mine\nadmin_required: role:member\n",
        "{\"admin_required\": [[\"role:member\"]]}",
    ] {
        let rules = Rules::new(DEFAULTS, Some(file)).unwrap();
        assert_eq!(
            rules.allows("pet:feed", project, &user, &json!({})),
            Decision::Allowed
        );
        assert_eq!(
            rules.allows("pet:feed", Some(ScopeKind::System), &user, &json!({})),
            Decision::WrongScope
        );
    }
}

#[test]
fn a_broken_file_is_refused_with_the_name_of_the_rule() {
    let refused = |file: &str| Rules::new(DEFAULTS, Some(file)).unwrap_err().to_string();
    assert!(refused("'pet:feed': 'role:admin or'").contains("pet:feed"));
    assert!(refused("'pet:feed': 'rule:nobody'").contains("nobody"));
    assert!(refused("a: rule:b\nb: rule:a").contains("refers to itself"));
    assert!(refused("- just\n- a list").contains("mapping"));
    assert!(refused("'pet:feed': 7").contains("text or a list"));
}

fn rule_texts() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("@".to_owned()),
        Just("!".to_owned()),
        "role:[a-z]{1,5}",
        "[a-z]{1,5}:%\\([a-z.]{1,6}\\)s",
        "'[a-z]{0,4}':[a-z]{0,4}",
    ];
    leaf.prop_recursive(5, 32, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|r| format!("not ({r})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) and ({b})")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("({a}) or ({b})")),
        ]
    })
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,80}") {
        let _ = parse_text(&text);
    }

    #[test]
    fn no_soup_of_words_makes_the_parser_panic(words in prop::collection::vec(
        prop_oneof![Just("("), Just(")"), Just("and"), Just("or"), Just("not"), Just("@"), Just("role:a)"), Just("((a:%(b)s))")], 0..20)) {
        let _ = parse_text(&words.join(" "));
    }

    #[test]
    fn well_formed_rules_parse_and_obey_de_morgan(a in rule_texts(), b in rule_texts()) {
        let who = json!({"roles": ["a", "b"], "abc": "x"});
        let target = json!({"a": "x", "b": {"c": "d"}});
        let left = holds(&format!("not (({a}) and ({b}))"), &who, &target);
        let right = holds(&format!("(not ({a})) or (not ({b}))"), &who, &target);
        prop_assert_eq!(left, right);
    }
}
