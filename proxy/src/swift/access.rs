//! Who is asking, and what they may do.
//!
//! Keystone's rules as Swift applies them: the reseller admin may do all, roles
//! on the project own its account, readers read, and access lists of
//! containers let others in. Decisions are made on values in memory; names
//! are looked up beforehand ([`Identity::learn_names`]).
use std::sync::Arc;

use http::Method;
use virga_identity_api::caller::Caller;
use virga_identity_api::verify::{Directory, TokenError, TokenVerifier};

use super::account_acl::AccountAcl;
use super::acl::Acl;
use super::config::{Config, Reseller};

/// Who is asking.
#[derive(Clone, Debug)]
pub enum Who {
    /// Nobody we know: no token, or not a valid one.
    Anonymous,
    /// The holder of a valid token.
    Known(Arc<Identity>),
    /// The holder of a temporary URL.
    TempUrl(TempScope),
}

/// What a temporary URL is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TempScope {
    /// The account it was signed for.
    pub account: String,
    /// The container, if the key was the container's.
    pub container: Option<String>,
}

/// A verified token and what goes with it.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Whose token it is.
    pub caller: Arc<Caller>,
    /// Whose service token came along.
    pub service: Option<Arc<Caller>>,
    /// Names, once looked up: `None` until then.
    names: Option<Names>,
}

/// Names of user and project, if both are in the default domain.
#[derive(Clone, Debug, Default)]
struct Names {
    user: Option<String>,
    project: Option<String>,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// Method, after COPY has become its parts.
    pub method: &'a Method,
    /// Name of the account.
    pub account: &'a str,
    /// Name of the container, if one is named.
    pub container: Option<&'a str>,
    /// Whether an object is named.
    pub object: bool,
    /// The access list that applies, if it is known yet.
    pub acl: Option<&'a str>,
    /// `Referer` of the request.
    pub referer: Option<&'a str>,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes, as someone who may see and change keys and access lists.
    Owner,
    /// Yes.
    Granted,
    /// No.
    Denied,
}

impl Verdict {
    /// Whether it is a yes.
    pub fn granted(self) -> bool {
        self != Self::Denied
    }
}

impl Identity {
    /// A verified token, with the service token if one came along.
    pub fn new(caller: Arc<Caller>, service: Option<Arc<Caller>>) -> Self {
        Self {
            caller,
            service,
            names: None,
        }
    }

    /// Looks up the names that access lists may hold. Only names of the
    /// default domain count, for both user and project.
    pub async fn learn_names(&self, directory: &dyn Directory, default_domain: &str) -> Self {
        let user = directory.user(&self.caller.user_id).await;
        let project = match self.caller.project_id() {
            Some(id) => directory.project(id).await,
            None => None,
        };
        let names = match (user, project) {
            (Some(user), Some(project))
                if user.domain_id == default_domain && project.domain_id == default_domain =>
            {
                Names {
                    user: Some(user.name),
                    project: Some(project.name),
                }
            }
            _ => Names::default(),
        };
        Self {
            names: Some(names),
            ..self.clone()
        }
    }

    /// Whether `holds` knows `project:user` of this caller, by id, name or `*`.
    pub fn is_named(&self, holds: impl Fn(&str) -> bool) -> bool {
        let names = self.names.as_ref();
        let projects = [
            self.caller.project_id(),
            Some("*"),
            names.and_then(|names| names.project.as_deref()),
        ];
        let users = [
            Some(self.caller.user_id.as_str()),
            Some("*"),
            names.and_then(|names| names.user.as_deref()),
        ];
        projects.into_iter().flatten().any(|project| {
            users
                .into_iter()
                .flatten()
                .any(|user| holds(&format!("{project}:{user}")))
        })
    }
}

/// The type of this service in access rules of application credentials.
const SERVICE_TYPE: &str = "object-store";

/// Turns the tokens of a request (`method` and `path` are its own) into who is
/// asking. A token whose access rules do not name the request counts for nothing.
///
/// # Errors
/// Only when tokens cannot be verified now; an invalid one makes the request
/// anonymous, as public containers are open to it all the same.
pub async fn identify(
    verifier: &dyn TokenVerifier,
    token: Option<&str>,
    service_token: Option<&str>,
    (method, path): (&Method, &str),
) -> Result<Who, TokenError> {
    let Some(caller) = verified(verifier, token).await? else {
        return Ok(Who::Anonymous);
    };
    if !caller.may_call(SERVICE_TYPE, method.as_str(), path) {
        return Ok(Who::Anonymous);
    }
    let service = verified(verifier, service_token).await?;
    Ok(Who::Known(Arc::new(Identity::new(caller, service))))
}

