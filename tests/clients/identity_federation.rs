//! `openstack` with users of an OpenID provider from a package.
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use virga_tests::cloud::{Cloud, Shape, clients_venv};

/// The provider, in a process of its own.
pub(crate) struct Provider {
    process: Child,
    ask: ChildStdin,
    told: BufReader<ChildStdout>,
    pub(crate) issuer: String,
}

impl Provider {
    pub(crate) fn start() -> Self {
        let mut process = Command::new(clients_venv().join("bin/python"))
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/clients/identity_federation.py"
            ))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python");
        let mut provider = Self {
            ask: process.stdin.take().expect("a pipe"),
            told: BufReader::new(process.stdout.take().expect("a pipe")),
            process,
            issuer: String::new(),
        };
        provider.issuer = provider.line();
        provider
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.told.read_line(&mut line).expect("a line");
        assert!(!line.is_empty(), "the provider ended");
        line.trim().to_owned()
    }

    /// A cloud that trusts it as "corp".
    pub(crate) fn cloud(&self) -> Cloud {
        let mut cloud = Cloud::start_as(Shape {
            devices: 1,
            ..Shape::default()
        });
        let provider = format!(
            "\n[[identity.openid]]\nidentity_provider = \"corp\"\nissuer = \"{}\"\nclient_id = \"cloud\"\n",
            self.issuer
        );
        cloud.reconfigure(|text| text.push_str(&provider));
        cloud
    }

    /// An ID token of a user.
    fn token(&mut self, sub: &str, claims: &str) -> String {
        writeln!(self.ask, "{sub} {claims}").expect("a pipe");
        self.line()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const RULES: &str = r#"[{
    "local": [{"user": {"name": "{0}", "email": "{1}"}, "group": {"name": "federated", "domain": {"name": "Default"}}}],
    "remote": [{"type": "OIDC-sub"}, {"type": "OIDC-email"}, {"type": "OIDC-email", "any_one_of": ["@example.org$"], "regex": true}]
}]"#;

#[test]
fn openstack_signs_in_with_the_token_of_an_openid_provider() {
    let mut provider = Provider::start();
    let cloud = provider.cloud();
    std::fs::write(cloud.scratch().join("rules.json"), RULES).expect("the rules");
    let said = cloud.shell(
        "openrc",
        &format!(
            "openstack group create federated -f value -c name\n\
             openstack role add --project demo --group federated member\n\
             openstack identity provider create --remote-id {} corp -f value -c id -c enabled\n\
             openstack mapping create --rules rules.json m -f value -c id\n\
             openstack federation protocol create --identity-provider corp --mapping m openid -f value -c id\n\
             openstack identity provider list -f value -c ID\n\
             openstack federation protocol list --identity-provider corp -f value\n\
             openstack mapping show m -f value -c id\n\
             openstack identity provider set --description ours corp\n\
             openstack identity provider show corp -f value -c description\n\
             openstack service provider create --auth-url http://b/x --service-provider-url http://b/y b -f value -c id\n\
             openstack service provider list -f value -c ID\n",
            provider.issuer
        ),
    );
    assert!(said.contains("ours") && said.contains("openid m"), "{said}");
    let token = provider.token("alice", r#"{"email": "alice@example.org", "name": "Alice"}"#);
    let by_token = format!(
        "unset OS_USERNAME OS_PASSWORD OS_USER_DOMAIN_NAME OS_USER_DOMAIN_ID\n\
         export OS_AUTH_TYPE=v3oidcaccesstoken OS_IDENTITY_PROVIDER=corp OS_PROTOCOL=openid OS_ACCESS_TOKEN={token}\n"
    );
    let said = cloud.demo_shell(&format!(
        "{by_token}\
         openstack token issue -f value -c project_id | grep -q .\n\
         openstack catalog list -f value -c Type\n\
         echo hello > hello.txt\n\
         openstack container create box -f value -c container\n\
         openstack object create box hello.txt -f value -c object\n\
         openstack federation project list -f value -c Name\n"
    ));
    assert!(
        said.contains("object-store") && said.contains("hello.txt"),
        "{said}"
    );
    assert!(said.contains("demo"), "{said}");
    // Somebody else's mail, and a token that was changed.
    let stranger = provider.token("mallory", r#"{"email": "mallory@example.com"}"#);
    for bad in [stranger, format!("{token}x"), "opaque".to_owned()] {
        let said = cloud.demo_shell(&format!(
            "{by_token}OS_ACCESS_TOKEN={bad} openstack token issue 2>&1 && exit 1 || true\n"
        ));
        assert!(said.contains("401"), "{said}");
    }
    cloud.shell("openrc", "openstack identity provider set --disable corp\n");
    let said = cloud.demo_shell(&format!(
        "{by_token}openstack token issue 2>&1 && exit 1 || true\n"
    ));
    assert!(said.contains("403"), "{said}");
    let said = cloud.shell(
        "openrc",
        "openstack federation protocol delete --identity-provider corp openid\n\
         openstack mapping delete m\n\
         openstack identity provider delete corp\n\
         openstack identity provider list -f value\n",
    );
    assert_eq!(said.trim(), "");
}
