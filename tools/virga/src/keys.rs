//! `virga keys`: the keys that seal tokens, and those that seal secrets at rest.
//!
//! Works on the folders of the host with the role identity, whether the cloud
//! runs or not: every process opens with the key that seals next, and reads
//! what has changed within 15 s.
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use virga_identity_api::jws_keys::JwsKeys;
use virga_identity_api::keys::KeyRepository;
use virga_identity_api::rotation::{KeyRole, KeyState, RotationError};
use virga_node::clock::{Clock, Micros, SystemClock};

use crate::Failure;
use crate::cli::{Keys, KeysVerb, WhichKeys};
use crate::config::CloudConfig;
use crate::keystone;
use crate::object_keys;
use crate::status::text::{span, table};

/// Shows or rotates.
pub fn run(flags: &Keys) -> Result<(), Failure> {
    let file = flags.data.join("virga.toml");
    let config = CloudConfig::load(&file).map_err(|e| Failure::Usage(e.to_string()))?;
    let folders = Folders::of(&config);
    match &flags.verb {
        KeysVerb::Status if flags.json => show_json(&folders),
        KeysVerb::Status => show(&folders),
        KeysVerb::Rotate { which, force } => rotate(&config, &folders, *which, *force),
    }
}

/// The folders of one cloud, and how long what their keys seal is of use.
struct Folders {
    tokens: KeyRepository,
    credentials: KeyRepository,
    /// Keys of objects, if this host has them.
    objects: Option<KeyRepository>,
    /// Signed tokens' keys, if there are any.
    signed: Option<PathBuf>,
    most: usize,
    token_life: Duration,
}

impl Folders {
    fn of(config: &CloudConfig) -> Self {
        let settings = keystone::settings(config);
        let most = settings.max_active_keys;
        Self {
            tokens: KeyRepository::new(&settings.token_keys, most),
            credentials: KeyRepository::new(&settings.credential_keys, most),
            objects: object_keys::there(&config.secrets()),
            signed: Some(settings.jws_keys).filter(|folder| JwsKeys::exist(folder)),
            most,
            // For so long after its end a token may still be shown.
            token_life: Duration::from_secs(settings.token_lifetime + settings.allow_expired_window),
        }
    }

    fn named(&self) -> Vec<(&'static str, &KeyRepository, Duration)> {
        let mut all = vec![
            ("token", &self.tokens, self.token_life),
            // What they seal is sealed anew before a key goes.
            ("credential", &self.credentials, Duration::ZERO),
        ];
        // None of them ever goes.
        all.extend(self.objects.iter().map(|keys| ("object", keys, Duration::ZERO)));
        all
    }
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::Failed(error.to_string())
}

fn role(role: KeyRole) -> &'static str {
    match role {
        KeyRole::Staged => "staged",
        KeyRole::Primary => "primary",
        KeyRole::Secondary => "secondary",
    }
}

fn meaning(role: KeyRole) -> &'static str {
    match role {
        KeyRole::Staged => "opens; seals after the next rotation",
        KeyRole::Primary => "seals and opens",
        KeyRole::Secondary => "opens only",
    }
}

fn show(folders: &Folders) -> Result<(), Failure> {
    let now = SystemClock.now();
    let mut shown = table(&["keys", "number", "role", "for", "it"]);
    let mut advice = Vec::new();
    for (name, repository, life) in folders.named() {
        for key in repository.states().map_err(failed)? {
            shown.add_row([
                name.to_owned(),
                key.number.to_string(),
                role(key.role).to_owned(),
                span(now.since(key.since)),
                meaning(key.role).to_owned(),
            ]);
        }
        advice.push(match repository.check_rotation(now, life) {
            Ok(()) => format!("{name} keys may be rotated now: virga keys rotate {name}"),
            Err(why) => format!("{name} keys: not to be rotated yet: {why}"),
        });
    }
    println!("{shown}\n{}", advice.join("\n"));
    if let Some(folder) = &folders.signed {
        println!("keys of signed tokens: {}", folder.display());
    }
    Ok(())
}

fn show_json(folders: &Folders) -> Result<(), Failure> {
    let now = SystemClock.now();
    let mut all = json!({"max_active_keys": folders.most});
    for (name, repository, life) in folders.named() {
        let keys: Vec<KeyState> = repository.states().map_err(failed)?;
        let wait = match repository.check_rotation(now, life) {
            Ok(()) => json!(0),
            Err(why) => why.wait().map_or(Value::Null, |wait| json!(wait.as_secs())),
        };
        all[format!("{name}_keys")] = json!({"keys": keys, "rotation_in_seconds": wait});
    }
    println!("{all:#}");
    Ok(())
}

fn rotate(config: &CloudConfig, folders: &Folders, which: WhichKeys, force: bool) -> Result<(), Failure> {
    let now = SystemClock.now();
    match which {
        WhichKeys::Token => {
            check(&folders.tokens, now, folders.token_life, force)?;
            folders.tokens.rotate().map_err(failed)?;
            if let Some(folder) = &folders.signed {
                let keys = JwsKeys::open(folder, folders.most).map_err(failed)?;
                keys.rotate().map_err(failed)?;
            }
            println!(
                "The token keys were rotated. Running processes take them within 15 s; copy the folder to hosts that \
                 only verify before the next rotation."
            );
        }
        WhichKeys::Credential => {
            check(&folders.credentials, now, Duration::ZERO, force)?;
            let sealed = rotate_credentials(config, folders)?;
            println!("The credential keys were rotated; {sealed} secret(s) are sealed with the new one.");
        }
        WhichKeys::Object => {
            let Some(objects) = &folders.objects else {
                return Err(Failure::Failed("there are no object keys on this host".into()));
            };
            check(objects, now, Duration::ZERO, force)?;
            objects.rotate().map_err(failed)?;
            println!(
                "The object keys were rotated: new objects are sealed with the new one, and all older keys stay. Running \
                 processes take it within 15 s; copy the folder to the other hosts with proxies before the next rotation."
            );
        }
    }
    Ok(())
}

/// Refuses what would end live tokens, unless that is wanted.
fn check(repository: &KeyRepository, now: Micros, life: Duration, force: bool) -> Result<(), Failure> {
    match repository.check_rotation(now, life) {
        Ok(()) => Ok(()),
        Err(RotationError::Keys(error)) => Err(failed(error)),
        Err(why) if force => {
            eprintln!("virga: rotated all the same: {why}");
            Ok(())
        }
        Err(why) => Err(Failure::Failed(format!(
            "{why}; wait, keep more keys ([identity] max_active_keys), or end it now with --force"
        ))),
    }
}

fn rotate_credentials(config: &CloudConfig, folders: &Folders) -> Result<u64, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    runtime.block_on(async {
        let clock = Arc::new(SystemClock);
        let records = keystone::records(config);
        let state = virga_state::State::open(&records, clock.clone())
            .await
            .map_err(failed)?;
        let sealed = virga_identity::rotate_credential_keys(&folders.credentials, &state, &*clock).await;
        state.close().await;
        sealed.map_err(failed)
    })
}
