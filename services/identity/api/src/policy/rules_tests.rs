//! The rule language by its behaviour.
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::policy::{Joint, parse_value};

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
        deprecated: &[],
    },
    RuleDefault {
        name: "pet:feed",
        check: "rule:admin_required or user_id:%(user_id)s",
        scopes: &[ScopeKind::Project],
        deprecated: &["pet:nourish"],
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

#[test]
fn what_is_wrong_with_a_file_is_said_with_its_line() {
    let said = |file: &str| Rules::new(DEFAULTS, Some(file)).unwrap_err().to_string();
    let (top, two) = ("# mine\n\n", "\"admin_required\": \"role:boss\"\n");
    for (bad, what) in [
        ("\"pet:feed\": \"role:admin or\"", "ends"),
        ("\"pet:feed\": \"rule:nobody\"", "nobody"),
        ("\"pet:feed\": \"http://judge/%(x)s\"", "not supported"),
        ("\"pet:feed\": \"rule:pet:feed\"", "refers to itself"),
        ("\"pet:feed\": 7", "text or a list"),
        ("pet: [", "not a mapping"),
    ] {
        let text = said(&format!("{top}{two}{bad}\n"));
        assert!(text.starts_with("line 4: ") || bad == "pet: [", "{text}");
        assert!(text.contains(what) && text.contains("line "), "{text}");
    }
    let json = "{\n  \"admin_required\": [[\"role:boss\"]],\n  \"pet:feed\": \"(role:x\"\n}";
    assert!(said(json).starts_with("line 3: "), "{}", said(json));
    assert!(Rules::new(DEFAULTS, Some("---\n# nothing yet\n")).is_ok());
}

#[test]
fn a_file_may_use_the_old_name_of_a_rule_but_the_new_one_wins() {
    let member = json!({"roles": ["member"]});
    let allows = |file: &str| {
        let rules = Rules::new(DEFAULTS, Some(file)).unwrap();
        rules.allows("pet:feed", None, &member, &json!({})) == Decision::Allowed
    };
    assert!(allows("'pet:nourish': 'role:member'"));
    assert!(!allows("'pet:nourish': 'role:member'\n'pet:feed': 'role:admin'"));
    assert!(allows("'pet:nourish': 'role:admin'\n'pet:feed': 'role:member'"));
}

#[test]
fn a_rule_that_does_not_exist_is_the_files_default_rule() {
    let member = json!({"roles": ["member"]});
    let rules = Rules::new(DEFAULTS, Some("default: 'role:member'\n'pet:wsh': 'role:x'")).unwrap();
    assert_eq!(
        rules.allows("pet:wash", None, &member, &json!({})),
        Decision::Allowed
    );
    assert_eq!(rules.unused(), ["pet:wsh"]);
}

#[test]
fn an_explanation_shows_every_part_and_what_was_compared() {
    let rules = Rules::new(DEFAULTS, None).unwrap();
    let who = json!({"roles": ["member", "reader"], "user_id": "u"});
    let told = rules.explain(
        "pet:feed",
        Some(ScopeKind::Project),
        &who,
        &json!({"user_id": "other"}),
    );
    assert_eq!(told.decision, Decision::Denied);
    let trace = told.trace.unwrap();
    assert_eq!((trace.joint, trace.parts.len()), (Joint::Or, 2));
    assert_eq!(
        trace.parts[0].parts[0].note,
        "roles: member, reader; wanted: admin"
    );
    assert_eq!(trace.parts[1].note, "user_id: u; wanted: other");
    assert_eq!(trace.reasons(), Vec::<&str>::new());
    let mine = rules.explain("pet:feed", None, &who, &json!({"user_id": "u"}));
    assert_eq!(mine.trace.unwrap().reasons(), ["user_id:%(user_id)s"]);
    let none = rules.explain("pet:feed", None, &who, &json!({})).trace.unwrap();
    assert!(none.parts[1].note.contains("not there"), "{none:?}");
    assert_eq!(
        rules.target_asked("pet:feed").into_iter().collect::<Vec<_>>(),
        ["user_id"]
    );
    assert!(rules.roles_asked("pet:feed", &json!({})).contains("admin"));
    assert_eq!(rules.list()[1].expanded, "role:admin or user_id:%(user_id)s");
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
    fn an_explanation_decides_as_the_question_does(a in rule_texts(), b in rule_texts()) {
        let who = json!({"roles": ["a", "b"], "abc": "x"});
        let target = json!({"a": "x", "b": {"c": "d"}});
        let file = json!({"pet:feed": format!("rule:other and not ({a})"), "other": b}).to_string();
        let rules = Rules::new(DEFAULTS, Some(&file)).unwrap();
        for scope in [None, Some(ScopeKind::Project), Some(ScopeKind::System)] {
            let told = rules.explain("pet:feed", scope, &who, &target);
            prop_assert_eq!(told.decision, rules.allows("pet:feed", scope, &who, &target));
        }
    }

    #[test]
    fn a_rule_shown_reads_as_the_same_rule(a in rule_texts(), b in rule_texts()) {
        let check = parse_text(&format!("not ({a}) and ({b}) or ({a})")).unwrap();
        let again = parse_text(&check.to_string()).unwrap();
        let who = json!({"roles": ["a", "b"], "abc": "x"});
        let none = |_: &str| None;
        for target in [json!({"a": "x", "b": {"c": "d"}}), json!({})] {
            prop_assert_eq!(check.holds(&who, &target, &none), again.holds(&who, &target, &none), "{}", check);
        }
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
