//! The rules of what hangs on the core: delegation, limits, stored policies,
//! endpoint filters, domain options, revocation events.
use virga_identity_api::policy::RuleDefault;

use super::{ADMIN, ADMIN_OR_READER, ANYONE, SDP, SP, renamed, rule};

const READER_OR_OWNER: &str = "rule:admin_required or (role:reader and system_scope:all) or rule:owner";
const RULE_READER: &str = "(role:reader and system_scope:all) or user_id:%(target.user.id)s";
const RULE_ADMIN: &str = "(role:admin and system_scope:all) or user_id:%(target.user.id)s";
const TRUSTOR: &str = "user_id:%(target.trust.trustor_user_id)s";
const READER_OR_TRUSTOR: &str =
    "rule:admin_required or (role:reader and system_scope:all) or user_id:%(target.trust.trustor_user_id)s";
const READER_OR_TRUSTEE: &str =
    "rule:admin_required or (role:reader and system_scope:all) or user_id:%(target.trust.trustee_user_id)s";
const READER_OR_PARTY: &str = "rule:admin_required or (role:reader and system_scope:all) or \
                               user_id:%(target.trust.trustor_user_id)s or user_id:%(target.trust.trustee_user_id)s";
const ADMIN_OR_TRUSTOR: &str = "rule:admin_required or user_id:%(target.trust.trustor_user_id)s";
const SERVICE_OR_ADMIN: &str = "rule:admin_required or rule:service_role";
const OF_LIMIT: &str = "rule:admin_required or (role:reader and system_scope:all) or \
                        (domain_id:%(target.limit.domain.id)s and not None:%(target.limit.domain.id)s) or \
                        (domain_id:%(target.limit.project.domain_id)s and not None:%(target.limit.project.domain_id)s) \
                        or (project_id:%(target.limit.project_id)s and not None:%(target.limit.project_id)s)";

const PROJECT: &[virga_identity_api::policy::ScopeKind] = &[virga_identity_api::policy::ScopeKind::Project];

