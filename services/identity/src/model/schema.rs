//! Identity's tables, step by step.
//!
//! Domains are projects with `is_domain`, as in Keystone. A missing domain is
//! the empty string and not NULL, so that the unique constraints on names hold
//! for domains and global roles too. `extra` and `options` are JSON objects.
use virga_state::Migration;

/// All steps; released ones never change.
pub const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        name: "users, projects, roles, catalog, credentials",
        sql: FIRST,
    },
    Migration {
        version: 2,
        name: "application credentials, trusts, password rules, limits, policies, endpoint filters, domain options",
        sql: SECOND,
    },
    Migration {
        version: 3,
        name: "identity providers, protocols, mappings, users from elsewhere",
        sql: FEDERATION,
    },
    Migration {
        version: 4,
        name: "tokens of OAuth consumers",
        sql: OAUTH_TOKENS,
    },
    Migration {
        version: 5,
        name: "what was made for a cloud once",
        sql: BOOTSTRAP_STEPS,
    },
];

/// Names of what bootstrapping made in clouds that there were before, too.
const BOOTSTRAP_STEPS: &str = "CREATE TABLE identity_bootstrap_step (name TEXT PRIMARY KEY);";

/// `role_ids` is a JSON list of texts, `expires_at` microseconds since the epoch.
const OAUTH_TOKENS: &str = "
CREATE TABLE identity_oauth_token (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL,
    consumer_id TEXT NOT NULL REFERENCES identity_consumer (id) ON DELETE CASCADE, sealed_secret TEXT NOT NULL,
    project_id TEXT NOT NULL REFERENCES identity_project (id) ON DELETE CASCADE,
    user_id TEXT REFERENCES identity_user (id) ON DELETE CASCADE, verifier TEXT, role_ids TEXT NOT NULL,
    expires_at BIGINT NOT NULL);
CREATE INDEX identity_oauth_token_user ON identity_oauth_token (user_id);
CREATE INDEX identity_oauth_token_consumer ON identity_oauth_token (consumer_id);
CREATE INDEX identity_oauth_token_end ON identity_oauth_token (expires_at);
";

const FIRST: &str = "
CREATE TABLE identity_project (
    id TEXT PRIMARY KEY, domain_id TEXT NOT NULL, parent_id TEXT REFERENCES identity_project (id),
    name TEXT NOT NULL, description TEXT NOT NULL, enabled BOOLEAN NOT NULL, is_domain BOOLEAN NOT NULL,
    options TEXT NOT NULL, extra TEXT NOT NULL, UNIQUE (domain_id, name));
CREATE INDEX identity_project_parent ON identity_project (parent_id);
CREATE TABLE identity_project_tag (
    project_id TEXT NOT NULL REFERENCES identity_project (id) ON DELETE CASCADE, name TEXT NOT NULL,
    PRIMARY KEY (project_id, name));
CREATE TABLE identity_user (
    id TEXT PRIMARY KEY, domain_id TEXT NOT NULL REFERENCES identity_project (id), name TEXT NOT NULL,
    enabled BOOLEAN NOT NULL, default_project_id TEXT, password_hash TEXT,
    options TEXT NOT NULL, extra TEXT NOT NULL, UNIQUE (domain_id, name));
CREATE TABLE identity_group (
    id TEXT PRIMARY KEY, domain_id TEXT NOT NULL REFERENCES identity_project (id), name TEXT NOT NULL,
    description TEXT NOT NULL, extra TEXT NOT NULL, UNIQUE (domain_id, name));
CREATE TABLE identity_membership (
    group_id TEXT NOT NULL REFERENCES identity_group (id) ON DELETE CASCADE,
    user_id TEXT NOT NULL REFERENCES identity_user (id) ON DELETE CASCADE,
    PRIMARY KEY (group_id, user_id));
CREATE INDEX identity_membership_user ON identity_membership (user_id);
CREATE TABLE identity_role (
    id TEXT PRIMARY KEY, domain_id TEXT NOT NULL, name TEXT NOT NULL, description TEXT,
    options TEXT NOT NULL, extra TEXT NOT NULL, UNIQUE (domain_id, name));
CREATE TABLE identity_implied_role (
    prior_id TEXT NOT NULL REFERENCES identity_role (id) ON DELETE CASCADE,
    implied_id TEXT NOT NULL REFERENCES identity_role (id) ON DELETE CASCADE,
    PRIMARY KEY (prior_id, implied_id));
CREATE TABLE identity_assignment (
    actor_kind TEXT NOT NULL, actor_id TEXT NOT NULL, target_kind TEXT NOT NULL, target_id TEXT NOT NULL,
    role_id TEXT NOT NULL REFERENCES identity_role (id) ON DELETE CASCADE, inherited BOOLEAN NOT NULL,
    PRIMARY KEY (actor_id, target_id, role_id, inherited, actor_kind, target_kind));
CREATE INDEX identity_assignment_target ON identity_assignment (target_id);
CREATE TABLE identity_region (
    id TEXT PRIMARY KEY, parent_region_id TEXT REFERENCES identity_region (id),
    description TEXT NOT NULL, extra TEXT NOT NULL);
