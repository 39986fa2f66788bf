//! `virga run`: chosen parts of a cloud on this host, from a configuration file.
use crate::Failure;
use crate::cli;
use crate::config::CloudConfig;
use crate::lock::FolderLock;
use crate::parts::{self, Roles};
use crate::secrets;

/// Runs the parts until a signal.
pub fn run(flags: &cli::Run) -> Result<(), Failure> {
    let roles = Roles::parse(&flags.role).map_err(Failure::Usage)?;
    let config = CloudConfig::load(&flags.config).map_err(|e| Failure::Usage(e.to_string()))?;
    let metrics = virga_node::telemetry::install(flags.logging.log_format, &flags.logging.log)
        .map_err(|e| Failure::Usage(e.to_string()))?;
    // One lock a role: parts of one host may share a data folder.
    let lock_folder = config.data.join(format!("run-{}", flags.role.join("-")));
    secrets::private_folder(&lock_folder).map_err(|e| format!("{}: {e}", lock_folder.display()))?;
    let _lock = FolderLock::take(&lock_folder)?;
    let secrets = secrets::load_or_make(&config.secrets()).map_err(|e| e.to_string())?;
    if !crate::rings::exist(&config.rings()) {
        return Err(Failure::Usage(format!(
            "{}: no rings; make them with: virga ring FILE create ..., and copy them to every host",
            config.rings().display()
        )));
    }
    parts::run_until_stopped(&config, &secrets, roles, metrics, |ready| {
        println!("virga is ready: {}", ready.roles.join(", "));
        Ok(())
    })?;
    Ok(())
}
