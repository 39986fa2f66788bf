//! The language of bucket policies: who may do what to a bucket and the
//! objects in it, and what a policy says about a request.
//!
//! Pure: [`crate::access`] asks, having put together what is known of the
//! request ([`Facts`]); [`settings`] are the operations that keep policies.
//! Not here: principals other than projects and users, conditions on what no
//! request here has (networks of a cloud provider, organizations, sessions).
mod condition;
mod document;
mod facts;
mod pattern;
mod principal;
pub(crate) mod settings;

use condition::Condition;
use pattern::Pattern;
use principal::Principals;

pub(crate) use document::Place;
pub(crate) use facts::{EXISTING_TAG, Facts};
pub(crate) use principal::Someone;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Allow,
    Deny,
}

#[derive(Clone, Debug)]
struct Statement {
    effect: Effect,
    principals: Principals,
    /// Whether it is about all others.
    not_principal: bool,
    /// In small letters.
    actions: Vec<Pattern>,
    not_action: bool,
    /// `bucket` or `bucket/key`.
    resources: Vec<Pattern>,
    not_resource: bool,
    conditions: Vec<Condition>,
}

/// A policy of a bucket.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    statements: Vec<Statement>,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    /// Who asks; nobody, if the request is not signed.
    pub(crate) who: Option<Someone<'a>>,
    /// "s3:GetObject".
    pub(crate) action: &'a str,
    /// `bucket` or `bucket/key`.
    pub(crate) resource: &'a str,
    /// What else is known of it.
    pub(crate) facts: &'a Facts,
}

/// What a policy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ruling {
    /// A statement allows it, and none denies it.
    Allowed,
    /// A statement denies it.
    Denied,
    /// It says nothing about it.
    Silent,
}

impl Statement {
    fn is_about(&self, question: &Question<'_>) -> bool {
        let lookup = |name: &str| question.facts.single(name);
        let action = question.action.to_ascii_lowercase();
        self.principals.hold(question.who) != self.not_principal
            && self
                .actions
                .iter()
                .any(|pattern| pattern.matches(&action, &lookup))
                != self.not_action
            && self
                .resources
                .iter()
                .any(|pattern| pattern.matches(question.resource, &lookup))
                != self.not_resource
            && self
                .conditions
                .iter()
                .all(|condition| condition.holds(question.facts))
    }

    fn variables(&self) -> impl Iterator<Item = &str> {
        let resources = self.resources.iter().flat_map(Pattern::variables);
        resources.chain(self.conditions.iter().flat_map(Condition::variables))
    }

    /// Whether it lets in people who cannot be told beforehand.
    fn is_public(&self) -> bool {
        let anyone = self.not_principal || self.principals.hold_everyone();
        self.effect == Effect::Allow && anyone && !self.conditions.iter().any(Condition::pins)
    }
}

impl Policy {
    /// One that denies everything to everyone.
    fn closed() -> Self {
        Self {
            statements: vec![Statement {
                effect: Effect::Deny,
                principals: Principals::all(),
                not_principal: false,
                actions: vec![Pattern::any()],
                not_action: false,
                resources: vec![Pattern::any()],
                not_resource: false,
                conditions: Vec::new(),
            }],
        }
    }

    /// What it says about a request: what one statement denies no other allows.
    pub(crate) fn rule(&self, question: &Question<'_>) -> Ruling {
        let mut ruling = Ruling::Silent;
        for statement in &self.statements {
            if statement.is_about(question) {
                match statement.effect {
                    Effect::Deny => return Ruling::Denied,
                    Effect::Allow => ruling = Ruling::Allowed,
                }
            }
        }
        ruling
    }

    /// Whether it opens the bucket to the public.
    pub(crate) fn is_public(&self) -> bool {
        self.statements.iter().any(Statement::is_public)
    }

    /// Whether it keeps anybody from anything.
    pub(crate) fn denies(&self) -> bool {
        let mut all = self.statements.iter();
        all.any(|statement| statement.effect == Effect::Deny)
    }

    /// Whether what it says depends on a key that starts like this.
    pub(crate) fn looks_at(&self, start: &str) -> bool {
        let start = start.to_ascii_lowercase();
        self.statements.iter().any(|statement| {
            let mut keys = statement.conditions.iter().map(Condition::key);
            keys.any(|key| key.starts_with(&start))
                || statement
                    .variables()
                    .any(|name| name.to_ascii_lowercase().starts_with(&start))
        })
    }
}

#[cfg(test)]
mod tests;
