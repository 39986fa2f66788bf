//! The policy rules of this API: upstream's names, and defaults with the same
//! meaning as upstream's (personas of system, domain and project).
//!
//! Every rule is asked by a handler; a test compares the two. What hangs on the
//! core (delegation, limits, filters, ...) is in [`extensions`] and [`federation`]. [`book`] keeps the
//! rules in force, [`caller`] is who asks as rules see it, [`explain`] says why one lets
//! somebody do something or not.
pub(crate) mod book;
pub(crate) mod caller;
pub(crate) mod explain;
mod extensions;
mod federation;

use virga_identity_api::policy::RuleDefault;
use virga_identity_api::policy::ScopeKind::{self, Domain, Project, System};

const SP: &[ScopeKind] = &[System, Project];
const SDP: &[ScopeKind] = &[System, Domain, Project];

const ADMIN: &str = "rule:admin_required";
const ADMIN_OR_READER: &str = "rule:admin_required or (role:reader and system_scope:all)";
const ANYONE: &str = "";

const fn rule(name: &'static str, scopes: &'static [ScopeKind], check: &'static str) -> RuleDefault {
    RuleDefault {
        name,
        check,
        scopes,
        deprecated: &[],
    }
}

/// A rule that files may still call by its older name.
const fn renamed(old: &'static [&'static str], rule: RuleDefault) -> RuleDefault {
    RuleDefault {
        deprecated: old,
        ..rule
    }
}

/// A reader of the domain that `target.$key` names.
macro_rules! reader_in {
    ($key:literal) => {
        concat!(
            "rule:admin_required or (role:reader and system_scope:all) or (role:reader and domain_id:%(",
            $key,
            ")s and not None:%(",
            $key,
            ")s)"
        )
    };
    ($key:literal or $more:literal) => {
        concat!(
            "rule:admin_required or (role:reader and system_scope:all) or (role:reader and domain_id:%(",
            $key,
            ")s and not None:%(",
            $key,
            ")s) or ",
            $more
        )
    };
}

/// A manager of the domain that `target.$key` names.
macro_rules! manager_in {
    ($key:literal) => {
        concat!(
            "rule:admin_required or (role:manager and domain_id:%(",
            $key,
            ")s and not None:%(",
            $key,
            ")s)"
        )
    };
}

/// `role:$role` in the domain of actor and target of a grant.
macro_rules! both_in_domain {
    ($role:literal) => {
        concat!(
            "(role:",
            $role,
            " and domain_id:%(target.user.domain_id)s and domain_id:%(target.project.domain_id)s)",
            " or (role:",
            $role,
            " and domain_id:%(target.user.domain_id)s and domain_id:%(target.domain.id)s)",
            " or (role:",
            $role,
            " and domain_id:%(target.group.domain_id)s and domain_id:%(target.project.domain_id)s)",
            " or (role:",
            $role,
            " and domain_id:%(target.group.domain_id)s and domain_id:%(target.domain.id)s)"
        )
    };
}

const ROLE_OF_DOMAIN: &str = "domain_id:%(target.role.domain_id)s or None:%(target.role.domain_id)s";
const CHECK_GRANT: &str = concat!(
    "rule:admin_required or (role:reader and system_scope:all) or ((",
    both_in_domain!("reader"),
    ") and rule:role_of_domain)"
);
const LIST_GRANTS: &str = concat!(
    "rule:admin_required or (role:reader and system_scope:all) or ",
    both_in_domain!("reader")
);
const CHANGE_GRANT: &str = concat!(
    "rule:admin_required or ((",
    both_in_domain!("admin"),
    ") and rule:role_of_domain) or ((",
    both_in_domain!("manager"),
    ") and rule:domain_managed_target_role)"
);

/// All rules.
pub(crate) fn all() -> Vec<RuleDefault> {
    [CORE, extensions::RULES, federation::RULES].concat()
}

