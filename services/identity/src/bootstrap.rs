//! What a fresh cloud must contain, made at the first start.
//!
//! Runs at every start: what is there is left alone, except that the URLs of
//! the endpoints made here follow the configuration, and that nothing that the
//! operator changed or deleted later comes back: what a later version adds, it
//! adds once.
use serde_json::json;
use virga_state::{Change, Conflicted, StateError, Transaction, transact};
use zeroize::Zeroizing;

use crate::Identity;
use crate::auth::AuthError;
use crate::directory::ec2_id;
use crate::fault::Fault;
use crate::model::assignment::{ActorKind, Assignment, SYSTEM, TargetKind};
use crate::model::catalog::{Endpoint, Region, Service};
use crate::model::credential::Credential;
use crate::model::project::Project;
use crate::model::role::Role;
use crate::model::user::User;
use crate::model::{Object, assignment, bootstrap_step, catalog, credential, new_id, project, role, user};
use crate::secrets;

/// The id of the domain that everything without a domain is in.
pub(crate) const DEFAULT_DOMAIN: &str = "default";

/// What to make.
#[derive(Clone)]
pub struct BootstrapPlan {
    /// Password of the user `admin`, at the first start.
    pub admin_password: String,
    /// Password of the user `demo`, at the first start.
    pub demo_password: String,
    /// The region of the endpoints.
    pub region: String,
    /// URL of the front door, without a slash at the end:
    /// "http://127.0.0.1:5000".
    pub front_url: String,
    /// URL of the object store's port: "http://127.0.0.1:8080".
    pub object_url: String,
}

/// What was made or found.
#[derive(Clone)]
pub struct BootstrapReport {
    /// Whether this was the first start.
    pub first: bool,
    /// Id of the user `admin`.
    pub admin_user_id: String,
    /// Id of the project `admin`.
    pub admin_project_id: String,
    /// Id of the user `demo`.
    pub demo_user_id: String,
    /// Id of the project `demo`.
    pub demo_project_id: String,
    /// The demo user's EC2 access and secret key; only at the first start.
    pub demo_ec2: Option<(String, Zeroizing<String>)>,
}

