//! The rules of federation: identity providers, protocols, mappings, service
//! providers.
use virga_identity_api::policy::RuleDefault;

use super::{ADMIN, ADMIN_OR_READER, SP, rule};

/// All of them.
pub(super) const RULES: &[RuleDefault] = &[
    rule("identity:create_identity_provider", SP, ADMIN),
    rule("identity:list_identity_providers", SP, ADMIN_OR_READER),
    rule("identity:get_identity_provider", SP, ADMIN_OR_READER),
    rule("identity:update_identity_provider", SP, ADMIN),
    rule("identity:delete_identity_provider", SP, ADMIN),
    rule("identity:create_protocol", SP, ADMIN),
    rule("identity:list_protocols", SP, ADMIN_OR_READER),
    rule("identity:get_protocol", SP, ADMIN_OR_READER),
    rule("identity:update_protocol", SP, ADMIN),
    rule("identity:delete_protocol", SP, ADMIN),
    rule("identity:create_mapping", SP, ADMIN),
    rule("identity:list_mappings", SP, ADMIN_OR_READER),
    rule("identity:get_mapping", SP, ADMIN_OR_READER),
    rule("identity:update_mapping", SP, ADMIN),
    rule("identity:delete_mapping", SP, ADMIN),
    rule("identity:create_service_provider", SP, ADMIN),
    rule("identity:list_service_providers", SP, ADMIN_OR_READER),
    rule("identity:get_service_provider", SP, ADMIN_OR_READER),
    rule("identity:update_service_provider", SP, ADMIN),
    rule("identity:delete_service_provider", SP, ADMIN),
];
