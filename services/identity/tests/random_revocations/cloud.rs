//! The real thing beside the model: every change is asked of the API, and told
//! to the model if the API made it.
use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::bench::chance::Chance;
use crate::bench::{Answer, Bench, bench};
use crate::model::{Actor, Delegation, Model, Place, Project, Role, Token, User};

const USERS: usize = 3;
const GROUPS: usize = 2;
const PROJECTS: usize = 3;
/// The last two are the domain's.
const ROLES: usize = 5;

/// The cloud, by the model's numbers.
pub struct Cloud {
    pub b: Bench,
    pub model: Model,
    admin: String,
    chance: Chance,
    domain: String,
    users: Vec<String>,
    groups: Vec<String>,
    projects: Vec<String>,
    roles: Vec<String>,
    delegations: Vec<String>,
    /// What was done, for the report of a failure.
    pub done: Vec<String>,
}

fn password(version: usize) -> String {
    format!("password {version}")
}

impl Cloud {
    pub async fn new(seed: u64) -> Self {
        let b = bench().await;
        let admin = b.admin().await;
        let domain = json!({"domain": {"name": "d"}});
        let domain = b.call("POST", "/v3/domains", &admin, domain).await;
        let mut cloud = Self {
            domain: domain.expect(201).id("domain"),
            b,
            admin,
            model: Model::default(),
            chance: Chance::new(seed),
            users: Vec::new(),
            groups: Vec::new(),
            projects: Vec::new(),
            roles: Vec::new(),
            delegations: Vec::new(),
            done: Vec::new(),
        };
        cloud.fill().await;
        cloud
    }

    async fn make(&self, plural: &str, kind: &str, body: Value) -> String {
        let path = format!("/v3/{plural}");
        let made = self.b.call("POST", &path, &self.admin, json!({kind: body})).await;
        made.expect(201).id(kind)
    }

    async fn fill(&mut self) {
        let domain = self.domain.clone();
        for n in 0..USERS {
            let body = json!({"name": format!("u{n}"), "password": password(0), "domain_id": domain});
            self.users.push(self.make("users", "user", body).await);
            self.model.users.push(User {
                there: true,
                on: true,
                password: 0,
            });
        }
        for n in 0..GROUPS {
            let body = json!({"name": format!("g{n}"), "domain_id": domain});
            self.groups.push(self.make("groups", "group", body).await);
        }
        for n in 0..PROJECTS {
            let parent = Some(self.chance.below(n + 1)).filter(|p| *p < n);
            let above = parent.map_or(domain.clone(), |p| self.projects[p].clone());
            let body = json!({"name": format!("p{n}"), "parent_id": above, "domain_id": domain});
            self.projects.push(self.make("projects", "project", body).await);
            self.model.projects.push(Project {
                parent,
                there: true,
                on: true,
            });
        }
        for n in 0..ROLES {
            let (name, of_domain) = (format!("r{n}"), n + 2 >= ROLES);
            let body = match of_domain {
                true => json!({"name": name, "domain_id": domain}),
                false => json!({"name": name}),
            };
            self.roles.push(self.make("roles", "role", body).await);
            self.model.roles.push(Role {
                there: true,
                name,
                of_domain,
            });
        }
        for _ in 0..24 {
            self.give().await;
        }
    }

    /// Asks for a change; whether it was made. One that cannot be made is
    /// refused, and not as somebody unknown.
    async fn change(&mut self, method: &str, path: &str, body: Value) -> bool {
        self.b.clock.advance(Duration::from_millis(1));
        let answer = self.b.call(method, path, &self.admin, body.clone()).await;
        let status = answer.status.as_u16();
        assert!(status < 500 && status != 401, "{method} {path}: {}", answer.text);
        self.done.push(format!("{status} {method} {path} {body}"));
        answer.status.is_success()
    }

    fn place(&mut self) -> Place {
        match self.chance.below(PROJECTS + 2) {
            PROJECTS => Place::Domain,
            p if p < PROJECTS => Place::Project(p),
            _ => Place::System,
        }
    }

