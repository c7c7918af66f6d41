//! Gathers what is known about one Fleet. No network: stores and the inventory only.

use std::sync::Arc;

use api_types::common::ClusterRef;
use api_types::fleet::Fleet;
use api_types::key::{ClusterKey, ClusterKind};
use jiff::Timestamp;
use kube::ResourceExt;

use super::members::{Member, Object};
use super::{deletion, leftovers};
use crate::attached_cluster::health::Health;
use crate::claim;
use crate::context::Context;
use crate::operation::{Begun, Holder};
use crate::operations::Seen;

/// What a decision about a Fleet rests on.
#[derive(Clone, Debug)]
pub struct Dereferenced {
    /// The object as the watch has it.
    pub fleet: Arc<Fleet>,
    /// One for each entry of its `spec.clusters`.
    pub members: Vec<Member>,
    /// While it is being deleted: who still needs it.
    pub holders: Vec<Holder>,
    /// While its deletion is forced: what these have begun, as far as it can be named.
    pub begun: Vec<Begun>,
    /// While it is being deleted: the `AttachedClusters` that carry its label.
    pub labelled: Vec<String>,
}

impl Dereferenced {
    /// Takes who still needs the Fleet from what the hub itself shows.
    pub fn see(&mut self, seen: &Seen) {
        let fleet = self.fleet.name_any();
        self.holders = seen.holders_of_fleet(&fleet);
        if deletion::forced(&self.fleet) {
            self.begun = seen.begun(&fleet, &self.holders, leftovers::MOST);
        }
    }
}

/// Gathers it.
pub fn dereference(context: &Context, fleet: Arc<Fleet>) -> Dereferenced {
    let namespace = fleet.namespace().unwrap_or_default();
    let rivals: Vec<Arc<Fleet>> = context
        .hub
        .fleets_in(&namespace)
        .into_iter()
        .filter(|other| claim::comes_before(other, &fleet))
        .collect();
    let member = |entry: &ClusterRef| {
        let key = entry.fleet_member(&namespace);
        Member {
            object: key
                .as_ref()
                .map_or(Object::Absent, |key| object(context, key)),
            claimed_by: key.as_ref().and_then(|key| claimed_by(&rivals, key)),
            entry: entry.clone(),
            key,
        }
    };
    let members = fleet.spec.clusters.iter().map(member).collect();
    let (holders, labelled) = match fleet.metadata.deletion_timestamp {
        Some(_) => (
            context.hub.holders_of_fleet(&fleet),
            context.hub.labelled(&namespace, &fleet.name_any()),
        ),
        None => (Vec::new(), Vec::new()),
    };
    let begun = if deletion::forced(&fleet) {
        context.hub.begun(&fleet, &holders, leftovers::MOST)
    } else {
        Vec::new()
    };
    Dereferenced {
        fleet,
        members,
        holders,
        begun,
        labelled,
    }
}

fn object(context: &Context, key: &ClusterKey) -> Object {
    match key.kind {
        ClusterKind::AttachedCluster => context.hub.attached(key),
        ClusterKind::Cluster => {
            let state = context.members.state(key);
            let health = state.map(|state| Health::of(&state, Timestamp::now()));
            Object::Foreign(health.map(Box::new))
        }
    }
}

fn claimed_by(rivals: &[Arc<Fleet>], key: &ClusterKey) -> Option<String> {
    let listing = rivals.iter().filter(|rival| claim::lists(rival, key));
    claim::claimer(listing).map(|fleet| fleet.name_any())
}
