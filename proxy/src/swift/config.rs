//! What an operator may set for the Swift API: limits, policies, roles.
//!
//! Names and defaults are Swift's own, so that a client that asks `/info` sees
//! what it expects. Unknown keys are errors.
use serde::{Deserialize, Serialize};

use super::ratelimit::RateLimits;

/// Settings of the Swift API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Limits of names, metadata, listings and bodies.
    pub limits: Limits,
    /// Limits of static large objects.
    pub slo: SloLimits,
    /// Limits of bulk deletion and of archives.
    pub bulk: BulkLimits,
    /// Symbolic links that are followed one after another.
    pub symloop_max: usize,
    /// Storage policies that containers may name; one of them is the default.
    pub policies: Vec<Policy>,
    /// Account prefixes and the roles that own accounts under them. The first
    /// is the usual one.
    pub resellers: Vec<Reseller>,
    /// Domains below which host names stand for accounts and containers.
    pub storage_domains: Vec<String>,
    /// Role that may do everything in every account.
    pub reseller_admin_role: String,
    /// Roles that may read every account.
    pub system_reader_roles: Vec<String>,
    /// Domain in which access lists may hold names instead of ids.
    pub default_domain_id: String,
    /// Whether a reseller admin may PUT and DELETE accounts.
    pub allow_account_management: bool,
    /// Whether an account comes to be by its first use.
    pub account_autocreate: bool,
    /// Origins that every container allows (`*` for any).
    pub cors_allow_origin: Vec<String>,
    /// Response headers exposed to every allowed origin.
    pub cors_expose_headers: Vec<String>,
    /// Whether CORS headers are left out when the origin is not allowed.
    pub strict_cors_mode: bool,
    /// Digests that temporary URLs and forms may be signed with. Unless set, Swift's: what
    /// breaks SHA-1 elsewhere does not break an HMAC made with it, and older clients use it.
    pub tempurl_digests: Vec<Digest>,
    /// What `/crossdomain.xml` allows, as XML; empty: there is no such file. Unless set,
    /// what Swift's own says: pages of any origin may ask. No browser sends a token by
    /// itself, so that they see no more than strangers do.
    pub cross_domain_policy: String,
    /// Whether nothing may be changed, for a time of repairs: writes get 405.
    pub read_only: bool,
    /// Whether GET, HEAD and POST with `X-Open-Expired` find objects whose time is
    /// over and that are not deleted yet.
    pub allow_open_expired: bool,
    /// Rate limits.
    pub ratelimit: RateLimits,
    /// Appended to every transaction id.
    pub trans_id_suffix: String,
}

/// The default of Swift's `crossdomain`.
const EVERY_ORIGIN: &str = "<allow-access-from domain=\"*\" secure=\"false\" />";

impl Default for Config {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            slo: SloLimits::default(),
            bulk: BulkLimits::default(),
            symloop_max: 2,
            policies: vec![Policy {
                index: 0,
                name: "Policy-0".into(),
                aliases: Vec::new(),
                default: true,
            }],
            resellers: vec![Reseller::default(), Reseller::services()],
            // Names below localhost lead to the machine itself: good for trying out.
            storage_domains: vec!["object.localhost".into()],
            reseller_admin_role: "ResellerAdmin".into(),
            system_reader_roles: Vec::new(),
            default_domain_id: "default".into(),
            allow_account_management: false,
            account_autocreate: true,
            cors_allow_origin: Vec::new(),
            cors_expose_headers: Vec::new(),
            strict_cors_mode: true,
            tempurl_digests: vec![Digest::Sha1, Digest::Sha256, Digest::Sha512],
            cross_domain_policy: EVERY_ORIGIN.to_owned(),
            read_only: false,
            allow_open_expired: false,
            ratelimit: RateLimits::default(),
            trans_id_suffix: String::new(),
        }
    }
}

impl Config {
    /// The policy a name or alias stands for; case does not matter.
    pub fn policy_named(&self, name: &str) -> Option<&Policy> {
        self.policies.iter().find(|p| {
            p.name.eq_ignore_ascii_case(name) || p.aliases.iter().any(|a| a.eq_ignore_ascii_case(name))
        })
    }

    /// Name of the policy with this index.
    pub fn policy_name(&self, index: u32) -> Option<&str> {
        self.policies
            .iter()
            .find(|p| p.index == index)
            .map(|p| p.name.as_str())
    }

    /// Index of the policy that a container gets when it names none.
    pub fn default_policy(&self) -> u32 {
        self.policies
            .iter()
            .find(|p| p.default)
            .or(self.policies.first())
            .map_or(0, |p| p.index)
    }

    /// Whether the settings can be worked with; says what is wrong if not.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn check(&self) -> Result<(), String> {
        if self.policies.iter().filter(|p| p.default).count() != 1 {
            return Err("exactly one storage policy must be the default".into());
        }
        self.ratelimit.check()?;
        for (at, policy) in self.policies.iter().enumerate() {
            let same =
                |other: &Policy| other.index == policy.index || other.name.eq_ignore_ascii_case(&policy.name);
            if self.policies[..at].iter().any(same) {
                return Err(format!("storage policy {} is there twice", policy.name));
            }
        }
        match self
            .resellers
            .iter()
            .all(|r| r.prefix.is_empty() || r.prefix.ends_with('_'))
        {
            true if !self.resellers.is_empty() => Ok(()),
            true => Err("at least one account prefix is needed".into()),
            false => Err("an account prefix must end in an underscore".into()),
        }
    }
}

