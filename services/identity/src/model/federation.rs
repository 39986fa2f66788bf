//! Identity providers, their protocols, mappings, and the service providers
//! that are listed for others.
use serde_json::Value;
use virga_state::{Queries, Row, StateError, Transaction, args};

/// An identity provider: an organisation that vouches for its users.
#[derive(Clone, Debug, PartialEq)]
pub struct IdentityProvider {
    /// Its id, as chosen.
    pub id: String,
    /// The domain that its users are in, unless the mapping says otherwise.
    pub domain_id: String,
    /// Whether its users may sign in.
    pub enabled: bool,
    /// Free text.
    pub description: Option<String>,
    /// How long memberships that it gave count in the records, in minutes.
    pub authorization_ttl: Option<i64>,
    /// What it calls itself; no two providers have one in common.
    pub remote_ids: Vec<String>,
}

const PROVIDER: &str = "id, domain_id, enabled, description, authorization_ttl";

fn provider(row: &Row) -> Result<IdentityProvider, StateError> {
    Ok(IdentityProvider {
        id: row.text("id")?,
        domain_id: row.text("domain_id")?,
        enabled: row.bool("enabled")?,
        description: row.maybe_text("description")?,
        authorization_ttl: row.maybe_int("authorization_ttl")?,
        remote_ids: Vec::new(),
    })
}

/// Identity providers, ordered by id: all, or those of one domain.
pub async fn providers(
    q: &mut impl Queries,
    domain: Option<&str>,
) -> Result<Vec<IdentityProvider>, StateError> {
    let sql = format!("SELECT {PROVIDER} FROM identity_provider WHERE $1 = '' OR domain_id = $1 ORDER BY id");
    let rows = q.fetch(sql, args![domain.unwrap_or_default()]).await?;
    let mut found: Vec<IdentityProvider> = rows.iter().map(provider).collect::<Result<_, _>>()?;
    let sql = "SELECT provider_id, remote_id FROM identity_provider_remote_id ORDER BY remote_id";
    for row in q.fetch(sql, args![]).await? {
        let of = row.text("provider_id")?;
        if let Some(one) = found.iter_mut().find(|p| p.id == of) {
            one.remote_ids.push(row.text("remote_id")?);
        }
    }
    Ok(found)
}

/// The identity provider with this id.
pub async fn get_provider(q: &mut impl Queries, id: &str) -> Result<Option<IdentityProvider>, StateError> {
    let sql = format!("SELECT {PROVIDER} FROM identity_provider WHERE id = $1");
    let Some(row) = q.fetch_one(sql, args![id]).await? else {
        return Ok(None);
    };
    let mut found = provider(&row)?;
    let sql = "SELECT remote_id FROM identity_provider_remote_id WHERE provider_id = $1 ORDER BY remote_id";
    for row in q.fetch(sql, args![id]).await? {
        found.remote_ids.push(row.text("remote_id")?);
    }
    Ok(Some(found))
}

/// Which of the remote ids another provider than `id` has already.
pub async fn taken_remote_id(
    q: &mut impl Queries,
    p: &IdentityProvider,
) -> Result<Option<String>, StateError> {
    let sql = "SELECT provider_id FROM identity_provider_remote_id WHERE remote_id = $1";
    for id in &p.remote_ids {
        if let Some(row) = q.fetch_one(sql, args![id]).await?
            && row.text("provider_id")? != p.id
        {
            return Ok(Some(id.clone()));
        }
    }
    Ok(None)
}

/// Stores an identity provider, new or changed. Its domain stays.
pub async fn put_provider(tx: &mut Transaction, p: &IdentityProvider) -> Result<(), StateError> {
    let sql = format!(
        "INSERT INTO identity_provider ({PROVIDER}) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (id) DO UPDATE SET
         enabled = excluded.enabled, description = excluded.description,
         authorization_ttl = excluded.authorization_ttl"
    );
    let bound = args![
        &p.id,
        &p.domain_id,
        p.enabled,
        &p.description,
        p.authorization_ttl
    ];
    tx.execute(sql, bound).await?;
    tx.execute(
        "DELETE FROM identity_provider_remote_id WHERE provider_id = $1",
        args![&p.id],
    )
    .await?;
    for remote in &p.remote_ids {
        let sql = "INSERT INTO identity_provider_remote_id (remote_id, provider_id) VALUES ($1, $2)";
        tx.execute(sql, args![remote, &p.id]).await?;
    }
    Ok(())
}

