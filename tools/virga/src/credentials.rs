//! The credential files that clients read: openrc, clouds.yaml, s3.env.
use std::path::{Path, PathBuf};

use crate::config::CloudConfig;
use crate::parts::Ready;
use crate::secrets::{self, write_private};
use crate::tls;

/// What goes into the files.
pub struct Credentials<'a> {
    /// Identity's URL ("http://127.0.0.1:5000/v3").
    pub auth_url: &'a str,
    /// The object store's root ("http://127.0.0.1:8080").
    pub object_url: &'a str,
    /// Region of the catalog.
    pub region: &'a str,
    /// Password of `admin`.
    pub admin_password: &'a str,
    /// Password of `demo`.
    pub demo_password: &'a str,
    /// The demo user's EC2 access key and secret.
    pub ec2: (&'a str, &'a str),
    /// What to trust, where the system's own authorities are not enough.
    pub authority: Option<&'a str>,
}

/// Writes the files of a cloud whose identity runs in this process into its
/// data folder, with the URLs now in effect; returns their paths.
///
/// # Errors
/// When a file cannot be written.
pub fn write_for(config: &CloudConfig, ready: &Ready) -> Result<Vec<PathBuf>, String> {
    let passwords = secrets::passwords(&config.secrets()).map_err(|e| e.to_string())?;
    let (access, secret) = match &ready.demo_ec2 {
        Some((access, secret)) => (access.clone(), secret.clone()),
        None => ec2_of(&config.data.join("s3.env")).unwrap_or_default(),
    };
    let root = tls::root_of(config);
    let content = Credentials {
        auth_url: &format!("{}/v3", ready.front_url),
        object_url: &ready.object_url,
        region: &config.region,
        admin_password: &passwords.admin,
        demo_password: &passwords.demo,
        ec2: (&access, &secret),
        authority: root.as_ref().and_then(|root| root.to_str()),
    };
    write(&config.data, &content).map_err(|e| format!("{}: {e}", config.data.display()))
}

/// Writes all files into `folder` and returns their paths, the demo user's
/// openrc first.
///
/// # Errors
/// When a file cannot be written.
pub fn write(folder: &Path, c: &Credentials<'_>) -> std::io::Result<Vec<PathBuf>> {
    let files = [
        ("openrc-demo", openrc(c, "demo", c.demo_password)),
        ("openrc", openrc(c, "admin", c.admin_password)),
        ("clouds.yaml", clouds(c)),
        ("s3.env", s3(c)),
    ];
    files
        .into_iter()
        .map(|(name, text)| {
            let path = folder.join(name);
            write_private(&path, &text).map(|()| path)
        })
        .collect()
}

/// The EC2 keys in an `s3.env` written before: identity shows them only once.
pub fn ec2_of(file: &Path) -> Option<(String, String)> {
    let text = std::fs::read_to_string(file).ok()?;
    let of = |name: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(name))?;
        Some(line.trim_matches('\'').to_owned())
    };
    Some((
        of("export AWS_ACCESS_KEY_ID=")?,
        of("export AWS_SECRET_ACCESS_KEY=")?,
    ))
}

fn openrc(c: &Credentials<'_>, who: &str, password: &str) -> String {
    format!(
        "# source this file, then use openstack, swift, rclone, ...\n\
         export OS_AUTH_URL={}\n\
         export OS_IDENTITY_API_VERSION=3\n\
         export OS_AUTH_TYPE=password\n\
         export OS_USERNAME={who}\n\
         export OS_PASSWORD={}\n\
         export OS_PROJECT_NAME={who}\n\
         export OS_USER_DOMAIN_NAME=Default\n\
         export OS_PROJECT_DOMAIN_NAME=Default\n\
         export OS_REGION_NAME={}\n{}",
        shell(c.auth_url),
        shell(password),
        shell(c.region),
        trust(c, "OS_CACERT"),
    )
}

/// The line that says what to trust, if there is something to say.
fn trust(c: &Credentials<'_>, name: &str) -> String {
    c.authority
        .map_or_else(String::new, |file| format!("export {name}={}\n", shell(file)))
}

/// The region that S3 clients sign for. AWS's are of small letters, digits and
/// hyphens, and signatures for others are refused; the usual one serves all.
fn s3_region(region: &str) -> &str {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    match !region.is_empty() && region.bytes().all(fits) {
        true => region,
        false => "us-east-1",
    }
}

fn s3(c: &Credentials<'_>) -> String {
    format!(
        "# source this file, then use aws, boto3, rclone, ... (the demo user's keys)\n\
         export AWS_ACCESS_KEY_ID={}\n\
         export AWS_SECRET_ACCESS_KEY={}\n\
         export AWS_DEFAULT_REGION={}\n\
         export AWS_ENDPOINT_URL={}\n{}",
        shell(c.ec2.0),
        shell(c.ec2.1),
        shell(s3_region(c.region)),
        shell(c.object_url),
        trust(c, "AWS_CA_BUNDLE"),
    )
}

fn clouds(c: &Credentials<'_>) -> String {
    let cloud = |name: &str, who: &str, password: &str| {
        format!(
            "  {name}:\n    auth:\n      auth_url: {}\n      username: {who}\n      password: {}\n      \
             project_name: {who}\n      user_domain_name: Default\n      project_domain_name: Default\n    \
             region_name: {}\n    identity_api_version: 3\n{}",
            yaml(c.auth_url),
            yaml(password),
            yaml(c.region),
            c.authority
                .map_or_else(String::new, |file| format!("    cacert: {}\n", yaml(file))),
        )
    };
    format!(
        "clouds:\n{}{}",
        cloud("virga", "demo", c.demo_password),
        cloud("virga-admin", "admin", c.admin_password)
    )
}

/// A word that any POSIX shell reads back as `text`.
fn shell(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A YAML scalar that reads back as `text`: JSON strings are YAML.
fn yaml(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_with_quotes_and_dollars_survives_the_shell() {
        let folder = tempfile::tempdir().unwrap();
        let password = r#"a'b"c$d\e f"#;
        let files = write(
            folder.path(),
            &Credentials {
                auth_url: "http://127.0.0.1:5000/v3",
                object_url: "http://127.0.0.1:8080",
                region: "RegionOne",
                admin_password: password,
                demo_password: password,
                ec2: ("access", "secret"),
                authority: Some("/a b/ca.pem"),
            },
        )
        .unwrap();
        let script = format!(". '{}'; printf %s \"$OS_PASSWORD\"", files[0].display());
        let out = std::process::Command::new("sh")
            .args(["-c", &script])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(out.stdout).unwrap(), password);
        assert_eq!(ec2_of(&files[3]), Some(("access".into(), "secret".into())));
    }
}
