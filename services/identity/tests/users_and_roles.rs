//! Users, projects, groups, roles and grants, through the router.
#![allow(clippy::unwrap_used, reason = "a failed test should panic")]
mod bench;

use std::collections::BTreeSet;

use bench::{DEMO_PASSWORD, bench, by_password, project_scope};
use serde_json::{Value, json};
use virga_identity_api::verify::TokenError;

#[tokio::test]
async fn a_user_is_made_found_changed_and_deleted() {
    let b = bench().await;
    let admin = b.admin().await;
    let body = json!({"user": {"name": "ann", "password": "pw", "domain_id": "default", "email": "a@b", "shoe": 42}});
    let made = b
        .call("POST", "/v3/users", &admin, body.clone())
        .await
        .expect(201);
    assert!(!made.text.contains("pw\""), "{}", made.text);
    let id = made.id("user");
    assert_eq!(made.json()["user"]["shoe"], 42);
    let twice = b.call("POST", "/v3/users", &admin, body).await.expect(409);
    assert!(
        twice
            .text
            .contains("Duplicate entry found with name ann at domain ID default")
    );
    b.get("/v3/users/ann", &admin).await.expect(404);
    let listed = b.get("/v3/users?name=ann", &admin).await.expect(200).json();
    assert_eq!(listed["users"][0]["id"], json!(id));
    assert_eq!(listed["links"]["self"], "http://cloud:5000/v3/users?name=ann");
    assert_eq!(
        b.get("/v3/users?name__contains=NN", &admin).await.json()["users"],
        json!([])
    );
    assert_eq!(
        b.get("/v3/users?name__icontains=NN", &admin).await.json()["users"][0]["name"],
        "ann"
    );
    let path = format!("/v3/users/{id}");
    let change = json!({"user": {"name": "anna", "options": {"lock_password": true}}});
    let changed = b.call("PATCH", &path, &admin, change).await.expect(200).json();
    assert_eq!(changed["user"]["options"]["lock_password"], true);
    assert_eq!(changed["user"]["email"], "a@b");
    b.call(
        "PATCH",
        &path,
        &admin,
        json!({"user": {"domain_id": "elsewhere"}}),
    )
    .await
    .expect(400);
    b.call(
        "PATCH",
        &path,
        &admin,
        json!({"user": {"options": {"nonsense": true}}}),
    )
    .await
    .expect(400);
    b.call("DELETE", &path, &admin, Value::Null).await.expect(204);
    b.get(&path, &admin).await.expect(404);
}

#[tokio::test]
async fn a_new_password_and_a_disabled_user_end_all_tokens() {
    let b = bench().await;
    let admin = b.admin().await;
    let demo = b.demo().await;
    let path = format!("/v3/users/{}", b.report.demo_user_id);
    let wrong = json!({"user": {"password": "new", "original_password": "nope"}});
    b.call("POST", &format!("{path}/password"), "", wrong)
        .await
        .expect(401);
    let right = json!({"user": {"password": "new", "original_password": DEMO_PASSWORD}});
    b.call("POST", &format!("{path}/password"), &demo, right)
        .await
        .expect(204);
    assert_eq!(
        b.identity.verifier().verify(&demo).await,
        Err(TokenError::Revoked)
    );
    b.authenticate(by_password("demo", DEMO_PASSWORD, project_scope("demo")))
        .await
        .expect(401);
    b.advance(1);
    let demo = b.token("demo", "new", project_scope("demo")).await;
    b.identity.verifier().verify(&demo).await.unwrap();
    b.call("PATCH", &path, &admin, json!({"user": {"enabled": false}}))
        .await
        .expect(200);
    assert_eq!(
        b.identity.verifier().verify(&demo).await,
        Err(TokenError::Revoked)
    );
    b.authenticate(by_password("demo", "new", project_scope("demo")))
        .await
        .expect(401);
    let again = b.restarted(&bench::plan()).await;
    assert_eq!(
        again.identity.verifier().verify(&demo).await,
        Err(TokenError::Revoked)
    );
}

