//! Who guesses learns nothing but that the guess was wrong, and soon has to
//! wait, whichever door the guesses come to.
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use virga_tests::cloud::{Cloud, Shape, binary};
use virga_tests::keystone::{Keystone, Said, by_password, project};
use virga_tests::swift::{Answer, Swift};

fn small() -> Cloud {
    Cloud::start_as(Shape {
        devices: 1,
        ..Shape::default()
    })
}

/// Changes settings in the cloud's file, and starts it again.
fn set(cloud: &mut Cloud, changes: &[(&str, &str)]) {
    cloud.reconfigure(|text| {
        for (old, new) in changes {
            assert!(text.contains(old), "{old} is not in\n{text}");
            *text = text.replace(old, new);
        }
    });
}

/// A sign-in at the object store's door, by one who comes from `source`.
fn old_sign_in(door: &Swift, name: &str, password: &str, source: &str) -> Answer {
    let headers = [
        ("x-auth-user", name),
        ("x-auth-key", password),
        ("x-forwarded-for", source),
    ];
    door.send("GET", "auth/v1.0", &headers, b"")
}

/// The object store without a token, where paths begin.
fn root(cloud: &Cloud) -> Swift {
    Swift::connect(cloud).under(&cloud.object_url()).with_token("")
}

/// The same at the front door.
fn sign_in(keystone: &Keystone, name: &str, password: &str, source: &str) -> Said {
    let body = by_password(name, password, &Value::Null);
    keystone.ask("POST", "/auth/tokens", &[("x-forwarded-for", source)], &body)
}

#[test]
fn guesses_are_counted_by_source_and_by_account_over_both_doors() {
    let mut cloud = small();
    let limit =
        |what: &str, burst: u32| format!("[identity.rate_limits.{what}]\nper_minute = 1\nburst = {burst}\n");
    let usual = |what: &str, rate: u32, burst: u32| {
        format!("[identity.rate_limits.{what}]\nper_minute = {rate}\nburst = {burst}\n")
    };
    set(
        &mut cloud,
        &[
            (
                &usual("failures_per_source", 120, 240),
                &limit("failures_per_source", 8),
            ),
            (
                &usual("failures_per_account", 30, 60),
                &limit("failures_per_account", 4),
            ),
            ("trusted_proxies = []", "trusted_proxies = [\"127.0.0.1\"]"),
        ],
    );
    let (keystone, door) = (Keystone::of(&cloud.data()), root(&cloud));
    let password = cloud.credential("openrc-demo", "OS_PASSWORD");
    for user in ["demo", "nobody"] {
        for n in 0..2 {
            sign_in(&keystone, user, "guess", &format!("10.0.0.{n}")).expect(401);
            let name = format!("demo:{user}");
            let answer = old_sign_in(&door, &name, "guess", &format!("10.0.1.{n}"));
            assert_eq!(answer.status, 401, "{}", answer.text());
        }
        // The good password has to wait as well, or it would be known by that.
        for tried in ["guess", &password] {
            let refused = sign_in(&keystone, user, tried, "10.0.2.1").expect(429);
            assert!(
                refused
                    .header("retry-after")
                    .parse::<u32>()
                    .is_ok_and(|wait| wait > 0)
            );
            let refused = old_sign_in(&door, &format!("demo:{user}"), tried, "10.0.2.2");
            assert_eq!(refused.status, 429, "{}", refused.text());
            assert!(
                refused
                    .header("retry-after")
                    .parse::<u32>()
                    .is_ok_and(|wait| wait > 0)
            );
        }
    }
    // One password for all accounts, from one address, at both doors.
    for n in 0..4 {
        sign_in(&keystone, &format!("user-{n}"), "guess", "10.0.3.1").expect(401);
        let name = format!("demo:other-{n}");
        assert_eq!(old_sign_in(&door, &name, "guess", "10.0.3.1").status, 401);
    }
    sign_in(&keystone, "user-9", "guess", "10.0.3.1").expect(429);
    assert_eq!(old_sign_in(&door, "demo:user-9", "guess", "10.0.3.1").status, 429);
    let admin = cloud.credential("openrc", "OS_PASSWORD");
    sign_in(&keystone, "admin", &admin, "10.0.3.1").expect(429);
    sign_in(&keystone, "admin", &admin, "10.0.3.2").expect(201);
    // The audit says where they came from, whichever door it was.
    let audit = Command::new(binary())
        .args(["audit", "--json", "--kind", "sign-in", "--limit", "100", "--data"])
        .arg(cloud.data())
        .output()
        .expect("virga audit");
    let audit = String::from_utf8_lossy(&audit.stdout).into_owned();
    for source in ["10.0.0.1", "10.0.1.1", "10.0.3.1"] {
        assert!(
            audit.contains(&format!("\"{source}\"")),
            "{source} is not in {audit}"
        );
    }
}

