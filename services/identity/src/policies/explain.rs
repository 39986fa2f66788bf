//! Why somebody may do something or not, and what is missing.
//!
//! Asked by `virga policy explain`. The answer comes from the evaluator that
//! requests are judged by, over credentials put together as for a token of that
//! user; what would help is found by asking it again with one role more. Rules
//! of services that judge by themselves are explained the same way.
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use virga_identity_api::caller::{Caller, Scope};
use virga_identity_api::policy::{Decision, Explanation, ListedRule, Rules, ScopeKind, Trace};
use virga_state::StateError;

use super::caller::{credentials, scope_kind};
use crate::Identity;
use crate::app::App;
use crate::auth::request::{DomainRef, EntityRef};
use crate::model::project::Project;
use crate::model::role::RoleGraph;
use crate::model::user::User;
use crate::model::{group, project, role, user};

/// The domain that names are looked for in, where none is named.
const USUAL_DOMAIN: &str = "default";

/// Where the user would act.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PolicyScope {
    /// Nowhere: a token without a scope.
    Unscoped,
    /// On a project, by id, name or NAME@DOMAIN.
    Project(String),
    /// On a domain, by id or name.
    Domain(String),
    /// On the whole cloud.
    System,
}

/// The question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyQuestion {
    /// The user, by id, name or NAME@DOMAIN.
    pub user: String,
    /// Where.
    pub scope: PolicyScope,
    /// The action: "identity:create_user".
    pub action: String,
    /// What to: names as rules take them from the target, with their values.
    pub target: Vec<(String, String)>,
}

/// Something that would make it allowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Way {
    /// The role that is missing; `None` if the user has what it takes, there.
    pub role: Option<String>,
    /// Where it is missing, for people.
    pub on: String,
    /// What to type.
    pub command: String,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyAnswer {
    /// The question's action.
    pub action: String,
    /// Whether it is allowed.
    pub allowed: bool,
    /// Allowed, denied, or the wrong scope.
    pub decision: Decision,
    /// The rule.
    pub rule: ListedRule,
    /// The file of policy rules, if there is one.
    pub file: Option<String>,
    /// The user: id, name, domain_id, enabled.
    pub user: Value,
    /// Where, for people.
    pub on: String,
    /// The user's roles there, implied ones included.
    pub roles: Vec<String>,
    /// The rule, part by part.
    pub trace: Option<Trace>,
    /// Names that the rule takes from the target and that were not given.
    pub not_given: Vec<String>,
    /// What would help, the smallest role first.
    pub ways: Vec<Way>,
    /// What else there is to know.
    pub notes: Vec<String>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// There is no rule of this name.
    #[error("there is no action {action}{}", near(.similar))]
    NoAction {
        /// What was asked for.
        action: String,
        /// Actions that are called nearly so.
        similar: Vec<String>,
    },
    /// Somebody or something is not there.
    #[error("there is no {kind} {name:?}: give its id, its name, or NAME@DOMAIN")]
    NotFound {
        /// "user", "project", "domain".
        kind: &'static str,
        /// As it was asked for.
        name: String,
    },
    /// The records failed.
    #[error(transparent)]
    State(#[from] StateError),
}

fn near(similar: &[String]) -> String {
    match similar.is_empty() {
        true => "; `virga policy list` shows all".to_owned(),
        false => format!("; did you mean {}?", similar.join(" or ")),
    }
}

/// A scope with what it takes to name it.
#[derive(Clone, Debug)]
enum Spot {
    Unscoped,
    Project(Project),
    Domain(Project),
    System,
}

/// In quotes, if a shell would read it otherwise.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_.@:/".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

impl Spot {
    fn scope(&self) -> Scope {
        match self {
            Self::Unscoped => Scope::Unscoped,
            Self::Project(p) => Scope::Project(p.id.clone()),
            Self::Domain(d) => Scope::Domain(d.id.clone()),
            Self::System => Scope::System,
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Unscoped => "without a scope".to_owned(),
            Self::Project(p) => format!("the project {} ({})", p.name, p.id),
            Self::Domain(d) => format!("the domain {} ({})", d.name, d.id),
            Self::System => "the system".to_owned(),
        }
    }

    /// The options of the `openstack` client that name it.
    fn options(&self) -> String {
        match self {
            Self::Unscoped => String::new(),
            Self::Project(p) => format!("--project {}", p.id),
            Self::Domain(d) => format!("--domain {}", d.id),
            Self::System => "--system all".to_owned(),
        }
    }

    /// How the client is told to act there.
    fn act(&self) -> String {
        match self {
            Self::Unscoped => String::new(),
            Self::Project(p) => format!("openstack --os-project-id {} ...", p.id),
            Self::Domain(d) => format!("openstack --os-domain-id {} ...", d.id),
            Self::System => "openstack --os-system-scope all ...".to_owned(),
        }
    }
}

/// Sets `path` (with dots) of an object.
fn set(object: &mut Value, path: &str, value: Value) {
    match path.split_once('.') {
        Some((first, rest)) => {
            if !object[first].is_object() {
                object[first] = json!({});
            }
            set(&mut object[first], rest, value);
        }
        None => object[path] = value,
    }
}

/// Whose rules are asked.
#[derive(Clone, Copy)]
enum Asked<'a> {
    /// This service's.
    Own(&'a Rules),
    /// Those of a service whose targets are things of a project: of the
    /// scope's, where the question does not say.
    OfProjects(&'a Rules),
}

impl<'a> Asked<'a> {
    fn rules(self) -> &'a Rules {
        match self {
            Self::Own(rules) | Self::OfProjects(rules) => rules,
        }
    }

    /// What a question on `spot` is about, besides what it says.
    fn complete(self, target: &mut Value, spot: &Spot) {
        if let (Self::OfProjects(_), Spot::Project(project)) = (self, spot)
            && target.get("project_id").is_none()
        {
            set(target, "project_id", json!(project.id));
        }
    }
}

/// Everything that a question is judged with.
struct Case<'a> {
    app: &'a App,
    asked: Asked<'a>,
    rules: &'a Rules,
    graph: &'a RoleGraph,
    action: &'a str,
    user: &'a User,
    target: Value,
}

