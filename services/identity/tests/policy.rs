//! Policy of a running service: files that change, and why somebody may do
//! something or not.
#![allow(clippy::unwrap_used, reason = "a failed test should panic")]
mod bench;

use bench::{Bench, bench, bench_with};
use serde_json::{Value, json};
use virga_identity::{Config, ExplainError, PolicyAnswer, PolicyQuestion, PolicyScope};

async fn explain(
    b: &Bench,
    user: &str,
    scope: PolicyScope,
    action: &str,
    target: &[(&str, &str)],
) -> PolicyAnswer {
    let pairs = target.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
    let question = PolicyQuestion {
        user: user.into(),
        scope,
        action: action.into(),
        target: pairs.collect(),
    };
    b.identity.explain_policy(&question).await.unwrap()
}

fn demo() -> PolicyScope {
    PolicyScope::Project("demo".into())
}

#[tokio::test]
async fn what_is_missing_is_a_role_and_granting_it_helps() {
    let b = bench().await;
    let target = [("target.user.domain_id", "default")];
    let told = explain(&b, "demo", demo(), "identity:create_user", &target).await;
    assert!(!told.allowed && told.roles.contains(&"member".to_owned()));
    let admin = b.admin().await;
    let path = format!(
        "/v3/domains/default/users/{}/roles/{}",
        b.report.demo_user_id,
        b.role_id("manager").await
    );
    let on_domain = told
        .ways
        .iter()
        .find(|w| w.role.as_deref() == Some("manager"))
        .unwrap();
    assert_eq!(
        on_domain.command,
        format!(
            "openstack role add --user {} --domain default manager",
            b.report.demo_user_id
        )
    );
    assert!(
        told.ways
            .iter()
            .any(|w| w.command.contains("--project") && w.command.ends_with(" admin"))
    );
    // Doing what it says makes the server let the user do it.
    b.call("PUT", &path, &admin, Value::Null).await.expect(204);
    let domain = PolicyScope::Domain("default".into());
    assert!(
        explain(&b, "demo", domain, "identity:create_user", &target)
            .await
            .allowed
    );
    let token = b
        .token("demo", bench::DEMO_PASSWORD, json!({"domain": {"id": "default"}}))
        .await;
    let new = json!({"user": {"name": "ann", "domain_id": "default"}});
    b.call("POST", "/v3/users", &token, new).await.expect(201);
    let elsewhere = explain(&b, "demo", demo(), "identity:create_user", &target).await;
    assert!(
        elsewhere
            .ways
            .iter()
            .any(|w| w.role.is_none() && w.command.contains("--os-domain-id")),
        "{:?}",
        elsewhere.ways
    );
}

#[tokio::test]
async fn owners_wrong_scopes_and_names_that_are_not_there_are_told_apart() {
    let b = bench().await;
    let mine = [("user_id", b.report.demo_user_id.as_str())];
    let own = explain(&b, "demo", demo(), "identity:get_user", &mine).await;
    assert!(own.allowed);
    let reasons = own.trace.as_ref().unwrap().reasons().join(" ");
    assert!(reasons.contains("user_id:%(target.user.id)s"), "{reasons}");
    let domain = PolicyScope::Domain("default".into());
    let wrong = explain(&b, "admin", domain, "identity:create_domain", &[]).await;
    assert!(!wrong.allowed, "{wrong:?}");
    let bare = explain(&b, "demo", demo(), "identity:update_user", &[]).await;
    assert!(bare.not_given.contains(&"target.user.domain_id".to_owned()));
    let none = explain(&b, "demo", PolicyScope::System, "identity:list_users", &[]).await;
    assert!(
        !none.allowed && none.notes[0].contains("no role"),
        "{:?}",
        none.notes
    );
    let ask = async |user: &str, action: &str| {
        let question = PolicyQuestion {
            user: user.into(),
            scope: demo(),
            action: action.into(),
            target: Vec::new(),
        };
        b.identity.explain_policy(&question).await.unwrap_err()
    };
    let no_action = ask("demo", "identity:creat_user").await;
    assert!(matches!(no_action, ExplainError::NoAction { .. }));
    assert!(
        ask("nobody", "identity:get_user")
            .await
            .to_string()
            .contains("nobody")
    );
}

#[tokio::test]
async fn an_explanation_is_what_the_server_decides() {
    let b = bench().await;
    let (admin, token) = (b.admin().await, b.demo().await);
    let group = b
        .call("POST", "/v3/groups", &admin, json!({"group": {"name": "g"}}))
        .await
        .expect(201)
        .id("group");
    for (method, path, action, target) in [
        ("GET", "/v3/users".to_owned(), "identity:list_users", vec![]),
        (
            "GET",
            format!("/v3/groups/{group}"),
            "identity:get_group",
            vec![("group_id", group.as_str())],
        ),
        (
            "GET",
            format!("/v3/projects/{}", b.report.demo_project_id),
            "identity:get_project",
            vec![("project_id", b.report.demo_project_id.as_str())],
        ),
        ("GET", "/v3/regions".to_owned(), "identity:list_regions", vec![]),
        ("GET", "/v3/roles".to_owned(), "identity:list_roles", vec![]),
    ] {
        for (user, scope, token) in [
            ("demo", demo(), &token),
            ("admin", PolicyScope::Project("admin".into()), &admin),
        ] {
            let told = explain(&b, user, scope, action, &target).await;
            let done = b.call(method, &path, token, Value::Null).await;
            assert_eq!(told.allowed, done.status != 403, "{user} {path}: {}", done.text);
        }
    }
}

#[tokio::test]
async fn a_policy_file_that_changes_counts_at_once_and_a_bad_one_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let b = bench_with(Config {
        policy_folder: Some(dir.path().into()),
        ..Config::default()
    })
    .await;
    let token = b.demo().await;
    b.get("/v3/users", &token).await.expect(403);
    let file = dir.path().join("policy.yaml");
    std::fs::write(&file, "\"identity:list_users\": \"role:member\"\n").unwrap();
    assert!(b.identity.reload_policy().unwrap());
    b.get("/v3/users", &token).await.expect(200);
    std::fs::write(&file, "\"identity:list_users\": \"role:\n").unwrap();
    let said = b.identity.reload_policy().unwrap_err().to_string();
    assert!(said.contains("line "), "{said}");
    b.get("/v3/users", &token).await.expect(200);
    let rule = b.identity.policy_rules();
    let rule = rule.iter().find(|r| r.name == "identity:list_users").unwrap();
    assert!(rule.replaced.is_some() && rule.check == "role:member");
    // Attributes that take a query are there when a rule of the file asks.
    let text = "\"identity:list_users\": \"user_domain_id:default and token.user.domain.id:default\"\n";
    std::fs::write(&file, text).unwrap();
    assert!(b.identity.reload_policy().unwrap());
    b.get("/v3/users", &token).await.expect(200);
}