    fn grant_path(&self, (actor, place, role, inherited): &(Actor, Place, usize, bool)) -> String {
        let actor = match actor {
            Actor::User(u) => format!("users/{}", self.users[*u]),
            Actor::Group(g) => format!("groups/{}", self.groups[*g]),
        };
        let place = match place {
            Place::Project(p) => format!("projects/{}", self.projects[*p]),
            Place::Domain => format!("domains/{}", self.domain),
            Place::System => "system".to_owned(),
        };
        let role = &self.roles[*role];
        match inherited {
            true => format!("/v3/OS-INHERIT/{place}/{actor}/roles/{role}/inherited_to_projects"),
            false => format!("/v3/{place}/{actor}/roles/{role}"),
        }
    }

    /// Something that gives more than there was.
    async fn give(&mut self) {
        match self.chance.below(4) {
            0 => {
                let (group, user) = (self.chance.below(GROUPS), self.chance.below(USERS));
                let path = format!("/v3/groups/{}/users/{}", self.groups[group], self.users[user]);
                if self.change("PUT", &path, Value::Null).await {
                    self.model.members.insert((group, user));
                }
            }
            1 => {
                let (prior, then) = (self.chance.below(ROLES), self.chance.below(ROLES));
                let path = format!("/v3/roles/{}/implies/{}", self.roles[prior], self.roles[then]);
                if self.change("PUT", &path, Value::Null).await {
                    self.model.implied.insert((prior, then));
                }
            }
            _ => {
                let actor = match self.chance.below(2) {
                    0 => Actor::User(self.chance.below(USERS)),
                    _ => Actor::Group(self.chance.below(GROUPS)),
                };
                let place = self.place();
                let inherited = place != Place::System && self.chance.one_in(3);
                let grant = (actor, place, self.chance.below(ROLES), inherited);
                if self.change("PUT", &self.grant_path(&grant), Value::Null).await {
                    self.model.given.insert(grant);
                }
            }
        }
    }

    /// Something that takes what there was, or puts it back.
    async fn take(&mut self) {
        match self.chance.below(12) {
            0..3 => self.take_grant().await,
            3 => self.take_membership().await,
            4 => self.take_implication().await,
            5 => self.switch_user().await,
            6 => self.switch_project().await,
            7 => self.switch_domain().await,
            8 => self.set_password().await,
            9 => self.take_delegation().await,
            10 => self.revoke_token().await,
            _ => self.delete_or_rename().await,
        }
    }

    async fn take_grant(&mut self) {
        let all: Vec<_> = self.model.given.iter().copied().collect();
        if all.is_empty() {
            return;
        }
        let grant = *self.chance.of(&all);
        if self.change("DELETE", &self.grant_path(&grant), Value::Null).await {
            self.model.given.remove(&grant);
        }
    }

    async fn take_membership(&mut self) {
        let all: Vec<_> = self.model.members.iter().copied().collect();
        if all.is_empty() {
            return;
        }
        let (group, user) = *self.chance.of(&all);
        let path = format!("/v3/groups/{}/users/{}", self.groups[group], self.users[user]);
        if self.change("DELETE", &path, Value::Null).await {
            self.model.members.remove(&(group, user));
        }
    }

    async fn take_implication(&mut self) {
        let all: Vec<_> = self.model.implied.iter().copied().collect();
        if all.is_empty() {
            return;
        }
        let (prior, then) = *self.chance.of(&all);
        let path = format!("/v3/roles/{}/implies/{}", self.roles[prior], self.roles[then]);
        if self.change("DELETE", &path, Value::Null).await {
            self.model.implied.remove(&(prior, then));
        }
    }

    async fn switch_user(&mut self) {
        let user = self.chance.below(USERS);
        let on = !self.model.users[user].on;
        let path = format!("/v3/users/{}", self.users[user]);
        if self
            .change("PATCH", &path, json!({"user": {"enabled": on}}))
            .await
        {
            self.model.users[user].on = on;
        }
    }