async fn verified(
    verifier: &dyn TokenVerifier,
    token: Option<&str>,
) -> Result<Option<Arc<Caller>>, TokenError> {
    let Some(token) = token else { return Ok(None) };
    match verifier.verify(token).await {
        Ok(caller) => Ok(Some(caller)),
        Err(TokenError::Invalid | TokenError::Expired | TokenError::Revoked) => Ok(None),
        Err(error @ TokenError::Unavailable(_)) => Err(error),
    }
}

/// The rules for accounts with this name's prefix. A longer prefix is the better match.
fn reseller<'a>(config: &'a Config, account: &str) -> Option<&'a Reseller> {
    config
        .resellers
        .iter()
        .filter(|reseller| account.starts_with(&reseller.prefix))
        .max_by_key(|reseller| reseller.prefix.len())
}

/// Whether `who` may do what they wish.
pub fn decide(config: &Config, who: &Who, wish: &Wish<'_>) -> Verdict {
    if wish.method == Method::OPTIONS {
        return Verdict::Granted;
    }
    match who {
        Who::Anonymous => match reseller(config, wish.account) {
            Some(_) => {
                by_referrer(wish, &wish.acl.map(Acl::parse).unwrap_or_default()).unwrap_or(Verdict::Denied)
            }
            None => Verdict::Denied,
        },
        Who::TempUrl(scope) => temporary(scope, wish),
        Who::Known(identity) => known(config, identity, wish),
    }
}

fn temporary(scope: &TempScope, wish: &Wish<'_>) -> Verdict {
    let container = scope
        .container
        .as_deref()
        .is_none_or(|own| wish.container == Some(own));
    match container && scope.account == wish.account {
        true => Verdict::Granted,
        false => Verdict::Denied,
    }
}

/// What the referrers of a list say; `None` when they say nothing.
fn by_referrer(wish: &Wish<'_>, acl: &Acl) -> Option<Verdict> {
    match acl.lets_in(wish.referer) {
        true if wish.object || acl.holds(".rlistings") => Some(Verdict::Granted),
        true => Some(Verdict::Denied),
        false => None,
    }
}

/// What the access list of the whole account grants. Accounts that are opened
/// by two tokens together have none.
pub fn by_account(config: &Config, who: &Who, wish: &Wish<'_>, acl: &AccountAcl) -> Verdict {
    let Who::Known(identity) = who else {
        return Verdict::Denied;
    };
    match reseller(config, wish.account) {
        Some(rules) if rules.service_roles.is_empty() => {
            acl.grants(wish, |entry| identity.is_named(|name| name == entry))
        }
        Some(_) | None => Verdict::Denied,
    }
}

/// The rules for an account that belongs to the caller's project.
fn own<'a>(config: &'a Config, identity: &Identity, account: &str) -> Option<&'a Reseller> {
    let rules = reseller(config, account)?;
    let project = account.strip_prefix(rules.prefix.as_str());
    (identity.caller.project_id() == project).then_some(rules)
}

/// Whether the caller's roles, and those of the service that asks for them where
/// that is needed, own the account.
fn owns(config: &Config, identity: &Identity, account: &str) -> bool {
    let holds = |caller: &Caller, roles: &[String]| roles.iter().any(|role| caller.has_role(role));
    own(config, identity, account).is_some_and(|rules| {
        let service = identity.service.as_ref();
        let served =
            rules.service_roles.is_empty() || service.is_some_and(|s| holds(s, &rules.service_roles));
        served && holds(&identity.caller, &rules.operator_roles)
    })
}

