//! Authentication and tokens, through the router.
mod bench;

use bench::{ADMIN_PASSWORD, DEMO_PASSWORD, bench, by_password, by_token, project_scope};
use serde_json::{Value, json};
use virga_identity_api::verify::TokenError;

#[tokio::test]
async fn a_password_gives_a_token_with_catalog_that_everyone_can_verify() {
    let b = bench().await;
    let answer = b
        .authenticate(by_password("demo", DEMO_PASSWORD, project_scope("demo")))
        .await
        .expect(201);
    let token = answer.headers["x-subject-token"].to_str().unwrap().to_owned();
    assert!(token.len() <= 255);
    assert_eq!(answer.headers["vary"], "X-Auth-Token");
    let body = answer.json();
    assert_eq!(body["token"]["project"]["name"], "demo");
    assert_eq!(body["token"]["roles"][0]["name"], "member");
    assert_eq!(body["token"]["roles"][1]["name"], "reader");
    let catalog = b.get("/v3/auth/catalog", &token).await.expect(200).json();
    assert_eq!(catalog["catalog"], body["token"]["catalog"]);
    let swift = catalog["catalog"]
        .as_array()
        .unwrap()
        .iter()
        .find(|s| s["type"] == "object-store")
        .unwrap();
    let url = format!("http://cloud:8080/v1/AUTH_{}", b.report.demo_project_id);
    assert_eq!(swift["endpoints"].as_array().unwrap().len(), 3);
    assert_eq!(swift["endpoints"][0]["url"], json!(url));
    assert_eq!(swift["endpoints"][0]["region"], "RegionOne");

    let shown = b.about("GET", "", &token, &token).await.expect(200);
    assert_eq!(shown.json(), body);
    assert_eq!(shown.headers["x-subject-token"], *token);
    let head = b.about("HEAD", "", &token, &token).await.expect(200);
    assert_eq!(head.text, "");

    let caller = b.identity.verifier().verify(&token).await.unwrap();
    assert_eq!(caller.project_id(), Some(b.report.demo_project_id.as_str()));
    assert_eq!(caller.roles, ["member", "reader"]);
    let directory = b.identity.directory();
    assert_eq!(directory.user(&caller.user_id).await.unwrap().name, "demo");
    assert_eq!(
        directory
            .project(&b.report.demo_project_id)
            .await
            .unwrap()
            .domain_id,
        "default"
    );
}
