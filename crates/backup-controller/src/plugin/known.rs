//! What is known about a Fleet's storage.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use api_types::common::StoragePlace;
use api_types::external::velero::BackupStorageLocation;
use api_types::fleet::{BackupConfig, Fleet, PluginClusterStatus};
use api_types::key::ClusterKey;
use api_types::labels;
use api_types::names::MemberId;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use kube::ResourceExt;
use velero_kit::identity::Owner;
use velero_kit::problem::Problem;

use super::mark::Marks;
use super::memory::Store;
use crate::operation::member::{HubObject, Link, Served};

/// All that a pass goes by.
#[derive(Debug)]
pub struct Known {
    pub fleet: Arc<Fleet>,
    /// The Fleet as the owner of objects on members.
    pub owner: Owner,
    /// What is asked for; `None`: what is there is to be given up.
    pub config: Option<BackupConfig>,
    /// What the hub's Secret holds, if it is needed.
    pub source: Result<Source, Problem>,
    /// Clusters that get the plugin, and those that had it.
    pub members: Vec<Member>,
    /// Where clusters of this hub write that no Fleet has set up: whose, and the place.
    pub written: Vec<Written>,
    /// Uid of this hub's `kube-system`.
    pub hub: String,
    /// A person wants to give up on what cannot be reached.
    pub forced: bool,
}

impl Known {
    /// The Fleet as the owner of a location.
    pub fn marks(&self) -> Marks<'_> {
        Marks {
            owner: &self.owner,
            hub: &self.hub,
        }
    }
}

/// A location that another cluster writes to.
#[derive(Debug, Clone)]
pub struct Written {
    pub by: ClusterKey,
    pub member: MemberId,
    pub place: StoragePlace,
}

/// The Secret of the hub. Its debug form names the keys only.
#[derive(Clone, Default)]
pub struct Source {
    /// Uid and resourceVersion.
    pub version: String,
    pub data: BTreeMap<String, ByteString>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("version", &self.version)
            .field("keys", &self.data.keys())
            .finish_non_exhaustive()
    }
}

/// One cluster.
#[derive(Debug, Clone)]
pub struct Member {
    pub key: ClusterKey,
    /// Whether the plugin is asked for there.
    pub wanted: bool,
    /// Whether the Fleet has it.
    pub listed: bool,
    pub hub: HubObject,
    pub link: Link,
    pub velero: Served,
    /// Whether the view of its locations is up to date.
    pub live: bool,
    /// Its locations, without those for reading another's.
    pub locations: Vec<Arc<BackupStorageLocation>>,
    /// Ids whose store it takes over.
    pub adopted: BTreeSet<MemberId>,
    /// What is remembered of it, and the sync that is to be looked at.
    pub memory: Store,
    pub survey: Option<Timestamp>,
    /// Its entry, as it was read.
    pub entry: Option<PluginClusterStatus>,
}

impl Member {
    /// The location that is ours to keep.
    pub fn default_location(&self) -> Option<&Arc<BackupStorageLocation>> {
        let mut locations = self.locations.iter();
        locations.find(|found| found.name_any() == labels::DEFAULT_STORAGE_LOCATION)
    }

    /// Its id, while it answers.
    pub fn id(&self) -> Option<MemberId> {
        match &self.link {
            Link::Up { member_uid } => Some(MemberId::from_uid(member_uid)),
            Link::Down { .. } => None,
        }
    }
}
