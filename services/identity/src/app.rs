//! What the handlers share.
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use virga_identity_api::jws_keys::JwsKeys;
use virga_identity_api::keys::KeyRing;
use virga_identity_api::local::LocalVerifier;
use virga_identity_api::revocation::{Revocation, Revocations};
use virga_node::clock::Clock;
use virga_state::{Queries, State, StateError, Transaction};

use crate::attempts::Meters;
use crate::audit::journal::Journal;
use crate::auth::password::Passwords;
use crate::auth::roles::RoleBook;
use crate::auth::rules::PasswordRules;
use crate::auth::totp::UsedPasscodes;
use crate::cached::Cached;
use crate::config::Config;
use crate::federation::openid::OpenIdProviders;
use crate::model::catalog::{Endpoint, Service};
use crate::model::endpoint_filter::{self, EndpointGroup, Member};
use crate::model::federation::{self, ServiceProvider};
use crate::model::{catalog, project, revocation, trust};
use crate::oauth::nonces::UsedNonces;
use crate::policies::book::PolicyBook;
use crate::shown::ShownTokens;

/// Projects whose domain is remembered at most. A project never changes its
/// domain, so the memory needs no refreshing.
const REMEMBERED_PROJECTS: usize = 10_000;

/// Services, endpoints and what projects see of them at one moment.
#[derive(Debug, Default)]
pub(crate) struct CatalogRecords {
    pub(crate) services: Vec<Service>,
    pub(crate) endpoints: Vec<Endpoint>,
    /// Other clouds that tokens list.
    pub(crate) service_providers: Vec<ServiceProvider>,
    groups: Vec<EndpointGroup>,
    /// Pairs of project and endpoint, and of project and endpoint group.
    filtered: Vec<(String, String)>,
    filtered_groups: Vec<(String, String)>,
}

impl CatalogRecords {
    /// The endpoints that the catalog of a project shows: those associated with
    /// it, directly or by group; all, if none is.
    pub(crate) fn endpoints_for(&self, project: Option<&str>) -> Vec<&Endpoint> {
        let of_project = |pairs: &[(String, String)]| -> Vec<String> {
            let mine = pairs.iter().filter(|(p, _)| Some(p.as_str()) == project);
            mine.map(|(_, member)| member.clone()).collect()
        };
        let single = of_project(&self.filtered);
        let in_groups = of_project(&self.filtered_groups);
        if single.is_empty() && in_groups.is_empty() {
            return self.endpoints.iter().collect();
        }
        let groups: Vec<_> = self.groups.iter().filter(|g| in_groups.contains(&g.id)).collect();
        self.endpoints
            .iter()
            .filter(|e| single.contains(&e.id) || groups.iter().any(|g| g.holds(e)))
            .collect()
    }
}

/// The parts of a running identity service. A copy shares all of them, but for
/// a rehearsal ([`App::dry_run`]) its records are never kept.
#[derive(Clone, Debug)]
pub(crate) struct App {
    pub(crate) config: Config,
    pub(crate) state: State,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) token_keys: Arc<KeyRing>,
    /// Keys of signed tokens, if there are any.
    pub(crate) signed_keys: Option<Arc<JwsKeys>>,
    pub(crate) credential_keys: Arc<KeyRing>,
    /// Who vouches for users from elsewhere.
    pub(crate) openid: Arc<OpenIdProviders>,
    pub(crate) revocations: Arc<Revocations>,
    pub(crate) verifier: Arc<LocalVerifier>,
    pub(crate) roles: Arc<RoleBook>,
    pub(crate) policy: Arc<PolicyBook>,
    pub(crate) passwords: Arc<Passwords>,
    pub(crate) password_rules: Arc<PasswordRules>,
    pub(crate) meters: Arc<Meters>,
    pub(crate) used_passcodes: Arc<UsedPasscodes>,
    pub(crate) used_nonces: Arc<UsedNonces>,
    pub(crate) catalog: Arc<Cached<CatalogRecords>>,
    pub(crate) shown: Arc<ShownTokens>,
    pub(crate) project_domains: Arc<Mutex<HashMap<String, String>>>,
    pub(crate) journal: Journal,
}

impl App {
    /// The same service for a rehearsal: what it does to its records is undone
    /// and nobody hears of it.
    pub(crate) fn dry_run(&self) -> Arc<Self> {
        Arc::new(Self {
            state: self.state.dry_run(),
            ..self.clone()
        })
    }

    /// The catalog's records.
    pub(crate) async fn catalog_records(&self) -> Result<Arc<CatalogRecords>, StateError> {
        let mut q = self.state.reader();
        let (records, _) = self
            .catalog
            .get(|| async move {
                Ok(CatalogRecords {
                    services: catalog::services(&mut q).await?,
                    endpoints: catalog::endpoints(&mut q).await?,
                    service_providers: federation::service_providers(&mut q)
                        .await?
                        .into_iter()
                        .filter(|s| s.enabled)
                        .collect(),
                    groups: endpoint_filter::groups(&mut q).await?,
                    filtered: endpoint_filter::associations(&mut q, Member::Endpoint).await?,
                    filtered_groups: endpoint_filter::associations(&mut q, Member::Group).await?,
                })
            })
            .await?;
        Ok(records)
    }

    /// The domain of a project.
    pub(crate) async fn domain_of_project(&self, id: &str) -> Result<Option<String>, StateError> {
        let known = self
            .project_domains
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(id)
            .cloned();
        if known.is_some() {
            return Ok(known);
        }
        let found = project::get(&mut self.state.reader(), id).await?;
        let Some(domain) = found.and_then(|p| p.domain_id) else {
            return Ok(None);
        };
        let mut remembered = self
            .project_domains
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED_PROJECTS {
            remembered.clear();
        }
        remembered.insert(id.to_owned(), domain.clone());
        Ok(Some(domain))
    }

    /// A revocation as of now; the caller sets what it matches.
    pub(crate) fn revocation(&self) -> Revocation {
        let now = self.clock.now();
        // No token lives longer than its lifetime from now; one second more
        // because ends are rounded to seconds.
        let keep_until = now.plus(Duration::from_secs(self.config.token_lifetime + 1));
        Revocation {
            issued_before: now,
            keep_until,
            ..Revocation::default()
        }
    }

    /// Revocations of every token that stands on this user: the user's own, and
    /// those of trusts that the user gave or received.
    pub(crate) async fn tokens_of_user(
        &self,
        q: &mut impl Queries,
        user: &str,
    ) -> Result<Vec<Revocation>, StateError> {
        let mut events = vec![Revocation {
            user_id: Some(user.to_owned()),
            ..self.revocation()
        }];
        for id in trust::touching(q, user).await? {
            events.push(self.tokens_of_delegation(&id));
        }
        Ok(events)
    }

    /// Revocation of the tokens of an application credential or trust.
    pub(crate) fn tokens_of_delegation(&self, id: &str) -> Revocation {
        Revocation {
            delegation_id: Some(id.to_owned()),
            ..self.revocation()
        }
    }

    /// Stores revocations in a transaction; [`App::announce`] makes them count.
    pub(crate) async fn store_revocations(
        &self,
        tx: &mut Transaction,
        events: &[Revocation],
    ) -> Result<(), StateError> {
        for event in events {
            revocation::insert(tx, event).await?;
        }
        Ok(())
    }

    /// Makes stored revocations count, after the commit; in a rehearsal none
    /// was stored.
    pub(crate) fn announce(&self, events: Vec<Revocation>) {
        if self.state.is_dry_run() {
            return;
        }
        let now = self.clock.now();
        for event in events {
            self.revocations.add(event, now);
        }
    }
}
