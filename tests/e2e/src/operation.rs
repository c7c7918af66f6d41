//! What a Backup and a Restore have in common for who follows them.

use api_types::aggregate::VeleroPhase;
use api_types::backup::{Backup, BackupDetail};
use api_types::condition::{self, Condition};
use api_types::external::velero;
use api_types::phase::{EntryPhase, Phase};
use api_types::restore::{Restore, RestoreDetail};
use kube::core::NamespaceResourceScope;
use serde::de::DeserializeOwned;

/// A cluster's part of an operation, as the hub shows it.
#[derive(Debug, Clone, Default)]
pub struct Entry {
    /// Name of the cluster.
    pub cluster: String,
    /// How far it is.
    pub phase: EntryPhase,
    /// Why, in a word.
    pub reason: Option<String>,
    /// Why, in a sentence.
    pub message: Option<String>,
    /// Name of the Velero object.
    pub object: Option<String>,
    /// Items done and items in all, as far as Velero has said.
    pub items: Option<(i32, i32)>,
}

/// A hub object whose work is done by one Velero object in each of its clusters.
pub trait Operation: Object {
    /// Velero's object.
    type InMember: Object;

    /// Velero's phase.
    fn velero_phase(object: &Self::InMember) -> VeleroPhase;

    /// Its clusters.
    fn entries(&self) -> Vec<Entry>;

    /// The phase of the whole.
    fn phase(&self) -> Option<Phase>;

    /// Its conditions.
    fn conditions(&self) -> &[Condition];

    /// Whether the outcome is known.
    fn is_known(&self) -> bool {
        condition::find(self.conditions(), condition::SUCCEEDED).is_some()
    }
}

/// A namespaced object that can be watched.
pub trait Object:
    kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()>
    + Clone
    + std::fmt::Debug
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
}

impl<K> Object for K where
    K: kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

impl Operation for Backup {
    type InMember = velero::Backup;

    fn velero_phase(object: &velero::Backup) -> VeleroPhase {
        VeleroPhase::of(object.phase())
    }

    fn entries(&self) -> Vec<Entry> {
        let status = self.status.as_ref();
        status.map_or_else(Vec::new, |status| {
            status.backup_details.iter().map(Entry::from).collect()
        })
    }

    fn phase(&self) -> Option<Phase> {
        self.status.as_ref()?.phase
    }

    fn conditions(&self) -> &[Condition] {
        self.status.as_ref().map_or(&[], |s| &s.conditions)
    }
}

impl Operation for Restore {
    type InMember = velero::Restore;

    fn velero_phase(object: &velero::Restore) -> VeleroPhase {
        VeleroPhase::of(object.phase())
    }

    fn entries(&self) -> Vec<Entry> {
        let status = self.status.as_ref();
        status.map_or_else(Vec::new, |status| {
            status.restore_details.iter().map(Entry::from).collect()
        })
    }

    fn phase(&self) -> Option<Phase> {
        self.status.as_ref()?.phase
    }

    fn conditions(&self) -> &[Condition] {
        self.status.as_ref().map_or(&[], |s| &s.conditions)
    }
}

impl From<&BackupDetail> for Entry {
    fn from(detail: &BackupDetail) -> Self {
        let status = detail.backup_status_in_cluster.as_ref();
        let progress = status.and_then(|status| status.progress.as_ref());
        Self {
            cluster: detail.cluster_name.clone(),
            phase: detail.phase,
            reason: detail.reason.clone(),
            message: detail.message.clone(),
            object: detail.backup_name_in_cluster.clone(),
            items: progress
                .and_then(|p| Some((p.items_backed_up.unwrap_or_default(), p.total_items?))),
        }
    }
}

impl From<&RestoreDetail> for Entry {
    fn from(detail: &RestoreDetail) -> Self {
        let status = detail.restore_status_in_cluster.as_ref();
        let progress = status.and_then(|status| status.progress.as_ref());
        Self {
            cluster: detail.cluster_name.clone(),
            phase: detail.phase,
            reason: detail.reason.clone(),
            message: detail.message.clone(),
            object: detail.restore_name_in_cluster.clone(),
            items: progress
                .and_then(|p| Some((p.items_restored.unwrap_or_default(), p.total_items?))),
        }
    }
}
