//! Gathers what is known about one AttachedCluster. No network: stores and the inventory only.

use std::sync::Arc;

use api_types::cluster::AttachedCluster;
use api_types::key::ClusterKey;
use jiff::Timestamp;
use kube::ResourceExt;
use proxy_client::ClusterState;

use crate::claim;
use crate::context::{Contact, Context};
use crate::fleet::deletion;

/// What a decision about an AttachedCluster rests on.
#[derive(Clone, Debug)]
pub struct Dereferenced {
    /// Its key.
    pub key: ClusterKey,
    /// The object as the watch has it.
    pub object: Arc<AttachedCluster>,
    /// What cluster-proxy says.
    pub sighting: Sighting,
    /// How many nodes the member has; `None` while they are not counted.
    pub nodes: Option<i32>,
    /// The Fleets that list it, terminating ones included.
    pub fleets: Vec<Listing>,
    /// What else keeps it from being deleted, for people.
    pub holders: Vec<String>,
}

/// What cluster-proxy says about the member.
#[derive(Clone, Debug)]
pub enum Sighting {
    /// The proxy cannot be asked.
    Silent {
        /// Since when.
        since: Timestamp,
    },
    /// The proxy does not know it (yet).
    Unlisted {
        /// Since when the proxy answers.
        answering: Timestamp,
    },
    /// The proxy has this state.
    Seen(Arc<ClusterState>),
}

/// A Fleet that lists the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Its name.
    pub fleet: String,
    /// Whether it is the one that has the cluster.
    pub claims: bool,
    /// Whether it is being deleted and nothing but its members is left to let go.
    pub letting_go: bool,
}

/// Gathers it.
pub fn dereference(
    context: &Context,
    object: Arc<AttachedCluster>,
    now: Timestamp,
) -> Dereferenced {
    let namespace = object.namespace().unwrap_or_default();
    let key = ClusterKey::attached(namespace, object.name_any());
    let listing = context.hub.fleets_listing(&key);
    let claimer = claim::claimer(&listing).map(|fleet| fleet.name_any());
    let fleets = listing
        .iter()
        .map(|fleet| Listing {
            fleet: fleet.name_any(),
            claims: claimer.as_deref() == Some(&fleet.name_any()),
            letting_go: deletion::letting_go(fleet, || context.hub.holders_of_fleet(fleet)),
        })
        .collect();
    let holders = match object.metadata.deletion_timestamp {
        Some(_) => context.hub.holders_of_cluster(&key),
        None => Vec::new(),
    };
    let sighting = match context.members.contact(now) {
        Contact::Silent { since } => Sighting::Silent { since },
        Contact::Answering { since: answering } => {
            let state = context.members.state(&key);
            state.map_or(Sighting::Unlisted { answering }, Sighting::Seen)
        }
    };
    Dereferenced {
        nodes: context.members.node_count(&key),
        key,
        object,
        sighting,
        fleets,
        holders,
    }
}