#[tokio::test]
async fn the_reseller_admin_role_is_there_from_the_start_and_stays_away_when_it_is_taken() {
    let b = bench().await;
    let names = async |b: &bench::Bench| {
        let listed = b.get("/v3/roles", &b.admin().await).await.expect(200).json();
        let roles = listed["roles"].as_array().unwrap().iter();
        let names: BTreeSet<_> = roles.map(|r| r["name"].as_str().unwrap().to_owned()).collect();
        names
    };
    let usual = ["admin", "manager", "member", "reader", "service"];
    let mut expected: BTreeSet<String> = usual.map(str::to_owned).into();
    expected.insert("ResellerAdmin".into());
    assert_eq!(names(&b).await, expected);
    let again = b.restarted(&bench::plan()).await;
    assert_eq!(names(&again).await, expected);
    // Identity gives nothing to who has it.
    let ann = b.new_user("ann").await;
    let target = format!("projects/{}", b.report.demo_project_id);
    b.grant(&target, &ann, "ResellerAdmin").await;
    let token = b.token("ann", "pw", project_scope("demo")).await;
    for path in [
        "/v3/users",
        "/v3/roles",
        "/v3/role_assignments",
        "/v3/credentials",
    ] {
        let told = b.get(path, &token).await;
        let reader = b.get(path, &b.demo().await).await;
        assert_eq!(told.status, reader.status, "{path}: {}", told.text);
    }
    let admin = b.admin().await;
    let role = format!("/v3/roles/{}", b.role_id("ResellerAdmin").await);
    let renamed = json!({"role": {"name": "accounts"}});
    b.call("PATCH", &role, &admin, renamed).await.expect(200);
    let again = b.restarted(&bench::plan()).await;
    expected.remove("ResellerAdmin");
    assert_eq!(names(&again).await.len(), 6);
    again.call("DELETE", &role, &admin, Value::Null).await.expect(204);
    assert_eq!(names(&again.restarted(&bench::plan()).await).await, expected);
}

#[tokio::test]
async fn a_grant_opens_a_project_and_its_end_closes_it() {
    let b = bench().await;
    let admin = b.admin().await;
    let (user, project) = (b.new_user("ann").await, b.new_project("lab").await);
    let role = b.role_id("manager").await;
    let wish = by_password("ann", "pw", project_scope("lab"));
    b.authenticate(wish.clone()).await.expect(401);
    let path = format!("/v3/projects/{project}/users/{user}/roles/{role}");
    b.call("HEAD", &path, &admin, Value::Null).await.expect(404);
    b.call("PUT", &path, &admin, Value::Null).await.expect(204);
    b.call("PUT", &path, &admin, Value::Null).await.expect(204);
    b.call("HEAD", &path, &admin, Value::Null).await.expect(204);
    let listed = b
        .get(&format!("/v3/projects/{project}/users/{user}/roles"), &admin)
        .await
        .expect(200)
        .json();
    assert_eq!(listed["roles"][0]["name"], "manager");
    let token = b.token("ann", "pw", project_scope("lab")).await;
    let caller = b.identity.verifier().verify(&token).await.unwrap();
    assert_eq!(caller.roles, ["manager", "member", "reader"]);
    let mine = b.get("/v3/auth/projects", &token).await.expect(200).json();
    assert_eq!(mine["projects"].as_array().unwrap().len(), 1);
    b.call("DELETE", &path, &admin, Value::Null).await.expect(204);
    assert_eq!(
        b.identity.verifier().verify(&token).await,
        Err(TokenError::Revoked)
    );
    b.call("DELETE", &path, &admin, Value::Null).await.expect(404);
    b.authenticate(wish).await.expect(401);
}

#[tokio::test]
async fn group_and_inherited_roles_take_effect_below() {
    let b = bench().await;
    let admin = b.admin().await;
    let user = b.new_user("ann").await;
    let group = json!({"group": {"name": "team", "domain_id": "default"}});
    let group = b
        .call("POST", "/v3/groups", &admin, group)
        .await
        .expect(201)
        .id("group");
    let lab = b.new_project("lab").await;
    let child = json!({"project": {"name": "bench", "parent_id": lab}});
    let child = b
        .call("POST", "/v3/projects", &admin, child)
        .await
        .expect(201)
        .id("project");
    let reader = b.role_id("reader").await;
    let path = format!("/v3/OS-INHERIT/projects/{lab}/groups/{group}/roles/{reader}/inherited_to_projects");
    b.call("PUT", &path, &admin, Value::Null).await.expect(204);
    let member = format!("/v3/groups/{group}/users/{user}");
    b.call("HEAD", &member, &admin, Value::Null).await.expect(404);
    b.call("PUT", &member, &admin, Value::Null).await.expect(204);
    b.authenticate(by_password("ann", "pw", project_scope("lab")))
        .await
        .expect(401);
    let token = b.token("ann", "pw", project_scope("bench")).await;
    let effective = format!("/v3/role_assignments?effective&user.id={user}&include_names=True");
    let shown = b.get(&effective, &admin).await.expect(200).json();
    let only = &shown["role_assignments"][0];
    assert_eq!(shown["role_assignments"].as_array().unwrap().len(), 1, "{shown}");
    assert_eq!(only["scope"]["project"]["id"], json!(child));
    assert_eq!(only["user"]["name"], "ann");
    assert_eq!(only["role"]["name"], "reader");
    let stored = b
        .get(&format!("/v3/role_assignments?group.id={group}"), &admin)
        .await
        .expect(200)
        .json();
    assert_eq!(
        stored["role_assignments"][0]["scope"]["OS-INHERIT:inherited_to"],
        "projects"
    );
    b.call("DELETE", &member, &admin, Value::Null).await.expect(204);
    assert_eq!(
        b.identity.verifier().verify(&token).await,
        Err(TokenError::Revoked)
    );
}

