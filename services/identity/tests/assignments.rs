//! Who has which role where: random clouds against a naive model that knows
//! groups, inheritance and implication.
#![allow(clippy::unwrap_used, reason = "a failed test should panic")]
mod bench;

use std::collections::{BTreeMap, BTreeSet};

use bench::chance::{Chance, seeds};
use bench::{Bench, bench, by_password};
use serde_json::{Value, json};

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Actor {
    User(usize),
    Group(usize),
}

/// Where: a project, or the domain all of them are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Project(usize),
    Domain,
}

/// The naive model, by numbers of things.
#[derive(Debug, Default)]
struct Model {
    /// The project right above; `None` right below the domain.
    parents: Vec<Option<usize>>,
    members: BTreeSet<(usize, usize)>,
    implied: BTreeSet<(usize, usize)>,
    /// Who, where, which role, whether it is for what lies below.
    given: BTreeSet<(Actor, Place, usize, bool)>,
}

impl Model {
    fn above(&self, project: usize) -> Vec<Place> {
        let mut chain = Vec::new();
        let mut at = self.parents[project];
        while let Some(p) = at {
            chain.push(Place::Project(p));
            at = self.parents[p];
        }
        chain.push(Place::Domain);
        chain
    }

    fn roles(&self, user: usize, place: Place) -> BTreeSet<usize> {
        let is_user = |actor: &Actor| match actor {
            Actor::User(u) => *u == user,
            Actor::Group(g) => self.members.contains(&(*g, user)),
        };
        let reaches = |at: Place, inherited: bool| match (place, inherited) {
            (_, false) => at == place,
            (Place::Project(p), true) => self.above(p).contains(&at),
            (Place::Domain, true) => false,
        };
        let mut roles: BTreeSet<usize> = self
            .given
            .iter()
            .filter(|(actor, at, _, inherited)| is_user(actor) && reaches(*at, *inherited))
            .map(|(_, _, role, _)| *role)
            .collect();
        loop {
            let more: Vec<usize> = self
                .implied
                .iter()
                .filter(|(prior, then)| roles.contains(prior) && !roles.contains(then))
                .map(|(_, then)| *then)
                .collect();
            if more.is_empty() {
                return roles;
            }
            roles.extend(more);
        }
    }
}

const USERS: usize = 3;
const GROUPS: usize = 2;
const PROJECTS: usize = 4;
const ROLES: usize = 4;

/// The real thing, by the same numbers.
struct Cloud {
    b: Bench,
    users: Vec<String>,
    groups: Vec<String>,
    projects: Vec<String>,
    roles: Vec<String>,
}

async fn make(b: &Bench, admin: &str, path: &str, key: &str, body: Value) -> String {
    b.call("POST", path, admin, json!({key: body}))
        .await
        .expect(201)
        .id(key)
}

async fn build(chance: &mut Chance, model: &mut Model) -> Cloud {
    let b = bench().await;
    let admin = b.admin().await;
    let (mut users, mut groups, mut roles) = (vec![], vec![], vec![]);
    let mut projects: Vec<String> = vec![];
    for n in 0..USERS {
        users.push(b.new_user(&format!("u{n}")).await);
    }
    for n in 0..GROUPS {
        groups.push(
            make(
                &b,
                &admin,
                "/v3/groups",
                "group",
                json!({"name": format!("g{n}")}),
            )
            .await,
        );
        for (m, user) in users.iter().enumerate() {
            if chance.below(2) == 0 {
                model.members.insert((n, m));
                let path = format!("/v3/groups/{}/users/{user}", groups[n]);
                b.call("PUT", &path, &admin, Value::Null).await.expect(204);
            }
        }
    }
    for n in 0..PROJECTS {
        let parent = Some(chance.below(n + 1)).filter(|p| *p < n);
        let above = parent.map_or("default".to_owned(), |p: usize| projects[p].clone());
        let body = json!({"name": format!("p{n}"), "parent_id": above});
        // A chain of four lies within the depth that is allowed.
        projects.push(make(&b, &admin, "/v3/projects", "project", body).await);
        model.parents.push(parent);
    }
    for n in 0..ROLES {
        roles.push(make(&b, &admin, "/v3/roles", "role", json!({"name": format!("r{n}")})).await);
    }
    for prior in 0..ROLES {
        for then in prior + 1..ROLES {
            if chance.below(4) == 0 {
                model.implied.insert((prior, then));
                let path = format!("/v3/roles/{}/implies/{}", roles[prior], roles[then]);
                b.call("PUT", &path, &admin, Value::Null).await.expect(201);
            }
        }
    }
    Cloud {
        b,
        users,
        groups,
        projects,
        roles,
    }
}