/// Deletes an identity provider with its protocols.
pub async fn delete_provider(tx: &mut Transaction, id: &str) -> Result<(), StateError> {
    tx.execute("DELETE FROM identity_provider WHERE id = $1", args![id])
        .await
        .map(drop)
}

/// How users of an identity provider come, and which mapping reads what it says
/// of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Protocol {
    /// Its id, unique with the provider.
    pub id: String,
    /// Id of the identity provider.
    pub provider_id: String,
    /// Id of the mapping, which may be gone.
    pub mapping_id: String,
    /// The part of what is said that names the provider.
    pub remote_id_attribute: Option<String>,
}

fn protocol(row: &Row) -> Result<Protocol, StateError> {
    Ok(Protocol {
        id: row.text("id")?,
        provider_id: row.text("provider_id")?,
        mapping_id: row.text("mapping_id")?,
        remote_id_attribute: row.maybe_text("remote_id_attribute")?,
    })
}

const PROTOCOL: &str = "id, provider_id, mapping_id, remote_id_attribute";

/// Protocols of an identity provider or with a mapping, ordered by id.
pub async fn protocols(
    q: &mut impl Queries,
    provider: Option<&str>,
    mapping: Option<&str>,
) -> Result<Vec<Protocol>, StateError> {
    let sql = format!(
        "SELECT {PROTOCOL} FROM identity_protocol WHERE ($1 = '' OR provider_id = $1)
         AND ($2 = '' OR mapping_id = $2) ORDER BY id, provider_id"
    );
    let bound = args![provider.unwrap_or_default(), mapping.unwrap_or_default()];
    q.fetch(sql, bound).await?.iter().map(protocol).collect()
}

/// A protocol of an identity provider.
pub async fn get_protocol(
    q: &mut impl Queries,
    provider: &str,
    id: &str,
) -> Result<Option<Protocol>, StateError> {
    let sql = format!("SELECT {PROTOCOL} FROM identity_protocol WHERE provider_id = $1 AND id = $2");
    let row = q.fetch_one(sql, args![provider, id]).await?;
    row.map(|r| protocol(&r)).transpose()
}

/// Stores a protocol, new or changed.
pub async fn put_protocol(tx: &mut Transaction, p: &Protocol) -> Result<(), StateError> {
    let sql = format!(
        "INSERT INTO identity_protocol ({PROTOCOL}) VALUES ($1, $2, $3, $4) ON CONFLICT (provider_id, id)
         DO UPDATE SET mapping_id = excluded.mapping_id, remote_id_attribute = excluded.remote_id_attribute"
    );
    let bound = args![&p.id, &p.provider_id, &p.mapping_id, &p.remote_id_attribute];
    tx.execute(sql, bound).await.map(drop)
}

/// Deletes a protocol.
pub async fn delete_protocol(tx: &mut Transaction, p: &Protocol) -> Result<(), StateError> {
    let sql = "DELETE FROM identity_protocol WHERE provider_id = $1 AND id = $2";
    tx.execute(sql, args![&p.provider_id, &p.id]).await.map(drop)
}

/// Rules that say who somebody is here by what an identity provider says.
#[derive(Clone, Debug, PartialEq)]
pub struct Mapping {
    /// Its id, as chosen.
    pub id: String,
    /// The rules, as they came.
    pub rules: Value,
    /// Version of their language.
    pub schema_version: String,
}

fn mapping(row: &Row) -> Result<Mapping, StateError> {
    Ok(Mapping {
        id: row.text("id")?,
        rules: serde_json::from_str(&row.text("rules")?).map_err(|_| StateError::Column("rules".into()))?,
        schema_version: row.text("schema_version")?,
    })
}