    async fn switch_project(&mut self) {
        let project = self.chance.below(PROJECTS);
        let on = !self.model.projects[project].on;
        let path = format!("/v3/projects/{}", self.projects[project]);
        let body = json!({"project": {"enabled": on}});
        if self.change("PATCH", &path, body).await {
            self.model.projects[project].on = on;
        }
    }

    async fn switch_domain(&mut self) {
        // Off everything is off, so it is on soon again.
        for off in [true, false] {
            let body = json!({"domain": {"enabled": !off}});
            let path = format!("/v3/domains/{}", self.domain);
            assert!(self.change("PATCH", &path, body).await);
            self.model.domain_off = off;
            self.model.end_tokens("the domain was disabled");
            self.check().await;
        }
    }

    async fn set_password(&mut self) {
        let user = self.chance.below(USERS);
        let old = self.model.users[user].password;
        let (old, new) = (password(old), password(old + 1));
        let id = self.users[user].clone();
        let done = match self.chance.one_in(2) {
            true => {
                let body = json!({"user": {"password": new}});
                self.change("PATCH", &format!("/v3/users/{id}"), body).await
            }
            false => {
                let body = json!({"user": {"password": new, "original_password": old}});
                let path = format!("/v3/users/{id}/password");
                let answer = self.b.call("POST", &path, "", body).await;
                self.done.push(format!("{} POST {path}", answer.status));
                answer.status.is_success()
            }
        };
        if done {
            self.model.users[user].password += 1;
        }
    }

    async fn take_delegation(&mut self) {
        if self.delegations.is_empty() {
            return;
        }
        let number = self.chance.below(self.delegations.len());
        let (id, by) = (&self.delegations[number], &self.model.delegations[number]);
        let path = match by.taker {
            Some(_) => format!("/v3/OS-TRUST/trusts/{id}"),
            None => format!("/v3/users/{}/application_credentials/{id}", self.users[by.giver]),
        };
        // Their owners may, and the administrator of the cloud.
        if self.change("DELETE", &path, Value::Null).await {
            self.model.delegations[number].there = false;
        }
    }

    async fn revoke_token(&mut self) {
        let good: Vec<usize> = (0..self.model.tokens.len())
            .filter(|n| self.model.tokens[*n].ended.is_none())
            .collect();
        if good.is_empty() {
            return;
        }
        let number = *self.chance.of(&good);
        self.b.clock.advance(Duration::from_millis(1));
        let text = self.model.tokens[number].text.clone();
        let answer = self.b.about("DELETE", "", &self.admin, &text).await;
        self.done.push(format!("{} DELETE token {number}", answer.status));
        if answer.status.is_success() {
            self.model.tokens[number].ended = Some("it was revoked".to_owned());
        }
    }

    async fn delete_or_rename(&mut self) {
        match self.chance.below(8) {
            0 => {
                let user = self.chance.below(USERS);
                let path = format!("/v3/users/{}", self.users[user]);
                if self.change("DELETE", &path, Value::Null).await {
                    self.model.users[user].there = false;
                    let of_user = |d: &Delegation| d.giver == user || d.taker == Some(user);
                    for by in self.model.delegations.iter_mut().filter(|d| of_user(d)) {
                        by.there = false;
                    }
                }
            }
            1 => {
                let group = self.chance.below(GROUPS);
                let path = format!("/v3/groups/{}", self.groups[group]);
                if self.change("DELETE", &path, Value::Null).await {
                    self.model.members.retain(|(g, _)| *g != group);
                    self.model
                        .given
                        .retain(|(actor, ..)| *actor != Actor::Group(group));
                }
            }
            2 => {
                let project = self.chance.below(PROJECTS);
                let path = format!("/v3/projects/{}", self.projects[project]);
                if self.change("DELETE", &path, Value::Null).await {
                    self.model.projects[project].there = false;
                    self.model
                        .given
                        .retain(|(_, place, ..)| *place != Place::Project(project));
                }
            }
            3 => {
                let role = self.chance.below(ROLES);
                let path = format!("/v3/roles/{}", self.roles[role]);
                if self.change("DELETE", &path, Value::Null).await {
                    self.model.roles[role].there = false;
                    self.model.given.retain(|(_, _, r, _)| *r != role);
                    self.model.implied.retain(|(a, b)| *a != role && *b != role);
                }
            }
            _ => {
                let role = self.chance.below(ROLES);
                let path = format!("/v3/roles/{}", self.roles[role]);
                let name = format!("renamed {}", self.done.len());
                if self.change("PATCH", &path, json!({"role": {"name": name}})).await {
                    self.model.roles[role].name = name;
                }
            }
        }
    }

