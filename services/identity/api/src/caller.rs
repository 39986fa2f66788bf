//! Who is asking: the domain value that a verified token turns into.
use serde::{Deserialize, Serialize};
use virga_node::clock::Micros;

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
}

impl Caller {
    /// The project the token is scoped to, if it is.
    pub fn project_id(&self) -> Option<&str> {
        match &self.scope {
            Scope::Project(id) => Some(id),
            _ => None,
        }
    }

    /// Whether the caller holds the role named `role` (case does not matter,
    /// as in oslo.policy).
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|r| r.eq_ignore_ascii_case(role))
    }
}
