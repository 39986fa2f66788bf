//! The bodies of the main resources, as clients see them.
#![allow(clippy::unwrap_used, reason = "a failed test should panic")]
mod bench;

use bench::{ADMIN_PASSWORD, Bench, bench, by_password, project_scope};
use serde_json::{Value, json};

/// Ids and times that differ from run to run, by what they are.
fn settle(value: &mut Value, names: &mut Vec<String>) {
    match value {
        Value::String(text) => {
            let mut out = text.clone();
            let hex = |w: &str| w.len() == 32 && w.bytes().all(|b| b.is_ascii_hexdigit());
            for word in text
                .split(|c: char| !c.is_ascii_alphanumeric())
                .filter(|w| hex(w))
            {
                let at = names.iter().position(|n| n == word).unwrap_or_else(|| {
                    names.push(word.to_owned());
                    names.len() - 1
                });
                out = out.replace(word, &format!("<id {at}>"));
            }
            *text = out;
        }
        Value::Array(items) => items.iter_mut().for_each(|v| settle(v, names)),
        Value::Object(map) => {
            if let Some(ids) = map.get_mut("audit_ids") {
                *ids = json!("<audit ids>");
            }
            // By name, so that the numbers do not depend on how maps are kept.
            let mut fields: Vec<_> = map.iter_mut().collect();
            fields.sort_by(|a, b| a.0.cmp(b.0));
            fields.into_iter().for_each(|(_, v)| settle(v, names));
        }
        _ => {}
    }
}

fn settled(mut value: Value) -> Value {
    if let Some(catalog) = value.pointer_mut("/token/catalog") {
        let services = catalog.as_array_mut().unwrap();
        services.sort_by_key(|s| s["type"].to_string());
        for service in services {
            service["endpoints"]
                .as_array_mut()
                .unwrap()
                .sort_by_key(|e| e["interface"].to_string());
        }
    }
    settle(&mut value, &mut Vec::new());
    value
}

async fn made(b: &Bench, path: &str, body: Value) -> Value {
    let admin = b.admin().await;
    settled(b.call("POST", path, &admin, body).await.expect(201).json())
}

#[tokio::test]
async fn bodies_of_the_main_resources() {
    let mut settings = insta::Settings::clone_current();
    settings.set_sort_maps(true);
    let _sorted = settings.bind_to_scope();
    let b = bench().await;
    let admin = b.admin().await;
    insta::assert_json_snapshot!("versions", b.get("/identity/", "").await.expect(300).json());
    insta::assert_json_snapshot!("version", b.get("/identity/v3", "").await.expect(200).json());
    let token = b
        .authenticate(by_password("admin", ADMIN_PASSWORD, project_scope("admin")))
        .await
        .expect(201);
    insta::assert_json_snapshot!("token", settled(token.json()));
    let user = json!({"user": {"name": "ann", "password": "x", "domain_id": "default", "email": "a@b"}});
    insta::assert_json_snapshot!("user", made(&b, "/v3/users", user).await);
    let project = json!({"project": {"name": "lab", "domain_id": "default", "tags": ["t"]}});
    insta::assert_json_snapshot!("project", made(&b, "/v3/projects", project).await);
    let domain = json!({"domain": {"name": "d2", "description": null, "options": {}}});
    insta::assert_json_snapshot!("domain", made(&b, "/v3/domains", domain).await);
    let group = json!({"group": {"name": "team", "domain_id": "default"}});
    insta::assert_json_snapshot!("group", made(&b, "/v3/groups", group).await);
    insta::assert_json_snapshot!(
        "role",
        made(&b, "/v3/roles", json!({"role": {"name": "cook"}})).await
    );
    let region = json!({"region": {"id": "R2", "parent_region_id": "RegionOne"}});
    insta::assert_json_snapshot!("region", made(&b, "/v3/regions", region).await);
    let service = json!({"service": {"type": "image", "name": "glance"}});
    insta::assert_json_snapshot!("service", made(&b, "/v3/services", service).await);
    let id = b.get("/v3/services?type=image", &admin).await.json()["services"][0]["id"].clone();
    let endpoint =
        json!({"endpoint": {"service_id": id, "interface": "public", "url": "http://x", "region": "R2"}});
    insta::assert_json_snapshot!("endpoint", made(&b, "/v3/endpoints", endpoint).await);
    let credential = json!({"credential": {"type": "cert", "blob": "b"}});
    insta::assert_json_snapshot!("credential", made(&b, "/v3/credentials", credential).await);
    let path = format!(
        "/v3/role_assignments?include_names=True&user.id={}",
        b.report.demo_user_id
    );
    insta::assert_json_snapshot!(
        "role_assignments",
        settled(b.get(&path, &admin).await.expect(200).json())
    );
    insta::assert_json_snapshot!("fault", b.get("/v3/users/none", &admin).await.expect(404).json());
}
