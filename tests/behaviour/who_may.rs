//! Walks every call of the object store's door as everyone and compares with
//! the table beside this file, `who_may.txt`. The walk of identity's routes is
//! in its own crate.
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use virga_proxy::swift::{actions, pages};
use virga_tests::cloud::Cloud;
use virga_tests::keystone::{Keystone, project};
use virga_tests::swift::{Answer, Swift};

const PERSONAS: [&str; 10] = [
    "nobody", "rubbish", "foreign", "reader", "service", "system", "stranger", "member", "admin", "reseller",
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
                "own" => let_in.extend(["member", "admin", "reseller"]),
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

/// A user with a role on a project; the token for it.
fn person(
    keystone: &Keystone,
    root: &str,
    (name, role): (&str, &str),
    (id, project_name): (&str, &str),
) -> String {
    let user = json!({"user": {"name": name, "password": "pw", "domain_id": "default"}});
    let made = keystone.call("POST", "/users", root, &user).expect(201);
    let found = keystone.call("GET", &format!("/roles?name={role}"), root, &Value::Null);
    let role = found.json()["roles"][0]["id"].as_str().expect(role).to_owned();
    let grant = format!("/projects/{id}/users/{}/roles/{role}", made.id("user"));
    keystone.call("PUT", &grant, root, &Value::Null).expect(204);
    keystone
        .sign_in(name, "pw", &project(project_name))
        .expect(201)
        .token()
}

/// A token for each persona.
fn tokens(cloud: &Cloud, elsewhere: &Cloud) -> BTreeMap<&'static str, String> {
    let keystone = Keystone::of(&cloud.data());
    let password = cloud.credential("openrc", "OS_PASSWORD");
    let sign_in = |scope: &Value| keystone.sign_in("admin", &password, scope).expect(201).token();
    let root = sign_in(&project("admin"));
    let demo = Swift::connect(cloud);
    let (_, own) = demo.url.rsplit_once("AUTH_").expect("a storage URL");
    let own = (own, "demo");
    let other = json!({"project": {"name": "other", "domain_id": "default"}});
    let other = keystone
        .call("POST", "/projects", &root, &other)
        .expect(201)
        .id("project");
    let other = (other.as_str(), "other");
    let mut tokens = BTreeMap::from([
        ("nobody", String::new()),
        ("rubbish", "rubbish".to_owned()),
        ("foreign", Swift::connect(elsewhere).token),
        ("member", demo.token.clone()),
        ("system", sign_in(&json!({"system": {"all": true}}))),
    ]);
    for (persona, role, on) in [
        ("reader", "reader", own),
        ("service", "service", own),
        // The administrator of the cloud has the name "admin" already.
        ("admin", "admin", own),
        ("stranger", "member", other),
        ("reseller", "ResellerAdmin", other),
    ] {
        let name = if persona == "admin" { "boss" } else { persona };
        tokens.insert(persona, person(&keystone, &root, (name, role), on));
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

impl Row {
    /// What goes with it to be understood. `password` is demo's.
    fn headers<'a>(&self, password: &'a str) -> Vec<(&'static str, &'a str)> {
        match (self.method, self.path) {
            ("COPY", _) => vec![("destination", "shut/copy")],
            (_, "/auth/v1" | "/auth/v1.0" | "/v1.0") => {
                vec![("x-auth-user", "demo:demo"), ("x-auth-key", password)]
            }
            _ => Vec::new(),
        }
    }

    fn body(&self) -> &'static [u8] {
        match self.path {
            "ACCOUNT?bulk-delete" => b"shut/o",
            _ => b"",
        }
    }

    /// Whether it is a call of the API: pages take any method.
    fn is_of_api(&self) -> bool {
        self.path == pages::INFO || self.path.starts_with("ACCOUNT") && !self.path.contains('?')
    }

    /// The name of what is asked for. A copy may fail at either end.
    fn action(&self) -> &'static str {
        if self.method == "COPY" {
            return "object-store:";
        }
        let level = match self
            .path
            .split('?')
            .next()
            .unwrap_or_default()
            .matches('/')
            .count()
        {
            0 => actions::Level::Account,
            1 => actions::Level::Container,
            _ => actions::Level::Object,
        };
        let method = self.method.parse().expect("a method");
        actions::named(level, &method).expect("a call that is judged")
    }
}

/// A call of a row.
fn call(door: &Swift, row: &Row, (account, password): (&str, &str)) -> Answer {
    let path = row.path.replace("ACCOUNT", account);
    let headers = row.headers(password);
    door.send(row.method, path.trim_start_matches('/'), &headers, row.body())
}

/// The status of an answer. Reports of several calls in one tell of each in
/// their bodies.
fn status(row: &Row, answer: &Answer) -> u16 {
    let said = answer.text();
    match row.path == "ACCOUNT?bulk-delete" {
        true if said.contains("401 Unauthorized") => 401,
        true if said.contains("403 Forbidden") => 403,
        _ => answer.status.as_u16(),
    }
}

#[test]
fn everyone_gets_past_the_door_of_the_object_store_where_the_table_says_so_and_nowhere_else() {
    let (cloud, elsewhere) = (Cloud::start(), Cloud::start());
    let demo = Swift::connect(&cloud);
    fill(&demo);
    let tokens = tokens(&cloud, &elsewhere);
    let password = cloud.credential("openrc-demo", "OS_PASSWORD");
    let (root, account) = demo.url.split_once("/v1/").expect("a storage URL");
    let door = |token: &str| demo.with_token(token).under(root);
    let account = format!("v1/{account}");
    for row in rows() {
        for persona in PERSONAS.iter().filter(|persona| !row.who.contains(**persona)) {
            let known = !["nobody", "rubbish", "foreign"].contains(persona);
            let answer = call(&door(&tokens[persona]), &row, (&account, &password));
            let expected = if known { 403 } else { 401 };
            let case = format!("{} {} as {persona}: {}", row.method, row.path, answer.text());
            assert_eq!(status(&row, &answer), expected, "{case}");
            // An answer to HEAD has no body to name anything in, a report no room.
            if known && row.method != "HEAD" && row.body().is_empty() {
                let says = format!(
                    "You are not authorized to perform the requested action: {}",
                    row.action()
                );
                assert!(answer.text().contains(&says), "{case}");
            }
        }
    }
    // What was refused left no trace.
    for container in ["shut", "open", "given"] {
        assert_eq!(demo.get(container).text(), "kept\no\n", "{container}");
    }
    for row in rows() {
        for persona in &row.who {
            let answer = call(&door(&tokens[persona]), &row, (&account, &password));
            let status = status(&row, &answer);
            assert!(
                status != 401 && status != 403 && status < 500,
                "{} {} as {persona}: {status}",
                row.method,
                row.path
            );
            if !["GET", "HEAD", "OPTIONS"].contains(&row.method) {
                fill(&demo);
            }
        }
    }
}

#[test]
fn every_method_and_page_of_the_object_store_has_a_row_and_every_row_a_method() {
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
    for page in pages::ALL {
        assert!(listed.contains_key(page), "no row: {page}");
    }
    for row in rows().iter().filter(|row| row.is_of_api()) {
        let path = row.path.replace("ACCOUNT", &format!("v1/{account}"));
        let answer = door.send("BREW", path.trim_start_matches('/'), &[], b"");
        assert_eq!(answer.status, 405, "{path}");
        let there: BTreeSet<String> = answer.header("allow").split(", ").map(str::to_owned).collect();
        assert_eq!(there, listed[row.path], "{path}");
    }
}
