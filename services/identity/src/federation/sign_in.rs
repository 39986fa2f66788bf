//! From a bearer token to a token of this cloud: the user whom the mapping
//! names is made or found, gets the groups and projects that it says, and an
//! unscoped token.
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use virga_identity_api::payload::{Federation, MAX_GROUPS, method_of_protocol};
use virga_state::Reader;

use super::mapping::apply::{MapError, Mapped, MappedUser};
use super::mapping::{Assertion, Rules, Version};
use super::openid::{BearerError, assertion};
use super::shadow::Guest;
use crate::app::App;
use crate::auth::AuthError;
use crate::auth::recognise::{Known, Proof};
use crate::auth::request::{AuthRequest, DomainRef, EntityRef, ScopeWish};
use crate::auth::tokens::Standing;
use crate::model::federation::{self, IdentityProvider, Mapping, Protocol};
use crate::model::project::Project;
use crate::model::{group, user};

/// Where the provider's own name is found, unless the protocol says otherwise.
const ISSUER: &str = "HTTP_OIDC_ISS";
/// What Keystone leaves as it is in the ids of users from elsewhere.
const UNQUOTED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'_')
    .remove(b'.')
    .remove(b'-')
    .remove(b'~')
    .remove(b'/');
/// Longest name or id of a user, in characters.
const MAX_NAME: usize = 255;

impl From<BearerError> for AuthError {
    fn from(error: BearerError) -> Self {
        match error {
            BearerError::Refused(why) => Self::Refused(why),
            BearerError::Unreachable(why) => Self::Unreachable(why),
        }
    }
}

impl From<MapError> for AuthError {
    fn from(error: MapError) -> Self {
        match error {
            MapError::NoMatch => Self::Told(
                "Could not map any federated user properties to identity values. Check debug logs or the mapping \
                 used for additional details."
                    .into(),
            ),
            MapError::Unusable(why) => {
                tracing::warn!(why, "a mapping yields what cannot be used");
                Self::Refused("the mapping yields what cannot be used")
            }
        }
    }
}

/// What a user of an identity provider comes by.
struct Way {
    provider: IdentityProvider,
    protocol: Protocol,
    mapping: Mapping,
}

fn not_found<T>(what: String) -> Result<T, AuthError> {
    Err(AuthError::NotFound(what))
}

impl App {
    async fn way(&self, q: &mut Reader, provider: &str, protocol: &str) -> Result<Way, AuthError> {
        let Some(found) = federation::get_provider(q, provider).await? else {
            return not_found(format!("Could not find Identity Provider: {provider}."));
        };
        if !found.enabled {
            return Err(AuthError::Forbidden(format!(
                "Identity Provider {provider} is disabled"
            )));
        }
        let Some(by) = federation::get_protocol(q, provider, protocol).await? else {
            return not_found(format!(
                "Could not find federated protocol {protocol} for Identity Provider: {provider}."
            ));
        };
        let Some(mapping) = federation::get_mapping(q, &by.mapping_id).await? else {
            return not_found(format!("Could not find mapping: {}.", by.mapping_id));
        };
        Ok(Way {
            provider: found,
            protocol: by,
            mapping,
        })
    }

    /// A token for the user whom `bearer` names, who comes by this protocol of
    /// this identity provider. Returns its text too.
    pub(crate) async fn sign_in_from(
        &self,
        provider: &str,
        protocol: &str,
        bearer: &str,
    ) -> Result<(String, Standing), AuthError> {
        // What users from elsewhere stand on is written below, so nothing here
        // comes from memory.
        let q = &mut self.state.reader();
        let way = self.way(q, provider, protocol).await?;
        let Some(config) = self.openid.config(provider) else {
            return Err(AuthError::Told(format!(
                "The configuration of this cloud names no OpenID issuer for the Identity Provider {provider} \
                 ([[identity.openid]] in virga.toml)."
            )));
        };
        let claims = self.openid.claims(provider, bearer, self.clock.now()).await?;
        let said = assertion(config, &claims);
        check_remote_id(&way, &said)?;
        let mapped = apply(&way.mapping, &said)?;
        let method = method_of_protocol(protocol);
        let proof = if mapped.user.local {
            self.own_user(q, &mapped.user, method).await?
        } else {
            self.guest(q, &way, mapped, &said, method).await?
        };
        let wish = match &proof.federation {
            Some(_) => ScopeWish::Unscoped,
            None => ScopeWish::Default,
        };
        let methods = proof.methods.clone();
        let grant = self.grant(q, proof, &wish).await?;
        self.make_token(grant, methods, None, q.as_of())
    }

    fn proof(&self, (user, user_domain): Known, method: &str, federation: Option<Federation>) -> Proof {
        Proof {
            user,
            user_domain,
            methods: vec![method.to_owned()],
            expires_at: self.end_of_new_token(),
            chain: None,
            credential: None,
            federation,
        }
    }

    /// One of the cloud's own users, whom the provider vouches for.
    async fn own_user(&self, q: &mut Reader, mapped: &MappedUser, method: &str) -> Result<Proof, AuthError> {
        let who = match (&mapped.id, &mapped.name, &mapped.domain) {
            (Some(id), ..) => EntityRef::Id(id.clone()),
            (None, Some(name), Some(domain)) => EntityRef::Name(name.clone(), domain.clone()),
            _ => return Err(AuthError::Refused("the mapping names no user of this cloud")),
        };
        let known = self.find_user(q, &who).await?;
        let Some(known) = known.filter(|(user, domain)| user.enabled && domain.enabled) else {
            return Err(AuthError::Refused("the user is gone or disabled"));
        };
        let proof = self.proof(known, method, None);
        // Rules for several factors hold whoever vouches.
        let request = AuthRequest {
            password: None,
            totp: None,
            application_credential: None,
            token: None,
            scope: ScopeWish::Default,
        };
        self.check_factors(&request, &proof.user, &proof.user_domain, &proof.methods)?;
        Ok(proof)
    }

