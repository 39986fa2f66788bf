//! The front door: one port for every control-plane API, a path prefix per
//! service, health and metrics beside them. `virga_http::server` serves it.
use axum::Router;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use virga_node::health::Health;
use virga_node::telemetry::Metrics;

/// Adds `/healthcheck` and `/metrics` to the services' routes.
pub fn router(services: Router, health: Health, metrics: Metrics) -> Router {
    let healthcheck = get(move || {
        let serving = health.serving();
        async move {
            match serving {
                true => (StatusCode::OK, "OK").into_response(),
                false => (StatusCode::SERVICE_UNAVAILABLE, "not serving yet").into_response(),
            }
        }
    });
    let metrics = get(move || {
        let page = metrics.render();
        async move { ([("content-type", "text/plain; version=0.0.4")], page) }
    });
    services
        .route("/healthcheck", healthcheck)
        .route("/metrics", metrics)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    /// Adds the paths that the sources in a folder mount.
    fn mounted(folder: &Path, paths: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                mounted(&path, paths);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let call = concat!(".", "route(");
            for argument in text.split(call).skip(1) {
                let argument = argument.split(',').next().unwrap().trim();
                let named = match argument {
                    "PATH" => crate::hosts::PATH,
                    literal => literal.trim_matches('"'),
                };
                assert!(named.starts_with('/'), "{}: {argument}", path.display());
                paths.insert(named.to_owned());
            }
        }
    }

    #[test]
    fn every_path_of_the_process_has_a_row_in_the_table_of_who_may() {
        let mut paths = BTreeSet::new();
        mounted(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut paths);
        let table = include_str!("../../../tests/behaviour/doors.txt");
        let rows = table.lines().filter(|line| !line.starts_with('#'));
        let rows = rows.filter_map(|line| line.split_whitespace().nth(1));
        assert_eq!(paths, rows.map(str::to_owned).collect());
    }
}
