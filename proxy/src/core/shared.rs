//! What all operations of a [`super::Core`] share.
use std::sync::Arc;

use tokio::sync::Semaphore;
use virga_node::clock::{Hlc, Version};
use virga_node::task::Tasks;
use virga_object_wire::movement::RingName;
use virga_object_wire::node::Nodes;
use virga_ring::HashPath;

use super::changes::Changes;
use super::digest::Hashing;
use super::error::Unavailable;
use super::heal::Healing;
use super::hedge::Hedge;
use super::info_cache::Infos;
use super::names::{AccountName, ContainerName, ObjectName};
use super::peer::NodeHealth;
use super::place::{Place, Placement};
use super::renew::Renewal;
use super::rows::Rows;
use super::settings::Settings;
use super::settle::Settler;

pub(super) struct Shared {
    pub(super) nodes: Arc<dyn Nodes>,
    pub(super) hlc: Arc<Hlc>,
    pub(super) tasks: Tasks,
    pub(super) settings: Settings,
    pub(super) hash: HashPath,
    pub(super) accounts: Placement,
    pub(super) containers: Placement,
    pub(super) objects: Vec<(u32, Placement)>,
    pub(super) health: NodeHealth,
    /// Replicas that may be written in the background.
    pub(super) background: Arc<Semaphore>,
    pub(super) hashing: Hashing,
    pub(super) hedge: Hedge,
    pub(super) infos: Infos,
    pub(super) rows: Rows,
    pub(super) settler: Settler,
    pub(super) healing: Healing,
    pub(super) changes: Changes,
    pub(super) renewal: Renewal,
    /// Proofs that may be made at the same time.
    pub(super) proofs: Semaphore,
}

impl Shared {
    /// The ring of that name.
    pub(super) fn placement(&self, ring: RingName) -> Option<&Placement> {
        match ring {
            RingName::Account => Some(&self.accounts),
            RingName::Container => Some(&self.containers),
            RingName::Object(policy) => {
                let mut objects = self.objects.iter();
                objects
                    .find(|(index, _)| *index == policy)
                    .map(|(_, placement)| placement)
            }
        }
    }

    pub(super) fn account_place(&self, name: &AccountName) -> Place {
        self.accounts
            .place(&self.health, self.hash.hash(name.as_str(), None, None))
    }

    pub(super) fn container_place(&self, name: &ContainerName) -> Place {
        let hash = self.hash.hash(name.account(), Some(name.container()), None);
        self.containers.place(&self.health, hash)
    }

    /// Where an object of a container with this policy lies.
    pub(super) fn object_place(&self, name: &ObjectName, policy: u32) -> Result<Place, Unavailable> {
        let found = self.objects.iter().find(|(index, _)| *index == policy);
        let (_, placement) = found.ok_or(Unavailable::NoRing(policy))?;
        let hash = self
            .hash
            .hash(name.account(), Some(name.container()), Some(name.object()));
        Ok(placement.place(&self.health, hash))
    }

    /// The version of a write: the one asked for, or the next.
    pub(super) fn version(&self, asked: Option<Version>) -> Version {
        asked.unwrap_or_else(|| self.hlc.next())
    }

    /// A version larger than `newer`, for a write that came too late.
    pub(super) fn restamp(&self, newer: Version) -> Version {
        self.hlc.observe(newer);
        self.hlc.next()
    }
}
