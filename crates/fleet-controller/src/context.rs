//! What every pass can use.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use api_types::cluster::AttachedCluster;
use api_types::fleet::Fleet;
use api_types::key::ClusterKey;
use controller_kit::event::Events;
use controller_kit::lease::Leadership;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::Client;
use kube::core::PartialObjectMeta;
use proxy_client::{ClusterState, Inventory, MemberWatch, Members, Selection};

use crate::hub::Hub;
use crate::memory::Memory;
use crate::operations::Looks;
use crate::text::whole_seconds;
use crate::timings::Timings;
use controller_kit::trigger::Trigger;

/// Clients, local stores and this process's memory.
#[derive(Debug)]
pub struct Context {
    /// Which pass may start without a change of its object.
    pub triggers: Triggers,
    /// What the hub holds.
    pub hub: Hub,
    /// What it shows when it is asked itself.
    pub looks: Looks,
    /// How the members are.
    pub members: MemberView,
    /// Where writes go.
    pub writer: Writer,
    /// What is remembered between passes.
    pub memory: Memory,
    /// How long to wait for what.
    pub timings: Timings,
}

/// Starts passes.
#[derive(Clone, Debug, Default)]
pub struct Triggers {
    /// Over Fleets.
    pub fleets: Trigger<Fleet>,
    /// Over `AttachedClusters`.
    pub clusters: Trigger<AttachedCluster>,
}

/// Where writes go, and whether they may.
pub struct Writer {
    /// The hub.
    pub client: Client,
    /// Events on hub objects.
    pub events: Events,
    /// Whether this process may write.
    pub leadership: Leadership,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("leadership", &self.leadership)
            .finish_non_exhaustive()
    }
}

/// How the members are, as cluster-proxy tells.
#[derive(Debug)]
pub struct MemberView {
    /// Their states.
    pub inventory: Inventory,
    /// Their nodes: names only.
    pub nodes: MemberWatch<PartialObjectMeta<Node>>,
    contact: Mutex<Contact>,
}

/// Whether cluster-proxy can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contact {
    /// It answers.
    Answering {
        /// Since when.
        since: Timestamp,
    },
    /// It does not.
    Silent {
        /// Since when.
        since: Timestamp,
    },
}

impl MemberView {
    /// Follows all members.
    pub fn new(members: &Members) -> Self {
        Self {
            inventory: members.inventory(),
            nodes: members.watch(Selection {
                metadata_only: true,
                ..Selection::default()
            }),
            contact: Mutex::new(Contact::Silent {
                since: whole_seconds(Timestamp::now()),
            }),
        }
    }

    /// Whether the proxy can be asked. The time of a change is that of the first question after it,
    /// which its announcement brings about.
    pub fn contact(&self, now: Timestamp) -> Contact {
        let answers = self.inventory.synced() && self.inventory.lost().is_none();
        let mut contact = self.contact.lock().unwrap_or_else(PoisonError::into_inner);
        match (*contact, answers) {
            (Contact::Silent { .. }, true) => *contact = Contact::Answering { since: now },
            (Contact::Answering { .. }, false) => *contact = Contact::Silent { since: now },
            _ => {}
        }
        *contact
    }

    /// The last known state of a member.
    pub fn state(&self, key: &ClusterKey) -> Option<Arc<ClusterState>> {
        self.inventory.get(key)
    }

    /// How many nodes a member has; `None` until they have been counted once.
    pub fn node_count(&self, key: &ClusterKey) -> Option<i32> {
        let counted = self.nodes.state(key).synced;
        counted.then(|| i32::try_from(self.nodes.list(key).len()).unwrap_or(i32::MAX))
    }
}