CREATE TABLE identity_service (
    id TEXT PRIMARY KEY, type TEXT NOT NULL, name TEXT, description TEXT, enabled BOOLEAN NOT NULL,
    extra TEXT NOT NULL);
CREATE TABLE identity_endpoint (
    id TEXT PRIMARY KEY, service_id TEXT NOT NULL REFERENCES identity_service (id) ON DELETE CASCADE,
    interface TEXT NOT NULL, region_id TEXT REFERENCES identity_region (id), url TEXT NOT NULL,
    enabled BOOLEAN NOT NULL, owned BOOLEAN NOT NULL, extra TEXT NOT NULL);
CREATE TABLE identity_credential (
    id TEXT PRIMARY KEY, user_id TEXT NOT NULL, project_id TEXT, type TEXT NOT NULL,
    sealed_blob TEXT NOT NULL, extra TEXT NOT NULL);
CREATE INDEX identity_credential_user ON identity_credential (user_id);
CREATE TABLE identity_revocation (
    id TEXT PRIMARY KEY, issued_before BIGINT NOT NULL, keep_until BIGINT NOT NULL, audit_id TEXT,
    audit_chain_id TEXT, user_id TEXT, project_id TEXT, domain_id TEXT, system BOOLEAN NOT NULL, role TEXT);
CREATE INDEX identity_revocation_time ON identity_revocation (keep_until);
";

/// Times are microseconds since the epoch. A missing region or project of a
/// limit is the empty string, so that the unique constraints hold.
const SECOND: &str = "
ALTER TABLE identity_revocation ADD COLUMN delegation_id TEXT;
ALTER TABLE identity_user ADD COLUMN password_set_at BIGINT;
ALTER TABLE identity_user ADD COLUMN password_expires_at BIGINT;
ALTER TABLE identity_user ADD COLUMN failed_count BIGINT NOT NULL DEFAULT 0;
ALTER TABLE identity_user ADD COLUMN failed_at BIGINT;
ALTER TABLE identity_user ADD COLUMN active_at BIGINT;
CREATE TABLE identity_old_password (
    id TEXT PRIMARY KEY, user_id TEXT NOT NULL REFERENCES identity_user (id) ON DELETE CASCADE,
    set_at BIGINT NOT NULL, password_hash TEXT NOT NULL);
CREATE INDEX identity_old_password_user ON identity_old_password (user_id);
CREATE TABLE identity_application_credential (
    id TEXT PRIMARY KEY, user_id TEXT NOT NULL REFERENCES identity_user (id) ON DELETE CASCADE,
    project_id TEXT NOT NULL REFERENCES identity_project (id) ON DELETE CASCADE, name TEXT NOT NULL,
    description TEXT, secret_hash TEXT NOT NULL, expires_at BIGINT, unrestricted BOOLEAN NOT NULL,
    UNIQUE (user_id, name));
CREATE TABLE identity_application_credential_role (
    credential_id TEXT NOT NULL REFERENCES identity_application_credential (id) ON DELETE CASCADE,
    role_id TEXT NOT NULL REFERENCES identity_role (id) ON DELETE CASCADE,
    PRIMARY KEY (credential_id, role_id));
CREATE TABLE identity_access_rule (
    id TEXT PRIMARY KEY, user_id TEXT NOT NULL REFERENCES identity_user (id) ON DELETE CASCADE,
    service TEXT NOT NULL, method TEXT NOT NULL, path TEXT NOT NULL, UNIQUE (user_id, service, method, path));
CREATE TABLE identity_application_credential_rule (
    credential_id TEXT NOT NULL REFERENCES identity_application_credential (id) ON DELETE CASCADE,
    rule_id TEXT NOT NULL REFERENCES identity_access_rule (id), PRIMARY KEY (credential_id, rule_id));
CREATE TABLE identity_trust (
    id TEXT PRIMARY KEY, trustor_user_id TEXT NOT NULL REFERENCES identity_user (id) ON DELETE CASCADE,
    trustee_user_id TEXT NOT NULL REFERENCES identity_user (id) ON DELETE CASCADE,
    project_id TEXT REFERENCES identity_project (id) ON DELETE CASCADE, impersonation BOOLEAN NOT NULL,
    expires_at BIGINT, remaining_uses BIGINT, redelegation_count BIGINT NOT NULL,
    redelegated_trust_id TEXT REFERENCES identity_trust (id) ON DELETE CASCADE, extra TEXT NOT NULL);
CREATE INDEX identity_trust_trustor ON identity_trust (trustor_user_id);
CREATE INDEX identity_trust_trustee ON identity_trust (trustee_user_id);
CREATE TABLE identity_trust_role (
    trust_id TEXT NOT NULL REFERENCES identity_trust (id) ON DELETE CASCADE,
    role_id TEXT NOT NULL REFERENCES identity_role (id) ON DELETE CASCADE, PRIMARY KEY (trust_id, role_id));
