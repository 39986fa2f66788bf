//! `/v3/role_assignments`: who has which role on what, as it is stored or as
//! it takes effect.
use std::collections::{BTreeSet, HashMap};

use serde_json::{Value, json};

use super::ask::Ask;
use super::projects;
use super::reply::{self, Reply};
use crate::fault::Fault;
use crate::model::assignment::{self, ActorKind, Assignment, TargetKind};
use crate::model::project::Project;
use crate::model::role::RoleGraph;
use crate::model::{group, project, user};

/// What the query narrows the list to.
struct Wanted<'a> {
    user: Option<&'a str>,
    group: Option<&'a str>,
    role: Option<&'a str>,
    project: Option<&'a str>,
    domain: Option<&'a str>,
    system: bool,
    inherited: Option<bool>,
    effective: bool,
    subtree: bool,
}

fn both<T>(a: bool, b: bool, why: &str, value: T) -> Result<T, Fault> {
    if a && b {
        Err(Fault::BadRequest(why.to_owned()))
    } else {
        Ok(value)
    }
}

fn wanted(ask: &Ask) -> Result<Wanted<'_>, Fault> {
    let some = |name| ask.query(name).filter(|v| !v.is_empty());
    let w = Wanted {
        user: some("user.id"),
        group: some("group.id"),
        role: some("role.id"),
        project: some("scope.project.id"),
        domain: some("scope.domain.id"),
        system: some("scope.system").is_some(),
        inherited: ask
            .query("scope.OS-INHERIT:inherited_to")
            .map(|to| to == "projects"),
        effective: ask.flag("effective"),
        subtree: ask.flag("include_subtree"),
    };
    both(
        w.domain.is_some(),
        w.project.is_some(),
        "Specify a domain or project, not both",
        (),
    )?;
    both(
        w.domain.is_some(),
        w.system,
        "Specify system or domain, not both",
        (),
    )?;
    both(
        w.project.is_some(),
        w.system,
        "Specify system or project, not both",
        (),
    )?;
    both(
        w.user.is_some(),
        w.group.is_some(),
        "Specify a user or group, not both",
        (),
    )?;
    let useless = "Combining effective and group filter will always result in an empty list.";
    both(w.effective, w.group.is_some(), useless, ())?;
    let useless = "Combining effective, domain and inherited filters will always result in an empty list.";
    both(
        w.effective && w.inherited == Some(true),
        w.domain.is_some(),
        useless,
        w,
    )
}

/// An assignment in the answer, with what it came from.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Shown {
    what: Assignment,
    /// The stored assignment behind it.
    origin: Assignment,
    /// The role that implies this one.
    prior: Option<String>,
}

/// Everything that names and trees are looked up in.
struct Records {
    projects: HashMap<String, Project>,
    members: HashMap<String, Vec<String>>,
}

impl Records {
    fn below(&self, id: &str) -> Vec<&Project> {
        let mut all = Vec::new();
        let mut open = vec![id];
        while let Some(next) = open.pop() {
            for child in self
                .projects
                .values()
                .filter(|p| p.parent_id.as_deref() == Some(next))
            {
                open.push(&child.id);
                all.push(child);
            }
        }
        all
    }

    fn domain_of<'a>(&'a self, a: &'a Assignment) -> Option<&'a str> {
        match a.target_kind {
            TargetKind::Domain => Some(&a.target_id),
            TargetKind::Project => self.projects.get(&a.target_id)?.domain_id.as_deref(),
            TargetKind::System => None,
        }
    }
}

/// What takes effect of one stored assignment: groups become their members,
/// inherited ones what they reach, roles what they imply.
fn expand(stored: &Assignment, records: &Records, graph: &RoleGraph, out: &mut BTreeSet<Shown>) {
    let users = match stored.actor_kind {
        ActorKind::User => vec![stored.actor_id.clone()],
        ActorKind::Group => records.members.get(&stored.actor_id).cloned().unwrap_or_default(),
    };
    let targets: Vec<(TargetKind, String)> = if stored.inherited {
        let reached = records.below(&stored.target_id);
        reached
            .into_iter()
            .map(|p| (TargetKind::Project, p.id.clone()))
            .collect()
    } else {
        vec![(stored.target_kind, stored.target_id.clone())]
    };
    for role in graph.effective([&stored.role_id]) {
        for user in &users {
            for (kind, target) in &targets {
                let what = Assignment {
                    actor_kind: ActorKind::User,
                    actor_id: user.clone(),
                    target_kind: *kind,
                    target_id: target.clone(),
                    role_id: role.id.clone(),
                    inherited: false,
                };
                let prior = (role.id != stored.role_id).then(|| stored.role_id.clone());
                out.insert(Shown {
                    what,
                    origin: stored.clone(),
                    prior,
                });
            }
        }
    }
}

fn fits(w: &Wanted<'_>, s: &Shown, tree: &[String]) -> bool {
    let a = &s.what;
    let is = |kind| a.target_kind == kind;
    let inherited = if w.effective {
        s.origin.inherited
    } else {
        a.inherited
    };
    w.user
        .is_none_or(|id| a.actor_kind == ActorKind::User && a.actor_id == id)
        && w.group
            .is_none_or(|id| a.actor_kind == ActorKind::Group && a.actor_id == id)
        && w.role.is_none_or(|id| a.role_id == id)
        && w.domain
            .is_none_or(|id| is(TargetKind::Domain) && a.target_id == id)
        && (w.project.is_none() || (is(TargetKind::Project) && tree.contains(&a.target_id)))
        && (!w.system || is(TargetKind::System))
        && w.inherited.is_none_or(|wanted| wanted == inherited)
}