#[tokio::test]
async fn implications_reach_tokens_and_never_run_in_circles() {
    let b = bench().await;
    let admin = b.admin().await;
    let reseller = b.role_id("ResellerAdmin").await;
    let member = b.role_id("member").await;
    let path = format!("/v3/roles/{member}/implies/{reseller}");
    let made = b.call("PUT", &path, &admin, Value::Null).await.expect(201).json();
    assert_eq!(made["role_inference"]["implies"]["name"], "ResellerAdmin");
    b.call(
        "PUT",
        &format!("/v3/roles/{reseller}/implies/{member}"),
        &admin,
        Value::Null,
    )
    .await
    .expect(400);
    let admin_role = b.role_id("admin").await;
    b.call(
        "PUT",
        &format!("/v3/roles/{member}/implies/{admin_role}"),
        &admin,
        Value::Null,
    )
    .await
    .expect(403);
    let demo = b.demo().await;
    assert!(
        b.identity
            .verifier()
            .verify(&demo)
            .await
            .unwrap()
            .has_role("ResellerAdmin")
    );
    let rules = b.get("/v3/role_inferences", &admin).await.expect(200).json();
    assert_eq!(rules["role_inferences"].as_array().unwrap().len(), 3);
    b.call("DELETE", &path, &admin, Value::Null).await.expect(204);
    assert_eq!(
        b.identity.verifier().verify(&demo).await,
        Err(TokenError::Revoked)
    );
    b.call("DELETE", &format!("/v3/roles/{member}"), &admin, Value::Null)
        .await
        .expect(403);
    b.call("DELETE", &format!("/v3/roles/{reseller}"), &admin, Value::Null)
        .await
        .expect(204);
}

#[tokio::test]
async fn a_domain_goes_only_when_disabled_and_takes_all_with_it() {
    let b = bench().await;
    let admin = b.admin().await;
    b.get("/v3/domains/Default", &admin).await.expect(404);
    let body = json!({"domain": {"name": "d2", "description": null, "options": {}}});
    let domain = b
        .call("POST", "/v3/domains", &admin, body)
        .await
        .expect(201)
        .id("domain");
    let body = json!({"project": {"name": "p", "domain_id": domain}});
    let project = b
        .call("POST", "/v3/projects", &admin, body)
        .await
        .expect(201)
        .id("project");
    let body = json!({"project": {"name": "p", "parent_id": project}});
    b.call("POST", "/v3/projects", &admin, body.clone())
        .await
        .expect(409);
    let body = json!({"project": {"name": "q", "parent_id": project}});
    b.call("POST", "/v3/projects", &admin, body).await.expect(201);
    b.call("DELETE", &format!("/v3/projects/{project}"), &admin, Value::Null)
        .await
        .expect(403);
    let path = format!("/v3/domains/{domain}");
    b.call("DELETE", &path, &admin, Value::Null).await.expect(403);
    b.call("PATCH", &path, &admin, json!({"domain": {"enabled": false}}))
        .await
        .expect(200);
    b.call("DELETE", &path, &admin, Value::Null).await.expect(204);
    b.get(&format!("/v3/projects/{project}"), &admin)
        .await
        .expect(404);
    b.call("DELETE", "/v3/domains/default", &admin, Value::Null)
        .await
        .expect(403);
}

#[tokio::test]
async fn tags_are_kept_and_filter_lists() {
    let b = bench().await;
    let admin = b.admin().await;
    let lab = b.new_project("lab").await;
    let tags = format!("/v3/projects/{lab}/tags");
    b.call("PUT", &tags, &admin, json!({"tags": ["red", "blue"]}))
        .await
        .expect(200);
    b.call("PUT", &format!("{tags}/green"), &admin, Value::Null)
        .await
        .expect(201);
    assert_eq!(
        b.get(&tags, &admin).await.json()["tags"],
        json!(["blue", "green", "red"])
    );
    b.call("DELETE", &format!("{tags}/red"), &admin, Value::Null)
        .await
        .expect(204);
    b.get(&format!("{tags}/red"), &admin).await.expect(404);
    b.get(&format!("{tags}/blue"), &admin).await.expect(204);
    let found = b
        .get("/v3/projects?tags=blue,green", &admin)
        .await
        .expect(200)
        .json();
    assert_eq!(found["projects"][0]["id"], json!(lab));
    assert_eq!(
        b.get("/v3/projects?tags=red", &admin).await.json()["projects"],
        json!([])
    );
    b.call("PUT", &tags, &admin, json!({"tags": ["a/b"]}))
        .await
        .expect(400);
}