    /// The body that asks for a token, and how the model knows the token.
    fn way(&mut self) -> (Value, Token) {
        let user = self.chance.below(USERS);
        let version = self.model.users[user].password;
        let shown = json!({"id": self.users[user], "password": password(version)});
        let mut token = Token {
            text: String::new(),
            user,
            password: Some(version),
            place: None,
            delegation: None,
            roles: BTreeSet::new(),
            ended: None,
        };
        let by_password = json!({"methods": ["password"], "password": {"user": shown}});
        let earlier: Vec<Token> = self
            .model
            .tokens
            .iter()
            .filter(|t| t.ended.is_none())
            .cloned()
            .collect();
        if !earlier.is_empty() && self.chance.one_in(4) {
            let first = self.chance.of(&earlier).clone();
            (token.user, token.password) = (first.user, first.password);
            let identity = json!({"methods": ["token"], "token": {"id": first.text}});
            let place = self.place();
            token.place = Some(place);
            return (
                json!({"auth": {"identity": identity, "scope": self.scope(place)}}),
                token,
            );
        }
        let delegations: Vec<usize> = (0..self.delegations.len())
            .filter(|n| self.model.delegations[*n].there || *n % 3 == 0)
            .collect();
        if !delegations.is_empty() && self.chance.one_in(3) {
            let number = *self.chance.of(&delegations);
            let (id, by) = (&self.delegations[number], &self.model.delegations[number]);
            token.delegation = Some(number);
            token.place = Some(Place::Project(by.project));
            let Some(taker) = by.taker else {
                (token.user, token.password) = (by.giver, None);
                let shown = json!({"id": id, "secret": "s"});
                let identity =
                    json!({"methods": ["application_credential"], "application_credential": shown});
                return (json!({"auth": {"identity": identity}}), token);
            };
            let version = self.model.users[taker].password;
            (token.user, token.password) = (taker, Some(version));
            let shown = json!({"id": self.users[taker], "password": password(version)});
            let identity = json!({"methods": ["password"], "password": {"user": shown}});
            let scope = json!({"OS-TRUST:trust": {"id": id}});
            return (json!({"auth": {"identity": identity, "scope": scope}}), token);
        }
        if self.chance.one_in(8) {
            let auth = json!({"identity": by_password, "scope": "unscoped"});
            return (json!({"auth": auth}), token);
        }
        let place = self.place();
        token.place = Some(place);
        let auth = json!({"identity": by_password, "scope": self.scope(place)});
        (json!({"auth": auth}), token)
    }

    fn scope(&self, place: Place) -> Value {
        match place {
            Place::Project(p) => json!({"project": {"id": self.projects[p]}}),
            Place::Domain => json!({"domain": {"id": self.domain}}),
            Place::System => json!({"system": {"all": true}}),
        }
    }

    /// Somebody signs in. What a new token carries is what the model says, and
    /// nobody gets one who should not.
    async fn sign_in(&mut self) {
        let (body, mut token) = self.way();
        self.b.clock.advance(Duration::from_millis(1));
        let answer = self.b.authenticate(body.clone()).await;
        let status = answer.status.as_u16();
        self.done.push(format!("{status} sign in: {body}"));
        if status != 201 {
            assert!([401, 403, 404].contains(&status), "{}", answer.text);
            return;
        }
        token.text = answer.headers["x-subject-token"].to_str().unwrap().to_owned();
        token.roles = roles_of(&answer);
        let left = self.model.leaves(&token);
        let context = || format!("{token:?}\n{:#?}\n{}", self.model, self.done.join("\n"));
        match token.delegation {
            // Such a thing may have ended with a role that came back since.
            Some(_) => assert!(left.is_some_and(|l| token.roles.is_subset(&l)), "{}", context()),
            None => assert_eq!(left.as_ref(), Some(&token.roles), "{}", context()),
        }
        let caller = self.b.identity.verifier().verify(&token.text).await;
        assert!(caller.is_ok(), "a new token is refused: {}", context());
        self.delegate(&token).await;
        self.model.tokens.push(token);
    }

