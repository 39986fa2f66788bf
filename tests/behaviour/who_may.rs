//! Walks every call of the object store's door as everyone and compares with
//! the table beside this file, `who_may.txt`. The walk of identity's routes is
//! in its own crate.
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use virga_tests::cloud::Cloud;
use virga_tests::swift::{Swift, agent};

const PERSONAS: [&str; 7] = [
    "nobody", "rubbish", "foreign", "reader", "stranger", "member", "admin",
];

struct Row {
    path: &'static str,
    method: &'static str,
    who: BTreeSet<&'static str>,
}

fn rows() -> Vec<Row> {
    let lines = include_str!("who_may.txt").lines();
    let rows = lines.filter(|line| !line.starts_with('#')).map(|line| {
        let words: Vec<&'static str> = line.split_whitespace().collect();
        let [path, method, who] = words[..] else {
            panic!("not a row: {line}");
        };
        let mut let_in = BTreeSet::new();
        for word in who.split(',') {
            match word {
                "all" => let_in.extend(PERSONAS),
                "own" => let_in.extend(["member", "admin"]),
                other if PERSONAS.contains(&other) => drop(let_in.insert(other)),
                other => panic!("nobody is called {other}: {line}"),
            }
        }
        Row {
            path,
            method,
            who: let_in,
        }
    });
    rows.collect()
}

/// Asks identity; the answer's body and token.
fn identity(cloud: &Cloud, method: &str, path: &str, token: &str, body: &Value) -> (Value, String) {
    let mut request = ureq::http::Request::builder()
        .method(method)
        .uri(format!("{}{path}", cloud.auth_url()))
        .header("content-type", "application/json");
    if !token.is_empty() {
        request = request.header("x-auth-token", token);
    }
    let request = request.body(body.to_string()).expect("a request");
    let mut answer = agent().run(request).expect("identity answers");
    let text = answer.body_mut().read_to_string().expect("a body");
    assert!(
        answer.status().is_success(),
        "{method} {path}: {} {text}",
        answer.status()
    );
    let token = answer.headers().get("x-subject-token");
    let token = token.and_then(|t| t.to_str().ok()).unwrap_or_default().to_owned();
    (serde_json::from_str(&text).unwrap_or_default(), token)
}

fn sign_in(cloud: &Cloud, user: &str, password: &str, project: &str) -> (Value, String) {
    let domain = json!({"id": "default"});
    let user = json!({"name": user, "password": password, "domain": domain});
    let identity_of = json!({"methods": ["password"], "password": {"user": user}});
    let scope = json!({"project": {"name": project, "domain": domain}});
    let body = json!({"auth": {"identity": identity_of, "scope": scope}});
    identity(cloud, "POST", "/auth/tokens", "", &body)
}

/// A token for each persona.
fn tokens(cloud: &Cloud, elsewhere: &Cloud) -> BTreeMap<&'static str, String> {
    let of = |cloud: &Cloud, file: &str| cloud.credential(file, "OS_PASSWORD");
    let (_, root) = sign_in(cloud, "admin", &of(cloud, "openrc"), "admin");
    let demo = Swift::connect(cloud);
    let (_, project) = demo.url.rsplit_once("AUTH_").expect("a storage URL");
    let other = json!({"project": {"name": "other", "domain_id": "default"}});
    let (other, _) = identity(cloud, "POST", "/projects", &root, &other);
    let other = other["project"]["id"].as_str().expect("an id").to_owned();
    let mut tokens = BTreeMap::from([
        ("nobody", String::new()),
        ("rubbish", "rubbish".to_owned()),
        ("foreign", Swift::connect(elsewhere).token),
        ("member", demo.token.clone()),
    ]);
    for (persona, role, on, name) in [
        ("reader", "reader", project, "demo"),
        ("admin", "admin", project, "demo"),
        ("stranger", "member", other.as_str(), "other"),
    ] {
        let user = json!({"user": {"name": persona, "password": "pw", "domain_id": "default"}});
        // The administrator of the cloud has the name already.
        let user = match persona {
            "admin" => json!({"user": {"name": "boss", "password": "pw", "domain_id": "default"}}),
            _ => user,
        };
        let (made, _) = identity(cloud, "POST", "/users", &root, &user);
        let id = made["user"]["id"].as_str().expect("an id");
        let (roles, _) = identity(cloud, "GET", &format!("/roles?name={role}"), &root, &Value::Null);
        let role = roles["roles"][0]["id"].as_str().expect("an id");
        let grant = format!("/projects/{on}/users/{id}/roles/{role}");
        identity(cloud, "PUT", &grant, &root, &Value::Null);
        let name_of = user["user"]["name"].as_str().expect("a name");
        tokens.insert(persona, sign_in(cloud, name_of, "pw", name).1);
    }
    tokens
}

