//! What a Backup, a Restore and a Migrate have in common for who follows them.

use api_types::aggregate::VeleroPhase;
use api_types::backup::{Backup, BackupDetail};
use api_types::condition::{self, Condition};
use api_types::external::velero;
use api_types::migrate::Migrate;
use api_types::phase::{EntryPhase, Phase};
use api_types::restore::{Restore, RestoreDetail};
use futures::stream::BoxStream;
use kube::core::NamespaceResourceScope;
use kube::runtime::watcher;
use serde::de::DeserializeOwned;

use crate::cluster::MemberView;
use crate::follow::{Sight, sights};

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

/// What is seen in one member, for as long as one looks.
pub type Sights = BoxStream<'static, watcher::Result<Sight>>;

/// A hub object whose work is done by one Velero object in each of its clusters.
pub trait Operation: Object {
    /// What Velero does in a member for the operation of this uid.
    fn in_member(member: &MemberView, uid: &str) -> Vec<Sights>;

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
    fn in_member(member: &MemberView, uid: &str) -> Vec<Sights> {
        vec![backups(member, uid)]
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
    fn in_member(member: &MemberView, uid: &str) -> Vec<Sights> {
        vec![restores(member, uid)]
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

impl Operation for Migrate {
    fn in_member(member: &MemberView, uid: &str) -> Vec<Sights> {
        vec![backups(member, uid), restores(member, uid)]
    }

    /// The source, and the targets; one that is both is shown as a target.
    fn entries(&self) -> Vec<Entry> {
        let Some(status) = self.status.as_ref() else {
            return Vec::new();
        };
        let source = status.source_cluster_status.iter().map(Entry::from);
        let targets = status.target_cluster_status.iter().map(Entry::from);
        source.chain(targets).collect()
    }

    fn phase(&self) -> Option<Phase> {
        self.status.as_ref()?.phase
    }

    fn conditions(&self) -> &[Condition] {
        self.status.as_ref().map_or(&[], |s| &s.conditions)
    }
}

fn backups(member: &MemberView, uid: &str) -> Sights {
    sights(member, uid, |object: &velero::Backup| {
        VeleroPhase::of(object.phase())
    })
}

fn restores(member: &MemberView, uid: &str) -> Sights {
    sights(member, uid, |object: &velero::Restore| {
        VeleroPhase::of(object.phase())
    })
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