impl Cloud {
    fn grant_path(&self, grant: &(Actor, Place, usize, bool)) -> String {
        let (actor, place, role, inherited) = grant;
        let actor = match actor {
            Actor::User(u) => format!("users/{}", self.users[*u]),
            Actor::Group(g) => format!("groups/{}", self.groups[*g]),
        };
        let place = match place {
            Place::Project(p) => format!("projects/{}", self.projects[*p]),
            Place::Domain => "domains/default".to_owned(),
        };
        let role = &self.roles[*role];
        if *inherited {
            format!("/v3/OS-INHERIT/{place}/{actor}/roles/{role}/inherited_to_projects")
        } else {
            format!("/v3/{place}/{actor}/roles/{role}")
        }
    }

    /// Compares every user on every place: what a token carries, and what the
    /// list of effective assignments says.
    async fn compare(&self, model: &Model, seed: u64) {
        let admin = self.b.admin().await;
        let places = (0..PROJECTS).map(Place::Project).chain([Place::Domain]);
        for place in places {
            let (scope, filter) = match place {
                Place::Project(p) => {
                    let id = &self.projects[p];
                    (json!({"project": {"id": id}}), format!("scope.project.id={id}"))
                }
                Place::Domain => (
                    json!({"domain": {"id": "default"}}),
                    "scope.domain.id=default".to_owned(),
                ),
            };
            for user in 0..USERS {
                let wanted: BTreeSet<String> =
                    model.roles(user, place).iter().map(|r| format!("r{r}")).collect();
                let context = format!("seed {seed}, user {user} on {place:?} of {model:?}");
                let answer = self
                    .b
                    .authenticate(by_password(&format!("u{user}"), "pw", scope.clone()))
                    .await;
                let held: BTreeSet<String> = if answer.status == 401 {
                    BTreeSet::new()
                } else {
                    let token = answer.headers["x-subject-token"].to_str().unwrap();
                    let caller = self.b.identity.verifier().verify(token).await.unwrap();
                    caller.roles.iter().cloned().collect()
                };
                assert_eq!(held, wanted, "{context}");
                let path = format!(
                    "/v3/role_assignments?effective&include_names&user.id={}&{filter}",
                    self.users[user]
                );
                let listed = self.b.get(&path, &admin).await.expect(200).json();
                let listed: BTreeSet<String> = listed["role_assignments"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|a| a["role"]["name"].as_str().unwrap().to_owned())
                    .collect();
                assert_eq!(listed, wanted, "{context}");
            }
        }
    }
}

async fn one_cloud(seed: u64) {
    let mut chance = Chance::new(seed);
    let mut model = Model::default();
    let cloud = build(&mut chance, &mut model).await;
    let admin = cloud.b.admin().await;
    let random = |chance: &mut Chance| {
        let actor = match chance.below(2) {
            0 => Actor::User(chance.below(USERS)),
            _ => Actor::Group(chance.below(GROUPS)),
        };
        let place = match chance.below(PROJECTS + 1) {
            PROJECTS => Place::Domain,
            p => Place::Project(p),
        };
        (actor, place, chance.below(ROLES), chance.below(2) == 0)
    };
    for _ in 0..8 {
        let grant = random(&mut chance);
        let path = cloud.grant_path(&grant);
        cloud.b.call("PUT", &path, &admin, Value::Null).await.expect(204);
        model.given.insert(grant);
    }
    cloud.compare(&model, seed).await;
    // Some go again: what is left must be what the model says.
    let all: BTreeMap<usize, _> = model.given.iter().cloned().enumerate().collect();
    for (_, grant) in all.into_iter().filter(|(n, _)| n % 2 == 0) {
        let path = cloud.grant_path(&grant);
        cloud
            .b
            .call("DELETE", &path, &admin, Value::Null)
            .await
            .expect(204);
        model.given.remove(&grant);
    }
    cloud.b.advance(1);
    cloud.compare(&model, seed).await;
}

#[tokio::test]
async fn assignments_are_what_a_naive_model_says() {
    for seed in seeds("assignments_are_what_a_naive_model_says", 6, 200) {
        one_cloud(seed).await;
    }
}
