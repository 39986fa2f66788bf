//! Secrets are shown to the cloud in every way there is, while it logs all that
//! it can; then its log is searched for them.
use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use virga_tests::cloud::{Cloud, Shape};
use virga_tests::keystone::{Keystone, project};
use virga_tests::swift::Swift;

use super::sign::{self, Request};

/// Base32 of b"12345678901234567890".
const SEED: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
const BOUNDARY: &str = "aBoundary";

/// What must not be in the log, by what it is.
#[derive(Default)]
struct Secrets(BTreeMap<String, String>);

impl Secrets {
    /// Remembers a secret; gives it back.
    fn add(&mut self, what: &str, secret: impl Into<String>) -> String {
        let secret = secret.into();
        assert!(secret.len() > 8, "{what}: too short to be told from chance");
        self.0.insert(what.to_owned(), secret.clone());
        secret
    }

    /// Every word of the files in a folder that could be a key.
    fn add_folder(&mut self, folder: &Path) {
        for entry in std::fs::read_dir(folder).expect("the secrets") {
            let path = entry.expect("a file").path();
            if path.is_dir() {
                self.add_folder(&path);
                continue;
            }
            let text = std::fs::read(&path).expect("a secret");
            let text = String::from_utf8_lossy(&text).into_owned();
            let words = text.split(|c: char| !c.is_ascii_alphanumeric() && !"+/=_-".contains(c));
            // The cluster's id is no secret.
            for word in words.filter(|word| word.len() >= 20 && word.len() != 36) {
                self.add(&format!("{} {word:.4}", path.display()), word);
            }
        }
    }
}

/// Signs in by every method that takes a secret, with the good and a wrong one.
fn to_identity(cloud: &Cloud, secrets: &mut Secrets) {
    let keystone = Keystone::of(&cloud.data());
    let admin = secrets.add(
        "the administrator's password",
        cloud.credential("openrc", "OS_PASSWORD"),
    );
    let own = secrets.add("demo's password", cloud.credential("openrc-demo", "OS_PASSWORD"));
    let guess = secrets.add("a wrong password", "guess-84hfg-password");
    let root = keystone
        .sign_in("admin", &admin, &project("admin"))
        .expect(201)
        .token();
    let root = secrets.add("the administrator's token", root);
    keystone.sign_in("demo", &guess, &Value::Null).expect(401);
    let demo = keystone.sign_in("demo", &own, &project("demo")).expect(201);
    let (user, token) = (demo.json()["token"]["user"]["id"].clone(), demo.token());
    let user = user.as_str().expect("an id");
    let token = secrets.add("demo's token", token);

    let seed = json!({"credential": {"type": "totp", "blob": secrets.add("a seed of passcodes", SEED), "user_id": user}});
    keystone.call("POST", "/credentials", &token, &seed).expect(201);
    let passcode = json!({"user": {"id": user, "passcode": "000000"}});
    let by = |method: &str, what: Value| json!({"auth": {"identity": {"methods": [method], method: what}}});
    keystone
        .ask("POST", "/auth/tokens", &[], &by("totp", passcode))
        .expect(401);

    let secret = secrets.add(
        "the secret of an application credential",
        "sesame-of-an-application",
    );
    let known = json!({"application_credential": {"name": "known", "secret": secret}});
    let path = format!("/users/{user}/application_credentials");
    let id = keystone
        .call("POST", &path, &token, &known)
        .expect(201)
        .id("application_credential");
    for (secret, status) in [(&secret, 201), (&guess, 401)] {
        let shown = by("application_credential", json!({"id": id, "secret": secret}));
        keystone.ask("POST", "/auth/tokens", &[], &shown).expect(status);
        let basic = STANDARD.encode(format!("{id}:{secret}"));
        let basic = format!(
            "Basic {}",
            secrets.add(&format!("a client's header ({status})"), basic)
        );
        let headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("authorization", &basic),
        ];
        keystone.send(
            "POST",
            "/OS-OAUTH2/token",
            &headers,
            "grant_type=client_credentials",
        );
    }
    let key = json!({"tenant_id": demo.json()["token"]["project"]["id"]});
    let path = format!("/users/{user}/credentials/OS-EC2");
    let key = keystone.call("POST", &path, &token, &key).expect(201).json();
    let key = key["credential"]["secret"].as_str().expect("a secret").to_owned();
    secrets.add("the secret of a new key", key);
    // Whatever is wrong with a request, what it holds is not repeated.
    for broken in [
        json!({"auth": {"identity": {"methods": "password", "password": own}}}),
        json!([own, guess]),
    ] {
        let refused = keystone.ask("POST", "/auth/tokens", &[], &broken);
        assert!((400..500).contains(&refused.status), "{}", refused.text);
    }
    for (what, by) in [("a change of password", &guess), ("a first password", &own)] {
        let new = secrets.add(what, format!("{what}-7bd3f").replace(' ', "-"));
        let body = json!({"user": {"original_password": by, "password": new}});
        keystone.ask("POST", &format!("/users/{user}/password"), &[], &body);
    }
    let headers = [("x-auth-token", root.as_str()), ("x-subject-token", &token)];
    keystone.ask("GET", "/auth/tokens", &headers, &Value::Null);
}

