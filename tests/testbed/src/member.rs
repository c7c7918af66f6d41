//! A member cluster: a control plane, the relay in front of it, perhaps Velero in it.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use kube::Client;

use crate::address::port;
use crate::control_plane::ControlPlane;
use crate::kubeconfig::Access;
use crate::relay::Relay;
use crate::s3::S3;
use crate::site::Site;
use crate::velero::Velero;

/// One member cluster of a bed.
#[derive(Debug)]
pub struct Member {
    control_plane: ControlPlane,
    upstream: SocketAddr,
    relay: Relay,
    velero: Option<Velero>,
}

impl Member {
    pub(crate) async fn start(
        bed: &Site,
        name: &str,
        index: usize,
        s3: Option<&S3>,
    ) -> Result<Self> {
        let first = port::cluster(index);
        let upstream = SocketAddr::from((bed.ip, first + 1));
        let relay = Relay::start(bed.ip, first + 2, upstream)?;
        let control_plane = ControlPlane::start(bed, name, index, true).await?;
        let velero = match s3 {
            Some(s3) => Some(Velero::start(bed, &control_plane, index, s3).await?),
            None => None,
        };
        Ok(Self {
            control_plane,
            upstream,
            relay,
            velero,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.control_plane.name()
    }

    /// A new administrator's client that goes straight to the API server, not through the relay.
    pub fn client(&self) -> Result<Client> {
        self.control_plane.client()
    }

    /// The kubeconfig to hand to whoever is under test: it leads through the relay.
    pub fn relayed_kubeconfig(&self) -> String {
        self.relayed_kubeconfig_as(Access::Token(0))
    }

    /// The same for another user.
    pub fn relayed_kubeconfig_as(&self, access: Access) -> String {
        self.control_plane.kubeconfig_at(&self.relay.url(), access)
    }

    /// Its etcd and API server.
    pub fn control_plane(&self) -> &ControlPlane {
        &self.control_plane
    }

    /// The way to its API server.
    pub fn relay(&self) -> &Relay {
        &self.relay
    }

    /// Its Velero; an error if the bed was built without.
    pub fn velero(&self) -> Result<&Velero> {
        self.velero
            .as_ref()
            .with_context(|| format!("{} was built without Velero", self.name()))
    }

    /// Where its API server listens.
    pub(crate) fn upstream(&self) -> SocketAddr {
        self.upstream
    }

    pub(crate) async fn stop(&self) -> Result<()> {
        if let Some(velero) = &self.velero {
            velero.kill().await?;
        }
        self.control_plane.stop().await
    }
}
