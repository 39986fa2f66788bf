//! Logs to stderr and metrics in Prometheus' text form.
//!
//! Installed once by the binary. Everyone else uses `tracing` and `metrics`.
//! Secrets are never logged: tokens and keys have types whose `Debug` hides
//! them.
use std::fmt;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// One readable line an event.
    #[default]
    Text,
    /// One JSON object an event.
    Json,
}

/// Why telemetry could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not in `RUST_LOG`'s language.
    #[error("--log {filter}: {reason}; write a level (info) or target=level pairs (info,virga_proxy=debug)")]
    Filter {
        /// The filter as given.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Somebody installed a logger or a recorder before.
    #[error("telemetry was installed twice: {0}")]
    Twice(String),
}

/// The installed recorder: renders the metrics page.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// All metrics in Prometheus' text format.
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Folds what was recorded since the last time into the histograms; call
    /// it every few seconds, or memory grows with every request.
    pub fn fold(&self) {
        self.0.run_upkeep();
    }
}

/// Installs the logger and the metrics recorder of this process.
///
/// # Errors
/// A filter that cannot be read, or a second installation.
pub fn install(format: LogFormat, filter: &str) -> Result<Metrics, TelemetryError> {
    let filter = EnvFilter::try_new(filter).map_err(|e| TelemetryError::Filter {
        filter: filter.to_owned(),
        reason: e.to_string(),
    })?;
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours);
    let installed = match format {
        LogFormat::Text => builder.with_target(true).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    installed.map_err(|e| TelemetryError::Twice(e.to_string()))?;
    let handle = PrometheusBuilder::new()
        .install_recorder()
        .map_err(|e| TelemetryError::Twice(e.to_string()))?;
    Ok(Metrics(handle))
}
