//! Who did what, why they were allowed to, and that no secret gets there.
#![allow(clippy::unwrap_used, reason = "a failed test should panic")]
mod bench;

use std::sync::{Arc, Mutex};

use bench::{Bench, bench, by_password, by_token, project_scope};
use serde_json::{Value, json};
use virga_identity::AuditQuery;

async fn records(b: &Bench, query: AuditQuery) -> Vec<Value> {
    b.identity.audit(&query).await.unwrap()
}

fn of(kind: &str, action: &str) -> AuditQuery {
    AuditQuery {
        kind: Some(kind.into()),
        action: Some(action.into()),
        ..AuditQuery::default()
    }
}

#[tokio::test]
async fn a_change_says_who_what_and_by_which_rule() {
    let b = bench().await;
    let admin = b.admin().await;
    let ann = b.new_user("ann").await;
    let path = format!("/v3/users/{ann}");
    let change = json!({"user": {"email": "a@b", "enabled": false}});
    b.call("PATCH", &path, &admin, change).await.expect(200);
    b.call("DELETE", &path, &admin, Value::Null).await.expect(204);
    let made = &records(&b, of("user", "created")).await[0];
    assert_eq!(made["id"], json!(ann));
    assert_eq!(made["actor"], json!(b.report.admin_user_id));
    assert_eq!(made["who"]["user_name"], "admin");
    assert_eq!(
        made["who"]["scope"]["project_id"],
        json!(b.report.admin_project_id)
    );
    assert!(made["who"]["audit_ids"][0].is_string());
    assert_eq!(
        made["why"],
        json!({"rule": "identity:create_user", "because": ["role:admin"]})
    );
    assert_eq!(
        (&made["before"], &made["after"]["name"]),
        (&Value::Null, &json!("ann"))
    );
    assert_eq!(made["from"]["method"], "POST");
    assert!(made["from"]["request_id"].as_str().unwrap().starts_with("req-"));
    let changed = &records(&b, of("user", "updated")).await[0];
    assert_eq!(changed["before"]["enabled"], json!(true));
    assert_eq!(changed["after"]["extra"], json!({"email": "a@b"}));
    assert!(changed["after"].get("name").is_none(), "{changed}");
    let gone = &records(&b, of("user", "deleted")).await[0];
    assert_eq!(
        (&gone["before"]["name"], &gone["after"]),
        (&json!("ann"), &Value::Null)
    );
    assert!(b.identity.verify_audit(None).await.unwrap().is_intact());
}

#[tokio::test]
async fn sign_ins_are_there_good_and_bad_and_name_nobody_who_is_not_there() {
    let b = bench().await;
    b.demo().await;
    b.authenticate(by_password("demo", "wrong", Value::Null))
        .await
        .expect(401);
    b.authenticate(by_password("typed-password", "wrong", Value::Null))
        .await
        .expect(401);
    let good = &records(&b, of("sign-in", "succeeded")).await[0];
    assert_eq!(good["actor"], json!(b.report.demo_user_id));
    assert_eq!(good["who"]["methods"], json!(["password"]));
    let bad = records(&b, of("sign-in", "failed")).await;
    assert_eq!(bad.len(), 2);
    assert_eq!((&bad[0]["actor"], &bad[0]["id"]), (&Value::Null, &json!("")));
    assert_eq!(bad[1]["actor"], json!(b.report.demo_user_id));
    assert_eq!(bad[1]["reason"], "wrong user or password");
    assert!(!bad[0].to_string().contains("typed-password"));
    let mine = AuditQuery {
        user: Some(b.report.demo_user_id.clone()),
        ..AuditQuery::default()
    };
    assert_eq!(records(&b, mine).await.len(), 2);
    // Changing one's password is a sign-in that fails, or a change by oneself.
    let path = format!("/v3/users/{}/password", b.report.demo_user_id);
    let change = |old: &str| json!({"user": {"original_password": old, "password": "newer"}});
    b.call("POST", &path, "", change("nope")).await.expect(401);
    assert_eq!(records(&b, of("sign-in", "failed")).await.len(), 3);
    b.call("POST", &path, "", change(bench::DEMO_PASSWORD))
        .await
        .expect(204);
    let changed = &records(&b, of("user", "updated")).await[0];
    assert_eq!(changed["actor"], json!(b.report.demo_user_id));
    assert_ne!(
        changed["before"]["password_hash"],
        changed["after"]["password_hash"]
    );
}