const CORE: &[RuleDefault] = &[
    rule("admin_required", &[], "role:admin or is_admin:1"),
    rule("service_role", &[], "role:service"),
    rule("owner", &[], "user_id:%(user_id)s"),
    rule("admin_or_owner", &[], "rule:admin_required or rule:owner"),
    rule("token_subject", &[], "user_id:%(target.token.user_id)s"),
    rule("role_of_domain", &[], ROLE_OF_DOMAIN),
    rule(
        "domain_managed_target_role",
        &[],
        "'manager':%(target.role.name)s or 'member':%(target.role.name)s or 'reader':%(target.role.name)s",
    ),
    rule("identity:get_auth_catalog", &[], ANYONE),
    rule("identity:get_auth_projects", &[], ANYONE),
    rule("identity:get_auth_domains", &[], ANYONE),
    rule("identity:get_auth_system", &[], ANYONE),
    rule(
        "identity:check_token",
        SDP,
        "rule:admin_required or (role:reader and system_scope:all) or rule:token_subject",
    ),
    rule(
        "identity:validate_token",
        SDP,
        "rule:admin_required or (role:reader and system_scope:all) or rule:service_role or rule:token_subject",
    ),
    rule(
        "identity:revoke_token",
        SDP,
        "rule:admin_required or rule:token_subject",
    ),
    // users
    rule(
        "identity:get_user",
        SDP,
        "rule:admin_required or (role:reader and system_scope:all) or (role:reader and \
         token.domain.id:%(target.user.domain_id)s) or user_id:%(target.user.id)s",
    ),
    rule("identity:list_users", SDP, reader_in!("target.domain_id")),
    rule("identity:create_user", SDP, manager_in!("target.user.domain_id")),
    rule("identity:update_user", SDP, manager_in!("target.user.domain_id")),
    rule("identity:delete_user", SDP, manager_in!("target.user.domain_id")),
    rule(
        "identity:list_user_projects",
        SDP,
        reader_in!("target.user.domain_id" or "user_id:%(target.user.id)s"),
    ),
    rule(
        "identity:list_groups_for_user",
        SDP,
        reader_in!("target.user.domain_id" or "user_id:%(user_id)s"),
    ),
    // groups
    rule("identity:get_group", SDP, reader_in!("target.group.domain_id")),
    rule("identity:list_groups", SDP, reader_in!("target.group.domain_id")),
    rule(
        "identity:create_group",
        SDP,
        manager_in!("target.group.domain_id"),
    ),
    rule(
        "identity:update_group",
        SDP,
        manager_in!("target.group.domain_id"),
    ),
    rule(
        "identity:delete_group",
        SDP,
        manager_in!("target.group.domain_id"),
    ),
    rule(
        "identity:list_users_in_group",
        SDP,
        reader_in!("target.group.domain_id"),
    ),
    rule(
        "identity:check_user_in_group",
        SDP,
        "rule:admin_required or (role:reader and system_scope:all) or (role:reader and \
         domain_id:%(target.group.domain_id)s and domain_id:%(target.user.domain_id)s)",
    ),
    rule(
        "identity:add_user_to_group",
        SDP,
        "rule:admin_required or (role:manager and domain_id:%(target.group.domain_id)s and \
         domain_id:%(target.user.domain_id)s)",
    ),
    rule(
        "identity:remove_user_from_group",
        SDP,
        "rule:admin_required or (role:manager and domain_id:%(target.group.domain_id)s and \
         domain_id:%(target.user.domain_id)s)",
    ),
    // projects
    rule(
        "identity:get_project",
        SDP,
        reader_in!("target.project.domain_id" or "project_id:%(target.project.id)s"),
    ),
    rule("identity:list_projects", SDP, reader_in!("target.domain_id")),
    rule(
        "identity:create_project",
        SDP,
        manager_in!("target.project.domain_id"),
    ),
    rule(
        "identity:update_project",
        SDP,
        manager_in!("target.project.domain_id"),
    ),
    rule(
        "identity:delete_project",
        SDP,
        manager_in!("target.project.domain_id"),
    ),
    rule(
        "identity:list_project_tags",
        SDP,
        reader_in!("target.project.domain_id" or "project_id:%(target.project.id)s"),
    ),
    rule(
        "identity:get_project_tag",
        SDP,
        reader_in!("target.project.domain_id" or "project_id:%(target.project.id)s"),
    ),
    rule(
        "identity:update_project_tags",
        SDP,
        manager_in!("target.project.domain_id"),
    ),
    rule(
        "identity:create_project_tag",
        SDP,
        manager_in!("target.project.domain_id"),
    ),
    rule(
        "identity:delete_project_tags",
        SDP,
        manager_in!("target.project.domain_id"),
    ),
    rule(
        "identity:delete_project_tag",
        SDP,
        manager_in!("target.project.domain_id"),
    ),
    // domains
    rule(
        "identity:get_domain",
        SDP,
        "rule:admin_required or (role:reader and system_scope:all) or token.domain.id:%(target.domain.id)s or \
         token.project.domain.id:%(target.domain.id)s",
    ),
    rule("identity:list_domains", SDP, reader_in!("target.domain.id")),
    rule("identity:create_domain", SP, ADMIN),
    rule("identity:update_domain", SP, ADMIN),
    rule("identity:delete_domain", SP, ADMIN),
    // roles
    rule(
        "identity:get_role",
        SDP,
        "rule:admin_required or (role:reader and system_scope:all) or (role:manager and \
         rule:domain_managed_target_role)",
    ),
    rule(
        "identity:list_roles",
        SDP,
        "rule:admin_required or (role:reader and system_scope:all) or (role:manager and not domain_id:None)",
    ),
    rule("identity:create_role", SP, ADMIN),
    rule("identity:update_role", SP, ADMIN),
    rule("identity:delete_role", SP, ADMIN),
    rule("identity:get_domain_role", SP, ADMIN_OR_READER),
    rule("identity:list_domain_roles", SP, ADMIN_OR_READER),
    rule("identity:create_domain_role", SP, ADMIN),
    rule("identity:update_domain_role", SP, ADMIN),
    rule("identity:delete_domain_role", SP, ADMIN),
    rule("identity:list_implied_roles", SP, ADMIN_OR_READER),
    rule("identity:get_implied_role", SP, ADMIN_OR_READER),
    rule("identity:check_implied_role", SP, ADMIN_OR_READER),
    rule("identity:create_implied_role", SP, ADMIN),
    rule("identity:delete_implied_role", SP, ADMIN),
    rule("identity:list_role_inference_rules", SP, ADMIN_OR_READER),
    // grants
    rule("identity:check_grant", SDP, CHECK_GRANT),
    rule("identity:list_grants", SDP, LIST_GRANTS),
    rule("identity:create_grant", SDP, CHANGE_GRANT),
    rule("identity:revoke_grant", SDP, CHANGE_GRANT),
    rule("identity:list_system_grants_for_user", SP, ADMIN_OR_READER),
    rule("identity:check_system_grant_for_user", SP, ADMIN_OR_READER),
    rule("identity:create_system_grant_for_user", SP, ADMIN),
    rule("identity:revoke_system_grant_for_user", SP, ADMIN),
    rule("identity:list_system_grants_for_group", SP, ADMIN_OR_READER),
    rule("identity:check_system_grant_for_group", SP, ADMIN_OR_READER),
    rule("identity:create_system_grant_for_group", SP, ADMIN),
    rule("identity:revoke_system_grant_for_group", SP, ADMIN),
    rule(
        "identity:list_role_assignments",
        SDP,
        reader_in!("target.domain_id"),
    ),
    rule(
        "identity:list_role_assignments_for_tree",
        SDP,
        reader_in!("target.domain_id"),
    ),
    // catalog
    rule("identity:get_region", SDP, ANYONE),
    rule("identity:list_regions", SDP, ANYONE),
    rule("identity:create_region", SP, ADMIN),
    rule("identity:update_region", SP, ADMIN),
    rule("identity:delete_region", SP, ADMIN),
    rule("identity:get_service", SP, ADMIN_OR_READER),
    rule("identity:list_services", SP, ADMIN_OR_READER),
    rule("identity:create_service", SP, ADMIN),
    rule("identity:update_service", SP, ADMIN),
    rule("identity:delete_service", SP, ADMIN),
    rule("identity:get_endpoint", SP, ADMIN_OR_READER),
    rule("identity:list_endpoints", SP, ADMIN_OR_READER),
    rule("identity:create_endpoint", SP, ADMIN),
    rule("identity:update_endpoint", SP, ADMIN),
    rule("identity:delete_endpoint", SP, ADMIN),
    // credentials
    rule("identity:get_credential", SDP, CREDENTIAL_READ),
    rule("identity:list_credentials", SDP, CREDENTIAL_READ),
    rule("identity:create_credential", SDP, CREDENTIAL_WRITE),
    rule("identity:update_credential", SDP, CREDENTIAL_WRITE),
    rule("identity:delete_credential", SDP, CREDENTIAL_WRITE),
    rule("identity:ec2_get_credential", SP, CREDENTIAL_READ),
    rule(
        "identity:ec2_list_credentials",
        SP,
        "rule:admin_required or (role:reader and system_scope:all) or rule:owner",
    ),
    rule("identity:ec2_create_credential", SP, EC2_WRITE),
    rule("identity:ec2_delete_credential", SP, EC2_WRITE),
];

const CREDENTIAL_READ: &str = "rule:admin_required or (role:reader and system_scope:all) or \
                               user_id:%(target.credential.user_id)s";
const CREDENTIAL_WRITE: &str = "rule:admin_required or user_id:%(target.credential.user_id)s";
const EC2_WRITE: &str = "rule:admin_required or (role:member and user_id:%(target.credential.user_id)s)";

#[cfg(test)]
mod tests {
    use std::path::Path;

    use virga_identity_api::policy::Rules;

    use super::all;

    #[test]
    fn every_rule_is_valid_and_asked_by_a_handler() {
        Rules::new(&all(), None).unwrap();
        let handlers = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api");
        let sources: String = std::fs::read_dir(handlers)
            .unwrap()
            .map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap())
            .collect();
        for rule in all().iter().filter(|r| r.name.starts_with("identity:")) {
            assert!(
                sources.contains(&format!("\"{}\"", rule.name)),
                "{} is asked by nobody",
                rule.name
            );
        }
    }
}