/// Sends what the Swift API takes.
fn to_swift(cloud: &Cloud, secrets: &mut Secrets) {
    let password = cloud.credential("openrc-demo", "OS_PASSWORD");
    let swift = Swift::connect(cloud);
    secrets.add("a token of the object store", swift.token.clone());
    let door = swift.under(&cloud.object_url()).with_token("");
    for (key, status) in [(password.as_str(), 200), ("guess-84hfg-password", 401)] {
        let headers = [("x-auth-user", "demo:demo"), ("x-auth-key", key)];
        let answer = door.send("GET", "auth/v1.0", &headers, b"");
        assert_eq!(answer.status, status, "{}", answer.text());
        if status == 200 {
            secrets.add("a token of the old way", answer.header("x-auth-token"));
        }
    }
    let key = secrets.add("a key of temporary URLs", "key-of-temporary-urls-5d");
    let set = [("x-account-meta-temp-url-key", key.as_str())];
    assert_eq!(swift.send("POST", "", &set, b"").status, 204);
    swift.put("box", b"");
    swift.put("box/o", b"x");
    let (_, account) = swift.url.split_once("/v1/").expect("a storage URL");
    let (path, expires) = (format!("/v1/{account}/box/o"), sign::now() + 600);
    let signature = hex::encode(sign::hmac(key.as_bytes(), &format!("GET\n{expires}\n{path}")));
    let signature = secrets.add("the signature of a temporary URL", signature);
    let url = format!(
        "{}?temp_url_sig={signature}&temp_url_expires={expires}",
        path.trim_start_matches('/')
    );
    assert_eq!(door.send("GET", &url, &[], b"").status, 200);
    let broken = format!("{url}&temp_url_ip_range=here");
    assert_eq!(door.send("GET", &broken, &[], b"").status, 401);

    let path = format!("/v1/{account}/box/in-");
    let text = format!("{path}\n\n1000\n9\n{expires}");
    let signature = secrets.add(
        "the signature of a form",
        hex::encode(sign::hmac(key.as_bytes(), &text)),
    );
    let expires = expires.to_string();
    let fields = [
        ("max_file_size", "1000"),
        ("max_file_count", "9"),
        ("expires", &expires),
        ("signature", &signature),
    ];
    let kind = format!("multipart/form-data; boundary={BOUNDARY}");
    let answer = door.send(
        "POST",
        path.trim_start_matches('/'),
        &[("content-type", &kind)],
        &form(&fields),
    );
    assert_eq!(answer.status, 201, "{}", answer.text());
}

/// A form as browsers send it, with one file.
fn form(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut body = String::new();
    for (name, value) in fields {
        body +=
            &format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    }
    body += &format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nx\r\n--{BOUNDARY}--\r\n"
    );
    body.into_bytes()
}