CREATE TABLE identity_registered_limit (
    id TEXT PRIMARY KEY, service_id TEXT NOT NULL REFERENCES identity_service (id),
    region_id TEXT NOT NULL, resource_name TEXT NOT NULL, default_limit BIGINT NOT NULL, description TEXT,
    UNIQUE (service_id, region_id, resource_name));
CREATE TABLE identity_limit (
    id TEXT PRIMARY KEY, registered_limit_id TEXT NOT NULL REFERENCES identity_registered_limit (id),
    project_id TEXT NOT NULL, domain_id TEXT NOT NULL, resource_limit BIGINT NOT NULL, description TEXT,
    UNIQUE (registered_limit_id, project_id, domain_id));
CREATE TABLE identity_policy (id TEXT PRIMARY KEY, type TEXT NOT NULL, blob TEXT NOT NULL, extra TEXT NOT NULL);
CREATE TABLE identity_policy_association (
    policy_id TEXT NOT NULL REFERENCES identity_policy (id) ON DELETE CASCADE,
    endpoint_id TEXT NOT NULL, service_id TEXT NOT NULL, region_id TEXT NOT NULL,
    PRIMARY KEY (endpoint_id, service_id, region_id));
CREATE TABLE identity_project_endpoint (
    project_id TEXT NOT NULL REFERENCES identity_project (id) ON DELETE CASCADE,
    endpoint_id TEXT NOT NULL REFERENCES identity_endpoint (id) ON DELETE CASCADE,
    PRIMARY KEY (project_id, endpoint_id));
CREATE TABLE identity_endpoint_group (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, description TEXT, filters TEXT NOT NULL);
CREATE TABLE identity_project_endpoint_group (
    project_id TEXT NOT NULL REFERENCES identity_project (id) ON DELETE CASCADE,
    endpoint_group_id TEXT NOT NULL REFERENCES identity_endpoint_group (id) ON DELETE CASCADE,
    PRIMARY KEY (project_id, endpoint_group_id));
CREATE TABLE identity_domain_option (
    domain_id TEXT NOT NULL REFERENCES identity_project (id) ON DELETE CASCADE, group_name TEXT NOT NULL,
    name TEXT NOT NULL, sealed_value TEXT NOT NULL, PRIMARY KEY (domain_id, group_name, name));
CREATE TABLE identity_consumer (
    id TEXT PRIMARY KEY, description TEXT, sealed_secret TEXT NOT NULL, extra TEXT NOT NULL);
";

/// A mapping may be deleted while a protocol names it, as in Keystone.
const FEDERATION: &str = "
ALTER TABLE identity_revocation ADD COLUMN group_id TEXT;
ALTER TABLE identity_revocation ADD COLUMN identity_provider_id TEXT;
ALTER TABLE identity_revocation ADD COLUMN protocol_id TEXT;
CREATE TABLE identity_provider (
    id TEXT PRIMARY KEY, domain_id TEXT NOT NULL REFERENCES identity_project (id) ON DELETE CASCADE,
    enabled BOOLEAN NOT NULL, description TEXT, authorization_ttl BIGINT);
CREATE TABLE identity_provider_remote_id (
    remote_id TEXT PRIMARY KEY, provider_id TEXT NOT NULL REFERENCES identity_provider (id) ON DELETE CASCADE);
CREATE TABLE identity_mapping (id TEXT PRIMARY KEY, rules TEXT NOT NULL, schema_version TEXT NOT NULL);
CREATE TABLE identity_protocol (
    provider_id TEXT NOT NULL REFERENCES identity_provider (id) ON DELETE CASCADE, id TEXT NOT NULL,
    mapping_id TEXT NOT NULL, remote_id_attribute TEXT, PRIMARY KEY (provider_id, id));
CREATE TABLE identity_service_provider (
    id TEXT PRIMARY KEY, enabled BOOLEAN NOT NULL, description TEXT, auth_url TEXT NOT NULL, sp_url TEXT NOT NULL,
    relay_state_prefix TEXT NOT NULL);
CREATE TABLE identity_federated_user (
    provider_id TEXT NOT NULL REFERENCES identity_provider (id) ON DELETE CASCADE, protocol_id TEXT NOT NULL,
    unique_id TEXT NOT NULL, user_id TEXT NOT NULL REFERENCES identity_user (id) ON DELETE CASCADE,
    PRIMARY KEY (provider_id, protocol_id, unique_id));
CREATE INDEX identity_federated_user_user ON identity_federated_user (user_id);
CREATE TABLE identity_expiring_membership (
    user_id TEXT NOT NULL REFERENCES identity_user (id) ON DELETE CASCADE,
    group_id TEXT NOT NULL REFERENCES identity_group (id) ON DELETE CASCADE,
    provider_id TEXT NOT NULL REFERENCES identity_provider (id) ON DELETE CASCADE, verified_at BIGINT NOT NULL,
    PRIMARY KEY (user_id, group_id, provider_id));
CREATE INDEX identity_expiring_membership_group ON identity_expiring_membership (group_id);
";
