//! Tokens that no longer count although their seal and time are good.
//!
//! One list per process, shared between identity (which adds) and the
//! verifiers (which ask). An event refuses every token that matches all of its
//! set fields and was issued no later than the event. Processes elsewhere follow
//! the list by [`Revocations::after`].
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use serde::{Deserialize, Serialize};
use virga_node::clock::Micros;

use crate::caller::Scope;
use crate::payload::Payload;

/// Events kept at most. Beyond it everything issued before now is refused,
/// which costs every client one new token but forgets nothing.
const MAX_EVENTS: usize = 200_000;

/// Which tokens are revoked. Fields that are `None` match every token.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Revocation {
    /// Tokens issued at this time or before.
    pub issued_before: Micros,
    /// When the event may be forgotten: no token it matches lives on.
    pub keep_until: Micros,
    /// The token with this audit id.
    pub audit_id: Option<String>,
    /// All tokens of the chain that began with this audit id.
    pub audit_chain_id: Option<String>,
    /// Tokens of this user.
    pub user_id: Option<String>,
    /// Tokens scoped to this project.
    pub project_id: Option<String>,
    /// Tokens scoped to this domain.
    pub domain_id: Option<String>,
    /// Tokens scoped to the whole cloud.
    pub system: bool,
    /// Tokens that carry the role of this name, or whose roles are not known.
    pub role: Option<String>,
    /// Tokens made by the application credential, trust or access token of this
    /// id.
    pub delegation_id: Option<String>,
    /// Tokens that carry this group.
    pub group_id: Option<String>,
    /// Tokens of users whom this identity provider vouched for.
    pub identity_provider_id: Option<String>,
    /// Tokens of users who came by this protocol.
    pub protocol_id: Option<String>,
}

impl Revocation {
    /// Whether it would refuse the token, whenever that was issued.
    pub fn concerns(&self, token: &Payload) -> bool {
        let whenever = Self {
            issued_before: Micros(u64::MAX),
            ..self.clone()
        };
        whenever.matches(token)
    }

    fn matches(&self, token: &Payload) -> bool {
        let (project, domain, system) = match &token.scope {
            Scope::Unscoped => (None, None, false),
            Scope::Project(id) => (Some(id), None, false),
            Scope::Domain(id) => (None, Some(id), false),
            Scope::System => (None, None, true),
        };
        let role = match (&self.role, &token.roles) {
            (Some(role), Some(roles)) => roles.iter().any(|r| r == role),
            _ => true,
        };
        token.issued_at <= self.issued_before
            && self.audit_id.as_deref().is_none_or(|id| id == token.audit_id())
            && self
                .audit_chain_id
                .as_deref()
                .is_none_or(|id| id == token.chain_id())
            && self.user_id.as_ref().is_none_or(|id| *id == token.user_id)
            && self.project_id.as_ref().is_none_or(|id| Some(id) == project)
            && self.domain_id.as_ref().is_none_or(|id| Some(id) == domain)
            && (!self.system || system)
            && self
                .delegation_id
                .as_deref()
                .is_none_or(|id| token.delegation.as_ref().is_some_and(|d| d.id() == id))
            && self.matches_federation(token)
            && role
    }

    fn matches_federation(&self, token: &Payload) -> bool {
        let wanted = [&self.group_id, &self.identity_provider_id, &self.protocol_id];
        if wanted.iter().all(|id| id.is_none()) {
            return true;
        }
        let Some(of) = &token.federation else { return false };
        self.group_id.as_ref().is_none_or(|id| of.groups.contains(id))
            && self
                .identity_provider_id
                .as_ref()
                .is_none_or(|id| *id == of.identity_provider)
            && self.protocol_id.as_ref().is_none_or(|id| *id == of.protocol)
    }

