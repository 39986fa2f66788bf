//! What tokens stand on, as simply as it can be said: sets, and every question
//! answered by looking at all of them.
use std::collections::BTreeSet;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Actor {
    User(usize),
    Group(usize),
}

/// Where roles are held. All projects are in the one domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    Project(usize),
    Domain,
    System,
}

#[derive(Debug, Clone)]
pub struct User {
    pub there: bool,
    pub on: bool,
    /// How often the password was set.
    pub password: usize,
}

#[derive(Debug, Clone)]
pub struct Project {
    /// The project right above; `None` right below the domain.
    pub parent: Option<usize>,
    pub there: bool,
    pub on: bool,
}

#[derive(Debug, Clone)]
pub struct Role {
    pub there: bool,
    pub name: String,
    /// Whether it is the domain's: tokens carry what it implies.
    pub of_domain: bool,
}

/// A trust or an application credential: some roles of a user on a project.
#[derive(Debug, Clone)]
pub struct Delegation {
    pub giver: usize,
    /// Who may use a trust.
    pub taker: Option<usize>,
    pub project: usize,
    pub roles: BTreeSet<usize>,
    pub there: bool,
}

/// A token, as the client got it.
#[derive(Debug, Clone)]
pub struct Token {
    pub text: String,
    /// Who signed in.
    pub user: usize,
    /// How often the user's password was set then; `None` if none was shown.
    pub password: Option<usize>,
    pub place: Option<Place>,
    /// By number.
    pub delegation: Option<usize>,
    /// Names of the roles that it carries.
    pub roles: BTreeSet<String>,
    /// Whether it has ended, and after what.
    pub ended: Option<String>,
}

#[derive(Debug, Default)]
pub struct Model {
    pub domain_off: bool,
    pub users: Vec<User>,
    pub projects: Vec<Project>,
    pub roles: Vec<Role>,
    pub members: BTreeSet<(usize, usize)>,
    pub implied: BTreeSet<(usize, usize)>,
    /// Who, where, which role, whether it is for what lies below.
    pub given: BTreeSet<(Actor, Place, usize, bool)>,
    pub delegations: Vec<Delegation>,
    pub tokens: Vec<Token>,
}

impl Model {
    fn above(&self, project: usize) -> Vec<Place> {
        let mut chain = Vec::new();
        let mut at = self.projects[project].parent;
        while let Some(p) = at {
            chain.push(Place::Project(p));
            at = self.projects[p].parent;
        }
        chain.push(Place::Domain);
        chain
    }

    /// Roles with all that they imply.
    pub fn expand(&self, mut roles: BTreeSet<usize>) -> BTreeSet<usize> {
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

    /// The roles of a user on a place, implied ones included.
    pub fn held(&self, user: usize, place: Place) -> BTreeSet<usize> {
        let is_user = |actor: &Actor| match actor {
            Actor::User(u) => *u == user,
            Actor::Group(g) => self.members.contains(&(*g, user)),
        };
        let reaches = |at: Place, inherited: bool| match (place, inherited) {
            (_, false) => at == place,
            (Place::Project(p), true) => self.above(p).contains(&at),
            (Place::Domain | Place::System, true) => false,
        };
        let found = self.given.iter();
        let found = found.filter(|(actor, at, _, inherited)| is_user(actor) && reaches(*at, *inherited));
        self.expand(found.map(|(_, _, role, _)| *role).collect())
    }

    /// Names of those roles that tokens carry.
    pub fn names(&self, roles: &BTreeSet<usize>) -> BTreeSet<String> {
        let roles = roles.iter().map(|r| &self.roles[*r]);
        let shown = roles.filter(|r| r.there && !r.of_domain);
        shown.map(|r| r.name.clone()).collect()
    }

    fn is_live_user(&self, user: usize) -> bool {
        !self.domain_off && self.users[user].there && self.users[user].on
    }

    fn is_live_place(&self, place: Place) -> bool {
        match place {
            Place::Project(p) => !self.domain_off && self.projects[p].there && self.projects[p].on,
            Place::Domain => !self.domain_off,
            Place::System => true,
        }
    }

    /// Names of the roles that a token may carry now; `None` if it may not be
    /// good at all.
    pub fn leaves(&self, token: &Token) -> Option<BTreeSet<String>> {
        let of_password = |version: usize| version == self.users[token.user].password;
        if !self.is_live_user(token.user) || !token.password.is_none_or(of_password) {
            return None;
        }
        let Some(place) = token.place else {
            return Some(BTreeSet::new());
        };
        if !self.is_live_place(place) {
            return None;
        }
        let Some(number) = token.delegation else {
            return Some(self.names(&self.held(token.user, place)));
        };
        let by = &self.delegations[number];
        if !by.there || !self.is_live_user(by.giver) {
            return None;
        }
        let held = self.held(by.giver, place);
        let mut carried = by.roles.clone();
        carried.retain(|role| self.roles[*role].there);
        if by.taker.is_none() {
            // What is left of it counts.
            carried.retain(|role| held.contains(role));
            return Some(self.names(&carried));
        }
        let carried = self.expand(carried);
        carried.is_subset(&held).then(|| self.names(&carried))
    }

    /// Ends tokens that stand on nothing any more, or carry what is gone. What
    /// has ended stays so, whatever is given back later.
    pub fn end_tokens(&mut self, after: &str) {
        let lost: Vec<bool> = self
            .tokens
            .iter()
            .map(|token| {
                !self
                    .leaves(token)
                    .is_some_and(|left| token.roles.is_subset(&left))
            })
            .collect();
        for (token, lost) in self.tokens.iter_mut().zip(lost) {
            if lost && token.ended.is_none() {
                token.ended = Some(after.to_owned());
            }
        }
    }
}