/// Why bootstrapping failed.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The records failed.
    #[error(transparent)]
    Records(#[from] StateError),
    /// A password could not be hashed.
    #[error("a password could not be hashed: {0}")]
    Password(String),
    /// A secret could not be made or sealed.
    #[error("a secret could not be made: {0}")]
    Secret(String),
    /// The records were bootstrapped before, but this is gone.
    #[error("the records were set up before, but {0} is gone")]
    Missing(&'static str),
}

impl Conflicted for BootstrapError {
    fn is_contended(&self) -> bool {
        matches!(self, Self::Records(e) if e.is_contended())
    }
}

impl From<AuthError> for BootstrapError {
    fn from(error: AuthError) -> Self {
        Self::Password(error.to_string())
    }
}

impl From<Fault> for BootstrapError {
    fn from(error: Fault) -> Self {
        Self::Secret(error.to_string())
    }
}

/// Roles and the one that each implies.
const ROLES: [(&str, Option<&str>); 5] = [
    ("admin", Some("manager")),
    ("manager", Some("member")),
    ("member", Some("reader")),
    ("reader", None),
    ("service", None),
];

/// What the object store calls its reseller admin role unless its
/// configuration says otherwise: operators and suites expect it to be there, as
/// in DevStack. It means nothing to identity, so that it may be renamed and
/// deleted as any role.
const RESELLER_ADMIN: &str = "ResellerAdmin";

/// Ids that are chosen before the transaction, so that it can run again.
struct Ids {
    admin: String,
    demo: String,
    admin_project: String,
    demo_project: String,
    service_project: String,
}

fn random_hex() -> Result<String, BootstrapError> {
    let mut bytes = Zeroizing::new([0; 16]);
    getrandom::fill(&mut *bytes).map_err(|e| BootstrapError::Secret(e.to_string()))?;
    Ok(hex::encode(*bytes))
}

impl Identity {
    /// Makes what a fresh cloud must contain, unless it was made before, and
    /// lets the catalog follow the plan's URLs.
    pub async fn bootstrap(&self, plan: &BootstrapPlan) -> Result<BootstrapReport, BootstrapError> {
        let app = &self.app;
        let report = match project::get(&mut app.state.reader(), DEFAULT_DOMAIN).await? {
            Some(_) => self.find_bootstrapped().await?,
            None => self.first_start(plan).await?,
        };
        let reseller_admin = new_id();
        transact!(app.state, |tx| -> Result<(), StateError> {
            if bootstrap_step::take(tx, "reseller admin role").await? {
                make_reseller_admin(tx, &reseller_admin).await?;
            }
            follow_urls(tx, plan).await
        })?;
        Ok(report)
    }

    async fn find_bootstrapped(&self) -> Result<BootstrapReport, BootstrapError> {
        let mut q = self.app.state.reader();
        let mut project_id = async |name, gone| {
            let found = project::by_name(&mut q, DEFAULT_DOMAIN, name).await?;
            Ok::<_, BootstrapError>(found.ok_or(BootstrapError::Missing(gone))?.id)
        };
        let admin_project_id = project_id("admin", "project admin").await?;
        // An operator may delete the demo project and user; admin must stay.
        let demo_project_id = project_id("demo", "").await.unwrap_or_default();
        let admin = user::by_name(&mut q, DEFAULT_DOMAIN, "admin").await?;
        let demo = user::by_name(&mut q, DEFAULT_DOMAIN, "demo").await?;
        Ok(BootstrapReport {
            first: false,
            admin_user_id: admin.ok_or(BootstrapError::Missing("user admin"))?.id,
            admin_project_id,
            demo_user_id: demo.map(|u| u.id).unwrap_or_default(),
            demo_project_id,
            demo_ec2: None,
        })
    }

    async fn first_start(&self, plan: &BootstrapPlan) -> Result<BootstrapReport, BootstrapError> {
        let app = &self.app;
        let admin_hash = app.passwords.hash(&plan.admin_password).await?;
        let demo_hash = app.passwords.hash(&plan.demo_password).await?;
        let ids = Ids {
            admin: new_id(),
            demo: new_id(),
            admin_project: new_id(),
            demo_project: new_id(),
            service_project: new_id(),
        };
        let (access, secret) = (random_hex()?, Zeroizing::new(random_hex()?));
        let blob = Zeroizing::new(json!({"access": access, "secret": *secret}).to_string());
        let ec2 = Credential {
            id: ec2_id(&access),
            user_id: ids.demo.clone(),
            project_id: Some(ids.demo_project.clone()),
            kind: "ec2".into(),
            sealed_blob: secrets::seal(&app.credential_keys, &*app.clock, &blob)?,
            extra: Object::new(),
        };
        transact!(app.state, |tx| -> Result<(), BootstrapError> {
            make_projects(tx, &ids).await?;
            for (id, name, hash, home) in [
                (&ids.admin, "admin", &admin_hash, &ids.admin_project),
                (&ids.demo, "demo", &demo_hash, &ids.demo_project),
            ] {
                user::insert(tx, &fresh_user(id, name, hash, home)).await?;
            }
            make_roles(tx, &ids).await?;
            make_catalog(tx, plan).await?;
            credential::insert(tx, &ec2).await?;
            let id = DEFAULT_DOMAIN;
            tx.record(Change {
                service: "identity",
                kind: "domain",
                id,
                action: "created",
                actor: None,
                detail: "",
            })
            .await?;
            Ok(())
        })?;
        Ok(BootstrapReport {
            first: true,
            admin_user_id: ids.admin,
            admin_project_id: ids.admin_project,
            demo_user_id: ids.demo,
            demo_project_id: ids.demo_project,
            demo_ec2: Some((access, secret)),
        })
    }
}

fn fresh_user(id: &str, name: &str, hash: &str, home: &str) -> User {
    User {
        id: id.to_owned(),
        domain_id: DEFAULT_DOMAIN.into(),
        name: name.into(),
        enabled: true,
        default_project_id: Some(home.to_owned()),
        password_hash: Some(hash.to_owned()),
        password_set_at: None,
        password_expires_at: None,
        failed_count: 0,
        failed_at: None,
        active_at: None,
        options: Object::new(),
        extra: Object::new(),
    }
}

async fn make_projects(tx: &mut Transaction, ids: &Ids) -> Result<(), StateError> {
    let domain = Project {
        id: DEFAULT_DOMAIN.into(),
        domain_id: None,
        parent_id: None,
        name: "Default".into(),
        description: "The default domain".into(),
        enabled: true,
        is_domain: true,
        options: Object::new(),
        extra: Object::new(),
    };
    project::insert(tx, &domain).await?;
    for (id, name, description) in [
        (
            &ids.admin_project,
            "admin",
            "Bootstrap project for initializing the cloud.",
        ),
        (&ids.demo_project, "demo", "A project to try things in."),
        (
            &ids.service_project,
            "service",
            "Users of the services themselves.",
        ),
    ] {
        let project = Project {
            id: id.clone(),
            domain_id: Some(DEFAULT_DOMAIN.into()),
            parent_id: Some(DEFAULT_DOMAIN.into()),
            name: name.into(),
            description: description.into(),
            is_domain: false,
            ..domain.clone()
        };
        project::insert(tx, &project).await?;
    }
    Ok(())
}

async fn make_roles(tx: &mut Transaction, ids: &Ids) -> Result<(), StateError> {
    let made: Vec<Role> = ROLES
        .iter()
        .map(|(name, _)| Role {
            id: new_id(),
            domain_id: None,
            name: (*name).into(),
            description: None,
            options: Object::from_iter([("immutable".to_owned(), json!(true))]),
            extra: Object::new(),
        })
        .collect();
    let id_of = |name: &str| {
        made.iter()
            .find(|r| r.name == name)
            .map(|r| r.id.clone())
            .unwrap_or_default()
    };
    for role in &made {
        role::insert(tx, role).await?;
    }
    for (prior, implied) in ROLES {
        if let Some(implied) = implied {
            role::imply(tx, &id_of(prior), &id_of(implied)).await?;
        }
    }
    for (actor, kind, target, role) in [
        (
            &ids.admin,
            TargetKind::Project,
            ids.admin_project.as_str(),
            "admin",
        ),
        (&ids.admin, TargetKind::System, SYSTEM, "admin"),
        (
            &ids.demo,
            TargetKind::Project,
            ids.demo_project.as_str(),
            "member",
        ),
    ] {
        let grant = Assignment {
            actor_kind: ActorKind::User,
            actor_id: actor.clone(),
            target_kind: kind,
            target_id: target.to_owned(),
            role_id: id_of(role),
            inherited: false,
        };
        assignment::grant(tx, &grant).await?;
    }
    Ok(())
}

/// Makes the object store's reseller admin role, unless the operator did.
async fn make_reseller_admin(tx: &mut Transaction, id: &str) -> Result<(), StateError> {
    let known = role::list(tx).await?;
    let is_it = |r: &Role| r.domain_id.is_none() && r.name.eq_ignore_ascii_case(RESELLER_ADMIN);
    if known.iter().any(is_it) {
        return Ok(());
    }
    let made = Role {
        id: id.to_owned(),
        domain_id: None,
        name: RESELLER_ADMIN.into(),
        description: Some("Operates on every account of the object store.".into()),
        options: Object::new(),
        extra: Object::new(),
    };
    role::insert(tx, &made).await?;
    // Other processes on the same records hear of it.
    tx.record(Change {
        service: "identity",
        kind: "role",
        id,
        action: "created",
        actor: None,
        detail: "",
    })
    .await
}

/// The services made here: type, name, URL as a function of the plan.
fn services(plan: &BootstrapPlan) -> [(&'static str, &'static str, String); 2] {
    [
        (
            "identity",
            "keystone",
            format!("{}/identity", plan.front_url.trim_end_matches('/')),
        ),
        (
            "object-store",
            "swift",
            format!("{}/v1/AUTH_%(project_id)s", plan.object_url.trim_end_matches('/')),
        ),
    ]
}

async fn make_catalog(tx: &mut Transaction, plan: &BootstrapPlan) -> Result<(), StateError> {
    let region = Region {
        id: plan.region.clone(),
        parent_region_id: None,
        description: String::new(),
        extra: Object::new(),
    };
    catalog::put_region(tx, &region).await?;
    for (kind, name, url) in services(plan) {
        let service = Service {
            id: new_id(),
            kind: kind.into(),
            name: Some(name.into()),
            description: None,
            enabled: true,
            extra: Object::new(),
        };
        catalog::put_service(tx, &service).await?;
        for interface in ["public", "internal", "admin"] {
            let endpoint = Endpoint {
                id: new_id(),
                service_id: service.id.clone(),
                interface: interface.into(),
                region_id: Some(plan.region.clone()),
                url: url.clone(),
                enabled: true,
                owned: true,
                extra: Object::new(),
            };
            catalog::put_endpoint(tx, &endpoint).await?;
        }
    }
    Ok(())
}

/// Sets the URLs of the endpoints made here to what the plan says now.
async fn follow_urls(tx: &mut Transaction, plan: &BootstrapPlan) -> Result<(), StateError> {
    let known = catalog::services(tx).await?;
    for mut endpoint in catalog::endpoints(tx).await?.into_iter().filter(|e| e.owned) {
        let kind = known
            .iter()
            .find(|s| s.id == endpoint.service_id)
            .map(|s| s.kind.as_str());
        let wanted = services(plan).into_iter().find(|(k, _, _)| Some(*k) == kind);
        if let Some((_, _, url)) = wanted
            && endpoint.url != url
        {
            endpoint.url = url;
            catalog::put_endpoint(tx, &endpoint).await?;
        }
    }
    Ok(())
}
