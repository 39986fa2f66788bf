//! The tables in `docs/compat/swift.md`, from the methods that the door takes
//! and from `/info`: what there is to say of each stands here, and is held
//! against them.
#[path = "../../tests/documents/table.rs"]
mod table;

use serde_json::Value;
use table::Row;

use super::config::Config;
use super::ratelimit::RateLimits;
use super::target::{Target, parse};
use super::{info, methods};

/// What there is to say of a method.
fn request(level: &str, method: &str) -> (&'static str, &'static str) {
    let says = match (level, method) {
        ("account", "GET") => "listing as text, JSON, XML",
        ("account", "PUT") => {
            "where `allow_account_management` is on, for the owner; else 405. `?extract-archive`: always"
        }
        ("account", "DELETE") => {
            "where `allow_account_management` is on, for the reseller admin; else 405. `?bulk-delete`: always"
        }
        ("account", "POST") => "metadata, keys, quotas, access list; `?bulk-delete`",
        ("container", "GET") => "listing as text, JSON, XML; `?versions`; a web site where one is set",
        ("container", "PUT" | "POST") => {
            return (
                "partial",
                "`X-Container-Sync-To`: 400, as there are no realms; `X-Container-Sync-Key` is kept and does nothing",
            );
        }
        ("container", "DELETE") => "409 unless it is empty, versions included",
        ("object", "GET") => {
            "ranges, conditions, `?multipart-manifest=get`, `?part-number`, `?symlink=get`, `?version-id`"
        }
        ("object", "PUT") => {
            "`?multipart-manifest=put`, `X-Copy-From`, `X-Object-Manifest`, `X-Symlink-Target`, `?version-id`"
        }
        ("object", "POST") => "replaces metadata; a form of a browser is its own (FormPost)",
        ("object", "DELETE") => "`?multipart-manifest=delete`, also with `async`; `?version-id`",
        ("object", "COPY") => "`Destination`, `Destination-Account`, `?multipart-manifest=get`",
        (_, "OPTIONS") => "CORS",
        _ => "",
    };
    ("supported", says)
}

/// What there is to say of what `/info` names.
fn section(name: &str) -> &'static str {
    match name {
        "swift" => "limits, policies",
        "account_quotas" => "`X-Account-Quota-Bytes`, `-Count`, also by policy; 413",
        "bulk_delete" => "`?bulk-delete`",
        "bulk_upload" => "`?extract-archive=tar`, `tar.gz`, `tar.bz2`",
        "container_quotas" => "`X-Container-Meta-Quota-Bytes`, `-Count`; 413",
        "crossdomain" => "unless `cross_domain_policy` is empty",
        "dlo" => "`X-Object-Manifest`",
        "domain_remap" => "where `storage_domains` are set",
        "etag_quoter" => "`X-Container-Rfc-Compliant-Etags`, `X-Account-Rfc-Compliant-Etags`",
        "formpost" => "SHA-1, SHA-256, SHA-512, or those of them that `tempurl_digests` names",
        "object_versioning" => "`X-Versions-Enabled`",
        "ratelimit" => {
            "where `[proxy.swift.ratelimit]` sets a limit; 498 and 497. Each proxy counts for itself; S3 counts with it"
        }
        "read_only" => {
            "where `read_only` is set; single accounts by `X-Account-Sysmeta-Read-Only` of the reseller admin"
        }
        "slo" => "static large objects, `async` deletion too",
        "staticweb" => "`X-Container-Meta-Web-*`",
        "symlink" => "`X-Symlink-Target`",
        "tempauth" => "only what access lists of accounts are: `X-Account-Access-Control`",
        "tempurl" => "SHA-1, SHA-256, SHA-512, or those of them that `tempurl_digests` names",
        "versioned_writes" => "`X-Versions-Location`, `X-History-Location`",
        _ => panic!("say what {name} is"),
    }
}

/// What Swift's own pipeline may have, and `/info` here does not name.
const ABSENT: [(&str, &str); 4] = [
    (
        "cname_lookup",
        "a host name that is no name of ours: its path is that of any request",
    ),
    (
        "container_sync",
        "400 to `X-Container-Sync-To`: there are no realms",
    ),
    (
        "keymaster, kms_keymaster",
        "the store seals objects itself ([decision 12](../decisions/0012-sealed-objects.md))",
    ),
    ("s3api", "named where the door speaks S3 too: [s3.md](s3.md)"),
];

fn everything() -> Config {
    Config {
        allow_account_management: true,
        read_only: true,
        ratelimit: RateLimits {
            account_ratelimit: 1.0,
            ..RateLimits::default()
        },
        ..Config::default()
    }
}

#[test]
fn the_document_says_of_every_request_what_there_is() {
    let config = everything();
    let mut rows = Vec::new();
    for (level, path) in [
        ("account", "/v1/a"),
        ("container", "/v1/a/c"),
        ("object", "/v1/a/c/o"),
    ] {
        let target: Target = parse(path).unwrap();
        let mut taken = methods::of(&config, &target);
        taken.sort_unstable();
        for method in taken {
            let (state, says) = request(level, method);
            let what = format!("{method} {level}");
            rows.push(Row { what, state, says });
        }
    }
    table::holds("swift.md", "requests", "request", &rows);
}

#[test]
fn the_document_says_of_everything_that_info_names_what_it_is() {
    let Value::Object(sections) = info::document(&everything(), None) else {
        panic!("no object");
    };
    let mut rows: Vec<Row> = Vec::new();
    for name in sections.keys() {
        rows.push(Row {
            what: name.clone(),
            state: "supported",
            says: section(name),
        });
    }
    for (name, says) in ABSENT {
        assert!(!sections.contains_key(name), "{name} is there");
        let state = match name {
            "cname_lookup" | "container_sync" => "refused",
            _ => "supported",
        };
        rows.push(Row {
            what: name.to_owned(),
            state,
            says,
        });
    }
    rows.sort_by(|a, b| a.what.cmp(&b.what));
    table::holds("swift.md", "info", "in `/info`", &rows);
}