    /// With some of the tokens a trust or an application credential is made.
    async fn delegate(&mut self, token: &Token) {
        let (Some(Place::Project(project)), None) = (token.place, token.delegation) else {
            return;
        };
        if token.roles.is_empty() || !self.chance.one_in(3) {
            return;
        }
        let mut roles = BTreeSet::new();
        for (n, role) in self.model.roles.iter().enumerate() {
            if token.roles.contains(&role.name) && (roles.is_empty() || self.chance.one_in(2)) {
                roles.insert(n);
            }
        }
        let named: Vec<Value> = roles.iter().map(|r| json!({"id": self.roles[*r]})).collect();
        let giver = token.user;
        let taker = match self.chance.one_in(2) {
            true => Some(self.chance.below(USERS)),
            false => None,
        };
        let (key, path, body) = match taker {
            Some(taker) => (
                "trust",
                "/v3/OS-TRUST/trusts".to_owned(),
                json!({"trustor_user_id": self.users[giver], "trustee_user_id": self.users[taker],
                    "project_id": self.projects[project], "impersonation": self.chance.one_in(2), "roles": named}),
            ),
            None => (
                "application_credential",
                format!("/v3/users/{}/application_credentials", self.users[giver]),
                json!({"name": format!("c{}", self.delegations.len()), "secret": "s", "roles": named}),
            ),
        };
        let answer = self
            .b
            .call("POST", &path, &token.text, json!({key: body.clone()}))
            .await;
        self.done.push(format!("{} POST {path} {body}", answer.status));
        if answer.status == 201 {
            // A credential has what its roles imply when it is made.
            if taker.is_none() {
                roles = self.model.expand(roles);
            }
            self.delegations.push(answer.id(key));
            self.model.delegations.push(Delegation {
                giver,
                taker,
                project,
                roles,
                there: true,
            });
        }
    }

    /// Everything at once: tokens, a change, and what is left of the tokens.
    pub async fn step(&mut self) {
        for _ in 0..3 {
            self.sign_in().await;
        }
        match self.chance.one_in(3) {
            true => self.give().await,
            false => self.take().await,
        }
        let last = self.done.last().cloned().unwrap_or_default();
        self.model.end_tokens(&last);
        self.check().await;
    }

    /// No token that the model has ended is good.
    async fn check(&self) {
        let verifier = self.b.identity.verifier();
        for token in &self.model.tokens {
            let good = verifier.verify(&token.text).await.is_ok();
            let ended = token.ended.as_ref();
            assert!(
                !(good && ended.is_some()),
                "{token:?} is still good\n{}",
                self.done.join("\n")
            );
        }
    }

    /// Services that ask, and a new process on the same records, say the same of
    /// every token.
    pub async fn check_others(&self) {
        let again = self.b.restarted(&crate::bench::plan()).await;
        for token in &self.model.tokens {
            let here = self.b.identity.verifier().verify(&token.text).await.is_ok();
            let there = again.identity.verifier().verify(&token.text).await.is_ok();
            assert_eq!(
                here,
                there,
                "in a new process: {token:?}\n{}",
                self.done.join("\n")
            );
            let told = self.b.about("GET", "", &self.admin, &token.text).await;
            assert_eq!(
                here,
                told.status == 200,
                "asked: {} {token:?}\n{}",
                told.text,
                self.done.join("\n")
            );
        }
    }
}

fn roles_of(answer: &Answer) -> BTreeSet<String> {
    let body = answer.json();
    let roles = body["token"]["roles"].as_array().into_iter().flatten();
    roles
        .filter_map(|r| r["name"].as_str())
        .map(str::to_owned)
        .collect()
}