impl Case<'_> {
    async fn roles_on(&self, spot: &Spot) -> Result<Vec<String>, StateError> {
        let held = match spot {
            Spot::Unscoped => Vec::new(),
            spot => {
                let q = &mut self.app.state.reader();
                let roles = &self.app.roles;
                roles.effective(q, &self.user.id, &[], &spot.scope()).await?
            }
        };
        Ok(held.into_iter().map(|r| r.name).collect())
    }

    /// As a request with a token for `spot` with these roles would be judged.
    async fn judge(&self, spot: &Spot, roles: &[String]) -> Result<Explanation, StateError> {
        self.judge_about(&self.target, spot, roles).await
    }

    async fn judge_about(
        &self,
        target: &Value,
        spot: &Spot,
        roles: &[String],
    ) -> Result<Explanation, StateError> {
        let now = self.app.clock.now();
        let caller = Caller {
            user_id: self.user.id.clone(),
            scope: spot.scope(),
            roles: roles.to_vec(),
            methods: vec!["password".to_owned()],
            issued_at: now,
            expires_at: now,
            audit_ids: Vec::new(),
            delegation: None,
            access_rules: None,
        };
        let credentials = credentials(self.app, &caller).await?;
        let scope = scope_kind(&caller.scope);
        Ok(self.rules.explain(self.action, scope, &credentials, target))
    }

    /// The names of a role and of those it implies.
    fn with_implied(&self, name: &str) -> BTreeSet<String> {
        let found = self.graph.named(name);
        let ids = found
            .map(|role| BTreeSet::from([role.id.clone()]))
            .unwrap_or_default();
        let mut names: BTreeSet<String> = self
            .graph
            .effective(&ids)
            .into_iter()
            .map(|r| r.name.clone())
            .collect();
        names.insert(name.to_owned());
        names
    }

    /// What would help on one spot: the smallest roles, or nothing but to act
    /// there.
    async fn ways_on(&self, spot: &Spot, asked: bool) -> Result<Vec<Way>, StateError> {
        let held = self.roles_on(spot).await?;
        let allowed = |told: Explanation| told.decision == Decision::Allowed;
        let way = |role: Option<&str>, command: String| Way {
            role: role.map(str::to_owned),
            on: spot.shown(),
            command,
        };
        if !asked && !held.is_empty() && allowed(self.judge(spot, &held).await?) {
            return Ok(vec![way(None, spot.act())]);
        }
        let mut roles: Vec<(String, BTreeSet<String>)> = self
            .rules
            .roles_asked(self.action, &self.target)
            .into_iter()
            .map(|role| (role.clone(), self.with_implied(&role)))
            .collect();
        roles.sort_by_key(|(_, names)| names.len());
        let mut found: Vec<Way> = Vec::new();
        for (role, names) in &roles {
            let smaller = found.iter().filter_map(|w| w.role.as_ref());
            if smaller.clone().any(|smaller| names.contains(smaller)) {
                continue;
            }
            let with: Vec<String> = names.iter().cloned().chain(held.iter().cloned()).collect();
            if allowed(self.judge(spot, &with).await?) {
                let user = quoted(&self.user.id);
                let command = format!(
                    "openstack role add --user {user} {} {}",
                    spot.options(),
                    quoted(role)
                );
                found.push(way(Some(role), command));
            }
        }
        match self.asked {
            Asked::Own(_) => Ok(found),
            Asked::OfProjects(_) => self.without_more_than_needed(spot, found).await,
        }
    }

    /// Roles that would do whatever the target is, as those that own every
    /// project's things do, are no advice where another would do.
    async fn without_more_than_needed(&self, spot: &Spot, ways: Vec<Way>) -> Result<Vec<Way>, StateError> {
        let (mut narrow, mut broad) = (Vec::new(), Vec::new());
        for way in ways {
            let roles: Vec<String> = way.role.iter().cloned().collect();
            let anything = self.judge_about(&json!({}), spot, &roles).await?;
            match anything.decision {
                Decision::Allowed => broad.push(way),
                Decision::Denied | Decision::WrongScope => narrow.push(way),
            }
        }
        Ok(if narrow.is_empty() { broad } else { narrow })
    }

    /// Domains that the target names.
    fn domains(&self) -> BTreeSet<String> {
        fn collect(value: &Value, out: &mut BTreeSet<String>) {
            for (name, value) in value.as_object().into_iter().flatten() {
                match value.as_str() {
                    Some(id) if name == "domain_id" => drop(out.insert(id.to_owned())),
                    _ => collect(value, out),
                }
            }
        }
        let mut found = BTreeSet::new();
        collect(&self.target, &mut found);
        if let Some(id) = self.target.pointer("/target/domain/id").and_then(Value::as_str) {
            found.insert(id.to_owned());
        }
        found
    }

    async fn ways(&self, spot: &Spot, scopes: &[ScopeKind]) -> Result<Vec<Way>, StateError> {
        let fits = |kind: ScopeKind| scopes.is_empty() || scopes.contains(&kind);
        let mut ways = Vec::new();
        if scope_kind(&spot.scope()).is_some_and(fits) {
            ways.extend(self.ways_on(spot, true).await?);
        }
        if fits(ScopeKind::Domain) {
            for id in self.domains() {
                let found = project::get(&mut self.app.state.reader(), &id).await?;
                let Some(domain) = found.filter(|d| d.is_domain) else {
                    continue;
                };
                if !matches!(spot, Spot::Domain(d) if d.id == id) {
                    ways.extend(self.ways_on(&Spot::Domain(domain), false).await?);
                }
            }
        }
        if fits(ScopeKind::System) && !matches!(spot, Spot::System) {
            ways.extend(self.ways_on(&Spot::System, false).await?);
        }
        Ok(ways)
    }
}

