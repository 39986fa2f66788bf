//! Identity's tables, step by step.
//!
//! Domains are projects with `is_domain`, as in Keystone. A missing domain is
//! the empty string and not NULL, so that the unique constraints on names hold
//! for domains and global roles too. `extra` and `options` are JSON objects.
use virga_state::Migration;

/// All steps; released ones never change.
pub const MIGRATIONS: &[Migration] = &[Migration {
    version: 1,
    name: "users, projects, roles, catalog, credentials",
    sql: FIRST,
}];

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