/// Containers and objects as the table names them.
fn fill(demo: &Swift) {
    for (container, read, write) in [
        ("shut", "", ""),
        ("open", ".r:*,.rlistings", ""),
        ("given", "other:stranger", "other:stranger"),
    ] {
        let lists = [("x-container-read", read), ("x-container-write", write)];
        let made = demo.send("PUT", container, &lists, b"");
        assert!(made.status.is_success(), "{container}: {}", made.status);
        demo.put(&format!("{container}/o"), b"x");
        demo.put(&format!("{container}/kept"), b"x");
    }
}

/// A call of a row; the status.
fn call(door: &Swift, row: &Row, account: &str) -> u16 {
    let path = row.path.replace("ACCOUNT", account);
    let headers: &[(&str, &str)] = match row.method {
        "COPY" => &[("destination", "shut/copy")],
        _ => &[],
    };
    let answer = door.send(row.method, path.trim_start_matches('/'), headers, b"");
    answer.status.as_u16()
}

#[test]
fn everyone_gets_past_the_door_of_the_object_store_where_the_table_says_so_and_nowhere_else() {
    let (cloud, elsewhere) = (Cloud::start(), Cloud::start());
    let demo = Swift::connect(&cloud);
    fill(&demo);
    let tokens = tokens(&cloud, &elsewhere);
    let (root, account) = demo.url.split_once("/v1/").expect("a storage URL");
    let door = |token: &str| demo.with_token(token).under(root);
    let account = format!("v1/{account}");
    for row in rows() {
        for persona in PERSONAS.iter().filter(|persona| !row.who.contains(**persona)) {
            let known = !["nobody", "rubbish", "foreign"].contains(persona);
            let status = call(&door(&tokens[persona]), &row, &account);
            let expected = if known { 403 } else { 401 };
            assert_eq!(status, expected, "{} {} as {persona}", row.method, row.path);
        }
    }
    // What was refused left no trace.
    for container in ["shut", "open", "given"] {
        assert_eq!(demo.get(container).text(), "kept\no\n", "{container}");
    }
    for row in rows() {
        for persona in &row.who {
            fill(&demo);
            let status = call(&door(&tokens[persona]), &row, &account);
            assert!(
                status != 401 && status != 403 && status < 500,
                "{} {} as {persona}: {status}",
                row.method,
                row.path
            );
        }
    }
}

#[test]
fn every_method_of_the_object_store_has_a_row_and_every_row_a_method() {
    let cloud = Cloud::start();
    let demo = Swift::connect(&cloud);
    fill(&demo);
    let (root, account) = demo.url.split_once("/v1/").expect("a storage URL");
    let door = demo.under(root);
    let mut listed: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for row in rows() {
        let methods = listed.entry(row.path).or_default();
        assert!(
            methods.insert(row.method.to_owned()),
            "twice: {} {}",
            row.method,
            row.path
        );
    }
    for (path, methods) in listed.into_iter().filter(|(path, _)| *path != "/healthcheck") {
        let path = path.replace("ACCOUNT", &format!("v1/{account}"));
        let answer = door.send("BREW", path.trim_start_matches('/'), &[], b"");
        assert_eq!(answer.status, 405, "{path}");
        let there: BTreeSet<String> = answer.header("allow").split(", ").map(str::to_owned).collect();
        assert_eq!(there, methods, "{path}");
    }
}