impl App {
    async fn user_called(&self, name: &str) -> Result<User, ExplainError> {
        let mut ways = vec![
            EntityRef::Id(name.to_owned()),
            EntityRef::Name(name.to_owned(), DomainRef::Id(USUAL_DOMAIN.to_owned())),
        ];
        if let Some((name, domain)) = name.rsplit_once('@') {
            ways.push(EntityRef::Name(
                name.to_owned(),
                DomainRef::Name(domain.to_owned()),
            ));
            ways.push(EntityRef::Name(name.to_owned(), DomainRef::Id(domain.to_owned())));
        }
        let mut q = self.state.reader();
        for way in ways {
            if let Some((user, domain)) = self.find_user(&mut q, &way).await? {
                let enabled = user.enabled && domain.enabled;
                return Ok(User { enabled, ..user });
            }
        }
        let name = name.to_owned();
        Err(ExplainError::NotFound { kind: "user", name })
    }

    async fn domain_called(&self, name: &str) -> Result<Option<Project>, StateError> {
        let mut q = self.state.reader();
        match self.find_domain(&mut q, &DomainRef::Id(name.to_owned())).await? {
            None => self.find_domain(&mut q, &DomainRef::Name(name.to_owned())).await,
            found => Ok(found),
        }
    }

    async fn spot(&self, scope: &PolicyScope) -> Result<Spot, ExplainError> {
        let missing = |kind, name: &str| ExplainError::NotFound {
            kind,
            name: name.to_owned(),
        };
        match scope {
            PolicyScope::Unscoped => Ok(Spot::Unscoped),
            PolicyScope::System => Ok(Spot::System),
            PolicyScope::Domain(name) => {
                let found = self.domain_called(name).await?;
                found.map(Spot::Domain).ok_or_else(|| missing("domain", name))
            }
            PolicyScope::Project(name) => {
                let mut q = self.state.reader();
                let mut found = project::get(&mut q, name).await?.filter(|p| !p.is_domain);
                if found.is_none() {
                    found = project::by_name(&mut q, USUAL_DOMAIN, name).await?;
                }
                if let (None, Some((name, domain))) = (&found, name.rsplit_once('@'))
                    && let Some(domain) = self.domain_called(domain).await?
                {
                    found = project::by_name(&mut q, &domain.id, name).await?;
                }
                found.map(Spot::Project).ok_or_else(|| missing("project", name))
            }
        }
    }

