//! Both ports inside TLS, with the cloud's own authority, as curl meets them.
use virga_tests::cloud::{Cloud, Shape, binary};
use virga_tests::process::wait_until;

fn secure(devices: u16) -> Cloud {
    Cloud::start_as(Shape {
        devices,
        flags: vec!["--tls".into()],
    })
}

/// Signs in, and puts an object where the catalog says; prints what comes back.
const ROUND_TRIP: &str = r#"
ask() { curl -sS --fail-with-body --cacert "$OS_CACERT" "$@"; }
body='{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"'"$OS_USERNAME"'",
  "domain":{"id":"default"},"password":"'"$OS_PASSWORD"'"}}},
  "scope":{"project":{"name":"'"$OS_PROJECT_NAME"'","domain":{"id":"default"}}}}}'
ask -D head -H 'Content-Type: application/json' -d "$body" "$OS_AUTH_URL/auth/tokens" > token.json
token=$(tr -d '\r' < head | sed -n 's/^[Xx]-[Ss]ubject-[Tt]oken: //p')
store=$(grep -o 'https://[^"]*/AUTH_[0-9a-f]*' token.json | head -1)
ask -o /dev/null -X PUT -H "X-Auth-Token: $token" "$store/box" -d ''
ask -o /dev/null -X PUT -H "X-Auth-Token: $token" "$store/box/greeting" --data-binary 'hello'
ask -H "X-Auth-Token: $token" "$store/box/greeting"
ask "$OS_AUTH_URL" | grep -o '"href": *"https://[^"]*"' > /dev/null
if grep -q 'http://' token.json; then echo ' and a plain URL in the catalog'; fi
"#;

#[test]
fn clients_that_trust_the_authority_are_served_and_the_catalog_says_https() {
    let mut cloud = secure(1);
    assert!(cloud.auth_url().starts_with("https://"), "{}", cloud.auth_url());
    assert!(
        cloud.object_url().starts_with("https://"),
        "{}",
        cloud.object_url()
    );
    assert_eq!(cloud.demo_shell(ROUND_TRIP), "hello");
    let authority = std::fs::read(cloud.data().join("ca.pem")).expect("ca.pem");
    // Without the flag too: once on, TLS stays on, and the authority is the same.
    cloud.stop();
    cloud.resume();
    assert_eq!(
        std::fs::read(cloud.data().join("ca.pem")).expect("ca.pem"),
        authority
    );
    assert_eq!(cloud.demo_shell(ROUND_TRIP), "hello");
}

#[test]
fn who_does_not_trust_it_or_speaks_plainly_gets_nothing_but_a_word() {
    let cloud = secure(1);
    let out = cloud.demo_shell(
        r#"
        code=0; curl -sS "$OS_AUTH_URL" 2>/dev/null || code=$?
        echo "untrusted: $code"
        for url in "$OS_AUTH_URL" "$1"; do curl -sS -w ' %{http_code}\n' "http://${url#https://}"; done
        "#
        .replace("\"$1\"", &format!("'{}'", cloud.object_url()))
        .as_str(),
    );
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], "untrusted: 60");
    for line in &lines[1..] {
        assert!(
            line.starts_with("This port speaks HTTPS") && line.ends_with(" 400"),
            "{line}"
        );
    }
    assert_eq!(lines.len(), 3, "{out}");
}

#[test]
fn a_bad_certificate_is_shown_and_the_good_one_stays_in_use() {
    let cloud = secure(1);
    let file = cloud.data().join("secrets/tls/server.pem");
    let good = std::fs::read(&file).expect("the certificate");
    let status = || {
        let out = std::process::Command::new(binary())
            .args(["status", "--json", "--data"])
            .arg(cloud.data())
            .output()
            .expect("virga status");
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    std::fs::write(&file, "rubbish").expect("a bad certificate");
    wait_until("the bad certificate is shown", || {
        status().contains("certificate: what is in use stays")
    });
    assert_eq!(cloud.demo_shell(ROUND_TRIP), "hello");
    std::fs::write(&file, good).expect("the good certificate");
    wait_until("all is well again", || {
        !status().contains("certificate: what is in use stays")
    });
    assert_eq!(cloud.demo_shell(ROUND_TRIP), "hello");
}

#[test]
fn a_download_is_verified_inside_tls_by_who_trusts_the_authority() {
    let cloud = secure(1);
    let verify = format!("{} verify download \"$store/box/greeting\"", binary().display());
    let out = cloud.demo_shell(&format!(
        "{ROUND_TRIP}
        printf hello > download
        echo; {verify} | head -1 | cut -d: -f1
        code=0; env -u OS_CACERT {verify} > /dev/null 2>&1 || code=$?; echo \"untrusted: $code\"
        code=0; env -u OS_CACERT {verify} --cacert \"$OS_CACERT\" > /dev/null || code=$?; echo \"named: $code\""
    ));
    assert_eq!(out.trim_end(), "hello\nequal\nuntrusted: 2\nnamed: 0");
}