#[tokio::test]
async fn lists_page_by_limit_and_marker() {
    let b = bench().await;
    let admin = b.admin().await;
    let mut url = "/v3/projects?limit=1".to_owned();
    let mut seen = Vec::new();
    loop {
        let page = b.get(&url, &admin).await.expect(200).json();
        seen.extend(
            page["projects"]
                .as_array()
                .unwrap()
                .iter()
                .map(|p| p["name"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page["links"]["next"].as_str() else {
            break;
        };
        url = next.strip_prefix("http://cloud:5000").unwrap().to_owned();
    }
    seen.sort();
    assert_eq!(seen, ["admin", "demo", "service"]);
    b.get("/v3/projects?limit=x", &admin).await.expect(400);
}

#[tokio::test]
async fn ec2_keys_belong_to_their_user_and_are_sealed() {
    let b = bench().await;
    let (access, secret) = b.report.demo_ec2.clone().unwrap();
    let known = b.identity.ec2_secret(&access).await.unwrap().unwrap();
    assert_eq!(
        (&known.secret, known.project_id.as_str()),
        (&secret, b.report.demo_project_id.as_str())
    );
    assert_eq!(known.roles, ["member", "reader"]);
    let demo = b.demo().await;
    let path = format!("/v3/users/{}/credentials/OS-EC2", b.report.demo_user_id);
    let body = json!({"tenant_id": b.report.demo_project_id});
    let made = b.call("POST", &path, &demo, body).await.expect(201).json();
    let access = made["credential"]["access"].as_str().unwrap();
    assert_eq!(access.len(), 32);
    assert_eq!(
        b.get(&path, &demo).await.expect(200).json()["credentials"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    b.get(&format!("{path}/{access}"), &demo).await.expect(200);
    let admins = format!("/v3/users/{}/credentials/OS-EC2", b.report.admin_user_id);
    b.get(&admins, &demo).await.expect(403);
    b.call(
        "POST",
        &admins,
        &demo,
        json!({"tenant_id": b.report.demo_project_id}),
    )
    .await
    .expect(403);
    let body = json!({"tenant_id": b.report.admin_project_id});
    let idle = b.call("POST", &path, &demo, body).await.expect(201).json();
    let idle = idle["credential"]["access"].as_str().unwrap();
    let opens = b.identity.ec2_secret(idle).await.unwrap();
    assert!(opens.is_none(), "without a role there the key opens nothing");
    b.call("DELETE", &format!("{path}/{idle}"), &demo, Value::Null)
        .await
        .expect(204);
    b.call("DELETE", &format!("{path}/{access}"), &demo, Value::Null)
        .await
        .expect(204);
    assert!(b.identity.ec2_secret(access).await.unwrap().is_none());
    let admin = b.admin().await;
    let all = b.get("/v3/credentials?type=ec2", &admin).await.expect(200).json();
    assert_eq!(all["credentials"].as_array().unwrap().len(), 1);
    let blob = json!({"access": "exam", "secret": "s"}).to_string();
    let body = json!({"credential": {"type": "ec2", "user_id": b.report.demo_user_id,
        "project_id": b.report.demo_project_id, "blob": blob}});
    b.call("POST", "/v3/credentials", &admin, body.clone())
        .await
        .expect(201);
    b.call("POST", "/v3/credentials", &admin, body).await.expect(409);
    assert_eq!(*b.identity.ec2_secret("exam").await.unwrap().unwrap().secret, "s");
}

#[tokio::test]
async fn changes_at_the_same_time_are_kept_or_refused_but_never_lost() {
    let b = bench().await;
    let admin = b.admin().await;
    let service = b
        .call("POST", "/v3/services", &admin, json!({"service": {"type": "x"}}))
        .await
        .expect(201);
    let path = format!("/v3/services/{}", service.id("service"));
    let change = async |n: u32| {
        let body = json!({"service": {format!("key-{n}"): n}});
        b.call("PATCH", &path, &admin, body).await.status.as_u16()
    };
    let done = tokio::join!(change(0), change(1), change(2), change(3));
    let statuses = [done.0, done.1, done.2, done.3];
    assert!(
        statuses.contains(&200) && statuses.iter().all(|s| [200, 409].contains(s)),
        "{statuses:?}"
    );
    let kept = b.get(&path, &admin).await.expect(200).json();
    for (n, status) in statuses.iter().enumerate() {
        assert_eq!(
            kept["service"].get(format!("key-{n}")).is_some(),
            *status == 200,
            "{statuses:?} {kept}"
        );
    }
}
