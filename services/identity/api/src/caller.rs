//! Who is asking: the domain value that a verified token turns into.
use serde::{Deserialize, Serialize};
use virga_node::clock::Micros;

use crate::access_rule::AccessRule;

/// What a token is good for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// No authorization yet, only identity.
    Unscoped,
    /// One project, by id.
    Project(String),
    /// One domain, by id.
    Domain(String),
    /// The whole cloud.
    System,
}

/// What a token was made by, when that is not the user in person. Such tokens
/// reach less than the user does and end with what they stand on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Delegation {
    /// An application credential of the user.
    ApplicationCredential {
        /// Its id.
        id: String,
        /// Whether it has access rules.
        ruled: bool,
    },
    /// A trust.
    Trust {
        /// Its id.
        id: String,
    },
    /// An access token of OAuth 1.0a: a consumer acts for the user.
    AccessToken {
        /// Its id.
        id: String,
    },
}

impl Delegation {
    /// Id of the application credential, trust or access token.
    pub fn id(&self) -> &str {
        match self {
            Self::ApplicationCredential { id, .. } | Self::Trust { id } | Self::AccessToken { id } => id,
        }
    }

    /// Id of the application credential, if it is one with access rules.
    pub fn ruled_by(&self) -> Option<&str> {
        match self {
            Self::ApplicationCredential { id, ruled: true } => Some(id),
            _ => None,
        }
    }
}

/// The user behind a request and what the token allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// The user's id.
    pub user_id: String,
    /// What the token is scoped to.
    pub scope: Scope,
    /// Names of the roles on that scope, implied ones included.
    pub roles: Vec<String>,
    /// How the user proved who they are ("password", "token", ...).
    pub methods: Vec<String>,
    /// When the token was made.
    pub issued_at: Micros,
    /// When the token ends.
    pub expires_at: Micros,
    /// Audit ids: the token's own, then the first of its chain.
    pub audit_ids: Vec<String>,
    /// What the token was made by, if not by the user in person.
    pub delegation: Option<Delegation>,
    /// The only calls the token is good for; `None` for all.
    pub access_rules: Option<Vec<AccessRule>>,
}

impl Caller {
    /// The project the token is scoped to, if it is.
    pub fn project_id(&self) -> Option<&str> {
        match &self.scope {
            Scope::Project(id) => Some(id),
            _ => None,
        }
    }

    /// Whether the token is good for this call at all: `service` is the type of
    /// the service, `path` as the client sent it, without the query.
    pub fn may_call(&self, service: &str, method: &str, path: &str) -> bool {
        match &self.access_rules {
            None => true,
            Some(rules) => rules.iter().any(|rule| rule.allows(service, method, path)),
        }
    }

    /// Whether the caller holds the role named `role` (case does not matter,
    /// as in oslo.policy).
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|r| r.eq_ignore_ascii_case(role))
    }
}