#[tokio::test]
async fn many_sign_ins_at_once_are_all_written() {
    let b = Arc::new(bench().await);
    let token = b.demo().await;
    let before = records(&b, of("sign-in", "succeeded")).await.len();
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (b, token) = (b.clone(), token.clone());
        all.spawn(async move {
            b.authenticate(by_token(&token, project_scope("demo")))
                .await
                .expect(201);
        });
    }
    while let Some(done) = all.join_next().await {
        done.unwrap();
    }
    let now = AuditQuery {
        limit: Some(1000),
        ..of("sign-in", "succeeded")
    };
    assert_eq!(records(&b, now).await.len(), before + 50);
    assert!(b.identity.verify_audit(None).await.unwrap().is_intact());
}

#[tokio::test]
async fn who_had_which_role_is_known_as_of_a_time() {
    let b = bench().await;
    let (admin, ann) = (b.admin().await, b.new_user("ann").await);
    let target = format!("projects/{}", b.report.demo_project_id);
    b.advance(10);
    b.grant(&target, &ann, "reader").await;
    b.advance(10);
    b.advance(10);
    b.grant(&target, &ann, "member").await;
    let reader = b.role_id("reader").await;
    let path = format!("/v3/{target}/users/{ann}/roles/{reader}");
    b.call("DELETE", &path, &admin, Value::Null).await.expect(204);
    let role_at = async |at: &str| -> Value {
        let query = AuditQuery {
            as_of: Some(at.into()),
            kind: Some("role assignment".into()),
            id: Some(ann.clone()),
            ..AuditQuery::default()
        };
        let found = records(&b, query).await;
        found.first().map(|one| one["state"].clone()).unwrap_or_default()
    };
    let early = role_at("15s").await;
    assert_eq!(early[0]["role_id"], json!(reader), "{early}");
    let now = role_at("0s").await;
    assert_eq!(now[0]["role_id"], json!(b.role_id("member").await), "{now}");
    assert_eq!(now.as_array().unwrap().len(), 1);
    assert_eq!(role_at("1h").await, Value::Null);
}

#[tokio::test]
async fn the_api_shows_it_to_administrators_page_by_page() {
    let b = bench().await;
    let admin = b.admin().await;
    for n in 0..3 {
        b.new_user(&format!("u{n}")).await;
    }
    let list = "/v3/OS-VIRGA-AUDIT/records?kind=user&action=created&limit=2";
    let first = b.get(list, &admin).await.expect(200).json();
    assert_eq!(first["records"].as_array().unwrap().len(), 2);
    assert_eq!(first["records"][0]["after"]["name"], "u2");
    let next = first["links"]["next"].as_str().unwrap();
    let next = next.split_once(":5000").unwrap().1;
    let second = b.get(next, &admin).await.expect(200).json();
    assert_eq!(second["records"][0]["after"]["name"], "u0");
    assert_eq!(second["links"]["next"], Value::Null);
    let chain = b.get("/v3/OS-VIRGA-AUDIT/chain", &admin).await.expect(200).json();
    assert_eq!(chain["chain"]["anchor"]["sequence"], 0);
    assert_eq!(chain["chain"]["head"]["hash"].as_str().unwrap().len(), 64);
    b.get("/v3/OS-VIRGA-AUDIT/records?since=yesterday", &admin)
        .await
        .expect(400);
    b.get("/v3/OS-VIRGA-AUDIT/records?limit=x", &admin)
        .await
        .expect(400);
}

/// What must not be found anywhere in the clear.
const MARK: &str = "MARKEDSECRET";