/// What of an answer could tell somebody something: all but what is counted,
/// and the name that was asked for.
fn told(status: u16, headers: &ureq::http::HeaderMap, text: &str, name: &str) -> String {
    let passing = [
        "date",
        "x-openstack-request-id",
        "x-trans-id",
        "x-amz-request-id",
        "x-amz-id-2",
    ];
    let bare = |text: &str| match name.is_empty() {
        true => text.to_owned(),
        false => text.replace(name, "NAME"),
    };
    let mut text = bare(text);
    let mut lines = Vec::new();
    for (header, value) in headers {
        let value = bare(value.to_str().expect("a header that is text"));
        match passing.contains(&header.as_str()) {
            true => text = text.replace(&value, "COUNTED"),
            false => lines.push(format!("{header}: {value}")),
        }
    }
    lines.sort();
    // Names are of different lengths.
    lines.retain(|line| !line.starts_with("content-length"));
    format!("{status}\n{}\n{text}", lines.join("\n"))
}

/// Asserts that all answers tell the same.
fn assert_uniform(what: &str, answers: &[(&str, Said)]) {
    let first = &answers[0];
    let wanted = told(first.1.status, &first.1.headers, &first.1.text, first.0);
    for (name, said) in &answers[1..] {
        assert_eq!(
            told(said.status, &said.headers, &said.text, name),
            wanted,
            "{what}: {name}"
        );
    }
}

fn as_said(answer: Answer) -> Said {
    Said {
        status: answer.status.as_u16(),
        text: answer.text(),
        headers: answer.headers,
    }
}

/// The body of a sign-in by one method.
fn by(method: &str, what: Value) -> Value {
    json!({"auth": {"identity": {"methods": [method], method: what}}})
}

/// A cloud with somebody for every method, and what to guess at.
struct Guessed {
    cloud: Cloud,
    keystone: Keystone,
    user: String,
    /// Id of an application credential of demo, called "known".
    credential: String,
}

fn guessed() -> Guessed {
    let cloud = small();
    let keystone = Keystone::of(&cloud.data());
    let password = cloud.credential("openrc-demo", "OS_PASSWORD");
    let demo = keystone.sign_in("demo", &password, &project("demo")).expect(201);
    let user = demo.json()["token"]["user"]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let seed =
        json!({"credential": {"type": "totp", "blob": "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", "user_id": user}});
    keystone
        .call("POST", "/credentials", &demo.token(), &seed)
        .expect(201);
    let known = json!({"application_credential": {"name": "known", "secret": "sesame"}});
    let path = format!("/users/{user}/application_credentials");
    let made = keystone.call("POST", &path, &demo.token(), &known).expect(201);
    let admin = cloud.credential("openrc", "OS_PASSWORD");
    let root = keystone
        .sign_in("admin", &admin, &project("admin"))
        .expect(201)
        .token();
    for (name, enabled) in [("plain", true), ("closed", false)] {
        let new =
            json!({"user": {"name": name, "password": "pw", "domain_id": "default", "enabled": enabled}});
        keystone.call("POST", "/users", &root, &new).expect(201);
    }
    Guessed {
        credential: made.id("application_credential"),
        cloud,
        keystone,
        user,
    }
}