/// All of them.
pub(super) const RULES: &[RuleDefault] = &[
    // application credentials and their access rules
    renamed(
        &["identity:get_application_credentials"],
        rule("identity:get_application_credential", SP, READER_OR_OWNER),
    ),
    rule("identity:list_application_credentials", SP, READER_OR_OWNER),
    rule(
        "identity:create_application_credential",
        PROJECT,
        "user_id:%(user_id)s",
    ),
    renamed(
        &["identity:delete_application_credentials"],
        rule(
            "identity:delete_application_credential",
            SP,
            "rule:admin_or_owner",
        ),
    ),
    rule("identity:get_access_rule", SP, RULE_READER),
    rule("identity:list_access_rules", SP, RULE_READER),
    rule("identity:delete_access_rule", SP, RULE_ADMIN),
    // trusts
    rule("identity:create_trust", PROJECT, TRUSTOR),
    rule("identity:list_trusts", SP, ADMIN_OR_READER),
    rule("identity:list_trusts_for_trustor", SP, READER_OR_TRUSTOR),
    rule("identity:list_trusts_for_trustee", SP, READER_OR_TRUSTEE),
    rule("identity:list_roles_for_trust", SP, READER_OR_PARTY),
    rule("identity:get_role_for_trust", SP, READER_OR_PARTY),
    rule("identity:delete_trust", SP, ADMIN_OR_TRUSTOR),
    rule("identity:get_trust", SP, READER_OR_PARTY),
    // signed requests, revocations
    rule("identity:ec2tokens_validate", SDP, SERVICE_OR_ADMIN),
    rule("identity:s3tokens_validate", SDP, SERVICE_OR_ADMIN),
    rule("identity:list_revoke_events", SP, SERVICE_OR_ADMIN),
    // limits
    rule("identity:get_registered_limit", SDP, ANYONE),
    rule("identity:list_registered_limits", SDP, ANYONE),
    rule("identity:create_registered_limits", SP, ADMIN),
    rule("identity:update_registered_limit", SP, ADMIN),
    rule("identity:delete_registered_limit", SP, ADMIN),
    rule("identity:get_limit_model", SDP, ANYONE),
    rule("identity:get_limit", SDP, OF_LIMIT),
    rule("identity:list_limits", SDP, ANYONE),
    rule("identity:create_limits", SP, ADMIN),
    rule("identity:update_limit", SP, ADMIN),
    rule("identity:delete_limit", SP, ADMIN),
    // stored policies and what they belong to
    rule("identity:get_policy", SP, ADMIN_OR_READER),
    rule("identity:list_policies", SP, ADMIN_OR_READER),
    rule("identity:create_policy", SP, ADMIN),
    rule("identity:update_policy", SP, ADMIN),
    rule("identity:delete_policy", SP, ADMIN),
    rule("identity:create_policy_association_for_endpoint", SP, ADMIN),
    rule(
        "identity:check_policy_association_for_endpoint",
        SP,
        ADMIN_OR_READER,
    ),
    rule("identity:delete_policy_association_for_endpoint", SP, ADMIN),
    rule("identity:create_policy_association_for_service", SP, ADMIN),
    rule(
        "identity:check_policy_association_for_service",
        SP,
        ADMIN_OR_READER,
    ),
    rule("identity:delete_policy_association_for_service", SP, ADMIN),
    rule(
        "identity:create_policy_association_for_region_and_service",
        SP,
        ADMIN,
    ),
    rule(
        "identity:check_policy_association_for_region_and_service",
        SP,
        ADMIN_OR_READER,
    ),
    rule(
        "identity:delete_policy_association_for_region_and_service",
        SP,
        ADMIN,
    ),
    rule("identity:get_policy_for_endpoint", SP, ADMIN_OR_READER),
    rule("identity:list_endpoints_for_policy", SP, ADMIN_OR_READER),
    // endpoint filters
    rule("identity:list_projects_for_endpoint", SP, ADMIN_OR_READER),
    rule("identity:add_endpoint_to_project", SP, ADMIN),
    rule("identity:check_endpoint_in_project", SP, ADMIN_OR_READER),
    rule("identity:list_endpoints_for_project", SP, ADMIN_OR_READER),
    rule("identity:remove_endpoint_from_project", SP, ADMIN),
    rule("identity:create_endpoint_group", SP, ADMIN),
    rule("identity:list_endpoint_groups", SP, ADMIN_OR_READER),
    rule("identity:get_endpoint_group", SP, ADMIN_OR_READER),
    rule("identity:update_endpoint_group", SP, ADMIN),
    rule("identity:delete_endpoint_group", SP, ADMIN),
    rule(
        "identity:list_projects_associated_with_endpoint_group",
        SP,
        ADMIN_OR_READER,
    ),
    rule(
        "identity:list_endpoints_associated_with_endpoint_group",
        SP,
        ADMIN_OR_READER,
    ),
    rule("identity:get_endpoint_group_in_project", SP, ADMIN_OR_READER),
    rule("identity:list_endpoint_groups_for_project", SP, ADMIN_OR_READER),
    rule("identity:add_endpoint_group_to_project", SP, ADMIN),
    rule("identity:remove_endpoint_group_from_project", SP, ADMIN),
    // options of domains
    rule("identity:create_domain_config", SP, ADMIN),
    rule("identity:get_domain_config", SP, ADMIN_OR_READER),
    rule("identity:get_security_compliance_domain_config", SDP, ANYONE),
    rule("identity:update_domain_config", SP, ADMIN),
    rule("identity:delete_domain_config", SP, ADMIN),
    rule("identity:get_domain_config_default", SP, ADMIN_OR_READER),
    // OAuth consumers
    rule("identity:get_consumer", SP, ADMIN_OR_READER),
    rule("identity:list_consumers", SP, ADMIN_OR_READER),
    rule("identity:create_consumer", SP, ADMIN),
    rule("identity:update_consumer", SP, ADMIN),
    rule("identity:delete_consumer", SP, ADMIN),
    // what users authorize consumers for
    rule("identity:authorize_request_token", PROJECT, ADMIN),
    rule("identity:list_access_tokens", PROJECT, ADMIN),
    rule("identity:get_access_token", PROJECT, ADMIN),
    rule("identity:list_access_token_roles", PROJECT, ADMIN),
    rule("identity:get_access_token_role", PROJECT, ADMIN),
    rule("identity:delete_access_token", PROJECT, ADMIN),
    // who did what
    rule("identity:list_audit_records", SP, ADMIN_OR_READER),
    rule("identity:get_audit_chain", SP, ADMIN_OR_READER),
];