/// `GET /v3/role_assignments`.
pub(crate) async fn list(ask: Ask) -> Reply {
    ask.caller()?;
    let w = wanted(&ask)?;
    let mine = projects::listing_domain(&ask)?;
    let mut q = ask.app.state.reader();
    if w.subtree {
        let Some(id) = w.project else {
            return Err(Fault::BadRequest(
                "scope.project.id must be specified if include_subtree is also specified".into(),
            ));
        };
        let root = project::get(&mut q, id).await?;
        let domain = root.as_ref().and_then(|p| p.domain_id.clone());
        ask.enforce(
            "identity:list_role_assignments_for_tree",
            json!({"domain_id": domain}),
        )?;
        root.ok_or_else(|| Fault::not_found("project", id))?;
    } else {
        ask.enforce("identity:list_role_assignments", json!({"domain_id": mine}))?;
    }
    let mut all = project::list(&mut q, true, None, None).await?;
    all.extend(project::list(&mut q, false, None, None).await?);
    let mut members: HashMap<String, Vec<String>> = HashMap::new();
    for (group, user) in group::memberships(&mut q).await? {
        members.entry(group).or_default().push(user);
    }
    let records = Records {
        projects: all.into_iter().map(|p| (p.id.clone(), p)).collect(),
        members,
    };
    let graph = ask.app.roles.graph().await?;
    let mut shown = BTreeSet::new();
    for stored in assignment::list(&mut q, None, None, None).await? {
        if w.effective {
            expand(&stored, &records, &graph, &mut shown);
        } else {
            shown.insert(Shown {
                what: stored.clone(),
                origin: stored,
                prior: None,
            });
        }
    }
    let mut tree: Vec<String> = w.project.iter().map(|id| (*id).to_owned()).collect();
    if let (true, Some(id)) = (w.subtree, w.project) {
        tree.extend(records.below(id).into_iter().map(|p| p.id.clone()));
    }
    shown.retain(|s| fits(&w, s, &tree));
    shown.retain(|s| mine.is_none() || records.domain_of(&s.what) == mine.as_deref());
    let names = if ask.flag("include_names") {
        Some(Names::load(&ask).await?)
    } else {
        None
    };
    let items = shown
        .iter()
        .map(|s| entity(&ask, s, &records, &graph, names.as_ref()))
        .collect();
    reply::list(&ask, "role_assignments", items, &[])
}

/// Names and domains of users and groups, by id.
struct Names(HashMap<String, (String, String)>);

impl Names {
    async fn load(ask: &Ask) -> Result<Self, Fault> {
        let mut q = ask.app.state.reader();
        let mut names = HashMap::new();
        for u in user::list(&mut q, None, None, None).await? {
            names.insert(u.id, (u.name, u.domain_id));
        }
        for g in group::list(&mut q, None, None, None).await? {
            names.insert(g.id, (g.name, g.domain_id));
        }
        Ok(Self(names))
    }
}

fn link(a: &Assignment) -> String {
    let actor = format!("{}s/{}/roles/{}", a.actor_kind.word(), a.actor_id, a.role_id);
    match (a.target_kind, a.inherited) {
        (TargetKind::System, _) => format!("/v3/system/{actor}"),
        (kind, false) => format!("/v3/{}s/{}/{actor}", kind.word(), a.target_id),
        (kind, true) => format!(
            "/v3/OS-INHERIT/{}s/{}/{actor}/inherited_to_projects",
            kind.word(),
            a.target_id
        ),
    }
}

fn entity(ask: &Ask, s: &Shown, records: &Records, graph: &RoleGraph, names: Option<&Names>) -> Value {
    let a = &s.what;
    let domain = |id: &str| {
        let name = records.projects.get(id).map(|d| d.name.clone());
        json!({"id": id, "name": name})
    };
    let mut role = json!({"id": a.role_id});
    let mut actor = json!({"id": a.actor_id});
    let mut target = json!({"id": a.target_id});
    if let Some(names) = names {
        if let Some(r) = graph.role(&a.role_id) {
            role["name"] = json!(r.name);
            if let Some(id) = &r.domain_id {
                role["domain"] = domain(id);
            }
        }
        if let Some((name, domain_id)) = names.0.get(&a.actor_id) {
            actor["name"] = json!(name);
            actor["domain"] = domain(domain_id);
        }
        if let Some(p) = records.projects.get(&a.target_id) {
            target["name"] = json!(p.name);
            if let Some(id) = &p.domain_id {
                target["domain"] = domain(id);
            }
        }
    }
    let mut scope = match a.target_kind {
        TargetKind::System => json!({"system": {"all": true}}),
        kind => json!({kind.word(): target}),
    };
    if s.origin.inherited {
        scope["OS-INHERIT:inherited_to"] = json!("projects");
    }
    let mut links = json!({"assignment": ask.url(&link(&s.origin))});
    if s.origin.actor_kind == ActorKind::Group && a.actor_kind == ActorKind::User {
        links["membership"] =
            json!(ask.url(&format!("/v3/groups/{}/users/{}", s.origin.actor_id, a.actor_id)));
    }
    if let Some(prior) = &s.prior {
        links["prior_role"] = json!(ask.url(&format!("/v3/prior_role/{prior}/implies/{}", a.role_id)));
    }
    json!({"role": role, a.actor_kind.word(): actor, "scope": scope, "links": links})
}
