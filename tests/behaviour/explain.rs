//! `virga policy` over a running cloud, where it is about the object store.
use std::process::{Command, Output};

use serde_json::{Value, json};
use virga_tests::cloud::{Cloud, Shape, binary};
use virga_tests::keystone::{Keystone, project};
use virga_tests::swift::Swift;

use super::doors::ask;

fn small() -> Cloud {
    Cloud::start_as(Shape {
        devices: 1,
        ..Shape::default()
    })
}

fn policy(cloud: &Cloud, args: &[&str]) -> Output {
    Command::new(binary())
        .arg("policy")
        .args(args)
        .arg("--data")
        .arg(cloud.data())
        .output()
        .expect("virga policy")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn every_action_of_every_service_is_listed_and_every_listed_one_is_explained() {
    let cloud = small();
    let listed = policy(&cloud, &["list", "--json"]);
    let listed: Value = serde_json::from_str(&text(&listed.stdout)).expect("JSON");
    let names: Vec<&str> = listed
        .as_array()
        .expect("rules")
        .iter()
        .map(|rule| rule["name"].as_str().expect("a name"))
        .collect();
    let of = |service: &str| names.iter().filter(|name| name.starts_with(service)).count();
    // What each service has is held against its own table in its own crate.
    assert!(of("identity:") > 100 && of("s3:") > 70, "{names:?}");
    assert_eq!(of("object-store:"), 12, "{names:?}");
    let socket = cloud.data().join("control.sock");
    for name in names {
        let question = json!({"user": "demo", "scope": {"project": "demo"}, "action": name, "target": []});
        let (head, body) = ask(&socket, "POST", "/policy/explain", &question.to_string());
        let told: Value = serde_json::from_str(&body).unwrap_or_else(|_| panic!("{name}: {head} {body}"));
        assert_eq!(told["Ok"]["action"], name, "{told}");
        assert_eq!(
            told["Ok"]["allowed"].as_bool(),
            Some(told["Ok"]["decision"] == "allowed"),
            "{told}"
        );
    }
    let mistaken = policy(
        &cloud,
        &[
            "explain",
            "--user",
            "demo",
            "--project",
            "demo",
            "object-store:put_objet",
        ],
    );
    assert_eq!(mistaken.status.code(), Some(2));
    assert!(text(&mistaken.stderr).contains("there is no action"));
}

#[test]
fn what_is_missing_at_the_object_store_is_told_and_granting_it_helps() {
    let cloud = small();
    let keystone = Keystone::of(&cloud.data());
    let password = cloud.credential("openrc", "OS_PASSWORD");
    let root = keystone
        .sign_in("admin", &password, &project("admin"))
        .expect(201)
        .token();
    let demo = Swift::connect(&cloud);
    let (_, own) = demo.url.rsplit_once("AUTH_").expect("a storage URL");
    let rita = json!({"user": {"name": "rita", "password": "pw", "domain_id": "default"}});
    let rita = keystone
        .call("POST", "/users", &root, &rita)
        .expect(201)
        .id("user");
    let role = |name: &str| {
        let found = keystone.call("GET", &format!("/roles?name={name}"), &root, &Value::Null);
        found.json()["roles"][0]["id"]
            .as_str()
            .expect("a role")
            .to_owned()
    };
    let grant = |name: &str| {
        let path = format!("/projects/{own}/users/{rita}/roles/{}", role(name));
        keystone.call("PUT", &path, &root, &Value::Null).expect(204);
    };
    grant("reader");
    let door = || {
        let token = keystone
            .sign_in("rita", "pw", &project("demo"))
            .expect(201)
            .token();
        demo.with_token(&token)
    };
    let explain = |action: &str, more: &[&str]| {
        let asked = ["explain", "--user", "rita", "--project", "demo", action];
        policy(&cloud, &[&asked, more].concat())
    };
    let refused = door().send("PUT", "box", &[], b"");
    assert_eq!(refused.status, 403);
    let (_, rest) = refused
        .text()
        .split_once("action: ")
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .expect("its name");
    let action = rest.split('.').next().expect("a name");
    assert_eq!(action, "object-store:create_container");
    for action in [action, "s3:CreateBucket"] {
        let told = explain(action, &[]);
        let said = text(&told.stdout);
        assert_eq!(told.status.code(), Some(1), "{said}");
        assert!(said.contains(&format!("--project {own} member")), "{said}");
        // The role that owns every account there is would do, and is no advice.
        assert!(
            !said.contains(" ResellerAdmin\n") && said.contains("Access lists"),
            "{said}"
        );
    }
    grant("member");
    assert_eq!(explain(action, &[]).status.code(), Some(0));
    assert_eq!(door().send("PUT", "box", &[], b"").status, 201);
    let elsewhere = explain(action, &["project_id=0123"]);
    assert_eq!(elsewhere.status.code(), Some(1), "{}", text(&elsewhere.stdout));
}
