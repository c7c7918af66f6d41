//! A member as the hub sees it, and as it is.

use std::fmt;

use anyhow::{Context, Result};
use api_types::external::velero;
use api_types::labels;
use api_types::names::LOCATION_PREFIX;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use testbed::Member;

/// A cluster to attach to the hub.
#[derive(Debug, Clone)]
pub struct Attached {
    /// Name of the AttachedCluster and of its Secret.
    pub name: String,
    /// Text of the kubeconfig.
    pub kubeconfig: String,
}

impl Attached {
    /// A cluster called `name`.
    pub fn new(name: &str, kubeconfig: &str) -> Self {
        Self {
            name: name.to_owned(),
            kubeconfig: kubeconfig.to_owned(),
        }
    }
}

/// A direct look into a member, past all that is under test.
#[derive(Clone)]
pub struct MemberView {
    /// Its name.
    pub name: String,
    /// An administrator's client.
    pub client: Client,
}

impl fmt::Debug for MemberView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MemberView").field(&self.name).finish()
    }
}

impl MemberView {
    /// Looks into `member`. It belongs to the runtime that calls this.
    pub fn of(member: &Member) -> Result<Self> {
        Ok(Self {
            name: member.name().to_owned(),
            client: member.client()?,
        })
    }

    /// Velero's objects of one kind.
    pub fn velero<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), labels::VELERO_NAMESPACE)
    }

    /// The Velero Backups that a hub object owns here, without those that lie in a location for reading
    /// what another member has stored: any test may have one here, and Velero copies all that is there.
    pub async fn backups_of(&self, owner_uid: &str) -> Result<Vec<velero::Backup>> {
        let select = ListParams::default().labels(&format!("{}={owner_uid}", labels::OWNER_UID));
        let found = self.velero::<velero::Backup>().list(&select).await;
        let found =
            found.with_context(|| format!("cannot list Velero Backups of {}", self.name))?;
        let found = found.items.into_iter();
        let is_copy = |found: &velero::Backup| {
            let location = found.spec.storage_location.as_deref();
            location.is_some_and(|name| name.starts_with(LOCATION_PREFIX))
        };
        Ok(found.filter(|found| !is_copy(found)).collect())
    }

    /// The Velero Restores that a hub object owns here.
    pub async fn restores_of(&self, owner_uid: &str) -> Result<Vec<velero::Restore>> {
        let select = ListParams::default().labels(&format!("{}={owner_uid}", labels::OWNER_UID));
        let found = self.velero::<velero::Restore>().list(&select).await;
        Ok(found
            .with_context(|| format!("cannot list Velero Restores of {}", self.name))?
            .items)
    }

    /// The names of the Velero Backups that a hub object owns here.
    pub async fn backup_names_of(&self, owner_uid: &str) -> Result<Vec<String>> {
        let found = self.backups_of(owner_uid).await?;
        Ok(found.iter().map(ResourceExt::name_any).collect())
    }
}