    /// The target as handlers put it together: what is given, and of what is
    /// given by id as in paths the attributes that rules look at.
    async fn target(&self, given: &[(String, String)]) -> Result<Value, StateError> {
        let mut q = self.state.reader();
        let mut target = json!({"target": {}});
        for (name, id) in given {
            let found = match name.as_str() {
                "user_id" => user::get(&mut q, id).await?.map(|u| {
                    (
                        "user",
                        json!({"id": u.id, "domain_id": u.domain_id, "name": u.name}),
                    )
                }),
                "group_id" => group::get(&mut q, id)
                    .await?
                    .map(|g| ("group", json!({"id": g.id, "domain_id": g.domain_id}))),
                "role_id" => role::get(&mut q, id).await?.map(|r| {
                    (
                        "role",
                        json!({"id": r.id, "domain_id": r.domain_id, "name": r.name}),
                    )
                }),
                "project_id" => project::get(&mut q, id)
                    .await?
                    .map(|p| ("project", json!({"id": p.id, "domain_id": p.domain_id}))),
                "domain_id" => Some(("domain", json!({ "id": id }))),
                _ => None,
            };
            if let Some((kind, attributes)) = found {
                target["target"][kind] = attributes;
            }
        }
        for (name, value) in given {
            set(&mut target, name, json!(value));
        }
        Ok(target)
    }

    async fn explain(
        &self,
        question: &PolicyQuestion,
        asked: Asked<'_>,
    ) -> Result<PolicyAnswer, ExplainError> {
        let rules = asked.rules();
        let listed = rules.list();
        let Some(rule) = listed.iter().find(|r| r.name == question.action) else {
            let part = question.action.rsplit(':').next().unwrap_or_default();
            let similar = listed.into_iter().map(|r| r.name);
            let similar = similar.filter(|name| name.contains(part) && !part.is_empty());
            return Err(ExplainError::NoAction {
                action: question.action.clone(),
                similar: similar.take(3).collect(),
            });
        };
        let user = self.user_called(&question.user).await?;
        let spot = self.spot(&question.scope).await?;
        let graph = self.roles.graph().await?;
        let mut target = self.target(&question.target).await?;
        asked.complete(&mut target, &spot);
        let case = Case {
            app: self,
            asked,
            rules,
            graph: &graph,
            action: &question.action,
            user: &user,
            target,
        };
        let roles = case.roles_on(&spot).await?;
        let told = case.judge(&spot, &roles).await?;
        let allowed = told.decision == Decision::Allowed;
        let ways = match allowed {
            true => Vec::new(),
            false => case.ways(&spot, &told.scopes).await?,
        };
        let given = |name: &String| {
            let mut at = Some(&case.target);
            for part in name.split('.') {
                at = at.and_then(|value| value.get(part));
            }
            at.is_some()
        };
        let not_given = rules.target_asked(&question.action).into_iter();
        let mut notes = Vec::new();
        if !user.enabled {
            notes.push("the user or the user's domain is disabled, and gets no token at all".to_owned());
        } else if roles.is_empty() && !matches!(spot, Spot::Unscoped) {
            notes.push(format!(
                "the user has no role on {}, and gets no token for it at all",
                spot.shown()
            ));
        }
        Ok(PolicyAnswer {
            action: question.action.clone(),
            allowed: allowed && notes.is_empty(),
            decision: told.decision,
            rule: rule.clone(),
            file: self.policy.file().map(|path| path.display().to_string()),
            user: json!({"id": user.id, "name": user.name, "domain_id": user.domain_id, "enabled": user.enabled}),
            on: spot.shown(),
            roles,
            trace: told.trace,
            not_given: not_given.filter(|name| !given(name)).collect(),
            ways,
            notes,
        })
    }
}

impl Identity {
    /// Why somebody may do something, or not.
    ///
    /// # Errors
    /// The action, the user or the scope is not there, or the records fail.
    pub async fn explain_policy(&self, question: &PolicyQuestion) -> Result<PolicyAnswer, ExplainError> {
        let rules = self.app.policy.rules();
        self.app.explain(question, Asked::Own(&rules)).await
    }

    /// The same by the rules of a service that judges by itself. What is asked
    /// about belongs to a project: to that of the scope, where the question
    /// does not name another by `project_id`.
    ///
    /// # Errors
    /// The action, the user or the scope is not there, or the records fail.
    pub async fn explain_by(
        &self,
        rules: &Rules,
        question: &PolicyQuestion,
    ) -> Result<PolicyAnswer, ExplainError> {
        self.app.explain(question, Asked::OfProjects(rules)).await
    }

    /// All policy rules in force, by name.
    pub fn policy_rules(&self) -> Vec<ListedRule> {
        self.app.policy.rules().list()
    }
}
