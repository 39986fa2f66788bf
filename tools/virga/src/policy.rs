//! `virga policy`: which rule guards what, and why somebody may do something or
//! not. What it prints comes from the running cloud ([`Client`]).
use std::fmt::Write;
use std::process::ExitCode;

use virga_identity::{PolicyAnswer, PolicyQuestion, PolicyScope};
use virga_identity_api::policy::{Decision, Joint, ListedRule, RuleSource, ScopeKind, Trace};

use crate::Failure;
use crate::cli::identity::{Explain, Policy, PolicyVerb};
use crate::identity_control::{Client, is_of_objects, say, say_json};

/// Carries the verb out. The exit code of `explain` says the answer, too.
///
/// # Errors
/// Nobody answers, or it was asked for wrongly.
pub fn run(flags: &Policy) -> Result<ExitCode, Failure> {
    let client = Client::find(&flags.data)?;
    match &flags.verb {
        PolicyVerb::List { part } => {
            let mut rules = client.rules()?;
            if let Some(part) = part {
                rules.retain(|rule| rule.name.contains(part));
            }
            match flags.json {
                true => say_json(&rules)?,
                false => say(listed(&rules).trim_end())?,
            }
            Ok(ExitCode::SUCCESS)
        }
        PolicyVerb::Explain(asked) => {
            let answer = client.explain(&question(asked))?;
            match flags.json {
                true => say_json(&answer)?,
                false => say(explained(&answer).trim_end())?,
            }
            Ok(match answer.allowed {
                true => ExitCode::SUCCESS,
                false => ExitCode::from(1),
            })
        }
    }
}

fn question(asked: &Explain) -> PolicyQuestion {
    let scope = match (&asked.project, &asked.domain, asked.system) {
        (Some(project), _, _) => PolicyScope::Project(project.clone()),
        (_, Some(domain), _) => PolicyScope::Domain(domain.clone()),
        (_, _, true) => PolicyScope::System,
        _ => PolicyScope::Unscoped,
    };
    PolicyQuestion {
        user: asked.user.clone(),
        scope,
        action: asked.action.clone(),
        target: asked.target.clone(),
    }
}

fn scopes(scopes: &[ScopeKind]) -> String {
    let name = |scope: &ScopeKind| match scope {
        ScopeKind::System => "system",
        ScopeKind::Domain => "domain",
        ScopeKind::Project => "project",
    };
    match scopes.is_empty() {
        true => "any".to_owned(),
        false => scopes.iter().map(name).collect::<Vec<_>>().join(", "),
    }
}

fn source(rule: &ListedRule) -> String {
    match &rule.source {
        RuleSource::Default => "default".to_owned(),
        RuleSource::File(line) => format!("policy file, line {line}"),
    }
}

fn rule_text(check: &str) -> &str {
    match check {
        "@" => "@ (always)",
        "!" => "! (never)",
        check => check,
    }
}

fn listed(rules: &[ListedRule]) -> String {
    let mut out = String::new();
    for rule in rules {
        let _ = writeln!(out, "{}", rule.name);
        let _ = writeln!(out, "    {}", rule_text(&rule.check));
        let mut about = format!("    scopes: {}; {}", scopes(&rule.scopes), source(rule));
        if let Some(default) = &rule.replaced {
            let _ = write!(about, " in place of: {}", rule_text(default));
        }
        if !rule.deprecated.is_empty() {
            let _ = write!(about, "; once called {}", rule.deprecated.join(", "));
        }
        let _ = writeln!(out, "{about}");
    }
    out
}

fn traced(trace: &Trace, depth: usize, out: &mut String) {
    let mark = if trace.holds { "yes" } else { "no " };
    let indent = "  ".repeat(depth);
    let what = match trace.joint {
        Joint::And => "all of".to_owned(),
        Joint::Or => "one of".to_owned(),
        Joint::Not => "not".to_owned(),
        Joint::Rule | Joint::Check => trace.check.clone(),
    };
    let note = match trace.note.is_empty() {
        true => String::new(),
        false => format!("   ({})", trace.note),
    };
    let _ = writeln!(out, "  {mark}  {indent}{what}{note}");
    for part in &trace.parts {
        traced(part, depth + 1, out);
    }
}