fn known(config: &Config, identity: &Identity, wish: &Wish<'_>) -> Verdict {
    let caller = &identity.caller;
    let reads = wish.method == Method::GET || wish.method == Method::HEAD;
    let holds = |roles: &[String]| roles.iter().any(|role| caller.has_role(role));
    if caller.has_role(&config.reseller_admin_role) {
        return Verdict::Owner;
    }
    if reads && holds(&config.system_reader_roles) {
        return Verdict::Granted;
    }
    if wish.container.is_none() && wish.method == Method::DELETE {
        return Verdict::Denied;
    }
    // Whom a list lets in too is an owner all the same.
    if owns(config, identity, wish.account) {
        return Verdict::Owner;
    }
    let acl = wish.acl.map(Acl::parse).unwrap_or_default();
    // An account in a list stands for those who own it.
    let mut own_accounts = config
        .resellers
        .iter()
        .filter(|rules| rules.service_roles.is_empty() && holds(&rules.operator_roles))
        .filter_map(|rules| Some(format!("{}{}", rules.prefix, caller.project_id()?)));
    if identity.is_named(|name| acl.holds(name)) || own_accounts.any(|name| acl.holds(&name)) {
        return Verdict::Granted;
    }
    let referred = by_referrer(wish, &acl);
    if referred == Some(Verdict::Granted) {
        return Verdict::Granted;
    }
    let Some(rules) = own(config, identity, wish.account) else {
        return Verdict::Denied;
    };
    if reads && holds(&rules.project_reader_roles) {
        return Verdict::Granted;
    }
    if referred.is_none() && caller.roles.iter().any(|role| acl.holds_role(role)) {
        return Verdict::Granted;
    }
    Verdict::Denied
}

#[cfg(test)]
mod tests {
    use super::*;
    use virga_identity_api::caller::Scope;
    use virga_identity_api::verify::Named;
    use virga_node::clock::Micros;

    fn caller(project: &str, user: &str, roles: &[&str]) -> Arc<Caller> {
        Arc::new(Caller {
            user_id: user.into(),
            scope: Scope::Project(project.into()),
            roles: roles.iter().map(|r| (*r).to_owned()).collect(),
            methods: vec![],
            issued_at: Micros(0),
            expires_at: Micros(0),
            audit_ids: vec![],
            delegation: None,
            access_rules: None,
        })
    }

    fn who(project: &str, user: &str, roles: &[&str]) -> Who {
        Who::Known(Arc::new(Identity::new(caller(project, user, roles), None)))
    }

