//! Identity's part of a process: the service behind the front door, or, where
//! another host has it, what verifies tokens here.
use std::sync::Arc;

use tokio::net::TcpListener;
use virga_http::server::serve;
use virga_identity::BootstrapPlan;
use virga_identity_api::revocation::Revocations;
use virga_node::health::State as PartState;

use super::{Company, Process};
use crate::front_door;
use crate::hosts::door;
use crate::hosts::link::Link;
use crate::hosts::seal::Seal;
use crate::keystone::Keystone;
use crate::secrets;
use crate::tls::Tls;

impl Process<'_> {
    /// Identity as others see it: only its own role opens its records; a proxy
    /// elsewhere verifies with the shared token keys.
    pub(super) async fn keystone(&self) -> Result<Option<Keystone>, String> {
        let clock = self.clock.clone();
        match (self.roles.identity, self.roles.proxy) {
            (true, _) => Keystone::serve(self.config, clock).await.map(Some),
            (false, true) => self.keystone_elsewhere().map(Some),
            (false, false) => Ok(None),
        }
    }

    /// Tokens are verified here, and identity is asked for the rest.
    fn keystone_elsewhere(&self) -> Result<Keystone, String> {
        let (config, secrets, clock) = (self.config, self.secrets, self.clock.clone());
        let revocations = Arc::new(Revocations::new());
        let link = match &config.identity_host {
            None => None,
            Some(host) => {
                let ca_file = host.ca_file.as_deref();
                let link = Link::new(&host.url, ca_file, &secrets.node_secret, clock.clone())?;
                Some(Arc::new(link))
            }
        };
        if let Some(link) = &link {
            let health = self.health.register("identity elsewhere");
            // Tokens are verified by keys also while identity is away.
            health.report(PartState::Degraded("identity was not heard of yet".into()));
            link.follow(revocations.clone(), health, &self.tasks);
        }
        Keystone::verify(&config.secrets(), link, revocations, clock)
    }

    pub(super) async fn identity(
        &self,
        keystone: &Keystone,
        listener: TcpListener,
        front_url: &str,
        object_url: &str,
    ) -> Result<Option<(String, String)>, String> {
        let Some(service) = &keystone.service else {
            return Ok(None);
        };
        let health = self.health.register("identity");
        let passwords = secrets::passwords(&self.config.secrets()).map_err(|e| e.to_string())?;
        let plan = BootstrapPlan {
            admin_password: passwords.admin,
            demo_password: passwords.demo,
            region: self.config.region.clone(),
            front_url: front_url.to_owned(),
            object_url: object_url.to_owned(),
        };
        let report = service
            .bootstrap(&plan)
            .await
            .map_err(|e| format!("identity's first records: {e}"))?;
        let mut router = front_door::router(service.router(), self.health.clone(), self.metrics.clone());
        if self.company == Company::Others {
            router = router.merge(door::router(door::Door {
                seal: Seal::new(&self.secrets.node_secret).map_err(|e| e.to_string())?,
                identity: service.clone(),
                keys: keystone.keys.clone(),
                clock: self.clock.clone(),
                tasks: self.tasks.clone(),
            }));
        }
        let (certificates, tasks) = (self.tls.as_ref().map(Tls::certificates), self.tasks.clone());
        let bounds = self.config.front.clone();
        self.tasks
            .spawn(async move { serve(listener, certificates, router, &bounds, tasks).await });
        health.ready();
        Ok(report
            .demo_ec2
            .map(|(access, secret)| (access, secret.to_string())))
    }
}
