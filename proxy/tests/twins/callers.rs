//! Who calls: what a token that says "project/user/role" means, for doors that
//! have no identity service behind them.
#![allow(dead_code, reason = "each suite uses its part")]
use virga_identity_api::caller::{Caller, Scope};
use virga_node::clock::Micros;

/// Somebody with one role in a project; in the whole system if that is "".
pub fn caller(project: &str, user: &str, role: &str) -> Caller {
    let scope = match project {
        "" => Scope::System,
        project => Scope::Project(project.into()),
    };
    Caller {
        user_id: user.into(),
        scope,
        roles: vec![role.into()],
        methods: Vec::new(),
        issued_at: Micros(0),
        expires_at: Micros(u64::MAX),
        audit_ids: Vec::new(),
        delegation: None,
        access_rules: None,
    }
}

/// Who shows this token, and what it says beyond the role.
pub fn of_token(token: &str) -> Option<(Caller, Option<&str>)> {
    let mut parts = token.split('/');
    let caller = caller(parts.next()?, parts.next()?, parts.next()?);
    Some((caller, parts.next()))
}