/// Sends what S3 takes.
fn to_s3(cloud: &Cloud, secrets: &mut Secrets) {
    let access = cloud.credential("s3.env", "AWS_ACCESS_KEY_ID");
    let secret = secrets.add(
        "demo's key of S3",
        cloud.credential("s3.env", "AWS_SECRET_ACCESS_KEY"),
    );
    let root = cloud.object_url();
    let host = root.split_once("://").expect("a URL").1.to_owned();
    let door = Swift::connect(cloud).under(&root).with_token("");
    let mut signatures = Vec::new();
    let mut call = |secret: &str, line: &str, headers: &[(&str, &str)], body: &[u8]| {
        let (method, target) = line.split_once(' ').expect("a line");
        let mut request = Request {
            method,
            target,
            headers: headers
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                .collect(),
            payload: sign::sha256(body),
            at: sign::now(),
        };
        signatures.push(request.sign(&access, secret, &host));
        let headers: Vec<(&str, &str)> = request
            .headers
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        door.send(method, target.trim_start_matches('/'), &headers, body)
            .status
            .as_u16()
    };
    assert_eq!(call(&secret, "PUT /bucket", &[], b""), 200);
    assert_eq!(call("guess-84hfg-password", "GET /bucket", &[], b""), 403);
    let customer = [7u8; 32].map(|byte| byte + 0x41);
    let key = STANDARD.encode(customer);
    let digest = sign::content_md5(&customer);
    let sealed = |prefix: &'static str| {
        [
            (format!("{prefix}-algorithm"), "AES256".to_owned()),
            (format!("{prefix}-key"), key.clone()),
            (format!("{prefix}-key-md5"), digest.clone()),
        ]
    };
    let own = sealed("x-amz-server-side-encryption-customer");
    let own: Vec<(&str, &str)> = own.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let source = sealed("x-amz-copy-source-server-side-encryption-customer");
    let source = source.iter().map(|(n, v)| (n.as_str(), v.as_str()));
    let copied: Vec<(&str, &str)> = source.chain([("x-amz-copy-source", "/bucket/k")]).collect();
    for (line, headers, body, statuses) in [
        ("PUT /bucket/k", &own, &b"sealed"[..], [200, 400]),
        ("GET /bucket/k", &own, &b""[..], [200, 400]),
        ("PUT /bucket/copy", &copied, &b""[..], [200, 400]),
    ] {
        // Keys of customers are for TLS only, here as at AWS.
        let status = call(&secret, line, headers, body);
        assert!(statuses.contains(&status), "{line}: {status}");
    }
    let short = [
        ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
        ("x-amz-server-side-encryption-customer-key", &key[..20]),
    ];
    assert_eq!(call(&secret, "PUT /bucket/k", &short, b"x"), 400);
    let presigned = {
        let mut link = Request {
            method: "GET",
            target: "/bucket/o",
            headers: Vec::new(),
            payload: String::new(),
            at: sign::now(),
        };
        link.presign(&access, &secret, &host, 600)
    };
    assert_eq!(
        door.send("GET", presigned.trim_start_matches('/'), &[], b"")
            .status,
        404
    );
    let (_, signature) = presigned.split_once("X-Amz-Signature=").expect("a signature");
    secrets.add("the signature of a link", signature);
    for (n, signature) in signatures.into_iter().enumerate() {
        secrets.add(&format!("signature {n}"), signature);
    }
    secrets.add("a customer's key", &key[..20]);
    secrets.add("a customer's key in hex", hex::encode(customer));
}

#[test]
fn no_secret_that_is_shown_to_the_cloud_or_that_it_makes_is_in_its_log() {
    let cloud = Cloud::start_as(Shape {
        devices: 1,
        flags: ["--log", "trace"].map(str::to_owned).into(),
    });
    let mut secrets = Secrets::default();
    to_swift(&cloud, &mut secrets);
    to_s3(&cloud, &mut secrets);
    to_identity(&cloud, &mut secrets);
    secrets.add_folder(&cloud.data().join("secrets"));
    let log = cloud.log();
    for heard in ["DEBUG", "sqlx::query", "/v3/auth/tokens"] {
        assert!(
            log.contains(heard),
            "the log does not say {heard}: it is not everything"
        );
    }
    let found: Vec<String> = secrets
        .0
        .iter()
        .filter(|(_, secret)| log.contains(secret.as_str()))
        .map(|(what, secret)| {
            let line = log.lines().find(|line| line.contains(secret.as_str()));
            let line = line.unwrap_or_default().replace(secret.as_str(), "<HERE>");
            format!("{what}: {line:.300}")
        })
        .collect();
    assert!(found.is_empty(), "in the log of {} bytes: {found:#?}", log.len());
}
