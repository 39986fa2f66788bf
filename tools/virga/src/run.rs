//! `virga run`: chosen parts of a cloud on this host, from a configuration file.
//!
//! The host with the role identity makes the cloud's secrets at its first
//! start; every other host gets a copy of them (and of the rings) from its
//! operator and never makes its own.
use crate::Failure;
use crate::cli;
use crate::config::CloudConfig;
use crate::credentials;
use crate::lock::FolderLock;
use crate::parts::{self, Company, Roles};
use crate::secrets;

/// Runs the parts until a signal.
pub fn run(flags: &cli::Run) -> Result<(), Failure> {
    let roles = Roles::parse(&flags.role).map_err(Failure::Usage)?;
    let config = CloudConfig::load(&flags.config).map_err(|e| Failure::Usage(e.to_string()))?;
    if roles.object_server && config.devices.is_empty() {
        return Err(Failure::Usage(format!(
            "{}: the role object-server needs devices: add [[devices]] with name = \"d1\" and path = \"...\"",
            flags.config.display()
        )));
    }
    let metrics = virga_node::telemetry::install(flags.logging.log_format, &flags.logging.log)
        .map_err(|e| Failure::Usage(e.to_string()))?;
    secrets::private_folder(&config.data).map_err(|e| format!("{}: {e}", config.data.display()))?;
    let _locks = roles
        .names()
        .into_iter()
        .map(|role| FolderLock::take_role(&config.data, role))
        .collect::<Result<Vec<_>, _>>()?;
    let secrets = match roles.identity {
        true => secrets::load_or_make(&config.secrets()),
        false => secrets::load(&config.secrets()),
    }
    .map_err(|e| Failure::Failed(e.to_string()))?;
    parts::run_until_stopped(&config, &secrets, (roles, Company::Others), metrics, |ready| {
        if roles.identity {
            for file in credentials::write_for(&config, &ready)? {
                println!("  credentials   {}", file.display());
            }
        }
        println!("virga is ready: {}", ready.roles.join(", "));
        Ok(())
    })
}
