//! The language against its definition, and what is refused.
use proptest::prelude::*;

use super::*;

const PLACE: Place<'static> = Place {
    project: "p",
    bucket: "bucket",
};

fn read(json: &str) -> Policy {
    Policy::read(json, PLACE).unwrap_or_else(|error| panic!("{error}: {json}"))
}

fn ruling(policy: &Policy, user: Option<(&str, &str)>, action: &str, resource: &str) -> Ruling {
    policy.rule(&Question {
        who: user.map(|(project, user)| Someone { project, user }),
        action,
        resource,
        facts: &Facts::default(),
    })
}

#[test]
fn what_one_statement_denies_no_other_allows() {
    let policy = read(
        r#"{"Version": "2012-10-17", "Id": "x", "Statement": [
            {"Sid": "1", "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::bucket/*"},
            {"Effect": "Deny", "Principal": {"AWS": ["q", "arn:aws:iam::p:user/u"]}, "Action": ["s3:Get*", "s3:ListBucket"],
             "Resource": ["arn:aws:s3:::bucket/secret/*", "arn:aws:s3:::bucket"]},
            {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::q:root"}, "NotAction": "s3:Delete*", "NotResource": "arn:aws:s3:::bucket/secret/*"}]}"#,
    );
    for (who, action, resource, expected) in [
        (None, "s3:GetObject", "bucket/a", Ruling::Allowed),
        (None, "s3:GetObject", "bucket", Ruling::Silent),
        (None, "s3:GetObjectAcl", "bucket/a", Ruling::Silent),
        (None, "s3:GetObject", "bucket/secret/a", Ruling::Allowed),
        (
            Some(("p", "u")),
            "s3:GetObject",
            "bucket/secret/a",
            Ruling::Denied,
        ),
        (
            Some(("p", "v")),
            "s3:GetObject",
            "bucket/secret/a",
            Ruling::Allowed,
        ),
        (Some(("q", "v")), "s3:ListBucket", "bucket", Ruling::Denied),
        (Some(("q", "v")), "s3:PutObject", "bucket/a", Ruling::Allowed),
        (
            Some(("q", "v")),
            "s3:PutObject",
            "bucket/secret/a",
            Ruling::Silent,
        ),
        (Some(("q", "v")), "s3:DeleteObject", "bucket/a", Ruling::Silent),
    ] {
        assert_eq!(
            ruling(&policy, who, action, resource),
            expected,
            "{who:?} {action} {resource}"
        );
    }
    assert!(policy.is_public() && policy.denies() && !policy.looks_at(EXISTING_TAG));
}

#[test]
fn variables_count_in_the_version_that_knows_them() {
    let with = |version: &str| {
        read(&format!(
            r#"{{"Version": "{version}", "Statement": {{"Effect": "Allow", "Principal": {{"AWS": "p"}}, "Action": "s3:*",
                "Resource": "arn:aws:s3:::bucket/${{aws:userid}}/*"}}}}"#
        ))
    };
    let mut facts = Facts::default();
    facts.add("aws:userid", "u");
    for (version, resource, expected) in [
        ("2012-10-17", "bucket/u/x", Ruling::Allowed),
        ("2012-10-17", "bucket/v/x", Ruling::Silent),
        ("2008-10-17", "bucket/u/x", Ruling::Silent),
        ("2008-10-17", "bucket/${aws:userid}/x", Ruling::Allowed),
    ] {
        let asked = Question {
            who: Some(Someone {
                project: "p",
                user: "u",
            }),
            action: "s3:GetObject",
            resource,
            facts: &facts,
        };
        assert_eq!(with(version).rule(&asked), expected, "{version} {resource}");
    }
}

#[test]
fn a_policy_is_public_unless_something_pins_who_comes() {
    for (statement, public) in [
        (r#""Principal": "*""#, true),
        (r#""Principal": {"AWS": "*"}"#, true),
        (r#""Principal": {"AWS": "q"}"#, false),
        (r#""NotPrincipal": {"AWS": "q"}"#, true),
        (
            r#""Principal": "*", "Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}"#,
            false,
        ),
        (
            r#""Principal": "*", "Condition": {"IpAddress": {"aws:SourceIp": ["10.0.0.0/8", "0.0.0.0/0"]}}"#,
            true,
        ),
        (
            r#""Principal": "*", "Condition": {"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}}"#,
            true,
        ),
        (
            r#""Principal": "*", "Condition": {"StringEquals": {"aws:userid": "u"}}"#,
            false,
        ),
        (
            r#""Principal": "*", "Condition": {"StringLike": {"aws:userid": "u*"}}"#,
            true,
        ),
        (
            r#""Principal": "*", "Condition": {"StringEquals": {"aws:Referer": "x"}}"#,
            true,
        ),
    ] {
        let json = |effect: &str| {
            format!(
                r#"{{"Statement": [{{"Effect": "{effect}", {statement}, "Action": "s3:GetObject", "Resource": "arn:aws:s3:::bucket/*"}}]}}"#
            )
        };
        assert_eq!(read(&json("Allow")).is_public(), public, "{statement}");
        assert!(!read(&json("Deny")).is_public(), "{statement}");
    }
}

#[test]
fn what_is_not_a_policy_here_is_refused_and_says_why() {
    let one = |change: &str| format!(r#"{{"Version": "2012-10-17", "Statement": [{{{change}}}]}}"#);
    let rest = r#""Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::bucket/*""#;
    assert!(Policy::read(&one(rest), PLACE).is_ok());
    for (json, says) in [
        (String::new(), "valid JSON"),
        ("x".to_owned(), "valid JSON"),
        (r#"{"Statement": []}"#.to_owned(), "no statement"),
        (
            r#"{"Version": "2013-01-01", "Statement": [{"Effect": "Allow"}]}"#.to_owned(),
            "2013-01-01",
        ),
        (one(&rest.replace("Allow", "allow")), "allow"),
        (one(&rest.replace("\"Principal\": \"*\",", "")), "Principal"),
        (one(&rest.replace("s3:GetObject", "s3:Fetch")), "s3:Fetch"),
        (one(&rest.replace("s3:GetObject", "ec2:*")), "ec2:*"),
        (one(&rest.replace("bucket", "other")), "other"),
        (
            one(&rest.replace("arn:aws:s3:::bucket/*", "bucket/*")),
            "bucket/*",
        ),
        (
            one(&rest.replace("arn:aws:s3:::bucket", "arn:aws:s3::q:bucket")),
            "q:bucket",
        ),
        (
            one(&format!(r#"{rest}, "NotAction": "s3:*""#)),
            "exclude each other",
        ),
        (one(&format!(r#"{rest}, "Cake": 1"#)), "Cake"),
        (one(&format!(r#"{rest}, "Effect": "Deny""#)), "duplicate"),
        (
            one(&format!(
                r#"{rest}, "Condition": {{"Bool": {{"aws:Nothing": true}}}}"#
            )),
            "aws:Nothing",
        ),
        (
            one(&rest.replace("bucket/*", "bucket/${aws:Nothing}")),
            "aws:Nothing",
        ),
        (one(&rest.replace("\"*\"", r#"{"Federated": "x"}"#)), "Federated"),
        (" ".repeat(20 * 1024 + 1), "maximum allowed document size"),
    ] {
        let error = Policy::read(&json, PLACE).unwrap_err();
        assert!(error.contains(says), "{json}: {error}");
    }
    let twice = r#", "Condition": {"StringEquals": {"s3:prefix": "a"}, "StringEquals": {"s3:prefix": "b"}}"#;
    assert!(Policy::read(&one(&(rest.to_owned() + twice)), PLACE).is_err());
}

/// A statement as the model has it: exact names, or everything.
#[derive(Clone, Debug)]
struct Model {
    deny: bool,
    who: Option<&'static str>,
    not_principal: bool,
    action: &'static str,
    not_action: bool,
    resource: &'static str,
    agent: Option<(bool, &'static str)>,
}

impl Model {
    fn json(&self) -> String {
        let name = |not: bool, name: &str| {
            if not {
                format!("Not{name}")
            } else {
                name.to_owned()
            }
        };
        let principal = match self.who {
            None => "\"*\"".to_owned(),
            Some(project) => format!(r#"{{"AWS": "{project}"}}"#),
        };
        let condition = self.agent.map_or_else(String::new, |(not, agent)| {
            let operator = if not { "StringNotEquals" } else { "StringEquals" };
            format!(r#", "Condition": {{"{operator}": {{"aws:UserAgent": "{agent}"}}}}"#)
        });
        format!(
            r#"{{"Effect": "{}", "{}": {principal}, "{}": "{}", "Resource": "arn:aws:s3:::{}"{condition}}}"#,
            if self.deny { "Deny" } else { "Allow" },
            name(self.not_principal, "Principal"),
            name(self.not_action, "Action"),
            self.action,
            self.resource,
        )
    }

    fn is_about(&self, project: Option<&str>, action: &str, resource: &str, agent: Option<&str>) -> bool {
        let who = self.who.is_none_or(|own| project == Some(own)) != self.not_principal;
        let does = (self.action == "s3:*" || self.action == action) != self.not_action;
        let to = match self.resource.strip_suffix('*') {
            Some(start) => resource.starts_with(start),
            None => resource == self.resource,
        };
        let with = self.agent.is_none_or(|(not, own)| (agent == Some(own)) != not);
        who && does && to && with
    }
}

fn models() -> impl Strategy<Value = Vec<Model>> {
    let one = (
        any::<bool>(),
        prop::option::of(prop::sample::select(vec!["p", "q"])),
        any::<bool>(),
        prop::sample::select(vec!["s3:*", "s3:GetObject", "s3:PutObject"]),
        any::<bool>(),
        prop::sample::select(vec!["bucket", "bucket/*", "bucket/a*", "bucket/b"]),
        prop::option::of((any::<bool>(), prop::sample::select(vec!["curl", "aws"]))),
    );
    let one = one.prop_map(
        |(deny, who, not_principal, action, not_action, resource, agent)| Model {
            deny,
            who,
            not_principal,
            action,
            not_action,
            resource,
            agent,
        },
    );
    prop::collection::vec(one, 1..6)
}

proptest! {
    #[test]
    fn a_policy_rules_as_the_naive_model_does(
        models in models(),
        project in prop::option::of(prop::sample::select(vec!["p", "q", "r"])),
        action in prop::sample::select(vec!["s3:GetObject", "s3:PutObject", "s3:ListBucket"]),
        resource in prop::sample::select(vec!["bucket", "bucket/a", "bucket/ab", "bucket/b"]),
        agent in prop::option::of(prop::sample::select(vec!["curl", "aws", "x"])),
    ) {
        let statements: Vec<String> = models.iter().map(Model::json).collect();
        let policy = read(&format!(r#"{{"Version": "2012-10-17", "Statement": [{}]}}"#, statements.join(", ")));
        let mut facts = Facts::default();
        if let Some(agent) = agent {
            facts.add("aws:UserAgent", agent);
        }
        let about: Vec<&Model> = models
            .iter()
            .filter(|model| model.is_about(project, action, resource, agent))
            .collect();
        let expected = match about.iter().any(|model| model.deny) {
            true => Ruling::Denied,
            false if about.is_empty() => Ruling::Silent,
            false => Ruling::Allowed,
        };
        let who = project.map(|project| Someone { project, user: "u" });
        prop_assert_eq!(policy.rule(&Question { who, action, resource, facts: &facts }), expected);
    }

    #[test]
    fn no_text_breaks_the_reader(
        text in "(\\{|\\}|\\[|\\]|\"|:|,|Statement|Effect|Allow|Principal|AWS|\\*|Action|s3:|Resource|arn:aws:s3:::bucket|\\$\\{|Condition|Bool|[a-z ]){0,40}",
    ) {
        let _ = Policy::read(&text, PLACE);
    }
}
