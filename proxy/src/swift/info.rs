//! `/info`: what this object store can do. Clients choose by it, so it names
//! only what works.
use http::Method;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use serde_json::{Map, Value, json};

use super::body::{Answer, empty, full};
use super::config::Config;
use super::fault::Fault;
use super::methods::not_allowed;
use super::tempurl;

/// The release of Swift whose API this is: clients choose by it what they ask for (Tempest, whether
/// accounts have quotas of objects).
const SWIFT: &str = "2.38.3";

/// `/crossdomain.xml`, which old players ask for, if there is to be one.
pub fn cross_domain(config: &Config) -> Option<String> {
    const TYPE: &str = "http://www.adobe.com/xml/dtds/cross-domain-policy.dtd";
    let policy = config.cross_domain_policy.trim();
    (!policy.is_empty()).then(|| {
        format!(
            "<?xml version=\"1.0\"?>\n<!DOCTYPE cross-domain-policy SYSTEM \"{TYPE}\" >\n<cross-domain-policy>\n{policy}\n</cross-domain-policy>"
        )
    })
}

/// What is said of the core of the API: limits and storage policies.
fn swift(config: &Config) -> Value {
    let limits = &config.limits;
    let policies: Vec<Value> = config
        .policies
        .iter()
        .map(|policy| {
            let aliases: Vec<&str> = std::iter::once(policy.name.as_str())
                .chain(policy.aliases.iter().map(String::as_str))
                .collect();
            let mut item = Map::new();
            item.insert("name".into(), json!(policy.name));
            item.insert("aliases".into(), json!(aliases.join(", ")));
            if policy.default {
                item.insert("default".into(), json!(true));
            }
            Value::Object(item)
        })
        .collect();
    json!({
        "version": SWIFT,
        "max_file_size": limits.max_file_size,
        "max_account_name_length": limits.max_account_name_length,
        "max_container_name_length": limits.max_container_name_length,
        "max_object_name_length": limits.max_object_name_length,
        "max_header_size": limits.max_header_size,
        "max_meta_count": limits.max_meta_count,
        "max_meta_name_length": limits.max_meta_name_length,
        "max_meta_value_length": limits.max_meta_value_length,
        "max_meta_overall_size": limits.max_meta_overall_size,
        "account_listing_limit": limits.account_listing_limit,
        "container_listing_limit": limits.container_listing_limit,
        "extra_header_count": 0,
        "strict_cors_mode": config.strict_cors_mode,
        "cors_expose_headers": config.cors_expose_headers,
        "valid_api_versions": ["v1", "v1.0"],
        "account_autocreate": config.account_autocreate,
        "allow_account_management": config.allow_account_management,
        "allow_open_expired": config.allow_open_expired,
        "policies": policies,
    })
}

/// Answers a request for the document.
///
/// # Errors
/// 405.
pub fn answer(config: &Config, beside: Option<(&str, Value)>, method: &Method) -> Result<Answer, Fault> {
    match *method {
        Method::GET | Method::HEAD => {
            let mut answer = Answer::new(full(document(config, beside).to_string()));
            let json = HeaderValue::from_static("application/json; charset=UTF-8");
            answer.headers_mut().insert(CONTENT_TYPE, json);
            Ok(answer)
        }
        Method::OPTIONS => {
            let mut answer = Answer::new(empty());
            let methods = HeaderValue::from_static("HEAD, GET, OPTIONS");
            answer.headers_mut().insert(ALLOW, methods);
            Ok(answer)
        }
        _ => Err(not_allowed(&["HEAD", "GET", "OPTIONS"])),
    }
}

/// The document; `beside` is what another dialect at the same door says of
/// itself, under its name.
pub fn document(config: &Config, beside: Option<(&str, Value)>) -> Value {
    let methods: Vec<&str> = tempurl::METHODS.iter().map(http::Method::as_str).collect();
    let digests: Vec<&str> = config
        .tempurl_digests
        .iter()
        .map(|digest| digest.name())
        .collect();
    let mut document = json!({
        "swift": swift(config),
        "slo": {
            "max_manifest_segments": config.slo.max_manifest_segments,
            "max_manifest_size": config.slo.max_manifest_size,
            "min_segment_size": 1,
            "yield_frequency": super::report::HEARTBEAT.as_secs(),
            "allow_async_delete": true,
        },
        "dlo": {
            "max_segments": crate::core::manifest::MAX_DLO_SEGMENTS,
        },
        "bulk_delete": {
            "max_deletes_per_request": config.bulk.max_deletes_per_request,
            "max_failed_deletes": config.bulk.max_failed_deletes,
        },
        "bulk_upload": {
            "max_containers_per_extraction": config.bulk.max_containers_per_extraction,
            "max_failed_extractions": config.bulk.max_failed_extractions,
        },
        "etag_quoter": {
            "enable_by_default": false,
        },
        "formpost": {
            "allowed_digests": digests,
        },
        "symlink": {
            "symloop_max": config.symloop_max,
            "static_links": true,
        },
        "object_versioning": {},
        "versioned_writes": {
            "allowed_flags": ["x-versions-location", "x-history-location"],
        },
        "staticweb": {},
        "tempauth": {
            "account_acls": true,
        },
        "container_quotas": {},
        "account_quotas": {},
        "tempurl": {
            "methods": methods,
            "allowed_digests": digests,
            "incoming_remove_headers": ["x-timestamp", "x-open-expired"],
            "incoming_allow_headers": [],
            "outgoing_remove_headers": ["x-object-meta-*"],
            "outgoing_allow_headers": ["x-object-meta-public-*"],
        },
    });
    if cross_domain(config).is_some() {
        document["crossdomain"] = json!({});
    }
    if config.read_only {
        document["read_only"] = json!({});
    }
    if config.ratelimit.any() {
        document["ratelimit"] = config.ratelimit.info();
    }
    if !config.storage_domains.is_empty() {
        document["domain_remap"] = json!({ "default_reseller_prefix": null });
    }
    if let Some((name, says)) = beside {
        document[name] = says;
    }
    document
}