fn explained(answer: &PolicyAnswer) -> String {
    let mut out = String::new();
    let user = answer.user["name"].as_str().unwrap_or_default();
    let verdict = match (answer.allowed, answer.decision) {
        (true, _) => "allowed",
        (false, Decision::WrongScope) => "not allowed: the scope is wrong",
        (false, _) => "not allowed",
    };
    let _ = writeln!(out, "{}: {verdict} for {user} on {}", answer.action, answer.on);
    for note in &answer.notes {
        let _ = writeln!(out, "  {note}");
    }
    let roles = match answer.roles.is_empty() {
        true => "none".to_owned(),
        false => answer.roles.join(", "),
    };
    let _ = writeln!(out, "\nroles there   {roles}");
    let _ = writeln!(out, "rule          {}", rule_text(&answer.rule.check));
    if answer.rule.expanded != answer.rule.check {
        let _ = writeln!(out, "that is       {}", answer.rule.expanded);
    }
    let from = match (&answer.rule.source, &answer.file) {
        (RuleSource::File(line), Some(file)) => format!("{file}, line {line}"),
        _ => source(&answer.rule),
    };
    let _ = writeln!(out, "from          {from}");
    let _ = writeln!(out, "for scopes    {}", scopes(&answer.rule.scopes));
    if let Some(trace) = &answer.trace {
        let _ = writeln!(out, "\npart by part");
        traced(trace, 0, &mut out);
    }
    if is_of_objects(&answer.action) {
        let _ = writeln!(
            out,
            "\nThis is what roles allow. Access lists of containers and objects, and the policy of a bucket, \
             may allow more to others; a policy may deny it."
        );
    }
    if !answer.not_given.is_empty() && !answer.allowed {
        let names = answer.not_given.join(", ");
        let _ = writeln!(out, "\nnot given, so it cannot match: {names}");
    }
    if !answer.allowed {
        let _ = writeln!(out);
        match answer.ways.is_empty() {
            true => {
                let _ = writeln!(
                    out,
                    "no role would help: it depends on whose the target is, or on the rule itself"
                );
            }
            false => {
                let _ = writeln!(out, "what would help (any one of these)");
            }
        }
        for way in &answer.ways {
            let missing = match &way.role {
                Some(role) => format!("the role {role} on {}", way.on),
                None => format!("to act on {}, where the roles suffice", way.on),
            };
            let _ = writeln!(out, "  {missing}:\n    {}", way.command);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use virga_identity::Way;
    use virga_identity_api::policy::{RuleDefault, Rules};

    use super::*;

    #[test]
    fn an_explanation_names_the_part_that_failed_and_what_to_type() {
        let default = RuleDefault {
            name: "pet:feed",
            check: "role:keeper or user_id:%(owner)s",
            scopes: &[ScopeKind::Project],
            deprecated: &[],
        };
        let rules = Rules::new(&[default], None).unwrap();
        let who = json!({"roles": ["reader"], "user_id": "u"});
        let told = rules.explain("pet:feed", Some(ScopeKind::Project), &who, &json!({}));
        let answer = PolicyAnswer {
            action: "pet:feed".into(),
            allowed: false,
            decision: told.decision,
            rule: rules.list().remove(0),
            file: None,
            user: json!({"name": "ann"}),
            on: "the project zoo (z)".into(),
            roles: vec!["reader".into()],
            trace: told.trace,
            not_given: vec!["owner".into()],
            ways: vec![Way {
                role: Some("keeper".into()),
                on: "the project zoo (z)".into(),
                command: "openstack role add --user u --project z keeper".into(),
            }],
            notes: Vec::new(),
        };
        let text = explained(&answer);
        for says in [
            "pet:feed: not allowed for ann on the project zoo (z)",
            "roles there   reader",
            "no     role:keeper   (roles: reader; wanted: keeper)",
            "not given, so it cannot match: owner",
            "openstack role add --user u --project z keeper",
        ] {
            assert!(text.contains(says), "{says} is not in:\n{text}");
        }
        assert!(listed(&rules.list()).contains("scopes: project; default"));
    }
}