    fn wish<'a>(method: &'a Method, account: &'a str, acl: Option<&'a str>) -> Wish<'a> {
        Wish {
            method,
            account,
            container: Some("c"),
            object: true,
            acl,
            referer: None,
        }
    }

    struct Book;

    #[async_trait::async_trait]
    impl Directory for Book {
        async fn user(&self, id: &str) -> Option<Named> {
            Some(Named {
                id: id.into(),
                name: format!("name-{id}"),
                domain_id: "default".into(),
            })
        }
        async fn project(&self, id: &str) -> Option<Named> {
            let domain_id = if id == "far" { "other" } else { "default" };
            Some(Named {
                id: id.into(),
                name: format!("name-{id}"),
                domain_id: domain_id.into(),
            })
        }
    }

    #[test]
    fn roles_on_the_own_project_own_its_account_and_readers_only_read() {
        let mut config = Config::default();
        config.resellers[0].project_reader_roles = vec!["reader".into()];
        for role in ["admin", "manager", "Member"] {
            let verdict = decide(
                &config,
                &who("p", "u", &[role]),
                &wish(&Method::PUT, "AUTH_p", None),
            );
            assert_eq!(verdict, Verdict::Owner, "{role}");
        }
        let reader = who("p", "u", &["reader"]);
        assert_eq!(
            decide(&config, &reader, &wish(&Method::GET, "AUTH_p", None)),
            Verdict::Granted
        );
        assert_eq!(
            decide(&config, &reader, &wish(&Method::PUT, "AUTH_p", None)),
            Verdict::Denied
        );
        assert_eq!(
            decide(&config, &reader, &wish(&Method::GET, "AUTH_q", None)),
            Verdict::Denied
        );
        let admin = who("p", "u", &["admin"]);
        assert_eq!(
            decide(&config, &admin, &wish(&Method::GET, "AUTH_q", None)),
            Verdict::Denied
        );
        assert_eq!(
            decide(&config, &admin, &wish(&Method::GET, "OTHER_p", None)),
            Verdict::Denied
        );
    }

    #[test]
    fn the_reseller_admin_may_do_all_and_nobody_else_deletes_accounts() {
        let config = Config::default();
        let delete = Wish {
            container: None,
            object: false,
            ..wish(&Method::DELETE, "AUTH_p", None)
        };
        assert_eq!(
            decide(&config, &who("q", "u", &["reselleradmin"]), &delete),
            Verdict::Owner
        );
        assert_eq!(
            decide(&config, &who("p", "u", &["admin"]), &delete),
            Verdict::Denied
        );
    }

    #[test]
    fn access_lists_let_in_by_id_star_and_role() {
        let config = Config::default();
        let mallory = who("q", "m", &["member"]);
        for acl in ["q:m", "*:m", "q:*", "*:*"] {
            let verdict = decide(&config, &mallory, &wish(&Method::GET, "AUTH_p", Some(acl)));
            assert_eq!(verdict, Verdict::Granted, "{acl}");
        }
        let owners = wish(&Method::GET, "AUTH_p", Some("AUTH_q"));
        assert_eq!(decide(&config, &mallory, &owners), Verdict::Granted);
        let guest = who("q", "g", &["guest"]);
        assert_eq!(decide(&config, &guest, &owners), Verdict::Denied);
        for acl in ["q:n", "p:m", "m", "member", "q", "AUTH_p", "SERVICE_q"] {
            let verdict = decide(&config, &mallory, &wish(&Method::GET, "AUTH_p", Some(acl)));
            assert_eq!(verdict, Verdict::Denied, "{acl}");
        }
        let auditor = who("p", "u", &["auditor"]);
        assert_eq!(
            decide(&config, &auditor, &wish(&Method::PUT, "AUTH_p", Some("Auditor"))),
            Verdict::Granted
        );
    }

    #[tokio::test]
    async fn names_count_only_when_both_are_in_the_default_domain() {
        let config = Config::default();
        for (project, expected) in [("q", Verdict::Granted), ("far", Verdict::Denied)] {
            let identity = Identity::new(caller(project, "m", &[]), None);
            let learnt = Who::Known(Arc::new(identity.learn_names(&Book, "default").await));
            let acl = format!("name-{project}:name-m");
            assert_eq!(
                decide(&config, &learnt, &wish(&Method::GET, "AUTH_p", Some(&acl))),
                expected,
                "{project}"
            );
        }
    }

    #[test]
    fn anyone_reads_public_objects_and_lists_only_with_rlistings() {
        let config = Config::default();
        let read = wish(&Method::GET, "AUTH_p", Some(".r:*"));
        let list = Wish {
            object: false,
            ..read
        };
        let listed = Wish {
            acl: Some(".r:*,.rlistings"),
            ..list
        };
        for who in [Who::Anonymous, who("q", "m", &[])] {
            assert_eq!(decide(&config, &who, &read), Verdict::Granted);
            assert_eq!(decide(&config, &who, &list), Verdict::Denied);
            assert_eq!(decide(&config, &who, &listed), Verdict::Granted);
            assert_eq!(
                decide(&config, &who, &wish(&Method::GET, "AUTH_p", None)),
                Verdict::Denied
            );
        }
        assert_eq!(
            decide(
                &config,
                &Who::Anonymous,
                &Wish {
                    account: "X_p",
                    ..read
                }
            ),
            Verdict::Denied
        );
    }

    #[test]
    fn a_service_account_wants_both_tokens() {
        let mut config = Config::default();
        config.resellers.push(Reseller {
            prefix: "SERVICE_".into(),
            service_roles: vec!["service".into()],
            ..Reseller::default()
        });
        let put = wish(&Method::PUT, "SERVICE_p", None);
        let user = caller("p", "u", &["member"]);
        let service = caller("s", "glance", &["service"]);
        let with = |service| Who::Known(Arc::new(Identity::new(user.clone(), service)));
        assert_eq!(decide(&config, &with(None), &put), Verdict::Denied);
        assert_eq!(decide(&config, &with(Some(user.clone())), &put), Verdict::Denied);
        assert_eq!(decide(&config, &with(Some(service)), &put), Verdict::Owner);
    }

    #[test]
    fn a_temporary_url_reaches_only_what_its_key_covers() {
        let config = Config::default();
        let account = Who::TempUrl(TempScope {
            account: "AUTH_p".into(),
            container: None,
        });
        let container = Who::TempUrl(TempScope {
            account: "AUTH_p".into(),
            container: Some("c".into()),
        });
        let here = wish(&Method::GET, "AUTH_p", None);
        let beside = Wish {
            container: Some("d"),
            ..here
        };
        assert_eq!(decide(&config, &account, &beside), Verdict::Granted);
        assert_eq!(decide(&config, &container, &here), Verdict::Granted);
        assert_eq!(decide(&config, &container, &beside), Verdict::Denied);
        assert_eq!(
            decide(&config, &account, &wish(&Method::GET, "AUTH_q", None)),
            Verdict::Denied
        );
    }
}