/// A storage policy as clients name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Index, as in the ring's file name.
    pub index: u32,
    /// Name.
    pub name: String,
    /// Other names for it.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Whether containers get it when they name none.
    #[serde(default)]
    pub default: bool,
}

/// An account prefix and who owns accounts under it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reseller {
    /// What account names start with ("AUTH_"); the project's id follows.
    pub prefix: String,
    /// Roles on the project that own its account.
    pub operator_roles: Vec<String>,
    /// Roles of which a service token must hold one too; empty: none needed.
    pub service_roles: Vec<String>,
    /// Roles on the project that may read its account. None by default, as in
    /// Swift: `["reader"]` lets holders of Keystone's reader role read.
    pub project_reader_roles: Vec<String>,
}

impl Default for Reseller {
    fn default() -> Self {
        Self {
            prefix: "AUTH_".into(),
            operator_roles: ["admin", "manager", "member"].map(String::from).to_vec(),
            service_roles: Vec::new(),
            project_reader_roles: Vec::new(),
        }
    }
}

impl Reseller {
    /// Accounts that a user's token opens only together with a service's, so
    /// that neither changes what the other relies on.
    pub fn services() -> Self {
        Self {
            prefix: "SERVICE_".into(),
            service_roles: vec!["service".into()],
            ..Self::default()
        }
    }
}

/// Limits of names, metadata, listings and bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of one object.
    pub max_file_size: u64,
    /// Bytes of an account name.
    pub max_account_name_length: usize,
    /// Bytes of a container name.
    pub max_container_name_length: usize,
    /// Bytes of an object name.
    pub max_object_name_length: usize,
    /// Bytes of one header value.
    pub max_header_size: usize,
    /// Metadata items of one account, container or object.
    pub max_meta_count: usize,
    /// Bytes of a metadata name, without its prefix.
    pub max_meta_name_length: usize,
    /// Bytes of a metadata value.
    pub max_meta_value_length: usize,
    /// Bytes of all metadata names and values together.
    pub max_meta_overall_size: usize,
    /// Entries of one page of an account listing.
    pub account_listing_limit: u32,
    /// Entries of one page of a container listing.
    pub container_listing_limit: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_file_size: 5_368_709_122,
            max_account_name_length: 256,
            max_container_name_length: 256,
            max_object_name_length: 1024,
            max_header_size: 8192,
            max_meta_count: 90,
            max_meta_name_length: 128,
            max_meta_value_length: 256,
            max_meta_overall_size: 4096,
            account_listing_limit: 10_000,
            container_listing_limit: 10_000,
        }
    }
}

/// Limits of static large objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SloLimits {
    /// Segments of one manifest that are objects.
    pub max_manifest_segments: usize,
    /// Bytes of a manifest as the client sends it.
    pub max_manifest_size: usize,
    /// Segments looked up at once while a manifest is checked.
    pub concurrency: usize,
}

impl Default for SloLimits {
    fn default() -> Self {
        Self {
            max_manifest_segments: 1000,
            max_manifest_size: 8 * 1024 * 1024,
            concurrency: 8,
        }
    }
}

/// Limits of bulk deletion and of archives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BulkLimits {
    /// Names in one request.
    pub max_deletes_per_request: usize,
    /// Failures after which the rest is not tried.
    pub max_failed_deletes: usize,
    /// Deletions at once.
    pub delete_concurrency: usize,
    /// Containers that the files of one archive may make.
    pub max_containers_per_extraction: usize,
    /// Failures after which the rest of an archive is not tried.
    pub max_failed_extractions: usize,
}

impl Default for BulkLimits {
    fn default() -> Self {
        Self {
            max_deletes_per_request: 10_000,
            max_failed_deletes: 1000,
            delete_concurrency: 8,
            max_containers_per_extraction: 10_000,
            max_failed_extractions: 1000,
        }
    }
}

/// A digest for signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Digest {
    /// HMAC-SHA1: old clients only.
    Sha1,
    /// HMAC-SHA256.
    Sha256,
    /// HMAC-SHA512.
    Sha512,
}

impl Digest {
    /// Name in `/info` and in front of base64 signatures.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_fit_for_work_and_unknown_keys_are_errors() {
        assert_eq!(Config::default().check(), Ok(()));
        let text = serde_json::to_string(&Config::default()).unwrap();
        assert_eq!(serde_json::from_str::<Config>(&text).unwrap(), Config::default());
        assert!(serde_json::from_str::<Config>(r#"{"limits":{"max_file_sise":1}}"#).is_err());
    }

    #[test]
    fn two_defaults_or_a_policy_twice_are_refused() {
        let mut config = Config::default();
        config.policies.push(Policy {
            index: 0,
            name: "x".into(),
            aliases: vec![],
            default: false,
        });
        assert!(config.check().is_err());
        config.policies[1].index = 1;
        assert_eq!(config.check(), Ok(()));
        config.policies[1].default = true;
        assert!(config.check().is_err());
    }

    #[test]
    fn a_policy_answers_to_its_alias_in_any_case() {
        let mut config = Config::default();
        config.policies[0].aliases.push("Gold".into());
        assert_eq!(config.policy_named("gOLD").map(|p| p.index), Some(0));
        assert_eq!(config.policy_named("silver"), None);
    }
}