#[test]
fn no_way_to_sign_in_tells_a_wrong_secret_from_a_name_that_is_not_there() {
    let Guessed {
        cloud,
        keystone,
        user,
        credential,
    } = guessed();
    let post = |body: &Value| keystone.ask("POST", "/auth/tokens", &[], body);
    let default = json!({"id": "default"});
    let password = |user: Value| post(&by("password", json!({ "user": user })));
    assert_uniform(
        "passwords",
        &[
            (
                "demo",
                password(json!({"name": "demo", "domain": default, "password": "guess"})),
            ),
            (
                "nobody",
                password(json!({"name": "nobody", "domain": default, "password": "guess"})),
            ),
            (
                "closed",
                password(json!({"name": "closed", "domain": default, "password": "guess"})),
            ),
            (
                "closed",
                password(json!({"name": "closed", "domain": default, "password": "pw"})),
            ),
            (
                "demo",
                password(json!({"name": "demo", "domain": {"name": "nowhere"}, "password": "guess"})),
            ),
            (
                "demo",
                password(json!({"name": "demo", "domain": default, "password": ""})),
            ),
            (&user, password(json!({"id": user, "password": "guess"}))),
            ("0123", password(json!({"id": "0123", "password": "guess"}))),
        ],
    );
    let passcode = |user: Value| post(&by("totp", json!({ "user": user })));
    assert_uniform(
        "passcodes",
        &[
            (
                "demo",
                passcode(json!({"name": "demo", "domain": default, "passcode": "000000"})),
            ),
            (
                "nobody",
                passcode(json!({"name": "nobody", "domain": default, "passcode": "000000"})),
            ),
            (
                "plain",
                passcode(json!({"name": "plain", "domain": default, "passcode": "000000"})),
            ),
            (&user, passcode(json!({"id": user, "passcode": "000000"}))),
            ("0123", passcode(json!({"id": "0123", "passcode": "000000"}))),
        ],
    );
    let application = |what: Value| post(&by("application_credential", what));
    let of = |user: &str, name: &str| json!({"name": name, "secret": "guess", "user": {"name": user, "domain": default}});
    assert_uniform(
        "application credentials",
        &[
            (
                &credential,
                application(json!({"id": credential, "secret": "guess"})),
            ),
            ("0123", application(json!({"id": "0123", "secret": "guess"}))),
            ("demo", application(of("demo", "known"))),
            ("demo", application(of("demo", "unknown"))),
            ("nobody", application(of("nobody", "known"))),
        ],
    );
    let token = |id: &str| post(&by("token", json!({ "id": id })));
    let good = keystone.sign_in("plain", "pw", &Value::Null).expect(201).token();
    let cut = &good[..good.len() - 4];
    let foreign = Swift::connect(&small()).token;
    assert_uniform(
        "tokens",
        &[
            ("rubbish", token("rubbish")),
            (cut, token(cut)),
            (&foreign, token(&foreign)),
        ],
    );
    let change = |id: &str| {
        let body = json!({"user": {"original_password": "guess", "password": "new-secret-1"}});
        keystone.ask("POST", &format!("/users/{id}/password"), &[], &body)
    };
    assert_uniform(
        "changes of passwords",
        &[(&user, change(&user)), ("0123", change("0123"))],
    );
    let client = |basic: &str| {
        let headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("authorization", basic),
        ];
        keystone.send(
            "POST",
            "/OS-OAUTH2/token",
            &headers,
            "grant_type=client_credentials",
        )
    };
    let known = format!("Basic {}", STANDARD.encode(format!("{credential}:guess")));
    assert_uniform(
        "clients",
        &[("", client(&known)), ("", client("Basic MDEyMzpndWVzcw=="))],
    );
    let door = root(&cloud);
    let old = |name: &str, password: &str| as_said(old_sign_in(&door, name, password, "10.0.0.1"));
    assert_uniform(
        "the object store's door",
        &[
            ("demo:demo", old("demo:demo", "guess")),
            ("demo:nobody", old("demo:nobody", "guess")),
            ("nowhere:demo", old("nowhere:demo", "guess")),
            ("demo:closed", old("demo:closed", "pw")),
            ("demo", old("demo", "guess")),
        ],
    );
}

#[test]
fn who_may_not_look_hears_the_same_of_what_is_there_and_of_what_is_not() {
    let cloud = small();
    let swift = Swift::connect(&cloud);
    swift.put("there", b"");
    swift.put("there/o", b"x");
    let (_, own) = swift.url.rsplit_once("AUTH_").expect("a storage URL");
    let none = "0123456789abcdef0123456789abcdef";
    let nobody = root(&cloud);
    for method in ["GET", "HEAD", "PUT", "POST", "DELETE"] {
        let ask = |path: &str| as_said(nobody.send(method, path, &[], b""));
        assert_uniform(
            &format!("{method} by nobody"),
            &[
                (own, ask(&format!("v1/AUTH_{own}/there/o"))),
                (own, ask(&format!("v1/AUTH_{own}/there/none"))),
                (own, ask(&format!("v1/AUTH_{own}/none/o"))),
                (none, ask(&format!("v1/AUTH_{none}/there/o"))),
            ],
        );
    }
    // The names that S3 repeats are those of the request.
    let bare = Keystone::of(&cloud.data()).under(&cloud.object_url());
    let bucket = |path: &str| bare.ask("GET", &format!("/{path}"), &[], &Value::Null);
    let paths = [
        format!("{own}:there/o"),
        format!("{own}:there/none"),
        format!("{own}:absent/o"),
        format!("{none}:there/o"),
    ];
    let answers: Vec<(&str, Said)> = paths.iter().map(|path| (path.as_str(), bucket(path))).collect();
    assert_eq!(answers[0].1.status, 403);
    assert!(
        answers[0].1.text.contains("s3:GetObject"),
        "{}",
        answers[0].1.text
    );
    assert_uniform("S3 by nobody", &answers);
    // A signature for an object says nothing of whether the object is there.
    let signed = |path: &str| {
        let path = format!(
            "{path}?temp_url_sig={}&temp_url_expires=4000000000",
            "0".repeat(64)
        );
        as_said(nobody.send("GET", &path, &[], b""))
    };
    assert_uniform(
        "temporary URLs",
        &[
            ("", signed(&format!("v1/AUTH_{own}/there/o"))),
            ("", signed(&format!("v1/AUTH_{own}/none/o"))),
            ("", signed(&format!("v1/AUTH_{none}/there/o"))),
        ],
    );
}