/// All mappings, ordered by id.
pub async fn mappings(q: &mut impl Queries) -> Result<Vec<Mapping>, StateError> {
    let sql = "SELECT id, rules, schema_version FROM identity_mapping ORDER BY id";
    q.fetch(sql, args![]).await?.iter().map(mapping).collect()
}

/// The mapping with this id.
pub async fn get_mapping(q: &mut impl Queries, id: &str) -> Result<Option<Mapping>, StateError> {
    let sql = "SELECT id, rules, schema_version FROM identity_mapping WHERE id = $1";
    let row = q.fetch_one(sql, args![id]).await?;
    row.map(|r| mapping(&r)).transpose()
}

/// Stores a mapping, new or changed.
pub async fn put_mapping(tx: &mut Transaction, m: &Mapping) -> Result<(), StateError> {
    let sql = "INSERT INTO identity_mapping (id, rules, schema_version) VALUES ($1, $2, $3)
               ON CONFLICT (id) DO UPDATE SET rules = excluded.rules, schema_version = excluded.schema_version";
    tx.execute(sql, args![&m.id, m.rules.to_string(), &m.schema_version])
        .await
        .map(drop)
}

/// Deletes a mapping. Protocols may still name it.
pub async fn delete_mapping(tx: &mut Transaction, id: &str) -> Result<(), StateError> {
    tx.execute("DELETE FROM identity_mapping WHERE id = $1", args![id])
        .await
        .map(drop)
}

/// Another cloud that trusts this one: listed, nothing more.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceProvider {
    /// Its id, as chosen.
    pub id: String,
    /// Whether tokens list it.
    pub enabled: bool,
    /// Free text.
    pub description: Option<String>,
    /// Where its users sign in.
    pub auth_url: String,
    /// Where assertions are sent.
    pub sp_url: String,
    /// What comes before a relay state.
    pub relay_state_prefix: String,
}

const SERVICE: &str = "id, enabled, description, auth_url, sp_url, relay_state_prefix";

fn service(row: &Row) -> Result<ServiceProvider, StateError> {
    Ok(ServiceProvider {
        id: row.text("id")?,
        enabled: row.bool("enabled")?,
        description: row.maybe_text("description")?,
        auth_url: row.text("auth_url")?,
        sp_url: row.text("sp_url")?,
        relay_state_prefix: row.text("relay_state_prefix")?,
    })
}

/// All service providers, ordered by id.
pub async fn service_providers(q: &mut impl Queries) -> Result<Vec<ServiceProvider>, StateError> {
    let sql = format!("SELECT {SERVICE} FROM identity_service_provider ORDER BY id");
    q.fetch(sql, args![]).await?.iter().map(service).collect()
}

/// The service provider with this id.
pub async fn get_service_provider(
    q: &mut impl Queries,
    id: &str,
) -> Result<Option<ServiceProvider>, StateError> {
    let sql = format!("SELECT {SERVICE} FROM identity_service_provider WHERE id = $1");
    let row = q.fetch_one(sql, args![id]).await?;
    row.map(|r| service(&r)).transpose()
}

/// Stores a service provider, new or changed.
pub async fn put_service_provider(tx: &mut Transaction, s: &ServiceProvider) -> Result<(), StateError> {
    let sql = format!(
        "INSERT INTO identity_service_provider ({SERVICE}) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (id) DO UPDATE SET enabled = excluded.enabled, description = excluded.description,
         auth_url = excluded.auth_url, sp_url = excluded.sp_url,
         relay_state_prefix = excluded.relay_state_prefix"
    );
    let bound = args![
        &s.id,
        s.enabled,
        &s.description,
        &s.auth_url,
        &s.sp_url,
        &s.relay_state_prefix
    ];
    tx.execute(sql, bound).await.map(drop)
}

/// Deletes a service provider.
pub async fn delete_service_provider(tx: &mut Transaction, id: &str) -> Result<(), StateError> {
    tx.execute("DELETE FROM identity_service_provider WHERE id = $1", args![id])
        .await
        .map(drop)
}