    /// The most telling field, by which the event is found.
    fn slot(&self) -> Slot {
        if let Some(id) = &self.audit_id {
            Slot::Audit(id.clone())
        } else if let Some(id) = &self.audit_chain_id {
            Slot::Chain(id.clone())
        } else if let Some(id) = &self.delegation_id {
            Slot::Delegation(id.clone())
        } else if let Some(id) = &self.user_id {
            Slot::User(id.clone())
        } else if let Some(id) = &self.group_id {
            Slot::Group(id.clone())
        } else if let Some(id) = &self.identity_provider_id {
            Slot::IdentityProvider(id.clone())
        } else if let Some(id) = self.project_id.as_ref().or(self.domain_id.as_ref()) {
            Slot::Scope(id.clone())
        } else {
            Slot::Any
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
enum Slot {
    Audit(String),
    Chain(String),
    Delegation(String),
    User(String),
    Group(String),
    IdentityProvider(String),
    Scope(String),
    Any,
}

#[derive(Debug, Default)]
struct Events {
    /// Each with the generation that it came with.
    by_slot: HashMap<Slot, Vec<(u64, Revocation)>>,
    count: usize,
    /// Everything issued at this time or before is refused.
    floor: Micros,
}

/// What came to a list since an earlier look.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Told {
    /// The list's generation now.
    pub generation: u64,
    /// Everything issued at this time or before is refused.
    pub floor: Micros,
    /// What is new, in no order.
    pub events: Vec<Revocation>,
}

/// The list of revocations of one process.
#[derive(Debug, Default)]
pub struct Revocations {
    events: RwLock<Events>,
    generation: AtomicU64,
}

impl Revocations {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Grows with every change, so that a cached verdict knows it is stale.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Adds an event, unless it is there already; forgets those whose time is
    /// over at `now`, if there are too many.
    pub fn add(&self, event: Revocation, now: Micros) {
        let mut events = self.write();
        let slot = event.slot();
        let same = |known: &Vec<(u64, Revocation)>| known.iter().any(|(_, other)| *other == event);
        if events.by_slot.get(&slot).is_some_and(same) {
            return;
        }
        if events.count >= MAX_EVENTS {
            events.forget(now);
        }
        if events.count >= MAX_EVENTS {
            tracing::warn!(
                MAX_EVENTS,
                "too many revocations: every token issued so far is refused"
            );
            *events = Events {
                floor: now,
                ..Events::default()
            };
        }
        let generation = self.generation.load(Ordering::Acquire) + 1;
        events.count += 1;
        events.by_slot.entry(slot).or_default().push((generation, event));
        self.generation.store(generation, Ordering::Release);
    }

    /// Refuses everything that was issued at `floor` or before.
    pub fn refuse_until(&self, floor: Micros) {
        let mut events = self.write();
        if floor > events.floor {
            events.floor = floor;
            self.generation.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// What was added after the list had this generation; 0 for everything.
    pub fn after(&self, generation: u64) -> Told {
        let events = self.read();
        let now = self.generation.load(Ordering::Acquire);
        let mut new = Vec::new();
        if generation != now {
            let all = events.by_slot.values().flatten();
            new.extend(all.filter(|(came, _)| *came > generation).map(|(_, e)| e.clone()));
        }
        Told {
            generation: now,
            floor: events.floor,
            events: new,
        }
    }

    fn write(&self) -> RwLockWriteGuard<'_, Events> {
        self.events.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> RwLockReadGuard<'_, Events> {
        self.events.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets events whose time is over at `now`.
    pub fn forget(&self, now: Micros) {
        self.write().forget(now);
    }

    /// Whether `token` was revoked.
    pub fn covers(&self, token: &Payload) -> bool {
        let events = self.read();
        if token.issued_at <= events.floor && events.floor != Micros(0) {
            return true;
        }
        if events.count == 0 {
            return false;
        }
        let mut slots = vec![
            Slot::Audit(token.audit_id().to_owned()),
            Slot::Chain(token.chain_id().to_owned()),
            Slot::User(token.user_id.clone()),
            Slot::Any,
        ];
        if let Scope::Project(id) | Scope::Domain(id) = &token.scope {
            slots.push(Slot::Scope(id.clone()));
        }
        if let Some(delegation) = &token.delegation {
            slots.push(Slot::Delegation(delegation.id().to_owned()));
        }
        if let Some(federation) = &token.federation {
            slots.push(Slot::IdentityProvider(federation.identity_provider.clone()));
            slots.extend(federation.groups.iter().cloned().map(Slot::Group));
        }
        slots
            .iter()
            .filter_map(|slot| events.by_slot.get(slot))
            .flatten()
            .any(|(_, event)| event.matches(token))
    }
}

impl Events {
    fn forget(&mut self, now: Micros) {
        self.by_slot.retain(|_, events| {
            events.retain(|(_, e)| e.keep_until > now);
            !events.is_empty()
        });
        self.count = self.by_slot.values().map(Vec::len).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::Delegation;
    use crate::payload::Federation;

    fn token() -> Payload {
        Payload {
            user_id: "u".into(),
            methods: vec![],
            scope: Scope::Project("p".into()),
            issued_at: Micros(100),
            expires_at: Micros(1_000),
            audit_ids: vec!["own".into(), "chain".into()],
            roles: Some(vec!["member".into()]),
            delegation: Some(Delegation::Trust { id: "t".into() }),
            federation: Some(Federation {
                identity_provider: "corp".into(),
                protocol: "openid".into(),
                groups: vec!["g".into(), "h".into()],
            }),
            presented_by: None,
        }
    }

    fn covered(event: Revocation) -> bool {
        let list = Revocations::new();
        list.add(
            Revocation {
                issued_before: Micros(100),
                keep_until: Micros(1_000),
                ..event
            },
            Micros(100),
        );
        list.covers(&token())
    }

    #[test]
    fn an_event_matches_only_if_all_its_fields_do() {
        let id = |s: &str| Some(s.to_owned());
        let none = Revocation::default;
        assert!(covered(Revocation {
            audit_id: id("own"),
            ..none()
        }));
        assert!(!covered(Revocation {
            audit_id: id("chain"),
            ..none()
        }));
        assert!(covered(Revocation {
            audit_chain_id: id("chain"),
            ..none()
        }));
        assert!(covered(Revocation {
            user_id: id("u"),
            ..none()
        }));
        assert!(!covered(Revocation {
            user_id: id("other"),
            ..none()
        }));
        assert!(covered(Revocation {
            user_id: id("u"),
            project_id: id("p"),
            role: id("member"),
            ..none()
        }));
        assert!(!covered(Revocation {
            user_id: id("u"),
            project_id: id("q"),
            ..none()
        }));
        assert!(!covered(Revocation {
            user_id: id("u"),
            role: id("admin"),
            ..none()
        }));
        assert!(covered(Revocation {
            project_id: id("p"),
            ..none()
        }));
        assert!(!covered(Revocation {
            domain_id: id("p"),
            ..none()
        }));
        assert!(covered(Revocation {
            role: id("member"),
            ..none()
        }));
        assert!(covered(Revocation {
            delegation_id: id("t"),
            ..none()
        }));
        assert!(!covered(Revocation {
            delegation_id: id("other"),
            ..none()
        }));
        assert!(!covered(Revocation {
            system: true,
            ..none()
        }));
    }

    #[test]
    fn an_event_of_a_provider_protocol_or_group_matches_who_came_by_it() {
        let id = |s: &str| Some(s.to_owned());
        let event = |group: Option<&str>, provider: Option<&str>, protocol: Option<&str>| {
            covered(Revocation {
                group_id: group.and_then(id),
                identity_provider_id: provider.and_then(id),
                protocol_id: protocol.and_then(id),
                ..Revocation::default()
            })
        };
        assert!(event(Some("h"), None, None));
        assert!(!event(Some("other"), None, None));
        assert!(event(None, Some("corp"), None));
        assert!(event(None, Some("corp"), Some("openid")));
        assert!(!event(None, Some("corp"), Some("saml2")));
        assert!(!event(None, Some("other"), None));
        let local = Payload {
            federation: None,
            ..token()
        };
        let list = Revocations::new();
        let event = Revocation {
            issued_before: Micros(100),
            identity_provider_id: id("corp"),
            ..Revocation::default()
        };
        list.add(event, Micros(100));
        assert!(list.covers(&token()) && !list.covers(&local));
    }

    #[test]
    fn a_token_made_after_the_event_is_good() {
        let list = Revocations::new();
        let event = Revocation {
            issued_before: Micros(99),
            user_id: Some("u".into()),
            ..Revocation::default()
        };
        list.add(event, Micros(99));
        assert!(!list.covers(&token()));
    }

    #[test]
    fn who_follows_the_list_gets_what_is_new_once() {
        let of = |user: &str| Revocation {
            issued_before: Micros(100),
            keep_until: Micros(1_000),
            user_id: Some(user.into()),
            ..Revocation::default()
        };
        let list = Revocations::new();
        list.add(of("a"), Micros(100));
        let first = list.after(0);
        assert_eq!(first.events, [of("a")]);
        list.add(of("a"), Micros(100));
        assert_eq!(list.after(0), first, "the same event is added once");
        list.add(of("b"), Micros(100));
        let second = list.after(first.generation);
        assert_eq!(second.events, [of("b")]);
        assert_eq!(list.after(second.generation).events, []);
        list.refuse_until(Micros(100));
        let third = list.after(second.generation);
        assert_eq!((third.floor, third.events), (Micros(100), vec![]));
        assert!(list.covers(&token()));
    }

    #[test]
    fn events_are_forgotten_when_no_token_they_match_lives() {
        let list = Revocations::new();
        let event = Revocation {
            issued_before: Micros(100),
            keep_until: Micros(1_000),
            user_id: Some("u".into()),
            ..Revocation::default()
        };
        let before = list.generation();
        list.add(event, Micros(100));
        assert_ne!(list.generation(), before);
        list.forget(Micros(999));
        assert!(list.covers(&token()));
        list.forget(Micros(1_000));
        assert!(!list.covers(&token()));
    }
}