/// Everything that is logged, at every level.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_secret_is_in_the_audit_the_log_or_the_database() {
    let logged = Logged::default();
    let writer = logged.clone();
    let log = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _log = tracing::subscriber::set_default(log);
    let b = bench().await;
    let admin = b.admin().await;
    let secret = |what: &str| format!("{MARK}-{what}");
    let new = json!({"user": {"name": "ann", "domain_id": "default", "password": secret("password")}});
    let ann = b
        .call("POST", "/v3/users", &admin, new)
        .await
        .expect(201)
        .id("user");
    let path = format!("/v3/users/{ann}");
    let change = json!({"user": {"password": secret("second"), "api_token": secret("extra")}});
    b.call("PATCH", &path, &admin, change).await.expect(200);
    let own = json!({"user": {"original_password": secret("second"), "password": secret("third")}});
    b.call("POST", &format!("{path}/password"), "", own)
        .await
        .expect(204);
    b.advance(2);
    b.authenticate(by_password("ann", &secret("guess"), Value::Null))
        .await
        .expect(401);
    b.authenticate(by_password(&secret("name"), "x", Value::Null))
        .await
        .expect(401);
    b.token("ann", &secret("third"), Value::Null).await;
    let admin_path = format!("/v3/users/{}/application_credentials", b.report.admin_user_id);
    let app = json!({"application_credential": {"name": "c", "secret": secret("application")}});
    b.call("POST", &admin_path, &admin, app).await.expect(201);
    let blob = json!({"credential": {"type": "cert", "blob": secret("blob"), "user_id": ann}});
    let id = b
        .call("POST", "/v3/credentials", &admin, blob)
        .await
        .expect(201)
        .id("credential");
    let blob = json!({"credential": {"blob": secret("another")}});
    b.call("PATCH", &format!("/v3/credentials/{id}"), &admin, blob)
        .await
        .expect(200);
    let config = json!({"config": {"ldap": {"url": "ldap://x", "password": secret("ldap")}}});
    b.call("PUT", "/v3/domains/default/config", &admin, config)
        .await
        .expect(201);
    let key = json!({"tenant_id": b.report.admin_project_id});
    let path = format!("/v3/users/{}/credentials/OS-EC2", b.report.admin_user_id);
    let key = b.call("POST", &path, &admin, key).await.expect(201).json();
    let ec2 = key["credential"]["secret"].as_str().unwrap().to_owned();
    let all = AuditQuery {
        limit: Some(1000),
        ..AuditQuery::default()
    };
    let audit = serde_json::to_string(&records(&b, all).await).unwrap();
    assert!(audit.contains("application credential") && audit.contains("domain config"));
    for needle in [MARK, &ec2, &admin, "argon2"] {
        assert!(!audit.contains(needle), "{needle} is in the audit");
    }
    let log = String::from_utf8_lossy(&logged.0.lock().unwrap()).into_owned();
    assert!(!log.is_empty(), "nothing is logged");
    for needle in [MARK, &ec2, &admin] {
        assert!(!log.contains(needle), "{needle} is in the log");
    }
    // The attribute that the client made up is the client's to read back, and
    // the only one of them that is kept as it came.
    let kept_as_it_came = secret("extra");
    for file in std::fs::read_dir(b.folder()).unwrap() {
        let file = file.unwrap().path();
        if !file.is_file() {
            continue;
        }
        let bytes = std::fs::read(&file).unwrap();
        let text = String::from_utf8_lossy(&bytes).replace(&kept_as_it_came, "");
        for needle in [MARK, &ec2, &admin] {
            assert!(!text.contains(needle), "{needle} is in {}", file.display());
        }
    }
}

#[tokio::test]
async fn members_and_implications_are_part_of_what_changed() {
    let b = bench().await;
    let admin = b.admin().await;
    let ann = b.new_user("ann").await;
    let group = json!({"group": {"name": "g"}});
    let group = b
        .call("POST", "/v3/groups", &admin, group)
        .await
        .expect(201)
        .id("group");
    let path = format!("/v3/groups/{group}/users/{ann}");
    b.call("PUT", &path, &admin, Value::Null).await.expect(204);
    let added = &records(&b, of("group", "member added")).await[0];
    assert_eq!(
        (&added["before"], &added["after"]),
        (&json!({"members": []}), &json!({"members": [ann]}))
    );
    let role = json!({"role": {"name": "r"}});
    let role = b
        .call("POST", "/v3/roles", &admin, role)
        .await
        .expect(201)
        .id("role");
    let reader = b.role_id("reader").await;
    let path = format!("/v3/roles/{role}/implies/{reader}");
    b.call("PUT", &path, &admin, Value::Null).await.expect(201);
    let added = &records(&b, of("role", "implication added")).await[0];
    assert_eq!(added["after"], json!({"implies": [reader]}));
}