    async fn mapped_domain(&self, q: &mut Reader, which: &DomainRef) -> Result<Project, AuthError> {
        match self.find_domain(q, which).await? {
            Some(domain) => Ok(domain),
            None => {
                let (DomainRef::Id(name) | DomainRef::Name(name)) = which;
                not_found(format!("Could not find domain: {name}."))
            }
        }
    }

    /// A user who has no account here but what the provider says.
    async fn guest(
        &self,
        q: &mut Reader,
        way: &Way,
        mapped: Mapped,
        said: &Assertion,
        method: &str,
    ) -> Result<Proof, AuthError> {
        let groups = self.mapped_groups(q, &mapped).await?;
        let own = DomainRef::Id(way.provider.domain_id.clone());
        let domain = self
            .mapped_domain(q, mapped.user.domain.as_ref().unwrap_or(&own))
            .await?;
        if !domain.enabled {
            return Err(AuthError::Refused("the domain of the user is disabled"));
        }
        let remote_user = said.get("REMOTE_USER").and_then(|values| values.first()).cloned();
        let (unique, name) = match (mapped.user.id, mapped.user.name.or(remote_user)) {
            (Some(id), Some(name)) => (id, name),
            (Some(id), None) => (id.clone(), id),
            (None, Some(name)) => (name.clone(), name),
            (None, None) => return Err(AuthError::Refused("the mapping names no user")),
        };
        let fits =
            |text: &str| !text.trim().is_empty() && text.chars().count() <= MAX_NAME && !text.contains('\0');
        let unique_id = utf8_percent_encode(&unique, UNQUOTED).to_string();
        if !fits(&name) || !fits(&unique_id) {
            return Err(AuthError::Refused("the mapping yields no usable name"));
        }
        let mut projects = Vec::with_capacity(mapped.projects.len());
        for wanted in mapped.projects {
            let of = wanted.domain.as_ref().unwrap_or(&own);
            let of = self.mapped_domain(q, of).await?;
            projects.push((wanted.name, of, wanted.roles));
        }
        let guest = Guest {
            provider: &way.provider,
            protocol: &way.protocol.id,
            unique_id,
            name,
            email: mapped.user.email,
            domain: &domain,
            groups: &groups,
            projects,
            takes_back: mapped.takes_back,
        };
        let id = self.shadow(guest).await?;
        let found = user::get(q, &id).await?;
        let Some(found) = found.filter(|u| u.enabled) else {
            return Err(AuthError::Refused("the user is disabled"));
        };
        let by = Federation {
            identity_provider: way.provider.id.clone(),
            protocol: way.protocol.id.clone(),
            groups,
        };
        Ok(self.proof((found, domain), method, Some(by)))
    }

    /// Ids of the groups that the mapping names. One by id must be there; one by
    /// name that is not is passed over.
    async fn mapped_groups(&self, q: &mut Reader, mapped: &Mapped) -> Result<Vec<String>, AuthError> {
        let mut ids = Vec::new();
        for id in &mapped.group_ids {
            if group::get(q, id).await?.is_none() {
                tracing::warn!(group = id, "a mapping names a group that is not there");
                return Err(AuthError::Refused("the mapping names a group that is not there"));
            }
            ids.push(id.clone());
        }
        for (name, of) in &mapped.groups {
            let domain = self.mapped_domain(q, of).await?;
            let found = group::list(q, Some(&domain.id), Some(name), None).await?;
            ids.extend(found.into_iter().map(|g| g.id));
        }
        ids.sort();
        ids.dedup();
        if ids.len() > MAX_GROUPS {
            return Err(AuthError::Told(format!(
                "The mapping gives {} groups; a token carries {MAX_GROUPS} at most.",
                ids.len()
            )));
        }
        Ok(ids)
    }
}

/// The name that the provider gives itself must be one that was registered.
fn check_remote_id(way: &Way, said: &Assertion) -> Result<(), AuthError> {
    if way.provider.remote_ids.is_empty() {
        return Ok(());
    }
    let attribute = way
        .protocol
        .remote_id_attribute
        .as_deref()
        .filter(|a| !a.is_empty());
    let Some(names) = said
        .get(attribute.unwrap_or(ISSUER))
        .filter(|names| !names.is_empty())
    else {
        return Err(AuthError::Told(
            "Could not find Identity Provider identifier in environment".into(),
        ));
    };
    if names.iter().all(|name| way.provider.remote_ids.contains(name)) {
        return Ok(());
    }
    Err(AuthError::Forbidden(
        "Incoming identity provider identifier not included among the accepted identifiers.".into(),
    ))
}

fn apply(mapping: &Mapping, said: &Assertion) -> Result<Mapped, AuthError> {
    // They were checked when they were stored.
    let rules = Version::named(&mapping.schema_version).ok_or_else(|| "an unknown version".to_owned());
    let rules = rules.and_then(|version| Rules::read(&mapping.rules, version));
    let rules = rules.map_err(|why| MapError::Unusable(format!("mapping {}: {why}", mapping.id)))?;
    Ok(rules.apply(said)?)
}
